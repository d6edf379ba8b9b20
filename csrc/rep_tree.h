/* rep_tree: the gate and the range locks of all volumes of a system that local pairs join.
 *
 * A write takes one pass, however deep it is forwarded: the gate shared, and its byte range
 * exclusively against every other pass in the tree. Passes on one range are served in the order in
 * which they were asked for, so neither hosts nor the copier can starve the other.
 * A closed gate lets nobody in; closing waits only for those that are inside.
 *
 * Lock order of the whole core, outermost first: a pass, or closed gates in tree-id order; then one
 * stream mutex (rep_ship.c); then one link mutex (rep_link.c). Nobody waits for queue room or for an
 * acknowledgement while holding a pass, and the thread that reads acknowledgements takes none.
 *
 * Threads: everything here may run beside everything else, except rep_tree_free.
 * A tree is freed only when no volume refers to it and nobody can still be asking for a pass: that
 * is, when its storage system closes.
 */
#ifndef REP_TREE_H
#define REP_TREE_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "rep_wait.h"

/* cdef:begin */
typedef struct rep_tree rep_tree;

/* tree_id orders the closing of several gates: unique within the process. -ENOMEM. */
int rep_tree_new(uint64_t tree_id, rep_tree **out);
void rep_tree_free(rep_tree *tree);
/* cdef:end */

/* A place inside a tree. Lives on the caller's stack from enter to exit. */
typedef struct rep_pass {
    rep_tree *tree;
    uint64_t first; /* bytes [first, end) */
    uint64_t end;
    bool inside;
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
