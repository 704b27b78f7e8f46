#include "replication/register_quorum.h"

#include "replication/register_quorum_priv.h"

const struct quorum_times quorum_times_default = {
    .resend_ns = 60 * NS_PER_MS,
    .settle_ns = 20 * NS_PER_MS,
    .backoff_ns = 10 * NS_PER_MS,
    .backoff_max_ns = 200 * NS_PER_MS,
    .limit_ns = 1000 * NS_PER_MS,
};

int quorum__compare(const struct quorum_ballot *a, const struct quorum_ballot *b)
{
    if (a->round != b->round)
        return a->round < b->round ? -1 : 1;
    if (a->node != b->node)
        return a->node < b->node ? -1 : 1;
    return a->life < b->life ? -1 : a->life > b->life;
}

void quorum_init(struct quorum *q, const struct quorum_options *options,
                 const struct quorum_state *restored, uint64_t now_ns)
{
    CHECK(options->node_count >= 1 && options->node_count <= PG_NODES_MAX);
    CHECK(options->self < options->node_count);
    *q = (struct quorum){
        .options = *options,
        .now_ns = now_ns,
        .state = *restored,
        .durable = *restored,
        .pass = 1,
        .highest_round = restored->promised.round,
    };
    rand_seeded_init(&q->rand, options->seed);
    q->life = HAS_BUG(Q_SAME_BALLOT) ? 0 : rand_u64(&q->rand.rand);
    if (HAS_BUG(Q_FORGET_PROMISE))
        q->state.promised = q->durable.promised = restored->accepted;
    if (HAS_BUG(Q_BLANK_VOTES))
        q->state.is_blank = q->durable.is_blank = false;
}

void quorum_tick(struct quorum *q, uint64_t now_ns)
{
    q->now_ns = now_ns;
    quorum__blank_tick(q);
    quorum__proposer_tick(q);
}

static void dispatch(struct quorum *q, uint8_t from, const struct quorum_message *message)
{
    switch (message->type) {
    case QUORUM_PREPARE:
    case QUORUM_ACCEPT:
    case QUORUM_READ:
        quorum__acceptor_receive(q, from, message);
        break;
    case QUORUM_STATE:
        if (!message->is_blank)
            q->voters |= quorum__bit(from);
        quorum__blank_receive(q, from, message);
        quorum__proposer_receive(q, from, message);
        break;
    case QUORUM_PROMISE:
    case QUORUM_ACCEPTED:
    case QUORUM_REFUSED:
        quorum__proposer_receive(q, from, message);
        break;
    }
}

uint8_t quorum_voters(const struct quorum *q)
{
    return q->voters;
}

void quorum__send(struct quorum *q, uint8_t to, const struct quorum_message *message)
{
    if (to == q->options.self)
        dispatch(q, to, message);
    else
        q->options.ops->send(q->options.context, to, message);
}

void quorum_receive(struct quorum *q, uint64_t now_ns, uint8_t from,
                    const struct quorum_message *message)
{
    CHECK(from < q->options.node_count && from != q->options.self);
    q->now_ns = now_ns;
    dispatch(q, from, message);
}
