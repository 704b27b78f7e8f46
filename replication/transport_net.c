#include <arpa/inet.h>
#include <ifaddrs.h>
#include <netinet/in.h>
#include <stdio.h>
#include <string.h>

#include "replication/transport_priv.h"

void transport__format_address(const struct sockaddr *address, char out[80])
{
    char host[INET6_ADDRSTRLEN] = "?";
    if (address->sa_family == AF_INET) {
        const struct sockaddr_in *in = (const struct sockaddr_in *)address;
        (void)inet_ntop(AF_INET, &in->sin_addr, host, sizeof host); /* "?" then */
        snprintf(out, 80, "%s:%u", host, ntohs(in->sin_port));
    } else if (address->sa_family == AF_INET6) {
        const struct sockaddr_in6 *in6 = (const struct sockaddr_in6 *)address;
        (void)inet_ntop(AF_INET6, &in6->sin6_addr, host, sizeof host);
        snprintf(out, 80, "[%s]:%u", host, ntohs(in6->sin6_port));
    } else {
        snprintf(out, 80, "an address of family %u", address->sa_family);
    }
}

static bool is_same_host(const struct sockaddr *a, const struct sockaddr *b)
{
    if (a == NULL || b == NULL || a->sa_family != b->sa_family)
        return false;
    if (a->sa_family == AF_INET)
        return ((const struct sockaddr_in *)a)->sin_addr.s_addr ==
               ((const struct sockaddr_in *)b)->sin_addr.s_addr;
    return a->sa_family == AF_INET6 &&
           memcmp(&((const struct sockaddr_in6 *)a)->sin6_addr,
                  &((const struct sockaddr_in6 *)b)->sin6_addr, sizeof(struct in6_addr)) == 0;
}

void transport__interface_of(const struct sockaddr *address, char *out, size_t size)
{
    struct ifaddrs *all = NULL;
    snprintf(out, size, "any");
    if (getifaddrs(&all) != 0)
        return; /* only for people who look at it */
    for (const struct ifaddrs *one = all; one != NULL; one = one->ifa_next)
        if (is_same_host(one->ifa_addr, address)) {
            snprintf(out, size, "%s", one->ifa_name);
            break;
        }
    freeifaddrs(all);
}
