/*
 * A batch is one run of memory: head, key and value of each operation behind one another, in order.
 * Beside it an array with a line an operation and a hash from (family, key) to the newest operation
 * on it.
 *
 * The hash is open addressing with linear probing. Slots are only ever emptied newest first, when a
 * mark is rolled back to: whatever was put behind a slot because that one was taken is younger and
 * therefore already gone, so no tombstones are needed. Growing it re-inserts the operations in
 * their order, which keeps that true. Clearing is a new generation number, not a walk.
 */
#include "storage/kv.h"

#include <stdlib.h>

#include "base/check.h"
#include "base/digest.h"

#define BATCH_MAGIC      0x62617463u
#define OPS_FIRST        256u
#define DATA_FIRST_BYTES 65536u
#define NO_OP            UINT32_MAX

struct op {
    size_t offset; /* of the key in data */
    uint32_t value_size;
    uint16_t key_size;
    uint8_t family;
    bool is_delete;
    uint32_t hash;
    uint32_t same_key;    /* the operation on the same key before this one, or NO_OP */
    uint32_t same_family; /* the operation on the same family before this one, or NO_OP */
};

struct hash_slot {
    uint32_t generation; /* another than the batch's: empty */
    uint32_t op;
};

struct kv_batch {
    uint32_t magic;
    uint32_t generation;
    uint8_t *data; /* owned */
    size_t size, capacity;
    struct op *ops; /* owned */
    size_t count, ops_capacity;
    struct hash_slot *slots; /* owned; a power of two, at most half full */
    size_t slot_count;
    uint32_t newest[KV_FAMILY_COUNT];
};

static void forget_families(struct kv_batch *batch)
{
    for (size_t i = 0; i < KV_FAMILY_COUNT; i++)
        batch->newest[i] = NO_OP;
}

enum err kv_batch_open(struct kv_batch **ret_batch)
{
    struct kv_batch *batch = calloc(1, sizeof *batch);
    if (batch == NULL)
        return ERR_NO_MEMORY;
    batch->magic = BATCH_MAGIC;
    batch->generation = 1;
    batch->slot_count = (size_t)OPS_FIRST * 2;
    batch->ops_capacity = OPS_FIRST;
    batch->capacity = DATA_FIRST_BYTES;
    batch->slots = calloc(batch->slot_count, sizeof *batch->slots);
    batch->ops = malloc(batch->ops_capacity * sizeof *batch->ops);
    batch->data = malloc(batch->capacity);
    forget_families(batch);
    if (batch->slots == NULL || batch->ops == NULL || batch->data == NULL) {
        kv_batch_close(batch);
        return ERR_NO_MEMORY;
    }
    *ret_batch = batch;
    return ERR_OK;
}

void kv_batch_close(struct kv_batch *batch)
{
    if (batch == NULL)
        return;
    CHECK_MAGIC(batch, BATCH_MAGIC);
    batch->magic = 0;
    free(batch->slots);
    free(batch->ops);
    free(batch->data);
    free(batch);
}

void kv_batch_clear(struct kv_batch *batch)
{
    CHECK_MAGIC(batch, BATCH_MAGIC);
    batch->count = 0;
    batch->size = 0;
    forget_families(batch);
    if (++batch->generation == 0) {
        memset(batch->slots, 0, batch->slot_count * sizeof *batch->slots);
        batch->generation = 1;
    }
}

static struct bytes op_key(const struct kv_batch *batch, const struct op *op)
{
    return bytes_of(batch->data + op->offset, op->key_size);
}

/* The slot that holds the key's newest operation, or the empty one where it belongs. */
static struct hash_slot *find_slot(const struct kv_batch *batch, enum kv_family family,
                                   struct bytes key, uint32_t hash)
{
    size_t mask = batch->slot_count - 1;
    for (size_t i = hash & mask;; i = (i + 1) & mask) {
        struct hash_slot *slot = &batch->slots[i];
        if (slot->generation != batch->generation)
            return slot;
        const struct op *op = &batch->ops[slot->op];
        if (op->hash == hash && op->family == family && bytes_equal(op_key(batch, op), key))
            return slot;
    }
}

static uint32_t hash_key(enum kv_family family, struct bytes key)
{
    return (uint32_t)xxh3_64(key.data, key.size) + (uint32_t)family * 0x9e3779b1u;
}

static enum err grow_slots(struct kv_batch *batch)
{
    size_t slot_count = batch->slot_count * 2;
    struct hash_slot *slots = calloc(slot_count, sizeof *slots);
    if (slots == NULL)
        return ERR_NO_MEMORY;
    free(batch->slots);
    batch->slots = slots;
    batch->slot_count = slot_count;
    for (size_t i = 0; i < batch->count; i++) {
        const struct op *op = &batch->ops[i];
        *find_slot(batch, op->family, op_key(batch, op), op->hash) =
            (struct hash_slot){batch->generation, (uint32_t)i};
    }
    return ERR_OK;
}

static enum err make_room(struct kv_batch *batch, size_t bytes)
{
    if (bytes > batch->capacity - batch->size) {
        size_t capacity = batch->capacity * 2;
        while (bytes > capacity - batch->size)
            capacity *= 2;
        uint8_t *data = realloc(batch->data, capacity);
        if (data == NULL)
            return ERR_NO_MEMORY;
        batch->data = data;
        batch->capacity = capacity;
    }
    if (batch->count == batch->ops_capacity) {
        struct op *ops = realloc(batch->ops, batch->ops_capacity * 2 * sizeof *ops);
        if (ops == NULL)
            return ERR_NO_MEMORY;
        batch->ops = ops;
        batch->ops_capacity *= 2;
    }
    if ((batch->count + 1) * 2 > batch->slot_count)
        return grow_slots(batch);
    return ERR_OK;
}

static enum err add(struct kv_batch *batch, enum kv_family family, struct bytes key,
                    size_t value_size, bool is_delete)
{
    CHECK_MAGIC(batch, BATCH_MAGIC);
    CHECK((unsigned)family < KV_FAMILY_COUNT);
    CHECK(key.size <= KV_KEY_BYTES_MAX && value_size < UINT32_MAX);
    CHECK(batch->count < NO_OP - 1);
    enum err e = make_room(batch, key.size + value_size);
    if (e)
        return e;

    uint32_t hash = hash_key(family, key);
    struct hash_slot *slot = find_slot(batch, family, key, hash);
    bool seen = slot->generation == batch->generation;
    uint32_t number = (uint32_t)batch->count;
    batch->ops[number] = (struct op){
        .offset = batch->size,
        .value_size = (uint32_t)value_size,
        .key_size = (uint16_t)key.size,
        .family = (uint8_t)family,
        .is_delete = is_delete,
        .hash = hash,
        .same_key = seen ? slot->op : NO_OP,
        .same_family = batch->newest[family],
    };
    if (key.size > 0)
        memcpy(batch->data + batch->size, key.data, key.size);
    batch->size += key.size + value_size;
    batch->count++;
    batch->newest[family] = number;
    *slot = (struct hash_slot){batch->generation, number};
    return ERR_OK;
}

enum err kv_batch_reserve(struct kv_batch *batch, enum kv_family family, struct bytes key,
                          size_t value_size, uint8_t **ret_value)
{
    enum err e = add(batch, family, key, value_size, false);
    if (e)
        return e;
    *ret_value = batch->data + batch->size - value_size;
    return ERR_OK;
}

enum err kv_batch_put(struct kv_batch *batch, enum kv_family family, struct bytes key,
                      struct bytes value)
{
    uint8_t *room;
    enum err e = kv_batch_reserve(batch, family, key, value.size, &room);
    if (e)
        return e;
    if (value.size > 0)
        memcpy(room, value.data, value.size);
    return ERR_OK;
}

enum err kv_batch_delete(struct kv_batch *batch, enum kv_family family, struct bytes key)
{
    return add(batch, family, key, 0, true);
}

size_t kv_batch_count(const struct kv_batch *batch)
{
    return batch->count;
}

size_t kv_batch_size_bytes(const struct kv_batch *batch)
{
    return batch->size;
}

size_t kv_batch_memory_bytes(const struct kv_batch *batch)
{
    return batch->capacity + batch->ops_capacity * sizeof *batch->ops +
           batch->slot_count * sizeof *batch->slots;
}

struct kv_mark kv_batch_mark(const struct kv_batch *batch)
{
    return (struct kv_mark){.count = batch->count, .size = batch->size};
}

void kv_batch_rollback(struct kv_batch *batch, struct kv_mark mark)
{
    CHECK_MAGIC(batch, BATCH_MAGIC);
    CHECK(mark.count <= batch->count && mark.size <= batch->size);
    while (batch->count > mark.count) {
        uint32_t number = (uint32_t)batch->count - 1;
        const struct op *op = &batch->ops[number];
        struct hash_slot *slot = find_slot(batch, op->family, op_key(batch, op), op->hash);
        CHECK(slot->generation == batch->generation && slot->op == number);
        if (op->same_key != NO_OP)
            slot->op = op->same_key;
        else
            slot->generation = batch->generation - 1;
        batch->newest[op->family] = op->same_family;
        batch->count--;
    }
    batch->size = mark.size;
}

int kv_batch_find(const struct kv_batch *batch, enum kv_family family, struct bytes key,
                  struct bytes *ret_value)
{
    const struct hash_slot *slot = find_slot(batch, family, key, hash_key(family, key));
    if (slot->generation != batch->generation)
        return -1;
    const struct op *op = &batch->ops[slot->op];
    if (op->is_delete)
        return 0;
    *ret_value = bytes_of(batch->data + op->offset + op->key_size, op->value_size);
    return 1;
}

void kv_batch_at(const struct kv_batch *batch, size_t i, enum kv_family *ret_family,
                 struct bytes *ret_key, struct bytes *ret_value, bool *ret_is_delete)
{
    CHECK(i < batch->count);
    const struct op *op = &batch->ops[i];
    *ret_family = op->family;
    *ret_key = op_key(batch, op);
    *ret_value = bytes_of(batch->data + op->offset + op->key_size, op->value_size);
    *ret_is_delete = op->is_delete;
}

size_t kv_batch_previous(const struct kv_batch *batch, enum kv_family family, size_t before)
{
    uint32_t number =
        before == KV_BATCH_END ? batch->newest[family] : batch->ops[before].same_family;
    return number == NO_OP ? KV_BATCH_END : number;
}
