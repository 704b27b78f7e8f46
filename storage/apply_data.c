#include "storage/apply_priv.h"

#include "base/check.h"

/* ---- a body's bytes get their records ---- */

static enum err add_extents(struct apply *apply, struct data_id id, uint32_t shard_number,
                            const struct data_shard *shard)
{
    for (uint32_t i = 0; i < shard->extent_count; i++) {
        const struct extent *extent = &shard->extents[i];
        struct kv_key key;
        uint8_t record[EXTENT_RECORD_BYTES];
        key_extent(&key, extent->segment, extent->unit);
        record_extent_put(record, &(struct extent_record){
                                      .units = extent->units,
                                      .bytes = extent->bytes,
                                      .data = id,
                                      .shard = shard_number,
                                      .index = i,
                                  });
        enum err e = apply__put(apply, KV_EXTENT, &key, record, sizeof record);
        if (e)
            return e;
    }
    return ERR_OK;
}

/* Cuts the next shard off *rest: as many extents as hold the shard's bytes. */
static struct data_shard cut_shard(struct data_layout *rest, uint64_t size_left)
{
    uint64_t here = size_left < DATA_SHARD_BYTES ? size_left : DATA_SHARD_BYTES;
    struct data_shard shard = {
        .size = rest->size,
        .extents = rest->extents,
        .sums = rest->sums,
        .sum_count = (uint32_t)((here + SUM_CHUNK_BYTES - 1) / SUM_CHUNK_BYTES),
    };
    uint64_t bytes = 0;
    while (bytes < here) {
        CHECK(shard.extent_count < rest->extent_count);
        bytes += shard.extents[shard.extent_count++].bytes;
    }
    CHECK(bytes == here); /* a body's extents do not cross shards */
    CHECK(shard.sum_count <= rest->sum_count);
    rest->extents += shard.extent_count;
    rest->extent_count -= shard.extent_count;
    rest->sums += shard.sum_count;
    rest->sum_count -= shard.sum_count;
    return shard;
}

static enum err add_shards(struct apply *apply, const struct data_layout *layout)
{
    struct data_layout rest = *layout;
    for (uint32_t i = 0; i < data_shards(layout->size); i++) {
        struct data_shard shard = cut_shard(&rest, layout->size - i * DATA_SHARD_BYTES);
        shard.extents_in_all = layout->extent_count;
        struct kv_key key;
        uint8_t *room;
        key_data(&key, layout->id, i);
        enum err e = kv_batch_reserve(apply->batch, KV_DATA, key_bytes(&key),
                                      record_data_size(shard.extent_count, shard.sum_count), &room);
        if (e)
            return e;
        record_data_put(room, &shard);
        e = add_extents(apply, layout->id, i, &shard);
        if (e)
            return e;
    }
    CHECK(rest.extent_count == 0 && rest.sum_count == 0);
    return ERR_OK;
}

static enum err add_inline(struct apply *apply, const struct data_layout *layout)
{
    struct kv_key key;
    uint8_t *room;
    key_inline(&key, layout->id);
    enum err e = kv_batch_reserve(apply->batch, KV_INLINE, key_bytes(&key),
                                  record_inline_size(layout->size), &room);
    if (e)
        return e;
    record_inline_put(room, bytes_of(layout->inline_data, layout->size), layout->inline_sum);
    return ERR_OK;
}

enum err apply__data_add(struct apply *apply, const struct body *body, uint64_t size,
                         struct stored_piece *ret_piece, uint32_t *ret_count)
{
    struct data_layout layout;
    body__layout(body, &layout);
    if (layout.size != size)
        return ERR_INVALID;
    *ret_count = 0;
    if (size == 0)
        return ERR_OK; /* nothing to refer to */
    CHECK(!data_id_is_none(layout.id));
    enum err e = layout.is_inline ? add_inline(apply, &layout) : add_shards(apply, &layout);
    if (e)
        return e;
    *ret_count = 1;
    *ret_piece = (struct stored_piece){
        .piece = {.data = layout.id, .size = size},
        .is_inline = layout.is_inline,
    };
    return ERR_OK;
}

/* ---- references ---- */

/* *ret_shared: somebody else refers to it, or did once: the count is written down. */
static enum err get_references(struct apply *apply, struct data_id id, uint64_t *ret_references,
                               bool *ret_shared)
{
    struct view view = apply__view(apply);
    struct kv_key key;
    struct view_value value;
    key_data(&key, id, DATA_REFS_SHARD);
    enum err e = view_get(&view, KV_DATA, &key, &value);
    *ret_shared = e == ERR_OK;
    if (e == ERR_NO_SUCH_OBJECT) {
        *ret_references = 1;
        return ERR_OK;
    }
    if (e)
        return e;
    e = record_refs_get(value.bytes, ret_references);
    view_put(&value);
    return e;
}

static enum err set_references(struct apply *apply, struct data_id id, uint64_t references)
{
    struct kv_key key;
    uint8_t record[REFS_RECORD_BYTES];
    key_data(&key, id, DATA_REFS_SHARD);
    record_refs_put(record, references);
    return apply__put(apply, KV_DATA, &key, record, sizeof record);
}

static enum err inline_size(struct apply *apply, struct data_id id, uint64_t *ret_size)
{
    struct view view = apply__view(apply);
    struct kv_key key;
    struct view_value value;
    key_inline(&key, id);
    enum err e = view_get(&view, KV_INLINE, &key, &value);
    if (e)
        return e;
    struct bytes data;
    uint64_t sum;
    e = record_inline_get(value.bytes, &data, &sum);
    if (e == ERR_OK)
        *ret_size = data.size;
    view_put(&value);
    return e;
}

/* What the first shard tells of all. */
struct data_head {
    uint64_t size;
    uint32_t extents, shards;
};

static enum err get_head(struct apply *apply, struct data_id id, struct data_head *ret_head)
{
    struct view view = apply__view(apply);
    struct kv_key key;
    struct view_value value;
    key_data(&key, id, 0);
    enum err e = view_get(&view, KV_DATA, &key, &value);
    if (e)
        return e;
    struct data_record data;
    e = record_data_get(value.bytes, 0, &data);
    if (e == ERR_OK)
        *ret_head = (struct data_head){
            .size = data.size, .extents = data.extents_in_all, .shards = record_data_shards(&data)};
    view_put(&value);
    return e;
}

/* Where the piece's data is, and that the piece lies in it. */
static enum err find_piece(struct apply *apply, const struct piece *piece,
                           struct stored_piece *ret_piece)
{
    struct stored_piece stored = {.piece = *piece};
    uint64_t size = 0;
    if (piece->size == 0 || piece->size > OBJECT_BYTES_MAX || piece->offset > OBJECT_BYTES_MAX ||
        data_id_is_none(piece->data))
        return ERR_INVALID;
    enum err e = ERR_NO_SUCH_OBJECT;
    if (piece->offset + piece->size <= INLINE_BYTES_MAX)
        e = inline_size(apply, piece->data, &size);
    stored.is_inline = e == ERR_OK;
    if (e == ERR_NO_SUCH_OBJECT) {
        struct data_head head;
        e = get_head(apply, piece->data, &head);
        size = e ? 0 : head.size;
    }
    if (e)
        return e;
    if (piece->offset + piece->size > size)
        return ERR_INVALID;
    *ret_piece = stored;
    return ERR_OK;
}

enum err apply__data_refer(struct apply *apply, const struct piece *piece,
                           struct stored_piece *ret_piece)
{
    uint64_t references;
    bool is_shared;
    enum err e = find_piece(apply, piece, ret_piece);
    if (e == ERR_OK)
        e = get_references(apply, piece->data, &references, &is_shared);
    if (e)
        return e;
    if (references == 0)
        return ERR_NO_SUCH_OBJECT; /* waits for gc: too late to be referred to */
    return set_references(apply, piece->data, references + 1);
}

enum err apply__piece_refer(struct apply *apply, const struct mutation *m, size_t i,
                            struct stored_piece *ret_piece)
{
    bool is_taken = m->takes_reference && i == 0;
    enum err e = is_taken ? find_piece(apply, &m->pieces[i], ret_piece)
                          : apply__data_refer(apply, &m->pieces[i], ret_piece);
    /* Elsewhere it was there, and whatever could have let go of it was ruled out by the source. */
    return e == ERR_NO_SUCH_OBJECT && m->is_logged ? ERR_CORRUPT : e;
}

/* ---- data named by the log alone ---- */

enum err apply__data_state(struct apply *apply, struct data_id id, enum data_state *ret_state)
{
    struct data_head head;
    uint64_t size, references;
    bool is_shared;
    enum err e = inline_size(apply, id, &size);
    if (e == ERR_NO_SUCH_OBJECT)
        e = get_head(apply, id, &head);
    if (e == ERR_NO_SUCH_OBJECT) {
        *ret_state = DATA_NONE;
        return ERR_OK;
    }
    if (e == ERR_OK)
        e = get_references(apply, id, &references, &is_shared);
    if (e == ERR_OK)
        *ret_state = references == 0 ? DATA_GOING : DATA_HERE;
    return e;
}

enum err apply__absent_add(struct apply *apply, struct data_id id, uint64_t size)
{
    struct kv_key key;
    uint8_t record[ABSENT_RECORD_BYTES];
    key_data(&key, id, 0);
    record_absent_put(record, size);
    return apply__put(apply, KV_DATA, &key, record, sizeof record);
}

/* ---- letting go ---- */

enum err apply__shard_delete(struct apply *apply, struct data_id id, uint32_t shard,
                             uint32_t *ret_extents)
{
    struct view view = apply__view(apply);
    struct kv_key key;
    struct view_value value;
    key_data(&key, id, shard);
    enum err e = view_get(&view, KV_DATA, &key, &value);
    if (e)
        return e == ERR_NO_SUCH_OBJECT ? ERR_CORRUPT : e;
    struct data_record data;
    e = record_data_get(value.bytes, shard, &data);
    /* First into the effects: the record may lie in the batch, and adding to that may move it. */
    size_t first = apply->effects->released_count;
    for (uint32_t i = 0; e == ERR_OK && i < data.extent_count; i++)
        e = apply__release_extent(apply, id, record_data_extent(&data, i));
    view_put(&value);
    if (e)
        return e;
    *ret_extents = data.extent_count;
    for (size_t i = first; i < apply->effects->released_count; i++) {
        struct kv_key extent_key;
        const struct extent *extent = &apply->effects->released[i].extent;
        key_extent(&extent_key, extent->segment, extent->unit);
        e = apply__delete(apply, KV_EXTENT, &extent_key);
        if (e)
            return e;
    }
    return apply__delete(apply, KV_DATA, &key);
}

/* Nobody refers to it any more, but it goes in a later batch. */
static enum err defer(struct apply *apply, struct data_id id, uint32_t shards)
{
    struct kv_key key;
    enum err e = set_references(apply, id, 0);
    if (e)
        return e;
    key_gc_id(&key, GC_DATA, id);
    return apply__gc_put(apply, &key, &(struct gc_record){.shards = shards});
}

/*
 * Whether records may go in this batch as far as readers are concerned. Readers of one piece of one
 * shard have all of it in memory, and data never shared has no others. Of the rest it is known only
 * once the names that referred to it are published as gone, which those of this batch are not: a
 * reader could still look them up, after the pins were asked.
 */
static bool has_no_readers(const struct apply *apply, struct data_id id, enum drop_kind kind,
                           bool is_shared, uint32_t shards)
{
    if (kind == DROP_NAMED_NOW)
        return !is_shared && shards <= 1;
    struct kv_key key;
    struct bytes value;
    key_data(&key, id, DATA_REFS_SHARD);
    bool is_touched = kv_batch_find(apply->batch, KV_DATA, key_bytes(&key), &value) >= 0;
    return !is_touched && !apply__is_read(apply, id);
}

enum err apply__inline_delete(struct apply *apply, struct data_id id)
{
    struct kv_key key;
    key_inline(&key, id);
    return apply__delete(apply, KV_INLINE, &key);
}

static enum err delete_shards(struct apply *apply, struct data_id id, uint32_t shards)
{
    for (uint32_t i = 0; i < shards; i++) {
        uint32_t extents;
        enum err e = apply__shard_delete(apply, id, i, &extents);
        if (e)
            return e;
    }
    return ERR_OK;
}

/* Its last reference went. `head`: of data that is not inline. */
static enum err delete_data(struct apply *apply, const struct stored_piece *piece,
                            const struct data_head *head, bool is_shared)
{
    struct data_id id = piece->piece.data;
    enum err e =
        piece->is_inline ? apply__inline_delete(apply, id) : delete_shards(apply, id, head->shards);
    return e || !is_shared ? e : apply__references_delete(apply, id);
}

enum err apply__references_delete(struct apply *apply, struct data_id id)
{
    struct kv_key key;
    key_data(&key, id, DATA_REFS_SHARD);
    return apply__delete(apply, KV_DATA, &key);
}

enum err apply__data_drop(struct apply *apply, const struct stored_piece *piece,
                          enum drop_kind kind, uint32_t *budget)
{
    struct data_id id = piece->piece.data;
    struct data_head head = {0};
    uint64_t references;
    bool is_shared, is_last;
    enum err e = get_references(apply, id, &references, &is_shared);
    is_last = e == ERR_OK && references == 1;
    if (is_last && !piece->is_inline)
        e = get_head(apply, id, &head);
    if (e)
        return is_last && e == ERR_NO_SUCH_OBJECT ? ERR_CORRUPT : e;
    bool fits = head.extents <= *budget && head.shards <= DIRECT_SHARDS_MAX;
    bool is_free = is_last && fits && has_no_readers(apply, id, kind, is_shared, head.shards);
    switch (retain_drop(references, fits, is_free)) {
    case RETAIN_DROP_NONE:
        return ERR_CORRUPT; /* a name still refers to what no name should */
    case RETAIN_DROP_ONE:
        return set_references(apply, id, references - 1);
    case RETAIN_DROP_LATER:
        return defer(apply, id, head.shards);
    case RETAIN_DROP_NOW:
        break;
    }
    *budget -= head.extents;
    return delete_data(apply, piece, &head, is_shared);
}
