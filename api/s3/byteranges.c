#include "api/s3/byteranges.h"

void s3_range_put(struct buf *out, const struct s3_range *range, uint64_t object_size)
{
    buf_put_string(out, "bytes ");
    buf_put_u64(out, range->offset);
    buf_put_char(out, '-');
    buf_put_u64(out, range->offset + range->size - 1);
    buf_put_char(out, '/');
    buf_put_u64(out, object_size);
}

static void delimiter(const struct s3_byteranges *b, struct buf *text)
{
    /* The line break before it is its own, not the part's: RFC 2046, 5.1.1. */
    buf_put_string(text, "\r\n--");
    buf_put_string(text, b->boundary);
}

static void part_head(const struct s3_byteranges *b, const struct s3_range *range, struct buf *text)
{
    delimiter(b, text);
    if (b->content_type.size > 0) {
        buf_put_string(text, "\r\nContent-Type: ");
        buf_put(text, b->content_type);
    }
    buf_put_string(text, "\r\nContent-Range: ");
    s3_range_put(text, range, object_info(b->object)->size);
    buf_put_string(text, "\r\n\r\n");
}

static void last_delimiter(const struct s3_byteranges *b, struct buf *text)
{
    delimiter(b, text);
    buf_put_string(text, "--\r\n");
}

static bool next_piece(struct http_pieces *pieces, struct buf *text, struct read_plan *plan)
{
    struct s3_byteranges *b = CONTAINER_OF(pieces, struct s3_byteranges, pieces);
    uint32_t at = b->next++;
    if (at > b->ranges.count)
        return false;
    if (at == b->ranges.count) {
        last_delimiter(b, text);
        return true;
    }
    const struct s3_range *range = &b->ranges.at[at];
    part_head(b, range, text);
    read_plan_open(plan, b->object, range->offset, range->size);
    return true;
}

static uint64_t whole_size(const struct s3_byteranges *b)
{
    char memory[HTTP_PIECE_TEXT_BYTES_MAX];
    uint64_t size = 0;
    for (uint32_t i = 0; i <= b->ranges.count; i++) {
        struct buf text = BUF_ON(memory);
        if (i == b->ranges.count) {
            last_delimiter(b, &text);
        } else {
            part_head(b, &b->ranges.at[i], &text);
            size += b->ranges.at[i].size;
        }
        CHECK(!text.overflowed);
        size += text.size;
    }
    return size;
}

void s3_byteranges_init(struct s3_byteranges *b, const struct s3_ranges *ranges,
                        struct object *object, struct bytes content_type, struct rand *rand)
{
    CHECK(content_type.size <= BYTERANGES_TYPE_BYTES_MAX);
    uint8_t random[BYTERANGES_BOUNDARY_BYTES / 2];
    rand_fill(rand, random, sizeof random);
    b->object = object;
    b->content_type = content_type;
    b->ranges = *ranges;
    b->next = 0;
    hex_encode(random, sizeof random, b->boundary);
    b->pieces = (struct http_pieces){.next = next_piece, .size = whole_size(b)};
}

void s3_byteranges_header(struct s3_request *r, const struct s3_byteranges *b)
{
    char memory[80];
    struct buf value = BUF_ON(memory);
    buf_put_string(&value, "multipart/byteranges; boundary=");
    buf_put_string(&value, b->boundary);
    http_header(r->x, "Content-Type", buf_bytes(&value));
}
