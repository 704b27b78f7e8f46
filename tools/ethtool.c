#include "tools/ethtool.h"

#include <errno.h>
#include <linux/ethtool.h>
#include <linux/ethtool_netlink.h>
#include <linux/genetlink.h>
#include <linux/netlink.h>
#include <linux/sockios.h>
#include <net/if.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/time.h>

#include "base/bytes.h"
#include "base/check.h"
#include "base/cleanup.h"

#define REPLY_BYTES_MAX 32768u /* the largest a kernel sends: some 60 features, four times */
#define REPLIES_MAX     4u     /* the answer, and what may come before it */
#define WAIT_SECONDS    2

/* Both names of one thing: IPv4 checksums by their own engine, or any by the generic one. */
static const struct {
    const char *name;
    enum ethtool_feature feature;
} names[] = {
    {"tx-tcp-segmentation", ETHTOOL_TSO},
    {"tx-generic-segmentation", ETHTOOL_GSO},
    {"tx-scatter-gather", ETHTOOL_SG},
    {"tx-checksum-ip-generic", ETHTOOL_TX_CHECKSUM},
    {"tx-checksum-ipv4", ETHTOOL_TX_CHECKSUM},
    {"rx-checksum", ETHTOOL_RX_CHECKSUM},
    {"rx-gro", ETHTOOL_GRO},
    {"rx-lro", ETHTOOL_LRO},
};

/* ---- attributes: 16 bits size, 16 bits type, data, padding to 4 ---- */

struct attribute {
    unsigned type;
    struct bytes data;
};

/* The next one of *rest. False at the end, and with *ret_broken where the sizes lie. */
static bool attribute_next(struct bytes *rest, struct attribute *ret_attribute, bool *ret_broken)
{
    struct nlattr head;
    if (rest->size == 0)
        return false;
    if (rest->size < sizeof head) {
        *ret_broken = true;
        return false;
    }
    memcpy(&head, rest->data, sizeof head);
    if (head.nla_len < sizeof head || head.nla_len > rest->size) {
        *ret_broken = true;
        return false;
    }
    ret_attribute->type = head.nla_type & NLA_TYPE_MASK;
    ret_attribute->data = bytes_slice(*rest, sizeof head, head.nla_len - sizeof head);
    *rest = bytes_slice(*rest, NLA_ALIGN(head.nla_len), SIZE_MAX);
    return true;
}

static void take_bit(struct bytes bit, bool flags[ETHTOOL_FEATURE_COUNT], bool *ret_broken)
{
    struct attribute attribute;
    while (attribute_next(&bit, &attribute, ret_broken)) {
        if (attribute.type != ETHTOOL_A_BITSET_BIT_NAME)
            continue;
        struct bytes name = attribute.data;
        if (name.size > 0 && name.data[name.size - 1] == '\0')
            name.size--;
        for (size_t i = 0; i < COUNT_OF(names); i++)
            if (bytes_equal(name, bytes_of_string(names[i].name)))
                flags[names[i].feature] = true;
    }
}

/* A bit set in its wordy form: the bits that are set, by name. */
static void take_bitset(struct bytes bitset, bool flags[ETHTOOL_FEATURE_COUNT], bool *ret_broken)
{
    struct attribute part, bit;
    while (attribute_next(&bitset, &part, ret_broken)) {
        if (part.type != ETHTOOL_A_BITSET_BITS)
            continue;
        while (attribute_next(&part.data, &bit, ret_broken))
            if (bit.type == ETHTOOL_A_BITSET_BITS_BIT)
                take_bit(bit.data, flags, ret_broken);
    }
}

bool ethtool_features_parse(const void *attributes, size_t size,
                            struct ethtool_features *ret_features)
{
    struct ethtool_features features = {0};
    struct bytes rest = bytes_of(attributes, size);
    struct attribute attribute;
    bool fixed[ETHTOOL_FEATURE_COUNT] = {false};
    bool is_broken = false, has_active = false;
    while (attribute_next(&rest, &attribute, &is_broken)) {
        switch (attribute.type) {
        case ETHTOOL_A_FEATURES_HW:
            take_bitset(attribute.data, features.can_change, &is_broken);
            break;
        case ETHTOOL_A_FEATURES_ACTIVE:
            has_active = true;
            take_bitset(attribute.data, features.is_on, &is_broken);
            break;
        case ETHTOOL_A_FEATURES_NOCHANGE:
            take_bitset(attribute.data, fixed, &is_broken);
            break;
        default:
            break;
        }
    }
    if (is_broken || !has_active)
        return false;
    for (size_t i = 0; i < ETHTOOL_FEATURE_COUNT; i++)
        features.can_change[i] &= !fixed[i];
    *ret_features = features;
    return true;
}

/* ---- asking ---- */

struct request {
    struct nlmsghdr head;
    struct genlmsghdr generic;
    char attributes[128];
};

static void request_init(struct request *request, uint16_t family, uint8_t command, uint8_t version)
{
    *request = (struct request){
        .head = {.nlmsg_type = family, .nlmsg_flags = NLM_F_REQUEST, .nlmsg_seq = 1},
        .generic = {.cmd = command, .version = version},
    };
    request->head.nlmsg_len = NLMSG_LENGTH(GENL_HDRLEN);
}

/* Returns where the attribute begins, so that one around others can be closed by
 * request_nest_end(). */
static struct nlattr *request_put(struct request *request, uint16_t type, const char *text)
{
    size_t size = text != NULL ? strlen(text) + 1 : 0;
    CHECK(request->head.nlmsg_len + NLA_HDRLEN + NLA_ALIGN(size) <= sizeof *request);
    struct nlattr *attribute = (struct nlattr *)((char *)request + request->head.nlmsg_len);
    attribute->nla_type = type;
    attribute->nla_len = (uint16_t)(NLA_HDRLEN + size);
    if (size > 0)
        memcpy((char *)attribute + NLA_HDRLEN, text, size);
    request->head.nlmsg_len += (uint32_t)(NLA_HDRLEN + NLA_ALIGN(size));
    return attribute;
}

static void request_nest_end(const struct request *request, struct nlattr *nest)
{
    nest->nla_len = (uint16_t)((const char *)request + request->head.nlmsg_len - (char *)nest);
}

/* Sends and waits for the answer to it; *ret_attributes lies in `reply`. 0 or an errno. */
static int ask(int fd, const struct request *request, char reply[REPLY_BYTES_MAX],
               struct bytes *ret_attributes)
{
    if (send(fd, request, request->head.nlmsg_len, 0) < 0)
        return errno;
    for (unsigned i = 0; i < REPLIES_MAX; i++) {
        ssize_t got = recv(fd, reply, REPLY_BYTES_MAX, 0);
        struct nlmsghdr head;
        if (got < 0)
            return errno;
        if ((size_t)got < sizeof head)
            return EPROTO;
        memcpy(&head, reply, sizeof head);
        if (head.nlmsg_len > (size_t)got || head.nlmsg_len < sizeof head)
            return EPROTO;
        if (head.nlmsg_seq != request->head.nlmsg_seq)
            continue;
        if (head.nlmsg_type == NLMSG_ERROR) {
            int code = 0;
            if (head.nlmsg_len < NLMSG_HDRLEN + sizeof code)
                return EPROTO;
            memcpy(&code, reply + NLMSG_HDRLEN, sizeof code);
            return code < 0 ? -code : EPROTO; /* an acknowledgement was not asked for */
        }
        if (head.nlmsg_len < NLMSG_LENGTH(GENL_HDRLEN))
            return EPROTO;
        *ret_attributes =
            bytes_of(reply + NLMSG_LENGTH(GENL_HDRLEN), head.nlmsg_len - NLMSG_LENGTH(GENL_HDRLEN));
        return 0;
    }
    return EPROTO;
}

static int family_find(int fd, char reply[REPLY_BYTES_MAX], uint16_t *ret_family)
{
    struct request request;
    struct bytes attributes;
    struct attribute attribute;
    bool is_broken = false;
    request_init(&request, GENL_ID_CTRL, CTRL_CMD_GETFAMILY, 1);
    (void)request_put(&request, CTRL_ATTR_FAMILY_NAME, ETHTOOL_GENL_NAME);
    int result = ask(fd, &request, reply, &attributes);
    if (result != 0)
        return result;
    while (attribute_next(&attributes, &attribute, &is_broken))
        if (attribute.type == CTRL_ATTR_FAMILY_ID && attribute.data.size >= sizeof *ret_family) {
            memcpy(ret_family, attribute.data.data, sizeof *ret_family);
            return 0;
        }
    return EPROTO;
}

static int get_by_netlink(const char *interface, struct ethtool_features *ret_features)
{
    CLEANUP(fd_close) int fd = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_GENERIC);
    if (fd < 0)
        return errno;
    struct timeval limit = {.tv_sec = WAIT_SECONDS};
    if (setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit) < 0)
        return errno;
    CLEANUP(free) char *reply = malloc(REPLY_BYTES_MAX);
    if (reply == NULL)
        return ENOMEM;
    uint16_t family = 0;
    int result = family_find(fd, reply, &family);
    if (result != 0)
        return result;

    struct request request;
    struct bytes attributes;
    request_init(&request, family, ETHTOOL_MSG_FEATURES_GET, ETHTOOL_GENL_VERSION);
    struct nlattr *header = request_put(&request, ETHTOOL_A_FEATURES_HEADER | NLA_F_NESTED, NULL);
    (void)request_put(&request, ETHTOOL_A_HEADER_DEV_NAME, interface);
    request_nest_end(&request, header);
    result = ask(fd, &request, reply, &attributes);
    if (result != 0)
        return result;
    return ethtool_features_parse(attributes.data, attributes.size, ret_features) ? 0 : EPROTO;
}

/* ---- the older way ---- */

static int get_value(int fd, const char *interface, uint32_t command, uint32_t *ret_value)
{
    struct ethtool_value value = {.cmd = command};
    struct ifreq request = {.ifr_data = (char *)&value};
    snprintf(request.ifr_name, sizeof request.ifr_name, "%s", interface);
    if (ioctl(fd, SIOCETHTOOL, &request) < 0)
        return errno;
    *ret_value = value.data;
    return 0;
}

static int get_by_ioctl(const char *interface, struct ethtool_features *ret_features)
{
    static const struct {
        uint32_t command, mask;
        enum ethtool_feature feature;
    } rows[] = {
        {ETHTOOL_GTSO, ~0u, ETHTOOL_TSO},
        {ETHTOOL_GGSO, ~0u, ETHTOOL_GSO},
        {ETHTOOL_GSG, ~0u, ETHTOOL_SG},
        {ETHTOOL_GTXCSUM, ~0u, ETHTOOL_TX_CHECKSUM},
        {ETHTOOL_GRXCSUM, ~0u, ETHTOOL_RX_CHECKSUM},
        {ETHTOOL_GGRO, ~0u, ETHTOOL_GRO},
        {ETHTOOL_GFLAGS, ETH_FLAG_LRO, ETHTOOL_LRO},
    };
    struct ethtool_features features = {.by_ioctl = true};
    CLEANUP(fd_close) int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return errno;
    for (size_t i = 0; i < COUNT_OF(rows); i++) {
        uint32_t value = 0;
        int result = get_value(fd, interface, rows[i].command, &value);
        if (result != 0)
            return result;
        features.is_on[rows[i].feature] = value & rows[i].mask;
    }
    *ret_features = features;
    return 0;
}

int ethtool_features_get(const char *interface, struct ethtool_features *ret_features)
{
    int result = get_by_netlink(interface, ret_features);
    if (result == 0 || result == ENODEV)
        return result;
    return get_by_ioctl(interface, ret_features);
}
