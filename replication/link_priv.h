/*
 * What link.c (lives), link_send.c and link_receive.c share.
 *
 * A link has at most two connections: the one of its present life, and one that came up while the
 * old one is still ending, because the peer saw the end first and called again. The newcomer waits
 * until the old one's down(); only then is the area, which is one, lent again.
 */
#ifndef REPLICATION_LINK_PRIV_H
#define REPLICATION_LINK_PRIV_H

#include "replication/link_wire.h"

#define LINK_RETRY_MIN_NS (50 * NS_PER_MS)
#define LINK_RETRY_MAX_NS (1 * NS_PER_SECOND)
#define LINK_STEADY_NS    (1 * NS_PER_SECOND) /* up so long: the next retry is soon again */
/* From up() of the transport to READY of the peer, whose disk may have to finish with our slots. */
#define LINK_LEND_NS (10 * NS_PER_SECOND)

#define LINK_FRAMES      256u /* META frames queued or not written yet; a power of two */
#define LINK_RING_BYTES  (LINK_SEND_SLOTS * (uint64_t)SLOT_SMALL_BYTES)
#define LINK_FRAME_ALIGN 64u
#define LINK_HEADS_BYTES (LINK_BULK_SLOTS_MAX * LINK_CHUNK_WIRE_BYTES) /* of one link */

_Static_assert(LINKS_MAX *LINK_HEADS_BYTES <= SLOT_SMALL_BYTES, "all links' heads in one slot");
_Static_assert(SLOT_SMALL_BYTES % LINK_META_SLOT_BYTES == 0, "a frame lies in one slot");
_Static_assert(LINK_META_SLOTS_MAX <= LINK_FRAMES, "");

/* Changed by tests at any time, on the loop. */
struct link_faults {
    uint64_t flip_meta_at;  /* the next META frame has a bit of this byte flipped; FAULT_NEVER */
    uint64_t flip_chunk_at; /* of the next chunk's head */
    bool retries_at_once;
    bool grants_nothing; /* the peer waits for an area in vain */
};

enum link_state {
    LINK_IDLE,     /* waits to call, or to be called */
    LINK_CALLING,  /* called, no up() yet */
    LINK_GRANTING, /* connected; ours to lend, theirs to come */
    LINK_READY,    /* both are lent, and we said so */
    LINK_UP,       /* the peer said so */
    LINK_ENDING,   /* down() of the transport is to come */
};

struct meta_frame { /* one slot's worth, in the ring */
    struct transport_write write;
    struct link *link;
    uint64_t end; /* where the next one may begin, once this is written */
};

struct waiting_message { /* on the heap: larger than a slot, or behind such a one */
    struct list link;
    uint32_t size, sent;
    uint8_t kind;
    uint8_t data[];
};

struct link_sender {
    /* META. Totals since the connection began; frames[n % LINK_FRAMES] goes to slot n % slots. */
    struct slot *memory[LINK_SEND_SLOTS]; /* owned: the ring */
    struct meta_frame frames[LINK_FRAMES];
    uint32_t queued, posted, written, returned;
    uint64_t head, tail; /* bytes of the ring, totals */
    struct list waiting; /* of waiting_message */
    uint32_t waiting_bytes;
    bool wants_room;

    /* BULK */
    struct list chunks; /* of link_chunk: no slot yet */
    uint32_t chunk_count;
    uint64_t moved_ns;   /* in the loop's time: `chunks` was empty, or one of them got a slot */
    uint64_t given_back; /* slots, since links_open() */
    uint64_t slots_free; /* mask */
    uint32_t uses[LINK_BULK_SLOTS_MAX];           /* of each slot */
    struct link_chunk *sent[LINK_BULK_SLOTS_MAX]; /* borrowed; by slot */
    uint8_t *heads;                               /* borrowed from links->heads */

    struct link_layout layout; /* of the peer's area */
};

struct link_receiver {
    struct landing *landing; /* owned */
    struct link_layout layout;
    bool is_lent;
    uint32_t meta_taken, meta_told;
    uint32_t uses[LINK_BULK_SLOTS_MAX];
    uint64_t held; /* mask of slots handed out, by this life or one before */
    struct link_return returns[LINK_BULK_SLOTS_MAX];
    uint32_t return_count;
    /* A message of several slots. */
    uint8_t *assembly; /* owned; NULL: none under way */
    uint32_t assembly_total, assembly_have;
    uint8_t assembly_kind;
};

#define LINK_MAGIC 0x4c696e6bu
struct link {
    uint32_t magic;
    struct links *links;
    unsigned index;
    struct link_peer_options peer_options;
    bool we_call;
    enum link_state state;
    struct transport_peer *peer;          /* of this life */
    struct transport_peer *next;          /* came up meanwhile */
    uint64_t area_bytes, next_area_bytes; /* lent to us; 0: not yet */
    bool heard_ready;
    bool was_up; /* in this life: down() is due */
    uint32_t life;
    unsigned failures;  /* in a row */
    struct timer timer; /* to call again, or for the peer's READY */
    uint64_t since_ns;
    uint8_t disk[16], incarnation[16];
    char address[80];
    char cause[200];    /* ours for ending this life; "" */
    char sentence[320]; /* of the last end */
    struct link_counts counts;
    void *user; /* borrowed: the layer's above */
    struct link_sender out;
    struct link_receiver in;
};

#define LINKS_MAGIC 0x4c6e6b73u
struct links {
    uint32_t magic;
    struct loop *loop;
    struct arena *arena;
    struct rand *rand;
    struct transport *transport; /* owned */
    struct links_handlers handlers;
    void *context;
    struct link_faults *faults;
    uint32_t self;
    struct transport_status status; /* as it was opened: what each link runs over */
    struct slot *heads;             /* owned */
    uint8_t *scratch;               /* owned: a META payload while its handler runs */
    struct loop_msg turn;           /* returns slots, ends the closing */
    bool turn_posted, is_closing, is_transport_closed, is_closed;
    void (*closed)(void *context);
    unsigned count;
    struct link links[]; /* owned */
};

/* ---- link.c ---- */
/* The peer did what it may not: counted, logged, fenced. Does nothing to a connection that ends. */
void link__violated(struct link *link, const char *format, ...) PRINTF_LIKE(2, 3);
void link__end(struct link *link, const char *format, ...) PRINTF_LIKE(2, 3);
void link__turn_later(struct links *links);
bool link__is_connected(const struct link *link); /* both areas are lent and nothing ends */
void link__ready_came(struct link *link);         /* by its message, or by a write that needs it */
void link__lend(struct link *link);               /* if it is time to */

/* ---- link_send.c ---- */
void link__sender_begin(struct link *link); /* the peer's area is known */
void link__sender_end(struct link *link);   /* the transport has let go of everything */
void link__send(struct link *link, enum transport_lane lane); /* what waits, as far as it goes */
/* A message of our own; ERR_BUSY: link__send(CTL) will be asked again. */
enum err link__ctl(struct link *link, enum link_ctl_type type, uint16_t count, const void *body,
                   size_t size) MUST_USE;
bool link__meta_returned(struct link *link, uint32_t total); /* false: more than there is */
bool link__bulk_returned(struct link *link, const struct link_return *one); /* false: not sent */

/* ---- link_receive.c ---- */
void link__receiver_begin(struct link *link);
void link__receiver_end(struct link *link);
void link__return_slots(struct link *link);
void link__ctl_in(struct link *link, const uint8_t *data, size_t size);
void link__write_in(struct link *link, enum transport_lane lane, uint32_t imm, uint32_t size);

#endif
