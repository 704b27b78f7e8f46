#include "api/http/conn.h"
#include "api/http/measure.h"

/* Whether a response's sends out of memory are zero-copy ones, and what is learned from them. */

enum path_zero_copy_send zero_copy__outlook(const struct worker *worker, uint64_t size)
{
    enum zero_copy_mode mode = worker->server->zero_copy;
    if (mode == ZERO_COPY_OFF)
        return PATH_ZERO_COPY_OFF;
    if (!ring_has_zero_copy(worker->ring))
        return PATH_ZERO_COPY_NO_URING;
    if (!ring_has_fixed_buffers(worker->ring))
        return PATH_ZERO_COPY_NOT_REGISTERED;
    if (mode == ZERO_COPY_ON)
        return PATH_ZERO_COPY_ALWAYS;
    if (!ring_tells_usage(worker->ring))
        return PATH_ZERO_COPY_NOT_TOLD;
    return size < ZERO_COPY_BYTES_MIN ? PATH_ZERO_COPY_SMALL : PATH_ZERO_COPY_BY_PEER;
}

void zero_copy__decide(struct exchange *x)
{
    struct conn *c = x->conn;
    struct path_send *send = &x->send;
    bool may_try = send->facts.tls == PATH_TLS_NONE && !send->facts.is_inline &&
                   !path__slots_are_scarce(send, path__slot_size(send, send->facts.size)) &&
                   (send->facts.zero_copy == PATH_ZERO_COPY_BY_PEER ||
                    send->facts.zero_copy == PATH_ZERO_COPY_ALWAYS);
    if (may_try && c->zero_copy == ZERO_COPY_UNASKED)
        c->zero_copy =
            (uint8_t)zero_copy_find(&c->worker->zero_copy, c->fd, loop_now_ns(c->worker->loop));
    send->facts.sends_zero_copy = may_try && c->zero_copy == ZERO_COPY_WORKS;
    send->tries_zero_copy = may_try && (c->zero_copy != ZERO_COPY_COPIED ||
                                        send->facts.zero_copy == PATH_ZERO_COPY_ALWAYS);
    if (send->tries_zero_copy && send->flights_out == 0)
        for (uint32_t i = 0; i < PATH_FLIGHTS_MAX; i++)
            send->flights[i].slot = NULL;
}

void path_zero_copied(struct path_send *send, enum ring_usage told, uint64_t size)
{
    struct exchange *x = CONTAINER_OF(send, struct exchange, send);
    struct conn *c = x->conn;
    enum zero_copy_peer before = (enum zero_copy_peer)c->zero_copy;
    enum ring_usage usage = zero_copy_judge(before, told, size);
    enum zero_copy_peer now = zero_copy_after(before, usage);
    measure_zero_copy(usage, size);
    if (now != before) {
        c->zero_copy = (uint8_t)now;
        zero_copy_remember(&c->worker->zero_copy, c->fd, now, loop_now_ns(c->worker->loop));
    }
    if (usage != RING_USAGE_ZERO_COPY) {
        send->facts.sends_zero_copy = false;
        x->copies = x->copies > 1 ? x->copies : 1;
    }
    if (now == ZERO_COPY_COPIED && send->facts.zero_copy == PATH_ZERO_COPY_BY_PEER)
        send->tries_zero_copy = false; /* one copy is better than a late one */
    bool is_cut = now == ZERO_COPY_COPIED && send->path == &path_direct && !x->is_sent &&
                  !send->err && !path_is_permitted(send->path, &send->facts, &send->policy);
    if (is_cut) {
        send->denied = OBSTACLE_COPIES;
        send->err = ERR_UNSUPPORTED;
    }
}

void path_flights_are_back(struct path_send *send)
{
    struct exchange *x = CONTAINER_OF(send, struct exchange, send);
    if (x->is_sent)
        conn__run(x->conn);
}
