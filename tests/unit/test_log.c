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

/* ---- outcomes ---- */

static void what_a_refused_record_brought_is_let_go_of(void **state)
{
    static const uint64_t sizes[] = {100, 30000, 5 << 20};
    struct fixture f;
    log_up(&f, MIB(256), MIB(16));
    assert_int_equal(log_make_bucket(&f), ERR_OK);
    for (unsigned i = 0; i < 2 * COUNT_OF(sizes); i++) {
        struct body *body = NULL;
        struct commit_wait wait;
        uint64_t psn = 2 + i, size = sizes[i / 2];
        assert_int_equal(fixture_body(&f, size, true, i, &body), ERR_OK);
        struct piece piece = {.data = body_data_id(body), .size = size};
        assert_int_equal(log_append_body(&f, psn, body), ERR_OK);
        log_put_mutation(&f, &wait, psn, "k", &piece);
        wait.m.is_barrier = i % 2 == 1;
        wait.m.conditions.if_match_any = true;
        assert_int_equal(fixture_commit(&f, &wait), i % 2 == 1 ? ERR_OK : ERR_NO_SUCH_OBJECT);
        assert_int_equal(log_range(&f).applied, psn);
        struct fsck_counts counts = log_check(&f);
        assert_int_equal(counts.bytes_stored, 0);
        assert_int_equal(log_range(&f).applied, psn); /* as it was written */
    }
    fixture_fini(&f);
}

static void pieces_are_taken_only_from_a_source_that_is_still_there(void **state)
{
    struct fixture f;
    log_up(&f, MIB(256), MIB(16));
    assert_int_equal(log_make_bucket(&f), ERR_OK);
    assert_int_equal(log_put(&f, "source", 30000, 1), ERR_OK);
    struct object *object;
    assert_int_equal(fixture_lookup(&f, "source", &object), ERR_OK);
    struct piece piece = object->pieces[0].stored.piece;
    uint64_t source_psn = object_info(object)->psn;
    object_put(object);
    static const struct {
        int64_t psn_off;
        bool has_source, is_part, is_changed;
        enum err expected;
    } table[] = {
        {0, true, false, false, ERR_OK},       {1, true, false, false, ERR_CONFLICT},
        {0, false, false, false, ERR_INVALID}, {0, true, true, false, ERR_NO_SUCH_UPLOAD},
        {0, true, false, true, ERR_CONFLICT},
    };
    for (unsigned i = 0; i < COUNT_OF(table); i++) {
        if (table[i].is_changed)
            assert_int_equal(log_delete(&f, "source"), ERR_OK);
        struct commit_wait wait;
        uint64_t psn = log_range(&f).last + 1;
        assert_int_equal(log_append_body(&f, psn, NULL), ERR_OK);
        log_put_mutation(&f, &wait, psn, "copy", &piece);
        wait.m.kind = table[i].is_part ? MUTATION_PART_PUT : MUTATION_OBJECT_PUT;
        wait.m.part_number = 1;
        wait.m.takes_reference = false;
        if (table[i].has_source)
            wait.m.source = (struct mutation_source){
                .bucket = f.bucket,
                .key = BYTES("source"),
                .psn = source_psn + (uint64_t)table[i].psn_off,
            };
        assert_int_equal(fixture_commit(&f, &wait), table[i].expected);
        assert_int_equal(log_range(&f).applied, psn);
    }
    (void)log_check(&f);
    assert_int_equal(fixture_get(&f, "copy", 30000, 1), ERR_OK);
    fixture_fini(&f);
}

static void errors_are_outcomes_or_this_nodes_own(void **state)
{
    static const enum err outcomes[] = {ERR_OK,
                                        ERR_INVALID,
                                        ERR_TOO_LARGE,
                                        ERR_NO_SUCH_BUCKET,
                                        ERR_BUCKET_OWNED,
                                        ERR_BUCKET_EXISTS,
                                        ERR_BUCKET_NOT_EMPTY,
                                        ERR_NO_SUCH_OBJECT,
                                        ERR_NO_SUCH_UPLOAD,
                                        ERR_INVALID_PART,
                                        ERR_PART_ORDER,
                                        ERR_PART_TOO_SMALL,
                                        ERR_PRECONDITION,
                                        ERR_CONFLICT,
                                        ERR_NO_SUCH_KEY_ID,
                                        ERR_KEY_ID_EXISTS};
    static const enum err own[] = {
        ERR_NO_MEMORY,     ERR_BUSY,    ERR_IO,          ERR_DISK_FULL, ERR_READ_ONLY,
        ERR_VOLUME_FAILED, ERR_CORRUPT, ERR_INTERNAL,    ERR_CANCELLED, ERR_NO_SUCH_FILE,
        ERR_WOULD_BLOCK,   ERR_DENIED,  ERR_FORMAT_NEWER};
    for (unsigned i = 0; i < COUNT_OF(outcomes); i++)
        assert_true(mutation_is_outcome(outcomes[i]));
    for (unsigned i = 0; i < COUNT_OF(own); i++)
        assert_false(mutation_is_outcome(own[i]));
}

/* ---- what is durable when ---- */

static void appends_share_a_synced_write_and_what_is_applied_goes_before_it(void **state)
{
    enum { COUNT = 8 };
    struct fixture f;
    struct append_wait appends[COUNT];
    struct commit_wait puts[COUNT];
    struct piece pieces[COUNT];
    struct save_wait save = {.s = {.state = BYTES("state"), .last = UINT64_MAX}};
    char keys[COUNT][8];
    log_up(&f, MIB(256), MIB(16));
    assert_int_equal(log_make_bucket(&f), ERR_OK);
    for (unsigned i = 0; i < COUNT; i++) {
        struct body *body = NULL;
        uint64_t size = i % 2 == 0 ? 100 : 30000, psn = 2 + i;
        assert_int_equal(fixture_body(&f, size, true, i, &body), ERR_OK);
        pieces[i] = (struct piece){.data = body_data_id(body), .size = size};
        appends[i] =
            (struct append_wait){.a = {.psn = psn, .term = 7, .record = BYTES("r"), .body = body}};
        log_submit_append(&f, &appends[i]);
        if (i == COUNT / 2)
            log_submit_save(&f, &save);
    }
    uint64_t commits = fixture_status(&f).commits;
    log_step(&f);
    assert_int_equal(fixture_status(&f).commits, commits + 1);
    assert_true(log_is_synced(&f));
    assert_true(save.is_done && save.s.err == ERR_OK);

    struct append_wait next = {.a = {.psn = 2 + COUNT, .term = 7, .record = BYTES("r")}};
    for (unsigned i = 0; i < COUNT; i++) {
        if (i == COUNT / 2)
            log_submit_append(&f, &next);
        snprintf(keys[i], sizeof keys[i], "k%u", i);
        log_put_mutation(&f, &puts[i], 2 + i, keys[i], &pieces[i]);
        fixture_submit(&f, &puts[i]);
    }
    log_step(&f);
    assert_int_equal(fixture_status(&f).commits, commits + 3);
    assert_true(log_is_synced(&f));
    assert_true(next.is_done && next.a.err == ERR_OK);
    log_crash(&f);
    assert_int_equal(log_range(&f).applied, 1 + COUNT);
    for (unsigned i = 0; i < COUNT; i++) {
        assert_true(appends[i].is_done && appends[i].a.err == ERR_OK);
        assert_true(puts[i].is_done && puts[i].m.err == ERR_OK);
        assert_int_equal(fixture_get(&f, keys[i], pieces[i].size, i), ERR_OK);
    }
    (void)log_check(&f);
    fixture_fini(&f);
}

static void a_crash_forgets_what_is_applied_and_not_what_is_appended(void **state)
{
    struct fixture f;
    struct commit_wait wait;
    struct body *body = NULL;
    log_up(&f, MIB(256), MIB(16));
    assert_int_equal(log_make_bucket(&f), ERR_OK);
    assert_int_equal(log_put(&f, "k", 30000, 1), ERR_OK);
    log_settle(&f);
    assert_true(log_is_synced(&f));

    assert_int_equal(fixture_body(&f, 30000, true, 2, &body), ERR_OK);
    struct piece piece = {.data = body_data_id(body), .size = 30000};
    assert_int_equal(log_append_body(&f, 3, body), ERR_OK);
    assert_true(log_is_synced(&f));
    for (unsigned round = 0; round < 3; round++) {
        log_put_mutation(&f, &wait, 3, "k", &piece);
        assert_int_equal(fixture_commit(&f, &wait), ERR_OK);
        assert_false(log_is_synced(&f));
        assert_int_equal(fixture_get(&f, "k", 30000, 2), ERR_OK);
        /* What it replaced is still needed by the applying that comes after a crash. */
        assert_int_equal(fixture_status(&f).reclaiming_bytes, 32768);
        volume_step(f.volume);
        assert_int_equal(fixture_status(&f).reclaiming_bytes, 32768);
        if (round == 2)
            break;
        log_crash(&f);
        struct log_range range = log_range(&f);
        assert_int_equal(range.applied, 2);
        assert_int_equal(range.last, 3);
        assert_int_equal(fixture_get(&f, "k", 30000, 1), ERR_OK);
        (void)log_check(&f);
    }
    clock_manual_advance(&f.clock, NS_PER_SECOND);
    log_settle(&f);
    assert_true(log_is_synced(&f));
    assert_int_equal(fixture_status(&f).reclaiming_bytes, 0);
    log_crash(&f);
    assert_int_equal(log_range(&f).applied, 3);
    assert_int_equal(fixture_get(&f, "k", 30000, 2), ERR_OK);
    (void)log_check(&f);
    fixture_fini(&f);
}

static void closing_syncs_what_is_applied(void **state)
{
    struct fixture f;
    log_up(&f, MIB(256), MIB(16));
    assert_int_equal(log_make_bucket(&f), ERR_OK);
    assert_false(log_is_synced(&f));
    fixture_close_volume(&f);
    kv_sim_crash(f.kv);
    assert_int_equal(fixture_open(&f), ERR_OK);
    assert_int_equal(log_range(&f).applied, 1);
    fixture_fini(&f);
}

/* A body that finds no room has what was let go of synced at once. */
static void space_that_is_needed_is_not_held_back(void **state)
{
    struct fixture f;
    log_up(&f, MIB(128), MIB(16));
    assert_int_equal(log_make_bucket(&f), ERR_OK);
    unsigned count = 0;
    char key[16];
    for (;; count++) {
        snprintf(key, sizeof key, "k%u", count);
        if (log_put(&f, key, MIB(4), count) != ERR_OK)
            break;
    }
    assert_in_range(count, 4, 40);
    log_settle(&f);
    for (unsigned i = 0; i < count; i++) {
        snprintf(key, sizeof key, "k%u", i);
        assert_int_equal(log_delete(&f, key), ERR_OK);
    }
    assert_false(log_is_synced(&f));
    assert_int_equal(log_put(&f, "again", MIB(4), 99), ERR_OK);
    assert_int_equal(fixture_get(&f, "again", MIB(4), 99), ERR_OK);
    (void)log_check(&f);
    fixture_fini(&f);
}

static bool lies_on(const struct body *body, const struct extent *there)
{
    for (uint32_t i = 0; i < body->extent_count; i++) {
        const struct extent *e = &body->extents[i];
        if (e->segment == there->segment && e->unit < there->unit + there->units &&
            there->unit < e->unit + e->units)
            return true;
    }
    return false;
}

/* On a full disk, where it is the only space there is. */
static void freed_space_is_used_again_only_after_a_sync(void **state)
{
    enum { SIZE = 4 << 20 };
    struct fixture f;
    struct body *body = NULL;
    struct commit_wait wait;
    struct extent freed = {0};
    char key[16];
    log_up(&f, MIB(128), MIB(16));
    assert_int_equal(log_make_bucket(&f), ERR_OK);
    for (uint64_t psn = 2; fixture_body(&f, SIZE, true, psn, &body) == ERR_OK; psn++) {
        struct piece piece = {.data = body_data_id(body), .size = SIZE};
        if (psn == 4)
            freed = body->extents[0];
        assert_int_equal(log_append_body(&f, psn, body), ERR_OK);
        snprintf(key, sizeof key, "k%u", (unsigned)psn);
        log_put_mutation(&f, &wait, psn, key, &piece);
        assert_int_equal(fixture_commit(&f, &wait), ERR_OK);
    }
    log_settle(&f);

    assert_int_equal(log_delete(&f, "k4"), ERR_OK);
    volume_step(f.volume);
    assert_false(log_is_synced(&f));
    assert_int_equal(fixture_status(&f).reclaiming_bytes, SIZE);
    assert_int_equal(fixture_body(&f, SIZE, true, 99, &body), ERR_OK);
    assert_true(lies_on(body, &freed));
    assert_true(log_is_synced(&f));
    body_close(body);
    (void)log_check(&f);
    fixture_fini(&f);
}

/* ---- saving and cutting ---- */

static void rows_that_are_cut_let_go_of_their_data(void **state)
{
    static const uint64_t sizes[] = {100, 30000, 5 << 20, 0};
    struct fixture f;
    uint8_t out[LOG_STATE_BYTES_MAX], long_state[LOG_STATE_BYTES_MAX + 1] = {0};
    size_t size;
    log_up(&f, MIB(256), MIB(16));
    assert_int_equal(volume_log_state(f.volume, out, sizeof out, &size), ERR_NO_SUCH_OBJECT);
    assert_int_equal(log_make_bucket(&f), ERR_OK);
    for (unsigned i = 0; i < COUNT_OF(sizes); i++) {
        struct body *body = NULL;
        if (sizes[i] > 0)
            assert_int_equal(fixture_body(&f, sizes[i], true, i, &body), ERR_OK);
        assert_int_equal(log_append_body(&f, 2 + i, body), ERR_OK);
    }
    assert_int_equal(log_check(&f).log_rows, 5);
    assert_int_equal(log_save(&f, BYTES("one"), 0), ERR_INVALID);
    assert_int_equal(log_save(&f, bytes_of(long_state, sizeof long_state), 5), ERR_TOO_LARGE);
    assert_int_equal(log_save(&f, BYTES("one"), 9), ERR_CANCELLED);
    assert_int_equal(log_save(&f, BYTES("one"), 5), ERR_OK);
    assert_int_equal(log_range(&f).last, 5);
    assert_int_equal(log_save(&f, BYTES("two"), 2), ERR_OK);
    log_crash(&f);
    assert_int_equal(log_range(&f).last, 2);
    assert_int_equal(volume_log_state(f.volume, out, 2, &size), ERR_TOO_LARGE);
    assert_int_equal(volume_log_state(f.volume, out, sizeof out, &size), ERR_OK);
    assert_true(bytes_equal(bytes_of(out, size), BYTES("two")));
    struct log_row row;
    assert_int_equal(volume_log_read(f.volume, 3, &row), ERR_NO_SUCH_OBJECT);
    struct fsck_counts counts = log_check(&f);
    assert_int_equal(counts.log_rows, 2);
    assert_int_equal(counts.bytes_stored, 100);
    assert_int_equal(log_save(&f, BYTES("three"), 1), ERR_OK);
    assert_int_equal(log_check(&f).bytes_stored, 0);
    assert_int_equal(log_append_body(&f, 2, NULL), ERR_OK); /* another one in its place */
    assert_int_equal(log_range(&f).last, 2);
    fixture_fini(&f);
}

static void a_log_is_trimmed_in_steps_up_to_what_is_applied(void **state)
{
    enum { ROWS = 700 };
    struct fixture f;
    log_up(&f, MIB(256), MIB(16));
    assert_int_equal(log_make_bucket(&f), ERR_OK);
    for (uint64_t psn = 2; psn <= ROWS; psn++)
        assert_int_equal(log_append_body(&f, psn, NULL), ERR_OK);
    for (uint64_t psn = 2; psn < ROWS; psn++) {
        struct commit_wait wait = {.m = {.is_barrier = true}};
        log_mutation(&wait, psn);
        assert_int_equal(fixture_commit(&f, &wait), ERR_OK);
    }
    volume_log_trim(f.volume, 100);
    log_step(&f);
    assert_int_equal(log_range(&f).first, 100);
    assert_int_equal(log_check(&f).log_rows, ROWS - 99);
    volume_log_trim(f.volume, 50); /* nothing new */
    uint64_t commits = fixture_status(&f).commits;
    volume_log_trim(f.volume, UINT64_MAX);
    log_step(&f);
    assert_in_range(fixture_status(&f).commits - commits, 3, 4);
    assert_int_equal(log_range(&f).first, ROWS - 1); /* the last one applied */
    struct log_row row;
    assert_int_equal(volume_log_read(f.volume, ROWS - 2, &row), ERR_NO_SUCH_OBJECT);
    log_crash(&f);
    struct log_range range = log_range(&f);
    assert_in_range(range.applied, 1, ROWS - 1);
    assert_true(range.first <= range.applied);
    assert_int_equal(range.last, ROWS);
    (void)log_check(&f);
    fixture_fini(&f);
}

/* ---- absent data ---- */

static enum err append_absent(struct fixture *f, uint64_t psn, struct data_id id, uint64_t size)
{
    struct append_wait wait = {
        .a = {.psn = psn, .term = 7, .record = BYTES("r"), .absent = {.id = id, .size = size}}};
    log_submit_append(f, &wait);
    log_step(f);
    assert_true(wait.is_done);
    return wait.a.err;
}

static void absent_data_counts_as_if_it_were_here(void **state)
{
    static const uint64_t sizes[] = {100, 30000, DATA_SHARD_BYTES * 3 + 5};
    struct fixture f;
    log_up(&f, MIB(256), MIB(16));
    assert_int_equal(log_make_bucket(&f), ERR_OK);
    for (unsigned i = 0; i < COUNT_OF(sizes); i++) {
        struct piece piece = {.data = {.epoch = 1ull << 63 | 5, .counter = 1 + i},
                              .size = sizes[i]};
        struct commit_wait wait;
        struct object *object;
        struct read_plan plan;
        struct read_span span;
        uint64_t psn = log_range(&f).last + 1;
        assert_int_equal(append_absent(&f, psn, piece.data, piece.size), ERR_OK);
        assert_int_equal(log_check(&f).absent_data, 1);
        assert_int_equal(volume_data_lookup(f.volume, piece.data, &object), ERR_NO_SUCH_OBJECT);
        log_put_mutation(&f, &wait, psn, "k", &piece);
        assert_int_equal(fixture_commit(&f, &wait), ERR_OK);
        struct fsck_counts counts = log_check(&f);
        assert_int_equal(counts.absent_data, 1);
        assert_int_equal(counts.objects, 1);
        assert_int_equal(fixture_lookup(&f, "k", &object), ERR_OK);
        assert_int_equal(object_info(object)->size, sizes[i]);
        read_plan_open(&plan, object, sizes[i] / 2, 10);
        assert_int_equal(read_plan_load(&plan), ERR_CORRUPT);
        assert_int_not_equal(read_plan_span(&plan, &span), ERR_OK);
        read_plan_close(&plan);
        object_put(object);
        assert_int_equal(log_delete(&f, "k"), ERR_OK);
        counts = log_check(&f);
        assert_int_equal(counts.absent_data, 0);
        assert_int_equal(counts.bytes_stored, 0);
    }
    fixture_fini(&f);
}

/* A node that did not hear of it twice may have what another says is gone. */
static void absent_data_that_is_here_gains_a_reference(void **state)
{
    struct fixture f;
    struct body *body = NULL;
    log_up(&f, MIB(256), MIB(16));
    assert_int_equal(log_make_bucket(&f), ERR_OK);
    for (unsigned i = 0; i < 2; i++) {
        uint64_t size = i == 0 ? 100 : 30000, psn = log_range(&f).last + 1;
        struct commit_wait first, second;
        assert_int_equal(fixture_body(&f, size, true, 1, &body), ERR_OK);
        struct piece piece = {.data = body_data_id(body), .size = size};
        assert_int_equal(log_append_body(&f, psn, body), ERR_OK);
        assert_int_equal(append_absent(&f, psn + 1, piece.data, size), ERR_OK);
        (void)log_check(&f);
        log_put_mutation(&f, &first, psn, "k", &piece);
        assert_int_equal(fixture_commit(&f, &first), ERR_OK);
        log_put_mutation(&f, &second, psn + 1, "k", &piece);
        assert_int_equal(fixture_commit(&f, &second), ERR_OK);
        (void)log_check(&f);
        assert_int_equal(fixture_get(&f, "k", size, 1), ERR_OK);
        assert_int_equal(log_delete(&f, "k"), ERR_OK);
        assert_int_equal(log_check(&f).bytes_stored, 0);
    }
    fixture_fini(&f);
}

/* ---- data by its id ---- */

static void data_is_found_by_its_id_while_anybody_refers_to_it(void **state)
{
    static const uint64_t sizes[] = {100, 30000, 5 << 20};
    struct fixture f;
    log_up(&f, MIB(256), MIB(16));
    assert_int_equal(log_make_bucket(&f), ERR_OK);
    for (unsigned i = 0; i < COUNT_OF(sizes); i++) {
        struct body *body = NULL;
        struct object *object;
        struct read_plan plan;
        uint64_t psn = log_range(&f).last + 1;
        assert_int_equal(fixture_body(&f, sizes[i], true, i, &body), ERR_OK);
        struct data_id id = body_data_id(body);
        assert_int_equal(log_append_body(&f, psn, body), ERR_OK);
        assert_int_equal(volume_data_lookup(f.volume, id, &object), ERR_OK);
        assert_int_equal(object_info(object)->size, sizes[i]);
        /* The row goes, but not under the reader. */
        assert_int_equal(log_save(&f, BYTES("s"), psn - 1), ERR_OK);
        log_step(&f);
        struct object *none;
        assert_int_equal(volume_data_lookup(f.volume, id, &none), ERR_NO_SUCH_OBJECT);
        read_plan_open(&plan, object, 0, sizes[i]);
        assert_int_equal(fixture_read_plan(&plan, i, 0), ERR_OK);
        read_plan_close(&plan);
        object_put(object);
        assert_int_equal(log_check(&f).bytes_stored, 0);
    }
    fixture_fini(&f);
}

/* ---- what is not taken ---- */

static void records_and_mutations_come_in_their_order(void **state)
{
    struct fixture f;
    struct body *body = NULL;
    log_up(&f, MIB(256), MIB(16));
    assert_int_equal(log_append_body(&f, 2, NULL), ERR_INVALID);
    assert_int_equal(log_make_bucket(&f), ERR_OK);
    assert_int_equal(log_append_body(&f, 1, NULL), ERR_INVALID);
    assert_int_equal(fixture_body(&f, 30000, true, 1, &body), ERR_OK);
    assert_int_equal(log_append_body(&f, 5, body), ERR_INVALID); /* and its body with it */
    assert_int_equal(log_append_body(&f, 2, NULL), ERR_OK);
    assert_int_equal(log_append_body(&f, 3, NULL), ERR_OK);
    static const uint64_t wrong[] = {1, 3, 4};
    for (unsigned i = 0; i < COUNT_OF(wrong); i++) {
        struct commit_wait wait = {.m = {.is_barrier = true}};
        log_mutation(&wait, wrong[i]);
        assert_int_equal(fixture_commit(&f, &wait), ERR_CANCELLED);
    }
    assert_int_equal(log_range(&f).applied, 1);
    struct commit_wait plain = {
        .m = {.kind = MUTATION_OBJECT_DELETE, .bucket = f.bucket, .key = BYTES("k")}};
    assert_int_equal(fixture_commit(&f, &plain), ERR_INVALID); /* the log comes first */
    (void)log_check(&f);
    fixture_fini(&f);
}

static void data_is_not_brought_twice(void **state)
{
    struct fixture f;
    struct write_wait wait = {0};
    struct body *body = NULL, *twin = NULL;
    log_up(&f, MIB(256), MIB(16));
    assert_int_equal(log_make_bucket(&f), ERR_OK);
    assert_int_equal(fixture_body(&f, 30000, true, 1, &body), ERR_OK);
    struct body_options options = {.loop = f.loop, .size = 30000, .id = body_data_id(body)};
    assert_int_equal(log_append_body(&f, 2, body), ERR_OK);
    assert_int_equal(body_open(f.volume, &options, &twin, &f.trail), ERR_OK);
    fixture_fill(f.slots[0], 1, 0, 30000);
    assert_int_equal(
        body_write(twin, &wait.write, f.slots[0], 30000, true, fixture_written, &f.trail), ERR_OK);
    fixture_finish_writes(&f, &wait, 1);
    assert_int_equal(log_append_body(&f, 3, twin), ERR_FILE_EXISTS);
    assert_int_equal(log_check(&f).log_rows, 2);
    fixture_fini(&f);
}

static void a_row_of_another_term_fails_the_volume(void **state)
{
    struct fixture f;
    struct commit_wait wait = {.m = {.is_barrier = true}};
    log_up(&f, MIB(256), MIB(16));
    assert_int_equal(log_append_body(&f, 1, NULL), ERR_OK);
    log_mutation(&wait, 1);
    wait.m.term = 8;
    assert_int_equal(fixture_commit(&f, &wait), ERR_INTERNAL);
    assert_int_equal(fixture_status(&f).state, VOLUME_FAILED);
    log_crash(&f);
    assert_int_equal(log_range(&f).applied, 0);
    assert_int_equal(log_range(&f).last, 1);
    fixture_fini(&f);
}

static void a_change_that_is_not_of_the_log_ends_it(void **state)
{
    struct fixture f;
    log_up(&f, MIB(256), MIB(16));
    assert_int_equal(log_make_bucket(&f), ERR_OK);
    assert_int_equal(log_put(&f, "k", 30000, 1), ERR_OK);
    assert_int_equal(fixture_put(&f, "own", 100, 2), ERR_OK);
    struct log_range range = log_range(&f);
    assert_int_equal(range.first, 4);
    assert_int_equal(range.last, 3);
    assert_int_equal(range.applied, 3);
    assert_int_equal(log_check(&f).log_rows, 0);
    assert_int_equal(fixture_put(&f, "own", 100, 3), ERR_OK);
    assert_int_equal(log_append_body(&f, 3, NULL), ERR_INVALID);
    assert_int_equal(log_put(&f, "k", 30000, 4), ERR_OK); /* and a new one begins */
    log_crash(&f);
    range = log_range(&f);
    assert_int_equal(range.first, 5);
    assert_int_equal(range.last, 5);
    assert_int_equal(fixture_get(&f, "own", 100, 3), ERR_OK);
    (void)log_check(&f);
    fixture_fini(&f);
}

static void a_gap_makes_the_volume_read_only(void **state)
{
    struct fixture f;
    struct kv_batch *batch;
    struct kv_key key;
    struct fsck_counts counts;
    log_up(&f, MIB(256), MIB(16));
    for (uint64_t psn = 1; psn <= 4; psn++)
        assert_int_equal(log_append_body(&f, psn, NULL), ERR_OK);
    fixture_close_volume(&f);
    key_log(&key, 2);
    assert_int_equal(kv_batch_open(&batch), ERR_OK);
    assert_int_equal(kv_batch_delete(batch, KV_LOG, key_bytes(&key)), ERR_OK);
    assert_int_equal(f.kv->ops->write(f.kv, batch, true, &f.trail), ERR_OK);
    kv_batch_close(batch);
    assert_int_equal(
        volume_fsck(&(struct fsck_options){.dir = FIXTURE_DIR, .disk = f.disk, .kv = f.kv}, &counts,
                    &f.trail),
        ERR_OK);
    assert_int_equal(counts.findings[FSCK_LOG], 1);
    assert_int_equal(fixture_open(&f), ERR_OK);
    assert_int_equal(fixture_status(&f).state, VOLUME_READ_ONLY);
    assert_non_null(strstr(fixture_status(&f).reason, "missing"));
    fixture_fini(&f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_record_is_appended_applied_and_read),
        cmocka_unit_test(what_a_refused_record_brought_is_let_go_of),
        cmocka_unit_test(pieces_are_taken_only_from_a_source_that_is_still_there),
        cmocka_unit_test(errors_are_outcomes_or_this_nodes_own),
        cmocka_unit_test(appends_share_a_synced_write_and_what_is_applied_goes_before_it),
        cmocka_unit_test(a_crash_forgets_what_is_applied_and_not_what_is_appended),
        cmocka_unit_test(closing_syncs_what_is_applied),
        cmocka_unit_test(space_that_is_needed_is_not_held_back),
        cmocka_unit_test(freed_space_is_used_again_only_after_a_sync),
        cmocka_unit_test(rows_that_are_cut_let_go_of_their_data),
        cmocka_unit_test(a_log_is_trimmed_in_steps_up_to_what_is_applied),
        cmocka_unit_test(absent_data_counts_as_if_it_were_here),
        cmocka_unit_test(absent_data_that_is_here_gains_a_reference),
        cmocka_unit_test(data_is_found_by_its_id_while_anybody_refers_to_it),
        cmocka_unit_test(records_and_mutations_come_in_their_order),
        cmocka_unit_test(data_is_not_brought_twice),
        cmocka_unit_test(a_row_of_another_term_fails_the_volume),
        cmocka_unit_test(a_change_that_is_not_of_the_log_ends_it),
        cmocka_unit_test(a_gap_makes_the_volume_read_only),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
