#include "server/config.h"

#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include "base/check.h"
#include "base/clock.h"
#include "base/limits.h"
#include "server/cluster.h"
#include "server/nearest.h"

enum value_type {
    TYPE_address,
    TYPE_text,
    TYPE_number,
    TYPE_size,
    TYPE_duration,
    TYPE_choice,
    TYPE_switch
};

struct key {
    const char *section, *name, *initial, *choices, *help;
    enum value_type type;
    size_t offset;
    uint64_t least, most;
};

static const struct key keys[] = {
#define X(section_, key_, field, type_, initial_, least_, most_, choices_, help_)                  \
    [CONFIG_KEY_##field] = {.section = section_,                                                   \
                            .name = key_,                                                          \
                            .initial = initial_,                                                   \
                            .choices = choices_,                                                   \
                            .help = help_,                                                         \
                            .type = TYPE_##type_,                                                  \
                            .offset = offsetof(struct config, field),                              \
                            .least = least_,                                                       \
                            .most = most_},
    CONFIG_KEYS(X)
#undef X
};

static const struct {
    const char *name, *help;
} sections[] = {
    {"s3", "The S3 port."},
    {"get", "How objects are sent."},
    {"tls", "TLS for S3 clients."},
    {"admin", "The admin port."},
    {"cluster", "Replication: several nodes that hold the same objects."},
    {"memory", "The memory budget. What is printed at start adds all of it up."},
    {"storage", "The volume."},
    {"server", "The process."},
    {"log", "The log."},
};

/* ---- one value ---- */

static bool takes_auto(const struct key *key)
{
    return key->type != TYPE_choice && strcmp(key->choices, "auto") == 0;
}

/* Position of a word in "a|b|c", or -1. */
static int choice_find(const char *choices, struct bytes word)
{
    struct bytes rest = bytes_of_string(choices);
    for (int i = 0; rest.size > 0; i++)
        if (bytes_equal(bytes_split(&rest, '|'), word))
            return i;
    return -1;
}

static struct bytes choice_at(const char *choices, uint64_t position)
{
    struct bytes rest = bytes_of_string(choices), word = {0};
    for (uint64_t i = 0; i <= position; i++)
        word = bytes_split(&rest, '|');
    return word;
}

static void quantity_print(const struct key *key, uint64_t value, struct buf *out)
{
    switch (key->type) {
    case TYPE_size:
        size_print(value, out);
        return;
    case TYPE_duration:
        duration_print(value, out);
        return;
    case TYPE_address:
    case TYPE_text:
    case TYPE_number:
    case TYPE_choice:
    case TYPE_switch:
        buf_put_u64(out, value);
    }
}

static enum err quantity_set(const struct key *key, struct bytes text, uint64_t *field,
                             struct err_trail *trail)
{
    uint64_t value;
    enum err e;
    if (takes_auto(key) && bytes_equal_nocase(text, BYTES("auto"))) {
        *field = 0;
        return ERR_OK;
    }
    const char *example = "a whole number";
    if (key->type == TYPE_size) {
        example = "a size such as 65536, 64MiB or 1.5GiB";
        e = size_parse(text, &value);
    } else if (key->type == TYPE_duration) {
        example = "a time such as 250ms, 30s or 5m";
        e = duration_parse(text, &value);
    } else
        e = bytes_to_u64(text, &value);
    if (e)
        return err_say(trail, ERR_INVALID, "'%.*s' is not %s%s", (int)text.size, text.data, example,
                       takes_auto(key) ? ", nor auto" : "");
    if (value < key->least || value > key->most) {
        char limits[96];
        struct buf out = BUF_ON(limits);
        quantity_print(key, key->least, &out);
        buf_put_string(&out, " to ");
        quantity_print(key, key->most, &out);
        return err_say(trail, ERR_INVALID, "'%.*s' is outside %.*s", (int)text.size, text.data,
                       (int)out.size, out.data);
    }
    *field = value;
    return ERR_OK;
}

static enum err switch_set(struct bytes text, bool *field, struct err_trail *trail)
{
    static const char *const words[2][4] = {{"no", "off", "false", "0"},
                                            {"yes", "on", "true", "1"}};
    for (int value = 0; value < 2; value++)
        for (size_t i = 0; i < COUNT_OF(words[value]); i++)
            if (bytes_equal_nocase(text, bytes_of_string(words[value][i]))) {
                *field = value == 1;
                return ERR_OK;
            }
    return err_say(trail, ERR_INVALID, "'%.*s' is neither yes nor no", (int)text.size, text.data);
}

static enum err text_set(const struct key *key, struct bytes text, char *field,
                         struct err_trail *trail)
{
    size_t most = key->most > 0 ? key->most : CONFIG_TEXT_MAX - 1;
    if (text.size > most)
        return err_say(trail, ERR_INVALID, "longer than %zu bytes", most);
    if (memchr(text.data, '\0', text.size) != NULL || !bytes_is_utf8(text))
        return err_say(trail, ERR_INVALID, "not UTF-8 text");
    memset(field, 0, CONFIG_TEXT_MAX);
    memcpy(field, text.data, text.size);
    return ERR_OK;
}

static enum err value_set(const struct key *key, struct bytes text, struct config *config,
                          struct err_trail *trail)
{
    void *field = (char *)config + key->offset;
    switch (key->type) {
    case TYPE_address:
        return address_parse(text, field, trail) == ERR_OK ? ERR_OK : ERR_INVALID;
    case TYPE_text:
        return text_set(key, text, field, trail);
    case TYPE_switch:
        return switch_set(text, field, trail);
    case TYPE_choice: {
        int choice = choice_find(key->choices, text);
        if (choice < 0)
            return err_say(trail, ERR_INVALID, "'%.*s' is none of %s", (int)text.size, text.data,
                           key->choices);
        *(uint64_t *)field = (uint64_t)choice;
        return ERR_OK;
    }
    case TYPE_number:
    case TYPE_size:
    case TYPE_duration:
        return quantity_set(key, text, field, trail);
    }
    CHECK(!"a key of no known type");
    return ERR_INTERNAL;
}

static void value_print(const struct key *key, const struct config *config, struct buf *out)
{
    const void *field = (const char *)config + key->offset;
    if (takes_auto(key) && *(const uint64_t *)field == 0) {
        buf_put_string(out, "auto");
        return;
    }
    switch (key->type) {
    case TYPE_address:
        address_print(field, out);
        return;
    case TYPE_text:
        buf_put_string(out, field);
        return;
    case TYPE_switch:
        buf_put_string(out, *(const bool *)field ? "yes" : "no");
        return;
    case TYPE_choice:
        buf_put(out, choice_at(key->choices, *(const uint64_t *)field));
        return;
    case TYPE_number:
    case TYPE_size:
    case TYPE_duration:
        quantity_print(key, *(const uint64_t *)field, out);
    }
}

/* ---- by name ---- */

void config_init(struct config *config)
{
    memset(config, 0, sizeof *config);
    for (size_t i = 0; i < CONFIG_KEY_COUNT; i++) {
        enum err e = value_set(&keys[i], bytes_of_string(keys[i].initial), config, NULL);
        CHECK(e == ERR_OK);
    }
}

static enum err unknown_section(const char *section, struct err_trail *trail)
{
    struct nearest nearest = {.wanted = section};
    for (size_t i = 0; i < COUNT_OF(sections); i++)
        nearest_offer(&nearest, sections[i].name);
    if (nearest.name != NULL)
        return err_say(trail, ERR_INVALID, "there is no section [%s]; did you mean [%s]?", section,
                       nearest.name);
    return err_say(trail, ERR_INVALID,
                   "there is no section [%s]; sluiced --print-config shows them all", section);
}

static bool section_exists(const char *section)
{
    for (size_t i = 0; i < COUNT_OF(sections); i++)
        if (strcmp(sections[i].name, section) == 0)
            return true;
    return false;
}

static enum err unknown_key(const char *section, const char *name, struct err_trail *trail)
{
    if (!section_exists(section))
        return unknown_section(section, trail);
    struct nearest here = {.wanted = name};
    for (size_t i = 0; i < CONFIG_KEY_COUNT; i++) {
        if (strcmp(keys[i].section, section) == 0)
            nearest_offer(&here, keys[i].name);
        else if (strcmp(keys[i].name, name) == 0)
            return err_say(trail, ERR_INVALID, "there is no %s in [%s]; it belongs to [%s]", name,
                           section, keys[i].section);
    }
    if (here.name != NULL)
        return err_say(trail, ERR_INVALID, "there is no %s in [%s]; did you mean %s?", name,
                       section, here.name);
    return err_say(trail, ERR_INVALID,
                   "there is no %s in [%s]; sluiced --print-config shows every key", name, section);
}

int config_find(const char *section, const char *name)
{
    for (int i = 0; i < CONFIG_KEY_COUNT; i++)
        if (strcmp(keys[i].section, section) == 0 && strcmp(keys[i].name, name) == 0)
            return i;
    return -1;
}

enum err config_judge_section(const char *section, struct err_trail *trail)
{
    return section_exists(section) ? ERR_OK : unknown_section(section, trail);
}

enum err config_set(struct config *config, const char *section, const char *name,
                    struct bytes value, enum config_source source, struct err_trail *trail)
{
    int id = config_find(section, name);
    if (id < 0)
        return unknown_key(section, name, trail);
    enum err e = value_set(&keys[id], bytes_trim(value), config, trail);
    if (e)
        return err_note(trail, e, "[%s] %s", section, name);
    config->source[id] = (uint8_t)source;
    return ERR_OK;
}

/* ---- environment ---- */

/* "connections-max" as "CONNECTIONS_MAX", behind "SLUICE_S3_". */
static void variable_name(const struct key *key, char *out, size_t out_size)
{
    snprintf(out, out_size, "SLUICE_%s_%s", key->section, key->name);
    for (char *p = out; *p != '\0'; p++)
        if (*p >= 'a' && *p <= 'z')
            *p = (char)(*p - 'a' + 'A');
        else if (*p == '-')
            *p = '_';
}

static bool is_meant_for_us(const char *name)
{
    if (strncmp(name, "SLUICE_", 7) != 0)
        return false;
    for (size_t i = 0; i < COUNT_OF(sections); i++) {
        size_t size = strlen(sections[i].name);
        if (strncasecmp(name + 7, sections[i].name, size) == 0 && name[7 + size] == '_')
            return true;
    }
    return false;
}

static enum err variable_set(struct config *config, const char *name, const char *value,
                             struct err_trail *trail)
{
    struct nearest nearest = {.wanted = name};
    char names[CONFIG_KEY_COUNT][64]; /* the nearest one is told below */
    for (size_t i = 0; i < CONFIG_KEY_COUNT; i++) {
        variable_name(&keys[i], names[i], sizeof names[i]);
        if (strcmp(names[i], name) == 0) {
            enum err e = config_set(config, keys[i].section, keys[i].name, bytes_of_string(value),
                                    CONFIG_ENVIRONMENT, trail);
            return e ? err_note(trail, e, "environment variable %s", name) : ERR_OK;
        }
        nearest_offer(&nearest, names[i]);
    }
    if (nearest.name != NULL)
        return err_say(trail, ERR_INVALID, "environment variable %s sets nothing; did you mean %s?",
                       name, nearest.name);
    return err_say(trail, ERR_INVALID,
                   "environment variable %s sets nothing; sluiced --print-config names them all",
                   name);
}

enum err config_read_environment(struct config *config, char *const *variables,
                                 struct err_trail *trail)
{
    for (; *variables != NULL; variables++) {
        const char *equals = strchr(*variables, '=');
        char name[128];
        if (equals == NULL || (size_t)(equals - *variables) >= sizeof name)
            continue;
        memcpy(name, *variables, (size_t)(equals - *variables));
        name[equals - *variables] = '\0';
        if (!is_meant_for_us(name))
            continue;
        enum err e = variable_set(config, name, equals + 1, trail);
        if (e)
            return e;
    }
    return ERR_OK;
}

/* ---- judging, printing ---- */

bool config_has_tls(const struct config *config)
{
    return config->tls_certificate[0] != '\0' || config->tls_directory[0] != '\0';
}

bool config_tls_listen(const struct config *config, struct address *ret_address)
{
    return config->tls_listen[0] != '\0' &&
           address_parse(bytes_of_string(config->tls_listen), ret_address, NULL) == ERR_OK;
}

static bool is_same_port(const struct address *one, const struct address *two)
{
    return one->port != 0 && one->port == two->port &&
           (strcmp(one->host, two->host) == 0 || address_is_any(one) || address_is_any(two));
}

static enum err tls_judge(const struct config *config, struct err_trail *trail)
{
    struct address listen;
    if (config->tls_key[0] != '\0' && config->tls_certificate[0] == '\0')
        return err_say(trail, ERR_INVALID, "[tls] key is set and [tls] certificate is not");
    if (config->tls_listen[0] == '\0')
        return ERR_OK;
    enum err e = address_parse(bytes_of_string(config->tls_listen), &listen, trail);
    if (e)
        return err_note(trail, ERR_INVALID, "[tls] listen");
    if (!config_has_tls(config))
        return err_say(trail, ERR_INVALID,
                       "[tls] listen is set and there is no certificate: set [tls] certificate and "
                       "key; to try it: sluice tls self-signed DIR");
    if (is_same_port(&listen, &config->s3_listen) || is_same_port(&listen, &config->admin_listen))
        return err_say(trail, ERR_INVALID, "port %u of [tls] listen is another's too", listen.port);
    return ERR_OK;
}

static enum err cluster_judge(const struct config *config, struct err_trail *trail)
{
    struct cluster_plan plan;
    enum err e = cluster_plan_make(config, &plan, trail);
    if (e || plan.count == 0)
        return e;
    if (is_same_port(&plan.listen, &config->s3_listen) ||
        is_same_port(&plan.listen, &config->admin_listen))
        return err_say(trail, ERR_INVALID,
                       "port %u, which the other nodes call, is the S3 or the admin port too",
                       plan.listen.port);
    return ERR_OK;
}

enum err config_judge(const struct config *config, struct err_trail *trail)
{
    if (is_same_port(&config->s3_listen, &config->admin_listen))
        return err_say(trail, ERR_INVALID, "the S3 port and the admin port are both %u",
                       config->s3_listen.port);
    enum err e = tls_judge(config, trail);
    if (!e)
        e = cluster_judge(config, trail);
    if (e)
        return e;
    uint64_t segment = config->storage_segment_size;
    if ((segment & (segment - 1)) != 0)
        return err_say(trail, ERR_INVALID, "[storage] segment-size is not a power of two");
    if (config->s3_region[0] == '\0')
        return err_say(trail, ERR_INVALID, "[s3] region is empty");
    return ERR_OK;
}

static void print_comment(const char *text, struct text_buf *out)
{
    struct bytes rest = bytes_of_string(text);
    while (rest.size > 0) {
        struct bytes line = bytes_split(&rest, '\n');
        text_printf(out, "# %.*s\n", (int)line.size, line.data);
    }
}

static void print_key(const struct key *key, const struct config *config, struct text_buf *out)
{
    static const char *const from[] = {[CONFIG_FILE] = "the file",
                                       [CONFIG_ENVIRONMENT] = "the environment",
                                       [CONFIG_FLAG] = "a flag"};
    char name[64], value[CONFIG_TEXT_MAX + 1], limits[96];
    enum config_source source = config->source[key - keys];

    text_put_string(out, "\n");
    print_comment(key->help, out);
    if (key->type == TYPE_choice)
        text_printf(out, "# One of %s.\n", key->choices);
    if (key->most > 0 && key->type != TYPE_text) {
        struct buf range = BUF_ON(limits);
        quantity_print(key, key->least, &range);
        buf_put_string(&range, " to ");
        quantity_print(key, key->most, &range);
        text_printf(out, "# From %.*s%s.\n", (int)range.size, range.data,
                    takes_auto(key) ? ", or auto" : "");
    }
    variable_name(key, name, sizeof name);
    text_printf(out, "# Environment: %s\n", name);

    struct buf shown = BUF_ON(value);
    value_print(key, config, &shown);
    if (source == CONFIG_DEFAULT)
        text_printf(out, ";%s =%s%.*s\n", key->name, shown.size > 0 ? " " : "", (int)shown.size,
                    shown.data);
    else
        text_printf(out, "# Set by %s; the default is %s.\n%s = %.*s\n", from[source],
                    key->initial[0] != '\0' ? key->initial : "empty", key->name, (int)shown.size,
                    shown.data);
}

void config_print(const struct config *config, struct text_buf *out)
{
    text_put_string(
        out,
        "# Configuration of sluiced, the Sluice storage node.\n"
        "#\n"
        "# sluiced --config FILE reads it; sluiced --print-config prints it as it is in effect.\n"
        "# A flag outdoes an environment variable, that outdoes this file, and that the default.\n"
        "# Keys that stand at their default are commented out with a semicolon.\n"
        "# Sizes: 4096, 64KiB, 64MiB, 1.5GiB, 10GB. Times: 250ms, 30s, 5m, 2h.\n");
    for (size_t s = 0; s < COUNT_OF(sections); s++) {
        text_printf(out, "\n# ---- %s\n[%s]\n", sections[s].help, sections[s].name);
        for (size_t i = 0; i < CONFIG_KEY_COUNT; i++)
            if (strcmp(keys[i].section, sections[s].name) == 0)
                print_key(&keys[i], config, out);
    }
}

unsigned config_words(const char *text, char scratch[CONFIG_TEXT_MAX], const char *words[],
                      unsigned max)
{
    unsigned count = 0;
    char *state = NULL;
    snprintf(scratch, CONFIG_TEXT_MAX, "%s", text);
    for (char *word = strtok_r(scratch, ", \t", &state); word != NULL;
         word = strtok_r(NULL, ", \t", &state)) {
        if (count < max)
            words[count] = word;
        count++;
    }
    return count;
}
