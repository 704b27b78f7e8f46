#include "replication/wire.h"

#include "base/check.h"
#include "base/digest.h"

static uint32_t low_sum(const void *data, size_t size)
{
    return size > 0 ? (uint32_t)xxh3_64(data, size) : 0;
}

void wire_head_encode(const struct wire_head *head, const void *body, uint8_t out[WIRE_HEAD_BYTES])
{
    CHECK(head->op > 0 && head->op < OP_COUNT && head->lane < LANE_COUNT);
    put_le16(out, WIRE_MAGIC);
    out[2] = head->op;
    out[3] = head->lane;
    put_le32(out + 4, head->seq);
    put_le32(out + 8, head->gen ^ (body != NULL ? low_sum(body, head->size) : 0));
    put_le32(out + 12, head->size);
    put_le32(out + 16, head->a);
    put_le32(out + 20, head->b);
    put_le32(out + 24, head->c);
    put_le32(out + 28, low_sum(out, WIRE_HEAD_BYTES - 4));
}

enum err wire_head_decode(const uint8_t in[WIRE_HEAD_BYTES], struct wire_head *ret_head)
{
    struct wire_head head = {
        .op = in[2],
        .lane = in[3],
        .seq = get_le32(in + 4),
        .gen = get_le32(in + 8),
        .size = get_le32(in + 12),
        .a = get_le32(in + 16),
        .b = get_le32(in + 20),
        .c = get_le32(in + 24),
    };
    if (get_le16(in) != WIRE_MAGIC || get_le32(in + 28) != low_sum(in, WIRE_HEAD_BYTES - 4) ||
        head.op == 0 || head.op >= OP_COUNT || head.lane >= LANE_COUNT)
        return ERR_CORRUPT;
    if (head.op == OP_WRITE ? head.size == 0 || head.size > TRANSPORT_WRITE_BYTES_MAX
                            : head.size > TRANSPORT_CTL_BYTES_MAX)
        return ERR_CORRUPT;
    *ret_head = head;
    return ERR_OK;
}

uint32_t wire_message_generation(const uint8_t *message, const struct wire_head *head)
{
    CHECK(head->op != OP_WRITE && head->size <= TRANSPORT_CTL_BYTES_MAX);
    return head->gen ^ low_sum(message + WIRE_HEAD_BYTES, head->size);
}

void wire_greeting_encode(const struct wire_greeting *greeting, uint8_t out[WIRE_GREETING_BYTES])
{
    put_le32(out, greeting->version);
    memcpy(out + 4, greeting->identity.cluster, 16);
    put_le32(out + 20, greeting->identity.node);
    memcpy(out + 24, greeting->identity.disk, 16);
    memcpy(out + 40, greeting->identity.incarnation, 16);
    memcpy(out + 56, greeting->nonce, 32);
    for (int lane = 0; lane < LANE_COUNT; lane++)
        put_le16(out + 88 + 2 * lane, greeting->depth[lane]);
    put_le16(out + 94, 0);
}

void wire_greeting_decode(const uint8_t in[WIRE_GREETING_BYTES], struct wire_greeting *ret_greeting)
{
    ret_greeting->version = get_le32(in);
    memcpy(ret_greeting->identity.cluster, in + 4, 16);
    ret_greeting->identity.node = get_le32(in + 20);
    memcpy(ret_greeting->identity.disk, in + 24, 16);
    memcpy(ret_greeting->identity.incarnation, in + 40, 16);
    memcpy(ret_greeting->nonce, in + 56, 32);
    for (int lane = 0; lane < LANE_COUNT; lane++)
        ret_greeting->depth[lane] = get_le16(in + 88 + 2 * lane);
}

void wire_attach_encode(const struct wire_attach *attach, uint8_t out[WIRE_ATTACH_BYTES])
{
    put_le64(out, attach->session);
    put_le32(out + 8, attach->lane);
    memcpy(out + 12, attach->token, 32);
}

void wire_attach_decode(const uint8_t in[WIRE_ATTACH_BYTES], struct wire_attach *ret_attach)
{
    ret_attach->session = get_le64(in);
    ret_attach->lane = get_le32(in + 8);
    memcpy(ret_attach->token, in + 12, 32);
}

void wire_grant_encode(const struct wire_grant *grant, uint8_t out[WIRE_GRANT_BYTES])
{
    put_le64(out, grant->size);
    put_le64(out + 8, grant->address);
    put_le32(out + 16, grant->key);
    put_le32(out + 20, grant->region);
    put_le64(out + 24, 0);
}

void wire_grant_decode(const uint8_t in[WIRE_GRANT_BYTES], struct wire_grant *ret_grant)
{
    ret_grant->size = get_le64(in);
    ret_grant->address = get_le64(in + 8);
    ret_grant->key = get_le32(in + 16);
    ret_grant->region = get_le32(in + 20);
}
