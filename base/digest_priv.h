/*
 * Behind digest.c. digest_crc.c: CRCs as polynomials over GF(2): CRC-64/NVME, which the ISA-L of
 * Debian 12 does not have, and combining for all three kinds. A CRC is a number here, without pre-
 * and post-inversion. digest_md5.c: several MD5s at once.
 */
#ifndef BASE_DIGEST_PRIV_H
#define BASE_DIGEST_PRIV_H

#include "base/digest.h"

/* Tables and the choice of code for this CPU, before anything below. Thread-safe, cheap when
 * done. */
void crc__prepare(void);

uint64_t crc64__update(uint64_t crc, const uint8_t *data, size_t size);
/* The same by tables alone: where carry-less multiplication is missing, and to test it against. */
uint64_t crc64__update_tables(uint64_t crc, const uint8_t *data, size_t size);

/* ---- MD5 in lanes ---- */

#define MD5_LANES_MAX 16u

struct md5_lanes;
struct md5_kernel {
    const char *name;
    unsigned lanes; /* 0: the table's end */
    bool (*runs_here)(void);
    void (*run)(struct md5_lanes *lanes, size_t blocks);
};
extern const struct md5_kernel md5__kernels[];
/* digest_update_md5s() by one kernel whatever the number, for tests; NULL: as it chooses itself. */
void md5__update_with(const struct md5_kernel *kernel, const struct digest_feed *feeds,
                      unsigned count);

#endif
