/*
 * What lies where: extents, segments, one object.
 */
#include <stdlib.h>

#include "api/admin/admin_priv.h"
#include "api/admin/describe.h"
#include "api/http/explain.h"
#include "api/s3/get_policy.h"
#include "base/cleanup.h"

/* An optional number below 2^32. False: it is there and is none, and the reply says so. */
static bool query_u32(const struct admin_request *request, const char *name, uint32_t *value,
                      bool *ret_given, struct admin_reply *reply)
{
    struct bytes text = request->query(request, name);
    uint64_t number;
    *ret_given = text.data != NULL;
    if (!*ret_given)
        return true;
    if (bytes_to_u64(text, &number) == ERR_OK && number <= UINT32_MAX) {
        *value = (uint32_t)number;
        return true;
    }
    struct err_trail trail = {0};
    (void)err_say(&trail, ERR_INVALID, "%s is not a number below 2^32", name);
    admin_reply_error(reply, ERR_INVALID, &trail, NULL);
    return false;
}

static void reply_with(struct admin_reply *reply, enum err e, json_t *json)
{
    if (e)
        admin_reply_error(reply, e, NULL, NULL);
    else
        admin_reply_json(reply, 200, json);
}

/* segment=N with unit=M is where a page begins; segment=N&only=1 keeps to that segment. */
void admin_extents(struct admin *admin, const struct admin_request *request,
                   struct admin_reply *reply)
{
    struct describe_page page = {.max = 1000};
    uint32_t only = 0;
    bool given;
    if (!query_u32(request, "segment", &page.segment, &given, reply) ||
        !query_u32(request, "unit", &page.unit, &given, reply) ||
        !query_u32(request, "max", &page.max, &given, reply) ||
        !query_u32(request, "only", &only, &given, reply))
        return;
    page.one_segment = only != 0;
    json_t *json = NULL;
    enum err e = describe_extents(admin->volume, &page, &json);
    reply_with(reply, e, json);
}

void admin_extents_map(struct admin *admin, const struct admin_request *request,
                       struct admin_reply *reply)
{
    json_t *json = NULL;
    enum err e = describe_map(admin->volume, &json);
    reply_with(reply, e, json);
}

/* False: the reply says that a name is missing. */
static bool object_names(const struct admin_request *request, struct admin_reply *reply,
                         struct bytes *ret_bucket, struct bytes *ret_key)
{
    struct bytes bucket = request->query(request, "bucket"), key = request->query(request, "key");
    if (bucket.size == 0 || key.size == 0 || bucket.size > BUCKET_NAME_BYTES_MAX ||
        key.size > KEY_BYTES_MAX) {
        struct err_trail trail = {0};
        (void)err_say(&trail, ERR_INVALID, "bucket and key name the object");
        admin_reply_error(reply, ERR_INVALID, &trail, "?bucket=photos&key=2024/cat.jpg");
        return false;
    }
    *ret_bucket = bucket;
    *ret_key = key;
    return true;
}

static void show(struct admin *admin, const struct admin_request *request,
                 enum describe_depth depth, struct admin_reply *reply)
{
    struct bytes bucket, key;
    if (!object_names(request, reply, &bucket, &key))
        return;
    admin_try_freshen(admin);
    json_t *json = NULL;
    enum err e = describe_object(admin->volume, bucket, key, depth, &json);
    reply_with(reply, e, json);
}

void admin_extents_show(struct admin *admin, const struct admin_request *request,
                        struct admin_reply *reply)
{
    show(admin, request, DESCRIBE_EXTENTS, reply);
}

void admin_object(struct admin *admin, const struct admin_request *request,
                  struct admin_reply *reply)
{
    show(admin, request, DESCRIBE_RECORD, reply);
}

/* ---- which way a GET would go ---- */

/* What a GET of the whole object would find if it came now. */
static enum err explain(struct admin *admin, struct bucket_id bucket, struct object *object,
                        json_t **ret_json)
{
    struct path_policy policy = admin->get_policy;
    struct bucket_policy bucket_policy;
    unsigned count = http_worker_count(admin->s3);
    CLEANUP(free) struct path_facts *facts = calloc(count, sizeof *facts);
    if (facts == NULL)
        return ERR_NO_MEMORY;
    if (bucket_settings_find(admin->bucket_settings, bucket, &bucket_policy))
        bucket_policy_apply(&bucket_policy, &policy);
    bool is_hot = object_reads(object, clock_mono_ns(admin->clock)) + 1 >= GET_HOT_READS;
    struct read_plan plan;
    read_plan_open(&plan, object, 0, object_info(object)->size);
    enum err e = read_plan_load(&plan);
    if (!e)
        e = http_explain(admin->s3, &plan, &policy, is_hot, facts);
    read_plan_close(&plan);
    if (!e)
        *ret_json = describe_paths(facts, count, &policy);
    return e;
}

void admin_explain(struct admin *admin, const struct admin_request *request,
                   struct admin_reply *reply)
{
    struct bytes bucket_name, key;
    struct bucket_info bucket;
    struct object *object = NULL;
    json_t *json = NULL, *paths = NULL;
    if (!object_names(request, reply, &bucket_name, &key))
        return;
    admin_try_freshen(admin);
    enum err e = admin->s3 != NULL ? ERR_OK : ERR_UNSUPPORTED;
    if (!e)
        e = describe_object(admin->volume, bucket_name, key, DESCRIBE_RECORD, &json);
    if (!e)
        e = group_bucket(admin->group, bucket_name, &bucket);
    if (!e)
        e = volume_lookup(admin->volume, bucket.id, key, KV_ANY, &object);
    if (!e)
        e = explain(admin, bucket.id, object, &paths);
    object_put(object);
    if (!e)
        json_object_set_new(json, "get", paths);
    else
        json_decref(json);
    reply_with(reply, e, json);
}
