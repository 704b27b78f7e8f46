/*
 * A doubly linked list through a member of its elements. The head is a struct list too, so
 * insertion and removal have no cases. An element that is in no list has both pointers NULL:
 * list_remove() of such a one does nothing.
 */
#ifndef BASE_LIST_H
#define BASE_LIST_H

#include <stdbool.h>
#include <stddef.h>

#include "base/check.h"

struct list {
    struct list *next, *prev;
};

static inline void list_init(struct list *head)
{
    head->next = head->prev = head;
}
static inline bool list_is_empty(const struct list *head)
{
    return head->next == head;
}
static inline bool list_is_linked(const struct list *node)
{
    return node->next != NULL;
}
static inline void list_push_back(struct list *head, struct list *node)
{
    CHECK(!list_is_linked(node));
    node->prev = head->prev, node->next = head;
    head->prev->next = node, head->prev = node;
}
static inline void list_push_front(struct list *head, struct list *node)
{
    list_push_back(head->next, node); /* behind the head is before its first element */
}
static inline void list_remove(struct list *node)
{
    if (!list_is_linked(node))
        return;
    node->prev->next = node->next, node->next->prev = node->prev;
    node->next = node->prev = NULL;
}
static inline struct list *list_first(struct list *head)
{
    return list_is_empty(head) ? NULL : head->next;
}
static inline struct list *list_pop_front(struct list *head)
{
    struct list *node = list_first(head);
    if (node)
        list_remove(node);
    return node;
}
/* Moves every element of `from` behind those of `to`. */
static inline void list_splice_back(struct list *to, struct list *from)
{
    if (list_is_empty(from))
        return;
    from->next->prev = to->prev, to->prev->next = from->next;
    from->prev->next = to, to->prev = from->prev;
    list_init(from);
}

#define LIST_ENTRY(node, type, member) CONTAINER_OF(node, type, member)
/* The loop body may remove `node`. */
#define LIST_EACH(head, node)                                                                      \
    for (struct list *node = (head)->next, *node##_next = node->next; node != (head);              \
         node = node##_next, node##_next = node->next)

#endif
