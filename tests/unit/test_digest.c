/* Digests against published check values, in pieces of every size; combining; sealing. */
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

#define XXH_INLINE_ALL
/* XXH_SCALAR: the reference every vector unit must agree with, for sums are on disks. */
#define XXH_VECTOR 0
#include <xxhash.h>

/* Of "123456789": RFC 1321, FIPS 180-4 implementations, the CRC catalogue's check values. */
static const struct {
    enum digest_kind kind;
    const char *hex;
} checks[] = {
    {DIGEST_MD5, "25f9e794323b453885f5181f1b624d0b"},
    {DIGEST_SHA1, "f7c3bc1d808e04732adf679965ccc34ca7ae3441"},
    {DIGEST_SHA256, "15e2b0d3c33891ebb0f1ef609ec419420c20e320ce94c65fbc8c3312448eb225"},
    {DIGEST_CRC32, "cbf43926"},
    {DIGEST_CRC32C, "e3069283"},
    {DIGEST_CRC64NVME, "ae8b14860a799888"},
};

static void published_values_are_reached_in_any_pieces(void **state)
{
    (void)state;
    for (size_t i = 0; i < COUNT_OF(checks); i++)
        for (size_t cut = 0; cut <= 9; cut++) {
            struct digest digest;
            uint8_t out[DIGEST_BYTES_MAX];
            char hex[2 * DIGEST_BYTES_MAX + 1];
            assert_int_equal(digest_init(&digest, checks[i].kind), ERR_OK);
            digest_update(&digest, "123456789", cut);
            digest_update(&digest, "123456789" + cut, 9 - cut);
            digest_final(&digest, out);
            hex_encode(out, digest_size_bytes(checks[i].kind), hex);
            assert_string_equal(hex, checks[i].hex);
        }
}

static uint64_t crc_of(enum digest_kind kind, const uint8_t *data, size_t size)
{
    struct digest digest;
    uint8_t out[DIGEST_BYTES_MAX];
    assert_int_equal(digest_init(&digest, kind), ERR_OK);
    digest_update(&digest, data, size);
    digest_final(&digest, out);
    return digest_crc_value(kind, out);
}

static void crcs_of_parts_combine_to_the_whole(void **state)
{
    (void)state;
    static const enum digest_kind kinds[] = {DIGEST_CRC32, DIGEST_CRC32C, DIGEST_CRC64NVME};
    static const size_t cuts[] = {0, 1, 7, 4096, 65537, 99999, 100000};
    uint8_t *data = malloc(100000);
    for (size_t i = 0; i < 100000; i++)
        data[i] = (uint8_t)(i * i >> 3);
    for (size_t k = 0; k < COUNT_OF(kinds); k++)
        for (size_t i = 0; i < COUNT_OF(cuts); i++) {
            uint64_t a = crc_of(kinds[k], data, cuts[i]),
                     b = crc_of(kinds[k], data + cuts[i], 100000 - cuts[i]);
            assert_true(digest_crc_combine(kinds[k], a, b, 100000 - cuts[i]) ==
                        crc_of(kinds[k], data, 100000));
        }
    free(data);
}

/* Sizes and starts around every step of the folding code. */
static void crc64_is_the_same_with_and_without_multiplication(void **state)
{
    (void)state;
    struct rand_seeded seeded;
    uint8_t data[1024];
    rand_seeded_init(&seeded, 64);
    rand_fill(&seeded.rand, data, sizeof data);
    crc__prepare();
    for (size_t size = 0; size <= 512; size++)
        for (size_t from = 0; from < 17; from++) {
            uint64_t crc = rand_u64(&seeded.rand);
            if (crc64__update(crc, data + from, size) !=
                crc64__update_tables(crc, data + from, size))
                fail_msg("%zu bytes from %zu", size, from);
        }
    static uint8_t more[4096];
    rand_fill(&seeded.rand, more, sizeof more);
    for (size_t size = 960; size <= sizeof more - 17; size += 7)
        for (size_t from = 0; from < 17; from += 3) {
            uint64_t crc = rand_u64(&seeded.rand);
            if (crc64__update(crc, more + from, size) !=
                crc64__update_tables(crc, more + from, size))
                fail_msg("%zu bytes from %zu", size, from);
        }
}

/* Beyond what can be hashed here: appending n + m zero bytes is appending n, then m. */
static void combining_holds_for_lengths_beyond_4_gib(void **state)
{
    (void)state;
    static const enum digest_kind kinds[] = {DIGEST_CRC32, DIGEST_CRC32C, DIGEST_CRC64NVME};
    static const uint64_t lengths[][2] = {
        {1, UINT32_MAX}, {5ull << 30, 77}, {(5ull << 30) + 3, 50ull << 40}, {0, 1ull << 62}};
    for (size_t k = 0; k < COUNT_OF(kinds); k++)
        for (size_t i = 0; i < COUNT_OF(lengths); i++) {
            uint64_t n = lengths[i][0], m = lengths[i][1], crc = 0xcbf43926u;
            uint64_t at_once = digest_crc_combine(kinds[k], crc, 0, n + m);
            uint64_t first = digest_crc_combine(kinds[k], crc, 0, n);
            assert_true(digest_crc_combine(kinds[k], first, 0, m) == at_once);
            assert_true(at_once != crc);
        }
}

static void xxh3_is_the_same_on_every_cpu(void **state)
{
    (void)state;
    uint8_t *data = malloc(70000), whole[16];
    for (size_t i = 0; i < 70000; i++)
        data[i] = (uint8_t)(i * 0x9e3779b1u >> 13);
    for (size_t size = 0; size <= 70000; size += size < 1200 ? 1 : 1201) {
        XXH128_canonical_t expected;
        XXH128_canonicalFromHash(&expected, XXH3_128bits(data, size));
        xxh3_128(data, size, whole);
        assert_memory_equal(whole, expected.digest, 16);
        if (xxh3_64(data, size) != XXH3_64bits(data, size))
            fail_msg("%zu bytes", size);
    }
    assert_true(xxh3_64("", 0) == 0x2d06800538d394c2ull); /* published */
    free(data);
}

/* RFC 4231, test cases 1, 2 and 6 */
static void hmac_is_rfc_4231s(void **state)
{
    (void)state;
    uint8_t key[131], out[32];
    char hex[65];
    memset(key, 0x0b, 20);
    hmac_sha256(key, 20, "Hi There", 8, out);
    hex_encode(out, 32, hex);
    assert_string_equal(hex, "b0344c61d8db38535ca8afceaf0bf12b881dc200c9833da726e9376c2e32cff7");
    hmac_sha256("Jefe", 4, "what do ya want for nothing?", 28, out);
    hex_encode(out, 32, hex);
    assert_string_equal(hex, "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843");
    memset(key, 0xaa, sizeof key);
    hmac_sha256(key, sizeof key, "Test Using Larger Than Block-Size Key - Hash Key First", 54, out);
    hex_encode(out, 32, hex);
    assert_string_equal(hex, "60e431591ee0b67f0d8a26aacbf5b77f8e0bc6213728c5140546040f0ee37f54");
}

static void what_was_sealed_opens_only_with_its_key(void **state)
{
    (void)state;
    uint8_t key[32] = {1}, other[32] = {2}, sealed[6 + SEAL_OVERHEAD_BYTES], plain[6];
    assert_int_equal(seal(key, BYTES("secret"), sealed), ERR_OK);
    assert_int_equal(unseal(key, bytes_of(sealed, sizeof sealed), plain), ERR_OK);
    assert_memory_equal(plain, "secret", 6);
    assert_int_equal(unseal(other, bytes_of(sealed, sizeof sealed), plain), ERR_CORRUPT);
    for (size_t i = 0; i < sizeof sealed; i++) {
        sealed[i] ^= 1;
        assert_int_equal(unseal(key, bytes_of(sealed, sizeof sealed), plain), ERR_CORRUPT);
        sealed[i] ^= 1;
    }
    assert_int_equal(unseal(key, bytes_of(sealed, SEAL_OVERHEAD_BYTES - 1), plain), ERR_CORRUPT);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(published_values_are_reached_in_any_pieces),
        cmocka_unit_test(crcs_of_parts_combine_to_the_whole),
        cmocka_unit_test(crc64_is_the_same_with_and_without_multiplication),
        cmocka_unit_test(combining_holds_for_lengths_beyond_4_gib),
        cmocka_unit_test(xxh3_is_the_same_on_every_cpu),
        cmocka_unit_test(hmac_is_rfc_4231s),
        cmocka_unit_test(what_was_sealed_opens_only_with_its_key),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
