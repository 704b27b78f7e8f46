#include "tests/sim/bugs.h"

#include <string.h>

enum seeded_bug seeded_bug;

static const struct {
    const char *name, *text;
} bugs[BUG_COUNT] = {[BUG_NONE] = {"none", ""},
#define X(name, text) [BUG_##name] = {#name, text},
                     SEEDED_BUGS(X)
#undef X
};

const char *bug_name(enum seeded_bug bug)
{
    return bugs[bug].name;
}

const char *bug_text(enum seeded_bug bug)
{
    return bugs[bug].text;
}

enum seeded_bug bug_by_name(const char *name, enum seeded_bug first, enum seeded_bug last)
{
    for (int bug = first; bug <= (int)last; bug++)
        if (strcmp(bugs[bug].name, name) == 0)
            return (enum seeded_bug)bug;
    return BUG_NONE;
}
