/*
 * Buckets and what is set for them.
 */
#include "api/admin/admin_priv.h"
#include "api/admin/describe.h"

/* False: the reply says why not. */
static bool find_bucket(struct admin *admin, const struct admin_request *request,
                        struct admin_reply *reply, struct bucket_info *ret_bucket)
{
    struct bytes name = request->query(request, "bucket");
    struct err_trail trail = {0};
    enum err e = ERR_INVALID;
    if (!admin_freshen(admin, reply))
        return false;
    if (name.size == 0)
        (void)err_say(&trail, ERR_INVALID, "bucket names the bucket");
    else
        e = group_bucket(admin->group, name, ret_bucket);
    if (e)
        admin_reply_error(reply, e, &trail, name.size == 0 ? "?bucket=photos" : NULL);
    return e == ERR_OK;
}

static void reply_bucket(struct admin_reply *reply, const struct bucket_info *bucket,
                         const struct bucket_policy *policy)
{
    admin_reply_json(reply, 200, describe_bucket(bucket, policy));
}

void admin_bucket(struct admin *admin, const struct admin_request *request,
                  struct admin_reply *reply)
{
    struct bucket_info bucket;
    struct bucket_policy policy = {0};
    if (!find_bucket(admin, request, reply, &bucket))
        return;
    (void)bucket_settings_find(admin->bucket_settings, bucket.id, &policy); /* else: all default */
    reply_bucket(reply, &bucket, &policy);
}

/* What the body names; the rest stays as it is. */
static enum err take_settings(void *context, struct bucket_policy *policy, struct err_trail *trail)
{
    const json_t *body = context;
    const char *name;
    json_t *value;
    if (!json_is_object(body) || json_object_size(body) == 0)
        return err_say(trail, ERR_INVALID, "the body is not a JSON object of settings");
    json_object_foreach((json_t *)body, name, value)
    {
        if (!json_is_string(value))
            return err_say(trail, ERR_INVALID, "%.40s is not a string", name);
        enum err e = bucket_policy_set(policy, bytes_of_string(name),
                                       bytes_of_string(json_string_value(value)), trail);
        if (e)
            return e;
    }
    return ERR_OK;
}

/* Two who set different things at once both have their way; of the same thing, the later one. */
void admin_bucket_set(struct admin *admin, const struct admin_request *request,
                      struct admin_reply *reply)
{
    struct bucket_info bucket;
    struct bucket_policy policy;
    struct err_trail trail = {0};
    if (!find_bucket(admin, request, reply, &bucket))
        return;
    enum err e = ERR_UNSUPPORTED;
    if (admin->bucket_settings != NULL)
        e = bucket_settings_change(admin->bucket_settings, bucket.id, take_settings,
                                   (void *)request->body, &policy, &trail);
    if (e)
        admin_reply_error(reply, e, &trail, NULL);
    else
        reply_bucket(reply, &bucket, &policy);
}
