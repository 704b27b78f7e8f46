#include "replication/cluster_priv.h"

#include "base/log.h"
#include "replication/data_way.h"

/* What is committed in the log, into the index. */

void cluster__setting_changed(struct cluster *cluster, struct bytes name)
{
    pthread_mutex_lock(&cluster->watch_lock);
    for (struct setting_watch *watch = cluster->watches; watch != NULL; watch = watch->next)
        if (bytes_start_with(name, watch->prefix))
            watch->changed(watch->context, name);
    pthread_mutex_unlock(&cluster->watch_lock);
}

static void trim(struct cluster *cluster)
{
    uint64_t kept = cluster->options.log_records, every = kept / 16;
    if (every > CLUSTER_TRIM_EVERY)
        every = CLUSTER_TRIM_EVERY;
    if (!cluster->has_config || cluster->applied < cluster->trimmed_at + every)
        return;
    cluster->trimmed_at = cluster->applied;
    /* So that who restarts need not read all of the log for its terms. */
    cluster->saved = cluster->pg.d;
    cluster__save(cluster, cluster->last_psn);
    uint64_t held = cluster__held_log(cluster, cluster__now(cluster));
    volume_log_trim(cluster->volume, data_way_trim_below(cluster->applied, kept, held));
}

/*
 * What is wrong with this node alone is no outcome of the group's. The volume has applied nothing
 * of it, nor of what came behind it: it is given again, from the first that is missing.
 */
static void not_applied(struct cluster *cluster, struct entry *entry, const struct mutation *m)
{
    if (m->err != ERR_CLOSED)
        LOG_LIMITED(LOG_WARN, "replication", "record %llu cannot be applied yet: %s",
                    (unsigned long long)entry->psn, err_trail_text(&m->trail, m->err));
    entry->state = ENTRY_LOGGED;
    record_decoded_free(TAKE(entry->decoded));
    cluster->apply_due_ns = cluster__now(cluster) + CLUSTER_AGAIN_NS;
    if (cluster->applies_pending == 0)
        cluster->applying = cluster->applied;
}

static void applied(struct mutation *m)
{
    struct entry *entry = m->group_private;
    struct cluster *cluster = entry->cluster;
    CHECK(entry->state == ENTRY_APPLYING);
    cluster->applies_pending--;
    if (!mutation_is_outcome(m->err)) {
        not_applied(cluster, entry, m);
        return;
    }
    entry->state = ENTRY_APPLIED;
    cluster->applied = entry->psn;
    bool is_setting = m->kind == MUTATION_SETTING_PUT || m->kind == MUTATION_SETTING_DELETE;
    if (m->err == ERR_OK && is_setting)
        cluster__setting_changed(cluster, m->key);
    cluster__outcome(cluster, entry, m);
    record_decoded_free(TAKE(entry->decoded));
    pg_applied(&cluster->pg, entry->psn);
    cluster__trim_window(cluster);
    trim(cluster);
    cluster__pump_apply(cluster);
    cluster__pump_reads(cluster);
}

static bool apply(struct cluster *cluster, struct entry *entry)
{
    struct decoded *decoded = NULL;
    enum err e = ERR_OK;
    if (entry->record != NULL)
        e = record_decode(bytes_of(entry->record, entry->record_size), &decoded);
    else
        decoded = record_decoded_barrier();
    if (decoded == NULL && e != ERR_CORRUPT && e != ERR_FORMAT_NEWER) { /* no memory: later */
        cluster->apply_due_ns = cluster__now(cluster) + CLUSTER_AGAIN_NS;
        return false;
    }
    if (e) {
        cluster__stop(cluster, e, "record %llu of the log is not one",
                      (unsigned long long)entry->psn);
        return false;
    }
    entry->decoded = decoded;
    entry->state = ENTRY_APPLYING;
    struct mutation *m = &decoded->m;
    m->magic = MUTATION_MAGIC;
    m->is_logged = true;
    m->psn = entry->psn;
    m->term = entry->term;
    m->loop = cluster->loop;
    m->done = applied;
    m->group_private = entry;
    cluster->applies_pending++;
    volume_commit(cluster->volume, m);
    return true;
}

void cluster__committed(struct cluster *cluster, uint64_t psn, bool may_acknowledge)
{
    uint32_t copies = (uint32_t)__builtin_popcount(cluster->pg.d.config.in_sync);
    bool by_rdma = false, by_tcp = false;
    for (unsigned i = 0; i < cluster->node_count; i++) {
        const struct peer *peer = &cluster->peers[i];
        bool counts = peer->link != NULL && pg_mask_has(cluster->pg.d.config.in_sync, i);
        by_rdma |= counts && peer->backend == TRANSPORT_VERBS;
        by_tcp |= counts && peer->backend == TRANSPORT_TCP;
    }
    for (uint64_t i = cluster->commit + 1; i <= psn; i++) {
        struct entry *entry = cluster__entry(cluster, i);
        if (entry == NULL)
            continue;
        entry->may_acknowledge = may_acknowledge;
        entry->copies = copies;
        entry->by_rdma = by_rdma;
        entry->by_tcp = by_tcp;
    }
    cluster->commit = psn;
}

void cluster__pump_apply(struct cluster *cluster)
{
    if (cluster__now(cluster) < cluster->apply_due_ns || cluster->is_stopped)
        return;
    while (!cluster->is_stopped && cluster->applying < cluster->commit &&
           cluster->applying - cluster->applied < CLUSTER_APPLY_MAX) {
        struct entry *entry = cluster__entry(cluster, cluster->applying + 1);
        CHECK(entry != NULL);
        if (entry->state != ENTRY_LOGGED || !apply(cluster, entry))
            break;
        cluster->applying++;
    }
}
