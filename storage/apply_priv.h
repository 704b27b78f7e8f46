/*
 * What the files of apply share: references to data, the release of what a name referred to, and
 * manifests under construction.
 *
 *     apply.c         mutation by mutation, effects, buckets, settings
 *     apply_data.c    data: named, referred to once more, released
 *     apply_object.c  OBJECT_PUT, OBJECT_DELETE, conditions, manifests
 *     apply_upload.c  UPLOAD_*, PART_PUT
 *     apply_gc.c      deferred deletion
 *     apply_log.c     rows of the log: appended, applied, cut off, trimmed
 *     apply_copy.c    a copy of another volume's names coming in
 *
 * References: each piece of each name holds one, however many pieces refer to the same data. So
 * letting go of a name is one step a piece, resumable at any of them. A count is stored from when
 * data is first shared (DATA_REFS_SHARD); zero marks data that waits for gc and must not be
 * referred to again.
 *
 * Records and readers: a reader who holds an object of several pieces, or of data of several
 * shards, asks for records as it goes. Such records go through KV_GC, in a batch after the one that
 * let go of the name: by then the cache has forgotten the name, so whoever still reads has the data
 * pinned, and gc leaves pinned data alone.
 */
#ifndef STORAGE_APPLY_PRIV_H
#define STORAGE_APPLY_PRIV_H

#include "storage/apply.h"
#include "storage/keys.h"
#include "storage/records.h"
#include "storage/retain.h"
#include "storage/view.h"

/* Released within a mutation's own batch; more goes through KV_GC. */
#define DIRECT_EXTENTS_MAX 64u
#define DIRECT_SHARDS_MAX  16u

static inline struct view apply__view(const struct apply *apply)
{
    return (struct view){.kv = apply->kv, .batch = apply->batch};
}

/* ---- apply.c ---- */
/* As the batch leaves it. */
bool apply__has_bucket(const struct apply *apply, struct bucket_id bucket);
/* The bucket is there and the key is one. */
enum err apply__judge_name(const struct apply *apply, struct mutation *m) MUST_USE;
/* The batch and the effects as they were when `mark` and `before` were taken. */
void apply__rollback(struct apply *apply, struct kv_mark mark, const struct effects *before);
enum err apply__publish(struct apply *apply, struct bucket_id bucket, struct bytes key) MUST_USE;
enum err apply__change_bucket(struct apply *apply, const struct bucket_info *bucket,
                              bool created) MUST_USE; /* else deleted */
enum err apply__release_extent(struct apply *apply, struct data_id data,
                               struct extent extent) MUST_USE; /* into the effects */
enum err apply__put(struct apply *apply, enum kv_family family, const struct kv_key *key,
                    const void *value, size_t size) MUST_USE;
enum err apply__delete(struct apply *apply, enum kv_family family,
                       const struct kv_key *key) MUST_USE;

/* ---- apply_data.c ---- */
/* Names a body's bytes. *ret_count: 0 for an empty body, else 1. ERR_INVALID when it does not hold
 * `size` bytes. */
enum err apply__data_add(struct apply *apply, const struct body *body, uint64_t size,
                         struct stored_piece *ret_piece, uint32_t *ret_count) MUST_USE;
/* One more reference. ERR_NO_SUCH_OBJECT when the data is gone or about to be; ERR_INVALID when the
 * piece does not lie in it. */
enum err apply__data_refer(struct apply *apply, const struct piece *piece,
                           struct stored_piece *ret_piece) MUST_USE;
/* Piece i of the mutation: refers to it, or takes over the reference that the log holds. */
enum err apply__piece_refer(struct apply *apply, const struct mutation *m, size_t i,
                            struct stored_piece *ret_piece) MUST_USE;
enum err apply__data_state(struct apply *apply, struct data_id id,
                           enum data_state *ret_state) MUST_USE;
/* Data counted as if it were here. */
enum err apply__absent_add(struct apply *apply, struct data_id id, uint64_t size) MUST_USE;
enum drop_kind {
    DROP_NAMED_NOW, /* by a name that goes, or a part, in this batch */
    DROP_MANIFEST,  /* by a manifest whose name was published as gone */
};
/* One reference less; data nobody refers to any more is deleted here if *budget extents and its
 * readers allow, else given to gc. */
enum err apply__data_drop(struct apply *apply, const struct stored_piece *piece,
                          enum drop_kind kind, uint32_t *budget) MUST_USE;
/* Deletes one shard's records and releases its extents. */
enum err apply__shard_delete(struct apply *apply, struct data_id id, uint32_t shard,
                             uint32_t *ret_extents) MUST_USE;
enum err apply__inline_delete(struct apply *apply, struct data_id id) MUST_USE;
enum err apply__references_delete(struct apply *apply, struct data_id id) MUST_USE;

/* ---- apply_object.c ---- */
/* ERR_NO_SUCH_OBJECT; the record's attrs are not to be looked at. */
enum err apply__object_get(struct apply *apply, struct bucket_id bucket, struct bytes key,
                           struct object_record *ret_object) MUST_USE;
/* NULL: absent. */
enum err apply__judge_conditions(struct mutation *m, const struct object_record *present) MUST_USE;
/* The pieces are still those of the object they were looked up in. */
enum err apply__judge_source(struct apply *apply, struct mutation *m) MUST_USE;
/* Writes the object's record under the mutation's name, lets go of what the name referred to
 * before, and publishes. */
enum err
apply__object_replace(struct apply *apply, struct mutation *m, const struct object_record *object,
                      const struct object_record *before) MUST_USE; /* NULL: nothing before */
enum err apply__object_put(struct apply *apply, struct mutation *m) MUST_USE;
enum err apply__object_delete(struct apply *apply, struct mutation *m) MUST_USE;

/* A manifest is written shard by shard as its pieces and parts come. */
struct manifest_writer {
    struct apply *apply;
    struct data_id id;
    uint64_t size; /* of all pieces so far */
    uint32_t pieces_in_all, piece_count, piece_shard;
    uint32_t parts_in_all, part_count, part_shard;
    uint64_t pieces_start, parts_start, parts_size;
    struct stored_piece first;
    struct stored_piece pieces[MANIFEST_SHARD_ENTRIES];
    struct object_part parts[MANIFEST_SHARD_ENTRIES];
};
enum err manifest__open(struct apply *apply, const struct mutation *m,
                        struct manifest_writer **ret_writer) MUST_USE;
void manifest__close(struct manifest_writer *writer);
enum err manifest__add_piece(struct manifest_writer *writer,
                             const struct stored_piece *piece) MUST_USE;
enum err manifest__add_part(struct manifest_writer *writer,
                            const struct object_part *part) MUST_USE;
/* Sets piece fields, size, parts. */
enum err manifest__finish(struct manifest_writer *writer, struct object_record *object) MUST_USE;

/* ---- apply_upload.c ---- */
enum err apply__upload_create(struct apply *apply, struct mutation *m) MUST_USE;
enum err apply__upload_complete(struct apply *apply, struct mutation *m) MUST_USE;
enum err apply__upload_abort(struct apply *apply, struct mutation *m) MUST_USE;
enum err apply__part_put(struct apply *apply, struct mutation *m) MUST_USE;
enum err apply__part_release(struct apply *apply, const struct kv_key *key, struct bytes record,
                             uint32_t *budget, uint32_t *ret_pieces) MUST_USE;

/* ---- apply_gc.c ---- */
/* Somebody holds it; the volume will be told when nobody does. */
bool apply__is_read(const struct apply *apply, struct data_id id);
enum err apply__gc_put(struct apply *apply, const struct kv_key *key,
                       const struct gc_record *gc) MUST_USE;

#endif
