/*
 * Several nodes, seen from one that may be behind: a request sees what was acknowledged anywhere
 * before it came, or is told to come again; and access keys and settings that changed through
 * another node count here. The other nodes are this test, which stands where the group would ask
 * them (the linker puts it there: see 'wrap' in api/s3/meson.build).
 */
#include "api/s3/bucket_settings.h"
#include "api/s3/key_record.h"
#include "tests/unit/s3_harness.h"

/* ---- the others ---- */

static struct {
    _Atomic bool is_behind;
    _Atomic unsigned asked;
    _Atomic enum err answer;
    /* What they do before they answer; on a thread of its own. */
    void (*_Atomic meanwhile)(struct node *n);
    struct node *node;
    group_setting_changed_fn *keys_changed, *buckets_changed;
    void *keys_context, *buckets_context;
} others;

bool __wrap_group_is_fresh(const struct group *group);
void __wrap_group_fresh(struct group *group, struct group_ask *ask);
void __wrap_group_watch_settings(struct group *group, struct bytes prefix,
                                 group_setting_changed_fn *changed, void *context);

bool __wrap_group_is_fresh(const struct group *group)
{
    return !others.is_behind;
}

static void tell(struct loop_msg *msg)
{
    struct group_ask *ask = CONTAINER_OF(msg, struct group_ask, work.msg);
    ask->done(ask);
}

static void *answer_later(void *context)
{
    struct group_ask *ask = context;
    void (*meanwhile)(struct node *) = others.meanwhile;
    if (meanwhile != NULL)
        meanwhile(others.node);
    ask->err = others.answer;
    ask->work.msg.deliver = tell;
    loop_post(ask->loop, &ask->work.msg);
    return NULL;
}

void __wrap_group_fresh(struct group *group, struct group_ask *ask)
{
    pthread_t thread;
    others.asked++;
    CHECK(pthread_create(&thread, NULL, answer_later, ask) == 0);
    CHECK(pthread_detach(thread) == 0);
}

void __wrap_group_watch_settings(struct group *group, struct bytes prefix,
                                 group_setting_changed_fn *changed, void *context)
{
    bool is_keys = bytes_equal(prefix, BYTES("key/"));
    *(is_keys ? &others.keys_changed : &others.buckets_changed) = changed;
    *(is_keys ? &others.keys_context : &others.buckets_context) = context;
}

static void change_setting(struct node *n, enum mutation_kind kind, const char *name,
                           struct bytes value)
{
    struct mutation m = {.kind = kind, .key = bytes_of_string(name), .attrs = value};
    must(group_propose_wait(n->group, &m), &m.trail);
}

#define OTHER_ID     "AKOTHERNODE"
#define OTHER_SECRET "made-at-another-node-0123"

static void make_key_elsewhere(struct node *n)
{
    uint8_t record[KEY_RECORD_BYTES_MAX];
    size_t size;
    struct access_key key = {
        .id = OTHER_ID, .secret = OTHER_SECRET, .owner = "o", .is_root = true, .created_ns = 1};
    must(key_record_put(record, &key, n->node_key, &size), NULL);
    change_setting(n, MUTATION_SETTING_PUT, "key/" OTHER_ID, bytes_of(record, size));
    others.keys_changed(others.keys_context, BYTES("key/" OTHER_ID));
}

static void remove_key_elsewhere(struct node *n)
{
    change_setting(n, MUTATION_SETTING_DELETE, "key/" OTHER_ID, (struct bytes){0});
    others.keys_changed(others.keys_context, BYTES("key/" OTHER_ID));
}

static void make_bucket_elsewhere(struct node *n)
{
    struct mutation m = {
        .kind = MUTATION_BUCKET_CREATE, .bucket_name = BYTES("late"), .owner = BYTES("o")};
    must(group_propose_wait(n->group, &m), &m.trail);
}

/* ---- requests ---- */

static int setup(void **state)
{
    memset(&others, 0, sizeof others);
    int rc = node_setup(state);
    others.node = *state;
    put_ok(*state, "/bucket", (struct bytes){0});
    put_ok(*state, "/bucket/k", BYTES("v"));
    assert_int_equal(others.asked, 0);
    others.is_behind = true;
    return rc;
}

static int teardown(void **state)
{
    int rc = node_teardown(state);
    return rc != 0 || others.keys_changed != NULL; /* a closed keyring does not watch */
}

static void each_request_asks_once_and_goes_on(void **state)
{
    struct node *n = *state;
    assert_holds(n, "/bucket/k", BYTES("v"));
    assert_int_equal(others.asked, 1);
    put_ok(n, "/bucket/k2", BYTES("v2"));
    expect(n, ASK(.method = "GET", .path = "/bucket", .query = "list-type=2"), 200, NULL);
    expect(n, ASK(.method = "DELETE", .path = "/bucket/k2"), 204, NULL);
    expect(n, ASK(.method = "GET", .path = "/"), 200, NULL);
    assert_int_equal(others.asked, 5);
    others.is_behind = false;
    assert_absent(n, "/bucket/k2");
    assert_int_equal(others.asked, 5);
}

static void what_was_acknowledged_meanwhile_is_seen(void **state)
{
    struct node *n = *state;
    others.meanwhile = make_bucket_elsewhere;
    expect(n, ASK(.method = "HEAD", .path = "/late"), 200, NULL);
}

static void who_cannot_be_made_fresh_is_told_to_come_again(void **state)
{
    struct node *n = *state;
    others.answer = ERR_BUSY;
    struct answer answer = get(n, "/bucket/k");
    assert_answer(answer, 503, "SlowDown");
    assert_true(bytes_equal(answer_header(&answer, "Retry-After"), BYTES("1")));
    answer_free(&answer);
    answer = put(n, "/bucket/new", BYTES("x"));
    assert_answer(answer, 503, "SlowDown");
    answer_free(&answer);
    others.answer = ERR_OK;
    assert_absent(n, "/bucket/new");
}

static void who_is_not_let_in_asks_nobody(void **state)
{
    struct node *n = *state;
    expect(n, ASK(.method = "GET", .path = "/bucket/k", .is_unsigned = true), 403, "AccessDenied");
    expect(n, ASK(.method = "GET", .path = "/bucket/k", .secret = "wrong-secret-0123"), 403,
           "SignatureDoesNotMatch");
    expect(n, ASK(.method = "GET", .path = "/bucket", .query = "website"), 501, "NotImplemented");
    assert_int_equal(others.asked, 0);
}

/* ---- keys and settings ---- */

static void a_key_made_elsewhere_signs_here_at_once(void **state)
{
    struct node *n = *state;
    struct request request = {
        .method = "GET", .path = "/bucket/k", .id = OTHER_ID, .secret = OTHER_SECRET};
    struct answer answer = send_request(n, &request);
    assert_answer(answer, 403, "InvalidAccessKeyId"); /* the others know of none either */
    answer_free(&answer);
    assert_int_equal(others.asked, 1);

    others.meanwhile = make_key_elsewhere;
    answer = send_request(n, &request);
    assert_answer(answer, 200, NULL);
    answer_free(&answer);
    assert_int_equal(others.asked, 2); /* made fresh for its key, it is fresh for the rest */
    others.meanwhile = NULL;
    struct access_key key;
    assert_int_equal(keyring_find(n->keyring, BYTES(OTHER_ID), &key), ERR_OK);
    assert_string_equal(key.secret, OTHER_SECRET);

    remove_key_elsewhere(n);
    assert_int_equal(keyring_find(n->keyring, BYTES(OTHER_ID), &key), ERR_NO_SUCH_KEY_ID);
    answer = send_request(n, &request);
    assert_answer(answer, 403, "InvalidAccessKeyId");
    answer_free(&answer);
}

/* Told of its own change before it has returned, as the group may: shown once. */
static void a_change_of_our_own_may_be_told_too(void **state)
{
    struct node *n = *state;
    struct access_key key;
    size_t before = keyring_count(n->keyring);
    make_key_elsewhere(n);
    others.keys_changed(others.keys_context, BYTES("key/" OTHER_ID));
    assert_int_equal(keyring_count(n->keyring), before + 1);
    struct err_trail trail = {0};
    must(keyring_remove(n->keyring, BYTES(OTHER_ID), &trail), &trail);
    others.keys_changed(others.keys_context, BYTES("key/" OTHER_ID));
    assert_int_equal(keyring_find(n->keyring, BYTES(OTHER_ID), &key), ERR_NO_SUCH_KEY_ID);
    assert_int_equal(keyring_count(n->keyring), before);
    others.keys_changed(others.keys_context, BYTES("key/")); /* nobody's name */
}

static void a_buckets_setting_made_elsewhere_counts_here(void **state)
{
    struct node *n = *state;
    struct err_trail trail = {0};
    struct bucket_settings *settings;
    struct bucket_policy policy;
    struct bucket_id bucket = {42};
    must(bucket_settings_open(n->group, &settings, &trail), &trail);
    assert_false(bucket_settings_find(settings, bucket, &policy));
    change_setting(n, MUTATION_SETTING_PUT, "bucket/0000002a", BYTES("get-path=copy\n"));
    others.buckets_changed(others.buckets_context, BYTES("bucket/0000002a"));
    assert_true(bucket_settings_find(settings, bucket, &policy));
    assert_true(policy.has_path);
    change_setting(n, MUTATION_SETTING_DELETE, "bucket/0000002a", (struct bytes){0});
    others.buckets_changed(others.buckets_context, BYTES("bucket/0000002a"));
    assert_false(bucket_settings_find(settings, bucket, &policy));
    others.buckets_changed(others.buckets_context, BYTES("bucket/x"));

    /* No bucket has that id: it goes with the next tidying. */
    change_setting(n, MUTATION_SETTING_PUT, "bucket/0000002a", BYTES("verify=off\n"));
    others.buckets_changed(others.buckets_context, BYTES("bucket/0000002a"));
    must(bucket_settings_tidy(settings, &trail), &trail);
    assert_false(bucket_settings_find(settings, bucket, &policy));
    uint8_t value[64];
    size_t size;
    assert_int_equal(group_setting(n->group, BYTES("bucket/0000002a"), value, sizeof value, &size),
                     ERR_NO_SUCH_KEY_ID);
    bucket_settings_close(settings);
    assert_null(others.buckets_changed);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    const struct CMUnitTest tests[] = {
        TEST(each_request_asks_once_and_goes_on),
        TEST(what_was_acknowledged_meanwhile_is_seen),
        TEST(who_cannot_be_made_fresh_is_told_to_come_again),
        TEST(who_is_not_let_in_asks_nobody),
        TEST(a_key_made_elsewhere_signs_here_at_once),
        TEST(a_change_of_our_own_may_be_told_too),
        TEST(a_buckets_setting_made_elsewhere_counts_here),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
