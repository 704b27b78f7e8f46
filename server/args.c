#include "server/args.h"

#include <string.h>

#include "base/check.h"
#include "server/nearest.h"
#include "server/node_files.h"

const char args_help[] =
    "sluiced DIR [options]        serve the objects in DIR to S3 clients\n"
    "\n"
    "DIR is made a volume when it is empty or absent; put it on XFS or ext4. The first start "
    "shows\n"
    "an access key and its secret. Stop with Ctrl-C or SIGTERM: running requests are finished "
    "first.\n"
    "\n"
    "  --s3 ADDR:PORT             where S3 clients connect (default 127.0.0.1:9000)\n"
    "  --admin ADDR:PORT          health, metrics, the sluice tool (default 127.0.0.1:9001)\n"
    "  --tls-cert FILE            speak TLS on the S3 port with this certificate (PEM)\n"
    "  --tls-key FILE             and this key; to try it: sluice tls self-signed DIR\n"
    "  --config FILE              read an INI file; --print-config shows every key with its "
    "meaning\n"
    "  --set SECTION.KEY=VALUE    set any key of the configuration\n"
    "  --allow-buffered           accept a file system without real Direct I/O (tmpfs)\n"
    "  --print-config             print the configuration in effect, documented, and exit\n"
    "  --check-config             judge configuration, environment and flags, and exit\n"
    "  --version, --help\n"
    "\n"
    "A flag outdoes an environment variable (SLUICE_S3_LISTEN), that the file, that the default.\n"
    "SLUICE_ACCESS_KEY and SLUICE_SECRET_KEY set the root key of the first start.\n"
    "SIGHUP reads [log] level and format and the TLS certificates again. Exit codes: 0 stopped as\n"
    "asked, 1 failed to start or to run, 2 wrong usage or configuration.\n"
    "\n"
    "  sluiced /srv/sluice\n"
    "  sluiced /srv/sluice --s3 0.0.0.0:9000 --set log.access=yes\n"
    "  sluiced --print-config > sluice.ini\n";

enum flag_id {
    FLAG_S3,
    FLAG_ADMIN,
    FLAG_TLS_CERT,
    FLAG_TLS_KEY,
    FLAG_CONFIG,
    FLAG_SET,
    FLAG_BUFFERED,
    FLAG_PRINT,
    FLAG_CHECK,
    FLAG_VERSION,
    FLAG_HELP
};

static const struct flag {
    const char *name, *value; /* value: what must follow, for people; NULL: nothing */
} flags[] = {
    [FLAG_S3] = {"--s3", "ADDR:PORT"},
    [FLAG_ADMIN] = {"--admin", "ADDR:PORT"},
    [FLAG_TLS_CERT] = {"--tls-cert", "FILE"},
    [FLAG_TLS_KEY] = {"--tls-key", "FILE"},
    [FLAG_CONFIG] = {"--config", "FILE"},
    [FLAG_SET] = {"--set", "SECTION.KEY=VALUE"},
    [FLAG_BUFFERED] = {"--allow-buffered", NULL},
    [FLAG_PRINT] = {"--print-config", NULL},
    [FLAG_CHECK] = {"--check-config", NULL},
    [FLAG_VERSION] = {"--version", NULL},
    [FLAG_HELP] = {"--help", NULL},
};

static int flag_find(struct bytes name)
{
    if (bytes_equal(name, BYTES("-h")))
        return FLAG_HELP;
    for (size_t i = 0; i < COUNT_OF(flags); i++)
        if (bytes_equal(name, bytes_of_string(flags[i].name)))
            return (int)i;
    return -1;
}

static enum err unknown_flag(struct bytes name, struct err_trail *trail)
{
    char typed[NEAREST_NAME_MAX + 1];
    snprintf(typed, sizeof typed, "%.*s", (int)bytes_slice(name, 0, NEAREST_NAME_MAX).size,
             name.data);
    struct nearest nearest = {.wanted = typed};
    for (size_t i = 0; i < COUNT_OF(flags); i++)
        nearest_offer(&nearest, flags[i].name);
    if (nearest.name != NULL)
        return err_say(trail, ERR_INVALID, "there is no option %s; did you mean %s?", typed,
                       nearest.name);
    return err_say(trail, ERR_INVALID, "there is no option %s; --help shows them", typed);
}

/* "log.level=debug" */
static enum err set_any(struct config *config, struct bytes text, struct err_trail *trail)
{
    struct bytes value = text, name = bytes_split(&value, '=');
    struct bytes key = name, section = bytes_split(&key, '.');
    char section_text[64], key_text[64];
    if (name.size == text.size || key.size == 0 || section.size >= sizeof section_text ||
        key.size >= sizeof key_text)
        return err_say(trail, ERR_INVALID,
                       "--set wants SECTION.KEY=VALUE, such as log.level=debug");
    snprintf(section_text, sizeof section_text, "%.*s", (int)section.size, section.data);
    snprintf(key_text, sizeof key_text, "%.*s", (int)key.size, key.data);
    return config_set(config, section_text, key_text, value, CONFIG_FLAG, trail);
}

struct parsing {
    struct args args;
    struct config *config; /* flags are set in it last, so it is walked over twice */
    bool only_file;        /* first time: which file? */
};

static enum err flag_take(struct parsing *parsing, enum flag_id flag, const char *value,
                          struct err_trail *trail)
{
    static const enum args_action actions[] = {ARGS_PRINT_CONFIG, ARGS_CHECK_CONFIG, ARGS_VERSION,
                                               ARGS_HELP};
    struct bytes text = bytes_of_string(value);
    if (flag == FLAG_CONFIG)
        parsing->args.config_file = value;
    if (flag >= FLAG_PRINT)
        parsing->args.action = actions[flag - FLAG_PRINT];
    if (parsing->only_file)
        return ERR_OK;
    switch (flag) {
    case FLAG_S3:
        return config_set(parsing->config, "s3", "listen", text, CONFIG_FLAG, trail);
    case FLAG_ADMIN:
        return config_set(parsing->config, "admin", "listen", text, CONFIG_FLAG, trail);
    case FLAG_TLS_CERT:
        return config_set(parsing->config, "tls", "certificate", text, CONFIG_FLAG, trail);
    case FLAG_TLS_KEY:
        return config_set(parsing->config, "tls", "key", text, CONFIG_FLAG, trail);
    case FLAG_SET:
        return set_any(parsing->config, text, trail);
    case FLAG_BUFFERED:
        return config_set(parsing->config, "storage", "allow-buffered", BYTES("yes"), CONFIG_FLAG,
                          trail);
    case FLAG_PRINT:
    case FLAG_CHECK:
    case FLAG_VERSION:
    case FLAG_HELP:
    case FLAG_CONFIG:
        return ERR_OK;
    }
    CHECK(!"a flag of no known kind");
    return ERR_INTERNAL;
}

static enum err walk(struct parsing *parsing, int argc, char *const argv[], struct err_trail *trail)
{
    for (int i = 1; i < argc; i++) {
        struct bytes value = bytes_of_string(argv[i]);
        if (value.size == 0)
            return err_say(trail, ERR_INVALID, "an empty argument");
        if (argv[i][0] != '-') {
            if (!parsing->only_file && parsing->args.dir != NULL)
                return err_say(trail, ERR_INVALID, "two directories: %s and %s", parsing->args.dir,
                               argv[i]);
            if (!parsing->only_file)
                parsing->args.dir = argv[i];
            continue;
        }
        struct bytes name = bytes_split(&value, '=');
        bool has_value = name.size < strlen(argv[i]);
        int flag = flag_find(name);
        if (flag < 0)
            return unknown_flag(name, trail);
        const char *given = has_value ? argv[i] + name.size + 1 : NULL;
        if (flags[flag].value == NULL && has_value)
            return err_say(trail, ERR_INVALID, "%s takes no value", flags[flag].name);
        if (flags[flag].value != NULL && !has_value) {
            if (i + 1 == argc)
                return err_say(trail, ERR_INVALID, "%s wants %s", flags[flag].name,
                               flags[flag].value);
            given = argv[++i];
        }
        enum err e = flag_take(parsing, (enum flag_id)flag, given, trail);
        if (e)
            return e;
    }
    return ERR_OK;
}

enum err args_parse(int argc, char *const argv[], char *const *variables, struct args *ret_args,
                    struct config *ret_config, struct err_trail *trail)
{
    struct config config;
    config_init(&config);
    struct parsing parsing = {.config = &config, .only_file = true};
    enum err e = walk(&parsing, argc, argv, trail);
    if (e == ERR_OK && (parsing.args.action == ARGS_HELP || parsing.args.action == ARGS_VERSION)) {
        *ret_args = parsing.args; /* whatever else is wrong, help is given */
        *ret_config = config;
        return ERR_OK;
    }
    if (e == ERR_OK && parsing.args.config_file != NULL)
        e = config_read_file(&config, parsing.args.config_file, trail);
    if (e == ERR_OK)
        e = config_read_environment(&config, variables, trail);
    if (e)
        return e;
    parsing.only_file = false;
    e = walk(&parsing, argc, argv, trail);
    if (e == ERR_OK)
        e = config_judge(&config, trail);
    if (e == ERR_OK && parsing.args.action == ARGS_SERVE && parsing.args.dir == NULL)
        e = err_say(trail, ERR_INVALID,
                    "which directory? sluiced DIR serves the objects in DIR; --help shows more");
    if (e)
        return e;
    *ret_args = parsing.args;
    *ret_config = config;
    return ERR_OK;
}

/* In quotes when a shell would see more in it than a word. */
static void put_word(struct buf *out, struct bytes word)
{
    static const char plain[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789"
                                "%+,-./:=@_";
    bool is_plain = word.size > 0;
    for (size_t i = 0; i < word.size; i++)
        is_plain &= memchr(plain, word.data[i], sizeof plain - 1) != NULL;
    if (is_plain) {
        buf_put(out, word);
        return;
    }
    buf_put_char(out, '\'');
    for (size_t i = 0; i < word.size; i++) {
        if (word.data[i] == '\'')
            buf_put_string(out, "'\\'");
        buf_put_char(out, (char)word.data[i]);
    }
    buf_put_char(out, '\'');
}

static void put_file(struct buf *out, const char *name, const char *here)
{
    char path[NODE_PATH_MAX];
    struct buf absolute = BUF_ON(path);
    if (name[0] != '/')
        buf_printf(&absolute, "%s/", here);
    buf_put_string(&absolute, name);
    out->overflowed |= absolute.overflowed;
    put_word(out, buf_bytes(&absolute));
}

void args_flags(int argc, char *const argv[], const char *here, struct buf *out)
{
    for (int i = 1; i < argc; i++) {
        struct bytes value = bytes_of_string(argv[i]), name = bytes_split(&value, '=');
        if (argv[i][0] != '-')
            continue;
        const struct flag *flag = &flags[flag_find(name)];
        buf_printf(out, " %s", flag->name);
        if (flag->value == NULL)
            continue;
        buf_put_char(out, ' ');
        const char *given = name.size < strlen(argv[i]) ? argv[i] + name.size + 1 : argv[++i];
        if (strcmp(flag->value, "FILE") == 0)
            put_file(out, given, here);
        else
            put_word(out, bytes_of_string(given));
    }
}
