#include "replication/cluster_priv.h"

#include "base/log.h"

/*
 * A primary's own log must go on, or nothing does, not even the deletions that would make room. A
 * record that does not come to this disk, because its data went with a refusal and nobody else has
 * it, or because the volume is full by now, is left to a new term, which begins in front of it. A
 * disk that does not take a term's barrier either, or what is committed, is no primary's, nor is
 * one that does not answer at all.
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

/* ---- not leading, and leading again ---- */

static void note_no_log(struct cluster *cluster, enum no_log no_log, const char *why)
{
    char sentence[200];
    if (cluster->no_log == no_log)
        return;
    if (no_log == NO_LOG_HANGS)
        cluster->before_hang = cluster->no_log;
    else
        snprintf(cluster->no_log_text, sizeof cluster->no_log_text, "%s", why);
    cluster->no_log = no_log;
    cluster->has_appended = false;
    cluster->stands_late = false;
    atomic_store(&cluster->disk_hangs, no_log == NO_LOG_HANGS);
    cluster__say_no_log(cluster, sentence);
    LOG(LOG_ERROR, "replication", "%s%s",
        no_log == NO_LOG_HANGS ? "" : "this node does not lead: ", sentence);
}

static void resign(struct cluster *cluster, enum no_log no_log, const char *why)
{
    note_no_log(cluster, no_log, why);
    if (cluster->has_config)
        pg_resign(&cluster->pg, cluster__now(cluster));
}

static void may_lead(struct cluster *cluster)
{
    if (cluster->pg.has_resigned)
        LOG(LOG_INFO, "replication", "the disk takes changes again: this node may lead");
    cluster->stands_late = false;
    pg_stand(&cluster->pg, cluster__now(cluster));
}

/* What a disk took no records for, before it hung, may be as it was. */
static void stand(struct cluster *cluster)
{
    bool hung = cluster->no_log == NO_LOG_HANGS;
    cluster->no_log = hung ? cluster->before_hang : NO_LOG_FINE;
    atomic_store(&cluster->disk_hangs, false);
    cluster->stands_late = hung && cluster->no_log == NO_LOG_FINE;
    if (hung)
        LOG(LOG_INFO, "replication", "the disk answers again");
    else
        may_lead(cluster);
}

unsigned cluster__others_up(const struct cluster *cluster)
{
    unsigned up = 0;
    for (unsigned i = 0; i < cluster->node_count; i++)
        up += cluster->peers[i].is_up;
    return up;
}

/* ---- a disk that refuses ---- */

static void mend_stuck(struct cluster *cluster)
{
    const struct log_item *head = long_stuck(cluster);
    if (head == NULL || cluster->pg.role == PG_FOLLOWER)
        return;
    const struct entry *entry = head->is_save ? NULL : CONTAINER_OF(head, struct entry, item);
    bool can_be_left = entry != NULL && entry->record != NULL && entry->psn > cluster->pg.d.commit;
    if (can_be_left && 1 + cluster__others_up(cluster) > cluster->node_count / 2) {
        LOG_LIMITED(LOG_WARN, "replication",
                    "record %llu is left out: it does not come to the disk",
                    (unsigned long long)entry->psn);
        pg_lead_anew(&cluster->pg, cluster__now(cluster));
    } else if (!can_be_left && cluster->refusal[0] != '\0') {
        resign(cluster, NO_LOG_REFUSED, cluster->refusal);
    }
}

/* ---- a disk that hangs ---- */

/* What a tick that came late adds at most: while this process, or its machine, stood still nobody
 * could hear the disk answer. */
#define LOOK_MAX_NS (10 * CLUSTER_TICK_NS)

static uint64_t waits_for(uint64_t owed, uint64_t owed_before, uint64_t waited_ns, uint64_t look_ns)
{
    return owed != 0 && owed == owed_before ? waited_ns + look_ns : 0;
}

static void look_at_disk(struct cluster *cluster)
{
    struct volume_owed owed, before = cluster->disk_watch.owed;
    uint64_t now_ns = cluster__now(cluster), look_ns = now_ns - cluster->disk_watch.looked_ns;
    look_ns = look_ns < LOOK_MAX_NS ? look_ns : LOOK_MAX_NS;
    volume_owed(cluster->volume, &owed);
    uint64_t batch_ns = waits_for(owed.batch, before.batch, cluster->disk_watch.batch_ns, look_ns);
    uint64_t bodies_ns =
        waits_for(owed.bodies, before.bodies, cluster->disk_watch.bodies_ns, look_ns);
    cluster->disk_watch.owed = owed;
    cluster->disk_watch.looked_ns = now_ns;
    cluster->disk_watch.batch_ns = batch_ns;
    cluster->disk_watch.bodies_ns = bodies_ns;
    cluster->disk_watch.waits_ns = batch_ns > bodies_ns ? batch_ns : bodies_ns;
    bool is_slow = cluster->disk_watch.waits_ns >= cluster->options.disk_timeout_ns / 4;
    cluster->disk_watch.calm_ns = is_slow ? 0 : cluster->disk_watch.calm_ns + look_ns;
}

static bool disk_hangs(const struct cluster *cluster)
{
    return cluster->disk_watch.waits_ns >= cluster->options.disk_timeout_ns;
}

/* A disk that hangs again and again would take the lead back each time that it answers, before
 * another node could have it: that takes a promise's lease and its grace. */
static bool answers_well(const struct cluster *cluster)
{
    const struct pg_times *times = &cluster->pg.options.times;
    uint64_t half_ns = cluster->options.disk_timeout_ns / 2;
    uint64_t handover_ns = 2 * (times->lease_ns + times->grace_ns);
    return cluster->disk_watch.calm_ns >= (half_ns > handover_ns ? half_ns : handover_ns);
}

/* The others need a majority for the register without this node, whose vote would wait for the
 * disk, and one of them must have all that was acknowledged. */
static bool others_may_lead(const struct cluster *cluster)
{
    bool has_one_in_sync = false;
    for (unsigned i = 0; i < cluster->node_count; i++)
        has_one_in_sync |= cluster->peers[i].is_up && pg_mask_has(cluster->pg.d.config.in_sync, i);
    return has_one_in_sync && cluster__others_up(cluster) > cluster->node_count / 2;
}

/*
 * A primary that nobody can follow keeps its place: writes end neither way, and the others' disks
 * can be read as long as there is a primary to ask what is committed.
 */
static void leave_hanging(struct cluster *cluster)
{
    if (cluster->has_config && (cluster->pg.role == PG_FOLLOWER || others_may_lead(cluster)))
        pg_resign(&cluster->pg, cluster__now(cluster));
    note_no_log(cluster, NO_LOG_HANGS, "");
}

enum err cluster_judge_disk(struct cluster *cluster, struct err_trail *trail)
{
    return atomic_load(&cluster->disk_hangs)
               ? err_say(trail, ERR_BUSY, "the disk of this node does not answer")
               : ERR_OK;
}

/* A disk that hung goes on with the first answer: what comes to the log may be long in coming. */
static bool takes_again(const struct cluster *cluster)
{
    switch (cluster->no_log) {
    case NO_LOG_FINE:
    case NO_LOG_DAMAGED:
        return false;
    case NO_LOG_REFUSED:
        return cluster->has_appended;
    case NO_LOG_HANGS:
        return true;
    }
    return false;
}

void cluster__watch_log(struct cluster *cluster)
{
    struct err_trail trail = {0};
    enum err e = volume_judge_log(cluster->volume, &trail);
    look_at_disk(cluster);
    if (e == ERR_VOLUME_FAILED)
        cluster__stop(cluster, e,
                      "start this node again, and with an empty disk if that does not help, which "
                      "the others fill (%s)",
                      err_trail_text(&trail, e));
    else if (e)
        resign(cluster, NO_LOG_DAMAGED, err_trail_text(&trail, e));
    else if (disk_hangs(cluster))
        leave_hanging(cluster);
    else if (takes_again(cluster))
        stand(cluster);
    else if (cluster->stands_late && answers_well(cluster))
        may_lead(cluster);
    else if (cluster->has_config)
        mend_stuck(cluster);
}
