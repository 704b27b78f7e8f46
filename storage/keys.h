/*
 * Keys of the index. Each family's keys sort bytewise in the order we want to walk them; integers
 * are big-endian for that reason.
 *
 *     family    key                                           order wanted
 *     sys       a name in ASCII, some with more behind it     none
 *     bucket    name                                          name
 *     object    be32 bucket, key                              listing
 *     manifest  be64 id.epoch, be64 id.counter, be32 shard    pieces from shard 0,
 *                                                             parts from MANIFEST_PARTS_SHARD
 *     data      be64 id.epoch, be64 id.counter, be32 shard    shards; at DATA_REFS_SHARD the count
 *                                                             of references
 *     extent    be32 segment, be32 unit                       place on the disk
 *     inline    be64 id.epoch, be64 id.counter                none
 *     upload    be32 bucket, key with 00 written 00 FF,       key, then age
 *               00 01, upload id (16)
 *     part      upload id (16), be16 number                   number
 *     gc        kind (1 byte), then what is to be deleted     none
 *     log       be64 psn                                      psn
 *
 * An object's key is the last thing in its key, so its bytes stand as they are. In an upload's key
 * something follows, so a zero byte is escaped and 00 01 ends the key: 00 01 sorts below 00 FF and
 * below every other byte, so a key sorts before its extensions.
 *
 * Functions fill a struct kv_key, which is big enough for every one of them.
 */
#ifndef STORAGE_KEYS_H
#define STORAGE_KEYS_H

#include "storage/data.h"
#include "storage/kv.h"

struct kv_key {
    uint16_t size;
    uint8_t data[KV_KEY_BYTES_MAX];
};

static inline struct bytes key_bytes(const struct kv_key *key)
{
    return bytes_of(key->data, key->size);
}

/* ---- sys ----
 *
 *     uuid         16 bytes: the superblock's volume uuid
 *     commit_seq   le64, grows with each batch
 *     last_psn     le64, of the last mutation numbered before that batch
 *     next_bucket  le32
 *     completed    le64: uploads completed so far
 *     log_first    le64: rows of the log below it do not count any more
 *     log_state    what the layer above the log keeps beside it
 *     copy         while the volume is being copied: how far that is (records.h)
 *     seg/ be32    a segment
 *     set/ name    a setting; the name has at most SETTING_NAME_BYTES_MAX
 *     done/ id     the memory of a completed upload (records.h)
 *     ring/ be32   upload id: whose memory to drop when the ring of COMPLETED_RING comes round
 */
#define KEY_SYS_UUID        BYTES("uuid")
#define KEY_SYS_COMMIT_SEQ  BYTES("commit_seq")
#define KEY_SYS_LAST_PSN    BYTES("last_psn")
#define KEY_SYS_NEXT_BUCKET BYTES("next_bucket")
#define KEY_SYS_COMPLETED   BYTES("completed")
#define KEY_SYS_LOG_FIRST   BYTES("log_first")
#define KEY_SYS_LOG_STATE   BYTES("log_state")
#define KEY_SYS_COPY        BYTES("copy")
void key_segment(struct kv_key *key, uint32_t segment);
void key_setting(struct kv_key *key, struct bytes name);
void key_completed(struct kv_key *key, const struct upload_id *id);
void key_completed_slot(struct kv_key *key, uint32_t slot);
#define KEY_SETTING_PREFIX     BYTES("set/")
#define KEY_SEGMENT_PREFIX     BYTES("seg/")
#define SETTING_NAME_BYTES_MAX 512u

/* ---- names ---- */
void key_bucket(struct kv_key *key, struct bytes name);
/* Also of a name's beginning, for bounds. */
void key_object(struct kv_key *key, struct bucket_id bucket, struct bytes name);
void key_upload(struct kv_key *key, struct bucket_id bucket, struct bytes name,
                const struct upload_id *id);
/* Below every upload whose name begins so. */
void key_upload_prefix(struct kv_key *key, struct bucket_id bucket, struct bytes name_prefix);
/* Above every upload of just that name. */
void key_upload_after_name(struct kv_key *key, struct bucket_id bucket, struct bytes name);
void key_part(struct kv_key *key, const struct upload_id *id, uint16_t number);
/* The beginning all parts of the upload share. */
void key_parts(struct kv_key *key, const struct upload_id *id);

/* ---- data ---- */
#define DATA_REFS_SHARD      UINT32_MAX /* absent: one reference */
#define MANIFEST_PARTS_SHARD 0x80000000u
void key_data(struct kv_key *key, struct data_id id, uint32_t shard);
void key_inline(struct kv_key *key, struct data_id id);
void key_extent(struct kv_key *key, uint32_t segment, uint32_t unit);
void key_manifest(struct kv_key *key, struct data_id id, uint32_t shard);

/* ---- deferred deletion: what is to be deleted is the key, so asking twice is asking once ---- */
enum gc_kind {
    GC_DATA = 'd',     /* data_id: shards and extents of data without references */
    GC_MANIFEST = 'm', /* data_id: references of a manifest's pieces, then the manifest */
    GC_PARTS = 'p',    /* upload id: parts of an upload that was aborted */
    GC_UPLOADS = 'u',  /* be32 bucket: uploads of a deleted bucket */
};
void key_gc_id(struct kv_key *key, enum gc_kind kind, struct data_id id);
void key_gc_parts(struct kv_key *key, const struct upload_id *id);
void key_gc_uploads(struct kv_key *key, struct bucket_id bucket);

/* ---- the log ---- */
void key_log(struct kv_key *key, uint64_t psn);

/* The first key above all that begin with `key`; size 0 when there is none. Bounds of walks. */
void key_successor(struct kv_key *key);

/* ---- the way back. ERR_CORRUPT when the bytes are no such key ---- */
enum err key_segment_parse(struct bytes key, uint32_t *ret_segment) MUST_USE;
enum err key_log_parse(struct bytes key, uint64_t *ret_psn) MUST_USE;
enum err key_object_parse(struct bytes key, struct bucket_id *ret_bucket,
                          struct bytes *ret_name) MUST_USE; /* name: borrowed from key */
enum err key_extent_parse(struct bytes key, uint32_t *ret_segment, uint32_t *ret_unit) MUST_USE;
/* Also KV_MANIFEST. */
enum err key_data_parse(struct bytes key, struct data_id *ret_id, uint32_t *ret_shard) MUST_USE;
enum err key_inline_parse(struct bytes key, struct data_id *ret_id) MUST_USE;
enum err key_upload_parse(struct bytes key, struct bucket_id *ret_bucket, char name[KEY_BYTES_MAX],
                          size_t *ret_name_size, struct upload_id *ret_id) MUST_USE;
enum err key_part_parse(struct bytes key, struct upload_id *ret_id, uint16_t *ret_number) MUST_USE;
/* Sets the one that goes with the kind. */
enum err key_gc_parse(struct bytes key, enum gc_kind *ret_kind, struct data_id *ret_id,
                      struct upload_id *ret_upload, struct bucket_id *ret_bucket) MUST_USE;

#endif
