/*
 * A read plan walks the bytes of a range of an object as they lie on the disk: spans of segment
 * files, each inside one extent, or bytes of an inline object. It holds the object, so the space
 * cannot be reused below a reader.
 *
 *     read_plan_open
 *     -> read_plan_span (ERR_WOULD_BLOCK: read_plan_load on a thread that may block, then again)
 *     -> send or read the span or a part of it -> read_plan_advance
 *     -> ... until read_plan_left() is 0 -> read_plan_close
 *
 * A span can be served by sendfile from `fd`, or read by O_DIRECT from `direct` at unit-aligned
 * offsets and checked against its sums.
 */
#ifndef STORAGE_READ_PLAN_H
#define STORAGE_READ_PLAN_H

#include "storage/volume.h"

struct read_window; /* extents and sums of one data shard; storage's own */

struct read_plan {
    struct object *object; /* a reference of its own */
    uint64_t offset;       /* next byte of the object */
    uint64_t end;
    struct read_window *window; /* owned; NULL: the object's own */
    uint32_t piece_index;       /* storage's own: of the piece `offset` lies in, or one before */
};

struct read_span {
    const uint8_t *inline_data; /* not NULL: the bytes themselves (inline object) */
    int fd; /* buffered descriptor for sendfile; -1: none (no real Direct I/O, or no real disk) */
    struct disk_file *buffered; /* borrowed, valid while the plan is open */
    struct disk_file *direct;
    uint64_t file_offset; /* where the next byte lies */
    uint64_t size;        /* bytes of the object in this span, from there */
    /* verification: the sum chunks touching the span. Chunk 0 begins at chunk_file_offset <=
     * file_offset and every chunk is SUM_CHUNK_BYTES long but the last of the data, which is
     * last_chunk_size. */
    uint64_t chunk_file_offset;
    const uint64_t *sums;
    uint32_t chunk_count;
    uint32_t last_chunk_size;
    uint32_t segment, unit; /* where the extent begins, for receipts and errors */
    struct data_id data; /* whose bytes these are, and where in them chunk 0 begins: for repair */
    uint64_t chunk_data_offset;
};

/* [offset, offset+size) must lie in the object. Takes its own reference. */
void read_plan_open(struct read_plan *plan, struct object *object, uint64_t offset, uint64_t size);
void read_plan_close(struct read_plan *plan);
static inline uint64_t read_plan_left(const struct read_plan *plan)
{
    return plan->end - plan->offset;
}
/* The span at the plan's offset, as long as it is contiguous on disk. Never blocks. */
enum err read_plan_span(struct read_plan *plan, struct read_span *ret_span) MUST_USE;
/* B. Brings in what the next span needs. ERR_CORRUPT, ERR_IO. */
enum err read_plan_load(struct read_plan *plan) MUST_USE;
void read_plan_advance(struct read_plan *plan, uint64_t size); /* at most the span's size */

/* Whether some of the bytes to come lie in the index, not in extents. Never blocks. */
bool read_plan_has_inline(const struct read_plan *plan);
/* How the bytes to come are laid out, as far as memory knows. Never blocks. */
struct read_plan_shape {
    bool is_known;    /* else it is on the disk, or is too much to look up for this */
    uint32_t extents; /* that hold some of the bytes */
};
void read_plan_shape(const struct read_plan *plan, struct read_plan_shape *ret_shape);

/*
 * Checks bytes read at span->chunk_file_offset: `size` bytes covering whole chunks (the last one
 * may end with the data). ERR_CORRUPT when one does not match. Pure.
 */
enum err read_span_verify(const struct read_span *span, const uint8_t *data,
                          uint64_t size) MUST_USE;
/* Of the same bytes: the first chunk that does not match; chunk_count when all do. Pure. */
uint32_t read_span_first_bad(const struct read_span *span, const uint8_t *data, uint64_t size);

#endif
