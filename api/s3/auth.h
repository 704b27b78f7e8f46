/*
 * Who asks, and whether they may: the request's signature (api/s3/sigv4.h) held against the
 * keyring, and the key's grants against the bucket. There is no anonymous access: a request without
 * a signature is AccessDenied, but for the operations that say so in the route table and carry
 * their signature elsewhere.
 */
#ifndef API_S3_AUTH_H
#define API_S3_AUTH_H

#include "api/s3/keyring.h"
#include "api/s3/sigv4.h"

struct s3_request;

struct s3_auth {
    struct sigv4 sigv4;
    struct access_key key; /* of whoever signed; without its secret once that has served */
};

enum s3_authenticated {
    S3_AUTH_DONE,
    S3_AUTH_REFUSED, /* answered with an error */
    S3_AUTH_UNSURE,  /* no such key, but one may have been made through another node: not answered;
                        again when the request is fresh */
};
enum s3_authenticated s3_authenticate(struct s3_request *r);
/* Finds a key for a signature that came otherwise (a form's). False: answered. The secret is left
 * in r->auth.key for the caller to check with. */
bool s3_authenticate_key(struct s3_request *r, struct bytes id);
void s3_auth_forget_secret(struct s3_request *r);

#endif
