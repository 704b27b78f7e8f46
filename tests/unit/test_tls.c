#include "tests/unit/tls_server_fixture.h"

/*
 * TLS on the S3 port: handshakes in every form, and what the connections that are through must not
 * notice of them. That requests and bodies work over it is the business of the tests of
 * engine_fixture.h, which run by TLS, too.
 */

/* ---- handshakes ---- */

static void versions_and_ciphers_are_those_of_today(void **state)
{
    struct tls_test *t = *state;
    static const struct {
        int version;
        const char *ciphers;
        enum tls_failure failure; /* NONE: it works */
    } rows[] = {
        {TLS1_3_VERSION, NULL, TLS_FAILURE_NONE},
        {TLS1_2_VERSION, NULL, TLS_FAILURE_NONE},
        {TLS1_2_VERSION, "ECDHE-ECDSA-AES256-GCM-SHA384", TLS_FAILURE_NONE},
        {TLS1_2_VERSION, "ECDHE-ECDSA-CHACHA20-POLY1305", TLS_FAILURE_NONE},
        {TLS1_2_VERSION, "ECDHE-ECDSA-AES128-SHA256", TLS_FAILURE_CIPHER}, /* CBC */
        {TLS1_2_VERSION, "AES128-GCM-SHA256", TLS_FAILURE_CIPHER},         /* no forward secrecy */
        {TLS1_1_VERSION, NULL, TLS_FAILURE_VERSION},
        {TLS1_VERSION, NULL, TLS_FAILURE_VERSION},
    };
    for (size_t i = 0; i < COUNT_OF(rows); i++) {
        int64_t before = failures(rows[i].failure ? rows[i].failure : TLS_FAILURE_CIPHER);
        client_tls.version = rows[i].version;
        client_tls.ciphers = rows[i].ciphers;
        int fd = client_connect(&t->f);
        SSL *ssl = client_shake(fd);
        assert_int_equal(ssl != NULL, rows[i].failure == TLS_FAILURE_NONE);
        SSL_free(ssl);
        close(fd);
        if (rows[i].failure)
            assert_true(failed_since(rows[i].failure, before, 1));
    }
}

static void tls_12_can_be_refused(void **state)
{
    struct tls_test *t = *state;
    struct tls_options options = {
        .certificate = in_tls_dir("host.crt"), .key = in_tls_dir("host.key"), .only_13 = true};
    assert_int_equal(tls_store_reload(t->store, &options, NULL), ERR_OK);
    for (int version = TLS1_2_VERSION; version <= TLS1_3_VERSION; version++) {
        client_tls.version = version;
        int fd = client_connect(&t->f);
        SSL *ssl = client_shake(fd);
        assert_int_equal(ssl != NULL, version == TLS1_3_VERSION);
        SSL_free(ssl);
        close(fd);
    }
}

static void the_protocol_is_http_11(void **state)
{
    struct tls_test *t = *state;
    static const struct {
        const char *offered, *chosen; /* NULL: refused */
    } rows[] = {
        {"\x02h2\x08http/1.1", "http/1.1"},
        {"\x08http/1.1", "http/1.1"},
        {"\x08http/1.0", "http/1.0"},
        {"\x02h2", NULL},
        {"\x08http/1.2", NULL},
        {NULL, ""},
    };
    for (size_t i = 0; i < COUNT_OF(rows); i++) {
        int64_t before = failures(TLS_FAILURE_PROTOCOL);
        const unsigned char *chosen = NULL;
        unsigned size = 0;
        client_tls.protocols = rows[i].offered;
        int fd = client_connect(&t->f);
        SSL *ssl = client_shake(fd);
        assert_int_equal(ssl != NULL, rows[i].chosen != NULL);
        if (ssl) {
            SSL_get0_alpn_selected(ssl, &chosen, &size);
            assert_int_equal(size, strlen(rows[i].chosen));
            assert_memory_equal(chosen ? chosen : (void *)"", rows[i].chosen, size);
        }
        SSL_free(ssl);
        close(fd);
        if (!rows[i].chosen)
            assert_true(failed_since(TLS_FAILURE_PROTOCOL, before, 1));
    }
}

static int keep_session(SSL *ssl, SSL_SESSION *session)
{
    SSL_SESSION_free(client_tls.session);
    client_tls.session = session;
    return 1;
}

static void sessions_are_resumed(void **state)
{
    struct tls_test *t = *state;
    for (int version = TLS1_2_VERSION; version <= TLS1_3_VERSION; version++) {
        client_tls_reset();
        client_tls.version = version;
        for (int times = 0; times < 3; times++) {
            struct client c;
            struct response r;
            SSL_CTX *fresh = client_tls.context;
            client_open(&c, &t->f);
            if (fresh == NULL) { /* made by the first connection: tickets from the second on */
                SSL_CTX_set_session_cache_mode(client_tls.context, SSL_SESS_CACHE_CLIENT);
                SSL_CTX_sess_set_new_cb(client_tls.context, keep_session);
            }
            client_get(&c, "/text?5", &r);
            response_free(&r);
            if (times == 2)
                assert_true(SSL_session_reused(c.session));
            client_close(&c);
        }
        SSL_SESSION_free(TAKE(client_tls.session));
    }
}

/* ---- the bytes of a handshake and a request, cut wherever ---- */

/* Moves what OpenSSL has written to the socket, `piece` bytes at a time; then what came back. */
struct wire {
    int fd;
    SSL *ssl;
    BIO *in, *out;
    size_t piece;
    useconds_t pause;
    bool is_at_end;
};

static void wire_open(struct wire *w, const struct fixture *f, size_t piece)
{
    *w = (struct wire){.fd = client_connect(f), .piece = piece};
    w->ssl = client_ssl(w->fd);
    w->in = BIO_new(BIO_s_mem());
    w->out = BIO_new(BIO_s_mem());
    BIO_set_mem_eof_return(w->in, -1);
    SSL_set_bio(w->ssl, w->in, w->out);
    SSL_set_connect_state(w->ssl);
}

static void wire_close(struct wire *w)
{
    SSL_free(w->ssl);
    close(w->fd);
}

static void wire_send(struct wire *w)
{
    char bytes[4096];
    int size;
    while ((size = BIO_read(w->out, bytes,
                            (int)(w->piece < sizeof bytes ? w->piece : sizeof bytes))) > 0) {
        (void)send(w->fd, bytes, (size_t)size, MSG_NOSIGNAL);
        if (w->pause)
            usleep(w->pause);
    }
}

static void wire_receive(struct wire *w)
{
    char bytes[4096];
    ssize_t got;
    do
        got = recv(w->fd, bytes, sizeof bytes, 0);
    while (got < 0 && errno == EINTR);
    if (got > 0)
        BIO_write(w->in, bytes, (int)got);
    else
        w->is_at_end = true;
}

static bool wire_shake(struct wire *w)
{
    while (!w->is_at_end) {
        int result = SSL_do_handshake(w->ssl);
        wire_send(w);
        if (result == 1)
            return true;
        if (SSL_get_error(w->ssl, result) != SSL_ERROR_WANT_READ)
            return false;
        wire_receive(w);
    }
    return false;
}

static int wire_get(struct wire *w, char *out, int out_size, const char *request)
{
    int size = 0;
    assert_true(SSL_write(w->ssl, request, (int)strlen(request)) > 0);
    wire_send(w);
    while (!w->is_at_end && memmem(out, (size_t)size, "abcde", 5) == NULL) {
        int got = SSL_read(w->ssl, out + size, out_size - size);
        size += got > 0 ? got : 0;
        if (got <= 0)
            wire_receive(w);
    }
    return size;
}

static void messages_may_come_in_any_pieces(void **state)
{
    struct tls_test *t = *state;
    static const size_t pieces[] = {1, 2, 3, 5, 7, 100, 517};
    char answer[4096];
    for (int version = TLS1_2_VERSION; version <= TLS1_3_VERSION; version++)
        for (size_t i = 0; i < COUNT_OF(pieces); i++) {
            struct wire w;
            client_tls.version = version;
            wire_open(&w, &t->f, pieces[i]);
            assert_true(wire_shake(&w));
            int size =
                wire_get(&w, answer, sizeof answer, "GET /text?5 HTTP/1.1\r\nHost: h\r\n\r\n");
            assert_memory_equal(answer, "HTTP/1.1 200 OK\r\n", 17);
            assert_memory_equal(answer + size - 5, "abcde", 5);
            wire_close(&w);
        }
}

static bool all_ended(void)
{
    for (int i = 0; i < 3000 && begins != ends; i++)
        usleep(1000);
    return begins == ends;
}

/* The client's first messages and a request are recorded, and then played up to each byte in turn.
 */
static void clients_may_leave_at_any_byte(void **state)
{
    struct tls_test *t = *state;
    for (size_t cut = 1; cut < 600; cut += cut < 60 ? 1 : 13) {
        struct wire w;
        char bytes[8192];
        wire_open(&w, &t->f, sizeof bytes);
        (void)SSL_do_handshake(w.ssl);
        int size = BIO_read(w.out, bytes, sizeof bytes);
        assert_true(size > 0);
        size_t part = cut < (size_t)size ? cut : (size_t)size;
        assert_int_equal(send(w.fd, bytes, part, MSG_NOSIGNAL), part);
        if (cut % 3 == 0)
            (void)shutdown(w.fd, SHUT_WR);
        if (cut % 2 == 0) {
            struct linger linger = {.l_onoff = 1};
            setsockopt(w.fd, SOL_SOCKET, SO_LINGER, &linger, sizeof linger); /* a reset */
        }
        wire_close(&w);
    }
    for (int records = 0; records < 60; records++) { /* in the middle of a request's record */
        struct wire w;
        char bytes[4096];
        wire_open(&w, &t->f, sizeof bytes);
        assert_true(wire_shake(&w));
        assert_true(SSL_write(w.ssl,
                              "PUT /sink HTTP/1.1\r\nHost: h\r\nContent-Length: 9\r\n\r\nhello",
                              55) > 0);
        int size = BIO_read(w.out, bytes, sizeof bytes);
        (void)send(w.fd, bytes, (size_t)(size * records / 60), MSG_NOSIGNAL);
        wire_close(&w);
    }
    struct client c;
    struct response r;
    client_open(&c, &t->f);
    client_get(&c, "/text?5", &r); /* nobody else noticed */
    assert_int_equal(r.status, 200);
    response_free(&r);
    client_close(&c);
    assert_true(all_ended());
}

static void garbage_is_refused_quickly(void **state)
{
    struct tls_test *t = *state;
    static const struct {
        const char *bytes;
        size_t size;
    } rows[] = {
        {"\x16\x03\x01\x00\x05\x01\x00\x00\x01\x00", 10}, /* a hello that ends too early */
        {"\x16\x03\x01\xff\xff", 5},                      /* a record longer than records are */
        {"\x16\x09\x09\x00\x05hello", 10},                /* no version there is */
        {"\x17\x03\x03\x00\x05hello", 10},                /* data before a handshake */
        {"\x15\x03\x03\x00\x02\x02\x28", 7},              /* an alert */
        {"\x80\x2e\x01\x03\x01\x00\x15\x00\x00\x00\x10"
         "..................................................",
         60}, /* SSL 2's hello */
        {"\0\0\0\0\0\0\0\0", 8},
        {"hello there", 11},
    };
    for (size_t i = 0; i < COUNT_OF(rows); i++) {
        int fd = client_connect(&t->f);
        char answer[64];
        assert_int_equal(send(fd, rows[i].bytes, rows[i].size, MSG_NOSIGNAL), rows[i].size);
        ssize_t got;
        while ((got = recv(fd, answer, sizeof answer, 0)) > 0 || (got < 0 && errno == EINTR))
            ; /* an alert, or nothing; then the end, long before any deadline */
        assert_true(got == 0 || errno == ECONNRESET);
        close(fd);
    }
}

static void a_flipped_bit_ends_the_connection(void **state)
{
    struct tls_test *t = *state;
    struct wire w;
    char bytes[4096], answer[4096];
    wire_open(&w, &t->f, sizeof bytes);
    assert_true(wire_shake(&w));
    assert_true(SSL_write(w.ssl, "GET /text?5 HTTP/1.1\r\nHost: h\r\n\r\n", 34) > 0);
    int size = BIO_read(w.out, bytes, sizeof bytes);
    bytes[size - 5] ^= 1;
    assert_int_equal(send(w.fd, bytes, (size_t)size, MSG_NOSIGNAL), size);
    while (!w.is_at_end) {
        assert_true(SSL_read(w.ssl, answer, sizeof answer) <= 0);
        wire_receive(&w);
    }
    wire_close(&w);
    assert_true(all_ended());
}

static void renegotiation_is_refused(void **state)
{
    struct tls_test *t = *state;
    struct client c;
    char byte;
    client_tls.version = TLS1_2_VERSION;
    client_open(&c, &t->f);
    assert_int_equal(SSL_renegotiate(c.session), 1);
    assert_true(SSL_do_handshake(c.session) <= 0 || SSL_read(c.session, &byte, 1) <= 0);
    client_close(&c);
}

static void keys_may_change_in_mid_connection(void **state)
{
    struct tls_test *t = *state;
    struct client c;
    struct response r;
    client_tls.version = TLS1_3_VERSION;
    client_open(&c, &t->f);
    for (int i = 0; i < 20; i++) {
        assert_int_equal(SSL_key_update(c.session, i % 2 ? SSL_KEY_UPDATE_REQUESTED
                                                         : SSL_KEY_UPDATE_NOT_REQUESTED),
                         1);
        client_get(&c, "/text?50000", &r);
        assert_int_equal(r.size, 50000);
        response_free(&r);
    }
    /* Without end it is an attack. */
    bool is_cut = false;
    for (int i = 0; i < 200 && !is_cut; i++)
        is_cut = SSL_key_update(c.session, SSL_KEY_UPDATE_NOT_REQUESTED) != 1 ||
                 SSL_do_handshake(c.session) != 1;
    char request[] = "GET /text?5 HTTP/1.1\r\nHost: h\r\n\r\n";
    assert_true(is_cut || !client_put(&c, request, sizeof request - 1) ||
                !client_read(&c, &r, true));
    client_close(&c);
}

static void the_end_is_said(void **state)
{
    struct tls_test *t = *state;
    struct client c;
    struct response r;
    client_open(&c, &t->f);
    SSL_clear_options(c.session, SSL_OP_IGNORE_UNEXPECTED_EOF);
    client_say(&c, "GET /text?5 HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n");
    assert_true(client_read(&c, &r, true));
    response_free(&r);
    char byte;
    int result = SSL_read(c.session, &byte, 1);
    assert_int_equal(SSL_get_error(c.session, result), SSL_ERROR_ZERO_RETURN); /* close_notify */
    client_close(&c);
}

/* ---- plain and TLS side by side ---- */

static void plain_http_on_the_tls_port_is_answered(void **state)
{
    struct tls_test *t = *state;
    static const char *const requests[] = {
        "GET / HTTP/1.1\r\nHost: h\r\n\r\n",
        "DELETE /a/b HTTP/1.1\r\nHost: h\r\n\r\n",
        "PUT /x HTTP/1.1\r\nHost: h\r\nContent-Length: 5\r\n\r\nhello",
    };
    int64_t before = failures(TLS_FAILURE_PLAIN_HTTP);
    for (size_t i = 0; i < COUNT_OF(requests); i++) {
        struct client c = {.fd = client_connect(&t->f)};
        struct response r;
        client_say(&c, requests[i]);
        assert_true(client_read(&c, &r, true));
        assert_int_equal(r.status, 400);
        assert_true(r.closes);
        response_free(&r);
        assert_true(client_is_at_end(&c));
        client_close(&c);
    }
    assert_true(failed_since(TLS_FAILURE_PLAIN_HTTP, before, COUNT_OF(requests)));
}

static void each_has_a_port_of_its_own(void **state)
{
    struct tls_test *t = *state;
    t->f.has_both = true;
    fixture_start(&t->f);
    assert_int_not_equal(t->f.port, t->f.tls_port);
    struct client plain = {.fd = client_connect(&t->f)};
    struct response r;
    client_get(&plain, "/text?5", &r);
    assert_int_equal(r.status, 200);
    response_free(&r);
    client_close(&plain);
    /* TLS on the plain port: an answer that is none, and the end, at once. */
    int fd = client_connect(&t->f);
    assert_null(client_shake(fd));
    close(fd);
    struct client secure;
    uint16_t plain_port = t->f.port;
    t->f.port = t->f.tls_port;
    client_open(&secure, &t->f);
    client_get(&secure, "/text?5", &r);
    assert_int_equal(r.status, 200);
    response_free(&r);
    client_close(&secure);
    t->f.port = plain_port;
}

/* ---- clients that hang ---- */

static void hanging_handshakes_end_and_hold_up_nobody(void **state)
{
    enum { HANGING = 200 };
    struct tls_test *t = *state;
    t->f.limits = test_limits;
    t->f.limits.handshake_timeout_ns = 300 * NS_PER_MS;
    fixture_start(&t->f);
    int hanging[HANGING];
    int64_t before = failures(TLS_FAILURE_TIMEOUT);
    for (int i = 0; i < HANGING; i++) {
        hanging[i] = client_connect(&t->f);
        static const char hello[] = "\x16\x03\x01\x02\x00\x01\x00";
        (void)send(hanging[i], hello, (size_t)i % sizeof hello, MSG_NOSIGNAL);
    }
    for (int i = 0; i < 20; i++) {
        struct client c;
        struct response r;
        client_open(&c, &t->f);
        client_get(&c, "/text?5", &r);
        assert_int_equal(r.status, 200);
        response_free(&r);
        client_close(&c);
    }
    for (int i = 0; i < HANGING; i++) {
        char byte;
        ssize_t got;
        do
            got = recv(hanging[i], &byte, 1, 0);
        while (got > 0 || (got < 0 && errno == EINTR));
        assert_true(got == 0 || errno == ECONNRESET);
        close(hanging[i]);
    }
    assert_true(failed_since(TLS_FAILURE_TIMEOUT, before, HANGING));
}

static void too_many_handshakes_end_the_oldest(void **state)
{
    enum { HANGING = 1200 }; /* more than two workers may have */
    struct tls_test *t = *state;
    t->f.limits = test_limits;
    t->f.limits.connections_max = 4000;
    fixture_start(&t->f);
    int *hanging = calloc(HANGING, sizeof *hanging);
    int64_t before = failures(TLS_FAILURE_CROWDED);
    for (int i = 0; i < HANGING; i++)
        hanging[i] = client_connect(&t->f);
    struct client c;
    struct response r;
    client_open(&c, &t->f);
    client_get(&c, "/text?5", &r);
    assert_int_equal(r.status, 200);
    response_free(&r);
    client_close(&c);
    for (int i = 0; i < 3000 && failures(TLS_FAILURE_CROWDED) - before < HANGING - 1024; i++)
        usleep(1000);
    assert_true(failures(TLS_FAILURE_CROWDED) - before >= HANGING - 1024);
    for (int i = 0; i < HANGING; i++)
        close(hanging[i]);
    free(hanging);
}

static int run(const char *name)
{
    const struct CMUnitTest tests[] = {
        RUNNING(versions_and_ciphers_are_those_of_today),
        RUNNING(tls_12_can_be_refused),
        RUNNING(the_protocol_is_http_11),
        RUNNING(sessions_are_resumed),
        RUNNING(messages_may_come_in_any_pieces),
        RUNNING(clients_may_leave_at_any_byte),
        RUNNING(garbage_is_refused_quickly),
        RUNNING(a_flipped_bit_ends_the_connection),
        RUNNING(renegotiation_is_refused),
        RUNNING(keys_may_change_in_mid_connection),
        RUNNING(the_end_is_said),
        RUNNING(plain_http_on_the_tls_port_is_answered),
        STOPPED(each_has_a_port_of_its_own),
        STOPPED(hanging_handshakes_end_and_hold_up_nobody),
        STOPPED(too_many_handshakes_end_the_oldest),
    };
    return cmocka_run_group_tests_name(name, tests, make_all, tls_dir_remove);
}

int main(void)
{
    return tls_run(run);
}
