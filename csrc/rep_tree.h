/* rep_tree: the gate and the range locks of all volumes of a system that local pairs join.
 *
 * A write takes one pass, however deep it is forwarded: the gate shared, and its byte range
 * exclusively against every other pass in the tree. Passes on one range are served in the order in
 * which they were asked for, so neither hosts nor the copier can starve the other.
 * A closed gate lets nobody in; closing waits only for those that are inside.
 *
 * Lock order of the whole core, outermost first: a pass, or closed gates in tree-id order; a stream's
 * turn and then its line (rep_ship_send.c), which nobody takes in a pass; then one stream mutex
 * (rep_ship.c); then one link mutex (rep_link.c). Nobody waits for queue room or for an
 * acknowledgement while holding a pass, and the thread that reads acknowledgements takes none.
 *
 * Threads: everything here may run beside everything else, except rep_tree_free.
 * A tree is freed only when no volume refers to it and nobody can still be asking for a pass: that
 * is, when its storage system closes.
 */
#ifndef REP_TREE_H
#define REP_TREE_H

#include <stdint.h>

#include "rep_api.h"
#include "rep_wait.h"

REP_API_BEGIN

/* cdef:begin */
typedef struct rep_tree rep_tree;

/* tree_id orders the closing of several gates: unique within the process. -ENOMEM. */
int rep_tree_new(uint64_t tree_id, rep_tree **out);
void rep_tree_free(rep_tree *tree);
/* cdef:end */

REP_API_END

#endif
