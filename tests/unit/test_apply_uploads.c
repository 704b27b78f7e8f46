/* Uploads from their first part to the object they become, and deletion that is put off: for its
 * size, or for its readers. */
#include "apply_fixture.h"

/* ---- uploads ---- */

static const struct upload_id upload_one = {{1}};

static struct mutation upload_mutation(struct fixture *f, enum mutation_kind kind)
{
    return (struct mutation){
        .kind = kind, .bucket = f->bucket, .key = BYTES("big"), .upload = upload_one};
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

static enum err complete(struct fixture *f, const struct completed_part *parts, size_t count,
                         struct mutation *ret_m)
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
        /* Again: the first one's extent is released. */
        assert_int_equal(put_part(f, 1, MIB(5), 1), ERR_OK);
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
        {"a missing part in between",
         {said(1, 1), said(5, 3), said(10000, 4)},
         3,
         ERR_INVALID_PART},
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
        /* What held the first time no longer does: not asked again. */
        second.conditions.if_none_match_any = true;
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
    /* As if the ring were full: slot 0 is next, and holds an old upload. */
    put_le64(next, COMPLETED_RING);
    struct kv_key slot, old;
    const struct upload_id old_id = {{99}};
    key_completed_slot(&slot, 0);
    key_completed(&old, &old_id);
    assert_int_equal(kv_batch_put(f->batch, KV_SYS, KEY_SYS_COMPLETED, bytes_of(next, 8)), ERR_OK);
    assert_int_equal(kv_batch_put(f->batch, KV_SYS, key_bytes(&slot), bytes_of(old_id.bytes, 16)),
                     ERR_OK);
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
    struct piece pieces[2] = {{.data = id, .offset = MIB(1), .size = MIB(5)},
                              {.data = id, .offset = 7, .size = 100}};
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
    print_message("    batch of %zu operations, %zu KiB\n", kv_batch_count(f->batch),
                  kv_batch_size_bytes(f->batch) / 1024);
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
    assert_int_equal(put_body(f, "large", body_of(f, DATA_SHARD_BYTES + 1, EXTENT_BYTES_MAX)),
                     ERR_OK);
    struct data_id large = f->body.layout.id;
    assert_int_equal(put_body(f, "a", body_of(f, 100000, 65536)), ERR_OK);
    struct piece pieces[2] = {{.data = f->body.layout.id, .size = 100000},
                              {.data = f->body.layout.id, .size = 1}};
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
    assert_int_equal(put_body(f, "large", body_of(f, DATA_SHARD_BYTES + 1, EXTENT_BYTES_MAX)),
                     ERR_OK);
    assert_int_equal(put_body(f, "a", body_of(f, 100000, 65536)), ERR_OK);
    struct piece pieces[2] = {{.data = f->body.layout.id, .size = 100000},
                              {.data = f->body.layout.id, .size = 1}};
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
    /* The manifest drops two of three references, the name in the same batch drops the last: only a
     * later batch may delete. */
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

int main(void)
{
    const struct CMUnitTest tests[] = {
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
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
