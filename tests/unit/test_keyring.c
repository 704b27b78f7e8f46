/*
 * Access keys over a real volume: made, found, kept over a restart, refused; and the record's
 * bytes, each of them judged.
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

#include "api/s3/key_record.h"

struct fixture {
    char dir[64];
    struct work_pool *pool;
    struct volume *volume;
    struct group *group;
    struct keyring *keyring;
    uint8_t node_key[32];
    struct rand_seeded rand;
    struct err_trail trail;
};

static enum err ring_open_with(struct fixture *f, const uint8_t node_key[32])
{
    return keyring_open(&(struct keyring_options){.group = f->group,
                                                  .clock = clock_system(),
                                                  .rand = &f->rand.rand,
                                                  .node_key = node_key},
                        &f->keyring, &f->trail);
}

static void node_open(struct fixture *f)
{
    struct err_trail trail = {0};
    assert_int_equal(
        volume_open(&(struct volume_options){.dir = f->dir, .direct = VOLUME_DIRECT_ANY},
                    &f->volume, &trail),
        ERR_OK);
    assert_int_equal(group_open(&(struct group_options){.volume = f->volume, .work_pool = f->pool},
                                &f->group, &trail),
                     ERR_OK);
}

static void node_close(struct fixture *f)
{
    keyring_close(f->keyring);
    f->keyring = NULL;
    group_close(f->group);
    f->group = NULL;
    volume_close(f->volume);
    f->volume = NULL;
}

static int setup(void **state)
{
    struct fixture *f = calloc(1, sizeof *f);
    assert_non_null(f);
    *state = f;
    strcpy(f->dir, "/var/tmp/sluice-keyring-XXXXXX");
    assert_non_null(mkdtemp(f->dir));
    rand_seeded_init(&f->rand, 42);
    memset(f->node_key, 7, sizeof f->node_key);
    struct err_trail trail = {0};
    assert_int_equal(work_pool_open(1, "test", &f->pool), ERR_OK);
    assert_int_equal(volume_format(&(struct volume_format_options){.dir = f->dir,
                                                                   .segment_bytes = MIB(16),
                                                                   .direct = VOLUME_DIRECT_ANY},
                                   &trail),
                     ERR_OK);
    node_open(f);
    assert_int_equal(ring_open_with(f, f->node_key), ERR_OK);
    return 0;
}

static int teardown(void **state)
{
    struct fixture *f = *state;
    node_close(f);
    work_pool_close(f->pool);
    char command[96];
    snprintf(command, sizeof command, "rm -rf %s", f->dir);
    int rc = system(command);
    free(f);
    return rc;
}

static struct access_key create(struct fixture *f, const struct access_key *draft)
{
    struct access_key made;
    err_trail_reset(&f->trail);
    enum err e = keyring_create(f->keyring, draft, &made, &f->trail);
    if (e)
        fail_msg("%s", f->trail.text);
    return made;
}

/* ---- life of a key ---- */

static void a_drawn_key_is_complete_and_found(void **state)
{
    struct fixture *f = *state;
    struct access_key made = create(f, &(struct access_key){.name = "backup"}), found = {0};
    assert_int_equal(strlen(made.id), 20);
    assert_memory_equal(made.id, "SLUI", 4);
    assert_int_equal(strlen(made.secret), 40);
    assert_int_equal(strlen(made.owner), 64);
    assert_true(made.created_ns > 0);
    assert_int_equal(keyring_find(f->keyring, bytes_of_string(made.id), &found), ERR_OK);
    assert_memory_equal(&made, &found, sizeof made);
    assert_int_equal(keyring_find(f->keyring, BYTES("SLUINOBODY"), &found), ERR_NO_SUCH_KEY_ID);
}

static void keys_are_there_after_a_restart(void **state)
{
    struct fixture *f = *state;
    struct access_key made =
        create(f, &(struct access_key){
                      .id = "AKIA_OLD",
                      .secret = "with+signs/and=more",
                      .name = "Sicherung \xc3\xbc",
                      .owner = "alice",
                      .display_name = "Alice Liddell",
                      .grant_count = 2,
                      .grants = {{"photos", GRANT_READ | GRANT_WRITE}, {"logs", GRANT_READ}},
                  });
    create(f, &(struct access_key){.is_root = true});
    node_close(f);
    node_open(f);
    assert_int_equal(ring_open_with(f, f->node_key), ERR_OK);
    struct access_key found = {0};
    assert_int_equal(keyring_count(f->keyring), 2);
    assert_int_equal(keyring_find(f->keyring, BYTES("AKIA_OLD"), &found), ERR_OK);
    assert_memory_equal(&made, &found, sizeof made);
}

static void another_node_key_opens_nothing_and_says_so(void **state)
{
    struct fixture *f = *state;
    create(f, &(struct access_key){.id = "AKIA_OLD", .secret = "0123456789"});
    keyring_close(f->keyring);
    f->keyring = NULL;
    uint8_t other[32] = {1};
    assert_int_equal(ring_open_with(f, other), ERR_CORRUPT);
    assert_non_null(strstr(f->trail.text, "AKIA_OLD"));
    assert_non_null(strstr(f->trail.text, "node.key"));
}

static void the_secret_is_not_in_the_volume_in_clear(void **state)
{
    struct fixture *f = *state;
    create(f, &(struct access_key){.id = "AKIA_OLD", .secret = "findMeIfYouCan12345"});
    node_close(f);
    char command[160];
    snprintf(command, sizeof command, "grep -raqF findMeIfYouCan12345 %s", f->dir);
    assert_int_not_equal(system(command), 0);
    snprintf(command, sizeof command, "grep -raqF AKIA_OLD %s", f->dir);
    assert_int_equal(system(command), 0); /* grep would have found it */
    node_open(f);
}

static void keys_are_listed_in_order_without_secrets(void **state)
{
    struct fixture *f = *state;
    static const char *const ids[] = {"mmm", "aaa", "zzz", "bbb"}, *const sorted[] = {"aaa", "bbb",
                                                                                      "mmm", "zzz"};
    for (size_t i = 0; i < 4; i++) {
        struct access_key draft = {.secret = "0123456789"};
        strcpy(draft.id, ids[i]);
        create(f, &draft);
    }
    struct access_key key;
    for (size_t i = 0; i < 4; i++) {
        assert_int_equal(keyring_at(f->keyring, i, &key), ERR_OK);
        assert_string_equal(key.id, sorted[i]);
        assert_string_equal(key.secret, "");
    }
    assert_int_equal(keyring_at(f->keyring, 4, &key), ERR_NO_SUCH_KEY_ID);
}

static void a_taken_id_is_refused(void **state)
{
    struct fixture *f = *state;
    struct access_key draft = {.id = "twice", .secret = "0123456789"}, made = create(f, &draft),
                      found;
    strcpy(draft.secret, "another one");
    draft.secret[7] = '-';
    assert_int_equal(keyring_create(f->keyring, &draft, &found, &f->trail), ERR_KEY_ID_EXISTS);
    assert_int_equal(keyring_find(f->keyring, BYTES("twice"), &found), ERR_OK);
    assert_string_equal(found.secret, made.secret);
}

static void a_removed_key_is_gone_for_good_and_the_last_root_key_stays(void **state)
{
    struct fixture *f = *state;
    struct access_key root = create(f, &(struct access_key){.is_root = true}),
                      key = create(f, &(struct access_key){0}), found;
    assert_int_equal(keyring_remove(f->keyring, bytes_of_string(root.id), &f->trail), ERR_INVALID);
    assert_int_equal(keyring_remove(f->keyring, bytes_of_string(key.id), &f->trail), ERR_OK);
    assert_int_equal(keyring_remove(f->keyring, bytes_of_string(key.id), &f->trail),
                     ERR_NO_SUCH_KEY_ID);
    assert_int_equal(keyring_find(f->keyring, bytes_of_string(key.id), &found), ERR_NO_SUCH_KEY_ID);
    create(f, &(struct access_key){.is_root = true});
    assert_int_equal(keyring_remove(f->keyring, bytes_of_string(root.id), &f->trail), ERR_OK);
    node_close(f);
    node_open(f);
    assert_int_equal(ring_open_with(f, f->node_key), ERR_OK);
    assert_int_equal(keyring_count(f->keyring), 1);
}

/* The table grows, chains are rebuilt, entries leave the middle: against what was put in. */
static void many_keys_are_found_among_each_other(void **state)
{
    enum { MANY = 150 };
    struct fixture *f = *state;
    char ids[MANY][32];
    struct access_key found = {0};
    for (unsigned i = 0; i < MANY; i++) {
        struct access_key draft = {.secret = "0123456789"};
        snprintf(ids[i], sizeof ids[i], "key-%u", i * 7919 % 1000);
        strcpy(draft.id, ids[i]);
        create(f, &draft);
    }
    for (unsigned i = 0; i < MANY; i += 3)
        assert_int_equal(keyring_remove(f->keyring, bytes_of_string(ids[i]), &f->trail), ERR_OK);
    for (unsigned i = 0; i < MANY; i++)
        assert_int_equal(keyring_find(f->keyring, bytes_of_string(ids[i]), &found),
                         i % 3 == 0 ? ERR_NO_SUCH_KEY_ID : ERR_OK);
    assert_int_equal(keyring_count(f->keyring), MANY - (MANY + 2) / 3);
}

struct reader {
    struct keyring *keyring;
    _Atomic bool stop;
    unsigned wrong;
};

static void *read_all_the_time(void *context)
{
    struct reader *reader = context;
    struct access_key found = {0};
    while (!reader->stop)
        if (keyring_find(reader->keyring, BYTES("steady"), &found) != ERR_OK ||
            strcmp(found.secret, "0123456789") != 0)
            reader->wrong++;
    return NULL;
}

static void lookups_go_on_while_keys_come_and_go(void **state)
{
    struct fixture *f = *state;
    create(f, &(struct access_key){.id = "steady", .secret = "0123456789"});
    struct reader reader = {.keyring = f->keyring};
    pthread_t thread;
    assert_int_equal(pthread_create(&thread, NULL, read_all_the_time, &reader), 0);
    for (unsigned i = 0; i < 100; i++) {
        struct access_key made = create(f, &(struct access_key){0});
        if (i % 2 == 0)
            assert_int_equal(keyring_remove(f->keyring, bytes_of_string(made.id), &f->trail),
                             ERR_OK);
    }
    reader.stop = true;
    pthread_join(thread, NULL);
    assert_int_equal(reader.wrong, 0);
}

/* ---- what a key may hold, what it may do ---- */

static void drafts_are_judged(void **state)
{
    struct fixture *f = *state;
    static const struct {
        struct access_key draft;
        const char *complaint;
    } rows[] = {
        {{.id = "ab", .secret = "0123456789"}, "access key id"},
        {{.id = "a/b", .secret = "0123456789"}, "access key id"},
        {{.id = "a b", .secret = "0123456789"}, "access key id"},
        {{.id = "abc", .secret = "short"}, "secret"},
        {{.id = "abc", .secret = "with a blank"}, "secret"},
        {{.owner = "a/b"}, "owner"},
        {{.name = "\xff"}, "name"},
        {{.name = "a\nb"}, "name"},
        {{.display_name = "\x7f"}, "display name"},
        {{.grant_count = 1, .grants = {{"Photos", GRANT_READ}}}, "bucket"},
        {{.grant_count = 1, .grants = {{"ab", GRANT_READ}}}, "bucket"},
        {{.grant_count = 1, .grants = {{"photos", 0}}}, "allows nothing"},
        {{.grant_count = 1, .grants = {{"photos", 8}}}, "allows nothing"},
        {{.grant_count = 2, .grants = {{"photos", 1}, {"photos", 2}}}, "two grants"},
        {{.grant_count = KEY_GRANTS_MAX + 1}, "at most"},
        {{.is_root = true, .grant_count = 1, .grants = {{"photos", 1}}}, "root"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        struct access_key made;
        err_trail_reset(&f->trail);
        if (keyring_create(f->keyring, &rows[i].draft, &made, &f->trail) != ERR_INVALID)
            fail_msg("row %zu is taken", i);
        if (strstr(f->trail.text, rows[i].complaint) == NULL)
            fail_msg("'%s' does not say '%s'", f->trail.text, rows[i].complaint);
    }
    assert_int_equal(keyring_count(f->keyring), 0);
}

static void what_a_key_may_do(void **state)
{
    const struct bucket_info photos = {.name = "photos", .owner = "alice"},
                             logs = {.name = "logs", .owner = "bob"};
    const struct access_key root = {.is_root = true, .owner = "root"}, alice = {.owner = "alice"};
    const struct access_key guest = {
        .owner = "guest", .grant_count = 1, .grants = {{"photos", GRANT_READ | GRANT_WRITE}}};
    const struct access_key narrow = {
        .owner = "alice", .grant_count = 1, .grants = {{"other", GRANT_READ}}};
    const struct {
        const struct access_key *key;
        const struct bucket_info *bucket;
        uint8_t bits;
        bool may;
    } rows[] = {
        {&root, &photos, GRANT_OWN, true},   {&alice, &photos, GRANT_OWN, true},
        {&alice, &logs, GRANT_READ, false},  {&guest, &photos, GRANT_READ | GRANT_WRITE, true},
        {&guest, &photos, GRANT_OWN, false}, {&guest, &photos, GRANT_READ | GRANT_OWN, false},
        {&guest, &logs, GRANT_READ, false},  {&narrow, &photos, GRANT_READ, false},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++)
        assert_int_equal(access_key_may(rows[i].key, rows[i].bucket, rows[i].bits), rows[i].may);
}

/* ---- the record ---- */

static size_t good_record(const struct fixture *f, uint8_t record[KEY_RECORD_BYTES_MAX],
                          struct access_key *key)
{
    *key = (struct access_key){.id = "AKIA_OLD",
                               .secret = "0123456789",
                               .owner = "alice",
                               .name = "n",
                               .created_ns = 5,
                               .grant_count = 1,
                               .grants = {{"photos", GRANT_READ}}};
    size_t size = 0;
    assert_int_equal(key_record_put(record, key, f->node_key, &size), ERR_OK);
    return size;
}

static void a_record_reads_back(void **state)
{
    struct fixture *f = *state;
    uint8_t record[KEY_RECORD_BYTES_MAX];
    struct access_key key, back;
    size_t size = good_record(f, record, &key);
    assert_int_equal(key_record_get(BYTES("AKIA_OLD"), bytes_of(record, size), f->node_key, &back),
                     ERR_OK);
    assert_memory_equal(&key, &back, sizeof key);
}

/* Every truncation is refused; every changed byte either is refused or gives a key that could be
 * one. */
static void a_damaged_record_is_refused(void **state)
{
    struct fixture *f = *state;
    uint8_t record[KEY_RECORD_BYTES_MAX + 1];
    struct access_key key, back;
    size_t size = good_record(f, record, &key);
    for (size_t cut = 0; cut < size; cut++)
        assert_int_not_equal(
            key_record_get(BYTES("AKIA_OLD"), bytes_of(record, cut), f->node_key, &back), ERR_OK);
    record[size] = 0;
    assert_int_equal(
        key_record_get(BYTES("AKIA_OLD"), bytes_of(record, size + 1), f->node_key, &back),
        ERR_CORRUPT);
    for (size_t i = 0; i < size; i++)
        for (unsigned bit = 0; bit < 8; bit++) {
            record[i] ^= (uint8_t)(1u << bit);
            if (key_record_get(BYTES("AKIA_OLD"), bytes_of(record, size), f->node_key, &back) ==
                ERR_OK)
                assert_int_equal(access_key_judge(&back, NULL), ERR_OK);
            record[i] ^= (uint8_t)(1u << bit);
        }
    record[0] = KEY_RECORD_VERSION + 1;
    assert_int_equal(key_record_get(BYTES("AKIA_OLD"), bytes_of(record, size), f->node_key, &back),
                     ERR_FORMAT_NEWER);
}

static void a_secret_moved_under_another_id_does_not_open(void **state)
{
    struct fixture *f = *state;
    uint8_t record[KEY_RECORD_BYTES_MAX];
    struct access_key key, back;
    size_t size = good_record(f, record, &key);
    assert_int_equal(key_record_get(BYTES("AKIA_NEW"), bytes_of(record, size), f->node_key, &back),
                     ERR_CORRUPT);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    const struct CMUnitTest tests[] = {
        TEST(a_drawn_key_is_complete_and_found),
        TEST(keys_are_there_after_a_restart),
        TEST(another_node_key_opens_nothing_and_says_so),
        TEST(the_secret_is_not_in_the_volume_in_clear),
        TEST(keys_are_listed_in_order_without_secrets),
        TEST(a_taken_id_is_refused),
        TEST(a_removed_key_is_gone_for_good_and_the_last_root_key_stays),
        TEST(many_keys_are_found_among_each_other),
        TEST(lookups_go_on_while_keys_come_and_go),
        TEST(drafts_are_judged),
        TEST(what_a_key_may_do),
        TEST(a_record_reads_back),
        TEST(a_damaged_record_is_refused),
        TEST(a_secret_moved_under_another_id_does_not_open),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
