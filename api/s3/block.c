#include "api/s3/block.h"

#include <stdlib.h>
#include <string.h>

#include "base/check.h"

_Static_assert(sizeof(struct s3_block) == S3_BLOCK_BYTES, "a block is what the budget says it is");

void s3_block_pool_init(struct s3_block_pool *pool, uint32_t max)
{
    *pool = (struct s3_block_pool){.max = max};
}

void s3_block_pool_fini(struct s3_block_pool *pool)
{
    CHECK(pool->free_count == pool->made_count);
    while (pool->free != NULL) {
        struct s3_block *block = pool->free;
        pool->free = block->next;
        free(block);
    }
    *pool = (struct s3_block_pool){0};
}

struct s3_block *s3_block_take(struct s3_block_pool *pool, size_t size)
{
    struct s3_block *block = pool->free;
    CHECK(size <= sizeof block->memory);
    if (block != NULL) {
        pool->free = block->next;
        pool->free_count--;
    } else {
        if (pool->made_count == pool->max)
            return NULL;
        block = aligned_alloc(_Alignof(struct s3_block), sizeof *block);
        if (block == NULL)
            return NULL;
        pool->made_count++;
    }
    block->next = NULL;
    block->size = size;
    memset(block->memory, 0, size);
    return block;
}

void s3_block_put(struct s3_block_pool *pool, struct s3_block *block)
{
    CHECK(pool->free_count < pool->made_count);
    block->next = pool->free;
    pool->free = block;
    pool->free_count++;
}
