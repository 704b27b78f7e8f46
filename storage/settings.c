/* Settings of the layers above: small named values among the volume's own in KV_SYS, apart from
 * them by a prefix. */
#include "storage/keys.h"
#include "storage/records.h"
#include "storage/volume_priv.h"

enum err volume_setting(struct volume *volume, struct bytes name, uint8_t *out, size_t out_max,
                        size_t *ret_size)
{
    enum err e = volume__index_usable(volume);
    if (e)
        return e;
    if (name.size > SETTING_NAME_BYTES_MAX)
        return ERR_NO_SUCH_KEY_ID;
    struct kv_key key;
    struct kv_value value;
    struct bytes setting;
    key_setting(&key, name);
    e = volume->kv->ops->get(volume->kv, KV_SYS, key_bytes(&key), KV_ANY, &value);
    if (e)
        return e == ERR_NO_SUCH_OBJECT ? ERR_NO_SUCH_KEY_ID : e;
    e = record_setting_get(value.bytes, &setting);
    if (e == ERR_OK && setting.size > out_max)
        e = ERR_TOO_LARGE;
    if (e == ERR_OK) {
        if (setting.size > 0)
            memcpy(out, setting.data, setting.size);
        *ret_size = setting.size;
    }
    volume->kv->ops->value_put(&value);
    return e;
}

enum err volume_settings(struct volume *volume, struct bytes prefix, setting_each_fn *each,
                         void *context)
{
    enum err e = volume__index_usable(volume);
    if (e)
        return e;
    if (prefix.size > SETTING_NAME_BYTES_MAX)
        return ERR_OK;
    struct kv *kv = volume->kv;
    struct kv_key lower, upper;
    struct kv_iter *iter;
    key_setting(&lower, prefix);
    upper = lower;
    key_successor(&upper);
    struct kv_iter_options options = {
        .family = KV_SYS, .lower = key_bytes(&lower), .upper = key_bytes(&upper)};
    e = kv->ops->iter_open(kv, &options, &iter);
    if (e)
        return e;
    for (kv->ops->iter_seek(iter, key_bytes(&lower)); e == ERR_OK && kv->ops->iter_valid(iter);
         kv->ops->iter_next(iter)) {
        struct bytes value;
        e = record_setting_get(kv->ops->iter_value(iter), &value);
        if (e == ERR_OK)
            e = each(context,
                     bytes_slice(kv->ops->iter_key(iter), KEY_SETTING_PREFIX.size, SIZE_MAX),
                     value);
    }
    if (e == ERR_OK)
        e = kv->ops->iter_err(iter);
    kv->ops->iter_close(iter);
    return e;
}
