/*
 * libsluice: the object store of Sluice inside your own program. A volume is a directory; objects
 * live in it in buckets, written by Direct I/O, every 64 KiB checked by XXH3 when it is read,
 * durable when a call returns.
 *
 *     struct sluice *s;
 *     struct sluice_error error;
 *     if (sluice_open(&(struct sluice_options){.dir = "/srv/objects", .create = 1}, &s, &error))
 *         fprintf(stderr, "%s\n", error.text);
 *     sluice_put(s, "photos", "cat.jpg", bytes, size, NULL, &error);
 *     sluice_close(s);
 *
 * Calls block until they are done and may come from any number of threads; commits of several
 * threads share one disk flush. A writer or reader is for one thread at a time. A volume is open in
 * one process: while sluiced serves it, use S3.
 *
 * Each function returns SLUICE_OK (0) or what a caller can do about the failure; `error`, where not
 * NULL, then holds a sentence for people. A failed call leaves nothing behind. Objects written here
 * are ordinary S3 objects to sluiced (their ETag is the MD5).
 */
#ifndef SLUICE_H
#define SLUICE_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#define SLUICE_API __attribute__((visibility("default")))

enum sluice_status {
    SLUICE_OK,
    SLUICE_NOT_FOUND,
    SLUICE_EXISTS,  /* or a condition does not hold */
    SLUICE_INVALID, /* the call is wrong; trying again will not help */
    SLUICE_DENIED,
    SLUICE_BUSY, /* later may work */
    SLUICE_FULL,
    SLUICE_IO,
    SLUICE_CORRUPT, /* bytes are not what was written */
    SLUICE_BUG,
};

struct sluice_error {
    enum sluice_status status;
    char text[240];
};

struct sluice;        /* an open volume */
struct sluice_writer; /* an object on its way in */
struct sluice_reader; /* an object being read: keeps its bytes, whatever happens to its name */

struct sluice_options {
    const char *dir;
    int create;           /* format the directory when it is empty or absent */
    int allow_buffered;   /* accept a file system without Direct I/O */
    uint64_t cache_bytes; /* of the index; 0: 64 MiB */
};

struct sluice_stat {
    uint64_t size;
    uint64_t mtime_ns; /* since 1970 */
    char etag[48];     /* 32 hex digits, "-N" behind it for N parts */
};

SLUICE_API enum sluice_status sluice_open(const struct sluice_options *options,
                                          struct sluice **ret_sluice, struct sluice_error *error);
/* No writer, reader or call may be left; NULL does nothing. */
SLUICE_API void sluice_close(struct sluice *sluice);
SLUICE_API const char *sluice_version(void);

/* ---- buckets: names of 3..63 characters a-z 0-9 . - ---- */
SLUICE_API enum sluice_status sluice_bucket_create(struct sluice *sluice, const char *bucket,
                                                   struct sluice_error *error);
/* SLUICE_EXISTS: not empty. */
SLUICE_API enum sluice_status sluice_bucket_delete(struct sluice *sluice, const char *bucket,
                                                   struct sluice_error *error);
/* Calls each() in order of name; a value other than 0 stops and is not an error. */
SLUICE_API enum sluice_status sluice_buckets(struct sluice *sluice,
                                             int (*each)(void *context, const char *bucket),
                                             void *context, struct sluice_error *error);

/* ---- whole objects: keys are up to 1,024 bytes, compared bytewise ---- */
/* stat, where not NULL, says what was stored or found. */
SLUICE_API enum sluice_status sluice_put(struct sluice *sluice, const char *bucket, const char *key,
                                         const void *data, size_t size, struct sluice_stat *stat,
                                         struct sluice_error *error);
/* Reads at most `size` bytes from `offset`; *ret_size is less at the object's end. */
SLUICE_API enum sluice_status sluice_get(struct sluice *sluice, const char *bucket, const char *key,
                                         uint64_t offset, void *data, size_t size, size_t *ret_size,
                                         struct sluice_error *error);
SLUICE_API enum sluice_status sluice_stat(struct sluice *sluice, const char *bucket,
                                          const char *key, struct sluice_stat *stat,
                                          struct sluice_error *error);
/* Absent: SLUICE_OK. */
SLUICE_API enum sluice_status sluice_delete(struct sluice *sluice, const char *bucket,
                                            const char *key, struct sluice_error *error);

struct sluice_list_options {
    const char *prefix; /* NULL: none */
    /* NULL: none; else keys sharing what comes before it after the prefix are told once, with stat
     * NULL. */
    const char *delimiter;
    const char *after; /* NULL: from the beginning; only keys behind it */
    uint32_t max;      /* 0: all */
};
/* Calls each() in bytewise order of key (key_size bytes, also NUL-terminated); a value other than 0
 * stops and is not an error. */
SLUICE_API enum sluice_status sluice_list(
    struct sluice *sluice, const char *bucket, const struct sluice_list_options *options,
    int (*each)(void *context, const char *key, size_t key_size, const struct sluice_stat *stat),
    void *context, struct sluice_error *error);

/* ---- streams ---- */
/* size: exact, or UINT64_MAX when it is not known. The object appears, wholly, with
 * sluice_writer_commit(). */
SLUICE_API enum sluice_status sluice_writer_open(struct sluice *sluice, const char *bucket,
                                                 const char *key, uint64_t size,
                                                 struct sluice_writer **ret_writer,
                                                 struct sluice_error *error);
SLUICE_API enum sluice_status sluice_writer_write(struct sluice_writer *writer, const void *data,
                                                  size_t size, struct sluice_error *error);
/* Ends the writer, also on failure. */
SLUICE_API enum sluice_status sluice_writer_commit(struct sluice_writer *writer,
                                                   struct sluice_stat *stat,
                                                   struct sluice_error *error);
SLUICE_API void sluice_writer_abort(struct sluice_writer *writer); /* NULL does nothing */

SLUICE_API enum sluice_status sluice_reader_open(struct sluice *sluice, const char *bucket,
                                                 const char *key, struct sluice_reader **ret_reader,
                                                 struct sluice_stat *stat,
                                                 struct sluice_error *error);
/* The next bytes; *ret_size is 0 only at the end. Bytes that fail their checksum are never given
 * out: SLUICE_CORRUPT. */
SLUICE_API enum sluice_status sluice_reader_read(struct sluice_reader *reader, void *data,
                                                 size_t size, size_t *ret_size,
                                                 struct sluice_error *error);
SLUICE_API enum sluice_status sluice_reader_seek(struct sluice_reader *reader, uint64_t offset,
                                                 struct sluice_error *error);
SLUICE_API void sluice_reader_close(struct sluice_reader *reader); /* NULL does nothing */

#ifdef __cplusplus
}
#endif

#endif
