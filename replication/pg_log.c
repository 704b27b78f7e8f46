#include "replication/pg_log.h"

#include <string.h>

#include "base/check.h"

/* The psn behind run i's last one. */
static uint64_t run_past(const struct pg_log *log, uint32_t i)
{
    return i + 1 < log->run_count ? log->runs[i + 1].first_psn : log->last + 1;
}

uint64_t pg_log_term(const struct pg_log *log, uint64_t psn)
{
    if (psn > log->last)
        return 0;
    for (uint32_t i = log->run_count; i-- > 0;)
        if (log->runs[i].first_psn <= psn)
            return log->runs[i].term;
    return 0;
}

static void drop_first_run(struct pg_log *log)
{
    log->run_count--;
    memmove(&log->runs[0], &log->runs[1], log->run_count * sizeof log->runs[0]);
}

void pg_log_append(struct pg_log *log, uint64_t term)
{
    uint64_t last_term = log->run_count ? log->runs[log->run_count - 1].term : 0;
    CHECK(term >= last_term && term > 0);
    log->last++;
    if (term == last_term)
        return;
    if (log->run_count == PG_RUNS_MAX)
        drop_first_run(log);
    log->runs[log->run_count++] = (struct pg_run){.first_psn = log->last, .term = term};
}

void pg_log_cut(struct pg_log *log, uint64_t last)
{
    CHECK(last <= log->last && last >= log->base);
    log->last = last;
    while (log->run_count > 0 && log->runs[log->run_count - 1].first_psn > last)
        log->run_count--;
}

void pg_log_forget(struct pg_log *log, uint64_t committed)
{
    CHECK(committed <= log->last);
    if (committed > log->base)
        log->base = committed;
    while (log->run_count > 2 && log->runs[2].first_psn <= log->base)
        drop_first_run(log);
}

uint64_t pg_log_match(const struct pg_log *log, const struct pg_log *other)
{
    for (uint32_t i = log->run_count; i-- > 0;) {
        for (uint32_t j = other->run_count; j-- > 0;) {
            const struct pg_run *mine = &log->runs[i], *theirs = &other->runs[j];
            if (mine->term != theirs->term)
                continue;
            uint64_t first =
                mine->first_psn > theirs->first_psn ? mine->first_psn : theirs->first_psn;
            uint64_t past = run_past(log, i), past_theirs = run_past(other, j);
            past = past < past_theirs ? past : past_theirs;
            if (past > first)
                return past - 1;
        }
    }
    return log->base < other->last ? log->base : other->last;
}

bool pg_log_is_sound(const struct pg_log *log)
{
    if (log->run_count > PG_RUNS_MAX || log->base > log->last ||
        (log->last > 0) != (log->run_count > 0))
        return false;
    for (uint32_t i = 0; i < log->run_count; i++) {
        const struct pg_run *run = &log->runs[i];
        if (run->term == 0 || run->first_psn == 0 || run->first_psn > log->last)
            return false;
        if (i > 0 && (run->term <= run[-1].term || run->first_psn <= run[-1].first_psn))
            return false;
    }
    return true;
}
