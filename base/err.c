#include "base/err.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "base/check.h"

struct err_row {
    const char *name;
    enum err_family family;
    const char *text;
};

static const struct err_row err_rows[ERR_COUNT] = {
#define X(name, family, text) [ERR_##name] = {#name, family, text},
    ERR_CODES(X)
#undef X
};

static const char *const family_names[] = {
#define X(name, text) [name] = text,
    ERR_FAMILIES(X)
#undef X
};

static const struct err_row *row(enum err e)
{
    CHECK((unsigned)e < ERR_COUNT);
    return &err_rows[e];
}

enum err_family err_family(enum err e)
{
    return row(e)->family;
}

const char *err_name(enum err e)
{
    return row(e)->name;
}

const char *err_text(enum err e)
{
    return row(e)->text;
}

const char *err_family_name(enum err_family family)
{
    CHECK((unsigned)family <= FAM_BUG);
    return family_names[family];
}

enum err err_from_errno(int errnum)
{
    switch (errnum) {
    case ENOMEM:
    case ENOBUFS:
        return ERR_NO_MEMORY;
    case EAGAIN:
    case EINTR:
    case EBUSY:
    case EMFILE:
    case ENFILE:
        return ERR_BUSY;
    case ETIMEDOUT:
        return ERR_TIMEOUT;
    case ECANCELED:
        return ERR_CANCELLED;
    case EINVAL:
        return ERR_INVALID;
    case EFBIG:
    case EMSGSIZE:
    case ENAMETOOLONG:
        return ERR_TOO_LARGE;
    case ENOSYS:
    case EOPNOTSUPP:
        return ERR_UNSUPPORTED;
    case EPERM:
    case EACCES:
        return ERR_DENIED;
    case ENOENT:
    case ENOTDIR:
        return ERR_NO_SUCH_FILE;
    case EEXIST:
    case ENOTEMPTY:
        return ERR_FILE_EXISTS;
    case EADDRINUSE:
    case ETXTBSY:
        return ERR_IN_USE;
    case EPIPE:
    case ECONNRESET:
    case ENOTCONN:
        return ERR_PEER_CLOSED;
    case ENOSPC:
    case EDQUOT:
        return ERR_DISK_FULL;
    case EROFS:
        return ERR_READ_ONLY;
    default:
        return ERR_IO;
    }
}

enum err err_note(struct err_trail *trail, enum err e, const char *format, ...)
{
    if (trail == NULL)
        return e;
    char inner[ERR_TRAIL_BYTES];
    snprintf(inner, sizeof inner, "%s", err_trail_text(trail, e));

    va_list args;
    va_start(args, format);
    int length = vsnprintf(trail->text, sizeof trail->text, format, args);
    va_end(args);
    if (length < 0 || (size_t)length >= sizeof trail->text)
        return e;
    /* What does not fit is cut at the inner end: the outermost phrase says what was wanted. */
    size_t room = sizeof trail->text - (size_t)length;
    snprintf(trail->text + length, room, ": %.*s", (int)(room > 3 ? room - 3 : 0), inner);
    return e;
}

enum err err_say(struct err_trail *trail, enum err e, const char *format, ...)
{
    if (trail == NULL)
        return e;
    va_list args;
    va_start(args, format);
    (void)vsnprintf(trail->text, sizeof trail->text, format, args); /* what does not fit is cut */
    va_end(args);
    return e;
}

void err_trail_reset(struct err_trail *trail)
{
    trail->text[0] = '\0';
}

const char *err_trail_text(const struct err_trail *trail, enum err e)
{
    return trail != NULL && trail->text[0] != '\0' ? trail->text : err_text(e);
}
