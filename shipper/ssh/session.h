/* session: what the files of this folder share: the inside of a lane. */
#ifndef SSH_SESSION_H
#define SSH_SESSION_H

#include "shipper/ssh/lane.h"

#include "base/fail.h"
#include "base/worker.h"

#include <libssh2.h>
#include <netdb.h>

#define PIECE_BYTES      32700 /* libssh2's largest channel packet */
#define WINDOW_BYTES     (2u << 20)
#define PACKET_BYTES     32768
#define IDENTITY_MAX     16384
#define COMPLAINT_BYTES  512
#define EXIT_STATUS_US   SECOND_US /* how long after the output's end the exit status may take */
#define FINGERPRINT_SIZE 64
#define SHA256_BYTES     32
#define RSA_SHA2_VERSION 0x010b00 /* the first libssh2 that signs with rsa-sha2 */

extern const char CIPHERS[], MACS[];
struct host_key_type;

/* The worker's job: it touches nothing else, so that it can outlive the attempt that asked. */
struct lookup {
    char host[256];
    char port[8];
    struct addrinfo *found;
    int error; /* getaddrinfo's */
};

enum half_sent { HALF_SENT_NOTHING, HALF_SENT_READ, HALF_SENT_WRITE };

struct lane_session {
    char place[272]; /* host:port */
    int64_t now_us;  /* of the last lane_open or lane_run */

    struct worker worker;
    struct lookup lookup;
    struct addrinfo *addresses, *address; /* owned; the one we try */
    int64_t address_due_us;
    int fd;
    uint64_t acked;

    LIBSSH2_SESSION *ssh;
    LIBSSH2_CHANNEL *channel;
    unsigned host_keys_refused; /* bits, by HOST_KEY_TYPES' place */
    char refusal[FAIL_MESSAGE_MAX];

    char identity[IDENTITY_MAX];
    size_t identity_bytes;
    bool identity_rsa;

    enum half_sent half_sent;
    bool blocked;    /* no write until something comes in */
    bool more;       /* libssh2 may hold input that poll does not see */
    int64_t read_us; /* when input was last looked for */
    bool ended;      /* all output was read; the exit status is due by end_due_us */
    int64_t end_due_us;
    size_t piece_bytes;
    uint8_t piece[PIECE_BYTES];
    char complaint[COMPLAINT_BYTES]; /* stderr */
    size_t complaint_bytes;
};

int read_identity(struct lane_session *s, const char *file);
void forget_identity(struct lane_session *s);
void join_offers(const struct lane_session *s, char *out, size_t size);
int check_host_key(struct lane *l);
void keep_supported(LIBSSH2_SESSION *ssh, int method, const char *wanted, char *out, size_t size);
int prefer(LIBSSH2_SESSION *ssh, int method, const char *wanted);
int ssh_failed(struct lane *l, int error);
int timed_out(const struct lane *l);
int connect_failed(const struct lane_session *s, int error);
int no_common_algorithm(struct lane_session *s);
int key_refused(const struct lane *l);
void lane_set_state(struct lane *l, enum lane_state state);
void hang_up(struct lane *l);
int begin_lookup(struct lane *l);
int try_other_host_keys(struct lane *l, size_t type);
int climb(struct lane *l);

#endif
