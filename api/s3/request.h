/*
 * A request in the hands of the S3 service: what was asked, by whom, and what it takes to answer.
 * It lives in its exchange's state from begin() to end(), and with it everything it took: blocks,
 * object references, text. An operation answers exactly once, through one of the s3_respond_*() or
 * s3_fail*() below.
 *
 * What a request has to wait for comes in two kinds, both embedded in it: a question (s3_ask) and a
 * change (s3_change). Their callbacks only wake the request's operation.
 */
#ifndef API_S3_REQUEST_H
#define API_S3_REQUEST_H

#include "api/s3/auth.h"
#include "api/s3/block.h"
#include "api/s3/document.h"
#include "api/s3/error.h"
#include "api/s3/handlers.h"
#include "api/s3/keyring.h"
#include "api/s3/op.h"
#include "api/s3/service.h"
#include "api/s3/uri.h"

#define S3_REQUEST_MAGIC 0x53335271u
/* An operation's own state that needs no block: a read plan, one change. */
#define S3_OWN_BYTES 1088u

struct s3_worker;
struct s3_lane_worker;

struct s3_request {
    uint32_t magic;
    struct s3_service *service;      /* borrowed */
    struct s3_worker *worker;        /* borrowed: this loop's caches and blocks */
    struct exchange *x;              /* borrowed */
    const struct http_request *http; /* borrowed */
    const struct s3_route *route;    /* static; NULL until found */
    struct op op;

    /* what was asked: names decoded, bytes exact */
    enum s3_resource resource;
    struct bytes bucket_name;  /* borrowed from the head */
    struct bytes key;          /* in key_text */
    struct s3_headers headers; /* the head's, and those a presigned URL carries in its query */
    struct bucket_info bucket; /* of bucket_name, once it is known to exist */

    /* taken, given back by end() */
    struct s3_block *blocks;
    /* The operation's own: references, plans, bodies; may be NULL. */
    void (*release)(struct s3_request *r);
    struct err_trail trail;
    uint64_t began_ns;
    bool has_answered;
    bool is_authenticated;
    bool is_fresh; /* nothing was acknowledged anywhere before this request that it could miss */
    bool has_sluice_headers; /* some x-sluice-... came: worth looking for one */
    enum s3_error error;     /* told to the client; for metrics */

    _Alignas(16) unsigned char own[S3_OWN_BYTES];

    /* by whom. Down to the grants, of which auth.key.grant_count tells how many there are, the
     * request is zeroed when it begins; what follows is written before it is read. */
    struct s3_auth auth;
    struct s3_query query;
    char key_text[KEY_BYTES_MAX + 1];
};
#define S3_REQUEST_ZEROED_BYTES offsetof(struct s3_request, auth.key.grants)

/* ---- memory ---- */
/* Zeroed, valid until end(). NULL: no block left; answer SlowDown. */
void *s3_take(struct s3_request *r, size_t size);
#define S3_OWN(r, type)                                                                            \
    ({                                                                                             \
        _Static_assert(sizeof(type) <= S3_OWN_BYTES, "needs a block");                             \
        (type *)(void *)(r)->own;                                                                  \
    })

/* ---- what was asked ---- */
/* {NULL, 0}: absent. Inline for the length of the name, which is known. */
static inline struct bytes s3_header(const struct s3_request *r, const char *name)
{
    return s3_headers_find(&r->headers, bytes_of_string(name));
}
/* Decoded; {NULL, 0}: absent. */
static inline struct bytes s3_param(const struct s3_request *r, const char *name)
{
    struct bytes value;
    return s3_query_find(&r->query, bytes_of_string(name), &value) ? value
                                                                   : (struct bytes){NULL, 0};
}
/* A parameter's number, `otherwise` when absent. False: answered with InvalidArgument. */
bool s3_param_u32(struct s3_request *r, const char *name, uint32_t otherwise, uint32_t *ret_value);
/* max-keys and its like: at most `max`, which is also what an absent one means. */
bool s3_param_max(struct s3_request *r, const char *name, uint32_t max, uint32_t *ret_value);
bool s3_param_names(struct s3_request *r, enum doc_names *ret_names); /* encoding-type */
/* The headers to store with an object. False: answered with an error. */
bool s3_meta_from_request(struct s3_request *r, uint8_t attrs[META_BYTES_MAX], size_t *ret_size);
/* Whether ?versionId is absent or "null": the one version there is. Otherwise false: answered with
 * an error. */
bool s3_version_is_null(struct s3_request *r);

/* ---- the service's ---- */
struct group *s3_group(const struct s3_request *r);
uint64_t s3_now_ns(const struct s3_request *r); /* wall clock */
struct rand *s3_rand(const struct s3_request *r);
unsigned s3_put_slots(const struct s3_request *r);
struct s3_lane_worker *s3_lanes(const struct s3_request *r);
bool s3_tells_receipts(const struct s3_request *r);

/* ---- questions ---- */
#define S3_ASK_MAGIC 0x53334173u
struct s3_ask {
    uint32_t magic;
    struct s3_request *r;
    struct group_ask ask;
};
struct s3_ask *s3_ask_take(struct s3_request *r); /* NULL: no block left; otherwise loop and done
                                                     are set, done wakes r->op */
void s3_ask_put(struct s3_ask *ask); /* early, when nothing was taken since; else end() does it */

/* ---- changes ---- */
#define S3_CHANGE_MAGIC 0x53334368u
struct s3_change {
    uint32_t magic;
    struct s3_request *r;
    struct mutation m;
};
/* m's bucket and key are r's, loop and done set; done wakes r->op. */
void s3_change_init(struct s3_request *r, struct s3_change *change, enum mutation_kind kind);
void s3_change_submit(struct s3_request *r, struct s3_change *change);

/* ---- finding an object, in memory or by asking ---- */
struct s3_lookup {
    struct object *object; /* a reference, s3_lookup_fini's */
    enum err err;
    struct s3_ask *ask; /* kept for the next time */
    bool is_asking;
};
/* true: answered at once. false: r->op is woken when it is. */
bool s3_lookup_begin(struct s3_request *r, struct s3_lookup *lookup, struct bucket_id bucket,
                     struct bytes key);
/* Afterwards, in either case: the result is in place. */
enum err s3_lookup_end(struct s3_lookup *lookup);
void s3_lookup_fini(struct s3_lookup *lookup);

/* ---- answers; each returns OP_END, for steps to end with ---- */
int s3_respond_empty(struct s3_request *r, int status);
/* Takes the text; an incomplete one is 503. */
int s3_respond_xml(struct s3_request *r, int status, struct text_buf *text);
int s3_fail(struct s3_request *r, enum s3_error error) COLD;
int s3_fail_extras(struct s3_request *r, enum s3_error error,
                   const struct s3_error_extra extras[S3_ERROR_EXTRAS_MAX]); /* more elements */
int s3_fail_text(struct s3_request *r, enum s3_error error, const char *format, ...)
    PRINTF_LIKE(3, 4) COLD; /* own message */
/* What a lower layer said; r->trail is logged when it is our side's trouble. */
int s3_fail_err(struct s3_request *r, enum err e) COLD;
int s3_fail_trail(struct s3_request *r, enum err e, const struct err_trail *trail) COLD;

#endif
