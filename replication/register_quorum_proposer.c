#include <string.h>

#include "replication/register_quorum_priv.h"

/*
 * One operation at a time: a swap goes before a read. A read ends as soon as it has seen a majority
 * with the same ballot; else, and for each swap, there is a try:
 *
 *     IDLE -> READING -> PREPARING -> ACCEPTING -> IDLE
 *      |          ^----------|------------|--- a read is asked anew when votes are dropped
 *      +--------------------^ ^--WAITING--+--- refused: with a higher ballot, after a while
 *
 * A swap that does not fit is settled like one that does, by writing what stands once more: until
 * then, a record of ours that was taken somewhere could still become the one that stands.
 */

static void ask(struct quorum *q)
{
    static const enum quorum_message_type types[] = {
        [QUORUM_READING] = QUORUM_READ,
        [QUORUM_PREPARING] = QUORUM_PREPARE,
        [QUORUM_ACCEPTING] = QUORUM_ACCEPT,
    };
    struct quorum_message message = {.type = types[q->phase], .ballot = q->ballot};
    if (q->phase == QUORUM_ACCEPTING)
        message.value = q->value;
    q->resend_due_ns = q->now_ns + q->options.times.resend_ns;
    for (uint8_t to = 0; to < q->options.node_count; to++)
        if (to != q->options.self && !pg_mask_has(q->heard, to))
            quorum__send(q, to, &message);
    if (!pg_mask_has(q->heard, q->options.self)) /* last: its answer may come before this returns */
        quorum__send(q, q->options.self, &message);
}

static void enter(struct quorum *q, enum quorum_phase phase)
{
    q->phase = phase;
    q->heard = 0;
    ask(q);
}

static void note_round(struct quorum *q, const struct quorum_ballot *ballot)
{
    if (ballot->round > q->highest_round)
        q->highest_round = ballot->round;
}

static void draw_ballot(struct quorum *q)
{
    note_round(q, &q->state.promised);
    q->ballot = (struct quorum_ballot){
        .round = ++q->highest_round, .life = q->life, .node = q->options.self};
    q->best = (struct quorum_ballot){0};
    q->value = (struct quorum_value){0};
    q->settle_due_ns = 0;
    q->votes = 0;
}

static void try_again(struct quorum *q)
{
    draw_ballot(q);
    enter(q, QUORUM_PREPARING);
}

static void ask_to_read(struct quorum *q)
{
    q->is_swap = false;
    q->wants_read = false;
    draw_ballot(q);
    enter(q, QUORUM_READING);
}

/* Not too soon, nor all at once. */
static void back_off(struct quorum *q)
{
    q->phase = QUORUM_WAITING;
    q->retry_due_ns = q->now_ns + q->backoff_ns / 2 + rand_below(&q->rand.rand, q->backoff_ns);
    q->backoff_ns = q->backoff_ns * 2 < q->options.times.backoff_max_ns
                        ? q->backoff_ns * 2
                        : q->options.times.backoff_max_ns;
}

void quorum__drop_votes(struct quorum *q)
{
    if (q->phase == QUORUM_READING)
        ask_to_read(q);
    else if (q->phase != QUORUM_IDLE)
        back_off(q);
}

/* ---- what is asked ---- */

static void begin_read(struct quorum *q)
{
    q->backoff_ns = q->options.times.backoff_ns;
    ask_to_read(q);
}

void quorum_read(struct quorum *q, uint64_t now_ns)
{
    q->now_ns = now_ns;
    if (q->phase == QUORUM_IDLE)
        begin_read(q);
    else
        q->wants_read = true; /* what is under way may end with what stood before now */
}

void quorum_swap(struct quorum *q, uint64_t now_ns, const struct quorum_value *next, uint8_t disks)
{
    CHECK(next->config.epoch > 0);
    q->now_ns = now_ns;
    if (q->phase != QUORUM_IDLE && !q->is_swap)
        q->wants_read = true;
    q->is_swap = true;
    q->has_offered = false;
    q->next = *next;
    q->next_disks = disks;
    q->limit_ns = now_ns + q->options.times.limit_ns;
    q->backoff_ns = q->options.times.backoff_ns;
    try_again(q);
}

/* ---- how it ends ---- */

static void end(struct quorum *q)
{
    q->phase = QUORUM_IDLE;
    if (q->wants_read)
        begin_read(q);
}

static void end_read(struct quorum *q, const struct quorum_value *value)
{
    struct quorum_value present = *value;
    q->options.ops->read(q->options.context, &present);
    end(q);
}

static void end_swap(struct quorum *q, enum pg_swap outcome)
{
    q->options.ops->swapped(q->options.context, q->next.config.nonce, outcome,
                            outcome == PG_SWAP_UNKNOWN ? NULL : &q->value);
    end(q);
}

/* A majority has taken the value: it stands. */
static void settled(struct quorum *q)
{
    const struct pg_config *stands = &q->value.config, *next = &q->next.config;
    if (!q->is_swap)
        end_read(q, &q->value);
    else if (stands->epoch == next->epoch && stands->nonce == next->nonce)
        end_swap(q, PG_SWAP_DONE);
    else if (q->has_offered && stands->epoch > next->epoch)
        end_swap(q, PG_SWAP_UNKNOWN); /* it may have stood in between */
    else
        end_swap(q, PG_SWAP_LOST);
}

/* ---- answers ---- */

static void put_next(struct quorum *q)
{
    struct quorum_value present = q->value;
    q->value.config = q->next.config;
    for (unsigned i = 0; i < PG_NODES_MAX; i++)
        if (pg_mask_has(q->next_disks, i))
            memcpy(q->value.disks[i], q->next.disks[i], QUORUM_DISK_BYTES);
        else
            memcpy(q->value.disks[i], present.disks[i], QUORUM_DISK_BYTES);
}

/* A majority has promised: `value` is the newest that any of it has taken. */
static void offer(struct quorum *q)
{
    const struct pg_config *present = &q->value.config;
    if (HAS_BUG(Q_REBASE) && q->is_swap && q->has_offered)
        q->next.config.epoch = present->epoch + 1;
    bool fits = q->is_swap && present->epoch + 1 == q->next.config.epoch;
    bool is_there = q->is_swap && present->epoch == q->next.config.epoch &&
                    present->nonce == q->next.config.nonce;
    if (q->is_swap && !fits && !is_there && HAS_BUG(Q_LOSE_UNWRITTEN)) {
        settled(q);
        return;
    }
    if (fits)
        put_next(q);
    q->has_offered |= fits || is_there;
    enter(q, QUORUM_ACCEPTING);
}

static void note_accepted(struct quorum *q, const struct quorum_message *message)
{
    bool is_newer = quorum__compare(&message->other, &q->best) > 0;
    if (HAS_BUG(Q_IGNORE_ACCEPTED))
        is_newer = message->other.round > 0;
    if (!is_newer)
        return;
    q->best = message->other;
    q->value = message->value;
}

static void promised(struct quorum *q, uint8_t from, const struct quorum_message *message)
{
    if (q->phase != QUORUM_PREPARING || pg_mask_has(q->heard, from))
        return;
    q->heard |= quorum__bit(from);
    note_accepted(q, message);
    if (quorum__count(q->heard) >= quorum__majority(q))
        offer(q);
}

static void accepted(struct quorum *q, uint8_t from)
{
    if (q->phase != QUORUM_ACCEPTING)
        return;
    q->heard |= quorum__bit(from);
    if (quorum__count(q->heard) >= quorum__majority(q))
        settled(q);
}

static void refused(struct quorum *q, const struct quorum_message *message)
{
    note_round(q, &message->other);
    if (q->phase == QUORUM_PREPARING || q->phase == QUORUM_ACCEPTING)
        back_off(q);
}

static unsigned count_votes(const struct quorum *q, const struct quorum_ballot *ballot)
{
    unsigned count = 0;
    for (unsigned i = 0; i < q->options.node_count; i++)
        count += pg_mask_has(q->votes, i) && quorum__compare(&q->answers[i], ballot) == 0;
    return count;
}

static void told_state(struct quorum *q, uint8_t from, const struct quorum_message *message)
{
    if (q->phase != QUORUM_READING || message->is_blank || pg_mask_has(q->heard, from))
        return;
    q->heard |= quorum__bit(from);
    if (!message->is_copied || HAS_BUG(Q_COPY_VOTES))
        q->votes |= quorum__bit(from);
    q->answers[from] = message->other;
    note_accepted(q, message);
    note_round(q, &message->promised);
    bool is_majority = quorum__count(q->heard) >= quorum__majority(q);
    if (count_votes(q, &message->other) >= quorum__majority(q))
        end_read(q, &message->value);
    else if (is_majority && HAS_BUG(Q_READ_UNSETTLED))
        end_read(q, &q->value);
    else if (q->heard == quorum__all(q))
        try_again(q);
    else if (is_majority && q->settle_due_ns == 0)
        q->settle_due_ns = q->now_ns + q->options.times.settle_ns;
}

void quorum__proposer_receive(struct quorum *q, uint8_t from, const struct quorum_message *message)
{
    if (q->phase == QUORUM_IDLE || quorum__compare(&message->ballot, &q->ballot) != 0)
        return; /* to what was asked before */
    switch (message->type) {
    case QUORUM_PROMISE:
        promised(q, from, message);
        break;
    case QUORUM_ACCEPTED:
        accepted(q, from);
        break;
    case QUORUM_REFUSED:
        refused(q, message);
        break;
    case QUORUM_STATE:
        told_state(q, from, message);
        break;
    case QUORUM_PREPARE:
    case QUORUM_ACCEPT:
    case QUORUM_READ:
        CHECK(!"for an acceptor");
    }
}

/* ---- time ---- */

void quorum__proposer_tick(struct quorum *q)
{
    if (q->phase == QUORUM_IDLE)
        return;
    bool is_settling = q->phase == QUORUM_READING && q->settle_due_ns > 0;
    if (q->is_swap && q->now_ns >= q->limit_ns)
        end_swap(q, PG_SWAP_UNKNOWN);
    else if (is_settling && q->now_ns >= q->settle_due_ns)
        try_again(q);
    else if (q->phase == QUORUM_WAITING && q->now_ns >= q->retry_due_ns)
        try_again(q);
    else if (q->phase != QUORUM_WAITING && q->now_ns >= q->resend_due_ns)
        ask(q);
}
