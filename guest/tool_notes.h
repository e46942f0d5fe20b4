/* The part of tool.c that writes notes of the steps of apply, and undoes the steps by the notes; see TREE.md. */

/* ---- apply: the notes of steps ------------------------------------------------------------------------------ */

/* Before each step, apply writes a note of it into the staging folder: a symbolic link whose target is the note's text.
 * A journaling file system has a link on the disk before any later change of a name, without a sync. So whenever the
 * machine dies, the notes say how to undo what was changed. They are valid while their numbers have no gap from 0 on;
 * removing note 0 is the commit. Whether a step in a note was taken shows in the staging folder, so one note can also
 * hold the steps of the next files. */
enum { NOTE_PIECE = 4000, STEP_ROOM = 64 };    /* a link's target is shorter than PATH_MAX */

static const char *note(unsigned step, unsigned piece) {
    static char name[32];
    snprintf(name, sizeof name, "note-%u-%u", step, piece);
    return name;
}

static int format_step(char *text, int what, const char *path, unsigned number, mode_t mode) {
    struct stat new;
    bool is_file = what == PUT && fstatat(staging(), staged(number), &new, AT_SYMLINK_NOFOLLOW) == 0
        && !S_ISDIR(new.st_mode);
    return sprintf(text, "%d %u %o %llu %s", what, number, mode, is_file ? (unsigned long long)new.st_ino : 0, path);
}

/* Writes the note of a step, its first piece last; does nothing if the last note has the step. */
static void write_note(int what, const char *path, unsigned number, mode_t mode) {
    static char text[MAX_PATH + STEP_ROOM];
    bool is_edit = what == PUT && number < apply.count && strcmp(path, apply.edits[number].path) == 0;
    if (is_edit && number < apply.noted)
        return;
    int size = format_step(text, what, path, number, mode);
    apply.noted = is_edit ? number + 1 : 0;
    for (; is_edit && apply.noted < apply.count; apply.noted++) {
        const struct edit *next = &apply.edits[apply.noted];
        if (!strchr("fl", (int)next->action) || size + strlen(next->path) + STEP_ROOM > NOTE_PIECE)
            break;
        size += sprintf(text + size, "//");    /* never in a path */
        size += format_step(text + size, PUT, next->path, next->number, 0);
    }
    for (int piece = (size - 1) / NOTE_PIECE; piece >= 0; piece--) {
        text[(piece + 1) * NOTE_PIECE < size ? (piece + 1) * NOTE_PIECE : size] = '\0';
        must(symlinkat(text + piece * NOTE_PIECE, staging(), note(apply.notes, piece)));
    }
    apply.notes++;
}

/* Returns the text of a note, NULL for none. */
static char *read_note(unsigned number) {
    static char text[MAX_PATH + 2 * NOTE_PIECE];
    size_t size = 0;
    ssize_t got = NOTE_PIECE;
    for (unsigned piece = 0; got == NOTE_PIECE && sizeof text - size > NOTE_PIECE; piece++, size += got > 0 ? got : 0)
        got = readlinkat(apply.staging, note(number, piece), text + size, NOTE_PIECE);
    text[size] = '\0';
    return size > 0 ? text : NULL;
}

/* Parses a step of a note. Root in the guest can forge notes, so a step may do only what an edit could. */
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

/* Undoes a step, unless it was not taken or has been undone before. */
static int undo_step(const struct step *step) {
    const char *name;
    struct stat now = { 0 };
    int result = 0;
    bool there = fstatat(apply.staging, staged(step->number), &now, AT_SYMLINK_NOFOLLOW) == 0;
    bool is_new = S_ISDIR(now.st_mode) ? step->inode == 0    /* a folder is never exchanged for a folder */
        : now.st_ino == step->inode && now.st_dev == step->device;
    if ((step->what == PUT && there && is_new) || (step->what == DELETED && !there))
        return 0;
    int parent = open_parent(apply.root, step->path, &name);
    if (parent < 0)
        return step->what == PUT && !there && errno == ENOENT ? 0 : -1;
    if (step->what == CHANGED_MODE)
        result = set_mode(parent, name, step->mode);
    else if (step->what == PUT && !there)
        result = rename_as(parent, name, apply.staging, staged(step->number), NO_REPLACE);
    else
        result = rename_as(apply.staging, staged(step->number), parent, name,
                           step->what == PUT ? EXCHANGE : NO_REPLACE);
    close_quietly(parent);
    return result < 0 && step->what == PUT && !there && errno == ENOENT ? 0 : result;
}

/* Undoes the steps in a note, the last first; returns whether all could be undone. */
static bool undo_note(unsigned number) {
    struct step step;
    bool done = true;
    char *text = read_note(number), *last, *next;
    do {
        for (last = text; (next = strstr(last, "//")); last = next + 2)
            ;
        if (read_step(last, number, &step) && undo_step(&step) < 0) {
            report(step.path, "it could not be put back");
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

/* Undoes the steps of all notes, the last first, and removes the staging folder. */
static void abort_apply(void) {
    char rescued[64];
    bool lost = false;
    unsigned notes = 0;
    while (apply.staging >= 0 && read_note(notes))
        notes++;
    while (notes-- > 0) {
        lost |= !undo_note(notes);
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

/* Undoes and removes what killed runs of apply have left. */
static void recover(void) {
    struct names names = list_names(apply.root, -1);
    for (size_t i = 0; i < names.count; i++) {
        apply.staging = is_staging(names.list[i]) ? lock_staging(names.list[i]) : -1;
        if (apply.staging < 0)
            continue;
        strcpy(apply.name, names.list[i]);
        abort_apply();
        close(apply.staging);
    }
    apply.staging = -1;
    free_names(&names);
}

/* Stops after a time limit, because the start of the machine waits for it; the next call continues. */
static void run_recover(char **words) {
    enum { AT_MOST_SECONDS = 8 };
    alarm(AT_MOST_SECONDS);
    apply.root = open_root(words[0]);
    recover();
}
