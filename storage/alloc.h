/*
 * The allocator: which units of which segments are in use, in memory only. The truth is KV_EXTENT:
 * a unit is used iff a record covers it, and at open each record is marked here once (alloc_mark),
 * which finds overlaps. From then on a set bit means reserved by a body, named in the index, or
 * dead and still wanted by a reader; whoever sets it clears it, exactly once.
 *
 *     free --alloc_take--> used --alloc_free--> free
 *
 * Small and large data fill segments of their own, so that small holes do not cut up the large
 * runs. Each class goes forward through its open segment (next fit); then the emptiest segment that
 * may hold a long enough run is opened.
 *
 * One mutex; it is held for at most ALLOC_SCAN_UNITS of bitmap at a time.
 */
#ifndef STORAGE_ALLOC_H
#define STORAGE_ALLOC_H

#include <stdbool.h>
#include <stdint.h>

#include "base/err.h"
#include "base/limits.h"

#define ALLOC_RUN_MAX ((uint32_t)(EXTENT_BYTES_MAX / UNIT_BYTES)) /* units asked for at once */
/* Data that is cut is cut in multiples of this. */
#define ALLOC_PIECE_UNITS     (SUM_CHUNK_BYTES / UNIT_BYTES)
#define ALLOC_SCAN_UNITS      (4096u * 64u)
#define ALLOC_SMALL_BYTES_MAX KIB(256)

enum alloc_class { ALLOC_SMALL, ALLOC_LARGE, ALLOC_CLASS_COUNT };
enum alloc_fit {
    ALLOC_WHOLE,  /* one run of all units or nothing */
    ALLOC_PIECES, /* the longest that is found: all units, or fewer, a multiple of ALLOC_PIECE_UNITS
                   */
};

struct alloc;
struct alloc_run {
    uint32_t segment, unit, units;
};

/* segment_units: a multiple of 64. The first header_units of each segment are never given out. */
enum err alloc_open(uint32_t segment_units, uint32_t header_units,
                    struct alloc **ret_alloc) MUST_USE;
void alloc_close(struct alloc *alloc);

enum err alloc_add(struct alloc *alloc, uint32_t segment) MUST_USE; /* wholly free */
/* Takes the segment away if no unit of it is in use. */
bool alloc_remove(struct alloc *alloc, uint32_t segment);
/* ERR_CORRUPT: outside a segment, in its header, or in use already: then nothing is marked. */
enum err alloc_mark(struct alloc *alloc, const struct alloc_run *run) MUST_USE;

/* units: 1..ALLOC_RUN_MAX. False: there is no such run. */
bool alloc_take(struct alloc *alloc, enum alloc_class class, uint32_t units, enum alloc_fit fit,
                struct alloc_run *ret_run);
void alloc_free(struct alloc *alloc, const struct alloc_run *run);

struct alloc_stats {
    uint32_t segments, segments_empty;
    uint64_t units_used, units_free; /* headers are neither */
};
void alloc_stats(struct alloc *alloc, struct alloc_stats *ret_stats);
/* The highest segment without used units; UINT32_MAX: there is none. */
uint32_t alloc_find_empty(struct alloc *alloc);
/* How many units of the segment are in use; false: no such segment. For maps and tests. */
bool alloc_segment_used(struct alloc *alloc, uint32_t segment, uint32_t *ret_used);
bool alloc_unit_is_used(struct alloc *alloc, uint32_t segment, uint32_t unit);

#endif
