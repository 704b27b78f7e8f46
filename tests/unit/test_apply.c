/* Mutations of buckets, objects and settings on the simulated index: a table for each kind. */
#include "apply_fixture.h"

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
    /* In the same batch. */
    assert_int_equal(put_body(f, "a", body_of(f, 100, 0)), ERR_NO_SUCH_BUCKET);
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
        {{.has_if_match = true, .if_match = same, .if_none_match_any = true},
         ERR_NO_SUCH_OBJECT,
         ERR_PRECONDITION},
    };
    for (size_t i = 0; i < COUNT_OF(table) * 4; i++) {
        bool present = i & 1, is_delete = i & 2, existed;
        f->lazy = i % 3 == 0;
        (void)delete_key(f, "k", &existed);
        struct mutation m = {
            .kind = MUTATION_OBJECT_PUT, .bucket = f->bucket, .key = BYTES("k"), .etag = same};
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
        enum err e = run(f, &second),
                 expected = present ? table[i / 4].present : table[i / 4].absent;
        if (e != expected)
            fail_msg("row %zu, %s, %s: %s", i / 4, present ? "present" : "absent",
                     is_delete ? "delete" : "put", err_name(e));
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
    struct mutation m = {.kind = MUTATION_OBJECT_PUT,
                         .bucket = f->bucket,
                         .key = BYTES("k"),
                         .body = body_of(f, 100, 0),
                         .size = 99};
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
        {DATA_SHARD_BYTES + 1, EXTENT_BYTES_MAX,
         true}, /* two shards: a reader may still ask for the second */
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

static void a_copy_keeps_the_data_when_the_source_goes(void **state)
{
    struct fixture *f = *state;
    for (int is_inline = 0; is_inline < 2; is_inline++) {
        bool existed;
        assert_int_equal(
            put_body(f, "from", is_inline ? body_of(f, 8000, 0) : body_of(f, 200000, 65536)),
            ERR_OK);
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
        /* Shared once: a reader may still ask for its records. */
        assert_int_equal(f->effects.released_count, 0);
        assert_true(f->effects.gc_pending);
        (void)run_gc(f);
        expect_empty(f);
        /* The source went while the copy was on its way. */
        struct mutation late = copy_of(f, "to", &piece, 1);
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
        {{.data = small, .size = INLINE_BYTES_MAX + 1},
         ERR_NO_SUCH_OBJECT}, /* no inline data has so many bytes: looked for among extents */
        {{.data = large, .offset = 3, .size = 10}, ERR_OK}, /* so small, and yet not inline */
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
    /* The data is gone; nothing of the first 2,499 pieces stays. */
    assert_int_equal(run(f, &m), ERR_NO_SUCH_OBJECT);
    assert_int_equal(kv_batch_count(f->batch), 0);
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
        {MUTATION_SETTING_DELETE, "", "two", false, ERR_PRECONDITION},
        {MUTATION_SETTING_DELETE, "", "three", false, ERR_OK},
        {MUTATION_SETTING_DELETE, "", "three", false, ERR_PRECONDITION},
        {MUTATION_SETTING_PUT, "four", NULL, false, ERR_OK},
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
    struct mutation m = {
        .kind = MUTATION_SETTING_PUT, .key = BYTES("k"), .attrs = bytes_of(large, sizeof large)};
    assert_int_equal(run(f, &m), ERR_TOO_LARGE);
    m.key = bytes_of(large, SETTING_NAME_BYTES_MAX + 1);
    assert_int_equal(run(f, &m), ERR_INVALID);
}

int main(void)
{
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
        TEST(settings_are_compared_and_set),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
