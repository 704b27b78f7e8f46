#include "replication/register.h"

#include <stdlib.h>

#include "replication/propose_wait.h"

/* The register of a node alone: one setting of its volume, swapped by a conditional mutation. */

#define LOCAL_NAME BYTES("group/config")

struct register_local {
    struct config_register base;
    struct volume *volume;  /* borrowed */
    struct volume *stepped; /* borrowed; NULL when the volume has threads */
};

static enum err local_get(struct config_register *reg, struct config_record *ret_record)
{
    struct register_local *local = CONTAINER_OF(reg, struct register_local, base);
    uint8_t bytes[CONFIG_RECORD_BYTES];
    size_t size;
    enum err e = volume_setting(local->volume, LOCAL_NAME, bytes, sizeof bytes, &size);
    if (e == ERR_TOO_LARGE)
        return ERR_CORRUPT;
    if (e)
        return e;
    return config_record_decode(bytes_of(bytes, size), ret_record);
}

static void local_submit(void *context, struct mutation *m)
{
    volume_commit(context, m);
}

static enum err local_swap(struct config_register *reg, const struct config_record *expected,
                           const struct config_record *next)
{
    struct register_local *local = CONTAINER_OF(reg, struct register_local, base);
    CHECK(expected == NULL || next->epoch > expected->epoch);
    uint8_t old_bytes[CONFIG_RECORD_BYTES], new_bytes[CONFIG_RECORD_BYTES];
    config_record_encode(next, new_bytes);
    struct mutation m = {
        .magic = MUTATION_MAGIC,
        .kind = MUTATION_SETTING_PUT,
        .key = LOCAL_NAME,
        .attrs = bytes_of(new_bytes, sizeof new_bytes),
        .must_be_new = expected == NULL,
    };
    if (expected != NULL) {
        config_record_encode(expected, old_bytes);
        m.has_if_value = true;
        m.if_value = bytes_of(old_bytes, sizeof old_bytes);
    }
    enum err e = replication__wait(&m, local_submit, local->volume, local->stepped);
    return e == ERR_KEY_ID_EXISTS ? ERR_PRECONDITION : e;
}

static void local_close(struct config_register *reg)
{
    free(CONTAINER_OF(reg, struct register_local, base));
}

static const struct config_register_ops local_ops = {
    .name = "local",
    .get = local_get,
    .swap = local_swap,
    .close = local_close,
};

enum err config_register_local_open(struct volume *volume, struct volume *stepped,
                                    struct config_register **ret_register)
{
    struct register_local *local = calloc(1, sizeof *local);
    if (local == NULL)
        return ERR_NO_MEMORY;
    local->base.ops = &local_ops;
    local->volume = volume;
    local->stepped = stepped;
    *ret_register = &local->base;
    return ERR_OK;
}
