#include "base/log.h"

#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "base/bytes.h"
#include "base/clock.h"

#define LINE_BYTES_MAX   2048
#define LINES_PER_SECOND 5

enum log_level log_threshold = LOG_INFO;
static enum log_format log_format = LOG_TEXT;

static const char *const level_names[] = {
    [LOG_ERROR] = "error",
    [LOG_WARN] = "warn",
    [LOG_INFO] = "info",
    [LOG_DEBUG] = "debug",
};

enum err log_level_parse(const char *name, enum log_level *ret_level)
{
    for (int level = LOG_ERROR; level <= LOG_DEBUG; level++)
        if (strcmp(name, level_names[level]) == 0) {
            *ret_level = (enum log_level)level;
            return ERR_OK;
        }
    return ERR_INVALID;
}

void log_set_level(enum log_level level)
{
    __atomic_store_n(&log_threshold, level, __ATOMIC_RELAXED);
}

void log_set_format(enum log_format format)
{
    __atomic_store_n(&log_format, format, __ATOMIC_RELAXED);
}

static void put_time(struct buf *line)
{
    uint64_t now_ns = clock_real_ns(clock_system());
    time_t seconds = (time_t)(now_ns / NS_PER_SECOND);
    struct tm tm;
    gmtime_r(&seconds, &tm);
    buf_printf(line, "%04d-%02d-%02dT%02d:%02d:%02d.%03uZ", tm.tm_year + 1900, tm.tm_mon + 1,
               tm.tm_mday, tm.tm_hour, tm.tm_min, tm.tm_sec,
               (unsigned)(now_ns % NS_PER_SECOND / NS_PER_MS));
}

/* The next character of UTF-8, or one byte where the text is something else. */
static struct bytes take_character(struct bytes *text, bool is_utf8)
{
    size_t size = 1;
    while (is_utf8 && size < text->size && ((unsigned char)text->data[size] & 0xc0) == 0x80)
        size++;
    struct bytes character = bytes_slice(*text, 0, size);
    *text = bytes_slice(*text, size, SIZE_MAX);
    return character;
}

/*
 * Control characters of a message (a client's key can hold any), and bytes that are no UTF-8,
 * never reach the log as they are. A character or its escape is written whole or not at all, so
 * that a line that is cut is still one of JSON.
 */
static void put_escaped(struct buf *line, struct bytes text, bool is_json)
{
    bool is_utf8 = bytes_is_utf8(text);
    while (text.size > 0) {
        struct bytes character = take_character(&text, is_utf8);
        unsigned char c = (unsigned char)character.data[0];
        if (c == 0xc2 && character.size == 2 && (unsigned char)character.data[1] < 0xa0)
            c = (unsigned char)character.data[1]; /* U+0080 to U+009F: escapes to terminals */
        bool is_control = c < 0x20 || c == 0x7f || (c >= 0x80 && c < 0xa0 && character.size == 2);
        char memory[8];
        struct buf escaped = BUF_ON(memory);
        if (is_control || (c >= 0x80 && !is_utf8))
            buf_printf(&escaped, is_json ? "\\u%04x" : "\\x%02x", c);
        else if (is_json && (c == '"' || c == '\\'))
            buf_printf(&escaped, "\\%c", c);
        else
            buf_put(&escaped, character);
        if (escaped.size > line->capacity - line->size)
            return;
        buf_put(line, buf_bytes(&escaped));
    }
}

void log_write(enum log_level level, const char *module, const char *format, ...)
{
    char message[LINE_BYTES_MAX / 2];
    va_list args;
    va_start(args, format);
    int length = vsnprintf(message, sizeof message, format, args);
    va_end(args);
    if (length < 0)
        return;
    struct bytes text = bytes_of(message, (size_t)length);
    if (text.size >= sizeof message) { /* cut, but not inside a character */
        text.size = sizeof message - 1;
        while (text.size > 0 && ((unsigned char)text.data[text.size - 1] & 0xc0) == 0x80)
            text.size--;
        text.size -= text.size > 0 && ((unsigned char)text.data[text.size - 1] & 0x80) != 0;
    }

    char memory[LINE_BYTES_MAX];
    struct buf line = {.data = memory, .capacity = sizeof memory - 4};
    if (__atomic_load_n(&log_format, __ATOMIC_RELAXED) == LOG_JSON) {
        buf_put_string(&line, "{\"time\":\"");
        put_time(&line);
        buf_printf(&line, "\",\"level\":\"%s\",\"module\":\"%s\",\"message\":\"",
                   level_names[level], module);
        put_escaped(&line, text, true);
        line.capacity = sizeof memory;
        buf_put_string(&line, "\"}\n");
    } else {
        put_time(&line);
        buf_printf(&line, " %s %s: ", level_names[level], module);
        put_escaped(&line, text, false);
        line.capacity = sizeof memory;
        buf_put_char(&line, '\n');
    }
    /* One write a line, so that lines of several threads do not mix; a log that cannot be written
     * has nobody to tell. */
    ssize_t ignored = write(STDERR_FILENO, line.data, line.size);
    (void)ignored;
}

bool log_limit_allows(struct log_limit *limit, uint32_t *ret_suppressed)
{
    uint64_t second = clock_mono_ns(clock_system()) / NS_PER_SECOND;
    if (atomic_exchange_explicit(&limit->window, second, memory_order_relaxed) != second)
        atomic_store_explicit(&limit->count, 0, memory_order_relaxed);
    if (atomic_fetch_add_explicit(&limit->count, 1, memory_order_relaxed) >= LINES_PER_SECOND) {
        atomic_fetch_add_explicit(&limit->suppressed, 1, memory_order_relaxed);
        return false;
    }
    *ret_suppressed = atomic_exchange_explicit(&limit->suppressed, 0, memory_order_relaxed);
    return true;
}

const char *log_suppressed(uint32_t suppressed, char text[LOG_SUPPRESSED_BYTES])
{
    if (suppressed == 0)
        return "";
    snprintf(text, LOG_SUPPRESSED_BYTES, " suppressed=%u", suppressed);
    return text;
}
