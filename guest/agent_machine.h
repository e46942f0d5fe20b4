/*
 * The part of agent.c that works only in a virtual machine: boot, mounts, and the steps of SETUP.
 */

/* ---- the machine: mounts and modules ------------------------------------------------------------------------ */

/* What a step that fails was working on, for the error message. A step that fails returns -1 with errno. */
static char subject[PATH_MAX];

struct step {
    const char *what;      /* NULL ends a list */
    int (*take)(const struct frame *request);
};

/* Runs the steps in order. Returns NULL, or an error message, with errno. */
static const char *run_steps(const struct step *step, const struct frame *request) {
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

/* Drops a disk's cached blocks: the host may have replaced its file after the kernel had read them. */
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
        return -1;    /* EBUSY: the kernel has mounted it already */
    agent.null = open("/dev/null", O_RDWR | O_CLOEXEC);
    agent.own_namespace = open("/proc/self/ns/mnt", O_RDONLY | O_CLOEXEC);
    return agent.null < 0 || agent.own_namespace < 0 ? -1 : 0;
}

static int load_modules(const struct frame *request) {
    FILE *list = fopen("/modules.order-pyro", "re");
    if (!list)
        return errno == ENOENT ? 0 : -1;    /* this kernel needs no modules */
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

static int bring_up_interface(int any, const char *name) {
    struct ifreq interface = { .ifr_flags = IFF_UP | IFF_RUNNING };
    snprintf(interface.ifr_name, sizeof interface.ifr_name, "%s", name);
    return ioctl(any, SIOCSIFFLAGS, &interface);
}

static struct sockaddr internet_address(const char *dotted) {
    union { struct sockaddr any; struct sockaddr_in in; } address = { .in.sin_family = AF_INET };
    inet_pton(AF_INET, dotted, &address.in.sin_addr);
    return address.any;
}

/* Every machine has its own network, so all use the same addresses, and templates hold them. */
static int set_addresses(int any) {
    struct ifreq address = { .ifr_name = "eth0", .ifr_addr = internet_address("10.0.2.15") };
    struct ifreq mask = { .ifr_name = "eth0", .ifr_netmask = internet_address("255.255.255.0") };
    struct rtentry route = { .rt_flags = RTF_UP | RTF_GATEWAY, .rt_dst = internet_address("0.0.0.0"),
                             .rt_genmask = internet_address("0.0.0.0"), .rt_gateway = internet_address("10.0.2.2") };
    return ioctl(any, SIOCSIFADDR, &address) < 0 || ioctl(any, SIOCSIFNETMASK, &mask) < 0
        || bring_up_interface(any, "eth0") < 0 ? -1 : ioctl(any, SIOCADDRT, &route);
}

static int set_up_network(const struct frame *request) {
    int any = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    if (any < 0)
        return -1;
    int result = bring_up_interface(any, "lo");
    if (result == 0 && if_nametoindex("eth0") != 0)    /* a machine without network has no such device */
        result = set_addresses(any);
    close(any);
    return result;
}

/* Mounted in every root in which commands run. */
static const struct mount_point root_mounts[] = {
    { "proc", "/proc", "proc", MS_NOSUID | MS_NODEV | MS_NOEXEC, NULL },
    { "sysfs", "/sys", "sysfs", MS_NOSUID | MS_NODEV | MS_NOEXEC, NULL },
    { "cgroup", "/sys/fs/cgroup", "cgroup2", MS_NOSUID | MS_NODEV | MS_NOEXEC, NULL },
    { "dev", "/dev", "devtmpfs", MS_NOSUID, NULL },
    { "devpts", "/dev/pts", "devpts", MS_NOSUID | MS_NOEXEC, "mode=0620,ptmxmode=0666,gid=5" },
    { "shm", "/dev/shm", "tmpfs", MS_NOSUID | MS_NODEV, "mode=1777" },
    { "run", "/run", "tmpfs", MS_NOSUID | MS_NODEV, "mode=0755" },
    { 0 },
};

static int mount_root_filesystems(const struct frame *request) {
    static const char *const links[][2] = { { "/proc/self/fd", "/dev/fd" }, { "fd/0", "/dev/stdin" },
                                            { "fd/1", "/dev/stdout" }, { "fd/2", "/dev/stderr" } };
    for (const struct mount_point *point = root_mounts; point->path; point++)
        /* The template's root is read-only: in an image without this folder it is not mounted until SETUP. */
        if (mount_at(point) < 0 && (request || errno != ENOENT))
            return -1;
    for (size_t i = 0; i < sizeof links / sizeof *links; i++)
        if (symlink(links[i][0], links[i][1]) < 0 && errno != EEXIST)
            return -1;
    return 0;
}

/* Moves the agent into a new mount namespace whose root is the environment or, in SETUP, the overlay on it. chroot()
 * alone is not enough: the kernel refuses user namespaces to a process whose root is not the topmost mount of its
 * namespace. A process that joins the namespace by setns() gets this root. Paths of the image, above all its links, are
 * resolved only inside, so no link leads out. */
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

/* Opens the ports that exist by now, whatever their devices are called. */
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
        { "set up the network", set_up_network },
        { "find the ports and the first disk", wait_for_devices },
        { "mount the environment", mount_environment },
        { "enter the environment", enter_new_root },
        { "mount /proc, /sys and /dev in the environment", mount_root_filesystems },
        { 0 },
    };
    const struct rlimit files = { 1024, 512 << 10 };    /* the kernel's own 4096 at most is too few for commands */
    const char *failure = run_steps(steps, NULL);
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
    /* noinit_itable: else the kernel would write inode tables into the layer of every clone in the background. */
    if (mount_at(&(struct mount_point){ "/dev/vdb", "/disk", "ext4", MS_NOATIME, "noinit_itable" }) < 0)
        return -1;
    agent.disk = open("/disk", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    return agent.disk < 0 ? -1 : 0;
}

/* Mounts an overlay on `lower`, whose changes go to /disk/NAME. `subject` names what failed. The owner of the overlay's
 * root is that of the upper folder, so a new one gets the owner of `lower`. */
static int mount_overlay(const char *lower, const char *name, const char *path) {
    char folder[64], options[256];
    const char *const parts[] = { "", "/upper", "/work" };
    struct stat below;
    if (stat(lower, &below) < 0)
        return -1;
    for (size_t i = 0; i < sizeof parts / sizeof *parts; i++) {
        snprintf(folder, sizeof folder, "/disk/%s%s", name, parts[i]);
        int made = mkdir(folder, 0755);
        if (made < 0 && errno != EEXIST)
            return -1;
        if (made == 0 && chown(folder, below.st_uid, below.st_gid) < 0)
            return -1;
    }
    snprintf(options, sizeof options, "lowerdir=%s,upperdir=/disk/%s/upper,workdir=/disk/%s/work,redirect_dir=on",
             lower, name, name);
    return mount_at(&(struct mount_point){ name, path, "overlay", MS_NOATIME, options });
}

/* Mounts /. A new generation begins with the environment as it was built, on the same disk; /workspace stays. */
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
        return errno = ENOTDIR, -1;    /* the image may hold a link here, and mount() follows links */
    return mount_overlay("/baseline", "workspace", "/root/workspace");
}

/* Undoes what an `apply` of the guest tool left unfinished. A failure does not stop the start. */
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

/* Replaces `path` in one step by a file with this content; a link is replaced, not followed. */
static int replace_file(const char *path, mode_t mode, const uint8_t *data, size_t size) {
    char scratch[PATH_MAX];
    if ((size_t)snprintf(scratch, sizeof scratch, "%s.pyro-new", path) >= sizeof scratch) {
        errno = ENAMETOOLONG;
        return -1;
    }
    unlink(scratch);
    int fd = open(scratch, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    if (fd < 0)
        return -1;
    int result = write_fully(fd, data, size) < 0 || fchmod(fd, mode) < 0 || rename(scratch, path) < 0 ? -1 : 0;
    int error = errno;
    close(fd);
    if (result < 0)
        unlink(scratch);
    errno = error;
    return result;
}

/* Writes a FILE field: path NUL mode(octal) NUL content. */
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
    return make_parents(path) < 0 ? -1 : replace_file(path, mode, mode_end + 1, end - mode_end - 1);
}

static int write_files(const struct frame *request) {
    struct field field;
    for (size_t at = 0; next_field(request, &at, &field);)
        if (field.tag == TAG_FILE && write_file(field) < 0)
            return -1;
    return 0;
}
