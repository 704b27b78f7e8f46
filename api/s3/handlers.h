/* The operations, one function each: called by the service once the request is signed, permitted
 * and its bucket is known. */
#ifndef API_S3_HANDLERS_H
#define API_S3_HANDLERS_H

#include "api/s3/routes.h"

/* buckets.c */
s3_handler_fn s3_list_buckets, s3_create_bucket, s3_head_bucket, s3_delete_bucket;
s3_handler_fn s3_get_bucket_location, s3_get_bucket_versioning;
/* acl.c: what a store without ACLs and tags answers truthfully to clients that ask anyway */
s3_handler_fn s3_get_bucket_acl, s3_get_object_acl, s3_get_object_tagging, s3_preflight;
/* list.c */
s3_handler_fn s3_list_objects, s3_list_objects_v2, s3_list_object_versions;
/* put.c, upload_part.c */
s3_handler_fn s3_put_object, s3_upload_part;
/* get.c */
s3_handler_fn s3_get_object, s3_head_object;
/* delete.c, delete_many.c */
s3_handler_fn s3_delete_object, s3_delete_objects;
/* copy.c, copy_part.c */
s3_handler_fn s3_copy_object, s3_upload_part_copy;
/* multipart.c, complete.c, list_uploads.c */
s3_handler_fn s3_create_upload, s3_abort_upload, s3_complete_upload, s3_list_parts, s3_list_uploads;
/* attributes.c */
s3_handler_fn s3_get_object_attributes;
/* post_form.c */
s3_handler_fn s3_post_object;

#endif
