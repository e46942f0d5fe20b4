/* A program that has taken the place of a kernel in its cage: tries to get more than it was given, and tells how far it
 * got. Arguments: the number of a process outside, and the memory (bytes) that it may have. With the only argument
 * "feed" it starts EATERS processes instead, each of which takes EATEN bytes of memory and keeps them: private memory, or
 * shared mappings, or the buffers of sockets.
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
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/shm.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <unistd.h>

static const char *answer(long result)
{
	return result >= 0 ? "ok" : strerrorname_np(errno);
}

static void report(const char *what, long result)
{
	printf("%s=%s\n", what, answer(result));
}

static void reach_out(void)
{
	int opened = 0;
	for (int family = 0; family < 64; family++)
		for (int type = 1; type < 7; type++)
			opened += family != AF_UNIX && socket(family, type, 0) >= 0;
	printf("sockets=%d\n", opened);
	int unix_socket = socket(AF_UNIX, SOCK_STREAM, 0);
	struct sockaddr_un address = { AF_UNIX, "\0pyro-test" };
	report("abstract socket", connect(unix_socket, (void *)&address, 2 + 10));
	report("listen", listen(unix_socket, 1));
	report("bind", bind(unix_socket, (void *)&address, 2 + 10));
}

/* Empty files take memory of the host that the size of the tmpfs does not count. */
static void make_files(void)
{
	char path[64];
	int count = 0;
	for (; count < 100000; count++) {
		snprintf(path, sizeof path, "/memory/%d", count);
		if (mkdir(path, 0700) < 0)
			break;
	}
	printf("files=%d\n", count);
}

static void keep_things(size_t allowed)
{
	char path[64];
	const char *folders[] = { "/", "/dev", "/proc", "/vhost" };
	for (size_t i = 0; i < sizeof folders / sizeof *folders; i++) {
		snprintf(path, sizeof path, "file in %s", folders[i]);
		report(path, open(folders[i], O_RDWR | O_TMPFILE, 0600));
		snprintf(path, sizeof path, "%s/x", folders[i]);
		report(path, open(path, O_RDWR | O_CREAT, 0600));
	}
	report("write the kernel", open("/kernel", O_RDWR));
	report("device", mknod("/memory/device", S_IFBLK | 0600, 8 << 8));
	report("memfd", syscall(SYS_memfd_create, "x", 0));
	report("shared segment", shmget(IPC_PRIVATE, 1 << 20, IPC_CREAT | 0600));
	size_t written = 0;
	static char piece[1 << 20];
	int file = open("/memory/x", O_RDWR | O_CREAT, 0600), other = open("/memory/y", O_RDWR | O_CREAT, 0600);
	signal(SIGXFSZ, SIG_IGN);
	for (ssize_t size; (size = write(file, piece, sizeof piece)) > 0 || (size = write(other, piece, sizeof piece)) > 0;)
		written += size;
	printf("written=%s\n", written <= allowed ? "bounded" : "too much");
}

static int nothing(void *unused)
{
	(void)unused;
	return 0;
}

static void gain_rights(int outside)
{
	static char stack[1 << 16] __attribute__((aligned(16)));
	report("signal outside", kill(outside, 0));
	report("signal everybody", kill(-1, 0));
	report("signal the group", kill(0, 0));
	report("ptrace", ptrace(PTRACE_ATTACH, outside, 0, 0));
	report("read outside", syscall(SYS_process_vm_readv, outside, 0, 0, 0, 0, 0));
	report("unshare", unshare(CLONE_NEWUSER));
	report("namespace", clone(nothing, stack + sizeof stack, CLONE_VM | CLONE_NEWUSER | SIGCHLD, NULL));
	report("fork", syscall(SYS_clone, SIGCHLD, 0, 0, 0, 0));
	report("clone3", syscall(SYS_clone3, 0, 0));
	report("mount", mount("none", "/memory", "tmpfs", 0, ""));
	report("pivot", syscall(SYS_pivot_root, "/", "/"));
	report("chroot", chroot("/memory"));
	report("bpf", syscall(SYS_bpf, 0, 0, 0));
	report("io_uring", syscall(SYS_io_uring_setup, 1, stack));
	report("userfaultfd", syscall(SYS_userfaultfd, 0));
	report("perf", syscall(SYS_perf_event_open, 0, 0, 0, 0, 0));
	report("keys", syscall(SYS_add_key, "user", "x", "y", 1, -3));
	report("terminal", ioctl(0, TIOCSTI, "x"));
	report("dumps", prctl(PR_SET_DUMPABLE, 1));
	report("user", setuid(0));
	report("limit", syscall(SYS_prlimit64, 0, 7, stack, 0));
	report("priority", syscall(SYS_setpriority, 0, 0, -10));
	report("personality", syscall(SYS_personality, 0));
}

enum { EATERS = 12, EATEN = 80 << 20, TRIAL = 8192 };

/* The trial mapping that the filter of the calls allows, again and again. */
static int take_shared(void)
{
	for (int taken = 0; taken < EATEN; taken += TRIAL) {
		char *at = mmap(NULL, TRIAL, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
		if (at == MAP_FAILED)
			return -1;
		memset(at, 1, TRIAL);
	}
	return 0;
}

/* What nobody reads stays in the buffers of a socket. */
static int take_sockets(void)
{
	static char piece[1 << 15];
	for (long taken = 0; taken < EATEN;) {
		int pair[2];
		if (socketpair(AF_UNIX, SOCK_STREAM, 0, pair) < 0 || fcntl(pair[0], F_SETFL, O_NONBLOCK) < 0)
			return -1;
		long before = taken;
		for (long more; (more = write(pair[0], piece, sizeof piece)) > 0;)
			taken += more;
		if (taken == before)
			return -1;
	}
	return 0;
}

static int take_private(void)
{
	char *taken = malloc(EATEN);
	if (taken == NULL)
		return -1;
	memset(taken, 1, EATEN);
	return 0;
}

static int eat(void *kind)
{
	char *words[] = { "/kernel", kind, NULL }, *nothing_at_all[] = { NULL };
	execve(words[0], words, nothing_at_all);
	_exit(1);
}

static void take_together(const char *what)
{
	static char stack[1 << 16] __attribute__((aligned(16)));
	static char *kinds[] = { "private", "shared", "sockets" };
	if (strcmp(what, "feed") == 0) {
		for (int i = 0; i < EATERS; i++)
			if (clone(eat, stack + sizeof stack, CLONE_VM | CLONE_VFORK | SIGCHLD, kinds[i % 3]) < 0)
				report("eater", -1);
	} else {
		int how = *what == 'p' ? take_private() : strcmp(what, "shared") == 0 ? take_shared() : take_sockets();
		if (write(1, how == 0 ? "ate\n" : "no!\n", 4) < 0)
			_exit(1);
	}
	poll(NULL, 0, -1);
}

int main(int argc, char **argv)
{
	if (argc == 2)
		take_together(argv[1]);
	int inherited = 0;
	(void)argc;
	for (int fd = 3; fd < 1024; fd++)
		inherited += fcntl(fd, F_GETFD) >= 0;
	printf("descriptors=%d\n", inherited);
	reach_out();
	gain_rights(atoi(argv[1]));
	keep_things(strtoul(argv[2], NULL, 0));
	make_files();
	fflush(stdout);
	return 0;
}
