/*
 * What a store without ACLs, tags and CORS says truthfully to clients that ask anyway: the owner
 * may do everything and nobody else anything; there are no tags; no other origin is let in.
 *
 *     GetObjectAcl, GetObjectTagging   LOOKUP --> ANSWER      only what exists has an ACL
 */
#include "api/s3/document.h"
#include "api/s3/request.h"

static void acl_document(const struct s3_request *r, struct text_buf *text)
{
    struct bytes owner = bytes_of_string(r->bucket.owner);
    doc_begin(text, "AccessControlPolicy");
    doc_owner(text, "Owner", owner);
    doc_open(text, "AccessControlList");
    doc_open(text, "Grant");
    text_put_string(text, "<Grantee xmlns:xsi=\"http://www.w3.org/2001/XMLSchema-instance\" "
                          "xsi:type=\"CanonicalUser\">");
    doc_text(text, "ID", owner);
    doc_close(text, "Grantee");
    doc_text(text, "Permission", BYTES("FULL_CONTROL"));
    doc_close(text, "Grant");
    doc_close(text, "AccessControlList");
    doc_end(text, "AccessControlPolicy");
}

static void tagging_document(const struct s3_request *r, struct text_buf *text)
{
    (void)r;
    doc_begin(text, "Tagging");
    text_put_string(text, "<TagSet></TagSet>");
    doc_end(text, "Tagging");
}

void s3_get_bucket_acl(struct s3_request *r)
{
    struct text_buf text = {0};
    acl_document(r, &text);
    s3_respond_xml(r, 200, &text);
}

/* No bucket has a CORS configuration yet: what S3 says to a browser that asks where there is none.
 */
void s3_preflight(struct s3_request *r)
{
    static const struct bytes methods[] = {
        {"GET", 3}, {"PUT", 3}, {"HEAD", 4}, {"POST", 4}, {"DELETE", 6}};
    struct bytes method = s3_header(r, "access-control-request-method");
    if (s3_header(r, "origin").size == 0) {
        s3_fail_text(r, S3_E(BadRequest),
                     "Insufficient information. Origin request header needed.");
        return;
    }
    for (size_t i = 0; i < COUNT_OF(methods); i++)
        if (bytes_equal(method, methods[i])) {
            s3_fail_extras(r, S3_E(AccessForbidden),
                           (struct s3_error_extra[S3_ERROR_EXTRAS_MAX]){
                               {"Method", method},
                               {"ResourceType",
                                r->resource == S3_OBJECT ? BYTES("OBJECT") : BYTES("BUCKET")}});
            return;
        }
    s3_fail_text(r, S3_E(BadRequest), "Invalid Access-Control-Request-Method: %.*s",
                 method.data ? (int)method.size : 4, method.data ? method.data : "null");
}

/* ---- of an object ---- */

enum { ACL_LOOKUP, ACL_ANSWER, ACL_STEP_COUNT };

struct acl {
    struct s3_lookup lookup;
    void (*document)(const struct s3_request *r, struct text_buf *text);
};

static void acl_release(struct s3_request *r)
{
    s3_lookup_fini(&S3_OWN(r, struct acl)->lookup);
}

static int acl_lookup(struct op *op)
{
    struct s3_request *r = CONTAINER_OF(op, struct s3_request, op);
    struct acl *acl = S3_OWN(r, struct acl);
    return s3_lookup_begin(r, &acl->lookup, r->bucket.id, r->key) ? ACL_ANSWER
                                                                  : op_wait(ACL_ANSWER);
}

static int acl_answer(struct op *op)
{
    struct s3_request *r = CONTAINER_OF(op, struct s3_request, op);
    struct acl *acl = S3_OWN(r, struct acl);
    enum err e = s3_lookup_end(&acl->lookup);
    if (e)
        return s3_fail_err(r, e);
    struct text_buf text = {0};
    acl->document(r, &text);
    return s3_respond_xml(r, 200, &text);
}

static const struct op_step acl_steps[ACL_STEP_COUNT] = {
    [ACL_LOOKUP] = {"lookup", acl_lookup, TO(ACL_ANSWER)},
    [ACL_ANSWER] = {"answer", acl_answer, TO_END},
};
static const struct op_kind acl_kind = {"acl", acl_steps, ACL_STEP_COUNT};

static void acl_begin(struct s3_request *r,
                      void (*document)(const struct s3_request *r, struct text_buf *text))
{
    S3_OWN(r, struct acl)->document = document;
    r->release = acl_release;
    op_init(&r->op, &acl_kind, http_loop(r->x));
    op_run(&r->op);
}

void s3_get_object_acl(struct s3_request *r)
{
    acl_begin(r, acl_document);
}

void s3_get_object_tagging(struct s3_request *r)
{
    acl_begin(r, tagging_document);
}
