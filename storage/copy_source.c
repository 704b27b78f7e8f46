/* Rows for a copy, out of a snapshot of the index. */
#include "storage/copy_priv.h"

#include <stdlib.h>

#include "base/check.h"
#include "storage/records.h"
#include "storage/retain.h"
#include "storage/volume_priv.h"

#define ROWS_SEEN_MAX 16384u /* in one run, whether they are sent or not */
#define HELD_MAX      65536u /* rows of the log that are not applied: far more than a group keeps */

struct held { /* references that rows of the log hold: the target's log will bring them */
    struct data_id id;
    uint64_t count;
};

struct copy_source {
    struct volume *volume;        /* borrowed */
    struct kv_snapshot *snapshot; /* owned */
    uint64_t psn, term, rows;
    struct held *held; /* owned; sorted, each id once */
    size_t held_count;
};

_Static_assert(2 * HELD_MAX * sizeof(struct held) + sizeof(struct copy_source) <=
                   COPY_SOURCE_BYTES_MAX,
               "it may be there twice while it grows");

/* ---- reading the snapshot ---- */

static enum err walk_open(const struct copy_source *source, enum kv_family family, bool is_scan,
                          struct kv_iter **ret_iter)
{
    struct kv *kv = source->volume->kv;
    struct kv_iter_options options = {
        .family = family, .snapshot = source->snapshot, .scan = is_scan};
    return kv->ops->iter_open(kv, &options, ret_iter);
}

/* The value under just this key; size 0: there is none. Borrowed until the iterator moves. */
static enum err find(const struct kv_ops *ops, struct kv_iter *iter, struct bytes key,
                     struct bytes *ret_value)
{
    *ret_value = (struct bytes){0};
    ops->iter_seek(iter, key);
    if (!ops->iter_valid(iter))
        return ops->iter_err(iter);
    if (bytes_equal(ops->iter_key(iter), key))
        *ret_value = ops->iter_value(iter);
    return ERR_OK;
}

static enum err find_number(const struct copy_source *source, struct bytes key,
                            uint64_t *ret_number)
{
    const struct kv_ops *ops = source->volume->kv->ops;
    struct kv_iter *iter;
    struct bytes value;
    enum err e = walk_open(source, KV_SYS, false, &iter);
    if (e)
        return e;
    e = find(ops, iter, key, &value);
    if (e == ERR_OK)
        *ret_number = value.size == 8 ? get_le64(value.data) : 0;
    ops->iter_close(iter);
    return e;
}

/* ---- what the log holds ---- */

static int by_id(const void *a, const void *b)
{
    const struct held *x = a, *y = b;
    if (x->id.epoch != y->id.epoch)
        return x->id.epoch < y->id.epoch ? -1 : 1;
    return (x->id.counter > y->id.counter) - (x->id.counter < y->id.counter);
}

static enum err hold(struct copy_source *source, struct data_id id)
{
    if (source->held_count == HELD_MAX)
        return ERR_TOO_LARGE;
    struct held *grown = realloc(source->held, (source->held_count + 1) * sizeof *grown);
    if (grown == NULL)
        return ERR_NO_MEMORY;
    source->held = grown;
    grown[source->held_count++] = (struct held){.id = id, .count = 1};
    return ERR_OK;
}

static void sum_up(struct copy_source *source)
{
    size_t count = 0;
    if (source->held_count > 0)
        qsort(source->held, source->held_count, sizeof *source->held, by_id);
    for (size_t i = 0; i < source->held_count; i++) {
        struct held *last = count > 0 ? &source->held[count - 1] : NULL;
        if (last != NULL && data_id_equal(last->id, source->held[i].id))
            last->count += source->held[i].count;
        else
            source->held[count++] = source->held[i];
    }
    source->held_count = count;
}

static enum err see_log_row(struct copy_source *source, struct bytes key, struct bytes value)
{
    uint64_t psn;
    struct log_record row;
    enum err e = key_log_parse(key, &psn);
    if (e == ERR_OK)
        e = record_log_get(value, &row);
    if (e)
        return e;
    if (psn == source->psn)
        source->term = row.term;
    return psn > source->psn && row.data.size > 0 ? hold(source, row.data.id) : ERR_OK;
}

/* The row of the last applied record, for its term, and all behind it. */
static enum err see_log(struct copy_source *source)
{
    const struct kv_ops *ops = source->volume->kv->ops;
    struct kv_iter *iter;
    struct kv_key key;
    enum err e = walk_open(source, KV_LOG, false, &iter);
    if (e)
        return e;
    key_log(&key, source->psn);
    for (ops->iter_seek(iter, key_bytes(&key)); e == ERR_OK && ops->iter_valid(iter);
         ops->iter_next(iter))
        e = see_log_row(source, ops->iter_key(iter), ops->iter_value(iter));
    if (e == ERR_OK)
        e = ops->iter_err(iter);
    ops->iter_close(iter);
    sum_up(source);
    return e;
}

/* ---- life ---- */

enum err copy_source_open(struct volume *volume, struct copy_source **ret_source,
                          struct err_trail *trail)
{
    CHECK_MAGIC(volume, VOLUME_MAGIC);
    enum err e = volume__index_usable(volume);
    if (e == ERR_OK && (!volume->has_log || volume_copy_mark(volume).phase != COPY_NONE))
        e = ERR_INVALID;
    if (e)
        return err_note(trail, e, "copy a volume of a group");
    struct copy_source *source = calloc(1, sizeof *source);
    if (source == NULL)
        return err_note(trail, ERR_NO_MEMORY, "copy the index");
    source->volume = volume;
    struct kv_stats stats;
    volume->kv->ops->stats(volume->kv, &stats);
    source->rows = stats.rows;
    e = volume->kv->ops->snapshot_open(volume->kv, &source->snapshot);
    if (e == ERR_OK)
        e = find_number(source, KEY_SYS_LAST_PSN, &source->psn);
    if (e == ERR_OK)
        e = see_log(source);
    if (e == ERR_OK && (source->psn == 0 || source->term == 0))
        e = ERR_BUSY; /* nothing has been applied since the log began */
    if (e) {
        copy_source_close(source);
        return err_note(trail, e, "copy the index");
    }
    *ret_source = source;
    return ERR_OK;
}

void copy_source_close(struct copy_source *source)
{
    if (source == NULL)
        return;
    struct kv *kv = source->volume->kv;
    kv->ops->snapshot_close(kv, source->snapshot);
    free(source->held);
    free(source);
}

uint64_t copy_source_psn(const struct copy_source *source)
{
    return source->psn;
}

uint64_t copy_source_term(const struct copy_source *source)
{
    return source->term;
}

uint64_t copy_source_rows(const struct copy_source *source)
{
    return source->rows;
}

/* ---- a run ---- */

struct reading {
    struct copy_source *source;
    const struct kv_ops *ops;
    struct kv_iter *references; /* over KV_DATA; NULL: the family has no data */
    struct copy_rows rows;
};

/* How often names refer to the data; *ret_is_stored: the count is written down. 0: it is not
 * copied. */
static enum err count_references(struct reading *reading, struct data_id id, uint64_t *ret_count,
                                 bool *ret_is_stored)
{
    const struct copy_source *source = reading->source;
    struct kv_key key;
    struct bytes value;
    uint64_t count = 1;
    key_data(&key, id, DATA_REFS_SHARD);
    enum err e = find(reading->ops, reading->references, key_bytes(&key), &value);
    if (e == ERR_OK && value.size > 0)
        e = record_refs_get(value, &count);
    if (e)
        return e;
    struct held wanted = {.id = id};
    const struct held *held =
        source->held_count == 0
            ? NULL
            : bsearch(&wanted, source->held, source->held_count, sizeof *source->held, by_id);
    uint64_t of_log = held != NULL ? held->count : 0;
    if (count > 0 && of_log > count)
        return ERR_CORRUPT;
    *ret_count = retain_copied(count, of_log);
    *ret_is_stored = value.size > 0;
    return ERR_OK;
}

static bool put_references(struct reading *reading, struct data_id id, uint64_t count)
{
    struct kv_key key;
    uint8_t record[REFS_RECORD_BYTES];
    key_data(&key, id, DATA_REFS_SHARD);
    record_refs_put(record, count);
    return copy__row_put(&reading->rows, key_bytes(&key), bytes_of(record, sizeof record));
}

/* Data goes as its size and the count of its references; where it lies is each node's own. The
 * count of inline data stands here alone. */
static enum err put_data(struct reading *reading, struct bytes key, struct bytes value,
                         bool *ret_fits)
{
    struct data_id id;
    uint32_t shard;
    uint64_t count = 0;
    bool is_stored = false;
    struct data_record data;
    *ret_fits = true;
    enum err e = key_data_parse(key, &id, &shard);
    if (e || (shard != 0 && shard != DATA_REFS_SHARD))
        return e;
    e = count_references(reading, id, &count, &is_stored);
    if (e == ERR_OK && shard == 0)
        e = record_data_get(value, 0, &data);
    if (e)
        return e;
    if (shard == 0) {
        uint8_t record[ABSENT_RECORD_BYTES];
        record_absent_put(record, data.size);
        *ret_fits =
            count == 0 || copy__row_put(&reading->rows, key, bytes_of(record, sizeof record));
    }
    if (*ret_fits && count > 0 && is_stored)
        *ret_fits = put_references(reading, id, count);
    return ERR_OK;
}

static enum err put_inline(struct reading *reading, struct bytes key, struct bytes value,
                           bool *ret_fits)
{
    struct data_id id;
    uint64_t count = 0;
    bool is_stored;
    enum err e = key_inline_parse(key, &id);
    if (e == ERR_OK)
        e = count_references(reading, id, &count, &is_stored);
    *ret_fits = e || count == 0 || copy__row_put(&reading->rows, key, value);
    return e;
}

static enum err put_row(struct reading *reading, enum kv_family family, struct bytes key,
                        struct bytes value, bool *ret_fits)
{
    if (family == KV_DATA)
        return put_data(reading, key, value, ret_fits);
    if (family == KV_INLINE)
        return put_inline(reading, key, value, ret_fits);
    /* What waits for deletion is not copied, so its notes are not. */
    bool is_left_out = !copy__is_replicated(family, key) ||
                       (family == KV_GC && key.size > 0 && key.data[0] == GC_DATA);
    *ret_fits = is_left_out || copy__row_put(&reading->rows, key, value);
    return ERR_OK;
}

static void note_upto(enum kv_family family, struct bytes key, struct kv_key *upto)
{
    struct data_id id;
    uint32_t shard;
    memcpy(upto->data, key.data, key.size);
    upto->size = (uint16_t)key.size;
    if (family == KV_DATA && key_data_parse(key, &id, &shard) == ERR_OK)
        key_data(upto, id, DATA_REFS_SHARD);
}

/* Rows behind `after`, until there is no room for one, or enough was seen. A row that did not fit,
 * and what belongs with it, is the next run's. */
static enum err read_rows(struct reading *reading, struct kv_iter *iter, enum kv_family family,
                          struct bytes after, struct kv_key *upto, bool *ret_is_end)
{
    const struct kv_ops *ops = reading->ops;
    enum err e = ERR_OK;
    size_t seen = 0;
    bool fits = true;
    *ret_is_end = false;
    ops->iter_seek(iter, after);
    for (; e == ERR_OK && ops->iter_valid(iter); ops->iter_next(iter), seen++) {
        struct bytes key = ops->iter_key(iter);
        size_t before = reading->rows.size;
        if (bytes_compare(key, upto->size > 0 ? key_bytes(upto) : after) <= 0)
            continue; /* belongs to data that was said */
        if (seen >= ROWS_SEEN_MAX && upto->size > 0)
            return ERR_OK;
        e = put_row(reading, family, key, ops->iter_value(iter), &fits);
        if (e == ERR_OK && !fits) {
            reading->rows.size = before;
            return before > 0 ? ERR_OK : ERR_CORRUPT; /* no record is so large */
        }
        if (e == ERR_OK)
            note_upto(family, key, upto);
    }
    *ret_is_end = e == ERR_OK;
    return e ? e : ops->iter_err(iter);
}

enum err copy_source_read(struct copy_source *source, enum kv_family family, struct bytes after,
                          uint8_t rows[COPY_ROWS_BYTES_MAX], struct kv_key *ret_upto,
                          struct copy_run *ret_run)
{
    struct reading reading = {
        .source = source, .ops = source->volume->kv->ops, .rows = {.data = rows}};
    struct kv_iter *iter = NULL;
    bool is_end = true, has_data = family == KV_DATA || family == KV_INLINE;
    ret_upto->size = 0;
    enum err e = volume__index_usable(source->volume);
    if (e == ERR_OK && family != KV_LOG)
        e = walk_open(source, family, true, &iter);
    if (e == ERR_OK && has_data)
        e = walk_open(source, KV_DATA, false, &reading.references);
    if (e == ERR_OK && iter != NULL)
        e = read_rows(&reading, iter, family, after, ret_upto, &is_end);
    if (reading.references != NULL)
        reading.ops->iter_close(reading.references);
    if (iter != NULL)
        reading.ops->iter_close(iter);
    if (e)
        return e;
    *ret_run = (struct copy_run){
        .family = family,
        .after = after,
        .upto = is_end ? (struct bytes){0} : key_bytes(ret_upto),
        .rows = bytes_of(rows, reading.rows.size),
    };
    return ERR_OK;
}
