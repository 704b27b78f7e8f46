/*
 * The route table: which request is which S3 operation. It is data, read top to bottom, and the
 * first row that fits wins; the table of operations in the README is printed from it. A row without
 * a handler is something S3 has and we do not: 501 NotImplemented, never a wrong success. So every
 * sub-resource S3 knows stands here, or `PUT key?legal-hold` would be taken for an upload. Rows of
 * one method and resource stand together.
 */
#ifndef API_S3_ROUTES_H
#define API_S3_ROUTES_H

#include "api/http/http.h"
#include "api/s3/uri.h"

struct s3_request;
typedef void s3_handler_fn(struct s3_request *r);

enum s3_resource { S3_SERVICE, S3_BUCKET, S3_OBJECT, S3_RESOURCE_COUNT };

/* What becomes of the request's body. */
enum s3_body {
    S3_BODY_NONE,   /* nothing is read of it */
    S3_BODY_OBJECT, /* object bytes: streamed */
    S3_BODY_XML,    /* collected in memory */
    S3_BODY_FORM,   /* multipart/form-data, signed inside: the operation authenticates by itself */
};

struct s3_route {
    enum http_method method;
    enum s3_resource resource;
    const char *query;      /* parameter that must be there, "name" or "name=value"; NULL: none */
    const char *query_too;  /* another one, by name */
    const char *header;     /* header that must be there, "name" or "name=prefix of its value" */
    const char *operation;  /* as S3 names it */
    s3_handler_fn *handler; /* NULL: 501 */
    uint8_t needs;          /* grant bits on the bucket; 0: any key */
    enum s3_body body;
    bool makes_bucket; /* the bucket need not exist */
    bool is_anonymous; /* no signature is asked for */
};

/* The row that fits, or NULL: no such method on such a resource (405). */
const struct s3_route *s3_route_find(const struct http_request *http, enum s3_resource resource,
                                     const struct s3_query *query);

extern const struct s3_route s3_routes[];
extern const size_t s3_route_count;

/* The implemented rows as a Markdown table, then the names of the others, for the README. */
void s3_routes_print(struct text_buf *out);

#endif
