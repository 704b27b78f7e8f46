/* The service's inside, for the files that carry a request through it. */
#ifndef API_S3_SERVICE_PRIV_H
#define API_S3_SERVICE_PRIV_H

#include "api/s3/lanes.h"
#include "api/s3/request.h"

#define S3_DOMAIN_BYTES_MAX 253u /* RFC 1035 */

/* What belongs to one worker's loop and is touched by no other thread. */
struct s3_worker {
    struct s3_block_pool blocks;
    struct sigv4_cache signing_keys;
    struct s3_lane_worker lanes;
};

struct s3_service {
    struct http_service http; /* first: what the engine hands back */
    struct group *group;      /* borrowed */
    struct keyring *keyring;  /* borrowed */
    struct clock *clock;      /* borrowed */
    struct rand *rand;        /* borrowed */
    char region[32];
    struct bytes domains[S3_DOMAINS_MAX]; /* into domain_text */
    size_t domain_count;
    char domain_text[S3_DOMAINS_MAX][S3_DOMAIN_BYTES_MAX + 1];
    char gzip_buckets[S3_GZIP_BUCKETS_MAX][BUCKET_NAME_BYTES_MAX + 1];
    size_t gzip_bucket_count;
    unsigned put_slots;
    struct s3_lanes lanes;
    enum s3_receipts receipts;
    struct bucket_settings *bucket_settings; /* borrowed; may be NULL */
    struct path_policy get_policy;
    unsigned worker_count;
    struct s3_worker *workers[]; /* owned; each in memory of its own: no line is shared */
};

#endif
