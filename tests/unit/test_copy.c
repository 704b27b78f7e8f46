/* Steps of a copy (storage/copy.h) that a run of two small volumes does not come to. */
#include "log_fixture.h"

#include "storage/apply_priv.h"
#include "storage/copy.h"
#include "storage/volume_priv.h"

#define ROWS_HERE  5000u
#define KEPT_EVERY 700u  /* of those here, the source has these */
#define NEW_EVERY  1111u /* and one beside each of these, which is not here */

static void note_done(struct copy_step *step)
{
    (void)step;
}

static enum err try_step(struct fixture *f, struct copy_step *step)
{
    step->magic = COPY_STEP_MAGIC;
    step->loop = f->loop;
    step->done = note_done;
    volume_copy(f->volume, step);
    log_step(f);
    return step->err;
}

static void give(struct fixture *f, struct copy_step *step)
{
    assert_int_equal(try_step(f, step), ERR_OK);
}

/* A row that says nothing of others: a place in the memory of completed uploads. */
static struct bytes key_of(char out[32], unsigned i, bool is_new)
{
    snprintf(out, 32, "ring/%06u%s", i, is_new ? "-new" : "");
    return bytes_of_string(out);
}

static void write_rows(struct fixture *f)
{
    struct kv_batch *batch;
    uint8_t value[16] = {1};
    char key[32];
    assert_int_equal(kv_batch_open(&batch), ERR_OK);
    for (unsigned i = 0; i < ROWS_HERE; i++)
        assert_int_equal(
            kv_batch_put(batch, KV_SYS, key_of(key, i, false), bytes_of(value, sizeof value)),
            ERR_OK);
    assert_int_equal(f->kv->ops->write(f->kv, batch, true, &f->trail), ERR_OK);
    kv_batch_close(batch);
}

static size_t put_row(uint8_t *out, struct bytes key)
{
    uint8_t value[16] = {2};
    put_le16(out, (uint16_t)key.size);
    put_le32(out + 2, sizeof value);
    memcpy(out + COPY_ROW_HEAD_BYTES, key.data, key.size);
    memcpy(out + COPY_ROW_HEAD_BYTES + key.size, value, sizeof value);
    return COPY_ROW_HEAD_BYTES + key.size + sizeof value;
}

static struct bytes rows_of_source(uint8_t *out)
{
    char key[32];
    size_t size = 0;
    for (unsigned i = 0; i < ROWS_HERE; i++) {
        if (i % KEPT_EVERY == 0)
            size += put_row(out + size, key_of(key, i, false));
        if (i % NEW_EVERY == 0)
            size += put_row(out + size, key_of(key, i, true));
    }
    return bytes_of(out, size);
}

/* What its value begins with: 1, of here; 2, the source's; 0: there is none. */
static int row_of(struct fixture *f, struct bytes key)
{
    struct kv_value value;
    if (f->kv->ops->get(f->kv, KV_SYS, key, KV_ANY, &value) != ERR_OK)
        return 0;
    int first = value.bytes.data[0];
    f->kv->ops->value_put(&value);
    return first;
}

/* A volume with rows of its own, which a copy has begun to replace. */
static void copy_up(struct fixture *f)
{
    log_up(f, MIB(64), MIB(16));
    write_rows(f);
    give(f, &(struct copy_step){.kind = COPY_STEP_BEGIN, .state = BYTES("s")});
}

static void what_has_gone_is_not_walked_over_for_each_batch(void **state)
{
    (void)state;
    static uint8_t rows[COPY_ROWS_BYTES_MAX];
    struct fixture f;
    char key[32];
    copy_up(&f);
    struct copy_run run = {.family = KV_SYS, .rows = rows_of_source(rows)};
    struct copy_step step = {.kind = COPY_STEP_ROWS, .run = run};
    unsigned gone_before = 0, passes = 0;
    for (give(&f, &step); step.has_more; give(&f, &step)) {
        unsigned at = 0;
        assert_true(step.from.size > 5);
        assert_int_equal(sscanf((const char *)step.from.data, "ring/%6u", &at), 1);
        assert_true(at >= gone_before + 1000); /* it goes on behind what went */
        gone_before = at;
        passes++;
        step = (struct copy_step){.kind = COPY_STEP_ROWS, .run = run, .from = step.from};
    }
    assert_int_equal(passes, ROWS_HERE / 1024);
    assert_int_equal(step.rows, ROWS_HERE / KEPT_EVERY + 1 + ROWS_HERE / NEW_EVERY + 1);
    for (unsigned i = 0; i < ROWS_HERE; i++) {
        assert_int_equal(row_of(&f, key_of(key, i, false)), i % KEPT_EVERY == 0 ? 2 : 0);
        assert_int_equal(row_of(&f, key_of(key, i, true)), i % NEW_EVERY == 0 ? 2 : 0);
    }
    fixture_fini(&f);
}

static void a_full_disk_takes_what_only_deletes(void **state)
{
    (void)state;
    static uint8_t rows[COPY_ROWS_BYTES_MAX];
    struct fixture f;
    char key[32];
    copy_up(&f);
    struct copy_step full = {.kind = COPY_STEP_ROWS,
                             .run = {.family = KV_SYS, .rows = rows_of_source(rows)}};
    struct copy_step empty = {.kind = COPY_STEP_ROWS, .run = {.family = KV_SYS}};
    volume__enter_read_only(f.volume, "the test has filled the disk");
    assert_int_equal(try_step(&f, &full), ERR_READ_ONLY);
    assert_int_equal(row_of(&f, key_of(key, 1, false)), 1);
    volume__enter_read_only(f.volume, "the test has filled the disk");
    give(&f, &empty);
    assert_int_equal(row_of(&f, key_of(key, 1, false)), 0);
    fixture_fini(&f);
}

static unsigned rows_in(struct fixture *f, enum kv_family family)
{
    unsigned count = 0;
    struct kv_iter *iter;
    const struct kv_ops *ops = f->kv->ops;
    struct kv_iter_options options = {.family = family};
    assert_int_equal(ops->iter_open(f->kv, &options, &iter), ERR_OK);
    for (ops->iter_seek(iter, (struct bytes){0}); ops->iter_valid(iter); ops->iter_next(iter))
        count++;
    ops->iter_close(iter);
    return count;
}

/* A copied name may refer to it: what waits here is for the copy to decide. */
static void what_waits_for_deletion_stays_while_names_are_copied(void **state)
{
    (void)state;
    enum { SIZE = DATA_SHARD_BYTES + 4096 }; /* more than goes in the batch that deletes its name */
    struct fixture f;
    struct object *object;
    struct read_plan plan;
    log_up(&f, 8 * (uint64_t)DATA_SHARD_BYTES, DATA_SHARD_BYTES);
    assert_int_equal(log_make_bucket(&f), ERR_OK);
    assert_int_equal(log_put(&f, "k", SIZE, 1), ERR_OK);
    uint64_t bytes = fixture_indexed_bytes(&f);
    assert_int_equal(fixture_lookup(&f, "k", &object), ERR_OK);
    read_plan_open(&plan, object, 0, SIZE);
    assert_int_equal(log_delete(&f, "k"), ERR_OK); /* deferred, for it is being read */
    give(&f, &(struct copy_step){.kind = COPY_STEP_BEGIN, .state = BYTES("s")});
    read_plan_close(&plan);
    object_put(object);
    for (unsigned life = 0; life < 2; life++) {
        log_settle(&f);
        assert_int_equal(rows_in(&f, KV_GC), 1);
        assert_int_equal(rows_in(&f, KV_OBJECT), 0);
        assert_int_equal(fixture_indexed_bytes(&f), bytes);
        fixture_reopen(&f);
    }
    fixture_fini(&f);
}

/* ---- data that gc has begun with ---- */

static struct bytes row_of_absent(uint8_t *out, struct data_id id, uint64_t size)
{
    struct kv_key key;
    key_data(&key, id, 0);
    put_le16(out, key.size);
    put_le32(out + 2, ABSENT_RECORD_BYTES);
    memcpy(out + COPY_ROW_HEAD_BYTES, key.data, key.size);
    record_absent_put(out + COPY_ROW_HEAD_BYTES + key.size, size);
    return bytes_of(out, COPY_ROW_HEAD_BYTES + key.size + ABSENT_RECORD_BYTES);
}

/* As a step of gc leaves it whose budget ends there: the last shard has gone, the first not. */
static void collect_one_shard(struct fixture *f, struct data_id id)
{
    struct effects effects = {0};
    struct apply apply = {.kv = f->kv, .effects = &effects};
    uint32_t extents = 0;
    struct kv_key key;
    key_gc_id(&key, GC_DATA, id);
    assert_int_equal(kv_batch_open(&apply.batch), ERR_OK);
    assert_int_equal(apply__shard_delete(&apply, id, 1, &extents), ERR_OK);
    assert_true(extents > 0);
    assert_int_equal(apply__gc_put(&apply, &key, &(struct gc_record){.shards = 2, .next_shard = 1}),
                     ERR_OK);
    assert_int_equal(f->kv->ops->write(f->kv, apply.batch, true, &f->trail), ERR_OK);
    kv_batch_close(apply.batch);
    effects_fini(&effects);
}

/*
 * A node cuts a record off which the group has committed, because the terms that tell so are
 * forgotten; gc begins with its data, and then the node is filled by a copy whose names refer to
 * it. What is left is not the data.
 */
static void what_gc_has_begun_with_is_fetched_anew(void **state)
{
    (void)state;
    enum { SIZE = DATA_SHARD_BYTES + 4096 };
    struct fixture f;
    struct body *body = NULL;
    struct object *object;
    uint8_t rows[256];
    struct log_data absent;
    struct data_id after;
    size_t count = 0;
    bool is_end = false;
    log_up(&f, 8 * (uint64_t)DATA_SHARD_BYTES, DATA_SHARD_BYTES);
    assert_int_equal(log_make_bucket(&f), ERR_OK);
    assert_int_equal(fixture_body(&f, SIZE, true, 1, &body), ERR_OK);
    struct data_id id = body_data_id(body);
    assert_int_equal(log_append_body(&f, 2, body), ERR_OK);
    assert_int_equal(volume_data_lookup(f.volume, id, &object), ERR_OK);
    assert_int_equal(log_save(&f, BYTES("s"), 1), ERR_OK); /* deferred, for it is being read */
    assert_int_equal(rows_in(&f, KV_GC), 1);
    give(&f, &(struct copy_step){.kind = COPY_STEP_BEGIN, .state = BYTES("s")});
    object_put(object);
    collect_one_shard(&f, id);
    for (unsigned i = 0; i < COPY_FAMILIES; i++) {
        struct copy_run run = {.family = copy_families[i]};
        if (run.family == KV_DATA)
            run.rows = row_of_absent(rows, id, SIZE);
        give(&f, &(struct copy_step){.kind = COPY_STEP_ROWS, .run = run});
    }
    give(&f, &(struct copy_step){.kind = COPY_STEP_NAMED, .psn = 5, .term = 7});
    assert_int_equal(
        volume_copy_absent(f.volume, (struct data_id){0}, &absent, 1, &count, &after, &is_end),
        ERR_OK);
    assert_int_equal(count, 1);
    assert_true(data_id_equal(absent.id, id));
    assert_int_equal(absent.size, SIZE);
    assert_int_equal(rows_in(&f, KV_EXTENT), 0);
    assert_int_equal(rows_in(&f, KV_DATA), 1); /* nor is a count of none left */
    fixture_fini(&f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_has_gone_is_not_walked_over_for_each_batch),
        cmocka_unit_test(a_full_disk_takes_what_only_deletes),
        cmocka_unit_test(what_waits_for_deletion_stays_while_names_are_copied),
        cmocka_unit_test(what_gc_has_begun_with_is_fetched_anew),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
