/*
 * What the nodes of a group say to each other over their links (link.h), as bytes. Encoders fill a
 * buffer of the caller's; decoders judge whatever they are given and answer ERR_CORRUPT to what is
 * no message. The links have checked sums and sizes before; both sides speak the same version, or
 * the transport's handshake had refused one. Little-endian; what says 0 must be.
 *
 * CTL, best effort, at most LINK_CTL_BYTES_MAX: u8 type, u8[7] 0, then
 *
 *     PG             pg's part, below: all but APPEND and NEW_TERM
 *     QUORUM         one of the register's (register_quorum.h)
 *     READ_INDEX     u64 id
 *     READ_INDEX_OK  u64 id, u64 psn, u8 is_primary, u8[7] 0
 *     PULL           u64 epoch, u64 counter, u64 psn
 *     PULL_ANSWER    u64, u64, u8 answer, u8[7] 0
 *     DROP           u64 epoch, u64 counter
 *     PING           nothing
 *     TOO_OLD        u64 epoch, u64 first
 *     COPY_LOST      u64 id
 *     COPY_STATE     u64 psn, u64 rows, u64 rows in all, u64 bytes, u64 bytes in all, u8 is over,
 *                    u8[7] 0
 *
 * META, whole and in order, by kind:
 *
 *     APPEND         pg's part, u32 record size, u32 inline size, record, inline bytes
 *     NEW_TERM       pg's part, u64 last, u64 base, u32 runs, u32 0,
 *                    runs of u64 first psn, u64 term
 *     PROPOSE        u32 record size, u32 inline size, record, inline bytes
 *     RESULT         u8 flags (1 existed, 2 synced, 4 by RDMA, 8 by TCP), u8 size of the error's
 *                    name, u16 size of the sentence, u32 new bucket, u64 op, u64 term, u64 psn,
 *                    u64 mtime, u64 size, u32 replicas synced, u32 replicas wanted,
 *                    etag (md5[16], u32 parts),
 *                    checksum (u8 algorithm, u8 type, u8 size, u8 0, value), name, sentence
 *     COPY_ASK       u64 id, u16 family, u16 size of `after`, u32 0, after
 *     COPY_RUN       u64 id, u64 psn, u64 term, u64 rows in all, u16 family, u16 size of `after`,
 *                    u16 size of `upto`, u16 0, u32 size of rows, u32 0, after, upto,
 *                    rows (storage/copy.h)
 *
 *     pg's part, 72 bytes:  0 u8 type  1 u8 primary  2 u8 in_sync  3 u8 has_gap  4 u32 0
 *                           8 u64 epoch  16 u64 term  24 u64 nonce  32 u64 commit  40 u64 beacon
 *                          48 u64 psn  56 u64 last  64 u64 term of the record
 *
 * A record of no bytes is the barrier of a term. Errors travel by name, since their numbers are
 * those of one build.
 */
#ifndef REPLICATION_MESSAGE_H
#define REPLICATION_MESSAGE_H

#include "replication/link.h"
#include "replication/pg.h"
#include "replication/record.h"
#include "replication/register_quorum.h"
#include "storage/copy.h"

/* ---- CTL ---- */

enum message_type {
    MESSAGE_PG = 1,
    MESSAGE_QUORUM,
    MESSAGE_READ_INDEX,    /* "how far must I be to read what is acknowledged now?" */
    MESSAGE_READ_INDEX_OK, /* "so far", or "I am not primary" */
    MESSAGE_PULL,          /* "send me this data, which your record names" */
    MESSAGE_PULL_ANSWER,
    MESSAGE_DROP,       /* "that body will have no name" */
    MESSAGE_PING,       /* "I am here" */
    MESSAGE_FETCH,      /* "send me these bytes of this data: mine are damaged" */
    MESSAGE_TOO_OLD,    /* primary: "what you lack is not in the log any more" */
    MESSAGE_COPY_LOST,  /* "there is no such copy here, or none any more: begin again" */
    MESSAGE_COPY_STATE, /* "I am being copied: keep the log behind that record" */
};

struct message_read_index {
    uint64_t id; /* of the question; comes back */
};
struct message_read_index_ok {
    uint64_t id, psn;
    bool is_primary; /* under leases; else psn means nothing */
};

struct message_pull {
    struct data_id id;
    uint64_t psn; /* of the record that brings it */
};
enum message_pull_outcome {
    MESSAGE_PULL_COMING = 1, /* chunks of it follow */
    MESSAGE_PULL_NOT_YET,    /* it is expected here, too, or too much is being sent: ask again */
    MESSAGE_PULL_GONE,       /* it was deleted since */
    MESSAGE_PULL_DAMAGED,    /* it cannot be read here: ask another */
};
struct message_pull_answer {
    struct data_id id;
    enum message_pull_outcome outcome;
};

struct message_fetch {
    uint64_t id; /* of the question; comes back */
    struct data_id data;
    uint64_t offset; /* of a sum chunk */
};

struct message_too_old {
    uint64_t epoch; /* of the configuration that the primary leads by */
    uint64_t first; /* record of its log */
};
struct message_copy_state {
    uint64_t psn;                 /* of the copy; 0: not known yet */
    uint64_t rows, rows_in_all;   /* 0: not known */
    uint64_t bytes, bytes_in_all; /* of data to be fetched; 0: not known yet */
    bool is_over;                 /* from now on it is a replica that lags */
};

struct message {
    enum message_type type;
    union {
        struct pg_message pg;
        struct quorum_message quorum;
        struct message_read_index read_index;
        struct message_read_index_ok read_index_ok;
        struct message_pull pull;
        struct message_pull_answer pull_answer;
        struct data_id drop;
        struct message_fetch fetch;
        struct message_too_old too_old;
        uint64_t copy_lost; /* the id */
        struct message_copy_state copy_state;
    };
};

/* Each returns its size. */
size_t message_pg_encode(const struct pg_message *pg, uint8_t out[LINK_CTL_BYTES_MAX]);
size_t message_quorum_encode(const struct quorum_message *quorum, uint8_t out[LINK_CTL_BYTES_MAX]);
size_t message_read_index_encode(const struct message_read_index *ask,
                                 uint8_t out[LINK_CTL_BYTES_MAX]);
size_t message_read_index_ok_encode(const struct message_read_index_ok *answer,
                                    uint8_t out[LINK_CTL_BYTES_MAX]);
size_t message_pull_encode(const struct message_pull *pull, uint8_t out[LINK_CTL_BYTES_MAX]);
size_t message_pull_answer_encode(const struct message_pull_answer *answer,
                                  uint8_t out[LINK_CTL_BYTES_MAX]);
size_t message_drop_encode(struct data_id id, uint8_t out[LINK_CTL_BYTES_MAX]);
size_t message_ping_encode(uint8_t out[LINK_CTL_BYTES_MAX]);
size_t message_fetch_encode(const struct message_fetch *fetch, uint8_t out[LINK_CTL_BYTES_MAX]);

size_t message_too_old_encode(const struct message_too_old *old, uint8_t out[LINK_CTL_BYTES_MAX]);
size_t message_copy_lost_encode(uint64_t id, uint8_t out[LINK_CTL_BYTES_MAX]);
size_t message_copy_state_encode(const struct message_copy_state *state,
                                 uint8_t out[LINK_CTL_BYTES_MAX]);

/* Any of them; every number in it is within its limits, nodes those of a group of `node_count`. */
enum err message_decode(struct bytes in, uint8_t node_count, struct message *ret_message) MUST_USE;

/* ---- META ---- */

enum message_kind {
    MESSAGE_APPEND = 1, /* primary: a record of the log */
    MESSAGE_NEW_TERM,   /* primary: its log, to be matched */
    MESSAGE_PROPOSE,    /* a gateway's wish, to the primary */
    MESSAGE_RESULT,     /* what became of it */
    MESSAGE_FETCHED,    /* what was asked for by FETCH */
    MESSAGE_COPY_ASK,   /* "send me the rows of your index behind this key" */
    MESSAGE_COPY_RUN,   /* those rows */
};

#define MESSAGE_PG_PART_BYTES      72u
#define MESSAGE_APPEND_BYTES       (MESSAGE_PG_PART_BYTES + 8u)
#define MESSAGE_NEW_TERM_BYTES_MAX (MESSAGE_PG_PART_BYTES + 24u + PG_RUNS_MAX * 16u)
#define MESSAGE_PROPOSE_BYTES      8u
#define MESSAGE_RESULT_BYTES_MAX   (80u + CHECKSUM_BYTES_MAX + 255u + ERR_TRAIL_BYTES)

/* A record on its way, and the data that goes with it because it is small. */
struct message_record {
    struct record_head head;   /* as the record says; zeros in a barrier's */
    struct bytes record;       /* borrowed from the message; empty: a term's barrier */
    struct bytes inline_bytes; /* empty: none, or to be had elsewhere */
};

/* The part in front of record and inline bytes. Sizes within RECORD_BYTES_MAX, INLINE_BYTES_MAX. */
void message_append_encode(const struct pg_message *pg, size_t record_size, size_t inline_size,
                           uint8_t out[MESSAGE_APPEND_BYTES]);
/* The record's head is judged, the rest of it when it is decoded. pg.record is NULL. */
enum err message_append_decode(struct bytes in, uint8_t node_count, struct pg_message *ret_pg,
                               struct message_record *ret_record) MUST_USE;

size_t message_new_term_encode(const struct pg_message *pg,
                               uint8_t out[MESSAGE_NEW_TERM_BYTES_MAX]);
enum err message_new_term_decode(struct bytes in, uint8_t node_count,
                                 struct pg_message *ret_pg) MUST_USE;

void message_propose_encode(size_t record_size, size_t inline_size,
                            uint8_t out[MESSAGE_PROPOSE_BYTES]);
enum err message_propose_decode(struct bytes in, struct message_record *ret_record) MUST_USE;

enum message_fetch_outcome {
    MESSAGE_FETCH_OK = 1,
    MESSAGE_FETCH_ABSENT,
    MESSAGE_FETCH_DAMAGED, /* here, too */
    MESSAGE_FETCH_BUSY,
};
struct message_fetched {
    uint64_t id;
    enum message_fetch_outcome outcome;
    struct bytes bytes; /* OK: the chunk, else none; borrowed */
};
#define MESSAGE_FETCHED_BYTES 16u
/* The part in front of the bytes. */
void message_fetched_encode(const struct message_fetched *fetched,
                            uint8_t out[MESSAGE_FETCHED_BYTES]);
enum err message_fetched_decode(struct bytes in, struct message_fetched *ret_fetched) MUST_USE;

struct message_copy_ask {
    uint64_t id; /* drawn by who asks, for one copy; the first question opens it */
    enum kv_family family;
    struct bytes after; /* borrowed */
};
#define MESSAGE_COPY_ASK_BYTES 16u
/* The part in front of `after`. */
void message_copy_ask_encode(const struct message_copy_ask *ask,
                             uint8_t out[MESSAGE_COPY_ASK_BYTES]);
enum err message_copy_ask_decode(struct bytes in, struct message_copy_ask *ret_ask) MUST_USE;

struct message_copy_run {
    uint64_t id, psn, term;
    uint64_t rows_in_all; /* about */
    struct copy_run run;  /* borrowed; its rows are judged by the volume that is given them */
};
#define MESSAGE_COPY_RUN_BYTES 48u
/* The part in front of after, upto and rows. */
void message_copy_run_encode(const struct message_copy_run *run,
                             uint8_t out[MESSAGE_COPY_RUN_BYTES]);
enum err message_copy_run_decode(struct bytes in, struct message_copy_run *ret_run) MUST_USE;

/* A mutation's results, for `op` of the gateway that proposed it. */
size_t message_result_encode(uint64_t op, const struct mutation *m,
                             uint8_t out[MESSAGE_RESULT_BYTES_MAX]);
/* Into a mutation that holds nothing else. An error that this build does not know is ERR_INTERNAL.
 */
enum err message_result_decode(struct bytes in, uint64_t *ret_op,
                               struct mutation *ret_result) MUST_USE;
/* The results of one mutation become another's. */
void message_result_copy(struct mutation *m, const struct mutation *result);

#endif
