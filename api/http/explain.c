#include "api/http/explain.h"

#include <errno.h>
#include <semaphore.h>

#include "api/http/conn.h"

struct question {
    struct loop_msg msg;
    struct worker *worker;
    struct path_send send; /* as a response's would be, as far as facts are found from it */
    struct path_facts *facts;
    enum err err;
    sem_t answered;
};

static void answer(struct loop_msg *msg)
{
    struct question *question = CONTAINER_OF(msg, struct question, msg);
    question->err = respond__find_facts(question->worker, &question->send, question->facts);
    CHECK(sem_post(&question->answered) == 0);
}

unsigned http_worker_count(const struct http_server *server)
{
    return server->worker_count;
}

enum err http_explain(struct http_server *server, struct read_plan *plan,
                      const struct path_policy *policy, bool is_hot, struct path_facts *facts)
{
    enum err e = ERR_OK;
    for (unsigned i = 0; i < server->worker_count && !e; i++) {
        struct worker *worker = &server->workers[i];
        struct question question = {
            .msg = {.deliver = answer},
            .worker = worker,
            .send = {.loop = worker->loop,
                     .verified = worker->verified,
                     .plan = plan,
                     .is_hot = is_hot,
                     .policy = *policy},
            .facts = &facts[i],
        };
        CHECK(sem_init(&question.answered, 0, 0) == 0);
        loop_post(worker->loop, &question.msg);
        while (sem_wait(&question.answered) != 0) /* loops turn as long as the server is open */
            CHECK(errno == EINTR);
        CHECK(sem_destroy(&question.answered) == 0);
        e = question.err;
    }
    return e;
}
