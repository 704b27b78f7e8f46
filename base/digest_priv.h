/*
 * CRCs as polynomials over GF(2), behind digest.c: CRC-64/NVME, which the ISA-L of Debian 12
 * does not have, and combining for all three kinds. A CRC is a number here, without pre- and
 * post-inversion.
 */
#ifndef BASE_DIGEST_PRIV_H
#define BASE_DIGEST_PRIV_H

#include "base/digest.h"

/* Tables and the choice of code for this CPU, before anything below. Thread-safe, cheap when done. */
void crc__prepare(void);

uint64_t crc64__update(uint64_t crc, const uint8_t *data, size_t size);
/* The same by tables alone: where carry-less multiplication is missing, and to test it against. */
uint64_t crc64__update_tables(uint64_t crc, const uint8_t *data, size_t size);

#endif
