/* How quickly a copy goes on, told from reports of it. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/limits.h"
#include "replication/copy_pace.h"

#define BEGAN_NS (1000 * NS_PER_SECOND)
#define EVERY_NS (500 * NS_PER_MS)

/* Reports for `seconds`, `per_second` more in each. */
static void go(struct copy_pace *pace, uint64_t *now_ns, uint64_t *done, unsigned seconds,
               uint64_t per_second)
{
    for (unsigned i = 0; i < 2 * seconds; i++) {
        *now_ns += EVERY_NS;
        *done += per_second / 2;
        copy_pace_note(pace, *now_ns, true, *done);
    }
}

static void one_report_says_nothing(void **state)
{
    struct copy_pace pace = {0};
    assert_int_equal(copy_pace_per_second(&pace), 0);
    copy_pace_note(&pace, BEGAN_NS, true, 1000);
    assert_int_equal(copy_pace_per_second(&pace), 0);
    assert_int_equal(copy_pace_left_ns(&pace, 2000), UINT64_MAX);
}

static void the_pace_is_that_of_the_last_seconds(void **state)
{
    struct copy_pace pace = {0};
    uint64_t now_ns = BEGAN_NS, done = 0;
    copy_pace_note(&pace, now_ns, true, done);
    go(&pace, &now_ns, &done, 1, MIB(8));
    assert_int_equal(copy_pace_per_second(&pace), MIB(8));
    go(&pace, &now_ns, &done, 60, MIB(8));
    assert_int_equal(copy_pace_left_ns(&pace, done + MIB(20)), 2500 * NS_PER_MS);
    go(&pace, &now_ns, &done, 10, MIB(2)); /* slower by now */
    assert_int_equal(copy_pace_per_second(&pace), MIB(2));
    go(&pace, &now_ns, &done, 10, 0);
    assert_int_equal(copy_pace_per_second(&pace), 0);
    assert_int_equal(copy_pace_left_ns(&pace, done + 1), UINT64_MAX);
}

static void another_copy_begins_anew(void **state)
{
    struct copy_pace pace = {0};
    uint64_t now_ns = BEGAN_NS, done = 0;
    copy_pace_note(&pace, now_ns, true, done);
    go(&pace, &now_ns, &done, 20, MIB(8));
    copy_pace_note(&pace, now_ns += EVERY_NS, false, done + 1); /* rows, not bytes */
    assert_int_equal(copy_pace_per_second(&pace), 0);
    copy_pace_note(&pace, now_ns += EVERY_NS, false, 7); /* less than before: from the start */
    assert_int_equal(copy_pace_per_second(&pace), 0);
    copy_pace_note(&pace, now_ns += EVERY_NS, false, 107);
    assert_int_equal(copy_pace_per_second(&pace), 200);
}

static void what_is_left_is_not_less_than_nothing(void **state)
{
    struct copy_pace pace = {0};
    copy_pace_note(&pace, BEGAN_NS, true, 0);
    copy_pace_note(&pace, BEGAN_NS + NS_PER_SECOND, true, 1000);
    assert_int_equal(copy_pace_left_ns(&pace, 900), 0);        /* it was only about so many */
    assert_int_equal(copy_pace_left_ns(&pace, 0), UINT64_MAX); /* how many is not known yet */
    assert_int_equal(copy_pace_left_ns(&pace, UINT64_MAX), UINT64_MAX);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(one_report_says_nothing),
        cmocka_unit_test(the_pace_is_that_of_the_last_seconds),
        cmocka_unit_test(another_copy_begins_anew),
        cmocka_unit_test(what_is_left_is_not_less_than_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
