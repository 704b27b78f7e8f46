#include <stdio.h>
#include <string.h>

#include "server/nearest.h"
#include "tools/cli.h"

static enum exit_code see_help(struct cli *cli, const char *what, const char *nearest)
{
    char hint[160];
    if (nearest != NULL)
        snprintf(hint, sizeof hint, "did you mean %s?", nearest);
    else
        snprintf(hint, sizeof hint, "sluice %s --help shows how", cli->command->name);
    return cli_fail(cli, EXIT_WRONG_USAGE, "INVALID", hint, "%s", what);
}

static const struct flag *flag_find(const struct flag *flags, size_t count, struct bytes name)
{
    for (size_t i = 0; i < count; i++)
        if (bytes_equal(bytes_of_string(flags[i].name), name))
            return &flags[i];
    return NULL;
}

static enum exit_code unknown_flag(struct cli *cli, const struct flag *flags, size_t count,
                                   struct bytes name)
{
    char typed[NEAREST_NAME_MAX + 1], what[128];
    snprintf(typed, sizeof typed, "%.*s", (int)bytes_slice(name, 0, NEAREST_NAME_MAX).size,
             name.data);
    struct nearest nearest = {.wanted = typed};
    for (size_t i = 0; i < count; i++)
        nearest_offer(&nearest, flags[i].name);
    snprintf(what, sizeof what, "there is no option %s", typed);
    return see_help(cli, what, nearest.name);
}

static enum exit_code flag_give(struct cli *cli, const struct flag *flag, const char *value)
{
    char what[128];
    if (flag->on != NULL)
        *flag->on = true;
    if (flag->text != NULL)
        *flag->text = value;
    if (flag->many != NULL) {
        if (*flag->many_count == flag->many_max) {
            snprintf(what, sizeof what, "%s comes more than %u times", flag->name, flag->many_max);
            return see_help(cli, what, NULL);
        }
        flag->many[(*flag->many_count)++] = value;
    }
    return EXIT_DONE;
}

enum exit_code flags_parse(struct cli *cli, int argc, char *argv[], const struct flag *flags,
                           size_t flag_count, const char *words[], unsigned words_min,
                           unsigned words_max, unsigned *ret_words, const char *usage)
{
    char what[160];
    unsigned count = 0;
    bool only_words = false;
    for (int i = 1; i < argc; i++) {
        if (strcmp(argv[i], "--") == 0 && !only_words) {
            only_words = true;
            continue;
        }
        if (argv[i][0] != '-' || argv[i][1] == '\0' || only_words) {
            if (count == words_max) {
                snprintf(what, sizeof what, "one word too many: %.80s", argv[i]);
                return see_help(cli, what, NULL);
            }
            words[count++] = argv[i];
            continue;
        }
        struct bytes rest = bytes_of_string(argv[i]), name = bytes_split(&rest, '=');
        const struct flag *flag = flag_find(flags, flag_count, name);
        if (flag == NULL)
            return unknown_flag(cli, flags, flag_count, name);
        const char *value = name.size < strlen(argv[i]) ? argv[i] + name.size + 1 : NULL;
        if (flag->value == NULL && value != NULL) {
            snprintf(what, sizeof what, "%s takes no value", flag->name);
            return see_help(cli, what, NULL);
        }
        if (flag->value != NULL && value == NULL && ++i == argc) {
            snprintf(what, sizeof what, "%s wants %s", flag->name, flag->value);
            return see_help(cli, what, NULL);
        }
        enum exit_code code =
            flag_give(cli, flag, flag->value != NULL && value == NULL ? argv[i] : value);
        if (code != EXIT_DONE)
            return code;
    }
    if (count < words_min) {
        snprintf(what, sizeof what, "%s is missing", usage);
        return see_help(cli, what, NULL);
    }
    *ret_words = count;
    return EXIT_DONE;
}

enum exit_code flag_u32(struct cli *cli, const char *name, const char *text, uint32_t *value)
{
    uint64_t number;
    if (text == NULL)
        return EXIT_DONE;
    if (bytes_to_u64(bytes_of_string(text), &number) == ERR_OK && number <= UINT32_MAX) {
        *value = (uint32_t)number;
        return EXIT_DONE;
    }
    char what[160];
    snprintf(what, sizeof what, "%s %.40s is not a whole number", name, text);
    return see_help(cli, what, NULL);
}

int subcommand_find(struct cli *cli, int argc, char *argv[], const char *const names[],
                    size_t count)
{
    char what[256] = "which one?";
    struct buf list = {.data = what, .capacity = sizeof what - 1};
    struct nearest nearest = {.wanted = argc > 1 ? argv[1] : ""};
    for (size_t i = 0; i < count; i++) {
        if (argc > 1 && strcmp(argv[1], names[i]) == 0)
            return (int)i;
        nearest_offer(&nearest, names[i]);
    }
    if (argc > 1)
        buf_printf(&list, "there is no sluice %s %.40s; there are", cli->command->name, argv[1]);
    else
        buf_printf(&list, "sluice %s wants one of", cli->command->name);
    for (size_t i = 0; i < count; i++)
        buf_printf(&list, "%s %s", i > 0 ? "," : "", names[i]);
    what[list.size] = '\0';
    (void)see_help(cli, what, nearest.name); /* the caller knows the code */
    return -1;
}
