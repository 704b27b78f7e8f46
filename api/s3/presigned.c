#include "api/s3/presigned.h"

#include "api/s3/sigv4.h"
#include "base/check.h"

/* With its size before it: two requests are the same when their texts are, wherever one part ends.
 */
static void put(struct buf *out, struct bytes part)
{
    char size[4];
    put_le32(size, (uint32_t)part.size);
    buf_put(out, bytes_of(size, sizeof size));
    buf_put(out, part);
}

static void put_signed_headers(struct buf *out, const struct sigv4_request *request,
                               struct bytes names)
{
    while (names.data != NULL) {
        struct bytes name = bytes_split(&names, ';');
        for (size_t i = 0; i < request->headers.count; i++)
            if (bytes_equal_nocase(request->headers.at[i].name, name))
                put(out, request->headers.at[i].value);
        put(out, name); /* ends the values of that name */
    }
}

bool presigned_write(const struct sigv4_request *request, const struct sigv4 *sigv4,
                     struct bytes secret, struct presigned_text *ret_text)
{
    /* A body signed chunk by chunk goes on from the signing key, which is not derived for what is
     * remembered. */
    if (!sigv4->is_presigned || sigv4->payload != SIGV4_PAYLOAD_UNSIGNED ||
        request->query_text.data == NULL)
        return false;
    ret_text->buf = (struct buf){.data = ret_text->memory, .capacity = sizeof ret_text->memory};
    struct buf *out = &ret_text->buf;
    put(out, secret);
    put(out, request->method);
    put(out, request->path);
    /* Credential, date, expiry, names of headers: all but their values. */
    put(out, request->query_text);
    put_signed_headers(out, request, sigv4->signed_headers);
    return !out->overflowed;
}

/* Signatures are as good as drawn by lot, so four of their digits spread well. Who sends others
 * than he was given moves nothing: only what was found right is added. */
static size_t place_of(const char signature[64])
{
    uint8_t first[2];
    if (hex_decode(bytes_of(signature, 4), first, sizeof first))
        return 0; /* none that would ever be added */
    return get_le16(first) % PRESIGNED_ENTRIES;
}

bool presigned_has(const struct presigned *presigned, const char signature[64],
                   const struct presigned_text *text)
{
    size_t at = place_of(signature);
    size_t size = presigned->entries[at].size;
    return size > 0 && size == text->buf.size &&
           bytes_equal_secret(bytes_of(presigned->entries[at].signature, 64),
                              bytes_of(signature, 64)) &&
           memcmp(presigned->entries[at].text, text->memory, size) == 0;
}

void presigned_add(struct presigned *presigned, const char signature[64],
                   const struct presigned_text *text)
{
    size_t at = place_of(signature);
    CHECK(!text->buf.overflowed && text->buf.size > 0);
    memcpy(presigned->entries[at].signature, signature, 64);
    memcpy(presigned->entries[at].text, text->memory, text->buf.size);
    presigned->entries[at].size = (uint16_t)text->buf.size;
}
