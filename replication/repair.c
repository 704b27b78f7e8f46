#include "replication/repair.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/check.h"
#include "base/log.h"
#include "base/metric.h"
#include "storage/data.h"

static struct metric repaired_metric = {.name = "sluice_repaired_chunks_total",
                                        .help = "Damaged chunks of 64 KiB rewritten from a peer",
                                        .kind = METRIC_COUNTER};
static struct metric failed_metric = {.name = "sluice_unrepaired_chunks_total",
                                      .help = "Damaged chunks that no peer had whole",
                                      .kind = METRIC_COUNTER};

/* A chunk being repaired. */
struct job {
    struct repair *repair;
    struct data_id data;
    uint64_t offset;
    struct list asks;   /* who waits for it; empty: the job is free */
    uint64_t id;        /* of the question under way */
    struct link *asked; /* NULL: none is, the pool writes or nothing is under way */
    uint64_t deadline_ns;
    unsigned next_peer;
    uint32_t from_node;
    char sentence[160]; /* what the peers said */
    uint8_t *memory;    /* owned, SUM_CHUNK_BYTES, aligned */
    uint32_t size;
    struct work work;
    bool is_working;
    enum err err;
    struct err_trail trail;
};

/* A chunk being read for a peer. */
struct fetch {
    struct repair *repair;
    struct link *link; /* NULL: it is gone */
    bool is_used;
    struct message_fetch ask;
    uint8_t *memory; /* owned */
    uint32_t size;
    struct work work;
    enum err err;
};

struct repair {
    struct repair_options options; /* a copy */
    struct link *peers[LINKS_MAX]; /* borrowed */
    unsigned peer_count;
    struct job jobs[REPAIRS_MAX];
    struct fetch fetches[FETCHES_MAX];
    struct list waiting; /* asks, for a job */
    uint32_t waiting_count;
    uint64_t question_count;
    bool is_stopped;
    struct repair_counts counts;
};

static uint64_t now_ns(const struct repair *repair)
{
    return clock_boot_ns(loop_clock(repair->options.loop));
}

/* ---- answers ---- */

static void deliver(struct loop_msg *msg)
{
    struct group_repair *ask = CONTAINER_OF(msg, struct group_repair, msg);
    ask->done(ask);
}

static void end_ask(struct group_repair *ask, enum err e, const struct err_trail *trail)
{
    list_remove(&ask->link);
    ask->err = e;
    ask->trail = *trail;
    ask->msg.deliver = deliver;
    if (ask->loop != NULL)
        loop_post(ask->loop, &ask->msg);
    else
        ask->done(ask);
}

static bool is_free(const struct job *job)
{
    return list_is_empty(&job->asks) && !job->is_working;
}

static void begin(struct job *job, struct group_repair *ask);

static void end_job(struct job *job, enum err e)
{
    struct repair *repair = job->repair;
    job->asked = NULL;
    if (e == ERR_OK) {
        repair->counts.repaired++;
        metric_add(&repaired_metric, 1);
        LOG_LIMITED(LOG_WARN, "replication",
                    "damaged bytes repaired from node %u data=%" PRIx64 ".%" PRIu64
                    " offset=%" PRIu64 " size=%u",
                    job->from_node, job->data.epoch, job->data.counter, job->offset, job->size);
    } else if (e != ERR_NO_SUCH_OBJECT && e != ERR_CLOSED) {
        repair->counts.failed++;
        metric_add(&failed_metric, 1);
        LOG_LIMITED(
            LOG_ERROR, "replication",
            "damaged bytes not repaired data=%" PRIx64 ".%" PRIu64 " offset=%" PRIu64 ": %s",
            job->data.epoch, job->data.counter, job->offset, err_trail_text(&job->trail, e));
    }
    LIST_EACH (&job->asks, node)
        end_ask(LIST_ENTRY(node, struct group_repair, link), e, &job->trail);
    struct list *next = list_first(&repair->waiting);
    if (next == NULL || job->is_working)
        return;
    list_remove(next);
    repair->waiting_count--;
    begin(job, LIST_ENTRY(next, struct group_repair, link));
}

/* ---- one peer after the other ---- */

static bool ask_peer(struct job *job, struct link *link)
{
    struct repair *repair = job->repair;
    uint8_t bytes[LINK_CTL_BYTES_MAX];
    job->id = ++repair->question_count;
    size_t size = message_fetch_encode(
        &(struct message_fetch){.id = job->id, .data = job->data, .offset = job->offset}, bytes);
    if (repair->options.links->ctl(link, bytes, size) != ERR_OK)
        return false;
    job->asked = link;
    job->deadline_ns = now_ns(repair) + REPAIR_SILENCE_NS;
    return true;
}

static void try_next(struct job *job)
{
    struct repair *repair = job->repair;
    const struct repair_options *options = &repair->options;
    job->asked = NULL;
    while (job->next_peer < repair->peer_count && !repair->is_stopped) {
        struct link *link = repair->peers[job->next_peer++];
        if (options->links->is_up(link) && ask_peer(job, link))
            return;
    }
    err_trail_reset(&job->trail);
    enum err e = repair->is_stopped ? ERR_CLOSED : ERR_CORRUPT;
    const char *said = job->sentence[0] != '\0' ? job->sentence : "none is there";
    end_job(job, err_say(&job->trail, e, "no other node has these bytes: %s", said));
}

static void note_answer(struct job *job, const char *what)
{
    struct buf said = {
        .data = job->sentence, .size = strlen(job->sentence), .capacity = sizeof job->sentence - 1};
    uint32_t node = job->repair->options.links->node(job->asked);
    buf_printf(&said, "%snode %u %s", said.size > 0 ? ", " : "", node, what);
    job->sentence[said.size] = '\0';
}

/* ---- the rewrite, on the pool ---- */

static void run_rewrite(struct work *work)
{
    struct job *job = CONTAINER_OF(work, struct job, work);
    err_trail_reset(&job->trail);
    job->err = volume_chunk_rewrite(job->repair->options.volume, job->data, job->offset,
                                    job->memory, job->size, &job->trail);
}

static void rewritten(struct work *work)
{
    struct job *job = CONTAINER_OF(work, struct job, work);
    job->is_working = false;
    if (job->err == ERR_INVALID && !job->repair->is_stopped)
        try_next(job); /* these were not the bytes: another may have them */
    else
        end_job(job, job->err);
}

void repair_answered(struct repair *repair, struct link *link, const struct message_fetched *answer)
{
    static const char *const said[] = {
        [MESSAGE_FETCH_ABSENT] = "has not the data",
        [MESSAGE_FETCH_DAMAGED] = "has them damaged, too",
        [MESSAGE_FETCH_BUSY] = "is busy",
    };
    for (unsigned i = 0; i < REPAIRS_MAX; i++) {
        struct job *job = &repair->jobs[i];
        if (job->asked != link || job->id != answer->id)
            continue; /* of another question, or too late */
        if (answer->outcome != MESSAGE_FETCH_OK) {
            note_answer(job, said[answer->outcome]);
            try_next(job);
            return;
        }
        note_answer(job, "sent other bytes"); /* unless they are right, and nobody reads this */
        job->from_node = repair->options.links->node(link);
        job->asked = NULL;
        memcpy(job->memory, answer->bytes.data, answer->bytes.size);
        job->size = (uint32_t)answer->bytes.size;
        job->is_working = true;
        job->work =
            (struct work){.run = run_rewrite, .done = rewritten, .loop = repair->options.loop};
        work_submit(repair->options.work_pool, &job->work);
        return;
    }
}

void repair_tick(struct repair *repair, uint64_t now)
{
    for (unsigned i = 0; i < REPAIRS_MAX; i++) {
        struct job *job = &repair->jobs[i];
        if (job->asked == NULL || now < job->deadline_ns)
            continue;
        note_answer(job, "does not answer");
        try_next(job);
    }
}

/* ---- asking ---- */

static void begin(struct job *job, struct group_repair *ask)
{
    job->data = ask->data;
    job->offset = ask->offset;
    job->next_peer = 0;
    job->sentence[0] = '\0';
    list_push_back(&job->asks, &ask->link);
    try_next(job);
}

static void refuse(struct group_repair *ask, enum err e, const char *sentence)
{
    struct err_trail trail = {.text = ""};
    end_ask(ask, err_say(&trail, e, "%s", sentence), &trail);
}

static void take(struct loop_msg *msg)
{
    struct group_repair *ask = CONTAINER_OF(msg, struct group_repair, msg);
    struct repair *repair = ask->group_private;
    struct job *free_job = NULL;
    if (repair->is_stopped) {
        refuse(ask, ERR_CLOSED, "this node is closing");
        return;
    }
    for (unsigned i = 0; i < REPAIRS_MAX; i++) {
        struct job *job = &repair->jobs[i];
        bool is_same = data_id_equal(job->data, ask->data) && job->offset == ask->offset;
        if (is_free(job)) {
            free_job = job;
        } else if (is_same) {
            list_push_back(&job->asks, &ask->link);
            return;
        }
    }
    if (free_job != NULL) {
        begin(free_job, ask);
    } else if (repair->waiting_count < REPAIRS_WAITING_MAX) {
        list_push_back(&repair->waiting, &ask->link);
        repair->waiting_count++;
    } else {
        refuse(ask, ERR_BUSY, "too many repairs are under way");
    }
}

void repair_chunk(struct repair *repair, struct group_repair *ask)
{
    ask->group_private = repair;
    ask->link = (struct list){.next = NULL};
    err_trail_reset(&ask->trail);
    ask->msg.deliver = take;
    loop_post(repair->options.loop, &ask->msg);
}

/* ---- being asked ---- */

static void send_fetched(struct repair *repair, struct link *link,
                         const struct message_fetched *fetched)
{
    uint8_t head[MESSAGE_FETCHED_BYTES];
    message_fetched_encode(fetched, head);
    const struct bytes parts[] = {bytes_of(head, sizeof head), fetched->bytes};
    unsigned count = fetched->bytes.size > 0 ? 2 : 1;
    (void)repair->options.links->message(link, MESSAGE_FETCHED, parts, count); /* lost: the next */
}

static void run_fetch(struct work *work)
{
    struct fetch *fetch = CONTAINER_OF(work, struct fetch, work);
    fetch->err = volume_chunk_read(fetch->repair->options.volume, fetch->ask.data,
                                   fetch->ask.offset, fetch->memory, &fetch->size, NULL);
}

static void fetched(struct work *work)
{
    struct fetch *fetch = CONTAINER_OF(work, struct fetch, work);
    struct repair *repair = fetch->repair;
    struct message_fetched answer = {.id = fetch->ask.id, .outcome = MESSAGE_FETCH_OK};
    bool is_absent = fetch->err == ERR_NO_SUCH_OBJECT || fetch->err == ERR_INVALID;
    fetch->is_used = false;
    if (fetch->err == ERR_OK)
        answer.bytes = bytes_of(fetch->memory, fetch->size);
    else
        answer.outcome = is_absent ? MESSAGE_FETCH_ABSENT : MESSAGE_FETCH_DAMAGED;
    if (fetch->link == NULL)
        return;
    repair->counts.served += fetch->err == ERR_OK;
    send_fetched(repair, fetch->link, &answer);
}

void repair_asked(struct repair *repair, struct link *link, const struct message_fetch *ask)
{
    for (unsigned i = 0; i < FETCHES_MAX && !repair->is_stopped; i++) {
        struct fetch *fetch = &repair->fetches[i];
        if (fetch->is_used)
            continue;
        fetch->is_used = true;
        fetch->link = link;
        fetch->ask = *ask;
        fetch->work =
            (struct work){.run = run_fetch, .done = fetched, .loop = repair->options.loop};
        work_submit(repair->options.work_pool, &fetch->work);
        return;
    }
    send_fetched(repair, link,
                 &(struct message_fetched){.id = ask->id, .outcome = MESSAGE_FETCH_BUSY});
}

/* ---- life ---- */

static const struct repair_links real_links = {
    .is_up = link_is_up, .node = link_node, .ctl = link_ctl, .message = link_message};

enum err repair_open(const struct repair_options *options, struct repair **ret_repair)
{
    CHECK(options->loop != NULL && options->volume != NULL && options->work_pool != NULL);
    struct repair *repair = calloc(1, sizeof *repair);
    if (repair == NULL)
        return ERR_NO_MEMORY;
    repair->options = *options;
    if (repair->options.links == NULL)
        repair->options.links = &real_links;
    list_init(&repair->waiting);
    metric_register(&repaired_metric);
    metric_register(&failed_metric);
    bool has_memory = true;
    for (unsigned i = 0; i < REPAIRS_MAX; i++) {
        list_init(&repair->jobs[i].asks);
        repair->jobs[i].repair = repair;
        repair->jobs[i].memory = aligned_alloc(DISK_ALIGN, SUM_CHUNK_BYTES);
        has_memory = has_memory && repair->jobs[i].memory != NULL;
    }
    for (unsigned i = 0; i < FETCHES_MAX; i++) {
        repair->fetches[i].repair = repair;
        repair->fetches[i].memory = aligned_alloc(DISK_ALIGN, SUM_CHUNK_BYTES);
        has_memory = has_memory && repair->fetches[i].memory != NULL;
    }
    if (!has_memory) {
        repair_close(repair);
        return ERR_NO_MEMORY;
    }
    *ret_repair = repair;
    return ERR_OK;
}

void repair_add_peer(struct repair *repair, struct link *link)
{
    CHECK(repair->peer_count < LINKS_MAX);
    repair->peers[repair->peer_count++] = link;
}

void repair_stop(struct repair *repair)
{
    repair->is_stopped = true;
    LIST_EACH (&repair->waiting, node)
        refuse(LIST_ENTRY(node, struct group_repair, link), ERR_CLOSED, "this node is closing");
    repair->waiting_count = 0;
    for (unsigned i = 0; i < REPAIRS_MAX; i++)
        if (repair->jobs[i].asked != NULL)
            try_next(&repair->jobs[i]);
}

bool repair_is_idle(const struct repair *repair)
{
    for (unsigned i = 0; i < REPAIRS_MAX; i++)
        if (!is_free(&repair->jobs[i]))
            return false;
    for (unsigned i = 0; i < FETCHES_MAX; i++)
        if (repair->fetches[i].is_used)
            return false;
    return true;
}

void repair_close(struct repair *repair)
{
    if (repair == NULL)
        return;
    CHECK(repair_is_idle(repair));
    for (unsigned i = 0; i < REPAIRS_MAX; i++)
        free(repair->jobs[i].memory);
    for (unsigned i = 0; i < FETCHES_MAX; i++)
        free(repair->fetches[i].memory);
    free(repair);
}

void repair_link_down(struct repair *repair, struct link *link)
{
    for (unsigned i = 0; i < FETCHES_MAX; i++)
        if (repair->fetches[i].link == link)
            repair->fetches[i].link = NULL;
    for (unsigned i = 0; i < REPAIRS_MAX; i++) {
        struct job *job = &repair->jobs[i];
        if (job->asked != link)
            continue;
        note_answer(job, "went down");
        try_next(job);
    }
}

void repair_counts(const struct repair *repair, struct repair_counts *ret_counts)
{
    *ret_counts = repair->counts;
}
