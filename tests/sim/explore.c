#include "tests/sim/explore.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/rand.h"
#include "tests/sim/bugs.h"

#define WALK_MAX   120u    /* steps of a seed's walk */
#define DEPTH_MAX  24u     /* of the search behind it */
#define NEAR       6000u   /* states of a search: some five steps */
#define STATES_MAX 120000u /* of one in DEEP_EVERY: two or three more */
#define DEEP_EVERY 32u
#define SLOTS      (1u << 18) /* of the set of states seen */
_Static_assert(SLOTS >= 2 * STATES_MAX, "a set that is never full");

/* On the walk and behind it: the search may do each of these a little more often. */
static const struct ex_limits walk_limits = {
    .proposals = 4, .crashes = 2, .copies = 2, .doubts = 1};
#define MORE 1u
/* One start in so many has resignations in its walk and behind it, which take other steps' place.
 */
#define RESIGN_EVERY 5u

struct way {
    struct ex_action actions[DEPTH_MAX];
    uint8_t length;
};

struct search {
    struct world start;
    struct ex_limits limits;
    struct way queue[STATES_MAX]; /* each the way to a state; taken from the front */
    unsigned queued, states_max;
    uint64_t seen[SLOTS];
    struct ex_action walk[WALK_MAX];
    unsigned walk_length;
};

/* ---- a violation, from the beginning ---- */

static void tell_step(struct world *world, struct ex_action action, unsigned step)
{
    char text[160];
    world_tell(world, action, text, sizeof text);
    printf("    %3u  %s\n", step, text);
    world_act(world, action);
}

static void tell_way(const struct search *search, const struct way *way)
{
    struct world world;
    unsigned step = 0;
    world_init(&world);
    for (unsigned i = 0; i < search->walk_length; i++)
        tell_step(&world, search->walk[i], ++step);
    if (way != NULL)
        for (unsigned i = 0; i < way->length; i++)
            tell_step(&world, way->actions[i], ++step);
    printf("    %s\n", world.violation);
}

/* ---- the walk ---- */

/* Deliveries and disks are most of what happens, or nothing would ever come about. */
static struct ex_action draw(struct rand *rand, const struct ex_action *actions, unsigned count)
{
    for (unsigned tries = 0; tries < 8; tries++) {
        struct ex_action action = actions[rand_below(rand, count)];
        bool is_usual = action.kind == EX_DELIVER || action.kind == EX_SYNC ||
                        action.kind == EX_TICK || action.kind == EX_PROPOSE;
        if (is_usual || rand_below(rand, 100) < 20)
            return action;
    }
    return actions[0];
}

static void walk(struct search *search, uint64_t seed)
{
    struct rand_seeded seeded;
    rand_seeded_init(&seeded, seed);
    unsigned length = (unsigned)rand_below(&seeded.rand, WALK_MAX + 1);
    search->limits = walk_limits;
    search->limits.resigns = seed % RESIGN_EVERY == RESIGN_EVERY - 1;
    world_init(&search->start);
    search->walk_length = 0;
    while (search->walk_length < length && search->start.violation[0] == '\0') {
        struct ex_action actions[EX_ACTIONS];
        unsigned count = world_actions(&search->start, &search->limits, actions);
        if (count == 0)
            break;
        struct ex_action action = draw(&seeded.rand, actions, count);
        search->walk[search->walk_length++] = action;
        world_act(&search->start, action);
    }
}

/* ---- the search ---- */

static void follow(const struct search *search, const struct way *way, struct world *ret_world)
{
    world_copy(ret_world, &search->start);
    for (unsigned i = 0; i < way->length; i++)
        world_act(ret_world, way->actions[i]);
}

/* All that may happen next. False: something is violated, by the last way in the queue. */
static bool expand(struct search *search, const struct way *way, struct explored *explored)
{
    struct world here, next;
    struct ex_action actions[EX_ACTIONS];
    follow(search, way, &here);
    unsigned count = way->length < DEPTH_MAX ? world_actions(&here, &search->limits, actions) : 0;
    for (unsigned i = 0; i < count && search->queued < search->states_max; i++) {
        world_copy(&next, &here);
        world_act(&next, actions[i]);
        explored->acked += next.acked_to > here.acked_to;
        if (!seen_add(search->seen, SLOTS, world_hash(&next)))
            continue;
        struct way *longer = &search->queue[search->queued++];
        *longer = *way;
        longer->actions[longer->length++] = actions[i];
        if (next.violation[0] != '\0') {
            snprintf(explored->violation, sizeof explored->violation, "%s", next.violation);
            return false;
        }
    }
    return true;
}

static bool search_from(struct search *search, struct explored *explored)
{
    const struct world *start = &search->start;
    search->limits = (struct ex_limits){
        .proposals = start->proposals + MORE,
        .crashes = start->crashes + MORE,
        .copies = start->copies + MORE,
        .doubts = start->doubts + MORE,
        .resigns = search->limits.resigns > 0 ? start->resigns + MORE : 0,
    };
    memset(search->seen, 0, sizeof search->seen);
    search->queue[0] = (struct way){.length = 0};
    search->queued = 1;
    unsigned depth = 0; /* all ways of so many steps have been tried */
    for (unsigned taken = 0; taken < search->queued; taken++) {
        struct way way = search->queue[taken];
        depth = way.length;
        if (!expand(search, &way, explored))
            return false;
        if (search->queued == search->states_max)
            break;
    }
    bool is_all = search->queued < search->states_max; /* a log was full: nothing comes after */
    if (!is_all && depth < explored->depth_min)
        explored->depth_min = depth;
    if (depth > explored->depth_max)
        explored->depth_max = depth;
    return true;
}

static double now_s(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec + (double)now.tv_nsec / 1e9;
}

bool explore(uint64_t first_seed, double seconds, bool is_told, struct explored *ret_explored)
{
    struct search *search = malloc(sizeof *search);
    CHECK(search != NULL);
    struct explored explored = {.seed = first_seed, .depth_min = DEPTH_MAX};
    double end_s = now_s() + seconds;
    bool is_fine = true;
    for (; is_fine && now_s() < end_s; explored.seed++) {
        walk(search, explored.seed);
        search->states_max = explored.seed % DEEP_EVERY == 0 ? STATES_MAX : NEAR;
        explored.starts++;
        is_fine = search->start.violation[0] == '\0';
        if (!is_fine)
            snprintf(explored.violation, sizeof explored.violation, "%s", search->start.violation);
        bool is_in_walk = !is_fine;
        is_fine = is_fine && search_from(search, &explored);
        explored.states += search->queued;
        if (!is_fine && is_told)
            tell_way(search, is_in_walk ? NULL : &search->queue[search->queued - 1]);
        if (!is_fine)
            break;
    }
    free(search);
    *ret_explored = explored;
    return is_fine;
}
