/*
 * Between the files of a copy:
 *
 *     copy.c          rows as bytes and their judge, the mark, what is absent
 *     copy_source.c   rows out of a snapshot
 *     apply_copy.c    rows into the index, data into what is absent
 */
#ifndef STORAGE_COPY_PRIV_H
#define STORAGE_COPY_PRIV_H

#include "storage/copy.h"

/* Whether the row is the group's, and not the volume's own. */
bool copy__is_replicated(enum kv_family family, struct bytes key);

struct copy_rows {
    uint8_t *data; /* borrowed: COPY_ROWS_BYTES_MAX */
    size_t size;
};
/* False: no room. */
bool copy__row_put(struct copy_rows *rows, struct bytes key, struct bytes value);

struct copy_reader {
    struct bytes rest, key, value; /* borrowed */
    bool is_valid, is_bad;         /* bad: these are no rows */
};
bool copy__row_next(struct copy_reader *reader); /* false at the end */

#define COPY_MARK_BYTES 24u
void copy__mark_put(uint8_t out[COPY_MARK_BYTES], const struct copy_mark *mark);
enum err copy__mark_get(struct bytes record, struct copy_mark *ret_mark) MUST_USE;

#endif
