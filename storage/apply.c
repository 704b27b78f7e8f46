#include "storage/apply_priv.h"

#include <stdlib.h>

#include "base/check.h"

/* ---- effects ---- */

void effects_clear(struct effects *effects)
{
    effects->released_count = 0;
    effects->published_count = 0;
    effects->bucket_count = 0;
    effects->gc_pending = false;
}

void effects_fini(struct effects *effects)
{
    free(effects->released);
    free(effects->published);
    free(effects->buckets);
    memset(effects, 0, sizeof *effects);
}

/* Room for one more element. Returns the array, moved or not; NULL without memory, and then nothing
 * has changed. */
static void *make_room(void *array, size_t count, size_t *capacity, size_t element_size)
{
    if (count < *capacity)
        return array;
    size_t wanted = *capacity < 32 ? 32 : *capacity * 2;
    void *grown = realloc(array, wanted * element_size);
    if (grown != NULL)
        *capacity = wanted;
    return grown;
}

void apply__rollback(struct apply *apply, struct kv_mark mark, const struct effects *before)
{
    struct effects *effects = apply->effects;
    kv_batch_rollback(apply->batch, mark);
    effects->released_count = before->released_count; /* counts only: the arrays may have moved */
    effects->published_count = before->published_count;
    effects->bucket_count = before->bucket_count;
    effects->gc_pending = before->gc_pending;
}

enum err apply__publish(struct apply *apply, struct bucket_id bucket, struct bytes key)
{
    struct effects *effects = apply->effects;
    CHECK(key.size <= KEY_BYTES_MAX);
    struct published_name *names = make_room(effects->published, effects->published_count,
                                             &effects->published_capacity, sizeof *names);
    if (names == NULL)
        return ERR_NO_MEMORY;
    effects->published = names;
    struct published_name *name = &names[effects->published_count++];
    name->bucket = bucket;
    name->key_size = (uint32_t)key.size;
    memcpy(name->key, key.data, key.size);
    return ERR_OK;
}

enum err apply__release_extent(struct apply *apply, struct data_id data, struct extent extent)
{
    struct effects *effects = apply->effects;
    struct released_extent *released = make_room(effects->released, effects->released_count,
                                                 &effects->released_capacity, sizeof *released);
    if (released == NULL)
        return ERR_NO_MEMORY;
    effects->released = released;
    released[effects->released_count++] = (struct released_extent){.data = data, .extent = extent};
    return ERR_OK;
}

enum err apply__change_bucket(struct apply *apply, const struct bucket_info *bucket, bool created)
{
    struct effects *effects = apply->effects;
    struct bucket_change *changes = make_room(effects->buckets, effects->bucket_count,
                                              &effects->bucket_capacity, sizeof *changes);
    if (changes == NULL)
        return ERR_NO_MEMORY;
    effects->buckets = changes;
    changes[effects->bucket_count++] =
        (struct bucket_change){.created = created, .bucket = *bucket};
    return ERR_OK;
}

/* ---- shared ---- */

bool apply__has_bucket(const struct apply *apply, struct bucket_id bucket)
{
    const struct effects *effects = apply->effects;
    for (size_t i = effects->bucket_count; i > 0; i--)
        if (effects->buckets[i - 1].bucket.id.value == bucket.value)
            return effects->buckets[i - 1].created;
    return buckets_has_id(apply->buckets, bucket);
}

enum err apply__judge_name(const struct apply *apply, struct mutation *m)
{
    if (m->key.size == 0)
        return err_note(&m->trail, ERR_INVALID, "the key is empty");
    if (m->key.size > KEY_BYTES_MAX)
        return err_note(&m->trail, ERR_TOO_LARGE, "the key is longer than %u bytes", KEY_BYTES_MAX);
    if (!apply__has_bucket(apply, m->bucket))
        return err_note(&m->trail, ERR_NO_SUCH_BUCKET, "bucket %u", m->bucket.value);
    return ERR_OK;
}

enum err apply__put(struct apply *apply, enum kv_family family, const struct kv_key *key,
                    const void *value, size_t size)
{
    return kv_batch_put(apply->batch, family, key_bytes(key), bytes_of(value, size));
}

enum err apply__delete(struct apply *apply, enum kv_family family, const struct kv_key *key)
{
    return kv_batch_delete(apply->batch, family, key_bytes(key));
}

/* ---- buckets ---- */

static enum err get_bucket(struct apply *apply, struct bytes name, struct bucket_info *ret_bucket)
{
    struct view view = apply__view(apply);
    struct kv_key key;
    struct view_value value;
    key_bucket(&key, name);
    enum err e = view_get(&view, KV_BUCKET, &key, &value);
    if (e)
        return e == ERR_NO_SUCH_OBJECT ? ERR_NO_SUCH_BUCKET : e;
    e = record_bucket_get(name, value.bytes, ret_bucket);
    view_put(&value);
    return e;
}

static enum err make_bucket(struct apply *apply, struct mutation *m, struct bucket_info *ret_bucket)
{
    struct bucket_info bucket = {.id = {apply->next_bucket_id}, .created_ns = apply->now_ns};
    struct bytes name = m->bucket_name;
    if (name.size < BUCKET_NAME_BYTES_MIN || name.size > BUCKET_NAME_BYTES_MAX ||
        memchr(name.data, 0, name.size) != NULL)
        return err_note(&m->trail, ERR_INVALID, "the bucket's name has %zu bytes", name.size);
    if (m->owner.size >= sizeof bucket.owner || m->region.size >= sizeof bucket.region ||
        (m->owner.size > 0 && memchr(m->owner.data, 0, m->owner.size) != NULL) ||
        (m->region.size > 0 && memchr(m->region.data, 0, m->region.size) != NULL))
        return err_note(&m->trail, ERR_INVALID, "the bucket's owner or region");
    memcpy(bucket.name, name.data, name.size);
    if (m->owner.size > 0)
        memcpy(bucket.owner, m->owner.data, m->owner.size);
    if (m->region.size > 0)
        memcpy(bucket.region, m->region.data, m->region.size);
    *ret_bucket = bucket;
    return ERR_OK;
}

static enum err bucket_create(struct apply *apply, struct mutation *m)
{
    struct bucket_info bucket, present;
    enum err e = make_bucket(apply, m, &bucket);
    if (e)
        return e;
    e = get_bucket(apply, m->bucket_name, &present);
    if (e == ERR_OK)
        return bytes_equal(bytes_of_string(present.owner), bytes_of_string(bucket.owner))
                   ? ERR_BUCKET_OWNED
                   : ERR_BUCKET_EXISTS;
    if (e != ERR_NO_SUCH_BUCKET)
        return e;
    if (apply->next_bucket_id == UINT32_MAX)
        return err_note(&m->trail, ERR_TOO_LARGE, "bucket numbers are used up");

    struct kv_key key;
    uint8_t record[BUCKET_RECORD_BYTES_MAX], next[4];
    key_bucket(&key, m->bucket_name);
    e = apply__put(apply, KV_BUCKET, &key, record, record_bucket_put(record, &bucket));
    if (e)
        return e;
    put_le32(next, apply->next_bucket_id + 1);
    e = kv_batch_put(apply->batch, KV_SYS, KEY_SYS_NEXT_BUCKET, bytes_of(next, sizeof next));
    if (e)
        return e;
    e = apply__change_bucket(apply, &bucket, true);
    if (e)
        return e;
    apply->next_bucket_id++;
    m->new_bucket = bucket.id;
    m->mtime_ns = bucket.created_ns;
    return ERR_OK;
}

static enum err has_any(struct apply *apply, enum kv_family family, const struct kv_key *prefix,
                        bool *ret_has)
{
    struct view view = apply__view(apply);
    struct view_walk walk;
    enum err e = view_walk_open(&walk, &view, family, prefix);
    if (e)
        return e;
    *ret_has = view_walk_next(&walk);
    e = view_walk_err(&walk);
    view_walk_close(&walk);
    return e;
}

static enum err bucket_delete(struct apply *apply, struct mutation *m)
{
    struct bucket_info bucket;
    if (m->bucket_name.size == 0 || m->bucket_name.size > BUCKET_NAME_BYTES_MAX)
        return ERR_NO_SUCH_BUCKET;
    enum err e = get_bucket(apply, m->bucket_name, &bucket);
    if (e)
        return e;
    if (m->bucket.value != 0 && m->bucket.value != bucket.id.value)
        return ERR_NO_SUCH_BUCKET; /* deleted and made anew since the caller looked */

    struct kv_key key;
    bool has;
    key_object(&key, bucket.id, (struct bytes){0});
    e = has_any(apply, KV_OBJECT, &key, &has);
    if (e)
        return e;
    if (has)
        return ERR_BUCKET_NOT_EMPTY;
    key_upload_prefix(&key, bucket.id, (struct bytes){0});
    e = has_any(apply, KV_UPLOAD, &key, &has);
    if (e == ERR_OK && has) {
        key_gc_uploads(&key, bucket.id);
        e = apply__gc_put(apply, &key, &(struct gc_record){0});
    }
    if (e)
        return e;
    key_bucket(&key, m->bucket_name);
    e = apply__delete(apply, KV_BUCKET, &key);
    return e ? e : apply__change_bucket(apply, &bucket, false);
}

/* ---- settings ---- */

static enum err judge_setting_name(struct mutation *m)
{
    if (m->key.size == 0 || m->key.size > SETTING_NAME_BYTES_MAX)
        return err_note(&m->trail, ERR_INVALID, "the setting's name has %zu bytes", m->key.size);
    return ERR_OK;
}

/* What is there, and whether it is what the mutation wants there. */
static enum err judge_present(struct apply *apply, const struct mutation *m, struct kv_key *key,
                              bool *ret_exists)
{
    struct view view = apply__view(apply);
    struct view_value value = {0};
    struct bytes present = {0};
    key_setting(key, m->key);
    enum err e = view_get(&view, KV_SYS, key, &value);
    bool exists = e == ERR_OK;
    if (e && e != ERR_NO_SUCH_OBJECT)
        return e;
    e = exists ? record_setting_get(value.bytes, &present) : ERR_OK;
    if (e == ERR_OK && m->must_be_new && exists)
        e = ERR_KEY_ID_EXISTS;
    else if (e == ERR_OK && m->has_if_value && !(exists && bytes_equal(present, m->if_value)))
        e = ERR_PRECONDITION;
    view_put(&value);
    *ret_exists = exists;
    return e;
}

static enum err setting_put(struct apply *apply, struct mutation *m)
{
    enum err e = judge_setting_name(m);
    if (e)
        return e;
    if (m->attrs.size > SETTING_BYTES_MAX)
        return err_note(&m->trail, ERR_TOO_LARGE, "the setting has %zu bytes", m->attrs.size);
    struct kv_key key;
    bool exists;
    e = judge_present(apply, m, &key, &exists);
    if (e)
        return e;

    uint8_t *room;
    e = kv_batch_reserve(apply->batch, KV_SYS, key_bytes(&key), record_setting_size(m->attrs.size),
                         &room);
    if (e)
        return e;
    record_setting_put(room, m->attrs);
    m->existed = exists;
    return ERR_OK;
}

static enum err setting_delete(struct apply *apply, struct mutation *m)
{
    enum err e = judge_setting_name(m);
    if (e)
        return e;
    struct kv_key key;
    bool exists;
    e = judge_present(apply, m, &key, &exists);
    if (e)
        return e;
    if (!exists)
        return ERR_NO_SUCH_KEY_ID;
    m->existed = true;
    return apply__delete(apply, KV_SYS, &key);
}

/* ---- dispatch ---- */

static const struct mutation_plan {
    const char *name;
    enum err (*apply)(struct apply *apply, struct mutation *m);
} plans[MUTATION_KIND_COUNT] = {
    [MUTATION_BUCKET_CREATE] = {"create bucket", bucket_create},
    [MUTATION_BUCKET_DELETE] = {"delete bucket", bucket_delete},
    [MUTATION_OBJECT_PUT] = {"put object", apply__object_put},
    [MUTATION_OBJECT_DELETE] = {"delete object", apply__object_delete},
    [MUTATION_UPLOAD_CREATE] = {"create upload", apply__upload_create},
    [MUTATION_PART_PUT] = {"put part", apply__part_put},
    [MUTATION_UPLOAD_COMPLETE] = {"complete upload", apply__upload_complete},
    [MUTATION_UPLOAD_ABORT] = {"abort upload", apply__upload_abort},
    [MUTATION_SETTING_PUT] = {"put setting", setting_put},
    [MUTATION_SETTING_DELETE] = {"delete setting", setting_delete},
};

enum err apply_mutation(struct apply *apply, struct mutation *m)
{
    CHECK_MAGIC(m, MUTATION_MAGIC);
    CHECK((unsigned)m->kind < MUTATION_KIND_COUNT);
    struct effects before = *apply->effects;
    struct kv_mark mark = kv_batch_mark(apply->batch);
    m->existed = false;

    enum err e = plans[m->kind].apply(apply, m);
    if (e == ERR_OK)
        return ERR_OK;
    apply__rollback(apply, mark, &before);
    return err_note(&m->trail, e, "%s", plans[m->kind].name);
}
