#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/rand.h>
#include <openssl/x509v3.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "api/http/tls.h"
#include "base/check.h"

/*
 * A certificate that vouches for itself, so that TLS can be tried without an authority: ECDSA on
 * P-256, which every client has and which signs in a tenth of RSA's time.
 */

static bool names_print(const struct tls_self_signed *wanted, struct buf *out)
{
    for (unsigned i = 0; i < wanted->name_count; i++) {
        unsigned char address[16];
        const char *name = wanted->names[i];
        bool is_address =
            inet_pton(AF_INET, name, address) == 1 || inet_pton(AF_INET6, name, address) == 1;
        buf_printf(out, "%s%s:%s", i > 0 ? "," : "", is_address ? "IP" : "DNS", name);
    }
    buf_put_char(out, '\0');
    return wanted->name_count > 0 && !out->overflowed;
}

static bool extension_add(X509 *certificate, X509V3_CTX *context, int id, const char *value)
{
    X509_EXTENSION *extension = X509V3_EXT_conf_nid(NULL, context, id, value);
    bool is_added = extension && X509_add_ext(certificate, extension, -1) == 1;
    X509_EXTENSION_free(extension);
    return is_added;
}

static bool extensions_add(X509 *certificate, const char *names)
{
    X509V3_CTX context;
    X509V3_set_ctx(&context, certificate, certificate, NULL, NULL, 0);
    return extension_add(certificate, &context, NID_subject_alt_name, names) &&
           extension_add(certificate, &context, NID_basic_constraints, "critical,CA:FALSE") &&
           extension_add(certificate, &context, NID_key_usage, "critical,digitalSignature") &&
           extension_add(certificate, &context, NID_ext_key_usage, "serverAuth") &&
           extension_add(certificate, &context, NID_subject_key_identifier, "hash") &&
           extension_add(certificate, &context, NID_authority_key_identifier, "keyid:always");
}

static bool serial_draw(X509 *certificate)
{
    unsigned char bytes[16];
    if (RAND_bytes(bytes, sizeof bytes) != 1)
        return false;
    bytes[0] = (unsigned char)((bytes[0] & 0x3f) | 0x40); /* positive and of full length */
    BIGNUM *number = BN_bin2bn(bytes, sizeof bytes, NULL);
    bool is_set = number && BN_to_ASN1_INTEGER(number, X509_get_serialNumber(certificate));
    BN_free(number);
    return is_set;
}

static bool subject_set(X509 *certificate, const char *name)
{
    X509_NAME *subject = X509_get_subject_name(certificate);
    char common[65]; /* RFC 5280's ub-common-name; the names that count are the others */
    snprintf(common, sizeof common, "%s", name);
    return X509_NAME_add_entry_by_txt(subject, "CN", MBSTRING_UTF8, (const unsigned char *)common,
                                      -1, -1, 0) == 1 &&
           X509_set_issuer_name(certificate, subject) == 1;
}

static bool certificate_fill(X509 *certificate, EVP_PKEY *key, const struct tls_self_signed *wanted)
{
    char text[2048];
    struct buf names = BUF_ON(text);
    return names_print(wanted, &names) && X509_set_version(certificate, X509_VERSION_3) == 1 &&
           serial_draw(certificate) && subject_set(certificate, wanted->names[0]) &&
           ASN1_TIME_set(X509_getm_notBefore(certificate), (time_t)wanted->begins_s) &&
           ASN1_TIME_set(X509_getm_notAfter(certificate), (time_t)wanted->ends_s) &&
           X509_set_pubkey(certificate, key) == 1 && extensions_add(certificate, text) &&
           X509_sign(certificate, key, EVP_sha256()) > 0;
}

/* What is there stays: it may be a key that clients trust. */
static enum err file_create(const char *path, mode_t mode, FILE **ret_file, struct err_trail *trail)
{
    CLEANUP(fd_close) int fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, mode);
    if (fd < 0)
        return err_note(trail, err_from_errno(errno), "%s", path);
    *ret_file = fdopen(fd, "w");
    if (*ret_file == NULL)
        return err_note(trail, ERR_NO_MEMORY, "%s", path);
    (void)TAKE_FD(fd);
    return ERR_OK;
}

static enum err pair_write(X509 *certificate, EVP_PKEY *key, const struct tls_self_signed *wanted,
                           struct err_trail *trail)
{
    FILE *file;
    enum err e = file_create(wanted->key, 0600, &file, trail);
    if (e)
        return e;
    bool is_good = PEM_write_PrivateKey(file, key, NULL, NULL, 0, NULL, NULL) == 1;
    is_good = fclose(file) == 0 && is_good;
    e = is_good ? file_create(wanted->certificate, 0644, &file, trail)
                : err_note(trail, ERR_IO, "%s", wanted->key);
    if (e)
        return e;
    is_good = PEM_write_X509(file, certificate) == 1;
    is_good = fclose(file) == 0 && is_good;
    return is_good ? ERR_OK : err_note(trail, ERR_IO, "%s", wanted->certificate);
}

enum err tls_self_signed_write(const struct tls_self_signed *wanted, struct err_trail *trail)
{
    EVP_PKEY *key = EVP_EC_gen("P-256");
    X509 *certificate = X509_new();
    enum err e = ERR_OK;
    if (key == NULL || certificate == NULL || !certificate_fill(certificate, key, wanted))
        e = err_say(trail, ERR_INVALID, "OpenSSL makes no certificate for these names: %s",
                    ERR_reason_error_string(ERR_peek_error()) ?: "they are too many or too long");
    if (e == ERR_OK)
        e = pair_write(certificate, key, wanted, trail);
    X509_free(certificate);
    EVP_PKEY_free(key);
    ERR_clear_error();
    return e;
}
