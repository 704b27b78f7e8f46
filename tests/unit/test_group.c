/*
 * A group of one over a real volume in a scratch directory: terms, the order of mutations, a body
 * on its way in and a plan on its way out.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include "replication/group.h"

struct fixture {
    char dir[64];
    struct arena *arena;
    struct loop *loop;
    struct work_pool *pool;
    struct volume *volume;
    struct group *group;
};

static void node_open(struct fixture *f)
{
    struct err_trail trail = {0};
    enum err e = volume_open(&(struct volume_options){.dir = f->dir, .direct = VOLUME_DIRECT_ANY},
                             &f->volume, &trail);
    if (e)
        fail_msg("%s", err_trail_text(&trail, e));
    e = group_open(&(struct group_options){.volume = f->volume, .work_pool = f->pool}, &f->group,
                   &trail);
    if (e)
        fail_msg("%s", err_trail_text(&trail, e));
}

static void node_close(struct fixture *f)
{
    group_close(f->group);
    volume_close(f->volume);
    f->group = NULL;
    f->volume = NULL;
}

static int setup(void **state)
{
    struct fixture *f = calloc(1, sizeof *f);
    assert_non_null(f);
    *state = f;
    snprintf(f->dir, sizeof f->dir, "/var/tmp/sluice-group-XXXXXX");
    assert_non_null(mkdtemp(f->dir));
    struct err_trail trail = {0};
    assert_int_equal(
        arena_open(&(struct arena_options){.large_count = 4, .small_count = 4, .share_count = 1},
                   &f->arena),
        ERR_OK);
    assert_int_equal(
        loop_open(&(struct loop_options){.arena = f->arena, .name = "test"}, &f->loop, &trail),
        ERR_OK);
    assert_int_equal(work_pool_open(2, "test", &f->pool), ERR_OK);
    enum err e = volume_format(&(struct volume_format_options){.dir = f->dir,
                                                               .segment_bytes = MIB(16),
                                                               .direct = VOLUME_DIRECT_ANY},
                               &trail);
    if (e)
        fail_msg("%s", err_trail_text(&trail, e));
    node_open(f);
    return 0;
}

static int teardown(void **state)
{
    struct fixture *f = *state;
    node_close(f);
    work_pool_close(f->pool);
    loop_close(f->loop);
    arena_close(f->arena);
    char command[96];
    snprintf(command, sizeof command, "rm -rf %s", f->dir);
    int rc = system(command);
    free(f);
    return rc;
}

static struct bucket_id make_bucket(struct fixture *f, const char *name)
{
    struct mutation m = {
        .kind = MUTATION_BUCKET_CREATE,
        .bucket_name = bytes_of_string(name),
        .owner = BYTES("somebody"),
        .region = BYTES("us-east-1"),
    };
    assert_int_equal(group_propose_wait(f->group, &m), ERR_OK);
    return m.new_bucket;
}

static void each_start_opens_a_new_term(void **state)
{
    struct fixture *f = *state;
    struct group_status first, second;
    group_status(f->group, &first);
    assert_int_equal(first.members, 1);
    assert_int_equal(first.in_sync, 1);
    assert_true(first.is_primary);
    node_close(f);
    node_open(f);
    group_status(f->group, &second);
    assert_int_equal(second.term, first.term + 1);
    assert_true(second.epoch > first.epoch);
}

static void numbers_go_on_growing_after_a_restart(void **state)
{
    struct fixture *f = *state;
    struct mutation a = {.kind = MUTATION_SETTING_PUT, .key = BYTES("test/a"), .attrs = BYTES("1")};
    assert_int_equal(group_propose_wait(f->group, &a), ERR_OK);
    assert_true(a.receipt.synced);
    assert_int_equal(a.receipt.replicas_synced, 1);
    node_close(f);
    node_open(f);
    struct mutation b = {.kind = MUTATION_SETTING_PUT, .key = BYTES("test/a"), .attrs = BYTES("2")};
    assert_int_equal(group_propose_wait(f->group, &b), ERR_OK);
    assert_true(b.psn > a.psn);
    assert_true(b.term > a.term);
}

/* ---- a body in, a plan out ---- */

struct arrival {
    bool written, committed;
    enum err err;
};
struct put {
    struct body_write write;
    struct mutation m;
    struct arrival arrival;
};

static void put_written(struct body_write *write, enum err e)
{
    struct put *put = CONTAINER_OF(write, struct put, write);
    put->arrival.written = true;
    put->arrival.err = e;
}

static void put_committed(struct mutation *m)
{
    struct put *put = CONTAINER_OF(m, struct put, m);
    put->arrival.committed = true;
}

static void store(struct fixture *f, struct bucket_id bucket, const char *key, uint32_t size,
                  uint8_t fill)
{
    struct put *put = calloc(1, sizeof *put);
    struct slot *slot = slot_take(loop_arena(f->loop), SLOT_LARGE);
    assert_non_null(slot);
    memset(slot->data, fill, size);
    struct body *body;
    assert_int_equal(
        group_body_open(f->group, &(struct body_options){f->loop, size}, &body, &put->m.trail),
        ERR_OK);
    assert_int_equal(group_body_write(f->group, body, &put->write, slot->data, size, true,
                                      put_written, &put->m.trail),
                     ERR_OK);
    while (!put->arrival.written)
        loop_run_once(f->loop, NS_PER_SECOND);
    assert_int_equal(put->arrival.err, ERR_OK);
    put->m = (struct mutation){
        .kind = MUTATION_OBJECT_PUT,
        .bucket = bucket,
        .key = bytes_of_string(key),
        .body = body,
        .size = size,
        .loop = f->loop,
        .done = put_committed,
    };
    group_propose(f->group, &put->m);
    while (!put->arrival.committed)
        loop_run_once(f->loop, NS_PER_SECOND);
    assert_int_equal(put->m.err, ERR_OK);
    slot_put(slot);
    free(put);
}

static void lookup_done(struct group_ask *ask)
{
    *(bool *)ask->context = true;
}

static struct object *find(struct fixture *f, struct bucket_id bucket, const char *key)
{
    bool finished = false;
    struct group_ask ask = {
        .loop = f->loop,
        .done = lookup_done,
        .bucket = bucket,
        .key = bytes_of_string(key),
        .context = &finished,
    };
    group_lookup(f->group, &ask);
    while (!finished)
        loop_run_once(f->loop, NS_PER_SECOND);
    assert_int_equal(ask.err, ERR_OK);
    return ask.object;
}

static void what_was_put_is_read_back_through_a_plan(void **state)
{
    struct fixture *f = *state;
    struct bucket_id bucket = make_bucket(f, "photos");
    static const uint32_t sizes[] = {1, 4096, 8192, 8193, 65536, 300001, 1048576};
    for (size_t i = 0; i < COUNT_OF(sizes); i++) {
        char key[16];
        snprintf(key, sizeof key, "cat-%zu", i);
        store(f, bucket, key, sizes[i], (uint8_t)(i + 1));
        struct object *object = find(f, bucket, key);
        assert_int_equal(object_info(object)->size, sizes[i]);
        struct read_plan plan;
        read_plan_open(&plan, object, 0, sizes[i]);
        object_put(object);
        while (read_plan_left(&plan) > 0) {
            struct read_span span;
            assert_int_equal(read_plan_span(&plan, &span), ERR_OK);
            uint8_t byte;
            if (span.inline_data != NULL)
                byte = span.inline_data[0];
            else
                assert_int_equal(
                    span.buffered->disk->ops->pread(span.buffered, &byte, 1, span.file_offset),
                    ERR_OK);
            assert_int_equal(byte, i + 1);
            read_plan_advance(&plan, span.size);
        }
        read_plan_close(&plan);
    }
}

static void an_object_found_once_answers_from_memory(void **state)
{
    struct fixture *f = *state;
    struct bucket_id bucket = make_bucket(f, "photos");
    store(f, bucket, "cat", 100000, 7);
    object_put(find(f, bucket, "cat"));
    struct object *object;
    assert_int_equal(group_lookup_now(f->group, bucket, BYTES("cat"), &object), ERR_OK);
    object_put(object);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(each_start_opens_a_new_term, setup, teardown),
        cmocka_unit_test_setup_teardown(numbers_go_on_growing_after_a_restart, setup, teardown),
        cmocka_unit_test_setup_teardown(what_was_put_is_read_back_through_a_plan, setup, teardown),
        cmocka_unit_test_setup_teardown(an_object_found_once_answers_from_memory, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
