#include "api/http/tls.h"

#include <errno.h>
#include <openssl/err.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include "api/http/tls_priv.h"
#include "base/check.h"

/* A client that asks for more keys than this wants our CPU, not security. */
#define KEY_UPDATES_MAX 64u

struct tls {
    SSL *ssl;                          /* owned */
    struct tls_generation *generation; /* shared, refcounted */
    int fd, ready_fd;                  /* borrowed */
    bool is_seen;                      /* the first byte was looked at */
    bool is_up;                        /* the handshake is over */
    bool kernel_sends, kernel_receives;
    bool must_end;     /* keys were changed that the kernel goes on using */
    bool refused_alpn; /* the client wants none of our protocols */
    unsigned key_updates;
    enum tls_failure failure;
};

const char *tls_failure_name(enum tls_failure failure)
{
    static const char *const names[TLS_FAILURE_COUNT] = {
#define X(name, label) [TLS_FAILURE_##name] = label,
        TLS_FAILURES(X)
#undef X
    };
    return names[failure];
}

/* ---- callbacks from inside OpenSSL ---- */

/* RFC 7301. A client that names protocols and not ours is told so; one that names none is fine. */
int tls__choose_protocol(SSL *ssl, const unsigned char **out, unsigned char *out_size,
                         const unsigned char *in, unsigned in_size, void *context)
{
    static const char *const ours[] = {"http/1.1", "http/1.0"};
    for (size_t i = 0; i < sizeof ours / sizeof ours[0]; i++)
        for (unsigned at = 0; at < in_size; at += 1 + in[at]) {
            if (in[at] != strlen(ours[i]) || in[at] > in_size - at - 1 ||
                memcmp(in + at + 1, ours[i], in[at]) != 0)
                continue;
            *out = in + at + 1;
            *out_size = in[at];
            return SSL_TLSEXT_ERR_OK;
        }
    struct tls *tls = SSL_get_app_data(ssl);
    tls->refused_alpn = true;
    return SSL_TLSEXT_ERR_ALERT_FATAL;
}

/*
 * KeyUpdate (RFC 8446, 4.6.3): OpenSSL changes its keys, the kernel would go on with the ones it
 * was given (until Linux 6.14, and no OpenSSL of Debian's tells it). What follows would be garbage
 * to the client, so the connection has to end there. Clients send it after terabytes, if at all.
 */
void tls__message_seen(int was_written, int version, int content_type, const void *data,
                       size_t size, SSL *ssl, void *context)
{
    const unsigned char *message = data;
    struct tls *tls = SSL_get_app_data(ssl);
    if (tls == NULL || was_written || content_type != SSL3_RT_HANDSHAKE || size < 5 ||
        message[0] != SSL3_MT_KEY_UPDATE)
        return;
    bool asks_for_ours = message[4] == SSL_KEY_UPDATE_REQUESTED;
    if (tls->kernel_receives || (tls->kernel_sends && asks_for_ours) ||
        ++tls->key_updates > KEY_UPDATES_MAX)
        tls->must_end = true;
}

/* ---- results ---- */

static enum tls_failure failure_of(const struct tls *tls)
{
    unsigned long code = ERR_peek_error();
    int reason = ERR_GET_REASON(code);
    if (tls->refused_alpn)
        return TLS_FAILURE_PROTOCOL;
    if (code == 0 || ERR_GET_LIB(code) == ERR_LIB_SYS)
        return TLS_FAILURE_CLOSED;
    if (reason == ERR_R_MALLOC_FAILURE)
        return TLS_FAILURE_MEMORY;
    if (reason > SSL_AD_REASON_OFFSET && reason < SSL_AD_REASON_OFFSET + 256)
        return TLS_FAILURE_ALERT;
    switch (reason) {
    case SSL_R_UNEXPECTED_EOF_WHILE_READING:
        return TLS_FAILURE_CLOSED;
    case SSL_R_UNSUPPORTED_PROTOCOL:
    case SSL_R_VERSION_TOO_LOW:
    case SSL_R_UNKNOWN_PROTOCOL:
        return TLS_FAILURE_VERSION;
    case SSL_R_NO_SHARED_CIPHER:
    case SSL_R_NO_SUITABLE_KEY_SHARE:
    case SSL_R_NO_SHARED_GROUPS:
    case SSL_R_NO_SUITABLE_SIGNATURE_ALGORITHM:
    case SSL_R_NO_SHARED_SIGNATURE_ALGORITHMS:
        return TLS_FAILURE_CIPHER;
    default:
        return TLS_FAILURE_MALFORMED;
    }
}

static enum tls_progress failed(struct tls *tls, enum tls_failure failure)
{
    tls->failure = failure;
    ERR_clear_error();
    return TLS_FAILED;
}

/* What a call that returned `result` has come to. errno must be its. */
static enum tls_progress progress(struct tls *tls, int result)
{
    if (tls->must_end)
        return failed(tls, TLS_FAILURE_KEY_UPDATE);
    if (result > 0)
        return TLS_DONE;
    switch (SSL_get_error(tls->ssl, result)) {
    case SSL_ERROR_WANT_READ:
        return TLS_WANTS_READ;
    case SSL_ERROR_WANT_WRITE:
        return TLS_WANTS_WRITE;
    case SSL_ERROR_ZERO_RETURN:
        return TLS_ENDED;
    default:
        return failed(tls, failure_of(tls));
    }
}

/* ---- a connection's life ---- */

enum err tls_open(struct tls_store *store, int fd, struct tls **ret_tls)
{
    struct tls *tls = calloc(1, sizeof *tls);
    if (tls == NULL)
        return ERR_NO_MEMORY;
    ERR_clear_error();
    tls->generation = tls__generation_get(store);
    tls->fd = fd;
    tls->ready_fd = tls__store_ready_fd(store);
    tls->ssl = SSL_new(tls__generation_context(tls->generation));
    if (tls->ssl == NULL || SSL_set_app_data(tls->ssl, tls) != 1 || SSL_set_fd(tls->ssl, fd) != 1) {
        ERR_clear_error();
        tls_close(tls);
        return ERR_NO_MEMORY;
    }
    SSL_set_accept_state(tls->ssl);
    *ret_tls = tls;
    return ERR_OK;
}

void tls_close(struct tls *tls)
{
    if (tls == NULL)
        return;
    SSL_free(tls->ssl); /* its BIO was told to leave the socket alone: SSL_set_fd() */
    tls__generation_put(tls->generation);
    free(tls);
}

/* Somebody speaks HTTP where TLS is expected: a frequent mistake, worth an answer they can read. */
static enum tls_progress look_at_first_byte(struct tls *tls)
{
    char first;
    ssize_t got = recv(tls->fd, &first, 1, MSG_PEEK | MSG_DONTWAIT);
    if (got < 0 && (errno == EAGAIN || errno == EINTR))
        return TLS_WANTS_READ;
    if (got <= 0)
        return failed(tls, TLS_FAILURE_CLOSED);
    tls->is_seen = true;
    bool is_http = first >= 'A' && first <= 'Z';
    return is_http ? failed(tls, TLS_FAILURE_PLAIN_HTTP) : TLS_DONE;
}

enum tls_progress tls_handshake(struct tls *tls)
{
    CHECK(!tls->is_up);
    if (!tls->is_seen) {
        enum tls_progress seen = look_at_first_byte(tls);
        if (seen != TLS_DONE)
            return seen;
    }
    ERR_clear_error();
    enum tls_progress now = progress(tls, SSL_do_handshake(tls->ssl));
    if (now == TLS_ENDED)
        return failed(tls, TLS_FAILURE_CLOSED);
    if (now != TLS_DONE)
        return now;
    tls->is_up = true;
#ifndef OPENSSL_NO_KTLS
    tls->kernel_sends = BIO_get_ktls_send(SSL_get_wbio(tls->ssl));
    tls->kernel_receives = BIO_get_ktls_recv(SSL_get_rbio(tls->ssl));
#endif
    return TLS_DONE;
}

enum tls_progress tls_read(struct tls *tls, void *data, size_t size, size_t *ret_size)
{
    CHECK(tls->is_up && size > 0);
    if (tls->failure)
        return TLS_FAILED;
    ERR_clear_error();
    return progress(tls, SSL_read_ex(tls->ssl, data, size, ret_size));
}

enum tls_progress tls_write(struct tls *tls, const void *data, size_t size, size_t *ret_size)
{
    CHECK(tls->is_up && size > 0);
    if (tls->failure)
        return TLS_FAILED;
    ERR_clear_error();
    return progress(tls, SSL_write_ex(tls->ssl, data, size, ret_size));
}

bool tls_has_input(const struct tls *tls)
{
    return SSL_has_pending(tls->ssl);
}

void tls_say_end(struct tls *tls)
{
    if (!tls->is_up || tls->failure)
        return;
    ERR_clear_error();
    (void)SSL_shutdown(tls->ssl); /* a courtesy: who does not get it sees the connection end */
    ERR_clear_error();
}

/* ---- what became of it ---- */

bool tls_kernel_sends(const struct tls *tls)
{
    return tls->kernel_sends;
}

bool tls_kernel_receives(const struct tls *tls)
{
    return tls->kernel_receives;
}

bool tls_is_resumed(const struct tls *tls)
{
    return SSL_session_reused(tls->ssl);
}

const char *tls_version(const struct tls *tls)
{
    return SSL_version(tls->ssl) == TLS1_3_VERSION ? "1.3" : "1.2";
}

const char *tls_cipher(const struct tls *tls)
{
    return SSL_get_cipher_name(tls->ssl);
}

enum tls_failure tls_failure(const struct tls *tls)
{
    return tls->failure;
}

int tls_ready_fd(const struct tls *tls)
{
    return tls->ready_fd;
}
