/* The documents clients send, thrown at all three readers. */
#include <stddef.h>
#include <stdint.h>

#include "api/s3/xml.h"
#include "base/check.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct bytes document = bytes_of(data, size);
    struct xml_complete complete;
    if (xml_read_complete(document, &complete) == ERR_OK) {
        CHECK(complete.count > 0 && complete.count <= PARTS_MAX);
        for (size_t i = 0; i < complete.count; i++)
            CHECK(complete.parts[i].number > 0 && complete.parts[i].etag.size > 0);
        xml_complete_free(&complete);
    }
    struct xml_delete delete;
    if (xml_read_delete(document, &delete) == ERR_OK) {
        CHECK(delete.count > 0 && delete.count <= DELETE_KEYS_MAX);
        struct text_buf out = {0};
        for (size_t i = 0; i < delete.count; i++)
            xml_put_element(&out, "Key", delete.keys[i].key);
        text_free(&out);
        xml_delete_free(&delete);
    }
    char region[32];
    (void)xml_read_create_bucket(document, region);
    return 0;
}
