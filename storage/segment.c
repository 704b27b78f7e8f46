#include "storage/segment.h"

#include <stdio.h>
#include <stdlib.h>

#include "base/bytes.h"
#include "base/check.h"
#include "base/digest.h"

static const uint8_t magic[8] = {'S', 'l', 'u', 'i', 'c', 'e', 'S', 'g'};

#define SEGMENT_VERSION 1u
#define SUM_OFFSET      (UNIT_BYTES - 8)
#define NAME_CHARS      8u

/* ---- names and headers ---- */

static void dir_path(const char *volume_dir, char out[SEGMENT_PATH_BYTES_MAX])
{
    snprintf(out, SEGMENT_PATH_BYTES_MAX, "%s/seg", volume_dir);
}

void segment_path(const char *volume_dir, uint32_t number, char out[SEGMENT_PATH_BYTES_MAX])
{
    snprintf(out, SEGMENT_PATH_BYTES_MAX, "%s/seg/%08x", volume_dir, number);
}

bool segment_name_parse(const char *name, uint32_t *ret_number)
{
    uint8_t number[4];
    struct bytes hex = bytes_of_string(name);
    if (hex.size != NAME_CHARS || hex_decode(hex, number, sizeof number))
        return false;
    for (size_t i = 0; i < NAME_CHARS; i++)
        if (name[i] >= 'A' && name[i] <= 'F')
            return false; /* not as we write it */
    if (get_be32(number) >= SEGMENTS_MAX)
        return false;
    *ret_number = get_be32(number);
    return true;
}

void segment_header_encode(const uint8_t uuid[16], uint32_t number, uint64_t segment_bytes,
                           uint8_t out[UNIT_BYTES])
{
    memset(out, 0, UNIT_BYTES);
    memcpy(out, magic, sizeof magic);
    put_le32(out + 8, SEGMENT_VERSION);
    put_le32(out + 12, number);
    memcpy(out + 16, uuid, 16);
    put_le64(out + 32, segment_bytes);
    put_le64(out + SUM_OFFSET, xxh3_64(out, SUM_OFFSET));
}

enum err segment_header_judge(const uint8_t header[UNIT_BYTES], const uint8_t uuid[16],
                              uint32_t number, uint64_t segment_bytes)
{
    bool is_ours = memcmp(header, magic, sizeof magic) == 0 &&
                   get_le64(header + SUM_OFFSET) == xxh3_64(header, SUM_OFFSET) &&
                   get_le32(header + 8) == SEGMENT_VERSION && get_le32(header + 12) == number &&
                   memcmp(header + 16, uuid, 16) == 0 && get_le64(header + 32) == segment_bytes;
    return is_ours ? ERR_OK : ERR_CORRUPT;
}

/* ---- the table ---- */

enum err segments_init(struct segments *segments)
{
    /* Untouched pages cost nothing. */
    segments->table = calloc(SEGMENTS_MAX, sizeof *segments->table);
    return segments->table == NULL ? ERR_NO_MEMORY : ERR_OK;
}

static void segment_close(struct segment *segment)
{
    if (segment == NULL)
        return;
    if (segment->direct != NULL)
        segment->direct->disk->ops->close(segment->direct);
    if (segment->buffered != NULL)
        segment->buffered->disk->ops->close(segment->buffered);
    free(segment);
}
CLEANUP_DEFINE(segment_close, struct segment *)

void segments_fini(struct segments *segments)
{
    for (uint32_t i = 0; segments->table != NULL && i < atomic_load(&segments->limit); i++)
        segment_close(atomic_load(&segments->table[i]));
    free(segments->table);
    segments->table = NULL;
}

static void put_in(struct segments *segments, struct segment *segment)
{
    CHECK(segments_find(segments, segment->number) == NULL);
    if (segment->number >= atomic_load(&segments->limit))
        atomic_store(&segments->limit, segment->number + 1);
    atomic_store_explicit(&segments->table[segment->number], segment, memory_order_release);
    atomic_fetch_add(&segments->count, 1);
}

uint32_t segments_free_number(const struct segments *segments)
{
    uint32_t number = 0;
    while (number < SEGMENTS_MAX && segments_find(segments, number) != NULL)
        number++;
    return number;
}

static struct segment *segment_new(uint32_t number)
{
    struct segment *segment = calloc(1, sizeof *segment);
    if (segment != NULL)
        segment->number = number;
    return segment;
}

static enum err open_both(struct segments *segments, struct segment *segment, int how)
{
    struct disk *disk = segments->disk;
    char path[SEGMENT_PATH_BYTES_MAX];
    segment_path(segments->dir, segment->number, path);
    int direct = segments->is_direct ? DISK_DIRECT : 0;
    enum err e = disk->ops->open(disk, path, how | direct, &segment->direct);
    return e ? e : disk->ops->open(disk, path, DISK_READ, &segment->buffered);
}

/* ---- making ---- */

static enum err write_headers(struct segments *segments, struct segment *segment)
{
    _Alignas(DISK_ALIGN) uint8_t header[UNIT_BYTES];
    const struct disk_ops *ops = segments->disk->ops;
    segment_header_encode(segments->uuid, segment->number, segments->segment_bytes, header);
    for (uint32_t copy = 0; copy < SEGMENT_HEADER_UNITS; copy++) {
        enum err e =
            ops->pwrite(segment->direct, header, sizeof header, (uint64_t)copy * UNIT_BYTES);
        if (e)
            return e;
    }
    return ops->sync(segment->direct);
}

enum err segments_create(struct segments *segments, uint32_t number, struct segment **ret_segment,
                         struct err_trail *trail)
{
    const struct disk_ops *ops = segments->disk->ops;
    char path[SEGMENT_PATH_BYTES_MAX], dir[SEGMENT_PATH_BYTES_MAX];
    CHECK(!segments->read_only);
    CHECK(number < SEGMENTS_MAX);
    CLEANUP(segment_close) struct segment *segment = segment_new(number);
    if (segment == NULL)
        return ERR_NO_MEMORY;
    segment_path(segments->dir, number, path);
    dir_path(segments->dir, dir);
    enum err e = open_both(segments, segment, DISK_WRITE | DISK_CREATE);
    if (e == ERR_FILE_EXISTS) { /* one the index has forgotten and that could not be removed */
        e = ops->remove(segments->disk, path);
        e = e ? e : open_both(segments, segment, DISK_WRITE | DISK_CREATE);
    }
    bool is_made = segment->direct != NULL;
    if (e == ERR_OK)
        e = ops->allocate(segment->direct, 0, segments->segment_bytes);
    if (e == ERR_OK)
        e = write_headers(segments, segment);
    if (e == ERR_OK)
        e = ops->sync_dir(segments->disk, dir);
    if (e) {
        /* What stays is unknown to the index and goes at the next open. */
        if (is_made)
            (void)ops->remove(segments->disk, path);
        return err_note(trail, e, "make segment %08x", number);
    }
    *ret_segment = segment;
    put_in(segments, TAKE(segment));
    return ERR_OK;
}

/* ---- opening what is there ---- */

static enum err judge(struct segments *segments, struct segment *segment, struct err_trail *trail)
{
    const struct disk_ops *ops = segments->disk->ops;
    _Alignas(DISK_ALIGN) uint8_t header[UNIT_BYTES];
    uint64_t size;
    enum err e = ops->size(segment->direct, &size);
    if (e)
        return err_note(trail, e, "open segment %08x", segment->number);
    if (size < segments->segment_bytes)
        return err_say(trail, ERR_CORRUPT, "segment %08x has %llu bytes instead of %llu",
                       segment->number, (unsigned long long)size,
                       (unsigned long long)segments->segment_bytes);
    for (uint32_t copy = 0; copy < SEGMENT_HEADER_UNITS; copy++) {
        e = ops->pread(segment->direct, header, sizeof header, (uint64_t)copy * UNIT_BYTES);
        if (e == ERR_OK)
            e = segment_header_judge(header, segments->uuid, segment->number,
                                     segments->segment_bytes);
        if (e == ERR_OK)
            return ERR_OK;
    }
    if (e != ERR_CORRUPT)
        return err_note(trail, e, "read the header of segment %08x", segment->number);
    return err_say(trail, ERR_CORRUPT,
                   "segment %08x: both copies of its header are damaged or another volume's",
                   segment->number);
}

enum err segments_open(struct segments *segments, uint32_t number, struct err_trail *trail)
{
    CHECK(number < SEGMENTS_MAX);
    CLEANUP(segment_close) struct segment *segment = segment_new(number);
    if (segment == NULL)
        return ERR_NO_MEMORY;
    enum err e = open_both(segments, segment, segments->read_only ? DISK_READ : DISK_WRITE);
    if (e == ERR_NO_SUCH_FILE)
        return err_say(trail, ERR_CORRUPT, "segment %08x is missing", number);
    if (e)
        return err_note(trail, e, "open segment %08x", number);
    e = judge(segments, segment, trail);
    if (e)
        return e;
    put_in(segments, TAKE(segment));
    return ERR_OK;
}

/* ---- removing ---- */

enum err segments_remove(struct segments *segments, uint32_t number)
{
    const struct disk_ops *ops = segments->disk->ops;
    char path[SEGMENT_PATH_BYTES_MAX], dir[SEGMENT_PATH_BYTES_MAX];
    struct segment *segment = segments_find(segments, number);
    CHECK(segment != NULL);
    atomic_store(&segments->table[number], NULL);
    atomic_fetch_sub(&segments->count, 1);
    segment_close(segment);
    segment_path(segments->dir, number, path);
    dir_path(segments->dir, dir);
    enum err e = ops->remove(segments->disk, path);
    return e ? e : ops->sync_dir(segments->disk, dir);
}
