/* Counts of requests by operation and of errors by code, and how long operations took. Labels come
 * from the two tables, so they are bounded. */
#ifndef API_S3_TALLY_H
#define API_S3_TALLY_H

#include "api/s3/error.h"
#include "api/s3/routes.h"

void tally_register(void);
/* route NULL: the request was none we know. */
void tally_request(const struct s3_route *route, enum s3_error error, uint64_t took_ns);

#endif
