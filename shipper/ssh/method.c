/* SPDX-License-Identifier: PostgreSQL */
/* See method.h. */
#include "ssh/method.h"

#include "base/fail.h"

#include <stdio.h>
#include <string.h>

/* None with SHA-1. The last two say what else libssh2 1.11 can: rsa-sha2, and strict key exchange. */
static const char KEX[] =
    "curve25519-sha256,curve25519-sha256@libssh.org,ecdh-sha2-nistp256,ecdh-sha2-nistp384,"
    "ecdh-sha2-nistp521,diffie-hellman-group-exchange-sha256,diffie-hellman-group16-sha512,"
    "diffie-hellman-group18-sha512,diffie-hellman-group14-sha256,ext-info-c,"
    "kex-strict-c-v00@openssh.com";

/* CTR before GCM also where both are known: libssh2 1.11 spends a third more CPU on GCM. */
static const char CIPHERS[] =
    "aes128-ctr,aes256-ctr,aes192-ctr,aes128-gcm@openssh.com,aes256-gcm@openssh.com,"
    "chacha20-poly1305@openssh.com";
static const char MACS[] = "hmac-sha2-256,hmac-sha2-512,hmac-sha2-256-etm@openssh.com,"
                           "hmac-sha2-512-etm@openssh.com";

bool
method_rsa_sha2(void)
{
    return libssh2_version(0x010b00) != NULL;
}

/* The names of the list that this libssh2 knows, in the same order. */
static void
keep_supported(LIBSSH2_SESSION *ssh, int method, const char *wanted, char *out, size_t size)
{
    const char **names = NULL;
    int count = libssh2_session_supported_algs(ssh, method, &names);
    size_t used = 0;

    out[0] = '\0';
    for (size_t n; *wanted != '\0' && used < size; wanted += n + (wanted[n] == ',')) {
        n = strcspn(wanted, ",");
        for (int i = 0; i < count; i++)
            if (strlen(names[i]) == n && strncmp(names[i], wanted, n) == 0)
                used += (size_t)snprintf(out + used, size - used, "%s%s", used > 0 ? "," : "",
                                         names[i]);
    }
    if (count > 0)
        libssh2_free(ssh, names);
}

/* libssh2 1.10 overwrites its own list when it drops an unknown name: it is given none. */
static int
prefer(LIBSSH2_SESSION *ssh, int method, const char *wanted)
{
    char names[400];

    keep_supported(ssh, method, wanted, names, sizeof names);
    return libssh2_session_method_pref(ssh, method, names);
}

int
method_offer(LIBSSH2_SESSION *ssh, const char *host_keys)
{
    if (prefer(ssh, LIBSSH2_METHOD_KEX, KEX) != 0 ||
        prefer(ssh, LIBSSH2_METHOD_HOSTKEY, host_keys) != 0 ||
        prefer(ssh, LIBSSH2_METHOD_CRYPT_CS, CIPHERS) != 0 ||
        prefer(ssh, LIBSSH2_METHOD_CRYPT_SC, CIPHERS) != 0 ||
        prefer(ssh, LIBSSH2_METHOD_MAC_CS, MACS) != 0 ||
        prefer(ssh, LIBSSH2_METHOD_MAC_SC, MACS) != 0)
        return fail(ERR_LOCAL, "this libssh2 (%s) lacks ciphers, MACs or key exchange that we need",
                    libssh2_version(0));
    return 0;
}

int
method_none_in_common(LIBSSH2_SESSION *ssh, const char *host_keys, const char *place)
{
    char ciphers[160], macs[160], kex[400], *extensions;

    keep_supported(ssh, LIBSSH2_METHOD_KEX, KEX, kex, sizeof kex);
    extensions = strstr(kex, ",ext-info-c");
    if (extensions != NULL)
        *extensions = '\0';
    keep_supported(ssh, LIBSSH2_METHOD_CRYPT_CS, CIPHERS, ciphers, sizeof ciphers);
    keep_supported(ssh, LIBSSH2_METHOD_MAC_CS, MACS, macs, sizeof macs);
    return fail(
        ERR_PEER,
        "no common algorithms with %s: libssh2 %s here offers Ciphers %s, MACs %s, HostKeyAlgorithms %s, "
        "KexAlgorithms %s: allow one of each in that host's sshd_config%s",
        place, libssh2_version(0), ciphers, macs, host_keys, kex,
        !method_rsa_sha2()
            ? ", or use libssh2 1.11 here, which also knows AES-GCM, chacha20 and -etm MACs"
            : "");
}
