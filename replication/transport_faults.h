/*
 * What a test can do to a transport's connections. The fields may be changed at any time on the
 * transport's loop. Offsets count bytes of one lane in the direction out of this node; on verbs,
 * where there is no byte stream, cut_at counts writes and messages instead.
 */
#ifndef REPLICATION_TRANSPORT_FAULTS_H
#define REPLICATION_TRANSPORT_FAULTS_H

#include <stdint.h>

#include "replication/transport.h"

#define FAULT_NEVER UINT64_MAX

struct transport_faults {
    /* TCP: at most so many bytes a system call; 0: no limit. Every boundary is met with 1. */
    uint32_t send_max, recv_max;
    struct transport_lane_faults {
        uint64_t cut_at;     /* the connection is cut after so many */
        uint64_t corrupt_at; /* TCP: the byte with this offset has a bit flipped, if it is ours
                                (heads and messages: the bytes of writes are borrowed) */
        uint64_t delay_ns;   /* before anything is sent: lanes overtake each other */
        bool wrong_key;      /* the next writes carry a key nobody granted */
        bool wrong_gen;      /* TCP: the next frames are of another connection */
        uint64_t offset_add; /* the next writes go so much further than asked */
        bool ignores_credit; /* sends whether the peer has room or not */
        /* verbs: after so many more completions of this lane, one has wc_status, an enum
           ibv_wc_status, instead of its own. */
        uint64_t wc_after;
        int wc_status;
    } lanes[LANE_COUNT];
    bool withholds_credit; /* tells nothing of what it takes */
};

#define TRANSPORT_NO_LANE_FAULTS                                                                   \
    {                                                                                              \
        .cut_at = FAULT_NEVER, .corrupt_at = FAULT_NEVER, .wc_after = FAULT_NEVER                  \
    }
#define TRANSPORT_NO_FAULTS                                                                        \
    {                                                                                              \
        .lanes = { TRANSPORT_NO_LANE_FAULTS, TRANSPORT_NO_LANE_FAULTS, TRANSPORT_NO_LANE_FAULTS }  \
    }

#endif
