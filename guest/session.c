/*
 * The session program: runs programs that outlast the request that started them; see SESSIONS.md.
 *
 * Each session has a supervisor, a process that holds its terminal or pipes, stores the last part of its output, and
 * answers on a Unix socket in a folder that commands do not see. Supervisor and client are the same program: a client
 * makes one request and exits. The supervisor has one thread and one poll, and never blocks on a client or a program.
 */
#define _GNU_SOURCE
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <netinet/in.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <stdnoreturn.h>
#include <string.h>
#include <sys/file.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <termios.h>
#include <time.h>
#include <unistd.h>

enum {
    STREAMS = 2,                    /* a terminal has one, pipes have two: standard output and standard error */
    CLIENTS = 24,
    SESSIONS = 64,
    MAX_NAME = 96,
    LARGEST_INPUT = 1 << 20,
    MAX_READ = 1 << 20,
    PIECE = 64 << 10,
    SETTLE_MS = 100,                /* a terminal may deliver a program's last output after its end */
    INPUT_MS = 5000,
    START_MS = 10000,
    STATUS_SECONDS = 2,
    PROBE_MS = 900,
    PROBE_SECONDS = 2,
    ROUNDS = 100,                   /* rounds of SIGKILL, for processes that fork meanwhile */
};

enum op { READ = 1, WRITE, SIGNAL, RESIZE, STOP, FORGET, STATUS, ATTACH };
enum kind { TERMINAL, PIPES };

struct request {
    uint32_t op, stream, number, columns, rows, size;
    uint64_t cursor, most;
    int64_t idle_ms, deadline_ms;
};

struct answer {
    int32_t error, ended, exit_code, pid;
    uint64_t from, first[STREAMS], end[STREAMS];
    int64_t started_ms;
    uint32_t columns, rows, size;
};

/* The last `capacity` bytes of a stream; `end` counts all bytes since it began. */
struct ring {
    uint8_t *bytes;
    uint64_t capacity, end;
    int fd;
};

struct client {
    int fd;
    enum { FREE, REQUESTING, IDLING, FEEDING, STOPPING, ANSWERING, ATTACHED } state;
    struct request request;
    size_t got, fed, sent, answer_size;
    uint8_t *input, *answer;
    uint64_t cursor;
    int64_t since, deadline;
    bool killed;
};

static struct {
    enum kind kind;
    struct ring rings[STREAMS];
    struct client clients[CLIENTS];
    int listener, signals, input;
    pid_t child;
    bool exited, forgotten;
    int exit_code;
    int64_t exited_at, last_output, started_ms;
} supervisor;

/* The socket of the session that this process works on. */
static struct sockaddr_un address = { .sun_family = AF_UNIX };

static noreturn void fail(int code, const char *format, ...) {
    va_list arguments;
    va_start(arguments, format);
    vfprintf(stderr, format, arguments);
    va_end(arguments);
    fputc('\n', stderr);
    exit(code);
}

static int64_t now_ms(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return now.tv_sec * INT64_C(1000) + now.tv_nsec / 1000000;
}

static int64_t wall_ms(void) {
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    return now.tv_sec * INT64_C(1000) + now.tv_nsec / 1000000;
}

/* ---- what the program wrote --------------------------------------------------------------------------------- */

static uint64_t first_stored(const struct ring *ring) {
    return ring->end > ring->capacity ? ring->end - ring->capacity : 0;
}

static void store(struct ring *ring, const uint8_t *data, size_t size) {
    for (size_t done = 0; done < size;) {
        size_t at = ring->end % ring->capacity;
        size_t piece = size - done < ring->capacity - at ? size - done : ring->capacity - at;
        memcpy(ring->bytes + at, data + done, piece);
        ring->end += piece;
        done += piece;
    }
}

static void copy_stored(const struct ring *ring, uint64_t from, uint8_t *to, size_t size) {
    for (size_t done = 0; done < size;) {
        size_t at = (from + done) % ring->capacity;
        size_t piece = size - done < ring->capacity - at ? size - done : ring->capacity - at;
        memcpy(to + done, ring->bytes + at, piece);
        done += piece;
    }
}

/* Reads output once; returns whether there may be more. At the end of the stream it closes the descriptor; a terminal
 * reports its end by EIO. */
static bool take_output(struct ring *ring) {
    static uint8_t piece[PIECE];
    ssize_t size = read(ring->fd, piece, sizeof piece);
    if (size > 0) {
        store(ring, piece, size);
        supervisor.last_output = now_ms();
        return true;
    }
    if (size < 0 && (errno == EAGAIN || errno == EINTR))
        return false;
    if (ring->fd != supervisor.input)    /* a terminal has one descriptor for both directions */
        close(ring->fd);
    ring->fd = -1;
    return false;
}

static bool has_ended(void) {
    if (!supervisor.exited)
        return false;
    for (int i = 0; i < STREAMS; i++)
        if (supervisor.rings[i].fd >= 0)
            return now_ms() >= supervisor.exited_at + SETTLE_MS;
    return true;
}

/* ---- ending the program -------------------------------------------------------------------------------------- */

static pid_t parent_of(pid_t pid) {
    char path[64], text[512];
    snprintf(path, sizeof path, "/proc/%d/stat", pid);
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    ssize_t size = fd < 0 ? -1 : read(fd, text, sizeof text - 1);
    if (fd >= 0)
        close(fd);
    if (size <= 0)
        return 0;
    text[size] = '\0';
    char *after = strrchr(text, ')');
    pid_t parent = 0;
    char state;
    /* A zombie counts: other threads of it may still run. */
    return after && sscanf(after + 1, " %c %d", &state, &parent) == 2 ? parent : 0;
}

static bool descends_from(pid_t pid, pid_t ancestor) {
    for (int depth = 0; pid > 1 && depth < 64; depth++)
        if ((pid = parent_of(pid)) == ancestor)
            return true;
    return false;
}

/* Signals every process that the program has started. Orphans are adopted by the supervisor, so all are its
 * descendants, whatever their process group is. */
static int signal_descendants(int number) {
    int found = 0;
    DIR *all = opendir("/proc");
    if (!all)
        return 0;
    for (struct dirent *entry; (entry = readdir(all));) {
        pid_t pid = atoi(entry->d_name);
        if (pid > 1 && descends_from(pid, getpid()) && kill(pid, number) == 0)
            found++;
    }
    closedir(all);
    return found;
}

static void request_end(void) {
    int number = supervisor.kind == TERMINAL ? SIGHUP : SIGTERM;
    signal_descendants(number);
    signal_descendants(SIGCONT);    /* stopped processes handle the signal only when they continue */
}

/* Signals what Ctrl-C would reach: the foreground group of a terminal, else the program's own group. */
static int signal_program(int number) {
    pid_t group = supervisor.kind == TERMINAL ? tcgetpgrp(supervisor.input) : supervisor.child;
    if (group <= 0)
        group = supervisor.child;
    return kill(-group, number);
}

static void reap(void) {
    struct signalfd_siginfo info;
    while (read(supervisor.signals, &info, sizeof info) > 0)
        continue;
    int status;
    for (pid_t pid; (pid = waitpid(-1, &status, WNOHANG)) > 0;) {
        if (pid != supervisor.child || supervisor.exited)
            continue;
        supervisor.exited = true;
        supervisor.exited_at = now_ms();
        supervisor.exit_code = WIFSIGNALED(status) ? 128 + WTERMSIG(status) : WEXITSTATUS(status);
    }
}

/* Repeats, because processes may fork meanwhile. */
static void kill_all(void) {
    for (int round = 0; round < ROUNDS && signal_descendants(SIGKILL) > 0; round++)
        reap();
}

/* ---- clients of the supervisor ----------------------------------------------------------------------------------- */

static void drop(struct client *client) {
    close(client->fd);
    free(client->input);
    free(client->answer);
    *client = (struct client){ .fd = -1 };
}

static void answer(struct client *client, int error, bool with_output) {
    struct answer head = { .error = error, .ended = has_ended(), .exit_code = supervisor.exit_code,
                           .pid = supervisor.child, .started_ms = supervisor.started_ms };
    const struct ring *ring = &supervisor.rings[client->request.stream % STREAMS];
    struct winsize size = { 0 };
    if (supervisor.input >= 0 && ioctl(supervisor.input, TIOCGWINSZ, &size) == 0) {
        head.columns = size.ws_col;
        head.rows = size.ws_row;
    }
    for (int i = 0; i < STREAMS; i++) {
        head.first[i] = first_stored(&supervisor.rings[i]);
        head.end[i] = supervisor.rings[i].end;
    }
    if (with_output) {
        uint64_t first = first_stored(ring), wanted = client->request.cursor, most = client->request.most;
        head.from = wanted < first ? first : wanted > ring->end ? ring->end : wanted;
        most = most < MAX_READ ? most : MAX_READ;
        head.size = ring->end - head.from < most ? ring->end - head.from : most;
    }
    client->answer_size = sizeof head + head.size;
    client->answer = malloc(client->answer_size);
    if (!client->answer) {
        drop(client);
        return;
    }
    memcpy(client->answer, &head, sizeof head);
    if (head.size)
        copy_stored(ring, head.from, client->answer + sizeof head, head.size);
    client->sent = 0;
    client->state = ANSWERING;
}

static void start_stop(struct client *client) {
    client->state = STOPPING;
    client->killed = false;
    client->deadline = now_ms() + client->request.deadline_ms;
    if (!supervisor.exited)
        request_end();
}

static void start_request(struct client *client) {
    const struct request *request = &client->request;
    struct winsize size = { .ws_col = request->columns, .ws_row = request->rows };
    int result = 0;
    switch (request->op) {
    case READ:
        client->since = now_ms();
        client->deadline = client->since + request->deadline_ms;
        client->state = IDLING;
        return;
    case WRITE:
        client->deadline = now_ms() + INPUT_MS;
        client->state = FEEDING;
        return;
    case STOP:
        start_stop(client);
        return;
    case ATTACH:
        client->cursor = first_stored(supervisor.rings);
        if (request->cursor > client->cursor)
            client->cursor = request->cursor;
        client->state = ATTACHED;
        client->got = client->fed = 0;
        return;
    case SIGNAL:
        result = supervisor.exited ? (errno = ESRCH, -1) : signal_program(request->number);
        break;
    case RESIZE:
        result = supervisor.input < 0 ? (errno = ENOTTY, -1) : ioctl(supervisor.input, TIOCSWINSZ, &size);
        break;
    case FORGET:
        supervisor.forgotten = true;
        if (!supervisor.exited)
            kill_all();
        break;
    case STATUS:
        break;
    default:
        result = (errno = EINVAL, -1);
    }
    answer(client, result < 0 ? errno : 0, false);
}

static void read_request(struct client *client) {
    struct request *request = &client->request;
    if (client->got < sizeof *request) {
        ssize_t size = recv(client->fd, (uint8_t *)request + client->got, sizeof *request - client->got, 0);
        if (size == 0 || (size < 0 && errno != EAGAIN)) {
            drop(client);
            return;
        }
        client->got += size > 0 ? size : 0;
        if (client->got < sizeof *request)
            return;
        if (request->size > LARGEST_INPUT || (request->size && !(client->input = malloc(request->size)))) {
            drop(client);
            return;
        }
    }
    size_t had = client->got - sizeof *request;
    if (had < request->size) {
        ssize_t size = recv(client->fd, client->input + had, request->size - had, 0);
        if (size == 0 || (size < 0 && errno != EAGAIN)) {
            drop(client);
            return;
        }
        client->got += size > 0 ? size : 0;
    }
    if (client->got == sizeof *request + request->size)
        start_request(client);
}

static void feed(struct client *client) {
    if (supervisor.input < 0 || supervisor.exited) {
        answer(client, EPIPE, false);
        return;
    }
    while (client->fed < client->request.size) {
        ssize_t size = write(supervisor.input, client->input + client->fed, client->request.size - client->fed);
        if (size < 0)
            break;
        client->fed += size;
    }
    if (client->fed == client->request.size)
        answer(client, 0, false);
    else if (errno != EAGAIN || now_ms() >= client->deadline)
        answer(client, errno == EAGAIN ? ETIMEDOUT : errno, false);
}

static void check_idle(struct client *client) {
    int64_t now = now_ms(), quiet = supervisor.last_output > client->since ? supervisor.last_output : client->since;
    if (client->request.idle_ms <= 0 || has_ended() || now >= client->deadline
        || now >= quiet + client->request.idle_ms)
        answer(client, 0, true);
}

static void check_stopped(struct client *client) {
    if (supervisor.exited) {
        kill_all();    /* descendants that outlived the program */
        if (has_ended())
            answer(client, 0, false);
    } else if (now_ms() >= client->deadline && !client->killed) {
        client->killed = true;
        kill_all();
    }
}

static void send_answer(struct client *client) {
    ssize_t size = send(client->fd, client->answer + client->sent, client->answer_size - client->sent, MSG_NOSIGNAL);
    if (size < 0 && errno == EAGAIN)
        return;
    client->sent += size > 0 ? size : 0;
    if (size < 0 || client->sent == client->answer_size)
        drop(client);
}

/* Passes input from an attached client to the program. What the program does not take waits in `input`, and no more is
 * read meanwhile. */
static bool send_input(struct client *client, short events) {
    if (!client->input && !(client->input = malloc(PIECE)))
        return false;
    if (client->fed == client->got) {
        ssize_t size = recv(client->fd, client->input, PIECE, 0);
        if (size <= 0)
            return size < 0 && errno == EAGAIN;
        client->got = size;
        client->fed = 0;
    }
    ssize_t size = supervisor.input < 0 ? (errno = EPIPE, -1)
                                    : write(supervisor.input, client->input + client->fed, client->got - client->fed);
    if (size > 0)
        client->fed += size;
    return size >= 0 || (errno == EAGAIN && !(events & (POLLHUP | POLLERR)));
}

/* Serves an attached client. One that reads too slowly misses output that the ring no longer holds. */
static void stream_to(struct client *client, short events) {
    static uint8_t piece[PIECE];
    struct ring *ring = supervisor.rings;
    if (((events & (POLLIN | POLLHUP)) || client->fed < client->got) && !send_input(client, events)) {
        drop(client);
        return;
    }
    if (client->cursor < first_stored(ring))
        client->cursor = first_stored(ring);
    size_t waiting = ring->end - client->cursor < sizeof piece ? ring->end - client->cursor : sizeof piece;
    if (waiting == 0) {
        if (has_ended())
            drop(client);
        return;
    }
    copy_stored(ring, client->cursor, piece, waiting);
    ssize_t size = send(client->fd, piece, waiting, MSG_NOSIGNAL);
    if (size > 0)
        client->cursor += size;
    else if (errno != EAGAIN)
        drop(client);
}

static void accept_clients(void) {
    for (int i = 0; i < CLIENTS; i++) {
        struct client *client = &supervisor.clients[i];
        if (client->state != FREE)
            continue;
        int fd = accept4(supervisor.listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
        if (fd < 0)
            return;
        *client = (struct client){ .fd = fd, .state = REQUESTING };
    }
}

static void serve_client(struct client *client, short events) {
    if ((events & (POLLHUP | POLLERR)) && (client->state == IDLING || client->state == FEEDING)) {
        drop(client);
    } else if ((events & (POLLHUP | POLLERR)) && client->state == STOPPING) {
        close(client->fd);    /* the stop continues without the client */
        client->fd = -1;
    }
    if (client->state == REQUESTING && events)
        read_request(client);
    if (client->state == FEEDING)
        feed(client);
    if (client->state == IDLING)
        check_idle(client);
    if (client->state == STOPPING)
        check_stopped(client);
    if (client->state == ATTACHED)
        stream_to(client, events);
    if (client->state == ANSWERING)
        send_answer(client);
}

/* ---- the supervisor's loop --------------------------------------------------------------------------------------- */

static short wanted_events(const struct client *client) {
    switch (client->state) {
    case REQUESTING: return POLLIN;
    case ANSWERING: return POLLOUT;
    case ATTACHED:
        return (client->fed < client->got ? 0 : POLLIN) | (client->cursor < supervisor.rings[0].end ? POLLOUT : 0);
    default: return 0;
    }
}

static int64_t next_moment(const struct client *client) {
    int64_t quiet = supervisor.last_output > client->since ? supervisor.last_output : client->since;
    switch (client->state) {
    case IDLING:
        quiet += client->request.idle_ms;
        return quiet < client->deadline ? quiet : client->deadline;
    case FEEDING:
        return client->deadline;
    case STOPPING:
        if (supervisor.exited)
            return supervisor.exited_at + SETTLE_MS;
        return client->killed ? now_ms() + SETTLE_MS : client->deadline;
    case ATTACHED:
        return supervisor.exited ? supervisor.exited_at + SETTLE_MS : INT64_MAX;
    default:
        return INT64_MAX;
    }
}

static void wait_for_events(struct pollfd *polled, int count) {
    int64_t moment = INT64_MAX, now = now_ms();
    for (int i = 0; i < CLIENTS; i++)
        if (supervisor.clients[i].state != FREE && next_moment(&supervisor.clients[i]) < moment)
            moment = next_moment(&supervisor.clients[i]);
    int64_t left = moment == INT64_MAX ? -1 : moment <= now ? 0 : moment - now;
    poll(polled, count, left > INT_MAX ? INT_MAX : (int)left);
}

static bool has_waiting_input(void) {
    for (int i = 0; i < CLIENTS; i++) {
        const struct client *client = &supervisor.clients[i];
        if (client->state == FEEDING || (client->state == ATTACHED && client->fed < client->got))
            return true;
    }
    return false;
}

static noreturn void serve(void) {
    for (;;) {
        struct pollfd polled[CLIENTS + STREAMS + 3];
        int free_slots = 0;
        for (int i = 0; i < CLIENTS; i++) {
            const struct client *client = &supervisor.clients[i];
            polled[i] = (struct pollfd){ .fd = client->fd, .events = wanted_events(client) };
            free_slots += client->state == FREE;
        }
        for (int i = 0; i < STREAMS; i++)
            polled[CLIENTS + i] = (struct pollfd){ .fd = supervisor.rings[i].fd, .events = POLLIN };
        struct pollfd *others = polled + CLIENTS + STREAMS;
        others[0] = (struct pollfd){ .fd = free_slots ? supervisor.listener : -1, .events = POLLIN };
        others[1] = (struct pollfd){ .fd = supervisor.signals, .events = POLLIN };
        others[2] = (struct pollfd){ .fd = has_waiting_input() ? supervisor.input : -1, .events = POLLOUT };
        wait_for_events(polled, CLIENTS + STREAMS + 3);
        for (int i = 0; i < STREAMS; i++)
            for (int piece = 0; piece < 16 && polled[CLIENTS + i].revents && take_output(&supervisor.rings[i]); piece++)
                continue;
        if (others[1].revents)
            reap();
        for (int i = 0; i < CLIENTS; i++)
            serve_client(&supervisor.clients[i], polled[i].fd == supervisor.clients[i].fd ? polled[i].revents : 0);
        if (others[0].revents)
            accept_clients();
        if (supervisor.forgotten && supervisor.exited) {
            unlink(address.sun_path);
            kill_all();
            for (int i = 0; i < CLIENTS; i++)
                if (supervisor.clients[i].state == ANSWERING)
                    send_answer(&supervisor.clients[i]);
            exit(0);
        }
    }
}

/* ---- starting ------------------------------------------------------------------------------------------------ */

/* Opens the mount namespace in which commands run, which process 1 holds open. Returns -1 if there is none. */
static int command_namespace(void) {
    char own[64] = "", found[64], path[PATH_MAX];
    if (readlink("/proc/self/ns/mnt", own, sizeof own - 1) < 0)
        return -1;
    DIR *all = opendir("/proc/1/fd");
    if (!all)
        return -1;
    int result = -1;
    for (struct dirent *entry; result < 0 && (entry = readdir(all));) {
        memset(found, 0, sizeof found);
        snprintf(path, sizeof path, "/proc/1/fd/%s", entry->d_name);
        if (readlink(path, found, sizeof found - 1) > 0 && strncmp(found, "mnt:[", 5) == 0 && strcmp(own, found) != 0)
            result = open(path, O_RDONLY | O_CLOEXEC);
    }
    closedir(all);
    return result;
}

struct spec {
    enum kind kind;
    const char *folder;
    char **argv;
    unsigned columns, rows;
    uint64_t capacity;
    int namespace;      /* -1: the current one */
};

/* Opens a terminal. Its slave must be made in the mount namespace in which programs look for its device. */
static bool open_terminal(const struct spec *spec, int *master, int *slave) {
    struct winsize size = { .ws_col = spec->columns, .ws_row = spec->rows };
    int unlocked = 0, own = open("/proc/self/ns/mnt", O_RDONLY | O_CLOEXEC);
    if (spec->namespace >= 0 && (own < 0 || setns(spec->namespace, CLONE_NEWNS) < 0))
        return false;
    *master = open("/dev/ptmx", O_RDWR | O_NOCTTY | O_NONBLOCK | O_CLOEXEC);
    if (*master >= 0 && ioctl(*master, TIOCSPTLCK, &unlocked) == 0 && ioctl(*master, TIOCSWINSZ, &size) == 0)
        *slave = ioctl(*master, TIOCGPTPEER, O_RDWR | O_NOCTTY | O_CLOEXEC);
    int error = errno;
    if (spec->namespace >= 0 && setns(own, CLONE_NEWNS) < 0)
        fail(1, "cannot return to the own namespace: %s", strerror(errno));
    close(own);
    errno = error;
    return *slave >= 0;
}

struct start_failure {
    enum { STARTED, PREPARING, ENTERING, EXECUTING } step;
    int error;
};

static void report_failure(int report, int step) {
    struct start_failure failure = { step, errno };
    if (write(report, &failure, sizeof failure) < 0)
        _exit(126);    /* no reader is left */
}

/* Runs in the child: executes the program, or reports the failure to `report`. */
static noreturn void exec_program(const struct spec *spec, const int files[3], int report) {
    sigset_t none;
    sigemptyset(&none);
    int step = PREPARING;
    setsid();
    if (spec->kind == TERMINAL && ioctl(files[0], TIOCSCTTY, 0) < 0)
        goto failed;
    for (int fd = 0; fd < 3; fd++)
        if (dup2(files[fd], fd) < 0)
            goto failed;
    if (spec->namespace >= 0 && setns(spec->namespace, CLONE_NEWNS) < 0)
        goto failed;
    step = ENTERING;
    if (chdir(spec->folder) < 0)
        goto failed;
    for (int number = 1; number < NSIG; number++)
        signal(number, SIG_DFL);
    sigprocmask(SIG_SETMASK, &none, NULL);
    step = EXECUTING;
    execvp(spec->argv[0], spec->argv);
failed:
    report_failure(report, step);
    _exit(127);
}

static bool start_program(const struct spec *spec, int report) {
    int master = -1, slave = -1, out[2] = { -1, -1 }, err[2] = { -1, -1 };
    int null = open("/dev/null", O_RDWR | O_CLOEXEC);
    if (spec->kind == TERMINAL ? !open_terminal(spec, &master, &slave)
                               : pipe2(out, O_CLOEXEC) < 0 || pipe2(err, O_CLOEXEC) < 0)
        return false;
    const int terminal[3] = { slave, slave, slave }, pipes[3] = { null, out[1], err[1] };
    supervisor.child = fork();
    if (supervisor.child == 0)
        exec_program(spec, spec->kind == TERMINAL ? terminal : pipes, report);
    if (supervisor.child < 0)
        return false;
    close(slave);
    close(out[1]);
    close(err[1]);
    close(null);
    supervisor.input = master;
    supervisor.rings[0].fd = spec->kind == TERMINAL ? master : out[0];
    supervisor.rings[1].fd = spec->kind == TERMINAL ? -1 : err[0];
    for (int i = 0; i < STREAMS; i++)
        if (supervisor.rings[i].fd >= 0)
            fcntl(supervisor.rings[i].fd, F_SETFL, O_NONBLOCK);
    return true;
}

static bool prepare_supervisor(const struct spec *spec) {
    sigset_t handled;
    sigemptyset(&handled);
    sigaddset(&handled, SIGCHLD);
    sigprocmask(SIG_SETMASK, &handled, NULL);
    signal(SIGHUP, SIG_IGN);
    signal(SIGPIPE, SIG_IGN);
    signal(SIGTTOU, SIG_IGN);
    prctl(PR_SET_CHILD_SUBREAPER, 1);
    supervisor.kind = spec->kind;
    supervisor.signals = signalfd(-1, &handled, SFD_NONBLOCK | SFD_CLOEXEC);
    supervisor.started_ms = wall_ms();
    for (int i = 0; i < CLIENTS; i++)
        supervisor.clients[i].fd = -1;
    for (int i = 0; i < STREAMS; i++) {
        supervisor.rings[i].capacity = spec->capacity;
        supervisor.rings[i].bytes = mmap(NULL, spec->capacity, PROT_READ | PROT_WRITE,
                                     MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
        if (supervisor.rings[i].bytes == MAP_FAILED)
            return false;
    }
    return true;
}

/* Locks the folder. Hold the lock while a socket is made or removed: between bind() and listen() a socket looks
 * dead. */
static int lock_sessions(const char *folder) {
    int fd = open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0 || flock(fd, LOCK_EX) < 0)
        fail(1, "cannot lock %s: %s", folder, strerror(errno));
    return fd;
}

/* Connects to the session's supervisor. Returns -1 when none listens, and with EAGAIN when its queue is full. */
static int connect_supervisor(void) {
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd >= 0 && connect(fd, (struct sockaddr *)&address, sizeof address) == 0) {
        fcntl(fd, F_SETFL, 0);
        return fd;
    }
    int error = errno;
    close(fd);
    errno = error;
    return -1;
}

/* Removes the socket if its supervisor was killed. The caller holds the lock. */
static void remove_dead_socket(void) {
    int fd = connect_supervisor();
    if (fd < 0 && errno == ECONNREFUSED)
        unlink(address.sun_path);
    if (fd >= 0)
        close(fd);
}

static int listen_at_address(void) {
    remove_dead_socket();
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd >= 0 && bind(fd, (struct sockaddr *)&address, sizeof address) == 0 && listen(fd, 64) == 0)
        return fd;
    if (errno == EADDRINUSE)
        fail(3, "there is such a session already");
    fail(1, "cannot listen: %s", strerror(errno));
}

static int count_sessions(const char *folder) {
    int count = 0;
    DIR *all = opendir(folder);
    if (!all)
        return 0;
    for (struct dirent *entry; (entry = readdir(all));)
        count += entry->d_name[0] != '.';
    closedir(all);
    return count;
}

static void set_address(const char *folder, const char *name) {
    int size = snprintf(address.sun_path, sizeof address.sun_path, "%s/%s", folder, name);
    if (size >= (int)sizeof address.sun_path)
        fail(1, "the path of the session's socket is too long");
}

/* Sends a request with a time limit, so that a supervisor that does not answer does not block the listing of others.
 * Returns whether it answered. */
static bool send_request_briefly(enum op op, struct answer *head) {
    const struct request request = { .op = op };
    const struct timeval limit = { .tv_sec = STATUS_SECONDS };
    int fd = connect_supervisor();
    bool answered = fd >= 0 && setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit) == 0
                && send(fd, &request, sizeof request, MSG_NOSIGNAL) == sizeof request
                && recv(fd, head, sizeof *head, MSG_WAITALL) == sizeof *head;
    if (fd >= 0)
        close(fd);
    return answered;
}

/* Removes the oldest session whose program has ended. Returns false when all programs run. */
static bool forget_oldest_ended(const char *folder) {
    const struct sockaddr_un own = address;
    struct sockaddr_un oldest = { 0 };
    struct answer head;
    int64_t began = INT64_MAX;
    DIR *all = opendir(folder);
    for (struct dirent *entry; all && (entry = readdir(all));) {
        if (entry->d_name[0] == '.')
            continue;
        set_address(folder, entry->d_name);
        if (send_request_briefly(STATUS, &head) && head.ended && head.started_ms < began) {
            began = head.started_ms;
            oldest = address;
        }
    }
    if (all)
        closedir(all);
    address = oldest;
    bool forgotten = began != INT64_MAX && send_request_briefly(FORGET, &head);
    address = own;
    return forgotten;
}

/* Turns this process into the supervisor, out of reach of signals to the client's process group and of readers of its
 * output. */
static noreturn void become_supervisor(const struct spec *spec, int listener, int report) {
    setsid();
    int null = open("/dev/null", O_RDWR | O_CLOEXEC);
    for (int fd = 0; fd < 3; fd++)
        dup2(null, fd);
    supervisor.listener = listener;
    if (!prepare_supervisor(spec) || !start_program(spec, report)) {
        report_failure(report, PREPARING);
        unlink(address.sun_path);
        exit(1);
    }
    close(report);
    serve();
}

/* Starts a session. Returns the descriptor to read its start failure from. */
static int open_session(const char *folder, const struct spec *spec) {
    int report[2];
    if (mkdir(folder, 0700) < 0 && errno != EEXIST)
        fail(1, "cannot make %s: %s", folder, strerror(errno));
    int lock = lock_sessions(folder);
    if (count_sessions(folder) >= SESSIONS && !forget_oldest_ended(folder))
        fail(5, "%d sessions run already; end some", SESSIONS);
    if (pipe2(report, O_CLOEXEC) < 0)
        fail(1, "cannot make a pipe: %s", strerror(errno));
    int listener = listen_at_address();
    close(lock);
    pid_t pid = fork();
    if (pid == 0) {
        close(report[0]);
        become_supervisor(spec, listener, report[1]);
    }
    close(report[1]);
    if (pid < 0) {
        unlink(address.sun_path);
        fail(1, "cannot start a process: %s", strerror(errno));
    }
    return report[0];
}

/* ---- the client's side --------------------------------------------------------------------------------------- */

static int require_session(void) {
    int fd = connect_supervisor();
    if (fd < 0 && errno == EAGAIN)
        fail(1, "the session's supervisor has too many clients");
    if (fd < 0)
        fail(2, "there is no such session");
    return fd;
}

static void send_all(int fd, const void *data, size_t size) {
    for (const uint8_t *at = data; size > 0;) {
        ssize_t sent = send(fd, at, size, MSG_NOSIGNAL);
        if (sent < 0)
            fail(1, "the session's supervisor does not listen: %s", strerror(errno));
        at += sent;
        size -= sent;
    }
}

static void receive_all(int fd, void *data, size_t size) {
    for (uint8_t *at = data; size > 0;) {
        ssize_t got = recv(fd, at, size, 0);
        if (got <= 0)
            fail(1, "the session's supervisor is gone");
        at += got;
        size -= got;
    }
}

static void write_all(const void *data, size_t size) {
    for (const uint8_t *at = data; size > 0;) {
        ssize_t written = write(STDOUT_FILENO, at, size);
        if (written < 0)
            exit(1);
        at += written;
        size -= written;
    }
}

static void print_status(const struct answer *head) {
    char line[256];
    int size = snprintf(line, sizeof line, "%s %d %d %lld %u %u %llu %llu %llu %llu %llu\n",
                        head->ended ? "ended" : "running", head->exit_code, head->pid, (long long)head->started_ms,
                        head->columns, head->rows, (unsigned long long)head->from,
                        (unsigned long long)head->first[0], (unsigned long long)head->end[0],
                        (unsigned long long)head->first[1], (unsigned long long)head->end[1]);
    write_all(line, size);
}

static struct answer send_request(int fd, const struct request *request, const void *input) {
    struct answer head;
    send_all(fd, request, sizeof *request);
    if (request->size)
        send_all(fd, input, request->size);
    receive_all(fd, &head, sizeof head);
    if (head.error == EPIPE || head.error == ESRCH)
        fail(6, "the program has ended");
    if (head.error == ETIMEDOUT)
        fail(7, "the program does not read its input");
    if (head.error)
        fail(1, "%s", strerror(head.error));
    return head;
}

static void request_and_print(const struct request *request, const void *input) {
    int fd = require_session();
    struct answer head = send_request(fd, request, input);
    print_status(&head);
    for (uint8_t piece[PIECE]; head.size > 0;) {
        uint32_t size = head.size < sizeof piece ? head.size : sizeof piece;
        receive_all(fd, piece, size);
        write_all(piece, size);
        head.size -= size;
    }
}

static uint32_t read_input(uint8_t *input) {
    size_t size = 0;
    for (ssize_t got; size < LARGEST_INPUT && (got = read(STDIN_FILENO, input + size, LARGEST_INPUT - size)) > 0;)
        size += got;
    if (size == LARGEST_INPUT && read(STDIN_FILENO, input, 1) > 0)
        fail(1, "more than %d bytes of input at once", LARGEST_INPUT);
    return size;
}

/* Attaches to a session. Neither direction blocks the other: input waits while the session takes none, and output
 * continues. */
static void attach(uint64_t cursor) {
    static uint8_t held[PIECE], piece[PIECE];
    struct request request = { .op = ATTACH, .cursor = cursor };
    ssize_t size = 0, sent = 0;
    int fd = require_session();
    send_all(fd, &request, sizeof request);
    fcntl(fd, F_SETFL, O_NONBLOCK);
    for (;;) {
        bool holds = sent < size;
        struct pollfd polled[2] = { { .fd = STDIN_FILENO, .events = holds ? 0 : POLLIN },
                                    { .fd = fd, .events = POLLIN | (holds ? POLLOUT : 0) } };
        poll(polled, 2, -1);
        if (polled[1].revents & (POLLIN | POLLHUP | POLLERR)) {
            ssize_t got = recv(fd, piece, sizeof piece, 0);
            if (got == 0 || (got < 0 && errno != EAGAIN))
                return;
            if (got > 0)
                write_all(piece, got);
        }
        if (holds) {
            ssize_t more = send(fd, held + sent, size - sent, MSG_NOSIGNAL);
            if (more < 0 && errno != EAGAIN)
                return;
            sent += more > 0 ? more : 0;
            if (sent < size && (polled[0].revents & POLLHUP))
                return;    /* the input has ended, and the program does not read */
        } else if (polled[0].revents) {
            if ((size = read(STDIN_FILENO, held, sizeof held)) <= 0)
                return;
            sent = 0;
        }
    }
}

static void list(const char *folder) {
    DIR *all = opendir(folder);
    if (!all)
        return;
    for (struct dirent *entry; (entry = readdir(all));) {
        struct answer head;
        if (entry->d_name[0] == '.')
            continue;
        set_address(folder, entry->d_name);
        if (send_request_briefly(STATUS, &head)) {
            printf("%s ", entry->d_name);
            fflush(stdout);
            print_status(&head);
        } else {
            int lock = lock_sessions(folder);
            remove_dead_socket();
            close(lock);
        }
    }
    closedir(all);
}

static uint64_t number(const char *text) {
    char *end;
    errno = 0;
    unsigned long long value = strtoull(text, &end, 10);
    if (errno || end == text || *end)
        fail(1, "not a number: %s", text);
    return value;
}

/* ---- whether a service is ready ------------------------------------------------------------------------------ */

/* Connects to a port of the loopback interface within PROBE_MS; returns -1 if it cannot. A program may listen on IPv4
 * or IPv6 only. */
static int connect_loopback(int family, unsigned port) {
    union { struct sockaddr any; struct sockaddr_in in; struct sockaddr_in6 in6; } address = { 0 };
    socklen_t size = family == AF_INET ? sizeof address.in : sizeof address.in6;
    struct timeval limit = { .tv_usec = PROBE_MS * 1000 };
    if (family == AF_INET)
        address.in = (struct sockaddr_in){ .sin_family = AF_INET, .sin_port = htons(port),
                                           .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
    else
        address.in6 = (struct sockaddr_in6){ .sin6_family = AF_INET6, .sin6_port = htons(port),
                                             .sin6_addr = IN6ADDR_LOOPBACK_INIT };
    int fd = socket(family, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return -1;
    setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &limit, sizeof limit);
    setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit);
    if (connect(fd, &address.any, size) == 0)
        return fd;
    close(fd);
    return -1;
}

static int connect_either(unsigned port) {
    int fd = connect_loopback(AF_INET, port);
    return fd >= 0 ? fd : connect_loopback(AF_INET6, port);
}

/* Returns the status of the answer to a GET request, 0 for none. */
static int http_status(unsigned port, const char *host, const char *path) {
    char text[4096], answer[32] = "";
    int fd = connect_either(port), status = 0;
    int size = snprintf(text, sizeof text, "GET %s HTTP/1.1\r\nHost: %s\r\nConnection: close\r\n"
                                           "User-Agent: pyro\r\nAccept: */*\r\n\r\n", path, host);
    size_t got = 0;
    if (fd >= 0 && size < (int)sizeof text && send(fd, text, size, MSG_NOSIGNAL) == size)
        for (ssize_t more; got < sizeof answer - 1 && (more = recv(fd, answer + got, sizeof answer - 1 - got, 0)) > 0;)
            got += more;
    if (sscanf(answer, "HTTP/%*d.%*d %d", &status) != 1)
        status = 0;
    /* Reads the rest, so that the server does not log a broken connection. */
    for (int pieces = 0; status && pieces < 16 && recv(fd, text, sizeof text, 0) > 0; pieces++)
        continue;
    if (fd >= 0)
        close(fd);
    return status;
}

static int probe(const char *what, int count, char **words) {
    alarm(PROBE_SECONDS);    /* a slow answer counts as none */
    if (strcmp(what, "tcp") == 0 && count == 1) {
        int fd = connect_either(number(words[0]));
        return fd >= 0 ? 0 : 1;
    }
    if (strcmp(what, "http") == 0 && count == 3) {
        printf("%d\n", http_status(number(words[0]), words[1], words[2]));
        return 0;
    }
    fail(2, "usage: session probe tcp PORT | probe http PORT HOST PATH");
}

static void check_name(const char *name) {
    size_t size = strlen(name);
    static const char allowed[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-";
    if (size == 0 || size > MAX_NAME || name[0] == '.' || strspn(name, allowed) != size)
        fail(1, "not a name for a session: %s", name);
}

static const char usage[] =
    "usage: session [--machine] FOLDER VERB [NAME] ...    (SESSIONS.md)\n"
    "  list | open NAME terminal|pipes FOLDER COLUMNS ROWS BYTES PROGRAM [ARG ...]\n"
    "  read NAME STREAM CURSOR MOST IDLE_MS DEADLINE_MS | write NAME | signal NAME NUMBER\n"
    "  resize NAME COLUMNS ROWS | stop NAME GRACE_MS | status NAME | forget NAME | attach NAME CURSOR\n"
    "or: session probe tcp PORT | probe http PORT HOST PATH";

static void forget(void) {
    int fd = connect_supervisor();
    if (fd >= 0)
        send_request(fd, &(struct request){ .op = FORGET }, NULL);
}

/* Waits until the program runs. The end of `report` without data means that it does. */
static void await_start(int report, const struct spec *spec) {
    static const char *const steps[] = { "start", "prepare", "enter", "execute" };
    struct start_failure failure = { 0 };
    struct pollfd polled = { .fd = report, .events = POLLIN };
    if (poll(&polled, 1, START_MS) <= 0) {
        forget();
        fail(1, "the program did not start in time");
    }
    if (read(report, &failure, sizeof failure) != sizeof failure)
        return;
    forget();
    int code = failure.step != EXECUTING ? 4 : failure.error == ENOENT || failure.error == ENOTDIR ? 127 : 126;
    fail(code, "cannot %s %s: %s", steps[failure.step & 3],
         failure.step == ENTERING ? spec->folder : spec->argv[0], strerror(failure.error));
}

static void start(const char *folder, int namespace, char **words) {
    struct spec spec = {
        .kind = strcmp(words[0], "terminal") == 0 ? TERMINAL : PIPES, .folder = words[1], .columns = number(words[2]),
        .rows = number(words[3]), .capacity = number(words[4]), .argv = words + 5, .namespace = namespace,
    };
    if (spec.capacity < 4096 || spec.capacity > 64 << 20)
        fail(1, "between 4 KiB and 64 MiB of output can be kept");
    await_start(open_session(folder, &spec), &spec);
    request_and_print(&(struct request){ .op = STATUS }, NULL);
}

int main(int argc, char **argv) {
    static uint8_t input[LARGEST_INPUT];
    int namespace = -1;
    if (argc > 2 && strcmp(argv[1], "probe") == 0)
        return probe(argv[2], argc - 3, argv + 3);
    if (argc > 1 && strcmp(argv[1], "--machine") == 0) {
        if ((namespace = command_namespace()) < 0)
            fail(1, "the workspace's root is not there");
        argv++;
        argc--;
    }
    if (argc == 3 && strcmp(argv[2], "list") == 0) {
        list(argv[1]);
        return 0;
    }
    if (argc < 4)
        fail(2, "%s", usage);
    char **words = argv + 4;
    const char *verb = argv[2];
    int count = argc - 4;
    check_name(argv[3]);
    set_address(argv[1], argv[3]);
    if (strcmp(verb, "open") == 0 && count >= 6) {
        start(argv[1], namespace, words);
        return 0;
    }
    struct request request = { 0 };
    if (strcmp(verb, "read") == 0 && count == 5)
        request = (struct request){ .op = READ, .stream = number(words[0]), .cursor = number(words[1]),
                                    .most = number(words[2]), .idle_ms = number(words[3]),
                                    .deadline_ms = number(words[4]) };
    else if (strcmp(verb, "write") == 0 && count == 0)
        request = (struct request){ .op = WRITE, .size = read_input(input) };
    else if (strcmp(verb, "signal") == 0 && count == 1)
        request = (struct request){ .op = SIGNAL, .number = number(words[0]) };
    else if (strcmp(verb, "resize") == 0 && count == 2)
        request = (struct request){ .op = RESIZE, .columns = number(words[0]), .rows = number(words[1]) };
    else if (strcmp(verb, "stop") == 0 && count == 1)
        request = (struct request){ .op = STOP, .deadline_ms = number(words[0]) };
    else if (strcmp(verb, "status") == 0 && count == 0)
        request.op = STATUS;
    else if (strcmp(verb, "forget") == 0 && count == 0)
        request.op = FORGET;
    else if (strcmp(verb, "attach") == 0 && count == 1) {
        attach(number(words[0]));
        return 0;
    } else
        fail(2, "%s", usage);
    request_and_print(&request, input);
    return 0;
}
