/* What the parts of rep_ext share. Contracts that callers see stand in rep_ext.h. */
#ifndef REP_EXT_INTERNAL_H
#define REP_EXT_INTERNAL_H

#include <errno.h>
#include <ext2fs/ext2fs.h>
#include <stdlib.h>
#include <string.h>

#include "rep_ext.h"
#include "rep_ext_cache.h"

struct rep_ext {
    ext2_filsys fs;
    rep_ext_cache *cache;
    rep_io *io;
    int writable;
    int broken; /* a change stopped half-way: nothing more is written */
    /* The superblock as it is on the volume: its time of writing changes only with the rest. */
    struct ext2_super_block written_super;
    ext2fs_block_bitmap avoided; /* in use or reserved; NULL: nothing is reserved */
    char text[256];
};

/* rep_ext_error.c */
int rep_ext_errno(errcode_t code);
/* Notes what failed and returns the negative errno. */
int rep_ext_failed(rep_ext *ext, const char *what, uint64_t object, errcode_t failure);
int rep_ext_refuse(rep_ext *ext, int code, const char *text);
/* Before a change: 0, -EROFS or -EIO (broken). */
int rep_ext_check_change(rep_ext *ext);
/* After a change: passes `code` on, and breaks the object unless the failure undid itself. */
int rep_ext_end_change(rep_ext *ext, int code);

/* rep_ext_manager.c: libext2fs's way to the cache. The next ext2fs_open2 on this thread uses it. */
io_manager rep_ext_manager_for(rep_ext *ext);

/* rep_ext_feature.c: 0, or -ENOTSUP with the features named. */
int rep_ext_check_features(struct ext2_super_block *super, rep_ext_access access, char *text,
                           size_t text_size);

/* rep_ext_inode.c */
typedef struct inode_buffer {
    /* As large as the file system's inodes are at most in use; the tail holds attributes. */
    struct ext2_inode_large large;
    unsigned char tail[4096 - sizeof(struct ext2_inode_large)];
} inode_buffer;
struct ext2_inode *rep_ext_small(inode_buffer *buffer);
int rep_ext_inode_read(rep_ext *ext, uint32_t inode, inode_buffer *out);
int rep_ext_inode_write(rep_ext *ext, uint32_t inode, inode_buffer *buffer);
/* An inode in use of the given kind (LINUX_S_IFDIR, ...; 0: any); else -ENOENT, -ENOTDIR, -EISDIR,
 * -EINVAL. */
int rep_ext_inode_get(rep_ext *ext, uint32_t inode, unsigned kind, struct ext2_inode *out);
void rep_ext_stat_from(rep_ext *ext, uint32_t inode, const inode_buffer *buffer, rep_ext_stat *out);
/* -EOVERFLOW when a time doesn't fit. */
int rep_ext_stat_into(rep_ext *ext, const rep_ext_stat *stat, inode_buffer *buffer);
/* Marks an inode in use, `preferred` when it is free. */
int rep_ext_inode_claim(rep_ext *ext, uint32_t preferred, uint32_t directory, int is_directory,
                        uint32_t *out);
/* Frees all that an inode without names has, and the inode. */
int rep_ext_inode_release(rep_ext *ext, uint32_t inode);

/* rep_ext_map.c: which blocks of the volume hold which blocks of a file. */
typedef enum run_state { RUN_DATA, RUN_UNWRITTEN } run_state;
typedef struct run {
    uint64_t logical;
    uint64_t physical;
    uint64_t count; /* blocks */
    run_state state;
} run;
typedef struct block_map {
    run *runs; /* ascending, not overlapping */
    size_t count;
    size_t capacity;
    int damaged; /* a block outside the file system */
} block_map;
int rep_ext_map_load(rep_ext *ext, uint32_t inode, block_map *out);
/* With the blocks of the map itself among the runs, whose order then says nothing. */
int rep_ext_map_load_all(rep_ext *ext, uint32_t inode, block_map *out);
void rep_ext_map_free(block_map *map);
/* Gives an inode an empty tree of extents. */
void rep_ext_map_begin(struct ext2_inode *small);
int rep_ext_map_add(block_map *map, uint64_t logical, uint64_t physical, uint64_t count,
                    run_state state);
/* The run that holds `logical`, or the first one after it; NULL when none follows. */
const run *rep_ext_map_find(const block_map *map, uint64_t logical);
/* Gives blocks to a range that has none, wanted at `goal` (0: anywhere), or just there (PLACE_OWN:
 * reserved ones may be taken, what isn't free comes from elsewhere). */
typedef enum place { PLACE_NEAR, PLACE_OWN } place;
int rep_ext_map_allocate(rep_ext *ext, uint32_t inode, uint64_t logical, uint64_t count,
                         uint64_t goal, place wanted);
/* Whether blocks of the volume belong to the file system. */
int rep_ext_is_inside(const rep_ext *ext, uint64_t physical, uint64_t count);
/* rep_ext_release.c: frees the blocks of ranges (logical, count; ascending), or from a block to
 * the end. */
int rep_ext_map_release(rep_ext *ext, uint32_t inode, const block_map *ranges);
int rep_ext_map_release_from(rep_ext *ext, uint32_t inode, uint64_t logical);
int rep_ext_size_set(rep_ext *ext, uint32_t inode, uint64_t size);

/* rep_ext_reserve.c: whether block numbers of the source mean the same places in the target. */
int rep_ext_is_same_layout(const rep_ext *source, const rep_ext *target);
void rep_ext_reserve_end(rep_ext *ext);
/* A free run near `goal`, or beginning at it; at most `count` blocks. */
int rep_ext_find_blocks(rep_ext *ext, uint64_t goal, place wanted, uint64_t count, uint64_t *found,
                        uint64_t *got);

/* rep_ext_data.c: file content through a map; holes and unwritten blocks read as zeros. */
int rep_ext_content_read(rep_ext *ext, const block_map *map, unsigned char *buffer, uint64_t length,
                         uint64_t offset);
/* All of the range must be mapped and written. */
int rep_ext_content_write(rep_ext *ext, const block_map *map, const unsigned char *buffer,
                          uint64_t length, uint64_t offset);

/* rep_ext_inline.c: files inside their inodes. The content as a buffer of the caller's (free it). */
int rep_ext_inline_load(rep_ext *ext, uint32_t inode, unsigned char **out, size_t *size);
int rep_ext_inline_read(rep_ext *ext, uint32_t inode, void *buffer, uint64_t length,
                        uint64_t offset);
/* -ENOSPC: it doesn't fit the inode; nothing is changed. */
int rep_ext_inline_store(rep_ext *ext, uint32_t inode, const unsigned char *bytes, size_t size);
/* An empty file that maps blocks; an empty one inside the inode, if there is room for that. */
int rep_ext_inline_leave(rep_ext *ext, uint32_t inode);
int rep_ext_inline_enter(rep_ext *ext, uint32_t inode);
/* All of the content, the size and a part of the content: the file leaves its inode when it no
 * longer fits. */
int rep_ext_inline_replace(rep_ext *ext, uint32_t inode, const unsigned char *bytes, size_t size);
int rep_ext_inline_resize(rep_ext *ext, uint32_t inode, uint64_t size);
int rep_ext_inline_write(rep_ext *ext, uint32_t inode, const unsigned char *buffer, uint64_t length,
                         uint64_t offset, uint64_t *changed);

/* rep_ext_sealed.c: 0, or -ENOTSUP with what stands in the way: encrypted, sealed by verity. */
int rep_ext_check_readable(rep_ext *ext, uint32_t inode, const struct ext2_inode *small);
int rep_ext_check_content(rep_ext *ext, uint32_t inode, const struct ext2_inode *small);
/* Whether names may be added to a directory: not to encrypted and casefolded ones. */
int rep_ext_check_names(rep_ext *ext, uint32_t directory, const struct ext2_inode *small);
/* An encrypted name as text: base64url without padding. `out` has REP_EXT_CODED_MAX bytes. */
#define REP_EXT_CODED_MAX 344U
size_t rep_ext_name_code(const char *name, size_t length, char *out);
int rep_ext_coded_lookup(rep_ext *ext, uint32_t directory, const char *coded, size_t length,
                         uint32_t *inode);

/* rep_ext_value.c: around a change of an inode's attributes, for those that have inodes of their own.
 * -ENOTSUP before the change: they are shared with other files. */
int rep_ext_values_begin(rep_ext *ext, uint32_t inode, uint64_t *clusters);
int rep_ext_values_end(rep_ext *ext, uint32_t inode, uint64_t before);

/* rep_ext_usage.c: whether the quota files can be kept right; makes them so before a flush. */
int rep_ext_quota_check(rep_ext *ext);
int rep_ext_quota_update(rep_ext *ext);

/* rep_ext_index.c: finding a name through a directory's index. */
typedef enum index_answer { INDEX_FOUND, INDEX_ABSENT, INDEX_UNSURE } index_answer;
typedef struct index_place {
    char *block; /* the leaf; the caller's, a block long */
    blk64_t physical;
    size_t offset; /* of the entry */
    size_t before; /* of the one before it, when offset > 0 */
} index_place;
/* INDEX_UNSURE: all blocks have to be looked at, for damage too. */
index_answer rep_ext_index_find(rep_ext *ext, uint32_t directory, const char *name, size_t length,
                                index_place *out);
/* Turns a full directory of one block into one with an index. */
int rep_ext_index_make(rep_ext *ext, uint32_t directory);

/* rep_ext_directory.c */
int rep_ext_name_remove(rep_ext *ext, uint32_t directory, const char *name, uint32_t inode);
int rep_ext_name_check(rep_ext *ext, const char *name);
int rep_ext_name_add(rep_ext *ext, uint32_t directory, const char *name, uint32_t inode,
                     unsigned mode);
/* The kind that a directory entry says a mode is. */
int rep_ext_file_type(unsigned mode);

/* rep_ext_make.c: adds to a link count; a directory's stays 1 once it can't be counted. */
int rep_ext_links_count(rep_ext *ext, uint32_t inode, int change);

#endif
