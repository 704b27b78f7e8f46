/*
 * Cleanup at the end of a scope, for straight-line code (start-up, tools, parsers).
 *
 *     CLEANUP(file_close) struct file *file = NULL;      closed when the scope ends, whichever way
 *     *ret_file = TAKE(file);                            handed over: nothing left to close
 *
 * A closer used with CLEANUP takes the object's pointer and accepts NULL; CLEANUP_DEFINE makes the
 * adapter the compiler wants. cmocka leaves a failed test by longjmp, past these: a test releases
 * in its teardown.
 */
#ifndef BASE_CLEANUP_H
#define BASE_CLEANUP_H

#include <stdlib.h>
#include <unistd.h>

#define CLEANUP(closer) __attribute__((cleanup(closer##__scope)))

/* CLEANUP_DEFINE(store_close, struct store *) beside the closer's declaration makes
 * CLEANUP(store_close) usable. */
#define CLEANUP_DEFINE(closer, type)                                                               \
    static inline void closer##__scope(type *variable)                                             \
    {                                                                                              \
        if (*variable)                                                                             \
            closer(*variable);                                                                     \
    }

#define TAKE(variable)                                                                             \
    ({                                                                                             \
        __typeof__(variable) taken_ = (variable);                                                  \
        (variable) = 0;                                                                            \
        taken_;                                                                                    \
    })

/* CLEANUP(free) char *text = NULL; */
static inline void free__scope(void *variable)
{
    free(*(void **)variable);
}

/* CLEANUP(fd_close) int fd = -1;   negative means none */
static inline void fd_close__scope(int *fd)
{
    if (*fd >= 0)
        (void)close(*fd); /* a read side or an already synced file: nothing to learn from close */
}
#define TAKE_FD(variable)                                                                          \
    ({                                                                                             \
        int taken_ = (variable);                                                                   \
        (variable) = -1;                                                                           \
        taken_;                                                                                    \
    })

#endif
