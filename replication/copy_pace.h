/*
 * How quickly a copy goes on, and how long it will take at that, from what the node that is filled
 * says of itself twice a second: of rows while they come, then of bytes. The pace is that of the
 * last 5 to 10 seconds, so it follows a load that comes and goes, and one report says nothing.
 */
#ifndef REPLICATION_COPY_PACE_H
#define REPLICATION_COPY_PACE_H

#include <stdbool.h>
#include <stdint.h>

#include "base/clock.h"

#define COPY_PACE_NS (5 * NS_PER_SECOND)

struct copy_pace { /* zeroed: nothing is known */
    bool is_bytes;
    struct copy_mile {
        uint64_t at_ns, done;
    } from, next, last; /* reports: the pace is from..last, and `next` will be `from` */
};

/* A report. What is not of the copy before, or is of the other kind, begins anew. */
void copy_pace_note(struct copy_pace *pace, uint64_t now_ns, bool is_bytes, uint64_t done);
uint64_t copy_pace_per_second(const struct copy_pace *pace); /* 0: none, or not known yet */
/* UINT64_MAX: not known. `in_all` is not exact: what is above it takes no time. */
uint64_t copy_pace_left_ns(const struct copy_pace *pace, uint64_t in_all);

#endif
