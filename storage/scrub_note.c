#include <stdio.h>

#include "base/digest.h"
#include "storage/scrub_priv.h"
#include "storage/volume_priv.h"

/*
 * <dir>/scrub, 4 KiB, little-endian:
 *
 *      0  magic "SluiceSc"    8 u32 version (1)   12 u32 state   16 u32 phase   20 u32 zero
 *     24  data: u64 epoch, u64 counter   40 u64 offset   48 u64 rate
 *     56  u64 started   64 u64 ended   72 u64 verified   80 u64 data
 *     88  u64 damaged   96 u64 repaired   104 u64 since   112 zeros
 *   4088  u64 XXH3-64 of bytes 0..4087
 */
#define SUM_OFFSET (SCRUB_NOTE_LENGTH - 8)
#define VERSION    1u

static const uint8_t magic[8] = {'S', 'l', 'u', 'i', 'c', 'e', 'S', 'c'};

void scrub__note_encode(const struct scrub_note *note, uint8_t out[SCRUB_NOTE_LENGTH])
{
    const struct scrub_status *status = &note->status;
    memset(out, 0, SCRUB_NOTE_LENGTH);
    memcpy(out, magic, sizeof magic);
    put_le32(out + 8, VERSION);
    put_le32(out + 12, (uint32_t)status->state);
    put_le32(out + 16, (uint32_t)note->place.phase);
    put_le64(out + 24, note->place.data.epoch);
    put_le64(out + 32, note->place.data.counter);
    put_le64(out + 40, note->place.offset);
    put_le64(out + 48, status->rate_bytes);
    put_le64(out + 56, status->started_ns);
    put_le64(out + 64, status->ended_ns);
    put_le64(out + 72, status->verified_bytes);
    put_le64(out + 80, status->data_count);
    put_le64(out + 88, status->damaged);
    put_le64(out + 96, status->repaired);
    put_le64(out + 104, note->since_ns);
    put_le64(out + SUM_OFFSET, xxh3_64(out, SUM_OFFSET));
}

enum err scrub__note_decode(const uint8_t in[SCRUB_NOTE_LENGTH], struct scrub_note *ret_note)
{
    if (memcmp(in, magic, sizeof magic) != 0 ||
        get_le64(in + SUM_OFFSET) != xxh3_64(in, SUM_OFFSET))
        return ERR_CORRUPT;
    if (get_le32(in + 8) != VERSION)
        return ERR_FORMAT_NEWER;
    uint32_t state = get_le32(in + 12), phase = get_le32(in + 16);
    struct scrub_note note = {
        .status =
            {
                .state = (enum scrub_state)state,
                .rate_bytes = get_le64(in + 48),
                .started_ns = get_le64(in + 56),
                .ended_ns = get_le64(in + 64),
                .verified_bytes = get_le64(in + 72),
                .data_count = get_le64(in + 80),
                .damaged = get_le64(in + 88),
                .repaired = get_le64(in + 96),
            },
        .place =
            {
                .phase = (enum scrub_phase)phase,
                .data = {get_le64(in + 24), get_le64(in + 32)},
                .offset = get_le64(in + 40),
            },
        .since_ns = get_le64(in + 104),
    };
    bool is_good =
        state <= SCRUB_DONE && phase <= SCRUB_INLINE && note.status.rate_bytes >= SCRUB_RATE_MIN &&
        note.status.rate_bytes <= SCRUB_RATE_MAX && note.status.repaired <= note.status.damaged &&
        note.place.offset % SUM_CHUNK_BYTES == 0;
    if (!is_good)
        return ERR_CORRUPT;
    *ret_note = note;
    return ERR_OK;
}

static void note_path(const struct volume *volume, char out[VOLUME_DIR_BYTES + 16])
{
    snprintf(out, VOLUME_DIR_BYTES + 16, "%s/" SCRUB_FILE, volume->dir);
}

enum err scrub__note_read(struct volume *volume, struct scrub_note *ret_note)
{
    char path[VOLUME_DIR_BYTES + 16];
    uint8_t bytes[SCRUB_NOTE_LENGTH];
    struct disk_file *file;
    note_path(volume, path);
    enum err e = volume->disk->ops->open(volume->disk, path, DISK_READ, &file);
    if (e)
        return e;
    e = volume->disk->ops->pread(file, bytes, sizeof bytes, 0);
    volume->disk->ops->close(file);
    return e ? e : scrub__note_decode(bytes, ret_note);
}

/* Over what is there: a crash in between leaves one that is damaged, and a pass begins anew. */
enum err scrub__note_write(struct volume *volume, const struct scrub_note *note)
{
    char path[VOLUME_DIR_BYTES + 16];
    uint8_t bytes[SCRUB_NOTE_LENGTH];
    struct disk_file *file;
    const struct disk_ops *ops = volume->disk->ops;
    note_path(volume, path);
    scrub__note_encode(note, bytes);
    enum err e = ops->open(volume->disk, path, DISK_WRITE, &file);
    if (e == ERR_NO_SUCH_FILE)
        e = ops->open(volume->disk, path, DISK_WRITE | DISK_CREATE, &file);
    if (e)
        return e;
    e = ops->pwrite(file, bytes, sizeof bytes, 0);
    if (e == ERR_OK)
        e = ops->sync(file);
    ops->close(file);
    return e;
}
