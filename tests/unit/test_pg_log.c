/* Logs told as runs of terms, against logs told record by record. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/check.h"
#include "base/rand.h"
#include "replication/pg_log.h"

static struct pg_log log_of(const uint64_t *terms, size_t count)
{
    struct pg_log log = {0};
    for (size_t i = 0; i < count; i++)
        pg_log_append(&log, terms[i]);
    return log;
}

static void terms_are_told_by_psn(void **state)
{
    static const uint64_t terms[] = {1, 1, 1, 3, 3, 4};
    struct pg_log log = log_of(terms, COUNT_OF(terms));
    assert_int_equal(log.last, 6);
    assert_int_equal(log.run_count, 3);
    for (uint64_t psn = 1; psn <= 6; psn++)
        assert_int_equal(pg_log_term(&log, psn), terms[psn - 1]);
    assert_int_equal(pg_log_term(&log, 0), 0);
    assert_int_equal(pg_log_term(&log, 7), 0);
    assert_true(pg_log_is_sound(&log));
}

static void a_cut_takes_runs_that_begin_behind_it(void **state)
{
    static const uint64_t terms[] = {1, 1, 1, 3, 3, 4};
    for (uint64_t last = 0; last <= 6; last++) {
        struct pg_log log = log_of(terms, COUNT_OF(terms));
        pg_log_cut(&log, last);
        assert_int_equal(log.last, last);
        assert_int_equal(pg_log_term(&log, last), last ? terms[last - 1] : 0);
        assert_true(pg_log_is_sound(&log));
        pg_log_append(&log, 9);
        assert_int_equal(pg_log_term(&log, last + 1), 9);
    }
}

static void what_is_forgotten_keeps_the_last_committed_term(void **state)
{
    static const uint64_t terms[] = {1, 1, 1, 3, 3, 4};
    struct pg_log log = log_of(terms, COUNT_OF(terms));
    pg_log_forget(&log, 5);
    assert_int_equal(log.run_count, 3);
    pg_log_forget(&log, 6);
    assert_int_equal(log.run_count, 2);
    assert_int_equal(pg_log_term(&log, 4), 3);
    assert_int_equal(pg_log_term(&log, 3), 0);
    pg_log_forget(&log, 2); /* never back */
    assert_int_equal(log.base, 6);
}

/* Its records match, though the new primary has committed its term and this one knows of little. */
static void a_log_that_lags_by_a_term_is_not_cut_to_what_it_knows_of(void **state)
{
    static const uint64_t mine_terms[] = {1, 1, 1, 1}, new_terms[] = {1, 1, 1, 1, 2};
    struct pg_log mine = log_of(mine_terms, COUNT_OF(mine_terms));
    struct pg_log theirs = log_of(new_terms, COUNT_OF(new_terms));
    pg_log_forget(&mine, 1);
    pg_log_forget(&theirs, 5);
    assert_int_equal(pg_log_match(&mine, &theirs), 4);
}

static void the_oldest_run_goes_when_there_is_no_room(void **state)
{
    struct pg_log log = {0};
    for (uint64_t term = 1; term <= PG_RUNS_MAX + 5; term++)
        pg_log_append(&log, term);
    assert_int_equal(log.run_count, PG_RUNS_MAX);
    assert_int_equal(pg_log_term(&log, log.last), PG_RUNS_MAX + 5);
    assert_int_equal(pg_log_term(&log, 5), 0);
    assert_true(pg_log_is_sound(&log));
}

static void logs_agree_as_far_as_their_terms(void **state)
{
    static const struct {
        uint64_t mine[6], theirs[6];
        size_t mine_count, theirs_count;
        uint64_t match;
    } cases[] = {
        {{1, 1, 1}, {1, 1, 1}, 3, 3, 3},
        {{1, 1, 1}, {1, 1}, 3, 2, 2},
        {{1, 1}, {1, 1, 1, 2}, 2, 4, 2},
        {{1, 1, 2, 2}, {1, 1, 3, 3}, 4, 4, 2},
        {{1, 1, 2, 2}, {1, 1, 2, 4}, 4, 4, 3},
        {{2, 2}, {1, 1}, 2, 2, 0},
        {{0}, {1, 1}, 0, 2, 0},
        {{1, 1}, {0}, 2, 0, 0},
    };
    for (size_t i = 0; i < COUNT_OF(cases); i++) {
        struct pg_log mine = log_of(cases[i].mine, cases[i].mine_count);
        struct pg_log theirs = log_of(cases[i].theirs, cases[i].theirs_count);
        assert_int_equal(pg_log_match(&mine, &theirs), cases[i].match);
        assert_int_equal(pg_log_match(&theirs, &mine), cases[i].match);
    }
}

/* One history of terms, left at random points by two logs: what a run of the protocol leaves. */
static void forks_are_found_where_they_are(void **state)
{
    struct rand_seeded rand;
    rand_seeded_init(&rand, 11);
    for (int round = 0; round < 20000; round++) {
        struct pg_log mine = {0}, theirs = {0};
        uint64_t shared = rand_below(&rand.rand, 12), term = 1;
        for (uint64_t psn = 1; psn <= shared; psn++) {
            term += rand_below(&rand.rand, 3) == 0;
            pg_log_append(&mine, term);
            pg_log_append(&theirs, term);
        }
        uint64_t committed = rand_below(&rand.rand, shared + 1);
        uint64_t my_more = rand_below(&rand.rand, 4), their_more = rand_below(&rand.rand, 4);
        for (uint64_t i = 0; i < my_more; i++)
            pg_log_append(&mine, term + 1); /* terms belong to one primary: the two differ */
        for (uint64_t i = 0; i < their_more; i++)
            pg_log_append(&theirs, term + 2);
        if (rand_below(&rand.rand, 2))
            pg_log_forget(&theirs, committed);
        if (rand_below(&rand.rand, 2))
            pg_log_forget(&mine, rand_below(&rand.rand, committed + 1));
        uint64_t match = pg_log_match(&mine, &theirs);
        assert_in_range(match, mine.base, shared);
        if (theirs.base <= shared && pg_log_term(&mine, shared) == pg_log_term(&theirs, shared) &&
            pg_log_term(&mine, shared) != 0)
            assert_int_equal(match, shared);
    }
}

static void unsound_logs_are_told(void **state)
{
    static const uint64_t terms[] = {1, 1, 3};
    struct pg_log sound = log_of(terms, COUNT_OF(terms)), log;
    assert_true(pg_log_is_sound(&sound));
    log = sound, log.run_count = PG_RUNS_MAX + 1;
    assert_false(pg_log_is_sound(&log));
    log = sound, log.runs[1].term = 1;
    assert_false(pg_log_is_sound(&log));
    log = sound, log.runs[1].first_psn = 1;
    assert_false(pg_log_is_sound(&log));
    log = sound, log.runs[1].first_psn = 9;
    assert_false(pg_log_is_sound(&log));
    log = sound, log.base = 4;
    assert_false(pg_log_is_sound(&log));
    log = sound, log.run_count = 0;
    assert_false(pg_log_is_sound(&log));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(terms_are_told_by_psn),
        cmocka_unit_test(a_cut_takes_runs_that_begin_behind_it),
        cmocka_unit_test(what_is_forgotten_keeps_the_last_committed_term),
        cmocka_unit_test(a_log_that_lags_by_a_term_is_not_cut_to_what_it_knows_of),
        cmocka_unit_test(the_oldest_run_goes_when_there_is_no_room),
        cmocka_unit_test(logs_agree_as_far_as_their_terms),
        cmocka_unit_test(forks_are_found_where_they_are),
        cmocka_unit_test(unsound_logs_are_told),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
