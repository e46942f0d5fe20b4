/* demanding TASK [NUMBER]: programs that ask much of a guest's kernel; each prints one line, and exits with 0 if all is well.
 *
 *   touch MIB        write and check every page of so much memory, in a random order
 *   threads COUNT    so many threads at once, each with memory and a mutex
 *   vectors COUNT    so many processes at once that keep sums in vector registers
 *   ptrace           trace a child: system calls, registers, memory, single steps, its exit
 *   io_uring         read a file through a ring, if the kernel has rings
 *   forks            fork until a limit of 100 processes refuses, and go on
 */
#define _GNU_SOURCE
#include <err.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/io_uring.h>
#include <pthread.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/ptrace.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/user.h>
#include <sys/wait.h>
#include <unistd.h>

#define PAGE 4096UL

static void require(int holds, const char *what)
{
	if (!holds)
		errx(1, "%s", what);
}

/* Steps through all numbers below a power of two, in an order that looks random. */
static size_t next_of(size_t at, size_t count)
{
	return (at * 1664525 + 1013904223) & (count - 1);
}

static int touch(size_t mib)
{
	size_t pages = (mib << 20) / PAGE, count = 1, at = 1;
	while (count < pages)
		count <<= 1;
	char *memory = mmap(NULL, pages * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	require(memory != MAP_FAILED, "mmap");
	for (size_t i = 0; i < count; i++, at = next_of(at, count))
		if (at < pages)
			*(size_t *)(memory + at * PAGE) = at ^ mib;
	for (size_t i = 0; i < count; i++, at = next_of(at, count))
		if (at < pages)
			require(*(size_t *)(memory + at * PAGE) == (at ^ mib), "a page lost its content");
	require(mprotect(memory, pages * PAGE, PROT_READ) == 0, "mprotect");
	for (size_t i = 0; i < pages; i += 7)
		require(*(size_t *)(memory + i * PAGE) == (i ^ mib), "a page lost its content after mprotect");
	return printf("%zu pages\n", pages) < 0;
}

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_barrier_t all_run;
static size_t counter;

static void *count_up(void *unused)
{
	char *own = malloc(100000);
	pthread_barrier_wait(&all_run);
	for (int i = 0; i < 200; i++) {
		memset(own, i, 100000);
		pthread_mutex_lock(&lock);
		counter++;
		pthread_mutex_unlock(&lock);
	}
	free(own);
	return unused;
}

static int threads(size_t count)
{
	pthread_t *made = calloc(count, sizeof *made);
	pthread_barrier_init(&all_run, NULL, (unsigned)count);
	for (size_t i = 0; i < count; i++)
		require(pthread_create(&made[i], NULL, count_up, NULL) == 0, "pthread_create");
	for (size_t i = 0; i < count; i++)
		pthread_join(made[i], NULL);
	return printf("%zu\n", counter) < 0;
}

typedef double Vector __attribute__((vector_size(32)));

#define MULTIPLY_ADD \
	Vector sums[8]; \
	for (int i = 0; i < 8; i++) \
		sums[i] = (Vector){ (double)i, seed, 2.0, 3.0 }; \
	for (int round = 0; round < 4000000; round++) \
		for (int i = 0; i < 8; i++) \
			sums[i] = sums[i] * 0.999 + (Vector){ 1.0, seed, 0.5, 0.25 }; \
	uint64_t sum = 0, word; \
	for (int i = 0; i < 8; i++) \
		for (int lane = 0; lane < 4; lane++) { \
			double value = sums[i][lane]; \
			memcpy(&word, &value, sizeof word); \
			sum = sum * 31 + word; \
		} \
	return sum;

__attribute__((target("avx2"), noinline)) static uint64_t sum_avx(double seed) { MULTIPLY_ADD }
__attribute__((noinline)) static uint64_t sum_sse(double seed) { MULTIPLY_ADD }

static int vectors(size_t count)
{
	uint64_t (*sum)(double) = __builtin_cpu_supports("avx2") ? sum_avx : sum_sse;
	uint64_t alone[2] = { sum(0.0), sum(1.0) };
	require(alone[0] == sum(0.0) && alone[0] != alone[1], "a sum is not always the same");
	for (size_t i = 0; i < count; i++) {
		pid_t child = fork();
		require(child >= 0, "fork");
		if (child == 0)
			_exit(sum((double)(i % 2)) != alone[i % 2]);
	}
	for (int status; wait(&status) > 0;)
		require(status == 0, "a process lost its registers");
	return printf("%s\n", sum == sum_avx ? "avx2" : "sse") < 0;
}

static volatile long variable = 7;

static void traced(void)
{
	ptrace(PTRACE_TRACEME, 0, NULL, NULL);
	raise(SIGSTOP);
	for (int i = 0; i < 5; i++)
		syscall(SYS_getppid);
	_exit((int)variable);
}

static void expect_stop(pid_t child, int signal)
{
	int status;
	require(waitpid(child, &status, 0) == child && WIFSTOPPED(status) && WSTOPSIG(status) == signal, "wrong stop");
}

static int trace(void)
{
	struct user_regs_struct registers;
	int status, seen = 0, steps = 0;
	pid_t child = fork();
	if (child == 0)
		traced();
	expect_stop(child, SIGSTOP);
	require(ptrace(PTRACE_SETOPTIONS, child, NULL, PTRACE_O_TRACESYSGOOD | PTRACE_O_EXITKILL) == 0, "PTRACE_SETOPTIONS");
	require(ptrace(PTRACE_PEEKDATA, child, &variable, NULL) == 7, "PTRACE_PEEKDATA");
	require(ptrace(PTRACE_POKEDATA, child, &variable, 42L) == 0, "PTRACE_POKEDATA");
	for (; steps < 20; steps++) {
		require(ptrace(PTRACE_SINGLESTEP, child, NULL, NULL) == 0, "PTRACE_SINGLESTEP");
		expect_stop(child, SIGTRAP);
	}
	for (;;) {
		require(ptrace(PTRACE_SYSCALL, child, NULL, NULL) == 0, "PTRACE_SYSCALL");
		require(waitpid(child, &status, 0) == child, "waitpid");
		if (!WIFSTOPPED(status))
			break;
		require(WSTOPSIG(status) == (SIGTRAP | 0x80), "stopped by something else than a system call");
		require(ptrace(PTRACE_GETREGS, child, NULL, &registers) == 0, "PTRACE_GETREGS");
		seen += registers.orig_rax == SYS_getppid;
	}
	require(WIFEXITED(status) && WEXITSTATUS(status) == 42, "the child did not see what was written");
	return printf("%d steps, %d stops at getppid\n", steps, seen) < 0;
}

static int ring(void)
{
	struct io_uring_params params = { 0 };
	int fd = (int)syscall(SYS_io_uring_setup, 4, &params);
	if (fd < 0) {
		require(errno == ENOSYS || errno == EPERM, "io_uring_setup");
		return puts("none") < 0;
	}
	size_t size = params.cq_off.cqes + params.cq_entries * sizeof(struct io_uring_cqe);
	char *rings = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, IORING_OFF_SQ_RING);
	struct io_uring_sqe *entry = mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, IORING_OFF_SQES);
	require(rings != MAP_FAILED && (void *)entry != MAP_FAILED, "mmap of a ring");
	char first[4] = "";
	*entry = (struct io_uring_sqe){
		.opcode = IORING_OP_READ, .fd = open("/proc/self/exe", O_RDONLY), .addr = (uintptr_t)first, .len = sizeof first,
	};
	((unsigned *)(rings + params.sq_off.array))[0] = 0;
	__atomic_store_n((unsigned *)(rings + params.sq_off.tail), 1, __ATOMIC_RELEASE);
	require(syscall(SYS_io_uring_enter, fd, 1, 1, IORING_ENTER_GETEVENTS, NULL, 0) == 1, "io_uring_enter");
	require(((struct io_uring_cqe *)(rings + params.cq_off.cqes))->res == 4, "the read failed");
	return printf("%s\n", memcmp(first, "\177ELF", 4) == 0 ? "works" : "wrong bytes") < 0;
}

static int forks(void)
{
	struct rlimit limit = { 100, 100 };
	int made = 0;
	require(setgid(4242) == 0 && setuid(4242) == 0 && setrlimit(RLIMIT_NPROC, &limit) == 0, "setuid");
	for (pid_t child; (child = fork()) >= 0; made++)
		if (child == 0)
			for (;;)
				pause();
	require(errno == EAGAIN && made == 99, "fork");
	require(kill(-1, SIGKILL) == 0, "kill");
	while (wait(NULL) > 0)
		made--;
	pid_t again = fork();
	if (again == 0)
		_exit(0);
	require(made == 0 && again > 0 && waitpid(again, NULL, 0) == again, "fork again");
	return puts("bounded") < 0;
}

int main(int argc, char **argv)
{
	const char *task = argc > 1 ? argv[1] : "";
	size_t number = argc > 2 ? strtoul(argv[2], NULL, 10) : 0;
	if (strcmp(task, "touch") == 0)
		return touch(number);
	if (strcmp(task, "threads") == 0)
		return threads(number);
	if (strcmp(task, "vectors") == 0)
		return vectors(number);
	if (strcmp(task, "ptrace") == 0)
		return trace();
	if (strcmp(task, "io_uring") == 0)
		return ring();
	if (strcmp(task, "forks") == 0)
		return forks();
	errx(2, "usage: demanding TASK [NUMBER]");
}
