/*
 * The part of tool.c that keeps notes of what apply does, and undoes it by them; see TREE.md.
 */

/* ---- apply: the notes of steps ------------------------------------------------------------------------------ */

/*
 * Before each step a note of it is made in the staging folder, as a link that leads nowhere: a journaling file system
 * has a link on the disk before any later change of a name, without a sync. So whenever the machine dies, the notes
 * say how to put back what was changed. They count from the first on without a gap: removing the first is the commit.
 * Of each step in a note the staging folder tells whether it was taken: so a note also has the files that come next.
 */
enum { NOTE_PIECE = 4000, STEP_ROOM = 64 };    /* a link's target is shorter than PATH_MAX */

static const char *note(unsigned step, unsigned piece) {
    static char name[32];
    snprintf(name, sizeof name, "note-%u-%u", step, piece);
    return name;
}

static int describe(char *text, int what, const char *path, unsigned number, mode_t mode) {
    struct stat new;
    bool is_file = what == PUT && fstatat(staging(), staged(number), &new, AT_SYMLINK_NOFOLLOW) == 0
        && !S_ISDIR(new.st_mode);
    return sprintf(text, "%d %u %o %llu %s", what, number, mode, is_file ? (unsigned long long)new.st_ino : 0, path);
}

/* Makes the note of a step, its first piece last; unless the last note has it. */
static void intend(int what, const char *path, unsigned number, mode_t mode) {
    static char text[MAX_PATH + STEP_ROOM];
    bool is_edit = what == PUT && number < apply.count && strcmp(path, apply.edits[number].path) == 0;
    if (is_edit && number < apply.noted)
        return;
    int size = describe(text, what, path, number, mode);
    apply.noted = is_edit ? number + 1 : 0;
    for (; is_edit && apply.noted < apply.count; apply.noted++) {
        const struct edit *next = &apply.edits[apply.noted];
        if (!strchr("fl", (int)next->action) || size + strlen(next->path) + STEP_ROOM > NOTE_PIECE)
            break;
        size += sprintf(text + size, "//");    /* never in a path */
        size += describe(text + size, PUT, next->path, next->number, 0);
    }
    for (int piece = (size - 1) / NOTE_PIECE; piece >= 0; piece--) {
        text[(piece + 1) * NOTE_PIECE < size ? (piece + 1) * NOTE_PIECE : size] = '\0';
        must(symlinkat(text + piece * NOTE_PIECE, staging(), note(apply.notes, piece)));
    }
    apply.notes++;
}

/* The text of a note, or NULL. */
static char *read_note(unsigned number) {
    static char text[MAX_PATH + 2 * NOTE_PIECE];
    size_t size = 0;
    ssize_t got = NOTE_PIECE;
    for (unsigned piece = 0; got == NOTE_PIECE && sizeof text - size > NOTE_PIECE; piece++, size += got > 0 ? got : 0)
        got = readlinkat(apply.staging, note(number, piece), text + size, NOTE_PIECE);
    text[size] = '\0';
    return size > 0 ? text : NULL;
}

/* A step as its note tells it. Whoever is root in the machine can forge one: it must say what an edit could. */
static bool read_step(const char *text, unsigned number, struct step *step) {
    struct stat link;
    int end = 0;
    if (fstatat(apply.staging, note(number, 0), &link, AT_SYMLINK_NOFOLLOW) < 0
        || sscanf(text, "%u %u %o %llu%n", &step->what, &step->number, &step->mode, &step->inode, &end) != 4
        || text[end] != ' ')
        return false;
    step->path = text + end + 1;
    step->device = link.st_dev;
    return step->what < STEPS && step->mode <= 07777 && is_plain(step->path) && !is_staging(step->path);
}

/* Puts back what a step has changed, unless it was not taken or has been put back before. */
static int take_back(const struct step *step) {
    const char *name;
    struct stat now = { 0 };
    int result = 0;
    bool there = fstatat(apply.staging, staged(step->number), &now, AT_SYMLINK_NOFOLLOW) == 0;
    bool is_new = S_ISDIR(now.st_mode) ? step->inode == 0    /* a folder is never exchanged for a folder */
        : now.st_ino == step->inode && now.st_dev == step->device;
    if ((step->what == PUT && there && is_new) || (step->what == TAKEN && !there))
        return 0;
    int parent = open_parent(apply.root, step->path, &name);
    if (parent < 0)
        return step->what == PUT && !there && errno == ENOENT ? 0 : -1;
    if (step->what == CHANGED_MODE)
        result = set_mode(parent, name, step->mode);
    else if (step->what == PUT && !there)
        result = rename_as(parent, name, apply.staging, staged(step->number), NO_REPLACE);
    else
        result = rename_as(apply.staging, staged(step->number), parent, name, step->what == PUT ? EXCHANGE : NO_REPLACE);
    close_fd(parent);
    return result < 0 && step->what == PUT && !there && errno == ENOENT ? 0 : result;
}

/* Puts back what the steps in a note have changed, the last first; whether that was possible. */
static bool take_back_note(unsigned number) {
    struct step step;
    bool done = true;
    char *text = read_note(number), *last, *next;
    do {
        for (last = text; (next = strstr(last, "//")); last = next + 2)
            ;
        if (read_step(last, number, &step) && take_back(&step) < 0) {
            complain(step.path, "it could not be put back");
            done = false;
        }
        if (last > text)
            last[-2] = '\0';
    } while (last > text);
    return done;
}

static void remove_staging(void) {
    if (apply.staging >= 0)
        remove_folder(apply.name, apply.staging);
}

/* Takes back the steps of which there are notes, the last first, and removes the staging folder. */
static void give_up(void) {
    char rescued[64];
    bool lost = false;
    unsigned notes = 0;
    while (apply.staging >= 0 && read_note(notes))
        notes++;
    while (notes-- > 0) {
        lost |= !take_back_note(notes);
        unlinkat(apply.staging, note(notes, 0), 0);
    }
    random_name(rescued, RESCUED);
    if (!lost || renameat(apply.root, apply.name, apply.root, rescued) < 0)
        remove_staging();
}

static void commit(void) {
    if (apply.notes > 0)
        must(unlinkat(apply.staging, note(0, 0), 0));
}

/* Takes back what an apply that was killed has done, and removes what it has left behind. */
static void recover(void) {
    struct names names = list_names(apply.root, -1);
    for (size_t i = 0; i < names.count; i++) {
        apply.staging = is_staging(names.list[i]) ? lock_staging(names.list[i]) : -1;
        if (apply.staging < 0)
            continue;
        strcpy(apply.name, names.list[i]);
        give_up();
        close(apply.staging);
    }
    apply.staging = -1;
    forget_names(&names);
}

/* Bounded, as the start of the machine waits for it; it can be continued. */
static void run_recover(char **words) {
    enum { AT_MOST_SECONDS = 8 };
    alarm(AT_MOST_SECONDS);
    apply.root = open_root(words[0]);
    recover();
}
