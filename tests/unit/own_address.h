#ifndef SLUICE_TESTS_OWN_ADDRESS_H
#define SLUICE_TESTS_OWN_ADDRESS_H

#include <arpa/inet.h>
#include <netinet/in.h>
#include <unistd.h>

/*
 * A loopback address of this process alone: a port of it that is let go and taken again later, as a
 * node's that restarts, is not taken meanwhile by another test, or by a client's end of a
 * connection (those are of 127.0.0.1). Process ids have 22 bits.
 */
static inline struct in_addr own_address(void)
{
    return (struct in_addr){.s_addr = htonl(0x7f400000u + (uint32_t)getpid())};
}

#endif
