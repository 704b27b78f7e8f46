#include "replication/link_wire.h"

#include "base/check.h"
#include "base/digest.h"

#define META_MAGIC  0x656d4c53u /* "SLme" */
#define CHUNK_MAGIC 0x75624c53u /* "SLbu" */

struct link_layout link_layout_of(uint64_t area_bytes)
{
    CHECK(area_bytes >= LINK_AREA_BYTES_MIN);
    uint64_t meta = area_bytes / 8 / LINK_META_SLOT_BYTES;
    if (meta > LINK_META_SLOTS_MAX)
        meta = LINK_META_SLOTS_MAX;
    CHECK(meta >= LINK_META_SLOTS_MIN);
    uint64_t offset = meta * LINK_META_SLOT_BYTES;
    uint64_t bulk = (area_bytes - offset) / LINK_BULK_SLOT_BYTES;
    if (bulk > LINK_BULK_SLOTS_MAX)
        bulk = LINK_BULK_SLOTS_MAX;
    return (struct link_layout){
        .meta_slots = (uint32_t)meta, .bulk_slots = (uint32_t)bulk, .bulk_offset = offset};
}

/* ---- CTL ---- */

void link_ctl_head_encode(const struct link_ctl_head *head, uint8_t out[LINK_CTL_HEAD_BYTES])
{
    out[0] = head->type;
    out[1] = 0;
    put_le16(out + 2, head->count);
    put_le32(out + 4, head->meta);
}

enum err link_ctl_head_decode(const uint8_t *in, size_t size, struct link_ctl_head *ret_head)
{
    if (size < LINK_CTL_HEAD_BYTES || in[1] != 0)
        return ERR_CORRUPT;
    struct link_ctl_head head = {
        .type = in[0], .count = get_le16(in + 2), .meta = get_le32(in + 4)};
    size_t body = size - LINK_CTL_HEAD_BYTES;
    bool is_sane = false;
    if (head.type == LINK_CTL_READY)
        is_sane = head.count == 0 && body == LINK_READY_BYTES;
    else if (head.type == LINK_CTL_RETURN)
        is_sane = body == (size_t)head.count * LINK_RETURN_BYTES;
    else if (head.type == LINK_CTL_ABOVE)
        is_sane = head.count == 0 && body > 0;
    if (!is_sane)
        return ERR_CORRUPT;
    *ret_head = head;
    return ERR_OK;
}

void link_ready_encode(uint64_t area_bytes, uint8_t out[LINK_READY_BYTES])
{
    struct link_layout layout = link_layout_of(area_bytes);
    put_le16(out, LINK_WIRE_VERSION);
    put_le16(out + 2, (uint16_t)layout.meta_slots);
    put_le16(out + 4, (uint16_t)layout.bulk_slots);
    put_le16(out + 6, 0);
    put_le64(out + 8, area_bytes);
}

enum err link_ready_decode(const uint8_t in[LINK_READY_BYTES], uint64_t *ret_area_bytes)
{
    uint64_t area_bytes = get_le64(in + 8);
    if (get_le16(in) != LINK_WIRE_VERSION || area_bytes < LINK_AREA_BYTES_MIN)
        return ERR_UNSUPPORTED;
    struct link_layout layout = link_layout_of(area_bytes);
    if (get_le16(in + 2) != layout.meta_slots || get_le16(in + 4) != layout.bulk_slots)
        return ERR_UNSUPPORTED;
    *ret_area_bytes = area_bytes;
    return ERR_OK;
}

void link_return_encode(const struct link_return *one, uint8_t out[LINK_RETURN_BYTES])
{
    out[0] = one->slot;
    out[1] = one->word;
    put_le16(out + 2, one->use);
}

void link_return_decode(const uint8_t in[LINK_RETURN_BYTES], struct link_return *ret_one)
{
    *ret_one = (struct link_return){.slot = in[0], .word = in[1], .use = get_le16(in + 2)};
}

/* The position is what travels: rows are only ever added behind. */
static const enum err words[] = {
    ERR_OK,        ERR_IO,        ERR_CORRUPT,   ERR_DISK_FULL,     ERR_BUSY,
    ERR_NO_MEMORY, ERR_CANCELLED, ERR_READ_ONLY, ERR_VOLUME_FAILED,
};

uint8_t link_word_of(enum err e)
{
    for (size_t i = 0; i < COUNT_OF(words); i++)
        if (words[i] == e)
            return (uint8_t)i;
    for (size_t i = 1; i < COUNT_OF(words); i++)
        if (err_family(words[i]) == err_family(e))
            return link_word_of(words[i]);
    return link_word_of(ERR_IO);
}

enum err link_word_err(uint8_t word)
{
    return word < COUNT_OF(words) ? words[word] : ERR_IO;
}

/* ---- META ---- */

void link_meta_head_encode(const struct link_meta_head *head, uint8_t out[LINK_META_HEAD_BYTES])
{
    memset(out, 0, LINK_META_HEAD_BYTES);
    put_le32(out, META_MAGIC);
    put_le32(out + 4, head->use);
    put_le16(out + 8, head->slot);
    out[10] = head->kind;
    put_le32(out + 12, head->size);
    put_le32(out + 16, head->total);
    put_le32(out + 20, head->offset);
    put_le64(out + 24, head->sum);
    put_le64(out + 56, xxh3_64(out, 56));
}

enum err link_meta_head_decode(const uint8_t in[LINK_META_HEAD_BYTES],
                               struct link_meta_head *ret_head)
{
    if (get_le32(in) != META_MAGIC || get_le64(in + 56) != xxh3_64(in, 56))
        return ERR_CORRUPT;
    struct link_meta_head head = {
        .use = get_le32(in + 4),
        .slot = get_le16(in + 8),
        .kind = in[10],
        .size = get_le32(in + 12),
        .total = get_le32(in + 16),
        .offset = get_le32(in + 20),
        .sum = get_le64(in + 24),
    };
    bool is_part = head.total <= LINK_MESSAGE_BYTES_MAX && head.offset <= head.total &&
                   head.size <= LINK_MESSAGE_SLOT_BYTES && head.size <= head.total - head.offset &&
                   (head.size > 0 || head.total == 0);
    if (!is_part)
        return ERR_CORRUPT;
    *ret_head = head;
    return ERR_OK;
}

/* ---- BULK ---- */

bool link_chunk_head_is_sane(const struct link_chunk_head *head)
{
    if ((head->data.epoch == 0 && head->data.counter == 0) || head->size == 0 ||
        head->size > LINK_CHUNK_BYTES_MAX || head->offset > UINT64_MAX - 1 - head->size)
        return false;
    if (head->sum_count != 0 &&
        (head->offset % SUM_CHUNK_BYTES != 0 ||
         head->sum_count != (head->size + SUM_CHUNK_BYTES - 1) / SUM_CHUNK_BYTES))
        return false;
    uint64_t end = head->offset + head->size;
    if (head->data_size == UINT64_MAX)
        return true;
    return head->last ? end == head->data_size : end < head->data_size;
}

void link_chunk_head_encode(const struct link_chunk_head *head, uint16_t slot, uint32_t use,
                            uint8_t out[LINK_CHUNK_WIRE_BYTES])
{
    memset(out, 0, LINK_CHUNK_WIRE_BYTES);
    put_le32(out, CHUNK_MAGIC);
    put_le32(out + 4, use);
    put_le16(out + 8, slot);
    out[10] = head->last;
    out[11] = (uint8_t)head->sum_count;
    put_le32(out + 12, head->size);
    put_le64(out + 16, head->data.epoch);
    put_le64(out + 24, head->data.counter);
    put_le64(out + 32, head->data_size);
    put_le64(out + 40, head->offset);
    for (uint32_t i = 0; i < head->sum_count; i++)
        put_le64(out + 48 + 8 * i, head->sums[i]);
    put_le64(out + 248, xxh3_64(out, 248));
}

enum err link_chunk_head_decode(const uint8_t in[LINK_CHUNK_WIRE_BYTES],
                                struct link_chunk_head *ret_head, uint16_t *ret_slot,
                                uint32_t *ret_use)
{
    if (get_le32(in) != CHUNK_MAGIC || get_le64(in + 248) != xxh3_64(in, 248))
        return ERR_CORRUPT;
    struct link_chunk_head head = {
        .data = {.epoch = get_le64(in + 16), .counter = get_le64(in + 24)},
        .data_size = get_le64(in + 32),
        .offset = get_le64(in + 40),
        .size = get_le32(in + 12),
        .last = in[10] != 0,
        .sum_count = in[11],
    };
    if (in[10] > 1 || head.sum_count > LINK_CHUNK_SUMS_MAX || !link_chunk_head_is_sane(&head))
        return ERR_CORRUPT;
    for (uint32_t i = 0; i < head.sum_count; i++)
        head.sums[i] = get_le64(in + 48 + 8 * i);
    *ret_head = head;
    *ret_slot = get_le16(in + 8);
    *ret_use = get_le32(in + 4);
    return ERR_OK;
}
