#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "api/http/tls.h"
#include "base/check.h"
#include "base/clock.h"
#include "tools/cli.h"

#define NAMES_MAX    32u
#define DAYS_DEFAULT 397u /* the most that browsers take */
#define DAYS_MAX     36500u
#define DAY_S        86400

static void print_trust(const char *certificate, const char *key, const char *host)
{
    bool is_v6 = strchr(host, ':') != NULL;
    char url[300];
    snprintf(url, sizeof url, is_v6 ? "https://[%s]:9000" : "https://%s:9000", host);
    print_field("certificate", "%s  (public: clients are to trust it)", certificate);
    print_field("key", "%s  (secret: readable by this user only)", key);
    printf("\nServe with it, and let clients trust it:\n"
           "    sluiced DIR --tls-cert %s --tls-key %s\n"
           "    aws --endpoint-url %s --ca-bundle %s s3 ls\n"
           "    curl --cacert %s %s/\n",
           certificate, key, url, certificate, certificate, url);
}

static enum exit_code make(struct cli *cli, const char *dir, const char *const names[],
                           unsigned name_count, uint32_t days)
{
    char certificate[NODE_PATH_MAX], key[NODE_PATH_MAX];
    struct err_trail trail = {0};
    if (!node_path(certificate, dir, "tls.crt") || !node_path(key, dir, "tls.key"))
        return cli_fail(cli, EXIT_WRONG_USAGE, "INVALID", NULL, "the directory's name is too long");
    if (mkdir(dir, 0755) != 0 && errno != EEXIST)
        return cli_fail(cli, EXIT_REFUSED, err_name(err_from_errno(errno)), NULL,
                        "%s cannot be made: %s", dir, strerrordesc_np(errno));
    int64_t now_s = (int64_t)(clock_real_ns(clock_system()) / NS_PER_SECOND);
    enum err e = tls_self_signed_write(
        &(struct tls_self_signed){
            .certificate = certificate,
            .key = key,
            .names = names,
            .name_count = name_count,
            .begins_s = now_s - DAY_S, /* clients whose clock is a little behind */
            .ends_s = now_s + (int64_t)days * DAY_S,
        },
        &trail);
    if (e == ERR_FILE_EXISTS)
        return cli_fail(cli, EXIT_REFUSED, err_name(e), "choose another directory, or remove both",
                        "%s", err_trail_text(&trail, e));
    if (e)
        return cli_fail(cli, EXIT_REFUSED, err_name(e), NULL, "%s", err_trail_text(&trail, e));
    if (cli->json)
        printf("{\"certificate\": \"%s\", \"key\": \"%s\"}\n", certificate, key);
    else
        print_trust(certificate, key, names[0]);
    return EXIT_DONE;
}

static enum exit_code self_signed_run(struct cli *cli, int argc, char *argv[])
{
    static const char *const local[] = {"localhost", "127.0.0.1", "::1"};
    const char *names[NAMES_MAX], *dir = NULL, *days_text = NULL;
    unsigned name_count = 0, words;
    uint32_t days = DAYS_DEFAULT;
    const struct flag flags[] = {
        {.name = "--name",
         .value = "HOST",
         .many = names,
         .many_max = NAMES_MAX,
         .many_count = &name_count},
        {.name = "--days", .value = "N", .text = &days_text},
    };
    enum exit_code code =
        flags_parse(cli, argc, argv, flags, COUNT_OF(flags), &dir, 1, 1, &words, "DIR");
    if (code == EXIT_DONE)
        code = flag_u32(cli, "--days", days_text, &days);
    if (code != EXIT_DONE)
        return code;
    if (days < 1 || days > DAYS_MAX)
        return cli_fail(cli, EXIT_WRONG_USAGE, "INVALID", NULL, "--days is from 1 to %u", DAYS_MAX);
    return name_count > 0 ? make(cli, dir, names, name_count, days)
                          : make(cli, dir, local, COUNT_OF(local), days);
}

static enum exit_code tls_run(struct cli *cli, int argc, char *argv[])
{
    static const char *const names[] = {"self-signed"};
    int which = subcommand_find(cli, argc, argv, names, COUNT_OF(names));
    return which < 0 ? EXIT_WRONG_USAGE : self_signed_run(cli, argc - 1, argv + 1);
}

const struct command cmd_tls = {
    .name = "tls",
    .summary = "a certificate to try TLS with",
    .run = tls_run,
    .help = "sluice tls self-signed DIR [--name HOST]... [--days N]\n"
            "\n"
            "Makes DIR/tls.crt and DIR/tls.key: a certificate that vouches for itself, for the\n"
            "hosts and addresses named (else localhost, 127.0.0.1 and ::1), *.HOST included when\n"
            "it is named so. Clients have to be told to trust it; what is printed says how. For\n"
            "anything that others use, get one of an authority (certbot, your company's).\n"
            "Existing files are not touched.\n"
            "\n"
            "  sluice tls self-signed /etc/sluice\n"
            "  sluice tls self-signed ./tls --name s3.example.com --name '*.s3.example.com'\n",
};
