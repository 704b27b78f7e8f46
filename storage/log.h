/*
 * The log of a group of nodes, kept by the volume beside the names: each record with the data that
 * it brings, from when the record is durable until it is applied.
 */
#ifndef STORAGE_LOG_H
#define STORAGE_LOG_H

#include "storage/object.h"

/* The data that a record brings. */
struct log_data {
    struct data_id id; /* none: it brings none */
    uint64_t size;
    bool is_inline;
};

#endif
