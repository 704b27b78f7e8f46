/*
 * The access keys, and the first of them, the root key. Alone it is made when there is none. Nodes
 * of a cluster come up together and must have one key: whoever claims it first makes it known as a
 * setting of the group ("cluster/root-key"), and all of them use that.
 *
 *     claim: u8 version, u8 flags (1: drawn), u8 size of the id, id,
 *            the key's record (api/s3/key_record.h)
 */
#include <string.h>

#include "api/s3/key_record.h"
#include "base/check.h"
#include "server/start_priv.h"

#define CLAIM_NAME      BYTES("cluster/root-key")
#define CLAIM_VERSION   1u
#define CLAIM_DRAWN     1u
#define CLAIM_BYTES_MAX (3u + ACCESS_KEY_BYTES_MAX + KEY_RECORD_BYTES_MAX)

struct claim {
    struct access_key key;
    bool is_drawn; /* by a node, and not given by whoever started it */
};

/* ---- the ring ---- */

static enum err stop_at_first(void *context, struct bytes name, struct bytes value)
{
    *(bool *)context = true;
    return ERR_CANCELLED;
}

/* A node key may only be drawn while nothing is sealed with it: also after a crash between
 * formatting and now. Nodes of a cluster open what the others have sealed. */
static enum err seal_key_load(struct node *node, struct err_trail *trail)
{
    if (node->plan.count > 0) {
        memcpy(node->node_key, node->cluster_keys.secrets, sizeof node->node_key);
        return ERR_OK;
    }
    bool has_keys = false;
    enum err e = group_settings(node->group, BYTES("key/"), stop_at_first, &has_keys);
    if (e && e != ERR_CANCELLED)
        return err_note(trail, e, "read the access keys");
    return node_key_load(node->dir, rand_system(), !has_keys, node->node_key, trail);
}

enum err start__keyring(void *context, struct err_trail *trail)
{
    struct node *node = context;
    enum err e = seal_key_load(node, trail);
    if (e)
        return e;
    return keyring_open(&(struct keyring_options){.group = node->group,
                                                  .clock = clock_system(),
                                                  .rand = rand_system(),
                                                  .node_key = node->node_key},
                        &node->keyring, trail);
}

void start__keyring_stop(void *context)
{
    struct node *node = context;
    keyring_close(TAKE(node->keyring));
    explicit_bzero(node->node_key, sizeof node->node_key);
}

/* ---- what was given ---- */

static bool is_given(const struct node *node)
{
    return node->given.access_key[0] != '\0';
}

static bool is_the_given(const struct node *node, const struct access_key *key)
{
    return strcmp(node->given.access_key, key->id) == 0 &&
           bytes_equal_secret(bytes_of_string(key->secret),
                              bytes_of_string(node->given.secret_key));
}

static void judge_given(struct node *node)
{
    struct access_key key;
    enum err e = keyring_find(node->keyring, bytes_of_string(node->given.access_key), &key);
    node->given_is_ignored = e != ERR_OK || !is_the_given(node, &key);
    explicit_bzero(&key, sizeof key);
}

static void credentials_of(const struct access_key *key, struct root_credentials *ret_credentials)
{
    strcpy(ret_credentials->access_key, key->id);
    strcpy(ret_credentials->secret_key, key->secret);
}

/* A drawn key is on the disk, where its owner finds it, before it is in the index: a crash in
 * between loses nothing. */
static enum err credentials_draw(struct node *node, struct err_trail *trail)
{
    enum err e = root_credentials_read(node->dir, &node->root, trail);
    if (e != ERR_NO_SUCH_FILE)
        return e;
    struct access_key key = {0};
    access_key_draw(rand_system(), &key);
    credentials_of(&key, &node->root);
    explicit_bzero(&key, sizeof key);
    return root_credentials_write(node->dir, &node->root, NODE_FILE_NEW, trail);
}

/* Into node->root: given, or drawn and on the disk. */
static enum err root_choose(struct node *node, struct access_key *ret_draft,
                            struct err_trail *trail)
{
    if (is_given(node))
        node->root = node->given;
    else {
        enum err e = credentials_draw(node, trail);
        if (e)
            return e;
    }
    *ret_draft = (struct access_key){.name = "root", .display_name = "root", .is_root = true};
    strcpy(ret_draft->id, node->root.access_key);
    strcpy(ret_draft->secret, node->root.secret_key);
    return ERR_OK;
}

/* ---- alone ---- */

enum err start__root_key_alone(void *context, struct err_trail *trail)
{
    struct node *node = context;
    if (node->plan.count > 0)
        return ERR_OK;
    if (keyring_count(node->keyring) > 0) {
        node->root_origin = ROOT_KEY_KEPT;
        if (is_given(node))
            judge_given(node);
        return ERR_OK;
    }
    node->root_origin = is_given(node) ? ROOT_KEY_GIVEN : ROOT_KEY_DRAWN;
    struct access_key draft, made;
    enum err e = root_choose(node, &draft, trail);
    if (!e)
        e = keyring_create(node->keyring, &draft, &made, trail);
    explicit_bzero(&draft, sizeof draft);
    explicit_bzero(&made, sizeof made);
    return e;
}

/* ---- of a cluster ---- */

/* What another node was told that it has claimed may not be applied here yet. */
static enum err claim_read(struct node *node, struct claim *ret_claim, struct err_trail *trail)
{
    uint8_t value[CLAIM_BYTES_MAX];
    size_t size = 0;
    enum err e = group_fresh_wait(node->group);
    if (!e)
        e = group_setting(node->group, CLAIM_NAME, value, sizeof value, &size);
    if (e == ERR_NO_SUCH_KEY_ID)
        return e;
    if (!e && (size < 3 || value[0] != CLAIM_VERSION || size < 3u + value[2]))
        e = ERR_CORRUPT;
    if (!e) {
        ret_claim->is_drawn = (value[1] & CLAIM_DRAWN) != 0;
        e = key_record_get(bytes_of(value + 3, value[2]),
                           bytes_of(value + 3 + value[2], size - 3 - value[2]), node->node_key,
                           &ret_claim->key);
    }
    if (e == ERR_CORRUPT)
        return err_say(trail, e,
                       "the cluster's root key cannot be unsealed: [cluster] key-file is not the "
                       "file it was sealed with");
    return e ? err_note(trail, e, "read the cluster's root key") : ERR_OK;
}

/* ERR_KEY_ID_EXISTS: another node was first. */
static enum err claim_write(struct node *node, const struct claim *claim, struct err_trail *trail)
{
    uint8_t value[CLAIM_BYTES_MAX];
    size_t id_size = strlen(claim->key.id), record_size = 0;
    value[0] = CLAIM_VERSION;
    value[1] = claim->is_drawn ? CLAIM_DRAWN : 0;
    value[2] = (uint8_t)id_size;
    memcpy(value + 3, claim->key.id, id_size);
    enum err e = access_key_judge(&claim->key, trail);
    if (!e)
        e = key_record_put(value + 3 + id_size, &claim->key, node->node_key, &record_size);
    struct mutation put = {
        .kind = MUTATION_SETTING_PUT,
        .key = CLAIM_NAME,
        .attrs = bytes_of(value, 3 + id_size + record_size),
        .must_be_new = true,
    };
    if (!e)
        e = group_propose_wait(node->group, &put);
    if (e && e != ERR_KEY_ID_EXISTS)
        return err_note(trail, e, "claim the cluster's root key%s%s", put.trail.text[0] ? ": " : "",
                        put.trail.text);
    return e;
}

/* The claim there is, or ours. */
static enum err claim_settle(struct node *node, struct claim *ret_claim, struct err_trail *trail)
{
    enum err e = claim_read(node, ret_claim, trail);
    if (e != ERR_NO_SUCH_KEY_ID)
        return e;
    struct claim ours = {.is_drawn = !is_given(node)};
    e = root_choose(node, &ours.key, trail);
    if (!e) {
        access_key_draw(rand_system(), &ours.key); /* its owner, the same on every node */
        ours.key.created_ns = clock_real_ns(clock_system());
        e = claim_write(node, &ours, trail);
    }
    if (!e)
        *ret_claim = ours;
    explicit_bzero(&ours, sizeof ours);
    return e == ERR_KEY_ID_EXISTS ? claim_read(node, ret_claim, trail) : e;
}

/* What the node's own file says must be the cluster's key, or there is no file. */
static enum err credentials_settle(struct node *node, const struct claim *claim,
                                   struct err_trail *trail)
{
    struct root_credentials told, is;
    credentials_of(&claim->key, &is);
    enum err e = root_credentials_read(node->dir, &told, trail);
    bool has_file = e == ERR_OK;
    bool is_same = has_file && strcmp(told.access_key, is.access_key) == 0 &&
                   strcmp(told.secret_key, is.secret_key) == 0;
    explicit_bzero(&told, sizeof told);
    if (e && e != ERR_NO_SUCH_FILE)
        return e;
    err_trail_reset(trail);
    bool is_wanted = has_file || (claim->is_drawn && node->is_new);
    e = is_wanted && !is_same && claim->is_drawn
            ? root_credentials_write(node->dir, &is, NODE_FILE_REPLACE, trail)
            : ERR_OK;
    if (has_file && !claim->is_drawn)
        node_file_remove(node->dir, "root-credentials"); /* drawn here, and lost to one given */
    node->root = is;
    explicit_bzero(&is, sizeof is);
    return e;
}

/* On a node whose directory was made just now, its owner has not seen the key yet. */
static void tell_origin(struct node *node, const struct claim *claim)
{
    bool is_ours = is_given(node) && is_the_given(node, &claim->key);
    node->root_origin = !node->is_new     ? ROOT_KEY_KEPT
                        : claim->is_drawn ? ROOT_KEY_DRAWN
                        : is_ours         ? ROOT_KEY_GIVEN
                                          : ROOT_KEY_KEPT;
    if (node->root_origin == ROOT_KEY_KEPT)
        explicit_bzero(&node->root, sizeof node->root);
    if (is_given(node) && !is_ours)
        judge_given(node);
}

static enum err root_key_share(struct node *node, struct claim *claim, struct err_trail *trail)
{
    enum err e = claim_settle(node, claim, trail);
    if (e)
        return e;
    if (keyring_count(node->keyring) == 0) {
        struct access_key made;
        e = keyring_create(node->keyring, &claim->key, &made, trail);
        explicit_bzero(&made, sizeof made);
        if (e == ERR_KEY_ID_EXISTS) /* another node's: in our keyring as soon as it is here */
            e = group_fresh_wait(node->group);
        if (e)
            return e;
        err_trail_reset(trail);
    }
    return credentials_settle(node, claim, trail);
}

enum err start__root_key_shared(void *context, struct err_trail *trail)
{
    struct node *node = context;
    struct claim claim = {0};
    enum err e;
    if (node->plan.count == 0)
        return ERR_OK;
    do
        e = root_key_share(node, &claim, trail);
    while (start__try_again(node, e, &e, trail));
    if (!e)
        tell_origin(node, &claim);
    explicit_bzero(&claim, sizeof claim);
    return e;
}
