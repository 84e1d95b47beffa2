/* SPDX-License-Identifier: PostgreSQL */
/* See service.h. */
#include "tunnel/service.h"

#include "base/fail.h"
#include "shipper/replication/pgwire.h"

#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

const char *
service_name(enum tunnel_service service)
{
    static const char *const name[] = {[TUNNEL_POSTGRES] = "PostgreSQL",
                                       [TUNNEL_CONTROL] = "the agent",
                                       [TUNNEL_RELAY] = "the relay",
                                       [TUNNEL_SERVER] = "its own PostgreSQL"};

    return name[service];
}

void
service_put_error(struct buf *out, enum tunnel_service service, const char *sqlstate,
                  const char *reason)
{
    char text[FRAME_REASON_MAX + 64];
    json_t *line;
    char *dump;

    snprintf(text, sizeof text, "walferry: %s", reason);
    if (service != TUNNEL_CONTROL) {
        pgwire_put_error(out, "FATAL", sqlstate, text);
        return;
    }
    line = json_pack("{s:b s:i s:s}", "done", 1, "code", ERR_PEER, "error", text);
    dump = line == NULL ? NULL : json_dumps(line, JSON_COMPACT);
    if (dump != NULL && buf_room(out) > strlen(dump)) {
        buf_put_bytes(out, dump, strlen(dump));
        buf_put_u8(out, '\n');
    }
    free(dump);
    json_decref(line);
}

void
service_tell(int client, enum tunnel_service service, const char *sqlstate, const char *reason)
{
    uint8_t scratch[4096];
    struct buf out;

    if (buf_init(&out, REFUSAL_BYTES) < 0)
        return;
    service_put_error(&out, service, sqlstate, reason);
    while (recv(client, scratch, sizeof scratch, MSG_DONTWAIT) > 0)
        ; /* closing over unread bytes would take our words away */
    (void)!send(client, buf_data(&out), buf_used(&out), MSG_NOSIGNAL | MSG_DONTWAIT);
    buf_release(&out);
}
