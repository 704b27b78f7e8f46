/*
 * What tls.c and tls_store.c share: a generation is one reading of the certificates. Connections
 * keep the one they began with; the last of them frees it.
 */
#ifndef API_HTTP_TLS_PRIV_H
#define API_HTTP_TLS_PRIV_H

#include <openssl/ssl.h>

#include "api/http/tls.h"

struct tls_generation;

/* The newest, with a reference of the caller's. */
struct tls_generation *tls__generation_get(struct tls_store *store);
void tls__generation_put(struct tls_generation *generation);
SSL_CTX *tls__generation_context(const struct tls_generation *generation);
int tls__store_ready_fd(const struct tls_store *store);

/* Callbacks of a connection that its context carries: tls.c. */
int tls__choose_protocol(SSL *ssl, const unsigned char **out, unsigned char *out_size,
                         const unsigned char *in, unsigned in_size, void *context);
void tls__message_seen(int was_written, int version, int content_type, const void *data,
                       size_t size, SSL *ssl, void *context);

#endif
