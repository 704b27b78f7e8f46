#include "base/check.h"

#include <stdio.h>
#include <stdlib.h>

_Noreturn void check_failed(const char *condition, const char *file, int line, const char *function)
{
    fprintf(stderr,
            "sluice: a check failed: %s (%s:%d, %s). "
            "This is a bug in Sluice; please report this line.\n",
            condition, file, line, function);
    abort();
}
