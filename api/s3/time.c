#include "api/s3/time.h"

#include <stdio.h>
#include <time.h>

#include "base/clock.h"

/*
 * Broken-down time by hand: gmtime_r() takes a lock for the zone file in glibc, and a listing
 * formats a thousand times a page. The algorithm is Howard Hinnant's "chrono-compatible low-level
 * date algorithms" (civil_from_days, days_from_civil).
 */
struct civil {
    int64_t year;
    unsigned month, day, hour, minute, second, weekday; /* weekday 0: Sunday */
};

static struct civil civil_of(uint64_t seconds)
{
    uint64_t days = seconds / 86400, rest = seconds % 86400;
    uint64_t z = days + 719468, era = z / 146097, doe = z - era * 146097;
    uint64_t yoe = (doe - doe / 1460 + doe / 36524 - doe / 146096) / 365;
    uint64_t doy = doe - (365 * yoe + yoe / 4 - yoe / 100), mp = (5 * doy + 2) / 153;
    struct civil c = {
        .day = (unsigned)(doy - (153 * mp + 2) / 5 + 1),
        .month = (unsigned)(mp < 10 ? mp + 3 : mp - 9),
        .hour = (unsigned)(rest / 3600),
        .minute = (unsigned)(rest / 60 % 60),
        .second = (unsigned)(rest % 60),
        .weekday = (unsigned)((days + 4) % 7),
    };
    c.year = (int64_t)(yoe + era * 400) + (c.month <= 2);
    return c;
}

static unsigned days_of_month(int64_t year, unsigned month)
{
    static const unsigned char days[] = {31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31};
    bool is_leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
    return days[month - 1] + (month == 2 && is_leap);
}

static bool civil_seconds(const struct civil *c, uint64_t *ret_seconds)
{
    if (c->year < 1600 || c->year > 9999 || c->month < 1 || c->month > 12 || c->day < 1 ||
        c->day > days_of_month(c->year, c->month) || c->hour > 23 || c->minute > 59 ||
        c->second > 60)
        return false;
    int64_t y = c->year - (c->month <= 2), era = y / 400, yoe = y - era * 400;
    int64_t doy = (153 * ((int64_t)c->month + (c->month > 2 ? -3 : 9)) + 2) / 5 + c->day - 1;
    int64_t days = era * 146097 + yoe * 365 + yoe / 4 - yoe / 100 + doy - 719468;
    int64_t seconds = days * 86400 + c->hour * 3600 + c->minute * 60 + c->second;
    *ret_seconds = seconds > 0 ? (uint64_t)seconds : 0;
    return true;
}

static const char weekdays[] = "SunMonTueWedThuFriSat";
static const char months[] = "JanFebMarAprMayJunJulAugSepOctNovDec";

static char *put_digits(char *at, uint64_t value, unsigned count)
{
    for (unsigned i = count; i > 0; i--, value /= 10)
        at[i - 1] = (char)('0' + value % 10);
    return at + count;
}

void s3_time_iso(uint64_t real_ns, char out[S3_TIME_ISO_BYTES])
{
    struct civil c = civil_of(real_ns / NS_PER_SECOND);
    char *at = put_digits(out, (uint64_t)c.year, 4);
    *at++ = '-';
    at = put_digits(at, c.month, 2);
    *at++ = '-';
    at = put_digits(at, c.day, 2);
    *at++ = 'T';
    at = put_digits(at, c.hour, 2);
    *at++ = ':';
    at = put_digits(at, c.minute, 2);
    *at++ = ':';
    at = put_digits(at, c.second, 2);
    *at++ = '.';
    at = put_digits(at, real_ns % NS_PER_SECOND / NS_PER_MS, 3);
    memcpy(at, "Z", 2);
}

void s3_time_http(uint64_t real_ns, char out[S3_TIME_HTTP_BYTES])
{
    struct civil c = civil_of(real_ns / NS_PER_SECOND);
    memcpy(out, weekdays + 3 * c.weekday, 3);
    memcpy(out + 3, ", ", 2);
    char *at = put_digits(out + 5, c.day, 2);
    *at++ = ' ';
    memcpy(at, months + 3 * (c.month - 1), 3);
    at[3] = ' ';
    at = put_digits(at + 4, (uint64_t)c.year, 4);
    *at++ = ' ';
    at = put_digits(at, c.hour, 2);
    *at++ = ':';
    at = put_digits(at, c.minute, 2);
    *at++ = ':';
    at = put_digits(at, c.second, 2);
    memcpy(at, " GMT", 5);
}

void s3_time_basic(uint64_t real_ns, char out[S3_TIME_BASIC_BYTES])
{
    struct civil c = civil_of(real_ns / NS_PER_SECOND);
    char *at = put_digits(out, (uint64_t)c.year, 4);
    at = put_digits(at, c.month, 2);
    at = put_digits(at, c.day, 2);
    *at++ = 'T';
    at = put_digits(at, c.hour, 2);
    at = put_digits(at, c.minute, 2);
    at = put_digits(at, c.second, 2);
    memcpy(at, "Z", 2);
}

/* ---- reading ---- */
/* A pattern of d (digits into the next field), Mon, Day names and literal characters. */

struct scanner {
    struct bytes left;
    bool ok;
};

static unsigned take_number(struct scanner *s, unsigned digits)
{
    unsigned value = 0;
    if (s->left.size < digits)
        s->ok = false;
    for (unsigned i = 0; s->ok && i < digits; i++) {
        char c = s->left.data[i];
        if (c < '0' || c > '9')
            s->ok = false;
        value = value * 10 + (unsigned)(c - '0');
    }
    s->left = bytes_slice(s->left, digits, SIZE_MAX);
    return value;
}

static void take_text(struct scanner *s, const char *text)
{
    struct bytes wanted = bytes_of_string(text);
    s->ok = s->ok && bytes_start_with(s->left, wanted);
    s->left = bytes_slice(s->left, wanted.size, SIZE_MAX);
}

static unsigned take_month(struct scanner *s)
{
    for (unsigned month = 0; s->ok && month < 12; month++)
        if (bytes_start_with(s->left, bytes_of(months + 3 * month, 3))) {
            s->left = bytes_slice(s->left, 3, SIZE_MAX);
            return month + 1;
        }
    s->ok = false;
    return 0;
}

static void take_clock(struct scanner *s, struct civil *c)
{
    c->hour = take_number(s, 2);
    take_text(s, ":");
    c->minute = take_number(s, 2);
    take_text(s, ":");
    c->second = take_number(s, 2);
}

static enum err finish(const struct scanner *s, const struct civil *c, uint64_t *ret_seconds)
{
    return s->ok && s->left.size == 0 && civil_seconds(c, ret_seconds) ? ERR_OK : ERR_BAD_SYNTAX;
}

/* asctime: "Sun Nov  6 08:49:37 1994" */
static enum err parse_asctime(struct bytes text, uint64_t *ret_seconds)
{
    struct scanner s = {bytes_slice(text, 3, SIZE_MAX), true};
    struct civil c = {0};
    take_text(&s, " ");
    c.month = take_month(&s);
    take_text(&s, " ");
    if (s.ok && s.left.size > 0 && s.left.data[0] == ' ') {
        take_text(&s, " ");
        c.day = take_number(&s, 1);
    } else {
        c.day = take_number(&s, 2);
    }
    take_text(&s, " ");
    take_clock(&s, &c);
    take_text(&s, " ");
    c.year = take_number(&s, 4);
    return finish(&s, &c, ret_seconds);
}

/* RFC 5322's words for GMT, which some signers write into Date, are as good as HTTP's own. */
static void take_gmt(struct scanner *s)
{
    static const struct bytes zones[] = {{" GMT", 4}, {" +0000", 6}, {" -0000", 6}};
    for (size_t i = 0; i < sizeof zones / sizeof *zones; i++)
        if (bytes_equal(s->left, zones[i])) {
            s->left = bytes_slice(s->left, zones[i].size, SIZE_MAX);
            return;
        }
    s->ok = false;
}

/* IMF-fixdate "Sun, 06 Nov 1994 08:49:37 GMT" and RFC 850's "Sunday, 06-Nov-94 08:49:37 GMT" */
enum err s3_time_parse_http(struct bytes text, uint64_t *ret_seconds)
{
    text = bytes_trim(text);
    size_t comma = bytes_find_char(text, 0, ',');
    if (comma == SIZE_MAX)
        return parse_asctime(text, ret_seconds);
    struct scanner s = {bytes_slice(text, comma + 1, SIZE_MAX), true};
    struct civil c = {0};
    bool is_rfc850 = comma > 3;
    const char *separator = is_rfc850 ? "-" : " ";
    take_text(&s, " ");
    c.day = take_number(&s, 2);
    take_text(&s, separator);
    c.month = take_month(&s);
    take_text(&s, separator);
    c.year = take_number(&s, is_rfc850 ? 2 : 4);
    if (is_rfc850)
        c.year += c.year < 70 ? 2000 : 1900;
    take_text(&s, " ");
    take_clock(&s, &c);
    take_gmt(&s);
    return finish(&s, &c, ret_seconds);
}

enum err s3_time_parse_basic(struct bytes text, uint64_t *ret_seconds)
{
    struct scanner s = {text, true};
    struct civil c = {0};
    c.year = take_number(&s, 4);
    c.month = take_number(&s, 2);
    c.day = take_number(&s, 2);
    take_text(&s, "T");
    c.hour = take_number(&s, 2);
    c.minute = take_number(&s, 2);
    c.second = take_number(&s, 2);
    take_text(&s, "Z");
    return finish(&s, &c, ret_seconds);
}

enum err s3_time_parse_iso(struct bytes text, uint64_t *ret_seconds)
{
    struct scanner s = {text, true};
    struct civil c = {0};
    c.year = take_number(&s, 4);
    take_text(&s, "-");
    c.month = take_number(&s, 2);
    take_text(&s, "-");
    c.day = take_number(&s, 2);
    take_text(&s, "T");
    take_clock(&s, &c);
    if (s.ok && s.left.size > 0 && s.left.data[0] == '.') {
        size_t i = 1;
        while (i < s.left.size && s.left.data[i] >= '0' && s.left.data[i] <= '9')
            i++;
        s.ok = i > 1;
        s.left = bytes_slice(s.left, i, SIZE_MAX);
    }
    take_text(&s, "Z");
    return finish(&s, &c, ret_seconds);
}
