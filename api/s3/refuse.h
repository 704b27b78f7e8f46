/*
 * Request headers that ask for what we do not do. Passing over one would be a wrong success: an
 * object stored unencrypted that was to be encrypted, or open to fewer people than meant. So each
 * is refused, unless its value asks for what is done anyway.
 */
#ifndef API_S3_REFUSE_H
#define API_S3_REFUSE_H

#include "api/s3/request.h"

/* False: answered with an error. */
bool s3_refuse_unsupported(struct s3_request *r);

#endif
