#include "api/s3/key_record.h"

#include <string.h>

#include "base/check.h"
#include "base/digest.h"

#define HEAD_BYTES       16u
#define FLAG_ROOT        1u
#define GRANT_ALL        (GRANT_READ | GRANT_WRITE | GRANT_OWN)
#define SEALED_PLAIN_MAX (SECRET_BYTES_MAX + ACCESS_KEY_BYTES_MAX)

/* ---- what a key may hold ---- */

/* An id stands between commas and slashes in the Authorization header and unescaped in logs. */
static bool is_id_char(unsigned char c)
{
    return c > 0x20 && c < 0x7f && strchr("/,=\"\\%&?#'<>", c) == NULL;
}

static bool is_secret_char(unsigned char c)
{
    return c > 0x20 && c < 0x7f;
}

static bool is_owner_char(unsigned char c)
{
    return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') ||
           (c != '\0' && strchr("-_.@:+", c) != NULL);
}

static bool is_bucket_char(unsigned char c)
{
    return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || c == '.' || c == '-';
}

static bool all_are(struct bytes text, bool (*is)(unsigned char c))
{
    for (size_t i = 0; i < text.size; i++)
        if (!is((unsigned char)text.data[i]))
            return false;
    return true;
}

/* A text field of a struct that may have come from anywhere: at most capacity - 1 bytes and a NUL.
 */
static struct bytes field(const char *text, size_t capacity)
{
    return bytes_of(text, strnlen(text, capacity));
}

static bool is_for_people(struct bytes text, size_t capacity)
{
    if (text.size >= capacity || !bytes_is_utf8(text))
        return false;
    for (size_t i = 0; i < text.size; i++)
        if ((unsigned char)text.data[i] < 0x20 || text.data[i] == 0x7f)
            return false;
    return true;
}

static enum err judge_grants(const struct access_key *key, struct err_trail *trail)
{
    if (key->grant_count > KEY_GRANTS_MAX)
        return err_say(trail, ERR_INVALID, "a key has at most %u grants", KEY_GRANTS_MAX);
    if (key->is_root && key->grant_count > 0)
        return err_say(trail, ERR_INVALID, "a root key may do everything and takes no grants");
    for (unsigned i = 0; i < key->grant_count; i++) {
        const struct key_grant *grant = &key->grants[i];
        struct bytes bucket = field(grant->bucket, sizeof grant->bucket);
        if (bucket.size < BUCKET_NAME_BYTES_MIN || bucket.size > BUCKET_NAME_BYTES_MAX ||
            !all_are(bucket, is_bucket_char))
            return err_say(trail, ERR_INVALID, "grant %u does not name a bucket", i + 1);
        if (grant->bits == 0 || (grant->bits & ~GRANT_ALL) != 0)
            return err_say(trail, ERR_INVALID, "the grant on %s allows nothing", grant->bucket);
        for (unsigned k = 0; k < i; k++)
            if (strcmp(key->grants[k].bucket, grant->bucket) == 0)
                return err_say(trail, ERR_INVALID, "%s has two grants", grant->bucket);
    }
    return ERR_OK;
}

enum err access_key_judge(const struct access_key *key, struct err_trail *trail)
{
    struct bytes id = field(key->id, sizeof key->id);
    if (id.size < ACCESS_KEY_BYTES_MIN || id.size > ACCESS_KEY_BYTES_MAX ||
        !all_are(id, is_id_char))
        return err_say(trail, ERR_INVALID,
                       "an access key id has %u to %u printable ASCII characters without blanks, "
                       "quotes and / , = \\ %% & ? # < >",
                       ACCESS_KEY_BYTES_MIN, ACCESS_KEY_BYTES_MAX);
    struct bytes secret = field(key->secret, sizeof key->secret);
    if (secret.size < SECRET_BYTES_MIN || secret.size > SECRET_BYTES_MAX ||
        !all_are(secret, is_secret_char))
        return err_say(trail, ERR_INVALID,
                       "a secret has %u to %u printable ASCII characters without blanks",
                       SECRET_BYTES_MIN, SECRET_BYTES_MAX);
    struct bytes owner = field(key->owner, sizeof key->owner);
    if (owner.size == 0 || owner.size >= sizeof key->owner || !all_are(owner, is_owner_char))
        return err_say(trail, ERR_INVALID, "an owner is 1 to 64 letters, digits and - _ . @ : +");
    if (!is_for_people(field(key->name, sizeof key->name), sizeof key->name))
        return err_say(trail, ERR_INVALID,
                       "a name is at most 64 bytes of UTF-8 without control characters");
    if (!is_for_people(field(key->display_name, sizeof key->display_name),
                       sizeof key->display_name))
        return err_say(trail, ERR_INVALID,
                       "a display name is at most 128 bytes of UTF-8 without control characters");
    return judge_grants(key, trail);
}

/* ---- writing ---- */

enum err key_record_put(uint8_t out[KEY_RECORD_BYTES_MAX], const struct access_key *key,
                        const uint8_t node_key[32], size_t *ret_size)
{
    struct bytes name = bytes_of_string(key->name), owner = bytes_of_string(key->owner);
    struct bytes display = bytes_of_string(key->display_name);
    struct bytes secret = bytes_of_string(key->secret), id = bytes_of_string(key->id);

    out[0] = KEY_RECORD_VERSION;
    out[1] = key->is_root ? FLAG_ROOT : 0;
    out[2] = key->grant_count;
    out[3] = (uint8_t)name.size;
    out[4] = (uint8_t)owner.size;
    out[5] = (uint8_t)display.size;
    out[6] = (uint8_t)secret.size;
    out[7] = 0;
    put_le64(out + 8, key->created_ns);
    struct buf rest = {.data = (char *)out + HEAD_BYTES,
                       .capacity = KEY_RECORD_BYTES_MAX - HEAD_BYTES};
    buf_put(&rest, name);
    buf_put(&rest, owner);
    buf_put(&rest, display);

    char plain[SEALED_PLAIN_MAX];
    struct buf together = BUF_ON(plain);
    buf_put(&together, secret);
    buf_put(&together, id);
    CHECK(!together.overflowed);
    uint8_t sealed[SEALED_PLAIN_MAX + SEAL_OVERHEAD_BYTES];
    enum err e = seal(node_key, buf_bytes(&together), sealed);
    explicit_bzero(plain, sizeof plain);
    if (e)
        return e;
    buf_put(&rest, bytes_of(sealed, together.size + SEAL_OVERHEAD_BYTES));

    for (unsigned i = 0; i < key->grant_count; i++) {
        struct bytes bucket = bytes_of_string(key->grants[i].bucket);
        buf_put_char(&rest, (char)key->grants[i].bits);
        buf_put_char(&rest, (char)bucket.size);
        buf_put(&rest, bucket);
    }
    CHECK(!rest.overflowed);
    *ret_size = HEAD_BYTES + rest.size;
    return ERR_OK;
}

/* ---- reading ---- */

/* The next `size` bytes into a NUL-terminated field; false when they are not there or do not fit.
 */
static bool take_text(struct bytes *rest, size_t size, char *out, size_t capacity)
{
    if (size > rest->size || size >= capacity)
        return false;
    memcpy(out, rest->data, size);
    out[size] = '\0';
    *rest = bytes_slice(*rest, size, rest->size - size);
    return true;
}

static bool take_secret(struct bytes *rest, size_t size, const uint8_t node_key[32],
                        struct access_key *key)
{
    struct bytes id = bytes_of_string(key->id);
    size_t sealed_size = size + id.size + SEAL_OVERHEAD_BYTES;
    if (size > SECRET_BYTES_MAX || sealed_size > rest->size)
        return false;
    uint8_t plain[SEALED_PLAIN_MAX];
    bool opens = unseal(node_key, bytes_slice(*rest, 0, sealed_size), plain) == ERR_OK &&
                 bytes_equal(bytes_of(plain + size, id.size), id);
    if (opens) {
        memcpy(key->secret, plain, size);
        key->secret[size] = '\0';
    }
    explicit_bzero(plain, sizeof plain);
    *rest = bytes_slice(*rest, sealed_size, rest->size - sealed_size);
    return opens;
}

static bool take_grant(struct bytes *rest, struct key_grant *grant)
{
    if (rest->size < 2)
        return false;
    grant->bits = (uint8_t)rest->data[0];
    size_t size = (uint8_t)rest->data[1];
    *rest = bytes_slice(*rest, 2, rest->size - 2);
    return take_text(rest, size, grant->bucket, sizeof grant->bucket);
}

enum err key_record_get(struct bytes id, struct bytes record, const uint8_t node_key[32],
                        struct access_key *ret_key)
{
    const uint8_t *head = (const uint8_t *)record.data;
    if (record.size < HEAD_BYTES || head[0] == 0)
        return ERR_CORRUPT;
    if (head[0] > KEY_RECORD_VERSION)
        return ERR_FORMAT_NEWER;
    if ((head[1] & ~FLAG_ROOT) != 0 || head[2] > KEY_GRANTS_MAX || head[7] != 0)
        return ERR_CORRUPT;

    struct access_key key = {
        .is_root = (head[1] & FLAG_ROOT) != 0,
        .grant_count = head[2],
        .created_ns = get_le64(head + 8),
    };
    struct bytes rest = bytes_slice(record, HEAD_BYTES, record.size - HEAD_BYTES);
    struct bytes id_left = id;
    bool is_good = take_text(&id_left, id.size, key.id, sizeof key.id) &&
                   strlen(key.id) == id.size &&
                   take_text(&rest, head[3], key.name, sizeof key.name) &&
                   take_text(&rest, head[4], key.owner, sizeof key.owner) &&
                   take_text(&rest, head[5], key.display_name, sizeof key.display_name) &&
                   take_secret(&rest, head[6], node_key, &key);
    for (unsigned i = 0; is_good && i < key.grant_count; i++)
        is_good = take_grant(&rest, &key.grants[i]);
    if (is_good && rest.size == 0 && access_key_judge(&key, NULL) == ERR_OK) {
        *ret_key = key;
        explicit_bzero(&key, sizeof key);
        return ERR_OK;
    }
    explicit_bzero(&key, sizeof key);
    return ERR_CORRUPT;
}
