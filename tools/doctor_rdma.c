/* RDMA devices as sysfs shows them: no library is needed to look. */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/bytes.h"
#include "base/cleanup.h"
#include "tools/doctor.h"

#define GIDS_MAX 256u /* of a port; what stands behind is more of the same */

static void dir_close(DIR *dir)
{
    (void)closedir(dir);
}
CLEANUP_DEFINE(dir_close, DIR *)

/* "4: ACTIVE" -> "ACTIVE" */
static void read_state(const char *port_dir, const char *name, char *out, size_t out_size)
{
    char path[512], text[64];
    snprintf(path, sizeof path, "%s/%s", port_dir, name);
    (void)doctor_read(path, text, sizeof text);
    const char *colon = strchr(text, ':');
    snprintf(out, out_size, "%.*s", (int)out_size - 1,
             colon != NULL ? colon + 1 + (colon[1] == ' ') : text);
}

static void look_gid(const char *port_dir, unsigned index, struct doctor_rdma_port *port)
{
    char path[512], gid[48], type[32];
    snprintf(path, sizeof path, "%s/gids/%u", port_dir, index);
    if (doctor_read(path, gid, sizeof gid) != 0 || gid[0] == '\0' ||
        strspn(gid, "0:") == strlen(gid))
        return;
    port->gids++;
    snprintf(path, sizeof path, "%s/gid_attrs/types/%u", port_dir, index);
    (void)doctor_read(path, type, sizeof type);
    bool is_v2 = strcmp(type, "RoCE v2") == 0;
    port->gids_v2 += is_v2;
    bool is_usable = is_v2 || strcmp(port->link_layer, "InfiniBand") == 0;
    if (!is_usable || port->gid[0] != '\0')
        return;
    snprintf(port->gid, sizeof port->gid, "%.39s", gid);
    snprintf(path, sizeof path, "%s/gid_attrs/ndevs/%u", port_dir, index);
    (void)doctor_read(path, port->netdev, sizeof port->netdev);
}

static void look_port(const char *sys_root, const char *device, unsigned number,
                      struct doctor_rdma_port *port)
{
    char dir[256];
    *port = (struct doctor_rdma_port){.port = number};
    snprintf(port->device, sizeof port->device, "%.31s", device);
    snprintf(dir, sizeof dir, "%.60s/class/infiniband/%.31s/ports/%u", sys_root, device, number);
    read_state(dir, "state", port->state, sizeof port->state);
    read_state(dir, "link_layer", port->link_layer, sizeof port->link_layer);
    read_state(dir, "rate", port->rate, sizeof port->rate);
    for (unsigned i = 0; i < GIDS_MAX; i++)
        look_gid(dir, i, port);
}

static void look_device(const char *sys_root, const char *device, struct doctor_rdma *rdma)
{
    char path[256];
    for (unsigned number = 1; rdma->port_count < DOCTOR_PORTS_MAX; number++) {
        snprintf(path, sizeof path, "%.60s/class/infiniband/%.31s/ports/%u", sys_root, device,
                 number);
        if (access(path, F_OK) != 0)
            break;
        look_port(sys_root, device, number, &rdma->ports[rdma->port_count++]);
    }
}

static int may_open(const char *path)
{
    CLEANUP(fd_close) int fd = open(path, O_RDWR | O_CLOEXEC);
    return fd < 0 ? errno : 0;
}

/* 0 when this user may use one of them. */
static int look_verbs(const char *dev_root)
{
    char path[512];
    snprintf(path, sizeof path, "%.60s/infiniband", dev_root);
    CLEANUP(dir_close) DIR *dir = opendir(path);
    int result = ENOENT;
    if (dir == NULL)
        return errno;
    for (struct dirent *entry; result != 0 && (entry = readdir(dir)) != NULL;) {
        if (strncmp(entry->d_name, "uverbs", 6) != 0)
            continue;
        snprintf(path, sizeof path, "%.60s/infiniband/%.64s", dev_root, entry->d_name);
        result = may_open(path);
    }
    return result;
}

void doctor_look_rdma(const char *sys_root, const char *dev_root, struct doctor_rdma *rdma)
{
    char path[128];
    *rdma = (struct doctor_rdma){0};
    snprintf(path, sizeof path, "%.60s/class/infiniband", sys_root);
    CLEANUP(dir_close) DIR *dir = opendir(path);
    if (dir == NULL) {
        rdma->list_errno = errno;
        return;
    }
    for (struct dirent *entry; (entry = readdir(dir)) != NULL;)
        if (entry->d_name[0] != '.')
            look_device(sys_root, entry->d_name, rdma);
    if (rdma->port_count == 0)
        return;
    rdma->verbs_errno = look_verbs(dev_root);
    snprintf(path, sizeof path, "%.60s/infiniband/rdma_cm", dev_root);
    rdma->cm_errno = may_open(path);
}
