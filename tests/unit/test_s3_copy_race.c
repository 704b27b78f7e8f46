/*
 * Copies whose source changes between being looked up and being ordered: somebody else's change is
 * put in front of the copy, where it enters the group (the linker puts the test there: see 'wrap'
 * in api/s3/meson.build).
 */
#include "tests/unit/s3_harness.h"

#define OLD_BYTES 200001u
#define NEW_BYTES 90001u

static struct {
    _Atomic unsigned changes; /* still to be made, one before each copy */
    _Atomic bool deletes;     /* the source; else it becomes a copy of "other" */
} somebody;

void __real_group_propose(struct group *group, struct mutation *m);
void __wrap_group_propose(struct group *group, struct mutation *m);

struct change {
    struct mutation m;
    struct object *other;
    struct piece *pieces;
};

static void changed(struct mutation *m)
{
    struct change *change = CONTAINER_OF(m, struct change, m);
    CHECK(m->err == ERR_OK);
    object_put(change->other);
    free(change->pieces);
    free(change);
}

static struct change *make_change(struct group *group, const struct mutation *copy)
{
    struct change *change = calloc(1, sizeof *change);
    struct mutation *m = &change->m;
    size_t count = 0;
    *m = (struct mutation){.kind = MUTATION_OBJECT_DELETE,
                           .bucket = copy->source.bucket,
                           .key = copy->source.key,
                           .loop = copy->loop,
                           .done = changed};
    if (somebody.deletes)
        return change;
    CHECK(group_lookup_now(group, m->bucket, BYTES("other"), &change->other) == ERR_OK);
    const struct object_info *info = object_info(change->other);
    CHECK(object_pieces(change->other, 0, info->size, &change->pieces, &count) == ERR_OK);
    m->kind = MUTATION_OBJECT_PUT;
    m->pieces = change->pieces;
    m->piece_count = count;
    m->size = info->size;
    m->etag = info->etag;
    m->attrs = info->attrs;
    return change;
}

void __wrap_group_propose(struct group *group, struct mutation *m)
{
    if (m->source.psn != 0 && somebody.changes > 0) {
        somebody.changes--;
        __real_group_propose(group, &make_change(group, m)->m);
    }
    __real_group_propose(group, m);
}

static void etag_header(struct bytes body, char out[40])
{
    uint8_t md5[DIGEST_BYTES_MAX];
    struct digest digest;
    CHECK(digest_init(&digest, DIGEST_MD5) == ERR_OK);
    digest_update(&digest, body.data, body.size);
    digest_final(&digest, md5);
    out[0] = '"';
    hex_encode(md5, 16, out + 1);
    memcpy(out + 33, "\"", 2);
}

static const struct row {
    unsigned changes;
    bool deletes, if_match; /* the source as it was */
    int status;
    const char *code;
} rows[] = {
    {0, false, true, 200, NULL},        {1, false, false, 200, NULL},
    {3, false, false, 200, NULL},       {1, false, true, 412, "PreconditionFailed"},
    {4, false, false, 503, "SlowDown"}, {1, true, false, 404, "NoSuchKey"},
};

static void begin(struct node *n, const struct row *row, struct bytes old)
{
    put_ok(n, "/bucket/source", old);
    struct answer other = get(n, "/bucket/other"); /* so that it is in memory */
    answer_free(&other);
    somebody.deletes = row->deletes;
    somebody.changes = row->changes;
}

static void a_copy_is_of_one_version_of_its_source(void **state)
{
    struct node *n = *state;
    struct bytes old = noise(OLD_BYTES, 1), new = noise(NEW_BYTES, 2);
    char etag[40];
    etag_header(old, etag);
    put_ok(n, "/bucket", (struct bytes){0});
    put_ok(n, "/bucket/other", new);
    for (size_t i = 0; i < COUNT_OF(rows); i++) {
        begin(n, &rows[i], old);
        expect(n,
               ASK(.method = "PUT", .path = "/bucket/copy",
                   .headers = {{"x-amz-copy-source", "bucket/source"},
                               {"x-amz-checksum-algorithm", "SHA256"}, /* so that it is read */
                               {rows[i].if_match ? "x-amz-copy-source-if-match" : NULL, etag}}),
               rows[i].status, rows[i].code);
        assert_int_equal(somebody.changes, 0);
        if (rows[i].status != 200)
            assert_absent(n, "/bucket/copy");
        else
            assert_holds(n, "/bucket/copy", rows[i].changes > 0 ? new : old);
        expect(n, ASK(.method = "DELETE", .path = "/bucket/copy"), 204, NULL);
    }
    free((void *)old.data);
    free((void *)new.data);
}

static void upload_id_of(struct answer *answer, char id[64])
{
    size_t from = bytes_find(answer->body, 0, BYTES("<UploadId>"));
    size_t to = bytes_find(answer->body, 0, BYTES("</UploadId>"));
    assert_true(from != SIZE_MAX && to != SIZE_MAX && to - from - 10 < 64);
    snprintf(id, 64, "%.*s", (int)(to - from - 10), answer->body.data + from + 10);
}

/* A range of it, so that the part's MD5 has to be made. */
static void a_part_is_of_one_version_of_its_source(void **state)
{
    struct node *n = *state;
    struct bytes old = noise(OLD_BYTES, 1), new = noise(NEW_BYTES, 2);
    char etag[40], id[64], query[120], document[300];
    etag_header(old, etag);
    put_ok(n, "/bucket", (struct bytes){0});
    put_ok(n, "/bucket/other", new);
    for (size_t i = 0; i < COUNT_OF(rows); i++) {
        struct answer answer =
            send_request(n, &(struct request)ASK(.method = "POST", .path = "/bucket/parted",
                                                 .query = "uploads="));
        upload_id_of(&answer, id);
        answer_free(&answer);
        begin(n, &rows[i], old);
        snprintf(query, sizeof query, "partNumber=1&uploadId=%s", id);
        answer = send_request(
            n,
            &(struct request)
                ASK(.method = "PUT", .path = "/bucket/parted", .query = query,
                    .headers = {{"x-amz-copy-source", "bucket/source"},
                                {"x-amz-copy-source-range", "bytes=10-80000"},
                                {rows[i].if_match ? "x-amz-copy-source-if-match" : NULL, etag}}));
        assert_answer(answer, rows[i].status, rows[i].code);
        answer_free(&answer);
        assert_int_equal(somebody.changes, 0);
        if (rows[i].status != 200)
            continue;
        struct bytes part = bytes_slice(rows[i].changes > 0 ? new : old, 10, 80000 - 10 + 1);
        char part_etag[40];
        etag_header(part, part_etag);
        snprintf(document, sizeof document,
                 "<CompleteMultipartUpload><Part><PartNumber>1</PartNumber><ETag>%s</ETag></Part>"
                 "</CompleteMultipartUpload>",
                 part_etag);
        snprintf(query, sizeof query, "uploadId=%s", id);
        expect(n,
               ASK(.method = "POST", .path = "/bucket/parted", .query = query,
                   .body = bytes_of_string(document)),
               200, NULL);
        assert_holds(n, "/bucket/parted", part);
    }
    free((void *)old.data);
    free((void *)new.data);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(a_copy_is_of_one_version_of_its_source, node_setup,
                                        node_teardown),
        cmocka_unit_test_setup_teardown(a_part_is_of_one_version_of_its_source, node_setup,
                                        node_teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
