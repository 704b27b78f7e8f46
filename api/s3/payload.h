/*
 * A request's payload against what its headers promise: its length, Content-MD5, the signed
 * SHA-256, an x-amz-checksum-* in a header or in a trailer, and with aws-chunked a signature on
 * every chunk. Bytes are hashed as they pass, while they are in cache, by no more hashes than are
 * needed:
 *
 *     s3_payload_accept --> s3_payload_update ... (chunks judged one by one)
 *                       --> s3_payload_judge: kept, or the answer is an error
 *
 * What is stored with an object comes out of the same pass: its MD5, which is the ETag, and its
 * checksum; CRC64NVME when the client names none, as S3 does.
 */
#ifndef API_S3_PAYLOAD_H
#define API_S3_PAYLOAD_H

#include "api/http/http.h"
#include "api/s3/checksum.h"
#include "api/s3/sigv4.h"

struct s3_request;

#define S3_SIZE_UNKNOWN UINT64_MAX

enum s3_payload_hashes {
    S3_PAYLOAD_DOCUMENT,      /* nothing is kept of it */
    S3_PAYLOAD_DOCUMENT_ONLY, /* the same, and x-amz-checksum-* is about something else:
                                 CompleteMultipartUpload */
    S3_PAYLOAD_OBJECT,        /* to be stored: MD5 and a checksum in any case */
};

struct s3_payload_options {
    uint64_t size_max; /* beyond: EntityTooLarge, or MaxMessageLengthExceeded for a document */
    enum s3_payload_hashes hashes;
    uint8_t stored_as;    /* checksum algorithm the upload was begun with; 0: the client's choice */
    bool is_part_of_body; /* the payload is a file inside the body: its size and framing are not the
                             message's */
};

enum payload_hash {
    PAYLOAD_MD5,
    PAYLOAD_SHA256,
    PAYLOAD_PROMISED,
    PAYLOAD_STORED,
    PAYLOAD_HASH_COUNT
};

struct s3_payload {
    const struct sigv4 *sigv4; /* borrowed from the request */
    uint64_t size;             /* decoded bytes, or S3_SIZE_UNKNOWN */
    uint64_t size_max;
    enum s3_payload_hashes hashes;
    struct digest digests[PAYLOAD_HASH_COUNT];
    bool uses[PAYLOAD_HASH_COUNT];

    bool has_content_md5;
    uint8_t content_md5[16];
    struct checksum promised; /* size 0 until its trailer came */
    uint8_t stored_algorithm;

    struct http_aws_chunks aws;
    bool is_chunked; /* the framing is aws-chunked */
    struct digest chunk, trailer;
    char chunk_signature[65];    /* as sent */
    char previous_signature[65]; /* as computed: what the next one is signed over */
    bool has_trailer_signature;
    enum s3_error error; /* what a chunk or trailer was refused for */

    /* results of s3_payload_judge */
    uint8_t md5[16];
    struct checksum checksum; /* to be stored: FULL_OBJECT */
};

/* Reads and judges the headers. False: answered with an error. */
bool s3_payload_accept(struct s3_request *r, struct s3_payload *payload,
                       const struct s3_payload_options *options);
/* For the engine; NULL: plain framing. */
struct http_aws_chunks *s3_payload_chunks(struct s3_payload *payload);
void s3_payload_update(struct s3_payload *payload, const void *data, size_t size);
/* The same but for the MD5, which is hashed in company: api/s3/lanes.h. */
void s3_payload_update_others(struct s3_payload *payload, const void *data, size_t size);
struct digest *s3_payload_md5(struct s3_payload *payload); /* NULL: none is wanted */
/* `received`: how receiving ended. False: answered with an error. */
bool s3_payload_judge(struct s3_request *r, struct s3_payload *payload, enum err received);
void s3_payload_fini(struct s3_payload *payload); /* zeroed ones are fine */

#endif
