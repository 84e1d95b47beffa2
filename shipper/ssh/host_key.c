/* SPDX-License-Identifier: PostgreSQL */
/* See host_key.h. */
#include "ssh/host_key.h"

#include "base/fail.h"
#include "ssh/method.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define FINGERPRINT_SIZE 64
#define SHA256_BYTES     32

static const struct host_key_type {
    int type;
    const char *name;   /* as in a key file */
    const char *offers; /* as negotiated */
} HOST_KEY_TYPES[] = {
    {LIBSSH2_HOSTKEY_TYPE_ED25519, "ssh-ed25519", "ssh-ed25519"},
    {LIBSSH2_HOSTKEY_TYPE_ECDSA_256, "ecdsa-sha2-nistp256", "ecdsa-sha2-nistp256"},
    {LIBSSH2_HOSTKEY_TYPE_ECDSA_384, "ecdsa-sha2-nistp384", "ecdsa-sha2-nistp384"},
    {LIBSSH2_HOSTKEY_TYPE_ECDSA_521, "ecdsa-sha2-nistp521", "ecdsa-sha2-nistp521"},
    {LIBSSH2_HOSTKEY_TYPE_RSA, "ssh-rsa", "rsa-sha2-512,rsa-sha2-256"},
};
#define HOST_KEY_TYPES_COUNT (sizeof HOST_KEY_TYPES / sizeof *HOST_KEY_TYPES)

/* Without padding, as ssh-keygen -l prints it. */
static void
encode_base64(char *out, const uint8_t *bytes, size_t n)
{
    static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    uint32_t bits = 0;
    int count = 0;

    for (size_t i = 0; i < n; i++) {
        bits = bits << 8 | bytes[i];
        for (count += 8; count >= 6; count -= 6)
            *out++ = digits[bits >> (count - 6) & 63];
    }
    if (count > 0)
        *out++ = digits[bits << (6 - count) & 63];
    *out = '\0';
}

void
host_keys_begin(struct host_keys *h)
{
    if (h->refusal[0] != '\0') /* the last attempt failed: what it learned may be outdated */
        h->refused = 0;
    h->refusal[0] = '\0';
}

void
host_keys_offer(const struct host_keys *h, char out[HOST_KEY_OFFERS_SIZE])
{
    size_t used = 0, size = HOST_KEY_OFFERS_SIZE;

    out[0] = '\0';
    for (size_t i = 0; i < HOST_KEY_TYPES_COUNT; i++) {
        const struct host_key_type *t = &HOST_KEY_TYPES[i];

        if ((h->refused & 1u << i) != 0 ||
            (t->type == LIBSSH2_HOSTKEY_TYPE_RSA && !method_rsa_sha2()))
            continue;
        used += (size_t)snprintf(out + used, size - used, "%s%s", used > 0 ? "," : "", t->offers);
    }
}

static void
fingerprint(LIBSSH2_SESSION *ssh, char out[FINGERPRINT_SIZE])
{
    const char *hash = libssh2_hostkey_hash(ssh, LIBSSH2_HOSTKEY_HASH_SHA256);

    snprintf(out, FINGERPRINT_SIZE, "SHA256:");
    if (hash != NULL)
        encode_base64(out + strlen(out), (const uint8_t *)hash, SHA256_BYTES);
}

static bool
same_fingerprint(const char *pinned, const char *shown)
{
    size_t n = strlen(pinned);

    while (n > 0 && pinned[n - 1] == '=')
        n--;
    return n == strlen(shown) && strncmp(pinned, shown, n) == 0;
}

/* Line by line: for one unknown line libssh2 would give up the whole file. */
static int
load_known_hosts(LIBSSH2_KNOWNHOSTS *hosts, const char *name)
{
    FILE *file = fopen(name, "re");
    char *line = NULL;
    size_t size = 0;
    ssize_t n;
    int code = 0;

    if (file == NULL)
        return fail_sys(ERR_USAGE, "cannot open known_hosts %s", name);
    while (code == 0 && (n = getline(&line, &size, file)) > 0) {
        if (strncmp(line, "@revoked", 8) == 0)
            code = fail(
                ERR_USAGE,
                "known_hosts %s has an @revoked line, which is not understood here: pin the key with host_key",
                name);
        else if (line[0] != '@')
            libssh2_knownhost_readline(hosts, line, (size_t)n, LIBSSH2_KNOWNHOST_FILE_OPENSSH);
    }
    free(line);
    fclose(file);
    return code;
}

/* *ret_found: libssh2's LIBSSH2_KNOWNHOST_CHECK_*. */
static int
check_known_hosts(LIBSSH2_SESSION *ssh, const struct lane_target *t, const char *key,
                  size_t key_bytes, int *ret_found)
{
    LIBSSH2_KNOWNHOSTS *hosts = libssh2_knownhost_init(ssh);
    int code;

    if (hosts == NULL)
        return fail(ERR_LOCAL, "out of memory for known_hosts");
    code = load_known_hosts(hosts, t->known_hosts);
    if (code == 0)
        *ret_found = libssh2_knownhost_checkp(
            hosts, t->host, atoi(t->port), key, key_bytes,
            LIBSSH2_KNOWNHOST_TYPE_PLAIN | LIBSSH2_KNOWNHOST_KEYENC_RAW, NULL);
    libssh2_knownhost_free(hosts);
    return code;
}

/* `known`: known_hosts has another key of the host. */
static int
refused(const struct lane_target *t, const char *place, const struct host_key_type *type,
        const char *shown, bool known)
{
    char entry[280];

    snprintf(entry, sizeof entry, strcmp(t->port, "22") == 0 ? "%s" : "[%s]:%s", t->host, t->port);
    if (t->known_hosts[0] == '\0')
        return fail(
            ERR_PEER,
            "%s shows another host key than the pinned one: host_key is %s, it shows %s (%s); if the host was "
            "reinstalled, put the new fingerprint into host_key, if not, somebody may stand between",
            place, t->host_key, shown, type->name);
    if (known)
        return fail(
            ERR_PEER,
            "%s shows another host key than known_hosts %s has for it: it shows %s (%s), the file's is seen "
            "with ssh-keygen -lF '%s' -f %s; if the host was reinstalled, replace it there, if not, "
            "somebody may stand between",
            place, t->known_hosts, shown, type->name, entry, t->known_hosts);
    return fail(
        ERR_PEER,
        "%s is not in known_hosts %s: it shows %s (%s); compare that on the host itself (ssh-keygen -lf "
        "/etc/ssh/ssh_host_*_key.pub) and then add it: ssh-keyscan -p %s %s >> %s",
        place, t->known_hosts, shown, type->name, t->port, t->host, t->known_hosts);
}

int
host_keys_check(struct host_keys *h, LIBSSH2_SESSION *ssh, const struct lane_target *t,
                const char *place)
{
    char shown[FINGERPRINT_SIZE];
    size_t key_bytes = 0, i = 0;
    int type = LIBSSH2_HOSTKEY_TYPE_UNKNOWN, found = LIBSSH2_KNOWNHOST_CHECK_NOTFOUND;
    const char *key = libssh2_session_hostkey(ssh, &key_bytes, &type);

    while (i < HOST_KEY_TYPES_COUNT && HOST_KEY_TYPES[i].type != type)
        i++;
    if (key == NULL || i == HOST_KEY_TYPES_COUNT)
        return fail(ERR_PEER, "%s shows a host key of a type we did not offer", place);
    fingerprint(ssh, shown);
    if (t->known_hosts[0] != '\0') {
        int code = check_known_hosts(ssh, t, key, key_bytes, &found);

        if (code < 0)
            return code;
        if (found == LIBSSH2_KNOWNHOST_CHECK_MATCH)
            return 0;
    } else if (same_fingerprint(t->host_key, shown)) {
        return 0;
    }
    refused(t, place, &HOST_KEY_TYPES[i], shown, found == LIBSSH2_KNOWNHOST_CHECK_MISMATCH);
    if (h->refusal[0] == '\0')
        snprintf(h->refusal, sizeof h->refusal, "%s", fail_message());
    h->refused |= 1u << i;
    return 1;
}
