/* SPDX-License-Identifier: PostgreSQL */
/*
 * fuzz_pgwire: any bytes at all from a client of the relay. The first byte chooses: a start-up
 * packet, messages, the inside of a copy message, or a command's text.
 */
#include "shipper/replication/pgwire.c"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct buf in = {
        .bytes = (uint8_t *)(uintptr_t)data + 1, .end = size > 0 ? size - 1 : 0, .size = size};
    struct startup startup;
    struct pgwire_message message;
    struct pgwire_status status;
    struct pgwire_command command;
    struct buf out;
    char text[512];

    if (size < 1)
        return 0;
    switch (data[0] & 3) {
    case 0:
        if (pgwire_startup(&in, &startup) < 0 || startup.kind == STARTUP_MORE)
            break;
        assert(startup.bytes <= size - 1);
        if (!startup.newer || buf_init(&out, PGWIRE_MESSAGE_MAX) < 0)
            break;
        assert(pgwire_put_negotiate(&out, &startup) == 0);
        assert(buf_used(&out) == 13 + startup.options_bytes); /* as long as it says */
        buf_release(&out);
        break;
    case 1:
        while (pgwire_message(&in, &message) == 1) {
            if (message.type == 'd')
                pgwire_status(message.body, message.length, &status);
            buf_consume(&in, message.bytes);
        }
        break;
    case 2:
        pgwire_status(data + 1, size - 1, &status);
        break;
    case 3:
        snprintf(text, sizeof text, "%.*s",
                 (int)(size - 1 < sizeof text ? size - 1 : sizeof text - 1),
                 (const char *)data + 1);
        if (pgwire_parse(text, &command))
            assert(command.verb != VERB_UNKNOWN && strlen(command.name) < sizeof command.name);
        break;
    }
    return 0;
}
