/*
 * Preloaded into the tool: kills it just before its n-th change of a name, n being DIES_AT (0: never), and makes the
 * file DIED first.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

static void count(void) {
    static long changes;
    if (++changes != atol(getenv("DIES_AT")))
        return;
    close(open(getenv("DIED"), O_WRONLY | O_CREAT | O_CLOEXEC, 0600));
    kill(getpid(), SIGKILL);
}

#define COUNTED(name, parameters, arguments)                                   \
    int name parameters {                                                      \
        int (*real) parameters = (int (*) parameters)dlsym(RTLD_NEXT, #name);  \
        count();                                                               \
        return real arguments;                                                 \
    }

COUNTED(symlinkat, (const char *to, int folder, const char *name), (to, folder, name))
COUNTED(mkdirat, (int folder, const char *name, mode_t mode), (folder, name, mode))
COUNTED(unlinkat, (int folder, const char *name, int flags), (folder, name, flags))
COUNTED(chmod, (const char *name, mode_t mode), (name, mode))
COUNTED(renameat, (int from, const char *name, int to, const char *new_name), (from, name, to, new_name))

long syscall(long number, ...) {
    __builtin_va_list list;
    long words[6];
    long (*real)(long, ...) = (long (*)(long, ...))dlsym(RTLD_NEXT, "syscall");
    __builtin_va_start(list, number);
    for (int i = 0; i < 6; i++)
        words[i] = __builtin_va_arg(list, long);
    __builtin_va_end(list);
    if (number == SYS_renameat2)
        count();
    return real(number, words[0], words[1], words[2], words[3], words[4], words[5]);
}
