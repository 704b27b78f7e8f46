#include "api/s3/receive.h"

static void receive_settle(struct s3_receive *receive);

static struct receive_slot *receive_place(struct s3_receive *receive)
{
    for (unsigned i = 0; i < receive->options.slots; i++)
        if (receive->slots[i].slot == NULL && receive->slots[i].receive == NULL)
            return &receive->slots[i];
    return NULL;
}

static void receive_fail(struct s3_receive *receive, enum err e)
{
    if (receive->err == ERR_OK)
        receive->err = e;
}

static void receive_written(struct body_write *write, enum err e)
{
    struct receive_slot *place = CONTAINER_OF(write, struct receive_slot, write);
    struct s3_receive *receive = place->receive;
    CHECK_MAGIC(receive, RECEIVE_MAGIC);
    slot_put(place->slot);
    place->slot = NULL;
    place->receive = NULL;
    receive->writes_pending--;
    if (e)
        receive_fail(receive, e);
    if (!receive->has_ended)
        http_body_resume(receive->options.x);
    receive_settle(receive);
}

/* Gives a run of bytes to the body. The slot is ours to return, now or when it is written; NULL
 * with the empty last run. */
static void receive_write(struct s3_receive *receive, struct slot *slot, uint32_t size,
                          bool is_last)
{
    struct receive_slot *place = receive_place(receive);
    CHECK(place != NULL); /* the engine keeps to slots_max */
    place->slot = slot;
    place->receive = receive;
    enum err e = group_body_write(receive->options.group, receive->body, &place->write,
                                  slot != NULL ? slot->data : NULL, size, is_last, receive_written,
                                  &receive->trail);
    if (e) {
        place->slot = NULL;
        place->receive = NULL;
        receive_fail(receive, e);
        slot_put(slot);
        return;
    }
    receive->writes_pending++;
    receive->size += size;
    if (is_last)
        receive->last_given = true;
}

/*
 * After a failure the rest of the body is received and thrown away: the client reads an answer only
 * when it has sent everything, and a connection kept in step is cheaper than a new one. The
 * engine's own limits bound that.
 */
static void receive_slot_filled(struct http_body_sink *sink, struct slot *slot, uint32_t size,
                                bool is_last)
{
    struct s3_receive *receive = CONTAINER_OF(sink, struct s3_receive, sink);
    CHECK_MAGIC(receive, RECEIVE_MAGIC);
    if (receive->err) {
        slot_put(slot);
        http_body_resume(receive->options.x);
        return;
    }
    s3_payload_update(receive->options.payload, slot->data, size);
    receive_write(receive, slot, size, is_last);
}

static void receive_ended(struct http_body_sink *sink, enum err e)
{
    struct s3_receive *receive = CONTAINER_OF(sink, struct s3_receive, sink);
    CHECK_MAGIC(receive, RECEIVE_MAGIC);
    receive->has_ended = true;
    if (e)
        receive_fail(receive, e);
    receive_settle(receive);
}

/* Ends it once the engine is through and no write is in flight. */
static void receive_settle(struct s3_receive *receive)
{
    if (!receive->has_ended || receive->writes_pending > 0)
        return;
    if (receive->err == ERR_OK &&
        !receive->last_given) { /* the end was not known with the last slot */
        receive_write(receive, NULL, 0, true);
        if (receive->err == ERR_OK)
            return;
    }
    if (receive->err) {
        group_body_close(receive->options.group, receive->body);
        receive->body = NULL;
    }
    receive->options.done(receive);
}

enum err s3_receive_begin(struct s3_receive *receive, const struct s3_receive_options *options)
{
    CHECK(options->slots >= 1 && options->slots <= RECEIVE_SLOTS_MAX);
    *receive = (struct s3_receive){.magic = RECEIVE_MAGIC, .options = *options};
    struct s3_payload *payload = options->payload;
    struct body_options body = {
        .loop = http_loop(options->x),
        .size = payload->size == S3_SIZE_UNKNOWN ? BODY_SIZE_UNKNOWN : payload->size,
    };
    enum err e = group_body_open(options->group, &body, &receive->body, &receive->trail);
    if (e)
        return e;
    receive->sink = (struct http_body_sink){
        .slot = receive_slot_filled,
        .end = receive_ended,
        .slots_max = options->slots,
        .aws = s3_payload_chunks(payload),
        .expected_size = payload->size == S3_SIZE_UNKNOWN ? UINT64_MAX : payload->size,
        .size_max = payload->size_max,
    };
    http_body_read(options->x, &receive->sink);
    return ERR_OK;
}

struct body *s3_receive_take(struct s3_receive *receive)
{
    return TAKE(receive->body);
}

void s3_receive_fini(struct s3_receive *receive)
{
    if (receive->body != NULL)
        group_body_close(receive->options.group, TAKE(receive->body));
}
