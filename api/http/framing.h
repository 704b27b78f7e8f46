/*
 * Where the payload lies in a request's body. A body has an outer framing (Content-Length or
 * chunked: RFC 9112, 6 and 7) and perhaps S3's aws-chunked inside it, with a signature a chunk and
 * trailers. This machine says how many of the next bytes of the stream are payload for certain, so
 * that these are received straight to where they belong; every other byte is shown to it. It
 * touches no socket and no memory but its own.
 *
 *     framing_init -> framing_next:
 *         PAYLOAD -> framing_run() bytes of it come next; framing_passed() tells when they have
 *         MARKUP  -> framing_markup() eats bytes up to the next payload
 *         OVER, or BROKEN: the outer framing ended inside an inner chunk
 *
 * Outer chunks: hexadecimal size of at most 16 digits, extensions skipped (one line at most
 * HTTP_CHUNK_LINE_BYTES_MAX), trailers skipped but well-formed and at most HTTP_TRAILERS_MAX. Each
 * byte of markup beyond 16 and twice the payload a chunk counts as waste, of which there is
 * HTTP_CHUNK_WASTE_BYTES_MAX: a stream of tiny chunks with long extensions is refused.
 *
 * Inner chunks (docs.aws.amazon.com, "Signature calculations for the Authorization header:
 * transferring payload in multiple chunks"):
 *
 *     hex-size[;chunk-signature=64 hex digits] CR LF payload CR LF ...
 *     0[;chunk-signature=...] CR LF *( name:value CR LF ) CR LF
 *
 * Of trailers the widespread form "name:value LF CR LF" is understood too; the outer framing is
 * what bounds the message.
 */
#ifndef API_HTTP_FRAMING_H
#define API_HTTP_FRAMING_H

#include "api/http/http.h"

enum framing_next { FRAMING_PAYLOAD, FRAMING_MARKUP, FRAMING_OVER, FRAMING_BROKEN };

struct framing {
    uint8_t outer, inner; /* states */
    /* Inner trailers: the last line ended without CR, so CR LF is still owed; it came, and the
     * closing one may be missing. */
    bool line_after_bare_lf, may_end;
    uint8_t trailer_count; /* of the framing whose trailers are being read */
    uint8_t digits;        /* of the outer chunk size */
    uint16_t line_size;    /* outer: of the line being skipped; inner lines are kept */
    uint16_t inner_line_size;
    uint32_t waste;
    uint64_t outer_left;          /* of the body (Content-Length) or of the outer chunk */
    uint64_t inner_left;          /* payload of the inner chunk */
    uint64_t announced, size_max; /* payload so far, the part of the chunk to come included */
    struct http_aws_chunks *aws;  /* borrowed; NULL: no inner framing */
    char line[HTTP_TRAILER_LINE_BYTES_MAX];
};

struct framing_options {
    bool is_chunked;
    uint64_t content_length;     /* when it is not */
    struct http_aws_chunks *aws; /* borrowed, or NULL */
    uint64_t size_max;           /* payload: more is ERR_TOO_LARGE as soon as it is announced */
};

/* ERR_TOO_LARGE when the length is known and too large. */
enum err framing_init(struct framing *framing, const struct framing_options *options) MUST_USE;
enum framing_next framing_next(const struct framing *framing);
uint64_t framing_run(const struct framing *framing); /* with FRAMING_PAYLOAD: how many bytes of it
                                                        come next, at least */
/* Payload has come, at most framing_run() bytes of it: tells the chunk callbacks. */
void framing_passed(struct framing *framing, const uint8_t *data, uint64_t size);
/* Eats markup until payload begins, the body ends or the data does. ERR_BAD_SYNTAX, ERR_TOO_LARGE
 * or what a chunk callback says. */
enum err framing_markup(struct framing *framing, const uint8_t *data, size_t size,
                        size_t *ret_used) MUST_USE;
/* Bytes of the message that are left for certain, or UINT64_MAX when that cannot be known. */
uint64_t framing_left(const struct framing *framing);

#endif
