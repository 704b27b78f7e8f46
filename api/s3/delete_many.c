/*
 * DeleteObjects: up to 1,000 keys, each a mutation of its own, answered together. They are proposed
 * in batches: a batch is one group commit on the disk, and the memory for it is bounded.
 *
 *     COLLECT --> PARSE --> BATCH <-> (all of it applied) --> ANSWER
 */
#include "api/s3/checksum.h"
#include "api/s3/collect.h"
#include "api/s3/conditions.h"
#include "api/s3/document.h"
#include "api/s3/xml.h"

enum { MANY_COLLECT, MANY_PARSE, MANY_BATCH, MANY_ANSWER, MANY_STEP_COUNT };

#define DELETE_BATCH 128
#define MANY_MAGIC   0x44654d61u

struct many;
struct many_change {
    uint32_t magic;
    struct many *many;
    size_t index; /* of the entry */
    struct mutation m;
};

struct many {
    struct s3_request *r;
    struct s3_collect collect;
    struct xml_delete list;      /* xml_delete_free */
    enum s3_error *results;      /* owned: one an entry */
    struct many_change *changes; /* owned: DELETE_BATCH */
    size_t next;                 /* entry */
    size_t pending;              /* of the batch */
};

static struct many *many_of(struct s3_request *r)
{
    return *S3_OWN(r, struct many *);
}

static struct s3_request *many_request(struct op *op)
{
    return CONTAINER_OF(op, struct s3_request, op);
}

static void many_release(struct s3_request *r)
{
    struct many *many = many_of(r);
    s3_collect_fini(&many->collect);
    xml_delete_free(&many->list);
    free(many->results);
    free(many->changes);
}

static int many_collect(struct op *op)
{
    struct s3_request *r = many_request(op);
    return s3_collect_begin(r, &many_of(r)->collect, S3_PAYLOAD_DOCUMENT) ? op_wait(MANY_PARSE)
                                                                          : OP_END;
}

static int many_parse(struct op *op)
{
    struct s3_request *r = many_request(op);
    struct many *many = many_of(r);
    struct bytes document;
    if (!s3_collect_end(r, &many->collect, &document))
        return OP_END;
    enum err e = xml_read_delete(document, &many->list);
    if (e)
        return s3_fail(r, e == ERR_NO_MEMORY     ? S3_E(SlowDown)
                          : e == ERR_UNSUPPORTED ? S3_E(NotImplemented)
                                                 : S3_E(MalformedXML));
    many->results = calloc(many->list.count, sizeof *many->results);
    many->changes = calloc(DELETE_BATCH, sizeof *many->changes);
    if (many->results == NULL || many->changes == NULL)
        return s3_fail(r, S3_E(SlowDown));
    return MANY_BATCH;
}

static void many_deleted(struct mutation *m)
{
    struct many_change *change = CONTAINER_OF(m, struct many_change, m);
    CHECK_MAGIC(change, MANY_MAGIC);
    struct many *many = change->many;
    many->results[change->index] = s3_error_of(m->err);
    if (--many->pending == 0)
        op_run(&many->r->op);
}

/* What cannot be meant, told without asking the volume. */
static enum s3_error many_refuse(const struct xml_delete_key *entry)
{
    if (entry->key.size > KEY_BYTES_MAX)
        return S3_E(KeyTooLongError);
    if (entry->version.size > 0 && !bytes_equal(entry->version, BYTES("null")))
        return S3_E(NoSuchVersion);
    return S3_E(None);
}

static int many_batch(struct op *op)
{
    struct s3_request *r = many_request(op);
    struct many *many = many_of(r);
    size_t count = 0;
    for (; count < DELETE_BATCH && many->next < many->list.count; many->next++) {
        const struct xml_delete_key *entry = &many->list.keys[many->next];
        many->results[many->next] = many_refuse(entry);
        if (many->results[many->next])
            continue;
        struct many_change *change = &many->changes[count++];
        *change = (struct many_change){.magic = MANY_MAGIC, .many = many, .index = many->next};
        change->m.kind = MUTATION_OBJECT_DELETE;
        change->m.bucket = r->bucket.id;
        change->m.key = entry->key;
        change->m.loop = http_loop(r->x);
        change->m.done = many_deleted;
        if (entry->etag.size > 0)
            s3_conditions_write(entry->etag, (struct bytes){0}, &change->m.conditions);
    }
    if (count == 0)
        return MANY_ANSWER;
    many->pending = count; /* all known before the first can come back */
    for (size_t i = 0; i < count; i++)
        group_propose(s3_group(r), &many->changes[i].m);
    return op_wait(MANY_BATCH);
}

static int many_answer(struct op *op)
{
    struct s3_request *r = many_request(op);
    struct many *many = many_of(r);
    struct text_buf text = {0};
    doc_begin(&text, "DeleteResult");
    for (size_t i = 0; i < many->list.count; i++) {
        const struct xml_delete_key *entry = &many->list.keys[i];
        if (many->results[i] == S3_E(None)) {
            if (many->list.is_quiet)
                continue;
            doc_open(&text, "Deleted");
            doc_text(&text, "Key", entry->key);
            doc_close(&text, "Deleted");
            continue;
        }
        enum s3_error error = many->results[i];
        doc_open(&text, "Error");
        doc_text(&text, "Key", entry->key);
        doc_text(&text, "Code", bytes_of_string(s3_error_code(error)));
        doc_text(&text, "Message", bytes_of_string(s3_error_text(error)));
        doc_close(&text, "Error");
    }
    doc_end(&text, "DeleteResult");
    return s3_respond_xml(r, 200, &text);
}

static const struct op_step many_steps[MANY_STEP_COUNT] = {
    [MANY_COLLECT] = {"collect", many_collect, TO(MANY_PARSE) | TO_END},
    [MANY_PARSE] = {"parse", many_parse, TO(MANY_BATCH) | TO_END},
    [MANY_BATCH] = {"batch", many_batch, TO(MANY_BATCH) | TO(MANY_ANSWER)},
    [MANY_ANSWER] = {"answer", many_answer, TO_END},
};
static const struct op_kind many_kind = {"delete_many", many_steps, MANY_STEP_COUNT};

/* S3 wants a hash of the list before it deletes by it; the signed one of the whole payload will not
 * do. */
static bool many_has_integrity(const struct s3_request *r)
{
    if (s3_header(r, "content-md5").data != NULL || s3_header(r, "x-amz-trailer").data != NULL)
        return true;
    for (size_t i = 0; i < r->headers.count; i++)
        if (s3_checksum_by_header(r->headers.at[i].name) != NULL)
            return true;
    return false;
}

void s3_delete_objects(struct s3_request *r)
{
    struct many *many = s3_take(r, sizeof *many);
    if (many == NULL) {
        s3_fail(r, S3_E(SlowDown));
        return;
    }
    many->r = r;
    *S3_OWN(r, struct many *) = many;
    r->release = many_release;
    if (!many_has_integrity(r)) {
        s3_fail_text(r, S3_E(InvalidRequest),
                     "Missing required header for this request: Content-MD5 OR x-amz-checksum-*");
        return;
    }
    op_init(&r->op, &many_kind, http_loop(r->x));
    op_run(&r->op);
}
