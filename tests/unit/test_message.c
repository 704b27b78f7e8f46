/*
 * Messages among the nodes of a group: each comes back as it went in; whatever else is given to a
 * decoder is refused, or is a message within every limit whose encoding is the very bytes.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include "base/check.h"
#include "base/rand.h"
#include "replication/message.h"

#define BYTES_MAX 4096u
#define NODES     PG_NODES_MAX

static struct pg_message random_pg(struct rand *rand, enum pg_message_type type)
{
    struct pg_message pg = {
        .type = type,
        .config = {.nonce = rand_u64(rand), .primary = (uint8_t)rand_below(rand, PG_NODES_MAX)},
        .commit = rand_u64(rand),
        .beacon_ns = rand_u64(rand),
        .psn = 1 + rand_below(rand, 1000),
        .last = rand_u64(rand),
        .term = 1 + rand_below(rand, 1000),
        .has_gap = rand_below(rand, 2) == 0,
    };
    pg.config.epoch = rand_u64(rand) | 1;
    pg.config.term = rand_below(rand, pg.config.epoch) + 1;
    pg.config.in_sync = (uint8_t)(1u << pg.config.primary | rand_below(rand, 1u << PG_NODES_MAX));
    return pg;
}

static struct data_id random_id(struct rand *rand)
{
    return (struct data_id){.epoch = rand_u64(rand), .counter = 1 + rand_below(rand, 99)};
}

/* A random one of its type. */
static size_t make_ctl(struct rand *rand, enum message_type type, uint8_t *out)
{
    static const enum pg_message_type pg_types[] = {PG_BEACON, PG_BEACON_ACK, PG_ACK, PG_TELL,
                                                    PG_COMMIT};
    struct pg_message pg = random_pg(rand, pg_types[rand_below(rand, COUNT_OF(pg_types))]);
    switch (type) {
    case MESSAGE_PG:
        return message_pg_encode(&pg, out);
    case MESSAGE_QUORUM:
        return message_quorum_encode(
            &(struct quorum_message){.type = QUORUM_PREPARE,
                                     .ballot = {1 + rand_below(rand, 99), rand_u64(rand), 2}},
            out);
    case MESSAGE_READ_INDEX:
        return message_read_index_encode(&(struct message_read_index){rand_u64(rand)}, out);
    case MESSAGE_READ_INDEX_OK:
        return message_read_index_ok_encode(
            &(struct message_read_index_ok){rand_u64(rand), rand_u64(rand),
                                            rand_below(rand, 2) == 0},
            out);
    case MESSAGE_PULL:
        return message_pull_encode(&(struct message_pull){random_id(rand), rand_u64(rand)}, out);
    case MESSAGE_PULL_ANSWER:
        return message_pull_answer_encode(
            &(struct message_pull_answer){random_id(rand),
                                          (enum message_pull_outcome)(1 + rand_below(rand, 4))},
            out);
    case MESSAGE_DROP:
        return message_drop_encode(random_id(rand), out);
    case MESSAGE_PING:
        return message_ping_encode(out);
    case MESSAGE_FETCH:
        return message_fetch_encode(&(struct message_fetch){rand_u64(rand), random_id(rand),
                                                            rand_below(rand, 99) * SUM_CHUNK_BYTES},
                                    out);
    case MESSAGE_TOO_OLD:
        return message_too_old_encode(&(struct message_too_old){rand_u64(rand), rand_u64(rand)},
                                      out);
    case MESSAGE_COPY_LOST:
        return message_copy_lost_encode(rand_u64(rand), out);
    case MESSAGE_COPY_STATE:
        return message_copy_state_encode(
            &(struct message_copy_state){rand_u64(rand), rand_u64(rand), rand_u64(rand),
                                         rand_u64(rand), rand_u64(rand), rand_below(rand, 2) == 0},
            out);
    }
    return 0;
}

static size_t ctl_again(const struct message *m, uint8_t *out)
{
    switch (m->type) {
    case MESSAGE_PG:
        return message_pg_encode(&m->pg, out);
    case MESSAGE_QUORUM:
        return message_quorum_encode(&m->quorum, out);
    case MESSAGE_READ_INDEX:
        return message_read_index_encode(&m->read_index, out);
    case MESSAGE_READ_INDEX_OK:
        return message_read_index_ok_encode(&m->read_index_ok, out);
    case MESSAGE_PULL:
        return message_pull_encode(&m->pull, out);
    case MESSAGE_PULL_ANSWER:
        return message_pull_answer_encode(&m->pull_answer, out);
    case MESSAGE_DROP:
        return message_drop_encode(m->drop, out);
    case MESSAGE_PING:
        return message_ping_encode(out);
    case MESSAGE_FETCH:
        return message_fetch_encode(&m->fetch, out);
    case MESSAGE_TOO_OLD:
        return message_too_old_encode(&m->too_old, out);
    case MESSAGE_COPY_LOST:
        return message_copy_lost_encode(m->copy_lost, out);
    case MESSAGE_COPY_STATE:
        return message_copy_state_encode(&m->copy_state, out);
    }
    return 0;
}

/* Each format: makes one, and decodes bytes into something that is encoded again. */
struct format {
    const char *name;
    size_t (*make)(struct rand *rand, uint8_t *out);
    enum err (*again)(struct bytes in, uint8_t *out, size_t *ret_size);
};

static enum err again_ctl(struct bytes in, uint8_t *out, size_t *ret_size)
{
    struct message m;
    enum err e = message_decode(in, NODES, &m);
    if (e == ERR_OK)
        *ret_size = ctl_again(&m, out);
    return e;
}

#define CTL_FORMAT(name, type)                                                                     \
    static size_t make_##name(struct rand *rand, uint8_t *out)                                     \
    {                                                                                              \
        return make_ctl(rand, type, out);                                                          \
    }
CTL_FORMAT(pg, MESSAGE_PG)
CTL_FORMAT(quorum, MESSAGE_QUORUM)
CTL_FORMAT(read_index, MESSAGE_READ_INDEX)
CTL_FORMAT(read_index_ok, MESSAGE_READ_INDEX_OK)
CTL_FORMAT(pull, MESSAGE_PULL)
CTL_FORMAT(pull_answer, MESSAGE_PULL_ANSWER)
CTL_FORMAT(drop, MESSAGE_DROP)
CTL_FORMAT(ping, MESSAGE_PING)
CTL_FORMAT(fetch, MESSAGE_FETCH)
CTL_FORMAT(too_old, MESSAGE_TOO_OLD)
CTL_FORMAT(copy_lost, MESSAGE_COPY_LOST)
CTL_FORMAT(copy_state, MESSAGE_COPY_STATE)

/* A record that brings inline data, or none, and is sent with it or without. */
static size_t put_record(struct rand *rand, uint8_t *out, size_t *ret_inline)
{
    struct mutation m = {.kind = MUTATION_OBJECT_PUT, .key = BYTES("a/key"), .size = 33};
    struct record_head head = {.kind = m.kind, .op = rand_u64(rand)};
    *ret_inline = 0;
    if (rand_below(rand, 2) == 0) {
        head.data = (struct log_data){random_id(rand), 1 + rand_below(rand, 100), true};
        *ret_inline = rand_below(rand, 2) == 0 ? head.data.size : 0;
    }
    uint8_t *record;
    size_t size;
    assert_int_equal(record_encode(&m, &head, &record, &size, NULL), ERR_OK);
    memcpy(out, record, size);
    rand_fill(rand, out + size, *ret_inline);
    free(record);
    return size;
}

static size_t make_append(struct rand *rand, uint8_t *out)
{
    struct pg_message pg = random_pg(rand, PG_APPEND);
    size_t inline_size = 0, size = 0;
    if (rand_below(rand, 4) > 0) /* else a barrier */
        size = put_record(rand, out + MESSAGE_APPEND_BYTES, &inline_size);
    message_append_encode(&pg, size, inline_size, out);
    return MESSAGE_APPEND_BYTES + size + inline_size;
}
static enum err again_append(struct bytes in, uint8_t *out, size_t *ret_size)
{
    struct pg_message pg;
    struct message_record r;
    enum err e = message_append_decode(in, NODES, &pg, &r);
    if (e)
        return e;
    message_append_encode(&pg, r.record.size, r.inline_bytes.size, out);
    memcpy(out + MESSAGE_APPEND_BYTES, r.record.data, r.record.size);
    memcpy(out + MESSAGE_APPEND_BYTES + r.record.size, r.inline_bytes.data, r.inline_bytes.size);
    *ret_size = MESSAGE_APPEND_BYTES + r.record.size + r.inline_bytes.size;
    return e;
}

static size_t make_propose(struct rand *rand, uint8_t *out)
{
    size_t inline_size, size = put_record(rand, out + MESSAGE_PROPOSE_BYTES, &inline_size);
    message_propose_encode(size, inline_size, out);
    return MESSAGE_PROPOSE_BYTES + size + inline_size;
}
static enum err again_propose(struct bytes in, uint8_t *out, size_t *ret_size)
{
    struct message_record r;
    enum err e = message_propose_decode(in, &r);
    if (e)
        return e;
    message_propose_encode(r.record.size, r.inline_bytes.size, out);
    memcpy(out + MESSAGE_PROPOSE_BYTES, r.record.data, r.record.size);
    memcpy(out + MESSAGE_PROPOSE_BYTES + r.record.size, r.inline_bytes.data, r.inline_bytes.size);
    *ret_size = MESSAGE_PROPOSE_BYTES + r.record.size + r.inline_bytes.size;
    return e;
}

static size_t make_new_term(struct rand *rand, uint8_t *out)
{
    struct pg_message pg = random_pg(rand, PG_NEW_TERM);
    unsigned runs = (unsigned)rand_below(rand, PG_RUNS_MAX + 8);
    for (unsigned i = 0; i < runs; i++)
        for (unsigned records = 1 + (unsigned)rand_below(rand, 3); records > 0; records--)
            pg_log_append(&pg.log, 3 + 2 * i);
    if (runs > 0)
        pg_log_forget(&pg.log, rand_below(rand, pg.log.last + 1));
    return message_new_term_encode(&pg, out);
}
static enum err again_new_term(struct bytes in, uint8_t *out, size_t *ret_size)
{
    struct pg_message pg;
    enum err e = message_new_term_decode(in, NODES, &pg);
    if (e == ERR_OK)
        *ret_size = message_new_term_encode(&pg, out);
    return e;
}

static size_t make_fetched(struct rand *rand, uint8_t *out)
{
    struct message_fetched fetched = {.id = rand_u64(rand),
                                      .outcome =
                                          (enum message_fetch_outcome)(1 + rand_below(rand, 4)),
                                      .bytes = {(char *)out + MESSAGE_FETCHED_BYTES, 0}};
    if (fetched.outcome == MESSAGE_FETCH_OK)
        fetched.bytes.size = 1 + rand_below(rand, 300);
    rand_fill(rand, out + MESSAGE_FETCHED_BYTES, fetched.bytes.size);
    message_fetched_encode(&fetched, out);
    return MESSAGE_FETCHED_BYTES + fetched.bytes.size;
}
static enum err again_fetched(struct bytes in, uint8_t *out, size_t *ret_size)
{
    struct message_fetched fetched;
    enum err e = message_fetched_decode(in, &fetched);
    if (e)
        return e;
    message_fetched_encode(&fetched, out);
    if (fetched.bytes.size > 0)
        memcpy(out + MESSAGE_FETCHED_BYTES, fetched.bytes.data, fetched.bytes.size);
    *ret_size = MESSAGE_FETCHED_BYTES + fetched.bytes.size;
    return ERR_OK;
}

static size_t make_copy_ask(struct rand *rand, uint8_t *out)
{
    struct message_copy_ask ask = {
        .id = rand_u64(rand),
        .family = (enum kv_family)rand_below(rand, KV_FAMILY_COUNT),
        .after = {(char *)out + MESSAGE_COPY_ASK_BYTES, rand_below(rand, 300)}};
    rand_fill(rand, out + MESSAGE_COPY_ASK_BYTES, ask.after.size);
    message_copy_ask_encode(&ask, out);
    return MESSAGE_COPY_ASK_BYTES + ask.after.size;
}
static enum err again_copy_ask(struct bytes in, uint8_t *out, size_t *ret_size)
{
    struct message_copy_ask ask;
    enum err e = message_copy_ask_decode(in, &ask);
    if (e)
        return e;
    message_copy_ask_encode(&ask, out);
    memcpy(out + MESSAGE_COPY_ASK_BYTES, ask.after.data, ask.after.size);
    *ret_size = MESSAGE_COPY_ASK_BYTES + ask.after.size;
    return ERR_OK;
}

static size_t make_copy_run(struct rand *rand, uint8_t *out)
{
    uint8_t *rest = out + MESSAGE_COPY_RUN_BYTES;
    size_t after = rand_below(rand, 100), upto = rand_below(rand, 100),
           rows = rand_below(rand, 300);
    struct message_copy_run run = {.id = rand_u64(rand),
                                   .psn = 1 + rand_below(rand, 1u << 30),
                                   .term = 1 + rand_below(rand, 1u << 30),
                                   .rows_in_all = rand_u64(rand),
                                   .run = {.family = KV_OBJECT,
                                           .after = bytes_of(rest, after),
                                           .upto = bytes_of(rest + after, upto),
                                           .rows = bytes_of(rest + after + upto, rows)}};
    rand_fill(rand, rest, after + upto + rows);
    message_copy_run_encode(&run, out);
    return MESSAGE_COPY_RUN_BYTES + after + upto + rows;
}
static enum err again_copy_run(struct bytes in, uint8_t *out, size_t *ret_size)
{
    struct message_copy_run run;
    enum err e = message_copy_run_decode(in, &run);
    if (e)
        return e;
    message_copy_run_encode(&run, out);
    const struct bytes parts[] = {run.run.after, run.run.upto, run.run.rows};
    size_t size = MESSAGE_COPY_RUN_BYTES;
    for (unsigned i = 0; i < COUNT_OF(parts); size += parts[i++].size)
        memcpy(out + size, parts[i].data, parts[i].size);
    *ret_size = size;
    return ERR_OK;
}

static struct mutation random_result(struct rand *rand)
{
    struct mutation m = {
        .err = (enum err)rand_below(rand, ERR_COUNT),
        .existed = rand_below(rand, 2) == 0,
        .new_bucket = {(uint32_t)rand_u64(rand)},
        .term = rand_u64(rand),
        .psn = rand_u64(rand),
        .mtime_ns = rand_u64(rand),
        .size = rand_u64(rand),
        .receipt = {.synced = rand_below(rand, 2) == 0,
                    .replicas_synced = (uint32_t)rand_below(rand, 9),
                    .replicas_wanted = 3,
                    .by_rdma = rand_below(rand, 2) == 0,
                    .by_tcp = rand_below(rand, 2) == 0},
        .etag = {.parts = (uint32_t)rand_below(rand, 10001)},
        .checksum = {.algorithm = 3, .size = (uint8_t)rand_below(rand, CHECKSUM_BYTES_MAX + 1)},
    };
    rand_fill(rand, m.etag.md5, sizeof m.etag.md5);
    rand_fill(rand, m.checksum.value, m.checksum.size);
    memset(m.trail.text, 's', rand_below(rand, ERR_TRAIL_BYTES));
    return m;
}

static size_t make_result(struct rand *rand, uint8_t *out)
{
    struct mutation m = random_result(rand);
    return message_result_encode(rand_u64(rand), &m, out);
}
static enum err again_result(struct bytes in, uint8_t *out, size_t *ret_size)
{
    struct mutation m;
    uint64_t op;
    enum err e = message_result_decode(in, &op, &m);
    if (e == ERR_OK)
        *ret_size = message_result_encode(op, &m, out);
    return e;
}

static const struct format formats[] = {
    {"pg", make_pg, again_ctl},
    {"quorum", make_quorum, again_ctl},
    {"read_index", make_read_index, again_ctl},
    {"read_index_ok", make_read_index_ok, again_ctl},
    {"pull", make_pull, again_ctl},
    {"pull_answer", make_pull_answer, again_ctl},
    {"drop", make_drop, again_ctl},
    {"ping", make_ping, again_ctl},
    {"fetch", make_fetch, again_ctl},
    {"too_old", make_too_old, again_ctl},
    {"copy_lost", make_copy_lost, again_ctl},
    {"copy_state", make_copy_state, again_ctl},
    {"copy_ask", make_copy_ask, again_copy_ask},
    {"copy_run", make_copy_run, again_copy_run},
    {"fetched", make_fetched, again_fetched},
    {"append", make_append, again_append},
    {"propose", make_propose, again_propose},
    {"new_term", make_new_term, again_new_term},
    {"result", make_result, again_result},
};

/* In memory of exactly its size, so that a sanitizer sees a step beyond. */
static enum err decode_exactly(const struct format *format, const uint8_t *bytes, size_t size)
{
    uint8_t *exact = malloc(size > 0 ? size : 1);
    uint8_t again[BYTES_MAX];
    size_t again_size = 0;
    assert_non_null(exact);
    memcpy(exact, bytes, size);
    enum err e = format->again(bytes_of(exact, size), again, &again_size);
    /* an error's name that this build does not know comes out as another */
    bool is_same = again_size == size && memcmp(again, exact, size) == 0;
    if (e == ERR_OK && !is_same && format->again != again_result)
        fail_msg("%s: its encoding is another", format->name);
    free(exact);
    return e;
}

static void each_comes_back_as_it_went_in(void **state)
{
    struct rand_seeded seeded;
    rand_seeded_init(&seeded, 1);
    for (size_t i = 0; i < COUNT_OF(formats); i++)
        for (unsigned round = 0; round < 200; round++) {
            uint8_t bytes[BYTES_MAX], again[BYTES_MAX];
            size_t size = formats[i].make(&seeded.rand, bytes), again_size;
            if (formats[i].again(bytes_of(bytes, size), again, &again_size) != ERR_OK)
                fail_msg("%s is refused", formats[i].name);
            assert_int_equal(again_size, size);
            assert_memory_equal(again, bytes, size);
        }
}

static void whatever_comes_is_judged(void **state)
{
    struct rand_seeded seeded;
    rand_seeded_init(&seeded, 2);
    for (size_t i = 0; i < COUNT_OF(formats); i++)
        for (unsigned round = 0; round < 20; round++) {
            uint8_t bytes[BYTES_MAX];
            size_t size = formats[i].make(&seeded.rand, bytes);
            for (size_t cut = 0; cut < size; cut++)
                if (decode_exactly(&formats[i], bytes, cut) == ERR_OK)
                    fail_msg("%s is taken with %zu of %zu bytes", formats[i].name, cut, size);
            bytes[size] = 0;
            assert_int_equal(decode_exactly(&formats[i], bytes, size + 1), ERR_CORRUPT);
            for (unsigned turn = 0; turn < 300; turn++) {
                size_t bit = rand_below(&seeded.rand, size * 8);
                bytes[bit / 8] ^= (uint8_t)(1u << bit % 8);
                (void)decode_exactly(&formats[i], bytes, size);
                bytes[bit / 8] ^= (uint8_t)(1u << bit % 8);
            }
            rand_fill(&seeded.rand, bytes, size);
            (void)decode_exactly(&formats[i], bytes, size);
        }
}

static void pg_keeps_every_field(void **state)
{
    struct rand_seeded seeded;
    rand_seeded_init(&seeded, 3);
    struct pg_message pg = random_pg(&seeded.rand, PG_ACK);
    struct message m;
    uint8_t bytes[LINK_CTL_BYTES_MAX];
    assert_int_equal(message_decode(bytes_of(bytes, message_pg_encode(&pg, bytes)), NODES, &m),
                     ERR_OK);
    assert_int_equal(m.type, MESSAGE_PG);
    assert_int_equal(m.pg.type, PG_ACK);
    assert_int_equal(m.pg.config.epoch, pg.config.epoch);
    assert_int_equal(m.pg.config.term, pg.config.term);
    assert_int_equal(m.pg.config.nonce, pg.config.nonce);
    assert_int_equal(m.pg.config.primary, pg.config.primary);
    assert_int_equal(m.pg.config.in_sync, pg.config.in_sync);
    assert_int_equal(m.pg.commit, pg.commit);
    assert_int_equal(m.pg.beacon_ns, pg.beacon_ns);
    assert_int_equal(m.pg.psn, pg.psn);
    assert_int_equal(m.pg.last, pg.last);
    assert_int_equal(m.pg.term, pg.term);
    assert_int_equal(m.pg.has_gap, pg.has_gap);
}

static void a_configuration_that_cannot_be_is_refused(void **state)
{
    const struct pg_config table[] = {
        {.epoch = 5, .term = 6, .primary = 0, .in_sync = 1}, /* a term to come */
        {.epoch = 5, .term = 5, .primary = 1, .in_sync = 1}, /* the primary is not in sync */
        {.epoch = 5, .term = 5, .primary = 0, .in_sync = 9}, /* a fourth node */
        {.epoch = 5, .term = 5, .primary = 3, .in_sync = 8},
    };
    for (size_t i = 0; i < COUNT_OF(table); i++) {
        struct message m;
        uint8_t bytes[LINK_CTL_BYTES_MAX];
        struct pg_message pg = {.type = PG_BEACON, .config = table[i]};
        size_t size = message_pg_encode(&pg, bytes);
        assert_int_equal(message_decode(bytes_of(bytes, size), 3, &m), ERR_CORRUPT);
    }
}

static void a_record_says_what_goes_with_it(void **state)
{
    const struct log_data data = {{1, 2}, 5, true};
    struct mutation put = {.kind = MUTATION_OBJECT_PUT, .key = BYTES("k"), .size = 5};
    uint8_t *record, bytes[BYTES_MAX];
    size_t size;
    struct message_record r;
    assert_int_equal(record_encode(&put,
                                   &(struct record_head){.kind = put.kind, .data = data, .op = 9},
                                   &record, &size, NULL),
                     ERR_OK);
    memcpy(bytes + MESSAGE_PROPOSE_BYTES, record, size);
    memcpy(bytes + MESSAGE_PROPOSE_BYTES + size, "hello!", 6);
    for (size_t with = 0; with <= 6; with++) { /* all of it, or nothing */
        message_propose_encode(size, with, bytes);
        enum err e =
            message_propose_decode(bytes_of(bytes, MESSAGE_PROPOSE_BYTES + size + with), &r);
        assert_int_equal(e, with == 0 || with == 5 ? ERR_OK : ERR_CORRUPT);
    }
    message_propose_encode(size, 5, bytes);
    assert_int_equal(message_propose_decode(bytes_of(bytes, MESSAGE_PROPOSE_BYTES + size + 5), &r),
                     ERR_OK);
    assert_true(bytes_equal(r.inline_bytes, BYTES("hello")));
    assert_true(bytes_equal(r.record, bytes_of(record, size)));
    assert_int_equal(r.head.op, 9);
    assert_true(data_id_equal(r.head.data.id, data.id));
    free(record);
}

static void a_result_arrives_whole(void **state)
{
    struct rand_seeded seeded;
    rand_seeded_init(&seeded, 4);
    for (unsigned e = 0; e < ERR_COUNT; e++) {
        struct mutation sent = random_result(&seeded.rand), got, to = {.size = 1, .etag.parts = 77};
        uint8_t bytes[MESSAGE_RESULT_BYTES_MAX];
        uint64_t op;
        sent.err = (enum err)e;
        size_t size = message_result_encode(e * 3, &sent, bytes);
        assert_int_equal(message_result_decode(bytes_of(bytes, size), &op, &got), ERR_OK);
        assert_int_equal(op, e * 3);
        message_result_copy(&to, &got);
        assert_int_equal(to.err, e);
        assert_string_equal(to.trail.text, sent.trail.text);
        assert_int_equal(to.term, sent.term);
        assert_int_equal(to.psn, sent.psn);
        assert_int_equal(to.mtime_ns, sent.mtime_ns);
        assert_int_equal(to.existed, sent.existed);
        assert_int_equal(to.new_bucket.value, sent.new_bucket.value);
        assert_int_equal(to.receipt.synced, sent.receipt.synced);
        assert_int_equal(to.receipt.replicas_synced, sent.receipt.replicas_synced);
        assert_int_equal(to.receipt.replicas_wanted, sent.receipt.replicas_wanted);
        assert_int_equal(to.receipt.by_rdma, sent.receipt.by_rdma);
        assert_int_equal(to.receipt.by_tcp, sent.receipt.by_tcp);
        assert_int_equal(to.size, e == ERR_OK ? sent.size : 1);
        assert_int_equal(to.etag.parts, e == ERR_OK ? sent.etag.parts : 77);
        if (e == ERR_OK)
            assert_memory_equal(to.checksum.value, sent.checksum.value, sent.checksum.size);
    }
}

static void an_error_of_another_build_is_still_one(void **state)
{
    struct mutation m = {.err = ERR_BUSY, .trail = {"the other side knows why"}};
    uint8_t bytes[MESSAGE_RESULT_BYTES_MAX];
    uint64_t op;
    size_t size = message_result_encode(1, &m, bytes);
    uint8_t *name = memmem(bytes, size, "BUSY", 4);
    assert_non_null(name);
    memcpy(name, "GONE", 4);
    assert_int_equal(message_result_decode(bytes_of(bytes, size), &op, &m), ERR_OK);
    assert_int_equal(m.err, ERR_INTERNAL);
    assert_string_equal(m.trail.text, "the other side knows why");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(each_comes_back_as_it_went_in),
        cmocka_unit_test(whatever_comes_is_judged),
        cmocka_unit_test(pg_keeps_every_field),
        cmocka_unit_test(a_configuration_that_cannot_be_is_refused),
        cmocka_unit_test(a_record_says_what_goes_with_it),
        cmocka_unit_test(a_result_arrives_whole),
        cmocka_unit_test(an_error_of_another_build_is_still_one),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
