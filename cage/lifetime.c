/*
 * pyro-lifetime --signal=KILL FILE [group=GROUP] [expendable] PROGRAM [ARGUMENT]... [--and ...]...
 *
 * Runs programs side by side until the moment in FILE: milliseconds of CLOCK_BOOTTIME, in decimal. Then it kills them
 * and exits with 137. When one of them ends, it kills the others and exits as that one did. FILE is read again every 5
 * seconds and when its moment has come, so whoever replaces it moves the end. A FILE that is gone means that the end
 * has come: nobody knows this machine any more. What is no number changes nothing.
 *
 * GROUP is the folder of a control group, which the program joins before it starts. The processes of an expendable one
 * are those that the host's kernel kills first when it has no memory left: proc_pid_oom_score_adj(5).
 *
 * The programs' output goes through a pipe to ours, the first 1 MiB of it; the rest is read and thrown away, so that a
 * guest cannot fill the host's disk with a log.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum {
    CHECK_MS = 5000, DIGITS = 19, MOST = 4, MOST_OUTPUT = 1 << 20, USAGE = 125, NOT_STARTED = 127, KILLED = 137,
};

static pid_t children[MOST];
static int count;
static int output[2];   /* a pipe */

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

/* Kills our children, among which are those that lost their parent: bubblewrap's inner process does not yet end with
 * the outer one in the moment after it was made.
 */
static void kill_children(void) {
    char path[64];
    long child;
    for (int i = 0; i < count; i++)
        if (children[i] > 0)
            kill(children[i], SIGKILL);
    snprintf(path, sizeof path, "/proc/self/task/%d/children", getpid());
    FILE *list = fopen(path, "re");
    while (list && fscanf(list, "%ld", &child) == 1)
        kill((pid_t)child, SIGKILL);
    if (list)
        fclose(list);
}

static void end_all(void) {
    pid_t ended;
    do {
        kill_children();
        ended = waitpid(-1, NULL, 0);
        for (int i = 0; i < count; i++)
            if (ended > 0 && children[i] == ended)
                children[i] = 0;
    } while (ended > 0 || errno == EINTR);
}

/* The status of a program that has ended; false when all go on. A process that lost its parent is not one. */
static bool reap(int *status) {
    for (pid_t ended; (ended = waitpid(-1, status, WNOHANG)) > 0;)
        for (int i = 0; i < count; i++)
            if (children[i] == ended) {
                children[i] = 0;    /* its number may be another process's by now */
                return true;
            }
    return false;
}

/* Copies what the programs have written; false when there is nothing. A full disk loses output and stops nothing. */
static bool copy_output(void) {
    static size_t copied;
    char text[4096];
    ssize_t size = read(output[0], text, sizeof text);
    if (size <= 0)
        return false;
    size_t part = (size_t)size < MOST_OUTPUT - copied ? (size_t)size : MOST_OUTPUT - copied;
    for (size_t at = 0; at < part;) {
        ssize_t written = write(STDOUT_FILENO, text + at, part - at);
        if (written < 0 && errno != EINTR)
            break;
        at += written > 0 ? (size_t)written : 0;
    }
    copied += part;
    return true;
}

static int guard(const char *path, int64_t end, const sigset_t *before) {
    int status;
    sigset_t waiting = *before;
    sigdelset(&waiting, SIGCHLD);
    int64_t checked = now_ms();
    for (;;) {
        int64_t now = now_ms(), left = (end < checked + CHECK_MS ? end : checked + CHECK_MS) - now;
        if (left > 0) {
            struct timespec pause = { left / 1000, left % 1000 * 1000000 };
            struct pollfd written = { .fd = output[0], .events = POLLIN };
            if (ppoll(&written, 1, &pause, &waiting) > 0 && (!copy_output() && written.revents & POLLHUP))
                output[0] = -1;     /* nobody holds the other end: poll(2) ignores this number */
        }
        if (reap(&status)) {
            end_all();
            while (copy_output())
                ;
            return as_exit_code(status);
        }
        if (left > 0 && now_ms() < end && now_ms() < checked + CHECK_MS)
            continue;
        checked = now_ms();
        if (!read_end(path, &end) || now_ms() >= end)
            break;
    }
    end_all();
    return KILLED;
}

static void wake(int signal) {
    (void)signal;   /* it ends ppoll(2) */
}

static bool put(const char *path, const char *text) {
    int fd = open(path, O_WRONLY | O_CLOEXEC);
    bool written = fd >= 0 && write(fd, text, strlen(text)) == (ssize_t)strlen(text);
    if (!written)
        fprintf(stderr, "pyro-lifetime: %s: %s\n", path, strerror(errno));
    close(fd);
    return written;
}

/* Does what the words before the program ask for, and returns the program; NULL when that failed. */
static char **prepare(char **words) {
    char path[PATH_MAX];
    for (; *words; words++) {
        if (strncmp(*words, "group=", 6) == 0) {
            snprintf(path, sizeof path, "%s/cgroup.procs", *words + 6);
            if (!put(path, "0"))
                return NULL;
        } else if (strcmp(*words, "expendable") == 0) {
            if (!put("/proc/self/oom_score_adj", "1000"))
                return NULL;
        } else {
            return words;
        }
    }
    return NULL;
}

static bool start(char **words, const sigset_t *signals) {
    pid_t guard_pid = getpid(), child = fork();
    if (child < 0) {
        perror("pyro-lifetime: fork");
        return false;
    }
    if (child == 0) {
        if (prctl(PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0) < 0 || getppid() != guard_pid)
            _exit(NOT_STARTED);
        sigprocmask(SIG_SETMASK, signals, NULL);
        signal(SIGCHLD, SIG_DFL);
        dup2(output[1], STDOUT_FILENO);
        dup2(output[1], STDERR_FILENO);
        words = prepare(words);
        if (words == NULL)
            _exit(NOT_STARTED);
        execv(words[0], words);
        fprintf(stderr, "pyro-lifetime: %s: %s\n", words[0], strerror(errno));
        _exit(NOT_STARTED);
    }
    children[count++] = child;
    return true;
}

int main(int argc, char **argv) {
    int64_t end = -1;
    sigset_t blocked, before;
    if (argc < 4 || strcmp(argv[1], "--signal=KILL") != 0) {
        fputs("usage: pyro-lifetime --signal=KILL FILE [group=GROUP] [expendable] PROGRAM [ARGUMENT]... [--and ...]...\n",
              stderr);
        return USAGE;
    }
    if (!read_end(argv[2], &end) || end < 0) {
        fprintf(stderr, "pyro-lifetime: %s does not say until when\n", argv[2]);
        return USAGE;
    }
    sigemptyset(&blocked);
    sigaddset(&blocked, SIGCHLD);
    sigprocmask(SIG_BLOCK, &blocked, &before);
    signal(SIGCHLD, wake);
    prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0);
    if (pipe2(output, O_CLOEXEC) < 0 || fcntl(output[0], F_SETFL, O_NONBLOCK) < 0) {
        perror("pyro-lifetime: pipe");
        return USAGE;
    }
    for (char **first = argv + 3, **word = first;; word++) {
        bool is_last = *word == NULL;
        if (!is_last && strcmp(*word, "--and") != 0)
            continue;
        *word = NULL;
        if (count == MOST || *first == NULL || !start(first, &before)) {
            end_all();
            return USAGE;
        }
        if (is_last) {
            close(output[1]);
            return guard(argv[2], end, &before);
        }
        first = word + 1;
    }
}
