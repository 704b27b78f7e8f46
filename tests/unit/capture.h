/*
 * What a command of the tool prints, as JSON: between capture_begin() and capture_end() standard
 * output goes to a file. A failed test leaves by longjmp, so teardowns end it, too.
 */
#ifndef TESTS_UNIT_CAPTURE_H
#define TESTS_UNIT_CAPTURE_H

#include <jansson.h>
#include <stdbool.h>
#include <stdio.h>
#include <unistd.h>

struct capture {
    char path[96]; /* of the file, which is the test's to remove */
    int saved_out;
    bool is_on; /* zeroed: it is not */
};

static inline void capture_begin(struct capture *capture)
{
    fflush(stdout);
    capture->saved_out = dup(STDOUT_FILENO);
    capture->is_on = true;
    assert_non_null(freopen(capture->path, "w", stdout));
}

static inline void capture_end(struct capture *capture)
{
    if (!capture->is_on)
        return;
    fflush(stdout);
    dup2(capture->saved_out, STDOUT_FILENO);
    close(capture->saved_out);
    capture->is_on = false;
}

/* The caller's; NULL: it is none. */
static inline json_t *capture_json(const struct capture *capture)
{
    return json_load_file(capture->path, 0, NULL);
}

#endif
