/* Every extent's bytes read by Direct I/O and held against their sums. */
#include <inttypes.h>
#include <stdlib.h>

#include "base/digest.h"
#include "storage/fsck_priv.h"
#include "storage/keys.h"
#include "storage/records.h"
#include "storage/segment.h"

#define READ_BYTES SLOT_LARGE_BYTES
_Static_assert(READ_BYTES % SUM_CHUNK_BYTES == 0, "whole chunks are read");

static enum err open_segment(struct fsck *fsck, uint32_t segment)
{
    if (fsck->pass.is_open && fsck->pass.segment == segment)
        return ERR_OK;
    if (fsck->pass.is_open)
        fsck->pass.file->disk->ops->close(fsck->pass.file);
    fsck->pass.is_open = false;
    char path[SEGMENT_PATH_BYTES_MAX];
    segment_path(fsck->options->dir, segment, path);
    int direct = fsck->options->allow_buffered ? 0 : DISK_DIRECT;
    enum err e = fsck->disk->ops->open(fsck->disk, path, DISK_READ | direct, &fsck->pass.file);
    if (!e) {
        fsck->pass.is_open = true;
        fsck->pass.segment = segment;
    }
    return e;
}

/* One extent, chunk by chunk; `sums` are those from its first byte on. */
static void verify_extent(struct fsck *fsck, struct data_id id, const struct extent *extent,
                          const struct data_record *data, uint32_t first_sum)
{
    uint64_t at = (uint64_t)extent->unit * UNIT_BYTES;
    if (open_segment(fsck, extent->segment)) {
        fsck__find(fsck, FSCK_UNREADABLE, "segment %08x cannot be opened", extent->segment);
        return;
    }
    for (uint32_t done = 0; done < extent->bytes;) {
        uint32_t part = extent->bytes - done < READ_BYTES ? extent->bytes - done : READ_BYTES;
        uint32_t aligned = (part + DISK_ALIGN - 1) & ~(DISK_ALIGN - 1);
        if (fsck->pass.file->disk->ops->pread(fsck->pass.file, fsck->pass.memory, aligned,
                                              at + done)) {
            fsck__find(fsck, FSCK_UNREADABLE,
                       "data %" PRIu64 ".%" PRIu64 ": segment %08x byte %" PRIu64, id.epoch,
                       id.counter, extent->segment, at + done);
            done += part;
            continue;
        }
        for (uint32_t chunk = 0; chunk < part; chunk += SUM_CHUNK_BYTES) {
            uint32_t size = part - chunk < SUM_CHUNK_BYTES ? part - chunk : SUM_CHUNK_BYTES;
            uint32_t sum = first_sum + (done + chunk) / SUM_CHUNK_BYTES;
            if (xxh3_64(fsck->pass.memory + chunk, size) != record_data_sum(data, sum))
                fsck__find(fsck, FSCK_CHECKSUM,
                           "data %" PRIu64 ".%" PRIu64 ": segment %08x byte %" PRIu64 ", %u bytes",
                           id.epoch, id.counter, extent->segment, at + done + chunk, size);
        }
        done += part;
        fsck->counts.bytes_verified += part;
        fsck__progress(fsck, "checksums", fsck->counts.bytes_verified, fsck->counts.bytes_stored);
    }
}

static enum err verify_shard(struct fsck *fsck, struct bytes key, struct bytes value)
{
    struct data_id id;
    uint32_t shard;
    struct data_record data;
    if (key_data_parse(key, &id, &shard) || shard == DATA_REFS_SHARD ||
        record_data_get(value, shard, &data))
        return ERR_OK; /* told when the index was checked */
    uint64_t offset = 0;
    for (uint32_t i = 0; i < data.extent_count; i++) {
        struct extent extent = record_data_extent(&data, i);
        bool is_inside = fsck__has_segment(fsck, extent.segment) &&
                         (uint64_t)extent.unit + extent.units <= fsck->segment_bytes / UNIT_BYTES;
        if (is_inside)
            verify_extent(fsck, id, &extent, &data, (uint32_t)(offset / SUM_CHUNK_BYTES));
        offset += extent.bytes;
    }
    return ERR_OK;
}

enum err fsck__data(struct fsck *fsck)
{
    if (posix_memalign((void **)&fsck->pass.memory, DISK_ALIGN, READ_BYTES) != 0)
        return ERR_NO_MEMORY;
    enum err e = fsck__walk(fsck, KV_DATA, (struct bytes){NULL, 0}, "checksums", verify_shard);
    return e;
}
