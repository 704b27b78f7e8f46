#include "storage/commit_priv.h"

#include "base/check.h"
#include "storage/body_priv.h"
#include "storage/retain.h"
#include "storage/volume_priv.h"

/* ---- four kinds ---- */

static struct mutation *to_mutation(struct commit_item *item)
{
    struct mutation *m = CONTAINER_OF(item, struct mutation, item);
    CHECK_MAGIC(m, MUTATION_MAGIC);
    return m;
}

static struct log_append *to_append(struct commit_item *item)
{
    struct log_append *append = CONTAINER_OF(item, struct log_append, item);
    CHECK_MAGIC(append, LOG_APPEND_MAGIC);
    return append;
}

static struct log_save *to_save(struct commit_item *item)
{
    struct log_save *save = CONTAINER_OF(item, struct log_save, item);
    CHECK_MAGIC(save, LOG_SAVE_MAGIC);
    return save;
}

static struct copy_step *to_copy(struct commit_item *item)
{
    struct copy_step *step = CONTAINER_OF(item, struct copy_step, item);
    CHECK_MAGIC(step, COPY_STEP_MAGIC);
    return step;
}

struct err_trail *commit__trail(struct commit_item *item)
{
    switch ((enum commit_kind)item->kind) {
    case COMMIT_MUTATION:
        return &to_mutation(item)->trail;
    case COMMIT_LOG_APPEND:
        return &to_append(item)->trail;
    case COMMIT_LOG_SAVE:
        return &to_save(item)->trail;
    case COMMIT_COPY:
        return &to_copy(item)->trail;
    }
    CHECK(false);
}

struct body *commit__body(struct commit_item *item)
{
    switch ((enum commit_kind)item->kind) {
    case COMMIT_MUTATION:
        return to_mutation(item)->body;
    case COMMIT_LOG_APPEND:
        return to_append(item)->body;
    case COMMIT_LOG_SAVE:
        return NULL;
    case COMMIT_COPY:
        return to_copy(item)->body;
    }
    CHECK(false);
}

/* ---- judging ---- */

/* On a volume that has no space left only what gives space back, or needs next to none, is taken.
 */
static bool frees_space(enum mutation_kind kind)
{
    switch (kind) {
    case MUTATION_BUCKET_DELETE:
    case MUTATION_OBJECT_DELETE:
    case MUTATION_UPLOAD_COMPLETE:
    case MUTATION_UPLOAD_ABORT:
    case MUTATION_SETTING_DELETE:
        return true;
    case MUTATION_BUCKET_CREATE:
    case MUTATION_OBJECT_PUT:
    case MUTATION_UPLOAD_CREATE:
    case MUTATION_PART_PUT:
    case MUTATION_SETTING_PUT:
        return false;
    case MUTATION_KIND_COUNT:
        break;
    }
    return false;
}

/* A run without rows only deletes: on a full disk a copy begins with what gives space back. */
static bool copy_needs_little(const struct copy_step *step)
{
    return step->kind == COPY_STEP_ROWS ? step->run.rows.size == 0 : step->kind != COPY_STEP_DATA;
}

/* What a group has committed is applied while there is any space: it was judged when it was
 * proposed. The log takes records then, deletions among them, but no bodies. */
static bool needs_little(struct commit_item *item)
{
    switch ((enum commit_kind)item->kind) {
    case COMMIT_MUTATION:
        return to_mutation(item)->is_logged || frees_space(to_mutation(item)->kind);
    case COMMIT_LOG_APPEND:
        return to_append(item)->body == NULL;
    case COMMIT_LOG_SAVE:
        return true;
    case COMMIT_COPY:
        return copy_needs_little(to_copy(item));
    }
    return false;
}

/* Full or not. */
static bool takes_little(const struct volume *volume, enum volume_state state)
{
    return state == VOLUME_OK ||
           (state == VOLUME_READ_ONLY && !volume->is_damaged && !volume->read_only);
}

void commit__judge(struct volume *volume, struct commit_item *item)
{
    enum volume_state state = volume__state(volume);
    struct body *body = commit__body(item);
    bool takes = state == VOLUME_OK || (takes_little(volume, state) && needs_little(item));
    if (!takes)
        item->err = volume__tell_state(volume, ERR_READ_ONLY, commit__trail(item));
    else
        item->err = body != NULL ? body__judge(body, commit__trail(item)) : ERR_OK;
}

static enum err judged(struct volume *volume, enum volume_state state, bool takes,
                       struct err_trail *trail)
{
    if (state == VOLUME_FAILED)
        return volume__tell_state(volume, ERR_VOLUME_FAILED, trail);
    return takes ? ERR_OK : volume__tell_state(volume, ERR_READ_ONLY, trail);
}

enum err volume_judge(struct volume *volume, enum mutation_kind kind, struct err_trail *trail)
{
    CHECK_MAGIC(volume, VOLUME_MAGIC);
    enum volume_state state = volume__state(volume);
    bool takes = state == VOLUME_OK || (takes_little(volume, state) && frees_space(kind));
    return judged(volume, state, takes, trail);
}

enum err volume_judge_log(struct volume *volume, struct err_trail *trail)
{
    CHECK_MAGIC(volume, VOLUME_MAGIC);
    enum volume_state state = volume__state(volume);
    return judged(volume, state, takes_little(volume, state), trail);
}

static void check_synced(const struct volume *volume, const struct body *body)
{
    for (uint32_t i = 0; i < body->extent_count; i++) {
        const struct segment *segment = segments_find(&volume->segments, body->extents[i].segment);
        CHECK(segment != NULL);
        CHECK(body->written_seqs[i] > 0);
        CHECK(body->written_seqs[i] <= atomic_load(&segment->sync_seq));
    }
}

/* ---- mutations ---- */

static bool log_is_empty(const struct commit *commit)
{
    return commit->log.first > commit->log.last;
}

static void take_number(struct commit *commit, uint64_t psn)
{
    atomic_store(&commit->last_psn, psn);
    commit->log.applied = psn;
}

/* A mutation that is not of the log ends it: what is applied of it is no use any more, and what is
 * not would lose its turn. */
static enum err end_log(struct volume *volume, struct mutation *m)
{
    struct commit *commit = &volume->commit;
    if (!volume->has_log)
        return ERR_OK;
    if (commit->log.last > commit->log.applied)
        return err_note(&m->trail, ERR_INVALID,
                        "the volume is of a group, and its log has records up to %llu",
                        (unsigned long long)commit->log.last);
    bool was_empty = log_is_empty(commit);
    enum err e = was_empty ? ERR_OK : apply_log_first(&commit->apply, m->psn + 1);
    if (e)
        return e;
    if (was_empty && commit->log_rows_from == commit->log.first)
        commit->log_rows_from = m->psn + 1;
    commit->log.first = m->psn + 1;
    commit->log.last = m->psn;
    return ERR_OK;
}

static enum err number(struct volume *volume, struct mutation *m)
{
    struct commit *commit = &volume->commit;
    uint64_t last = atomic_load(&commit->last_psn);
    if (m->psn == 0)
        m->psn = last + 1;
    if (m->psn <= last)
        return err_note(&m->trail, ERR_INVALID, "number %llu comes after %llu",
                        (unsigned long long)m->psn, (unsigned long long)last);
    enum err e = end_log(volume, m);
    if (e == ERR_OK)
        take_number(commit, m->psn);
    return e;
}

/* While names are being copied nothing else is: what would be changed is no state of the group. */
static enum err judge_copied(const struct commit *commit, struct err_trail *trail)
{
    return commit->copy.phase == COPY_NONE
               ? ERR_OK
               : err_note(trail, ERR_INVALID, "the volume is being copied from another node's");
}

static enum err apply_own(struct volume *volume, struct mutation *m)
{
    struct commit *commit = &volume->commit;
    enum err e = judge_copied(commit, &m->trail);
    if (e == ERR_OK)
        e = number(volume, m);
    if (e)
        return e;
    if (m->body != NULL)
        check_synced(volume, m->body);
    commit->apply.now_ns = m->now_ns != 0 ? m->now_ns : clock_real_ns(volume->clock);
    return apply_mutation(&commit->apply, m);
}

/* Only an outcome lets the log go on: whatever else happens, this number stays the next one. */
static enum err apply_of_log(struct volume *volume, struct commit_round *round, struct mutation *m)
{
    struct commit *commit = &volume->commit;
    if (m->psn != commit->log.applied + 1 || m->psn > commit->log.last)
        return err_note(&m->trail, ERR_CANCELLED, "record %llu is not the one to be applied next",
                        (unsigned long long)m->psn);
    commit->apply.now_ns = m->now_ns != 0 ? m->now_ns : clock_real_ns(volume->clock);
    enum err e = apply_logged(&commit->apply, m, &m->item.outcome);
    if (e == ERR_OK) {
        take_number(commit, m->psn);
        return ERR_OK;
    }
    CHECK(!mutation_is_outcome(e));
    if (err_family(e) != FAM_BUSY && err_family(e) != FAM_FULL && round->failed == ERR_OK) {
        round->failed = e;
        round->failed_trail = m->trail;
        (void)err_note(&round->failed_trail, e, "apply record %llu of the log",
                       (unsigned long long)m->psn);
    }
    return e;
}

/* ---- the log ---- */

static enum err append_row(struct volume *volume, struct log_append *append)
{
    struct commit *commit = &volume->commit;
    enum err e = judge_copied(commit, &append->trail);
    if (e)
        return e;
    if (append->psn != commit->log.last + 1)
        return err_note(&append->trail, ERR_INVALID, "record %llu comes after %llu",
                        (unsigned long long)append->psn, (unsigned long long)commit->log.last);
    if (append->body != NULL)
        check_synced(volume, append->body);
    e = apply_log_append(&commit->apply, append);
    if (e == ERR_OK)
        commit->log.last = append->psn;
    return e;
}

static enum err save_state(struct volume *volume, struct log_save *save)
{
    struct commit *commit = &volume->commit;
    if (save->last < commit->log.applied)
        return err_note(&save->trail, ERR_INVALID, "record %llu is applied",
                        (unsigned long long)commit->log.applied);
    /* An append before it was refused. */
    if (save->last != UINT64_MAX && save->last > commit->log.last)
        return err_note(&save->trail, ERR_CANCELLED, "the log ends at record %llu",
                        (unsigned long long)commit->log.last);
    enum err e = apply_log_save(&commit->apply, save, commit->log.last);
    if (e == ERR_OK && save->last < commit->log.last)
        commit->log.last = save->last;
    return e;
}

/* ---- copies ---- */

static enum err judge_turn(const struct commit *commit, struct copy_step *step)
{
    bool is_due = retain_step_is_due(step->kind, step->psn, step->term, commit->copy.phase,
                                     commit->log.applied);
    return is_due ? ERR_OK
                  : err_note(&step->trail, ERR_INVALID, "step %d of a copy is not due", step->kind);
}

/* What the step leaves, once it is in the batch. */
static void turn(struct commit *commit, const struct copy_step *step)
{
    uint64_t applied = commit->log.applied;
    switch (step->kind) {
    case COPY_STEP_BEGIN: /* rows there are yet: they go with the first run, and do not count */
        commit->copy = (struct copy_mark){.phase = COPY_ROWS};
        commit->log = (struct log_range){.first = applied + 1, .last = applied, .applied = applied};
        break;
    case COPY_STEP_NAMED:
        commit->copy = (struct copy_mark){COPY_DATA, step->psn, step->term};
        break;
    case COPY_STEP_END:
        take_number(commit, commit->copy.psn);
        commit->log.last = commit->copy.psn;
        commit->log.first = commit->log_rows_from = commit->copy.psn + 1;
        commit->copy = (struct copy_mark){0};
        atomic_store(&commit->gc_wanted, true);
        break;
    case COPY_STEP_ROWS:
    case COPY_STEP_DATA:
        break;
    }
}

static enum err copy_step(struct volume *volume, struct copy_step *step)
{
    struct commit *commit = &volume->commit;
    enum err e = judge_turn(commit, step);
    if (e == ERR_OK && step->state.size > LOG_STATE_BYTES_MAX)
        e = err_note(&step->trail, ERR_TOO_LARGE, "a state of %zu bytes", step->state.size);
    if (e)
        return e;
    if (step->body != NULL)
        check_synced(volume, step->body);
    e = apply_copy(&commit->apply, step, &commit->copy, &commit->log);
    if (e == ERR_OK)
        turn(commit, step);
    return e;
}

/* ---- all of them ---- */

static void take_body(struct commit_item *item)
{
    switch ((enum commit_kind)item->kind) {
    case COMMIT_MUTATION:
        to_mutation(item)->body = NULL;
        break;
    case COMMIT_LOG_APPEND:
        to_append(item)->body = NULL;
        break;
    case COMMIT_LOG_SAVE:
        break;
    case COMMIT_COPY:
        to_copy(item)->body = NULL;
        break;
    }
}

static enum err apply_kind(struct volume *volume, struct commit_round *round,
                           struct commit_item *item)
{
    switch ((enum commit_kind)item->kind) {
    case COMMIT_MUTATION: {
        struct mutation *m = to_mutation(item);
        return m->is_logged ? apply_of_log(volume, round, m) : apply_own(volume, m);
    }
    case COMMIT_LOG_APPEND:
        return append_row(volume, to_append(item));
    case COMMIT_LOG_SAVE:
        return save_state(volume, to_save(item));
    case COMMIT_COPY:
        return copy_step(volume, to_copy(item));
    }
    CHECK(false);
}

void commit__apply(struct volume *volume, struct commit_round *round, struct commit_item *item)
{
    bool is_logged = item->kind == COMMIT_MUTATION && to_mutation(item)->is_logged;
    if (is_logged)
        round->logged++;
    else
        round->own++;
    if (item->err == ERR_OK)
        item->err = apply_kind(volume, round, item);
    struct body *body = commit__body(item);
    if (item->err && body != NULL) {
        body__dropped(body);
        take_body(item);
    }
}

/* ---- answering ---- */

static void deliver(struct loop_msg *msg)
{
    struct commit_item *item = CONTAINER_OF(msg, struct commit_item, msg);
    switch ((enum commit_kind)item->kind) {
    case COMMIT_MUTATION:
        to_mutation(item)->done(to_mutation(item));
        break;
    case COMMIT_LOG_APPEND:
        to_append(item)->done(to_append(item));
        break;
    case COMMIT_LOG_SAVE:
        to_save(item)->done(to_save(item));
        break;
    case COMMIT_COPY:
        to_copy(item)->done(to_copy(item));
        break;
    }
}

static struct loop *answer_mutation(struct mutation *m)
{
    m->err = m->item.err ? m->item.err : m->item.outcome;
    m->receipt = (struct receipt){
        .synced = m->err == ERR_OK, .replicas_synced = m->err == ERR_OK, .replicas_wanted = 1};
    return m->loop;
}

void commit__answer(struct commit_item *item)
{
    struct loop *loop = NULL;
    take_body(item);
    switch ((enum commit_kind)item->kind) {
    case COMMIT_MUTATION:
        loop = answer_mutation(to_mutation(item));
        break;
    case COMMIT_LOG_APPEND:
        to_append(item)->err = item->err;
        loop = to_append(item)->loop;
        break;
    case COMMIT_LOG_SAVE:
        to_save(item)->err = item->err;
        loop = to_save(item)->loop;
        break;
    case COMMIT_COPY:
        to_copy(item)->err = item->err;
        loop = to_copy(item)->loop;
        break;
    }
    item->msg.deliver = deliver;
    loop_post(loop, &item->msg);
}
