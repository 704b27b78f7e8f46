/* Keys sort as the things they name, and come back as what they were made of. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include "base/check.h"
#include "base/rand.h"
#include "storage/keys.h"

/* Short strings over few bytes, the troublesome ones among them, so that many are prefixes of one
 * another. */
static struct bytes random_name(struct rand *rand, char name[8])
{
    static const char alphabet[] = {0, 1, 2, 'a', (char)0xfe, (char)0xff};
    size_t size = 1 + rand_below(rand, 5);
    for (size_t i = 0; i < size; i++)
        name[i] = alphabet[rand_below(rand, sizeof alphabet)];
    return bytes_of(name, size);
}

static int sign(int x)
{
    return (x > 0) - (x < 0);
}

static int compare_u64(uint64_t a, uint64_t b)
{
    return (a > b) - (a < b);
}

static void upload_keys_sort_by_bucket_name_and_id(void **state)
{
    struct rand_seeded seeded;
    rand_seeded_init(&seeded, 1);
    for (unsigned i = 0; i < 200000; i++) {
        struct bucket_id bucket[2];
        char names[2][8];
        struct bytes name[2];
        struct upload_id id[2] = {0};
        struct kv_key key[2];
        for (int j = 0; j < 2; j++) {
            bucket[j].value = (uint32_t)rand_below(&seeded.rand, 2) * 255;
            name[j] = random_name(&seeded.rand, names[j]);
            id[j].bytes[0] = (uint8_t)rand_below(&seeded.rand, 3);
            key_upload(&key[j], bucket[j], name[j], &id[j]);
        }
        int expected = compare_u64(bucket[0].value, bucket[1].value);
        if (expected == 0)
            expected = sign(bytes_compare(name[0], name[1]));
        if (expected == 0)
            expected = compare_u64(id[0].bytes[0], id[1].bytes[0]);
        assert_int_equal(sign(bytes_compare(key_bytes(&key[0]), key_bytes(&key[1]))), expected);
    }
}

static void upload_bounds_hold_what_they_should(void **state)
{
    struct rand_seeded seeded;
    rand_seeded_init(&seeded, 2);
    for (unsigned i = 0; i < 200000; i++) {
        char a[8], b[8];
        struct bytes name = random_name(&seeded.rand, a), other = random_name(&seeded.rand, b);
        struct upload_id id;
        memset(id.bytes, rand_below(&seeded.rand, 2) ? 0xff : 0, sizeof id.bytes);
        struct kv_key key, prefix, after, end;
        key_upload(&key, (struct bucket_id){7}, name, &id);
        key_upload_prefix(&prefix, (struct bucket_id){7}, other);
        assert_int_equal(bytes_start_with(key_bytes(&key), key_bytes(&prefix)),
                         bytes_start_with(name, other));
        end = prefix;
        key_successor(&end);
        bool is_below_end = bytes_compare(key_bytes(&key), key_bytes(&end)) < 0;
        bool is_above = bytes_compare(key_bytes(&key), key_bytes(&prefix)) >= 0;
        assert_int_equal(is_below_end && is_above, bytes_start_with(name, other));
        key_upload_after_name(&after, (struct bucket_id){7}, other);
        assert_int_equal(bytes_compare(key_bytes(&key), key_bytes(&after)) > 0,
                         bytes_compare(name, other) > 0);
    }
}

static void object_keys_sort_as_names_do(void **state)
{
    struct rand_seeded seeded;
    rand_seeded_init(&seeded, 3);
    for (unsigned i = 0; i < 100000; i++) {
        char a[8], b[8];
        struct bytes left = random_name(&seeded.rand, a), right = random_name(&seeded.rand, b);
        struct kv_key key[2];
        key_object(&key[0], (struct bucket_id){1}, left);
        key_object(&key[1], (struct bucket_id){1}, right);
        assert_int_equal(sign(bytes_compare(key_bytes(&key[0]), key_bytes(&key[1]))),
                         sign(bytes_compare(left, right)));
        struct bucket_id bucket;
        struct bytes name;
        assert_int_equal(key_object_parse(key_bytes(&key[0]), &bucket, &name), ERR_OK);
        assert_int_equal(bucket.value, 1);
        assert_true(bytes_equal(name, left));
    }
}

static void numbered_keys_sort_by_their_numbers(void **state)
{
    struct rand_seeded seeded;
    rand_seeded_init(&seeded, 4);
    for (unsigned i = 0; i < 50000; i++) {
        uint32_t a = (uint32_t)rand_u64(&seeded.rand) >> rand_below(&seeded.rand, 32);
        uint32_t b = (uint32_t)rand_u64(&seeded.rand) >> rand_below(&seeded.rand, 32);
        struct data_id id = {.epoch = 3, .counter = 9};
        struct kv_key key[2];
        key_extent(&key[0], 5, a);
        key_extent(&key[1], 5, b);
        assert_int_equal(sign(bytes_compare(key_bytes(&key[0]), key_bytes(&key[1]))),
                         compare_u64(a, b));
        key_extent(&key[0], a, 1);
        key_extent(&key[1], b, 0);
        if (a != b)
            assert_int_equal(sign(bytes_compare(key_bytes(&key[0]), key_bytes(&key[1]))),
                             compare_u64(a, b));
        key_data(&key[0], id, a);
        key_data(&key[1], id, b);
        assert_int_equal(sign(bytes_compare(key_bytes(&key[0]), key_bytes(&key[1]))),
                         compare_u64(a, b));
        struct upload_id upload = {{1, 2, 3}};
        key_part(&key[0], &upload, (uint16_t)a);
        key_part(&key[1], &upload, (uint16_t)b);
        assert_int_equal(sign(bytes_compare(key_bytes(&key[0]), key_bytes(&key[1]))),
                         compare_u64((uint16_t)a, (uint16_t)b));
    }
}

static void parsing_gives_back_what_was_put_in(void **state)
{
    struct rand_seeded seeded;
    rand_seeded_init(&seeded, 5);
    for (unsigned i = 0; i < 20000; i++) {
        struct data_id id = {.epoch = rand_u64(&seeded.rand), .counter = rand_u64(&seeded.rand)},
                       got_id;
        uint32_t a = (uint32_t)rand_u64(&seeded.rand), b = (uint32_t)rand_u64(&seeded.rand), got_a,
                 got_b;
        struct upload_id upload, got_upload;
        struct bucket_id bucket;
        char name_bytes[8], got_name[KEY_BYTES_MAX];
        size_t got_size;
        uint16_t number;
        struct kv_key key;
        enum gc_kind kind;
        rand_fill(&seeded.rand, upload.bytes, sizeof upload.bytes);

        key_extent(&key, a, b);
        assert_int_equal(key_extent_parse(key_bytes(&key), &got_a, &got_b), ERR_OK);
        assert_true(got_a == a && got_b == b);
        key_data(&key, id, a);
        assert_int_equal(key_data_parse(key_bytes(&key), &got_id, &got_a), ERR_OK);
        assert_true(data_id_equal(id, got_id) && got_a == a);
        key_inline(&key, id);
        assert_int_equal(key_inline_parse(key_bytes(&key), &got_id), ERR_OK);
        assert_true(data_id_equal(id, got_id));
        key_segment(&key, a);
        assert_int_equal(key_segment_parse(key_bytes(&key), &got_a), ERR_OK);
        assert_int_equal(got_a, a);
        struct bytes name = random_name(&seeded.rand, name_bytes);
        key_upload(&key, (struct bucket_id){a}, name, &upload);
        assert_int_equal(
            key_upload_parse(key_bytes(&key), &bucket, got_name, &got_size, &got_upload), ERR_OK);
        assert_int_equal(bucket.value, a);
        assert_true(bytes_equal(bytes_of(got_name, got_size), name));
        assert_memory_equal(got_upload.bytes, upload.bytes, sizeof upload.bytes);
        key_part(&key, &upload, (uint16_t)b);
        assert_int_equal(key_part_parse(key_bytes(&key), &got_upload, &number), ERR_OK);
        assert_int_equal(number, (uint16_t)b);
        key_gc_id(&key, GC_MANIFEST, id);
        assert_int_equal(key_gc_parse(key_bytes(&key), &kind, &got_id, &got_upload, &bucket),
                         ERR_OK);
        assert_true(kind == GC_MANIFEST && data_id_equal(id, got_id));
        key_gc_parts(&key, &upload);
        assert_int_equal(key_gc_parse(key_bytes(&key), &kind, &got_id, &got_upload, &bucket),
                         ERR_OK);
        assert_int_equal(kind, GC_PARTS);
        key_gc_uploads(&key, (struct bucket_id){b});
        assert_int_equal(key_gc_parse(key_bytes(&key), &kind, &got_id, &got_upload, &bucket),
                         ERR_OK);
        assert_true(kind == GC_UPLOADS && bucket.value == b);
    }
}

static void the_longest_names_fit(void **state)
{
    char name[KEY_BYTES_MAX], got[KEY_BYTES_MAX];
    size_t size;
    struct upload_id id = {0}, got_id;
    struct bucket_id bucket;
    struct kv_key key;
    memset(name, 0, sizeof name);
    key_upload(&key, (struct bucket_id){1}, bytes_of(name, sizeof name), &id);
    assert_int_equal(key_upload_parse(key_bytes(&key), &bucket, got, &size, &got_id), ERR_OK);
    assert_int_equal(size, sizeof name);
    assert_memory_equal(got, name, sizeof name);
}

static void foreign_bytes_are_refused(void **state)
{
    static const struct {
        const char *what;
        struct bytes key;
    } table[] = {
        {"empty", {"", 0}},
        {"a bucket alone", {"\0\0\0\1", 4}},
        {"no end of name", {"\0\0\0\1abc", 7}},
        {"a wrong escape", {"\0\0\0\1a\0\2bcdefghijklmnopqrst", 27}},
        {"an empty name", {"\0\0\0\1\0\1aaaaaaaaaaaaaaaa", 22}},
        {"a short id", {"\0\0\0\1a\0\1aaaaaaaaaaaaaaa", 22}},
        {"a long id", {"\0\0\0\1a\0\1aaaaaaaaaaaaaaaaa", 24}},
        {"an escape at the end", {"\0\0\0\1a\0", 6}},
    };
    for (size_t i = 0; i < COUNT_OF(table); i++) {
        char name[KEY_BYTES_MAX];
        size_t size;
        struct upload_id id;
        struct bucket_id bucket;
        if (key_upload_parse(table[i].key, &bucket, name, &size, &id) != ERR_CORRUPT)
            fail_msg("%s is taken", table[i].what);
    }
}

static void random_bytes_never_hurt_the_parsers(void **state)
{
    struct rand_seeded seeded;
    rand_seeded_init(&seeded, 6);
    for (unsigned i = 0; i < 100000; i++) {
        uint8_t bytes[48];
        size_t size = rand_below(&seeded.rand, sizeof bytes + 1);
        for (size_t j = 0; j < size; j++)
            bytes[j] = (uint8_t)(rand_below(&seeded.rand, 2) ? rand_below(&seeded.rand, 3)
                                                             : rand_u64(&seeded.rand));
        CLEANUP(free)
        char *exact = malloc(size + 1); /* so that a sanitizer sees a step past the end */
        memcpy(exact, bytes, size);
        exact = realloc(exact, size > 0 ? size : 1);
        struct bytes key = bytes_of(exact, size);
        char name[KEY_BYTES_MAX];
        size_t name_size;
        struct upload_id upload;
        struct bucket_id bucket;
        struct data_id id;
        struct bytes object;
        uint32_t a, b;
        uint16_t number;
        enum gc_kind kind;
        (void)!key_upload_parse(key, &bucket, name, &name_size, &upload);
        (void)!key_object_parse(key, &bucket, &object);
        (void)!key_extent_parse(key, &a, &b);
        (void)!key_data_parse(key, &id, &a);
        (void)!key_inline_parse(key, &id);
        (void)!key_part_parse(key, &upload, &number);
        (void)!key_segment_parse(key, &a);
        (void)!key_gc_parse(key, &kind, &id, &upload, &bucket);
    }
}

static void successors_are_the_first_key_without_the_prefix(void **state)
{
    static const struct {
        struct bytes key, expected;
    } table[] = {
        {{"a", 1}, {"b", 1}},         {{"a\xff", 2}, {"b", 1}}, {{"a\xff\xff", 3}, {"b", 1}},
        {{"a\xfe", 2}, {"a\xff", 2}}, {{"\xff", 1}, {"", 0}},   {{"", 0}, {"", 0}},
    };
    for (size_t i = 0; i < COUNT_OF(table); i++) {
        struct kv_key key = {.size = (uint16_t)table[i].key.size};
        memcpy(key.data, table[i].key.data, key.size);
        key_successor(&key);
        assert_true(bytes_equal(key_bytes(&key), table[i].expected));
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(upload_keys_sort_by_bucket_name_and_id),
        cmocka_unit_test(upload_bounds_hold_what_they_should),
        cmocka_unit_test(object_keys_sort_as_names_do),
        cmocka_unit_test(numbered_keys_sort_by_their_numbers),
        cmocka_unit_test(parsing_gives_back_what_was_put_in),
        cmocka_unit_test(the_longest_names_fit),
        cmocka_unit_test(foreign_bytes_are_refused),
        cmocka_unit_test(random_bytes_never_hurt_the_parsers),
        cmocka_unit_test(successors_are_the_first_key_without_the_prefix),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
