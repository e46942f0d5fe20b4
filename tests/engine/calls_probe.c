/* Makes system calls under a filter, each in a process of its own, and tells how each ended.
 * Arguments: the filter in hexadecimal digits ("" for none), the first number, the end of the numbers, and the six
 * arguments of the calls. Lines: NUMBER=an errno name, "ok", "killed" or "signal".
 */
#define _GNU_SOURCE
#include <errno.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

static void load(const char *digits)
{
	static unsigned char bytes[1 << 15];
	size_t size = strlen(digits) / 2;
	for (size_t i = 0; i < size; i++)
		sscanf(digits + 2 * i, "%2hhx", bytes + i);
	struct sock_fprog program = { size / sizeof(struct sock_filter), (void *)bytes };
	if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0 || syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, 0, &program) < 0)
		_exit(254);
}

int main(int argc, char **argv)
{
	long at[6] = { 0 };
	for (int i = 4; i < argc && i < 10; i++)
		at[i - 4] = (long)strtoull(argv[i], NULL, 0);
	unsigned long end = strtoul(argv[3], NULL, 0);
	for (unsigned long number = strtoul(argv[2], NULL, 0); number < end; number++) {
		int status;
		pid_t child = fork();
		if (child == 0) {
			setpgid(0, 0);    /* a signal to its group is its own business */
			alarm(1);    /* some of them wait */
			if (*argv[1])
				load(argv[1]);
			errno = 0;
			long answer = syscall((long)number, at[0], at[1], at[2], at[3], at[4], at[5]);
			syscall(SYS_exit_group, answer < 0 && answer >= -1 ? errno : 0);
		}
		waitpid(child, &status, 0);
		const char *how = WIFSIGNALED(status) ? WTERMSIG(status) == SIGSYS ? "killed" : "signal"
						      : WEXITSTATUS(status) ? strerrorname_np(WEXITSTATUS(status)) : "ok";
		printf("%lu=%s\n", number, how);
		fflush(stdout);
	}
	return 0;
}
