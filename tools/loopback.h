/* A connected pair of TCP sockets over 127.0.0.1: what is tried on one is tried on what clients
 * use, and not on a socketpair. */
#ifndef TOOLS_LOOPBACK_H
#define TOOLS_LOOPBACK_H

/* 0, or an errno with nothing left open. Both are blocking. */
int loopback_pair(int *ret_server, int *ret_client);

#endif
