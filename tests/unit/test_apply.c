/*
 * Mutations on the simulated index: a table for each kind, then properties over random sequences:
 *  - after any sequence every reference is counted, every extent is its data's, nothing is left behind (audit, below);
 *  - how mutations are divided into batches makes no difference to what is stored;
 *  - a mutation that fails, or meets a failing index, leaves the batch and the effects as they were.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include "base/check.h"
#include "base/digest.h"
#include "base/rand.h"
#include "storage/apply.h"
#include "storage/keys.h"
#include "storage/pins.h"
#include "storage/records.h"

/* ---- bodies: nothing but a layout ---- */

struct body {
    struct data_layout layout;
    struct extent extents[128];
    uint64_t *sums;
    uint8_t bytes[INLINE_BYTES_MAX];
};

void body__layout(const struct body *body, struct data_layout *ret_layout)
{
    *ret_layout = body->layout;
}

struct fixture {
    struct kv *kv;
    struct kv_batch *batch;
    struct effects effects;
    struct buckets *buckets;
    struct apply apply;
    struct body body;
    uint64_t data_counter, psn;
    uint32_t next_unit;
    struct bucket_id bucket; /* "photos" */
    bool lazy;               /* mutations gather in the batch until commit() */
};

/* A body of `size` bytes in extents of at most extent_bytes; 0: inline. */
static struct body *body_of(struct fixture *f, uint64_t size, uint32_t extent_bytes)
{
    struct body *body = &f->body;
    struct data_layout *layout = &body->layout;
    *layout = (struct data_layout){.id = {.epoch = 1, .counter = ++f->data_counter}, .size = size};
    if (extent_bytes == 0) {
        memset(body->bytes, (int)f->data_counter, sizeof body->bytes);
        layout->is_inline = true;
        layout->inline_data = body->bytes;
        layout->inline_sum = xxh3_64(body->bytes, size);
        return body;
    }
    layout->extents = body->extents;
    layout->sum_count = (uint32_t)((size + SUM_CHUNK_BYTES - 1) / SUM_CHUNK_BYTES);
    body->sums = realloc(body->sums, (layout->sum_count + 1) * sizeof *body->sums);
    layout->sums = body->sums;
    for (uint32_t i = 0; i < layout->sum_count; i++)
        body->sums[i] = f->data_counter * 1000 + i;
    for (uint64_t at = 0; at < size; layout->extent_count++) {
        uint32_t bytes = (uint32_t)(size - at < extent_bytes ? size - at : extent_bytes);
        CHECK(layout->extent_count < COUNT_OF(body->extents));
        uint32_t units = (bytes + UNIT_BYTES - 1) / UNIT_BYTES;
        body->extents[layout->extent_count] = (struct extent){.segment = 1, .unit = f->next_unit, .units = units, .bytes = bytes};
        f->next_unit += units;
        at += bytes;
    }
    return body;
}

/* ---- running mutations ---- */

static void carry_out(struct fixture *f)
{
    for (size_t i = 0; i < f->effects.bucket_count; i++) {
        if (f->effects.buckets[i].created)
            assert_int_equal(buckets_add(f->buckets, &f->effects.buckets[i].bucket), ERR_OK);
        else
            buckets_remove(f->buckets, f->effects.buckets[i].bucket.id);
    }
    effects_clear(&f->effects);
    kv_batch_clear(f->batch);
}

static void commit(struct fixture *f)
{
    struct err_trail trail = {0};
    assert_int_equal(f->kv->ops->write(f->kv, f->batch, true, &trail), ERR_OK);
    carry_out(f);
}

static void prepare(struct fixture *f, struct mutation *m)
{
    m->magic = MUTATION_MAGIC;
    m->term = 1;
    m->psn = ++f->psn;
}

/* Applies, and leaves effects to be looked at; the next run() commits. */
static enum err run(struct fixture *f, struct mutation *m)
{
    prepare(f, m);
    if (!f->lazy && kv_batch_count(f->batch) > 0)
        commit(f);
    return apply_mutation(&f->apply, m);
}

static void expect_ok(struct fixture *f, struct mutation *m)
{
    enum err e = run(f, m);
    if (e)
        fail_msg("%s", err_trail_text(&m->trail, e));
}

static unsigned run_gc(struct fixture *f)
{
    bool more = true;
    unsigned steps = 0;
    for (; more; steps++) {
        assert_true(steps < 10000);
        commit(f);
        assert_int_equal(apply_gc_step(&f->apply, &more), ERR_OK);
    }
    commit(f);
    return steps - 1;
}

static int fixture_setup(void **state)
{
    struct fixture *f = calloc(1, sizeof *f);
    assert_int_equal(kv_sim_open(&f->kv), ERR_OK);
    assert_int_equal(kv_batch_open(&f->batch), ERR_OK);
    struct err_trail trail = {0};
    assert_int_equal(buckets_open(f->kv, &f->buckets, &trail), ERR_OK);
    f->apply = (struct apply){
        .kv = f->kv,
        .batch = f->batch,
        .effects = &f->effects,
        .buckets = f->buckets,
        .now_ns = 1000,
        .next_bucket_id = 1,
    };
    struct mutation m = {.kind = MUTATION_BUCKET_CREATE, .bucket_name = BYTES("photos"), .owner = BYTES("ann"), .region = BYTES("here")};
    expect_ok(f, &m);
    f->bucket = m.new_bucket;
    *state = f;
    return 0;
}

static int fixture_teardown(void **state)
{
    struct fixture *f = *state;
    effects_fini(&f->effects);
    buckets_close(f->buckets);
    kv_batch_close(f->batch);
    kv_sim_fail_nth(f->kv, 0, ERR_OK);
    f->kv->ops->close(f->kv);
    free(f->body.sums);
    free(f);
    return 0;
}

static enum err put_body(struct fixture *f, const char *key, struct body *body)
{
    struct mutation m = {
        .kind = MUTATION_OBJECT_PUT,
        .bucket = f->bucket,
        .key = bytes_of_string(key),
        .body = body,
        .size = body->layout.size,
        .attrs = BYTES("text/plain"),
        .etag = {.md5 = {(uint8_t)f->data_counter}},
    };
    return run(f, &m);
}

static enum err delete_key(struct fixture *f, const char *key, bool *ret_existed)
{
    struct mutation m = {.kind = MUTATION_OBJECT_DELETE, .bucket = f->bucket, .key = bytes_of_string(key)};
    enum err e = run(f, &m);
    *ret_existed = m.existed;
    return e;
}

static enum err get_object(struct fixture *f, const char *key, struct object_record *ret_object)
{
    struct kv_key object_key;
    struct kv_value value;
    if (!f->lazy)
        commit(f);
    key_object(&object_key, f->bucket, bytes_of_string(key));
    enum err e = f->kv->ops->get(f->kv, KV_OBJECT, key_bytes(&object_key), KV_ANY, &value);
    if (e)
        return e;
    e = record_object_get(value.bytes, ret_object);
    f->kv->ops->value_put(&value);
    ret_object->info.attrs = (struct bytes){0};
    return e;
}

static struct object_record object_at(struct fixture *f, const char *key)
{
    struct object_record object;
    assert_int_equal(get_object(f, key, &object), ERR_OK);
    return object;
}

static size_t count_keys(struct fixture *f, enum kv_family family)
{
    struct kv_iter *iter;
    size_t count = 0;
    assert_int_equal(f->kv->ops->iter_open(f->kv, &(struct kv_iter_options){.family = family}, &iter), ERR_OK);
    for (f->kv->ops->iter_seek(iter, (struct bytes){0}); f->kv->ops->iter_valid(iter); f->kv->ops->iter_next(iter))
        count++;
    f->kv->ops->iter_close(iter);
    return count;
}

/* ---- the audit: who refers to what, counted by hand ---- */

#define AUDIT_MAX 40000u
struct audit {
    struct {
        struct data_id id;
        uint64_t references, said;
        bool has_said, is_inline, is_waiting;
        uint32_t shards, extents;
    } data[AUDIT_MAX];
    size_t count;
    struct fixture *f;
};

static size_t audit_at(struct audit *audit, struct data_id id)
{
    for (size_t i = audit->count; i > 0; i--)
        if (data_id_equal(audit->data[i - 1].id, id))
            return i - 1;
    assert_true(audit->count < AUDIT_MAX);
    memset(&audit->data[audit->count], 0, sizeof audit->data[0]);
    audit->data[audit->count].id = id;
    return audit->count++;
}

static bool has_key(struct fixture *f, enum kv_family family, const struct kv_key *key)
{
    struct kv_value value;
    enum err e = f->kv->ops->get(f->kv, family, key_bytes(key), KV_ANY, &value);
    if (e == ERR_OK)
        f->kv->ops->value_put(&value);
    return e == ERR_OK;
}

static void audit_piece(struct audit *audit, struct stored_piece piece)
{
    audit->data[audit_at(audit, piece.piece.data)].references++;
}

static void audit_manifest(struct audit *audit, struct data_id id, uint32_t shard, uint32_t index, uint32_t shards)
{
    for (; shard < shards; shard++, index = 0) {
        struct kv_key key;
        struct kv_value value;
        struct manifest_record record;
        key_manifest(&key, id, shard);
        assert_int_equal(audit->f->kv->ops->get(audit->f->kv, KV_MANIFEST, key_bytes(&key), KV_ANY, &value), ERR_OK);
        assert_int_equal(record_pieces_get(value.bytes, &record), ERR_OK);
        for (uint32_t i = index; i < record.count; i++)
            audit_piece(audit, record_pieces_at(&record, i));
        audit->f->kv->ops->value_put(&value);
    }
}

static void audit_object(struct audit *audit, struct bytes key, struct bytes value)
{
    struct object_record object;
    struct bucket_id bucket;
    struct bytes name;
    assert_int_equal(key_object_parse(key, &bucket, &name), ERR_OK);
    assert_true(buckets_has_id(audit->f->buckets, bucket));
    assert_int_equal(record_object_get(value, &object), ERR_OK);
    if (object.piece_count == 1)
        audit_piece(audit, object.piece);
    else if (object.piece_count > 1)
        audit_manifest(audit, object.manifest, 0, 0, (object.piece_count + 1023) / 1024);
}

static void audit_part(struct audit *audit, struct bytes key, struct bytes value)
{
    struct upload_id id;
    uint16_t number;
    struct part_record part;
    assert_int_equal(key_part_parse(key, &id, &number), ERR_OK);
    assert_int_equal(record_part_get(number, value, &part), ERR_OK);
    for (uint32_t i = 0; i < part.piece_count; i++)
        audit_piece(audit, record_part_piece(&part, i));
}

static void audit_gc(struct audit *audit, struct bytes key, struct bytes value)
{
    enum gc_kind kind;
    struct data_id id;
    struct upload_id upload;
    struct bucket_id bucket;
    struct gc_record gc;
    assert_int_equal(key_gc_parse(key, &kind, &id, &upload, &bucket), ERR_OK);
    assert_int_equal(record_gc_get(value, &gc), ERR_OK);
    if (kind == GC_DATA)
        audit->data[audit_at(audit, id)].is_waiting = true;
    else if (kind == GC_MANIFEST)
        audit_manifest(audit, id, gc.next_shard, gc.next_index, gc.shards);
}

static void audit_data(struct audit *audit, struct bytes key, struct bytes value)
{
    struct data_id id;
    uint32_t shard;
    assert_int_equal(key_data_parse(key, &id, &shard), ERR_OK);
    size_t i = audit_at(audit, id);
    if (shard == DATA_REFS_SHARD) {
        audit->data[i].has_said = true;
        assert_int_equal(record_refs_get(value, &audit->data[i].said), ERR_OK);
        return;
    }
    struct data_record data;
    assert_int_equal(record_data_get(value, shard, &data), ERR_OK);
    audit->data[i].shards++;
    for (uint32_t j = 0; j < data.extent_count; j++) {
        struct kv_key extent_key;
        struct extent extent = record_data_extent(&data, j);
        key_extent(&extent_key, extent.segment, extent.unit);
        assert_true(has_key(audit->f, KV_EXTENT, &extent_key));
        audit->data[i].extents++;
    }
}

static void audit_inline(struct audit *audit, struct bytes key, struct bytes value)
{
    struct data_id id;
    assert_int_equal(key_inline_parse(key, &id), ERR_OK);
    audit->data[audit_at(audit, id)].is_inline = true;
}

static void audit_family(struct audit *audit, enum kv_family family, void (*each)(struct audit *, struct bytes, struct bytes))
{
    const struct kv_ops *ops = audit->f->kv->ops;
    struct kv_iter *iter;
    assert_int_equal(ops->iter_open(audit->f->kv, &(struct kv_iter_options){.family = family}, &iter), ERR_OK);
    for (ops->iter_seek(iter, (struct bytes){0}); ops->iter_valid(iter); ops->iter_next(iter))
        each(audit, ops->iter_key(iter), ops->iter_value(iter));
    ops->iter_close(iter);
}

static void audit_all(struct fixture *f)
{
    static struct audit audit;
    audit.count = 0;
    audit.f = f;
    audit_family(&audit, KV_OBJECT, audit_object);
    audit_family(&audit, KV_PART, audit_part);
    audit_family(&audit, KV_GC, audit_gc);
    audit_family(&audit, KV_DATA, audit_data);
    audit_family(&audit, KV_INLINE, audit_inline);
    size_t extents = 0;
    for (size_t i = 0; i < audit.count; i++) {
        uint64_t said = audit.data[i].has_said ? audit.data[i].said : 1;
        assert_int_equal(audit.data[i].references, said);
        assert_true(audit.data[i].is_waiting == (said == 0));
        assert_true(audit.data[i].is_inline != (audit.data[i].shards > 0) || said == 0);
        extents += audit.data[i].extents;
    }
    assert_int_equal(extents, count_keys(f, KV_EXTENT));
}

/* After gc, without uploads: nothing but what objects refer to. */
static void expect_empty(struct fixture *f)
{
    static const enum kv_family families[] = {KV_OBJECT, KV_MANIFEST, KV_DATA, KV_EXTENT, KV_INLINE, KV_UPLOAD, KV_PART, KV_GC};
    for (size_t i = 0; i < COUNT_OF(families); i++)
        assert_int_equal(count_keys(f, families[i]), 0);
}

/* ---- buckets ---- */

static void buckets_are_made_once_and_deleted_when_empty(void **state)
{
    struct fixture *f = *state;
    static const struct {
        const char *what;
        enum mutation_kind kind;
        const char *name, *owner;
        enum err expected;
    } table[] = {
        {"the same again", MUTATION_BUCKET_CREATE, "photos", "ann", ERR_BUCKET_OWNED},
        {"somebody else's", MUTATION_BUCKET_CREATE, "photos", "bob", ERR_BUCKET_EXISTS},
        {"an empty name", MUTATION_BUCKET_CREATE, "", "ann", ERR_INVALID},
        {"another", MUTATION_BUCKET_CREATE, "music", "bob", ERR_OK},
        {"another, again", MUTATION_BUCKET_CREATE, "music", "bob", ERR_BUCKET_OWNED},
        {"delete it", MUTATION_BUCKET_DELETE, "music", "", ERR_OK},
        {"delete it again", MUTATION_BUCKET_DELETE, "music", "", ERR_NO_SUCH_BUCKET},
        {"make it anew", MUTATION_BUCKET_CREATE, "music", "ann", ERR_OK},
        {"one never made", MUTATION_BUCKET_DELETE, "nothing", "", ERR_NO_SUCH_BUCKET},
    };
    for (int lazy = 0; lazy < 2; lazy++) { /* each in a batch of its own, then all in one */
        f->lazy = lazy;
        uint32_t last_id = 0;
        for (size_t i = 0; i < COUNT_OF(table); i++) {
            struct mutation m = {
                .kind = table[i].kind,
                .bucket_name = bytes_of_string(table[i].name),
                .owner = bytes_of_string(table[i].owner),
            };
            enum err e = run(f, &m);
            if (e != table[i].expected)
                fail_msg("%s: %s", table[i].what, err_name(e));
            if (e == ERR_OK && m.kind == MUTATION_BUCKET_CREATE) {
                assert_true(m.new_bucket.value > last_id); /* a number is never given twice */
                last_id = m.new_bucket.value;
            }
        }
        struct mutation m = {.kind = MUTATION_BUCKET_DELETE, .bucket_name = BYTES("music")};
        expect_ok(f, &m);
        commit(f);
    }
}

static void a_bucket_with_an_object_stays(void **state)
{
    struct fixture *f = *state;
    struct mutation m = {.kind = MUTATION_BUCKET_DELETE, .bucket_name = BYTES("photos")};
    bool existed;
    for (int lazy = 0; lazy < 2; lazy++) {
        f->lazy = lazy;
        assert_int_equal(put_body(f, "a", body_of(f, 100, 0)), ERR_OK);
        assert_int_equal(run(f, &m), ERR_BUCKET_NOT_EMPTY);
        assert_int_equal(delete_key(f, "a", &existed), ERR_OK);
        assert_true(existed);
    }
    m.bucket.value = 99; /* the caller looked at another bucket of that name */
    assert_int_equal(run(f, &m), ERR_NO_SUCH_BUCKET);
    m.bucket = f->bucket;
    expect_ok(f, &m);
    assert_int_equal(put_body(f, "a", body_of(f, 100, 0)), ERR_NO_SUCH_BUCKET); /* in the same batch */
    commit(f);
    assert_int_equal(put_body(f, "a", body_of(f, 100, 0)), ERR_NO_SUCH_BUCKET);
}

/* ---- objects ---- */

static void conditions_are_judged_against_what_is_there(void **state)
{
    struct fixture *f = *state;
    const struct etag same = {.md5 = {7}}, other = {.md5 = {8}};
    const struct {
        struct conditions conditions;
        enum err absent, present;
    } table[] = {
        {{0}, ERR_OK, ERR_OK},
        {{.if_none_match_any = true}, ERR_OK, ERR_PRECONDITION},
        {{.if_match_any = true}, ERR_NO_SUCH_OBJECT, ERR_OK},
        {{.has_if_match = true, .if_match = same}, ERR_NO_SUCH_OBJECT, ERR_OK},
        {{.has_if_match = true, .if_match = other}, ERR_NO_SUCH_OBJECT, ERR_PRECONDITION},
        {{.has_if_none_match = true, .if_none_match = same}, ERR_OK, ERR_PRECONDITION},
        {{.has_if_none_match = true, .if_none_match = other}, ERR_OK, ERR_OK},
        {{.if_psn = 4242}, ERR_CONFLICT, ERR_CONFLICT},
        {{.has_if_match = true, .if_match = same, .if_none_match_any = true}, ERR_NO_SUCH_OBJECT, ERR_PRECONDITION},
    };
    for (size_t i = 0; i < COUNT_OF(table) * 4; i++) {
        bool present = i & 1, is_delete = i & 2, existed;
        f->lazy = i % 3 == 0;
        (void)delete_key(f, "k", &existed);
        struct mutation m = {.kind = MUTATION_OBJECT_PUT, .bucket = f->bucket, .key = BYTES("k"), .etag = same};
        if (present) {
            m.body = body_of(f, 5000, 0);
            m.size = 5000;
            expect_ok(f, &m);
        }
        struct mutation second = {
            .kind = is_delete ? MUTATION_OBJECT_DELETE : MUTATION_OBJECT_PUT,
            .bucket = f->bucket,
            .key = BYTES("k"),
            .conditions = table[i / 4].conditions,
            .body = is_delete ? NULL : body_of(f, 100000, 65536),
            .size = 100000,
        };
        enum err e = run(f, &second), expected = present ? table[i / 4].present : table[i / 4].absent;
        if (e != expected)
            fail_msg("row %zu, %s, %s: %s", i / 4, present ? "present" : "absent", is_delete ? "delete" : "put", err_name(e));
        commit(f);
        audit_all(f);
    }
    f->lazy = false;
    struct mutation m = {.kind = MUTATION_OBJECT_DELETE, .bucket = f->bucket, .key = BYTES("k")};
    assert_int_equal(put_body(f, "k", body_of(f, 10, 0)), ERR_OK);
    m.conditions.if_psn = f->psn;
    expect_ok(f, &m);
}

static void names_and_sizes_have_limits(void **state)
{
    struct fixture *f = *state;
    static char long_key[KEY_BYTES_MAX + 1], attrs[META_BYTES_MAX + 1];
    memset(long_key, 'k', sizeof long_key);
    const struct {
        struct mutation m;
        enum err expected;
    } table[] = {
        {{.key = {"", 0}}, ERR_INVALID},
        {{.key = {long_key, KEY_BYTES_MAX + 1}}, ERR_TOO_LARGE},
        {{.key = {long_key, KEY_BYTES_MAX}}, ERR_OK},
        {{.key = BYTES("k"), .attrs = {attrs, META_BYTES_MAX + 1}}, ERR_TOO_LARGE},
        {{.key = BYTES("k"), .attrs = {attrs, META_BYTES_MAX}}, ERR_OK},
        {{.key = BYTES("k"), .checksum = {.size = 33}}, ERR_INVALID},
        {{.key = BYTES("k"), .size = 1}, ERR_INVALID}, /* no bytes, but a size */
    };
    for (size_t i = 0; i < COUNT_OF(table); i++) {
        struct mutation m = table[i].m;
        m.kind = MUTATION_OBJECT_PUT;
        m.bucket = f->bucket;
        assert_int_equal(run(f, &m), table[i].expected);
    }
    struct mutation m = {.kind = MUTATION_OBJECT_PUT, .bucket = f->bucket, .key = BYTES("k"), .body = body_of(f, 100, 0), .size = 99};
    assert_int_equal(run(f, &m), ERR_INVALID);
    assert_non_null(strstr(m.trail.text, "put object"));
}

static void an_object_is_stored_as_it_was_given(void **state)
{
    struct fixture *f = *state;
    struct mutation m = {
        .kind = MUTATION_OBJECT_PUT,
        .bucket = f->bucket,
        .key = BYTES("k"),
        .body = body_of(f, 300 * MIB(1) + 5, (uint32_t)EXTENT_BYTES_MAX),
        .size = 300 * MIB(1) + 5,
        .etag = {.md5 = {1, 2, 3}},
        .checksum = {.algorithm = 3, .size = 4, .value = {9}},
    };
    expect_ok(f, &m);
    assert_int_equal(f->effects.published_count, 1);
    assert_int_equal(f->effects.released_count, 0);
    assert_int_equal(m.mtime_ns, 1000);
    struct object_record object = object_at(f, "k");
    assert_int_equal(object.info.size, m.size);
    assert_int_equal(object.info.psn, m.psn);
    assert_memory_equal(&object.info.etag, &m.etag, sizeof m.etag);
    assert_int_equal(object.info.checksum.value[0], 9);
    assert_int_equal(count_keys(f, KV_DATA), 2);
    assert_int_equal(count_keys(f, KV_EXTENT), 19);
    assert_int_equal(put_body(f, "empty", body_of(f, 0, 0)), ERR_OK);
    assert_int_equal(object_at(f, "empty").piece_count, 0);
    audit_all(f);
}

static void an_overwrite_releases_what_was_there(void **state)
{
    struct fixture *f = *state;
    bool existed;
    assert_int_equal(put_body(f, "k", body_of(f, 200000, 65536)), ERR_OK);
    struct extent first = f->body.extents[0];
    assert_int_equal(put_body(f, "k", body_of(f, 100, 0)), ERR_OK);
    assert_int_equal(f->effects.released_count, 4);
    assert_memory_equal(&f->effects.released[0].extent, &first, sizeof first);
    assert_int_equal(f->effects.released[0].data.counter, 1);
    assert_false(f->effects.gc_pending);
    commit(f);
    assert_int_equal(count_keys(f, KV_EXTENT), 0);
    assert_int_equal(delete_key(f, "k", &existed), ERR_OK);
    assert_true(existed);
    commit(f);
    expect_empty(f);
    assert_int_equal(delete_key(f, "k", &existed), ERR_OK);
    assert_false(existed);
    assert_int_equal(kv_batch_count(f->batch), 0);
    assert_int_equal(f->effects.published_count, 0);
}

static void what_a_batch_makes_and_releases_leaves_nothing(void **state)
{
    struct fixture *f = *state;
    bool existed;
    f->lazy = true;
    assert_int_equal(put_body(f, "k", body_of(f, 200000, 65536)), ERR_OK);
    assert_int_equal(put_body(f, "k", body_of(f, 4000, 0)), ERR_OK);
    assert_int_equal(put_body(f, "k", body_of(f, 200000, 65536)), ERR_OK);
    assert_int_equal(delete_key(f, "k", &existed), ERR_OK);
    assert_true(existed);
    assert_int_equal(f->effects.released_count, 8);
    commit(f);
    expect_empty(f);
}

static void large_data_is_deleted_in_steps(void **state)
{
    struct fixture *f = *state;
    static const struct {
        uint64_t size;
        uint32_t extent;
        bool is_deferred;
    } table[] = {
        {64 * 65536, 65536, false},
        {64 * 65536 + 1, 65536, true},
        {DATA_SHARD_BYTES, EXTENT_BYTES_MAX, false},
        {DATA_SHARD_BYTES + 1, EXTENT_BYTES_MAX, true}, /* two shards: a reader may still ask for the second */
        {1040 * MIB(1), EXTENT_BYTES_MAX, true},
    };
    for (size_t i = 0; i < COUNT_OF(table); i++) {
        bool existed;
        assert_int_equal(put_body(f, "k", body_of(f, table[i].size, table[i].extent)), ERR_OK);
        size_t extents = f->body.layout.extent_count;
        commit(f);
        assert_int_equal(delete_key(f, "k", &existed), ERR_OK);
        assert_int_equal(f->effects.gc_pending, table[i].is_deferred);
        assert_int_equal(f->effects.released_count, table[i].is_deferred ? 0 : extents);
        commit(f);
        audit_all(f);
        assert_true((run_gc(f) > 0) == table[i].is_deferred);
        expect_empty(f);
    }
}

/* ---- copies ---- */

static struct mutation copy_of(struct fixture *f, const char *key, const struct piece *pieces, size_t count)
{
    struct mutation m = {.kind = MUTATION_OBJECT_PUT, .bucket = f->bucket, .key = bytes_of_string(key), .pieces = pieces, .piece_count = count};
    for (size_t i = 0; i < count; i++)
        m.size += pieces[i].size;
    return m;
}

static void a_copy_keeps_the_data_when_the_source_goes(void **state)
{
    struct fixture *f = *state;
    for (int is_inline = 0; is_inline < 2; is_inline++) {
        bool existed;
        assert_int_equal(put_body(f, "from", is_inline ? body_of(f, 8000, 0) : body_of(f, 200000, 65536)), ERR_OK);
        struct piece piece = object_at(f, "from").piece.piece;
        struct mutation m = copy_of(f, "to", &piece, 1);
        expect_ok(f, &m);
        commit(f);
        audit_all(f);
        assert_int_equal(delete_key(f, "from", &existed), ERR_OK);
        assert_int_equal(f->effects.released_count, 0);
        commit(f);
        audit_all(f);
        assert_int_equal(delete_key(f, "to", &existed), ERR_OK);
        assert_int_equal(f->effects.released_count, 0); /* shared once: a reader may still ask for its records */
        assert_true(f->effects.gc_pending);
        (void)run_gc(f);
        expect_empty(f);
        struct mutation late = copy_of(f, "to", &piece, 1); /* the source went while the copy was on its way */
        assert_int_equal(run(f, &late), ERR_NO_SUCH_OBJECT);
    }
}

static void an_object_copied_onto_itself_stays(void **state)
{
    struct fixture *f = *state;
    bool existed;
    f->lazy = true;
    assert_int_equal(put_body(f, "k", body_of(f, 200000, 65536)), ERR_OK);
    struct piece piece = {.data = f->body.layout.id, .size = 200000};
    struct mutation m = copy_of(f, "k", &piece, 1);
    m.attrs = BYTES("new metadata");
    expect_ok(f, &m);
    assert_int_equal(f->effects.released_count, 0);
    commit(f);
    audit_all(f);
    assert_int_equal(delete_key(f, "k", &existed), ERR_OK);
    (void)run_gc(f);
    expect_empty(f);
}

static void pieces_are_judged(void **state)
{
    struct fixture *f = *state;
    assert_int_equal(put_body(f, "small", body_of(f, 8000, 0)), ERR_OK);
    struct data_id small = object_at(f, "small").piece.piece.data;
    assert_int_equal(put_body(f, "large", body_of(f, 200000, 65536)), ERR_OK);
    struct data_id large = object_at(f, "large").piece.piece.data;
    const struct {
        struct piece piece;
        enum err expected;
    } table[] = {
        {{.data = small, .offset = 10, .size = 7990}, ERR_OK},
        {{.data = small, .offset = 10, .size = 7991}, ERR_INVALID},
        {{.data = small, .size = 8193}, ERR_NO_SUCH_OBJECT}, /* no inline data has so many bytes: looked for among extents */
        {{.data = large, .offset = 3, .size = 10}, ERR_OK},  /* so small, and yet not inline */
        {{.data = large, .offset = 199999, .size = 1}, ERR_OK},
        {{.data = large, .offset = 199999, .size = 2}, ERR_INVALID},
        {{.data = large, .offset = UINT64_MAX, .size = 2}, ERR_INVALID},
        {{.data = large, .size = 0}, ERR_INVALID},
        {{.data = {.epoch = 9, .counter = 9}, .size = 1}, ERR_NO_SUCH_OBJECT},
        {{.size = 1}, ERR_INVALID},
    };
    for (size_t i = 0; i < COUNT_OF(table); i++) {
        struct mutation m = copy_of(f, "copy", &table[i].piece, 1);
        m.size = table[i].piece.size;
        assert_int_equal(run(f, &m), table[i].expected);
        commit(f);
        audit_all(f);
    }
}

static void data_that_waits_for_gc_is_not_copied(void **state)
{
    struct fixture *f = *state;
    bool existed;
    assert_int_equal(put_body(f, "k", body_of(f, 70 * 65536, 65536)), ERR_OK);
    struct piece piece = object_at(f, "k").piece.piece;
    assert_int_equal(delete_key(f, "k", &existed), ERR_OK);
    assert_true(f->effects.gc_pending);
    struct mutation m = copy_of(f, "copy", &piece, 1);
    assert_int_equal(run(f, &m), ERR_NO_SUCH_OBJECT);
    (void)run_gc(f);
    expect_empty(f);
}

static void many_pieces_go_through_a_manifest(void **state)
{
    struct fixture *f = *state;
    enum { PIECES = 2500 };
    static struct piece pieces[PIECES];
    bool existed;
    assert_int_equal(put_body(f, "a", body_of(f, 200000, 65536)), ERR_OK);
    struct data_id a = object_at(f, "a").piece.piece.data;
    assert_int_equal(put_body(f, "b", body_of(f, 3000, 0)), ERR_OK);
    struct data_id b = object_at(f, "b").piece.piece.data;
    for (size_t i = 0; i < PIECES; i++)
        pieces[i] = (struct piece){.data = i % 2 ? a : b, .offset = i, .size = 1 + i % 400};
    struct object_part parts[2] = {{.number = 3, .size = 100}, {.number = 9}};
    struct mutation m = copy_of(f, "c", pieces, PIECES);
    parts[1].size = m.size - 100;
    m.parts = parts;
    m.part_count = 2;
    expect_ok(f, &m);
    struct object_record object = object_at(f, "c");
    assert_int_equal(object.piece_count, PIECES);
    assert_int_equal(object.info.part_count, 2);
    assert_int_equal(object.info.size, m.size);
    assert_int_equal(count_keys(f, KV_MANIFEST), 3 + 1);
    audit_all(f);
    assert_int_equal(delete_key(f, "a", &existed), ERR_OK);
    assert_int_equal(delete_key(f, "b", &existed), ERR_OK);
    assert_int_equal(delete_key(f, "c", &existed), ERR_OK);
    assert_true(f->effects.gc_pending);
    bool more = true;
    for (unsigned i = 0; more; i++) { /* every step leaves a sound index */
        assert_true(i < 100);
        commit(f);
        audit_all(f);
        assert_int_equal(apply_gc_step(&f->apply, &more), ERR_OK);
    }
    commit(f);
    expect_empty(f);

    parts[1].size++;
    assert_int_equal(run(f, &m), ERR_NO_SUCH_OBJECT); /* the data is gone; nothing of the first 2,499 pieces stays */
    assert_int_equal(kv_batch_count(f->batch), 0);
}

/* ---- uploads ---- */

static const struct upload_id upload_one = {{1}};

static struct mutation upload_mutation(struct fixture *f, enum mutation_kind kind)
{
    return (struct mutation){.kind = kind, .bucket = f->bucket, .key = BYTES("big"), .upload = upload_one};
}

static void create_upload(struct fixture *f)
{
    struct mutation m = upload_mutation(f, MUTATION_UPLOAD_CREATE);
    m.attrs = BYTES("video/mp4");
    expect_ok(f, &m);
}

static enum err put_part(struct fixture *f, uint16_t number, uint64_t size, uint8_t etag)
{
    struct mutation m = upload_mutation(f, MUTATION_PART_PUT);
    m.part_number = number;
    m.body = body_of(f, size, size <= INLINE_BYTES_MAX ? 0 : (uint32_t)EXTENT_BYTES_MAX);
    m.size = size;
    m.etag.md5[0] = etag;
    m.etag.md5[1] = (uint8_t)number;
    m.checksum = (struct checksum){.algorithm = 4, .size = 4, .value = {etag}};
    return run(f, &m);
}

static struct completed_part said(uint16_t number, uint8_t etag)
{
    return (struct completed_part){.number = number, .etag = {.md5 = {etag, (uint8_t)number}}};
}

static enum err complete(struct fixture *f, const struct completed_part *parts, size_t count, struct mutation *ret_m)
{
    *ret_m = upload_mutation(f, MUTATION_UPLOAD_COMPLETE);
    ret_m->completed = parts;
    ret_m->completed_count = count;
    return run(f, ret_m);
}

static void an_upload_becomes_an_object(void **state)
{
    struct fixture *f = *state;
    struct mutation m;
    bool existed;
    for (int lazy = 0; lazy < 2; lazy++) {
        f->lazy = lazy;
        create_upload(f);
        assert_int_equal(put_part(f, 2, 100, 2), ERR_OK);
        assert_int_equal(put_part(f, 1, MIB(6), 9), ERR_OK);
        assert_int_equal(put_part(f, 1, MIB(5), 1), ERR_OK); /* again: the first one's extent is released */
        assert_int_equal(f->effects.released_count, 1);
        assert_int_equal(put_part(f, 7, MIB(5), 7), ERR_OK); /* never asked for */
        struct completed_part parts[] = {said(1, 1), said(2, 2)};
        assert_int_equal(complete(f, parts, 2, &m), ERR_OK);
        assert_false(m.existed);
        assert_int_equal(m.size, MIB(5) + 100);
        assert_int_equal(m.etag.parts, 2);
        uint8_t md5s[32] = {0}, expected[16];
        memcpy(md5s, parts[0].etag.md5, 16);
        memcpy(md5s + 16, parts[1].etag.md5, 16);
        md5(md5s, sizeof md5s, expected);
        assert_memory_equal(m.etag.md5, expected, 16);
        commit(f);
        f->lazy = false;
        struct object_record object = object_at(f, "big");
        assert_int_equal(object.piece_count, 2);
        assert_int_equal(object.info.part_count, 2);
        assert_int_equal(object.info.size, MIB(5) + 100);
        assert_int_equal(count_keys(f, KV_UPLOAD), 0);
        assert_int_equal(count_keys(f, KV_PART), 0);
        assert_int_equal(count_keys(f, KV_EXTENT), 1);
        audit_all(f);
        assert_int_equal(delete_key(f, "big", &existed), ERR_OK);
        (void)run_gc(f);
        expect_empty(f);
        /* Forget that it was completed, for the next round uses the same id. */
        struct kv_key key;
        key_completed(&key, &upload_one);
        assert_int_equal(kv_batch_delete(f->batch, KV_SYS, key_bytes(&key)), ERR_OK);
        commit(f);
    }
}

static void completing_judges_the_parts(void **state)
{
    struct fixture *f = *state;
    create_upload(f);
    assert_int_equal(put_part(f, 1, MIB(5), 1), ERR_OK);
    assert_int_equal(put_part(f, 2, MIB(5) - 1, 2), ERR_OK);
    assert_int_equal(put_part(f, 3, MIB(5), 3), ERR_OK);
    assert_int_equal(put_part(f, 10000, 10, 4), ERR_OK);
    struct completed_part wrong_sum = said(1, 1), right_sum = said(1, 1), wrong_parts = said(1, 1);
    wrong_sum.checksum = (struct checksum){.algorithm = 4, .size = 4, .value = {77}};
    right_sum.checksum = (struct checksum){.algorithm = 4, .size = 4, .value = {1}};
    wrong_parts.etag.parts = 1;
    const struct {
        const char *what;
        struct completed_part parts[3];
        size_t count;
        enum err expected;
    } table[] = {
        {"none", {{0}}, 0, ERR_INVALID_PART},
        {"number 0", {said(0, 1)}, 1, ERR_INVALID_PART},
        {"number 10001", {said(10001, 1)}, 1, ERR_INVALID_PART},
        {"a missing part before others", {said(4, 1), said(10000, 4)}, 2, ERR_INVALID_PART},
        {"a missing part after others", {said(1, 1), said(10000, 4)}, 2, ERR_OK},
        {"a missing part in between", {said(1, 1), said(5, 3), said(10000, 4)}, 3, ERR_INVALID_PART},
        {"another etag", {said(1, 2)}, 1, ERR_INVALID_PART},
        {"another etag's kind", {wrong_parts}, 1, ERR_INVALID_PART},
        {"another checksum", {wrong_sum}, 1, ERR_INVALID_PART},
        {"the same twice", {said(1, 1), said(1, 1)}, 2, ERR_PART_ORDER},
        {"backwards", {said(3, 3), said(1, 1)}, 2, ERR_PART_ORDER},
        {"too small", {said(1, 1), said(2, 2), said(3, 3)}, 3, ERR_PART_TOO_SMALL},
        {"small but last", {said(1, 1), said(2, 2)}, 2, ERR_OK},
        {"with a checksum", {right_sum}, 1, ERR_OK},
    };
    for (size_t i = 0; i < COUNT_OF(table); i++) {
        struct mutation m;
        commit(f);
        enum err e = complete(f, table[i].parts, table[i].count, &m);
        if (e != table[i].expected)
            fail_msg("%s: %s", table[i].what, err_trail_text(&m.trail, e));
        if (e)
            assert_int_equal(kv_batch_count(f->batch), 0);
        kv_batch_clear(f->batch); /* not committed: the upload is there for the next row */
        effects_clear(&f->effects);
        audit_all(f);
    }
    struct mutation m = upload_mutation(f, MUTATION_UPLOAD_COMPLETE);
    struct completed_part part = said(1, 1);
    m.completed = &part;
    m.completed_count = 1;
    m.conditions.if_match_any = true;
    assert_int_equal(run(f, &m), ERR_NO_SUCH_OBJECT);
    m.upload.bytes[0] = 77;
    assert_int_equal(run(f, &m), ERR_NO_SUCH_UPLOAD);
}

static void a_retried_completion_gets_the_same_answer(void **state)
{
    struct fixture *f = *state;
    struct mutation first, second;
    for (int lazy = 0; lazy < 2; lazy++) {
        f->lazy = lazy;
        struct mutation m = upload_mutation(f, MUTATION_UPLOAD_CREATE);
        m.key = BYTES("big");
        if (lazy)
            commit(f);
        struct upload_id id = {{(uint8_t)(50 + lazy)}};
        m.upload = id;
        expect_ok(f, &m);
        struct mutation part = upload_mutation(f, MUTATION_PART_PUT);
        part.upload = id;
        part.part_number = 1;
        part.body = body_of(f, 10, 0);
        part.size = 10;
        part.etag.md5[0] = 1;
        expect_ok(f, &part);
        struct completed_part parts[2] = {{.number = 1, .etag = {.md5 = {1}}}, {.number = 2}};
        first = upload_mutation(f, MUTATION_UPLOAD_COMPLETE);
        first.upload = id;
        first.completed = parts;
        first.completed_count = 1;
        second = first;
        expect_ok(f, &first);
        size_t operations = kv_batch_count(f->batch);
        second.conditions.if_none_match_any = true; /* what held the first time no longer does: not asked again */
        expect_ok(f, &second);
        assert_true(second.existed);
        assert_memory_equal(&second.etag, &first.etag, sizeof first.etag);
        assert_int_equal(second.mtime_ns, first.mtime_ns);
        assert_int_equal(kv_batch_count(f->batch), lazy ? operations : 0);
        second.completed_count = 2;
        assert_int_equal(run(f, &second), ERR_NO_SUCH_UPLOAD);
        second.completed_count = 1;
        second.key = BYTES("another");
        assert_int_equal(run(f, &second), ERR_NO_SUCH_UPLOAD);
        struct mutation abort = upload_mutation(f, MUTATION_UPLOAD_ABORT);
        abort.upload = id;
        assert_int_equal(run(f, &abort), ERR_NO_SUCH_UPLOAD);
    }
}

static void completed_uploads_are_remembered_in_a_bounded_ring(void **state)
{
    struct fixture *f = *state;
    uint8_t next[8];
    commit(f);
    put_le64(next, COMPLETED_RING); /* as if the ring were full: slot 0 is next, and holds an old upload */
    struct kv_key slot, old;
    const struct upload_id old_id = {{99}};
    key_completed_slot(&slot, 0);
    key_completed(&old, &old_id);
    assert_int_equal(kv_batch_put(f->batch, KV_SYS, KEY_SYS_COMPLETED, bytes_of(next, 8)), ERR_OK);
    assert_int_equal(kv_batch_put(f->batch, KV_SYS, key_bytes(&slot), bytes_of(old_id.bytes, 16)), ERR_OK);
    assert_int_equal(kv_batch_put(f->batch, KV_SYS, key_bytes(&old), BYTES("x")), ERR_OK);
    commit(f);
    create_upload(f);
    assert_int_equal(put_part(f, 1, 10, 1), ERR_OK);
    struct completed_part part = said(1, 1);
    struct mutation m;
    assert_int_equal(complete(f, &part, 1, &m), ERR_OK);
    commit(f);
    assert_false(has_key(f, KV_SYS, &old));
    key_completed(&old, &upload_one);
    assert_true(has_key(f, KV_SYS, &old));
}

static void parts_are_judged(void **state)
{
    struct fixture *f = *state;
    assert_int_equal(put_part(f, 1, 10, 1), ERR_NO_SUCH_UPLOAD);
    create_upload(f);
    struct mutation twice = upload_mutation(f, MUTATION_UPLOAD_CREATE);
    assert_int_equal(run(f, &twice), ERR_CONFLICT);
    assert_int_equal(put_part(f, 0, 10, 1), ERR_INVALID);
    assert_int_equal(put_part(f, 10001, 10, 1), ERR_INVALID);
    assert_int_equal(put_part(f, 10000, 10, 1), ERR_OK);
    assert_int_equal(put_part(f, 1, 0, 1), ERR_OK);
    struct mutation m = upload_mutation(f, MUTATION_PART_PUT);
    m.part_number = 1;
    m.body = body_of(f, 10, 0);
    m.size = PUT_BYTES_MAX + 1;
    assert_int_equal(run(f, &m), ERR_TOO_LARGE);
    m = upload_mutation(f, MUTATION_PART_PUT);
    m.part_number = 1;
    m.key = BYTES("another key");
    assert_int_equal(run(f, &m), ERR_NO_SUCH_UPLOAD);
}

static void a_part_can_be_copied_in_pieces(void **state)
{
    struct fixture *f = *state;
    bool existed;
    assert_int_equal(put_body(f, "from", body_of(f, MIB(8), 1 << 20)), ERR_OK);
    struct data_id id = object_at(f, "from").piece.piece.data;
    create_upload(f);
    struct piece pieces[2] = {{.data = id, .offset = MIB(1), .size = MIB(5)}, {.data = id, .offset = 7, .size = 100}};
    struct mutation m = upload_mutation(f, MUTATION_PART_PUT);
    m.part_number = 1;
    m.pieces = pieces;
    m.piece_count = 2;
    m.size = MIB(5) + 100;
    m.etag.md5[0] = 1;
    m.etag.md5[1] = 1;
    f->lazy = true;
    expect_ok(f, &m);
    struct mutation again = m;
    expect_ok(f, &again); /* the same number, from the same data */
    assert_int_equal(delete_key(f, "from", &existed), ERR_OK);
    commit(f);
    audit_all(f);
    struct completed_part part = said(1, 1);
    struct mutation done;
    assert_int_equal(complete(f, &part, 1, &done), ERR_OK);
    commit(f);
    audit_all(f);
    f->lazy = false;
    struct object_record object = object_at(f, "big");
    assert_int_equal(object.piece_count, 2);
    assert_int_equal(object.info.part_count, 1);
    assert_int_equal(delete_key(f, "big", &existed), ERR_OK);
    (void)run_gc(f);
    expect_empty(f);
}

static void ten_thousand_parts_complete_in_one_batch(void **state)
{
    struct fixture *f = *state;
    static struct completed_part parts[PARTS_MAX];
    bool existed;
    create_upload(f);
    f->lazy = true;
    for (uint16_t i = 1; i <= PARTS_MAX; i++) {
        assert_int_equal(put_part(f, i, i == PARTS_MAX ? 10 : MIB(5), (uint8_t)(i % 200)), ERR_OK);
        parts[i - 1] = said(i, (uint8_t)(i % 200));
    }
    commit(f);
    struct mutation m;
    assert_int_equal(complete(f, parts, PARTS_MAX, &m), ERR_OK);
    print_message("    batch of %zu operations, %zu KiB\n", kv_batch_count(f->batch), kv_batch_size_bytes(f->batch) / 1024);
    commit(f);
    assert_int_equal(count_keys(f, KV_PART), 0);
    assert_int_equal(count_keys(f, KV_MANIFEST), 20);
    f->lazy = false;
    assert_int_equal(object_at(f, "big").info.part_count, PARTS_MAX);
    assert_int_equal(delete_key(f, "big", &existed), ERR_OK);
    assert_true(kv_batch_count(f->batch) < 10);
    unsigned steps = run_gc(f);
    assert_true(steps > 10 && steps < 100);
    expect_empty(f);
}

static void an_aborted_upload_is_deleted_in_steps(void **state)
{
    struct fixture *f = *state;
    create_upload(f);
    f->lazy = true;
    for (uint16_t i = 1; i <= 1000; i++)
        assert_int_equal(put_part(f, i, i % 2 ? 100 : MIB(1), 1), ERR_OK);
    commit(f);
    struct mutation m = upload_mutation(f, MUTATION_UPLOAD_ABORT);
    expect_ok(f, &m);
    assert_true(f->effects.gc_pending);
    assert_int_equal(put_part(f, 1, 10, 1), ERR_NO_SUCH_UPLOAD);
    assert_true(run_gc(f) >= 1000 * 2 / 512);
    expect_empty(f);
}

static void a_deleted_buckets_uploads_are_aborted(void **state)
{
    struct fixture *f = *state;
    f->lazy = true;
    for (unsigned i = 0; i < 300; i++) {
        struct mutation m = upload_mutation(f, MUTATION_UPLOAD_CREATE);
        put_le32(m.upload.bytes, i);
        expect_ok(f, &m);
        m = upload_mutation(f, MUTATION_PART_PUT);
        put_le32(m.upload.bytes, i);
        m.part_number = 1;
        m.body = body_of(f, 100000, 65536);
        m.size = 100000;
        expect_ok(f, &m);
        if (i == 200)
            commit(f);
    }
    struct mutation m = {.kind = MUTATION_BUCKET_DELETE, .bucket_name = BYTES("photos")};
    expect_ok(f, &m); /* some of them only in this batch */
    assert_true(f->effects.gc_pending);
    (void)run_gc(f);
    expect_empty(f);
}

/* ---- random mutations ---- */

/* A random mutation over few names, so that they meet. Its borrowed arguments live in `m` and the arrays given. */
struct random_mutation {
    struct mutation m;
    struct piece pieces[3];
    struct completed_part completed[4];
};

static const char *const names[] = {"a", "a/b", "a/c", "b"};

static void make_random(struct fixture *f, struct rand *rand, struct random_mutation *r)
{
    struct mutation *m = &r->m;
    static const enum mutation_kind kinds[] = {
        MUTATION_OBJECT_PUT, MUTATION_OBJECT_PUT, MUTATION_OBJECT_PUT, MUTATION_OBJECT_DELETE, MUTATION_UPLOAD_CREATE,
        MUTATION_PART_PUT, MUTATION_PART_PUT, MUTATION_PART_PUT, MUTATION_UPLOAD_COMPLETE, MUTATION_UPLOAD_ABORT,
    };
    memset(r, 0, sizeof *r);
    m->kind = kinds[rand_below(rand, COUNT_OF(kinds))];
    m->bucket = f->bucket;
    m->key = bytes_of_string(names[rand_below(rand, COUNT_OF(names))]);
    m->upload.bytes[0] = (uint8_t)rand_below(rand, 4);
    m->part_number = (uint16_t)(1 + rand_below(rand, 4));
    m->etag.md5[0] = (uint8_t)m->part_number;
    m->conditions.if_none_match_any = rand_below(rand, 8) == 0;
    m->conditions.if_match_any = rand_below(rand, 8) == 0;
    if (m->kind == MUTATION_UPLOAD_CREATE || m->kind == MUTATION_OBJECT_PUT)
        m->attrs = BYTES("some attributes");
    if (m->kind == MUTATION_OBJECT_PUT || m->kind == MUTATION_PART_PUT) {
        if (rand_below(rand, 2)) {
            static const uint64_t sizes[] = {0, 100, 8192, 100000, 5 << 20, 70 * 65536};
            m->size = sizes[rand_below(rand, COUNT_OF(sizes))];
            m->body = body_of(f, m->size, m->size <= INLINE_BYTES_MAX ? 0 : 65536 * (uint32_t)(m->size == 5 << 20 ? 16 : 1));
        } else {
            m->pieces = r->pieces;
            m->piece_count = 1 + rand_below(rand, COUNT_OF(r->pieces));
            for (size_t i = 0; i < m->piece_count; i++) {
                uint64_t counter = f->data_counter - rand_below(rand, f->data_counter < 8 ? f->data_counter + 1 : 8);
                r->pieces[i] = (struct piece){.data = {1, counter}, .offset = rand_below(rand, 100), .size = 1 + rand_below(rand, 5000)};
                m->size += r->pieces[i].size;
            }
        }
    }
    if (m->kind == MUTATION_UPLOAD_COMPLETE) {
        m->completed = r->completed;
        for (uint16_t number = 1; number <= 4; number++)
            if (rand_below(rand, 2))
                r->completed[m->completed_count++] = (struct completed_part){.number = number, .etag.md5 = {(uint8_t)number}};
    }
}

/* ---- deferred deletion and readers ---- */

static void be_idle(void *context)
{
    (*(unsigned *)context)++;
}

static void records_a_reader_may_ask_for_stay_while_he_holds_the_data(void **state)
{
    struct fixture *f = *state;
    struct pins *pins;
    unsigned idle = 0;
    bool existed, more;
    assert_int_equal(pins_open(&pins), ERR_OK);
    pins_on_idle(pins, be_idle, &idle);
    f->apply.pins = pins;
    assert_int_equal(put_body(f, "large", body_of(f, DATA_SHARD_BYTES + 1, EXTENT_BYTES_MAX)), ERR_OK);
    struct data_id large = f->body.layout.id;
    assert_int_equal(put_body(f, "a", body_of(f, 100000, 65536)), ERR_OK);
    struct piece pieces[2] = {{.data = f->body.layout.id, .size = 100000}, {.data = f->body.layout.id, .size = 1}};
    struct mutation m = copy_of(f, "pieces", pieces, 2);
    expect_ok(f, &m);
    assert_int_equal(delete_key(f, "a", &existed), ERR_OK);
    commit(f);
    assert_int_equal(pins_add(pins, large), ERR_OK);
    assert_int_equal(pins_add(pins, pieces[0].data), ERR_OK);
    assert_int_equal(delete_key(f, "large", &existed), ERR_OK);
    assert_int_equal(delete_key(f, "pieces", &existed), ERR_OK);
    commit(f);
    for (more = true; more;) {
        assert_int_equal(apply_gc_step(&f->apply, &more), ERR_OK);
        assert_int_equal(f->effects.released_count, 0);
        commit(f);
        audit_all(f);
    }
    assert_int_equal(count_keys(f, KV_DATA), 3 + 2); /* shards, and two counts of zero */
    assert_int_equal(count_keys(f, KV_GC), 2);
    assert_int_equal(idle, 0);
    pins_drop(pins, large);
    assert_int_equal(idle, 1); /* the volume is told to call again */
    (void)run_gc(f);
    assert_int_equal(count_keys(f, KV_GC), 1);
    pins_drop(pins, pieces[0].data);
    assert_int_equal(idle, 2);
    (void)run_gc(f);
    expect_empty(f);
    f->apply.pins = NULL;
    pins_close(pins);
}

static void of_a_manifest_only_what_is_read_waits(void **state)
{
    struct fixture *f = *state;
    struct pins *pins;
    struct mutation m;
    bool existed;
    assert_int_equal(pins_open(&pins), ERR_OK);
    f->apply.pins = pins;
    create_upload(f);
    assert_int_equal(put_part(f, 1, MIB(5), 1), ERR_OK);
    struct data_id first = f->body.layout.id;
    assert_int_equal(put_part(f, 2, MIB(5), 2), ERR_OK);
    struct completed_part parts[] = {said(1, 1), said(2, 2)};
    assert_int_equal(complete(f, parts, 2, &m), ERR_OK);
    commit(f);
    assert_int_equal(pins_add(pins, first), ERR_OK);
    assert_int_equal(delete_key(f, "big", &existed), ERR_OK);
    (void)run_gc(f);
    audit_all(f);
    assert_int_equal(count_keys(f, KV_EXTENT), 1);
    assert_int_equal(count_keys(f, KV_MANIFEST), 0);
    pins_drop(pins, first);
    (void)run_gc(f);
    expect_empty(f);
    f->apply.pins = NULL;
    pins_close(pins);
}

static void gc_leaves_alone_what_its_own_batch_let_go(void **state)
{
    struct fixture *f = *state;
    bool existed, more;
    assert_int_equal(put_body(f, "large", body_of(f, DATA_SHARD_BYTES + 1, EXTENT_BYTES_MAX)), ERR_OK);
    assert_int_equal(put_body(f, "a", body_of(f, 100000, 65536)), ERR_OK);
    struct piece pieces[2] = {{.data = f->body.layout.id, .size = 100000}, {.data = f->body.layout.id, .size = 1}};
    struct mutation m = copy_of(f, "pieces", pieces, 2);
    expect_ok(f, &m);
    commit(f);
    f->lazy = true;
    assert_int_equal(delete_key(f, "large", &existed), ERR_OK);
    assert_int_equal(delete_key(f, "pieces", &existed), ERR_OK);
    size_t operations = kv_batch_count(f->batch);
    assert_int_equal(apply_gc_step(&f->apply, &more), ERR_OK);
    assert_int_equal(kv_batch_count(f->batch), operations);
    assert_true(f->effects.gc_pending);
    commit(f);
    /* The manifest drops two of three references, the name in the same batch drops the last: only a later batch may delete. */
    assert_int_equal(delete_key(f, "a", &existed), ERR_OK);
    assert_int_equal(apply_gc_step(&f->apply, &more), ERR_OK);
    assert_true(more);
    for (size_t i = 0; i < f->effects.released_count; i++)
        assert_int_not_equal(f->effects.released[i].data.counter, pieces[0].data.counter);
    commit(f);
    audit_all(f);
    (void)run_gc(f);
    expect_empty(f);
}

static void gc_among_mutations_leaves_the_index_sound(void **state)
{
    struct fixture *f = *state;
    for (uint64_t seed = 500; seed < 520; seed++) {
        struct rand_seeded seeded;
        rand_seeded_init(&seeded, seed);
        f->lazy = true;
        for (unsigned i = 0; i < 300; i++) {
            struct random_mutation r;
            make_random(f, &seeded.rand, &r);
            (void)run(f, &r.m);
            if (rand_below(&seeded.rand, 4) == 0) {
                bool more;
                assert_int_equal(apply_gc_step(&f->apply, &more), ERR_OK);
            }
            if (rand_below(&seeded.rand, 4) == 0) {
                commit(f);
                audit_all(f);
            }
        }
    }
    (void)run_gc(f);
    audit_all(f);
}

/* ---- settings ---- */

static void settings_are_compared_and_set(void **state)
{
    struct fixture *f = *state;
    const struct {
        enum mutation_kind kind;
        const char *value, *if_value;
        bool must_be_new;
        enum err expected;
    } table[] = {
        {MUTATION_SETTING_DELETE, "", NULL, false, ERR_NO_SUCH_KEY_ID},
        {MUTATION_SETTING_PUT, "one", "zero", false, ERR_PRECONDITION},
        {MUTATION_SETTING_PUT, "one", NULL, true, ERR_OK},
        {MUTATION_SETTING_PUT, "two", NULL, true, ERR_KEY_ID_EXISTS},
        {MUTATION_SETTING_PUT, "two", "zero", false, ERR_PRECONDITION},
        {MUTATION_SETTING_PUT, "two", "one", false, ERR_OK},
        {MUTATION_SETTING_PUT, "", NULL, false, ERR_OK},
        {MUTATION_SETTING_PUT, "three", "", false, ERR_OK},
        {MUTATION_SETTING_DELETE, "", NULL, false, ERR_OK},
    };
    for (int lazy = 0; lazy < 2; lazy++) {
        f->lazy = lazy;
        for (size_t i = 0; i < COUNT_OF(table); i++) {
            struct mutation m = {
                .kind = table[i].kind,
                .key = BYTES("key/AKIA"),
                .attrs = bytes_of_string(table[i].value),
                .has_if_value = table[i].if_value != NULL,
                .if_value = bytes_of_string(table[i].if_value),
                .must_be_new = table[i].must_be_new,
            };
            enum err e = run(f, &m);
            if (e != table[i].expected)
                fail_msg("row %zu: %s", i, err_name(e));
        }
    }
    static char large[SETTING_BYTES_MAX + 1];
    struct mutation m = {.kind = MUTATION_SETTING_PUT, .key = BYTES("k"), .attrs = bytes_of(large, sizeof large)};
    assert_int_equal(run(f, &m), ERR_TOO_LARGE);
    m.key = bytes_of(large, SETTING_NAME_BYTES_MAX + 1);
    assert_int_equal(run(f, &m), ERR_INVALID);
}

/* ---- properties ---- */

static uint64_t hash_index(struct fixture *f)
{
    uint64_t hash = 0;
    for (size_t family = 0; family < KV_FAMILY_COUNT; family++) {
        struct kv_iter *iter;
        const struct kv_ops *ops = f->kv->ops;
        assert_int_equal(ops->iter_open(f->kv, &(struct kv_iter_options){.family = (enum kv_family)family}, &iter), ERR_OK);
        for (ops->iter_seek(iter, (struct bytes){0}); ops->iter_valid(iter); ops->iter_next(iter)) {
            uint64_t mix[4] = {hash, family, xxh3_64(ops->iter_key(iter).data, ops->iter_key(iter).size),
                               xxh3_64(ops->iter_value(iter).data, ops->iter_value(iter).size)};
            hash = xxh3_64(mix, sizeof mix);
        }
        ops->iter_close(iter);
    }
    return hash;
}

/* Runs 400 random mutations in batches of at most batch_max; gc when a batch ends and every 50. */
static void run_random(struct fixture *f, uint64_t seed, size_t batch_max, unsigned outcome[ERR_COUNT])
{
    struct rand_seeded seeded;
    rand_seeded_init(&seeded, seed);
    f->lazy = true;
    for (size_t i = 0, in_batch = 0; i < 400; i++) {
        struct random_mutation r;
        make_random(f, &seeded.rand, &r);
        size_t operations = kv_batch_count(f->batch), released = f->effects.released_count, published = f->effects.published_count;
        enum err e = run(f, &r.m);
        outcome[e]++;
        if (e) {
            assert_int_equal(kv_batch_count(f->batch), operations);
            assert_int_equal(f->effects.released_count, released);
            assert_int_equal(f->effects.published_count, published);
            assert_int_not_equal(err_family(e), FAM_DATA);
            assert_int_not_equal(err_family(e), FAM_BUG);
        }
        if (++in_batch == batch_max) {
            commit(f);
            in_batch = 0;
            if (batch_max > 1 || i % 10 == 0)
                audit_all(f);
        }
        if (i % 50 == 49) {
            (void)run_gc(f);
            in_batch = 0;
            audit_all(f);
        }
    }
    (void)run_gc(f);
    audit_all(f);
}

static void batches_make_no_difference(void **state)
{
    (void)state;
    unsigned outcome[ERR_COUNT] = {0};
    for (uint64_t seed = 1; seed <= 25; seed++) {
        static const size_t sizes[] = {1, 3, 1000};
        uint64_t hash[COUNT_OF(sizes)];
        for (size_t i = 0; i < COUNT_OF(sizes); i++) {
            void *fixture;
            assert_int_equal(fixture_setup(&fixture), 0);
            run_random(fixture, seed, sizes[i], outcome);
            hash[i] = hash_index(fixture);
            assert_int_equal(fixture_teardown(&fixture), 0);
        }
        if (hash[0] != hash[1] || hash[0] != hash[2])
            fail_msg("seed %llu", (unsigned long long)seed);
    }
    print_message("    %u applied, %u no object, %u no upload, %u preconditions\n", outcome[ERR_OK], outcome[ERR_NO_SUCH_OBJECT],
                  outcome[ERR_NO_SUCH_UPLOAD], outcome[ERR_PRECONDITION]);
    assert_true(outcome[ERR_OK] > 5000);
}

static void a_failing_index_leaves_the_batch_as_it_was(void **state)
{
    struct fixture *f = *state;
    struct rand_seeded seeded;
    rand_seeded_init(&seeded, 77);
    f->lazy = true;
    unsigned faults = 0;
    for (unsigned i = 0; i < 400; i++) {
        struct random_mutation r;
        make_random(f, &seeded.rand, &r);
        prepare(f, &r.m);
        size_t operations = kv_batch_count(f->batch);
        struct effects before = f->effects;
        for (unsigned nth = 1; nth < 200; nth++) {
            struct mutation m = r.m;
            kv_sim_fail_nth(f->kv, nth, ERR_IO);
            enum err e = apply_mutation(&f->apply, &m);
            if (!kv_sim_fault_fired(f->kv)) {
                kv_sim_fail_nth(f->kv, 0, ERR_OK);
                break; /* each call has failed once; this time it was applied, or refused on its merits */
            }
            faults++;
            assert_int_equal(e, ERR_IO);
            assert_int_equal(kv_batch_count(f->batch), operations);
            assert_int_equal(f->effects.released_count, before.released_count);
            assert_int_equal(f->effects.published_count, before.published_count);
            assert_int_equal(f->effects.bucket_count, before.bucket_count);
            assert_int_equal(f->effects.gc_pending, before.gc_pending);
        }
        if (i % 7 == 0) {
            commit(f);
            audit_all(f);
        }
    }
    for (bool more = true; more;) {
        commit(f);
        for (unsigned nth = 1; nth < 2000; nth++) {
            kv_sim_fail_nth(f->kv, nth, ERR_IO);
            enum err e = apply_gc_step(&f->apply, &more);
            if (!kv_sim_fault_fired(f->kv))
                break;
            assert_int_equal(e, ERR_IO);
            assert_int_equal(kv_batch_count(f->batch), 0);
            assert_int_equal(f->effects.released_count, 0);
            faults++;
        }
        kv_sim_fail_nth(f->kv, 0, ERR_OK);
    }
    commit(f);
    audit_all(f);
    print_message("    %u faults\n", faults);
    assert_true(faults > 500);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, fixture_setup, fixture_teardown)
    const struct CMUnitTest tests[] = {
        TEST(buckets_are_made_once_and_deleted_when_empty),
        TEST(a_bucket_with_an_object_stays),
        TEST(conditions_are_judged_against_what_is_there),
        TEST(names_and_sizes_have_limits),
        TEST(an_object_is_stored_as_it_was_given),
        TEST(an_overwrite_releases_what_was_there),
        TEST(what_a_batch_makes_and_releases_leaves_nothing),
        TEST(large_data_is_deleted_in_steps),
        TEST(a_copy_keeps_the_data_when_the_source_goes),
        TEST(an_object_copied_onto_itself_stays),
        TEST(pieces_are_judged),
        TEST(data_that_waits_for_gc_is_not_copied),
        TEST(many_pieces_go_through_a_manifest),
        TEST(an_upload_becomes_an_object),
        TEST(completing_judges_the_parts),
        TEST(a_retried_completion_gets_the_same_answer),
        TEST(completed_uploads_are_remembered_in_a_bounded_ring),
        TEST(parts_are_judged),
        TEST(a_part_can_be_copied_in_pieces),
        TEST(ten_thousand_parts_complete_in_one_batch),
        TEST(an_aborted_upload_is_deleted_in_steps),
        TEST(a_deleted_buckets_uploads_are_aborted),
        TEST(records_a_reader_may_ask_for_stay_while_he_holds_the_data),
        TEST(of_a_manifest_only_what_is_read_waits),
        TEST(gc_leaves_alone_what_its_own_batch_let_go),
        TEST(gc_among_mutations_leaves_the_index_sound),
        TEST(settings_are_compared_and_set),
        cmocka_unit_test(batches_make_no_difference),
        TEST(a_failing_index_leaves_the_batch_as_it_was),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
