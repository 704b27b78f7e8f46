/* Techniques that hand the socket bytes from memory of ours, and so let the kernel copy them. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/check.h"
#include "tools/bench_paths.h"

int bench_send_all(struct bench_sender *sender, const void *data, size_t size, int flags)
{
    for (size_t sent = 0; sent < size;) {
        ssize_t moved =
            send(sender->socket, (const char *)data + sent, size - sent, flags | MSG_NOSIGNAL);
        sender->calls++;
        if (moved < 0 && errno == EINTR)
            continue;
        if (moved < 0)
            return errno;
        sent += (size_t)moved;
    }
    return 0;
}

/* ---- read + write, and Direct I/O + send: the same through another descriptor ---- */

static int buffer_open(struct bench_sender *sender)
{
    sender->state = aligned_alloc(BENCH_ALIGN, BENCH_BUFFER_BYTES);
    return sender->state != NULL ? 0 : ENOMEM;
}

static void buffer_close(struct bench_sender *sender)
{
    free(sender->state);
}

static int read_and_send(struct bench_sender *sender, int fd, uint64_t offset)
{
    for (uint32_t done = 0; done < sender->object_bytes;) {
        uint32_t wanted = sender->object_bytes - done;
        if (wanted > BENCH_BUFFER_BYTES)
            wanted = BENCH_BUFFER_BYTES;
        ssize_t got = pread(fd, sender->state, wanted, (off_t)(offset + done));
        sender->calls++;
        if (got <= 0)
            return got < 0 ? errno : EIO;
        int result = bench_send_all(sender, sender->state, (size_t)got, 0);
        if (result != 0)
            return result;
        done += (uint32_t)got;
    }
    return 0;
}

static int read_write_send(struct bench_sender *sender, uint64_t offset)
{
    return read_and_send(sender, sender->file_fd, offset);
}

const struct bench_technique bench_read_write = {
    .id = "read_write",
    .name = "read + write",
    .short_name = "read + write",
    .how = "pread into 256 KiB of memory, send from there",
    .copies = 2,
    .open = buffer_open,
    .send = read_write_send,
    .close = buffer_close,
};

static int direct_send(struct bench_sender *sender, uint64_t offset)
{
    return read_and_send(sender, sender->direct_fd, offset);
}

const struct bench_technique bench_direct_send = {
    .id = "direct_send",
    .name = "Direct I/O + send",
    .short_name = "direct + send",
    .how = "O_DIRECT pread of 256 KiB, send from there",
    .copies = 1,
    .is_direct = true,
    .open = buffer_open,
    .send = direct_send,
    .close = buffer_close,
};

/* ---- mmap + write ---- */

static int mmap_send(struct bench_sender *sender, uint64_t offset)
{
    void *map =
        mmap(NULL, sender->object_bytes, PROT_READ, MAP_SHARED, sender->file_fd, (off_t)offset);
    sender->calls++;
    if (map == MAP_FAILED)
        return errno;
    int result = bench_send_all(sender, map, sender->object_bytes, 0);
    CHECK(munmap(map, sender->object_bytes) == 0);
    sender->calls++;
    return result;
}

const struct bench_technique bench_mmap_write = {
    .id = "mmap_write",
    .name = "mmap + write",
    .short_name = "mmap + write",
    .how = "the object mapped, sent, unmapped",
    .copies = 1,
    .send = mmap_send,
};
