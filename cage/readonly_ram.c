/* Loaded into a clone's QEMU: /ram opens read-only, whatever QEMU asks for.
 *
 * A clone maps the template's memory privately, for which a read-only descriptor is enough. QEMU before 8.2 asks for a
 * writable one all the same, and whoever took over one QEMU could then write into the memory of every other clone.
 * (8.2 has "readonly=on,rom=off" for this: https://www.qemu.org/docs/master/system/vm-templating.html)
 *
 * It links to nothing: strcmp and syscall come from the C library that QEMU itself loads.
 */
#define _GNU_SOURCE
#include <fcntl.h>
#include <stdarg.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#define EXPORTED __attribute__((visibility("default")))

static int opened(const char *path, int flags, mode_t mode)
{
	if (strcmp(path, "/ram") == 0)
		flags = (flags & ~O_ACCMODE) | O_RDONLY;
	return (int)syscall(SYS_openat, AT_FDCWD, path, flags, mode);
}

EXPORTED int open64(const char *path, int flags, ...)
{
	mode_t mode = 0;
	if ((flags & O_CREAT) || (flags & O_TMPFILE) == O_TMPFILE) {
		va_list rest;
		va_start(rest, flags);
		mode = va_arg(rest, mode_t);
		va_end(rest);
	}
	return opened(path, flags, mode);
}

/* What open64 with two arguments becomes under _FORTIFY_SOURCE. */
EXPORTED int __open64_2(const char *path, int flags);
EXPORTED int __open64_2(const char *path, int flags)
{
	return opened(path, flags, 0);
}
