/*
 * A body is object bytes on their way to the disk: space reserved, bytes written by O_DIRECT
 * straight out of arena slots with several writes in flight, one XXH3-64 a 64 KiB computed while
 * they are in cache. It has no name: a mutation gives it one (storage/object.h) after all writes
 * have ended, or body_close() gives its space back. Nothing else remembers it, so a crash leaves
 * nothing.
 *
 *     body_open -> body_write ... body_write (the last of any size) -> mutation.body -> committed
 *                                              \-> body_close: space is free again
 *
 * Data of at most INLINE_BYTES_MAX is kept in the body's own memory and goes into the index.
 * Whether it is that small is known from the size given, or, when that is unknown, from the first
 * write: the last one at once, or not.
 *
 * A size that is known is claimed as a whole when the body is opened, so what cannot fit is refused
 * before its first byte; units are taken from the allocator as writes come near them. When a
 * segment must be made first, writes wait for it in the body, not the loop.
 *
 * One loop owns a body. After a write error the body only takes body_close().
 */
#ifndef STORAGE_BODY_H
#define STORAGE_BODY_H

#include "base/disk.h"
#include "storage/object.h"

struct volume;

#define BODY_SIZE_UNKNOWN UINT64_MAX

struct body_options {
    struct loop *loop;
    uint64_t size;     /* exact, or BODY_SIZE_UNKNOWN: reserved as it grows */
    struct data_id id; /* of data made elsewhere: the same bytes, the same name; none: a new one */
};

/* ERR_DISK_FULL, ERR_READ_ONLY, ERR_VOLUME_FAILED, ERR_BUSY (no memory for another body) */
enum err body_open(struct volume *volume, const struct body_options *options,
                   struct body **ret_body, struct err_trail *trail) MUST_USE;
/* Whether there is room for such a body now; nothing is set aside for it. ERR_DISK_FULL,
 * ERR_READ_ONLY, ERR_VOLUME_FAILED. Any thread. */
enum err body_judge_size(struct volume *volume, uint64_t size, struct err_trail *trail) MUST_USE;

struct body_write;
typedef void body_written_fn(struct body_write *write, enum err e);
struct body_write {
    struct disk_io io; /* a slot that meets an extent's border is written piece after piece */
    struct body *body;
    struct body_write *next; /* waiting for space */
    body_written_fn *written;
    void *user; /* borrowed: the caller's */
    uint8_t *data;
    uint32_t size, written_size; /* whole units; how many of them are on their way or done */
    uint64_t data_offset;
    enum err err;
};

/*
 * Appends `size` bytes, at most SLOT_LARGE_BYTES. `data` is a slot's start (UNIT-aligned) and stays
 * untouched until written() runs, on the body's loop, exactly once. A last write of size 0 is
 * allowed (a body whose end was not known in time). Every write but the last is a multiple of
 * SUM_CHUNK_BYTES; the last one's tail is zeroed up to a whole unit in the slot itself. The sums
 * are computed inside this call. An error returned: no callback will come.
 */
enum err body_write(struct body *body, struct body_write *write, uint8_t *data, uint32_t size,
                    bool last, body_written_fn *written, struct err_trail *trail) MUST_USE;

struct data_id body_data_id(const struct body *body);
struct loop *body_loop(const struct body *body);
uint64_t body_size_expected(const struct body *body); /* as it was opened: or BODY_SIZE_UNKNOWN */
struct bytes body_inline_bytes(const struct body *body); /* borrowed; empty when not inline */
uint64_t body_size(const struct body *body);             /* bytes taken so far */
/* XXH3-64 of each SUM_CHUNK_BYTES taken so far, none of an inline body; borrowed until the next
 * body_write(). */
const uint64_t *body_sums(const struct body *body, uint32_t *ret_count);
void body_set_user(struct body *body, void *user); /* borrowed: the layer's above */
void *body_user(const struct body *body);
uint32_t body_writes_pending(const struct body *body);
bool body_is_inline(const struct body *body);
/* Gives the space back; writes still in flight finish first by themselves (their callbacks run).
 * NULL does nothing. */
void body_close(struct body *body);

#endif
