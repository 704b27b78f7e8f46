/*
 * Receiving object bytes: the one path from a socket to an unnamed body on the disk, shared by
 * PutObject, UploadPart and the POST form.
 *
 *     engine fills a slot -+-> checksums while in cache -> group_body_write -+-> slot back to the
 *                          +-> MD5, side by side with other uploads ---------+   arena, read on
 *
 * Neither waits for the other, and several slots of an upload are under way at once. At most
 * `slots` arena slots are held at any time. When it is over, done() runs once, with no write and no
 * hash in flight: on success the body is ready to be named by a mutation, after a failure it has
 * been closed and nothing is left of it. Not one allocation on the way.
 */
#ifndef API_S3_RECEIVE_H
#define API_S3_RECEIVE_H

#include "api/http/http.h"
#include "api/s3/lanes.h"
#include "api/s3/payload.h"

#define RECEIVE_SLOTS_MAX 8
#define RECEIVE_MAGIC     0x52637674u

struct s3_receive;

struct receive_slot {
    struct body_write write;
    struct s3_receive *receive;
    struct slot *slot; /* ours until written and hashed; NULL: this place is free */
    struct s3_lane_job job;
    bool is_written, is_hashed;
};

struct s3_receive_options {
    struct exchange *x;
    struct group *group;
    struct s3_payload *payload;   /* accepted; borrowed until done() */
    unsigned slots;               /* 1..RECEIVE_SLOTS_MAX */
    struct s3_lane_worker *lanes; /* borrowed: for the MD5 */
    void (*done)(struct s3_receive *receive);
    /* For a body whose bytes are not all the object's (a form): sees each slot instead of the
     * default, which is s3_receive_write(). It opens the body itself, passes every slot on, sooner
     * or later, by s3_receive_write() or s3_receive_return(), and may give up by s3_receive_fail().
     * NULL: none. */
    void (*filter)(struct s3_receive *receive, struct slot *slot, uint32_t size, bool is_last);
    uint64_t message_size; /* with a filter: of the whole body; S3_SIZE_UNKNOWN if it is */
};

struct s3_receive {
    uint32_t magic;
    struct s3_receive_options options;
    struct http_body_sink sink;
    struct receive_slot slots[RECEIVE_SLOTS_MAX];
    struct s3_lane lane;
    unsigned places_used; /* slots being written or hashed */
    bool has_ended;       /* the engine said so */
    bool last_given;      /* the body has its last write */
    bool is_done;         /* done() was called; the engine may still be to end */
    /* results, valid in done() */
    enum err err;
    struct body *body; /* owned until taken; NULL after a failure */
    uint64_t size;
    struct err_trail trail;
};

/* Reserves space and starts receiving. An error returned: done() will not be called. */
enum err s3_receive_begin(struct s3_receive *receive,
                          const struct s3_receive_options *options) MUST_USE;
/* The body: space for payload->size. */
enum err s3_receive_open(struct s3_receive *receive) MUST_USE;
/* Hashes and writes a run that begins at the slot's start; a multiple of SUM_CHUNK_BYTES unless it
 * is the last. slot NULL: an empty last one. */
void s3_receive_write(struct s3_receive *receive, struct slot *slot, uint32_t size, bool is_last);
/* Unused; NULL does nothing. */
void s3_receive_return(struct s3_receive *receive, struct slot *slot);
/* done() follows, at the latest with the last write. */
void s3_receive_fail(struct s3_receive *receive, enum err e);
/* The request has been answered: done() is not called any more. */
void s3_receive_forget(struct s3_receive *receive);
struct body *s3_receive_take(struct s3_receive *receive); /* hands the body over */
/* Closes what was not taken; zeroed ones are fine. */
void s3_receive_fini(struct s3_receive *receive);

#endif
