#include "storage/alloc.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "base/check.h"
#include "storage/segment.h"

/*
 * A bitmap of the units, 1 is used, and above it the count of free units in each block of 4,096, so
 * that full stretches are skipped quickly. run_bound says that no free run is longer: learnt by a
 * scan that found nothing, raised by frees. Runs longer than ALLOC_RUN_MAX are not told apart,
 * nobody asks for them.
 */
#define BLOCK_UNITS 4096u
#define WORD_UNITS  64u

struct bitmap {
    uint32_t number;
    uint32_t free; /* units */
    uint32_t run_bound;
    uint32_t cursor;      /* next fit starts here */
    uint32_t frees;       /* counts them, so that a scan between two holds of the lock notices */
    uint16_t *block_free; /* behind bits */
    uint64_t bits[];
};

struct alloc {
    pthread_mutex_t lock;
    uint32_t segment_units, header_units;
    uint32_t limit; /* no segment has this number or a higher one */
    uint32_t count, empty_count;
    uint64_t units_used, units_free;
    struct bitmap *open[ALLOC_CLASS_COUNT]; /* borrowed from table; NULL: none */
    struct bitmap *table[SEGMENTS_MAX];     /* owned */
};

static void lock(struct alloc *alloc)
{
    CHECK(pthread_mutex_lock(&alloc->lock) == 0);
}

static void unlock(struct alloc *alloc)
{
    CHECK(pthread_mutex_unlock(&alloc->lock) == 0);
}

/* ---- bits ---- */

/* How many units from `at` on, at most up to the word's end, are like the first one. */
static uint32_t stretch(const struct bitmap *map, uint32_t at, bool *ret_used)
{
    uint32_t left = WORD_UNITS - at % WORD_UNITS;
    uint64_t word = map->bits[at / WORD_UNITS] >> (at % WORD_UNITS);
    *ret_used = word & 1;
    if (*ret_used)
        word = ~word;
    uint32_t same = word == 0 ? WORD_UNITS : (uint32_t)__builtin_ctzll(word);
    return same < left ? same : left;
}

static uint64_t mask(uint32_t at, uint32_t units)
{
    uint64_t ones = units == WORD_UNITS ? ~0ull : (1ull << units) - 1;
    return ones << (at % WORD_UNITS);
}

static bool all_are(const struct bitmap *map, uint32_t at, uint32_t units, bool used)
{
    while (units > 0) {
        bool is_used;
        uint32_t same = stretch(map, at, &is_used);
        if (is_used != used)
            return false;
        same = same < units ? same : units;
        at += same, units -= same;
    }
    return true;
}

static void set_bits(struct bitmap *map, uint32_t at, uint32_t units, bool used)
{
    while (units > 0) {
        uint32_t step = WORD_UNITS - at % WORD_UNITS;
        step = step < units ? step : units;
        uint64_t *word = &map->bits[at / WORD_UNITS];
        if (used)
            *word |= mask(at, step), map->block_free[at / BLOCK_UNITS] -= (uint16_t)step;
        else
            *word &= ~mask(at, step), map->block_free[at / BLOCK_UNITS] += (uint16_t)step;
        at += step, units -= step;
    }
}

struct scan {
    uint32_t at, end; /* what is left */
    uint32_t run;     /* free units right before `at` */
    uint32_t longest; /* run that was seen and too short */
};

/* Goes on to `stop` or until a run of `want` units ends at scan->at. */
static bool scan_run(const struct bitmap *map, struct scan *scan, uint32_t stop, uint32_t want)
{
    while (scan->at < stop) {
        if (scan->at % BLOCK_UNITS == 0 && map->block_free[scan->at / BLOCK_UNITS] == 0) {
            scan->run = 0;
            scan->at += BLOCK_UNITS;
            continue;
        }
        bool used;
        uint32_t same = stretch(map, scan->at, &used);
        same = same < stop - scan->at ? same : stop - scan->at;
        scan->at += same;
        scan->run = used ? 0 : scan->run + same;
        if (scan->run > scan->longest)
            scan->longest = scan->run;
        if (scan->run >= want)
            return true;
    }
    if (scan->at > stop)
        scan->at = stop; /* a skipped block may be longer than the segment */
    return false;
}

/* ---- segments ---- */

enum err alloc_open(uint32_t segment_units, uint32_t header_units, struct alloc **ret_alloc)
{
    CHECK(segment_units % WORD_UNITS == 0);
    CHECK(header_units < segment_units);
    struct alloc *alloc = calloc(1, sizeof *alloc);
    if (alloc == NULL)
        return ERR_NO_MEMORY;
    CHECK(pthread_mutex_init(&alloc->lock, NULL) == 0);
    alloc->segment_units = segment_units;
    alloc->header_units = header_units;
    *ret_alloc = alloc;
    return ERR_OK;
}

void alloc_close(struct alloc *alloc)
{
    if (alloc == NULL)
        return;
    for (uint32_t i = 0; i < alloc->limit; i++)
        free(alloc->table[i]);
    pthread_mutex_destroy(&alloc->lock);
    free(alloc);
}

static bool is_empty(const struct alloc *alloc, const struct bitmap *map)
{
    return map->free == alloc->segment_units - alloc->header_units;
}

static struct bitmap *find(struct alloc *alloc, uint32_t segment)
{
    return segment < alloc->limit ? alloc->table[segment] : NULL;
}

enum err alloc_add(struct alloc *alloc, uint32_t segment)
{
    CHECK(segment < SEGMENTS_MAX);
    uint32_t words = alloc->segment_units / WORD_UNITS,
             blocks = (alloc->segment_units + BLOCK_UNITS - 1) / BLOCK_UNITS;
    struct bitmap *map =
        calloc(1, sizeof *map + words * sizeof map->bits[0] + blocks * sizeof map->block_free[0]);
    if (map == NULL)
        return ERR_NO_MEMORY;
    map->number = segment;
    map->block_free = (uint16_t *)(map->bits + words);
    for (uint32_t i = 0; i < blocks; i++) {
        uint32_t units = alloc->segment_units - i * BLOCK_UNITS;
        map->block_free[i] = (uint16_t)(units < BLOCK_UNITS ? units : BLOCK_UNITS);
    }
    set_bits(map, 0, alloc->header_units, true);
    map->free = map->run_bound = alloc->segment_units - alloc->header_units;
    map->cursor = alloc->header_units;

    lock(alloc);
    CHECK(alloc->table[segment] == NULL);
    alloc->table[segment] = map;
    if (segment >= alloc->limit)
        alloc->limit = segment + 1;
    alloc->count++;
    alloc->empty_count++;
    alloc->units_free += map->free;
    unlock(alloc);
    return ERR_OK;
}

bool alloc_remove(struct alloc *alloc, uint32_t segment)
{
    lock(alloc);
    struct bitmap *map = find(alloc, segment);
    bool goes = map != NULL && is_empty(alloc, map);
    if (goes) {
        alloc->table[segment] = NULL;
        for (int i = 0; i < ALLOC_CLASS_COUNT; i++)
            if (alloc->open[i] == map)
                alloc->open[i] = NULL;
        alloc->count--;
        alloc->empty_count--;
        alloc->units_free -= map->free;
    }
    unlock(alloc);
    if (goes)
        free(map);
    return goes;
}

/* ---- using and freeing; below the lock ---- */

static void use(struct alloc *alloc, struct bitmap *map, uint32_t unit, uint32_t units)
{
    if (is_empty(alloc, map))
        alloc->empty_count--;
    set_bits(map, unit, units, true);
    map->free -= units;
    alloc->units_free -= units;
    alloc->units_used += units;
}

enum err alloc_mark(struct alloc *alloc, const struct alloc_run *run)
{
    lock(alloc);
    struct bitmap *map = find(alloc, run->segment);
    enum err e = ERR_CORRUPT;
    if (map != NULL && run->units > 0 && run->units <= alloc->segment_units &&
        run->unit <= alloc->segment_units - run->units &&
        all_are(map, run->unit, run->units, false)) {
        use(alloc, map, run->unit, run->units);
        e = ERR_OK;
    }
    unlock(alloc);
    return e;
}

/* Free units in a row on one side of a position, as far as anybody cares. */
static uint32_t free_before(const struct bitmap *map, uint32_t at)
{
    uint32_t run = 0;
    while (at > 0 && run < ALLOC_RUN_MAX) {
        uint32_t in_word = (at - 1) % WORD_UNITS + 1;
        uint64_t word = map->bits[(at - 1) / WORD_UNITS] << (WORD_UNITS - in_word);
        uint32_t same = word == 0 ? in_word : (uint32_t)__builtin_clzll(word);
        same = same < in_word ? same : in_word;
        run += same, at -= same;
        if (same < in_word)
            break;
    }
    return run;
}

static uint32_t free_after(const struct alloc *alloc, const struct bitmap *map, uint32_t at)
{
    uint32_t run = 0;
    while (at < alloc->segment_units && run < ALLOC_RUN_MAX) {
        bool used;
        uint32_t same = stretch(map, at, &used);
        if (used)
            break;
        run += same, at += same;
    }
    return run;
}

void alloc_free(struct alloc *alloc, const struct alloc_run *run)
{
    lock(alloc);
    struct bitmap *map = find(alloc, run->segment);
    CHECK(map != NULL);
    CHECK(run->units > 0);
    CHECK(run->unit >= alloc->header_units);
    CHECK(run->units <= alloc->segment_units - run->unit);
    CHECK(all_are(map, run->unit, run->units, true)); /* freed twice */
    set_bits(map, run->unit, run->units, false);
    map->free += run->units;
    map->frees++;
    alloc->units_free += run->units;
    alloc->units_used -= run->units;
    if (is_empty(alloc, map))
        alloc->empty_count++;
    uint32_t merged =
        free_before(map, run->unit) + run->units + free_after(alloc, map, run->unit + run->units);
    if (merged > map->run_bound)
        map->run_bound = merged;
    unlock(alloc);
}

/* ---- taking ---- */

/* Scans [scan->at, scan->end), giving others a turn now and then. False also when the segment went
 * away meanwhile. */
static bool scan_slowly(struct alloc *alloc, struct bitmap *map, uint32_t number, struct scan *scan,
                        uint32_t want)
{
    while (scan->at < scan->end) {
        uint32_t stop =
            scan->end - scan->at > ALLOC_SCAN_UNITS ? scan->at + ALLOC_SCAN_UNITS : scan->end;
        if (scan_run(map, scan, stop, want))
            return true;
        if (scan->at == scan->end)
            break;
        scan->at -= scan->run; /* what was free may be taken in between: look at it again */
        scan->run = 0;
        unlock(alloc);
        lock(alloc);
        if (find(alloc, number) != map)
            return false;
    }
    return false;
}

static bool take_in(struct alloc *alloc, struct bitmap *map, uint32_t want,
                    struct alloc_run *ret_run)
{
    if (map->free < want || map->run_bound < want)
        return false;
    uint32_t number = map->number, frees = map->frees, cursor = map->cursor;
    struct scan ahead = {.at = cursor, .end = alloc->segment_units};
    bool found = scan_slowly(alloc, map, number, &ahead, want);
    struct scan behind = {.at = alloc->header_units};
    behind.end = cursor + want < alloc->segment_units ? cursor + want : alloc->segment_units;
    struct scan *scan = found ? &ahead : &behind;
    if (!found && find(alloc, number) == map)
        found = scan_slowly(alloc, map, number, &behind, want);
    if (find(alloc, number) != map)
        return false;
    if (!found) {
        uint32_t longest = ahead.longest > behind.longest ? ahead.longest : behind.longest;
        if (map->frees == frees && longest < want)
            map->run_bound = longest;
        return false;
    }
    uint32_t unit = scan->at - scan->run;
    CHECK(all_are(map, unit, want, false));
    use(alloc, map, unit, want);
    map->cursor = unit + want < alloc->segment_units ? unit + want : alloc->header_units;
    *ret_run = (struct alloc_run){.segment = number, .unit = unit, .units = want};
    return true;
}

/* The emptiest segment that may have the run, another class's open one only when there is no other.
 */
static struct bitmap *pick(struct alloc *alloc, enum alloc_class class, uint32_t want)
{
    struct bitmap *best = NULL, *last_resort = NULL;
    for (uint32_t i = 0; i < alloc->limit; i++) {
        struct bitmap *map = alloc->table[i];
        if (map == NULL || map->free < want || map->run_bound < want)
            continue;
        bool is_open = map == alloc->open[!class];
        struct bitmap **slot = is_open ? &last_resort : &best;
        if (*slot == NULL || map->free > (*slot)->free)
            *slot = map;
    }
    return best ? best : last_resort;
}

static bool take_whole(struct alloc *alloc, enum alloc_class class, uint32_t want,
                       struct alloc_run *ret_run)
{
    if (alloc->open[class] != NULL && take_in(alloc, alloc->open[class], want, ret_run))
        return true;
    /* A segment that has nothing lowers its bound by that and is not picked again, unless frees
     * keep raising it: hence the limit. */
    for (uint32_t tries = 2 * alloc->count + 2; tries > 0; tries--) {
        struct bitmap *map = pick(alloc, class, want);
        if (map == NULL)
            return false;
        if (take_in(alloc, map, want, ret_run)) {
            if (map != alloc->open[!class])
                alloc->open[class] = map;
            return true;
        }
    }
    return false;
}

bool alloc_take(struct alloc *alloc, enum alloc_class class, uint32_t units, enum alloc_fit fit,
                struct alloc_run *ret_run)
{
    CHECK(units > 0 && units <= ALLOC_RUN_MAX);
    lock(alloc);
    bool found = take_whole(alloc, class, units, ret_run);
    uint32_t want = units;
    while (!found && fit == ALLOC_PIECES && want > ALLOC_PIECE_UNITS) {
        want = want / 2 / ALLOC_PIECE_UNITS * ALLOC_PIECE_UNITS;
        if (want < ALLOC_PIECE_UNITS)
            want = ALLOC_PIECE_UNITS;
        found = take_whole(alloc, class, want, ret_run);
    }
    unlock(alloc);
    return found;
}

/* ---- telling ---- */

void alloc_stats(struct alloc *alloc, struct alloc_stats *ret_stats)
{
    lock(alloc);
    *ret_stats = (struct alloc_stats){.segments = alloc->count,
                                      .segments_empty = alloc->empty_count,
                                      .units_used = alloc->units_used,
                                      .units_free = alloc->units_free};
    unlock(alloc);
}

uint32_t alloc_find_empty(struct alloc *alloc)
{
    uint32_t found = UINT32_MAX;
    lock(alloc);
    for (uint32_t i = alloc->limit; alloc->empty_count > 0 && i > 0 && found == UINT32_MAX; i--)
        if (alloc->table[i - 1] != NULL && is_empty(alloc, alloc->table[i - 1]))
            found = i - 1;
    unlock(alloc);
    return found;
}

bool alloc_segment_used(struct alloc *alloc, uint32_t segment, uint32_t *ret_used)
{
    lock(alloc);
    struct bitmap *map = find(alloc, segment);
    if (map != NULL)
        *ret_used = alloc->segment_units - alloc->header_units - map->free;
    unlock(alloc);
    return map != NULL;
}

bool alloc_unit_is_used(struct alloc *alloc, uint32_t segment, uint32_t unit)
{
    lock(alloc);
    struct bitmap *map = find(alloc, segment);
    bool used = map != NULL && unit < alloc->segment_units && all_are(map, unit, 1, true);
    unlock(alloc);
    return used;
}
