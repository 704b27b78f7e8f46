#include "replication/register_quorum_priv.h"

/*
 * An acceptor without a memory gets one: from the answers of all others to its second question
 * (register_quorum.h says why twice). While so many are blank that a majority may be, what stood
 * may have stood on them alone: then nobody begins to vote, unless nothing was ever taken anywhere.
 * What it copies is no vote of its own: else a value that one other has taken, and a newer ballot
 * is about to overrule, would seem to stand at two.
 */

static void ask_pass(struct quorum *q, uint8_t pass)
{
    q->pass = pass;
    q->blank_heard = 0;
    q->blank_seen = quorum__bit(q->options.self);
    q->found = (struct quorum_state){0};
    q->blank_question = (struct quorum_ballot){
        .round = ++q->highest_round, .life = q->life, .node = q->options.self};
    q->blank_due_ns = q->now_ns;
}

static bool has_heard_all(const struct quorum *q)
{
    uint8_t others = quorum__all(q) & (uint8_t)~quorum__bit(q->options.self);
    if (HAS_BUG(Q_BLANK_FEW))
        return quorum__count(q->blank_heard) + 1 >= quorum__majority(q);
    return q->blank_heard == others;
}

static bool may_be_lost(const struct quorum *q)
{
    bool is_majority_blank = quorum__count(q->blank_seen) >= quorum__majority(q);
    return is_majority_blank && q->found.accepted.round > 0;
}

bool quorum_is_lost(const struct quorum *q)
{
    return q->is_lost;
}

uint8_t quorum_waits_for(const struct quorum *q)
{
    if (!q->durable.is_blank)
        return 0;
    return quorum__all(q) & (uint8_t) ~(quorum__bit(q->options.self) | q->blank_heard);
}

static void begin_voting(struct quorum *q)
{
    q->is_lost = false;
    q->found.is_copied = q->found.accepted.round > 0;
    q->state = q->found;
    quorum__changed(q);
}

static void next_pass(struct quorum *q)
{
    if (!has_heard_all(q))
        return;
    if (q->pass == 1)
        ask_pass(q, 2);
    else if (may_be_lost(q))
        q->is_lost = true; /* the next tick asks from the beginning */
    else
        begin_voting(q);
}

void quorum__blank_tick(struct quorum *q)
{
    if (!q->state.is_blank || q->now_ns < q->blank_due_ns)
        return;
    bool is_in_vain = q->is_lost && q->pass == 2 && has_heard_all(q);
    if (q->blank_question.round == 0 || is_in_vain)
        ask_pass(q, HAS_BUG(Q_BLANK_ASKS_ONCE) ? 2 : 1);
    q->blank_due_ns = q->now_ns + q->options.times.resend_ns;
    for (uint8_t to = 0; to < q->options.node_count; to++)
        if (to != q->options.self && !pg_mask_has(q->blank_heard, to))
            quorum__send(q, to,
                         &(struct quorum_message){
                             .type = QUORUM_READ, .is_blank = true, .ballot = q->blank_question});
    next_pass(q); /* a node alone has nobody to wait for */
}

void quorum__blank_receive(struct quorum *q, uint8_t from, const struct quorum_message *message)
{
    bool is_answer = q->state.is_blank && q->blank_question.round > 0 &&
                     quorum__compare(&message->ballot, &q->blank_question) == 0;
    if (!is_answer)
        return;
    q->blank_heard |= quorum__bit(from);
    if (message->is_blank)
        q->blank_seen |= quorum__bit(from);
    if (quorum__compare(&message->promised, &q->found.promised) > 0)
        q->found.promised = message->promised;
    if (quorum__compare(&message->other, &q->found.accepted) > 0) {
        q->found.accepted = message->other;
        q->found.value = message->value;
    }
    next_pass(q);
}
