/*
 * Opening a volume, step by step; each step judges what it reads and says in one sentence what is
 * wrong.
 *
 *     directory -> superblock and lock -> Direct I/O
 *     -> index: is it this volume's, and has it lost nothing
 *     -> segments -> extents: free space is what none covers -> buckets
 *     -> DIRTY and a new mount epoch, durably, before anything else is changed
 *     -> leftovers of a crash
 *
 * What cannot be trusted as a whole is refused. Damage to a part (a segment missing, extents that
 * overlap) opens the volume read-only: what is whole can still be read.
 */
#include <stdio.h>
#include <stdlib.h>

#include "base/check.h"
#include "base/log.h"
#include "storage/body_priv.h"
#include "storage/copy_priv.h"
#include "storage/keys.h"
#include "storage/records.h"
#include "storage/volume_priv.h"

#define INDEX_CACHE_BYTES  MIB(64)
#define RECORD_CACHE_BYTES MIB(32)
#define MEMTABLE_BYTES_MIN MIB(2)
#define MEMTABLE_BYTES_MAX MIB(64)

static void damaged(struct volume *volume, const struct err_trail *trail)
{
    LOG(LOG_ERROR, "storage", "damage found dir=%s what=\"%s\"", volume->dir, trail->text);
    if (volume->is_damaged)
        return; /* the first reason stays */
    volume->is_damaged = true;
    volume__enter_read_only(volume, trail->text);
}

/* ---- directory, superblock ---- */

struct entries {
    bool has_any, has_superblock, has_subdir, has_ballast;
};

static enum err see_entry(void *context, const char *name)
{
    struct entries *entries = context;
    entries->has_any = entries->has_any || strcmp(name, "lost+found") != 0;
    entries->has_superblock = entries->has_superblock || strcmp(name, "superblock") == 0;
    entries->has_ballast = entries->has_ballast || strcmp(name, "ballast") == 0;
    entries->has_subdir =
        entries->has_subdir || strcmp(name, "meta") == 0 || strcmp(name, "seg") == 0;
    return ERR_OK;
}

static enum err say_unfinished(struct err_trail *trail)
{
    return err_say(trail, ERR_NOT_VOLUME,
                   "a format was interrupted here and nothing is stored yet: format it again");
}

static enum err judge_dir(struct volume *volume, struct entries *entries, struct err_trail *trail)
{
    enum err e = volume->disk->ops->list(volume->disk, volume->dir, see_entry, entries);
    if (e == ERR_NO_SUCH_FILE)
        return err_say(trail, e, "there is no such directory");
    if (e)
        return err_note(trail, e, "look into it");
    if (entries->has_superblock)
        return ERR_OK;
    if (!entries->has_any)
        return err_say(trail, ERR_NOT_VOLUME, "the directory is empty: format it first");
    if (entries->has_subdir)
        return say_unfinished(trail);
    return err_say(trail, ERR_NOT_VOLUME, "this is no Sluice volume: it has no superblock");
}

static enum err refuse_any(void *context, const char *name)
{
    return ERR_FILE_EXISTS;
}

static bool is_empty_dir(struct volume *volume, const char *name)
{
    char path[SEGMENT_PATH_BYTES_MAX];
    snprintf(path, sizeof path, "%s/%s", volume->dir, name);
    return volume->disk->ops->list(volume->disk, path, refuse_any, NULL) == ERR_OK;
}

static enum err load_superblock(struct volume *volume, struct err_trail *trail)
{
    const struct disk_ops *ops = volume->disk->ops;
    char path[SEGMENT_PATH_BYTES_MAX];
    snprintf(path, sizeof path, "%s/superblock", volume->dir);
    enum err e = ops->open(volume->disk, path, volume->read_only ? DISK_READ : DISK_WRITE,
                           &volume->superblock_file);
    if (e)
        return err_note(trail, e, "open the superblock");
    e = ops->lock(volume->superblock_file);
    if (e == ERR_IN_USE)
        return err_say(trail, e, "another process has this volume open");
    if (e)
        return err_note(trail, e, "lock the superblock");
    /* Nothing is decided on bytes that are not durable. */
    e = volume->read_only ? ERR_OK : ops->sync(volume->superblock_file);
    if (e)
        return err_note(trail, e, "sync the superblock");
    e = superblock_read(volume->superblock_file, &volume->superblock, trail);
    if ((e == ERR_CORRUPT || e == ERR_NOT_VOLUME) && is_empty_dir(volume, "meta") &&
        is_empty_dir(volume, "seg"))
        return say_unfinished(trail);
    if (e == ERR_NOT_VOLUME)
        return err_say(trail, ERR_CORRUPT, "the superblock is all zeros, although there are data");
    if (e)
        return e;
    if ((volume->superblock.features_read_only & ~FEATURES_KNOWN_READ_ONLY) != 0 &&
        !volume->read_only)
        return err_say(trail, ERR_FORMAT_NEWER,
                       "written by a newer Sluice: with features %#llx this one can only read it",
                       (unsigned long long)(volume->superblock.features_read_only &
                                            ~FEATURES_KNOWN_READ_ONLY));
    return ERR_OK;
}

/* ---- the log ---- */

/* The superblock says so before there is anything of it. */
static enum err load_log_feature(struct volume *volume, const struct volume_options *options,
                                 struct err_trail *trail)
{
    struct superblock *superblock = &volume->superblock;
    volume->has_log = (superblock->features_read_only & FEATURE_READ_ONLY_LOG) != 0;
    if (volume->has_log || !options->has_log || volume->read_only)
        return ERR_OK;
    superblock->features_read_only |= FEATURE_READ_ONLY_LOG;
    volume->has_log = true;
    return superblock_write(volume->superblock_file, superblock, trail);
}

/* ---- Direct I/O ---- */

enum err volume__judge_direct(const char *dir, struct disk *disk, enum volume_direct direct,
                              struct disk_probe *ret_probe, struct err_trail *trail)
{
    *ret_probe = (struct disk_probe){
        .direct = DISK_DIRECT_REAL, .align_bytes = DISK_ALIGN, .file_system = "simulated"};
    if (disk != disk_real())
        return ERR_OK;
    enum err e = disk_probe_dir(dir, ret_probe, trail);
    if (e)
        return err_note(trail, e, "try Direct I/O");
    if (ret_probe->direct == DISK_DIRECT_REAL && ret_probe->align_bytes > UNIT_BYTES) {
        ret_probe->direct = DISK_DIRECT_REFUSED;
        snprintf(ret_probe->reason, sizeof ret_probe->reason,
                 "%s wants Direct I/O in blocks of %u bytes, more than our %u",
                 ret_probe->file_system, ret_probe->align_bytes, UNIT_BYTES);
    }
    if (ret_probe->direct != DISK_DIRECT_REAL && direct == VOLUME_DIRECT_REQUIRED)
        return err_say(trail, ERR_NO_DIRECT_IO,
                       "%s; with --allow-buffered it is taken all the same, without zero copy",
                       ret_probe->reason);
    return ERR_OK;
}

static enum err load_direct(struct volume *volume, const struct volume_options *options,
                            struct err_trail *trail)
{
    struct disk_probe probe;
    if (volume->read_only) { /* a probe writes */
        volume->is_direct = options->direct == VOLUME_DIRECT_REQUIRED;
        return ERR_OK;
    }
    enum err e = volume__judge_direct(volume->dir, volume->disk, options->direct, &probe, trail);
    if (e)
        return e;
    volume->is_direct = probe.direct == DISK_DIRECT_REAL;
    memcpy(volume->file_system, probe.file_system, sizeof volume->file_system);
    if (!volume->is_direct)
        LOG(LOG_WARN, "storage", "without Direct I/O dir=%s why=\"%s\"", volume->dir, probe.reason);
    return ERR_OK;
}

/* ---- the index ---- */

static uint64_t memtable_bytes(const struct volume *volume)
{
    /* They, their logs and what they are flushed into fit in what is free when it is low. */
    uint64_t bytes = space_low_bytes(volume->space.view.disk_total_bytes) / 2;
    return bytes < MEMTABLE_BYTES_MIN   ? MEMTABLE_BYTES_MIN
           : bytes > MEMTABLE_BYTES_MAX ? MEMTABLE_BYTES_MAX
                                        : bytes;
}

static enum err load_index(struct volume *volume, const struct volume_options *options,
                           struct err_trail *trail)
{
    if (volume->kv != NULL)
        return ERR_OK; /* given */
    char path[SEGMENT_PATH_BYTES_MAX];
    snprintf(path, sizeof path, "%s/meta", volume->dir);
    bool is_new = volume->superblock.mount_epoch == 0;
    enum err e =
        kv_rocks_open(&(struct kv_rocks_options){.path = path,
                                                 .cache_bytes = options->index_cache_bytes
                                                                    ? options->index_cache_bytes
                                                                    : INDEX_CACHE_BYTES,
                                                 .memtable_bytes = memtable_bytes(volume),
                                                 .create = is_new,
                                                 .read_only = volume->read_only,
                                                 .has_log = volume->has_log},
                      &volume->kv, trail);
    if (e == ERR_NO_SUCH_FILE && !is_new)
        return err_say(trail, ERR_CORRUPT, "the index in %s is missing", path);
    return e;
}

/* ERR_NO_SUCH_OBJECT: absent. */
static enum err get_sys(struct volume *volume, struct bytes key, uint8_t *out, size_t size)
{
    struct kv_value value;
    enum err e = volume->kv->ops->get(volume->kv, KV_SYS, key, KV_ANY, &value);
    if (e)
        return e;
    if (value.bytes.size == size)
        memcpy(out, value.bytes.data, size);
    else
        e = ERR_CORRUPT;
    volume->kv->ops->value_put(&value);
    return e;
}

static enum err get_number(struct volume *volume, struct bytes key, size_t size, uint64_t absent,
                           uint64_t *ret_value, struct err_trail *trail)
{
    uint8_t bytes[8] = {0};
    enum err e = get_sys(volume, key, bytes, size);
    if (e && e != ERR_NO_SUCH_OBJECT)
        return err_note(trail, e, "read %.*s of the index", (int)key.size, key.data);
    *ret_value = e ? absent : get_le64(bytes);
    return ERR_OK;
}

static enum err claim_index(struct volume *volume, struct err_trail *trail)
{
    struct kv_batch *batch;
    enum err e = kv_batch_open(&batch);
    if (e)
        return err_note(trail, e, "open the index");
    e = kv_batch_put(batch, KV_SYS, KEY_SYS_UUID,
                     bytes_of(volume->superblock.uuid, sizeof volume->superblock.uuid));
    if (e == ERR_OK)
        e = volume->kv->ops->write(volume->kv, batch, true, trail);
    kv_batch_close(batch);
    return e;
}

static enum err judge_index(struct volume *volume, struct err_trail *trail)
{
    uint8_t uuid[16];
    bool is_new = volume->superblock.mount_epoch == 0;
    enum err e = get_sys(volume, KEY_SYS_UUID, uuid, sizeof uuid);
    if (e == ERR_NO_SUCH_OBJECT && is_new)
        return volume->read_only ? ERR_OK : claim_index(volume, trail);
    if (e == ERR_NO_SUCH_OBJECT)
        return err_say(trail, ERR_CORRUPT, "the index is empty: it is not the one this volume had");
    if (e)
        return err_note(trail, e, "read the index");
    if (memcmp(uuid, volume->superblock.uuid, sizeof uuid) != 0)
        return err_say(trail, ERR_CORRUPT, "the index belongs to another volume");
    return ERR_OK;
}

static enum err load_counters(struct volume *volume, struct err_trail *trail)
{
    uint64_t seq, psn, next_bucket;
    enum err e = get_number(volume, KEY_SYS_COMMIT_SEQ, 8, 0, &seq, trail);
    if (e == ERR_OK)
        e = get_number(volume, KEY_SYS_LAST_PSN, 8, 0, &psn, trail);
    if (e == ERR_OK)
        e = get_number(volume, KEY_SYS_NEXT_BUCKET, 4, 1, &next_bucket, trail);
    if (e)
        return e;
    if (seq < volume->superblock.durable_commit_seq)
        return err_say(trail, ERR_CORRUPT,
                       "the index ends at commit %llu, but %llu was acknowledged: it lost changes",
                       (unsigned long long)seq,
                       (unsigned long long)volume->superblock.durable_commit_seq);
    atomic_store(&volume->commit.seq, seq);
    atomic_store(&volume->commit.synced_seq, seq);
    atomic_store(&volume->commit.last_psn, psn);
    volume->commit.apply.next_bucket_id = (uint32_t)next_bucket;
    return ERR_OK;
}

/* ---- what the log holds ---- */

/* The row the iterator stands on; 0: none. */
static enum err row_number(const struct kv_ops *ops, struct kv_iter *iter, uint64_t *ret_psn)
{
    *ret_psn = 0;
    return ops->iter_valid(iter) ? key_log_parse(ops->iter_key(iter), ret_psn)
                                 : ops->iter_err(iter);
}

static enum err seek_row(const struct kv_ops *ops, struct kv_iter *iter, uint64_t psn,
                         uint64_t *ret_psn)
{
    struct kv_key key;
    key_log(&key, psn);
    ops->iter_seek(iter, key_bytes(&key));
    return row_number(ops, iter, ret_psn);
}

/* Rows below `first` are leftovers; between the first one and the last applied there is none
 * missing (fsck looks at each), behind that one all are looked at. */
static enum err see_rows(struct volume *volume, struct kv_iter *iter, uint64_t first,
                         bool *ret_has_gap)
{
    const struct kv_ops *ops = volume->kv->ops;
    struct commit *commit = &volume->commit;
    struct log_range *log = &commit->log;
    uint64_t found;
    log->applied = atomic_load(&commit->last_psn);
    log->first = log->applied + 1;
    log->last = log->applied;
    enum err e = seek_row(ops, iter, 0, &commit->log_rows_from);
    if (e == ERR_OK)
        e = seek_row(ops, iter, first, &found);
    if (commit->log_rows_from == 0)
        commit->log_rows_from = log->first;
    if (e || found == 0)
        return e;
    log->first = found;
    if (found <= log->applied)
        e = seek_row(ops, iter, log->applied, &found);
    uint64_t expected = log->first <= log->applied ? log->applied : log->applied + 1;
    while (e == ERR_OK && found == expected) {
        log->last = expected++;
        ops->iter_next(iter);
        e = row_number(ops, iter, &found);
    }
    *ret_has_gap = e == ERR_OK && (found != 0 || log->last < log->applied);
    return e;
}

/* While it is being copied, the volume has no log: rows there are yet do not count. */
static enum err load_copy(struct volume *volume, struct err_trail *trail)
{
    struct commit *commit = &volume->commit;
    struct kv_value value;
    enum err e = volume->kv->ops->get(volume->kv, KV_SYS, KEY_SYS_COPY, KV_ANY, &value);
    if (e == ERR_NO_SUCH_OBJECT)
        return ERR_OK;
    if (e == ERR_OK) {
        e = copy__mark_get(value.bytes, &commit->copy);
        volume->kv->ops->value_put(&value);
    }
    if (e)
        return err_note(trail, e, "read how far the volume is copied");
    uint64_t applied = atomic_load(&commit->last_psn);
    commit->log = (struct log_range){.first = applied + 1, .last = applied, .applied = applied};
    commit->log_rows_from = applied + 1;
    return ERR_OK;
}

static enum err load_log(struct volume *volume, struct err_trail *trail)
{
    const struct kv_ops *ops = volume->kv->ops;
    struct kv_iter *iter;
    uint64_t first;
    bool has_gap = false;
    if (!volume->has_log) {
        volume->commit.log.applied = atomic_load(&volume->commit.last_psn);
        return ERR_OK;
    }
    enum err e = load_copy(volume, trail);
    if (e == ERR_OK && volume->commit.copy.phase != COPY_NONE) {
        commit_show_log(volume);
        return ERR_OK;
    }
    if (e == ERR_OK)
        e = get_number(volume, KEY_SYS_LOG_FIRST, 8, 0, &first, trail);
    if (e)
        return e;
    e = ops->iter_open(volume->kv, &(struct kv_iter_options){.family = KV_LOG}, &iter);
    if (e == ERR_OK) {
        e = see_rows(volume, iter, first, &has_gap);
        ops->iter_close(iter);
    }
    if (e)
        return err_note(trail, e, "read the log");
    if (has_gap) {
        struct err_trail why = {0};
        (void)err_say(&why, ERR_CORRUPT, "records of the log are missing behind number %llu",
                      (unsigned long long)volume->commit.log.last);
        damaged(volume, &why);
    }
    commit_show_log(volume);
    return ERR_OK;
}

/* ---- walking ---- */

typedef enum err each_fn(struct volume *volume, struct bytes key, struct bytes value,
                         struct err_trail *trail);

static enum err walk(struct volume *volume, enum kv_family family, struct bytes prefix,
                     each_fn *each, struct err_trail *trail)
{
    const struct kv_ops *ops = volume->kv->ops;
    struct kv_iter *iter;
    enum err e = ops->iter_open(volume->kv,
                                &(struct kv_iter_options){.family = family, .scan = true}, &iter);
    if (e)
        return err_note(trail, e, "walk the index");
    for (ops->iter_seek(iter, prefix); e == ERR_OK && ops->iter_valid(iter); ops->iter_next(iter)) {
        if (!bytes_start_with(ops->iter_key(iter), prefix))
            break;
        e = each(volume, ops->iter_key(iter), ops->iter_value(iter), trail);
    }
    enum err ended = e == ERR_OK && !ops->iter_valid(iter) ? ops->iter_err(iter) : ERR_OK;
    ops->iter_close(iter);
    return ended ? err_note(trail, ended, "walk the index") : e;
}

/* ---- segments and extents ---- */

static enum err see_segment(struct volume *volume, struct bytes key, struct bytes value,
                            struct err_trail *trail)
{
    uint32_t number;
    struct err_trail why = {0};
    enum err e = key_segment_parse(key, &number);
    if (e == ERR_OK && number >= SEGMENTS_MAX)
        e = ERR_CORRUPT;
    if (e) {
        e = err_note(&why, e, "a segment's record");
        damaged(volume, &why);
        return ERR_OK;
    }
    e = segments_open(&volume->segments, number, &why);
    if (e == ERR_CORRUPT || e == ERR_IO) {
        damaged(volume, &why);
        return ERR_OK; /* what lies elsewhere can be read */
    }
    if (e) {
        *trail = why;
        return e;
    }
    e = alloc_add(volume->alloc, number);
    return e ? err_note(trail, e, "note segment %08x", number) : ERR_OK;
}

static enum err see_extent(struct volume *volume, struct bytes key, struct bytes value,
                           struct err_trail *trail)
{
    struct err_trail why = {0};
    struct extent_record record;
    struct alloc_run run = {0};
    enum err e = key_extent_parse(key, &run.segment, &run.unit);
    if (e == ERR_OK)
        e = record_extent_get(value, &record);
    if (e == ERR_FORMAT_NEWER)
        return err_note(trail, e, "read the extents");
    if (e == ERR_OK) {
        run.units = record.units;
        e = alloc_mark(volume->alloc, &run);
    }
    if (e && segments_find(&volume->segments, run.segment) == NULL && volume->is_damaged)
        return ERR_OK; /* its segment is missing, which was told */
    if (e) {
        (void)err_say(
            &why, e,
            "the extent at segment %08x unit %u lies outside its segment or on another one",
            run.segment, run.unit);
        damaged(volume, &why);
    }
    return ERR_OK;
}

static enum err load_segments(struct volume *volume, struct err_trail *trail)
{
    struct segments *segments = &volume->segments;
    segments->disk = volume->disk;
    memcpy(segments->dir, volume->dir, sizeof segments->dir);
    memcpy(segments->uuid, volume->superblock.uuid, sizeof segments->uuid);
    segments->segment_bytes = volume->superblock.segment_bytes;
    segments->is_direct = volume->is_direct;
    segments->read_only = volume->read_only;
    enum err e = segments_init(segments);
    if (e == ERR_OK)
        e = alloc_open((uint32_t)(segments->segment_bytes / UNIT_BYTES), SEGMENT_HEADER_UNITS,
                       &volume->alloc);
    if (e == ERR_OK)
        e = walk(volume, KV_SYS, KEY_SEGMENT_PREFIX, see_segment, trail);
    if (e == ERR_OK)
        e = walk(volume, KV_EXTENT, (struct bytes){0}, see_extent, trail);
    return e;
}

/* ---- becoming writable ---- */

static enum err become_dirty(struct volume *volume, struct err_trail *trail)
{
    volume->superblock.mount_epoch++;
    volume->superblock.state = SUPERBLOCK_DIRTY;
    volume->superblock.durable_commit_seq = atomic_load(&volume->commit.seq);
    /* What a process that was killed wrote without a sync was read, but may not be durable. */
    enum err e = volume->has_log ? claim_index(volume, trail) : ERR_OK;
    if (e)
        return e;
    return superblock_write(volume->superblock_file, &volume->superblock, trail);
}

static enum err see_segment_file(void *context, const char *name)
{
    struct volume *volume = context;
    uint32_t number;
    char path[SEGMENT_PATH_BYTES_MAX];
    if (!segment_name_parse(name, &number) || segments_find(&volume->segments, number) != NULL)
        return ERR_OK;
    segment_path(volume->dir, number, path);
    enum err e = volume->disk->ops->remove(volume->disk, path);
    if (e) /* it only takes space, and its number is not given out unless it can be made anew */
        LOG(LOG_WARN, "storage",
            "a segment file nobody needs could not be removed path=%s error=\"%s\"", path,
            err_text(e));
    return ERR_OK;
}

static void remove_leftovers(struct volume *volume)
{
    char path[SEGMENT_PATH_BYTES_MAX];
    snprintf(path, sizeof path, "%s/seg", volume->dir);
    enum err e = volume->disk->ops->list(volume->disk, path, see_segment_file, volume);
    if (e)
        LOG(LOG_WARN, "storage", "cannot look for leftovers path=%s error=\"%s\"", path,
            err_text(e));
}

static enum err open_parts(struct volume *volume, const struct volume_options *options,
                           struct err_trail *trail)
{
    enum err e = pins_open(&volume->pins);
    if (e == ERR_OK)
        e = cache_open(options->record_cache_bytes ? options->record_cache_bytes
                                                   : RECORD_CACHE_BYTES,
                       &volume->cache);
    if (e)
        return err_note(trail, e, "make its caches");
    e = buckets_open(volume->kv, &volume->buckets, trail);
    return e;
}

static enum err measure_disk(struct volume *volume, struct err_trail *trail)
{
    struct disk_space space;
    enum err e = volume->disk->ops->space(volume->disk, volume->dir, &space);
    if (e)
        return err_note(trail, e, "ask how big the disk is");
    volume->space.view.disk_total_bytes = space.total_bytes;
    volume->space.view.disk_free_bytes = space.free_bytes;
    volume->space.view.segment_bytes = volume->superblock.segment_bytes;
    return ERR_OK;
}

/* A crash while it was made may have left it short. */
static bool ballast_is_whole(struct volume *volume)
{
    const struct disk_ops *ops = volume->disk->ops;
    char path[SEGMENT_PATH_BYTES_MAX];
    struct disk_file *file;
    uint64_t size = 0;
    snprintf(path, sizeof path, "%s/ballast", volume->dir);
    if (ops->open(volume->disk, path, DISK_READ, &file))
        return false;
    bool is_whole = ops->size(file, &size) == ERR_OK &&
                    size >= space_ballast_bytes(volume->space.view.disk_total_bytes);
    ops->close(file);
    return is_whole;
}

enum err volume__load(struct volume *volume, const struct volume_options *options,
                      struct err_trail *trail)
{
    struct entries entries = {0};
    enum err e = judge_dir(volume, &entries, trail);
    if (e == ERR_OK)
        e = load_superblock(volume, trail);
    if (e == ERR_OK)
        e = load_direct(volume, options, trail);
    if (e == ERR_OK)
        e = load_log_feature(volume, options, trail);
    if (e == ERR_OK)
        e = measure_disk(volume, trail);
    if (e == ERR_OK)
        e = load_index(volume, options, trail);
    if (e == ERR_OK)
        e = judge_index(volume, trail);
    if (e == ERR_OK)
        e = load_counters(volume, trail);
    if (e == ERR_OK)
        e = load_log(volume, trail);
    if (e == ERR_OK)
        e = load_segments(volume, trail);
    if (e == ERR_OK)
        e = open_parts(volume, options, trail);
    if (e == ERR_OK)
        e = commit_init(volume);
    volume->space.view.has_ballast = entries.has_ballast && ballast_is_whole(volume);
    if (e || volume->read_only || volume->is_damaged)
        return e;
    e = become_dirty(volume, trail);
    if (e)
        return e;
    volume->data_epoch = options->data_epoch ? options->data_epoch : volume->superblock.mount_epoch;
    remove_leftovers(volume);
    e = space_measure(volume);
    return e ? err_note(trail, e, "ask how full the disk is") : ERR_OK;
}
