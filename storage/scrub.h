/*
 * Scrubbing: reads everything the volume stores by Direct I/O, beside the service and at a rate
 * that leaves it alone, and holds it against its sums. What is damaged is repaired where somebody
 * can bring the right bytes (a peer), and is named in the log otherwise.
 *
 *     NEVER --start--> RUNNING --all was read--> DONE --start--> RUNNING ...
 *                       |   ^
 *                     pause start                     `-- or by itself, when it is time
 *                       v   |
 *                      PAUSED
 *
 * Where a pass has come to is kept in <dir>/scrub, so that it goes on there after a restart, by
 * itself if it was running. That file is only a note: one that is damaged or lost begins a pass
 * anew.
 *
 * A pass walks data in the order of its ids, so what is written while it runs is met as well, or
 * was checked a moment ago when it was written. Data that goes meanwhile is no damage; nor is what
 * a node among peers has yet to let go of: a chunk that nobody has whole is looked up once more
 * when this volume has come as far as the others had when it was met.
 *
 * One thread of its own; the functions here from any thread. With VOLUME_NO_THREADS there is none,
 * and a test calls scrub_step().
 */
#ifndef STORAGE_SCRUB_H
#define STORAGE_SCRUB_H

#include "storage/repair.h"

#define SCRUB_RATE_DEFAULT MIB(32) /* a second: 1 TiB in nine hours, 1 % of an NVMe disk */
#define SCRUB_RATE_MIN     MIB(1)
#define SCRUB_RATE_MAX     GIB(16)
#define SCRUB_FILE         "scrub"

enum scrub_state { SCRUB_NEVER, SCRUB_RUNNING, SCRUB_PAUSED, SCRUB_DONE };
const char *scrub_state_name(enum scrub_state state); /* "never", "running" ... */

/* B. On the scrub's thread: ERR_OK when the chunk is whole again. */
typedef enum err scrub_repair_fn(void *context, const struct damage *damage,
                                 struct err_trail *trail);
/* B. On the scrub's thread: ERR_OK when the volume has all that was acknowledged to anybody before
 * the call. */
typedef enum err scrub_catch_up_fn(void *context);

struct scrub;
struct scrub_options {
    struct volume *volume;       /* borrowed */
    scrub_repair_fn *repair;     /* NULL: nobody can */
    scrub_catch_up_fn *catch_up; /* NULL: it is never behind */
    void *context;
    uint64_t every_ns; /* a pass begins by itself so long after the last one began; 0: never */
};
/* B. Goes on with a pass that was running. */
enum err scrub_open(const struct scrub_options *options, struct scrub **ret_scrub,
                    struct err_trail *trail) MUST_USE;
void scrub_close(struct scrub *scrub); /* B. Waits for the read under way. NULL does nothing */

/* `rate_bytes` a second, 0: as before. `anew`: from the beginning, whatever was under way.
 * ERR_INVALID: no such rate. */
enum err scrub_start(struct scrub *scrub, uint64_t rate_bytes, bool anew,
                     struct err_trail *trail) MUST_USE;
void scrub_pause(struct scrub *scrub);

struct scrub_status {
    enum scrub_state state;
    uint64_t rate_bytes;
    uint64_t started_ns, ended_ns;        /* real time, of this pass; 0: not yet */
    uint64_t verified_bytes, total_bytes; /* total: what the volume holds now */
    uint64_t data_count;
    uint64_t damaged, repaired; /* chunks; the difference is lost here, and is referred to */
    char sentence[200];         /* of the last one that was not repaired, or why it is paused; "" */
};
void scrub_status(struct scrub *scrub, struct scrub_status *ret_status);

/* B. One read's worth of work. False: not running. */
bool scrub_step(struct scrub *scrub);

#endif
