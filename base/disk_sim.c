#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "base/check.h"
#include "base/cleanup.h"
#include "base/disk.h"
#include "base/disk_sim_priv.h"

/*
 * Names, handles, faults and time of the simulated disk.
 *
 * An asynchronous io takes effect when it completes, not when it is asked for: a sync in between
 * does not make it durable, as on a real disk. What is pending on a loop is completed by messages
 * to that loop, a random number of ios in random order each; callbacks run without the lock. With
 * one loop and one seed everything repeats.
 *
 * A name is durable once its directory was synced. Until then a crash may lose a new name and bring
 * back a removed one, which stays on as a ghost for that purpose.
 */

struct sim_node {
    struct list link;
    char *path; /* owned; without slash at the end */
    bool is_dir;
    bool is_linked;       /* its name is there */
    bool is_name_durable; /* a crash cannot lose it */
    bool is_ghost;        /* removed, and a crash may bring it back */
    uint32_t handle_count;
    const struct sim_file *locked_by; /* NULL: nobody */
    struct sim_content content;
};

struct sim_file {
    struct disk_file file;
    struct sim_node *node; /* borrowed; stays while handles do */
    uint32_t generation;   /* crashes there were when it was opened */
    uint32_t pending;      /* ios */
    int flags;             /* disk_open_flags */
};

/* One for each loop that ever had an io. */
struct sim_queue {
    struct list link;
    struct disk_sim *sim;
    struct loop *loop;
    struct loop_msg msg;
    bool is_posted;
    struct list pending; /* of disk_io, through op.link */
    uint32_t pending_count;
};

struct disk_sim {
    struct disk disk;
    pthread_mutex_t mutex; /* over everything below */
    uint64_t capacity_blocks;
    struct rand *rand; /* borrowed */
    uint32_t generation;
    struct list nodes; /* of sim_node, owned, in order of creation */
    struct list queues;
    unsigned fault_nth; /* 0: none armed */
    unsigned fault_calls;
    enum err fault_error;
    bool fault_fired;
};

enum io_kind { IO_READ, IO_WRITE };

static struct disk_sim *sim_of(struct disk *disk)
{
    return CONTAINER_OF(disk, struct disk_sim, disk);
}

static struct sim_file *file_of(struct disk_file *file)
{
    return CONTAINER_OF(file, struct sim_file, file);
}

static struct sim_node *node_of(struct list *link)
{
    return LIST_ENTRY(link, struct sim_node, link);
}

static struct disk_sim *lock_sim(struct disk *disk)
{
    struct disk_sim *sim = sim_of(disk);
    CHECK(pthread_mutex_lock(&sim->mutex) == 0);
    return sim;
}

static void unlock_sim(struct disk_sim *sim)
{
    CHECK(pthread_mutex_unlock(&sim->mutex) == 0);
}

static void unlock_sim__scope(struct disk_sim **sim)
{
    unlock_sim(*sim);
}

/* Every operation that can fail asks here once. */
static enum err fault(struct disk_sim *sim)
{
    if (sim->fault_nth == 0 || ++sim->fault_calls != sim->fault_nth)
        return ERR_OK;
    sim->fault_fired = true;
    return sim->fault_error;
}

static enum err file_fault(struct disk_sim *sim, const struct sim_file *file)
{
    return file->generation != sim->generation ? ERR_IO : fault(sim);
}

/* ---- names ---- */

static size_t path_size(const char *path)
{
    size_t size = strlen(path);
    while (size > 0 && path[size - 1] == '/')
        size--;
    return size;
}

static size_t parent_size(const char *path, size_t size)
{
    while (size > 0 && path[size - 1] != '/')
        size--;
    while (size > 0 && path[size - 1] == '/')
        size--;
    return size;
}

static bool is_in_dir(const struct sim_node *node, const char *dir, size_t dir_size)
{
    return parent_size(node->path, strlen(node->path)) == dir_size &&
           memcmp(node->path, dir, dir_size) == 0;
}

static struct sim_node *find(struct disk_sim *sim, const char *path, size_t size)
{
    LIST_EACH (&sim->nodes, link) {
        struct sim_node *node = node_of(link);
        if (node->is_linked && strlen(node->path) == size && memcmp(node->path, path, size) == 0)
            return node;
    }
    return NULL;
}

/* The root, and what relative paths start from, is always there. */
static bool is_dir(struct disk_sim *sim, const char *path, size_t size)
{
    struct sim_node *node = find(sim, path, size);
    return size == 0 || (node && node->is_dir);
}

static enum err make_node(struct disk_sim *sim, const char *path, struct sim_node **ret_node)
{
    size_t size = path_size(path);
    if (find(sim, path, size))
        return ERR_FILE_EXISTS;
    if (!is_dir(sim, path, parent_size(path, size)))
        return ERR_NO_SUCH_FILE;
    struct sim_node *node = calloc(1, sizeof *node);
    if (node == NULL)
        return ERR_NO_MEMORY;
    node->path = strndup(path, size);
    if (node->path == NULL) {
        free(node);
        return ERR_NO_MEMORY;
    }
    node->is_linked = true;
    list_push_back(&sim->nodes, &node->link);
    *ret_node = node;
    return ERR_OK;
}

/* Once nothing needs it: no name, no handle, no chance to come back. */
static void release_node(struct sim_node *node)
{
    if (node->is_linked || node->is_ghost || node->handle_count > 0)
        return;
    list_remove(&node->link);
    sim_content_fini(&node->content);
    free(node->path);
    free(node);
}

static uint64_t used_blocks(struct disk_sim *sim)
{
    uint64_t used = 0;
    LIST_EACH (&sim->nodes, link) {
        struct sim_node *node = node_of(link);
        if (node->is_linked || node->handle_count > 0)
            used += node->content.reserved_blocks;
    }
    return used;
}

static enum err reserve(struct disk_sim *sim, struct sim_node *node, uint64_t offset, uint64_t size)
{
    uint64_t missing = sim_content_missing_blocks(&node->content, offset, size);
    if (missing > 0 && used_blocks(sim) + missing > sim->capacity_blocks)
        return ERR_DISK_FULL;
    return sim_content_reserve(&node->content, offset, size);
}

static enum err sim_open(struct disk *disk, const char *path, int flags,
                         struct disk_file **ret_file)
{
    CLEANUP(unlock_sim) struct disk_sim *sim = lock_sim(disk);
    CLEANUP(free) struct sim_file *file = calloc(1, sizeof *file);
    if (file == NULL)
        return ERR_NO_MEMORY;
    enum err e = fault(sim);
    if (e)
        return e;
    struct sim_node *node = NULL;
    if (flags & DISK_CREATE)
        e = make_node(sim, path, &node);
    else if ((node = find(sim, path, path_size(path))) == NULL)
        e = ERR_NO_SUCH_FILE;
    else if (node->is_dir)
        e = ERR_IO;
    if (e)
        return e;
    node->handle_count++;
    file->file.disk = disk;
    file->node = node;
    file->generation = sim->generation;
    file->flags = flags;
    *ret_file = &TAKE(file)->file;
    return ERR_OK;
}

static void sim_close(struct disk_file *disk_file)
{
    if (disk_file == NULL)
        return;
    struct sim_file *file = file_of(disk_file);
    CLEANUP(unlock_sim) struct disk_sim *sim = lock_sim(disk_file->disk);
    CHECK(file->pending == 0);
    CHECK(file->node->handle_count > 0);
    if (file->node->locked_by == file)
        file->node->locked_by = NULL;
    file->node->handle_count--;
    release_node(file->node);
    free(file);
}

static enum err sim_make_dir(struct disk *disk, const char *path)
{
    CLEANUP(unlock_sim) struct disk_sim *sim = lock_sim(disk);
    struct sim_node *node = NULL;
    enum err e = fault(sim);
    if (e == ERR_OK)
        e = make_node(sim, path, &node);
    if (e == ERR_OK)
        node->is_dir = true;
    return e;
}

static enum err sim_sync_dir(struct disk *disk, const char *path)
{
    CLEANUP(unlock_sim) struct disk_sim *sim = lock_sim(disk);
    enum err e = fault(sim);
    if (e)
        return e;
    size_t size = path_size(path);
    if (!is_dir(sim, path, size))
        return ERR_NO_SUCH_FILE;
    LIST_EACH (&sim->nodes, link) {
        struct sim_node *node = node_of(link);
        if (!is_in_dir(node, path, size))
            continue;
        node->is_name_durable = node->is_linked;
        node->is_ghost = false;
        release_node(node);
    }
    return ERR_OK;
}

static enum err sim_remove(struct disk *disk, const char *path)
{
    CLEANUP(unlock_sim) struct disk_sim *sim = lock_sim(disk);
    enum err e = fault(sim);
    if (e)
        return e;
    struct sim_node *node = find(sim, path, path_size(path));
    if (node == NULL)
        return ERR_NO_SUCH_FILE;
    if (node->is_dir)
        return ERR_IO;
    node->is_linked = false;
    node->is_ghost = node->is_name_durable;
    release_node(node);
    return ERR_OK;
}

struct names {
    char **names; /* owned */
    size_t count;
};

static void names_free__scope(struct names *names)
{
    for (size_t i = 0; i < names->count; i++)
        free(names->names[i]);
    free(names->names);
}

static enum err collect_names(struct disk_sim *sim, const char *dir, struct names *names)
{
    size_t size = path_size(dir), total = 0;
    enum err e = fault(sim);
    if (e)
        return e;
    if (!is_dir(sim, dir, size))
        return ERR_NO_SUCH_FILE;
    LIST_EACH (&sim->nodes, link)
        total++;
    names->names = calloc(total + 1, sizeof *names->names);
    if (names->names == NULL)
        return ERR_NO_MEMORY;
    LIST_EACH (&sim->nodes, link) {
        struct sim_node *node = node_of(link);
        if (!node->is_linked || !is_in_dir(node, dir, size))
            continue;
        const char *slash = strrchr(node->path, '/');
        char *name = strdup(slash ? slash + 1 : node->path);
        if (name == NULL)
            return ERR_NO_MEMORY;
        names->names[names->count++] = name;
    }
    return ERR_OK;
}

static enum err sim_list(struct disk *disk, const char *path,
                         enum err (*each)(void *context, const char *name), void *context)
{
    CLEANUP(names_free) struct names names = {0};
    struct disk_sim *sim = lock_sim(disk);
    enum err e = collect_names(sim, path, &names);
    unlock_sim(sim); /* each() may use the disk */
    for (size_t i = 0; e == ERR_OK && i < names.count; i++)
        e = each(context, names.names[i]);
    return e;
}

static enum err sim_space(struct disk *disk, const char *path, struct disk_space *ret_space)
{
    CLEANUP(unlock_sim) struct disk_sim *sim = lock_sim(disk);
    enum err e = fault(sim);
    if (e)
        return e;
    if (!find(sim, path, path_size(path)) && path_size(path) > 0)
        return ERR_NO_SUCH_FILE;
    uint64_t used = used_blocks(sim);
    ret_space->total_bytes = sim->capacity_blocks * SIM_BLOCK_BYTES;
    /* A crash that brings removed files back can overfill the disk. */
    ret_space->free_bytes =
        used < sim->capacity_blocks ? (sim->capacity_blocks - used) * SIM_BLOCK_BYTES : 0;
    return ERR_OK;
}

/* ---- bytes ---- */

static void check_alignment(const struct sim_file *file, const void *data, size_t size,
                            uint64_t offset)
{
    if (!(file->flags & DISK_DIRECT))
        return;
    CHECK(offset % DISK_ALIGN == 0);
    CHECK(size % DISK_ALIGN == 0);
    CHECK((uintptr_t)data % DISK_ALIGN == 0);
}

static enum err write_now(struct disk_sim *sim, struct sim_file *file, const void *data,
                          size_t size, uint64_t offset)
{
    if (!(file->flags & DISK_WRITE))
        return ERR_IO;
    enum err e = reserve(sim, file->node, offset, size);
    return e ? e : sim_content_write(&file->node->content, offset, data, size);
}

/* A write that fails may have got somewhere: a part of it from the start is written, by chance. */
static void write_part(struct disk_sim *sim, struct sim_file *file, const void *data, size_t size,
                       uint64_t offset)
{
    size_t part = rand_below(sim->rand, size / SIM_BLOCK_BYTES + 1) * SIM_BLOCK_BYTES;
    if (file->generation == sim->generation)
        (void)write_now(sim, file, data, part, offset); /* it fails anyway */
}

static enum err sim_pread(struct disk_file *disk_file, void *data, size_t size, uint64_t offset)
{
    struct sim_file *file = file_of(disk_file);
    check_alignment(file, data, size, offset);
    CLEANUP(unlock_sim) struct disk_sim *sim = lock_sim(disk_file->disk);
    enum err e = file_fault(sim, file);
    if (e)
        return e;
    return sim_content_read(&file->node->content, offset, data, size) == size ? ERR_OK
                                                                              : ERR_CORRUPT;
}

static enum err sim_pwrite(struct disk_file *disk_file, const void *data, size_t size,
                           uint64_t offset)
{
    struct sim_file *file = file_of(disk_file);
    check_alignment(file, data, size, offset);
    CLEANUP(unlock_sim) struct disk_sim *sim = lock_sim(disk_file->disk);
    enum err e = file_fault(sim, file);
    if (e == ERR_OK)
        return write_now(sim, file, data, size, offset);
    write_part(sim, file, data, size, offset);
    return e;
}

static enum err sim_sync(struct disk_file *disk_file)
{
    struct sim_file *file = file_of(disk_file);
    CLEANUP(unlock_sim) struct disk_sim *sim = lock_sim(disk_file->disk);
    enum err e = file_fault(sim, file);
    if (e == ERR_OK)
        sim_content_sync(&file->node->content);
    return e;
}

static enum err sim_allocate(struct disk_file *disk_file, uint64_t offset, uint64_t size)
{
    struct sim_file *file = file_of(disk_file);
    CLEANUP(unlock_sim) struct disk_sim *sim = lock_sim(disk_file->disk);
    enum err e = file_fault(sim, file);
    if (e)
        return e;
    if (!(file->flags & DISK_WRITE))
        return ERR_IO;
    return size == 0 ? ERR_INVALID : reserve(sim, file->node, offset, size);
}

static enum err sim_size(struct disk_file *disk_file, uint64_t *ret_size)
{
    struct sim_file *file = file_of(disk_file);
    CLEANUP(unlock_sim) struct disk_sim *sim = lock_sim(disk_file->disk);
    enum err e = file_fault(sim, file);
    if (e == ERR_OK)
        *ret_size = file->node->content.size_bytes;
    return e;
}

static enum err sim_lock(struct disk_file *disk_file)
{
    struct sim_file *file = file_of(disk_file);
    CLEANUP(unlock_sim) struct disk_sim *sim = lock_sim(disk_file->disk);
    enum err e = file_fault(sim, file);
    if (e)
        return e;
    if (file->node->locked_by && file->node->locked_by != file)
        return ERR_IN_USE;
    file->node->locked_by = file;
    return ERR_OK;
}

static void sim_drop_cache(struct disk_file *file, uint64_t offset, uint64_t size)
{
    /* There is no page cache: what was written is read. */
}

static bool sim_is_resident(struct disk_file *file, uint64_t offset, uint64_t size)
{
    return false;
}

static int sim_fd(struct disk_file *file)
{
    return -1;
}

/* ---- asynchronous ios ---- */

static void queue_deliver(struct loop_msg *msg);

static struct sim_queue *queue_for(struct disk_sim *sim, struct loop *loop)
{
    LIST_EACH (&sim->queues, link) {
        struct sim_queue *queue = LIST_ENTRY(link, struct sim_queue, link);
        if (queue->loop == loop)
            return queue;
    }
    struct sim_queue *queue = calloc(1, sizeof *queue);
    CHECK(queue != NULL); /* submitting cannot fail, and this is a tool for tests */
    *queue = (struct sim_queue){.sim = sim, .loop = loop, .msg.deliver = queue_deliver};
    list_init(&queue->pending);
    list_push_back(&sim->queues, &queue->link);
    return queue;
}

static void post_if_pending(struct sim_queue *queue)
{
    if (queue->is_posted || queue->pending_count == 0)
        return;
    queue->is_posted = true;
    loop_post(queue->loop, &queue->msg);
}

static struct disk_io *take_random(struct sim_queue *queue)
{
    uint64_t index = rand_below(queue->sim->rand, queue->pending_count);
    struct list *node = queue->pending.next;
    while (index-- > 0)
        node = node->next;
    list_remove(node);
    queue->pending_count--;
    return CONTAINER_OF(node, struct disk_io, op.link);
}

/* io->result is the fault decided on when the io was asked for. */
static void perform(struct disk_sim *sim, struct disk_io *io)
{
    struct sim_file *file = file_of(io->file);
    CHECK(file->pending > 0);
    file->pending--;
    if (io->result == ERR_OK && file->generation != sim->generation)
        io->result = ERR_IO;
    if (io->result != ERR_OK && io->kind == IO_WRITE)
        write_part(sim, file, io->data, io->size, io->offset);
    if (io->result != ERR_OK)
        return;
    if (io->kind == IO_READ) {
        io->moved =
            (uint32_t)sim_content_read(&file->node->content, io->offset, io->data, io->size);
        return;
    }
    io->result = write_now(sim, file, io->data, io->size, io->offset);
    io->moved = io->result ? 0 : io->size;
}

static void queue_deliver(struct loop_msg *msg)
{
    struct sim_queue *queue = CONTAINER_OF(msg, struct sim_queue, msg);
    struct disk_sim *sim = lock_sim(&queue->sim->disk);
    struct list done;
    list_init(&done);
    queue->is_posted = false;
    CHECK(queue->pending_count > 0);
    for (uint64_t left = 1 + rand_below(sim->rand, queue->pending_count); left > 0; left--) {
        struct disk_io *io = take_random(queue);
        perform(sim, io);
        list_push_back(&done, &io->op.link);
    }
    post_if_pending(queue);
    unlock_sim(sim);

    for (struct list *node; (node = list_pop_front(&done)) != NULL;) {
        struct disk_io *io = CONTAINER_OF(node, struct disk_io, op.link);
        CHECK_MAGIC(&io->op, RING_OP_MAGIC);
        io->op.magic = 0;
        io->done(io, io->result, io->moved); /* may free it, or use it again */
    }
}

static void io_start(struct disk_file *disk_file, struct loop *loop, struct disk_io *io,
                     enum io_kind kind, void *data, uint32_t size, uint64_t offset,
                     disk_done_fn *done)
{
    struct sim_file *file = file_of(disk_file);
    check_alignment(file, data, size, offset);
    CHECK(done != NULL);
    CHECK(!ring_op_is_pending(&io->op));
    CLEANUP(unlock_sim) struct disk_sim *sim = lock_sim(disk_file->disk);
    io->op.magic = RING_OP_MAGIC; /* pending looks the same on every disk */
    io->op.link = (struct list){NULL, NULL};
    io->done = done, io->file = disk_file, io->loop = loop;
    io->data = data, io->size = size, io->moved = 0, io->offset = offset;
    io->kind = (uint8_t)kind;
    io->result = file_fault(sim, file);
    file->pending++;
    struct sim_queue *queue = queue_for(sim, loop);
    list_push_back(&queue->pending, &io->op.link);
    queue->pending_count++;
    post_if_pending(queue);
}

static void sim_read(struct disk_file *file, struct loop *loop, struct disk_io *io, void *data,
                     uint32_t size, uint64_t offset, disk_done_fn *done)
{
    io_start(file, loop, io, IO_READ, data, size, offset, done);
}

static void sim_write(struct disk_file *file, struct loop *loop, struct disk_io *io,
                      const void *data, uint32_t size, uint64_t offset, disk_done_fn *done)
{
    io_start(file, loop, io, IO_WRITE, (void *)data, size, offset, done);
}

/* ---- the power cut ---- */

/* Writes that were on their way are as if written and not synced. */
static void crash_pending(struct disk_sim *sim)
{
    LIST_EACH (&sim->queues, link) {
        struct sim_queue *queue = LIST_ENTRY(link, struct sim_queue, link);
        LIST_EACH (&queue->pending, node) {
            struct disk_io *io = CONTAINER_OF(node, struct disk_io, op.link);
            if (io->kind == IO_WRITE && io->result == ERR_OK)
                /* Whatever it says: its callback hears of the crash. */
                (void)write_now(sim, file_of(io->file), io->data, io->size, io->offset);
            io->result = ERR_IO;
        }
    }
}

static void lose_name(struct disk_sim *sim, struct sim_node *lost)
{
    size_t size = strlen(lost->path);
    LIST_EACH (&sim->nodes, link) {
        struct sim_node *node = node_of(link);
        if (lost->is_dir && strncmp(node->path, lost->path, size) == 0 && node->path[size] == '/')
            node->is_linked = node->is_ghost = false;
    }
    lost->is_linked = false;
}

static void crash_names(struct disk_sim *sim)
{
    LIST_EACH (&sim->nodes, link) {
        struct sim_node *node = node_of(link);
        if (node->is_linked && !node->is_name_durable && rand_below(sim->rand, 2) == 0)
            lose_name(sim, node);
    }
    LIST_EACH (&sim->nodes, link) {
        struct sim_node *node = node_of(link);
        size_t size = strlen(node->path);
        if (node->is_ghost && rand_below(sim->rand, 2) == 0 && !find(sim, node->path, size) &&
            is_dir(sim, node->path, parent_size(node->path, size)))
            node->is_linked = true;
        node->is_ghost = false;
    }
}

void disk_sim_crash(struct disk_sim *sim_to_crash)
{
    CLEANUP(unlock_sim) struct disk_sim *sim = lock_sim(&sim_to_crash->disk);
    crash_pending(sim);
    sim->generation++;
    crash_names(sim);
    LIST_EACH (&sim->nodes, link) {
        struct sim_node *node = node_of(link);
        node->locked_by = NULL;
        sim_content_crash(&node->content, sim->rand);
        node->is_name_durable = true;
    }
    LIST_EACH (&sim->nodes, link)
        release_node(node_of(link));
}

void disk_sim_fail_nth(struct disk_sim *sim_to_arm, unsigned nth, enum err e)
{
    CLEANUP(unlock_sim) struct disk_sim *sim = lock_sim(&sim_to_arm->disk);
    sim->fault_nth = nth;
    sim->fault_calls = 0;
    sim->fault_error = e;
    sim->fault_fired = false;
}

bool disk_sim_fault_fired(const struct disk_sim *asked)
{
    CLEANUP(unlock_sim) struct disk_sim *sim = lock_sim((struct disk *)&asked->disk);
    return sim->fault_fired;
}

enum err disk_sim_flip_bit(struct disk_sim *sim_to_hurt, const char *path, uint64_t offset,
                           unsigned bit)
{
    CLEANUP(unlock_sim) struct disk_sim *sim = lock_sim(&sim_to_hurt->disk);
    struct sim_node *node = find(sim, path, path_size(path));
    if (node == NULL || node->is_dir)
        return ERR_NO_SUCH_FILE;
    return sim_content_flip_bit(&node->content, offset, bit);
}

/* ---- life ---- */

static const struct disk_ops sim_ops = {
    .open = sim_open,
    .close = sim_close,
    .read = sim_read,
    .write = sim_write,
    .pread = sim_pread,
    .pwrite = sim_pwrite,
    .sync = sim_sync,
    .allocate = sim_allocate,
    .size = sim_size,
    .drop_cache = sim_drop_cache,
    .is_resident = sim_is_resident,
    .fd = sim_fd,
    .make_dir = sim_make_dir,
    .sync_dir = sim_sync_dir,
    .remove = sim_remove,
    .list = sim_list,
    .space = sim_space,
    .lock = sim_lock,
};

enum err disk_sim_open(const struct disk_sim_options *options, struct disk_sim **ret_sim)
{
    CHECK(options->rand != NULL);
    struct disk_sim *sim = calloc(1, sizeof *sim);
    if (sim == NULL)
        return ERR_NO_MEMORY;
    sim->disk.ops = &sim_ops;
    sim->capacity_blocks = options->capacity_bytes / SIM_BLOCK_BYTES;
    sim->rand = options->rand;
    list_init(&sim->nodes);
    list_init(&sim->queues);
    CHECK(pthread_mutex_init(&sim->mutex, NULL) == 0);
    *ret_sim = sim;
    return ERR_OK;
}

void disk_sim_close(struct disk_sim *sim)
{
    if (sim == NULL)
        return;
    LIST_EACH (&sim->queues, link) {
        struct sim_queue *queue = LIST_ENTRY(link, struct sim_queue, link);
        CHECK(queue->pending_count == 0);
        CHECK(!queue->is_posted);
        list_remove(link);
        free(queue);
    }
    LIST_EACH (&sim->nodes, link) {
        struct sim_node *node = node_of(link);
        CHECK(node->handle_count == 0); /* a file that was not closed */
        node->is_linked = node->is_ghost = false;
        release_node(node);
    }
    CHECK(pthread_mutex_destroy(&sim->mutex) == 0);
    free(sim);
}

struct disk *disk_sim_disk(struct disk_sim *sim)
{
    return &sim->disk;
}
