/*
 * What the engine counts and writes down: metrics (base/metric.h) and the access log's line. Any
 * worker's thread.
 */
#ifndef API_HTTP_MEASURE_H
#define API_HTTP_MEASURE_H

#include "api/http/http.h"
#include "api/http/path.h"
#include "api/http/tls.h"

void measure_register(void); /* once a process; more often does nothing */
/* A request ended: metrics, and the access log when the server keeps one. */
void measure_exchange(struct exchange *x);
void measure_refused(enum http_refusal why); /* one that never became an exchange */
void measure_path_begun(const struct path *path);
/* Object bytes that left by it, each copied so many times. */
void measure_path_bytes(const struct path *path, uint64_t size, unsigned copies);
/* Bytes sent out of slots without a copy, as far as it depends on us; not told counts as copied. */
void measure_zero_copy(enum ring_usage usage, uint64_t size);
void measure_fallback(enum path_obstacle why);
void measure_path_refused(enum path_obstacle why); /* as required; before anything was sent */
void measure_path_cut(void);                       /* as required; in mid-response */
void measure_promotion(uint64_t size);             /* bytes copied to be checked */
void measure_reread(void);
void measure_connections(int change);
void measure_slot_wait(int change);
void measure_cut_off(void); /* a peer too slow */
void measure_header_left_out(void);
void measure_handshake(const struct tls *tls); /* one that succeeded */
void measure_handshake_failed(enum tls_failure why);

#endif
