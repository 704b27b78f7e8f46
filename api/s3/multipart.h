/*
 * Multipart uploads: what their five operations share. An upload's id is 32 hex digits, its time
 * first, so that ids sort by age.
 *
 *     CreateMultipartUpload --> UploadPart, UploadPartCopy (any order, again and again)
 *                           --> CompleteMultipartUpload | AbortMultipartUpload
 */
#ifndef API_S3_MULTIPART_H
#define API_S3_MULTIPART_H

#include "api/s3/request.h"

#define UPLOAD_TEXT_BYTES 33
struct bytes s3_upload_text(const struct upload_id *id, char out[UPLOAD_TEXT_BYTES]);
bool s3_upload_parse(struct bytes text, struct upload_id *ret_id);

/* ?uploadId. False: answered with NoSuchUpload, as S3 does for an id that is not one. */
bool s3_upload_address(struct s3_request *r, struct upload_id *ret_id);
/* ?uploadId&partNumber. False: answered with an error. */
bool s3_part_address(struct s3_request *r, struct upload_id *ret_id, uint16_t *ret_number);

/* What x-amz-checksum-algorithm and -type ask for; CRC64NVME when nothing is asked, as S3 does.
 * False: answered with an error. */
bool s3_upload_checksum_wanted(struct s3_request *r, struct checksum *ret_wanted);

#endif
