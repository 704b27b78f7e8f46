/*
 * Whether the ports that a new node is to serve are free, asked before its volume is made: a start
 * that they refuse leaves the directory as it was. A volume that is there is opened first, because
 * who serves it already is the likelier reason and the better sentence. The ports are taken in
 * earnest when there is somebody to serve them.
 */
#include <errno.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "server/start_priv.h"

#define PORTS_MAX 4u

struct wanted_port {
    struct address address;
    const char *how; /* to choose another one */
};

static bool has_volume(const struct node *node)
{
    char path[NODE_PATH_MAX];
    return node_path(path, node->dir, "superblock") && access(path, F_OK) == 0;
}

/* RDMA has ports of its own, which are not asked for here. */
static bool is_peers_port_tcp(const struct node *node)
{
    bool may_be_rdma =
        node->config.cluster_backend != CLUSTER_TCP && access("/sys/class/infiniband", F_OK) == 0;
    return node->plan.count > 0 && !may_be_rdma;
}

static unsigned list_ports(const struct node *node, struct wanted_port ports[PORTS_MAX])
{
    unsigned count = 0;
    struct address tls;
    ports[count++] = (struct wanted_port){node->config.s3_listen, START_HOW_S3};
    ports[count++] = (struct wanted_port){node->config.admin_listen, "--admin ADDR:PORT"};
    if (config_tls_listen(&node->config, &tls))
        ports[count++] = (struct wanted_port){tls, "[tls] listen"};
    if (is_peers_port_tcp(node))
        ports[count++] = (struct wanted_port){node->plan.listen, "[cluster] listen"};
    return count;
}

enum err start__port_in_use(const struct address *address, const char *how, struct err_trail *trail)
{
    return err_say(trail, ERR_IN_USE,
                   "port %u of %s is in use by another process: choose one with %s", address->port,
                   address->host, how);
}

static enum err take(const struct wanted_port *port, int *ret_fd, struct err_trail *trail)
{
    struct sockaddr_storage at;
    socklen_t size = start__socket_address(&port->address, &at);
    int on = 1;
    CLEANUP(fd_close) int fd = socket(at.ss_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
    bool is_taken = fd >= 0 && setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on) == 0 &&
                    bind(fd, (struct sockaddr *)&at, size) == 0 && listen(fd, 1) == 0;
    if (!is_taken && errno == EADDRINUSE)
        return start__port_in_use(&port->address, port->how, trail);
    if (!is_taken)
        return err_say(trail, err_from_errno(errno), "listen on %s port %u: %s", port->address.host,
                       port->address.port, strerrordesc_np(errno));
    *ret_fd = TAKE_FD(fd);
    return ERR_OK;
}

/* All at once: two of them may be one. */
enum err start__ports(void *context, struct err_trail *trail)
{
    const struct node *node = context;
    struct wanted_port ports[PORTS_MAX];
    int fds[PORTS_MAX];
    enum err e = ERR_OK;
    if (has_volume(node))
        return ERR_OK;
    unsigned count = list_ports(node, ports), taken = 0;
    while (taken < count && e == ERR_OK) {
        e = take(&ports[taken], &fds[taken], trail);
        taken += e == ERR_OK;
    }
    while (taken > 0)
        (void)close(fds[--taken]); /* nobody has connected */
    return e;
}
