/* Preloaded into the tool, plays the user who owns the folder: what the tool has just made there gives way to a link. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/types.h>
#include <unistd.h>

static int acts(const char *call) {
    const char *when = getenv("SWAPPED_AFTER");
    return when && strcmp(when, call) == 0;
}

int fchownat(int folder, const char *name, uid_t user, gid_t group, int flags) {
    int (*real)(int, const char *, uid_t, gid_t, int) = dlsym(RTLD_NEXT, "fchownat");
    int result = real(folder, name, user, group, flags);
    if (acts("fchownat") && (rename(getenv("MADE"), getenv("ASIDE")) < 0 || symlink(getenv("OTHER"), getenv("MADE")) < 0))
        abort();
    return result;
}

int mkdirat(int folder, const char *name, mode_t mode) {
    int (*real)(int, const char *, mode_t) = dlsym(RTLD_NEXT, "mkdirat");
    int result = real(folder, name, mode);
    if (acts("mkdirat") && strcmp(name, "made") == 0 &&
        (rmdir(getenv("MADE")) < 0 || link(getenv("OTHER"), getenv("MADE")) < 0))
        abort();
    return result;
}
