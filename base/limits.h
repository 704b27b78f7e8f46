/*
 * Every maximum with its reason, and the inequalities between them checked by the compiler.
 */
#ifndef BASE_LIMITS_H
#define BASE_LIMITS_H

#include <stdint.h>

#define KIB(n) ((uint64_t)(n) << 10)
#define MIB(n) ((uint64_t)(n) << 20)
#define GIB(n) ((uint64_t)(n) << 30)
#define TIB(n) ((uint64_t)(n) << 40)

/* ---- S3's own ---- */
/* docs.aws.amazon.com: "Amazon S3 multipart upload limits", "Naming objects", "UserMetadata". */
#define KEY_BYTES_MAX         1024u
#define BUCKET_NAME_BYTES_MIN 3u
#define BUCKET_NAME_BYTES_MAX 63u
#define PUT_BYTES_MAX         GIB(5)
#define OBJECT_BYTES_MAX      TIB(50)
#define PARTS_MAX             10000u
#define PART_BYTES_MIN        MIB(5)
#define LIST_KEYS_MAX         1000u
#define DELETE_KEYS_MAX       1000u
#define USER_META_BYTES_MAX   2048u
#define POLICY_BYTES_MAX      KIB(20)

/* ---- requests ---- */
/* Presigned URL (8 KiB) + 2 KiB metadata + cookies of a browser. */
#define HTTP_HEAD_BYTES_MAX   16384u
#define HTTP_HEADERS_MAX      100u
#define HTTP_URI_BYTES_MAX    8192u /* 1,024 byte key, every byte %-coded, and a presigned query */
#define HTTP_METHOD_BYTES_MAX 32u   /* longer than any registered method */
/* Chunk size, extensions: nobody sends extensions, so nobody misses longer ones. */
#define HTTP_CHUNK_LINE_BYTES_MAX 256u
/* Framing beyond what honest chunks need; see api/http/framing.h. */
#define HTTP_CHUNK_WASTE_BYTES_MAX   16384u
#define HTTP_TRAILER_LINE_BYTES_MAX  512u /* a checksum or a signature, and its name */
#define HTTP_TRAILERS_MAX            16u
#define HTTP_RESPONSE_HEAD_BYTES_MAX 14336u /* META_BYTES_MAX of stored headers and our own */
/* A part's head in multipart/byteranges: boundary, Content-Range, a Content-Type of sane length. */
#define HTTP_PIECE_TEXT_BYTES_MAX 512u
/* CompleteMultipartUpload of 10,000 parts with checksums, DeleteObjects of 1,000 keys of 1 KiB. */
#define XML_BODY_BYTES_MAX MIB(4)

/* ---- storage ---- */
#define UNIT_BYTES 4096u /* allocation unit: O_DIRECT's alignment on every disk we know */
/* One XXH3-64 each: 128 B of sums a MiB, 64 KiB of read amplification at a range's edge. */
#define SUM_CHUNK_BYTES 65536u
/* Measured: GET of 16 KiB from memory 10.7 us of CPU, by sendfile 11.4; at 32 KiB equal. PUT 1.7 x
 * faster at 8 KiB. */
#define INLINE_BYTES_MAX 16384u
#define EXTENT_BYTES_MAX MIB(16)
#define DATA_SHARD_BYTES MIB(256) /* one `dat` record: at most 4096 sums */
#define META_BYTES_MAX   8192u    /* headers stored with one object */

_Static_assert(EXTENT_BYTES_MAX % SUM_CHUNK_BYTES == 0, "a sum chunk never spans extents");
_Static_assert(SUM_CHUNK_BYTES % UNIT_BYTES == 0, "sum chunks are whole units");
_Static_assert(DATA_SHARD_BYTES % EXTENT_BYTES_MAX == 0, "an extent never spans shards");
_Static_assert(HTTP_RESPONSE_HEAD_BYTES_MAX >= META_BYTES_MAX + KIB(4),
               "whatever can be stored can be answered");
_Static_assert(PART_BYTES_MIN > INLINE_BYTES_MAX,
               "a part of a multipart object is never inline but the last");

#endif
