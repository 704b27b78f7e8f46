#include "base/rand.h"

#include <errno.h>
#include <string.h>
#include <sys/random.h>

#include "base/check.h"

static void system_fill(struct rand *rand, void *out, size_t size)
{
    (void)rand;
    uint8_t *to = out;
    while (size > 0) {
        ssize_t got = getrandom(to, size, 0);
        if (got < 0 && errno == EINTR)
            continue;
        /* After boot getrandom(2) cannot fail; without randomness no secret is one. */
        CHECK(got > 0);
        to += got;
        size -= (size_t)got;
    }
}

struct rand *rand_system(void)
{
    static struct rand rand = {system_fill};
    return &rand;
}

static uint64_t rotated_left(uint64_t value, unsigned by)
{
    return value << by | value >> (64 - by);
}

static uint64_t seeded_next(struct rand_seeded *seeded)
{
    uint64_t *s = seeded->state;
    uint64_t result = rotated_left(s[1] * 5, 7) * 9;
    uint64_t shifted = s[1] << 17;
    s[2] ^= s[0];
    s[3] ^= s[1];
    s[1] ^= s[2];
    s[0] ^= s[3];
    s[2] ^= shifted;
    s[3] = rotated_left(s[3], 45);
    return result;
}

static void seeded_fill(struct rand *rand, void *out, size_t size)
{
    struct rand_seeded *seeded = (struct rand_seeded *)rand;
    uint8_t *to = out;
    while (size > 0) {
        uint64_t value = seeded_next(seeded);
        size_t part = size < sizeof value ? size : sizeof value;
        memcpy(to, &value, part);
        to += part;
        size -= part;
    }
}

void rand_seeded_init(struct rand_seeded *seeded, uint64_t seed)
{
    seeded->rand.fill = seeded_fill;
    /* splitmix64 spreads the seed, so that seeds 1 and 2 have nothing in common */
    for (int i = 0; i < 4; i++) {
        uint64_t z = seed += 0x9e3779b97f4a7c15ull;
        z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9ull;
        z = (z ^ z >> 27) * 0x94d049bb133111ebull;
        seeded->state[i] = z ^ z >> 31;
    }
}

uint64_t rand_u64(struct rand *rand)
{
    uint64_t value;
    rand_fill(rand, &value, sizeof value);
    return value;
}

uint64_t rand_below(struct rand *rand, uint64_t bound)
{
    CHECK(bound > 0);
    uint64_t unfair = -bound % bound; /* 2^64 mod bound values are over-represented */
    uint64_t value;
    do
        value = rand_u64(rand);
    while (value < unfair);
    return value % bound;
}
