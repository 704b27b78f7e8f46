/*
 * libsluice: blocking calls on top of a volume. The volume wants a loop for whatever it finishes
 * later, so the library keeps a few lanes, each a loop with its share of an arena; a call or a
 * writer borrows one and turns it until its answer is there. Several lanes let the commits of
 * several threads meet in one batch.
 */
#include "storage/sluice.h"

#include <pthread.h>
#include <stdlib.h>

#include "base/digest.h"
#include "sluice_config.h"
#include "storage/read_plan.h"
#include "storage/volume.h"

#define LANES        8u
#define LANE_SLOTS   4u
#define WRITER_SLOTS 2u /* filled and written in turns */
#define OWNER        "libsluice"
#define REGION       "us-east-1"

struct lane {
    pthread_mutex_t lock; /* held by whoever turns the loop */
    struct loop *loop;    /* owned */
};

struct sluice {
    struct volume *volume; /* owned */
    struct arena *arena;   /* owned */
    struct lane lanes[LANES];
    unsigned lane_count;
    _Atomic unsigned next_lane;
};

/* ---- errors ---- */

_Static_assert((int)SLUICE_BUG == (int)FAM_BUG && (int)SLUICE_FULL == (int)FAM_FULL &&
                   (int)SLUICE_CORRUPT == (int)FAM_DATA,
               "a status is the family of our error");

static enum sluice_status tell(struct sluice_error *error, enum err e,
                               const struct err_trail *trail)
{
    enum sluice_status status = (enum sluice_status)err_family(e);
    if (e && error != NULL) {
        error->status = status;
        struct buf text = BUF_ON(error->text);
        text.capacity--;
        buf_put_string(&text, err_trail_text(trail, e));
        error->text[text.size] = '\0';
    }
    return status;
}

const char *sluice_version(void)
{
    return SLUICE_VERSION;
}

/* ---- open and close ---- */

void sluice_close(struct sluice *sluice)
{
    if (sluice == NULL)
        return;
    volume_close(sluice->volume);
    for (unsigned i = 0; i < sluice->lane_count; i++) {
        loop_close(sluice->lanes[i].loop);
        pthread_mutex_destroy(&sluice->lanes[i].lock);
    }
    arena_close(sluice->arena);
    free(sluice);
}
CLEANUP_DEFINE(sluice_close, struct sluice *)

static enum err open_lanes(struct sluice *sluice, struct err_trail *trail)
{
    enum err e =
        arena_open(&(struct arena_options){.large_count = LANES * LANE_SLOTS, .share_count = LANES},
                   &sluice->arena);
    if (e)
        return err_note(trail, e, "map %u MiB for writes", LANES * LANE_SLOTS);
    for (unsigned i = 0; i < LANES; i++) {
        struct lane *lane = &sluice->lanes[i];
        /* Lanes are turned by whatever thread calls, one at a time; io_uring's single-issuer rings
         * want always the same one. */
        e = loop_open(&(struct loop_options){.arena = sluice->arena,
                                             .arena_share = i,
                                             .ring_choice = RING_FORCE_POLL,
                                             .name = "libsluice"},
                      &lane->loop, trail);
        if (e)
            return e;
        pthread_mutex_init(&lane->lock, NULL);
        sluice->lane_count++;
    }
    return ERR_OK;
}

static enum err open_volume(struct sluice *sluice, const struct sluice_options *options,
                            struct err_trail *trail)
{
    enum volume_direct direct =
        options->allow_buffered ? VOLUME_DIRECT_ANY : VOLUME_DIRECT_REQUIRED;
    if (options->create) {
        enum err e = volume_format(
            &(struct volume_format_options){.dir = options->dir, .direct = direct}, trail);
        /* Whether what is there is a volume, volume_open says better. */
        if (e && e != ERR_FILE_EXISTS)
            return e;
        err_trail_reset(trail);
    }
    return volume_open(&(struct volume_options){.dir = options->dir,
                                                .direct = direct,
                                                .index_cache_bytes = options->cache_bytes},
                       &sluice->volume, trail);
}

enum sluice_status sluice_open(const struct sluice_options *options, struct sluice **ret_sluice,
                               struct sluice_error *error)
{
    struct err_trail trail = {0};
    if (options->dir == NULL)
        return tell(error, err_note(&trail, ERR_INVALID, "open a volume without a directory"),
                    &trail);
    CLEANUP(sluice_close) struct sluice *sluice = calloc(1, sizeof *sluice);
    if (sluice == NULL)
        return tell(error, ERR_NO_MEMORY, NULL);
    enum err e = open_lanes(sluice, &trail);
    if (!e)
        e = open_volume(sluice, options, &trail);
    if (e)
        return tell(error, e, &trail);
    *ret_sluice = TAKE(sluice);
    return SLUICE_OK;
}

/* ---- lanes and mutations ---- */

static struct lane *lane_lock(struct sluice *sluice)
{
    struct lane *lane = &sluice->lanes[sluice->next_lane++ % LANES];
    pthread_mutex_lock(&lane->lock);
    return lane;
}

/* A lane with room for one more writer, if any has; else the last one looked at, which then says
 * so. */
static struct lane *lane_lock_for_writer(struct sluice *sluice)
{
    unsigned first = sluice->next_lane++;
    for (unsigned i = 0;; i++) {
        struct lane *lane = &sluice->lanes[(first + i) % LANES];
        pthread_mutex_lock(&lane->lock);
        if (loop_arena(lane->loop)->free_count[SLOT_LARGE] >= WRITER_SLOTS || i + 1 == LANES)
            return lane;
        pthread_mutex_unlock(&lane->lock);
    }
}

struct pending_mutation {
    struct mutation m;
    bool is_done;
};

static void mutation_done(struct mutation *m)
{
    CONTAINER_OF(m, struct pending_mutation, m)->is_done = true;
}

/* The lane is locked. */
static enum err commit_on(struct lane *lane, struct volume *volume,
                          struct pending_mutation *pending)
{
    pending->m.magic = MUTATION_MAGIC;
    pending->m.loop = lane->loop;
    pending->m.done = mutation_done;
    volume_commit(volume, &pending->m);
    while (!pending->is_done)
        loop_run_once(lane->loop, UINT64_MAX);
    return pending->m.err;
}

static enum sluice_status commit(struct sluice *sluice, struct pending_mutation *pending,
                                 struct sluice_error *error)
{
    struct lane *lane = lane_lock(sluice);
    enum err e = commit_on(lane, sluice->volume, pending);
    pthread_mutex_unlock(&lane->lock);
    return tell(error, e, &pending->m.trail);
}

/* ---- buckets ---- */

static bool bucket_name_is_valid(struct bytes name)
{
    if (name.size < BUCKET_NAME_BYTES_MIN || name.size > BUCKET_NAME_BYTES_MAX)
        return false;
    for (size_t i = 0; i < name.size; i++) {
        char c = name.data[i];
        bool is_inner = i > 0 && i + 1 < name.size;
        if (!((c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') ||
              (is_inner && (c == '-' || (c == '.' && name.data[i - 1] != '.')))))
            return false;
    }
    return true;
}

enum sluice_status sluice_bucket_create(struct sluice *sluice, const char *bucket,
                                        struct sluice_error *error)
{
    struct err_trail trail = {0};
    struct bytes name = bytes_of_string(bucket);
    if (!bucket_name_is_valid(name))
        return tell(error,
                    err_note(&trail, ERR_INVALID,
                             "a bucket's name has 3 to 63 characters a-z 0-9 . - and begins and "
                             "ends with one of a-z 0-9"),
                    &trail);
    struct pending_mutation pending = {.m = {.kind = MUTATION_BUCKET_CREATE,
                                             .bucket_name = name,
                                             .owner = BYTES(OWNER),
                                             .region = BYTES(REGION)}};
    return commit(sluice, &pending, error);
}

static enum err find_bucket(struct sluice *sluice, const char *bucket,
                            struct bucket_info *ret_bucket, struct err_trail *trail)
{
    enum err e = volume_bucket(sluice->volume, bytes_of_string(bucket), ret_bucket);
    return e ? err_note(trail, e, "bucket %s", bucket) : ERR_OK;
}

enum sluice_status sluice_bucket_delete(struct sluice *sluice, const char *bucket,
                                        struct sluice_error *error)
{
    struct err_trail trail = {0};
    struct bucket_info info;
    enum err e = find_bucket(sluice, bucket, &info, &trail);
    if (e)
        return tell(error, e, &trail);
    struct pending_mutation pending = {.m = {.kind = MUTATION_BUCKET_DELETE,
                                             .bucket_name = bytes_of_string(bucket),
                                             .bucket = info.id}};
    return commit(sluice, &pending, error);
}

struct bucket_walk {
    int (*each)(void *context, const char *bucket);
    void *context;
};

static enum err bucket_walked(void *context, const struct bucket_info *bucket)
{
    struct bucket_walk *walk = context;
    return walk->each(walk->context, bucket->name) ? ERR_CANCELLED : ERR_OK;
}

enum sluice_status sluice_buckets(struct sluice *sluice,
                                  int (*each)(void *context, const char *bucket), void *context,
                                  struct sluice_error *error)
{
    struct bucket_walk walk = {each, context};
    enum err e = volume_buckets(sluice->volume, bucket_walked, &walk);
    return tell(error, e == ERR_CANCELLED ? ERR_OK : e, NULL);
}

/* ---- writing ---- */

enum slot_state { SLOT_FILLING, SLOT_WRITING };

struct writer_slot {
    struct body_write write;
    struct slot *slot; /* owned while the writer lives */
    struct sluice_writer *writer;
    enum slot_state state;
};

struct sluice_writer {
    struct sluice *sluice; /* borrowed */
    struct lane *lane;     /* borrowed; locked only while the loop turns */
    struct body *body;     /* owned until the commit takes it */
    struct digest md5;
    struct bucket_id bucket;
    char key[KEY_BYTES_MAX];
    size_t key_size;
    uint64_t size, expected_size;
    struct writer_slot slots[WRITER_SLOTS];
    unsigned filling; /* which slot */
    uint32_t filled;  /* bytes in it */
    enum err failed;
    struct err_trail trail;
};

static void writer_written(struct body_write *write, enum err e)
{
    struct writer_slot *slot = CONTAINER_OF(write, struct writer_slot, write);
    slot->state = SLOT_FILLING;
    if (e && !slot->writer->failed)
        slot->writer->failed = err_note(&slot->writer->trail, e, "write object bytes");
}

/* The lane is locked. */
static void writer_settle(struct sluice_writer *writer)
{
    for (unsigned i = 0; i < WRITER_SLOTS; i++)
        while (writer->slots[i].state == SLOT_WRITING)
            loop_run_once(writer->lane->loop, UINT64_MAX);
}

static void writer_free(struct sluice_writer *writer)
{
    pthread_mutex_lock(&writer->lane->lock);
    writer_settle(writer);
    body_close(writer->body);
    for (unsigned i = 0; i < WRITER_SLOTS; i++)
        slot_put(writer->slots[i].slot);
    pthread_mutex_unlock(&writer->lane->lock);
    digest_fini(&writer->md5);
    free(writer);
}

void sluice_writer_abort(struct sluice_writer *writer)
{
    if (writer != NULL)
        writer_free(writer);
}
CLEANUP_DEFINE(sluice_writer_abort, struct sluice_writer *)

/* The lane is locked. */
static enum err writer_begin(struct sluice_writer *writer)
{
    for (unsigned i = 0; i < WRITER_SLOTS; i++) {
        writer->slots[i].writer = writer;
        writer->slots[i].slot = slot_take(loop_arena(writer->lane->loop), SLOT_LARGE);
        if (writer->slots[i].slot == NULL)
            return err_note(&writer->trail, ERR_BUSY, "more than %u writers are open",
                            LANES * LANE_SLOTS / WRITER_SLOTS);
    }
    return body_open(writer->sluice->volume,
                     &(struct body_options){.loop = writer->lane->loop,
                                            .size = writer->expected_size == UINT64_MAX
                                                        ? BODY_SIZE_UNKNOWN
                                                        : writer->expected_size},
                     &writer->body, &writer->trail);
}

enum sluice_status sluice_writer_open(struct sluice *sluice, const char *bucket, const char *key,
                                      uint64_t size, struct sluice_writer **ret_writer,
                                      struct sluice_error *error)
{
    struct err_trail trail = {0};
    size_t key_size = strlen(key);
    if (key_size == 0 || key_size > KEY_BYTES_MAX || !bytes_is_utf8(bytes_of(key, key_size)))
        return tell(error,
                    err_note(&trail, ERR_INVALID, "a key is 1 to %u bytes of UTF-8", KEY_BYTES_MAX),
                    &trail);
    struct bucket_info info;
    enum err e = find_bucket(sluice, bucket, &info, &trail);
    if (e)
        return tell(error, e, &trail);

    struct sluice_writer *made = calloc(1, sizeof *made);
    if (made == NULL)
        return tell(error, ERR_NO_MEMORY, NULL);
    made->sluice = sluice;
    made->lane = lane_lock_for_writer(sluice);
    made->bucket = info.id;
    made->key_size = key_size;
    memcpy(made->key, key, key_size);
    made->expected_size = size;
    e = writer_begin(made);
    pthread_mutex_unlock(&made->lane->lock);
    CLEANUP(sluice_writer_abort) struct sluice_writer *writer = made;
    if (!e)
        e = digest_init(&writer->md5, DIGEST_MD5);
    if (e)
        return tell(error, e, &writer->trail);
    *ret_writer = TAKE(writer);
    return SLUICE_OK;
}

/* Sends the slot being filled on its way and turns to the other, waiting for it if need be. The
 * lane is locked. */
static enum err writer_flush(struct sluice_writer *writer, bool last)
{
    struct writer_slot *slot = &writer->slots[writer->filling];
    slot->state = SLOT_WRITING;
    enum err e = body_write(writer->body, &slot->write, slot->slot->data, writer->filled, last,
                            writer_written, &writer->trail);
    if (e) {
        slot->state = SLOT_FILLING;
        return writer->failed = e;
    }
    writer->filling = (writer->filling + 1) % WRITER_SLOTS;
    writer->filled = 0;
    while (writer->slots[writer->filling].state == SLOT_WRITING)
        loop_run_once(writer->lane->loop, UINT64_MAX);
    return writer->failed;
}

enum sluice_status sluice_writer_write(struct sluice_writer *writer, const void *data, size_t size,
                                       struct sluice_error *error)
{
    if (writer->failed)
        return tell(error, writer->failed, &writer->trail);
    if (size > PUT_BYTES_MAX - writer->size || size > writer->expected_size - writer->size)
        return tell(error,
                    writer->failed = err_note(&writer->trail, ERR_TOO_LARGE,
                                              "more bytes than announced or than 5 GiB"),
                    &writer->trail);
    digest_update(&writer->md5, data, size);
    writer->size += size;
    const uint8_t *from = data;
    enum err e = ERR_OK;
    while (size > 0 && !e) {
        /* A full slot stays until more comes: only then is it known not to be the last. */
        if (writer->filled == SLOT_LARGE_BYTES) {
            pthread_mutex_lock(&writer->lane->lock);
            e = writer_flush(writer, false);
            pthread_mutex_unlock(&writer->lane->lock);
            continue;
        }
        size_t part = SLOT_LARGE_BYTES - writer->filled;
        part = part < size ? part : size;
        memcpy(writer->slots[writer->filling].slot->data + writer->filled, from, part);
        writer->filled += (uint32_t)part;
        from += part;
        size -= part;
    }
    return tell(error, e, &writer->trail);
}

static void stat_of(const struct object_info *info, struct sluice_stat *stat)
{
    stat->size = info->size;
    stat->mtime_ns = info->mtime_ns;
    hex_encode(info->etag.md5, sizeof info->etag.md5, stat->etag);
    if (info->etag.parts > 0) {
        struct buf tail = {.data = stat->etag + 32, .capacity = sizeof stat->etag - 32};
        buf_printf(&tail, "-%u", info->etag.parts);
    }
}

/* The lane is locked; the mutation takes the body either way. */
static enum err writer_name(struct sluice_writer *writer, struct pending_mutation *pending)
{
    enum err e = writer_flush(writer, true);
    writer_settle(writer);
    if (e || writer->failed)
        return writer->failed;
    uint8_t md5_bytes[DIGEST_BYTES_MAX];
    digest_final(&writer->md5, md5_bytes);
    pending->m = (struct mutation){
        .kind = MUTATION_OBJECT_PUT,
        .bucket = writer->bucket,
        .key = bytes_of(writer->key, writer->key_size),
        .body = TAKE(writer->body),
        .size = writer->size,
    };
    memcpy(pending->m.etag.md5, md5_bytes, sizeof pending->m.etag.md5);
    e = commit_on(writer->lane, writer->sluice->volume, pending);
    if (e)
        writer->trail = pending->m.trail;
    return e;
}

enum sluice_status sluice_writer_commit(struct sluice_writer *taken, struct sluice_stat *stat,
                                        struct sluice_error *error)
{
    CLEANUP(sluice_writer_abort) struct sluice_writer *writer = taken;
    if (!writer->failed && writer->expected_size != UINT64_MAX &&
        writer->size < writer->expected_size)
        writer->failed = err_note(&writer->trail, ERR_TOO_SMALL, "fewer bytes than announced");
    if (writer->failed)
        return tell(error, writer->failed, &writer->trail);

    struct pending_mutation pending = {0};
    pthread_mutex_lock(&writer->lane->lock);
    enum err e = writer_name(writer, &pending);
    pthread_mutex_unlock(&writer->lane->lock);
    if (e)
        return tell(error, e, &writer->trail);
    if (stat != NULL)
        stat_of(&(struct object_info){.size = pending.m.size,
                                      .mtime_ns = pending.m.mtime_ns,
                                      .etag = pending.m.etag},
                stat);
    return SLUICE_OK;
}

enum sluice_status sluice_put(struct sluice *sluice, const char *bucket, const char *key,
                              const void *data, size_t size, struct sluice_stat *stat,
                              struct sluice_error *error)
{
    CLEANUP(sluice_writer_abort) struct sluice_writer *writer = NULL;
    enum sluice_status status = sluice_writer_open(sluice, bucket, key, size, &writer, error);
    if (status == SLUICE_OK)
        status = sluice_writer_write(writer, data, size, error);
    if (status != SLUICE_OK)
        return status;
    return sluice_writer_commit(TAKE(writer), stat, error);
}

/* ---- reading ---- */

#define READER_BYTES SLOT_SMALL_BYTES
_Static_assert(READER_BYTES % SUM_CHUNK_BYTES == 0, "whole chunks are read");

struct sluice_reader {
    struct object *object; /* owned reference */
    struct read_plan plan;
    uint8_t *memory; /* owned; aligned for Direct I/O */
    uint64_t memory_file_offset;
    uint32_t memory_size; /* verified bytes in it */
    struct disk_file *memory_file;
};

void sluice_reader_close(struct sluice_reader *reader)
{
    if (reader == NULL)
        return;
    if (reader->object != NULL) {
        read_plan_close(&reader->plan);
        object_put(reader->object);
    }
    free(reader->memory);
    free(reader);
}
CLEANUP_DEFINE(sluice_reader_close, struct sluice_reader *)

static enum err look_up(struct sluice *sluice, const char *bucket, const char *key,
                        struct object **ret_object, struct err_trail *trail)
{
    struct bucket_info info;
    enum err e = find_bucket(sluice, bucket, &info, trail);
    if (e)
        return e;
    struct bytes name = bytes_of_string(key);
    if (name.size == 0 || name.size > KEY_BYTES_MAX)
        return err_note(trail, ERR_INVALID, "a key is 1 to %u bytes of UTF-8", KEY_BYTES_MAX);
    e = volume_lookup(sluice->volume, info.id, name, KV_ANY, ret_object);
    return e ? err_note(trail, e, "%s/%.128s", bucket, key) : ERR_OK;
}

enum sluice_status sluice_reader_open(struct sluice *sluice, const char *bucket, const char *key,
                                      struct sluice_reader **ret_reader, struct sluice_stat *stat,
                                      struct sluice_error *error)
{
    struct err_trail trail = {0};
    CLEANUP(sluice_reader_close) struct sluice_reader *reader = calloc(1, sizeof *reader);
    if (reader == NULL || posix_memalign((void **)&reader->memory, DISK_ALIGN, READER_BYTES) != 0)
        return tell(error, ERR_NO_MEMORY, NULL);
    enum err e = look_up(sluice, bucket, key, &reader->object, &trail);
    if (e)
        return tell(error, e, &trail);
    const struct object_info *info = object_info(reader->object);
    read_plan_open(&reader->plan, reader->object, 0, info->size);
    if (stat != NULL)
        stat_of(info, stat);
    *ret_reader = TAKE(reader);
    return SLUICE_OK;
}

enum sluice_status sluice_reader_seek(struct sluice_reader *reader, uint64_t offset,
                                      struct sluice_error *error)
{
    struct err_trail trail = {0};
    uint64_t size = object_info(reader->object)->size;
    if (offset > size)
        return tell(error, err_note(&trail, ERR_INVALID, "seek behind the object's end"), &trail);
    read_plan_close(&reader->plan);
    read_plan_open(&reader->plan, reader->object, offset, size - offset);
    return SLUICE_OK;
}

/* Reads the chunks around the span's first byte into memory and checks them, unless they are
 * there. */
static enum err reader_fill(struct sluice_reader *reader, const struct read_span *span)
{
    if (reader->memory_file == span->direct && span->file_offset >= reader->memory_file_offset &&
        span->file_offset < reader->memory_file_offset + reader->memory_size)
        return ERR_OK;
    uint32_t skipped = (uint32_t)((span->file_offset - span->chunk_file_offset) / SUM_CHUNK_BYTES);
    uint32_t count = span->chunk_count - skipped;
    if (count > READER_BYTES / SUM_CHUNK_BYTES)
        count = READER_BYTES / SUM_CHUNK_BYTES;
    bool has_last = skipped + count == span->chunk_count;
    uint32_t size = count * SUM_CHUNK_BYTES;
    if (has_last)
        size -= SUM_CHUNK_BYTES - span->last_chunk_size;
    struct read_span part = *span;
    part.chunk_file_offset += (uint64_t)skipped * SUM_CHUNK_BYTES;
    part.sums += skipped;
    part.chunk_count = count;
    part.last_chunk_size = has_last ? span->last_chunk_size : SUM_CHUNK_BYTES;

    reader->memory_size = 0;
    uint32_t aligned = (size + DISK_ALIGN - 1) & ~(DISK_ALIGN - 1);
    enum err e = span->direct->disk->ops->pread(span->direct, reader->memory, aligned,
                                                part.chunk_file_offset);
    if (!e)
        e = read_span_verify(&part, reader->memory, size);
    if (e)
        return e;
    reader->memory_file = span->direct;
    reader->memory_file_offset = part.chunk_file_offset;
    reader->memory_size = size;
    return ERR_OK;
}

static enum err reader_step(struct sluice_reader *reader, uint8_t *data, size_t size,
                            size_t *ret_size)
{
    struct read_span span;
    enum err e = read_plan_span(&reader->plan, &span);
    if (e == ERR_WOULD_BLOCK) {
        e = read_plan_load(&reader->plan);
        if (!e)
            e = read_plan_span(&reader->plan, &span);
    }
    if (e)
        return e;
    uint64_t part = span.size < size ? span.size : size;
    if (span.inline_data != NULL) {
        memcpy(data, span.inline_data, part);
    } else {
        e = reader_fill(reader, &span);
        if (e)
            return e;
        uint64_t from = span.file_offset - reader->memory_file_offset;
        uint64_t ready = reader->memory_size - from;
        part = part < ready ? part : ready;
        memcpy(data, reader->memory + from, part);
    }
    read_plan_advance(&reader->plan, part);
    *ret_size = part;
    return ERR_OK;
}

enum sluice_status sluice_reader_read(struct sluice_reader *reader, void *data, size_t size,
                                      size_t *ret_size, struct sluice_error *error)
{
    size_t done = 0;
    while (done < size && read_plan_left(&reader->plan) > 0) {
        size_t step;
        enum err e = reader_step(reader, (uint8_t *)data + done, size - done, &step);
        if (e) {
            struct err_trail trail = {0};
            e = err_note(&trail, e, "read at byte %llu", (unsigned long long)reader->plan.offset);
            return tell(error, e, &trail);
        }
        done += step;
    }
    *ret_size = done;
    return SLUICE_OK;
}

enum sluice_status sluice_get(struct sluice *sluice, const char *bucket, const char *key,
                              uint64_t offset, void *data, size_t size, size_t *ret_size,
                              struct sluice_error *error)
{
    CLEANUP(sluice_reader_close) struct sluice_reader *reader = NULL;
    enum sluice_status status = sluice_reader_open(sluice, bucket, key, &reader, NULL, error);
    if (status == SLUICE_OK && offset > 0)
        status = sluice_reader_seek(reader, offset, error);
    if (status == SLUICE_OK)
        status = sluice_reader_read(reader, data, size, ret_size, error);
    return status;
}

enum sluice_status sluice_stat(struct sluice *sluice, const char *bucket, const char *key,
                               struct sluice_stat *stat, struct sluice_error *error)
{
    struct err_trail trail = {0};
    struct object *object;
    enum err e = look_up(sluice, bucket, key, &object, &trail);
    if (e)
        return tell(error, e, &trail);
    stat_of(object_info(object), stat);
    object_put(object);
    return SLUICE_OK;
}

enum sluice_status sluice_delete(struct sluice *sluice, const char *bucket, const char *key,
                                 struct sluice_error *error)
{
    struct err_trail trail = {0};
    struct bucket_info info;
    enum err e = find_bucket(sluice, bucket, &info, &trail);
    if (e)
        return tell(error, e, &trail);
    struct pending_mutation pending = {
        .m = {.kind = MUTATION_OBJECT_DELETE, .bucket = info.id, .key = bytes_of_string(key)}};
    if (pending.m.key.size == 0 || pending.m.key.size > KEY_BYTES_MAX)
        return tell(error, ERR_INVALID, NULL);
    return commit(sluice, &pending, error);
}

/* ---- listing ---- */

struct list_walk {
    int (*each)(void *context, const char *key, size_t key_size, const struct sluice_stat *stat);
    void *context;
    bool is_stopped;
};

static enum err list_walked(void *context, const struct list_entry *entry)
{
    struct list_walk *walk = context;
    char key[KEY_BYTES_MAX + 1];
    memcpy(key, entry->key.data, entry->key.size);
    key[entry->key.size] = '\0';
    struct sluice_stat stat;
    if (!entry->is_prefix)
        stat_of(&entry->info, &stat);
    walk->is_stopped =
        walk->each(walk->context, key, entry->key.size, entry->is_prefix ? NULL : &stat) != 0;
    return walk->is_stopped ? ERR_CANCELLED : ERR_OK;
}

enum sluice_status sluice_list(struct sluice *sluice, const char *bucket,
                               const struct sluice_list_options *options,
                               int (*each)(void *context, const char *key, size_t key_size,
                                           const struct sluice_stat *stat),
                               void *context, struct sluice_error *error)
{
    static const struct sluice_list_options everything = {0};
    options = options != NULL ? options : &everything;
    struct err_trail trail = {0};
    struct bucket_info info;
    enum err e = find_bucket(sluice, bucket, &info, &trail);
    struct list_walk walk = {each, context, false};
    struct list_query query = {
        .bucket = info.id,
        .prefix = bytes_of_string(options->prefix),
        .delimiter = bytes_of_string(options->delimiter),
        .after = bytes_of_string(options->after),
    };
    uint64_t left = options->max > 0 ? options->max : UINT64_MAX;
    struct list_result result = {.truncated = true};
    char after[KEY_BYTES_MAX];
    while (!e && result.truncated && left > 0) {
        query.max = left < LIST_KEYS_MAX ? (uint32_t)left : LIST_KEYS_MAX;
        e = volume_list(sluice->volume, &query, list_walked, &walk, &result);
        if (walk.is_stopped)
            return SLUICE_OK;
        left -= result.count;
        memcpy(after, result.last, result.last_size);
        query.after = bytes_of(after, result.last_size);
    }
    return tell(error, e, &trail);
}
