/* Times as S3 writes them: ISO 8601 in XML, IMF-fixdate in headers (RFC 9110 section 5.6.7), the
 * basic form in signatures. All UTC. Pure. */
#ifndef API_S3_TIME_H
#define API_S3_TIME_H

#include "base/bytes.h"

#define S3_TIME_ISO_BYTES   25 /* 2026-11-24T09:10:11.000Z */
#define S3_TIME_HTTP_BYTES  30 /* Tue, 24 Nov 2026 09:10:11 GMT */
#define S3_TIME_BASIC_BYTES 17 /* 20261124T091011Z */

/* Each writes its text and a NUL. */
void s3_time_iso(uint64_t real_ns, char out[S3_TIME_ISO_BYTES]);
void s3_time_http(uint64_t real_ns, char out[S3_TIME_HTTP_BYTES]);
void s3_time_basic(uint64_t real_ns, char out[S3_TIME_BASIC_BYTES]);

/* Any of HTTP's three forms. ERR_BAD_SYNTAX. Seconds since 1970; earlier times are 0. */
enum err s3_time_parse_http(struct bytes text, uint64_t *ret_seconds) MUST_USE;
enum err s3_time_parse_basic(struct bytes text, uint64_t *ret_seconds) MUST_USE;
/* 2026-11-24T09:10:11Z, with or without fractions of a second. */
enum err s3_time_parse_iso(struct bytes text, uint64_t *ret_seconds) MUST_USE;

#endif
