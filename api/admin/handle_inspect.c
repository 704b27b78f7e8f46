/*
 * What lies where: extents, segments, one object.
 */
#include "api/admin/admin_priv.h"
#include "api/admin/describe.h"

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

static void show(struct admin *admin, const struct admin_request *request,
                 enum describe_depth depth, struct admin_reply *reply)
{
    struct bytes bucket = request->query(request, "bucket"), key = request->query(request, "key");
    if (bucket.size == 0 || key.size == 0 || bucket.size > BUCKET_NAME_BYTES_MAX ||
        key.size > KEY_BYTES_MAX) {
        struct err_trail trail = {0};
        (void)err_say(&trail, ERR_INVALID, "bucket and key name the object");
        admin_reply_error(reply, ERR_INVALID, &trail, "?bucket=photos&key=2024/cat.jpg");
        return;
    }
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
