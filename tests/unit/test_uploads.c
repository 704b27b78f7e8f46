/* Looking at uploads, parts and settings, made by mutations; listings of uploads against the naive
 * way. */
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
#include "storage/records.h"
#include "storage/volume_priv.h"

#define UPLOADS_MAX 200u
#define BUCKET      ((struct bucket_id){7})

struct upload {
    char name[24];
    size_t name_size;
    struct upload_id id;
};

struct fixture {
    struct kv_batch *batch;
    struct volume *volume; /* no more of one than looking needs */
    struct upload uploads[UPLOADS_MAX];
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

static void commit(struct fixture *f)
{
    struct err_trail trail = {0};
    assert_int_equal(f->volume->kv->ops->write(f->volume->kv, f->batch, false, &trail), ERR_OK);
    kv_batch_clear(f->batch);
}

static struct bytes name_of(const struct upload *upload)
{
    return bytes_of(upload->name, upload->name_size);
}

static void put_upload(struct fixture *f, struct bucket_id bucket, struct bytes name,
                       const struct upload_id *id)
{
    uint8_t record[UPLOAD_RECORD_BYTES_MAX];
    struct upload_record upload = {
        .created_ns = id->bytes[0],
        .checksum = {.algorithm = 3, .type = 1},
        .attrs = BYTES("video/mp4"),
    };
    struct kv_key key;
    key_upload(&key, bucket, name, id);
    struct bytes value = bytes_of(record, record_upload_put(record, &upload));
    assert_int_equal(kv_batch_put(f->batch, KV_UPLOAD, key_bytes(&key), value), ERR_OK);
}

static void one_upload_is_found_by_all_of_its_name(void **state)
{
    struct fixture *f = *state;
    const struct upload_id id = {{5}}, other = {{6}};
    struct upload_info info;
    uint8_t attrs[META_BYTES_MAX];
    put_upload(f, BUCKET, BYTES("k"), &id);
    commit(f);
    assert_int_equal(volume_upload(f->volume, BUCKET, BYTES("k"), &id, &info, attrs), ERR_OK);
    assert_int_equal(info.created_ns, 5);
    assert_int_equal(info.checksum.algorithm, 3);
    assert_true(bytes_equal(info.attrs, BYTES("video/mp4")));
    assert_int_equal(volume_upload(f->volume, BUCKET, BYTES("k"), &other, &info, attrs),
                     ERR_NO_SUCH_UPLOAD);
    assert_int_equal(volume_upload(f->volume, BUCKET, BYTES("l"), &id, &info, attrs),
                     ERR_NO_SUCH_UPLOAD);
    assert_int_equal(volume_upload(f->volume, BUCKET, BYTES(""), &id, &info, attrs),
                     ERR_NO_SUCH_UPLOAD);
    assert_int_equal(volume_upload(f->volume, (struct bucket_id){8}, BYTES("k"), &id, &info, attrs),
                     ERR_NO_SUCH_UPLOAD);
    kv_sim_fail_nth(f->volume->kv, 1, ERR_IO);
    assert_int_equal(volume_upload(f->volume, BUCKET, BYTES("k"), &id, &info, attrs), ERR_IO);
}

/* ---- listing against the naive way ---- */

static int compare_uploads(const void *a, const void *b)
{
    const struct upload *left = a, *right = b;
    int order = bytes_compare(name_of(left), name_of(right));
    return order != 0 ? order : memcmp(left->id.bytes, right->id.bytes, sizeof left->id.bytes);
}

static struct upload random_upload(struct rand *rand, size_t size_max)
{
    static const char alphabet[] = {'a', 'b', '/', 0, (char)0xff};
    struct upload upload = {.name_size = rand_below(rand, size_max + 1),
                            .id = {{(uint8_t)rand_below(rand, 4)}}};
    for (size_t i = 0; i < upload.name_size; i++)
        upload.name[i] = alphabet[rand_below(rand, sizeof alphabet)];
    return upload;
}

static void make_uploads(struct fixture *f, struct rand *rand)
{
    for (size_t i = 0; i < f->count; i++) {
        struct kv_key key;
        key_upload(&key, BUCKET, name_of(&f->uploads[i]), &f->uploads[i].id);
        assert_int_equal(kv_batch_delete(f->batch, KV_UPLOAD, key_bytes(&key)), ERR_OK);
    }
    f->count = 0;
    for (size_t i = rand_below(rand, UPLOADS_MAX) + 1; i > 0; i--) {
        struct upload upload = random_upload(rand, 6);
        if (upload.name_size > 0)
            f->uploads[f->count++] = upload;
    }
    qsort(f->uploads, f->count, sizeof *f->uploads, compare_uploads);
    size_t kept = 0;
    for (size_t i = 0; i < f->count; i++)
        if (kept == 0 || compare_uploads(&f->uploads[i], &f->uploads[kept - 1]) != 0)
            f->uploads[kept++] = f->uploads[i];
    f->count = kept;
    for (size_t i = 0; i < f->count; i++)
        put_upload(f, BUCKET, name_of(&f->uploads[i]), &f->uploads[i].id);
    commit(f);
}

struct line {
    bool is_prefix;
    struct bytes key;
    struct upload_id id;
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

static size_t list_naively(const struct fixture *f, const struct upload_query *query,
                           struct line *out, bool *ret_truncated)
{
    size_t count = 0;
    bool marker_is_prefix = false;
    *ret_truncated = false;
    if (bytes_start_with(query->key_marker, query->prefix)) {
        struct bytes rolled =
            roll_up(query->key_marker, query->prefix, query->delimiter, &marker_is_prefix);
        marker_is_prefix = marker_is_prefix && rolled.size == query->key_marker.size;
    }
    for (size_t i = 0; i < f->count; i++) {
        const struct upload *upload = &f->uploads[i];
        struct bytes name = name_of(upload);
        if (!bytes_start_with(name, query->prefix))
            continue;
        if (query->key_marker.size > 0) {
            int order = bytes_compare(name, query->key_marker);
            bool is_later = query->has_upload_marker &&
                            memcmp(upload->id.bytes, query->upload_marker.bytes, 16) > 0;
            if (order < 0 || (order == 0 && !is_later) ||
                (marker_is_prefix && bytes_start_with(name, query->key_marker)))
                continue;
        }
        bool is_prefix;
        struct bytes key = roll_up(name, query->prefix, query->delimiter, &is_prefix);
        if (is_prefix && count > 0 && out[count - 1].is_prefix &&
            bytes_equal(out[count - 1].key, key))
            continue;
        if (count == query->max) {
            *ret_truncated = query->max > 0;
            return count;
        }
        out[count++] = (struct line){.is_prefix = is_prefix, .key = key, .id = upload->id};
    }
    return count;
}

struct check {
    const struct line *expected;
    size_t count, at;
    bool has_failed;
};

static enum err check_upload(void *context, bool is_prefix, struct bytes key,
                             const struct upload_info *upload)
{
    struct check *check = context;
    if (check->at == check->count) {
        check->has_failed = true;
        return ERR_OK;
    }
    const struct line *expected = &check->expected[check->at++];
    if (is_prefix != expected->is_prefix || !bytes_equal(key, expected->key) ||
        (!is_prefix &&
         (memcmp(upload->id.bytes, expected->id.bytes, 16) != 0 || upload->attrs.size != 9)))
        check->has_failed = true;
    return ERR_OK;
}

static void listings_are_what_the_naive_way_finds(void **state)
{
    struct fixture *f = *state;
    const struct upload_id id = {{1}};
    put_upload(f, (struct bucket_id){6}, BYTES("zz"), &id);
    put_upload(f, (struct bucket_id){8}, BYTES("a"), &id);
    for (uint64_t seed = 1; seed <= 80; seed++) {
        struct rand_seeded seeded;
        rand_seeded_init(&seeded, seed);
        struct rand *rand = &seeded.rand;
        make_uploads(f, rand);
        for (unsigned i = 0; i < 150; i++) {
            struct upload prefix = random_upload(rand, 2), marker = random_upload(rand, 4),
                          delimiter = random_upload(rand, 1);
            if (f->count > 0 && rand_below(rand, 2))
                marker = f->uploads[rand_below(rand, f->count)];
            struct upload_query query = {
                .bucket = BUCKET,
                .prefix = rand_below(rand, 2) ? name_of(&prefix) : (struct bytes){0},
                .delimiter = rand_below(rand, 3)
                                 ? (rand_below(rand, 2) ? BYTES("/") : name_of(&delimiter))
                                 : (struct bytes){0},
                .key_marker = rand_below(rand, 3) ? name_of(&marker) : (struct bytes){0},
                .upload_marker = marker.id,
                .has_upload_marker = rand_below(rand, 2) == 0,
                .max = (uint32_t)rand_below(rand, 20),
            };
            struct line expected[UPLOADS_MAX];
            bool truncated, truncated_naively;
            struct check check = {.expected = expected};
            check.count = list_naively(f, &query, expected, &truncated_naively);
            /* A marker that is a common prefix and also has an upload marker: the prefix wins, in
             * both. */
            assert_int_equal(volume_uploads(f->volume, &query, check_upload, &check, &truncated),
                             ERR_OK);
            if (check.has_failed || check.at != check.count || truncated != truncated_naively)
                fail_msg("seed %llu, query %u: %zu of %zu", (unsigned long long)seed, i, check.at,
                         check.count);
        }
    }
}

/* ---- parts ---- */

struct part_pages {
    uint16_t numbers[32];
    size_t count;
};

static enum err collect_part(void *context, const struct part_info *part)
{
    struct part_pages *pages = context;
    assert_int_equal(part->size, part->number);
    pages->numbers[pages->count++] = part->number;
    return ERR_OK;
}

static void parts_come_in_pages_by_number(void **state)
{
    struct fixture *f = *state;
    const struct upload_id id = {{5}}, next = {{5, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1}};
    static const uint16_t numbers[] = {1, 2, 255, 256, 10000};
    put_upload(f, BUCKET, BYTES("k"), &id);
    for (size_t i = 0; i < COUNT_OF(numbers) + 1; i++) {
        bool is_neighbour = i == COUNT_OF(numbers);
        struct part_info info = {.number = is_neighbour ? 3 : numbers[i],
                                 .size = is_neighbour ? 3 : numbers[i]};
        struct stored_piece piece = {.piece = {.data = {1, i + 1}, .size = info.size}};
        struct kv_key key;
        uint8_t *room;
        key_part(&key, is_neighbour ? &next : &id, info.number);
        assert_int_equal(
            kv_batch_reserve(f->batch, KV_PART, key_bytes(&key), record_part_size(&info, 1), &room),
            ERR_OK);
        record_part_put(room, &info, &piece, 1);
    }
    commit(f);
    static const struct {
        uint16_t after;
        uint32_t max;
        size_t first, count;
        bool truncated;
    } table[] = {{0, 10, 0, 5, false},    {0, 5, 0, 5, false},     {0, 4, 0, 4, true},
                 {2, 1, 2, 1, true},      {255, 9, 3, 2, false},   {256, 9, 4, 1, false},
                 {10000, 9, 0, 0, false}, {65535, 9, 0, 0, false}, {0, 0, 0, 0, false}};
    for (size_t i = 0; i < COUNT_OF(table); i++) {
        struct part_pages pages = {.count = 0};
        bool truncated;
        assert_int_equal(volume_parts(f->volume, BUCKET, BYTES("k"), &id, table[i].after,
                                      table[i].max, collect_part, &pages, &truncated),
                         ERR_OK);
        assert_int_equal(pages.count, table[i].count);
        assert_int_equal(truncated, table[i].truncated);
        for (size_t j = 0; j < pages.count; j++)
            assert_int_equal(pages.numbers[j], numbers[table[i].first + j]);
    }
    struct part_pages pages;
    bool truncated;
    assert_int_equal(
        volume_parts(f->volume, BUCKET, BYTES("k"), &next, 0, 9, collect_part, &pages, &truncated),
        ERR_NO_SUCH_UPLOAD);
}

/* ---- settings ---- */

static enum err collect_setting(void *context, struct bytes name, struct bytes value)
{
    struct buf *buf = context;
    buf_put(buf, name);
    buf_put_char(buf, '=');
    buf_put(buf, value);
    buf_put_char(buf, ' ');
    return ERR_OK;
}

static void settings_are_found_by_name_and_by_prefix(void **state)
{
    struct fixture *f = *state;
    static const char *const names[] = {"key/b", "key/a", "node", "keyring"};
    for (size_t i = 0; i < COUNT_OF(names); i++) {
        struct kv_key key;
        uint8_t *room;
        key_setting(&key, bytes_of_string(names[i]));
        assert_int_equal(
            kv_batch_reserve(f->batch, KV_SYS, key_bytes(&key), record_setting_size(1), &room),
            ERR_OK);
        record_setting_put(room, bytes_of(&names[i][strlen(names[i]) - 1], 1));
    }
    assert_int_equal(kv_batch_put(f->batch, KV_SYS, KEY_SYS_UUID, BYTES("the volume's own")),
                     ERR_OK);
    commit(f);
    uint8_t out[4];
    size_t size;
    assert_int_equal(volume_setting(f->volume, BYTES("key/b"), out, sizeof out, &size), ERR_OK);
    assert_int_equal(size, 1);
    assert_int_equal(out[0], 'b');
    assert_int_equal(volume_setting(f->volume, BYTES("key/b"), out, 0, &size), ERR_TOO_LARGE);
    assert_int_equal(volume_setting(f->volume, BYTES("key/"), out, sizeof out, &size),
                     ERR_NO_SUCH_KEY_ID);
    assert_int_equal(volume_setting(f->volume, BYTES("uuid"), out, sizeof out, &size),
                     ERR_NO_SUCH_KEY_ID);
    static const struct {
        const char *prefix, *expected;
    } table[] = {{"key/", "key/a=a key/b=b "},
                 {"key", "key/a=a key/b=b keyring=g "},
                 {"", "key/a=a key/b=b keyring=g node=e "},
                 {"x", ""}};
    for (size_t i = 0; i < COUNT_OF(table); i++) {
        char text[128];
        struct buf buf = BUF_ON(text);
        assert_int_equal(
            volume_settings(f->volume, bytes_of_string(table[i].prefix), collect_setting, &buf),
            ERR_OK);
        assert_true(bytes_equal(buf_bytes(&buf), bytes_of_string(table[i].expected)));
    }
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    const struct CMUnitTest tests[] = {
        TEST(one_upload_is_found_by_all_of_its_name),
        TEST(listings_are_what_the_naive_way_finds),
        TEST(parts_come_in_pages_by_number),
        TEST(settings_are_found_by_name_and_by_prefix),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
