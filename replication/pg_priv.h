/* Between pg.c (configuration, term, roles), pg_primary.c and pg_replica.c. */
#ifndef REPLICATION_PG_PRIV_H
#define REPLICATION_PG_PRIV_H

#include "base/check.h"
#include "replication/pg.h"

/*
 * Known ways to get this protocol wrong. The simulator is built with them and must find each; in
 * the product they are constants and vanish.
 */
#define PG_BUGS(X)                                                                                 \
    X(NO_EPOCH, "a replica takes messages of older epochs")                                        \
    X(NO_LEASE, "a primary reads without leases")                                                  \
    X(NO_PROMISE, "a replica takes over although it promised not to")                              \
    X(GRANT_STALE, "a replica promises to a primary whose epoch is past")                          \
    X(FORGET_PROMISE, "a restarted replica does not wait for what it may have promised")           \
    X(NO_ARM, "a replica is counted as in sync, and not waited for until then")                    \
    X(NO_BARRIER, "a new primary opens before its term's first record is committed")               \
    X(LEARNER_TAKES, "a replica that is not in sync takes over")                                   \
    X(NO_RECLAIM, "a restarted primary goes on in its old term")                                   \
    X(ACK_EARLY, "a replica acknowledges what is not on its disk")                                 \
    X(COMMIT_UNPERSISTED, "a primary does not wait for its own disk")                              \
    X(NO_MATCH, "a replica keeps what its new primary's log does not have")                        \
    X(PROMISE_WHILE_TAKING, "a replica promises while its own swap is under way")                  \
    X(TELL_UNAPPLIED, "a primary tells that records are committed before it shows them itself")    \
    X(READ_UNAPPLIED, "a new primary reads before its term's first record is applied")             \
    X(NEW_DISK_LEADS, "a node whose disk was replaced leads as if nothing had happened")           \
    X(DISK_KEEPS_ACKS, "what a replaced disk had acknowledged still counts")

#ifdef PG_WITH_BUGS
enum pg_bug {
    PG_BUG_NONE,
#define X(name, text) PG_BUG_##name,
    PG_BUGS(X)
#undef X
        PG_BUG_COUNT
};
extern enum pg_bug pg__bug;
#define HAS_BUG(name) (pg__bug == PG_BUG_##name)
#else
#define HAS_BUG(name) false
#endif

static inline bool pg__is_primary(const struct pg *pg)
{
    return pg->role != PG_FOLLOWER;
}
static inline bool pg__may_lead(const struct pg *pg)
{
    return !pg->is_damaged && (!pg->is_new_disk || HAS_BUG(NEW_DISK_LEADS));
}
static inline uint8_t pg__bit(unsigned node)
{
    return (uint8_t)(1u << node);
}

/* pg.c */
void pg__save(struct pg *pg);
void pg__append(struct pg *pg, uint64_t term, const void *record);
void pg__send(struct pg *pg, uint8_t to, struct pg_message *message); /* fills in config, commit */
void pg__swap(struct pg *pg, struct pg_config next); /* epoch and nonce are filled in here */
void pg__advance(struct pg *pg, uint64_t commit, bool may_acknowledge);

/* pg_primary.c */
void pg__lead(struct pg *pg,
              uint64_t now_ns); /* the configuration has made us primary of a new term */
void pg__primary_tick(struct pg *pg, uint64_t now_ns);
void pg__primary_receive(struct pg *pg, uint64_t now_ns, uint8_t from,
                         const struct pg_message *message);
void pg__commit(struct pg *pg);

/* pg_replica.c */
void pg__promise(struct pg *pg, uint64_t now_ns, uint8_t from, const struct pg_message *beacon);
void pg__replica_tick(struct pg *pg, uint64_t now_ns);
void pg__replica_receive(struct pg *pg, uint64_t now_ns, uint8_t from,
                         const struct pg_message *message);
void pg__replica_ack(struct pg *pg, bool has_gap); /* when what it says is on the disk */

#endif
