/* A request's document (XML) collected in memory and held against what its headers promised:
 * length, MD5, SHA-256, checksum, signatures. */
#ifndef API_S3_COLLECT_H
#define API_S3_COLLECT_H

#include "api/s3/payload.h"
#include "api/s3/request.h"

#define COLLECT_MAGIC 0x53336f6cu

struct s3_collect {
    uint32_t magic;
    struct s3_request *r;
    struct http_collect collect;
    struct s3_payload payload;
    enum err err;
};

/* False: answered with an error already. Otherwise r->op is woken when the body is there. */
bool s3_collect_begin(struct s3_request *r, struct s3_collect *collect,
                      enum s3_payload_hashes hashes);
/* Then: the document, or false: answered with an error. Borrowed until end(). */
bool s3_collect_end(struct s3_request *r, struct s3_collect *collect, struct bytes *ret_document);
void s3_collect_fini(struct s3_collect *collect);

#endif
