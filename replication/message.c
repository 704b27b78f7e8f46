#include "replication/message.h"

#include "base/check.h"

#define CTL_HEAD_BYTES    8u
#define RESULT_HEAD_BYTES 80u /* with the checksum's head */
#define CHECKSUM_AT       76u
#define PG_TYPES          (PG_COMMIT + 1u)

_Static_assert(CTL_HEAD_BYTES + MESSAGE_PG_PART_BYTES <= LINK_CTL_BYTES_MAX &&
                   CTL_HEAD_BYTES + QUORUM_MESSAGE_BYTES <= LINK_CTL_BYTES_MAX,
               "a CTL message");
_Static_assert(MESSAGE_APPEND_BYTES + RECORD_BYTES_MAX + INLINE_BYTES_MAX <= LINK_MESSAGE_BYTES_MAX,
               "the largest record goes in one message");

static bool is_zero(const void *data, size_t size)
{
    const uint8_t *bytes = data;
    for (size_t i = 0; i < size; i++)
        if (bytes[i] != 0)
            return false;
    return true;
}

/* ---- pg's part ---- */

static void put_pg(uint8_t out[MESSAGE_PG_PART_BYTES], const struct pg_message *pg)
{
    memset(out, 0, MESSAGE_PG_PART_BYTES);
    out[0] = (uint8_t)pg->type;
    out[1] = pg->config.primary;
    out[2] = pg->config.in_sync;
    out[3] = pg->has_gap;
    put_le64(out + 8, pg->config.epoch);
    put_le64(out + 16, pg->config.term);
    put_le64(out + 24, pg->config.nonce);
    put_le64(out + 32, pg->commit);
    put_le64(out + 40, pg->beacon_ns);
    put_le64(out + 48, pg->psn);
    put_le64(out + 56, pg->last);
    put_le64(out + 64, pg->term);
}

static bool config_is_sound(const struct pg_config *config, uint8_t node_count)
{
    return config->primary < node_count && config->in_sync >> node_count == 0 &&
           pg_mask_has(config->in_sync, config->primary) && config->term <= config->epoch;
}

static enum err get_pg(const uint8_t in[MESSAGE_PG_PART_BYTES], uint8_t node_count,
                       struct pg_message *ret_pg)
{
    CHECK(node_count <= PG_NODES_MAX);
    struct pg_message pg = {
        .type = (enum pg_message_type)in[0],
        .config =
            {
                .epoch = get_le64(in + 8),
                .term = get_le64(in + 16),
                .nonce = get_le64(in + 24),
                .primary = in[1],
                .in_sync = in[2],
            },
        .commit = get_le64(in + 32),
        .beacon_ns = get_le64(in + 40),
        .psn = get_le64(in + 48),
        .last = get_le64(in + 56),
        .term = get_le64(in + 64),
        .has_gap = in[3] != 0,
    };
    if (in[0] >= PG_TYPES || in[3] > 1 || !is_zero(in + 4, 4) ||
        !config_is_sound(&pg.config, node_count))
        return ERR_CORRUPT;
    *ret_pg = pg;
    return ERR_OK;
}

/* ---- CTL ---- */

static uint8_t *start(uint8_t *out, enum message_type type)
{
    memset(out, 0, CTL_HEAD_BYTES);
    out[0] = (uint8_t)type;
    return out + CTL_HEAD_BYTES;
}

static void put_id(uint8_t *out, struct data_id id)
{
    put_le64(out, id.epoch);
    put_le64(out + 8, id.counter);
}

static enum err get_id(const uint8_t *in, struct data_id *ret_id)
{
    *ret_id = (struct data_id){.epoch = get_le64(in), .counter = get_le64(in + 8)};
    return data_id_is_none(*ret_id) ? ERR_CORRUPT : ERR_OK;
}

static void put_flag(uint8_t *out, uint8_t value)
{
    memset(out, 0, 8);
    out[0] = value;
}

size_t message_pg_encode(const struct pg_message *pg, uint8_t out[LINK_CTL_BYTES_MAX])
{
    CHECK(pg->type != PG_APPEND && pg->type != PG_NEW_TERM);
    put_pg(start(out, MESSAGE_PG), pg);
    return CTL_HEAD_BYTES + MESSAGE_PG_PART_BYTES;
}

static enum err decode_pg(const uint8_t *in, uint8_t node_count, struct message *m)
{
    enum err e = get_pg(in, node_count, &m->pg);
    if (e == ERR_OK && (m->pg.type == PG_APPEND || m->pg.type == PG_NEW_TERM))
        e = ERR_CORRUPT;
    return e;
}

size_t message_quorum_encode(const struct quorum_message *quorum, uint8_t out[LINK_CTL_BYTES_MAX])
{
    quorum_message_encode(quorum, start(out, MESSAGE_QUORUM));
    return CTL_HEAD_BYTES + QUORUM_MESSAGE_BYTES;
}

static enum err decode_quorum(const uint8_t *in, uint8_t node_count, struct message *m)
{
    return quorum_message_decode(bytes_of(in, QUORUM_MESSAGE_BYTES), node_count, &m->quorum);
}

size_t message_read_index_encode(const struct message_read_index *ask,
                                 uint8_t out[LINK_CTL_BYTES_MAX])
{
    put_le64(start(out, MESSAGE_READ_INDEX), ask->id);
    return CTL_HEAD_BYTES + 8;
}

static enum err decode_read_index(const uint8_t *in, uint8_t node_count, struct message *m)
{
    (void)node_count;
    m->read_index.id = get_le64(in);
    return ERR_OK;
}

size_t message_read_index_ok_encode(const struct message_read_index_ok *answer,
                                    uint8_t out[LINK_CTL_BYTES_MAX])
{
    uint8_t *to = start(out, MESSAGE_READ_INDEX_OK);
    put_le64(to, answer->id);
    put_le64(to + 8, answer->psn);
    put_flag(to + 16, answer->is_primary);
    return CTL_HEAD_BYTES + 24;
}

static enum err decode_read_index_ok(const uint8_t *in, uint8_t node_count, struct message *m)
{
    (void)node_count;
    m->read_index_ok = (struct message_read_index_ok){
        .id = get_le64(in), .psn = get_le64(in + 8), .is_primary = in[16] != 0};
    return in[16] <= 1 && is_zero(in + 17, 7) ? ERR_OK : ERR_CORRUPT;
}

size_t message_pull_encode(const struct message_pull *pull, uint8_t out[LINK_CTL_BYTES_MAX])
{
    uint8_t *to = start(out, MESSAGE_PULL);
    put_id(to, pull->id);
    put_le64(to + 16, pull->psn);
    return CTL_HEAD_BYTES + 24;
}

static enum err decode_pull(const uint8_t *in, uint8_t node_count, struct message *m)
{
    (void)node_count;
    m->pull.psn = get_le64(in + 16);
    return get_id(in, &m->pull.id);
}

size_t message_pull_answer_encode(const struct message_pull_answer *answer,
                                  uint8_t out[LINK_CTL_BYTES_MAX])
{
    uint8_t *to = start(out, MESSAGE_PULL_ANSWER);
    put_id(to, answer->id);
    put_flag(to + 16, (uint8_t)answer->outcome);
    return CTL_HEAD_BYTES + 24;
}

static enum err decode_pull_answer(const uint8_t *in, uint8_t node_count, struct message *m)
{
    (void)node_count;
    m->pull_answer.outcome = (enum message_pull_outcome)in[16];
    if (in[16] < MESSAGE_PULL_COMING || in[16] > MESSAGE_PULL_DAMAGED || !is_zero(in + 17, 7))
        return ERR_CORRUPT;
    return get_id(in, &m->pull_answer.id);
}

size_t message_drop_encode(struct data_id id, uint8_t out[LINK_CTL_BYTES_MAX])
{
    put_id(start(out, MESSAGE_DROP), id);
    return CTL_HEAD_BYTES + 16;
}

static enum err decode_drop(const uint8_t *in, uint8_t node_count, struct message *m)
{
    (void)node_count;
    return get_id(in, &m->drop);
}

size_t message_ping_encode(uint8_t out[LINK_CTL_BYTES_MAX])
{
    (void)start(out, MESSAGE_PING);
    return CTL_HEAD_BYTES;
}

static enum err decode_ping(const uint8_t *in, uint8_t node_count, struct message *m)
{
    (void)node_count;
    (void)in;
    (void)m;
    return ERR_OK;
}

size_t message_fetch_encode(const struct message_fetch *fetch, uint8_t out[LINK_CTL_BYTES_MAX])
{
    uint8_t *to = start(out, MESSAGE_FETCH);
    put_le64(to, fetch->id);
    put_id(to + 8, fetch->data);
    put_le64(to + 24, fetch->offset);
    return CTL_HEAD_BYTES + 32;
}

static enum err decode_fetch(const uint8_t *in, uint8_t node_count, struct message *m)
{
    (void)node_count;
    m->fetch.id = get_le64(in);
    m->fetch.offset = get_le64(in + 24);
    if (m->fetch.offset % SUM_CHUNK_BYTES != 0 || m->fetch.offset >= OBJECT_BYTES_MAX)
        return ERR_CORRUPT;
    return get_id(in + 8, &m->fetch.data);
}

size_t message_too_old_encode(const struct message_too_old *old, uint8_t out[LINK_CTL_BYTES_MAX])
{
    uint8_t *to = start(out, MESSAGE_TOO_OLD);
    put_le64(to, old->epoch);
    put_le64(to + 8, old->first);
    return CTL_HEAD_BYTES + 16;
}

static enum err decode_too_old(const uint8_t *in, uint8_t node_count, struct message *m)
{
    (void)node_count;
    m->too_old = (struct message_too_old){.epoch = get_le64(in), .first = get_le64(in + 8)};
    return ERR_OK;
}

size_t message_copy_lost_encode(uint64_t id, uint8_t out[LINK_CTL_BYTES_MAX])
{
    put_le64(start(out, MESSAGE_COPY_LOST), id);
    return CTL_HEAD_BYTES + 8;
}

static enum err decode_copy_lost(const uint8_t *in, uint8_t node_count, struct message *m)
{
    (void)node_count;
    m->copy_lost = get_le64(in);
    return ERR_OK;
}

size_t message_copy_state_encode(const struct message_copy_state *state,
                                 uint8_t out[LINK_CTL_BYTES_MAX])
{
    uint8_t *to = start(out, MESSAGE_COPY_STATE);
    put_le64(to, state->psn);
    put_le64(to + 8, state->rows);
    put_le64(to + 16, state->rows_in_all);
    put_le64(to + 24, state->bytes);
    put_le64(to + 32, state->bytes_in_all);
    put_flag(to + 40, state->is_over);
    return CTL_HEAD_BYTES + 48;
}

static enum err decode_copy_state(const uint8_t *in, uint8_t node_count, struct message *m)
{
    (void)node_count;
    m->copy_state = (struct message_copy_state){
        .psn = get_le64(in),
        .rows = get_le64(in + 8),
        .rows_in_all = get_le64(in + 16),
        .bytes = get_le64(in + 24),
        .bytes_in_all = get_le64(in + 32),
        .is_over = in[40] != 0,
    };
    return in[40] > 1 || !is_zero(in + 41, 7) ? ERR_CORRUPT : ERR_OK;
}

static const struct ctl_format {
    size_t size; /* behind the head */
    enum err (*decode)(const uint8_t *in, uint8_t node_count, struct message *m);
} ctl_formats[] = {
    [MESSAGE_PG] = {MESSAGE_PG_PART_BYTES, decode_pg},
    [MESSAGE_QUORUM] = {QUORUM_MESSAGE_BYTES, decode_quorum},
    [MESSAGE_READ_INDEX] = {8, decode_read_index},
    [MESSAGE_READ_INDEX_OK] = {24, decode_read_index_ok},
    [MESSAGE_PULL] = {24, decode_pull},
    [MESSAGE_PULL_ANSWER] = {24, decode_pull_answer},
    [MESSAGE_DROP] = {16, decode_drop},
    [MESSAGE_PING] = {0, decode_ping},
    [MESSAGE_FETCH] = {32, decode_fetch},
    [MESSAGE_TOO_OLD] = {16, decode_too_old},
    [MESSAGE_COPY_LOST] = {8, decode_copy_lost},
    [MESSAGE_COPY_STATE] = {48, decode_copy_state},
};

enum err message_decode(struct bytes in, uint8_t node_count, struct message *ret_message)
{
    const uint8_t *bytes = (const uint8_t *)in.data;
    if (in.size < CTL_HEAD_BYTES || !is_zero(bytes + 1, CTL_HEAD_BYTES - 1) ||
        bytes[0] >= COUNT_OF(ctl_formats))
        return ERR_CORRUPT;
    const struct ctl_format *format = &ctl_formats[bytes[0]];
    if (format->decode == NULL || in.size != CTL_HEAD_BYTES + format->size)
        return ERR_CORRUPT;
    struct message m = {.type = (enum message_type)bytes[0]};
    enum err e = format->decode(bytes + CTL_HEAD_BYTES, node_count, &m);
    if (e == ERR_OK)
        *ret_message = m;
    return e;
}

/* ---- records ---- */

static void put_sizes(uint8_t out[8], size_t record_size, size_t inline_size)
{
    CHECK(record_size <= RECORD_BYTES_MAX && inline_size <= INLINE_BYTES_MAX);
    put_le32(out, (uint32_t)record_size);
    put_le32(out + 4, (uint32_t)inline_size);
}

/* `in`: the two sizes and what has them. Inline bytes are those the record names. */
static enum err get_record(struct bytes in, struct message_record *ret_record)
{
    if (in.size < 8)
        return ERR_CORRUPT;
    uint64_t record_size = get_le32(in.data), inline_size = get_le32(in.data + 4);
    if (in.size - 8 != record_size + inline_size)
        return ERR_CORRUPT;
    struct message_record record = {
        .record = bytes_slice(in, 8, record_size),
        .inline_bytes = bytes_slice(in, 8 + record_size, inline_size),
    };
    enum err e = record_size > 0 ? record_peek(record.record, &record.head) : ERR_OK;
    const struct log_data *data = &record.head.data;
    if (e == ERR_OK && inline_size > 0 && !(data->is_inline && data->size == inline_size))
        e = ERR_CORRUPT;
    if (e == ERR_OK)
        *ret_record = record;
    return e;
}

void message_append_encode(const struct pg_message *pg, size_t record_size, size_t inline_size,
                           uint8_t out[MESSAGE_APPEND_BYTES])
{
    CHECK(pg->type == PG_APPEND);
    put_pg(out, pg);
    put_sizes(out + MESSAGE_PG_PART_BYTES, record_size, inline_size);
}

enum err message_append_decode(struct bytes in, uint8_t node_count, struct pg_message *ret_pg,
                               struct message_record *ret_record)
{
    struct pg_message pg;
    if (in.size < MESSAGE_APPEND_BYTES)
        return ERR_CORRUPT;
    enum err e = get_pg((const uint8_t *)in.data, node_count, &pg);
    if (e == ERR_OK && (pg.type != PG_APPEND || pg.psn == 0 || pg.term == 0))
        e = ERR_CORRUPT;
    if (e == ERR_OK)
        e = get_record(bytes_slice(in, MESSAGE_PG_PART_BYTES, SIZE_MAX), ret_record);
    if (e == ERR_OK)
        *ret_pg = pg;
    return e;
}

void message_propose_encode(size_t record_size, size_t inline_size,
                            uint8_t out[MESSAGE_PROPOSE_BYTES])
{
    CHECK(record_size > 0);
    put_sizes(out, record_size, inline_size);
}

enum err message_propose_decode(struct bytes in, struct message_record *ret_record)
{
    struct message_record record;
    enum err e = get_record(in, &record);
    if (e == ERR_OK && record.record.size == 0)
        e = ERR_CORRUPT; /* only a primary makes barriers */
    if (e == ERR_OK)
        *ret_record = record;
    return e;
}

/* ---- a new term ---- */

size_t message_new_term_encode(const struct pg_message *pg, uint8_t out[MESSAGE_NEW_TERM_BYTES_MAX])
{
    const struct pg_log *log = &pg->log;
    CHECK(pg->type == PG_NEW_TERM && log->run_count <= PG_RUNS_MAX);
    put_pg(out, pg);
    uint8_t *to = out + MESSAGE_PG_PART_BYTES;
    put_le64(to, log->last);
    put_le64(to + 8, log->base);
    put_le32(to + 16, log->run_count);
    put_le32(to + 20, 0);
    to += 24;
    for (uint32_t i = 0; i < log->run_count; i++, to += 16) {
        put_le64(to, log->runs[i].first_psn);
        put_le64(to + 8, log->runs[i].term);
    }
    return (size_t)(to - out);
}

enum err message_new_term_decode(struct bytes in, uint8_t node_count, struct pg_message *ret_pg)
{
    struct pg_message pg;
    const uint8_t *at = (const uint8_t *)in.data;
    if (in.size < MESSAGE_PG_PART_BYTES + 24 || in.size > MESSAGE_NEW_TERM_BYTES_MAX)
        return ERR_CORRUPT;
    enum err e = get_pg(at, node_count, &pg);
    if (e)
        return e;
    at += MESSAGE_PG_PART_BYTES;
    uint32_t run_count = get_le32(at + 16);
    if (pg.type != PG_NEW_TERM || run_count > PG_RUNS_MAX || !is_zero(at + 20, 4) ||
        in.size != MESSAGE_PG_PART_BYTES + 24 + run_count * 16)
        return ERR_CORRUPT;
    pg.log =
        (struct pg_log){.last = get_le64(at), .base = get_le64(at + 8), .run_count = run_count};
    at += 24;
    for (uint32_t i = 0; i < run_count; i++, at += 16)
        pg.log.runs[i] = (struct pg_run){.first_psn = get_le64(at), .term = get_le64(at + 8)};
    if (!pg_log_is_sound(&pg.log))
        return ERR_CORRUPT;
    *ret_pg = pg;
    return ERR_OK;
}

/* ---- fetched bytes ---- */

void message_fetched_encode(const struct message_fetched *fetched,
                            uint8_t out[MESSAGE_FETCHED_BYTES])
{
    CHECK(fetched->bytes.size <= SUM_CHUNK_BYTES);
    CHECK((fetched->outcome == MESSAGE_FETCH_OK) == (fetched->bytes.size > 0));
    memset(out, 0, MESSAGE_FETCHED_BYTES);
    put_le64(out, fetched->id);
    out[8] = (uint8_t)fetched->outcome;
    put_le32(out + 12, (uint32_t)fetched->bytes.size);
}

enum err message_fetched_decode(struct bytes in, struct message_fetched *ret_fetched)
{
    if (in.size < MESSAGE_FETCHED_BYTES)
        return ERR_CORRUPT;
    const uint8_t *head = (const uint8_t *)in.data;
    struct bytes bytes = bytes_slice(in, MESSAGE_FETCHED_BYTES, SIZE_MAX);
    bool is_good = head[8] >= MESSAGE_FETCH_OK && head[8] <= MESSAGE_FETCH_BUSY &&
                   is_zero(head + 9, 3) && bytes.size == get_le32(head + 12) &&
                   bytes.size <= SUM_CHUNK_BYTES &&
                   (head[8] == MESSAGE_FETCH_OK) == (bytes.size > 0);
    if (!is_good)
        return ERR_CORRUPT;
    *ret_fetched = (struct message_fetched){
        .id = get_le64(head), .outcome = (enum message_fetch_outcome)head[8], .bytes = bytes};
    return ERR_OK;
}

/* ---- copies ---- */

_Static_assert(MESSAGE_COPY_RUN_BYTES + 2 * KV_KEY_BYTES_MAX + COPY_ROWS_BYTES_MAX <=
                   LINK_MESSAGE_BYTES_MAX,
               "a run goes in one message");

void message_copy_ask_encode(const struct message_copy_ask *ask,
                             uint8_t out[MESSAGE_COPY_ASK_BYTES])
{
    CHECK(ask->after.size <= KV_KEY_BYTES_MAX);
    memset(out, 0, MESSAGE_COPY_ASK_BYTES);
    put_le64(out, ask->id);
    put_le16(out + 8, (uint16_t)ask->family);
    put_le16(out + 10, (uint16_t)ask->after.size);
}

enum err message_copy_ask_decode(struct bytes in, struct message_copy_ask *ret_ask)
{
    if (in.size < MESSAGE_COPY_ASK_BYTES)
        return ERR_CORRUPT;
    const uint8_t *head = (const uint8_t *)in.data;
    struct bytes after = bytes_slice(in, MESSAGE_COPY_ASK_BYTES, SIZE_MAX);
    if (get_le16(head + 8) >= KV_FAMILY_COUNT || after.size != get_le16(head + 10) ||
        after.size > KV_KEY_BYTES_MAX || !is_zero(head + 12, 4))
        return ERR_CORRUPT;
    *ret_ask = (struct message_copy_ask){
        .id = get_le64(head), .family = (enum kv_family)get_le16(head + 8), .after = after};
    return ERR_OK;
}

void message_copy_run_encode(const struct message_copy_run *run,
                             uint8_t out[MESSAGE_COPY_RUN_BYTES])
{
    CHECK(run->run.after.size <= KV_KEY_BYTES_MAX && run->run.upto.size <= KV_KEY_BYTES_MAX);
    CHECK(run->run.rows.size <= COPY_ROWS_BYTES_MAX);
    memset(out, 0, MESSAGE_COPY_RUN_BYTES);
    put_le64(out, run->id);
    put_le64(out + 8, run->psn);
    put_le64(out + 16, run->term);
    put_le64(out + 24, run->rows_in_all);
    put_le16(out + 32, (uint16_t)run->run.family);
    put_le16(out + 34, (uint16_t)run->run.after.size);
    put_le16(out + 36, (uint16_t)run->run.upto.size);
    put_le32(out + 40, (uint32_t)run->run.rows.size);
}

enum err message_copy_run_decode(struct bytes in, struct message_copy_run *ret_run)
{
    if (in.size < MESSAGE_COPY_RUN_BYTES)
        return ERR_CORRUPT;
    const uint8_t *head = (const uint8_t *)in.data;
    size_t after = get_le16(head + 34), upto = get_le16(head + 36), rows = get_le32(head + 40);
    bool is_good = get_le16(head + 32) < KV_FAMILY_COUNT && after <= KV_KEY_BYTES_MAX &&
                   upto <= KV_KEY_BYTES_MAX && rows <= COPY_ROWS_BYTES_MAX &&
                   in.size - MESSAGE_COPY_RUN_BYTES == after + upto + rows &&
                   is_zero(head + 38, 2) && is_zero(head + 44, 4);
    if (!is_good || get_le64(head + 8) == 0 || get_le64(head + 16) == 0)
        return ERR_CORRUPT;
    struct bytes rest = bytes_slice(in, MESSAGE_COPY_RUN_BYTES, SIZE_MAX);
    *ret_run = (struct message_copy_run){
        .id = get_le64(head),
        .psn = get_le64(head + 8),
        .term = get_le64(head + 16),
        .rows_in_all = get_le64(head + 24),
        .run = {.family = (enum kv_family)get_le16(head + 32),
                .after = bytes_slice(rest, 0, after),
                .upto = bytes_slice(rest, after, upto),
                .rows = bytes_slice(rest, after + upto, SIZE_MAX)},
    };
    return ERR_OK;
}

/* ---- results ---- */

enum result_flags {
    RESULT_EXISTED = 1,
    RESULT_SYNCED = 2,
    RESULT_BY_RDMA = 4,
    RESULT_BY_TCP = 8,
};
#define RESULT_FLAGS (RESULT_EXISTED | RESULT_SYNCED | RESULT_BY_RDMA | RESULT_BY_TCP)

size_t message_result_encode(uint64_t op, const struct mutation *m,
                             uint8_t out[MESSAGE_RESULT_BYTES_MAX])
{
    const char *name = err_name(m->err);
    size_t name_size = strlen(name), sentence_size = strnlen(m->trail.text, ERR_TRAIL_BYTES - 1);
    CHECK(name_size <= UINT8_MAX && m->checksum.size <= CHECKSUM_BYTES_MAX);
    out[0] = (uint8_t)((m->existed ? RESULT_EXISTED : 0) | (m->receipt.synced ? RESULT_SYNCED : 0) |
                       (m->receipt.by_rdma ? RESULT_BY_RDMA : 0) |
                       (m->receipt.by_tcp ? RESULT_BY_TCP : 0));
    out[1] = (uint8_t)name_size;
    put_le16(out + 2, (uint16_t)sentence_size);
    put_le32(out + 4, m->new_bucket.value);
    put_le64(out + 8, op);
    put_le64(out + 16, m->term);
    put_le64(out + 24, m->psn);
    put_le64(out + 32, m->mtime_ns);
    put_le64(out + 40, m->size);
    put_le32(out + 48, m->receipt.replicas_synced);
    put_le32(out + 52, m->receipt.replicas_wanted);
    memcpy(out + 56, m->etag.md5, sizeof m->etag.md5);
    put_le32(out + 72, m->etag.parts);
    uint8_t *to = out + CHECKSUM_AT;
    to[0] = m->checksum.algorithm;
    to[1] = m->checksum.type;
    to[2] = m->checksum.size;
    to[3] = 0;
    to += 4;
    memcpy(to, m->checksum.value, m->checksum.size);
    to += m->checksum.size;
    memcpy(to, name, name_size);
    memcpy(to + name_size, m->trail.text, sentence_size);
    return (size_t)(to - out) + name_size + sentence_size;
}

static enum err err_of_name(struct bytes name)
{
    for (unsigned e = 0; e < ERR_COUNT; e++)
        if (bytes_equal(name, bytes_of_string(err_name((enum err)e))))
            return (enum err)e;
    return ERR_INTERNAL;
}

enum err message_result_decode(struct bytes in, uint64_t *ret_op, struct mutation *ret_result)
{
    const uint8_t *bytes = (const uint8_t *)in.data;
    if (in.size < RESULT_HEAD_BYTES)
        return ERR_CORRUPT;
    const uint8_t *checksum = bytes + CHECKSUM_AT;
    size_t name_size = bytes[1], sentence_size = get_le16(bytes + 2), value_size = checksum[2];
    bool is_good = (bytes[0] & ~RESULT_FLAGS) == 0 && checksum[3] == 0 &&
                   value_size <= CHECKSUM_BYTES_MAX && name_size > 0 &&
                   sentence_size < ERR_TRAIL_BYTES &&
                   in.size == RESULT_HEAD_BYTES + value_size + name_size + sentence_size;
    if (!is_good)
        return ERR_CORRUPT;
    struct bytes texts = bytes_slice(in, RESULT_HEAD_BYTES + value_size, SIZE_MAX);
    if (bytes_find_char(texts, 0, '\0') != SIZE_MAX)
        return ERR_CORRUPT;
    struct mutation m = {
        .err = err_of_name(bytes_slice(texts, 0, name_size)),
        .existed = bytes[0] & RESULT_EXISTED,
        .new_bucket = {get_le32(bytes + 4)},
        .term = get_le64(bytes + 16),
        .psn = get_le64(bytes + 24),
        .mtime_ns = get_le64(bytes + 32),
        .size = get_le64(bytes + 40),
        .receipt = {.synced = bytes[0] & RESULT_SYNCED,
                    .replicas_synced = get_le32(bytes + 48),
                    .replicas_wanted = get_le32(bytes + 52),
                    .by_rdma = bytes[0] & RESULT_BY_RDMA,
                    .by_tcp = bytes[0] & RESULT_BY_TCP},
        .etag = {.parts = get_le32(bytes + 72)},
        .checksum = {.algorithm = checksum[0], .type = checksum[1], .size = checksum[2]},
    };
    memcpy(m.etag.md5, bytes + 56, sizeof m.etag.md5);
    memcpy(m.checksum.value, checksum + 4, value_size);
    memcpy(m.trail.text, texts.data + name_size, sentence_size);
    *ret_op = get_le64(bytes + 8);
    *ret_result = m;
    return ERR_OK;
}

void message_result_copy(struct mutation *m, const struct mutation *result)
{
    m->err = result->err;
    m->trail = result->trail;
    m->term = result->term;
    m->psn = result->psn;
    m->mtime_ns = result->mtime_ns;
    m->existed = result->existed;
    m->new_bucket = result->new_bucket;
    m->receipt = result->receipt;
    if (result->err)
        return; /* nothing was made that has these */
    m->etag = result->etag;
    m->checksum = result->checksum;
    m->size = result->size;
}
