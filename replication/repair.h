/*
 * Damaged bytes of this node's disk, brought back from another's. One chunk of 64 KiB at a time,
 * asked of the peers in turn until one has it whole; it is held against this node's own sums before
 * it is written (storage/repair.h), so nobody can be made to store anything else.
 *
 *     repair_chunk --FETCH--> peer reads and checks its own --FETCHED--> rewrite, sync, read back
 *                  \-- absent, damaged, silent for REPAIR_SILENCE_NS: the next peer
 *
 * Who asks for a chunk that is being repaired waits for the same repair. Bounded: REPAIRS_MAX under
 * way and REPAIRS_WAITING_MAX behind them, FETCHES_MAX served; beyond is ERR_BUSY.
 *
 * Everything but repair_chunk() on the group's loop; the disk on the pool.
 */
#ifndef REPLICATION_REPAIR_H
#define REPLICATION_REPAIR_H

#include "replication/group.h"
#include "replication/message.h"
#include "storage/repair.h"

#define REPAIRS_MAX         4u
#define REPAIRS_WAITING_MAX 256u
#define FETCHES_MAX         4u
#define REPAIR_SILENCE_NS   (2 * NS_PER_SECOND)

struct repair;

/* How to send; link.h's own functions, or a test's. */
struct repair_links {
    bool (*is_up)(const struct link *link);
    uint32_t (*node)(const struct link *link);
    enum err (*ctl)(struct link *link, const void *data, size_t size);
    enum err (*message)(struct link *link, uint8_t kind, const struct bytes *parts,
                        unsigned part_count);
};

struct repair_options {
    struct loop *loop; /* borrowed, as the next ones */
    struct volume *volume;
    struct work_pool *work_pool;
    const struct repair_links *links; /* NULL: link.h's */
};
enum err repair_open(const struct repair_options *options, struct repair **ret_repair) MUST_USE;
void repair_add_peer(struct repair *repair, struct link *link); /* borrowed; at most LINKS_MAX */
/* What is asked ends with ERR_CLOSED; later asks, too. Then repair_is_idle() comes true. */
void repair_stop(struct repair *repair);
bool repair_is_idle(const struct repair *repair);
void repair_close(struct repair *repair); /* idle; NULL does nothing */
void repair_tick(struct repair *repair, uint64_t now_ns);
void repair_link_down(struct repair *repair, struct link *link);

/* ---- asking: from any thread ---- */
void repair_chunk(struct repair *repair, struct group_repair *ask); /* group_repair() */

/* ---- what comes from peers ---- */
void repair_asked(struct repair *repair, struct link *link, const struct message_fetch *ask);
void repair_answered(struct repair *repair, struct link *link,
                     const struct message_fetched *answer);

struct repair_counts {         /* since open */
    uint64_t repaired, failed; /* chunks */
    uint64_t served;           /* chunks sent to peers */
};
void repair_counts(const struct repair *repair, struct repair_counts *ret_counts);

#endif
