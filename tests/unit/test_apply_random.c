/*
 * Random mutations over few names, so that they meet:
 *
 *   - after any of them every reference is counted, every extent is its data's and nothing is left
 *     behind;
 *   - how they are divided into batches makes no difference to what is stored;
 *   - one that fails, or meets a failing index, leaves the batch and the effects as they were.
 */
#include "apply_fixture.h"

/* ---- random mutations ---- */

/* A random mutation over few names, so that they meet. Its borrowed arguments live in `m` and the
 * arrays given. */
struct random_mutation {
    struct mutation m;
    struct piece pieces[3];
    struct completed_part completed[4];
};

static const char *const names[] = {"a", "a/b", "a/c", "b"};

static void make_random(struct fixture *f, struct rand *rand, struct random_mutation *r)
{
    struct mutation *m = &r->m;
    static const enum mutation_kind kinds[] = {
        MUTATION_OBJECT_PUT,    MUTATION_OBJECT_PUT,    MUTATION_OBJECT_PUT,
        MUTATION_OBJECT_DELETE, MUTATION_UPLOAD_CREATE, MUTATION_PART_PUT,
        MUTATION_PART_PUT,      MUTATION_PART_PUT,      MUTATION_UPLOAD_COMPLETE,
        MUTATION_UPLOAD_ABORT,
    };
    memset(r, 0, sizeof *r);
    m->kind = kinds[rand_below(rand, COUNT_OF(kinds))];
    m->bucket = f->bucket;
    m->key = bytes_of_string(names[rand_below(rand, COUNT_OF(names))]);
    m->upload.bytes[0] = (uint8_t)rand_below(rand, 4);
    m->part_number = (uint16_t)(1 + rand_below(rand, 4));
    m->etag.md5[0] = (uint8_t)m->part_number;
    m->conditions.if_none_match_any = rand_below(rand, 8) == 0;
    m->conditions.if_match_any = rand_below(rand, 8) == 0;
    if (m->kind == MUTATION_UPLOAD_CREATE || m->kind == MUTATION_OBJECT_PUT)
        m->attrs = BYTES("some attributes");
    if (m->kind == MUTATION_OBJECT_PUT || m->kind == MUTATION_PART_PUT) {
        if (rand_below(rand, 2)) {
            static const uint64_t sizes[] = {0, 100, 8192, 100000, 5 << 20, 70 * 65536};
            m->size = sizes[rand_below(rand, COUNT_OF(sizes))];
            m->body = body_of(
                f, m->size,
                m->size <= INLINE_BYTES_MAX ? 0 : 65536 * (uint32_t)(m->size == 5 << 20 ? 16 : 1));
        } else {
            m->pieces = r->pieces;
            m->piece_count = 1 + rand_below(rand, COUNT_OF(r->pieces));
            for (size_t i = 0; i < m->piece_count; i++) {
                uint64_t counter = f->data_counter -
                                   rand_below(rand, f->data_counter < 8 ? f->data_counter + 1 : 8);
                r->pieces[i] = (struct piece){.data = {1, counter},
                                              .offset = rand_below(rand, 100),
                                              .size = 1 + rand_below(rand, 5000)};
                m->size += r->pieces[i].size;
            }
        }
    }
    if (m->kind == MUTATION_UPLOAD_COMPLETE) {
        m->completed = r->completed;
        for (uint16_t number = 1; number <= 4; number++)
            if (rand_below(rand, 2))
                r->completed[m->completed_count++] =
                    (struct completed_part){.number = number, .etag.md5 = {(uint8_t)number}};
    }
}

/* ---- properties ---- */

static void gc_among_mutations_leaves_the_index_sound(void **state)
{
    struct fixture *f = *state;
    for (uint64_t seed = 500; seed < 520; seed++) {
        struct rand_seeded seeded;
        rand_seeded_init(&seeded, seed);
        f->lazy = true;
        for (unsigned i = 0; i < 300; i++) {
            struct random_mutation r;
            make_random(f, &seeded.rand, &r);
            (void)run(f, &r.m);
            if (rand_below(&seeded.rand, 4) == 0) {
                bool more;
                assert_int_equal(apply_gc_step(&f->apply, &more), ERR_OK);
            }
            if (rand_below(&seeded.rand, 4) == 0) {
                commit(f);
                audit_all(f);
            }
        }
    }
    (void)run_gc(f);
    audit_all(f);
}

static uint64_t hash_index(struct fixture *f)
{
    uint64_t hash = 0;
    for (size_t family = 0; family < KV_FAMILY_COUNT; family++) {
        struct kv_iter *iter;
        const struct kv_ops *ops = f->kv->ops;
        assert_int_equal(ops->iter_open(f->kv,
                                        &(struct kv_iter_options){.family = (enum kv_family)family},
                                        &iter),
                         ERR_OK);
        for (ops->iter_seek(iter, (struct bytes){0}); ops->iter_valid(iter); ops->iter_next(iter)) {
            uint64_t mix[4] = {hash, family,
                               xxh3_64(ops->iter_key(iter).data, ops->iter_key(iter).size),
                               xxh3_64(ops->iter_value(iter).data, ops->iter_value(iter).size)};
            hash = xxh3_64(mix, sizeof mix);
        }
        ops->iter_close(iter);
    }
    return hash;
}

/* Runs 400 random mutations in batches of at most batch_max; gc when a batch ends and every 50. */
static void run_random(struct fixture *f, uint64_t seed, size_t batch_max,
                       unsigned outcome[ERR_COUNT])
{
    struct rand_seeded seeded;
    rand_seeded_init(&seeded, seed);
    f->lazy = true;
    for (size_t i = 0, in_batch = 0; i < 400; i++) {
        struct random_mutation r;
        make_random(f, &seeded.rand, &r);
        size_t operations = kv_batch_count(f->batch), released = f->effects.released_count,
               published = f->effects.published_count;
        enum err e = run(f, &r.m);
        outcome[e]++;
        if (e) {
            assert_int_equal(kv_batch_count(f->batch), operations);
            assert_int_equal(f->effects.released_count, released);
            assert_int_equal(f->effects.published_count, published);
            assert_int_not_equal(err_family(e), FAM_DATA);
            assert_int_not_equal(err_family(e), FAM_BUG);
        }
        if (++in_batch == batch_max) {
            commit(f);
            in_batch = 0;
            if (batch_max > 1 || i % 10 == 0)
                audit_all(f);
        }
        if (i % 50 == 49) {
            (void)run_gc(f);
            in_batch = 0;
            audit_all(f);
        }
    }
    (void)run_gc(f);
    audit_all(f);
}

static void batches_make_no_difference(void **state)
{
    (void)state;
    unsigned outcome[ERR_COUNT] = {0};
    for (uint64_t seed = 1; seed <= 25; seed++) {
        static const size_t sizes[] = {1, 3, 1000};
        uint64_t hash[COUNT_OF(sizes)];
        for (size_t i = 0; i < COUNT_OF(sizes); i++) {
            void *fixture;
            assert_int_equal(fixture_setup(&fixture), 0);
            run_random(fixture, seed, sizes[i], outcome);
            hash[i] = hash_index(fixture);
            assert_int_equal(fixture_teardown(&fixture), 0);
        }
        if (hash[0] != hash[1] || hash[0] != hash[2])
            fail_msg("seed %llu", (unsigned long long)seed);
    }
    print_message("    %u applied, %u no object, %u no upload, %u preconditions\n", outcome[ERR_OK],
                  outcome[ERR_NO_SUCH_OBJECT], outcome[ERR_NO_SUCH_UPLOAD],
                  outcome[ERR_PRECONDITION]);
    assert_true(outcome[ERR_OK] > 5000);
}

static void a_failing_index_leaves_the_batch_as_it_was(void **state)
{
    struct fixture *f = *state;
    struct rand_seeded seeded;
    rand_seeded_init(&seeded, 77);
    f->lazy = true;
    unsigned faults = 0;
    for (unsigned i = 0; i < 400; i++) {
        struct random_mutation r;
        make_random(f, &seeded.rand, &r);
        prepare(f, &r.m);
        size_t operations = kv_batch_count(f->batch);
        struct effects before = f->effects;
        for (unsigned nth = 1; nth < 200; nth++) {
            struct mutation m = r.m;
            kv_sim_fail_nth(f->kv, nth, ERR_IO);
            enum err e = apply_mutation(&f->apply, &m);
            if (!kv_sim_fault_fired(f->kv)) {
                kv_sim_fail_nth(f->kv, 0, ERR_OK);
                break; /* each call has failed once; this time it was applied, or refused on its
                          merits */
            }
            faults++;
            assert_int_equal(e, ERR_IO);
            assert_int_equal(kv_batch_count(f->batch), operations);
            assert_int_equal(f->effects.released_count, before.released_count);
            assert_int_equal(f->effects.published_count, before.published_count);
            assert_int_equal(f->effects.bucket_count, before.bucket_count);
            assert_int_equal(f->effects.gc_pending, before.gc_pending);
        }
        if (i % 7 == 0) {
            commit(f);
            audit_all(f);
        }
    }
    for (bool more = true; more;) {
        commit(f);
        for (unsigned nth = 1; nth < 2000; nth++) {
            kv_sim_fail_nth(f->kv, nth, ERR_IO);
            enum err e = apply_gc_step(&f->apply, &more);
            if (!kv_sim_fault_fired(f->kv))
                break;
            assert_int_equal(e, ERR_IO);
            assert_int_equal(kv_batch_count(f->batch), 0);
            assert_int_equal(f->effects.released_count, 0);
            faults++;
        }
        kv_sim_fail_nth(f->kv, 0, ERR_OK);
    }
    commit(f);
    audit_all(f);
    print_message("    %u faults\n", faults);
    assert_true(faults > 500);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(gc_among_mutations_leaves_the_index_sound),
        cmocka_unit_test(batches_make_no_difference),
        TEST(a_failing_index_leaves_the_batch_as_it_was),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
