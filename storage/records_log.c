/* Rows of the log (the layout is records.h's). */
#include "storage/records.h"

#include "base/check.h"

enum log_flags {
    LOG_HAS_DATA = 1,
    LOG_DATA_IS_INLINE = 2,
};

#define LOG_DATA_BYTES 24u

static size_t head_size(bool has_data)
{
    return LOG_HEAD_BYTES + (has_data ? LOG_DATA_BYTES : 0);
}

size_t record_log_size(const struct log_record *row)
{
    return head_size(row->data.size > 0) + row->record.size;
}

void record_log_put(uint8_t *out, const struct log_record *row)
{
    bool has_data = row->data.size > 0;
    CHECK(row->record.size <= LOG_RECORD_BYTES_MAX);
    CHECK(has_data == !data_id_is_none(row->data.id));
    memset(out, 0, LOG_HEAD_BYTES);
    out[0] = RECORD_VERSION;
    out[1] = (uint8_t)((has_data ? LOG_HAS_DATA : 0) |
                       (has_data && row->data.is_inline ? LOG_DATA_IS_INLINE : 0));
    put_le64(out + 8, row->term);
    out += LOG_HEAD_BYTES;
    if (has_data) {
        put_le64(out, row->data.id.epoch);
        put_le64(out + 8, row->data.id.counter);
        put_le64(out + 16, row->data.size);
        out += LOG_DATA_BYTES;
    }
    if (row->record.size > 0)
        memcpy(out, row->record.data, row->record.size);
}

enum err record_log_get(struct bytes record, struct log_record *ret_row)
{
    const uint8_t *data = (const uint8_t *)record.data;
    if (record.size < LOG_HEAD_BYTES)
        return ERR_CORRUPT;
    if (data[0] > RECORD_VERSION)
        return ERR_FORMAT_NEWER;
    uint8_t flags = data[1];
    bool has_data = (flags & LOG_HAS_DATA) != 0;
    size_t head = head_size(has_data);
    if (data[0] != RECORD_VERSION || (flags & ~(LOG_HAS_DATA | LOG_DATA_IS_INLINE)) != 0 ||
        (!has_data && flags != 0) || (data[2] | data[3] | data[4] | data[5] | data[6] | data[7]) ||
        record.size < head || record.size - head > LOG_RECORD_BYTES_MAX)
        return ERR_CORRUPT;
    struct log_record row = {.term = get_le64(data + 8),
                             .record = bytes_of(data + head, record.size - head)};
    if (has_data) {
        data += LOG_HEAD_BYTES;
        row.data = (struct log_data){
            .id = {.epoch = get_le64(data), .counter = get_le64(data + 8)},
            .size = get_le64(data + 16),
            .is_inline = (flags & LOG_DATA_IS_INLINE) != 0,
        };
        uint64_t most = row.data.is_inline ? INLINE_BYTES_MAX : OBJECT_BYTES_MAX;
        if (data_id_is_none(row.data.id) || row.data.size == 0 || row.data.size > most)
            return ERR_CORRUPT;
    }
    *ret_row = row;
    return ERR_OK;
}
