/*
 * Data that a record names and that is not here: asked for by id, and sent by who has it.
 *
 *     here: pull_ask --PULL--> there: pull_asked -> volume_data_lookup -> COMING, NOT_YET, GONE
 *           incoming <--chunks-- disk, by O_DIRECT into slots, each chunk checked against its sum
 *           done(COMPLETE)                                     nothing is sent that does not match:
 *                                                              it is repaired first, or not sent
 *
 * The asking side asks again while nothing comes: messages may be lost, and the other side may have
 * the record before its data. GONE is the word of a node that has applied the record and holds the
 * data no more: a later record let go of it. The chunks go to `incoming`, like a gateway's.
 *
 * Bounded on both sides: PULLS_MAX asked for at a time, PULL_SERVES_MAX sent, PULL_SERVES_PEER_MAX
 * of them to one peer, PULL_CHUNKS slots each. Who asks for more is told to come again.
 *
 * Everything on one loop, whose share of the arena gives the slots; lookups on the pool.
 */
#ifndef REPLICATION_PULL_H
#define REPLICATION_PULL_H

#include "base/work.h"
#include "replication/group.h"
#include "replication/incoming.h"
#include "replication/message.h"

#define PULLS_MAX            8u
#define PULL_SERVES_MAX      24u
#define PULL_SERVES_PEER_MAX 8u /* as many as one asks for: nobody is told to come again */
#define PULL_CHUNKS          4u /* of 1 MiB: what a disk and 10 GbE keep on their way */

#define PULL_AGAIN_NS   (50 * NS_PER_MS)    /* after NOT_YET */
#define PULL_SILENCE_NS (500 * NS_PER_MS)   /* after an ask, or COMING, that nothing came of */
#define PULL_FAILED_NS  (1 * NS_PER_SECOND) /* between a failure and the next try */

struct pull;

enum pull_outcome {
    PULL_COMPLETE, /* incoming has it */
    PULL_GONE,     /* it was deleted: the group's outcome, not a failure */
    PULL_FAILED,   /* the link went down, or the bytes there are damaged: ask another */
};
typedef void pull_done_fn(void *context, struct data_id id, enum pull_outcome outcome);

/* How to send; link.h's own functions, or a test's. */
struct pull_links {
    enum err (*ctl)(struct link *link, const void *data, size_t size);
    enum err (*chunk_send)(struct link *link, struct link_chunk *chunk);
};

struct pull_options {
    struct loop *loop; /* borrowed, as the next ones */
    struct volume *volume;
    struct work_pool *work_pool;
    struct incoming *incoming;
    const struct pull_links *links; /* NULL: link_ctl(), link_chunk_send() */
    /* As group_repair(): for a chunk that is to be sent and is damaged here. NULL: nobody can. */
    void (*repair)(void *context, struct group_repair *repair);
    void *context;
};
enum err pull_open(const struct pull_options *options, struct pull **ret_pull) MUST_USE;
bool pull_is_idle(const struct pull *pull); /* nothing is read, looked up or being sent */
void pull_close(struct pull *pull);         /* idle; asks end without a word. NULL does nothing */
void pull_tick(struct pull *pull, uint64_t now_ns); /* every few ms: what is asked again */
void pull_link_down(struct pull *pull, struct link *link);

/* ---- asking ---- */
/* `psn`: of the record. Does nothing when it is asked for already, or when PULLS_MAX are: ask again
 * later. done() comes once, never from in here. */
void pull_ask(struct pull *pull, struct link *link, const struct log_data *data, uint64_t psn,
              pull_done_fn *done, void *context);
void pull_answered(struct pull *pull, struct link *link, const struct message_pull_answer *answer);
/* All that was asked for is wanted no more: done() does not come. */
void pull_forget(struct pull *pull);

/* ---- being asked ---- */
/* `applied`: the last record applied here. */
void pull_asked(struct pull *pull, struct link *link, const struct message_pull *ask,
                uint64_t applied);

struct pull_counts {               /* since open */
    uint64_t pulled, pulled_bytes; /* data that came complete */
    uint64_t gone;
    uint64_t served, served_bytes; /* bytes: landed there */
    uint64_t damaged;              /* chunks that did not match their sums when they were read */
    uint32_t asking, serving;      /* now */
};
void pull_counts(const struct pull *pull, struct pull_counts *ret_counts);

#endif
