#include "replication/pull_priv.h"

#include "base/check.h"
#include "base/digest.h"
#include "base/log.h"
#include "replication/data_way.h"
#include "storage/data.h"

/*
 * The half that is asked. One serve:
 *
 *     lookup on the pool --> for each chunk in turn: slot, read, check --> sent in order --> end
 *            ^                     |                   |
 *            `--- records of the next shard, on the pool     mismatch: repaired, and read again;
 *                                                            else DAMAGED, and no more is sent
 *
 * Chunks are as long as the extent allows, at most a slot: an extent but the last of some data
 * holds whole sum chunks, so each chunk has the sums of exactly its bytes.
 */

static void serve_go(struct pull_serve *serve);

static void answer(struct pull_serve *serve, enum message_pull_outcome outcome)
{
    uint8_t bytes[LINK_CTL_BYTES_MAX];
    size_t size = message_pull_answer_encode(
        &(struct message_pull_answer){.id = serve->id, .outcome = outcome}, bytes);
    (void)serve->pull->options.links->ctl(serve->link, bytes, size); /* lost: it asks again */
}

/* ---- the end: when nothing is under way ---- */

static bool has_chunks(const struct pull_serve *serve)
{
    for (unsigned i = 0; i < PULL_CHUNKS; i++)
        if (serve->chunks[i].is_used)
            return true;
    return false;
}

static void serve_end(struct pull_serve *serve)
{
    serve->is_over = true;
    if (serve->is_waiting) {
        arena_wait_cancel(&serve->waiter);
        serve->is_waiting = false;
    }
    if (serve->link == NULL || serve->is_working || has_chunks(serve))
        return;
    if (serve->has_plan)
        read_plan_close(&serve->plan);
    object_put(TAKE(serve->object));
    serve->has_plan = false;
    serve->link = NULL;
    serve->pull->counts.serving--;
}

static void chunk_end(struct pull_chunk *c)
{
    slot_put(TAKE(c->slot));
    c->is_used = false;
    c->magic = 0;
}

/* What was read and will not be sent. */
static void serve_abort(struct pull_serve *serve)
{
    serve->is_over = true;
    for (unsigned i = 0; i < PULL_CHUNKS; i++) {
        struct pull_chunk *c = &serve->chunks[i];
        if (c->is_used && c->is_read && !c->is_sent)
            chunk_end(c);
    }
    serve_end(serve);
}

static void serve_failed(struct pull_serve *serve, enum err e, const char *what)
{
    if (serve->is_over)
        return;
    LOG_LIMITED(LOG_WARN, "replication", "data %llx.%llu is not sent on: %s: %s",
                (unsigned long long)serve->id.epoch, (unsigned long long)serve->id.counter, what,
                err_text(e));
    answer(serve, err_family(e) == FAM_BUSY ? MESSAGE_PULL_NOT_YET : MESSAGE_PULL_DAMAGED);
    serve_abort(serve);
}

/* ---- sending ---- */

static void chunk_written(struct link_chunk *chunk, enum err e)
{
    struct pull_chunk *c = CONTAINER_OF(chunk, struct pull_chunk, chunk);
    CHECK_MAGIC(c, PULL_CHUNK_MAGIC);
    (void)e; /* landed() tells */
    slot_put(TAKE(c->slot));
}

static void chunk_landed(struct link_chunk *chunk, enum err e)
{
    struct pull_chunk *c = CONTAINER_OF(chunk, struct pull_chunk, chunk);
    CHECK_MAGIC(c, PULL_CHUNK_MAGIC);
    struct pull_serve *serve = c->serve;
    if (e == ERR_OK)
        serve->pull->counts.served_bytes += chunk->head.size;
    chunk_end(c);
    if (e && !serve->is_over)
        serve_abort(serve); /* the other side does not want it, or is gone */
    else
        serve_go(serve);
}

static void send_ready(struct pull_serve *serve)
{
    while (!serve->is_over) {
        struct pull_chunk *c = &serve->chunks[serve->next_sent % PULL_CHUNKS];
        if (serve->next_sent == serve->next_read || !c->is_read)
            return;
        c->chunk.data = c->slot->data;
        c->chunk.written = chunk_written;
        c->chunk.landed = chunk_landed;
        serve->next_sent++;
        enum err e = serve->pull->options.links->chunk_send(serve->link, &c->chunk);
        c->is_sent = e == ERR_OK;
        if (e)
            serve_abort(serve);
    }
}

/* ---- reading ---- */

/* The first of its sum chunks that does not match; sum_count: all do. */
static uint32_t first_bad(const struct pull_chunk *c)
{
    const struct link_chunk_head *head = &c->chunk.head;
    for (uint32_t i = 0; i < head->sum_count; i++) {
        uint32_t at = i * SUM_CHUNK_BYTES, left = head->size - at;
        uint32_t size = left < SUM_CHUNK_BYTES ? left : SUM_CHUNK_BYTES;
        if (xxh3_64(c->slot->data + at, size) != head->sums[i])
            return i;
    }
    return head->sum_count;
}

static void chunk_is_read(struct pull_chunk *c, enum err e)
{
    struct pull_serve *serve = c->serve;
    c->is_read = true;
    if (serve->is_over) {
        chunk_end(c);
        serve_end(serve);
    } else if (e) {
        serve_failed(serve, e, "what was read is not what was written");
    } else {
        serve_go(serve);
    }
}

static void submit_read(struct pull_chunk *c);

static void chunk_repaired(struct group_repair *repair)
{
    struct pull_chunk *c = CONTAINER_OF(repair, struct pull_chunk, repair);
    CHECK_MAGIC(c, PULL_CHUNK_MAGIC);
    if (repair->err || c->serve->is_over)
        chunk_is_read(c, c->damage);
    else
        submit_read(c);
}

/* Each of its sum chunks once; what the disk does not give back at all may be any of them. */
static bool repairs(struct pull_chunk *c, uint32_t bad, enum err e)
{
    struct pull *pull = c->serve->pull;
    if (pull->options.repair == NULL || c->serve->is_over || c->repairs >= c->chunk.head.sum_count)
        return false;
    uint32_t which = bad < c->chunk.head.sum_count ? bad : c->repairs;
    c->repairs++;
    c->damage = e;
    c->repair = (struct group_repair){
        .data = c->serve->id,
        .offset = c->chunk.head.offset + (uint64_t)which * SUM_CHUNK_BYTES,
        .loop = pull->options.loop,
        .done = chunk_repaired,
    };
    pull->options.repair(pull->options.context, &c->repair);
    return true;
}

static void was_read(struct disk_io *io, enum err e, uint32_t count)
{
    struct pull_chunk *c = CONTAINER_OF(io, struct pull_chunk, io);
    CHECK_MAGIC(c, PULL_CHUNK_MAGIC);
    uint32_t sums = c->chunk.head.sum_count, bad = sums;
    if (e == ERR_OK && count < c->chunk.head.size)
        e = ERR_IO; /* the file ends before the data does */
    if (e == ERR_OK)
        bad = first_bad(c);
    if (bad < sums) {
        c->serve->pull->counts.damaged++;
        e = ERR_CORRUPT;
    }
    if (e == ERR_OK || !repairs(c, bad, e))
        chunk_is_read(c, e);
}

static void submit_read(struct pull_chunk *c)
{
    uint32_t aligned = (c->chunk.head.size + DISK_ALIGN - 1) / DISK_ALIGN * DISK_ALIGN;
    c->file->disk->ops->read(c->file, c->serve->pull->options.loop, &c->io, c->slot->data, aligned,
                             c->file_offset, was_read);
}

static void slot_ready(struct arena_waiter *waiter, struct slot *slot)
{
    struct pull_serve *serve = CONTAINER_OF(waiter, struct pull_serve, waiter);
    serve->is_waiting = false;
    slot_put(slot); /* taken below, by whoever is first */
    serve_go(serve);
}

static struct slot *take_slot(struct pull_serve *serve)
{
    struct arena_share *share = loop_arena(serve->pull->options.loop);
    struct slot *slot = slot_take(share, SLOT_LARGE);
    if (slot == NULL)
        slot = slot_take(share, SLOT_SMALL);
    if (slot == NULL && !has_chunks(serve) && !serve->is_waiting) {
        serve->is_waiting = true; /* else a chunk of our own will free one */
        serve->waiter.ready = slot_ready;
        arena_wait(share, &serve->waiter,
                   share->total_count[SLOT_SMALL] > 0 ? SLOT_SMALL : SLOT_LARGE);
    }
    return slot;
}

/* The next bytes of the plan into the chunk's slot. */
static void read_chunk(struct pull_serve *serve, struct pull_chunk *c, struct slot *slot,
                       const struct read_span *span)
{
    uint64_t offset = serve->plan.offset;
    uint32_t size = span->size < slot->size ? (uint32_t)span->size : slot->size;
    uint64_t data_size = serve->plan.end;
    *c = (struct pull_chunk){
        .magic = PULL_CHUNK_MAGIC, .serve = serve, .slot = slot, .is_used = true};
    c->chunk.head = (struct link_chunk_head){
        .data = serve->id,
        .data_size = data_size,
        .offset = offset,
        .size = size,
        .last = offset + size == data_size,
        .sum_count = (size + SUM_CHUNK_BYTES - 1) / SUM_CHUNK_BYTES,
    };
    serve->next_read++;
    read_plan_advance(&serve->plan, size);
    if (span->inline_data != NULL) { /* checked when it was looked up */
        memcpy(slot->data, span->inline_data, size);
        c->chunk.head.sums[0] = xxh3_64(slot->data, size);
        c->is_read = true;
        return;
    }
    memcpy(c->chunk.head.sums, span->sums, c->chunk.head.sum_count * sizeof *span->sums);
    c->file = span->direct;
    c->file_offset = span->file_offset;
    submit_read(c);
}

static void load(struct pull_serve *serve);
static void records_failed(struct pull_serve *serve, enum err e);

static void serve_go(struct pull_serve *serve)
{
    while (!serve->is_over && !serve->is_working && read_plan_left(&serve->plan) > 0) {
        struct pull_chunk *c = &serve->chunks[serve->next_read % PULL_CHUNKS];
        if (c->is_used)
            break;
        struct read_span span;
        enum err e = read_plan_span(&serve->plan, &span);
        if (e == ERR_WOULD_BLOCK) {
            load(serve);
            break;
        }
        if (e) {
            records_failed(serve, e);
            return;
        }
        CHECK(span.inline_data != NULL || span.file_offset == span.chunk_file_offset);
        struct slot *slot = take_slot(serve);
        if (slot == NULL)
            break;
        read_chunk(serve, c, slot, &span);
    }
    send_ready(serve);
    if (serve->is_over)
        serve_end(serve);
    else if (!serve->is_working && read_plan_left(&serve->plan) == 0 && !has_chunks(serve)) {
        serve->pull->counts.served++;
        serve_end(serve);
    }
}

/* ---- on the pool ---- */

static void run_load(struct work *work)
{
    struct pull_serve *serve = CONTAINER_OF(work, struct pull_serve, work);
    serve->work_err = read_plan_load(&serve->plan);
}

static void loaded(struct work *work);

static void submit(struct pull_serve *serve, void (*run)(struct work *),
                   void (*done)(struct work *))
{
    serve->is_working = true;
    serve->work = (struct work){.run = run, .done = done, .loop = serve->pull->options.loop};
    work_submit(serve->pull->options.work_pool, &serve->work);
}

static void load(struct pull_serve *serve)
{
    submit(serve, run_load, loaded);
}

static void run_second_look(struct work *work)
{
    struct pull_serve *serve = CONTAINER_OF(work, struct pull_serve, work);
    serve->work_err = volume_data_lookup(serve->pull->options.volume, serve->id, &serve->again);
}

static void looked_again(struct work *work)
{
    struct pull_serve *serve = CONTAINER_OF(work, struct pull_serve, work);
    bool is_gone = serve->work_err == ERR_NO_SUCH_OBJECT;
    serve->is_working = false;
    object_put(TAKE(serve->again));
    if (serve->is_over) {
        serve_end(serve);
    } else if (is_gone) {
        answer(serve, data_way_answer(false, serve->psn, serve->applied));
        serve_abort(serve);
    } else {
        serve_failed(serve, ERR_CORRUPT, "its records");
    }
}

/* Records of data with several shards go one by one when it is deleted: that is no damage. */
static void records_failed(struct pull_serve *serve, enum err e)
{
    if (e == ERR_CORRUPT)
        submit(serve, run_second_look, looked_again);
    else
        serve_failed(serve, e, "its records");
}

static void loaded(struct work *work)
{
    struct pull_serve *serve = CONTAINER_OF(work, struct pull_serve, work);
    serve->is_working = false;
    if (serve->is_over)
        serve_end(serve);
    else if (serve->work_err)
        records_failed(serve, serve->work_err);
    else
        serve_go(serve);
}

static void run_lookup(struct work *work)
{
    struct pull_serve *serve = CONTAINER_OF(work, struct pull_serve, work);
    serve->work_err = volume_data_lookup(serve->pull->options.volume, serve->id, &serve->object);
}

static void looked_up(struct work *work)
{
    struct pull_serve *serve = CONTAINER_OF(work, struct pull_serve, work);
    serve->is_working = false;
    if (serve->is_over) {
        serve_end(serve);
    } else if (serve->work_err == ERR_NO_SUCH_OBJECT) {
        answer(serve, data_way_answer(false, serve->psn, serve->applied));
        serve_end(serve);
    } else if (serve->work_err) {
        serve_failed(serve, serve->work_err, "looking it up");
    } else {
        read_plan_open(&serve->plan, serve->object, 0, object_info(serve->object)->size);
        serve->has_plan = true;
        answer(serve, data_way_answer(true, serve->psn, serve->applied));
        serve_go(serve);
    }
}

/* ---- being asked ---- */

void pull_asked(struct pull *pull, struct link *link, const struct message_pull *ask,
                uint64_t applied)
{
    struct pull_serve *free_serve = NULL;
    unsigned of_peer = 0;
    for (unsigned i = 0; i < PULL_SERVES_MAX; i++) {
        struct pull_serve *serve = &pull->serves[i];
        of_peer += serve->link == link;
        if (serve->link == link && data_id_equal(serve->id, ask->id)) {
            if (serve->has_plan && !serve->is_over)
                answer(serve, MESSAGE_PULL_COMING);
            return; /* the first answer was lost, or is not made yet */
        }
        if (serve->link == NULL)
            free_serve = serve;
    }
    if (free_serve == NULL || of_peer >= PULL_SERVES_PEER_MAX) {
        struct pull_serve nobody = {.pull = pull, .link = link, .id = ask->id};
        answer(&nobody, MESSAGE_PULL_NOT_YET);
        return;
    }
    *free_serve = (struct pull_serve){
        .pull = pull, .link = link, .id = ask->id, .psn = ask->psn, .applied = applied};
    pull->counts.serving++;
    submit(free_serve, run_lookup, looked_up);
}

void pull__serve_link_down(struct pull *pull, struct link *link)
{
    for (unsigned i = 0; i < PULL_SERVES_MAX; i++)
        if (pull->serves[i].link == link)
            serve_abort(&pull->serves[i]);
}
