/*
 * sluice bench paths: the same bytes from one file to one socket by each technique there is, side
 * by side. Sluice itself takes no part; this is the measurement its paths are chosen by.
 *
 *     measuring process = client                        server, forked for each measurement
 *     drops the page cache (cold)
 *     asks for a batch of objects ---- loopback TCP --> technique->send() for each of them,
 *     throws the bytes away (MSG_TRUNC) <-------------  in one random order
 *
 * The server is a process of its own, so its CPU time, with that of io_uring's workers in it, is
 * nobody else's. What delivers a packet over loopback runs in the sender's name and is part of it
 * for every technique alike. Before anything is measured, each technique delivers a batch that is
 * compared byte by byte. Rounds alternate between the techniques, medians are told.
 */
#ifndef TOOLS_BENCH_PATHS_H
#define TOOLS_BENCH_PATHS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "tools/cli.h"

#define BENCH_SIZES_MAX 12u
/* Medians of an odd number; two that somebody else disturbed do no harm. */
#define BENCH_ROUNDS      5u
#define BENCH_ALIGN       4096u        /* objects are whole units, as Direct I/O wants them */
#define BENCH_SIZE_MAX    (256u << 20) /* of an object */
#define BENCH_FILE_BYTES  (64u << 20)  /* at least: more than a processor's caches hold of it */
#define BENCH_BATCH_BYTES (16u << 20)  /* between two looks at the clock, in whole objects */
/* What copying techniques read at once: one slot of Sluice's arena. */
#define BENCH_BUFFER_BYTES (256u << 10)
#define BENCH_REASON_BYTES 160u

/* ---- a technique: one connection's server ---- */

struct bench_sender {
    int socket;             /* borrowed, blocking */
    int file_fd, direct_fd; /* borrowed; direct_fd is negative where there is no Direct I/O */
    uint32_t object_bytes;
    uint64_t calls; /* system calls made so far; counted where they are made */
    /* Told by the kernel: of so many, it copied so many after all. */
    uint64_t zero_copy_sends, zero_copy_copied;
    char *reason; /* BENCH_REASON_BYTES: why open() failed, when an errno does not say it */
    void *state;  /* the technique's */
};

struct bench_technique {
    const char *id, *name, *short_name; /* for JSON, tables, plots */
    const char *how;                    /* one line */
    unsigned copies;                    /* of the body by the CPU, in theory */
    bool is_direct;                     /* passes the page cache by: warm and cold are the same */
    bool is_zero_copy;                  /* the kernel tells whether it copied */
    /* 0 or an errno; close() comes in any case. May be NULL. */
    int (*open)(struct bench_sender *sender);
    int (*send)(struct bench_sender *sender, uint64_t offset); /* one object, whole */
    /* Of a batch: what is still under way. May be NULL. */
    int (*finish)(struct bench_sender *sender);
    void (*close)(struct bench_sender *sender); /* may be NULL */
};

extern const struct bench_technique bench_read_write, bench_mmap_write, bench_direct_send,
    bench_sendfile, bench_splice, bench_uring_splice, bench_mmap_zerocopy, bench_direct_send_zc;
#define BENCH_TECHNIQUES 8u
extern const struct bench_technique *const bench_techniques[BENCH_TECHNIQUES];

/* All of it, blocking; counts its calls. */
int bench_send_all(struct bench_sender *sender, const void *data, size_t size, int flags);

/* ---- measuring ---- */

struct bench_figures { /* of one round, or medians of all */
    double mib_per_s, cpu_s_per_gib, user_share, calls_per_object, switches_per_gib;
    double copied_share; /* of zero-copy sends; negative: nobody told */
};
struct bench_point {
    const struct bench_technique *technique;
    uint32_t object_bytes;
    bool is_cold, is_verified;
    char reason[BENCH_REASON_BYTES]; /* "" when it could be measured */
    unsigned rounds;
    struct bench_figures round[BENCH_ROUNDS], median;
};
struct bench_options {
    const char *dir;
    uint32_t sizes[BENCH_SIZES_MAX];
    unsigned size_count;
    double seconds; /* for each point, over all rounds */
    bool with_cold;
};
struct bench_run {
    struct bench_options options;
    char date[24], kernel[72], cpu[72], file_system[32];
    unsigned cores;
    bool is_pinned;             /* server and client have a core each */
    struct bench_point *points; /* owned: by temperature, then size, then technique */
    size_t point_count;
};
/* Measures, with progress on standard error. EXIT_DONE, or another code after saying what is
 * wrong. */
enum exit_code bench_paths_run(struct cli *cli, const struct bench_options *options,
                               struct bench_run *ret_run);
void bench_run_fini(struct bench_run *run);
double bench_median(double *values, size_t count); /* sorts them */

/* ---- telling ---- */
void bench_paths_print(const struct bench_run *run);
json_t *bench_paths_json(const struct bench_run *run); /* owned by the caller; NULL: no memory */
/* False: no memory, or nothing measured. */
bool bench_paths_svg(const struct bench_run *run, struct text_buf *out);
void bench_size_text(uint64_t bytes, char out[24]); /* "64 KiB" */

#endif
