/*
 * Structured log: one line an event on standard error, `2026-11-24T09:10:11.123Z level module:
 * sentence key=value ...`, or one JSON object a line with log_set_json(). Lower layers return
 * errors and stay silent; the operation that gives up logs, once. A log site that can be driven by
 * clients uses LOG_LIMITED: at most a few lines a second each, the rest are counted and told in the
 * next line. Secrets and object bytes are never logged. Thread-safe; one write(2) a line.
 */
#ifndef BASE_LOG_H
#define BASE_LOG_H

#include <stdbool.h>
#include <stdint.h>

#include "base/err.h"

enum log_level { LOG_ERROR, LOG_WARN, LOG_INFO, LOG_DEBUG };

/* Lines above it are not formatted; changed while others log. */
extern enum log_level log_threshold;
#define LOG_IS_WANTED(level)                                                                       \
    ((int)(level) <= (int)__atomic_load_n(&log_threshold, __ATOMIC_RELAXED))

enum err log_level_parse(const char *name, enum log_level *ret_level) MUST_USE;
void log_set_level(enum log_level level);
enum log_format { LOG_TEXT, LOG_JSON };
void log_set_format(enum log_format format);

/* `fields` is "key=%d other=%s"-style text or "" */
void log_write(enum log_level level, const char *module, const char *format, ...)
    PRINTF_LIKE(3, 4) COLD;

#define LOG(level, module, ...)                                                                    \
    do {                                                                                           \
        if (LOG_IS_WANTED(level))                                                                  \
            log_write((level), (module), __VA_ARGS__);                                             \
    } while (0)

struct log_limit {
    _Atomic uint64_t window; /* second since boot in which `count` counts */
    _Atomic uint32_t count;
    _Atomic uint32_t suppressed;
};
/* Whether this site may write now; ret_suppressed: lines not written since the last one that
 * was. */
bool log_limit_allows(struct log_limit *limit, uint32_t *ret_suppressed);
/* The field that says so: "" or " suppressed=5". */
#define LOG_SUPPRESSED_BYTES 24
const char *log_suppressed(uint32_t suppressed, char text[LOG_SUPPRESSED_BYTES]);

#define LOG_LIMITED(level, module, format, ...)                                                    \
    do {                                                                                           \
        static struct log_limit limit_;                                                            \
        uint32_t suppressed_;                                                                      \
        char text_[LOG_SUPPRESSED_BYTES];                                                          \
        if (LOG_IS_WANTED(level) && log_limit_allows(&limit_, &suppressed_))                       \
            log_write((level), (module), format "%s", ##__VA_ARGS__,                               \
                      log_suppressed(suppressed_, text_));                                         \
    } while (0)

#endif
