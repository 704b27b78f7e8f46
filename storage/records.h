/*
 * Values of the index: how each record is written. Every record begins with a version byte (1 now);
 * integers are little-endian; bytes marked 0 are reserved and must be zero. A decoder takes bytes
 * from the disk and judges all of them: ERR_CORRUPT unless every size, count and limit holds and
 * nothing is left over; ERR_FORMAT_NEWER for a version above ours. What it returns borrows from the
 * record.
 *
 *     bucket     0 version  1 region size  2 owner size  3 0  4 le32 id  8 le64 created
 *                16 region, owner
 *     object     0 version  1 flags  2 le16 attrs size  4 le32 pieces  8 le32 parts
 *                12 le32 etag parts  16 le64 size  24 le64 mtime  32 le64 psn  40 md5 (16)
 *                56 checksum  then by flags: piece (1), manifest id (2, 16 bytes); then attrs
 *     manifest   0 version  1 0  2 le16 count  4 le32 0  8 le64 start  16 pieces, or part lines
 *                start: where its first piece, or part, begins in the object
 *     data       0 version  1 flags: absent (1)  2 0 (2)  4 le32 extents here  8 le32 sums here
 *                12 le32 extents of all shards  16 le64 size of all
 *                24 extents (le32 segment, unit, units, bytes), then sums (le64)
 *                absent (storage/log.h): shard 0 alone, without extents and sums
 *     refs       0 version  1 0 (7)  8 le64 references
 *                (KV_DATA, DATA_REFS_SHARD; written when data is first shared)
 *     inline     0 version  1 0 (7)  8 le64 XXH3-64 of the bytes  16 the bytes
 *     extent     0 version  1 0 (3)  4 le32 units  8 le32 bytes  12 le32 shard
 *                16 le32 index in the shard  20 0 (4)  24 data id (16)
 *     upload     0 version  1 0  2 le16 attrs size  4 le64 created  12 checksum wanted  then attrs
 *     part       0 version  1 0  2 le16 pieces  4 le32 etag parts  8 le64 size  16 le64 mtime
 *                24 md5 (16)  40 checksum  then pieces
 *     completed  0 version  1 0 (3)  4 le32 etag parts  8 le64 mtime
 *                16 le64 hash of the parts asked for  24 le64 XXH3-64 of bucket and key
 *                32 md5 (16)  48 checksum
 *     gc         0 version  1 0 (3)  4 le32 shards  8 le32 next shard  12 le32 next index
 *     setting    0 version  1 the value
 *     copy       0 version  1 phase (1 rows, 2 data)  2 0 (6)  8 le64 psn  16 le64 term (KV_SYS)
 *     log        0 version  1 flags: data (1), inline (2)  2 0 (6)  8 le64 term
 *                16 with data: data id (16), le64 size; then the record
 *
 *     piece      0 data id (le64, le64)  16 le64 offset  24 le64 size  32 le32 data group
 *                36 kind (0 extents, 1 inline)
 *     part line  0 le16 number  2 le64 size  10 checksum
 *     checksum   0 algorithm  1 type  2 size of value  3 0  4 value
 */
#ifndef STORAGE_RECORDS_H
#define STORAGE_RECORDS_H

#include "storage/data.h"
#include "storage/log.h"
#include "storage/object.h"

#define RECORD_VERSION         1u
#define MANIFEST_SHARD_ENTRIES 1024u
#define SETTING_BYTES_MAX      65536u
/* Of one object: 64 manifest shards; 10,000 parts of 5 MiB copied in slices need 20,000. */
#define OBJECT_PIECES_MAX 65536u
/* Of one part: 5 GiB copied out of parts of 5 MiB need 1,025. */
#define PART_PIECES_MAX 2048u
/* Every extent but the last holds at least one sum chunk. */
#define DATA_SHARD_SUMS_MAX    (DATA_SHARD_BYTES / SUM_CHUNK_BYTES)
#define DATA_SHARD_EXTENTS_MAX DATA_SHARD_SUMS_MAX
/* Completed uploads remembered, for a retried CompleteMultipartUpload. */
#define COMPLETED_RING 16384u

/* A piece as stored: storage also notes where its data is to be looked for. */
struct stored_piece {
    struct piece piece;
    bool is_inline;
};
#define PIECE_RECORD_BYTES 37u
void record_piece_put(uint8_t out[PIECE_RECORD_BYTES], const struct stored_piece *piece);

/* ---- bucket: the name is the key's ---- */
#define BUCKET_RECORD_BYTES_MAX 128u
size_t record_bucket_put(uint8_t out[BUCKET_RECORD_BYTES_MAX], const struct bucket_info *bucket);
enum err record_bucket_get(struct bytes name, struct bytes record,
                           struct bucket_info *ret_bucket) MUST_USE;

/* ---- object ---- */
struct object_record {
    struct object_info info; /* attrs borrowed */
    uint32_t piece_count;    /* 0 when empty; 1: `piece`; more: in the manifest */
    struct stored_piece piece;
    struct data_id manifest; /* none unless it has several pieces or a part table */
};
#define OBJECT_RECORD_BYTES_MAX (160u + META_BYTES_MAX)
size_t record_object_put(uint8_t out[OBJECT_RECORD_BYTES_MAX], const struct object_record *object);
enum err record_object_get(struct bytes record, struct object_record *ret_object) MUST_USE;

/* ---- manifest shards ---- */
struct manifest_record {
    uint32_t count;
    uint64_t start;
    struct bytes entries; /* borrowed */
};
size_t record_pieces_size(uint32_t count);
void record_pieces_put(uint8_t *out, uint64_t start, const struct stored_piece *pieces,
                       uint32_t count);
/* Every piece is judged. */
enum err record_pieces_get(struct bytes record, struct manifest_record *ret_shard) MUST_USE;
struct stored_piece record_pieces_at(const struct manifest_record *shard, uint32_t i);
size_t record_parts_size(const struct object_part *parts, uint32_t count);
void record_parts_put(uint8_t *out, uint64_t start, const struct object_part *parts,
                      uint32_t count);
/* Decodes the shard into parts[count at most MANIFEST_SHARD_ENTRIES]. */
enum err record_parts_get(struct bytes record, struct object_part parts[MANIFEST_SHARD_ENTRIES],
                          uint32_t *ret_count) MUST_USE;

/* ---- data ---- */
struct data_record {
    uint64_t size;  /* of the data, all shards */
    bool is_absent; /* counted, but its bytes are not here: no extents, no sums, no other shards */
    uint32_t extents_in_all;
    uint32_t extent_count, sum_count; /* here */
    const uint8_t *extents, *sums;    /* borrowed, not aligned */
};
static inline uint32_t data_shards(uint64_t size)
{
    return (uint32_t)((size + DATA_SHARD_BYTES - 1) / DATA_SHARD_BYTES);
}
static inline uint32_t record_data_shards(const struct data_record *data)
{
    return data->is_absent ? 1 : data_shards(data->size);
}
size_t record_data_size(uint32_t extent_count, uint32_t sum_count);
struct data_shard { /* what to write: extents and sums of this shard alone */
    uint64_t size;
    uint32_t extents_in_all;
    const struct extent *extents;
    uint32_t extent_count;
    const uint64_t *sums;
    uint32_t sum_count;
};
void record_data_put(uint8_t *out, const struct data_shard *shard);
#define ABSENT_RECORD_BYTES 24u
void record_absent_put(uint8_t out[ABSENT_RECORD_BYTES], uint64_t size);
/* Judges the record as shard number `shard` of its data: extents add up to the shard's bytes, there
 * is a sum for each chunk. */
enum err record_data_get(struct bytes record, uint32_t shard,
                         struct data_record *ret_data) MUST_USE;
struct extent record_data_extent(const struct data_record *data, uint32_t i);
uint64_t record_data_sum(const struct data_record *data, uint32_t i);

#define REFS_RECORD_BYTES 16u
void record_refs_put(uint8_t out[REFS_RECORD_BYTES], uint64_t references);
enum err record_refs_get(struct bytes record, uint64_t *ret_references) MUST_USE;

size_t record_inline_size(size_t size);
void record_inline_put(uint8_t *out, struct bytes data, uint64_t sum);
/* The sum is the reader's to compare. */
enum err record_inline_get(struct bytes record, struct bytes *ret_data, uint64_t *ret_sum) MUST_USE;

struct extent_record {
    uint32_t units, bytes;
    struct data_id data;
    uint32_t shard, index;
};
#define EXTENT_RECORD_BYTES 40u
void record_extent_put(uint8_t out[EXTENT_RECORD_BYTES], const struct extent_record *extent);
enum err record_extent_get(struct bytes record, struct extent_record *ret_extent) MUST_USE;

/* ---- uploads and parts ---- */
struct upload_record {
    uint64_t created_ns;
    struct checksum checksum; /* wanted */
    struct bytes attrs;       /* borrowed */
};
#define UPLOAD_RECORD_BYTES_MAX (64u + META_BYTES_MAX)
size_t record_upload_put(uint8_t out[UPLOAD_RECORD_BYTES_MAX], const struct upload_record *upload);
enum err record_upload_get(struct bytes record, struct upload_record *ret_upload) MUST_USE;

struct part_record {
    struct part_info info; /* the number is the key's */
    uint32_t piece_count;
    const uint8_t *pieces; /* borrowed */
};
#define PART_RECORD_BYTES_MAX (40u + 4u + CHECKSUM_BYTES_MAX + PART_PIECES_MAX * PIECE_RECORD_BYTES)
size_t record_part_size(const struct part_info *info, uint32_t piece_count);
void record_part_put(uint8_t *out, const struct part_info *info, const struct stored_piece *pieces,
                     uint32_t piece_count);
enum err record_part_get(uint16_t number, struct bytes record,
                         struct part_record *ret_part) MUST_USE;
struct stored_piece record_part_piece(const struct part_record *part, uint32_t i);

struct completed_record { /* what an identical retry of CompleteMultipartUpload is answered from */
    struct etag etag;
    uint64_t mtime_ns;
    uint64_t parts_hash, name_hash;
    struct checksum checksum;
};
#define COMPLETED_RECORD_BYTES_MAX 96u
size_t record_completed_put(uint8_t out[COMPLETED_RECORD_BYTES_MAX],
                            const struct completed_record *completed);
enum err record_completed_get(struct bytes record, struct completed_record *ret_completed) MUST_USE;

/* ---- deferred deletion, settings ---- */
struct gc_record {
    uint32_t shards;
    uint32_t next_shard, next_index; /* how far the work has come */
};
#define GC_RECORD_BYTES 16u
void record_gc_put(uint8_t out[GC_RECORD_BYTES], const struct gc_record *gc);
enum err record_gc_get(struct bytes record, struct gc_record *ret_gc) MUST_USE;

size_t record_setting_size(size_t size);
void record_setting_put(uint8_t *out, struct bytes value);
enum err record_setting_get(struct bytes record, struct bytes *ret_value) MUST_USE;

/* ---- the log: records_log.c ---- */
struct log_record {
    uint64_t term;
    struct log_data data; /* size 0: none */
    struct bytes record;  /* borrowed */
};
#define LOG_HEAD_BYTES 16u
size_t record_log_size(const struct log_record *row);
void record_log_put(uint8_t *out, const struct log_record *row);
enum err record_log_get(struct bytes record, struct log_record *ret_row) MUST_USE;

#endif
