/*
 * What a node says when it is ready: what one needs to use it, to trust it and to size it. One
 * screen, on standard output; the log goes to standard error.
 */
#ifndef SERVER_BANNER_H
#define SERVER_BANNER_H

#include "server/start.h"

void banner_print(const struct node *node, struct text_buf *out);
/* The memory the node may take, as printed: the sum of its parts. */
uint64_t node_memory_bytes(const struct node *node);

#endif
