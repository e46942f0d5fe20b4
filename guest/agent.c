/*
 * The agent: process 1 of a workspace's virtual machine. It serves the protocol of PROTOCOL.md on up to 16
 * streams: virtio-serial ports in a machine, any connected stream sockets with `agent --serve FD...` on a host.
 *
 * One thread, one epoll. Events only set flags; all work is done afterwards, port by port, so nothing acts on an
 * event whose descriptor has been closed meanwhile. Nothing waits for a peer: what cannot be sent is queued, what
 * cannot be queued is not read.
 *
 * The agent stays outside the root in which commands run; they enter it, each for itself, by setns().
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <glob.h>
#include <libgen.h>
#include <limits.h>
#include <net/if.h>
#include <net/route.h>
#include <netinet/in.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <spawn.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <stdnoreturn.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/reboot.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "frames.h"

#ifndef PYRO_BUILD
#define PYRO_BUILD "unknown"
#endif

enum { VERSION = 1, PORTS = 16, NONCE_SIZE = 16 };

enum {
    READ_BUDGET = 1 << 20,          /* bytes one port may bring in before the others have their turn */
    OUT_LIMIT = 1 << 20,            /* a command's pipes are not read while so much waits to be sent */
    PIPE_READ = 128 << 10,          /* one frame of output */
    REPLY_ROOM = 4 << 10,           /* more than any answer takes */
    REPLIES_ROOM = 64 << 10,        /* a client that leaves more than this unread has lost the thread */
    INPUT_WINDOW = 256 << 10,
    TAKEN_STEP = 64 << 10,
    GROWN_PIPE = 1 << 20,
    DRAINS = 256,
    ABSENCE_MS = 200,               /* so long no client on a virtio port, and it is taken for gone */
    DEVICE_DEADLINE_MS = 10000,
    GOODBYE_DEADLINE_MS = 200,
    ALIVE_STEP_MS = 500,            /* so often a client that waits for a flush or a tool hears of us */
};

enum type {
    HELLO = 1, SETUP, EXEC, INPUT, SIGNAL, FLUSH, POWEROFF, CLOCK,
    WELCOME = 64, OK, ERROR, STARTED, STDOUT, STDERR, TAKEN, EXIT, ALIVE,
};

enum tag {
    TAG_NONCE = 1, TAG_VERSION, TAG_BUILD, TAG_PHASE, TAG_CLOCK, TAG_ENTROPY, TAG_HOSTNAME, TAG_FILE, TAG_ARG,
    TAG_ENV, TAG_CWD, TAG_TIMEOUT_MS, TAG_STDIN, TAG_NUMBER, TAG_TEXT, TAG_SIGNALLED, TAG_TIMED_OUT,
    TAG_TOOL, TAG_GENERATION, TAG_PAUSE, TAG_ALIVE,
};

static const uint8_t SYNC[16] = { 255, 255, 255, 255, 255, 255, 255, 255, 'P', 'Y', 'R', 'O', '/', '1', '\r', '\n' };
static const char DEFAULT_PATH[] = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/* Bytes first in, first out, always contiguous. */
struct queue {
    uint8_t *bytes;
    size_t capacity, start, end;
};

/* Our end of a command's standard output or error. */
struct pipe_end {
    int fd;          /* -1: closed */
    bool readable;   /* as far as we know */
    bool hung_up;    /* no writer is left */
    bool grown;
    size_t owed;     /* once the command has ended: what it had written by then and we have not yet sent */
};

struct command {
    bool present, ended, timed_out;
    pid_t pid;
    int status;
    int64_t deadline_ns;       /* 0: none */
    struct pipe_end outputs[2];
    int input;                 /* -1: closed by either side */
    bool input_writable, input_ends, input_grown;
    size_t unreported;         /* input bytes taken since the last TAKEN */
};

struct port {
    int fd;                    /* -1: gone for good */
    enum { LOST, SYNCED, OPEN } state;
    bool readable, blocked;
    int64_t absent_until_ns;   /* 0: nothing says that the client has gone; else, when to believe it */
    struct queue in, out, input;
    size_t frame_start;        /* of the frame being built in `out` */
    enum type frame_type;
    struct command command;
    pid_t flusher;             /* 0: no FLUSH under way */
    int64_t next_alive_ns;     /* 0: the client waits for nothing that is silent by nature */
};

enum phase { TEMPLATE, READY };

static struct {
    bool is_machine;           /* process 1 of a virtual machine, not a guest of somebody's host */
    enum phase phase;
    bool setup_seen;
    int epoll, signals, null;
    int own_namespace;         /* the initramfs, where the agent lives */
    int command_namespace;     /* -1: commands run where the agent does */
    int disk;
    const struct port *pausing;    /* whose client has every other process stopped; NULL: nobody's */
    bool children_ended;
    struct port ports[PORTS];
    int drains[DRAINS];        /* pipes whose command has ended: read and thrown away */
    unsigned oldest_drain;
} agent;

/* What an epoll event belongs to. */
enum source { FROM_SIGNALS, FROM_PORT, FROM_STDOUT, FROM_STDERR, FROM_INPUT, FROM_DRAIN };

/* ---- small things ------------------------------------------------------------------------------------------- */

static int64_t now_ns(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * 1000000000 + now.tv_nsec;
}

static noreturn void die(const char *why) {
    int console = agent.is_machine ? open("/dev/console", O_WRONLY | O_NOCTTY | O_CLOEXEC) : STDERR_FILENO;
    dprintf(console < 0 ? STDERR_FILENO : console, "pyro agent: %s\n", why);
    if (agent.is_machine) {
        sync();
        reboot(RB_POWER_OFF);
    }
    _exit(1);
}

static void close_fd(int *fd) {
    if (*fd >= 0)
        close(*fd);
    *fd = -1;
}

static int set_nonblocking(int fd) {
    int flags = fcntl(fd, F_GETFL);
    return flags < 0 ? -1 : fcntl(fd, F_SETFL, flags | O_NONBLOCK);
}

static int watch(int operation, int fd, uint32_t events, enum source source, unsigned index) {
    struct epoll_event event = { .events = events, .data.u64 = (uint64_t)source << 32 | index };
    return epoll_ctl(agent.epoll, operation, fd, &event);
}

static size_t queued(const struct queue *queue) {
    return queue->end - queue->start;
}

/* Contiguous free bytes at the end, after moving what is held to the front if less than `wanted` are there. */
static size_t make_room(struct queue *queue, size_t wanted) {
    if (queue->start == queue->end)
        queue->start = queue->end = 0;
    if (queue->capacity - queue->end < wanted) {
        memmove(queue->bytes, queue->bytes + queue->start, queued(queue));
        queue->end -= queue->start;
        queue->start = 0;
    }
    return queue->capacity - queue->end;
}

/* ---- fields of a request ------------------------------------------------------------------------------------ */

static bool is_number(uint8_t tag) {
    return tag == TAG_VERSION || tag == TAG_CLOCK || tag == TAG_TIMEOUT_MS || tag == TAG_STDIN || tag == TAG_NUMBER
        || tag == TAG_TOOL || tag == TAG_GENERATION || tag == TAG_PAUSE
        || tag == TAG_ALIVE;
}

/* Checked once for every request, so that the rest may rely on it. */
static bool fields_are_valid(const struct frame *frame) {
    size_t position = 0;
    struct field field;
    while (next_field(frame, &position, &field))
        if (is_number(field.tag) && field.size != NUMBER_SIZE)
            return false;
    return position == frame->size;
}

static struct field find_field(const struct frame *frame, enum tag tag) {
    size_t position = 0;
    struct field field;
    while (next_field(frame, &position, &field))
        if (field.tag == tag)
            return field;
    return (struct field){ 0 };
}

static uint64_t find_number(const struct frame *frame, enum tag tag) {
    struct field field = find_field(frame, tag);
    return field.data ? number_at(field.data) : 0;
}

/* ---- answers ------------------------------------------------------------------------------------------------ */

/* Room for the pieces below is made by serve_port(), which never lets a port's queue become too full for them. */
static void put(struct port *port, const void *data, size_t size) {
    memcpy(port->out.bytes + port->out.end, data, size);
    port->out.end += size;
}

static void begin_frame(struct port *port, enum type type) {
    make_room(&port->out, REPLY_ROOM);
    port->frame_start = port->out.end;
    port->frame_type = type;
    port->out.end += HEADER_SIZE;
}

static void end_frame(struct port *port) {
    uint8_t *bytes = port->out.bytes;
    port->out.end = complete_frame(bytes + port->frame_start, port->frame_type, bytes + port->out.end) - bytes;
}

static void put_field(struct port *port, enum tag tag, const void *data, uint32_t size) {
    port->out.end = write_field(port->out.bytes + port->out.end, tag, data, size) - port->out.bytes;
}

static void put_number(struct port *port, enum tag tag, uint64_t number) {
    number = htole64(number);
    put_field(port, tag, &number, sizeof number);
}

static void answer_number(struct port *port, enum type type, uint64_t number) {
    begin_frame(port, type);
    put_number(port, TAG_NUMBER, number);
    end_frame(port);
}

static void answer_ok(struct port *port) {
    begin_frame(port, OK);
    end_frame(port);
}

__attribute__((format(printf, 3, 4)))
static void answer_error(struct port *port, int error, const char *format, ...) {
    char text[512];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(text, sizeof text, format, arguments);
    va_end(arguments);
    begin_frame(port, ERROR);
    put_number(port, TAG_NUMBER, error);
    put_field(port, TAG_TEXT, text, strlen(text));
    end_frame(port);
}

/* ---- commands: the child's side ----------------------------------------------------------------------------- */

struct launch {
    char **argv, **env;
    const char *folder;
    int files[3];
    bool is_tool;       /* ours: it runs where the agent does, outside the commands' root */
    bool tells_alive;   /* its client wants to hear of us while it is silent */
};

/* Written by the child, read by the parent: they share memory until the program runs. Always volatile: to the
 * compiler the child's code, which never returns, changes nothing. */
struct refusal {
    enum { PREPARING, ENTERING_FOLDER, EXECUTING } step;
    int error;
    bool no_interpreter;
};

/* Returns only when `path` could not be executed; errno says why. */
static void execute(const char *path, const struct launch *launch, volatile struct refusal *refusal) {
    execve(path, launch->argv, launch->env);
    int error = errno;
    /* The kernel says ENOENT also for a script or a program whose interpreter is missing. */
    if (error == ENOENT && access(path, F_OK) == 0)
        refusal->no_interpreter = true;
    errno = error;
}

static const char *search_path(char **env) {
    for (; *env; env++)
        if (strncmp(*env, "PATH=", 5) == 0)
            return *env + 5;
    return DEFAULT_PATH;
}

/* Tries the program in every folder of the PATH it is given; returns like execute(). */
static void search_and_execute(const struct launch *launch, volatile struct refusal *refusal) {
    const char *program = launch->argv[0];
    bool denied = false;
    char candidate[PATH_MAX];
    for (const char *folder = search_path(launch->env), *end; folder; folder = *end ? end + 1 : NULL) {
        end = strchrnul(folder, ':');
        int folder_size = (int)(end - folder);
        const char *slash = folder_size ? "/" : "";    /* an empty entry means the current folder */
        int size = snprintf(candidate, sizeof candidate, "%.*s%s%s", folder_size, folder, slash, program);
        if (size < 0 || (size_t)size >= sizeof candidate)
            continue;
        execute(candidate, launch, refusal);
        if (errno == EACCES)
            denied = true;
        else if (refusal->no_interpreter || (errno != ENOENT && errno != ENOTDIR))
            return;
    }
    errno = denied ? EACCES : ENOENT;
}

/* Runs in a child made by vfork(): it owns its descriptors and signals, but not the memory. */
static noreturn void become(const struct launch *launch, volatile struct refusal *refusal) {
    sigset_t none;
    sigemptyset(&none);
    refusal->step = PREPARING;
    setsid();
    for (int fd = 0; fd < 3; fd++)
        if (dup2(launch->files[fd], fd) < 0)
            goto refused;
    if (!launch->is_tool && agent.command_namespace >= 0 && setns(agent.command_namespace, CLONE_NEWNS) < 0)
        goto refused;
    refusal->step = ENTERING_FOLDER;
    if (chdir(launch->folder) < 0)
        goto refused;
    refusal->step = EXECUTING;
    sigprocmask(SIG_SETMASK, &none, NULL);
    if (launch->argv[0][0] == '\0')
        errno = ENOENT;
    else if (strchr(launch->argv[0], '/'))
        execute(launch->argv[0], launch, refusal);
    else
        search_and_execute(launch, refusal);
refused:
    refusal->error = errno;
    _exit(127);
}

/* vfork, because the copy of the page tables that fork makes is what costs most under emulation. */
__attribute__((noinline))
static pid_t start_child(const struct launch *launch, volatile struct refusal *refusal) {
    pid_t pid = vfork();
    if (pid == 0)
        become(launch, refusal);
    return pid;
}

/* ---- commands: pipes that outlive them ---------------------------------------------------------------------- */

/* A background child still holds the other end: keep reading, so that it does not die of a broken pipe. */
static void drain(int fd) {
    unsigned slot = agent.oldest_drain;
    for (unsigned tried = 0; tried < DRAINS && agent.drains[slot] >= 0; tried++)
        slot = (slot + 1) % DRAINS;
    if (agent.drains[slot] >= 0)
        agent.oldest_drain = (slot + 1) % DRAINS;
    close_fd(&agent.drains[slot]);
    if (watch(EPOLL_CTL_MOD, fd, EPOLLIN, FROM_DRAIN, slot) < 0)
        close(fd);
    else
        agent.drains[slot] = fd;
}

static void throw_away(unsigned slot) {
    ssize_t size = splice(agent.drains[slot], NULL, agent.null, NULL, GROWN_PIPE, SPLICE_F_NONBLOCK);
    if (size == 0 || (size < 0 && errno != EAGAIN && errno != EINTR))
        close_fd(&agent.drains[slot]);
}

/* ---- commands: the agent's side ----------------------------------------------------------------------------- */

/* Forgets the port's command; kills it if it still runs. Whoever holds its pipes may go on writing. */
static void end_command(struct port *port) {
    struct command *command = &port->command;
    if (!command->present)
        return;
    if (!command->ended)
        kill(-command->pid, SIGKILL);
    for (int i = 0; i < 2; i++) {
        struct pipe_end *end = &command->outputs[i];
        if (end->fd >= 0 && end->hung_up)
            close(end->fd);
        else if (end->fd >= 0)
            drain(end->fd);
    }
    close_fd(&command->input);
    port->input.start = port->input.end = 0;
    port->next_alive_ns = 0;
    *command = (struct command){ .outputs = { { .fd = -1 }, { .fd = -1 } }, .input = -1 };
}

/* Makes a pipe to or from a command; our end, watched, or -1. The command's end goes to `theirs`. */
static int open_pipe(enum source source, unsigned port, int *theirs) {
    int ends[2], our = source == FROM_INPUT;
    if (pipe2(ends, O_CLOEXEC) < 0)
        return -1;
    *theirs = ends[!our];
    if (set_nonblocking(ends[our]) == 0
        && watch(EPOLL_CTL_ADD, ends[our], (our ? EPOLLOUT : EPOLLIN) | EPOLLET, source, port) == 0)
        return ends[our];
    close(ends[our]);
    return -1;
}

static bool open_pipes(struct port *port, bool with_input, int theirs[3]) {
    struct command *command = &port->command;
    unsigned index = port - agent.ports;
    command->outputs[0].fd = open_pipe(FROM_STDOUT, index, &theirs[1]);
    command->outputs[1].fd = open_pipe(FROM_STDERR, index, &theirs[2]);
    command->input = with_input ? open_pipe(FROM_INPUT, index, &theirs[0]) : -1;
    return command->outputs[0].fd >= 0 && command->outputs[1].fd >= 0 && (command->input >= 0 || !with_input);
}

static void answer_refusal(struct port *port, const struct launch *launch, pid_t pid,
                           const volatile struct refusal *why) {
    const char *reason = strerror(why->error);
    char text[512];
    if (why->step == PREPARING) {
        answer_error(port, why->error, "cannot start a process: %s", reason);
    } else if (why->step == ENTERING_FOLDER) {
        answer_error(port, why->error, "cannot enter the folder %.256s: %s", launch->folder, reason);
    } else {
        if (why->error == ENOENT)
            reason = why->no_interpreter ? "found, but the interpreter it needs is not there" : "not found";
        snprintf(text, sizeof text, "%.256s: %s", launch->argv[0], reason);
        answer_number(port, STARTED, pid);
        begin_frame(port, EXIT);
        put_number(port, TAG_NUMBER, why->error == ENOENT ? 127 : 126);
        put_field(port, TAG_TEXT, text, strlen(text));
        end_frame(port);
    }
}

static void run(struct port *port, struct launch *launch, uint64_t timeout_ms, bool with_input) {
    struct command *command = &port->command;
    volatile struct refusal refusal = { 0 };
    int theirs[3] = { -1, -1, -1 };
    command->present = command->ended = command->input_writable = true;
    pid_t pid = -1;
    if (open_pipes(port, with_input, theirs)) {
        memcpy(launch->files, theirs, sizeof theirs);
        if (!with_input)
            launch->files[0] = agent.null;
        pid = start_child(launch, &refusal);
    }
    if (pid < 0)
        refusal.error = errno;
    for (int i = 0; i < 3; i++)
        close_fd(&theirs[i]);
    if (refusal.error) {
        end_command(port);
        answer_refusal(port, launch, pid, &refusal);
        return;
    }
    command->ended = false;
    command->pid = pid;
    command->deadline_ns = timeout_ms ? now_ns() + (int64_t)timeout_ms * 1000000 : 0;
    port->next_alive_ns = launch->tells_alive ? now_ns() + ALIVE_STEP_MS * INT64_C(1000000) : 0;
    answer_number(port, STARTED, pid);
}

/* Makes C strings of the request's fields, in place: each ends over the next field's tag, which has been read, or
 * over the frame's end mark. */
static bool read_launch(const struct frame *frame, struct launch *launch) {
    size_t args = 0, envs = 0;
    uint8_t *end = NULL;
    struct field field;
    for (size_t at = 0; next_field(frame, &at, &field); end = field.data + field.size) {
        if (end)
            *end = '\0';
        if (field.tag == TAG_ARG)
            launch->argv[args++] = (char *)field.data;
        else if (field.tag == TAG_ENV)
            launch->env[envs++] = (char *)field.data;
        else if (field.tag == TAG_CWD)
            launch->folder = (char *)field.data;
        else
            continue;
        if (memchr(field.data, '\0', field.size) || (field.tag == TAG_ENV && !memchr(field.data, '=', field.size)))
            return false;
    }
    if (end)
        *end = '\0';
    return args > 0;
}

static void start_command(struct port *port, const struct frame *frame) {
    size_t most = frame->size / FIELD_SIZE + 1;
    uint64_t timeout_ms = find_number(frame, TAG_TIMEOUT_MS);
    bool with_input = find_number(frame, TAG_STDIN) == 1;
    char **strings = calloc(2 * most, sizeof *strings);
    struct launch launch = { .argv = strings, .env = strings + most, .folder = "/" };
    launch.is_tool = find_number(frame, TAG_TOOL) == 1;
    launch.tells_alive = find_number(frame, TAG_ALIVE) == 1;
    if (!strings)
        answer_error(port, ENOMEM, "no memory for the command's arguments");
    else if (timeout_ms > INT32_MAX * UINT64_C(1000))
        answer_error(port, EINVAL, "a time limit is at most %d seconds", INT32_MAX);
    else if (!read_launch(frame, &launch))
        answer_error(port, EINVAL, "a command needs an argument, NAME=value variables, and no NUL byte");
    else
        run(port, &launch, timeout_ms, with_input);
    free(strings);
}

static void grow_pipe(int fd, bool *grown) {
    if (!*grown)
        fcntl(fd, F_SETPIPE_SZ, GROWN_PIPE);   /* a wish: small pipes work too, slower */
    *grown = true;
}

static void accept_input(struct port *port, const struct frame *frame) {
    struct command *command = &port->command;
    if (!command->present || command->input_ends)
        return;    /* sent before the client knew that the command has ended */
    if (queued(&port->input) + command->unreported + frame->size > INPUT_WINDOW) {
        end_command(port);
        answer_error(port, EOVERFLOW, "more than %d bytes of input that had not been taken", INPUT_WINDOW);
        return;
    }
    make_room(&port->input, frame->size);
    memcpy(port->input.bytes + port->input.end, frame->payload, frame->size);
    port->input.end += frame->size;
    command->input_ends = frame->size == 0;
}

/* How much of its queued input the command takes now. If it reads no more, all: the rest is thrown away. */
static size_t feed(struct command *command, const struct queue *input) {
    size_t waiting = queued(input);
    if (command->input < 0)
        return waiting;
    ssize_t written = write(command->input, input->bytes + input->start, waiting);
    if (written < 0 && errno != EAGAIN && errno != EINTR) {
        close_fd(&command->input);
        return waiting;
    }
    if (written < (ssize_t)waiting) {
        command->input_writable = false;
        grow_pipe(command->input, &command->input_grown);
    }
    return written < 0 ? 0 : written;
}

static void pump_input(struct port *port) {
    struct command *command = &port->command;
    if (queued(&port->input) > 0 && (command->input_writable || command->input < 0)) {
        size_t taken = feed(command, &port->input);
        command->unreported += taken;
        port->input.start += taken;
    }
    bool all_taken = queued(&port->input) == 0;
    if (all_taken && command->input_ends)
        close_fd(&command->input);
    if (command->unreported >= TAKEN_STEP || (command->unreported > 0 && all_taken)) {
        answer_number(port, TAKEN, command->unreported);
        command->unreported = 0;
    }
}

/* Moves what a pipe holds into frames, until it is empty or enough waits to be sent. */
static void pump_output(struct port *port, struct pipe_end *end, enum type type) {
    const struct command *command = &port->command;
    while (end->fd >= 0 && (command->ended ? end->owed > 0 : end->readable) && queued(&port->out) < OUT_LIMIT) {
        make_room(&port->out, PIPE_READ + REPLY_ROOM);
        size_t wanted = command->ended && end->owed < PIPE_READ ? end->owed : PIPE_READ;
        ssize_t size = read(end->fd, port->out.bytes + port->out.end + HEADER_SIZE, wanted);
        if (size > 0) {
            begin_frame(port, type);
            port->out.end += size;
            end_frame(port);
            end->owed -= command->ended ? size : 0;
            if (size >= 64 << 10)
                grow_pipe(end->fd, &end->grown);
            end->readable = (size_t)size == wanted;    /* a short read empties a pipe; the next write is a new edge */
        } else if (size < 0 && (errno == EAGAIN || errno == EINTR)) {
            end->readable = errno == EINTR;
            end->owed = 0;
        } else {
            close_fd(&end->fd);
            end->owed = 0;
        }
    }
}

static void answer_exit(struct port *port) {
    const struct command *command = &port->command;
    int killer = WIFSIGNALED(command->status) ? WTERMSIG(command->status) : 0;
    begin_frame(port, EXIT);
    put_number(port, TAG_NUMBER, killer ? 128 + killer : WEXITSTATUS(command->status));
    if (killer)
        put_number(port, TAG_SIGNALLED, killer);
    if (command->timed_out && killer == SIGKILL)
        put_number(port, TAG_TIMED_OUT, 1);
    end_frame(port);
}

static void pump_command(struct port *port) {
    struct command *command = &port->command;
    if (!command->present)
        return;
    if (!command->ended && command->deadline_ns && !command->timed_out && now_ns() >= command->deadline_ns) {
        command->timed_out = true;
        kill(-command->pid, SIGKILL);
    }
    pump_input(port);
    pump_output(port, &command->outputs[0], STDOUT);
    pump_output(port, &command->outputs[1], STDERR);
    if (command->ended && command->outputs[0].owed == 0 && command->outputs[1].owed == 0) {
        answer_exit(port);
        end_command(port);
    }
}

static void signal_command(struct port *port, const struct frame *frame) {
    uint64_t number = find_number(frame, TAG_NUMBER);
    if (number < 1 || number >= NSIG)
        answer_error(port, EINVAL, "there is no signal %llu", (unsigned long long)number);
    else if (port->command.present && !port->command.ended)
        kill(-port->command.pid, (int)number);
}

/* The command itself has ended: what its pipes hold at this moment is still its output. */
static void command_ended(struct command *command, int status) {
    command->ended = true;
    command->status = status;
    for (int i = 0; i < 2; i++) {
        int held = 0;
        if (command->outputs[i].fd >= 0 && ioctl(command->outputs[i].fd, FIONREAD, &held) == 0)
            command->outputs[i].owed = held;
    }
}

/* Lets go on what a FLUSH with PAUSE has stopped. */
static void go_on(const struct port *port) {
    if (agent.pausing != port)
        return;
    agent.pausing = NULL;
    kill(-1, SIGCONT);
}

static void flush_ended(struct port *port, int error) {
    port->flusher = 0;
    port->next_alive_ns = 0;
    if (error) {
        go_on(port);
        answer_error(port, error, "the disk could not be flushed: %s", strerror(error));
    } else {
        answer_ok(port);
    }
}

static void reap_children(void) {
    struct signalfd_siginfo ignored;
    int status;
    while (read(agent.signals, &ignored, sizeof ignored) > 0)
        continue;
    for (pid_t pid; (pid = waitpid(-1, &status, WNOHANG)) > 0;) {
        for (struct port *port = agent.ports; port < agent.ports + PORTS; port++) {
            if (port->command.present && !port->command.ended && port->command.pid == pid)
                command_ended(&port->command, status);
            if (port->flusher != pid)
                continue;
            flush_ended(port, WIFEXITED(status) ? WEXITSTATUS(status) : EIO);
        }
    }
}

/* ---- the machine: mounts and modules ------------------------------------------------------------------------ */

/* A step that returns -1 leaves the reason in errno and may say here what it was about. */
static char subject[PATH_MAX];

struct step {
    const char *what;      /* NULL ends a list */
    int (*take)(const struct frame *request);
};

/* Takes the steps in order; NULL, or what went wrong, with errno. */
static const char *take_steps(const struct step *step, const struct frame *request) {
    static char failure[sizeof subject + 256];
    for (; step->what; step++) {
        subject[0] = '\0';
        if (step->take(request) == 0)
            continue;
        int error = errno;
        const char *colon = subject[0] ? ": " : "";
        snprintf(failure, sizeof failure, "cannot %s%s%.256s: %s", step->what, colon, subject, strerror(error));
        errno = error;
        return failure;
    }
    return NULL;
}

struct mount_point {
    const char *device, *path, *type;
    unsigned long flags;
    const char *options;
};

/* The file behind a disk may have been exchanged after the kernel had read its first blocks. */
static int forget_cached_blocks(const char *disk) {
    int fd = open(disk, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return -1;
    int result = ioctl(fd, BLKFLSBUF, 0);
    close(fd);
    return result;
}

static int mount_at(const struct mount_point *point) {
    snprintf(subject, sizeof subject, "%s on %s", point->device, point->path);
    if (mkdir(point->path, 0755) < 0 && errno != EEXIST && errno != EROFS)
        return -1;
    if (strncmp(point->device, "/dev/vd", 7) == 0 && forget_cached_blocks(point->device) < 0)
        return -1;
    return mount(point->device, point->path, point->type, point->flags, point->options);
}

static int mount_kernel_filesystems(const struct frame *request) {
    if (mount_at(&(struct mount_point){ "proc", "/proc", "proc", 0, NULL }) < 0
        || mount_at(&(struct mount_point){ "sysfs", "/sys", "sysfs", 0, NULL }) < 0)
        return -1;
    if (mount_at(&(struct mount_point){ "dev", "/dev", "devtmpfs", 0, NULL }) < 0 && errno != EBUSY)
        return -1;    /* busy: the kernel has mounted it already */
    agent.null = open("/dev/null", O_RDWR | O_CLOEXEC);
    agent.own_namespace = open("/proc/self/ns/mnt", O_RDONLY | O_CLOEXEC);
    return agent.null < 0 || agent.own_namespace < 0 ? -1 : 0;
}

static int load_modules(const struct frame *request) {
    FILE *list = fopen("/modules.order-pyro", "re");
    if (!list)
        return errno == ENOENT ? 0 : -1;    /* a kernel that has all it needs built in */
    int result = 0;
    while (result == 0 && fgets(subject, sizeof subject, list)) {
        subject[strcspn(subject, "\n")] = '\0';
        int module = open(subject, O_RDONLY | O_CLOEXEC);
        if (module < 0 || (syscall(SYS_finit_module, module, "", 0) < 0 && errno != EEXIST))
            result = -1;
        if (module >= 0)
            close(module);
    }
    fclose(list);
    return result;
}

static int raise_interface(int any, const char *name) {
    struct ifreq interface = { .ifr_flags = IFF_UP | IFF_RUNNING };
    snprintf(interface.ifr_name, sizeof interface.ifr_name, "%s", name);
    return ioctl(any, SIOCSIFFLAGS, &interface);
}

static struct sockaddr internet_address(const char *dotted) {
    union { struct sockaddr any; struct sockaddr_in in; } address = { .in.sin_family = AF_INET };
    inet_pton(AF_INET, dotted, &address.in.sin_addr);
    return address.any;
}

/* Every machine has a network of its own, so all can have the same addresses, and templates can hold them. */
static int set_addresses(int any) {
    struct ifreq address = { .ifr_name = "eth0", .ifr_addr = internet_address("10.0.2.15") };
    struct ifreq mask = { .ifr_name = "eth0", .ifr_netmask = internet_address("255.255.255.0") };
    struct rtentry route = { .rt_flags = RTF_UP | RTF_GATEWAY, .rt_dst = internet_address("0.0.0.0"),
                             .rt_genmask = internet_address("0.0.0.0"), .rt_gateway = internet_address("10.0.2.2") };
    return ioctl(any, SIOCSIFADDR, &address) < 0 || ioctl(any, SIOCSIFNETMASK, &mask) < 0
        || raise_interface(any, "eth0") < 0 ? -1 : ioctl(any, SIOCADDRT, &route);
}

static int raise_network(const struct frame *request) {
    int any = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    if (any < 0)
        return -1;
    int result = raise_interface(any, "lo");
    if (result == 0 && if_nametoindex("eth0") != 0)    /* a machine without network has no such device */
        result = set_addresses(any);
    close(any);
    return result;
}

/* Mounted in every root that commands get. */
static const struct mount_point furniture[] = {
    { "proc", "/proc", "proc", MS_NOSUID | MS_NODEV | MS_NOEXEC, NULL },
    { "sysfs", "/sys", "sysfs", MS_NOSUID | MS_NODEV | MS_NOEXEC, NULL },
    { "cgroup", "/sys/fs/cgroup", "cgroup2", MS_NOSUID | MS_NODEV | MS_NOEXEC, NULL },
    { "dev", "/dev", "devtmpfs", MS_NOSUID, NULL },
    { "devpts", "/dev/pts", "devpts", MS_NOSUID | MS_NOEXEC, "mode=0620,ptmxmode=0666,gid=5" },
    { "shm", "/dev/shm", "tmpfs", MS_NOSUID | MS_NODEV, "mode=1777" },
    { "run", "/run", "tmpfs", MS_NOSUID | MS_NODEV, "mode=0755" },
    { 0 },
};

static int furnish_root(const struct frame *request) {
    static const char *const links[][2] = { { "/proc/self/fd", "/dev/fd" }, { "fd/0", "/dev/stdin" },
                                            { "fd/1", "/dev/stdout" }, { "fd/2", "/dev/stderr" } };
    for (const struct mount_point *point = furniture; point->path; point++)
        /* The template's root is read-only: an image without such a folder goes without it until SETUP. */
        if (mount_at(point) < 0 && (request || errno != ENOENT))
            return -1;
    for (size_t i = 0; i < sizeof links / sizeof *links; i++)
        if (symlink(links[i][0], links[i][1]) < 0 && errno != EEXIST)
            return -1;
    return 0;
}

/* Moves the agent into a new mount namespace whose root is the environment or, in SETUP, the overlay upon it.
 *
 * Not by chroot alone: the kernel refuses user namespaces to a process whose root is not its namespace's topmost
 * mount. Whoever joins this namespace by setns() is put there. What the image holds (links above all) is only looked
 * at from inside, so that no link of it leads out. */
static int enter_new_root(const struct frame *request) {
    if (unshare(CLONE_NEWNS) < 0 || mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) < 0)
        return -1;
    int namespace = open("/proc/self/ns/mnt", O_RDONLY | O_CLOEXEC);
    if (namespace < 0)
        return -1;
    close_fd(&agent.command_namespace);
    agent.command_namespace = namespace;
    if (chdir(request ? "/root" : "/lower") < 0 || mount(".", "/", NULL, MS_MOVE, NULL) < 0)
        return -1;
    return chroot(".");
}

static void return_to_own_root(void) {
    if (setns(agent.own_namespace, CLONE_NEWNS) < 0)
        die("cannot return to the initramfs");
}

/* ---- the machine: boot -------------------------------------------------------------------------------------- */

/* Opens the ports that are there by now, whatever their devices are called. */
static int open_ports(void) {
    glob_t names = { 0 };
    int result = 0;
    glob("/sys/class/virtio-ports/*/name", GLOB_NOSORT, NULL, &names);
    for (size_t i = 0; i < names.gl_pathc && result == 0; i++) {
        unsigned index = PORTS;
        FILE *file = fopen(names.gl_pathv[i], "re");
        if (!file || fscanf(file, "pyro.%u", &index) != 1)
            index = PORTS;
        if (file)
            fclose(file);
        if (index >= PORTS || agent.ports[index].fd >= 0)
            continue;
        snprintf(subject, sizeof subject, "/dev/%s", basename(dirname(names.gl_pathv[i])));
        int fd = agent.ports[index].fd = open(subject, O_RDWR | O_NONBLOCK | O_CLOEXEC);
        if (fd < 0 && errno != ENOENT)
            result = -1;
        if (fd >= 0)
            result = watch(EPOLL_CTL_ADD, fd, EPOLLIN | EPOLLET, FROM_PORT, index);
    }
    globfree(&names);
    return result;
}

static bool devices_are_there(void) {
    for (int i = 0; i < PORTS; i++)
        if (agent.ports[i].fd < 0)
            return false;
    return access("/dev/vda", F_OK) == 0;
}

static int wait_for_devices(const struct frame *request) {
    const struct timespec pause = { .tv_nsec = 2000000 };
    for (int64_t end = now_ns() + DEVICE_DEADLINE_MS * INT64_C(1000000); now_ns() < end; nanosleep(&pause, NULL)) {
        if (open_ports() < 0)
            return -1;
        if (devices_are_there())
            return 0;
    }
    errno = ETIMEDOUT;
    return -1;
}

static int mount_environment(const struct frame *request) {
    return mount_at(&(struct mount_point){ "/dev/vda", "/lower", "erofs", MS_RDONLY, NULL }) < 0
        ? mount_at(&(struct mount_point){ "/dev/vda", "/lower", "ext4", MS_RDONLY, NULL }) : 0;
}

static void boot(void) {
    static const struct step steps[] = {
        { "mount /proc, /sys and /dev", mount_kernel_filesystems },
        { "load the kernel's modules", load_modules },
        { "raise the network interfaces", raise_network },
        { "find the ports and the first disk", wait_for_devices },
        { "mount the environment", mount_environment },
        { "enter the environment", enter_new_root },
        { "furnish the environment", furnish_root },
        { 0 },
    };
    const struct rlimit files = { 1024, 512 << 10 };    /* the kernel's own 4096 at most is too few for commands */
    const char *failure = take_steps(steps, NULL);
    if (failure)
        die(failure);
    return_to_own_root();
    setrlimit(RLIMIT_NOFILE, &files);
}

/* ---- the machine: from template to workspace ---------------------------------------------------------------- */

static int set_clock(const struct frame *request) {
    uint64_t ns = find_number(request, TAG_CLOCK);
    struct timespec now = { .tv_sec = ns / 1000000000, .tv_nsec = ns % 1000000000 };
    return clock_settime(CLOCK_REALTIME, &now);
}

static int add_entropy(const struct frame *request) {
    /* As in <linux/random.h>, which a plain musl-gcc does not find. */
    enum { ADD_ENTROPY = _IOW('R', 0x03, int[2]), RESEED = _IO('R', 0x07) };
    struct { int entropy_bits, size; uint8_t bytes[512]; } pool;
    struct field entropy = find_field(request, TAG_ENTROPY);
    if (entropy.size < 32 || entropy.size > 512) {
        errno = EINVAL;
        return -1;
    }
    pool.entropy_bits = (int)entropy.size * 8;
    pool.size = (int)entropy.size;
    memcpy(pool.bytes, entropy.data, entropy.size);
    int random = open("/dev/urandom", O_WRONLY | O_CLOEXEC);
    if (random < 0)
        return -1;
    int result = ioctl(random, ADD_ENTROPY, &pool) < 0 || ioctl(random, RESEED) < 0 ? -1 : 0;
    close(random);
    return result;
}

static int set_hostname(const struct frame *request) {
    struct field name = find_field(request, TAG_HOSTNAME);
    return name.size == 0 ? 0 : sethostname((char *)name.data, name.size);
}

static int mount_disk(const struct frame *request) {
    /* noinit_itable: or the kernel would write every clone's inode tables, behind our back, into its own layer. */
    if (mount_at(&(struct mount_point){ "/dev/vdb", "/disk", "ext4", MS_NOATIME, "noinit_itable" }) < 0)
        return -1;
    agent.disk = open("/disk", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    return agent.disk < 0 ? -1 : 0;
}

/* What is written to `lower` goes to /disk/NAME; `subject` says what failed. */
static int mount_overlay(const char *lower, const char *name, const char *path) {
    char folder[64], options[256];
    const char *const parts[] = { "", "/upper", "/work" };
    for (size_t i = 0; i < sizeof parts / sizeof *parts; i++) {
        snprintf(folder, sizeof folder, "/disk/%s%s", name, parts[i]);
        if (mkdir(folder, 0755) < 0 && errno != EEXIST)
            return -1;
    }
    snprintf(options, sizeof options, "lowerdir=%s,upperdir=/disk/%s/upper,workdir=/disk/%s/work,redirect_dir=on",
             lower, name, name);
    return mount_at(&(struct mount_point){ name, path, "overlay", MS_NOATIME, options });
}

/* A new generation begins with the environment as it was, upon the same disk: /workspace stays. */
static int mount_root(const struct frame *request) {
    char name[32];
    snprintf(name, sizeof name, "root.%llu", (unsigned long long)find_number(request, TAG_GENERATION));
    return mount_overlay("/lower", name, "/root");
}

static int mount_workspace(const struct frame *request) {
    struct stat found;
    if (mount_at(&(struct mount_point){ "/dev/vdc", "/baseline", "erofs", MS_RDONLY, NULL }) < 0)
        return -1;
    if (lstat("/root/workspace", &found) == 0 && !S_ISDIR(found.st_mode))
        return errno = ENOTDIR, -1;    /* an image could make it a link, and mount() follows links */
    return mount_overlay("/baseline", "workspace", "/root/workspace");
}

/* Puts back what an `apply` of the tool had begun when the machine died. The machine starts even if that fails. */
static int recover_workspace(const struct frame *request) {
    char *const words[] = { "/tool", "recover", "/root/workspace", NULL };
    glob_t found;
    pid_t pid;
    bool is_needed = glob("/disk/workspace/upper/.pyro-staging-*", GLOB_NOSORT, NULL, &found) == 0;
    if (is_needed && posix_spawn(&pid, words[0], NULL, NULL, words, NULL) == 0)
        waitpid(pid, NULL, 0);
    return 0;
}

static int make_parents(char *path) {
    for (char *slash = strchr(path + 1, '/'); slash; slash = strchr(slash + 1, '/')) {
        *slash = '\0';
        int result = mkdir(path, 0755);
        *slash = '/';
        if (result < 0 && errno != EEXIST)
            return -1;
    }
    return 0;
}

static int write_all(int fd, const uint8_t *data, size_t size) {
    for (ssize_t written; size > 0; data += written, size -= written)
        if ((written = write(fd, data, size)) < 0)
            return -1;
    return 0;
}

/* The file appears whole, in place of whatever had that name: a link there is replaced, not followed. */
static int place_file(const char *path, mode_t mode, const uint8_t *data, size_t size) {
    char scratch[PATH_MAX];
    if ((size_t)snprintf(scratch, sizeof scratch, "%s.pyro-new", path) >= sizeof scratch) {
        errno = ENAMETOOLONG;
        return -1;
    }
    unlink(scratch);
    int fd = open(scratch, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    if (fd < 0)
        return -1;
    int result = write_all(fd, data, size) < 0 || fchmod(fd, mode) < 0 || rename(scratch, path) < 0 ? -1 : 0;
    int error = errno;
    close(fd);
    if (result < 0)
        unlink(scratch);
    errno = error;
    return result;
}

/* path NUL mode(octal) NUL content */
static int write_file(struct field field) {
    uint8_t *end = field.data + field.size, *mode_end = NULL;
    uint8_t *path_end = memchr(field.data, '\0', field.size);
    if (path_end)
        mode_end = memchr(path_end + 1, '\0', end - path_end - 1);
    if (!mode_end || path_end - field.data > PATH_MAX - 32) {
        errno = EINVAL;
        return -1;
    }
    char path[PATH_MAX], *rest;
    snprintf(path, sizeof path, "/%s", (char *)field.data);
    snprintf(subject, sizeof subject, "%s", path);
    unsigned long mode = strtoul((char *)path_end + 1, &rest, 8);
    if (rest == (char *)path_end + 1 || *rest || mode > 07777) {
        errno = EINVAL;
        return -1;
    }
    return make_parents(path) < 0 ? -1 : place_file(path, mode, mode_end + 1, end - mode_end - 1);
}

static int write_files(const struct frame *request) {
    struct field field;
    for (size_t at = 0; next_field(request, &at, &field);)
        if (field.tag == TAG_FILE && write_file(field) < 0)
            return -1;
    return 0;
}

static void set_up(struct port *port, const struct frame *request) {
    static const struct step steps[] = {
        { "set the clock", set_clock },
        { "add entropy", add_entropy },
        { "set the host name", set_hostname },
        { "mount the disk", mount_disk },
        { "mount the root", mount_root },
        { "mount /workspace", mount_workspace },
        { "recover /workspace", recover_workspace },
        { "enter the root", enter_new_root },
        { "furnish the root", furnish_root },
        { "write the files", write_files },
        { 0 },
    };
    if (agent.setup_seen) {
        answer_error(port, EALREADY, "SETUP works once per machine start");
        return;
    }
    agent.setup_seen = true;
    const char *failure = take_steps(steps, request);
    int error = errno;
    return_to_own_root();
    if (failure) {
        answer_error(port, error, "%s", failure);
        return;
    }
    agent.phase = READY;
    answer_ok(port);
}

static void adjust_clock(struct port *port, const struct frame *request) {
    if (set_clock(request) < 0)
        answer_error(port, errno, "cannot set the clock: %s", strerror(errno));
    else
        answer_ok(port);
}

/* In a child: a full disk cache takes seconds to write, and the other ports should not wait for it. With PAUSE nothing
 * can write meanwhile, nor afterwards until the client is gone, unless it sends POWEROFF. */
static void flush_disk(struct port *port, const struct frame *request) {
    if (agent.disk < 0) {
        answer_ok(port);
        return;
    }
    if (find_number(request, TAG_PAUSE) == 1) {
        agent.pausing = port;
        kill(-1, SIGSTOP);
    }
    pid_t pid = fork();
    if (pid == 0)
        _exit(syncfs(agent.disk) < 0 ? errno : 0);
    port->flusher = pid < 0 ? 0 : pid;
    port->next_alive_ns = now_ns() + ALIVE_STEP_MS * INT64_C(1000000);
    if (pid < 0)
        flush_ended(port, errno);
}

/* KiB that wait to be written to any disk; 0 where the kernel does not say. */
static uint64_t unwritten(void) {
    char line[128];
    unsigned long long sum = 0, found;
    FILE *file = fopen("/proc/meminfo", "re");
    while (file && fgets(line, sizeof line, file))
        if (sscanf(line, "Dirty: %llu", &found) == 1 || sscanf(line, "Writeback: %llu", &found) == 1)
            sum += found;
    if (file)
        fclose(file);
    return sum;
}

/* Tells a client that waits for a flush or a tool that we live. One that reads nothing is told nothing. */
static void tell_alive(struct port *port) {
    if (!port->next_alive_ns || now_ns() < port->next_alive_ns)
        return;
    port->next_alive_ns = now_ns() + ALIVE_STEP_MS * INT64_C(1000000);
    if (queued(&port->out) == 0)
        answer_number(port, ALIVE, unwritten());
}

static bool send_queue(struct port *port);

static void power_off(struct port *port, const struct frame *request) {
    struct pollfd writable = { .fd = port->fd, .events = POLLOUT };
    answer_ok(port);
    for (int64_t end = now_ns() + GOODBYE_DEADLINE_MS * INT64_C(1000000); now_ns() < end;)
        if (!send_queue(port) || queued(&port->out) == 0 || poll(&writable, 1, GOODBYE_DEADLINE_MS) <= 0)
            break;
    kill(-1, SIGKILL);
    sync();
    mount(NULL, "/disk", NULL, MS_REMOUNT | MS_RDONLY, NULL);   /* marks it clean; synced it is already */
    reboot(RB_POWER_OFF);
    die("cannot power off");
}

/* ---- ports -------------------------------------------------------------------------------------------------- */

/* Forgets the client: its command, its half-sent frame, what it has not read. */
static void reset_port(struct port *port) {
    end_command(port);
    go_on(port);
    port->flusher = 0;
    port->next_alive_ns = 0;
    port->absent_until_ns = 0;
    port->state = LOST;
    port->out.start = port->out.end = 0;
}

static void disconnect(struct port *port) {
    reset_port(port);
    port->in.start = port->in.end = 0;
    port->readable = false;
    if (!agent.is_machine)
        close_fd(&port->fd);
}

static void greet(struct port *port, const struct frame *request) {
    struct field nonce = find_field(request, TAG_NONCE);
    if (port->state == OPEN || nonce.size != NONCE_SIZE) {
        answer_error(port, EPROTO, "HELLO comes once, right after SYNC, with %d bytes of NONCE", NONCE_SIZE);
        return;
    }
    make_room(&port->out, REPLY_ROOM);
    put(port, SYNC, sizeof SYNC);
    put(port, nonce.data, nonce.size);
    if (find_number(request, TAG_VERSION) != VERSION) {
        answer_error(port, EPROTONOSUPPORT, "this agent speaks version %d of the protocol", VERSION);
        return;
    }
    port->state = OPEN;
    begin_frame(port, WELCOME);
    put_number(port, TAG_VERSION, VERSION);
    put_field(port, TAG_BUILD, PYRO_BUILD, strlen(PYRO_BUILD));
    put_number(port, TAG_PHASE, agent.phase);
    end_frame(port);
}

static const struct request {
    void (*handle)(struct port *, const struct frame *);
    bool raw;        /* the payload is not a list of fields */
    bool alone;      /* not while a command runs or the disk is flushed on this port */
    bool machine;    /* not on somebody's host */
} requests[] = {
    [HELLO] = { greet, .alone = true },
    [SETUP] = { set_up, .alone = true, .machine = true },
    [EXEC] = { start_command, .alone = true },
    [INPUT] = { accept_input, .raw = true },
    [SIGNAL] = { signal_command },
    [FLUSH] = { flush_disk, .alone = true, .machine = true },
    [POWEROFF] = { power_off, .machine = true },
    [CLOCK] = { adjust_clock, .alone = true, .machine = true },
};

static void handle_request(struct port *port, const struct frame *frame) {
    const struct request *request = frame->type < sizeof requests / sizeof *requests ? &requests[frame->type] : NULL;
    if (port->state == SYNCED && frame->type != HELLO)
        answer_error(port, EPROTO, "HELLO comes first");
    else if (!request || !request->handle)
        answer_error(port, EOPNOTSUPP, "there is no request of type %d", frame->type);
    else if (request->machine && !agent.is_machine)
        answer_error(port, ENOSYS, "this agent does not run in a virtual machine");
    else if (request->alone && (port->command.present || port->flusher))
        answer_error(port, EBUSY, "another request is under way on this port");
    else if (!request->raw && !fields_are_valid(frame))
        answer_error(port, EBADMSG, "the request's fields are broken");
    else
        request->handle(port, frame);
}

/* Throws away what comes before SYNC. */
static bool find_sync(struct port *port) {
    struct queue *in = &port->in;
    uint8_t *found = memmem(in->bytes + in->start, queued(in), SYNC, sizeof SYNC);
    if (!found) {
        if (queued(in) >= sizeof SYNC)
            in->start = in->end - (sizeof SYNC - 1);
        return false;
    }
    in->start = found - in->bytes + sizeof SYNC;
    reset_port(port);
    port->state = SYNCED;
    return true;
}

static bool take_frame(struct port *port, struct frame *frame) {
    struct queue *in = &port->in;
    for (;;) {
        if (port->state == LOST && !find_sync(port))
            return false;
        if (queued(in) < HEADER_SIZE)
            return false;
        uint8_t *header = in->bytes + in->start;
        uint32_t size = size_at(header);
        if (size > MAX_PAYLOAD) {
            port->state = LOST;    /* the header stays: it may be the beginning of SYNC */
            continue;
        }
        if (queued(in) < HEADER_SIZE + size + 1)
            return false;
        in->start += HEADER_SIZE + size + 1;
        *frame = (struct frame){ header[HEADER_SIZE - 1], header + HEADER_SIZE, size };
        if (header[HEADER_SIZE + size] == END_MARK)
            return true;
        /* The broken frame is skipped whole: a SYNC inside it would be somebody's data. */
        port->state = LOST;
    }
}

static void handle_requests(struct port *port) {
    struct frame frame;
    while (take_frame(port, &frame)) {
        if (queued(&port->out) > OUT_LIMIT + PIPE_READ + REPLIES_ROOM)
            reset_port(port);
        else
            handle_request(port, &frame);
    }
}

static void read_port(struct port *port) {
    for (size_t budget = READ_BUDGET; port->readable && budget > 0;) {
        size_t room = make_room(&port->in, MAX_FRAME - queued(&port->in));
        if (room > budget)
            room = budget;
        ssize_t size = read(port->fd, port->in.bytes + port->in.end, room);
        if (size > 0) {
            port->in.end += size;
            budget -= size;
            handle_requests(port);
        } else if (size < 0 && errno == EAGAIN) {
            port->readable = false;
        } else if (size == 0 && agent.is_machine) {
            port->readable = false;
            if (!port->absent_until_ns)
                port->absent_until_ns = now_ns() + ABSENCE_MS * INT64_C(1000000);
        } else if (size == 0 || errno != EINTR) {
            disconnect(port);
        }
    }
}

/* A virtio port reads 0 while no client is there. But the kernel learns of clients in a work queue and of their data
 * in an interrupt: a client's first bytes can be read, and answered, before the port says that there is a client. */
static void check_absence(struct port *port) {
    struct pollfd now = { .fd = port->fd };
    if (!port->absent_until_ns || now_ns() < port->absent_until_ns)
        return;
    port->absent_until_ns = 0;
    if (poll(&now, 1, 0) == 1 && now.revents & POLLHUP)
        disconnect(port);
}

static void set_blocked(struct port *port, bool blocked) {
    if (port->blocked != blocked)
        watch(EPOLL_CTL_MOD, port->fd, EPOLLIN | EPOLLET | (blocked ? EPOLLOUT : 0), FROM_PORT, port - agent.ports);
    port->blocked = blocked;
}

/* Sends until all is sent or the peer takes no more; false when the peer is gone. */
static bool send_queue(struct port *port) {
    struct queue *out = &port->out;
    while (queued(out) > 0) {
        ssize_t size = write(port->fd, out->bytes + out->start, queued(out));
        if (size >= 0) {
            out->start += size;
        } else if (errno == EAGAIN) {
            set_blocked(port, true);
            return true;
        } else if (errno != EINTR) {
            disconnect(port);
            return false;
        }
    }
    set_blocked(port, false);
    return true;
}

static bool has_work(const struct port *port) {
    const struct command *command = &port->command;
    if (port->fd < 0)
        return false;
    if (port->readable)
        return true;
    for (int i = 0; i < 2; i++)
        if (command->outputs[i].readable && command->outputs[i].fd >= 0 && queued(&port->out) < OUT_LIMIT)
            return true;
    return command->ended && queued(&port->out) < OUT_LIMIT;
}

/* One turn for one port; true when it wants another at once. */
static bool serve_port(struct port *port) {
    if (port->fd < 0)
        return false;
    read_port(port);
    check_absence(port);
    pump_command(port);
    tell_alive(port);
    if (port->fd >= 0)
        send_queue(port);
    return has_work(port);
}

/* ---- the loop ----------------------------------------------------------------------------------------------- */

static void note_event(const struct epoll_event *event) {
    unsigned index = (uint32_t)event->data.u64;
    enum source source = event->data.u64 >> 32;
    if (source == FROM_SIGNALS) {
        agent.children_ended = true;
    } else if (source == FROM_DRAIN) {
        throw_away(index);
    } else if (source == FROM_INPUT) {
        agent.ports[index].command.input_writable = true;
    } else if (source == FROM_PORT) {
        agent.ports[index].readable |= (event->events & ~EPOLLOUT) != 0;
    } else {
        struct pipe_end *end = &agent.ports[index].command.outputs[source - FROM_STDOUT];
        end->readable = true;
        end->hung_up |= (event->events & EPOLLHUP) != 0;
    }
}

/* Milliseconds until the next time limit of a command, a client's absence or ALIVE; -1 when there is none. */
static int next_deadline_ms(void) {
    int64_t next = INT64_MAX;
    for (int i = 0; i < PORTS; i++) {
        const struct command *command = &agent.ports[i].command;
        bool limited = command->present && !command->ended && !command->timed_out && command->deadline_ns;
        if (limited && command->deadline_ns < next)
            next = command->deadline_ns;
        if (agent.ports[i].absent_until_ns && agent.ports[i].absent_until_ns < next)
            next = agent.ports[i].absent_until_ns;
        if (agent.ports[i].next_alive_ns && agent.ports[i].next_alive_ns < next)
            next = agent.ports[i].next_alive_ns;
    }
    if (next == INT64_MAX)
        return -1;
    int64_t left = (next - now_ns() + 999999) / 1000000;
    return left < 0 ? 0 : left > INT32_MAX ? INT32_MAX : (int)left;
}

static bool any_port_open(void) {
    for (int i = 0; i < PORTS; i++)
        if (agent.ports[i].fd >= 0)
            return true;
    return false;
}

static void serve(void) {
    struct epoll_event events[64];
    bool more = false;
    while (any_port_open()) {
        int count = epoll_wait(agent.epoll, events, sizeof events / sizeof *events, more ? 0 : next_deadline_ms());
        if (count < 0 && errno != EINTR)
            die("cannot wait for events");
        for (int i = 0; i < count; i++)
            note_event(&events[i]);
        if (agent.children_ended)
            reap_children();
        agent.children_ended = more = false;
        for (struct port *port = agent.ports; port < agent.ports + PORTS; port++)
            more |= serve_port(port);
    }
}

/* ---- start -------------------------------------------------------------------------------------------------- */

static void prepare_ports(void) {
    enum { IN_SIZE = MAX_FRAME, OUT_SIZE = 2 << 20 };
    static uint8_t in[PORTS][IN_SIZE], out[PORTS][OUT_SIZE], input[PORTS][INPUT_WINDOW];
    _Static_assert(OUT_SIZE >= OUT_LIMIT + PIPE_READ + REPLIES_ROOM + 2 * REPLY_ROOM, "the queue holds what it must");
    for (int i = 0; i < PORTS; i++)
        agent.ports[i] = (struct port){
            .fd = -1,
            .in = { .bytes = in[i], .capacity = IN_SIZE },
            .out = { .bytes = out[i], .capacity = OUT_SIZE },
            .input = { .bytes = input[i], .capacity = INPUT_WINDOW },
            .command = { .outputs = { { .fd = -1 }, { .fd = -1 } }, .input = -1 },
        };
    for (int i = 0; i < DRAINS; i++)
        agent.drains[i] = -1;
}

/* SIGCHLD is read from a descriptor and SIGPIPE stays blocked; no handler and nothing ignored that a command
 * would inherit. Orphans come to us also when we are not process 1. */
static void prepare_process(void) {
    sigset_t handled;
    sigemptyset(&handled);
    sigaddset(&handled, SIGCHLD);
    sigaddset(&handled, SIGPIPE);
    for (int number = 1; number < NSIG; number++)
        signal(number, SIG_DFL);
    umask(022);
    agent.command_namespace = agent.own_namespace = agent.disk = -1;
    if (sigprocmask(SIG_SETMASK, &handled, NULL) < 0 || prctl(PR_SET_CHILD_SUBREAPER, 1) < 0)
        die("cannot prepare the process");
    sigdelset(&handled, SIGPIPE);
    agent.epoll = epoll_create1(EPOLL_CLOEXEC);
    agent.signals = signalfd(-1, &handled, SFD_NONBLOCK | SFD_CLOEXEC);
    if (agent.epoll < 0 || agent.signals < 0 || watch(EPOLL_CTL_ADD, agent.signals, EPOLLIN, FROM_SIGNALS, 0) < 0)
        die("cannot watch for events");
}

static void adopt_ports(int count, char **descriptors) {
    agent.null = open("/dev/null", O_RDWR | O_CLOEXEC);
    if (agent.null < 0)
        die("cannot open /dev/null");
    for (int i = 0; i < count && i < PORTS; i++) {
        int fd = atoi(descriptors[i]);
        if (fcntl(fd, F_SETFD, FD_CLOEXEC) < 0 || set_nonblocking(fd) < 0
            || watch(EPOLL_CTL_ADD, fd, EPOLLIN | EPOLLET, FROM_PORT, i) < 0)
            die("--serve wants the numbers of connected sockets");
        agent.ports[i].fd = fd;
    }
}

int main(int argc, char **argv) {
    bool on_host = argc > 2 && strcmp(argv[1], "--serve") == 0;
    if (!on_host && getpid() != 1) {
        fprintf(stderr, "usage: %s --serve FD...    (build %s)\n"
                        "Without arguments it is process 1 of a virtual machine.\n", argv[0], PYRO_BUILD);
        return 2;
    }
    agent.is_machine = !on_host;
    prepare_ports();
    prepare_process();
    if (on_host)
        adopt_ports(argc - 2, argv + 2);
    else
        boot();
    serve();
    return 0;
}
