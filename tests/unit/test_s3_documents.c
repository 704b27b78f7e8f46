/* What S3 clients send and are told, apart from the request line: XML, times, checksums, stored
 * headers, errors, form policies. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "api/s3/checksum.h"
#include "api/s3/error.h"
#include "api/s3/meta.h"
#include "api/s3/post_policy.h"
#include "api/s3/time.h"
#include "api/s3/xml.h"
#include "base/check.h"

/* ---- XML ---- */

static void completed_parts_are_read(void **state)
{
    (void)state;
    struct xml_complete complete;
    assert_int_equal(xml_read_complete(
                         BYTES("<?xml version='1.0'?><CompleteMultipartUpload xmlns='" S3_XMLNS "'>"
                               "<Part><PartNumber>1</PartNumber><ETag>\"a&#98;c\"</ETag></Part>\n"
                               "<Part><ChecksumCRC32C>AAAAAA==</ChecksumCRC32C><ETag>d</ETag>"
                               "<PartNumber> 7 </PartNumber></Part></CompleteMultipartUpload>"),
                         &complete),
                     ERR_OK);
    assert_int_equal(complete.count, 2);
    assert_int_equal(complete.parts[0].number, 1);
    assert_true(bytes_equal(complete.parts[0].etag, BYTES("\"abc\"")));
    assert_int_equal(complete.parts[1].number, 7);
    assert_true(bytes_equal(complete.parts[1].checksum, BYTES("AAAAAA==")));
    assert_int_equal(complete.parts[1].checksum_algorithm, S3_CHECKSUM_ALGORITHM(DIGEST_CRC32C));
    xml_complete_free(&complete);
}

static void documents_that_are_none_are_refused(void **state)
{
    (void)state;
    static const char *const bad[] = {
        "",
        "x",
        "<CompleteMultipartUpload/>",
        "<CompleteMultipartUpload><Part></Part></CompleteMultipartUpload>",
        "<CompleteMultipartUpload><Part><PartNumber>0</PartNumber><ETag>a</ETag></Part>"
        "</CompleteMultipartUpload>",
        "<CompleteMultipartUpload><Part><PartNumber>x</PartNumber><ETag>a</ETag></Part>"
        "</CompleteMultipartUpload>",
        "<CompleteMultipartUpload><Part><ETag>a</ETag></Part></CompleteMultipartUpload>",
        "<CompleteMultipartUpload><Other/></CompleteMultipartUpload>",
        "<Complete xmlns='http://elsewhere/'><Part/></Complete>",
        "<CompleteMultipartUpload xmlns='http://elsewhere/'>"
        "<Part><PartNumber>1</PartNumber><ETag>a</ETag></Part>"
        "</CompleteMultipartUpload>",
        "<CompleteMultipartUpload><Part><PartNumber>1</PartNumber><ETag>a</ETag></Part>",
        /* what XML can do and S3 never needs */
        "<!DOCTYPE a [<!ENTITY b 'c'>]>"
        "<CompleteMultipartUpload><Part><PartNumber>1</PartNumber><ETag>&b;</ETag></Part>"
        "</CompleteMultipartUpload>",
        "<!DOCTYPE a SYSTEM 'file:///etc/passwd'>"
        "<CompleteMultipartUpload><Part><PartNumber>1</PartNumber><ETag>a</ETag></Part>"
        "</CompleteMultipartUpload>",
        "<CompleteMultipartUpload><Part><PartNumber>1</PartNumber><ETag>a<b><c/></b></ETag></Part>"
        "</CompleteMultipartUpload>",
    };
    for (size_t i = 0; i < COUNT_OF(bad); i++) {
        struct xml_complete complete;
        if (xml_read_complete(bytes_of_string(bad[i]), &complete) != ERR_BAD_SYNTAX)
            fail_msg("%s", bad[i]);
    }
}

static void keys_to_delete_keep_their_bytes(void **state)
{
    (void)state;
    struct xml_delete delete;
    assert_int_equal(
        xml_read_delete(
            BYTES("<Delete><Quiet>true</Quiet><Object><Key> a &lt;b&gt;&#xd; </Key></Object>"
                  "<Object><Key>c</Key><VersionId>null</VersionId></Object></Delete>"),
            &delete),
        ERR_OK);
    assert_true(delete.is_quiet);
    assert_int_equal(delete.count, 2);
    assert_true(bytes_equal(delete.keys[0].key, BYTES(" a <b>\r ")));
    assert_true(bytes_equal(delete.keys[1].version, BYTES("null")));
    xml_delete_free(&delete);
    assert_int_equal(
        xml_read_delete(BYTES("<Delete><Object><Key></Key></Object></Delete>"), &delete),
        ERR_BAD_SYNTAX);
    assert_int_equal(xml_read_delete(BYTES("<Delete><Quiet>true</Quiet></Delete>"), &delete),
                     ERR_BAD_SYNTAX);
    /* never another key than the one meant */
    static const char *const ambiguous[] = {
        "<Delete><Object><Key>a</Key></Object><Quiet><Key>b</Key></Quiet></Delete>",
        "<Delete><Object><Key>a</Key><Key>b</Key></Object></Delete>",
        "<Delete><Object>a</Object></Delete>",
    };
    for (size_t i = 0; i < COUNT_OF(ambiguous); i++)
        if (xml_read_delete(bytes_of_string(ambiguous[i]), &delete) != ERR_BAD_SYNTAX)
            fail_msg("%s", ambiguous[i]);
}

static void a_thousand_keys_and_not_one_more(void **state)
{
    (void)state;
    for (unsigned count = DELETE_KEYS_MAX; count <= DELETE_KEYS_MAX + 1; count++) {
        struct text_buf text = {0};
        text_put_string(&text, "<Delete>");
        for (unsigned i = 0; i < count; i++)
            text_printf(&text, "<Object><Key>k%u</Key></Object>", i);
        text_put_string(&text, "</Delete>");
        struct xml_delete delete;
        enum err e = xml_read_delete(text_bytes(&text), &delete);
        assert_int_equal(e, count > DELETE_KEYS_MAX ? ERR_TOO_LARGE : ERR_OK);
        if (!e) {
            assert_true(bytes_equal(delete.keys[999].key, BYTES("k999")));
            xml_delete_free(&delete);
        }
        text_free(&text);
    }
}

static void text_is_escaped(void **state)
{
    (void)state;
    struct text_buf out = {0};
    xml_put_element(&out, "Key", BYTES("a<b>&\"c\"\x01\n"));
    assert_string_equal(out.data, "<Key>a&lt;b&gt;&amp;&quot;c&quot;&#x1;&#xa;</Key>");
    text_free(&out);
}

static void a_region_may_be_named_for_a_bucket(void **state)
{
    (void)state;
    char region[32];
    assert_int_equal(xml_read_create_bucket(BYTES(" "), region), ERR_OK);
    assert_string_equal(region, "");
    assert_int_equal(
        xml_read_create_bucket(BYTES("<CreateBucketConfiguration><LocationConstraint>eu-west-1"
                                     "</LocationConstraint></CreateBucketConfiguration>"),
                               region),
        ERR_OK);
    assert_string_equal(region, "eu-west-1");
    assert_int_equal(xml_read_create_bucket(BYTES("<Other/>"), region), ERR_BAD_SYNTAX);
}

/* ---- times ---- */

static void times_are_written_and_read(void **state)
{
    (void)state;
    static const struct {
        uint64_t seconds;
        const char *iso, *http, *basic;
    } rows[] = {
        {0, "1970-01-01T00:00:00.123Z", "Thu, 01 Jan 1970 00:00:00 GMT", "19700101T000000Z"},
        {951782400, "2000-02-29T00:00:00.123Z", "Tue, 29 Feb 2000 00:00:00 GMT",
         "20000229T000000Z"},
        {1369353600, "2013-05-24T00:00:00.123Z", "Fri, 24 May 2013 00:00:00 GMT",
         "20130524T000000Z"},
        {4102444799, "2099-12-31T23:59:59.123Z", "Thu, 31 Dec 2099 23:59:59 GMT",
         "20991231T235959Z"},
    };
    for (size_t i = 0; i < COUNT_OF(rows); i++) {
        char iso[S3_TIME_ISO_BYTES], http[S3_TIME_HTTP_BYTES], basic[S3_TIME_BASIC_BYTES];
        uint64_t ns = rows[i].seconds * 1000000000ull + 123456789, back;
        s3_time_iso(ns, iso);
        s3_time_http(ns, http);
        s3_time_basic(ns, basic);
        assert_string_equal(iso, rows[i].iso);
        assert_string_equal(http, rows[i].http);
        assert_string_equal(basic, rows[i].basic);
        assert_int_equal(s3_time_parse_iso(bytes_of_string(iso), &back), ERR_OK);
        assert_int_equal(back, rows[i].seconds);
        assert_int_equal(s3_time_parse_http(bytes_of_string(http), &back), ERR_OK);
        assert_int_equal(back, rows[i].seconds);
        assert_int_equal(s3_time_parse_basic(bytes_of_string(basic), &back), ERR_OK);
        assert_int_equal(back, rows[i].seconds);
    }
}

static void all_forms_of_http_dates_mean_the_same(void **state)
{
    (void)state;
    static const char *const forms[] = {
        "Sun, 06 Nov 1994 08:49:37 GMT", "Sunday, 06-Nov-94 08:49:37 GMT",
        "Sun Nov  6 08:49:37 1994", "Sun, 06 Nov 1994 08:49:37 +0000",
        "Sun, 06 Nov 1994 08:49:37 -0000"};
    for (size_t i = 0; i < COUNT_OF(forms); i++) {
        uint64_t seconds;
        assert_int_equal(s3_time_parse_http(bytes_of_string(forms[i]), &seconds), ERR_OK);
        assert_int_equal(seconds, 784111777);
    }
    static const char *const bad[] = {"",
                                      "now",
                                      "Sun, 31 Feb 1994 08:49:37 GMT x",
                                      "Sun, 06 Foo 1994 08:49:37 GMT",
                                      "Sun, 06 Nov 1994 25:49:37 GMT",
                                      "Wed, 29 Feb 2023 00:00:00 GMT",
                                      "Thu, 29 Feb 1900 00:00:00 GMT",
                                      "Wed, 31 Apr 2024 00:00:00 GMT",
                                      "Sun, 06 Nov 1994 08:49:37",
                                      "Sun, 06 Nov 1994 08:49:37 +0100",
                                      "Sun, 06 Nov 1994 08:49:37 EST"};
    for (size_t i = 0; i < COUNT_OF(bad); i++) {
        uint64_t seconds;
        assert_int_equal(s3_time_parse_http(bytes_of_string(bad[i]), &seconds), ERR_BAD_SYNTAX);
    }
}

/* ---- checksums ---- */

static struct checksum sum_of(enum digest_kind kind, const char *text)
{
    struct checksum sum = {.algorithm = S3_CHECKSUM_ALGORITHM(kind),
                           .size = (uint8_t)digest_size_bytes(kind)};
    struct digest digest;
    assert_int_equal(digest_init(&digest, kind), ERR_OK);
    digest_update(&digest, text, strlen(text));
    digest_final(&digest, sum.value);
    return sum;
}

static void full_object_crcs_are_combined_from_parts(void **state)
{
    (void)state;
    static const enum digest_kind kinds[] = {DIGEST_CRC32, DIGEST_CRC32C, DIGEST_CRC64NVME};
    for (size_t i = 0; i < COUNT_OF(kinds); i++) {
        struct checksum a = sum_of(kinds[i], "hello "), b = sum_of(kinds[i], "wide "),
                        c = sum_of(kinds[i], "world");
        struct checksum all = sum_of(kinds[i], "hello wide world"), got;
        struct s3_checksum_whole whole;
        s3_checksum_whole_init(
            &whole, &(struct checksum){.algorithm = a.algorithm, .type = S3_CHECKSUM_FULL_OBJECT});
        s3_checksum_whole_add(&whole, &a, 6);
        s3_checksum_whole_add(&whole, &b, 5);
        s3_checksum_whole_add(&whole, &c, 5);
        s3_checksum_whole_final(&whole, &got);
        assert_true(s3_checksum_equal(&got, &all));
    }
}

static void composite_is_the_digest_of_digests(void **state)
{
    (void)state;
    struct checksum a = sum_of(DIGEST_SHA256, "one"), b = sum_of(DIGEST_SHA256, "two"), got;
    struct s3_checksum_whole whole;
    s3_checksum_whole_init(
        &whole, &(struct checksum){.algorithm = a.algorithm, .type = S3_CHECKSUM_COMPOSITE});
    s3_checksum_whole_add(&whole, &a, 3);
    s3_checksum_whole_add(&whole, &b, 3);
    s3_checksum_whole_final(&whole, &got);
    uint8_t both[64], expected[32];
    memcpy(both, a.value, 32);
    memcpy(both + 32, b.value, 32);
    sha256(both, 64, expected);
    assert_memory_equal(got.value, expected, 32);
}

static void types_fit_algorithms_as_s3_says(void **state)
{
    (void)state;
    assert_true(
        s3_checksum_type_fits(S3_CHECKSUM_ALGORITHM(DIGEST_CRC32), S3_CHECKSUM_FULL_OBJECT));
    assert_false(
        s3_checksum_type_fits(S3_CHECKSUM_ALGORITHM(DIGEST_SHA256), S3_CHECKSUM_FULL_OBJECT));
    assert_false(
        s3_checksum_type_fits(S3_CHECKSUM_ALGORITHM(DIGEST_CRC64NVME), S3_CHECKSUM_COMPOSITE));
    assert_int_equal(s3_checksum_type_default(S3_CHECKSUM_ALGORITHM(DIGEST_CRC64NVME)),
                     S3_CHECKSUM_FULL_OBJECT);
    assert_int_equal(s3_checksum_type_default(S3_CHECKSUM_ALGORITHM(DIGEST_CRC32)),
                     S3_CHECKSUM_COMPOSITE);
}

static void headers_promise_one_checksum_or_none(void **state)
{
    (void)state;
    struct s3_header headers[] = {
        {BYTES("x-amz-checksum-crc32"), BYTES("AAAAAA==")},
        {BYTES("X-Amz-Checksum-SHA1"), BYTES("AAAAAAAAAAAAAAAAAAAAAAAAAAA=")},
        {BYTES("x-amz-checksum-type"), BYTES("COMPOSITE")}};
    struct checksum checksum;
    assert_true(s3_checksum_from_headers(&(struct s3_headers){headers, 1}, &checksum));
    assert_int_equal(checksum.algorithm, S3_CHECKSUM_ALGORITHM(DIGEST_CRC32));
    assert_false(s3_checksum_from_headers(&(struct s3_headers){headers, 2}, &checksum));
    assert_true(s3_checksum_from_headers(&(struct s3_headers){headers + 2, 1}, &checksum));
    assert_int_equal(checksum.algorithm, 0);
    headers[0].value = BYTES("AAAA");
    assert_false(s3_checksum_from_headers(&(struct s3_headers){headers, 1}, &checksum));
}

/* ---- stored headers ---- */

static void collect(void *context, struct bytes name, struct bytes value)
{
    text_printf(context, "%.*s=%.*s;", (int)name.size, name.data, (int)value.size, value.data);
}

static void headers_come_back_as_stored(void **state)
{
    (void)state;
    const struct s3_header headers[] = {
        {BYTES("Host"), BYTES("h")},
        {BYTES("X-Amz-Meta-Color"), BYTES("blue")},
        {BYTES("content-type"), BYTES("image/png")},
        {BYTES("Content-Encoding"), BYTES("aws-chunked, deflate,gzip")},
        {BYTES("x-amz-storage-class"), BYTES("STANDARD_IA")},
    };
    uint8_t attrs[META_BYTES_MAX];
    size_t size;
    assert_int_equal(s3_meta_encode(&(struct s3_headers){headers, COUNT_OF(headers)}, attrs, &size),
                     S3_E(None));
    struct text_buf out = {0};
    assert_int_equal(s3_meta_each(bytes_of(attrs, size), collect, &out), ERR_OK);
    assert_string_equal(
        out.data,
        "Content-Type=image/png;Content-Encoding=deflate, gzip;x-amz-storage-class=STANDARD_IA;"
        "x-amz-meta-color=blue;");
    text_free(&out);
    assert_true(bytes_equal(s3_meta_storage_class(bytes_of(attrs, size)), BYTES("STANDARD_IA")));

    /* cut anywhere, it is either a shorter list or refused; never read beyond */
    for (size_t cut = 1; cut < size; cut++) {
        uint8_t *copy = malloc(cut);
        memcpy(copy, attrs, cut);
        struct text_buf ignored = {0};
        enum err e = s3_meta_each(bytes_of(copy, cut), collect, &ignored);
        assert_true(e == ERR_OK || e == ERR_CORRUPT);
        (void)s3_meta_storage_class(bytes_of(copy, cut));
        text_free(&ignored);
        free(copy);
    }
}

static void metadata_has_its_limit(void **state)
{
    (void)state;
    char value[2049];
    memset(value, 'v', sizeof value);
    uint8_t attrs[META_BYTES_MAX];
    size_t size;
    struct s3_header header = {BYTES("x-amz-meta-k"), bytes_of(value, 2047)};
    assert_int_equal(s3_meta_encode(&(struct s3_headers){&header, 1}, attrs, &size), S3_E(None));
    header.value.size = 2048;
    assert_int_equal(s3_meta_encode(&(struct s3_headers){&header, 1}, attrs, &size),
                     S3_E(MetadataTooLarge));
    header = (struct s3_header){BYTES("x-amz-storage-class"), BYTES("COLD")};
    assert_int_equal(s3_meta_encode(&(struct s3_headers){&header, 1}, attrs, &size),
                     S3_E(InvalidStorageClass));
}

/* ---- errors ---- */

static void every_error_of_ours_is_one_of_s3s(void **state)
{
    (void)state;
    for (int e = ERR_OK + 1; e < ERR_COUNT; e++) {
        enum s3_error error = s3_error_of((enum err)e);
        assert_true(s3_error_status(error) >= 400);
        assert_true(strlen(s3_error_text(error)) > 0);
    }
    assert_int_equal(s3_error_status(s3_error_of(ERR_DISK_FULL)), 507);
}

static void the_error_document_is_s3s(void **state)
{
    (void)state;
    struct text_buf out = {0};
    s3_error_write(&out, S3_E(NoSuchKey),
                   &(struct s3_error_detail){.resource = BYTES("/b/<k>"),
                                             .request_id = BYTES("7"),
                                             .extras = {{"Key", BYTES("<k>")}}});
    assert_string_equal(out.data, "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n"
                                  "<Error><Code>NoSuchKey</Code>"
                                  "<Message>The specified key does not exist.</Message>"
                                  "<Key>&lt;k&gt;</Key><Resource>/b/&lt;k&gt;</Resource>"
                                  "<RequestId>7</RequestId><HostId>sluice</HostId></Error>");
    text_free(&out);
}

/* ---- form policies ---- */

static char judged[POST_MESSAGE_BYTES]; /* what judge() was told */

static enum s3_error judge(const char *json, const struct post_field *fields, size_t count,
                           struct post_limits *limits)
{
    char base64[2048];
    base64_encode(json, strlen(json), base64);
    struct post_form form = {fields, count, BYTES("photos"), 1000};
    return post_policy_judge(bytes_of_string(base64), &form, limits, judged);
}

#define UNTIL "{\"expiration\":\"2030-01-01T00:00:00.000Z\",\"conditions\":"

#define LONG "0123456789012345678901234567890123456789012345678901234567890123456789"

static void policies_judge_every_field(void **state)
{
    (void)state;
    const struct post_field fields[] = {{BYTES("key"), BYTES("user/a.png")},
                                        {BYTES("acl"), BYTES("private")},
                                        {BYTES("policy"), BYTES("...")},
                                        {BYTES("x-ignore-this"), BYTES("1")}};
    static const struct {
        const char *json;
        enum s3_error error;
        const char *message; /* NULL: none */
    } rows[] = {
        {UNTIL
         "[{\"bucket\":\"photos\"},[\"starts-with\",\"$key\",\"user/\"],{\"acl\":\"private\"}]}",
         S3_E(None)},
        {UNTIL "[[\"eq\",\"$key\",\"user/a.png\"],[\"eq\",\"$acl\",\"private\"]]}", S3_E(None)},
        {UNTIL "[[\"starts-with\",\"$key\",\"\"],[\"starts-with\",\"$acl\",\"\"]]}", S3_E(None)},
        {UNTIL "[[\"starts-with\",\"$key\",\"user/\"]]}", S3_E(AccessDenied),
         "Invalid according to Policy: Extra input fields: acl"},
        {UNTIL "[{\"bucket\":\"other\"},[\"starts-with\",\"$key\",\"\"],"
               "[\"starts-with\",\"$acl\",\"\"]]}",
         S3_E(AccessDenied),
         "Invalid according to Policy: Policy Condition failed: "
         "[\"eq\", \"$bucket\", \"other\"]"},
        {UNTIL "[[\"eq\",\"$key\",\"user/b.png\"],[\"eq\",\"$acl\",\"private\"]]}",
         S3_E(AccessDenied),
         "Invalid according to Policy: Policy Condition failed: "
         "[\"eq\", \"$key\", \"user/b.png\"]"},
        {UNTIL "[[\"starts-with\",\"$key\",\"x/\"]]}", S3_E(AccessDenied),
         "Invalid according to Policy: Policy Condition failed: "
         "[\"starts-with\", \"$key\", \"x/\"]"},
        {UNTIL "[[\"eq\",\"$key\",\"" LONG LONG LONG LONG LONG "\"]]}", S3_E(AccessDenied),
         "Invalid according to Policy"},
        {UNTIL "[[\"eq\",\"$missing\",\"x\"],[\"starts-with\",\"$key\",\"\"],"
               "[\"starts-with\",\"$acl\",\"\"]]}",
         S3_E(AccessDenied),
         "Invalid according to Policy: Policy Condition failed: "
         "[\"eq\", \"$missing\", \"x\"]"},
        {"{\"expiration\":\"1970-01-01T00:16:40Z\",\"conditions\":[]}", S3_E(AccessDenied),
         "Invalid according to Policy: Policy expired."},
        {"{\"expiration\":\"soon\",\"conditions\":[]}", S3_E(InvalidPolicyDocument)},
        {"{\"conditions\":[]}", S3_E(InvalidPolicyDocument)},
        {UNTIL "{}}", S3_E(InvalidPolicyDocument)},
        {UNTIL "[[\"like\",\"$key\",\"x\"]]}", S3_E(InvalidPolicyDocument)},
        {UNTIL "[[\"content-length-range\",10,1]]}", S3_E(InvalidPolicyDocument)},
        {"nonsense", S3_E(InvalidPolicyDocument)},
    };
    for (size_t i = 0; i < COUNT_OF(rows); i++) {
        struct post_limits limits;
        enum s3_error error = judge(rows[i].json, fields, COUNT_OF(fields), &limits);
        if (error != rows[i].error)
            fail_msg("%s: %s", rows[i].json, s3_error_code(error));
        assert_string_equal(judged, rows[i].message != NULL ? rows[i].message : "");
    }
}

static void policies_bound_the_file(void **state)
{
    (void)state;
    const struct post_field key = {BYTES("key"), BYTES("k")};
    struct post_limits limits;
    assert_int_equal(judge(UNTIL
                           "[[\"starts-with\",\"$key\",\"\"],[\"content-length-range\",10,20]]}",
                           &key, 1, &limits),
                     S3_E(None));
    assert_int_equal(limits.size_min, 10);
    assert_int_equal(limits.size_max, 20);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(completed_parts_are_read),
        cmocka_unit_test(documents_that_are_none_are_refused),
        cmocka_unit_test(keys_to_delete_keep_their_bytes),
        cmocka_unit_test(a_thousand_keys_and_not_one_more),
        cmocka_unit_test(text_is_escaped),
        cmocka_unit_test(a_region_may_be_named_for_a_bucket),
        cmocka_unit_test(times_are_written_and_read),
        cmocka_unit_test(all_forms_of_http_dates_mean_the_same),
        cmocka_unit_test(full_object_crcs_are_combined_from_parts),
        cmocka_unit_test(composite_is_the_digest_of_digests),
        cmocka_unit_test(types_fit_algorithms_as_s3_says),
        cmocka_unit_test(headers_promise_one_checksum_or_none),
        cmocka_unit_test(headers_come_back_as_stored),
        cmocka_unit_test(metadata_has_its_limit),
        cmocka_unit_test(every_error_of_ours_is_one_of_s3s),
        cmocka_unit_test(the_error_document_is_s3s),
        cmocka_unit_test(policies_judge_every_field),
        cmocka_unit_test(policies_bound_the_file),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
