#include "api/http/path.h"

/*
 * O_DIRECT into arena slots: the bytes are checked where they are sent from, and the page cache is
 * left to what is read again. The send out of the slot copies them once, or not at all: to peers
 * whose network card fetches them from there (zero_copy.h).
 */
const struct path path_direct = {.name = "direct",
                                 .id = PATH_DIRECT,
                                 .copies = 0,
                                 .sends_memory = true,
                                 .start = path__slots_start,
                                 .cancel = path__slots_cancel};
