/*
 * Reading all that is stored and holding it against its sums: how far it is, and starting and
 * pausing it.
 */
#include "api/admin/admin_priv.h"
#include "api/s3/time.h"

/* null: not yet */
static json_t *time_or_null(uint64_t ns)
{
    char text[S3_TIME_ISO_BYTES];
    if (ns == 0)
        return json_null();
    s3_time_iso(ns, text);
    return json_string(text);
}

static json_t *describe_scrub(const struct scrub_status *status)
{
    return json_pack(
        "{s:s, s:I, s:o, s:o, s:I, s:I, s:I, s:I, s:I, s:s}", "state",
        scrub_state_name(status->state), "rate_bytes", (json_int_t)status->rate_bytes, "started",
        time_or_null(status->started_ns), "ended", time_or_null(status->ended_ns), "verified_bytes",
        (json_int_t)status->verified_bytes, "total_bytes", (json_int_t)status->total_bytes, "data",
        (json_int_t)status->data_count, "damaged_chunks", (json_int_t)status->damaged,
        "repaired_chunks", (json_int_t)status->repaired, "sentence", status->sentence);
}

static void reply_scrub(struct admin *admin, struct admin_reply *reply)
{
    struct scrub_status status;
    scrub_status(admin->scrub, &status);
    admin_reply_json(reply, 200, describe_scrub(&status));
}

/* False: the reply says that there is none. */
static bool has_scrub(const struct admin *admin, struct admin_reply *reply)
{
    if (admin->scrub == NULL)
        admin_reply_error(reply, ERR_UNSUPPORTED, NULL, NULL);
    return admin->scrub != NULL;
}

void admin_scrub(struct admin *admin, const struct admin_request *request,
                 struct admin_reply *reply)
{
    if (has_scrub(admin, reply))
        reply_scrub(admin, reply);
}

struct scrub_wish {
    const char *action;
    json_int_t rate_bytes;
    int anew;
};

static enum err parse_wish(const json_t *body, struct scrub_wish *ret_wish, struct err_trail *trail)
{
    struct scrub_wish wish = {.rate_bytes = 0};
    json_error_t error;
    if (body == NULL ||
        json_unpack_ex((json_t *)body, &error, JSON_STRICT, "{s:s, s?I, s?b}", "action",
                       &wish.action, "rate_bytes", &wish.rate_bytes, "anew", &wish.anew) != 0)
        return err_say(trail, ERR_INVALID, "the body is not an action, with rate_bytes and anew");
    if (wish.rate_bytes < 0)
        return err_say(trail, ERR_INVALID, "rate_bytes is negative");
    *ret_wish = wish;
    return ERR_OK;
}

void admin_scrub_set(struct admin *admin, const struct admin_request *request,
                     struct admin_reply *reply)
{
    struct scrub_wish wish = {.action = ""};
    struct err_trail trail = {0};
    if (!has_scrub(admin, reply))
        return;
    enum err e = parse_wish(request->body, &wish, &trail);
    if (e == ERR_OK && strcmp(wish.action, "start") == 0)
        e = scrub_start(admin->scrub, (uint64_t)wish.rate_bytes, wish.anew != 0, &trail);
    else if (e == ERR_OK && strcmp(wish.action, "pause") == 0)
        scrub_pause(admin->scrub);
    else if (e == ERR_OK)
        e = err_say(&trail, ERR_INVALID, "the action is none of start and pause");
    if (e)
        admin_reply_error(reply, e, &trail, "{\"action\": \"start\", \"rate_bytes\": 67108864}");
    else
        reply_scrub(admin, reply);
}
