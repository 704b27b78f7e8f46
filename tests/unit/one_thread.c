/*
 * Linked with the tests that are said to start no thread ('one_thread' in meson.build), which TSan
 * therefore does not run: the day one of them does, all its runs fail.
 */
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>

int pthread_create(pthread_t *thread, const pthread_attr_t *attributes, void *(*start)(void *),
                   void *argument)
{
    (void)thread, (void)attributes, (void)start, (void)argument;
    fputs("this test starts a thread: it is no 'one_thread' in its meson.build\n", stderr);
    abort();
}
