/*
 * DeleteObject: one mutation. Deleting what is not there succeeds, as it does in S3; conditions are
 * judged where it is applied.
 *
 *     PROPOSE --> (applied) --> DONE
 */
#include "api/s3/conditions.h"
#include "api/s3/request.h"

enum { DELETE_PROPOSE, DELETE_DONE, DELETE_STEP_COUNT };

struct delete
{
    struct s3_change change;
};

static struct s3_request *delete_request(struct op *op)
{
    return CONTAINER_OF(op, struct s3_request, op);
}

static int delete_propose(struct op *op)
{
    struct s3_request *r = delete_request(op);
    struct delete *delete = S3_OWN(r, struct delete);
    s3_change_init(r, &delete->change, MUTATION_OBJECT_DELETE);
    s3_conditions_write(s3_header(r, "if-match"), (struct bytes){0}, &delete->change.m.conditions);
    s3_change_submit(r, &delete->change);
    return op_wait(DELETE_DONE);
}

static int delete_done(struct op *op)
{
    struct s3_request *r = delete_request(op);
    const struct mutation *m = &S3_OWN(r, struct delete)->change.m;
    if (m->err)
        return s3_fail_trail(r, m->err, &m->trail);
    return s3_respond_empty(r, 204);
}

static const struct op_step delete_steps[DELETE_STEP_COUNT] = {
    [DELETE_PROPOSE] = {"propose", delete_propose, TO(DELETE_DONE)},
    [DELETE_DONE] = {"done", delete_done, TO_END},
};
static const struct op_kind delete_kind = {"delete", delete_steps, DELETE_STEP_COUNT};

void s3_delete_object(struct s3_request *r)
{
    if (!s3_version_is_null(r))
        return;
    op_init(&r->op, &delete_kind, http_loop(r->x));
    op_run(&r->op);
}
