/*
 * What a network interface takes off the CPU's hands, asked by ethtool's netlink family (Linux
 * 5.6), or by its ioctls where a kernel or a filter has none. Asking needs no rights.
 */
#ifndef TOOLS_ETHTOOL_H
#define TOOLS_ETHTOOL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum ethtool_feature {
    ETHTOOL_TSO,
    ETHTOOL_GSO,
    ETHTOOL_SG,
    ETHTOOL_TX_CHECKSUM,
    ETHTOOL_RX_CHECKSUM,
    ETHTOOL_GRO,
    ETHTOOL_LRO,
    ETHTOOL_FEATURE_COUNT
};

struct ethtool_features {
    bool is_on[ETHTOOL_FEATURE_COUNT];
    /* `ethtool -K` may turn it; not known (false) by ioctl. */
    bool can_change[ETHTOOL_FEATURE_COUNT];
    bool by_ioctl;
};

/* 0, or an errno: ENODEV there is no such interface, EOPNOTSUPP nobody tells. */
int ethtool_features_get(const char *interface, struct ethtool_features *ret_features);

/* The attributes of an ETHTOOL_MSG_FEATURES_GET_REPLY, as they stand behind the generic netlink
 * header. False: they do not add up. */
bool ethtool_features_parse(const void *attributes, size_t size,
                            struct ethtool_features *ret_features);

#endif
