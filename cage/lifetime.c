/*
 * pyro-lifetime --signal=KILL FILE PROGRAM [ARGUMENT]...
 *
 * Runs a program until the moment in FILE: milliseconds of CLOCK_BOOTTIME, in decimal. Then it kills it and exits with
 * 137. FILE is read again every 5 seconds and when its moment has come, so whoever replaces it moves the end. A FILE
 * that is gone means that the end has come: nobody knows this machine any more. What is no number changes nothing.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum { CHECK_MS = 5000, DIGITS = 19, USAGE = 125, NOT_STARTED = 127, KILLED = 137 };

static int64_t now_ms(void) {
    struct timespec now;
    clock_gettime(CLOCK_BOOTTIME, &now);
    return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

/* Updates the end from the file; false when the file is gone. */
static bool read_end(const char *path, int64_t *end) {
    char text[DIGITS + 2], *after;
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return errno != ENOENT && errno != ENOTDIR;
    ssize_t size = read(fd, text, sizeof text - 1);
    close(fd);
    if (size <= 0)
        return true;
    text[size] = '\0';
    errno = 0;
    long long moment = strtoll(text, &after, 10);
    if (errno == 0 && after != text && (*after == '\n' || *after == '\0'))
        *end = moment;
    return true;
}

static int as_exit_code(int status) {
    return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

static int guard(pid_t child, const char *path, int64_t end, const sigset_t *waited) {
    int status;
    for (;;) {
        int64_t left = end - now_ms();
        if (left > CHECK_MS)
            left = CHECK_MS;
        if (left > 0) {
            struct timespec pause = { left / 1000, left % 1000 * 1000000 };
            sigtimedwait(waited, NULL, &pause);
        }
        if (waitpid(child, &status, WNOHANG) == child)
            return as_exit_code(status);
        if (!read_end(path, &end) || now_ms() >= end)
            break;
    }
    kill(child, SIGKILL);
    while (waitpid(child, &status, 0) < 0 && errno == EINTR)
        ;
    return KILLED;
}

int main(int argc, char **argv) {
    int64_t end = -1;
    sigset_t waited, before;
    if (argc < 4 || strcmp(argv[1], "--signal=KILL") != 0) {
        fputs("usage: pyro-lifetime --signal=KILL FILE PROGRAM [ARGUMENT]...\n", stderr);
        return USAGE;
    }
    if (!read_end(argv[2], &end) || end < 0) {
        fprintf(stderr, "pyro-lifetime: %s does not say until when\n", argv[2]);
        return USAGE;
    }
    sigemptyset(&waited);
    sigaddset(&waited, SIGCHLD);
    sigprocmask(SIG_BLOCK, &waited, &before);
    pid_t child = fork();
    if (child < 0) {
        perror("pyro-lifetime: fork");
        return USAGE;
    }
    if (child == 0) {
        sigprocmask(SIG_SETMASK, &before, NULL);
        execv(argv[3], argv + 3);
        fprintf(stderr, "pyro-lifetime: %s: %s\n", argv[3], strerror(errno));
        _exit(NOT_STARTED);
    }
    return guard(child, argv[2], end, &waited);
}
