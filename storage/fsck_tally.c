#include <stdlib.h>

#include "base/digest.h"
#include "storage/fsck_priv.h"

static size_t tally_place(const struct tally *tally, struct data_id id)
{
    size_t mask = tally->capacity - 1;
    size_t at = (size_t)xxh3_64(&id, sizeof id) & mask;
    while (!data_id_is_none(tally->entries[at].id) && !data_id_equal(tally->entries[at].id, id))
        at = (at + 1) & mask;
    return at;
}

static enum err tally_grow(struct tally *tally)
{
    struct tally bigger = {.capacity = tally->capacity > 0 ? tally->capacity * 2 : 1024,
                           .count = tally->count};
    bigger.entries = calloc(bigger.capacity, sizeof *bigger.entries);
    if (bigger.entries == NULL)
        return ERR_NO_MEMORY;
    for (size_t i = 0; i < tally->capacity; i++)
        if (!data_id_is_none(tally->entries[i].id))
            bigger.entries[tally_place(&bigger, tally->entries[i].id)] = tally->entries[i];
    free(tally->entries);
    *tally = bigger;
    return ERR_OK;
}

struct tally_entry *tally_find(struct tally *tally, struct data_id id)
{
    if (tally->count == 0 || data_id_is_none(id))
        return NULL;
    struct tally_entry *entry = &tally->entries[tally_place(tally, id)];
    return data_id_is_none(entry->id) ? NULL : entry;
}

enum err tally_get(struct tally *tally, struct data_id id, struct tally_entry **ret_entry)
{
    if (tally->count * 4 >= tally->capacity * 3) {
        enum err e = tally_grow(tally);
        if (e)
            return e;
    }
    struct tally_entry *entry = &tally->entries[tally_place(tally, id)];
    if (data_id_is_none(entry->id)) {
        entry->id = id;
        tally->count++;
    }
    *ret_entry = entry;
    return ERR_OK;
}

void tally_fini(struct tally *tally)
{
    free(tally->entries);
    *tally = (struct tally){0};
}
