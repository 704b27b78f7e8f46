#include "base/check.h"
#include "server/start_priv.h"

static enum err repair(void *context, const struct damage *damage, struct err_trail *trail)
{
    struct node *node = context;
    return group_repair_wait(node->group, damage->data, damage->offset, trail);
}

static enum err catch_up(void *context)
{
    struct node *node = context;
    return group_fresh_wait(node->group);
}

enum err start__scrub(void *context, struct err_trail *trail)
{
    struct node *node = context;
    return scrub_open(&(struct scrub_options){.volume = node->volume,
                                              .repair = repair,
                                              .catch_up = catch_up,
                                              .context = node,
                                              .every_ns = node->config.storage_scrub_every},
                      &node->scrub, trail);
}

void start__scrub_stop(void *context)
{
    struct node *node = context;
    scrub_close(TAKE(node->scrub));
}
