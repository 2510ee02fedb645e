/* SPDX-License-Identifier: MIT */
#include "kv/store.h"

#include <assert.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <time.h>

#include <xxhash.h>

enum { HASH_DIGITS = 32, NAME_ROOM = HASH_DIGITS + 8, UID_ROOM = 11 };

/* Parts of the room that may be held: by one, by all. */
enum { HELD_USER = 4, HELD_ALL = 2 };

#define ENDING      ".kv"
#define ENDING_HELD ".held"
#define ENDING_HALF ".tmp"

/* A user's folder. */
struct holder {
    uint32_t uid;
    uint64_t bytes, most_bytes;
    bool is_synced; /* its name is on the disk */
};

struct entry {
    struct kept kept;     /* what callers hold */
    struct rowfile *file; /* NULL: never found, and goes when room is needed */
    int holder;
    bool is_sure; /* a crash does not lose it */
    bool is_held;
    char name[NAME_ROOM]; /* in the holder's folder */
};

struct store {
    int folder;
    uint64_t most_bytes, bytes;
    struct holder *holder;
    int n_holders;
    struct entry **entry;
    int n, room;
    uint64_t last_ns; /* the newest use */
    uint64_t n_evicted, n_broken;
};

/* ------------------------------------------------------------------ the index */

static void entry_free(struct entry *e)
{
    if (!e)
        return;
    rowfile_close(e->file);
    free(e);
}
OWN_DEFINE(entry, entry_free);

/* Room for one more, so that adding cannot fail. */
static int index_reserve(struct store *s)
{
    if (s->n < s->room)
        return 0;
    int room = s->room ? s->room * 2 : 64;
    struct entry **more = reallocarray(s->entry, (size_t)room, sizeof *more);
    if (!more)
        return -ENOMEM;
    s->entry = more;
    s->room = room;
    return 0;
}

static void index_add(struct store *s, struct entry *e)
{
    if (e->file) {
        e->kept.key = &e->file->key;
        e->kept.text = &e->file->text;
    }
    s->entry[s->n++] = e;
    s->bytes += e->kept.bytes;
    s->holder[e->holder].bytes += e->kept.bytes;
}

static void index_drop(struct store *s, struct entry *e)
{
    int i = 0;
    while (s->entry[i] != e)
        i++;
    s->entry[i] = s->entry[--s->n];
    s->bytes -= e->kept.bytes;
    s->holder[e->holder].bytes -= e->kept.bytes;
    entry_free(e);
}

/* Of a user, or of all (negative). */
static uint64_t held_bytes(const struct store *s, int holder)
{
    uint64_t bytes = 0;
    for (int i = 0; i < s->n; i++)
        if (s->entry[i]->is_held && (holder < 0 || s->entry[i]->holder == holder))
            bytes += s->entry[i]->kept.bytes;
    return bytes;
}

static struct entry *index_file(const struct store *s, int holder, const char *name)
{
    for (int i = 0; i < s->n; i++)
        if (s->entry[i]->holder == holder && strcmp(s->entry[i]->name, name) == 0)
            return s->entry[i];
    return NULL;
}

static int holder_of(struct store *s, uint32_t uid)
{
    for (int i = 0; i < s->n_holders; i++)
        if (s->holder[i].uid == uid)
            return i;
    struct holder *more = reallocarray(s->holder, (size_t)s->n_holders + 1, sizeof *more);
    if (!more)
        return -ENOMEM;
    s->holder = more;
    s->holder[s->n_holders] = (struct holder){.uid = uid, .most_bytes = UINT64_MAX};
    return s->n_holders++;
}

/* Of realtime, since files keep it over a restart; it never goes back, whatever the clock does. */
static uint64_t use_now(struct store *s)
{
    struct timespec t;
    clock_gettime(CLOCK_REALTIME, &t);
    uint64_t now = (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
    s->last_ns = now > s->last_ns ? now : s->last_ns + 1;
    return s->last_ns;
}

/* ------------------------------------------------------------------ folders */

/* 32 hexadecimal digits of one spelling, and an ending. */
static bool is_hash(const char *name, const char *ending)
{
    return strlen(name) == HASH_DIGITS + strlen(ending) &&
           strspn(name, "0123456789abcdef") == HASH_DIGITS &&
           memcmp(name + HASH_DIGITS, ending, strlen(ending)) == 0;
}

/* A file is named by what is in it, rows with a name by that: the next ones take their place. */
static void hash_of(const struct rowfile_key *key, const struct rowfile_text *text,
                    char ret[HASH_DIGITS + 1])
{
    XXH3_state_t *state = XXH3_createState();
    if (!state)
        abort(); /* half a kilobyte */
    XXH3_128bits_reset_withSeed(state, *text->name != '\0');
    if (*text->name) {
        XXH3_128bits_update(state, text->name, strlen(text->name));
    } else {
        size_t rows = (size_t)text->n_rows;
        XXH3_128bits_update(state, key, sizeof *key);
        XXH3_128bits_update(state, text->token, rows * sizeof *text->token);
        XXH3_128bits_update(state, text->answer, rows / 8);
        if (rows % 8) {
            uint8_t last = (uint8_t)(text->answer[rows / 8] & ((1 << rows % 8) - 1));
            XXH3_128bits_update(state, &last, 1);
        }
    }
    XXH128_hash_t hash = XXH3_128bits_digest(state);
    XXH3_freeState(state);
    snprintf(ret, HASH_DIGITS + 1, "%016" PRIx64 "%016" PRIx64, hash.high64, hash.low64);
}

/* Ours, and without any of these rights for others. */
static int check_folder(int fd, mode_t rights, struct err *err)
{
    struct stat st;
    if (fstat(fd, &st) < 0)
        return err_set(err, -errno, "cannot ask for its owner: %s", strerror(errno));
    if (st.st_uid != geteuid())
        return err_set(err, -EPERM, "belongs to uid %u, expected %u", st.st_uid, geteuid());
    if (st.st_mode & rights)
        return err_set(err, -EPERM, "has mode %04o, expected %04o", st.st_mode & 07777,
                       st.st_mode & 07777 & ~rights);
    return 0;
}

static int open_folder(int at, const char *name)
{
    return openat(at, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
}

/* A user's; a new descriptor, or an error in words. */
static int open_user(struct store *s, int holder, bool make, struct err *err)
{
    char name[UID_ROOM];
    snprintf(name, sizeof name, "%u", s->holder[holder].uid);
    if (make && mkdirat(s->folder, name, 0700) < 0 && errno != EEXIST)
        return err_set(err, -errno, "cannot make the folder '%s': %s", name, strerror(errno));
    OWN_FD fd = open_folder(s->folder, name);
    if (fd < 0)
        return err_set(err, -errno, "cannot open the folder '%s': %s", name, strerror(errno));
    int r = check_folder(fd, 0077, err);
    if (r < 0)
        return err_prefix(err, r, "the folder '%s'", name);
    if (make && !s->holder[holder].is_synced) {
        if (fsync(s->folder) < 0)
            return err_set(err, -errno, "cannot sync the store's folder: %s", strerror(errno));
        s->holder[holder].is_synced = true;
    }
    return TAKE_FD(fd);
}

/* A file of our own, whatever else is under that name; -ESTALE for what is not. */
static int open_file(int folder, const char *name, struct stat *st, struct err *err)
{
    OWN_FD fd = openat(folder, name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
    if (fd < 0)
        return err_set(err, -errno, "cannot open '%s': %s", name, strerror(errno));
    if (fstat(fd, st) < 0)
        return err_set(err, -errno, "cannot look at '%s': %s", name, strerror(errno));
    if (!S_ISREG(st->st_mode) || st->st_uid != geteuid())
        return err_set(err, -ESTALE, "'%s' is not a file of ours", name);
    return TAKE_FD(fd);
}

/* Takes a file away and forgets it; forgets also what is gone already. */
static int erase(struct store *s, struct entry *e, struct err *err)
{
    OWN_FD folder = open_user(s, e->holder, false, err);
    if (folder < 0 && folder != -ENOENT)
        return folder;
    if (folder >= 0 && unlinkat(folder, e->name, 0) < 0 && errno != ENOENT)
        return err_set(err, -errno, "cannot remove '%s': %s", e->name, strerror(errno));
    index_drop(s, e);
    return 0;
}

/* ------------------------------------------------------------------ open and scan */

int store_open(const char *folder, uint64_t most_bytes, struct store **ret, struct err *err)
{
    OWN(store) *s = calloc(1, sizeof *s);
    if (!s)
        return err_set(err, -ENOMEM, "no memory for a store");
    s->folder = -1;
    s->most_bytes = most_bytes;
    bool made = mkdirat(AT_FDCWD, folder, 0700) == 0;
    if (!made && errno != EEXIST)
        return err_set(err, -errno, "cannot make the folder '%s': %s", folder, strerror(errno));
    s->folder = openat(AT_FDCWD, folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (s->folder < 0)
        return err_set(err, -errno, "cannot open the folder '%s': %s", folder, strerror(errno));
    int r = check_folder(s->folder, 0022, err);
    if (r < 0)
        return err_prefix(err, r, "the folder '%s'", folder);
    if (flock(s->folder, LOCK_EX | LOCK_NB) < 0)
        return errno == EWOULDBLOCK
                   ? err_set(err, -EBUSY, "the folder '%s' is in use by another process", folder)
                   : err_set(err, -errno, "cannot lock the folder '%s': %s", folder,
                             strerror(errno));
    if (made) { /* its own name is in the folder above */
        OWN_FD above = openat(s->folder, "..", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        if (above < 0 || fsync(above) < 0)
            return err_set(err, -errno, "cannot sync the folder above '%s': %s", folder,
                           strerror(errno));
    }
    *ret = TAKE(s);
    return 0;
}

void store_close(struct store *s)
{
    if (!s)
        return;
    for (int i = 0; i < s->n; i++)
        entry_free(s->entry[i]);
    free(s->entry);
    free(s->holder);
    if (s->folder >= 0)
        close(s->folder);
    free(s);
}

/* One name of a user's folder. -ENOMEM alone ends the scan. */
static int scan_file(struct store *s, int holder, int folder, const char *name)
{
    if (is_hash(name, ENDING_HALF)) { /* nobody else writes: we did, and died */
        unlinkat(folder, name, 0);
        return 0;
    }
    bool is_held = is_hash(name, ENDING_HELD);
    if (!is_held && !is_hash(name, ENDING))
        return 0;
    struct stat st;
    OWN_FD fd = open_file(folder, name, &st, NULL);
    if (fd < 0)
        return 0;
    OWN(entry) *e = calloc(1, sizeof *e);
    if (!e || index_reserve(s) < 0)
        return -ENOMEM;
    int r = rowfile_open(fd, &e->file, NULL);
    if (r == -ENOMEM)
        return r;
    if (r == -EBADMSG) {
        s->n_broken++;
        unlinkat(folder, name, 0);
        return 0;
    }
    if (e->file && e->file->key.uid != s->holder[holder].uid) {
        rowfile_close(e->file);
        e->file = NULL;
    }
    e->holder = holder;
    e->is_held = is_held && e->file; /* what is not found is of no use to anybody */
    strcpy(e->name, name);           /* is_hash: it fits */
    e->is_sure = true;
    e->kept.bytes = (uint64_t)st.st_size;
    e->kept.used_ns = (uint64_t)st.st_mtim.tv_sec * 1000000000u + (uint64_t)st.st_mtim.tv_nsec;
    index_add(s, TAKE(e));
    return 0;
}

/* Calls `each` for the names of an open folder, whose descriptor stays open. */
static int list(struct store *s, int fd,
                int (*each)(struct store *s, int holder, int folder, const char *name), int holder)
{
    int again = openat(fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    DIR *dir = again >= 0 ? fdopendir(again) : NULL;
    if (!dir) {
        int code = errno;
        if (again >= 0)
            close(again);
        return -code;
    }
    int r = 0;
    for (;;) {
        errno = 0;
        const struct dirent *found = readdir(dir);
        if (!found) {
            r = -errno;
            break;
        }
        r = each(s, holder, fd, found->d_name);
        if (r < 0)
            break;
    }
    closedir(dir);
    return r;
}

static int scan_user(struct store *s, int none, int root, const char *name)
{
    (void)none;
    (void)root;
    char *end, again[UID_ROOM];
    unsigned long uid = strtoul(name, &end, 10);
    if (uid > UINT32_MAX)
        return 0;
    snprintf(again, sizeof again, "%lu", uid);
    if (strcmp(name, again) != 0) /* the one spelling that open_user() writes */
        return 0;
    int holder = holder_of(s, (uint32_t)uid);
    if (holder < 0)
        return holder;
    OWN_FD fd = open_user(s, holder, false, NULL);
    if (fd < 0)
        return 0;
    int r = list(s, fd, scan_file, holder);
    return r == -ENOMEM ? r : 0;
}

static int make_room(struct store *s, int holder, uint64_t bytes, const struct entry *spared,
                     struct err *err);

int store_scan(struct store *s, struct err *err)
{
    int r = list(s, s->folder, scan_user, -1);
    if (r < 0)
        return err_set(err, r, "cannot list the store's folder: %s", strerror(-r));
    for (int i = 0; i < s->n; i++) /* a clock that was wrong once */
        if (s->entry[i]->kept.used_ns > s->last_ns)
            s->last_ns = s->entry[i]->kept.used_ns;
    make_room(s, -1, 0, NULL, NULL); /* it may have less now; if that fails, so will the next put */
    return 0;
}

/* ------------------------------------------------------------------ room */

static uint64_t held(const struct store *s, const struct entry *e, int writer, uint64_t bytes)
{
    return s->holder[e->holder].bytes + (e->holder == writer ? bytes : 0);
}

/* Of who holds the most, counting what is being written, or of that one alone: what was not used
 * for longest. */
static struct entry *victim(const struct store *s, int writer, uint64_t bytes,
                            const struct entry *spared, bool alone)
{
    struct entry *best = NULL;
    for (int i = 0; i < s->n; i++) {
        struct entry *e = s->entry[i];
        if (e->is_held || e == spared || (alone && e->holder != writer))
            continue;
        uint64_t mine = held(s, e, writer, bytes), most = best ? held(s, best, writer, bytes) : 0;
        if (!best || mine > most || (mine == most && e->kept.used_ns < best->kept.used_ns))
            best = e;
    }
    return best;
}

/* Within the limit of who writes. */
static int make_own_room(struct store *s, int writer, uint64_t bytes, const struct entry *spared,
                         struct err *err)
{
    uint64_t own = spared ? spared->kept.bytes : 0, most = s->holder[writer].most_bytes;
    if (bytes > most)
        return err_set(err, -EFBIG, "%llu bytes are more than the %llu of uid %u",
                       (unsigned long long)bytes, (unsigned long long)most, s->holder[writer].uid);
    struct entry *e;
    while (s->holder[writer].bytes - own > most - bytes &&
           (e = victim(s, writer, bytes, spared, true))) {
        int r = erase(s, e, err);
        if (r < 0)
            return r;
        s->n_evicted++;
    }
    return 0;
}

/* `spared` is what the new file replaces: it stays until then, and does not count. */
static int make_room(struct store *s, int writer, uint64_t bytes, const struct entry *spared,
                     struct err *err)
{
    int more = bytes > 0;
    if (bytes > s->most_bytes)
        return err_set(err, -EFBIG, "%llu bytes are more than the store's %llu",
                       (unsigned long long)bytes, (unsigned long long)s->most_bytes);
    uint64_t own = spared ? spared->kept.bytes : 0;
    int r = more ? make_own_room(s, writer, bytes, spared, err) : 0;
    if (r < 0)
        return r;
    while (s->bytes - own > s->most_bytes - bytes || s->n > STORE_MOST_FILES - more) {
        struct entry *e = victim(s, writer, bytes, spared, false);
        if (!e)
            return err_set(
                err, -ENOSPC,
                "rows that are held take %llu bytes of the store's %llu, %llu are needed",
                (unsigned long long)s->bytes, (unsigned long long)s->most_bytes,
                (unsigned long long)bytes);
        r = erase(s, e, err);
        if (r < 0)
            return r;
        s->n_evicted++;
    }
    return 0;
}

int store_limit(struct store *s, uint32_t uid, uint64_t most_bytes)
{
    int holder = holder_of(s, uid);
    if (holder < 0)
        return holder;
    s->holder[holder].most_bytes = most_bytes;
    return 0;
}

/* ------------------------------------------------------------------ find */

static bool same_key(const struct rowfile_key *a, const struct rowfile_key *b)
{
    return a->uid == b->uid && a->page_bytes == b->page_bytes &&
           memcmp(a->model, b->model, sizeof a->model) == 0 &&
           memcmp(a->kind, b->kind, sizeof a->kind) == 0;
}

static bool bit(const uint8_t *bits, int i)
{
    return bits[i / 8] >> i % 8 & 1;
}

/* Rows at the start of an entry that are rows of these tokens. */
static int common(const struct entry *e, const struct rowfile_key *key, const int32_t *token,
                  int n_tokens, const uint8_t *answer)
{
    if (!e->file || !same_key(&e->file->key, key))
        return 0;
    const struct rowfile_text *text = &e->file->text;
    int most = n_tokens < text->n_rows ? n_tokens : text->n_rows, n = 0;
    while (n < most && text->token[n] == token[n] &&
           (!answer || bit(text->answer, n) == bit(answer, n)))
        n++;
    return n;
}

int store_find(const struct store *s, const struct rowfile_key *key, const int32_t *token,
               int n_tokens, const uint8_t *answer, const struct kept **ret)
{
    int most = 0;
    for (int i = 0; i < s->n; i++) {
        int n = common(s->entry[i], key, token, n_tokens, answer);
        if (n <= most)
            continue;
        most = n;
        *ret = &s->entry[i]->kept;
    }
    return most;
}

const struct kept *store_named(const struct store *s, uint32_t uid, const char *name)
{
    const struct kept *let_go = NULL;
    for (int i = 0; i < s->n; i++) {
        const struct entry *e = s->entry[i];
        if (!e->file || e->file->key.uid != uid || !*name || strcmp(e->file->text.name, name) != 0)
            continue;
        if (e->is_held)
            return &e->kept;
        let_go = &e->kept;
    }
    return let_go;
}

void store_stat(const struct store *s, struct store_stat *ret)
{
    *ret = (struct store_stat){
        .bytes = s->bytes,
        .most_bytes = s->most_bytes,
        .held_bytes = held_bytes(s, -1),
        .n_files = s->n,
        .n_evicted = s->n_evicted,
        .n_broken = s->n_broken,
    };
}

/* ------------------------------------------------------------------ put, get, remove */

static struct entry *entry_of(const struct kept *kept)
{
    return (struct entry *)((char *)(uintptr_t)kept - offsetof(struct entry, kept));
}

/* Writes it under another name, which is gone again if that fails. */
static int write_tmp(int folder, const char *name, const struct rowfile_key *key,
                     const struct rowfile_text *text, void *const *page, struct err *err)
{
    enum { FLAGS = O_RDWR | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC };
    OWN_FD fd = openat(folder, name, FLAGS, 0600);
    if (fd < 0 && errno == EEXIST && unlinkat(folder, name, 0) == 0)
        fd = openat(folder, name, FLAGS, 0600);
    if (fd < 0)
        return err_set(err, -errno, "cannot make '%s': %s", name, strerror(errno));
    int r = rowfile_write(fd, key, text, page, err);
    if (r == 0)
        return TAKE_FD(fd);
    unlinkat(folder, name, 0);
    return err_prefix(err, r, "'%s'", name);
}

/* What the new rows begin with is of no use any more. */
static void drop_beginnings(struct store *s, const struct entry *of)
{
    for (int i = s->n - 1; i >= 0; i--) {
        struct entry *e = s->entry[i];
        if (e == of || e->is_held || !e->file)
            continue;
        const struct rowfile_text *text = &e->file->text;
        if (common(of, &e->file->key, text->token, text->n_rows, text->answer) == text->n_rows)
            erase(s, e, NULL); /* else it goes when room is needed */
    }
}

/* Whether a user may hold so many bytes instead of the old ones. */
static int check_held(const struct store *s, int holder, uint64_t bytes, const struct entry *old,
                      struct err *err)
{
    uint64_t own = old && old->is_held ? old->kept.bytes : 0;
    uint64_t user = held_bytes(s, holder) - own + bytes, all = held_bytes(s, -1) - own + bytes;
    if (user > s->most_bytes / HELD_USER)
        return err_set(err, -EDQUOT, "%llu bytes would be held for one user, expected at most %llu",
                       (unsigned long long)user, (unsigned long long)s->most_bytes / HELD_USER);
    if (all > s->most_bytes / HELD_ALL)
        return err_set(err, -ENOSPC,
                       "%llu bytes would be held for all users, expected at most %llu",
                       (unsigned long long)all, (unsigned long long)s->most_bytes / HELD_ALL);
    return 0;
}

int store_put(struct store *s, const struct rowfile_key *key, const struct rowfile_text *text,
              void *const *page, struct err *err)
{
    bool named = *text->name;
    if (!named) {
        const struct kept *kept;
        int n = store_find(s, key, text->token, text->n_rows, text->answer, &kept);
        if (n == text->n_rows && entry_of(kept)->is_sure) {
            entry_of(kept)->kept.used_ns = use_now(s);
            return 1;
        }
    }
    char hash[HASH_DIGITS + 1], tmp[NAME_ROOM];
    hash_of(key, text, hash);
    OWN(entry) *e = calloc(1, sizeof *e);
    int holder = holder_of(s, key->uid);
    if (!e || holder < 0 || index_reserve(s) < 0)
        return err_set(err, -ENOMEM, "no memory to keep %d rows", text->n_rows);
    e->holder = holder;
    e->is_held = named;
    snprintf(e->name, sizeof e->name, "%s%s", hash, named ? ENDING_HELD : ENDING);
    snprintf(tmp, sizeof tmp, "%s" ENDING_HALF, hash);

    struct entry *old = index_file(s, holder, e->name);
    uint64_t most = rowfile_most_bytes(key, text);
    int r = named ? check_held(s, holder, most, old, err) : 0;
    if (r == 0)
        r = make_room(s, holder, most, old, err);
    if (r < 0)
        return r;
    OWN_FD folder = open_user(s, holder, true, err);
    if (folder < 0)
        return folder;
    OWN_FD fd = write_tmp(folder, tmp, key, text, page, err);
    if (fd < 0)
        return fd;
    r = rowfile_open(fd, &e->file, err); /* what will be found is what is there */
    if (r == 0 && renameat(folder, tmp, folder, e->name) < 0)
        r = err_set(err, -errno, "cannot rename '%s': %s", tmp, strerror(errno));
    if (r < 0) {
        unlinkat(folder, tmp, 0);
        return r;
    }
    if (old)
        index_drop(s, old);
    e->kept.bytes = e->file->bytes;
    e->kept.used_ns = use_now(s);
    struct entry *added = e;
    index_add(s, TAKE(e));
    /* It may be read from now on; but until this is through a crash may lose it, and the one that
     * it replaced stays possible: no reason to call it kept. */
    if (fsync(folder) < 0)
        return err_set(err, -errno, "cannot sync a folder: %s", strerror(errno));
    added->is_sure = true;
    drop_beginnings(s, added);
    return 0;
}

static int read_pages(struct store *s, struct entry *e, int from, int n_pages, void *const *page,
                      struct err *err)
{
    OWN_FD folder = open_user(s, e->holder, false, err);
    if (folder < 0)
        return folder;
    struct stat st;
    OWN_FD fd = open_file(folder, e->name, &st, err);
    if (fd < 0)
        return fd;
    struct rowfile *file = e->file;
    if ((uint64_t)st.st_size != file->bytes)
        return err_set(err, -EBADMSG, "'%s' has %llu bytes, expected %llu", e->name,
                       (unsigned long long)st.st_size, (unsigned long long)file->bytes);
    int r = rowfile_read(file, fd, from, n_pages, page, err);
    if (r < 0)
        return err_prefix(err, r, "'%s'", e->name);
    e->kept.used_ns = use_now(s);
    futimens(fd, NULL); /* only the order of removals hangs on it */
    return 0;
}

/* Never to be found again. */
static void forget(struct store *s, struct entry *e, int why)
{
    if (why == -EBADMSG) {
        s->n_broken++;
        if (erase(s, e, NULL) == 0)
            return;
    }
    if (why == -EBADMSG || why == -ENOENT || why == -ESTALE) {
        index_drop(s, e);
    } else if (!e->is_held) { /* of a bad disk; it still takes room */
        rowfile_close(e->file);
        e->file = NULL;
    }
}

int store_get(struct store *s, const struct kept *kept, int from, int n_pages, void *const *page,
              struct err *err)
{
    struct entry *e = entry_of(kept);
    uint32_t page_bytes = e->file->key.page_bytes;
    int r = read_pages(s, e, from, n_pages, page, err);
    if (r == 0)
        return 0;
    for (int i = from; i < n_pages; i++)
        explicit_bzero(page[i], page_bytes);
    if (r != -ENOMEM)
        forget(s, e, r);
    return r;
}

int store_let_go(struct store *s, const struct kept *kept, struct err *err)
{
    struct entry *e = entry_of(kept);
    if (!e->is_held)
        return 0;
    char name[NAME_ROOM];
    snprintf(name, sizeof name, "%.*s" ENDING, HASH_DIGITS, e->name);
    struct entry *old = index_file(s, e->holder, name); /* let go before, and held again since */
    OWN_FD folder = open_user(s, e->holder, false, err);
    if (folder < 0)
        return folder;
    if (renameat(folder, e->name, folder, name) < 0)
        return err_set(err, -errno, "cannot rename '%s': %s", e->name, strerror(errno));
    strcpy(e->name, name);
    e->is_held = false;
    if (old)
        index_drop(s, old);
    if (fsync(folder) < 0)
        return err_set(err, -errno, "cannot sync a folder: %s", strerror(errno));
    return 0;
}

int store_remove(struct store *s, const struct kept *kept, struct err *err)
{
    int holder = entry_of(kept)->holder;
    int r = erase(s, entry_of(kept), err);
    if (r < 0)
        return r;
    OWN_FD folder = open_user(s, holder, false, err);
    if (folder >= 0 && fsync(folder) < 0) /* somebody wants it gone for good */
        return err_set(err, -errno, "cannot sync a folder: %s", strerror(errno));
    return folder < 0 && folder != -ENOENT ? folder : 0;
}
