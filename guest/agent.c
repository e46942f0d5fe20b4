/*
 * The agent: process 1 of a workspace's virtual machine. It serves the protocol of PROTOCOL.md on up to 16 streams:
 * virtio-serial ports in a machine, connected stream sockets with `agent --serve FD...` on a host.
 *
 * One thread, one epoll. An event only sets a flag. After all events the agent serves port by port, so no code uses a
 * descriptor that was closed after its event. The agent never blocks on a peer: data that cannot be sent is queued, and
 * when the queue is full, nothing more is read.
 *
 * The agent stays outside the root in which commands run; each command enters it by setns().
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

#include "agent_protocol.h"
#include "frames.h"

#ifndef PYRO_BUILD
#define PYRO_BUILD "unknown"
#endif

enum {
    READ_BUDGET = 1 << 20,          /* bytes read from one port before the others have their turn */
    OUT_LIMIT = 1 << 20,            /* while this many bytes wait to be sent, a command's pipes are not read */
    PIPE_READ = 128 << 10,          /* one frame of output */
    REPLY_ROOM = 4 << 10,           /* the largest answer is smaller */
    REPLIES_ROOM = 64 << 10,        /* a client that leaves more answers unread is reset */
    TAKEN_STEP = 64 << 10,
    GROWN_PIPE = 1 << 20,
    DRAINS = 256,
    ABSENCE_MS = 200,               /* a virtio port without a client for this long is disconnected */
    DEVICE_DEADLINE_MS = 10000,
    POWEROFF_DEADLINE_MS = 200,
    ALIVE_STEP_MS = 500,            /* interval of ALIVE */
};

static const char DEFAULT_PATH[] = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/* A first-in, first-out queue of bytes in contiguous memory. */
struct queue {
    uint8_t *bytes;
    size_t capacity, start, end;
};

/* The agent's end of the pipe of a command's standard output or error. */
struct pipe_end {
    int fd;          /* -1: closed */
    bool readable;   /* there may be something to read */
    bool hung_up;    /* no writer is left */
    bool grown;
    size_t unsent;     /* after the end of the command: bytes of its output that are still to be sent */
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
    int fd;                    /* -1: closed for good */
    enum { LOST, SYNCED, OPEN } state;
    bool readable, blocked;
    int64_t absent_until_ns;   /* when to treat the client as gone; 0: the port has not reported it as gone */
    struct queue in, out, input;
    size_t frame_start;        /* of the frame being built in `out` */
    enum type frame_type;
    struct command command;
    pid_t flusher;             /* 0: no FLUSH under way */
    int64_t next_alive_ns;     /* when to send the next ALIVE; 0: never */
};

enum phase { TEMPLATE, READY };

static struct {
    bool is_machine;           /* process 1 of a virtual machine, not a process on a host */
    enum phase phase;
    bool setup_seen;
    int epoll, signals, null;
    int own_namespace;         /* that of the initramfs, in which the agent runs */
    int command_namespace;     /* -1: commands run in the agent's namespace */
    int disk;
    const struct port *paused_by;    /* whose client has stopped all other processes; NULL: none */
    bool children_ended;
    struct port ports[PORTS];
    int drains[DRAINS];        /* pipes of ended commands, whose output is read and discarded */
    unsigned oldest_drain;
} agent;

/* What an epoll event is about. */
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

/* Returns how many contiguous bytes are free at the end; if fewer than `wanted`, first moves the content to the
 * front. */
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

/* Checks every request once; the handlers rely on it. */
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

/* Appends to the queue. serve_port() leaves enough room in it for every answer. */
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
    port->out.end = write_number(port->out.bytes + port->out.end, tag, number) - port->out.bytes;
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
    bool is_guest_program;       /* runs in the agent's namespace, outside the commands' root */
    bool wants_alive;   /* send ALIVE while it runs */
};

/* Written by the child and read by the parent, which share memory until the program runs. Always volatile: the compiler
 * does not see that the child's code, which never returns, changes it. */
struct start_failure {
    enum { PREPARING, ENTERING_FOLDER, EXECUTING } step;
    int error;
    bool no_interpreter;
};

/* Returns only when `path` could not be executed, with errno. */
static void execute(const char *path, const struct launch *launch, volatile struct start_failure *start_failure) {
    execve(path, launch->argv, launch->env);
    int error = errno;
    /* The kernel also returns ENOENT for an existing program whose interpreter is missing. */
    if (error == ENOENT && access(path, F_OK) == 0)
        start_failure->no_interpreter = true;
    errno = error;
}

static const char *search_path(char **env) {
    for (; *env; env++)
        if (strncmp(*env, "PATH=", 5) == 0)
            return *env + 5;
    return DEFAULT_PATH;
}

/* Tries the program in every folder of PATH; returns like execute(). */
static void search_and_execute(const struct launch *launch, volatile struct start_failure *start_failure) {
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
        execute(candidate, launch, start_failure);
        if (errno == EACCES)
            denied = true;
        else if (start_failure->no_interpreter || (errno != ENOENT && errno != ENOTDIR))
            return;
    }
    errno = denied ? EACCES : ENOENT;
}

/* Lets one of our own programs run before those of the user, however many they are: a fork bomb must not delay file
 * work. Its children are scheduled as any other process: sched(7). musl's own function only returns ENOSYS. */
static int run_before_commands(void) {
    struct sched_param lowest = { .sched_priority = 1 };
    return (int)syscall(SYS_sched_setscheduler, 0, SCHED_RR | SCHED_RESET_ON_FORK, &lowest);
}

/* Runs in a child of vfork(), which has its own descriptors and signals but shares the agent's memory. */
static noreturn void exec_command(const struct launch *launch, volatile struct start_failure *start_failure) {
    sigset_t none;
    sigemptyset(&none);
    start_failure->step = PREPARING;
    setsid();
    for (int fd = 0; fd < 3; fd++)
        if (dup2(launch->files[fd], fd) < 0)
            goto failed;
    if (!launch->is_guest_program && agent.command_namespace >= 0 && setns(agent.command_namespace, CLONE_NEWNS) < 0)
        goto failed;
    if (launch->is_guest_program && agent.is_machine && run_before_commands() < 0)
        goto failed;
    start_failure->step = ENTERING_FOLDER;
    if (chdir(launch->folder) < 0)
        goto failed;
    start_failure->step = EXECUTING;
    sigprocmask(SIG_SETMASK, &none, NULL);
    if (launch->argv[0][0] == '\0')
        errno = ENOENT;
    else if (strchr(launch->argv[0], '/'))
        execute(launch->argv[0], launch, start_failure);
    else
        search_and_execute(launch, start_failure);
failed:
    start_failure->error = errno;
    _exit(127);
}

/* Uses vfork(): fork() copies the page tables, which is slow under emulation. */
__attribute__((noinline))
static pid_t start_child(const struct launch *launch, volatile struct start_failure *start_failure) {
    pid_t pid = vfork();
    if (pid == 0)
        exec_command(launch, start_failure);
    return pid;
}

/* ---- commands: pipes that outlive them ---------------------------------------------------------------------- */

/* Keeps reading a pipe whose other end a background process holds, so that it does not die of a broken pipe. */
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

static void discard_output(unsigned slot) {
    ssize_t size = splice(agent.drains[slot], NULL, agent.null, NULL, GROWN_PIPE, SPLICE_F_NONBLOCK);
    if (size == 0 || (size < 0 && errno != EAGAIN && errno != EINTR))
        close_fd(&agent.drains[slot]);
}

/* ---- commands: the agent's side ----------------------------------------------------------------------------- */

/* Ends the port's command: kills it if it still runs. Processes that hold its pipes may continue to write. */
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

/* Makes a pipe to or from a command. Returns the agent's end, watched, or -1; `*child_ends` gets the other one. */
static int open_pipe(enum source source, unsigned port, int *child_ends) {
    int ends[2], our = source == FROM_INPUT;
    if (pipe2(ends, O_CLOEXEC) < 0)
        return -1;
    *child_ends = ends[!our];
    if (set_nonblocking(ends[our]) == 0
        && watch(EPOLL_CTL_ADD, ends[our], (our ? EPOLLOUT : EPOLLIN) | EPOLLET, source, port) == 0)
        return ends[our];
    close(ends[our]);
    return -1;
}

static bool open_pipes(struct port *port, bool with_input, int child_ends[3]) {
    struct command *command = &port->command;
    unsigned index = port - agent.ports;
    command->outputs[0].fd = open_pipe(FROM_STDOUT, index, &child_ends[1]);
    command->outputs[1].fd = open_pipe(FROM_STDERR, index, &child_ends[2]);
    command->input = with_input ? open_pipe(FROM_INPUT, index, &child_ends[0]) : -1;
    return command->outputs[0].fd >= 0 && command->outputs[1].fd >= 0 && (command->input >= 0 || !with_input);
}

static void answer_start_failure(struct port *port, const struct launch *launch, pid_t pid,
                           const volatile struct start_failure *why) {
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
    volatile struct start_failure start_failure = { 0 };
    int child_ends[3] = { -1, -1, -1 };
    command->present = command->ended = command->input_writable = true;
    pid_t pid = -1;
    if (open_pipes(port, with_input, child_ends)) {
        memcpy(launch->files, child_ends, sizeof child_ends);
        if (!with_input)
            launch->files[0] = agent.null;
        pid = start_child(launch, &start_failure);
    }
    if (pid < 0)
        start_failure.error = errno;
    for (int i = 0; i < 3; i++)
        close_fd(&child_ends[i]);
    if (start_failure.error) {
        end_command(port);
        answer_start_failure(port, launch, pid, &start_failure);
        return;
    }
    command->ended = false;
    command->pid = pid;
    command->deadline_ns = timeout_ms ? now_ns() + (int64_t)timeout_ms * 1000000 : 0;
    port->next_alive_ns = launch->wants_alive ? now_ns() + ALIVE_STEP_MS * INT64_C(1000000) : 0;
    answer_number(port, STARTED, pid);
}

/* Turns the request's fields into C strings in place: the terminating NUL of each overwrites the next field's tag,
 * which was read before, or the frame's end mark. */
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
    launch.is_guest_program = find_number(frame, TAG_TOOL) == 1;
    launch.wants_alive = find_number(frame, TAG_ALIVE) == 1;
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
        fcntl(fd, F_SETPIPE_SZ, GROWN_PIPE);   /* may fail: a small pipe works too, only slower */
    *grown = true;
}

static void accept_input(struct port *port, const struct frame *frame) {
    struct command *command = &port->command;
    if (!command->present || command->input_ends)
        return;    /* sent before the client saw the command's end */
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

/* Passes queued input to the command; returns how many bytes it took. If it no longer reads, all are discarded. */
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

/* Moves a pipe's content into frames until the pipe is empty or the output limit is reached. */
static void pump_output(struct port *port, struct pipe_end *end, enum type type) {
    const struct command *command = &port->command;
    while (end->fd >= 0 && (command->ended ? end->unsent > 0 : end->readable) && queued(&port->out) < OUT_LIMIT) {
        make_room(&port->out, PIPE_READ + REPLY_ROOM);
        size_t wanted = command->ended && end->unsent < PIPE_READ ? end->unsent : PIPE_READ;
        ssize_t size = read(end->fd, port->out.bytes + port->out.end + HEADER_SIZE, wanted);
        if (size > 0) {
            begin_frame(port, type);
            port->out.end += size;
            end_frame(port);
            end->unsent -= command->ended ? size : 0;
            if (size >= 64 << 10)
                grow_pipe(end->fd, &end->grown);
            end->readable = (size_t)size == wanted;    /* a short read empties the pipe; the next write is an event */
        } else if (size < 0 && (errno == EAGAIN || errno == EINTR)) {
            end->readable = errno == EINTR;
            end->unsent = 0;
        } else {
            close_fd(&end->fd);
            end->unsent = 0;
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
    if (command->ended && command->outputs[0].unsent == 0 && command->outputs[1].unsent == 0) {
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

/* Handles the end of the command. What its pipes hold now still belongs to its output. */
static void command_ended(struct command *command, int status) {
    command->ended = true;
    command->status = status;
    for (int i = 0; i < 2; i++) {
        int held = 0;
        if (command->outputs[i].fd >= 0 && ioctl(command->outputs[i].fd, FIONREAD, &held) == 0)
            command->outputs[i].unsent = held;
    }
}

/* Resumes the processes that FLUSH with PAUSE has stopped. */
static void resume_processes(const struct port *port) {
    if (agent.paused_by != port)
        return;
    agent.paused_by = NULL;
    kill(-1, SIGCONT);
}

static void flush_ended(struct port *port, int error) {
    port->flusher = 0;
    port->next_alive_ns = 0;
    if (error) {
        resume_processes(port);
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

#include "agent_machine.h"

/* ---- requests to a machine ----------------------------------------------------------------------------------- */

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
        { "mount /proc, /sys and /dev in the root", mount_root_filesystems },
        { "write the files", write_files },
        { 0 },
    };
    if (agent.setup_seen) {
        answer_error(port, EALREADY, "SETUP works once per machine start");
        return;
    }
    agent.setup_seen = true;
    const char *failure = run_steps(steps, request);
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

/* Flushes in a child: writing a full disk cache takes seconds, and the other ports must not wait. With PAUSE no process
 * can write during the flush, nor later, until the client disconnects. */
static void flush_disk(struct port *port, const struct frame *request) {
    if (agent.disk < 0) {
        answer_ok(port);
        return;
    }
    if (find_number(request, TAG_PAUSE) == 1) {
        agent.paused_by = port;
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

/* Returns how many KiB wait to be written to any disk; 0 when the kernel does not report it. */
static uint64_t unwritten_kib(void) {
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

/* Sends ALIVE when it is due, unless the client has not read the last answers. */
static void send_alive(struct port *port) {
    if (!port->next_alive_ns || now_ns() < port->next_alive_ns)
        return;
    port->next_alive_ns = now_ns() + ALIVE_STEP_MS * INT64_C(1000000);
    if (queued(&port->out) == 0)
        answer_number(port, ALIVE, unwritten_kib());
}

static bool send_queue(struct port *port);

static void power_off(struct port *port, const struct frame *request) {
    struct pollfd writable = { .fd = port->fd, .events = POLLOUT };
    answer_ok(port);
    for (int64_t end = now_ns() + POWEROFF_DEADLINE_MS * INT64_C(1000000); now_ns() < end;)
        if (!send_queue(port) || queued(&port->out) == 0 || poll(&writable, 1, POWEROFF_DEADLINE_MS) <= 0)
            break;
    kill(-1, SIGKILL);
    sync();
    mount(NULL, "/disk", NULL, MS_REMOUNT | MS_RDONLY, NULL);   /* marks the file system clean; it is synced already */
    reboot(RB_POWER_OFF);
    die("cannot power off");
}

/* ---- ports -------------------------------------------------------------------------------------------------- */

/* Drops everything of the client: its command, its incomplete frame, its unread answers. */
static void reset_port(struct port *port) {
    end_command(port);
    resume_processes(port);
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

static void accept_hello(struct port *port, const struct frame *request) {
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
    bool alone;      /* refused while a command or a flush runs on this port */
    bool machine;    /* refused on a host */
} requests[] = {
    [HELLO] = { accept_hello, .alone = true },
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

/* Discards everything before SYNC. */
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
        enum frame_state found = find_frame(in->bytes + in->start, queued(in), frame);
        if (found == FRAME_INCOMPLETE)
            return false;
        if (found != FRAME_TOO_LARGE)    /* a header that is too large stays: it may be the beginning of SYNC */
            in->start += frame_length(frame);
        if (found == FRAME_COMPLETE)
            return true;
        /* A frame without its end mark is skipped as a whole: a SYNC inside it would be payload. */
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

/* A virtio port without a client reads 0. The kernel learns of clients in a work queue and of their data in an
 * interrupt, so a client's first bytes may be read, and answered, before the port reports the client. */
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

/* Sends until the queue is empty or the peer takes no more. Returns false when the peer is gone. */
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

/* Gives one port its turn. Returns whether it has more to do at once. */
static bool serve_port(struct port *port) {
    if (port->fd < 0)
        return false;
    read_port(port);
    check_absence(port);
    pump_command(port);
    send_alive(port);
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
        discard_output(index);
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

/* Returns the milliseconds until the next deadline of any port; -1 when there is none. */
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

/* Reads SIGCHLD from a descriptor and blocks SIGPIPE. Installs no handler and ignores no signal, because commands would
 * inherit that. Adopts orphans also when it is not process 1. */
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
