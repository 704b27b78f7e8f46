#include "tests/unit/log_fixture.h"

/* A log on RocksDB and a real disk, and in a volume with its own threads. */

/* ---- on RocksDB: an existing volume gets a log ---- */

static void a_volume_gets_its_log_when_it_is_first_wanted(void **state)
{
    char dir[] = "/tmp/sluice-test-log-XXXXXX", path[64], command[80];
    struct err_trail trail = {0};
    struct volume *volume = NULL;
    struct superblock superblock;
    struct disk_file *file;
    struct kv *kv = NULL;
    assert_non_null(mkdtemp(dir));
    snprintf(path, sizeof path, "%s/v", dir);
    assert_int_equal(volume_format(&(struct volume_format_options){.dir = path,
                                                                   .segment_bytes = MIB(1),
                                                                   .direct = VOLUME_DIRECT_ANY},
                                   &trail),
                     ERR_OK);
    static const struct {
        bool asks, read_only, has;
    } opens[] = {
        {false, false, false}, {false, true, false}, {true, true, false}, {true, false, true},
        {false, false, true},  {false, true, true},  {true, false, true},
    };
    for (unsigned i = 0; i < COUNT_OF(opens); i++) {
        struct volume_options options = {.dir = path,
                                         .direct = VOLUME_DIRECT_ANY,
                                         .threads = VOLUME_NO_THREADS,
                                         .read_only = opens[i].read_only,
                                         .has_log = opens[i].asks};
        enum err e = volume_open(&options, &volume, &trail);
        if (e)
            fail_msg("%u: %s", i, err_trail_text(&trail, e));
        struct volume_status status;
        volume_status(volume, &status);
        assert_int_equal(status.has_log, opens[i].has);
        assert_int_equal(status.log_first, opens[i].has);
        volume_close(volume);

        char name[96];
        snprintf(name, sizeof name, "%s/superblock", path);
        assert_int_equal(disk_real()->ops->open(disk_real(), name, DISK_READ, &file), ERR_OK);
        assert_int_equal(superblock_read(file, &superblock, &trail), ERR_OK);
        disk_real()->ops->close(file);
        assert_int_equal(superblock.features_read_only, opens[i].has ? FEATURE_READ_ONLY_LOG : 0);
        /* What an older build would find when it opens the index. */
        snprintf(name, sizeof name, "%s/meta", path);
        e = kv_rocks_open(&(struct kv_rocks_options){.path = name}, &kv, &trail);
        assert_int_equal(e == ERR_OK, !opens[i].has);
        if (e == ERR_OK)
            kv->ops->close(kv);
        struct fsck_counts counts;
        assert_int_equal(volume_fsck(&(struct fsck_options){.dir = path, .allow_buffered = true},
                                     &counts, &trail),
                         ERR_OK);
        assert_int_equal(counts.findings_total, 0);
    }
    snprintf(command, sizeof command, "rm -rf %s", dir);
    assert_int_equal(system(command), 0);
}

/* ---- with its own threads ---- */

#define LIVE_ROWS 300u

struct reader {
    struct volume *volume;
    pthread_t thread;
    atomic_bool ends;
    unsigned read;
};

/* Another thread looks at what is there while it changes. */
static void *read_rows(void *context)
{
    struct reader *reader = context;
    while (!atomic_load(&reader->ends)) {
        struct log_range range;
        struct log_row row;
        volume_log_range(reader->volume, &range);
        CHECK(range.applied <= range.last && range.first <= range.last + 1);
        if (range.last > 0 && volume_log_read(reader->volume, range.last, &row) == ERR_OK) {
            CHECK(bytes_equal(row.record, BYTES("a record")));
            log_row_fini(&row);
            reader->read++;
        }
    }
    return NULL;
}

static void wait_for(struct fixture *f, const bool *is_done)
{
    for (unsigned turns = 0; !*is_done; turns++) {
        assert_true(turns < 100000);
        loop_run_once(f->loop, NS_PER_MS);
    }
}

static void wait_until_synced(struct fixture *f)
{
    for (unsigned turns = 0; !log_is_synced(f); turns++) {
        assert_true(turns < 60000);
        loop_run_once(f->loop, NS_PER_MS);
    }
}

static void threads_keep_a_log(void **state)
{
    struct fixture f;
    fixture_init(&f, MIB(256));
    assert_int_equal(fixture_format(&f, MIB(16)), ERR_OK);
    struct volume_options options = {
        .dir = FIXTURE_DIR, .disk = f.disk, .kv = f.kv, .has_log = true};
    assert_int_equal(volume_open(&options, &f.volume, &f.trail), ERR_OK);
    struct reader reader = {.volume = f.volume};
    assert_int_equal(pthread_create(&reader.thread, NULL, read_rows, &reader), 0);
    for (uint64_t psn = 1; psn <= LIVE_ROWS; psn++) {
        struct append_wait append = {.a = {.psn = psn, .term = 7, .record = BYTES("a record")}};
        struct commit_wait apply = {.m = {.kind = MUTATION_BUCKET_CREATE,
                                          .bucket_name = BYTES("photos"),
                                          .owner = BYTES("me"),
                                          .region = BYTES("here")}};
        log_submit_append(&f, &append);
        wait_for(&f, &append.is_done);
        assert_int_equal(append.a.err, ERR_OK);
        log_mutation(&apply, psn);
        fixture_submit(&f, &apply);
        if (psn % 50 == 0)
            volume_log_trim(f.volume, psn - 20);
        wait_for(&f, &apply.is_done);
        assert_int_equal(apply.m.err, psn == 1 ? ERR_OK : ERR_BUCKET_OWNED);
    }
    wait_until_synced(&f); /* without anybody who asks for it */
    atomic_store(&reader.ends, true);
    pthread_join(reader.thread, NULL);
    assert_true(reader.read > 0);
    struct log_range range = log_range(&f);
    assert_int_equal(range.applied, LIVE_ROWS);
    assert_int_equal(range.first, LIVE_ROWS - 20);
    fixture_close_volume(&f);
    kv_sim_crash(f.kv);
    assert_int_equal(fixture_open(&f), ERR_OK);
    assert_int_equal(log_range(&f).applied, LIVE_ROWS);
    (void)log_check(&f);
    fixture_fini(&f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_volume_gets_its_log_when_it_is_first_wanted),
        cmocka_unit_test(threads_keep_a_log),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
