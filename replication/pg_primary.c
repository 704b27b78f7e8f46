#include "replication/pg_priv.h"

/*
 * The primary sends its log to every other replica, in sync or not, and commits what all in-sync
 * ones have. One that is silent is taken out of the set; one that has caught up is armed, then put
 * in.
 */

static bool is_other(const struct pg *pg, unsigned node)
{
    return node != pg->options.self && node < pg->options.node_count;
}

static unsigned count_of(uint8_t mask)
{
    return (unsigned)__builtin_popcount(mask);
}

/* ---- commit ---- */

static void open_group(struct pg *pg)
{
    pg->role = PG_OPEN;
    pg->options.ops->opened(pg->options.context);
}

void pg__commit(struct pg *pg)
{
    bool waits_for_self =
        !HAS_BUG(COMMIT_UNPERSISTED) && !(HAS_BUG(RESIGN_ACKS) && pg->has_resigned);
    uint64_t commit = waits_for_self ? pg->durable : pg->d.log.last;
    uint8_t waited_for = pg->d.config.in_sync | (HAS_BUG(NO_ARM) ? 0 : pg->armed);
    for (unsigned i = 0; i < pg->options.node_count; i++) {
        if (!is_other(pg, i) || !pg_mask_has(waited_for, i))
            continue;
        if (!pg->peers[i].is_synced)
            return;
        if (pg->peers[i].acked < commit)
            commit = pg->peers[i].acked;
    }
    if (pg->swap_state == PG_SWAP_IN_DOUBT)
        return; /* who is in sync is not known */
    bool may_acknowledge = count_of(pg->d.config.in_sync) >= pg->options.in_sync_min;
    pg__advance(pg, commit, may_acknowledge);
    pg_log_forget(&pg->d.log, pg->d.commit);
    if (pg->role == PG_OPENING && pg->d.commit >= pg->barrier)
        open_group(pg);
}

/* ---- sending the log ---- */

static void send_log(struct pg *pg, unsigned node)
{
    struct pg_peer *peer = &pg->peers[node];
    uint64_t to =
        peer->acked + PG_WINDOW < pg->d.log.last ? peer->acked + PG_WINDOW : pg->d.log.last;
    if (!peer->is_synced || peer->next > to)
        return;
    pg->options.ops->send_records(pg->options.context, (uint8_t)node, peer->next, to);
    peer->next = to + 1;
}

static void send_log_to_all(struct pg *pg)
{
    for (unsigned i = 0; i < pg->options.node_count; i++)
        if (is_other(pg, i))
            send_log(pg, i);
}

static void send_new_term(struct pg *pg, unsigned node)
{
    pg__send(pg, (uint8_t)node, &(struct pg_message){.type = PG_NEW_TERM, .log = pg->d.log});
}

static void forget_acks(struct pg_peer *peer)
{
    peer->is_synced = false; /* the next beacon comes with the log to be matched */
    peer->acked = peer->next = peer->lease_ns = 0;
}

void pg__lead(struct pg *pg, uint64_t now_ns)
{
    pg->role = PG_OPENING;
    pg->armed = 0;
    pg->d.synced_term = pg->d.config.term;
    /* What is not on our disk was acknowledged by us to nobody, so it is not committed; its data
     * may be lost with the primary before, and the term's barrier would wait behind it for ever. */
    if (pg->d.log.last > pg->durable)
        pg_log_cut(&pg->d.log, pg->durable > pg->d.commit ? pg->durable : pg->d.commit);
    pg__save(pg);
    for (unsigned i = 0; i < pg->options.node_count; i++) {
        struct pg_peer *peer = &pg->peers[i];
        forget_acks(peer);
        peer->heard_ns = peer->progress_ns = now_ns;
    }
    pg__append(pg, pg->d.config.term, NULL);
    pg->barrier = pg->d.log.last;
    pg->beacon_due_ns = now_ns; /* the tick that follows greets everybody */
    if (HAS_BUG(NO_BARRIER))
        open_group(pg);
}

enum err pg_propose(struct pg *pg, uint64_t now_ns, const void *record, uint64_t *ret_psn)
{
    if (pg->role != PG_OPEN)
        return ERR_WOULD_BLOCK;
    if (count_of(pg->d.config.in_sync) < pg->options.in_sync_min ||
        pg->d.log.last - pg->d.commit >= PG_WINDOW)
        return ERR_BUSY;
    /* Who had everything was idle, and not stuck: its time begins now. */
    for (unsigned i = 0; i < pg->options.node_count; i++)
        if (is_other(pg, i) && pg->peers[i].is_synced && pg->peers[i].acked >= pg->d.log.last)
            pg->peers[i].progress_ns = now_ns;
    pg__append(pg, pg->d.config.term, record);
    send_log_to_all(pg);
    *ret_psn = pg->d.log.last;
    return ERR_OK;
}

/* ---- reads ---- */

bool pg_may_read(const struct pg *pg, uint64_t now_ns)
{
    if (pg->role != PG_OPEN || pg->swap_state == PG_SWAP_IN_DOUBT)
        return false;
    if (pg->applied < pg->barrier && !HAS_BUG(READ_UNAPPLIED) && !HAS_BUG(NO_BARRIER))
        return false; /* what the terms before have shown is not yet shown here */
    if (HAS_BUG(NO_LEASE))
        return true;
    /* One that is being added may be in sync by the register's word before the answer is here. */
    uint8_t needed = pg->d.config.in_sync | pg->armed;
    for (unsigned i = 0; i < pg->options.node_count; i++)
        if (is_other(pg, i) && pg_mask_has(needed, i) && pg->peers[i].lease_ns <= now_ns)
            return false;
    return true;
}

/* ---- messages ---- */

static void acked(struct pg *pg, uint64_t now_ns, uint8_t from, const struct pg_message *message)
{
    struct pg_peer *peer = &pg->peers[from];
    bool is_of_term = message->config.term == pg->d.config.term;
    if (!is_of_term || message->last > pg->d.log.last || message->psn > message->last)
        return;
    /* Every record behind a gap tells of it: one answer is enough for a while, or each would be
     * answered with a window of records that tell of it again. */
    bool sends_again = message->has_gap && now_ns - peer->resent_ns >= pg->options.times.gap_ns;
    if (sends_again)
        peer->resent_ns = now_ns;
    if (!peer->is_synced || sends_again)
        peer->next = message->last + 1;
    if (!peer->is_synced || message->psn > peer->acked)
        peer->progress_ns = now_ns;
    peer->is_synced = true;
    if (message->psn > peer->acked)
        peer->acked = message->psn;
    send_log(pg, from);
    pg__commit(pg);
}

static void promised(struct pg *pg, uint8_t from, const struct pg_message *message)
{
    /* From when the beacon left, and a hundredth less: clocks run at different rates. */
    uint64_t lease_ns = message->beacon_ns + pg->options.times.lease_ns / 100 * 99;
    if (lease_ns > pg->peers[from].lease_ns)
        pg->peers[from].lease_ns = lease_ns;
}

void pg__primary_receive(struct pg *pg, uint64_t now_ns, uint8_t from,
                         const struct pg_message *message)
{
    switch (message->type) {
    case PG_ACK:
        acked(pg, now_ns, from, message);
        break;
    case PG_BEACON_ACK:
        promised(pg, from, message);
        break;
    case PG_BEACON:
    case PG_NEW_TERM:
    case PG_APPEND:
    case PG_TELL:
    case PG_COMMIT:
        break; /* of a primary before us, or news that are none */
    }
}

/* ---- who is in sync ---- */

void pg_peer_disk_changed(struct pg *pg, uint8_t node)
{
    CHECK(is_other(pg, node));
    if (HAS_BUG(DISK_KEEPS_ACKS))
        return;
    uint8_t may_be_in = pg->d.config.in_sync;
    if (pg->swap_state != PG_SWAP_IDLE)
        may_be_in |= pg->wanted.in_sync;
    pg->disk_changed |= pg__bit(node) & may_be_in;
    forget_acks(&pg->peers[node]);
}

static uint8_t silent(const struct pg *pg, uint64_t now_ns)
{
    uint8_t mask = 0;
    for (unsigned i = 0; i < pg->options.node_count; i++) {
        const struct pg_peer *peer = &pg->peers[i];
        bool is_silent = now_ns - peer->heard_ns > pg->options.times.silence_ns;
        /* One that answers and makes no progress holds up everybody's writes just as well. */
        bool is_stuck = (!peer->is_synced || peer->acked < pg->d.log.last) &&
                        now_ns - peer->progress_ns > 5 * pg->options.times.silence_ns;
        if (is_other(pg, i) && pg_mask_has(pg->d.config.in_sync, i) && (is_silent || is_stuck))
            mask |= pg__bit(i);
    }
    return mask;
}

static uint8_t caught_up(const struct pg *pg, uint64_t now_ns)
{
    for (unsigned i = 0; i < pg->options.node_count; i++) {
        const struct pg_peer *peer = &pg->peers[i];
        if (!is_other(pg, i) || pg_mask_has(pg->d.config.in_sync, i))
            continue;
        bool is_heard = now_ns - peer->heard_ns < 2 * pg->options.times.beacon_ns;
        bool has_lease = peer->lease_ns > now_ns; /* reads will need it from now on */
        if (peer->is_synced && peer->acked >= pg->d.commit && is_heard && has_lease)
            return pg__bit(i);
    }
    return 0;
}

static void change_in_sync(struct pg *pg, uint64_t now_ns)
{
    if (pg->swap_state != PG_SWAP_IDLE)
        return;
    struct pg_config next = pg->d.config;
    uint8_t out = silent(pg, now_ns) | (pg->disk_changed & pg->d.config.in_sync);
    uint8_t in = out == 0 && pg->role == PG_OPEN ? caught_up(pg, now_ns) : 0;
    if (out == 0 && in == 0)
        return;
    pg->armed = in;
    next.in_sync = (uint8_t)((next.in_sync & ~out) | in);
    pg__swap(pg, next);
}

/* ---- time ---- */

static void beacon(struct pg *pg, uint64_t now_ns)
{
    pg->beacon_due_ns = now_ns + pg->options.times.beacon_ns;
    for (unsigned i = 0; i < pg->options.node_count; i++) {
        if (!is_other(pg, i))
            continue;
        pg__send(pg, (uint8_t)i, &(struct pg_message){.type = PG_BEACON, .beacon_ns = now_ns});
        if (!pg->peers[i].is_synced)
            send_new_term(pg, i);
    }
}

static void resend(struct pg *pg, uint64_t now_ns)
{
    for (unsigned i = 0; i < pg->options.node_count; i++) {
        struct pg_peer *peer = &pg->peers[i];
        bool is_due = peer->is_synced && peer->acked < pg->d.log.last &&
                      now_ns - peer->progress_ns >= pg->options.times.resend_ns &&
                      now_ns - peer->resent_ns >= pg->options.times.resend_ns;
        if (!is_other(pg, i) || !is_due)
            continue;
        peer->resent_ns = now_ns;
        peer->next = peer->acked + 1;
        send_log(pg, i);
    }
}

void pg__primary_tick(struct pg *pg, uint64_t now_ns)
{
    if (now_ns >= pg->beacon_due_ns)
        beacon(pg, now_ns);
    resend(pg, now_ns);
    change_in_sync(pg, now_ns);
}
