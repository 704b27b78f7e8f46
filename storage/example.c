/*
 * An example of libsluice: keeps files in a volume and brings them back.
 *
 *     sluice-example DIR put FILE...        stores each file under its name in the bucket "files"
 *     sluice-example DIR get KEY FILE       writes the object to FILE
 *     sluice-example DIR list
 *     sluice-example DIR rm KEY...
 *
 * Build it alone:  cc example.c $(pkg-config --cflags --libs libsluice) -o sluice-example
 */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <sluice.h>

#define BUCKET     "files"
#define PART_BYTES (1u << 20)

static int complain(const char *what, const struct sluice_error *error)
{
    fprintf(stderr, "%s: %s\n", what, error->text);
    return 1;
}

static int put_file(struct sluice *sluice, const char *path)
{
    struct sluice_error error;
    struct sluice_writer *writer;
    FILE *file = fopen(path, "rb");
    if (file == NULL) {
        perror(path);
        return 1;
    }
    const char *slash = strrchr(path, '/');
    const char *key = slash != NULL ? slash + 1 : path;
    char *part = malloc(PART_BYTES);
    if (part == NULL || sluice_writer_open(sluice, BUCKET, key, UINT64_MAX, &writer, &error)) {
        fclose(file);
        free(part);
        return complain(path, &error);
    }
    enum sluice_status status = SLUICE_OK;
    for (size_t size; status == SLUICE_OK && (size = fread(part, 1, PART_BYTES, file)) > 0;)
        status = sluice_writer_write(writer, part, size, &error);
    int failed_reading = ferror(file);
    fclose(file);
    free(part);
    if (status != SLUICE_OK || failed_reading) {
        sluice_writer_abort(writer);
        return failed_reading ? (perror(path), 1) : complain(path, &error);
    }
    struct sluice_stat stat;
    if (sluice_writer_commit(writer, &stat, &error)) /* from here on it is durable */
        return complain(path, &error);
    printf("%s  %" PRIu64 " bytes  etag %s\n", key, stat.size, stat.etag);
    return 0;
}

static int get_file(struct sluice *sluice, const char *key, const char *path)
{
    struct sluice_error error;
    struct sluice_reader *reader;
    if (sluice_reader_open(sluice, BUCKET, key, &reader, NULL, &error))
        return complain(key, &error);
    FILE *file = fopen(path, "wb");
    char *part = malloc(PART_BYTES);
    int failed = file == NULL || part == NULL;
    enum sluice_status status = SLUICE_OK;
    for (size_t size = 1; !failed && size > 0;) {
        status = sluice_reader_read(reader, part, PART_BYTES, &size, &error);
        if (status != SLUICE_OK)
            break;
        failed = fwrite(part, 1, size, file) != size;
    }
    if (file != NULL && fclose(file) != 0)
        failed = 1;
    free(part);
    sluice_reader_close(reader);
    if (status != SLUICE_OK)
        return complain(key, &error);
    if (failed)
        perror(path);
    return failed;
}

static int print_object(void *context, const char *key, size_t key_size,
                        const struct sluice_stat *stat)
{
    (void)context;
    printf("%12" PRIu64 "  %.*s\n", stat->size, (int)key_size, key);
    return 0;
}

static int run(struct sluice *sluice, int argc, char **argv)
{
    struct sluice_error error;
    const char *verb = argv[2];
    int failed = 0;
    if (strcmp(verb, "put") == 0 && argc > 3) {
        for (int i = 3; i < argc; i++)
            failed |= put_file(sluice, argv[i]);
        return failed;
    }
    if (strcmp(verb, "get") == 0 && argc == 5)
        return get_file(sluice, argv[3], argv[4]);
    if (strcmp(verb, "list") == 0 && argc == 3)
        return sluice_list(sluice, BUCKET, NULL, print_object, NULL, &error)
                   ? complain("list", &error)
                   : 0;
    if (strcmp(verb, "rm") == 0 && argc > 3) {
        for (int i = 3; i < argc; i++)
            if (sluice_delete(sluice, BUCKET, argv[i], &error))
                failed = complain(argv[i], &error);
        return failed;
    }
    fprintf(stderr, "usage: %s DIR put FILE... | get KEY FILE | list | rm KEY...\n", argv[0]);
    return 2;
}

int main(int argc, char **argv)
{
    if (argc < 3) {
        fprintf(stderr, "usage: %s DIR put FILE... | get KEY FILE | list | rm KEY...\n", argv[0]);
        return 2;
    }
    struct sluice *sluice;
    struct sluice_error error;
    const struct sluice_options options = {.dir = argv[1], .create = 1};
    if (sluice_open(&options, &sluice, &error))
        return complain(argv[1], &error);
    int status = 1;
    enum sluice_status made = sluice_bucket_create(sluice, BUCKET, &error);
    if (made == SLUICE_OK || made == SLUICE_EXISTS)
        status = run(sluice, argc, argv);
    else
        complain(BUCKET, &error);
    sluice_close(sluice);
    return status;
}
