#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/statfs.h>
#include <unistd.h>

#include "base/check.h"
#include "base/cleanup.h"
#include "base/disk.h"

/*
 * What decides is behaviour, not a name: that a page handed to a pipe keeps its bytes while the
 * extent under it is written anew. sendfile hands pages to a socket in the same way, so a file
 * system that fails here would send an object's successor to its reader.
 *
 *     direct write A; splice a buffered page into a pipe; direct write B;
 *     the pipe must still say A, and the file B.
 */

#define PROBE_BYTES      DISK_ALIGN
#define PROBE_PATH_BYTES 4096

static const struct {
    uint32_t magic;
    const char *name;
} file_systems[] = {
    {0xEF53, "ext4"},         {0x58465342, "xfs"},      {0x9123683E, "btrfs"},
    {0x01021994, "tmpfs"},    {0x858458f6, "ramfs"},    {0x794c7630, "overlayfs"},
    {0x6969, "nfs"},          {0x65735546, "fuse"},     {0x2FC12FC1, "zfs"},
    {0xF2F52010, "f2fs"},     {0xca451a4e, "bcachefs"}, {0xff534d42, "cifs"},
    {0xfe534d42, "smb2"},     {0x01021997, "9p"},       {0x00c36400, "ceph"},
    {0x73717368, "squashfs"}, {0x5346544e, "ntfs"},     {0x4d44, "vfat"},
    {0x2011BAB0, "exfat"},    {0x47504653, "gpfs"},
};

static enum err name_file_system(const char *dir, struct disk_probe *probe)
{
    struct statfs status;
    if (statfs(dir, &status) < 0)
        return err_from_errno(errno);
    uint32_t magic = (uint32_t)status.f_type;
    snprintf(probe->file_system, sizeof probe->file_system, "0x%x", magic);
    for (size_t i = 0; i < COUNT_OF(file_systems); i++)
        if (file_systems[i].magic == magic)
            snprintf(probe->file_system, sizeof probe->file_system, "%s", file_systems[i].name);
    return ERR_OK;
}

/* Memory, offset and size of a direct transfer are multiples of this; kernels before 6.1 do not
 * tell. */
static uint32_t ask_alignment(int fd)
{
    uint32_t align = DISK_ALIGN;
#ifdef STATX_DIOALIGN
    struct statx status = {0};
    if (statx(fd, "", AT_EMPTY_PATH, STATX_DIOALIGN, &status) == 0 &&
        status.stx_mask & STATX_DIOALIGN && status.stx_dio_offset_align > 0)
        align = status.stx_dio_mem_align > status.stx_dio_offset_align
                    ? status.stx_dio_mem_align
                    : status.stx_dio_offset_align;
#endif
    return align;
}

static bool is_filled_with(const uint8_t *data, uint8_t value)
{
    for (size_t i = 0; i < PROBE_BYTES; i++)
        if (data[i] != value)
            return false;
    return true;
}

static enum err whole(ssize_t moved)
{
    if (moved < 0)
        return err_from_errno(errno);
    return moved == (ssize_t)PROBE_BYTES ? ERR_OK : ERR_IO;
}

static enum err write_block(int fd, uint8_t *block, uint8_t value)
{
    memset(block, value, PROBE_BYTES);
    ssize_t put = pwrite(fd, block, PROBE_BYTES, 0);
    /* Some file systems open with O_DIRECT and refuse here. */
    return put < 0 && errno == EINVAL ? ERR_NO_DIRECT_IO : whole(put);
}

/* Empties the pipe into `block`; what a splice put there are whole pages, but a read may give them
 * in pieces. */
static enum err read_pipe(int fd, uint8_t *block)
{
    for (size_t moved = 0; moved < PROBE_BYTES;) {
        ssize_t got = read(fd, block + moved, PROBE_BYTES - moved);
        if (got <= 0)
            return got < 0 ? err_from_errno(errno) : ERR_IO;
        moved += (size_t)got;
    }
    return ERR_OK;
}

static enum err judge(struct disk_probe *probe, enum disk_direct direct, const char *reason)
{
    probe->direct = direct;
    snprintf(probe->reason, sizeof probe->reason, "%s %s", probe->file_system, reason);
    return ERR_OK;
}

static enum err splice_into(int pipe_fd, int file_fd)
{
    off_t offset = 0;
    /* Non-blocking is the pipe's; the file's page is in the cache or read. A page always fits into
     * an empty pipe. */
    return whole(splice(file_fd, &offset, pipe_fd, NULL, PROBE_BYTES, 0));
}

static enum err probe_behaviour(int direct_fd, int buffered_fd, uint8_t *block,
                                struct disk_probe *probe)
{
    CLEANUP(fd_close) int pipe_out = -1;
    CLEANUP(fd_close) int pipe_in = -1;
    int pipe_fds[2];
    if (pipe2(pipe_fds, O_CLOEXEC | O_NONBLOCK) < 0)
        return err_from_errno(errno);
    pipe_out = pipe_fds[0], pipe_in = pipe_fds[1];

    enum err e = write_block(direct_fd, block, 'A');
    if (e == ERR_OK)
        e = splice_into(pipe_in, buffered_fd);
    if (e == ERR_OK)
        e = write_block(direct_fd, block, 'B');
    if (e == ERR_NO_DIRECT_IO)
        return judge(probe, DISK_DIRECT_REFUSED,
                     "opens with O_DIRECT but refuses to write: use XFS or ext4");
    if (e == ERR_OK)
        e = read_pipe(pipe_out, block);
    if (e)
        return e;
    if (!is_filled_with(block, 'A'))
        return judge(probe, DISK_DIRECT_PRETENDED,
                     "changes pages under their readers: its O_DIRECT is the page cache");

    memset(block, 0, PROBE_BYTES);
    e = whole(pread(buffered_fd, block, PROBE_BYTES, 0));
    if (e)
        return e;
    if (!is_filled_with(block, 'B'))
        return judge(probe, DISK_DIRECT_PRETENDED,
                     "shows old pages after a direct write: the page cache is not kept coherent");
    return judge(probe, DISK_DIRECT_REAL,
                 "does Direct I/O and drops cached pages without changing them");
}

static enum err probe_file(const char *path, int buffered_fd, struct disk_probe *probe)
{
    CLEANUP(fd_close) int direct_fd = open(path, O_RDWR | O_DIRECT | O_CLOEXEC | O_NOFOLLOW);
    if (direct_fd < 0 && errno == EINVAL)
        return judge(probe, DISK_DIRECT_REFUSED, "refuses O_DIRECT: use XFS or ext4");
    if (direct_fd < 0)
        return err_from_errno(errno);
    probe->align_bytes = ask_alignment(direct_fd);

    uint8_t *block =
        mmap(NULL, PROBE_BYTES, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (block == MAP_FAILED)
        return ERR_NO_MEMORY;
    enum err e = probe_behaviour(direct_fd, buffered_fd, block, probe);
    CHECK(munmap(block, PROBE_BYTES) == 0);
    return e;
}

enum err disk_probe_dir(const char *dir, struct disk_probe *ret_probe, struct err_trail *trail)
{
    struct disk_probe probe = {.align_bytes = DISK_ALIGN};
    enum err e = name_file_system(dir, &probe);
    if (e)
        return err_note(trail, e, "probe %s", dir);

    char path[PROBE_PATH_BYTES];
    int length = snprintf(path, sizeof path, "%s/.sluice-probe-XXXXXX", dir);
    if (length < 0 || (size_t)length >= sizeof path)
        return err_note(trail, ERR_TOO_LARGE, "probe %s", dir);
    CLEANUP(fd_close) int fd = mkostemp(path, O_CLOEXEC);
    if (fd < 0)
        return err_note(trail, err_from_errno(errno), "make a scratch file in %s", dir);
    e = probe_file(path, fd, &probe);
    if (unlink(path) < 0 && e == ERR_OK)
        e = err_from_errno(errno);
    if (e)
        return err_note(trail, e, "probe Direct I/O in %s (%s)", dir, probe.file_system);
    *ret_probe = probe;
    return ERR_OK;
}
