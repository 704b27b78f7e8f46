/* The configuration record's encoding. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "replication/register.h"

static const struct config_record sample = {
    .epoch = 9,
    .term = 7,
    .members = 1,
    .primary = {1, 2, 3},
    .nonce = {4, 5, 6},
};

static void a_record_comes_back_as_it_was(void **state)
{
    (void)state;
    uint8_t bytes[CONFIG_RECORD_BYTES];
    config_record_encode(&sample, bytes);
    struct config_record back;
    assert_int_equal(config_record_decode(bytes_of(bytes, sizeof bytes), &back), ERR_OK);
    assert_memory_equal(&back, &sample, sizeof sample);
}

static void any_flipped_bit_is_seen(void **state)
{
    (void)state;
    uint8_t bytes[CONFIG_RECORD_BYTES];
    config_record_encode(&sample, bytes);
    for (size_t bit = 0; bit < 8 * sizeof bytes; bit++) {
        bytes[bit / 8] ^= (uint8_t)(1u << bit % 8);
        struct config_record back;
        assert_int_equal(err_family(config_record_decode(bytes_of(bytes, sizeof bytes), &back)),
                         FAM_DATA);
        bytes[bit / 8] ^= (uint8_t)(1u << bit % 8);
    }
}

static void a_record_of_another_size_is_refused(void **state)
{
    (void)state;
    uint8_t bytes[CONFIG_RECORD_BYTES + 1] = {0};
    config_record_encode(&sample, bytes);
    struct config_record back;
    for (size_t size = 0; size <= sizeof bytes; size++)
        if (size != CONFIG_RECORD_BYTES)
            assert_int_equal(config_record_decode(bytes_of(bytes, size), &back), ERR_CORRUPT);
}

static void a_term_beyond_the_epoch_is_refused(void **state)
{
    (void)state;
    struct config_record wrong = sample;
    wrong.term = wrong.epoch + 1;
    uint8_t bytes[CONFIG_RECORD_BYTES];
    config_record_encode(&wrong, bytes);
    struct config_record back;
    assert_int_equal(config_record_decode(bytes_of(bytes, sizeof bytes), &back), ERR_CORRUPT);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_record_comes_back_as_it_was),
        cmocka_unit_test(any_flipped_bit_is_seen),
        cmocka_unit_test(a_record_of_another_size_is_refused),
        cmocka_unit_test(a_term_beyond_the_epoch_is_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
