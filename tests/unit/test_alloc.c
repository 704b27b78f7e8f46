#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/check.h"
#include "base/rand.h"
#include "storage/alloc.h"
#include "storage/segment.h"

#define HEADER 2u

static struct alloc *open_alloc(uint32_t segment_units, uint32_t segments)
{
    struct alloc *alloc;
    assert_int_equal(alloc_open(segment_units, HEADER, &alloc), ERR_OK);
    for (uint32_t i = 0; i < segments; i++)
        assert_int_equal(alloc_add(alloc, i), ERR_OK);
    return alloc;
}

static void an_empty_segment_gives_all_but_its_header(void **state)
{
    struct alloc *alloc = open_alloc(256, 1);
    struct alloc_run run;
    assert_false(alloc_take(alloc, ALLOC_LARGE, 255, ALLOC_WHOLE, &run));
    assert_true(alloc_take(alloc, ALLOC_LARGE, 254, ALLOC_WHOLE, &run));
    assert_int_equal(run.unit, HEADER);
    assert_false(alloc_take(alloc, ALLOC_SMALL, 1, ALLOC_PIECES, &run));
    run = (struct alloc_run){0, HEADER, 254};
    alloc_free(alloc, &run);
    assert_true(alloc_take(alloc, ALLOC_SMALL, 1, ALLOC_WHOLE, &run));
    alloc_close(alloc);
}

static void records_that_cannot_be_are_refused(void **state)
{
    static const struct {
        struct alloc_run run;
        enum err expected;
    } table[] = {
        {{0, 10, 20}, ERR_OK},
        {{0, 30, 1}, ERR_OK},
        {{0, 9, 1}, ERR_OK},
        {{0, 9, 1}, ERR_CORRUPT},  /* the same again */
        {{0, 29, 4}, ERR_CORRUPT}, /* on another */
        {{0, 5, 10}, ERR_CORRUPT}, /* into another from before */
        {{0, 0, 1}, ERR_CORRUPT},  /* the header */
        {{0, 1, 4}, ERR_CORRUPT},
        {{0, 250, 7}, ERR_CORRUPT}, /* past the end */
        {{0, 256, 1}, ERR_CORRUPT},
        {{0, UINT32_MAX, 2}, ERR_CORRUPT},
        {{0, 100, UINT32_MAX}, ERR_CORRUPT},
        {{0, 100, 0}, ERR_CORRUPT},
        {{1, 100, 1}, ERR_CORRUPT}, /* no such segment */
        {{UINT32_MAX, 100, 1}, ERR_CORRUPT},
        {{0, 250, 6}, ERR_OK},
    };
    struct alloc *alloc = open_alloc(256, 1);
    for (size_t i = 0; i < COUNT_OF(table); i++)
        assert_int_equal(alloc_mark(alloc, &table[i].run), table[i].expected);
    uint32_t used;
    assert_true(alloc_segment_used(alloc, 0, &used));
    assert_int_equal(used, 20 + 1 + 1 + 6); /* a refused one marked nothing */
    alloc_close(alloc);
}

static void only_an_empty_segment_goes(void **state)
{
    struct alloc *alloc = open_alloc(256, 2);
    struct alloc_run run;
    struct alloc_stats stats;
    assert_true(alloc_take(alloc, ALLOC_SMALL, 3, ALLOC_WHOLE, &run));
    uint32_t other = 1 - run.segment;
    assert_false(alloc_remove(alloc, run.segment));
    assert_false(alloc_remove(alloc, 7));
    assert_int_equal(alloc_find_empty(alloc), other);
    assert_true(alloc_remove(alloc, other));
    assert_int_equal(alloc_find_empty(alloc), UINT32_MAX);
    alloc_free(alloc, &run);
    alloc_stats(alloc, &stats);
    assert_int_equal(stats.segments, 1);
    assert_int_equal(stats.segments_empty, 1);
    assert_int_equal(stats.units_free, 254);
    assert_int_equal(stats.units_used, 0);
    assert_true(alloc_remove(alloc, run.segment));
    assert_false(alloc_take(alloc, ALLOC_SMALL, 1, ALLOC_PIECES, &run));
    assert_int_equal(alloc_add(alloc, 0), ERR_OK);
    assert_true(alloc_take(alloc, ALLOC_SMALL, 254, ALLOC_WHOLE, &run));
    alloc_close(alloc);
}

static void classes_fill_segments_of_their_own(void **state)
{
    struct alloc *alloc = open_alloc(4096, 3);
    struct alloc_run small, large;
    assert_true(alloc_take(alloc, ALLOC_SMALL, 1, ALLOC_WHOLE, &small));
    for (unsigned i = 0; i < 8; i++) {
        assert_true(alloc_take(alloc, ALLOC_LARGE, 256, ALLOC_WHOLE, &large));
        assert_int_not_equal(large.segment, small.segment);
    }
    struct alloc_run next;
    assert_true(alloc_take(alloc, ALLOC_SMALL, 1, ALLOC_WHOLE, &next));
    assert_int_equal(next.segment, small.segment);
    assert_int_equal(next.unit, small.unit + 1); /* next fit */
    alloc_close(alloc);
}

/* ---- held against a plain array of bytes ---- */

#define MODEL_SEGMENTS 4u
#define MODEL_UNITS    8192u /* two blocks of the summary */
#define RUNS_MAX       3000u

struct model {
    bool used[MODEL_SEGMENTS][MODEL_UNITS];
    struct alloc_run runs[RUNS_MAX];
    size_t run_count;
    uint64_t units_used;
};

static uint32_t longest_free(const struct model *model)
{
    uint32_t longest = 0;
    for (uint32_t s = 0; s < MODEL_SEGMENTS; s++)
        for (uint32_t u = HEADER, run = 0; u < MODEL_UNITS; u++) {
            run = model->used[s][u] ? 0 : run + 1;
            longest = run > longest ? run : longest;
        }
    return longest;
}

static void model_set(struct model *model, const struct alloc_run *run, bool used)
{
    assert_in_range(run->unit, HEADER, MODEL_UNITS - run->units);
    assert_true(run->segment < MODEL_SEGMENTS);
    for (uint32_t u = run->unit; u < run->unit + run->units; u++) {
        assert_int_equal(model->used[run->segment][u], !used);
        model->used[run->segment][u] = used;
    }
    model->units_used += used ? run->units : -(uint64_t)run->units;
}

static uint32_t some_units(struct rand *rand)
{
    switch (rand_below(rand, 4)) {
    case 0:
        return 1 + (uint32_t)rand_below(rand, 16);
    case 1:
        return 16 * (1 + (uint32_t)rand_below(rand, 16));
    case 2:
        return 1 + (uint32_t)rand_below(rand, 300);
    default:
        return 1 + (uint32_t)rand_below(rand, ALLOC_RUN_MAX);
    }
}

static void take_one(struct alloc *alloc, struct model *model, struct rand *rand)
{
    uint32_t units = some_units(rand);
    enum alloc_fit fit = rand_below(rand, 2) ? ALLOC_WHOLE : ALLOC_PIECES;
    struct alloc_run run;
    bool taken = alloc_take(alloc, rand_below(rand, 2), units, fit, &run);
    uint32_t longest = longest_free(model);
    if (longest >= units) {
        assert_true(taken); /* a run that is there is found */
        assert_int_equal(run.units, units);
    } else if (fit == ALLOC_WHOLE || longest < ALLOC_PIECE_UNITS || units <= ALLOC_PIECE_UNITS) {
        assert_false(taken);
    } else {
        assert_true(taken);
        assert_true(run.units < units);
        assert_int_equal(run.units % ALLOC_PIECE_UNITS, 0);
        assert_in_range(run.units, longest / 4 + 1, longest); /* halving misses no more */
    }
    if (!taken)
        return;
    model_set(model, &run, true);
    assert_true(model->run_count < RUNS_MAX);
    model->runs[model->run_count++] = run;
}

static void free_one(struct alloc *alloc, struct model *model, struct rand *rand)
{
    size_t i = rand_below(rand, model->run_count);
    struct alloc_run run = model->runs[i];
    struct alloc_run part = run;
    if (run.units > 1 && rand_below(rand, 3) == 0) { /* a body gives back its end */
        uint32_t kept = 1 + (uint32_t)rand_below(rand, run.units - 1);
        part.unit += kept, part.units -= kept;
        model->runs[i].units = kept;
    } else {
        model->runs[i] = model->runs[--model->run_count];
    }
    alloc_free(alloc, &part);
    model_set(model, &part, false);
}

static void it_agrees_with_a_plain_array(void **state)
{
    static struct model model;
    for (uint64_t seed = 0; seed < 8; seed++) {
        struct rand_seeded seeded;
        rand_seeded_init(&seeded, seed);
        struct alloc *alloc = open_alloc(MODEL_UNITS, MODEL_SEGMENTS);
        memset(&model, 0, sizeof model);
        for (unsigned i = 0; i < 2500; i++) {
            bool frees =
                model.run_count > 0 && rand_below(&seeded.rand, 100) < (i / 500 % 2 ? 60 : 35);
            if (frees)
                free_one(alloc, &model, &seeded.rand);
            else if (model.run_count < RUNS_MAX)
                take_one(alloc, &model, &seeded.rand);
            struct alloc_stats stats;
            alloc_stats(alloc, &stats);
            assert_int_equal(stats.units_used, model.units_used);
            assert_int_equal(stats.units_used + stats.units_free,
                             MODEL_SEGMENTS * (MODEL_UNITS - HEADER));
        }
        for (uint32_t s = 0; s < MODEL_SEGMENTS; s++)
            for (uint32_t u = HEADER; u < MODEL_UNITS; u++)
                assert_int_equal(alloc_unit_is_used(alloc, s, u), model.used[s][u]);
        alloc_close(alloc);
    }
}

/* Bigger than one hold of the lock: a scan goes on where it left off, and finds what crosses that
 * border. */
static void a_big_segment_is_searched_to_its_end(void **state)
{
    const uint32_t units = (uint32_t)(SEGMENT_BYTES_MAX / UNIT_BYTES);
    static const struct {
        uint32_t at, units;
    } holes[] = {
        {ALLOC_SCAN_UNITS - 100, 300},
        {ALLOC_SCAN_UNITS * 3 + 17, 64},
        {(uint32_t)(SEGMENT_BYTES_MAX / UNIT_BYTES) - 4096, 4096},
    };
    struct alloc *alloc = open_alloc(units, 1);
    uint32_t at = HEADER;
    for (size_t i = 0; i < COUNT_OF(holes); i++) {
        struct alloc_run run = {0, at, holes[i].at - at};
        assert_int_equal(alloc_mark(alloc, &run), ERR_OK);
        at = holes[i].at + holes[i].units;
    }
    struct alloc_run run;
    assert_true(alloc_take(alloc, ALLOC_LARGE, 4096, ALLOC_WHOLE, &run));
    assert_int_equal(run.unit, holes[2].at);
    assert_true(alloc_take(alloc, ALLOC_LARGE, 300, ALLOC_WHOLE, &run));
    assert_int_equal(run.unit, holes[0].at);
    assert_false(alloc_take(alloc, ALLOC_LARGE, 65, ALLOC_WHOLE, &run));
    assert_true(alloc_take(alloc, ALLOC_LARGE, 65, ALLOC_PIECES, &run));
    assert_int_equal(run.unit, holes[1].at);
    assert_int_equal(run.units, 32); /* half of what was asked, in whole sum chunks */
    alloc_close(alloc);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_empty_segment_gives_all_but_its_header),
        cmocka_unit_test(records_that_cannot_be_are_refused),
        cmocka_unit_test(only_an_empty_segment_goes),
        cmocka_unit_test(classes_fill_segments_of_their_own),
        cmocka_unit_test(it_agrees_with_a_plain_array),
        cmocka_unit_test(a_big_segment_is_searched_to_its_end),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
