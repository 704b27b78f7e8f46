/* The disk under a directory: what the file system says of itself, what it does, and the device
 * that stands behind it. */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include "base/check.h"
#include "base/cleanup.h"
#include "base/clock.h"
#include "tools/doctor.h"

#define MOUNTINFO_BYTES_MAX (1u << 20) /* a machine with thousands of containers */
#define SYNCS               16u
/* A disk that takes longer is known well enough by then. */
#define SYNC_LIMIT_NS NS_PER_SECOND

/* ---- mountinfo, proc(5): id parent maj:min root mount-point options [tags] - type source
 * super-options ---- */

/* Blanks, tabs, newlines and backslashes are written \040 and so on. */
static void unescape(struct bytes text, char *out, size_t out_size)
{
    size_t size = 0;
    for (size_t i = 0; i < text.size && size + 1 < out_size; i++) {
        const char *at = text.data + i;
        bool is_octal = *at == '\\' && text.size - i >= 4 && at[1] >= '0' && at[1] <= '3' &&
                        at[2] >= '0' && at[2] <= '7' && at[3] >= '0' && at[3] <= '7';
        out[size++] =
            is_octal ? (char)((at[1] - '0') * 64 + (at[2] - '0') * 8 + (at[3] - '0')) : *at;
        i += is_octal ? 3 : 0;
    }
    out[size] = '\0';
}

static bool is_under(const char *path, const char *mount_point)
{
    size_t size = strlen(mount_point);
    if (strcmp(mount_point, "/") == 0)
        return path[0] == '/';
    return strncmp(path, mount_point, size) == 0 && (path[size] == '/' || path[size] == '\0');
}

static void take_mount(struct bytes rest, struct bytes options, const char *mount_point,
                       struct doctor_disk *disk)
{
    struct bytes word = bytes_split(&rest, ' ');
    while (rest.size > 0 && !bytes_equal(word, BYTES("-")))
        word = bytes_split(&rest, ' ');
    struct bytes type = bytes_split(&rest, ' '), source = bytes_split(&rest, ' '),
                 super = bytes_split(&rest, ' ');
    disk->has_mount = true;
    snprintf(disk->mount_point, sizeof disk->mount_point, "%s", mount_point);
    unescape(type, disk->file_system, sizeof disk->file_system);
    unescape(source, disk->source, sizeof disk->source);
    /* The mount's own options first; what the file system adds, once. */
    char text[sizeof disk->options];
    struct buf all = BUF_ON(text);
    buf_put(&all, options);
    while (super.size > 0) {
        struct bytes option = bytes_split(&super, ',');
        if (bytes_equal(option, BYTES("rw")) || bytes_equal(option, BYTES("ro")))
            continue;
        buf_put_char(&all, ',');
        buf_put(&all, option);
    }
    unescape(buf_bytes(&all), disk->options, sizeof disk->options);
}

bool doctor_parse_mountinfo(struct bytes mountinfo, const char *path, struct doctor_disk *disk)
{
    size_t best = 0;
    bool is_found = false;
    while (mountinfo.size > 0) {
        char mount_point[sizeof disk->mount_point];
        struct bytes line = bytes_split(&mountinfo, '\n');
        for (unsigned i = 0; i < 4; i++)
            (void)bytes_split(&line, ' ');
        unescape(bytes_split(&line, ' '), mount_point, sizeof mount_point);
        struct bytes options = bytes_split(&line, ' ');
        /* The longest holds it; of two on the same point the later one covers the earlier. */
        if (mount_point[0] == '/' && is_under(path, mount_point) && strlen(mount_point) >= best) {
            best = strlen(mount_point);
            take_mount(line, options, mount_point, disk);
            is_found = true;
        }
    }
    return is_found;
}

/* ---- the device ---- */

static void read_queue(const char *queue, const char *name, char *out, size_t out_size)
{
    char path[PATH_MAX + 64];
    snprintf(path, sizeof path, "%s/%s", queue, name);
    (void)doctor_read(path, out, out_size);
}

static int64_t read_queue_number(const char *queue, const char *name)
{
    char path[PATH_MAX + 64];
    snprintf(path, sizeof path, "%s/%s", queue, name);
    return doctor_read_number(path);
}

void doctor_look_block_device(const char *sys_root, unsigned major, unsigned minor,
                              struct doctor_disk *disk)
{
    char path[PATH_MAX], device[PATH_MAX], queue[PATH_MAX + 8], text[128];
    disk->fua = disk->rotational = -1;
    disk->discard_max_bytes = disk->logical_block_bytes = -1;
    snprintf(path, sizeof path, "%s/dev/block/%u:%u", sys_root, major, minor);
    if (major == 0 || realpath(path, device) == NULL)
        return;
    snprintf(queue, sizeof queue, "%s/queue", device);
    if (access(queue, F_OK) != 0) { /* a partition: the queue is its disk's */
        *strrchr(device, '/') = '\0';
        snprintf(queue, sizeof queue, "%s/queue", device);
    }
    const char *name = strrchr(device, '/');
    snprintf(disk->device, sizeof disk->device, "%.63s", name != NULL ? name + 1 : device);
    read_queue(queue, "write_cache", disk->write_cache, sizeof disk->write_cache);
    disk->fua = (int)read_queue_number(queue, "fua");
    disk->rotational = (int)read_queue_number(queue, "rotational");
    disk->discard_max_bytes = read_queue_number(queue, "discard_max_bytes");
    disk->logical_block_bytes = read_queue_number(queue, "logical_block_size");
    read_queue(queue, "scheduler", text, sizeof text);
    doctor_parse_bracketed(text, disk->scheduler, sizeof disk->scheduler);
    if (disk->scheduler[0] == '\0') /* "none" stands alone where there is no choice */
        snprintf(disk->scheduler, sizeof disk->scheduler, "%.31s", text);
}

/* ---- what it does ---- */

/* Whether a direct read sees what a buffered write has left in the page cache. */
static bool reverse_is_coherent(int buffered_fd, int direct_fd, uint8_t *block)
{
    memset(block, 'C', DISK_ALIGN);
    if (pwrite(buffered_fd, block, DISK_ALIGN, 0) != DISK_ALIGN)
        return false;
    memset(block, 0, DISK_ALIGN);
    if (pread(direct_fd, block, DISK_ALIGN, 0) != DISK_ALIGN)
        return false;
    for (size_t i = 0; i < DISK_ALIGN; i++)
        if (block[i] != 'C')
            return false;
    return true;
}

static int compare_u64(const void *a, const void *b)
{
    uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
    return x < y ? -1 : x > y;
}

/* Each write goes behind the last one, as a volume's do, so that the file's size is part of what is
 * made durable. */
static uint64_t measure_sync(int direct_fd, const uint8_t *block)
{
    uint64_t took[SYNCS], until = clock_mono_ns(clock_system()) + SYNC_LIMIT_NS;
    size_t count = 0;
    while (count < SYNCS) {
        uint64_t began = clock_mono_ns(clock_system());
        if (began > until)
            break;
        if (pwrite(direct_fd, block, DISK_ALIGN, (off_t)((count + 1) * DISK_ALIGN)) != DISK_ALIGN ||
            fdatasync(direct_fd) < 0)
            return 0;
        took[count++] = clock_mono_ns(clock_system()) - began;
    }
    qsort(took, count, sizeof *took, compare_u64);
    return count > 0 ? took[count / 2] : 0;
}

static void ask_alignment(int fd, struct doctor_disk *disk)
{
#ifdef STATX_DIOALIGN
    struct statx status = {0};
    if (statx(fd, "", AT_EMPTY_PATH, STATX_DIOALIGN, &status) == 0 &&
        status.stx_mask & STATX_DIOALIGN) {
        disk->dio_memory_align = status.stx_dio_mem_align;
        disk->dio_offset_align = status.stx_dio_offset_align;
    }
#endif
}

static void try_scratch(struct doctor_disk *disk)
{
    char path[NODE_PATH_MAX + 32];
    snprintf(path, sizeof path, "%s/.sluice-doctor-XXXXXX", disk->dir);
    CLEANUP(fd_close) int buffered_fd = mkostemp(path, O_CLOEXEC);
    if (buffered_fd < 0) {
        disk->write_errno = errno;
        return;
    }
    CLEANUP(fd_close) int direct_fd = open(path, O_RDWR | O_DIRECT | O_CLOEXEC | O_NOFOLLOW);
    (void)unlink(path);
    CLEANUP(free) uint8_t *block = aligned_alloc(DISK_ALIGN, DISK_ALIGN);
    if (direct_fd < 0 || block == NULL)
        return;
    ask_alignment(direct_fd, disk);
    disk->is_reverse_tried = true;
    disk->is_reverse_seen = reverse_is_coherent(buffered_fd, direct_fd, block);
    disk->sync_median_ns = measure_sync(direct_fd, block);
}

static void probe(struct doctor_disk *disk)
{
    struct err_trail trail = {0};
    try_scratch(disk);
    if (disk->write_errno != 0)
        return;
    enum err e = disk_probe_dir(disk->dir, &disk->probe, &trail);
    disk->is_probed = e == ERR_OK;
    if (e)
        snprintf(disk->probe_error, sizeof disk->probe_error, "%s", err_trail_text(&trail, e));
}

/* ---- all of it ---- */

/* DIR, or the nearest directory above it that exists: a doctor is asked before there is a node. */
static int dir_find(struct doctor_disk *disk)
{
    char path[NODE_PATH_MAX], real[PATH_MAX];
    snprintf(path, sizeof path, "%s", disk->wanted);
    while (realpath(path, real) == NULL) {
        char *slash = strrchr(path, '/');
        if (errno != ENOENT)
            return errno;
        if (slash == NULL)
            strcpy(path, ".");
        else
            slash[slash == path] = '\0';
    }
    struct stat status;
    if (stat(real, &status) < 0)
        return errno;
    if (!S_ISDIR(status.st_mode))
        return ENOTDIR;
    snprintf(disk->dir, sizeof disk->dir, "%s", real);
    return 0;
}

void doctor_look_disk(const char *dir, struct doctor_disk *disk)
{
    *disk = (struct doctor_disk){
        .fua = -1, .rotational = -1, .discard_max_bytes = -1, .logical_block_bytes = -1};
    snprintf(disk->wanted, sizeof disk->wanted, "%s", dir);
    disk->dir_errno = dir_find(disk);
    if (disk->dir_errno != 0)
        return;
    CLEANUP(free) char *mountinfo = malloc(MOUNTINFO_BYTES_MAX);
    if (mountinfo != NULL &&
        doctor_read("/proc/self/mountinfo", mountinfo, MOUNTINFO_BYTES_MAX) == 0)
        (void)doctor_parse_mountinfo(bytes_of_string(mountinfo), disk->dir, disk);
    struct statvfs space;
    if (statvfs(disk->dir, &space) == 0) {
        disk->total_bytes = (uint64_t)space.f_blocks * space.f_frsize;
        disk->free_bytes = (uint64_t)space.f_bavail * space.f_frsize;
    }
    /* btrfs and its like show a device number of their own: then the mount's source is the disk. */
    struct stat status;
    dev_t device = 0;
    if (stat(disk->dir, &status) == 0)
        device = status.st_dev;
    if (major(device) == 0 && disk->source[0] == '/' && stat(disk->source, &status) == 0 &&
        S_ISBLK(status.st_mode))
        device = status.st_rdev;
    doctor_look_block_device("/sys", major(device), minor(device), disk);
    probe(disk);
}
