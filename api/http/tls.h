/*
 * TLS on the S3 port: the one door to OpenSSL's SSL (digests have their own, base/digest.h).
 *
 *     tls_store_open()        certificates and keys: read, judged, told in a sentence what is wrong
 *        | tls_store_reload()    others for the connections to come; or the old ones stay
 *        v
 *     tls_open(fd) --tls_handshake() until TLS_DONE--> tls_read(), tls_write()
 *                                                      --> tls_say_end() --> tls_close()
 *
 * Nothing here waits: a call does what the socket allows and says what it waits for. OpenSSL is
 * given the socket itself and no memory in between, because that is what kTLS needs: where the
 * kernel has it, the session's keys are handed over at the handshake's end, and from then on
 * whatever is written to the socket (send, sendfile, splice) leaves encrypted. tls_kernel_sends()
 * tells; then tls_write() is not needed, and no byte is copied for TLS. Otherwise tls_write()
 * encrypts into records of OpenSSL's: a copy, and the receipt says so.
 *
 * Incoming records are always read by tls_read(), whoever decrypts them: alerts, tickets and key
 * updates are OpenSSL's business.
 *
 *   tls.c        a connection
 *   tls_store.c  certificates, and which a client gets
 *   tls_conn.c   both on the engine's ring (no OpenSSL there)
 *   tls_make.c   a certificate to try it with
 */
#ifndef API_HTTP_TLS_H
#define API_HTTP_TLS_H

#include <stdbool.h>
#include <stdint.h>

#include "base/bytes.h"
#include "base/cleanup.h"
#include "base/err.h"

/* ---- certificates: shared by all workers ---- */

/* Each costs some 100 KB of OpenSSL's, and a look at each handshake. */
#define TLS_CERTIFICATES_MAX 256u
/* What is read from the socket at once when the kernel does not decrypt: four records. */
#define TLS_READ_BUFFER_BYTES 65536u
#define TLS_HANDSHAKES_MAX    512u /* a worker's, unfinished; see tls_conn.c */
#define TLS_NAMES_BYTES       160u

struct tls_store;

struct tls_options {
    /* PEM: the certificate and those that lead to its root. NULL or "": only what `directory`
     * holds. The first is shown to clients that name no host, or one that no certificate is for. */
    const char *certificate;
    const char *key;       /* PEM; NULL or "": in the certificate's file */
    const char *directory; /* more pairs (tls_store.c says which names); NULL or "": none */
    bool only_13;          /* refuse TLS 1.2 */
    bool without_kernel;   /* no kTLS even where the kernel has it */
};

/* ERR_INVALID, ERR_NO_SUCH_FILE, ERR_DENIED, each with a sentence that says what to do. An expired
 * certificate is only warned of. */
enum err tls_store_open(const struct tls_options *options, struct tls_store **ret_store,
                        struct err_trail *trail) MUST_USE;
/* Any thread. What is wrong with the new ones leaves the old ones in use. */
enum err tls_store_reload(struct tls_store *store, const struct tls_options *options,
                          struct err_trail *trail) MUST_USE;
void tls_store_close(struct tls_store *store); /* connections may outlive it; NULL does nothing */
CLEANUP_DEFINE(tls_store_close, struct tls_store *)

struct tls_store_info {
    unsigned count;              /* certificates */
    int64_t expires_s;           /* Unix time at which the first of them expires */
    char names[TLS_NAMES_BYTES]; /* of the first: "s3.example.com *.s3.example.com", cut with "..."
                                  */
    bool has_kernel;             /* kTLS will be tried */
};
void tls_store_info(struct tls_store *store, struct tls_store_info *ret_info);
/* Whether the kernel has kTLS (its module is loaded by asking, if that is allowed). */
bool tls_kernel_is_able(void);

/* A key and a certificate for it that nobody else has signed: to try TLS, and for tests. Existing
 * files are not touched. */
struct tls_self_signed {
    const char *certificate, *key; /* files to be made */
    const char *const *names;      /* hosts and addresses */
    unsigned name_count;           /* at least 1 */
    int64_t begins_s, ends_s;      /* Unix time */
};
enum err tls_self_signed_write(const struct tls_self_signed *wanted,
                               struct err_trail *trail) MUST_USE;

/* ---- a connection: one worker's ---- */

struct tls;

enum tls_progress {
    TLS_DONE,
    TLS_WANTS_READ,  /* call again when the socket is readable */
    TLS_WANTS_WRITE, /* when it is writable */
    TLS_ENDED,       /* the other side has said all */
    TLS_FAILED,      /* broken, by them or on the way; tls_failure() knows */
};

/* X(name, label): why a handshake, or a connection after it, failed. */
#define TLS_FAILURES(X)                                                                            \
    X(NONE, "none")                                                                                \
    X(CLOSED, "closed")         /* the client hung up, or the connection broke */                  \
    X(TIMEOUT, "timeout")       /* the handshake took too long */                                  \
    X(CROWDED, "crowded")       /* too many handshakes at once: the one that hung longest */       \
    X(PLAIN_HTTP, "plain_http") /* no TLS at all */                                                \
    X(VERSION, "version")       /* no version both can: TLS 1.1 or older, or 1.2 where refused */  \
    X(CIPHER, "cipher")         /* no cipher suite or group both can */                            \
    X(PROTOCOL, "protocol")     /* HTTP/1.1 is not among what the client wants to speak (ALPN) */  \
    X(ALERT, "alert") /* the client refused us: it does not trust the certificate, say */          \
    X(KEY_UPDATE, "key_update") /* asked for keys that the kernel cannot change */                 \
    X(MALFORMED, "malformed")   /* not TLS, or wrong TLS */                                        \
    X(MEMORY, "memory")

enum tls_failure {
#define X(name, label) TLS_FAILURE_##name,
    TLS_FAILURES(X) TLS_FAILURE_COUNT
#undef X
};
const char *tls_failure_name(enum tls_failure failure);

/* fd: borrowed, connected, non-blocking. */
enum err tls_open(struct tls_store *store, int fd, struct tls **ret_tls) MUST_USE;
void tls_close(struct tls *tls); /* the socket stays open; NULL does nothing */

enum tls_progress tls_handshake(struct tls *tls) MUST_USE;
/* TLS_DONE with *ret_size > 0, at most `size`. */
enum tls_progress tls_read(struct tls *tls, void *data, size_t size, size_t *ret_size) MUST_USE;
/* Some of the bytes, from the front: TLS_DONE with *ret_size > 0. After TLS_WANTS_WRITE the same
 * bytes must come again first. */
enum tls_progress tls_write(struct tls *tls, const void *data, size_t size,
                            size_t *ret_size) MUST_USE;
/* Bytes that came are still in here: the socket may not become readable for them. */
bool tls_has_input(const struct tls *tls);
/* Tells the other side that nothing follows, if the socket takes it. */
void tls_say_end(struct tls *tls);

/* After the handshake. */
bool tls_kernel_sends(const struct tls *tls);
bool tls_kernel_receives(const struct tls *tls);
bool tls_is_resumed(const struct tls *tls);
const char *tls_version(const struct tls *tls); /* "1.3" */
const char *tls_cipher(const struct tls *tls);  /* "TLS_AES_128_GCM_SHA256" */
enum tls_failure tls_failure(const struct tls *tls);
/* Always ready for reading: a poll of it ends in the loop's next turn. */
int tls_ready_fd(const struct tls *tls);

/* ---- sending in the loop's manner: tls_conn.c ---- */

struct tls_wait {
    int fd;
    uint32_t events; /* for ring_poll() */
};
/*
 * Sends of head and body what the socket takes now, up to a turn's share. *ret_count > 0: so much
 * has left, and ret_wait ends in the next turn. 0: nothing has; when ret_wait ends try again, with
 * the same bytes, or give up if an error is returned.
 */
enum err tls_send(struct tls *tls, int fd, struct bytes head, struct bytes body,
                  uint32_t *ret_count, struct tls_wait *ret_wait) MUST_USE;

#endif
