#include "api/s3/variant.h"

#include "api/s3/meta.h"
#include "api/s3/object_headers.h"
#include "api/s3/service_priv.h"

static const struct bytes suffix = {".gz", 3};

/* ---- Accept-Encoding ---- */

/* "0.5" in thousandths; a weight that is none is 0: what cannot be read is not relied on. */
static unsigned weight_parse(struct bytes text)
{
    unsigned weight = 0, place = 1000;
    if (text.size == 0 || text.size > 5 || (text.data[0] != '0' && text.data[0] != '1'))
        return 0;
    for (size_t i = 0; i < text.size; i++) {
        if (i == 1 ? text.data[i] != '.' : text.data[i] < '0' || text.data[i] > '9')
            return 0;
        if (i == 1)
            continue;
        weight += (unsigned)(text.data[i] - '0') * place;
        place /= 10;
    }
    return weight <= 1000 ? weight : 0;
}

/* Takes "gzip;q=0.5" apart. */
static unsigned weight_of(struct bytes item, struct bytes *ret_coding)
{
    struct bytes rest = item;
    *ret_coding = bytes_trim(bytes_split(&rest, ';'));
    if (rest.data == NULL)
        return 1000;
    rest = bytes_trim(rest);
    if (!bytes_start_with_nocase(rest, BYTES("q=")))
        return 0;
    return weight_parse(bytes_slice(rest, 2, SIZE_MAX));
}

bool s3_accepts_gzip(struct bytes accept_encoding)
{
    unsigned gzip = 0, identity = 0;
    while (accept_encoding.data != NULL) {
        struct bytes coding;
        unsigned weight = weight_of(bytes_split(&accept_encoding, ','), &coding);
        if (bytes_equal_nocase(coding, BYTES("gzip")) ||
            bytes_equal_nocase(coding, BYTES("x-gzip")))
            gzip = weight > gzip ? weight : gzip;
        else if (bytes_equal_nocase(coding, BYTES("identity")))
            identity = weight;
    }
    return gzip > 0 && gzip >= identity;
}

/* ---- variants ---- */

static bool bucket_has_them(const struct s3_service *service, struct bytes bucket)
{
    for (size_t i = 0; i < service->gzip_bucket_count; i++) {
        struct bytes name = bytes_of_string(service->gzip_buckets[i]);
        if (bytes_equal(name, BYTES("*")) || bytes_equal(name, bucket))
            return true;
    }
    return false;
}

bool s3_variant_may_be(const struct s3_request *r)
{
    return r->service->gzip_bucket_count > 0 && r->key.size + suffix.size <= KEY_BYTES_MAX &&
           !bytes_end_with(r->key, suffix) && bucket_has_them(r->service, r->bucket_name);
}

bool s3_variant_is_wanted(const struct s3_request *r, const struct object_info *original)
{
    return s3_accepts_gzip(s3_header(r, "accept-encoding")) &&
           s3_attr(r, original, "Content-Encoding").data == NULL; /* it is encoded as it is */
}

bool s3_variant_begin(struct s3_request *r, struct s3_variant *variant)
{
    struct buf key = BUF_ON(variant->key);
    buf_put(&key, r->key);
    buf_put(&key, suffix);
    CHECK(!key.overflowed);
    return s3_lookup_begin(r, &variant->lookup, r->bucket.id, buf_bytes(&key));
}

enum err s3_variant_end(struct s3_variant *variant, const struct object_info *original,
                        bool *ret_serves)
{
    enum err e = s3_lookup_end(&variant->lookup);
    *ret_serves =
        e == ERR_OK && object_info(variant->lookup.object)->mtime_ns >= original->mtime_ns;
    return err_family(e) == FAM_ABSENT ? ERR_OK : e;
}
