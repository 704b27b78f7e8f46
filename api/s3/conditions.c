#include "api/s3/conditions.h"

#include "api/s3/time.h"
#include "base/clock.h"

/* ---- ETags ---- */

static struct bytes unquoted(struct bytes text)
{
    text = bytes_trim(text);
    if (text.size >= 2 && text.data[0] == '"' && text.data[text.size - 1] == '"')
        return bytes_slice(text, 1, text.size - 2);
    return text;
}

bool s3_etag_parse(struct bytes text, struct etag *ret_etag)
{
    text = unquoted(text);
    struct etag etag = {0};
    if (text.size < 32 || hex_decode(bytes_slice(text, 0, 32), etag.md5, sizeof etag.md5))
        return false;
    if (text.size > 32) {
        uint64_t parts;
        if (text.data[32] != '-' || bytes_to_u64(bytes_slice(text, 33, SIZE_MAX), &parts))
            return false;
        if (parts == 0 || parts > PARTS_MAX)
            return false;
        etag.parts = (uint32_t)parts;
    }
    *ret_etag = etag;
    return true;
}

struct bytes s3_etag_text(const struct etag *etag, char out[ETAG_TEXT_BYTES])
{
    struct buf buf = {.data = out, .capacity = ETAG_TEXT_BYTES};
    char hex[2 * sizeof etag->md5 + 1];
    hex_encode(etag->md5, sizeof etag->md5, hex);
    buf_put_char(&buf, '"');
    buf_put_string(&buf, hex);
    if (etag->parts > 0) {
        buf_put_char(&buf, '-');
        buf_put_u64(&buf, etag->parts);
    }
    buf_put_char(&buf, '"');
    return buf_bytes(&buf);
}

bool s3_etag_equal(const struct etag *a, const struct etag *b)
{
    return a->parts == b->parts && memcmp(a->md5, b->md5, sizeof a->md5) == 0;
}

/* RFC 9110, 8.8.3.2: a weak tag (W/) is compared by what it tags, or not at all. Ours are strong; a
 * cache that compresses what it serves makes them weak. */
enum comparison { COMPARE_STRONG, COMPARE_WEAK };

/* A list of ETags, or "*" for any object at all. */
static bool list_matches(struct bytes list, const struct etag *etag, enum comparison comparison)
{
    if (bytes_equal(bytes_trim(list), BYTES("*")))
        return true;
    while (list.data != NULL) {
        struct bytes item = bytes_trim(bytes_split(&list, ','));
        if (comparison == COMPARE_WEAK && bytes_start_with(item, BYTES("W/")))
            item = bytes_slice(item, 2, SIZE_MAX);
        struct etag wanted;
        if (s3_etag_parse(item, &wanted) && s3_etag_equal(&wanted, etag))
            return true;
    }
    return false;
}

/* ---- reads ---- */

/* Whether the object has changed since that date; an unreadable date says nothing (RFC 9110
 * 13.1.3). */
static bool date_is_before(struct bytes date, const struct object_info *info, bool *ret_is_before)
{
    uint64_t seconds;
    if (date.data == NULL || s3_time_parse_http(date, &seconds))
        return false;
    *ret_is_before = seconds < info->mtime_ns / NS_PER_SECOND;
    return true;
}

enum s3_verdict s3_conditions_read(const struct s3_read_conditions *conditions,
                                   const struct object_info *info)
{
    bool changed;
    if (conditions->if_match.data != NULL) {
        if (!list_matches(conditions->if_match, &info->etag, COMPARE_STRONG))
            return S3_PRECONDITION_FAILED;
    } else if (date_is_before(conditions->if_unmodified_since, info, &changed) && changed) {
        return S3_PRECONDITION_FAILED;
    }
    if (conditions->if_none_match.data != NULL) {
        if (list_matches(conditions->if_none_match, &info->etag, COMPARE_WEAK))
            return S3_NOT_MODIFIED;
    } else if (date_is_before(conditions->if_modified_since, info, &changed) && !changed) {
        return S3_NOT_MODIFIED;
    }
    return S3_HOLDS;
}

bool s3_if_range_holds(struct bytes if_range, const struct object_info *info)
{
    if (if_range.data == NULL)
        return true;
    struct etag etag;
    if (s3_etag_parse(if_range, &etag))
        return s3_etag_equal(&etag, &info->etag);
    /* A date has to be the very one we told (RFC 9110, 13.1.5): a later one is nobody's copy. */
    uint64_t seconds;
    return s3_time_parse_http(if_range, &seconds) == ERR_OK &&
           seconds == info->mtime_ns / NS_PER_SECOND;
}

/* ---- writes ---- */

void s3_conditions_write(struct bytes if_match, struct bytes if_none_match,
                         struct conditions *ret_conditions)
{
    struct conditions c = {0};
    struct etag etag;
    if (if_match.data != NULL) {
        if (bytes_equal(unquoted(if_match), BYTES("*"))) {
            c.if_match_any = true;
        } else {
            c.has_if_match = true;
            if (s3_etag_parse(if_match, &etag))
                c.if_match = etag;
            else
                c.if_match = (struct etag){.parts = UINT32_MAX}; /* no object has it */
        }
    }
    if (if_none_match.data != NULL) {
        if (bytes_equal(unquoted(if_none_match), BYTES("*"))) {
            c.if_none_match_any = true;
        } else if (s3_etag_parse(if_none_match, &etag)) {
            c.has_if_none_match = true;
            c.if_none_match = etag;
        }
    }
    *ret_conditions = c;
}

enum err s3_conditions_foresee(const struct conditions *c, const struct object_info *info)
{
    if (info == NULL)
        return c->if_match_any || c->has_if_match ? ERR_NO_SUCH_OBJECT : ERR_OK;
    if (c->if_none_match_any)
        return ERR_PRECONDITION;
    if (c->has_if_match && !s3_etag_equal(&c->if_match, &info->etag))
        return ERR_PRECONDITION;
    if (c->has_if_none_match && s3_etag_equal(&c->if_none_match, &info->etag))
        return ERR_PRECONDITION;
    return ERR_OK;
}
