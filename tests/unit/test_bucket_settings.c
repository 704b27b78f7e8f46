/*
 * Settings of buckets changed by several at once: by threads of one node, and by two nodes, which
 * are two tables over one group here. Who changes one thing never takes back another's.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>
#include <pthread.h>

#include "api/s3/bucket_settings.h"

#define NODES  2
#define BUCKET ((struct bucket_id){0x1234abcd})

struct fixture {
    char dir[64];
    struct work_pool *pool;
    struct volume *volume;
    struct group *group;
    struct bucket_settings *nodes[NODES];
};

static int setup(void **state)
{
    struct fixture *f = calloc(1, sizeof *f);
    struct err_trail trail = {0};
    assert_non_null(f);
    *state = f;
    strcpy(f->dir, "/var/tmp/sluice-settings-XXXXXX");
    assert_non_null(mkdtemp(f->dir));
    assert_int_equal(work_pool_open(1, "test", &f->pool), ERR_OK);
    assert_int_equal(volume_format(&(struct volume_format_options){.dir = f->dir,
                                                                   .segment_bytes = MIB(16),
                                                                   .direct = VOLUME_DIRECT_ANY},
                                   &trail),
                     ERR_OK);
    assert_int_equal(
        volume_open(&(struct volume_options){.dir = f->dir, .direct = VOLUME_DIRECT_ANY},
                    &f->volume, &trail),
        ERR_OK);
    assert_int_equal(group_open(&(struct group_options){.volume = f->volume, .work_pool = f->pool},
                                &f->group, &trail),
                     ERR_OK);
    for (int i = 0; i < NODES; i++)
        assert_int_equal(bucket_settings_open(f->group, &f->nodes[i], &trail), ERR_OK);
    return 0;
}

static int teardown(void **state)
{
    struct fixture *f = *state;
    for (int i = 0; i < NODES; i++)
        bucket_settings_close(f->nodes[i]);
    group_close(f->group);
    volume_close(f->volume);
    work_pool_close(f->pool);
    char command[96];
    snprintf(command, sizeof command, "rm -rf %s", f->dir);
    int rc = system(command);
    free(f);
    return rc;
}

struct wish {
    const char *name, *value;
};

static enum err set_one(void *context, struct bucket_policy *policy, struct err_trail *trail)
{
    const struct wish *wish = context;
    return bucket_policy_set(policy, bytes_of_string(wish->name), bytes_of_string(wish->value),
                             trail);
}

static enum err set(struct bucket_settings *settings, const char *name, const char *value,
                    struct bucket_policy *ret_policy)
{
    struct err_trail trail = {0};
    struct wish wish = {name, value};
    return bucket_settings_change(settings, BUCKET, set_one, &wish, ret_policy, &trail);
}

static size_t stored(struct fixture *f, char out[200])
{
    size_t size = 0;
    enum err e = group_setting(f->group, BYTES("bucket/1234abcd"), (uint8_t *)out, 199, &size);
    assert_true(e == ERR_OK || e == ERR_NO_SUCH_KEY_ID);
    out[size] = '\0';
    return size;
}

static void a_node_keeps_what_another_has_set(void **state)
{
    struct fixture *f = *state;
    struct bucket_policy policy;
    char record[200];
    assert_int_equal(set(f->nodes[0], "get-path", "mmap", &policy), ERR_OK);
    assert_false(bucket_settings_find(f->nodes[1], BUCKET, &policy)); /* it has not heard of it */
    assert_int_equal(set(f->nodes[1], "verify", "always", &policy), ERR_OK);
    assert_true(policy.has_path && policy.has_verify);
    assert_true(bucket_settings_find(f->nodes[1], BUCKET, &policy) && policy.has_path);
    stored(f, record);
    assert_string_equal(record, "get-path=mmap\nverify=always\n");
    assert_int_equal(set(f->nodes[0], "get-path", "default", &policy), ERR_OK);
    assert_int_equal(set(f->nodes[1], "verify", "default", &policy), ERR_OK);
    assert_int_equal(stored(f, record), 0);
    assert_false(bucket_settings_find(f->nodes[1], BUCKET, &policy));
}

static void what_is_refused_changes_nothing(void **state)
{
    struct fixture *f = *state;
    struct bucket_policy policy;
    char record[200];
    assert_int_equal(set(f->nodes[0], "verify", "cold", &policy), ERR_OK);
    assert_int_equal(set(f->nodes[0], "verify", "never", &policy), ERR_INVALID);
    assert_int_equal(set(f->nodes[0], "colour", "red", &policy), ERR_INVALID);
    stored(f, record);
    assert_string_equal(record, "verify=cold\n");
}

/* Another one is faster, `times` times. */
struct race {
    struct fixture *f;
    unsigned times, tries;
};

static enum err set_while_another_does(void *context, struct bucket_policy *policy,
                                       struct err_trail *trail)
{
    struct race *race = context;
    struct bucket_policy theirs;
    char value[20];
    snprintf(value, sizeof value, "sample:%u", race->tries + 1);
    if (race->tries++ < race->times)
        assert_int_equal(set(race->f->nodes[1], "verify", value, &theirs), ERR_OK);
    return bucket_policy_set(policy, BYTES("get-path"), BYTES("copy"), trail);
}

static void who_was_slower_begins_anew(void **state)
{
    struct fixture *f = *state;
    struct bucket_policy policy;
    struct err_trail trail = {0};
    char record[200];
    for (int is_there = 0; is_there < 2; is_there++) { /* both nothing and something was stored */
        struct race race = {.f = f, .times = BUCKET_CHANGE_TRIES_MAX - 1};
        assert_int_equal(bucket_settings_change(f->nodes[0], BUCKET, set_while_another_does, &race,
                                                &policy, &trail),
                         ERR_OK);
        assert_int_equal(race.tries, BUCKET_CHANGE_TRIES_MAX);
        stored(f, record);
        assert_string_equal(record, "get-path=copy\nverify=sample:7\n");
    }
}

static enum err take_back_while_another_sets(void *context, struct bucket_policy *policy,
                                             struct err_trail *trail)
{
    enum err e = set_while_another_does(context, policy, trail);
    *policy = (struct bucket_policy){0};
    return e;
}

static void who_is_always_slower_is_told_so(void **state)
{
    struct fixture *f = *state;
    struct bucket_policy policy;
    char record[200];
    bucket_change_fn *const changes[] = {set_while_another_does, take_back_while_another_sets};
    for (size_t i = 0; i < COUNT_OF(changes); i++) {
        struct err_trail trail = {0};
        struct race race = {.f = f, .times = UINT32_MAX};
        assert_int_equal(
            bucket_settings_change(f->nodes[0], BUCKET, changes[i], &race, &policy, &trail),
            ERR_PRECONDITION);
        assert_int_equal(race.tries, BUCKET_CHANGE_TRIES_MAX);
        stored(f, record);
        assert_string_equal(record, "verify=sample:8\n"); /* the other's last, untouched */
        assert_false(bucket_settings_find(f->nodes[0], BUCKET, &policy));
    }
}

#define ROUNDS 60

struct writer {
    pthread_t thread;
    struct bucket_settings *settings;
    const char *name, *values[2]; /* set in turn */
    unsigned failed;
};

static void *write_many(void *context)
{
    struct writer *writer = context;
    struct bucket_policy policy;
    for (unsigned i = 0; i < ROUNDS; i++) {
        enum err e = set(writer->settings, writer->name, writer->values[i % 2], &policy);
        while (e == ERR_PRECONDITION) /* the others were faster each time: as the error says */
            e = set(writer->settings, writer->name, writer->values[i % 2], &policy);
        writer->failed += e != ERR_OK;
    }
    return NULL;
}

static void threads_of_both_nodes_lose_nothing(void **state)
{
    struct fixture *f = *state;
    struct writer writers[] = {
        {.settings = f->nodes[0], .name = "get-path", .values = {"default", "copy"}},
        {.settings = f->nodes[0], .name = "require-path", .values = {"default", "zerocopy"}},
        {.settings = f->nodes[1], .name = "verify", .values = {"default", "always"}},
    };
    char record[200];
    for (size_t i = 0; i < COUNT_OF(writers); i++)
        assert_int_equal(pthread_create(&writers[i].thread, NULL, write_many, &writers[i]), 0);
    for (size_t i = 0; i < COUNT_OF(writers); i++)
        assert_int_equal(pthread_join(writers[i].thread, NULL), 0);
    for (size_t i = 0; i < COUNT_OF(writers); i++)
        assert_int_equal(writers[i].failed, 0);
    stored(f, record);
    assert_string_equal(record, "get-path=copy\nrequire-path=zerocopy\nverify=always\n");
}

#define TEST(test) cmocka_unit_test_setup_teardown(test, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(a_node_keeps_what_another_has_set),  TEST(what_is_refused_changes_nothing),
        TEST(who_was_slower_begins_anew),         TEST(who_is_always_slower_is_told_so),
        TEST(threads_of_both_nodes_lose_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
