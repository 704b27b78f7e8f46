#include "replication/copy_pace.h"

void copy_pace_note(struct copy_pace *pace, uint64_t now_ns, bool is_bytes, uint64_t done)
{
    struct copy_mile here = {.at_ns = now_ns, .done = done};
    if (pace->last.at_ns == 0 || is_bytes != pace->is_bytes || done < pace->last.done)
        *pace = (struct copy_pace){.is_bytes = is_bytes, .from = here, .next = here};
    pace->last = here;
    if (now_ns - pace->next.at_ns < COPY_PACE_NS)
        return;
    pace->from = pace->next;
    pace->next = here;
}

uint64_t copy_pace_per_second(const struct copy_pace *pace)
{
    uint64_t took_ns = pace->last.at_ns - pace->from.at_ns;
    if (took_ns == 0)
        return 0;
    double done = (double)(pace->last.done - pace->from.done);
    return (uint64_t)(done * (double)NS_PER_SECOND / (double)took_ns);
}

uint64_t copy_pace_left_ns(const struct copy_pace *pace, uint64_t in_all)
{
    uint64_t per_second = copy_pace_per_second(pace);
    if (per_second == 0 || in_all == 0)
        return UINT64_MAX;
    uint64_t left = in_all > pace->last.done ? in_all - pace->last.done : 0;
    double ns = (double)left / (double)per_second * (double)NS_PER_SECOND;
    return ns < (double)INT64_MAX ? (uint64_t)ns : UINT64_MAX;
}
