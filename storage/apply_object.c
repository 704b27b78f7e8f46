#include "storage/apply_priv.h"

#include <stdlib.h>

#include "base/check.h"

/* ---- what is there now ---- */

enum err apply__object_get(struct apply *apply, struct bucket_id bucket, struct bytes key,
                           struct object_record *ret_object)
{
    struct view view = apply__view(apply);
    struct kv_key object_key;
    struct view_value value;
    key_object(&object_key, bucket, key);
    enum err e = view_get(&view, KV_OBJECT, &object_key, &value);
    if (e)
        return e;
    e = record_object_get(value.bytes, ret_object);
    view_put(&value);
    ret_object->info.attrs = (struct bytes){0};
    return e;
}

static bool etag_equal(const struct etag *a, const struct etag *b)
{
    return a->parts == b->parts && memcmp(a->md5, b->md5, sizeof a->md5) == 0;
}

enum err apply__judge_conditions(struct mutation *m, const struct object_record *present)
{
    const struct conditions *c = &m->conditions;
    if (c->if_none_match_any && present != NULL)
        return err_note(&m->trail, ERR_PRECONDITION, "there is an object");
    if ((c->if_match_any || c->has_if_match) && present == NULL)
        return err_note(&m->trail, ERR_NO_SUCH_OBJECT, "nothing to match");
    if (c->has_if_match && !etag_equal(&c->if_match, &present->info.etag))
        return err_note(&m->trail, ERR_PRECONDITION, "the etag is another");
    if (c->has_if_none_match && present != NULL &&
        etag_equal(&c->if_none_match, &present->info.etag))
        return err_note(&m->trail, ERR_PRECONDITION, "the etag is the same");
    if (c->if_psn != 0 && (present == NULL || present->info.psn != c->if_psn))
        return err_note(&m->trail, ERR_CONFLICT, "the object has changed");
    return ERR_OK;
}

enum err apply__judge_source(struct apply *apply, struct mutation *m)
{
    const struct mutation_source *source = &m->source;
    bool has_others = m->body == NULL && m->piece_count > (m->takes_reference ? 1u : 0u);
    if (source->psn == 0)
        return m->is_logged && has_others
                   ? err_note(&m->trail, ERR_INVALID, "pieces without what they were taken from")
                   : ERR_OK;
    if (source->key.size > KEY_BYTES_MAX)
        return err_note(&m->trail, ERR_INVALID, "the source's key has %zu bytes", source->key.size);
    struct object_record object;
    enum err e = apply__object_get(apply, source->bucket, source->key, &object);
    if (e && e != ERR_NO_SUCH_OBJECT)
        return e;
    if (e || object.info.psn != source->psn)
        return err_note(&m->trail, ERR_CONFLICT, "the source has changed");
    return ERR_OK;
}

/* ---- replacing and deleting ---- */

static uint32_t shards_of(uint32_t entries)
{
    return (entries + MANIFEST_SHARD_ENTRIES - 1) / MANIFEST_SHARD_ENTRIES;
}

/* Lets go of what a name referred to. With a manifest that takes more steps than one batch should
 * carry: gc walks it. */
static enum err release_object(struct apply *apply, const struct object_record *object)
{
    uint32_t budget = DIRECT_EXTENTS_MAX;
    enum err e = ERR_OK;
    if (object->piece_count == 1)
        e = apply__data_drop(apply, &object->piece, DROP_NAMED_NOW, &budget);
    if (e || data_id_is_none(object->manifest))
        return e;
    struct kv_key key;
    key_gc_id(&key, GC_MANIFEST, object->manifest);
    return apply__gc_put(apply, &key,
                         &(struct gc_record){.shards = object->piece_count > 1
                                                           ? shards_of(object->piece_count)
                                                           : 0});
}

enum err apply__object_replace(struct apply *apply, struct mutation *m,
                               const struct object_record *object,
                               const struct object_record *before)
{
    if (before != NULL) {
        enum err e = release_object(apply, before);
        if (e)
            return err_note(&m->trail, e, "release what the key held");
    }
    struct kv_key key;
    uint8_t record[OBJECT_RECORD_BYTES_MAX];
    key_object(&key, m->bucket, m->key);
    enum err e = apply__put(apply, KV_OBJECT, &key, record, record_object_put(record, object));
    return e ? e : apply__publish(apply, m->bucket, m->key);
}

enum err apply__object_delete(struct apply *apply, struct mutation *m)
{
    enum err e = apply__judge_name(apply, m);
    if (e)
        return e;
    struct object_record object;
    e = apply__object_get(apply, m->bucket, m->key, &object);
    if (e && e != ERR_NO_SUCH_OBJECT)
        return e;
    bool exists = e == ERR_OK;
    e = apply__judge_conditions(m, exists ? &object : NULL);
    if (e || !exists)
        return e;
    e = release_object(apply, &object);
    if (e)
        return err_note(&m->trail, e, "release what the key held");
    struct kv_key key;
    key_object(&key, m->bucket, m->key);
    e = apply__delete(apply, KV_OBJECT, &key);
    if (e)
        return e;
    m->existed = true;
    return apply__publish(apply, m->bucket, m->key);
}

/* ---- manifests ---- */

enum err manifest__open(struct apply *apply, const struct mutation *m,
                        struct manifest_writer **ret_writer)
{
    /* Named by the mutation that makes it: unique as that is, and the same on every node that
     * applies it. */
    struct data_id id = {.epoch = m->term, .counter = m->psn};
    if (data_id_is_none(id))
        return ERR_INTERNAL;
    struct manifest_writer *writer = malloc(sizeof *writer);
    if (writer == NULL)
        return ERR_NO_MEMORY;
    memset(writer, 0, offsetof(struct manifest_writer, pieces));
    writer->apply = apply;
    writer->id = id;
    *ret_writer = writer;
    return ERR_OK;
}

void manifest__close(struct manifest_writer *writer)
{
    free(writer);
}

static enum err flush_pieces(struct manifest_writer *writer)
{
    struct kv_key key;
    uint8_t *room;
    key_manifest(&key, writer->id, writer->piece_shard++);
    enum err e = kv_batch_reserve(writer->apply->batch, KV_MANIFEST, key_bytes(&key),
                                  record_pieces_size(writer->piece_count), &room);
    if (e)
        return e;
    record_pieces_put(room, writer->pieces_start, writer->pieces, writer->piece_count);
    writer->pieces_start = writer->size;
    writer->piece_count = 0;
    return ERR_OK;
}

enum err manifest__add_piece(struct manifest_writer *writer, const struct stored_piece *piece)
{
    if (writer->pieces_in_all == OBJECT_PIECES_MAX ||
        piece->piece.size > OBJECT_BYTES_MAX - writer->size)
        return ERR_TOO_LARGE;
    if (writer->piece_count == MANIFEST_SHARD_ENTRIES) {
        enum err e = flush_pieces(writer);
        if (e)
            return e;
    }
    if (writer->pieces_in_all++ == 0)
        writer->first = *piece;
    writer->pieces[writer->piece_count++] = *piece;
    writer->size += piece->piece.size;
    return ERR_OK;
}

static enum err flush_parts(struct manifest_writer *writer)
{
    struct kv_key key;
    uint8_t *room;
    size_t size = record_parts_size(writer->parts, writer->part_count);
    key_manifest(&key, writer->id, MANIFEST_PARTS_SHARD + writer->part_shard++);
    enum err e = kv_batch_reserve(writer->apply->batch, KV_MANIFEST, key_bytes(&key), size, &room);
    if (e)
        return e;
    record_parts_put(room, writer->parts_start, writer->parts, writer->part_count);
    writer->parts_start = writer->parts_size;
    writer->part_count = 0;
    return ERR_OK;
}

enum err manifest__add_part(struct manifest_writer *writer, const struct object_part *part)
{
    bool in_order =
        writer->parts_in_all == 0 ||
        part->number > writer->parts[(writer->parts_in_all - 1) % MANIFEST_SHARD_ENTRIES].number;
    if (part->number < 1 || part->number > PARTS_MAX || !in_order ||
        part->checksum.size > CHECKSUM_BYTES_MAX ||
        part->size > OBJECT_BYTES_MAX - writer->parts_size)
        return ERR_INVALID;
    if (writer->part_count == MANIFEST_SHARD_ENTRIES) {
        enum err e = flush_parts(writer);
        if (e)
            return e;
    }
    writer->parts_in_all++;
    writer->parts[writer->part_count++] = *part;
    writer->parts_size += part->size;
    return ERR_OK;
}

enum err manifest__finish(struct manifest_writer *writer, struct object_record *object)
{
    enum err e = ERR_OK;
    if (writer->parts_in_all > 0 && writer->parts_size != writer->size)
        return ERR_INVALID; /* a part table that is not of these pieces */
    if (writer->pieces_in_all > 1)
        e = flush_pieces(writer);
    if (e == ERR_OK && writer->part_count > 0)
        e = flush_parts(writer);
    if (e)
        return e;
    object->info.size = writer->size;
    object->info.part_count = writer->parts_in_all;
    object->piece_count = writer->pieces_in_all;
    object->piece = writer->first;
    if (writer->pieces_in_all > 1 || writer->parts_in_all > 0)
        object->manifest = writer->id;
    return ERR_OK;
}

/* ---- OBJECT_PUT ---- */

static enum err refer_to_pieces(struct apply *apply, struct mutation *m,
                                struct object_record *object)
{
    struct manifest_writer *writer = NULL;
    enum err e = manifest__open(apply, m, &writer);
    for (size_t i = 0; e == ERR_OK && i < m->piece_count; i++) {
        struct stored_piece piece;
        e = apply__piece_refer(apply, m, i, &piece);
        if (e == ERR_OK)
            e = manifest__add_piece(writer, &piece);
    }
    for (size_t i = 0; e == ERR_OK && m->parts != NULL && i < m->part_count; i++)
        e = manifest__add_part(writer, &m->parts[i]);
    if (e == ERR_OK)
        e = manifest__finish(writer, object);
    manifest__close(writer);
    return e;
}

/* The bytes the object is to have, as data named by it. */
static enum err name_bytes(struct apply *apply, struct mutation *m, struct object_record *object)
{
    enum err e;
    bool has_parts = m->parts != NULL && m->part_count > 0;
    if (m->body != NULL) {
        e = apply__data_add(apply, m->body, m->size, &object->piece, &object->piece_count);
        object->info.size = m->size;
    } else if (m->piece_count == 1 && !has_parts) {
        e = apply__piece_refer(apply, m, 0, &object->piece);
        object->piece_count = 1;
        object->info.size = m->pieces[0].size;
    } else if (m->piece_count > 0 || has_parts) {
        e = refer_to_pieces(apply, m, object);
    } else {
        e = ERR_OK; /* a copy of an empty object */
    }
    if (e)
        return err_note(&m->trail, e, "name its bytes");
    if (object->info.size != m->size)
        return err_note(&m->trail, ERR_INVALID, "pieces of %llu bytes, %llu said",
                        (unsigned long long)object->info.size, (unsigned long long)m->size);
    return ERR_OK;
}

enum err apply__object_put(struct apply *apply, struct mutation *m)
{
    enum err e = apply__judge_name(apply, m);
    if (e)
        return e;
    if (m->attrs.size > META_BYTES_MAX)
        return err_note(&m->trail, ERR_TOO_LARGE, "attributes of %zu bytes", m->attrs.size);
    if (m->checksum.size > CHECKSUM_BYTES_MAX)
        return err_note(&m->trail, ERR_INVALID, "a checksum of %u bytes", m->checksum.size);
    struct object_record before;
    e = apply__object_get(apply, m->bucket, m->key, &before);
    if (e && e != ERR_NO_SUCH_OBJECT)
        return e;
    bool exists = e == ERR_OK;
    e = apply__judge_conditions(m, exists ? &before : NULL);
    if (e)
        return e;

    e = apply__judge_source(apply, m);
    if (e)
        return e;

    struct object_record object = {
        .info =
            {
                .mtime_ns = apply->now_ns,
                .psn = m->psn,
                .etag = m->etag,
                .checksum = m->checksum,
                .attrs = m->attrs,
            },
    };
    e = name_bytes(apply, m, &object);
    if (e == ERR_OK)
        e = apply__object_replace(apply, m, &object, exists ? &before : NULL);
    if (e)
        return e;
    m->mtime_ns = object.info.mtime_ns;
    return ERR_OK;
}
