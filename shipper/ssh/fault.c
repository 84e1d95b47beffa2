/* SPDX-License-Identifier: PostgreSQL */
/* See fault.h. */
#include "ssh/fault.h"

#include "base/fail.h"
#include "base/text.h"
#include "ssh/method.h"
#include "ssh/session.h"

#include <errno.h>
#include <string.h>

static const char *
step_name(enum lane_state state)
{
    switch (state) {
    case LANE_DOWN:
        break;
    case LANE_RESOLVING:
        return "looking up its name";
    case LANE_CONNECTING:
        return "connecting";
    case LANE_HANDSHAKE:
        return "the SSH handshake";
    case LANE_AUTHENTICATING:
        return "authentication";
    case LANE_STARTING:
        return "starting the command";
    case LANE_UP:
        return "shipping";
    }
    return "being down";
}

static bool
socket_gone(int error)
{
    return error == LIBSSH2_ERROR_SOCKET_RECV || error == LIBSSH2_ERROR_SOCKET_SEND ||
           error == LIBSSH2_ERROR_SOCKET_DISCONNECT;
}

int
fault_ssh(struct lane *l, int error)
{
    struct lane_session *s = l->session;
    char shown[200], *text = NULL;
    int length = 0;

    if (error == LIBSSH2_ERROR_ALLOC)
        return fail(ERR_LOCAL, "out of memory during %s with %s", step_name(l->state), s->place);
    if (socket_gone(error) && l->state == LANE_UP)
        return fail(ERR_PEER, "the connection to %s was lost: %s", s->place,
                    s->complaint_bytes > 0
                        ? text_escape(shown, sizeof shown, s->complaint, s->complaint_bytes)
                        : "its sshd or the line has ended it");
    if (socket_gone(error))
        return fail(
            ERR_PEER,
            "%s closed the connection during %s: the log of its sshd says why (often MaxStartups, "
            "AllowUsers, a firewall, or no SSH server on this port)",
            s->place, step_name(l->state));
    libssh2_session_last_error(s->ssh, &text, &length, 0);
    return fail(ERR_PEER, "SSH to %s failed during %s: %s (libssh2 error %d)", s->place,
                step_name(l->state),
                text_escape(shown, sizeof shown, text, text == NULL ? 0 : (size_t)length), error);
}

int
fault_timeout(const struct lane *l)
{
    const char *place = l->session->place;

    switch (l->state) {
    case LANE_RESOLVING:
        return fail(
            ERR_PEER,
            "the name %s was not resolved within 5 s: look at the resolver, or use a numeric address",
            l->target->host);
    case LANE_CONNECTING:
        return fail(
            ERR_PEER,
            "no answer from %s within 5 s: the host or the line is down, or a firewall drops packets",
            place);
    case LANE_HANDSHAKE:
        return fail(ERR_PEER,
                    "%s takes connections but does not answer as an SSH server within 5 s", place);
    case LANE_DOWN:
    case LANE_AUTHENTICATING:
    case LANE_STARTING:
    case LANE_UP:
        break;
    }
    return fail(ERR_PEER, "%s did not finish %s within 5 s", place, step_name(l->state));
}

int
fault_connect(const char *place, int error)
{
    errno = error;
    if (error == ECONNREFUSED)
        return fail(ERR_PEER,
                    "%s refuses connections: no sshd listens there, or a firewall answers for it",
                    place);
    return fail_sys(ERR_PEER, "cannot connect to %s", place);
}

/*
 * Up to OpenSSH 9.7 a line of its own names MaxStartups. Since 9.8 there is one line for that and
 * for PerSourcePenalties, which follow at once on a refused key: then the key stays the reason.
 */
int
fault_turned_away(struct lane *l)
{
    struct lane_session *s = l->session;
    const char *line = libssh2_session_banner_get(s->ssh);

    if (line == NULL)
        return 0;
    if (strncmp(line, "Exceeded MaxStartups", 20) == 0)
        return fail(ERR_PEER,
                    "%s turns us away: more connections log in to its sshd at once than its "
                    "MaxStartups allows",
                    s->place);
    if (strncmp(line, "Not allowed at this time", 24) != 0)
        return 0;
    s->turned_away = true;
    if (s->key_refused)
        return fault_key_refused(l);
    return fail(
        ERR_PEER,
        "%s turns us away for a while: failed logins from here (PerSourcePenalties), or too "
        "many at once (MaxStartups); the log of its sshd says which",
        s->place);
}

int
fault_key_refused(struct lane *l)
{
    const struct lane_target *t = l->target;
    const char *penalty = l->session->turned_away
                              ? "; for a while after each try its sshd turns us away unheard "
                                "(PerSourcePenalties)"
                              : "";

    l->session->key_refused = true;
    if (l->session->key.rsa && !method_rsa_sha2())
        return fail(
            ERR_PEER,
            "the server at %s does not accept the RSA key %s for user %s: libssh2 %s here signs RSA keys with "
            "SHA-1 only, which OpenSSH 8.8 and later refuse: use an ed25519 or ecdsa key "
            "(ssh-keygen -t ed25519 -N ''), or libssh2 1.11%s",
            l->session->place, t->identity, t->user, libssh2_version(0), penalty);
    return fail(
        ERR_PEER,
        "the server at %s does not accept key %s for user %s: put its public half into that user's "
        "authorized_keys%s",
        l->session->place, t->identity, t->user, penalty);
}
