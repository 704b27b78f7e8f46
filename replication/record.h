/*
 * A record is one mutation as bytes: what a group's log holds, and what one node proposes to
 * another. It means the same on every node: data is named by its id, the time is the record's, and
 * nothing in it says where anything lies.
 *
 *     mutation --record_encode--> bytes --(PROPOSE, APPEND, the log of each node)--> record_decode
 *              --> mutation, to be applied
 *
 * The body's bytes are not in it. A mutation with a body names the data that the body is, and what
 * is applied refers to that data by a single piece, whose reference the log holds (storage/log.h).
 *
 * Bytes of version 1, little-endian. A field stands only where its bit is set, in the order of the
 * bits, and only fields of the mutation's kind may; one that says nothing is left out, so that each
 * mutation has one encoding.
 *
 *      0 u8 version   1 u8 kind   2 u8 origin   3 u8 flags   4 u32 fields
 *      8 u64 op      16 u64 now   24 data: u64 epoch, u64 counter, u64 size; zeros: none
 *     48 u64 size    56 u32 bucket   60 u16 part number   62 u16 0   64 fields
 *
 *     flags       1 the data is inline   2 must_be_new
 *     name, key, owner, region   u16 size, the bytes      attrs, if_value   u32 size, the bytes
 *     pieces      u32 count; each u64 epoch, u64 counter, u64 offset, u64 size, u32 data group
 *     parts       u32 count; each u16 number, u64 size, checksum
 *     etag        md5[16], u32 parts       checksum   u8 algorithm, u8 type, u8 size, u8 0, value
 *     upload      [16]
 *     completed   u32 count; each u16 number, etag, checksum
 *     conditions  u8 flags (1 if_none_match_any  2 if_match_any  4 if_match  8 if_none_match
 *                 16 psn), u8[3] 0, then as flagged: etag, etag, u64 psn
 *     source      u32 bucket, u64 psn, u16 size, key
 */
#ifndef REPLICATION_RECORD_H
#define REPLICATION_RECORD_H

#include "storage/log.h"
#include "storage/records.h"

#define RECORD_LOG_VERSION 1u
#define RECORD_HEAD_BYTES  64u
/* A copy of an object of 65,536 pieces and 10,000 parts has 2.8 MB. */
#define RECORD_BYTES_MAX (3u << 20)

struct record_head {
    enum mutation_kind kind;
    struct log_data data; /* what the mutation's body is; id none: no body, or an empty one */
    uint64_t now_ns;      /* taken for the time when it is applied, on every node */
    uint8_t origin;       /* index of the node whose gateway made it */
    uint64_t op;          /* that node's number for it */
};

/*
 * `head->kind` is the mutation's own. ERR_INVALID, ERR_TOO_LARGE: beyond a limit, so no node could
 * apply it; ERR_NO_MEMORY. The bytes are the caller's to free().
 */
enum err record_encode(const struct mutation *m, const struct record_head *head,
                       uint8_t **ret_record, size_t *ret_size, struct err_trail *trail) MUST_USE;

/* The head alone; the rest is not looked at. ERR_CORRUPT, ERR_FORMAT_NEWER. */
enum err record_peek(struct bytes record, struct record_head *ret_head) MUST_USE;
/* The primary's clock is the group's: a record made elsewhere gets its time where it is ordered. */
void record_stamp(uint8_t *record, size_t size, uint64_t now_ns);

struct decoded {
    /* Arguments, conditions, now_ns, magic. With data: pieces[0] is all of it, takes_reference. */
    struct mutation m;
    struct record_head head;
    struct piece piece; /* m.pieces, when there is data */
};

/* Judges everything but what only applying can tell. Names and attributes of m lie in `record`,
 * which is to stay until record_decoded_free(). ERR_CORRUPT, ERR_FORMAT_NEWER, ERR_NO_MEMORY. */
enum err record_decode(struct bytes record, struct decoded **ret_decoded) MUST_USE;
struct decoded *record_decoded_barrier(void);      /* of a record of no bytes; NULL: no memory */
void record_decoded_free(struct decoded *decoded); /* NULL does nothing */

#endif
