#include "api/s3/auth.h"

#include "api/s3/service_priv.h"

_Static_assert(sizeof(struct s3_header) == sizeof(struct http_header) &&
                   offsetof(struct s3_header, value) == offsetof(struct http_header, value),
               "the engine's headers are read in place");
_Static_assert(SECRET_BYTES_MAX <= SIGV4_SECRET_BYTES_MAX, "every secret can sign");

static enum s3_authenticated find_key(struct s3_request *r, struct bytes id)
{
    enum err e = keyring_find(r->service->keyring, id, &r->auth.key);
    if (e == ERR_NO_SUCH_KEY_ID && !r->is_fresh && !group_is_fresh(r->service->group))
        return S3_AUTH_UNSURE;
    if (e) {
        if (e == ERR_NO_SUCH_KEY_ID)
            s3_fail(r, S3_E(InvalidAccessKeyId));
        else
            s3_fail_err(r, e);
        return S3_AUTH_REFUSED;
    }
    http_log_operation(r->x, r->route->operation, bytes_of_string(r->auth.key.id));
    return S3_AUTH_DONE;
}

bool s3_authenticate_key(struct s3_request *r, struct bytes id)
{
    CHECK(r->is_fresh);
    return find_key(r, id) == S3_AUTH_DONE;
}

void s3_auth_forget_secret(struct s3_request *r)
{
    explicit_bzero(r->auth.key.secret, sizeof r->auth.key.secret);
}

enum s3_authenticated s3_authenticate(struct s3_request *r)
{
    struct sigv4_request request = {
        .method = r->http->method_name,
        .path = r->http->path,
        .query = &r->query,
        .query_text = r->http->query,
        .headers = {.at = (const struct s3_header *)r->http->headers,
                    .count = r->http->header_count},
        .now_seconds = s3_now_ns(r) / NS_PER_SECOND,
    };
    struct sigv4 *sigv4 = &r->auth.sigv4;
    enum s3_error error = sigv4_parse(&request, sigv4);
    if (error) {
        s3_fail_text(r, error, "%s", sigv4->message ? sigv4->message : s3_error_text(error));
        return S3_AUTH_REFUSED;
    }
    if (sigv4->is_anonymous) {
        s3_fail(r, S3_E(AccessDenied));
        return S3_AUTH_REFUSED;
    }
    enum s3_authenticated found = find_key(r, sigv4->access_key);
    if (found != S3_AUTH_DONE)
        return found;
    error = sigv4_verify(&request, sigv4, bytes_of_string(r->auth.key.secret),
                         &r->worker->signing_keys);
    s3_auth_forget_secret(r);
    if (error) {
        s3_fail(r, error);
        return S3_AUTH_REFUSED;
    }
    return S3_AUTH_DONE;
}
