/*
 * What the tests of apply share: an index in memory, bodies that are nothing but a layout,
 * mutations run one by one or gathered in a batch, and the audit, which counts by hand who refers
 * to what.
 */
#ifndef TESTS_APPLY_FIXTURE_H
#define TESTS_APPLY_FIXTURE_H

#pragma GCC diagnostic ignored "-Wunused-function" /* no test needs all of it */

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
        body->extents[layout->extent_count] =
            (struct extent){.segment = 1, .unit = f->next_unit, .units = units, .bytes = bytes};
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
    struct mutation m = {.kind = MUTATION_BUCKET_CREATE,
                         .bucket_name = BYTES("photos"),
                         .owner = BYTES("ann"),
                         .region = BYTES("here")};
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
    struct mutation m = {
        .kind = MUTATION_OBJECT_DELETE, .bucket = f->bucket, .key = bytes_of_string(key)};
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
    assert_int_equal(
        f->kv->ops->iter_open(f->kv, &(struct kv_iter_options){.family = family}, &iter), ERR_OK);
    for (f->kv->ops->iter_seek(iter, (struct bytes){0}); f->kv->ops->iter_valid(iter);
         f->kv->ops->iter_next(iter))
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

static void audit_manifest(struct audit *audit, struct data_id id, uint32_t shard, uint32_t index,
                           uint32_t shards)
{
    for (; shard < shards; shard++, index = 0) {
        struct kv_key key;
        struct kv_value value;
        struct manifest_record record;
        key_manifest(&key, id, shard);
        assert_int_equal(
            audit->f->kv->ops->get(audit->f->kv, KV_MANIFEST, key_bytes(&key), KV_ANY, &value),
            ERR_OK);
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

static void audit_family(struct audit *audit, enum kv_family family,
                         void (*each)(struct audit *, struct bytes, struct bytes))
{
    const struct kv_ops *ops = audit->f->kv->ops;
    struct kv_iter *iter;
    assert_int_equal(
        ops->iter_open(audit->f->kv, &(struct kv_iter_options){.family = family}, &iter), ERR_OK);
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
    static const enum kv_family families[] = {KV_OBJECT, KV_MANIFEST, KV_DATA, KV_EXTENT,
                                              KV_INLINE, KV_UPLOAD,   KV_PART, KV_GC};
    for (size_t i = 0; i < COUNT_OF(families); i++)
        assert_int_equal(count_keys(f, families[i]), 0);
}

/* ---- copies ---- */

static struct mutation copy_of(struct fixture *f, const char *key, const struct piece *pieces,
                               size_t count)
{
    struct mutation m = {.kind = MUTATION_OBJECT_PUT,
                         .bucket = f->bucket,
                         .key = bytes_of_string(key),
                         .pieces = pieces,
                         .piece_count = count};
    for (size_t i = 0; i < count; i++)
        m.size += pieces[i].size;
    return m;
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, fixture_setup, fixture_teardown)

#endif
