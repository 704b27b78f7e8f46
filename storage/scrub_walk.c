#include <inttypes.h>
#include <stdio.h>

#include "base/check.h"
#include "base/digest.h"
#include "base/log.h"
#include "storage/log.h"
#include "storage/records.h"
#include "storage/scrub_priv.h"
#include "storage/volume_priv.h"

/*
 * A pass, read by read. Ids are taken out of the index some hundred at a time, each is looked up
 * when its turn comes: then it is pinned, so what lies where it says is what it was given.
 */

void scrub__walk_reset(struct scrub *scrub)
{
    if (scrub->object != NULL) {
        read_plan_close(&scrub->plan);
        object_put(TAKE(scrub->object));
    }
    scrub->id_count = scrub->id_next = 0;
}

/* ---- ids ---- */

static bool parse_id(enum scrub_phase phase, struct bytes key, struct data_id *ret_id)
{
    uint32_t shard = 0;
    enum err e = phase == SCRUB_EXTENTS ? key_data_parse(key, ret_id, &shard)
                                        : key_inline_parse(key, ret_id);
    return e == ERR_OK && shard == 0;
}

/* From the place on, its own id included. */
static enum err take_ids(struct scrub *scrub, const struct scrub_place *place)
{
    struct kv *kv = scrub->options.volume->kv;
    struct kv_iter *iter;
    struct kv_key first;
    bool is_extents = place->phase == SCRUB_EXTENTS;
    enum err e = volume__index_usable(scrub->options.volume);
    if (e)
        return e;
    e = kv->ops->iter_open(
        kv, &(struct kv_iter_options){.family = is_extents ? KV_DATA : KV_INLINE, .scan = true},
        &iter);
    if (e)
        return e;
    if (is_extents)
        key_data(&first, place->data, 0);
    else
        key_inline(&first, place->data);
    scrub->id_count = scrub->id_next = 0;
    for (kv->ops->iter_seek(iter, key_bytes(&first));
         kv->ops->iter_valid(iter) && scrub->id_count < SCRUB_IDS; kv->ops->iter_next(iter)) {
        struct data_id id;
        if (parse_id(place->phase, kv->ops->iter_key(iter), &id)) /* what is none: fsck tells */
            scrub->ids[scrub->id_count++] = id;
    }
    e = kv->ops->iter_err(iter);
    kv->ops->iter_close(iter);
    return e;
}

/* ---- damage ---- */

static void say(struct scrub_result *result, const struct damage *damage, const char *why)
{
    snprintf(result->sentence, sizeof result->sentence,
             "data %" PRIx64 ".%" PRIu64 " byte %" PRIu64 ", segment %08x byte %" PRIu64 ": %s",
             damage->data.epoch, damage->data.counter, damage->offset, damage->segment,
             damage->file_offset, why);
    LOG_LIMITED(LOG_ERROR, "storage", "scrub: damaged and not repaired: %s", result->sentence);
}

/* By now, that is: a name that another node has acknowledged to be gone may still be here when its
 * data is met. */
static bool is_gone(struct scrub *scrub, struct data_id data)
{
    const struct scrub_options *options = &scrub->options;
    enum err e = options->catch_up != NULL ? options->catch_up(options->context) : ERR_OK;
    if (e)
        LOG_LIMITED(LOG_WARN, "storage", "scrub: what is damaged may be out of date: %s",
                    err_text(e));
    struct object *object;
    e = volume_data_lookup(scrub->options.volume, data, &object);
    if (e == ERR_OK)
        object_put(object);
    return e == ERR_NO_SUCH_OBJECT;
}

static void judge_lost(struct scrub *scrub, const struct damage *damage, const char *why,
                       struct scrub_result *result)
{
    if (is_gone(scrub, damage->data))
        return;
    result->damaged++;
    say(result, damage, why);
}

static void judge_damage(struct scrub *scrub, const struct damage *damage,
                         struct scrub_result *result)
{
    struct err_trail trail = {.text = ""};
    enum err e = ERR_UNSUPPORTED;
    if (damage->size == 0)
        (void)err_say(&trail, e, "its records in the index are damaged, which fsck tells more of");
    else if (scrub->options.repair != NULL)
        e = scrub->options.repair(scrub->options.context, damage, &trail);
    else
        (void)err_say(&trail, e, "there is no other copy to repair it from");
    if (e) {
        judge_lost(scrub, damage, err_trail_text(&trail, e), result);
        return;
    }
    result->damaged++;
    result->repaired++;
}

/* Not as it should be at first sight: read once more by itself. Bits that flip on the way are rare,
 * and right the second time. */
static void look_again(struct scrub *scrub, struct data_id data, uint64_t offset,
                       struct scrub_result *result)
{
    struct damage damage;
    uint32_t size;
    enum err e =
        volume_chunk_read(scrub->options.volume, data, offset, scrub->memory, &size, &damage);
    if (e == ERR_CORRUPT || err_family(e) == FAM_IO)
        judge_damage(scrub, &damage, result);
    else if (e != ERR_OK && e != ERR_NO_SUCH_OBJECT)
        result->err = e;
}

/* ---- reading ---- */

/* Chunks of [offset, offset + size) that do not match. The memory is needed to look again: so which
 * they are is found out before. */
static void judge_read(struct scrub *scrub, const struct read_span *span, uint32_t size,
                       uint64_t offset, struct scrub_result *result)
{
    uint32_t wrong = 0;
    _Static_assert(SCRUB_READ_BYTES / SUM_CHUNK_BYTES <= 32, "a bit for each chunk of a read");
    for (uint32_t i = 0; i * SUM_CHUNK_BYTES < size; i++) {
        uint32_t at = i * SUM_CHUNK_BYTES, left = size - at;
        uint32_t chunk = left < SUM_CHUNK_BYTES ? left : SUM_CHUNK_BYTES;
        if (xxh3_64(scrub->memory + at, chunk) != span->sums[i])
            wrong |= 1u << i;
    }
    struct data_id data = result->place.data;
    for (uint32_t i = 0; wrong >> i != 0; i++)
        if (wrong >> i & 1)
            look_again(scrub, data, offset + (uint64_t)i * SUM_CHUNK_BYTES, result);
}

static void read_some(struct scrub *scrub, const struct read_span *span,
                      struct scrub_result *result)
{
    uint64_t offset = scrub->plan.offset;
    uint32_t size = span->size < SCRUB_READ_BYTES ? (uint32_t)span->size : SCRUB_READ_BYTES;
    uint32_t aligned = (size + DISK_ALIGN - 1) / DISK_ALIGN * DISK_ALIGN;
    enum err e =
        span->direct->disk->ops->pread(span->direct, scrub->memory, aligned, span->file_offset);
    if (e == ERR_OK) {
        judge_read(scrub, span, size, offset, result);
    } else { /* which of them it is, each by itself */
        for (uint32_t at = 0; at < size; at += SUM_CHUNK_BYTES)
            look_again(scrub, result->place.data, offset + at, result);
    }
    result->verified_bytes += size;
    read_plan_advance(&scrub->plan, size);
    result->place.offset = scrub->plan.offset;
}

static void next_data(struct scrub *scrub, struct scrub_result *result)
{
    if (scrub->object != NULL) {
        read_plan_close(&scrub->plan);
        object_put(TAKE(scrub->object));
    }
    scrub->id_next++;
    result->place.offset = 0;
    /* An id behind this one; where the batch ends, the smallest that could be. */
    if (scrub->id_next < scrub->id_count)
        result->place.data = scrub->ids[scrub->id_next];
    else if (++result->place.data.counter == 0)
        result->place.data.epoch++;
}

static void walk_extents(struct scrub *scrub, struct scrub_result *result)
{
    enum err e = ERR_OK;
    if (scrub->object == NULL) {
        e = volume_data_lookup(scrub->options.volume, result->place.data, &scrub->object);
        if (e == ERR_OK) {
            uint64_t size = object_info(scrub->object)->size, from = result->place.offset;
            from = from < size ? from : size;
            read_plan_open(&scrub->plan, scrub->object, from, size - from);
        }
    }
    struct read_span span;
    if (e == ERR_OK && read_plan_left(&scrub->plan) > 0)
        e = read_plan_load(&scrub->plan);
    if (e == ERR_OK && read_plan_left(&scrub->plan) > 0)
        e = read_plan_span(&scrub->plan, &span);
    bool has_span = e == ERR_OK && read_plan_left(&scrub->plan) > 0;
    if (has_span && span.inline_data == NULL) {
        read_some(scrub, &span, result);
        if (read_plan_left(&scrub->plan) > 0)
            return;
    }
    if (e == ERR_CORRUPT) { /* its records: fsck tells which; or it went while it was read */
        uint64_t at = result->place.offset / SUM_CHUNK_BYTES * SUM_CHUNK_BYTES;
        look_again(scrub, result->place.data, at, result);
    } else if (e != ERR_OK && e != ERR_NO_SUCH_OBJECT) {
        result->err = e;
        return;
    }
    result->ended_data = e == ERR_OK;
    next_data(scrub, result);
}

static void walk_inline(struct scrub *scrub, struct scrub_result *result)
{
    struct kv *kv = scrub->options.volume->kv;
    struct kv_key key;
    struct kv_value value;
    struct bytes data;
    uint64_t sum;
    key_inline(&key, result->place.data);
    enum err e = kv->ops->get(kv, KV_INLINE, key_bytes(&key), KV_ANY, &value);
    if (e == ERR_OK) {
        e = record_inline_get(value.bytes, &data, &sum);
        if (e == ERR_OK && xxh3_64(data.data, data.size) != sum)
            e = ERR_CORRUPT;
        if (e == ERR_OK)
            result->verified_bytes += data.size;
        kv->ops->value_put(&value);
    }
    if (e == ERR_CORRUPT) {
        judge_lost(scrub, &(struct damage){.data = result->place.data, .err = e},
                   "it is kept in the index", result);
    } else if (e != ERR_OK && e != ERR_NO_SUCH_OBJECT) {
        result->err = e;
        return;
    }
    result->ended_data = e == ERR_OK;
    next_data(scrub, result);
}

void scrub__walk(struct scrub *scrub, const struct scrub_place *place, struct scrub_result *ret)
{
    *ret = (struct scrub_result){.place = *place};
    if (scrub->id_next == scrub->id_count) {
        ret->err = take_ids(scrub, place);
        if (ret->err)
            return;
        if (scrub->id_count == 0 && place->phase == SCRUB_INLINE) {
            ret->ended_pass = true;
            return;
        }
        if (scrub->id_count == 0) {
            ret->place = (struct scrub_place){.phase = SCRUB_INLINE};
            return;
        }
        if (!data_id_equal(scrub->ids[0], place->data))
            ret->place.offset = 0; /* the one that was being read is gone */
        ret->place.data = scrub->ids[0];
    }
    if (ret->place.phase == SCRUB_EXTENTS)
        walk_extents(scrub, ret);
    else
        walk_inline(scrub, ret);
}
