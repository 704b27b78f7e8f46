#include "api/http/verified.h"

#include <stdlib.h>

/* A slot holds 32 bits of the chunk's hash, 0 being empty; the slot's index is other bits of it. */
struct verified {
    uint32_t windows; /* looked at by verified_sample() since the last that was taken */
    uint32_t tags[VERIFIED_CHUNKS];
};

enum err verified_open(struct verified **ret_verified)
{
    struct verified *verified = calloc(1, sizeof *verified);
    if (verified == NULL)
        return ERR_NO_MEMORY;
    *ret_verified = verified;
    return ERR_OK;
}

void verified_close(struct verified *verified)
{
    free(verified);
}

/* The sum is a good hash by itself; the place is mixed in by the finaliser of splitmix64. */
static uint64_t hash(const struct verified_chunk *chunk)
{
    uint64_t h = chunk->file_offset + ((uint64_t)chunk->segment << 40) + 0x9e3779b97f4a7c15ull;
    h = (h ^ h >> 30) * 0xbf58476d1ce4e5b9ull;
    h = (h ^ h >> 27) * 0x94d049bb133111ebull;
    return (h ^ h >> 31) ^ chunk->sum;
}

static uint32_t tag_of(uint64_t h)
{
    uint32_t tag = (uint32_t)(h >> 32);
    return tag ? tag : 1;
}

void verified_add(struct verified *verified, const struct verified_chunk *chunk)
{
    uint64_t h = hash(chunk);
    verified->tags[h % VERIFIED_CHUNKS] = tag_of(h);
}

bool verified_has(const struct verified *verified, const struct verified_chunk *chunk)
{
    uint64_t h = hash(chunk);
    return verified->tags[h % VERIFIED_CHUNKS] == tag_of(h);
}

void verified_remove(struct verified *verified, const struct verified_chunk *chunk)
{
    uint64_t h = hash(chunk);
    if (verified->tags[h % VERIFIED_CHUNKS] == tag_of(h))
        verified->tags[h % VERIFIED_CHUNKS] = 0;
}

bool verified_sample(struct verified *verified, uint32_t every)
{
    if (++verified->windows < every)
        return false;
    verified->windows = 0;
    return true;
}
