#include "api/s3/receive.h"

static void receive_settle(struct s3_receive *receive);

static struct receive_slot *receive_place(struct s3_receive *receive)
{
    for (unsigned i = 0; i < receive->options.slots; i++)
        if (receive->slots[i].slot == NULL && receive->slots[i].receive == NULL)
            return &receive->slots[i];
    return NULL;
}

void s3_receive_return(struct s3_receive *receive, struct slot *slot)
{
    if (slot == NULL)
        return;
    slot_put(slot);
    http_body_resume(receive->options.x);
}

void s3_receive_fail(struct s3_receive *receive, enum err e)
{
    if (receive->err == ERR_OK)
        receive->err = e;
    s3_lane_drop(&receive->lane);
}

/* Written and hashed, each in its own time: with the later one the slot goes back. */
static void place_progress(struct receive_slot *place)
{
    struct s3_receive *receive = place->receive;
    if (!place->is_written || !place->is_hashed)
        return;
    s3_receive_return(receive, TAKE(place->slot));
    place->receive = NULL;
    CHECK(receive->places_used > 0);
    receive->places_used--;
    receive_settle(receive);
}

static void receive_written(struct body_write *write, enum err e)
{
    struct receive_slot *place = CONTAINER_OF(write, struct receive_slot, write);
    CHECK_MAGIC(place->receive, RECEIVE_MAGIC);
    if (e)
        s3_receive_fail(place->receive, e);
    place->is_written = true;
    place_progress(place);
}

static void receive_hashed(struct s3_lane_job *job)
{
    struct receive_slot *place = CONTAINER_OF(job, struct receive_slot, job);
    CHECK_MAGIC(place->receive, RECEIVE_MAGIC);
    place->is_hashed = true;
    place_progress(place);
}

static void place_hash(struct receive_slot *place, uint32_t size)
{
    struct s3_receive *receive = place->receive;
    struct digest *md5 = s3_payload_md5(receive->options.payload);
    place->is_hashed = place->slot == NULL || md5 == NULL;
    if (place->is_hashed)
        return;
    place->job = (struct s3_lane_job){
        .digest = md5, .data = place->slot->data, .size = size, .hashed = receive_hashed};
    s3_lane_add(&receive->lane, &place->job);
}

void s3_receive_write(struct s3_receive *receive, struct slot *slot, uint32_t size, bool is_last)
{
    struct receive_slot *place = receive_place(receive);
    CHECK(place != NULL); /* the engine keeps to slots_max */
    if (slot != NULL)
        s3_payload_update_others(receive->options.payload, slot->data, size);
    place->slot = slot;
    place->receive = receive;
    place->is_written = false;
    /* Where an empty run begins: nowhere, but aligned. */
    static _Alignas(UNIT_BYTES) uint8_t nothing[UNIT_BYTES];
    enum err e = group_body_write(receive->options.group, receive->body, &place->write,
                                  slot != NULL ? slot->data : nothing, size, is_last,
                                  receive_written, &receive->trail);
    if (e) {
        place->receive = NULL;
        s3_receive_fail(receive, e);
        s3_receive_return(receive, TAKE(place->slot));
        return;
    }
    receive->places_used++;
    receive->size += size;
    if (is_last)
        receive->last_given = true;
    place_hash(place, size);
}

static void receive_slot_filled(struct http_body_sink *sink, struct slot *slot, uint32_t size,
                                bool is_last)
{
    struct s3_receive *receive = CONTAINER_OF(sink, struct s3_receive, sink);
    CHECK_MAGIC(receive, RECEIVE_MAGIC);
    if (receive->err) { /* writes of the failed body are still in flight */
        s3_receive_return(receive, slot);
        return;
    }
    if (receive->options.filter != NULL)
        receive->options.filter(receive, slot, size, is_last);
    else
        s3_receive_write(receive, slot, size, is_last);
    receive_settle(receive);
}

static void receive_ended(struct http_body_sink *sink, enum err e)
{
    struct s3_receive *receive = CONTAINER_OF(sink, struct s3_receive, sink);
    CHECK_MAGIC(receive, RECEIVE_MAGIC);
    receive->has_ended = true;
    s3_lane_close(&receive->lane);
    if (e)
        s3_receive_fail(receive, e);
    receive_settle(receive);
}

/*
 * Ends it once nothing is in flight: when the engine is through, or at once after a failure. Then
 * the answer goes out while the client still sends, and the engine tells us, too late to matter,
 * that it cancelled.
 */
static void receive_settle(struct s3_receive *receive)
{
    bool is_over = receive->has_ended || receive->err != ERR_OK;
    if (!is_over || receive->places_used > 0 || receive->is_done)
        return;
    if (receive->options.filter != NULL && !receive->last_given)
        s3_receive_fail(receive, ERR_TOO_SMALL); /* it never saw the end it looks for */
    /* The end was not known with the last slot. */
    if (receive->err == ERR_OK && !receive->last_given) {
        s3_receive_write(receive, NULL, 0, true);
        if (receive->err == ERR_OK)
            return;
    }
    receive->is_done = true;
    if (receive->err) {
        group_body_close(receive->options.group, receive->body);
        receive->body = NULL;
    }
    receive->options.done(receive);
}

enum err s3_receive_open(struct s3_receive *receive)
{
    uint64_t size = receive->options.payload->size;
    struct body_options body = {
        .loop = http_loop(receive->options.x),
        .size = size == S3_SIZE_UNKNOWN ? BODY_SIZE_UNKNOWN : size,
    };
    return group_body_open(receive->options.group, &body, &receive->body, &receive->trail);
}

enum err s3_receive_begin(struct s3_receive *receive, const struct s3_receive_options *options)
{
    CHECK(options->slots >= 1 && options->slots <= RECEIVE_SLOTS_MAX);
    *receive = (struct s3_receive){.magic = RECEIVE_MAGIC, .options = *options};
    struct s3_payload *payload = options->payload;
    bool is_filtered = options->filter != NULL;
    if (!is_filtered) {
        enum err e = s3_receive_open(receive);
        if (e)
            return e;
    }
    uint64_t size = is_filtered ? options->message_size : payload->size;
    s3_lane_open(&receive->lane, options->lanes, http_loop(options->x), size);
    receive->sink = (struct http_body_sink){
        .slot = receive_slot_filled,
        .end = receive_ended,
        .slots_max = options->slots,
        .aws = is_filtered ? NULL : s3_payload_chunks(payload),
        .expected_size = size == S3_SIZE_UNKNOWN ? UINT64_MAX : size,
        .size_max = is_filtered ? UINT64_MAX : payload->size_max,
    };
    http_body_read(options->x, &receive->sink);
    return ERR_OK;
}

void s3_receive_forget(struct s3_receive *receive)
{
    CHECK(receive->places_used == 0);
    s3_receive_fail(receive, ERR_CANCELLED);
    receive->is_done = true;
}

struct body *s3_receive_take(struct s3_receive *receive)
{
    return TAKE(receive->body);
}

void s3_receive_fini(struct s3_receive *receive)
{
    s3_lane_close(&receive->lane);
    if (receive->body != NULL)
        group_body_close(receive->options.group, TAKE(receive->body));
}
