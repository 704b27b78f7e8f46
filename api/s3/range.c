#include "api/s3/range.h"

/* "a-b", "a-" or "-n". A number beyond 64 bits is as far away as the largest one. */
struct range_spec {
    bool has_first, has_last;
    uint64_t first, last;
};

static bool number(struct bytes digits, bool *ret_has, uint64_t *ret_value)
{
    *ret_has = digits.size > 0;
    if (digits.size == 0)
        return true;
    enum err e = bytes_to_u64(digits, ret_value);
    if (e == ERR_TOO_LARGE)
        *ret_value = UINT64_MAX;
    return e == ERR_OK || e == ERR_TOO_LARGE;
}

/* What stands behind "bytes=". */
static bool set_of(struct bytes header, struct bytes *ret_set)
{
    static const struct bytes unit = {"bytes=", 6};
    header = bytes_trim(header);
    if (!bytes_start_with_nocase(header, unit))
        return false;
    *ret_set = bytes_slice(header, unit.size, SIZE_MAX);
    return true;
}

static bool spec_parse(struct bytes text, struct range_spec *ret_spec)
{
    text = bytes_trim(text);
    size_t dash = bytes_find_char(text, 0, '-');
    if (dash == SIZE_MAX)
        return false;
    *ret_spec = (struct range_spec){0};
    return number(bytes_slice(text, 0, dash), &ret_spec->has_first, &ret_spec->first) &&
           number(bytes_slice(text, dash + 1, SIZE_MAX), &ret_spec->has_last, &ret_spec->last) &&
           (ret_spec->has_first || ret_spec->has_last) &&
           !(ret_spec->has_first && ret_spec->has_last && ret_spec->last < ret_spec->first);
}

/* False: the object has nothing of it. */
static bool spec_fit(const struct range_spec *spec, uint64_t object_size,
                     struct s3_range *ret_range)
{
    if (!spec->has_first) { /* the last n bytes */
        uint64_t size = spec->last < object_size ? spec->last : object_size;
        *ret_range = (struct s3_range){object_size - size, size};
        return size > 0;
    }
    if (spec->first >= object_size)
        return false;
    uint64_t last = spec->has_last && spec->last < object_size ? spec->last : object_size - 1;
    *ret_range = (struct s3_range){spec->first, last - spec->first + 1};
    return true;
}

static bool touch(const struct s3_range *a, const struct s3_range *b)
{
    return a->offset <= b->offset + b->size && b->offset <= a->offset + a->size;
}

static void join(struct s3_range *to, const struct s3_range *other)
{
    uint64_t to_end = to->offset + to->size, other_end = other->offset + other->size;
    uint64_t end = to_end > other_end ? to_end : other_end;
    to->offset = to->offset < other->offset ? to->offset : other->offset;
    to->size = end - to->offset;
}

/* Adds a range, joined with those it touches. They do not touch each other or any other, so one
 * pass finds them all. */
static void ranges_add(struct s3_ranges *ranges, struct s3_range range)
{
    struct s3_range *into = NULL;
    uint32_t kept = 0;
    for (uint32_t i = 0; i < ranges->count; i++) {
        struct s3_range *at = &ranges->at[i];
        if (!touch(at, &range)) {
            ranges->at[kept++] = *at;
            continue;
        }
        join(&range, at);
        if (into == NULL)
            into = &ranges->at[kept++];
    }
    if (into == NULL)
        into = &ranges->at[kept++];
    *into = range;
    ranges->count = kept;
}

enum s3_range_kind s3_ranges_parse(struct bytes header, uint64_t object_size,
                                   struct s3_ranges *ret_ranges)
{
    struct bytes set;
    uint32_t asked = 0;
    ret_ranges->count = 0;
    if (!set_of(header, &set))
        return S3_RANGE_NONE;
    while (set.data != NULL) {
        struct range_spec spec;
        struct s3_range range;
        struct bytes text = bytes_trim(bytes_split(&set, ','));
        if (text.size == 0)
            continue; /* a list may have empty elements: RFC 9110, 5.6.1.2 */
        if (++asked > S3_RANGES_MAX || !spec_parse(text, &spec))
            return S3_RANGE_NONE;
        if (spec_fit(&spec, object_size, &range))
            ranges_add(ret_ranges, range);
    }
    if (asked == 0)
        return S3_RANGE_NONE;
    return ret_ranges->count > 0 ? S3_RANGE_OK : S3_RANGE_UNSATISFIABLE;
}

enum err s3_copy_range_parse(struct bytes header, uint64_t source_size, struct s3_range *ret_range)
{
    struct range_spec spec;
    struct bytes set;
    if (!set_of(header, &set) || !spec_parse(set, &spec) || !spec.has_first || !spec.has_last ||
        spec.last >= source_size)
        return ERR_INVALID;
    *ret_range = (struct s3_range){spec.first, spec.last - spec.first + 1};
    return ERR_OK;
}
