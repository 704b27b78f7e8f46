#include "tests/sim/explore_data.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/check.h"
#include "base/rand.h"
#include "tests/sim/bugs.h"

/*
 *   sim_data [--seconds N] [--first SEED]   all that can happen near the start, and near the ends
 *                                           of walks, a seed each; walks must come to rest, and
 *                                           some of what is near their ends
 *   sim_data --bugs [--seconds N]           each seeded bug must be found, within N seconds each
 *   sim_data --bug NAME [...]               with one of them
 */

#define WALK_MAX     140u
#define NEAR         2500u  /* states of a search behind a walk */
#define STATES_MAX   60000u /* of the one from the start, and of one in DEEP_EVERY */
#define DEEP_EVERY   64u
#define SETTLE_EVERY 64u /* of the states searched, one comes to rest */
#define SLOTS        (1u << 17)
_Static_assert(SLOTS >= 2 * STATES_MAX, "a set that is never full");

static const struct dx_limits walk_limits = {
    .bodies = 3, .records = 5, .crashes = 2, .leads = 2, .outs = 2, .copies = 2, .refusals = 1};
#define MORE 1u /* of each, in the search behind a walk */

struct found {
    uint64_t seed, states, rests;
    unsigned depth_min, depth_max; /* steps behind a start within which nothing was left out */
    uint64_t met[DX_MET_COUNT];    /* walks, with what is near their ends */
    char violation[200];
};

struct state {
    struct dworld world;
    uint32_t parent;
    uint32_t depth;
    struct dx_action action;
};

struct search {
    struct state states[STATES_MAX]; /* taken from the front */
    uint32_t queued, states_max;
    uint64_t seen[SLOTS];
    struct dx_action walk[WALK_MAX];
    unsigned walk_length;
};

/* ---- a violation, from the beginning ---- */

static void tell_step(struct dworld *world, struct dx_action action, unsigned step)
{
    char text[160];
    dworld_tell(world, action, text, sizeof text);
    printf("    %3u  %s\n", step, text);
    dworld_act(world, action);
}

static void tell_way(const struct search *search, uint32_t last, bool has_settled)
{
    struct dworld world;
    struct dx_action way[WALK_MAX];
    unsigned step = 0, length = 0;
    dworld_init(&world);
    for (unsigned i = 0; i < search->walk_length; i++)
        tell_step(&world, search->walk[i], ++step);
    for (; last > 0 && length < WALK_MAX; last = search->states[last].parent)
        way[length++] = search->states[last].action;
    while (length > 0)
        tell_step(&world, way[--length], ++step);
    if (has_settled) {
        printf("         and all that is under way ends\n");
        dx_settle(&world);
    }
    printf("    %s\n", world.violation);
}

/* ---- the walk ---- */

/* What a walk is slow at, by its seed: one node, up to some step, which then falls behind what the
 * others trim; what a volume does by itself; batches that sync; what is committed, applied; word
 * that a node is too old. */
struct pace {
    unsigned slow_node, slow_until, own, sync, apply, too_old;
};

static struct pace draw_pace(struct rand *rand)
{
    return (struct pace){.slow_node = (unsigned)rand_below(rand, DX_NODES + 1),
                         .slow_until = (unsigned)rand_below(rand, 2 * WALK_MAX),
                         .own = rand_below(rand, 2) ? 100 : 5,
                         .sync = rand_below(rand, 2) ? 100 : 10,
                         .apply = rand_below(rand, 4) ? 100 : 15,
                         .too_old = rand_below(rand, 4) ? 100 : 2};
}

/* In a hundred draws. */
static unsigned weight_of(struct dx_action action, const struct pace *pace, unsigned step)
{
    bool is_slow = action.node == pace->slow_node && step < pace->slow_until;
    switch ((enum dx_action_kind)action.kind) {
    case DX_CRASH:
    case DX_CRASH_LATE:
    case DX_LEAD:
        return 2;
    case DX_REFUSE:
    case DX_GIVE_UP:
    case DX_MATCH_LOW:
        return 5;
    case DX_IDLE:
        return 15;
    case DX_TOO_OLD:
        return pace->too_old;
    case DX_OUT:
        return is_slow ? 60 : 3;
    case DX_SEND:
    case DX_MATCH:
    case DX_JOIN:
        return is_slow ? 4 : 100;
    case DX_COLLECT:
    case DX_RELEASE:
    case DX_FREE:
        return pace->own;
    case DX_SYNC:
        return pace->sync;
    case DX_APPLY:
        return pace->apply;
    default:
        return 100;
    }
}

static struct dx_action draw(struct rand *rand, const struct dx_action *actions, unsigned count,
                             const struct pace *pace, unsigned step)
{
    for (unsigned tries = 0; tries < 64; tries++) {
        struct dx_action action = actions[rand_below(rand, count)];
        if (rand_below(rand, 100) < weight_of(action, pace, step))
            return action;
    }
    return actions[0];
}

/* To the search's first state. False: something is violated on the way. */
static bool walk(struct search *search, uint64_t seed)
{
    struct rand_seeded seeded;
    struct dworld *world = &search->states[0].world;
    dworld_init(world);
    search->walk_length = 0;
    rand_seeded_init(&seeded, seed);
    unsigned length = seed == 0 ? 0 : (unsigned)rand_below(&seeded.rand, WALK_MAX + 1);
    struct pace pace = draw_pace(&seeded.rand);
    while (search->walk_length < length && world->violation[0] == '\0') {
        struct dx_action actions[DX_ACTIONS];
        unsigned count = dworld_actions(world, &walk_limits, actions);
        if (count == 0)
            break;
        struct dx_action action = draw(&seeded.rand, actions, count, &pace, search->walk_length);
        search->walk[search->walk_length++] = action;
        dworld_act(world, action);
    }
    return world->violation[0] == '\0';
}

/* ---- the search ---- */

/* All that may happen next. False: something is violated, in the last state of the queue. */
static bool expand(struct search *search, uint32_t from, const struct dx_limits *limits)
{
    const struct state *here = &search->states[from];
    struct dx_action actions[DX_ACTIONS];
    unsigned count = dworld_actions(&here->world, limits, actions);
    for (unsigned i = 0; i < count && search->queued < search->states_max; i++) {
        struct state *next = &search->states[search->queued];
        next->world = here->world;
        dworld_act(&next->world, actions[i]);
        if (!seen_add(search->seen, SLOTS, dworld_hash(&next->world)))
            continue;
        next->parent = from;
        next->depth = here->depth + 1;
        next->action = actions[i];
        search->queued++;
        if (next->world.violation[0] != '\0')
            return false;
    }
    return true;
}

static bool comes_to_rest(const struct dworld *world, struct found *found)
{
    struct dworld resting = *world;
    dx_settle(&resting);
    found->rests++;
    snprintf(found->violation, sizeof found->violation, "%s", resting.violation);
    return resting.violation[0] == '\0';
}

/* From the first state on. What is violated is in *ret_last. */
static bool search_from(struct search *search, struct found *found, uint32_t *ret_last,
                        bool *ret_has_settled)
{
    struct dx_limits limits = search->states[0].world.so_far;
    limits.bodies += MORE, limits.records += MORE, limits.crashes += MORE, limits.leads += MORE;
    limits.outs += MORE, limits.copies += MORE, limits.refusals += MORE;
    memset(search->seen, 0, sizeof search->seen);
    search->states[0].depth = search->states[0].parent = 0;
    search->queued = 1;
    uint32_t taken = 0;
    for (; taken < search->queued && search->queued < search->states_max; taken++) {
        if (!expand(search, taken, &limits)) {
            *ret_last = search->queued - 1;
            snprintf(found->violation, sizeof found->violation, "%s",
                     search->states[*ret_last].world.violation);
            return false;
        }
        *ret_has_settled = taken % SETTLE_EVERY == 0;
        *ret_last = taken;
        if (*ret_has_settled && !comes_to_rest(&search->states[taken].world, found))
            return false;
    }
    unsigned depth = search->states[taken > 0 ? taken - 1 : 0].depth;
    if (search->queued == search->states_max && depth < found->depth_min)
        found->depth_min = depth;
    if (depth > found->depth_max)
        found->depth_max = depth;
    return true;
}

static void note_met(const struct search *search, struct found *found)
{
    uint32_t met = search->states[0].world.met;
    for (uint32_t i = 1; i < search->queued; i++)
        met |= search->states[i].world.met;
    for (unsigned i = 0; i < DX_MET_COUNT; i++)
        found->met[i] += met >> i & 1;
}

static double now_s(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec + (double)now.tv_nsec / 1e9;
}

/* Seed 0 is the start itself. True: nothing was violated. */
static bool explore(uint64_t first, double seconds, bool is_told, struct found *ret_found)
{
    struct search *search = malloc(sizeof *search);
    CHECK(search != NULL);
    struct found found = {.seed = first, .depth_min = WALK_MAX};
    double end_s = now_s() + seconds;
    bool is_fine = true;
    for (; now_s() < end_s; found.seed++) {
        uint32_t last = 0;
        bool has_settled = false;
        search->states_max = found.seed % DEEP_EVERY == 0 ? STATES_MAX : NEAR;
        search->queued = 1;
        is_fine = walk(search, found.seed);
        if (is_fine)
            is_fine = search_from(search, &found, &last, &has_settled);
        else
            snprintf(found.violation, sizeof found.violation, "%s",
                     search->states[0].world.violation);
        found.states += search->queued;
        note_met(search, &found);
        if (!is_fine && is_told)
            tell_way(search, last, has_settled);
        if (!is_fine)
            break;
    }
    free(search);
    *ret_found = found;
    return is_fine;
}

/* ---- the command line ---- */

static const char *const met_texts[DX_MET_COUNT] = {
    [DX_MET_CUT] = "a log cut",
    [DX_MET_CUT_DATA] = "a row cut off the disk",
    [DX_MET_TAKE_OVER] = "a take-over",
    [DX_MET_GONE] = "data called gone",
    [DX_MET_PULLED] = "data pulled",
    [DX_MET_GC] = "gc",
    [DX_MET_TRIM] = "a trim",
    [DX_MET_COPY] = "a copy",
    [DX_MET_COPY_KEPT] = "... that kept data",
    [DX_MET_COPY_AGAIN] = "... whose names began again",
    [DX_MET_COPY_FILLED] = "... that fetched data",
    [DX_MET_COPY_ENDED] = "... that ended",
    [DX_MET_SHARED] = "data shared",
    [DX_MET_REFUSED] = "a change refused",
    [DX_MET_CRASH] = "a crash",
};

static int run_clean(uint64_t first, double seconds)
{
    struct found found;
    bool is_fine = explore(first, seconds, true, &found);
    uint64_t starts = found.seed - first;
    printf("%sok - data: all that can happen near %llu states from seed %llu on holds every "
           "invariant\n",
           is_fine ? "" : "not ", (unsigned long long)starts, (unsigned long long)first);
    printf("    %llu states: all within %u to %u steps of a start; %llu came to rest\n",
           (unsigned long long)found.states, found.depth_min, found.depth_max,
           (unsigned long long)found.rests);
    if (!is_fine)
        printf("    seed %llu: %s\n", (unsigned long long)found.seed, found.violation);
    bool has_all = true;
    printf("    of the starts so many met");
    for (unsigned i = 0; i < DX_MET_COUNT; i++) {
        printf("%s %s %llu", i > 0 ? "," : "", met_texts[i], (unsigned long long)found.met[i]);
        has_all = has_all && found.met[i] > starts / 500;
    }
    printf("\n%sok - data: nothing of what can happen is rare\n", has_all ? "" : "not ");
    return !is_fine || !has_all;
}

/* Where a rare one was met: found in one walk, unless the model has changed since. */
static uint64_t first_seed(enum seeded_bug bug, uint64_t first)
{
    static const uint64_t met_at[BUG_COUNT] = {
        [BUG_D_TOO_OLD_STALE] = 1792,
        [BUG_D_COPY_COLLECTS] = 401,
        [BUG_D_COPY_KEEPS_GOING] = 471,
    };
    return met_at[bug] > 0 ? met_at[bug] : first;
}

static int find_bugs(uint64_t first, double seconds)
{
    int missed = 0;
    for (int bug = QUORUM_BUG_LAST + 1; bug < BUG_COUNT; bug++) {
        struct found found;
        seeded_bug = (enum seeded_bug)bug;
        double began_s = now_s();
        bool is_found = !explore(first_seed(seeded_bug, first), seconds, false, &found);
        missed += !is_found;
        printf("%sok - %s is found: %s\n    %s after %.1f s, seed %llu: %s\n",
               is_found ? "" : "not ", bug_name(seeded_bug), bug_text(seeded_bug),
               is_found ? "found" : "missed", now_s() - began_s, (unsigned long long)found.seed,
               found.violation);
        fflush(stdout);
    }
    return missed > 0;
}

static int usage(void)
{
    fputs("usage: sim_data [--seconds N] [--first SEED] [--bug NAME] [--bugs]\n", stderr);
    return 2;
}

int main(int argc, char **argv)
{
    double seconds = 20;
    uint64_t first = (uint64_t)time(NULL);
    bool all_bugs = false;
    for (int i = 1; i < argc; i++) {
        if (strcmp(argv[i], "--bugs") == 0) {
            all_bugs = true;
            continue;
        }
        if (i + 1 == argc)
            return usage();
        const char *value = argv[++i];
        if (strcmp(argv[i - 1], "--seconds") == 0) {
            seconds = atof(value);
        } else if (strcmp(argv[i - 1], "--first") == 0) {
            first = strtoull(value, NULL, 10);
        } else if (strcmp(argv[i - 1], "--bug") == 0) {
            seeded_bug = bug_by_name(value, QUORUM_BUG_LAST + 1, BUG_COUNT - 1);
            if (seeded_bug == BUG_NONE)
                return usage();
        } else {
            return usage();
        }
    }
    return all_bugs ? find_bugs(first, seconds) : run_clean(first, seconds);
}
