#include "replication/cluster_priv.h"

#include <stdlib.h>

#include "base/log.h"

/* What goes to peers and what comes from them. */

static struct peer *peer_of(struct link *link)
{
    return link_user(link);
}

bool cluster__ctl(struct peer *peer, const void *data, size_t size)
{
    return peer->link != NULL && peer->is_up && link_ctl(peer->link, data, size) == ERR_OK;
}

bool cluster__message(struct peer *peer, uint8_t kind, const struct bytes *parts,
                      unsigned part_count)
{
    return peer->link != NULL && peer->is_up &&
           link_message(peer->link, kind, parts, part_count) == ERR_OK;
}

/* ---- out: pg's messages ---- */

void cluster__send(struct cluster *cluster, uint8_t to, const struct pg_message *message)
{
    struct peer *peer = &cluster->peers[to];
    if (!peer->is_up)
        return;
    if (message->type == PG_NEW_TERM) {
        uint8_t bytes[MESSAGE_NEW_TERM_BYTES_MAX];
        struct bytes part = bytes_of(bytes, message_new_term_encode(message, bytes));
        cluster__message(peer, MESSAGE_NEW_TERM, &part, 1);
        return;
    }
    uint8_t bytes[LINK_CTL_BYTES_MAX];
    size_t size = message_pg_encode(message, bytes);
    bool was_sent = cluster__ctl(peer, bytes, size);
    bool tells = message->type == PG_BEACON || message->type == PG_COMMIT;
    if (was_sent && tells && message->commit > peer->told_commit)
        peer->told_commit = message->commit;
}

static bool send_append(struct cluster *cluster, struct peer *peer, uint64_t psn, uint64_t term,
                        struct bytes record, struct bytes inline_bytes)
{
    struct pg_message message;
    pg_append_message(&cluster->pg, psn, term, NULL, &message);
    uint8_t head[MESSAGE_APPEND_BYTES];
    message_append_encode(&message, record.size, inline_bytes.size, head);
    struct bytes parts[] = {bytes_of(head, sizeof head), record, inline_bytes};
    bool was_sent = cluster__message(peer, MESSAGE_APPEND, parts, 3);
    if (was_sent && message.commit > peer->told_commit)
        peer->told_commit = message.commit;
    return was_sent;
}

static bool send_entry(struct cluster *cluster, struct peer *peer, const struct entry *entry)
{
    struct bytes inline_bytes = {0};
    if (entry->inline_bytes != NULL)
        inline_bytes = bytes_of(entry->inline_bytes, entry->data.size);
    return send_append(cluster, peer, entry->psn, entry->term,
                       bytes_of(entry->record, entry->record_size), inline_bytes);
}

/* ---- records that are no longer in memory: read on the pool, some at a time ---- */

/* Small data goes along, as it does with a new record: a question for each would make the way back
 * a long one. */
static void load_inline(struct volume *volume, const struct log_row *row, uint8_t **ret_bytes)
{
    struct object *object;
    struct read_plan plan;
    struct read_span span;
    *ret_bytes = NULL;
    if (!row->data.is_inline || volume_data_lookup(volume, row->data.id, &object) != ERR_OK)
        return; /* gone, perhaps: the peer asks, and is told */
    read_plan_open(&plan, object, 0, row->data.size);
    object_put(object);
    enum err e = read_plan_load(&plan);
    if (e == ERR_OK)
        e = read_plan_span(&plan, &span);
    if (e == ERR_OK && span.inline_data != NULL && span.size == row->data.size)
        *ret_bytes = malloc(row->data.size);
    if (*ret_bytes != NULL)
        memcpy(*ret_bytes, span.inline_data, row->data.size);
    read_plan_close(&plan);
}

static void load_run(struct work *work)
{
    struct peer *peer = CONTAINER_OF(work, struct peer, load.work);
    uint64_t bytes = 0;
    peer->load.row_count = 0;
    peer->load.err = ERR_OK;
    for (uint64_t psn = peer->load.next; psn <= peer->load.upto && bytes < CLUSTER_LOAD_BYTES_MAX &&
                                         peer->load.row_count < CLUSTER_LOAD_ROWS;
         psn++) {
        struct log_row *row = &peer->load.rows[peer->load.row_count];
        enum err e = volume_log_read(peer->cluster->volume, psn, row);
        if (e) {
            peer->load.err = e;
            break;
        }
        load_inline(peer->cluster->volume, row, &peer->load.inline_bytes[peer->load.row_count]);
        peer->load.row_count++;
        bytes += row->record.size + (row->data.is_inline ? row->data.size : 0);
    }
}

static void load_done(struct work *work);

static void load_next(struct cluster *cluster, struct peer *peer)
{
    if (!peer->load.is_wanted || peer->load.is_running || !peer->is_up)
        return;
    peer->load.is_wanted = false;
    peer->load.is_running = true;
    peer->load.next = peer->load.from;
    peer->load.upto = peer->load.to;
    peer->load.work = (struct work){.run = load_run, .done = load_done, .loop = cluster->loop};
    work_submit(cluster->work_pool, &peer->load.work);
}

/* What it lacks was trimmed here: only a copy can fill it. */
static void say_too_old(struct cluster *cluster, struct peer *peer, uint64_t psn)
{
    struct log_range range;
    volume_log_range(cluster->volume, &range);
    if (psn >= range.first || cluster->pg.role == PG_FOLLOWER)
        return;
    struct message_too_old old = {.epoch = cluster->pg.d.config.epoch, .first = range.first};
    uint8_t bytes[LINK_CTL_BYTES_MAX];
    cluster__ctl(peer, bytes, message_too_old_encode(&old, bytes)); /* lost: said again */
}

static void load_done(struct work *work)
{
    struct peer *peer = CONTAINER_OF(work, struct peer, load.work);
    struct cluster *cluster = peer->cluster;
    peer->load.is_running = false;
    bool may_send = peer->is_up && cluster->has_config && !cluster->is_stopped;
    uint64_t sent = peer->load.next - 1;
    for (unsigned i = 0; i < peer->load.row_count; i++) {
        struct log_row *row = &peer->load.rows[i];
        struct bytes inline_bytes = {0};
        if (peer->load.inline_bytes[i] != NULL)
            inline_bytes = bytes_of(peer->load.inline_bytes[i], row->data.size);
        may_send =
            may_send && send_append(cluster, peer, row->psn, row->term, row->record, inline_bytes);
        if (may_send)
            sent = row->psn;
        free(peer->load.inline_bytes[i]);
        log_row_fini(row);
    }
    if (peer->load.err == ERR_NO_SUCH_OBJECT && may_send)
        say_too_old(cluster, peer, sent + 1);
    else if (peer->load.err)
        LOG_LIMITED(LOG_WARN, "replication", "record %llu cannot be read for node %u: %s",
                    (unsigned long long)(sent + 1), peer->node, err_text(peer->load.err));
    bool goes_on =
        may_send && peer->load.err == ERR_OK && sent < peer->load.upto && !peer->load.is_wanted;
    if (goes_on) {
        peer->load.from = sent + 1;
        peer->load.to = peer->load.upto;
        peer->load.is_wanted = true;
    }
    load_next(cluster, peer);
}

void cluster__send_records(struct cluster *cluster, uint8_t to, uint64_t from_psn, uint64_t to_psn)
{
    struct peer *peer = &cluster->peers[to];
    if (!peer->is_up)
        return;
    for (uint64_t psn = from_psn; psn <= to_psn; psn++) {
        const struct entry *entry = cluster__entry(cluster, psn);
        if (entry != NULL && !peer->load.is_running) {
            if (!send_entry(cluster, peer, entry))
                return; /* a gap, which it reports */
            continue;
        }
        /* What is asked for last is what it lacks now. */
        peer->load.from = psn;
        peer->load.to = to_psn;
        peer->load.is_wanted = true;
        load_next(cluster, peer);
        return;
    }
}

/* ---- in ---- */

static enum err admit(void *context, uint32_t node, const uint8_t disk[16], struct err_trail *trail)
{
    struct cluster *cluster = context;
    if (memcmp(disk, cluster->disk, 16) == 0)
        return err_say(trail, ERR_DENIED,
                       "node %u has the very volume of this node: a copied directory?", node);
    for (unsigned i = 0; i < cluster->node_count; i++) {
        const struct peer *peer = &cluster->peers[i];
        if (peer->node == node && peer->is_up && memcmp(disk, peer->disk, 16) != 0 &&
            !cluster__is_registered(cluster, i, disk)) /* or who came first kept that one out */
            return err_say(trail, ERR_DENIED,
                           "node %u is there already, with another volume: give each node a number "
                           "of its own",
                           node);
    }
    return ERR_OK; /* whose disk it is counts from up() on, with what it says */
}

static void up(void *context, struct link *link)
{
    struct cluster *cluster = context;
    struct peer *peer = peer_of(link);
    struct link_status status;
    link_status(link, &status);
    const uint8_t *disk = link_disk(link);
    peer->is_other_disk |= peer->has_disk && memcmp(peer->disk, disk, 16) != 0;
    memcpy(peer->disk, disk, 16);
    peer->has_disk = true;
    hex_encode(disk, 16, peer->disk_text);
    peer->is_up = true;
    peer->backend = status.backend;
    peer->heard_ns = cluster__now(cluster);
    peer->told_commit = 0;
    peer->read.is_asked = false;
    peer->load.is_wanted = false;
    cluster->copy.told_ns = 0; /* at the next turn, to who has come, too */
    LOG(LOG_INFO, "replication", "node %u is there", peer->node);
    if (cluster->has_config && peer->is_other_disk)
        pg_peer_disk_changed(&cluster->pg, peer->index); /* in sync or not: what it had is gone */
    peer->is_other_disk = false;
    if (cluster->has_config)
        cluster__look_at_disks(cluster); /* before anything it says counts */
    cluster__look_at_proposals(cluster);
    cluster__after_step(cluster);
}

static void down(void *context, struct link *link, const char *sentence)
{
    struct cluster *cluster = context;
    struct peer *peer = peer_of(link);
    if (!peer->is_up)
        return;
    peer->is_up = false;
    LOG(LOG_WARN, "replication", "node %u is lost: %s", peer->node, sentence);
    incoming_link_down(cluster->incoming, link);
    pull_link_down(cluster->pull, link);
    repair_link_down(cluster->repair, link);
    cluster__copy_link_down(cluster, peer);
    cluster__copy_serve_down(peer);
    cluster__lost_peer(cluster, peer);
    cluster__pump_log(cluster);
}

static void take_pg(struct cluster *cluster, struct peer *peer, const struct pg_message *message)
{
    if (!cluster->has_config || cluster->is_stopped)
        return;
    pg_receive(&cluster->pg, cluster__now(cluster), peer->index, message);
    cluster__after_step(cluster);
}

static void ctl(void *context, struct link *link, const uint8_t *data, size_t size)
{
    struct cluster *cluster = context;
    struct peer *peer = peer_of(link);
    peer->heard_ns = cluster__now(cluster);
    struct message message;
    if (message_decode(bytes_of(data, size), cluster->node_count, &message) != ERR_OK) {
        link_violated(link, "a message that is none");
        return;
    }
    switch (message.type) {
    case MESSAGE_PG:
        take_pg(cluster, peer, &message.pg);
        break;
    case MESSAGE_QUORUM:
        if (!cluster->is_stopped)
            cluster__register_received(cluster, peer, &message.quorum);
        break;
    case MESSAGE_READ_INDEX:
        cluster__read_asked(cluster, peer, &message.read_index);
        break;
    case MESSAGE_READ_INDEX_OK:
        cluster__read_answered(cluster, peer, &message.read_index_ok);
        break;
    case MESSAGE_PULL:
        pull_asked(cluster->pull, link, &message.pull, cluster->applied);
        break;
    case MESSAGE_PULL_ANSWER:
        pull_answered(cluster->pull, link, &message.pull_answer);
        break;
    case MESSAGE_DROP:
        incoming_disown(cluster->incoming, message.drop);
        break;
    case MESSAGE_FETCH:
        repair_asked(cluster->repair, link, &message.fetch);
        break;
    case MESSAGE_TOO_OLD:
        cluster__too_old(cluster, peer, &message.too_old);
        break;
    case MESSAGE_COPY_LOST:
        cluster__copy_lost(cluster, peer, message.copy_lost);
        break;
    case MESSAGE_COPY_STATE:
        cluster__copy_state_told(peer, &message.copy_state);
        break;
    case MESSAGE_PING:
        break; /* it is there: that was all */
    }
}

static void append(struct cluster *cluster, struct peer *peer, struct bytes body)
{
    struct pg_message message;
    struct message_record record;
    if (message_append_decode(body, cluster->node_count, &message, &record) != ERR_OK) {
        link_violated(peer->link, "a record that is none");
        return;
    }
    /* Room is kept for the barriers of terms that this node may have to open. */
    if (!cluster->has_config || cluster->is_stopped ||
        !cluster__has_room(cluster, message.psn + PG_WINDOW))
        return; /* it comes again */
    struct entry *entry =
        cluster__entry_new(cluster, record.record, &record.head.data, record.inline_bytes);
    if (entry == NULL)
        return;
    message.record = entry;
    take_pg(cluster, peer, &message);
    if (entry->psn == 0) /* not the next one, or not of our primary */
        cluster__entry_free(entry);
}

static void message(void *context, struct link *link, uint8_t kind, struct bytes body)
{
    struct cluster *cluster = context;
    struct peer *peer = peer_of(link);
    struct pg_message pg;
    struct message_fetched fetched;
    peer->heard_ns = cluster__now(cluster);
    switch (kind) {
    case MESSAGE_APPEND:
        append(cluster, peer, body);
        break;
    case MESSAGE_NEW_TERM:
        if (message_new_term_decode(body, cluster->node_count, &pg) == ERR_OK)
            take_pg(cluster, peer, &pg);
        else
            link_violated(link, "a new term that is none");
        break;
    case MESSAGE_PROPOSE:
        cluster__proposed_by_peer(cluster, peer, body);
        break;
    case MESSAGE_RESULT:
        cluster__result(cluster, peer, body);
        break;
    case MESSAGE_COPY_ASK:
        cluster__copy_asked(cluster, peer, body);
        break;
    case MESSAGE_COPY_RUN:
        cluster__copy_run(cluster, peer, body);
        break;
    case MESSAGE_FETCHED:
        if (message_fetched_decode(body, &fetched) == ERR_OK)
            repair_answered(cluster->repair, link, &fetched);
        else
            link_violated(link, "fetched bytes that are none");
        break;
    default:
        link_violated(link, "a message of an unknown kind");
    }
}

static void chunk(void *context, struct link *link, const struct link_chunk_head *head,
                  uint8_t *payload, struct link_token token)
{
    struct cluster *cluster = context;
    peer_of(link)->heard_ns = cluster__now(cluster);
    if (cluster->is_stopped)
        link_chunk_done(cluster->links, token, ERR_CLOSED);
    else if (cluster__copy_refuses(cluster, head->data))
        link_chunk_done(cluster->links, token, ERR_BUSY);
    else
        incoming_chunk(cluster->incoming, link, head, payload, token);
}

const struct links_handlers cluster__handlers = {
    .admit = admit,
    .up = up,
    .down = down,
    .ctl = ctl,
    .message = message,
    .chunk = chunk,
};

/* ---- time ---- */

/* One that takes none: its disk hangs, most likely. What waits for it would hold up every body that
 * is stored here. */
static void watch_bodies(struct peer *peer)
{
    if (link_chunks_wait_ns(peer->link) < CLUSTER_BODIES_NS)
        return;
    if (!peer->takes_no_bodies)
        LOG_LIMITED(LOG_WARN, "replication", "node %u takes no bodies: they go on without it",
                    peer->node);
    peer->takes_no_bodies = true;
    peer->places_back = link_chunks_back(peer->link);
    link_chunks_give_up(peer->link);
}

/* A link that brings nothing is one whose other side is stopped or cut off: what waits for it must
 * not wait for ever. */
void cluster__watch_links(struct cluster *cluster)
{
    uint64_t now_ns = cluster__now(cluster);
    for (unsigned i = 0; i < cluster->node_count; i++) {
        struct peer *peer = &cluster->peers[i];
        if (!peer->is_up)
            continue;
        if (now_ns - peer->heard_ns > CLUSTER_SILENCE_NS) {
            link_fence(peer->link, "it was silent for too long");
            continue;
        }
        watch_bodies(peer);
        if (now_ns - peer->pinged_ns < CLUSTER_PING_NS)
            continue;
        peer->pinged_ns = now_ns;
        uint8_t bytes[LINK_CTL_BYTES_MAX];
        cluster__ctl(peer, bytes, message_ping_encode(bytes));
    }
}
