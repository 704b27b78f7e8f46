#include "replication/register_quorum_priv.h"

/*
 * What this node has promised and taken. Its answers leave when what they say is on the disk, and
 * the newest to each proposer is enough: a proposer asks one thing at a time.
 */

static void save(struct quorum *q)
{
    q->saving = q->state;
    q->saving_version = q->version;
    q->options.ops->save(q->options.context, q->version, &q->state);
}

void quorum__changed(struct quorum *q)
{
    q->version++;
    if (q->saving_version == 0)
        save(q);
}

static void owe(struct quorum *q, uint8_t to, const struct quorum_message *answer)
{
    bool is_durable = q->version == q->durable_version || HAS_BUG(Q_ANSWER_EARLY);
    q->owed[to] =
        (struct quorum_owed){.is_owed = !is_durable, .version = q->version, .message = *answer};
    if (is_durable)
        quorum__send(q, to, answer);
}

/* Taken, and something newer taken before it came to the disk, which so never had it. */
static bool was_overwritten(const struct quorum *q, const struct quorum_message *answer)
{
    return answer->type == QUORUM_ACCEPTED &&
           quorum__compare(&answer->ballot, &q->durable.accepted) != 0;
}

static void refuse(struct quorum *q, uint8_t to, const struct quorum_message *message)
{
    quorum__send(q, to,
                 &(struct quorum_message){.type = QUORUM_REFUSED,
                                          .ballot = message->ballot,
                                          .other = q->state.promised});
}

void quorum_persisted(struct quorum *q, uint64_t now_ns, uint64_t version)
{
    q->now_ns = now_ns;
    if (q->saving_version == 0 || version < q->saving_version)
        return;
    CHECK(version == q->saving_version);
    q->durable = q->saving;
    q->durable_version = version;
    q->saving_version = 0;
    if (q->version > version)
        save(q);
    for (uint8_t to = 0; to < q->options.node_count; to++) {
        struct quorum_owed *owed = &q->owed[to];
        if (!owed->is_owed || owed->version > version)
            continue;
        struct quorum_message message = owed->message; /* to ourselves, it may bring another */
        owed->is_owed = false;
        if (was_overwritten(q, &message))
            refuse(q, to, &message);
        else
            quorum__send(q, to, &message);
    }
}

static void prepare(struct quorum *q, uint8_t from, const struct quorum_message *message)
{
    int order = quorum__compare(&message->ballot, &q->state.promised);
    if (order < 0) {
        refuse(q, from, message);
        return;
    }
    if (order > 0) {
        q->state.promised = message->ballot;
        quorum__changed(q);
    }
    owe(q, from,
        &(struct quorum_message){.type = QUORUM_PROMISE,
                                 .ballot = message->ballot,
                                 .other = q->state.accepted,
                                 .value = q->state.value});
}

static void accept(struct quorum *q, uint8_t from, const struct quorum_message *message)
{
    bool is_below = quorum__compare(&message->ballot, &q->state.promised) < 0;
    if (is_below && !HAS_BUG(Q_TAKE_BELOW)) {
        refuse(q, from, message);
        return;
    }
    bool is_new = quorum__compare(&message->ballot, &q->state.accepted) != 0;
    if (is_new || q->state.is_copied) {
        q->state.promised = q->state.accepted = message->ballot;
        q->state.value = message->value;
        q->state.is_copied = false;
        quorum__changed(q);
    }
    owe(q, from, &(struct quorum_message){.type = QUORUM_ACCEPTED, .ballot = message->ballot});
}

/* One that lost its disk asks: no vote of that disk is counted from here on. */
static void note_blank(struct quorum *q, uint8_t from, const struct quorum_message *message)
{
    bool is_known = q->blank_lives[from] == message->ballot.life;
    if (!message->is_blank || is_known || HAS_BUG(Q_BLANK_ASKS_ONCE))
        return;
    q->blank_lives[from] = message->ballot.life;
    quorum__drop_votes(q);
}

static void tell_state(struct quorum *q, uint8_t to, const struct quorum_message *message)
{
    quorum__send(q, to,
                 &(struct quorum_message){.type = QUORUM_STATE,
                                          .is_blank = q->durable.is_blank,
                                          .is_copied = q->durable.is_copied,
                                          .ballot = message->ballot,
                                          .other = q->durable.accepted,
                                          .promised = q->durable.promised,
                                          .value = q->durable.value});
}

void quorum__acceptor_receive(struct quorum *q, uint8_t from, const struct quorum_message *message)
{
    if (message->type == QUORUM_READ) {
        note_blank(q, from, message);
        tell_state(q, from, message);
    } else if (q->durable.is_blank) {
        return; /* its answer would be a vote */
    } else if (message->type == QUORUM_PREPARE) {
        prepare(q, from, message);
    } else {
        accept(q, from, message);
    }
}
