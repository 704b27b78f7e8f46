/*
 * Pins: which data readers still need. A struct object pins the data of its pieces for as long as anybody holds it; reclaim frees the units
 * of released data only when nobody does. Sharded hash of data_id to count; any thread.
 */
#ifndef STORAGE_PINS_H
#define STORAGE_PINS_H

#include "storage/data.h"

struct pins;
enum err pins_open(struct pins **ret_pins) MUST_USE;
void pins_close(struct pins *pins); /* none may be left */
enum err pins_add(struct pins *pins, struct data_id data) MUST_USE;
void pins_drop(struct pins *pins, struct data_id data);
bool pins_has(struct pins *pins, struct data_id data);

#endif
