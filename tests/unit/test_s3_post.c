/* POST forms: the file arrives whole whatever it looks like and wherever slots end, and only as its
 * policy allows. */
#include "tests/unit/s3_harness.h"

#define BOUNDARY "----WebKitFormBoundary7MA4YWxkTrZu0gW"

static int setup(void **state)
{
    int rc = node_setup(state);
    put_ok(*state, "/bucket", (struct bytes){0});
    return rc;
}

struct form {
    const char *key;       /* NULL: none */
    const char *condition; /* one more of the policy's, with a comma in front */
    struct header field;   /* one more */
    struct bytes file;
    bool has_no_policy, has_bad_signature, has_no_file, has_expired, has_no_end;
};

static void add_field(struct text_buf *body, const char *name, const char *value)
{
    text_printf(body, "--" BOUNDARY "\r\nContent-Disposition: form-data; name=\"%s\"\r\n\r\n%s\r\n",
                name, value);
}

static void add_signed_policy(struct text_buf *body, const struct form *form)
{
    char time[S3_TIME_BASIC_BYTES], until[S3_TIME_ISO_BYTES], credential[100], signature[65];
    uint64_t now = clock_real_ns(clock_system());
    s3_time_basic(now, time);
    s3_time_iso(now + (form->has_expired ? -60 : 600) * (int64_t)NS_PER_SECOND, until);
    snprintf(credential, sizeof credential, ROOT_ID "/%.8s/us-east-1/s3/aws4_request", time);
    struct text_buf policy = {0};
    text_printf(&policy,
                "{\"expiration\":\"%s\",\"conditions\":[{\"bucket\":\"bucket\"},"
                "[\"starts-with\",\"$key\",\"up/\"],{\"x-amz-algorithm\":\"AWS4-HMAC-SHA256\"},"
                "{\"x-amz-credential\":\"%s\"},{\"x-amz-date\":\"%s\"}%s]}",
                until, credential, time, form->condition ? form->condition : "");
    char *base64 = malloc(BASE64_SIZE(policy.size) + 1);
    base64_encode(policy.data, policy.size, base64);
    struct sigv4_credential parsed;
    assert_true(sigv4_credential_parse(bytes_of_string(credential), &parsed));
    sigv4_policy_signature(&parsed, BYTES(ROOT_SECRET), bytes_of_string(base64), signature);
    if (form->has_bad_signature)
        signature[0] = signature[0] == 'a' ? 'b' : 'a';
    add_field(body, "policy", base64);
    add_field(body, "x-amz-algorithm", "AWS4-HMAC-SHA256");
    add_field(body, "x-amz-credential", credential);
    add_field(body, "x-amz-date", time);
    add_field(body, "x-amz-signature", signature);
    free(base64);
    text_free(&policy);
}

static struct answer post(struct node *n, const struct form *form)
{
    struct text_buf body = {0};
    if (form->key != NULL)
        add_field(&body, "key", form->key);
    if (form->field.name != NULL)
        add_field(&body, form->field.name, form->field.value);
    if (!form->has_no_policy)
        add_signed_policy(&body, form);
    if (!form->has_no_file) {
        text_put_string(&body, "--" BOUNDARY "\r\nContent-Disposition: form-data; name=\"file\"; "
                               "filename=\"cat.jpg\"\r\nContent-Type: image/x\r\n\r\n");
        text_put(&body, form->file);
        text_put_string(&body, form->has_no_end ? "" : "\r\n");
    }
    if (!form->has_no_end)
        text_put_string(&body, "--" BOUNDARY "--\r\n");
    struct answer answer = send_request(
        n,
        &(struct request){.method = "POST",
                          .path = "/bucket",
                          .body = text_bytes(&body),
                          .headers = {{"content-type", "multipart/form-data; boundary=" BOUNDARY}},
                          .is_unsigned = true});
    text_free(&body);
    return answer;
}

static void files_of_every_size_arrive_whole(void **state)
{
    struct node *n = *state;
    /* Around slots' ends, so that the delimiter stands in one, in the next, and across. */
    static const size_t bases[] = {0, 200, SLOT_SMALL_BYTES, SLOT_LARGE_BYTES,
                                   2 * SLOT_LARGE_BYTES};
    for (size_t i = 0; i < COUNT_OF(bases); i++)
        for (int by = -60; by <= 60; by += 4) {
            if ((int64_t)bases[i] + by < 0)
                continue;
            struct bytes file = noise(bases[i] + (size_t)by, i);
            struct form form = {.key = "up/${filename}", .file = file};
            struct answer answer = post(n, &form);
            assert_answer(answer, 204, NULL);
            answer_free(&answer);
            assert_holds(n, "/bucket/up/cat.jpg", file);
            free((void *)file.data);
        }
    assert_nothing_reserved(n);
}

/* Every byte of a slot's end is tried as the one before which the delimiter begins: the head is of
 * a size known only by trying. */
static void the_delimiter_is_found_at_every_distance_from_a_border(void **state)
{
    struct node *n = *state;
    struct bytes file = noise(SLOT_LARGE_BYTES + 200, 8);
    for (size_t size = SLOT_LARGE_BYTES - 1500; size < SLOT_LARGE_BYTES - 1000; size += 3) {
        struct form form = {.key = "up/k", .file = bytes_slice(file, 0, size)};
        struct answer answer = post(n, &form);
        assert_answer(answer, 204, NULL);
        answer_free(&answer);
        assert_holds(n, "/bucket/up/k", form.file);
    }
    free((void *)file.data);
}

static void a_file_that_looks_like_a_form_is_a_file(void **state)
{
    struct node *n = *state;
    struct text_buf file = {0};
    /* All of the delimiter but its last byte, and pieces of it. */
    while (file.size < 3 * SLOT_LARGE_BYTES) {
        text_put(&file, bytes_slice(BYTES("\r\n--" BOUNDARY), 0, strlen(BOUNDARY) + 3));
        text_put_string(&file, "x\r\n-\r\r\n--");
    }
    struct form form = {.key = "up/odd", .file = text_bytes(&file)};
    struct answer answer = post(n, &form);
    assert_answer(answer, 204, NULL);
    answer_free(&answer);
    assert_holds(n, "/bucket/up/odd", text_bytes(&file));
    text_free(&file);
}

static void forms_are_judged_before_anything_is_stored(void **state)
{
    struct node *n = *state;
    struct bytes file = BYTES("the file"), large = noise(900000, 2);
    static const char range[] = ",[\"content-length-range\",5,100]";
    const struct {
        struct form form;
        int status;
        const char *code;
    } rows[] = {
        {{.key = "up/k", .file = file}, 204, NULL},
        {{.key = "up/k", .file = file, .condition = range}, 204, NULL},
        {{.key = "up/k", .file = large, .condition = range}, 400, "EntityTooLarge"},
        {{.key = "up/k", .file = BYTES("1234"), .condition = range}, 400, "EntityTooSmall"},
        {{.key = "up/k", .file = file, .has_no_policy = true}, 403, "AccessDenied"},
        {{.key = "up/k", .file = large, .has_bad_signature = true}, 403, "SignatureDoesNotMatch"},
        {{.key = "up/k", .file = file, .has_expired = true}, 403, "AccessDenied"},
        {{.key = "elsewhere/k", .file = file}, 403, "AccessDenied"},
        {{.file = file}, 400, "UserKeyMustBeSpecified"},
        {{.key = "up/k", .has_no_file = true}, 400, "InvalidArgument"},
        {{.key = "up/k", .file = large, .has_no_end = true}, 400, "MalformedPOSTRequest"},
        {{.key = "up/k", .file = file, .field = {"x-amz-meta-a", "b"}}, 403, "AccessDenied"},
        {{.key = "up/k",
          .file = file,
          .field = {"x-amz-meta-a", "b"},
          .condition = ",{\"x-amz-meta-a\":\"b\"}"},
         204,
         NULL},
        {{.key = "up/k",
          .file = file,
          .field = {"acl", "public-read"},
          .condition = ",{\"acl\":\"public-read\"}"},
         400,
         "AccessControlListNotSupported"},
        {{.key = "up/k",
          .file = file,
          .field = {"success_action_status", "201"},
          .condition = ",{\"success_action_status\":\"201\"}"},
         201,
         NULL},
        {{.key = "up/k",
          .file = file,
          .field = {"success_action_redirect", "http://x/?a=b"},
          .condition = ",{\"success_action_redirect\":\"http://x/?a=b\"}"},
         303,
         NULL},
    };
    for (size_t i = 0; i < COUNT_OF(rows); i++) {
        struct answer answer = post(n, &rows[i].form);
        assert_answer(answer, rows[i].status, rows[i].code);
        if (rows[i].status == 303)
            assert_true(bytes_start_with(answer_header(&answer, "location"),
                                         BYTES("http://x/?a=b&bucket=bucket&key=up%2Fk&etag=%22")));
        if (rows[i].status == 201)
            assert_true(bytes_equal(element(answer.body, "Key", 0), BYTES("up/k")));
        answer_free(&answer);
        if (rows[i].status < 400) {
            assert_holds(n, "/bucket/up/k", rows[i].form.file);
            expect(n, ASK(.method = "DELETE", .path = "/bucket/up/k"), 204, NULL);
        }
        assert_absent(n, "/bucket/up/k");
    }
    free((void *)large.data);
    assert_nothing_reserved(n);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(files_of_every_size_arrive_whole, setup, node_teardown),
        cmocka_unit_test_setup_teardown(the_delimiter_is_found_at_every_distance_from_a_border,
                                        setup, node_teardown),
        cmocka_unit_test_setup_teardown(a_file_that_looks_like_a_form_is_a_file, setup,
                                        node_teardown),
        cmocka_unit_test_setup_teardown(forms_are_judged_before_anything_is_stored, setup,
                                        node_teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
