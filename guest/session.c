/*
 * Sessions: programs that go on after the request that started them, in the words of SESSIONS.md.
 *
 * Each has a keeper, a process that holds its terminal or its pipes, keeps the last part of what it wrote, and answers
 * on a Unix socket in a folder that commands do not see. The same program is keeper and client: a client makes one
 * request and ends. The keeper has one thread and one poll; it waits for no client and no program.
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
    SETTLE_MS = 100,                /* a terminal may pass on a program's last words after its end */
    INPUT_MS = 5000,
    START_MS = 10000,
    STATUS_SECONDS = 2,
    PROBE_MS = 900,
    PROBE_SECONDS = 2,
    ROUNDS = 100,                   /* of killing what has forked meanwhile */
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

/* The last `capacity` bytes of a stream; `end` counts all that ever came. */
struct ring {
    uint8_t *bytes;
    uint64_t capacity, end;
    int fd;
};

struct client {
    int fd;
    enum { FREE, ASKING, IDLING, FEEDING, STOPPING, ANSWERING, ATTACHED } state;
    struct request request;
    size_t got, fed, sent, answer_size;
    uint8_t *input, *answer;
    uint64_t cursor;
    int64_t since, deadline;
    bool killed, leaves;
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
} keeper;

/* The socket of the session that this process is about. */
static struct sockaddr_un place = { .sun_family = AF_UNIX };

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

static uint64_t first_kept(const struct ring *ring) {
    return ring->end > ring->capacity ? ring->end - ring->capacity : 0;
}

static void keep(struct ring *ring, const uint8_t *data, size_t size) {
    for (size_t done = 0; done < size;) {
        size_t at = ring->end % ring->capacity;
        size_t piece = size - done < ring->capacity - at ? size - done : ring->capacity - at;
        memcpy(ring->bytes + at, data + done, piece);
        ring->end += piece;
        done += piece;
    }
}

static void copy_kept(const struct ring *ring, uint64_t from, uint8_t *to, size_t size) {
    for (size_t done = 0; done < size;) {
        size_t at = (from + done) % ring->capacity;
        size_t piece = size - done < ring->capacity - at ? size - done : ring->capacity - at;
        memcpy(to + done, ring->bytes + at, piece);
        done += piece;
    }
}

/* Whether more may come at once. At its end a stream is closed; a terminal tells that by EIO. */
static bool take_output(struct ring *ring) {
    static uint8_t piece[PIECE];
    ssize_t size = read(ring->fd, piece, sizeof piece);
    if (size > 0) {
        keep(ring, piece, size);
        keeper.last_output = now_ms();
        return true;
    }
    if (size < 0 && (errno == EAGAIN || errno == EINTR))
        return false;
    if (ring->fd != keeper.input)    /* one descriptor of a terminal serves both ways */
        close(ring->fd);
    ring->fd = -1;
    return false;
}

static bool has_ended(void) {
    if (!keeper.exited)
        return false;
    for (int i = 0; i < STREAMS; i++)
        if (keeper.rings[i].fd >= 0)
            return now_ms() >= keeper.exited_at + SETTLE_MS;
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
    /* A zombie counts too: its first thread may have ended alone. */
    return after && sscanf(after + 1, " %c %d", &state, &parent) == 2 ? parent : 0;
}

static bool descends_from(pid_t pid, pid_t ancestor) {
    for (int depth = 0; pid > 1 && depth < 64; depth++)
        if ((pid = parent_of(pid)) == ancestor)
            return true;
    return false;
}

/* Orphans come to the keeper, so all that the program ever started is below it, whatever group it is in. */
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

static void ask_to_end(void) {
    int number = keeper.kind == TERMINAL ? SIGHUP : SIGTERM;
    signal_descendants(number);
    signal_descendants(SIGCONT);    /* the stopped ones could not hear it */
}

/* What Ctrl-C would reach: the foreground of a terminal, else the program's own group. */
static int signal_program(int number) {
    pid_t group = keeper.kind == TERMINAL ? tcgetpgrp(keeper.input) : keeper.child;
    if (group <= 0)
        group = keeper.child;
    return kill(-group, number);
}

static void reap(void) {
    struct signalfd_siginfo info;
    while (read(keeper.signals, &info, sizeof info) > 0)
        continue;
    int status;
    for (pid_t pid; (pid = waitpid(-1, &status, WNOHANG)) > 0;) {
        if (pid != keeper.child || keeper.exited)
            continue;
        keeper.exited = true;
        keeper.exited_at = now_ms();
        keeper.exit_code = WIFSIGNALED(status) ? 128 + WTERMSIG(status) : WEXITSTATUS(status);
    }
}

/* Again and again, for what has been forked meanwhile. */
static void kill_all(void) {
    for (int round = 0; round < ROUNDS && signal_descendants(SIGKILL) > 0; round++)
        reap();
}

/* ---- clients of the keeper ----------------------------------------------------------------------------------- */

static void drop(struct client *client) {
    close(client->fd);
    free(client->input);
    free(client->answer);
    *client = (struct client){ .fd = -1 };
}

static void answer(struct client *client, int error, bool with_output) {
    struct answer head = { .error = error, .ended = has_ended(), .exit_code = keeper.exit_code, .pid = keeper.child,
                           .started_ms = keeper.started_ms };
    const struct ring *ring = &keeper.rings[client->request.stream % STREAMS];
    struct winsize size = { 0 };
    if (keeper.input >= 0 && ioctl(keeper.input, TIOCGWINSZ, &size) == 0) {
        head.columns = size.ws_col;
        head.rows = size.ws_row;
    }
    for (int i = 0; i < STREAMS; i++) {
        head.first[i] = first_kept(&keeper.rings[i]);
        head.end[i] = keeper.rings[i].end;
    }
    if (with_output) {
        uint64_t first = first_kept(ring), wanted = client->request.cursor, most = client->request.most;
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
        copy_kept(ring, head.from, client->answer + sizeof head, head.size);
    client->sent = 0;
    client->state = ANSWERING;
}

static void begin_stop(struct client *client) {
    client->state = STOPPING;
    client->killed = false;
    client->deadline = now_ms() + client->request.deadline_ms;
    if (!keeper.exited)
        ask_to_end();
}

static void begin(struct client *client) {
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
        begin_stop(client);
        return;
    case ATTACH:
        client->cursor = request->cursor > first_kept(keeper.rings) ? request->cursor : first_kept(keeper.rings);
        client->state = ATTACHED;
        client->got = client->fed = 0;
        return;
    case SIGNAL:
        result = keeper.exited ? (errno = ESRCH, -1) : signal_program(request->number);
        break;
    case RESIZE:
        result = keeper.input < 0 ? (errno = ENOTTY, -1) : ioctl(keeper.input, TIOCSWINSZ, &size);
        break;
    case FORGET:
        keeper.forgotten = true;
        if (!keeper.exited)
            kill_all();
        break;
    case STATUS:
        break;
    default:
        result = (errno = EINVAL, -1);
    }
    answer(client, result < 0 ? errno : 0, false);
}

static void listen_to(struct client *client) {
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
        begin(client);
}

static void feed(struct client *client) {
    if (keeper.input < 0 || keeper.exited) {
        answer(client, EPIPE, false);
        return;
    }
    while (client->fed < client->request.size) {
        ssize_t size = write(keeper.input, client->input + client->fed, client->request.size - client->fed);
        if (size < 0)
            break;
        client->fed += size;
    }
    if (client->fed == client->request.size)
        answer(client, 0, false);
    else if (errno != EAGAIN || now_ms() >= client->deadline)
        answer(client, errno == EAGAIN ? ETIMEDOUT : errno, false);
}

static void look_whether_idle(struct client *client) {
    int64_t now = now_ms(), quiet = keeper.last_output > client->since ? keeper.last_output : client->since;
    if (client->request.idle_ms <= 0 || has_ended() || now >= client->deadline
        || now >= quiet + client->request.idle_ms)
        answer(client, 0, true);
}

static void look_whether_stopped(struct client *client) {
    if (keeper.exited) {
        kill_all();    /* those that outlived it */
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

/* What does not go in at once waits in `input`, and no more is read meanwhile. */
static bool pass_on(struct client *client, short events) {
    if (!client->input && !(client->input = malloc(PIECE)))
        return false;
    if (client->fed == client->got) {
        ssize_t size = recv(client->fd, client->input, PIECE, 0);
        if (size <= 0)
            return size < 0 && errno == EAGAIN;
        client->got = size;
        client->fed = 0;
    }
    ssize_t size = keeper.input < 0 ? (errno = EPIPE, -1)
                                    : write(keeper.input, client->input + client->fed, client->got - client->fed);
    if (size > 0)
        client->fed += size;
    return size >= 0 || (errno == EAGAIN && !(events & (POLLHUP | POLLERR)));
}

/* A client that reads too slowly misses what the ring no longer holds. */
static void stream_to(struct client *client, short events) {
    static uint8_t piece[PIECE];
    struct ring *ring = keeper.rings;
    if (((events & (POLLIN | POLLHUP)) || client->fed < client->got) && !pass_on(client, events)) {
        drop(client);
        return;
    }
    if (client->cursor < first_kept(ring))
        client->cursor = first_kept(ring);
    size_t waiting = ring->end - client->cursor < sizeof piece ? ring->end - client->cursor : sizeof piece;
    if (waiting == 0) {
        if (has_ended())
            drop(client);
        return;
    }
    copy_kept(ring, client->cursor, piece, waiting);
    ssize_t size = send(client->fd, piece, waiting, MSG_NOSIGNAL);
    if (size > 0)
        client->cursor += size;
    else if (errno != EAGAIN)
        drop(client);
}

static void accept_clients(void) {
    for (int i = 0; i < CLIENTS; i++) {
        struct client *client = &keeper.clients[i];
        if (client->state != FREE)
            continue;
        int fd = accept4(keeper.listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
        if (fd < 0)
            return;
        *client = (struct client){ .fd = fd, .state = ASKING };
    }
}

static void serve_client(struct client *client, short events) {
    if ((events & (POLLHUP | POLLERR)) && (client->state == IDLING || client->state == FEEDING)) {
        drop(client);
    } else if ((events & (POLLHUP | POLLERR)) && client->state == STOPPING) {
        close(client->fd);    /* the stop goes on without it */
        client->fd = -1;
    }
    if (client->state == ASKING && events)
        listen_to(client);
    if (client->state == FEEDING)
        feed(client);
    if (client->state == IDLING)
        look_whether_idle(client);
    if (client->state == STOPPING)
        look_whether_stopped(client);
    if (client->state == ATTACHED)
        stream_to(client, events);
    if (client->state == ANSWERING)
        send_answer(client);
}

/* ---- the keeper's loop --------------------------------------------------------------------------------------- */

static short wanted_events(const struct client *client) {
    switch (client->state) {
    case ASKING: return POLLIN;
    case ANSWERING: return POLLOUT;
    case ATTACHED:
        return (client->fed < client->got ? 0 : POLLIN) | (client->cursor < keeper.rings[0].end ? POLLOUT : 0);
    default: return 0;
    }
}

static int64_t next_moment(const struct client *client) {
    int64_t quiet = keeper.last_output > client->since ? keeper.last_output : client->since;
    switch (client->state) {
    case IDLING:
        quiet += client->request.idle_ms;
        return quiet < client->deadline ? quiet : client->deadline;
    case FEEDING:
        return client->deadline;
    case STOPPING:
        return keeper.exited ? keeper.exited_at + SETTLE_MS : client->killed ? now_ms() + SETTLE_MS : client->deadline;
    case ATTACHED:
        return keeper.exited ? keeper.exited_at + SETTLE_MS : INT64_MAX;
    default:
        return INT64_MAX;
    }
}

static void wait_for_events(struct pollfd *polled, int count) {
    int64_t moment = INT64_MAX, now = now_ms();
    for (int i = 0; i < CLIENTS; i++)
        if (keeper.clients[i].state != FREE && next_moment(&keeper.clients[i]) < moment)
            moment = next_moment(&keeper.clients[i]);
    int64_t left = moment == INT64_MAX ? -1 : moment <= now ? 0 : moment - now;
    poll(polled, count, left > INT_MAX ? INT_MAX : (int)left);
}

static bool somebody_feeds(void) {
    for (int i = 0; i < CLIENTS; i++) {
        const struct client *client = &keeper.clients[i];
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
            polled[i] = (struct pollfd){ .fd = keeper.clients[i].fd, .events = wanted_events(&keeper.clients[i]) };
            free_slots += keeper.clients[i].state == FREE;
        }
        for (int i = 0; i < STREAMS; i++)
            polled[CLIENTS + i] = (struct pollfd){ .fd = keeper.rings[i].fd, .events = POLLIN };
        struct pollfd *others = polled + CLIENTS + STREAMS;
        others[0] = (struct pollfd){ .fd = free_slots ? keeper.listener : -1, .events = POLLIN };
        others[1] = (struct pollfd){ .fd = keeper.signals, .events = POLLIN };
        others[2] = (struct pollfd){ .fd = somebody_feeds() ? keeper.input : -1, .events = POLLOUT };
        wait_for_events(polled, CLIENTS + STREAMS + 3);
        for (int i = 0; i < STREAMS; i++)
            for (int piece = 0; piece < 16 && polled[CLIENTS + i].revents && take_output(&keeper.rings[i]); piece++)
                continue;
        if (others[1].revents)
            reap();
        for (int i = 0; i < CLIENTS; i++)
            serve_client(&keeper.clients[i], polled[i].fd == keeper.clients[i].fd ? polled[i].revents : 0);
        if (others[0].revents)
            accept_clients();
        if (keeper.forgotten && keeper.exited) {
            unlink(place.sun_path);
            kill_all();
            for (int i = 0; i < CLIENTS; i++)
                if (keeper.clients[i].state == ANSWERING)
                    send_answer(&keeper.clients[i]);
            exit(0);
        }
    }
}

/* ---- starting ------------------------------------------------------------------------------------------------ */

/* The namespace in which commands run: the agent, process 1, holds it open. -1 where there is none. */
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

struct wish {
    enum kind kind;
    const char *folder;
    char **argv;
    unsigned columns, rows;
    uint64_t capacity;
    int namespace;      /* -1: this one */
};

/* The end of a terminal must be made where its device will be looked for. */
static bool open_terminal(const struct wish *wish, int *master, int *slave) {
    struct winsize size = { .ws_col = wish->columns, .ws_row = wish->rows };
    int unlocked = 0, own = open("/proc/self/ns/mnt", O_RDONLY | O_CLOEXEC);
    if (wish->namespace >= 0 && (own < 0 || setns(wish->namespace, CLONE_NEWNS) < 0))
        return false;
    *master = open("/dev/ptmx", O_RDWR | O_NOCTTY | O_NONBLOCK | O_CLOEXEC);
    if (*master >= 0 && ioctl(*master, TIOCSPTLCK, &unlocked) == 0 && ioctl(*master, TIOCSWINSZ, &size) == 0)
        *slave = ioctl(*master, TIOCGPTPEER, O_RDWR | O_NOCTTY | O_CLOEXEC);
    int error = errno;
    if (wish->namespace >= 0 && setns(own, CLONE_NEWNS) < 0)
        fail(1, "cannot return to the own namespace: %s", strerror(errno));
    close(own);
    errno = error;
    return *slave >= 0;
}

struct refusal {
    enum { STARTED, PREPARING, ENTERING, EXECUTING } step;
    int error;
};

static void tell(int report, int step) {
    struct refusal refusal = { step, errno };
    if (write(report, &refusal, sizeof refusal) < 0)
        _exit(126);    /* nobody waits for it */
}

/* In the child: becomes the program, or tells through `report` why not. */
static noreturn void become(const struct wish *wish, const int files[3], int report) {
    sigset_t none;
    sigemptyset(&none);
    int step = PREPARING;
    setsid();
    if (wish->kind == TERMINAL && ioctl(files[0], TIOCSCTTY, 0) < 0)
        goto refused;
    for (int fd = 0; fd < 3; fd++)
        if (dup2(files[fd], fd) < 0)
            goto refused;
    if (wish->namespace >= 0 && setns(wish->namespace, CLONE_NEWNS) < 0)
        goto refused;
    step = ENTERING;
    if (chdir(wish->folder) < 0)
        goto refused;
    for (int number = 1; number < NSIG; number++)
        signal(number, SIG_DFL);
    sigprocmask(SIG_SETMASK, &none, NULL);
    step = EXECUTING;
    execvp(wish->argv[0], wish->argv);
refused:
    tell(report, step);
    _exit(127);
}

static bool start_program(const struct wish *wish, int report) {
    int master = -1, slave = -1, out[2] = { -1, -1 }, err[2] = { -1, -1 };
    int null = open("/dev/null", O_RDWR | O_CLOEXEC);
    if (wish->kind == TERMINAL ? !open_terminal(wish, &master, &slave)
                               : pipe2(out, O_CLOEXEC) < 0 || pipe2(err, O_CLOEXEC) < 0)
        return false;
    const int terminal[3] = { slave, slave, slave }, pipes[3] = { null, out[1], err[1] };
    keeper.child = fork();
    if (keeper.child == 0)
        become(wish, wish->kind == TERMINAL ? terminal : pipes, report);
    if (keeper.child < 0)
        return false;
    close(slave);
    close(out[1]);
    close(err[1]);
    close(null);
    keeper.input = master;
    keeper.rings[0].fd = wish->kind == TERMINAL ? master : out[0];
    keeper.rings[1].fd = wish->kind == TERMINAL ? -1 : err[0];
    for (int i = 0; i < STREAMS; i++)
        if (keeper.rings[i].fd >= 0)
            fcntl(keeper.rings[i].fd, F_SETFL, O_NONBLOCK);
    return true;
}

static bool prepare_keeper(const struct wish *wish) {
    sigset_t handled;
    sigemptyset(&handled);
    sigaddset(&handled, SIGCHLD);
    sigprocmask(SIG_SETMASK, &handled, NULL);
    signal(SIGHUP, SIG_IGN);
    signal(SIGPIPE, SIG_IGN);
    signal(SIGTTOU, SIG_IGN);
    prctl(PR_SET_CHILD_SUBREAPER, 1);
    keeper.kind = wish->kind;
    keeper.signals = signalfd(-1, &handled, SFD_NONBLOCK | SFD_CLOEXEC);
    keeper.started_ms = wall_ms();
    for (int i = 0; i < CLIENTS; i++)
        keeper.clients[i].fd = -1;
    for (int i = 0; i < STREAMS; i++) {
        keeper.rings[i].capacity = wish->capacity;
        keeper.rings[i].bytes = mmap(NULL, wish->capacity, PROT_READ | PROT_WRITE,
                                     MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
        if (keeper.rings[i].bytes == MAP_FAILED)
            return false;
    }
    return true;
}

/* To be held while a socket is made or a dead one removed: for a moment it is there, and nobody listens yet. */
static int lock_sessions(const char *folder) {
    int fd = open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0 || flock(fd, LOCK_EX) < 0)
        fail(1, "cannot lock %s: %s", folder, strerror(errno));
    return fd;
}

/* -1 when nobody listens there. A keeper whose queue is full listens: that is EAGAIN. */
static int reach(void) {
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd >= 0 && connect(fd, (struct sockaddr *)&place, sizeof place) == 0) {
        fcntl(fd, F_SETFL, 0);
        return fd;
    }
    int error = errno;
    close(fd);
    errno = error;
    return -1;
}

/* Removes the socket when its keeper was killed. To be called under the lock. */
static void remove_dead(void) {
    int fd = reach();
    if (fd < 0 && errno == ECONNREFUSED)
        unlink(place.sun_path);
    if (fd >= 0)
        close(fd);
}

static int listen_there(void) {
    remove_dead();
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd >= 0 && bind(fd, (struct sockaddr *)&place, sizeof place) == 0 && listen(fd, 64) == 0)
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

static void go_to(const char *folder, const char *name) {
    int size = snprintf(place.sun_path, sizeof place.sun_path, "%s/%s", folder, name);
    if (size >= (int)sizeof place.sun_path)
        fail(1, "the path of the session's socket is too long");
}

/* A keeper that does not answer, because something has stopped it, must not hide the others. */
static bool ask_briefly(enum op op, struct answer *head) {
    const struct request request = { .op = op };
    const struct timeval limit = { .tv_sec = STATUS_SECONDS };
    int fd = reach();
    bool told = fd >= 0 && setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit) == 0
                && send(fd, &request, sizeof request, MSG_NOSIGNAL) == sizeof request
                && recv(fd, head, sizeof *head, MSG_WAITALL) == sizeof *head;
    if (fd >= 0)
        close(fd);
    return told;
}

/* Makes room: of the sessions whose program has ended, the one that began first goes. False when all run. */
static bool forget_oldest_ended(const char *folder) {
    const struct sockaddr_un own = place;
    struct sockaddr_un oldest = { 0 };
    struct answer head;
    int64_t began = INT64_MAX;
    DIR *all = opendir(folder);
    for (struct dirent *entry; all && (entry = readdir(all));) {
        if (entry->d_name[0] == '.')
            continue;
        go_to(folder, entry->d_name);
        if (ask_briefly(STATUS, &head) && head.ended && head.started_ms < began) {
            began = head.started_ms;
            oldest = place;
        }
    }
    if (all)
        closedir(all);
    place = oldest;
    bool forgotten = began != INT64_MAX && ask_briefly(FORGET, &head);
    place = own;
    return forgotten;
}

/* The keeper: out of reach of whoever waits for our output, or for our process group. */
static noreturn void become_keeper(const struct wish *wish, int listener, int report) {
    setsid();
    int null = open("/dev/null", O_RDWR | O_CLOEXEC);
    for (int fd = 0; fd < 3; fd++)
        dup2(null, fd);
    keeper.listener = listener;
    if (!prepare_keeper(wish) || !start_program(wish, report)) {
        tell(report, PREPARING);
        unlink(place.sun_path);
        exit(1);
    }
    close(report);
    serve();
}

/* Returns where to read what became of the start. */
static int open_session(const char *folder, const struct wish *wish) {
    int report[2];
    if (mkdir(folder, 0700) < 0 && errno != EEXIST)
        fail(1, "cannot make %s: %s", folder, strerror(errno));
    int lock = lock_sessions(folder);
    if (count_sessions(folder) >= SESSIONS && !forget_oldest_ended(folder))
        fail(5, "%d sessions run already; end some", SESSIONS);
    if (pipe2(report, O_CLOEXEC) < 0)
        fail(1, "cannot make a pipe: %s", strerror(errno));
    int listener = listen_there();
    close(lock);
    pid_t pid = fork();
    if (pid == 0) {
        close(report[0]);
        become_keeper(wish, listener, report[1]);
    }
    close(report[1]);
    if (pid < 0) {
        unlink(place.sun_path);
        fail(1, "cannot start a process: %s", strerror(errno));
    }
    return report[0];
}

/* ---- the client's side --------------------------------------------------------------------------------------- */

static int require_session(void) {
    int fd = reach();
    if (fd < 0 && errno == EAGAIN)
        fail(1, "the session's keeper has too many clients");
    if (fd < 0)
        fail(2, "there is no such session");
    return fd;
}

static void send_all(int fd, const void *data, size_t size) {
    for (const uint8_t *at = data; size > 0;) {
        ssize_t sent = send(fd, at, size, MSG_NOSIGNAL);
        if (sent < 0)
            fail(1, "the session's keeper does not listen: %s", strerror(errno));
        at += sent;
        size -= sent;
    }
}

static void receive_all(int fd, void *data, size_t size) {
    for (uint8_t *at = data; size > 0;) {
        ssize_t got = recv(fd, at, size, 0);
        if (got <= 0)
            fail(1, "the session's keeper is gone");
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

static struct answer ask(int fd, const struct request *request, const void *input) {
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
    struct answer head = ask(fd, request, input);
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

/* Neither side waits for the other: what is typed is held while the session takes none, and output goes on. */
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
                return;    /* whoever typed has left, and the program does not read */
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
        go_to(folder, entry->d_name);
        if (ask_briefly(STATUS, &head)) {
            printf("%s ", entry->d_name);
            fflush(stdout);
            print_status(&head);
        } else {
            int lock = lock_sessions(folder);
            remove_dead();
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

/* Connected within PROBE_MS, or -1. A program may listen for one of the two only. */
static int knock(int family, unsigned port) {
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

static int knock_either(unsigned port) {
    int fd = knock(AF_INET, port);
    return fd >= 0 ? fd : knock(AF_INET6, port);
}

/* The status of the answer to a request, 0 for none. */
static int ask_for_status(unsigned port, const char *host, const char *path) {
    char text[4096], answer[32] = "";
    int fd = knock_either(port), status = 0;
    int size = snprintf(text, sizeof text, "GET %s HTTP/1.1\r\nHost: %s\r\nConnection: close\r\n"
                                           "User-Agent: pyro\r\nAccept: */*\r\n\r\n", path, host);
    size_t got = 0;
    if (fd >= 0 && size < (int)sizeof text && send(fd, text, size, MSG_NOSIGNAL) == size)
        for (ssize_t more; got < sizeof answer - 1 && (more = recv(fd, answer + got, sizeof answer - 1 - got, 0)) > 0;)
            got += more;
    if (sscanf(answer, "HTTP/%*d.%*d %d", &status) != 1)
        status = 0;
    /* Read on, or the server would complain of a connection that was cut. */
    for (int pieces = 0; status && pieces < 16 && recv(fd, text, sizeof text, 0) > 0; pieces++)
        continue;
    if (fd >= 0)
        close(fd);
    return status;
}

static int probe(const char *what, int count, char **words) {
    alarm(PROBE_SECONDS);    /* whoever answers slowly does not answer */
    if (strcmp(what, "tcp") == 0 && count == 1) {
        int fd = knock_either(number(words[0]));
        return fd >= 0 ? 0 : 1;
    }
    if (strcmp(what, "http") == 0 && count == 3) {
        printf("%d\n", ask_for_status(number(words[0]), words[1], words[2]));
        return 0;
    }
    fail(2, "usage: session probe tcp PORT | probe http PORT HOST PATH");
}

static void check_name(const char *name) {
    size_t size = strlen(name);
    if (size == 0 || size > MAX_NAME || name[0] == '.' || strspn(name, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
                                                                       "0123456789._-") != size)
        fail(1, "not a name for a session: %s", name);
}

static const char usage[] =
    "usage: session [--machine] FOLDER VERB [NAME] ...    (SESSIONS.md)\n"
    "  list | open NAME terminal|pipes FOLDER COLUMNS ROWS BYTES PROGRAM [ARG ...]\n"
    "  read NAME STREAM CURSOR MOST IDLE_MS DEADLINE_MS | write NAME | signal NAME NUMBER\n"
    "  resize NAME COLUMNS ROWS | stop NAME GRACE_MS | status NAME | forget NAME | attach NAME CURSOR\n"
    "or: session probe tcp PORT | probe http PORT HOST PATH";

static void forget(void) {
    int fd = reach();
    if (fd >= 0)
        ask(fd, &(struct request){ .op = FORGET }, NULL);
}

/* Nothing to read means that the program runs. */
static void await_start(int report, const struct wish *wish) {
    static const char *const steps[] = { "start", "prepare", "enter", "execute" };
    struct refusal refusal = { 0 };
    struct pollfd polled = { .fd = report, .events = POLLIN };
    if (poll(&polled, 1, START_MS) <= 0) {
        forget();
        fail(1, "the program did not start in time");
    }
    if (read(report, &refusal, sizeof refusal) != sizeof refusal)
        return;
    forget();
    int code = refusal.step != EXECUTING ? 4 : refusal.error == ENOENT || refusal.error == ENOTDIR ? 127 : 126;
    fail(code, "cannot %s %s: %s", steps[refusal.step & 3],
         refusal.step == ENTERING ? wish->folder : wish->argv[0], strerror(refusal.error));
}

static void start(const char *folder, int namespace, char **words) {
    struct wish wish = {
        .kind = strcmp(words[0], "terminal") == 0 ? TERMINAL : PIPES, .folder = words[1], .columns = number(words[2]),
        .rows = number(words[3]), .capacity = number(words[4]), .argv = words + 5, .namespace = namespace,
    };
    if (wish.capacity < 4096 || wish.capacity > 64 << 20)
        fail(1, "between 4 KiB and 64 MiB of output can be kept");
    await_start(open_session(folder, &wish), &wish);
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
    go_to(argv[1], argv[3]);
    if (strcmp(verb, "open") == 0 && count >= 6) {
        start(argv[1], namespace, words);
        return 0;
    }
    struct request request = { 0 };
    if (strcmp(verb, "read") == 0 && count == 5)
        request = (struct request){ .op = READ, .stream = number(words[0]), .cursor = number(words[1]),
                                    .most = number(words[2]), .idle_ms = number(words[3]), .deadline_ms = number(words[4]) };
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
