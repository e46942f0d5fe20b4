/* A program in a kernel's place that tries everything there is: every system call that is not listed, on all tables,
 * every flag of clone(2), every option of prctl(2), every command of fcntl(2), every family of sockets, and every file.
 * Arguments: the numbers of the listed calls, then "paths". Lines of the input: paths. Prints what got through.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <setjmp.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <unistd.h>

#define X32 0x40000000L
#define LAST 1024

static char listed[LAST];
static char scratch[1 << 16] __attribute__((aligned(4096)));
static sigjmp_buf back;

static void tell(const char *what, long number, long answer)
{
	printf("%s %ld: %s\n", what, number, answer >= 0 ? "ok" : strerrorname_np(errno));
}

static void crashed(int signal)
{
	(void)signal;
	siglongjmp(back, 1);
}

/* Each number with arguments that calls refuse, with zeros, and with pointers to memory. */
static void try_numbers(const char *what, long first, int skip_listed)
{
	long sets[][6] = {
		{ -1, -1, -1, -1, -1, -1 }, { 0, 0, 0, 0, 0, 0 },
		{ (long)scratch, (long)scratch, (long)scratch, (long)scratch, (long)scratch, 0 },
		{ 0, (long)scratch, 64, 0, 0, 0 }, { 1, 1, (long)scratch, (long)scratch, 0, 0 },
	};
	for (long number = 0; number < LAST; number++) {
		/* These two of the kernel's own probes pass every filter by design, and end a program outside of a probe. */
		if (skip_listed && (listed[number] || number == 335 || number == 336))
			continue;
		for (size_t i = 0; i < sizeof sets / sizeof *sets; i++) {
			long *at = sets[i], answer = syscall(first + number, at[0], at[1], at[2], at[3], at[4], at[5]);
			if (answer >= 0 || errno != ENOSYS) {
				tell(what, number, answer);
				break;
			}
		}
	}
}

/* The calls of 32-bit programs, which a 64-bit program can make too, where the kernel of the host has them. */
static void try_old_table(void)
{
	struct sigaction on_crash = { .sa_handler = crashed, .sa_flags = SA_NODEFER };
	sigaction(SIGSEGV, &on_crash, NULL);
	for (volatile long number = 0; number < 512; number++) {
		if (sigsetjmp(back, 1)) {
			printf("note: this host has no 32-bit calls\n");
			break;
		}
		long answer;
		__asm__ volatile("int $0x80" : "=a"(answer) : "a"(number), "b"(0), "c"(0), "d"(0), "S"(0), "D"(0)
				 : "memory", "r8", "r9", "r10", "r11");
		if ((int)answer != -ENOSYS)
			printf("int 0x80 %ld: %d\n", number, (int)answer);
	}
	signal(SIGSEGV, SIG_DFL);
}

static int nothing(void *unused)
{
	(void)unused;
	return 0;
}

static void try_clone(void)
{
	const unsigned long bases[] = { 0, CLONE_VM, CLONE_VM | CLONE_VFORK | SIGCHLD, 0x3d0f00 };
	const unsigned long fine[] = { 0x4111, 0x4100, 0x3d0f00 };
	for (size_t i = 0; i < sizeof bases / sizeof *bases; i++)
		for (int bit = 0; bit < 33; bit++) {
			unsigned long flags = (bit == 32 ? 0 : 1UL << bit) ^ bases[i];
			if (flags == fine[0] || flags == fine[1] || flags == fine[2])
				continue;
			if (clone(nothing, scratch + sizeof scratch, (int)flags, NULL) >= 0)
				printf("clone %lx: ok\n", flags);
		}
	struct { unsigned long long flags, rest[10]; } wish = { CLONE_VM | CLONE_VFORK, { 0 } };
	if (syscall(SYS_clone3, &wish, sizeof wish) >= 0)
		printf("clone3: ok\n");
}

static void try_options(void)
{
	const int options[] = { 0x53564d41, 0x59616d61, 0x6d640000 };
	for (int i = 0; i < 200 + 3; i++) {
		int option = i < 200 ? i : options[i - 200];
		if (option != PR_SET_PDEATHSIG && option != PR_SET_NAME && option != PR_SET_NO_NEW_PRIVS
		    && prctl(option, 0, scratch, 0, 0) >= 0)
			tell("prctl", option, 0);
	}
	for (int fd = 0; fd < 3; fd++) {
		for (int command = 0; command < 1100; command++)
			if (command != F_SETFD && command != F_GETFL && command != F_SETFL && command != F_SETOWN
			    && command != F_SETSIG && fcntl(fd, command, 0) >= 0)
				tell("fcntl", command, 0);
		for (unsigned long request = 0; request < 0x10000; request++)
			if (ioctl(fd, request, scratch) >= 0)
				tell("ioctl", (long)request, 0);
	}
}

static void try_sockets(const char *abstract)
{
	int pair[2];
	for (int family = 0; family < 64; family++)
		for (int type = 0; type < 12; type++)
			for (int protocol = 0; protocol < 4; protocol++) {
				if (family == AF_UNIX && type == SOCK_STREAM && protocol == 0)
					continue;
				if (socket(family, type, protocol) >= 0 || socketpair(family, type, protocol, pair) >= 0)
					printf("socket %d %d %d: ok\n", family, type, protocol);
			}
	struct sockaddr_un address = { AF_UNIX, "" };
	strcpy(address.sun_path + 1, abstract);
	if (connect(socket(AF_UNIX, SOCK_STREAM, 0), (void *)&address, 3 + strlen(abstract)) >= 0)
		printf("connect %s: ok\n", abstract);
}

/* Everything that changes a file, or what is below a folder. */
static void try_path(const char *path)
{
	char below[4100];
	const int modes[] = { O_WRONLY, O_RDWR, O_RDONLY | O_TRUNC, O_RDWR | O_TMPFILE, O_WRONLY | O_CREAT | O_EXCL };
	for (size_t i = 0; i < sizeof modes / sizeof *modes; i++)
		if (open(path, modes[i], 0600) >= 0)
			printf("write %s: ok\n", path);
	snprintf(below, sizeof below, "%s/x", path);
	if (open(below, O_WRONLY | O_CREAT, 0600) >= 0 || mkdir(below, 0700) >= 0)
		printf("make %s: ok\n", below);
	if (unlink(path) >= 0)
		printf("remove %s: ok\n", path);
	int fd = open(path, O_RDONLY);
	if (fd >= 0 && fchmod(fd, 0777) >= 0)
		printf("mode %s: ok\n", path);
	if (fd >= 0)
		printf("read %s\n", path);
}

int main(int argc, char **argv)
{
	char path[4096];
	printf("ready\n");
	fflush(stdout);
	for (int i = 2; i < argc; i++)
		listed[atoi(argv[i])] = 1;
	try_numbers("call", 0, 1);
	try_numbers("x32", X32, 0);
	try_old_table();
	try_clone();
	try_options();
	try_sockets(argv[1]);
	while (fgets(path, sizeof path, stdin) && strcmp(path, "\n") != 0) {
		path[strcspn(path, "\n")] = '\0';
		try_path(path);
	}
	printf("end\n");
	fflush(stdout);
	return 0;
}
