/*
 * Several MD5s at once. Each stream keeps OpenSSL's context, so one may be fed alone or in company
 * from one update to the next and is finished as any other; only whole blocks go through the
 * vectors, heads and tails through OpenSSL. isa-l_crypto has the same by hand-written assembly, but
 * Debian 12 has not got it.
 */
#define OPENSSL_SUPPRESS_DEPRECATED
#include "base/digest_priv.h"

#include <openssl/md5.h>
#include <string.h>

#include "base/check.h"

#if defined(__x86_64__)
#include <immintrin.h>
#endif

#define MD5_BLOCK_BYTES 64u

/* What a kernel works on: word w of lane i's state is state[w][i]. */
struct md5_lanes {
    const uint8_t *at[MD5_LANES_MAX];
    uint32_t state[4][MD5_LANES_MAX];
};

/* floor(2^32 * abs(sin(i + 1))) */
static const uint32_t md5_sines[64] = {
    0xd76aa478u, 0xe8c7b756u, 0x242070dbu, 0xc1bdceeeu, 0xf57c0fafu, 0x4787c62au, 0xa8304613u,
    0xfd469501u, 0x698098d8u, 0x8b44f7afu, 0xffff5bb1u, 0x895cd7beu, 0x6b901122u, 0xfd987193u,
    0xa679438eu, 0x49b40821u, 0xf61e2562u, 0xc040b340u, 0x265e5a51u, 0xe9b6c7aau, 0xd62f105du,
    0x02441453u, 0xd8a1e681u, 0xe7d3fbc8u, 0x21e1cde6u, 0xc33707d6u, 0xf4d50d87u, 0x455a14edu,
    0xa9e3e905u, 0xfcefa3f8u, 0x676f02d9u, 0x8d2a4c8au, 0xfffa3942u, 0x8771f681u, 0x6d9d6122u,
    0xfde5380cu, 0xa4beea44u, 0x4bdecfa9u, 0xf6bb4b60u, 0xbebfbc70u, 0x289b7ec6u, 0xeaa127fau,
    0xd4ef3085u, 0x04881d05u, 0xd9d4d039u, 0xe6db99e5u, 0x1fa27cf8u, 0xc4ac5665u, 0xf4292244u,
    0x432aff97u, 0xab9423a7u, 0xfc93a039u, 0x655b59c3u, 0x8f0ccc92u, 0xffeff47du, 0x85845dd1u,
    0x6fa87e4fu, 0xfe2ce6e0u, 0xa3014314u, 0x4e0811a1u, 0xf7537e82u, 0xbd3af235u, 0x2ad7d2bbu,
    0xeb86d391u,
};

/* RFC 1321, 3.4: the function, the first of four steps, their words, their shifts. */
#define MD5_STEPS(FOUR, F, G, H, I)                                                                \
    FOUR(F, 0, 0, 1, 2, 3, 7, 12, 17, 22);                                                         \
    FOUR(F, 4, 4, 5, 6, 7, 7, 12, 17, 22);                                                         \
    FOUR(F, 8, 8, 9, 10, 11, 7, 12, 17, 22);                                                       \
    FOUR(F, 12, 12, 13, 14, 15, 7, 12, 17, 22);                                                    \
    FOUR(G, 16, 1, 6, 11, 0, 5, 9, 14, 20);                                                        \
    FOUR(G, 20, 5, 10, 15, 4, 5, 9, 14, 20);                                                       \
    FOUR(G, 24, 9, 14, 3, 8, 5, 9, 14, 20);                                                        \
    FOUR(G, 28, 13, 2, 7, 12, 5, 9, 14, 20);                                                       \
    FOUR(H, 32, 5, 8, 11, 14, 4, 11, 16, 23);                                                      \
    FOUR(H, 36, 1, 4, 7, 10, 4, 11, 16, 23);                                                       \
    FOUR(H, 40, 13, 0, 3, 6, 4, 11, 16, 23);                                                       \
    FOUR(H, 44, 9, 12, 15, 2, 4, 11, 16, 23);                                                      \
    FOUR(I, 48, 0, 7, 14, 5, 6, 10, 15, 21);                                                       \
    FOUR(I, 52, 12, 3, 10, 1, 6, 10, 15, 21);                                                      \
    FOUR(I, 56, 8, 15, 6, 13, 6, 10, 15, 21);                                                      \
    FOUR(I, 60, 4, 11, 2, 9, 6, 10, 15, 21)

/* ---- the kernels ---- */

#if __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__ && defined(__has_builtin)
#if __has_builtin(__builtin_shufflevector)
#define HAS_VECTORS 1
#endif
#endif

#if defined(__x86_64__)
#define SUM_FIRST(vector) __asm__("" : "+x"(vector))
#else
#define SUM_FIRST(vector)
#endif

#ifdef HAS_VECTORS
typedef uint32_t unaligned_quad __attribute__((vector_size(16), aligned(1), may_alias));

#define KERNEL        md5_x4
#define KERNEL_TARGET /* SSE2, NEON: what any machine of the kind has */
#define LANES         4
#include "base/digest_md5_kernel.h"

static bool always(void)
{
    return true;
}

#if defined(__x86_64__)
#define KERNEL        md5_x8_avx2
#define KERNEL_TARGET __attribute__((target("avx2")))
#define LANES         8
#include "base/digest_md5_kernel.h"

#define TARGET_AVX512 __attribute__((target("avx512f,avx512vl")))
#define KERNEL        md5_x4_avx512
#define KERNEL_TARGET TARGET_AVX512
#define LANES         4
#define TERNARY(x, y, z, table)                                                                    \
    (md5_x4_avx512_vector) _mm_ternarylogic_epi32((__m128i)(x), (__m128i)(y), (__m128i)(z), table)
#include "base/digest_md5_kernel.h"

#define KERNEL        md5_x8_avx512
#define KERNEL_TARGET TARGET_AVX512
#define LANES         8
#define TERNARY(x, y, z, table)                                                                    \
    (md5_x8_avx512_vector)                                                                         \
        _mm256_ternarylogic_epi32((__m256i)(x), (__m256i)(y), (__m256i)(z), table)
#include "base/digest_md5_kernel.h"

#define KERNEL        md5_x16_avx512
#define KERNEL_TARGET TARGET_AVX512
#define LANES         16
#define TERNARY(x, y, z, table)                                                                    \
    (md5_x16_avx512_vector)                                                                        \
        _mm512_ternarylogic_epi32((__m512i)(x), (__m512i)(y), (__m512i)(z), table)
#include "base/digest_md5_kernel.h"

static bool has_avx2(void)
{
    return __builtin_cpu_supports("avx2");
}

static bool has_avx512(void)
{
    return __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512vl");
}
#endif
#endif

/* In the order of preference: the first that runs here and has lanes enough is taken. */
const struct md5_kernel md5__kernels[] = {
#ifdef HAS_VECTORS
#if defined(__x86_64__)
    {"avx512, 4 lanes", 4, has_avx512, md5_x4_avx512},
    {"avx512, 8 lanes", 8, has_avx512, md5_x8_avx512},
    {"avx512, 16 lanes", 16, has_avx512, md5_x16_avx512},
    {"avx2, 8 lanes", 8, has_avx2, md5_x8_avx2},
#endif
    {"4 lanes", 4, always, md5_x4},
#endif
    {0},
};

/* The narrowest that holds all streams, since width costs power and clock; else the widest. */
static const struct md5_kernel *kernel_for(unsigned streams)
{
    const struct md5_kernel *best = NULL;
    for (const struct md5_kernel *kernel = md5__kernels; kernel->lanes > 0; kernel++) {
        if (!kernel->runs_here())
            continue;
        if (kernel->lanes >= streams)
            return kernel;
        if (best == NULL || best->lanes < kernel->lanes)
            best = kernel;
    }
    return best;
}

unsigned digest_md5_lanes(void)
{
    const struct md5_kernel *widest = kernel_for(MD5_LANES_MAX);
    return widest != NULL ? widest->lanes : 1;
}

/* ---- streams in lanes ---- */

struct stream {
    MD5_CTX *context; /* borrowed; its buffer is empty */
    const uint8_t *at;
    size_t size;
};

struct company {
    const struct digest_feed *feeds;
    unsigned feed_count, fed; /* `fed` of them have been given a lane, or needed none */
    unsigned stream_count;
    struct stream streams[MD5_LANES_MAX]; /* each has a block at least */
};

static void count_bytes(MD5_CTX *context, size_t size)
{
    uint64_t bits = ((uint64_t)context->Nh << 32 | context->Nl) + (uint64_t)size * 8;
    context->Nl = (MD5_LONG)bits;
    context->Nh = (MD5_LONG)(bits >> 32);
}

/* OpenSSL gets what completes a block begun earlier. False: nothing is left for a lane. */
static bool begin_stream(struct stream *stream, const struct digest_feed *feed)
{
    CHECK(feed->digest->kind == DIGEST_MD5);
    MD5_CTX *context = (MD5_CTX *)feed->digest->state;
    size_t head = context->num > 0 ? MD5_BLOCK_BYTES - context->num : 0;
    if (head > feed->size)
        head = feed->size;
    *stream = (struct stream){context, (const uint8_t *)feed->data + head, feed->size - head};
    MD5_Update(context, feed->data, head);
    if (stream->size >= MD5_BLOCK_BYTES)
        return true;
    MD5_Update(context, stream->at, stream->size);
    return false;
}

static void seat(struct company *company, unsigned lanes)
{
    while (company->stream_count < lanes && company->fed < company->feed_count)
        if (begin_stream(&company->streams[company->stream_count], &company->feeds[company->fed++]))
            company->stream_count++;
}

/* Streams without a whole block left end, and give their lanes to others. */
static void unseat(struct company *company)
{
    for (unsigned i = company->stream_count; i-- > 0;) {
        struct stream *stream = &company->streams[i];
        if (stream->size >= MD5_BLOCK_BYTES)
            continue;
        MD5_Update(stream->context, stream->at, stream->size);
        *stream = company->streams[--company->stream_count];
    }
}

/* As far as all of them go. Lanes without a stream repeat the first one's work. */
static void run_lanes(struct company *company, const struct md5_kernel *kernel)
{
    struct md5_lanes lanes;
    size_t blocks = SIZE_MAX;
    for (unsigned i = 0; i < kernel->lanes; i++) {
        const struct stream *stream = &company->streams[i < company->stream_count ? i : 0];
        lanes.at[i] = stream->at;
        lanes.state[0][i] = stream->context->A;
        lanes.state[1][i] = stream->context->B;
        lanes.state[2][i] = stream->context->C;
        lanes.state[3][i] = stream->context->D;
        if (blocks > stream->size / MD5_BLOCK_BYTES)
            blocks = stream->size / MD5_BLOCK_BYTES;
    }
    kernel->run(&lanes, blocks);
    for (unsigned i = 0; i < company->stream_count; i++) {
        struct stream *stream = &company->streams[i];
        stream->context->A = lanes.state[0][i];
        stream->context->B = lanes.state[1][i];
        stream->context->C = lanes.state[2][i];
        stream->context->D = lanes.state[3][i];
        count_bytes(stream->context, blocks * MD5_BLOCK_BYTES);
        stream->at += blocks * MD5_BLOCK_BYTES;
        stream->size -= blocks * MD5_BLOCK_BYTES;
    }
}

static void run_alone(struct stream *stream)
{
    size_t size = stream->size / MD5_BLOCK_BYTES * MD5_BLOCK_BYTES;
    MD5_Update(stream->context, stream->at, size);
    stream->at += size;
    stream->size -= size;
}

void md5__update_with(const struct md5_kernel *kernel, const struct digest_feed *feeds,
                      unsigned count)
{
    struct company company = {.feeds = feeds, .feed_count = count};
    unsigned lanes = kernel != NULL ? kernel->lanes : digest_md5_lanes();
    for (;;) {
        seat(&company, lanes);
        if (company.stream_count == 0)
            return;
        const struct md5_kernel *with = kernel ? kernel : kernel_for(company.stream_count);
        if (company.stream_count > 1 && with != NULL)
            run_lanes(&company, with);
        else
            for (unsigned i = 0; i < company.stream_count; i++)
                run_alone(&company.streams[i]);
        unseat(&company);
    }
}

void digest_update_md5s(const struct digest_feed *feeds, unsigned count)
{
    md5__update_with(NULL, feeds, count);
}
