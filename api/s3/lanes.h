/*
 * Where the MD5s of uploads meet. One MD5 alone costs a core its whole speed; up to 16 together
 * cost the same (base/digest.h). So an upload does not hash its slots: it puts them in its lane,
 * and the lanes are hashed side by side, those of all workers together, by one worker after the
 * other.
 *
 *     s3_lane_open -> s3_lane_add ... job->hashed() -> s3_lane_close
 *
 * Hashing is what a loop does last. At the end of its turn a worker takes who has come, from
 * wherever, if all who are expected are there, or as many as there are vectors for. Otherwise its
 * sockets and disks get another turn first, which costs a system call; and when that brings nobody,
 * those who are there are hashed without waiting: company that does not come is not waited for.
 * While one worker hashes, the others go on receiving, and leave it their slots; only more than a
 * step can take make a second one hash. A step hashes LANE_STEP_BYTES of each lane at most, so that
 * the rest of a loop waits for one step, and latecomers join at the next.
 *
 * An upload below LANE_SHARED_BYTES_MIN is not worth the way between cores: it is hashed at the end
 * of its own worker's turn, with what came in the same turn.
 *
 * The jobs of a lane are hashed in order. It belongs to one loop, which is told of each, in any
 * order, as two workers may have hashed them. The lock is held for moments, by uploads of some size
 * only.
 */
#ifndef API_S3_LANES_H
#define API_S3_LANES_H

#include <pthread.h>
#include <stdatomic.h>

#include "base/digest.h"
#include "base/list.h"
#include "base/loop.h"

#define LANE_STEP_BYTES       262144u
#define LANE_SHARED_BYTES_MIN 65536u

struct s3_lane_set {
    struct list filled; /* lanes with jobs, the longest waiting first; without those being hashed */
    uint32_t filled_count, taken_count;
    uint32_t expected; /* open lanes: more may come of them */
    uint32_t added;    /* jobs, ever */
};

/* A node's. */
struct s3_lanes {
    pthread_mutex_t lock; /* over `shared` and the jobs of the lanes in it */
    struct s3_lane_set shared;
};

/* A worker's. */
struct s3_lane_worker {
    struct s3_lanes *lanes; /* borrowed */
    struct loop *loop;      /* borrowed, from the first lane opened */
    struct s3_lane_set own; /* small uploads */
    uint32_t looked;        /* shared.added when last looked */
    bool is_posted;
    struct loop_msg look;
};

struct s3_lane {
    struct s3_lane_worker *worker; /* borrowed; NULL: never opened */
    struct s3_lane_set *set;       /* borrowed */
    bool is_open, is_taken;
    atomic_bool is_unwanted;
    struct list link; /* in set->filled */
    struct list jobs;
};

struct s3_lane_job {
    struct digest *digest; /* borrowed: DIGEST_MD5, the same for all of a lane */
    const uint8_t *data;   /* untouched until hashed() */
    uint32_t size, done_size;
    void (*hashed)(struct s3_lane_job *job); /* once, later, on the lane's loop */
    struct s3_lane *lane;
    struct list link;
    struct loop_msg msg;
};

void s3_lanes_init(struct s3_lanes *lanes);
void s3_lanes_fini(struct s3_lanes *lanes);
void s3_lane_worker_init(struct s3_lane_worker *worker, struct s3_lanes *lanes);

/* size: of the whole upload; S3_SIZE_UNKNOWN and the like are large. */
void s3_lane_open(struct s3_lane *lane, struct s3_lane_worker *worker, struct loop *loop,
                  uint64_t size);
/* digest, data, size and hashed are set. */
void s3_lane_add(struct s3_lane *lane, struct s3_lane_job *job);
/* The digest is of no use any more: jobs end without hashing. */
void s3_lane_drop(struct s3_lane *lane);
/* Nothing more will be added. Jobs still in it end as ever. Does nothing for a closed one. */
void s3_lane_close(struct s3_lane *lane);

#endif
