#include "storage/records.h"

#include "base/check.h"

#define DATA_ID_BYTES       16u
#define CHECKSUM_HEAD_BYTES 4u
#define OBJECT_HEAD_BYTES   56u
#define MANIFEST_HEAD_BYTES 16u
#define DATA_HEAD_BYTES     24u
#define EXTENT_BYTES        16u
#define INLINE_HEAD_BYTES   16u
#define PART_HEAD_BYTES     40u
#define PART_LINE_BYTES     10u /* before its checksum */

#define DATA_IS_ABSENT 1u

_Static_assert(ABSENT_RECORD_BYTES == DATA_HEAD_BYTES, "absent data has a head and nothing else");

enum object_flags {
    OBJECT_HAS_PIECE = 1,
    OBJECT_HAS_MANIFEST = 2,
};

_Static_assert(OBJECT_HEAD_BYTES + CHECKSUM_HEAD_BYTES + CHECKSUM_BYTES_MAX + PIECE_RECORD_BYTES +
                       DATA_ID_BYTES + META_BYTES_MAX <=
                   OBJECT_RECORD_BYTES_MAX,
               "an object's record fits its buffer");
_Static_assert(OBJECT_PIECES_MAX / MANIFEST_SHARD_ENTRIES < 65536,
               "shards of pieces stay below those of parts");

/* A record of this version with at least `head` bytes. */
static enum err judge_head(struct bytes record, size_t head)
{
    if (record.size < 1)
        return ERR_CORRUPT;
    if ((uint8_t)record.data[0] > RECORD_VERSION)
        return ERR_FORMAT_NEWER;
    if ((uint8_t)record.data[0] != RECORD_VERSION || record.size < head)
        return ERR_CORRUPT;
    return ERR_OK;
}

static bool all_zero(const char *data, size_t size)
{
    for (size_t i = 0; i < size; i++)
        if (data[i] != 0)
            return false;
    return true;
}

/* Cuts `size` bytes off the front of *rest; NULL when there are not as many. */
static const char *cut(struct bytes *rest, size_t size)
{
    if (rest->size < size)
        return NULL;
    const char *front = rest->data;
    rest->data += size;
    rest->size -= size;
    return front;
}

static void start_record(uint8_t *out, size_t head)
{
    memset(out, 0, head);
    out[0] = RECORD_VERSION;
}

static void put_data_id(uint8_t *out, struct data_id id)
{
    put_le64(out, id.epoch);
    put_le64(out + 8, id.counter);
}

static struct data_id get_data_id(const void *data)
{
    const uint8_t *bytes = data;
    return (struct data_id){.epoch = get_le64(bytes), .counter = get_le64(bytes + 8)};
}

static size_t checksum_size(const struct checksum *checksum)
{
    CHECK(checksum->size <= CHECKSUM_BYTES_MAX);
    return CHECKSUM_HEAD_BYTES + checksum->size;
}

static size_t put_checksum(uint8_t *out, const struct checksum *checksum)
{
    size_t size = checksum_size(checksum);
    out[0] = checksum->algorithm;
    out[1] = checksum->type;
    out[2] = checksum->size;
    out[3] = 0;
    memcpy(out + CHECKSUM_HEAD_BYTES, checksum->value, checksum->size);
    return size;
}

static enum err cut_checksum(struct bytes *rest, struct checksum *ret_checksum)
{
    const char *head = cut(rest, CHECKSUM_HEAD_BYTES);
    if (head == NULL || (uint8_t)head[2] > CHECKSUM_BYTES_MAX || head[3] != 0)
        return ERR_CORRUPT;
    const char *value = cut(rest, (uint8_t)head[2]);
    if (value == NULL)
        return ERR_CORRUPT;
    *ret_checksum = (struct checksum){
        .algorithm = (uint8_t)head[0], .type = (uint8_t)head[1], .size = (uint8_t)head[2]};
    memcpy(ret_checksum->value, value, ret_checksum->size);
    return ERR_OK;
}

/* ---- pieces ---- */

void record_piece_put(uint8_t out[PIECE_RECORD_BYTES], const struct stored_piece *piece)
{
    put_data_id(out, piece->piece.data);
    put_le64(out + 16, piece->piece.offset);
    put_le64(out + 24, piece->piece.size);
    put_le32(out + 32, piece->piece.data_group);
    out[36] = piece->is_inline;
}

static struct stored_piece get_piece(const void *data)
{
    const uint8_t *bytes = data;
    return (struct stored_piece){
        .piece =
            {
                .data = get_data_id(bytes),
                .offset = get_le64(bytes + 16),
                .size = get_le64(bytes + 24),
                .data_group = get_le32(bytes + 32),
            },
        .is_inline = bytes[36] != 0,
    };
}

static enum err judge_piece(const void *data)
{
    const uint8_t *bytes = data;
    struct stored_piece piece = get_piece(bytes);
    uint64_t data_max = piece.is_inline ? INLINE_BYTES_MAX : OBJECT_BYTES_MAX;
    if (bytes[36] > 1 || piece.piece.size == 0 || piece.piece.size > data_max ||
        piece.piece.offset > data_max - piece.piece.size || data_id_is_none(piece.piece.data))
        return ERR_CORRUPT;
    return ERR_OK;
}

/* `count` pieces that fill `data`; their sizes are added to *sum. */
static enum err judge_pieces(const char *data, uint32_t count, uint64_t *sum)
{
    for (uint32_t i = 0; i < count; i++) {
        const char *piece = data + (size_t)i * PIECE_RECORD_BYTES;
        enum err e = judge_piece(piece);
        if (e)
            return e;
        *sum += get_piece(piece).piece.size;
        if (*sum > OBJECT_BYTES_MAX)
            return ERR_CORRUPT;
    }
    return ERR_OK;
}

/* ---- bucket ---- */

size_t record_bucket_put(uint8_t out[BUCKET_RECORD_BYTES_MAX], const struct bucket_info *bucket)
{
    size_t region = strlen(bucket->region), owner = strlen(bucket->owner);
    start_record(out, 16);
    out[1] = (uint8_t)region;
    out[2] = (uint8_t)owner;
    put_le32(out + 4, bucket->id.value);
    put_le64(out + 8, bucket->created_ns);
    memcpy(out + 16, bucket->region, region);
    memcpy(out + 16 + region, bucket->owner, owner);
    return 16 + region + owner;
}

enum err record_bucket_get(struct bytes name, struct bytes record, struct bucket_info *ret_bucket)
{
    enum err e = judge_head(record, 16);
    if (e)
        return e;
    size_t region = (uint8_t)record.data[1], owner = (uint8_t)record.data[2];
    if (name.size == 0 || name.size > BUCKET_NAME_BYTES_MAX ||
        region >= sizeof ret_bucket->region || owner >= sizeof ret_bucket->owner ||
        record.size != 16 + region + owner || record.data[3] != 0)
        return ERR_CORRUPT;
    if (memchr(name.data, 0, name.size) != NULL ||
        memchr(record.data + 16, 0, region + owner) != NULL)
        return ERR_CORRUPT;
    *ret_bucket = (struct bucket_info){
        .id = {get_le32(record.data + 4)},
        .created_ns = get_le64(record.data + 8),
    };
    memcpy(ret_bucket->name, name.data, name.size);
    memcpy(ret_bucket->region, record.data + 16, region);
    memcpy(ret_bucket->owner, record.data + 16 + region, owner);
    return ERR_OK;
}

/* ---- object ---- */

size_t record_object_put(uint8_t out[OBJECT_RECORD_BYTES_MAX], const struct object_record *object)
{
    const struct object_info *info = &object->info;
    CHECK(info->attrs.size <= META_BYTES_MAX);
    bool has_manifest = !data_id_is_none(object->manifest);
    CHECK(object->piece_count <= 1 || has_manifest);
    start_record(out, OBJECT_HEAD_BYTES);
    out[1] = (uint8_t)((object->piece_count == 1 ? OBJECT_HAS_PIECE : 0) |
                       (has_manifest ? OBJECT_HAS_MANIFEST : 0));
    put_le16(out + 2, (uint16_t)info->attrs.size);
    put_le32(out + 4, object->piece_count);
    put_le32(out + 8, info->part_count);
    put_le32(out + 12, info->etag.parts);
    put_le64(out + 16, info->size);
    put_le64(out + 24, info->mtime_ns);
    put_le64(out + 32, info->psn);
    memcpy(out + 40, info->etag.md5, 16);
    size_t size = OBJECT_HEAD_BYTES;
    size += put_checksum(out + size, &info->checksum);
    if (object->piece_count == 1) {
        record_piece_put(out + size, &object->piece);
        size += PIECE_RECORD_BYTES;
    }
    if (has_manifest) {
        put_data_id(out + size, object->manifest);
        size += DATA_ID_BYTES;
    }
    if (info->attrs.size > 0)
        memcpy(out + size, info->attrs.data, info->attrs.size);
    return size + info->attrs.size;
}

static enum err judge_object(const struct object_record *object, uint8_t flags)
{
    const struct object_info *info = &object->info;
    bool has_manifest = (flags & OBJECT_HAS_MANIFEST) != 0,
         has_piece = (flags & OBJECT_HAS_PIECE) != 0;
    if ((flags & ~(OBJECT_HAS_PIECE | OBJECT_HAS_MANIFEST)) != 0 ||
        has_piece != (object->piece_count == 1))
        return ERR_CORRUPT;
    if (object->piece_count > OBJECT_PIECES_MAX || info->part_count > PARTS_MAX ||
        info->size > OBJECT_BYTES_MAX)
        return ERR_CORRUPT;
    if (has_manifest != (object->piece_count > 1 || info->part_count > 0))
        return ERR_CORRUPT;
    if ((info->size == 0) != (object->piece_count == 0) ||
        (has_piece && object->piece.piece.size != info->size))
        return ERR_CORRUPT;
    return ERR_OK;
}

enum err record_object_get(struct bytes record, struct object_record *ret_object)
{
    enum err e = judge_head(record, OBJECT_HEAD_BYTES);
    if (e)
        return e;
    const char *head = record.data;
    struct bytes rest = bytes_of(head + OBJECT_HEAD_BYTES, record.size - OBJECT_HEAD_BYTES);
    struct object_record object = {
        .info =
            {
                .size = get_le64(head + 16),
                .mtime_ns = get_le64(head + 24),
                .psn = get_le64(head + 32),
                .etag = {.parts = get_le32(head + 12)},
                .part_count = get_le32(head + 8),
            },
        .piece_count = get_le32(head + 4),
    };
    memcpy(object.info.etag.md5, head + 40, 16);
    e = cut_checksum(&rest, &object.info.checksum);
    if (e)
        return e;
    uint8_t flags = (uint8_t)head[1];
    if (flags & OBJECT_HAS_PIECE) {
        const char *piece = cut(&rest, PIECE_RECORD_BYTES);
        if (piece == NULL || judge_piece(piece))
            return ERR_CORRUPT;
        object.piece = get_piece(piece);
    }
    if (flags & OBJECT_HAS_MANIFEST) {
        const char *id = cut(&rest, DATA_ID_BYTES);
        if (id == NULL)
            return ERR_CORRUPT;
        object.manifest = get_data_id(id);
        if (data_id_is_none(object.manifest))
            return ERR_CORRUPT;
    }
    if (rest.size != get_le16(head + 2) || rest.size > META_BYTES_MAX)
        return ERR_CORRUPT;
    object.info.attrs = rest;
    e = judge_object(&object, flags);
    if (e)
        return e;
    *ret_object = object;
    return ERR_OK;
}

/* ---- manifest ---- */

static void put_manifest_head(uint8_t *out, uint64_t start, uint32_t count)
{
    CHECK(count > 0 && count <= MANIFEST_SHARD_ENTRIES);
    start_record(out, MANIFEST_HEAD_BYTES);
    put_le16(out + 2, (uint16_t)count);
    put_le64(out + 8, start);
}

static enum err judge_manifest_head(struct bytes record, uint32_t *ret_count)
{
    enum err e = judge_head(record, MANIFEST_HEAD_BYTES);
    if (e)
        return e;
    *ret_count = get_le16(record.data + 2);
    if (*ret_count == 0 || *ret_count > MANIFEST_SHARD_ENTRIES || record.data[1] != 0 ||
        !all_zero(record.data + 4, 4))
        return ERR_CORRUPT;
    return ERR_OK;
}

size_t record_pieces_size(uint32_t count)
{
    return MANIFEST_HEAD_BYTES + (size_t)count * PIECE_RECORD_BYTES;
}

void record_pieces_put(uint8_t *out, uint64_t start, const struct stored_piece *pieces,
                       uint32_t count)
{
    put_manifest_head(out, start, count);
    for (uint32_t i = 0; i < count; i++)
        record_piece_put(out + MANIFEST_HEAD_BYTES + (size_t)i * PIECE_RECORD_BYTES, &pieces[i]);
}

enum err record_pieces_get(struct bytes record, struct manifest_record *ret_shard)
{
    uint32_t count;
    enum err e = judge_manifest_head(record, &count);
    if (e)
        return e;
    uint64_t start = get_le64(record.data + 8);
    if (record.size != record_pieces_size(count) || start > OBJECT_BYTES_MAX)
        return ERR_CORRUPT;
    uint64_t end = start;
    const char *entries = record.data + MANIFEST_HEAD_BYTES;
    e = judge_pieces(entries, count, &end);
    if (e)
        return e;
    *ret_shard = (struct manifest_record){
        .count = count,
        .start = start,
        .entries = bytes_of(entries, record.size - MANIFEST_HEAD_BYTES),
    };
    return ERR_OK;
}

struct stored_piece record_pieces_at(const struct manifest_record *shard, uint32_t i)
{
    CHECK(i < shard->count);
    return get_piece(shard->entries.data + (size_t)i * PIECE_RECORD_BYTES);
}

size_t record_parts_size(const struct object_part *parts, uint32_t count)
{
    size_t size = MANIFEST_HEAD_BYTES;
    for (uint32_t i = 0; i < count; i++)
        size += PART_LINE_BYTES + checksum_size(&parts[i].checksum);
    return size;
}

void record_parts_put(uint8_t *out, uint64_t start, const struct object_part *parts, uint32_t count)
{
    put_manifest_head(out, start, count);
    out += MANIFEST_HEAD_BYTES;
    for (uint32_t i = 0; i < count; i++) {
        put_le16(out, parts[i].number);
        put_le64(out + 2, parts[i].size);
        out += PART_LINE_BYTES;
        out += put_checksum(out, &parts[i].checksum);
    }
}

enum err record_parts_get(struct bytes record, struct object_part parts[MANIFEST_SHARD_ENTRIES],
                          uint32_t *ret_count)
{
    uint32_t count;
    enum err e = judge_manifest_head(record, &count);
    if (e)
        return e;
    struct bytes rest =
        bytes_of(record.data + MANIFEST_HEAD_BYTES, record.size - MANIFEST_HEAD_BYTES);
    for (uint32_t i = 0; i < count; i++) {
        const char *line = cut(&rest, PART_LINE_BYTES);
        if (line == NULL)
            return ERR_CORRUPT;
        parts[i] = (struct object_part){.number = get_le16(line), .size = get_le64(line + 2)};
        bool in_order = i == 0 || parts[i].number > parts[i - 1].number;
        if (parts[i].number < 1 || parts[i].number > PARTS_MAX || !in_order ||
            parts[i].size > OBJECT_BYTES_MAX)
            return ERR_CORRUPT;
        e = cut_checksum(&rest, &parts[i].checksum);
        if (e)
            return e;
    }
    if (rest.size != 0)
        return ERR_CORRUPT;
    *ret_count = count;
    return ERR_OK;
}

/* ---- data ---- */

size_t record_data_size(uint32_t extent_count, uint32_t sum_count)
{
    return DATA_HEAD_BYTES + (size_t)extent_count * EXTENT_BYTES + (size_t)sum_count * 8;
}

void record_data_put(uint8_t *out, const struct data_shard *shard)
{
    start_record(out, DATA_HEAD_BYTES);
    put_le32(out + 4, shard->extent_count);
    put_le32(out + 8, shard->sum_count);
    put_le32(out + 12, shard->extents_in_all);
    put_le64(out + 16, shard->size);
    out += DATA_HEAD_BYTES;
    for (uint32_t i = 0; i < shard->extent_count; i++, out += EXTENT_BYTES) {
        put_le32(out, shard->extents[i].segment);
        put_le32(out + 4, shard->extents[i].unit);
        put_le32(out + 8, shard->extents[i].units);
        put_le32(out + 12, shard->extents[i].bytes);
    }
    for (uint32_t i = 0; i < shard->sum_count; i++, out += 8)
        put_le64(out, shard->sums[i]);
}

static bool extent_is_good(struct extent extent, bool is_last)
{
    uint64_t units = (extent.bytes + (uint64_t)UNIT_BYTES - 1) / UNIT_BYTES;
    return extent.bytes > 0 && extent.units >= units &&
           extent.units <= EXTENT_BYTES_MAX / UNIT_BYTES &&
           extent.unit <= UINT32_MAX - extent.units &&
           (is_last || extent.bytes % SUM_CHUNK_BYTES == 0);
}

void record_absent_put(uint8_t out[ABSENT_RECORD_BYTES], uint64_t size)
{
    CHECK(size > 0 && size <= OBJECT_BYTES_MAX);
    start_record(out, ABSENT_RECORD_BYTES);
    out[1] = DATA_IS_ABSENT;
    put_le64(out + 16, size);
}

/* The extents of a shard hold exactly its bytes, and every chunk has its sum. */
static enum err judge_data(const struct data_record *data, uint32_t shard)
{
    uint64_t start = (uint64_t)shard * DATA_SHARD_BYTES;
    if (data->is_absent)
        return data->size == 0 || data->size > OBJECT_BYTES_MAX || shard > 0 ||
                       data->extents_in_all > 0 || data->extent_count > 0 || data->sum_count > 0
                   ? ERR_CORRUPT
                   : ERR_OK;
    if (data->size > OBJECT_BYTES_MAX || start >= data->size ||
        data->extents_in_all < data->extent_count)
        return ERR_CORRUPT;
    uint64_t here = data->size - start < DATA_SHARD_BYTES ? data->size - start : DATA_SHARD_BYTES;
    if (data->sum_count != (here + SUM_CHUNK_BYTES - 1) / SUM_CHUNK_BYTES)
        return ERR_CORRUPT;
    uint64_t bytes = 0;
    for (uint32_t i = 0; i < data->extent_count; i++) {
        struct extent extent = record_data_extent(data, i);
        if (!extent_is_good(extent, i + 1 == data->extent_count))
            return ERR_CORRUPT;
        bytes += extent.bytes;
    }
    return bytes == here ? ERR_OK : ERR_CORRUPT;
}

enum err record_data_get(struct bytes record, uint32_t shard, struct data_record *ret_data)
{
    enum err e = judge_head(record, DATA_HEAD_BYTES);
    if (e)
        return e;
    uint8_t flags = (uint8_t)record.data[1];
    struct data_record data = {
        .size = get_le64(record.data + 16),
        .is_absent = flags == DATA_IS_ABSENT,
        .extents_in_all = get_le32(record.data + 12),
        .extent_count = get_le32(record.data + 4),
        .sum_count = get_le32(record.data + 8),
        .extents = (const uint8_t *)record.data + DATA_HEAD_BYTES,
    };
    if (data.extent_count > DATA_SHARD_EXTENTS_MAX || data.sum_count > DATA_SHARD_SUMS_MAX ||
        (flags & ~DATA_IS_ABSENT) != 0 || !all_zero(record.data + 2, 2) ||
        record.size != record_data_size(data.extent_count, data.sum_count))
        return ERR_CORRUPT;
    data.sums = data.extents + (size_t)data.extent_count * EXTENT_BYTES;
    e = judge_data(&data, shard);
    if (e)
        return e;
    *ret_data = data;
    return ERR_OK;
}

struct extent record_data_extent(const struct data_record *data, uint32_t i)
{
    CHECK(i < data->extent_count);
    const uint8_t *bytes = data->extents + (size_t)i * EXTENT_BYTES;
    return (struct extent){
        .segment = get_le32(bytes),
        .unit = get_le32(bytes + 4),
        .units = get_le32(bytes + 8),
        .bytes = get_le32(bytes + 12),
    };
}

uint64_t record_data_sum(const struct data_record *data, uint32_t i)
{
    CHECK(i < data->sum_count);
    return get_le64(data->sums + (size_t)i * 8);
}

void record_refs_put(uint8_t out[REFS_RECORD_BYTES], uint64_t references)
{
    start_record(out, REFS_RECORD_BYTES);
    put_le64(out + 8, references);
}

enum err record_refs_get(struct bytes record, uint64_t *ret_references)
{
    enum err e = judge_head(record, REFS_RECORD_BYTES);
    if (e)
        return e;
    if (record.size != REFS_RECORD_BYTES || !all_zero(record.data + 1, 7))
        return ERR_CORRUPT;
    *ret_references = get_le64(record.data + 8);
    return ERR_OK;
}

size_t record_inline_size(size_t size)
{
    return INLINE_HEAD_BYTES + size;
}

void record_inline_put(uint8_t *out, struct bytes data, uint64_t sum)
{
    CHECK(data.size > 0 && data.size <= INLINE_BYTES_MAX);
    start_record(out, INLINE_HEAD_BYTES);
    put_le64(out + 8, sum);
    memcpy(out + INLINE_HEAD_BYTES, data.data, data.size);
}

enum err record_inline_get(struct bytes record, struct bytes *ret_data, uint64_t *ret_sum)
{
    enum err e = judge_head(record, INLINE_HEAD_BYTES);
    if (e)
        return e;
    size_t size = record.size - INLINE_HEAD_BYTES;
    if (size == 0 || size > INLINE_BYTES_MAX || !all_zero(record.data + 1, 7))
        return ERR_CORRUPT;
    *ret_data = bytes_of(record.data + INLINE_HEAD_BYTES, size);
    *ret_sum = get_le64(record.data + 8);
    return ERR_OK;
}

void record_extent_put(uint8_t out[EXTENT_RECORD_BYTES], const struct extent_record *extent)
{
    start_record(out, EXTENT_RECORD_BYTES);
    put_le32(out + 4, extent->units);
    put_le32(out + 8, extent->bytes);
    put_le32(out + 12, extent->shard);
    put_le32(out + 16, extent->index);
    put_data_id(out + 24, extent->data);
}

enum err record_extent_get(struct bytes record, struct extent_record *ret_extent)
{
    enum err e = judge_head(record, EXTENT_RECORD_BYTES);
    if (e)
        return e;
    struct extent_record extent = {
        .units = get_le32(record.data + 4),
        .bytes = get_le32(record.data + 8),
        .data = get_data_id(record.data + 24),
        .shard = get_le32(record.data + 12),
        .index = get_le32(record.data + 16),
    };
    if (record.size != EXTENT_RECORD_BYTES || !all_zero(record.data + 1, 3) ||
        !all_zero(record.data + 20, 4) ||
        !extent_is_good((struct extent){.units = extent.units, .bytes = extent.bytes}, true) ||
        data_id_is_none(extent.data) || extent.shard >= data_shards(OBJECT_BYTES_MAX) ||
        extent.index >= DATA_SHARD_EXTENTS_MAX)
        return ERR_CORRUPT;
    *ret_extent = extent;
    return ERR_OK;
}

/* ---- uploads and parts ---- */

size_t record_upload_put(uint8_t out[UPLOAD_RECORD_BYTES_MAX], const struct upload_record *upload)
{
    CHECK(upload->attrs.size <= META_BYTES_MAX);
    start_record(out, 12);
    put_le16(out + 2, (uint16_t)upload->attrs.size);
    put_le64(out + 4, upload->created_ns);
    size_t size = 12;
    size += put_checksum(out + size, &upload->checksum);
    if (upload->attrs.size > 0)
        memcpy(out + size, upload->attrs.data, upload->attrs.size);
    return size + upload->attrs.size;
}

enum err record_upload_get(struct bytes record, struct upload_record *ret_upload)
{
    enum err e = judge_head(record, 12);
    if (e)
        return e;
    struct upload_record upload = {.created_ns = get_le64(record.data + 4)};
    struct bytes rest = bytes_of(record.data + 12, record.size - 12);
    e = cut_checksum(&rest, &upload.checksum);
    if (e)
        return e;
    if (record.data[1] != 0 || rest.size != get_le16(record.data + 2) || rest.size > META_BYTES_MAX)
        return ERR_CORRUPT;
    upload.attrs = rest;
    *ret_upload = upload;
    return ERR_OK;
}

size_t record_part_size(const struct part_info *info, uint32_t piece_count)
{
    return PART_HEAD_BYTES + checksum_size(&info->checksum) +
           (size_t)piece_count * PIECE_RECORD_BYTES;
}

void record_part_put(uint8_t *out, const struct part_info *info, const struct stored_piece *pieces,
                     uint32_t piece_count)
{
    CHECK(piece_count <= PART_PIECES_MAX);
    start_record(out, PART_HEAD_BYTES);
    put_le16(out + 2, (uint16_t)piece_count);
    put_le32(out + 4, info->etag.parts);
    put_le64(out + 8, info->size);
    put_le64(out + 16, info->mtime_ns);
    memcpy(out + 24, info->etag.md5, 16);
    out += PART_HEAD_BYTES;
    out += put_checksum(out, &info->checksum);
    for (uint32_t i = 0; i < piece_count; i++, out += PIECE_RECORD_BYTES)
        record_piece_put(out, &pieces[i]);
}

enum err record_part_get(uint16_t number, struct bytes record, struct part_record *ret_part)
{
    enum err e = judge_head(record, PART_HEAD_BYTES);
    if (e)
        return e;
    const char *head = record.data;
    struct part_record part = {
        .info =
            {
                .number = number,
                .size = get_le64(head + 8),
                .mtime_ns = get_le64(head + 16),
                .etag = {.parts = get_le32(head + 4)},
            },
        .piece_count = get_le16(head + 2),
    };
    memcpy(part.info.etag.md5, head + 24, 16);
    struct bytes rest = bytes_of(head + PART_HEAD_BYTES, record.size - PART_HEAD_BYTES);
    e = cut_checksum(&rest, &part.info.checksum);
    if (e)
        return e;
    if (number < 1 || number > PARTS_MAX || head[1] != 0 || part.piece_count > PART_PIECES_MAX ||
        rest.size != (size_t)part.piece_count * PIECE_RECORD_BYTES)
        return ERR_CORRUPT;
    uint64_t size = 0;
    e = judge_pieces(rest.data, part.piece_count, &size);
    if (e || size != part.info.size)
        return ERR_CORRUPT;
    part.pieces = (const uint8_t *)rest.data;
    *ret_part = part;
    return ERR_OK;
}

struct stored_piece record_part_piece(const struct part_record *part, uint32_t i)
{
    CHECK(i < part->piece_count);
    return get_piece(part->pieces + (size_t)i * PIECE_RECORD_BYTES);
}

size_t record_completed_put(uint8_t out[COMPLETED_RECORD_BYTES_MAX],
                            const struct completed_record *completed)
{
    start_record(out, 48);
    put_le32(out + 4, completed->etag.parts);
    put_le64(out + 8, completed->mtime_ns);
    put_le64(out + 16, completed->parts_hash);
    put_le64(out + 24, completed->name_hash);
    memcpy(out + 32, completed->etag.md5, 16);
    return 48 + put_checksum(out + 48, &completed->checksum);
}

enum err record_completed_get(struct bytes record, struct completed_record *ret_completed)
{
    enum err e = judge_head(record, 48);
    if (e)
        return e;
    const char *head = record.data;
    struct completed_record completed = {
        .etag = {.parts = get_le32(head + 4)},
        .mtime_ns = get_le64(head + 8),
        .parts_hash = get_le64(head + 16),
        .name_hash = get_le64(head + 24),
    };
    memcpy(completed.etag.md5, head + 32, 16);
    struct bytes rest = bytes_of(head + 48, record.size - 48);
    e = cut_checksum(&rest, &completed.checksum);
    if (e)
        return e;
    if (rest.size != 0 || !all_zero(head + 1, 3))
        return ERR_CORRUPT;
    *ret_completed = completed;
    return ERR_OK;
}

/* ---- deferred deletion, settings ---- */

void record_gc_put(uint8_t out[GC_RECORD_BYTES], const struct gc_record *gc)
{
    start_record(out, GC_RECORD_BYTES);
    put_le32(out + 4, gc->shards);
    put_le32(out + 8, gc->next_shard);
    put_le32(out + 12, gc->next_index);
}

enum err record_gc_get(struct bytes record, struct gc_record *ret_gc)
{
    enum err e = judge_head(record, GC_RECORD_BYTES);
    if (e)
        return e;
    struct gc_record gc = {
        .shards = get_le32(record.data + 4),
        .next_shard = get_le32(record.data + 8),
        .next_index = get_le32(record.data + 12),
    };
    if (record.size != GC_RECORD_BYTES || !all_zero(record.data + 1, 3) ||
        gc.next_shard > gc.shards || gc.shards > data_shards(OBJECT_BYTES_MAX) ||
        gc.next_index > MANIFEST_SHARD_ENTRIES)
        return ERR_CORRUPT;
    *ret_gc = gc;
    return ERR_OK;
}

size_t record_setting_size(size_t size)
{
    return 1 + size;
}

void record_setting_put(uint8_t *out, struct bytes value)
{
    out[0] = RECORD_VERSION;
    if (value.size > 0)
        memcpy(out + 1, value.data, value.size);
}

enum err record_setting_get(struct bytes record, struct bytes *ret_value)
{
    enum err e = judge_head(record, 1);
    if (e)
        return e;
    if (record.size - 1 > SETTING_BYTES_MAX)
        return ERR_CORRUPT;
    *ret_value = bytes_of(record.data + 1, record.size - 1);
    return ERR_OK;
}
