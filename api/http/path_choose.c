#include "api/http/path.h"

/*
 * From this size on splice costs the server less CPU than sendfile: measured, see README.md. Below,
 * the second system call weighs more than the larger pipe saves.
 */
#define SPLICE_BYTES_MIN KIB(256)

static const struct path *const paths[PATH_ID_COUNT] = {
    [PATH_INLINE] = &path_inline, [PATH_SENDFILE] = &path_sendfile,
    [PATH_SPLICE] = &path_splice, [PATH_RING_SPLICE] = &path_ring_splice,
    [PATH_DIRECT] = &path_direct, [PATH_MMAP] = &path_mmap,
    [PATH_COPY] = &path_copy,
};

const struct path *path_of(uint8_t id)
{
    CHECK(id > PATH_AUTO && id < PATH_ID_COUNT);
    return paths[id];
}

/* ---- obstacles ---- */

static const struct {
    const char *label, *text;
    bool passes;
} obstacles[OBSTACLE_COUNT] = {
#define X(id, label_, passes_, text_)                                                              \
    [OBSTACLE_##id] = {.label = label_, .text = text_, .passes = passes_},
    PATH_OBSTACLES(X)
#undef X
};

const char *path_obstacle_label(enum path_obstacle obstacle)
{
    CHECK(obstacle > OBSTACLE_NONE && obstacle < OBSTACLE_COUNT);
    return obstacles[obstacle].label;
}

const char *path_obstacle_text(enum path_obstacle obstacle)
{
    CHECK(obstacle > OBSTACLE_NONE && obstacle < OBSTACLE_COUNT);
    return obstacles[obstacle].text;
}

bool path_obstacle_passes(enum path_obstacle obstacle)
{
    CHECK(obstacle > OBSTACLE_NONE && obstacle < OBSTACLE_COUNT);
    return obstacles[obstacle].passes;
}

enum path_obstacle path_obstacle_to(const struct path *path, const struct path_facts *facts)
{
    if (facts->is_inline != (path == &path_inline))
        return facts->is_inline ? OBSTACLE_INLINE : OBSTACLE_IN_FILE;
    if (path->reads_cache && !facts->has_fd)
        return OBSTACLE_NO_FILE;
    if (path->reads_cache && !path->sends_memory && facts->tls == PATH_TLS_USER)
        return OBSTACLE_TLS;
    if (path == &path_ring_splice && !facts->has_ring_splice)
        return OBSTACLE_NO_SPLICE;
    return OBSTACLE_NONE;
}

/* ---- the choice ---- */

const struct path *path_choose(const struct path_facts *facts)
{
    if (facts->is_inline || facts->size == 0)
        return &path_inline;
    /* What is read once stays out of the page cache; what is read again is brought in, checked, and
     * from then on costs no copy and no disk. */
    if (!facts->has_fd || (!facts->is_resident && !facts->is_hot))
        return &path_direct;
    if (facts->tls == PATH_TLS_USER)
        return &path_copy;
    return facts->size >= SPLICE_BYTES_MIN ? &path_splice : &path_sendfile;
}

unsigned path_copies(const struct path *path, const struct path_facts *facts)
{
    bool is_taken = path != &path_inline && facts->tls_takes_memory;
    bool send_copies =
        path->sends_memory && !is_taken && !(path == &path_direct && facts->sends_zero_copy);
    return path->copies + send_copies;
}

unsigned path_copies_told(const struct path *path, const struct path_facts *facts)
{
    unsigned copies = path_copies(path, facts);
    unsigned of_tail = facts->has_inline_tail ? path_copies(&path_inline, facts) : 0;
    return of_tail > copies ? of_tail : copies;
}

bool path_is_permitted(const struct path *path, const struct path_facts *facts,
                       const struct path_policy *policy)
{
    if (policy->require == PATH_AUTO || facts->size == 0)
        return true;
    if (facts->has_inline_tail)
        return false;
    return policy->require == PATH_ZEROCOPY ? path_copies(path, facts) == 0
                                            : path->id == policy->require;
}

/* The path that copies nothing, if there is one: the page cache's if the object is brought in. */
static const struct path *choose_zero_copy(const struct path_facts *facts)
{
    static const struct path_policy policy = {.require = PATH_ZEROCOPY};
    struct path_facts brought_in = *facts;
    brought_in.is_hot = true;
    const struct path *const candidates[] = {path_choose(&brought_in), &path_direct};
    for (size_t i = 0; i < COUNT_OF(candidates); i++)
        if (path_obstacle_to(candidates[i], facts) == OBSTACLE_NONE &&
            path_is_permitted(candidates[i], facts, &policy))
            return candidates[i];
    return NULL;
}

static enum path_obstacle obstacle_to_requirement(const struct path_facts *facts)
{
    return facts->is_inline              ? OBSTACLE_INLINE
           : facts->has_inline_tail      ? OBSTACLE_INLINE_TAIL
           : !facts->has_fd              ? OBSTACLE_NO_FILE
           : facts->tls == PATH_TLS_USER ? OBSTACLE_TLS
                                         : OBSTACLE_COPIES;
}

struct path_choice path_resolve(const struct path_facts *facts, const struct path_policy *policy)
{
    bool names_one = policy->require != PATH_AUTO && policy->require != PATH_ZEROCOPY;
    uint8_t wanted = names_one ? policy->require : policy->path;
    struct path_choice choice = {.path = path_choose(facts)};
    if (wanted != PATH_AUTO && facts->size > 0) {
        choice.obstacle = path_obstacle_to(path_of(wanted), facts);
        if (choice.obstacle == OBSTACLE_NONE)
            choice.path = path_of(wanted);
    }
    if (path_is_permitted(choice.path, facts, policy))
        return choice;
    if (policy->require == PATH_ZEROCOPY) {
        choice.path = choose_zero_copy(facts);
        if (choice.path != NULL)
            return choice;
    }
    choice.path = NULL;
    if (choice.obstacle == OBSTACLE_NONE)
        choice.obstacle = obstacle_to_requirement(facts);
    return choice;
}

/* ---- in words ---- */

static void explain_auto(const struct path_facts *facts, struct text_buf *out)
{
    const struct path *path = path_choose(facts);
    text_printf(out, "auto takes %s: ", path->name);
    if (facts->size == 0)
        text_put_string(out, "there is no body, so the head is all that is sent");
    else if (facts->is_inline)
        text_put_string(out, "the bytes lie in the index record, which was read anyway, and leave "
                             "with the head in one send");
    else if (!facts->has_fd)
        text_put_string(out, "the volume has no file descriptor to send from, so the bytes are "
                             "read by Direct I/O and sent from memory");
    else if (path == &path_direct)
        text_put_string(out, "the bytes are not in the page cache, or were not checked there, and "
                             "are not read often: Direct I/O checks them on the way and leaves the "
                             "cache to what is read again");
    else
        text_printf(out, "the bytes are %s, and %s",
                    facts->is_resident ? "in the page cache and were checked since they came in"
                                       : "read often, so they are brought into the page cache and "
                                         "checked",
                    path == &path_copy ? "this process encrypts the connection, so they have to "
                                         "pass through its memory"
                    : path == &path_splice ? "from 256 KiB on splicing costs the least CPU"
                                           : "below 256 KiB sendfile costs the least CPU");
    unsigned copies = path_copies(path, facts);
    text_printf(out, ". The CPU copies the body %s on its way to the socket%s.",
                copies == 0   ? "not once"
                : copies == 1 ? "once"
                              : "twice",
                path_copies_told(path, facts) > copies ? ", but its end, held in the index, once"
                                                       : "");
}

/* What follows when the bytes are sent out of memory. */
static void explain_send(const struct path_facts *facts, struct text_buf *out)
{
    static const char *const texts[] = {
#define X(id, text) [PATH_ZERO_COPY_##id] = text,
        PATH_ZERO_COPY_SENDS(X)
#undef X
    };
    CHECK(facts->zero_copy < COUNT_OF(texts));
    if (facts->zero_copy != PATH_ZERO_COPY_NO)
        text_printf(out, " The send %s.", texts[facts->zero_copy]);
}

void path_explain(const struct path_facts *facts, const struct path_policy *policy,
                  struct text_buf *out)
{
    struct path_choice choice = path_resolve(facts, policy);
    explain_auto(facts, out);
    if (policy->path != PATH_AUTO)
        text_printf(out, " The settings ask for %s.", path_name(policy->path));
    if (policy->require != PATH_AUTO)
        text_printf(out, " The settings require %s.", path_require_name(policy->require));
    if (choice.path == NULL)
        text_printf(out, " Requests are refused: %s.", path_obstacle_text(choice.obstacle));
    else if (choice.obstacle != OBSTACLE_NONE)
        text_printf(out, " That cannot be had, so %s serves: %s.", choice.path->name,
                    path_obstacle_text(choice.obstacle));
    else if (choice.path != path_choose(facts))
        text_printf(out, " So %s serves.", choice.path->name);
    if (choice.path == &path_direct && facts->tls == PATH_TLS_NONE)
        explain_send(facts, out);
}
