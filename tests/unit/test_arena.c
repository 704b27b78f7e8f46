#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
/* the four above first: cmocka wants them */
#include <cmocka.h>
#include <signal.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/arena.h"
#include "base/check.h"

struct fixture {
    struct arena *arena;
    struct arena_share *share;
};

static int set_up(void **state)
{
    static struct fixture fixture;
    struct arena_options options = {.large_count = 2, .small_count = 3, .share_count = 1};
    fixture.arena = NULL;
    if (arena_open(&options, &fixture.arena))
        return -1;
    fixture.share = arena_share(fixture.arena, 0);
    *state = &fixture;
    return 0;
}

static int tear_down(void **state)
{
    struct fixture *f = *state;
    arena_close(f->arena);
    return 0;
}

static void slots_are_aligned_inside_the_mapping_and_apart(void **state)
{
    struct fixture *f = *state;
    struct slot *slots[5] = {NULL};
    size_t count = 0;
    for (enum slot_size c = 0; c < SLOT_SIZE_COUNT; c++)
        for (struct slot *slot; (slot = slot_take(f->share, c)) != NULL; count++) {
            assert_in_range(count, 0, 4);
            assert_int_equal(slot->size_class, c);
            assert_int_equal(slot->size, c == SLOT_LARGE ? SLOT_LARGE_BYTES : SLOT_SMALL_BYTES);
            assert_int_equal((uintptr_t)slot->data % 4096, 0);
            assert_true(arena_holds(f->arena, slot->data, slot->size));
            memset(slot->data, (int)count + 1, slot->size);
            slots[count] = slot;
        }
    assert_int_equal(count, 5);
    for (size_t i = 0; i < count; i++) {
        assert_int_equal(slots[i]->data[0], i + 1);
        assert_int_equal(slots[i]->data[slots[i]->size - 1], i + 1);
        slot_put(slots[i]);
    }
}

static void mapping_is_whole_huge_pages_and_knows_its_edges(void **state)
{
    struct fixture *f = *state;
    uint8_t *base = arena_base(f->arena);
    size_t size = arena_size_bytes(f->arena);
    assert_int_equal(size % (2u << 20), 0);
    assert_int_equal((uintptr_t)base % (2u << 20), 0);
    assert_true(arena_holds(f->arena, base, size));
    assert_true(arena_holds(f->arena, base + size, 0));
    assert_false(arena_holds(f->arena, base, size + 1));
    assert_false(arena_holds(f->arena, base + 1, size));
    assert_false(arena_holds(f->arena, base - 1, 1));
    assert_false(arena_holds(f->arena, base + 4096, SIZE_MAX));
    assert_in_range(arena_pages(f->arena), ARENA_PAGES_HUGETLB, ARENA_PAGES_PLAIN);
}

static void shares_get_fair_parts(void **state)
{
    static const struct {
        uint32_t large, small, shares;
    } rows[] = {{8, 8, 4}, {7, 5, 3}, {1, 0, 2}, {3, 10, 8}};
    for (size_t i = 0; i < COUNT_OF(rows); i++) {
        struct arena_options options = {rows[i].large, rows[i].small, rows[i].shares};
        struct arena *arena = NULL;
        assert_int_equal(arena_open(&options, &arena), ERR_OK);
        uint32_t sums[SLOT_SIZE_COUNT] = {0};
        uint32_t totals[SLOT_SIZE_COUNT] = {
            [SLOT_SMALL] = rows[i].small, [SLOT_LARGE] = rows[i].large};
        for (uint32_t s = 0; s < rows[i].shares; s++)
            for (int c = 0; c < SLOT_SIZE_COUNT; c++) {
                uint32_t got = arena_share(arena, s)->total_count[c];
                assert_in_range(got, totals[c] / rows[i].shares,
                                (totals[c] + rows[i].shares - 1) / rows[i].shares);
                sums[c] += got;
            }
        assert_int_equal(sums[SLOT_LARGE], rows[i].large);
        assert_int_equal(sums[SLOT_SMALL], rows[i].small);
        arena_close(arena);
    }
}

static void an_arena_of_nothing_is_refused(void **state)
{
    struct arena *arena = NULL;
    assert_int_equal(arena_open(&(struct arena_options){.share_count = 1}, &arena), ERR_INVALID);
    assert_null(arena);
    slot_put(NULL);
    arena_close(NULL);
}

static void landing_areas_lie_apart_from_slots_and_are_dealt_one_by_one(void **state)
{
    struct arena_options options = {.large_count = 1,
                                    .small_count = 1,
                                    .share_count = 1,
                                    .landing_count = 2,
                                    .landing_bytes = (2u << 20) + 1};
    struct arena *arena = NULL;
    assert_int_equal(arena_open(&options, &arena), ERR_OK);
    struct landing *first = arena_landing_take(arena), *second = arena_landing_take(arena);
    assert_non_null(first);
    assert_non_null(second);
    assert_null(arena_landing_take(arena));
    assert_int_equal(first->size, 4u << 20);
    assert_int_equal((uintptr_t)first->data % (2u << 20), 0);
    assert_true(second->data >= first->data + first->size ||
                first->data >= second->data + second->size);
    assert_true(arena_is_landing(arena, first->data, first->size));
    assert_false(arena_is_landing(arena, first->data, arena_size_bytes(arena)));
    for (int c = 0; c < SLOT_SIZE_COUNT; c++) {
        struct slot *slot = slot_take(arena_share(arena, 0), c);
        assert_false(arena_is_landing(arena, slot->data, slot->size));
        slot_put(slot);
    }
    memset(first->data, 1, first->size);
    arena_landing_put(arena, first);
    arena_landing_put(arena, second);
    arena_landing_put(arena, NULL);
    assert_ptr_equal(arena_landing_take(arena), second); /* the warmest */
    arena_landing_put(arena, second);
    arena_close(arena);
    options.landing_bytes = 0;
    arena = NULL;
    assert_int_equal(arena_open(&options, &arena), ERR_INVALID);
}

/* ---- waiting ---- */

struct waiting {
    struct arena_waiter waiter;
    struct slot *got;
    int order;
    bool puts_back;
};
static int order_next;

static void ready(struct arena_waiter *waiter, struct slot *slot)
{
    struct waiting *waiting = CONTAINER_OF(waiter, struct waiting, waiter);
    waiting->order = ++order_next;
    waiting->got = slot;
    if (waiting->puts_back)
        slot_put(slot);
}

static void a_returned_slot_goes_to_the_first_in_line(void **state)
{
    struct fixture *f = *state;
    struct slot *large[2] = {slot_take(f->share, SLOT_LARGE), slot_take(f->share, SLOT_LARGE)};
    assert_null(slot_take(f->share, SLOT_LARGE));
    struct waiting first = {.waiter.ready = ready}, gone = first, second = first, small = first;
    arena_wait(f->share, &first.waiter, SLOT_LARGE);
    arena_wait(f->share, &gone.waiter, SLOT_LARGE);
    arena_wait(f->share, &second.waiter, SLOT_LARGE);
    arena_wait_cancel(&gone.waiter);
    arena_wait_cancel(&gone.waiter);
    arena_wait(f->share, &small.waiter, SLOT_SMALL);
    assert_null(small.got); /* never from inside arena_wait, although small ones are free */

    slot_put(large[0]);
    assert_ptr_equal(first.got, large[0]);
    assert_null(second.got);
    slot_put(large[1]);
    assert_ptr_equal(second.got, large[1]);
    assert_null(gone.got);
    assert_int_equal(f->share->free_count[SLOT_LARGE], 0);
    slot_put(small.got);
    slot_put(first.got);
    slot_put(second.got);
}

static void a_long_line_that_returns_at_once_does_not_deepen_the_stack(void **state)
{
    enum { WAITERS = 200000 }; /* as recursion this would be tens of MiB of stack */
    struct fixture *f = *state;
    static struct waiting line[WAITERS];
    struct slot *large[2] = {slot_take(f->share, SLOT_LARGE), slot_take(f->share, SLOT_LARGE)};
    order_next = 0;
    for (int i = 0; i < WAITERS; i++) {
        line[i] = (struct waiting){.waiter.ready = ready, .puts_back = true};
        arena_wait(f->share, &line[i].waiter, SLOT_LARGE);
    }
    slot_put(large[0]);
    for (int i = 0; i < WAITERS; i++)
        assert_int_equal(line[i].order, i + 1);
    slot_put(large[1]);
    assert_int_equal(f->share->free_count[SLOT_LARGE], 2);
}

static void putting_a_slot_twice_stops_the_process(void **state)
{
    struct fixture *f = *state;
    pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0) {
        signal(SIGABRT, SIG_DFL);
        (void)close(STDERR_FILENO);
        struct slot *slot = slot_take(f->share, SLOT_SMALL);
        slot_put(slot);
        slot_put(slot);
        _exit(0);
    }
    int status = 0;
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGABRT);
}

int main(void)
{
    const struct CMUnitTest all[] = {
        cmocka_unit_test_setup_teardown(slots_are_aligned_inside_the_mapping_and_apart, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(mapping_is_whole_huge_pages_and_knows_its_edges, set_up,
                                        tear_down),
        cmocka_unit_test(shares_get_fair_parts),
        cmocka_unit_test(an_arena_of_nothing_is_refused),
        cmocka_unit_test(landing_areas_lie_apart_from_slots_and_are_dealt_one_by_one),
        cmocka_unit_test_setup_teardown(a_returned_slot_goes_to_the_first_in_line, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(a_long_line_that_returns_at_once_does_not_deepen_the_stack,
                                        set_up, tear_down),
        cmocka_unit_test_setup_teardown(putting_a_slot_twice_stops_the_process, set_up, tear_down),
    };
    return cmocka_run_group_tests(all, NULL, NULL);
}
