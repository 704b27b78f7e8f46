/*
 * The S3 service: what the HTTP engine's exchanges mean. One request is one struct s3_request in
 * its exchange's state:
 *
 *     begin -> target (path or virtual-host style) -> route -> signature -> freshness -> permission
 *     -> the operation's handler -> one response -> end
 *
 * Freshness is what makes reads linearizable when several nodes hold the same objects
 * (group_fresh()); a node alone pays one load for it. But for that, everything up to the handler is
 * done at once, without waiting and without allocating; so is a GET whose record is in memory.
 * Operations that wait are lists of steps (api/s3/op.h). What a request needs beyond its exchange's
 * state comes from a bounded pool of blocks per worker; an empty pool is 503 SlowDown.
 */
#ifndef API_S3_SERVICE_H
#define API_S3_SERVICE_H

#include "api/http/http.h"
#include "api/s3/bucket_settings.h"
#include "api/s3/keyring.h"

#define S3_DOMAINS_MAX      8
#define S3_GZIP_BUCKETS_MAX 32

struct s3_service;

struct s3_service_options {
    struct group *group;     /* borrowed */
    struct keyring *keyring; /* borrowed */
    struct clock *clock;     /* borrowed; NULL: system */
    struct rand *rand;       /* borrowed; NULL: system. For upload ids */
    /* NULL: "us-east-1"; said in answers, never compared with what clients say. */
    const char *region;
    /* Names under which buckets are found as host prefixes: "s3.example.com" makes
     * bucket.s3.example.com work. Borrowed for the call. */
    const char *const *domains;
    unsigned domain_count; /* at most S3_DOMAINS_MAX */
    /* Buckets in which key.gz may be served for key (api/s3/variant.h), or "*". Borrowed likewise.
     */
    const char *const *gzip_buckets;
    unsigned gzip_bucket_count;              /* at most S3_GZIP_BUCKETS_MAX */
    unsigned worker_count;                   /* as given to the HTTP server */
    uint32_t blocks_max;                     /* per worker, 16 KiB each, made as needed; 0: 1024 */
    uint32_t put_slots;                      /* arena slots one upload may hold, 1..8; 0: 4 */
    struct bucket_settings *bucket_settings; /* borrowed; NULL: no bucket has any */
    struct path_policy get_policy;           /* of GETs whose bucket and headers say nothing else */
    /* Whom x-sluice-* response headers are told. */
    enum s3_receipts { S3_RECEIPTS_SIGNED, S3_RECEIPTS_ALL, S3_RECEIPTS_OFF } receipts;
};

enum err s3_service_open(const struct s3_service_options *options, struct s3_service **ret_service,
                         struct err_trail *trail) MUST_USE;
void s3_service_close(struct s3_service *service); /* after the server; NULL does nothing */
CLEANUP_DEFINE(s3_service_close, struct s3_service *)
/* What its workers may come to take: blocks, and what they remember of signatures. For the memory
 * budget. blocks_max as in the options. */
uint64_t s3_memory_bytes(unsigned worker_count, uint32_t blocks_max);
/* For http_server_options; valid until s3_service_close(). */
struct http_service *s3_service_http(struct s3_service *service);

#endif
