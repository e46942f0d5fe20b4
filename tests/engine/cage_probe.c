/* Tells what a program in the cage can see and do, then waits for the end of its input.
 * Arguments: a process outside, then paths; each is opened for reading and for writing.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/utsname.h>
#include <unistd.h>

extern char **environ;

static void limit(const char *name, int resource)
{
	struct rlimit found;
	getrlimit(resource, &found);
	printf("limit %s=%lld\n", name, (long long)found.rlim_max);
}

static const char *try(const char *path, int flags)
{
	int fd = open(path, flags);
	if (fd < 0)
		return strerrorname_np(errno);
	close(fd);
	return "ok";
}

int main(int argc, char **argv)
{
	int outside = atoi(argv[1]);
	struct utsname host;
	uname(&host);
	printf("host=%s\n", host.nodename);
	printf("ids=%d %d %d\n", getuid(), geteuid(), getgid());
	printf("signal=%s\n", tgkill(outside, outside, 0) == 0 ? "ok" : strerrorname_np(errno));
	for (char **variable = environ; *variable != NULL; variable++)
		printf("variable %s\n", *variable);
	for (int i = 2; i < argc; i++)
		printf("read %s=%s\nwrite %s=%s\n", argv[i], try(argv[i], O_RDONLY), argv[i], try(argv[i], O_WRONLY));
	limit("memory", RLIMIT_AS);
	limit("file", RLIMIT_FSIZE);
	limit("core", RLIMIT_CORE);
	limit("descriptors", RLIMIT_NOFILE);
	limit("locked", RLIMIT_MEMLOCK);
	limit("threads", RLIMIT_NPROC);
	printf("end=\n");
	fflush(stdout);
	while (getchar() != EOF)
		;
	return 0;
}
