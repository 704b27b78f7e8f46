#include "log_fixture.h"

/* ---- life ---- */

static void a_record_is_appended_applied_and_read(void **state)
{
    static const uint64_t sizes[] = {0, 100, 30000, 5 << 20};
    struct fixture f;
    log_up(&f, MIB(256), MIB(16));
    assert_int_equal(log_range(&f).last, 0);
    assert_int_equal(log_make_bucket(&f), ERR_OK);
    for (unsigned i = 0; i < COUNT_OF(sizes); i++) {
        char key[8];
        snprintf(key, sizeof key, "k%u", i);
        struct body *body = NULL;
        struct commit_wait wait;
        uint64_t psn = 2 + i;
        assert_int_equal(fixture_body(&f, sizes[i], true, i, &body), ERR_OK);
        struct piece piece = {.data = body_data_id(body), .size = sizes[i]};
        assert_int_equal(log_append_body(&f, psn, body), ERR_OK);

        struct log_row row;
        assert_int_equal(volume_log_read(f.volume, psn, &row), ERR_OK);
        assert_int_equal(row.psn, psn);
        assert_int_equal(row.term, 7);
        assert_true(bytes_equal(row.record, BYTES("a record")));
        assert_int_equal(row.data.size, sizes[i]);
        if (sizes[i] > 0)
            assert_true(data_id_equal(row.data.id, piece.data));
        log_row_fini(&row);
        assert_int_equal(fixture_get(&f, key, sizes[i], i), ERR_NO_SUCH_OBJECT);
        (void)log_check(&f); /* the row's data is its own */

        log_put_mutation(&f, &wait, psn, key, &piece);
        wait.m.piece_count = sizes[i] > 0;
        wait.m.takes_reference = sizes[i] > 0;
        assert_int_equal(fixture_commit(&f, &wait), ERR_OK);
        assert_int_equal(wait.m.mtime_ns, wait.m.now_ns);
        assert_int_equal(fixture_get(&f, key, sizes[i], i), ERR_OK);
        (void)log_check(&f);
        assert_int_equal(fixture_get(&f, key, sizes[i], i), ERR_OK);
    }
    struct log_range range = log_range(&f);
    assert_int_equal(range.first, 1);
    assert_int_equal(range.last, 5);
    assert_int_equal(range.applied, 5);
    fixture_fini(&f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_record_is_appended_applied_and_read),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
