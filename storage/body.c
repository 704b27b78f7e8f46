#include "storage/body_priv.h"

#include <stdlib.h>

#include "base/check.h"
#include "base/digest.h"
#include "storage/keeper.h"
#include "storage/volume_priv.h"

#define POOL_MAX    256u   /* bodies kept for the next PUT: 3 MiB */
#define AHEAD_BYTES MIB(4) /* the next extent is taken when so little is left of the last one */
/* A body of unknown size reserves as much again as it has, within these bounds. */
#define UNKNOWN_STEP_MIN_BYTES MIB(1)

static uint64_t units_of(uint64_t bytes)
{
    return (bytes + UNIT_BYTES - 1) / UNIT_BYTES;
}

/* ---- life ---- */

void body__pool_init(struct body_pool *pool)
{
    CHECK(pthread_mutex_init(&pool->lock, NULL) == 0);
}

void body__pool_fini(struct body_pool *pool)
{
    for (struct body *body = pool->free; body != NULL;) {
        struct body *next = body->next_free;
        free(body);
        body = next;
    }
    pthread_mutex_destroy(&pool->lock);
}

static struct body *body_new(struct body_pool *pool)
{
    pthread_mutex_lock(&pool->lock);
    struct body *body = pool->free;
    if (body != NULL) {
        pool->free = body->next_free;
        pool->free_count--;
    }
    pthread_mutex_unlock(&pool->lock);
    if (body == NULL)
        body = malloc(sizeof *body);
    if (body != NULL)
        memset(body, 0, offsetof(struct body, own_extents));
    return body;
}

static void body_free(struct body *body)
{
    struct body_pool *pool = &body->volume->bodies;
    if (body->extents != body->own_extents) {
        free(body->extents);
        free(body->written_seqs);
    }
    if (body->sums != body->own_sums)
        free(body->sums);
    if (body->claimed_units > 0)
        space_unclaim(body->volume, body->claimed_units);
    body->magic = 0;
    pthread_mutex_lock(&pool->lock);
    bool is_kept = pool->free_count < POOL_MAX;
    if (is_kept) {
        body->next_free = pool->free;
        pool->free = body;
        pool->free_count++;
    }
    pthread_mutex_unlock(&pool->lock);
    if (!is_kept)
        free(body);
}

/* ---- taking space ---- */

static enum err grow_extents(struct body *body)
{
    uint32_t capacity = body->extent_capacity * 2;
    bool is_own = body->extents == body->own_extents;
    struct extent *extents = realloc(is_own ? NULL : body->extents, capacity * sizeof *extents);
    if (extents == NULL)
        return ERR_NO_MEMORY;
    if (is_own)
        memcpy(extents, body->own_extents, sizeof body->own_extents);
    uint64_t *seqs = realloc(is_own ? NULL : body->written_seqs, capacity * sizeof *seqs);
    if (seqs == NULL) {
        if (is_own)
            free(extents);
        else
            body->extents = extents; /* bigger than told, which harms nobody */
        return ERR_NO_MEMORY;
    }
    if (is_own)
        memcpy(seqs, body->own_written_seqs, sizeof body->own_written_seqs);
    body->extents = extents;
    body->written_seqs = seqs;
    body->extent_capacity = capacity;
    return ERR_OK;
}

/* Whether a run that begins where the last extent ends may become part of it. */
static bool joins(const struct body *body, const struct alloc_run *run)
{
    if (body->extent_count == 0 || body->reserved_bytes % DATA_SHARD_BYTES == 0)
        return false;
    const struct extent *last = &body->extents[body->extent_count - 1];
    return last->segment == run->segment && last->unit + last->units == run->unit &&
           last->units + run->units <= EXTENT_BYTES_MAX / UNIT_BYTES;
}

static void add_run(struct body *body, const struct alloc_run *run)
{
    if (joins(body, run)) {
        body->extents[body->extent_count - 1].units += run->units;
    } else {
        CHECK(body->extent_count < body->extent_capacity);
        body->written_seqs[body->extent_count] = 0;
        body->extents[body->extent_count++] =
            (struct extent){.segment = run->segment, .unit = run->unit, .units = run->units};
    }
    body->reserved_bytes += (uint64_t)run->units * UNIT_BYTES;
    atomic_fetch_add_explicit(&body->volume->space.reserved_units, run->units,
                              memory_order_relaxed);
}

static void free_run(struct volume *volume, const struct extent *extent, uint32_t from_unit)
{
    uint32_t units = extent->units - from_unit;
    alloc_free(volume->alloc,
               &(struct alloc_run){extent->segment, extent->unit + from_unit, units});
    atomic_fetch_sub_explicit(&volume->space.reserved_units, units, memory_order_relaxed);
}

/* What an empty segment holds in one run, in whole sum chunks, if that is less than an extent may
 * have. */
static uint64_t largest_extent_bytes(const struct volume *volume)
{
    uint64_t bytes = volume->segments.segment_bytes - SEGMENT_HEADER_UNITS * UNIT_BYTES;
    return bytes < EXTENT_BYTES_MAX ? bytes / SUM_CHUNK_BYTES * SUM_CHUNK_BYTES : EXTENT_BYTES_MAX;
}

/* How many units the next extent should have. */
static uint32_t next_units(const struct body *body, uint64_t needed_bytes)
{
    uint64_t bytes, shard_left = DATA_SHARD_BYTES - body->reserved_bytes % DATA_SHARD_BYTES;
    if (body->size_wanted != BODY_SIZE_UNKNOWN) {
        bytes = body->size_wanted - body->reserved_bytes;
    } else {
        bytes = body->reserved_bytes > UNKNOWN_STEP_MIN_BYTES ? body->reserved_bytes
                                                              : UNKNOWN_STEP_MIN_BYTES;
        if (bytes < needed_bytes || body->has_ended)
            bytes = needed_bytes;
    }
    uint64_t most = largest_extent_bytes(body->volume);
    bytes = bytes < most ? bytes : most;
    bytes = bytes < shard_left ? bytes : shard_left;
    return (uint32_t)units_of(bytes);
}

static bool take_run(struct body *body, uint32_t units, struct alloc_run *ret_run)
{
    struct volume *volume = body->volume;
    uint64_t size =
        body->size_wanted == BODY_SIZE_UNKNOWN && body->has_ended ? body->size : body->size_wanted;
    enum alloc_class class = size <= ALLOC_SMALL_BYTES_MAX ? ALLOC_SMALL : ALLOC_LARGE;
    if (alloc_take(volume->alloc, class, units, ALLOC_WHOLE, ret_run))
        return true;
    if (volume->threads == VOLUME_NO_THREADS) {
        keeper_provide(volume); /* there is nobody to wait for */
        if (alloc_take(volume->alloc, class, units, ALLOC_WHOLE, ret_run))
            return true;
    }
    if (volume->threads == VOLUME_THREADS && atomic_load(&volume->space.growable) > 0)
        return false; /* better a new segment than pieces */
    return alloc_take(volume->alloc, class, units, ALLOC_PIECES, ret_run);
}

/* Takes extents until `bytes` are reserved. ERR_WOULD_BLOCK: a segment must be made or dead units
 * freed first. */
static enum err reserve(struct body *body, uint64_t bytes)
{
    while (body->reserved_bytes < bytes) {
        if (body->extent_count == body->extent_capacity) {
            enum err e = grow_extents(body);
            if (e)
                return e;
        }
        uint32_t units = next_units(body, bytes - body->reserved_bytes);
        if (body->size_wanted == BODY_SIZE_UNKNOWN) {
            enum err e = space_claim(body->volume, units);
            if (e)
                return e;
            body->claimed_units += units;
        }
        struct alloc_run run;
        bool taken = take_run(body, units, &run);
        uint32_t settled = taken ? run.units : 0;
        if (body->size_wanted == BODY_SIZE_UNKNOWN)
            settled = units; /* it claims anew each time */
        CHECK(body->claimed_units >= settled);
        body->claimed_units -= settled;
        space_unclaim(body->volume, settled);
        if (!taken)
            return ERR_WOULD_BLOCK;
        add_run(body, &run);
    }
    return ERR_OK;
}

/* Gives back what lies beyond the body's end. */
static void trim(struct body *body)
{
    uint64_t needed = units_of(body->size) * UNIT_BYTES;
    while (body->reserved_bytes > needed) {
        struct extent *last = &body->extents[body->extent_count - 1];
        uint64_t before = body->reserved_bytes - (uint64_t)last->units * UNIT_BYTES;
        uint32_t keep = needed > before ? (uint32_t)((needed - before) / UNIT_BYTES) : 0;
        free_run(body->volume, last, keep);
        body->reserved_bytes = before + (uint64_t)keep * UNIT_BYTES;
        last->units = keep;
        if (keep == 0)
            body->extent_count--;
    }
    uint64_t left = body->size;
    for (uint32_t i = 0; i < body->extent_count; i++) {
        uint64_t room = (uint64_t)body->extents[i].units * UNIT_BYTES;
        body->extents[i].bytes = (uint32_t)(left < room ? left : room);
        left -= body->extents[i].bytes;
    }
    CHECK(left == 0);
}

static void give_back(struct body *body)
{
    for (uint32_t i = 0; i < body->extent_count; i++)
        free_run(body->volume, &body->extents[i], 0);
    body->extent_count = 0;
    body->reserved_bytes = 0;
}

/* ---- opening and closing ---- */

static void space_came(struct loop_msg *msg);

static enum err may_open(struct volume *volume, struct err_trail *trail)
{
    switch (volume__state(volume)) {
    case VOLUME_OK:
        return ERR_OK;
    case VOLUME_READ_ONLY:
        return volume__tell_state(volume, ERR_READ_ONLY, trail);
    case VOLUME_FAILED:
        return volume__tell_state(volume, ERR_VOLUME_FAILED, trail);
    }
    CHECK(false);
}

enum err body_open(struct volume *volume, const struct body_options *options,
                   struct body **ret_body, struct err_trail *trail)
{
    CHECK_MAGIC(volume, VOLUME_MAGIC);
    CHECK(options->loop != NULL);
    enum err e = may_open(volume, trail);
    if (e)
        return e;
    uint64_t size = options->size;
    if (size != BODY_SIZE_UNKNOWN && size > OBJECT_BYTES_MAX)
        return err_note(trail, ERR_TOO_LARGE, "a body of %llu bytes", (unsigned long long)size);
    struct body *body = body_new(&volume->bodies);
    if (body == NULL)
        return err_note(trail, ERR_BUSY, "no memory for another body");
    body->magic = BODY_MAGIC;
    body->volume = volume;
    body->loop = options->loop;
    body->id = data_id_is_none(options->id) ? volume__new_data_id(volume) : options->id;
    body->size_wanted = size;
    body->extents = body->own_extents;
    body->written_seqs = body->own_written_seqs;
    body->extent_capacity = BODY_EXTENTS_OWN;
    body->sums = body->own_sums;
    body->sum_capacity = BODY_SUMS_OWN;
    body->waiter = (struct space_waiter){.loop = options->loop, .msg.deliver = space_came};
    if (size <= INLINE_BYTES_MAX) {
        body->is_inline = body->is_decided = true;
        body->has_ended = size == 0;
    } else if (size != BODY_SIZE_UNKNOWN) {
        body->is_decided = true;
        e = space_claim(volume, units_of(size));
        if (e == ERR_OK)
            body->claimed_units = units_of(size);
    }
    if (e) {
        body_free(body);
        return err_note(trail, e, "reserve %llu bytes", (unsigned long long)size);
    }
    *ret_body = body;
    return ERR_OK;
}

enum err body_judge_size(struct volume *volume, uint64_t size, struct err_trail *trail)
{
    CHECK_MAGIC(volume, VOLUME_MAGIC);
    enum err e = may_open(volume, trail);
    if (e || size <= INLINE_BYTES_MAX)
        return e;
    e = space_judge(volume, units_of(size));
    return e ? err_note(trail, e, "reserve %llu bytes", (unsigned long long)size) : ERR_OK;
}

void body_close(struct body *body)
{
    if (body == NULL)
        return;
    CHECK_MAGIC(body, BODY_MAGIC);
    CHECK(!body->is_closing);
    body->is_closing = true;
    /* With writes waiting, its turn comes as if space had: they are told there. */
    if (body->is_waiting && body->first_waiting == NULL &&
        space_wait_cancel(body->volume, &body->waiter))
        body->is_waiting = false;
    if (body->writes_pending > 0 || body->is_waiting)
        return;
    give_back(body);
    body_free(body);
}

/* Something that was under way has ended. */
static void settle(struct body *body)
{
    if (!body->is_closing || body->writes_pending > 0 || body->is_waiting)
        return;
    give_back(body);
    body_free(body);
}

/* ---- writing ---- */

static void finish_write(struct body_write *write, enum err e)
{
    struct body *body = write->body;
    if (e && body->err == ERR_OK)
        body->err = e;
    CHECK(body->writes_pending > 0);
    body->writes_pending--;
    bool settles = body->is_closing; /* else the callback may close it, and it is gone */
    write->written(write, e);
    if (settles)
        settle(body);
}

static void deliver_written(struct loop_msg *msg)
{
    struct body_write *write =
        CONTAINER_OF(CONTAINER_OF(msg, struct disk_io, msg), struct body_write, io);
    finish_write(write, write->err);
}

static void finish_later(struct body_write *write, enum err e)
{
    write->err = e;
    write->io.msg.deliver = deliver_written;
    loop_post(write->body->loop, &write->io.msg);
}

/* The extent a byte lies in, and where the extent begins in the data. */
static uint32_t extent_at(const struct body *body, uint64_t offset, uint64_t *ret_start)
{
    uint64_t start = 0;
    uint32_t i = 0;
    for (;; i++) {
        CHECK(i < body->extent_count);
        uint64_t end = start + (uint64_t)body->extents[i].units * UNIT_BYTES;
        if (offset < end)
            break;
        start = end;
    }
    *ret_start = start;
    return i;
}

static void piece_written(struct disk_io *io, enum err e, uint32_t count);

static void write_piece(struct body_write *write)
{
    struct body *body = write->body;
    uint64_t offset = write->data_offset + write->written_size, start;
    const struct extent *extent = &body->extents[extent_at(body, offset, &start)];
    uint64_t room = start + (uint64_t)extent->units * UNIT_BYTES - offset;
    uint32_t left = write->size - write->written_size;
    uint32_t size = left < room ? left : (uint32_t)room;
    struct segment *segment = segments_find(&body->volume->segments, extent->segment);
    CHECK(segment != NULL);
    atomic_fetch_add_explicit(&body->volume->bodies.writes_begun, 1, memory_order_relaxed);
    uint64_t file_offset = (uint64_t)extent->unit * UNIT_BYTES + (offset - start);
    segment->direct->disk->ops->write(segment->direct, body->loop, &write->io,
                                      write->data + write->written_size, size, file_offset,
                                      piece_written);
}

static void piece_written(struct disk_io *io, enum err e, uint32_t count)
{
    struct body_write *write = CONTAINER_OF(io, struct body_write, io);
    struct body *body = write->body;
    CHECK_MAGIC(body, BODY_MAGIC);
    atomic_fetch_add_explicit(&body->volume->bodies.writes_ended, 1, memory_order_relaxed);
    uint64_t start;
    uint32_t i = extent_at(body, write->data_offset + write->written_size, &start);
    struct segment *segment = segments_find(&body->volume->segments, body->extents[i].segment);
    if (e == ERR_OK && count != io->size)
        e = ERR_IO;
    if (e == ERR_OK) {
        body->written_seqs[i] = atomic_fetch_add(&segment->write_seq, 1) + 1;
        write->written_size += count;
        if (write->written_size < write->size) {
            write_piece(write);
            return;
        }
    }
    finish_write(write, e);
}

static enum err note_sums(struct body *body, const uint8_t *data, uint32_t size)
{
    uint32_t chunks = (size + SUM_CHUNK_BYTES - 1) / SUM_CHUNK_BYTES;
    if (body->sum_count + chunks > body->sum_capacity) {
        uint32_t capacity = body->sum_capacity * 2;
        bool is_own = body->sums == body->own_sums;
        uint64_t *sums = realloc(is_own ? NULL : body->sums, capacity * sizeof *sums);
        if (sums == NULL)
            return ERR_NO_MEMORY;
        if (is_own)
            memcpy(sums, body->own_sums, sizeof body->own_sums);
        body->sums = sums;
        body->sum_capacity = capacity;
    }
    for (uint32_t done = 0; done < size; done += SUM_CHUNK_BYTES) {
        uint32_t chunk = size - done < SUM_CHUNK_BYTES ? size - done : SUM_CHUNK_BYTES;
        body->sums[body->sum_count++] = xxh3_64(data + done, chunk);
    }
    return ERR_OK;
}
_Static_assert(BODY_SUMS_OWN >= SLOT_LARGE_BYTES / SUM_CHUNK_BYTES,
               "doubling makes room for a whole write");

static bool wait_for_space(struct body *body)
{
    if (!body->is_waiting)
        body->is_waiting = space_wait(body->volume, &body->waiter);
    return body->is_waiting;
}

/* Starts what waits as far as space goes. Without any hope of more, what waits fails. */
static void start_waiting(struct body *body)
{
    while (body->first_waiting != NULL) {
        struct body_write *write = body->first_waiting;
        enum err e = body->err          ? body->err
                     : body->is_closing ? ERR_CANCELLED
                                        : reserve(body, write->data_offset + write->size);
        if (e == ERR_WOULD_BLOCK) {
            if (wait_for_space(body))
                return;
            e = ERR_DISK_FULL;
        }
        body->first_waiting = write->next;
        if (body->first_waiting == NULL)
            body->last_waiting = NULL;
        if (e == ERR_OK) {
            write_piece(write);
            continue;
        }
        if (body->err == ERR_OK)
            body->err = e;
        finish_later(write, e);
    }
}

static void space_came(struct loop_msg *msg)
{
    struct body *body =
        CONTAINER_OF(CONTAINER_OF(msg, struct space_waiter, msg), struct body, waiter);
    CHECK_MAGIC(body, BODY_MAGIC);
    body->is_waiting = false;
    start_waiting(body);
    settle(body);
}

static enum err write_inline(struct body *body, struct body_write *write, bool last)
{
    if (body->size + write->size > INLINE_BYTES_MAX)
        return ERR_TOO_LARGE;
    memcpy(body->inline_data + body->size, write->data, write->size);
    body->size += write->size;
    if (last || body->size == body->size_wanted)
        body->inline_sum = xxh3_64(body->inline_data, body->size);
    body->has_ended = last;
    body->writes_pending++;
    finish_later(write, ERR_OK);
    return ERR_OK;
}

static enum err write_extents(struct body *body, struct body_write *write, uint32_t size, bool last)
{
    /* Only the last write may have any size. */
    CHECK(body->size % SUM_CHUNK_BYTES == 0 || size == 0);
    CHECK((uintptr_t)write->data % UNIT_BYTES == 0);
    enum err e = note_sums(body, write->data, size);
    if (e)
        return e;
    uint32_t padded = (uint32_t)(units_of(size) * UNIT_BYTES);
    memset(write->data + size, 0, padded - size);
    write->size = padded;
    body->size += size;
    body->has_ended = last;
    body->writes_pending++;
    if (size == 0) {
        finish_later(write, ERR_OK);
        return ERR_OK;
    }
    write->next = NULL;
    if (body->last_waiting != NULL)
        body->last_waiting->next = write;
    else
        body->first_waiting = write;
    body->last_waiting = write;
    if (!body->is_waiting)
        start_waiting(body);
    return ERR_OK;
}

/* Takes the next extent before a write asks for it, if that needs no wait. */
static void reserve_ahead(struct body *body)
{
    bool is_near_end = !body->is_inline && body->size_wanted != BODY_SIZE_UNKNOWN &&
                       body->reserved_bytes < body->size_wanted &&
                       body->reserved_bytes < body->size + AHEAD_BYTES;
    if (!is_near_end || body->is_waiting || body->first_waiting != NULL || body->err)
        return;
    if (reserve(body, body->reserved_bytes + 1) == ERR_WOULD_BLOCK)
        (void)wait_for_space(body); /* the keeper makes a segment meanwhile; if none can come, the
                                       write that needs it hears of it */
}

enum err body_write(struct body *body, struct body_write *write, uint8_t *data, uint32_t size,
                    bool last, body_written_fn *written, struct err_trail *trail)
{
    CHECK_MAGIC(body, BODY_MAGIC);
    CHECK(!body->is_closing);
    CHECK(size <= SLOT_LARGE_BYTES);
    if (body->err)
        return err_note(trail, body->err, "an earlier write of this body failed");
    bool is_unknown = body->size_wanted == BODY_SIZE_UNKNOWN;
    if ((body->has_ended && !(size == 0 && last)) ||
        (!is_unknown && size > body->size_wanted - body->size))
        return err_note(trail, ERR_INVALID, "more bytes than the body was opened for");
    if (last && !is_unknown && body->size + size != body->size_wanted)
        return err_note(trail, ERR_INVALID, "the body ends %llu bytes early",
                        (unsigned long long)(body->size_wanted - body->size - size));
    if (!body->is_decided) {
        body->is_inline = last && size <= INLINE_BYTES_MAX;
        body->is_decided = true;
    }
    write->body = body;
    write->written = written;
    write->data = data;
    write->size = size;
    write->written_size = 0;
    write->data_offset = body->size;
    write->err = ERR_OK;
    enum err e =
        body->is_inline ? write_inline(body, write, last) : write_extents(body, write, size, last);
    if (e)
        return err_note(trail, e, "take %u bytes of a body", size);
    reserve_ahead(body);
    return ERR_OK;
}

struct data_id body_data_id(const struct body *body)
{
    CHECK_MAGIC(body, BODY_MAGIC);
    return body->id;
}

struct loop *body_loop(const struct body *body)
{
    CHECK_MAGIC(body, BODY_MAGIC);
    return body->loop;
}

uint64_t body_size_expected(const struct body *body)
{
    CHECK_MAGIC(body, BODY_MAGIC);
    return body->size_wanted;
}

struct bytes body_inline_bytes(const struct body *body)
{
    CHECK_MAGIC(body, BODY_MAGIC);
    return body->is_inline ? bytes_of(body->inline_data, body->size) : (struct bytes){0};
}

const uint64_t *body_sums(const struct body *body, uint32_t *ret_count)
{
    CHECK_MAGIC(body, BODY_MAGIC);
    *ret_count = body->sum_count;
    return body->sums;
}

void body_set_user(struct body *body, void *user)
{
    CHECK_MAGIC(body, BODY_MAGIC);
    body->user = user;
}

void *body_user(const struct body *body)
{
    CHECK_MAGIC(body, BODY_MAGIC);
    return body->user;
}

uint64_t body_size(const struct body *body)
{
    CHECK_MAGIC(body, BODY_MAGIC);
    return body->size;
}

uint32_t body_writes_pending(const struct body *body)
{
    CHECK_MAGIC(body, BODY_MAGIC);
    return body->writes_pending;
}

bool body_is_inline(const struct body *body)
{
    CHECK_MAGIC(body, BODY_MAGIC);
    return body->is_inline;
}

/* ---- being named ---- */

enum err body__judge(struct body *body, struct err_trail *trail)
{
    CHECK_MAGIC(body, BODY_MAGIC);
    if (body->err)
        return err_note(trail, body->err, "a write of the body failed");
    if (!(body->has_ended || body->size == body->size_wanted))
        return err_note(trail, ERR_INVALID, "the body has not ended");
    if (!body->is_inline)
        trim(body);
    return ERR_OK;
}

void body__layout(const struct body *body, struct data_layout *ret_layout)
{
    CHECK_MAGIC(body, BODY_MAGIC);
    CHECK(body->writes_pending == 0);
    *ret_layout =
        (struct data_layout){.id = body->id, .size = body->size, .is_inline = body->is_inline};
    if (body->is_inline) {
        ret_layout->inline_data = body->inline_data;
        ret_layout->inline_sum = body->inline_sum;
        return;
    }
    ret_layout->extents = body->extents;
    ret_layout->extent_count = body->extent_count;
    ret_layout->sums = body->sums;
    ret_layout->sum_count = body->sum_count;
}

static uint64_t all_units(const struct body *body)
{
    return body->reserved_bytes / UNIT_BYTES;
}

void body__named(struct body *body)
{
    CHECK_MAGIC(body, BODY_MAGIC);
    atomic_fetch_sub_explicit(&body->volume->space.reserved_units, all_units(body),
                              memory_order_relaxed);
    body_free(body);
}

void body__dropped(struct body *body)
{
    CHECK_MAGIC(body, BODY_MAGIC);
    give_back(body);
    body_free(body);
}

void body__orphaned(struct body *body, body_keep_fn *keep, void *context)
{
    CHECK_MAGIC(body, BODY_MAGIC);
    for (uint32_t i = 0; keep != NULL && i < body->extent_count; i++)
        keep(context, body->id, &body->extents[i]);
    atomic_fetch_sub_explicit(&body->volume->space.reserved_units, all_units(body),
                              memory_order_relaxed);
    body_free(body);
}
