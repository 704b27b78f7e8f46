#include "base/clock.h"

#include <time.h>

#include "base/check.h"

static uint64_t system_ns(clockid_t id)
{
    struct timespec now;
    CHECK(clock_gettime(id, &now) == 0);
    return (uint64_t)now.tv_sec * NS_PER_SECOND + (uint64_t)now.tv_nsec;
}

static uint64_t system_mono_ns(struct clock *clock)
{
    (void)clock;
    return system_ns(CLOCK_MONOTONIC);
}

static uint64_t system_boot_ns(struct clock *clock)
{
    (void)clock;
    return system_ns(CLOCK_BOOTTIME);
}

static uint64_t system_real_ns(struct clock *clock)
{
    (void)clock;
    return system_ns(CLOCK_REALTIME);
}

struct clock *clock_system(void)
{
    static struct clock clock = {system_mono_ns, system_boot_ns, system_real_ns};
    return &clock;
}

static uint64_t manual_mono_ns(struct clock *clock)
{
    return ((struct clock_manual *)clock)->mono_now_ns;
}

static uint64_t manual_boot_ns(struct clock *clock)
{
    return ((struct clock_manual *)clock)->boot_now_ns;
}

static uint64_t manual_real_ns(struct clock *clock)
{
    return ((struct clock_manual *)clock)->real_now_ns;
}

void clock_manual_init(struct clock_manual *manual, uint64_t real_now_ns)
{
    *manual = (struct clock_manual){
        .clock = {manual_mono_ns, manual_boot_ns, manual_real_ns},
        .mono_now_ns = NS_PER_SECOND,
        .boot_now_ns = NS_PER_SECOND,
        .real_now_ns = real_now_ns,
    };
}

void clock_manual_advance(struct clock_manual *manual, uint64_t by_ns)
{
    manual->mono_now_ns += by_ns;
    clock_manual_suspend(manual, by_ns);
}

void clock_manual_suspend(struct clock_manual *manual, uint64_t for_ns)
{
    manual->boot_now_ns += for_ns;
    manual->real_now_ns += for_ns;
}
