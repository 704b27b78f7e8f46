#include "storage/repair.h"

#include "base/check.h"
#include "base/digest.h"
#include "storage/log.h"
#include "storage/read_plan.h"
#include "storage/volume_priv.h"

/* A chunk found: the plan holds the data where it is. */
struct place {
    struct read_plan plan;
    struct read_span span;
    uint32_t size;
};

/* Positions a plan at the chunk. */
static enum err find_span(struct object *object, uint64_t offset, struct place *place)
{
    uint64_t left = object_info(object)->size - offset;
    place->size = left < SUM_CHUNK_BYTES ? (uint32_t)left : SUM_CHUNK_BYTES;
    read_plan_open(&place->plan, object, offset, place->size);
    enum err e = read_plan_load(&place->plan);
    if (e == ERR_OK)
        e = read_plan_span(&place->plan, &place->span);
    if (e == ERR_OK && place->span.size < place->size)
        e = ERR_CORRUPT; /* a chunk never spans two extents */
    if (e)
        read_plan_close(&place->plan);
    return e;
}

/* On ERR_OK the caller closes place->plan. */
static enum err find(struct volume *volume, struct data_id data, uint64_t offset,
                     struct place *place)
{
    struct object *object = NULL;
    enum err e = volume_data_lookup(volume, data, &object);
    if (e)
        return e;
    bool is_there = offset % SUM_CHUNK_BYTES == 0 && offset < object_info(object)->size;
    e = is_there ? find_span(object, offset, place) : ERR_INVALID;
    object_put(object);
    if (e != ERR_CORRUPT)
        return e;
    /* Records of large data go one by one when it is deleted: gone is no damage. */
    enum err again = volume_data_lookup(volume, data, &object);
    if (again == ERR_OK)
        object_put(object);
    return again == ERR_NO_SUCH_OBJECT ? again : e;
}

static uint32_t aligned(uint32_t size)
{
    return (size + DISK_ALIGN - 1) / DISK_ALIGN * DISK_ALIGN;
}

static enum err read_place(const struct place *place, uint8_t *memory)
{
    const struct read_span *span = &place->span;
    if (span->inline_data != NULL) { /* its sum was compared when it was looked up */
        memcpy(memory, span->inline_data, place->size);
        return ERR_OK;
    }
    enum err e = span->direct->disk->ops->pread(span->direct, memory, aligned(place->size),
                                                span->chunk_file_offset);
    return e ? e : read_span_verify(span, memory, place->size);
}

enum err volume_chunk_read(struct volume *volume, struct data_id data, uint64_t offset,
                           uint8_t *memory, uint32_t *ret_size, struct damage *ret_damage)
{
    CHECK_MAGIC(volume, VOLUME_MAGIC);
    struct place place;
    enum err e = find(volume, data, offset, &place);
    if (e) {
        if (ret_damage != NULL)
            *ret_damage = (struct damage){.data = data, .offset = offset, .err = e};
        return e;
    }
    e = read_place(&place, memory);
    if (e == ERR_OK)
        *ret_size = place.size;
    else if (ret_damage != NULL)
        *ret_damage = (struct damage){
            .data = data,
            .offset = offset,
            .size = place.size,
            .segment = place.span.segment,
            .file_offset = place.span.chunk_file_offset,
            .err = e,
        };
    read_plan_close(&place.plan);
    return e;
}

static enum err write_place(struct volume *volume, const struct place *place, uint8_t *memory,
                            struct err_trail *trail)
{
    const struct read_span *span = &place->span;
    const struct disk_ops *ops = span->direct->disk->ops;
    uint32_t size = aligned(place->size);
    memset(memory + place->size, 0, size - place->size);
    enum err e = ops->pwrite(span->direct, memory, size, span->chunk_file_offset);
    if (e)
        return err_note(trail, e, "write segment %08x byte %llu", span->segment,
                        (unsigned long long)span->chunk_file_offset);
    e = ops->sync(span->direct);
    if (e) {
        (void)err_note(trail, e, "sync segment %08x after a repair", span->segment);
        volume__fail(volume, e, trail);
        return e;
    }
    ops->drop_cache(span->buffered, span->chunk_file_offset, size);
    e = read_place(place, memory);
    return e ? err_note(trail, e, "read segment %08x byte %llu back", span->segment,
                        (unsigned long long)span->chunk_file_offset)
             : ERR_OK;
}

enum err volume_chunk_rewrite(struct volume *volume, struct data_id data, uint64_t offset,
                              uint8_t *memory, uint32_t size, struct err_trail *trail)
{
    CHECK_MAGIC(volume, VOLUME_MAGIC);
    CHECK((uintptr_t)memory % DISK_ALIGN == 0);
    if (volume->read_only)
        return err_note(trail, ERR_READ_ONLY, "the volume is only looked at");
    enum err e = volume__index_usable(volume);
    if (e)
        return volume__tell_state(volume, e, trail);
    struct place place;
    e = find(volume, data, offset, &place);
    if (e)
        return err_note(trail, e, "find the chunk");
    if (place.span.inline_data != NULL)
        e = err_note(trail, ERR_INVALID, "it is kept in the index");
    else if (size != place.size || read_span_verify(&place.span, memory, size))
        e = err_note(trail, ERR_INVALID, "these are not the bytes that were stored");
    else
        e = write_place(volume, &place, memory, trail);
    read_plan_close(&place.plan);
    return e;
}
