#include "replication/pg.h"

#include <string.h>

#include "replication/pg_priv.h"

const struct pg_times pg_times_default = {
    .beacon_ns = 100 * NS_PER_MS,
    .lease_ns = 1000 * NS_PER_MS,
    .grace_ns = 1500 * NS_PER_MS,
    .silence_ns = 600 * NS_PER_MS,
    .resend_ns = 200 * NS_PER_MS,
    .gap_ns = 20 * NS_PER_MS,
};

#define ASK_AGAIN_NS (300 * NS_PER_MS) /* the register, while its answer is missing */
/* And now and then in any case: a swap that reached it when nobody waited any more is known to
 * none. */
#define LOOK_NS (5 * NS_PER_SECOND)

/* ---- effects ---- */

void pg__save(struct pg *pg)
{
    pg->version++;
    pg->options.ops->save(pg->options.context, pg->version, &pg->d);
}

void pg__append(struct pg *pg, uint64_t term, const void *record)
{
    pg_log_append(&pg->d.log, term);
    pg->options.ops->append(pg->options.context, pg->d.log.last, term, record);
}

/* What others may apply: no more than is applied here. */
static uint64_t told_commit(const struct pg *pg)
{
    return pg->applied < pg->d.commit && !HAS_BUG(TELL_UNAPPLIED) ? pg->applied : pg->d.commit;
}

void pg__send(struct pg *pg, uint8_t to, struct pg_message *message)
{
    CHECK(to != pg->options.self && to < pg->options.node_count);
    message->config = pg->d.config;
    message->commit = told_commit(pg);
    pg->options.ops->send(pg->options.context, to, message);
}

void pg_append_message(const struct pg *pg, uint64_t psn, uint64_t term, const void *record,
                       struct pg_message *ret_message)
{
    *ret_message = (struct pg_message){
        .type = PG_APPEND,
        .config = pg->d.config,
        .commit = told_commit(pg),
        .psn = psn,
        .term = term,
        .record = record,
    };
}

void pg__advance(struct pg *pg, uint64_t commit, bool may_acknowledge)
{
    if (commit <= pg->d.commit)
        return;
    CHECK(commit <= pg->d.log.last);
    pg->d.commit = commit;
    pg->options.ops->committed(pg->options.context, commit, may_acknowledge);
}

/* ---- configurations ---- */

static void step_down(struct pg *pg)
{
    bool was_primary = pg__is_primary(pg);
    pg->role = PG_FOLLOWER;
    pg->armed = 0;
    for (unsigned i = 0; i < pg->options.node_count; i++)
        pg->peers[i].lease_ns = 0;
    if (was_primary)
        pg->options.ops->lost(pg->options.context);
}

/* By the record it is in sync, with a disk it must yet see named there. */
static bool is_called_in_sync(const struct pg *pg)
{
    return pg->is_new_disk && pg_mask_has(pg->d.config.in_sync, pg->options.self);
}

static void take_config(struct pg *pg, const struct pg_config *config)
{
    pg->d.config = *config;
    /* Who is out of the set is relied on for nothing, and comes back by catching up. */
    pg->disk_changed &= config->in_sync;
}

/* The register's record names us, and we do not lead by it: that needs a new term. */
static void lead_later(struct pg *pg, uint64_t now_ns)
{
    pg->is_starting = true;
    pg->ask_due_ns = now_ns;
}

/* The record in the register is the one we asked for. */
static void adopt(struct pg *pg, uint64_t now_ns)
{
    bool is_new_term = pg->wanted.term != pg->d.config.term;
    pg->swap_state = PG_SWAP_IDLE;
    pg->armed = 0;
    take_config(pg, &pg->wanted);
    if (pg__is_primary(pg)) { /* the in-sync set has changed, nothing else */
        CHECK(!is_new_term);
        pg__save(pg);
        pg__commit(pg);
    } else if ((is_new_term && pg__may_lead(pg)) || HAS_BUG(RESIGN_ADOPTS)) {
        pg->is_starting = false;
        pg__lead(pg, now_ns);
    } else { /* we have resigned meanwhile, and perhaps stand again */
        lead_later(pg, now_ns);
        pg__save(pg);
    }
}

/* A newer record than ours, from the register or a peer. */
static void learn(struct pg *pg, uint64_t now_ns, const struct pg_config *config)
{
    if (config->epoch <= pg->d.config.epoch)
        return;
    bool is_wanted = pg->swap_state != PG_SWAP_IDLE && config->nonce == pg->wanted.nonce;
    if (is_wanted) {
        adopt(pg, now_ns);
        return;
    }
    bool was_overtaken = pg->swap_state != PG_SWAP_IDLE && config->epoch >= pg->wanted.epoch;
    if (was_overtaken)
        pg->swap_state = PG_SWAP_IDLE;
    /* A record that names us and that we did not ask for is of a life before: it needs a new term.
     */
    if (config->primary == pg->options.self)
        lead_later(pg, now_ns);
    take_config(pg, config);
    if (is_called_in_sync(pg))
        pg->ask_due_ns = now_ns;
    step_down(pg);
    pg__save(pg);
}

void pg__swap(struct pg *pg, struct pg_config next)
{
    CHECK(pg->swap_state == PG_SWAP_IDLE && !pg->is_damaged);
    next.epoch = pg->d.config.epoch + 1;
    next.nonce = pg->options.nonce_seed + ++pg->nonce_count * 0x9e3779b97f4a7c15ull;
    bool is_take_over = next.primary != pg->d.config.primary || pg->is_starting;
    if (is_take_over)
        next.term = next.epoch;
    pg->wanted = next;
    pg->swap_state = PG_SWAP_SENT;
    pg->options.ops->swap(pg->options.context, &pg->wanted);
}

/*
 * A swap of the life before may have reached the register late, after this life has promised to
 * leave the group to another for a while: that comes first.
 */
static bool has_promised(const struct pg *pg, uint64_t now_ns)
{
    for (unsigned i = 0; i < pg->options.node_count; i++)
        if (pg->peers[i].has_promise && pg->peers[i].promise_ns > now_ns)
            return true;
    return false;
}

/* We are the primary of the register's record and have just started. */
static void reclaim(struct pg *pg, uint64_t now_ns)
{
    if (HAS_BUG(NO_RECLAIM)) {
        pg->is_starting = false;
        pg__lead(pg, now_ns);
        return;
    }
    pg__swap(pg, pg->d.config);
}

static void swap_lost(struct pg *pg, uint64_t now_ns, const struct pg_config *present)
{
    pg->swap_state = PG_SWAP_IDLE;
    pg->armed = 0;
    learn(pg, now_ns, present);
}

void pg_swapped(struct pg *pg, uint64_t now_ns, enum pg_swap outcome,
                const struct pg_config *present)
{
    if (pg->swap_state != PG_SWAP_SENT)
        return; /* a peer or the register has told already */
    switch (outcome) {
    case PG_SWAP_DONE:
        adopt(pg, now_ns);
        break;
    case PG_SWAP_LOST:
        if (present->nonce == pg->wanted.nonce) /* our own swap, sent twice */
            adopt(pg, now_ns);
        else
            swap_lost(pg, now_ns, present);
        break;
    case PG_SWAP_UNKNOWN:
        pg->swap_state = PG_SWAP_IN_DOUBT;
        pg->ask_due_ns = now_ns + ASK_AGAIN_NS;
        pg->options.ops->read_config(pg->options.context);
        break;
    }
}

/*
 * A swap in doubt whose epoch is still free may be on its way yet: it is sent again, the same to
 * the last bit, so that whichever of the two comes first counts and the other loses.
 */
void pg_config_read(struct pg *pg, uint64_t now_ns, const struct pg_config *present)
{
    bool in_doubt = pg->swap_state == PG_SWAP_IN_DOUBT;
    if (in_doubt && present->epoch + 1 == pg->wanted.epoch) {
        pg->swap_state = PG_SWAP_SENT;
        pg->options.ops->swap(pg->options.context, &pg->wanted);
        return;
    }
    if (in_doubt && present->epoch >= pg->wanted.epoch && present->nonce != pg->wanted.nonce)
        swap_lost(pg, now_ns, present);
    learn(pg, now_ns, present);
    bool is_ours = pg->d.config.primary == pg->options.self && present->epoch == pg->d.config.epoch;
    if (is_ours && pg->is_starting && pg->swap_state == PG_SWAP_IDLE && pg__may_lead(pg) &&
        !has_promised(pg, now_ns))
        reclaim(pg, now_ns);
}

/* ---- life ---- */

void pg_init(struct pg *pg, const struct pg_options *options, const struct pg_durable *restored,
             uint64_t now_ns)
{
    CHECK(options->node_count >= 1 && options->node_count <= PG_NODES_MAX);
    CHECK(options->self < options->node_count);
    CHECK(options->times.grace_ns > options->times.lease_ns);
    *pg = (struct pg){
        .options = *options,
        .d = *restored,
        .is_starting = true,
        .is_new_disk = options->is_new_disk,
        .durable = restored->log.last,
        .ask_due_ns = now_ns,
    };
    /* The driver may know more than was saved; a log is never cut below what is committed. */
    pg_log_forget(&pg->d.log, pg->d.commit);
    /* What the life before has promised is forgotten, so it is taken to be everything. */
    for (unsigned i = 0; i < options->node_count; i++)
        pg->peers[i].promise_ns = HAS_BUG(FORGET_PROMISE) ? 0 : now_ns + options->times.grace_ns;
}

static void ask_register(struct pg *pg, uint64_t now_ns)
{
    bool wants_to_know = pg->swap_state == PG_SWAP_IN_DOUBT || is_called_in_sync(pg) ||
                         (pg->is_starting && pg->d.config.primary == pg->options.self &&
                          pg->swap_state == PG_SWAP_IDLE);
    if (now_ns < pg->ask_due_ns)
        return;
    pg->ask_due_ns = now_ns + (wants_to_know ? ASK_AGAIN_NS : LOOK_NS);
    pg->options.ops->read_config(pg->options.context);
}

void pg_tick(struct pg *pg, uint64_t now_ns)
{
    if (pg->is_damaged)
        return;
    ask_register(pg, now_ns);
    if (pg__is_primary(pg))
        pg__primary_tick(pg, now_ns);
    else
        pg__replica_tick(pg, now_ns);
}

void pg_lead_anew(struct pg *pg, uint64_t now_ns)
{
    if (!pg__is_primary(pg) || pg->swap_state != PG_SWAP_IDLE)
        return;
    lead_later(pg, now_ns);
    step_down(pg);
}

void pg_resign(struct pg *pg, uint64_t now_ns)
{
    if (pg->has_resigned || HAS_BUG(NO_RESIGN))
        return;
    pg->has_resigned = true;
    if (!pg__is_primary(pg) || HAS_BUG(RESIGN_ACKS))
        return;
    lead_later(pg, now_ns);
    step_down(pg);
}

void pg_stand(struct pg *pg, uint64_t now_ns)
{
    if (!pg->has_resigned)
        return;
    pg->has_resigned = false;
    pg->ask_due_ns = now_ns;
}

void pg_persisted(struct pg *pg, uint64_t now_ns, uint64_t version, uint64_t psn)
{
    (void)now_ns;
    if (version != pg->version)
        return; /* of a log that was cut since; a later report covers it */
    CHECK(psn <= pg->d.log.last);
    pg->saved_version = version;
    if (psn > pg->durable)
        pg->durable = psn;
    if (pg__is_primary(pg))
        pg__commit(pg);
    else
        pg__replica_ack(pg, false);
}

void pg_applied(struct pg *pg, uint64_t psn)
{
    CHECK(psn <= pg->d.commit);
    if (psn > pg->applied)
        pg->applied = psn;
}

void pg_disk_known(struct pg *pg)
{
    pg->is_new_disk = false;
}

/* ---- messages ---- */

void pg_tell_commit(struct pg *pg, uint8_t to)
{
    if (pg__is_primary(pg))
        pg__send(pg, to, &(struct pg_message){.type = PG_COMMIT});
}

static void tell(struct pg *pg, uint8_t to)
{
    pg__send(pg, to, &(struct pg_message){.type = PG_TELL});
}

static bool is_behind(const struct pg *pg, const struct pg_message *message)
{
    return message->config.epoch < pg->d.config.epoch && !HAS_BUG(NO_EPOCH);
}

void pg_receive(struct pg *pg, uint64_t now_ns, uint8_t from, const struct pg_message *message)
{
    CHECK(from < pg->options.node_count && from != pg->options.self);
    if (pg->is_damaged)
        return;
    pg->peers[from].heard_ns = now_ns;
    if (is_behind(pg, message)) {
        if (HAS_BUG(GRANT_STALE) && message->type == PG_BEACON)
            pg__promise(pg, now_ns, from, message);
        else if (message->type != PG_TELL)
            tell(pg, from);
        return;
    }
    learn(pg, now_ns, &message->config);
    if (pg__is_primary(pg))
        pg__primary_receive(pg, now_ns, from, message);
    else
        pg__replica_receive(pg, now_ns, from, message);
}
