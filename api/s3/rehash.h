/*
 * Reading stored bytes to hash them, for copies that must tell a hash nobody has: the MD5 of a
 * slice, a checksum of another kind. One slot at a time by O_DIRECT, each chunk checked against its
 * stored sum before it counts, and repaired from another node when it differs; the worker serves
 * others in between.
 *
 *     rehash_begin --> (span, read, verify, hash) ... --> r->op is woken; rehash_end
 */
#ifndef API_S3_REHASH_H
#define API_S3_REHASH_H

#include "api/s3/lanes.h"
#include "api/s3/request.h"

#define REHASH_MAGIC 0x52654861u

struct s3_rehash {
    uint32_t magic;
    struct s3_request *r;
    struct read_plan plan;
    bool plan_is_open;
    struct s3_ask *ask; /* for index records that are not in memory */
    struct slot *slot;  /* ours while reading */
    struct arena_waiter waiter;
    struct disk_io io;
    struct read_span span; /* being read */
    uint64_t read_size;    /* whole chunks of it */
    uint32_t skip, size;   /* of what was read: the bytes wanted */
    uint32_t repairs;      /* of what is being read */
    struct group_repair repair;
    enum err damage;   /* what for */
    uint8_t algorithm; /* checksum wanted; 0: none */
    struct digest md5, sum;
    struct s3_lane lane; /* the MD5's */
    struct s3_lane_job job;
    enum err err;
    struct loop_msg start;
};

/* [offset, offset + size) of the object, MD5 and, with an algorithm, a checksum. False: answered
 * with an error. */
bool s3_rehash_begin(struct s3_request *r, struct s3_rehash *rehash, struct object *object,
                     uint64_t offset, uint64_t size, uint8_t algorithm);
/* Once woken: what came out. */
enum err s3_rehash_end(struct s3_rehash *rehash, uint8_t md5[16],
                       struct checksum *ret_checksum) MUST_USE;
void s3_rehash_fini(struct s3_rehash *rehash); /* nothing in flight; zeroed ones are fine */

#endif
