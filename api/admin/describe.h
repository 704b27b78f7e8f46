/*
 * What there is to say about a node's parts, as JSON: the same words whether the admin port says
 * them of a running node or the `sluice` tool of a volume that nobody serves. Everything returned
 * is a new reference; NULL when memory ran out.
 *
 * Text that came from clients may be any bytes and JSON is UTF-8: "key" is there when the bytes are
 * UTF-8, else "key_hex".
 */
#ifndef API_ADMIN_DESCRIBE_H
#define API_ADMIN_DESCRIBE_H

#include <jansson.h>

#include "api/http/path.h"
#include "api/s3/bucket_settings.h"
#include "api/s3/keyring.h"
#include "storage/volume.h"

json_t *describe_volume(struct volume *volume);
json_t *describe_key(const struct access_key *key); /* with the secret when the struct has one */
json_t *describe_bucket(const struct bucket_info *bucket, const struct bucket_policy *policy);
/* The path a GET would take, from the facts of each worker, and why; the words are for the
 * first. */
json_t *describe_paths(const struct path_facts *facts, unsigned worker_count,
                       const struct path_policy *policy);
json_t *describe_error(enum err e, const char *message, const char *hint); /* hint may be NULL */

#define EXTENTS_PAGE_MAX 10000u
/* One page: {"extents": [...], "next": {"segment", "unit"} or null}. With `one_segment` it ends
 * with the segment it began in. */
struct describe_page {
    uint32_t segment, unit, max;
    bool one_segment;
};
enum err describe_extents(struct volume *volume, const struct describe_page *page,
                          json_t **ret_json) MUST_USE;
enum err describe_map(struct volume *volume, json_t **ret_json) MUST_USE;
/* The record; `with_extents`: also where its bytes lie. ERR_NO_SUCH_BUCKET, ERR_NO_SUCH_OBJECT. */
enum describe_depth { DESCRIBE_RECORD, DESCRIBE_EXTENTS };
enum err describe_object(struct volume *volume, struct bytes bucket, struct bytes key,
                         enum describe_depth depth, json_t **ret_json) MUST_USE;

#endif
