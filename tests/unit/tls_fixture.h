/*
 * TLS for tests: certificates made on the spot in a directory of the test's own, and clients of
 * OpenSSL's on the fixture's blocking sockets. Include after http_fixture.h.
 */
#ifndef TESTS_UNIT_TLS_FIXTURE_H
#define TESTS_UNIT_TLS_FIXTURE_H

#include <openssl/err.h>
#include <openssl/ssl.h>
#include <time.h>

#include "api/http/tls.h"

#define DAY_S (24 * 60 * 60)

static char tls_dir[64];

__attribute__((unused)) static const char *in_tls_dir(const char *name)
{
    static char paths[8][128];
    static unsigned next;
    char *path = paths[next++ % 8];
    snprintf(path, sizeof paths[0], "%s/%s", tls_dir, name);
    return path;
}

static int tls_dir_make(void **state)
{
    strcpy(tls_dir, "/tmp/sluice-tls-XXXXXX");
    return mkdtemp(tls_dir) ? 0 : -1;
}

static int tls_dir_remove(void **state)
{
    char command[128];
    snprintf(command, sizeof command, "rm -rf '%s'", tls_dir);
    return system(command);
}

/* NAME.crt and NAME.key for one or two hosts; valid from `begins_days` to `ends_days` from now. */
__attribute__((unused)) static void make_certificate(const char *base, const char *host,
                                                     const char *other, int begins_days,
                                                     int ends_days)
{
    char certificate[160], key[160];
    const char *const names[] = {host, other};
    struct err_trail trail = {0};
    snprintf(certificate, sizeof certificate, "%s/%s.crt", tls_dir, base);
    snprintf(key, sizeof key, "%s/%s.key", tls_dir, base);
    (void)remove(certificate);
    (void)remove(key);
    struct tls_self_signed wanted = {
        .certificate = certificate,
        .key = key,
        .names = names,
        .name_count = other ? 2 : 1,
        .begins_s = time(NULL) + begins_days * (int64_t)DAY_S,
        .ends_s = time(NULL) + ends_days * (int64_t)DAY_S,
    };
    enum err e = tls_self_signed_write(&wanted, &trail);
    if (e)
        print_error("%s\n", err_trail_text(&trail, e));
    assert_int_equal(e, ERR_OK);
}

/* ---- clients ---- */

static struct client_tls {
    int version;           /* TLS1_2_VERSION, TLS1_3_VERSION; 0: any */
    const char *host;      /* SNI; NULL: none */
    const char *protocols; /* ALPN, as on the wire; NULL: none */
    const char *trust;     /* a file of certificates; NULL: anybody is trusted */
    const char *ciphers;   /* of TLS 1.2; NULL: any */
    SSL_SESSION *session;  /* to be resumed; NULL: none */
    SSL_CTX *context;      /* owned; made when first needed, see client_tls_reset() */
} client_tls;

static void client_tls_reset(void)
{
    SSL_CTX_free(client_tls.context);
    client_tls = (struct client_tls){0};
}

static SSL *client_ssl(int fd)
{
    if (client_tls.context == NULL) {
        client_tls.context = SSL_CTX_new(TLS_client_method());
        SSL_CTX_set_mode(client_tls.context, SSL_MODE_AUTO_RETRY);
        SSL_CTX_set_options(client_tls.context, SSL_OP_IGNORE_UNEXPECTED_EOF);
        /* What is refused is refused by the server. */
        SSL_CTX_set_security_level(client_tls.context, 0);
    }
    SSL *ssl = SSL_new(client_tls.context);
    assert_non_null(ssl);
    if (client_tls.version) {
        SSL_set_min_proto_version(ssl, client_tls.version);
        SSL_set_max_proto_version(ssl, client_tls.version);
    }
    if (client_tls.host)
        SSL_set_tlsext_host_name(ssl, client_tls.host);
    if (client_tls.protocols)
        SSL_set_alpn_protos(ssl, (const unsigned char *)client_tls.protocols,
                            (unsigned)strlen(client_tls.protocols));
    if (client_tls.ciphers)
        SSL_set_cipher_list(ssl, client_tls.ciphers);
    if (client_tls.trust) {
        assert_int_equal(SSL_CTX_load_verify_locations(client_tls.context, client_tls.trust, NULL),
                         1);
        SSL_set_verify(ssl, SSL_VERIFY_PEER, NULL);
        if (client_tls.host)
            SSL_set1_host(ssl, client_tls.host);
    }
    if (client_tls.session)
        SSL_set_session(ssl, client_tls.session);
    SSL_set_fd(ssl, fd);
    return ssl;
}

/* NULL: the handshake failed; OpenSSL's errors say why. */
static SSL *client_shake(int fd)
{
    SSL *ssl = client_ssl(fd);
    int result;
    do {
        ERR_clear_error();
        errno = 0;
        result = SSL_connect(ssl);
    } while (result <= 0 && errno == EINTR);
    if (result == 1)
        return ssl;
    SSL_free(ssl);
    return NULL;
}

static void *session_open(int fd)
{
    SSL *ssl = client_shake(fd);
    if (ssl == NULL)
        ERR_print_errors_fp(stderr);
    assert_non_null(ssl);
    return ssl;
}

/* As send() and recv() would say it. */
static ssize_t session_result(SSL *ssl, int result)
{
    if (result > 0)
        return result;
    int why = SSL_get_error(ssl, result);
    return why == SSL_ERROR_ZERO_RETURN ? 0 : -1;
}

static ssize_t session_send(void *session, const void *data, size_t size)
{
    errno = 0;
    ERR_clear_error();
    return session_result(session,
                          SSL_write(session, data, (int)(size < INT32_MAX ? size : INT32_MAX)));
}

static ssize_t session_recv(void *session, void *data, size_t size)
{
    errno = 0;
    ERR_clear_error();
    return session_result(session, SSL_read(session, data, (int)size));
}

static void session_close(void *session)
{
    ERR_clear_error();
    /* Without a word to the other side; but a session that did not end so would not be resumed. */
    SSL_set_shutdown(session, SSL_SENT_SHUTDOWN | SSL_RECEIVED_SHUTDOWN);
    SSL_free(session);
}

/* Clients of the fixture speak TLS from now on, or plain HTTP again. */
__attribute__((unused)) static void clients_speak_tls(void)
{
    client_sessions.open = session_open;
    client_sessions.send = session_send;
    client_sessions.recv = session_recv;
    client_sessions.close = session_close;
}

__attribute__((unused)) static void clients_speak_plainly(void)
{
    client_sessions.open = NULL;
    client_tls_reset();
}

__attribute__((unused)) static struct tls_store *store_open(const char *base)
{
    char certificate[160], key[160];
    struct tls_store *store = NULL;
    struct err_trail trail = {0};
    snprintf(certificate, sizeof certificate, "%s/%s.crt", tls_dir, base);
    snprintf(key, sizeof key, "%s/%s.key", tls_dir, base);
    enum err e = tls_store_open(&(struct tls_options){.certificate = certificate, .key = key},
                                &store, &trail);
    if (e)
        print_error("%s\n", err_trail_text(&trail, e));
    assert_int_equal(e, ERR_OK);
    return store;
}

#endif
