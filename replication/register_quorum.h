/*
 * The configuration register of several nodes without anything beside them: they keep it among
 * themselves, by CASPaxos (Rystsov, arXiv 1802.07000), one small value and no log. As a pure step
 * machine like pg.h: events in by these functions, effects out by a table, no clock, disk or
 * socket. The simulator runs pg on top of it (tests/sim).
 *
 * Each node is an acceptor, and a proposer when its pg asks. A proposer draws a ballot, higher than
 * any it has seen; a majority promises to take nothing lower, and says what it has taken
 * (PREPARE, PROMISE); the newest of that is the present value, and what becomes of it - the next
 * one, or the same when the swap does not fit - is taken by a majority (ACCEPT, ACCEPTED). Then it
 * stands. A read asks first for what stands at a majority (READ, STATE): when it is the same value
 * of the same ballot, nothing needs to be written.
 *
 *     BLANK --all others were heard, twice--> VOTING
 *
 * An acceptor that begins without state (a new disk, or a replaced one) has perhaps forgotten what
 * it promised. It takes no part until it has the newest of what *all* others have. It asks them
 * twice: with the first question a proposer drops what it was counting, so no vote of the disk
 * before counts from then on; what had been reached with one is in the answers to the second. A new
 * group's nodes are all blank, so a group begins when all its nodes are there.
 *
 * What a swap brings is durable on a majority before swapped() says DONE. UNKNOWN: it has happened,
 * or will, or never does; whoever asks again learns it.
 *
 * What a driver owes pg when it sits on this register (tests/sim/sim_register.c does all of it):
 *   - It reads the record before pg_init(): is_new_disk is "disks[self] is not mine". An empty disk
 *     begins with the record's configuration. No record yet (epoch 0): swap in the first, epoch 1
 *     and term 1, all nodes in sync, all their disks; who loses that race reads again. Better not
 *     before all vote: a majority can found a group while some have not heard each other, and
 *     whoever of them is lost then leaves the others without a vote until it is back.
 *   - pg's swap: disks are given for the nodes that it puts in sync, as their links said when pg
 *     asked; and for the same nonce again, the same ones.
 *   - Answers reach pg after this returns, not from within; of swaps, only those of
 *     pg->wanted.nonce. Before: pg_disk_known() when disks[self] is mine. After, and when a link
 *     comes up: pg_peer_disk_changed() for each peer that is there with a disk other than the
 *     newest record's.
 */
#ifndef REPLICATION_REGISTER_QUORUM_H
#define REPLICATION_REGISTER_QUORUM_H

#include "base/bytes.h"
#include "base/rand.h"
#include "replication/pg.h"

#define QUORUM_DISK_BYTES 16u

/* The record. Epoch 0: none has been written yet. */
struct quorum_value {
    struct pg_config config;
    /* With which disk each node came in sync. One that comes with another has lost what is counted
     * on: pg_options.is_new_disk and pg_peer_disk_changed(). */
    uint8_t disks[PG_NODES_MAX][QUORUM_DISK_BYTES];
};

/* In order by round, then node, then life. `life` is random at each start, so that no two ballots
 * are ever the same, whatever a proposer has forgotten. Round 0: none. */
struct quorum_ballot {
    uint64_t round, life;
    uint8_t node;
};

/* What survives a crash; all zeros, and is_blank, on a new disk. */
struct quorum_state {
    bool is_blank;
    bool is_copied; /* `accepted` is no vote of this disk, but what it found when it began */
    struct quorum_ballot promised, accepted;
    struct quorum_value value; /* of `accepted` */
};

enum quorum_message_type {
    QUORUM_PREPARE = 1,
    QUORUM_PROMISE,  /* ballot: of PREPARE; other: accepted, with its value */
    QUORUM_ACCEPT,   /* with the value */
    QUORUM_ACCEPTED, /* ballot: of ACCEPT */
    QUORUM_REFUSED,  /* ballot: of what is refused; other: promised since */
    QUORUM_READ,     /* ballot: names the question; is_blank: of one that must not vote yet */
    QUORUM_STATE,    /* ballot: of READ; other: accepted, with its value; promised; as durable */
};

struct quorum_message {
    enum quorum_message_type type;
    bool is_blank;  /* READ, STATE: the sender is */
    bool is_copied; /* STATE: as in the state */
    struct quorum_ballot ballot, other, promised;
    struct quorum_value value;
};

/* Effects. None of them may call back into the register. swapped() and read() come from within
 * quorum_receive(), quorum_persisted() and quorum_tick(); when there is one node only, from within
 * quorum_read(), too. */
struct quorum_ops {
    void (*send)(void *context, uint8_t to, const struct quorum_message *message);
    /* The state on the disk becomes this; quorum_persisted() follows. One at a time. */
    void (*save)(void *context, uint64_t version, const struct quorum_state *state);
    /* Of the newest swap: `value` is what stands after it (DONE), or instead of it (LOST: `next`
     * was not put, nor will be); NULL when UNKNOWN. */
    void (*swapped)(void *context, uint64_t nonce, enum pg_swap outcome,
                    const struct quorum_value *value);
    void (*read)(void *context, const struct quorum_value *value); /* epoch 0: no record yet */
};

struct quorum_times {
    uint64_t resend_ns; /* to those that have not answered */
    uint64_t settle_ns; /* a majority has answered a read, and not the same: the rest may decide */
    uint64_t backoff_ns, backoff_max_ns; /* after a refusal, doubled at each, with jitter */
    uint64_t limit_ns;                   /* of a swap: then its outcome is unknown */
};
extern const struct quorum_times quorum_times_default;

struct quorum_options {
    const struct quorum_ops *ops; /* borrowed */
    void *context;
    struct quorum_times times;
    uint8_t self, node_count;
    uint64_t seed; /* random at each start: the life's number, and the jitter */
};

enum quorum_phase {
    QUORUM_IDLE,
    QUORUM_READING,   /* READ is asked */
    QUORUM_PREPARING, /* PREPARE */
    QUORUM_ACCEPTING, /* ACCEPT */
    QUORUM_WAITING,   /* backs off */
};

/* What an acceptor owes a peer until its state is durable. */
struct quorum_owed {
    bool is_owed;
    uint64_t version;
    struct quorum_message message;
};

struct quorum {
    struct quorum_options options;
    uint64_t life, now_ns;
    struct rand_seeded rand;

    /* acceptor */
    struct quorum_state state, saving, durable;        /* newest; on its way to the disk; there */
    uint64_t version, saving_version, durable_version; /* saving 0: nothing is being saved */
    struct quorum_owed owed[PG_NODES_MAX];             /* by proposer */
    /* as long as it is blank */
    bool is_lost;
    uint8_t pass;                    /* 1 or 2: which question it is at */
    uint8_t blank_heard, blank_seen; /* masks: who has answered it; who is blank, too */
    struct quorum_ballot blank_question;
    struct quorum_state found; /* newest of the answers */
    uint64_t blank_due_ns;
    uint64_t blank_lives[PG_NODES_MAX]; /* of others that ask: known already */

    /* proposer */
    enum quorum_phase phase;
    bool is_swap;     /* what is under way: a swap, or a read */
    bool wants_read;  /* one was asked for and is not under way */
    bool has_offered; /* the swap's record may have been taken somewhere */
    struct quorum_value next;
    uint8_t next_disks; /* mask: what of next.disks is new */
    uint64_t highest_round;
    struct quorum_ballot ballot;
    uint8_t voters;                             /* mask: has said that it is not blank */
    uint8_t heard;                              /* mask: has answered in this phase */
    uint8_t votes;                              /* READING: mask: and has voted for what it has */
    struct quorum_ballot answers[PG_NODES_MAX]; /* READING: what each has accepted */
    struct quorum_ballot best;                  /* newest accepted heard of */
    struct quorum_value value;                  /* its value; ACCEPTING: what is offered */
    uint64_t resend_due_ns, settle_due_ns, retry_due_ns, limit_ns, backoff_ns;
};

/* `restored`: what was saved last. */
void quorum_init(struct quorum *q, const struct quorum_options *options,
                 const struct quorum_state *restored, uint64_t now_ns);
void quorum_tick(struct quorum *q, uint64_t now_ns); /* every few ms; cheap when nothing is due */

/* Puts next->config if the present epoch is one less; next->disks of the nodes in `disks` (mask),
 * the others' stay. Takes the place of a swap under way, whose outcome then is not told. The same
 * swap asked for again must be the same to the last bit, disks too. A record of the same nonce that
 * stands already is DONE. */
void quorum_swap(struct quorum *q, uint64_t now_ns, const struct quorum_value *next, uint8_t disks);
/* What stands, not older than now. Tried until it succeeds; one answer may serve several calls. */
void quorum_read(struct quorum *q, uint64_t now_ns);

void quorum_persisted(struct quorum *q, uint64_t now_ns, uint64_t version);
void quorum_receive(struct quorum *q, uint64_t now_ns, uint8_t from,
                    const struct quorum_message *message);

/* Who votes, a mask, as far as they have answered reads. */
uint8_t quorum_voters(const struct quorum *q);
/* Why it does not vote yet: others that must be heard, or 0. */
uint8_t quorum_waits_for(const struct quorum *q);
/* Blank, and so many others are that what stood may be lost: nothing more happens by itself. */
bool quorum_is_lost(const struct quorum *q);

/* ---- bytes, little-endian ---- */

/*
 *     ballot, 17    u64 round, u64 life, u8 node
 *     value, 138    u64 epoch, u64 term, u64 nonce, u8 primary, u8 in_sync, 7 disks of 16 bytes
 *     message, 191  u8 type, u8 flags (1 blank, 2 copied), ballot, other, promised, value;
 *                   zeros for what a type has not
 *     state, 182    u8 version, u8 flags, promised, accepted, value, u64 XXH3-64 of what is before
 */
#define QUORUM_MESSAGE_BYTES 191u
#define QUORUM_STATE_BYTES   182u
void quorum_message_encode(const struct quorum_message *message, uint8_t out[QUORUM_MESSAGE_BYTES]);
/* ERR_CORRUPT: no message of a group of `node_count`. */
enum err quorum_message_decode(struct bytes in, uint8_t node_count,
                               struct quorum_message *ret_message) MUST_USE;
void quorum_state_encode(const struct quorum_state *state, uint8_t out[QUORUM_STATE_BYTES]);
enum err quorum_state_decode(struct bytes in, struct quorum_state *ret_state) MUST_USE;

#endif
