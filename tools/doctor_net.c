/* The interfaces that bytes leave by: those a node listens on, those named, or all that are up. */
#include <arpa/inet.h>
#include <errno.h>
#include <ifaddrs.h>
#include <limits.h>
#include <net/if.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/check.h"
#include "server/units.h"
#include "tools/doctor.h"

static void look_nic(const char *name, bool is_loopback, struct doctor_nic *nic)
{
    char path[128], target[PATH_MAX];
    *nic = (struct doctor_nic){.is_loopback = is_loopback};
    snprintf(nic->name, sizeof nic->name, "%s", name);
    snprintf(path, sizeof path, "/sys/class/net/%s/operstate", nic->name);
    (void)doctor_read(path, nic->state, sizeof nic->state);
    snprintf(path, sizeof path, "/sys/class/net/%s/mtu", nic->name);
    nic->mtu = doctor_read_number(path);
    snprintf(path, sizeof path, "/sys/class/net/%s/speed", nic->name);
    nic->speed_mbit = doctor_read_number(path); /* EINVAL or -1 where there is no wire */
    snprintf(path, sizeof path, "/sys/class/net/%s/device/driver", nic->name);
    ssize_t size = readlink(path, target, sizeof target - 1);
    if (size > 0) {
        target[size] = '\0';
        const char *slash = strrchr(target, '/');
        snprintf(nic->driver, sizeof nic->driver, "%.31s", slash != NULL ? slash + 1 : target);
    }
    nic->features_errno = ethtool_features_get(nic->name, &nic->features);
}

static bool is_known(const struct doctor_network *network, const char *name)
{
    for (unsigned i = 0; i < network->nic_count; i++)
        if (strcmp(network->nics[i].name, name) == 0)
            return true;
    return false;
}

static bool has_address(const struct ifaddrs *interface, const char *text)
{
    char host[INET6_ADDRSTRLEN] = "";
    const struct sockaddr *address = interface->ifa_addr;
    if (address->sa_family == AF_INET)
        (void)inet_ntop(AF_INET, &((const struct sockaddr_in *)(const void *)address)->sin_addr,
                        host, sizeof host);
    else
        (void)inet_ntop(AF_INET6, &((const struct sockaddr_in6 *)(const void *)address)->sin6_addr,
                        host, sizeof host);
    return strcmp(host, text) == 0;
}

/* Whether the node listens on this interface: on its address, or on all of them. */
static bool is_listening(const struct ifaddrs *interface, const char *const addresses[],
                         unsigned count)
{
    for (unsigned i = 0; i < count; i++) {
        struct address address;
        if (address_parse(bytes_of_string(addresses[i]), &address, NULL) != ERR_OK)
            continue;
        if (address_is_any(&address) ? !(interface->ifa_flags & IFF_LOOPBACK)
                                     : has_address(interface, address.host))
            return true;
    }
    return false;
}

static void look_addressed(const char *const addresses[], unsigned address_count,
                           struct doctor_network *network)
{
    struct ifaddrs *all = NULL;
    if (getifaddrs(&all) < 0)
        return;
    for (struct ifaddrs *at = all; at != NULL; at = at->ifa_next) {
        if (at->ifa_addr == NULL || network->nic_count == DOCTOR_NICS_MAX ||
            (at->ifa_addr->sa_family != AF_INET && at->ifa_addr->sa_family != AF_INET6) ||
            !(at->ifa_flags & IFF_UP) || is_known(network, at->ifa_name))
            continue;
        bool is_loopback = at->ifa_flags & IFF_LOOPBACK;
        if (address_count > 0 ? is_listening(at, addresses, address_count) : !is_loopback)
            look_nic(at->ifa_name, is_loopback, &network->nics[network->nic_count++]);
    }
    freeifaddrs(all);
}

bool doctor_look_network(const char *interface, const char *const addresses[],
                         unsigned address_count, struct doctor_network *network)
{
    *network = (struct doctor_network){0};
    if (interface != NULL) {
        if (strlen(interface) >= IFNAMSIZ || if_nametoindex(interface) == 0)
            return false;
        network->chosen_by = "--interface";
        look_nic(interface, strcmp(interface, "lo") == 0, &network->nics[network->nic_count++]);
        return true;
    }
    network->chosen_by =
        address_count > 0 ? "the node listens there" : "every interface that is up";
    look_addressed(addresses, address_count, network);
    return true;
}
