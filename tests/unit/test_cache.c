/* Looked-up objects: made from records, kept, put out, forgotten; and lookups while the names they
 * look for change. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include "base/check.h"
#include "base/digest.h"
#include "storage/keys.h"
#include "storage/object_priv.h"
#include "storage/volume_priv.h"

#define BUCKET ((struct bucket_id){3})

/* An index that lets the test do something before each read. */
struct hooked {
    struct kv kv;
    struct kv *inner;
    void (*before_get)(void *context, enum kv_family family);
    void *context;
};

static enum err hooked_get(struct kv *kv, enum kv_family family, struct bytes key,
                           enum kv_tier tier, struct kv_value *ret_value)
{
    struct hooked *hooked = (struct hooked *)kv;
    if (hooked->before_get != NULL)
        hooked->before_get(hooked->context, family);
    return hooked->inner->ops->get(hooked->inner, family, key, tier, ret_value);
}

static void hooked_value_put(struct kv_value *value)
{
    value->kv->ops->value_put(value); /* the value names the inner index */
}

static const struct kv_ops hooked_ops = {.get = hooked_get, .value_put = hooked_value_put};

struct fixture {
    struct kv *sim;
    struct hooked hooked;
    struct kv_batch *batch;
    struct volume *volume; /* no more of one than lookups need */
    uint64_t changes;
};

static void open_cache(struct fixture *f, uint64_t size_bytes)
{
    cache_close(f->volume->cache);
    assert_int_equal(cache_open(size_bytes, &f->volume->cache), ERR_OK);
}

static int setup(void **state)
{
    struct fixture *f = calloc(1, sizeof *f);
    assert_int_equal(kv_sim_open(&f->sim), ERR_OK);
    assert_int_equal(kv_batch_open(&f->batch), ERR_OK);
    f->hooked = (struct hooked){.kv.ops = &hooked_ops, .inner = f->sim};
    f->volume = calloc(1, sizeof *f->volume);
    f->volume->kv = &f->hooked.kv;
    assert_int_equal(pins_open(&f->volume->pins), ERR_OK);
    open_cache(f, MIB(32));
    *state = f;
    return 0;
}

static int teardown(void **state)
{
    struct fixture *f = *state;
    cache_close(f->volume->cache);
    /* Whatever went wrong, nothing stays pinned. */
    assert_int_equal(pins_count(f->volume->pins), 0);
    pins_close(f->volume->pins);
    free(f->volume);
    kv_batch_close(f->batch);
    f->sim->ops->close(f->sim);
    free(f);
    return 0;
}

/* ---- making records ---- */

static void commit(struct fixture *f)
{
    struct err_trail trail = {0};
    assert_int_equal(f->sim->ops->write(f->sim, f->batch, true, &trail), ERR_OK);
    kv_batch_clear(f->batch);
}

static void put_record(struct fixture *f, const char *name, const struct object_record *object)
{
    uint8_t record[OBJECT_RECORD_BYTES_MAX];
    struct kv_key key;
    key_object(&key, BUCKET, bytes_of_string(name));
    size_t size = record_object_put(record, object);
    assert_int_equal(kv_batch_put(f->batch, KV_OBJECT, key_bytes(&key), bytes_of(record, size)),
                     ERR_OK);
}

static void put_data(struct fixture *f, uint64_t counter, uint64_t size, bool is_inline)
{
    struct kv_key key;
    uint8_t *room;
    if (is_inline) {
        char bytes[INLINE_BYTES_MAX];
        memset(bytes, (int)counter, size);
        key_inline(&key, (struct data_id){1, counter});
        assert_int_equal(
            kv_batch_reserve(f->batch, KV_INLINE, key_bytes(&key), record_inline_size(size), &room),
            ERR_OK);
        record_inline_put(room, bytes_of(bytes, size), xxh3_64(bytes, size));
        return;
    }
    static uint64_t sums[DATA_SHARD_SUMS_MAX];
    struct extent extents[16];
    struct data_shard shard = {.size = size, .extents = extents, .sums = sums};
    for (uint64_t at = 0; at < size && at < DATA_SHARD_BYTES;
         at += extents[shard.extent_count++].bytes) {
        uint32_t bytes = (uint32_t)(size - at < EXTENT_BYTES_MAX ? size - at : EXTENT_BYTES_MAX);
        extents[shard.extent_count] = (struct extent){
            .segment = (uint32_t)counter,
            .unit = (uint32_t)(at / UNIT_BYTES),
            .units = (bytes + UNIT_BYTES - 1) / UNIT_BYTES,
            .bytes = bytes,
        };
    }
    uint64_t here = size < DATA_SHARD_BYTES ? size : DATA_SHARD_BYTES;
    shard.sum_count = (uint32_t)((here + SUM_CHUNK_BYTES - 1) / SUM_CHUNK_BYTES);
    shard.extents_in_all = 100;
    for (uint32_t i = 0; i < shard.sum_count; i++)
        sums[i] = counter + i;
    key_data(&key, (struct data_id){1, counter}, 0);
    size_t record_size = record_data_size(shard.extent_count, shard.sum_count);
    assert_int_equal(kv_batch_reserve(f->batch, KV_DATA, key_bytes(&key), record_size, &room),
                     ERR_OK);
    record_data_put(room, &shard);
}

static void delete_data(struct fixture *f, uint64_t counter)
{
    struct kv_key key;
    key_inline(&key, (struct data_id){1, counter});
    assert_int_equal(kv_batch_delete(f->batch, KV_INLINE, key_bytes(&key)), ERR_OK);
    key_data(&key, (struct data_id){1, counter}, 0);
    assert_int_equal(kv_batch_delete(f->batch, KV_DATA, key_bytes(&key)), ERR_OK);
}

static struct object_record record_of(uint64_t counter, uint64_t size, bool is_inline)
{
    return (struct object_record){
        .info = {.size = size, .psn = counter, .attrs = BYTES("attributes")},
        .piece_count = 1,
        .piece = {.piece = {.data = {1, counter}, .size = size}, .is_inline = is_inline},
    };
}

static void put_object(struct fixture *f, const char *name, uint64_t counter, uint64_t size,
                       bool is_inline)
{
    struct object_record object = record_of(counter, size, is_inline);
    put_data(f, counter, size, is_inline);
    put_record(f, name, &object);
}

static enum err look(struct fixture *f, const char *name, struct object **ret_object)
{
    return volume_lookup(f->volume, BUCKET, bytes_of_string(name), KV_ANY, ret_object);
}

static void forget(struct fixture *f, const char *name)
{
    cache_forget(f->volume->cache, BUCKET, bytes_of_string(name));
}

/* ---- lookups ---- */

static void a_lookup_finds_everything_a_get_needs(void **state)
{
    struct fixture *f = *state;
    static const struct {
        uint64_t size;
        bool is_inline, has_layout;
    } table[] = {{1, true, true},
                 {8192, true, true},
                 {5000, false, true},
                 {MIB(40), false, true},
                 {DATA_SHARD_BYTES, false, true},
                 {DATA_SHARD_BYTES + 1, false, false}};
    for (size_t i = 0; i < COUNT_OF(table); i++) {
        char name[16];
        struct object *object, *again;
        snprintf(name, sizeof name, "k%zu", i);
        put_object(f, name, i + 1, table[i].size, table[i].is_inline);
        commit(f);
        assert_int_equal(look(f, name, &object), ERR_OK);
        assert_int_equal(object_info(object)->size, table[i].size);
        assert_true(bytes_equal(object_info(object)->attrs, BYTES("attributes")));
        assert_int_equal(object->has_layout, table[i].has_layout);
        assert_true(pins_has(f->volume->pins, (struct data_id){1, i + 1}));
        if (table[i].is_inline) {
            assert_int_equal(object->layout.inline_data[table[i].size - 1], i + 1);
        } else if (table[i].has_layout) {
            uint32_t last = object->layout.extent_count - 1;
            assert_int_equal(object->layout.extents[last].unit,
                             (table[i].size - 1) / EXTENT_BYTES_MAX *
                                 (EXTENT_BYTES_MAX / UNIT_BYTES));
            assert_int_equal(object->layout.sums[object->layout.sum_count - 1],
                             i + 1 + (table[i].size - 1) / SUM_CHUNK_BYTES);
        }
        assert_int_equal(look(f, name, &again), ERR_OK);
        assert_ptr_equal(again, object);
        object_put(again);
        object_put(object);
    }
    struct object *object;
    assert_int_equal(look(f, "absent", &object), ERR_NO_SUCH_OBJECT);
    assert_int_equal(look(f, "", &object), ERR_NO_SUCH_OBJECT);
}

static void a_name_without_its_data_is_corrupt(void **state)
{
    struct fixture *f = *state;
    struct object *object;
    struct object_record record = record_of(9, 5000, false);
    put_record(f, "extents", &record);
    record = record_of(9, 5000, true);
    put_record(f, "inline", &record);
    record.piece_count = 2;
    record.manifest = (struct data_id){1, 1};
    put_record(f, "manifest", &record);
    put_object(f, "short", 10, 100, true);
    record = record_of(10, 101, true);
    put_record(f, "short", &record);
    commit(f);
    assert_int_equal(look(f, "extents", &object), ERR_CORRUPT);
    assert_int_equal(look(f, "inline", &object), ERR_CORRUPT);
    assert_int_equal(look(f, "manifest", &object), ERR_CORRUPT);
    assert_int_equal(look(f, "short", &object), ERR_CORRUPT);
}

static void pieces_are_cut_to_a_range(void **state)
{
    struct fixture *f = *state;
    enum { PIECES = 1500 }; /* two shards */
    static struct stored_piece pieces[PIECES];
    struct object_part part_table[2] = {{.number = 1, .size = 10}, {.number = 5}};
    struct object *object;
    uint64_t size = 0, half = 0;
    for (uint32_t i = 0; i < PIECES; i++) {
        pieces[i] =
            (struct stored_piece){.piece = {.data = {1, i + 1}, .offset = i, .size = 10 + i % 7}};
        half = i == MANIFEST_SHARD_ENTRIES ? size : half;
        size += pieces[i].piece.size;
    }
    part_table[1].size = size - 10;
    struct object_record record = {
        .info = {.size = size, .part_count = 2},
        .piece_count = PIECES,
        .manifest = {5, 5},
    };
    put_record(f, "k", &record);
    const struct {
        uint32_t shard, first, count;
        uint64_t start;
    } shards[] = {{0, 0, MANIFEST_SHARD_ENTRIES, 0},
                  {1, MANIFEST_SHARD_ENTRIES, PIECES - MANIFEST_SHARD_ENTRIES, half}};
    for (size_t i = 0; i < COUNT_OF(shards); i++) {
        struct kv_key key;
        uint8_t *room;
        key_manifest(&key, record.manifest, shards[i].shard);
        assert_int_equal(kv_batch_reserve(f->batch, KV_MANIFEST, key_bytes(&key),
                                          record_pieces_size(shards[i].count), &room),
                         ERR_OK);
        record_pieces_put(room, shards[i].start, pieces + shards[i].first, shards[i].count);
    }
    struct kv_key key;
    uint8_t *room;
    key_manifest(&key, record.manifest, MANIFEST_PARTS_SHARD);
    assert_int_equal(kv_batch_reserve(f->batch, KV_MANIFEST, key_bytes(&key),
                                      record_parts_size(part_table, 2), &room),
                     ERR_OK);
    record_parts_put(room, 0, part_table, 2);
    commit(f);

    assert_int_equal(look(f, "k", &object), ERR_OK);
    assert_int_equal(pins_count(f->volume->pins), PIECES);
    struct object_part *parts;
    size_t count;
    assert_int_equal(object_parts(object, &parts, &count), ERR_OK);
    assert_int_equal(count, 2);
    assert_int_equal(parts[1].number, 5);
    free(parts);
    for (uint64_t offset = 0; offset < size; offset += 997)
        for (uint64_t length = 0; length <= size - offset; length = length * 3 + 1) {
            struct piece *cut;
            assert_int_equal(object_pieces(object, offset, length, &cut, &count), ERR_OK);
            uint64_t at = 0; /* the naive way: byte by byte of pieces, then compare what the cut
                                says of first and last byte */
            uint64_t total = 0;
            for (size_t i = 0; i < count; i++)
                total += cut[i].size;
            assert_int_equal(total, length);
            for (uint32_t i = 0, j = 0; length > 0 && i < PIECES; at += pieces[i++].piece.size) {
                uint64_t from = at > offset ? at : offset, to = at + pieces[i].piece.size;
                to = to < offset + length ? to : offset + length;
                if (from >= to)
                    continue;
                assert_int_equal(cut[j].data.counter, i + 1);
                assert_int_equal(cut[j].offset, i + (from - at));
                assert_int_equal(cut[j].size, to - from);
                j++;
            }
            free(cut);
        }
    struct piece *cut;
    assert_int_equal(object_pieces(object, size, 1, &cut, &count), ERR_INVALID);
    assert_int_equal(object_pieces(object, 1, UINT64_MAX, &cut, &count), ERR_INVALID);
    object_put(object);
}

static void a_lookup_that_may_not_block_says_so(void **state)
{
    struct fixture *f = *state;
    struct object *object;
    put_object(f, "k", 1, 100, true);
    commit(f);
    unsigned nth;
    for (nth = 1; nth < 10; nth++) {
        kv_sim_fail_nth(f->sim, nth, ERR_WOULD_BLOCK);
        enum err e = volume_lookup(f->volume, BUCKET, BYTES("k"), KV_MEMORY_ONLY, &object);
        if (!kv_sim_fault_fired(f->sim))
            break;
        assert_int_equal(e, ERR_WOULD_BLOCK);
        assert_int_equal(pins_count(f->volume->pins), 0);
    }
    assert_int_equal(nth, 3); /* the record, the data */
    kv_sim_fail_nth(f->sim, 0, ERR_OK);
    object_put(object);
}

static void a_failed_volume_answers_from_the_cache_alone(void **state)
{
    struct fixture *f = *state;
    struct object *object;
    put_object(f, "known", 1, 100, true);
    put_object(f, "unknown", 2, 100, true);
    commit(f);
    assert_int_equal(look(f, "known", &object), ERR_OK);
    object_put(object);
    atomic_store(&f->volume->state, VOLUME_FAILED);
    assert_int_equal(look(f, "known", &object), ERR_OK);
    object_put(object);
    assert_int_equal(look(f, "unknown", &object), ERR_VOLUME_FAILED);
}

/* ---- lookups that meet changes ---- */

/* Overwrites "k" before the data is read, as often as `changes` says: the record read is old, its
 * data gone. */
static void overwrite_before_data(void *context, enum kv_family family)
{
    struct fixture *f = context;
    if (family != KV_INLINE || f->changes == 0)
        return;
    f->changes--;
    static uint64_t counter = 100;
    delete_data(f, counter);
    put_object(f, "k", ++counter, 100, true);
    commit(f);
    forget(f, "k");
}

static void a_changed_name_is_looked_up_again(void **state)
{
    struct fixture *f = *state;
    struct object *object;
    put_object(f, "k", 100, 100, true);
    commit(f);
    f->hooked.before_get = overwrite_before_data;
    f->hooked.context = f;
    f->changes = 3;
    assert_int_equal(look(f, "k", &object), ERR_OK);
    assert_int_equal(object_info(object)->psn, 103);
    object_put(object);
    forget(f, "k");
    f->changes = 1000000;
    assert_int_equal(look(f, "k", &object), ERR_BUSY); /* bounded */
    f->changes = 0;
    f->hooked.before_get = NULL;
}

/* The change was written but is not published yet: the record is old, the data gone, the turn the
 * same. */
static void write_without_publishing(void *context, enum kv_family family)
{
    struct fixture *f = context;
    if (family != KV_INLINE || f->changes == 0)
        return;
    f->changes = 0;
    delete_data(f, 1);
    put_object(f, "k", 2, 100, true);
    commit(f);
}

static void a_change_not_yet_published_is_no_corruption(void **state)
{
    struct fixture *f = *state;
    struct object *object;
    put_object(f, "k", 1, 100, true);
    commit(f);
    f->hooked.before_get = write_without_publishing;
    f->hooked.context = f;
    f->changes = 1;
    assert_int_equal(look(f, "k", &object), ERR_OK);
    assert_int_equal(object_info(object)->psn, 2);
    object_put(object);
    f->hooked.before_get = NULL;
}

static void an_object_is_not_cached_over_a_change(void **state)
{
    struct fixture *f = *state;
    struct cache *cache = f->volume->cache;
    struct bytes key = BYTES("k");
    put_object(f, "k", 1, 100, true);
    commit(f);
    struct object_source source = {.kv = f->sim, .pins = f->volume->pins};
    struct object_record record = record_of(1, 100, true);
    uint8_t bytes[OBJECT_RECORD_BYTES_MAX];
    struct bytes encoded = bytes_of(bytes, record_object_put(bytes, &record));
    struct object *object;
    uint64_t turn = cache_turn(cache, BUCKET, key);
    assert_int_equal(object__make(&source, BUCKET, key, encoded, &object), ERR_OK);
    cache_forget(cache, BUCKET, key);
    assert_false(cache_insert(cache, BUCKET, key, turn, object));
    assert_null(cache_find(cache, BUCKET, key));
    turn = cache_turn(cache, BUCKET, key);
    assert_true(cache_insert(cache, BUCKET, key, turn, object));
    struct object *found = cache_find(cache, BUCKET, key);
    assert_ptr_equal(found, object);
    object_put(found);
    assert_null(cache_find(cache, (struct bucket_id){4}, key));
    cache_forget(cache, BUCKET, key);
    assert_null(cache_find(cache, BUCKET, key));
    assert_true(pins_has(f->volume->pins, (struct data_id){1, 1})); /* we still hold it */
    object_put(object);
    assert_false(pins_has(f->volume->pins, (struct data_id){1, 1}));
}

/* ---- bounds ---- */

static void what_is_cached_is_bounded_and_what_is_read_stays(void **state)
{
    struct fixture *f = *state;
    enum { OBJECTS = 8000 };
    uint64_t objects, bytes;
    open_cache(f, MIB(1));
    for (uint64_t i = 0; i < OBJECTS; i++) {
        char name[16];
        snprintf(name, sizeof name, "k%u", (unsigned)i);
        put_object(f, name, i + 1, 100, true);
    }
    commit(f);
    struct object *object, *favourite;
    assert_int_equal(look(f, "k0", &favourite), ERR_OK);
    for (unsigned i = 0; i < OBJECTS; i++) {
        char name[16];
        snprintf(name, sizeof name, "k%u", i);
        assert_int_equal(look(f, name, &object), ERR_OK);
        object_put(object);
        assert_int_equal(look(f, "k0", &object), ERR_OK); /* read again and again: never put out */
        assert_ptr_equal(object, favourite);
        object_put(object);
        cache_stats(f->volume->cache, &objects, &bytes);
        assert_true(bytes <= MIB(1));
    }
    assert_true(objects > 500);
    assert_true(bytes > MIB(1) * 9 / 10);
    assert_int_equal(pins_count(f->volume->pins), objects);
    object_put(favourite);
    assert_null(cache_find(f->volume->cache, BUCKET, BYTES("k1")));
}

static void a_large_object_is_valid_but_not_kept(void **state)
{
    struct fixture *f = *state;
    struct object *object;
    open_cache(f, KIB(64));
    put_object(f, "large", 1, 5000, true);
    put_object(f, "small", 2, 500, true);
    commit(f);
    assert_int_equal(look(f, "large", &object), ERR_OK);
    object_put(object);
    assert_null(cache_find(f->volume->cache, BUCKET, BYTES("large")));
    assert_int_equal(look(f, "small", &object), ERR_OK);
    object_put(object);
    object = cache_find(f->volume->cache, BUCKET, BYTES("small"));
    assert_non_null(object);
    object_put(object);
}

static void reads_are_counted_and_forgotten_by_halves(void **state)
{
    struct fixture *f = *state;
    struct object *object;
    put_object(f, "k", 1, 100, true);
    commit(f);
    assert_int_equal(look(f, "k", &object), ERR_OK);
    static const struct {
        uint64_t second;
        uint32_t expected;
    } table[] = {{1000, 1}, {1000, 2}, {1010, 3}, {1031, 4}, {1032, 3},
                 {1063, 4}, {1064, 3}, {1200, 1}, {9000, 1}, {8000, 2}};
    for (size_t i = 0; i < COUNT_OF(table); i++)
        assert_int_equal(object_touch(object, table[i].second * NS_PER_SECOND), table[i].expected);
    object_put(object);
}

/* ---- the race: readers against a committer and a reclaimer ---- */

#define RACE_KEYS    8u
#define RACE_CHANGES 4000u
#define RACE_READERS 3u

struct race {
    struct fixture *f;
    /* By data counter: its units belong to somebody else now. */
    _Atomic bool is_freed[RACE_CHANGES + RACE_KEYS + 1];
    _Atomic bool is_over;
    _Atomic unsigned broken, reads;
};

static void race_name(uint64_t i, char name[8])
{
    snprintf(name, 8, "r%u", (unsigned)(i % RACE_KEYS));
}

static void *race_reader(void *context)
{
    struct race *race = context;
    for (uint64_t i = 0; !race->is_over; i++) {
        char name[8];
        struct object *object;
        race_name(i, name);
        enum err e = look(race->f, name, &object);
        if (e) {
            race->broken += e != ERR_BUSY;
            continue;
        }
        for (unsigned j = 0; j < 3; j++) { /* as long as it is held */
            race->broken += race->is_freed[object->pieces[0].stored.piece.data.counter];
            race->broken += object->layout.inline_data[0] !=
                            (uint8_t)object->pieces[0].stored.piece.data.counter;
        }
        race->reads++;
        object_put(object);
    }
    return NULL;
}

/* Frees each of the waiting data that nobody pins; returns how many are left, moved to the
 * front. */
static uint64_t race_reclaim(struct race *race, uint64_t *waiting, uint64_t count)
{
    uint64_t left = 0;
    for (uint64_t i = 0; i < count; i++) {
        if (pins_has(race->f->volume->pins, (struct data_id){1, waiting[i]}))
            waiting[left++] = waiting[i];
        else
            race->is_freed[waiting[i]] = true;
    }
    return left;
}

static void a_reader_never_holds_data_that_was_freed(void **state)
{
    static struct race race;
    race.f = *state;
    struct fixture *f = race.f;
    uint64_t counter = 0, waiting[RACE_READERS + 1], left = 0, present[RACE_KEYS];
    for (uint64_t i = 0; i < RACE_KEYS; i++) {
        char name[8];
        race_name(i, name);
        present[i] = ++counter;
        put_object(f, name, counter, 100, true);
    }
    commit(f);
    pthread_t readers[RACE_READERS];
    for (unsigned i = 0; i < RACE_READERS; i++)
        assert_int_equal(pthread_create(&readers[i], NULL, race_reader, &race), 0);
    for (uint64_t i = 0; i < RACE_CHANGES; i++) {
        char name[8];
        uint64_t old = present[i % RACE_KEYS];
        race_name(i, name);
        delete_data(f, old);
        present[i % RACE_KEYS] = ++counter;
        put_object(f, name, counter, 100, true);
        commit(f);       /* durable */
        forget(f, name); /* published */
        waiting[left++] = old;
        left = race_reclaim(&race, waiting, left);
        /* A reader, however long it is kept from running, holds one object: nothing else may stay
         * pinned. */
        if (left > RACE_READERS) {
            race.is_over = true;
            fail_msg("%u data pinned by %u readers", (unsigned)left, RACE_READERS);
        }
    }
    race.is_over = true;
    for (unsigned i = 0; i < RACE_READERS; i++)
        assert_int_equal(pthread_join(readers[i], NULL), 0);
    print_message("    %u reads\n", race.reads);
    assert_int_equal(race.broken, 0);
    assert_int_equal(race_reclaim(&race, waiting, left), 0); /* and no pin outlives its reader */
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    const struct CMUnitTest tests[] = {
        TEST(a_lookup_finds_everything_a_get_needs),
        TEST(a_name_without_its_data_is_corrupt),
        TEST(pieces_are_cut_to_a_range),
        TEST(a_lookup_that_may_not_block_says_so),
        TEST(a_failed_volume_answers_from_the_cache_alone),
        TEST(a_changed_name_is_looked_up_again),
        TEST(a_change_not_yet_published_is_no_corruption),
        TEST(an_object_is_not_cached_over_a_change),
        TEST(what_is_cached_is_bounded_and_what_is_read_stays),
        TEST(a_large_object_is_valid_but_not_kept),
        TEST(reads_are_counted_and_forgotten_by_halves),
        TEST(a_reader_never_holds_data_that_was_freed),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
