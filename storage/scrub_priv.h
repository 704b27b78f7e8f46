/*
 * The inside of scrub: scrub.c is its life, scrub_walk.c the pass, scrub_note.c the file.
 */
#ifndef STORAGE_SCRUB_PRIV_H
#define STORAGE_SCRUB_PRIV_H

#include <pthread.h>

#include "storage/data.h"
#include "storage/keys.h"
#include "storage/read_plan.h"
#include "storage/scrub.h"

#define SCRUB_MAGIC       0x73637275u
#define SCRUB_READ_BYTES  SLOT_LARGE_BYTES
#define SCRUB_IDS         256u     /* data taken out of the index at once */
#define SCRUB_NOTE_BYTES  MIB(256) /* so much may be read again after a crash */
#define SCRUB_NOTE_LENGTH 4096u

enum scrub_phase { SCRUB_EXTENTS, SCRUB_INLINE }; /* of a pass, in this order */

/* Where a pass is: the next byte to be read. */
struct scrub_place {
    enum scrub_phase phase;
    struct data_id data;
    uint64_t offset;
};

struct scrub_note {
    struct scrub_status status; /* sentence and total_bytes are not kept */
    struct scrub_place place;
    uint64_t since_ns; /* real time: the first pass is due from then; 0: nobody counted yet */
};
void scrub__note_encode(const struct scrub_note *note, uint8_t out[SCRUB_NOTE_LENGTH]);
enum err scrub__note_decode(const uint8_t in[SCRUB_NOTE_LENGTH],
                            struct scrub_note *ret_note) MUST_USE;
/* B. ERR_NO_SUCH_FILE: none yet. */
enum err scrub__note_read(struct volume *volume, struct scrub_note *ret_note) MUST_USE;
enum err scrub__note_write(struct volume *volume, const struct scrub_note *note) MUST_USE;

struct scrub {
    uint32_t magic;
    struct scrub_options options; /* a copy */
    pthread_mutex_t lock;         /* over what follows up to the thread's own */
    pthread_cond_t wake;
    struct scrub_note note;
    bool is_stopping, is_anew; /* anew: the pass under way is another one now */
    pthread_t thread;
    bool has_thread;

    /* the thread's own */
    uint8_t *memory; /* owned, SCRUB_READ_BYTES, aligned */
    struct data_id ids[SCRUB_IDS];
    unsigned id_count, id_next;
    struct object *object; /* being read; a reference */
    struct read_plan plan;
    uint64_t noted_bytes; /* status.verified_bytes as of the last note */
};

/* What one step came to. */
struct scrub_result {
    uint64_t verified_bytes;
    unsigned damaged, repaired;
    bool ended_data, ended_pass;
    struct scrub_place place; /* next */
    enum err err;             /* the index could not be asked: the pass pauses */
    char sentence[200];       /* not "": a chunk that was not repaired */
};
/* B. */
void scrub__walk(struct scrub *scrub, const struct scrub_place *place, struct scrub_result *ret);
void scrub__walk_reset(struct scrub *scrub); /* another place follows */

#endif
