/* MD5 in lanes: every kernel this CPU runs against OpenSSL, in any company, any sizes, any pieces.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/check.h"
#include "base/digest_priv.h"
#include "base/rand.h"

#define DATA_BYTES  (64u << 10)
#define STREAMS_MAX 40u /* more than any kernel has lanes */

static uint8_t data[DATA_BYTES + 64];

static int fill(void **state)
{
    (void)state;
    struct rand_seeded seeded;
    rand_seeded_init(&seeded, 5);
    rand_fill(&seeded.rand, data, sizeof data);
    return 0;
}

static void assert_is_md5(struct digest *digest, const uint8_t *bytes, size_t size)
{
    uint8_t got[DIGEST_BYTES_MAX], expected[16];
    digest_final(digest, got);
    md5(bytes, size, expected);
    assert_memory_equal(got, expected, sizeof expected);
}

/* Each kernel that runs here, and last the choice by number that everybody else uses. */
static void with_each_kernel(void (*check)(const struct md5_kernel *kernel))
{
    for (const struct md5_kernel *kernel = md5__kernels; kernel->lanes > 0; kernel++)
        if (kernel->runs_here())
            check(kernel);
    check(NULL);
}

/* Every number of streams, of lengths around the edges of a block, from aligned and odd addresses.
 */
static void check_company(const struct md5_kernel *kernel)
{
    static const size_t sizes[] = {0,   1,   55,  56,   63,   64,   65,
                                   127, 128, 129, 1000, 4096, 8191, 65536};
    for (unsigned count = 0; count <= STREAMS_MAX; count++) {
        struct digest digests[STREAMS_MAX];
        struct digest_feed feeds[STREAMS_MAX] = {{0}};
        for (unsigned i = 0; i < count; i++) {
            assert_int_equal(digest_init(&digests[i], DIGEST_MD5), ERR_OK);
            feeds[i] = (struct digest_feed){&digests[i], data + i,
                                            sizes[(i * 5 + count) % COUNT_OF(sizes)]};
        }
        md5__update_with(kernel, feeds, count);
        for (unsigned i = 0; i < count; i++)
            assert_is_md5(&digests[i], feeds[i].data, feeds[i].size);
    }
}

static void every_number_of_streams_is_hashed_as_openssl_does(void **state)
{
    (void)state;
    with_each_kernel(check_company);
}

struct upload {
    struct digest digest;
    size_t from, fed, size;
};

static void begin(struct rand *rand, struct upload *upload)
{
    upload->from = rand_below(rand, 64);
    upload->size = rand_below(rand, 4) == 0 ? rand_below(rand, 200) : rand_below(rand, DATA_BYTES);
    upload->fed = 0;
    assert_int_equal(digest_init(&upload->digest, DIGEST_MD5), ERR_OK);
}

/* Uploads that begin, go on by pieces in changing company, or alone, and end, at random. */
static void check_interleavings(const struct md5_kernel *kernel)
{
    static struct upload uploads[STREAMS_MAX];
    struct rand_seeded seeded;
    struct rand *rand = &seeded.rand;
    rand_seeded_init(&seeded, 77);
    for (unsigned i = 0; i < STREAMS_MAX; i++)
        begin(rand, &uploads[i]);
    for (unsigned turn = 0; turn < 600; turn++) {
        struct digest_feed feeds[STREAMS_MAX] = {{0}};
        unsigned count = 0, one_in = 1 + (unsigned)rand_below(rand, 8);
        for (unsigned i = 0; i < STREAMS_MAX; i++) {
            struct upload *upload = &uploads[i];
            if (rand_below(rand, one_in) != 0)
                continue;
            size_t piece = (size_t)rand_below(rand, rand_below(rand, 2) ? 300 : 20000);
            if (piece > upload->size - upload->fed)
                piece = upload->size - upload->fed;
            const uint8_t *at = data + upload->from + upload->fed;
            upload->fed += piece;
            if (rand_below(rand, 16) == 0)
                digest_update(&upload->digest, at, piece);
            else
                feeds[count++] = (struct digest_feed){&upload->digest, at, piece};
        }
        md5__update_with(kernel, feeds, count);
        for (unsigned i = 0; i < STREAMS_MAX; i++)
            if (uploads[i].fed == uploads[i].size) {
                assert_is_md5(&uploads[i].digest, data + uploads[i].from, uploads[i].size);
                begin(rand, &uploads[i]);
            }
    }
}

static void streams_come_and_go_in_any_order(void **state)
{
    (void)state;
    with_each_kernel(check_interleavings);
}

/* The length in bits goes over 32 bits at 512 MiB; half of it is fed in lanes, half alone. */
static void lengths_beyond_four_gibibits_are_counted(void **state)
{
    (void)state;
    struct digest pair[2], alone;
    assert_int_equal(digest_init(&pair[0], DIGEST_MD5), ERR_OK);
    assert_int_equal(digest_init(&pair[1], DIGEST_MD5), ERR_OK);
    assert_int_equal(digest_init(&alone, DIGEST_MD5), ERR_OK);
    size_t rounds = (514u << 20) / DATA_BYTES;
    for (size_t i = 0; i < rounds; i++) {
        struct digest_feed feeds[] = {{&pair[0], data, DATA_BYTES}, {&pair[1], data, DATA_BYTES}};
        digest_update_md5s(feeds, 2);
        digest_update(&alone, data, DATA_BYTES);
    }
    uint8_t expected[DIGEST_BYTES_MAX], got[DIGEST_BYTES_MAX];
    digest_final(&alone, expected);
    for (unsigned i = 0; i < 2; i++) {
        digest_final(&pair[i], got);
        assert_memory_equal(got, expected, 16);
    }
}

static void this_machine_has_lanes(void **state)
{
    (void)state;
    unsigned lanes = digest_md5_lanes();
    assert_true(lanes == 1 || lanes == 4 || lanes == 8 || lanes == 16);
#if defined(__x86_64__)
    assert_true(lanes >= 4); /* SSE2 belongs to x86-64 */
#endif
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_number_of_streams_is_hashed_as_openssl_does),
        cmocka_unit_test(streams_come_and_go_in_any_order),
        cmocka_unit_test(lengths_beyond_four_gibibits_are_counted),
        cmocka_unit_test(this_machine_has_lanes),
    };
    return cmocka_run_group_tests(tests, fill, NULL);
}
