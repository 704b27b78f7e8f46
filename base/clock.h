/*
 * Clocks are injected: nothing outside base reads the time by itself, so that a test or the
 * simulator owns it. Any thread may ask. mono never jumps and only differences mean anything: it is
 * what the kernel's timers and condition variables count in, and it stands still while the machine
 * is suspended. boot is the same but goes on then: for what others measure by their own clocks
 * meanwhile, such as a promise among nodes. The two are never compared. real is wall-clock time
 * since 1970, for what people and S3 see.
 */
#ifndef BASE_CLOCK_H
#define BASE_CLOCK_H

#include <stdint.h>

#define NS_PER_SECOND 1000000000ull
#define NS_PER_MS     1000000ull

struct clock {
    uint64_t (*mono_ns)(struct clock *clock);
    uint64_t (*boot_ns)(struct clock *clock);
    uint64_t (*real_ns)(struct clock *clock);
};

struct clock *clock_system(void);

/* A clock that stands still until told otherwise. */
struct clock_manual {
    struct clock clock;
    uint64_t mono_now_ns;
    uint64_t boot_now_ns;
    uint64_t real_now_ns;
};
void clock_manual_init(struct clock_manual *manual, uint64_t real_now_ns);
void clock_manual_advance(struct clock_manual *manual, uint64_t by_ns);
void clock_manual_suspend(struct clock_manual *manual, uint64_t for_ns); /* all but mono goes on */

static inline uint64_t clock_mono_ns(struct clock *clock)
{
    return clock->mono_ns(clock);
}
static inline uint64_t clock_boot_ns(struct clock *clock)
{
    return clock->boot_ns(clock);
}
static inline uint64_t clock_real_ns(struct clock *clock)
{
    return clock->real_ns(clock);
}

#endif
