#include "storage/superblock.h"

#include "base/check.h"
#include "base/digest.h"
#include "base/limits.h"
#include "storage/segment.h"

static const uint8_t magic[8] = {'S', 'l', 'u', 'i', 'c', 'e', 0, 'V'};

#define SUM_OFFSET (SUPERBLOCK_SLOT_BYTES - 8)
_Static_assert(SUPERBLOCK_SLOT_BYTES == DISK_ALIGN, "a slot is written by one direct write");

void superblock_encode(const struct superblock *sb, uint8_t slot[SUPERBLOCK_SLOT_BYTES])
{
    memset(slot, 0, SUPERBLOCK_SLOT_BYTES);
    memcpy(slot, magic, sizeof magic);
    put_le32(slot + 8, sb->format_major);
    put_le32(slot + 12, sb->format_minor);
    put_le64(slot + 16, sb->features_compat);
    put_le64(slot + 24, sb->features_read_only);
    put_le64(slot + 32, sb->features_incompat);
    memcpy(slot + 40, sb->uuid, sizeof sb->uuid);
    put_le32(slot + 56, sb->unit_bytes);
    put_le32(slot + 60, sb->sum_chunk_bytes);
    put_le64(slot + 64, sb->segment_bytes);
    put_le64(slot + 72, sb->created_ns);
    put_le64(slot + 80, sb->generation);
    put_le64(slot + 88, sb->mount_epoch);
    put_le32(slot + 96, (uint32_t)sb->state);
    put_le64(slot + 104, sb->durable_commit_seq);
    put_le64(slot + SUM_OFFSET, xxh3_64(slot, SUM_OFFSET));
}

static enum err judge_values(const struct superblock *sb)
{
    if (sb->unit_bytes != UNIT_BYTES || sb->sum_chunk_bytes != SUM_CHUNK_BYTES)
        return ERR_FORMAT_NEWER; /* another choice is a feature this one does not know */
    if (sb->segment_bytes < SEGMENT_BYTES_MIN || sb->segment_bytes > SEGMENT_BYTES_MAX ||
        (sb->segment_bytes & (sb->segment_bytes - 1)) != 0)
        return ERR_CORRUPT;
    if (sb->state != SUPERBLOCK_CLEAN && sb->state != SUPERBLOCK_DIRTY)
        return ERR_CORRUPT;
    return sb->generation == 0 ? ERR_CORRUPT : ERR_OK;
}

enum err superblock_decode(const uint8_t slot[SUPERBLOCK_SLOT_BYTES],
                           struct superblock *ret_superblock)
{
    if (memcmp(slot, magic, sizeof magic) != 0)
        return ERR_NOT_VOLUME;
    if (get_le64(slot + SUM_OFFSET) != xxh3_64(slot, SUM_OFFSET))
        return ERR_CORRUPT;
    struct superblock sb = {
        .format_major = get_le32(slot + 8),
        .format_minor = get_le32(slot + 12),
        .features_compat = get_le64(slot + 16),
        .features_read_only = get_le64(slot + 24),
        .features_incompat = get_le64(slot + 32),
        .unit_bytes = get_le32(slot + 56),
        .sum_chunk_bytes = get_le32(slot + 60),
        .segment_bytes = get_le64(slot + 64),
        .created_ns = get_le64(slot + 72),
        .generation = get_le64(slot + 80),
        .mount_epoch = get_le64(slot + 88),
        .state = (enum superblock_state)get_le32(slot + 96),
        .durable_commit_seq = get_le64(slot + 104),
    };
    memcpy(sb.uuid, slot + 40, sizeof sb.uuid);
    /* Of a newer format nothing but the head can be believed to mean what we think. */
    if (sb.format_major > FORMAT_MAJOR || (sb.features_incompat & ~FEATURES_KNOWN_INCOMPAT) != 0) {
        *ret_superblock = sb;
        return ERR_FORMAT_NEWER;
    }
    if (sb.format_major == 0)
        return ERR_CORRUPT;
    enum err e = judge_values(&sb);
    if (e == ERR_OK)
        *ret_superblock = sb;
    return e;
}

static uint64_t slot_offset(uint64_t generation, unsigned copy)
{
    return (2 * (generation & 1) + copy) * (SUPERBLOCK_BYTES / SUPERBLOCK_SLOTS);
}

static enum err tell_newer(const struct superblock *sb, struct err_trail *trail)
{
    return err_say(trail, ERR_FORMAT_NEWER,
                   "written by a newer Sluice: format %u.%u, features %#llx that this one (format "
                   "%u.%u) does not know",
                   sb->format_major, sb->format_minor,
                   (unsigned long long)(sb->features_incompat & ~FEATURES_KNOWN_INCOMPAT),
                   FORMAT_MAJOR, FORMAT_MINOR);
}

static bool is_zero(const uint8_t *data, size_t size)
{
    return data[0] == 0 && memcmp(data, data + 1, size - 1) == 0;
}

enum err superblock_read(struct disk_file *file, struct superblock *ret_superblock,
                         struct err_trail *trail)
{
    const struct disk_ops *ops = file->disk->ops;
    _Alignas(DISK_ALIGN) uint8_t slot[SUPERBLOCK_SLOT_BYTES];
    struct superblock best = {0}, newer = {0}, one;
    bool has_newer = false, all_zero = true;
    uint64_t size;
    enum err e = ops->size(file, &size);
    if (e)
        return err_note(trail, e, "read the superblock");
    for (unsigned i = 0; i < SUPERBLOCK_SLOTS; i++) {
        uint64_t offset = slot_offset(i / 2, i % 2);
        if (size < offset + sizeof slot)
            continue;
        e = ops->pread(file, slot, sizeof slot, offset);
        if (e == ERR_NO_MEMORY)
            return err_note(trail, e, "read the superblock");
        if (e) { /* a bad sector: that is what the other copies are for */
            all_zero = false;
            continue;
        }
        all_zero = all_zero && is_zero(slot, sizeof slot);
        e = superblock_decode(slot, &one);
        if (e == ERR_FORMAT_NEWER && one.generation >= newer.generation)
            newer = one, has_newer = true;
        if (e == ERR_OK && one.generation > best.generation)
            best = one;
    }
    if (has_newer && newer.generation > best.generation)
        return tell_newer(&newer, trail);
    if (best.generation > 0) {
        *ret_superblock = best;
        return ERR_OK;
    }
    if (all_zero)
        return err_say(trail, ERR_NOT_VOLUME,
                       "the superblock was never written: an interrupted format");
    return err_say(trail, ERR_CORRUPT, "none of the superblock's %u slots is whole",
                   SUPERBLOCK_SLOTS);
}

enum err superblock_write(struct disk_file *file, struct superblock *superblock,
                          struct err_trail *trail)
{
    const struct disk_ops *ops = file->disk->ops;
    _Alignas(DISK_ALIGN) uint8_t slot[SUPERBLOCK_SLOT_BYTES];
    struct superblock next = *superblock;
    next.generation++;
    superblock_encode(&next, slot);
    enum err e = ERR_OK;
    for (unsigned copy = 0; e == ERR_OK && copy < 2; copy++)
        e = ops->pwrite(file, slot, sizeof slot, slot_offset(next.generation, copy));
    if (e == ERR_OK)
        e = ops->sync(file);
    if (e)
        return err_note(trail, e, "write the superblock");
    superblock->generation = next.generation;
    return ERR_OK;
}
