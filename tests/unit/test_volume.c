#include <pthread.h>
#include <unistd.h>

#include "volume_fixture.h"

/* ---- format ---- */

static void make_file(struct fixture *f, const char *path)
{
    struct disk_file *file;
    assert_int_equal(f->disk->ops->open(f->disk, path, DISK_WRITE | DISK_CREATE, &file), ERR_OK);
    f->disk->ops->close(file);
}

static void a_directory_that_holds_anything_is_left_alone(void **state)
{
    static const char *const there[] = {"/volume/file", "/volume/meta/CURRENT",
                                        "/volume/seg/00000000"};
    for (size_t i = 0; i < COUNT_OF(there); i++) {
        struct fixture f;
        fixture_init(&f, MIB(256));
        assert_int_equal(f.disk->ops->make_dir(f.disk, "/volume"), ERR_OK);
        if (i > 0)
            assert_int_equal(f.disk->ops->make_dir(f.disk, i == 1 ? "/volume/meta" : "/volume/seg"),
                             ERR_OK);
        make_file(&f, there[i]);
        assert_int_equal(fixture_format(&f, MIB(16)), ERR_FILE_EXISTS);
        assert_non_null(strstr(f.trail.text, "not empty"));
        assert_int_equal(fixture_open(&f), ERR_NOT_VOLUME);
        fixture_fini(&f);
    }
}

static void a_fresh_file_system_counts_as_empty(void **state)
{
    struct fixture f;
    fixture_init(&f, MIB(256));
    assert_int_equal(f.disk->ops->make_dir(f.disk, "/volume"), ERR_OK);
    assert_int_equal(fixture_open(&f), ERR_NOT_VOLUME);
    assert_non_null(strstr(f.trail.text, "format it first"));
    assert_int_equal(f.disk->ops->make_dir(f.disk, "/volume/lost+found"), ERR_OK);
    assert_int_equal(fixture_format(&f, MIB(16)), ERR_OK);
    assert_int_equal(fixture_format(&f, MIB(16)), ERR_FILE_EXISTS);
    assert_non_null(strstr(f.trail.text, "is a Sluice volume already"));
    assert_int_equal(fixture_open(&f), ERR_OK);
    fixture_fini(&f);
}

static void nonsense_is_not_formatted(void **state)
{
    static const struct {
        uint64_t disk_bytes, segment_bytes;
        enum err expected;
    } table[] = {
        {MIB(256), MIB(16) + 4096, ERR_INVALID},
        {MIB(256), KIB(512), ERR_INVALID},
        {MIB(256), GIB(32), ERR_INVALID},
        {MIB(256), MIB(256), ERR_DISK_FULL},
        {MIB(1), 0, ERR_DISK_FULL},
        {MIB(256), 0, ERR_OK},
    };
    for (size_t i = 0; i < COUNT_OF(table); i++) {
        struct fixture f;
        fixture_init(&f, table[i].disk_bytes);
        assert_int_equal(fixture_format(&f, table[i].segment_bytes), table[i].expected);
        fixture_fini(&f);
    }
    struct err_trail trail = {0};
    char long_name[400];
    memset(long_name, 'x', sizeof long_name);
    long_name[sizeof long_name - 1] = '\0';
    assert_int_equal(volume_format(&(struct volume_format_options){.dir = long_name}, &trail),
                     ERR_INVALID);
    struct volume *volume;
    assert_int_equal(volume_open(&(struct volume_options){.dir = long_name}, &volume, &trail),
                     ERR_INVALID);
}

/* Fails and crashes at every call: what is left is no volume, and formatting again makes it one. */
static void a_format_is_whole_or_not_there(void **state)
{
    unsigned nth = 1;
    for (; nth < FAULTS_MAX; nth++) {
        struct fixture f;
        fixture_init(&f, MIB(256));
        rand_seeded_init(&f.chances, nth);
        disk_sim_fail_nth(f.sim, nth, ERR_IO);
        enum err e = fixture_format(&f, MIB(16));
        bool fired = disk_sim_fault_fired(f.sim);
        disk_sim_fail_nth(f.sim, 0, ERR_OK);
        disk_sim_crash(f.sim);
        if (e == ERR_OK) {
            assert_false(fired);
            assert_int_equal(fixture_open(&f), ERR_OK);
            fixture_fini(&f);
            break;
        }
        enum err opened = fixture_open(&f);
        if (opened == ERR_OK) { /* the last sync failed after the bytes were there */
            fixture_make_bucket(&f);
        } else {
            assert_true(opened == ERR_NO_SUCH_FILE || opened == ERR_NOT_VOLUME);
            err_trail_reset(&f.trail);
            assert_int_equal(fixture_format(&f, MIB(16)), ERR_OK);
            assert_int_equal(fixture_open(&f), ERR_OK);
        }
        fixture_fini(&f);
    }
    assert_true(nth > 10);
}

/* ---- open ---- */

static void opening_says_what_is_wrong(void **state)
{
    struct fixture f;
    fixture_init(&f, MIB(256));
    assert_int_equal(fixture_open(&f), ERR_NO_SUCH_FILE);
    assert_string_equal(f.trail.text, "open volume /volume: there is no such directory");
    assert_int_equal(f.disk->ops->make_dir(f.disk, "/volume"), ERR_OK);
    make_file(&f, "/volume/photo.jpg");
    assert_int_equal(fixture_open(&f), ERR_NOT_VOLUME);
    assert_string_equal(f.trail.text,
                        "open volume /volume: this is no Sluice volume: it has no superblock");
    assert_int_equal(f.disk->ops->make_dir(f.disk, "/volume/meta"), ERR_OK);
    assert_int_equal(fixture_open(&f), ERR_NOT_VOLUME);
    assert_non_null(strstr(f.trail.text, "a format was interrupted here"));
    fixture_fini(&f);
}

static void one_process_at_a_time(void **state)
{
    struct fixture f;
    struct volume *second;
    struct kv *kv;
    fixture_up(&f, MIB(256), MIB(16));
    for (unsigned read_only = 0; read_only < 2; read_only++) {
        assert_int_equal(kv_sim_open(&kv), ERR_OK);
        struct volume_options options = {
            .dir = FIXTURE_DIR, .disk = f.disk, .kv = kv, .read_only = read_only};
        assert_int_equal(volume_open(&options, &second, &f.trail), ERR_IN_USE);
        assert_non_null(strstr(f.trail.text, "another process has this volume open"));
        err_trail_reset(&f.trail);
    }
    fixture_fini(&f);
}

static void damage_superblock(struct fixture *f, void (*change)(struct superblock *superblock))
{
    struct disk_file *file;
    struct superblock sb;
    assert_int_equal(f->disk->ops->open(f->disk, "/volume/superblock", DISK_WRITE, &file), ERR_OK);
    assert_int_equal(superblock_read(file, &sb, &f->trail), ERR_OK);
    change(&sb);
    assert_int_equal(superblock_write(file, &sb, &f->trail), ERR_OK);
    f->disk->ops->close(file);
}

static void make_newer(struct superblock *sb)
{
    sb->features_incompat = 1;
}
static void make_read_only(struct superblock *sb)
{
    sb->features_read_only = 1ull << 63;
}
static void make_ahead(struct superblock *sb)
{
    sb->durable_commit_seq += 1;
}
static void make_other(struct superblock *sb)
{
    sb->uuid[3] ^= 1;
}

static void a_superblock_that_forbids_is_obeyed(void **state)
{
    static const struct {
        void (*change)(struct superblock *superblock);
        enum err expected;
        const char *says;
    } table[] = {
        {make_newer, ERR_FORMAT_NEWER, "newer Sluice"},
        {make_read_only, ERR_FORMAT_NEWER, "can only read it"},
        {make_ahead, ERR_CORRUPT, "lost changes"},
        {make_other, ERR_CORRUPT, "another volume"},
    };
    for (size_t i = 0; i < COUNT_OF(table); i++) {
        struct fixture f;
        fixture_up(&f, MIB(256), MIB(16));
        fixture_close_volume(&f);
        damage_superblock(&f, table[i].change);
        assert_int_equal(fixture_open(&f), table[i].expected);
        assert_non_null(strstr(f.trail.text, table[i].says));
        fixture_fini(&f);
    }
}

static void an_index_that_is_gone_is_missed(void **state)
{
    struct fixture f;
    fixture_up(&f, MIB(256), MIB(16));
    fixture_close_volume(&f);
    kv_sim_set_kept(f.kv, false);
    f.kv->ops->close(f.kv);
    assert_int_equal(kv_sim_open(&f.kv), ERR_OK);
    kv_sim_set_kept(f.kv, true);
    assert_int_equal(fixture_open(&f), ERR_CORRUPT);
    assert_non_null(strstr(f.trail.text, "the index is empty"));
    fixture_fini(&f);
}

static void put_sys(struct fixture *f, enum kv_family family, const struct kv_key *key,
                    struct bytes value)
{
    struct kv_batch *batch;
    assert_int_equal(kv_batch_open(&batch), ERR_OK);
    assert_int_equal(kv_batch_put(batch, family, key_bytes(key), value), ERR_OK);
    assert_int_equal(f->kv->ops->write(f->kv, batch, true, &f->trail), ERR_OK);
    kv_batch_close(batch);
}

static void assert_damaged(struct fixture *f, const char *says)
{
    struct body *body;
    assert_int_equal(fixture_open(f), ERR_OK);
    assert_int_equal(fixture_status(f).state, VOLUME_READ_ONLY);
    assert_non_null(strstr(fixture_status(f).reason, says));
    assert_int_equal(body_open(f->volume, &(struct body_options){f->loop, 10}, &body, &f->trail),
                     ERR_READ_ONLY);
    assert_int_equal(fixture_delete(f, "k"), ERR_READ_ONLY);
    volume_step(f->volume);
    assert_int_equal(fixture_status(f).state, VOLUME_READ_ONLY); /* it does not mend by itself */
}

static void extents_that_overlap_open_read_only(void **state)
{
    struct fixture f;
    struct object *object;
    struct kv_key key;
    uint8_t record[EXTENT_RECORD_BYTES];
    fixture_up(&f, MIB(256), MIB(16));
    assert_int_equal(fixture_put(&f, "k", MIB(1), 1), ERR_OK);
    assert_int_equal(fixture_lookup(&f, "k", &object), ERR_OK);
    struct extent extent = object->layout.extents[0];
    object_put(object);
    fixture_close_volume(&f);
    key_extent(&key, extent.segment, extent.unit + 10);
    record_extent_put(record, &(struct extent_record){.units = 1, .bytes = 4096, .data = {1, 999}});
    put_sys(&f, KV_EXTENT, &key, bytes_of(record, sizeof record));
    assert_damaged(&f, "on another one");
    assert_int_equal(fixture_get(&f, "k", MIB(1), 1), ERR_OK); /* what is whole can be read */
    fixture_fini(&f);
}

static void a_missing_segment_opens_read_only(void **state)
{
    struct fixture f;
    struct object *object;
    char path[SEGMENT_PATH_BYTES_MAX];
    fixture_up(&f, MIB(256), MIB(16));
    assert_int_equal(fixture_put(&f, "k", MIB(20), 1), ERR_OK);
    assert_int_equal(fixture_put(&f, "small", 100, 2), ERR_OK);
    assert_int_equal(fixture_lookup(&f, "k", &object), ERR_OK);
    segment_path(FIXTURE_DIR, object->layout.extents[1].segment, path);
    object_put(object);
    fixture_close_volume(&f);
    assert_int_equal(f.disk->ops->remove(f.disk, path), ERR_OK);
    assert_damaged(&f, "is missing");
    assert_int_equal(fixture_get(&f, "small", 100, 2), ERR_OK);
    assert_int_equal(fixture_get(&f, "k", MIB(20), 1), ERR_CORRUPT);
    fixture_fini(&f);
}

static void a_segments_header_is_judged(void **state)
{
    for (unsigned copies = 1; copies <= 2; copies++) {
        struct fixture f;
        char path[SEGMENT_PATH_BYTES_MAX];
        fixture_up(&f, MIB(256), MIB(16));
        assert_int_equal(fixture_put(&f, "k", MIB(1), 1), ERR_OK);
        fixture_close_volume(&f);
        segment_path(FIXTURE_DIR, 0, path);
        for (unsigned i = 0; i < copies; i++)
            assert_int_equal(disk_sim_flip_bit(f.sim, path, i * UNIT_BYTES + 20, 1), ERR_OK);
        if (copies == 2) {
            assert_damaged(&f, "header");
        } else {
            assert_int_equal(fixture_open(&f), ERR_OK); /* that is what there are two for */
            assert_int_equal(fixture_get(&f, "k", MIB(1), 1), ERR_OK);
        }
        fixture_fini(&f);
    }
}

static bool is_there(struct fixture *f, const char *path)
{
    struct disk_file *file;
    if (f->disk->ops->open(f->disk, path, DISK_READ, &file))
        return false;
    f->disk->ops->close(file);
    return true;
}

static void leftovers_of_a_crash_are_removed(void **state)
{
    struct fixture f;
    fixture_up(&f, MIB(256), MIB(16));
    assert_int_equal(fixture_put(&f, "k", MIB(1), 1), ERR_OK);
    fixture_close_volume(&f);
    make_file(&f, "/volume/seg/00000033");
    make_file(&f, "/volume/seg/not-ours");
    assert_int_equal(fixture_open(&f), ERR_OK);
    assert_false(is_there(&f, "/volume/seg/00000033"));
    assert_true(is_there(&f, "/volume/seg/not-ours"));
    assert_true(is_there(&f, "/volume/seg/00000000"));
    assert_int_equal(fixture_get(&f, "k", MIB(1), 1), ERR_OK);
    fixture_fini(&f);
}

/* Opening fails at every call of disk and index, and is then done again. */
static void every_error_while_opening_is_survived(void **state)
{
    for (unsigned what = 0; what < 2; what++) {
        unsigned nth = 1;
        for (; nth < FAULTS_MAX; nth++) {
            struct fixture f;
            fixture_up(&f, MIB(256), MIB(16));
            assert_int_equal(fixture_put(&f, "k", MIB(1), 1), ERR_OK);
            fixture_close_volume(&f);
            if (what)
                disk_sim_fail_nth(f.sim, nth, nth % 2 ? ERR_IO : ERR_NO_MEMORY);
            else
                kv_sim_fail_nth(f.kv, nth, nth % 2 ? ERR_IO : ERR_NO_MEMORY);
            enum err e = fixture_open(&f);
            bool fired = what ? disk_sim_fault_fired(f.sim) : kv_sim_fault_fired(f.kv);
            disk_sim_fail_nth(f.sim, 0, ERR_OK);
            kv_sim_fail_nth(f.kv, 0, ERR_OK);
            if (e) {
                assert_true(fired);
                assert_non_null(strstr(f.trail.text, "open volume /volume: "));
            } else {
                fixture_close_volume(&f);
            }
            assert_int_equal(fixture_open(&f), ERR_OK);
            assert_int_equal(fixture_status(&f).state, VOLUME_OK);
            assert_int_equal(fixture_get(&f, "k", MIB(1), 1), ERR_OK);
            fixture_check(&f);
            fixture_fini(&f);
            if (!fired)
                break;
        }
        assert_true(nth > 8);
    }
}

static void read_only_changes_nothing(void **state)
{
    struct fixture f;
    struct body *body;
    struct disk_record *record;
    const struct disk_event *events;
    fixture_up(&f, MIB(256), MIB(16));
    assert_int_equal(fixture_put(&f, "k", MIB(1), 1), ERR_OK);
    fixture_close_volume(&f);
    assert_int_equal(disk_record_open(f.disk, &record), ERR_OK);
    struct volume_options options = {.dir = FIXTURE_DIR,
                                     .disk = disk_record_disk(record),
                                     .kv = f.kv,
                                     .clock = &f.clock.clock,
                                     .threads = VOLUME_NO_THREADS,
                                     .read_only = true};
    assert_int_equal(volume_open(&options, &f.volume, &f.trail), ERR_OK);
    assert_int_equal(fixture_get(&f, "k", MIB(1), 1), ERR_OK);
    assert_int_equal(fixture_delete(&f, "k"), ERR_READ_ONLY);
    assert_int_equal(body_open(f.volume, &(struct body_options){f.loop, 10}, &body, &f.trail),
                     ERR_READ_ONLY);
    fixture_close_volume(&f);
    size_t count = disk_record_events(record, &events);
    for (size_t i = 0; i < count; i++)
        assert_int_equal(events[i].kind, DISK_EVENT_OPEN);
    disk_record_close(record);
    assert_int_equal(fixture_open(&f), ERR_OK);
    assert_int_equal(fixture_get(&f, "k", MIB(1), 1), ERR_OK);
    fixture_fini(&f);
}

static void each_opening_is_a_new_epoch(void **state)
{
    struct fixture f;
    fixture_up(&f, MIB(256), MIB(16));
    for (uint64_t epoch = 1; epoch < 6; epoch++) {
        assert_int_equal(fixture_status(&f).mount_epoch, epoch);
        if (epoch % 2) {
            fixture_reopen(&f);
        } else {
            fixture_cut_power(&f);
            assert_int_equal(fixture_open(&f), ERR_OK);
        }
    }
    fixture_fini(&f);
}

static void the_superblock_follows_within_seconds(void **state)
{
    struct fixture f;
    struct disk_file *file;
    struct superblock sb;
    fixture_up(&f, MIB(256), MIB(16));
    assert_int_equal(fixture_put(&f, "k", 10, 1), ERR_OK);
    clock_manual_advance(&f.clock, 11 * NS_PER_SECOND);
    volume_step(f.volume);
    assert_int_equal(f.disk->ops->open(f.disk, "/volume/superblock", DISK_READ, &file), ERR_OK);
    assert_int_equal(superblock_read(file, &sb, &f.trail), ERR_OK);
    f.disk->ops->close(file);
    assert_int_equal(sb.durable_commit_seq, atomic_load(&f.volume->commit.seq));
    assert_int_equal(sb.state, SUPERBLOCK_DIRTY);
    fixture_fini(&f);
}

/* ---- space ---- */

static void the_disk_is_shared_out_sensibly(void **state)
{
    static const struct {
        uint64_t total, segment, reserve;
    } table[] = {
        {MIB(64), MIB(1), MIB(8)},    {MIB(300), MIB(4), MIB(32)}, {GIB(1), MIB(16), MIB(51)},
        {GIB(10), MIB(16), MIB(512)}, {GIB(100), MIB(64), GIB(5)}, {TIB(1), GIB(1), GIB(8)},
        {TIB(20), GIB(16), GIB(8)},   {TIB(100), GIB(16), GIB(8)},
    };
    for (size_t i = 0; i < COUNT_OF(table); i++) {
        uint64_t total = table[i].total;
        assert_int_equal(space_segment_bytes(total), table[i].segment);
        assert_int_equal(space_reserve_bytes(total) >> 20, table[i].reserve >> 20);
        assert_true(space_low_bytes(total) * 4 <= space_reserve_bytes(total));
        assert_true(space_ballast_bytes(total) < space_reserve_bytes(total) / 4);
        struct space_view view = {
            .disk_total_bytes = total, .disk_free_bytes = total, .segment_bytes = table[i].segment};
        uint64_t bytes = (uint64_t)space_growable(&view) * table[i].segment;
        assert_true(bytes + space_reserve_bytes(total) <= total);
        assert_true(bytes >= total / 5 * 4); /* most of it is for objects */
        view.disk_free_bytes = space_low_bytes(total);
        assert_int_equal(space_growable(&view), 0);
    }
}

static void a_full_disk_refuses_and_takes_again_after_a_delete(void **state)
{
    struct fixture f;
    char key[16];
    unsigned count = 0;
    fixture_up(&f, MIB(300), 0);
    enum err e = ERR_OK;
    for (; count < 1000 && e == ERR_OK; count += e == ERR_OK) {
        snprintf(key, sizeof key, "k%u", count);
        e = fixture_put(&f, key, MIB(1) + 5, count);
    }
    assert_int_equal(e, ERR_DISK_FULL);
    assert_true(count * MIB(1) > MIB(300) / 5 * 4 - MIB(4));
    assert_int_equal(fixture_status(&f).state, VOLUME_OK); /* the index has its reserve */
    assert_true(fixture_status(&f).disk_free_bytes > MIB(16));
    assert_int_equal(fixture_put(&f, "small", 5000, 1), ERR_OK);
    for (unsigned i = 0; i < 20; i++) {
        snprintf(key, sizeof key, "k%u", i);
        assert_int_equal(fixture_delete(&f, key), ERR_OK);
        assert_int_equal(fixture_put(&f, key, MIB(1) + 5, 1000 + i), ERR_OK);
    }
    for (unsigned i = 0; i < count; i++) {
        snprintf(key, sizeof key, "k%u", i);
        assert_int_equal(fixture_get(&f, key, MIB(1) + 5, i < 20 ? 1000 + i : i), ERR_OK);
    }
    fixture_check(&f);
    for (unsigned i = 0; i < count; i++) {
        snprintf(key, sizeof key, "k%u", i);
        assert_int_equal(fixture_delete(&f, key), ERR_OK);
    }
    for (unsigned i = 0; i < 10; i++)
        volume_step(f.volume);
    assert_in_range(fixture_status(&f).segment_count, 1, 3);
    assert_int_equal(fixture_put(&f, "k", MIB(200), 5), ERR_OK);
    fixture_fini(&f);
}

/* Somebody else fills the file system. */
static void a_disk_filled_by_others_goes_read_only_and_comes_back(void **state)
{
    struct fixture f;
    struct disk_file *file;
    struct disk_space space;
    struct body *body;
    fixture_up(&f, MIB(300), MIB(4));
    assert_int_equal(fixture_put(&f, "k", MIB(1), 1), ERR_OK);
    volume_step(f.volume);
    assert_true(is_there(&f, "/volume/ballast"));
    assert_int_equal(f.disk->ops->open(f.disk, "/other", DISK_WRITE | DISK_CREATE, &file), ERR_OK);
    assert_int_equal(f.disk->ops->space(f.disk, "", &space), ERR_OK);
    assert_int_equal(f.disk->ops->allocate(file, 0, space.free_bytes - MIB(1)), ERR_OK);
    f.disk->ops->close(file);
    clock_manual_advance(&f.clock, 2 * NS_PER_SECOND);
    volume_step(f.volume);
    assert_int_equal(fixture_status(&f).state, VOLUME_READ_ONLY);
    assert_non_null(strstr(fixture_status(&f).reason, "kept for the index"));
    assert_int_equal(body_open(f.volume, &(struct body_options){f.loop, 10}, &body, &f.trail),
                     ERR_READ_ONLY);
    volume_step(f.volume);
    volume_step(f.volume);
    assert_false(is_there(&f, "/volume/ballast")); /* given up, for what deletes need */
    assert_int_equal(fixture_delete(&f, "k"), ERR_OK);
    for (unsigned i = 0; i < 5; i++)
        volume_step(f.volume);
    /* The ballast alone does not make it well. */
    assert_int_equal(fixture_status(&f).state, VOLUME_READ_ONLY);
    assert_int_equal(f.disk->ops->remove(f.disk, "/other"), ERR_OK);
    for (unsigned i = 0; i < 3; i++) {
        clock_manual_advance(&f.clock, 2 * NS_PER_SECOND);
        volume_step(f.volume);
    }
    assert_int_equal(fixture_status(&f).state, VOLUME_OK);
    assert_true(is_there(&f, "/volume/ballast"));
    assert_int_equal(fixture_put(&f, "k", MIB(100), 2), ERR_OK);
    fixture_check(&f);
    fixture_fini(&f);
}

/* ---- a real directory, RocksDB, threads ---- */

struct real {
    struct fixture f; /* of which only loop, slots and volume are used */
    char dir[64];
};

static void remove_dir(const char *dir)
{
    char command[128];
    snprintf(command, sizeof command, "rm -rf '%s'", dir);
    assert_int_equal(system(command), 0);
}

static enum err open_real(struct real *r)
{
    err_trail_reset(&r->f.trail);
    return volume_open(&(struct volume_options){.dir = r->dir, .direct = VOLUME_DIRECT_ANY},
                       &r->f.volume, &r->f.trail);
}

static enum err commit_real(struct real *r, struct commit_wait *wait)
{
    fixture_submit(&r->f, wait);
    while (!wait->is_done)
        loop_run_once(r->f.loop, NS_PER_SECOND);
    return wait->m.err;
}

static void finish_real(struct real *r, struct write_wait *wait)
{
    while (!wait->is_done)
        loop_run_once(r->f.loop, NS_PER_SECOND);
}

static enum err put_real(struct real *r, const char *key, uint64_t size, uint64_t seed)
{
    struct body *body;
    struct commit_wait wait;
    struct body_options options = {r->f.loop, size};
    enum err e = body_open(r->f.volume, &options, &body, &r->f.trail);
    for (uint64_t at = 0; e == ERR_OK && at < size;) {
        struct write_wait write = {0};
        uint32_t step = size - at < SLOT_LARGE_BYTES ? (uint32_t)(size - at) : SLOT_LARGE_BYTES;
        fixture_fill(r->f.slots[0], seed, at, step);
        e = body_write(body, &write.write, r->f.slots[0], step, at + step == size, fixture_written,
                       &r->f.trail);
        if (e == ERR_OK)
            finish_real(r, &write);
        e = e ? e : write.err;
        at += step;
    }
    if (e) {
        body_close(body);
        return e;
    }
    fixture_put_mutation(&r->f, &wait, key, body, size);
    return commit_real(r, &wait);
}

static void what_is_put_on_a_real_disk_is_there_after_reopening(void **state)
{
    static const uint64_t sizes[] = {0,      1,           4096,   INLINE_BYTES_MAX + 1,
                                     100000, MIB(3) + 17, MIB(40)};
    struct real r;
    char key[16];
    fixture_init(&r.f, MIB(64));
    snprintf(r.dir, sizeof r.dir, "/tmp/sluice-test-volume-XXXXXX");
    assert_non_null(mkdtemp(r.dir));
    struct volume_format_options format = {
        .dir = r.dir, .segment_bytes = MIB(16), .direct = VOLUME_DIRECT_ANY};
    assert_int_equal(volume_format(&format, &r.f.trail), ERR_OK);
    assert_int_equal(open_real(&r), ERR_OK);
    struct volume *second;
    struct volume_options options = {.dir = r.dir, .direct = VOLUME_DIRECT_ANY};
    assert_int_equal(volume_open(&options, &second, &r.f.trail), ERR_IN_USE);
    struct commit_wait bucket = {.m = {.kind = MUTATION_BUCKET_CREATE,
                                       .bucket_name = BYTES("photos"),
                                       .owner = BYTES("me"),
                                       .region = BYTES("here")}};
    assert_int_equal(commit_real(&r, &bucket), ERR_OK);
    r.f.bucket = bucket.m.new_bucket;
    for (unsigned round = 0; round < 3; round++) {
        for (size_t i = 0; i < COUNT_OF(sizes); i++) {
            snprintf(key, sizeof key, "k%zu", i);
            assert_int_equal(put_real(&r, key, sizes[i], round * 100 + i), ERR_OK);
        }
        volume_close(r.f.volume);
        r.f.volume = NULL;
        assert_int_equal(open_real(&r), ERR_OK);
        for (size_t i = 0; i < COUNT_OF(sizes); i++) {
            snprintf(key, sizeof key, "k%zu", i);
            assert_int_equal(fixture_get(&r.f, key, sizes[i], round * 100 + i), ERR_OK);
        }
    }
    assert_int_equal(fixture_status(&r.f).state, VOLUME_OK);
    assert_int_equal(fixture_status(&r.f).mount_epoch, 4);
    volume_close(r.f.volume);
    r.f.volume = NULL;
    remove_dir(r.dir);
    fixture_fini(&r.f);
}

/* Several loops put, read and delete on a volume so small that segments are made and space is
 * waited for all the time. */
#define WORKERS       4u
#define WORKER_ROUNDS 60u

struct worker {
    pthread_t thread;
    struct real r;
    unsigned number, full;
    enum err worst;
};

static void *work(void *context)
{
    struct worker *worker = context;
    char keys[3][16];
    uint64_t seeds[3] = {0}, sizes[3] = {0};
    for (unsigned i = 0; i < WORKER_ROUNDS && worker->worst == ERR_OK; i++) {
        unsigned k = i % 3;
        snprintf(keys[k], sizeof keys[k], "w%u/%u", worker->number, k);
        uint64_t size = i % 7 == 0 ? 3000 : 20000 + (i % 5) * MIB(1) / 2,
                 seed = worker->number * 1000 + i;
        enum err e = put_real(&worker->r, keys[k], size, seed);
        if (e == ERR_OK)
            seeds[k] = seed, sizes[k] = size;
        else if (e == ERR_DISK_FULL)
            worker->full++;
        else
            worker->worst = e;
        for (unsigned j = 0; j < 3; j++)
            if (sizes[j] > 0 && fixture_get(&worker->r.f, keys[j], sizes[j], seeds[j]) != ERR_OK)
                worker->worst = ERR_CORRUPT;
    }
    return NULL;
}

static void threads_share_a_small_volume(void **state)
{
    static struct worker workers[WORKERS];
    struct fixture f;
    fixture_init(&f, MIB(64));
    assert_int_equal(fixture_format(&f, MIB(4)), ERR_OK);
    struct volume_options options = {.dir = FIXTURE_DIR, .disk = f.disk, .kv = f.kv};
    assert_int_equal(volume_open(&options, &f.volume, &f.trail), ERR_OK);
    struct real main_thread = {.f = f};
    struct commit_wait bucket = {.m = {.kind = MUTATION_BUCKET_CREATE,
                                       .bucket_name = BYTES("photos"),
                                       .owner = BYTES("me"),
                                       .region = BYTES("here")}};
    assert_int_equal(commit_real(&main_thread, &bucket), ERR_OK);
    for (unsigned i = 0; i < WORKERS; i++) {
        memset(&workers[i], 0, sizeof workers[i]);
        fixture_init(&workers[i].r.f, MIB(1));
        workers[i].r.f.volume = f.volume;
        workers[i].r.f.bucket = bucket.m.new_bucket;
        workers[i].number = i;
        assert_int_equal(pthread_create(&workers[i].thread, NULL, work, &workers[i]), 0);
    }
    for (unsigned i = 0; i < WORKERS; i++)
        pthread_join(workers[i].thread, NULL);
    for (unsigned i = 0; i < WORKERS; i++) {
        assert_int_equal(workers[i].worst, ERR_OK);
        assert_true(workers[i].full < WORKER_ROUNDS / 2);
        workers[i].r.f.volume = NULL;
        fixture_fini(&workers[i].r.f);
    }
    fixture_fini(&f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_directory_that_holds_anything_is_left_alone),
        cmocka_unit_test(a_fresh_file_system_counts_as_empty),
        cmocka_unit_test(nonsense_is_not_formatted),
        cmocka_unit_test(a_format_is_whole_or_not_there),
        cmocka_unit_test(opening_says_what_is_wrong),
        cmocka_unit_test(one_process_at_a_time),
        cmocka_unit_test(a_superblock_that_forbids_is_obeyed),
        cmocka_unit_test(an_index_that_is_gone_is_missed),
        cmocka_unit_test(extents_that_overlap_open_read_only),
        cmocka_unit_test(a_missing_segment_opens_read_only),
        cmocka_unit_test(a_segments_header_is_judged),
        cmocka_unit_test(leftovers_of_a_crash_are_removed),
        cmocka_unit_test(every_error_while_opening_is_survived),
        cmocka_unit_test(read_only_changes_nothing),
        cmocka_unit_test(each_opening_is_a_new_epoch),
        cmocka_unit_test(the_superblock_follows_within_seconds),
        cmocka_unit_test(the_disk_is_shared_out_sensibly),
        cmocka_unit_test(a_full_disk_refuses_and_takes_again_after_a_delete),
        cmocka_unit_test(a_disk_filled_by_others_goes_read_only_and_comes_back),
        cmocka_unit_test(what_is_put_on_a_real_disk_is_there_after_reopening),
        cmocka_unit_test(threads_share_a_small_volume),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
