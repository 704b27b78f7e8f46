/*
 * The nearest of some names to a mistyped one, for "did you mean": configuration keys, command-line
 * flags, subcommands. Distance is the number of letters inserted, left out, changed or swapped with
 * their neighbour (Damerau 1964, optimal string alignment).
 */
#ifndef SERVER_NEAREST_H
#define SERVER_NEAREST_H

#include <stddef.h>

#define NEAREST_NAME_MAX 64u /* longer names are near nothing */

unsigned name_distance(const char *a, const char *b);

struct nearest {
    const char *wanted; /* borrowed: what was typed */
    const char *name;   /* borrowed: best so far, NULL when none is near */
    unsigned distance;
};
/* Begin with {.wanted = typed}; offer every name; `name` is then the first of the nearest, if it is
 * near enough to be a typing mistake. */
void nearest_offer(struct nearest *nearest, const char *name);

#endif
