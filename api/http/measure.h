/*
 * What the engine counts and writes down: metrics (base/metric.h) and the access log's line. Any
 * worker's thread.
 */
#ifndef API_HTTP_MEASURE_H
#define API_HTTP_MEASURE_H

#include "api/http/http.h"
#include "api/http/tls.h"

struct path;

/* X(name, label): why a response was not served the way it began. */
#define FALLBACK_REASONS(X)                                                                        \
    X(NOT_RESIDENT, "not_resident") /* sendfile met pages that are gone or were never checked */   \
    X(NOT_KEPT, "not_kept")         /* promoted, and the cache did not keep it or it was bad */    \
    X(NO_SLOT, "no_slot")           /* no memory to promote with */

enum fallback_reason {
#define X(name, label) FALLBACK_##name,
    FALLBACK_REASONS(X)
#undef X
        FALLBACK_COUNT
};

void measure_register(void); /* once a process; more often does nothing */
/* A request ended: metrics, and the access log when the server keeps one. */
void measure_exchange(struct exchange *x);
void measure_refused(enum http_refusal why); /* one that never became an exchange */
void measure_path_bytes(const struct path *path, uint64_t size);
void measure_fallback(enum fallback_reason reason);
void measure_promotion(void);
void measure_reread(void);
void measure_connections(int change);
void measure_slot_wait(int change);
void measure_cut_off(void); /* a peer too slow */
void measure_header_left_out(void);
void measure_handshake(const struct tls *tls); /* one that succeeded */
void measure_handshake_failed(enum tls_failure why);

#endif
