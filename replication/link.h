/*
 * Links: one to each other node of the configuration, over replication/transport.h. A link is there
 * as long as the node is configured, up or down; connections come and go beneath it. The node with
 * the lower number calls, and calls again; each side lends the other a landing area, and the link
 * is up when both have said that they can write.
 *
 *     DOWN --call / be called--> GRANTING --both areas--> READY --the peer is, too--> UP --> up()
 *      ^                                                                                |
 *      `--- backoff 50 ms .. 1 s <--- down() <--- fenced, broken, or the peer misbehaved -'
 *
 * Three ways to send, each in order for itself and in none with the others:
 *
 *   link_ctl         a few bytes, best effort: acknowledgements, beacons
 *   link_message     records; copied at once, cut into slots, whole at the other end
 *   link_chunk_send  bodies; borrowed, written by the adapter or kernel into a landing slot of the
 *                    peer, where they lie aligned for Direct I/O: nobody copies. The slot comes
 *                    back with the peer's word on what became of the bytes
 *
 * A landing area is cut into slots (struct link_layout). The sender owns the free ones; a slot is
 * the receiver's from the write until it is given back by a CTL message. META slots are used in a
 * ring, so a total gives them back; BULK slots come back one by one with a status, many in one
 * message. What comes is judged before it is used: magic, slot, use counter, sizes, checksum of
 * head and of META payload. The sums of a chunk's bytes are in its head, for whoever writes them.
 * A peer that breaks the rules is counted, named in the log and fenced.
 *
 * When a link goes down nothing that was queued is sent later: messages are dropped, and each chunk
 * ends with ERR_PEER_CLOSED, before down() is called. A landing slot that was handed out stays
 * readable until link_chunk_done(): the area is lent again only when all of its slots are back.
 *
 * One loop: calls come from it, handlers and callbacks are called on it, never from inside a call
 * of this header.
 */
#ifndef REPLICATION_LINK_H
#define REPLICATION_LINK_H

#include "replication/transport.h"
#include "storage/object.h" /* only for struct data_id */

struct links;
struct link;

#define LINKS_MAX              16u         /* peers of one node; a token has 8 bits for them */
#define LINK_CTL_BYTES_MAX     216u        /* TRANSPORT_CTL_BYTES_MAX without our 8 bytes */
#define LINK_PARTS_MAX         4u          /* of a message: head, record, inline bytes, padding */
#define LINK_MESSAGE_BYTES_MAX (65u << 16) /* 4 MiB, a completed upload's parts, and 64 KiB */
#define LINK_QUEUE_BYTES_MAX   (13u << 20) /* waiting on one link: three of the largest */
#define LINK_CHUNK_BYTES_MAX   SLOT_LARGE_BYTES
#define LINK_CHUNK_SUMS_MAX    16u /* LINK_CHUNK_BYTES_MAX / SUM_CHUNK_BYTES */

/* The landing area: META slots first, then BULK slots. Both sides know it from its size. */
#define LINK_META_SLOT_BYTES  (32u << 10)
#define LINK_META_SLOTS_MAX   128u /* half of the transport's depth, whose credit then lasts */
#define LINK_META_SLOTS_MIN   16u
#define LINK_BULK_HEAD_BYTES  4096u /* so that the payload is aligned for the disk */
#define LINK_BULK_SLOT_BYTES  (LINK_BULK_HEAD_BYTES + LINK_CHUNK_BYTES_MAX)
#define LINK_BULK_SLOTS_MAX   64u         /* a mask */
#define LINK_AREA_BYTES_MIN   (4u << 20)  /* 16 META slots, 3 BULK slots */
#define LINK_AREA_BYTES_USUAL (16u << 20) /* 64 and 13: 10 GbE for 10 ms of disk */

struct link_layout {
    uint32_t meta_slots, bulk_slots;
    uint64_t bulk_offset; /* of the first BULK slot */
};
/* Of an area of LINK_AREA_BYTES_MIN or more: an eighth for META, the rest for BULK, up to the
 * maxima. */
struct link_layout link_layout_of(uint64_t area_bytes);

/* SLOT_SMALLs that links_open() takes from its loop's share of the arena: what META messages are
 * copied to, of each link, and the heads of chunks, of all. Besides, a landing area a peer. */
#define LINK_SEND_SLOTS          4u
#define LINKS_SMALL_SLOTS(peers) ((peers)*LINK_SEND_SLOTS + 1u)

/* ---- what a chunk says of itself ---- */
struct link_chunk_head {
    struct data_id data;
    uint64_t data_size; /* of the whole data; UINT64_MAX: not known yet */
    uint64_t offset;    /* of this chunk in the data */
    uint32_t size;      /* 1..LINK_CHUNK_BYTES_MAX */
    bool last;
    uint32_t sum_count; /* one XXH3-64 a SUM_CHUNK_BYTES of this chunk, or none */
    uint64_t sums[LINK_CHUNK_SUMS_MAX];
};

/* Names a chunk that was handed out, until link_chunk_done(). */
struct link_token {
    uint32_t life; /* of the link; 0 is none */
    uint8_t link, slot;
    uint16_t use;
};

/* All members may be NULL but up and down. `context` is links_options.context. */
struct links_handlers {
    /* A configured node has proved that it has the key. ERR_OK lets it in; else the sentence in
     * `trail` is kept and logged. `disk` is its volume's uuid. */
    enum err (*admit)(void *context, uint32_t node, const uint8_t disk[16],
                      struct err_trail *trail);
    void (*up)(void *context, struct link *link);
    /* After up(). Everything that was on its way has ended. */
    void (*down)(void *context, struct link *link, const char *sentence);
    /* One link_ctl() of the peer; valid until this returns. */
    void (*ctl)(void *context, struct link *link, const uint8_t *data, size_t size);
    /* One link_message(), whole, in memory that the peer cannot change; valid until this returns.
     */
    void (*message)(void *context, struct link *link, uint8_t kind, struct bytes body);
    /* One chunk, `payload` in the landing area, 4 KiB-aligned; the bytes behind its end up to the
     * slot's are this node's to zero. The slot is ours until link_chunk_done(token), which may be
     * called in here or much later. The peer could still change the bytes: judge what was read. */
    void (*chunk)(void *context, struct link *link, const struct link_chunk_head *head,
                  uint8_t *payload, struct link_token token);
    /* After a link_message() was refused with ERR_BUSY: there is room again. */
    void (*room)(void *context, struct link *link);
};

/* ---- life ---- */
struct link_peer_options {
    uint32_t node; /* > 0, not our own */
    struct sockaddr_storage address;
    socklen_t address_size;
};

struct link_faults; /* replication/link_priv.h, for tests; NULL in production */

struct links_options {
    struct loop *loop;   /* borrowed; its share of the arena gives LINKS_SMALL_SLOTS */
    struct arena *arena; /* borrowed; with a landing area for each peer */
    struct rand *rand;   /* borrowed; NULL: system */
    enum transport_choice choice;
    const struct sockaddr *address; /* this node's; see transport_options */
    socklen_t address_size;
    struct transport_identity self;
    uint8_t cluster_key[32];
    uint64_t busy_poll_ns;
    const struct link_peer_options *peers; /* copied */
    unsigned peer_count;                   /* 1..LINKS_MAX */
    const struct links_handlers *handlers; /* borrowed */
    void *context;
    struct transport_faults *transport_faults; /* borrowed */
    struct link_faults *faults;                /* borrowed */
};

/*
 * Listens from now on and calls the peers whose numbers are higher. ERR_INVALID: two peers of one
 * number, or our own; ERR_NO_MEMORY: not enough slots or landing areas, and the sentence says how
 * many are needed.
 */
enum err links_open(const struct links_options *options, struct links **ret_links,
                    struct err_trail *trail) MUST_USE;
/*
 * Takes every link down and stops listening. closed() is called on the loop when the last down()
 * has been and each chunk handed out is done. links_free() then, not inside closed().
 */
void links_close(struct links *links, void (*closed)(void *context));
void links_free(struct links *links); /* NULL does nothing; CHECKs that it is closed */

unsigned links_count(const struct links *links);
struct link *links_at(struct links *links, unsigned index);  /* in the order configured */
struct link *links_find(struct links *links, uint32_t node); /* NULL: not configured */
/* Where it listens: the port, when any was asked for. */
void links_transport_status(const struct links *links, struct transport_status *ret_status);
void links_transport_counts(const struct links *links, struct transport_counts *ret_counts);

/* ---- a link ---- */
uint32_t link_node(const struct link *link);
unsigned link_index(const struct link *link);
bool link_is_up(const struct link *link); /* false as soon as its end has begun */
/* 16 bytes, of the last that was up; zero before. */
const uint8_t *link_disk(const struct link *link);
const uint8_t *link_incarnation(const struct link *link); /* likewise */
void link_set_user(struct link *link, void *user);        /* borrowed: the layer's above */
void *link_user(const struct link *link);

/* Ends this connection, because of something the layer above knows (it was silent too long, its
 * disk is another now). A new one follows as ever. Does nothing to a link that is down. */
void link_fence(struct link *link, const char *sentence);
/* The same, for bytes that are none of the layer's above: counted as a broken rule. */
void link_violated(struct link *link, const char *sentence);

/* Best effort: ERR_BUSY (the lane is full) and ERR_CLOSED (not up) mean that it was not sent. */
enum err link_ctl(struct link *link, const void *data, size_t size) MUST_USE;

/*
 * A message of at most LINK_MESSAGE_BYTES_MAX, `kind` the layer's above; the parts are copied.
 * Messages come whole and in this order, or the link goes down. ERR_BUSY: too much waits already,
 * room() follows; ERR_CLOSED: not up; ERR_TOO_LARGE; ERR_NO_MEMORY. Whatever fits one slot goes
 * through memory taken at links_open(); a larger one, and what waits behind it, is copied to the
 * heap first.
 */
enum err link_message(struct link *link, uint8_t kind, const struct bytes *parts,
                      unsigned part_count) MUST_USE;
#define LINK_MESSAGE_SLOT_BYTES (LINK_META_SLOT_BYTES - 64u) /* what fits one slot */

#define LINK_CHUNK_MAGIC 0x4c63686bu
struct link_chunk {
    uint32_t magic; /* LINK_CHUNK_MAGIC while the link has it */
    struct link_chunk_head head;
    const uint8_t *data; /* head.size bytes in a slot of the arena; borrowed until written() */
    /* The bytes may be reused. ERR_OK, or ERR_PEER_CLOSED: whether they came is not known. */
    void (*written)(struct link_chunk *chunk, enum err e);
    /* The peer's word: what it gave to link_chunk_done(); ERR_PEER_CLOSED: none came. Always after
     * written(), and the chunk's last event. */
    void (*landed)(struct link_chunk *chunk, enum err e);
    /* Below is the link's own. */
    struct link *link;
    struct transport_write write;
    struct list queue;
    uint8_t slot;
    bool is_written, is_answered;
    enum err answer;
};
/* ERR_OK: written() and landed() will be called, once each. Queued in order while no slot of the
 * peer is free. ERR_CLOSED: not up. */
enum err link_chunk_send(struct link *link, struct link_chunk *chunk) MUST_USE;
/* How long chunks have waited, and the peer has given no slot back that one of them could go into.
 * 0: none waits. */
uint64_t link_chunks_wait_ns(const struct link *link);
uint64_t link_chunks_back(const struct link *link); /* slots given back so far */
/* Chunks that wait for a slot end, with ERR_BUSY: the peer does not get them. */
void link_chunks_give_up(struct link *link);

/*
 * The receiver has done with a chunk: its slot goes back with this word on it. On the wire words
 * are few: ERR_CORRUPT, ERR_IO, ERR_DISK_FULL, ERR_BUSY, ERR_NO_MEMORY, ERR_CANCELLED,
 * ERR_READ_ONLY and ERR_VOLUME_FAILED come as they are, others as the code of these that their
 * family has. A token of a connection that is gone only frees the slot. Once for each chunk.
 */
void link_chunk_done(struct links *links, struct link_token token, enum err e);

/* ---- looking ---- */
struct link_counts { /* since links_open() */
    uint64_t ctl_out, ctl_in;
    uint64_t messages_out, message_bytes_out, messages_in, message_bytes_in;
    uint64_t chunks_out, chunk_bytes_out, chunks_in, chunk_bytes_in;
    uint64_t chunks_refused; /* answered by the peer with an error */
    uint64_t ctl_dropped;    /* link_ctl() that found its lane full */
    uint64_t violations;     /* the peer broke the rules, and was fenced */
    uint64_t ups, attempts;  /* connections that came up; calls made or taken */
};

struct link_status {
    uint32_t node;
    bool is_up, we_call;
    struct sockaddr_storage address; /* configured */
    char address_text[80];           /* of the connection, or configured */
    uint64_t since_ns;               /* loop_now_ns(): up or down since */
    enum transport_backend backend;
    char device[80];
    uint8_t disk[16], incarnation[16]; /* of the last that was up; zero before */
    uint32_t meta_slots, meta_in_flight;
    uint32_t bulk_slots, bulk_in_flight;
    uint32_t message_bytes_waiting, chunks_waiting; /* for a slot */
    uint32_t chunks_held;                           /* of the peer, handed out here */
    struct link_counts counts;
    char sentence[320]; /* why the last connection, or attempt, ended; "" before */
};
void link_status(const struct link *link, struct link_status *ret_status);

#endif
