/* A program that has taken QEMU's place: tries to get more than it was given, by every road, and tells how far it got.
 * Arguments: processes outside, to be signalled and looked into. Then it waits for the end of its input.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ipc.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/shm.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#define PIECE (16UL << 20)
#define STACK 16384

static const char *answer(long result)
{
	return result >= 0 ? "ok" : strerrorname_np(errno);
}

/* Memory that nothing touches counts too: it could be touched. */
static void take_memory(void)
{
	unsigned long taken = 0;
	while (taken < (8UL << 30) && mmap(NULL, PIECE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE,
					    -1, 0) != MAP_FAILED)
		taken += PIECE;
	while (taken < (8UL << 30) && mmap(NULL, PIECE, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS | MAP_NORESERVE,
					    -1, 0) != MAP_FAILED)
		taken += PIECE;
	while (taken < (8UL << 30) && sbrk(1 << 20) != (void *)-1)
		taken += 1 << 20;
	printf("memory=%lu\n", taken >> 20);
}

static void hide_memory(void)
{
	printf("memfd=%s\n", answer(syscall(SYS_memfd_create, "x", 0)));
	printf("memfd_secret=%s\n", answer(syscall(SYS_memfd_secret, 0)));
	printf("shared segment=%s\n", answer(shmget(IPC_PRIVATE, PIECE, IPC_CREAT | 0600)));
	printf("file=%s\n", answer(open("/live/x", O_RDWR | O_CREAT, 0600)));
	const char *folders[] = { "/", "/dev", "/dev/shm", "/tmp", "/etc", "/usr/lib", "/live" };
	for (size_t i = 0; i < sizeof folders / sizeof *folders; i++)
		printf("file in %s=%s\n", folders[i], answer(open(folders[i], O_RDWR | O_TMPFILE, 0600)));
	int pipes[2];
	printf("pipe=%s\n", answer(syscall(SYS_pipe2, pipes, 0)));
}

static int sleeping(void *unused)
{
	(void)unused;
	for (;;)
		poll(NULL, 0, -1);
}

static void take_threads(void)
{
	int flags = CLONE_VM | CLONE_FS | CLONE_FILES | CLONE_SIGHAND | CLONE_THREAD | CLONE_SYSVSEM, count = 0;
	static char stacks[1024][STACK] __attribute__((aligned(16)));
	while (count < 1024 && clone(sleeping, stacks[count] + STACK, flags, NULL) >= 0)
		count++;
	printf("threads=%d\n", count);
	printf("process=%s\n", answer(clone(sleeping, stacks[1023] + STACK, SIGCHLD, NULL)));
	printf("spaces=%s\n", answer(clone(sleeping, stacks[1023] + STACK, CLONE_NEWUSER | CLONE_NEWNET | SIGCHLD, NULL)));
}

static void reach_out(int argc, char **argv)
{
	int opened = 0, pair[2];
	for (int family = 0; family < 64; family++)
		for (int type = 1; type < 7; type++)
			opened += socket(family, type, 0) >= 0;
	printf("sockets=%d\n", opened);
	printf("socket pair=%s\n", answer(socketpair(AF_UNIX, SOCK_STREAM, 0, pair)));
	for (int i = 1; i < argc; i++) {
		int pid = atoi(argv[i]);
		char path[64];
		struct rlimit old;
		snprintf(path, sizeof path, "/proc/%d/mem", pid);
		printf("kill %d=%s\n", i, answer(kill(pid, 0)));
		printf("signal %d=%s\n", i, answer(syscall(SYS_tgkill, pid, pid, 0)));
		printf("look %d=%s\n", i, answer(open(path, O_RDONLY)));
		printf("hold %d=%s\n", i, answer(syscall(SYS_pidfd_open, pid, 0)));
		printf("limits %d=%s\n", i, answer(prlimit(pid, RLIMIT_CPU, NULL, &old)));
		printf("processors %d=%s\n", i, answer(sched_getaffinity(pid, 128, &(cpu_set_t){ 0 })));
	}
	printf("all=%s\n", answer(kill(-1, 0)));
}

static void loosen(void)
{
	struct rlimit more = { RLIM_INFINITY, RLIM_INFINITY };
	printf("limit=%s\n", answer(setrlimit(RLIMIT_AS, &more)));
	printf("user=%s\n", answer(syscall(SYS_setuid, 0)));
	printf("priority=%s\n", answer(setpriority(PRIO_PROCESS, 0, -20)));
	printf("personality=%s\n", answer(syscall(SYS_personality, 0x0040000)));
	printf("io_uring=%s\n", answer(syscall(SYS_io_uring_setup, 8, calloc(1, 256))));
	printf("dumps=%s\n", answer(syscall(SYS_prctl, 4, 0, 0, 0, 0)));
}

int main(int argc, char **argv)
{
	setvbuf(stdout, malloc(1 << 16), _IOFBF, 1 << 16);
	hide_memory();
	reach_out(argc, argv);
	loosen();
	take_threads();
	take_memory();
	printf("end=\n");
	fflush(stdout);
	char byte;
	while (read(0, &byte, 1) > 0)
		;
	syscall(SYS_exit_group, 0);
}
