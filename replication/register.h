/*
 * The configuration register: who is primary and who is in sync, changed only by compare-and-swap.
 * The `local` one serves a node alone and keeps the record among the volume's settings; registers
 * for several nodes come behind the same three functions.
 *
 * Record, version 1, little-endian: u8 version, u8[3] zero, u32 members, u64 epoch, u64 term,
 * u8[16] primary node, u8[16] nonce, u64 XXH3-64 of what is before. The nonce tells whose write is
 * there when the outcome of a swap is unknown.
 */
#ifndef REPLICATION_REGISTER_H
#define REPLICATION_REGISTER_H

#include "base/err.h"
#include "base/rand.h"
#include "storage/volume.h"

struct config_record {
    uint64_t epoch; /* grows by one with every change */
    uint64_t term;  /* the epoch at which the present primary took the group in this incarnation */
    uint32_t members;
    uint8_t primary[16];
    uint8_t nonce[16];
};

#define CONFIG_RECORD_BYTES 64u
void config_record_encode(const struct config_record *record, uint8_t out[CONFIG_RECORD_BYTES]);
enum err config_record_decode(struct bytes in, struct config_record *ret_record) MUST_USE;

struct config_register;
struct config_register_ops {
    const char *name;
    /* B. ERR_NO_SUCH_KEY_ID when there is none yet. */
    enum err (*get)(struct config_register *reg, struct config_record *ret_record);
    /* B. Puts `next` if the present record is `expected` (NULL: none). ERR_PRECONDITION when it is
     * not. */
    enum err (*swap)(struct config_register *reg, const struct config_record *expected,
                     const struct config_record *next);
    void (*close)(struct config_register *reg);
};
struct config_register {
    const struct config_register_ops *ops;
};

/* `stepped`: the same volume when it has no threads of its own (VOLUME_NO_THREADS), else NULL. */
enum err config_register_local_open(struct volume *volume, struct volume *stepped,
                                    struct config_register **ret_register) MUST_USE;

#endif
