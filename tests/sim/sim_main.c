#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "tests/sim/bugs.h"
#include "tests/sim/explore.h"
#include "tests/sim/sim.h"

/*
 *   sim_pg [--seconds N] [--first SEED]   seeds one after another for N seconds: none may fail
 *   sim_pg --seed SEED                    one run, every event told
 *   sim_pg --bugs [--seconds N]           each seeded bug must be found, within N seconds each
 *   sim_pg --bug NAME [...]               with one of them
 *   sim_pg --explore [--bugs] [...]       all that can happen within a few steps (explore.h)
 *   ... --register magic|among|only       not in turn by the seed (enum sim_register)
 */

struct found {
    uint64_t seed, runs, group_runs, register_reads, register_unknown, acks, reads, unknown,
        crashes, lost_disks, broken_disks, resigned, swaps, events;
    char violation[300];
};

static double now_s(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec + (double)now.tv_nsec / 1e9;
}

#define IN_TURN SIM_REGISTERS
static enum sim_register register_choice = IN_TURN;

static struct sim_options options_of(uint64_t seed, bool is_told)
{
    static const unsigned counts[] = {3, 3, 3, 2, 5};
    return (struct sim_options){
        .seed = seed,
        .node_count = counts[seed % COUNT_OF(counts)],
        .duration_ns = 20 * NS_PER_SECOND,
        .reg = register_choice != IN_TURN ? register_choice
                                          : (enum sim_register)(seed / COUNT_OF(counts) % IN_TURN),
        .breaks_disks = seed / (2 * COUNT_OF(counts) * IN_TURN) % 2 == 0,
        .is_told = is_told,
    };
}

/* Until a violation, or the time is over. True: a violation. */
static bool run_seeds(uint64_t first, double seconds, struct found *ret_found)
{
    static struct sim sim;
    struct found found = {0};
    double end_s = now_s() + seconds;
    for (found.seed = first; now_s() < end_s; found.seed++) {
        struct sim_options options = options_of(found.seed, false);
        sim_run(&sim, &options);
        found.runs++;
        found.acks += sim.acks, found.reads += sim.reads, found.unknown += sim.unknown;
        found.crashes += sim.crashes, found.lost_disks += sim.lost_disks;
        found.broken_disks += sim.broken_disks, found.resigned += sim.resigned;
        found.group_runs += options.reg != SIM_REGISTER_ONLY;
        found.register_reads += sim.chosen.reads, found.register_unknown += sim.chosen.unknown;
        found.swaps += sim.swaps, found.events += sim.events;
        if (sim.violation[0])
            break;
    }
    snprintf(found.violation, sizeof found.violation, "%s", sim.violation);
    *ret_found = found;
    return found.violation[0] != '\0';
}

/* Where a rare one was met: found in one run, unless the simulation has changed since. */
static uint64_t first_seed(enum seeded_bug bug, uint64_t first)
{
    static const uint64_t met_at[BUG_COUNT] = {
        [BUG_NO_EPOCH] = 214,
        [BUG_GRANT_STALE] = 1960,
        [BUG_PROMISE_WHILE_TAKING] = 1795910211,
        [BUG_Q_FORGET_PROMISE] = 111,
    };
    return met_at[bug] > 0 ? met_at[bug] : first;
}

static int find_bugs(uint64_t first, double seconds)
{
    int missed = 0;
    for (int bug = 1; bug <= QUORUM_BUG_LAST; bug++) {
        struct found found;
        seeded_bug = (enum seeded_bug)bug;
        register_choice = bug > PG_BUG_LAST ? SIM_REGISTER_ONLY : SIM_MAGIC;
        double began_s = now_s();
        bool is_found = run_seeds(first_seed(seeded_bug, first), seconds, &found);
        missed += !is_found;
        printf("%sok - %s is found: %s\n    %s after %llu runs, %.1f s, seed %llu: %s\n",
               is_found ? "" : "not ", bug_name(seeded_bug), bug_text(seeded_bug),
               is_found ? "found" : "missed", (unsigned long long)found.runs, now_s() - began_s,
               (unsigned long long)found.seed, found.violation);
        fflush(stdout);
    }
    return missed > 0;
}

static int run_clean(uint64_t first, double seconds)
{
    struct found found;
    bool is_violated = run_seeds(first, seconds, &found);
    printf("%sok - %llu runs from seed %llu hold every invariant\n", is_violated ? "not " : "",
           (unsigned long long)found.runs, (unsigned long long)first);
    printf("    acknowledged %llu, read %llu, outcome unknown %llu; crashes %llu, disks lost %llu, "
           "broken %llu, resigned %llu, configurations %llu, events %llu\n",
           (unsigned long long)found.acks, (unsigned long long)found.reads,
           (unsigned long long)found.unknown, (unsigned long long)found.crashes,
           (unsigned long long)found.lost_disks, (unsigned long long)found.broken_disks,
           (unsigned long long)found.resigned, (unsigned long long)found.swaps,
           (unsigned long long)found.events);
    if (found.register_reads > 0)
        printf("    the register among the nodes: reads %llu, swaps of unknown outcome %llu\n",
               (unsigned long long)found.register_reads,
               (unsigned long long)found.register_unknown);
    if (is_violated)
        printf("    seed %llu: %s\n    sim_pg --seed %llu tells all of it\n",
               (unsigned long long)found.seed, found.violation, (unsigned long long)found.seed);
    /* A run in which nothing happens holds everything, too. */
    bool is_busy = found.acks >= 100 * found.group_runs && found.reads >= 100 * found.group_runs &&
                   found.swaps > 2 * found.runs;
    printf("%sok - the runs are no empty ones\n", is_busy ? "" : "not ");
    return is_violated || !is_busy;
}

static int run_one(uint64_t seed)
{
    static struct sim sim;
    struct sim_options options = options_of(seed, true);
    sim_run(&sim, &options);
    printf("seed %llu: %s\n", (unsigned long long)seed, sim.violation[0] ? sim.violation : "fine");
    return sim.violation[0] != '\0';
}

static int run_explore(uint64_t first, double seconds)
{
    struct explored explored;
    bool is_fine = explore(first, seconds, true, &explored);
    printf("%sok - all that can happen near %llu states from seed %llu on holds every invariant\n",
           is_fine ? "" : "not ", (unsigned long long)explored.starts, (unsigned long long)first);
    printf("    %llu states: all within %u to %u steps of a start; acknowledged %llu\n",
           (unsigned long long)explored.states, explored.depth_min, explored.depth_max,
           (unsigned long long)explored.acked);
    if (!is_fine)
        printf("    seed %llu: %s\n", (unsigned long long)explored.seed, explored.violation);
    return !is_fine;
}

/* Those that three nodes can meet within a walk: no disk is replaced there, and the driver applies
 * at once. GRANT_STALE needs a lease that outlives more than a few steps. */
static int explore_bugs(double seconds)
{
    static const struct {
        enum seeded_bug bug;
        uint64_t met_at;
    } bugs[] = {
        {BUG_NO_EPOCH, 353},         {BUG_NO_LEASE, 173},   {BUG_NO_PROMISE, 111},
        {BUG_FORGET_PROMISE, 1},     {BUG_NO_ARM, 30},      {BUG_NO_BARRIER, 40},
        {BUG_LEARNER_TAKES, 1},      {BUG_NO_RECLAIM, 301}, {BUG_ACK_EARLY, 1},
        {BUG_COMMIT_UNPERSISTED, 5}, {BUG_NO_MATCH, 250},   {BUG_PROMISE_WHILE_TAKING, 173},
        {BUG_RESIGN_ACKS, 59},
    };
    int missed = 0;
    for (size_t i = 0; i < COUNT_OF(bugs); i++) {
        struct explored explored;
        seeded_bug = bugs[i].bug;
        bool is_found = !explore(bugs[i].met_at, seconds, false, &explored);
        missed += !is_found;
        printf("%sok - %s is found nearby: %s\n    after %llu starts, seed %llu: %s\n",
               is_found ? "" : "not ", bug_name(seeded_bug), bug_text(seeded_bug),
               (unsigned long long)explored.starts, (unsigned long long)explored.seed,
               explored.violation);
        fflush(stdout);
    }
    return missed > 0;
}

static int usage(void)
{
    fputs("usage: sim_pg [--seconds N] [--first SEED] [--seed SEED] [--bug NAME] [--bugs] "
          "[--explore]\n"
          "              [--register magic|among|only]\n",
          stderr);
    return 2;
}

int main(int argc, char **argv)
{
    double seconds = 20;
    uint64_t first = (uint64_t)time(NULL), seed = 0;
    bool is_one = false, all_bugs = false, is_exploring = false;
    for (int i = 1; i < argc; i++) {
        const char *value = i + 1 < argc ? argv[i + 1] : NULL;
        if (strcmp(argv[i], "--bugs") == 0) {
            all_bugs = true;
            continue;
        }
        if (strcmp(argv[i], "--explore") == 0) {
            is_exploring = true;
            continue;
        }
        if (value == NULL)
            return usage();
        i++;
        if (strcmp(argv[i - 1], "--seconds") == 0) {
            seconds = atof(value);
        } else if (strcmp(argv[i - 1], "--first") == 0) {
            first = strtoull(value, NULL, 10);
        } else if (strcmp(argv[i - 1], "--seed") == 0) {
            seed = strtoull(value, NULL, 10);
            is_one = true;
        } else if (strcmp(argv[i - 1], "--register") == 0) {
            static const char *const names[] = {"magic", "among", "only"};
            int reg = 0;
            while (reg < SIM_REGISTERS && strcmp(names[reg], value) != 0)
                reg++;
            if (reg == SIM_REGISTERS)
                return usage();
            register_choice = (enum sim_register)reg;
        } else if (strcmp(argv[i - 1], "--bug") == 0) {
            seeded_bug = bug_by_name(value, BUG_NONE + 1, QUORUM_BUG_LAST);
            if (seeded_bug == BUG_NONE)
                return usage();
        } else {
            return usage();
        }
    }
    if (is_exploring)
        return all_bugs ? explore_bugs(seconds) : run_explore(first, seconds);
    if (is_one)
        return run_one(seed);
    return all_bugs ? find_bugs(first, seconds) : run_clean(first, seconds);
}
