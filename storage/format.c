/*
 * Making a volume. The superblock is written last and synced, so a format that did not reach its
 * end has left no volume: a directory with at most an empty meta/, an empty seg/ and a superblock
 * without a valid slot. Such a rest counts as empty, formatting again completes it.
 */
#include <stdio.h>

#include "base/check.h"
#include "storage/volume_priv.h"

struct findings {
    const char *dir;
    struct disk *disk;
    bool has_superblock, has_meta, has_seg, has_other;
    char other[64];
};

static enum err see_entry(void *context, const char *name)
{
    struct findings *found = context;
    if (strcmp(name, "superblock") == 0)
        found->has_superblock = true;
    else if (strcmp(name, "meta") == 0)
        found->has_meta = true;
    else if (strcmp(name, "seg") == 0)
        found->has_seg = true;
    else if (strcmp(name, "lost+found") != 0) {
        found->has_other = true;
        snprintf(found->other, sizeof found->other, "%s", name);
    }
    return ERR_OK;
}

static enum err refuse_any(void *context, const char *name)
{
    return ERR_FILE_EXISTS;
}

static void path_in(const char *dir, const char *name, char out[SEGMENT_PATH_BYTES_MAX])
{
    snprintf(out, SEGMENT_PATH_BYTES_MAX, "%s/%s", dir, name);
}

static enum err judge_subdir(struct disk *disk, const char *dir, const char *name,
                             struct err_trail *trail)
{
    char path[SEGMENT_PATH_BYTES_MAX];
    path_in(dir, name, path);
    enum err e = disk->ops->list(disk, path, refuse_any, NULL);
    if (e == ERR_FILE_EXISTS)
        return err_say(trail, e, "%s is not empty: %s holds files", dir, path);
    return e ? err_note(trail, e, "look into %s", path) : ERR_OK;
}

static enum err judge_superblock(struct disk *disk, const char *dir, struct err_trail *trail)
{
    char path[SEGMENT_PATH_BYTES_MAX];
    struct superblock superblock;
    struct disk_file *file;
    struct err_trail ignored = {0};
    path_in(dir, "superblock", path);
    enum err e = disk->ops->open(disk, path, DISK_READ, &file);
    if (e)
        return err_note(trail, e, "open %s", path);
    e = superblock_read(file, &superblock, &ignored);
    disk->ops->close(file);
    if (e == ERR_OK || e == ERR_FORMAT_NEWER)
        return err_say(trail, ERR_FILE_EXISTS, "%s is a Sluice volume already", dir);
    /* Without a valid slot, and nothing in meta/ and seg/, it is the rest of a format. */
    return e == ERR_NOT_VOLUME || e == ERR_CORRUPT ? ERR_OK : err_note(trail, e, "read %s", path);
}

/* Nothing there that anybody could miss. */
static enum err judge_dir(struct disk *disk, const char *dir, struct findings *found,
                          struct err_trail *trail)
{
    enum err e = disk->ops->list(disk, dir, see_entry, found);
    if (e == ERR_NO_SUCH_FILE) {
        e = disk->ops->make_dir(disk, dir);
        return e ? err_note(trail, e, "make the directory %s", dir) : ERR_OK;
    }
    if (e)
        return err_note(trail, e, "look into %s", dir);
    if (found->has_superblock)
        e = judge_superblock(disk, dir, trail);
    if (e == ERR_OK && found->has_other)
        e = err_say(trail, ERR_FILE_EXISTS, "%s is not empty: it holds %s", dir, found->other);
    if (e == ERR_OK && found->has_meta)
        e = judge_subdir(disk, dir, "meta", trail);
    if (e == ERR_OK && found->has_seg)
        e = judge_subdir(disk, dir, "seg", trail);
    return e;
}

static enum err choose_segment_bytes(const struct volume_format_options *options, struct disk *disk,
                                     uint64_t *ret_bytes, struct err_trail *trail)
{
    struct disk_space space;
    enum err e = disk->ops->space(disk, options->dir, &space);
    if (e)
        return err_note(trail, e, "ask how big the disk of %s is", options->dir);
    uint64_t bytes =
        options->segment_bytes ? options->segment_bytes : space_segment_bytes(space.total_bytes);
    if (bytes < SEGMENT_BYTES_MIN || bytes > SEGMENT_BYTES_MAX || (bytes & (bytes - 1)) != 0)
        return err_say(trail, ERR_INVALID,
                       "segments have 1 MiB to 16 GiB, a power of two, not %llu bytes",
                       (unsigned long long)bytes);
    struct space_view view = {.disk_total_bytes = space.total_bytes,
                              .disk_free_bytes = space.free_bytes,
                              .segment_bytes = bytes};
    if (space_growable(&view) == 0)
        return err_say(
            trail, ERR_DISK_FULL,
            "%llu MiB free of %llu MiB are too little for a volume with segments of %llu MiB",
            (unsigned long long)(space.free_bytes >> 20),
            (unsigned long long)(space.total_bytes >> 20), (unsigned long long)(bytes >> 20));
    *ret_bytes = bytes;
    return ERR_OK;
}

static enum err make_subdir(struct disk *disk, const char *dir, const char *name)
{
    char path[SEGMENT_PATH_BYTES_MAX];
    path_in(dir, name, path);
    enum err e = disk->ops->make_dir(disk, path);
    return e == ERR_FILE_EXISTS ? ERR_OK : e;
}

static enum err sync_parent(struct disk *disk, const char *dir)
{
    char parent[256];
    snprintf(parent, sizeof parent, "%s", dir);
    size_t size = strlen(parent);
    while (size > 1 && parent[size - 1] == '/')
        parent[--size] = '\0';
    char *slash = strrchr(parent, '/');
    if (slash == NULL)
        return disk->ops->sync_dir(disk, disk == disk_real() ? "." : "");
    slash[slash == parent ? 1 : 0] = '\0';
    return disk->ops->sync_dir(disk, parent);
}

static enum err write_superblock(struct disk *disk, const char *dir, struct superblock *superblock,
                                 struct err_trail *trail)
{
    static const uint8_t zeros[SUPERBLOCK_BYTES];
    char path[SEGMENT_PATH_BYTES_MAX];
    struct disk_file *file;
    path_in(dir, "superblock", path);
    enum err e = disk->ops->open(disk, path, DISK_WRITE | DISK_CREATE, &file);
    if (e == ERR_FILE_EXISTS)
        e = disk->ops->open(disk, path, DISK_WRITE, &file);
    if (e)
        return err_note(trail, e, "make %s", path);
    e = disk->ops->lock(file); /* a second format of the same directory at the same time */
    if (e == ERR_OK)
        e = disk->ops->pwrite(file, zeros, sizeof zeros, 0);
    if (e == ERR_OK)
        e = disk->ops->sync(file);
    /* The name first: a valid superblock is never without it. */
    if (e == ERR_OK)
        e = disk->ops->sync_dir(disk, dir);
    if (e == ERR_OK)
        e = superblock_write(file, superblock, trail);
    disk->ops->close(file);
    return e ? err_note(trail, e, "write %s", path) : ERR_OK;
}

enum err volume_format(const struct volume_format_options *options, struct err_trail *trail)
{
    struct disk *disk = options->disk ? options->disk : disk_real();
    struct clock *clock = options->clock ? options->clock : clock_system();
    struct rand *rand = options->rand ? options->rand : rand_system();
    const char *dir = options->dir;
    struct findings found = {.dir = dir, .disk = disk};
    struct disk_probe probe;
    struct superblock superblock = {.format_major = FORMAT_MAJOR,
                                    .format_minor = FORMAT_MINOR,
                                    .unit_bytes = UNIT_BYTES,
                                    .sum_chunk_bytes = SUM_CHUNK_BYTES,
                                    .created_ns = clock_real_ns(clock),
                                    .state = SUPERBLOCK_CLEAN};
    if (dir == NULL || dir[0] == '\0' || strlen(dir) >= VOLUME_DIR_BYTES)
        return err_say(trail, ERR_INVALID, "a volume's directory has 1 to %u bytes",
                       VOLUME_DIR_BYTES - 1);
    enum err e = judge_dir(disk, dir, &found, trail);
    if (e == ERR_OK)
        e = volume__judge_direct(dir, disk, options->direct, &probe, trail);
    if (e == ERR_OK)
        e = choose_segment_bytes(options, disk, &superblock.segment_bytes, trail);
    if (e)
        return err_note(trail, e, "format %s", dir);
    rand_fill(rand, superblock.uuid, sizeof superblock.uuid);
    e = make_subdir(disk, dir, "meta");
    if (e == ERR_OK)
        e = make_subdir(disk, dir, "seg");
    if (e == ERR_OK)
        e = disk->ops->sync_dir(disk, dir);
    if (e == ERR_OK)
        e = sync_parent(disk, dir);
    if (e == ERR_OK)
        e = write_superblock(disk, dir, &superblock, trail);
    return e ? err_note(trail, e, "format %s", dir) : ERR_OK;
}
