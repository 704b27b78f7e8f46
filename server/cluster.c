#include "server/cluster.h"

#include <string.h>

#include "base/check.h"
#include "base/digest.h"
#include "server/node_files.h"

/* ---- who is who ---- */

static bool is_name_char(char c)
{
    return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') ||
           (c != '\0' && strchr("-_.", c) != NULL);
}

static enum err name_judge(const char *name, struct err_trail *trail)
{
    if (name[0] == '\0')
        return err_say(trail, ERR_INVALID,
                       "[cluster] peers is set and [cluster] name is not: the same name on every "
                       "node says that they belong together");
    for (size_t i = 0; name[i] != '\0'; i++)
        if (!is_name_char(name[i]) || i == CLUSTER_NAME_MAX)
            return err_say(trail, ERR_INVALID,
                           "[cluster] name '%.70s' is not 1 to %u letters, digits and - _ .", name,
                           CLUSTER_NAME_MAX);
    return ERR_OK;
}

/* "2=10.0.0.2:9100" */
static enum err member_parse(const char *word, struct cluster_member *ret_member,
                             struct err_trail *trail)
{
    struct bytes address = bytes_of_string(word), number = bytes_split(&address, '=');
    struct cluster_member member = {0};
    uint64_t node;
    if (number.size == strlen(word))
        return err_say(trail, ERR_INVALID,
                       "[cluster] peers: '%.60s' is not NODE=ADDRESS:PORT, such as 1=10.0.0.1:9100",
                       word);
    if (bytes_to_u64(number, &node) != ERR_OK || node == 0 || node > CLUSTER_NODE_MAX)
        return err_say(trail, ERR_INVALID,
                       "[cluster] peers: '%.60s' does not begin with a node's number, 1 to %u",
                       word, CLUSTER_NODE_MAX);
    enum err e = address_parse(address, &member.address, trail);
    if (e)
        return err_note(trail, ERR_INVALID, "[cluster] peers");
    if (member.address.port == 0 || address_is_any(&member.address))
        return err_say(trail, ERR_INVALID,
                       "[cluster] peers: the others cannot call '%.60s'; name the address and port "
                       "they reach node %u at",
                       word, (unsigned)node);
    member.node = (uint32_t)node;
    *ret_member = member;
    return ERR_OK;
}

static bool is_same_address(const struct address *one, const struct address *two)
{
    return one->port == two->port && strcmp(one->host, two->host) == 0;
}

static enum err member_add(struct cluster_plan *plan, const struct cluster_member *member,
                           struct err_trail *trail)
{
    unsigned at = plan->count;
    for (unsigned i = 0; i < plan->count; i++) {
        if (plan->members[i].node == member->node)
            return err_say(trail, ERR_INVALID, "[cluster] peers names node %u twice", member->node);
        if (is_same_address(&plan->members[i].address, &member->address))
            return err_say(trail, ERR_INVALID, "[cluster] peers: nodes %u and %u have one address",
                           plan->members[i].node, member->node);
    }
    for (; at > 0 && plan->members[at - 1].node > member->node; at--)
        plan->members[at] = plan->members[at - 1];
    plan->members[at] = *member;
    plan->count++;
    return ERR_OK;
}

static enum err members_parse(const char *text, struct cluster_plan *plan, struct err_trail *trail)
{
    char scratch[CONFIG_TEXT_MAX];
    const char *words[CLUSTER_NODES_MAX];
    unsigned count = config_words(text, scratch, words, CLUSTER_NODES_MAX);
    if (count > CLUSTER_NODES_MAX)
        return err_say(trail, ERR_INVALID, "[cluster] peers names %u nodes; there are at most %u",
                       count, CLUSTER_NODES_MAX);
    if (count < 2)
        return err_say(
            trail, ERR_INVALID,
            "[cluster] peers names one node: list all of them, this one too, or none for "
            "a node that serves alone");
    for (unsigned i = 0; i < count; i++) {
        struct cluster_member member;
        enum err e = member_parse(words[i], &member, trail);
        if (!e)
            e = member_add(plan, &member, trail);
        if (e)
            return e;
    }
    return ERR_OK;
}

static const struct cluster_member *member_find(const struct cluster_plan *plan, uint64_t node)
{
    for (unsigned i = 0; i < plan->count; i++)
        if (plan->members[i].node == node)
            return &plan->members[i];
    return NULL;
}

static enum err self_find(const struct config *config, struct cluster_plan *plan,
                          struct err_trail *trail)
{
    char numbers[CLUSTER_NODES_MAX * 8];
    struct buf list = BUF_ON(numbers);
    for (unsigned i = 0; i < plan->count; i++)
        buf_printf(&list, "%s%u", i > 0 ? ", " : "", plan->members[i].node);
    const struct cluster_member *self = member_find(plan, config->cluster_node);
    if (self == NULL && config->cluster_node == 0)
        return err_say(trail, ERR_INVALID,
                       "[cluster] peers is set and [cluster] node is not: which of %.*s is this?",
                       (int)list.size, list.data);
    if (self == NULL)
        return err_say(trail, ERR_INVALID, "[cluster] node is %u and peers lists %.*s",
                       (unsigned)config->cluster_node, (int)list.size, list.data);
    plan->self = self->node;
    plan->listen = self->address;
    if (config->cluster_listen[0] == '\0')
        return ERR_OK;
    enum err e = address_parse(bytes_of_string(config->cluster_listen), &plan->listen, trail);
    if (e)
        return err_note(trail, ERR_INVALID, "[cluster] listen");
    if (plan->listen.port == 0)
        return err_say(trail, ERR_INVALID,
                       "[cluster] listen: the others must know the port; 0 is any");
    return ERR_OK;
}

/* A setting that would have no effect is a mistake of somebody who thinks that it has. */
static enum err alone_judge(const struct config *config, struct err_trail *trail)
{
    static const struct {
        enum config_key_id id;
        const char *name;
    } keys[] = {
        {CONFIG_KEY_cluster_name, "name"},
        {CONFIG_KEY_cluster_key_file, "key-file"},
        {CONFIG_KEY_cluster_node, "node"},
        {CONFIG_KEY_cluster_listen, "listen"},
        {CONFIG_KEY_cluster_in_sync_min, "in-sync-min"},
        {CONFIG_KEY_cluster_log_records, "log-records"},
        {CONFIG_KEY_cluster_disk_timeout, "disk-timeout"},
    };
    for (size_t i = 0; i < COUNT_OF(keys); i++)
        if (config->source[keys[i].id] != CONFIG_DEFAULT)
            return err_say(trail, ERR_INVALID,
                           "[cluster] %s is set and [cluster] peers is not: a node without peers "
                           "serves alone",
                           keys[i].name);
    return ERR_OK;
}

enum err cluster_plan_make(const struct config *config, struct cluster_plan *ret_plan,
                           struct err_trail *trail)
{
    struct cluster_plan plan = {0};
    if (config->cluster_peers[0] == '\0') {
        *ret_plan = plan;
        return alone_judge(config, trail);
    }
    enum err e = name_judge(config->cluster_name, trail);
    if (!e && config->cluster_key_file[0] == '\0')
        e = err_say(trail, ERR_INVALID,
                    "[cluster] peers is set and [cluster] key-file is not: make one by "
                    "`sluice cluster key FILE` and copy it to every node");
    if (!e)
        e = members_parse(config->cluster_peers, &plan, trail);
    if (!e)
        e = self_find(config, &plan, trail);
    if (e)
        return e;
    plan.in_sync_min = config->cluster_in_sync_min > 0 ? (uint32_t)config->cluster_in_sync_min
                       : plan.count > 2                ? 2
                                                       : 1;
    if (plan.in_sync_min > plan.count)
        return err_say(trail, ERR_INVALID, "[cluster] in-sync-min is %u and there are %u nodes",
                       plan.in_sync_min, plan.count);
    *ret_plan = plan;
    return ERR_OK;
}

/* ---- what is derived ---- */

void cluster_id(const char *name, const struct cluster_plan *plan, uint8_t ret_id[16])
{
    static const char purpose[] = "sluice cluster id v2";
    uint8_t text[CONFIG_TEXT_MAX + 4 * CLUSTER_NODES_MAX], mac[32];
    size_t size = strlen(name) + 1;
    memcpy(text, name, size);
    for (unsigned i = 0; i < plan->count; i++, size += 4)
        put_le32(text + size, plan->members[i].node);
    hmac_sha256(purpose, sizeof purpose - 1, text, size, mac);
    memcpy(ret_id, mac, 16);
}

static void derive(struct bytes secret, const char *purpose, uint8_t out[32])
{
    hmac_sha256(secret.data, secret.size, purpose, strlen(purpose), out);
}

enum err cluster_keys_load(const char *path, struct cluster_keys *ret_keys, struct err_trail *trail)
{
    char content[NODE_FILE_BYTES_MAX];
    size_t size = 0;
    enum err e = secret_file_read(path, content, &size, trail);
    if (e == ERR_NO_SUCH_FILE)
        return err_say(trail, e,
                       "[cluster] key-file %s is not there: make one by `sluice cluster key FILE` "
                       "and copy it to every node",
                       path);
    if (e)
        return err_note(trail, e, "[cluster] key-file");
    if (size < CLUSTER_KEY_BYTES_MIN || size == sizeof content) {
        explicit_bzero(content, sizeof content);
        return err_say(trail, ERR_INVALID, "[cluster] key-file %s does not hold %u to %u bytes",
                       path, CLUSTER_KEY_BYTES_MIN, NODE_FILE_BYTES_MAX - 1);
    }
    struct bytes secret = bytes_of(content, size);
    if (bytes_end_with(secret, BYTES("\n")))
        secret.size--; /* an editor's, perhaps of one node only */
    derive(secret, "sluice peers v1", ret_keys->peers);
    derive(secret, "sluice secrets v1", ret_keys->secrets);
    explicit_bzero(content, sizeof content);
    return ERR_OK;
}
