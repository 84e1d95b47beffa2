/* SPDX-License-Identifier: PostgreSQL */
/*
 * fuzz_site: any FILE frame at all from another member: its mode, its path up to the first 0 byte,
 * its content. What is kept lies below its member's folder, under a name that gives the path back,
 * with a mode that lets nobody else write it, nor read a key; it is listed as it came.
 */
#include "agent/files/site_files.c"
#include "agent/files/store.c"

#include <assert.h>
#include <ftw.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static struct member self = {.name = "here"};
static struct config config = {.members = 2, .member = {{.name = "here"}, {.name = "there"}}};

static int
remove_one(const char *path, const struct stat *st, int type, struct FTW *at)
{
    (void)st;
    (void)type;
    (void)at;
    return remove(path);
}

static void
remove_all(void)
{
    nftw(self.spool, remove_one, 16, FTW_DEPTH | FTW_PHYS);
}

struct seen {
    const char *path, *content;
    size_t length;
    bool there;
};

static void
look_up(void *context, const char *member, const char *path, int dir,
        const struct store_versions *v)
{
    struct seen *s = context;
    struct stat st;

    assert(strcmp(member, "there") == 0 && path[0] == '/');
    if (strcmp(path, s->path) != 0)
        return;
    s->there = true;
    assert(fstatat(dir, v->newest, &st, AT_SYMLINK_NOFOLLOW) == 0 && S_ISREG(st.st_mode));
    assert((st.st_mode & 07022) == 0);
    if (memmem(s->content, s->length, "PRIVATE KEY-----", 16) != NULL)
        assert((st.st_mode & 077) == 0);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static int inputs;
    char path[SITE_FILE_PATH_MAX], escaped[SITE_FILE_NAME_SIZE] = "", again[SITE_FILE_PATH_MAX];
    struct site_files_job j = {.differ = 0};
    struct seen seen = {.path = path};
    struct site_files site = {.config = &config, .self = &self};
    size_t n;

    if (size < 3 || (n = strnlen((const char *)data + 2, size - 2)) >= sizeof path)
        return 0;
    if (inputs++ % 200 == 0) {
        if (self.spool[0] != '\0')
            remove_all();
        else
            atexit(remove_all);
        snprintf(self.spool, sizeof self.spool, "%.200s/wf-fuzz-XXXXXX",
                 getenv("TMPDIR") != NULL ? getenv("TMPDIR") : "/tmp");
        assert(mkdtemp(self.spool) != NULL);
    }
    memcpy(path, data + 2, n);
    path[n] = '\0';
    if (store_name(path, escaped)) {
        assert(strchr(escaped, '/') == NULL);
        store_path(escaped, again);
        assert(strcmp(path, again) == 0);
    }
    if (path[0] != '/') /* as site_files_take */
        return 0;
    data += 2 + n + (2 + n < size);
    size -= 2 + n + (2 + n < size);
    j = (struct site_files_job){
        .site = &site, .length = size, .mode = (uint32_t)(path[n / 2] * 257)};
    snprintf(j.from, sizeof j.from, "there");
    snprintf(j.path, sizeof j.path, "%s", path);
    j.bytes = malloc(size + 1);
    assert(j.bytes != NULL);
    memcpy(j.bytes, data, size);
    run_job(&j);
    free(j.bytes);
    seen.content = (const char *)data;
    seen.length = size;
    store_each(&config, &self, look_up, &seen);
    return 0;
}
