/*
 * fsck on a real volume: clean after ordinary use, and each class of damage, injected into a closed
 * volume, found as what it is.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>
#include <fcntl.h>
#include <unistd.h>

#include "storage/fsck.h"
#include "storage/keys.h"
#include "storage/records.h"
#include "storage/segment.h"
#include "storage/sluice.h"

#define BIG 3000000u

struct fixture {
    char dir[64];
    char told[4096];
    struct fsck_counts counts;
};

static void put(struct sluice *s, const char *key, size_t size)
{
    struct sluice_error error;
    char *bytes = malloc(size + 1);
    memset(bytes, key[0], size);
    if (sluice_put(s, "photos", key, bytes, size, NULL, &error))
        fail_msg("%s", error.text);
    free(bytes);
}

static int setup(void **state)
{
    struct fixture *f = calloc(1, sizeof *f);
    *state = f;
    snprintf(f->dir, sizeof f->dir, "/var/tmp/sluice-fsck-XXXXXX");
    if (mkdtemp(f->dir) == NULL)
        return -1;
    struct sluice *s;
    struct sluice_error error;
    if (sluice_open(&(struct sluice_options){.dir = f->dir, .create = 1, .allow_buffered = 1}, &s,
                    &error) ||
        sluice_bucket_create(s, "photos", &error))
        fail_msg("%s", error.text);
    put(s, "small", 100);
    put(s, "middle", 100000);
    put(s, "big", BIG);
    put(s, "gone", 50000);
    put(s, "big", BIG + 1);
    sluice_delete(s, "photos", "gone", &error);
    sluice_close(s);
    return 0;
}

static int teardown(void **state)
{
    struct fixture *f = *state;
    char command[96];
    snprintf(command, sizeof command, "rm -rf %s", f->dir);
    int rc = system(command);
    free(f);
    return rc;
}

static void tell(void *context, enum fsck_class class, const char *text)
{
    struct fixture *f = context;
    size_t used = strlen(f->told);
    snprintf(f->told + used, sizeof f->told - used, "%s: %s\n", fsck_class_name(class), text);
}

enum depth { INDEX_ONLY, WITH_DATA };

static void check(struct fixture *f, enum depth depth)
{
    struct err_trail trail = {0};
    f->told[0] = '\0';
    enum err e = volume_fsck(&(struct fsck_options){.dir = f->dir,
                                                    .data = depth == WITH_DATA,
                                                    .allow_buffered = true,
                                                    .finding = tell,
                                                    .context = f},
                             &f->counts, &trail);
    if (e)
        fail_msg("%s", err_trail_text(&trail, e));
}

/* Found, and nothing but the classes named. */
static void expect(struct fixture *f, const enum fsck_class *classes, size_t count)
{
    uint64_t others = f->counts.findings_total;
    for (size_t i = 0; i < count; i++) {
        if (f->counts.findings[classes[i]] == 0)
            fail_msg("%s not found; told:\n%s", fsck_class_name(classes[i]), f->told);
        others -= f->counts.findings[classes[i]];
    }
    if (others > 0)
        fail_msg("more was found:\n%s", f->told);
}
#define EXPECT(f, ...)                                                                             \
    expect((f), (const enum fsck_class[]){__VA_ARGS__},                                            \
           sizeof((enum fsck_class[]){__VA_ARGS__}) / sizeof(enum fsck_class))

/* ---- the index, opened behind the volume's back ---- */

static struct kv *open_index(struct fixture *f)
{
    char path[96];
    struct err_trail trail = {0};
    struct kv *kv;
    snprintf(path, sizeof path, "%s/meta", f->dir);
    enum err e = kv_rocks_open(
        &(struct kv_rocks_options){.path = path, .cache_bytes = MIB(8), .memtable_bytes = MIB(8)},
        &kv, &trail);
    if (e)
        fail_msg("%s", err_trail_text(&trail, e));
    return kv;
}

static void change(struct fixture *f, enum kv_family family, struct bytes key, struct bytes value)
{
    struct kv *kv = open_index(f);
    struct kv_batch *batch;
    struct err_trail trail = {0};
    assert_int_equal(kv_batch_open(&batch), ERR_OK);
    if (value.data != NULL)
        assert_int_equal(kv_batch_put(batch, family, key, value), ERR_OK);
    else
        assert_int_equal(kv_batch_delete(batch, family, key), ERR_OK);
    assert_int_equal(kv->ops->write(kv, batch, true, &trail), ERR_OK);
    kv_batch_close(batch);
    kv->ops->close(kv);
}

/* A copy of a family's n-th record. */
struct row {
    uint8_t key[256], value[16384];
    size_t key_size, value_size;
};
static void nth(struct fixture *f, enum kv_family family, unsigned n, struct row *ret_row)
{
    struct kv *kv = open_index(f);
    struct kv_iter *iter;
    assert_int_equal(kv->ops->iter_open(kv, &(struct kv_iter_options){.family = family}, &iter),
                     ERR_OK);
    kv->ops->iter_seek(iter, BYTES(""));
    for (; n > 0; n--)
        kv->ops->iter_next(iter);
    assert_true(kv->ops->iter_valid(iter));
    struct bytes key = kv->ops->iter_key(iter), value = kv->ops->iter_value(iter);
    ret_row->key_size = key.size;
    ret_row->value_size = value.size;
    memcpy(ret_row->key, key.data, key.size);
    memcpy(ret_row->value, value.data, value.size);
    kv->ops->iter_close(iter);
    kv->ops->close(kv);
}
#define KEY(row)   bytes_of((row).key, (row).key_size)
#define VALUE(row) bytes_of((row).value, (row).value_size)
#define NOTHING    ((struct bytes){NULL, 0})

static void first_extent(struct fixture *f, struct extent *ret_extent,
                         struct extent_record *ret_record)
{
    struct row row;
    nth(f, KV_EXTENT, 0, &row);
    assert_int_equal(key_extent_parse(KEY(row), &ret_extent->segment, &ret_extent->unit), ERR_OK);
    assert_int_equal(record_extent_get(VALUE(row), ret_record), ERR_OK);
}

/* ---- */

static void a_volume_in_ordinary_use_is_clean(void **state)
{
    struct fixture *f = *state;
    check(f, WITH_DATA);
    if (f->counts.findings_total > 0)
        fail_msg("%s", f->told);
    assert_int_equal(f->counts.objects, 3);
    assert_int_equal(f->counts.inline_data, 1);
    assert_int_equal(f->counts.data, 2);
    assert_int_equal(f->counts.bytes_verified, 100 + 100000 + BIG + 1);
}

static void an_extent_without_its_record_is_found(void **state)
{
    struct fixture *f = *state;
    struct row row;
    nth(f, KV_EXTENT, 0, &row);
    change(f, KV_EXTENT, KEY(row), NOTHING);
    check(f, INDEX_ONLY);
    EXPECT(f, FSCK_DATA_EXTENT);
}

static void extents_that_overlap_are_found(void **state)
{
    struct fixture *f = *state;
    struct extent extent;
    struct extent_record record;
    first_extent(f, &extent, &record);
    struct kv_key key;
    uint8_t value[EXTENT_RECORD_BYTES];
    key_extent(&key, extent.segment, extent.unit + 1);
    record.units = 1;
    record.bytes = UNIT_BYTES;
    record_extent_put(value, &record);
    change(f, KV_EXTENT, key_bytes(&key), bytes_of(value, sizeof value));
    check(f, INDEX_ONLY);
    EXPECT(f, FSCK_EXTENT_OVERLAP, FSCK_EXTENT_ORPHAN);
}

static void an_extent_in_a_segments_header_is_found(void **state)
{
    struct fixture *f = *state;
    struct extent extent;
    struct extent_record record;
    first_extent(f, &extent, &record);
    struct kv_key key;
    uint8_t value[EXTENT_RECORD_BYTES];
    key_extent(&key, extent.segment, 0);
    record.units = 1;
    record.bytes = UNIT_BYTES;
    record_extent_put(value, &record);
    change(f, KV_EXTENT, key_bytes(&key), bytes_of(value, sizeof value));
    check(f, INDEX_ONLY);
    EXPECT(f, FSCK_EXTENT_BOUNDS, FSCK_EXTENT_ORPHAN);
}

static void a_name_without_data_is_found(void **state)
{
    struct fixture *f = *state;
    struct row row;
    nth(f, KV_DATA, 0, &row);
    change(f, KV_DATA, KEY(row), NOTHING);
    check(f, INDEX_ONLY);
    EXPECT(f, FSCK_DATA_MISSING, FSCK_EXTENT_ORPHAN);
}

static void data_without_a_name_is_found(void **state)
{
    struct fixture *f = *state;
    struct row row;
    nth(f, KV_OBJECT, 0, &row);
    change(f, KV_OBJECT, KEY(row), NOTHING);
    check(f, INDEX_ONLY);
    EXPECT(f, FSCK_DATA_ORPHAN);
}

static void references_that_do_not_add_up_are_found(void **state)
{
    struct fixture *f = *state;
    struct row row;
    struct data_id id;
    uint32_t shard;
    nth(f, KV_DATA, 0, &row);
    assert_int_equal(key_data_parse(KEY(row), &id, &shard), ERR_OK);
    struct kv_key key;
    uint8_t value[REFS_RECORD_BYTES];
    key_data(&key, id, DATA_REFS_SHARD);
    record_refs_put(value, 2);
    change(f, KV_DATA, key_bytes(&key), bytes_of(value, sizeof value));
    check(f, INDEX_ONLY);
    EXPECT(f, FSCK_DATA_REFERENCES);
}

static void an_object_without_its_bucket_is_found(void **state)
{
    struct fixture *f = *state;
    struct row row;
    nth(f, KV_BUCKET, 0, &row);
    change(f, KV_BUCKET, KEY(row), NOTHING);
    check(f, INDEX_ONLY);
    EXPECT(f, FSCK_BUCKET);
    assert_int_equal(f->counts.findings[FSCK_BUCKET], 3);
}

static void records_that_do_not_decode_are_found(void **state)
{
    struct fixture *f = *state;
    static const enum kv_family families[] = {KV_EXTENT, KV_DATA,   KV_INLINE, KV_GC,
                                              KV_BUCKET, KV_OBJECT, KV_UPLOAD, KV_PART};
    for (size_t i = 0; i < COUNT_OF(families); i++)
        change(f, families[i], BYTES("~~~"), BYTES("nonsense"));
    check(f, INDEX_ONLY);
    EXPECT(f, FSCK_RECORD);
    assert_int_equal(f->counts.findings[FSCK_RECORD], COUNT_OF(families));
}

static void a_manifest_nobody_names_is_found(void **state)
{
    struct fixture *f = *state;
    struct kv_key key;
    key_manifest(&key, (struct data_id){7, 7}, 0);
    change(f, KV_MANIFEST, key_bytes(&key), BYTES("anything"));
    check(f, INDEX_ONLY);
    EXPECT(f, FSCK_MANIFEST);
}

static void parts_of_no_upload_are_found(void **state)
{
    struct fixture *f = *state;
    struct kv_key key;
    const struct upload_id id = {{1}};
    key_part(&key, &id, 1);
    struct part_info info = {.number = 1};
    uint8_t value[256];
    size_t size = record_part_size(&info, 0);
    assert_true(size <= sizeof value);
    record_part_put(value, &info, NULL, 0);
    change(f, KV_PART, key_bytes(&key), bytes_of(value, size));
    check(f, INDEX_ONLY);
    EXPECT(f, FSCK_UPLOAD);
}

static void an_index_of_another_volume_is_found(void **state)
{
    struct fixture *f = *state;
    change(f, KV_SYS, KEY_SYS_UUID, BYTES("another volume's"));
    check(f, INDEX_ONLY);
    EXPECT(f, FSCK_SUPERBLOCK);
}

static void an_index_that_lost_commits_is_found(void **state)
{
    struct fixture *f = *state;
    uint8_t zero[8] = {0};
    change(f, KV_SYS, KEY_SYS_COMMIT_SEQ, bytes_of(zero, sizeof zero));
    check(f, INDEX_ONLY);
    EXPECT(f, FSCK_SUPERBLOCK);
}

/* ---- files ---- */

static void first_segment_path(struct fixture *f, char path[SEGMENT_PATH_BYTES_MAX],
                               struct extent *ret_extent)
{
    struct extent_record record;
    first_extent(f, ret_extent, &record);
    segment_path(f->dir, ret_extent->segment, path);
}

static void a_flipped_bit_is_found_when_data_is_read(void **state)
{
    struct fixture *f = *state;
    char path[SEGMENT_PATH_BYTES_MAX];
    struct extent extent;
    first_segment_path(f, path, &extent);
    int fd = open(path, O_RDWR);
    off_t at = (off_t)extent.unit * UNIT_BYTES + 77;
    uint8_t byte;
    assert_int_equal(pread(fd, &byte, 1, at), 1);
    byte ^= 4;
    assert_int_equal(pwrite(fd, &byte, 1, at), 1);
    fsync(fd);
    close(fd);
    check(f, INDEX_ONLY);
    assert_int_equal(f->counts.findings_total, 0);
    check(f, WITH_DATA);
    EXPECT(f, FSCK_CHECKSUM);
    assert_int_equal(f->counts.findings[FSCK_CHECKSUM], 1);
}

static void a_segment_file_that_is_gone_or_short_or_strange_is_found(void **state)
{
    struct fixture *f = *state;
    char path[SEGMENT_PATH_BYTES_MAX], strange[SEGMENT_PATH_BYTES_MAX + 8];
    struct extent extent;
    first_segment_path(f, path, &extent);
    snprintf(strange, sizeof strange, "%s.x", path);
    assert_int_equal(truncate(path, 4096), 0);
    check(f, INDEX_ONLY);
    EXPECT(f, FSCK_SEGMENT_SIZE);
    assert_int_equal(rename(path, strange), 0);
    check(f, INDEX_ONLY);
    EXPECT(f, FSCK_SEGMENT_MISSING, FSCK_SEGMENT_UNKNOWN);
}

/* What a crash leaves between making a file and recording it: no harm, and no finding. */
static void a_segment_being_made_in_a_crash_is_told_and_no_damage(void **state)
{
    struct fixture *f = *state;
    char path[SEGMENT_PATH_BYTES_MAX];
    segment_path(f->dir, 0x77, path);
    int fd = open(path, O_CREAT | O_WRONLY, 0600);
    assert_true(fd >= 0);
    close(fd);
    check(f, WITH_DATA);
    if (f->counts.findings_total > 0)
        fail_msg("%s", f->told);
    assert_int_equal(f->counts.segments_unrecorded, 1);
}

static void what_is_no_volume_cannot_be_checked(void **state)
{
    struct fixture *f = *state;
    struct err_trail trail = {0};
    assert_int_equal(volume_fsck(&(struct fsck_options){.dir = "/nonexistent"}, &f->counts, &trail),
                     ERR_NOT_VOLUME);
    struct sluice *s;
    struct sluice_error error;
    assert_int_equal(
        sluice_open(&(struct sluice_options){.dir = f->dir, .allow_buffered = 1}, &s, &error),
        SLUICE_OK);
    assert_int_equal(volume_fsck(&(struct fsck_options){.dir = f->dir}, &f->counts, &trail),
                     ERR_IN_USE);
    sluice_close(s);
}

#define ON_A_VOLUME(test) cmocka_unit_test_setup_teardown(test, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        ON_A_VOLUME(a_volume_in_ordinary_use_is_clean),
        ON_A_VOLUME(an_extent_without_its_record_is_found),
        ON_A_VOLUME(extents_that_overlap_are_found),
        ON_A_VOLUME(an_extent_in_a_segments_header_is_found),
        ON_A_VOLUME(a_name_without_data_is_found),
        ON_A_VOLUME(data_without_a_name_is_found),
        ON_A_VOLUME(references_that_do_not_add_up_are_found),
        ON_A_VOLUME(an_object_without_its_bucket_is_found),
        ON_A_VOLUME(records_that_do_not_decode_are_found),
        ON_A_VOLUME(a_manifest_nobody_names_is_found),
        ON_A_VOLUME(parts_of_no_upload_are_found),
        ON_A_VOLUME(an_index_of_another_volume_is_found),
        ON_A_VOLUME(an_index_that_lost_commits_is_found),
        ON_A_VOLUME(a_flipped_bit_is_found_when_data_is_read),
        ON_A_VOLUME(a_segment_file_that_is_gone_or_short_or_strange_is_found),
        ON_A_VOLUME(a_segment_being_made_in_a_crash_is_told_and_no_damage),
        ON_A_VOLUME(what_is_no_volume_cannot_be_checked),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
