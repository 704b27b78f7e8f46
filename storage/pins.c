#include "storage/pins.h"

#include <pthread.h>
#include <stdlib.h>

#include "base/check.h"

/*
 * Shards of open addressing with linear probing; an entry goes when its count does, and what was
 * pushed behind it moves up, so that no tombstones pile up under a load that comes and goes.
 */
#define SHARDS         64u
#define CAPACITY_FIRST 64u

struct pin {
    struct data_id data; /* none: free */
    uint32_t count;
    bool is_watched;
};

struct shard {
    pthread_mutex_t lock;
    struct pin *pins;  /* owned */
    uint32_t capacity; /* a power of two */
    uint32_t count;
} __attribute__((aligned(64)));

struct pins {
    struct shard shards[SHARDS];
    pins_idle_fn *idle;
    void *idle_context;
};

static uint64_t hash(struct data_id data)
{
    uint64_t x = data.counter * 0x9e3779b97f4a7c15ull ^ data.epoch;
    x ^= x >> 32;
    return x * 0xd6e8feb86659fd93ull;
}

static struct shard *shard_of(struct pins *pins, struct data_id data)
{
    return &pins->shards[hash(data) >> 58];
}

static uint32_t home(const struct shard *shard, struct data_id data)
{
    return (uint32_t)(hash(data) >> 16) & (shard->capacity - 1);
}

static void lock(struct shard *shard)
{
    CHECK(pthread_mutex_lock(&shard->lock) == 0);
}

static void unlock(struct shard *shard)
{
    CHECK(pthread_mutex_unlock(&shard->lock) == 0);
}

/* Where the data is, or the free place where it would be put. */
static struct pin *place(const struct shard *shard, struct data_id data)
{
    uint32_t i = home(shard, data);
    while (!data_id_is_none(shard->pins[i].data) && !data_id_equal(shard->pins[i].data, data))
        i = (i + 1) & (shard->capacity - 1);
    return &shard->pins[i];
}

static enum err grow(struct shard *shard)
{
    struct shard bigger = {.capacity = shard->capacity * 2};
    bigger.pins = calloc(bigger.capacity, sizeof *bigger.pins);
    if (bigger.pins == NULL)
        return ERR_NO_MEMORY;
    for (uint32_t i = 0; i < shard->capacity; i++)
        if (!data_id_is_none(shard->pins[i].data))
            *place(&bigger, shard->pins[i].data) = shard->pins[i];
    free(shard->pins);
    shard->pins = bigger.pins;
    shard->capacity = bigger.capacity;
    return ERR_OK;
}

static void take_out(struct shard *shard, struct pin *pin)
{
    uint32_t hole = (uint32_t)(pin - shard->pins), mask = shard->capacity - 1;
    for (uint32_t i = (hole + 1) & mask; !data_id_is_none(shard->pins[i].data);
         i = (i + 1) & mask) {
        uint32_t wanted = home(shard, shard->pins[i].data);
        if (((i - wanted) & mask) < ((i - hole) & mask))
            continue; /* the hole lies before its home */
        shard->pins[hole] = shard->pins[i];
        hole = i;
    }
    shard->pins[hole] = (struct pin){0};
    shard->count--;
}

enum err pins_open(struct pins **ret_pins)
{
    struct pins *pins = aligned_alloc(_Alignof(struct pins), sizeof *pins);
    if (pins == NULL)
        return ERR_NO_MEMORY;
    memset(pins, 0, sizeof *pins);
    for (uint32_t i = 0; i < SHARDS; i++)
        CHECK(pthread_mutex_init(&pins->shards[i].lock, NULL) == 0);
    for (uint32_t i = 0; i < SHARDS; i++) {
        struct shard *shard = &pins->shards[i];
        shard->capacity = CAPACITY_FIRST;
        shard->pins = calloc(shard->capacity, sizeof *shard->pins);
        if (shard->pins == NULL) {
            pins_close(pins);
            return ERR_NO_MEMORY;
        }
    }
    *ret_pins = pins;
    return ERR_OK;
}

void pins_close(struct pins *pins)
{
    if (pins == NULL)
        return;
    for (uint32_t i = 0; i < SHARDS; i++) {
        CHECK(pins->shards[i].count == 0); /* an object is still held */
        pthread_mutex_destroy(&pins->shards[i].lock);
        free(pins->shards[i].pins);
    }
    free(pins);
}

void pins_on_idle(struct pins *pins, pins_idle_fn *idle, void *context)
{
    pins->idle = idle;
    pins->idle_context = context;
}

enum err pins_add(struct pins *pins, struct data_id data)
{
    CHECK(!data_id_is_none(data));
    struct shard *shard = shard_of(pins, data);
    enum err e = ERR_OK;
    lock(shard);
    if (shard->count >= shard->capacity / 4 * 3)
        e = grow(shard);
    if (e == ERR_OK) {
        struct pin *pin = place(shard, data);
        if (pin->count == 0) {
            pin->data = data;
            shard->count++;
        }
        pin->count++;
        CHECK(pin->count != 0);
    }
    unlock(shard);
    return e;
}

void pins_drop(struct pins *pins, struct data_id data)
{
    struct shard *shard = shard_of(pins, data);
    bool tell = false;
    lock(shard);
    struct pin *pin = place(shard, data);
    CHECK(pin->count > 0);
    if (--pin->count == 0) {
        tell = pin->is_watched;
        take_out(shard, pin);
    }
    unlock(shard);
    if (tell && pins->idle != NULL)
        pins->idle(pins->idle_context);
}

bool pins_has(struct pins *pins, struct data_id data)
{
    struct shard *shard = shard_of(pins, data);
    lock(shard);
    bool has = place(shard, data)->count > 0;
    unlock(shard);
    return has;
}

bool pins_watch(struct pins *pins, struct data_id data)
{
    struct shard *shard = shard_of(pins, data);
    lock(shard);
    struct pin *pin = place(shard, data);
    bool has = pin->count > 0;
    if (has)
        pin->is_watched = true;
    unlock(shard);
    return has;
}

size_t pins_count(struct pins *pins)
{
    size_t count = 0;
    for (uint32_t i = 0; i < SHARDS; i++) {
        lock(&pins->shards[i]);
        count += pins->shards[i].count;
        unlock(&pins->shards[i]);
    }
    return count;
}
