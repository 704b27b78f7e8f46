#include "api/s3/checksum.h"

#include "base/check.h"

#define ROW(kind, text, lower, whole, parts)                                                       \
    {                                                                                              \
        S3_CHECKSUM_ALGORITHM(kind), text, "x-amz-checksum-" lower, "Checksum" text, whole, parts  \
    }

const struct s3_checksum_name s3_checksum_names[S3_CHECKSUM_COUNT] = {
    ROW(DIGEST_CRC32, "CRC32", "crc32", true, true),
    ROW(DIGEST_CRC32C, "CRC32C", "crc32c", true, true),
    ROW(DIGEST_CRC64NVME, "CRC64NVME", "crc64nvme", true, false),
    ROW(DIGEST_SHA1, "SHA1", "sha1", false, true),
    ROW(DIGEST_SHA256, "SHA256", "sha256", false, true),
};

const struct s3_checksum_name *s3_checksum_name(uint8_t algorithm)
{
    for (size_t i = 0; i < S3_CHECKSUM_COUNT; i++)
        if (s3_checksum_names[i].algorithm == algorithm)
            return &s3_checksum_names[i];
    return NULL;
}

const struct s3_checksum_name *s3_checksum_by_name(struct bytes name)
{
    for (size_t i = 0; i < S3_CHECKSUM_COUNT; i++)
        if (bytes_equal_nocase(name, bytes_of_string(s3_checksum_names[i].name)))
            return &s3_checksum_names[i];
    return NULL;
}

const struct s3_checksum_name *s3_checksum_by_header(struct bytes header)
{
    if (!bytes_start_with_nocase(header, BYTES("x-amz-checksum-")))
        return NULL;
    for (size_t i = 0; i < S3_CHECKSUM_COUNT; i++)
        if (bytes_equal_nocase(header, bytes_of_string(s3_checksum_names[i].header)))
            return &s3_checksum_names[i];
    return NULL;
}

bool s3_checksum_parse(uint8_t algorithm, struct bytes base64, struct checksum *ret_checksum)
{
    CHECK(s3_checksum_name(algorithm) != NULL);
    struct checksum checksum = {.algorithm = algorithm};
    size_t size;
    if (base64_decode(bytes_trim(base64), checksum.value, sizeof checksum.value, &size) ||
        size != digest_size_bytes(s3_checksum_digest(algorithm)))
        return false;
    checksum.size = (uint8_t)size;
    *ret_checksum = checksum;
    return true;
}

bool s3_checksum_from_headers(const struct s3_headers *headers, struct checksum *ret_checksum)
{
    struct checksum found = {0};
    for (size_t i = 0; i < headers->count; i++) {
        const struct s3_checksum_name *name = s3_checksum_by_header(headers->at[i].name);
        if (name == NULL)
            continue;
        if (found.algorithm != 0 ||
            !s3_checksum_parse(name->algorithm, headers->at[i].value, &found))
            return false;
    }
    *ret_checksum = found;
    return true;
}

bool s3_checksum_equal(const struct checksum *a, const struct checksum *b)
{
    return a->algorithm == b->algorithm && a->size == b->size &&
           memcmp(a->value, b->value, a->size) == 0;
}

const char *s3_checksum_type_name(uint8_t type)
{
    return type == S3_CHECKSUM_COMPOSITE ? "COMPOSITE" : "FULL_OBJECT";
}

bool s3_checksum_type_parse(struct bytes text, uint8_t *ret_type)
{
    for (uint8_t type = S3_CHECKSUM_FULL_OBJECT; type <= S3_CHECKSUM_COMPOSITE; type++)
        if (bytes_equal_nocase(bytes_trim(text), bytes_of_string(s3_checksum_type_name(type)))) {
            *ret_type = type;
            return true;
        }
    return false;
}

uint8_t s3_checksum_type_default(uint8_t algorithm)
{
    const struct s3_checksum_name *name = s3_checksum_name(algorithm);
    return name != NULL && name->may_be_composite ? S3_CHECKSUM_COMPOSITE : S3_CHECKSUM_FULL_OBJECT;
}

bool s3_checksum_type_fits(uint8_t algorithm, uint8_t type)
{
    const struct s3_checksum_name *name = s3_checksum_name(algorithm);
    return name != NULL &&
           (type == S3_CHECKSUM_COMPOSITE ? name->may_be_composite : name->may_be_full);
}

/* ---- the whole object's ---- */

void s3_checksum_whole_init(struct s3_checksum_whole *whole, const struct checksum *wanted)
{
    CHECK(s3_checksum_type_fits(wanted->algorithm, wanted->type));
    *whole = (struct s3_checksum_whole){.checksum = *wanted, .is_empty = true};
    if (wanted->type == S3_CHECKSUM_COMPOSITE)
        CHECK(digest_init(&whole->digest, s3_checksum_digest(wanted->algorithm)) == ERR_OK);
}

void s3_checksum_whole_add(struct s3_checksum_whole *whole, const struct checksum *part,
                           uint64_t part_size)
{
    CHECK(part->algorithm == whole->checksum.algorithm);
    if (whole->checksum.type == S3_CHECKSUM_COMPOSITE) {
        digest_update(&whole->digest, part->value, part->size);
        return;
    }
    enum digest_kind kind = s3_checksum_digest(part->algorithm);
    uint64_t crc = digest_crc_value(kind, part->value);
    whole->crc = whole->is_empty ? crc : digest_crc_combine(kind, whole->crc, crc, part_size);
    whole->is_empty = false;
}

void s3_checksum_whole_final(struct s3_checksum_whole *whole, struct checksum *ret_checksum)
{
    enum digest_kind kind = s3_checksum_digest(whole->checksum.algorithm);
    whole->checksum.size = (uint8_t)digest_size_bytes(kind);
    if (whole->checksum.type == S3_CHECKSUM_COMPOSITE)
        digest_final(&whole->digest, whole->checksum.value);
    else
        digest_crc_bytes(kind, whole->crc, whole->checksum.value);
    *ret_checksum = whole->checksum;
}

bool s3_content_md5_parse(struct bytes text, uint8_t md5[16])
{
    size_t size;
    return base64_decode(bytes_trim(text), md5, 16, &size) == ERR_OK && size == 16;
}
