#include "replication/cluster_priv.h"

#include <stdlib.h>

#include "base/log.h"
#include "replication/data_way.h"

/*
 * This node is filled by a copy, for the primary's log does not reach back to where it is
 * (storage/copy.h has what that does to the volume).
 *
 *     DRAIN -> BEGIN -> ASK <-> ROWS -> NAMED -> LOOK <-> FILL -> END -> pg begins, as after a
 *                       rows of the primary      data that is absent     restart
 *                                                here, of any node in sync
 *
 * Meanwhile pg does not run: nothing is promised, acknowledged or taken over, and the node serves
 * nothing. It goes on voting in the register, from which it learns who is primary. What is here is
 * of no use to the group by then: the node was taken out of the in-sync set long ago, and what it
 * has ever acknowledged is below what the others have committed and trimmed.
 *
 * The mark in the volume tells where a life before has come to. Rows begin again, and find most of
 * them done; data goes on. A primary that goes takes its snapshot with it: rows begin again with
 * the next one, data goes on with whoever is in sync.
 */

#define ASK_AGAIN_NS (3 * NS_PER_SECOND)
#define AGAIN_NS     (200 * NS_PER_MS) /* after a refusal */
#define LEFT_OUT_NS  NS_PER_SECOND     /* what no node could give is asked for again */
#define TELL_NS      (500 * NS_PER_MS)
#define SLOW_NS      (10 * NS_PER_SECOND) /* data that nobody gave for so long is told of */

enum kv_family cluster__copy_first_family(void)
{
    return copy_families[1]; /* of the log nothing is asked for */
}

bool cluster__copy_holds_log(const struct cluster *cluster)
{
    const struct copy_target *copy = &cluster->copy;
    return copy->is_on &&
           (copy->stage == COPY_DRAIN || copy->stage == COPY_BEGIN || copy->stage == COPY_END);
}

/* ---- telling ---- */

static void tell(struct cluster *cluster, bool is_over)
{
    const struct copy_target *copy = &cluster->copy;
    struct message_copy_state state = {
        .psn = copy->psn,
        .rows = copy->rows,
        .rows_in_all = copy->rows_in_all,
        .bytes = copy->bytes,
        .bytes_in_all = copy->bytes_in_all,
        .is_over = is_over,
    };
    uint8_t bytes[LINK_CTL_BYTES_MAX];
    size_t size = message_copy_state_encode(&state, bytes);
    for (unsigned i = 0; i < cluster->node_count; i++)
        cluster__ctl(&cluster->peers[i], bytes, size); /* lost: said again */
    cluster__copy_state_told(&cluster->peers[cluster->self], &state);
}

/* ---- steps of the volume ---- */

static void step_done(struct copy_step *step);

static void give_step(struct cluster *cluster, const struct copy_step *wanted)
{
    struct copy_target *copy = &cluster->copy;
    copy->step = *wanted;
    copy->step.magic = COPY_STEP_MAGIC;
    copy->step.loop = cluster->loop;
    copy->step.done = step_done;
    copy->is_stepping = true;
    volume_copy(cluster->volume, &copy->step);
}

static struct bytes encode_state(struct cluster *cluster, const struct pg_durable *pg)
{
    struct copy_target *copy = &cluster->copy;
    copy->quorum_version = cluster->quorum_version;
    return cluster__encode_state(cluster, pg, copy->state);
}

/* The register's state went to the disk with the step; what it has asked for since follows. */
static void note_state(struct cluster *cluster)
{
    if (cluster->copy.quorum_version > cluster->done_quorum_version)
        cluster->done_quorum_version = cluster->copy.quorum_version;
    cluster->persisted_is_due = true;
    if (cluster->quorum_version > cluster->done_quorum_version)
        cluster__save(cluster, cluster->last_psn);
    cluster__turn_soon(cluster);
}

/* ---- the names ---- */

static void rows_again(struct cluster *cluster)
{
    struct copy_target *copy = &cluster->copy;
    copy->id = rand_u64(cluster->rand) | 1;
    copy->family = 0;
    copy->after.size = 0;
    copy->psn = copy->term = copy->rows = copy->rows_in_all = copy->asked_ns = 0;
    copy->stage = COPY_ASK;
}

/* The newest that is known: of the register, which is asked all the time, or of the pg that was. */
static const struct pg_config *config_of(const struct cluster *cluster)
{
    const struct pg_config *read = &cluster->value.config, *led = &cluster->pg.d.config;
    return read->epoch >= led->epoch ? read : led;
}

static struct peer *primary_of(struct cluster *cluster)
{
    struct peer *peer = &cluster->peers[config_of(cluster)->primary];
    bool is_there = config_of(cluster)->epoch > 0 && peer->link != NULL && peer->is_up;
    return is_there ? peer : NULL;
}

static void ask(struct cluster *cluster)
{
    struct copy_target *copy = &cluster->copy;
    if (copy->family == 0) { /* the log: all of it goes */
        copy->stage = COPY_ROWS_GIVEN;
        give_step(cluster, &(struct copy_step){.kind = COPY_STEP_ROWS, .run.family = KV_LOG});
        return;
    }
    struct peer *peer = primary_of(cluster);
    bool is_waiting = copy->asked_ns != 0 && cluster__now(cluster) - copy->asked_ns < ASK_AGAIN_NS;
    if (peer == NULL || is_waiting)
        return;
    if (copy->from != peer->index && (copy->family > 1 || copy->after.size > 0)) {
        rows_again(cluster); /* another's snapshot */
        return;
    }
    struct message_copy_ask wanted = {
        .id = copy->id, .family = copy_families[copy->family], .after = key_bytes(&copy->after)};
    uint8_t head[MESSAGE_COPY_ASK_BYTES];
    message_copy_ask_encode(&wanted, head);
    struct bytes parts[] = {bytes_of(head, sizeof head), wanted.after};
    copy->from = peer->index;
    if (cluster__message(peer, MESSAGE_COPY_ASK, parts, 2))
        copy->asked_ns = cluster__now(cluster);
}

void cluster__copy_run(struct cluster *cluster, struct peer *peer, struct bytes body)
{
    struct copy_target *copy = &cluster->copy;
    struct message_copy_run run;
    if (message_copy_run_decode(body, &run) != ERR_OK) {
        link_violated(peer->link, "rows that are none");
        return;
    }
    bool is_wanted = copy->is_on && copy->stage == COPY_ASK && !cluster->is_stopped &&
                     peer->index == copy->from && run.id == copy->id && copy->family > 0 &&
                     run.run.family == copy_families[copy->family] &&
                     bytes_equal(run.run.after, key_bytes(&copy->after));
    if (!is_wanted)
        return; /* asked twice, or of a copy before */
    uint8_t *kept = malloc(body.size);
    if (kept == NULL)
        return; /* asked again */
    memcpy(kept, body.data, body.size);
    free(copy->message);
    copy->message = kept;
    CHECK(message_copy_run_decode(bytes_of(kept, body.size), &run) == ERR_OK);
    copy->psn = run.psn;
    copy->term = run.term;
    copy->rows_in_all = run.rows_in_all;
    copy->stage = COPY_ROWS_GIVEN;
    give_step(cluster, &(struct copy_step){.kind = COPY_STEP_ROWS, .run = run.run});
}

void cluster__copy_lost(struct cluster *cluster, const struct peer *peer, uint64_t id)
{
    struct copy_target *copy = &cluster->copy;
    if (!copy->is_on || copy->stage != COPY_ASK || id != copy->id || peer->index != copy->from)
        return;
    rows_again(cluster);
    copy->due_ns = cluster__now(cluster) + AGAIN_NS;
}

void cluster__copy_link_down(struct cluster *cluster, const struct peer *peer)
{
    struct copy_target *copy = &cluster->copy;
    if (copy->is_on && copy->stage == COPY_ASK && copy->family > 0 && peer->index == copy->from)
        rows_again(cluster);
}

static void tell_settings(struct cluster *cluster, const struct copy_step *step)
{
    for (size_t at = 0; at + 2 <= step->changed_size;) {
        size_t size = get_le16(step->changed + at);
        cluster__setting_changed(cluster, bytes_of(step->changed + at + 2, size));
        at += 2 + size;
    }
}

/* For the run at hand: what was done of it is found done. */
static void ask_again(struct copy_target *copy)
{
    copy->asked_ns = 0;
    copy->stage = COPY_ASK;
}

static void give_named(struct cluster *cluster)
{
    struct copy_target *copy = &cluster->copy;
    copy->stage = COPY_NAMED;
    give_step(cluster,
              &(struct copy_step){.kind = COPY_STEP_NAMED, .psn = copy->psn, .term = copy->term});
}

static void run_applied(struct cluster *cluster, const struct copy_step *step)
{
    struct copy_target *copy = &cluster->copy;
    if (step->has_more) {
        give_step(cluster, &(struct copy_step){
                               .kind = COPY_STEP_ROWS, .run = step->run, .from = step->from});
        return;
    }
    copy->rows += step->rows;
    copy->asked_ns = 0;
    copy->stage = COPY_ASK;
    if (step->run.upto.size > 0) {
        memcpy(copy->after.data, step->run.upto.data, step->run.upto.size);
        copy->after.size = (uint16_t)step->run.upto.size;
        return;
    }
    copy->family++;
    copy->after.size = 0;
    if (copy->family < COPY_FAMILIES)
        return;
    give_named(cluster);
}

/* ---- the data ---- */

static void look_from_the_start(struct copy_look *look)
{
    look->after = (struct data_id){0};
    look->count = look->taken = 0;
    look->is_end = false;
}

static void look_run(struct work *work)
{
    struct copy_look *look = CONTAINER_OF(work, struct copy_look, work);
    struct cluster *cluster = CONTAINER_OF(look, struct cluster, copy.look);
    look->err = volume_copy_absent(cluster->volume, look->after, look->found, COUNT_OF(look->found),
                                   &look->count, &look->after, &look->is_end);
}

static void look_done(struct work *work)
{
    struct copy_look *look = CONTAINER_OF(work, struct copy_look, work);
    struct cluster *cluster = CONTAINER_OF(look, struct cluster, copy.look);
    struct copy_target *copy = &cluster->copy;
    look->is_running = false;
    look->taken = 0;
    cluster__turn_soon(cluster);
    if (look->err) {
        look->count = 0;
        look->is_end = false;
        copy->due_ns = cluster__now(cluster) + AGAIN_NS;
        LOG_LIMITED(LOG_WARN, "replication", "the copy waits: %s", err_text(look->err));
        return;
    }
    if (copy->stage != COPY_COUNT)
        return;
    for (size_t i = 0; i < look->count; i++)
        copy->bytes_in_all += look->found[i].size;
    look->count = 0;
    if (!look->is_end)
        return;
    copy->stage = COPY_FILL;
    look_from_the_start(look);
}

static void look(struct cluster *cluster)
{
    struct copy_look *look = &cluster->copy.look;
    look->is_running = true;
    look->work = (struct work){.run = look_run, .done = look_done, .loop = cluster->loop};
    work_submit(cluster->work_pool, &look->work);
}

static struct copy_fill *find_fill(struct copy_target *copy, struct data_id id)
{
    for (unsigned i = 0; i < COUNT_OF(copy->fills); i++)
        if (copy->fills[i].state != FILL_FREE && data_id_equal(copy->fills[i].data.id, id))
            return &copy->fills[i];
    return NULL;
}

/* The log will bring them when this node is there; till then they would take the places of what the
 * copy has asked for. */
bool cluster__copy_refuses(struct cluster *cluster, struct data_id id)
{
    return cluster->copy.is_on && find_fill(&cluster->copy, id) == NULL;
}

static void filled(struct cluster *cluster, struct copy_fill *fill)
{
    cluster->copy.bytes += fill->data.size;
    fill->state = FILL_FREE;
    cluster__turn_soon(cluster);
}

static void stored(struct copy_step *step)
{
    struct copy_fill *fill = CONTAINER_OF(step, struct copy_fill, step);
    struct cluster *cluster = fill->cluster;
    if (step->err == ERR_OK || step->err == ERR_NO_SUCH_OBJECT) {
        filled(cluster, fill);
        return;
    }
    struct volume_status status;
    volume_status(cluster->volume, &status);
    if (status.state == VOLUME_FAILED)
        cluster__stop(cluster, step->err, "data cannot be copied: %s",
                      err_trail_text(&step->trail, step->err));
    else
        LOG_LIMITED(LOG_WARN, "replication", "the copy waits: %s",
                    err_trail_text(&step->trail, step->err));
    fill->state = FILL_WANTED; /* and asked for again */
    fill->due_ns = cluster__now(cluster) + AGAIN_NS;
}

static void store(struct cluster *cluster, struct copy_fill *fill)
{
    fill->state = FILL_STORING;
    fill->step = (struct copy_step){
        .magic = COPY_STEP_MAGIC,
        .kind = COPY_STEP_DATA,
        .body = incoming_take(cluster->incoming, fill->data.id),
        .loop = cluster->loop,
        .done = stored,
    };
    volume_copy(cluster->volume, &fill->step);
}

/* When each node has failed, it makes room for what others can give, and its turn comes again. */
static void ask_another(struct cluster *cluster, struct copy_fill *fill)
{
    fill->due_ns = cluster__now(cluster) + AGAIN_NS;
    if (++fill->turn < cluster->node_count)
        return;
    LOG_LIMITED(LOG_WARN, "replication",
                "data %llx.%llu of %llu bytes is given by no node: the copy waits for it",
                (unsigned long long)fill->data.id.epoch, (unsigned long long)fill->data.id.counter,
                (unsigned long long)fill->data.size);
    cluster->copy.has_left_out = true;
    fill->state = FILL_FREE;
}

static void fetched(void *context, struct data_id id, enum pull_outcome outcome)
{
    struct cluster *cluster = context;
    struct copy_fill *fill = find_fill(&cluster->copy, id);
    if (fill == NULL || fill->state != FILL_WANTED)
        return;
    if (outcome == PULL_GONE)
        filled(cluster, fill); /* a record behind the copy's lets go of it, here as there */
    else if (outcome == PULL_FAILED)
        ask_another(cluster, fill);
}

/* Of the nodes in sync, each takes its turn. */
static struct peer *source_of(struct cluster *cluster, const struct copy_fill *fill)
{
    for (unsigned i = 0; i < cluster->node_count; i++) {
        unsigned at = (unsigned)((fill->data.id.counter + fill->turn + i) % cluster->node_count);
        struct peer *peer = &cluster->peers[at];
        if (pg_mask_has(config_of(cluster)->in_sync, at) && peer->link != NULL && peer->is_up)
            return peer;
    }
    return NULL;
}

static void fetch(struct cluster *cluster, struct copy_fill *fill)
{
    if (cluster__now(cluster) < fill->due_ns)
        return;
    if (incoming_state(cluster->incoming, &fill->data) == INCOMING_COMPLETE) {
        store(cluster, fill);
        return;
    }
    struct peer *peer = source_of(cluster, fill);
    if (peer != NULL)
        pull_ask(cluster->pull, peer->link, &fill->data, cluster->copy.psn, fetched, cluster);
    if (cluster__now(cluster) - fill->since_ns > SLOW_NS)
        LOG_LIMITED(LOG_WARN, "replication",
                    "data %llx.%llu of %llu bytes has not come: the copy waits for it",
                    (unsigned long long)fill->data.id.epoch,
                    (unsigned long long)fill->data.id.counter, (unsigned long long)fill->data.size);
}

static void end(struct cluster *cluster)
{
    struct copy_target *copy = &cluster->copy;
    if (config_of(cluster)->epoch == 0 || !list_is_empty(&cluster->in_log))
        return; /* saves that were given before come first */
    copy->stage = COPY_END;
    cluster->saved = (struct pg_durable){
        .config = *config_of(cluster),
        .commit = copy->psn,
        .log = {.last = copy->psn,
                .base = copy->psn,
                .run_count = 1,
                .runs = {{.first_psn = copy->psn, .term = copy->term}}},
    };
    give_step(cluster, &(struct copy_step){.kind = COPY_STEP_END,
                                           .state = encode_state(cluster, &cluster->saved)});
}

/* Once more over all that is absent: what no node gave is among it. */
static void look_again(struct cluster *cluster)
{
    struct copy_target *copy = &cluster->copy;
    copy->has_left_out = false;
    look_from_the_start(&copy->look);
    copy->due_ns = cluster__now(cluster) + LEFT_OUT_NS;
}

static void fill_all(struct cluster *cluster)
{
    struct copy_target *copy = &cluster->copy;
    struct copy_look *absent = &copy->look;
    bool is_busy = false;
    for (unsigned i = 0; i < COUNT_OF(copy->fills); i++) {
        struct copy_fill *fill = &copy->fills[i];
        if (fill->state == FILL_FREE && !absent->is_running && absent->taken < absent->count)
            *fill = (struct copy_fill){.cluster = cluster,
                                       .data = absent->found[absent->taken++],
                                       .since_ns = cluster__now(cluster),
                                       .state = FILL_WANTED};
        if (fill->state == FILL_WANTED)
            fetch(cluster, fill);
        is_busy |= fill->state != FILL_FREE;
    }
    if (absent->is_running || absent->taken < absent->count)
        return;
    if (!absent->is_end)
        look(cluster);
    else if (!is_busy && copy->has_left_out)
        look_again(cluster);
    else if (!is_busy)
        end(cluster);
}

/* ---- stage by stage ---- */

static void ended(struct cluster *cluster)
{
    struct copy_target *copy = &cluster->copy;
    LOG(LOG_INFO, "replication", "this node is filled as of record %llu, and catches up from there",
        (unsigned long long)copy->psn);
    cluster__forget_log(cluster);
    copy->is_on = false;
    cluster->has_saved_pg = cluster->has_durable_pg = true;
    cluster->durable_pg = cluster->saved;
    cluster->last_psn = cluster->done_psn = copy->psn;
    cluster->applied = cluster->applying = cluster->commit = cluster->trimmed_at = copy->psn;
    cluster->read_due_ns = 0; /* pg begins with the register's record */
    note_state(cluster);
    tell(cluster, true);
}

static void step_refused(struct cluster *cluster, struct copy_step *step)
{
    struct copy_target *copy = &cluster->copy;
    struct volume_status status;
    volume_status(cluster->volume, &status);
    if (status.state == VOLUME_FAILED) {
        cluster__stop(cluster, step->err, "the copy cannot go on: %s",
                      err_trail_text(&step->trail, step->err));
        return;
    }
    LOG_LIMITED(LOG_WARN, "replication", "the copy waits: %s",
                err_trail_text(&step->trail, step->err));
    copy->due_ns = cluster__now(cluster) + AGAIN_NS;
    /* Space or memory is short: the same step again. What is wrong with rows is so with all. */
    bool is_same = step->err != ERR_CORRUPT && step->err != ERR_INVALID;
    if (copy->stage == COPY_END)
        copy->stage = COPY_FILL;
    else if (copy->stage == COPY_ROWS_GIVEN && is_same)
        ask_again(copy);
    else if (copy->stage == COPY_ROWS_GIVEN || (copy->stage == COPY_NAMED && !is_same))
        rows_again(cluster);
}

static void step_done(struct copy_step *step)
{
    struct copy_target *copy = CONTAINER_OF(step, struct copy_target, step);
    struct cluster *cluster = CONTAINER_OF(copy, struct cluster, copy);
    copy->is_stepping = false;
    cluster__turn_soon(cluster);
    tell_settings(cluster, step);
    free(TAKE(step->changed));
    if (cluster->is_stopped)
        return;
    if (step->err) {
        step_refused(cluster, step);
        return;
    }
    switch (step->kind) {
    case COPY_STEP_BEGIN:
        rows_again(cluster);
        note_state(cluster);
        break;
    case COPY_STEP_ROWS:
        run_applied(cluster, step);
        break;
    case COPY_STEP_NAMED:
        free(TAKE(copy->message));
        copy->stage = COPY_COUNT;
        look_from_the_start(&copy->look);
        copy->has_left_out = false;
        copy->bytes = copy->bytes_in_all = 0;
        break;
    case COPY_STEP_END:
        ended(cluster);
        break;
    case COPY_STEP_DATA:
        break; /* stored() */
    }
}

static void begin(struct cluster *cluster)
{
    struct copy_target *copy = &cluster->copy;
    if (!list_is_empty(&cluster->in_log) || cluster->applies_pending > 0)
        return; /* what the volume was given before comes back first */
    struct log_range range;
    volume_log_range(cluster->volume, &range);
    cluster__forget_log(cluster);
    pull_forget(cluster->pull); /* its records are gone, and the places are the copy's */
    cluster->saved = cluster->durable_pg = (struct pg_durable){0};
    cluster->has_saved_pg = cluster->has_durable_pg = false;
    cluster->pg_version = cluster->done_version = cluster->done_psn = 0;
    cluster->applied = cluster->applying = cluster->commit = 0; /* what is here is nothing yet */
    cluster->last_psn = range.applied;
    copy->stage = COPY_BEGIN;
    give_step(cluster,
              &(struct copy_step){.kind = COPY_STEP_BEGIN, .state = encode_state(cluster, NULL)});
}

void cluster__copy_turn(struct cluster *cluster)
{
    struct copy_target *copy = &cluster->copy;
    if (!copy->is_on || cluster->is_stopped)
        return;
    if (cluster__now(cluster) - copy->told_ns >= TELL_NS) {
        copy->told_ns = cluster__now(cluster);
        tell(cluster, false);
    }
    if (copy->is_stepping || cluster__now(cluster) < copy->due_ns)
        return;
    switch (copy->stage) {
    case COPY_DRAIN:
    case COPY_BEGIN:
        begin(cluster);
        break;
    case COPY_ASK:
        ask(cluster);
        break;
    case COPY_COUNT:
        if (!copy->look.is_running)
            look(cluster);
        break;
    case COPY_FILL:
        fill_all(cluster);
        break;
    case COPY_NAMED:
        give_named(cluster); /* it was refused */
        break;
    case COPY_ROWS_GIVEN:
    case COPY_END:
        break; /* the volume's turn */
    }
}

/* ---- when ---- */

/*
 * The primary says that its log does not reach back to ours. Only the primary we follow may, by the
 * configuration we have, and one that has us out of the in-sync set: whatever we have acknowledged
 * is then below what the others have committed, and no swap of ours can win any more.
 */
void cluster__too_old(struct cluster *cluster, const struct peer *peer,
                      const struct message_too_old *old)
{
    struct copy_target *copy = &cluster->copy;
    const struct pg *pg = &cluster->pg;
    if (!cluster->has_config || cluster->is_stopped || copy->is_on)
        return;
    bool is_follower = pg->role == PG_FOLLOWER && pg->swap_state == PG_SWAP_IDLE &&
                       !pg->is_damaged && peer->index == pg->d.config.primary &&
                       pg->d.synced_term == pg->d.config.term;
    struct data_way_too_old said = {
        .is_follower = is_follower,
        .is_in_sync = pg_mask_has(pg->d.config.in_sync, cluster->self),
        .epoch = old->epoch,
        .own_epoch = pg->d.config.epoch,
        .first = old->first,
        .own_last = pg->d.log.last,
    };
    if (!data_way_needs_copy(&said))
        return;
    LOG(LOG_WARN, "replication",
        "this node ends at record %llu and the primary's log begins at %llu: "
        "it is filled by a copy",
        (unsigned long long)pg->d.log.last, (unsigned long long)old->first);
    copy->is_on = true;
    copy->stage = COPY_DRAIN;
    copy->bytes = copy->bytes_in_all = 0;
    cluster->has_config = false;
    cluster->commit = cluster->applying; /* nothing more of the log is applied */
    atomic_store(&cluster->read_until_ns, 0);
}

/* A life before was copied, and has not ended. */
void cluster__copy_restore(struct cluster *cluster)
{
    struct copy_target *copy = &cluster->copy;
    struct copy_mark mark = volume_copy_mark(cluster->volume);
    struct log_range range;
    if (mark.phase == COPY_NONE)
        return;
    volume_log_range(cluster->volume, &range);
    cluster->last_psn = range.applied;
    copy->is_on = true;
    copy->psn = mark.psn;
    copy->term = mark.term;
    copy->stage = mark.phase == COPY_DATA ? COPY_COUNT : COPY_BEGIN;
}

bool cluster__copy_is_idle(const struct cluster *cluster)
{
    const struct copy_target *copy = &cluster->copy;
    for (unsigned i = 0; i < COUNT_OF(copy->fills); i++)
        if (copy->fills[i].state == FILL_STORING)
            return false;
    return !copy->is_stepping && !copy->look.is_running;
}

void cluster__copy_fini(struct cluster *cluster)
{
    free(TAKE(cluster->copy.message));
}
