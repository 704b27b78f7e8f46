/*
 * Rows of the log. A row holds one reference to its data until its record is applied: then the
 * name takes the reference over, or it is let go of in the same batch.
 */
#include "storage/apply_priv.h"

#include "base/check.h"

bool mutation_is_outcome(enum err e)
{
    switch (err_family(e)) {
    case FAM_OK:
    case FAM_CALLER:
        return true;
    case FAM_ABSENT:
        return e != ERR_NO_SUCH_FILE; /* which is the index missing one of its own */
    case FAM_EXISTS:
        return e != ERR_FILE_EXISTS;
    case FAM_BUSY:
        return e == ERR_CONFLICT; /* the source, or the object, is another by now: everywhere */
    case FAM_DENIED:
    case FAM_FULL:
    case FAM_IO:
    case FAM_DATA:
    case FAM_BUG:
        return false;
    }
    return false;
}

/* The row's term and data; the record stays where it is. ERR_NO_SUCH_OBJECT: no such row. */
static enum err get_row(struct apply *apply, uint64_t psn, struct log_record *ret_row)
{
    struct view view = apply__view(apply);
    struct kv_key key;
    struct view_value value;
    key_log(&key, psn);
    enum err e = view_get(&view, KV_LOG, &key, &value);
    if (e)
        return e;
    e = record_log_get(value.bytes, ret_row);
    ret_row->record = (struct bytes){0};
    view_put(&value);
    return e;
}

static enum err drop_data(struct apply *apply, const struct log_data *data)
{
    if (data->size == 0)
        return ERR_OK;
    uint32_t budget = DIRECT_EXTENTS_MAX;
    struct stored_piece piece = {.piece = {.data = data->id, .size = data->size},
                                 .is_inline = data->is_inline};
    return apply__data_drop(apply, &piece, DROP_NAMED_NOW, &budget);
}

/* ---- appending ---- */

static enum err judge_way(struct log_append *append, enum retain_way way)
{
    if (way == RETAIN_LATER)
        return err_note(&append->trail, ERR_BUSY, "data of that id is being deleted");
    if (way == RETAIN_DOUBLE)
        return err_note(&append->trail, ERR_FILE_EXISTS, "data of that id is here");
    return ERR_OK;
}

/* The body's bytes become data that the row refers to. */
static enum err name_body(struct apply *apply, struct log_append *append)
{
    struct stored_piece piece;
    struct data_layout layout;
    uint32_t count;
    enum data_state state = DATA_NONE;
    enum err e = ERR_OK;
    body__layout(append->body, &layout);
    if (layout.size > 0)
        e = apply__data_state(apply, layout.id, &state);
    if (e == ERR_OK)
        e = judge_way(append, retain_way(state, true));
    if (e)
        return e;
    e = apply__data_add(apply, append->body, layout.size, &piece, &count);
    if (e == ERR_OK && count > 0)
        append->data =
            (struct log_data){.id = layout.id, .size = layout.size, .is_inline = piece.is_inline};
    return e;
}

static enum err name_absent(struct apply *apply, struct log_append *append)
{
    const struct log_data *absent = &append->absent;
    if (absent->size == 0 || data_id_is_none(absent->id))
        return ERR_OK;
    if (absent->size > OBJECT_BYTES_MAX)
        return err_note(&append->trail, ERR_TOO_LARGE, "absent data");
    struct piece all = {.data = absent->id, .size = absent->size};
    struct stored_piece stored = {.piece = all};
    enum data_state state;
    enum err e = apply__data_state(apply, absent->id, &state);
    if (e)
        return e;
    enum retain_way way = retain_way(state, false);
    e = judge_way(append, way);
    if (e)
        return e;
    e = way == RETAIN_REFER ? apply__data_refer(apply, &all, &stored)
                            : apply__absent_add(apply, absent->id, absent->size);
    if (e == ERR_OK)
        append->data = (struct log_data){
            .id = absent->id, .size = absent->size, .is_inline = stored.is_inline};
    return e;
}

static enum err put_row(struct apply *apply, const struct log_append *append)
{
    struct log_record row = {.term = append->term, .data = append->data, .record = append->record};
    struct kv_key key;
    uint8_t *room;
    key_log(&key, append->psn);
    enum err e =
        kv_batch_reserve(apply->batch, KV_LOG, key_bytes(&key), record_log_size(&row), &room);
    if (e)
        return e;
    record_log_put(room, &row);
    return ERR_OK;
}

enum err apply_log_append(struct apply *apply, struct log_append *append)
{
    CHECK_MAGIC(append, LOG_APPEND_MAGIC);
    if (append->record.size > LOG_RECORD_BYTES_MAX)
        return err_note(&append->trail, ERR_TOO_LARGE, "a record of %zu bytes",
                        append->record.size);
    struct kv_mark mark = kv_batch_mark(apply->batch);
    append->data = (struct log_data){0};
    enum err e = append->body != NULL ? name_body(apply, append) : name_absent(apply, append);
    if (e == ERR_OK)
        e = put_row(apply, append);
    if (e == ERR_OK)
        return ERR_OK;
    kv_batch_rollback(apply->batch, mark);
    return err_note(&append->trail, e, "append record %llu", (unsigned long long)append->psn);
}

/* ---- applying ---- */

/* Whether the mutation is what the row holds, as far as can be told without reading the record. */
static enum err judge_row(struct mutation *m, const struct log_record *row)
{
    if (row->term != m->term)
        return err_note(&m->trail, ERR_INTERNAL, "the log has it under term %llu",
                        (unsigned long long)row->term);
    if (m->is_barrier || !m->takes_reference)
        return ERR_OK;
    if (m->body != NULL || m->piece_count == 0 || !data_id_equal(m->pieces[0].data, row->data.id))
        return err_note(&m->trail, ERR_INTERNAL, "it takes over data that its row does not hold");
    if (m->pieces[0].offset != 0 || m->pieces[0].size != row->data.size)
        return err_note(&m->trail, ERR_CORRUPT, "its data has %llu bytes here",
                        (unsigned long long)row->data.size);
    return ERR_OK;
}

static enum err apply_row(struct apply *apply, struct mutation *m, const struct log_record *row,
                          enum err *ret_outcome)
{
    enum err outcome = ERR_OK;
    bool is_taken = false;
    if (!m->is_barrier) {
        outcome = apply_mutation(apply, m);
        if (!mutation_is_outcome(outcome))
            return outcome;
        is_taken = retain_takes(outcome, m->takes_reference, m->kind);
    }
    enum err e = is_taken ? ERR_OK : drop_data(apply, &row->data);
    if (e) {
        err_trail_reset(&m->trail); /* why it was refused */
        return err_note(&m->trail, mutation_is_outcome(e) ? ERR_CORRUPT : e,
                        "let go of what it brought");
    }
    *ret_outcome = outcome;
    return ERR_OK;
}

enum err apply_logged(struct apply *apply, struct mutation *m, enum err *ret_outcome)
{
    CHECK_MAGIC(m, MUTATION_MAGIC);
    CHECK(m->is_logged);
    struct log_record row;
    enum err e = get_row(apply, m->psn, &row);
    if (e)
        return err_note(&m->trail, e == ERR_NO_SUCH_OBJECT ? ERR_CORRUPT : e,
                        "read its row of the log");
    e = judge_row(m, &row);
    if (e)
        return e;
    struct effects before = *apply->effects;
    struct kv_mark mark = kv_batch_mark(apply->batch);
    uint32_t next_bucket_id = apply->next_bucket_id;
    e = apply_row(apply, m, &row, ret_outcome);
    if (e) {
        apply__rollback(apply, mark, &before);
        apply->next_bucket_id = next_bucket_id;
    }
    return e;
}

/* ---- cutting off and trimming ---- */

enum err apply_log_save(struct apply *apply, struct log_save *save, uint64_t last)
{
    CHECK_MAGIC(save, LOG_SAVE_MAGIC);
    if (save->state.size > LOG_STATE_BYTES_MAX)
        return err_note(&save->trail, ERR_TOO_LARGE, "a state of %zu bytes", save->state.size);
    struct effects before = *apply->effects;
    struct kv_mark mark = kv_batch_mark(apply->batch);
    enum err e = kv_batch_put(apply->batch, KV_SYS, KEY_SYS_LOG_STATE, save->state);
    for (uint64_t psn = last; e == ERR_OK && psn > save->last; psn--) {
        struct kv_key key;
        struct log_record row;
        key_log(&key, psn);
        e = get_row(apply, psn, &row);
        if (e == ERR_OK)
            e = drop_data(apply, &row.data);
        if (e == ERR_OK)
            e = apply__delete(apply, KV_LOG, &key);
        if (e == ERR_NO_SUCH_OBJECT)
            e = ERR_CORRUPT;
    }
    if (e == ERR_OK)
        return ERR_OK;
    apply__rollback(apply, mark, &before);
    return err_note(&save->trail, e, "save the log's state");
}

enum err apply_log_first(struct apply *apply, uint64_t first)
{
    uint8_t bytes[8];
    put_le64(bytes, first);
    return kv_batch_put(apply->batch, KV_SYS, KEY_SYS_LOG_FIRST, bytes_of(bytes, sizeof bytes));
}

/* Deletes what stands below `upper`, from *from on, which moves to where it stopped. */
static enum err trim_rows(struct apply *apply, uint64_t upper, uint64_t *from)
{
    struct kv *kv = apply->kv;
    struct kv_iter *iter;
    struct kv_key lower_key, upper_key;
    key_log(&lower_key, *from);
    key_log(&upper_key, upper);
    struct kv_iter_options options = {
        .family = KV_LOG, .lower = key_bytes(&lower_key), .upper = key_bytes(&upper_key)};
    enum err e = kv->ops->iter_open(kv, &options, &iter);
    if (e)
        return e;
    uint32_t count = 0;
    uint64_t psn = 0;
    kv->ops->iter_seek(iter, key_bytes(&lower_key));
    for (; e == ERR_OK && count < LOG_TRIM_ROWS && kv->ops->iter_valid(iter);
         kv->ops->iter_next(iter), count++) {
        e = key_log_parse(kv->ops->iter_key(iter), &psn);
        if (e == ERR_OK)
            e = kv_batch_delete(apply->batch, KV_LOG, kv->ops->iter_key(iter));
    }
    if (e == ERR_OK && !kv->ops->iter_valid(iter))
        e = kv->ops->iter_err(iter);
    kv->ops->iter_close(iter);
    if (e == ERR_OK)
        *from = count < LOG_TRIM_ROWS ? upper : psn + 1;
    return e;
}

enum err apply_log_trim(struct apply *apply, uint64_t upper, uint64_t first, uint64_t *from)
{
    struct kv_mark mark = kv_batch_mark(apply->batch);
    uint64_t reached = *from;
    enum err e = trim_rows(apply, upper, &reached);
    if (e == ERR_OK && reached > first)
        e = apply_log_first(apply, reached);
    if (e) {
        kv_batch_rollback(apply->batch, mark);
        return e;
    }
    *from = reached;
    return ERR_OK;
}
