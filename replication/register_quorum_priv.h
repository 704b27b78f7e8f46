/* Between register_quorum.c (life, dispatch), _acceptor.c, _blank.c and _proposer.c. */
#ifndef REPLICATION_REGISTER_QUORUM_PRIV_H
#define REPLICATION_REGISTER_QUORUM_PRIV_H

#include "base/check.h"
#include "replication/register_quorum.h"
#include "replication/seeded_bugs.h"

static inline uint8_t quorum__bit(unsigned node)
{
    return (uint8_t)(1u << node);
}
static inline unsigned quorum__count(uint8_t mask)
{
    return (unsigned)__builtin_popcount(mask);
}
static inline uint8_t quorum__all(const struct quorum *q)
{
    return (uint8_t)((1u << q->options.node_count) - 1);
}
static inline unsigned quorum__majority(const struct quorum *q)
{
    unsigned half = q->options.node_count / 2u;
    return HAS_BUG(Q_SMALL_MAJORITY) && half > 0 ? half : half + 1;
}
int quorum__compare(const struct quorum_ballot *a, const struct quorum_ballot *b);

/* register_quorum.c: to this node itself, too, which hears it at once */
void quorum__send(struct quorum *q, uint8_t to, const struct quorum_message *message);

/* register_quorum_acceptor.c */
void quorum__changed(struct quorum *q); /* q->state: to be saved */
void quorum__acceptor_receive(struct quorum *q, uint8_t from, const struct quorum_message *message);

/* register_quorum_blank.c */
void quorum__blank_tick(struct quorum *q);
void quorum__blank_receive(struct quorum *q, uint8_t from, const struct quorum_message *message);

/* register_quorum_proposer.c */
void quorum__proposer_tick(struct quorum *q);
void quorum__proposer_receive(struct quorum *q, uint8_t from, const struct quorum_message *message);
void quorum__drop_votes(struct quorum *q); /* of what is under way: it is tried anew */

#endif
