/*
 * The guest tool: reads and changes file trees with the streams of TREE.md. In a machine the agent starts it outside
 * the root of commands. It works on any folders, so it does the same on a host.
 *
 * It runs for one request. A failure ends it with one line on standard error, after `undo` has restored what it had
 * begun to change. Other processes may rename and replace files at the same time: the tool goes from open folder to
 * open folder, never follows a link by accident, and relies on what it has opened, not on what it has seen before.
 */
#define _GNU_SOURCE
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <stdnoreturn.h>
#include <string.h>
#include <sys/file.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/random.h>
#include <sys/resource.h>
#include <sys/sendfile.h>
#include <sys/signalfd.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <sys/xattr.h>
#include <unistd.h>

#include "frames.h"
#include "tree_stream.h"

enum {
    MAX_PATH = 64 << 10,            /* may exceed PATH_MAX, because every step starts at an open folder */
    MAX_DEPTH = 1000,               /* nested folders; each level holds up to four descriptors */
    OUT_SIZE = 256 << 10,
    FIELDS_ROOM = MAX_PATH + PATH_MAX + 1024,
    PIECE_ROOM = 16 << 10,          /* with less free space, a file's content waits for the next write */
    COMPARED = 64 << 10,
    FROZEN_AT_MOST_MS = 10000,
};

static const char STAGING[] = ".pyro-staging-";
static const char RESCUED[] = ".pyro-rescued-";

/* ---- failing ------------------------------------------------------------------------------------------------ */

/* What fail() runs to undo changes; NULL: nothing. */
static void (*undo)(void);

/* Returns an errno's text. TREE.md promises the wording of these, whatever the C library says. */
static const char *reason(int error) {
    switch (error) {
    case EXDEV: return "Invalid cross-device link";
    case ELOOP: return "Too many levels of symbolic links";
    case ENAMETOOLONG: return "File name too long";
    default: return strerror(error);
    }
}

static void report(const char *path, const char *why) {
    dprintf(STDERR_FILENO, "%s: %s\n", *path ? path : ".", why);
}

static noreturn void fail(const char *path, const char *why) {
    void (*first)(void) = undo;
    undo = NULL;
    report(path, why);
    if (first)
        first();
    _exit(1);
}

static noreturn void fail_errno(const char *path) {
    fail(path, reason(errno));
}

/* Returns whether an errno says that a path no longer exists or is something else now. */
static bool vanished(int error) {
    return error == ENOENT || error == ENOTDIR || error == ELOOP || error == ESTALE;
}

static void *checked(void *memory) {
    if (!memory)
        fail("memory", reason(ENOMEM));
    return memory;
}

static noreturn void exit_like(pid_t child) {
    int status;
    while (waitpid(child, &status, 0) < 0)
        if (errno != EINTR)
            _exit(1);
    _exit(WIFEXITED(status) ? WEXITSTATUS(status) : 1);
}

/* ---- frames out --------------------------------------------------------------------------------------------- */

static struct {
    uint8_t bytes[OUT_SIZE];
    size_t used, frame;
    enum type type;            /* of the frame that begins at `frame` */
} out;

static void flush_output(void) {
    for (size_t sent = 0; sent < out.used;) {
        ssize_t size = write(STDOUT_FILENO, out.bytes + sent, out.used - sent);
        if (size < 0 && errno != EINTR)
            fail_errno("output");
        sent += size > 0 ? size : 0;
    }
    out.used = 0;
}

static void begin_frame(enum type type) {
    if (OUT_SIZE - out.used < FIELDS_ROOM)
        flush_output();
    out.frame = out.used;
    out.type = type;
    out.used += HEADER_SIZE;
}

static void end_frame(void) {
    out.used = complete_frame(out.bytes + out.frame, out.type, out.bytes + out.used) - out.bytes;
}

static void put_field(enum tag tag, const void *data, size_t size) {
    out.used = write_field(out.bytes + out.used, tag, data, size) - out.bytes;
}

static void put_text(enum tag tag, const char *text) {
    put_field(tag, text, strlen(text));
}

static void put_number(enum tag tag, uint64_t number) {
    out.used = write_number(out.bytes + out.used, tag, number) - out.bytes;
}

static void put_end(uint64_t count) {
    begin_frame(END);
    put_number(TAG_COUNT, count);
    end_frame();
    flush_output();
}

/* ---- what an entry is --------------------------------------------------------------------------------------- */

/* Returns the letter of an entry's kind, 0 for none. */
static char kind_of(const struct stat *found) {
    static const char kinds[16] = {
        [S_IFREG >> 12] = 'f', [S_IFDIR >> 12] = 'd', [S_IFLNK >> 12] = 'l', [S_IFIFO >> 12] = 'p',
        [S_IFSOCK >> 12] = 's', [S_IFCHR >> 12] = 'c', [S_IFBLK >> 12] = 'b',
    };
    return kinds[(found->st_mode & S_IFMT) >> 12];
}

static mode_t mode_of(const struct stat *found) {
    return found->st_mode & 07777;
}

static uint64_t size_of(const struct stat *found) {
    return S_ISREG(found->st_mode) || S_ISLNK(found->st_mode) ? found->st_size : 0;
}

static bool same_inode(const struct stat *one, const struct stat *other) {
    return one->st_ino == other->st_ino && one->st_dev == other->st_dev;
}

/* ---- folders and paths -------------------------------------------------------------------------------------- */

/* The path that is worked on, relative to the root; failures name it. */
static struct {
    char path[MAX_PATH];
    size_t size;
    unsigned depth;
} location;

static noreturn void fail_at_location(void) {
    fail_errno(location.path);
}

/* Returns the result of a call, and fails if that is negative. */
static int64_t must(int64_t result) {
    if (result < 0)
        fail_at_location();
    return result;
}

/* Returns whether a call failed because its path has vanished. Fails for any other error. */
static bool has_vanished(int64_t result) {
    return result < 0 && (vanished(errno) || must(result) < 0);
}

/* Returns whether enter() accepts this name. */
static bool can_enter(const char *name) {
    return location.size + strlen(name) + 2 <= sizeof location.path && location.depth < MAX_DEPTH;
}

static void go_to(const char *path) {
    if (strlen(path) >= sizeof location.path)
        fail(path, reason(ENAMETOOLONG));
    location.size = strlen(strcpy(location.path, path));
    location.depth = *path ? 1 : 0;
    for (const char *at = path; (at = strchr(at, '/')); at++)
        location.depth++;
}

/* Moves `location` down to `name`; returns what leave() takes to come back. */
static size_t enter(const char *name) {
    size_t before = location.size, size = strlen(name);
    if (!can_enter(name))
        fail(location.path, reason(ENAMETOOLONG));
    if (before > 0)
        location.path[location.size++] = '/';
    memcpy(location.path + location.size, name, size + 1);
    location.size += size;
    location.depth++;
    return before;
}

static void leave(size_t before) {
    location.size = before;
    location.path[before] = '\0';
    location.depth--;
}

/* Returns whether a path is at or below a staging folder: the prefix and 16 digits, as random_name() makes it. */
static bool is_staging(const char *path) {
    enum { PREFIX = sizeof STAGING - 1, DIGITS = 16 };
    return strncmp(path, STAGING, PREFIX) == 0 && strspn(path + PREFIX, "0123456789abcdef") == DIGITS
        && (path[PREFIX + DIGITS] == '\0' || path[PREFIX + DIGITS] == '/');
}

/* Returns whether a path has no empty, "." or ".." component. */
static bool is_plain(const char *path) {
    for (unsigned depth = 0; depth < MAX_DEPTH; depth++, path++) {
        size_t size = strcspn(path, "/");
        if (size == 0 || (size <= 2 && strncmp(path, "..", size) == 0))
            return false;
        path += size;
        if (!*path)
            return true;
    }
    return false;
}

static int open_root(const char *path) {
    int root = open(path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    if (root < 0)
        fail_errno(path);
    return root;
}

/* Opens `path` below `root`. Links may lead anywhere within `root`; one that leads out is EXDEV. Returns -1 with
 * errno. */
static int open_beneath(int root, const char *path, int flags) {
    enum { NO_MAGICLINKS = 2, BENEATH = 8, TRIES = 1000 };
    struct { uint64_t flags, mode, resolve; } how = { flags | O_CLOEXEC, 0, BENEATH | NO_MAGICLINKS };
    for (int tries = 0;; tries++) {
        int fd = (int)syscall(SYS_openat2, root, *path ? path : ".", &how, sizeof how);
        /* Resolving ".." fails with EAGAIN when any file was renamed meanwhile. */
        if (fd >= 0 || (errno != EAGAIN && errno != EINTR) || tries == TRIES)
            return fd;
    }
}

/* Opens a folder as the parent of a lookup. A path that is too long for the kernel is walked in pieces. Returns -1 with
 * errno. */
static int open_folder(int root, const char *path, size_t size) {
    char piece[PATH_MAX];
    for (int from = root, folder;; from = folder) {
        const char *cut = size < sizeof piece ? path + size : memrchr(path, '/', sizeof piece);
        size_t taken = cut ? (size_t)(cut - path) : sizeof piece;
        if (taken == sizeof piece) {
            errno = ENAMETOOLONG;
            return -1;
        }
        memcpy(piece, path, taken);
        piece[taken] = '\0';
        folder = open_beneath(from, piece, O_PATH | O_DIRECTORY);
        if (from != root)
            close_quietly(from);
        if (folder < 0 || taken == size)
            return folder;
        path += taken + 1;
        size -= taken + 1;
    }
}

/* Opens the parent folder of `path` and finds the last name. Returns -1 with errno. */
static int open_parent(int root, const char *path, const char **name) {
    const char *slash = strrchr(path, '/');
    *name = slash ? slash + 1 : path;
    return open_folder(root, path, slash ? slash - path : 0);
}

/* Opens a subfolder; returns -1 if there is none by that name. */
static int open_child(int parent, const char *name) {
    if (parent < 0)
        return -1;
    int child = openat(parent, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    return has_vanished(child) ? -1 : child;
}

/* Returns the stat of a name; its kind is 0 if there is nothing. */
static struct stat stat_name(int parent, const char *name) {
    struct stat found;
    if (parent < 0 || has_vanished(fstatat(parent, name, &found, AT_SYMLINK_NOFOLLOW)))
        return (struct stat){ 0 };
    return found;
}

/* Reads a link's target; returns false if it has vanished. */
static bool read_link(int parent, const char *name, char target[PATH_MAX]) {
    ssize_t size = readlinkat(parent, name, target, PATH_MAX - 1);
    bool is_link = size >= 0 || (errno != EINVAL && !has_vanished(size));
    target[is_link ? size : 0] = '\0';
    return is_link;
}

/* ---- the names in a folder ---------------------------------------------------------------------------------- */

struct names {
    char *bytes;               /* the names as consecutive strings */
    size_t size, capacity;
    const char **list;
    size_t count;
};

static void add_name(struct names *names, const char *name) {
    size_t size = strlen(name) + 1;
    if (strcmp(name, ".") == 0 || strcmp(name, "..") == 0)
        return;
    if (names->capacity - names->size < size) {
        names->capacity = 2 * names->capacity + 1024;
        names->bytes = checked(realloc(names->bytes, names->capacity));
    }
    memcpy(names->bytes + names->size, name, size);
    names->size += size;
    names->count++;
}

static void collect_names(struct names *names, int folder) {
    static _Alignas(struct dirent) char batch[64 << 10];
    long size = 0;
    while (folder >= 0 && (size = syscall(SYS_getdents64, folder, batch, sizeof batch)) > 0)
        for (long at = 0; at < size; at += ((struct dirent *)(batch + at))->d_reclen)
            add_name(names, ((struct dirent *)(batch + at))->d_name);
    if (size < 0 && errno != ENOENT)    /* the folder itself was removed */
        fail_at_location();
}

static int compare_names(const void *one, const void *other) {
    return strcmp(*(const char *const *)one, *(const char *const *)other);
}

/* Lists the names in one folder or two (-1: none), sorted, each once. Free them with free_names(). */
static struct names list_names(int folder, int other) {
    struct names names = { 0 };
    collect_names(&names, folder);
    collect_names(&names, other);
    size_t all = names.count;
    names.list = checked(calloc(all + 1, sizeof *names.list));
    for (size_t i = 0, at = 0; i < all; i++, at += strlen(names.bytes + at) + 1)
        names.list[i] = names.bytes + at;
    qsort(names.list, all, sizeof *names.list, compare_names);
    names.count = 0;
    for (size_t i = 0; i < all; i++)
        if (i == 0 || strcmp(names.list[i], names.list[names.count - 1]) != 0)
            names.list[names.count++] = names.list[i];
    return names;
}

static void free_names(struct names *names) {
    free(names->list);
    free(names->bytes);
}

/* ---- walk --------------------------------------------------------------------------------------------------- */

static struct {
    uint64_t depth;            /* levels below each PATH */
    uint64_t from, most;       /* which bytes of each file */
    bool with_content, holes, follow, skip_missing, owners;
    uint64_t count;
} walk = { .depth = UINT64_MAX };

/* Returns how many bytes from `at` on are a hole. Leaves the file position at `at` if none is. */
static uint64_t hole_at(int fd, off_t at) {
    struct stat found;
    off_t data = lseek(fd, at, SEEK_DATA);
    if (data >= 0)
        return data - at;
    if (errno != ENXIO)
        return 0;    /* this file system does not report holes */
    must(fstat(fd, &found));
    return found.st_size > at ? found.st_size - at : 0;
}

static void put_content(int fd, uint64_t size_now) {
    uint64_t from = walk.from < size_now ? walk.from : size_now, sent = 0;
    uint64_t wanted = size_now - from < walk.most ? size_now - from : walk.most;
    must(lseek(fd, from, SEEK_SET));
    while (sent < wanted) {
        uint64_t hole = walk.holes ? hole_at(fd, from + sent) : 0;
        if (hole > 0) {
            hole = hole < wanted - sent ? hole : wanted - sent;
            begin_frame(HOLE);
            put_number(TAG_SIZE, hole);
            end_frame();
            sent += hole;
            must(lseek(fd, from + sent, SEEK_SET));
            continue;
        }
        if (OUT_SIZE - out.used < PIECE_ROOM)
            flush_output();
        size_t room = OUT_SIZE - out.used - HEADER_SIZE - 1;
        if (walk.holes) {    /* read only up to the next hole */
            off_t at = from + sent, end = lseek(fd, at, SEEK_HOLE);
            room = end > at && (size_t)(end - at) < room ? (size_t)(end - at) : room;
            must(lseek(fd, at, SEEK_SET));
        }
        ssize_t size = read(fd, out.bytes + out.used + HEADER_SIZE, wanted - sent < room ? wanted - sent : room);
        if (must(size) == 0)
            break;    /* the file has shrunk */
        out.frame = out.used;
        out.type = DATA;
        out.used += HEADER_SIZE + size;
        end_frame();
        sent += size;
    }
    begin_frame(FILE_END);
    put_number(TAG_SENT, sent);
    end_frame();
}

/* Adds the owner and capability. `fd` is the file's descriptor, if it is a file. */
static void put_owners(const struct stat *found, int fd) {
    char capability[64];    /* the kernel's value has 20 or 24 bytes */
    ssize_t size = S_ISREG(found->st_mode) ? fgetxattr(fd, "security.capability", capability, sizeof capability) : 0;
    put_number(TAG_UID, found->st_uid);
    put_number(TAG_GID, found->st_gid);
    if (size > 0)
        put_field(TAG_CAPABILITY, capability, size);
}

static void put_entry(const struct stat *found, const char *target, int fd) {
    begin_frame(ENTRY);
    put_text(TAG_PATH, location.path);
    put_number(TAG_KIND, kind_of(found));
    put_number(TAG_MODE, mode_of(found));
    put_number(TAG_SIZE, size_of(found));
    put_number(TAG_MTIME_NS, (uint64_t)found->st_mtim.tv_sec * 1000000000 + found->st_mtim.tv_nsec);
    put_number(TAG_LINKS, found->st_nlink);
    put_number(TAG_INODE, found->st_ino);
    if (target)
        put_text(TAG_TARGET, target);
    if (walk.owners)
        put_owners(found, fd);
    end_frame();
    walk.count++;
}

static void walk_entry(int parent, const char *name, uint64_t depth, bool follow);

/* Returns whether a folder is on another file system than its parent, into which --owners does not go. Only the device
 * of a folder shows this. */
static bool is_mount(int parent, const struct stat *found) {
    struct stat above;
    return walk.owners && location.size > 0 && fstat(parent, &above) == 0 && above.st_dev != found->st_dev;
}

static void put_unlisted(void) {
    begin_frame(UNLISTED);
    put_text(TAG_PATH, location.path);
    end_frame();
}

static void walk_folder(int folder, uint64_t depth) {
    struct names names = list_names(folder, -1);
    for (size_t i = 0; i < names.count; i++) {
        if (!can_enter(names.list[i])) {
            put_unlisted();
            break;
        }
        size_t before = enter(names.list[i]);
        if (!is_staging(location.path))
            walk_entry(folder, names.list[i], depth, false);
        leave(before);
    }
    free_names(&names);
}

/* Sends the entry of a name and, `depth` levels deep, those below it. */
static void walk_entry(int parent, const char *name, uint64_t depth, bool follow) {
    static char target[PATH_MAX];
    struct stat found;
    int fd = -1;
    if (has_vanished(fstatat(parent, name, &found, follow ? 0 : AT_SYMLINK_NOFOLLOW)))
        return;
    bool is_link = S_ISLNK(found.st_mode);
    if (is_link && !read_link(parent, name, target))
        return;
    if ((S_ISDIR(found.st_mode) && depth > 0) || (S_ISREG(found.st_mode) && walk.with_content)) {
        fd = openat(parent, name, O_RDONLY | O_NONBLOCK | O_NOCTTY | O_CLOEXEC | (follow ? 0 : O_NOFOLLOW));
        if (has_vanished(fd))
            return;
        must(fstat(fd, &found));
    }
    put_entry(&found, is_link ? target : NULL, fd);
    if (fd >= 0 && S_ISREG(found.st_mode))
        put_content(fd, size_of(&found));
    else if (fd >= 0 && S_ISDIR(found.st_mode) && !is_mount(parent, &found))
        walk_folder(fd, depth - 1);
    close_quietly(fd);
}

static void walk_path(int root, const char *path) {
    uint64_t before = walk.count;
    char opened[32];
    const char *name = opened;
    go_to(path);
    if (*path && !is_plain(path))
        fail(path, reason(EINVAL));
    int at = walk.follow ? open_beneath(root, path, O_PATH) : open_parent(root, path, &name);
    if (at < 0 && walk.skip_missing && vanished(errno))
        return;
    must(at);
    snprintf(opened, sizeof opened, "/proc/self/fd/%d", at);
    walk_entry(at, *name ? name : ".", walk.depth, walk.follow);
    close(at);
    if (walk.count == before && !walk.skip_missing)
        fail(path, reason(ENOENT));
}

static void run_walk(char **words) {
    int root = open_root(words[0]);
    for (words++; *words; words++)
        walk_path(root, *words);
    put_end(walk.count);
}

/* ---- changes ------------------------------------------------------------------------------------------------ */

/* The same folder in each tree; -1: it does not exist there. */
struct folders {
    int upper;
    int origin;      /* the folder of the baseline that the overlay merges with `upper` */
    int base;        /* the folder of the baseline with this path */
    int merged;
};

static int baseline;
static uint64_t changes;

static void put_change(const struct stat *old, const struct stat *new, const bool *differs, const struct stat *origin) {
    begin_frame(CHANGE);
    put_text(TAG_PATH, location.path);
    if (kind_of(old)) {
        put_number(TAG_OLD_KIND, kind_of(old));
        put_number(TAG_OLD_MODE, mode_of(old));
        put_number(TAG_OLD_SIZE, size_of(old));
        put_number(TAG_OLD_INODE, old->st_ino);
    }
    if (kind_of(new)) {
        put_number(TAG_NEW_KIND, kind_of(new));
        put_number(TAG_NEW_MODE, mode_of(new));
        put_number(TAG_NEW_SIZE, size_of(new));
    }
    if (differs)
        put_number(TAG_CONTENT_DIFFERS, *differs);
    if (origin)
        put_number(TAG_ORIGIN, origin->st_ino);
    end_frame();
    changes++;
}

static bool contents_differ(int one, int other) {
    static char ones[COMPARED], others[COMPARED];
    for (;;) {
        ssize_t size = read(one, ones, sizeof ones), same = read(other, others, sizeof others);
        if (must(size) != must(same) || memcmp(ones, others, size) != 0)
            return true;
        if (size == 0)
            return false;
    }
}

static bool files_differ(const struct folders *in, const char *name) {
    const int flags = O_RDONLY | O_NONBLOCK | O_NOCTTY | O_NOFOLLOW | O_CLOEXEC;
    int one = must(openat(in->base, name, flags)), other = openat(in->merged, name, flags);
    bool differ = has_vanished(other) || contents_differ(one, other);
    close_quietly(one);
    close_quietly(other);
    return differ;
}

static bool links_differ(const struct folders *in, const char *name) {
    char one[PATH_MAX], other[PATH_MAX];
    return read_link(in->base, name, one) != read_link(in->merged, name, other) || strcmp(one, other) != 0;
}

/* Compares two entries of the same kind. */
static bool entries_differ(const struct folders *in, const char *name, const struct stat *old, const struct stat *new) {
    switch (kind_of(old)) {
    case 'f': return size_of(old) != size_of(new) || files_differ(in, name);
    case 'l': return links_differ(in, name);
    case 'c': case 'b': return old->st_rdev != new->st_rdev;
    default: return false;
    }
}

/* Opens the folder of the baseline that overlayfs merges with the folder `name`: see "redirect_dir" in the kernel's
 * overlayfs.rst. */
static int open_origin(const struct folders *in, int upper, const char *name) {
    char value[PATH_MAX];
    if (upper >= 0) {
        if (fgetxattr(upper, "trusted.overlay.opaque", value, 1) == 1 && value[0] == 'y')
            return -1;
        ssize_t size = fgetxattr(upper, "trusted.overlay.redirect", value, sizeof value - 1);
        value[size < 0 ? 0 : size] = '\0';
        if (value[0] == '/')
            return is_plain(value + 1) ? open_beneath(baseline, value + 1, O_RDONLY | O_DIRECTORY) : -1;
        if (size > 0 && (!is_plain(value) || strchr(value, '/')))
            return -1;
        name = size > 0 ? value : name;
    }
    return open_child(in->origin, name);
}

static bool same_folder(int one, int other) {
    struct stat found, wanted;
    return one >= 0 && other >= 0 && fstat(one, &found) == 0 && fstat(other, &wanted) == 0
        && same_inode(&found, &wanted);
}

static void compare_folder(const struct folders *in);

static void compare_below(const struct folders *in, const char *name, const struct stat *old, const struct stat *new) {
    int upper = open_child(in->upper, name);
    struct folders below = {
        .upper = upper,
        .origin = S_ISDIR(new->st_mode) ? open_origin(in, upper, name) : -1,
        .base = S_ISDIR(old->st_mode) ? open_child(in->base, name) : -1,
        .merged = S_ISDIR(new->st_mode) ? open_child(in->merged, name) : -1,
    };
    compare_folder(&below);
    close_quietly(below.upper);
    close_quietly(below.origin);
    close_quietly(below.base);
    close_quietly(below.merged);
}

static void compare_entry(const struct folders *in, const char *name) {
    const struct stat old = stat_name(in->base, name), new = stat_name(in->merged, name);
    const struct stat upper = stat_name(in->upper, name);
    struct stat origin = { 0 };
    if (!kind_of(&upper) && kind_of(&new))
        origin = stat_name(in->origin, name);
    if (kind_of(&origin) && kind_of(&old) && same_inode(&origin, &old))
        return;    /* the overlay shows the baseline's file at its own path */
    if (kind_of(&old) && kind_of(&old) == kind_of(&new)) {
        bool differs = entries_differ(in, name, &old, &new);
        if (differs || mode_of(&old) != mode_of(&new))
            put_change(&old, &new, &differs, S_ISREG(origin.st_mode) ? &origin : NULL);
    } else if (kind_of(&old) || kind_of(&new)) {
        put_change(&old, &new, NULL, S_ISREG(origin.st_mode) ? &origin : NULL);
    }
    if (S_ISDIR(old.st_mode) || S_ISDIR(new.st_mode))
        compare_below(in, name, &old, &new);
}

/* Compares a folder. If the overlay shows the baseline's folder at its own path, only names in `upper` can differ. */
static void compare_folder(const struct folders *in) {
    bool in_place = same_folder(in->origin, in->base);
    struct names names = in_place ? list_names(in->upper, -1) : list_names(in->base, in->merged);
    for (size_t i = 0; i < names.count; i++) {
        if (!can_enter(names.list[i])) {
            put_unlisted();
            break;
        }
        size_t before = enter(names.list[i]);
        if (!is_staging(location.path))
            compare_entry(in, names.list[i]);
        leave(before);
    }
    free_names(&names);
}

static void run_changes(char **words) {
    bool is_overlay = words[2] != NULL;
    int upper = is_overlay ? open_root(words[0]) : -1;
    baseline = open_root(words[is_overlay]);
    compare_folder(&(struct folders){ upper, is_overlay ? baseline : -1, baseline, open_root(words[is_overlay + 1]) });
    put_end(changes);
}

/* ---- frames in ---------------------------------------------------------------------------------------------- */

static struct {
    uint8_t bytes[MAX_FRAME];
    size_t start, end;
    int signals;
} in;

/* Waits for more input, or for a signal to abort. Signals are blocked and read here, so none comes during a step. */
static void read_input(void) {
    struct pollfd sources[] = { { .fd = in.signals, .events = POLLIN }, { .fd = STDIN_FILENO, .events = POLLIN } };
    if (in.start > 0) {
        memmove(in.bytes, in.bytes + in.start, in.end - in.start);
        in.end -= in.start;
        in.start = 0;
    }
    if (poll(sources, 2, -1) < 0 && errno != EINTR)
        fail_errno("input");
    if (sources[0].revents)
        fail("input", "ended by a signal, nothing has been changed");
    ssize_t size = read(STDIN_FILENO, in.bytes + in.end, sizeof in.bytes - in.end);
    if (size == 0)
        fail("input", "it ends before COMMIT, nothing has been changed");
    if (size < 0 && errno != EINTR && errno != EAGAIN)
        fail_errno("input");
    in.end += size > 0 ? size : 0;
}

/* Returns the next frame, which is valid until the next call. */
static struct frame next_frame(void) {
    for (;; read_input()) {
        struct frame frame;
        enum frame_state found = find_frame(in.bytes + in.start, in.end - in.start, &frame);
        if (found == FRAME_INCOMPLETE)
            continue;
        if (found == FRAME_TOO_LARGE)
            fail("input", "a frame is over the limit of 1 MiB");
        if (found == FRAME_WITHOUT_END)
            fail("input", "a frame has no end mark");
        in.start += frame_length(&frame);
        return frame;
    }
}

static uint64_t number_in(const struct field *field) {
    if (field->size != NUMBER_SIZE)
        fail("input", "a number does not have 8 bytes");
    return number_at(field->data);
}

static char *text_in(const struct field *field) {
    if (memchr(field->data, '\0', field->size))
        fail("input", "a path holds a NUL byte");
    return checked(strndup((const char *)field->data, field->size));
}

/* ---- apply: what is wanted ---------------------------------------------------------------------------------- */

struct edit {
    char *path;
    char *target;
    uint64_t action, mode, size;
    int64_t time_ns;
    bool has_mode, has_time, replaced;
    unsigned number;           /* its name in the staging folder */
};

/* A step that was taken, with what is needed to undo it. */
struct step {
    enum { PUT, DELETED, CHANGED_MODE, STEPS } what;
    const char *path;
    unsigned number, mode;
    unsigned long long inode;  /* of the new file; 0 for a folder */
    dev_t device;              /* of everything that was made in the staging folder */
};

static struct {
    bool replace;
    int root;
    int staging;               /* -1: not made yet */
    char name[64];             /* of the staging folder */
    unsigned numbers;          /* of names used in it */
    struct edit *edits;
    size_t count;              /* of edits */
    unsigned notes;            /* of steps */
    unsigned noted;            /* edits with a smaller index are in the last note too */
} apply = { .staging = -1 };

/* Makes room for one more element in a list. */
static void *grow(void *list, size_t count, size_t size) {
    bool full = (count & (count - 1)) == 0;    /* the list doubles at powers of two */
    return full ? checked(reallocarray(list, count ? 2 * count : 1, size)) : list;
}

static const char *staged(unsigned number) {
    static char name[16];
    snprintf(name, sizeof name, "%u", number);
    return name;
}

/* RENAME_NOREPLACE and RENAME_EXCHANGE of <stdio.h>, which not every C library has. */
enum rename_how { NO_REPLACE = 1, EXCHANGE = 2 };

static int rename_as(int from, const char *name, int to, const char *new_name, enum rename_how how) {
    return (int)syscall(SYS_renameat2, from, name, to, new_name, how);
}

static void random_name(char name[64], const char *prefix) {
    uint64_t random;
    if (getrandom(&random, sizeof random, 0) != sizeof random)
        fail_errno("getrandom");
    snprintf(name, 64, "%s%016llx", prefix, (unsigned long long)random);
}

/* Empties a folder as far as possible. A folder that is too deep for one descriptor per level is moved up for the next
 * pass. */
static void empty_folder(int folder, int top, unsigned depth) {
    char name[64];
    struct names names = list_names(folder, -1);
    for (size_t i = 0; i < names.count; i++) {
        const char *each = names.list[i];
        if (unlinkat(folder, each, 0) == 0 || errno != EISDIR || unlinkat(folder, each, AT_REMOVEDIR) == 0)
            continue;
        if (depth == MAX_DEPTH) {
            random_name(name, "deep-");
            renameat(folder, each, top, name);
            continue;
        }
        int below = openat(folder, each, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
        if (below < 0)
            continue;
        empty_folder(below, top, depth + 1);
        close(below);
        unlinkat(folder, each, AT_REMOVEDIR);
    }
    free_names(&names);
}

/* Removes a folder as far as possible; the next apply tries again. */
static void remove_folder(const char *name, int folder) {
    enum { PASSES = 1000 };
    for (int pass = 0; pass < PASSES && unlinkat(apply.root, name, AT_REMOVEDIR) < 0 && errno == ENOTEMPTY; pass++) {
        lseek(folder, 0, SEEK_SET);
        empty_folder(folder, folder, 0);
    }
}

/* Opens and locks a staging folder; returns -1 if another process holds its lock. */
static int lock_staging(const char *name) {
    int folder = openat(apply.root, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    if (folder >= 0 && flock(folder, LOCK_EX | LOCK_NB) == 0)
        return folder;
    close_quietly(folder);
    return -1;
}

static int staging(void) {
    enum { TRIES = 100 };
    for (int tries = 0; apply.staging < 0; tries++) {
        random_name(apply.name, STAGING);
        if (tries == TRIES || mkdirat(apply.root, apply.name, 0700) < 0)
            fail_errno(apply.name);
        apply.staging = lock_staging(apply.name);
        /* Another apply may have removed it as abandoned before it was locked. */
        if (apply.staging >= 0 && faccessat(apply.root, apply.name, F_OK, AT_SYMLINK_NOFOLLOW) < 0) {
            close(apply.staging);
            apply.staging = -1;
        }
    }
    return apply.staging;
}

/* ---- apply: reading and staging ----------------------------------------------------------------------------- */

static struct edit read_edit(const struct frame *frame) {
    struct edit edit = { 0 };
    struct field field;
    size_t at = 0;
    while (next_field(frame, &at, &field)) {
        switch (field.tag) {
        case TAG_PATH: edit.path = text_in(&field); break;
        case TAG_TARGET: edit.target = text_in(&field); break;
        case TAG_ACTION: edit.action = number_in(&field); break;
        case TAG_SIZE: edit.size = number_in(&field); break;
        case TAG_MODE:
            edit.has_mode = true;
            edit.mode = number_in(&field);
            break;
        case TAG_MTIME_NS:
            edit.has_time = true;
            edit.time_ns = (int64_t)number_in(&field);
            break;
        }
    }
    if (at != frame->size)
        fail("input", "a field is broken");
    return edit;
}

static void check_edit(const struct edit *edit) {
    const char *path = edit->path;
    if (!path)
        fail("input", "an edit has no path");
    go_to(path);
    if (!is_plain(path) || is_staging(path))
        fail(path, "not a path within the tree");
    if (edit->action == 0 || edit->action > CHAR_MAX || !strchr("fldxm", (int)edit->action))
        fail(path, "there is no such action");
    if (edit->mode > 07777 || (edit->action == 'm' && !edit->has_mode))
        fail(path, "the mode is missing or over 07777");
    if (edit->action == 'l' && (!edit->target || !*edit->target))
        fail(path, "a link needs a target");
    if (edit->action != 'f' && edit->size)
        fail(path, "only a file has a size");
}

static void set_time(const struct edit *edit) {
    enum { SECOND = 1000000000 };
    int64_t below = (edit->time_ns % SECOND + SECOND) % SECOND;    /* the time may be before 1970 */
    const struct timespec times[] = { { .tv_nsec = UTIME_OMIT }, { (edit->time_ns - below) / SECOND, below } };
    if (edit->has_time)
        must(utimensat(staging(), staged(edit->number), times, AT_SYMLINK_NOFOLLOW));
}

static void stage_file(const struct edit *edit) {
    const int flags = O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC;
    int fd = must(openat(staging(), staged(edit->number), flags, edit->has_mode ? edit->mode : 0644));
    for (uint64_t left = edit->size; left > 0;) {
        struct frame frame = next_frame();
        if (frame.type != DATA || frame.size == 0 || frame.size > left)
            fail(location.path, "its data is not of the size that was announced");
        must(write_fully(fd, frame.payload, frame.size));
        left -= frame.size;
    }
    close(fd);
}

static void stage_edits(void) {
    for (struct frame frame; (frame = next_frame()).type != COMMIT;) {
        if (frame.type != EDIT)
            fail("input", "a frame is neither an edit nor COMMIT");
        apply.edits = grow(apply.edits, apply.count, sizeof *apply.edits);
        struct edit *edit = &apply.edits[apply.count];
        *edit = read_edit(&frame);
        check_edit(edit);
        edit->number = apply.numbers++;
        apply.count++;
        if (edit->action == 'f')
            stage_file(edit);
        if (edit->action == 'l')
            must(symlinkat(edit->target, staging(), staged(edit->number)));
        if (edit->action == 'f' || edit->action == 'l')
            set_time(edit);
    }
}

static int set_mode(int parent, const char *name, mode_t mode) {
    char opened[32];
    int fd = openat(parent, name, O_PATH | O_NOFOLLOW | O_CLOEXEC);
    if (fd < 0)
        return -1;
    snprintf(opened, sizeof opened, "/proc/self/fd/%d", fd);
    int result = chmod(opened, mode);
    close_quietly(fd);
    return result;
}

#include "tool_notes.h"

/* ---- apply: making the edits -------------------------------------------------------------------------------- */

/* A path in the tree: its open parent, its last name, and the stat of what is there. */
struct target_path {
    int parent;
    const char *name;
    struct stat found;
};

static struct target_path find_target(const char *path, bool make_parents);

/* Gives what was just made the owner of the folder that it belongs to. The owner of `parent` may have put something else
 * in its place meanwhile, so everything is done with one descriptor, and a file that has another name too stays as it
 * is. */
static void inherit_owner(int parent, const char *name, int folder) {
    char opened[32];
    struct stat above, made;
    must(fstat(folder, &above));
    int fd = must(openat(parent, name, O_PATH | O_NOFOLLOW | O_CLOEXEC));
    must(fstat(fd, &made));
    bool same = made.st_uid == above.st_uid && made.st_gid == above.st_gid;
    if (!same && (S_ISDIR(made.st_mode) || made.st_nlink == 1)) {
        if (fchownat(fd, "", above.st_uid, above.st_gid, AT_EMPTY_PATH) < 0) {
            must(errno == EPERM ? 0 : -1);    /* only root may, and on a host the tool runs as any user */
        } else if (!S_ISLNK(made.st_mode)) {
            snprintf(opened, sizeof opened, "/proc/self/fd/%d", fd);
            must(chmod(opened, mode_of(&made)));    /* a change of owner clears set-id bits */
        }
    }
    close(fd);
}

/* Makes a folder and its parents; fails if something else has the name. */
static void make_folder(const char *path) {
    struct target_path target_path = find_target(path, true);
    if (kind_of(&target_path.found))
        fail(location.path, reason(ENOTDIR));
    write_note(PUT, path, apply.numbers++, 0);
    must(mkdirat(target_path.parent, target_path.name, 0755));
    inherit_owner(target_path.parent, target_path.name, target_path.parent);
    close(target_path.parent);
}

static struct target_path find_target(const char *path, bool make_parents) {
    struct target_path target_path;
    target_path.parent = open_parent(apply.root, path, &target_path.name);
    if (target_path.parent < 0 && errno == ENOENT && make_parents) {
        char *parent = checked(strndup(path, target_path.name - path - 1));
        make_folder(parent);
        free(parent);
        target_path.parent = open_parent(apply.root, path, &target_path.name);
    }
    must(target_path.parent);
    target_path.found = stat_name(target_path.parent, target_path.name);
    return target_path;
}

/* Replaces a link's path by the path of its target, which may be a link too. */
static void follow_link(const struct target_path *target_path, char path[MAX_PATH]) {
    char target[PATH_MAX];
    if (!read_link(target_path->parent, target_path->name, target))
        fail(location.path, reason(ENOENT));
    size_t folder = target_path->name - path, size = strlen(target);
    while (size > 1 && target[size - 1] == '/')
        target[--size] = '\0';
    const char *slash = strrchr(target, '/'), *last = slash ? slash + 1 : target;
    if (target[0] == '/')
        fail(location.path, reason(EXDEV));
    if (strcmp(last, ".") == 0 || strcmp(last, "..") == 0)
        fail(location.path, reason(EISDIR));
    if (folder + size >= MAX_PATH)
        fail(location.path, reason(ENAMETOOLONG));
    memcpy(path + folder, target, size + 1);
}

/* From <linux/fiemap.h>, which a plain musl-gcc does not find. */
struct fiemap {
    uint64_t start, length;
    uint32_t flags, mapped, extents, reserved;
};

enum { FIEMAP_SYNC = 1, FIEMAP = _IOWR('f', 11, struct fiemap) };

/* Writes a file's content to the disk without waiting for the journal, as fsync() would. FIEMAP does this also through
 * an overlay, where sync_file_range() does nothing. */
static void write_content(int fd) {
    if (ioctl(fd, FIEMAP, &(struct fiemap){ .length = UINT64_MAX, .flags = FIEMAP_SYNC }) < 0)
        must(fsync(fd));
}

/* Writes staged files to the disk before they get their names: after a crash no name may exist without its content. */
static void write_staged(void) {
    int fd = -1;
    if (apply.count > 1 && apply.staging >= 0)
        must(syncfs(apply.staging));
    else if (apply.staging >= 0 && apply.edits[0].action == 'f')
        write_content(fd = must(openat(apply.staging, staged(0), O_RDONLY | O_CLOEXEC)));
    close_quietly(fd);
}

/* Closes the parent of an edited path. After the last edit, first puts everything on the disk. A folder's fsync()
 * covers names that changed in it, and earlier changes of names elsewhere, but not a changed mode. */
static void close_edited(int parent, bool last) {
    bool only_name = apply.count == 1 && strchr("flx", (int)apply.edits[0].action);
    if (last) {
        commit();
        int folder = must(openat(apply.notes ? apply.staging : parent, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC));
        must(only_name ? fsync(folder) : syncfs(folder));
        close(folder);
    }
    close(parent);
}

/* Moves a staged entry to its path. A single edit is never undone, so what it replaces is not kept: in an overlay that
 * would cost a copy. */
static void put_edit(const struct edit *edit, const struct target_path *target_path, const char *path) {
    bool exists = kind_of(&target_path->found);
    if (apply.count == 1 && !S_ISDIR(target_path->found.st_mode) && edit->action != 'd') {
        must(renameat(apply.staging, staged(edit->number), target_path->parent, target_path->name));
        return;
    }
    write_note(PUT, path, edit->number, 0);
    must(rename_as(apply.staging, staged(edit->number), target_path->parent, target_path->name,
                   exists ? EXCHANGE : NO_REPLACE));
}

static void make_file(struct edit *edit, bool last) {
    enum { MOST_LINKS = 40 };
    static char path[MAX_PATH];
    struct target_path target_path = find_target(strcpy(path, edit->path), true);
    for (int links = 0; S_ISLNK(target_path.found.st_mode) && !apply.replace && edit->action == 'f'; links++) {
        if (links == MOST_LINKS)
            fail(location.path, reason(ELOOP));
        follow_link(&target_path, path);
        close(target_path.parent);
        target_path = find_target(path, false);
    }
    edit->replaced = kind_of(&target_path.found);
    if (S_ISDIR(target_path.found.st_mode) && !apply.replace)
        fail(location.path, reason(EISDIR));
    if (edit->action == 'f' && !edit->has_mode && S_ISREG(target_path.found.st_mode))
        must(fchmodat(apply.staging, staged(edit->number), mode_of(&target_path.found), 0));
    inherit_owner(apply.staging, staged(edit->number), target_path.parent);
    put_edit(edit, &target_path, path);
    close_edited(target_path.parent, last);
}

static void change_mode(const struct edit *edit, const struct target_path *target_path) {
    if (S_ISLNK(target_path->found.st_mode))
        fail(location.path, reason(ELOOP));
    write_note(CHANGED_MODE, edit->path, 0, mode_of(&target_path->found));
    must(set_mode(target_path->parent, target_path->name, edit->mode));
}

static void make_or_keep_folder(const struct edit *edit, const struct target_path *target_path) {
    mode_t mode = edit->has_mode ? edit->mode : 0755;
    if (S_ISDIR(target_path->found.st_mode)) {
        if (edit->has_mode)
            change_mode(edit, target_path);
    } else if (!edit->replaced) {
        write_note(PUT, edit->path, edit->number, 0);
        must(mkdirat(target_path->parent, target_path->name, mode));
        inherit_owner(target_path->parent, target_path->name, target_path->parent);
    } else {
        if (!apply.replace)
            fail(location.path, reason(EEXIST));
        must(mkdirat(staging(), staged(edit->number), mode));
        inherit_owner(staging(), staged(edit->number), target_path->parent);
        put_edit(edit, target_path, edit->path);
    }
}

static void delete_path(const struct edit *edit, const struct target_path *target_path) {
    if (apply.count == 1 && !S_ISDIR(target_path->found.st_mode)) {
        must(unlinkat(target_path->parent, target_path->name, 0));
        return;
    }
    write_note(DELETED, edit->path, edit->number, 0);
    must(rename_as(target_path->parent, target_path->name, apply.staging, staged(edit->number), NO_REPLACE));
}

static void make_edit(struct edit *edit, bool last) {
    go_to(edit->path);
    if (edit->action == 'f' || edit->action == 'l') {
        make_file(edit, last);
        return;
    }
    struct target_path target_path = find_target(edit->path, edit->action == 'd');
    edit->replaced = kind_of(&target_path.found);
    if (edit->action == 'd')
        make_or_keep_folder(edit, &target_path);
    else if (!edit->replaced)
        fail(location.path, reason(ENOENT));
    else if (edit->action == 'x')
        delete_path(edit, &target_path);
    else
        change_mode(edit, &target_path);
    close_edited(target_path.parent, last);
}

/* From here on no kill can stop us half-way: the agent kills a command's process group, and a child can leave it. A
 * single edit is a single step and needs no fork, which is slow under emulation. */
static void outlive_client(void) {
    pid_t child = apply.count > 1 ? fork() : 0;
    if (child < 0)
        fail_errno("fork");
    if (child > 0)
        exit_like(child);
    if (apply.count > 1)
        setsid();
}

static void run_apply(char **words) {
    sigset_t handled;
    sigemptyset(&handled);
    for (const int *number = (const int[]){ SIGTERM, SIGHUP, SIGINT, SIGPIPE, 0 }; *number; number++)
        sigaddset(&handled, *number);
    sigprocmask(SIG_BLOCK, &handled, NULL);
    in.signals = signalfd(-1, &handled, SFD_CLOEXEC);
    if (in.signals < 0)
        fail_errno("signals");
    apply.root = open_root(words[0]);
    recover();
    undo = abort_apply;
    stage_edits();
    outlive_client();
    write_staged();
    for (size_t i = 0; i < apply.count; i++)
        make_edit(&apply.edits[i], i == apply.count - 1);
    undo = NULL;
    remove_staging();
    for (size_t i = 0; i < apply.count; i++) {
        begin_frame(CHANGED);
        put_text(TAG_PATH, apply.edits[i].path);
        put_number(TAG_REPLACED, apply.edits[i].replaced);
        end_frame();
    }
    put_end(apply.count);
}

/* ---- freeze ------------------------------------------------------------------------------------------------- */

/* From <linux/fs.h>, which a plain musl-gcc does not find. */
enum { FREEZE = _IOWR('X', 119, int), THAW = _IOWR('X', 120, int) };

static int frozen;

static void thaw(void) {
    ioctl(frozen, THAW, 0);
}

/* Waits for the release. Fails when the parent has died or too much time has passed. */
static void wait_for_release(const char *path, int parent) {
    struct pollfd sources[] = { { .fd = parent, .events = POLLIN }, { .fd = STDIN_FILENO, .events = POLLIN } };
    int ready = poll(sources, 2, FROZEN_AT_MOST_MS);
    if (ready < 0)
        fail_errno("input");
    if (ready == 0)
        fail(path, "frozen for too long");
    if (sources[0].revents)
        fail(path, "whoever had it frozen was killed");
}

static void hold_frozen(const char *path, int parent) {
    setsid();
    if (syncfs(frozen) < 0 || ioctl(frozen, FREEZE, 0) < 0)
        fail_errno(path);
    undo = thaw;
    begin_frame(FROZEN);
    end_frame();
    flush_output();
    wait_for_release(path, parent);
    undo = NULL;
    if (ioctl(frozen, THAW, 0) < 0)
        fail_errno(path);
}

/* Freezes and thaws in a child, which is in no process group that is killed, and sees our end as the end of a pipe. */
static void run_freeze(char **words) {
    int alive[2];
    signal(SIGPIPE, SIG_IGN);
    frozen = open_root(words[0]);
    if (pipe2(alive, O_CLOEXEC) < 0)
        fail_errno("pipe");
    pid_t child = fork();
    if (child < 0)
        fail_errno("fork");
    if (child == 0) {
        close(alive[1]);
        hold_frozen(words[0], alive[0]);
        _exit(0);
    }
    exit_like(child);
}

#include "tool_copy.h"

/* ---- the command line --------------------------------------------------------------------------------------- */

static noreturn void print_usage(void) {
    fputs("usage: tool walk [--depth N] [--content MAX] [--from N] [--holes] [--follow] [--skip-missing] [--owners]\n"
          "                 ROOT PATH...\n"
          "       tool changes [UPPER] BASELINE MERGED\n"
          "       tool apply [--replace] ROOT\n"
          "       tool recover ROOT\n"
          "       tool freeze MOUNT\n"
          "       tool -\n"
          "       tool copy [--also REL]... FROM TO\n", stderr);
    exit(2);
}

static uint64_t number_of(const char *word) {
    char *end;
    errno = 0;
    uint64_t number = word ? strtoull(word, &end, 10) : 0;
    if (!word || *word < '0' || *word > '9' || *end || errno)
        print_usage();
    return number;
}

/* Reads one option and its value; returns how many words those are. */
static int take_option(const char *command, char **words) {
    static const struct option {
        const char *command, *name;
        bool *flag;
        uint64_t *number;
    } known[] = {
        { "walk", "--depth", NULL, &walk.depth },
        { "walk", "--content", &walk.with_content, &walk.most },
        { "walk", "--from", NULL, &walk.from },
        { "walk", "--holes", &walk.holes, NULL },
        { "walk", "--follow", &walk.follow, NULL },
        { "walk", "--skip-missing", &walk.skip_missing, NULL },
        { "walk", "--owners", &walk.owners, NULL },
        { "apply", "--replace", &apply.replace, NULL },
    };
    for (const struct option *option = known; option < known + sizeof known / sizeof *known; option++) {
        if (strcmp(option->command, command) != 0 || strcmp(option->name, words[0]) != 0)
            continue;
        if (option->flag)
            *option->flag = true;
        if (option->number)
            *option->number = number_of(words[1]);
        return option->number ? 2 : 1;
    }
    if (strcmp(command, "copy") != 0 || strcmp(words[0], "--also") != 0 || !words[1])
        print_usage();
    return 2;
}

/* Reads the words of the command line, each ended by a NUL, from standard input, and returns how many there are. For
 * callers that cannot pass every byte as an argument. */
static int read_words(char ***words) {
    static char text[MAX_FRAME + 1];
    static char *list[MAX_FRAME / 2 + 1];
    size_t size = 0;
    ssize_t got;
    while (size < MAX_FRAME && (got = must(read(STDIN_FILENO, text + size, MAX_FRAME - size))) > 0)
        size += (size_t)got;
    if (size == MAX_FRAME)
        fail("input", "the command line is over the limit of 1 MiB");
    int count = 0;
    for (size_t at = 0; at < size && count < MAX_FRAME / 2; at += strlen(text + at) + 1)
        list[count++] = text + at;
    *words = list;
    return count;
}

int main(int argc, char **argv) {
    static const struct command {
        const char *name;
        void (*run)(char **words);
        int words, more;       /* fewest operands, and how many more are allowed */
    } commands[] = {
        { "walk", run_walk, 2, INT_MAX },
        { "changes", run_changes, 2, 1 },
        { "apply", run_apply, 1, 0 },
        { "recover", run_recover, 1, 0 },
        { "freeze", run_freeze, 1, 0 },
        { "copy", run_copy, 2, 0 },
    };
    struct rlimit files;
    int at = 2;
    if (argc == 2 && strcmp(argv[1], "-") == 0)
        argc = read_words(&argv);
    options = argv + at;
    umask(0);
    if (getrlimit(RLIMIT_NOFILE, &files) == 0) {
        files.rlim_cur = files.rlim_max;
        setrlimit(RLIMIT_NOFILE, &files);
    }
    while (at < argc && strncmp(argv[at], "--", 2) == 0)
        at += take_option(argv[1], argv + at);
    for (size_t i = 0; i < sizeof commands / sizeof *commands; i++) {
        const struct command *command = &commands[i];
        if (argc < 2 || strcmp(command->name, argv[1]) != 0)
            continue;
        if (argc - at < command->words || argc - at - command->words > command->more)
            break;
        command->run(argv + at);
        return 0;
    }
    print_usage();
}
