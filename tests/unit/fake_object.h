/*
 * A fake object for tests of the engine: a file, a tail in memory, and what is wrong with them.
 * Read plans over it are put in the place of storage's by the linker: storage's objects are not
 * drawn from their library when these names are defined already. So corruption, missing pages and
 * plans that have to be loaded can be had at will.
 */
#ifndef TESTS_UNIT_FAKE_OBJECT_H
#define TESTS_UNIT_FAKE_OBJECT_H

#include <stdatomic.h>
#include <stdint.h>
#include <stdlib.h>

#include "api/http/http.h"
#include "base/disk.h"

struct object {
    uint64_t size; /* of both together */
    uint64_t file_size;
    uint64_t extent_size; /* the file is cut into such extents, each at twice its offset */
    uint8_t *bytes;       /* owned: what the object holds */
    uint64_t *sums;       /* owned: of each chunk of the file part */
    struct disk_file *buffered, *direct;
    _Atomic unsigned loads_due; /* so many spans have to be loaded first */
    _Atomic enum err load_says;
    _Atomic bool without_fd;
};

static struct object *fake_object; /* the one there is */

static uint64_t file_offset_of(const struct object *object, uint64_t offset)
{
    return offset / object->extent_size * 2 * object->extent_size + offset % object->extent_size;
}

void read_plan_open(struct read_plan *plan, struct object *object, uint64_t offset, uint64_t size)
{
    *plan = (struct read_plan){.object = object, .offset = offset, .end = offset + size};
}

static _Atomic int plans_open;

void read_plan_close(struct read_plan *plan)
{
    if (plan->object == NULL)
        return;
    *plan = (struct read_plan){0};
    atomic_fetch_sub(&plans_open, 1);
}

enum err read_plan_span(struct read_plan *plan, struct read_span *ret_span)
{
    struct object *object = plan->object;
    uint64_t left = read_plan_left(plan);
    CHECK(left > 0);
    if (object->loads_due > 0)
        return ERR_WOULD_BLOCK;
    if (plan->offset >= object->file_size) {
        *ret_span =
            (struct read_span){.inline_data = object->bytes + plan->offset, .fd = -1, .size = left};
        return ERR_OK;
    }
    uint64_t extent_end = (plan->offset / object->extent_size + 1) * object->extent_size;
    if (extent_end > object->file_size)
        extent_end = object->file_size;
    uint64_t end = plan->end < extent_end ? plan->end : extent_end;
    uint64_t first = plan->offset / SUM_CHUNK_BYTES,
             past = (end + SUM_CHUNK_BYTES - 1) / SUM_CHUNK_BYTES;
    uint64_t last_end =
        past * SUM_CHUNK_BYTES < object->file_size ? past * SUM_CHUNK_BYTES : object->file_size;
    *ret_span = (struct read_span){
        .fd = object->without_fd ? -1 : object->buffered->disk->ops->fd(object->buffered),
        .buffered = object->buffered,
        .direct = object->direct,
        .file_offset = file_offset_of(object, plan->offset),
        .size = end - plan->offset,
        .chunk_file_offset = file_offset_of(object, first * SUM_CHUNK_BYTES),
        .sums = object->sums + first,
        .chunk_count = (uint32_t)(past - first),
        .last_chunk_size = (uint32_t)(last_end - (past - 1) * SUM_CHUNK_BYTES),
        .segment = 7,
        .data = {5, 6},
        .chunk_data_offset = first * SUM_CHUNK_BYTES,
    };
    return ERR_OK;
}

enum err read_plan_load(struct read_plan *plan)
{
    return ERR_INTERNAL; /* the fake group does it */
}

bool read_plan_has_inline(const struct read_plan *plan)
{
    return plan->end > plan->object->file_size;
}

void read_plan_shape(const struct read_plan *plan, struct read_plan_shape *ret_shape)
{
    const struct object *object = plan->object;
    *ret_shape = (struct read_plan_shape){.is_known = true};
    if (object == NULL)
        return;
    uint64_t end = plan->end < object->file_size ? plan->end : object->file_size;
    if (plan->offset < end)
        ret_shape->extents =
            (uint32_t)((end - 1) / object->extent_size - plan->offset / object->extent_size + 1);
}

void read_plan_advance(struct read_plan *plan, uint64_t size)
{
    CHECK(size <= read_plan_left(plan));
    plan->offset += size;
}

uint32_t read_span_first_bad(const struct read_span *span, const uint8_t *data, uint64_t size)
{
    uint32_t bad = span->chunk_count;
    for (uint32_t i = 0; i < span->chunk_count; i++) {
        uint32_t chunk = i + 1 < span->chunk_count ? SUM_CHUNK_BYTES : span->last_chunk_size;
        CHECK(chunk <= size);
        if (bad == span->chunk_count && xxh3_64(data, chunk) != span->sums[i])
            bad = i;
        data += chunk, size -= chunk;
    }
    CHECK(size == 0);
    return bad;
}

enum err read_span_verify(const struct read_span *span, const uint8_t *data, uint64_t size)
{
    return read_span_first_bad(span, data, size) == span->chunk_count ? ERR_OK : ERR_CORRUPT;
}

struct late_ask {
    struct loop_msg msg;
    struct group_ask *ask;
};

static void ask_answered(struct loop_msg *msg)
{
    struct late_ask *late = CONTAINER_OF(msg, struct late_ask, msg);
    struct group_ask *ask = late->ask;
    struct object *object = ask->plan->object;
    free(late);
    ask->err = object->load_says;
    if (object->loads_due > 0)
        object->loads_due--;
    ask->done(ask);
}

void group_plan_load(struct group *group, struct group_ask *ask)
{
    struct late_ask *late = calloc(1, sizeof *late);
    late->ask = ask;
    late->msg.deliver = ask_answered;
    loop_post(ask->loop, &late->msg);
}

/* Puts right bytes where a chunk lies; NULL: nobody can. Set while the loop runs. */
typedef enum err fake_repair_fn(uint64_t offset);
static _Atomic(fake_repair_fn *) fake_repair;
static _Atomic int repairs_asked;

static void repair_ended(struct loop_msg *msg)
{
    struct group_repair *repair = CONTAINER_OF(msg, struct group_repair, msg);
    repair->done(repair);
}

void group_repair(struct group *group, struct group_repair *repair)
{
    CHECK(repair->data.epoch == 5 && repair->offset % SUM_CHUNK_BYTES == 0);
    atomic_fetch_add(&repairs_asked, 1);
    fake_repair_fn *repairs = atomic_load(&fake_repair);
    repair->err = repairs != NULL ? repairs(repair->offset) : ERR_UNSUPPORTED;
    repair->msg.deliver = repair_ended;
    loop_post(repair->loop, &repair->msg);
}

#endif
