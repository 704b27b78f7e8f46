/*
 * What a GET of an object would find if it came now: the facts path_choose() decides from, as each
 * worker knows them. Workers differ: which pages were checked is remembered by each for itself, and
 * a connection is whichever worker's accepted it.
 */
#ifndef API_HTTP_EXPLAIN_H
#define API_HTTP_EXPLAIN_H

#include "api/http/http.h"
#include "api/http/path.h"

/* B, any thread but a worker's: asks each worker, in turn. For a plaintext connection. `facts` has
 * room for one each. ERR_WOULD_BLOCK: the layout is on the disk; read_plan_load() first. The plan
 * is only looked at. */
enum err http_explain(struct http_server *server, struct read_plan *plan,
                      const struct path_policy *policy, bool is_hot,
                      struct path_facts *facts) MUST_USE;
unsigned http_worker_count(const struct http_server *server);

#endif
