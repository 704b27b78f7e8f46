#include "replication/pull_priv.h"

#include <stdlib.h>

#include "base/check.h"
#include "storage/data.h"

/* The asking half. */

/* ---- asking ---- */

static void send_ask(struct pull *pull, struct pull_ask *ask)
{
    uint8_t bytes[LINK_CTL_BYTES_MAX];
    size_t size =
        message_pull_encode(&(struct message_pull){.id = ask->data.id, .psn = ask->psn}, bytes);
    ask->is_coming = false;
    ask->again_ns = pull__now(pull) + PULL_SILENCE_NS;
    (void)pull->options.links->ctl(ask->link, bytes, size); /* lost: asked again */
}

static struct pull_ask *find_ask(struct pull *pull, struct data_id id)
{
    for (unsigned i = 0; i < PULLS_MAX; i++)
        if (pull->asks[i].link != NULL && data_id_equal(pull->asks[i].data.id, id))
            return &pull->asks[i];
    return NULL;
}

void pull_ask(struct pull *pull, struct link *link, const struct log_data *data, uint64_t psn,
              pull_done_fn *done, void *context)
{
    if (find_ask(pull, data->id) != NULL)
        return;
    struct pull_ask *free_ask = NULL;
    for (unsigned i = 0; i < PULLS_MAX && free_ask == NULL; i++)
        if (pull->asks[i].link == NULL)
            free_ask = &pull->asks[i];
    if (free_ask == NULL)
        return;
    *free_ask = (struct pull_ask){
        .link = link, .data = *data, .psn = psn, .done = done, .context = context};
    pull->counts.asking++;
    send_ask(pull, free_ask);
}

static void finish(struct pull *pull, struct pull_ask *ask, enum pull_outcome outcome)
{
    struct pull_ask ended = *ask;
    *ask = (struct pull_ask){.link = NULL}; /* done() may ask for it again */
    pull->counts.asking--;
    if (outcome == PULL_COMPLETE) {
        pull->counts.pulled++;
        pull->counts.pulled_bytes += ended.data.size;
    }
    pull->counts.gone += outcome == PULL_GONE;
    ended.done(ended.context, ended.data.id, outcome);
}

void pull_forget(struct pull *pull)
{
    memset(pull->asks, 0, sizeof pull->asks);
    pull->counts.asking = 0;
}

void pull_answered(struct pull *pull, struct link *link, const struct message_pull_answer *answer)
{
    struct pull_ask *ask = find_ask(pull, answer->id);
    if (ask == NULL || ask->link != link)
        return; /* it came, or somebody else is asked now */
    uint64_t now_ns = pull__now(pull);
    switch (answer->outcome) {
    case MESSAGE_PULL_COMING:
        ask->is_coming = true;
        ask->again_ns = now_ns + PULL_SILENCE_NS;
        return;
    case MESSAGE_PULL_NOT_YET:
        ask->again_ns = now_ns + PULL_AGAIN_NS;
        return;
    case MESSAGE_PULL_GONE:
        incoming_drop(pull->options.incoming, answer->id); /* what had come of it */
        finish(pull, ask, PULL_GONE);
        return;
    case MESSAGE_PULL_DAMAGED:
        ask->fails_ns = now_ns + PULL_FAILED_NS;
        ask->again_ns = UINT64_MAX;
        return;
    }
}

static void settled(struct incoming_watch *watch, struct data_id id, enum incoming_state state)
{
    struct pull *pull = CONTAINER_OF(watch, struct pull, watch);
    struct pull_ask *ask = find_ask(pull, id);
    if (ask == NULL)
        return;
    if (state == INCOMING_COMPLETE)
        finish(pull, ask, PULL_COMPLETE);
    else if (ask->again_ns != UINT64_MAX) /* it failed on its way: again, but not at once */
        ask->again_ns = pull__now(pull) + PULL_FAILED_NS;
}

void pull_tick(struct pull *pull, uint64_t now_ns)
{
    for (unsigned i = 0; i < PULLS_MAX; i++) {
        struct pull_ask *ask = &pull->asks[i];
        if (ask->link == NULL)
            continue;
        bool is_due = now_ns >= ask->again_ns,
             has_failed = ask->fails_ns && now_ns >= ask->fails_ns;
        if (!is_due && !has_failed)
            continue;
        enum incoming_state state = incoming_state(pull->options.incoming, &ask->data);
        if (state == INCOMING_COMPLETE)
            finish(pull, ask, PULL_COMPLETE);
        else if (has_failed)
            finish(pull, ask, PULL_FAILED);
        else if (state == INCOMING_ARRIVING)
            ask->again_ns = now_ns + PULL_SILENCE_NS; /* incoming and the link watch over that */
        else
            send_ask(pull, ask);
    }
}

/* ---- life ---- */

static const struct pull_links real_links = {.ctl = link_ctl, .chunk_send = link_chunk_send};

enum err pull_open(const struct pull_options *options, struct pull **ret_pull)
{
    CHECK(options->loop != NULL && options->volume != NULL && options->incoming != NULL);
    CHECK(loop_arena(options->loop) != NULL);
    struct pull *pull = calloc(1, sizeof *pull);
    if (pull == NULL)
        return ERR_NO_MEMORY;
    pull->options = *options;
    if (pull->options.links == NULL)
        pull->options.links = &real_links;
    pull->watch.settled = settled;
    incoming_watch(options->incoming, &pull->watch);
    *ret_pull = pull;
    return ERR_OK;
}

bool pull_is_idle(const struct pull *pull)
{
    return pull->counts.serving == 0;
}

void pull_close(struct pull *pull)
{
    if (pull == NULL)
        return;
    CHECK(pull_is_idle(pull));
    list_remove(&pull->watch.link);
    free(pull);
}

void pull_link_down(struct pull *pull, struct link *link)
{
    pull__serve_link_down(pull, link);
    for (unsigned i = 0; i < PULLS_MAX; i++)
        if (pull->asks[i].link == link)
            finish(pull, &pull->asks[i], PULL_FAILED);
}

void pull_counts(const struct pull *pull, struct pull_counts *ret_counts)
{
    *ret_counts = pull->counts;
}
