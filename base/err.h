/*
 * Errors: one vocabulary for every layer.
 *
 * A function that can fail returns enum err; ERR_OK is 0, so `if (e) return e;` reads naturally.
 * Code branches on the *family* of an error (absent, busy, caller, io, data, full, bug); people
 * read the *code*. An errno never travels past the function that got it: err_from_errno()
 * translates it once, at the door.
 *
 * What happened on the way is told by a trail: each layer that gives an error up adds one phrase. A
 * trail is a fixed buffer inside the operation it belongs to, so telling costs no allocation and a
 * full trail only loses detail.
 *
 *     return err_note(&put->trail, e, "append to segment %u", id);
 *     -> "put photos/cat.jpg: append to segment 7: the disk refused a write"
 *
 * S3 codes and HTTP statuses are not known here: api/s3/error.c owns that table.
 */
#ifndef BASE_ERR_H
#define BASE_ERR_H

#include <stdarg.h>
#include <stddef.h>

#define MUST_USE __attribute__((warn_unused_result))
/* Of functions that are called when something went wrong: the compiler takes what leads there out
 * of the way of what does not. */
#define COLD                     __attribute__((cold))
#define PRINTF_LIKE(text, first) __attribute__((format(printf, text, first)))

/* What a caller can do about an error. */
#define ERR_FAMILIES(X)                                                                            \
    X(FAM_OK, "ok")                                                                                \
    X(FAM_ABSENT, "absent") /* what was named is not there */                                      \
    X(FAM_EXISTS, "exists") /* what was to be made is there, or a condition is not met */          \
    X(FAM_CALLER, "caller") /* the request is wrong; trying again will not help */                 \
    X(FAM_DENIED, "denied") /* the caller may not */                                               \
    X(FAM_BUSY, "busy")     /* later may work */                                                   \
    X(FAM_FULL, "full")     /* no space, or a limit is reached */                                  \
    X(FAM_IO, "io")         /* a disk, file or socket refused */                                   \
    X(FAM_DATA, "data")     /* bytes are not what was written */                                   \
    X(FAM_BUG, "bug")       /* our mistake */

/* X(code, family, sentence for people) */
#define ERR_CODES(X)                                                                               \
    X(OK, FAM_OK, "ok")                                                                            \
    X(NO_MEMORY, FAM_BUSY, "out of memory")                                                        \
    X(BUSY, FAM_BUSY, "too busy, try again")                                                       \
    X(TIMEOUT, FAM_BUSY, "took too long")                                                          \
    X(CLOSED, FAM_BUSY, "closed or shutting down")                                                 \
    X(CANCELLED, FAM_BUSY, "cancelled")                                                            \
    X(WOULD_BLOCK, FAM_BUSY, "the answer is not in memory")                                        \
    X(INVALID, FAM_CALLER, "invalid argument")                                                     \
    X(TOO_LARGE, FAM_CALLER, "too large")                                                          \
    X(TOO_SMALL, FAM_CALLER, "too small")                                                          \
    X(BAD_SYNTAX, FAM_CALLER, "malformed")                                                         \
    X(UNSUPPORTED, FAM_CALLER, "not supported")                                                    \
    X(DENIED, FAM_DENIED, "not permitted")                                                         \
    X(NO_SUCH_FILE, FAM_ABSENT, "no such file or directory")                                       \
    X(FILE_EXISTS, FAM_EXISTS, "file exists")                                                      \
    X(IN_USE, FAM_BUSY, "in use by another process")                                               \
    X(IO, FAM_IO, "the disk or socket refused")                                                    \
    X(PEER_CLOSED, FAM_IO, "the other side closed the connection")                                 \
    X(DISK_FULL, FAM_FULL, "no space left")                                                        \
    X(NOT_VOLUME, FAM_DATA, "not a Sluice volume")                                                 \
    X(FORMAT_NEWER, FAM_DATA, "written by a newer Sluice than this one")                           \
    X(NO_DIRECT_IO, FAM_IO, "the file system does not do Direct I/O")                              \
    X(CORRUPT, FAM_DATA, "bytes do not match their checksum or format")                            \
    X(VOLUME_FAILED, FAM_IO, "the volume failed earlier and takes no more work until restarted")   \
    X(READ_ONLY, FAM_FULL, "the volume is read-only")                                              \
    X(NO_SUCH_BUCKET, FAM_ABSENT, "no such bucket")                                                \
    X(BUCKET_EXISTS, FAM_EXISTS, "the bucket exists and belongs to somebody else")                 \
    X(BUCKET_OWNED, FAM_EXISTS, "the bucket exists and is yours")                                  \
    X(BUCKET_NOT_EMPTY, FAM_EXISTS, "the bucket is not empty")                                     \
    X(NO_SUCH_OBJECT, FAM_ABSENT, "no object under that key")                                      \
    X(NO_SUCH_UPLOAD, FAM_ABSENT, "no such multipart upload")                                      \
    X(INVALID_PART, FAM_CALLER, "a part is missing or its ETag differs")                           \
    X(PART_ORDER, FAM_CALLER, "parts are not in ascending order")                                  \
    X(PART_TOO_SMALL, FAM_CALLER, "a part other than the last is smaller than 5 MiB")              \
    X(PRECONDITION, FAM_EXISTS, "a condition of the request does not hold")                        \
    X(CONFLICT, FAM_BUSY, "a conflicting change is under way")                                     \
    X(NO_SUCH_KEY_ID, FAM_ABSENT, "no such access key")                                            \
    X(KEY_ID_EXISTS, FAM_EXISTS, "that access key exists")                                         \
    X(INTERNAL, FAM_BUG, "internal error")

enum err_family {
#define X(name, text) name,
    ERR_FAMILIES(X)
#undef X
};

enum err {
#define X(name, family, text) ERR_##name,
    ERR_CODES(X) ERR_COUNT
#undef X
};

enum err_family err_family(enum err e);
const char *err_name(enum err e); /* "NO_SUCH_OBJECT" */
const char *err_text(enum err e); /* "no object under that key" */
const char *err_family_name(enum err_family family);

/* Translates an errno (positive) into our vocabulary. Unknown ones are ERR_IO. Never returns
 * ERR_OK. */
enum err err_from_errno(int errnum);

#define ERR_TRAIL_BYTES 240

struct err_trail {
    char text[ERR_TRAIL_BYTES]; /* outermost phrase first; empty string when nothing was noted */
};

/*
 * Puts a phrase in front of the trail and returns `e`, so that it ends a function: `return
 * err_note(...)`. On an empty trail the error's own sentence is put down first. trail may be NULL:
 * then only `e` is returned.
 */
enum err err_note(struct err_trail *trail, enum err e, const char *format, ...)
    PRINTF_LIKE(3, 4) COLD;
/* Puts down just this sentence, instead of the code's own: for the place that found the fault and
 * can name it in full. */
enum err err_say(struct err_trail *trail, enum err e, const char *format, ...)
    PRINTF_LIKE(3, 4) COLD;
void err_trail_reset(struct err_trail *trail);
/* The trail's text, or the code's sentence if nothing was noted. */
const char *err_trail_text(const struct err_trail *trail, enum err e);

#endif
