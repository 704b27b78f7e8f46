/*
 * Deferred deletion. What is too much for one batch, or may still be read, is noted in KV_GC in the
 * batch that lets go of it, and deleted afterwards in steps of bounded size. How far the work has
 * come is part of the note, so a crash between steps resumes it; nothing is done twice.
 *
 * A step takes notes in the order of their keys as long as its budget lasts. It leaves alone those
 * that the batch itself has written, for their names are not yet published as gone, and those of
 * data that is pinned.
 */
#include "storage/apply_priv.h"

#include "base/check.h"
#include "storage/pins.h"

struct budget { /* what a step may still do */
    uint32_t extents, shards, pieces, uploads;
};
static const struct budget step_budget = {
    .extents = 1024, .shards = 64, .pieces = 512, .uploads = 128};
#define PIECES_AT_ONCE 128u

bool apply__is_read(const struct apply *apply, struct data_id id)
{
    return apply->pins != NULL && pins_watch(apply->pins, id);
}

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

static uint32_t less(uint32_t budget, uint32_t used)
{
    return used < budget ? budget - used : 0;
}

/* Data without references: its shards from the last to the first, which tells how many there are.
 * Inline data has none. */
static enum err step_data(struct apply *apply, struct gc_task *task, struct budget *budget)
{
    while (task->record.next_shard < task->record.shards && budget->extents > 0 &&
           budget->shards > 0) {
        uint32_t extents = 0, shard = task->record.shards - 1 - task->record.next_shard;
        enum err e = apply__shard_delete(apply, task->id, shard, &extents);
        if (e)
            return e;
        budget->extents = less(budget->extents, extents);
        budget->shards--;
        task->record.next_shard++;
    }
    if (task->record.next_shard < task->record.shards)
        return apply__gc_put(apply, &task->key, &task->record);
    enum err e = task->record.shards == 0 ? apply__inline_delete(apply, task->id) : ERR_OK;
    if (e == ERR_OK)
        e = apply__references_delete(apply, task->id);
    budget->pieces = less(budget->pieces, 1);
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

struct next_pieces {
    struct stored_piece pieces[PIECES_AT_ONCE];
    uint32_t count;
    bool is_last; /* of its shard */
};

/* Copies what comes next in the task's shard: the record may lie in the batch, which moves as it
 * grows. */
static enum err get_pieces(struct apply *apply, const struct gc_task *task,
                           struct next_pieces *next)
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
    if (e == ERR_OK && task->record.next_index >= shard.count)
        e = ERR_CORRUPT;
    next->count = 0;
    for (uint32_t i = task->record.next_index;
         e == ERR_OK && next->count < PIECES_AT_ONCE && i < shard.count; i++)
        next->pieces[next->count++] = record_pieces_at(&shard, i);
    next->is_last = e == ERR_OK && task->record.next_index + next->count == shard.count;
    view_put(&value);
    return e;
}

static enum err drop_pieces(struct apply *apply, struct gc_task *task, struct budget *budget)
{
    struct next_pieces next;
    uint32_t done = 0;
    enum err e = get_pieces(apply, task, &next);
    for (; e == ERR_OK && done < next.count && budget->extents > 0 && budget->pieces > 0; done++) {
        e = apply__data_drop(apply, &next.pieces[done], DROP_MANIFEST, &budget->extents);
        budget->pieces--;
    }
    if (e)
        return e;
    task->record.next_index += done;
    if (done == next.count && next.is_last) {
        task->record.next_shard++;
        task->record.next_index = 0;
    }
    return ERR_OK;
}

static enum err step_manifest(struct apply *apply, struct gc_task *task, struct budget *budget)
{
    while (task->record.next_shard < task->record.shards && budget->extents > 0 &&
           budget->pieces > 0) {
        enum err e = drop_pieces(apply, task, budget);
        if (e)
            return e;
    }
    if (task->record.next_shard < task->record.shards)
        return apply__gc_put(apply, &task->key, &task->record);
    enum err e = delete_manifest(apply, task->id);
    budget->pieces = less(budget->pieces, 1);
    return e ? e : finish(apply, task);
}

/* Parts of an aborted upload. */
static enum err step_parts(struct apply *apply, struct gc_task *task, struct budget *budget)
{
    struct view view = apply__view(apply);
    struct view_walk walk;
    struct kv_key key;
    key_parts(&key, &task->upload);
    enum err e = view_walk_open(&walk, &view, KV_PART, &key);
    if (e)
        return e;
    bool more = false;
    while (e == ERR_OK && (more = view_walk_next(&walk)) && budget->extents > 0 &&
           budget->pieces > 0) {
        uint32_t pieces = 0;
        copy_key(&key, view_walk_key(&walk));
        e = apply__part_release(apply, &key, view_walk_value(&walk), &budget->extents, &pieces);
        if (e == ERR_OK)
            e = apply__delete(apply, KV_PART, &key);
        budget->pieces = less(budget->pieces, pieces + 1);
    }
    if (e == ERR_OK)
        e = view_walk_err(&walk);
    view_walk_close(&walk);
    if (e)
        return e;
    return more ? apply__gc_put(apply, &task->key, &task->record) : finish(apply, task);
}

/* Uploads of a deleted bucket become a task each. */
static enum err step_uploads(struct apply *apply, struct gc_task *task, struct budget *budget)
{
    struct view view = apply__view(apply);
    struct view_walk walk;
    struct kv_key key, parts_key;
    key_upload_prefix(&key, task->bucket, (struct bytes){0});
    enum err e = view_walk_open(&walk, &view, KV_UPLOAD, &key);
    if (e)
        return e;
    bool more = false;
    while (e == ERR_OK && (more = view_walk_next(&walk)) && budget->uploads > 0) {
        char name[KEY_BYTES_MAX];
        size_t name_size;
        struct bucket_id bucket;
        struct upload_id id;
        copy_key(&key, view_walk_key(&walk));
        e = key_upload_parse(key_bytes(&key), &bucket, name, &name_size, &id);
        if (e == ERR_OK)
            e = apply__delete(apply, KV_UPLOAD, &key);
        if (e == ERR_OK) {
            key_gc_parts(&parts_key, &id);
            e = apply__gc_put(apply, &parts_key, &(struct gc_record){0});
        }
        budget->uploads--;
    }
    if (e == ERR_OK)
        e = view_walk_err(&walk);
    view_walk_close(&walk);
    if (e)
        return e;
    return more ? apply__gc_put(apply, &task->key, &task->record) : finish(apply, task);
}

static enum err step(struct apply *apply, struct gc_task *task, struct budget *budget)
{
    switch (task->kind) {
    case GC_DATA:
        return step_data(apply, task, budget);
    case GC_MANIFEST:
        return step_manifest(apply, task, budget);
    case GC_PARTS:
        return step_parts(apply, task, budget);
    case GC_UPLOADS:
        return step_uploads(apply, task, budget);
    }
    return ERR_CORRUPT;
}

static bool has_left(const struct budget *budget)
{
    return budget->extents > 0 && budget->shards > 0 && budget->pieces > 0 && budget->uploads > 0;
}

/* One note: works on it unless it has to wait, which is no error. */
static enum err take_task(struct apply *apply, struct bytes key, struct bytes value,
                          struct budget *budget, bool *worked)
{
    struct gc_task task;
    struct bytes newer;
    if (kv_batch_find(apply->batch, KV_GC, key, &newer) >= 0)
        return ERR_OK;
    enum err e = key_gc_parse(key, &task.kind, &task.id, &task.upload, &task.bucket);
    if (e == ERR_OK)
        e = record_gc_get(value, &task.record);
    if (e || (task.kind == GC_DATA && apply__is_read(apply, task.id)))
        return e;
    copy_key(&task.key, key);
    *worked = true;
    return step(apply, &task, budget);
}

static enum err take_tasks(struct apply *apply, bool *worked)
{
    struct kv *kv = apply->kv;
    struct kv_iter *iter;
    struct kv_iter_options options = {.family = KV_GC};
    enum err e = kv->ops->iter_open(kv, &options, &iter);
    if (e)
        return e;
    struct budget budget = step_budget;
    for (kv->ops->iter_seek(iter, (struct bytes){0});
         e == ERR_OK && has_left(&budget) && kv->ops->iter_valid(iter); kv->ops->iter_next(iter))
        e = take_task(apply, kv->ops->iter_key(iter), kv->ops->iter_value(iter), &budget, worked);
    if (e == ERR_OK)
        e = kv->ops->iter_err(iter);
    kv->ops->iter_close(iter);
    return e;
}

enum err apply_gc_step(struct apply *apply, bool *ret_more)
{
    size_t released = apply->effects->released_count;
    bool pending = apply->effects->gc_pending, worked = false;
    struct kv_mark mark = kv_batch_mark(apply->batch);
    enum err e = take_tasks(apply, &worked);
    if (e) {
        kv_batch_rollback(apply->batch, mark);
        apply->effects->released_count = released;
        apply->effects->gc_pending = pending;
        return e;
    }
    *ret_more = worked; /* what is left, if it can be worked on at all */
    return ERR_OK;
}
