/*
 * Records of a group's log: each kind of mutation comes back as it went in, with all it may say and
 * with nothing; cut short, lengthened or with a bit turned it is refused, or is a record itself,
 * whose encoding is the very bytes.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include "base/check.h"
#include "base/rand.h"
#include "replication/record.h"

#define LIST_MAX 5u

/* A mutation and all that it borrows. */
struct sample {
    struct mutation m;
    struct record_head head;
    char texts[6][1024];
    struct piece pieces[LIST_MAX];
    struct object_part parts[LIST_MAX];
    struct completed_part completed[LIST_MAX];
};

static bool coin(struct rand *rand)
{
    return rand_below(rand, 2) == 0;
}

static struct bytes random_text(struct rand *rand, char *text, size_t max)
{
    size_t size = coin(rand) ? 0 : rand_below(rand, max + 1);
    rand_fill(rand, text, size);
    return bytes_of(text, size);
}

static struct etag random_etag(struct rand *rand)
{
    struct etag etag = {.parts = (uint32_t)rand_below(rand, 3)};
    rand_fill(rand, etag.md5, sizeof etag.md5);
    return etag;
}

static struct checksum random_checksum(struct rand *rand)
{
    struct checksum checksum = {.algorithm = (uint8_t)rand_below(rand, 7),
                                .type = (uint8_t)rand_below(rand, 2),
                                .size = (uint8_t)rand_below(rand, CHECKSUM_BYTES_MAX + 1)};
    rand_fill(rand, checksum.value, checksum.size);
    return checksum;
}

static struct data_id random_id(struct rand *rand)
{
    return (struct data_id){1ull << 63 | rand_u64(rand), 1 + rand_below(rand, 1000)};
}

static void random_lists(struct rand *rand, struct sample *s)
{
    struct mutation *m = &s->m;
    m->pieces = s->pieces;
    m->parts = s->parts;
    m->completed = s->completed;
    m->piece_count = rand_below(rand, LIST_MAX + 1);
    m->part_count = rand_below(rand, LIST_MAX + 1);
    m->completed_count = rand_below(rand, LIST_MAX + 1);
    for (unsigned i = 0; i < LIST_MAX; i++) {
        s->pieces[i] = (struct piece){.data = random_id(rand),
                                      .offset = rand_below(rand, 1ull << 40),
                                      .size = 1 + rand_below(rand, 1ull << 40),
                                      .data_group = (uint32_t)rand_below(rand, 9)};
        s->parts[i] = (struct object_part){
            .number = (uint16_t)(1 + i), .size = rand_u64(rand), .checksum = random_checksum(rand)};
        s->completed[i] = (struct completed_part){.number = (uint16_t)(1 + i),
                                                  .etag = random_etag(rand),
                                                  .checksum = random_checksum(rand)};
    }
}

static struct conditions random_conditions(struct rand *rand)
{
    struct conditions c = {.if_none_match_any = coin(rand),
                           .if_match_any = coin(rand),
                           .has_if_match = coin(rand),
                           .has_if_none_match = coin(rand),
                           .if_psn = coin(rand) ? rand_u64(rand) : 0};
    if (c.has_if_match)
        c.if_match = random_etag(rand);
    if (c.has_if_none_match)
        c.if_none_match = random_etag(rand);
    return c;
}

/* Says what its kind may say, and what it may not as well: that must not travel. */
static void make_sample(struct rand *rand, enum mutation_kind kind, struct sample *s)
{
    *s = (struct sample){.m = {.kind = kind}};
    struct mutation *m = &s->m;
    bool brings_data = (kind == MUTATION_OBJECT_PUT || kind == MUTATION_PART_PUT) && coin(rand);
    m->bucket_name = random_text(rand, s->texts[0], BUCKET_NAME_BYTES_MAX);
    m->key = random_text(rand, s->texts[1], KEY_BYTES_MAX);
    m->attrs = random_text(rand, s->texts[2], 1024);
    m->owner = random_text(rand, s->texts[3], 64);
    m->region = random_text(rand, s->texts[4], 31);
    m->if_value = random_text(rand, s->texts[5], 1024);
    m->has_if_value = m->if_value.size > 0 || coin(rand);
    m->must_be_new = coin(rand);
    m->bucket.value = (uint32_t)rand_u64(rand);
    random_lists(rand, s);
    if (brings_data)
        m->piece_count = m->part_count = 0;
    m->size = rand_below(rand, 1ull << 45);
    m->etag = coin(rand) ? random_etag(rand) : (struct etag){.parts = 0};
    m->checksum = coin(rand) ? random_checksum(rand) : (struct checksum){.size = 0};
    if (coin(rand))
        rand_fill(rand, &m->upload, sizeof m->upload);
    m->part_number = (uint16_t)rand_below(rand, 10001);
    m->conditions = coin(rand) ? random_conditions(rand) : (struct conditions){.if_psn = 0};
    if (coin(rand))
        m->source = (struct mutation_source){{7}, BYTES("a/source"), 1 + rand_below(rand, 99)};
    s->head = (struct record_head){.kind = kind,
                                   .now_ns = rand_u64(rand),
                                   .origin = (uint8_t)rand_below(rand, 7),
                                   .op = rand_u64(rand)};
    if (brings_data)
        s->head.data =
            (struct log_data){random_id(rand), 1 + rand_below(rand, INLINE_BYTES_MAX), coin(rand)};
}

static void expect_etag(const struct etag *a, const struct etag *b)
{
    assert_int_equal(a->parts, b->parts);
    assert_memory_equal(a->md5, b->md5, sizeof a->md5);
}

static void expect_checksum(const struct checksum *a, const struct checksum *b)
{
    assert_int_equal(a->algorithm, b->algorithm);
    assert_int_equal(a->type, b->type);
    assert_int_equal(a->size, b->size);
    assert_memory_equal(a->value, b->value, a->size);
}

static void expect_pieces(const struct decoded *d, const struct sample *s)
{
    const struct log_data *data = &s->head.data;
    assert_int_equal(d->m.takes_reference, !data_id_is_none(data->id));
    if (d->m.takes_reference) {
        assert_int_equal(d->m.piece_count, 1);
        assert_true(data_id_equal(d->m.pieces[0].data, data->id));
        assert_int_equal(d->m.pieces[0].offset, 0);
        assert_int_equal(d->m.pieces[0].size, data->size);
        return;
    }
    assert_int_equal(d->m.piece_count, s->m.piece_count);
    for (size_t i = 0; i < d->m.piece_count; i++) {
        assert_true(data_id_equal(d->m.pieces[i].data, s->pieces[i].data));
        assert_int_equal(d->m.pieces[i].offset, s->pieces[i].offset);
        assert_int_equal(d->m.pieces[i].size, s->pieces[i].size);
        assert_int_equal(d->m.pieces[i].data_group, s->pieces[i].data_group);
    }
}

static void expect_conditions(const struct conditions *a, const struct conditions *b)
{
    assert_int_equal(a->if_none_match_any, b->if_none_match_any);
    assert_int_equal(a->if_match_any, b->if_match_any);
    assert_int_equal(a->has_if_match, b->has_if_match);
    assert_int_equal(a->has_if_none_match, b->has_if_none_match);
    assert_int_equal(a->if_psn, b->if_psn);
    expect_etag(&a->if_match, &b->if_match);
    expect_etag(&a->if_none_match, &b->if_none_match);
}

/* Field by field, for the kinds that have it. Written apart from the codec's own table. */
static void expect_same(const struct decoded *d, const struct sample *s)
{
    const struct mutation *a = &d->m, *b = &s->m;
    enum mutation_kind kind = b->kind;
    bool is_bucket = kind == MUTATION_BUCKET_CREATE || kind == MUTATION_BUCKET_DELETE;
    bool is_setting = kind == MUTATION_SETTING_PUT || kind == MUTATION_SETTING_DELETE;
    bool is_put = kind == MUTATION_OBJECT_PUT || kind == MUTATION_PART_PUT;
    assert_int_equal(a->magic, MUTATION_MAGIC);
    assert_int_equal(a->kind, kind);
    assert_int_equal(a->now_ns, s->head.now_ns);
    assert_int_equal(d->head.op, s->head.op);
    assert_int_equal(d->head.origin, s->head.origin);
    assert_true(data_id_equal(d->head.data.id, s->head.data.id));
    assert_int_equal(d->head.data.size, s->head.data.size);
    assert_int_equal(d->head.data.is_inline, s->head.data.is_inline);
    expect_pieces(d, is_put ? s : &(struct sample){.head = s->head});
    if (is_bucket) {
        assert_true(bytes_equal(a->bucket_name, b->bucket_name));
        assert_int_equal(a->bucket.value, kind == MUTATION_BUCKET_DELETE ? b->bucket.value : 0);
    }
    if (kind == MUTATION_BUCKET_CREATE) {
        assert_true(bytes_equal(a->owner, b->owner));
        assert_true(bytes_equal(a->region, b->region));
    }
    if (!is_bucket) {
        assert_true(bytes_equal(a->key, b->key));
        assert_int_equal(a->bucket.value, is_setting ? 0 : b->bucket.value);
    }
    if (is_put) {
        assert_int_equal(a->size, b->size);
        expect_etag(&a->etag, &b->etag);
        assert_int_equal(a->source.psn, b->source.psn);
        assert_int_equal(a->source.bucket.value, b->source.bucket.value);
        assert_true(bytes_equal(a->source.key, b->source.key));
    }
    if (is_put || kind == MUTATION_UPLOAD_CREATE || kind == MUTATION_UPLOAD_COMPLETE)
        expect_checksum(&a->checksum, &b->checksum);
    if (kind == MUTATION_OBJECT_PUT || kind == MUTATION_UPLOAD_CREATE ||
        kind == MUTATION_SETTING_PUT)
        assert_true(bytes_equal(a->attrs, b->attrs));
    if (kind == MUTATION_OBJECT_PUT || kind == MUTATION_OBJECT_DELETE ||
        kind == MUTATION_UPLOAD_COMPLETE)
        expect_conditions(&a->conditions, &b->conditions);
    if (kind == MUTATION_PART_PUT || kind == MUTATION_UPLOAD_CREATE ||
        kind == MUTATION_UPLOAD_COMPLETE || kind == MUTATION_UPLOAD_ABORT)
        assert_memory_equal(&a->upload, &b->upload, sizeof a->upload);
    assert_int_equal(a->part_number, kind == MUTATION_PART_PUT ? b->part_number : 0);
    if (kind == MUTATION_SETTING_PUT) {
        assert_int_equal(a->has_if_value, b->has_if_value);
        assert_true(bytes_equal(a->if_value, b->if_value));
    }
    assert_int_equal(a->must_be_new, kind == MUTATION_SETTING_PUT && b->must_be_new);
    if (kind == MUTATION_OBJECT_PUT) {
        assert_int_equal(a->part_count, b->part_count);
        for (size_t i = 0; i < a->part_count; i++) {
            assert_int_equal(a->parts[i].number, b->parts[i].number);
            assert_int_equal(a->parts[i].size, b->parts[i].size);
            expect_checksum(&a->parts[i].checksum, &b->parts[i].checksum);
        }
    }
    if (kind == MUTATION_UPLOAD_COMPLETE) {
        assert_int_equal(a->completed_count, b->completed_count);
        for (size_t i = 0; i < a->completed_count; i++) {
            assert_int_equal(a->completed[i].number, b->completed[i].number);
            expect_etag(&a->completed[i].etag, &b->completed[i].etag);
            expect_checksum(&a->completed[i].checksum, &b->completed[i].checksum);
        }
    }
}

static void each_kind_comes_back_as_it_went_in(void **state)
{
    struct rand_seeded seeded;
    static struct sample s;
    rand_seeded_init(&seeded, 1);
    for (unsigned round = 0; round < 300; round++)
        for (unsigned kind = 0; kind < MUTATION_KIND_COUNT; kind++) {
            uint8_t *record;
            size_t size;
            struct decoded *d;
            struct record_head head;
            make_sample(&seeded.rand, (enum mutation_kind)kind, &s);
            assert_int_equal(record_encode(&s.m, &s.head, &record, &size, NULL), ERR_OK);
            assert_int_equal(record_peek(bytes_of(record, size), &head), ERR_OK);
            assert_int_equal(head.op, s.head.op);
            assert_int_equal(head.kind, s.head.kind);
            assert_true(data_id_equal(head.data.id, s.head.data.id));
            assert_int_equal(record_decode(bytes_of(record, size), &d), ERR_OK);
            expect_same(d, &s);
            record_decoded_free(d);
            free(record);
        }
    record_decoded_free(NULL);
}

/* A decoder's argument in memory of exactly its size, so that a sanitizer sees a step beyond. */
static enum err decode_exactly(const uint8_t *record, size_t size, struct decoded **ret)
{
    uint8_t *exact = malloc(size > 0 ? size : 1);
    assert_non_null(exact);
    memcpy(exact, record, size);
    enum err e = record_decode(bytes_of(exact, size), ret);
    if (e == ERR_OK) { /* one encoding each */
        uint8_t *again;
        size_t again_size;
        assert_int_equal(record_encode(&(*ret)->m, &(*ret)->head, &again, &again_size, NULL),
                         ERR_OK);
        assert_int_equal(again_size, size);
        assert_memory_equal(again, exact, size);
        free(again);
        record_decoded_free(*ret);
        *ret = NULL;
    }
    free(exact);
    return e;
}

static void what_was_damaged_is_judged(void **state)
{
    struct rand_seeded seeded;
    static struct sample s;
    rand_seeded_init(&seeded, 2);
    unsigned refused = 0, accepted = 0;
    for (unsigned round = 0; round < 20; round++)
        for (unsigned kind = 0; kind < MUTATION_KIND_COUNT; kind++) {
            uint8_t *record;
            size_t size;
            struct decoded *d = NULL;
            make_sample(&seeded.rand, (enum mutation_kind)kind, &s);
            assert_int_equal(record_encode(&s.m, &s.head, &record, &size, NULL), ERR_OK);
            for (size_t cut = 0; cut < size; cut += 1 + cut / 50)
                assert_int_equal(decode_exactly(record, cut, &d), ERR_CORRUPT);
            record = realloc(record, size + 1);
            assert_non_null(record);
            record[size] = 0;
            assert_int_equal(decode_exactly(record, size + 1, &d), ERR_CORRUPT);
            for (unsigned i = 0; i < 200; i++) {
                size_t within =
                    coin(&seeded.rand) && size > RECORD_HEAD_BYTES ? RECORD_HEAD_BYTES : size;
                size_t bit = rand_below(&seeded.rand, within * 8);
                record[bit / 8] ^= (uint8_t)(1u << bit % 8);
                enum err e = decode_exactly(record, size, &d);
                assert_true(e == ERR_OK || e == ERR_CORRUPT || e == ERR_FORMAT_NEWER);
                *(e ? &refused : &accepted) += 1;
                record[bit / 8] ^= (uint8_t)(1u << bit % 8);
            }
            free(record);
        }
    assert_true(refused > 1000 && accepted > 1000);
}

static void a_count_is_not_believed_without_its_bytes(void **state)
{
    struct piece piece = {.data = {1, 1}, .size = 1};
    struct mutation m = {.kind = MUTATION_OBJECT_PUT, .pieces = &piece, .piece_count = 1};
    uint8_t *record;
    size_t size;
    struct decoded *d;
    assert_int_equal(record_encode(&m, &(struct record_head){.kind = m.kind}, &record, &size, NULL),
                     ERR_OK);
    put_le32(record + RECORD_HEAD_BYTES, OBJECT_PIECES_MAX); /* 4.7 MB of list for 36 bytes */
    assert_int_equal(record_decode(bytes_of(record, size), &d), ERR_CORRUPT);
    put_le32(record + RECORD_HEAD_BYTES, 0);
    assert_int_equal(record_decode(bytes_of(record, size), &d), ERR_CORRUPT);
    free(record);
}

static void a_newer_version_is_told_apart(void **state)
{
    struct mutation m = {.kind = MUTATION_UPLOAD_ABORT, .key = BYTES("k")};
    uint8_t *record;
    size_t size;
    struct decoded *d;
    struct record_head head;
    assert_int_equal(record_encode(&m, &(struct record_head){.kind = m.kind}, &record, &size, NULL),
                     ERR_OK);
    record[0] = RECORD_LOG_VERSION + 1;
    assert_int_equal(record_decode(bytes_of(record, size), &d), ERR_FORMAT_NEWER);
    assert_int_equal(record_peek(bytes_of(record, size), &head), ERR_FORMAT_NEWER);
    free(record);
}

static void what_no_node_could_apply_is_not_encoded(void **state)
{
    static char text[SETTING_BYTES_MAX + 1];
    static struct piece pieces[2] = {{.data = {1, 1}, .size = OBJECT_BYTES_MAX},
                                     {.data = {1, 2}, .size = 1}};
    const struct piece empty = {.data = {1, 1}};
    const struct log_data data = {{1, 1}, 5, false}, nothing = {{1, 1}, 0, false},
                          large_inline = {{1, 1}, INLINE_BYTES_MAX + 1, true};
    const struct {
        struct mutation m;
        struct log_data data;
        enum err expected;
    } table[] = {
        {{.kind = MUTATION_OBJECT_DELETE, .key = {text, KEY_BYTES_MAX + 1}}, {{0}}, ERR_TOO_LARGE},
        {{.kind = MUTATION_OBJECT_DELETE, .key = {text, KEY_BYTES_MAX}}, {{0}}, ERR_OK},
        {{.kind = MUTATION_OBJECT_PUT, .attrs = {text, META_BYTES_MAX + 1}}, {{0}}, ERR_TOO_LARGE},
        {{.kind = MUTATION_SETTING_PUT, .attrs = {text, SETTING_BYTES_MAX}}, {{0}}, ERR_OK},
        {{.kind = MUTATION_SETTING_PUT, .attrs = {text, SETTING_BYTES_MAX + 1}},
         {{0}},
         ERR_TOO_LARGE},
        {{.kind = MUTATION_OBJECT_PUT, .pieces = pieces, .piece_count = 1}, {{0}}, ERR_OK},
        {{.kind = MUTATION_OBJECT_PUT, .pieces = pieces, .piece_count = 2}, {{0}}, ERR_INVALID},
        {{.kind = MUTATION_OBJECT_PUT, .pieces = &empty, .piece_count = 1}, {{0}}, ERR_INVALID},
        {{.kind = MUTATION_OBJECT_PUT, .pieces = pieces, .piece_count = 1}, data, ERR_INVALID},
        {{.kind = MUTATION_OBJECT_PUT}, data, ERR_OK},
        {{.kind = MUTATION_OBJECT_PUT}, nothing, ERR_INVALID},
        {{.kind = MUTATION_PART_PUT}, large_inline, ERR_INVALID},
        {{.kind = MUTATION_OBJECT_PUT, .size = OBJECT_BYTES_MAX + 1}, {{0}}, ERR_TOO_LARGE},
        {{.kind = MUTATION_OBJECT_PUT, .checksum.size = CHECKSUM_BYTES_MAX + 1},
         {{0}},
         ERR_INVALID},
    };
    for (size_t i = 0; i < COUNT_OF(table); i++) {
        uint8_t *record = NULL;
        size_t size;
        struct err_trail trail = {.text = ""};
        struct record_head head = {.kind = table[i].m.kind, .data = table[i].data};
        enum err e = record_encode(&table[i].m, &head, &record, &size, &trail);
        if (e != table[i].expected)
            fail_msg("row %zu: %s", i, err_name(e));
        assert_int_equal(trail.text[0] != '\0', e != ERR_OK);
        free(record);
    }
}

static void the_largest_there_can_be_fits(void **state)
{
    struct piece *pieces = calloc(OBJECT_PIECES_MAX, sizeof *pieces);
    struct object_part *parts = calloc(PARTS_MAX, sizeof *parts);
    static char text[META_BYTES_MAX];
    assert_non_null(pieces);
    assert_non_null(parts);
    for (size_t i = 0; i < OBJECT_PIECES_MAX; i++)
        pieces[i] = (struct piece){.data = {1, 1 + i}, .size = 1};
    for (size_t i = 0; i < PARTS_MAX; i++)
        parts[i].checksum.size = CHECKSUM_BYTES_MAX;
    struct mutation m = {.kind = MUTATION_OBJECT_PUT,
                         .key = {text, KEY_BYTES_MAX},
                         .attrs = {text, META_BYTES_MAX},
                         .pieces = pieces,
                         .piece_count = OBJECT_PIECES_MAX,
                         .parts = parts,
                         .part_count = PARTS_MAX,
                         .source = {{1}, {text, KEY_BYTES_MAX}, 1}};
    uint8_t *record;
    size_t size;
    struct decoded *d;
    assert_int_equal(record_encode(&m, &(struct record_head){.kind = m.kind}, &record, &size, NULL),
                     ERR_OK);
    assert_true(size <= RECORD_BYTES_MAX);
    assert_int_equal(record_decode(bytes_of(record, size), &d), ERR_OK);
    assert_int_equal(d->m.piece_count, OBJECT_PIECES_MAX);
    record_decoded_free(d);
    record_stamp(record, size, 12345);
    assert_int_equal(record_decode(bytes_of(record, size), &d), ERR_OK);
    assert_int_equal(d->m.now_ns, 12345);
    record_decoded_free(d);
    free(record);
    free(pieces);
    free(parts);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(each_kind_comes_back_as_it_went_in),
        cmocka_unit_test(what_was_damaged_is_judged),
        cmocka_unit_test(a_count_is_not_believed_without_its_bytes),
        cmocka_unit_test(a_newer_version_is_told_apart),
        cmocka_unit_test(what_no_node_could_apply_is_not_encoded),
        cmocka_unit_test(the_largest_there_can_be_fits),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
