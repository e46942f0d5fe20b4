/*
 * pyro-lifetime --signal=KILL FILE PROGRAM [ARGUMENT]... [--and PROGRAM [ARGUMENT]...]...
 *
 * Runs programs side by side until the moment in FILE: milliseconds of CLOCK_BOOTTIME, in decimal. Then it kills them
 * and exits with 137. When one of them ends, it kills the others and exits as that one did. FILE is read again every 5
 * seconds and when its moment has come, so whoever replaces it moves the end. A FILE that is gone means that the end has
 * come: nobody knows this machine any more. What is no number changes nothing.
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

enum { CHECK_MS = 5000, DIGITS = 19, MOST = 4, USAGE = 125, NOT_STARTED = 127, KILLED = 137 };

static pid_t children[MOST];
static int count;

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

static void end_all(void) {
    for (int i = 0; i < count; i++)
        if (children[i] > 0)
            kill(children[i], SIGKILL);
    while (waitpid(-1, NULL, 0) > 0 || errno == EINTR)
        ;
}

/* The status of a child that has ended; false when all go on. */
static bool reap(int *status) {
    pid_t ended = waitpid(-1, status, WNOHANG);
    for (int i = 0; i < count; i++)
        if (ended > 0 && children[i] == ended)
            children[i] = 0;    /* its number may be another process's by now */
    return ended > 0;
}

static int guard(const char *path, int64_t end, const sigset_t *waited) {
    int status;
    for (;;) {
        int64_t left = end - now_ms();
        if (left > CHECK_MS)
            left = CHECK_MS;
        if (left > 0) {
            struct timespec pause = { left / 1000, left % 1000 * 1000000 };
            sigtimedwait(waited, NULL, &pause);
        }
        if (reap(&status)) {
            end_all();
            return as_exit_code(status);
        }
        if (!read_end(path, &end) || now_ms() >= end)
            break;
    }
    end_all();
    return KILLED;
}

static bool start(char **words, const sigset_t *signals) {
    pid_t child = fork();
    if (child < 0) {
        perror("pyro-lifetime: fork");
        return false;
    }
    if (child == 0) {
        sigprocmask(SIG_SETMASK, signals, NULL);
        execv(words[0], words);
        fprintf(stderr, "pyro-lifetime: %s: %s\n", words[0], strerror(errno));
        _exit(NOT_STARTED);
    }
    children[count++] = child;
    return true;
}

int main(int argc, char **argv) {
    int64_t end = -1;
    sigset_t waited, before;
    if (argc < 4 || strcmp(argv[1], "--signal=KILL") != 0) {
        fputs("usage: pyro-lifetime --signal=KILL FILE PROGRAM [ARGUMENT]... [--and PROGRAM [ARGUMENT]...]...\n", stderr);
        return USAGE;
    }
    if (!read_end(argv[2], &end) || end < 0) {
        fprintf(stderr, "pyro-lifetime: %s does not say until when\n", argv[2]);
        return USAGE;
    }
    sigemptyset(&waited);
    sigaddset(&waited, SIGCHLD);
    sigprocmask(SIG_BLOCK, &waited, &before);
    for (char **first = argv + 3, **word = first;; word++) {
        bool is_last = *word == NULL;
        if (!is_last && strcmp(*word, "--and") != 0)
            continue;
        *word = NULL;
        if (count == MOST || *first == NULL || !start(first, &before)) {
            end_all();
            return USAGE;
        }
        if (is_last)
            return guard(argv[2], end, &waited);
        first = word + 1;
    }
}
