/* The outside of the check: superblock and segments against the index, and the order of the phases.
 */
#include "storage/fsck_priv.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include "storage/copy_priv.h"
#include "storage/keys.h"
#include "storage/segment.h"
#include "storage/superblock.h"

#define FINDINGS_MAX_DEFAULT 1000u
#define PROGRESS_EVERY_NS    (NS_PER_SECOND / 4)

static const struct {
    const char *name, *text;
} classes[FSCK_CLASS_COUNT] = {
#define X(name, text) [FSCK_##name] = {#name, text},
    FSCK_CLASSES(X)
#undef X
};

const char *fsck_class_name(enum fsck_class class)
{
    CHECK((unsigned)class < FSCK_CLASS_COUNT);
    return classes[class].name;
}

const char *fsck_class_text(enum fsck_class class)
{
    CHECK((unsigned)class < FSCK_CLASS_COUNT);
    return classes[class].text;
}

/* ---- telling ---- */

void fsck__find(struct fsck *fsck, enum fsck_class class, const char *format, ...)
{
    uint64_t max =
        fsck->options->findings_max > 0 ? fsck->options->findings_max : FINDINGS_MAX_DEFAULT;
    fsck->counts.findings[class]++;
    if (++fsck->counts.findings_total > max || fsck->options->finding == NULL)
        return;
    char text[320];
    va_list args;
    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    fsck->options->finding(fsck->options->context, class, text);
}

void fsck__progress(struct fsck *fsck, const char *phase, uint64_t done, uint64_t total)
{
    if (fsck->options->progress == NULL)
        return;
    uint64_t now_ns = clock_mono_ns(clock_system());
    if (now_ns - fsck->told_ns < PROGRESS_EVERY_NS)
        return;
    fsck->told_ns = now_ns;
    fsck->options->progress(fsck->options->context,
                            &(struct fsck_progress){.phase = phase, .done = done, .total = total});
}

/* ---- walking ---- */

#define PROGRESS_EVERY_RECORDS 1024u

enum err fsck__walk(struct fsck *fsck, enum kv_family family, struct bytes prefix,
                    const char *phase, fsck_each_fn *each)
{
    struct kv_key upper = {.size = (uint16_t)prefix.size};
    if (prefix.size > 0) {
        memcpy(upper.data, prefix.data, prefix.size);
        key_successor(&upper);
    }
    const struct kv_ops *ops = fsck->kv->ops;
    struct kv_iter *iter;
    enum err e = ops->iter_open(
        fsck->kv,
        &(struct kv_iter_options){
            .family = family, .lower = prefix, .upper = key_bytes(&upper), .scan = true},
        &iter);
    if (e)
        return err_note(fsck->trail, e, "walk the index's %s records", kv_family_names[family]);
    uint64_t done = 0;
    for (ops->iter_seek(iter, prefix); !e && ops->iter_valid(iter); ops->iter_next(iter)) {
        e = each(fsck, ops->iter_key(iter), ops->iter_value(iter));
        fsck->counts.records[family]++;
        if (++done % PROGRESS_EVERY_RECORDS == 0)
            fsck__progress(fsck, phase, done, 0);
    }
    if (!e)
        e = ops->iter_err(iter);
    ops->iter_close(iter);
    return e ? err_note(fsck->trail, e, "walk the index's %s records", kv_family_names[family])
             : ERR_OK;
}

/* ---- segments ---- */

static int compare_segments(const void *a, const void *b)
{
    uint32_t x = ((const struct segment_entry *)a)->number,
             y = ((const struct segment_entry *)b)->number;
    return x < y ? -1 : x > y;
}

static struct segment_entry *find_segment(const struct fsck *fsck, uint32_t number)
{
    struct segment_entry wanted = {.number = number};
    return fsck->segment_count == 0 ? NULL
                                    : bsearch(&wanted, fsck->segments, fsck->segment_count,
                                              sizeof wanted, compare_segments);
}

bool fsck__has_segment(const struct fsck *fsck, uint32_t number)
{
    return find_segment(fsck, number) != NULL;
}

static enum err note_segment(struct fsck *fsck, struct bytes key, struct bytes value)
{
    (void)value;
    uint32_t number;
    if (key_segment_parse(key, &number)) {
        fsck__find(fsck, FSCK_RECORD, "a segment's record has a malformed key");
        return ERR_OK;
    }
    struct segment_entry *grown =
        realloc(fsck->segments, (fsck->segment_count + 1) * sizeof *grown);
    if (grown == NULL)
        return ERR_NO_MEMORY;
    fsck->segments = grown;
    fsck->segments[fsck->segment_count++] = (struct segment_entry){.number = number};
    fsck->counts.segments++;
    return ERR_OK;
}

static void check_segment_size(struct fsck *fsck, uint32_t number)
{
    char path[SEGMENT_PATH_BYTES_MAX];
    segment_path(fsck->options->dir, number, path);
    struct disk_file *file;
    if (fsck->disk->ops->open(fsck->disk, path, DISK_READ, &file)) {
        fsck__find(fsck, FSCK_UNREADABLE, "segment %08x cannot be opened", number);
        return;
    }
    uint64_t size;
    if (file->disk->ops->size(file, &size) || size != fsck->segment_bytes)
        fsck__find(fsck, FSCK_SEGMENT_SIZE, "segment %08x: not %" PRIu64 " bytes long", number,
                   fsck->segment_bytes);
    file->disk->ops->close(file);
}

static enum err see_segment_file(void *context, const char *name)
{
    struct fsck *fsck = context;
    uint32_t number;
    if (!segment_name_parse(name, &number)) {
        fsck__find(fsck, FSCK_SEGMENT_UNKNOWN, "seg/%s is no segment's name", name);
        return ERR_OK;
    }
    struct segment_entry *entry = find_segment(fsck, number);
    if (entry == NULL) {
        fsck->counts.segments_unrecorded++;
        return ERR_OK;
    }
    entry->on_disk = true;
    check_segment_size(fsck, number);
    return ERR_OK;
}

static enum err check_segments(struct fsck *fsck)
{
    enum err e = fsck__walk(fsck, KV_SYS, KEY_SEGMENT_PREFIX, "segments", note_segment);
    if (e)
        return e;
    if (fsck->segment_count > 0)
        qsort(fsck->segments, fsck->segment_count, sizeof *fsck->segments, compare_segments);
    char dir[SEGMENT_PATH_BYTES_MAX];
    snprintf(dir, sizeof dir, "%s/seg", fsck->options->dir);
    e = fsck->disk->ops->list(fsck->disk, dir, see_segment_file, fsck);
    if (e)
        return err_note(fsck->trail, e, "list %s", dir);
    for (size_t i = 0; i < fsck->segment_count; i++)
        if (!fsck->segments[i].on_disk)
            fsck__find(fsck, FSCK_SEGMENT_MISSING, "segment %08x has no file",
                       fsck->segments[i].number);
    return ERR_OK;
}

/* ---- the superblock ---- */

static enum err read_superblock(struct fsck *fsck, struct superblock *ret_superblock)
{
    char path[SEGMENT_PATH_BYTES_MAX];
    snprintf(path, sizeof path, "%s/superblock", fsck->options->dir);
    enum err e = fsck->disk->ops->open(fsck->disk, path, DISK_READ, &fsck->superblock_file);
    if (e)
        return err_note(fsck->trail, e == ERR_NO_SUCH_FILE ? ERR_NOT_VOLUME : e, "open %s", path);
    /* Held to the end: nobody starts on it meanwhile. */
    e = fsck->disk->ops->lock(fsck->superblock_file);
    if (e)
        return err_note(fsck->trail, e, "%s: stop the node first, fsck wants the volume for itself",
                        fsck->options->dir);
    return superblock_read(fsck->superblock_file, ret_superblock, fsck->trail);
}

/* The index must be this volume's, and hold every commit that the superblock has seen in it. */
static void check_identity(struct fsck *fsck, const struct superblock *superblock)
{
    struct kv_value value;
    if (fsck->kv->ops->get(fsck->kv, KV_SYS, KEY_SYS_UUID, KV_ANY, &value)) {
        fsck__find(fsck, FSCK_SUPERBLOCK, "the index does not say whose it is");
    } else {
        if (!bytes_equal(value.bytes, bytes_of(superblock->uuid, sizeof superblock->uuid)))
            fsck__find(fsck, FSCK_SUPERBLOCK, "the index belongs to another volume");
        fsck->kv->ops->value_put(&value);
    }
    uint64_t commit_seq = 0;
    if (fsck->kv->ops->get(fsck->kv, KV_SYS, KEY_SYS_COMMIT_SEQ, KV_ANY, &value) == ERR_OK) {
        if (value.bytes.size == sizeof commit_seq)
            commit_seq = get_le64(value.bytes.data);
        fsck->kv->ops->value_put(&value);
    }
    if (commit_seq < superblock->durable_commit_seq)
        fsck__find(fsck, FSCK_SUPERBLOCK,
                   "the index ends at commit %" PRIu64 ", the superblock saw %" PRIu64
                   ": acknowledged changes are lost",
                   commit_seq, superblock->durable_commit_seq);
}

/* ---- the whole check ---- */

static enum err open_index(struct fsck *fsck, const struct superblock *superblock,
                           struct kv **ret_owned)
{
    *ret_owned = NULL;
    fsck->kv = fsck->options->kv;
    if (fsck->kv != NULL)
        return ERR_OK;
    char path[SEGMENT_PATH_BYTES_MAX];
    snprintf(path, sizeof path, "%s/meta", fsck->options->dir);
    enum err e =
        kv_rocks_open(&(struct kv_rocks_options){.path = path,
                                                 .cache_bytes = MIB(64),
                                                 .memtable_bytes = MIB(8),
                                                 .read_only = true,
                                                 .has_log = (superblock->features_read_only &
                                                             FEATURE_READ_ONLY_LOG) != 0},
                      ret_owned, fsck->trail);
    fsck->kv = *ret_owned;
    return e;
}

static void check_copy(struct fsck *fsck)
{
    struct kv_value value;
    struct copy_mark mark;
    if (fsck->kv->ops->get(fsck->kv, KV_SYS, KEY_SYS_COPY, KV_ANY, &value))
        return;
    if (copy__mark_get(value.bytes, &mark))
        fsck__find(fsck, FSCK_RECORD, "how far the volume is copied does not decode");
    else
        fsck->counts.is_half_copied = mark.phase == COPY_ROWS;
    fsck->kv->ops->value_put(&value);
}

static enum err run_phases(struct fsck *fsck, const struct superblock *superblock)
{
    check_copy(fsck);
    check_identity(fsck, superblock);
    enum err e = check_segments(fsck);
    if (!e)
        e = fsck__index(fsck);
    if (!e && fsck->options->data)
        e = fsck__data(fsck);
    return e;
}

static void fsck_fini(struct fsck *fsck, struct kv *owned)
{
    if (fsck->pass.is_open)
        fsck->pass.file->disk->ops->close(fsck->pass.file);
    if (fsck->superblock_file != NULL)
        fsck->disk->ops->close(fsck->superblock_file);
    free(fsck->pass.memory);
    free(fsck->uploads.ids);
    free(fsck->segments);
    tally_fini(&fsck->data);
    tally_fini(&fsck->manifests);
    tally_fini(&fsck->buckets);
    if (owned != NULL)
        owned->ops->close(owned);
}

enum err volume_fsck(const struct fsck_options *options, struct fsck_counts *ret_counts,
                     struct err_trail *trail)
{
    struct fsck fsck = {
        .options = options,
        .disk = options->disk != NULL ? options->disk : disk_real(),
        .first_unit = SEGMENT_HEADER_UNITS,
        .trail = trail,
    };
    struct superblock superblock;
    struct kv *owned = NULL;
    enum err e = read_superblock(&fsck, &superblock);
    if (!e) {
        fsck.segment_bytes = superblock.segment_bytes;
        e = open_index(&fsck, &superblock, &owned);
    }
    if (!e)
        e = run_phases(&fsck, &superblock);
    fsck_fini(&fsck, owned);
    if (e)
        return e;
    *ret_counts = fsck.counts;
    return ERR_OK;
}
