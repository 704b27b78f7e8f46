#include "replication/incoming.h"

#include <stdlib.h>

#include "base/check.h"
#include "base/digest.h"
#include "base/limits.h"
#include "base/log.h"
#include "replication/data_way.h"
#include "storage/data.h"

#define BUCKETS 1024u /* a power of two: two bodies each when there are most */

struct entry {
    struct incoming *incoming;
    struct data_id id;
    struct body *body; /* owned; NULL: it failed, and its writes are ending */
    struct link *link; /* whose chunks make it; NULL: local */
    bool is_held;      /* who put it has not let go: of the number that is bounded it is none */
    uint64_t size;     /* UINT64_MAX: not known */
    uint64_t counted_bytes;
    uint64_t touched_ns;
    uint32_t writes; /* on their way to the disk */
    bool is_complete;
    bool has_ended; /* its last byte was given to the body */
    bool is_in_table;
    enum err err;           /* why it failed */
    struct body_write tail; /* the end of a body of unknown size: no bytes */
    struct entry *next_in_bucket;
    struct list by_age; /* oldest first */
};

/* A chunk on its way to the disk. */
struct chunk_write {
    struct body_write write;
    struct entry *entry;
    struct link_token token;
    struct chunk_write *next_free;
};

struct incoming {
    struct incoming_options options; /* a copy */
    struct entry *buckets[BUCKETS];
    struct list by_age;
    struct list watches;
    struct chunk_write *free_writes; /* as many as there were ever at once: the peers' slots */
    uint32_t writes;
    uint32_t let_go_count; /* peers', and what was held: those that are bounded */
    struct incoming_counts counts;
    struct data_id disowned[INCOMING_DISOWNED_KNOWN]; /* a ring */
    unsigned disown_count;
};

static uint64_t now_ns(const struct incoming *incoming)
{
    return clock_boot_ns(loop_clock(incoming->options.loop));
}

/* ---- the table ---- */

static struct entry **bucket_of(struct incoming *incoming, struct data_id id)
{
    uint64_t mixed = (id.epoch ^ id.counter) * 0x9e3779b97f4a7c15ull;
    return &incoming->buckets[mixed >> 54];
}
_Static_assert(BUCKETS == 1u << (64 - 54), "as many as the bits that choose one");

static struct entry *find(struct incoming *incoming, struct data_id id)
{
    struct entry *entry = *bucket_of(incoming, id);
    while (entry != NULL && !data_id_equal(entry->id, id))
        entry = entry->next_in_bucket;
    return entry;
}

static void touch(struct entry *entry)
{
    entry->touched_ns = now_ns(entry->incoming);
    list_remove(&entry->by_age);
    list_push_back(&entry->incoming->by_age, &entry->by_age);
}

static struct entry *add(struct incoming *incoming, struct data_id id, struct link *link)
{
    struct entry *entry = calloc(1, sizeof *entry);
    if (entry == NULL)
        return NULL;
    struct entry **bucket = bucket_of(incoming, id);
    entry->incoming = incoming;
    entry->id = id;
    entry->link = link;
    entry->next_in_bucket = *bucket;
    entry->is_in_table = true;
    *bucket = entry;
    entry->is_held = link == NULL;
    incoming->let_go_count += !entry->is_held;
    incoming->counts.arriving++;
    touch(entry);
    return entry;
}

static void count_bytes(struct entry *entry, uint64_t bytes)
{
    entry->incoming->counts.bytes += bytes - entry->counted_bytes;
    entry->counted_bytes = bytes;
}

/* Out of the table: another with its id may come. It is gone when its writes have ended. */
static void take_out(struct entry *entry)
{
    struct incoming *incoming = entry->incoming;
    CHECK(entry->is_in_table);
    entry->is_in_table = false;
    struct entry **at = bucket_of(incoming, entry->id);
    while (*at != entry)
        at = &(*at)->next_in_bucket;
    *at = entry->next_in_bucket;
    list_remove(&entry->by_age);
    incoming->let_go_count -= !entry->is_held;
    incoming->counts.arriving -= !entry->is_complete;
    incoming->counts.complete -= entry->is_complete;
    count_bytes(entry, 0);
    if (entry->writes == 0)
        free(entry);
}

static void tell(struct incoming *incoming, struct data_id id, enum incoming_state state)
{
    LIST_EACH (&incoming->watches, node) {
        struct incoming_watch *watch = LIST_ENTRY(node, struct incoming_watch, link);
        watch->settled(watch, id, state);
    }
    if (incoming->options.settled != NULL)
        incoming->options.settled(incoming->options.context, id, state);
}

/* Its space is free again; what is still being written ends by itself. */
static void discard(struct entry *entry, enum err e)
{
    entry->err = e;
    body_close(TAKE(entry->body));
    take_out(entry);
}

static void fail(struct entry *entry, enum err e)
{
    struct incoming *incoming = entry->incoming;
    struct data_id id = entry->id;
    LOG_LIMITED(LOG_WARN, "replication", "data %llx.%llu does not arrive whole: %s",
                (unsigned long long)id.epoch, (unsigned long long)id.counter, err_text(e));
    discard(entry, e);
    tell(incoming, id, INCOMING_NONE);
}

/* ---- chunks ---- */

static struct chunk_write *take_write(struct incoming *incoming)
{
    struct chunk_write *write = incoming->free_writes;
    if (write == NULL)
        return calloc(1, sizeof *write);
    incoming->free_writes = write->next_free;
    return write;
}

static void put_write(struct incoming *incoming, struct chunk_write *write)
{
    write->next_free = incoming->free_writes;
    incoming->free_writes = write;
}

/* One write fewer. True: the entry is no more. */
static bool ended(struct entry *entry)
{
    CHECK(entry->writes > 0);
    entry->writes--;
    if (entry->is_in_table || entry->writes > 0)
        return false;
    free(entry);
    return true;
}

static void complete_if_ended(struct entry *entry)
{
    if (!entry->is_in_table || !entry->has_ended || entry->writes > 0)
        return;
    struct incoming *incoming = entry->incoming;
    entry->is_complete = true;
    incoming->counts.arriving--;
    incoming->counts.complete++;
    touch(entry);
    tell(incoming, entry->id, INCOMING_COMPLETE);
}

static void chunk_written(struct body_write *body_write, enum err e)
{
    struct chunk_write *write = CONTAINER_OF(body_write, struct chunk_write, write);
    struct entry *entry = write->entry;
    struct incoming *incoming = entry->incoming;
    struct link_token token = write->token;
    uint32_t size = body_write->size;
    put_write(incoming, write);
    incoming->writes--;
    if (e && entry->is_in_table)
        fail(entry, e);
    else if (entry->is_in_table)
        touch(entry); /* the disk may have been long about it */
    if (entry->err)
        e = entry->err; /* it may be on the disk, but the body is none */
    if (e)
        incoming->counts.refused_chunks++;
    else
        incoming->counts.landed_bytes += size;
    if (!ended(entry))
        complete_if_ended(entry);
    incoming->options.chunk_done(incoming->options.context, token, e);
}

/* What the sender may not do, and the body takes for granted. */
static enum err judge_head(const struct link_chunk_head *head)
{
    uint32_t sums = (head->size + SUM_CHUNK_BYTES - 1) / SUM_CHUNK_BYTES;
    bool is_known = head->data_size != UINT64_MAX;
    if (data_id_is_none(head->data) || head->size == 0 || head->size > LINK_CHUNK_BYTES_MAX ||
        head->sum_count != sums || head->offset % SUM_CHUNK_BYTES != 0)
        return ERR_INVALID;
    if (is_known ? head->data_size > OBJECT_BYTES_MAX || head->size > head->data_size ||
                       head->offset > head->data_size - head->size
                 : head->offset > OBJECT_BYTES_MAX - head->size)
        return ERR_INVALID;
    bool is_last = is_known ? head->offset + head->size == head->data_size : head->last;
    return !is_last && (head->last || head->size % SUM_CHUNK_BYTES != 0) ? ERR_INVALID : ERR_OK;
}

static bool is_disowned(const struct incoming *incoming, struct data_id id)
{
    for (unsigned i = 0; i < INCOMING_DISOWNED_KNOWN; i++)
        if (data_id_equal(incoming->disowned[i], id))
            return true;
    return false;
}

static enum err begin(struct incoming *incoming, struct link *link,
                      const struct link_chunk_head *head, struct entry **ret_entry)
{
    const struct incoming_options *options = &incoming->options;
    bool is_known = head->data_size != UINT64_MAX;
    uint64_t bytes = is_known ? head->data_size : head->size;
    uint64_t there = incoming->counts.bytes;
    if (is_disowned(incoming, head->data))
        return ERR_CANCELLED;
    if (incoming->let_go_count >= options->count_max || there >= options->bytes_max ||
        bytes > options->bytes_max - there)
        return ERR_BUSY;
    struct entry *entry = add(incoming, head->data, link);
    if (entry == NULL)
        return ERR_NO_MEMORY;
    struct err_trail trail = {.text = ""};
    enum err e = body_open(options->volume,
                           &(struct body_options){.loop = options->loop,
                                                  .size = is_known ? bytes : BODY_SIZE_UNKNOWN,
                                                  .id = head->data},
                           &entry->body, &trail);
    if (e) {
        take_out(entry);
        return e;
    }
    entry->size = head->data_size;
    count_bytes(entry, bytes);
    *ret_entry = entry;
    return ERR_OK;
}

static bool sums_are_as_sent(const struct entry *entry, const struct link_chunk_head *head,
                             const uint8_t *payload)
{
    uint32_t count, first = (uint32_t)(head->offset / SUM_CHUNK_BYTES);
    const uint64_t *sums = body_sums(entry->body, &count);
    if (body_is_inline(entry->body)) /* has no list of them */
        return head->sum_count == 1 && head->sums[0] == xxh3_64(payload, head->size);
    return count == first + head->sum_count &&
           memcmp(sums + first, head->sums, head->sum_count * sizeof *sums) == 0;
}

/* Its sender gave it up, or waits for a disk. */
static bool is_stalled(const struct entry *entry)
{
    return !entry->has_ended && entry->writes == 0 &&
           now_ns(entry->incoming) - entry->touched_ns >= INCOMING_STALLED_NS;
}

/* Whoever has the next bytes goes on with it, also one who knows what its first sender did not: how
 * long it is. */
static void change_sender(struct entry *entry, struct link *link, uint64_t data_size)
{
    entry->link = link;
    if (entry->size == UINT64_MAX)
        entry->size = data_size;
}

/* Into the body: the write answers for the token. An error: it does not. */
static enum err write_chunk(struct entry *entry, const struct link_chunk_head *head,
                            uint8_t *payload, struct link_token token)
{
    struct incoming *incoming = entry->incoming;
    struct chunk_write *write = take_write(incoming);
    if (write == NULL)
        return ERR_NO_MEMORY;
    struct err_trail trail = {.text = ""};
    bool is_last = head->last || head->offset + head->size == head->data_size;
    write->entry = entry;
    write->token = token;
    enum err e =
        body_write(entry->body, &write->write, payload, head->size, is_last, chunk_written, &trail);
    if (e) {
        put_write(incoming, write);
        return e;
    }
    entry->writes++;
    incoming->writes++;
    entry->has_ended = is_last;
    if (body_size(entry->body) > entry->counted_bytes)
        count_bytes(entry, body_size(entry->body));
    touch(entry);
    if (!sums_are_as_sent(entry, head, payload)) {
        incoming->counts.bad_sums++;
        fail(entry, ERR_CORRUPT);
    }
    return ERR_OK;
}

static enum err take_chunk(struct incoming *incoming, struct link *link,
                           const struct link_chunk_head *head, uint8_t *payload,
                           struct link_token token, bool *ret_is_pending)
{
    enum err e = judge_head(head);
    if (e)
        return e;
    struct entry *entry = find(incoming, head->data);
    if (entry != NULL &&
        (entry->is_complete || head->offset + head->size <= body_size(entry->body)))
        return ERR_OK; /* it is here */
    if (entry == NULL && head->offset == 0)
        e = begin(incoming, link, head, &entry);
    if (e)
        return e;
    if (entry != NULL && is_stalled(entry) && head->offset == body_size(entry->body))
        change_sender(entry, link, head->data_size);
    if (entry == NULL || entry->link != link || entry->size != head->data_size ||
        entry->has_ended || head->offset != body_size(entry->body))
        return ERR_CANCELLED; /* of a body that failed or was dropped, or that another sends */
    e = write_chunk(entry, head, payload, token);
    *ret_is_pending = e == ERR_OK;
    if (e)
        fail(entry, e);
    return e;
}

void incoming_chunk(struct incoming *incoming, struct link *link,
                    const struct link_chunk_head *head, uint8_t *payload, struct link_token token)
{
    bool is_pending = false;
    enum err e = take_chunk(incoming, link, head, payload, token, &is_pending);
    if (is_pending)
        return;
    incoming->counts.refused_chunks += e != ERR_OK;
    incoming->options.chunk_done(incoming->options.context, token, e);
}

/* ---- what is here ---- */

enum err incoming_put(struct incoming *incoming, struct body *body)
{
    CHECK(body_writes_pending(body) == 0);
    struct entry *entry = find(incoming, body_data_id(body));
    if (entry != NULL)
        discard(entry, ERR_CANCELLED); /* an echo of our own */
    entry = add(incoming, body_data_id(body), NULL);
    if (entry == NULL) {
        body_close(body);
        return ERR_NO_MEMORY;
    }
    entry->body = body;
    entry->size = body_size(body);
    entry->has_ended = entry->is_complete = true;
    incoming->counts.arriving--;
    incoming->counts.complete++;
    count_bytes(entry, entry->size);
    return ERR_OK;
}

static void tail_written(struct body_write *write, enum err e)
{
    struct entry *entry = CONTAINER_OF(write, struct entry, tail);
    entry->incoming->writes--;
    if (e && entry->is_in_table)
        fail(entry, e);
    if (!ended(entry))
        complete_if_ended(entry);
}

/* All of its bytes came before anybody knew that they were the last. */
static void end_here(struct entry *entry)
{
    static _Alignas(UNIT_BYTES) uint8_t nothing[UNIT_BYTES];
    struct err_trail trail = {.text = ""};
    enum err e = body_write(entry->body, &entry->tail, nothing, 0, true, tail_written, &trail);
    if (e) {
        discard(entry, e);
        return;
    }
    entry->has_ended = true;
    entry->writes++;
    entry->incoming->writes++;
}

enum incoming_state incoming_state(struct incoming *incoming, const struct log_data *data)
{
    struct entry *entry = find(incoming, data->id);
    if (entry == NULL)
        return INCOMING_NONE;
    uint64_t size = entry->has_ended ? body_size(entry->body) : entry->size;
    bool is_another = size != UINT64_MAX ? size != data->size : body_size(entry->body) > data->size;
    if (is_another) {
        LOG_LIMITED(LOG_WARN, "replication",
                    "data %llx.%llu has other bytes here than its record says: asked for again",
                    (unsigned long long)data->id.epoch, (unsigned long long)data->id.counter);
        discard(entry, ERR_CORRUPT);
        return INCOMING_NONE;
    }
    if (entry->is_complete)
        return INCOMING_COMPLETE;
    if (!entry->has_ended && size == UINT64_MAX && body_size(entry->body) == data->size)
        end_here(entry);
    entry = find(incoming, data->id);
    return entry == NULL ? INCOMING_NONE : is_stalled(entry) ? INCOMING_STALLED : INCOMING_ARRIVING;
}

struct body *incoming_take(struct incoming *incoming, struct data_id id)
{
    struct entry *entry = find(incoming, id);
    CHECK(entry != NULL && entry->is_complete);
    struct body *body = TAKE(entry->body);
    take_out(entry);
    return body;
}

/* ---- what will not be needed ---- */

void incoming_drop(struct incoming *incoming, struct data_id id)
{
    struct entry *entry = find(incoming, id);
    if (entry == NULL)
        return;
    incoming->counts.dropped++;
    discard(entry, ERR_CANCELLED);
}

void incoming_disown(struct incoming *incoming, struct data_id id)
{
    incoming_drop(incoming, id);
    incoming->disowned[incoming->disown_count++ % INCOMING_DISOWNED_KNOWN] = id;
}

/* Other nodes may lack it for the same reason that keeps its record waiting here: a disk that is
 * full on all of them. Nobody could bring it back then, and nothing behind it could go on. */
static bool is_awaited(const struct entry *entry)
{
    const struct incoming_options *options = &entry->incoming->options;
    bool is_named = entry->is_complete && options->is_named != NULL &&
                    options->is_named(options->context, entry->id);
    return data_way_is_awaited(entry->is_complete, is_named);
}

void incoming_let_go(struct incoming *incoming, struct data_id id)
{
    struct entry *entry = find(incoming, id);
    if (entry == NULL || !entry->is_held)
        return;
    if (incoming->let_go_count >= incoming->options.count_max && !is_awaited(entry)) {
        incoming->counts.dropped++;
        discard(entry, ERR_CANCELLED);
        return;
    }
    entry->is_held = false;
    incoming->let_go_count++;
    touch(entry);
}

void incoming_link_down(struct incoming *incoming, struct link *link)
{
    /* Telling may change the list: one at a time. */
    for (bool found = true; found;) {
        found = false;
        LIST_EACH (&incoming->by_age, node) {
            struct entry *entry = LIST_ENTRY(node, struct entry, by_age);
            if (entry->link != link || entry->is_complete)
                continue;
            found = true;
            fail(entry, ERR_PEER_CLOSED);
            break;
        }
    }
}

void incoming_tick(struct incoming *incoming, uint64_t now)
{
    while (!list_is_empty(&incoming->by_age)) {
        struct entry *entry = LIST_ENTRY(list_first(&incoming->by_age), struct entry, by_age);
        if (entry->touched_ns + INCOMING_IDLE_NS > now)
            break;
        if (is_awaited(entry)) {
            touch(entry); /* looked at again after as long */
            continue;
        }
        incoming->counts.dropped++;
        if (entry->is_complete)
            discard(entry, ERR_CANCELLED);
        else
            fail(entry, ERR_TIMEOUT);
    }
}

/* ---- looking ---- */

void incoming_counts(const struct incoming *incoming, struct incoming_counts *ret_counts)
{
    *ret_counts = incoming->counts;
}

void incoming_watch(struct incoming *incoming, struct incoming_watch *watch)
{
    watch->link = (struct list){0};
    list_push_back(&incoming->watches, &watch->link);
}

/* ---- life ---- */

enum err incoming_open(const struct incoming_options *options, struct incoming **ret_incoming)
{
    CHECK(options->loop != NULL && options->volume != NULL && options->chunk_done != NULL);
    struct incoming *incoming = calloc(1, sizeof *incoming);
    if (incoming == NULL)
        return ERR_NO_MEMORY;
    incoming->options = *options;
    if (incoming->options.count_max == 0)
        incoming->options.count_max = INCOMING_COUNT_MAX;
    if (incoming->options.bytes_max == 0)
        incoming->options.bytes_max = INCOMING_BYTES_MAX;
    list_init(&incoming->by_age);
    list_init(&incoming->watches);
    *ret_incoming = incoming;
    return ERR_OK;
}

bool incoming_is_idle(const struct incoming *incoming)
{
    return incoming->writes == 0;
}

void incoming_close(struct incoming *incoming)
{
    if (incoming == NULL)
        return;
    CHECK(incoming_is_idle(incoming));
    while (!list_is_empty(&incoming->by_age))
        discard(LIST_ENTRY(list_first(&incoming->by_age), struct entry, by_age), ERR_CANCELLED);
    while (incoming->free_writes != NULL) {
        struct chunk_write *next = incoming->free_writes->next_free;
        free(incoming->free_writes);
        incoming->free_writes = next;
    }
    free(incoming);
}
