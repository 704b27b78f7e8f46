#include "api/admin/describe.h"

#include <string.h>
#include <time.h>

#include "api/s3/checksum.h"
#include "base/check.h"
#include "base/clock.h"
#include "storage/inspect.h"

/* ---- values ---- */

static json_t *json_u64(uint64_t value)
{
    return json_integer((json_int_t)value); /* sizes and times of this world are below 2^63 */
}

static json_t *json_time(uint64_t ns)
{
    time_t seconds = (time_t)(ns / NS_PER_SECOND);
    struct tm tm;
    char text[40];
    gmtime_r(&seconds, &tm);
    size_t size = strftime(text, sizeof text, "%Y-%m-%dT%H:%M:%S", &tm);
    snprintf(text + size, sizeof text - size, ".%03uZ", (unsigned)(ns % NS_PER_SECOND / NS_PER_MS));
    return json_string(text);
}

static json_t *json_hex(const void *data, size_t size)
{
    char text[2 * 64 + 1];
    CHECK(size <= 64);
    hex_encode(data, size, text);
    return json_string(text);
}

/* Some text of a client's under `name`, or its bytes in hex under name_hex. */
static void set_text(json_t *object, const char *name, struct bytes text)
{
    if (bytes_is_utf8(text) && memchr(text.data, '\0', text.size) == NULL) {
        json_object_set_new(object, name, json_stringn(text.data, text.size));
        return;
    }
    char hex[2 * KEY_BYTES_MAX + 1], hex_name[64];
    text = bytes_slice(text, 0, KEY_BYTES_MAX);
    hex_encode(text.data, text.size, hex);
    snprintf(hex_name, sizeof hex_name, "%s_hex", name);
    json_object_set_new(object, hex_name, json_string(hex));
}

static json_t *json_uuid(const uint8_t uuid[16])
{
    char hex[33], text[37];
    hex_encode(uuid, 16, hex);
    snprintf(text, sizeof text, "%.8s-%.4s-%.4s-%.4s-%.12s", hex, hex + 8, hex + 12, hex + 16,
             hex + 20);
    return json_string(text);
}

/* A data id as people copy it: "epoch.counter". */
static json_t *json_data_id(struct data_id id)
{
    return json_sprintf("%llu.%llu", (unsigned long long)id.epoch, (unsigned long long)id.counter);
}

/* ---- volume, keys, errors ---- */

json_t *describe_volume(struct volume *volume)
{
    static const char *const states[] = {
        [VOLUME_OK] = "ok", [VOLUME_READ_ONLY] = "read-only", [VOLUME_FAILED] = "failed"};
    struct volume_status status;
    volume_status(volume, &status);
    json_t *json = json_pack(
        "{s:s, s:o, s:s, s:s, s:s, s:b, s:s}", "dir", status.dir, "uuid", json_uuid(status.uuid),
        "state", states[status.state], "reason", status.reason, "file_system", status.file_system,
        "direct_io", (int)status.direct, "durability",
        "an acknowledged PUT is on this disk: fdatasync of its data, then a synced index record");
    const struct {
        const char *name;
        uint64_t value;
    } numbers[] = {
        {"format_major", status.format_major},
        {"format_minor", status.format_minor},
        {"mount_epoch", status.mount_epoch},
        {"segment_bytes", status.segment_bytes},
        {"segment_count", status.segment_count},
        {"disk_total_bytes", status.disk_total_bytes},
        {"disk_free_bytes", status.disk_free_bytes},
        {"capacity_bytes", status.capacity_bytes},
        {"used_bytes", status.used_bytes},
        {"reserved_bytes", status.reserved_bytes},
        {"reclaiming_bytes", status.reclaiming_bytes},
        {"commits", status.commits},
        {"committed_mutations", status.committed_mutations},
        {"last_psn", status.last_psn},
        {"index_memory_bytes", status.index.memory_bytes},
        {"index_disk_bytes", status.index.disk_bytes},
        {"cached_objects", status.cached_objects},
        {"cached_bytes", status.cached_bytes},
    };
    for (size_t i = 0; json != NULL && i < COUNT_OF(numbers); i++)
        json_object_set_new(json, numbers[i].name, json_u64(numbers[i].value));
    if (json != NULL && status.has_log)
        json_object_set_new(json, "log",
                            json_pack("{s:o, s:o, s:o}", "first", json_u64(status.log_first),
                                      "last", json_u64(status.log_last), "applied",
                                      json_u64(status.log_applied)));
    return json;
}

json_t *describe_key(const struct access_key *key)
{
    json_t *grants = json_array();
    for (unsigned i = 0; i < key->grant_count; i++) {
        const struct key_grant *grant = &key->grants[i];
        char bits[4];
        struct buf text = BUF_ON(bits);
        if (grant->bits & GRANT_READ)
            buf_put_char(&text, 'r');
        if (grant->bits & GRANT_WRITE)
            buf_put_char(&text, 'w');
        if (grant->bits & GRANT_OWN)
            buf_put_char(&text, 'o');
        json_array_append_new(grants, json_pack("{s:s, s:s%}", "bucket", grant->bucket,
                                                "permissions", bits, text.size));
    }
    json_t *json =
        json_pack("{s:s, s:s, s:s, s:s, s:b, s:o, s:o}", "access_key", key->id, "name", key->name,
                  "owner", key->owner, "display_name", key->display_name, "root", (int)key->is_root,
                  "created", json_time(key->created_ns), "grants", grants);
    if (json != NULL && key->secret[0] != '\0')
        json_object_set_new(json, "secret_key", json_string(key->secret));
    return json;
}

json_t *describe_bucket(const struct bucket_info *bucket, const struct bucket_policy *policy)
{
    json_t *settings = json_object();
#define X(field, name, values)                                                                     \
    {                                                                                              \
        char text[40];                                                                             \
        struct buf value = BUF_ON(text);                                                           \
        bucket_policy_print(policy, name, &value);                                                 \
        json_object_set_new(settings, name, json_stringn(value.data, value.size));                 \
    }
    BUCKET_SETTINGS(X)
#undef X
    return json_pack("{s:s, s:s, s:s, s:o, s:o}", "bucket", bucket->name, "owner", bucket->owner,
                     "region", bucket->region, "created", json_time(bucket->created_ns), "settings",
                     settings);
}

static const char *resolved_name(const struct path_facts *facts, const struct path_policy *policy)
{
    struct path_choice choice = path_resolve(facts, policy);
    return choice.path != NULL ? choice.path->name : "refused";
}

json_t *describe_paths(const struct path_facts *facts, unsigned worker_count,
                       const struct path_policy *policy)
{
    struct text_buf why = {0};
    char verify[40];
    struct buf verify_text = BUF_ON(verify);
    json_t *workers = json_array();
    bool differ = false;
    for (unsigned i = 0; i < worker_count; i++) {
        const char *name = resolved_name(&facts[i], policy);
        differ |= strcmp(name, resolved_name(&facts[0], policy)) != 0;
        json_array_append_new(workers, json_pack("{s:s, s:b}", "path", name, "checked_and_resident",
                                                 (int)facts[i].is_resident));
    }
    path_explain(&facts[0], policy, &why);
    if (differ)
        text_put_string(&why, " Other workers decide otherwise: each remembers for itself which "
                              "pages it has checked.");
    path_verify_print(policy, &verify_text);
    struct path_choice choice = path_resolve(&facts[0], policy);
    json_t *json = json_pack(
        "{s:s, s:s, s:b, s:b, s:s, s:s, s:s%, s:o, s:s%}", "path", resolved_name(&facts[0], policy),
        "auto", path_choose(&facts[0])->name, "hot", (int)facts[0].is_hot, "ring_splice",
        (int)facts[0].has_ring_splice, "get_path", path_name(policy->path), "require_path",
        path_require_name(policy->require), "verify", verify_text.data, verify_text.size, "workers",
        workers, "why", why.failed ? "" : why.data, why.failed ? 0 : why.size);
    text_free(&why);
    if (json != NULL && choice.path != NULL)
        json_object_set_new(json, "copies", json_u64(path_copies_told(choice.path, &facts[0])));
    return json;
}

json_t *describe_error(enum err e, const char *message, const char *hint)
{
    return json_pack("{s:{s:s, s:s, s:s*}}", "error", "code", err_name(e), "message", message,
                     "hint", hint);
}

/* ---- extents ---- */

static json_t *describe_extent(const struct inspect_extent *extent)
{
    return json_pack("{s:I, s:I, s:I, s:I, s:I, s:o, s:I, s:I}", "segment",
                     (json_int_t)extent->extent.segment, "unit", (json_int_t)extent->extent.unit,
                     "units", (json_int_t)extent->extent.units, "bytes",
                     (json_int_t)extent->extent.bytes, "file_offset",
                     (json_int_t)extent->file_offset, "data", json_data_id(extent->data), "shard",
                     (json_int_t)extent->shard, "index", (json_int_t)extent->index);
}

struct listing {
    json_t *array; /* owned */
    bool one_segment;
    uint32_t segment;
};

static enum err list_extent(void *context, const struct inspect_extent *extent)
{
    struct listing *listing = context;
    if (listing->one_segment && extent->extent.segment != listing->segment)
        return ERR_CANCELLED;
    return json_array_append_new(listing->array, describe_extent(extent)) == 0 ? ERR_OK
                                                                               : ERR_NO_MEMORY;
}

enum err describe_extents(struct volume *volume, const struct describe_page *page,
                          json_t **ret_json)
{
    struct listing listing = {json_array(), page->one_segment, page->segment};
    struct inspect_place from = {page->segment, page->unit}, next = {0};
    bool more = false;
    uint32_t max = page->max < EXTENTS_PAGE_MAX ? page->max : EXTENTS_PAGE_MAX;
    enum err e = inspect_extents(volume, from, max, list_extent, &listing, &next, &more);
    if (e == ERR_CANCELLED) {
        e = ERR_OK;
        more = false;
    }
    if (e) {
        json_decref(listing.array);
        return e;
    }
    more = more && !(page->one_segment && next.segment != page->segment);
    json_t *where = more ? json_pack("{s:I, s:I}", "segment", (json_int_t)next.segment, "unit",
                                     (json_int_t)next.unit)
                         : json_null();
    *ret_json = json_pack("{s:o, s:o}", "extents", listing.array, "next", where);
    return *ret_json != NULL ? ERR_OK : ERR_NO_MEMORY;
}

static enum err map_segment(void *context, const struct inspect_segment *segment)
{
    json_t *json = json_pack(
        "{s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:o}", "segment", (json_int_t)segment->number, "units",
        (json_int_t)segment->units, "units_used", (json_int_t)segment->units_used, "extents",
        (json_int_t)segment->extents, "free_runs", (json_int_t)segment->free_runs,
        "largest_free_run", (json_int_t)segment->largest_free_run, "unit_bytes",
        (json_int_t)UNIT_BYTES, "map", json_hex(segment->map, sizeof segment->map));
    return json_array_append_new(context, json) == 0 ? ERR_OK : ERR_NO_MEMORY;
}
_Static_assert(INSPECT_MAP_CELLS <= 64, "json_hex() holds a map");

enum err describe_map(struct volume *volume, json_t **ret_json)
{
    json_t *segments = json_array();
    enum err e = inspect_segments(volume, map_segment, segments);
    if (e) {
        json_decref(segments);
        return e;
    }
    *ret_json = json_pack("{s:o}", "segments", segments);
    return *ret_json != NULL ? ERR_OK : ERR_NO_MEMORY;
}

/* ---- one object ---- */

static json_t *describe_etag(const struct etag *etag)
{
    char md5[33];
    hex_encode(etag->md5, sizeof etag->md5, md5);
    return etag->parts > 0 ? json_sprintf("%s-%u", md5, etag->parts) : json_string(md5);
}

static void set_checksum(json_t *json, const struct checksum *checksum)
{
    const struct s3_checksum_name *name = s3_checksum_name(checksum->algorithm);
    if (name == NULL || checksum->size > CHECKSUM_BYTES_MAX)
        return;
    char value[BASE64_SIZE(CHECKSUM_BYTES_MAX) + 1];
    base64_encode(checksum->value, checksum->size, value);
    json_object_set_new(json, "checksum",
                        json_pack("{s:s, s:s, s:s}", "algorithm", name->name, "type",
                                  s3_checksum_type_name(checksum->type), "value", value));
}

static enum err append_extent(void *context, const struct inspect_extent *extent)
{
    return json_array_append_new(context, describe_extent(extent)) == 0 ? ERR_OK : ERR_NO_MEMORY;
}

static json_t *describe_record(const struct inspect_object *object, struct bytes key)
{
    const struct object_info *info = &object->info;
    json_t *json = json_pack(
        "{s:s, s:s, s:I, s:o, s:o, s:I, s:I, s:b, s:I, s:I, s:I}", "bucket", object->bucket.name,
        "owner", object->bucket.owner, "size", (json_int_t)info->size, "etag",
        describe_etag(&info->etag), "modified", json_time(info->mtime_ns), "psn",
        (json_int_t)info->psn, "parts", (json_int_t)info->part_count, "inline",
        (int)object->is_inline, "extent_count", (json_int_t)object->extents, "resident_bytes",
        (json_int_t)object->resident_bytes, "metadata_bytes", (json_int_t)info->attrs.size);
    if (json == NULL)
        return NULL;
    set_text(json, "key", key);
    set_checksum(json, &info->checksum);
    return json;
}

enum err describe_object(struct volume *volume, struct bytes bucket, struct bytes key,
                         enum describe_depth depth, json_t **ret_json)
{
    struct inspect_object object;
    json_t *extents = depth == DESCRIBE_EXTENTS ? json_array() : NULL;
    enum err e = inspect_object(volume, bucket, key, extents != NULL ? append_extent : NULL,
                                extents, &object);
    if (e) {
        json_decref(extents);
        return e;
    }
    json_t *json = describe_record(&object, key);
    object_put(object.object);
    if (json != NULL && extents != NULL)
        json_object_set(json, "extents", extents);
    json_decref(extents);
    *ret_json = json;
    return json != NULL ? ERR_OK : ERR_NO_MEMORY;
}
