#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include "api/http/framing.h"

#define SIGNATURE "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"

/* Writes down what the chunk callbacks are told: "<5:sig>hello</> ... name=value;" */
struct story {
    struct http_aws_chunks chunks;
    struct text_buf text;
    enum err end_says;
};

static struct story *story_of(struct http_aws_chunks *chunks)
{
    return CONTAINER_OF(chunks, struct story, chunks);
}

static enum err chunk_begin(struct http_aws_chunks *chunks, uint64_t size, struct bytes signature)
{
    text_printf(&story_of(chunks)->text, "<%llu%s>", (unsigned long long)size,
                signature.size == 64 ? ":sig" : "");
    return ERR_OK;
}

static void chunk_data(struct http_aws_chunks *chunks, const uint8_t *data, size_t size)
{
    text_put(&story_of(chunks)->text, bytes_of(data, size));
}

static enum err chunk_end(struct http_aws_chunks *chunks)
{
    text_put_string(&story_of(chunks)->text, "</>");
    return story_of(chunks)->end_says;
}

static enum err trailer(struct http_aws_chunks *chunks, struct bytes name, struct bytes value)
{
    text_printf(&story_of(chunks)->text, "%.*s=%.*s;", (int)name.size, name.data, (int)value.size,
                value.data);
    return ERR_OK;
}

struct run {
    bool is_chunked, is_aws, is_signed, has_trailer;
    const char *wire;        /* the stream; what follows the message too */
    uint64_t content_length; /* 0: all of the wire, when not chunked */
    uint64_t size_max;       /* 0: no limit */
    const char *payload;     /* expected */
    const char *story;       /* expected, NULL: not looked at */
    enum err expected;
    const char *rest; /* what is left unread */
};

/* Feeds the wire in pieces of `step` bytes as a connection would, payload runs and markup apart. */
static void feed(const struct run *run, size_t step)
{
    struct story story = {
        .chunks = {chunk_begin, chunk_data, chunk_end, trailer, run->is_signed, run->has_trailer}};
    struct framing framing;
    struct framing_options options = {
        .is_chunked = run->is_chunked,
        .content_length = run->content_length ? run->content_length : strlen(run->wire),
        .aws = run->is_aws ? &story.chunks : NULL,
        .size_max = run->size_max ? run->size_max : UINT64_MAX,
    };
    struct text_buf payload = {0};
    size_t at = 0, size = strlen(run->wire);
    enum err e = framing_init(&framing, &options);
    enum framing_next next = FRAMING_MARKUP;
    while (!e && (next = framing_next(&framing)) < FRAMING_OVER) {
        if (at == size) {
            e = ERR_PEER_CLOSED;
            break;
        }
        size_t part = size - at < step ? size - at : step, used = 0;
        uint8_t *piece = malloc(part);
        memcpy(piece, run->wire + at, part);
        if (next == FRAMING_PAYLOAD) {
            uint64_t length = framing_run(&framing);
            assert_true(length > 0);
            used = length < part ? (size_t)length : part;
            text_put(&payload, bytes_of(piece, used));
            framing_passed(&framing, piece, used);
        } else {
            assert_int_equal(framing_run(&framing), 0);
            e = framing_markup(&framing, piece, part, &used);
            assert_true(e || used > 0);
        }
        at += used;
        free(piece);
    }
    if (next == FRAMING_BROKEN)
        e = ERR_BAD_SYNTAX;
    if (e != run->expected)
        print_error("wire %s (step %zu): %s, expected %s\n", run->wire, step, err_name(e),
                    err_name(run->expected));
    assert_int_equal(e, run->expected);
    if (!e) {
        assert_string_equal(payload.data ? payload.data : "", run->payload);
        assert_string_equal(run->wire + at, run->rest ? run->rest : "");
        if (run->story)
            assert_string_equal(story.text.data ? story.text.data : "", run->story);
        assert_int_equal(framing_left(&framing), 0);
    }
    text_free(&payload);
    text_free(&story.text);
}

static void feed_all(const struct run *runs, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        size_t size = strlen(runs[i].wire);
        for (size_t step = 1; step <= size && step < 80; step++)
            feed(&runs[i], step);
        feed(&runs[i], size + 1);
    }
}

static void plain_bodies_end_with_their_length(void **state)
{
    static const struct run runs[] = {
        {.wire = "hello", .payload = "hello"},
        {.wire = "helloGET /", .content_length = 5, .payload = "hello", .rest = "GET /"},
        {.wire = "hell", .content_length = 5, .expected = ERR_PEER_CLOSED},
        {.wire = "hello", .size_max = 4, .expected = ERR_TOO_LARGE},
        {.wire = "hello", .size_max = 5, .payload = "hello"},
    };
    feed_all(runs, COUNT_OF(runs));
}

#define CHUNKED .is_chunked = true
#define BAD     .expected = ERR_BAD_SYNTAX

static void chunked_bodies_are_unwrapped(void **state)
{
    static const struct run runs[] = {
        {CHUNKED, .wire = "5\r\nhello\r\n0\r\n\r\n", .payload = "hello"},
        {CHUNKED, .wire = "5\r\nhello\r\n6\r\n world\r\n0\r\n\r\nGET /", .payload = "hello world",
         .rest = "GET /"},
        {CHUNKED, .wire = "0\r\n\r\n", .payload = ""},
        {CHUNKED, .wire = "000\r\n\r\n", .payload = ""},
        {CHUNKED, .wire = "A\r\n0123456789\r\na\r\n0123456789\r\n0\r\n\r\n",
         .payload = "01234567890123456789"},
        {CHUNKED, .wire = "5;name=value;other=\"x\"\r\nhello\r\n0;last\r\n\r\n",
         .payload = "hello"},
        {CHUNKED, .wire = "5\r\nhello\r\n0\r\nName: value\r\nOther:\r\n\r\n", .payload = "hello"},
        {CHUNKED, .wire = "5\r\nhello\r\n", .expected = ERR_PEER_CLOSED},
        {CHUNKED, .wire = "5\r\nhello\r\n0\r\n\r\n", .size_max = 4, .expected = ERR_TOO_LARGE},
        {CHUNKED, .wire = "3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n", .size_max = 4,
         .expected = ERR_TOO_LARGE},
        {CHUNKED, .wire = "3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n", .size_max = 5, .payload = "abcde"},
        {CHUNKED, .wire = "ffffffffffffffff\r\n", .size_max = 100, .expected = ERR_TOO_LARGE},
        {CHUNKED, BAD, .wire = "10000000000000000\r\n"},
        {CHUNKED, BAD, .wire = "00000000000000005\r\nhello"},
        {CHUNKED, BAD, .wire = "\r\nhello"},
        {CHUNKED, BAD, .wire = "0x5\r\nhello"},
        {CHUNKED, BAD, .wire = "+5\r\nhello"},
        {CHUNKED, BAD, .wire = "-5\r\nhello"},
        {CHUNKED, BAD, .wire = " 5\r\nhello"},
        {CHUNKED, BAD, .wire = "5 \r\nhello"},
        {CHUNKED, BAD, .wire = "5 ;a\r\nhello"},
        {CHUNKED, BAD, .wire = "5\nhello\n0\n\n"},
        {CHUNKED, BAD, .wire = "5\rhello"},
        {CHUNKED, BAD, .wire = "5\r\nhelloo"},
        {CHUNKED, BAD, .wire = "5\r\nhello\n0\r\n\r\n"},
        {CHUNKED, BAD, .wire = "5\r\nhello0\r\n\r\n"},
        {CHUNKED, BAD, .wire = "5;a\nhello"},
        {CHUNKED, BAD, .wire = "5;a\x01\r\nhello"},
        {CHUNKED, BAD, .wire = "0\r\n\n"},
        {CHUNKED, BAD, .wire = "0\r\nno colon\r\n\r\n"},
        {CHUNKED, BAD, .wire = "0\r\n: x\r\n\r\n"},
        {CHUNKED, BAD, .wire = "0\r\n folded: x\r\n\r\n"},
        {CHUNKED, BAD, .wire = "0\r\nName: a\nb\r\n\r\n"},
    };
    feed_all(runs, COUNT_OF(runs));
}

#define AWS     .is_aws = true
#define SIGNED  .is_aws = true, .is_signed = true
#define TRAILED .is_aws = true, .has_trailer = true
#define EXT     ";chunk-signature=" SIGNATURE

static void aws_chunks_are_unwrapped_and_told(void **state)
{
    static const struct run runs[] = {
        {SIGNED, .wire = "5" EXT "\r\nhello\r\n0" EXT "\r\n\r\n", .payload = "hello",
         .story = "<5:sig>hello</><0:sig></>"},
        {AWS, .wire = "5\r\nhello\r\n3\r\nyou\r\n0\r\n\r\n", .payload = "helloyou",
         .story = "<5>hello</><3>you</><0></>"},
        {AWS, .wire = "0\r\n\r\n", .payload = "", .story = "<0></>"},
        {TRAILED, .wire = "5\r\nhello\r\n0\r\nx-amz-checksum-crc32:NhCmhg==\r\n\r\n",
         .payload = "hello", .story = "<5>hello</><0></>x-amz-checksum-crc32=NhCmhg==;"},
        {SIGNED, .has_trailer = true,
         .wire = "5" EXT "\r\nhello\r\n0" EXT "\r\na: 1\r\nb:2\r\n\r\n", .payload = "hello",
         .story = "<5:sig>hello</><0:sig></>a=1;b=2;"},
        /* line feeds alone in trailers, as some clients write them */
        {TRAILED, .wire = "0\r\na:1\n\r\nb:2\r\n\r\n", .payload = "", .story = "<0></>a=1;b=2;"},
        {TRAILED, .wire = "0\r\na:1\n\r\n\r\n", .payload = "", .story = "<0></>a=1;"},
        {TRAILED, .wire = "0\r\na:1\n\r\n", .payload = "", .story = "<0></>a=1;"},
        {TRAILED, .wire = "0\r\na:1\nb:2\n\r\n\r\n", .payload = "", .story = "<0></>a=1;b=2;"},
        {TRAILED, BAD, .wire = "0\r\na:1\n"},
        {TRAILED, BAD, .wire = "0\r\na:1\n\n"},
        {TRAILED, BAD, .wire = "0\r\nno colon\r\n\r\n"},
        {TRAILED, BAD, .wire = "0\r\n:1\r\n\r\n"},
        {AWS, BAD, .wire = "0\r\na:1\r\n\r\n"}, /* none was announced */
        {SIGNED, BAD, .wire = "5\r\nhello\r\n0\r\n\r\n"},
        {SIGNED, BAD, .wire = "5" EXT "\r\nhello\r\n0\r\n\r\n"},
        {AWS, BAD, .wire = "5;other=1\r\nhello\r\n0\r\n\r\n"},
        {SIGNED, BAD, .wire = "5;chunk-signature=abc\r\nhello\r\n0\r\n\r\n"},
        {SIGNED, BAD, .wire = "5" EXT "0\r\nhello\r\n0\r\n\r\n"},
        {AWS, BAD, .wire = "\r\n0\r\n\r\n"},
        {AWS, BAD, .wire = "g\r\n0\r\n\r\n"},
        {AWS, BAD, .wire = "11111111111111111\r\n"},
        {AWS, BAD, .wire = "5\nhello\r\n0\r\n\r\n"},
        {AWS, BAD, .wire = "5\r\nhelloX\r\n0\r\n\r\n"},
        {AWS, BAD, .wire = "5\r\nhello\r\n"}, /* ends without the last chunk */
        {AWS, BAD, .wire = "5\r\nhello\r\n0\r\n"},
        {AWS, BAD, .wire = "5\r\nhello\r\n0\r\n\r\nmore"}, /* goes on behind the end */
        {AWS, BAD, .wire = "ff\r\nhello\r\n0\r\n\r\n"},    /* larger than the message */
        {AWS, .wire = "5\r\nhello\r\n0\r\n\r\n", .size_max = 4, .expected = ERR_TOO_LARGE},
        {AWS, .wire = "5\r\nhello\r\n0\r\n\r\nGET /", .content_length = 15, .payload = "hello",
         .rest = "GET /"},
    };
    feed_all(runs, COUNT_OF(runs));
}

static void aws_chunks_inside_chunked_do_not_care_where_they_are_cut(void **state)
{
    static const char inner[] = "5" EXT "\r\nhello\r\n6" EXT "\r\n world\r\n0" EXT
                                "\r\nx-amz-checksum-crc32:DUoRhQ==\r\n\r\n";
    size_t size = sizeof inner - 1;
    for (size_t cut = 1; cut < size; cut++) {
        char wire[1024];
        snprintf(wire, sizeof wire, "%zx\r\n%.*s\r\n%zX;x\r\n%s\r\n0\r\n\r\nrest", cut, (int)cut,
                 inner, size - cut, inner + cut);
        struct run run = {
            CHUNKED,
            SIGNED,
            .has_trailer = true,
            .wire = wire,
            .payload = "hello world",
            .rest = "rest",
            .story = "<5:sig>hello</><6:sig> world</><0:sig></>x-amz-checksum-crc32=DUoRhQ==;"};
        for (size_t step = 1; step < 300; step += 1 + step / 7)
            feed(&run, step);
    }
}

static void an_inner_framing_that_ends_early_or_late_is_refused(void **state)
{
    static const struct run runs[] = {
        {CHUNKED, AWS, BAD, .wire = "a\r\n5\r\nhello\r\n\r\n0\r\n\r\n"},
        {CHUNKED, AWS, BAD, .wire = "10\r\n5\r\nhello\r\n0\r\n\r\nx\r\n0\r\n\r\n"},
        {CHUNKED, AWS, BAD, .wire = "0\r\n\r\n"},
    };
    feed_all(runs, COUNT_OF(runs));
}

static void what_a_callback_says_ends_the_body(void **state)
{
    struct story story = {.chunks = {chunk_begin, chunk_data, chunk_end, trailer},
                          .end_says = ERR_CORRUPT};
    struct framing framing;
    static const char wire[] = "0\r\n\r\n";
    size_t used;
    assert_int_equal(framing_init(&framing, &(struct framing_options){.content_length = 5,
                                                                      .aws = &story.chunks,
                                                                      .size_max = 9}),
                     ERR_OK);
    assert_int_equal(framing_markup(&framing, (const uint8_t *)wire, 5, &used), ERR_CORRUPT);
    text_free(&story.text);
}

/* The framing of `payload` bytes a chunk with `waste` bytes of extension: how many chunks it takes
 * to be refused, or 0. */
static unsigned chunks_until_refused(unsigned payload, unsigned waste)
{
    struct framing framing;
    assert_int_equal(framing_init(&framing, &(struct framing_options){.is_chunked = true,
                                                                      .size_max = UINT64_MAX}),
                     ERR_OK);
    for (unsigned i = 1; i <= 100000; i++) {
        char line[512];
        int size = snprintf(line, sizeof line, "%s%x%s%.*s\r\n", i > 1 ? "\r\n" : "", payload,
                            waste ? ";" : "", (int)waste,
                            "xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx"
                            "xxxxxxxxxxxxxxxxxxxxxxxxxxxxxx");
        size_t used;
        if (framing_markup(&framing, (const uint8_t *)line, (size_t)size, &used))
            return i;
        uint8_t data[256] = {0};
        framing_passed(&framing, data, payload);
    }
    return 0;
}

static void tiny_chunks_are_borne_and_wasteful_ones_are_not(void **state)
{
    assert_int_equal(chunks_until_refused(1, 0), 0);
    assert_int_equal(chunks_until_refused(100, 80), 0);
    assert_in_range(chunks_until_refused(1, 100), 100, 400);
}

static void lines_and_trailers_have_an_end(void **state)
{
    char *wire = malloc(20000);
    struct run run = {CHUNKED, BAD, .wire = wire};
    sprintf(wire, "5;%0*d\r\nhello\r\n0\r\n\r\n", (int)HTTP_CHUNK_LINE_BYTES_MAX + 1, 0);
    feed(&run, 100);
    sprintf(wire, "0\r\nA: %0*d\r\n\r\n", (int)HTTP_TRAILER_LINE_BYTES_MAX + 1, 0);
    feed(&run, 100);
    char *to = stpcpy(wire, "0\r\n");
    for (unsigned i = 0; i <= HTTP_TRAILERS_MAX; i++)
        to = stpcpy(to, "A: b\r\n");
    strcpy(to, "\r\n");
    feed(&run, 100);
    run = (struct run){TRAILED, BAD, .wire = wire};
    feed(&run, 100);
    sprintf(wire, "0\r\nA: %0*d\r\n\r\n", (int)HTTP_TRAILER_LINE_BYTES_MAX, 0);
    feed(&run, 100);
    free(wire);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(plain_bodies_end_with_their_length),
        cmocka_unit_test(chunked_bodies_are_unwrapped),
        cmocka_unit_test(aws_chunks_are_unwrapped_and_told),
        cmocka_unit_test(aws_chunks_inside_chunked_do_not_care_where_they_are_cut),
        cmocka_unit_test(an_inner_framing_that_ends_early_or_late_is_refused),
        cmocka_unit_test(what_a_callback_says_ends_the_body),
        cmocka_unit_test(tiny_chunks_are_borne_and_wasteful_ones_are_not),
        cmocka_unit_test(lines_and_trailers_have_an_end),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
