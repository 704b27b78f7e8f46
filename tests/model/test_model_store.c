/*
 * A real volume on a simulated disk and a simulated index, against a model that is nothing but an array of names and bytes. Random operations:
 * put, overwrite, delete, copy, multipart, list, range reads, readers that hold on while everything changes below them, clean reopening, power cuts,
 * failing disks. After each the two must agree; now and then, and at the end, fsck must find nothing, and an emptied volume must be empty.
 *
 *     SLUICE_MODEL_SECONDS  how long (default 10)
 *     SLUICE_MODEL_SEED     only this seed, once: to repeat a failure
 *     SLUICE_TEST_OUT       where the operations of a failing seed are left as text (default /tmp)
 */
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

#define DIR "/volume"
#define DISK_BYTES GIB(1)
#define SEGMENT_BYTES MIB(16)
#define OPERATIONS 250u /* of one seed */
#define NAMES 10u
#define UPLOADS 3u
#define PARTS 4u
#define HOLDERS 4u

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
    struct kv *index;         /* the simulated one: outlives volumes */
    struct volume *volume;
    struct bucket_id bucket;
    bool is_breaking;         /* an error may come during this operation */
    struct body *cut_off;     /* left open by a client; NULL: none */

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
    snprintf(path, sizeof path, "%s/model-store-%llu.txt", dir ? dir : "/tmp", (unsigned long long)run->seed);
    FILE *out = fopen(path, "w");
    if (out != NULL) {
        fprintf(out, "# seed %llu: %s\n%.*s", (unsigned long long)run->seed, what, (int)run->log.size, run->log.data ? run->log.data : "");
        fclose(out);
    }
    fprintf(stderr, "%s:%d: seed %llu, operation %u: %s (operations in %s)\n", file, line, (unsigned long long)run->seed,
            run->operations, what, path);
    abort(); /* loops, volumes and half a body are about: nothing to be tidied up */
}

#define EXPECT(run, condition)                               \
    do {                                                     \
        if (!(condition))                                    \
            give_up(run, #condition, __FILE__, __LINE__);    \
    } while (0)
#define EXPECT_OK(run, e, trail)                                                           \
    do {                                                                                   \
        enum err e_ = (e);                                                                 \
        if (e_)                                                                            \
            give_up(run, err_trail_text(trail, e_), __FILE__, __LINE__);                   \
    } while (0)

#define SAY(run, ...) text_printf(&(run)->log, __VA_ARGS__)

/* ---- an index that can be unplugged: after a power cut nothing of the dying volume reaches it ---- */

struct plug {
    struct kv kv;
    struct kv_ops ops;
    struct kv *inner; /* borrowed */
    bool is_out;
};

static enum err plug_get(struct kv *kv, enum kv_family family, struct bytes key, enum kv_tier tier, struct kv_value *ret_value)
{
    struct plug *plug = (struct plug *)kv;
    return plug->is_out ? ERR_IO : plug->inner->ops->get(plug->inner, family, key, tier, ret_value);
}
static enum err plug_write(struct kv *kv, const struct kv_batch *batch, bool sync, struct err_trail *trail)
{
    struct plug *plug = (struct plug *)kv;
    return plug->is_out ? ERR_IO : plug->inner->ops->write(plug->inner, batch, sync, trail);
}
static enum err plug_iter_open(struct kv *kv, const struct kv_iter_options *options, struct kv_iter **ret_iter)
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
    plug->ops = *run->index->ops; /* an iterator is the inner index's own: its operations are as well */
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
              volume_open(&(struct volume_options){
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
    for (uint64_t i = 0; i < size; i++)
        blob.bytes[i] = (uint8_t)((word + i * 0x9e3779b97f4a7c15ull) >> 56); /* no two places look the same */
    return blob;
}

static struct blob blob_cut(struct run *run, const struct blob *from, uint64_t offset, uint64_t size)
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
    struct blob blob = {.bytes = malloc(a->size + b->size + 1), .size = a->size + b->size, .is_there = true};
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

static enum err write_slot(struct run *run, struct body *body, struct slot *slot, uint32_t size, bool last)
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
static enum err try_body(struct run *run, const struct blob *blob, bool cut_short, struct body **ret_body)
{
    struct err_trail trail = {0};
    struct body *body;
    uint64_t said = below(run, 3) ? blob->size : BODY_SIZE_UNKNOWN;
    enum err e = body_open(run->volume, &(struct body_options){.loop = run->loop, .size = said}, &body, &trail);
    if (e)
        return e;
    struct slot *slot = slot_take(loop_arena(run->loop), SLOT_LARGE);
    EXPECT(run, slot != NULL);
    for (uint64_t at = 0; e == ERR_OK;) {
        uint32_t most = (uint32_t)(SUM_CHUNK_BYTES * (1 + below(run, SLOT_LARGE_BYTES / SUM_CHUNK_BYTES)));
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

/* Without threads nobody makes segments while a body is written: one that finds too few tries again after a step. */
static enum err write_body(struct run *run, const struct blob *blob, bool cut_short, struct body **ret_body)
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

/* Reads what the span holds by Direct I/O, whole chunks, and checks their sums. Returns how many bytes of the object were compared. */
static uint64_t read_span(struct run *run, const struct read_span *span, const uint8_t *expected, uint64_t wanted)
{
    uint64_t size = span->size < wanted ? span->size : wanted;
    if (span->inline_data != NULL) {
        EXPECT(run, memcmp(span->inline_data, expected, size) == 0);
        return size;
    }
    uint64_t lead = span->file_offset - span->chunk_file_offset;
    uint64_t chunks = (lead + size + SUM_CHUNK_BYTES - 1) / SUM_CHUNK_BYTES;
    EXPECT(run, chunks <= span->chunk_count);
    uint64_t bytes = chunks == span->chunk_count ? (chunks - 1) * SUM_CHUNK_BYTES + span->last_chunk_size : chunks * SUM_CHUNK_BYTES;
    uint64_t rounded = (bytes + DISK_ALIGN - 1) / DISK_ALIGN * DISK_ALIGN;
    uint8_t *memory = aligned_alloc(DISK_ALIGN, rounded);
    CHECK(memory != NULL);
    EXPECT(run, span->direct->disk->ops->pread(span->direct, memory, rounded, span->chunk_file_offset) == ERR_OK);
    EXPECT(run, read_span_verify(span, memory, bytes) == ERR_OK);
    EXPECT(run, memcmp(memory + lead, expected, size) == 0);
    free(memory);
    return size;
}

/* Up to `wanted` bytes further along a plan. */
static void read_on(struct run *run, struct read_plan *plan, const uint8_t *expected, uint64_t wanted)
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
    static const char *const names[NAMES] = {"a", "a/b", "a/b/c", "a/c", "b", "b/", "b/x", "c", "photos/1", "photos/2"};
    return bytes_of_string(names[i]);
}

static enum err look(struct run *run, unsigned name, struct object **ret_object)
{
    enum err e = volume_lookup(run->volume, run->bucket, name_of(name), KV_MEMORY_ONLY, ret_object);
    return e == ERR_WOULD_BLOCK ? volume_lookup(run->volume, run->bucket, name_of(name), KV_ANY, ret_object) : e;
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
    bool is_equal = state->blob.is_there && info->size == state->blob.size && info->part_count == state->part_count &&
                    info->etag.parts == state->etag.parts && memcmp(info->etag.md5, state->etag.md5, 16) == 0;
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
 * Ends the chance of an error. True when one came: the volume may have failed for good, and whether the operation happened is open. It is opened
 * anew then, and is one or the other.
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

/* ---- operations on objects ---- */

static void replace(struct run *run, unsigned name, struct model_object object)
{
    blob_fini(&run->objects[name].blob);
    run->objects[name] = object;
}

/* The operation ended with `e` and was to end with `expected`; if so, the name is to hold `after`, which is taken. */
static void conclude(struct run *run, unsigned name, struct model_object after, enum err e, enum err expected)
{
    if (has_broken(run)) {
        bool has_happened = is_state(run, name, &after);
        EXPECT(run, has_happened || is_state(run, name, &run->objects[name]));
        if (has_happened)
            replace(run, name, after);
        else
            blob_fini(&after.blob);
        return;
    }
    if (e != expected)
        give_up(run, err_name(e), __FILE__, __LINE__);
    if (e == ERR_OK)
        replace(run, name, after);
    else
        blob_fini(&after.blob);
}

static uint64_t random_size(struct run *run)
{
    static const uint64_t sizes[] = {0, 1, 100, 4096, 8191, 8192, 8193, 65536, 65537, 300000, MIB(1), MIB(1) + 5, MIB(3) + 77, MIB(6)};
    return sizes[below(run, COUNT_OF(sizes))] + (below(run, 4) == 0 ? below(run, 5000) : 0);
}

static struct etag random_etag(struct run *run)
{
    struct etag etag = {.parts = 0};
    rand_fill(&run->seeded.rand, etag.md5, sizeof etag.md5);
    return etag;
}

static void op_put(struct run *run)
{
    unsigned name = (unsigned)below(run, NAMES);
    struct model_object after = {.blob = blob_make(run, random_size(run)), .etag = random_etag(run)};
    bool must_be_new = below(run, 6) == 0;
    struct mutation m = {
        .kind = MUTATION_OBJECT_PUT,
        .bucket = run->bucket,
        .key = name_of(name),
        .size = after.blob.size,
        .etag = after.etag,
        .attrs = BYTES("text/plain"),
        .conditions.if_none_match_any = must_be_new,
    };
    SAY(run, "put %s %llu bytes%s\n", name_of(name).data, (unsigned long long)m.size, must_be_new ? " if absent" : "");
    maybe_break(run);
    enum err e = write_body(run, &after.blob, false, &m.body);
    if (e == ERR_OK)
        e = commit(run, &m);
    conclude(run, name, after, e, must_be_new && run->objects[name].blob.is_there ? ERR_PRECONDITION : ERR_OK);
}

/* A client goes away in the middle: nothing of it may stay. */
static void op_give_up_put(struct run *run)
{
    struct blob blob = blob_make(run, random_size(run));
    struct body *body;
    SAY(run, "begin a put of %llu bytes and give up\n", (unsigned long long)blob.size);
    EXPECT(run, write_body(run, &blob, true, &body) == ERR_OK);
    if (below(run, 4) == 0)
        run->cut_off = body; /* ... or the power goes first: see op_cut */
    else
        body_close(body);
    blob_fini(&blob);
}

static void op_delete(struct run *run)
{
    unsigned name = (unsigned)below(run, NAMES);
    struct mutation m = {.kind = MUTATION_OBJECT_DELETE, .bucket = run->bucket, .key = name_of(name)};
    bool was_there = run->objects[name].blob.is_there;
    SAY(run, "delete %s\n", name_of(name).data);
    maybe_break(run);
    enum err e = commit(run, &m);
    if (e == ERR_OK && !run->is_breaking)
        EXPECT(run, m.existed == was_there);
    conclude(run, name, (struct model_object){0}, e, ERR_OK);
}

/* A range of one object becomes another, or itself. */
static void op_copy(struct run *run)
{
    unsigned from = (unsigned)below(run, NAMES), to = (unsigned)below(run, NAMES);
    const struct blob *source = &run->objects[from].blob;
    struct object *object;
    if (!source->is_there)
        return;
    uint64_t offset = below(run, 2) ? 0 : below(run, source->size + 1);
    uint64_t size = below(run, 2) ? source->size - offset : below(run, source->size - offset + 1);
    struct piece *pieces;
    struct mutation m = {.kind = MUTATION_OBJECT_PUT, .bucket = run->bucket, .key = name_of(to), .size = size, .etag = random_etag(run)};
    SAY(run, "copy %s from %llu %llu bytes to %s\n", name_of(from).data, (unsigned long long)offset, (unsigned long long)size,
        name_of(to).data);
    EXPECT(run, look(run, from, &object) == ERR_OK);
    EXPECT(run, object_pieces(object, offset, size, &pieces, &m.piece_count) == ERR_OK);
    m.pieces = pieces;
    object_put(object);
    struct model_object after = {.blob = blob_cut(run, source, offset, size), .etag = m.etag};
    maybe_break(run);
    enum err e = commit(run, &m);
    free(pieces);
    conclude(run, to, after, e, ERR_OK);
    run->copies++;
}

/* ---- operations on uploads ---- */

static bool upload_is_there(struct run *run, const struct model_upload *upload)
{
    struct upload_info info;
    static uint8_t attrs[META_BYTES_MAX];
    enum err e = volume_upload(run->volume, run->bucket, name_of(upload->name), &upload->id, &info, attrs);
    EXPECT(run, e == ERR_OK || e == ERR_NO_SUCH_UPLOAD);
    return e == ERR_OK;
}

static void forget_upload(struct model_upload *upload)
{
    for (unsigned i = 0; i < PARTS; i++)
        blob_fini(&upload->parts[i]);
    *upload = (struct model_upload){0};
}

static void op_upload_create(struct run *run, struct model_upload *upload)
{
    *upload = (struct model_upload){.name = (unsigned)below(run, NAMES)};
    rand_fill(&run->seeded.rand, upload->id.bytes, sizeof upload->id.bytes);
    struct mutation m = {
        .kind = MUTATION_UPLOAD_CREATE,
        .bucket = run->bucket,
        .key = name_of(upload->name),
        .upload = upload->id,
        .attrs = BYTES("video/mp4"),
    };
    SAY(run, "create an upload of %s\n", name_of(upload->name).data);
    maybe_break(run);
    enum err e = commit(run, &m);
    if (!has_broken(run))
        EXPECT_OK(run, e, &m.trail);
    upload->is_open = upload_is_there(run, upload);
}

struct etag_search {
    uint16_t number;
    struct etag etag;
    bool is_found;
};

static enum err search_part(void *context, const struct part_info *part)
{
    struct etag_search *search = context;
    if (part->number == search->number)
        search->is_found = memcmp(part->etag.md5, search->etag.md5, 16) == 0;
    return ERR_OK;
}

static void conclude_part(struct run *run, struct model_upload *upload, unsigned part, struct blob blob, const struct mutation *m, enum err e)
{
    bool has_happened = true;
    if (has_broken(run)) {
        struct etag_search search = {.number = m->part_number, .etag = m->etag};
        bool truncated;
        EXPECT(run, volume_parts(run->volume, run->bucket, m->key, &upload->id, 0, 100, search_part, &search, &truncated) == ERR_OK);
        has_happened = search.is_found;
    } else {
        EXPECT_OK(run, e, &m->trail);
    }
    if (!has_happened) {
        blob_fini(&blob);
        return;
    }
    blob_fini(&upload->parts[part]);
    upload->parts[part] = blob;
    upload->etags[part] = m->etag;
}

static void op_part(struct run *run, struct model_upload *upload)
{
    unsigned part = (unsigned)below(run, PARTS), from = (unsigned)below(run, NAMES);
    const struct blob *source = &run->objects[from].blob;
    struct mutation m = {
        .kind = MUTATION_PART_PUT,
        .bucket = run->bucket,
        .key = name_of(upload->name),
        .upload = upload->id,
        .part_number = (uint16_t)(part * 7 + 1),
        .etag = random_etag(run),
    };
    struct blob blob;
    struct piece *pieces = NULL;
    enum err e = ERR_OK;
    if (source->is_there && below(run, 2)) {
        struct object *object;
        m.size = below(run, 2) ? source->size : below(run, source->size + 1);
        uint64_t offset = below(run, source->size - m.size + 1);
        SAY(run, "part %u of %s: copy %s from %llu %llu bytes\n", m.part_number, m.key.data, name_of(from).data,
            (unsigned long long)offset, (unsigned long long)m.size);
        blob = blob_cut(run, source, offset, m.size);
        EXPECT(run, look(run, from, &object) == ERR_OK);
        EXPECT(run, object_pieces(object, offset, m.size, &pieces, &m.piece_count) == ERR_OK);
        object_put(object);
        m.pieces = pieces;
        maybe_break(run);
    } else {
        m.size = below(run, 2) ? MIB(5) + below(run, 100000) : random_size(run);
        SAY(run, "part %u of %s: %llu bytes\n", m.part_number, m.key.data, (unsigned long long)m.size);
        blob = blob_make(run, m.size);
        maybe_break(run);
        e = write_body(run, &blob, false, &m.body);
    }
    if (e == ERR_OK)
        e = commit(run, &m);
    free(pieces);
    conclude_part(run, upload, part, blob, &m, e);
}

/* What is to come of completing, from the parts asked for. */
static enum err judge_parts(const struct model_upload *upload, const unsigned *parts, size_t count)
{
    for (size_t i = 0; i + 1 < count; i++)
        if (upload->parts[parts[i]].size < PART_BYTES_MIN)
            return ERR_PART_TOO_SMALL;
    return ERR_OK;
}

static void op_complete(struct run *run, struct model_upload *upload)
{
    struct completed_part said[PARTS];
    unsigned parts[PARTS];
    uint8_t md5s[PARTS * 16];
    struct mutation m = {
        .kind = MUTATION_UPLOAD_COMPLETE,
        .bucket = run->bucket,
        .key = name_of(upload->name),
        .upload = upload->id,
        .completed = said,
    };
    struct model_object after = {.blob = {.bytes = malloc(1), .is_there = true}};
    for (unsigned i = 0; i < PARTS; i++) {
        if (!upload->parts[i].is_there || below(run, 4) == 0)
            continue;
        struct blob joined = blob_join(&after.blob, &upload->parts[i]);
        blob_fini(&after.blob);
        after.blob = joined;
        memcpy(md5s + m.completed_count * 16, upload->etags[i].md5, 16);
        parts[m.completed_count] = i;
        said[m.completed_count++] = (struct completed_part){.number = (uint16_t)(i * 7 + 1), .etag = upload->etags[i]};
    }
    after.part_count = after.etag.parts = (unsigned)m.completed_count;
    md5(md5s, m.completed_count * 16, after.etag.md5);
    enum err expected = m.completed_count == 0 ? ERR_INVALID_PART : judge_parts(upload, parts, m.completed_count);
    SAY(run, "complete %s of %zu parts: %s\n", m.key.data, m.completed_count, err_name(expected));
    maybe_break(run);
    struct mutation again = m;
    enum err e = commit(run, &m);
    bool is_breaking = run->is_breaking;
    conclude(run, upload->name, after, e, expected);
    if (!upload_is_there(run, upload)) {
        forget_upload(upload);
        run->completed++;
        if (!is_breaking && below(run, 2)) { /* the client lost the answer */
            e = commit(run, &again);
            EXPECT_OK(run, e, &again.trail);
            EXPECT(run, again.existed && memcmp(&again.etag, &m.etag, sizeof m.etag) == 0);
        }
    }
}

static void op_abort(struct run *run, struct model_upload *upload)
{
    struct mutation m = {.kind = MUTATION_UPLOAD_ABORT, .bucket = run->bucket, .key = name_of(upload->name), .upload = upload->id};
    SAY(run, "abort the upload of %s\n", m.key.data);
    maybe_break(run);
    enum err e = commit(run, &m);
    if (has_broken(run) ? !upload_is_there(run, upload) : e == ERR_OK)
        forget_upload(upload);
}

static void op_upload(struct run *run)
{
    struct model_upload *upload = &run->uploads[below(run, UPLOADS)];
    if (!upload->is_open)
        op_upload_create(run, upload);
    else if (below(run, 10) == 0)
        op_abort(run, upload);
    else if (below(run, 3) == 0)
        op_complete(run, upload);
    else
        op_part(run, upload);
}

/* ---- listing ---- */

struct listing {
    struct run *run;
    unsigned next; /* name that should come */
};

static enum err see_entry(void *context, const struct list_entry *entry)
{
    struct listing *listing = context;
    struct run *run = listing->run;
    while (listing->next < NAMES && !run->objects[listing->next].blob.is_there)
        listing->next++;
    EXPECT(run, listing->next < NAMES);
    EXPECT(run, bytes_equal(entry->key, name_of(listing->next)));
    EXPECT(run, entry->info.size == run->objects[listing->next].blob.size);
    listing->next++;
    return ERR_OK;
}

/* Flat and whole: prefixes and pages have a test of their own. */
static void op_list(struct run *run)
{
    struct listing listing = {.run = run};
    struct list_result result;
    SAY(run, "list\n");
    EXPECT(run, volume_list(run->volume, &(struct list_query){.bucket = run->bucket, .max = 1000}, see_entry, &listing, &result) == ERR_OK);
    for (; listing.next < NAMES; listing.next++)
        EXPECT(run, !run->objects[listing.next].blob.is_there);
}

/* ---- readers that hold on ---- */

static void op_hold(struct run *run)
{
    struct holder *holder = &run->holders[below(run, HOLDERS)];
    if (holder->is_open) {
        uint64_t left = holder->expected.size - holder->at;
        uint64_t size = below(run, 3) == 0 ? left : below(run, left / 2 + 1);
        SAY(run, "read on %llu of %llu bytes\n", (unsigned long long)size, (unsigned long long)left);
        read_on(run, &holder->plan, holder->expected.bytes + holder->at, size);
        holder->at += size;
        if (holder->at == holder->expected.size) {
            read_plan_close(&holder->plan);
            blob_fini(&holder->expected);
            *holder = (struct holder){0};
        }
        run->held++;
        return;
    }
    unsigned name = (unsigned)below(run, NAMES);
    for (unsigned i = 0; i < NAMES && run->objects[name].part_count < 2; i++)
        name = (name + 1) % NAMES; /* one of several parts if there is any: its records are asked for as the reader goes */
    const struct blob *blob = &run->objects[name].blob;
    struct object *object;
    if (!blob->is_there)
        return;
    SAY(run, "begin to read %s\n", name_of(name).data);
    EXPECT(run, look(run, name, &object) == ERR_OK);
    *holder = (struct holder){.is_open = true, .expected = blob_cut(run, blob, 0, blob->size)};
    read_plan_open(&holder->plan, object, 0, blob->size);
    object_put(object);
}

/* ---- the life of the volume ---- */

static void told(void *context, enum fsck_class class, const char *text)
{
    struct run *run = context;
    SAY(run, "  fsck: %s: %s\n", fsck_class_name(class), text);
}

/* The volume is closed. */
static void check_with_fsck(struct run *run)
{
    struct fsck_counts counts = {0};
    struct err_trail trail = {0};
    struct plug *plug = plug_in(run);
    enum err e = volume_fsck(&(struct fsck_options){
                                 .dir = DIR,
                                 .disk = disk_sim_disk(run->disk),
                                 .kv = &plug->kv,
                                 .data = below(run, 4) == 0,
                                 .allow_buffered = true,
                                 .finding = told,
                                 .context = run,
                             },
                             &counts, &trail);
    plug_close(&plug->kv);
    EXPECT_OK(run, e, &trail);
    /* A segment made just before a crash may be unknown to the index; the next open removes it. */
    EXPECT(run, counts.findings_total == counts.findings[FSCK_SEGMENT_UNKNOWN]);
}

static void op_reopen(struct run *run)
{
    SAY(run, "reopen\n");
    volume_stop(run);
    check_with_fsck(run);
    volume_start(run);
    check_all(run);
}

/* Power cut: what was written and not synced is there, torn or gone, block by block; what was acknowledged is there. */
static void op_cut(struct run *run)
{
    SAY(run, "cut the power\n");
    present_plug->is_out = true;
    disk_sim_crash(run->disk);
    kv_sim_crash(run->index);
    volume_stop(run);
    check_with_fsck(run);
    volume_start(run);
    check_all(run);
    run->cuts++;
}

static const struct {
    void (*run)(struct run *run);
    unsigned weight;
} operations[] = {
    {op_put, 30}, {op_give_up_put, 3}, {op_delete, 12}, {op_copy, 12}, {op_upload, 25}, {op_list, 5}, {op_hold, 25},
    {op_reopen, 1}, {op_cut, 2},
};

static void operate(struct run *run)
{
    unsigned total = 0;
    for (size_t i = 0; i < COUNT_OF(operations); i++)
        total += operations[i].weight;
    unsigned chosen = (unsigned)below(run, total);
    size_t i = 0;
    while (chosen >= operations[i].weight)
        chosen -= operations[i++].weight;
    if (operations[i].run != op_give_up_put || run->cut_off == NULL)
        operations[i].run(run);
    clock_manual_advance(&run->clock, below(run, NS_PER_SECOND / 2));
    check_object(run, (unsigned)below(run, NAMES));
    run->operations++;
}

static void delete_everything(struct run *run)
{
    SAY(run, "delete everything\n");
    drop_holders(run);
    drop_cut_off(run);
    for (unsigned i = 0; i < NAMES; i++) {
        struct mutation m = {.kind = MUTATION_OBJECT_DELETE, .bucket = run->bucket, .key = name_of(i)};
        EXPECT(run, commit(run, &m) == ERR_OK);
        blob_fini(&run->objects[i].blob);
    }
    struct mutation m = {.kind = MUTATION_BUCKET_DELETE, .bucket = run->bucket, .bucket_name = BYTES("photos")}; /* and its uploads */
    EXPECT_OK(run, commit(run, &m), &m.trail);
    for (unsigned i = 0; i < UPLOADS; i++)
        forget_upload(&run->uploads[i]);
    for (unsigned i = 0; i < 20; i++)
        turn(run);
    struct volume_status status;
    volume_status(run->volume, &status);
    EXPECT(run, status.used_bytes == 0 && status.reserved_bytes == 0 && status.reclaiming_bytes == 0);
}

/* ---- a seed ---- */

static void run_open(struct run *run, uint64_t seed)
{
    struct err_trail trail = {0};
    run->seed = seed;
    rand_seeded_init(&run->seeded, seed);
    rand_seeded_init(&run->chances, seed + 1);
    clock_manual_init(&run->clock, 1700000000 * NS_PER_SECOND);
    EXPECT(run, arena_open(&(struct arena_options){.large_count = 2, .share_count = 1}, &run->arena) == ERR_OK);
    EXPECT_OK(run, loop_open(&(struct loop_options){.arena = run->arena, .ring_choice = RING_FORCE_POLL, .name = "model"}, &run->loop, &trail),
              &trail);
    EXPECT(run, disk_sim_open(&(struct disk_sim_options){.capacity_bytes = DISK_BYTES, .rand = &run->chances.rand}, &run->disk) == ERR_OK);
    EXPECT(run, kv_sim_open(&run->index) == ERR_OK);
    EXPECT_OK(run,
              volume_format(&(struct volume_format_options){
                                .dir = DIR,
                                .disk = disk_sim_disk(run->disk),
                                .clock = &run->clock.clock,
                                .rand = &run->seeded.rand,
                                .segment_bytes = SEGMENT_BYTES,
                                .direct = VOLUME_DIRECT_ANY,
                            },
                            &trail),
              &trail);
    volume_start(run);
    struct mutation m = {.kind = MUTATION_BUCKET_CREATE, .bucket_name = BYTES("photos"), .owner = BYTES("ann")};
    EXPECT_OK(run, commit(run, &m), &m.trail);
    run->bucket = m.new_bucket;
}

static void run_close(struct run *run)
{
    volume_stop(run);
    check_with_fsck(run);
    disk_sim_close(run->disk);
    run->index->ops->close(run->index);
    loop_close(run->loop);
    arena_close(run->arena);
    text_free(&run->log);
}

static void the_volume_is_what_the_model_says(void **state)
{
    const char *seconds = getenv("SLUICE_MODEL_SECONDS"), *only = getenv("SLUICE_MODEL_SEED");
    time_t end = time(NULL) + (seconds != NULL ? (time_t)strtoul(seconds, NULL, 10) : 10);
    uint64_t seed = only != NULL ? strtoull(only, NULL, 10) : rand_u64(rand_system()) % 1000000000;
    unsigned seeds = 0, faults = 0, cuts = 0, reads = 0, held = 0, copies = 0, completed = 0, done = 0;
    print_message("    seeds from %llu\n", (unsigned long long)seed);
    do {
        struct run *run = calloc(1, sizeof *run);
        CHECK(run != NULL);
        run_open(run, seed++);
        while (run->operations < OPERATIONS && (only != NULL || time(NULL) <= end))
            operate(run);
        delete_everything(run);
        run_close(run);
        seeds++, done += run->operations, faults += run->faults, cuts += run->cuts, reads += run->reads;
        held += run->held, copies += run->copies, completed += run->completed;
        free(run);
    } while (only == NULL && time(NULL) < end);
    print_message("    %u seeds, %u operations: %u copies, %u uploads completed, %u reads, %u with a held plan, %u errors, %u power cuts\n",
                  seeds, done, copies, completed, reads, held, faults, cuts);
    assert_true(reads > 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(the_volume_is_what_the_model_says)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
