/*
 * The index on RocksDB, the only file that knows it. Written against the C API of 7.8.3 (Debian
 * 12); newer ones keep these calls.
 *
 * Why the settings are as they are:
 *  - One block cache for all families, holding index and filter blocks too, so cache_bytes bounds
 *    what reading may keep.
 *  - db_write_buffer_size bounds the memtables of all families together. A family's log cannot go
 *    before its memtable is flushed, so max_total_wal_size is tied to the same budget: logs and
 *    tables of a small disk stay small.
 *  - Point-in-time recovery: a torn tail of the log is what an unacknowledged batch looks like.
 *    That nothing acknowledged was lost is checked above, by the commit sequence.
 *  - Bloom filters on whole keys for families read by point; none for those only walked.
 *  - The families deleted from in order of their keys (extents, parts, uploads, gc) are walked
 *    with an upper bound always set, so an iterator never runs over the tombstones of a
 *    neighbour.
 *  - Buffered table files: the volume may sit on a file system without Direct I/O, and tables are
 *    small beside object data.
 *  - Nothing is written to the information log. It lies beside the tables, so a full disk makes
 *    writing it fail, and Debian's build asserts at the next line of it: the node would die of a
 *    full disk. What matters comes back as the status of a call, and goes into the trail.
 *
 * After a failed write the write-ahead log's state is unknown and Debian's build asserts when it
 * is flushed: nothing is written or flushed any more, and close is only a close. ENOSPC is the
 * exception: RocksDB recovers from it by itself when space comes back.
 */
#include "base/log.h"
#include "storage/kv.h"

#include <rocksdb/c.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>

#include "base/check.h"
#include "base/limits.h"

#define ROCKS_MAGIC 0x726f636bu
#define ITER_MAGIC  0x726f6974u

#define MEMTABLE_BYTES_MIN    MIB(1)
#define CACHE_BYTES_MIN       MIB(1)
#define BLOB_BYTES_MIN        KIB(1)
#define SCAN_READAHEAD_BYTES  MIB(2)
#define RECOVER_POINT_IN_TIME 2
#define CHECKSUM_XXH3         4
#define FORMAT_VERSION        5
#define READ_BLOCK_CACHE_TIER 1
/* A listing with a delimiter seeks a thousand times in each of them. */
#define L0_FILES_OF_OBJECTS 2
#define LOG_FATAL_ALONE     4 /* and RocksDB has no message of that level */

const char *const kv_family_names[KV_FAMILY_COUNT] = {
    [KV_SYS] = "default",   [KV_BUCKET] = "bucket",
    [KV_OBJECT] = "object", [KV_MANIFEST] = "manifest",
    [KV_DATA] = "data",     [KV_EXTENT] = "extent",
    [KV_INLINE] = "inline", [KV_UPLOAD] = "upload",
    [KV_PART] = "part",     [KV_GC] = "gc",
    [KV_LOG] = "log",
};
_Static_assert(KV_LOG + 1 == KV_FAMILY_COUNT,
               "the families of a volume without a log are the rest");

static const struct family_plan {
    bool filter; /* read by point: a filter saves a table's read for an absent key */
    uint16_t block_kib;
} family_plans[KV_FAMILY_COUNT] = {
    [KV_SYS] = {true, 4},       [KV_BUCKET] = {true, 4}, [KV_OBJECT] = {true, 8},
    [KV_MANIFEST] = {true, 16}, [KV_DATA] = {true, 4},   [KV_EXTENT] = {false, 16},
    [KV_INLINE] = {true, 4},    [KV_UPLOAD] = {true, 4}, [KV_PART] = {true, 4},
    [KV_GC] = {false, 4},       [KV_LOG] = {false, 16},
};

struct rocks {
    struct kv kv;
    uint32_t magic;
    bool failed; /* the committer's: a write failed and nothing may be written any more */
    rocksdb_t *db;
    rocksdb_column_family_handle_t *families[KV_FAMILY_COUNT];
    unsigned family_count;      /* without KV_LOG one less */
    rocksdb_options_t *options; /* the database's */
    rocksdb_options_t *family_options[KV_FAMILY_COUNT];
    rocksdb_cache_t *cache;
    rocksdb_readoptions_t *read_any, *read_memory;
    rocksdb_writeoptions_t *write_sync, *write_lazy;
    rocksdb_writebatch_t *batch; /* the committer's, kept for its memory */
};

struct kv_snapshot {
    const rocksdb_snapshot_t *snapshot;
};

struct kv_iter {
    uint32_t magic;
    rocksdb_iterator_t *iter;
    rocksdb_readoptions_t *options;
};

static struct rocks *to_rocks(struct kv *kv)
{
    struct rocks *rocks = (struct rocks *)kv;
    CHECK_MAGIC(rocks, ROCKS_MAGIC);
    return rocks;
}

/* ---- errors: RocksDB tells them as sentences ---- */

static enum err translate(const char *message)
{
    static const struct {
        const char *part;
        enum err e;
    } table[] = {
        {"Result incomplete", ERR_WOULD_BLOCK},
        {"No space left", ERR_DISK_FULL},
        {"Disk quota exceeded", ERR_DISK_FULL},
        {"NoSpace", ERR_DISK_FULL},
        {"Corruption", ERR_CORRUPT},
        {"hile lock file",
         ERR_IN_USE}, /* "While lock file: ..."; held by this or another process */
        {"lock hold by", ERR_IN_USE},
        {"does not exist", ERR_NO_SUCH_FILE},
        {"No such file", ERR_NO_SUCH_FILE},
        {"Permission denied", ERR_DENIED},
        {"Read-only file system", ERR_READ_ONLY},
        {"Cannot allocate memory", ERR_NO_MEMORY},
    };
    for (size_t i = 0; i < COUNT_OF(table); i++)
        if (strstr(message, table[i].part) != NULL)
            return table[i].e;
    return ERR_IO;
}

/* ERR_OK when there is no message; otherwise frees it. */
static enum err judge(char *message, struct err_trail *trail, const char *what)
{
    if (message == NULL)
        return ERR_OK;
    enum err e = translate(message);
    if (trail != NULL)
        (void)err_note(trail, e, "%s: %.150s", what, message);
    rocksdb_free(message);
    return e;
}

/* ---- options ---- */

static uint64_t clamp(uint64_t value, uint64_t low, uint64_t high)
{
    return value < low ? low : value > high ? high : value;
}

static int open_files_max(void)
{
    struct rlimit limit;
    if (getrlimit(RLIMIT_NOFILE, &limit) != 0)
        return 256;
    /* A quarter: sockets and segments need the rest. */
    return (int)clamp(limit.rlim_cur / 4, 64, 4096);
}

static void set_database_options(rocksdb_options_t *options, const struct kv_rocks_options *wanted,
                                 uint64_t memtable_bytes)
{
    rocksdb_options_set_create_if_missing(options, wanted->create);
    rocksdb_options_set_create_missing_column_families(options, !wanted->read_only);
    rocksdb_options_set_paranoid_checks(options, 1);
    rocksdb_options_set_wal_recovery_mode(options, RECOVER_POINT_IN_TIME);
    rocksdb_options_set_db_write_buffer_size(options, memtable_bytes);
    rocksdb_options_set_max_total_wal_size(options, memtable_bytes * 2);
    rocksdb_options_set_max_open_files(options, open_files_max());
    rocksdb_options_set_max_background_jobs(options, 2);
    rocksdb_options_set_bytes_per_sync(options, MIB(1));
    rocksdb_options_set_wal_bytes_per_sync(options, 0); /* the committer syncs */
    rocksdb_options_set_manifest_preallocation_size(options, KIB(64));
    rocksdb_options_set_info_log_level(options, LOG_FATAL_ALONE);
    rocksdb_options_set_keep_log_file_num(options, 1);
    rocksdb_options_set_stats_dump_period_sec(options, 0);
    rocksdb_options_set_stats_persist_period_sec(options, 0);
    rocksdb_options_set_avoid_unnecessary_blocking_io(options, 1);
}

/* Takes nothing over: RocksDB copies the table options and shares the cache. */
static void set_table_options(rocksdb_options_t *options, const struct family_plan *plan,
                              rocksdb_cache_t *cache)
{
    rocksdb_block_based_table_options_t *table = rocksdb_block_based_options_create();
    rocksdb_block_based_options_set_block_size(table, (size_t)plan->block_kib * 1024);
    rocksdb_block_based_options_set_block_cache(table, cache);
    rocksdb_block_based_options_set_format_version(table, FORMAT_VERSION);
    rocksdb_block_based_options_set_checksum(table, CHECKSUM_XXH3);
    rocksdb_block_based_options_set_cache_index_and_filter_blocks(table, 1);
    rocksdb_block_based_options_set_cache_index_and_filter_blocks_with_high_priority(table, 1);
    rocksdb_block_based_options_set_pin_l0_filter_and_index_blocks_in_cache(table, 1);
    if (plan->filter) {
        rocksdb_block_based_options_set_filter_policy(
            table, rocksdb_filterpolicy_create_bloom_full(10)); /* takes it */
        rocksdb_block_based_options_set_whole_key_filtering(table, 1);
    }
    rocksdb_options_set_block_based_table_factory(options, table);
    rocksdb_block_based_options_destroy(table);
}

static void set_family_options(rocksdb_options_t *options, enum kv_family family,
                               uint64_t memtable_bytes, rocksdb_cache_t *cache, int compression)
{
    uint64_t file_bytes = clamp(memtable_bytes / 2, MIB(1), MIB(64));
    rocksdb_options_set_write_buffer_size(options,
                                          (size_t)clamp(memtable_bytes / 4, KIB(256), MIB(64)));
    rocksdb_options_set_max_write_buffer_number(options, 3);
    rocksdb_options_set_target_file_size_base(options, file_bytes);
    rocksdb_options_set_max_bytes_for_level_base(options, file_bytes * 4);
    rocksdb_options_set_level_compaction_dynamic_level_bytes(options, 1);
    rocksdb_options_set_compression(options, compression);
    set_table_options(options, &family_plans[family], cache);
    if (family == KV_OBJECT)
        rocksdb_options_set_level0_file_num_compaction_trigger(options, L0_FILES_OF_OBJECTS);
    if (family == KV_INLINE) {
        rocksdb_options_set_enable_blob_files(options, 1);
        rocksdb_options_set_min_blob_size(options, BLOB_BYTES_MIN);
        rocksdb_options_set_blob_file_size(options, clamp(memtable_bytes * 2, MIB(2), MIB(256)));
        rocksdb_options_set_enable_blob_gc(options, 1);
        rocksdb_options_set_blob_gc_age_cutoff(options, 0.5);
        /* Old files half full of garbage are rewritten even without other work. */
        rocksdb_options_set_blob_gc_force_threshold(options, 0.5);
        /* Also what lets KV_MEMORY_ONLY find a blob. */
        rocksdb_options_set_blob_cache(options, cache);
    }
}

static enum err make_options(struct rocks *rocks, const struct kv_rocks_options *wanted,
                             int compression)
{
    uint64_t memtable_bytes =
        wanted->memtable_bytes > MEMTABLE_BYTES_MIN ? wanted->memtable_bytes : MEMTABLE_BYTES_MIN;
    rocks->options = rocksdb_options_create();
    set_database_options(rocks->options, wanted, memtable_bytes);
    for (size_t i = 0; i < KV_FAMILY_COUNT; i++) {
        rocks->family_options[i] = rocksdb_options_create();
        set_family_options(rocks->family_options[i], (enum kv_family)i, memtable_bytes,
                           rocks->cache, compression);
    }
    rocks->read_any = rocksdb_readoptions_create();
    rocks->read_memory = rocksdb_readoptions_create();
    rocks->write_sync = rocksdb_writeoptions_create();
    rocks->write_lazy = rocksdb_writeoptions_create();
    rocks->batch = rocksdb_writebatch_create();
    if (rocks->read_any == NULL || rocks->read_memory == NULL || rocks->write_sync == NULL ||
        rocks->write_lazy == NULL || rocks->batch == NULL)
        return ERR_NO_MEMORY;
    rocksdb_readoptions_set_verify_checksums(rocks->read_any, 1);
    rocksdb_readoptions_set_verify_checksums(rocks->read_memory, 1);
    rocksdb_readoptions_set_read_tier(rocks->read_memory, READ_BLOCK_CACHE_TIER);
    rocksdb_writeoptions_set_sync(rocks->write_sync, 1);
    rocksdb_writeoptions_set_sync(rocks->write_lazy, 0);
    return ERR_OK;
}

/* ---- reads ---- */

static enum err rocks_get(struct kv *kv, enum kv_family family, struct bytes key, enum kv_tier tier,
                          struct kv_value *ret_value)
{
    struct rocks *rocks = to_rocks(kv);
    if (family >= rocks->family_count)
        return ERR_NO_SUCH_OBJECT;
    char *message = NULL;
    rocksdb_readoptions_t *options = tier == KV_MEMORY_ONLY ? rocks->read_memory : rocks->read_any;
    rocksdb_pinnableslice_t *slice = rocksdb_get_pinned_cf(
        rocks->db, options, rocks->families[family], key.data, key.size, &message);
    if (message != NULL) {
        struct err_trail trail = {0};
        enum err e = judge(message, &trail, kv_family_names[family]);
        if (e != ERR_WOULD_BLOCK)
            LOG_LIMITED(LOG_ERROR, "index", "read failed tier=%s: %s",
                        tier == KV_MEMORY_ONLY ? "memory" : "any", trail.text);
        return e;
    }
    if (slice == NULL)
        return ERR_NO_SUCH_OBJECT;
    size_t size;
    const char *data = rocksdb_pinnableslice_value(slice, &size);
    /* Where a table is not open, RocksDB's block-cache tier says "found" with an empty value,
     * meaning "may exist" (TableCache::Get, GetContext::MarkKeyMayExist). None of our records is
     * empty. */
    if (size == 0 && tier == KV_MEMORY_ONLY) {
        rocksdb_pinnableslice_destroy(slice);
        return ERR_WOULD_BLOCK;
    }
    *ret_value = (struct kv_value){.bytes = bytes_of(data, size), .pin = slice, .kv = kv};
    return ERR_OK;
}

static void rocks_value_put(struct kv_value *value)
{
    rocksdb_pinnableslice_destroy(value->pin);
    *value = (struct kv_value){0};
}

static enum err rocks_iter_open(struct kv *kv, const struct kv_iter_options *options,
                                struct kv_iter **ret_iter)
{
    struct rocks *rocks = to_rocks(kv);
    struct kv_iter *iter = calloc(1, sizeof *iter);
    if (iter == NULL)
        return ERR_NO_MEMORY;
    iter->magic = ITER_MAGIC;
    *ret_iter = iter;
    if (options->family >= rocks->family_count)
        return ERR_OK; /* over nothing */
    iter->options = rocksdb_readoptions_create();
    rocksdb_readoptions_set_verify_checksums(iter->options, 1);
    rocksdb_readoptions_set_background_purge_on_iterator_cleanup(iter->options, 1);
    if (options->lower.size > 0)
        rocksdb_readoptions_set_iterate_lower_bound(iter->options, options->lower.data,
                                                    options->lower.size);
    if (options->upper.size > 0)
        rocksdb_readoptions_set_iterate_upper_bound(iter->options, options->upper.data,
                                                    options->upper.size);
    if (options->snapshot != NULL)
        rocksdb_readoptions_set_snapshot(iter->options, options->snapshot->snapshot);
    if (options->scan) {
        rocksdb_readoptions_set_fill_cache(iter->options, 0);
        rocksdb_readoptions_set_readahead_size(iter->options, SCAN_READAHEAD_BYTES);
    }
    iter->iter =
        rocksdb_create_iterator_cf(rocks->db, iter->options, rocks->families[options->family]);
    return ERR_OK;
}

static void rocks_iter_close(struct kv_iter *iter)
{
    if (iter == NULL)
        return;
    CHECK_MAGIC(iter, ITER_MAGIC);
    iter->magic = 0;
    if (iter->iter != NULL) {
        rocksdb_iter_destroy(iter->iter);
        rocksdb_readoptions_destroy(iter->options);
    }
    free(iter);
}

static void rocks_iter_seek(struct kv_iter *iter, struct bytes key)
{
    CHECK_MAGIC(iter, ITER_MAGIC);
    if (iter->iter != NULL)
        rocksdb_iter_seek(iter->iter, key.data, key.size);
}

static void rocks_iter_next(struct kv_iter *iter)
{
    rocksdb_iter_next(iter->iter);
}

static bool rocks_iter_valid(const struct kv_iter *iter)
{
    return iter->iter != NULL && rocksdb_iter_valid(iter->iter) != 0;
}

static struct bytes rocks_iter_key(const struct kv_iter *iter)
{
    size_t size;
    const char *data = rocksdb_iter_key(iter->iter, &size);
    return bytes_of(data, size);
}

static struct bytes rocks_iter_value(const struct kv_iter *iter)
{
    size_t size;
    const char *data = rocksdb_iter_value(iter->iter, &size);
    return bytes_of(data, size);
}

static enum err rocks_iter_err(const struct kv_iter *iter)
{
    char *message = NULL;
    if (iter->iter == NULL)
        return ERR_OK;
    rocksdb_iter_get_error(iter->iter, &message);
    return judge(message, NULL, "");
}

/* ---- writes ---- */

static enum err rocks_write(struct kv *kv, const struct kv_batch *batch, bool sync,
                            struct err_trail *trail)
{
    struct rocks *rocks = to_rocks(kv);
    if (rocks->failed)
        return err_note(trail, ERR_VOLUME_FAILED, "write to the index");
    rocksdb_writebatch_clear(rocks->batch);
    for (size_t i = 0; i < kv_batch_count(batch); i++) {
        enum kv_family family;
        struct bytes key, value;
        bool is_delete;
        kv_batch_at(batch, i, &family, &key, &value, &is_delete);
        CHECK(family < rocks->family_count);
        if (is_delete)
            rocksdb_writebatch_delete_cf(rocks->batch, rocks->families[family], key.data, key.size);
        else
            rocksdb_writebatch_put_cf(rocks->batch, rocks->families[family], key.data, key.size,
                                      value.data, value.size);
    }
    char *message = NULL;
    rocksdb_write(rocks->db, sync ? rocks->write_sync : rocks->write_lazy, rocks->batch, &message);
    enum err e = judge(message, trail, "write to the index");
    if (e && e != ERR_DISK_FULL)
        rocks->failed = true;
    return e;
}

/* ---- snapshots ---- */

static enum err rocks_snapshot_open(struct kv *kv, struct kv_snapshot **ret_snapshot)
{
    struct kv_snapshot *snapshot = malloc(sizeof *snapshot);
    if (snapshot == NULL)
        return ERR_NO_MEMORY;
    snapshot->snapshot = rocksdb_create_snapshot(to_rocks(kv)->db);
    *ret_snapshot = snapshot;
    return ERR_OK;
}

static void rocks_snapshot_close(struct kv *kv, struct kv_snapshot *snapshot)
{
    if (snapshot == NULL)
        return;
    rocksdb_release_snapshot(to_rocks(kv)->db, snapshot->snapshot);
    free(snapshot);
}

/* ---- statistics ---- */

static uint64_t property_of_all(struct rocks *rocks, const char *name)
{
    uint64_t sum = 0;
    for (size_t i = 0; i < rocks->family_count; i++) {
        uint64_t value = 0;
        if (rocksdb_property_int_cf(rocks->db, rocks->families[i], name, &value) == 0)
            sum += value;
    }
    return sum;
}

static void rocks_stats(struct kv *kv, struct kv_stats *ret_stats)
{
    struct rocks *rocks = to_rocks(kv);
    uint64_t stopped = 0;
    if (rocksdb_property_int(rocks->db, "rocksdb.is-write-stopped", &stopped) != 0)
        stopped = 0;
    *ret_stats = (struct kv_stats){
        .memory_bytes = rocksdb_cache_get_usage(rocks->cache) +
                        property_of_all(rocks, "rocksdb.size-all-mem-tables") +
                        property_of_all(rocks, "rocksdb.estimate-table-readers-mem"),
        .disk_bytes = property_of_all(rocks, "rocksdb.total-sst-files-size") +
                      property_of_all(rocks, "rocksdb.total-blob-file-size"),
        .rows = property_of_all(rocks, "rocksdb.estimate-num-keys"),
        .write_stopped = stopped != 0,
    };
}

/* ---- opening and closing ---- */

static void release_options(struct rocks *rocks)
{
    if (rocks->batch != NULL)
        rocksdb_writebatch_destroy(rocks->batch);
    if (rocks->write_sync != NULL)
        rocksdb_writeoptions_destroy(rocks->write_sync);
    if (rocks->write_lazy != NULL)
        rocksdb_writeoptions_destroy(rocks->write_lazy);
    if (rocks->read_any != NULL)
        rocksdb_readoptions_destroy(rocks->read_any);
    if (rocks->read_memory != NULL)
        rocksdb_readoptions_destroy(rocks->read_memory);
    for (size_t i = 0; i < KV_FAMILY_COUNT; i++)
        if (rocks->family_options[i] != NULL)
            rocksdb_options_destroy(rocks->family_options[i]);
    if (rocks->options != NULL)
        rocksdb_options_destroy(rocks->options);
    memset(rocks->family_options, 0, sizeof rocks->family_options);
    rocks->batch = NULL;
    rocks->write_sync = rocks->write_lazy = NULL;
    rocks->read_any = rocks->read_memory = NULL;
    rocks->options = NULL;
}

static void rocks_close(struct kv *kv)
{
    if (kv == NULL)
        return;
    struct rocks *rocks = to_rocks(kv);
    if (rocks->db != NULL) {
        for (size_t i = 0; i < rocks->family_count; i++)
            rocksdb_column_family_handle_destroy(rocks->families[i]);
        rocksdb_close(rocks->db); /* flushes nothing: every batch is in the log */
    }
    release_options(rocks);
    if (rocks->cache != NULL)
        rocksdb_cache_destroy(rocks->cache);
    rocks->magic = 0;
    free(rocks);
}

/* Deletions only mark; what they freed comes back when marks and marked meet in a compaction, and
 * the blobs nothing refers to any more go with it. What goes wrong is told by the next write. */
static void rocks_compact(struct kv *kv)
{
    struct rocks *rocks = to_rocks(kv);
    for (size_t i = 0; i < rocks->family_count && !rocks->failed; i++)
        rocksdb_compact_range_cf(rocks->db, rocks->families[i], NULL, 0, NULL, 0);
}

static const struct kv_ops rocks_ops = {
    .get = rocks_get,
    .value_put = rocks_value_put,
    .write = rocks_write,
    .iter_open = rocks_iter_open,
    .iter_close = rocks_iter_close,
    .iter_seek = rocks_iter_seek,
    .iter_next = rocks_iter_next,
    .iter_valid = rocks_iter_valid,
    .iter_key = rocks_iter_key,
    .iter_value = rocks_iter_value,
    .iter_err = rocks_iter_err,
    .snapshot_open = rocks_snapshot_open,
    .snapshot_close = rocks_snapshot_close,
    .stats = rocks_stats,
    .compact = rocks_compact,
    .close = rocks_close,
};

/* Made for a log at the last open, which a crash may have kept from making the family. */
static bool has_log_family(const struct rocks *rocks, const char *path)
{
    size_t count = 0;
    char *message = NULL;
    char **names = rocksdb_list_column_families(rocks->options, path, &count, &message);
    bool has = false;
    for (size_t i = 0; names != NULL && i < count; i++)
        has = has || strcmp(names[i], kv_family_names[KV_LOG]) == 0;
    if (names != NULL)
        rocksdb_list_column_families_destroy(names, count);
    rocksdb_free(message); /* opening will say it */
    return has;
}

static enum err open_with(struct rocks *rocks, const struct kv_rocks_options *wanted,
                          int compression, char **ret_message)
{
    release_options(rocks);
    enum err e = make_options(rocks, wanted, compression);
    if (e)
        return e;
    rocks->family_count = KV_FAMILY_COUNT;
    if (!wanted->has_log || (wanted->read_only && !has_log_family(rocks, wanted->path)))
        rocks->family_count--;
    const rocksdb_options_t *family_options[KV_FAMILY_COUNT];
    for (size_t i = 0; i < KV_FAMILY_COUNT; i++)
        family_options[i] = rocks->family_options[i];
    if (wanted->read_only)
        rocks->db = rocksdb_open_for_read_only_column_families(
            rocks->options, wanted->path, (int)rocks->family_count, kv_family_names, family_options,
            rocks->families, 0, ret_message);
    else
        rocks->db = rocksdb_open_column_families(rocks->options, wanted->path,
                                                 (int)rocks->family_count, kv_family_names,
                                                 family_options, rocks->families, ret_message);
    return ERR_OK;
}

enum err kv_rocks_open(const struct kv_rocks_options *options, struct kv **ret_kv,
                       struct err_trail *trail)
{
    struct rocks *rocks = calloc(1, sizeof *rocks);
    if (rocks == NULL)
        return err_note(trail, ERR_NO_MEMORY, "open the index");
    rocks->kv.ops = &rocks_ops;
    rocks->magic = ROCKS_MAGIC;
    rocks->cache = rocksdb_cache_create_lru(
        (size_t)(options->cache_bytes > CACHE_BYTES_MIN ? options->cache_bytes : CACHE_BYTES_MIN));

    char *message = NULL;
    enum err e = open_with(rocks, options, rocksdb_lz4_compression, &message);
    if (e == ERR_OK && message != NULL && strstr(message, "not linked") != NULL) {
        rocksdb_free(message); /* a RocksDB built without LZ4 */
        message = NULL;
        e = open_with(rocks, options, rocksdb_no_compression, &message);
    }
    if (e == ERR_OK && message != NULL) {
        rocks->db = NULL;
        e = judge(message, trail, options->path);
        (void)err_note(trail, e, "open the index");
    }
    if (e) {
        rocks_close(&rocks->kv);
        return e;
    }
    *ret_kv = &rocks->kv;
    return ERR_OK;
}
