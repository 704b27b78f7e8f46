#include "server/nearest.h"

#include <string.h>

static unsigned least(unsigned a, unsigned b)
{
    return a < b ? a : b;
}

unsigned name_distance(const char *a, const char *b)
{
    size_t a_size = strlen(a), b_size = strlen(b);
    if (a_size > NEAREST_NAME_MAX || b_size > NEAREST_NAME_MAX)
        return NEAREST_NAME_MAX;
    /* Three rows of the usual table: swapping neighbours looks two rows back. */
    unsigned rows[3][NEAREST_NAME_MAX + 1];
    for (unsigned k = 0; k <= b_size; k++)
        rows[0][k] = k;
    for (unsigned i = 1; i <= a_size; i++) {
        unsigned *row = rows[i % 3], *above = rows[(i - 1) % 3], *above2 = rows[(i + 1) % 3];
        row[0] = i;
        for (unsigned k = 1; k <= b_size; k++) {
            unsigned change = above[k - 1] + (a[i - 1] != b[k - 1]);
            row[k] = least(change, least(above[k], row[k - 1]) + 1);
            if (i > 1 && k > 1 && a[i - 1] == b[k - 2] && a[i - 2] == b[k - 1])
                row[k] = least(row[k], above2[k - 2] + 1);
        }
    }
    return rows[a_size % 3][b_size];
}

void nearest_offer(struct nearest *nearest, const char *name)
{
    unsigned distance = name_distance(nearest->wanted, name);
    size_t size = strlen(nearest->wanted);
    /* A third of the letters may be wrong; or one is the beginning of the other. */
    size_t common = size < strlen(name) ? size : strlen(name);
    if (common >= 3 && strncmp(nearest->wanted, name, common) == 0)
        distance = least(distance, 1 + (distance > 1));
    if (distance > 1 && distance > (size + 2) / 3)
        return;
    if (nearest->name == NULL || distance < nearest->distance) {
        nearest->name = name;
        nearest->distance = distance;
    }
}
