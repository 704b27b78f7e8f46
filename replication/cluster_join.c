#include "replication/cluster_priv.h"

#include "base/log.h"

/*
 * Between pg and the register of the nodes themselves (register_quorum.h). A cluster is founded by
 * its lowest number: when the register is empty and all nodes vote, that is when each has heard all
 * others for the first time, it enters itself as primary and the only one in sync. The others
 * follow from record 1 and are put in as any replica is.
 */

#define READ_AGAIN_NS (300 * NS_PER_MS)

/* ---- pg begins ---- */

static void begin(struct cluster *cluster, const struct pg_durable *restored, bool is_new_disk)
{
    struct pg_options options = {
        .ops = &cluster__pg_ops,
        .context = cluster,
        .times = pg_times_default,
        .self = cluster->self,
        .node_count = cluster->node_count,
        .in_sync_min = (uint8_t)cluster->options.in_sync_min,
        .nonce_seed = rand_u64(cluster->rand),
        .is_new_disk = is_new_disk,
    };
    cluster->saved = *restored;
    pg_init(&cluster->pg, &options, restored, cluster__now(cluster));
    pg_applied(&cluster->pg, cluster->applied);
    if (cluster->no_log != NO_LOG_FINE || cluster->stands_late)
        pg_resign(&cluster->pg, cluster__now(cluster));
    cluster->has_config = true;
}

/* ---- whose disk is whose ---- */

static bool is_known_disk(const struct quorum_value *value, unsigned index, const uint8_t disk[16])
{
    return memcmp(value->disks[index], disk, sizeof value->disks[index]) == 0;
}

bool cluster__is_registered(const struct cluster *cluster, unsigned index, const uint8_t disk[16])
{
    return cluster->value.config.epoch > 0 && is_known_disk(&cluster->value, index, disk);
}

/* A node in sync that came back with another disk has nothing of what it is counted for. */
void cluster__look_at_disks(struct cluster *cluster)
{
    for (unsigned i = 0; i < cluster->node_count; i++) {
        const struct peer *peer = &cluster->peers[i];
        bool is_in = pg_mask_has(cluster->value.config.in_sync, i);
        if (i != cluster->self && is_in && peer->is_up && peer->has_disk &&
            !is_known_disk(&cluster->value, i, peer->disk))
            pg_peer_disk_changed(&cluster->pg, (uint8_t)i);
    }
}

/* Who comes in comes with the disk it has now; who is in keeps the one that it came with. */
static uint8_t enter_disks(const struct cluster *cluster, struct quorum_value *next)
{
    uint8_t come_in = next->config.in_sync & (uint8_t)~cluster->pg.d.config.in_sync, entered = 0;
    for (unsigned i = 0; i < cluster->node_count; i++) {
        const struct peer *peer = &cluster->peers[i];
        if (!pg_mask_has(come_in, i) || !(i == cluster->self || peer->has_disk))
            continue;
        memcpy(next->disks[i], i == cluster->self ? cluster->disk : peer->disk,
               sizeof next->disks[i]);
        entered |= (uint8_t)(1u << i);
    }
    return entered;
}

/* ---- asking the register ---- */

/* A swap in doubt is asked for again, the same to the last bit. */
void cluster__swap(struct cluster *cluster, const struct pg_config *next)
{
    if (next->nonce != cluster->wanted.config.nonce) {
        cluster->wanted = (struct quorum_value){.config = *next};
        cluster->wanted_disks = enter_disks(cluster, &cluster->wanted);
    }
    quorum_swap(&cluster->quorum, cluster__now(cluster), &cluster->wanted, cluster->wanted_disks);
}

uint8_t cluster__not_voting(const struct cluster *cluster)
{
    return (uint8_t)(((1u << cluster->node_count) - 1) & ~quorum_voters(&cluster->quorum));
}

void cluster__read_config(struct cluster *cluster)
{
    quorum_read(&cluster->quorum, cluster__now(cluster));
}

static void found(struct cluster *cluster)
{
    struct quorum_value first = {.config = {
                                     .epoch = 1,
                                     .term = 1,
                                     .nonce = rand_u64(cluster->rand),
                                     .primary = cluster->self,
                                     .in_sync = (uint8_t)(1u << cluster->self),
                                 }};
    memcpy(first.disks[cluster->self], cluster->disk, sizeof cluster->disk);
    cluster->is_founding = true;
    LOG(LOG_INFO, "replication", "all nodes are there and none knows a group: founding one");
    quorum_swap(&cluster->quorum, cluster__now(cluster), &first, (uint8_t)(1u << cluster->self));
}

/*
 * pg begins with the first record that is read, in every life: only the register knows whether what
 * is on this disk is what the group counts on. A node that had begun to be filled and was restarted
 * has a log, and may lack what was committed all the same.
 */
static void learned(struct cluster *cluster, const struct quorum_value *value)
{
    if (value->config.epoch >= cluster->value.config.epoch)
        cluster->value = *value;
    bool is_new_disk = !is_known_disk(value, cluster->self, cluster->disk);
    if (cluster->copy.is_on)
        return; /* it begins when this node is filled */
    if (!cluster->has_config) {
        struct pg_durable restored = {.config = value->config};
        if (cluster->has_saved_pg)
            restored = cluster->saved;
        begin(cluster, &restored, is_new_disk);
    } else if (!is_new_disk) {
        pg_disk_known(&cluster->pg);
    }
}

/* ---- its answers ---- */

static void op_send(void *context, uint8_t to, const struct quorum_message *message)
{
    struct cluster *cluster = context;
    uint8_t bytes[LINK_CTL_BYTES_MAX];
    cluster__ctl(&cluster->peers[to], bytes, message_quorum_encode(message, bytes));
}

static void op_save(void *context, uint64_t version, const struct quorum_state *state)
{
    struct cluster *cluster = context;
    cluster->saved_quorum = *state;
    cluster->quorum_version = version;
    cluster__save(cluster, cluster->last_psn); /* the log stays as it is */
}

/* The register may not be called back from its effects, and pg may call it: so what it says waits
 * for the end of its step. */
static void op_swapped(void *context, uint64_t nonce, enum pg_swap outcome,
                       const struct quorum_value *value)
{
    struct cluster *cluster = context;
    cluster->answer.has_swapped = true;
    cluster->answer.nonce = nonce;
    cluster->answer.outcome = outcome;
    if (value != NULL)
        cluster->answer.swapped = *value;
}

static void op_read(void *context, const struct quorum_value *value)
{
    struct cluster *cluster = context;
    cluster->answer.has_read = true;
    cluster->answer.read = *value;
}

static void take_swapped(struct cluster *cluster, const struct cluster_answer *answer)
{
    bool had_config = cluster->has_config;
    cluster->is_founding = false;
    if (answer->outcome != PG_SWAP_UNKNOWN)
        learned(cluster, &answer->swapped);
    if (had_config && answer->nonce == cluster->pg.wanted.nonce)
        pg_swapped(&cluster->pg, cluster__now(cluster), answer->outcome, &answer->swapped.config);
    if (cluster->has_config)
        cluster__look_at_disks(cluster);
}

static void take_read(struct cluster *cluster, const struct quorum_value *value)
{
    if (value->config.epoch == 0) {
        bool is_to_found = cluster->self == 0 && !cluster->has_config && !cluster->is_founding;
        if (is_to_found && cluster__not_voting(cluster) == 0)
            found(cluster);
        return;
    }
    learned(cluster, value);
    if (!cluster->has_config)
        return;
    pg_config_read(&cluster->pg, cluster__now(cluster), &value->config);
    cluster__look_at_disks(cluster);
}

void cluster__register_answered(struct cluster *cluster)
{
    while (cluster->answer.has_swapped || cluster->answer.has_read) {
        struct cluster_answer answer = cluster->answer;
        cluster->answer.has_swapped = cluster->answer.has_read = false;
        if (answer.has_swapped)
            take_swapped(cluster, &answer);
        if (answer.has_read)
            take_read(cluster, &answer.read);
    }
}

const struct quorum_ops cluster__quorum_ops = {
    .send = op_send,
    .save = op_save,
    .swapped = op_swapped,
    .read = op_read,
};

void cluster__join_tick(struct cluster *cluster)
{
    quorum_tick(&cluster->quorum, cluster__now(cluster));
    cluster__register_answered(cluster);
    if (cluster->has_config) {
        cluster__look_at_disks(cluster);
        return;
    }
    uint64_t now_ns = cluster__now(cluster);
    if (now_ns < cluster->read_due_ns)
        return;
    cluster->read_due_ns = now_ns + READ_AGAIN_NS;
    quorum_read(&cluster->quorum, now_ns);
    cluster__register_answered(cluster);
}

void cluster__register_open(struct cluster *cluster)
{
    struct quorum_options options = {
        .ops = &cluster__quorum_ops,
        .context = cluster,
        .times = quorum_times_default,
        .self = cluster->self,
        .node_count = cluster->node_count,
        .seed = rand_u64(cluster->rand),
    };
    quorum_init(&cluster->quorum, &options, &cluster->saved_quorum, cluster__now(cluster));
}

void cluster__register_received(struct cluster *cluster, struct peer *peer,
                                const struct quorum_message *message)
{
    quorum_receive(&cluster->quorum, cluster__now(cluster), peer->index, message);
    cluster__register_answered(cluster);
    cluster__after_step(cluster);
}
