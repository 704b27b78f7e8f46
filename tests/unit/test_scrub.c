/*
 * Scrub and repair: everything stored is read once, what is damaged is found and named where it
 * lies, right bytes and no others are put back in its place, and a pass goes on where it was.
 */
#include "volume_fixture.h"

#include <unistd.h>

#include "storage/log.h"
#include "storage/scrub_priv.h"

#define DAMAGES 64u

struct world {
    struct fixture f;
    struct scrub *scrub;
    struct damage damages[DAMAGES];
    unsigned damage_count;
    bool may_repair;
    const char *let_go; /* deleted elsewhere, and not here before scrub catches up */
    uint8_t *memory;
};

/* Brings the bytes that the fixture made; the seed is the object's. */
#define SEED 5u
static enum err repair(void *context, const struct damage *damage, struct err_trail *trail)
{
    struct world *w = context;
    assert_true(w->damage_count < DAMAGES);
    w->damages[w->damage_count++] = *damage;
    if (!w->may_repair)
        return err_say(trail, ERR_BUSY, "no peer is there");
    fixture_fill(w->memory, SEED, damage->offset, damage->size);
    return volume_chunk_rewrite(w->f.volume, damage->data, damage->offset, w->memory, damage->size,
                                trail);
}

static enum err catch_up(void *context)
{
    struct world *w = context;
    return w->let_go != NULL ? fixture_delete(&w->f, TAKE(w->let_go)) : ERR_BUSY;
}

static void scrub_up(struct world *w)
{
    struct scrub_options options = {
        .volume = w->f.volume, .repair = repair, .catch_up = catch_up, .context = w};
    assert_int_equal(scrub_open(&options, &w->scrub, &w->f.trail), ERR_OK);
}

static void world_up(struct world *w)
{
    memset(w, 0, sizeof *w);
    fixture_up(&w->f, MIB(512), MIB(16));
    assert_non_null(w->memory = aligned_alloc(DISK_ALIGN, SUM_CHUNK_BYTES));
    scrub_up(w);
}

static void world_down(struct world *w)
{
    scrub_close(w->scrub);
    fixture_check(&w->f); /* nothing is pinned or lost */
    fixture_fini(&w->f);
    free(w->memory);
}

static struct scrub_status run_pass(struct world *w)
{
    struct scrub_status status;
    assert_int_equal(scrub_start(w->scrub, 0, false, &w->f.trail), ERR_OK);
    while (scrub_step(w->scrub))
        ;
    scrub_status(w->scrub, &status);
    return status;
}

/* Where byte `offset` of the object lies. */
static struct read_span span_at(struct world *w, const char *key, uint64_t offset,
                                struct data_id *ret_id)
{
    struct object *object;
    struct read_plan plan;
    struct read_span span;
    struct piece *pieces;
    size_t count;
    assert_int_equal(fixture_lookup(&w->f, key, &object), ERR_OK);
    assert_int_equal(object_pieces(object, 0, 1, &pieces, &count), ERR_OK);
    *ret_id = pieces[0].data;
    free(pieces);
    read_plan_open(&plan, object, offset, 1);
    assert_int_equal(read_plan_load(&plan), ERR_OK);
    assert_int_equal(read_plan_span(&plan, &span), ERR_OK);
    read_plan_close(&plan);
    object_put(object);
    return span;
}

static void damage_at(struct world *w, const char *key, uint64_t offset)
{
    struct data_id id;
    struct read_span span = span_at(w, key, offset, &id);
    char path[SEGMENT_PATH_BYTES_MAX];
    segment_path(FIXTURE_DIR, span.segment, path);
    assert_int_equal(disk_sim_flip_bit(w->f.sim, path, span.file_offset, 3), ERR_OK);
}

/* ---- a pass ---- */

static const uint64_t sizes[] = {
    1, INLINE_BYTES_MAX, INLINE_BYTES_MAX + 1, SUM_CHUNK_BYTES, MIB(3) + 5, MIB(40) + 77};

static uint64_t put_all(struct world *w)
{
    uint64_t bytes = 0;
    for (size_t i = 0; i < COUNT_OF(sizes); i++) {
        char key[16];
        snprintf(key, sizeof key, "k%zu", i);
        assert_int_equal(fixture_put(&w->f, key, sizes[i], SEED), ERR_OK);
        bytes += sizes[i];
    }
    return bytes;
}

static void a_pass_reads_everything_once(void **state)
{
    struct world w;
    world_up(&w);
    struct scrub_status status;
    scrub_status(w.scrub, &status);
    assert_int_equal(status.state, SCRUB_NEVER);
    assert_false(scrub_step(w.scrub));
    status = run_pass(&w); /* of nothing */
    assert_int_equal(status.state, SCRUB_DONE);
    assert_int_equal(status.verified_bytes, 0);
    uint64_t bytes = put_all(&w);
    for (unsigned pass = 0; pass < 2; pass++) {
        status = run_pass(&w);
        assert_int_equal(status.state, SCRUB_DONE);
        assert_int_equal(status.verified_bytes, bytes);
        assert_int_equal(status.data_count, COUNT_OF(sizes));
        assert_int_equal(status.damaged, 0);
        assert_true(status.ended_ns >= status.started_ns && status.started_ns > 0);
    }
    assert_int_equal(w.damage_count, 0);
    world_down(&w);
}

static void more_data_than_is_taken_at_once_is_read(void **state)
{
    struct world w;
    world_up(&w);
    const unsigned count = SCRUB_IDS + 20;
    for (unsigned i = 0; i < 2 * count; i++) {
        char key[16];
        snprintf(key, sizeof key, "k%u", i);
        assert_int_equal(fixture_put(&w.f, key, i % 2 ? 3 : INLINE_BYTES_MAX + 1, SEED), ERR_OK);
    }
    struct scrub_status status = run_pass(&w);
    assert_int_equal(status.data_count, 2 * count);
    assert_int_equal(status.verified_bytes, count * (INLINE_BYTES_MAX + 4u));
    world_down(&w);
}

static void what_is_damaged_is_found_where_it_lies(void **state)
{
    static const uint64_t at[] = {7, 2 * SUM_CHUNK_BYTES, MIB(17) + 1, MIB(40) + 76};
    struct world w;
    world_up(&w);
    (void)put_all(&w);
    for (size_t i = 0; i < COUNT_OF(at); i++)
        damage_at(&w, "k5", at[i]);
    struct scrub_status status = run_pass(&w);
    assert_int_equal(status.damaged, COUNT_OF(at));
    assert_int_equal(status.repaired, 0);
    assert_non_null(strstr(status.sentence, "no peer is there"));
    assert_int_equal(w.damage_count, COUNT_OF(at));
    for (size_t i = 0; i < COUNT_OF(at); i++) {
        struct data_id id;
        const struct damage *damage = &w.damages[i];
        uint64_t offset = at[i] / SUM_CHUNK_BYTES * SUM_CHUNK_BYTES, left = sizes[5] - offset;
        struct read_span span = span_at(&w, "k5", offset, &id);
        assert_true(data_id_equal(damage->data, id));
        assert_int_equal(damage->offset, offset);
        assert_int_equal(damage->size, left < SUM_CHUNK_BYTES ? left : SUM_CHUNK_BYTES);
        assert_int_equal(damage->segment, span.segment);
        assert_int_equal(damage->file_offset, span.file_offset);
        assert_int_equal(damage->err, ERR_CORRUPT);
    }
    assert_int_equal(fixture_get(&w.f, "k5", sizes[5], SEED), ERR_CORRUPT);

    w.may_repair = true;
    status = run_pass(&w);
    assert_int_equal(status.damaged, COUNT_OF(at));
    assert_int_equal(status.repaired, COUNT_OF(at));
    assert_string_equal(status.sentence, "");
    assert_int_equal(fixture_get(&w.f, "k5", sizes[5], SEED), ERR_OK);
    status = run_pass(&w);
    assert_int_equal(status.damaged, 0);
    /* and it is on the disk, not in a cache */
    scrub_close(w.scrub);
    fixture_cut_power(&w.f);
    assert_int_equal(fixture_open(&w.f), ERR_OK);
    assert_int_equal(fixture_get(&w.f, "k5", sizes[5], SEED), ERR_OK);
    scrub_up(&w);
    world_down(&w);
}

static void what_goes_meanwhile_is_no_damage(void **state)
{
    for (unsigned steps = 0; steps < 12; steps++) {
        struct world w;
        world_up(&w);
        (void)put_all(&w);
        assert_int_equal(scrub_start(w.scrub, 0, false, &w.f.trail), ERR_OK);
        for (unsigned i = 0; i < steps; i++)
            scrub_step(w.scrub);
        for (size_t i = 0; i < COUNT_OF(sizes); i++) {
            char key[16];
            snprintf(key, sizeof key, "k%zu", i);
            assert_int_equal(fixture_delete(&w.f, key), ERR_OK);
            volume_step(w.f.volume);
        }
        assert_int_equal(fixture_put(&w.f, "other", MIB(30), 99), ERR_OK); /* into that space */
        while (scrub_step(w.scrub))
            ;
        volume_step(w.f.volume);
        volume_step(w.f.volume);
        assert_int_equal(w.damage_count, 0);
        world_down(&w);
    }
}

static void what_has_yet_to_go_is_no_damage(void **state)
{
    static const struct {
        const char *damaged, *let_go;
        unsigned found;
    } table[] = {{"k4", "k4", 0}, {"k5", "k5", 0}, {"k5", "k4", 1}};
    for (size_t i = 0; i < COUNT_OF(table); i++) {
        struct world w;
        world_up(&w);
        (void)put_all(&w);
        damage_at(&w, table[i].damaged, MIB(1));
        w.let_go = table[i].let_go;
        struct scrub_status status = run_pass(&w);
        assert_int_equal(w.damage_count, 1); /* met, and nobody had it whole */
        assert_int_equal(status.damaged, table[i].found);
        assert_int_equal(status.repaired, 0);
        assert_null(w.let_go);
        volume_step(w.f.volume);
        volume_step(w.f.volume);
        world_down(&w);
    }
}

/* ---- where it was ---- */

static void a_pass_goes_on_where_it_was(void **state)
{
    struct world w;
    world_up(&w);
    uint64_t bytes = put_all(&w);
    struct scrub_status status;
    assert_int_equal(scrub_start(w.scrub, MIB(7), false, &w.f.trail), ERR_OK);
    for (bool more = true; more;) { /* closed and opened after each step, now and then paused */
        more = scrub_step(w.scrub);
        scrub_pause(w.scrub);
        scrub_status(w.scrub, &status);
        bool was_paused = status.state == SCRUB_PAUSED;
        if (was_paused) {
            assert_false(scrub_step(w.scrub));
            assert_int_equal(scrub_start(w.scrub, 0, false, &w.f.trail), ERR_OK);
        }
        scrub_close(w.scrub);
        scrub_up(&w);
        scrub_status(w.scrub, &status);
        assert_int_equal(status.state, was_paused ? SCRUB_RUNNING : SCRUB_DONE);
        assert_int_equal(status.rate_bytes, MIB(7));
    }
    assert_int_equal(status.state, SCRUB_DONE);
    assert_int_equal(status.verified_bytes, bytes); /* nothing twice, nothing left out */
    assert_int_equal(status.data_count, COUNT_OF(sizes));
    assert_int_equal(scrub_start(w.scrub, 0, false, &w.f.trail), ERR_OK);
    for (unsigned i = 0; i < 5; i++)
        scrub_step(w.scrub);
    assert_int_equal(scrub_start(w.scrub, 0, true, &w.f.trail), ERR_OK); /* anew */
    while (scrub_step(w.scrub))
        ;
    scrub_status(w.scrub, &status);
    assert_int_equal(status.verified_bytes, bytes);
    world_down(&w);
}

static void a_damaged_note_begins_anew(void **state)
{
    struct world w;
    world_up(&w);
    uint64_t bytes = put_all(&w);
    assert_int_equal(scrub_start(w.scrub, 0, false, &w.f.trail), ERR_OK);
    for (unsigned i = 0; i < 10; i++)
        scrub_step(w.scrub);
    scrub_close(w.scrub);
    assert_int_equal(disk_sim_flip_bit(w.f.sim, FIXTURE_DIR "/" SCRUB_FILE, 41, 1), ERR_OK);
    scrub_up(&w);
    struct scrub_status status;
    scrub_status(w.scrub, &status);
    assert_int_equal(status.state, SCRUB_NEVER);
    status = run_pass(&w);
    assert_int_equal(status.verified_bytes, bytes);
    world_down(&w);
}

static void a_note_is_judged(void **state)
{
    const struct scrub_note good = {
        .status = {.state = SCRUB_PAUSED, .rate_bytes = MIB(2), .damaged = 3, .repaired = 2},
        .place = {SCRUB_EXTENTS, {1, 2}, MIB(3)}};
    struct scrub_note note;
    uint8_t bytes[SCRUB_NOTE_LENGTH];
    scrub__note_encode(&good, bytes);
    assert_int_equal(scrub__note_decode(bytes, &note), ERR_OK);
    assert_int_equal(note.place.offset, MIB(3));
    assert_int_equal(note.status.damaged, 3);
    static const struct {
        uint32_t at;
        uint64_t value;
    } wrong[] = {{12, 4}, {12, 1ull << 33 | 9}, {16, 2}, {40, 5}, {48, 0}, {96, 4}};
    for (size_t i = 0; i < COUNT_OF(wrong); i++) {
        scrub__note_encode(&good, bytes);
        if (wrong[i].at < 24)
            put_le32(bytes + wrong[i].at, (uint32_t)wrong[i].value);
        else
            put_le64(bytes + wrong[i].at, wrong[i].value);
        put_le64(bytes + sizeof bytes - 8, xxh3_64(bytes, sizeof bytes - 8));
        assert_int_equal(scrub__note_decode(bytes, &note), ERR_CORRUPT);
    }
    scrub__note_encode(&good, bytes);
    put_le32(bytes + 8, 2);
    put_le64(bytes + sizeof bytes - 8, xxh3_64(bytes, sizeof bytes - 8));
    assert_int_equal(scrub__note_decode(bytes, &note), ERR_FORMAT_NEWER);
}

/* Begun by hand or by itself, the next is due so long after; a pause holds, being closed does not.
 */
static void a_pass_begins_by_itself_when_it_is_time(void **state)
{
    const uint64_t every_ns = 3600 * NS_PER_SECOND;
    struct world w;
    struct scrub_status status;
    world_up(&w);
    assert_int_equal(fixture_put(&w.f, "k", MIB(2), SEED), ERR_OK);
    scrub_close(w.scrub);
    struct scrub_options options = {.volume = w.f.volume, .every_ns = every_ns};
    assert_int_equal(scrub_open(&options, &w.scrub, &w.f.trail), ERR_OK);
    assert_false(scrub_step(w.scrub));
    for (unsigned pass = 0; pass < 3; pass++) {
        clock_manual_advance(&w.f.clock, every_ns - 1);
        assert_false(scrub_step(w.scrub));
        scrub_close(w.scrub);
        assert_int_equal(scrub_open(&options, &w.scrub, &w.f.trail), ERR_OK);
        assert_false(scrub_step(w.scrub));
        clock_manual_advance(&w.f.clock, 1);
        assert_true(scrub_step(w.scrub));
        while (scrub_step(w.scrub))
            ;
        scrub_status(w.scrub, &status);
        assert_int_equal(status.state, SCRUB_DONE);
        assert_int_equal(status.verified_bytes, MIB(2));
    }
    clock_manual_advance(&w.f.clock, every_ns);
    assert_true(scrub_step(w.scrub));
    scrub_pause(w.scrub);
    clock_manual_advance(&w.f.clock, 10 * every_ns);
    assert_false(scrub_step(w.scrub));
    scrub_close(w.scrub);
    options.every_ns = 0;
    assert_int_equal(scrub_open(&options, &w.scrub, &w.f.trail), ERR_OK);
    assert_int_equal(scrub_start(w.scrub, 0, true, &w.f.trail), ERR_OK);
    while (scrub_step(w.scrub))
        ;
    clock_manual_advance(&w.f.clock, 10 * every_ns);
    assert_false(scrub_step(w.scrub)); /* nobody wants it */
    world_down(&w);
}

static void a_rate_out_of_bounds_is_refused(void **state)
{
    struct world w;
    world_up(&w);
    assert_int_equal(scrub_start(w.scrub, SCRUB_RATE_MIN - 1, false, &w.f.trail), ERR_INVALID);
    assert_int_equal(scrub_start(w.scrub, SCRUB_RATE_MAX + 1, false, &w.f.trail), ERR_INVALID);
    assert_false(scrub_step(w.scrub));
    world_down(&w);
}

/* ---- rewriting ---- */

static void only_the_right_bytes_are_written(void **state)
{
    struct world w;
    struct data_id id, small;
    world_up(&w);
    (void)put_all(&w);
    damage_at(&w, "k4", MIB(1) + 9);
    (void)span_at(&w, "k4", 0, &id);
    (void)span_at(&w, "k1", 0, &small);
    const struct {
        struct data_id id;
        uint64_t offset;
        uint32_t size;
        bool is_right;
        enum err expected;
    } table[] = {
        {id, MIB(1), SUM_CHUNK_BYTES, false, ERR_INVALID},       /* other bytes */
        {id, MIB(1), SUM_CHUNK_BYTES - 1, true, ERR_INVALID},    /* not all of it */
        {id, MIB(1) + 4096, SUM_CHUNK_BYTES, true, ERR_INVALID}, /* no chunk begins there */
        {id, MIB(4), SUM_CHUNK_BYTES, true, ERR_INVALID},        /* behind its end */
        {small, 0, INLINE_BYTES_MAX, true, ERR_INVALID},         /* in the index */
        {{9, 9}, 0, SUM_CHUNK_BYTES, true, ERR_NO_SUCH_OBJECT},
        {id, MIB(1), SUM_CHUNK_BYTES, true, ERR_OK},
        {id, MIB(1), SUM_CHUNK_BYTES, true, ERR_OK}, /* twice does no harm */
        {id, MIB(3), 5, true, ERR_OK},               /* the last, in part */
    };
    for (size_t i = 0; i < COUNT_OF(table); i++) {
        fixture_fill(w.memory, table[i].is_right ? SEED : SEED + 1, table[i].offset, table[i].size);
        err_trail_reset(&w.f.trail);
        enum err e = volume_chunk_rewrite(w.f.volume, table[i].id, table[i].offset, w.memory,
                                          table[i].size, &w.f.trail);
        if (e != table[i].expected)
            fail_msg("row %zu: %s", i, err_name(e));
        assert_int_equal(fixture_get(&w.f, "k4", sizes[4], SEED), i < 6 ? ERR_CORRUPT : ERR_OK);
    }
    world_down(&w);
}

static void a_chunk_is_read_or_said_to_be_damaged(void **state)
{
    struct world w;
    struct data_id id, small;
    struct damage damage;
    uint32_t size;
    world_up(&w);
    (void)put_all(&w);
    (void)span_at(&w, "k4", 0, &id);
    (void)span_at(&w, "k0", 0, &small);
    assert_int_equal(volume_chunk_read(w.f.volume, id, MIB(3), w.memory, &size, NULL), ERR_OK);
    assert_int_equal(size, 5);
    assert_int_equal(w.memory[4], fixture_byte(SEED, MIB(3) + 4));
    assert_int_equal(volume_chunk_read(w.f.volume, small, 0, w.memory, &size, NULL), ERR_OK);
    assert_int_equal(size, 1);
    assert_int_equal(volume_chunk_read(w.f.volume, id, MIB(3) + 1, w.memory, &size, &damage),
                     ERR_INVALID);
    assert_int_equal(
        volume_chunk_read(w.f.volume, (struct data_id){9, 9}, 0, w.memory, &size, &damage),
        ERR_NO_SUCH_OBJECT);
    damage_at(&w, "k4", MIB(3) + 4);
    assert_int_equal(volume_chunk_read(w.f.volume, id, MIB(3), w.memory, &size, &damage),
                     ERR_CORRUPT);
    assert_int_equal(damage.size, 5);
    assert_int_equal(damage.offset, MIB(3));
    world_down(&w);
}

static void every_disk_error_of_a_rewrite_is_told(void **state)
{
    bool has_failed_volume = false;
    for (unsigned nth = 1; nth < FAULTS_MAX; nth++) {
        struct world w;
        struct data_id id;
        world_up(&w);
        assert_int_equal(fixture_put(&w.f, "k", MIB(1), SEED), ERR_OK);
        damage_at(&w, "k", 0);
        (void)span_at(&w, "k", 0, &id);
        fixture_fill(w.memory, SEED, 0, SUM_CHUNK_BYTES);
        disk_sim_fail_nth(w.f.sim, nth, ERR_IO);
        enum err e = volume_chunk_rewrite(w.f.volume, id, 0, w.memory, SUM_CHUNK_BYTES, &w.f.trail);
        bool fired = disk_sim_fault_fired(w.f.sim);
        disk_sim_fail_nth(w.f.sim, 0, ERR_OK);
        assert_int_equal(e, fired ? ERR_IO : ERR_OK);
        has_failed_volume = has_failed_volume || fixture_status(&w.f).state == VOLUME_FAILED;
        if (fixture_status(&w.f).state == VOLUME_FAILED)
            assert_int_equal(
                volume_chunk_rewrite(w.f.volume, id, 0, w.memory, SUM_CHUNK_BYTES, &w.f.trail),
                ERR_VOLUME_FAILED);
        scrub_close(w.scrub);
        fixture_fini(&w.f);
        free(w.memory);
        if (!fired) {
            assert_int_equal(nth, 4); /* write, sync, and reading it back have failed */
            assert_true(has_failed_volume);
            return;
        }
    }
    fail_msg("faults never ended");
}

static void a_read_error_that_passes_is_no_damage(void **state)
{
    struct world w;
    world_up(&w);
    uint64_t bytes = put_all(&w);
    for (unsigned nth = 1; nth < 40; nth++) {
        assert_int_equal(scrub_start(w.scrub, 0, true, &w.f.trail), ERR_OK);
        disk_sim_fail_nth(w.f.sim, nth, ERR_IO);
        while (scrub_step(w.scrub))
            ;
        disk_sim_fail_nth(w.f.sim, 0, ERR_OK);
        struct scrub_status status;
        scrub_status(w.scrub, &status);
        assert_int_equal(status.state, SCRUB_DONE);
        assert_int_equal(status.damaged, 0);
        assert_int_equal(status.verified_bytes, bytes);
    }
    world_down(&w);
}

/* ---- with a thread ---- */

static void the_thread_does_a_pass_and_rests(void **state)
{
    char dir[64], command[96];
    snprintf(dir, sizeof dir, "/var/tmp/sluice-scrub-XXXXXX");
    assert_non_null(mkdtemp(dir));
    struct volume *volume;
    struct scrub *scrub;
    struct scrub_status status;
    struct err_trail trail = {.text = ""};
    const struct volume_format_options format = {
        .dir = dir, .segment_bytes = MIB(16), .direct = VOLUME_DIRECT_ANY};
    assert_int_equal(volume_format(&format, &trail), ERR_OK);
    const struct volume_options options = {.dir = dir, .direct = VOLUME_DIRECT_ANY};
    assert_int_equal(volume_open(&options, &volume, &trail), ERR_OK);
    assert_int_equal(scrub_open(&(struct scrub_options){.volume = volume}, &scrub, &trail), ERR_OK);
    for (unsigned pass = 0; pass < 3; pass++) {
        assert_int_equal(scrub_start(scrub, SCRUB_RATE_MAX, true, &trail), ERR_OK);
        do {
            usleep(1000);
            scrub_status(scrub, &status);
        } while (status.state == SCRUB_RUNNING);
        assert_int_equal(status.state, SCRUB_DONE);
    }
    scrub_close(scrub);
    volume_close(volume);
    snprintf(command, sizeof command, "rm -rf %s", dir);
    assert_int_equal(system(command), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_pass_reads_everything_once),
        cmocka_unit_test(more_data_than_is_taken_at_once_is_read),
        cmocka_unit_test(what_is_damaged_is_found_where_it_lies),
        cmocka_unit_test(what_goes_meanwhile_is_no_damage),
        cmocka_unit_test(what_has_yet_to_go_is_no_damage),
        cmocka_unit_test(a_pass_goes_on_where_it_was),
        cmocka_unit_test(a_damaged_note_begins_anew),
        cmocka_unit_test(a_note_is_judged),
        cmocka_unit_test(a_pass_begins_by_itself_when_it_is_time),
        cmocka_unit_test(a_rate_out_of_bounds_is_refused),
        cmocka_unit_test(only_the_right_bytes_are_written),
        cmocka_unit_test(a_chunk_is_read_or_said_to_be_damaged),
        cmocka_unit_test(every_disk_error_of_a_rewrite_is_told),
        cmocka_unit_test(a_read_error_that_passes_is_no_damage),
        cmocka_unit_test(the_thread_does_a_pass_and_rests),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
