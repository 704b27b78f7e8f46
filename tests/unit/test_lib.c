/* libsluice as a program uses it: only its public header, a scratch directory, several threads. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>
#include <pthread.h>

#include "storage/sluice.h"

struct fixture {
    char dir[64];
    struct sluice *sluice;
    struct sluice_error error;
};

static void reopen(struct fixture *f)
{
    sluice_close(f->sluice);
    f->sluice = NULL;
    if (sluice_open(&(struct sluice_options){.dir = f->dir, .create = 1, .allow_buffered = 1},
                    &f->sluice, &f->error))
        fail_msg("%s", f->error.text);
}

static int setup(void **state)
{
    struct fixture *f = calloc(1, sizeof *f);
    *state = f;
    snprintf(f->dir, sizeof f->dir, "/var/tmp/sluice-lib-XXXXXX");
    if (mkdtemp(f->dir) == NULL)
        return -1;
    reopen(f);
    return sluice_bucket_create(f->sluice, "photos", &f->error);
}

static int teardown(void **state)
{
    struct fixture *f = *state;
    sluice_close(f->sluice);
    char command[96];
    snprintf(command, sizeof command, "rm -rf %s", f->dir);
    int rc = system(command);
    free(f);
    return rc;
}

static uint8_t *pattern(size_t size, uint32_t seed)
{
    uint8_t *bytes = malloc(size + 1);
    for (size_t i = 0; i < size; i++) {
        seed = seed * 1664525u + 1013904223u;
        bytes[i] = (uint8_t)(seed >> 24);
    }
    return bytes;
}

static const size_t sizes[] = {0, 1, 4095, 8192, 8193, 65536, 65537, 1048576, 1048577, 5000001};

static void bytes_come_back_after_a_reopen(void **state)
{
    struct fixture *f = *state;
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        char key[16];
        snprintf(key, sizeof key, "k%zu", i);
        uint8_t *bytes = pattern(sizes[i], (uint32_t)i);
        struct sluice_stat stat;
        if (sluice_put(f->sluice, "photos", key, bytes, sizes[i], &stat, &f->error))
            fail_msg("%s", f->error.text);
        assert_int_equal(stat.size, sizes[i]);
        free(bytes);
    }
    reopen(f);
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        char key[16];
        snprintf(key, sizeof key, "k%zu", i);
        uint8_t *bytes = pattern(sizes[i], (uint32_t)i), *back = malloc(sizes[i] + 100);
        size_t got = 0;
        if (sluice_get(f->sluice, "photos", key, 0, back, sizes[i] + 100, &got, &f->error))
            fail_msg("%s", f->error.text);
        assert_int_equal(got, sizes[i]);
        assert_memory_equal(back, bytes, sizes[i]);
        free(bytes);
        free(back);
    }
}

static void a_range_is_what_was_asked_for(void **state)
{
    struct fixture *f = *state;
    const size_t size = 3000000;
    uint8_t *bytes = pattern(size, 5), back[100000];
    assert_int_equal(sluice_put(f->sluice, "photos", "r", bytes, size, NULL, &f->error), SLUICE_OK);
    static const size_t offsets[] = {0, 1, 65535, 65536, 1048575, 1048577, 2999999, 3000000};
    for (size_t i = 0; i < sizeof offsets / sizeof *offsets; i++) {
        size_t got = 0, want = size - offsets[i] < sizeof back ? size - offsets[i] : sizeof back;
        assert_int_equal(
            sluice_get(f->sluice, "photos", "r", offsets[i], back, sizeof back, &got, &f->error),
            SLUICE_OK);
        assert_int_equal(got, want);
        assert_memory_equal(back, bytes + offsets[i], want);
    }
    size_t got;
    assert_int_equal(sluice_get(f->sluice, "photos", "r", size + 1, back, 1, &got, &f->error),
                     SLUICE_INVALID);
    free(bytes);
}

static void the_etag_is_the_md5(void **state)
{
    struct fixture *f = *state;
    struct sluice_stat stat;
    assert_int_equal(sluice_put(f->sluice, "photos", "m", "123456789", 9, NULL, &f->error),
                     SLUICE_OK);
    assert_int_equal(sluice_stat(f->sluice, "photos", "m", &stat, &f->error), SLUICE_OK);
    assert_string_equal(stat.etag, "25f9e794323b453885f5181f1b624d0b");
}

static void an_aborted_writer_leaves_nothing(void **state)
{
    struct fixture *f = *state;
    uint8_t *bytes = pattern(2000000, 1);
    struct sluice_writer *writer;
    assert_int_equal(sluice_writer_open(f->sluice, "photos", "w", UINT64_MAX, &writer, &f->error),
                     SLUICE_OK);
    assert_int_equal(sluice_writer_write(writer, bytes, 2000000, &f->error), SLUICE_OK);
    sluice_writer_abort(writer);
    struct sluice_stat stat;
    assert_int_equal(sluice_stat(f->sluice, "photos", "w", &stat, &f->error), SLUICE_NOT_FOUND);
    assert_int_equal(sluice_bucket_delete(f->sluice, "photos", &f->error), SLUICE_OK);
    free(bytes);
}

static void fewer_or_more_bytes_than_announced_are_refused(void **state)
{
    struct fixture *f = *state;
    struct sluice_writer *writer;
    assert_int_equal(sluice_writer_open(f->sluice, "photos", "w", 10, &writer, &f->error),
                     SLUICE_OK);
    assert_int_equal(sluice_writer_write(writer, "123456789", 9, &f->error), SLUICE_OK);
    assert_int_equal(sluice_writer_commit(writer, NULL, &f->error), SLUICE_INVALID);
    assert_int_equal(sluice_writer_open(f->sluice, "photos", "w", 8, &writer, &f->error),
                     SLUICE_OK);
    assert_int_equal(sluice_writer_write(writer, "123456789", 9, &f->error), SLUICE_INVALID);
    sluice_writer_abort(writer);
}

static void a_reader_keeps_what_it_opened(void **state)
{
    struct fixture *f = *state;
    const size_t size = 3000000;
    uint8_t *old = pattern(size, 1), *new = pattern(size, 2), *back = malloc(size);
    assert_int_equal(sluice_put(f->sluice, "photos", "v", old, size, NULL, &f->error), SLUICE_OK);
    struct sluice_reader *reader;
    assert_int_equal(sluice_reader_open(f->sluice, "photos", "v", &reader, NULL, &f->error),
                     SLUICE_OK);
    /* Overwritten often enough that freed space would be used again if it were free. */
    for (int i = 0; i < 50; i++)
        assert_int_equal(sluice_put(f->sluice, "photos", "v", new, size, NULL, &f->error),
                         SLUICE_OK);
    size_t got;
    assert_int_equal(sluice_reader_read(reader, back, size, &got, &f->error), SLUICE_OK);
    assert_int_equal(got, size);
    assert_memory_equal(back, old, size);
    sluice_reader_close(reader);
    free(old);
    free(new);
    free(back);
}

/* ---- listing ---- */

struct seen {
    char text[512];
};

static int note(void *context, const char *key, size_t key_size, const struct sluice_stat *stat)
{
    struct seen *seen = context;
    assert_int_equal(strlen(key), key_size);
    strcat(seen->text, key);
    strcat(seen->text, stat != NULL ? " " : "* ");
    return 0;
}

static void a_listing_folds_at_the_delimiter(void **state)
{
    struct fixture *f = *state;
    static const char *const keys[] = {"a/1", "a/2", "b", "c/1", "c/d/1", "d"};
    for (size_t i = 0; i < sizeof keys / sizeof *keys; i++)
        assert_int_equal(sluice_put(f->sluice, "photos", keys[i], "x", 1, NULL, &f->error),
                         SLUICE_OK);
    struct seen all = {{0}}, folded = {{0}}, below = {{0}};
    assert_int_equal(sluice_list(f->sluice, "photos", NULL, note, &all, &f->error), SLUICE_OK);
    assert_string_equal(all.text, "a/1 a/2 b c/1 c/d/1 d ");
    assert_int_equal(sluice_list(f->sluice, "photos",
                                 &(struct sluice_list_options){.delimiter = "/"}, note, &folded,
                                 &f->error),
                     SLUICE_OK);
    assert_string_equal(folded.text, "a/* b c/* d ");
    assert_int_equal(sluice_list(f->sluice, "photos",
                                 &(struct sluice_list_options){.prefix = "c/", .delimiter = "/"},
                                 note, &below, &f->error),
                     SLUICE_OK);
    assert_string_equal(below.text, "c/1 c/d/* ");
}

/* ---- threads ---- */

struct worker {
    struct sluice *sluice;
    unsigned number;
    int failures;
};

static void *work(void *context)
{
    struct worker *worker = context;
    for (unsigned i = 0; i < 20; i++) {
        char key[32];
        snprintf(key, sizeof key, "t%u/%u", worker->number, i);
        size_t size = 1000 + 40000 * (size_t)(i % 4), got = 0;
        uint8_t *bytes = pattern(size, worker->number * 100 + i), *back = malloc(size);
        worker->failures += sluice_put(worker->sluice, "photos", key, bytes, size, NULL, NULL) != 0;
        worker->failures +=
            sluice_get(worker->sluice, "photos", key, 0, back, size, &got, NULL) != 0;
        worker->failures += got != size || memcmp(bytes, back, size) != 0;
        if (i % 3 == 0)
            worker->failures += sluice_delete(worker->sluice, "photos", key, NULL) != 0;
        free(bytes);
        free(back);
    }
    return NULL;
}

static void threads_do_not_meet(void **state)
{
    struct fixture *f = *state;
    pthread_t threads[8];
    struct worker workers[8];
    for (unsigned i = 0; i < 8; i++) {
        workers[i] = (struct worker){f->sluice, i, 0};
        assert_int_equal(pthread_create(&threads[i], NULL, work, &workers[i]), 0);
    }
    for (unsigned i = 0; i < 8; i++) {
        pthread_join(threads[i], NULL);
        assert_int_equal(workers[i].failures, 0);
    }
}

static void what_is_wrong_is_said(void **state)
{
    struct fixture *f = *state;
    struct sluice_stat stat;
    assert_int_equal(sluice_stat(f->sluice, "nowhere", "k", &stat, &f->error), SLUICE_NOT_FOUND);
    assert_non_null(strstr(f->error.text, "nowhere"));
    assert_int_equal(sluice_bucket_create(f->sluice, "Bad_Name", &f->error), SLUICE_INVALID);
    assert_int_equal(sluice_bucket_create(f->sluice, "photos", &f->error), SLUICE_EXISTS);
    struct sluice *second;
    assert_int_equal(sluice_open(&(struct sluice_options){.dir = f->dir, .allow_buffered = 1},
                                 &second, &f->error),
                     SLUICE_BUSY);
}

#define ON_A_VOLUME(test) cmocka_unit_test_setup_teardown(test, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        ON_A_VOLUME(bytes_come_back_after_a_reopen),
        ON_A_VOLUME(a_range_is_what_was_asked_for),
        ON_A_VOLUME(the_etag_is_the_md5),
        ON_A_VOLUME(an_aborted_writer_leaves_nothing),
        ON_A_VOLUME(fewer_or_more_bytes_than_announced_are_refused),
        ON_A_VOLUME(a_reader_keeps_what_it_opened),
        ON_A_VOLUME(a_listing_folds_at_the_delimiter),
        ON_A_VOLUME(threads_do_not_meet),
        ON_A_VOLUME(what_is_wrong_is_said),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
