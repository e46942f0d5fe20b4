/*
 * pyro-devices ports=SOCKET,LISTENER... [network=SOCKET,TAP]
 *
 * The virtio devices of a machine whose kernel is a process of the host: the agent's ports (a virtio console with one
 * port per LISTENER, named pyro.0, pyro.1, ...) and the network device. Every word is the number of an open descriptor.
 * SOCKET listens for the kernel, which is the front end of vhost-user and lends us its memory; LISTENER is the Unix
 * socket whose clients talk to that port, one at a time; TAP is a tap device with virtio headers.
 *
 * https://qemu-project.gitlab.io/qemu/interop/vhost-user.html, "Virtual I/O Device (VIRTIO) Version 1.2", 2.7, 5.1, 5.3
 *
 * One thread, one poll. The guest is hostile: whatever it lends is checked when it is used, and used once. What no
 * driver does ends the program, and with it the machine. Notifications travel in the messages of vhost-user, because
 * the front end would else make three descriptors for each of the 34 queues.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <linux/if_tun.h>
#include <poll.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <stdnoreturn.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

enum {
    MOST_PORTS = 16,
    MOST_QUEUES = 2 * MOST_PORTS + 2,
    MOST_ENTRIES = 256,             /* of one queue; the front end never asks for more */
    INBOX = 8192,
    BATCH = 64,                     /* buffers that one read fills */
    CONFIG_ROOM = 64,
    NETWORK_HEADER = 12,            /* struct virtio_net_hdr_v1 */
};

/* ---- the wire: vhost-user ----------------------------------------------------------------------------------- */

enum {
    GET_FEATURES = 1, SET_FEATURES = 2, SET_OWNER = 3, SET_MEM_TABLE = 5, SET_VRING_NUM = 8, SET_VRING_ADDR = 9,
    SET_VRING_BASE = 10, GET_PROTOCOL_FEATURES = 15, SET_PROTOCOL_FEATURES = 16, SET_VRING_ENABLE = 18,
    SET_BACKEND_REQ_FD = 21, GET_CONFIG = 24, SET_CONFIG = 25, VRING_KICK = 35,
    BACKEND_VRING_CALL = 4,
    VERSION = 1, REPLY = 4, NEEDS_REPLY = 8,
};

#define BIT(number) (UINT64_C(1) << (number))
#define VERSION_1 BIT(32)
#define PROTOCOL_FEATURES BIT(30)
/* Requests of ours, configuration space, notifications in messages. */
#define PROTOCOL (BIT(5) | BIT(9) | BIT(14))
#define CONSOLE_MULTIPORT BIT(1)
/* Checksums and segmentation may be left to the other side. */
#define NET_FEATURES (BIT(0) | BIT(5) | BIT(11) | BIT(12))

struct __attribute__((packed)) header { uint32_t request, flags, size; };
struct __attribute__((packed)) vring_state { uint32_t index, number; };
struct __attribute__((packed)) vring_address { uint32_t index, flags; uint64_t descriptors, used, available, log; };
struct __attribute__((packed)) memory_table {
    uint32_t count, padding;
    uint64_t guest_address, size, user_address, offset;
};
struct __attribute__((packed)) config { uint32_t offset, size, flags; uint8_t bytes[CONFIG_ROOM]; };

struct message {
    struct header head;
    union {
        uint64_t number;
        struct vring_state state;
        struct vring_address address;
        struct memory_table memory;
        struct config config;
    } body;
} __attribute__((packed));

/* ---- the rings: virtio -------------------------------------------------------------------------------------- */

enum { HAS_NEXT = 1, DEVICE_WRITES = 2, NO_NOTIFICATION = 1, NO_INTERRUPT = 1 };

struct descriptor { uint64_t address; uint32_t size; uint16_t flags, next; };
struct available { uint16_t flags, index, entries[]; };
struct used_entry { uint32_t head, size; };
struct used { uint16_t flags, index; struct used_entry entries[]; };

struct queue {
    struct descriptor *descriptors;
    struct available *available;
    struct used *used;
    uint32_t size;
    uint16_t taken, given;          /* chains that we have taken so far, and given back */
    bool enabled, call_due;
};

struct device {
    const char *name;
    int listener, socket, requests; /* -1: none yet */
    uint64_t features;
    struct config config;
    uint8_t *memory;
    uint64_t memory_start, memory_end;
    struct queue queues[MOST_QUEUES];
    uint8_t inbox[INBOX];
    size_t held;
    int passed[4];                  /* descriptors that came with messages not yet handled, in order */
    unsigned passed_count;
    void (*kicked)(unsigned queue);
};

/* A chain of buffers, taken apart. */
struct chain {
    uint16_t head;
    struct iovec parts[MOST_ENTRIES];
    int count;
    size_t size;
};

static noreturn void die(const char *format, ...) __attribute__((format(printf, 1, 2)));
static noreturn void die(const char *format, ...) {
    va_list arguments;
    va_start(arguments, format);
    fputs("pyro-devices: ", stderr);
    vfprintf(stderr, format, arguments);
    fputc('\n', stderr);
    exit(1);
}

/* The guest's memory from `address` on, of which `size` bytes are needed. */
static void *lent(const struct device *device, uint64_t address, uint64_t size) {
    if (address < device->memory_start || address > device->memory_end || size > device->memory_end - address)
        die("%s: the guest's driver named memory that it has not lent", device->name);
    return device->memory + address;
}

static bool has_chain(const struct queue *queue) {
    return queue->enabled && __atomic_load_n(&queue->available->index, __ATOMIC_ACQUIRE) != queue->taken;
}

/* The next chain that the guest offers, all of whose parts we read or (`writable`) write; false when there is none. */
static bool take_chain(const struct device *device, struct queue *queue, bool writable, struct chain *chain) {
    if (!has_chain(queue))
        return false;
    uint16_t at = queue->available->entries[queue->taken % queue->size];
    chain->head = at;
    chain->size = 0;
    for (chain->count = 0;; chain->count++) {
        if (at >= queue->size || (uint32_t)chain->count >= queue->size)
            die("%s: the guest's driver offered a broken chain", device->name);
        struct descriptor one;
        memcpy(&one, (const void *)&queue->descriptors[at], sizeof one);
        if (((one.flags & DEVICE_WRITES) != 0) != writable)
            die("%s: the guest's driver offered a buffer of the wrong direction", device->name);
        chain->parts[chain->count] = (struct iovec){ lent(device, one.address, one.size), one.size };
        chain->size += one.size;
        if (!(one.flags & HAS_NEXT)) {
            chain->count++;
            break;
        }
        at = one.next;
    }
    queue->taken++;
    return true;
}

/* Gives a chain back of which `size` bytes were written. */
static void give_back(struct queue *queue, uint16_t head, uint32_t size) {
    queue->used->entries[queue->given % queue->size] = (struct used_entry){ head, size };
    queue->given++;
    __atomic_store_n(&queue->used->index, queue->given, __ATOMIC_RELEASE);
    queue->call_due = true;
}

/* Whether the guest should tell us of new chains; true when there is one that it may not have told us of. */
static bool want_notification(struct queue *queue, bool wanted) {
    if (!queue->enabled)
        return false;
    __atomic_store_n(&queue->used->flags, wanted ? 0 : NO_NOTIFICATION, __ATOMIC_SEQ_CST);
    __atomic_thread_fence(__ATOMIC_SEQ_CST);
    return wanted && has_chain(queue);
}

/* Sends the interrupts that are due; what the guest does not take now is sent later. */
static void call(struct device *device) {
    for (uint32_t i = 0; i < MOST_QUEUES; i++) {
        struct queue *queue = &device->queues[i];
        if (!queue->call_due)
            continue;
        __atomic_thread_fence(__ATOMIC_SEQ_CST);
        if (!(__atomic_load_n(&queue->available->flags, __ATOMIC_RELAXED) & NO_INTERRUPT)) {
            struct message message = { .head = { BACKEND_VRING_CALL, VERSION, sizeof message.body.state },
                                       .body.state = { i, 0 } };
            size_t size = sizeof message.head + message.head.size;
            ssize_t sent = send(device->requests, &message, size, MSG_DONTWAIT | MSG_NOSIGNAL);
            if (sent < 0 && (errno == EAGAIN || errno == ENOBUFS))
                return;
            if (sent != (ssize_t)size)
                die("%s: the guest takes no interrupt: %s", device->name, strerror(errno));
        }
        queue->call_due = false;
    }
}

static bool owes_call(const struct device *device) {
    for (int i = 0; i < MOST_QUEUES; i++)
        if (device->queues[i].call_due)
            return true;
    return false;
}

/* ---- vhost-user: requests of the front end ------------------------------------------------------------------ */

static int take_descriptor(struct device *device) {
    if (device->passed_count == 0)
        die("%s: a request came without its descriptor", device->name);
    int fd = device->passed[0];
    memmove(device->passed, device->passed + 1, --device->passed_count * sizeof *device->passed);
    return fd;
}

static void reply(struct device *device, struct message *message, uint32_t size) {
    message->head.flags = VERSION | REPLY;
    message->head.size = size;
    size += sizeof message->head;
    if (send(device->socket, message, size, MSG_NOSIGNAL) != (ssize_t)size)
        die("%s: the guest takes no answer", device->name);
}

static void reply_number(struct device *device, struct message *message, uint64_t number) {
    message->body.number = number;
    reply(device, message, sizeof number);
}

/* Addresses of the guest are offsets in the file that it lends, all of which but its beginning is memory. */
static void map_memory(struct device *device, const struct memory_table *table) {
    int file = take_descriptor(device);
    struct stat found;
    if (device->memory || table->count != 1 || table->guest_address != table->offset
        || table->user_address != table->guest_address || table->size > UINT64_MAX - table->offset
        || fstat(file, &found) < 0 || (uint64_t)found.st_size < table->offset + table->size)
        die("%s: the guest lends its memory in an unknown way", device->name);
    device->memory_start = table->offset;
    device->memory_end = table->offset + table->size;
    device->memory = mmap(NULL, device->memory_end, PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
    if (device->memory == MAP_FAILED)
        die("%s: cannot map the guest's memory: %s", device->name, strerror(errno));
    close(file);
}

static struct queue *find_queue(struct device *device, uint32_t index) {
    if (index >= MOST_QUEUES)
        die("%s: there is no queue %u", device->name, index);
    return &device->queues[index];
}

static void place_queue(struct device *device, const struct vring_address *address) {
    struct queue *queue = find_queue(device, address->index);
    uint64_t entries = queue->size;
    if (queue->size == 0 || queue->descriptors || address->descriptors % 16 || address->available % 2 || address->used % 4)
        die("%s: queue %u has no size, a crooked place, or two", device->name, address->index);
    queue->descriptors = lent(device, address->descriptors, entries * sizeof(struct descriptor));
    queue->available = lent(device, address->available, sizeof(struct available) + (entries + 1) * 2);
    queue->used = lent(device, address->used, sizeof(struct used) + entries * sizeof(struct used_entry) + 2);
}

static void handle(struct device *device, struct message *message) {
    struct vring_state *state = &message->body.state;
    struct queue *queue;
    switch (message->head.request) {
    case GET_FEATURES:
        reply_number(device, message, device->features);
        break;
    case GET_PROTOCOL_FEATURES:
        reply_number(device, message, PROTOCOL);
        break;
    case SET_MEM_TABLE:
        map_memory(device, &message->body.memory);
        break;
    case SET_BACKEND_REQ_FD:
        device->requests = take_descriptor(device);
        break;
    case SET_VRING_NUM:
        queue = find_queue(device, state->index);
        if (queue->size != 0 || state->number == 0 || state->number > MOST_ENTRIES
            || state->number & (state->number - 1))
            die("%s: a queue cannot have %u entries, or has some", device->name, state->number);
        queue->size = state->number;
        break;
    case SET_VRING_ADDR:
        place_queue(device, &message->body.address);
        break;
    case SET_VRING_ENABLE:
        queue = find_queue(device, state->index);
        queue->enabled = state->number == 1 && queue->descriptors && device->requests >= 0;
        if (state->index % 2 == 0)
            want_notification(queue, false);    /* of buffers for us to fill: only when we lack one */
        if (queue->enabled)
            device->kicked(state->index);
        break;
    case VRING_KICK:
        if (find_queue(device, state->index)->enabled)
            device->kicked(state->index);
        break;
    case GET_CONFIG: {
        uint32_t offset = message->body.config.offset, size = message->body.config.size;
        if (offset > CONFIG_ROOM || size > CONFIG_ROOM - offset)
            die("%s: the configuration is not so long", device->name);
        memcpy(message->body.config.bytes, device->config.bytes + offset, size);
        reply(device, message, offsetof(struct config, bytes) + size);
        break;
    }
    case SET_OWNER:
    case SET_FEATURES:
    case SET_PROTOCOL_FEATURES:
    case SET_VRING_BASE:    /* always 0: a machine starts once */
    case SET_CONFIG:
        break;
    default:
        die("%s: unknown request %u", device->name, message->head.request);
    }
}

static void receive(struct device *device) {
    union { char bytes[CMSG_SPACE(sizeof device->passed)]; struct cmsghdr align; } control;
    struct iovec room = { device->inbox + device->held, INBOX - device->held };
    struct msghdr envelope = { .msg_iov = &room, .msg_iovlen = 1, .msg_control = control.bytes,
                               .msg_controllen = sizeof control.bytes };
    ssize_t size = recvmsg(device->socket, &envelope, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
    if (size < 0 && (errno == EAGAIN || errno == EINTR))
        return;
    if (size <= 0)
        exit(0);    /* the machine has ended */
    for (struct cmsghdr *one = CMSG_FIRSTHDR(&envelope); one; one = CMSG_NXTHDR(&envelope, one)) {
        unsigned count = (one->cmsg_len - CMSG_LEN(0)) / sizeof(int);
        if (count > sizeof device->passed / sizeof *device->passed - device->passed_count)
            die("%s: too many descriptors", device->name);
        memcpy(device->passed + device->passed_count, CMSG_DATA(one), count * sizeof(int));
        device->passed_count += count;
    }
    device->held += size;
    size_t at = 0;
    for (struct message message; device->held - at >= sizeof message.head; at += sizeof message.head + message.head.size) {
        memset(&message, 0, sizeof message);
        memcpy(&message.head, device->inbox + at, sizeof message.head);
        if (message.head.size > sizeof message.body || message.head.flags & NEEDS_REPLY)
            die("%s: a request of an unknown form", device->name);
        if (device->held - at < sizeof message.head + message.head.size)
            break;
        memcpy(&message.body, device->inbox + at + sizeof message.head, message.head.size);
        uint32_t asked = message.head.size;
        handle(device, &message);
        message.head.size = asked;
    }
    memmove(device->inbox, device->inbox + at, device->held - at);
    device->held -= at;
}

static void greet(struct device *device) {
    device->socket = accept4(device->listener, NULL, NULL, SOCK_CLOEXEC);
    if (device->socket < 0)
        die("%s: cannot take the guest's connection: %s", device->name, strerror(errno));
    close(device->listener);    /* there is one kernel */
    device->listener = -1;
}

/* ---- the agent's ports -------------------------------------------------------------------------------------- */

enum { DEVICE_READY = 0, PORT_ADD = 1, PORT_READY = 3, PORT_OPEN = 6, PORT_NAME = 7, CONTROL_IN = 2, CONTROL_OUT = 3 };

struct __attribute__((packed)) control { uint32_t id; uint16_t event, value; };

static struct port {
    int listener, client;       /* client -1: nobody */
    bool guest_open;
    bool blocked;               /* the client takes no more now */
    bool starved;               /* the guest has lent no buffer for what the client says */
    bool has_chain;             /* `chain` is what the guest wrote last, of which `sent` bytes are out */
    size_t sent;
    struct chain chain;
} ports[MOST_PORTS];
static unsigned port_count;

static struct device console = { .name = "ports", .listener = -1, .socket = -1, .requests = -1 };

/* Control messages that wait for a buffer of the guest: a guest that does not read them has at most this many. */
static struct control waiting[64 * MOST_PORTS];
static unsigned waiting_count;

static struct queue *to_guest(unsigned port) {
    return &console.queues[port == 0 ? 0 : 2 * port + 2];
}

static struct queue *from_guest(unsigned port) {
    return &console.queues[port == 0 ? 1 : 2 * port + 3];
}

static void send_controls(void) {
    struct queue *queue = &console.queues[CONTROL_IN];
    struct chain chain;
    unsigned at = 0;
    for (; at < waiting_count; at++) {
        if (!take_chain(&console, queue, true, &chain)) {
            if (!want_notification(queue, true))
                break;
            at--;
            continue;
        }
        char text[sizeof(struct control) + 16];
        size_t size = sizeof(struct control);
        memcpy(text, &waiting[at], size);
        if (waiting[at].event == PORT_NAME)
            size += snprintf(text + size, sizeof text - size, "pyro.%u", waiting[at].id);
        if (chain.parts[0].iov_len < size)
            die("ports: the guest's buffer for control messages is too small");
        memcpy(chain.parts[0].iov_base, text, size);
        give_back(queue, chain.head, size);
    }
    waiting_count -= at;
    memmove(waiting, waiting + at, waiting_count * sizeof *waiting);
}

static void tell(uint32_t port, uint16_t event, uint16_t value) {
    if (waiting_count == sizeof waiting / sizeof *waiting)
        die("ports: the guest reads no control messages");
    waiting[waiting_count++] = (struct control){ port, event, value };
    send_controls();
}

static void hear_control(const struct control *said) {
    if (said->event == DEVICE_READY) {
        for (unsigned i = 0; i < port_count; i++)
            tell(i, PORT_ADD, 1);
    } else if (said->id >= port_count) {
        return;
    } else if (said->event == PORT_READY) {
        tell(said->id, PORT_NAME, 1);
        if (ports[said->id].client >= 0)
            tell(said->id, PORT_OPEN, 1);
    } else if (said->event == PORT_OPEN) {
        ports[said->id].guest_open = said->value != 0;
    }
}

static void hear_controls(void) {
    struct chain chain;
    while (take_chain(&console, &console.queues[CONTROL_OUT], false, &chain)) {
        struct control said;
        if (chain.parts[0].iov_len < sizeof said)
            die("ports: the guest sent half a control message");
        memcpy(&said, chain.parts[0].iov_base, sizeof said);
        give_back(&console.queues[CONTROL_OUT], chain.head, 0);
        hear_control(&said);
    }
}

static void send_out(struct port *port);

static void lose_client(struct port *port) {
    close(port->client);
    port->client = -1;
    port->blocked = port->starved = false;
    tell(port - ports, PORT_OPEN, 0);
    send_out(port);     /* that is, throw it away */
}

static void take_client(struct port *port) {
    port->client = accept4(port->listener, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
    if (port->client >= 0)
        tell(port - ports, PORT_OPEN, 1);
}

/* Fills as many of the guest's buffers as the client has bytes for. */
static void bring_in(struct port *port) {
    struct queue *queue = to_guest(port - ports);
    static struct chain chain;
    static struct iovec room[BATCH];
    static uint16_t heads[BATCH];
    uint16_t taken = queue->taken;
    int count = 0;
    for (; count < BATCH && take_chain(&console, queue, true, &chain); count++) {
        heads[count] = chain.head;
        room[count] = chain.parts[0];
    }
    if (count == 0) {
        port->starved = !want_notification(queue, true);
        return;
    }
    want_notification(queue, false);
    ssize_t size = readv(port->client, room, count);
    int filled = 0;
    for (ssize_t left = size; left > 0; filled++) {
        size_t part = (size_t)left < room[filled].iov_len ? (size_t)left : room[filled].iov_len;
        give_back(queue, heads[filled], part);
        left -= part;
    }
    queue->taken = taken + filled;      /* the rest is still on offer */
    if (size == 0 || (size < 0 && errno != EAGAIN && errno != EINTR))
        lose_client(port);
}

/* Sends what the guest wrote; without a client it is thrown away, as it is for a port that nobody listens to. */
static void send_out(struct port *port) {
    struct queue *queue = from_guest(port - ports);
    port->blocked = false;
    while (port->has_chain || (port->has_chain = take_chain(&console, queue, false, &port->chain))) {
        struct iovec left[MOST_ENTRIES];
        int count = 0;
        size_t skipped = port->sent;
        for (int i = 0; i < port->chain.count; i++) {
            struct iovec part = port->chain.parts[i];
            size_t skip = skipped < part.iov_len ? skipped : part.iov_len;
            skipped -= skip;
            if (skip < part.iov_len)
                left[count++] = (struct iovec){ (char *)part.iov_base + skip, part.iov_len - skip };
        }
        if (port->client >= 0 && count > 0) {
            struct msghdr envelope = { .msg_iov = left, .msg_iovlen = count };
            ssize_t size = sendmsg(port->client, &envelope, MSG_NOSIGNAL | MSG_DONTWAIT);
            if (size < 0 && (errno == EAGAIN || errno == EINTR)) {
                port->blocked = true;
                return;
            }
            if (size < 0) {
                lose_client(port);
                continue;
            }
            port->sent += size;
            if (port->sent < port->chain.size)
                continue;
        }
        give_back(queue, port->chain.head, 0);
        port->has_chain = false;
        port->sent = 0;
    }
}

static void console_kicked(unsigned queue) {
    unsigned port = queue < 2 ? 0 : queue / 2 - 1;
    if (queue == CONTROL_IN)
        send_controls();
    else if (queue == CONTROL_OUT)
        hear_controls();
    else if (port >= port_count)
        return;
    else if (queue % 2)
        send_out(&ports[port]);
    else
        ports[port].starved = false;
}

/* ---- the network -------------------------------------------------------------------------------------------- */

static struct device network = { .name = "network", .listener = -1, .socket = -1, .requests = -1 };
static int tap = -1;
static bool tap_blocked, network_starved;

static void bring_packets(void) {
    struct queue *queue = &network.queues[0];
    struct chain chain;
    for (int budget = BATCH; budget > 0; budget--) {
        uint16_t taken = queue->taken;
        if (!take_chain(&network, queue, true, &chain)) {
            network_starved = !want_notification(queue, true);
            return;
        }
        want_notification(queue, false);
        ssize_t size = readv(tap, chain.parts, chain.count);
        if (size < 0) {
            queue->taken = taken;
            return;
        }
        give_back(queue, chain.head, size);
    }
}

static void send_packets(void) {
    struct queue *queue = &network.queues[1];
    struct chain chain;
    tap_blocked = false;
    for (uint16_t taken = queue->taken; take_chain(&network, queue, false, &chain); taken = queue->taken) {
        if (writev(tap, chain.parts, chain.count) < 0 && errno == EAGAIN) {
            queue->taken = taken;
            tap_blocked = true;
            return;
        }
        give_back(queue, chain.head, 0);    /* a packet that the tap does not take is lost, as on any wire */
    }
}

static void network_kicked(unsigned queue) {
    if (queue == 0)
        network_starved = false;
    else if (queue == 1)
        send_packets();
}

/* ---- start and loop ----------------------------------------------------------------------------------------- */

static void add(struct pollfd *polled, nfds_t *count, int fd, short events) {
    if (fd >= 0 && events)
        polled[(*count)++] = (struct pollfd){ .fd = fd, .events = events };
}

static short found(const struct pollfd *polled, nfds_t count, int fd) {
    for (nfds_t i = 0; fd >= 0 && i < count; i++)
        if (polled[i].fd == fd)
            return polled[i].revents;
    return 0;
}

static void watch(struct pollfd *polled, nfds_t *count, struct device *device) {
    add(polled, count, device->listener, POLLIN);
    add(polled, count, device->socket, POLLIN);
    if (device->requests >= 0 && owes_call(device))
        add(polled, count, device->requests, POLLOUT);
}

static void serve(struct device *device, const struct pollfd *polled, nfds_t count) {
    if (found(polled, count, device->listener))
        greet(device);
    else if (found(polled, count, device->socket))
        receive(device);
}

static void loop(void) {
    struct pollfd polled[2 * MOST_PORTS + 8];
    for (nfds_t count = 0;; count = 0) {
        watch(polled, &count, &console);
        watch(polled, &count, &network);
        for (struct port *port = ports; port < ports + port_count; port++) {
            bool reads = port->client >= 0 && port->guest_open && !port->starved;
            add(polled, &count, port->client, (reads ? POLLIN : POLLRDHUP) | (port->blocked ? POLLOUT : 0));
            add(polled, &count, port->client < 0 ? port->listener : -1, POLLIN);
        }
        add(polled, &count, tap, (network.queues[0].enabled && !network_starved ? POLLIN : 0) | (tap_blocked ? POLLOUT : 0));
        if (poll(polled, count, -1) < 0 && errno != EINTR)
            die("cannot wait: %s", strerror(errno));
        serve(&console, polled, count);
        serve(&network, polled, count);
        for (struct port *port = ports; port < ports + port_count; port++) {
            short client = found(polled, count, port->client);
            if (port->client < 0 && found(polled, count, port->listener))
                take_client(port);
            if (client & POLLOUT)
                send_out(port);
            if (port->client >= 0 && client & ~POLLOUT && port->guest_open && !port->starved)
                bring_in(port);
            else if (port->client >= 0 && client & (POLLHUP | POLLRDHUP | POLLERR))
                lose_client(port);
        }
        short packets = found(polled, count, tap);
        if (packets & POLLIN)
            bring_packets();
        if (packets & POLLOUT)
            send_packets();
        call(&console);
        call(&network);
    }
}

static unsigned read_numbers(const char *text, int *numbers, unsigned most) {
    unsigned count = 0;
    for (char *end; count < most; text = end + 1) {
        long number = strtol(text, &end, 10);
        if (end == text || number < 0 || fcntl((int)number, F_SETFD, FD_CLOEXEC) < 0)
            die("%s is no list of open descriptors", text);
        numbers[count++] = (int)number;
        if (*end == '\0')
            return count;
    }
    die("too many descriptors: %s", text);
}

static void open_network(const char *text) {
    int numbers[2], header = NETWORK_HEADER;
    if (read_numbers(text, numbers, 2) != 2)
        die("network needs two descriptors");
    network.listener = numbers[0];
    tap = numbers[1];
    if (ioctl(tap, TUNSETVNETHDRSZ, &header) < 0 || fcntl(tap, F_SETFL, O_RDWR | O_NONBLOCK) < 0)
        die("cannot prepare the tap device: %s", strerror(errno));
}

int main(int argc, char **argv) {
    int numbers[MOST_PORTS + 1];
    for (int i = 1; i < argc; i++) {
        if (strncmp(argv[i], "ports=", 6) == 0) {
            port_count = read_numbers(argv[i] + 6, numbers, MOST_PORTS + 1) - 1;
            console.listener = numbers[0];
        } else if (strncmp(argv[i], "network=", 8) == 0) {
            open_network(argv[i] + 8);
        } else {
            die("usage: pyro-devices ports=SOCKET,LISTENER... [network=SOCKET,TAP]");
        }
    }
    if (port_count == 0)
        die("usage: pyro-devices ports=SOCKET,LISTENER... [network=SOCKET,TAP]");
    for (unsigned i = 0; i < port_count; i++)
        ports[i] = (struct port){ .listener = numbers[i + 1], .client = -1 };
    console.features = VERSION_1 | PROTOCOL_FEATURES | CONSOLE_MULTIPORT;
    /* Columns and rows (16 bits each), then the number of ports. */
    memcpy(console.config.bytes + 4, &(uint32_t){ port_count }, sizeof(uint32_t));
    console.kicked = console_kicked;
    network.features = VERSION_1 | PROTOCOL_FEATURES | NET_FEATURES;
    memcpy(network.config.bytes, "\x52\x54\x00\x12\x34\x56", 6);
    network.kicked = network_kicked;
    loop();
}
