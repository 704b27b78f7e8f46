#include "replication/cluster_priv.h"

#include "base/log.h"

/*
 * A primary's own log must go on, or nothing does, not even the deletions that would make room. A
 * record that does not come to this disk, because its data went with a refusal and nobody else has
 * it, or because the volume is full by now, is left to a new term, which begins in front of it. A
 * disk that does not take a term's barrier either, or what is committed, is no primary's.
 */

/* What has been at the head of the line for too long; NULL: it goes on, or is being written. */
static const struct log_item *long_stuck(struct cluster *cluster)
{
    bool is_waiting = cluster->stuck != NULL && !list_is_empty(&cluster->to_log) &&
                      list_is_empty(&cluster->in_log) && list_is_empty(&cluster->refused) &&
                      list_first(&cluster->to_log) == &cluster->stuck->link;
    bool is_long = cluster__now(cluster) - cluster->stuck_since_ns >= CLUSTER_STUCK_NS;
    return is_waiting && is_long ? cluster->stuck : NULL;
}

static void resign(struct cluster *cluster, bool is_lasting, const char *why)
{
    char sentence[200];
    if (cluster->no_log[0] != '\0')
        return;
    snprintf(cluster->no_log, sizeof cluster->no_log, "%s", why);
    cluster->is_lasting = is_lasting;
    cluster->has_appended = false;
    cluster__say_no_log(cluster, sentence);
    LOG(LOG_ERROR, "replication", "this node does not lead: %s", sentence);
    if (cluster->has_config)
        pg_resign(&cluster->pg, cluster__now(cluster));
}

static void stand(struct cluster *cluster)
{
    LOG(LOG_INFO, "replication", "the disk takes changes again: this node may lead");
    cluster->no_log[0] = '\0';
    pg_stand(&cluster->pg, cluster__now(cluster));
}

static bool has_majority(const struct cluster *cluster)
{
    unsigned there = 1;
    for (unsigned i = 0; i < cluster->node_count; i++)
        there += cluster->peers[i].is_up;
    return there > cluster->node_count / 2;
}

static void mend_stuck(struct cluster *cluster)
{
    const struct log_item *head = long_stuck(cluster);
    if (head == NULL || cluster->pg.role == PG_FOLLOWER)
        return;
    const struct entry *entry = head->is_save ? NULL : CONTAINER_OF(head, struct entry, item);
    bool can_be_left = entry != NULL && entry->record != NULL && entry->psn > cluster->pg.d.commit;
    if (can_be_left && has_majority(cluster)) {
        LOG_LIMITED(LOG_WARN, "replication",
                    "record %llu is left out: it does not come to the disk",
                    (unsigned long long)entry->psn);
        pg_lead_anew(&cluster->pg, cluster__now(cluster));
    } else if (!can_be_left && cluster->refusal[0] != '\0') {
        resign(cluster, false, cluster->refusal);
    }
}

void cluster__watch_log(struct cluster *cluster)
{
    struct err_trail trail = {0};
    enum err e = volume_judge_log(cluster->volume, &trail);
    if (e == ERR_VOLUME_FAILED)
        cluster__stop(cluster, e,
                      "start this node again, and with an empty disk if that does not help, which "
                      "the others fill (%s)",
                      err_trail_text(&trail, e));
    else if (e)
        resign(cluster, true, err_trail_text(&trail, e));
    else if (cluster->no_log[0] != '\0' && cluster->has_appended)
        stand(cluster);
    else if (cluster->has_config)
        mend_stuck(cluster);
}
