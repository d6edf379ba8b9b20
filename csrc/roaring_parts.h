/* roaring_parts: the portable Roaring format as both directions know it. Not a public header.
 *
 * A header: the cookie 12346 and a count, or, when some container holds runs, 12347 with the count
 * less one above it and a bit per container; then key and cardinality less one of each, 16 bits
 * both; then, except for few containers with runs, where each begins, 32 bits; then the containers.
 * A container without runs is an array up to 4096 values, a bitset above.
 */
#ifndef REP_ROARING_PARTS_H
#define REP_ROARING_PARTS_H

#define REP_ROARING_COOKIE 12346U
#define REP_ROARING_COOKIE_RUNS 12347U
/* With runs, fewer containers than this have no offsets. */
#define REP_ROARING_OFFSETS_FROM 4U
#define REP_ROARING_ARRAY_MAX 4096U
#define REP_CONTAINER_BITS 65536U
#define REP_CONTAINER_WORDS 1024U
#define REP_CONTAINER_BYTES 8192U

#endif
