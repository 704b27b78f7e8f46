#include "api/s3/error.h"

#include "api/s3/xml.h"
#include "base/check.h"

struct error_row {
    const char *code;
    int status;
    const char *text;
};

static const struct error_row rows[S3_ERROR_COUNT] = {
#define X(code, status, text) [S3_ERROR_##code] = {#code, status, text},
    S3_ERRORS(X)
#undef X
};

static const struct error_row *row(enum s3_error error)
{
    CHECK((unsigned)error < S3_ERROR_COUNT);
    return &rows[error];
}

int s3_error_status(enum s3_error error)
{
    return row(error)->status;
}

const char *s3_error_code(enum s3_error error)
{
    return row(error)->code;
}

const char *s3_error_text(enum s3_error error)
{
    return row(error)->text;
}

enum s3_error s3_error_of(enum err e)
{
    switch (e) {
    case ERR_OK:
        return S3_E(None);
    case ERR_NO_MEMORY:
    case ERR_BUSY:
    case ERR_WOULD_BLOCK:
    case ERR_IN_USE:
        return S3_E(SlowDown);
    case ERR_TIMEOUT:
        return S3_E(RequestTimeout);
    case ERR_CLOSED:
    case ERR_CANCELLED:
    case ERR_VOLUME_FAILED:
    case ERR_READ_ONLY:
        return S3_E(ServiceUnavailable);
    case ERR_INVALID:
        return S3_E(InvalidArgument);
    case ERR_TOO_LARGE:
        return S3_E(EntityTooLarge);
    case ERR_TOO_SMALL:
    case ERR_PEER_CLOSED:
        return S3_E(IncompleteBody);
    case ERR_BAD_SYNTAX:
        return S3_E(InvalidRequest);
    case ERR_UNSUPPORTED:
        return S3_E(NotImplemented);
    case ERR_DENIED:
        return S3_E(AccessDenied);
    case ERR_DISK_FULL:
        return S3_E(InsufficientStorage);
    case ERR_NO_SUCH_BUCKET:
        return S3_E(NoSuchBucket);
    case ERR_BUCKET_EXISTS:
        return S3_E(BucketAlreadyExists);
    case ERR_BUCKET_OWNED:
        return S3_E(BucketAlreadyOwnedByYou);
    case ERR_BUCKET_NOT_EMPTY:
        return S3_E(BucketNotEmpty);
    case ERR_NO_SUCH_OBJECT:
        return S3_E(NoSuchKey);
    case ERR_NO_SUCH_UPLOAD:
        return S3_E(NoSuchUpload);
    case ERR_INVALID_PART:
        return S3_E(InvalidPart);
    case ERR_PART_ORDER:
        return S3_E(InvalidPartOrder);
    case ERR_PART_TOO_SMALL:
        return S3_E(EntityTooSmall);
    case ERR_PRECONDITION:
        return S3_E(PreconditionFailed);
    case ERR_CONFLICT:
        return S3_E(ConditionalRequestConflict);
    case ERR_NO_SUCH_KEY_ID:
        return S3_E(InvalidAccessKeyId);
    case ERR_NO_SUCH_FILE:
    case ERR_FILE_EXISTS:
    case ERR_IO:
    case ERR_NOT_VOLUME:
    case ERR_FORMAT_NEWER:
    case ERR_NO_DIRECT_IO:
    case ERR_CORRUPT:
    case ERR_KEY_ID_EXISTS:
    case ERR_INTERNAL:
        return S3_E(InternalError);
    case ERR_COUNT:
        break;
    }
    CHECK(!"an error that is none");
    return S3_E(InternalError);
}

void s3_error_write(struct text_buf *out, enum s3_error error, const struct s3_error_detail *detail)
{
    struct bytes message =
        detail->message.size > 0 ? detail->message : bytes_of_string(s3_error_text(error));
    text_put_string(out, "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<Error>");
    xml_put_element(out, "Code", bytes_of_string(s3_error_code(error)));
    xml_put_element(out, "Message", message);
    for (size_t i = 0; i < S3_ERROR_EXTRAS_MAX && detail->extras[i].name != NULL; i++)
        xml_put_element(out, detail->extras[i].name, detail->extras[i].value);
    xml_put_element(out, "Resource", detail->resource);
    xml_put_element(out, "RequestId", detail->request_id);
    xml_put_element(out, "HostId", BYTES("sluice"));
    text_put_string(out, "</Error>");
}
