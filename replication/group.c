#include "replication/group.h"

#include <pthread.h>
#include <stdlib.h>

#include "base/log.h"
#include "replication/cluster.h"
#include "replication/group_priv.h"
#include "replication/propose_wait.h"
#include "replication/register.h"
#include "storage/log.h"

struct group {
    struct cluster *cluster;     /* owned; NULL: a node alone, which is what the rest is for */
    struct volume *volume;       /* borrowed */
    struct volume *stepped;      /* the same, when nobody else steps it; else NULL */
    struct work_pool *work_pool; /* borrowed */
    struct config_register *reg; /* owned */
    struct config_record config; /* as of group_open; changes only with peers */
    /* Held while a mutation gets its psn and enters the volume: both orders are one. */
    pthread_mutex_t order;
    uint64_t psn; /* last one given; under `order` */
};

/* ---- the term ---- */

/*
 * A restarted primary takes a new term even when nobody else could have taken the group meanwhile:
 * mutations of two lives are never mistaken for each other, and the step is the same one a
 * take-over among peers makes.
 */
static enum err group_open_term(struct group *group, struct rand *rand, struct err_trail *trail)
{
    struct volume_status status;
    volume_status(group->volume, &status);

    struct config_record present;
    enum err e = group->reg->ops->get(group->reg, &present);
    bool is_first = e == ERR_NO_SUCH_KEY_ID;
    if (e && !is_first)
        return err_note(trail, e, "read the group's configuration");
    if (!is_first && memcmp(present.primary, status.uuid, sizeof present.primary) != 0)
        return err_note(trail, ERR_CORRUPT,
                        "the group's configuration names another volume as its primary");

    struct config_record next = {
        .members = 1,
        .epoch = is_first ? 1 : present.epoch + 1,
        .term = is_first ? 1 : present.epoch + 1,
    };
    memcpy(next.primary, status.uuid, sizeof next.primary);
    rand_fill(rand, next.nonce, sizeof next.nonce);
    e = group->reg->ops->swap(group->reg, is_first ? NULL : &present, &next);
    if (e)
        return err_note(trail, e, "open term %llu", (unsigned long long)next.term);
    group->config = next;
    return ERR_OK;
}

/*
 * A volume is a lone node's or one of a cluster, for good. What a node among peers took alone would
 * not be in its log: it could not be that node again, and may lack what the others have committed.
 * And what a lone node has the others would not.
 */
enum err group_judge_volume(struct volume *volume, bool has_peers, struct err_trail *trail)
{
    uint8_t state[LOG_STATE_BYTES_MAX];
    size_t size;
    struct log_range range;
    enum err e = volume_log_state(volume, state, sizeof state, &size);
    if (e && e != ERR_NO_SUCH_OBJECT)
        return err_note(trail, e, "read whether the volume is one of a cluster");
    if (e == ERR_OK && !has_peers)
        return err_say(trail, ERR_INVALID,
                       "this volume is a node's of a cluster: start it with that node's "
                       "configuration, [cluster] and all");
    volume_log_range(volume, &range);
    if (e == ERR_NO_SUCH_OBJECT && has_peers && range.applied > 0)
        return err_say(trail, ERR_INVALID,
                       "this volume is a lone node's, and a node of a cluster begins with an empty "
                       "one: give it another directory, and copy the objects by an S3 client");
    return ERR_OK;
}

enum err group_open(const struct group_options *options, struct group **ret_group,
                    struct err_trail *trail)
{
    CHECK(options->volume != NULL && options->work_pool != NULL);
    CLEANUP(group_close) struct group *group = calloc(1, sizeof *group);
    if (group == NULL)
        return ERR_NO_MEMORY;
    pthread_mutex_init(&group->order, NULL);
    group->volume = options->volume;
    group->stepped = options->volume_is_stepped ? options->volume : NULL;
    group->work_pool = options->work_pool;
    struct rand *rand = options->rand != NULL ? options->rand : rand_system();
    enum err e = group_judge_volume(options->volume, options->peers != NULL, trail);
    if (e)
        return e;
    if (options->peers != NULL) {
        e = cluster_open(&(struct cluster_options){.group = group,
                                                   .volume = group->volume,
                                                   .work_pool = group->work_pool,
                                                   .rand = rand,
                                                   .peers = options->peers},
                         &group->cluster, trail);
        if (e)
            return e;
        *ret_group = TAKE(group);
        return ERR_OK;
    }
    e = config_register_local_open(group->volume, group->stepped, &group->reg);
    if (e)
        return err_note(trail, e, "open the configuration register");
    e = group_open_term(group, rand, trail);
    if (e)
        return e;

    struct volume_status status;
    volume_status(group->volume, &status);
    group->psn = status.last_psn;
    *ret_group = TAKE(group);
    return ERR_OK;
}

void group_close(struct group *group)
{
    if (group == NULL)
        return;
    cluster_close(group->cluster);
    if (group->reg != NULL)
        group->reg->ops->close(group->reg);
    pthread_mutex_destroy(&group->order);
    free(group);
}

void group_status(struct group *group, struct group_status *ret_status)
{
    if (group->cluster != NULL) {
        cluster_status(group->cluster, ret_status);
        return;
    }
    struct volume_status volume;
    volume_status(group->volume, &volume);
    *ret_status = (struct group_status){
        .epoch = group->config.epoch,
        .term = group->config.term,
        .psn_committed = volume.last_psn,
        .members = group->config.members,
        .in_sync = volume.state == VOLUME_FAILED ? 0 : group->config.members,
        .config_register = group->reg->ops->name,
        .is_primary = true,
        .role = volume.state == VOLUME_FAILED ? GROUP_STOPPED : GROUP_PRIMARY,
        .psn_applied = volume.last_psn,
        .psn_last = volume.last_psn,
        .in_sync_min = 1,
    };
}

uint64_t group_memory_bytes(unsigned peers)
{
    return peers > 0 ? cluster_memory_bytes(peers) : 0;
}

const char *group_role_name(enum group_role role)
{
    switch (role) {
    case GROUP_JOINING:
        return "joining";
    case GROUP_COPYING:
        return "copying";
    case GROUP_REPLICA:
        return "replica";
    case GROUP_OPENING:
        return "opening";
    case GROUP_PRIMARY:
        return "primary";
    case GROUP_STOPPED:
        return "stopped";
    }
    return "?";
}

enum err group_wait_ready(struct group *group, uint64_t timeout_ns, struct err_trail *trail)
{
    return group->cluster != NULL ? cluster_wait_ready(group->cluster, timeout_ns, trail) : ERR_OK;
}

/* ---- writing ---- */

enum err group_body_open(struct group *group, const struct body_options *options,
                         struct body **ret_body, struct err_trail *trail)
{
    if (group->cluster != NULL && options->size > INLINE_BYTES_MAX) {
        enum err e = cluster_judge_disk(group->cluster, trail);
        if (e)
            return e;
    }
    return body_open(group->volume, options, ret_body, trail);
}

enum err group_body_write(struct group *group, struct body *body, struct body_write *write,
                          uint8_t *data, uint32_t size, bool last, body_written_fn *written,
                          struct err_trail *trail)
{
    if (group->cluster != NULL)
        return cluster_write(group->cluster, body, write, data, size, last, written, trail);
    return body_write(body, write, data, size, last, written, trail);
}

void group_body_close(struct group *group, struct body *body)
{
    if (group->cluster != NULL)
        cluster_body_close(group->cluster, body);
    else
        body_close(body);
}

void group_propose(struct group *group, struct mutation *m)
{
    if (group->cluster != NULL) {
        cluster_propose(group->cluster, m);
        return;
    }
    m->magic = MUTATION_MAGIC;
    m->term = group->config.term;
    pthread_mutex_lock(&group->order);
    m->psn = ++group->psn;
    volume_commit(group->volume, m);
    pthread_mutex_unlock(&group->order);
}

static void answered(struct loop_msg *msg)
{
    struct mutation *m = CONTAINER_OF(msg, struct mutation, item.msg);
    m->done(m);
}

void group__answer(struct mutation *m)
{
    m->item.msg.deliver = answered;
    loop_post(m->loop, &m->item.msg);
}

static void group_submit(void *context, struct mutation *m)
{
    group_propose(context, m);
}

enum err group_propose_wait(struct group *group, struct mutation *m)
{
    return replication__wait(m, group_submit, group, group->stepped);
}

/* ---- reading without waiting ---- */

enum err group_bucket(struct group *group, struct bytes name, struct bucket_info *ret_bucket)
{
    return volume_bucket(group->volume, name, ret_bucket);
}

enum err group_buckets(struct group *group, bucket_each_fn *each, void *context)
{
    return volume_buckets(group->volume, each, context);
}

enum err group_lookup_now(struct group *group, struct bucket_id bucket, struct bytes key,
                          struct object **ret_object)
{
    return volume_lookup(group->volume, bucket, key, KV_MEMORY_ONLY, ret_object);
}

enum err group_setting(struct group *group, struct bytes name, uint8_t *out, size_t out_max,
                       size_t *ret_size)
{
    return volume_setting(group->volume, name, out, out_max, ret_size);
}

enum err group_settings(struct group *group, struct bytes prefix, setting_each_fn *each,
                        void *context)
{
    return volume_settings(group->volume, prefix, each, context);
}

/* ---- the read barrier ---- */

bool group_is_fresh(const struct group *group)
{
    return group->cluster == NULL || cluster_is_fresh(group->cluster);
}

static void asked(struct loop_msg *msg)
{
    struct group_ask *ask = CONTAINER_OF(msg, struct group_ask, work.msg);
    ask->done(ask);
}

void group__asked(struct group_ask *ask)
{
    ask->work.msg.deliver = asked;
    if (ask->loop != NULL)
        loop_post(ask->loop, &ask->work.msg);
    else
        ask->done(ask);
}

void group_fresh(struct group *group, struct group_ask *ask)
{
    ask->group = group;
    ask->err = ERR_OK;
    if (group->cluster != NULL)
        cluster_fresh(group->cluster, ask);
    else
        group__asked(ask);
}

void group_watch_settings(struct group *group, struct bytes prefix,
                          group_setting_changed_fn *changed, void *context)
{
    if (group->cluster != NULL)
        cluster_watch_settings(group->cluster, prefix, changed, context);
}

/* ---- repair ---- */

static void repair_refused(struct loop_msg *msg)
{
    struct group_repair *repair = CONTAINER_OF(msg, struct group_repair, msg);
    repair->done(repair);
}

void group_repair(struct group *group, struct group_repair *repair)
{
    if (group->cluster != NULL) {
        cluster_repair(group->cluster, repair);
        return;
    }
    err_trail_reset(&repair->trail);
    repair->err =
        err_say(&repair->trail, ERR_UNSUPPORTED, "this node is alone, so there is no other copy");
    repair->msg.deliver = repair_refused;
    if (repair->loop != NULL)
        loop_post(repair->loop, &repair->msg);
    else
        repair->done(repair);
}

/* ---- asking: what may wait for the disk runs on the pool ---- */

enum ask_kind {
    ASK_LOOKUP,
    ASK_LIST,
    ASK_UPLOAD,
    ASK_UPLOADS,
    ASK_PARTS,
    ASK_PLAN_LOAD,
    ASK_OBJECT_PARTS,
    ASK_OBJECT_PIECES,
};

static enum err ask_run(struct group_ask *ask)
{
    struct volume *volume = ask->group->volume;
    switch ((enum ask_kind)ask->kind) {
    case ASK_LOOKUP:
        return volume_lookup(volume, ask->bucket, ask->key, KV_ANY, &ask->object);
    case ASK_LIST:
        return volume_list(volume, &ask->list, ask->each.list, ask->context, &ask->list_result);
    case ASK_UPLOAD:
        return volume_upload(volume, ask->bucket, ask->key, &ask->upload, &ask->upload_info,
                             ask->upload_attrs);
    case ASK_UPLOADS:
        return volume_uploads(volume, &ask->uploads, ask->each.upload, ask->context,
                              &ask->truncated);
    case ASK_PARTS:
        return volume_parts(volume, ask->bucket, ask->key, &ask->upload, ask->after_part, ask->max,
                            ask->each.part, ask->context, &ask->truncated);
    case ASK_PLAN_LOAD:
        return read_plan_load(ask->plan);
    case ASK_OBJECT_PARTS:
        return object_parts(ask->of, &ask->parts, &ask->part_count);
    case ASK_OBJECT_PIECES:
        return object_pieces(ask->of, ask->offset, ask->size, &ask->pieces, &ask->piece_count);
    }
    CHECK(!"an ask of no known kind");
    return ERR_INTERNAL;
}

static void ask_work_run(struct work *work)
{
    struct group_ask *ask = CONTAINER_OF(work, struct group_ask, work);
    ask->err = ask_run(ask);
}

static void ask_work_done(struct work *work)
{
    struct group_ask *ask = CONTAINER_OF(work, struct group_ask, work);
    ask->done(ask);
}

static void ask_submit(struct group *group, struct group_ask *ask, enum ask_kind kind)
{
    CHECK(ask->loop != NULL && ask->done != NULL);
    ask->group = group;
    ask->kind = (uint8_t)kind;
    ask->work = (struct work){.run = ask_work_run, .done = ask_work_done, .loop = ask->loop};
    work_submit(group->work_pool, &ask->work);
}

void group_lookup(struct group *group, struct group_ask *ask)
{
    ask->object = NULL;
    ask_submit(group, ask, ASK_LOOKUP);
}

void group_list(struct group *group, struct group_ask *ask)
{
    ask_submit(group, ask, ASK_LIST);
}

void group_upload(struct group *group, struct group_ask *ask)
{
    ask_submit(group, ask, ASK_UPLOAD);
}

void group_uploads(struct group *group, struct group_ask *ask)
{
    ask_submit(group, ask, ASK_UPLOADS);
}

void group_parts(struct group *group, struct group_ask *ask)
{
    ask_submit(group, ask, ASK_PARTS);
}

void group_plan_load(struct group *group, struct group_ask *ask)
{
    ask_submit(group, ask, ASK_PLAN_LOAD);
}

void group_object_parts(struct group *group, struct group_ask *ask)
{
    ask->parts = NULL;
    ask_submit(group, ask, ASK_OBJECT_PARTS);
}

void group_object_pieces(struct group *group, struct group_ask *ask, uint64_t offset, uint64_t size)
{
    ask->pieces = NULL;
    ask->offset = offset;
    ask->size = size;
    ask_submit(group, ask, ASK_OBJECT_PIECES);
}
