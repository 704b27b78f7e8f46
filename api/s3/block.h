/*
 * Blocks: memory for what does not fit into an exchange's state (an upload's slots, the attributes
 * of a put, a question to the group). Each worker has its own pool, used by its loop alone. Blocks
 * are made on demand up to a maximum and kept for good, so that a worker that has seen its peak
 * allocates no more; an empty pool at its maximum answers NULL and the client sees 503 SlowDown.
 */
#ifndef API_S3_BLOCK_H
#define API_S3_BLOCK_H

#include <stddef.h>
#include <stdint.h>

/* A group_ask with its attributes, or 8 KiB of attributes and an upload's slots. */
#define S3_BLOCK_BYTES 16384u

struct s3_block {
    struct s3_block *next;
    size_t size; /* asked for */
    _Alignas(16) unsigned char memory[S3_BLOCK_BYTES - 2 * sizeof(void *)];
};

struct s3_block_pool {
    struct s3_block *free; /* owned */
    uint32_t made_count, free_count, max;
};

void s3_block_pool_init(struct s3_block_pool *pool, uint32_t max);
void s3_block_pool_fini(struct s3_block_pool *pool); /* all blocks given back */
/* The first `size` bytes are zero; the rest is whatever it was. */
struct s3_block *s3_block_take(struct s3_block_pool *pool, size_t size);
void s3_block_put(struct s3_block_pool *pool, struct s3_block *block);

#endif
