/*
 * The disk as a small table of functions, so that the store above it runs unchanged on a real disk,
 * on one that writes down what it was asked (disk_record.c) and on one that lives in memory, fails
 * on demand and forgets unsynced bytes in a crash (disk_sim.c).
 *
 * Files are opened in one of two ways and an extent is only ever *written* through a DISK_DIRECT
 * file:
 *   DISK_DIRECT    O_DIRECT: offset, size and memory must be multiples of DISK_ALIGN
 *   DISK_BUFFERED  through the page cache, used for reading (sendfile) and for small private files
 *
 * read and write are asynchronous on a loop and follow the ring's promise (one callback, later,
 * same thread). They end short only at the end of the file: short writes and reads in between are
 * continued inside. Everything else blocks and is for threads that may. A disk and its files may be
 * used from several threads; one io belongs to one loop.
 */
#ifndef BASE_DISK_H
#define BASE_DISK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/loop.h"

#define DISK_ALIGN 4096u

enum disk_open_flags {
    DISK_READ = 0,
    DISK_WRITE = 1,  /* read and write */
    DISK_CREATE = 2, /* make it; ERR_FILE_EXISTS when it is there */
    DISK_DIRECT = 4,
};

struct disk;
struct disk_file;
struct disk_io;
typedef void disk_done_fn(struct disk_io *io, enum err e, uint32_t count);

struct disk_io {
    struct ring_op op; /* backend's */
    disk_done_fn *done;
    struct disk_file *file;
    struct loop *loop;
    void *data;
    uint32_t size, moved;
    uint64_t offset;
    uint8_t kind;
    enum err result;
    struct loop_msg msg; /* the owner's, for an end that no disk brings; disks do not use it */
};

struct disk_space {
    uint64_t total_bytes;
    uint64_t free_bytes; /* for this process */
};

struct disk_ops {
    enum err (*open)(struct disk *disk, const char *path, int flags, struct disk_file **ret_file);
    void (*close)(struct disk_file *file);
    void (*read)(struct disk_file *file, struct loop *loop, struct disk_io *io, void *data,
                 uint32_t size, uint64_t offset, disk_done_fn *done);
    void (*write)(struct disk_file *file, struct loop *loop, struct disk_io *io, const void *data,
                  uint32_t size, uint64_t offset, disk_done_fn *done);
    /* All; ERR_CORRUPT: the file ends before. */
    enum err (*pread)(struct disk_file *file, void *data, size_t size, uint64_t offset);
    /* All or an error. */
    enum err (*pwrite)(struct disk_file *file, const void *data, size_t size, uint64_t offset);
    enum err (*sync)(struct disk_file *file); /* fdatasync */
    /* fallocate(): extends the file. */
    enum err (*allocate)(struct disk_file *file, uint64_t offset, uint64_t size);
    enum err (*size)(struct disk_file *file, uint64_t *ret_size);
    void (*drop_cache)(struct disk_file *file, uint64_t offset, uint64_t size); /* FADV_DONTNEED */
    /* Whether the whole range is in the page cache. False when it cannot be told. */
    bool (*is_resident)(struct disk_file *file, uint64_t offset, uint64_t size);
    int (*fd)(struct disk_file *file); /* for sendfile; -1 when there is none */
    enum err (*make_dir)(struct disk *disk, const char *path);
    enum err (*sync_dir)(struct disk *disk, const char *path);
    enum err (*remove)(struct disk *disk, const char *path); /* a file */
    /* Calls each(context, name) for every entry but . and ..; stops at its first error and returns
     * that. */
    enum err (*list)(struct disk *disk, const char *path,
                     enum err (*each)(void *context, const char *name), void *context);
    enum err (*space)(struct disk *disk, const char *path, struct disk_space *ret_space);
    /* flock on an open file: ERR_IN_USE when another process has it. */
    enum err (*lock)(struct disk_file *file);
};

struct disk {
    const struct disk_ops *ops;
};
struct disk_file {
    struct disk *disk; /* borrowed */
};

struct disk *disk_real(void);

/* ---- disk_record: passes everything on to another disk and writes down what was asked ---- */
enum disk_event_kind {
    DISK_EVENT_OPEN,
    DISK_EVENT_WRITE,
    DISK_EVENT_SYNC,
    DISK_EVENT_ALLOCATE,
    DISK_EVENT_REMOVE,
    DISK_EVENT_SYNC_DIR
};
struct disk_event {
    enum disk_event_kind kind;
    char path[96];
    uint64_t offset, size;
    bool direct;
};
struct disk_record;
enum err disk_record_open(struct disk *inner, struct disk_record **ret_record) MUST_USE;
void disk_record_close(struct disk_record *record);
struct disk *disk_record_disk(struct disk_record *record);
/* Valid until the next operation. */
size_t disk_record_events(struct disk_record *record, const struct disk_event **ret_events);

/* ---- disk_sim: a disk in memory ---- */
struct disk_sim;
struct disk_sim_options {
    uint64_t capacity_bytes;
    struct rand *rand; /* borrowed: which unsynced blocks survive a crash, completion order */
};
enum err disk_sim_open(const struct disk_sim_options *options, struct disk_sim **ret_sim) MUST_USE;
void disk_sim_close(struct disk_sim *sim);
struct disk *disk_sim_disk(struct disk_sim *sim);
/* Power cut: every 4 KiB block written since its file's last sync keeps its old or its new bytes by
 * chance, or is torn at 512 B. Files whose directory was not synced may vanish. Open handles become
 * useless (ERR_IO) and are to be closed. */
void disk_sim_crash(struct disk_sim *sim);
/* From now on the nth (1-based) operation that can fail returns `e`; 0 disarms. */
void disk_sim_fail_nth(struct disk_sim *sim, unsigned nth, enum err e);
bool disk_sim_fault_fired(const struct disk_sim *sim);
/* Turns over a bit of a stored file, for checksum tests. */
enum err disk_sim_flip_bit(struct disk_sim *sim, const char *path, uint64_t offset,
                           unsigned bit) MUST_USE;

/* ---- the probe: what this directory's file system really does with O_DIRECT ---- */
enum disk_direct {
    /* Bytes bypass the page cache and a page-cache reader sees old pages dropped, not changed. */
    DISK_DIRECT_REAL,
    DISK_DIRECT_PRETENDED, /* opens but goes through the page cache (tmpfs, some overlays) */
    DISK_DIRECT_REFUSED,   /* open or write says EINVAL */
};
struct disk_probe {
    enum disk_direct direct;
    uint32_t align_bytes; /* statx STATX_DIOALIGN where the kernel has it, else 4096 */
    char file_system[16]; /* "ext4", "xfs", "tmpfs", "0x..." */
    char reason[120];     /* one sentence for people */
};
/* Writes and removes a scratch file in `dir` of the real file system. */
enum err disk_probe_dir(const char *dir, struct disk_probe *ret_probe,
                        struct err_trail *trail) MUST_USE;

#endif
