#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/check.h"
#include "server/units.h"
#include "tools/cli.h"

#define FIELD_WIDTH 14
#define COLUMNS_MAX 12

enum exit_code cli_fail(const struct cli *cli, enum exit_code code, const char *error,
                        const char *hint, const char *format, ...)
{
    char message[640];
    va_list args;
    va_start(args, format);
    vsnprintf(message, sizeof message, format, args);
    va_end(args);
    if (hint != NULL && hint[0] == '\0')
        hint = NULL;
    if (cli->json) {
        json_t *json = json_pack("{s:{s:s, s:s, s:s*}}", "error", "code", error, "message", message,
                                 "hint", hint);
        print_json(json);
        json_decref(json);
        return code;
    }
    fprintf(stderr, "sluice: %s\n", message);
    if (hint != NULL)
        fprintf(stderr, "        %s\n", hint);
    return code;
}

void print_json(const json_t *json)
{
    /* main() asks stdout at the end. */
    (void)json_dumpf(json, stdout, JSON_INDENT(2) | JSON_PRESERVE_ORDER);
    putchar('\n');
}

void print_count(uint64_t value, char out[32])
{
    char digits[24];
    int size = snprintf(digits, sizeof digits, "%llu", (unsigned long long)value);
    struct buf text = {.data = out, .capacity = 31};
    for (int i = 0; i < size; i++) {
        if (i > 0 && (size - i) % 3 == 0)
            buf_put_char(&text, ',');
        buf_put_char(&text, digits[i]);
    }
    out[text.size] = '\0';
}

void print_size(uint64_t bytes, char out[64])
{
    char exact[32];
    struct buf text = {.data = out, .capacity = 63};
    print_count(bytes, exact);
    if (bytes >= 1024) {
        size_print_human(bytes, &text);
        buf_printf(&text, " (%s B)", exact);
    } else
        buf_printf(&text, "%s B", exact);
    out[text.size] = '\0';
}

void print_field(const char *name, const char *format, ...)
{
    printf("%-*s", FIELD_WIDTH, name);
    va_list args;
    va_start(args, format);
    vprintf(format, args);
    va_end(args);
    putchar('\n');
}

const char *json_text(const json_t *object, const char *name)
{
    const char *text = json_string_value(json_object_get(object, name));
    if (text != NULL)
        return text;
    char hex_name[64];
    snprintf(hex_name, sizeof hex_name, "%s_hex", name);
    text = json_string_value(json_object_get(object, hex_name));
    return text != NULL ? text : "";
}

uint64_t json_number(const json_t *object, const char *name)
{
    json_int_t value = json_integer_value(json_object_get(object, name));
    return value > 0 ? (uint64_t)value : 0;
}

/* ---- tables ---- */

struct table {
    size_t column_count, row_count, row_capacity;
    char *(*rows)[COLUMNS_MAX]; /* owned, the cells too */
    bool is_right[COLUMNS_MAX];
};

static void out_of_memory(void)
{
    fputs("sluice: out of memory\n", stderr);
    exit(EXIT_REFUSED);
}

static void add_row(struct table *table, const char *text)
{
    if (table->row_count == table->row_capacity) {
        table->row_capacity = table->row_capacity ? table->row_capacity * 2 : 32;
        table->rows = realloc(table->rows, table->row_capacity * sizeof *table->rows);
        if (table->rows == NULL)
            out_of_memory();
    }
    struct bytes rest = bytes_of_string(text);
    for (size_t i = 0; i < table->column_count; i++) {
        struct bytes cell = bytes_split(&rest, '\t');
        char *copy = strndup(cell.data != NULL ? cell.data : "", cell.size);
        if (copy == NULL)
            out_of_memory();
        table->rows[table->row_count][i] = copy;
    }
    table->row_count++;
}

struct table *table_open(const char *const columns[], size_t count)
{
    CHECK(count <= COLUMNS_MAX);
    struct table *table = calloc(1, sizeof *table);
    if (table == NULL)
        out_of_memory();
    struct text_buf head = {0};
    table->column_count = count;
    for (size_t i = 0; i < count; i++) {
        table->is_right[i] = columns[i][0] == '>';
        text_printf(&head, "%s%s", i > 0 ? "\t" : "", columns[i] + table->is_right[i]);
    }
    add_row(table, head.data);
    text_free(&head);
    return table;
}

void table_add(struct table *table, const char *format, ...)
{
    char *text = NULL;
    va_list args;
    va_start(args, format);
    if (vasprintf(&text, format, args) < 0)
        out_of_memory();
    va_end(args);
    add_row(table, text);
    free(text);
}

/* Letters, not bytes: names are UTF-8. */
static size_t width_of(const char *text)
{
    size_t width = 0;
    for (; *text != '\0'; text++)
        width += ((unsigned char)*text & 0xc0) != 0x80;
    return width;
}

static void print_row(const struct table *table, char *const row[], const size_t widths[])
{
    for (size_t i = 0; i < table->column_count; i++) {
        int padding = (int)(widths[i] - width_of(row[i]));
        bool is_last = i + 1 == table->column_count;
        if (table->is_right[i])
            printf("%*s%s", padding, "", row[i]);
        else
            printf("%s%*s", row[i], is_last ? 0 : padding, "");
        fputs(is_last ? "\n" : "  ", stdout);
    }
}

void table_print(struct table *table)
{
    size_t widths[COLUMNS_MAX] = {0};
    for (size_t r = 0; r < table->row_count; r++)
        for (size_t i = 0; i < table->column_count; i++) {
            size_t width = width_of(table->rows[r][i]);
            widths[i] = width > widths[i] ? width : widths[i];
        }
    for (size_t r = 0; r < table->row_count; r++) {
        print_row(table, table->rows[r], widths);
        for (size_t i = 0; i < table->column_count; i++)
            free(table->rows[r][i]);
    }
    free(table->rows);
    free(table);
}
