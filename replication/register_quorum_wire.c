#include <string.h>

#include "base/bytes.h"
#include "base/digest.h"
#include "replication/register_quorum.h"

/* The register's bytes: what nodes say to each other, and what they keep. */

#define BALLOT_BYTES  17u
#define VALUE_BYTES   138u
#define STATE_VERSION 1u
_Static_assert(2 + 3 * BALLOT_BYTES + VALUE_BYTES == QUORUM_MESSAGE_BYTES, "a message's bytes");
_Static_assert(2 + 2 * BALLOT_BYTES + VALUE_BYTES + 8 == QUORUM_STATE_BYTES, "a state's bytes");
_Static_assert(26 + PG_NODES_MAX * QUORUM_DISK_BYTES == VALUE_BYTES, "a value's bytes");

/* A round is counted up by one with each try: no honest one ever comes here. */
#define ROUND_MAX (UINT64_MAX / 2)

enum { FLAG_BLANK = 1, FLAG_COPIED = 2 };

static uint8_t flags_of(bool is_blank, bool is_copied)
{
    return (uint8_t)((is_blank ? FLAG_BLANK : 0) | (is_copied ? FLAG_COPIED : 0));
}

static uint8_t *put_ballot(uint8_t *out, const struct quorum_ballot *ballot)
{
    put_le64(out, ballot->round);
    put_le64(out + 8, ballot->life);
    out[16] = ballot->node;
    return out + BALLOT_BYTES;
}

static uint8_t *put_value(uint8_t *out, const struct quorum_value *value)
{
    put_le64(out, value->config.epoch);
    put_le64(out + 8, value->config.term);
    put_le64(out + 16, value->config.nonce);
    out[24] = value->config.primary;
    out[25] = value->config.in_sync;
    memcpy(out + 26, value->disks, sizeof value->disks);
    return out + VALUE_BYTES;
}

static bool get_ballot(const uint8_t **in, uint8_t node_count, struct quorum_ballot *ret)
{
    const uint8_t *b = *in;
    *ret = (struct quorum_ballot){.round = get_le64(b), .life = get_le64(b + 8), .node = b[16]};
    *in = b + BALLOT_BYTES;
    return ret->node < node_count && ret->round <= ROUND_MAX;
}

static bool get_value(const uint8_t **in, uint8_t node_count, struct quorum_value *ret)
{
    const uint8_t *b = *in;
    *ret = (struct quorum_value){
        .config =
            {
                .epoch = get_le64(b),
                .term = get_le64(b + 8),
                .nonce = get_le64(b + 16),
                .primary = b[24],
                .in_sync = b[25],
            },
    };
    memcpy(ret->disks, b + 26, sizeof ret->disks);
    *in = b + VALUE_BYTES;
    const struct pg_config *config = &ret->config;
    if (config->epoch == 0) /* no record yet */
        return config->term == 0 && config->nonce == 0 && b[24] == 0 && b[25] == 0;
    bool fits = config->primary < node_count && config->in_sync >> node_count == 0;
    return fits && pg_mask_has(config->in_sync, config->primary) && config->term <= config->epoch;
}

void quorum_message_encode(const struct quorum_message *message, uint8_t out[QUORUM_MESSAGE_BYTES])
{
    out[0] = (uint8_t)message->type;
    out[1] = flags_of(message->is_blank, message->is_copied);
    uint8_t *at = put_ballot(out + 2, &message->ballot);
    at = put_ballot(at, &message->other);
    at = put_ballot(at, &message->promised);
    put_value(at, &message->value);
}

enum err quorum_message_decode(struct bytes in, uint8_t node_count,
                               struct quorum_message *ret_message)
{
    const uint8_t *b = (const uint8_t *)in.data, *at = b + 2;
    if (in.size != QUORUM_MESSAGE_BYTES || b[0] < QUORUM_PREPARE || b[0] > QUORUM_STATE || b[1] > 3)
        return ERR_CORRUPT;
    struct quorum_message message = {
        .type = (enum quorum_message_type)b[0],
        .is_blank = (b[1] & FLAG_BLANK) != 0,
        .is_copied = (b[1] & FLAG_COPIED) != 0,
    };
    bool is_sound = get_ballot(&at, node_count, &message.ballot) &&
                    get_ballot(&at, node_count, &message.other) &&
                    get_ballot(&at, node_count, &message.promised) &&
                    get_value(&at, node_count, &message.value) && message.ballot.round > 0;
    if (!is_sound)
        return ERR_CORRUPT;
    *ret_message = message;
    return ERR_OK;
}

void quorum_state_encode(const struct quorum_state *state, uint8_t out[QUORUM_STATE_BYTES])
{
    out[0] = STATE_VERSION;
    out[1] = flags_of(state->is_blank, state->is_copied);
    uint8_t *at = put_ballot(out + 2, &state->promised);
    at = put_ballot(at, &state->accepted);
    at = put_value(at, &state->value);
    put_le64(at, xxh3_64(out, QUORUM_STATE_BYTES - 8));
}

enum err quorum_state_decode(struct bytes in, struct quorum_state *ret_state)
{
    const uint8_t *b = (const uint8_t *)in.data, *at = b + 2;
    if (in.size != QUORUM_STATE_BYTES ||
        get_le64(b + QUORUM_STATE_BYTES - 8) != xxh3_64(b, QUORUM_STATE_BYTES - 8))
        return ERR_CORRUPT;
    if (b[0] != STATE_VERSION)
        return ERR_FORMAT_NEWER;
    struct quorum_state state = {
        .is_blank = (b[1] & FLAG_BLANK) != 0,
        .is_copied = (b[1] & FLAG_COPIED) != 0,
    };
    bool is_sound = get_ballot(&at, PG_NODES_MAX, &state.promised) &&
                    get_ballot(&at, PG_NODES_MAX, &state.accepted) &&
                    get_value(&at, PG_NODES_MAX, &state.value);
    if (!is_sound || b[1] > 3)
        return ERR_CORRUPT;
    *ret_state = state;
    return ERR_OK;
}
