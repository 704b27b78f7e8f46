#include "api/s3/range.h"

/* "a-b", "a-" or "-n" behind "bytes="; false: not one of them. A number beyond 64 bits is as far away as the largest one. */
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

static bool spec_parse(struct bytes header, struct range_spec *ret_spec)
{
    static const struct bytes unit = {"bytes=", 6};
    if (!bytes_start_with_nocase(header, unit))
        return false;
    struct bytes text = bytes_trim(bytes_slice(header, unit.size, SIZE_MAX));
    size_t dash = bytes_find_char(text, 0, '-');
    if (dash == SIZE_MAX)
        return false;
    *ret_spec = (struct range_spec){0};
    return number(bytes_slice(text, 0, dash), &ret_spec->has_first, &ret_spec->first) &&
           number(bytes_slice(text, dash + 1, SIZE_MAX), &ret_spec->has_last, &ret_spec->last) &&
           (ret_spec->has_first || ret_spec->has_last) &&
           !(ret_spec->has_first && ret_spec->has_last && ret_spec->last < ret_spec->first);
}

enum s3_range_kind s3_range_parse(struct bytes header, uint64_t object_size, struct s3_range *ret_range)
{
    struct range_spec spec;
    if (!spec_parse(bytes_trim(header), &spec))
        return S3_RANGE_NONE;
    if (!spec.has_first) { /* the last n bytes */
        if (spec.last == 0 || object_size == 0)
            return S3_RANGE_UNSATISFIABLE;
        uint64_t size = spec.last < object_size ? spec.last : object_size;
        *ret_range = (struct s3_range){object_size - size, size};
        return S3_RANGE_OK;
    }
    if (spec.first >= object_size)
        return S3_RANGE_UNSATISFIABLE;
    uint64_t last = spec.has_last && spec.last < object_size ? spec.last : object_size - 1;
    *ret_range = (struct s3_range){spec.first, last - spec.first + 1};
    return S3_RANGE_OK;
}

enum err s3_copy_range_parse(struct bytes header, uint64_t source_size, struct s3_range *ret_range)
{
    struct range_spec spec;
    if (!spec_parse(bytes_trim(header), &spec) || !spec.has_first || !spec.has_last ||
        spec.last >= source_size)
        return ERR_INVALID;
    *ret_range = (struct s3_range){spec.first, spec.last - spec.first + 1};
    return ERR_OK;
}
