#include <dirent.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/x509v3.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <time.h>

#include "api/http/tls_priv.h"
#include "base/check.h"
#include "base/log.h"
#include "base/metric.h"

/*
 * Certificates. Each pair has a context of OpenSSL's of its own, all with the same settings; a
 * connection begins with the first pair's, and the name that the client asks for (SNI) moves it to
 * another: one that names the host exactly, else one by wildcard, else it stays.
 *
 * Session tickets are sealed with keys of the first context, drawn at each reading: a reload ends
 * what can be resumed, which costs clients one full handshake and limits what a stolen key opens.
 */

#define PATH_BYTES_MAX 1024u

/* Forward secrecy and AEAD only, all of them such as kTLS knows. AES-128 comes first: nobody breaks
 * it, and it costs a quarter less than AES-256. */
#define CIPHERS_12 "ECDHE+AESGCM+AES128:ECDHE+AESGCM:ECDHE+CHACHA20"
#define CIPHERS_13 "TLS_AES_128_GCM_SHA256:TLS_AES_256_GCM_SHA384:TLS_CHACHA20_POLY1305_SHA256"
struct certificate {
    SSL_CTX *context; /* owned */
    X509 *leaf;       /* shared, refcounted */
};

struct tls_generation {
    _Atomic unsigned references;
    bool has_kernel;
    unsigned count;
    struct certificate at[TLS_CERTIFICATES_MAX];
};

struct tls_store {
    pthread_mutex_t lock; /* held for a pointer and a count */
    struct tls_generation *now;
    int ready_fd; /* owned: an eventfd that is never read */
};

/* ---- generations ---- */

void tls__generation_put(struct tls_generation *generation)
{
    if (generation == NULL || --generation->references > 0)
        return;
    for (unsigned i = 0; i < generation->count; i++) {
        X509_free(generation->at[i].leaf);
        SSL_CTX_free(generation->at[i].context);
    }
    free(generation);
}
CLEANUP_DEFINE(tls__generation_put, struct tls_generation *)

struct tls_generation *tls__generation_get(struct tls_store *store)
{
    CHECK(pthread_mutex_lock(&store->lock) == 0);
    struct tls_generation *generation = store->now;
    generation->references++;
    CHECK(pthread_mutex_unlock(&store->lock) == 0);
    return generation;
}

SSL_CTX *tls__generation_context(const struct tls_generation *generation)
{
    return generation->at[0].context;
}

int tls__store_ready_fd(const struct tls_store *store)
{
    return store->ready_fd;
}

/* ---- which certificate ---- */

static const struct certificate *certificate_for(const struct tls_generation *generation,
                                                 const char *name)
{
    static const unsigned passes[] = {X509_CHECK_FLAG_NO_WILDCARDS, 0};
    for (size_t pass = 0; pass < COUNT_OF(passes); pass++)
        for (unsigned i = 0; i < generation->count; i++)
            if (X509_check_host(generation->at[i].leaf, name, strlen(name), passes[pass], NULL) ==
                1)
                return &generation->at[i];
    return &generation->at[0];
}

static int name_asked_for(SSL *ssl, int *alert, void *context)
{
    const struct tls_generation *generation = context;
    const char *name = SSL_get_servername(ssl, TLSEXT_NAMETYPE_host_name);
    if (name == NULL || generation->count == 1)
        return SSL_TLSEXT_ERR_OK;
    const struct certificate *wanted = certificate_for(generation, name);
    return SSL_set_SSL_CTX(ssl, wanted->context) != NULL ? SSL_TLSEXT_ERR_OK
                                                         : SSL_TLSEXT_ERR_ALERT_FATAL;
}

/* ---- settings ---- */

static SSL_CTX *context_make(struct tls_generation *generation, const struct tls_options *options)
{
    static const unsigned char session_context[] = "sluice";
    SSL_CTX *context = SSL_CTX_new(TLS_server_method());
    if (context == NULL)
        return NULL;
    uint64_t flags = SSL_OP_NO_RENEGOTIATION | SSL_OP_NO_COMPRESSION |
                     SSL_OP_CIPHER_SERVER_PREFERENCE | SSL_OP_PRIORITIZE_CHACHA;
    /* Bodies have their own framing: a stream that ends without a farewell cuts nothing short. */
    flags |= SSL_OP_IGNORE_UNEXPECTED_EOF;
    if (generation->has_kernel)
        flags |= SSL_OP_ENABLE_KTLS;
    SSL_CTX_set_options(context, flags);
    SSL_CTX_set_mode(context, SSL_MODE_ENABLE_PARTIAL_WRITE | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER |
                                  SSL_MODE_RELEASE_BUFFERS);
    /* Bytes read ahead of the handshake's end would keep the kernel from taking over. */
    SSL_CTX_set_read_ahead(context, !generation->has_kernel);
    SSL_CTX_set_default_read_buffer_len(context, TLS_READ_BUFFER_BYTES);
    SSL_CTX_set_session_cache_mode(context, SSL_SESS_CACHE_OFF); /* tickets need no memory here */
    SSL_CTX_set_alpn_select_cb(context, tls__choose_protocol, NULL);
    SSL_CTX_set_msg_callback(context, tls__message_seen);
    SSL_CTX_set_tlsext_servername_callback(context, name_asked_for);
    SSL_CTX_set_tlsext_servername_arg(context, generation);
    int version = options->only_13 ? TLS1_3_VERSION : TLS1_2_VERSION;
    if (SSL_CTX_set_min_proto_version(context, version) == 1 &&
        SSL_CTX_set_cipher_list(context, CIPHERS_12) == 1 &&
        SSL_CTX_set_ciphersuites(context, CIPHERS_13) == 1 &&
        SSL_CTX_set_session_id_context(context, session_context, sizeof session_context - 1) == 1)
        return context;
    SSL_CTX_free(context);
    return NULL;
}

/* ---- reading a pair ---- */

struct pair {
    const char *certificate, *key; /* file names; the same when one file holds both */
    struct err_trail *trail;
    bool wants_passphrase; /* the key is encrypted */
};

static const char *openssl_reason(void)
{
    const char *reason = ERR_reason_error_string(ERR_peek_last_error());
    return reason ? reason : "no reason given";
}

static BIO *file_open(const char *path, const char *what, enum err *ret_err,
                      struct err_trail *trail)
{
    FILE *file = fopen(path, "re");
    if (file == NULL) {
        int errnum = errno;
        *ret_err = err_from_errno(errnum);
        const char *text = strerrordesc_np(errnum);
        err_say(trail, *ret_err, "%s %s cannot be read: %s%s", what, path, text ? text : "?",
                errnum == EACCES ? "; let the user that sluiced runs as read it" : "");
        return NULL;
    }
    BIO *bio = BIO_new_fp(file, BIO_CLOSE);
    if (bio == NULL) {
        (void)fclose(file); /* only read from */
        *ret_err = ERR_NO_MEMORY;
    }
    return bio;
}

static int passphrase_wanted(char *out, int out_size, int is_for_writing, void *context)
{
    struct pair *pair = context;
    pair->wants_passphrase = true;
    return -1;
}

/* A certificate file holds the server's own first, then those that vouch for it. */
static enum err chain_read(struct certificate *certificate, struct pair *pair, BIO *bio)
{
    certificate->leaf = PEM_read_bio_X509_AUX(bio, NULL, passphrase_wanted, pair);
    if (certificate->leaf == NULL)
        return err_say(pair->trail, ERR_INVALID,
                       "%s holds no certificate in PEM (-----BEGIN CERTIFICATE-----); from DER: "
                       "openssl x509 -inform der -in FILE -out FILE.pem",
                       pair->certificate);
    if (SSL_CTX_use_certificate(certificate->context, certificate->leaf) != 1)
        return err_say(pair->trail, ERR_INVALID, "OpenSSL refuses the certificate in %s: %s",
                       pair->certificate, openssl_reason());
    for (X509 *more; (more = PEM_read_bio_X509(bio, NULL, passphrase_wanted, pair)) != NULL;)
        if (SSL_CTX_add0_chain_cert(certificate->context, more) != 1) {
            X509_free(more);
            return err_say(pair->trail, ERR_INVALID, "OpenSSL refuses the chain in %s: %s",
                           pair->certificate, openssl_reason());
        }
    if (ERR_GET_REASON(ERR_peek_last_error()) != PEM_R_NO_START_LINE)
        return err_say(pair->trail, ERR_INVALID, "%s is damaged behind its first certificate: %s",
                       pair->certificate, openssl_reason());
    ERR_clear_error();
    return ERR_OK;
}

static enum err key_read(struct certificate *certificate, struct pair *pair, BIO *bio)
{
    EVP_PKEY *key = PEM_read_bio_PrivateKey(bio, NULL, passphrase_wanted, pair);
    if (pair->wants_passphrase) {
        EVP_PKEY_free(key);
        return err_say(pair->trail, ERR_INVALID,
                       "the key in %s is encrypted and nobody is here to type its passphrase; "
                       "decrypt it: openssl pkey -in FILE -out FILE.plain",
                       pair->key);
    }
    if (key == NULL)
        return err_say(pair->trail, ERR_INVALID,
                       pair->key == pair->certificate
                           ? "%s holds no private key in PEM: set [tls] key to the file that does"
                           : "%s holds no private key in PEM (-----BEGIN PRIVATE KEY-----)",
                       pair->key);
    bool fits = X509_check_private_key(certificate->leaf, key) == 1;
    bool is_taken = fits && SSL_CTX_use_PrivateKey(certificate->context, key) == 1;
    EVP_PKEY_free(key);
    if (!fits)
        return err_say(pair->trail, ERR_INVALID,
                       "the key in %s does not belong to the certificate in %s: one of them is "
                       "another's, or older",
                       pair->key, pair->certificate);
    if (!is_taken)
        return err_say(pair->trail, ERR_INVALID, "OpenSSL refuses the key in %s: %s", pair->key,
                       openssl_reason());
    return ERR_OK;
}

/* What works and is not right all the same. */
static void warn_of(const X509 *leaf, const struct pair *pair)
{
    struct stat status;
    if (X509_cmp_current_time(X509_get0_notAfter(leaf)) < 0)
        LOG(LOG_WARN, "tls", "the certificate in %s has expired: clients will refuse it",
            pair->certificate);
    if (X509_cmp_current_time(X509_get0_notBefore(leaf)) > 0)
        LOG(LOG_WARN, "tls",
            "the certificate in %s is not valid yet: clients will refuse it until then",
            pair->certificate);
    if (stat(pair->key, &status) == 0 && (status.st_mode & S_IROTH))
        LOG(LOG_WARN, "tls", "everybody on this machine can read the private key in %s: chmod o-r",
            pair->key);
}

static void bio_free__scope(BIO **bio)
{
    BIO_free(*bio);
}

/* The generation owns whatever was made, also when it fails. */
static enum err pair_load(struct tls_generation *generation, const struct tls_options *options,
                          struct pair *pair)
{
    if (generation->count == TLS_CERTIFICATES_MAX)
        return err_say(pair->trail, ERR_TOO_LARGE, "more than %u certificates",
                       TLS_CERTIFICATES_MAX);
    ERR_clear_error();
    struct certificate *certificate = &generation->at[generation->count++];
    certificate->context = context_make(generation, options);
    if (certificate->context == NULL)
        return err_say(pair->trail, ERR_NO_MEMORY, "OpenSSL cannot be set up: %s",
                       openssl_reason());
    enum err e = ERR_OK;
    CLEANUP(bio_free) BIO *chain = file_open(pair->certificate, "certificate", &e, pair->trail);
    if (e == ERR_OK)
        e = chain_read(certificate, pair, chain);
    if (e)
        return e;
    CLEANUP(bio_free) BIO *key = file_open(pair->key, "key", &e, pair->trail);
    if (e == ERR_OK)
        e = key_read(certificate, pair, key);
    ERR_clear_error();
    if (e == ERR_OK)
        warn_of(certificate->leaf, pair);
    return e;
}

/* ---- a directory of pairs ---- */

/* As certbot, MinIO and Kubernetes name them. */
static const struct {
    const char *certificate, *key;
} known_pairs[] = {
    {"fullchain.pem", "privkey.pem"}, {"public.crt", "private.key"}, {"tls.crt", "tls.key"}};

static bool file_exists(const char *path)
{
    struct stat status;
    return stat(path, &status) == 0 && S_ISREG(status.st_mode);
}

static bool path_join(char out[PATH_BYTES_MAX], const char *dir, const char *name)
{
    return snprintf(out, PATH_BYTES_MAX, "%s/%s", dir, name) < (int)PATH_BYTES_MAX;
}

static enum err pair_in(struct tls_generation *generation, const struct tls_options *options,
                        const char *dir, const char *certificate_name, const char *key_name,
                        struct err_trail *trail)
{
    char certificate[PATH_BYTES_MAX], key[PATH_BYTES_MAX];
    if (!path_join(certificate, dir, certificate_name) || !path_join(key, dir, key_name) ||
        !file_exists(certificate) || !file_exists(key))
        return ERR_OK;
    return pair_load(generation, options,
                     &(struct pair){.certificate = certificate, .key = key, .trail = trail});
}

static enum err known_pairs_in(struct tls_generation *generation, const struct tls_options *options,
                               const char *dir, struct err_trail *trail)
{
    enum err e = ERR_OK;
    for (size_t i = 0; i < COUNT_OF(known_pairs) && !e; i++)
        e = pair_in(generation, options, dir, known_pairs[i].certificate, known_pairs[i].key,
                    trail);
    return e;
}

/* NAME.crt with NAME.key, or a folder with one of the known pairs. */
static enum err entry_load(struct tls_generation *generation, const struct tls_options *options,
                           const char *dir, const char *name, struct err_trail *trail)
{
    char path[PATH_BYTES_MAX], key_name[256];
    struct stat status;
    if (name[0] == '.' || !path_join(path, dir, name) || stat(path, &status) != 0)
        return ERR_OK;
    if (S_ISDIR(status.st_mode))
        return known_pairs_in(generation, options, path, trail);
    const char *dot = strrchr(name, '.');
    if (dot == NULL || strcmp(dot, ".crt") != 0 || strcmp(name, "public.crt") == 0 ||
        strcmp(name, "tls.crt") == 0)
        return ERR_OK;
    snprintf(key_name, sizeof key_name, "%.*s.key", (int)(dot - name), name);
    return pair_in(generation, options, dir, name, key_name, trail);
}

static enum err directory_load(struct tls_generation *generation, const struct tls_options *options,
                               struct err_trail *trail)
{
    const char *dir = options->directory;
    struct dirent **entries = NULL;
    int count = scandir(dir, &entries, NULL, alphasort); /* in an order that stays */
    if (count < 0)
        return err_note(trail, err_from_errno(errno), "[tls] directory %s", dir);
    unsigned before = generation->count;
    enum err e = known_pairs_in(generation, options, dir, trail);
    for (int i = 0; i < count; i++) {
        if (!e)
            e = entry_load(generation, options, dir, entries[i]->d_name, trail);
        free(entries[i]);
    }
    free(entries);
    if (!e && generation->count == before)
        e = err_say(trail, ERR_INVALID,
                    "%s holds no certificate with its key: NAME.crt with NAME.key or, in folders, "
                    "fullchain.pem with privkey.pem, public.crt with private.key, tls.crt with "
                    "tls.key",
                    dir);
    return e;
}

/* ---- telling monitoring ---- */

static struct metric expires = {.name = "sluice_tls_certificate_expires_seconds",
                                .help = "Unix time at which the first of the certificates expires",
                                .kind = METRIC_GAUGE};

static void publish(struct tls_store *store)
{
    struct tls_store_info info;
    tls_store_info(store, &info);
    metric_register(&expires);
    metric_set(&expires, info.expires_s);
}

/* ---- stores ---- */

static bool is_given(const char *text)
{
    return text != NULL && text[0] != '\0';
}

static enum err generation_read(const struct tls_options *options,
                                struct tls_generation **ret_generation, struct err_trail *trail)
{
    CLEANUP(tls__generation_put)
    struct tls_generation *generation = calloc(1, sizeof *generation);
    if (generation == NULL)
        return ERR_NO_MEMORY;
    generation->references = 1;
    generation->has_kernel = !options->without_kernel && tls_kernel_is_able();
    enum err e = ERR_OK;
    if (is_given(options->certificate))
        e = pair_load(
            generation, options,
            &(struct pair){.certificate = options->certificate,
                           .key = is_given(options->key) ? options->key : options->certificate,
                           .trail = trail});
    if (!e && is_given(options->directory))
        e = directory_load(generation, options, trail);
    if (!e && generation->count == 0)
        e = err_say(trail, ERR_INVALID, "no certificate is given");
    if (e)
        return e;
    *ret_generation = TAKE(generation);
    return ERR_OK;
}

enum err tls_store_open(const struct tls_options *options, struct tls_store **ret_store,
                        struct err_trail *trail)
{
    CLEANUP(tls_store_close) struct tls_store *store = calloc(1, sizeof *store);
    if (store == NULL)
        return ERR_NO_MEMORY;
    CHECK(pthread_mutex_init(&store->lock, NULL) == 0);
    store->ready_fd = eventfd(1, EFD_CLOEXEC | EFD_NONBLOCK);
    if (store->ready_fd < 0)
        return err_note(trail, err_from_errno(errno), "eventfd");
    enum err e = generation_read(options, &store->now, trail);
    if (e)
        return e;
    publish(store);
    *ret_store = TAKE(store);
    return ERR_OK;
}

enum err tls_store_reload(struct tls_store *store, const struct tls_options *options,
                          struct err_trail *trail)
{
    struct tls_generation *fresh, *old;
    enum err e = generation_read(options, &fresh, trail);
    if (e)
        return e;
    CHECK(pthread_mutex_lock(&store->lock) == 0);
    old = store->now;
    store->now = fresh;
    CHECK(pthread_mutex_unlock(&store->lock) == 0);
    tls__generation_put(old);
    publish(store);
    return ERR_OK;
}

void tls_store_close(struct tls_store *store)
{
    if (store == NULL)
        return;
    tls__generation_put(store->now);
    if (store->ready_fd >= 0)
        (void)close(store->ready_fd); /* holds a one */
    CHECK(pthread_mutex_destroy(&store->lock) == 0);
    free(store);
}

/* ---- telling ---- */

static void names_print(const X509 *leaf, struct buf *out)
{
    GENERAL_NAMES *names = X509_get_ext_d2i(leaf, NID_subject_alt_name, NULL, NULL);
    for (int i = 0; i < sk_GENERAL_NAME_num(names); i++) {
        const GENERAL_NAME *name = sk_GENERAL_NAME_value(names, i);
        if (name->type != GEN_DNS)
            continue;
        if (out->size > 0)
            buf_put_char(out, ' ');
        buf_put(out, bytes_of(ASN1_STRING_get0_data(name->d.dNSName),
                              (size_t)ASN1_STRING_length(name->d.dNSName)));
    }
    GENERAL_NAMES_free(names);
}

static int64_t expiry_s(const X509 *leaf)
{
    struct tm tm;
    return ASN1_TIME_to_tm(X509_get0_notAfter(leaf), &tm) == 1 ? timegm(&tm) : 0;
}

void tls_store_info(struct tls_store *store, struct tls_store_info *ret_info)
{
    CLEANUP(tls__generation_put) struct tls_generation *generation = tls__generation_get(store);
    *ret_info = (struct tls_store_info){
        .count = generation->count, .has_kernel = generation->has_kernel, .expires_s = INT64_MAX};
    for (unsigned i = 0; i < generation->count; i++) {
        int64_t expires_s = expiry_s(generation->at[i].leaf);
        if (expires_s < ret_info->expires_s)
            ret_info->expires_s = expires_s;
    }
    struct buf names = {.data = ret_info->names, .capacity = sizeof ret_info->names - 4};
    names_print(generation->at[0].leaf, &names);
    strcpy(ret_info->names + names.size, names.overflowed ? "..." : "");
}

/* A socket that is not connected cannot be handed over, and the kernel says so after it has looked
 * for the module. */
bool tls_kernel_is_able(void)
{
#ifdef OPENSSL_NO_KTLS
    return false;
#else
    CLEANUP(fd_close) int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    return fd >= 0 && setsockopt(fd, IPPROTO_TCP, TCP_ULP, "tls", sizeof "tls") != 0 &&
           errno == ENOTCONN;
#endif
}
