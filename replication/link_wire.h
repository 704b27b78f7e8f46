/*
 * What links put into messages and landing slots (replication/link.h), little-endian.
 *
 * A CTL message begins with 8 bytes:
 *
 *     0  u8  type    enum link_ctl_type
 *     1  u8  zero
 *     2  u16 count   RETURN: BULK slots that follow      otherwise 0
 *     4  u32 meta    META slots given back so far in this connection; wraps
 *
 *   READY   u16 version, u16 META slots, u16 BULK slots, u16 zero, u64 bytes of the area lent:
 *           "I have your area and you mine"; the first message of each side
 *   RETURN  count times { u8 slot, u8 word, u16 use }: BULK slots given back
 *   ABOVE   the layer's above
 *
 * A META slot, 64 bytes and the payload:
 *
 *     0  u32 magic   "SLme"
 *     4  u32 use     of this slot in this connection, from 1
 *     8  u16 slot
 *    10  u8  kind    the layer's above
 *    11  u8  zero
 *    12  u32 size    of the payload in this slot
 *    16  u32 total   of the message
 *    20  u32 offset  of this payload in the message
 *    24  u64 sum     XXH3-64 of the payload
 *    32  u8 zero[24]
 *    56  u64 check   XXH3-64 of bytes 0..55
 *
 * A BULK slot: its first page ends with these 256 bytes, the payload follows, aligned:
 *
 *     0  u32 magic   "SLbu"
 *     4  u32 use
 *     8  u16 slot
 *    10  u8  last    1: the data's last chunk
 *    11  u8  sums    how many: 0, or one a SUM_CHUNK_BYTES begun
 *    12  u32 size    of the payload
 *    16  u64 epoch, u64 counter of the data's id
 *    32  u64 data    size of the whole; all ones: not known
 *    40  u64 offset
 *    48  u64 sum[16] XXH3-64 of each SUM_CHUNK_BYTES of the payload
 *   176  u8 zero[72]
 *   248  u64 check   XXH3-64 of bytes 0..247
 *
 * The immediate value that comes with a write names the slot (high half) and the low half of its
 * use; the rest of the proof is in the slot itself.
 */
#ifndef REPLICATION_LINK_WIRE_H
#define REPLICATION_LINK_WIRE_H

#include "replication/link.h"

#define LINK_WIRE_VERSION     2u
#define LINK_CTL_HEAD_BYTES   8u
#define LINK_READY_BYTES      16u
#define LINK_RETURN_BYTES     4u /* each */
#define LINK_RETURNS_MAX      (LINK_CTL_BYTES_MAX / LINK_RETURN_BYTES)
#define LINK_META_HEAD_BYTES  64u
#define LINK_CHUNK_WIRE_BYTES 256u

_Static_assert(LINK_CTL_HEAD_BYTES + LINK_CTL_BYTES_MAX == TRANSPORT_CTL_BYTES_MAX, "");
_Static_assert(LINK_MESSAGE_SLOT_BYTES == LINK_META_SLOT_BYTES - LINK_META_HEAD_BYTES, "");
_Static_assert(LINK_CHUNK_WIRE_BYTES <= LINK_BULK_HEAD_BYTES, "in front of the payload");
_Static_assert(LINK_CHUNK_BYTES_MAX == LINK_CHUNK_SUMS_MAX * SUM_CHUNK_BYTES, "");
_Static_assert(LINK_BULK_SLOT_BYTES <= TRANSPORT_WRITE_BYTES_MAX, "one write a slot");
_Static_assert(LINK_META_SLOTS_MAX * 2 <= TRANSPORT_META_DEPTH, "");
_Static_assert(LINK_BULK_SLOTS_MAX <= TRANSPORT_BULK_DEPTH, "");

enum link_ctl_type { LINK_CTL_READY = 1, LINK_CTL_RETURN, LINK_CTL_ABOVE };

struct link_ctl_head {
    uint8_t type;
    uint16_t count;
    uint32_t meta;
};
void link_ctl_head_encode(const struct link_ctl_head *head, uint8_t out[LINK_CTL_HEAD_BYTES]);
/* `size` of the whole message. ERR_CORRUPT: no message of ours, or not of that size. */
enum err link_ctl_head_decode(const uint8_t *in, size_t size,
                              struct link_ctl_head *ret_head) MUST_USE;

/* Body of READY: what was lent. */
void link_ready_encode(uint64_t area_bytes, uint8_t out[LINK_READY_BYTES]);
/* ERR_UNSUPPORTED: another version, or slots cut another way than ours of that size. */
enum err link_ready_decode(const uint8_t in[LINK_READY_BYTES], uint64_t *ret_area_bytes) MUST_USE;

struct link_return {
    uint8_t slot, word;
    uint16_t use;
};
void link_return_encode(const struct link_return *one, uint8_t out[LINK_RETURN_BYTES]);
void link_return_decode(const uint8_t in[LINK_RETURN_BYTES], struct link_return *ret_one);
/* What becomes of a chunk, in a byte that means the same in every version. */
uint8_t link_word_of(enum err e);
enum err link_word_err(uint8_t word); /* one we do not know: ERR_IO */

struct link_meta_head {
    uint32_t use;
    uint16_t slot;
    uint8_t kind;
    uint32_t size, total, offset;
    uint64_t sum;
};
void link_meta_head_encode(const struct link_meta_head *head, uint8_t out[LINK_META_HEAD_BYTES]);
/* ERR_CORRUPT: not ours, damaged, or sizes that are no part of a message. */
enum err link_meta_head_decode(const uint8_t in[LINK_META_HEAD_BYTES],
                               struct link_meta_head *ret_head) MUST_USE;

void link_chunk_head_encode(const struct link_chunk_head *head, uint16_t slot, uint32_t use,
                            uint8_t out[LINK_CHUNK_WIRE_BYTES]);
/* ERR_CORRUPT likewise. */
enum err link_chunk_head_decode(const uint8_t in[LINK_CHUNK_WIRE_BYTES],
                                struct link_chunk_head *ret_head, uint16_t *ret_slot,
                                uint32_t *ret_use) MUST_USE;
/* Whether what a head says is possible: asked on both sides. */
bool link_chunk_head_is_sane(const struct link_chunk_head *head);

static inline uint32_t link_imm(uint32_t slot, uint32_t use)
{
    return slot << 16 | (use & 0xffffu);
}

#endif
