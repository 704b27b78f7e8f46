/*
 * Known ways to get the protocols wrong. The simulator (tests/sim) is built with them and must find
 * each; in the product they are constants and vanish.
 */
#ifndef REPLICATION_SEEDED_BUGS_H
#define REPLICATION_SEEDED_BUGS_H

/* pg.h */
#define PG_BUGS(X)                                                                                 \
    X(NO_EPOCH, "a replica takes messages of older epochs")                                        \
    X(NO_LEASE, "a primary reads without leases")                                                  \
    X(NO_PROMISE, "a replica takes over although it promised not to")                              \
    X(GRANT_STALE, "a replica promises to a primary whose epoch is past")                          \
    X(FORGET_PROMISE, "a restarted replica does not wait for what it may have promised")           \
    X(NO_ARM, "a replica is counted as in sync, and not waited for until then")                    \
    X(NO_BARRIER, "a new primary opens before its term's first record is committed")               \
    X(LEARNER_TAKES, "a replica that is not in sync takes over")                                   \
    X(NO_RECLAIM, "a restarted primary goes on in its old term")                                   \
    X(ACK_EARLY, "a replica acknowledges what is not on its disk")                                 \
    X(COMMIT_UNPERSISTED, "a primary does not wait for its own disk")                              \
    X(NO_MATCH, "a replica keeps what its new primary's log does not have")                        \
    X(PROMISE_WHILE_TAKING, "a replica promises while its own swap is under way")                  \
    X(TELL_UNAPPLIED, "a primary tells that records are committed before it shows them itself")    \
    X(READ_UNAPPLIED, "a new primary reads before its term's first record is applied")             \
    X(NEW_DISK_LEADS, "a node whose disk was replaced leads as if nothing had happened")           \
    X(DISK_KEEPS_ACKS, "what a replaced disk had acknowledged still counts")                       \
    X(NO_RESIGN, "a primary whose disk takes nothing keeps its place")                             \
    X(RESIGN_ACKS, "a primary that has resigned acknowledges what all others have")                \
    X(RESIGN_ADOPTS, "a primary that has resigned leads on in its term when its swap comes true")

/* register_quorum.h */
#define QUORUM_BUGS(X)                                                                             \
    X(Q_FORGET_PROMISE, "an acceptor's promise does not survive a crash")                          \
    X(Q_ANSWER_EARLY, "an acceptor answers before its state is on the disk")                       \
    X(Q_TAKE_BELOW, "an acceptor takes what is below its promise")                                 \
    X(Q_BLANK_VOTES, "an acceptor with an empty disk votes at once")                               \
    X(Q_BLANK_ASKS_ONCE, "votes of a disk that is gone are counted while its place is taken")      \
    X(Q_BLANK_FEW, "an acceptor with an empty disk hears a majority, not all")                     \
    X(Q_COPY_VOTES, "what a new disk was given counts as its vote")                                \
    X(Q_IGNORE_ACCEPTED, "a proposer takes any accepted value instead of the newest")              \
    X(Q_SMALL_MAJORITY, "half of the nodes are taken for a majority")                              \
    X(Q_READ_UNSETTLED, "a read returns what no majority has")                                     \
    X(Q_LOSE_UNWRITTEN, "a swap that does not fit is called lost before that is settled")          \
    X(Q_SAME_BALLOT, "a restarted proposer uses ballots of its life before")                       \
    X(Q_REBASE, "a swap tried again is put behind whatever stands by then")

/* data_way.h, and the rules beside it that the model of data has from the driver and the volume */
#define DATA_BUGS(X)                                                                               \
    X(D_LOG_WITHOUT_DATA, "a record is logged and acknowledged without its data")                  \
    X(D_GONE_UNAPPLIED, "a node that has not applied the record says that its data is gone")       \
    X(D_GONE_LATE, "whether the record was applied is looked at after its data was looked for")    \
    X(D_DROP_NAMED, "an idle body is dropped although a record waits with it")                     \
    X(D_DROP_NUMBERED, "a change that has a number is given up together with its body")            \
    X(D_TRIM_HELD, "the log is trimmed behind what a copy was promised")                           \
    X(D_TOO_OLD_STALE, "a node in sync begins a copy by an old word")                              \
    X(D_TRIM_UNAPPLIED, "rows are trimmed before they are applied")                                \
    X(D_FREE_AT_APPEND, "what a record lets go of goes when it is logged")                         \
    X(D_FREE_UNSYNCED, "space is used again before its deletion is on the disk")                   \
    X(D_FREE_READ, "space is used again while it is sent to a peer")                               \
    X(D_CUT_KEEPS_DATA, "a record that is cut off leaves its data behind")                         \
    X(D_REFUSED_KEEPS_DATA, "a record that is refused when applied leaves its data behind")        \
    X(D_COPY_UNCOUNTED, "an object that is a copy does not count as a reference")                  \
    X(D_GONE_UNCOUNTED, "data that is gone is not counted as if it were here")                     \
    X(D_COPY_ABSENT, "a copy ends before the data that its names refer to is here")                \
    X(D_COPY_FORGOTTEN, "a restarted node forgets that it is being copied")                        \
    X(D_COPY_COLLECTS, "deferred deletion goes on while names are copied")                         \
    X(D_COPY_KEEPS_GOING, "a copy keeps data that gc has begun with")                              \
    X(D_COPY_MIXED, "rows of two snapshots are taken for one")                                     \
    X(D_COPY_LOG_COUNTED, "references of the source's log are copied")

#define SEEDED_BUGS(X) PG_BUGS(X) QUORUM_BUGS(X) DATA_BUGS(X)

#ifdef WITH_SEEDED_BUGS
enum seeded_bug {
    BUG_NONE,
#define X(name, text) BUG_##name,
    SEEDED_BUGS(X)
#undef X
        BUG_COUNT,
    PG_BUG_LAST = BUG_RESIGN_ADOPTS,
    QUORUM_BUG_LAST = BUG_Q_REBASE,
};
extern enum seeded_bug seeded_bug;
#define HAS_BUG(name) (seeded_bug == BUG_##name)
#else
#define HAS_BUG(name) false
#endif

#endif
