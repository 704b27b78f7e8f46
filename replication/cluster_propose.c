#include "replication/cluster_priv.h"

#include <stdlib.h>

#include "base/log.h"

/*
 * A change on its way to its place in the log. Here it waits for a primary and for room; then it is
 * in our own log, or with the primary, and its outcome comes by apply, or by RESULT. Whatever
 * breaks in between leaves an unknown outcome, and the client is told to try again: the change may
 * be there or not.
 */

/* ---- the end of one ---- */

static void answer_local(struct cluster *cluster, struct mutation *m, enum err e,
                         const char *sentence)
{
    m->err = e;
    if (sentence != NULL)
        (void)err_say(&m->trail, e, "%s", sentence);
    m->receipt = (struct receipt){.replicas_wanted = cluster->node_count};
    group__answer(m);
}

static uint64_t waiting_bytes(const struct entry *entry)
{
    return cluster__entry_bytes(entry) + (entry->body != NULL ? INCOMING_BODY_BYTES : 0);
}

static void stop_waiting(struct cluster *cluster, struct proposal *proposal)
{
    CHECK(proposal->is_waiting);
    proposal->is_waiting = false;
    list_remove(&proposal->link);
    list_remove(&proposal->next);
    cluster->waiting_count--;
    cluster->waiting_bytes -= waiting_bytes(proposal->entry);
}

static void forget(struct cluster *cluster, struct proposal *proposal)
{
    if (proposal->is_waiting)
        stop_waiting(cluster, proposal);
    list_remove(&proposal->link);
    cluster->waiting_bytes -= proposal->body_bytes;
    incoming_let_go(cluster->incoming, proposal->body);
    struct proposal **place = &cluster->by_op[proposal->op % CLUSTER_PROPOSALS_MAX];
    if (*place == proposal)
        *place = NULL;
    if (proposal->entry != NULL && proposal->entry->psn == 0)
        cluster__entry_free(proposal->entry);
    free(proposal);
}

static void send_result(struct cluster *cluster, uint8_t to, uint64_t op, const struct mutation *m)
{
    uint8_t bytes[MESSAGE_RESULT_BYTES_MAX];
    size_t size = message_result_encode(op, m, bytes);
    struct bytes part = bytes_of(bytes, size);
    /* Lost: its gateway does not know, and says so. */
    cluster__message(&cluster->peers[to], MESSAGE_RESULT, &part, 1);
}

/* Of a change that never had a number, and never will: nobody need keep its body. */
static void drop_data(struct cluster *cluster, const struct log_data *data)
{
    if (data_id_is_none(data->id) || data->is_inline)
        return;
    incoming_disown(cluster->incoming, data->id);
    cluster__drop_at_peers(cluster, data->id);
}

static void fail(struct cluster *cluster, struct proposal *proposal, enum err e,
                 const char *sentence)
{
    if (proposal->entry != NULL)
        drop_data(cluster, &proposal->entry->data);
    if (proposal->m != NULL) {
        answer_local(cluster, proposal->m, e, sentence);
    } else {
        struct mutation m = {.err = e};
        (void)err_say(&m.trail, e, "%s", sentence);
        send_result(cluster, proposal->origin, proposal->op, &m);
    }
    forget(cluster, proposal);
}

/* ---- where it goes ---- */

static bool is_open(const struct cluster *cluster)
{
    return cluster->has_config && !cluster->is_stopped && cluster->pg.role == PG_OPEN;
}

/* Whether the body that the change names is here. Lanes have no order between them: it may come
 * behind its proposal. */
static enum incoming_state body_of(struct cluster *cluster, const struct proposal *proposal)
{
    const struct log_data *data = &proposal->entry->data;
    if (data_id_is_none(data->id) || data->is_inline)
        return INCOMING_COMPLETE;
    return incoming_state(cluster->incoming, data);
}

static struct peer *primary_of(struct cluster *cluster)
{
    struct peer *primary = &cluster->peers[cluster->pg.d.config.primary];
    bool is_there = cluster->has_config && cluster->pg.role == PG_FOLLOWER &&
                    primary->link != NULL && primary->is_up;
    return is_there ? primary : NULL;
}

/* What became of one that was looked at. */
enum looked {
    LOOKED_GONE,  /* in the log, with the primary, or refused */
    LOOKED_ASIDE, /* waits for what others do not wait for: its body, or a primary of our own */
    LOOKED_FULL,  /* there is no room, for others neither */
};

/* In the order they came: into our log. */
static enum looked propose_here(struct cluster *cluster, struct proposal *proposal)
{
    struct entry *entry = proposal->entry;
    struct err_trail trail = {0};
    /* Once it has a number there is no way back: a volume that is full says so before. */
    enum err full = volume_judge(cluster->volume, proposal->kind, &trail);
    enum incoming_state body = body_of(cluster, proposal);
    if (full == ERR_OK && body == INCOMING_NONE)
        full = body_judge_size(cluster->volume, entry->data.size, &trail); /* will not come */
    if (full) {
        fail(cluster, proposal, full, err_trail_text(&trail, full));
        return LOOKED_GONE;
    }
    if (body != INCOMING_COMPLETE)
        return LOOKED_ASIDE;
    if (!cluster__has_room(cluster, cluster->pg.d.log.last + 2 * PG_WINDOW))
        return LOOKED_FULL;
    uint64_t psn;
    record_stamp(entry->record, entry->record_size, clock_real_ns(clock_system()));
    if (pg_propose(&cluster->pg, cluster__now(cluster), entry, &psn) != ERR_OK)
        return LOOKED_FULL;
    stop_waiting(cluster, proposal);
    entry->proposal = proposal;
    proposal->deadline_ns = cluster__now(cluster) + CLUSTER_ANSWER_NS;
    return LOOKED_GONE;
}

static enum looked propose_there(struct cluster *cluster, struct proposal *proposal,
                                 struct peer *peer)
{
    struct entry *entry = proposal->entry;
    uint8_t head[MESSAGE_PROPOSE_BYTES];
    struct bytes inline_bytes = {0};
    if (entry->inline_bytes != NULL)
        inline_bytes = bytes_of(entry->inline_bytes, entry->data.size);
    message_propose_encode(entry->record_size, inline_bytes.size, head);
    struct bytes parts[] = {bytes_of(head, sizeof head),
                            bytes_of(entry->record, entry->record_size), inline_bytes};
    if (link_message(peer->link, MESSAGE_PROPOSE, parts, 3) != ERR_OK)
        return LOOKED_FULL;
    proposal->is_sent = true;
    proposal->sent_to = peer->index;
    proposal->deadline_ns = cluster__now(cluster) + CLUSTER_ANSWER_NS;
    stop_waiting(cluster, proposal);
    list_push_back(&peer->proposals, &proposal->link);
    /* Our own copy of the inline bytes comes back with the record; a body waits as one without a
     * name. */
    cluster__entry_free(TAKE(proposal->entry));
    return LOOKED_GONE;
}

static enum looked look_at(struct cluster *cluster, struct proposal *proposal)
{
    if (is_open(cluster))
        return propose_here(cluster, proposal);
    if (proposal->m == NULL && cluster->pg.d.config.primary != cluster->self) {
        fail(cluster, proposal, ERR_BUSY, "this node is not the primary");
        return LOOKED_GONE;
    }
    struct peer *primary = primary_of(cluster);
    return primary != NULL ? propose_there(cluster, proposal, primary) : LOOKED_ASIDE;
}

/* In each step, so only at those that may go on. */
void cluster__pump_proposals(struct cluster *cluster)
{
    if (!cluster->has_config)
        return;
    LIST_EACH (&cluster->ready, node) {
        struct proposal *proposal = LIST_ENTRY(node, struct proposal, next);
        enum looked looked = look_at(cluster, proposal);
        if (looked == LOOKED_FULL)
            break;
        if (looked == LOOKED_ASIDE) {
            list_remove(node);
            list_push_back(&cluster->aside, node);
        }
    }
}

void cluster__look_at_proposals(struct cluster *cluster)
{
    list_splice_back(&cluster->ready, &cluster->aside);
}

void cluster__body_settled(struct cluster *cluster, struct data_id id)
{
    LIST_EACH (&cluster->aside, node) {
        if (!data_id_equal(LIST_ENTRY(node, struct proposal, next)->entry->data.id, id))
            continue;
        list_remove(node);
        list_push_back(&cluster->ready, node);
    }
}

/* ---- from this node ---- */

/* Who may not is told to come again, and counted. */
static bool may_wait(struct cluster *cluster, uint64_t bytes)
{
    bool fits = cluster->waiting_count < CLUSTER_PROPOSALS_MAX &&
                cluster->waiting_bytes + bytes <= CLUSTER_PROPOSAL_BYTES_MAX;
    cluster->refused_proposals += !fits;
    return fits && !cluster->is_stopped;
}

static void take(struct cluster *cluster, struct proposal *proposal)
{
    proposal->is_waiting = true;
    proposal->deadline_ns = cluster__now(cluster) + CLUSTER_WAIT_NS;
    list_push_back(&cluster->waiting, &proposal->link);
    list_push_back(&cluster->ready, &proposal->next);
    cluster->waiting_count++;
    cluster->waiting_bytes += waiting_bytes(proposal->entry) + proposal->body_bytes;
}

/* The mutation as a record. Its body stays behind as data without a name; one whose few bytes go
 * along with the record stays with it, to be logged if that comes to pass here. */
static struct entry *make_entry(struct cluster *cluster, struct mutation *m, uint64_t op,
                                enum err *ret_err)
{
    struct log_data data = {0};
    struct bytes inline_bytes = {0};
    if (m->body != NULL && body_size(m->body) > 0) {
        data = (struct log_data){.id = body_data_id(m->body),
                                 .size = body_size(m->body),
                                 .is_inline = body_is_inline(m->body)};
        if (data.is_inline)
            inline_bytes = body_inline_bytes(m->body);
    }
    uint8_t *record;
    size_t size;
    struct record_head head = {.kind = m->kind, .data = data, .origin = cluster->self, .op = op};
    *ret_err = record_encode(m, &head, &record, &size, &m->trail);
    if (*ret_err)
        return NULL;
    struct entry *entry = cluster__entry_new(cluster, (struct bytes){0}, &data, inline_bytes);
    if (entry == NULL) {
        free(record);
        *ret_err = ERR_NO_MEMORY;
        return NULL;
    }
    entry->record = record;
    entry->record_size = size;
    entry->origin = cluster->self;
    entry->op = op;
    struct body *body = TAKE(m->body);
    if (body == NULL)
        return entry;
    entry->inline_is_written = data.is_inline;
    if (data_id_is_none(data.id))
        body_close(body);
    else if (data.is_inline)
        entry->body = body;
    else
        *ret_err = incoming_put(cluster->incoming, body);
    return entry;
}

static void proposed(struct loop_msg *msg)
{
    struct mutation *m = CONTAINER_OF(msg, struct mutation, item.msg);
    struct cluster *cluster = m->driver;
    struct proposal *proposal = calloc(1, sizeof *proposal);
    uint64_t op = ++cluster->op_count;
    struct proposal **place = &cluster->by_op[op % CLUSTER_PROPOSALS_MAX];
    bool fits = proposal != NULL && *place == NULL && may_wait(cluster, 0);
    enum err e = ERR_BUSY;
    struct entry *entry = fits ? make_entry(cluster, m, op, &e) : NULL;
    if (entry != NULL && !data_id_is_none(entry->data.id) && !entry->data.is_inline) {
        proposal->body = entry->data.id;
        proposal->body_bytes = INCOMING_BODY_BYTES + incoming_sums_bytes(entry->data.size);
    }
    if (entry != NULL && e == ERR_OK &&
        !may_wait(cluster, waiting_bytes(entry) + proposal->body_bytes)) {
        drop_data(cluster, &entry->data);
        fits = false;
        e = ERR_BUSY;
    }
    if (entry == NULL || e) {
        free(proposal);
        cluster__entry_free(entry);
        cluster_body_close(cluster, TAKE(m->body));
        const char *why = cluster->is_stopped ? cluster->sentence : "too many changes are waiting";
        answer_local(cluster, m, e, fits ? NULL : why);
        return;
    }
    *place = proposal;
    proposal->m = m;
    proposal->kind = m->kind;
    proposal->entry = entry;
    proposal->origin = cluster->self;
    proposal->op = op;
    take(cluster, proposal);
    cluster__after_step(cluster);
}

void cluster_propose(struct cluster *cluster, struct mutation *m)
{
    m->magic = MUTATION_MAGIC;
    m->driver = cluster;
    m->err = ERR_OK;
    m->item.msg.deliver = proposed;
    loop_post(cluster->loop, &m->item.msg);
}

/* ---- from a peer's gateway ---- */

void cluster__proposed_by_peer(struct cluster *cluster, struct peer *peer, struct bytes body)
{
    struct message_record record;
    enum err e = message_propose_decode(body, &record);
    if (e) {
        link_violated(peer->link, "a proposal that is none");
        return;
    }
    /* Whole, before it has a number: one that cannot be applied would stop every node for good. */
    struct decoded *decoded = NULL;
    e = record_decode(record.record, &decoded);
    record_decoded_free(decoded);
    if (e == ERR_OK && record.head.data.is_inline && record.inline_bytes.size == 0)
        e = ERR_CORRUPT; /* nobody else has them */
    if (e) {
        struct mutation m = {.err = e == ERR_NO_MEMORY ? ERR_BUSY : e};
        send_result(cluster, peer->index, record.head.op, &m);
        return;
    }
    struct proposal *proposal = calloc(1, sizeof *proposal);
    uint64_t bytes = sizeof(struct entry) + record.record.size + record.inline_bytes.size;
    struct entry *entry =
        proposal != NULL && may_wait(cluster, bytes)
            ? cluster__entry_new(cluster, record.record, &record.head.data, record.inline_bytes)
            : NULL;
    if (entry == NULL) {
        free(proposal);
        drop_data(cluster, &record.head.data);
        struct mutation m = {.err = ERR_BUSY};
        send_result(cluster, peer->index, record.head.op, &m);
        return;
    }
    proposal->kind = record.head.kind;
    entry->origin = peer->index;
    entry->op = record.head.op;
    proposal->entry = entry;
    proposal->origin = peer->index;
    proposal->op = record.head.op;
    take(cluster, proposal);
    cluster__after_step(cluster);
}

/* ---- outcomes ---- */

void cluster__outcome(struct cluster *cluster, struct entry *entry, const struct mutation *applied)
{
    struct proposal *proposal = TAKE(entry->proposal);
    if (proposal == NULL)
        return;
    proposal->entry = NULL;
    struct mutation result = *applied;
    result.receipt = (struct receipt){
        .synced = true,
        .replicas_synced = entry->copies,
        .replicas_wanted = cluster->node_count,
        .by_rdma = entry->by_rdma,
        .by_tcp = entry->by_tcp,
    };
    if (!entry->may_acknowledge) {
        result.err = ERR_BUSY;
        (void)err_say(&result.trail, ERR_BUSY,
                      "too few replicas are in sync: the change is on %u nodes of at least %u",
                      entry->copies, cluster->options.in_sync_min);
    }
    if (proposal->m != NULL) {
        message_result_copy(proposal->m, &result);
        group__answer(proposal->m);
    } else {
        send_result(cluster, proposal->origin, proposal->op, &result);
    }
    forget(cluster, proposal);
}

void cluster__result(struct cluster *cluster, struct peer *peer, struct bytes body)
{
    struct mutation result;
    uint64_t op;
    if (message_result_decode(body, &op, &result) != ERR_OK) {
        link_violated(peer->link, "a result that is none");
        return;
    }
    struct proposal *proposal = cluster->by_op[op % CLUSTER_PROPOSALS_MAX];
    bool is_ours = proposal != NULL && proposal->op == op && proposal->is_sent &&
                   proposal->sent_to == peer->index;
    if (!is_ours)
        return; /* answered meanwhile: too late */
    message_result_copy(proposal->m, &result);
    group__answer(proposal->m);
    forget(cluster, proposal);
}

#define UNKNOWN "the primary was lost: the change may have been made or not; try again"

/* What is in our log and not committed may yet be, by us or another primary. */
static void give_up_in_log(struct cluster *cluster, uint64_t until_ns, const char *sentence)
{
    for (uint64_t psn = cluster->applied + 1; psn <= cluster->last_psn; psn++) {
        struct entry *entry = cluster__entry(cluster, psn);
        struct proposal *proposal = entry != NULL ? entry->proposal : NULL;
        if (proposal == NULL || proposal->deadline_ns > until_ns)
            continue;
        entry->proposal = NULL;
        proposal->entry = NULL; /* its data is the log's */
        fail(cluster, proposal, ERR_BUSY, sentence);
    }
}

void cluster__lost_lead(struct cluster *cluster)
{
    give_up_in_log(cluster, UINT64_MAX, UNKNOWN);
}

void cluster__lost_peer(struct cluster *cluster, struct peer *peer)
{
    LIST_EACH (&peer->proposals, node)
        fail(cluster, LIST_ENTRY(node, struct proposal, link), ERR_BUSY, UNKNOWN);
    LIST_EACH (&cluster->waiting, node) {
        struct proposal *proposal = LIST_ENTRY(node, struct proposal, link);
        if (proposal->m == NULL && proposal->origin == peer->index)
            fail(cluster, proposal, ERR_BUSY, UNKNOWN);
    }
}

/* What kept it from a place in the log for so long. */
static const char *why_it_waited(struct cluster *cluster, const struct proposal *proposal)
{
    if (primary_of(cluster) != NULL)
        return "the connection to the primary takes no more changes now";
    if (!is_open(cluster))
        return cluster->sentence[0] ? cluster->sentence : "no primary takes changes now";
    if (body_of(cluster, proposal) != INCOMING_COMPLETE)
        return "the bytes have not come to the primary whole: nothing was changed, try again";
    return "the log has no room: the replicas in sync do not follow";
}

/* The oldest come first, and all of a list may wait equally long. */
static void expire(struct cluster *cluster, struct list *list)
{
    uint64_t now_ns = cluster__now(cluster);
    LIST_EACH (list, node) {
        struct proposal *proposal = LIST_ENTRY(node, struct proposal, link);
        if (proposal->deadline_ns > now_ns)
            break;
        fail(cluster, proposal, ERR_BUSY,
             proposal->is_waiting ? why_it_waited(cluster, proposal) : UNKNOWN);
    }
}

void cluster__expire_proposals(struct cluster *cluster)
{
    expire(cluster, &cluster->waiting);
    for (unsigned i = 0; i < cluster->node_count; i++)
        expire(cluster, &cluster->peers[i].proposals);
    give_up_in_log(cluster, cluster__now(cluster),
                   "the replicas in sync have not followed: the change may have been made or not");
}

void cluster__refuse_all(struct cluster *cluster, enum err e)
{
    LIST_EACH (&cluster->waiting, node)
        fail(cluster, LIST_ENTRY(node, struct proposal, link), e, cluster->sentence);
    for (unsigned i = 0; i < cluster->node_count; i++)
        LIST_EACH (&cluster->peers[i].proposals, node)
            fail(cluster, LIST_ENTRY(node, struct proposal, link), e, UNKNOWN);
    cluster__lost_lead(cluster);
}
