/*
 * An operation is a list of named steps over one struct, for work that has to wait in between.
 *
 *     op_init -> op_run -> step ... step -> OP_WAIT
 *             -> (a callback stores its result and calls op_run) -> step ... -> OP_END
 *
 * A step is a function that says what comes next: another step at once, another step after a
 * callback (op_wait), or nothing any more. Only op_run() walks from step to step. It checks that
 * the table allows the move and adds up the time spent on the way to each step, so that a slow
 * request can tell where it was slow. After OP_END the operation's memory belongs to whoever ended
 * it: op_run() does not look at it again.
 */
#ifndef API_S3_OP_H
#define API_S3_OP_H

#include "base/bytes.h"
#include "base/loop.h"

#define OP_MAGIC     0x4f705374u
#define OP_STEPS_MAX 12

struct op;
/* What a step returns: a step's number, op_wait(number), or OP_END. */
typedef int op_step_fn(struct op *op);

#define OP_END   (-1)
#define OP_WAITS 0x100
static inline int op_wait(int step)
{
    return step | OP_WAITS;
}

struct op_step {
    const char *name;
    op_step_fn *run;
    uint32_t to; /* TO() of every step that may follow, TO_END when it may be the last */
};
#define TO(step) (1u << (step))
#define TO_END   (1u << 31)

struct op_kind {
    const char *name;
    const struct op_step *steps;
    int step_count;
};

struct op {
    uint32_t magic;
    const struct op_kind *kind;
    struct loop *loop; /* borrowed: its clock */
    int step;          /* next to run */
    bool is_running;   /* a step is on the stack */
    uint64_t since_ns;
    uint32_t spent_us[OP_STEPS_MAX]; /* until each step was reached, summed over visits */
};

void op_init(struct op *op, const struct op_kind *kind, struct loop *loop);
/* Runs steps until one waits or the operation ends. The first runs step 0. Not from inside a step.
 */
void op_run(struct op *op);
/* "lookup 12us, answer 3us" */
void op_print(const struct op *op, struct buf *out);

#endif
