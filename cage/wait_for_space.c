/* Loaded into the daemon that serves a machine's disks: a write for which the host's disk has no space waits for it.
 *
 * QEMU pauses a machine whose disk cannot grow (werror=enospc). The daemon has no machine to pause: it would report an
 * error, and the guest's file system would drop what it was to write. So the write waits here, until there are ROOM
 * bytes: with less, the machine would use up the space that is needed to inspect and delete machines. Whoever waits holds
 * a lock on the file /waiting, which `engine/qemu/running_disk.py` looks for.
 *
 * It links to nothing: all functions come from the C library that the daemon itself loads.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <linux/falloc.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/vfs.h>
#include <time.h>
#include <unistd.h>

#define EXPORTED __attribute__((visibility("default")))
#define ROOM (8ULL << 20)

static int lacks_space(long result)
{
	return result < 0 && (errno == ENOSPC || errno == EDQUOT);
}

static void wait_for_space(int fd)
{
	struct flock lock = { .l_type = F_RDLCK, .l_whence = SEEK_SET };
	struct statfs found;
	int waiting = (int)syscall(SYS_openat, AT_FDCWD, "/waiting", O_RDONLY | O_CLOEXEC);
	if (waiting >= 0)
		fcntl(waiting, F_OFD_SETLK, &lock);
	do
		nanosleep(&(struct timespec){ 0, 100 * 1000 * 1000 }, NULL);
	while (fstatfs(fd, &found) == 0 && found.f_bavail * (unsigned long long)found.f_bsize < ROOM);
	if (waiting >= 0)
		close(waiting);
}

EXPORTED ssize_t pwrite64(int fd, const void *data, size_t size, off64_t offset)
{
	ssize_t result;
	while (lacks_space(result = syscall(SYS_pwrite64, fd, data, size, offset)))
		wait_for_space(fd);
	return result;
}

EXPORTED ssize_t pwritev64(int fd, const struct iovec *parts, int count, off64_t offset)
{
	ssize_t result;
	while (lacks_space(result = syscall(SYS_pwritev, fd, parts, count, offset, 0)))
		wait_for_space(fd);
	return result;
}

EXPORTED int fallocate64(int fd, int mode, off64_t offset, off64_t size)
{
	int result;
	while (lacks_space(result = (int)syscall(SYS_fallocate, fd, mode, offset, size)) && !(mode & FALLOC_FL_PUNCH_HOLE))
		wait_for_space(fd);
	return result;
}
