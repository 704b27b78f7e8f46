/*
 * Randomness is injected. rand_system() is the kernel's, fit for secrets; rand_seeded() repeats
 * itself for the same seed (xoshiro256**, Blackman and Vigna 2018) and is for tests and back-off,
 * never for secrets.
 */
#ifndef BASE_RAND_H
#define BASE_RAND_H

#include <stddef.h>
#include <stdint.h>

struct rand {
    void (*fill)(struct rand *rand, void *out, size_t size);
};

struct rand *rand_system(void); /* thread-safe */

struct rand_seeded {
    struct rand rand;
    uint64_t state[4];
};
void rand_seeded_init(struct rand_seeded *seeded, uint64_t seed);

static inline void rand_fill(struct rand *rand, void *out, size_t size)
{
    rand->fill(rand, out, size);
}
uint64_t rand_u64(struct rand *rand);
uint64_t rand_below(struct rand *rand, uint64_t bound); /* 0 <= result < bound, bound > 0 */

#endif
