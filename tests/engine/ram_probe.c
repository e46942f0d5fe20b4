/* Asks for /ram and /other as QEMU before 8.2 asks for a template's memory, and tells what it got. */
#define _GNU_SOURCE
#define _FILE_OFFSET_BITS 64
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

static void map(const char *path, const char *name, int fd, int kind)
{
	char *memory = mmap(NULL, 4096, PROT_READ | PROT_WRITE, kind, fd, 0);
	printf("%s %s=%s\n", path, name, memory == MAP_FAILED ? strerrorname_np(errno) : "ok");
	if (memory != MAP_FAILED)
		memcpy(memory, "PWNED", 5);
}

static void try(const char *path)
{
	int flags = O_RDWR; /* not a constant, so that _FORTIFY_SOURCE asks __open64_2 */
	int fd = open(path, flags);
	printf("%s open=%s\n", path, fd < 0 ? strerrorname_np(errno) : "ok");
	map(path, "shared", fd, MAP_SHARED);
	map(path, "private", fd, MAP_PRIVATE);
	printf("%s write=%s\n", path, write(fd, "PWNED", 5) == 5 ? "ok" : strerrorname_np(errno));
}

int main(int argc, char **argv)
{
	for (int i = 1; i < argc; i++)
		try(argv[i]);
	return 0;
}
