/*
 * Which data path a GET is to take: what the node's configuration says, over it what is set for the
 * bucket, over it what the request's headers say (x-sluice-path, x-sluice-require-path). The
 * headers are a signed request's: a request reaches here only when somebody answers for it.
 */
#ifndef API_S3_GET_POLICY_H
#define API_S3_GET_POLICY_H

#include "api/http/policy.h"

/* How often an object must have been read lately to be worth its place in the page cache: once is a
 * scan, twice is interest. */
#define GET_HOT_READS 2

struct s3_request;

/* False: answered with InvalidArgument, because a header names no path there is. */
bool s3_get_policy(struct s3_request *r, struct path_policy *ret_policy);

#endif
