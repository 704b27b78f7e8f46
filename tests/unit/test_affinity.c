/* A thread that stays on its CPU for a while, and is free in between. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "base/affinity.h"

#define NOW NS_PER_SECOND

static cpu_set_t mine(void)
{
    cpu_set_t set;
    assert_int_equal(sched_getaffinity(0, sizeof set, &set), 0);
    return set;
}

static void set_mine(const cpu_set_t *set)
{
    assert_int_equal(sched_setaffinity(0, sizeof *set, set), 0);
}

static bool is(const cpu_set_t *set)
{
    cpu_set_t now = mine();
    return CPU_EQUAL(&now, set) != 0;
}

static cpu_set_t only(int cpu)
{
    cpu_set_t set;
    CPU_ZERO(&set);
    CPU_SET(cpu, &set);
    return set;
}

static int first_of(const cpu_set_t *set)
{
    for (int cpu = 0; cpu < CPU_SETSIZE; cpu++)
        if (CPU_ISSET(cpu, set))
            return cpu;
    return -1;
}

/* On a machine with one CPU there is nothing to bind: all is then as before each call. */
static void it_is_bound_for_a_while_and_then_free_for_a_turn(void **state)
{
    struct affinity affinity = {0};
    cpu_set_t all = mine();
    affinity_stay(&affinity, NOW);
    cpu_set_t bound = only(sched_getcpu());
    assert_true(is(CPU_COUNT(&all) > 1 ? &bound : &all));
    affinity_stay(&affinity, NOW + AFFINITY_STAY_NS - 1);
    assert_true(is(CPU_COUNT(&all) > 1 ? &bound : &all));
    affinity_stay(&affinity, NOW + AFFINITY_STAY_NS);
    assert_true(is(&all));
    affinity_stay(&affinity, NOW + AFFINITY_STAY_NS); /* the same turn */
    assert_true(is(&all));
    affinity_stay(&affinity, NOW + AFFINITY_STAY_NS + 1);
    bound = only(sched_getcpu());
    assert_true(is(CPU_COUNT(&all) > 1 ? &bound : &all));
    affinity_end(&affinity);
    assert_true(is(&all));
    affinity_stay(&affinity, NOW + 2 * AFFINITY_STAY_NS);
    assert_true(is(&all));
}

static void a_thread_with_one_cpu_is_let_be(void **state)
{
    struct affinity affinity = {0};
    cpu_set_t all = mine(), one = only(first_of(&all));
    set_mine(&one);
    affinity_stay(&affinity, NOW);
    set_mine(&all); /* given more later: not looked at again */
    affinity_stay(&affinity, NOW + 1);
    assert_true(is(&all));
    affinity_end(&affinity);
    assert_true(is(&all));
}

static void what_somebody_else_has_set_stays(void **state)
{
    struct affinity affinity = {0};
    cpu_set_t all = mine();
    if (CPU_COUNT(&all) < 2)
        skip();
    affinity_stay(&affinity, NOW);
    set_mine(&all);
    affinity_stay(&affinity, NOW + AFFINITY_STAY_NS);
    affinity_stay(&affinity, NOW + AFFINITY_STAY_NS + 1);
    assert_true(is(&all));
    affinity_end(&affinity);
    assert_true(is(&all));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(it_is_bound_for_a_while_and_then_free_for_a_turn),
        cmocka_unit_test(a_thread_with_one_cpu_is_let_be),
        cmocka_unit_test(what_somebody_else_has_set_stays),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
