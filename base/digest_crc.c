#include "base/digest_priv.h"

#include <pthread.h>

#include "base/check.h"

#if defined(__x86_64__)
#include <immintrin.h>
#endif

/*
 * All three CRCs are reflected: of a CRC of `width` bits, bit width-1 is the coefficient of x^0
 * and bit 0 that of x^(width-1). Multiplying by x therefore shifts right.
 */
#define POWERS 64

struct crc_field {
    unsigned width;
    uint64_t polynomial;    /* reflected, without its highest term */
    uint64_t zeros[POWERS]; /* x^(8 * 2^k): multiplying by it appends 2^k zero bytes */
};

static struct crc_field fields[DIGEST_KIND_COUNT] = {
    [DIGEST_CRC32] = {.width = 32, .polynomial = 0xedb88320u},
    [DIGEST_CRC32C] = {.width = 32, .polynomial = 0x82f63b78u},
    /* 0xad93d23594c93659 reflected */
    [DIGEST_CRC64NVME] = {.width = 64, .polynomial = 0x9a6c9329ac4bc9b5ull},
};

static uint64_t times_x(const struct crc_field *field, uint64_t a)
{
    return a >> 1 ^ (field->polynomial & -(a & 1));
}

static uint64_t times(const struct crc_field *field, uint64_t a, uint64_t b)
{
    uint64_t product = 0;
    for (unsigned i = field->width; i > 0; i--) {
        product ^= b & -(a >> (i - 1) & 1);
        b = times_x(field, b);
    }
    return product;
}

static uint64_t power_of_x(const struct crc_field *field, unsigned exponent)
{
    uint64_t power = 1ull << (field->width - 1);
    for (unsigned i = 0; i < exponent; i++)
        power = times_x(field, power);
    return power;
}

/*
 * The CRC of A followed by B is that of A followed by |B| zero bytes, plus that of B; the
 * inversions before and after cancel out. With the powers in a table it takes one
 * multiplication for each bit set in |B|: an upload of 10,000 parts is combined in a few
 * milliseconds, where squaring a matrix over GF(2) for each (0.1 ms a part) would hold a loop
 * for a second.
 */
uint64_t digest_crc_combine(enum digest_kind kind, uint64_t crc_a, uint64_t crc_b, uint64_t size_b)
{
    CHECK((unsigned)kind < DIGEST_KIND_COUNT && fields[kind].width > 0);
    crc__prepare();
    for (unsigned k = 0; size_b > 0; k++, size_b >>= 1)
        if (size_b & 1)
            crc_a = times(&fields[kind], crc_a, fields[kind].zeros[k]);
    return crc_a ^ crc_b;
}

/* ---- CRC-64/NVME by slices of eight bytes ---- */

static uint64_t crc64_table[8][256];

static void fill_table(void)
{
    const struct crc_field *field = &fields[DIGEST_CRC64NVME];
    for (unsigned i = 0; i < 256; i++) {
        uint64_t crc = i;
        for (int bit = 0; bit < 8; bit++)
            crc = times_x(field, crc);
        crc64_table[0][i] = crc;
    }
    for (unsigned slice = 1; slice < 8; slice++)
        for (unsigned i = 0; i < 256; i++) {
            uint64_t before = crc64_table[slice - 1][i];
            crc64_table[slice][i] = before >> 8 ^ crc64_table[0][before & 255];
        }
}

uint64_t crc64__update_tables(uint64_t crc, const uint8_t *data, size_t size)
{
    for (; size >= 8; data += 8, size -= 8) {
        uint64_t x = crc ^ get_le64(data);
        crc = crc64_table[7][x & 255] ^ crc64_table[6][x >> 8 & 255] ^
              crc64_table[5][x >> 16 & 255] ^ crc64_table[4][x >> 24 & 255] ^
              crc64_table[3][x >> 32 & 255] ^ crc64_table[2][x >> 40 & 255] ^
              crc64_table[1][x >> 48 & 255] ^ crc64_table[0][x >> 56];
    }
    for (; size > 0; data++, size--)
        crc = crc >> 8 ^ crc64_table[0][(crc ^ *data) & 255];
    return crc;
}

/* ---- the same by carry-less multiplication ---- */

#if defined(__x86_64__)

#define FOLD_BYTES_MIN      128  /* below, the tables are as fast */
#define FOLD_WIDE_BYTES_MIN 1024 /* below, narrow vectors are */

static bool has_clmul, has_wide_clmul;
/*
 * Multipliers that carry 128 bits over D bits: x^(D+63) for their first half, x^(D-1) for the
 * second. The product of two reflected factors comes out one place off, hence the missing x.
 */
static uint64_t fold_2048[2], fold_512[2], fold_128[2];

static void fill_folds(void)
{
    const struct crc_field *field = &fields[DIGEST_CRC64NVME];
    has_clmul = __builtin_cpu_supports("pclmul") && __builtin_cpu_supports("sse4.1");
    has_wide_clmul =
        has_clmul && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("vpclmulqdq");
    fold_2048[0] = power_of_x(field, 2048 + 63), fold_2048[1] = power_of_x(field, 2048 - 1);
    fold_512[0] = power_of_x(field, 512 + 63), fold_512[1] = power_of_x(field, 512 - 1);
    fold_128[0] = power_of_x(field, 128 + 63), fold_128[1] = power_of_x(field, 128 - 1);
}

#define CLMUL __attribute__((target("pclmul,sse4.1")))

CLMUL static inline __m128i load(const void *data)
{
    return _mm_loadu_si128(data);
}

CLMUL static inline __m128i fold(__m128i sum, __m128i by, __m128i next)
{
    __m128i first = _mm_clmulepi64_si128(sum, by, 0x00);
    __m128i second = _mm_clmulepi64_si128(sum, by, 0x11);
    return _mm_xor_si128(_mm_xor_si128(first, second), next);
}

/*
 * Gopal et al., "Fast CRC Computation for Generic Polynomials Using PCLMULQDQ Instruction"
 * (Intel, 2009): four sums run 64 bytes ahead of each other, then become one. What remains are
 * 16 bytes of the same CRC as everything folded into them; the tables finish them, which saves
 * Barrett's reduction and its constants.
 */
CLMUL static uint64_t fold_on(const void *sums, const uint8_t *data, size_t size)
{
    const __m128i by_512 = load(fold_512), by_128 = load(fold_128), *sum = sums;
    __m128i a = load(&sum[0]), b = load(&sum[1]), c = load(&sum[2]), d = load(&sum[3]);
    for (; size >= 64; data += 64, size -= 64) {
        a = fold(a, by_512, load(data));
        b = fold(b, by_512, load(data + 16));
        c = fold(c, by_512, load(data + 32));
        d = fold(d, by_512, load(data + 48));
    }
    a = fold(fold(fold(a, by_128, b), by_128, c), by_128, d);
    for (; size >= 16; data += 16, size -= 16)
        a = fold(a, by_128, load(data));
    uint8_t folded[16];
    _mm_storeu_si128((void *)folded, a);
    return crc64__update_tables(crc64__update_tables(0, folded, sizeof folded), data, size);
}

static uint64_t update_clmul(uint64_t crc, const uint8_t *data, size_t size)
{
    uint8_t sums[64];
    memcpy(sums, data, sizeof sums);
    put_le64(sums, get_le64(sums) ^ crc);
    return fold_on(sums, data + sizeof sums, size - sizeof sums);
}

/* The same with vectors four times as wide: 50 GiB/s a core where the narrow ones do 7. */
#define WIDE_CLMUL __attribute__((target("vpclmulqdq,avx512f")))

WIDE_CLMUL static inline __m512i fold_wide(__m512i sum, __m512i by, __m512i next)
{
    __m512i first = _mm512_clmulepi64_epi128(sum, by, 0x00);
    __m512i second = _mm512_clmulepi64_epi128(sum, by, 0x11);
    return _mm512_ternarylogic_epi64(first, second, next, 0x96); /* the xor of all three */
}

WIDE_CLMUL static inline __m512i load_wide(const uint8_t *data)
{
    return _mm512_loadu_si512(data);
}

WIDE_CLMUL static uint64_t update_wide(uint64_t crc, const uint8_t *data, size_t size)
{
    const __m512i by_2048 = _mm512_broadcast_i32x4(_mm_loadu_si128((const void *)fold_2048));
    const __m512i by_512 = _mm512_broadcast_i32x4(_mm_loadu_si128((const void *)fold_512));
    __m512i a = _mm512_xor_si512(load_wide(data),
                                 _mm512_zextsi128_si512(_mm_cvtsi64_si128((long long)crc)));
    __m512i b = load_wide(data + 64), c = load_wide(data + 128), d = load_wide(data + 192);
    for (data += 256, size -= 256; size >= 256; data += 256, size -= 256) {
        a = fold_wide(a, by_2048, load_wide(data));
        b = fold_wide(b, by_2048, load_wide(data + 64));
        c = fold_wide(c, by_2048, load_wide(data + 128));
        d = fold_wide(d, by_2048, load_wide(data + 192));
    }
    a = fold_wide(fold_wide(fold_wide(a, by_512, b), by_512, c), by_512, d);
    uint8_t sums[64];
    _mm512_storeu_si512(sums, a);
    return fold_on(sums, data, size);
}

uint64_t crc64__update(uint64_t crc, const uint8_t *data, size_t size)
{
    if (has_wide_clmul && size >= FOLD_WIDE_BYTES_MIN)
        return update_wide(crc, data, size);
    return has_clmul && size >= FOLD_BYTES_MIN ? update_clmul(crc, data, size)
                                               : crc64__update_tables(crc, data, size);
}

#else

static void fill_folds(void)
{
}

uint64_t crc64__update(uint64_t crc, const uint8_t *data, size_t size)
{
    return crc64__update_tables(crc, data, size);
}

#endif

/* ---- preparing ---- */

static void prepare_once(void)
{
    for (unsigned kind = 0; kind < DIGEST_KIND_COUNT; kind++) {
        struct crc_field *field = &fields[kind];
        if (field->width == 0)
            continue;
        field->zeros[0] = power_of_x(field, 8);
        for (unsigned k = 1; k < POWERS; k++)
            field->zeros[k] = times(field, field->zeros[k - 1], field->zeros[k - 1]);
    }
    fill_table();
    fill_folds();
}

void crc__prepare(void)
{
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    CHECK(pthread_once(&once, prepare_once) == 0);
}
