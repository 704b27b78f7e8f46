#include "api/http/path.h"

/*
 * Bytes that are in memory anyway leave with the head in one sendmsg: a text, or what the index
 * record holds of a small object. The end of a multipart object may be inline too, so this path
 * takes over from others and hands back.
 */

static void inline_go(struct path_send *send);

static void inline_sent(struct path_send *send)
{
    if (send->span_left > 0 && !send->err) {
        read_plan_advance(send->plan, send->span_left);
        send->span_left = 0;
    }
    inline_go(send);
}

static enum err inline_next_span(struct path_send *send, struct read_span *ret_span)
{
    if (send->plan == NULL || read_plan_left(send->plan) == 0)
        return ERR_OK;
    return read_plan_span(send->plan, ret_span);
}

static void inline_go(struct path_send *send)
{
    struct read_span span = {0};
    enum err e = send->err ? send->err : inline_next_span(send, &span);
    if (e == ERR_WOULD_BLOCK) {
        path__load(send, inline_go);
        return;
    }
    bool is_elsewhere = span.size > 0 && span.inline_data == NULL;
    if (!e && is_elsewhere) {
        path_hand_over(send, &path_direct, OBSTACLE_NONE);
        return;
    }
    if (!e && span.size > 0) {
        send->span_left = span.size;
        send->body = bytes_of(span.inline_data, (size_t)span.size);
    }
    if (e || send->head.size + send->body.size == 0)
        path_done(send, e);
    else
        path__send(send, inline_sent);
}

static void inline_cancel(struct path_send *send)
{
    send->is_cancelled = true; /* what is under way ends by itself: a send on a socket that is shut
                                  down, or a short load */
}

const struct path path_inline = {.name = "inline",
                                 .id = PATH_INLINE,
                                 .copies = 0,
                                 .sends_memory = true,
                                 .start = inline_go,
                                 .cancel = inline_cancel};
