/*
 * Sizes, durations and addresses as people write them. Reading is strict: a number, an optional
 * unit, nothing else, and no overflow; what is printed can be read back.
 *
 *     size      4096   64KiB   64MiB   1.5GiB   10GB (powers of 1,000)
 *               B KiB MiB GiB TiB PiB kB MB GB TB PB
 *     duration  250ms  30s  5m  2h  1d
 *     address   127.0.0.1:9000   [::1]:9000   localhost:9000   0.0.0.0:9000
 */
#ifndef SERVER_UNITS_H
#define SERVER_UNITS_H

#include <stdbool.h>
#include <stdint.h>

#include "base/bytes.h"

/* ERR_BAD_SYNTAX, ERR_TOO_LARGE. */
enum err size_parse(struct bytes text, uint64_t *ret_bytes) MUST_USE;
enum err duration_parse(struct bytes text, uint64_t *ret_ns) MUST_USE;
void size_print(uint64_t bytes, struct buf *out);       /* exact: "64MiB", else bytes */
void size_print_human(uint64_t bytes, struct buf *out); /* "1.2 GiB": rounded, for reading only */
void duration_print(uint64_t ns, struct buf *out);      /* exact: "30s" */

#define HOST_BYTES_MAX 46u /* INET6_ADDRSTRLEN */
struct address {
    char host[HOST_BYTES_MAX]; /* numeric, without brackets */
    uint16_t port;
};
/* ERR_BAD_SYNTAX with a sentence. Names are not resolved, but for localhost: what is listened on
 * must not depend on a name server. */
enum err address_parse(struct bytes text, struct address *ret_address,
                       struct err_trail *trail) MUST_USE;
void address_print(const struct address *address, struct buf *out); /* IPv6 in brackets */
bool address_is_loopback(const struct address *address);
bool address_is_any(const struct address *address); /* 0.0.0.0 or :: */

#endif
