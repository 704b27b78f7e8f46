/*
 * Access keys. What a client sends is judged field by field; a field nobody knows is refused,
 * because a misspelt "bucket" would make a key that may do everything.
 */
#include <string.h>

#include "api/admin/admin_priv.h"
#include "api/admin/describe.h"
#include "base/check.h"

void admin_keys_list(struct admin *admin, const struct admin_request *request,
                     struct admin_reply *reply)
{
    if (!admin_freshen(admin, reply))
        return;
    json_t *keys = json_array();
    struct access_key key;
    for (size_t i = 0; keyring_at(admin->keyring, i, &key) == ERR_OK; i++)
        if (json_array_append_new(keys, describe_key(&key)) != 0) {
            json_decref(keys);
            keys = NULL;
            break;
        }
    admin_reply_json(reply, 200, keys != NULL ? json_pack("{s:o}", "keys", keys) : NULL);
}

/* ---- a key from JSON ---- */

static enum err take_string(const json_t *value, const char *name, char *out, size_t out_size,
                            struct err_trail *trail)
{
    if (!json_is_string(value))
        return err_say(trail, ERR_INVALID, "%s is not a string", name);
    if (json_string_length(value) >= out_size ||
        strlen(json_string_value(value)) != json_string_length(value))
        return err_say(trail, ERR_INVALID, "%s is longer than %zu bytes or holds a NUL", name,
                       out_size - 1);
    strcpy(out, json_string_value(value));
    return ERR_OK;
}

static enum err take_permissions(const char *text, uint8_t *ret_bits, struct err_trail *trail)
{
    static const struct {
        char letter;
        uint8_t bit;
    } letters[] = {{'r', GRANT_READ}, {'w', GRANT_WRITE}, {'o', GRANT_OWN}};
    *ret_bits = 0;
    for (; *text != '\0'; text++) {
        uint8_t bit = 0;
        for (size_t i = 0; i < COUNT_OF(letters); i++)
            if (letters[i].letter == *text)
                bit = letters[i].bit;
        if (bit == 0)
            return err_say(trail, ERR_INVALID,
                           "permissions are of the letters r (read), w (write) and o (own)");
        *ret_bits |= bit;
    }
    return ERR_OK;
}

static enum err take_grants(const json_t *grants, struct access_key *key, struct err_trail *trail)
{
    if (!json_is_array(grants) || json_array_size(grants) > KEY_GRANTS_MAX)
        return err_say(trail, ERR_INVALID, "grants is not an array of at most %u", KEY_GRANTS_MAX);
    for (size_t i = 0; i < json_array_size(grants); i++) {
        const json_t *grant = json_array_get(grants, i), *bucket = json_object_get(grant, "bucket");
        const json_t *permissions = json_object_get(grant, "permissions");
        struct key_grant *out = &key->grants[i];
        char letters[8];
        if (json_object_size(grant) != 2 || bucket == NULL || permissions == NULL)
            return err_say(trail, ERR_INVALID,
                           "a grant is {\"bucket\": ..., \"permissions\": \"rwo\"}");
        enum err e = take_string(bucket, "bucket", out->bucket, sizeof out->bucket, trail);
        if (e == ERR_OK)
            e = take_string(permissions, "permissions", letters, sizeof letters, trail);
        if (e == ERR_OK)
            e = take_permissions(letters, &out->bits, trail);
        if (e)
            return e;
    }
    key->grant_count = (uint8_t)json_array_size(grants);
    return ERR_OK;
}

static enum err take_field(const char *name, const json_t *value, struct access_key *key,
                           struct err_trail *trail)
{
    const struct {
        const char *name;
        char *out;
        size_t size;
    } strings[] = {
        {"access_key", key->id, sizeof key->id},
        {"secret_key", key->secret, sizeof key->secret},
        {"name", key->name, sizeof key->name},
        {"owner", key->owner, sizeof key->owner},
        {"display_name", key->display_name, sizeof key->display_name},
    };
    for (size_t i = 0; i < COUNT_OF(strings); i++)
        if (strcmp(name, strings[i].name) == 0)
            return take_string(value, name, strings[i].out, strings[i].size, trail);
    if (strcmp(name, "grants") == 0)
        return take_grants(value, key, trail);
    if (strcmp(name, "root") == 0 && json_is_boolean(value)) {
        key->is_root = json_is_true(value);
        return ERR_OK;
    }
    return err_say(trail, ERR_INVALID, "the field %.40s is not known or of another type", name);
}

static enum err take_key(const json_t *body, struct access_key *key, struct err_trail *trail)
{
    if (!json_is_object(body))
        return err_say(trail, ERR_INVALID, "the body is not a JSON object");
    const char *name;
    json_t *value;
    json_object_foreach((json_t *)body, name, value)
    {
        enum err e = take_field(name, value, key, trail);
        if (e)
            return e;
    }
    if ((key->id[0] == '\0') != (key->secret[0] == '\0'))
        return err_say(trail, ERR_INVALID, "access_key and secret_key are given both or neither");
    return ERR_OK;
}

void admin_key_create(struct admin *admin, const struct admin_request *request,
                      struct admin_reply *reply)
{
    struct access_key draft = {0}, made = {0};
    struct err_trail trail = {0};
    enum err e = take_key(request->body, &draft, &trail);
    if (e == ERR_OK)
        e = keyring_create(admin->keyring, &draft, &made, &trail);
    if (e)
        admin_reply_error(reply, e, &trail,
                          e == ERR_KEY_ID_EXISTS ? "choose another id, or remove that key first"
                                                 : NULL);
    else
        admin_reply_json(reply, 201, describe_key(&made));
    explicit_bzero(&draft, sizeof draft);
    explicit_bzero(&made, sizeof made);
}

void admin_key_remove(struct admin *admin, const struct admin_request *request,
                      struct admin_reply *reply)
{
    struct err_trail trail = {0};
    enum err e = keyring_remove(admin->keyring, bytes_of_string(request->rest), &trail);
    if (e)
        admin_reply_error(reply, e, &trail,
                          e == ERR_NO_SUCH_KEY_ID ? "sluice key list shows the keys" : NULL);
    else
        admin_reply_json(reply, 200, json_pack("{s:s}", "removed", request->rest));
}
