/*
 * A real volume on a simulated disk and a simulated index, against a model that is nothing but an
 * array of names and bytes. Random operations: put, overwrite, delete, copy, multipart, list, range
 * reads, readers that hold on while everything changes below them, clean reopening, power cuts,
 * failing disks. After each the two must agree; now and then, and at the end, fsck must find
 * nothing, and an emptied volume must be empty.
 *
 *     SLUICE_MODEL_SECONDS  how long (default 10)
 *     SLUICE_MODEL_SEED     only this seed, once: to repeat a failure
 *     SLUICE_TEST_OUT       where the operations of a failing seed are left as text (default /tmp)
 */
#include "store_model.h"

#define OPERATIONS 250u /* of one seed */

/* ---- operations on objects ---- */

static void replace(struct run *run, unsigned name, struct model_object object)
{
    blob_fini(&run->objects[name].blob);
    run->objects[name] = object;
}

/* The operation ended with `e` and was to end with `expected`; if so, the name is to hold `after`,
 * which is taken. */
static void conclude(struct run *run, unsigned name, struct model_object after, enum err e,
                     enum err expected)
{
    if (has_broken(run)) {
        bool has_happened = is_state(run, name, &after);
        EXPECT(run, has_happened || is_state(run, name, &run->objects[name]));
        if (has_happened)
            replace(run, name, after);
        else
            blob_fini(&after.blob);
        return;
    }
    if (e != expected)
        give_up(run, err_name(e), __FILE__, __LINE__);
    if (e == ERR_OK)
        replace(run, name, after);
    else
        blob_fini(&after.blob);
}

static uint64_t random_size(struct run *run)
{
    static const uint64_t sizes[] = {0,     1,     100,    4096,   8191,       8192,        8193,
                                     65536, 65537, 300000, MIB(1), MIB(1) + 5, MIB(3) + 77, MIB(6)};
    return sizes[below(run, COUNT_OF(sizes))] + (below(run, 4) == 0 ? below(run, 5000) : 0);
}

static struct etag random_etag(struct run *run)
{
    struct etag etag = {.parts = 0};
    rand_fill(&run->seeded.rand, etag.md5, sizeof etag.md5);
    return etag;
}

static void op_put(struct run *run)
{
    unsigned name = (unsigned)below(run, NAMES);
    struct model_object after = {.blob = blob_make(run, random_size(run)),
                                 .etag = random_etag(run)};
    bool must_be_new = below(run, 6) == 0;
    struct mutation m = {
        .kind = MUTATION_OBJECT_PUT,
        .bucket = run->bucket,
        .key = name_of(name),
        .size = after.blob.size,
        .etag = after.etag,
        .attrs = BYTES("text/plain"),
        .conditions.if_none_match_any = must_be_new,
    };
    SAY(run, "put %s %llu bytes%s\n", name_of(name).data, (unsigned long long)m.size,
        must_be_new ? " if absent" : "");
    maybe_break(run);
    enum err e = write_body(run, &after.blob, false, &m.body);
    if (e == ERR_OK)
        e = commit(run, &m);
    conclude(run, name, after, e,
             must_be_new && run->objects[name].blob.is_there ? ERR_PRECONDITION : ERR_OK);
}

/* A client goes away in the middle: nothing of it may stay. */
static void op_give_up_put(struct run *run)
{
    struct blob blob = blob_make(run, random_size(run));
    struct body *body;
    SAY(run, "begin a put of %llu bytes and give up\n", (unsigned long long)blob.size);
    EXPECT(run, write_body(run, &blob, true, &body) == ERR_OK);
    if (below(run, 4) == 0)
        run->cut_off = body; /* ... or the power goes first: see op_cut */
    else
        body_close(body);
    blob_fini(&blob);
}

static void op_delete(struct run *run)
{
    unsigned name = (unsigned)below(run, NAMES);
    struct mutation m = {
        .kind = MUTATION_OBJECT_DELETE, .bucket = run->bucket, .key = name_of(name)};
    bool was_there = run->objects[name].blob.is_there;
    SAY(run, "delete %s\n", name_of(name).data);
    maybe_break(run);
    enum err e = commit(run, &m);
    if (e == ERR_OK && !run->is_breaking)
        EXPECT(run, m.existed == was_there);
    conclude(run, name, (struct model_object){0}, e, ERR_OK);
}

/* A range of one object becomes another, or itself. */
static void op_copy(struct run *run)
{
    unsigned from = (unsigned)below(run, NAMES), to = (unsigned)below(run, NAMES);
    const struct blob *source = &run->objects[from].blob;
    struct object *object;
    if (!source->is_there)
        return;
    uint64_t offset = below(run, 2) ? 0 : below(run, source->size + 1);
    uint64_t size = below(run, 2) ? source->size - offset : below(run, source->size - offset + 1);
    struct piece *pieces;
    struct mutation m = {.kind = MUTATION_OBJECT_PUT,
                         .bucket = run->bucket,
                         .key = name_of(to),
                         .size = size,
                         .etag = random_etag(run)};
    SAY(run, "copy %s from %llu %llu bytes to %s\n", name_of(from).data, (unsigned long long)offset,
        (unsigned long long)size, name_of(to).data);
    EXPECT(run, look(run, from, &object) == ERR_OK);
    EXPECT(run, object_pieces(object, offset, size, &pieces, &m.piece_count) == ERR_OK);
    m.pieces = pieces;
    object_put(object);
    struct model_object after = {.blob = blob_cut(run, source, offset, size), .etag = m.etag};
    maybe_break(run);
    enum err e = commit(run, &m);
    free(pieces);
    conclude(run, to, after, e, ERR_OK);
    run->copies++;
}

/* ---- operations on uploads ---- */

static bool upload_is_there(struct run *run, const struct model_upload *upload)
{
    struct upload_info info;
    static uint8_t attrs[META_BYTES_MAX];
    enum err e =
        volume_upload(run->volume, run->bucket, name_of(upload->name), &upload->id, &info, attrs);
    EXPECT(run, e == ERR_OK || e == ERR_NO_SUCH_UPLOAD);
    return e == ERR_OK;
}

static void forget_upload(struct model_upload *upload)
{
    for (unsigned i = 0; i < PARTS; i++)
        blob_fini(&upload->parts[i]);
    *upload = (struct model_upload){0};
}

static void op_upload_create(struct run *run, struct model_upload *upload)
{
    *upload = (struct model_upload){.name = (unsigned)below(run, NAMES)};
    rand_fill(&run->seeded.rand, upload->id.bytes, sizeof upload->id.bytes);
    struct mutation m = {
        .kind = MUTATION_UPLOAD_CREATE,
        .bucket = run->bucket,
        .key = name_of(upload->name),
        .upload = upload->id,
        .attrs = BYTES("video/mp4"),
    };
    SAY(run, "create an upload of %s\n", name_of(upload->name).data);
    maybe_break(run);
    enum err e = commit(run, &m);
    if (!has_broken(run))
        EXPECT_OK(run, e, &m.trail);
    upload->is_open = upload_is_there(run, upload);
}

struct etag_search {
    uint16_t number;
    struct etag etag;
    bool is_found;
};

static enum err search_part(void *context, const struct part_info *part)
{
    struct etag_search *search = context;
    if (part->number == search->number)
        search->is_found = memcmp(part->etag.md5, search->etag.md5, 16) == 0;
    return ERR_OK;
}

static void conclude_part(struct run *run, struct model_upload *upload, unsigned part,
                          struct blob blob, const struct mutation *m, enum err e)
{
    bool has_happened = true;
    if (has_broken(run)) {
        struct etag_search search = {.number = m->part_number, .etag = m->etag};
        bool truncated;
        EXPECT(run, volume_parts(run->volume, run->bucket, m->key, &upload->id, 0, 100, search_part,
                                 &search, &truncated) == ERR_OK);
        has_happened = search.is_found;
    } else {
        EXPECT_OK(run, e, &m->trail);
    }
    if (!has_happened) {
        blob_fini(&blob);
        return;
    }
    blob_fini(&upload->parts[part]);
    upload->parts[part] = blob;
    upload->etags[part] = m->etag;
}

static void op_part(struct run *run, struct model_upload *upload)
{
    unsigned part = (unsigned)below(run, PARTS), from = (unsigned)below(run, NAMES);
    const struct blob *source = &run->objects[from].blob;
    struct mutation m = {
        .kind = MUTATION_PART_PUT,
        .bucket = run->bucket,
        .key = name_of(upload->name),
        .upload = upload->id,
        .part_number = (uint16_t)(part * 7 + 1),
        .etag = random_etag(run),
    };
    struct blob blob;
    struct piece *pieces = NULL;
    enum err e = ERR_OK;
    if (source->is_there && below(run, 2)) {
        struct object *object;
        m.size = below(run, 2) ? source->size : below(run, source->size + 1);
        uint64_t offset = below(run, source->size - m.size + 1);
        SAY(run, "part %u of %s: copy %s from %llu %llu bytes\n", m.part_number, m.key.data,
            name_of(from).data, (unsigned long long)offset, (unsigned long long)m.size);
        blob = blob_cut(run, source, offset, m.size);
        EXPECT(run, look(run, from, &object) == ERR_OK);
        EXPECT(run, object_pieces(object, offset, m.size, &pieces, &m.piece_count) == ERR_OK);
        object_put(object);
        m.pieces = pieces;
        maybe_break(run);
    } else {
        m.size = below(run, 2) ? MIB(5) + below(run, 100000) : random_size(run);
        SAY(run, "part %u of %s: %llu bytes\n", m.part_number, m.key.data,
            (unsigned long long)m.size);
        blob = blob_make(run, m.size);
        maybe_break(run);
        e = write_body(run, &blob, false, &m.body);
    }
    if (e == ERR_OK)
        e = commit(run, &m);
    free(pieces);
    conclude_part(run, upload, part, blob, &m, e);
}

/* What is to come of completing, from the parts asked for. */
static enum err judge_parts(const struct model_upload *upload, const unsigned *parts, size_t count)
{
    for (size_t i = 0; i + 1 < count; i++)
        if (upload->parts[parts[i]].size < PART_BYTES_MIN)
            return ERR_PART_TOO_SMALL;
    return ERR_OK;
}

static void op_complete(struct run *run, struct model_upload *upload)
{
    struct completed_part said[PARTS];
    unsigned parts[PARTS];
    uint8_t md5s[PARTS * 16];
    struct mutation m = {
        .kind = MUTATION_UPLOAD_COMPLETE,
        .bucket = run->bucket,
        .key = name_of(upload->name),
        .upload = upload->id,
        .completed = said,
    };
    struct model_object after = {.blob = {.bytes = malloc(1), .is_there = true}};
    for (unsigned i = 0; i < PARTS; i++) {
        if (!upload->parts[i].is_there || below(run, 4) == 0)
            continue;
        struct blob joined = blob_join(&after.blob, &upload->parts[i]);
        blob_fini(&after.blob);
        after.blob = joined;
        memcpy(md5s + m.completed_count * 16, upload->etags[i].md5, 16);
        parts[m.completed_count] = i;
        said[m.completed_count++] =
            (struct completed_part){.number = (uint16_t)(i * 7 + 1), .etag = upload->etags[i]};
    }
    after.part_count = after.etag.parts = (unsigned)m.completed_count;
    md5(md5s, m.completed_count * 16, after.etag.md5);
    enum err expected =
        m.completed_count == 0 ? ERR_INVALID_PART : judge_parts(upload, parts, m.completed_count);
    SAY(run, "complete %s of %zu parts: %s\n", m.key.data, m.completed_count, err_name(expected));
    maybe_break(run);
    struct mutation again = m;
    enum err e = commit(run, &m);
    bool is_breaking = run->is_breaking;
    conclude(run, upload->name, after, e, expected);
    if (!upload_is_there(run, upload)) {
        forget_upload(upload);
        run->completed++;
        if (!is_breaking && below(run, 2)) { /* the client lost the answer */
            e = commit(run, &again);
            EXPECT_OK(run, e, &again.trail);
            EXPECT(run, again.existed && memcmp(&again.etag, &m.etag, sizeof m.etag) == 0);
        }
    }
}

static void op_abort(struct run *run, struct model_upload *upload)
{
    struct mutation m = {.kind = MUTATION_UPLOAD_ABORT,
                         .bucket = run->bucket,
                         .key = name_of(upload->name),
                         .upload = upload->id};
    SAY(run, "abort the upload of %s\n", m.key.data);
    maybe_break(run);
    enum err e = commit(run, &m);
    if (has_broken(run) ? !upload_is_there(run, upload) : e == ERR_OK)
        forget_upload(upload);
}

static void op_upload(struct run *run)
{
    struct model_upload *upload = &run->uploads[below(run, UPLOADS)];
    if (!upload->is_open)
        op_upload_create(run, upload);
    else if (below(run, 10) == 0)
        op_abort(run, upload);
    else if (below(run, 3) == 0)
        op_complete(run, upload);
    else
        op_part(run, upload);
}

/* ---- listing ---- */

struct listing {
    struct run *run;
    unsigned next; /* name that should come */
};

static enum err see_entry(void *context, const struct list_entry *entry)
{
    struct listing *listing = context;
    struct run *run = listing->run;
    while (listing->next < NAMES && !run->objects[listing->next].blob.is_there)
        listing->next++;
    EXPECT(run, listing->next < NAMES);
    EXPECT(run, bytes_equal(entry->key, name_of(listing->next)));
    EXPECT(run, entry->info.size == run->objects[listing->next].blob.size);
    listing->next++;
    return ERR_OK;
}

/* Flat and whole: prefixes and pages have a test of their own. */
static void op_list(struct run *run)
{
    struct listing listing = {.run = run};
    struct list_result result;
    SAY(run, "list\n");
    EXPECT(run, volume_list(run->volume, &(struct list_query){.bucket = run->bucket, .max = 1000},
                            see_entry, &listing, &result) == ERR_OK);
    for (; listing.next < NAMES; listing.next++)
        EXPECT(run, !run->objects[listing.next].blob.is_there);
}

/* ---- readers that hold on ---- */

static void op_hold(struct run *run)
{
    struct holder *holder = &run->holders[below(run, HOLDERS)];
    if (holder->is_open) {
        uint64_t left = holder->expected.size - holder->at;
        uint64_t size = below(run, 3) == 0 ? left : below(run, left / 2 + 1);
        SAY(run, "read on %llu of %llu bytes\n", (unsigned long long)size,
            (unsigned long long)left);
        read_on(run, &holder->plan, holder->expected.bytes + holder->at, size);
        holder->at += size;
        if (holder->at == holder->expected.size) {
            read_plan_close(&holder->plan);
            blob_fini(&holder->expected);
            *holder = (struct holder){0};
        }
        run->held++;
        return;
    }
    unsigned name = (unsigned)below(run, NAMES);
    for (unsigned i = 0; i < NAMES && run->objects[name].part_count < 2; i++)
        name = (name + 1) % NAMES; /* one of several parts if there is any: its records are asked
                                      for as the reader goes */
    const struct blob *blob = &run->objects[name].blob;
    struct object *object;
    if (!blob->is_there)
        return;
    SAY(run, "begin to read %s\n", name_of(name).data);
    EXPECT(run, look(run, name, &object) == ERR_OK);
    *holder = (struct holder){.is_open = true, .expected = blob_cut(run, blob, 0, blob->size)};
    read_plan_open(&holder->plan, object, 0, blob->size);
    object_put(object);
}

/* ---- the life of the volume ---- */

static void told(void *context, enum fsck_class class, const char *text)
{
    struct run *run = context;
    SAY(run, "  fsck: %s: %s\n", fsck_class_name(class), text);
}

/* The volume is closed. */
static void check_with_fsck(struct run *run)
{
    struct fsck_counts counts = {0};
    struct err_trail trail = {0};
    struct plug *plug = plug_in(run);
    enum err e = volume_fsck(
        &(struct fsck_options){
            .dir = DIR,
            .disk = disk_sim_disk(run->disk),
            .kv = &plug->kv,
            .data = below(run, 4) == 0,
            .allow_buffered = true,
            .finding = told,
            .context = run,
        },
        &counts, &trail);
    plug_close(&plug->kv);
    EXPECT_OK(run, e, &trail);
    /* A segment made just before a crash may be unknown to the index; the next open removes it. */
    EXPECT(run, counts.findings_total == counts.findings[FSCK_SEGMENT_UNKNOWN]);
}

static void op_reopen(struct run *run)
{
    SAY(run, "reopen\n");
    volume_stop(run);
    check_with_fsck(run);
    volume_start(run);
    check_all(run);
}

/* Power cut: what was written and not synced is there, torn or gone, block by block; what was
 * acknowledged is there. */
static void op_cut(struct run *run)
{
    SAY(run, "cut the power\n");
    present_plug->is_out = true;
    disk_sim_crash(run->disk);
    kv_sim_crash(run->index);
    volume_stop(run);
    check_with_fsck(run);
    volume_start(run);
    check_all(run);
    run->cuts++;
}

static const struct {
    void (*run)(struct run *run);
    unsigned weight;
} operations[] = {
    {op_put, 30}, {op_give_up_put, 3}, {op_delete, 12}, {op_copy, 12}, {op_upload, 25},
    {op_list, 5}, {op_hold, 25},       {op_reopen, 1},  {op_cut, 2},
};

static void operate(struct run *run)
{
    unsigned total = 0;
    for (size_t i = 0; i < COUNT_OF(operations); i++)
        total += operations[i].weight;
    unsigned chosen = (unsigned)below(run, total);
    size_t i = 0;
    while (chosen >= operations[i].weight)
        chosen -= operations[i++].weight;
    if (operations[i].run != op_give_up_put || run->cut_off == NULL)
        operations[i].run(run);
    clock_manual_advance(&run->clock, below(run, NS_PER_SECOND / 2));
    check_object(run, (unsigned)below(run, NAMES));
    run->operations++;
}

static void delete_everything(struct run *run)
{
    SAY(run, "delete everything\n");
    drop_holders(run);
    drop_cut_off(run);
    for (unsigned i = 0; i < NAMES; i++) {
        struct mutation m = {
            .kind = MUTATION_OBJECT_DELETE, .bucket = run->bucket, .key = name_of(i)};
        EXPECT(run, commit(run, &m) == ERR_OK);
        blob_fini(&run->objects[i].blob);
    }
    struct mutation m = {.kind = MUTATION_BUCKET_DELETE,
                         .bucket = run->bucket,
                         .bucket_name = BYTES("photos")}; /* and its uploads */
    EXPECT_OK(run, commit(run, &m), &m.trail);
    for (unsigned i = 0; i < UPLOADS; i++)
        forget_upload(&run->uploads[i]);
    for (unsigned i = 0; i < 20; i++)
        turn(run);
    struct volume_status status;
    volume_status(run->volume, &status);
    EXPECT(run,
           status.used_bytes == 0 && status.reserved_bytes == 0 && status.reclaiming_bytes == 0);
}

/* ---- a seed ---- */

static void run_open(struct run *run, uint64_t seed)
{
    struct err_trail trail = {0};
    run->seed = seed;
    rand_seeded_init(&run->seeded, seed);
    rand_seeded_init(&run->chances, seed + 1);
    clock_manual_init(&run->clock, 1700000000 * NS_PER_SECOND);
    EXPECT(run, arena_open(&(struct arena_options){.large_count = 2, .share_count = 1},
                           &run->arena) == ERR_OK);
    EXPECT_OK(run,
              loop_open(&(struct loop_options){.arena = run->arena,
                                               .ring_choice = RING_FORCE_POLL,
                                               .name = "model"},
                        &run->loop, &trail),
              &trail);
    EXPECT(run, disk_sim_open(&(struct disk_sim_options){.capacity_bytes = DISK_BYTES,
                                                         .rand = &run->chances.rand},
                              &run->disk) == ERR_OK);
    EXPECT(run, kv_sim_open(&run->index) == ERR_OK);
    EXPECT_OK(run,
              volume_format(
                  &(struct volume_format_options){
                      .dir = DIR,
                      .disk = disk_sim_disk(run->disk),
                      .clock = &run->clock.clock,
                      .rand = &run->seeded.rand,
                      .segment_bytes = SEGMENT_BYTES,
                      .direct = VOLUME_DIRECT_ANY,
                  },
                  &trail),
              &trail);
    volume_start(run);
    struct mutation m = {
        .kind = MUTATION_BUCKET_CREATE, .bucket_name = BYTES("photos"), .owner = BYTES("ann")};
    EXPECT_OK(run, commit(run, &m), &m.trail);
    run->bucket = m.new_bucket;
}

static void run_close(struct run *run)
{
    volume_stop(run);
    check_with_fsck(run);
    disk_sim_close(run->disk);
    run->index->ops->close(run->index);
    loop_close(run->loop);
    arena_close(run->arena);
    text_free(&run->log);
}

static void the_volume_is_what_the_model_says(void **state)
{
    const char *seconds = getenv("SLUICE_MODEL_SECONDS"), *only = getenv("SLUICE_MODEL_SEED");
    time_t end = time(NULL) + (seconds != NULL ? (time_t)strtoul(seconds, NULL, 10) : 10);
    uint64_t seed = only != NULL ? strtoull(only, NULL, 10) : rand_u64(rand_system()) % 1000000000;
    unsigned seeds = 0, faults = 0, cuts = 0, reads = 0, held = 0, copies = 0, completed = 0,
             done = 0;
    print_message("    seeds from %llu\n", (unsigned long long)seed);
    do {
        struct run *run = calloc(1, sizeof *run);
        CHECK(run != NULL);
        run_open(run, seed++);
        while (run->operations < OPERATIONS && (only != NULL || time(NULL) <= end))
            operate(run);
        delete_everything(run);
        run_close(run);
        seeds++, done += run->operations, faults += run->faults, cuts += run->cuts,
            reads += run->reads;
        held += run->held, copies += run->copies, completed += run->completed;
        free(run);
    } while (only == NULL && time(NULL) < end);
    print_message("    %u seeds, %u operations: %u copies, %u uploads completed, %u reads, %u with "
                  "a held plan, %u errors, %u power cuts\n",
                  seeds, done, copies, completed, reads, held, faults, cuts);
    assert_true(reads > 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(the_volume_is_what_the_model_says)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
