/*
 * Segments: the files object bytes lie in. All have the volume's segment size, are preallocated
 * when made, and are written by Direct I/O only: through `direct`. `buffered` is for reading by
 * sendfile. Each begins with a header, in two copies of one unit:
 *
 *     offset  size
 *       0      8   magic "SluiceSg"       8   4  version (1)       12   4  segment number
 *      16     16   volume uuid           32   8  segment bytes
 *      40   4048   0
 *    4088      8   XXH3-64 of bytes 0..4087
 *
 * Making one: create, allocate, write both headers, sync, sync the directory. It counts once the
 * index holds KV_SYS "seg/<number>" (le64: its bytes), which is put no later than in the batch that
 * first names an extent in it; a file the index does not know is what a crash left and is removed
 * at open. Removing one: delete the record, sync, remove the file.
 *
 * The table is read without a lock by any thread; the volume's keeper thread alone changes it. A
 * segment goes only when none of its units is in use, so whoever holds an extent (a body, or a
 * pinned object) may keep using its files.
 */
#ifndef STORAGE_SEGMENT_H
#define STORAGE_SEGMENT_H

#include <stdatomic.h>

#include "base/cleanup.h"
#include "base/disk.h"
#include "base/limits.h"

#define SEGMENTS_MAX           65536u
#define SEGMENT_HEADER_UNITS   2u
#define SEGMENT_BYTES_MIN      MIB(1)
#define SEGMENT_BYTES_MAX      GIB(16)
#define SEGMENT_PATH_BYTES_MAX 320u /* a volume's directory has at most 255 bytes */

struct segment {
    uint32_t number;
    struct disk_file *direct, *buffered; /* owned */
    _Atomic uint64_t write_seq;          /* writes that have ended */
    _Atomic uint64_t sync_seq; /* of them, surely on the disk: a batch names nothing above it */
};

struct segments {
    struct disk *disk; /* borrowed */
    char dir[256];     /* of the volume */
    uint8_t uuid[16];
    uint64_t segment_bytes;
    bool is_direct; /* open `direct` by O_DIRECT */
    bool read_only;
    atomic_uint count, limit;         /* segments; no number is as high as limit */
    _Atomic(struct segment *) *table; /* owned; SEGMENTS_MAX entries */
};

/* <dir>/seg/XXXXXXXX, and back from the file's name alone. */
void segment_path(const char *volume_dir, uint32_t number, char out[SEGMENT_PATH_BYTES_MAX]);
bool segment_name_parse(const char *name, uint32_t *ret_number);

void segment_header_encode(const uint8_t uuid[16], uint32_t number, uint64_t segment_bytes,
                           uint8_t out[UNIT_BYTES]);
/* ERR_CORRUPT: no header of that segment of that volume. */
enum err segment_header_judge(const uint8_t header[UNIT_BYTES], const uint8_t uuid[16],
                              uint32_t number, uint64_t segment_bytes) MUST_USE;

enum err segments_init(struct segments *segments) MUST_USE; /* the fields above `count` are set */
void segments_fini(struct segments *segments);
/* NULL: there is no such segment. */
static inline struct segment *segments_find(const struct segments *segments, uint32_t number)
{
    return number < SEGMENTS_MAX
               ? atomic_load_explicit(&segments->table[number], memory_order_acquire)
               : NULL;
}
/* The lowest unused; SEGMENTS_MAX when there is none. */
uint32_t segments_free_number(const struct segments *segments);
/* B. A failure leaves no file. ERR_DISK_FULL. */
enum err segments_create(struct segments *segments, uint32_t number, struct segment **ret_segment,
                         struct err_trail *trail) MUST_USE;
/* B. Opens what is there and judges size and header. */
enum err segments_open(struct segments *segments, uint32_t number,
                       struct err_trail *trail) MUST_USE;
/* B. Closes its files and takes it off the disk. */
enum err segments_remove(struct segments *segments, uint32_t number) MUST_USE;

#endif
