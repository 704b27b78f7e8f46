/*
 * The index in memory, for tests and the simulator: same promises as RocksDB's, plus crashes and
 * failures on demand.
 *
 * A family is a sorted array of counted entries. A read holds its entry; an iterator holds the
 * whole array as it was, and a writer who finds an array held copies it first. So values and
 * iterators stay what they were when taken, as RocksDB's do, and forgotten references show up as
 * leaks. What a batch replaced since the last synced one is kept in a log, which a crash plays
 * backwards.
 */
#include "storage/kv.h"

#include <pthread.h>
#include <stdlib.h>

#include "base/check.h"

#define SIM_MAGIC  0x6b767369u
#define ITER_MAGIC 0x6b766974u

struct entry {
    uint32_t holders;
    uint32_t key_size;
    size_t value_size;
    char data[]; /* key, value */
};

struct table {
    uint32_t holders; /* the family and its iterators */
    size_t count, capacity;
    struct entry *entries[];
};

struct change { /* what a key held before an unsynced batch: the log of a crash */
    enum kv_family family;
    struct entry *key;    /* owned reference: an entry with that key */
    struct entry *before; /* owned reference, or NULL: absent */
};

struct kv_sim {
    struct kv kv;
    uint32_t magic;
    pthread_mutex_t lock;
    struct table *tables[KV_FAMILY_COUNT]; /* owned */
    struct change *changes;                /* owned */
    size_t change_count, change_capacity;
    unsigned fail_nth, calls;
    enum err fail_with;
    bool fired, kept;
    uint32_t values_out, iters_out, snapshots_out; /* none may be left at close */
};

struct kv_snapshot {
    struct table *tables[KV_FAMILY_COUNT]; /* a reference each */
};

struct kv_iter {
    uint32_t magic;
    struct kv_sim *sim;
    struct table *table; /* a reference */
    struct bytes lower, upper;
    size_t at;
};

static struct kv_sim *to_sim(const struct kv *kv)
{
    struct kv_sim *sim = (struct kv_sim *)kv;
    CHECK_MAGIC(sim, SIM_MAGIC);
    return sim;
}

/* ---- entries and tables; all below the lock ---- */

static struct bytes entry_key(const struct entry *entry)
{
    return bytes_of(entry->data, entry->key_size);
}

static struct entry *entry_make(struct bytes key, struct bytes value)
{
    struct entry *entry = malloc(sizeof *entry + key.size + value.size);
    if (entry == NULL)
        return NULL;
    entry->holders = 1;
    entry->key_size = (uint32_t)key.size;
    entry->value_size = value.size;
    memcpy(entry->data, key.data, key.size);
    if (value.size > 0)
        memcpy(entry->data + key.size, value.data, value.size);
    return entry;
}

static struct entry *entry_get(struct entry *entry)
{
    entry->holders++;
    return entry;
}

static void entry_put(struct entry *entry)
{
    if (entry != NULL && --entry->holders == 0)
        free(entry);
}

static struct table *table_make(size_t capacity)
{
    struct table *table = malloc(sizeof *table + capacity * sizeof(struct entry *));
    if (table != NULL)
        *table = (struct table){.holders = 1, .capacity = capacity};
    return table;
}

static void table_put(struct table *table)
{
    if (table == NULL || --table->holders > 0)
        return;
    for (size_t i = 0; i < table->count; i++)
        entry_put(table->entries[i]);
    free(table);
}

/* First position whose key is not below `key`. */
static size_t table_lower(const struct table *table, struct bytes key)
{
    size_t low = 0, high = table->count;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (bytes_compare(entry_key(table->entries[middle]), key) < 0)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

static bool table_has(const struct table *table, size_t at, struct bytes key)
{
    return at < table->count && bytes_equal(entry_key(table->entries[at]), key);
}

/* A table nobody else holds, with room for one more. */
static enum err make_writable(struct table **table)
{
    struct table *old = *table;
    if (old->holders == 1 && old->count < old->capacity)
        return ERR_OK;
    struct table *copy = table_make(old->count < 8 ? 16 : old->count * 2);
    if (copy == NULL)
        return ERR_NO_MEMORY;
    copy->count = old->count;
    for (size_t i = 0; i < old->count; i++)
        copy->entries[i] = entry_get(old->entries[i]);
    table_put(old);
    *table = copy;
    return ERR_OK;
}

/* Puts `entry` (its reference is taken) under its key, or removes the key when is_delete. Room is
 * there. Returns what was there, or NULL. */
static struct entry *table_change(struct table *table, struct entry *entry, bool is_delete)
{
    size_t at = table_lower(table, entry_key(entry));
    struct entry *before = NULL;
    if (table_has(table, at, entry_key(entry))) {
        before = table->entries[at];
        if (!is_delete) {
            table->entries[at] = entry;
            return before;
        }
        table->count--;
        memmove(&table->entries[at], &table->entries[at + 1],
                (table->count - at) * sizeof(struct entry *));
    } else if (!is_delete) {
        memmove(&table->entries[at + 1], &table->entries[at],
                (table->count - at) * sizeof(struct entry *));
        table->entries[at] = entry;
        table->count++;
        return NULL;
    }
    entry_put(entry);
    return before;
}

/* ---- faults ---- */

static bool fault(struct kv_sim *sim)
{
    if (sim->fail_nth == 0)
        return false;
    if (++sim->calls != sim->fail_nth)
        return false;
    sim->fired = true;
    sim->fail_nth = 0;
    return true;
}

/* ---- operations ---- */

static enum err sim_get(struct kv *kv, enum kv_family family, struct bytes key, enum kv_tier tier,
                        struct kv_value *ret_value)
{
    (void)tier; /* everything is in memory; a test that wants ERR_WOULD_BLOCK arms a fault */
    struct kv_sim *sim = to_sim(kv);
    enum err e = ERR_NO_SUCH_OBJECT;
    pthread_mutex_lock(&sim->lock);
    struct table *table = sim->tables[family];
    size_t at = table_lower(table, key);
    if (fault(sim)) {
        e = sim->fail_with;
    } else if (table_has(table, at, key)) {
        struct entry *entry = entry_get(table->entries[at]);
        sim->values_out++;
        *ret_value = (struct kv_value){
            .bytes = bytes_of(entry->data + entry->key_size, entry->value_size),
            .pin = entry,
            .kv = kv,
        };
        e = ERR_OK;
    }
    pthread_mutex_unlock(&sim->lock);
    return e;
}

static void sim_value_put(struct kv_value *value)
{
    struct kv_sim *sim = to_sim(value->kv);
    pthread_mutex_lock(&sim->lock);
    entry_put(value->pin);
    sim->values_out--;
    pthread_mutex_unlock(&sim->lock);
    *value = (struct kv_value){0};
}

static enum err log_change(struct kv_sim *sim, enum kv_family family, struct entry *key)
{
    if (sim->change_count == sim->change_capacity) {
        size_t capacity = sim->change_capacity < 64 ? 64 : sim->change_capacity * 2;
        struct change *changes = realloc(sim->changes, capacity * sizeof *changes);
        if (changes == NULL)
            return ERR_NO_MEMORY;
        sim->changes = changes;
        sim->change_capacity = capacity;
    }
    struct table *table = sim->tables[family];
    size_t at = table_lower(table, entry_key(key));
    sim->changes[sim->change_count++] = (struct change){
        .family = family,
        .key = entry_get(key),
        .before = table_has(table, at, entry_key(key)) ? entry_get(table->entries[at]) : NULL,
    };
    return ERR_OK;
}

static void undo_to(struct kv_sim *sim, size_t count)
{
    while (sim->change_count > count) {
        struct change *change = &sim->changes[--sim->change_count];
        enum err e = make_writable(&sim->tables[change->family]);
        CHECK(e == ERR_OK); /* a test machine out of memory: nothing to learn from going on */
        bool was_there = change->before != NULL;
        struct entry *entry = was_there ? change->before : entry_get(change->key);
        entry_put(table_change(sim->tables[change->family], entry, !was_there));
        entry_put(change->key);
    }
}

static void forget_changes(struct kv_sim *sim)
{
    while (sim->change_count > 0) {
        struct change *change = &sim->changes[--sim->change_count];
        entry_put(change->key);
        entry_put(change->before);
    }
}

static enum err write_one(struct kv_sim *sim, const struct kv_batch *batch, size_t i)
{
    enum kv_family family;
    struct bytes key, value;
    bool is_delete;
    kv_batch_at(batch, i, &family, &key, &value, &is_delete);
    struct entry *entry = entry_make(key, value);
    if (entry == NULL)
        return ERR_NO_MEMORY;
    enum err e = make_writable(&sim->tables[family]);
    if (e == ERR_OK)
        e = log_change(sim, family, entry);
    if (e) {
        entry_put(entry);
        return e;
    }
    entry_put(table_change(sim->tables[family], entry, is_delete));
    return ERR_OK;
}

static enum err sim_write(struct kv *kv, const struct kv_batch *batch, bool sync,
                          struct err_trail *trail)
{
    struct kv_sim *sim = to_sim(kv);
    enum err e = ERR_OK;
    pthread_mutex_lock(&sim->lock);
    if (fault(sim))
        e = sim->fail_with;
    size_t before = sim->change_count;
    for (size_t i = 0; e == ERR_OK && i < kv_batch_count(batch); i++)
        e = write_one(sim, batch, i);
    if (e)
        undo_to(sim, before);
    else if (sync)
        forget_changes(sim);
    pthread_mutex_unlock(&sim->lock);
    return e ? err_note(trail, e, "write a batch to the simulated index") : ERR_OK;
}

static enum err sim_iter_open(struct kv *kv, const struct kv_iter_options *options,
                              struct kv_iter **ret_iter)
{
    struct kv_sim *sim = to_sim(kv);
    struct kv_iter *iter = malloc(sizeof *iter);
    if (iter == NULL)
        return ERR_NO_MEMORY;
    pthread_mutex_lock(&sim->lock);
    if (fault(sim)) {
        enum err e = sim->fail_with;
        pthread_mutex_unlock(&sim->lock);
        free(iter);
        return e;
    }
    struct table **tables = options->snapshot != NULL ? options->snapshot->tables : sim->tables;
    *iter = (struct kv_iter){
        .magic = ITER_MAGIC,
        .sim = sim,
        .table = tables[options->family],
        .lower = options->lower,
        .upper = options->upper,
        .at = SIZE_MAX,
    };
    iter->table->holders++;
    sim->iters_out++;
    pthread_mutex_unlock(&sim->lock);
    *ret_iter = iter;
    return ERR_OK;
}

static void sim_iter_close(struct kv_iter *iter)
{
    if (iter == NULL)
        return;
    CHECK_MAGIC(iter, ITER_MAGIC);
    pthread_mutex_lock(&iter->sim->lock);
    table_put(iter->table);
    iter->sim->iters_out--;
    pthread_mutex_unlock(&iter->sim->lock);
    iter->magic = 0;
    free(iter);
}

static void sim_iter_seek(struct kv_iter *iter, struct bytes key)
{
    CHECK_MAGIC(iter, ITER_MAGIC);
    bool below = bytes_compare(key, iter->lower) < 0;
    iter->at = table_lower(iter->table, below ? iter->lower : key);
}

static bool sim_iter_valid(const struct kv_iter *iter)
{
    CHECK_MAGIC(iter, ITER_MAGIC);
    if (iter->at >= iter->table->count)
        return false;
    return iter->upper.size == 0 ||
           bytes_compare(entry_key(iter->table->entries[iter->at]), iter->upper) < 0;
}

static void sim_iter_next(struct kv_iter *iter)
{
    CHECK(sim_iter_valid(iter));
    iter->at++;
}

static struct bytes sim_iter_key(const struct kv_iter *iter)
{
    CHECK(sim_iter_valid(iter));
    return entry_key(iter->table->entries[iter->at]);
}

static struct bytes sim_iter_value(const struct kv_iter *iter)
{
    CHECK(sim_iter_valid(iter));
    const struct entry *entry = iter->table->entries[iter->at];
    return bytes_of(entry->data + entry->key_size, entry->value_size);
}

static enum err sim_iter_err(const struct kv_iter *iter)
{
    CHECK_MAGIC(iter, ITER_MAGIC);
    return ERR_OK;
}

static enum err sim_snapshot_open(struct kv *kv, struct kv_snapshot **ret_snapshot)
{
    struct kv_sim *sim = to_sim(kv);
    struct kv_snapshot *snapshot = malloc(sizeof *snapshot);
    if (snapshot == NULL)
        return ERR_NO_MEMORY;
    pthread_mutex_lock(&sim->lock);
    bool has_failed = fault(sim);
    enum err e = sim->fail_with;
    for (size_t i = 0; i < KV_FAMILY_COUNT && !has_failed; i++) {
        snapshot->tables[i] = sim->tables[i];
        snapshot->tables[i]->holders++;
    }
    sim->snapshots_out += !has_failed;
    pthread_mutex_unlock(&sim->lock);
    if (has_failed) {
        free(snapshot);
        return e;
    }
    *ret_snapshot = snapshot;
    return ERR_OK;
}

static void sim_snapshot_close(struct kv *kv, struct kv_snapshot *snapshot)
{
    struct kv_sim *sim = to_sim(kv);
    if (snapshot == NULL)
        return;
    pthread_mutex_lock(&sim->lock);
    for (size_t i = 0; i < KV_FAMILY_COUNT; i++)
        table_put(snapshot->tables[i]);
    sim->snapshots_out--;
    pthread_mutex_unlock(&sim->lock);
    free(snapshot);
}

static void sim_stats(struct kv *kv, struct kv_stats *ret_stats)
{
    struct kv_sim *sim = to_sim(kv);
    *ret_stats = (struct kv_stats){0};
    pthread_mutex_lock(&sim->lock);
    for (size_t family = 0; family < KV_FAMILY_COUNT; family++) {
        ret_stats->rows += sim->tables[family]->count;
        for (size_t i = 0; i < sim->tables[family]->count; i++) {
            const struct entry *entry = sim->tables[family]->entries[i];
            ret_stats->memory_bytes += sizeof *entry + entry->key_size + entry->value_size;
        }
    }
    pthread_mutex_unlock(&sim->lock);
}

static void sim_free(struct kv_sim *sim)
{
    forget_changes(sim);
    for (size_t i = 0; i < KV_FAMILY_COUNT; i++)
        table_put(sim->tables[i]);
    pthread_mutex_destroy(&sim->lock);
    free(sim->changes);
    sim->magic = 0;
    free(sim);
}

static void sim_close(struct kv *kv)
{
    if (kv == NULL)
        return;
    struct kv_sim *sim = to_sim(kv);
    CHECK(sim->values_out == 0 && sim->iters_out == 0 && sim->snapshots_out == 0);
    if (!sim->kept)
        sim_free(sim);
}

static const struct kv_ops sim_ops = {
    .get = sim_get,
    .value_put = sim_value_put,
    .write = sim_write,
    .iter_open = sim_iter_open,
    .iter_close = sim_iter_close,
    .iter_seek = sim_iter_seek,
    .iter_next = sim_iter_next,
    .iter_valid = sim_iter_valid,
    .iter_key = sim_iter_key,
    .iter_value = sim_iter_value,
    .iter_err = sim_iter_err,
    .snapshot_open = sim_snapshot_open,
    .snapshot_close = sim_snapshot_close,
    .stats = sim_stats,
    .close = sim_close,
};

enum err kv_sim_open(struct kv **ret_kv)
{
    struct kv_sim *sim = calloc(1, sizeof *sim);
    if (sim == NULL)
        return ERR_NO_MEMORY;
    sim->kv.ops = &sim_ops;
    sim->magic = SIM_MAGIC;
    pthread_mutex_init(&sim->lock, NULL);
    for (size_t i = 0; i < KV_FAMILY_COUNT; i++) {
        sim->tables[i] = table_make(16);
        if (sim->tables[i] == NULL) {
            sim_free(sim);
            return ERR_NO_MEMORY;
        }
    }
    *ret_kv = &sim->kv;
    return ERR_OK;
}

void kv_sim_crash(struct kv *kv)
{
    struct kv_sim *sim = to_sim(kv);
    pthread_mutex_lock(&sim->lock);
    undo_to(sim, 0);
    pthread_mutex_unlock(&sim->lock);
}

void kv_sim_fail_nth(struct kv *kv, unsigned nth, enum err e)
{
    struct kv_sim *sim = to_sim(kv);
    pthread_mutex_lock(&sim->lock);
    sim->fail_nth = nth;
    sim->fail_with = e;
    sim->calls = 0;
    sim->fired = false;
    pthread_mutex_unlock(&sim->lock);
}

bool kv_sim_fault_fired(const struct kv *kv)
{
    struct kv_sim *sim = to_sim(kv);
    pthread_mutex_lock(&sim->lock);
    bool fired = sim->fired;
    pthread_mutex_unlock(&sim->lock);
    return fired;
}

void kv_sim_set_kept(struct kv *kv, bool kept)
{
    to_sim(kv)->kept = kept;
}
