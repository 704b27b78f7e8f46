#include "base/arena.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "base/check.h"
#include "base/cleanup.h"

#define HUGE_PAGE_BYTES (2u << 20)

static const uint32_t slot_bytes[SLOT_SIZE_COUNT] = {
    [SLOT_SMALL] = SLOT_SMALL_BYTES,
    [SLOT_LARGE] = SLOT_LARGE_BYTES,
};

struct arena {
    uint8_t *base; /* owned mapping */
    size_t size_bytes;
    enum arena_pages pages;
    uint32_t share_count;
    struct arena_share *shares; /* owned, share_count of them */
    struct slot *slots;         /* owned, all shares' */
    struct landing *landings;   /* owned, landing_count of them */
    uint32_t landing_count, landing_free_count;
    uint64_t landing_offset; /* of the first in the mapping */
    struct list landing_free;
};

/* With "never" the kernel takes the madvise and ignores it. */
static bool thp_is_switched_off(void)
{
    FILE *file = fopen("/sys/kernel/mm/transparent_hugepage/enabled", "re");
    if (file == NULL)
        return true;
    char line[128] = "";
    bool off = fgets(line, sizeof line, file) == NULL || strstr(line, "[never]") != NULL;
    (void)fclose(file); /* was only read */
    return off;
}

/*
 * Explicit huge pages first: they are reserved by mmap, so a later touch cannot fail. Otherwise the
 * mapping is aligned by hand, because transparent huge pages only cover whole aligned 2 MiB and the
 * kernel aligns a mapping to 4 KiB only.
 */
static enum err map_pages(struct arena *arena)
{
    int flags = MAP_PRIVATE | MAP_ANONYMOUS;
    void *memory = mmap(NULL, arena->size_bytes, PROT_READ | PROT_WRITE,
                        flags | MAP_HUGETLB | (21 << MAP_HUGE_SHIFT), -1, 0);
    if (memory != MAP_FAILED) {
        arena->base = memory;
        arena->pages = ARENA_PAGES_HUGETLB;
        return ERR_OK;
    }

    memory = mmap(NULL, arena->size_bytes + HUGE_PAGE_BYTES, PROT_READ | PROT_WRITE,
                  flags | MAP_NORESERVE, -1, 0);
    if (memory == MAP_FAILED)
        return ERR_NO_MEMORY;
    uint8_t *from = memory;
    size_t before = -(uintptr_t)from & (HUGE_PAGE_BYTES - 1);
    if (before > 0)
        CHECK(munmap(from, before) == 0);
    arena->base = from + before;
    CHECK(munmap(arena->base + arena->size_bytes, HUGE_PAGE_BYTES - before) == 0);

    bool huge =
        !thp_is_switched_off() && madvise(arena->base, arena->size_bytes, MADV_HUGEPAGE) == 0;
    arena->pages = huge ? ARENA_PAGES_THP : ARENA_PAGES_PLAIN;
    /* A dump of gigabytes of object bytes helps nobody; an old kernel that cannot leave them out is
     * no reason to fail. */
    (void)madvise(arena->base, arena->size_bytes, MADV_DONTDUMP);
    return ERR_OK;
}

/* Deals `count` slots of one size out to the shares, the first ones getting what does not divide
 * evenly. */
static void deal_slots(struct arena *arena, enum slot_size size_class, uint32_t count,
                       struct slot *slots, uint8_t *data)
{
    for (uint32_t i = 0; i < count; i++) {
        /* Neighbouring slots go to one share: a huge page is then touched by one loop. */
        uint32_t index = (uint32_t)((uint64_t)i * arena->share_count / count);
        struct arena_share *share = &arena->shares[index];
        slots[i] = (struct slot){
            .data = data + (size_t)i * slot_bytes[size_class],
            .size = slot_bytes[size_class],
            .size_class = size_class,
            .share = share,
        };
        list_push_back(&share->free[size_class], &slots[i].link);
        share->free_count[size_class]++;
        share->total_count[size_class]++;
    }
}

static uint64_t round_up_to_huge(uint64_t size)
{
    return (size + HUGE_PAGE_BYTES - 1) / HUGE_PAGE_BYTES * HUGE_PAGE_BYTES;
}

static void cut_landings(struct arena *arena, uint64_t bytes)
{
    list_init(&arena->landing_free);
    for (uint32_t i = 0; i < arena->landing_count; i++) {
        arena->landings[i].data = arena->base + arena->landing_offset + i * bytes;
        arena->landings[i].size = bytes;
        list_push_back(&arena->landing_free, &arena->landings[i].link);
    }
    arena->landing_free_count = arena->landing_count;
}

CLEANUP_DEFINE(arena_close, struct arena *)

enum err arena_open(const struct arena_options *options, struct arena **ret_arena)
{
    CHECK(options->share_count > 0);
    uint64_t large_bytes = (uint64_t)options->large_count * SLOT_LARGE_BYTES;
    uint64_t size = large_bytes + (uint64_t)options->small_count * SLOT_SMALL_BYTES;
    uint64_t landing_bytes = round_up_to_huge(options->landing_bytes);
    if (size == 0 || (options->landing_count > 0 && landing_bytes == 0))
        return ERR_INVALID;

    CLEANUP(arena_close) struct arena *arena = calloc(1, sizeof *arena);
    if (arena == NULL)
        return ERR_NO_MEMORY;
    arena->landing_offset = round_up_to_huge(size);
    arena->size_bytes = arena->landing_offset + options->landing_count * landing_bytes;
    arena->shares = calloc(options->share_count, sizeof *arena->shares);
    arena->slots =
        calloc((size_t)options->large_count + options->small_count, sizeof *arena->slots);
    arena->landings = calloc(options->landing_count, sizeof *arena->landings);
    if (arena->shares == NULL || arena->slots == NULL ||
        (arena->landings == NULL && options->landing_count > 0))
        return ERR_NO_MEMORY;

    arena->share_count = options->share_count;
    for (uint32_t i = 0; i < arena->share_count; i++) {
        arena->shares[i].arena = arena;
        for (int c = 0; c < SLOT_SIZE_COUNT; c++) {
            list_init(&arena->shares[i].free[c]);
            list_init(&arena->shares[i].waiting[c]);
        }
    }
    enum err e = map_pages(arena);
    if (e)
        return e;
    deal_slots(arena, SLOT_LARGE, options->large_count, arena->slots, arena->base);
    deal_slots(arena, SLOT_SMALL, options->small_count, arena->slots + options->large_count,
               arena->base + large_bytes);
    arena->landing_count = options->landing_count;
    cut_landings(arena, landing_bytes);
    *ret_arena = TAKE(arena);
    return ERR_OK;
}

void arena_close(struct arena *arena)
{
    if (arena == NULL)
        return;
    for (uint32_t i = 0; i < arena->share_count; i++) {
        for (int c = 0; c < SLOT_SIZE_COUNT; c++) {
            CHECK(arena->shares[i].free_count[c] == arena->shares[i].total_count[c]);
            CHECK(list_is_empty(&arena->shares[i].waiting[c]));
        }
    }
    CHECK(arena->landing_free_count == arena->landing_count);
    if (arena->base)
        CHECK(munmap(arena->base, arena->size_bytes) == 0);
    free(arena->shares);
    free(arena->slots);
    free(arena->landings);
    free(arena);
}

uint8_t *arena_base(const struct arena *arena)
{
    return arena->base;
}

size_t arena_size_bytes(const struct arena *arena)
{
    return arena->size_bytes;
}

size_t arena_slots_size_bytes(const struct arena *arena)
{
    return arena->landing_offset;
}

enum arena_pages arena_pages(const struct arena *arena)
{
    return arena->pages;
}

struct arena_share *arena_share(struct arena *arena, uint32_t index)
{
    CHECK(index < arena->share_count);
    return &arena->shares[index];
}

struct slot *slot_take(struct arena_share *share, enum slot_size size_class)
{
    struct list *node = list_pop_front(&share->free[size_class]);
    if (node == NULL)
        return NULL;
    CHECK(share->free_count[size_class] > 0);
    share->free_count[size_class]--;
    return LIST_ENTRY(node, struct slot, link);
}

static bool serve_one(struct arena_share *share, enum slot_size size_class)
{
    if (list_is_empty(&share->waiting[size_class]) || list_is_empty(&share->free[size_class]))
        return false;
    struct list *node = list_pop_front(&share->waiting[size_class]);
    struct arena_waiter *waiter = LIST_ENTRY(node, struct arena_waiter, link);
    waiter->ready(waiter, slot_take(share, size_class));
    return true;
}

/* By a loop here and not by recursion: a ready() that puts its slot straight back must not deepen
 * the stack. */
static void serve_waiters(struct arena_share *share)
{
    share->is_serving = true;
    while (serve_one(share, SLOT_SMALL) || serve_one(share, SLOT_LARGE))
        ;
    share->is_serving = false;
}

void slot_put(struct slot *slot)
{
    if (slot == NULL)
        return;
    struct arena_share *share = slot->share;
    CHECK(!list_is_linked(&slot->link)); /* put twice, or still in a list of the taker's */
    CHECK(share->free_count[slot->size_class] < share->total_count[slot->size_class]);
    list_push_front(&share->free[slot->size_class], &slot->link); /* the warmest goes out next */
    share->free_count[slot->size_class]++;
    if (!share->is_serving)
        serve_waiters(share);
}

struct landing *arena_landing_take(struct arena *arena)
{
    struct list *node = list_pop_front(&arena->landing_free);
    if (node == NULL)
        return NULL;
    arena->landing_free_count--;
    return LIST_ENTRY(node, struct landing, link);
}

void arena_landing_put(struct arena *arena, struct landing *landing)
{
    if (landing == NULL)
        return;
    CHECK(landing >= arena->landings && landing < arena->landings + arena->landing_count);
    CHECK(!list_is_linked(&landing->link));
    list_push_front(&arena->landing_free, &landing->link);
    arena->landing_free_count++;
}

bool arena_is_landing(const struct arena *arena, const void *data, size_t size)
{
    return arena_holds(arena, data, size) &&
           (uint64_t)((const uint8_t *)data - arena->base) >= arena->landing_offset;
}

void arena_wait(struct arena_share *share, struct arena_waiter *waiter, enum slot_size size_class)
{
    CHECK(waiter->ready != NULL);
    CHECK(share->total_count[size_class] > 0); /* or it would wait for ever */
    waiter->size_class = size_class;
    list_push_back(&share->waiting[size_class], &waiter->link);
}

void arena_wait_cancel(struct arena_waiter *waiter)
{
    list_remove(&waiter->link);
}
