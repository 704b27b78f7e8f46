/*
 * The model of a volume, an array of names and bytes, and the volume it is held against: on a
 * simulated disk and a simulated index, without threads, so that one seed repeats all of it.
 */
#ifndef TESTS_STORE_MODEL_H
#define TESTS_STORE_MODEL_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include <cmocka.h>

#include "base/arena.h"
#include "base/check.h"
#include "base/digest.h"
#include "storage/fsck.h"
#include "storage/read_plan.h"
#include "storage/volume.h"

#define DIR           "/volume"
#define DISK_BYTES    GIB(1)
#define SEGMENT_BYTES MIB(16)
#define NAMES         10u
#define UPLOADS       3u
#define PARTS         4u
#define HOLDERS       4u

/* ---- the model ---- */

struct blob {
    uint8_t *bytes; /* owned */
    uint64_t size;
    bool is_there;
};

struct model_object {
    struct blob blob;
    struct etag etag;
    unsigned part_count;
};

struct model_upload {
    bool is_open;
    unsigned name;
    struct upload_id id;
    struct blob parts[PARTS];
    struct etag etags[PARTS];
};

struct holder { /* a reader in the middle of an object */
    bool is_open;
    struct read_plan plan;
    struct blob expected; /* what is left to be read, from `at` on */
    uint64_t at;
};

struct run {
    uint64_t seed;
    struct rand_seeded seeded;  /* what is done */
    struct rand_seeded chances; /* what the disk does */
    struct clock_manual clock;
    struct arena *arena;
    struct loop *loop;
    struct disk_sim *disk;
    struct kv *index; /* the simulated one: outlives volumes */
    struct volume *volume;
    struct bucket_id bucket;
    bool is_breaking;     /* an error may come during this operation */
    struct body *cut_off; /* left open by a client; NULL: none */

    struct model_object objects[NAMES];
    struct model_upload uploads[UPLOADS];
    struct holder holders[HOLDERS];

    struct text_buf log;
    unsigned operations, faults, cuts, reads, held, copies, completed;
};

static uint64_t below(struct run *run, uint64_t bound)
{
    return rand_below(&run->seeded.rand, bound);
}

/* ---- failing ---- */

static _Noreturn void give_up(struct run *run, const char *what, const char *file, int line)
{
    char path[256];
    const char *dir = getenv("SLUICE_TEST_OUT");
    snprintf(path, sizeof path, "%s/model-store-%llu.txt", dir ? dir : "/tmp",
             (unsigned long long)run->seed);
    FILE *out = fopen(path, "w");
    if (out != NULL) {
        fprintf(out, "# seed %llu: %s\n%.*s", (unsigned long long)run->seed, what,
                (int)run->log.size, run->log.data ? run->log.data : "");
        fclose(out);
    }
    fprintf(stderr, "%s:%d: seed %llu, operation %u: %s (operations in %s)\n", file, line,
            (unsigned long long)run->seed, run->operations, what, path);
    abort(); /* loops, volumes and half a body are about: nothing to be tidied up */
}

#define EXPECT(run, condition)                                                                     \
    do {                                                                                           \
        if (!(condition))                                                                          \
            give_up(run, #condition, __FILE__, __LINE__);                                          \
    } while (0)
#define EXPECT_OK(run, e, trail)                                                                   \
    do {                                                                                           \
        enum err e_ = (e);                                                                         \
        if (e_)                                                                                    \
            give_up(run, err_trail_text(trail, e_), __FILE__, __LINE__);                           \
    } while (0)

#define SAY(run, ...) text_printf(&(run)->log, __VA_ARGS__)

/* ---- an index that can be unplugged: after a power cut nothing of the dying volume reaches it
 * ---- */

struct plug {
    struct kv kv;
    struct kv_ops ops;
    struct kv *inner; /* borrowed */
    bool is_out;
};

static enum err plug_get(struct kv *kv, enum kv_family family, struct bytes key, enum kv_tier tier,
                         struct kv_value *ret_value)
{
    struct plug *plug = (struct plug *)kv;
    return plug->is_out ? ERR_IO : plug->inner->ops->get(plug->inner, family, key, tier, ret_value);
}
static enum err plug_write(struct kv *kv, const struct kv_batch *batch, bool sync,
                           struct err_trail *trail)
{
    struct plug *plug = (struct plug *)kv;
    return plug->is_out ? ERR_IO : plug->inner->ops->write(plug->inner, batch, sync, trail);
}
static enum err plug_iter_open(struct kv *kv, const struct kv_iter_options *options,
                               struct kv_iter **ret_iter)
{
    struct plug *plug = (struct plug *)kv;
    return plug->is_out ? ERR_IO : plug->inner->ops->iter_open(plug->inner, options, ret_iter);
}
static void plug_value_put(struct kv_value *value)
{
    value->kv->ops->value_put(value);
}
static void plug_stats(struct kv *kv, struct kv_stats *ret_stats)
{
    struct plug *plug = (struct plug *)kv;
    plug->inner->ops->stats(plug->inner, ret_stats);
}
static void plug_close(struct kv *kv)
{
    free(kv);
}

static struct plug *plug_in(struct run *run)
{
    struct plug *plug = calloc(1, sizeof *plug);
    CHECK(plug != NULL);
    plug->inner = run->index;
    /* An iterator is the inner index's own: its operations are as well. */
    plug->ops = *run->index->ops;
    plug->ops.get = plug_get;
    plug->ops.value_put = plug_value_put;
    plug->ops.write = plug_write;
    plug->ops.iter_open = plug_iter_open;
    plug->ops.stats = plug_stats;
    plug->ops.close = plug_close;
    plug->kv.ops = &plug->ops;
    return plug;
}

/* ---- the volume ---- */

static struct plug *present_plug; /* of run->volume */

static void volume_start(struct run *run)
{
    struct err_trail trail = {0};
    present_plug = plug_in(run);
    EXPECT_OK(run,
              volume_open(
                  &(struct volume_options){
                      .dir = DIR,
                      .disk = disk_sim_disk(run->disk),
                      .kv = &present_plug->kv,
                      .clock = &run->clock.clock,
                      .rand = &run->seeded.rand,
                      .direct = VOLUME_DIRECT_ANY,
                      .threads = VOLUME_NO_THREADS,
                      .record_cache_bytes = KIB(512), /* small, so that lookups go both ways */
                  },
                  &run->volume, &trail),
              &trail);
}

static void drop_holders(struct run *run)
{
    for (unsigned i = 0; i < HOLDERS; i++) {
        struct holder *holder = &run->holders[i];
        if (holder->is_open)
            read_plan_close(&holder->plan);
        free(holder->expected.bytes);
        *holder = (struct holder){0};
    }
}

static void drop_cut_off(struct run *run)
{
    body_close(run->cut_off);
    run->cut_off = NULL;
}

static void volume_stop(struct run *run)
{
    drop_holders(run);
    drop_cut_off(run);
    volume_close(run->volume);
    run->volume = NULL;
}

static void finish(struct mutation *m)
{
    m->loop = NULL; /* answered */
}

static void turn(struct run *run)
{
    volume_step(run->volume);
    loop_run_once(run->loop, 0);
}

static enum err commit(struct run *run, struct mutation *m)
{
    m->magic = MUTATION_MAGIC;
    m->loop = run->loop;
    m->done = finish;
    volume_commit(run->volume, m);
    for (unsigned i = 0; m->loop != NULL; i++) {
        EXPECT(run, i < 10000);
        turn(run);
    }
    return m->err;
}

/* ---- blobs ---- */

static void blob_fini(struct blob *blob)
{
    free(blob->bytes);
    *blob = (struct blob){0};
}

static struct blob blob_make(struct run *run, uint64_t size)
{
    struct blob blob = {.bytes = malloc(size + 1), .size = size, .is_there = true};
    CHECK(blob.bytes != NULL);
    uint64_t word = rand_u64(&run->seeded.rand);
    /* No two places look the same. */
    for (uint64_t i = 0; i < size; i++)
        blob.bytes[i] = (uint8_t)((word + i * 0x9e3779b97f4a7c15ull) >> 56);
    return blob;
}

static struct blob blob_cut(struct run *run, const struct blob *from, uint64_t offset,
                            uint64_t size)
{
    struct blob blob = {.bytes = malloc(size + 1), .size = size, .is_there = true};
    CHECK(blob.bytes != NULL);
    EXPECT(run, offset <= from->size && size <= from->size - offset);
    if (size > 0)
        memcpy(blob.bytes, from->bytes + offset, size);
    return blob;
}

static struct blob blob_join(const struct blob *a, const struct blob *b)
{
    struct blob blob = {
        .bytes = malloc(a->size + b->size + 1), .size = a->size + b->size, .is_there = true};
    CHECK(blob.bytes != NULL);
    if (a->size > 0)
        memcpy(blob.bytes, a->bytes, a->size);
    if (b->size > 0)
        memcpy(blob.bytes + a->size, b->bytes, b->size);
    return blob;
}

/* ---- writing bodies ---- */

static void written(struct body_write *write, enum err e)
{
    write->err = e;
    write->body = NULL; /* ended */
}

static enum err write_slot(struct run *run, struct body *body, struct slot *slot, uint32_t size,
                           bool last)
{
    struct body_write write;
    struct err_trail trail = {0};
    enum err e = body_write(body, &write, slot->data, size, last, written, &trail);
    if (e)
        return e;
    for (unsigned i = 0; body_writes_pending(body) > 0; i++) {
        EXPECT(run, i < 10000);
        turn(run);
    }
    return write.err;
}

/* `cut_short`: stops in the middle and leaves the body open. */
static enum err try_body(struct run *run, const struct blob *blob, bool cut_short,
                         struct body **ret_body)
{
    struct err_trail trail = {0};
    struct body *body;
    uint64_t said = below(run, 3) ? blob->size : BODY_SIZE_UNKNOWN;
    enum err e = body_open(run->volume, &(struct body_options){.loop = run->loop, .size = said},
                           &body, &trail);
    if (e)
        return e;
    struct slot *slot = slot_take(loop_arena(run->loop), SLOT_LARGE);
    EXPECT(run, slot != NULL);
    for (uint64_t at = 0; e == ERR_OK;) {
        uint32_t most =
            (uint32_t)(SUM_CHUNK_BYTES * (1 + below(run, SLOT_LARGE_BYTES / SUM_CHUNK_BYTES)));
        uint32_t size = (uint32_t)(blob->size - at < most ? blob->size - at : most);
        bool last = at + size == blob->size;
        if (size > 0)
            memcpy(slot->data, blob->bytes + at, size);
        e = write_slot(run, body, slot, size, last);
        at += size;
        if (last || (cut_short && at > blob->size / 2))
            break;
    }
    slot_put(slot);
    if (e) {
        body_close(body);
        return e;
    }
    *ret_body = body;
    return ERR_OK;
}

/* Without threads nobody makes segments while a body is written: one that finds too few tries again
 * after a step. */
static enum err write_body(struct run *run, const struct blob *blob, bool cut_short,
                           struct body **ret_body)
{
    enum err e = ERR_DISK_FULL;
    for (unsigned i = 0; e == ERR_DISK_FULL && i < 5; i++) {
        e = try_body(run, blob, cut_short, ret_body);
        if (e == ERR_DISK_FULL)
            turn(run);
    }
    return e;
}

/* ---- reading ---- */

/* Reads what the span holds by Direct I/O, whole chunks, and checks their sums. Returns how many
 * bytes of the object were compared. */
static uint64_t read_span(struct run *run, const struct read_span *span, const uint8_t *expected,
                          uint64_t wanted)
{
    uint64_t size = span->size < wanted ? span->size : wanted;
    if (span->inline_data != NULL) {
        EXPECT(run, memcmp(span->inline_data, expected, size) == 0);
        return size;
    }
    uint64_t lead = span->file_offset - span->chunk_file_offset;
    uint64_t chunks = (lead + size + SUM_CHUNK_BYTES - 1) / SUM_CHUNK_BYTES;
    EXPECT(run, chunks <= span->chunk_count);
    uint64_t bytes = chunks == span->chunk_count
                         ? (chunks - 1) * SUM_CHUNK_BYTES + span->last_chunk_size
                         : chunks * SUM_CHUNK_BYTES;
    uint64_t rounded = (bytes + DISK_ALIGN - 1) / DISK_ALIGN * DISK_ALIGN;
    uint8_t *memory = aligned_alloc(DISK_ALIGN, rounded);
    CHECK(memory != NULL);
    EXPECT(run, span->direct->disk->ops->pread(span->direct, memory, rounded,
                                               span->chunk_file_offset) == ERR_OK);
    EXPECT(run, read_span_verify(span, memory, bytes) == ERR_OK);
    EXPECT(run, memcmp(memory + lead, expected, size) == 0);
    free(memory);
    return size;
}

/* Up to `wanted` bytes further along a plan. */
static void read_on(struct run *run, struct read_plan *plan, const uint8_t *expected,
                    uint64_t wanted)
{
    while (wanted > 0) {
        struct read_span span;
        enum err e = read_plan_span(plan, &span);
        if (e == ERR_WOULD_BLOCK) {
            e = read_plan_load(plan);
            if (e)
                give_up(run, err_name(e), __FILE__, __LINE__);
            continue;
        }
        if (e)
            give_up(run, err_name(e), __FILE__, __LINE__);
        uint64_t size = read_span(run, &span, expected, wanted);
        EXPECT(run, size > 0);
        read_plan_advance(plan, size);
        expected += size;
        wanted -= size;
    }
}

static struct bytes name_of(unsigned i)
{
    static const char *const names[NAMES] = {"a",  "a/b", "a/b/c", "a/c",      "b",
                                             "b/", "b/x", "c",     "photos/1", "photos/2"};
    return bytes_of_string(names[i]);
}

static enum err look(struct run *run, unsigned name, struct object **ret_object)
{
    enum err e = volume_lookup(run->volume, run->bucket, name_of(name), KV_MEMORY_ONLY, ret_object);
    return e == ERR_WOULD_BLOCK
               ? volume_lookup(run->volume, run->bucket, name_of(name), KV_ANY, ret_object)
               : e;
}

/* Is this what the volume has under the name? Etags are random, so no two states look alike. */
static bool is_state(struct run *run, unsigned name, const struct model_object *state)
{
    struct object *object;
    enum err e = look(run, name, &object);
    if (e == ERR_NO_SUCH_OBJECT)
        return !state->blob.is_there;
    if (e)
        give_up(run, err_name(e), __FILE__, __LINE__);
    const struct object_info *info = object_info(object);
    bool is_equal = state->blob.is_there && info->size == state->blob.size &&
                    info->part_count == state->part_count &&
                    info->etag.parts == state->etag.parts &&
                    memcmp(info->etag.md5, state->etag.md5, 16) == 0;
    object_put(object);
    return is_equal;
}

static void check_object(struct run *run, unsigned name)
{
    const struct model_object *model = &run->objects[name];
    struct object *object;
    EXPECT(run, is_state(run, name, model));
    if (!model->blob.is_there)
        return;
    EXPECT(run, look(run, name, &object) == ERR_OK);
    const struct object_info *info = object_info(object);
    uint64_t offset = below(run, 2) ? 0 : below(run, info->size + 1);
    uint64_t size = below(run, 2) ? info->size - offset : below(run, info->size - offset + 1);
    struct read_plan plan;
    read_plan_open(&plan, object, offset, size);
    object_put(object);
    read_on(run, &plan, model->blob.bytes + offset, size);
    EXPECT(run, read_plan_left(&plan) == 0);
    read_plan_close(&plan);
    run->reads++;
}

static void check_all(struct run *run)
{
    for (unsigned i = 0; i < NAMES; i++)
        check_object(run, i);
}

/* ---- errors on purpose ---- */

static void maybe_break(struct run *run)
{
    run->is_breaking = below(run, 12) == 0;
    if (!run->is_breaking)
        return;
    unsigned nth = 1 + (unsigned)below(run, 12);
    bool on_disk = below(run, 2);
    SAY(run, "  fail call %u of the %s\n", nth, on_disk ? "disk" : "index");
    if (on_disk)
        disk_sim_fail_nth(run->disk, nth, ERR_IO);
    else
        kv_sim_fail_nth(run->index, nth, ERR_IO);
}

/*
 * Ends the chance of an error. True when one came: the volume may have failed for good, and whether
 * the operation happened is open. It is opened anew then, and is one or the other.
 */
static bool has_broken(struct run *run)
{
    if (!run->is_breaking)
        return false;
    run->is_breaking = false;
    bool fired = disk_sim_fault_fired(run->disk) || kv_sim_fault_fired(run->index);
    disk_sim_fail_nth(run->disk, 0, ERR_OK);
    kv_sim_fail_nth(run->index, 0, ERR_OK);
    if (!fired)
        return false;
    run->faults++;
    volume_stop(run);
    volume_start(run);
    return true;
}

#endif
