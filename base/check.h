/*
 * CHECK is for our own mistakes and stays on in production: a stopped node is repaired, a wrong one
 * corrupts. It prints the condition and where it stands, then aborts. Bytes from disk, network or a
 * client are never checked this way: they are judged and refused with an error. CHECK_SLOW is for
 * walks over whole structures and compiled in only for tests (-Dslow_checks=true).
 */
#ifndef BASE_CHECK_H
#define BASE_CHECK_H

#include <stdint.h>

_Noreturn void check_failed(const char *condition, const char *file, int line, const char *function)
    __attribute__((cold));

#define CHECK(condition)                                                                           \
    do {                                                                                           \
        if (__builtin_expect(!(condition), 0))                                                     \
            check_failed(#condition, __FILE__, __LINE__, __func__);                                \
    } while (0)

#ifdef SLUICE_SLOW_CHECKS
#define CHECK_SLOW(condition) CHECK(condition)
#else
#define CHECK_SLOW(condition)                                                                      \
    do {                                                                                           \
        (void)sizeof(condition);                                                                   \
    } while (0)
#endif

/* What travels through void * or user_data carries a magic, checked on arrival and cleared on
 * release. */
#define CHECK_MAGIC(object, expected)                                                              \
    CHECK((object) != NULL && (object)->magic == (uint32_t)(expected))

#define COUNT_OF(array)                     (sizeof(array) / sizeof((array)[0]))
#define CONTAINER_OF(pointer, type, member) ((type *)((char *)(pointer)-offsetof(type, member)))

#endif
