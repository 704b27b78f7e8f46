/*
 * Clocks are injected: nothing outside base reads the time by itself, so that a test or the simulator owns it.
 * mono never jumps and only differences mean anything; real is wall-clock time since 1970, for what people and S3 see.
 */
#ifndef BASE_CLOCK_H
#define BASE_CLOCK_H

#include <stdint.h>

#define NS_PER_SECOND 1000000000ull
#define NS_PER_MS 1000000ull

struct clock {
    uint64_t (*mono_ns)(struct clock *clock);
    uint64_t (*real_ns)(struct clock *clock);
};

struct clock *clock_system(void);

/* A clock that stands still until told otherwise. */
struct clock_manual {
    struct clock clock;
    uint64_t mono_now_ns;
    uint64_t real_now_ns;
};
void clock_manual_init(struct clock_manual *manual, uint64_t real_now_ns);
void clock_manual_advance(struct clock_manual *manual, uint64_t by_ns);

static inline uint64_t clock_mono_ns(struct clock *clock)
{
    return clock->mono_ns(clock);
}
static inline uint64_t clock_real_ns(struct clock *clock)
{
    return clock->real_ns(clock);
}

#endif
