/*
 * The policy of a POST form ("POST Policy", Amazon S3 API reference): JSON in base64, signed by the
 * key's owner, that says until when and with which fields a browser may upload. Every field sent
 * must be covered by a condition, besides the signature, the policy itself, the file and
 * x-ignore-*. Pure.
 */
#ifndef API_S3_POST_POLICY_H
#define API_S3_POST_POLICY_H

#include "api/s3/error.h"
#include "base/limits.h"

struct post_field {
    struct bytes name, value; /* names compared without regard to case */
};

struct post_form {
    const struct post_field *fields; /* borrowed; all that came before the file */
    size_t count;
    struct bytes bucket; /* of the request */
    uint64_t now_seconds;
};

struct post_limits { /* what the policy allows of the file */
    uint64_t size_min, size_max;
};

#define POST_MESSAGE_BYTES 280

/* S3_E(None), or why not; ret_message then is a sentence, which names the condition or field, or
 * "". `policy`: as sent. */
enum s3_error post_policy_judge(struct bytes policy, const struct post_form *form,
                                struct post_limits *ret_limits,
                                char ret_message[POST_MESSAGE_BYTES]);

/* Last of that name, or {NULL, 0}. */
struct bytes post_form_field(const struct post_form *form, struct bytes name);

#endif
