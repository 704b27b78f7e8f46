/*
 * Uploads: parts are put one by one, in any order and again, and completing moves their data under
 * the object's name without touching it: the references the parts held become the object's.
 *
 * A client that lost the answer to a completion asks again, so the last COMPLETED_RING completed
 * uploads are remembered: "done/" id says what was completed, "ring/" slot which id to forget when
 * the slot's turn comes round. They are not among the uploads, so no listing shows them.
 */
#include "storage/apply_priv.h"

#include <stdlib.h>

#include "base/check.h"
#include "base/digest.h"

/* ---- shared ---- */

static enum err get_upload(struct apply *apply, const struct mutation *m, struct kv_key *ret_key)
{
    struct view view = apply__view(apply);
    struct view_value value;
    key_upload(ret_key, m->bucket, m->key, &m->upload);
    enum err e = view_get(&view, KV_UPLOAD, ret_key, &value);
    if (e)
        return e == ERR_NO_SUCH_OBJECT ? ERR_NO_SUCH_UPLOAD : e;
    view_put(&value);
    return ERR_OK;
}

enum err apply__part_release(struct apply *apply, const struct kv_key *key, struct bytes record,
                             uint32_t *budget, uint32_t *ret_pieces)
{
    struct upload_id id;
    uint16_t number;
    struct part_record part;
    enum err e = key_part_parse(key_bytes(key), &id, &number);
    if (e == ERR_OK)
        e = record_part_get(number, record, &part);
    if (e)
        return e;
    *ret_pieces = part.piece_count;
    if (part.piece_count == 0)
        return ERR_OK;
    if (part.piece_count == 1) {
        struct stored_piece piece = record_part_piece(&part, 0);
        return apply__data_drop(apply, &piece, DROP_NAMED_NOW, budget);
    }
    /* The record may lie in the batch, which moves as it grows. */
    struct stored_piece *pieces = malloc(part.piece_count * sizeof *pieces);
    if (pieces == NULL)
        return ERR_NO_MEMORY;
    for (uint32_t i = 0; i < part.piece_count; i++)
        pieces[i] = record_part_piece(&part, i);
    for (uint32_t i = 0; e == ERR_OK && i < *ret_pieces; i++)
        e = apply__data_drop(apply, &pieces[i], DROP_NAMED_NOW, budget);
    free(pieces);
    return e;
}

/* ---- UPLOAD_CREATE, UPLOAD_ABORT ---- */

enum err apply__upload_create(struct apply *apply, struct mutation *m)
{
    enum err e = apply__judge_name(apply, m);
    if (e)
        return e;
    if (m->attrs.size > META_BYTES_MAX)
        return err_note(&m->trail, ERR_TOO_LARGE, "attributes of %zu bytes", m->attrs.size);
    if (m->checksum.size > CHECKSUM_BYTES_MAX)
        return err_note(&m->trail, ERR_INVALID, "a checksum of %u bytes", m->checksum.size);
    struct kv_key key;
    e = get_upload(apply, m, &key);
    if (e != ERR_NO_SUCH_UPLOAD)
        return e ? e : err_note(&m->trail, ERR_CONFLICT, "the upload id is taken");
    uint8_t record[UPLOAD_RECORD_BYTES_MAX];
    struct upload_record upload = {
        .created_ns = apply->now_ns, .checksum = m->checksum, .attrs = m->attrs};
    e = apply__put(apply, KV_UPLOAD, &key, record, record_upload_put(record, &upload));
    if (e)
        return e;
    m->mtime_ns = upload.created_ns;
    return ERR_OK;
}

enum err apply__upload_abort(struct apply *apply, struct mutation *m)
{
    enum err e = apply__judge_name(apply, m);
    if (e)
        return e;
    struct kv_key key;
    e = get_upload(apply, m, &key);
    if (e)
        return e;
    e = apply__delete(apply, KV_UPLOAD, &key);
    if (e)
        return e;
    key_gc_parts(&key, &m->upload);
    return apply__gc_put(apply, &key, &(struct gc_record){0});
}

/* ---- PART_PUT ---- */

static enum err refer_to_pieces(struct apply *apply, const struct mutation *m,
                                struct stored_piece *pieces, uint64_t *ret_size)
{
    uint64_t size = 0;
    for (size_t i = 0; i < m->piece_count; i++) {
        enum err e = apply__piece_refer(apply, m, i, &pieces[i]);
        if (e)
            return e;
        /* At most PART_PIECES_MAX times OBJECT_BYTES_MAX: no overflow. */
        size += pieces[i].piece.size;
    }
    *ret_size = size;
    return ERR_OK;
}

static enum err put_part(struct apply *apply, const struct mutation *m, const struct kv_key *key,
                         const struct stored_piece *pieces, uint32_t piece_count)
{
    struct part_info info = {
        .number = m->part_number,
        .size = m->size,
        .mtime_ns = apply->now_ns,
        .etag = m->etag,
        .checksum = m->checksum,
    };
    uint8_t *room;
    enum err e = kv_batch_reserve(apply->batch, KV_PART, key_bytes(key),
                                  record_part_size(&info, piece_count), &room);
    if (e)
        return e;
    record_part_put(room, &info, pieces, piece_count);
    return ERR_OK;
}

static enum err release_old_part(struct apply *apply, const struct kv_key *key)
{
    struct view view = apply__view(apply);
    struct view_value value;
    enum err e = view_get(&view, KV_PART, key, &value);
    if (e)
        return e == ERR_NO_SUCH_OBJECT ? ERR_OK : e;
    uint32_t budget = DIRECT_EXTENTS_MAX, pieces;
    e = apply__part_release(apply, key, value.bytes, &budget, &pieces);
    view_put(&value);
    return e;
}

/* Names the part's bytes before its predecessor's are released: a part may be copied from the
 * object it once was. */
static enum err name_part(struct apply *apply, struct mutation *m, const struct kv_key *key)
{
    if (m->body != NULL) {
        struct stored_piece piece;
        uint32_t count;
        enum err e = apply__data_add(apply, m->body, m->size, &piece, &count);
        if (e == ERR_OK)
            e = release_old_part(apply, key);
        return e ? e : put_part(apply, m, key, &piece, count);
    }
    struct stored_piece *pieces = calloc(m->piece_count + 1, sizeof *pieces);
    if (pieces == NULL)
        return ERR_NO_MEMORY;
    uint64_t size;
    enum err e = refer_to_pieces(apply, m, pieces, &size);
    if (e == ERR_OK && size != m->size)
        e = ERR_INVALID;
    if (e == ERR_OK)
        e = release_old_part(apply, key);
    if (e == ERR_OK)
        e = put_part(apply, m, key, pieces, (uint32_t)m->piece_count);
    free(pieces);
    return e;
}

enum err apply__part_put(struct apply *apply, struct mutation *m)
{
    enum err e = apply__judge_name(apply, m);
    if (e)
        return e;
    if (m->part_number < 1 || m->part_number > PARTS_MAX || m->checksum.size > CHECKSUM_BYTES_MAX)
        return err_note(&m->trail, ERR_INVALID, "part %u", m->part_number);
    if (m->size > PUT_BYTES_MAX || (m->body == NULL && m->piece_count > PART_PIECES_MAX))
        return err_note(&m->trail, ERR_TOO_LARGE, "a part of %llu bytes in %zu pieces",
                        (unsigned long long)m->size, m->piece_count);
    struct kv_key key;
    e = get_upload(apply, m, &key);
    if (e)
        return e;
    e = apply__judge_source(apply, m);
    if (e)
        return e;
    key_part(&key, &m->upload, m->part_number);
    e = name_part(apply, m, &key);
    if (e)
        return err_note(&m->trail, e, "part %u", m->part_number);
    m->mtime_ns = apply->now_ns;
    return ERR_OK;
}

/* ---- remembering completed uploads ---- */

static uint64_t hash_name(const struct mutation *m)
{
    uint8_t bytes[4 + KEY_BYTES_MAX];
    put_be32(bytes, m->bucket.value);
    memcpy(bytes + 4, m->key.data, m->key.size);
    return xxh3_64(bytes, 4 + m->key.size);
}

static uint64_t hash_parts(const struct mutation *m)
{
    uint64_t hash = m->completed_count;
    for (size_t i = 0; i < m->completed_count; i++) {
        uint8_t line[30];
        put_le64(line, hash);
        put_le16(line + 8, m->completed[i].number);
        put_le32(line + 10, m->completed[i].etag.parts);
        memcpy(line + 14, m->completed[i].etag.md5, 16);
        hash = xxh3_64(line, sizeof line);
    }
    return hash;
}

/* The upload is not there. ERR_OK when it was completed with these very parts: then the mutation is
 * answered. */
static enum err answer_from_memory(struct apply *apply, struct mutation *m)
{
    struct view view = apply__view(apply);
    struct kv_key key;
    struct view_value value;
    struct completed_record completed;
    key_completed(&key, &m->upload);
    enum err e = view_get(&view, KV_SYS, &key, &value);
    if (e)
        return e == ERR_NO_SUCH_OBJECT ? ERR_NO_SUCH_UPLOAD : e;
    e = record_completed_get(value.bytes, &completed);
    view_put(&value);
    if (e)
        return e;
    if (completed.name_hash != hash_name(m) || completed.parts_hash != hash_parts(m))
        return ERR_NO_SUCH_UPLOAD;
    m->etag = completed.etag;
    m->checksum = completed.checksum;
    m->mtime_ns = completed.mtime_ns;
    m->existed = true;
    return ERR_OK;
}

/* Forgets what had the ring's next slot and returns the slot's key. */
static enum err free_ring_slot(struct apply *apply, struct kv_key *ret_slot)
{
    struct view view = apply__view(apply);
    struct view_value value;
    struct kv_key key;
    uint64_t completed = 0;
    struct bytes counter = KEY_SYS_COMPLETED;
    memcpy(key.data, counter.data, counter.size);
    key.size = (uint16_t)counter.size;
    enum err e = view_get(&view, KV_SYS, &key, &value);
    if (e == ERR_OK) {
        if (value.bytes.size == 8)
            completed = get_le64(value.bytes.data);
        else
            e = ERR_CORRUPT;
        view_put(&value);
    }
    if (e && e != ERR_NO_SUCH_OBJECT)
        return e;
    uint8_t next[8];
    put_le64(next, completed + 1);
    e = apply__put(apply, KV_SYS, &key, next, sizeof next);
    if (e)
        return e;

    key_completed_slot(ret_slot, (uint32_t)(completed % COMPLETED_RING));
    e = view_get(&view, KV_SYS, ret_slot, &value);
    if (e)
        return e == ERR_NO_SUCH_OBJECT ? ERR_OK : e;
    struct upload_id old;
    bool is_id = value.bytes.size == sizeof old.bytes;
    if (is_id)
        memcpy(old.bytes, value.bytes.data, sizeof old.bytes);
    view_put(&value);
    if (!is_id)
        return ERR_CORRUPT;
    key_completed(&key, &old);
    return apply__delete(apply, KV_SYS, &key);
}

static enum err remember(struct apply *apply, const struct mutation *m)
{
    struct kv_key slot, key;
    enum err e = free_ring_slot(apply, &slot);
    if (e)
        return e;
    e = apply__put(apply, KV_SYS, &slot, m->upload.bytes, sizeof m->upload.bytes);
    if (e)
        return e;
    uint8_t record[COMPLETED_RECORD_BYTES_MAX];
    struct completed_record completed = {
        .etag = m->etag,
        .mtime_ns = m->mtime_ns,
        .parts_hash = hash_parts(m),
        .name_hash = hash_name(m),
        .checksum = m->checksum,
    };
    key_completed(&key, &m->upload);
    return apply__put(apply, KV_SYS, &key, record, record_completed_put(record, &completed));
}

/* ---- UPLOAD_COMPLETE ---- */

static enum err judge_part_list(struct mutation *m)
{
    if (m->completed_count == 0 || m->completed_count > PARTS_MAX)
        return err_note(&m->trail, ERR_INVALID_PART, "%zu parts", m->completed_count);
    for (size_t i = 0; i < m->completed_count; i++) {
        uint16_t number = m->completed[i].number;
        if (number < 1 || number > PARTS_MAX)
            return err_note(&m->trail, ERR_INVALID_PART, "part %u", number);
        if (i > 0 && number <= m->completed[i - 1].number)
            return err_note(&m->trail, ERR_PART_ORDER, "part %u after %u", number,
                            m->completed[i - 1].number);
    }
    return ERR_OK;
}

static bool part_is_as_said(const struct part_info *part, const struct completed_part *said)
{
    if (part->etag.parts != said->etag.parts ||
        memcmp(part->etag.md5, said->etag.md5, sizeof part->etag.md5) != 0)
        return false;
    const struct checksum *a = &part->checksum, *b = &said->checksum;
    return b->algorithm == 0 || (a->algorithm == b->algorithm && a->size == b->size &&
                                 memcmp(a->value, b->value, a->size) == 0);
}

static enum err take_part(struct manifest_writer *writer, struct mutation *m,
                          const struct part_record *part, size_t i)
{
    bool is_last = i + 1 == m->completed_count;
    if (!part_is_as_said(&part->info, &m->completed[i]))
        return err_note(&m->trail, ERR_INVALID_PART, "part %u", part->info.number);
    if (!is_last && part->info.size < PART_BYTES_MIN)
        return err_note(&m->trail, ERR_PART_TOO_SMALL, "part %u has %llu bytes", part->info.number,
                        (unsigned long long)part->info.size);
    uint32_t count = part->piece_count;
    for (uint32_t j = 0; j < count; j++) {
        struct stored_piece piece = record_part_piece(part, j);
        enum err e = manifest__add_piece(writer, &piece);
        if (e)
            return err_note(&m->trail, e, "part %u", part->info.number);
    }
    return manifest__add_part(writer, &(struct object_part){
                                          .number = part->info.number,
                                          .size = part->info.size,
                                          .checksum = part->info.checksum,
                                      });
}

struct completion {
    struct manifest_writer *writer;        /* owned */
    struct digest digest;                  /* MD5 of the parts' MD5s */
    size_t taken;                          /* of m->completed */
    uint32_t budget;                       /* extents to release directly, of parts not asked for */
    uint8_t record[PART_RECORD_BYTES_MAX]; /* the part at hand, copied: it may lie in the batch,
                                              which moves as it grows */
};

/* One part of the upload, in order of numbers: either asked for or to be released. */
static enum err complete_part(struct apply *apply, struct mutation *m, struct completion *c,
                              const struct kv_key *key, struct bytes record)
{
    struct upload_id id;
    uint16_t number;
    struct part_record part;
    enum err e = key_part_parse(key_bytes(key), &id, &number);
    if (e)
        return e;
    if (c->taken < m->completed_count && m->completed[c->taken].number < number)
        return err_note(&m->trail, ERR_INVALID_PART, "part %u is missing",
                        m->completed[c->taken].number);
    if (c->taken == m->completed_count || m->completed[c->taken].number != number) {
        uint32_t pieces;
        e = apply__part_release(apply, key, record, &c->budget, &pieces);
        return e ? e : apply__delete(apply, KV_PART, key);
    }
    e = record_part_get(number, record, &part);
    if (e)
        return e;
    digest_update(&c->digest, part.info.etag.md5, sizeof part.info.etag.md5);
    e = apply__delete(apply, KV_PART, key);
    if (e)
        return e;
    return take_part(c->writer, m, &part, c->taken++);
}

static enum err walk_parts(struct apply *apply, struct mutation *m, struct completion *c)
{
    struct view view = apply__view(apply);
    struct view_walk walk;
    struct kv_key prefix;
    key_parts(&prefix, &m->upload);
    enum err e = view_walk_open(&walk, &view, KV_PART, &prefix);
    if (e)
        return e;
    while (e == ERR_OK && view_walk_next(&walk)) {
        struct kv_key key;
        struct bytes key_here = view_walk_key(&walk);
        CHECK(key_here.size <= sizeof key.data);
        memcpy(key.data, key_here.data, key_here.size);
        key.size = (uint16_t)key_here.size;
        struct bytes record = view_walk_value(&walk);
        if (record.size > sizeof c->record) {
            e = ERR_CORRUPT;
            break;
        }
        memcpy(c->record, record.data, record.size);
        e = complete_part(apply, m, c, &key, bytes_of(c->record, record.size));
    }
    if (e == ERR_OK)
        e = view_walk_err(&walk);
    view_walk_close(&walk);
    if (e == ERR_OK && c->taken < m->completed_count)
        return err_note(&m->trail, ERR_INVALID_PART, "part %u is missing",
                        m->completed[c->taken].number);
    return e;
}

/* The upload's attributes go to the object. They are copied: the record may lie in the batch. */
static enum err get_attrs(struct apply *apply, const struct kv_key *key,
                          uint8_t attrs[META_BYTES_MAX], size_t *ret_size)
{
    struct view view = apply__view(apply);
    struct view_value value;
    struct upload_record upload;
    enum err e = view_get(&view, KV_UPLOAD, key, &value);
    if (e)
        return e;
    e = record_upload_get(value.bytes, &upload);
    if (e == ERR_OK) {
        *ret_size = upload.attrs.size;
        if (upload.attrs.size > 0)
            memcpy(attrs, upload.attrs.data, upload.attrs.size);
    }
    view_put(&value);
    return e;
}

static enum err assemble(struct apply *apply, struct mutation *m, struct object_record *object)
{
    CLEANUP(free) struct completion *c = calloc(1, sizeof *c);
    if (c == NULL)
        return ERR_NO_MEMORY;
    c->budget = DIRECT_EXTENTS_MAX;
    enum err e = manifest__open(apply, m, &c->writer);
    if (e)
        return e;
    e = digest_init(&c->digest, DIGEST_MD5);
    if (e == ERR_OK)
        e = walk_parts(apply, m, c);
    if (e == ERR_OK)
        e = manifest__finish(c->writer, object);
    manifest__close(c->writer);
    if (e) {
        digest_fini(&c->digest);
        return e;
    }
    uint8_t md5_of_md5s[DIGEST_BYTES_MAX];
    digest_final(&c->digest, md5_of_md5s);
    memcpy(object->info.etag.md5, md5_of_md5s, sizeof object->info.etag.md5);
    object->info.etag.parts = (uint32_t)m->completed_count;
    return ERR_OK;
}

enum err apply__upload_complete(struct apply *apply, struct mutation *m)
{
    enum err e = apply__judge_name(apply, m);
    if (e)
        return e;
    struct kv_key key;
    e = get_upload(apply, m, &key);
    if (e == ERR_NO_SUCH_UPLOAD)
        return answer_from_memory(apply, m);
    if (e == ERR_OK)
        e = judge_part_list(m);
    if (e)
        return e;
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

    uint8_t attrs[META_BYTES_MAX];
    struct object_record object = {
        .info = {.mtime_ns = apply->now_ns, .psn = m->psn, .checksum = m->checksum}};
    e = get_attrs(apply, &key, attrs, &object.info.attrs.size);
    object.info.attrs.data = (const char *)attrs;
    if (e == ERR_OK)
        e = assemble(apply, m, &object);
    if (e == ERR_OK)
        e = apply__delete(apply, KV_UPLOAD, &key);
    if (e == ERR_OK)
        e = apply__object_replace(apply, m, &object, exists ? &before : NULL);
    if (e)
        return e;
    m->mtime_ns = object.info.mtime_ns;
    m->etag = object.info.etag;
    m->size = object.info.size;
    return remember(apply, m);
}
