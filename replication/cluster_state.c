#include "replication/cluster_state.h"

#include <string.h>

#include "base/digest.h"

#define STATE_VERSION 2u
#define HEAD_BYTES    88u
#define HEAD_BYTES_1  72u /* of version 1 */

static void put_pg(uint8_t *out, const struct pg_durable *pg)
{
    put_le16(out + 2, (uint16_t)pg->log.run_count);
    put_le64(out + 8, pg->config.epoch);
    put_le64(out + 16, pg->config.term);
    put_le64(out + 24, pg->config.nonce);
    out[32] = pg->config.primary;
    out[33] = pg->config.in_sync;
    put_le64(out + 40, pg->synced_term);
    put_le64(out + 48, pg->commit);
    put_le64(out + 56, pg->log.last);
    put_le64(out + 64, pg->log.base);
    for (uint32_t i = 0; i < pg->log.run_count; i++) {
        put_le64(out + HEAD_BYTES + 16 * i, pg->log.runs[i].first_psn);
        put_le64(out + HEAD_BYTES + 16 * i + 8, pg->log.runs[i].term);
    }
}

size_t cluster_state_encode(const struct cluster_state *state, uint8_t out[CLUSTER_STATE_BYTES_MAX])
{
    memset(out, 0, HEAD_BYTES);
    out[0] = STATE_VERSION;
    out[1] = state->has_pg;
    put_le32(out + 4, state->node);
    memcpy(out + 72, state->cluster, sizeof state->cluster);
    size_t size = HEAD_BYTES;
    if (state->has_pg) {
        put_pg(out, &state->pg);
        size += 16u * state->pg.log.run_count;
    }
    quorum_state_encode(&state->quorum, out + size);
    size += QUORUM_STATE_BYTES;
    put_le64(out + size, xxh3_64(out, size));
    return size + 8;
}

static enum err get_pg(const uint8_t *in, const uint8_t *runs, uint32_t run_count,
                       struct pg_durable *pg)
{
    pg->config = (struct pg_config){
        .epoch = get_le64(in + 8),
        .term = get_le64(in + 16),
        .nonce = get_le64(in + 24),
        .primary = in[32],
        .in_sync = in[33],
    };
    pg->synced_term = get_le64(in + 40);
    pg->commit = get_le64(in + 48);
    pg->log.last = get_le64(in + 56);
    pg->log.base = get_le64(in + 64);
    pg->log.run_count = run_count;
    for (uint32_t i = 0; i < run_count; i++) {
        pg->log.runs[i].first_psn = get_le64(runs + 16 * i);
        pg->log.runs[i].term = get_le64(runs + 16 * i + 8);
    }
    bool is_sound = pg->config.primary < PG_NODES_MAX && pg_log_is_sound(&pg->log) &&
                    pg->commit <= pg->log.last && pg->config.term <= pg->config.epoch;
    return is_sound ? ERR_OK : ERR_CORRUPT;
}

enum err cluster_state_decode(struct bytes in, struct cluster_state *ret_state)
{
    memset(ret_state, 0, sizeof *ret_state);
    if (in.size < HEAD_BYTES_1 + QUORUM_STATE_BYTES + 8)
        return ERR_CORRUPT;
    const uint8_t *data = (const uint8_t *)in.data;
    if (get_le64(data + in.size - 8) != xxh3_64(data, in.size - 8))
        return ERR_CORRUPT;
    if (data[0] > STATE_VERSION)
        return ERR_FORMAT_NEWER;
    uint32_t head = data[0] == 1 ? HEAD_BYTES_1 : HEAD_BYTES, runs = get_le16(data + 2);
    if (data[0] == 0 || data[1] > 1 || runs > PG_RUNS_MAX || (data[1] == 0 && runs > 0) ||
        in.size != head + 16u * runs + QUORUM_STATE_BYTES + 8)
        return ERR_CORRUPT;
    ret_state->node = get_le32(data + 4);
    if (head == HEAD_BYTES)
        memcpy(ret_state->cluster, data + 72, sizeof ret_state->cluster);
    ret_state->has_pg = data[1] == 1;
    enum err e = ret_state->has_pg ? get_pg(data, data + head, runs, &ret_state->pg) : ERR_OK;
    return e ? e
             : quorum_state_decode(bytes_of(data + head + 16 * runs, QUORUM_STATE_BYTES),
                                   &ret_state->quorum);
}
