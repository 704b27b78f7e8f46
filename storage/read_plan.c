#include "storage/read_plan.h"

#include <stdlib.h>

#include "base/check.h"
#include "base/digest.h"
#include "storage/keys.h"
#include "storage/object_priv.h"
#include "storage/records.h"
#include "storage/volume_priv.h"

/* A shard of some data, as stored: the arrays lie behind the struct. */
struct read_window {
    struct data_id id;
    uint32_t shard;
    bool is_inline;
    uint64_t data_size; /* of all shards */
    uint32_t extent_count, sum_count;
    struct extent *extents;
    uint64_t *sums;
    const uint8_t *inline_data;
};

/* Where the plan stands. */
struct place {
    const struct stored_piece *piece;
    uint64_t data_offset; /* of the next byte in the piece's data */
    uint64_t size;        /* bytes wanted from there in this piece */
};

/* A stretch of some data that begins with extents[0], wherever it was found. */
struct map {
    uint64_t start; /* offset in the data */
    uint64_t data_size;
    const struct extent *extents;
    uint32_t extent_count;
    const uint64_t *sums;
    uint32_t sum_count;
};

void read_plan_open(struct read_plan *plan, struct object *object, uint64_t offset, uint64_t size)
{
    CHECK_MAGIC(object, OBJECT_MAGIC);
    CHECK(offset <= object->info.size);
    CHECK(size <= object->info.size - offset);
    *plan =
        (struct read_plan){.object = object_get(object), .offset = offset, .end = offset + size};
    if (size > 0)
        plan->piece_index = object__piece_at(object, offset);
}

void read_plan_close(struct read_plan *plan)
{
    free(plan->window);
    object_put(plan->object);
    *plan = (struct read_plan){0};
}

static struct place locate(struct read_plan *plan)
{
    const struct object *object = plan->object;
    CHECK(plan->offset < plan->end);
    const struct object_piece *piece = &object->pieces[plan->piece_index];
    while (plan->offset >= piece->start + piece->stored.piece.size) {
        /* Sizes of pieces add up to the object's, lookup saw to that. */
        CHECK(plan->piece_index + 1 < object->piece_count);
        piece = &object->pieces[++plan->piece_index];
    }
    uint64_t within = plan->offset - piece->start, left = piece->stored.piece.size - within;
    return (struct place){
        .piece = &piece->stored,
        .data_offset = piece->stored.piece.offset + within,
        .size = left < read_plan_left(plan) ? left : read_plan_left(plan),
    };
}

static bool has_own_layout(const struct read_plan *plan)
{
    return plan->object->has_layout && plan->piece_index == 0;
}

static uint32_t shard_of(const struct place *place)
{
    return place->piece->is_inline ? 0 : (uint32_t)(place->data_offset / DATA_SHARD_BYTES);
}

static bool window_covers(const struct read_window *window, const struct place *place)
{
    return window != NULL && data_id_equal(window->id, place->piece->piece.data) &&
           window->shard == shard_of(place);
}

/* ---- loading ---- */

/* Bytes of the index are judged before anything is read where they point. */
static bool extent_is_sane(const struct segments *segments, const struct extent *extent)
{
    uint64_t segment_units = segments->segment_bytes / UNIT_BYTES;
    return segments_find(segments, extent->segment) != NULL &&
           extent->unit >= SEGMENT_HEADER_UNITS && extent->units > 0 &&
           extent->units <= segment_units && extent->unit <= segment_units - extent->units &&
           extent->bytes > 0 && extent->bytes <= (uint64_t)extent->units * UNIT_BYTES;
}

static enum err window_of_extents(const struct place *place, struct bytes record,
                                  struct read_window **ret_window)
{
    struct data_record data;
    uint32_t shard = shard_of(place);
    enum err e = record_data_get(record, shard, &data);
    if (e == ERR_OK && data.is_absent)
        e = ERR_CORRUPT; /* counted here, but its bytes never came */
    if (e)
        return e;
    struct read_window *window = malloc(sizeof *window + data.sum_count * sizeof(uint64_t) +
                                        data.extent_count * sizeof(struct extent));
    if (window == NULL)
        return ERR_NO_MEMORY;
    *window = (struct read_window){.id = place->piece->piece.data,
                                   .shard = shard,
                                   .data_size = data.size,
                                   .extent_count = data.extent_count,
                                   .sum_count = data.sum_count,
                                   .sums = (uint64_t *)(window + 1)};
    window->extents = (struct extent *)(window->sums + data.sum_count);
    for (uint32_t i = 0; i < data.sum_count; i++)
        window->sums[i] = record_data_sum(&data, i);
    for (uint32_t i = 0; i < data.extent_count; i++)
        window->extents[i] = record_data_extent(&data, i);
    *ret_window = window;
    return ERR_OK;
}
_Static_assert(sizeof(struct read_window) % _Alignof(uint64_t) == 0, "sums follow the struct");

static enum err window_of_inline(const struct place *place, struct bytes record,
                                 struct read_window **ret_window)
{
    struct bytes data;
    uint64_t sum;
    enum err e = record_inline_get(record, &data, &sum);
    if (e)
        return e;
    if (xxh3_64(data.data, data.size) != sum)
        return ERR_CORRUPT;
    struct read_window *window = malloc(sizeof *window + data.size);
    if (window == NULL)
        return ERR_NO_MEMORY;
    *window = (struct read_window){.id = place->piece->piece.data,
                                   .is_inline = true,
                                   .data_size = data.size,
                                   .inline_data = (uint8_t *)(window + 1)};
    memcpy(window + 1, data.data, data.size);
    *ret_window = window;
    return ERR_OK;
}

static enum err load_window(struct read_plan *plan, const struct place *place, enum kv_tier tier)
{
    struct object *object = plan->object;
    enum err e = object->volume != NULL ? volume__index_usable(object->volume) : ERR_OK;
    if (e)
        return e;
    bool is_inline = place->piece->is_inline;
    struct kv_key key;
    struct kv_value value;
    if (is_inline)
        key_inline(&key, place->piece->piece.data);
    else
        key_data(&key, place->piece->piece.data, shard_of(place));
    e = object->kv->ops->get(object->kv, is_inline ? KV_INLINE : KV_DATA, key_bytes(&key), tier,
                             &value);
    if (e)
        return e == ERR_NO_SUCH_OBJECT ? ERR_CORRUPT : e; /* it is pinned: it cannot have gone */
    struct read_window *window = NULL;
    e = is_inline ? window_of_inline(place, value.bytes, &window)
                  : window_of_extents(place, value.bytes, &window);
    object->kv->ops->value_put(&value);
    if (e == ERR_OK && place->piece->piece.offset + place->piece->piece.size > window->data_size) {
        free(window);
        e = ERR_CORRUPT;
    }
    if (e)
        return e;
    free(plan->window);
    plan->window = window;
    return ERR_OK;
}

enum err read_plan_load(struct read_plan *plan)
{
    if (read_plan_left(plan) == 0)
        return ERR_OK;
    struct place place = locate(plan);
    if (has_own_layout(plan) || window_covers(plan->window, &place))
        return ERR_OK;
    return load_window(plan, &place, KV_ANY);
}

/* ---- spans ---- */

static enum err span_inline(const struct place *place, const uint8_t *data, uint64_t data_size,
                            struct read_span *ret_span)
{
    if (place->data_offset + place->size > data_size)
        return ERR_CORRUPT;
    *ret_span =
        (struct read_span){.inline_data = data + place->data_offset, .fd = -1, .size = place->size};
    return ERR_OK;
}

static uint64_t min(uint64_t a, uint64_t b)
{
    return a < b ? a : b;
}

static enum err span_in_extent(const struct read_plan *plan, const struct place *place,
                               const struct map *map, const struct extent *extent,
                               uint64_t extent_start, struct read_span *ret_span)
{
    const struct segments *segments = plan->object->segments;
    if (!extent_is_sane(segments, extent) || extent_start % SUM_CHUNK_BYTES != 0)
        return ERR_CORRUPT;
    uint64_t offset = place->data_offset - map->start; /* in the map */
    uint64_t within = offset - extent_start;
    uint64_t size = min(place->size, extent->bytes - within);
    uint64_t first = offset / SUM_CHUNK_BYTES, last = (offset + size - 1) / SUM_CHUNK_BYTES;
    if (last >= map->sum_count)
        return ERR_CORRUPT;
    struct segment *segment = segments_find(segments, extent->segment);
    uint64_t file_start = (uint64_t)extent->unit * UNIT_BYTES;
    *ret_span = (struct read_span){
        /* Pages of the cache may stand in a socket's queue long after they were "sent". Direct I/O
         * writes past them; where writes go through the cache, the next owner of these units would
         * write into them, and into what the client gets. */
        .fd = segments->is_direct ? segments->disk->ops->fd(segment->buffered) : -1,
        .buffered = segment->buffered,
        .direct = segment->direct,
        .file_offset = file_start + within,
        .size = size,
        .chunk_file_offset = file_start + within / SUM_CHUNK_BYTES * SUM_CHUNK_BYTES,
        .sums = map->sums + first,
        .chunk_count = (uint32_t)(last - first + 1),
        .last_chunk_size =
            (uint32_t)min(SUM_CHUNK_BYTES, map->data_size - map->start - last * SUM_CHUNK_BYTES),
        .segment = extent->segment,
        .unit = extent->unit,
        .data = place->piece->piece.data,
        .chunk_data_offset = map->start + first * SUM_CHUNK_BYTES,
    };
    return ERR_OK;
}

static enum err span_of_map(const struct read_plan *plan, const struct place *place,
                            const struct map *map, struct read_span *ret_span)
{
    uint64_t start = 0;
    for (uint32_t i = 0; i < map->extent_count; i++) {
        if (place->data_offset - map->start < start + map->extents[i].bytes)
            return span_in_extent(plan, place, map, &map->extents[i], start, ret_span);
        start += map->extents[i].bytes;
    }
    return ERR_CORRUPT;
}

enum err read_plan_span(struct read_plan *plan, struct read_span *ret_span)
{
    struct place place = locate(plan);
    if (has_own_layout(plan)) {
        const struct data_layout *layout = &plan->object->layout;
        if (layout->is_inline)
            return span_inline(&place, layout->inline_data, layout->size, ret_span);
        return span_of_map(plan, &place,
                           &(struct map){.data_size = layout->size,
                                         .extents = layout->extents,
                                         .extent_count = layout->extent_count,
                                         .sums = layout->sums,
                                         .sum_count = layout->sum_count},
                           ret_span);
    }
    if (!window_covers(plan->window, &place)) {
        enum err e = load_window(plan, &place, KV_MEMORY_ONLY);
        if (e)
            return e;
    }
    const struct read_window *window = plan->window;
    if (window->is_inline)
        return span_inline(&place, window->inline_data, window->data_size, ret_span);
    return span_of_map(plan, &place,
                       &(struct map){.start = (uint64_t)window->shard * DATA_SHARD_BYTES,
                                     .data_size = window->data_size,
                                     .extents = window->extents,
                                     .extent_count = window->extent_count,
                                     .sums = window->sums,
                                     .sum_count = window->sum_count},
                       ret_span);
}

void read_plan_advance(struct read_plan *plan, uint64_t size)
{
    CHECK(size <= read_plan_left(plan));
    plan->offset += size;
}

/* ---- the shape of what is to come ---- */

/* Records looked up to tell it, a microsecond or a few each: enough for 16 GiB in one piece or as
 * many parts as a client uploads at once. */
#define SHAPE_LOOKUPS_MAX 64u

bool read_plan_has_inline(const struct read_plan *plan)
{
    const struct object *object = plan->object;
    if (read_plan_left(plan) == 0)
        return false;
    if (has_own_layout(plan) && object->layout.is_inline)
        return true;
    for (uint32_t i = plan->piece_index; i < object->piece_count; i++) {
        const struct object_piece *piece = &object->pieces[i];
        if (piece->start >= plan->end)
            break;
        if (piece->stored.is_inline && piece->start + piece->stored.piece.size > plan->offset)
            return true;
    }
    return false;
}

/* Extents among these that hold bytes of [from, from + size), counted from the first one's start.
 */
static uint32_t extents_touched(const struct extent *extents, uint32_t count, uint64_t from,
                                uint64_t size)
{
    uint32_t touched = 0;
    uint64_t start = 0;
    for (uint32_t i = 0; i < count && start < from + size; i++) {
        uint64_t end = start + extents[i].bytes;
        touched += end > from;
        start = end;
    }
    return touched;
}

void read_plan_shape(const struct read_plan *plan, struct read_plan_shape *ret_shape)
{
    /* A plan of its own, so that this one keeps its place and its window. */
    struct read_plan walk = *plan;
    struct read_plan_shape shape = {.is_known = true};
    walk.window = NULL;
    for (uint32_t lookups = 0; read_plan_left(&walk) > 0 && shape.is_known;) {
        struct place place = locate(&walk);
        const struct data_layout *layout = &walk.object->layout;
        if (has_own_layout(&walk)) {
            if (!layout->is_inline)
                shape.extents += extents_touched(layout->extents, layout->extent_count,
                                                 place.data_offset, place.size);
            read_plan_advance(&walk, place.size);
            continue;
        }
        if (place.piece->is_inline) {
            read_plan_advance(&walk, place.size);
            continue;
        }
        shape.is_known =
            lookups++ < SHAPE_LOOKUPS_MAX && load_window(&walk, &place, KV_MEMORY_ONLY) == ERR_OK;
        if (!shape.is_known)
            break;
        uint64_t shard_start = (uint64_t)walk.window->shard * DATA_SHARD_BYTES;
        uint64_t from = place.data_offset - shard_start;
        uint64_t size = min(place.size, DATA_SHARD_BYTES - from);
        shape.extents +=
            extents_touched(walk.window->extents, walk.window->extent_count, from, size);
        read_plan_advance(&walk, size);
    }
    free(walk.window);
    *ret_shape = shape;
}

/* SPAN_TOO_LONG: `size` is not that of whole chunks of the span. */
#define SPAN_TOO_LONG UINT32_MAX

static uint32_t first_bad(const struct read_span *span, const uint8_t *data, uint64_t size)
{
    uint32_t i = 0;
    for (uint64_t done = 0; done < size; i++) {
        if (i >= span->chunk_count)
            return SPAN_TOO_LONG;
        uint64_t chunk = i + 1 == span->chunk_count ? span->last_chunk_size : SUM_CHUNK_BYTES;
        if (chunk > size - done)
            return SPAN_TOO_LONG;
        if (xxh3_64(data + done, chunk) != span->sums[i])
            return i;
        done += chunk;
    }
    return span->chunk_count;
}

uint32_t read_span_first_bad(const struct read_span *span, const uint8_t *data, uint64_t size)
{
    uint32_t bad = span->inline_data != NULL ? span->chunk_count : first_bad(span, data, size);
    return bad == SPAN_TOO_LONG ? span->chunk_count : bad;
}

enum err read_span_verify(const struct read_span *span, const uint8_t *data, uint64_t size)
{
    if (span->inline_data != NULL)
        return ERR_OK; /* was judged when it was looked up */
    return first_bad(span, data, size) == span->chunk_count ? ERR_OK : ERR_CORRUPT;
}
