#include "api/s3/bucket_settings.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "base/check.h"
#include "base/log.h"

#define SETTING_PREFIX   BYTES("bucket/")
#define SETTING_NAME_MAX (7 + 8)
#define RECORD_BYTES_MAX 256u  /* three lines of the longest names and values are 70 */
#define STORED_BYTES_MAX 4096u /* with lines that only a newer version understands */

struct entry {
    uint32_t bucket;
    struct bucket_policy policy;
};

/*
 * Locks, in this order: `change` is held over the wait for the group, `follow` while settings are
 * read from the index and put into the table, `lock` guards the table for the time of a search. The
 * group's own thread, which tells of changes made through other nodes, takes only the last two.
 */
struct bucket_settings {
    struct group *group; /* borrowed */
    pthread_mutex_t change, follow;
    uint64_t followed; /* changes the group has told of; under `follow` */
    pthread_rwlock_t lock;
    struct entry *entries; /* owned, by bucket id */
    size_t capacity;
    _Atomic size_t count; /* written under `lock`; read without to see that there are none */
};

/* ---- one setting ---- */

static enum err say_values(const char *name, const char *values, struct bytes value,
                           struct err_trail *trail)
{
    return err_say(trail, ERR_INVALID, "%s is none of %s|default: '%.*s'", name, values,
                   (int)bytes_slice(value, 0, 40).size, value.data);
}

static enum err path_value(struct bytes value, struct path_policy *policy)
{
    uint8_t path;
    enum err e = path_name_parse(value, &path);
    if (e || path == PATH_INLINE) /* a small object is inline or not: it cannot be made so */
        return ERR_INVALID;
    policy->path = path;
    return ERR_OK;
}

static enum err require_value(struct bytes value, struct path_policy *policy)
{
    return path_require_parse(value, &policy->require);
}

static enum err verify_value(struct bytes value, struct path_policy *policy)
{
    return path_verify_parse(value, policy);
}

enum err bucket_policy_set(struct bucket_policy *policy, struct bytes name, struct bytes value,
                           struct err_trail *trail)
{
    bool has = !bytes_equal_nocase(value, BYTES("default"));
#define X(field, name_, values)                                                                    \
    if (bytes_equal(name, BYTES(name_))) {                                                         \
        if (has && field##_value(value, &policy->policy))                                          \
            return say_values(name_, values, value, trail);                                        \
        policy->has_##field = has;                                                                 \
        return ERR_OK;                                                                             \
    }
    BUCKET_SETTINGS(X)
#undef X
    return err_say(trail, ERR_INVALID,
                   "a bucket has no setting %.*s; there are get-path, require-path and verify",
                   (int)bytes_slice(name, 0, 40).size, name.data);
}

void bucket_policy_print(const struct bucket_policy *policy, const char *name, struct buf *out)
{
    if (strcmp(name, "get-path") == 0 && policy->has_path)
        buf_put_string(out, path_name(policy->policy.path));
    else if (strcmp(name, "require-path") == 0 && policy->has_require)
        buf_put_string(out, path_require_name(policy->policy.require));
    else if (strcmp(name, "verify") == 0 && policy->has_verify)
        path_verify_print(&policy->policy, out);
    else
        buf_put_string(out, "default");
}

static bool has_any(const struct bucket_policy *policy)
{
    return policy->has_path || policy->has_require || policy->has_verify;
}

void bucket_policy_apply(const struct bucket_policy *bucket, struct path_policy *policy)
{
    if (bucket->has_path)
        policy->path = bucket->policy.path;
    if (bucket->has_require)
        policy->require = bucket->policy.require;
    if (bucket->has_verify) {
        policy->verify = bucket->policy.verify;
        policy->sample_every = bucket->policy.sample_every;
    }
}

/* ---- records ---- */

static struct bytes record_write(const struct bucket_policy *policy, char out[RECORD_BYTES_MAX])
{
    struct buf buf = {.data = out, .capacity = RECORD_BYTES_MAX};
#define X(field, name, values)                                                                     \
    if (policy->has_##field) {                                                                     \
        buf_put_string(&buf, name "=");                                                            \
        bucket_policy_print(policy, name, &buf);                                                   \
        buf_put_char(&buf, '\n');                                                                  \
    }
    BUCKET_SETTINGS(X)
#undef X
    CHECK(!buf.overflowed);
    return buf_bytes(&buf);
}

/* A line this version does not understand is said and passed over: a newer one wrote it, and the
 * bucket's objects are served all the same. */
static void record_read(uint32_t bucket, struct bytes record, struct bucket_policy *ret_policy)
{
    *ret_policy = (struct bucket_policy){0};
    while (record.size > 0) {
        struct bytes value = bytes_split(&record, '\n'), name = bytes_split(&value, '=');
        struct err_trail trail = {0};
        enum err e = bucket_policy_set(ret_policy, name, value, &trail);
        if (e)
            LOG(LOG_WARN, "s3", "a bucket's setting is ignored bucket_id=%08x: %s", bucket,
                err_trail_text(&trail, e));
    }
}

static struct bytes setting_name(char out[SETTING_NAME_MAX + 1], struct bucket_id bucket)
{
    struct buf name = {.data = out,
                       .capacity = SETTING_NAME_MAX + 1}; /* printf ends it with a NUL */
    buf_printf(&name, "bucket/%08x", bucket.value);
    CHECK(!name.overflowed);
    return buf_bytes(&name);
}

/* ---- the table; callers hold `lock` or are alone ---- */

static size_t position(const struct bucket_settings *settings, uint32_t bucket)
{
    size_t low = 0, high = settings->count;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (settings->entries[middle].bucket < bucket)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

static bool stands_at(const struct bucket_settings *settings, size_t at, uint32_t bucket)
{
    return at < settings->count && settings->entries[at].bucket == bucket;
}

static enum err table_grow(struct bucket_settings *settings)
{
    if (settings->count < settings->capacity)
        return ERR_OK;
    size_t capacity = settings->capacity ? settings->capacity * 2 : 16;
    struct entry *entries = realloc(settings->entries, capacity * sizeof *entries);
    if (entries == NULL)
        return ERR_NO_MEMORY;
    settings->entries = entries;
    settings->capacity = capacity;
    return ERR_OK;
}

static void table_put(struct bucket_settings *settings, uint32_t bucket,
                      const struct bucket_policy *policy)
{
    size_t at = position(settings, bucket);
    if (!stands_at(settings, at, bucket)) {
        CHECK(settings->count < settings->capacity);
        memmove(settings->entries + at + 1, settings->entries + at,
                (settings->count - at) * sizeof *settings->entries);
        settings->count++;
    }
    settings->entries[at] = (struct entry){bucket, *policy};
}

static void table_remove(struct bucket_settings *settings, uint32_t bucket)
{
    size_t at = position(settings, bucket);
    if (!stands_at(settings, at, bucket))
        return;
    settings->count--;
    memmove(settings->entries + at, settings->entries + at + 1,
            (settings->count - at) * sizeof *settings->entries);
}

/* ---- opening, following ---- */

static enum err make_room(struct bucket_settings *settings)
{
    pthread_rwlock_wrlock(&settings->lock);
    enum err e = table_grow(settings);
    pthread_rwlock_unlock(&settings->lock);
    return e;
}

/* Room was made. */
static void show(struct bucket_settings *settings, uint32_t bucket,
                 const struct bucket_policy *policy)
{
    pthread_rwlock_wrlock(&settings->lock);
    if (has_any(policy))
        table_put(settings, bucket, policy);
    else
        table_remove(settings, bucket);
    pthread_rwlock_unlock(&settings->lock);
}

/* "bucket/0000002a": 42 */
static bool name_read(struct bytes name, uint32_t *ret_bucket)
{
    struct bytes hex = bytes_slice(name, SETTING_PREFIX.size, SIZE_MAX);
    uint8_t id[4];
    if (hex.size != 8 || hex_decode(hex, id, sizeof id))
        return false;
    *ret_bucket = (uint32_t)id[0] << 24 | (uint32_t)id[1] << 16 | (uint32_t)id[2] << 8 | id[3];
    return true;
}

/* Puts into the table what the index has. `follow` is held. */
static enum err refresh(struct bucket_settings *settings, uint32_t bucket, struct err_trail *trail)
{
    uint8_t record[STORED_BYTES_MAX];
    char name[SETTING_NAME_MAX + 1];
    size_t size = 0;
    struct bucket_policy policy = {0};
    enum err e = make_room(settings);
    if (e == ERR_OK)
        e = group_setting(settings->group, setting_name(name, (struct bucket_id){bucket}), record,
                          sizeof record, &size);
    if (e && e != ERR_NO_SUCH_KEY_ID)
        return err_note(trail, e, "read a bucket's settings");
    if (e == ERR_OK)
        record_read(bucket, bytes_of(record, size), &policy);
    show(settings, bucket, &policy);
    return ERR_OK;
}

/* On the group's thread. */
static void setting_changed(void *context, struct bytes name)
{
    struct bucket_settings *settings = context;
    struct err_trail trail = {0};
    uint32_t bucket;
    if (!name_read(name, &bucket))
        return;
    pthread_mutex_lock(&settings->follow);
    settings->followed++;
    enum err e = refresh(settings, bucket, &trail);
    pthread_mutex_unlock(&settings->follow);
    if (e)
        LOG_LIMITED(LOG_ERROR, "s3", "a change of a bucket's settings does not count here yet: %s",
                    err_trail_text(&trail, e));
}

struct loading {
    struct bucket_settings *settings;
    struct err_trail *trail;
};

static enum err load_one(void *context, struct bytes name, struct bytes value)
{
    struct loading *loading = context;
    uint32_t bucket;
    if (!name_read(name, &bucket))
        return err_say(loading->trail, ERR_CORRUPT, "a bucket's settings have the name %.*s",
                       (int)bytes_slice(name, 0, 40).size, name.data);
    struct bucket_policy policy;
    record_read(bucket, value, &policy);
    enum err e = make_room(loading->settings);
    if (e == ERR_OK)
        show(loading->settings, bucket, &policy);
    return e;
}

/* ---- settings of buckets that were removed ---- */

struct seeing {
    uint32_t *buckets; /* that have settings, ascending */
    size_t count;
    bool *is_there; /* for each */
};

static enum err see_bucket(void *context, const struct bucket_info *bucket)
{
    struct seeing *seeing = context;
    for (size_t low = 0, high = seeing->count; low < high;) {
        size_t middle = low + (high - low) / 2;
        if (seeing->buckets[middle] == bucket->id.value)
            seeing->is_there[middle] = true;
        if (seeing->buckets[middle] < bucket->id.value)
            low = middle + 1;
        else
            high = middle;
    }
    return ERR_OK;
}

/* Whose settings there are now: the table changes while buckets are looked through. */
static enum err list_buckets(struct bucket_settings *settings, struct seeing *seeing)
{
    pthread_rwlock_rdlock(&settings->lock);
    seeing->count = settings->count;
    seeing->buckets = calloc(seeing->count + 1, sizeof *seeing->buckets);
    seeing->is_there = calloc(seeing->count + 1, sizeof *seeing->is_there);
    bool has_memory = seeing->buckets != NULL && seeing->is_there != NULL;
    for (size_t i = 0; has_memory && i < seeing->count; i++)
        seeing->buckets[i] = settings->entries[i].bucket;
    pthread_rwlock_unlock(&settings->lock);
    return has_memory ? ERR_OK : ERR_NO_MEMORY;
}

static enum err take_all_back(void *context, struct bucket_policy *policy, struct err_trail *trail)
{
    *policy = (struct bucket_policy){0};
    return ERR_OK;
}

enum err bucket_settings_tidy(struct bucket_settings *settings, struct err_trail *trail)
{
    struct seeing seeing = {0};
    struct bucket_policy nothing;
    enum err e = list_buckets(settings, &seeing);
    if (e == ERR_OK && seeing.count > 0)
        e = group_buckets(settings->group, see_bucket, &seeing);
    for (size_t i = 0; i < seeing.count && e == ERR_OK; i++)
        if (!seeing.is_there[i])
            e = bucket_settings_change(settings, (struct bucket_id){seeing.buckets[i]},
                                       take_all_back, NULL, &nothing, trail);
    free(seeing.buckets);
    free(seeing.is_there);
    return e;
}

enum err bucket_settings_open(struct group *group, struct bucket_settings **ret_settings,
                              struct err_trail *trail)
{
    CLEANUP(bucket_settings_close) struct bucket_settings *settings = calloc(1, sizeof *settings);
    if (settings == NULL)
        return ERR_NO_MEMORY;
    settings->group = group;
    pthread_mutex_init(&settings->change, NULL);
    pthread_mutex_init(&settings->follow, NULL);
    pthread_rwlock_init(&settings->lock, NULL);
    struct loading loading = {settings, trail};
    /* Watched first and read under `follow`: a change comes before its reading or is told after
     * it. */
    group_watch_settings(group, SETTING_PREFIX, setting_changed, settings);
    pthread_mutex_lock(&settings->follow);
    enum err e = group_settings(group, SETTING_PREFIX, load_one, &loading);
    pthread_mutex_unlock(&settings->follow);
    if (e)
        return err_note(trail, e, "read the buckets' settings");
    *ret_settings = TAKE(settings);
    return ERR_OK;
}

void bucket_settings_close(struct bucket_settings *settings)
{
    if (settings == NULL)
        return;
    group_watch_settings(settings->group, SETTING_PREFIX, NULL, NULL);
    free(settings->entries);
    pthread_rwlock_destroy(&settings->lock);
    pthread_mutex_destroy(&settings->follow);
    pthread_mutex_destroy(&settings->change);
    free(settings);
}

/* ---- asking ---- */

bool bucket_settings_find(struct bucket_settings *settings, struct bucket_id bucket,
                          struct bucket_policy *ret_policy)
{
    if (settings == NULL || settings->count == 0)
        return false;
    pthread_rwlock_rdlock(&settings->lock);
    size_t at = position(settings, bucket.value);
    bool is_there = stands_at(settings, at, bucket.value);
    if (is_there)
        *ret_policy = settings->entries[at].policy;
    pthread_rwlock_unlock(&settings->lock);
    return is_there;
}

/* ---- changing; `change` is held ---- */

/* Durably, if what is stored is still `old` (NULL: nothing). ERR_PRECONDITION: it is not. */
static enum err swap(struct bucket_settings *settings, struct bucket_id bucket,
                     const struct bytes *old, const struct bucket_policy *policy)
{
    char name[SETTING_NAME_MAX + 1], record[RECORD_BYTES_MAX];
    if (old == NULL && !has_any(policy))
        return ERR_OK;
    struct mutation m = {.kind = has_any(policy) ? MUTATION_SETTING_PUT : MUTATION_SETTING_DELETE,
                         .key = setting_name(name, bucket),
                         .attrs = record_write(policy, record),
                         .must_be_new = old == NULL,
                         .has_if_value = old != NULL,
                         .if_value = old != NULL ? *old : (struct bytes){0}};
    enum err e = group_propose_wait(settings->group, &m);
    return e == ERR_KEY_ID_EXISTS ? ERR_PRECONDITION : e;
}

/* A change of ours is durable. Shown as it was asked for, unless the group has told of changes
 * meanwhile: then this may be overtaken already, and what is there now is read. */
static enum err settle(struct bucket_settings *settings, uint32_t bucket,
                       const struct bucket_policy *policy, uint64_t followed_before,
                       struct err_trail *trail)
{
    enum err e = ERR_OK;
    pthread_mutex_lock(&settings->follow);
    if (settings->followed == followed_before)
        show(settings, bucket, policy);
    else
        e = refresh(settings, bucket, trail);
    pthread_mutex_unlock(&settings->follow);
    return e;
}

static enum err change_once(struct bucket_settings *settings, struct bucket_id bucket,
                            bucket_change_fn *change, void *context,
                            struct bucket_policy *ret_policy, struct err_trail *trail)
{
    char name[SETTING_NAME_MAX + 1];
    uint8_t stored[STORED_BYTES_MAX];
    struct bytes old = bytes_of(stored, 0);
    struct bucket_policy policy = {0};
    enum err e = group_setting(settings->group, setting_name(name, bucket), stored, sizeof stored,
                               &old.size);
    bool is_there = e == ERR_OK;
    if (e && e != ERR_NO_SUCH_KEY_ID)
        return err_note(trail, e, "read the bucket's settings");
    if (is_there)
        record_read(bucket.value, old, &policy);
    e = change(context, &policy, trail);
    if (e)
        return e;
    pthread_mutex_lock(&settings->follow);
    uint64_t followed = settings->followed;
    e = make_room(settings); /* so that what follows the durable change cannot fail */
    pthread_mutex_unlock(&settings->follow);
    if (e == ERR_OK)
        e = swap(settings, bucket, is_there ? &old : NULL, &policy);
    if (e)
        return e == ERR_PRECONDITION ? e : err_note(trail, e, "store the bucket's settings");
    e = settle(settings, bucket.value, &policy, followed, trail);
    if (e == ERR_OK)
        *ret_policy = policy;
    return e;
}

enum err bucket_settings_change(struct bucket_settings *settings, struct bucket_id bucket,
                                bucket_change_fn *change, void *context,
                                struct bucket_policy *ret_policy, struct err_trail *trail)
{
    enum err e = ERR_PRECONDITION;
    pthread_mutex_lock(&settings->change);
    for (unsigned tries = 0; tries < BUCKET_CHANGE_TRIES_MAX && e == ERR_PRECONDITION; tries++)
        e = change_once(settings, bucket, change, context, ret_policy, trail);
    pthread_mutex_unlock(&settings->change);
    if (e == ERR_PRECONDITION)
        return err_say(trail, e,
                       "others changed the bucket's settings at the same time; ask again");
    return e;
}
