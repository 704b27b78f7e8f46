#include "api/http/path.h"

/*
 * The page cache read into arena slots, and sent from there: the CPU copies twice. What every
 * server did once, so the baseline to compare with; and for hot objects on a connection that this
 * process encrypts the best there is, because their bytes have to pass through its memory and the
 * disk is spared.
 */
const struct path path_copy = {.name = "copy",
                               .id = PATH_COPY,
                               .copies = 1,
                               .sends_memory = true,
                               .start = path__slots_start,
                               .cancel = path__slots_cancel};
