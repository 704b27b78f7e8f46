/*
 * Reading the INI file. libinih parses; it does not tell line numbers to its handler and passes
 * over lines that are too long, so it is fed line by line by a reader that counts, refuses what
 * would be cut, and takes indented lines for what they say.
 */
#include <errno.h>
#include <ini.h>
#include <string.h>

#include "base/check.h"
#include "server/config.h"

struct reading {
    FILE *file;
    struct config config; /* a copy, taken over when the whole file is good */
    const char *path;
    struct err_trail *trail;
    unsigned line;
    enum err err; /* the first fault */
    bool seen[CONFIG_KEY_COUNT];
};

static enum err fault(struct reading *reading, enum err e, const char *why)
{
    if (reading->err == ERR_OK)
        reading->err = err_say(reading->trail, e, "%s:%u: %s", reading->path, reading->line, why);
    return e;
}

/* A section is judged where it begins: libinih tells of it only with its first key. */
static bool section_is_good(struct reading *reading, const char *line)
{
    char name[CONFIG_LINE_MAX + 1];
    size_t size = strcspn(line + 1, "]");
    memcpy(name, line + 1, size);
    name[size] = '\0';
    struct err_trail why = {0};
    if (line[1 + size] == ']' && config_judge_section(name, &why) == ERR_OK)
        return true;
    fault(reading, ERR_INVALID, why.text[0] != '\0' ? why.text : "no ] behind the section's name");
    return false;
}

/* fgets() as libinih wants it. A comment is given as an empty line, so that it may be long. */
static char *read_line(char *out, int out_size, void *stream)
{
    struct reading *reading = stream;
    char line[4096];
    if (reading->err || fgets(line, sizeof line, reading->file) == NULL)
        return NULL;
    reading->line++;
    if (strchr(line, '\n') == NULL && !feof(reading->file)) {
        fault(reading, ERR_INVALID, "the line is too long");
        return NULL;
    }
    char *start = line + strspn(line, " \t");
    start[strcspn(start, "\r\n")] = '\0';
    if (*start == '#' || *start == ';')
        *start = '\0';
    if (strlen(start) > CONFIG_LINE_MAX || strlen(start) + 2 > (size_t)out_size) {
        fault(reading, ERR_INVALID, "the line is longer than 190 bytes");
        return NULL;
    }
    if (*start != '\0' && *start != '[' && strpbrk(start, "=:") == NULL) {
        fault(reading, ERR_INVALID, "neither [section] nor key = value");
        return NULL;
    }
    if (*start == '[' && !section_is_good(reading, start))
        return NULL;
    strcpy(out, start);
    strcat(out, "\n");
    return out;
}

static int take_pair(void *user, const char *section, const char *name, const char *value)
{
    struct reading *reading = user;
    if (reading->err)
        return 1; /* what libinih still had in hand */
    if (*section == '\0') {
        fault(reading, ERR_INVALID, "a key before the first [section]");
        return 1;
    }
    struct err_trail why = {0};
    int id = config_find(section, name);
    if (id >= 0 && reading->seen[id])
        fault(reading, ERR_INVALID, "the key is set twice in this file");
    else if (config_set(&reading->config, section, name, bytes_of_string(value), CONFIG_FILE, &why))
        fault(reading, ERR_INVALID, why.text);
    else
        reading->seen[id] = true;
    return 1;
}

enum err config_read_file(struct config *config, const char *path, struct err_trail *trail)
{
    struct reading reading = {
        .file = fopen(path, "re"), .config = *config, .path = path, .trail = trail};
    if (reading.file == NULL)
        return err_note(trail, err_from_errno(errno), "configuration file %s", path);
    int bad_line = ini_parse_stream(read_line, &reading, take_pair, &reading);
    bool is_read = !ferror(reading.file);
    (void)fclose(reading.file); /* only read from */
    if (reading.err)
        return reading.err;
    if (!is_read)
        return err_note(trail, ERR_IO, "configuration file %s", path);
    if (bad_line != 0) {
        reading.line = (unsigned)bad_line;
        return fault(&reading, bad_line > 0 ? ERR_INVALID : ERR_NO_MEMORY, "malformed");
    }
    *config = reading.config;
    return ERR_OK;
}
