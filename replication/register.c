#include "replication/register.h"

#include "base/digest.h"

#define RECORD_VERSION      1
#define RECORD_SUMMED_BYTES 56u
_Static_assert(RECORD_SUMMED_BYTES + 8 == CONFIG_RECORD_BYTES, "the checksum ends the record");

void config_record_encode(const struct config_record *record, uint8_t out[CONFIG_RECORD_BYTES])
{
    memset(out, 0, CONFIG_RECORD_BYTES);
    out[0] = RECORD_VERSION;
    put_le32(out + 4, record->members);
    put_le64(out + 8, record->epoch);
    put_le64(out + 16, record->term);
    memcpy(out + 24, record->primary, 16);
    memcpy(out + 40, record->nonce, 16);
    put_le64(out + RECORD_SUMMED_BYTES, xxh3_64(out, RECORD_SUMMED_BYTES));
}

enum err config_record_decode(struct bytes in, struct config_record *ret_record)
{
    if (in.size != CONFIG_RECORD_BYTES)
        return ERR_CORRUPT;
    const uint8_t *b = (const uint8_t *)in.data;
    if (get_le64(b + RECORD_SUMMED_BYTES) != xxh3_64(b, RECORD_SUMMED_BYTES))
        return ERR_CORRUPT;
    if (b[0] != RECORD_VERSION)
        return ERR_FORMAT_NEWER;
    struct config_record record = {
        .members = get_le32(b + 4),
        .epoch = get_le64(b + 8),
        .term = get_le64(b + 16),
    };
    if (record.members == 0 || record.term > record.epoch)
        return ERR_CORRUPT;
    memcpy(record.primary, b + 24, 16);
    memcpy(record.nonce, b + 40, 16);
    *ret_record = record;
    return ERR_OK;
}
