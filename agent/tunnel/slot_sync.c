/* SPDX-License-Identifier: PostgreSQL */
/* See slot_sync.h. */
#include "tunnel/slot_sync.h"

#include "base/fail.h"
#include "base/text.h"

#include <string.h>

bool
slot_sync_is(const struct config *c, const struct startup *s)
{
    /* a server takes the role's name for a database that is not named */
    const char *database = s->dbname[0] != '\0' ? s->dbname : s->user;

    return !s->replication && strcmp(s->user, c->slot_sync_user) == 0 &&
           strcmp(database, c->slot_sync_database) == 0;
}

bool
slot_sync_stays(const struct slot_sync *now)
{
    return now->role == ROLE_STANDBY && now->linked;
}

int
slot_sync_judge(const struct config *c, const struct slot_sync *now, const struct startup *s,
                const char **ret_sqlstate)
{
    char user[128], database[128];

    if (!slot_sync_is(c, s)) {
        text_escape(user, sizeof user, s->user, strlen(s->user));
        text_escape(database, sizeof database, s->dbname, strlen(s->dbname));
        *ret_sqlstate = "0A000";
        return fail(ERR_PEER,
                    "this is a relay of WAL: it serves replication, and leads to the primary only "
                    "what synchronizes logical slots: user=%s dbname=%s in primary_conninfo, not "
                    "user=%s dbname=%s",
                    c->slot_sync_user, c->slot_sync_database, user, database);
    }
    *ret_sqlstate = "57P03";
    if (now->role != ROLE_STANDBY)
        return fail(ERR_PEER, "slots are synchronized on a standby, and the role here is %s",
                    role_name(now->role));
    if (!now->linked)
        return fail(ERR_PEER, "slots are synchronized while the link from the primary is up: see "
                              "walferry status");
    *ret_sqlstate = "53300";
    if (now->open >= SLOT_SYNC_MAX)
        return fail(ERR_PEER, "%d sessions synchronize slots already", SLOT_SYNC_MAX);
    return 0;
}
