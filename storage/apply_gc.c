/*
 * Deferred deletion. What is too much for one batch is noted in KV_GC in the batch that lets go of it, and deleted afterwards in steps of bounded
 * size, each a batch of its own. How far the work has come is part of the note, so a crash between steps resumes it; nothing is done twice.
 */
#include "storage/apply_priv.h"

#include "base/check.h"

#define STEP_EXTENTS 1024u /* stop a step when so many are released */
#define STEP_SHARDS 16u
#define STEP_PIECES 256u
#define STEP_PARTS 128u
#define STEP_UPLOADS 128u

enum err apply__gc_put(struct apply *apply, const struct kv_key *key, const struct gc_record *gc)
{
    uint8_t record[GC_RECORD_BYTES];
    record_gc_put(record, gc);
    apply->effects->gc_pending = true;
    return apply__put(apply, KV_GC, key, record, sizeof record);
}

static void copy_key(struct kv_key *key, struct bytes bytes)
{
    CHECK(bytes.size <= sizeof key->data);
    memcpy(key->data, bytes.data, bytes.size);
    key->size = (uint16_t)bytes.size;
}

struct gc_task {
    struct kv_key key;
    enum gc_kind kind;
    struct data_id id;
    struct upload_id upload;
    struct bucket_id bucket;
    struct gc_record record;
};

static enum err finish(struct apply *apply, const struct gc_task *task)
{
    return apply__delete(apply, KV_GC, &task->key);
}

/* Data without references: its shards from the last to the first, which tells how many there are. */
static enum err step_data(struct apply *apply, struct gc_task *task)
{
    uint32_t extents = 0;
    for (uint32_t i = 0; i < STEP_SHARDS && extents < STEP_EXTENTS && task->record.next_shard < task->record.shards; i++) {
        uint32_t here, shard = task->record.shards - 1 - task->record.next_shard;
        enum err e = apply__shard_delete(apply, task->id, shard, &here);
        if (e)
            return e;
        extents += here;
        task->record.next_shard++;
    }
    if (task->record.next_shard < task->record.shards)
        return apply__gc_put(apply, &task->key, &task->record);
    struct kv_key key;
    key_data(&key, task->id, DATA_REFS_SHARD);
    enum err e = apply__delete(apply, KV_DATA, &key);
    return e ? e : finish(apply, task);
}

/* What is left of a manifest when its pieces are let go of: at most all its shards. */
static enum err delete_manifest(struct apply *apply, struct data_id id)
{
    struct view view = apply__view(apply);
    struct view_walk walk;
    struct kv_key key;
    key_inline(&key, id); /* the id alone: what all shards begin with */
    enum err e = view_walk_open(&walk, &view, KV_MANIFEST, &key);
    if (e)
        return e;
    while (e == ERR_OK && view_walk_next(&walk)) {
        copy_key(&key, view_walk_key(&walk));
        e = apply__delete(apply, KV_MANIFEST, &key);
    }
    if (e == ERR_OK)
        e = view_walk_err(&walk);
    view_walk_close(&walk);
    return e;
}

/* Copies the next pieces of the task's shard. */
static enum err next_pieces(struct apply *apply, const struct gc_task *task, struct stored_piece pieces[STEP_PIECES],
                            uint32_t *ret_count, bool *ret_shard_ends)
{
    struct view view = apply__view(apply);
    struct view_value value;
    struct kv_key key;
    struct manifest_record shard;
    key_manifest(&key, task->id, task->record.next_shard);
    enum err e = view_get(&view, KV_MANIFEST, &key, &value);
    if (e)
        return e == ERR_NO_SUCH_OBJECT ? ERR_CORRUPT : e;
    e = record_pieces_get(value.bytes, &shard);
    if (e == ERR_OK && task->record.next_index > shard.count)
        e = ERR_CORRUPT;
    uint32_t count = 0;
    for (uint32_t i = task->record.next_index; e == ERR_OK && count < STEP_PIECES && i < shard.count; i++)
        pieces[count++] = record_pieces_at(&shard, i);
    if (e == ERR_OK) {
        *ret_count = count;
        *ret_shard_ends = task->record.next_index + count == shard.count;
    }
    view_put(&value);
    return e;
}

static enum err step_manifest(struct apply *apply, struct gc_task *task)
{
    if (task->record.next_shard == task->record.shards) {
        enum err e = delete_manifest(apply, task->id);
        return e ? e : finish(apply, task);
    }
    struct stored_piece pieces[STEP_PIECES];
    uint32_t count = 0, budget = STEP_EXTENTS, done = 0;
    bool shard_ends = false;
    enum err e = next_pieces(apply, task, pieces, &count, &shard_ends);
    for (; e == ERR_OK && done < count && budget >= DIRECT_EXTENTS_MAX; done++)
        e = apply__data_drop(apply, &pieces[done], &budget);
    if (e)
        return e;
    task->record.next_index += done;
    if (shard_ends && done == count) {
        task->record.next_shard++;
        task->record.next_index = 0;
    }
    return apply__gc_put(apply, &task->key, &task->record);
}

/* Parts of an aborted upload. */
static enum err step_parts(struct apply *apply, struct gc_task *task)
{
    struct view view = apply__view(apply);
    struct view_walk walk;
    struct kv_key key;
    key_parts(&key, &task->upload);
    enum err e = view_walk_open(&walk, &view, KV_PART, &key);
    if (e)
        return e;
    uint32_t parts = 0, pieces = 0, budget = STEP_EXTENTS;
    bool more = false;
    while (e == ERR_OK && (more = view_walk_next(&walk))) {
        if (parts == STEP_PARTS || pieces >= STEP_PIECES || budget < DIRECT_EXTENTS_MAX)
            break;
        uint32_t here = 0;
        copy_key(&key, view_walk_key(&walk));
        e = apply__part_release(apply, &key, view_walk_value(&walk), &budget, &here);
        if (e == ERR_OK)
            e = apply__delete(apply, KV_PART, &key);
        parts++;
        pieces += here;
    }
    if (e == ERR_OK)
        e = view_walk_err(&walk);
    view_walk_close(&walk);
    if (e || more)
        return e;
    return finish(apply, task);
}

/* Uploads of a deleted bucket become one task each. */
static enum err step_uploads(struct apply *apply, struct gc_task *task)
{
    struct view view = apply__view(apply);
    struct view_walk walk;
    struct kv_key key, gc_key;
    key_upload_prefix(&key, task->bucket, (struct bytes){0});
    enum err e = view_walk_open(&walk, &view, KV_UPLOAD, &key);
    if (e)
        return e;
    bool more = false;
    for (uint32_t i = 0; e == ERR_OK && (more = view_walk_next(&walk)) && i < STEP_UPLOADS; i++) {
        char name[KEY_BYTES_MAX];
        size_t name_size;
        struct bucket_id bucket;
        struct upload_id id;
        copy_key(&key, view_walk_key(&walk));
        e = key_upload_parse(key_bytes(&key), &bucket, name, &name_size, &id);
        if (e == ERR_OK)
            e = apply__delete(apply, KV_UPLOAD, &key);
        if (e == ERR_OK) {
            key_gc_parts(&gc_key, &id);
            e = apply__gc_put(apply, &gc_key, &(struct gc_record){0});
        }
    }
    if (e == ERR_OK)
        e = view_walk_err(&walk);
    view_walk_close(&walk);
    if (e || more)
        return e;
    return finish(apply, task);
}

/* The first task there is; ERR_NO_SUCH_OBJECT when there is none. */
static enum err first_task(struct apply *apply, struct gc_task *task)
{
    struct view view = apply__view(apply);
    struct view_walk walk;
    struct kv_key all = {0};
    enum err e = view_walk_open(&walk, &view, KV_GC, &all);
    if (e)
        return e;
    if (view_walk_next(&walk)) {
        copy_key(&task->key, view_walk_key(&walk));
        e = record_gc_get(view_walk_value(&walk), &task->record);
    } else {
        e = view_walk_err(&walk);
        if (e == ERR_OK)
            e = ERR_NO_SUCH_OBJECT;
    }
    view_walk_close(&walk);
    return e ? e : key_gc_parse(key_bytes(&task->key), &task->kind, &task->id, &task->upload, &task->bucket);
}

static enum err step(struct apply *apply, struct gc_task *task)
{
    switch (task->kind) {
    case GC_DATA:
        return step_data(apply, task);
    case GC_MANIFEST:
        return step_manifest(apply, task);
    case GC_PARTS:
        return step_parts(apply, task);
    case GC_UPLOADS:
        return step_uploads(apply, task);
    }
    return ERR_CORRUPT;
}

enum err apply_gc_step(struct apply *apply, bool *ret_more)
{
    struct gc_task task;
    enum err e = first_task(apply, &task);
    if (e == ERR_NO_SUCH_OBJECT) {
        *ret_more = false;
        return ERR_OK;
    }
    size_t released = apply->effects->released_count;
    bool pending = apply->effects->gc_pending;
    struct kv_mark mark = kv_batch_mark(apply->batch);
    if (e == ERR_OK)
        e = step(apply, &task);
    if (e) {
        kv_batch_rollback(apply->batch, mark);
        apply->effects->released_count = released;
        apply->effects->gc_pending = pending;
        return e;
    }
    *ret_more = true;
    return ERR_OK;
}
