/*
 * The bytes of one simulated file: sparse 4 KiB blocks, each with its content now and, when it was
 * written since the last sync, the content that a power cut may bring back. disk_sim.c is about
 * names, handles, faults and time; this is about bytes alone and knows no lock.
 */
#ifndef BASE_DISK_SIM_PRIV_H
#define BASE_DISK_SIM_PRIV_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "base/rand.h"

#define SIM_BLOCK_BYTES  4096u
#define SIM_SECTOR_BYTES 512u /* what a disk writes whole even when power fails */

struct sim_chunk;
/* 2 MiB of a file. */
struct sim_part {
    struct sim_chunk *chunk; /* owned; NULL: all zeros */
    bool is_reserved;        /* all of it, whatever the chunk says */
};

struct sim_content { /* all zeros is an empty file */
    uint64_t size_bytes;
    uint64_t durable_size_bytes;
    uint64_t reserved_blocks; /* what the file takes of the disk */
    struct sim_part *parts;   /* owned */
    size_t part_count;
};

void sim_content_fini(struct sim_content *content);
/* Blocks that touching the range would newly take. */
uint64_t sim_content_missing_blocks(const struct sim_content *content, uint64_t offset,
                                    uint64_t size);
/* Takes them and lets the file end not before the range does. */
enum err sim_content_reserve(struct sim_content *content, uint64_t offset, uint64_t size) MUST_USE;
/* The range must be reserved. */
enum err sim_content_write(struct sim_content *content, uint64_t offset, const void *data,
                           size_t size) MUST_USE;
/* Returns how much there was before the end of the file. */
size_t sim_content_read(const struct sim_content *content, uint64_t offset, void *data,
                        size_t size);
void sim_content_sync(struct sim_content *content);
/* Decides by chance what of the unsynced is left, and calls that synced. */
void sim_content_crash(struct sim_content *content, struct rand *rand);
enum err sim_content_flip_bit(struct sim_content *content, uint64_t offset, unsigned bit) MUST_USE;

#endif
