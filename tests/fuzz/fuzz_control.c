/* SPDX-License-Identifier: PostgreSQL */
/*
 * fuzz_control: any bytes at all on the control socket. The first byte chooses: a request to the
 * agent (which may come from another member, through a tunnel), a pool's file inside a request, or
 * what an agent answers (another host may have written it).
 */
#include "agent/control/control.c"
#include "agent/config/pool_file.h"
#include "agent/control/show.h"

#include <assert.h>

#define POOL_FILE                                                                                  \
    "[pool]\nname = p\nhome = a\n"                                                                 \
    "[member m]\nsite = a\nssh = u@h\nhost_key = "                                                 \
    "SHA256:AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA\nidentity = /i\npostgres = host=/s\n"      \
    "pgdata = /nowhere/d\nbindir = /b\nspool = /nowhere/q\nrun = /nowhere/r\n"                     \
    "[member n]\nsite = b\nssh = u@i\nhost_key = "                                                 \
    "SHA256:AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA\nidentity = /i\npostgres = host=/s\n"      \
    "pgdata = /nowhere/d\nbindir = /b\nspool = /nowhere/q\nrun = /nowhere/r\n"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void
answer(struct control *c, uint64_t id, const json_t *request)
{
    static struct config pool;
    char shown[32];

    if (pool.members == 0)
        assert(config_parse(&pool, "/nowhere/pool.ini", POOL_FILE, sizeof POOL_FILE - 1, stderr) ==
               0);
    show_word(request, "command", "");
    show_seconds(json_object_get(request, "seconds"), shown, sizeof shown);
    show_bytes(json_object_get(request, "bytes"), shown, sizeof shown);
    pool_file_answer(c, id, request, &pool, &pool.member[0]);
}

static void
ask_it(const uint8_t *data, size_t size)
{
    static struct control c;
    struct loop l = {.count = 0};
    json_t *request;
    uint64_t id;
    int pair[2];

    for (size_t i = 0; i < CONTROL_CLIENTS_MAX; i++)
        c.client[i].fd = -1;
    c.fd = -1;
    c.next_id = 1;
    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, pair) < 0)
        return;
    assert(control_adopt(&c, pair[0], false, 0) && control_afar(&c, 1));
    if (size > 0 && write(pair[1], data, size) < 0)
        size = 0;
    for (int turn = 0; turn < 4; turn++) {
        l.fds[0] = (struct pollfd){.fd = pair[0], .revents = POLLIN};
        l.count = 1;
        control_run(&c, &l, 1);
        while (control_request(&c, &id, &request)) {
            assert(json_is_object(request));
            answer(&c, id, request);
            json_decref(request);
        }
    }
    for (size_t i = 0; i < CONTROL_CLIENTS_MAX; i++)
        if (c.client[i].fd >= 0)
            drop(&c.client[i]);
    close(pair[1]);
}

/* Nothing in it that a terminal would obey. */
static void
is_safe(void *context, json_t *line)
{
    const char *text = show_word(line, "text", "");

    (void)context;
    for (; *text != '\0'; text++)
        assert((unsigned char)*text >= ' ' || *text == '\n' || *text == '\t');
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    FILE *stream;
    json_t *request;

    if (size < 2)
        return 0;
    switch (data[0] % 3) {
    case 0:
        ask_it(data + 1, size - 1);
        break;
    case 1:
        request = json_pack("{s:s s:s s:s%}", "command", "config", "do", "check", "text", data + 1,
                            size - 1);
        if (request != NULL) {
            static struct control nobody;

            answer(&nobody, 0, request);
            json_decref(request);
        }
        break;
    case 2:
        stream = fmemopen((void *)(uintptr_t)(data + 1), size - 1, "r");
        if (stream != NULL) {
            read_answer(stream, is_safe, NULL);
            fclose(stream);
        }
        break;
    }
    return 0;
}
