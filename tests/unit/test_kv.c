/* What every index must do: one table of tests over RocksDB, the simulated index and the recording
 * one; then what only one of them does. */
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <unistd.h>

#include <cmocka.h>
#include <dirent.h>
#include <fcntl.h>
#include <sys/stat.h>

#include "base/check.h"
#include "base/limits.h"
#include "storage/kv.h"

enum backend { ROCKS, SIM, RECORD };

struct fixture {
    enum backend backend;
    char dir[64], path[80];
    struct kv *kv;
    struct kv_batch *batch;
};

static enum err rocks_open(struct fixture *f, bool create, bool read_only, struct kv **ret_kv,
                           struct err_trail *trail)
{
    return kv_rocks_open(
        &(struct kv_rocks_options){
            .path = f->path,
            .cache_bytes = MIB(4),
            .memtable_bytes = MIB(1),
            .create = create,
            .read_only = read_only,
            .has_log = true,
        },
        ret_kv, trail);
}

static void make_dir(struct fixture *f)
{
    snprintf(f->dir, sizeof f->dir, "/tmp/sluice-test-kv-XXXXXX");
    assert_non_null(mkdtemp(f->dir));
    snprintf(f->path, sizeof f->path, "%s/meta", f->dir);
}

static struct fixture *fixture_open(enum backend backend)
{
    struct fixture *f = calloc(1, sizeof *f);
    struct kv *inner;
    struct err_trail trail = {0};
    f->backend = backend;
    switch (backend) {
    case ROCKS:
        make_dir(f);
        if (rocks_open(f, true, false, &f->kv, &trail))
            fail_msg("%s", trail.text);
        break;
    case SIM:
        assert_int_equal(kv_sim_open(&f->kv), ERR_OK);
        break;
    case RECORD:
        assert_int_equal(kv_sim_open(&inner), ERR_OK);
        assert_int_equal(kv_record_open(inner, &f->kv), ERR_OK);
        break;
    }
    assert_int_equal(kv_batch_open(&f->batch), ERR_OK);
    return f;
}

static int setup_rocks(void **state)
{
    *state = fixture_open(ROCKS);
    return 0;
}
static int setup_sim(void **state)
{
    *state = fixture_open(SIM);
    return 0;
}
static int setup_record(void **state)
{
    *state = fixture_open(RECORD);
    return 0;
}

static int teardown(void **state)
{
    struct fixture *f = *state;
    if (f->kv != NULL)
        f->kv->ops->close(f->kv);
    kv_batch_close(f->batch);
    if (f->dir[0] != '\0') {
        char command[128];
        snprintf(command, sizeof command, "rm -rf '%s'", f->dir);
        assert_int_equal(system(command), 0);
    }
    free(f);
    return 0;
}

/* ---- helpers ---- */

static void put(struct fixture *f, enum kv_family family, const char *key, const char *value)
{
    assert_int_equal(kv_batch_put(f->batch, family, bytes_of_string(key), bytes_of_string(value)),
                     ERR_OK);
}

static void delete (struct fixture *f, enum kv_family family, const char *key)
{
    assert_int_equal(kv_batch_delete(f->batch, family, bytes_of_string(key)), ERR_OK);
}

static void write_synced(struct fixture *f)
{
    struct err_trail trail = {0};
    assert_int_equal(f->kv->ops->write(f->kv, f->batch, true, &trail), ERR_OK);
    kv_batch_clear(f->batch);
}

static void expect(struct fixture *f, enum kv_family family, const char *key, const char *value)
{
    struct kv_value got;
    enum err e = f->kv->ops->get(f->kv, family, bytes_of_string(key), KV_ANY, &got);
    assert_int_equal(e, value == NULL ? ERR_NO_SUCH_OBJECT : ERR_OK);
    if (value == NULL)
        return;
    bool is_equal = bytes_equal(got.bytes, bytes_of_string(value));
    f->kv->ops->value_put(&got);
    assert_true(is_equal);
}

/* Keys the iterator yields from a seek on, joined by commas. */
static const char *walk(struct fixture *f, struct kv_iter *iter, const char *seek)
{
    static char text[1024];
    struct buf buf = BUF_ON(text);
    const struct kv_ops *ops = f->kv->ops;
    for (ops->iter_seek(iter, bytes_of_string(seek)); ops->iter_valid(iter); ops->iter_next(iter)) {
        buf_put(&buf, ops->iter_key(iter));
        buf_put_char(&buf, '=');
        buf_put(&buf, ops->iter_value(iter));
        buf_put_char(&buf, ',');
    }
    assert_int_equal(ops->iter_err(iter), ERR_OK);
    buf_put_char(&buf, '\0');
    return text;
}

static struct kv_iter *iter_open(struct fixture *f, enum kv_family family, const char *lower,
                                 const char *upper)
{
    struct kv_iter *iter;
    struct kv_iter_options options = {
        .family = family, .lower = bytes_of_string(lower), .upper = bytes_of_string(upper)};
    assert_int_equal(f->kv->ops->iter_open(f->kv, &options, &iter), ERR_OK);
    return iter;
}

/* ---- the table ---- */

static void what_was_put_is_found_and_what_was_deleted_is_not(void **state)
{
    struct fixture *f = *state;
    expect(f, KV_SYS, "a", NULL);
    put(f, KV_SYS, "a", "1");
    put(f, KV_SYS, "empty", "");
    put(f, KV_OBJECT, "a", "object");
    expect(f, KV_SYS, "a", NULL); /* not written yet */
    write_synced(f);
    expect(f, KV_SYS, "a", "1");
    expect(f, KV_SYS, "empty", "");
    expect(f, KV_OBJECT, "a", "object");
    expect(f, KV_DATA, "a", NULL);
    delete (f, KV_SYS, "a");
    delete (f, KV_SYS, "never there");
    write_synced(f);
    expect(f, KV_SYS, "a", NULL);
    expect(f, KV_OBJECT, "a", "object");
}

static void operations_of_a_batch_apply_in_their_order(void **state)
{
    struct fixture *f = *state;
    put(f, KV_SYS, "a", "1");
    delete (f, KV_SYS, "a");
    put(f, KV_SYS, "b", "1");
    delete (f, KV_SYS, "b");
    put(f, KV_SYS, "b", "2");
    write_synced(f);
    expect(f, KV_SYS, "a", NULL);
    expect(f, KV_SYS, "b", "2");
}

static void a_value_stays_as_it_was_read(void **state)
{
    struct fixture *f = *state;
    put(f, KV_DATA, "k", "before");
    write_synced(f);
    struct kv_value value;
    assert_int_equal(f->kv->ops->get(f->kv, KV_DATA, BYTES("k"), KV_ANY, &value), ERR_OK);
    put(f, KV_DATA, "k", "after!");
    write_synced(f);
    bool is_before = bytes_equal(value.bytes, BYTES("before"));
    f->kv->ops->value_put(&value);
    assert_true(is_before);
    expect(f, KV_DATA, "k", "after!");
}

static void keys_are_walked_in_bytewise_order_within_bounds(void **state)
{
    struct fixture *f = *state;
    static const char *keys[] = {"b", "a", "ab", "\xff", "B", "c", "\x01", "aa", "d"};
    for (size_t i = 0; i < COUNT_OF(keys); i++)
        put(f, KV_OBJECT, keys[i], "v");
    put(f, KV_MANIFEST, "ac", "other family");
    write_synced(f);
    static const struct {
        const char *lower, *upper, *seek, *expected;
    } table[] = {
        {"", "", "", "\x01=v,B=v,a=v,aa=v,ab=v,b=v,c=v,d=v,\xff=v,"},
        {"", "", "ab", "ab=v,b=v,c=v,d=v,\xff=v,"},
        {"", "", "abc", "b=v,c=v,d=v,\xff=v,"},
        {"a", "c", "a", "a=v,aa=v,ab=v,b=v,"},
        {"a", "c", "", "a=v,aa=v,ab=v,b=v,"}, /* a seek below the lower bound begins there */
        {"a", "c", "x", ""},
        {"e", "f", "e", ""},
        {"a", "ab", "aa", "aa=v,"},
    };
    for (size_t i = 0; i < COUNT_OF(table); i++) {
        struct kv_iter *iter = iter_open(f, KV_OBJECT, table[i].lower, table[i].upper);
        const char *got = walk(f, iter, table[i].seek);
        f->kv->ops->iter_close(iter);
        assert_string_equal(got, table[i].expected);
    }
}

static void a_walk_sees_the_index_as_it_was_when_opened(void **state)
{
    struct fixture *f = *state;
    put(f, KV_PART, "1", "a");
    put(f, KV_PART, "2", "b");
    write_synced(f);
    struct kv_iter *iter = iter_open(f, KV_PART, "", "");
    put(f, KV_PART, "1", "changed");
    put(f, KV_PART, "15", "new");
    delete (f, KV_PART, "2");
    write_synced(f);
    const char *got = walk(f, iter, "");
    f->kv->ops->iter_close(iter);
    assert_string_equal(got, "1=a,2=b,");
    iter = iter_open(f, KV_PART, "", "");
    got = walk(f, iter, "");
    f->kv->ops->iter_close(iter);
    assert_string_equal(got, "1=changed,15=new,");
}

static const char *walk_at(struct fixture *f, enum kv_family family, struct kv_snapshot *snapshot)
{
    struct kv_iter *iter;
    struct kv_iter_options options = {.family = family, .snapshot = snapshot};
    assert_int_equal(f->kv->ops->iter_open(f->kv, &options, &iter), ERR_OK);
    const char *got = walk(f, iter, "");
    f->kv->ops->iter_close(iter);
    return got;
}

static void a_snapshot_shows_all_families_of_one_moment(void **state)
{
    struct fixture *f = *state;
    struct kv_snapshot *snapshot;
    put(f, KV_PART, "1", "a");
    put(f, KV_OBJECT, "x", "a");
    write_synced(f);
    assert_int_equal(f->kv->ops->snapshot_open(f->kv, &snapshot), ERR_OK);
    put(f, KV_PART, "1", "b");
    delete (f, KV_OBJECT, "x");
    put(f, KV_OBJECT, "y", "b");
    write_synced(f);
    assert_string_equal(walk_at(f, KV_PART, snapshot), "1=a,");
    assert_string_equal(walk_at(f, KV_OBJECT, snapshot), "x=a,");
    assert_string_equal(walk_at(f, KV_PART, NULL), "1=b,");
    assert_string_equal(walk_at(f, KV_OBJECT, NULL), "y=b,");
    f->kv->ops->snapshot_close(f->kv, snapshot);
    f->kv->ops->snapshot_close(f->kv, NULL);
}

static void a_large_value_comes_back_whole(void **state)
{
    struct fixture *f = *state;
    static char value[98304 + 1];
    for (size_t i = 0; i + 1 < sizeof value; i++)
        value[i] = (char)('a' + i % 23);
    put(f, KV_DATA, "big", value);
    /* Above the size from which RocksDB keeps values apart. */
    put(f, KV_INLINE, "blob", value + sizeof value - 8193);
    write_synced(f);
    expect(f, KV_DATA, "big", value);
    expect(f, KV_INLINE, "blob", value + sizeof value - 8193);
}

static void statistics_can_be_asked(void **state)
{
    struct fixture *f = *state;
    struct kv_stats stats;
    put(f, KV_SYS, "a", "1");
    write_synced(f);
    f->kv->ops->stats(f->kv, &stats);
    assert_true(stats.memory_bytes > 0);
    assert_false(stats.write_stopped);
}

/* ---- RocksDB alone ---- */

static void reopen(struct fixture *f, bool read_only)
{
    struct err_trail trail = {0};
    f->kv->ops->close(f->kv);
    f->kv = NULL;
    if (rocks_open(f, false, read_only, &f->kv, &trail))
        fail_msg("%s", trail.text);
}

static void rocks_keeps_what_was_synced_over_a_reopen(void **state)
{
    struct fixture *f = *state;
    for (unsigned family = 0; family < KV_FAMILY_COUNT; family++)
        put(f, (enum kv_family)family, "k", kv_family_names[family]);
    write_synced(f);
    reopen(f, false);
    for (unsigned family = 0; family < KV_FAMILY_COUNT; family++)
        expect(f, (enum kv_family)family, "k", kv_family_names[family]);
    reopen(f, true);
    for (unsigned family = 0; family < KV_FAMILY_COUNT; family++)
        expect(f, (enum kv_family)family, "k", kv_family_names[family]);
    struct err_trail trail = {0};
    put(f, KV_SYS, "x", "y");
    assert_int_not_equal(f->kv->ops->write(f->kv, f->batch, true, &trail), ERR_OK);
    assert_true(trail.text[0] != '\0');
}

static void rocks_says_why_it_does_not_open(void **state)
{
    struct fixture *f = *state;
    struct kv *second;
    struct err_trail trail = {0};
    assert_int_equal(rocks_open(f, false, false, &second, &trail), ERR_IN_USE);
    assert_non_null(strstr(trail.text, "open the index"));
    snprintf(f->path, sizeof f->path, "%s/absent", f->dir);
    err_trail_reset(&trail);
    assert_int_equal(rocks_open(f, false, false, &second, &trail), ERR_NO_SUCH_FILE);
    assert_int_equal(rocks_open(f, false, true, &second, &trail), ERR_NO_SUCH_FILE);
}

/* Many flushed values, so that they are in tables and not in memtables. */
static void fill(struct fixture *f, enum kv_family family, unsigned count, unsigned value_size)
{
    char value[8193], key[16];
    for (unsigned i = 0; i < count; i++) {
        memset(value, 'a' + (int)(i % 26), value_size);
        value[value_size] = '\0';
        snprintf(key, sizeof key, "%08u", i);
        put(f, family, key, value);
        if (i % 64 == 63)
            write_synced(f);
    }
    write_synced(f);
}

static void rocks_does_not_block_when_told_so(void **state)
{
    struct fixture *f = *state;
    fill(f, KV_OBJECT, 20000, 200);
    fill(f, KV_INLINE, 500, 4000);
    reopen(f, false);
    unsigned blocked = 0;
    for (unsigned i = 0; i < 20000; i += 1000) {
        char key[16];
        struct kv_value value;
        snprintf(key, sizeof key, "%08u", i);
        enum err e =
            f->kv->ops->get(f->kv, KV_OBJECT, bytes_of_string(key), KV_MEMORY_ONLY, &value);
        blocked += e == ERR_WOULD_BLOCK;
        if (e == ERR_OK)
            f->kv->ops->value_put(&value);
        else
            assert_int_equal(e, ERR_WOULD_BLOCK);
    }
    assert_true(blocked > 0);
    static const struct {
        enum kv_family family;
        const char *key;
    } table[] = {{KV_OBJECT, "00000000"}, {KV_INLINE, "00000000"}};
    for (size_t i = 0; i < COUNT_OF(table); i++) { /* once read, it is in memory */
        struct kv_value value;
        assert_int_equal(
            f->kv->ops->get(f->kv, table[i].family, bytes_of_string(table[i].key), KV_ANY, &value),
            ERR_OK);
        f->kv->ops->value_put(&value);
        assert_int_equal(f->kv->ops->get(f->kv, table[i].family, bytes_of_string(table[i].key),
                                         KV_MEMORY_ONLY, &value),
                         ERR_OK);
        f->kv->ops->value_put(&value);
    }
}

/* RocksDB removes files while we look: what has gone takes no space. */
static uint64_t dir_bytes(const char *dir)
{
    DIR *entries = opendir(dir);
    assert_non_null(entries);
    uint64_t total = 0;
    for (struct dirent *entry; (entry = readdir(entries)) != NULL;) {
        struct stat stat;
        if (fstatat(dirfd(entries), entry->d_name, &stat, AT_SYMLINK_NOFOLLOW) == 0)
            total += (uint64_t)stat.st_blocks * 512;
    }
    closedir(entries);
    return total;
}

/* The same 2 MiB of inline data written anew thirty times: logs, tables and blobs of what is gone
 * must go too. */
static void rocks_stays_small_on_a_small_disk(void **state)
{
    struct fixture *f = *state;
    uint64_t most = 0;
    for (unsigned round = 0; round < 30; round++) {
        fill(f, KV_INLINE, 512, 4096);
        fill(f, KV_OBJECT, 2000, 200);
        uint64_t now = dir_bytes(f->dir);
        most = now > most ? now : most;
    }
    print_message("    2.4 MiB live, 72 MiB written: %.1f MiB at most on disk\n",
                  (double)most / (double)MIB(1));
    assert_true(most < MIB(40));
}

/* A file size limit stands in for a failing disk. After the error nothing is written, what was
 * there is read, and closing is safe. */
static void rocks_fails_for_good_after_a_failed_write(void **state)
{
    struct fixture *f = *state;
    struct err_trail trail = {0};
    static char value[262144 + 1];
    memset(value, 'v', sizeof value - 1);
    put(f, KV_SYS, "before", "1");
    write_synced(f);

    struct rlimit old, small;
    assert_int_equal(getrlimit(RLIMIT_FSIZE, &old), 0);
    small = old;
    small.rlim_cur = 65536;
    signal(SIGXFSZ, SIG_IGN);
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &small), 0);
    put(f, KV_SYS, "large", value);
    enum err first = f->kv->ops->write(f->kv, f->batch, true, &trail);
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &old), 0);
    assert_int_equal(err_family(first), FAM_IO);
    assert_non_null(strstr(trail.text, "write to the index"));

    kv_batch_clear(f->batch);
    put(f, KV_SYS, "after", "1");
    assert_int_equal(f->kv->ops->write(f->kv, f->batch, true, &trail), ERR_VOLUME_FAILED);
    expect(f, KV_SYS, "before", "1");
    expect(f, KV_SYS, "after", NULL);
    reopen(f, false);
    expect(f, KV_SYS, "before", "1");
    expect(f, KV_SYS, "after", NULL);
    write_synced(f);
    expect(f, KV_SYS, "after", "1");
}

/* ---- the simulated one alone ---- */

static void sim_crash_forgets_what_was_not_synced(void **state)
{
    struct fixture *f = *state;
    struct err_trail trail = {0};
    put(f, KV_SYS, "a", "1");
    put(f, KV_SYS, "b", "1");
    write_synced(f);
    put(f, KV_SYS, "a", "2");
    put(f, KV_SYS, "a", "3");
    put(f, KV_SYS, "c", "3");
    delete (f, KV_SYS, "b");
    assert_int_equal(f->kv->ops->write(f->kv, f->batch, false, &trail), ERR_OK);
    kv_batch_clear(f->batch);
    expect(f, KV_SYS, "a", "3");
    expect(f, KV_SYS, "b", NULL);
    kv_sim_crash(f->kv);
    expect(f, KV_SYS, "a", "1");
    expect(f, KV_SYS, "b", "1");
    expect(f, KV_SYS, "c", NULL);

    put(f, KV_SYS, "a", "4");
    assert_int_equal(f->kv->ops->write(f->kv, f->batch, false, &trail), ERR_OK);
    kv_batch_clear(f->batch);
    put(f, KV_SYS, "d", "5");
    write_synced(f); /* a log is synced with all before it */
    kv_sim_crash(f->kv);
    expect(f, KV_SYS, "a", "4");
    expect(f, KV_SYS, "d", "5");
}

static void sim_fails_the_nth_call_and_changes_nothing(void **state)
{
    struct fixture *f = *state;
    struct err_trail trail = {0};
    struct kv_value value;
    struct kv_iter *iter;
    struct kv_iter_options options = {.family = KV_SYS};
    put(f, KV_SYS, "a", "1");
    kv_sim_fail_nth(f->kv, 2, ERR_DISK_FULL);
    assert_int_equal(f->kv->ops->get(f->kv, KV_SYS, BYTES("a"), KV_ANY, &value),
                     ERR_NO_SUCH_OBJECT);
    assert_false(kv_sim_fault_fired(f->kv));
    assert_int_equal(f->kv->ops->write(f->kv, f->batch, true, &trail), ERR_DISK_FULL);
    assert_true(kv_sim_fault_fired(f->kv));
    expect(f, KV_SYS, "a", NULL);
    kv_sim_fail_nth(f->kv, 1, ERR_IO);
    assert_int_equal(f->kv->ops->iter_open(f->kv, &options, &iter), ERR_IO);
    write_synced(f);
    expect(f, KV_SYS, "a", "1");
}

static void sim_kept_outlives_its_close(void **state)
{
    struct fixture *f = *state;
    put(f, KV_SYS, "a", "1");
    write_synced(f);
    kv_sim_set_kept(f->kv, true);
    f->kv->ops->close(f->kv);
    expect(f, KV_SYS, "a", "1");
    kv_sim_set_kept(f->kv, false);
}

static void record_keeps_each_batch(void **state)
{
    struct fixture *f = *state;
    put(f, KV_SYS, "a", "1");
    delete (f, KV_DATA, "b");
    write_synced(f);
    put(f, KV_SYS, "a", "2");
    struct err_trail trail = {0};
    assert_int_equal(f->kv->ops->write(f->kv, f->batch, false, &trail), ERR_OK);
    assert_int_equal(kv_record_batches(f->kv), 2);
    bool synced;
    struct bytes value;
    const struct kv_batch *first = kv_record_batch(f->kv, 0, &synced);
    assert_true(synced);
    assert_int_equal(kv_batch_count(first), 2);
    assert_int_equal(kv_batch_find(first, KV_SYS, BYTES("a"), &value), 1);
    assert_true(bytes_equal(value, BYTES("1")));
    assert_int_equal(kv_batch_find(first, KV_DATA, BYTES("b"), &value), 0);
    (void)kv_record_batch(f->kv, 1, &synced);
    assert_false(synced);
}

/* clang-format off */
#define OVER_ALL(test)                                      \
    {#test " (rocks)", test, setup_rocks, teardown, NULL},  \
    {#test " (sim)", test, setup_sim, teardown, NULL},      \
    {#test " (record)", test, setup_record, teardown, NULL}
/* clang-format on */

int main(void)
{
    const struct CMUnitTest tests[] = {
        OVER_ALL(what_was_put_is_found_and_what_was_deleted_is_not),
        OVER_ALL(operations_of_a_batch_apply_in_their_order),
        OVER_ALL(a_value_stays_as_it_was_read),
        OVER_ALL(keys_are_walked_in_bytewise_order_within_bounds),
        OVER_ALL(a_walk_sees_the_index_as_it_was_when_opened),
        OVER_ALL(a_snapshot_shows_all_families_of_one_moment),
        OVER_ALL(a_large_value_comes_back_whole),
        OVER_ALL(statistics_can_be_asked),
        cmocka_unit_test_setup_teardown(rocks_keeps_what_was_synced_over_a_reopen, setup_rocks,
                                        teardown),
        cmocka_unit_test_setup_teardown(rocks_says_why_it_does_not_open, setup_rocks, teardown),
        cmocka_unit_test_setup_teardown(rocks_does_not_block_when_told_so, setup_rocks, teardown),
        cmocka_unit_test_setup_teardown(rocks_stays_small_on_a_small_disk, setup_rocks, teardown),
        cmocka_unit_test_setup_teardown(rocks_fails_for_good_after_a_failed_write, setup_rocks,
                                        teardown),
        cmocka_unit_test_setup_teardown(sim_crash_forgets_what_was_not_synced, setup_sim, teardown),
        cmocka_unit_test_setup_teardown(sim_fails_the_nth_call_and_changes_nothing, setup_sim,
                                        teardown),
        cmocka_unit_test_setup_teardown(sim_kept_outlives_its_close, setup_sim, teardown),
        cmocka_unit_test_setup_teardown(record_keeps_each_batch, setup_record, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
