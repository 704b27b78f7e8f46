/*
 * Data: the bytes behind names, and where they lie. A layout says, for some data, its extents in
 * order and one XXH3-64 for each 64 KiB. It is what a body becomes when it is named, what the index
 * stores in shards of DATA_SHARD_BYTES, and what a read walks.
 */
#ifndef STORAGE_DATA_H
#define STORAGE_DATA_H

#include "storage/object.h"

/* A run of whole units in one segment. Only the last extent of some data may hold fewer bytes than
 * its units. Every extent but the last of some data holds a multiple of SUM_CHUNK_BYTES, so that a
 * sum chunk never spans two. */
struct extent {
    uint32_t segment;
    uint32_t unit;  /* first unit in the segment */
    uint32_t units; /* at most EXTENT_BYTES_MAX / UNIT_BYTES */
    uint32_t bytes; /* of data in it */
};

struct data_layout {
    struct data_id id;
    uint64_t size;
    bool is_inline;               /* then inline_data holds the bytes and there are no extents */
    const uint8_t *inline_data;   /* borrowed */
    uint64_t inline_sum;          /* XXH3-64 of the bytes */
    const struct extent *extents; /* borrowed */
    uint32_t extent_count;
    const uint64_t *sums; /* borrowed; one a SUM_CHUNK_BYTES of data */
    uint32_t sum_count;
};

static inline bool data_id_is_none(struct data_id id)
{
    return id.epoch == 0 && id.counter == 0;
}
static inline bool data_id_equal(struct data_id a, struct data_id b)
{
    return a.epoch == b.epoch && a.counter == b.counter;
}

/* What body.c tells apply.c of a body whose writes have all ended well. The pointers live as long
 * as the body. */
void body__layout(const struct body *body, struct data_layout *ret_layout);

#endif
