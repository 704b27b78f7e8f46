#include "replication/record.h"

#include <stdlib.h>

#include "base/check.h"
#include "storage/keys.h"

#define PIECE_BYTES         36u
#define PART_HEAD_BYTES     10u
#define ETAG_BYTES          20u
#define CHECKSUM_HEAD_BYTES 4u
#define CHECKSUM_MAX        (CHECKSUM_HEAD_BYTES + CHECKSUM_BYTES_MAX)
#define TEXT_BYTES_MAX      255u /* of an owner or a region; what storage takes is shorter */

enum record_flags {
    FLAG_INLINE = 1,
    FLAG_MUST_BE_NEW = 2,
};
enum condition_flags {
    IF_NONE_MATCH_ANY = 1,
    IF_MATCH_ANY = 2,
    IF_MATCH = 4,
    IF_NONE_MATCH = 8,
    IF_PSN = 16,
};

/* The fields, in the order of their bits. */
#define FIELDS(X)                                                                                  \
    X(NAME)                                                                                        \
    X(KEY)                                                                                         \
    X(ATTRS)                                                                                       \
    X(OWNER)                                                                                       \
    X(REGION)                                                                                      \
    X(PIECES)                                                                                      \
    X(PARTS)                                                                                       \
    X(ETAG)                                                                                        \
    X(CHECKSUM)                                                                                    \
    X(UPLOAD)                                                                                      \
    X(COMPLETED)                                                                                   \
    X(CONDITIONS)                                                                                  \
    X(IF_VALUE)                                                                                    \
    X(SOURCE)
enum field {
#define X(name) FIELD_##name,
    FIELDS(X) FIELD_COUNT
#undef X
};
#define BIT(field) (1u << FIELD_##field)

/* What a mutation of each kind may say, and whether it may bring data. */
#define OBJECT_NAME (BIT(KEY))
#define HAS_BYTES   (BIT(PIECES) | BIT(ETAG) | BIT(CHECKSUM) | BIT(SOURCE))
static const struct kind_rule {
    uint32_t fields;
    bool has_bucket, has_part_number, has_data;
} kinds[MUTATION_KIND_COUNT] = {
    [MUTATION_BUCKET_CREATE] = {BIT(NAME) | BIT(OWNER) | BIT(REGION), false, false, false},
    [MUTATION_BUCKET_DELETE] = {BIT(NAME), true, false, false},
    [MUTATION_OBJECT_PUT] = {OBJECT_NAME | HAS_BYTES | BIT(ATTRS) | BIT(PARTS) | BIT(CONDITIONS),
                             true, false, true},
    [MUTATION_OBJECT_DELETE] = {OBJECT_NAME | BIT(CONDITIONS), true, false, false},
    [MUTATION_UPLOAD_CREATE] = {OBJECT_NAME | BIT(ATTRS) | BIT(CHECKSUM) | BIT(UPLOAD), true, false,
                                false},
    [MUTATION_PART_PUT] = {OBJECT_NAME | HAS_BYTES | BIT(UPLOAD), true, true, true},
    [MUTATION_UPLOAD_COMPLETE] = {OBJECT_NAME | BIT(UPLOAD) | BIT(COMPLETED) | BIT(CHECKSUM) |
                                      BIT(CONDITIONS),
                                  true, false, false},
    [MUTATION_UPLOAD_ABORT] = {OBJECT_NAME | BIT(UPLOAD), true, false, false},
    [MUTATION_SETTING_PUT] = {BIT(KEY) | BIT(ATTRS) | BIT(IF_VALUE), false, false, false},
    [MUTATION_SETTING_DELETE] = {BIT(KEY), false, false, false},
};

static bool is_setting(enum mutation_kind kind)
{
    return kind == MUTATION_SETTING_PUT || kind == MUTATION_SETTING_DELETE;
}

/* What has one encoding, and lies within the limits. The same for what is about to be encoded and
 * for what was decoded. */
static enum err judge(const struct mutation *m, const struct record_head *head)
{
    size_t attrs_max = is_setting(m->kind) ? SETTING_BYTES_MAX : META_BYTES_MAX;
    if (m->bucket_name.size > TEXT_BYTES_MAX || m->owner.size > TEXT_BYTES_MAX ||
        m->region.size > TEXT_BYTES_MAX || m->key.size > KEY_BYTES_MAX ||
        m->source.key.size > KEY_BYTES_MAX || m->attrs.size > attrs_max ||
        m->if_value.size > SETTING_BYTES_MAX)
        return ERR_TOO_LARGE;
    if (m->piece_count > OBJECT_PIECES_MAX || m->part_count > PARTS_MAX ||
        m->completed_count > PARTS_MAX || m->size > OBJECT_BYTES_MAX)
        return ERR_TOO_LARGE;
    const struct log_data *data = &head->data;
    if (data_id_is_none(data->id) ? data->size != 0 || data->is_inline
                                  : data->size == 0 || data->size > OBJECT_BYTES_MAX)
        return ERR_INVALID;
    if (data->is_inline && data->size > INLINE_BYTES_MAX)
        return ERR_INVALID;
    return ERR_OK;
}

static enum err judge_piece(const struct piece *piece, uint64_t *sum)
{
    if (data_id_is_none(piece->data) || piece->size == 0 || piece->size > OBJECT_BYTES_MAX ||
        piece->offset > OBJECT_BYTES_MAX - piece->size || *sum > OBJECT_BYTES_MAX - piece->size)
        return ERR_INVALID;
    *sum += piece->size;
    return ERR_OK;
}

/* ---- writing: twice the same walk, first only to count ---- */

struct writer {
    uint8_t *out; /* NULL: counts */
    size_t size;
};

static void put(struct writer *w, const void *data, size_t size)
{
    if (w->out != NULL && size > 0)
        memcpy(w->out + w->size, data, size);
    w->size += size;
}

static void put_u16(struct writer *w, uint16_t value)
{
    uint8_t bytes[2];
    put_le16(bytes, value);
    put(w, bytes, sizeof bytes);
}

static void put_u32(struct writer *w, uint32_t value)
{
    uint8_t bytes[4];
    put_le32(bytes, value);
    put(w, bytes, sizeof bytes);
}

static void put_u64(struct writer *w, uint64_t value)
{
    uint8_t bytes[8];
    put_le64(bytes, value);
    put(w, bytes, sizeof bytes);
}

static void put_short(struct writer *w, struct bytes bytes)
{
    put_u16(w, (uint16_t)bytes.size);
    put(w, bytes.data, bytes.size);
}

static void put_long(struct writer *w, struct bytes bytes)
{
    put_u32(w, (uint32_t)bytes.size);
    put(w, bytes.data, bytes.size);
}

static void put_etag(struct writer *w, const struct etag *etag)
{
    put(w, etag->md5, sizeof etag->md5);
    put_u32(w, etag->parts);
}

static void put_checksum(struct writer *w, const struct checksum *checksum)
{
    const uint8_t head[CHECKSUM_HEAD_BYTES] = {checksum->algorithm, checksum->type, checksum->size};
    put(w, head, sizeof head);
    put(w, checksum->value, checksum->size);
}

static void put_pieces(struct writer *w, const struct mutation *m)
{
    put_u32(w, (uint32_t)m->piece_count);
    for (size_t i = 0; i < m->piece_count; i++) {
        put_u64(w, m->pieces[i].data.epoch);
        put_u64(w, m->pieces[i].data.counter);
        put_u64(w, m->pieces[i].offset);
        put_u64(w, m->pieces[i].size);
        put_u32(w, m->pieces[i].data_group);
    }
}

static void put_parts(struct writer *w, const struct mutation *m)
{
    put_u32(w, (uint32_t)m->part_count);
    for (size_t i = 0; i < m->part_count; i++) {
        put_u16(w, m->parts[i].number);
        put_u64(w, m->parts[i].size);
        put_checksum(w, &m->parts[i].checksum);
    }
}

static void put_completed(struct writer *w, const struct mutation *m)
{
    put_u32(w, (uint32_t)m->completed_count);
    for (size_t i = 0; i < m->completed_count; i++) {
        put_u16(w, m->completed[i].number);
        put_etag(w, &m->completed[i].etag);
        put_checksum(w, &m->completed[i].checksum);
    }
}

static uint8_t condition_flags(const struct conditions *c)
{
    return (uint8_t)((c->if_none_match_any ? IF_NONE_MATCH_ANY : 0) |
                     (c->if_match_any ? IF_MATCH_ANY : 0) | (c->has_if_match ? IF_MATCH : 0) |
                     (c->has_if_none_match ? IF_NONE_MATCH : 0) | (c->if_psn != 0 ? IF_PSN : 0));
}

static void put_conditions(struct writer *w, const struct conditions *c)
{
    const uint8_t head[4] = {condition_flags(c)};
    put(w, head, sizeof head);
    if (c->has_if_match)
        put_etag(w, &c->if_match);
    if (c->has_if_none_match)
        put_etag(w, &c->if_none_match);
    if (c->if_psn != 0)
        put_u64(w, c->if_psn);
}

static void put_source(struct writer *w, const struct mutation_source *source)
{
    put_u32(w, source->bucket.value);
    put_u64(w, source->psn);
    put_short(w, source->key);
}

static bool etag_is_none(const struct etag *etag)
{
    static const struct etag none;
    return etag->parts == 0 && memcmp(etag->md5, none.md5, sizeof none.md5) == 0;
}

static bool checksum_is_none(const struct checksum *checksum)
{
    return checksum->algorithm == 0 && checksum->type == 0 && checksum->size == 0;
}

static bool upload_is_none(const struct upload_id *upload)
{
    static const struct upload_id none;
    return memcmp(upload, &none, sizeof none) == 0;
}

/* Which fields say something, of those its kind has. */
static uint32_t fields_of(const struct mutation *m)
{
    uint32_t fields = 0;
    fields |= m->bucket_name.size > 0 ? BIT(NAME) : 0;
    fields |= m->key.size > 0 ? BIT(KEY) : 0;
    fields |= m->attrs.size > 0 ? BIT(ATTRS) : 0;
    fields |= m->owner.size > 0 ? BIT(OWNER) : 0;
    fields |= m->region.size > 0 ? BIT(REGION) : 0;
    fields |= m->body == NULL && m->piece_count > 0 && !m->takes_reference ? BIT(PIECES) : 0;
    fields |= m->parts != NULL && m->part_count > 0 ? BIT(PARTS) : 0;
    fields |= !etag_is_none(&m->etag) ? BIT(ETAG) : 0;
    fields |= !checksum_is_none(&m->checksum) ? BIT(CHECKSUM) : 0;
    fields |= !upload_is_none(&m->upload) ? BIT(UPLOAD) : 0;
    fields |= m->completed_count > 0 ? BIT(COMPLETED) : 0;
    fields |= condition_flags(&m->conditions) != 0 ? BIT(CONDITIONS) : 0;
    fields |= m->has_if_value ? BIT(IF_VALUE) : 0;
    fields |= m->source.psn != 0 ? BIT(SOURCE) : 0;
    return fields & kinds[m->kind].fields;
}

static void put_head(struct writer *w, const struct mutation *m, const struct record_head *head,
                     uint32_t fields)
{
    const struct kind_rule *rule = &kinds[m->kind];
    const struct log_data *data = &head->data;
    bool must_be_new = m->kind == MUTATION_SETTING_PUT && m->must_be_new;
    const uint8_t start[4] = {
        RECORD_LOG_VERSION, (uint8_t)m->kind, head->origin,
        (uint8_t)((data->is_inline ? FLAG_INLINE : 0) | (must_be_new ? FLAG_MUST_BE_NEW : 0))};
    put(w, start, sizeof start);
    put_u32(w, fields);
    put_u64(w, head->op);
    put_u64(w, head->now_ns);
    put_u64(w, data->id.epoch);
    put_u64(w, data->id.counter);
    put_u64(w, data->size);
    put_u64(w, rule->has_data ? m->size : 0);
    put_u32(w, rule->has_bucket ? m->bucket.value : 0);
    put_u16(w, rule->has_part_number ? m->part_number : 0);
    put_u16(w, 0);
}

static void put_field(struct writer *w, const struct mutation *m, enum field field)
{
    switch (field) {
    case FIELD_NAME:
        put_short(w, m->bucket_name);
        return;
    case FIELD_KEY:
        put_short(w, m->key);
        return;
    case FIELD_ATTRS:
        put_long(w, m->attrs);
        return;
    case FIELD_OWNER:
        put_short(w, m->owner);
        return;
    case FIELD_REGION:
        put_short(w, m->region);
        return;
    case FIELD_PIECES:
        put_pieces(w, m);
        return;
    case FIELD_PARTS:
        put_parts(w, m);
        return;
    case FIELD_ETAG:
        put_etag(w, &m->etag);
        return;
    case FIELD_CHECKSUM:
        put_checksum(w, &m->checksum);
        return;
    case FIELD_UPLOAD:
        put(w, m->upload.bytes, sizeof m->upload.bytes);
        return;
    case FIELD_COMPLETED:
        put_completed(w, m);
        return;
    case FIELD_CONDITIONS:
        put_conditions(w, &m->conditions);
        return;
    case FIELD_IF_VALUE:
        put_long(w, m->if_value);
        return;
    case FIELD_SOURCE:
        put_source(w, &m->source);
        return;
    case FIELD_COUNT:
        break;
    }
    CHECK(false);
}

static void put_record(struct writer *w, const struct mutation *m, const struct record_head *head)
{
    uint32_t fields = fields_of(m);
    put_head(w, m, head, fields);
    for (unsigned field = 0; field < FIELD_COUNT; field++)
        if (fields >> field & 1)
            put_field(w, m, (enum field)field);
}

/* What the walk over its lists takes for granted. */
static enum err judge_lists(const struct mutation *m, uint32_t fields)
{
    uint64_t sum = 0;
    for (size_t i = 0; (fields & BIT(PIECES)) && i < m->piece_count; i++)
        if (judge_piece(&m->pieces[i], &sum))
            return ERR_INVALID;
    bool is_good = m->checksum.size <= CHECKSUM_BYTES_MAX;
    for (size_t i = 0; (fields & BIT(PARTS)) && i < m->part_count; i++)
        is_good = is_good && m->parts[i].checksum.size <= CHECKSUM_BYTES_MAX;
    for (size_t i = 0; (fields & BIT(COMPLETED)) && i < m->completed_count; i++)
        is_good = is_good && m->completed[i].checksum.size <= CHECKSUM_BYTES_MAX;
    return is_good ? ERR_OK : ERR_INVALID;
}

#define LISTS_BYTES_MAX                                                                            \
    (OBJECT_PIECES_MAX * PIECE_BYTES + PARTS_MAX * (PART_HEAD_BYTES + CHECKSUM_MAX))
#define COMPLETED_BYTES_MAX (PARTS_MAX * (2 + ETAG_BYTES + CHECKSUM_MAX))
#define SMALL_FIELDS_MAX    (2 * SETTING_BYTES_MAX + 2 * KEY_BYTES_MAX + 4096u)
_Static_assert(LISTS_BYTES_MAX + SMALL_FIELDS_MAX <= RECORD_BYTES_MAX &&
                   COMPLETED_BYTES_MAX + SMALL_FIELDS_MAX <= RECORD_BYTES_MAX,
               "whatever is within its limits has a record");
_Static_assert(SETTING_NAME_BYTES_MAX <= KEY_BYTES_MAX, "a setting's name is a key");

enum err record_encode(const struct mutation *m, const struct record_head *head,
                       uint8_t **ret_record, size_t *ret_size, struct err_trail *trail)
{
    CHECK((unsigned)m->kind < MUTATION_KIND_COUNT && head->kind == m->kind);
    CHECK(kinds[m->kind].has_data || data_id_is_none(head->data.id));
    enum err e = judge(m, head);
    uint32_t fields = fields_of(m);
    if (e == ERR_OK)
        e = judge_lists(m, fields);
    if (e == ERR_OK && !data_id_is_none(head->data.id) && (fields & (BIT(PIECES) | BIT(PARTS))))
        e = ERR_INVALID; /* both new bytes and a copy */
    if (e)
        return err_note(trail, e, "a change that no node can apply");
    struct writer count = {0};
    put_record(&count, m, head);
    CHECK(count.size <= RECORD_BYTES_MAX);
    struct writer w = {.out = malloc(count.size)};
    if (w.out == NULL)
        return err_note(trail, ERR_NO_MEMORY, "a record of %zu bytes", count.size);
    put_record(&w, m, head);
    CHECK(w.size == count.size);
    *ret_record = w.out;
    *ret_size = w.size;
    return ERR_OK;
}

/* ---- reading ---- */

/* Cuts off the front; what is not there makes `failed`, and zeros. */
struct reader {
    struct bytes rest;
    bool failed;
};

static const void *cut(struct reader *r, size_t size)
{
    static const uint8_t zeros[64];
    if (r->failed || r->rest.size < size) {
        r->failed = true;
        return size <= sizeof zeros ? zeros : NULL;
    }
    const void *front = r->rest.data;
    r->rest = bytes_slice(r->rest, size, SIZE_MAX);
    return front;
}

static uint16_t cut_u16(struct reader *r)
{
    return get_le16(cut(r, 2));
}

static uint32_t cut_u32(struct reader *r)
{
    return get_le32(cut(r, 4));
}

static uint64_t cut_u64(struct reader *r)
{
    return get_le64(cut(r, 8));
}

static struct bytes cut_bytes(struct reader *r, size_t size)
{
    const void *front = cut(r, size);
    return r->failed ? (struct bytes){0} : bytes_of(front, size);
}

/* Of a field that is left out when it is empty. */
static struct bytes cut_short(struct reader *r)
{
    struct bytes bytes = cut_bytes(r, cut_u16(r));
    r->failed |= bytes.size == 0;
    return bytes;
}

static struct etag cut_etag(struct reader *r)
{
    struct etag etag;
    memcpy(etag.md5, cut(r, sizeof etag.md5), sizeof etag.md5);
    etag.parts = cut_u32(r);
    return etag;
}

static struct checksum cut_checksum(struct reader *r)
{
    const uint8_t *head = cut(r, CHECKSUM_HEAD_BYTES);
    struct checksum checksum = {.algorithm = head[0], .type = head[1], .size = head[2]};
    if (checksum.size > CHECKSUM_BYTES_MAX || head[3] != 0) {
        r->failed = true;
        return (struct checksum){0};
    }
    memcpy(checksum.value, cut(r, checksum.size), checksum.size);
    return checksum;
}

static void cut_conditions(struct reader *r, struct conditions *c)
{
    const uint8_t *head = cut(r, 4);
    uint8_t flags = head[0];
    r->failed |= head[1] != 0 || head[2] != 0 || head[3] != 0;
    c->if_none_match_any = flags & IF_NONE_MATCH_ANY;
    c->if_match_any = flags & IF_MATCH_ANY;
    c->has_if_match = flags & IF_MATCH;
    c->has_if_none_match = flags & IF_NONE_MATCH;
    if (c->has_if_match)
        c->if_match = cut_etag(r);
    if (c->has_if_none_match)
        c->if_none_match = cut_etag(r);
    if (flags & IF_PSN)
        c->if_psn = cut_u64(r);
    r->failed |= condition_flags(c) != flags || flags == 0;
}

/* How many there are, each of at least so many bytes: no count is believed that the rest of the
 * record cannot hold. */
static size_t cut_count(struct reader *r, size_t max, size_t least_bytes)
{
    size_t count = cut_u32(r);
    r->failed |= count == 0 || count > max || count > r->rest.size / least_bytes;
    return r->failed ? 0 : count;
}

/* A list in memory of its own: of a mutation one at most, or pieces and parts. */
static void *make_list(struct reader *r, enum err *e, size_t count, size_t element_bytes)
{
    if (r->failed)
        return NULL;
    void *list = calloc(count, element_bytes);
    if (list == NULL)
        *e = ERR_NO_MEMORY;
    return list;
}

static enum err cut_pieces(struct reader *r, struct mutation *m)
{
    enum err e = ERR_OK;
    size_t count = cut_count(r, OBJECT_PIECES_MAX, PIECE_BYTES);
    struct piece *pieces = make_list(r, &e, count, sizeof *pieces);
    uint64_t sum = 0;
    for (size_t i = 0; pieces != NULL && i < count; i++) {
        pieces[i].data.epoch = cut_u64(r);
        pieces[i].data.counter = cut_u64(r);
        pieces[i].offset = cut_u64(r);
        pieces[i].size = cut_u64(r);
        pieces[i].data_group = cut_u32(r);
        if (judge_piece(&pieces[i], &sum))
            r->failed = true;
    }
    m->pieces = pieces;
    m->piece_count = pieces != NULL ? count : 0;
    return e;
}

static enum err cut_parts(struct reader *r, struct mutation *m)
{
    enum err e = ERR_OK;
    size_t count = cut_count(r, PARTS_MAX, PART_HEAD_BYTES + CHECKSUM_HEAD_BYTES);
    struct object_part *parts = make_list(r, &e, count, sizeof *parts);
    for (size_t i = 0; parts != NULL && i < count; i++) {
        parts[i].number = cut_u16(r);
        parts[i].size = cut_u64(r);
        parts[i].checksum = cut_checksum(r);
    }
    m->parts = parts;
    m->part_count = parts != NULL ? count : 0;
    return e;
}

static enum err cut_completed(struct reader *r, struct mutation *m)
{
    enum err e = ERR_OK;
    size_t count = cut_count(r, PARTS_MAX, 2 + ETAG_BYTES + CHECKSUM_HEAD_BYTES);
    struct completed_part *completed = make_list(r, &e, count, sizeof *completed);
    for (size_t i = 0; completed != NULL && i < count; i++) {
        completed[i].number = cut_u16(r);
        completed[i].etag = cut_etag(r);
        completed[i].checksum = cut_checksum(r);
    }
    m->completed = completed;
    m->completed_count = completed != NULL ? count : 0;
    return e;
}

static enum err cut_field(struct reader *r, struct mutation *m, enum field field)
{
    switch (field) {
    case FIELD_NAME:
        m->bucket_name = cut_short(r);
        return ERR_OK;
    case FIELD_KEY:
        m->key = cut_short(r);
        return ERR_OK;
    case FIELD_ATTRS:
        m->attrs = cut_bytes(r, cut_u32(r));
        r->failed |= m->attrs.size == 0;
        return ERR_OK;
    case FIELD_OWNER:
        m->owner = cut_short(r);
        return ERR_OK;
    case FIELD_REGION:
        m->region = cut_short(r);
        return ERR_OK;
    case FIELD_PIECES:
        return cut_pieces(r, m);
    case FIELD_PARTS:
        return cut_parts(r, m);
    case FIELD_ETAG:
        m->etag = cut_etag(r);
        r->failed |= etag_is_none(&m->etag);
        return ERR_OK;
    case FIELD_CHECKSUM:
        m->checksum = cut_checksum(r);
        r->failed |= checksum_is_none(&m->checksum);
        return ERR_OK;
    case FIELD_UPLOAD:
        memcpy(m->upload.bytes, cut(r, sizeof m->upload.bytes), sizeof m->upload.bytes);
        r->failed |= upload_is_none(&m->upload);
        return ERR_OK;
    case FIELD_COMPLETED:
        return cut_completed(r, m);
    case FIELD_CONDITIONS:
        cut_conditions(r, &m->conditions);
        return ERR_OK;
    case FIELD_IF_VALUE:
        m->if_value = cut_bytes(r, cut_u32(r));
        m->has_if_value = true;
        return ERR_OK;
    case FIELD_SOURCE:
        m->source.bucket.value = cut_u32(r);
        m->source.psn = cut_u64(r);
        m->source.key = cut_bytes(r, cut_u16(r));
        r->failed |= m->source.psn == 0;
        return ERR_OK;
    case FIELD_COUNT:
        break;
    }
    CHECK(false);
}

/* The head's own fields, and those of it that are the mutation's. */
static enum err cut_head(struct reader *r, struct mutation *m, struct record_head *head,
                         uint32_t *ret_fields)
{
    const uint8_t *start = cut(r, 4);
    if (r->failed)
        return ERR_CORRUPT;
    if (start[0] > RECORD_LOG_VERSION)
        return ERR_FORMAT_NEWER;
    if (start[0] != RECORD_LOG_VERSION || start[1] >= MUTATION_KIND_COUNT)
        return ERR_CORRUPT;
    m->kind = (enum mutation_kind)start[1];
    const struct kind_rule *rule = &kinds[m->kind];
    *ret_fields = cut_u32(r);
    *head = (struct record_head){.kind = m->kind, .origin = start[2], .op = cut_u64(r)};
    head->now_ns = m->now_ns = cut_u64(r);
    head->data.id.epoch = cut_u64(r);
    head->data.id.counter = cut_u64(r);
    head->data.size = cut_u64(r);
    head->data.is_inline = start[3] & FLAG_INLINE;
    m->must_be_new = start[3] & FLAG_MUST_BE_NEW;
    m->size = cut_u64(r);
    m->bucket.value = cut_u32(r);
    m->part_number = cut_u16(r);
    uint16_t zero = cut_u16(r);
    bool has_data = !data_id_is_none(head->data.id);
    bool is_good = !r->failed && zero == 0 && (start[3] & ~(FLAG_INLINE | FLAG_MUST_BE_NEW)) == 0 &&
                   (*ret_fields & ~rule->fields) == 0 && (rule->has_data || !has_data) &&
                   (rule->has_data || m->size == 0) && (rule->has_bucket || m->bucket.value == 0) &&
                   (rule->has_part_number || m->part_number == 0) &&
                   (m->kind == MUTATION_SETTING_PUT || !m->must_be_new) &&
                   !(has_data && (*ret_fields & (BIT(PIECES) | BIT(PARTS))));
    return is_good && judge(m, head) == ERR_OK ? ERR_OK : ERR_CORRUPT;
}

enum err record_peek(struct bytes record, struct record_head *ret_head)
{
    struct reader r = {.rest = record};
    struct mutation m = {0};
    struct record_head head;
    uint32_t fields;
    enum err e = record.size <= RECORD_BYTES_MAX ? cut_head(&r, &m, &head, &fields) : ERR_CORRUPT;
    if (e == ERR_OK)
        *ret_head = head;
    return e;
}

void record_stamp(uint8_t *record, size_t size, uint64_t now_ns)
{
    CHECK(size >= RECORD_HEAD_BYTES);
    put_le64(record + 16, now_ns);
}

static void refer_to_data(struct decoded *decoded)
{
    const struct log_data *data = &decoded->head.data;
    if (data_id_is_none(data->id))
        return;
    decoded->piece = (struct piece){.data = data->id, .size = data->size};
    decoded->m.pieces = &decoded->piece;
    decoded->m.piece_count = 1;
    decoded->m.takes_reference = true;
}

enum err record_decode(struct bytes record, struct decoded **ret_decoded)
{
    if (record.size > RECORD_BYTES_MAX)
        return ERR_CORRUPT;
    struct decoded *decoded = calloc(1, sizeof *decoded);
    if (decoded == NULL)
        return ERR_NO_MEMORY;
    struct reader r = {.rest = record};
    struct mutation *m = &decoded->m;
    uint32_t fields;
    m->magic = MUTATION_MAGIC;
    enum err e = cut_head(&r, m, &decoded->head, &fields);
    for (unsigned field = 0; e == ERR_OK && !r.failed && field < FIELD_COUNT; field++)
        if (fields >> field & 1)
            e = cut_field(&r, m, (enum field)field);
    if (e == ERR_OK && (r.failed || r.rest.size != 0 || judge(m, &decoded->head)))
        e = ERR_CORRUPT;
    if (e) {
        record_decoded_free(decoded);
        return e;
    }
    refer_to_data(decoded);
    *ret_decoded = decoded;
    return ERR_OK;
}

struct decoded *record_decoded_barrier(void)
{
    struct decoded *decoded = calloc(1, sizeof *decoded);
    if (decoded != NULL)
        decoded->m.is_barrier = true;
    return decoded;
}

void record_decoded_free(struct decoded *decoded)
{
    if (decoded == NULL)
        return;
    if (decoded->m.pieces != &decoded->piece)
        free((void *)decoded->m.pieces);
    free((void *)decoded->m.parts);
    free((void *)decoded->m.completed);
    decoded->m.magic = 0;
    free(decoded);
}
