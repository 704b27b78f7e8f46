/*
 * S3's errors, and the one table that says which of ours is which of S3's.
 *
 * Codes, statuses and sentences are those of "Error responses" in the Amazon S3 API reference.
 * InsufficientStorage is our own: S3 never fills up. It is 507 (RFC 4918) with a code no SDK
 * retries for ever, as MinIO's XMinioStorageFull is.
 */
#ifndef API_S3_ERROR_H
#define API_S3_ERROR_H

#include "base/bytes.h"
#include "base/err.h"

/* X(code, status, sentence) */
#define S3_ERRORS(X)                                                                               \
    X(None, 200, "")                                                                               \
    X(AccessControlListNotSupported, 400, "The bucket does not allow ACLs")                        \
    X(AccessDenied, 403, "Access Denied")                                                          \
    X(AccessForbidden, 403, "CORSResponse: CORS is not enabled for this bucket.")                  \
    X(AuthorizationHeaderMalformed, 400, "The authorization header is malformed.")                 \
    X(AuthorizationQueryParametersError, 400, "The authorization query parameters are malformed.") \
    X(BadDigest, 400,                                                                              \
      "The Content-MD5 or checksum value that you specified did not match "                        \
      "what the server received.")                                                                 \
    X(BadRequest, 400, "Bad Request")                                                              \
    X(BucketAlreadyExists, 409,                                                                    \
      "The requested bucket name is not available. "                                               \
      "The bucket namespace is shared by all users of the system. "                                \
      "Specify a different name and try again.")                                                   \
    X(BucketAlreadyOwnedByYou, 409,                                                                \
      "The bucket that you tried to create already exists, and you own it.")                       \
    X(BucketNotEmpty, 409, "The bucket that you tried to delete is not empty.")                    \
    X(ConditionalRequestConflict, 409,                                                             \
      "A conflicting operation occurred during the request. Retry the request.")                   \
    X(EntityTooLarge, 400, "Your proposed upload exceeds the maximum allowed object size.")        \
    X(EntityTooSmall, 400,                                                                         \
      "Your proposed upload is smaller than the minimum allowed object size.")                     \
    X(IllegalLocationConstraintException, 400, "The specified location constraint is not valid.")  \
    X(IncompleteBody, 400,                                                                         \
      "You did not provide the number of bytes specified by the Content-Length HTTP header.")      \
    X(InsufficientStorage, 507,                                                                    \
      "There is not enough free space on this node to store the object.")                          \
    X(InternalError, 500, "We encountered an internal error. Try again.")                          \
    X(InvalidAccessKeyId, 403, "The access key ID you provided does not exist in our records.")    \
    X(InvalidArgument, 400, "Invalid Argument")                                                    \
    X(InvalidBucketName, 400, "The specified bucket is not valid.")                                \
    X(InvalidDigest, 400, "The Content-MD5 or checksum value that you specified is not valid.")    \
    X(InvalidPart, 400,                                                                            \
      "One or more of the specified parts could not be found. "                                    \
      "The part may not have been uploaded, "                                                      \
      "or the specified entity tag may not match the part's entity tag.")                          \
    X(InvalidPartNumber, 416, "The requested partnumber is not satisfiable")                       \
    X(InvalidPartOrder, 400,                                                                       \
      "The list of parts was not in ascending order. Parts must be ordered by part number.")       \
    X(InvalidPolicyDocument, 400,                                                                  \
      "The content of the form does not meet the conditions specified in the policy document.")    \
    X(InvalidRange, 416, "The requested range is not satisfiable")                                 \
    X(InvalidRequest, 400, "Invalid Request")                                                      \
    X(InvalidStorageClass, 400, "The storage class you specified is not valid.")                   \
    X(InvalidTag, 400, "The tag provided was not a valid tag.")                                    \
    X(InvalidURI, 400, "Couldn't parse the specified URI.")                                        \
    X(KeyTooLongError, 400, "Your key is too long")                                                \
    X(MalformedPOSTRequest, 400,                                                                   \
      "The body of your POST request is not well-formed multipart/form-data.")                     \
    X(MalformedXML, 400,                                                                           \
      "The XML you provided was not well-formed or did not validate against our published schema") \
    X(MaxMessageLengthExceeded, 400, "Your request was too large.")                                \
    X(MaxPostPreDataLengthExceededError, 400,                                                      \
      "Your POST request fields preceding the upload file were too large.")                        \
    X(MetadataTooLarge, 400, "Your metadata headers exceed the maximum allowed metadata size")     \
    X(MethodNotAllowed, 405, "The specified method is not allowed against this resource.")         \
    X(MissingContentLength, 411, "You must provide the Content-Length HTTP header.")               \
    X(MissingRequestBodyError, 400, "Request Body is empty")                                       \
    X(NoSuchBucket, 404, "The specified bucket does not exist")                                    \
    X(NoSuchKey, 404, "The specified key does not exist.")                                         \
    X(NoSuchVersion, 404, "The specified version does not exist.")                                 \
    X(NoSuchUpload, 404,                                                                           \
      "The specified upload does not exist. "                                                      \
      "The upload ID may be invalid, or the upload may have been aborted or completed.")           \
    X(NotImplemented, 501,                                                                         \
      "A header or query you provided requested a function that is not implemented.")              \
    X(NotModified, 304, "Not Modified")                                                            \
    X(OperationAborted, 409,                                                                       \
      "A conflicting conditional operation is currently in progress against this resource. "       \
      "Try again.")                                                                                \
    X(PreconditionFailed, 412, "At least one of the preconditions you specified did not hold.")    \
    X(RequestHeaderSectionTooLarge, 400,                                                           \
      "Your request header section exceeds the maximum allowed size.")                             \
    X(RequestTimeTooSkewed, 403,                                                                   \
      "The difference between the request time and the server's time is too large.")               \
    X(RequestTimeout, 400,                                                                         \
      "Your socket connection to the server was not read from or written to "                      \
      "within the timeout period.")                                                                \
    X(ServiceUnavailable, 503, "Service is unable to handle the request.")                         \
    X(SignatureDoesNotMatch, 403,                                                                  \
      "The request signature we calculated does not match the signature you provided. "            \
      "Check your key and signing method.")                                                        \
    X(SlowDown, 503, "Please reduce your request rate.")                                           \
    X(TooManyBuckets, 400, "You have attempted to create more buckets than are allowed.")          \
    X(UnsupportedSignature, 400,                                                                   \
      "The provided request is signed with an unsupported signature. "                             \
      "Only AWS4-HMAC-SHA256 is supported.")                                                       \
    X(UserKeyMustBeSpecified, 400,                                                                 \
      "The bucket POST must contain the specified field name. "                                    \
      "If it is specified, check the order of the fields.")                                        \
    X(XAmzContentChecksumMismatch, 400,                                                            \
      "The provided 'x-amz-checksum' header does not match what was computed.")                    \
    X(XAmzContentSHA256Mismatch, 400,                                                              \
      "The provided 'x-amz-content-sha256' header does not match what was computed.")

enum s3_error {
#define X(code, status, text) S3_ERROR_##code,
    S3_ERRORS(X) S3_ERROR_COUNT
#undef X
};

#define S3_E(code) S3_ERROR_##code

int s3_error_status(enum s3_error error);
const char *s3_error_code(enum s3_error error);
const char *s3_error_text(enum s3_error error);

/* What a client is told of an error of the layers below. A test walks enum err and fails on a
 * missing row. */
enum s3_error s3_error_of(enum err e);

/* ---- the document ---- */
/* One more element: "BucketName", "Key", "ActualObjectSize"; name NULL: none. */
struct s3_error_extra {
    const char *name;
    struct bytes value;
};
#define S3_ERROR_EXTRAS_MAX 2
struct s3_error_detail {
    struct bytes message;  /* empty: the code's sentence */
    struct bytes resource; /* the raw path */
    struct bytes request_id;
    struct s3_error_extra extras[S3_ERROR_EXTRAS_MAX];
};
void s3_error_write(struct text_buf *out, enum s3_error error,
                    const struct s3_error_detail *detail);

#endif
