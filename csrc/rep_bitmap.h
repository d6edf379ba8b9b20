/* rep_bitmap: one bit per chunk. Dense 64-bit words in lazily touched private memory, and summary
 * levels above them (one bit per non-zero word below, factor 64 each, as many levels as it takes to
 * reach one word), so that finding the next run costs by what is set, not by the size; and
 * all bits of a block of 2^18 set cost one bit above it, until some of them are cleared.
 *
 * Threads: set, clear, fill, merge and test may run beside each other and beside the readers
 * (count, next_run, runs, any), which see each word at some moment of the call. A bit whose set
 * has returned is seen by every later reader: it never hides below an empty summary, whatever is
 * cleared around it meanwhile; and once nothing runs, the summaries are exact (bitmap_parts.h says
 * how). A set that finds a word empty, and a clear that leaves one empty, hold a mutex for a few
 * instructions (microseconds where a full block is cleared in part).
 * or, and, andnot, xor, words_or and reset need `target` for themselves: nobody else may even read
 * it. They are several times as fast as merge; `source` may be in use.
 * A range outside the bitmap is -ERANGE and changes nothing; an empty range inside it is allowed.
 * Source: Fig. 3, pending bitmap 360.
 */
#ifndef REP_BITMAP_H
#define REP_BITMAP_H

#include <stddef.h>
#include <stdint.h>

#include "rep_api.h"

REP_API_BEGIN

/* cdef:begin */
typedef struct rep_bitmap rep_bitmap;

/* bit_count > 0, up to 2^40. -ENOMEM, -EINVAL. All bits clear; costs no memory until bits are
 * set. */
int rep_bitmap_new(uint64_t bit_count, rep_bitmap **out);
void rep_bitmap_free(rep_bitmap *bitmap);
uint64_t rep_bitmap_size(const rep_bitmap *bitmap);
int rep_bitmap_set(rep_bitmap *bitmap, uint64_t first, uint64_t count);
int rep_bitmap_clear(rep_bitmap *bitmap, uint64_t first, uint64_t count);
/* 1 or 0; -ERANGE. */
int rep_bitmap_test(const rep_bitmap *bitmap, uint64_t index);
/* Sets all bits, which costs a bit per 2^18 / clears all bits and gives the memory back (needs the
 * bitmap for itself). */
void rep_bitmap_fill(rep_bitmap *bitmap);
void rep_bitmap_reset(rep_bitmap *bitmap);
/* 1 when at least one bit is set: one load, of the top summary. */
int rep_bitmap_any(const rep_bitmap *bitmap);
uint64_t rep_bitmap_count(const rep_bitmap *bitmap);
/* target |= source, while others set, clear and read. Sizes must be equal (-EINVAL). Costs by what
 * is set in `source`. */
int rep_bitmap_merge(rep_bitmap *target, const rep_bitmap *source);
/* target = target OP source, of a target that the caller has for itself; sizes must be equal
 * (-EINVAL). Costs by what is set in `source`, for `and` in `target`. */
int rep_bitmap_or(rep_bitmap *target, const rep_bitmap *source);
int rep_bitmap_and(rep_bitmap *target, const rep_bitmap *source);
int rep_bitmap_andnot(rep_bitmap *target, const rep_bitmap *source);
int rep_bitmap_xor(rep_bitmap *target, const rep_bitmap *source);

enum rep_bitmap_join { REP_BITMAP_UNION = 0, REP_BITMAP_DIFFERENCE = 1 };
/* The first run at or after `from` in a UNION b or a minus b (b may be NULL: a alone), cut at
 * `most` bits (0: no limit). 1 and *first, *count when there is one; 0 when there is none;
 * -EINVAL (sizes differ, unknown join); -ERANGE (`from` past the size). */
int rep_bitmap_next_run(const rep_bitmap *a, const rep_bitmap *b, int join, uint64_t from,
                        uint64_t most, uint64_t *first, uint64_t *count);
/* The runs of a UNION b, or a minus b, from `from` on, at most `capacity`, in bulk: several times
 * as fast as next_run where there are many. firsts and counts are filled in parallel; *resume is
 * where to go on (== size when done). Returns how many (>= 0; fewer than `capacity` doesn't mean
 * done). -EINVAL (no capacity, sizes differ, unknown join), -ERANGE (`from` past the size). */
int rep_bitmap_runs(const rep_bitmap *a, const rep_bitmap *b, int join, uint64_t from,
                    uint64_t *firsts, uint64_t *counts, int capacity, uint64_t *resume);
/* cdef:end */

/* For rep_bitmap_file and rep_roaring: a copy of `word_count` words from `first_word` on / ORs them in
 * (into a bitmap that the caller has for itself). Bits past the size are refused with -ERANGE, and nothing is changed. */
uint64_t rep_bitmap_word_count(const rep_bitmap *bitmap);
int rep_bitmap_words_get(const rep_bitmap *bitmap, uint64_t first_word, uint64_t word_count,
                         uint64_t *words);
int rep_bitmap_words_or(rep_bitmap *bitmap, uint64_t first_word, uint64_t word_count,
                        const uint64_t *words);

REP_API_END

#endif
