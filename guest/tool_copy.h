/*
 * The part of tool.c that copies a tree; see TREE.md.
 */

/* ---- copy --------------------------------------------------------------------------------------------------- */

/* The first copied name of a file that has several names. */
struct linked {
    struct linked *next;
    dev_t device;
    ino_t inode;
    char path[];
};

enum { CHAINS = 4096 };

static struct {
    int to;
    struct linked *linked[CHAINS];
    uint64_t count;
} copy;

/* Links `name` to the copy of another name of this file. Returns false, and stores the name, if there is none yet. */
static bool link_to_first(const struct stat *found, int to, const char *name) {
    struct linked **chain = &copy.linked[found->st_ino % CHAINS], *first = *chain;
    const char *first_name;
    while (first && (first->inode != found->st_ino || first->device != found->st_dev))
        first = first->next;
    if (!first) {
        first = checked(malloc(sizeof *first + location.size + 1));
        *first = (struct linked){ *chain, found->st_dev, found->st_ino };
        memcpy(first->path, location.path, location.size + 1);
        *chain = first;
        return false;
    }
    int parent = must(open_parent(copy.to, first->path, &first_name));
    must(linkat(parent, first_name, to, name, 0));
    close(parent);
    return true;
}

static void copy_range(int from, int to, off_t start, off_t end) {
    must(lseek(to, start, SEEK_SET));
    while (start < end)
        if (must(sendfile(to, from, &start, end - start)) == 0)
            return;    /* the file has shrunk */
}

static void copy_content(int from, int to, off_t size) {
    for (off_t data, hole = 0; hole < size;) {
        if ((data = lseek(from, hole, SEEK_DATA)) < 0 && errno == ENXIO)
            break;    /* the rest is a hole */
        hole = must(lseek(from, must(data), SEEK_HOLE));
        copy_range(from, to, data, hole);
    }
    must(ftruncate(to, size));
}

static void copy_attributes(int from, int to) {
    static char names[64 << 10], value[64 << 10];    /* the kernel's limits */
    ssize_t size = flistxattr(from, names, sizeof names);
    if (size < 0 && errno != EOPNOTSUPP)
        fail_at_location();
    for (const char *name = names; name < names + size; name += strlen(name) + 1) {
        if (strncmp(name, "user.", 5) != 0 && strcmp(name, "security.capability") != 0)
            continue;
        ssize_t length = fgetxattr(from, name, value, sizeof value);
        if (length < 0 ? errno != ENODATA : fsetxattr(to, name, value, length, 0) < 0)
            fail_at_location();
    }
}

/* Copies owner, mode, attributes and times. Last, because a write or a change of owner clears set-id bits and
 * capabilities, and a write changes the time. */
static void finish(int from, int to, const struct stat *found) {
    const struct timespec times[] = { found->st_atim, found->st_mtim };
    must(fchown(to, found->st_uid, found->st_gid));
    must(fchmod(to, mode_of(found)));
    copy_attributes(from, to);
    must(futimens(to, times));
}

static void copy_file(int from, const char *name, int to) {
    struct stat found;
    int source = openat(from, name, O_RDONLY | O_NONBLOCK | O_NOCTTY | O_NOFOLLOW | O_CLOEXEC);
    if (has_vanished(source))
        return;
    must(fstat(source, &found));
    if (!S_ISREG(found.st_mode)) {
        close(source);
        return;
    }
    if (found.st_nlink == 1 || !link_to_first(&found, to, name)) {
        int copied = must(openat(to, name, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600));
        copy_content(source, copied, found.st_size);
        finish(source, copied, &found);
        close(copied);
    }
    copy.count++;
    close(source);
}

/* Copies a link, device, pipe or socket. */
static void copy_special(int from, const char *name, int to, const struct stat *found) {
    const struct timespec times[] = { found->st_atim, found->st_mtim };
    char target[PATH_MAX];
    bool is_link = S_ISLNK(found->st_mode);
    if (is_link && !read_link(from, name, target))
        return;
    copy.count++;
    if (found->st_nlink > 1 && link_to_first(found, to, name))
        return;
    must(is_link ? symlinkat(target, to, name) : mknodat(to, name, found->st_mode, found->st_rdev));
    must(fchownat(to, name, found->st_uid, found->st_gid, AT_SYMLINK_NOFOLLOW));
    if (!is_link)
        must(fchmodat(to, name, mode_of(found), 0));
    must(utimensat(to, name, times, AT_SYMLINK_NOFOLLOW));
}

static char **options;         /* the words after the command; --also options come first */

static bool is_also_copied(const char *path) {
    for (char **option = options; strcmp(*option, "--also") == 0; option += 2)
        if (strcmp(option[1], path) == 0)
            return true;
    return false;
}

static void copy_folder(int from, const char *name, int to, dev_t device);

static void copy_below(int from, int to, dev_t device) {
    struct names names = list_names(from, -1);
    for (size_t i = 0; i < names.count; i++) {
        const char *name = names.list[i];
        size_t before = enter(name);
        const struct stat found = stat_name(from, name);
        if (S_ISDIR(found.st_mode))
            copy_folder(from, name, to, device);
        else if (S_ISREG(found.st_mode))
            copy_file(from, name, to);
        else if (kind_of(&found))
            copy_special(from, name, to, &found);
        leave(before);
    }
    free_names(&names);
}

/* Copies a folder. Only a folder's device shows on which file system it is; files of an overlay have their layer's
 * device. */
static void copy_folder(int from, const char *name, int to, dev_t device) {
    struct stat found;
    int source = open_child(from, name);
    if (source < 0)
        return;
    must(fstat(source, &found));
    must(mkdirat(to, name, 0700));
    int copied = must(open_child(to, name));
    if (found.st_dev == device || is_also_copied(location.path))
        copy_below(source, copied, found.st_dev);
    finish(source, copied, &found);
    copy.count++;
    close(source);
    close(copied);
}

static void run_copy(char **words) {
    struct stat root;
    bool to_disk = stat(words[1], &root) == 0 && S_ISBLK(root.st_mode);
    if (to_disk && ((mkdir("/output", 0700) < 0 && errno != EEXIST)
                    || mount(words[1], "/output", "ext4", 0, NULL) < 0))
        fail_errno(words[1]);
    int from = open_root(words[0]);
    copy.to = open_root(to_disk ? "/output" : words[1]);
    if (fstat(from, &root) < 0)
        fail_errno(words[0]);
    copy_below(from, copy.to, root.st_dev);
    finish(from, copy.to, &root);
    if (syncfs(copy.to) < 0 || close(copy.to) < 0 || (to_disk && umount("/output") < 0))
        fail_errno(words[1]);
    put_end(copy.count);
}
