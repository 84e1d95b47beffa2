/* SPDX-License-Identifier: PostgreSQL */
/* See admission.h. */
#include "tunnel/admission.h"

#include "tunnel/slot_sync.h"

#include "base/fail.h"
#include "base/text.h"

#include <string.h>
#include <strings.h>

/* Of any member: they are copies of one database. */
static bool
is_agents_role(const struct config *c, const char *user)
{
    char role[ROLE_NAME_SIZE];

    for (size_t i = 0; i < c->members; i++) {
        config_role(role, &c->member[i]);
        if (strcmp(user, role) == 0)
            return true;
    }
    return false;
}

/* synchronous_standby_names knows a link by this name: another one would be taken for it. */
static bool
is_links_name(const struct config *c, const char *application_name)
{
    char slot[SLOT_NAME_SIZE];

    for (size_t i = 0; i < c->members; i++) {
        config_slot_name(slot, c->member[i].name);
        if (strcasecmp(application_name, slot) == 0 ||
            strcasecmp(application_name, c->member[i].name) == 0)
            return true;
    }
    return false;
}

/* Who asks, by the start-up packet alone. */
static int
check_startup(const struct who *w, const struct startup *s)
{
    char shown[128], role[ROLE_NAME_SIZE];

    text_escape(shown, sizeof shown, s->user, strlen(s->user));
    config_role(role, w->self);
    if (s->renames || is_links_name(w->config, s->application_name))
        return fail(ERR_PEER, "application_name is that of a member, or set in options: commits "
                              "might wait for this client; choose another one");
    if (s->database)
        return fail(ERR_PEER, "replication through the tunnel is physical: replication=true");
    if (s->replication && !is_agents_role(w->config, s->user))
        return fail(ERR_PEER,
                    "the tunnel leads to replication for the role %s only, not for %s: user=%s",
                    role, shown, role);
    if (!s->replication && strcmp(s->user, w->config->tunnel_user) != 0 &&
        !slot_sync_is(w->config, s))
        return fail(ERR_PEER,
                    "the tunnel leads to PostgreSQL for the role %s only, not for %s: user=%s",
                    w->config->tunnel_user, shown, w->config->tunnel_user);
    return 0;
}

/* What PostgreSQL says of that role (POSTGRES_ROLE). */
static int
check_powers(const struct who *w, const struct startup *s, const char *answer)
{
    static const char *const what[] = {[POWER_MAKES_ROLES] = "makes roles",
                                       [POWER_PROGRAMS] = "runs programs or writes files there",
                                       [POWER_SUPERUSER] = "is a superuser"};
    const char *host = w->self->name, *holder = answer[0] != '\0' ? answer + 2 : "";
    unsigned power = answer[0] != '\0' ? (unsigned)(answer[1] - '0') : POWER_NONE;

    if (answer[0] == '\0')
        return fail(ERR_PEER, "there is no role %s; as superuser on %s: CREATE ROLE %s LOGIN",
                    s->user, host, s->user);
    if (power != POWER_NONE && power <= POWER_SUPERUSER && strcmp(holder, s->user) == 0)
        return fail(ERR_PEER,
                    "the role %s %s, and no such role passes a tunnel; as superuser on %s: ALTER "
                    "ROLE %s %s, or name another role in the pool's file",
                    s->user, what[power], host, s->user,
                    power == POWER_SUPERUSER ? "NOSUPERUSER" : "NOCREATEROLE");
    if (power != POWER_NONE && power <= POWER_SUPERUSER)
        return fail(ERR_PEER,
                    "the role %s is a member of %s, which %s, and no such role passes a tunnel; as "
                    "superuser on %s: REVOKE the membership that leads there",
                    s->user, holder, what[power], host);
    if (!s->replication && answer[0] == '1')
        return fail(ERR_PEER,
                    "the role %s may replicate: with SQL it could make and drop slots; copies go "
                    "as the agents' role; as superuser on %s: ALTER ROLE %s NOREPLICATION",
                    s->user, host, s->user);
    return 0;
}

int
admission_judge(struct admission *a, const void *asker, const struct startup *s,
                const char **ret_sqlstate)
{
    struct postgres *postgres = a->who->postgres;
    const char *host = a->who->self->name, *error;
    int code;

    *ret_sqlstate = "28000";
    if (check_startup(a->who, s) < 0)
        return ERR_PEER;
    if (postgres_state(postgres) != POSTGRES_UP) {
        *ret_sqlstate = "57P03";
        return fail(ERR_PEER, "PostgreSQL of %s is away: %s", host, postgres_reason(postgres));
    }
    if (a->asking == NULL && postgres_ask(postgres, POSTGRES_ROLE, s->user))
        a->asking = asker;
    if (a->asking != asker || !postgres_done(postgres, &error))
        return 0;
    a->asking = NULL;
    code = error != NULL ? fail(ERR_PEER, "PostgreSQL of %s does not tell about the role %s: %s",
                                host, s->user, error)
                         : check_powers(a->who, s, postgres_answer(postgres));
    return code < 0 ? code : 1;
}

void
admission_forget(struct admission *a, const void *asker)
{
    if (a->asking == asker)
        a->asking = NULL;
}
