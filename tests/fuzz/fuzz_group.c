/*
 * What the nodes of a group send each other and keep in their log. The first byte chooses the
 * decoder. It refuses, or yields something whose encoding is the very bytes it was given.
 */
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include "base/check.h"
#include "replication/message.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void expect_same(struct bytes in, const uint8_t *encoded, size_t size)
{
    CHECK(size == in.size);
    CHECK(memcmp(encoded, in.data, size) == 0);
}

static void try_record(struct bytes in)
{
    struct decoded *decoded;
    struct record_head head;
    bool has_head = record_peek(in, &head) == ERR_OK;
    if (record_decode(in, &decoded))
        return;
    uint8_t *again;
    size_t size;
    CHECK(has_head && decoded->m.kind == head.kind);
    CHECK(record_encode(&decoded->m, &decoded->head, &again, &size, NULL) == ERR_OK);
    expect_same(in, again, size);
    free(again);
    record_decoded_free(decoded);
}

static void try_ctl(struct bytes in)
{
    struct message m;
    uint8_t out[LINK_CTL_BYTES_MAX];
    if (message_decode(in, PG_NODES_MAX, &m))
        return;
    switch (m.type) {
    case MESSAGE_PG:
        expect_same(in, out, message_pg_encode(&m.pg, out));
        return;
    case MESSAGE_QUORUM:
        expect_same(in, out, message_quorum_encode(&m.quorum, out));
        return;
    case MESSAGE_READ_INDEX:
        expect_same(in, out, message_read_index_encode(&m.read_index, out));
        return;
    case MESSAGE_READ_INDEX_OK:
        expect_same(in, out, message_read_index_ok_encode(&m.read_index_ok, out));
        return;
    case MESSAGE_PULL:
        expect_same(in, out, message_pull_encode(&m.pull, out));
        return;
    case MESSAGE_PULL_ANSWER:
        expect_same(in, out, message_pull_answer_encode(&m.pull_answer, out));
        return;
    case MESSAGE_DROP:
        expect_same(in, out, message_drop_encode(m.drop, out));
        return;
    case MESSAGE_PING:
        expect_same(in, out, message_ping_encode(out));
        return;
    case MESSAGE_FETCH:
        expect_same(in, out, message_fetch_encode(&m.fetch, out));
        return;
    case MESSAGE_TOO_OLD:
        expect_same(in, out, message_too_old_encode(&m.too_old, out));
        return;
    case MESSAGE_COPY_LOST:
        expect_same(in, out, message_copy_lost_encode(m.copy_lost, out));
        return;
    case MESSAGE_COPY_STATE:
        expect_same(in, out, message_copy_state_encode(&m.copy_state, out));
        return;
    }
    CHECK(false);
}

/* The part in front; record and inline bytes are the input's own. */
static void expect_parts(struct bytes in, const uint8_t *front, size_t front_size,
                         const struct message_record *r)
{
    CHECK(in.size == front_size + r->record.size + r->inline_bytes.size);
    CHECK(memcmp(in.data, front, front_size) == 0);
    CHECK(r->record.size == 0 || r->record.data == in.data + front_size);
    CHECK(r->inline_bytes.size == 0 ||
          r->inline_bytes.data == in.data + front_size + r->record.size);
}

static void try_append(struct bytes in)
{
    struct pg_message pg;
    struct message_record r;
    uint8_t out[MESSAGE_APPEND_BYTES];
    if (message_append_decode(in, PG_NODES_MAX, &pg, &r))
        return;
    message_append_encode(&pg, r.record.size, r.inline_bytes.size, out);
    expect_parts(in, out, sizeof out, &r);
}

static void try_propose(struct bytes in)
{
    struct message_record r;
    uint8_t out[MESSAGE_PROPOSE_BYTES];
    if (message_propose_decode(in, &r))
        return;
    message_propose_encode(r.record.size, r.inline_bytes.size, out);
    expect_parts(in, out, sizeof out, &r);
}

static void try_new_term(struct bytes in)
{
    struct pg_message pg;
    uint8_t out[MESSAGE_NEW_TERM_BYTES_MAX];
    if (message_new_term_decode(in, PG_NODES_MAX, &pg) == ERR_OK)
        expect_same(in, out, message_new_term_encode(&pg, out));
}

static void try_fetched(struct bytes in)
{
    struct message_fetched fetched;
    uint8_t out[MESSAGE_FETCHED_BYTES];
    if (message_fetched_decode(in, &fetched))
        return;
    message_fetched_encode(&fetched, out);
    CHECK(in.size == sizeof out + fetched.bytes.size && memcmp(in.data, out, sizeof out) == 0);
}

static void try_result(struct bytes in)
{
    struct mutation m;
    uint64_t op;
    uint8_t out[MESSAGE_RESULT_BYTES_MAX];
    if (message_result_decode(in, &op, &m))
        return;
    size_t size = message_result_encode(op, &m, out);
    if (m.err != ERR_INTERNAL) /* a name that this build does not know */
        expect_same(in, out, size);
}

static void try_copy_ask(struct bytes in)
{
    struct message_copy_ask ask;
    uint8_t out[MESSAGE_COPY_ASK_BYTES];
    if (message_copy_ask_decode(in, &ask))
        return;
    message_copy_ask_encode(&ask, out);
    CHECK(in.size == sizeof out + ask.after.size && memcmp(in.data, out, sizeof out) == 0);
}

/* The rows, too: what the volume would be given. */
static void try_copy_run(struct bytes in)
{
    struct message_copy_run run;
    uint8_t out[MESSAGE_COPY_RUN_BYTES];
    if (message_copy_run_decode(in, &run))
        return;
    message_copy_run_encode(&run, out);
    CHECK(memcmp(in.data, out, sizeof out) == 0);
    CHECK(in.size == sizeof out + run.run.after.size + run.run.upto.size + run.run.rows.size);
    (void)copy_run_judge(&run.run);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static void (*const tries[])(struct bytes in) = {
        try_record, try_ctl,     try_append,   try_propose,  try_new_term,
        try_result, try_fetched, try_copy_ask, try_copy_run,
    };
    if (size >= 1)
        tries[data[0] % COUNT_OF(tries)](bytes_of(data + 1, size - 1));
    return 0;
}
