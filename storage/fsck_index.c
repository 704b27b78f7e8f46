/*
 * The records of the index held against each other. The order of the phases matters: data is
 * tallied before names are counted against it, queued deletions are known before anything is called
 * an orphan.
 */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/digest.h"
#include "storage/fsck_priv.h"
#include "storage/keys.h"
#include "storage/records.h"

#define ID_FORMAT     "%" PRIu64 ".%" PRIu64
#define ID_VALUES(id) (id).epoch, (id).counter

static enum err undecodable(struct fsck *fsck, enum kv_family family, struct bytes key)
{
    char hex[2 * 24 + 1];
    hex_encode(key.data, key.size < 24 ? key.size : 24, hex);
    fsck__find(fsck, FSCK_RECORD, "%s record %s%s does not decode", kv_family_names[family], hex,
               key.size > 24 ? "..." : "");
    return ERR_OK;
}

/* ---- extents: in order, in bounds, apart; each known by its data ---- */

/* Does the data say that this extent is its own? */
static bool data_knows_extent(struct fsck *fsck, const struct extent *extent,
                              const struct extent_record *record)
{
    struct kv_key key;
    key_data(&key, record->data, record->shard);
    struct kv_value value;
    if (fsck->kv->ops->get(fsck->kv, KV_DATA, key_bytes(&key), KV_ANY, &value))
        return false;
    struct data_record data;
    bool knows = record_data_get(value.bytes, record->shard, &data) == ERR_OK &&
                 record->index < data.extent_count;
    if (knows) {
        struct extent told = record_data_extent(&data, record->index);
        knows = told.segment == extent->segment && told.unit == extent->unit &&
                told.units == extent->units && told.bytes == extent->bytes;
    }
    fsck->kv->ops->value_put(&value);
    return knows;
}

static enum err check_extent(struct fsck *fsck, struct bytes key, struct bytes value)
{
    struct extent extent = {0};
    struct extent_record record;
    if (key_extent_parse(key, &extent.segment, &extent.unit) || record_extent_get(value, &record))
        return undecodable(fsck, KV_EXTENT, key);
    extent.units = record.units;
    extent.bytes = record.bytes;
    fsck->counts.extents++;

    uint64_t end = (uint64_t)extent.unit + extent.units;
    if (extent.units == 0 || extent.unit < fsck->first_unit ||
        end > fsck->segment_bytes / UNIT_BYTES ||
        extent.bytes > (uint64_t)extent.units * UNIT_BYTES)
        fsck__find(fsck, FSCK_EXTENT_BOUNDS,
                   "segment %08x unit %u: %u units, %u bytes do not fit a segment of %" PRIu64
                   " units",
                   extent.segment, extent.unit, extent.units, extent.bytes,
                   fsck->segment_bytes / UNIT_BYTES);
    if (!fsck__has_segment(fsck, extent.segment))
        fsck__find(fsck, FSCK_SEGMENT_MISSING, "segment %08x unit %u: there is no such segment",
                   extent.segment, extent.unit);
    if (fsck->last_extent.segment == extent.segment && extent.unit < fsck->last_extent.end_unit)
        fsck__find(fsck, FSCK_EXTENT_OVERLAP,
                   "segment %08x unit %u of data " ID_FORMAT
                   ": the extent before it ends at unit %" PRIu64,
                   extent.segment, extent.unit, ID_VALUES(record.data), fsck->last_extent.end_unit);
    fsck->last_extent.segment = extent.segment;
    fsck->last_extent.end_unit = end;
    if (!data_knows_extent(fsck, &extent, &record))
        fsck__find(fsck, FSCK_EXTENT_ORPHAN,
                   "segment %08x unit %u: data " ID_FORMAT " does not know this extent",
                   extent.segment, extent.unit, ID_VALUES(record.data));
    return ERR_OK;
}

/* ---- data: complete, and each of its extents is recorded ---- */

static bool extent_is_recorded(struct fsck *fsck, const struct extent *extent, struct data_id id,
                               uint32_t shard, uint32_t index)
{
    struct kv_key key;
    key_extent(&key, extent->segment, extent->unit);
    struct kv_value value;
    if (fsck->kv->ops->get(fsck->kv, KV_EXTENT, key_bytes(&key), KV_ANY, &value))
        return false;
    struct extent_record record;
    bool same = record_extent_get(value.bytes, &record) == ERR_OK &&
                data_id_equal(record.data, id) && record.shard == shard && record.index == index &&
                record.units == extent->units && record.bytes == extent->bytes;
    fsck->kv->ops->value_put(&value);
    return same;
}

static enum err check_references(struct fsck *fsck, struct tally_entry *entry, struct bytes key,
                                 struct bytes value)
{
    uint64_t references;
    if (record_refs_get(value, &references) || references > UINT32_MAX)
        return undecodable(fsck, KV_DATA, key);
    entry->counted = (uint32_t)references;
    entry->has_count = true;
    return ERR_OK;
}

static enum err check_data(struct fsck *fsck, struct bytes key, struct bytes value)
{
    struct data_id id;
    uint32_t shard;
    if (key_data_parse(key, &id, &shard))
        return undecodable(fsck, KV_DATA, key);
    struct tally_entry *entry;
    enum err e = tally_get(&fsck->data, id, &entry);
    if (e)
        return e;
    if (shard == DATA_REFS_SHARD)
        return check_references(fsck, entry, key, value);
    struct data_record data;
    if (record_data_get(value, shard, &data))
        return undecodable(fsck, KV_DATA, key);

    if (entry->size == 0 && entry->shards_left == 0) {
        entry->size = data.size;
        entry->shards_left = data_shards(data.size);
        fsck->counts.data++;
        fsck->counts.bytes_stored += data.size;
    }
    entry->exists = true;
    if (data.is_absent) {
        entry->shards_left = 0;
        fsck->counts.absent_data++;
        fsck->counts.bytes_stored -= data.size;
        return ERR_OK;
    }
    if (entry->size != data.size || shard >= data_shards(data.size) || entry->shards_left == 0)
        fsck__find(fsck, FSCK_DATA_SHARDS, "data " ID_FORMAT ": shard %u disagrees with the others",
                   ID_VALUES(id), shard);
    else
        entry->shards_left--;
    for (uint32_t i = 0; i < data.extent_count; i++) {
        struct extent extent = record_data_extent(&data, i);
        if (!extent_is_recorded(fsck, &extent, id, shard, i))
            fsck__find(fsck, FSCK_DATA_EXTENT,
                       "data " ID_FORMAT " shard %u: its extent at segment %08x unit %u is not "
                       "recorded as its own",
                       ID_VALUES(id), shard, extent.segment, extent.unit);
    }
    return ERR_OK;
}

static enum err check_inline(struct fsck *fsck, struct bytes key, struct bytes value)
{
    struct data_id id;
    struct bytes data;
    uint64_t sum;
    if (key_inline_parse(key, &id) || record_inline_get(value, &data, &sum))
        return undecodable(fsck, KV_INLINE, key);
    struct tally_entry *entry;
    enum err e = tally_get(&fsck->data, id, &entry);
    if (e)
        return e;
    entry->is_inline = true;
    entry->exists = true;
    entry->size = data.size;
    fsck->counts.inline_data++;
    fsck->counts.bytes_stored += data.size;
    if (fsck->options->data) {
        fsck->counts.bytes_verified += data.size;
        if (xxh3_64(data.data, data.size) != sum)
            fsck__find(fsck, FSCK_CHECKSUM, "inline data " ID_FORMAT ": %zu bytes", ID_VALUES(id),
                       data.size);
    }
    return ERR_OK;
}

/* ---- names ---- */

/* Each piece of each name holds one reference. */
static void count_piece(struct fsck *fsck, const char *name, const struct stored_piece *stored)
{
    const struct piece *piece = &stored->piece;
    struct tally_entry *entry = tally_find(&fsck->data, piece->data);
    if (entry == NULL || !entry->exists || entry->is_inline != stored->is_inline) {
        fsck__find(fsck, FSCK_DATA_MISSING, "%s: data " ID_FORMAT " is not there", name,
                   ID_VALUES(piece->data));
        return;
    }
    entry->named++;
    if (piece->offset > entry->size || piece->size > entry->size - piece->offset)
        fsck__find(fsck, FSCK_PIECE_BOUNDS,
                   "%s: bytes %" PRIu64 "+%" PRIu64 " of data " ID_FORMAT " of %" PRIu64 " bytes",
                   name, piece->offset, piece->size, ID_VALUES(piece->data), entry->size);
}

/* ---- queued deletions ---- */

/* A manifest half let go of still holds the references of the pieces that are left. */
static enum err count_manifest_left(struct fsck *fsck, struct data_id id,
                                    const struct gc_record *gc)
{
    for (uint32_t shard = gc->next_shard; shard < gc->shards; shard++) {
        struct kv_key key;
        key_manifest(&key, id, shard);
        struct kv_value value;
        struct manifest_record record;
        enum err e = fsck->kv->ops->get(fsck->kv, KV_MANIFEST, key_bytes(&key), KV_ANY, &value);
        if (e || record_pieces_get(value.bytes, &record)) {
            fsck__find(fsck, FSCK_MANIFEST,
                       "manifest " ID_FORMAT ", to be deleted: shard %u is missing or wrong",
                       ID_VALUES(id), shard);
            if (!e)
                fsck->kv->ops->value_put(&value);
            return ERR_OK;
        }
        for (uint32_t i = shard == gc->next_shard ? gc->next_index : 0; i < record.count; i++) {
            struct stored_piece piece = record_pieces_at(&record, i);
            count_piece(fsck, "a manifest to be deleted", &piece);
        }
        fsck->kv->ops->value_put(&value);
    }
    return ERR_OK;
}

static enum err check_gc(struct fsck *fsck, struct bytes key, struct bytes value)
{
    enum gc_kind kind;
    struct data_id id;
    struct upload_id upload;
    struct bucket_id bucket;
    struct gc_record record;
    if (key_gc_parse(key, &kind, &id, &upload, &bucket) || record_gc_get(value, &record))
        return undecodable(fsck, KV_GC, key);
    if (kind != GC_DATA && kind != GC_MANIFEST)
        return ERR_OK;
    struct tally_entry *entry;
    enum err e = tally_get(kind == GC_DATA ? &fsck->data : &fsck->manifests, id, &entry);
    if (e)
        return e;
    entry->is_going = true;
    return kind == GC_MANIFEST ? count_manifest_left(fsck, id, &record) : ERR_OK;
}

/* ---- objects ---- */

/* A manifest's shards of pieces, in order. */
static enum err check_manifest_pieces(struct fsck *fsck, const char *name,
                                      const struct object_record *object)
{
    uint64_t start = 0;
    uint32_t seen = 0;
    for (uint32_t shard = 0; seen < object->piece_count; shard++) {
        struct kv_key key;
        key_manifest(&key, object->manifest, shard);
        struct kv_value value;
        enum err e = fsck->kv->ops->get(fsck->kv, KV_MANIFEST, key_bytes(&key), KV_ANY, &value);
        struct manifest_record record;
        bool is_good = !e && record_pieces_get(value.bytes, &record) == ERR_OK &&
                       record.start == start && record.count > 0 &&
                       record.count <= object->piece_count - seen;
        if (!is_good) {
            fsck__find(fsck, FSCK_MANIFEST, "%s: shard %u of its manifest is missing or wrong",
                       name, shard);
            if (!e)
                fsck->kv->ops->value_put(&value);
            return ERR_OK;
        }
        for (uint32_t i = 0; i < record.count; i++) {
            struct stored_piece piece = record_pieces_at(&record, i);
            count_piece(fsck, name, &piece);
            start += piece.piece.size;
        }
        seen += record.count;
        fsck->kv->ops->value_put(&value);
    }
    if (start != object->info.size)
        fsck__find(fsck, FSCK_SIZE, "%s: pieces of %" PRIu64 " bytes, size %" PRIu64, name, start,
                   object->info.size);
    return ERR_OK;
}

static enum err check_object(struct fsck *fsck, struct bytes key, struct bytes value)
{
    struct bucket_id bucket;
    struct bytes key_name;
    struct object_record object;
    if (key_object_parse(key, &bucket, &key_name) || record_object_get(value, &object))
        return undecodable(fsck, KV_OBJECT, key);
    fsck->counts.objects++;
    char name[160];
    snprintf(name, sizeof name, "object %.*s (bucket %u)",
             (int)(key_name.size < 120 ? key_name.size : 120), key_name.data, bucket.value);

    if (tally_find(&fsck->buckets, (struct data_id){0, bucket.value}) == NULL)
        fsck__find(fsck, FSCK_BUCKET, "%s", name);
    if (!data_id_is_none(object.manifest)) {
        struct tally_entry *manifest;
        enum err e = tally_get(&fsck->manifests, object.manifest, &manifest);
        if (e)
            return e;
        manifest->named++;
    }
    if (object.piece_count > 1)
        return check_manifest_pieces(fsck, name, &object);
    if (object.piece_count == 1)
        count_piece(fsck, name, &object.piece);
    uint64_t size = object.piece_count == 1 ? object.piece.piece.size : 0;
    if (size != object.info.size)
        fsck__find(fsck, FSCK_SIZE, "%s: pieces of %" PRIu64 " bytes, size %" PRIu64, name, size,
                   object.info.size);
    return ERR_OK;
}

static enum err check_bucket(struct fsck *fsck, struct bytes key, struct bytes value)
{
    struct bucket_info bucket;
    if (record_bucket_get(key, value, &bucket) || bucket.id.value == 0)
        return undecodable(fsck, KV_BUCKET, key);
    struct tally_entry *entry;
    return tally_get(&fsck->buckets, (struct data_id){0, bucket.id.value}, &entry);
}

/* ---- the log ---- */

static uint64_t sys_number(struct fsck *fsck, struct bytes key)
{
    struct kv_value value;
    if (fsck->kv->ops->get(fsck->kv, KV_SYS, key, KV_ANY, &value))
        return 0;
    uint64_t number = value.bytes.size == 8 ? get_le64(value.bytes.data) : 0;
    fsck->kv->ops->value_put(&value);
    return number;
}

/* A row that is not applied yet holds the one reference to its data. */
static enum err check_row(struct fsck *fsck, struct bytes key, struct bytes value)
{
    uint64_t psn;
    struct log_record row;
    if (key_log_parse(key, &psn) || record_log_get(value, &row))
        return undecodable(fsck, KV_LOG, key);
    if (psn < fsck->log.first)
        return ERR_OK; /* on its way out */
    fsck->counts.log_rows++;
    uint64_t last = fsck->log.last != 0 ? fsck->log.last : fsck->log.applied;
    bool is_first = fsck->log.last == 0;
    if (is_first ? psn > last + 1 : psn != last + 1)
        fsck__find(fsck, FSCK_LOG, "record %" PRIu64 " comes after %" PRIu64, psn, last);
    fsck->log.last = psn;
    if (psn <= fsck->log.applied || row.data.size == 0)
        return ERR_OK;
    char name[48];
    snprintf(name, sizeof name, "record %" PRIu64 " of the log", psn);
    struct stored_piece piece = {.piece = {.data = row.data.id, .size = row.data.size},
                                 .is_inline = row.data.is_inline};
    count_piece(fsck, name, &piece);
    return ERR_OK;
}

static void check_log_end(struct fsck *fsck)
{
    if (fsck->log.last != 0 && fsck->log.last < fsck->log.applied)
        fsck__find(fsck, FSCK_LOG, "records behind %" PRIu64 " are missing, %" PRIu64 " is applied",
                   fsck->log.last, fsck->log.applied);
}

/* ---- uploads and parts ---- */

static int compare_uploads(const void *a, const void *b)
{
    return memcmp(a, b, sizeof(struct upload_id));
}

static enum err remember_upload(struct upload_set *uploads, const struct upload_id *id)
{
    if (uploads->count == uploads->capacity) {
        size_t capacity = uploads->capacity > 0 ? uploads->capacity * 2 : 64;
        struct upload_id *ids = realloc(uploads->ids, capacity * sizeof *ids);
        if (ids == NULL)
            return ERR_NO_MEMORY;
        uploads->ids = ids;
        uploads->capacity = capacity;
    }
    uploads->ids[uploads->count++] = *id;
    return ERR_OK;
}

static bool is_upload(const struct upload_set *uploads, const struct upload_id *id)
{
    return uploads->count > 0 &&
           bsearch(id, uploads->ids, uploads->count, sizeof *id, compare_uploads) != NULL;
}

static bool is_queued(struct fsck *fsck, const struct kv_key *key)
{
    struct kv_value value;
    if (fsck->kv->ops->get(fsck->kv, KV_GC, key_bytes(key), KV_ANY, &value))
        return false;
    fsck->kv->ops->value_put(&value);
    return true;
}

/* Uploads of a bucket, or parts of an upload, that are gone are fine only while their deletion is
 * queued. */
static bool uploads_are_going(struct fsck *fsck, struct bucket_id bucket)
{
    struct kv_key key;
    key_gc_uploads(&key, bucket);
    return is_queued(fsck, &key);
}

static bool parts_are_going(struct fsck *fsck, const struct upload_id *id)
{
    struct kv_key key;
    key_gc_parts(&key, id);
    return is_queued(fsck, &key);
}

static enum err check_upload(struct fsck *fsck, struct bytes key, struct bytes value)
{
    struct bucket_id bucket;
    char name[KEY_BYTES_MAX];
    size_t name_size;
    struct upload_id id;
    struct upload_record record;
    if (key_upload_parse(key, &bucket, name, &name_size, &id) || record_upload_get(value, &record))
        return undecodable(fsck, KV_UPLOAD, key);
    fsck->counts.uploads++;
    if (tally_find(&fsck->buckets, (struct data_id){0, bucket.value}) == NULL &&
        !uploads_are_going(fsck, bucket))
        fsck__find(fsck, FSCK_BUCKET, "upload of %.*s (bucket %u)",
                   (int)(name_size < 120 ? name_size : 120), name, bucket.value);
    return remember_upload(&fsck->uploads, &id);
}

static enum err check_part(struct fsck *fsck, struct bytes key, struct bytes value)
{
    struct upload_id id;
    uint16_t number;
    struct part_record part;
    if (key_part_parse(key, &id, &number) || record_part_get(number, value, &part))
        return undecodable(fsck, KV_PART, key);
    fsck->counts.parts++;
    char hex[33], name[64];
    hex_encode(id.bytes, sizeof id.bytes, hex);
    snprintf(name, sizeof name, "part %u of upload %s", number, hex);
    if (!is_upload(&fsck->uploads, &id) && !parts_are_going(fsck, &id))
        fsck__find(fsck, FSCK_UPLOAD, "%s", name);
    uint64_t size = 0;
    for (uint32_t i = 0; i < part.piece_count; i++) {
        struct stored_piece piece = record_part_piece(&part, i);
        count_piece(fsck, name, &piece);
        size += piece.piece.size;
    }
    if (size != part.info.size)
        fsck__find(fsck, FSCK_SIZE, "%s: pieces of %" PRIu64 " bytes, size %" PRIu64, name, size,
                   part.info.size);
    return ERR_OK;
}

/* ---- manifests nobody names ---- */

static enum err check_manifest(struct fsck *fsck, struct bytes key, struct bytes value)
{
    (void)value; /* decoded when the object that names it was checked */
    struct data_id id;
    uint32_t shard;
    if (key_data_parse(key, &id, &shard))
        return undecodable(fsck, KV_MANIFEST, key);
    struct tally_entry *entry = tally_find(&fsck->manifests, id);
    if (entry == NULL || (entry->named != 1 && !entry->is_going))
        fsck__find(fsck, FSCK_MANIFEST, "manifest " ID_FORMAT " shard %u: %u objects name it",
                   ID_VALUES(id), shard, entry != NULL ? entry->named : 0);
    return ERR_OK;
}

/* ---- references counted against references stored ---- */

static void check_tally(struct fsck *fsck)
{
    for (size_t i = 0; i < fsck->data.capacity; i++) {
        const struct tally_entry *entry = &fsck->data.entries[i];
        /* Stored only while it is not one. */
        uint32_t counted = entry->has_count ? entry->counted : 1;
        if (data_id_is_none(entry->id) || entry->is_going)
            continue;
        if (!entry->is_inline && entry->shards_left > 0)
            fsck__find(fsck, FSCK_DATA_SHARDS,
                       "data " ID_FORMAT ": %u of its %u shards are missing", ID_VALUES(entry->id),
                       entry->shards_left, data_shards(entry->size));
        if (!entry->exists)
            fsck__find(fsck, FSCK_DATA_REFERENCES,
                       "data " ID_FORMAT ": references to it are counted, but it is not there",
                       ID_VALUES(entry->id));
        else if (entry->named == 0)
            fsck__find(fsck, FSCK_DATA_ORPHAN, "data " ID_FORMAT " of %" PRIu64 " bytes",
                       ID_VALUES(entry->id), entry->size);
        else if (entry->named != counted)
            fsck__find(fsck, FSCK_DATA_REFERENCES,
                       "data " ID_FORMAT ": %u references counted, %u stored", ID_VALUES(entry->id),
                       entry->named, counted);
    }
}

enum err fsck__index(struct fsck *fsck)
{
    static const struct {
        enum kv_family family;
        const char *phase;
        fsck_each_fn *each;
    } phases[] = {
        {KV_EXTENT, "extents", check_extent},       {KV_DATA, "data", check_data},
        {KV_INLINE, "inline data", check_inline},   {KV_GC, "queued deletions", check_gc},
        {KV_BUCKET, "buckets", check_bucket},       {KV_OBJECT, "objects", check_object},
        {KV_UPLOAD, "uploads", check_upload},       {KV_PART, "parts", check_part},
        {KV_MANIFEST, "manifests", check_manifest}, {KV_LOG, "the log", check_row},
    };
    /* While rows are being copied only what lies on the disk can be held against itself. */
    size_t count = fsck->counts.is_half_copied ? 2 : COUNT_OF(phases);
    fsck->log.first = sys_number(fsck, KEY_SYS_LOG_FIRST);
    fsck->log.applied = sys_number(fsck, KEY_SYS_LAST_PSN);
    fsck->last_extent.segment = UINT32_MAX;
    enum err e = ERR_OK;
    for (size_t i = 0; i < count && !e; i++) {
        struct upload_set *uploads = &fsck->uploads;
        if (phases[i].family == KV_PART && uploads->count > 0)
            qsort(uploads->ids, uploads->count, sizeof *uploads->ids, compare_uploads);
        e = fsck__walk(fsck, phases[i].family, (struct bytes){NULL, 0}, phases[i].phase,
                       phases[i].each);
    }
    if (!e && !fsck->counts.is_half_copied) {
        check_log_end(fsck);
        check_tally(fsck);
    }
    return e;
}
