#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "base/check.h"
#include "base/cleanup.h"
#include "base/disk.h"

/*
 * Passes on and writes down. An event is noted when it is asked for, before the inner disk sees it:
 * the record shows the order in which the code above works, whatever comes of it. It is a tool for
 * tests, so it grows without bound and stops when it cannot remember.
 */

struct disk_record {
    struct disk disk;
    struct disk *inner; /* borrowed */
    pthread_mutex_t mutex;
    struct disk_event *events; /* owned */
    size_t event_count, event_capacity;
};

struct record_file {
    struct disk_file file;
    struct disk_file *inner; /* owned */
    bool is_direct;
    char path[sizeof((struct disk_event *)0)->path];
};

static struct disk_record *record_of(struct disk *disk)
{
    return CONTAINER_OF(disk, struct disk_record, disk);
}

static struct record_file *file_of(struct disk_file *file)
{
    return CONTAINER_OF(file, struct record_file, file);
}

static struct disk_file *inner_of(struct disk_file *file)
{
    return file_of(file)->inner;
}

/* Of a path that is too long the end is kept: it tells files apart. */
static void copy_path(char *to, size_t to_size, const char *path)
{
    size_t size = strlen(path) + 1;
    memcpy(to, size > to_size ? path + size - to_size : path, size > to_size ? to_size : size);
}

static void note(struct disk_record *record, enum disk_event_kind kind, const char *path,
                 bool is_direct, uint64_t offset, uint64_t size)
{
    CHECK(pthread_mutex_lock(&record->mutex) == 0);
    if (record->event_count == record->event_capacity) {
        record->event_capacity = record->event_capacity ? record->event_capacity * 2 : 256;
        record->events = realloc(record->events, record->event_capacity * sizeof *record->events);
        CHECK(record->events != NULL); /* a record with gaps would let a test pass */
    }
    struct disk_event *event = &record->events[record->event_count++];
    *event = (struct disk_event){.kind = kind, .offset = offset, .size = size, .direct = is_direct};
    copy_path(event->path, sizeof event->path, path);
    CHECK(pthread_mutex_unlock(&record->mutex) == 0);
}

static void note_file(struct disk_file *file, enum disk_event_kind kind, uint64_t offset,
                      uint64_t size)
{
    struct record_file *recorded = file_of(file);
    note(record_of(file->disk), kind, recorded->path, recorded->is_direct, offset, size);
}

static enum err record_open(struct disk *disk, const char *path, int flags,
                            struct disk_file **ret_file)
{
    struct disk *inner = record_of(disk)->inner;
    CLEANUP(free) struct record_file *file = calloc(1, sizeof *file);
    if (file == NULL)
        return ERR_NO_MEMORY;
    note(record_of(disk), DISK_EVENT_OPEN, path, flags & DISK_DIRECT, 0, 0);
    enum err e = inner->ops->open(inner, path, flags, &file->inner);
    if (e)
        return e;
    file->file.disk = disk;
    file->is_direct = flags & DISK_DIRECT;
    copy_path(file->path, sizeof file->path, path);
    *ret_file = &TAKE(file)->file;
    return ERR_OK;
}

static void record_close(struct disk_file *file)
{
    if (file == NULL)
        return;
    inner_of(file)->disk->ops->close(inner_of(file));
    free(file_of(file));
}

static void record_read(struct disk_file *file, struct loop *loop, struct disk_io *io, void *data,
                        uint32_t size, uint64_t offset, disk_done_fn *done)
{
    inner_of(file)->disk->ops->read(inner_of(file), loop, io, data, size, offset, done);
}

static void record_write(struct disk_file *file, struct loop *loop, struct disk_io *io,
                         const void *data, uint32_t size, uint64_t offset, disk_done_fn *done)
{
    note_file(file, DISK_EVENT_WRITE, offset, size);
    inner_of(file)->disk->ops->write(inner_of(file), loop, io, data, size, offset, done);
}

static enum err record_pread(struct disk_file *file, void *data, size_t size, uint64_t offset)
{
    return inner_of(file)->disk->ops->pread(inner_of(file), data, size, offset);
}

static enum err record_pwrite(struct disk_file *file, const void *data, size_t size,
                              uint64_t offset)
{
    note_file(file, DISK_EVENT_WRITE, offset, size);
    return inner_of(file)->disk->ops->pwrite(inner_of(file), data, size, offset);
}

static enum err record_sync(struct disk_file *file)
{
    note_file(file, DISK_EVENT_SYNC, 0, 0);
    return inner_of(file)->disk->ops->sync(inner_of(file));
}

static enum err record_allocate(struct disk_file *file, uint64_t offset, uint64_t size)
{
    note_file(file, DISK_EVENT_ALLOCATE, offset, size);
    return inner_of(file)->disk->ops->allocate(inner_of(file), offset, size);
}

static enum err record_size(struct disk_file *file, uint64_t *ret_size)
{
    return inner_of(file)->disk->ops->size(inner_of(file), ret_size);
}

static void record_drop_cache(struct disk_file *file, uint64_t offset, uint64_t size)
{
    inner_of(file)->disk->ops->drop_cache(inner_of(file), offset, size);
}

static bool record_is_resident(struct disk_file *file, uint64_t offset, uint64_t size)
{
    return inner_of(file)->disk->ops->is_resident(inner_of(file), offset, size);
}

static int record_fd(struct disk_file *file)
{
    return inner_of(file)->disk->ops->fd(inner_of(file));
}

static enum err record_make_dir(struct disk *disk, const char *path)
{
    struct disk *inner = record_of(disk)->inner;
    return inner->ops->make_dir(inner, path);
}

static enum err record_sync_dir(struct disk *disk, const char *path)
{
    struct disk *inner = record_of(disk)->inner;
    note(record_of(disk), DISK_EVENT_SYNC_DIR, path, false, 0, 0);
    return inner->ops->sync_dir(inner, path);
}

static enum err record_remove(struct disk *disk, const char *path)
{
    struct disk *inner = record_of(disk)->inner;
    note(record_of(disk), DISK_EVENT_REMOVE, path, false, 0, 0);
    return inner->ops->remove(inner, path);
}

static enum err record_list(struct disk *disk, const char *path,
                            enum err (*each)(void *context, const char *name), void *context)
{
    struct disk *inner = record_of(disk)->inner;
    return inner->ops->list(inner, path, each, context);
}

static enum err record_space(struct disk *disk, const char *path, struct disk_space *ret_space)
{
    struct disk *inner = record_of(disk)->inner;
    return inner->ops->space(inner, path, ret_space);
}

static enum err record_lock(struct disk_file *file)
{
    return inner_of(file)->disk->ops->lock(inner_of(file));
}

static const struct disk_ops record_ops = {
    .open = record_open,
    .close = record_close,
    .read = record_read,
    .write = record_write,
    .pread = record_pread,
    .pwrite = record_pwrite,
    .sync = record_sync,
    .allocate = record_allocate,
    .size = record_size,
    .drop_cache = record_drop_cache,
    .is_resident = record_is_resident,
    .fd = record_fd,
    .make_dir = record_make_dir,
    .sync_dir = record_sync_dir,
    .remove = record_remove,
    .list = record_list,
    .space = record_space,
    .lock = record_lock,
};

enum err disk_record_open(struct disk *inner, struct disk_record **ret_record)
{
    struct disk_record *record = calloc(1, sizeof *record);
    if (record == NULL)
        return ERR_NO_MEMORY;
    record->disk.ops = &record_ops;
    record->inner = inner;
    CHECK(pthread_mutex_init(&record->mutex, NULL) == 0);
    *ret_record = record;
    return ERR_OK;
}

void disk_record_close(struct disk_record *record)
{
    if (record == NULL)
        return;
    CHECK(pthread_mutex_destroy(&record->mutex) == 0);
    free(record->events);
    free(record);
}

struct disk *disk_record_disk(struct disk_record *record)
{
    return &record->disk;
}

size_t disk_record_events(struct disk_record *record, const struct disk_event **ret_events)
{
    CHECK(pthread_mutex_lock(&record->mutex) == 0);
    *ret_events = record->events;
    size_t count = record->event_count;
    CHECK(pthread_mutex_unlock(&record->mutex) == 0);
    return count;
}
