/*
 * Two volumes and one log. The first applies each record as it comes, and what it holds and answers
 * is the truth. The second lags, gathers, is cut off, crashes, is read from while it deletes, has
 * other extents, another clock and data that it was told is gone, and now and then is copied from
 * the first instead (storage/copy.h). Whatever it went through,
 *
 *     no record that was acknowledged is ever missing, nor the data of one not applied yet;
 *     each record has the same outcome on both;
 *     when it has caught up both hold the same buckets, objects, uploads, parts and settings, the
 *     same data with the same number of references, and no unit of either is lost or used twice.
 */
#include "log_compare.h"

#include "storage/copy.h"

#define RECORDS         260u
#define TAIL_MAX        3u
#define PINS_MAX        3u
#define UPLOADS         5u
#define PIECES          3u
#define DISK            MIB(512)
#define B_SEGMENT_BYTES MIB(32)
#define TERM            7u
#define TAIL_TERM       6u /* of records that were never committed */

/* ---- records ---- */

/* One mutation, with all that it borrows. */
struct entry {
    struct mutation m;
    char key[8], bucket[8], source_key[8];
    struct piece pieces[PIECES];
    struct completed_part completed[4];
    struct data_id id; /* of what it brings; none: nothing */
    uint64_t size, seed, term;
    enum err outcome;     /* on the first volume */
    struct mutation told; /* what it told there */
    bool was_absent;      /* on the second volume */
};

struct world {
    struct fixture a, b;
    struct rand_seeded chances;
    struct rand *rand;
    struct entry entries[RECORDS + 1]; /* by psn; those that are committed */
    uint64_t committed;
    struct entry *rows[RECORDS + TAIL_MAX + 2]; /* of the second volume: what was acknowledged */
    uint64_t b_last;
    struct entry tail[TAIL_MAX];
    unsigned tail_count;
    struct object *pins[PINS_MAX];
    unsigned pin_count;
    uint64_t data_counter;
    struct {
        struct upload_id id;
        char key[8], bucket[8];
    } uploads[UPLOADS];
    unsigned upload_count;
    unsigned crashes, cuts, faults, absent, batches, copies, filled, gone;
};

static uint32_t draw(struct world *w, uint32_t below)
{
    return (uint32_t)rand_below(w->rand, below);
}

static struct bucket_id bucket_of(struct fixture *f, const char *name)
{
    struct bucket_info info = {.id = {999}};
    return volume_bucket(f->volume, bytes_of_string(name), &info) ? (struct bucket_id){999}
                                                                  : info.id;
}

static void name_randomly(struct world *w, struct entry *entry)
{
    snprintf(entry->key, sizeof entry->key, "k%u", draw(w, 4));
    snprintf(entry->bucket, sizeof entry->bucket, "b0%u", draw(w, 6) == 0);
    entry->m.key = bytes_of_string(entry->key);
    entry->m.bucket = bucket_of(&w->a, entry->bucket);
}

static void bring_data(struct world *w, struct entry *entry)
{
    static const uint64_t sizes[] = {0, 1, 100, 8192, 8193, 100000, 70 * 65536 + 3, 5 << 20};
    entry->size = sizes[draw(w, COUNT_OF(sizes))];
    entry->seed = ++w->data_counter;
    if (entry->size > 0)
        entry->id = (struct data_id){.epoch = DATA_EPOCH_DRAWN | 1, .counter = entry->seed};
    entry->m.size = entry->size;
    entry->pieces[0] = (struct piece){.data = entry->id, .size = entry->size};
    entry->m.pieces = entry->pieces;
    entry->m.piece_count = entry->size > 0;
    entry->m.takes_reference = entry->size > 0;
}

/* As a gateway would see it, which may be too old by the time it is applied. */
static void copy_something(struct world *w, struct entry *entry)
{
    struct object *object;
    snprintf(entry->source_key, sizeof entry->source_key, "k%u", draw(w, 4));
    struct bytes key = bytes_of_string(entry->source_key);
    struct bucket_id bucket = bucket_of(&w->a, "b00");
    if (volume_lookup(w->a.volume, bucket, key, KV_ANY, &object)) {
        bring_data(w, entry);
        return;
    }
    const struct object_info *info = object_info(object);
    uint64_t from = info->size > 0 ? rand_below(w->rand, info->size) : 0;
    struct piece *pieces;
    size_t count;
    assert_int_equal(object_pieces(object, from, info->size - from, &pieces, &count), ERR_OK);
    for (size_t i = 0; i < count && i < PIECES; i++) {
        entry->pieces[i] = pieces[i];
        entry->m.size += pieces[i].size;
        entry->m.piece_count++;
    }
    free(pieces);
    entry->m.pieces = entry->pieces;
    entry->m.source = (struct mutation_source){.bucket = bucket, .key = key, .psn = info->psn};
    if (draw(w, 6) == 0)
        entry->m.source.psn--;
    object_put(object);
}

static void name_upload(struct world *w, struct entry *entry)
{
    unsigned i = draw(w, w->upload_count < UPLOADS ? w->upload_count : UPLOADS);
    entry->m.upload = w->uploads[i].id;
    memcpy(entry->key, w->uploads[i].key, sizeof entry->key);
    memcpy(entry->bucket, w->uploads[i].bucket, sizeof entry->bucket);
    entry->m.key = bytes_of_string(entry->key);
    entry->m.bucket = bucket_of(&w->a, entry->bucket);
}

static void begin_upload(struct world *w, struct entry *entry)
{
    unsigned i = w->upload_count++ % UPLOADS;
    put_be32(entry->m.upload.bytes, w->upload_count);
    w->uploads[i].id = entry->m.upload;
    memcpy(w->uploads[i].key, entry->key, sizeof entry->key);
    memcpy(w->uploads[i].bucket, entry->bucket, sizeof entry->bucket);
}

static void complete_parts(struct world *w, struct entry *entry)
{
    entry->m.completed = entry->completed;
    for (uint16_t number = 1; number <= 3; number++)
        if (draw(w, 3) > 0)
            entry->completed[entry->m.completed_count++] =
                (struct completed_part){.number = number, .etag.md5 = {(uint8_t)number}};
}

static void make_bucket_entry(struct world *w, struct entry *entry)
{
    entry->m.kind = draw(w, 3) ? MUTATION_BUCKET_CREATE : MUTATION_BUCKET_DELETE;
    snprintf(entry->bucket, sizeof entry->bucket, "b0%u", draw(w, 2));
    entry->m.bucket_name = bytes_of_string(entry->bucket);
    entry->m.bucket = (struct bucket_id){0};
    entry->m.owner = BYTES("me");
    entry->m.region = BYTES("here");
}

static void make_setting_entry(struct world *w, struct entry *entry)
{
    entry->m.kind = draw(w, 2) ? MUTATION_SETTING_PUT : MUTATION_SETTING_DELETE;
    entry->m.attrs = BYTES("value");
    entry->m.must_be_new = draw(w, 2);
}

static void make_entry(struct world *w, struct entry *entry)
{
    static const enum mutation_kind kinds[] = {
        MUTATION_OBJECT_PUT,    MUTATION_OBJECT_PUT,      MUTATION_OBJECT_PUT,
        MUTATION_OBJECT_PUT,    MUTATION_OBJECT_PUT,      MUTATION_OBJECT_DELETE,
        MUTATION_OBJECT_DELETE, MUTATION_UPLOAD_CREATE,   MUTATION_UPLOAD_CREATE,
        MUTATION_PART_PUT,      MUTATION_PART_PUT,        MUTATION_PART_PUT,
        MUTATION_PART_PUT,      MUTATION_UPLOAD_COMPLETE, MUTATION_UPLOAD_COMPLETE,
        MUTATION_UPLOAD_ABORT,  MUTATION_BUCKET_CREATE,   MUTATION_SETTING_PUT,
    };
    memset(entry, 0, sizeof *entry);
    struct mutation *m = &entry->m;
    m->kind = kinds[draw(w, COUNT_OF(kinds))];
    m->is_barrier = draw(w, 30) == 0;
    name_randomly(w, entry);
    m->conditions.if_none_match_any = draw(w, 8) == 0;
    m->conditions.if_match_any = draw(w, 8) == 0;
    if (m->kind == MUTATION_BUCKET_CREATE)
        make_bucket_entry(w, entry);
    if (m->kind == MUTATION_SETTING_PUT)
        make_setting_entry(w, entry);
    if (m->kind == MUTATION_UPLOAD_CREATE)
        begin_upload(w, entry);
    if (m->kind == MUTATION_PART_PUT || m->kind == MUTATION_UPLOAD_COMPLETE ||
        m->kind == MUTATION_UPLOAD_ABORT)
        if (w->upload_count > 0)
            name_upload(w, entry);
    m->part_number = (uint16_t)(1 + draw(w, 3));
    m->etag.md5[0] = (uint8_t)m->part_number;
    if (m->kind == MUTATION_OBJECT_PUT || m->kind == MUTATION_PART_PUT) {
        if (draw(w, 3) > 0)
            bring_data(w, entry);
        else
            copy_something(w, entry);
    }
    if (m->kind == MUTATION_UPLOAD_COMPLETE)
        complete_parts(w, entry);
    if (m->kind == MUTATION_OBJECT_PUT || m->kind == MUTATION_UPLOAD_CREATE)
        m->attrs = BYTES("attributes");
}

/* ---- what a volume is made to do ---- */

static void begin_append(struct fixture *f, struct append_wait *wait, struct entry *entry,
                         uint64_t psn, uint64_t term, bool is_known, bool is_absent)
{
    struct body *body = NULL;
    *wait = (struct append_wait){.a = {.psn = psn, .term = term, .record = BYTES("a record")}};
    if (entry->size > 0 && is_absent)
        wait->a.absent = (struct log_data){.id = entry->id, .size = entry->size};
    else if (entry->size > 0)
        assert_int_equal(fixture_body_as(f, entry->id, entry->size, is_known, entry->seed, &body),
                         ERR_OK);
    wait->a.body = body;
    log_submit_append(f, wait);
}

static void begin_apply(struct fixture *f, struct commit_wait *wait, const struct entry *entry,
                        uint64_t psn)
{
    *wait = (struct commit_wait){.m = entry->m};
    log_mutation(wait, psn);
    fixture_submit(f, wait);
}

static void append_one(struct world *w, uint64_t psn)
{
    struct append_wait append;
    struct entry *entry = &w->entries[psn];
    if (psn == 1) {
        memset(entry, 0, sizeof *entry);
        make_bucket_entry(w, entry);
        entry->m.kind = MUTATION_BUCKET_CREATE;
        memcpy(entry->bucket, "b00", 4);
        entry->m.bucket_name = bytes_of_string(entry->bucket);
    } else {
        make_entry(w, entry);
    }
    begin_append(&w->a, &append, entry, psn, TERM, true, false);
    log_step(&w->a);
    assert_int_equal(append.a.err, ERR_OK);
}

static void apply_one(struct world *w, uint64_t psn)
{
    struct commit_wait apply;
    struct entry *entry = &w->entries[psn];
    begin_apply(&w->a, &apply, entry, psn);
    log_step(&w->a);
    assert_true(apply.is_done);
    assert_true(mutation_is_outcome(apply.m.err));
    entry->outcome = apply.m.err;
    entry->told = apply.m;
    w->committed = psn;
}

static void commit_one(struct world *w)
{
    append_one(w, w->committed + 1);
    apply_one(w, w->committed + 1);
}

/* ---- the second volume ---- */

static void drop_pins(struct world *w)
{
    while (w->pin_count > 0)
        object_put(w->pins[--w->pin_count]);
}

static bool has_failed(struct world *w)
{
    return fixture_status(&w->b).state == VOLUME_FAILED;
}

/* Bytes of what the record at `psn` brings are there, whole. */
static void check_data(struct world *w, uint64_t psn)
{
    const struct entry *entry = w->rows[psn];
    struct object *object;
    struct read_plan plan;
    struct log_row row;
    assert_int_equal(volume_log_read(w->b.volume, psn, &row), ERR_OK);
    assert_int_equal(row.data.size, entry->size);
    assert_int_equal(row.term, entry->term);
    log_row_fini(&row);
    if (entry->size == 0)
        return;
    enum err e = volume_data_lookup(w->b.volume, entry->id, &object);
    assert_int_equal(e, entry->was_absent ? ERR_NO_SUCH_OBJECT : ERR_OK);
    if (e)
        return;
    read_plan_open(&plan, object, 0, entry->size);
    assert_int_equal(fixture_read_plan(&plan, entry->seed, 0), ERR_OK);
    read_plan_close(&plan);
    object_put(object);
}

static void cut_to(struct world *w, uint64_t last)
{
    assert_int_equal(log_save(&w->b, BYTES("state"), last), ERR_OK);
    assert_int_equal(log_range(&w->b).last, last);
    w->b_last = last;
}

static void cut_tail(struct world *w)
{
    if (w->tail_count == 0)
        return;
    w->tail_count = 0;
    w->cuts++;
    uint64_t last = w->b_last;
    while (last > 0 && w->rows[last]->term == TAIL_TERM)
        last--;
    cut_to(w, last);
}

/* Which units of the second volume nobody may have, as of now. */
struct used_units {
    bool is_used[DISK / B_SEGMENT_BYTES][B_SEGMENT_BYTES / UNIT_BYTES];
};

static void note_used(struct world *w, struct used_units *used)
{
    clock_manual_advance(&w->b.clock, 1);
    volume_step(w->b.volume); /* the keeper frees what it may */
    for (uint32_t segment = 0; segment < DISK / B_SEGMENT_BYTES; segment++)
        for (uint32_t unit = 0; unit < B_SEGMENT_BYTES / UNIT_BYTES; unit++)
            used->is_used[segment][unit] = alloc_unit_is_used(w->b.volume->alloc, segment, unit);
}

/* What the crash brought back lies where nothing could have been written meanwhile. */
static void check_used(struct world *w, const struct used_units *used)
{
    struct kv_iter *iter;
    const struct kv_ops *ops = w->b.kv->ops;
    struct kv_iter_options options = {.family = KV_EXTENT};
    assert_int_equal(ops->iter_open(w->b.kv, &options, &iter), ERR_OK);
    for (ops->iter_seek(iter, (struct bytes){0}); ops->iter_valid(iter); ops->iter_next(iter)) {
        uint32_t segment, unit;
        struct extent_record record;
        assert_int_equal(key_extent_parse(ops->iter_key(iter), &segment, &unit), ERR_OK);
        assert_int_equal(record_extent_get(ops->iter_value(iter), &record), ERR_OK);
        for (uint32_t i = 0; i < record.units; i++)
            assert_true(used->is_used[segment][unit + i]);
    }
    ops->iter_close(iter);
}

static void recover(struct world *w, bool is_crash)
{
    static struct used_units used;
    bool is_noted = is_crash && !has_failed(w);
    drop_pins(w);
    if (is_noted)
        note_used(w, &used);
    if (is_crash)
        log_crash(&w->b);
    else
        fixture_reopen(&w->b);
    if (is_noted)
        check_used(w, &used);
    w->crashes += is_crash;
    struct log_range range = log_range(&w->b);
    assert_true(range.last >= w->b_last);
    assert_true(range.applied <= w->b_last);
    assert_true(range.first <= range.applied + 1);
    for (uint64_t psn = range.applied + 1; psn <= w->b_last; psn++)
        check_data(w, psn);
    if (range.last > w->b_last)
        cut_to(w, w->b_last); /* appended, but nobody was told */
    if (draw(w, 4) == 0)
        (void)log_check(&w->b);
}

struct b_step {
    struct append_wait appends[4];
    struct entry *entries[4];
    struct commit_wait applies[8];
    uint64_t first_append, first_apply;
    unsigned append_count, apply_count;
};

static void settle_step(struct world *w, struct b_step *step)
{
    for (unsigned i = 0; i < step->append_count; i++) {
        assert_true(step->appends[i].is_done);
        if (step->appends[i].a.err)
            break;
        w->rows[step->first_append + i] = step->entries[i];
        w->b_last = step->first_append + i;
    }
    for (unsigned i = 0; i < step->apply_count; i++) {
        const struct mutation *m = &step->applies[i].m;
        const struct entry *entry = &w->entries[step->first_apply + i];
        assert_true(step->applies[i].is_done);
        if (!mutation_is_outcome(m->err))
            break;
        if (m->err != entry->outcome)
            fail_msg("record %llu: %s here, %s there", (unsigned long long)(step->first_apply + i),
                     err_name(m->err), err_name(entry->outcome));
        assert_int_equal(m->existed, entry->told.existed);
        assert_int_equal(m->mtime_ns, entry->told.mtime_ns);
        assert_int_equal(m->new_bucket.value, entry->told.new_bucket.value);
        assert_memory_equal(&m->etag, &entry->told.etag, sizeof m->etag);
    }
}

/* Appends of what is committed, or of what never will be, and applies, in one batch. */
static void go_on(struct world *w, bool has_fault)
{
    static struct b_step step;
    struct log_range range = log_range(&w->b);
    unsigned appends = draw(w, 5), applies = draw(w, 9);
    bool is_tail = w->tail_count == 0 && draw(w, 6) == 0;
    memset(&step, 0, sizeof step);
    if (!is_tail)
        cut_tail(w);
    step.first_append = w->b_last + 1;
    for (; step.append_count < appends && step.append_count < COUNT_OF(step.appends);
         step.append_count++) {
        unsigned i = step.append_count;
        uint64_t psn = step.first_append + i;
        if (is_tail ? i == TAIL_MAX : psn > w->committed)
            break;
        struct entry *entry = is_tail ? &w->tail[i] : &w->entries[psn];
        if (is_tail) {
            make_entry(w, entry);
            w->tail_count++;
        }
        entry->term = is_tail ? TAIL_TERM : TERM;
        entry->was_absent = draw(w, 10) == 0;
        w->absent += entry->was_absent && entry->size > 0;
        step.entries[i] = entry;
        begin_append(&w->b, &step.appends[i], entry, psn, entry->term, draw(w, 2),
                     entry->was_absent);
    }
    step.first_apply = range.applied + 1;
    uint64_t apply_max = is_tail ? w->b_last : w->b_last + step.append_count;
    for (; step.apply_count < applies && step.apply_count < COUNT_OF(step.applies);
         step.apply_count++) {
        uint64_t psn = step.first_apply + step.apply_count;
        if (psn > apply_max)
            break;
        begin_apply(&w->b, &step.applies[step.apply_count], &w->entries[psn], psn);
    }
    w->batches++;
    if (has_fault)
        kv_sim_fail_nth(w->b.kv, 1 + draw(w, 30), draw(w, 2) ? ERR_NO_MEMORY : ERR_IO);
    log_step(&w->b);
    bool fired = kv_sim_fault_fired(w->b.kv);
    kv_sim_fail_nth(w->b.kv, 0, ERR_OK);
    w->faults += has_fault && fired;
    settle_step(w, &step);
    if (has_failed(w))
        recover(w, true);
    else
        assert_true(log_range(&w->b).last == w->b_last);
}

static void pin_something(struct world *w)
{
    char key[8];
    struct object *object;
    snprintf(key, sizeof key, "k%u", draw(w, 4));
    if (w->pin_count == PINS_MAX)
        drop_pins(w);
    else if (volume_lookup(w->b.volume, bucket_of(&w->b, "b00"), bytes_of_string(key), KV_ANY,
                           &object) == ERR_OK)
        w->pins[w->pin_count++] = object;
}

/* ---- the second volume is copied from the first ---- */

struct copying {
    struct world *w;
    struct copy_source *source;
    struct copy_step step;
    bool is_done;
    uint8_t rows[COPY_ROWS_BYTES_MAX];
};

static void copy_done(struct copy_step *step)
{
    CONTAINER_OF(step, struct copying, step)->is_done = true;
}

/* The step, with or without a call that fails. False: the volume has failed, or the power was
 * cut. */
static bool copy_step(struct copying *c, const struct copy_step *wanted)
{
    struct world *w = c->w;
    bool has_fault = draw(w, 40) == 0;
    c->step = *wanted;
    c->step.magic = COPY_STEP_MAGIC;
    c->step.loop = w->b.loop;
    c->step.done = copy_done;
    c->is_done = false;
    volume_copy(w->b.volume, &c->step);
    if (has_fault)
        kv_sim_fail_nth(w->b.kv, 1 + draw(w, 30), draw(w, 2) ? ERR_NO_MEMORY : ERR_IO);
    log_step(&w->b);
    bool fired = kv_sim_fault_fired(w->b.kv);
    kv_sim_fail_nth(w->b.kv, 0, ERR_OK);
    w->faults += has_fault && fired;
    assert_true(c->is_done);
    free(c->step.changed);
    if (c->step.err && !(has_fault && fired))
        fail_msg("%s", err_trail_text(&c->step.trail, c->step.err));
    if (c->step.err || draw(w, 60) == 0) {
        drop_pins(w);
        log_crash(&w->b);
        w->crashes++;
        return false;
    }
    return true;
}

static bool copy_family(struct copying *c, enum kv_family family)
{
    struct kv_key after = {0}, upto;
    struct copy_step step = {.kind = COPY_STEP_ROWS};
    do {
        step.from.size = 0;
        assert_int_equal(
            copy_source_read(c->source, family, key_bytes(&after), c->rows, &upto, &step.run),
            ERR_OK);
        do {
            if (!copy_step(c, &step))
                return false;
            step.from = c->step.from;
        } while (c->step.has_more);
        after = upto;
    } while (step.run.upto.size > 0);
    return true;
}

static const struct entry *entry_of(struct world *w, struct data_id id)
{
    for (uint64_t psn = 1; psn <= w->committed; psn++)
        if (data_id_equal(w->entries[psn].id, id) && w->entries[psn].size > 0)
            return &w->entries[psn];
    fail_msg("data nobody brought");
    return NULL;
}

static bool copy_data(struct copying *c)
{
    struct world *w = c->w;
    struct data_id after = {0};
    struct log_data data;
    size_t count = 0;
    for (bool is_end = false; !is_end;) {
        assert_int_equal(volume_copy_absent(w->b.volume, after, &data, 1, &count, &after, &is_end),
                         ERR_OK);
        struct object *there;
        enum err e = count > 0 ? volume_data_lookup(w->a.volume, data.id, &there) : ERR_CANCELLED;
        w->gone += e == ERR_NO_SUCH_OBJECT;
        if (e)
            continue; /* none, or let go of since */
        object_put(there);
        struct copy_step step = {.kind = COPY_STEP_DATA};
        assert_int_equal(fixture_body_as(&w->b, data.id, data.size, true,
                                         entry_of(w, data.id)->seed, &step.body),
                         ERR_OK);
        w->filled++;
        if (!copy_step(c, &step))
            return false;
    }
    return true;
}

/* From where the volume says that it is; the first goes on meanwhile. */
static bool copy_on(struct copying *c)
{
    struct world *w = c->w;
    bool goes_on = true;
    if (volume_copy_mark(w->b.volume).phase != COPY_DATA) {
        goes_on = copy_step(c, &(struct copy_step){.kind = COPY_STEP_BEGIN, .state = BYTES("s")});
        for (unsigned i = 0; i < COPY_FAMILIES && goes_on; i++) {
            goes_on = copy_family(c, copy_families[i]);
            if (draw(w, 4) == 0 && w->committed < RECORDS)
                commit_one(w);
        }
        goes_on = goes_on && copy_step(c, &(struct copy_step){.kind = COPY_STEP_NAMED,
                                                              .psn = copy_source_psn(c->source),
                                                              .term = TERM});
    }
    return goes_on && copy_data(c) &&
           copy_step(c, &(struct copy_step){.kind = COPY_STEP_END, .state = BYTES("state")});
}

static void copy_b(struct world *w)
{
    static struct copying c;
    uint64_t psn = w->committed;
    unsigned ahead = psn + 3 < RECORDS ? draw(w, 3) : 0; /* in the first's log, and not applied */
    memset(&c, 0, sizeof c);
    c.w = w;
    cut_tail(w);
    if (draw(w, 3) == 0) { /* onto an empty disk */
        drop_pins(w);
        fixture_fini(&w->b);
        log_up(&w->b, DISK, B_SEGMENT_BYTES);
    }
    for (unsigned i = 1; i <= ahead; i++)
        append_one(w, psn + i);
    assert_int_equal(copy_source_open(w->a.volume, &c.source, &w->a.trail), ERR_OK);
    assert_int_equal(copy_source_psn(c.source), psn);
    assert_int_equal(copy_source_term(c.source), TERM);
    for (unsigned i = 1; i <= ahead; i++)
        apply_one(w, psn + i);
    unsigned turns = 0;
    for (bool is_over = false; !is_over; turns++) {
        assert_true(turns < 100);
        is_over = copy_on(&c) || log_range(&w->b).applied == psn;
        if (draw(w, 3) == 0) {
            drop_pins(w);
            (void)log_check(&w->b);
        }
    }
    copy_source_close(c.source);
    struct log_range range = log_range(&w->b);
    assert_int_equal(volume_copy_mark(w->b.volume).phase, COPY_NONE);
    assert_true(range.first == psn + 1 && range.last == psn && range.applied == psn);
    w->entries[psn].term = TERM;
    w->rows[psn] = &w->entries[psn];
    w->b_last = psn;
    w->copies++;
}

static void b_does_something(struct world *w)
{
    if (w->committed > 1 && draw(w, 50) == 0) {
        copy_b(w);
        return;
    }
    switch (draw(w, 16)) {
    case 0:
        recover(w, true);
        break;
    case 1:
        recover(w, false);
        break;
    case 2:
        clock_manual_advance(&w->b.clock, NS_PER_SECOND);
        log_step(&w->b);
        break;
    case 3:
    case 4:
        pin_something(w);
        break;
    case 5:
        volume_log_trim(w->b.volume, 1 + rand_below(w->rand, w->committed + 5));
        break;
    case 6:
    case 7:
        go_on(w, true);
        break;
    default:
        go_on(w, false);
        break;
    }
}

static void catch_up(struct world *w)
{
    for (unsigned turns = 0; log_range(&w->b).applied < w->committed; turns++) {
        assert_true(turns < 1000);
        cut_tail(w);
        go_on(w, false);
    }
    cut_tail(w);
    drop_pins(w);
    cut_to(w, w->b_last); /* a synced batch: what one that failed took is free again */
}

/* ---- the run ---- */

static void run(uint64_t seed, struct world *w)
{
    memset(w, 0, sizeof *w);
    rand_seeded_init(&w->chances, seed);
    w->rand = &w->chances.rand;
    log_up(&w->a, DISK, MIB(16));
    log_up(&w->b, DISK, B_SEGMENT_BYTES);
    clock_manual_advance(&w->b.clock, 77 * NS_PER_SECOND);
    while (w->committed < RECORDS) {
        commit_one(w);
        while (w->committed > w->b_last + 12 || draw(w, 2))
            b_does_something(w);
        if (w->committed % 65 == 0) {
            catch_up(w);
            (void)log_check(&w->a);
            (void)log_check(&w->b);
            log_compare(&w->a, &w->b);
        }
    }
    drop_pins(w);
    fixture_fini(&w->b);
    fixture_fini(&w->a);
}

static void a_replica_comes_to_the_same_whatever_happens_to_it(void **state)
{
    (void)state;
    struct world *w = malloc(sizeof *w);
    unsigned outcomes[ERR_COUNT] = {0};
    struct world sum = {0};
    assert_non_null(w);
    for (uint64_t seed = 1; seed <= 12; seed++) {
        run(seed, w);
        for (unsigned i = 1; i <= RECORDS; i++)
            outcomes[w->entries[i].outcome]++;
        sum.crashes += w->crashes;
        sum.cuts += w->cuts;
        sum.faults += w->faults;
        sum.absent += w->absent;
        sum.batches += w->batches;
        sum.copies += w->copies;
        sum.filled += w->filled;
        sum.gone += w->gone;
    }
    for (unsigned e = 0; e < ERR_COUNT; e++)
        if (outcomes[e] > 0)
            print_message("    %u x %s\n", outcomes[e], err_name((enum err)e));
    print_message("    %u batches, %u crashes, %u cuts, %u faults, %u absent\n", sum.batches,
                  sum.crashes, sum.cuts, sum.faults, sum.absent);
    assert_true(outcomes[ERR_OK] > 1000 && outcomes[ERR_CONFLICT] > 10);
    print_message("    %u copies, %u data filled in, %u gone meanwhile\n", sum.copies, sum.filled,
                  sum.gone);
    assert_true(sum.copies > 50 && sum.filled > 50 && sum.gone > 5);
    assert_true(sum.crashes > 50 && sum.cuts > 30 && sum.faults > 50 && sum.absent > 30);
    free(w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_replica_comes_to_the_same_whatever_happens_to_it),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
