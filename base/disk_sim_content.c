#include <stdlib.h>
#include <string.h>

#include "base/check.h"
#include "base/disk_sim_priv.h"

#define BLOCKS_PER_PART 512u
#define PART_BYTES      ((uint64_t)BLOCKS_PER_PART * SIM_BLOCK_BYTES)

struct sim_block {
    uint8_t *now; /* owned; NULL: zeros */
    uint8_t *old; /* owned; as of the last sync while is_dirty; NULL: zeros */
    bool is_dirty;
    bool is_reserved;
};

struct sim_chunk {
    uint32_t dirty_count;
    struct sim_block blocks[BLOCKS_PER_PART];
};

static void free_chunk(struct sim_chunk *chunk)
{
    if (chunk == NULL)
        return;
    for (size_t i = 0; i < BLOCKS_PER_PART; i++) {
        free(chunk->blocks[i].now);
        free(chunk->blocks[i].old);
    }
    free(chunk);
}

void sim_content_fini(struct sim_content *content)
{
    for (size_t i = 0; i < content->part_count; i++)
        free_chunk(content->parts[i].chunk);
    free(content->parts);
    *content = (struct sim_content){0};
}

/* NULL: zeros. */
static struct sim_block *find_block(const struct sim_content *content, uint64_t block)
{
    uint64_t part = block / BLOCKS_PER_PART;
    if (part >= content->part_count || content->parts[part].chunk == NULL)
        return NULL;
    return &content->parts[part].chunk->blocks[block % BLOCKS_PER_PART];
}

static bool is_reserved(const struct sim_content *content, uint64_t block)
{
    uint64_t part = block / BLOCKS_PER_PART;
    if (part < content->part_count && content->parts[part].is_reserved)
        return true;
    const struct sim_block *found = find_block(content, block);
    return found && found->is_reserved;
}

uint64_t sim_content_missing_blocks(const struct sim_content *content, uint64_t offset,
                                    uint64_t size)
{
    uint64_t missing = 0;
    uint64_t end = (offset + size + SIM_BLOCK_BYTES - 1) / SIM_BLOCK_BYTES;
    for (uint64_t block = offset / SIM_BLOCK_BYTES; block < end; block++)
        missing += !is_reserved(content, block);
    return missing;
}

static enum err make_parts(struct sim_content *content, uint64_t end)
{
    uint64_t count = (end + PART_BYTES - 1) / PART_BYTES;
    if (count <= content->part_count)
        return ERR_OK;
    struct sim_part *parts = realloc(content->parts, count * sizeof *parts);
    if (parts == NULL)
        return ERR_NO_MEMORY;
    memset(parts + content->part_count, 0, (count - content->part_count) * sizeof *parts);
    content->parts = parts;
    content->part_count = count;
    return ERR_OK;
}

static enum err make_chunk(struct sim_part *part)
{
    if (part->chunk == NULL)
        part->chunk = calloc(1, sizeof *part->chunk);
    return part->chunk ? ERR_OK : ERR_NO_MEMORY;
}

enum err sim_content_reserve(struct sim_content *content, uint64_t offset, uint64_t size)
{
    if (size == 0)
        return ERR_OK;
    enum err e = make_parts(content, offset + size);
    if (e)
        return e;
    uint64_t end = (offset + size + SIM_BLOCK_BYTES - 1) / SIM_BLOCK_BYTES;
    for (uint64_t block = offset / SIM_BLOCK_BYTES; block < end;) {
        struct sim_part *part = &content->parts[block / BLOCKS_PER_PART];
        if (block % BLOCKS_PER_PART == 0 && end - block >= BLOCKS_PER_PART) {
            uint64_t part_offset = block * SIM_BLOCK_BYTES;
            content->reserved_blocks +=
                sim_content_missing_blocks(content, part_offset, PART_BYTES);
            part->is_reserved = true; /* gigabytes are allocated without a chunk */
            block += BLOCKS_PER_PART;
            continue;
        }
        if (!is_reserved(content, block)) {
            e = make_chunk(part);
            if (e)
                return e;
            part->chunk->blocks[block % BLOCKS_PER_PART].is_reserved = true;
            content->reserved_blocks++;
        }
        block++;
    }
    if (offset + size > content->size_bytes)
        content->size_bytes = offset + size;
    return ERR_OK;
}

/* Keeps what the last sync made durable, once. */
static enum err make_dirty(struct sim_chunk *chunk, struct sim_block *block)
{
    if (block->is_dirty && block->now)
        return ERR_OK;
    uint8_t *now = malloc(SIM_BLOCK_BYTES);
    if (now == NULL)
        return ERR_NO_MEMORY;
    if (block->now)
        memcpy(now, block->now, SIM_BLOCK_BYTES);
    else
        memset(now, 0, SIM_BLOCK_BYTES);
    block->old = block->now;
    block->now = now;
    block->is_dirty = true;
    chunk->dirty_count++;
    return ERR_OK;
}

enum err sim_content_write(struct sim_content *content, uint64_t offset, const void *data,
                           size_t size)
{
    CHECK(sim_content_missing_blocks(content, offset, size) == 0);
    CHECK(offset + size <= content->size_bytes);
    const uint8_t *from = data;
    while (size > 0) {
        struct sim_part *part = &content->parts[offset / PART_BYTES];
        enum err e = make_chunk(part);
        if (e)
            return e;
        struct sim_block *block = &part->chunk->blocks[offset / SIM_BLOCK_BYTES % BLOCKS_PER_PART];
        e = make_dirty(part->chunk, block);
        if (e)
            return e;
        size_t at = offset % SIM_BLOCK_BYTES;
        size_t step = size < SIM_BLOCK_BYTES - at ? size : SIM_BLOCK_BYTES - at;
        memcpy(block->now + at, from, step);
        from += step, offset += step, size -= step;
    }
    return ERR_OK;
}

size_t sim_content_read(const struct sim_content *content, uint64_t offset, void *data, size_t size)
{
    if (offset >= content->size_bytes)
        return 0;
    if (size > content->size_bytes - offset)
        size = content->size_bytes - offset;
    uint8_t *to = data;
    for (size_t left = size; left > 0;) {
        const struct sim_block *block = find_block(content, offset / SIM_BLOCK_BYTES);
        size_t at = offset % SIM_BLOCK_BYTES;
        size_t step = left < SIM_BLOCK_BYTES - at ? left : SIM_BLOCK_BYTES - at;
        if (block && block->now)
            memcpy(to, block->now + at, step);
        else
            memset(to, 0, step);
        to += step, offset += step, left -= step;
    }
    return size;
}

static void settle(struct sim_block *block)
{
    free(block->old);
    block->old = NULL;
    block->is_dirty = false;
}

void sim_content_sync(struct sim_content *content)
{
    content->durable_size_bytes = content->size_bytes;
    for (size_t i = 0; i < content->part_count; i++) {
        struct sim_chunk *chunk = content->parts[i].chunk;
        for (size_t b = 0; chunk && chunk->dirty_count > 0 && b < BLOCKS_PER_PART; b++) {
            if (!chunk->blocks[b].is_dirty)
                continue;
            settle(&chunk->blocks[b]);
            chunk->dirty_count--;
        }
    }
}

static void put_back(struct sim_block *block, size_t at, size_t size)
{
    if (block->old)
        memcpy(block->now + at, block->old + at, size);
    else
        memset(block->now + at, 0, size);
}

static void crash_block(struct sim_block *block, struct rand *rand)
{
    switch (rand_below(rand, 3)) {
    case 0: /* it got there */
        break;
    case 1: /* it did not */
        put_back(block, 0, SIM_BLOCK_BYTES);
        break;
    case 2: /* some of its sectors did */
        for (size_t at = 0; at < SIM_BLOCK_BYTES; at += SIM_SECTOR_BYTES)
            if (rand_below(rand, 2) == 0)
                put_back(block, at, SIM_SECTOR_BYTES);
        break;
    }
    settle(block);
}

/* Behind its end a file reads as zeros, also after it grows again. */
static void clear_behind(struct sim_content *content, uint64_t from)
{
    for (uint64_t block = from / SIM_BLOCK_BYTES; block < content->part_count * BLOCKS_PER_PART;
         block++) {
        struct sim_block *found = find_block(content, block);
        if (found == NULL || found->now == NULL)
            continue;
        uint64_t start = block * SIM_BLOCK_BYTES;
        size_t at = from > start ? from - start : 0;
        memset(found->now + at, 0, SIM_BLOCK_BYTES - at);
    }
}

void sim_content_crash(struct sim_content *content, struct rand *rand)
{
    for (size_t i = 0; i < content->part_count; i++) {
        struct sim_chunk *chunk = content->parts[i].chunk;
        for (size_t b = 0; chunk && chunk->dirty_count > 0 && b < BLOCKS_PER_PART; b++) {
            if (!chunk->blocks[b].is_dirty)
                continue;
            crash_block(&chunk->blocks[b], rand);
            chunk->dirty_count--;
        }
    }
    if (content->size_bytes > content->durable_size_bytes && rand_below(rand, 2) == 0) {
        content->size_bytes = content->durable_size_bytes;
        clear_behind(content, content->size_bytes);
    }
    content->durable_size_bytes = content->size_bytes;
}

enum err sim_content_flip_bit(struct sim_content *content, uint64_t offset, unsigned bit)
{
    CHECK(bit < 8);
    if (offset >= content->size_bytes)
        return ERR_INVALID;
    enum err e = make_parts(content, offset + 1);
    if (e == ERR_OK)
        e = make_chunk(&content->parts[offset / PART_BYTES]);
    if (e)
        return e;
    struct sim_block *block = find_block(content, offset / SIM_BLOCK_BYTES);
    if (block->now == NULL)
        block->now = calloc(1, SIM_BLOCK_BYTES);
    if (block->now == NULL)
        return ERR_NO_MEMORY;
    block->now[offset % SIM_BLOCK_BYTES] ^= (uint8_t)(1u << bit);
    return ERR_OK;
}
