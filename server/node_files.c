#include "server/node_files.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "base/check.h"
#include "base/cleanup.h"

#define KEY_FILE         "node.key"
#define TOKEN_FILE       "admin-token"
#define CREDENTIALS_FILE "root-credentials"

bool node_path(char out[NODE_PATH_MAX], const char *dir, const char *name)
{
    int size = snprintf(out, NODE_PATH_MAX, "%s/%s", dir, name);
    return size > 0 && size < NODE_PATH_MAX;
}

/* ---- a small file, whole or not at all ---- */

static enum err write_all(int fd, struct bytes content)
{
    while (content.size > 0) {
        ssize_t written = write(fd, content.data, content.size);
        if (written < 0 && errno == EINTR)
            continue;
        if (written < 0)
            return err_from_errno(errno);
        content = bytes_slice(content, (size_t)written, SIZE_MAX);
    }
    return fsync(fd) == 0 ? ERR_OK : err_from_errno(errno);
}

static enum err sync_dir(const char *dir)
{
    CLEANUP(fd_close) int fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0 || fsync(fd) != 0)
        return err_from_errno(errno);
    return ERR_OK;
}

static enum err write_scratch(const char *scratch, struct bytes content, mode_t mode)
{
    if (unlink(scratch) != 0 && errno != ENOENT) /* what a crash left */
        return err_from_errno(errno);
    CLEANUP(fd_close)
    int fd = open(scratch, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, mode);
    if (fd < 0)
        return err_from_errno(errno);
    enum err e = fchmod(fd, mode) == 0 ? ERR_OK : err_from_errno(errno); /* whatever the umask */
    if (e == ERR_OK)
        e = write_all(fd, content);
    if (e)
        (void)unlink(scratch); /* a leftover is removed by the next one anyway */
    return e;
}

enum err node_file_write(const char *dir, const char *name, struct bytes content, mode_t mode,
                         enum node_file_mode file_mode, struct err_trail *trail)
{
    char path[NODE_PATH_MAX], scratch[NODE_PATH_MAX], scratch_name[64];
    snprintf(scratch_name, sizeof scratch_name, "%s.new", name);
    if (!node_path(path, dir, name) || !node_path(scratch, dir, scratch_name))
        return err_note(trail, ERR_TOO_LARGE, "path of %s", name);
    enum err e = write_scratch(scratch, content, mode);
    if (e)
        return err_note(trail, e, "write %s", path);
    /* rename() replaces; link() refuses when the name is taken: two starts at once cannot both make
     * a key. */
    int rc = file_mode == NODE_FILE_REPLACE ? rename(scratch, path) : link(scratch, path);
    if (rc != 0) {
        e = err_from_errno(errno);
        (void)unlink(scratch);
        return err_note(trail, e, "write %s", path);
    }
    if (file_mode == NODE_FILE_NEW)
        (void)unlink(scratch); /* the other name of the same file */
    e = sync_dir(dir);
    return e ? err_note(trail, e, "sync %s", dir) : ERR_OK;
}

static enum err file_read(const char *path, char out[NODE_FILE_BYTES_MAX], size_t *ret_size,
                          bool is_secret, struct err_trail *trail)
{
    CLEANUP(fd_close) int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
    if (fd < 0)
        return errno == ENOENT ? ERR_NO_SUCH_FILE
                               : err_note(trail, err_from_errno(errno), "read %s", path);
    struct stat stat;
    if (fstat(fd, &stat) != 0)
        return err_note(trail, err_from_errno(errno), "read %s", path);
    if (!S_ISREG(stat.st_mode))
        return err_say(trail, ERR_INVALID, "%s is not a regular file", path);
    if (is_secret && (stat.st_mode & 077) != 0)
        return err_say(trail, ERR_DENIED,
                       "%s holds a secret and others may open it (mode %03o): chmod 600 %s", path,
                       stat.st_mode & 0777, path);
    ssize_t size = read(fd, out, NODE_FILE_BYTES_MAX);
    if (size < 0)
        return err_note(trail, err_from_errno(errno), "read %s", path);
    *ret_size = (size_t)size;
    return ERR_OK;
}

enum err node_file_read(const char *dir, const char *name, char out[NODE_FILE_BYTES_MAX],
                        size_t *ret_size, bool is_secret, struct err_trail *trail)
{
    char path[NODE_PATH_MAX];
    if (!node_path(path, dir, name))
        return err_note(trail, ERR_TOO_LARGE, "path of %s", name);
    return file_read(path, out, ret_size, is_secret, trail);
}

enum err secret_file_read(const char *path, char out[NODE_FILE_BYTES_MAX], size_t *ret_size,
                          struct err_trail *trail)
{
    return file_read(path, out, ret_size, true, trail);
}

void node_file_remove(const char *dir, const char *name)
{
    char path[NODE_PATH_MAX];
    if (node_path(path, dir, name))
        (void)unlink(path); /* a leftover only says where a dead process was */
}

/* ---- node.key ---- */

enum err node_key_load(const char *dir, struct rand *rand, bool may_make, uint8_t ret_key[32],
                       struct err_trail *trail)
{
    char content[NODE_FILE_BYTES_MAX];
    size_t size = 0;
    enum err e = node_file_read(dir, KEY_FILE, content, &size, true, trail);
    if (e == ERR_NO_SUCH_FILE && !may_make)
        return err_say(trail, e,
                       "%s/" KEY_FILE
                       " is missing: the access keys of this node are sealed with it. "
                       "Put the file back from a backup",
                       dir);
    if (e == ERR_NO_SUCH_FILE) {
        rand_fill(rand, content, 32);
        size = 32;
        e = node_file_write(dir, KEY_FILE, bytes_of(content, size), 0600, NODE_FILE_NEW, trail);
    }
    if (e)
        return e;
    if (size != 32)
        return err_say(trail, ERR_CORRUPT, "%s/" KEY_FILE " has %zu bytes and not 32", dir, size);
    memcpy(ret_key, content, 32);
    explicit_bzero(content, sizeof content);
    return ERR_OK;
}

/* ---- admin-token ---- */

enum err admin_token_load(const char *dir, struct rand *rand, admin_token ret_token,
                          struct err_trail *trail)
{
    char content[NODE_FILE_BYTES_MAX];
    size_t size = 0;
    enum err e = node_file_read(dir, TOKEN_FILE, content, &size, true, trail);
    if (e == ERR_NO_SUCH_FILE) {
        uint8_t drawn[ADMIN_TOKEN_BYTES];
        rand_fill(rand, drawn, sizeof drawn);
        hex_encode(drawn, sizeof drawn, content);
        size = 2 * sizeof drawn;
        content[size++] = '\n';
        e = node_file_write(dir, TOKEN_FILE, bytes_of(content, size), 0600, NODE_FILE_NEW, trail);
    }
    if (e)
        return e;
    uint8_t binary[ADMIN_TOKEN_BYTES];
    struct bytes hex = bytes_of(content, size);
    if (bytes_end_with(hex, BYTES("\n")))
        hex.size--;
    if (hex_decode(hex, binary, sizeof binary) != ERR_OK)
        return err_say(trail, ERR_CORRUPT,
                       "%s/" TOKEN_FILE
                       " does not hold %u hex digits; remove it and a new one is made",
                       dir, 2 * ADMIN_TOKEN_BYTES);
    memcpy(ret_token, hex.data, hex.size);
    ret_token[hex.size] = '\0';
    return ERR_OK;
}

/* ---- root-credentials ---- */

static bool take_line(struct bytes *rest, const char *name, char *out, size_t out_size)
{
    struct bytes value = bytes_split(rest, '\n'), wanted = bytes_of_string(name);
    if (!bytes_start_with(value, wanted))
        return false;
    value = bytes_slice(value, wanted.size, SIZE_MAX);
    if (value.size == 0 || value.size >= out_size)
        return false;
    memcpy(out, value.data, value.size);
    out[value.size] = '\0';
    return true;
}

enum err root_credentials_read(const char *dir, struct root_credentials *ret_credentials,
                               struct err_trail *trail)
{
    char content[NODE_FILE_BYTES_MAX];
    size_t size = 0;
    enum err e = node_file_read(dir, CREDENTIALS_FILE, content, &size, true, trail);
    if (e)
        return e;
    struct bytes rest = bytes_of(content, size);
    struct root_credentials found = {0};
    if (!take_line(&rest, "access_key=", found.access_key, sizeof found.access_key) ||
        !take_line(&rest, "secret_key=", found.secret_key, sizeof found.secret_key))
        return err_say(trail, ERR_CORRUPT,
                       "%s/" CREDENTIALS_FILE " does not hold access_key= and secret_key= lines",
                       dir);
    *ret_credentials = found;
    return ERR_OK;
}

enum err root_credentials_write(const char *dir, const struct root_credentials *credentials,
                                enum node_file_mode file_mode, struct err_trail *trail)
{
    char content[NODE_FILE_BYTES_MAX];
    struct buf out = BUF_ON(content);
    buf_printf(&out, "access_key=%s\nsecret_key=%s\n", credentials->access_key,
               credentials->secret_key);
    CHECK(!out.overflowed);
    return node_file_write(dir, CREDENTIALS_FILE, buf_bytes(&out), 0600, file_mode, trail);
}

/* ---- the last node started ---- */

static bool config_home(char out[NODE_PATH_MAX])
{
    const char *xdg = getenv("XDG_CONFIG_HOME"), *home = getenv("HOME");
    if (xdg != NULL && xdg[0] == '/')
        return snprintf(out, NODE_PATH_MAX, "%s/sluice", xdg) < NODE_PATH_MAX;
    if (home != NULL && home[0] == '/')
        return node_path(out, home, ".config/sluice");
    return false;
}

bool last_node_path(char out[NODE_PATH_MAX])
{
    char home[NODE_PATH_MAX];
    return config_home(home) && node_path(out, home, "node");
}

static void make_parents(const char *path)
{
    char part[NODE_PATH_MAX];
    for (const char *slash = strchr(path + 1, '/');; slash = strchr(slash + 1, '/')) {
        size_t size = slash != NULL ? (size_t)(slash - path) : strlen(path);
        memcpy(part, path, size);
        part[size] = '\0';
        (void)mkdir(part, 0700); /* there already, or the write below will say so */
        if (slash == NULL)
            return;
    }
}

void last_node_write(const char *dir)
{
    char home[NODE_PATH_MAX], content[NODE_PATH_MAX + 64];
    CLEANUP(free) char *absolute = realpath(dir, NULL);
    if (absolute == NULL || !config_home(home))
        return;
    make_parents(home);
    int size =
        snprintf(content, sizeof content, "; the Sluice node started last\ndir = %s\n", absolute);
    enum err e = node_file_write(home, "node", bytes_of(content, (size_t)size), 0600,
                                 NODE_FILE_REPLACE, NULL);
    (void)e; /* `sluice --dir` works without it */
}

enum err last_node_read(char ret_dir[NODE_PATH_MAX])
{
    char home[NODE_PATH_MAX], content[NODE_FILE_BYTES_MAX];
    size_t size = 0;
    if (!config_home(home))
        return ERR_NO_SUCH_FILE;
    enum err e = node_file_read(home, "node", content, &size, false, NULL);
    if (e)
        return e;
    struct bytes rest = bytes_of(content, size);
    while (rest.size > 0) {
        struct bytes value = bytes_split(&rest, '\n'), name = bytes_split(&value, '=');
        value = bytes_trim(value);
        if (!bytes_equal(bytes_trim(name), BYTES("dir")) || value.size == 0 ||
            value.size >= NODE_PATH_MAX)
            continue;
        memcpy(ret_dir, value.data, value.size);
        ret_dir[value.size] = '\0';
        return ERR_OK;
    }
    return ERR_NO_SUCH_FILE;
}
