#include "api/s3/get_policy.h"

#include "api/s3/service_priv.h"

static bool header_is_bad(struct s3_request *r, const char *name, struct bytes value)
{
    s3_fail_text(r, S3_E(InvalidArgument), "%s names no data path: %.*s", name,
                 (int)bytes_slice(value, 0, 40).size, value.data);
    return false;
}

bool s3_get_policy(struct s3_request *r, struct path_policy *ret_policy)
{
    struct bucket_policy bucket;
    *ret_policy = r->service->get_policy;
    if (bucket_settings_find(r->service->bucket_settings, r->bucket.id, &bucket))
        bucket_policy_apply(&bucket, ret_policy);
    if (!r->has_sluice_headers)
        return true;
    struct bytes path = bytes_trim(s3_header(r, "x-sluice-path"));
    struct bytes require = bytes_trim(s3_header(r, "x-sluice-require-path"));
    if (path.size > 0 && path_name_parse(path, &ret_policy->path))
        return header_is_bad(r, "x-sluice-path", path);
    if (require.size > 0 && path_require_parse(require, &ret_policy->require))
        return header_is_bad(r, "x-sluice-require-path", require);
    return true;
}
