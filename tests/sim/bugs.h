/* What the simulator and the explorers share: the names of the seeded bugs, and the set of states
 * that a search has seen. */
#ifndef TESTS_SIM_BUGS_H
#define TESTS_SIM_BUGS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "replication/seeded_bugs.h"

const char *bug_name(enum seeded_bug bug);
const char *bug_text(enum seeded_bug bug); /* what is wrong with it */
/* Among first..last; BUG_NONE: it is none of these. */
enum seeded_bug bug_by_name(const char *name, enum seeded_bug first, enum seeded_bug last);

/* A set of hashes that is never full, open addressing; zeroed: empty. False: it is in it. */
static inline bool seen_add(uint64_t *slots, size_t count, uint64_t hash)
{
    hash += hash == 0;
    size_t at = hash % count;
    for (; slots[at] != 0; at = (at + 1) % count)
        if (slots[at] == hash)
            return false;
    slots[at] = hash;
    return true;
}

#endif
