/* Passes and gates: what the files of the write path ask of a tree. Not a public header.
 *
 * Threads and the order of locks: rep_tree.h. */
#ifndef REP_TREE_PARTS_H
#define REP_TREE_PARTS_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "rep_tree.h"
#include "rep_wait.h"

/* A place inside a tree. Lives on the caller's stack from enter to exit. */
typedef struct rep_pass {
    rep_tree *tree;
    uint64_t first; /* bytes [first, end) */
    uint64_t end;
    bool inside;
    int others; /* passes inside or asleep when this one entered */
    struct rep_pass *previous;
    struct rep_pass *next;
} rep_pass;

uint64_t rep_tree_id(const rep_tree *tree);

/* Enters the tree that `where` points to (it may change while waiting, when trees are joined) on
 * the bytes [offset, offset+length). 0; -ETIMEDOUT or -ECANCELED: not inside, nothing changed. */
int rep_tree_enter(_Atomic(rep_tree *) *where, rep_pass *pass, uint64_t offset, uint64_t length,
                   uint64_t deadline_ns, rep_wake *wake);
void rep_tree_exit(rep_pass *pass);

/* Closes the gates of `count` distinct trees in the order of their ids and waits until nobody is
 * inside. On failure (-ETIMEDOUT, -ECANCELED) none is left closed. `trees` is sorted and made
 * unique in place; the number of distinct ones is returned. */
int rep_tree_close_all(rep_tree **trees, int count, uint64_t deadline_ns, rep_wake *wake);
void rep_tree_open_all(rep_tree *const *trees, int count);

#endif
