#include "api/s3/rehash.h"

#include "api/s3/checksum.h"

static void rehash_go(struct s3_rehash *rehash);

static void rehash_over(struct s3_rehash *rehash, enum err e)
{
    rehash->err = e;
    s3_lane_close(&rehash->lane);
    slot_put(TAKE(rehash->slot));
    read_plan_close(&rehash->plan);
    rehash->plan_is_open = false;
    op_run(&rehash->r->op);
}

/* ---- waiting: for an index record, for a slot, for the disk ---- */

static void rehash_loaded(struct group_ask *group_ask)
{
    struct s3_ask *ask = CONTAINER_OF(group_ask, struct s3_ask, ask);
    CHECK_MAGIC(ask, S3_ASK_MAGIC);
    struct s3_rehash *rehash = group_ask->context;
    CHECK_MAGIC(rehash, REHASH_MAGIC);
    if (group_ask->err)
        rehash_over(rehash, group_ask->err);
    else
        rehash_go(rehash);
}

static void rehash_load(struct s3_rehash *rehash)
{
    struct group_ask *ask = &rehash->ask->ask;
    ask->plan = &rehash->plan;
    ask->context = rehash;
    ask->done = rehash_loaded;
    group_plan_load(s3_group(rehash->r), ask);
}

static void rehash_slot_ready(struct arena_waiter *waiter, struct slot *slot)
{
    struct s3_rehash *rehash = CONTAINER_OF(waiter, struct s3_rehash, waiter);
    CHECK_MAGIC(rehash, REHASH_MAGIC);
    rehash->slot = slot;
    rehash_go(rehash);
}

/* A slot of either size will do; a large one is waited for only where there are no small ones. */
static bool rehash_has_slot(struct s3_rehash *rehash)
{
    struct arena_share *share = loop_arena(rehash->r->op.loop);
    CHECK(share != NULL);
    if (rehash->slot == NULL)
        rehash->slot = slot_take(share, SLOT_LARGE);
    if (rehash->slot == NULL)
        rehash->slot = slot_take(share, SLOT_SMALL);
    if (rehash->slot != NULL)
        return true;
    rehash->waiter.ready = rehash_slot_ready;
    arena_wait(share, &rehash->waiter,
               share->total_count[SLOT_SMALL] > 0 ? SLOT_SMALL : SLOT_LARGE);
    return false;
}

static void rehash_hashed(struct s3_lane_job *job)
{
    struct s3_rehash *rehash = CONTAINER_OF(job, struct s3_rehash, job);
    CHECK_MAGIC(rehash, REHASH_MAGIC);
    read_plan_advance(&rehash->plan, job->size);
    rehash_go(rehash);
}

/* Side by side with the worker's other MD5s; goes on when that is done. */
static void rehash_update(struct s3_rehash *rehash, const uint8_t *data, uint32_t size)
{
    if (rehash->algorithm != 0)
        digest_update(&rehash->sum, data, size);
    rehash->job = (struct s3_lane_job){
        .digest = &rehash->md5, .data = data, .size = size, .hashed = rehash_hashed};
    s3_lane_add(&rehash->lane, &rehash->job);
}

static void rehash_submit(struct s3_rehash *rehash);

static void rehash_repaired(struct group_repair *repair)
{
    struct s3_rehash *rehash = CONTAINER_OF(repair, struct s3_rehash, repair);
    CHECK_MAGIC(rehash, REHASH_MAGIC);
    if (repair->err)
        rehash_over(rehash, rehash->damage);
    else
        rehash_submit(rehash);
}

/* Each chunk once; what the disk does not give back at all may be any of them. */
static void rehash_repair(struct s3_rehash *rehash, enum err e)
{
    const struct read_span *span = &rehash->span;
    uint32_t bad = rehash->repairs++;
    if (e == ERR_CORRUPT)
        bad = read_span_first_bad(span, rehash->slot->data, rehash->read_size);
    rehash->damage = e;
    rehash->repair = (struct group_repair){
        .data = span->data,
        .offset = span->chunk_data_offset + (uint64_t)bad * SUM_CHUNK_BYTES,
        .loop = rehash->r->op.loop,
        .done = rehash_repaired,
    };
    group_repair(s3_group(rehash->r), &rehash->repair);
}

static void rehash_was_read(struct disk_io *io, enum err e, uint32_t count)
{
    struct s3_rehash *rehash = CONTAINER_OF(io, struct s3_rehash, io);
    CHECK_MAGIC(rehash, REHASH_MAGIC);
    uint32_t chunks = (uint32_t)((rehash->read_size + SUM_CHUNK_BYTES - 1) / SUM_CHUNK_BYTES);
    if (!e && count < rehash->read_size)
        e = ERR_IO; /* the file ends before the data does */
    if (!e)
        e = read_span_verify(&rehash->span, rehash->slot->data, rehash->read_size);
    bool is_damaged = e == ERR_CORRUPT || err_family(e) == FAM_IO;
    if (is_damaged && rehash->repairs < chunks)
        rehash_repair(rehash, e);
    else if (e)
        rehash_over(rehash, e);
    else
        rehash_update(rehash, rehash->slot->data + rehash->skip, rehash->size);
}

static void rehash_submit(struct s3_rehash *rehash)
{
    uint32_t aligned = (uint32_t)((rehash->read_size + DISK_ALIGN - 1) / DISK_ALIGN * DISK_ALIGN);
    struct disk_file *file = rehash->span.direct;
    file->disk->ops->read(file, rehash->r->op.loop, &rehash->io, rehash->slot->data, aligned,
                          rehash->span.chunk_file_offset, rehash_was_read);
}

/* As many whole chunks of the span as the slot holds. */
static void rehash_read(struct s3_rehash *rehash)
{
    const struct read_span *span = &rehash->span;
    uint64_t chunks = rehash->slot->size / SUM_CHUNK_BYTES;
    rehash->read_size = chunks * SUM_CHUNK_BYTES;
    if (chunks >= span->chunk_count)
        rehash->read_size =
            (uint64_t)(span->chunk_count - 1) * SUM_CHUNK_BYTES + span->last_chunk_size;
    rehash->skip = (uint32_t)(span->file_offset - span->chunk_file_offset);
    uint64_t left = rehash->read_size - rehash->skip;
    rehash->size = (uint32_t)(left < span->size ? left : span->size);
    rehash->repairs = 0;
    rehash_submit(rehash);
}

static void rehash_go(struct s3_rehash *rehash)
{
    if (read_plan_left(&rehash->plan) == 0) {
        rehash_over(rehash, ERR_OK);
        return;
    }
    enum err e = read_plan_span(&rehash->plan, &rehash->span);
    if (e == ERR_WOULD_BLOCK)
        rehash_load(rehash);
    else if (e)
        rehash_over(rehash, e);
    else if (rehash->span.inline_data != NULL)
        rehash_update(rehash, rehash->span.inline_data, (uint32_t)rehash->span.size);
    else if (rehash_has_slot(rehash))
        rehash_read(rehash);
}

/* ---- life ---- */

/* The first step comes from the loop: whoever waits to be woken is not woken before they wait. */
static void rehash_start(struct loop_msg *msg)
{
    struct s3_rehash *rehash = CONTAINER_OF(msg, struct s3_rehash, start);
    CHECK_MAGIC(rehash, REHASH_MAGIC);
    rehash_go(rehash);
}

bool s3_rehash_begin(struct s3_request *r, struct s3_rehash *rehash, struct object *object,
                     uint64_t offset, uint64_t size, uint8_t algorithm)
{
    *rehash = (struct s3_rehash){.magic = REHASH_MAGIC, .r = r, .algorithm = algorithm};
    rehash->ask = s3_ask_take(r);
    if (rehash->ask == NULL || digest_init(&rehash->md5, DIGEST_MD5) ||
        (algorithm != 0 && digest_init(&rehash->sum, s3_checksum_digest(algorithm)))) {
        s3_fail(r, S3_E(SlowDown));
        return false;
    }
    s3_lane_open(&rehash->lane, s3_lanes(r), r->op.loop, size);
    read_plan_open(&rehash->plan, object, offset, size);
    rehash->plan_is_open = true;
    rehash->start.deliver = rehash_start;
    loop_post(r->op.loop, &rehash->start);
    return true;
}

enum err s3_rehash_end(struct s3_rehash *rehash, uint8_t md5[16], struct checksum *ret_checksum)
{
    if (rehash->err)
        return rehash->err;
    uint8_t value[DIGEST_BYTES_MAX];
    digest_final(&rehash->md5, value);
    memcpy(md5, value, 16);
    *ret_checksum = (struct checksum){0};
    if (rehash->algorithm == 0)
        return ERR_OK;
    digest_final(&rehash->sum, ret_checksum->value);
    ret_checksum->algorithm = rehash->algorithm;
    ret_checksum->type = S3_CHECKSUM_FULL_OBJECT;
    ret_checksum->size = (uint8_t)digest_size_bytes(s3_checksum_digest(rehash->algorithm));
    return ERR_OK;
}

void s3_rehash_fini(struct s3_rehash *rehash)
{
    s3_lane_close(&rehash->lane);
    if (rehash->plan_is_open)
        read_plan_close(&rehash->plan);
    digest_fini(&rehash->md5);
    digest_fini(&rehash->sum);
}
