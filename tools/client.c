/*
 * The admin port's client, and the only file that knows libcurl. It goes straight to the node: no
 * proxy, no redirects, and the token goes nowhere else.
 */
#include <curl/curl.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "tools/cli.h"

#define REPLY_BYTES_MAX (256u << 20) /* a page of extents is 2 MiB, a key list 100,000 lines */
#define CONNECT_SECONDS 5L
#define CALL_SECONDS    300L /* a walk over a big index takes a while */

struct endpoint {
    char url[256];
};

/* ---- where, and with what ---- */

static enum err endpoint_read(const struct cli *cli, struct endpoint *ret_endpoint)
{
    char content[NODE_FILE_BYTES_MAX];
    size_t size = 0;
    if (cli->dir[0] == '\0')
        return ERR_NO_SUCH_FILE;
    enum err e = node_file_read(cli->dir, "endpoint.json", content, &size, false, NULL);
    if (e)
        return e;
    json_t *json = json_loadb(content, size, 0, NULL);
    const char *admin = json_string_value(json_object_get(json, "admin"));
    if (admin == NULL)
        e = ERR_CORRUPT;
    else
        snprintf(ret_endpoint->url, sizeof ret_endpoint->url, "http://%s", admin);
    json_decref(json);
    return e;
}

static enum exit_code no_node(const struct cli *cli)
{
    if (cli->dir[0] == '\0')
        return cli_fail(
            cli, EXIT_NO_NODE, "CLOSED",
            "name its directory with --dir DIR, or its port with --admin URL --token-file FILE",
            "no node has been started by this user");
    char hint[NODE_PATH_MAX + NODE_FILE_BYTES_MAX + 64], flags[NODE_FILE_BYTES_MAX];
    size_t size = 0;
    if (node_file_read(cli->dir, "start-flags", flags, &size, false, NULL))
        size = 0; /* it has not been started yet */
    snprintf(hint, sizeof hint, "start it: sluiced %s%.*s", cli->dir, (int)size, flags);
    return cli_fail(cli, EXIT_NO_NODE, "CLOSED", hint,
                    "no node is running on %s (directory from %s)", cli->dir, cli->dir_from);
}

static enum exit_code token_read(const struct cli *cli, char *out, size_t out_size)
{
    char path[NODE_PATH_MAX], line[512] = "";
    if (cli->token_file != NULL)
        snprintf(path, sizeof path, "%s", cli->token_file);
    else if (cli->dir[0] == '\0' || !node_path(path, cli->dir, "admin-token"))
        return cli_fail(cli, EXIT_WRONG_USAGE, "INVALID",
                        "--token-file FILE, or --dir DIR of the node",
                        "the admin port wants its token");
    FILE *file = fopen(path, "re");
    if (file == NULL)
        return cli_fail(cli, EXIT_REFUSED, "DENIED", "it belongs to the user who runs the node",
                        "cannot read %s: %s", path, strerror(errno));
    bool is_read = fgets(line, sizeof line, file) != NULL;
    (void)fclose(file); /* only read from */
    line[strcspn(line, "\r\n")] = '\0';
    if (!is_read || line[0] == '\0' || strlen(line) >= out_size)
        return cli_fail(cli, EXIT_REFUSED, "INVALID", NULL, "%s holds no token", path);
    strcpy(out, line);
    explicit_bzero(line, sizeof line);
    return EXIT_DONE;
}

static enum exit_code url_find(const struct cli *cli, char *out, size_t out_size)
{
    if (cli->admin != NULL) {
        bool has_scheme = strstr(cli->admin, "://") != NULL;
        snprintf(out, out_size, "%s%s", has_scheme ? "" : "http://", cli->admin);
        size_t size = strlen(out);
        if (size > 0 && out[size - 1] == '/')
            out[size - 1] = '\0';
        return EXIT_DONE;
    }
    struct endpoint endpoint;
    if (endpoint_read(cli, &endpoint) != ERR_OK)
        return no_node(cli);
    snprintf(out, out_size, "%s", endpoint.url);
    return EXIT_DONE;
}

/* ---- one call ---- */

static size_t take_reply(char *data, size_t one, size_t size, void *context)
{
    struct text_buf *reply = context;
    if (reply->size + size > REPLY_BYTES_MAX)
        return 0;
    text_put(reply, bytes_of(data, size));
    return reply->failed ? 0 : size;
}

static CURLcode perform(const char *method, const char *url, const char *token, const char *body,
                        struct text_buf *reply, long *ret_status)
{
    CURL *curl = curl_easy_init();
    char authorization[640] = "";
    if (curl == NULL)
        return CURLE_OUT_OF_MEMORY;
    struct curl_slist *headers = curl_slist_append(NULL, "Content-Type: application/json");
    if (token != NULL) {
        snprintf(authorization, sizeof authorization, "Authorization: Bearer %s", token);
        headers = curl_slist_append(headers, authorization);
    }
    curl_easy_setopt(curl, CURLOPT_URL, url);
    curl_easy_setopt(curl, CURLOPT_CUSTOMREQUEST, method);
    curl_easy_setopt(curl, CURLOPT_HTTPHEADER, headers);
    curl_easy_setopt(curl, CURLOPT_PROTOCOLS_STR, "http,https");
    curl_easy_setopt(curl, CURLOPT_NOPROXY, "*");
    curl_easy_setopt(curl, CURLOPT_NOSIGNAL, 1L);
    curl_easy_setopt(curl, CURLOPT_CONNECTTIMEOUT, CONNECT_SECONDS);
    curl_easy_setopt(curl, CURLOPT_TIMEOUT, CALL_SECONDS);
    curl_easy_setopt(curl, CURLOPT_WRITEFUNCTION, take_reply);
    curl_easy_setopt(curl, CURLOPT_WRITEDATA, reply);
    if (body != NULL)
        curl_easy_setopt(curl, CURLOPT_POSTFIELDS, body);
    CURLcode code = curl_easy_perform(curl);
    curl_easy_getinfo(curl, CURLINFO_RESPONSE_CODE, ret_status);
    curl_slist_free_all(headers);
    curl_easy_cleanup(curl);
    explicit_bzero(authorization, sizeof authorization);
    return code;
}

/* A killed node leaves its endpoint file, and its process number may be another's by now: so the
 * port is asked, without the token. */
bool client_node_runs(const struct cli *cli)
{
    struct endpoint endpoint;
    char url[300];
    struct text_buf reply = {0};
    long status = 0;
    if (endpoint_read(cli, &endpoint) != ERR_OK)
        return false;
    snprintf(url, sizeof url, "%s/healthz", endpoint.url);
    bool is_alive = perform("GET", url, NULL, NULL, &reply, &status) == CURLE_OK && status == 200;
    text_free(&reply);
    return is_alive;
}

static enum exit_code judge_reply(struct cli *cli, const char *url, long status,
                                  const struct text_buf *text, json_t **ret_reply)
{
    json_t *reply = json_loadb(text->data != NULL ? text->data : "", text->size, 0, NULL);
    if (reply != NULL && status >= 200 && status < 300) {
        *ret_reply = reply;
        return EXIT_DONE;
    }
    const json_t *error = json_object_get(reply, "error");
    enum exit_code code;
    if (error != NULL)
        code = cli_fail(cli, EXIT_REFUSED, json_text(error, "code"), json_text(error, "hint"), "%s",
                        json_text(error, "message"));
    else
        code = cli_fail(cli, EXIT_REFUSED, "BAD_SYNTAX", NULL,
                        "%s answered %ld and not as a Sluice node does", url, status);
    json_decref(reply);
    return code;
}

enum exit_code client_call(struct cli *cli, const char *method, const char *path,
                           const json_t *body, json_t **ret_reply)
{
    char url[512], token[512];
    enum exit_code code = url_find(cli, url, sizeof url);
    if (code == EXIT_DONE)
        code = token_read(cli, token, sizeof token);
    if (code != EXIT_DONE)
        return code;
    CLEANUP(free) char *whole = NULL;
    CLEANUP(free) char *body_text = body != NULL ? json_dumps(body, JSON_COMPACT) : NULL;
    if (asprintf(&whole, "%s%s", url, path) < 0) {
        whole = NULL;
        return cli_fail(cli, EXIT_REFUSED, "NO_MEMORY", NULL, "out of memory");
    }
    struct text_buf reply = {0};
    long status = 0;
    CURLcode result = perform(method, whole, token, body_text, &reply, &status);
    explicit_bzero(token, sizeof token);
    if (body_text != NULL)
        explicit_bzero(body_text, strlen(body_text)); /* may hold a secret */
    if (result == CURLE_OK)
        code = judge_reply(cli, url, status, &reply, ret_reply);
    else if (result == CURLE_COULDNT_CONNECT && cli->admin == NULL)
        code = no_node(cli);
    else
        code = cli_fail(cli, EXIT_NO_NODE, "CLOSED",
                        "is the node running, and is this its admin port?", "%s: %s", url,
                        curl_easy_strerror(result));
    text_free(&reply);
    return code;
}

char *client_escape(const char *text, size_t size)
{
    struct text_buf out = {0};
    for (size_t i = 0; i < size; i++) {
        unsigned char c = (unsigned char)text[i];
        bool is_plain = (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') ||
                        (c >= 'A' && c <= 'Z') || (c != '\0' && strchr("-._~", c) != NULL);
        if (is_plain)
            text_put(&out, bytes_of(text + i, 1));
        else
            text_printf(&out, "%%%02X", c);
    }
    if (out.failed)
        text_free(&out);
    return out.data; /* the caller's */
}
