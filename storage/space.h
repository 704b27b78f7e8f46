/*
 * Space: how a disk is shared between object bytes, the index and the ballast, and who may still
 * have some.
 *
 *     disk = segments (object bytes) + index + ballast + free
 *
 * Segments are preallocated, so an object write never meets a full disk; the index would, and a
 * disk on which it cannot even write a deletion never gets empty again. So some of the free space
 * is left to it: no segment is made that would take it. When others fill the disk all the same:
 *
 *     free below `low`, or a write of the index finds no space
 *         -> READ_ONLY: only what frees space is taken, the ballast is given up for it
 *     free at least twice `low`, and the ballast is restored
 *         -> OK again, by itself
 *
 * Bodies of known size claim all their units before the first byte is taken, so that a PUT that
 * cannot fit is refused at once. A claim is a promise, counted against free units and segments that
 * may still be made; taking units from the allocator turns it into a reservation.
 */
#ifndef STORAGE_SPACE_H
#define STORAGE_SPACE_H

#include <pthread.h>
#include <stdatomic.h>

#include "base/disk.h"
#include "base/list.h"

struct volume;

/* ---- policy: pure ---- */
/* 16 MiB..16 GiB, smaller on a disk below 1 GiB */
uint64_t space_segment_bytes(uint64_t disk_total_bytes);
uint64_t space_reserve_bytes(uint64_t disk_total_bytes); /* left to the index */
uint64_t space_ballast_bytes(uint64_t disk_total_bytes);
uint64_t space_low_bytes(uint64_t disk_total_bytes);
struct space_view {
    uint64_t disk_total_bytes, disk_free_bytes;
    uint64_t index_bytes; /* what the index takes already */
    uint64_t segment_bytes;
    bool has_ballast;
};
uint32_t space_growable(const struct space_view *view); /* segments that may be made */

/* ---- state ---- */
struct space_waiter { /* a body whose writes wait for a segment */
    struct loop *loop;
    struct loop_msg msg; /* posted when it is worth looking again */
    struct list link;
};

struct space {
    pthread_mutex_t lock;
    struct space_view view;    /* as last measured */
    _Atomic uint32_t growable; /* segments that may be made */
    uint64_t refused_at_bytes; /* free when a segment could not be made; 0: it could */
    uint64_t claimed_units;
    bool segment_wanted;  /* somebody waits */
    uint64_t spent_bytes; /* the committer's: written to the index since it last looked */
    struct list waiters;  /* of space_waiter */
    _Atomic uint64_t reserved_units;
};

void space_init(struct space *space);
void space_fini(struct space *space);
/* B. Asks disk and index how much there is. */
enum err space_measure(struct volume *volume) MUST_USE;

void space_enter_low(struct volume *volume, uint64_t free_bytes); /* READ_ONLY, and why */
/* The committer's, after each batch of so many bytes: enters READ_ONLY when the index has come near
 * the disk's end faster than the keeper looks. */
void space_spent(struct volume *volume, uint64_t index_bytes);

/* ERR_DISK_FULL when that much will not be there. */
enum err space_claim(struct volume *volume, uint64_t units) MUST_USE;
/* The same, claiming nothing. */
enum err space_judge(struct volume *volume, uint64_t units) MUST_USE;
void space_unclaim(struct volume *volume, uint64_t units);

/* Waits for more space if more can come: true, and the waiter's message will be posted. */
bool space_wait(struct volume *volume, struct space_waiter *waiter);
/* False: the message is on its way. */
bool space_wait_cancel(struct volume *volume, struct space_waiter *waiter);
void space_wake(struct volume *volume); /* all of them */

/* B. The ballast file. */
enum err space_ballast_make(struct volume *volume) MUST_USE;
enum err space_ballast_drop(struct volume *volume) MUST_USE;

#endif
