/*
 * The head of a request (RFC 9112), strictly: what two parsers could read differently is refused,
 * because the other parser may be a proxy in front of us (request smuggling). Pure functions over
 * bytes; nothing is copied, the request points into them.
 *
 * The rule for each ambiguity:
 *   line ends          CR LF; a bare LF or CR is refused as soon as it is seen;
 *                      one empty line before the request line is skipped
 *   request line       exactly one space between its three parts; HTTP/1.x, others 505
 *   target             "/..." or http(s)://host/...; "*" for OPTIONS only; printable, no '#';
 *                      bytes from 0x80 on are passed through
 *   header lines       a name of token characters right before the colon; no folding;
 *                      no control characters but tab in values
 *   Host               exactly one in 1.1, at most one in 1.0; an absolute target's goes before
 *   Content-Length     digits, once; never together with Transfer-Encoding
 *   Transfer-Encoding  "chunked", once, in 1.1 only; other codings 501
 *   Expect             100-continue; anything else 417; not looked at in 1.0
 *   too large          target 414; head or number of headers 431
 */
#ifndef API_HTTP_HEAD_H
#define API_HTTP_HEAD_H

#include "api/http/http.h"

/* Looks for the end of a head that arrives in pieces, each byte once. All zero to begin with. */
struct head_scan {
    uint32_t scanned;    /* bytes looked at */
    uint32_t line_start; /* where the line being scanned begins */
    uint32_t line_count; /* complete ones */
    uint32_t head_size;  /* once the end was found: asked again, it is told again */
};
/*
 * `data` is the head from its first byte, grown since the last call (it may have moved). ret_size:
 * the head's size with its final empty line, or 0 when it is incomplete.
 */
enum http_refusal head_scan(struct head_scan *scan, const char *data, size_t size,
                            uint32_t *ret_size) MUST_USE;

/* Parses a head as found by head_scan(). `headers` has room for HTTP_HEADERS_MAX. */
enum http_refusal head_parse(const char *data, size_t size, struct http_request *ret_request,
                             struct http_header *headers) MUST_USE;

bool head_is_token(struct bytes text);      /* one or more token characters (RFC 9110, 5.6.2) */
bool head_is_field_text(struct bytes text); /* no control characters but tab */

#endif
