#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "base/check.h"
#include "base/cleanup.h"
#include "base/clock.h"
#include "base/disk.h"

#define LOCK_TRIES    10
#define LOCK_PAUSE_MS 50
#define FILE_MODE     0640
#define DIR_MODE      0750

/* Newer than Debian 12's headers; the number is the same on every architecture. */
#ifndef SYS_cachestat
#define SYS_cachestat 451
#endif
struct cachestat_range_args {
    uint64_t offset, size;
};
struct cachestat_result {
    uint64_t cached, dirty, writeback, evicted, recently_evicted; /* pages */
};

struct real_file {
    struct disk_file file;
    int fd; /* owned */
    bool is_direct;
};

enum io_kind { IO_READ, IO_WRITE };

static struct real_file *real_of(struct disk_file *file)
{
    return CONTAINER_OF(file, struct real_file, file);
}

static enum err real_open(struct disk *disk, const char *path, int flags,
                          struct disk_file **ret_file)
{
    CLEANUP(free) struct real_file *file = calloc(1, sizeof *file);
    if (file == NULL)
        return ERR_NO_MEMORY;
    int os_flags = O_CLOEXEC | O_NOFOLLOW | (flags & DISK_WRITE ? O_RDWR : O_RDONLY);
    if (flags & DISK_CREATE)
        os_flags |= O_CREAT | O_EXCL;
    if (flags & DISK_DIRECT)
        os_flags |= O_DIRECT;
    CLEANUP(fd_close) int fd = open(path, os_flags, FILE_MODE);
    if (fd < 0 && errno == EINVAL && flags & DISK_DIRECT) {
        /* With O_CREAT the kernel makes the file before the file system refuses O_DIRECT. */
        if (flags & DISK_CREATE)
            (void)unlink(path);
        return ERR_NO_DIRECT_IO;
    }
    if (fd < 0)
        return err_from_errno(errno);
    /* Read-ahead would fill the cache with neighbouring extents: unverified ones, and free ones,
     * whose next direct write the kernel would then hand to a worker thread because there are pages
     * to drop. An advice; nothing depends on it. */
    if (!(flags & DISK_DIRECT))
        (void)posix_fadvise(fd, 0, 0, POSIX_FADV_RANDOM);
    file->file.disk = disk;
    file->is_direct = flags & DISK_DIRECT;
    file->fd = TAKE_FD(fd);
    *ret_file = &TAKE(file)->file;
    return ERR_OK;
}

static void real_close(struct disk_file *file)
{
    if (file == NULL)
        return;
    (void)close(real_of(file)->fd); /* what must be durable was synced; close tells nothing more */
    free(real_of(file));
}

/* ---- asynchronous ---- */

static void check_alignment(const struct real_file *file, const void *data, size_t size,
                            uint64_t offset)
{
    if (!file->is_direct)
        return;
    CHECK(offset % DISK_ALIGN == 0);
    CHECK(size % DISK_ALIGN == 0);
    CHECK((uintptr_t)data % DISK_ALIGN == 0);
}

static void io_submit(struct disk_io *io);

static void io_done(struct ring_op *op, enum err e, uint32_t count)
{
    struct disk_io *io = CONTAINER_OF(op, struct disk_io, op);
    bool is_direct = real_of(io->file)->is_direct;
    uint32_t moved_before = io->moved;
    if (e == ERR_OK)
        io->moved += count;
    bool at_end = io->kind == IO_READ && (count == 0 || (is_direct && io->moved % DISK_ALIGN != 0));
    if (e == ERR_OK && io->moved < io->size && !at_end) {
        /* A direct write goes on from a whole unit: what it wrote of the next is written again. */
        if (is_direct)
            io->moved -= io->moved % DISK_ALIGN;
        if (io->moved > moved_before) {
            io_submit(io);
            return;
        }
        e = ERR_IO; /* a write that does not move and gives no reason */
    }
    io->result = e;
    io->done(io, e, e ? 0 : io->moved);
}

static void io_submit(struct disk_io *io)
{
    int fd = real_of(io->file)->fd;
    struct ring *ring = loop_ring(io->loop);
    uint8_t *data = (uint8_t *)io->data + io->moved;
    if (io->kind == IO_READ)
        ring_read(ring, &io->op, fd, data, io->size - io->moved, io->offset + io->moved, io_done);
    else
        ring_write(ring, &io->op, fd, data, io->size - io->moved, io->offset + io->moved, io_done);
}

static void io_start(struct disk_file *file, struct loop *loop, struct disk_io *io,
                     enum io_kind kind, void *data, uint32_t size, uint64_t offset,
                     disk_done_fn *done)
{
    check_alignment(real_of(file), data, size, offset);
    CHECK(done != NULL);
    io->done = done, io->file = file, io->loop = loop;
    io->data = data, io->size = size, io->moved = 0, io->offset = offset;
    io->kind = (uint8_t)kind;
    io_submit(io);
}

static void real_read(struct disk_file *file, struct loop *loop, struct disk_io *io, void *data,
                      uint32_t size, uint64_t offset, disk_done_fn *done)
{
    io_start(file, loop, io, IO_READ, data, size, offset, done);
}

static void real_write(struct disk_file *file, struct loop *loop, struct disk_io *io,
                       const void *data, uint32_t size, uint64_t offset, disk_done_fn *done)
{
    io_start(file, loop, io, IO_WRITE, (void *)data, size, offset, done);
}

/* ---- blocking ---- */

static enum err real_pread(struct disk_file *file, void *data, size_t size, uint64_t offset)
{
    check_alignment(real_of(file), data, size, offset);
    for (size_t moved = 0; moved < size;) {
        ssize_t got = pread(real_of(file)->fd, (uint8_t *)data + moved, size - moved,
                            (off_t)(offset + moved));
        if (got < 0 && errno == EINTR)
            continue;
        if (got < 0)
            return err_from_errno(errno);
        moved += (size_t)got;
        if (got == 0 || (real_of(file)->is_direct && moved % DISK_ALIGN != 0))
            return ERR_CORRUPT;
    }
    return ERR_OK;
}

static enum err real_pwrite(struct disk_file *file, const void *data, size_t size, uint64_t offset)
{
    check_alignment(real_of(file), data, size, offset);
    for (size_t moved = 0; moved < size;) {
        ssize_t put = pwrite(real_of(file)->fd, (const uint8_t *)data + moved, size - moved,
                             (off_t)(offset + moved));
        if (put < 0 && errno == EINTR)
            continue;
        if (put < 0)
            return err_from_errno(errno);
        size_t step = (size_t)put;
        if (real_of(file)->is_direct)
            step -= step % DISK_ALIGN; /* the rest of a unit is written again */
        if (step == 0)
            return ERR_IO;
        moved += step;
    }
    return ERR_OK;
}

/* Once, whatever it says: after a failed sync the kernel may call lost pages clean. */
static enum err real_sync(struct disk_file *file)
{
    return fdatasync(real_of(file)->fd) == 0 ? ERR_OK : err_from_errno(errno);
}

static enum err real_allocate(struct disk_file *file, uint64_t offset, uint64_t size)
{
    int result;
    do
        result = fallocate(real_of(file)->fd, 0, (off_t)offset, (off_t)size);
    while (result < 0 && errno == EINTR);
    return result == 0 ? ERR_OK : err_from_errno(errno);
}

static enum err real_size(struct disk_file *file, uint64_t *ret_size)
{
    struct stat status;
    if (fstat(real_of(file)->fd, &status) < 0)
        return err_from_errno(errno);
    *ret_size = (uint64_t)status.st_size;
    return ERR_OK;
}

static enum err real_lock(struct disk_file *file)
{
    const struct timespec pause = {.tv_nsec = LOCK_PAUSE_MS * (long)NS_PER_MS};
    /* io_uring may hold a killed predecessor's descriptors, and with them its lock, for a moment
     * longer. */
    for (int left = LOCK_TRIES; left > 0;) {
        if (flock(real_of(file)->fd, LOCK_EX | LOCK_NB) == 0)
            return ERR_OK;
        if (errno == EINTR)
            continue;
        if (errno != EWOULDBLOCK)
            return err_from_errno(errno);
        if (--left > 0)
            (void)nanosleep(&pause, NULL); /* woken early: tried early */
    }
    return ERR_IN_USE;
}

/* ---- the page cache ---- */

static void real_drop_cache(struct disk_file *file, uint64_t offset, uint64_t size)
{
    /* An advice: pages that are in use stay. */
    (void)posix_fadvise(real_of(file)->fd, (off_t)offset, (off_t)size, POSIX_FADV_DONTNEED);
}

/* The C library keeps it: no system call. */
static uint64_t page_bytes(void)
{
    return (uint64_t)sysconf(_SC_PAGESIZE);
}

static bool is_page_resident(int fd, uint64_t offset)
{
    char byte;
    struct iovec piece = {&byte, 1};
    return preadv2(fd, &piece, 1, (off_t)offset, RWF_NOWAIT) == 1;
}

static bool real_is_resident(struct disk_file *file, uint64_t offset, uint64_t size)
{
    /* On Linux before 6.5, or under a seccomp profile that does not know it. */
    static atomic_bool has_no_cachestat;
    int fd = real_of(file)->fd;
    if (size == 0)
        return true;
    if (real_of(file)->is_direct)
        return false; /* what is read through it does not come from the cache */
    if (!atomic_load_explicit(&has_no_cachestat, memory_order_relaxed)) {
        struct cachestat_range_args range = {offset, size};
        struct cachestat_result result = {0};
        if (syscall(SYS_cachestat, fd, &range, &result, 0) == 0)
            return result.cached >= (offset + size - 1) / page_bytes() - offset / page_bytes() + 1;
        if (errno == ENOSYS || errno == EPERM)
            atomic_store_explicit(&has_no_cachestat, true, memory_order_relaxed);
    }
    /* Both ends stand for the whole: what is evicted in between costs a wait in sendfile, not
     * correctness. */
    return is_page_resident(fd, offset) && is_page_resident(fd, offset + size - 1);
}

static int real_fd(struct disk_file *file)
{
    return real_of(file)->fd;
}

/* ---- directories ---- */

static enum err real_make_dir(struct disk *disk, const char *path)
{
    return mkdir(path, DIR_MODE) == 0 ? ERR_OK : err_from_errno(errno);
}

static enum err real_sync_dir(struct disk *disk, const char *path)
{
    CLEANUP(fd_close) int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0)
        return err_from_errno(errno);
    return fsync(fd) == 0 ? ERR_OK : err_from_errno(errno);
}

static enum err real_remove(struct disk *disk, const char *path)
{
    return unlink(path) == 0 ? ERR_OK : err_from_errno(errno);
}

CLEANUP_DEFINE(closedir, DIR *)

static enum err real_list(struct disk *disk, const char *path,
                          enum err (*each)(void *context, const char *name), void *context)
{
    CLEANUP(closedir) DIR *dir = opendir(path);
    if (dir == NULL)
        return err_from_errno(errno);
    for (;;) {
        errno = 0;
        struct dirent *entry = readdir(dir);
        if (entry == NULL)
            return errno ? err_from_errno(errno) : ERR_OK;
        if (strcmp(entry->d_name, ".") == 0 || strcmp(entry->d_name, "..") == 0)
            continue;
        enum err e = each(context, entry->d_name);
        if (e)
            return e;
    }
}

static enum err real_space(struct disk *disk, const char *path, struct disk_space *ret_space)
{
    struct statvfs status;
    if (statvfs(path, &status) < 0)
        return err_from_errno(errno);
    ret_space->total_bytes = (uint64_t)status.f_blocks * status.f_frsize;
    ret_space->free_bytes = (uint64_t)status.f_bavail * status.f_frsize;
    return ERR_OK;
}

static const struct disk_ops real_ops = {
    .open = real_open,
    .close = real_close,
    .read = real_read,
    .write = real_write,
    .pread = real_pread,
    .pwrite = real_pwrite,
    .sync = real_sync,
    .allocate = real_allocate,
    .size = real_size,
    .drop_cache = real_drop_cache,
    .is_resident = real_is_resident,
    .fd = real_fd,
    .make_dir = real_make_dir,
    .sync_dir = real_sync_dir,
    .remove = real_remove,
    .list = real_list,
    .space = real_space,
    .lock = real_lock,
};

struct disk *disk_real(void)
{
    static struct disk disk = {.ops = &real_ops};
    return &disk;
}
