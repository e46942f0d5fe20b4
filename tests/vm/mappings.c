/* mappings TASK: programs whose memory or threads a guest's kernel can easily confuse; each prints "right" and exits with 0.
 *
 *   heap       a large heap: pages that were given back, forked, protected, moved, and those that were never touched
 *   sparse     one page in each 2 MB: the memory that this takes
 *   file       a mapped file that becomes shorter and longer
 *   barrier    a fault handler that makes the page accessible, as collectors of garbage do
 *   clocks     clocks of the vDSO beside those of system calls, in several threads
 *   pinned     threads that are bound to two processors and wait for each other without a system call
 *   handover   threads that wake each other
 */
#define _GNU_SOURCE
#include <err.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <setjmp.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define PAGE 4096UL
#define MB (1UL << 20)
#define HEAP (64 * MB)
#define PAGES (HEAP / PAGE)

static void require(int holds, const char *what)
{
	if (!holds)
		errx(1, "%s", what);
}

static char *memory_of(size_t size, int protection, int flags, int fd)
{
	char *made = mmap(NULL, size, protection, flags, fd, 0);
	require(made != MAP_FAILED, "mmap");
	return made;
}

static char *fresh(size_t size)
{
	return memory_of(size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1);
}

static size_t *word(char *memory, size_t page)
{
	return (size_t *)(memory + page * PAGE);
}

static void check(char *memory, size_t step, size_t rest, size_t factor, const char *what)
{
	for (size_t page = rest; page < PAGES; page += step)
		require(*word(memory, page) == page * factor, what);
}

static void in_child(void (*task)(char *memory), char *memory)
{
	int status;
	pid_t child = fork();
	if (child == 0) {
		task(memory);
		_exit(0);
	}
	require(child > 0 && waitpid(child, &status, 0) == child && status == 0, "the child failed");
}

static void change_copies(char *memory)
{
	for (size_t page = 0; page < PAGES; page += 3)
		*word(memory, page) = 7;
	for (size_t page = 1; page < PAGES; page += 3)
		require(*word(memory, page) == page, "a page of the child");
}

static int heap(void)
{
	char *memory = fresh(HEAP);
	for (size_t i = 0; i < PAGES; i++) {
		size_t page = i * 5 % PAGES;
		require(*word(memory, page) == 0, "new memory is not empty");
		*word(memory, page) = page;
	}
	in_child(change_copies, memory);
	check(memory, 1, 0, 1, "the child changed its parent");

	for (size_t page = 0; page < PAGES; page += 2)
		require(madvise(memory + page * PAGE, PAGE, MADV_DONTNEED) == 0, "madvise");
	for (size_t page = 0; page < PAGES; page += 8)
		*word(memory, page) = page;
	check(memory, 2, 1, 1, "a page beside one that was given back");
	check(memory, 8, 0, 1, "a page that was written again");
	check(memory, 8, 4, 0, "a page that was given back");

	for (size_t page = 0; page < PAGES; page++)
		*word(memory, page) = page;
	char *moved = mremap(memory, HEAP, 2 * HEAP, MREMAP_MAYMOVE);
	require(moved != MAP_FAILED, "mremap");
	check(moved, 1, 0, 1, "a page that moved");
	check(moved + HEAP, 1, 0, 0, "a page behind those that moved");
	require(mremap(moved, 2 * HEAP, HEAP / 2, 0) == moved, "mremap to less");
	check(fresh(HEAP), 1, 0, 0, "new memory where old memory was");
	return 0;
}

static size_t resident(void)
{
	size_t total, pages;
	FILE *file = fopen("/proc/self/statm", "r");
	require(file && fscanf(file, "%zu %zu", &total, &pages) == 2, "statm");
	fclose(file);
	return pages;
}

static int sparse(void)
{
	size_t before, blocks = 64;
	char *dense = fresh(16 * MB), *memory = fresh(blocks * 2 * MB);
	/* EINVAL: a kernel without huge pages */
	require(madvise(memory, blocks * 2 * MB, MADV_NOHUGEPAGE) == 0 || errno == EINVAL, "madvise");
	memset(dense, 1, 16 * MB);
	before = resident();
	for (size_t at = 0; at < blocks; at++)
		memory[at * 2 * MB + MB] = 1;
	require(resident() - before <= blocks * 32 + 64, "a page took more than 32 pages of memory");
	return 0;
}

static sigjmp_buf escape;
static volatile sig_atomic_t caught;

static void jump(int number)
{
	caught = number;
	siglongjmp(escape, 1);
}

static int signal_of(volatile char *at, int writes)
{
	caught = 0;
	if (sigsetjmp(escape, 1) == 0) {
		char value = *at;
		if (writes)
			*at = value;
	}
	return caught;
}

static int file(void)
{
	int fd = open("mapped", O_RDWR | O_CREAT | O_TRUNC, 0600);
	signal(SIGBUS, jump);
	signal(SIGSEGV, jump);
	require(fd >= 0 && ftruncate(fd, HEAP) == 0, "a file");
	char *shared = memory_of(HEAP, PROT_READ | PROT_WRITE, MAP_SHARED, fd);
	char *private = memory_of(HEAP, PROT_READ | PROT_WRITE, MAP_PRIVATE, fd);
	for (size_t page = 0; page < PAGES; page++)
		*word(shared, page) = page;
	for (size_t page = 0; page < PAGES; page += 2)
		*word(private, page) = page + 1;
	check(shared, 1, 0, 1, "a private page went to the file");
	require(ftruncate(fd, 10 * PAGE + 100) == 0, "truncate");
	for (size_t page = 11; page < PAGES; page += 97)
		require(signal_of(shared + page * PAGE, 1) == SIGBUS, "a page behind the end of a file");
	require(signal_of(private + 12 * PAGE, 0) == SIGBUS, "a private page behind the end");
	require(signal_of(shared + 10 * PAGE, 1) == 0 && shared[10 * PAGE + 200] == 0, "the last page");
	require(ftruncate(fd, HEAP) == 0, "truncate to more");
	for (size_t page = 11; page < PAGES; page++)
		require(*word(shared, page) == 0, "a page of a file that became longer");
	require(mprotect(shared, HEAP, PROT_READ) == 0, "mprotect");
	require(signal_of(shared, 0) == 0 && signal_of(shared, 1) == SIGSEGV, "a page that cannot be written");
	require(munmap(shared, HEAP) == 0 && signal_of(shared, 0) == SIGSEGV, "a page that is gone");
	return unlink("mapped");
}

static char *guarded;
static atomic_int faults;

static void let_write(int number, siginfo_t *info, void *unused)
{
	size_t page = ((uintptr_t)info->si_addr - (uintptr_t)guarded) / PAGE;
	(void)number, (void)unused;
	faults++;
	if (page >= PAGES || mprotect(guarded + page * PAGE, PAGE, PROT_READ | PROT_WRITE) != 0)
		_exit(3);
}

static int barrier(void)
{
	struct sigaction action = { .sa_sigaction = let_write, .sa_flags = SA_SIGINFO };
	size_t step = 16;
	guarded = fresh(HEAP);
	for (size_t page = 0; page < PAGES; page++)
		*word(guarded, page) = page;
	require(sigaction(SIGSEGV, &action, NULL) == 0 && mprotect(guarded, HEAP, PROT_READ) == 0, "mprotect");
	for (size_t page = 0; page < PAGES; page += step)
		*word(guarded, page) = page;
	require(faults == (int)(PAGES / step), "faults that were not reported, or reported twice");
	check(guarded, 1, 0, 1, "a page");
	for (size_t page = 0; page < PAGES; page += step)
		require(mprotect(guarded + page * PAGE, PAGE, PROT_NONE) == 0, "mprotect again");
	for (size_t page = 0; page < PAGES; page += step)
		*word(guarded, page) = page;
	require(faults == 2 * (int)(PAGES / step), "faults of pages without access");
	return 0;
}

static int64_t reading(clockid_t clock, int by_system_call)
{
	struct timespec read;
	require((by_system_call ? (int)syscall(SYS_clock_gettime, clock, &read) : clock_gettime(clock, &read)) == 0, "a clock");
	return read.tv_sec * 1000000000LL + read.tv_nsec;
}

static void *read_clocks(void *unused)
{
	static const clockid_t precise[] = { CLOCK_REALTIME, CLOCK_MONOTONIC, CLOCK_BOOTTIME, CLOCK_MONOTONIC_RAW };
	static _Atomic int64_t latest;
	for (int i = 0; i < 20000; i++) {
		clockid_t clock = precise[i % 4];
		int64_t before = reading(clock, i & 1), coarse = reading(CLOCK_MONOTONIC_COARSE, 0);
		int64_t between = reading(clock, ~i & 1), after = reading(clock, i & 2), monotonic = latest;
		require(before <= between && between <= after, "a clock goes back");
		require(reading(CLOCK_MONOTONIC, 0) >= monotonic, "a clock is behind that of another thread");
		latest = reading(CLOCK_MONOTONIC, 0);
		require(coarse <= latest && latest - coarse < 20000000000LL, "a coarse clock");
	}
	return unused;
}

static int in_threads(size_t count, void *(*task)(void *))
{
	pthread_t made[8];
	for (size_t i = 0; i < count; i++)
		require(pthread_create(&made[i], NULL, task, (void *)i) == 0, "pthread_create");
	for (size_t i = 0; i < count; i++)
		pthread_join(made[i], NULL);
	return 0;
}

static int clocks(void)
{
	struct timespec *there = (struct timespec *)fresh(PAGE);
	require(clock_gettime(CLOCK_MONOTONIC, there) == 0 && there->tv_sec + there->tv_nsec > 0, "into a new page");
	require(syscall(SYS_clock_gettime, CLOCK_MONOTONIC, NULL) < 0 && errno == EFAULT, "into no page");
	return in_threads(4, read_clocks);
}

static atomic_size_t turn;

static void *take_turns(void *which)
{
	cpu_set_t one;
	CPU_ZERO(&one);
	CPU_SET((size_t)which % (size_t)sysconf(_SC_NPROCESSORS_ONLN), &one);
	require(sched_setaffinity(0, sizeof one, &one) == 0, "sched_setaffinity");
	/* Each turn ends with the time slice of the thread that waits: it makes no call. */
	for (size_t i = 0; i < 20; i++) {
		while (turn % 2 != (size_t)which)
			;
		turn++;
	}
	return NULL;
}

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t changed = PTHREAD_COND_INITIALIZER;

static void *hand_over(void *which)
{
	pthread_mutex_lock(&lock);
	for (size_t i = 0; i < 3000; i++) {
		while (turn % 4 != (size_t)which)
			pthread_cond_wait(&changed, &lock);
		turn++;
		pthread_cond_broadcast(&changed);
	}
	pthread_mutex_unlock(&lock);
	return NULL;
}

int main(int argc, char **argv)
{
	static const struct {
		const char *name;
		int (*run)(void);
	} tasks[] = { { "heap", heap }, { "sparse", sparse }, { "file", file }, { "barrier", barrier }, { "clocks", clocks } };
	const char *task = argc > 1 ? argv[1] : "";
	for (size_t i = 0; i < sizeof tasks / sizeof *tasks; i++)
		if (strcmp(task, tasks[i].name) == 0)
			return tasks[i].run() || puts("right") < 0;
	if (strcmp(task, "pinned") == 0)
		return in_threads(2, take_turns) || puts("right") < 0;
	if (strcmp(task, "handover") == 0)
		return in_threads(4, hand_over) || puts("right") < 0;
	errx(2, "usage: mappings TASK");
}
