#include "rep_tree.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>

#include "tree_parts.h"

struct rep_tree {
    uint64_t tree_id;
    pthread_mutex_t mutex;
    pthread_cond_t changed;
    bool closed;
    int inside;
    int waiting;    /* passes and closers asleep: no broadcast when nobody listens */
    rep_pass *head; /* in the order of asking, waiting ones included */
    rep_pass *tail;
};

int rep_tree_new(uint64_t tree_id, rep_tree **out)
{
    rep_tree *tree = calloc(1, sizeof *tree);
    if (!tree)
        return -ENOMEM;
    tree->tree_id = tree_id;
    int failed = pthread_mutex_init(&tree->mutex, NULL);
    if (failed) {
        free(tree);
        return -failed;
    }
    failed = rep_wait_cond_init(&tree->changed);
    if (failed) {
        pthread_mutex_destroy(&tree->mutex);
        free(tree);
        return failed;
    }
    *out = tree;
    return 0;
}

void rep_tree_free(rep_tree *tree)
{
    if (!tree)
        return;
    pthread_cond_destroy(&tree->changed);
    pthread_mutex_destroy(&tree->mutex);
    free(tree);
}

uint64_t rep_tree_id(const rep_tree *tree)
{
    return tree->tree_id;
}

static void append(rep_tree *tree, rep_pass *pass)
{
    pass->tree = tree;
    pass->inside = false;
    pass->next = NULL;
    pass->previous = tree->tail;
    if (tree->tail)
        tree->tail->next = pass;
    else
        tree->head = pass;
    tree->tail = pass;
}

static void take_out(rep_tree *tree, rep_pass *pass)
{
    if (pass->previous)
        pass->previous->next = pass->next;
    else
        tree->head = pass->next;
    if (pass->next)
        pass->next->previous = pass->previous;
    else
        tree->tail = pass->previous;
    if (tree->waiting)
        pthread_cond_broadcast(&tree->changed);
}

/* An earlier pass on the same bytes, inside or waiting: waiting ones count, or a stream of short
 * passes would starve a long one. */
static bool blocked(const rep_tree *tree, const rep_pass *pass)
{
    if (tree->closed)
        return true;
    for (const rep_pass *p = pass->previous; p; p = p->previous)
        if (p->first < pass->end && pass->first < p->end)
            return true;
    return false;
}

static int wait_changed(rep_tree *tree, uint64_t deadline_ns, rep_wake *wake)
{
    tree->waiting++;
    int rc = rep_wait_on(&tree->changed, &tree->mutex, deadline_ns, wake);
    tree->waiting--;
    return rc;
}

/* One try in the tree that `where` named a moment ago: 0 inside, 1 the volume has moved. */
static int enter_one(_Atomic(rep_tree *) *where, rep_tree *tree, rep_pass *pass,
                     uint64_t deadline_ns, rep_wake *wake)
{
    int rc = 0;
    pthread_mutex_lock(&tree->mutex);
    append(tree, pass);
    while (atomic_load(where) == tree && blocked(tree, pass)) {
        rc = wait_changed(tree, deadline_ns, wake);
        if (rc)
            break;
    }
    if (!rc && atomic_load(where) != tree)
        rc = 1;
    if (rc) {
        take_out(tree, pass);
    } else {
        pass->inside = true;
        pass->others = tree->inside + tree->waiting;
        tree->inside++;
    }
    pthread_mutex_unlock(&tree->mutex);
    return rc;
}

int rep_tree_enter(_Atomic(rep_tree *) *where, rep_pass *pass, uint64_t offset, uint64_t length,
                   uint64_t deadline_ns, rep_wake *wake)
{
    int rc;
    pass->first = offset;
    pass->end = offset + length;
    do
        rc = enter_one(where, atomic_load(where), pass, deadline_ns, wake);
    while (rc == 1);
    return rc;
}

void rep_tree_exit(rep_pass *pass)
{
    rep_tree *tree = pass->tree;
    pthread_mutex_lock(&tree->mutex);
    tree->inside--;
    take_out(tree, pass);
    pthread_mutex_unlock(&tree->mutex);
}

static int close_one(rep_tree *tree, uint64_t deadline_ns, rep_wake *wake)
{
    int rc = 0;
    pthread_mutex_lock(&tree->mutex);
    while (!rc && tree->closed)
        rc = wait_changed(tree, deadline_ns, wake);
    if (!rc) {
        tree->closed = true;
        while (!rc && tree->inside)
            rc = wait_changed(tree, deadline_ns, wake);
        if (rc) {
            tree->closed = false;
            pthread_cond_broadcast(&tree->changed);
        }
    }
    pthread_mutex_unlock(&tree->mutex);
    return rc;
}

static int by_id(const void *a, const void *b)
{
    uint64_t left = (*(rep_tree *const *)a)->tree_id;
    uint64_t right = (*(rep_tree *const *)b)->tree_id;
    return left < right ? -1 : left > right;
}

int rep_tree_close_all(rep_tree **trees, int count, uint64_t deadline_ns, rep_wake *wake)
{
    int distinct = 0;
    qsort(trees, (size_t)count, sizeof *trees, by_id);
    for (int i = 0; i < count; i++)
        if (!distinct || trees[distinct - 1] != trees[i])
            trees[distinct++] = trees[i];
    for (int i = 0; i < distinct; i++) {
        int rc = close_one(trees[i], deadline_ns, wake);
        if (rc) {
            rep_tree_open_all(trees, i);
            return rc;
        }
    }
    return distinct;
}

void rep_tree_open_all(rep_tree *const *trees, int count)
{
    for (int i = count - 1; i >= 0; i--) {
        pthread_mutex_lock(&trees[i]->mutex);
        trees[i]->closed = false;
        pthread_cond_broadcast(&trees[i]->changed);
        pthread_mutex_unlock(&trees[i]->mutex);
    }
}
