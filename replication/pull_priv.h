/*
 * The inside of pull, for its two halves: pull.c asks, pull_serve.c is asked.
 */
#ifndef REPLICATION_PULL_PRIV_H
#define REPLICATION_PULL_PRIV_H

#include "replication/pull.h"
#include "storage/read_plan.h"

struct pull_ask {
    struct link *link; /* NULL: free */
    struct log_data data;
    uint64_t psn;
    pull_done_fn *done;
    void *context;
    bool is_coming;
    uint64_t again_ns; /* asked again then, unless it is arriving */
    uint64_t fails_ns; /* not 0: done(PULL_FAILED) then, unless it comes from elsewhere */
};

#define PULL_CHUNK_MAGIC 0x70756c63u
struct pull_serve;
struct pull_chunk {
    uint32_t magic;
    struct pull_serve *serve;
    struct link_chunk chunk;
    struct slot *slot; /* ours until written() */
    struct disk_io io;
    bool is_used, is_read, is_sent;
    struct disk_file *file; /* where its bytes lie */
    uint64_t file_offset;
    uint32_t repairs;
    struct group_repair repair; /* of one of its sum chunks */
    enum err damage;            /* what for */
};

struct pull_serve {
    struct pull *pull;
    struct link *link; /* NULL: free */
    struct data_id id;
    uint64_t psn, applied;
    struct work work; /* lookup, or what the plan needs */
    bool is_working;
    struct object *object; /* a reference; NULL: not looked up yet */
    struct object *again;  /* what a second look found */
    struct read_plan plan;
    bool has_plan;
    enum err work_err;
    struct arena_waiter waiter;
    bool is_waiting;
    bool is_over;                  /* ends when nothing is under way any more */
    unsigned next_read, next_sent; /* chunks are used in turn, and sent in that order */
    struct pull_chunk chunks[PULL_CHUNKS];
};

struct pull {
    struct pull_options options; /* a copy */
    struct incoming_watch watch;
    struct pull_ask asks[PULLS_MAX];
    struct pull_serve serves[PULL_SERVES_MAX];
    struct pull_counts counts;
};

static inline uint64_t pull__now(const struct pull *pull)
{
    return clock_boot_ns(loop_clock(pull->options.loop));
}
void pull__serve_link_down(struct pull *pull, struct link *link);

#endif
