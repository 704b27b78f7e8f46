#include "api/http/conn.h"

/* What a service may ask of an exchange; bodies are in body.c, answers in respond.c. */

const struct http_request *http_request(const struct exchange *x)
{
    CHECK_MAGIC(x, EXCHANGE_MAGIC);
    return &x->request;
}

void *http_state(struct exchange *x)
{
    CHECK_MAGIC(x, EXCHANGE_MAGIC);
    return x->state;
}

struct loop *http_loop(struct exchange *x)
{
    CHECK_MAGIC(x, EXCHANGE_MAGIC);
    return x->conn->worker->loop;
}

unsigned http_worker(struct exchange *x)
{
    CHECK_MAGIC(x, EXCHANGE_MAGIC);
    return x->conn->worker->index;
}

const char *http_request_id(struct exchange *x)
{
    CHECK_MAGIC(x, EXCHANGE_MAGIC);
    return x->id;
}

const char *http_peer(struct exchange *x)
{
    CHECK_MAGIC(x, EXCHANGE_MAGIC);
    return conn__peer(x->conn);
}

bool http_is_gone(const struct exchange *x)
{
    CHECK_MAGIC(x, EXCHANGE_MAGIC);
    return x->conn->is_gone;
}

void http_log_operation(struct exchange *x, const char *operation, struct bytes access_key)
{
    CHECK_MAGIC(x, EXCHANGE_MAGIC);
    x->operation = operation;
    x->access_key = access_key;
}
