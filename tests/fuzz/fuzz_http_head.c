/*
 * A head as the network may send it: found whole, found in pieces, parsed. What is accepted must be
 * free of what a second parser could read another way.
 */
#include <stdlib.h>

#include "api/http/head.h"

static void check_accepted(const struct http_request *r)
{
    CHECK(!(r->is_chunked && r->has_content_length));
    CHECK(r->header_count <= HTTP_HEADERS_MAX);
    CHECK(r->path.size > 0 && r->target.size <= HTTP_URI_BYTES_MAX);
    CHECK(r->minor_version <= 1);
    size_t hosts = 0, lengths = 0, codings = 0;
    for (size_t i = 0; i < r->header_count; i++) {
        CHECK(head_is_token(r->headers[i].name));
        CHECK(head_is_field_text(r->headers[i].value));
        hosts += bytes_equal_nocase(r->headers[i].name, BYTES("host"));
        lengths += bytes_equal_nocase(r->headers[i].name, BYTES("content-length"));
        codings += bytes_equal_nocase(r->headers[i].name, BYTES("transfer-encoding"));
    }
    CHECK(hosts <= 1 && lengths + codings <= 1);
    CHECK(hosts == 1 || r->minor_version == 0);
    CHECK((lengths == 1) == r->has_content_length);
    CHECK((codings == 1) == r->is_chunked);
}

/* However it is cut, the end is found at the same place, or the head refused. */
static void check_pieces(const char *data, size_t size, uint32_t whole_size,
                         enum http_refusal whole)
{
    struct head_scan scan = {0};
    uint32_t found = 0;
    enum http_refusal why = HTTP_REFUSE_NONE;
    for (size_t have = 1; have <= size && !why && found == 0; have++)
        why = head_scan(&scan, data, have, &found);
    CHECK(whole == HTTP_REFUSE_NONE ? found == whole_size : true);
    CHECK(whole_size > 0 || found == 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct http_header headers[HTTP_HEADERS_MAX];
    struct http_request request;
    struct head_scan scan = {0};
    uint32_t head_size = 0;
    enum http_refusal why = head_scan(&scan, (const char *)data, size, &head_size);
    check_pieces((const char *)data, size, head_size, why);
    if (why || head_size == 0)
        return 0;
    char *copy = malloc(head_size); /* exactly as long, so that the sanitizer sees a step beyond */
    CHECK(copy != NULL);
    memcpy(copy, data, head_size);
    if (head_parse(copy, head_size, &request, headers) == HTTP_REFUSE_NONE)
        check_accepted(&request);
    free(copy);
    return 0;
}
