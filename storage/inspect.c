#include "storage/inspect.h"

#include "storage/keys.h"
#include "storage/records.h"
#include "storage/volume_priv.h"

/* ---- extents ---- */

static enum err read_extent(struct bytes key, struct bytes value, struct inspect_extent *ret_extent)
{
    struct extent_record record;
    struct inspect_extent extent = {0};
    enum err e = key_extent_parse(key, &extent.extent.segment, &extent.extent.unit);
    if (!e)
        e = record_extent_get(value, &record);
    if (e)
        return e;
    extent.extent.units = record.units;
    extent.extent.bytes = record.bytes;
    extent.file_offset = (uint64_t)extent.extent.unit * UNIT_BYTES;
    extent.data = record.data;
    extent.shard = record.shard;
    extent.index = record.index;
    *ret_extent = extent;
    return ERR_OK;
}

static enum err open_extents(struct volume *volume, struct kv_iter **ret_iter)
{
    enum err e = volume__index_usable(volume);
    if (e)
        return e;
    return volume->kv->ops->iter_open(
        volume->kv, &(struct kv_iter_options){.family = KV_EXTENT, .scan = true}, ret_iter);
}

enum err inspect_extents(struct volume *volume, struct inspect_place from, uint32_t max,
                         inspect_extent_fn *each, void *context, struct inspect_place *ret_next,
                         bool *ret_more)
{
    struct kv_iter *iter;
    enum err e = open_extents(volume, &iter);
    if (e)
        return e;
    const struct kv_ops *ops = volume->kv->ops;
    struct kv_key key;
    key_extent(&key, from.segment, from.unit);
    *ret_more = false;
    uint32_t count = 0;
    for (ops->iter_seek(iter, key_bytes(&key)); !e && ops->iter_valid(iter); ops->iter_next(iter)) {
        struct inspect_extent extent;
        e = read_extent(ops->iter_key(iter), ops->iter_value(iter), &extent);
        if (!e && count == max) {
            *ret_next = (struct inspect_place){extent.extent.segment, extent.extent.unit};
            *ret_more = true;
            break;
        }
        if (!e)
            e = each(context, &extent);
        count++;
    }
    if (!e)
        e = ops->iter_err(iter);
    ops->iter_close(iter);
    return e;
}

/* ---- segments ---- */

struct segment_count {
    struct inspect_segment segment;
    uint64_t cell_used[INSPECT_MAP_CELLS]; /* units */
    uint32_t cursor;                       /* first unit not yet accounted for */
};

static void count_begin(struct segment_count *count, uint32_t number, uint32_t units)
{
    *count = (struct segment_count){.segment = {.number = number, .units = units}};
}

static void count_free(struct segment_count *count, uint32_t until)
{
    if (until <= count->cursor)
        return;
    uint32_t run = until - count->cursor;
    count->segment.free_runs++;
    if (run > count->segment.largest_free_run)
        count->segment.largest_free_run = run;
}

static void count_used(struct segment_count *count, uint32_t unit, uint32_t units)
{
    uint32_t all = count->segment.units;
    if (unit >= all || units > all - unit)
        return; /* a damaged record: fsck tells of it */
    count_free(count, unit);
    count->segment.units_used += units;
    count->cursor = unit + units;
    while (units > 0) {
        uint32_t cell = (uint32_t)((uint64_t)unit * INSPECT_MAP_CELLS / all);
        uint32_t cell_end =
            (uint32_t)(((uint64_t)(cell + 1) * all + INSPECT_MAP_CELLS - 1) / INSPECT_MAP_CELLS);
        uint32_t here = cell_end - unit < units ? cell_end - unit : units;
        count->cell_used[cell] += here;
        unit += here;
        units -= here;
    }
}

static enum err count_end(struct segment_count *count, inspect_segment_fn *each, void *context)
{
    count_free(count, count->segment.units);
    for (uint32_t i = 0; i < INSPECT_MAP_CELLS; i++) {
        uint64_t cell_units = count->segment.units / INSPECT_MAP_CELLS;
        uint64_t level = cell_units == 0 ? 0 : count->cell_used[i] * 255 / cell_units;
        /* A cell that holds anything does not look empty. */
        count->segment.map[i] = (uint8_t)(level > 255                             ? 255
                                          : level == 0 && count->cell_used[i] > 0 ? 1
                                                                                  : level);
    }
    return each(context, &count->segment);
}

enum err inspect_segments(struct volume *volume, inspect_segment_fn *each, void *context)
{
    struct kv_iter *iter;
    enum err e = open_extents(volume, &iter);
    if (e)
        return e;
    const struct kv_ops *ops = volume->kv->ops;
    uint32_t units = (uint32_t)(volume->segments.segment_bytes / UNIT_BYTES);
    uint32_t limit = atomic_load(&volume->segments.limit);
    ops->iter_seek(iter, (struct bytes){"", 0});
    for (uint32_t number = 0; number < limit && !e; number++) {
        if (segments_find(&volume->segments, number) == NULL)
            continue;
        struct segment_count count;
        count_begin(&count, number, units);
        count_used(&count, 0, SEGMENT_HEADER_UNITS);
        for (; !e && ops->iter_valid(iter); ops->iter_next(iter)) {
            struct inspect_extent extent;
            e = read_extent(ops->iter_key(iter), ops->iter_value(iter), &extent);
            if (e || extent.extent.segment > number)
                break;
            if (extent.extent.segment < number)
                continue; /* made and gone between two looks */
            count.segment.extents++;
            count_used(&count, extent.extent.unit, extent.extent.units);
        }
        if (!e)
            e = count_end(&count, each, context);
    }
    if (!e)
        e = ops->iter_err(iter);
    ops->iter_close(iter);
    return e;
}

/* ---- one object ---- */

struct object_walk {
    struct volume *volume;
    struct inspect_object *found;
    inspect_extent_fn *each;
    void *context;
};

static enum err see_extent(struct object_walk *walk, struct data_id id, uint32_t shard,
                           uint32_t index, const struct extent *extent)
{
    struct segment *segment = segments_find(&walk->volume->segments, extent->segment);
    if (segment == NULL)
        return ERR_CORRUPT;
    struct inspect_extent seen = {
        .extent = *extent,
        .file_offset = (uint64_t)extent->unit * UNIT_BYTES,
        .data = id,
        .shard = shard,
        .index = index,
    };
    walk->found->extents++;
    struct disk_file *file = segment->buffered;
    if (file != NULL && file->disk->ops->is_resident(file, seen.file_offset, extent->bytes))
        walk->found->resident_bytes += extent->bytes;
    return walk->each != NULL ? walk->each(walk->context, &seen) : ERR_OK;
}

/* The shards of some data that the piece's bytes lie in. */
static enum err walk_piece(struct object_walk *walk, const struct piece *piece)
{
    const struct kv_ops *ops = walk->volume->kv->ops;
    uint32_t first = (uint32_t)(piece->offset / DATA_SHARD_BYTES);
    uint32_t last = (uint32_t)((piece->offset + piece->size - 1) / DATA_SHARD_BYTES);
    for (uint32_t shard = first; shard <= last; shard++) {
        struct kv_key key;
        key_data(&key, piece->data, shard);
        struct kv_value value;
        enum err e = ops->get(walk->volume->kv, KV_DATA, key_bytes(&key), KV_ANY, &value);
        if (e == ERR_NO_SUCH_OBJECT && shard == 0)
            return ERR_OK; /* inline */
        if (e)
            return e == ERR_NO_SUCH_OBJECT ? ERR_CORRUPT : e;
        struct data_record data;
        e = record_data_get(value.bytes, shard, &data);
        uint64_t at = (uint64_t)shard * DATA_SHARD_BYTES;
        for (uint32_t i = 0; !e && i < data.extent_count; i++) {
            struct extent extent = record_data_extent(&data, i);
            bool is_touched = at < piece->offset + piece->size && at + extent.bytes > piece->offset;
            if (is_touched)
                e = see_extent(walk, piece->data, shard, i, &extent);
            at += extent.bytes;
        }
        ops->value_put(&value);
        if (e)
            return e;
    }
    return ERR_OK;
}

enum err inspect_object(struct volume *volume, struct bytes bucket, struct bytes key,
                        inspect_extent_fn *each, void *context, struct inspect_object *ret_object)
{
    struct inspect_object found = {0};
    enum err e = volume_bucket(volume, bucket, &found.bucket);
    if (!e)
        e = volume_lookup(volume, found.bucket.id, key, KV_ANY, &found.object);
    if (e)
        return e;
    found.info = *object_info(found.object);

    CLEANUP(free) struct piece *pieces = NULL;
    size_t count = 0;
    if (found.info.size > 0)
        e = object_pieces(found.object, 0, found.info.size, &pieces, &count);
    struct object_walk walk = {volume, &found, each, context};
    for (size_t i = 0; i < count && !e; i++)
        e = walk_piece(&walk, &pieces[i]);
    if (e) {
        object_put(found.object);
        return e;
    }
    found.is_inline = found.extents == 0 && found.info.size > 0;
    *ret_object = found;
    return ERR_OK;
}
