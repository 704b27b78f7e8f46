#include "api/s3/keyring.h"

#include <pthread.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include "api/s3/key_record.h"
#include "base/check.h"
#include "base/log.h"

#define SETTING_PREFIX     BYTES("key/")
#define SETTING_NAME_MAX   (4 + ACCESS_KEY_BYTES_MAX)
#define ID_DRAWN_BYTES     20
#define SECRET_DRAWN_BYTES 40
#define DRAWS_MAX          4 /* ids drawn until one is free; 80 random bits meet nobody twice */

/*
 * A key in memory: the beginning of a struct access_key, as far as its grants reach. Most keys have
 * none and then take 550 bytes instead of 1,600.
 */
struct entry {
    struct entry *next; /* in its hash chain */
    uint64_t hash;
    uint32_t size; /* of image */
    _Alignas(struct access_key) uint8_t image[];
};

/*
 * Locks, in this order: `change` is held by whoever creates or removes a key, over the wait for the
 * group; `follow` while a key is read from the index and put into memory, so that what was read
 * later is also shown later; `lock` guards what is in memory and is held for a few hundred
 * nanoseconds only. So a signature check never waits for a disk. The group's own thread, which
 * tells of changes made through other nodes, takes only the last two.
 */
struct keyring {
    struct group *group; /* borrowed */
    struct clock *clock; /* borrowed */
    struct rand *rand;   /* borrowed */
    uint8_t node_key[32];
    pthread_mutex_t change, follow;
    uint64_t followed; /* changes the group has told of; under `follow` */
    pthread_rwlock_t lock;
    struct entry **sorted; /* owned, by id */
    size_t count, capacity;
    struct entry **chains; /* owned, a power of two */
    size_t chain_count;
};

static struct bytes entry_id(const struct entry *entry)
{
    return bytes_of_string((const char *)entry->image + offsetof(struct access_key, id));
}

static bool entry_is_root(const struct entry *entry)
{
    bool is_root;
    memcpy(&is_root, entry->image + offsetof(struct access_key, is_root), sizeof is_root);
    return is_root;
}

static struct entry *entry_make(const struct access_key *key)
{
    size_t size = offsetof(struct access_key, grants) + key->grant_count * sizeof key->grants[0];
    struct entry *entry = malloc(sizeof *entry + size);
    if (entry == NULL)
        return NULL;
    *entry = (struct entry){.size = (uint32_t)size, .hash = xxh3_64(key->id, strlen(key->id))};
    memcpy(entry->image, key, size);
    return entry;
}

static void entry_free(struct entry *entry)
{
    if (entry == NULL)
        return;
    explicit_bzero(entry->image, entry->size);
    free(entry);
}

static void entry_copy(const struct entry *entry, struct access_key *ret_key)
{
    memcpy(ret_key, entry->image, entry->size);
}

/* ---- the table in memory; callers hold `lock` or are alone ---- */

static struct entry **chain_of(struct keyring *keyring, uint64_t hash)
{
    return &keyring->chains[hash & (keyring->chain_count - 1)];
}

static struct entry *table_find(struct keyring *keyring, struct bytes id)
{
    uint64_t hash = xxh3_64(id.data, id.size);
    for (struct entry *entry = *chain_of(keyring, hash); entry != NULL; entry = entry->next)
        if (entry->hash == hash && bytes_equal(entry_id(entry), id))
            return entry;
    return NULL;
}

/* Position of the first entry whose id is not below `id`. */
static size_t table_position(const struct keyring *keyring, struct bytes id)
{
    size_t low = 0, high = keyring->count;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (bytes_compare(entry_id(keyring->sorted[middle]), id) < 0)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

/* Room for one more, so that what follows a durable change cannot fail. */
static enum err table_grow(struct keyring *keyring)
{
    if (keyring->count == KEYS_MAX)
        return ERR_TOO_LARGE;
    if (keyring->count == keyring->capacity) {
        size_t capacity = keyring->capacity ? keyring->capacity * 2 : 64;
        struct entry **sorted = realloc(keyring->sorted, capacity * sizeof *sorted);
        if (sorted == NULL)
            return ERR_NO_MEMORY;
        keyring->sorted = sorted;
        keyring->capacity = capacity;
    }
    if (keyring->count < keyring->chain_count)
        return ERR_OK;
    size_t chain_count = keyring->chain_count ? keyring->chain_count * 2 : 64;
    struct entry **chains = calloc(chain_count, sizeof *chains);
    if (chains == NULL)
        return ERR_NO_MEMORY;
    free(keyring->chains);
    keyring->chains = chains;
    keyring->chain_count = chain_count;
    for (size_t i = 0; i < keyring->count; i++) {
        struct entry *entry = keyring->sorted[i], **chain = chain_of(keyring, entry->hash);
        entry->next = *chain;
        *chain = entry;
    }
    return ERR_OK;
}

static void table_insert(struct keyring *keyring, struct entry *entry)
{
    CHECK(keyring->count < keyring->capacity);
    size_t at = table_position(keyring, entry_id(entry));
    memmove(keyring->sorted + at + 1, keyring->sorted + at,
            (keyring->count - at) * sizeof *keyring->sorted);
    keyring->sorted[at] = entry;
    keyring->count++;
    struct entry **chain = chain_of(keyring, entry->hash);
    entry->next = *chain;
    *chain = entry;
}

static void table_remove(struct keyring *keyring, struct entry *entry)
{
    size_t at = table_position(keyring, entry_id(entry));
    CHECK(at < keyring->count && keyring->sorted[at] == entry);
    keyring->count--;
    memmove(keyring->sorted + at, keyring->sorted + at + 1,
            (keyring->count - at) * sizeof *keyring->sorted);
    struct entry **link = chain_of(keyring, entry->hash);
    while (*link != entry)
        link = &(*link)->next;
    *link = entry->next;
}

/* Of what was there under that id, nothing is left; entry NULL: nor is anything put there. Room for
 * it is made before. */
static void table_replace(struct keyring *keyring, struct bytes id, struct entry *entry)
{
    pthread_rwlock_wrlock(&keyring->lock);
    struct entry *old = table_find(keyring, id);
    if (old != NULL)
        table_remove(keyring, old);
    if (entry != NULL)
        table_insert(keyring, entry);
    pthread_rwlock_unlock(&keyring->lock);
    entry_free(old);
}

static enum err table_make_room(struct keyring *keyring)
{
    pthread_rwlock_wrlock(&keyring->lock);
    enum err e = table_grow(keyring);
    pthread_rwlock_unlock(&keyring->lock);
    return e;
}

static bool is_there(struct keyring *keyring, struct bytes id)
{
    pthread_rwlock_rdlock(&keyring->lock);
    bool found = table_find(keyring, id) != NULL;
    pthread_rwlock_unlock(&keyring->lock);
    return found;
}

/* ---- opening, following ---- */

static struct bytes setting_name(char out[SETTING_NAME_MAX], struct bytes id)
{
    struct buf name = {.data = out, .capacity = SETTING_NAME_MAX};
    buf_put(&name, SETTING_PREFIX);
    buf_put(&name, id);
    CHECK(!name.overflowed);
    return buf_bytes(&name);
}

/* `follow` is held, or nobody else knows the keyring yet. */
static enum err show_record(struct keyring *keyring, struct bytes id, struct bytes record,
                            struct err_trail *trail)
{
    struct access_key key;
    enum err e = key_record_get(id, record, keyring->node_key, &key);
    if (e == ERR_CORRUPT)
        return err_say(trail, e,
                       "access key %.*s cannot be unsealed: node.key (of a cluster: its key-file) "
                       "is not the file it was sealed with, or the record is damaged",
                       (int)id.size, id.data);
    if (e)
        return err_note(trail, e, "access key %.*s", (int)id.size, id.data);
    struct entry *entry = entry_make(&key);
    explicit_bzero(&key, sizeof key);
    if (entry == NULL)
        return ERR_NO_MEMORY;
    e = table_make_room(keyring);
    if (e) {
        entry_free(entry);
        return err_note(trail, e, "more access keys than fit (%u)", KEYS_MAX);
    }
    table_replace(keyring, id, entry);
    return ERR_OK;
}

/* Puts into memory what the index has under this id. `follow` is held. */
static enum err refresh(struct keyring *keyring, struct bytes id, struct err_trail *trail)
{
    uint8_t record[KEY_RECORD_BYTES_MAX];
    char name[SETTING_NAME_MAX];
    size_t size = 0;
    enum err e =
        group_setting(keyring->group, setting_name(name, id), record, sizeof record, &size);
    if (e == ERR_OK)
        return show_record(keyring, id, bytes_of(record, size), trail);
    if (e == ERR_NO_SUCH_KEY_ID) {
        table_replace(keyring, id, NULL);
        return ERR_OK;
    }
    return err_note(trail, e, "read access key %.*s", (int)id.size, id.data);
}

/* On the group's thread: a key came or went, perhaps through another node. */
static void key_changed(void *context, struct bytes name)
{
    struct keyring *keyring = context;
    struct bytes id = bytes_slice(name, SETTING_PREFIX.size, SIZE_MAX);
    struct err_trail trail = {0};
    if (id.size == 0 || id.size > ACCESS_KEY_BYTES_MAX)
        return; /* no key's name */
    pthread_mutex_lock(&keyring->follow);
    keyring->followed++;
    enum err e = refresh(keyring, id, &trail);
    pthread_mutex_unlock(&keyring->follow);
    if (e)
        LOG_LIMITED(LOG_ERROR, "s3", "a change of access keys does not count here yet: %s",
                    err_trail_text(&trail, e));
}

struct loading {
    struct keyring *keyring;
    struct err_trail *trail;
};

static enum err load_one(void *context, struct bytes name, struct bytes value)
{
    struct loading *loading = context;
    return show_record(loading->keyring, bytes_slice(name, SETTING_PREFIX.size, SIZE_MAX), value,
                       loading->trail);
}

enum err keyring_open(const struct keyring_options *options, struct keyring **ret_keyring,
                      struct err_trail *trail)
{
    struct keyring *keyring = calloc(1, sizeof *keyring);
    if (keyring == NULL)
        return ERR_NO_MEMORY;
    keyring->group = options->group;
    keyring->clock = options->clock != NULL ? options->clock : clock_system();
    keyring->rand = options->rand != NULL ? options->rand : rand_system();
    memcpy(keyring->node_key, options->node_key, sizeof keyring->node_key);
    pthread_mutex_init(&keyring->change, NULL);
    pthread_mutex_init(&keyring->follow, NULL);
    pthread_rwlock_init(&keyring->lock, NULL);

    enum err e = table_grow(keyring); /* so that a lookup finds chains */
    struct loading loading = {keyring, trail};
    /* Watched first and read under `follow`: a change comes before its reading or is told after
     * it. */
    group_watch_settings(keyring->group, SETTING_PREFIX, key_changed, keyring);
    pthread_mutex_lock(&keyring->follow);
    if (e == ERR_OK)
        e = group_settings(keyring->group, SETTING_PREFIX, load_one, &loading);
    pthread_mutex_unlock(&keyring->follow);
    if (e) {
        keyring_close(keyring);
        return err_note(trail, e, "read the access keys");
    }
    *ret_keyring = keyring;
    return ERR_OK;
}

void keyring_close(struct keyring *keyring)
{
    if (keyring == NULL)
        return;
    group_watch_settings(keyring->group, SETTING_PREFIX, NULL, NULL);
    for (size_t i = 0; i < keyring->count; i++)
        entry_free(keyring->sorted[i]);
    free(keyring->sorted);
    free(keyring->chains);
    pthread_rwlock_destroy(&keyring->lock);
    pthread_mutex_destroy(&keyring->follow);
    pthread_mutex_destroy(&keyring->change);
    explicit_bzero(keyring, sizeof *keyring);
    free(keyring);
}

/* ---- looking up ---- */

size_t keyring_count(struct keyring *keyring)
{
    pthread_rwlock_rdlock(&keyring->lock);
    size_t count = keyring->count;
    pthread_rwlock_unlock(&keyring->lock);
    return count;
}

enum err keyring_find(struct keyring *keyring, struct bytes id, struct access_key *ret_key)
{
    pthread_rwlock_rdlock(&keyring->lock);
    const struct entry *entry = table_find(keyring, id);
    if (entry != NULL)
        entry_copy(entry, ret_key);
    pthread_rwlock_unlock(&keyring->lock);
    return entry != NULL ? ERR_OK : ERR_NO_SUCH_KEY_ID;
}

enum err keyring_at(struct keyring *keyring, size_t i, struct access_key *ret_key)
{
    pthread_rwlock_rdlock(&keyring->lock);
    bool is_there = i < keyring->count;
    if (is_there)
        entry_copy(keyring->sorted[i], ret_key);
    pthread_rwlock_unlock(&keyring->lock);
    if (is_there)
        explicit_bzero(ret_key->secret, sizeof ret_key->secret);
    return is_there ? ERR_OK : ERR_NO_SUCH_KEY_ID;
}

/* ---- changing ---- */

/* Alphabets of 32 and 64 symbols: a random byte's low bits choose without bias. */
static void draw_text(struct rand *rand, const char *alphabet, size_t alphabet_size, char *out,
                      size_t size)
{
    CHECK((alphabet_size & (alphabet_size - 1)) == 0);
    rand_fill(rand, out, size);
    for (size_t i = 0; i < size; i++)
        out[i] = alphabet[(unsigned char)out[i] & (alphabet_size - 1)];
    out[size] = '\0';
}

static void draw_id(struct rand *rand, struct access_key *key)
{
    strcpy(key->id, "SLUI");
    draw_text(rand, "ABCDEFGHIJKLMNOPQRSTUVWXYZ234567", 32, key->id + 4, ID_DRAWN_BYTES - 4);
}

void access_key_draw(struct rand *rand, struct access_key *key)
{
    if (key->id[0] == '\0')
        draw_id(rand, key);
    if (key->secret[0] == '\0')
        draw_text(rand, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/", 64,
                  key->secret, SECRET_DRAWN_BYTES);
    if (key->owner[0] == '\0') {
        uint8_t owner[32];
        rand_fill(rand, owner, sizeof owner);
        hex_encode(owner, sizeof owner, key->owner);
    }
}

/*
 * A change of ours is durable. Shown as it was asked for, unless the group has told of changes
 * meanwhile: then this may be overtaken already, and what is there now is read.
 */
static enum err settle(struct keyring *keyring, struct bytes id, struct entry *entry,
                       uint64_t followed_before, struct err_trail *trail)
{
    enum err e = ERR_OK;
    pthread_mutex_lock(&keyring->follow);
    if (keyring->followed == followed_before)
        table_replace(keyring, id, entry);
    else {
        entry_free(entry);
        e = refresh(keyring, id, trail);
    }
    pthread_mutex_unlock(&keyring->follow);
    return e;
}

static uint64_t followed_now(struct keyring *keyring)
{
    pthread_mutex_lock(&keyring->follow);
    uint64_t followed = keyring->followed;
    pthread_mutex_unlock(&keyring->follow);
    return followed;
}

/* Stores the key durably and then shows it to keyring_find(). `change` is held. */
static enum err create_judged(struct keyring *keyring, const struct access_key *key,
                              struct err_trail *trail)
{
    struct bytes id = bytes_of_string(key->id);
    if (is_there(keyring, id))
        return err_say(trail, ERR_KEY_ID_EXISTS, "there is an access key %s already", key->id);
    uint64_t followed = followed_now(keyring);
    enum err e = table_make_room(keyring); /* so that showing what is durable cannot fail */
    if (e)
        return err_note(trail, e, "there are %u access keys at most", KEYS_MAX);
    struct entry *entry = entry_make(key);
    if (entry == NULL)
        return ERR_NO_MEMORY;

    uint8_t record[KEY_RECORD_BYTES_MAX];
    char name[SETTING_NAME_MAX];
    size_t record_size = 0;
    e = key_record_put(record, key, keyring->node_key, &record_size);
    struct mutation put = {
        .kind = MUTATION_SETTING_PUT,
        .key = setting_name(name, id),
        .attrs = bytes_of(record, record_size),
        .must_be_new = true,
    };
    if (e == ERR_OK)
        e = group_propose_wait(keyring->group, &put);
    if (e) {
        entry_free(entry);
        return err_note(trail, e, "store access key %s%s%s", key->id, put.trail.text[0] ? ": " : "",
                        put.trail.text);
    }
    return settle(keyring, id, entry, followed, trail);
}

enum err keyring_create(struct keyring *keyring, const struct access_key *draft,
                        struct access_key *ret_key, struct err_trail *trail)
{
    struct access_key key = *draft;
    bool id_is_drawn = key.id[0] == '\0';
    access_key_draw(keyring->rand, &key);
    if (key.created_ns == 0)
        key.created_ns = clock_real_ns(keyring->clock);
    enum err e = ERR_KEY_ID_EXISTS;
    pthread_mutex_lock(&keyring->change);
    for (unsigned draw = 0; draw < DRAWS_MAX && e == ERR_KEY_ID_EXISTS; draw++) {
        if (draw > 0)
            draw_id(keyring->rand, &key);
        e = access_key_judge(&key, trail);
        if (e == ERR_OK)
            e = create_judged(keyring, &key, trail);
        if (!id_is_drawn)
            break;
    }
    pthread_mutex_unlock(&keyring->change);
    if (e == ERR_OK)
        *ret_key = key;
    explicit_bzero(&key, sizeof key);
    return e;
}

static enum err judge_removal(struct keyring *keyring, struct bytes id, struct err_trail *trail)
{
    pthread_rwlock_rdlock(&keyring->lock);
    const struct entry *entry = table_find(keyring, id);
    bool is_known = entry != NULL, is_last = is_known && entry_is_root(entry);
    for (size_t i = 0; is_last && i < keyring->count; i++)
        is_last = keyring->sorted[i] == entry || !entry_is_root(keyring->sorted[i]);
    pthread_rwlock_unlock(&keyring->lock);
    if (!is_known)
        return err_say(trail, ERR_NO_SUCH_KEY_ID, "there is no access key %.*s",
                       (int)bytes_slice(id, 0, 64).size, id.data);
    if (is_last)
        return err_say(trail, ERR_INVALID,
                       "%.*s is the last root key: without one nobody could administer buckets of "
                       "others; create another root key first",
                       (int)id.size, id.data);
    return ERR_OK;
}

/* `change` is held. */
static enum err remove_locked(struct keyring *keyring, struct bytes id, struct err_trail *trail)
{
    enum err e = judge_removal(keyring, id, trail);
    if (e)
        return e;
    char name[SETTING_NAME_MAX];
    uint64_t followed = followed_now(keyring);
    struct mutation delete = {.kind = MUTATION_SETTING_DELETE, .key = setting_name(name, id)};
    e = group_propose_wait(keyring->group, &delete);
    if (e)
        return err_note(trail, e, "remove access key %.*s", (int)id.size, id.data);
    return settle(keyring, id, NULL, followed, trail);
}

enum err keyring_remove(struct keyring *keyring, struct bytes id, struct err_trail *trail)
{
    pthread_mutex_lock(&keyring->change);
    enum err e = remove_locked(keyring, id, trail);
    pthread_mutex_unlock(&keyring->change);
    return e;
}

/* ---- what a key may do ---- */

/*
 * A grant names a bucket and is given by the administrator, so it holds whoever owns the bucket; a
 * key without grants may do what its owner may: everything on the owner's own buckets.
 */
bool access_key_may(const struct access_key *key, const struct bucket_info *bucket, uint8_t bits)
{
    if (key->is_root)
        return true;
    if (key->grant_count == 0)
        return strcmp(key->owner, bucket->owner) == 0;
    for (unsigned i = 0; i < key->grant_count; i++)
        if (strcmp(key->grants[i].bucket, bucket->name) == 0)
            return (key->grants[i].bits & bits) == bits;
    return false;
}
