#include "tests/unit/tls_server_fixture.h"

#include <sys/stat.h>

/* Certificates, what is said of bad ones, and which of them a client gets. */

static void write_text(const char *name, const char *text)
{
    FILE *file = fopen(in_tls_dir(name), "w");
    assert_non_null(file);
    assert_int_equal(fwrite(text, 1, strlen(text), file), strlen(text));
    assert_int_equal(fclose(file), 0);
}

static void shell(const char *format, ...)
{
    char command[1024];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(command, sizeof command, format, arguments);
    va_end(arguments);
    assert_int_equal(system(command), 0);
}

/* ---- certificates ---- */

static void bad_certificates_are_told_in_a_sentence(void **state)
{
    write_text("nothing.crt", "no certificate\n");
    write_text("empty.crt", "");
    shell("cd %s && openssl pkey -in host.key -aes128 -passout pass:x -out locked.key 2>&1",
          tls_dir);
    shell("cd %s && (cat host.crt; head -c 300 other.crt) > cut.crt", tls_dir);
    shell("cd %s && openssl x509 -in host.crt -outform der -out der.crt", tls_dir);
    shell("cd %s && openssl req -x509 -newkey rsa:1024 -nodes -keyout weak.key -out weak.crt -subj "
          "/CN=weak 2>/dev/null",
          tls_dir);
    shell("mkdir -p %s/void", tls_dir);
    static const struct {
        const char *certificate, *key, *directory, *complaint;
        enum err e;
    } rows[] = {
        {"host.crt", "other.key", NULL, "does not belong to the certificate", ERR_INVALID},
        {"missing.crt", "host.key", NULL, "missing.crt cannot be read", ERR_NO_SUCH_FILE},
        {"host.crt", "missing.key", NULL, "missing.key cannot be read", ERR_NO_SUCH_FILE},
        {"host.crt", "locked.key", NULL, "is encrypted", ERR_INVALID},
        {"host.crt", NULL, NULL, "set [tls] key", ERR_INVALID},
        {"host.crt", "host.crt", NULL, "no private key", ERR_INVALID},
        {"nothing.crt", "host.key", NULL, "no certificate in PEM", ERR_INVALID},
        {"empty.crt", "host.key", NULL, "no certificate in PEM", ERR_INVALID},
        {"der.crt", "host.key", NULL, "-inform der", ERR_INVALID},
        {"cut.crt", "host.key", NULL, "damaged behind", ERR_INVALID},
        {"weak.crt", "weak.key", NULL, "too small", ERR_INVALID},
        {NULL, NULL, "void", "holds no certificate with its key", ERR_INVALID},
        {NULL, NULL, "absent", "absent", ERR_NO_SUCH_FILE},
        {NULL, NULL, NULL, "no certificate is given", ERR_INVALID},
    };
    for (size_t i = 0; i < COUNT_OF(rows); i++) {
        struct tls_options options = {
            .certificate = rows[i].certificate ? in_tls_dir(rows[i].certificate) : NULL,
            .key = rows[i].key ? in_tls_dir(rows[i].key) : NULL,
            .directory = rows[i].directory ? in_tls_dir(rows[i].directory) : NULL,
        };
        struct tls_store *store = NULL;
        struct err_trail trail = {0};
        enum err e = tls_store_open(&options, &store, &trail);
        assert_null(store);
        if (e != rows[i].e || strstr(trail.text, rows[i].complaint) == NULL)
            fail_msg("row %zu: %s: \"%s\"", i, err_name(e), trail.text);
    }
}

static void a_store_says_what_it_holds(void **state)
{
    struct tls_store_info info;
    struct tls_store *store = store_open("wild");
    tls_store_info(store, &info);
    assert_int_equal(info.count, 1);
    assert_string_equal(info.names, "*.s3.test s3.test");
    assert_in_range(info.expires_s - time(NULL), 29 * DAY_S, 31 * DAY_S);
    struct text_buf text = {0};
    char line[96];
    snprintf(line, sizeof line, "\nsluice_tls_certificate_expires_seconds %lld\n",
             (long long)info.expires_s);
    metric_write_all(&text);
    assert_non_null(strstr(text.data, line));
    text_free(&text);
    tls_store_close(store);
    /* Out of its time: warned of, and served; it may be the clock that is wrong. */
    store = store_open("old");
    tls_store_info(store, &info);
    assert_true(info.expires_s < time(NULL));
    tls_store_close(store);
    tls_store_close(store_open("early"));
}

static void a_certificate_and_its_key_may_share_a_file(void **state)
{
    struct tls_store *store = NULL;
    shell("cd %s && cat host.crt host.key > both.pem", tls_dir);
    struct tls_options options = {.certificate = in_tls_dir("both.pem")};
    assert_int_equal(tls_store_open(&options, &store, NULL), ERR_OK);
    tls_store_close(store);
}

static void no_existing_key_is_written_over(void **state)
{
    const char *const names[] = {"x"};
    char certificate[128], key[128];
    snprintf(certificate, sizeof certificate, "%s", in_tls_dir("fresh.crt"));
    snprintf(key, sizeof key, "%s", in_tls_dir("host.key"));
    struct tls_self_signed wanted = {.certificate = certificate,
                                     .key = key,
                                     .names = names,
                                     .name_count = 1,
                                     .ends_s = time(NULL) + DAY_S};
    assert_int_equal(tls_self_signed_write(&wanted, NULL), ERR_FILE_EXISTS);
    assert_int_not_equal(access(certificate, F_OK), 0);
    struct stat status;
    assert_int_equal(stat(key, &status), 0);
    assert_int_equal(status.st_mode & 0777, 0600);
}

/* ---- which certificate a client gets ---- */

static void served_name(const struct fixture *f, const char *asked, char out[64])
{
    int fd = client_connect(f);
    client_tls.host = asked;
    SSL *ssl = client_shake(fd);
    assert_non_null(ssl);
    X509 *certificate = SSL_get1_peer_certificate(ssl);
    assert_non_null(certificate);
    X509_NAME_get_text_by_NID(X509_get_subject_name(certificate), NID_commonName, out, 64);
    X509_free(certificate);
    SSL_free(ssl);
    close(fd);
}

static void a_client_gets_the_certificate_of_the_host_it_names(void **state)
{
    struct tls_test *t = *state;
    struct err_trail trail = {0};
    shell("cd %s && rm -rf many && mkdir -p many/live many/.hidden && cp wild.* exact.* many && "
          "cp other.crt many/live/fullchain.pem && cp other.key many/live/privkey.pem && "
          "echo broken > many/.hidden/tls.crt && cp host.key many/.hidden/tls.key && "
          "echo x > many/lonely.crt && echo x > many/README",
          tls_dir);
    struct tls_options options = {.certificate = in_tls_dir("host.crt"),
                                  .key = in_tls_dir("host.key"),
                                  .directory = in_tls_dir("many")};
    if (tls_store_reload(t->store, &options, &trail))
        fail_msg("%s", trail.text);
    struct tls_store_info info;
    tls_store_info(t->store, &info);
    assert_int_equal(info.count, 4);
    static const struct {
        const char *asked, *served;
    } rows[] = {
        {"localhost", "localhost"},
        {"other.test", "other.test"},
        {"OTHER.test", "other.test"},
        {"a.s3.test", "*.s3.test"},
        {"s3.test", "*.s3.test"},
        {"photos.s3.test", "photos.s3.test"}, /* an exact name before a wildcard */
        {"a.b.s3.test", "localhost"},         /* a wildcard stands for one label */
        {"unknown.test", "localhost"},
        {NULL, "localhost"},
    };
    for (int version = TLS1_2_VERSION; version <= TLS1_3_VERSION; version++)
        for (size_t i = 0; i < COUNT_OF(rows); i++) {
            char name[64];
            client_tls.version = version;
            served_name(&t->f, rows[i].asked, name);
            assert_string_equal(name, rows[i].served);
        }
}

static void new_connections_get_the_new_certificate(void **state)
{
    struct tls_test *t = *state;
    struct client before;
    struct response r;
    struct err_trail trail = {0};
    char name[64];
    client_open(&before, &t->f);
    client_get(&before, "/text?5", &r);
    response_free(&r);
    struct tls_options options = {.certificate = in_tls_dir("other.crt"),
                                  .key = in_tls_dir("other.key")};
    assert_int_equal(tls_store_reload(t->store, &options, &trail), ERR_OK);
    served_name(&t->f, NULL, name);
    assert_string_equal(name, "other.test");
    options.key = in_tls_dir("host.key"); /* not its key: the old one stays */
    assert_int_equal(tls_store_reload(t->store, &options, &trail), ERR_INVALID);
    served_name(&t->f, NULL, name);
    assert_string_equal(name, "other.test");
    client_get(&before, "/text?6", &r); /* what was there goes on */
    assert_int_equal(r.size, 6);
    response_free(&r);
    client_close(&before);
}

static void clients_that_check_are_content(void **state)
{
    struct tls_test *t = *state;
    client_tls.trust = in_tls_dir("host.crt");
    client_tls.host = "localhost";
    struct client c;
    struct response r;
    client_open(&c, &t->f);
    client_get(&c, "/text?5", &r);
    assert_int_equal(r.status, 200);
    response_free(&r);
    client_close(&c);
    /* One that trusts somebody else refuses us, and we know why. */
    int64_t alerts = failures(TLS_FAILURE_ALERT);
    client_tls_reset();
    client_tls.trust = in_tls_dir("other.crt");
    client_tls.version = TLS1_2_VERSION;
    int fd = client_connect(&t->f);
    assert_null(client_shake(fd));
    close(fd);
    assert_true(failed_since(TLS_FAILURE_ALERT, alerts, 1));
}

static int run(const char *name)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(bad_certificates_are_told_in_a_sentence),
        cmocka_unit_test(a_store_says_what_it_holds),
        cmocka_unit_test(a_certificate_and_its_key_may_share_a_file),
        cmocka_unit_test(no_existing_key_is_written_over),
        RUNNING(a_client_gets_the_certificate_of_the_host_it_names),
        RUNNING(new_connections_get_the_new_certificate),
        RUNNING(clients_that_check_are_content),
    };
    return cmocka_run_group_tests_name(name, tests, make_all, tls_dir_remove);
}

int main(void)
{
    return tls_run(run);
}
