/*
 * CopyObject: a second name for the same data. No byte is read or written, unless a checksum of
 * another kind is asked for.
 *
 *     LOOKUP --> JUDGE --> PARTS --> PIECES --> NAME --> (durable) --> DONE
 *        ^          \--> HASHED ----^                                   |
 *        +-------------------- the source has changed ------------------+
 *
 * A copy of an object made of parts keeps its parts and its ETag: what S3 does for copies of more
 * than 5 GiB by its own clients, and for smaller ones the only way not to read them.
 */
#include "api/s3/checksum.h"
#include "api/s3/conditions.h"
#include "api/s3/copy_source.h"
#include "api/s3/document.h"
#include "api/s3/meta.h"
#include "api/s3/object_headers.h"
#include "api/s3/rehash.h"

enum {
    COPY_LOOKUP,
    COPY_JUDGE,
    COPY_HASHED,
    COPY_PARTS,
    COPY_PIECES,
    COPY_NAME,
    COPY_DONE,
    COPY_STEP_COUNT
};

struct copy {
    struct s3_copy_source source;
    struct s3_rehash rehash;
    struct s3_ask *parts, *pieces;
    struct s3_change change;
    struct checksum checksum;
    bool has_parts;                /* parts->ask.parts */
    bool replaces_attrs;           /* all of them; not only the storage class */
    size_t attrs_size;             /* 0: the source's as they are */
    uint8_t attrs[META_BYTES_MAX]; /* last: not cleared before use */
};

_Static_assert(sizeof(struct copy) <= S3_BLOCK_BYTES - 16, "fits a block, attributes and all");

static struct copy *copy_of(struct s3_request *r)
{
    return *S3_OWN(r, struct copy *);
}

static struct s3_request *copy_request(struct op *op)
{
    return CONTAINER_OF(op, struct s3_request, op);
}

/* What was found out about the source. */
static void copy_forget(struct copy *copy)
{
    s3_rehash_fini(&copy->rehash);
    copy->rehash = (struct s3_rehash){0};
    if (copy->parts != NULL)
        free(TAKE(copy->parts->ask.parts));
    if (copy->pieces != NULL)
        free(TAKE(copy->pieces->ask.pieces));
    copy->has_parts = false;
    if (!copy->replaces_attrs)
        copy->attrs_size = 0;
}

static void copy_release(struct s3_request *r)
{
    struct copy *copy = copy_of(r);
    s3_copy_source_fini(&copy->source);
    copy_forget(copy);
}

static int copy_lookup(struct op *op)
{
    struct s3_request *r = copy_request(op);
    return s3_copy_source_find(r, &copy_of(r)->source) ? COPY_JUDGE : op_wait(COPY_JUDGE);
}

/* A copy onto itself that changes nothing is a mistake in S3's eyes. */
static bool copy_changes_nothing(const struct s3_request *r, const struct copy *copy)
{
    return copy->source.bucket.id.value == r->bucket.id.value &&
           bytes_equal(copy->source.key, r->key) && !copy->replaces_attrs &&
           s3_header(r, "x-amz-storage-class").data == NULL &&
           s3_header(r, "x-amz-checksum-algorithm").data == NULL;
}

/* The storage class is never the source's by itself: the request names it, or it is STANDARD. */
static enum s3_error copy_storage_class(const struct s3_request *r, struct copy *copy,
                                        const struct object_info *info)
{
    struct bytes wanted = s3_header(r, "x-amz-storage-class");
    if (copy->replaces_attrs)
        return S3_E(None);
    if (wanted.data == NULL)
        wanted = BYTES("STANDARD");
    if (bytes_equal(wanted, s3_meta_storage_class(info->attrs)))
        return S3_E(None);
    return s3_meta_with_storage_class(info->attrs, wanted, copy->attrs, &copy->attrs_size);
}

static int copy_judge(struct op *op)
{
    struct s3_request *r = copy_request(op);
    struct copy *copy = copy_of(r);
    if (!s3_copy_source_judge(r, &copy->source))
        return OP_END;
    struct object *object = copy->source.lookup.object;
    const struct object_info *info = object_info(object);
    if (copy_changes_nothing(r, copy))
        return s3_fail_text(
            r, S3_E(InvalidRequest),
            "This copy request is illegal because it is trying to copy an object to "
            "itself without changing the object's metadata, storage class, website "
            "redirect location or encryption attributes.");
    if (info->size > COPY_BYTES_MAX)
        return s3_fail_text(
            r, S3_E(InvalidRequest),
            "The specified copy source is larger than the maximum allowable size for "
            "a copy source: 5368709120");
    enum s3_error error = copy_storage_class(r, copy, info);
    if (error)
        return s3_fail(r, error);
    copy->checksum = info->checksum;
    struct bytes wanted = s3_header(r, "x-amz-checksum-algorithm");
    if (wanted.data == NULL)
        return COPY_PARTS;
    const struct s3_checksum_name *name = s3_checksum_by_name(bytes_trim(wanted));
    if (name == NULL)
        return s3_fail_text(r, S3_E(InvalidRequest), "Checksum algorithm provided is unsupported.");
    if (name->algorithm == info->checksum.algorithm &&
        info->checksum.type == S3_CHECKSUM_FULL_OBJECT)
        return COPY_PARTS;
    return s3_rehash_begin(r, &copy->rehash, object, 0, info->size, name->algorithm)
               ? op_wait(COPY_HASHED)
               : OP_END;
}

static int copy_hashed(struct op *op)
{
    struct s3_request *r = copy_request(op);
    struct copy *copy = copy_of(r);
    uint8_t md5[16]; /* of no use: the ETag of parts stays that of parts */
    enum err e = s3_rehash_end(&copy->rehash, md5, &copy->checksum);
    return e ? s3_fail_err(r, e) : COPY_PARTS;
}

static int copy_parts(struct op *op)
{
    struct s3_request *r = copy_request(op);
    struct copy *copy = copy_of(r);
    if (object_info(copy->source.lookup.object)->part_count == 0)
        return COPY_PIECES;
    if (copy->parts == NULL)
        copy->parts = s3_ask_take(r);
    if (copy->parts == NULL)
        return s3_fail(r, S3_E(SlowDown));
    copy->has_parts = true;
    copy->parts->ask.of = copy->source.lookup.object;
    group_object_parts(s3_group(r), &copy->parts->ask);
    return op_wait(COPY_PIECES);
}

static int copy_pieces(struct op *op)
{
    struct s3_request *r = copy_request(op);
    struct copy *copy = copy_of(r);
    if (copy->has_parts && copy->parts->ask.err)
        return s3_fail_err(r, copy->parts->ask.err);
    if (copy->pieces == NULL)
        copy->pieces = s3_ask_take(r);
    if (copy->pieces == NULL)
        return s3_fail(r, S3_E(SlowDown));
    struct object *object = copy->source.lookup.object;
    copy->pieces->ask.of = object;
    group_object_pieces(s3_group(r), &copy->pieces->ask, 0, object_info(object)->size);
    return op_wait(COPY_NAME);
}

static int copy_name(struct op *op)
{
    struct s3_request *r = copy_request(op);
    struct copy *copy = copy_of(r);
    const struct object_info *info = object_info(copy->source.lookup.object);
    if (copy->pieces->ask.err)
        return s3_fail_err(r, copy->pieces->ask.err);
    s3_change_init(r, &copy->change, MUTATION_OBJECT_PUT);
    struct mutation *m = &copy->change.m;
    m->attrs = copy->attrs_size > 0 ? bytes_of(copy->attrs, copy->attrs_size) : info->attrs;
    m->pieces = copy->pieces->ask.pieces;
    m->piece_count = copy->pieces->ask.piece_count;
    if (copy->has_parts) {
        m->parts = copy->parts->ask.parts;
        m->part_count = copy->parts->ask.part_count;
    }
    m->size = info->size;
    m->etag = info->etag;
    m->checksum = copy->checksum;
    s3_copy_source_note(&copy->source, m);
    s3_conditions_write(s3_header(r, "if-match"), s3_header(r, "if-none-match"), &m->conditions);
    s3_change_submit(r, &copy->change);
    return op_wait(COPY_DONE);
}

static int copy_done(struct op *op)
{
    struct s3_request *r = copy_request(op);
    struct copy *copy = copy_of(r);
    const struct mutation *m = &copy->change.m;
    if (m->err == ERR_CONFLICT) {
        copy_forget(copy);
        return s3_copy_source_again(r, &copy->source) ? op_wait(COPY_LOOKUP) : OP_END;
    }
    if (m->err)
        return s3_fail_trail(r, m->err, &m->trail);
    struct text_buf text = {0};
    doc_begin(&text, "CopyObjectResult");
    doc_time(&text, "LastModified", m->mtime_ns);
    doc_etag(&text, &m->etag);
    doc_checksum(&text, &m->checksum, (uint32_t)m->part_count);
    if (m->checksum.algorithm != 0)
        doc_text(&text, "ChecksumType", bytes_of_string(s3_checksum_type_name(m->checksum.type)));
    doc_end(&text, "CopyObjectResult");
    s3_header_receipt(r, &m->receipt);
    return s3_respond_xml(r, 200, &text);
}

static const struct op_step copy_steps[COPY_STEP_COUNT] = {
    [COPY_LOOKUP] = {"lookup", copy_lookup, TO(COPY_JUDGE)},
    [COPY_JUDGE] = {"judge", copy_judge, TO(COPY_PARTS) | TO(COPY_HASHED) | TO_END},
    [COPY_HASHED] = {"hashed", copy_hashed, TO(COPY_PARTS) | TO_END},
    [COPY_PARTS] = {"parts", copy_parts, TO(COPY_PIECES) | TO_END},
    [COPY_PIECES] = {"pieces", copy_pieces, TO(COPY_NAME) | TO_END},
    [COPY_NAME] = {"name", copy_name, TO(COPY_DONE) | TO_END},
    [COPY_DONE] = {"done", copy_done, TO(COPY_LOOKUP) | TO_END},
};
static const struct op_kind copy_kind = {"copy", copy_steps, COPY_STEP_COUNT};

/* x-amz-metadata-directive. False: answered with an error. */
static bool copy_directive(struct s3_request *r, struct copy *copy)
{
    struct bytes directive = bytes_trim(s3_header(r, "x-amz-metadata-directive"));
    copy->replaces_attrs = bytes_equal(directive, BYTES("REPLACE"));
    if (!copy->replaces_attrs && directive.size > 0 && !bytes_equal(directive, BYTES("COPY"))) {
        s3_fail_text(r, S3_E(InvalidArgument), "Unknown metadata directive.");
        return false;
    }
    return !copy->replaces_attrs || s3_meta_from_request(r, copy->attrs, &copy->attrs_size);
}

void s3_copy_object(struct s3_request *r)
{
    struct copy *copy = s3_take(r, offsetof(struct copy, attrs));
    if (copy == NULL) {
        s3_fail(r, S3_E(SlowDown));
        return;
    }
    *S3_OWN(r, struct copy *) = copy;
    r->release = copy_release;
    if (!copy_directive(r, copy) || !s3_copy_source_parse(r, &copy->source))
        return;
    op_init(&r->op, &copy_kind, http_loop(r->x));
    op_run(&r->op);
}
