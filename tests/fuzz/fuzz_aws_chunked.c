/*
 * Bodies in every framing, fed whole and byte by byte: both must tell the same payload and the same
 * end. The first byte of the input chooses the framing, the second a length that is announced.
 */
#include <stdlib.h>

#include "api/http/framing.h"

struct told {
    struct http_aws_chunks chunks;
    uint64_t hash, payload, in_chunks, chunk_left;
    enum err end;
    size_t used;
};

static uint64_t mixed(uint64_t hash, const void *data, size_t size)
{
    const uint8_t *bytes = data;
    for (size_t i = 0; i < size; i++)
        hash = (hash ^ bytes[i]) * 0x100000001b3ull;
    return hash;
}

static struct told *told_of(struct http_aws_chunks *chunks)
{
    return CONTAINER_OF(chunks, struct told, chunks);
}

static enum err chunk_begin(struct http_aws_chunks *chunks, uint64_t size, struct bytes signature)
{
    CHECK(signature.size == 0 || signature.size == 64);
    CHECK(signature.size == 64 || !chunks->is_signed);
    CHECK(told_of(chunks)->chunk_left == 0);
    told_of(chunks)->chunk_left = size;
    told_of(chunks)->hash = mixed(told_of(chunks)->hash, signature.data, signature.size);
    return ERR_OK;
}

static void chunk_data(struct http_aws_chunks *chunks, const uint8_t *data, size_t size)
{
    CHECK(size > 0 && size <= told_of(chunks)->chunk_left);
    told_of(chunks)->chunk_left -= size;
    told_of(chunks)->in_chunks += size;
}

static enum err chunk_end(struct http_aws_chunks *chunks)
{
    CHECK(told_of(chunks)->chunk_left == 0);
    return ERR_OK;
}

static enum err trailer(struct http_aws_chunks *chunks, struct bytes name, struct bytes value)
{
    CHECK(name.size > 0 && name.size + value.size < HTTP_TRAILER_LINE_BYTES_MAX);
    told_of(chunks)->hash =
        mixed(mixed(told_of(chunks)->hash, name.data, name.size), value.data, value.size);
    return ERR_OK;
}

static void feed(struct told *told, const struct framing_options *options, const uint8_t *data,
                 size_t size, size_t step)
{
    struct framing framing;
    enum framing_next next = FRAMING_MARKUP;
    enum err e = framing_init(&framing, options);
    while (!e && (next = framing_next(&framing)) < FRAMING_OVER && told->used < size) {
        size_t part = size - told->used < step ? size - told->used : step, used = 0;
        uint8_t *piece = malloc(part);
        CHECK(piece != NULL);
        memcpy(piece, data + told->used, part);
        if (next == FRAMING_PAYLOAD) {
            uint64_t run = framing_run(&framing);
            CHECK(run > 0);
            used = run < part ? (size_t)run : part;
            framing_passed(&framing, piece, used);
            told->hash = mixed(told->hash, piece, used);
            told->payload += used;
            CHECK(told->payload <= options->size_max);
        } else {
            e = framing_markup(&framing, piece, part, &used);
            CHECK(e || (used > 0 && used <= part));
        }
        told->used += used;
        free(piece);
    }
    told->end = e                        ? e
                : next == FRAMING_OVER   ? ERR_OK
                : next == FRAMING_BROKEN ? ERR_BAD_SYNTAX
                                         : ERR_PEER_CLOSED;
    CHECK(options->aws == NULL || told->in_chunks == told->payload);
    CHECK(next != FRAMING_OVER || e || framing_left(&framing) == 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size < 2)
        return 0;
    static const size_t steps[] = {1, 7, SIZE_MAX};
    struct told told[3];
    for (int i = 0; i < 3; i++) {
        told[i] = (struct told){
            .chunks = {chunk_begin, chunk_data, chunk_end, trailer, data[0] & 1, data[0] & 2}};
        struct framing_options options = {
            .is_chunked = data[0] & 4,
            .content_length = data[0] & 8 ? data[1] * 4u : size - 2,
            .aws = data[0] & 16 ? &told[i].chunks : NULL,
            .size_max = data[0] & 32 ? data[1] : UINT64_MAX,
        };
        feed(&told[i], &options, data + 2, size - 2, steps[i]);
        CHECK(told[i].end == told[0].end);
        if (told[0].end == ERR_OK)
            CHECK(told[i].hash == told[0].hash && told[i].payload == told[0].payload &&
                  told[i].used == told[0].used);
    }
    return 0;
}
