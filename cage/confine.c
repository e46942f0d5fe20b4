/* pyro-confine NAME=VALUE … -- PROGRAM ARGUMENT …: give up rights for good, then become PROGRAM.
 *
 *   uid, gid, group   become this user and group, with at most one further group; needs CAP_SETUID and CAP_SETGID
 *   as, data, stack, fsize, nofile, nproc, memlock, sigpending   resource limits, soft and hard, never above
 *                     those that there are: setrlimit(2)
 *   inodes            a number and a path, as in 32:/memory: that tmpfs holds at most so many files and folders
 *   personality       the execution domain: personality(2)
 *   keep              a comma-separated list: every other descriptor from 3 on is closed; without it, none is
 *   filter            a seccomp filter in hexadecimal digits: an array of struct sock_filter as it is in memory
 *
 * Every failure ends it with exit code 125 and one line on standard error: PROGRAM never starts with a right too many.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <grp.h>
#include <linux/capability.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <stdnoreturn.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/personality.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

static noreturn void fail(const char *what)
{
	fprintf(stderr, "pyro-confine: %s: %s\n", what, strerror(errno));
	exit(125);
}

static unsigned long long number(const char *text)
{
	char *end;
	errno = 0;
	unsigned long long value = strtoull(text, &end, 10);
	if (errno == 0 && (*text < '0' || *text > '9' || *end != '\0'))
		errno = EINVAL;
	if (errno != 0)
		fail(text);
	return value;
}

static const struct { const char *name; int resource; } LIMITS[] = {
	{ "as", RLIMIT_AS }, { "fsize", RLIMIT_FSIZE }, { "nofile", RLIMIT_NOFILE }, { "nproc", RLIMIT_NPROC },
	{ "memlock", RLIMIT_MEMLOCK }, { "data", RLIMIT_DATA }, { "sigpending", RLIMIT_SIGPENDING },
	{ "stack", RLIMIT_STACK },
};

static void limit(const char *name, const char *value)
{
	for (size_t i = 0; i < sizeof LIMITS / sizeof *LIMITS; i++) {
		if (strcmp(LIMITS[i].name, name) != 0)
			continue;
		rlim_t bound = number(value);
		struct rlimit before;
		if (getrlimit(LIMITS[i].resource, &before) == 0 && before.rlim_max < bound)
			bound = before.rlim_max;    /* we may only lower it */
		if (setrlimit(LIMITS[i].resource, &(struct rlimit){ bound, bound }) < 0)
			fail(name);
		return;
	}
	errno = EINVAL;
	fail(name);
}

static int nibble(char digit)
{
	const char *digits = "0123456789abcdef", *found = digit == '\0' ? NULL : strchr(digits, digit);
	if (found == NULL) {
		errno = EINVAL;
		fail("filter");
	}
	return (int)(found - digits);
}

static struct sock_fprog parse_filter(char *text)
{
	size_t size = strlen(text) / 2;
	unsigned char *bytes = malloc(size + 1);
	if (bytes == NULL || size == 0 || size % sizeof(struct sock_filter) != 0 || strlen(text) != 2 * size)
		fail("filter");
	for (size_t i = 0; i < size; i++)
		bytes[i] = (unsigned char)(nibble(text[2 * i]) << 4 | nibble(text[2 * i + 1]));
	return (struct sock_fprog){ (unsigned short)(size / sizeof(struct sock_filter)), (void *)bytes };
}

/* Close all descriptors from 3 on but those in `list`, which ascend. */
static void keep_only(const char *list)
{
	unsigned first = 3;
	for (char *end; *list != '\0'; list = *end == ',' ? end + 1 : end) {
		unsigned long kept = strtoul(list, &end, 10);
		errno = EINVAL;
		if (end == list || (*end != ',' && *end != '\0') || kept < first)
			fail("keep");
		if (kept > first && syscall(SYS_close_range, first, kept - 1, 0) < 0)
			fail("keep");
		first = kept + 1;
	}
	if (syscall(SYS_close_range, first, ~0U, 0) < 0)
		fail("keep");
}

/* A file costs the host about 1 KiB of memory that the size of its tmpfs does not count; by default a tmpfs holds one
 * for every second page of the host's memory. AppArmor may take our capabilities: then this default stays.
 */
static void limit_inodes(char *value)
{
	char *path = strchr(value, ':'), options[64];
	errno = EINVAL;
	if (path == NULL)
		fail("inodes");
	*path++ = '\0';
	snprintf(options, sizeof options, "nr_inodes=%llu", number(value));
	if (mount("tmpfs", path, "tmpfs", MS_REMOUNT | MS_NOSUID | MS_NODEV, options) < 0 && errno != EPERM && errno != EACCES)
		fail(path);
}

static bool has_capability(int capability)
{
	struct __user_cap_header_struct head = { _LINUX_CAPABILITY_VERSION_3, 0 };
	struct __user_cap_data_struct held[_LINUX_CAPABILITY_U32S_3] = { 0 };
	if (syscall(SYS_capget, &head, held) < 0)
		fail("cannot read the capabilities");
	return held[CAP_TO_INDEX(capability)].effective & CAP_TO_MASK(capability);
}

/* Leaving uid 0 clears all capability sets but the inheritable and the bounding one: capabilities(7). */
static void give_up_capabilities(long uid, long gid, long group)
{
	/* Who may not empty the bounding set was given an empty one; PR_SET_NO_NEW_PRIVS makes it useless anyway. */
	for (int capability = 0; has_capability(CAP_SETPCAP) && prctl(PR_CAPBSET_READ, capability, 0, 0, 0) >= 0; capability++)
		if (prctl(PR_CAPBSET_DROP, capability, 0, 0, 0) < 0)
			fail("cannot drop a capability");
	gid_t groups[] = { (gid_t)group };
	if (uid >= 0 && (setgroups(group < 0 ? 0 : 1, groups) < 0 || setresgid(gid, gid, gid) < 0
			 || setresuid(uid, uid, uid) < 0))
		fail("cannot change the user");
	struct __user_cap_header_struct head = { _LINUX_CAPABILITY_VERSION_3, 0 };
	struct __user_cap_data_struct none[_LINUX_CAPABILITY_U32S_3] = { 0 };
	if (syscall(SYS_capset, &head, none) < 0)
		fail("cannot give up the capabilities");
}

int main(int argc, char **argv)
{
	long uid = -1, gid = -1, group = -1;
	struct sock_fprog filter = { 0, NULL };
	int at = 1;
	for (; at < argc && strcmp(argv[at], "--") != 0; at++) {
		char *value = strchr(argv[at], '=');
		errno = EINVAL;
		if (value == NULL)
			fail(argv[at]);
		*value++ = '\0';
		if (strcmp(argv[at], "uid") == 0)
			uid = (long)number(value);
		else if (strcmp(argv[at], "gid") == 0)
			gid = (long)number(value);
		else if (strcmp(argv[at], "group") == 0)
			group = (long)number(value);
		else if (strcmp(argv[at], "filter") == 0)
			filter = parse_filter(value);
		else if (strcmp(argv[at], "keep") == 0)
			keep_only(value);
		else if (strcmp(argv[at], "inodes") == 0)
			limit_inodes(value);
		else if (strcmp(argv[at], "personality") == 0) {
			if (personality(number(value)) < 0)
				fail("personality");
		}
		else
			limit(argv[at], value);
	}
	errno = EINVAL;
	if (at + 1 >= argc || filter.filter == NULL || (uid < 0) != (gid < 0))
		fail("usage: pyro-confine NAME=VALUE … -- PROGRAM ARGUMENT …");
	/* 0 forbids core files, but not a core that a program of the host reads as root (core_pattern with a pipe, as
	 * systemd and Ubuntu have it); 1 forbids both: fs/coredump.c. No file is as small as 1 byte.
	 */
	if (setrlimit(RLIMIT_CORE, &(struct rlimit){ 1, 1 }) < 0 && setrlimit(RLIMIT_CORE, &(struct rlimit){ 0, 0 }) < 0)
		fail("core");
	give_up_capabilities(uid, gid, group);
	if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0)
		fail("cannot forbid new privileges");
	if (syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, 0, &filter) < 0)
		fail("cannot load the system call filter");
	execv(argv[at + 1], argv + at + 1);
	fail(argv[at + 1]);
}
