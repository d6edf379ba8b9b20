/* rep_ext: an ext2, ext3 or ext4 file system inside a volume, through libext2fs, without a mount.
 *
 * It reads and writes any `rep_io`, which it borrows: the caller keeps it alive until rep_ext_free.
 * Objects inside are named by inode number (the root is 2); walking paths is Python's.
 *
 * Writes. Metadata collects in a write-back cache and reaches the volume at rep_ext_flush (or
 * earlier when more than REP_EXT_DIRTY_MAX of it waits); file data is written at once. Both are
 * compared with what the volume holds and written only where they differ, by 4 KiB. A file system
 * opened for writing and closed without a change is not written to. There is no journal while
 * writing: between the first write and the end of rep_ext_flush a crash leaves a file system for
 * e2fsck, so whoever restores must be able to run again. After rep_ext_flush or rep_ext_free has
 * returned nothing more is written.
 *
 * Errors are negative errno; rep_ext_message then tells what failed. Those of the file system:
 * -EUCLEAN damaged, -ENOTSUP a feature that isn't handled, -ENOSPC no free block, inode or room for
 * an attribute, -EROFS opened read-only. -EIO and what the storage answered come from the volume.
 * When a change fails for another reason than its arguments or room, the object is *broken*: it
 * refuses further changes and the flush with -EIO, so that nothing inconsistent is written.
 *
 * Threads: one at a time per object; two objects are independent. rep_ext_start runs once, before
 * anything else and beside nothing.
 */
#ifndef REP_EXT_H
#define REP_EXT_H

#include <stddef.h>
#include <stdint.h>

#include "../rep_io.h"

/* Dirty metadata held back at most, in bytes. */
#define REP_EXT_DIRTY_MAX (256ULL << 20)

/* cdef:begin */
typedef struct rep_ext rep_ext;
typedef struct rep_ext_delta rep_ext_delta;

typedef enum rep_ext_access { REP_EXT_READ_ONLY, REP_EXT_READ_WRITE } rep_ext_access;

/* Why rep_ext_open refused. */
typedef enum rep_ext_refusal {
    REP_EXT_NOT_EXT = 1,    /* no ext superblock */
    REP_EXT_DAMAGED,        /* superblock or descriptors make no sense, or the image is cut short */
    REP_EXT_NEEDS_RECOVERY, /* the journal or the orphan list must be replayed, or it is mounted */
    REP_EXT_UNSUPPORTED,    /* a feature that isn't handled; the text names it */
    REP_EXT_UNREADABLE      /* the volume or memory failed; the code is its errno */
} rep_ext_refusal;

typedef struct rep_ext_error {
    rep_ext_refusal refusal;
    int code; /* negative errno */
    char text[256];
} rep_ext_error;

typedef struct rep_ext_info {
    uint64_t blocks;
    uint64_t free_blocks;   /* those reserved for root included */
    uint64_t bytes_written; /* to the volume since it was opened */
    uint64_t bytes_dirty;   /* metadata not yet flushed */
    uint32_t block_bytes;
    uint32_t inodes;
    uint32_t free_inodes;
    uint32_t inode_bytes;
    uint32_t has_extents;      /* new files are mapped by extents */
    uint32_t cluster_blocks;   /* blocks that are taken and freed together; 1 without bigalloc */
    uint32_t has_value_inodes; /* large values of attributes lie in inodes of their own */
    uint32_t has_quota; /* quota files may grow at a flush: each id that is new takes some blocks */
    uint8_t uuid[16];
} rep_ext_info;

/* How the file system's features are handled. */
typedef enum rep_ext_handling {
    REP_EXT_HANDLED,
    REP_EXT_READS, /* can be read; changing it is refused by name */
    REP_EXT_REFUSED
} rep_ext_handling;

typedef enum rep_ext_family {
    REP_EXT_COMPATIBLE,
    REP_EXT_INCOMPATIBLE,
    REP_EXT_READ_ONLY_COMPATIBLE
} rep_ext_family;

typedef struct rep_ext_feature {
    uint32_t family; /* rep_ext_family */
    uint32_t bit;
    uint32_t handling; /* rep_ext_handling */
    const char *name;  /* as mke2fs and tune2fs spell it */
} rep_ext_feature;

/* How a file is stored, as far as it matters to who reads or restores it. */
typedef enum rep_ext_storage {
    REP_EXT_INLINE = 1,    /* inside its inode */
    REP_EXT_ENCRYPTED = 2, /* neither names nor content can be read without the key */
    REP_EXT_VERITY = 4,    /* its content is sealed */
    REP_EXT_CASEFOLDED = 8 /* a directory whose names are alike in any case */
} rep_ext_storage;

/* What an inode says of a file. Times are seconds since 1970 and nanoseconds; an inode of 128 bytes
 * has no nanoseconds, no creation time (0) and ends in 2038. */
typedef struct rep_ext_stat {
    uint64_t size;   /* bytes */
    uint64_t blocks; /* file system blocks allocated, metadata included */
    int64_t atime_s;
    int64_t mtime_s;
    int64_t ctime_s;
    int64_t crtime_s;
    uint32_t atime_ns;
    uint32_t mtime_ns;
    uint32_t ctime_ns;
    uint32_t crtime_ns;
    uint32_t inode;
    uint32_t mode; /* with the bits of the file's kind */
    uint32_t uid;
    uint32_t gid;
    uint32_t links;
    uint32_t generation;
    uint32_t flags; /* those that chattr sets */
    uint32_t device_major;
    uint32_t device_minor;
    uint32_t has_xattrs; /* maybe: 0 says surely not */
    uint32_t project;    /* the project that the quota counts it for; 0 where inodes have none */
    uint32_t storage;    /* of rep_ext_storage */
} rep_ext_stat;

/* One name found by rep_ext_walk. */
typedef struct rep_ext_entry {
    rep_ext_stat stat;
    uint64_t name_offset; /* into the names */
    uint32_t name_length; /* bytes; an encrypted name is base64url of what is on disk */
    uint32_t parent;      /* index of the directory's entry; UINT32_MAX: the start of the walk */
    uint32_t is_wanted;   /* of rep_ext_owners_names; 0: it is only on the way to one that is */
    uint32_t unused;
} rep_ext_entry;

typedef struct rep_ext_listing {
    rep_ext_entry *entries;
    size_t count;
    size_t capacity;
    char *names;
    size_t names_length;
    size_t names_capacity;
} rep_ext_listing;

/* Registers libext2fs's messages. */
void rep_ext_start(void);

/* The table of features that are known, one by one: 1, or 0 behind the last. Unknown compatible ones
 * are harmless by definition; other unknown ones are refused. */
int rep_ext_feature_get(size_t index, rep_ext_feature *out);

/* Opens the file system on `io`. 0, or negative errno with *error filled. */
int rep_ext_open(rep_io *io, rep_ext_access access, rep_ext **out, rep_ext_error *error);
/* Writes what waits and makes it durable; nothing at all when nothing changed. May be called again
 * after a failure of the volume: what was not written still waits. */
int rep_ext_flush(rep_ext *ext);
/* Frees without writing what waits. NULL is allowed. */
void rep_ext_free(rep_ext *ext);
/* What the last failed call failed at; valid until the next call. */
const char *rep_ext_message(const rep_ext *ext);
void rep_ext_info_get(rep_ext *ext, rep_ext_info *out);

/* -ENOENT: no such name in the directory; -ENOTDIR. */
int rep_ext_lookup(rep_ext *ext, uint32_t directory, const char *name, size_t length,
                   uint32_t *inode);
/* -ENOENT: the inode isn't in use. */
int rep_ext_stat_get(rep_ext *ext, uint32_t inode, rep_ext_stat *out);
/* All names below `directory` (without . and ..): those in it and, when `deep`, those in its
 * subdirectories, each directory's entry before its content's. Free with rep_ext_listing_free,
 * after a failure too. */
int rep_ext_walk(rep_ext *ext, uint32_t directory, int deep, rep_ext_listing *out);
void rep_ext_listing_free(rep_ext_listing *listing);
/* A symbolic link's target, no NUL; -ERANGE when it is longer than capacity. */
int rep_ext_readlink(rep_ext *ext, uint32_t inode, char *buffer, size_t capacity, size_t *length);
/* Reads a regular file; *got < length only at its end. Holes read as zeros. */
int rep_ext_read(rep_ext *ext, uint32_t inode, void *buffer, uint64_t length, uint64_t offset,
                 uint64_t *got);

/* Which files hold bytes of the volume. */
typedef struct rep_ext_owners {
    uint32_t
        *inodes; /* ascending: files that have some of the bytes as content, map or attributes */
    size_t count;
    uint64_t file_bytes;     /* of the extents, in such files */
    uint64_t free_bytes;     /* in no use, or behind the file system */
    uint64_t metadata_bytes; /* the rest: tables, bitmaps, the journal */
} rep_ext_owners;

/* `extents` are of the volume, ascending, not overlapping (-EINVAL). Each inode is read once. Files
 * inside their inodes are named when the block of their inode is touched. Free the result with
 * rep_ext_owners_free. */
int rep_ext_owners_get(rep_ext *ext, const rep_extent *extents, size_t count, rep_ext_owners *out);
void rep_ext_owners_free(rep_ext_owners *owners);
/* All names of these inodes below the root, and the directories on the way to them. The root isn't
 * listed. Free with rep_ext_listing_free, after a failure too. */
int rep_ext_owners_names(rep_ext *ext, const rep_ext_owners *owners, rep_ext_listing *out);

/* Extended attributes, packed: for each {uint32 name length, uint32 value length, name, value},
 * in host order. POSIX ACLs have the form they have on disk. Free *packed with
 * rep_ext_buffer_free. */
int rep_ext_xattrs_get(rep_ext *ext, uint32_t inode, char **packed, size_t *length);
void rep_ext_buffer_free(char *buffer);
/* Makes the attributes exactly these; writes only where they differ. -ENOSPC: they don't fit; those
 * that were to go or change are gone. */
int rep_ext_xattrs_set(rep_ext *ext, uint32_t inode, const char *packed, size_t length);

/* What rep_ext_make makes. stat gives mode (its kind says what is made), uid, gid, times, flags,
 * generation, project, device and, of storage, whether it begins inside its inode where the file
 * system can do that; size, blocks and links are ignored. */
typedef struct rep_ext_making {
    rep_ext_stat stat;
    const char *name;         /* NUL-terminated, 1 to 255 bytes, no slash */
    const char *target;       /* of a symbolic link, NUL-terminated; else NULL */
    uint64_t goal_block;      /* its first block's place, if free, reserved or not; 0: anywhere */
    uint32_t directory;       /* inode */
    uint32_t preferred_inode; /* used when it is free; 0: any */
    int name_is_new;          /* the caller knows that the name doesn't exist: it isn't searched */
} rep_ext_making;

/* Keeps the blocks that a file of the source has free for the file that is to be like it, until the
 * next flush: other new files take them only when nothing else is left. Does nothing when the two
 * file systems aren't copies of one. */
int rep_ext_reserve(rep_ext *ext, rep_ext *source, uint32_t source_inode);
/* The block that holds the start of a file or directory, for goal_block; 0: none. */
uint64_t rep_ext_first_block(rep_ext *ext, uint32_t inode);
/* Makes a file of any kind and its name; a regular file is empty. -EEXIST, -ENOSPC, -EMLINK,
 * -ENAMETOOLONG, -EOVERFLOW (a time the inode can't hold): then nothing is made. */
int rep_ext_make(rep_ext *ext, const rep_ext_making *making, uint32_t *inode);
/* Gives an existing file that isn't a directory one more name. */
int rep_ext_link(rep_ext *ext, uint32_t directory, const char *name, uint32_t inode,
                 int name_is_new);
/* Removes a name; the file goes with its last one. -EISDIR for a directory. */
int rep_ext_unlink(rep_ext *ext, uint32_t directory, const char *name);
/* -ENOTEMPTY unless `deep`, which removes everything below, then the directory. */
int rep_ext_rmdir(rep_ext *ext, uint32_t directory, const char *name, int deep);
/* Sets permission bits, owner, times and flags; writes nothing when all are so. The generation
 * stays: checksums of the file's other blocks are made with it. */
int rep_ext_attributes_set(rep_ext *ext, uint32_t inode, const rep_ext_stat *stat);
/* Sets a regular file's size: cut blocks are freed, what is added is a hole. */
int rep_ext_truncate(rep_ext *ext, uint32_t inode, uint64_t size);
/* Writes by difference; blocks that are all zeros stay holes where there is a hole. The file grows
 * when the range ends past it. *changed: bytes of blocks that differed. */
int rep_ext_write(rep_ext *ext, uint32_t inode, const void *buffer, uint64_t length,
                  uint64_t offset, uint64_t *changed);

/* The difference of two regular files' content, each in its file system (block sizes alike, else
 * -ENOTSUP). The map of the target follows the source: holes where it has holes, blocks elsewhere,
 * new blocks at the place the source has them when that is free. */
typedef struct rep_ext_needs {
    uint64_t blocks_to_map;   /* blocks the target lacks */
    uint64_t blocks_to_unmap; /* blocks the target has where the source has none */
    uint64_t blocks_to_take;  /* whole clusters, in blocks: more than blocks_to_map with bigalloc */
    uint64_t map_blocks;      /* metadata that the new ones may take, at most */
    int own_places_free;      /* the source's own blocks are free for all of them */
    int size_differs;
} rep_ext_needs;

/* `inode` 0: the target doesn't exist yet; such a delta only tells its needs and can't be used for
 * more. */
int rep_ext_delta_new(rep_ext *source, uint32_t source_inode, rep_ext *target, uint32_t inode,
                      rep_ext_delta **out);
void rep_ext_delta_free(rep_ext_delta *delta);
void rep_ext_delta_needs(const rep_ext_delta *delta, rep_ext_needs *out);
/* Whether the two have the same size and lie in the same blocks of their volumes, none of which is
 * in `changed`: extents in which the two volumes may differ, ascending. Then their content is the
 * same, and isn't read to say so. */
int rep_ext_delta_is_untouched(const rep_ext_delta *delta, const rep_extent *changed, size_t count);
/* Compares about `budget` bytes from where the last call ended. 1 when there is more, 0 at the end.
 * *differ grows by the bytes of blocks whose content differs, *compared by those read. */
int rep_ext_delta_compare(rep_ext_delta *delta, uint64_t budget, uint64_t *differ,
                          uint64_t *compared);
/* Gives the target the source's size and map. Called once, before the first write. */
int rep_ext_delta_map(rep_ext_delta *delta);
/* Writes what differs of about `budget` bytes from where the last call ended. 1: there is more.
 * *written grows by the bytes written to the volume, *compared by those read. */
int rep_ext_delta_write(rep_ext_delta *delta, uint64_t budget, uint64_t *written,
                        uint64_t *compared);
/* cdef:end */

#endif
