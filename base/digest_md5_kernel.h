/*
 * MD5's compression function (RFC 1321, 3.4) over LANES independent streams, one in each 32-bit
 * element of a vector: a template, included by digest_md5.c once for each width and instruction
 * set. It wants
 *
 *     KERNEL        the function's name
 *     KERNEL_TARGET an attribute that lets the compiler use the instructions, or nothing
 *     LANES         4, 8 or 16
 *     TERNARY(x, y, z, table)  optional: any function of three bits in one instruction
 *
 * A step of MD5 needs the one before it, so a core spends most of a single stream waiting. The
 * lanes fill that wait: 4, 8 or 16 streams take the time of one. Everything is a macro because
 * vectors passed between functions of different targets have no common calling convention.
 */

#define GLUE_(a, b) a##b
#define GLUE(a, b)  GLUE_(a, b)
#define VECTOR      GLUE(KERNEL, _vector)

typedef uint32_t VECTOR __attribute__((vector_size(LANES * 4)));

/* The boolean functions as RFC 1321 names them. x comes out of the step before: it is used last. */
#ifdef TERNARY
#define MD5_F(x, y, z) TERNARY(z, y, x, 0xd8)
#define MD5_G(x, y, z) TERNARY(z, y, x, 0xac)
#define MD5_H(x, y, z) TERNARY(z, y, x, 0x96)
#define MD5_I(x, y, z) TERNARY(z, y, x, 0x63)
#else
#define MD5_F(x, y, z) ((((y) ^ (z)) & (x)) ^ (z))
#define MD5_G(x, y, z) ((((x) ^ (y)) & (z)) ^ (y))
#define MD5_H(x, y, z) (((y) ^ (z)) ^ (x))
#define MD5_I(x, y, z) (((x) | ~(z)) ^ (y))
#endif

/* SUM_FIRST keeps the compiler from adding up in an order that puts another add behind f. */
#define STEP(f, a, b, c, d, i, k, s)                                                               \
    do {                                                                                           \
        a += w[k] + sines[i];                                                                      \
        SUM_FIRST(a);                                                                              \
        a += f(b, c, d);                                                                           \
        a = (a << s | a >> (32 - s)) + b;                                                          \
    } while (0)

#define FOUR(f, i, k0, k1, k2, k3, s0, s1, s2, s3)                                                 \
    do {                                                                                           \
        STEP(f, a, b, c, d, i, k0, s0);                                                            \
        STEP(f, d, a, b, c, i + 1, k1, s1);                                                        \
        STEP(f, c, d, a, b, i + 2, k2, s2);                                                        \
        STEP(f, b, c, d, a, i + 3, k3, s3);                                                        \
    } while (0)

/*
 * Words 4q to 4q+3 of every lane's block: each 16 bytes of the vectors are a matrix of four lanes
 * by four words, turned over by itself. So lane r + 4i is element r of quarter i.
 */
#if LANES == 4
#define LOAD(r, q)            (*(const unaligned_quad *)(at[r] + (q)*16))
#define INTERLEAVE_LOW(x, y)  __builtin_shufflevector(x, y, 0, 4, 1, 5)
#define INTERLEAVE_HIGH(x, y) __builtin_shufflevector(x, y, 2, 6, 3, 7)
#define PAIRS_LOW(x, y)       __builtin_shufflevector(x, y, 0, 1, 4, 5)
#define PAIRS_HIGH(x, y)      __builtin_shufflevector(x, y, 2, 3, 6, 7)
#elif LANES == 8
#define QUAD(r, q) (*(const unaligned_quad *)(at[r] + (q)*16))
#define LOAD(r, q) __builtin_shufflevector(QUAD(r, q), QUAD((r) + 4, q), 0, 1, 2, 3, 4, 5, 6, 7)

#define INTERLEAVE_LOW(x, y)  __builtin_shufflevector(x, y, 0, 8, 1, 9, 4, 12, 5, 13)
#define INTERLEAVE_HIGH(x, y) __builtin_shufflevector(x, y, 2, 10, 3, 11, 6, 14, 7, 15)
#define PAIRS_LOW(x, y)       __builtin_shufflevector(x, y, 0, 1, 8, 9, 4, 5, 12, 13)
#define PAIRS_HIGH(x, y)      __builtin_shufflevector(x, y, 2, 3, 10, 11, 6, 7, 14, 15)
#elif LANES == 16
#define QUAD(r, q) (*(const unaligned_quad *)(at[r] + (q)*16))
#define OCT(r, q)  __builtin_shufflevector(QUAD(r, q), QUAD((r) + 4, q), 0, 1, 2, 3, 4, 5, 6, 7)
#define LOAD(r, q)                                                                                 \
    __builtin_shufflevector(OCT(r, q), OCT((r) + 8, q), 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12,  \
                            13, 14, 15)
#define INTERLEAVE_LOW(x, y)                                                                       \
    __builtin_shufflevector(x, y, 0, 16, 1, 17, 4, 20, 5, 21, 8, 24, 9, 25, 12, 28, 13, 29)
#define INTERLEAVE_HIGH(x, y)                                                                      \
    __builtin_shufflevector(x, y, 2, 18, 3, 19, 6, 22, 7, 23, 10, 26, 11, 27, 14, 30, 15, 31)
#define PAIRS_LOW(x, y)                                                                            \
    __builtin_shufflevector(x, y, 0, 1, 16, 17, 4, 5, 20, 21, 8, 9, 24, 25, 12, 13, 28, 29)
#define PAIRS_HIGH(x, y)                                                                           \
    __builtin_shufflevector(x, y, 2, 3, 18, 19, 6, 7, 22, 23, 10, 11, 26, 27, 14, 15, 30, 31)
#endif

#define TURN_OVER(q)                                                                               \
    do {                                                                                           \
        VECTOR r0 = LOAD(0, q), r1 = LOAD(1, q), r2 = LOAD(2, q), r3 = LOAD(3, q);                 \
        VECTOR low01 = INTERLEAVE_LOW(r0, r1), low23 = INTERLEAVE_LOW(r2, r3);                     \
        VECTOR high01 = INTERLEAVE_HIGH(r0, r1), high23 = INTERLEAVE_HIGH(r2, r3);                 \
        w[(q)*4] = PAIRS_LOW(low01, low23);                                                        \
        w[(q)*4 + 1] = PAIRS_HIGH(low01, low23);                                                   \
        w[(q)*4 + 2] = PAIRS_LOW(high01, high23);                                                  \
        w[(q)*4 + 3] = PAIRS_HIGH(high01, high23);                                                 \
    } while (0)

KERNEL_TARGET static void KERNEL(struct md5_lanes *lanes, size_t blocks)
{
    const uint8_t *at[LANES];
    VECTOR a, b, c, d, w[16];
    const uint32_t *sines = md5_sines;
#ifdef TERNARY
    /* Broadcast from memory as part of an add, not by way of registers. */
    __asm__("" : "+r"(sines));
#endif
    memcpy(at, lanes->at, sizeof at);
    memcpy(&a, lanes->state[0], sizeof a);
    memcpy(&b, lanes->state[1], sizeof b);
    memcpy(&c, lanes->state[2], sizeof c);
    memcpy(&d, lanes->state[3], sizeof d);
    for (; blocks > 0; blocks--) {
        VECTOR a0 = a, b0 = b, c0 = c, d0 = d;
        TURN_OVER(0);
        TURN_OVER(1);
        TURN_OVER(2);
        TURN_OVER(3);
        for (unsigned i = 0; i < LANES; i++)
            at[i] += MD5_BLOCK_BYTES;
        MD5_STEPS(FOUR, MD5_F, MD5_G, MD5_H, MD5_I);
        a += a0, b += b0, c += c0, d += d0;
    }
    memcpy(lanes->state[0], &a, sizeof a);
    memcpy(lanes->state[1], &b, sizeof b);
    memcpy(lanes->state[2], &c, sizeof c);
    memcpy(lanes->state[3], &d, sizeof d);
    memcpy(lanes->at, at, sizeof at);
}

#undef GLUE_
#undef GLUE
#undef VECTOR
#undef MD5_F
#undef MD5_G
#undef MD5_H
#undef MD5_I
#undef STEP
#undef FOUR
#undef QUAD
#undef OCT
#undef LOAD
#undef INTERLEAVE_LOW
#undef INTERLEAVE_HIGH
#undef PAIRS_LOW
#undef PAIRS_HIGH
#undef TURN_OVER
#undef KERNEL
#undef KERNEL_TARGET
#undef LANES
#undef TERNARY
