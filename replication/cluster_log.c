#include "replication/cluster_priv.h"

#include <stdlib.h>

#include "base/log.h"
#include "replication/data_way.h"

/* The log's way to the disk. */

/* ---- records in memory ---- */

struct entry *cluster__entry_new(struct cluster *cluster, struct bytes record,
                                 const struct log_data *data, struct bytes inline_bytes)
{
    struct entry *entry = calloc(1, sizeof *entry);
    if (entry == NULL)
        return NULL;
    entry->cluster = cluster;
    entry->came_ns = cluster__now(cluster);
    entry->data = *data;
    if (record.size > 0) {
        entry->record = malloc(record.size);
        if (entry->record != NULL)
            memcpy(entry->record, record.data, record.size);
        entry->record_size = record.size;
    }
    if (inline_bytes.size > 0) {
        entry->inline_bytes = malloc(inline_bytes.size);
        if (entry->inline_bytes != NULL)
            memcpy(entry->inline_bytes, inline_bytes.data, inline_bytes.size);
    }
    bool has_all = (record.size == 0 || entry->record != NULL) &&
                   (inline_bytes.size == 0 || entry->inline_bytes != NULL);
    if (!has_all) {
        cluster__entry_free(entry);
        return NULL;
    }
    return entry;
}

void cluster__entry_free(struct entry *entry)
{
    if (entry == NULL)
        return;
    CHECK(entry->state != ENTRY_LOGGING && entry->state != ENTRY_APPLYING);
    CHECK(!list_is_linked(&entry->item.link));
    if (entry->inline_is_pending) { /* comes back to inline_written() */
        entry->is_dropped = true;
        return;
    }
    body_close(entry->body);
    free(entry->record);
    free(entry->inline_bytes);
    free(entry);
}

/* Whether `psn` can be kept: its place is free, or of one that is applied, and what is not applied
 * leaves memory for it. */
bool cluster__has_room(const struct cluster *cluster, uint64_t psn)
{
    const struct entry *there = cluster->window[psn % CLUSTER_WINDOW];
    return (there == NULL || there->psn == psn || there->state == ENTRY_APPLIED) &&
           cluster->window_bytes <= CLUSTER_WINDOW_BYTES_MAX;
}

static struct entry *take_from_window(struct cluster *cluster, uint64_t psn)
{
    struct entry *entry = cluster__entry(cluster, psn);
    if (entry == NULL)
        return NULL;
    cluster->window[psn % CLUSTER_WINDOW] = NULL;
    cluster->window_bytes -= cluster__entry_bytes(entry);
    return entry;
}

/* Those that are applied are kept only for peers that lag a little: as many as there is memory for.
 */
void cluster__trim_window(struct cluster *cluster)
{
    while (cluster->window_bytes > CLUSTER_WINDOW_BYTES_MAX &&
           cluster->window_first <= cluster->applied)
        cluster__entry_free(take_from_window(cluster, cluster->window_first++));
}

static void keep(struct cluster *cluster, struct entry *entry)
{
    struct entry *before = cluster->window[entry->psn % CLUSTER_WINDOW];
    if (before != NULL) {
        CHECK(before->state == ENTRY_APPLIED);
        cluster->window_first = before->psn + 1;
        cluster__entry_free(take_from_window(cluster, before->psn));
    }
    if (cluster->window_first == 0 || cluster->window_first > entry->psn)
        cluster->window_first = entry->psn;
    cluster->window[entry->psn % CLUSTER_WINDOW] = entry;
    cluster->window_bytes += cluster__entry_bytes(entry);
    cluster__trim_window(cluster);
}

/* ---- what pg asks for ---- */

static struct entry *entry_of(struct list *node)
{
    struct log_item *item = LIST_ENTRY(node, struct log_item, link);
    return item->is_save ? NULL : CONTAINER_OF(item, struct entry, item);
}

static struct save *save_of(struct list *node)
{
    struct log_item *item = LIST_ENTRY(node, struct log_item, link);
    CHECK(item->is_save);
    return CONTAINER_OF(item, struct save, item);
}

void cluster__append(struct cluster *cluster, uint64_t psn, uint64_t term, struct entry *entry)
{
    if (entry == NULL) /* the barrier of a term */
        entry = cluster__entry_new(cluster, (struct bytes){0}, &(struct log_data){0},
                                   (struct bytes){0});
    if (entry == NULL) { /* pg has no way back: without the effect it may not go on */
        cluster__stop(cluster, ERR_NO_MEMORY, "no memory to open a term");
        return;
    }
    entry->psn = psn;
    entry->term = term;
    keep(cluster, entry);
    cluster->last_psn = psn;
    list_push_back(&cluster->to_log, &entry->item.link);
}

/* It leaves the line. */
static void went(struct cluster *cluster, const struct log_item *item)
{
    if (cluster->stuck == item)
        cluster->stuck = NULL;
}

/* Records behind `last` are gone by the primary's word. Those not given to the volume yet go here;
 * the others it deletes. */
static void forget_items(struct cluster *cluster, struct list *list, uint64_t last)
{
    LIST_EACH (list, node) {
        const struct entry *entry = entry_of(node);
        struct save *save = entry == NULL ? save_of(node) : NULL;
        uint64_t upto = entry != NULL ? entry->psn : save->log_save.last;
        if (upto <= last)
            continue; /* a save of what is cut: the one that cuts it follows, and has all of it */
        went(cluster, LIST_ENTRY(node, struct log_item, link));
        list_remove(node);
        free(save);
    }
}

static void forget_behind(struct cluster *cluster, uint64_t last)
{
    forget_items(cluster, &cluster->to_log, last);
    forget_items(cluster, &cluster->refused, last);
    for (uint64_t psn = last + 1; psn <= cluster->last_psn; psn++) {
        struct entry *entry = take_from_window(cluster, psn);
        if (entry == NULL)
            continue;
        CHECK(entry->state < ENTRY_APPLYING); /* what is applied was committed, and is never cut */
        if (entry->state == ENTRY_LOGGING)
            entry->psn = 0; /* freed when the volume answers */
        else
            cluster__entry_free(entry);
    }
    cluster->last_psn = last;
    if (cluster->done_psn > last)
        cluster->done_psn = last;
}

static struct save *save_new(struct cluster *cluster)
{
    struct save *save = calloc(1, sizeof *save);
    if (save == NULL)
        return NULL;
    save->item.is_save = true;
    save->cluster = cluster;
    return save;
}

/* The last in line is a save of the same log: what comes now takes its place. So a disk that takes
 * none for long makes no long line of them. */
static struct save *save_in_line(struct cluster *cluster, uint64_t last)
{
    struct save *save = NULL;
    if (!list_is_empty(&cluster->to_log) && entry_of(cluster->to_log.prev) == NULL)
        save = save_of(cluster->to_log.prev);
    return save != NULL && save->log_save.last == last ? save : NULL;
}

static struct save *save_put_in_line(struct cluster *cluster, uint64_t last)
{
    struct save *save = save_new(cluster);
    if (save == NULL)
        return NULL;
    save->log_save.last = last;
    list_push_back(&cluster->to_log, &save->item.link);
    return save;
}

void cluster__save(struct cluster *cluster, uint64_t last)
{
    if (last < cluster->last_psn)
        forget_behind(cluster, last);
    struct save *save = save_in_line(cluster, last);
    if (save == NULL)
        save = save_put_in_line(cluster, last);
    if (save == NULL) {
        cluster__stop(cluster, ERR_NO_MEMORY, "no memory to save the group's state");
        return;
    }
    save->has_pg = cluster->has_config || cluster->has_saved_pg;
    save->pg = cluster->saved;
    save->version = cluster->pg_version;
}

/* ---- durable ---- */

static void tell_persisted(struct cluster *cluster)
{
    if (!cluster->persisted_is_due)
        return;
    cluster->persisted_is_due = false;
    quorum_persisted(&cluster->quorum, cluster__now(cluster), cluster->done_quorum_version);
    cluster__register_answered(cluster);
    if (cluster->has_config)
        pg_persisted(&cluster->pg, cluster__now(cluster), cluster->done_version, cluster->done_psn);
}

static void next_turn(struct loop_msg *msg)
{
    struct cluster *cluster = CONTAINER_OF(msg, struct cluster, turn_msg);
    cluster->turn_is_posted = false;
    if (cluster->is_stopped) {
        cluster__refuse_all(cluster, ERR_BUSY);
        cluster__pump_reads(cluster);
        cluster__publish_status(cluster);
        return;
    }
    tell_persisted(cluster);
    cluster__copy_turn(cluster);
    cluster__after_step(cluster);
}

/*
 * The rest of what is to be done follows once, after all that this turn of the loop brings: a batch
 * of the volume answers many at once, and pg hears of all of them in one word and acknowledges with
 * one.
 */
void cluster__turn_soon(struct cluster *cluster)
{
    if (cluster->turn_is_posted)
        return;
    cluster->turn_is_posted = true;
    cluster->turn_msg.deliver = next_turn;
    loop_post(cluster->loop, &cluster->turn_msg);
}

static void note_stuck(struct cluster *cluster, const struct log_item *item, const char *refusal)
{
    snprintf(cluster->refusal, sizeof cluster->refusal, "%s", refusal);
    if (item == cluster->stuck)
        return;
    cluster->stuck = item;
    cluster->stuck_since_ns = cluster__now(cluster);
}

/*
 * When all that was given has come back, what was refused is given again, in order. A record behind
 * a save may have been taken all the same: what the log has now stays.
 */
static void take_back(struct cluster *cluster)
{
    if (!list_is_empty(&cluster->in_log) || list_is_empty(&cluster->refused))
        return;
    LIST_EACH (&cluster->refused, node)
        if (entry_of(node) == NULL && save_of(node)->log_save.last < cluster->done_psn)
            save_of(node)->log_save.last = cluster->done_psn;
    list_splice_back(&cluster->refused, &cluster->to_log);
    list_splice_back(&cluster->to_log, &cluster->refused);
    cluster->log_due_ns = cluster__now(cluster) + CLUSTER_AGAIN_NS;
}

/*
 * The volume took neither this nor anything behind it: space or memory is short, and what is
 * missing is asked for again. In order, once everything that was given has come back.
 */
static void refused(struct cluster *cluster, struct log_item *item, enum err e,
                    const struct err_trail *trail)
{
    bool is_first = list_is_empty(&cluster->refused);
    if (is_first)
        note_stuck(cluster, item, err_trail_text(trail, e));
    if (is_first && e == ERR_INVALID)
        cluster__stop(cluster, e, "the log cannot be written: %s", err_trail_text(trail, e));
    else if (is_first)
        LOG_LIMITED(LOG_WARN, "replication", "the log waits: %s", err_trail_text(trail, e));
    list_push_back(&cluster->refused, &item->link);
    take_back(cluster);
}

/* The volume answers in the order in which it was asked. */
static void take_answered(struct cluster *cluster, const struct log_item *item)
{
    CHECK(list_pop_front(&cluster->in_log) == &item->link);
}

static void appended(struct log_append *append)
{
    struct entry *entry = CONTAINER_OF(append, struct entry, append);
    struct cluster *cluster = entry->cluster;
    take_answered(cluster, &entry->item);
    enum err e = append->err;
    entry->state = e ? ENTRY_NEW : ENTRY_LOGGED;
    entry->inline_is_written = false;
    if (e == ERR_FILE_EXISTS)
        entry->is_gone = true; /* its data is here already, and gains a reference */
    if (e && entry->psn != 0) {
        refused(cluster, &entry->item, e, &append->trail);
        return;
    }
    went(cluster, &entry->item);
    if (entry->psn == 0) { /* cut meanwhile */
        cluster__entry_free(entry);
        take_back(cluster);
        return;
    }
    cluster->done_psn = entry->psn;
    cluster->has_appended = true;
    cluster->persisted_is_due = true;
    cluster__turn_soon(cluster);
    take_back(cluster);
}

static bool has_save(struct list *list)
{
    LIST_EACH (list, node)
        if (entry_of(node) == NULL)
            return true;
    return false;
}

static void save_refused(struct cluster *cluster, struct save *save)
{
    /* One behind it has all of it, and newer: this one may be of what was cut since, which no
     * volume takes. */
    bool is_old = has_save(&cluster->in_log) || has_save(&cluster->to_log);
    if (!is_old) {
        refused(cluster, &save->item, save->log_save.err, &save->log_save.trail);
        return;
    }
    went(cluster, &save->item);
    free(save);
    cluster->log_due_ns = cluster->past_due_ns = cluster__now(cluster) + CLUSTER_AGAIN_NS;
    take_back(cluster);
}

static void saved(struct log_save *log_save)
{
    struct save *save = CONTAINER_OF(log_save, struct save, log_save);
    struct cluster *cluster = save->cluster;
    take_answered(cluster, &save->item);
    if (log_save->err) {
        save_refused(cluster, save);
        return;
    }
    went(cluster, &save->item);
    cluster->has_durable_pg = save->has_pg;
    cluster->durable_pg = save->pg;
    cluster->done_version = save->version;
    cluster->done_quorum_version = save->quorum_version;
    cluster->persisted_is_due = true;
    cluster__turn_soon(cluster);
    free(save);
    take_back(cluster);
}

/* ---- a record's data ---- */

static void inline_written(struct body_write *write, enum err e)
{
    struct entry *entry = CONTAINER_OF(write, struct entry, inline_write);
    struct cluster *cluster = entry->cluster;
    CHECK(e == ERR_OK); /* memory only */
    entry->inline_is_pending = false;
    entry->inline_is_written = true;
    if (entry->is_dropped)
        cluster__entry_free(entry);
    else
        cluster__pump_log(cluster);
}

/* Data of a record as a body: true when there is one to be logged with it, or none is needed. */
static bool make_inline(struct cluster *cluster, struct entry *entry)
{
    if (entry->body != NULL)
        return entry->inline_is_written;
    struct err_trail trail = {0};
    enum err e =
        body_open(cluster->volume,
                  &(struct body_options){
                      .loop = cluster->loop, .size = entry->data.size, .id = entry->data.id},
                  &entry->body, &trail);
    if (e == ERR_OK)
        e = body_write(entry->body, &entry->inline_write, entry->inline_bytes,
                       (uint32_t)entry->data.size, true, inline_written, &trail);
    entry->inline_is_pending = e == ERR_OK;
    if (e) {
        body_close(TAKE(entry->body));
        LOG_LIMITED(LOG_WARN, "replication", "record %llu waits: %s",
                    (unsigned long long)entry->psn, err_trail_text(&trail, e));
    }
    return false;
}

static void pulled(void *context, struct data_id id, enum pull_outcome outcome)
{
    struct cluster *cluster = context;
    LIST_EACH (&cluster->to_log, node) {
        struct entry *entry = entry_of(node);
        if (outcome == PULL_GONE && entry != NULL && data_id_equal(entry->data.id, id))
            entry->is_gone = true;
    }
    cluster__pump_log(cluster);
}

static bool has_item_with(const struct list *list, struct data_id id)
{
    LIST_EACH (list, node) {
        const struct entry *entry = entry_of(node);
        if (entry != NULL && data_id_equal(entry->data.id, id))
            return true;
    }
    return false;
}

bool cluster__names_data(void *context, struct data_id id)
{
    const struct cluster *cluster = context;
    return has_item_with(&cluster->to_log, id) || has_item_with(&cluster->refused, id);
}

/* Asks for what is missing, if it is not under way. */
static void want_data(struct cluster *cluster, struct entry *entry)
{
    if (cluster__now(cluster) - entry->came_ns < CLUSTER_PULL_AFTER_NS)
        return;
    struct peer *peer = &cluster->peers[cluster->pg.d.config.primary];
    /* Who has taken over with a record whose data had not come yet asks the others in turn. */
    for (unsigned i = 0; i < cluster->node_count && (peer->link == NULL || !peer->is_up); i++)
        peer = &cluster->peers[++cluster->pull_turn % cluster->node_count];
    if (peer->link != NULL && peer->is_up)
        pull_ask(cluster->pull, peer->link, &entry->data, entry->psn, pulled, cluster);
}

/* Whether the record can be given to the volume now. Puts its body into the append. */
static bool has_data(struct cluster *cluster, struct entry *entry)
{
    bool needs_body = !data_id_is_none(entry->data.id) && !entry->is_gone;
    if (needs_body && entry->inline_bytes != NULL)
        return make_inline(cluster, entry);
    enum incoming_state state =
        needs_body ? incoming_state(cluster->incoming, &entry->data) : INCOMING_NONE;
    switch (data_way_of_record(needs_body, state)) {
    case DATA_WAY_READY:
        if (state == INCOMING_COMPLETE)
            entry->body = incoming_take(cluster->incoming, entry->data.id);
        return true;
    case DATA_WAY_COMING:
        return false;
    case DATA_WAY_MISSING:
        want_data(cluster, entry);
        return false;
    }
    return false;
}

/* ---- giving to the volume, in order ---- */

static void give_append(struct cluster *cluster, struct entry *entry)
{
    entry->state = ENTRY_LOGGING;
    entry->append = (struct log_append){
        .magic = LOG_APPEND_MAGIC,
        .psn = entry->psn,
        .term = entry->term,
        .record = bytes_of(entry->record, entry->record_size),
        .body = TAKE(entry->body),
        .loop = cluster->loop,
        .done = appended,
    };
    if (entry->is_gone)
        entry->append.absent = entry->data;
    volume_log_append(cluster->volume, &entry->append);
}

_Static_assert(CLUSTER_STATE_BYTES_MAX <= LOG_STATE_BYTES_MAX, "a volume keeps all of it");

struct bytes cluster__encode_state(const struct cluster *cluster, const struct pg_durable *pg,
                                   uint8_t out[CLUSTER_STATE_BYTES_MAX])
{
    struct cluster_state state = {
        .node = cluster->options.self, .has_pg = pg != NULL, .quorum = cluster->saved_quorum};
    memcpy(state.cluster, cluster->options.cluster, sizeof state.cluster);
    if (pg != NULL)
        state.pg = *pg;
    return bytes_of(out, cluster_state_encode(&state, out));
}

static void give_save(struct cluster *cluster, struct save *save)
{
    save->quorum_version = cluster->quorum_version;
    save->log_save.state =
        cluster__encode_state(cluster, save->has_pg ? &save->pg : NULL, save->state);
    save->log_save.magic = LOG_SAVE_MAGIC;
    save->log_save.loop = cluster->loop;
    save->log_save.done = saved;
    volume_log_save(cluster->volume, &save->log_save);
}

/*
 * A record whose data does not come, or that the volume does not take, must not keep this node from
 * voting: with the primary that has the data gone, there would be no other one. The register's
 * state goes past it, with pg's as it is on the disk.
 */
static void save_past_head(struct cluster *cluster)
{
    if (cluster->is_stopped || cluster->copy.is_on || list_is_empty(&cluster->to_log) ||
        !list_is_empty(&cluster->in_log) || !list_is_empty(&cluster->refused) ||
        cluster->quorum_version <= cluster->done_quorum_version ||
        cluster__now(cluster) < cluster->past_due_ns)
        return;
    const struct entry *head = entry_of(list_first(&cluster->to_log));
    struct save *save = head != NULL ? save_new(cluster) : NULL;
    if (save == NULL)
        return; /* tried again at the next turn */
    save->has_pg = cluster->has_durable_pg;
    save->pg = cluster->durable_pg;
    save->version = cluster->done_version;
    save->log_save.last = head->psn - 1;
    list_push_back(&cluster->in_log, &save->item.link);
    give_save(cluster, save);
}

static void ask_ahead(struct cluster *cluster)
{
    unsigned count = 0;
    LIST_EACH (&cluster->to_log, node) {
        if (count++ == PULLS_MAX)
            break;
        struct entry *entry = entry_of(node);
        if (entry == NULL || data_id_is_none(entry->data.id) || entry->is_gone ||
            entry->inline_bytes != NULL || entry->body != NULL)
            continue;
        enum incoming_state state = incoming_state(cluster->incoming, &entry->data);
        if (data_way_of_record(true, state) == DATA_WAY_MISSING)
            want_data(cluster, entry);
    }
}

void cluster__pump_log(struct cluster *cluster)
{
    bool may_give = !cluster->is_stopped && !cluster__copy_holds_log(cluster) &&
                    list_is_empty(&cluster->refused) && cluster->no_log != NO_LOG_HANGS &&
                    cluster__now(cluster) >= cluster->log_due_ns;
    while (may_give && !list_is_empty(&cluster->to_log)) {
        struct list *first = list_first(&cluster->to_log);
        struct entry *entry = entry_of(first);
        if (entry != NULL && !has_data(cluster, entry)) {
            note_stuck(cluster, &entry->item, "");
            ask_ahead(cluster);
            break;
        }
        list_remove(first);
        list_push_back(&cluster->in_log, first);
        if (entry != NULL)
            give_append(cluster, entry);
        else
            give_save(cluster, save_of(first));
    }
    save_past_head(cluster);
    cluster__pump_apply(cluster);
}

/* ---- life ---- */

/* A state of the disk from the life before: pg's as it was last saved, and the log, which has gone
 * on since. */
static enum err restore_log(struct cluster *cluster, const struct log_range *range,
                            struct err_trail *trail)
{
    struct pg_durable *d = &cluster->saved;
    /* What was trimmed since is applied, and so committed. */
    if (d->log.last + 1 < range->first && range->first <= range->last)
        d->log = (struct pg_log){.last = range->first - 1, .base = range->first - 1};
    for (uint64_t psn = d->log.last + 1; psn <= range->last; psn++) {
        struct log_row row;
        enum err e = volume_log_read(cluster->volume, psn, &row);
        if (e)
            return err_note(trail, e, "read record %llu of the log", (unsigned long long)psn);
        pg_log_append(&d->log, row.term);
        log_row_fini(&row);
    }
    if (d->log.last != range->last)
        return err_say(trail, ERR_CORRUPT,
                       "the log ends at record %llu, its state says %llu: the volume has lost part "
                       "of it",
                       (unsigned long long)range->last, (unsigned long long)d->log.last);
    if (d->commit < range->applied)
        d->commit = range->applied; /* nothing else is ever applied */
    return ERR_OK;
}

/* What is in the log and not in the index yet waits in memory, as if it had just been logged. */
static enum err restore_entries(struct cluster *cluster, const struct log_range *range,
                                struct err_trail *trail)
{
    if (range->last - range->applied > CLUSTER_WINDOW)
        return err_say(trail, ERR_CORRUPT, "%llu records of the log are not applied",
                       (unsigned long long)(range->last - range->applied));
    for (uint64_t psn = range->applied + 1; psn <= range->last; psn++) {
        struct log_row row;
        enum err e = volume_log_read(cluster->volume, psn, &row);
        if (e)
            return err_note(trail, e, "read record %llu of the log", (unsigned long long)psn);
        struct entry *entry = cluster__entry_new(cluster, row.record, &row.data, (struct bytes){0});
        if (entry != NULL) {
            entry->psn = psn;
            entry->term = row.term;
            entry->state = ENTRY_LOGGED;
            keep(cluster, entry);
        }
        log_row_fini(&row);
        if (entry == NULL)
            return ERR_NO_MEMORY;
    }
    return ERR_OK;
}

static enum err judge_whose(const struct cluster *cluster, const struct cluster_state *state,
                            struct err_trail *trail)
{
    static const uint8_t not_known[sizeof state->cluster];
    if (state->node != 0 && state->node != cluster->options.self)
        return err_say(trail, ERR_INVALID,
                       "this volume is node %u's of the cluster, and this is to be node %u: a "
                       "directory keeps its number",
                       state->node, cluster->options.self);
    if (memcmp(state->cluster, not_known, sizeof not_known) != 0 &&
        memcmp(state->cluster, cluster->options.cluster, sizeof not_known) != 0)
        return err_say(trail, ERR_INVALID,
                       "this volume is of a cluster of another name, or with another list of "
                       "nodes, which both stay as they are from the first start on");
    return ERR_OK;
}

enum err cluster__restore(struct cluster *cluster, struct err_trail *trail)
{
    uint8_t bytes[CLUSTER_STATE_BYTES_MAX];
    size_t size = 0;
    enum err e = volume_log_state(cluster->volume, bytes, sizeof bytes, &size);
    if (e == ERR_NO_SUCH_OBJECT) {
        /* Its first life, or an emptied disk, which may have forgotten what it promised: it votes
         * when it has heard all others. */
        cluster->saved_quorum.is_blank = true;
        return ERR_OK;
    }
    struct cluster_state state;
    if (e == ERR_OK)
        e = cluster_state_decode(bytes_of(bytes, size), &state);
    if (e)
        return err_note(trail, e, "read the group's state");
    e = judge_whose(cluster, &state, trail);
    if (e)
        return e;
    cluster->saved_quorum = state.quorum;
    cluster__copy_restore(cluster);
    if (!state.has_pg)
        return ERR_OK;
    struct log_range range;
    volume_log_range(cluster->volume, &range);
    cluster->saved = cluster->durable_pg = state.pg;
    cluster->has_durable_pg = true;
    e = restore_log(cluster, &range, trail);
    if (e == ERR_OK)
        e = restore_entries(cluster, &range, trail);
    cluster->has_saved_pg = e == ERR_OK;
    cluster->last_psn = cluster->done_psn = range.last;
    cluster->applied = cluster->applying = cluster->trimmed_at = range.applied;
    cluster->commit = range.applied;
    return e;
}

void cluster__forget_log(struct cluster *cluster)
{
    list_splice_back(&cluster->to_log, &cluster->refused);
    LIST_EACH (&cluster->to_log, node) {
        bool is_save = entry_of(node) == NULL;
        list_remove(node);
        if (is_save)
            free(save_of(node));
    }
    CHECK(list_is_empty(&cluster->in_log));
    for (unsigned i = 0; i < CLUSTER_WINDOW; i++)
        cluster__entry_free(TAKE(cluster->window[i]));
    cluster->window_bytes = cluster->window_first = 0;
    cluster->stuck = NULL;
}
