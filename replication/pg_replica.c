#include "replication/pg_priv.h"

/*
 * A replica follows the primary its configuration names: it matches its log once a term, appends
 * what comes, and says what is on its disk. In sync or learner makes no difference here, but one:
 * only who is in sync may take over.
 */

#define STAGGER_NS (60 * NS_PER_MS) /* so that not all replicas try to take over at once */

static bool is_synced(const struct pg *pg)
{
    return pg->d.synced_term == pg->d.config.term;
}

void pg__replica_ack(struct pg *pg, bool has_gap)
{
    uint8_t primary = pg->d.config.primary;
    bool is_saved = pg->saved_version == pg->version; /* the configuration and the cut, too */
    if (!is_synced(pg) || !is_saved || primary == pg->options.self)
        return;
    pg__send(pg, primary,
             &(struct pg_message){
                 .type = PG_ACK,
                 .psn = HAS_BUG(ACK_EARLY) ? pg->d.log.last : pg->durable,
                 .last = pg->d.log.last,
                 .has_gap = has_gap,
             });
}

/* ---- a new term ---- */

static void match_log(struct pg *pg, const struct pg_message *message)
{
    if (is_synced(pg)) {
        pg__replica_ack(pg, false);
        return;
    }
    uint64_t match = pg_log_match(&pg->d.log, &message->log);
    if (HAS_BUG(NO_MATCH))
        match = pg->d.log.last < message->log.last ? pg->d.log.last : message->log.last;
    if (match < pg->d.commit) {
        /* A primary without what was committed, or we are: not ours to mend. */
        pg->is_damaged = true;
        return;
    }
    pg_log_cut(&pg->d.log, match);
    if (pg->durable > match)
        pg->durable = match;
    pg->d.synced_term = pg->d.config.term;
    pg__save(pg); /* and then it acknowledges */
}

/* ---- records ---- */

static void append(struct pg *pg, const struct pg_message *message)
{
    if (!is_synced(pg))
        return; /* the new term comes again */
    if (message->psn > pg->d.log.last + 1) {
        pg__replica_ack(pg, true);
        return;
    }
    if (message->psn <= pg->d.log.last)
        pg__replica_ack(pg, false); /* sent again: perhaps the acknowledgement was lost */
    else if (message->term > 0 && message->term >= pg_log_term(&pg->d.log, pg->d.log.last))
        pg__append(pg, message->term, message->record);
}

static void follow_commit(struct pg *pg, uint64_t commit)
{
    if (!is_synced(pg))
        return;
    pg__advance(pg, commit < pg->d.log.last ? commit : pg->d.log.last, false);
    pg_log_forget(&pg->d.log, pg->d.commit);
}

/* ---- promises ---- */

void pg__promise(struct pg *pg, uint64_t now_ns, uint8_t from, const struct pg_message *beacon)
{
    /* A swap of ours that is under way may make us primary whatever we promise now. */
    bool takes_over = pg->swap_state != PG_SWAP_IDLE;
    if (takes_over && !HAS_BUG(PROMISE_WHILE_TAKING))
        return;
    pg->peers[from].has_promise = true;
    pg->peers[from].promise_ns = now_ns + pg->options.times.grace_ns;
    struct pg_message answer = {.type = PG_BEACON_ACK, .beacon_ns = beacon->beacon_ns};
    if (HAS_BUG(GRANT_STALE)) { /* and does not even say that there is something newer */
        answer.config = beacon->config;
        pg->options.ops->send(pg->options.context, from, &answer);
        return;
    }
    pg__send(pg, from, &answer);
}

void pg__replica_receive(struct pg *pg, uint64_t now_ns, uint8_t from,
                         const struct pg_message *message)
{
    bool is_old = message->config.epoch < pg->d.config.epoch; /* only with a seeded bug */
    if (from != pg->d.config.primary && !is_old)
        return;
    switch (message->type) {
    case PG_BEACON:
        pg__promise(pg, now_ns, from, message);
        if (!is_old)
            follow_commit(pg, message->commit);
        break;
    case PG_COMMIT:
        follow_commit(pg, message->commit);
        break;
    case PG_NEW_TERM:
        if (!pg_log_is_sound(&message->log))
            break;
        match_log(pg, message);
        break;
    case PG_APPEND:
        append(pg, message);
        follow_commit(pg, message->commit);
        break;
    case PG_BEACON_ACK:
    case PG_ACK:
    case PG_TELL:
        break;
    }
}

/* ---- taking over ---- */

static bool may_take_over(const struct pg *pg, uint64_t now_ns)
{
    const struct pg_config *config = &pg->d.config;
    if (config->primary == pg->options.self || pg->swap_state != PG_SWAP_IDLE || !pg__may_lead(pg))
        return false;
    if (!pg_mask_has(config->in_sync, pg->options.self) && !HAS_BUG(LEARNER_TAKES))
        return false;
    return now_ns >= pg->peers[config->primary].promise_ns || HAS_BUG(NO_PROMISE);
}

void pg__replica_tick(struct pg *pg, uint64_t now_ns)
{
    if (!may_take_over(pg, now_ns)) {
        pg->take_over_due_ns = 0;
        return;
    }
    if (pg->take_over_due_ns == 0)
        pg->take_over_due_ns = now_ns + (pg->options.self + 1u) * STAGGER_NS;
    if (now_ns < pg->take_over_due_ns)
        return;
    pg->take_over_due_ns = 0;
    struct pg_config next = pg->d.config;
    uint8_t out = pg__bit(next.primary) | pg->disk_changed;
    next.in_sync = (uint8_t)((next.in_sync & ~out) | pg__bit(pg->options.self));
    next.primary = pg->options.self;
    pg__swap(pg, next);
}
