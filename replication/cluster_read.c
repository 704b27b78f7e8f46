#include "replication/cluster_priv.h"

/*
 * The read barrier. What may have been acknowledged anywhere before a request came is what the
 * primary had applied then: a replica never applies a record before it. So a primary under leases
 * answers at once, and everybody else asks it for its place in the log and waits until they are
 * there themselves. One question is under way at a time; who comes meanwhile waits for the next.
 */

#define ASK_AGAIN_NS (50 * NS_PER_MS)

/* ---- the primary's side ---- */

static bool may_read(const struct cluster *cluster, uint64_t now_ns)
{
    return cluster->has_config && !cluster->is_stopped && pg_may_read(&cluster->pg, now_ns) &&
           cluster->applied >= cluster->pg.barrier;
}

/*
 * For readers on other threads: until when all who are in sync have promised. Who reads takes the
 * time first and this word then, so a word that is late by this thread's turn was true when the
 * time was.
 */
void cluster__publish_lease(struct cluster *cluster)
{
    uint64_t now_ns = cluster__now(cluster), until_ns = 0;
    if (may_read(cluster, now_ns)) {
        uint8_t needed = cluster->pg.d.config.in_sync | cluster->pg.armed;
        until_ns = UINT64_MAX;
        for (unsigned i = 0; i < cluster->node_count; i++) {
            bool counts = i != cluster->self && pg_mask_has(needed, i);
            if (counts && cluster->pg.peers[i].lease_ns < until_ns)
                until_ns = cluster->pg.peers[i].lease_ns;
        }
    }
    atomic_store(&cluster->read_until_ns, until_ns);
}

bool cluster_is_fresh(const struct cluster *cluster)
{
    uint64_t now_ns = cluster__now(cluster);
    return now_ns < atomic_load(&cluster->read_until_ns);
}

void cluster__read_asked(struct cluster *cluster, struct peer *peer,
                         const struct message_read_index *ask)
{
    struct message_read_index_ok answer = {.id = ask->id, .psn = cluster->applied};
    answer.is_primary = may_read(cluster, cluster__now(cluster));
    if (answer.is_primary && peer->told_commit < cluster->applied)
        pg_tell_commit(&cluster->pg, peer->index); /* the same lane: it comes first */
    uint8_t bytes[LINK_CTL_BYTES_MAX];
    size_t size = message_read_index_ok_encode(&answer, bytes);
    cluster__ctl(peer, bytes, size); /* lost: asked again */
}

/* ---- who waits ---- */

static void end(struct group_ask *ask, enum err e)
{
    ask->err = e;
    group__asked(ask);
}

static void ask_primary(struct cluster *cluster, struct peer *peer, uint64_t now_ns)
{
    bool is_waiting = peer->read.is_asked && now_ns - peer->read.asked_ns < ASK_AGAIN_NS;
    if (is_waiting || cluster->fresh_first == NULL)
        return;
    struct message_read_index ask = {.id = ++cluster->read_count};
    uint8_t bytes[LINK_CTL_BYTES_MAX];
    size_t size = message_read_index_encode(&ask, bytes);
    if (!cluster__ctl(peer, bytes, size))
        return;
    peer->read.is_asked = true;
    peer->read.id = ask.id;
    peer->read.asked_ns = now_ns;
    for (struct group_ask *waiting = cluster->fresh_first; waiting; waiting = waiting->next)
        if (waiting->offset == 0)
            waiting->offset = ask.id; /* the first question that was asked after it came */
}

void cluster__read_answered(struct cluster *cluster, struct peer *peer,
                            const struct message_read_index_ok *answer)
{
    if (!peer->read.is_asked || answer->id != peer->read.id || !answer->is_primary)
        return; /* who is not, or not yet, is asked again after a while */
    peer->read.is_asked = false;
    for (struct group_ask *ask = cluster->fresh_first; ask; ask = ask->next)
        if (ask->offset != 0 && ask->offset <= answer->id && ask->size == UINT64_MAX)
            ask->size = answer->psn; /* to be applied here first */
    cluster__pump_reads(cluster);
}

void cluster__pump_reads(struct cluster *cluster)
{
    if (cluster->fresh_first == NULL)
        return;
    uint64_t now_ns = cluster__now(cluster);
    bool is_fresh = may_read(cluster, now_ns);
    struct group_ask *ask = cluster->fresh_first, *kept = NULL, **end_of_kept = &kept;
    cluster->fresh_first = cluster->fresh_last = NULL;
    while (ask != NULL) {
        struct group_ask *next = ask->next;
        ask->next = NULL;
        if (is_fresh || ask->size <= cluster->applied) {
            end(ask, ERR_OK);
        } else if (now_ns >= ask->deadline_ns || cluster->is_stopped) {
            end(ask, ERR_BUSY);
        } else {
            *end_of_kept = ask;
            end_of_kept = &ask->next;
            cluster->fresh_last = ask;
        }
        ask = next;
    }
    cluster->fresh_first = kept;
    if (kept == NULL || !cluster->has_config)
        return;
    struct peer *primary = &cluster->peers[cluster->pg.d.config.primary];
    if (primary->link != NULL && primary->is_up)
        ask_primary(cluster, primary, now_ns);
}

static void came(struct loop_msg *msg)
{
    struct group_ask *ask = CONTAINER_OF(msg, struct group_ask, work.msg);
    struct cluster *cluster = ask->context;
    ask->deadline_ns = cluster__now(cluster) + GROUP_FRESH_NS;
    ask->next = NULL;
    ask->offset = 0;
    ask->size = UINT64_MAX;
    if (cluster->fresh_last != NULL)
        cluster->fresh_last->next = ask;
    else
        cluster->fresh_first = ask;
    cluster->fresh_last = ask;
    cluster__pump_reads(cluster);
}

void cluster_fresh(struct cluster *cluster, struct group_ask *ask)
{
    ask->context = cluster;
    ask->work.msg.deliver = came;
    loop_post(cluster->loop, &ask->work.msg);
}
