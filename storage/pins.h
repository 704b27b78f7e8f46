/*
 * Pins: which data readers still need. A struct object pins the data of its pieces for as long as
 * anybody holds it; reclaim frees the units of released data only when nobody does. Sharded hash of
 * data_id to count; any thread.
 *
 * Who waits for data to be let go does not poll: pins_watch() leaves a mark, and the drop that
 * takes the last pin away calls the volume's idle function, once.
 */
#ifndef STORAGE_PINS_H
#define STORAGE_PINS_H

#include "storage/data.h"

struct pins;
/* On the thread that dropped the last pin: short, must not call pins. */
typedef void pins_idle_fn(void *context);

enum err pins_open(struct pins **ret_pins) MUST_USE;
void pins_close(struct pins *pins); /* none may be left; NULL does nothing */
/* Before other threads use it. */
void pins_on_idle(struct pins *pins, pins_idle_fn *idle, void *context);
enum err pins_add(struct pins *pins, struct data_id data) MUST_USE;
void pins_drop(struct pins *pins, struct data_id data);
bool pins_has(struct pins *pins, struct data_id data);
/* Whether the data is pinned; when it is, the last drop will call the idle function. */
bool pins_watch(struct pins *pins, struct data_id data);
size_t pins_count(struct pins *pins); /* data pinned */

#endif
