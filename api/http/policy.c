#include "api/http/policy.h"

#include "base/check.h"

#define SAMPLE_EVERY_MAX 1000000u /* beyond, nothing of a day's requests would be sampled */

static const char *const names[PATH_ID_COUNT] = {[PATH_AUTO] = "auto",
#define X(id, name) [PATH_##id] = name,
                                                 PATHS(X)
#undef X
};

static const char *const verify_names[] = {[VERIFY_COLD] = "cold",
                                           [VERIFY_OFF] = "off",
                                           [VERIFY_SAMPLE] = "sample",
                                           [VERIFY_ALWAYS] = "always"};

enum err path_name_parse(struct bytes text, uint8_t *ret_path)
{
    for (uint8_t i = 0; i < PATH_ID_COUNT; i++)
        if (bytes_equal_nocase(text, bytes_of_string(names[i]))) {
            *ret_path = i;
            return ERR_OK;
        }
    return ERR_INVALID;
}

enum err path_require_parse(struct bytes text, uint8_t *ret_require)
{
    uint8_t path;
    if (bytes_equal_nocase(text, BYTES("none")))
        *ret_require = PATH_AUTO;
    else if (bytes_equal_nocase(text, BYTES("zerocopy")))
        *ret_require = PATH_ZEROCOPY;
    else if (path_name_parse(text, &path) == ERR_OK && path != PATH_AUTO)
        *ret_require = path;
    else
        return ERR_INVALID;
    return ERR_OK;
}

enum err path_verify_parse(struct bytes text, struct path_policy *policy)
{
    uint64_t every;
    struct bytes rest = text, word = bytes_split(&rest, ':');
    bool has_number = rest.data != NULL;
    for (uint8_t i = 0; i < COUNT_OF(verify_names); i++) {
        if (!bytes_equal_nocase(word, bytes_of_string(verify_names[i])))
            continue;
        if (has_number != (i == VERIFY_SAMPLE))
            return ERR_INVALID;
        if (has_number && (bytes_to_u64(rest, &every) || every < 1 || every > SAMPLE_EVERY_MAX))
            return ERR_INVALID;
        policy->verify = i;
        policy->sample_every = has_number ? (uint32_t)every : 0;
        return ERR_OK;
    }
    return ERR_INVALID;
}

const char *path_name(uint8_t path)
{
    CHECK(path < PATH_ID_COUNT);
    return names[path];
}

const char *path_require_name(uint8_t require)
{
    CHECK(require <= PATH_ZEROCOPY);
    return require == PATH_AUTO ? "none" : require == PATH_ZEROCOPY ? "zerocopy" : names[require];
}

void path_verify_print(const struct path_policy *policy, struct buf *out)
{
    CHECK(policy->verify < COUNT_OF(verify_names));
    buf_put_string(out, verify_names[policy->verify]);
    if (policy->verify == VERIFY_SAMPLE) {
        buf_put_char(out, ':');
        buf_put_u64(out, policy->sample_every);
    }
}
