#include "server/units.h"

#include <arpa/inet.h>
#include <string.h>

#include "base/check.h"
#include "base/clock.h"

struct unit {
    const char *name;
    uint64_t value;
};

/* Largest first in each row, so that printing takes the first that divides. */
static const struct unit size_units[] = {
    {"PiB", 1ull << 50},
    {"TiB", 1ull << 40},
    {"GiB", 1ull << 30},
    {"MiB", 1ull << 20},
    {"KiB", 1ull << 10},
    {"PB", 1000000000000000ull},
    {"TB", 1000000000000ull},
    {"GB", 1000000000ull},
    {"MB", 1000000ull},
    {"kB", 1000ull},
    {"B", 1},
};
#define SIZE_UNITS_PRINTED 5

static const struct unit duration_units[] = {
    {"d", 86400 * NS_PER_SECOND}, {"h", 3600 * NS_PER_SECOND}, {"m", 60 * NS_PER_SECOND},
    {"s", NS_PER_SECOND},         {"ms", NS_PER_MS},           {"us", NS_PER_MS / 1000},
};

static bool is_digit(char c)
{
    return c >= '0' && c <= '9';
}

static const struct unit *unit_find(const struct unit *units, size_t count, struct bytes name)
{
    for (size_t i = 0; i < count; i++)
        if (bytes_equal_nocase(name, bytes_of_string(units[i].name)))
            return &units[i];
    return NULL;
}

/* "12.5" times unit; at most 6 decimals, which must come out whole. */
static enum err scale(struct bytes number, uint64_t unit, uint64_t *ret_value)
{
    struct bytes fraction = number, whole = bytes_split(&fraction, '.');
    bool has_fraction = whole.size != number.size;
    uint64_t integer, value;
    enum err e = bytes_to_u64(whole, &integer);
    if (e)
        return e;
    if (__builtin_mul_overflow(integer, unit, &value))
        return ERR_TOO_LARGE;
    if (has_fraction) {
        uint64_t decimals, power = 1;
        if (fraction.size == 0 || fraction.size > 6)
            return ERR_BAD_SYNTAX;
        e = bytes_to_u64(fraction, &decimals);
        if (e)
            return e;
        for (size_t i = 0; i < fraction.size; i++)
            power *= 10;
        unsigned __int128 part = (unsigned __int128)decimals * unit / power;
        if (__builtin_add_overflow(value, (uint64_t)part, &value))
            return ERR_TOO_LARGE;
    }
    *ret_value = value;
    return ERR_OK;
}

/* `bare`: what a number without a unit means; NULL: nothing, a unit must be there. */
static enum err quantity_parse(struct bytes text, const struct unit *units, size_t unit_count,
                               const struct unit *bare, uint64_t *ret_value)
{
    size_t digits = 0;
    while (digits < text.size && (is_digit(text.data[digits]) || text.data[digits] == '.'))
        digits++;
    struct bytes name = bytes_trim(bytes_slice(text, digits, SIZE_MAX));
    const struct unit *unit = name.size == 0 ? bare : unit_find(units, unit_count, name);
    if (digits == 0)
        return ERR_BAD_SYNTAX;
    if (unit == NULL && !(name.size == 0 && digits == 1 && text.data[0] == '0'))
        return ERR_BAD_SYNTAX;
    return scale(bytes_slice(text, 0, digits), unit != NULL ? unit->value : 1, ret_value);
}

enum err size_parse(struct bytes text, uint64_t *ret_bytes)
{
    static const struct unit bytes_unit = {"B", 1};
    return quantity_parse(text, size_units, COUNT_OF(size_units), &bytes_unit, ret_bytes);
}

enum err duration_parse(struct bytes text, uint64_t *ret_ns)
{
    return quantity_parse(text, duration_units, COUNT_OF(duration_units), NULL, ret_ns);
}

void size_print(uint64_t bytes, struct buf *out)
{
    for (size_t i = 0; i < SIZE_UNITS_PRINTED; i++)
        if (bytes > 0 && bytes % size_units[i].value == 0) {
            buf_put_u64(out, bytes / size_units[i].value);
            buf_put_string(out, size_units[i].name);
            return;
        }
    buf_put_u64(out, bytes);
}

void size_print_human(uint64_t bytes, struct buf *out)
{
    for (size_t i = 0; i < SIZE_UNITS_PRINTED; i++)
        if (bytes >= size_units[i].value) {
            double value = (double)bytes / (double)size_units[i].value;
            buf_printf(out, value < 100 ? "%.1f %s" : "%.0f %s", value, size_units[i].name);
            return;
        }
    buf_printf(out, "%u B", (unsigned)bytes);
}

void duration_print(uint64_t ns, struct buf *out)
{
    for (size_t i = 0; i < COUNT_OF(duration_units); i++)
        if (ns > 0 && ns % duration_units[i].value == 0) {
            buf_put_u64(out, ns / duration_units[i].value);
            buf_put_string(out, duration_units[i].name);
            return;
        }
    buf_put_u64(out, ns / NS_PER_MS);
    buf_put_string(out, "ms");
}

/* ---- addresses ---- */

static enum err host_parse(struct bytes host, bool is_bracketed, char out[HOST_BYTES_MAX])
{
    char text[HOST_BYTES_MAX];
    uint8_t binary[16];
    if (host.size == 0 || host.size >= sizeof text)
        return ERR_BAD_SYNTAX;
    memcpy(text, host.data, host.size);
    text[host.size] = '\0';
    if (!is_bracketed && strcmp(text, "localhost") == 0)
        strcpy(text, "127.0.0.1");
    if (inet_pton(is_bracketed ? AF_INET6 : AF_INET, text, binary) != 1)
        return ERR_BAD_SYNTAX;
    strcpy(out, text);
    return ERR_OK;
}

enum err address_parse(struct bytes text, struct address *ret_address, struct err_trail *trail)
{
    bool is_bracketed = bytes_start_with(text, BYTES("["));
    size_t end = bytes_find_char(text, 0, is_bracketed ? ']' : ':');
    struct bytes host = {0}, port = {0};
    if (end != SIZE_MAX && is_bracketed) {
        host = bytes_slice(text, 1, end - 1);
        port = bytes_slice(text, end + 1, SIZE_MAX);
        if (bytes_start_with(port, BYTES(":")))
            port = bytes_slice(port, 1, SIZE_MAX);
        else
            port = (struct bytes){0};
    } else if (end != SIZE_MAX) {
        host = bytes_slice(text, 0, end);
        port = bytes_slice(text, end + 1, SIZE_MAX);
        if (bytes_find_char(port, 0, ':') != SIZE_MAX)
            return err_say(trail, ERR_BAD_SYNTAX, "an IPv6 address stands in brackets: [%.*s]:9000",
                           (int)text.size, text.data);
    }
    struct address address = {0};
    uint64_t number;
    if (host_parse(host, is_bracketed, address.host) != ERR_OK)
        return err_say(trail, ERR_BAD_SYNTAX,
                       "'%.*s' is not ADDRESS:PORT with a numeric address, such as 127.0.0.1:9000, "
                       "0.0.0.0:9000 (every interface) or [::1]:9000",
                       (int)text.size, text.data);
    if (bytes_to_u64(port, &number) != ERR_OK || number > UINT16_MAX)
        return err_say(trail, ERR_BAD_SYNTAX, "'%.*s' has no port number from 0 to 65535",
                       (int)text.size, text.data);
    address.port = (uint16_t)number;
    *ret_address = address;
    return ERR_OK;
}

void address_print(const struct address *address, struct buf *out)
{
    bool is_ipv6 = strchr(address->host, ':') != NULL;
    buf_printf(out, is_ipv6 ? "[%s]:%u" : "%s:%u", address->host, address->port);
}

bool address_is_loopback(const struct address *address)
{
    struct in6_addr six;
    if (inet_pton(AF_INET6, address->host, &six) == 1)
        return IN6_IS_ADDR_LOOPBACK(&six);
    return strncmp(address->host, "127.", 4) == 0;
}

bool address_is_any(const struct address *address)
{
    struct in6_addr six;
    if (inet_pton(AF_INET6, address->host, &six) == 1)
        return IN6_IS_ADDR_UNSPECIFIED(&six);
    return strcmp(address->host, "0.0.0.0") == 0;
}
