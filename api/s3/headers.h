/* Request headers as the S3 modules see them: laid out as api/http/http.h's, so that no module here
 * needs the engine to be tested. */
#ifndef API_S3_HEADERS_H
#define API_S3_HEADERS_H

#include "base/bytes.h"

struct s3_header {
    struct bytes name, value;
};

struct s3_headers {
    const struct s3_header *at; /* borrowed */
    size_t count;
};

/* First of that name, case-insensitive; {NULL, 0} when absent. */
static inline struct bytes s3_headers_find(const struct s3_headers *headers, struct bytes name)
{
    for (size_t i = 0; i < headers->count; i++)
        if (bytes_equal_nocase(headers->at[i].name, name))
            return headers->at[i].value;
    return (struct bytes){NULL, 0};
}

#endif
