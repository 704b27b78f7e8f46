#include "api/s3/post_policy.h"

#include <jansson.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include "api/s3/time.h"
#include "base/check.h"

static void json_release(json_t *json)
{
    json_decref(json);
}
CLEANUP_DEFINE(json_release, json_t *)

struct bytes post_form_field(const struct post_form *form, struct bytes name)
{
    for (size_t i = form->count; i > 0; i--)
        if (bytes_equal_nocase(form->fields[i - 1].name, name))
            return form->fields[i - 1].value;
    return (struct bytes){NULL, 0};
}

static struct bytes json_view(const json_t *json)
{
    return json_is_string(json) ? bytes_of(json_string_value(json), json_string_length(json))
                                : (struct bytes){NULL, 0};
}

/* What a condition on `name` is judged against. The bucket is the request's even when no field
 * repeats it. */
static struct bytes judged_value(const struct post_form *form, struct bytes name)
{
    if (bytes_equal_nocase(name, BYTES("bucket")))
        return form->bucket;
    return post_form_field(form, name);
}

PRINTF_LIKE(2, 3)
static enum s3_error failed(char message[POST_MESSAGE_BYTES], const char *format, ...)
{
    va_list args;
    va_start(args, format);
    int size = vsnprintf(message, POST_MESSAGE_BYTES, format, args);
    va_end(args);
    if (size >= POST_MESSAGE_BYTES) /* not half a word, which need not be UTF-8 any more */
        snprintf(message, POST_MESSAGE_BYTES, "Invalid according to Policy");
    return S3_E(AccessDenied);
}

/* As S3 quotes it. */
static enum s3_error condition_failed(char message[POST_MESSAGE_BYTES], const char *verb,
                                      struct bytes name, struct bytes wanted)
{
    return failed(
        message,
        "Invalid according to Policy: Policy Condition failed: [\"%s\", \"$%.*s\", \"%.*s\"]", verb,
        (int)name.size, name.data, (int)wanted.size, wanted.data);
}

/* starts-with on Content-Type holds for each of a list of types. */
static bool starts_with(struct bytes name, struct bytes value, struct bytes prefix)
{
    if (!bytes_equal_nocase(name, BYTES("Content-Type")))
        return bytes_start_with(value, prefix);
    while (value.data != NULL)
        if (!bytes_start_with(bytes_trim(bytes_split(&value, ',')), prefix))
            return false;
    return true;
}

static enum s3_error judge_range(const json_t *condition, struct post_limits *limits)
{
    const json_t *min = json_array_get(condition, 1), *max = json_array_get(condition, 2);
    if (!json_is_integer(min) || !json_is_integer(max) || json_integer_value(min) < 0 ||
        json_integer_value(max) < json_integer_value(min))
        return S3_E(InvalidPolicyDocument);
    limits->size_min = (uint64_t)json_integer_value(min);
    limits->size_max = (uint64_t)json_integer_value(max);
    return S3_E(None);
}

/* ["eq", "$key", "value"], ["starts-with", "$key", "prefix"], ["content-length-range", min, max] */
static enum s3_error judge_list(const json_t *condition, const struct post_form *form,
                                struct post_limits *limits, char message[POST_MESSAGE_BYTES])
{
    struct bytes verb = json_view(json_array_get(condition, 0));
    if (json_array_size(condition) != 3)
        return S3_E(InvalidPolicyDocument);
    if (bytes_equal_nocase(verb, BYTES("content-length-range")))
        return judge_range(condition, limits);
    struct bytes name = json_view(json_array_get(condition, 1));
    struct bytes wanted = json_view(json_array_get(condition, 2));
    if (name.size < 2 || name.data[0] != '$' || wanted.data == NULL)
        return S3_E(InvalidPolicyDocument);
    name = bytes_slice(name, 1, SIZE_MAX);
    struct bytes value = judged_value(form, name);
    if (bytes_equal_nocase(verb, BYTES("eq")))
        return value.data != NULL && bytes_equal(value, wanted)
                   ? S3_E(None)
                   : condition_failed(message, "eq", name, wanted);
    if (bytes_equal_nocase(verb, BYTES("starts-with")))
        return value.data != NULL && starts_with(name, value, wanted)
                   ? S3_E(None)
                   : condition_failed(message, "starts-with", name, wanted);
    return S3_E(InvalidPolicyDocument);
}

/* {"acl": "private"}: each must be equal */
static enum s3_error judge_object(json_t *condition, const struct post_form *form,
                                  char message[POST_MESSAGE_BYTES])
{
    const char *name;
    json_t *wanted;
    json_object_foreach(condition, name, wanted)
    {
        if (!json_is_string(wanted))
            return S3_E(InvalidPolicyDocument);
        struct bytes value = judged_value(form, bytes_of_string(name));
        if (value.data == NULL || !bytes_equal(value, json_view(wanted)))
            return condition_failed(message, "eq", bytes_of_string(name), json_view(wanted));
    }
    return S3_E(None);
}

static bool condition_names(json_t *condition, struct bytes field)
{
    if (json_is_array(condition)) {
        struct bytes name = json_view(json_array_get(condition, 1));
        return name.size > 1 && bytes_equal_nocase(bytes_slice(name, 1, SIZE_MAX), field);
    }
    const char *name;
    json_t *ignored;
    json_object_foreach(condition, name, ignored)
    {
        if (bytes_equal_nocase(bytes_of_string(name), field))
            return true;
    }
    return false;
}

static bool needs_no_condition(struct bytes field)
{
    static const struct bytes names[] = {{"x-amz-signature", 15}, {"policy", 6}, {"file", 4}};
    for (size_t i = 0; i < COUNT_OF(names); i++)
        if (bytes_equal_nocase(field, names[i]))
            return true;
    return bytes_start_with_nocase(field, BYTES("x-ignore-"));
}

static enum s3_error judge_coverage(json_t *conditions, const struct post_form *form,
                                    char message[POST_MESSAGE_BYTES])
{
    for (size_t i = 0; i < form->count; i++) {
        struct bytes name = form->fields[i].name;
        if (needs_no_condition(name))
            continue;
        bool is_covered = false;
        for (size_t j = 0; j < json_array_size(conditions) && !is_covered; j++)
            is_covered = condition_names(json_array_get(conditions, j), name);
        if (!is_covered)
            return failed(message, "Invalid according to Policy: Extra input fields: %.*s",
                          (int)name.size, name.data);
    }
    return S3_E(None);
}

static enum s3_error judge_conditions(json_t *conditions, const struct post_form *form,
                                      struct post_limits *limits, char message[POST_MESSAGE_BYTES])
{
    if (!json_is_array(conditions))
        return S3_E(InvalidPolicyDocument);
    for (size_t i = 0; i < json_array_size(conditions); i++) {
        json_t *condition = json_array_get(conditions, i);
        enum s3_error error = S3_E(InvalidPolicyDocument);
        if (json_is_array(condition))
            error = judge_list(condition, form, limits, message);
        else if (json_is_object(condition))
            error = judge_object(condition, form, message);
        if (error != S3_E(None))
            return error;
    }
    return judge_coverage(conditions, form, message);
}

enum s3_error post_policy_judge(struct bytes policy, const struct post_form *form,
                                struct post_limits *ret_limits,
                                char ret_message[POST_MESSAGE_BYTES])
{
    ret_message[0] = '\0';
    *ret_limits = (struct post_limits){0, PUT_BYTES_MAX};
    if (policy.size > POLICY_BYTES_MAX)
        return S3_E(InvalidPolicyDocument);
    CLEANUP(free) char *text = malloc(policy.size + 1);
    if (text == NULL)
        return S3_E(SlowDown);
    size_t size;
    if (base64_decode(policy, text, policy.size, &size))
        return S3_E(InvalidPolicyDocument);
    /* jansson bounds the depth of what it parses (JSON_PARSER_MAX_DEPTH) */
    CLEANUP(json_release) json_t *json = json_loadb(text, size, JSON_REJECT_DUPLICATES, NULL);
    uint64_t expiration;
    if (!json_is_object(json) ||
        s3_time_parse_iso(json_view(json_object_get(json, "expiration")), &expiration))
        return S3_E(InvalidPolicyDocument);
    if (form->now_seconds >= expiration)
        return failed(ret_message, "Invalid according to Policy: Policy expired.");
    return judge_conditions(json_object_get(json, "conditions"), form, ret_limits, ret_message);
}
