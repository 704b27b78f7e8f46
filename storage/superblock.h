/*
 * The superblock: what a directory must say before anything in it is believed. 64 KiB, four slots
 * of 4 KiB at 0, 16, 32 and 48 KiB. Generation g is written to slots 2*(g&1) and 2*(g&1)+1, one
 * after the other, then synced: the generation before stays whole whatever happens meanwhile, and a
 * lost sector costs one copy. Read: the valid slot of the highest generation.
 *
 *     offset  size
 *       0      8   magic "Sluice\0V"
 *       8      4   format major (2: another format altogether)  12  4  format minor (for people)
 *      16      8   features: a reader may ignore unknown bits
 *      24      8   features: unknown bits allow reading only
 *      32      8   features: unknown bits forbid opening
 *      40     16   volume uuid
 *      56      4   unit bytes               60  4  sum chunk bytes
 *      64      8   segment bytes            72  8  created, ns since 1970
 *      80      8   generation               88  8  mount epoch: how often it was opened for writing
 *      96      4   state                   100  4  0
 *     104      8   durable commit seq: the index held this commit; holding less, it has lost some
 *     112   3976   0
 *    4088      8   XXH3-64 of bytes 0..4087
 *
 * The codec is pure. superblock_read/write block.
 */
#ifndef STORAGE_SUPERBLOCK_H
#define STORAGE_SUPERBLOCK_H

#include "base/bytes.h"
#include "base/disk.h"

#define SUPERBLOCK_BYTES      65536u
#define SUPERBLOCK_SLOT_BYTES 4096u
#define SUPERBLOCK_SLOTS      4u
#define FORMAT_MAJOR          1u
#define FORMAT_MINOR          0u
#define FEATURES_KNOWN_COMPAT 0ull
/* The index has the log of a group (storage/log.h). Whoever does not know it would open the index
 * without its family, which RocksDB refuses for writing, and take data of the log for lost. */
#define FEATURE_READ_ONLY_LOG    1ull
#define FEATURES_KNOWN_READ_ONLY FEATURE_READ_ONLY_LOG
#define FEATURES_KNOWN_INCOMPAT  0ull

enum superblock_state { SUPERBLOCK_CLEAN = 1, SUPERBLOCK_DIRTY = 2 };

struct superblock {
    uint32_t format_major, format_minor;
    uint64_t features_compat, features_read_only, features_incompat;
    uint8_t uuid[16];
    uint32_t unit_bytes, sum_chunk_bytes;
    uint64_t segment_bytes;
    uint64_t created_ns;
    uint64_t generation, mount_epoch;
    enum superblock_state state;
    uint64_t durable_commit_seq;
};

void superblock_encode(const struct superblock *superblock, uint8_t slot[SUPERBLOCK_SLOT_BYTES]);
/* ERR_NOT_VOLUME: another magic. ERR_CORRUPT: sum or a value out of bounds. ERR_FORMAT_NEWER: a
 * known one could not read it. */
enum err superblock_decode(const uint8_t slot[SUPERBLOCK_SLOT_BYTES],
                           struct superblock *ret_superblock) MUST_USE;

/* `file`: <dir>/superblock, opened by either way. ERR_NOT_VOLUME: empty or all zero, an interrupted
 * format. */
enum err superblock_read(struct disk_file *file, struct superblock *ret_superblock,
                         struct err_trail *trail) MUST_USE;
/* Raises the generation, writes both its slots and syncs. On an error the generation before is
 * still there. */
enum err superblock_write(struct disk_file *file, struct superblock *superblock,
                          struct err_trail *trail) MUST_USE;

#endif
