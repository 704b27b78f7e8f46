/* Listings against the naive way: sort all keys, roll them up, skip, cut. Then whole walks page by
 * page, and a figure of what a key costs. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include <cmocka.h>

#include "base/check.h"
#include "base/rand.h"
#include "storage/keys.h"
#include "storage/records.h"
#include "storage/volume_priv.h"

#define NAMES_MAX 400u
#define BUCKET    7u

struct name {
    char data[24];
    size_t size;
};

struct fixture {
    struct kv_batch *batch;
    struct volume *volume; /* no more of one than listings need */
    struct name names[NAMES_MAX];
    size_t count;
};

static int setup(void **state)
{
    struct fixture *f = calloc(1, sizeof *f);
    f->volume = calloc(1, sizeof *f->volume);
    assert_int_equal(kv_sim_open(&f->volume->kv), ERR_OK);
    assert_int_equal(kv_batch_open(&f->batch), ERR_OK);
    *state = f;
    return 0;
}

static int teardown(void **state)
{
    struct fixture *f = *state;
    f->volume->kv->ops->close(f->volume->kv);
    kv_batch_close(f->batch);
    free(f->volume);
    free(f);
    return 0;
}

static void put_name(struct fixture *f, uint32_t bucket, struct bytes name, uint64_t size)
{
    uint8_t record[OBJECT_RECORD_BYTES_MAX];
    struct object_record object = {.info = {.size = size, .psn = 1}, .piece_count = 1};
    object.piece.piece = (struct piece){.data = {1, 1}, .size = size};
    struct kv_key key;
    key_object(&key, (struct bucket_id){bucket}, name);
    struct bytes value = bytes_of(record, record_object_put(record, &object));
    assert_int_equal(kv_batch_put(f->batch, KV_OBJECT, key_bytes(&key), value), ERR_OK);
}

static void commit(struct fixture *f)
{
    struct err_trail trail = {0};
    assert_int_equal(f->volume->kv->ops->write(f->volume->kv, f->batch, false, &trail), ERR_OK);
    kv_batch_clear(f->batch);
}

static struct bytes name_bytes(const struct name *name)
{
    return bytes_of(name->data, name->size);
}

static int compare_names(const void *a, const void *b)
{
    return bytes_compare(name_bytes(a), name_bytes(b));
}

/* Strings over few letters, the delimiter and the extremes among them. */
static struct name random_name(struct rand *rand, size_t size_max)
{
    static const char alphabet[] = {'a', 'b', '/', '/', 0, (char)0xff};
    struct name name = {.size = rand_below(rand, size_max + 1)};
    for (size_t i = 0; i < name.size; i++)
        name.data[i] = alphabet[rand_below(rand, sizeof alphabet)];
    return name;
}

static void make_names(struct fixture *f, struct rand *rand)
{
    size_t wanted = rand_below(rand, NAMES_MAX) + 1;
    for (size_t i = 0; i < f->count; i++) {
        struct kv_key key;
        key_object(&key, (struct bucket_id){BUCKET}, name_bytes(&f->names[i]));
        assert_int_equal(kv_batch_delete(f->batch, KV_OBJECT, key_bytes(&key)), ERR_OK);
    }
    f->count = 0;
    while (f->count < wanted) {
        struct name name = random_name(rand, 10);
        if (name.size > 0)
            f->names[f->count++] = name;
    }
    qsort(f->names, f->count, sizeof *f->names, compare_names);
    size_t kept = 1;
    for (size_t i = 1; i < f->count; i++)
        if (compare_names(&f->names[i], &f->names[kept - 1]) != 0)
            f->names[kept++] = f->names[i];
    f->count = kept;
    for (size_t i = 0; i < f->count; i++)
        put_name(f, BUCKET, name_bytes(&f->names[i]), 1000 + i);
    commit(f);
}

/* ---- the naive way ---- */

struct expected {
    struct bytes key;
    bool is_prefix;
    uint64_t size;
};

static struct bytes roll_up(struct bytes name, struct bytes prefix, struct bytes delimiter,
                            bool *ret_is_prefix)
{
    *ret_is_prefix = false;
    for (size_t i = prefix.size; delimiter.size > 0 && i + delimiter.size <= name.size; i++)
        if (memcmp(name.data + i, delimiter.data, delimiter.size) == 0) {
            *ret_is_prefix = true;
            return bytes_of(name.data, i + delimiter.size);
        }
    return name;
}

static size_t list_naively(const struct fixture *f, const struct list_query *query,
                           struct expected *out, bool *ret_truncated)
{
    size_t count = 0;
    *ret_truncated = false;
    bool after_is_prefix = false;
    if (bytes_start_with(query->after, query->prefix)) {
        struct bytes rolled =
            roll_up(query->after, query->prefix, query->delimiter, &after_is_prefix);
        after_is_prefix = after_is_prefix && rolled.size == query->after.size;
    }
    for (size_t i = 0; i < f->count; i++) {
        struct bytes name = name_bytes(&f->names[i]);
        if (!bytes_start_with(name, query->prefix) || bytes_compare(name, query->after) <= 0)
            continue;
        if (after_is_prefix && bytes_start_with(name, query->after))
            continue;
        bool is_prefix;
        struct bytes key = roll_up(name, query->prefix, query->delimiter, &is_prefix);
        if (is_prefix && count > 0 && out[count - 1].is_prefix &&
            bytes_equal(out[count - 1].key, key))
            continue;
        if (count == query->max) {
            *ret_truncated = query->max > 0;
            return count;
        }
        out[count++] = (struct expected){.key = key, .is_prefix = is_prefix, .size = 1000 + i};
    }
    return count;
}

struct check {
    const struct expected *expected;
    size_t count, at;
    bool has_failed;
};

static enum err check_entry(void *context, const struct list_entry *entry)
{
    struct check *check = context;
    if (check->at == check->count) {
        check->has_failed = true;
        return ERR_OK;
    }
    const struct expected *expected = &check->expected[check->at++];
    if (!bytes_equal(entry->key, expected->key) || entry->is_prefix != expected->is_prefix ||
        (!entry->is_prefix && entry->info.size != expected->size))
        check->has_failed = true;
    return ERR_OK;
}

static void check_query(struct fixture *f, const struct list_query *query, uint64_t seed)
{
    struct expected expected[NAMES_MAX];
    bool truncated;
    size_t count = list_naively(f, query, expected, &truncated);
    struct check check = {.expected = expected, .count = count};
    struct list_result result;
    assert_int_equal(volume_list(f->volume, query, check_entry, &check, &result), ERR_OK);
    if (check.has_failed || check.at != count || result.count != count ||
        result.truncated != truncated)
        fail_msg("seed %llu: prefix %zu, delimiter %zu, after %zu bytes, max %u: %u entries of %zu",
                 (unsigned long long)seed, query->prefix.size, query->delimiter.size,
                 query->after.size, query->max, result.count, count);
    if (count > 0)
        assert_true(bytes_equal(bytes_of(result.last, result.last_size), expected[count - 1].key));
}

static void listings_are_what_the_naive_way_finds(void **state)
{
    struct fixture *f = *state;
    put_name(f, BUCKET - 1, BYTES("zzz"), 1); /* neighbours */
    put_name(f, BUCKET + 1, BYTES("a"), 1);
    for (uint64_t seed = 1; seed <= 60; seed++) {
        struct rand_seeded seeded;
        rand_seeded_init(&seeded, seed);
        make_names(f, &seeded.rand);
        for (unsigned i = 0; i < 200; i++) {
            struct name prefix = random_name(&seeded.rand, 3), after = random_name(&seeded.rand, 6),
                        delimiter = random_name(&seeded.rand, 2);
            if (rand_below(&seeded.rand, 3) == 0)
                after = f->names[rand_below(&seeded.rand, f->count)];
            if (rand_below(&seeded.rand, 2) == 0)
                delimiter = (struct name){.data = "/", .size = 1};
            struct list_query query = {
                .bucket = {BUCKET},
                .prefix = rand_below(&seeded.rand, 2) ? name_bytes(&prefix) : (struct bytes){0},
                .delimiter =
                    rand_below(&seeded.rand, 4) ? name_bytes(&delimiter) : (struct bytes){0},
                .after = rand_below(&seeded.rand, 2) ? name_bytes(&after) : (struct bytes){0},
                .max = (uint32_t)rand_below(&seeded.rand, 30),
            };
            check_query(f, &query, seed);
        }
    }
}

struct pages {
    struct name seen[NAMES_MAX];
    size_t count;
};

static enum err collect(void *context, const struct list_entry *entry)
{
    struct pages *pages = context;
    struct name *name = &pages->seen[pages->count++];
    name->size = entry->key.size;
    memcpy(name->data, entry->key.data, entry->key.size);
    return ERR_OK;
}

/* Each page begins after the last one's `last`: together they are the listing in one go. */
static void pages_put_together_are_the_whole(void **state)
{
    struct fixture *f = *state;
    for (uint64_t seed = 100; seed < 130; seed++) {
        struct rand_seeded seeded;
        rand_seeded_init(&seeded, seed);
        make_names(f, &seeded.rand);
        static struct pages whole, paged;
        struct list_query query = {.bucket = {BUCKET},
                                   .delimiter = seed % 2 ? BYTES("/") : (struct bytes){0},
                                   .max = NAMES_MAX};
        struct list_result result;
        whole.count = paged.count = 0;
        assert_int_equal(volume_list(f->volume, &query, collect, &whole, &result), ERR_OK);
        assert_false(result.truncated);
        char after[KEY_BYTES_MAX];
        query.max = 1 + (uint32_t)rand_below(&seeded.rand, 5);
        do {
            assert_int_equal(volume_list(f->volume, &query, collect, &paged, &result), ERR_OK);
            memcpy(after, result.last, result.last_size);
            query.after = bytes_of(after, result.last_size);
        } while (result.truncated);
        assert_int_equal(paged.count, whole.count);
        for (size_t i = 0; i < whole.count; i++)
            assert_int_equal(compare_names(&paged.seen[i], &whole.seen[i]), 0);
    }
}

static enum err refuse(void *context, const struct list_entry *entry)
{
    unsigned *left = context;
    return (*left)-- == 0 ? ERR_CANCELLED : ERR_OK;
}

static void errors_end_a_listing(void **state)
{
    struct fixture *f = *state;
    struct list_query query = {.bucket = {BUCKET}, .max = 10};
    struct list_result result;
    unsigned left = 1;
    put_name(f, BUCKET, BYTES("a"), 1);
    put_name(f, BUCKET, BYTES("b"), 1);
    commit(f);
    assert_int_equal(volume_list(f->volume, &query, refuse, &left, &result), ERR_CANCELLED);
    kv_sim_fail_nth(f->volume->kv, 1, ERR_IO);
    assert_int_equal(volume_list(f->volume, &query, refuse, &left, &result), ERR_IO);
    static char long_after[KEY_BYTES_MAX + 1];
    query.after = bytes_of(long_after, sizeof long_after);
    assert_int_equal(volume_list(f->volume, &query, refuse, &left, &result), ERR_INVALID);
    query.after = (struct bytes){0};
    struct kv_key key;
    key_object(&key, (struct bucket_id){BUCKET}, BYTES("aa"));
    assert_int_equal(kv_batch_put(f->batch, KV_OBJECT, key_bytes(&key), BYTES("\1 not a record")),
                     ERR_OK);
    commit(f);
    left = 10;
    assert_int_equal(volume_list(f->volume, &query, refuse, &left, &result), ERR_CORRUPT);
    atomic_store(&f->volume->state, VOLUME_FAILED);
    assert_int_equal(volume_list(f->volume, &query, refuse, &left, &result), ERR_VOLUME_FAILED);
}

/* ---- what it costs ---- */

static uint64_t cpu_ns(void)
{
    struct timespec now;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
    return (uint64_t)now.tv_sec * NS_PER_SECOND + (uint64_t)now.tv_nsec;
}

static enum err count_entry(void *context, const struct list_entry *entry)
{
    (*(uint64_t *)context)++;
    return ERR_OK;
}

static uint64_t walk_all(struct volume *volume, struct bytes delimiter, uint64_t *ret_entries)
{
    struct list_query query = {.bucket = {BUCKET}, .delimiter = delimiter, .max = LIST_KEYS_MAX};
    struct list_result result;
    char after[KEY_BYTES_MAX];
    uint64_t begin = cpu_ns();
    *ret_entries = 0;
    do {
        assert_int_equal(volume_list(volume, &query, count_entry, ret_entries, &result), ERR_OK);
        memcpy(after, result.last, result.last_size);
        query.after = bytes_of(after, result.last_size);
    } while (result.truncated);
    return cpu_ns() - begin;
}

/* On RocksDB: SLUICE_LIST_KEYS keys (20,000 unless told) in directories of 100. The limit is far
 * above what is seen; the figure is printed. */
static void a_listed_key_costs_little(void **state)
{
    struct fixture *f = *state;
    const char *wanted = getenv("SLUICE_LIST_KEYS");
    unsigned keys = wanted != NULL ? (unsigned)strtoul(wanted, NULL, 10) : 20000;
    char dir[] = "/tmp/sluice-test-list-XXXXXX", path[64], command[80];
    struct err_trail trail = {0};
    struct kv *sim = f->volume->kv;
    assert_non_null(mkdtemp(dir));
    snprintf(path, sizeof path, "%s/meta", dir);
    struct kv_rocks_options options = {
        .path = path, .cache_bytes = MIB(64), .memtable_bytes = MIB(32), .create = true};
    assert_int_equal(kv_rocks_open(&options, &f->volume->kv, &trail), ERR_OK);
    for (unsigned i = 0; i < keys; i++) {
        char name[40];
        int size = snprintf(name, sizeof name, "photos-%06u/picture-%02u.jpeg", i / 100, i % 100);
        put_name(f, BUCKET, bytes_of(name, (size_t)size), 5000);
        if (i % 1000 == 999)
            commit(f);
    }
    commit(f);
    uint64_t entries, ns;
    (void)walk_all(f->volume, (struct bytes){0}, &entries);
    ns = walk_all(f->volume, (struct bytes){0}, &entries);
    print_message("    %u keys in pages of 1000: %.2f us CPU a key\n", keys,
                  (double)ns / 1e3 / (double)entries);
    assert_int_equal(entries, keys);
    uint64_t grouped_ns = walk_all(f->volume, BYTES("/"), &entries);
    print_message("    %u prefixes of 100 keys: %.2f us CPU a prefix\n", (unsigned)entries,
                  (double)grouped_ns / 1e3 / (double)entries);
    assert_int_equal(entries, (keys + 99) / 100);
    f->volume->kv->ops->close(f->volume->kv);
    f->volume->kv = sim;
    snprintf(command, sizeof command, "rm -rf '%s'", dir);
    assert_int_equal(system(command), 0);
    assert_true(ns / keys < 100000);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    const struct CMUnitTest tests[] = {
        TEST(listings_are_what_the_naive_way_finds),
        TEST(pages_put_together_are_the_whole),
        TEST(errors_end_a_listing),
        TEST(a_listed_key_costs_little),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
