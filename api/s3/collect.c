#include "api/s3/collect.h"

static void collect_done(struct http_collect *engine, enum err e)
{
    struct s3_collect *collect = CONTAINER_OF(engine, struct s3_collect, collect);
    CHECK_MAGIC(collect, COLLECT_MAGIC);
    collect->err = e;
    op_run(&collect->r->op);
}

bool s3_collect_begin(struct s3_request *r, struct s3_collect *collect,
                      enum s3_payload_hashes hashes)
{
    collect->magic = COLLECT_MAGIC;
    collect->r = r;
    struct s3_payload_options options = {
        .size_max = XML_BODY_BYTES_MAX,
        .hashes = hashes,
    };
    if (!s3_payload_accept(r, &collect->payload, &options))
        return false;
    collect->collect = (struct http_collect){
        .done = collect_done,
        .size_max = XML_BODY_BYTES_MAX,
        .aws = s3_payload_chunks(&collect->payload),
    };
    http_body_collect(r->x, &collect->collect);
    return true;
}

bool s3_collect_end(struct s3_request *r, struct s3_collect *collect, struct bytes *ret_document)
{
    struct bytes document = text_bytes(&collect->collect.text);
    s3_payload_update(&collect->payload, document.data, document.size);
    if (!s3_payload_judge(r, &collect->payload, collect->err))
        return false;
    *ret_document = document;
    return true;
}

void s3_collect_fini(struct s3_collect *collect)
{
    s3_payload_fini(&collect->payload);
}
