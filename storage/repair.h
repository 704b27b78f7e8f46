/*
 * Damaged bytes: what a sum chunk of some data reads like now, and putting right bytes back in its
 * place. The index is believed, it has sums of its own; the disk is held against it.
 *
 *     volume_chunk_read()  ERR_CORRUPT, ERR_IO -> right bytes from a peer -> volume_chunk_rewrite()
 *
 * A chunk is rewritten where it lies: nothing in the index changes, whoever holds the object goes
 * on with it, and a disk that could not read a sector gets the chance to give it another place.
 * Only bytes that have the chunk's sum are written. The data is pinned meanwhile, so that the space
 * is not somebody else's by then.
 */
#ifndef STORAGE_REPAIR_H
#define STORAGE_REPAIR_H

#include "storage/volume.h"

/* One sum chunk of some data that does not read as it was written. */
struct damage {
    struct data_id data;
    uint64_t offset;  /* in the data, a multiple of SUM_CHUNK_BYTES */
    uint32_t size;    /* SUM_CHUNK_BYTES, less at the data's end */
    uint32_t segment; /* where it lies, for people */
    uint64_t file_offset;
    enum err err; /* ERR_CORRUPT or ERR_IO */
};

/*
 * B. The chunk at `offset` into `memory`, SUM_CHUNK_BYTES of it and DISK_ALIGN-aligned, by Direct
 * I/O, and checked. ERR_OK: *ret_size bytes. ERR_CORRUPT, ERR_IO: *ret_damage says what and where,
 * if not NULL. ERR_NO_SUCH_OBJECT: the data is gone. ERR_INVALID: it has no such chunk.
 */
enum err volume_chunk_read(struct volume *volume, struct data_id data, uint64_t offset,
                           uint8_t *memory, uint32_t *ret_size, struct damage *ret_damage) MUST_USE;

/*
 * B. Writes the chunk's `size` bytes, in such a memory whose tail is zeroed, over what is there;
 * synced and read back. ERR_INVALID: they are not the chunk's bytes, or the data keeps none of its
 * own (inline). ERR_NO_SUCH_OBJECT: it is gone, and all is well. ERR_CORRUPT: the disk does not
 * keep them. A sync that fails fails the volume, as ever.
 */
enum err volume_chunk_rewrite(struct volume *volume, struct data_id data, uint64_t offset,
                              uint8_t *memory, uint32_t size, struct err_trail *trail) MUST_USE;

#endif
