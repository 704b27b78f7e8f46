#include "api/http/path.h"

const struct path *path_choose(const struct path_facts *facts)
{
    if (facts->is_inline || facts->size == 0)
        return &path_inline;
    if (!facts->has_fd)
        return &path_direct;
    /* What is read once stays out of the page cache; what is read again is brought in, checked, and
     * from then on costs no copy and no disk. */
    return facts->is_resident || facts->is_hot ? &path_sendfile : &path_direct;
}
