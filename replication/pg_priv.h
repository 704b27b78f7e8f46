/* Between pg.c (configuration, term, roles), pg_primary.c and pg_replica.c. */
#ifndef REPLICATION_PG_PRIV_H
#define REPLICATION_PG_PRIV_H

#include "base/check.h"
#include "replication/pg.h"
#include "replication/seeded_bugs.h"

static inline bool pg__is_primary(const struct pg *pg)
{
    return pg->role != PG_FOLLOWER;
}
static inline bool pg__may_lead(const struct pg *pg)
{
    return !pg->is_damaged && !pg->has_resigned && (!pg->is_new_disk || HAS_BUG(NEW_DISK_LEADS));
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
void pg__lead(struct pg *pg, uint64_t now_ns); /* we are primary of a new term */
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
