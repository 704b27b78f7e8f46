/*
 * A volume with a log, on the simulated disk and index: append a record with its data, apply it,
 * cut the log, save, and what fsck says of it all.
 */
#ifndef TESTS_LOG_FIXTURE_H
#define TESTS_LOG_FIXTURE_H

#include "volume_fixture.h"

#include "storage/fsck.h"
#include "storage/log.h"

/* A formatted, open volume with a log and nothing in it: record 1 is to make the bucket. */
static inline void log_up(struct fixture *f, uint64_t disk_bytes, uint64_t segment_bytes)
{
    fixture_init(f, disk_bytes);
    f->has_log = true;
    assert_int_equal(fixture_format(f, segment_bytes), ERR_OK);
    assert_int_equal(fixture_open(f), ERR_OK);
    f->bucket = (struct bucket_id){1};
}

static inline void log_crash(struct fixture *f)
{
    fixture_cut_power(f);
    enum err e = fixture_open(f);
    if (e)
        fail_msg("%s", err_trail_text(&f->trail, e));
}

static inline bool log_is_synced(struct fixture *f)
{
    return atomic_load(&f->volume->commit.seq) == atomic_load(&f->volume->commit.synced_seq);
}

static inline struct log_range log_range(struct fixture *f)
{
    struct log_range range;
    volume_log_range(f->volume, &range);
    return range;
}

/* ---- appends ---- */

struct append_wait {
    struct log_append a;
    bool is_done;
};

static inline void append_done(struct log_append *append)
{
    struct append_wait *wait = CONTAINER_OF(append, struct append_wait, a);
    assert_false(wait->is_done);
    wait->is_done = true;
}

static inline void log_submit_append(struct fixture *f, struct append_wait *wait)
{
    wait->is_done = false;
    wait->a.magic = LOG_APPEND_MAGIC;
    wait->a.loop = f->loop;
    wait->a.done = append_done;
    volume_log_append(f->volume, &wait->a);
}

static inline void log_step(struct fixture *f)
{
    volume_step(f->volume);
    loop_run_once(f->loop, 0);
}

static inline enum err log_append_body(struct fixture *f, uint64_t psn, struct body *body)
{
    struct append_wait wait = {
        .a = {.psn = psn, .term = 7, .record = BYTES("a record"), .body = body}};
    log_submit_append(f, &wait);
    log_step(f);
    assert_true(wait.is_done);
    f->trail = wait.a.trail;
    return wait.a.err;
}

/* ---- saves ---- */

struct save_wait {
    struct log_save s;
    bool is_done;
};

static inline void save_done(struct log_save *save)
{
    struct save_wait *wait = CONTAINER_OF(save, struct save_wait, s);
    assert_false(wait->is_done);
    wait->is_done = true;
}

static inline void log_submit_save(struct fixture *f, struct save_wait *wait)
{
    wait->is_done = false;
    wait->s.magic = LOG_SAVE_MAGIC;
    wait->s.loop = f->loop;
    wait->s.done = save_done;
    volume_log_save(f->volume, &wait->s);
}

static inline enum err log_save(struct fixture *f, struct bytes state, uint64_t last)
{
    struct save_wait wait = {.s = {.state = state, .last = last}};
    log_submit_save(f, &wait);
    log_step(f);
    assert_true(wait.is_done);
    f->trail = wait.s.trail;
    return wait.s.err;
}

/* ---- applying ---- */

static inline void log_mutation(struct commit_wait *wait, uint64_t psn)
{
    wait->m.is_logged = true;
    wait->m.psn = psn;
    wait->m.term = 7;
    wait->m.now_ns = 1600000000 * NS_PER_SECOND + psn;
}

/* A put whose data the row of `psn` holds. */
static inline void log_put_mutation(struct fixture *f, struct commit_wait *wait, uint64_t psn,
                                    const char *key, struct piece *piece)
{
    *wait = (struct commit_wait){.m = {.kind = MUTATION_OBJECT_PUT,
                                       .bucket = f->bucket,
                                       .key = bytes_of_string(key),
                                       .pieces = piece,
                                       .piece_count = 1,
                                       .size = piece->size,
                                       .takes_reference = true}};
    log_mutation(wait, psn);
}

static inline enum err log_make_bucket(struct fixture *f)
{
    assert_int_equal(log_append_body(f, 1, NULL), ERR_OK);
    struct commit_wait wait = {.m = {.kind = MUTATION_BUCKET_CREATE,
                                     .bucket_name = BYTES("photos"),
                                     .owner = BYTES("me"),
                                     .region = BYTES("here")}};
    log_mutation(&wait, 1);
    return fixture_commit(f, &wait);
}

/* Appends and applies a put. */
static inline enum err log_put(struct fixture *f, const char *key, uint64_t size, uint64_t seed)
{
    struct body *body = NULL;
    struct commit_wait wait;
    uint64_t psn = log_range(f).last + 1;
    enum err e = fixture_body(f, size, true, seed, &body);
    if (e)
        return e;
    struct piece piece = {.data = body_data_id(body), .size = size};
    e = log_append_body(f, psn, body);
    if (e)
        return e;
    log_put_mutation(f, &wait, psn, key, &piece);
    e = fixture_commit(f, &wait);
    f->trail = wait.m.trail;
    return e;
}

static inline enum err log_delete(struct fixture *f, const char *key)
{
    uint64_t psn = log_range(f).last + 1;
    enum err e = log_append_body(f, psn, NULL);
    if (e)
        return e;
    struct commit_wait wait = {
        .m = {.kind = MUTATION_OBJECT_DELETE, .bucket = f->bucket, .key = bytes_of_string(key)}};
    log_mutation(&wait, psn);
    return fixture_commit(f, &wait);
}

/* ---- what must hold ---- */

static void log_finding(void *context, enum fsck_class class, const char *text)
{
    (void)context;
    print_message("    %s: %s\n", fsck_class_name(class), text);
}

/* After all that waits for a sync, for gc or for the keeper. */
static inline void log_settle(struct fixture *f)
{
    clock_manual_advance(&f->clock, 2 * NS_PER_SECOND);
    volume_step(f->volume);
    volume_step(f->volume);
    loop_run_once(f->loop, 0);
}

/* With the volume closed: it holds the lock. Opens it again. */
static inline struct fsck_counts log_check(struct fixture *f)
{
    struct fsck_counts counts;
    log_settle(f);
    fixture_check(f);
    fixture_close_volume(f);
    enum err e = volume_fsck(
        &(struct fsck_options){
            .dir = FIXTURE_DIR, .disk = f->disk, .kv = f->kv, .data = true, .finding = log_finding},
        &counts, &f->trail);
    assert_int_equal(e, ERR_OK);
    assert_int_equal(counts.findings_total, 0);
    assert_int_equal(fixture_open(f), ERR_OK);
    return counts;
}

#endif
