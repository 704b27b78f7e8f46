#include "api/s3/op.h"

void op_init(struct op *op, const struct op_kind *kind, struct loop *loop)
{
    CHECK(kind->step_count > 0 && kind->step_count <= OP_STEPS_MAX);
    *op = (struct op){.magic = OP_MAGIC, .kind = kind, .loop = loop, .since_ns = loop_now_ns(loop)};
}

static void op_note_time(struct op *op)
{
    uint64_t now = loop_now_ns(op->loop);
    op->spent_us[op->step] += (uint32_t)((now - op->since_ns) / 1000);
    op->since_ns = now;
}

void op_run(struct op *op)
{
    CHECK_MAGIC(op, OP_MAGIC);
    CHECK(!op->is_running);
    for (;;) {
        const struct op_step *step = &op->kind->steps[op->step];
        op_note_time(op);
        op->is_running = true;
        int next = step->run(op);
        if (next == OP_END) { /* `op` may be gone */
            CHECK(step->to & TO_END);
            return;
        }
        bool waits = (next & OP_WAITS) != 0;
        next &= ~OP_WAITS;
        CHECK(next >= 0 && next < op->kind->step_count);
        CHECK(step->to & TO(next));
        op->is_running = false;
        op->step = next;
        if (waits)
            return;
    }
}

void op_print(const struct op *op, struct buf *out)
{
    const char *separator = "";
    for (int i = 0; i < op->kind->step_count; i++) {
        if (op->spent_us[i] == 0)
            continue;
        buf_printf(out, "%s%s %uus", separator, op->kind->steps[i].name, op->spent_us[i]);
        separator = ", ";
    }
}
