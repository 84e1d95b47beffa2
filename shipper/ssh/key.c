/* SPDX-License-Identifier: PostgreSQL */
/* See key.h. */
#include "ssh/key.h"

#include "base/buf.h"
#include "base/fail.h"

#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static size_t
decode_base64(uint8_t *out, size_t size, const char *text)
{
    static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    size_t used = 0;
    uint32_t bits = 0;
    int count = 0;

    for (; *text != '\0' && used < size; text++) {
        const char *digit = strchr(digits, *text);

        if (digit == NULL) {
            if (strchr("\r\n\t ", *text) != NULL)
                continue;
            break; /* the padding, or the '-' of the last line */
        }
        bits = bits << 6 | (uint32_t)(digit - digits);
        count += 6;
        if (count >= 8) {
            count -= 8;
            out[used++] = (uint8_t)(bits >> count);
        }
    }
    return used;
}

static int
refuse_encrypted(const char *file)
{
    return fail(
        ERR_USAGE,
        "identity %s is protected by a passphrase, and nobody is there to type it: make a key without one "
        "(ssh-keygen -t ed25519 -N '' -f FILE) or take it off (ssh-keygen -p -N '' -f %s)",
        file, file);
}

/* A string behind its length, copied and terminated; "" when it does not fit. */
static void
read_field(struct reader *r, char *out, size_t size)
{
    uint32_t n = reader_u32(r);
    const uint8_t *bytes = reader_bytes(r, n);

    out[0] = '\0';
    if (bytes == NULL || n >= size)
        return;
    memcpy(out, bytes, n);
    out[n] = '\0';
}

/* OpenSSH's PROTOCOL.key: magic, cipher, kdf, kdf options, count, public half (type first), ... */
static int
check_openssh_key(struct key *k, const char *file, const char *text)
{
    static const char magic[] = "openssh-key-v1";
    uint8_t start[512];
    char cipher[32], skipped[32], type[64];
    const uint8_t *found;
    struct reader r;

    reader_init(&r, start, decode_base64(start, sizeof start, text));
    found = reader_bytes(&r, sizeof magic);
    read_field(&r, cipher, sizeof cipher);
    read_field(&r, skipped, sizeof skipped);
    read_field(&r, skipped, sizeof skipped);
    reader_u32(&r); /* the number of keys, always 1 */
    reader_u32(&r); /* the public half's length */
    read_field(&r, type, sizeof type);
    if (r.failed || memcmp(found, magic, sizeof magic) != 0)
        return fail(ERR_USAGE, "identity %s is damaged: it is no private key in OpenSSH's format",
                    file);
    if (strcmp(cipher, "none") != 0)
        return refuse_encrypted(file);
    if (strncmp(type, "sk-", 3) == 0)
        return fail(
            ERR_USAGE,
            "identity %s needs a hardware token, and nobody is there to touch it: make another key with "
            "ssh-keygen -t ed25519 -N ''",
            file);
    k->rsa = strcmp(type, "ssh-rsa") == 0;
    return 0;
}

static int
check_text(struct key *k, const char *file)
{
    static const uint8_t rsa_oid[] = {0x2a, 0x86, 0x48, 0x86, 0xf7,
                                      0x0d, 0x01, 0x01, 0x01}; /* PKCS #8 */
    static const char begin[] = "-----BEGIN ";
    const char *label = strstr(k->text, begin);
    const char *body = label != NULL ? strstr(label, "PRIVATE KEY-----") : NULL;
    uint8_t start[64];
    size_t bytes;

    if (body == NULL && (strncmp(k->text, "ssh-", 4) == 0 || strncmp(k->text, "ecdsa-", 6) == 0))
        return fail(ERR_USAGE, "identity %s is a public key: name the private one, without .pub",
                    file);
    if (body == NULL)
        return fail(ERR_USAGE,
                    "identity %s is not a private key: make one with ssh-keygen -t ed25519 -N ''",
                    file);
    label += sizeof begin - 1;
    body += strlen("PRIVATE KEY-----");
    if (strncmp(label, "OPENSSH ", 8) == 0)
        return check_openssh_key(k, file, body);
    if (strncmp(label, "ENCRYPTED ", 10) == 0 || strstr(body, "Proc-Type: 4,ENCRYPTED") != NULL)
        return refuse_encrypted(file);
    bytes = decode_base64(start, sizeof start, body);
    k->rsa =
        strncmp(label, "RSA ", 4) == 0 || memmem(start, bytes, rsa_oid, sizeof rsa_oid) != NULL;
    return 0;
}

int
key_read(struct key *k, const char *file)
{
    int fd = open(file, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    struct stat st;
    ssize_t got;

    if (fd < 0)
        return fail_file(ERR_USAGE, AT_FDCWD, file, "cannot open identity %s", file);
    if (fstat(fd, &st) < 0) {
        close(fd);
        return fail_sys(ERR_USAGE, "cannot look at identity %s", file);
    }
    got = read(fd, k->text, sizeof k->text - 1);
    close(fd);
    if (got < 0)
        return fail_sys(ERR_USAGE, "cannot read identity %s", file);
    k->bytes = (size_t)got;
    k->text[got] = '\0';
    if (st.st_uid != geteuid() && st.st_uid != 0)
        return fail(ERR_USAGE,
                    "identity %s belongs to another user (uid %u): chown it to the agent's user",
                    file, (unsigned)st.st_uid);
    if ((st.st_mode & 077) != 0)
        return fail(ERR_USAGE, "identity %s can be read by others (mode %04o): chmod 600 %s", file,
                    (unsigned)(st.st_mode & 07777), file);
    return check_text(k, file);
}

void
key_forget(struct key *k)
{
    explicit_bzero(k->text, sizeof k->text);
    k->bytes = 0;
}
