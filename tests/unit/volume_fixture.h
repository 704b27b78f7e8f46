/*
 * A volume without threads on a simulated disk and a simulated index, and the few steps every test
 * of the storage layer makes: put, get, delete, cut the power, open again.
 */
#ifndef TESTS_VOLUME_FIXTURE_H
#define TESTS_VOLUME_FIXTURE_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include "base/arena.h"
#include "base/check.h"
#include "base/digest.h"
#include "storage/body_priv.h"
#include "storage/keys.h"
#include "storage/object_priv.h"
#include "storage/read_plan.h"
#include "storage/records.h"
#include "storage/volume_priv.h"

#define FIXTURE_DIR   "/volume"
#define FIXTURE_SLOTS 8u
#define FAULTS_MAX    2000u

struct fixture {
    struct rand_seeded chances;
    struct clock_manual clock;
    struct loop *loop;
    struct disk_sim *sim;
    struct disk *disk; /* the simulated one, unless a test puts a recorder before it */
    struct kv *kv;     /* outlives volumes */
    struct volume *volume;
    bool has_log; /* it is opened with one */
    struct bucket_id bucket;
    uint8_t *slots[FIXTURE_SLOTS];
    struct err_trail trail;
};

static inline void fixture_init(struct fixture *f, uint64_t disk_bytes)
{
    memset(f, 0, sizeof *f);
    rand_seeded_init(&f->chances, 1);
    clock_manual_init(&f->clock, 1700000000 * NS_PER_SECOND);
    assert_int_equal(loop_open(&(struct loop_options){.clock = &f->clock.clock,
                                                      .ring_choice = RING_FORCE_POLL,
                                                      .name = "test"},
                               &f->loop, &f->trail),
                     ERR_OK);
    struct disk_sim_options options = {.capacity_bytes = disk_bytes, .rand = &f->chances.rand};
    assert_int_equal(disk_sim_open(&options, &f->sim), ERR_OK);
    f->disk = disk_sim_disk(f->sim);
    assert_int_equal(kv_sim_open(&f->kv), ERR_OK);
    kv_sim_set_kept(f->kv, true);
    for (unsigned i = 0; i < FIXTURE_SLOTS; i++)
        assert_non_null(f->slots[i] = aligned_alloc(DISK_ALIGN, SLOT_LARGE_BYTES));
}

static inline void fixture_fini(struct fixture *f)
{
    volume_close(f->volume);
    f->volume = NULL;
    loop_run_once(f->loop, 0);
    kv_sim_set_kept(f->kv, false);
    f->kv->ops->close(f->kv);
    disk_sim_close(f->sim);
    loop_close(f->loop);
    for (unsigned i = 0; i < FIXTURE_SLOTS; i++)
        free(f->slots[i]);
}

static inline enum err fixture_format(struct fixture *f, uint64_t segment_bytes)
{
    return volume_format(&(struct volume_format_options){.dir = FIXTURE_DIR,
                                                         .disk = f->disk,
                                                         .clock = &f->clock.clock,
                                                         .rand = &f->chances.rand,
                                                         .segment_bytes = segment_bytes},
                         &f->trail);
}

static inline enum err fixture_open(struct fixture *f)
{
    err_trail_reset(&f->trail);
    return volume_open(&(struct volume_options){.dir = FIXTURE_DIR,
                                                .disk = f->disk,
                                                .kv = f->kv,
                                                .clock = &f->clock.clock,
                                                .rand = &f->chances.rand,
                                                .threads = VOLUME_NO_THREADS,
                                                .has_log = f->has_log},
                       &f->volume, &f->trail);
}

/* ---- mutations ---- */

struct commit_wait {
    struct mutation m;
    bool is_done;
};

static inline void fixture_done(struct mutation *m)
{
    struct commit_wait *wait = CONTAINER_OF(m, struct commit_wait, m);
    assert_false(wait->is_done);
    wait->is_done = true;
}

static inline void fixture_submit(struct fixture *f, struct commit_wait *wait)
{
    wait->is_done = false;
    wait->m.magic = MUTATION_MAGIC;
    wait->m.loop = f->loop;
    wait->m.done = fixture_done;
    volume_commit(f->volume, &wait->m);
}

static inline enum err fixture_commit(struct fixture *f, struct commit_wait *wait)
{
    fixture_submit(f, wait);
    volume_step(f->volume);
    loop_run_once(f->loop, 0);
    assert_true(wait->is_done);
    return wait->m.err;
}

static inline void fixture_make_bucket(struct fixture *f)
{
    struct commit_wait wait = {.m = {.kind = MUTATION_BUCKET_CREATE,
                                     .bucket_name = BYTES("photos"),
                                     .owner = BYTES("me"),
                                     .region = BYTES("here")}};
    assert_int_equal(fixture_commit(f, &wait), ERR_OK);
    f->bucket = wait.m.new_bucket;
}

/* A formatted, open volume with a bucket. */
static inline void fixture_up(struct fixture *f, uint64_t disk_bytes, uint64_t segment_bytes)
{
    fixture_init(f, disk_bytes);
    assert_int_equal(fixture_format(f, segment_bytes), ERR_OK);
    assert_int_equal(fixture_open(f), ERR_OK);
    fixture_make_bucket(f);
}

static inline void fixture_close_volume(struct fixture *f)
{
    volume_close(f->volume);
    f->volume = NULL;
}

static inline void fixture_reopen(struct fixture *f)
{
    fixture_close_volume(f);
    assert_int_equal(fixture_open(f), ERR_OK);
}

/* The power goes. What the dying volume would still do reaches neither disk nor index. */
static inline void fixture_cut_power(struct fixture *f)
{
    disk_sim_crash(f->sim);
    volume__fail(f->volume, ERR_IO, &(struct err_trail){"the power is gone"});
    for (unsigned i = 0; i < 20; i++)
        loop_run_once(f->loop, 0); /* what was on its way hears of it */
    fixture_close_volume(f);
    kv_sim_crash(f->kv);
}

/* ---- bytes ---- */
/* Byte i of what was made from a seed is told from its neighbours and other seeds. */
static inline uint8_t fixture_byte(uint64_t seed, uint64_t i)
{
    uint64_t x = (i / 8 + seed * 0x9e3779b97f4a7c15ull) * 0xd6e8feb86659fd93ull;
    return (uint8_t)(x >> (i % 8 * 8));
}

static inline void fixture_fill(uint8_t *out, uint64_t seed, uint64_t offset, size_t size)
{
    for (size_t i = 0; i < size; i++)
        out[i] = fixture_byte(seed, offset + i);
}

/* ---- bodies ---- */

struct write_wait {
    struct body_write write;
    bool is_done;
    enum err err;
};

static inline void fixture_written(struct body_write *write, enum err e)
{
    struct write_wait *wait = CONTAINER_OF(write, struct write_wait, write);
    assert_false(wait->is_done);
    wait->is_done = true;
    wait->err = e;
}

static inline void fixture_finish_writes(struct fixture *f, struct write_wait *waits, size_t count)
{
    for (unsigned turns = 0; turns < 1000; turns++) {
        bool all = true;
        for (size_t i = 0; i < count; i++)
            all = all && waits[i].is_done;
        if (all)
            return;
        loop_run_once(f->loop, 0);
    }
    fail_msg("a write never ended");
}

/* Writes a body of `size` bytes made from `seed` under the id given, if any, several slots in
 * flight. On an error it is closed. */
static inline enum err fixture_body_as(struct fixture *f, struct data_id id, uint64_t size,
                                       bool is_known, uint64_t seed, struct body **ret_body)
{
    struct body *body;
    struct write_wait waits[FIXTURE_SLOTS];
    struct body_options options = {
        .loop = f->loop, .size = is_known ? size : BODY_SIZE_UNKNOWN, .id = id};
    enum err e = body_open(f->volume, &options, &body, &f->trail);
    if (e)
        return e;
    uint64_t offset = 0;
    bool ends = false;
    while (e == ERR_OK && !ends) {
        size_t count = 0;
        while (e == ERR_OK && !ends && count < FIXTURE_SLOTS) {
            uint64_t left = size - offset;
            uint32_t step = left < SLOT_LARGE_BYTES ? (uint32_t)left : SLOT_LARGE_BYTES;
            fixture_fill(f->slots[count], seed, offset, step);
            ends = step == left;
            waits[count].is_done = false;
            e = body_write(body, &waits[count].write, f->slots[count], step, ends, fixture_written,
                           &f->trail);
            if (e)
                break;
            offset += step;
            count++;
        }
        fixture_finish_writes(f, waits, count);
        for (size_t i = 0; e == ERR_OK && i < count; i++)
            e = waits[i].err;
    }
    if (e) {
        body_close(body);
        return e;
    }
    assert_int_equal(body_size(body), size);
    *ret_body = body;
    return ERR_OK;
}

static inline enum err fixture_body(struct fixture *f, uint64_t size, bool is_known, uint64_t seed,
                                    struct body **ret_body)
{
    return fixture_body_as(f, (struct data_id){0}, size, is_known, seed, ret_body);
}

static inline void fixture_put_mutation(struct fixture *f, struct commit_wait *wait,
                                        const char *key, struct body *body, uint64_t size)
{
    *wait = (struct commit_wait){.m = {.kind = MUTATION_OBJECT_PUT,
                                       .bucket = f->bucket,
                                       .key = bytes_of_string(key),
                                       .body = body,
                                       .size = size}};
}

static inline enum err fixture_put(struct fixture *f, const char *key, uint64_t size, uint64_t seed)
{
    struct body *body;
    struct commit_wait wait;
    enum err e = fixture_body(f, size, true, seed, &body);
    if (e)
        return e;
    fixture_put_mutation(f, &wait, key, body, size);
    e = fixture_commit(f, &wait);
    f->trail = wait.m.trail;
    return e;
}

static inline enum err fixture_delete(struct fixture *f, const char *key)
{
    struct commit_wait wait = {
        .m = {.kind = MUTATION_OBJECT_DELETE, .bucket = f->bucket, .key = bytes_of_string(key)}};
    enum err e = fixture_commit(f, &wait);
    f->trail = wait.m.trail;
    return e;
}

static inline enum err fixture_lookup(struct fixture *f, const char *key,
                                      struct object **ret_object)
{
    return volume_lookup(f->volume, f->bucket, bytes_of_string(key), KV_ANY, ret_object);
}

/* Reads a span's chunks by Direct I/O into memory to be freed; checks them. */
static inline enum err fixture_read_span(const struct read_span *span, uint8_t **ret_bytes,
                                         uint64_t *ret_skip)
{
    uint64_t chunks = (uint64_t)(span->chunk_count - 1) * SUM_CHUNK_BYTES + span->last_chunk_size;
    uint64_t padded = (chunks + DISK_ALIGN - 1) / DISK_ALIGN * DISK_ALIGN;
    uint8_t *bytes = aligned_alloc(DISK_ALIGN, padded);
    assert_non_null(bytes);
    enum err e =
        span->direct->disk->ops->pread(span->direct, bytes, padded, span->chunk_file_offset);
    if (e == ERR_OK)
        e = read_span_verify(span, bytes, chunks);
    *ret_bytes = bytes;
    *ret_skip = span->file_offset - span->chunk_file_offset;
    return e;
}

/* Reads what is left of a plan and compares it with the seed's bytes from `from` on. */
static inline enum err fixture_read_plan(struct read_plan *plan, uint64_t seed, uint64_t from)
{
    while (read_plan_left(plan) > 0) {
        struct read_span span;
        enum err e = read_plan_span(plan, &span);
        if (e == ERR_WOULD_BLOCK)
            e = read_plan_load(plan) ? ERR_CORRUPT : read_plan_span(plan, &span);
        if (e)
            return e;
        assert_true(span.size > 0 && span.size <= read_plan_left(plan));
        uint8_t *bytes = NULL;
        uint64_t skip = 0;
        if (span.inline_data == NULL)
            e = fixture_read_span(&span, &bytes, &skip);
        const uint8_t *got = span.inline_data ? span.inline_data : bytes + skip;
        for (uint64_t i = 0; e == ERR_OK && i < span.size; i++)
            if (got[i] != fixture_byte(seed, from + i))
                e = ERR_INTERNAL; /* wrong bytes that pass their checksum */
        free(bytes);
        if (e)
            return e;
        from += span.size;
        read_plan_advance(plan, span.size);
    }
    return ERR_OK;
}

static inline enum err fixture_get(struct fixture *f, const char *key, uint64_t size, uint64_t seed)
{
    struct object *object;
    enum err e = fixture_lookup(f, key, &object);
    if (e)
        return e;
    struct read_plan plan;
    assert_int_equal(object_info(object)->size, size);
    read_plan_open(&plan, object, 0, size);
    e = fixture_read_plan(&plan, seed, 0);
    read_plan_close(&plan);
    object_put(object);
    return e;
}

/* ---- what must always hold ---- */

static inline struct volume_status fixture_status(struct fixture *f)
{
    struct volume_status status;
    volume_status(f->volume, &status);
    return status;
}

/* Bytes in use as the index has it. */
static inline uint64_t fixture_indexed_bytes(struct fixture *f)
{
    uint64_t units = 0;
    struct kv_iter *iter;
    const struct kv_ops *ops = f->kv->ops;
    struct kv_iter_options options = {.family = KV_EXTENT};
    assert_int_equal(ops->iter_open(f->kv, &options, &iter), ERR_OK);
    for (ops->iter_seek(iter, (struct bytes){0}); ops->iter_valid(iter); ops->iter_next(iter)) {
        struct extent_record record;
        assert_int_equal(record_extent_get(ops->iter_value(iter), &record), ERR_OK);
        units += record.units;
    }
    ops->iter_close(iter);
    return units * UNIT_BYTES;
}

/* No unit is lost and none is used twice: the allocator agrees with the index, nothing is on its
 * way. */
static inline void fixture_check(struct fixture *f)
{
    struct volume_status status = fixture_status(f);
    struct alloc_stats stats;
    alloc_stats(f->volume->alloc, &stats);
    assert_int_equal(status.reserved_bytes, 0);
    assert_int_equal(status.reclaiming_bytes, 0);
    assert_int_equal(stats.units_used * UNIT_BYTES, fixture_indexed_bytes(f));
    assert_int_equal(f->volume->space.claimed_units, 0);
}

#endif
