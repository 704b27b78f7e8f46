/*
 * multipart/form-data (RFC 7578) as browsers send it for a POST upload: small fields, then the
 * file, then whatever, which S3 ignores. The fields must all lie before the file, in at most
 * FORM_HEAD_BYTES_MAX. The file's end is found by its delimiter, "\r\n--" and the boundary. Pure.
 */
#ifndef API_S3_FORM_H
#define API_S3_FORM_H

#include "api/s3/post_policy.h"

#define FORM_HEAD_BYTES_MAX      20480u /* S3: 20 KB of form data besides the file */
#define FORM_FIELDS_MAX          100u
#define FORM_BOUNDARY_BYTES_MAX  70u /* RFC 2046 section 5.1.1 */
#define FORM_DELIMITER_BYTES_MAX (4 + FORM_BOUNDARY_BYTES_MAX)

struct form_delimiter {
    size_t size;
    char text[FORM_DELIMITER_BYTES_MAX]; /* "\r\n--" boundary */
};
/* From "multipart/form-data; boundary=...". ERR_BAD_SYNTAX. */
enum err form_delimiter_parse(struct bytes content_type,
                              struct form_delimiter *ret_delimiter) MUST_USE;

struct form_head {
    struct post_field fields[FORM_FIELDS_MAX]; /* views into the head */
    size_t field_count;
    struct bytes file_name; /* as the browser has it, without directories */
    size_t file_offset;     /* where the file's first byte lies */
};
/* ERR_BAD_SYNTAX; ERR_TOO_LARGE: no file within FORM_HEAD_BYTES_MAX; ERR_TOO_SMALL: the data ends
 * before the file begins. */
enum err form_head_parse(struct bytes data, const struct form_delimiter *delimiter,
                         struct form_head *ret_head) MUST_USE;

/* Where the file ends in `data`, looking from `from` on; SIZE_MAX: not in there. */
size_t form_find_end(struct bytes data, size_t from, const struct form_delimiter *delimiter);
/* The same across a border: the bytes of `left` that a delimiter reaching into `right` would take;
 * 0: none does. */
size_t form_find_end_across(struct bytes left, struct bytes right,
                            const struct form_delimiter *delimiter);

#endif
