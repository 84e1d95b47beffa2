/* SPDX-License-Identifier: PostgreSQL */
/* See disk.h. Small and slow on purpose: a few dozen files, linear searches. */
#include "disk.h"

#include "base/durable.h"

#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define INODES_MAX 4096
#define NAMES_MAX  512
#define FDS_MAX    64
#define DIR_FD     1000

struct inode {
    uint8_t *now, *kept;
    size_t now_bytes, kept_bytes, room, kept_room;
    size_t dropped_from; /* a failed flush: bytes from here on never reach the disk */
    bool used, dropped;
};

struct name {
    char text[64];
    int inode;
};

struct names {
    struct name at[NAMES_MAX];
    size_t count;
};

static struct inode inode[INODES_MAX];
static struct names now, kept;
static struct {
    int inode;
    bool open, locked;
} fds[FDS_MAX];
static bool full, fail_flush;
static uint64_t (*draw)(void);

static struct name *
find(struct names *in, const char *text)
{
    for (size_t i = 0; i < in->count; i++)
        if (strcmp(in->at[i].text, text) == 0)
            return &in->at[i];
    return NULL;
}

static void
remove_name(struct names *in, struct name *n)
{
    *n = in->at[--in->count];
}

static void
grow(uint8_t **bytes, size_t *room, size_t wanted)
{
    if (wanted <= *room)
        return;
    *room = wanted * 2;
    assert(*room > 0);
    *bytes = realloc(*bytes, *room);
    assert(*bytes != NULL);
}

static int
new_inode(void)
{
    for (int i = 0; i < INODES_MAX; i++) {
        if (inode[i].used)
            continue;
        inode[i].used = true;
        inode[i].now_bytes = inode[i].kept_bytes = 0;
        inode[i].dropped = false;
        return i;
    }
    abort();
}

static void
collect(void)
{
    for (int i = 0; i < INODES_MAX; i++) {
        bool needed = false;

        if (!inode[i].used)
            continue;
        for (size_t n = 0; n < now.count && !needed; n++)
            needed = now.at[n].inode == i;
        for (size_t n = 0; n < kept.count && !needed; n++)
            needed = kept.at[n].inode == i;
        for (int f = 0; f < FDS_MAX && !needed; f++)
            needed = fds[f].open && fds[f].inode == i;
        inode[i].used = needed;
    }
}

void
disk_reset(uint64_t (*random_number)(void))
{
    disk_kill();
    now.count = kept.count = 0;
    full = fail_flush = false;
    draw = random_number;
    collect();
}

void
disk_kill(void)
{
    memset(fds, 0, sizeof fds);
    collect();
}

void
disk_crash(void)
{
    disk_kill();
    now = kept;
    collect();
    for (int i = 0; i < INODES_MAX; i++) {
        struct inode *n = &inode[i];
        size_t tail;

        if (!n->used)
            continue;
        tail = n->now_bytes > n->kept_bytes ? draw() % (n->now_bytes - n->kept_bytes + 1) : 0;
        if (n->dropped)
            tail = 0;
        for (size_t at = n->kept_bytes; at < n->kept_bytes + tail; at += 512) {
            size_t left = n->kept_bytes + tail - at, piece = left < 512 ? left : 512;

            if (draw() % 3 == 0)
                memset(n->now + at, 0, piece);
            else if (draw() % 3 == 0)
                memset(n->now + at, (int)(draw() & 255), piece);
        }
        if (n->kept_bytes > 0)
            memcpy(n->now, n->kept, n->kept_bytes);
        n->now_bytes = n->kept_bytes + tail;
        n->dropped = false;
        grow(&n->kept, &n->kept_room, n->now_bytes);
        if (n->now_bytes > 0)
            memcpy(n->kept, n->now,
                   n->now_bytes); /* what is read after a boot is what is on the disk */
        n->kept_bytes = n->now_bytes;
    }
}

void
disk_set_full(bool is_full)
{
    full = is_full;
}

void
disk_fail_next_flush(void)
{
    fail_flush = true;
}

bool
disk_survives(const char *name, uint64_t offset, const void *truth, size_t n)
{
    struct name *entry = find(&kept, name);

    return entry != NULL && offset + n <= inode[entry->inode].kept_bytes &&
           memcmp(inode[entry->inode].kept + offset, truth, n) == 0;
}

/* ---- base/durable.h ---- */

int
durable_dir(const char *path, int *ret_dir)
{
    (void)path;
    *ret_dir = DIR_FD;
    return 0;
}

int
durable_open(int dir, const char *name, enum durable_mode mode, int *ret_fd)
{
    struct name *n = find(&now, name);
    int f = 0;

    assert(dir == DIR_FD);
    if (n == NULL && mode != DURABLE_CREATE) {
        errno = ENOENT;
        return -1;
    }
    if (n == NULL && full) {
        errno = ENOSPC;
        return -1;
    }
    if (n == NULL) {
        assert(now.count < NAMES_MAX);
        n = &now.at[now.count++];
        snprintf(n->text, sizeof n->text, "%s", name);
        n->inode = new_inode();
    }
    while (fds[f].open)
        assert(++f < FDS_MAX);
    fds[f].open = true;
    fds[f].locked = false;
    fds[f].inode = n->inode;
    *ret_fd = f;
    return 0;
}

void
durable_close(int fd)
{
    if (fd >= 0 && fd < FDS_MAX)
        fds[fd].open = false;
}

static struct inode *
of(int fd)
{
    assert(fd >= 0 && fd < FDS_MAX && fds[fd].open);
    return &inode[fds[fd].inode];
}

ssize_t
durable_read(int fd, void *bytes, size_t n, uint64_t offset)
{
    struct inode *i = of(fd);
    size_t there = offset < i->now_bytes ? i->now_bytes - offset : 0;

    if (n > there)
        n = there;
    if (n > 0)
        memcpy(bytes, i->now + offset, n);
    return (ssize_t)n;
}

int
durable_write(int fd, const void *bytes, size_t n, uint64_t offset)
{
    struct inode *i = of(fd);

    if (full && offset + n > i->now_bytes) {
        errno = ENOSPC;
        return -1;
    }
    grow(&i->now, &i->room, offset + n);
    if (offset > i->now_bytes)
        memset(i->now + i->now_bytes, 0, offset - i->now_bytes);
    if (n > 0)
        memcpy(i->now + offset, bytes, n);
    if (offset + n > i->now_bytes)
        i->now_bytes = offset + n;
    return 0;
}

static void
keep(struct inode *i)
{
    size_t upto = i->dropped && i->dropped_from < i->now_bytes ? i->dropped_from : i->now_bytes;

    grow(&i->kept, &i->kept_room, upto);
    if (upto > 0)
        memcpy(i->kept, i->now, upto);
    i->kept_bytes = upto;
}

int
durable_data(int fd)
{
    struct inode *i = of(fd);

    if (fail_flush) {
        fail_flush = false;
        i->dropped = true;
        i->dropped_from = i->kept_bytes;
        errno = EIO;
        return -1;
    }
    keep(i);
    return 0;
}

int
durable_size(int fd, uint64_t *ret_bytes)
{
    *ret_bytes = of(fd)->now_bytes;
    return 0;
}

int
durable_truncate(int fd, uint64_t bytes)
{
    struct inode *i = of(fd);

    if (bytes < i->now_bytes)
        i->now_bytes = bytes;
    return 0;
}

void
durable_reserve(int fd, uint64_t bytes)
{
    (void)fd;
    (void)bytes;
}

int
durable_sync_dir(int dir)
{
    assert(dir == DIR_FD);
    kept = now;
    return 0;
}

int
durable_rename(int dir, const char *from, const char *to)
{
    struct name *source = find(&now, from), *target = find(&now, to);

    if (source == NULL) {
        errno = ENOENT;
        return -1;
    }
    if (target != NULL)
        target->inode = source->inode, remove_name(&now, find(&now, from));
    else
        snprintf(source->text, sizeof source->text, "%s", to);
    return durable_sync_dir(dir);
}

int
durable_unlink(int dir, const char *name)
{
    struct name *n = find(&now, name);

    (void)dir;
    if (n != NULL)
        remove_name(&now, n);
    return 0;
}

int
durable_remove(int dir, const char *name)
{
    durable_unlink(dir, name);
    return durable_sync_dir(dir);
}

int
durable_replace(int dir, const char *name, const void *bytes, size_t n)
{
    struct name *entry = find(&now, name);
    int fresh;

    if (full) {
        errno = ENOSPC;
        return -1;
    }
    fresh = new_inode();
    grow(&inode[fresh].now, &inode[fresh].room, n);
    if (n > 0)
        memcpy(inode[fresh].now, bytes, n);
    inode[fresh].now_bytes = n;
    keep(&inode[fresh]);
    if (entry == NULL) {
        assert(now.count < NAMES_MAX);
        entry = &now.at[now.count++];
        snprintf(entry->text, sizeof entry->text, "%s", name);
    }
    entry->inode = fresh;
    collect();
    return durable_sync_dir(dir);
}

ssize_t
durable_load(int dir, const char *name, char *out, size_t size)
{
    int fd;
    ssize_t got;

    if (durable_open(dir, name, DURABLE_READ, &fd) < 0)
        return -1;
    got = durable_read(fd, out, size, 0);
    durable_close(fd);
    if ((size_t)got == size) {
        errno = EFBIG;
        return -1;
    }
    out[got] = '\0';
    return got;
}

int
durable_list(int dir, int (*visit)(void *context, const struct durable_entry *entry), void *context)
{
    struct names copy = now; /* visit may remove */

    assert(dir == DIR_FD);
    for (size_t i = 0; i < copy.count; i++) {
        struct durable_entry entry = {.name = copy.at[i].text,
                                      .bytes = inode[copy.at[i].inode].now_bytes};
        int result = visit(context, &entry);

        if (result != 0)
            return result;
    }
    return 0;
}

int
durable_free(int dir, uint64_t *ret_bytes)
{
    assert(dir == DIR_FD);
    *ret_bytes = full ? 0 : UINT64_C(1) << 40;
    return 0;
}

int
durable_lock(int dir, const char *name, int *ret_fd)
{
    struct name *n = find(&now, name);

    for (int f = 0; n != NULL && f < FDS_MAX; f++) {
        if (fds[f].open && fds[f].locked && fds[f].inode == n->inode) {
            errno = EWOULDBLOCK;
            return -1;
        }
    }
    if (durable_open(dir, name, DURABLE_CREATE, ret_fd) < 0)
        return -1;
    fds[*ret_fd].locked = true;
    return 0;
}
