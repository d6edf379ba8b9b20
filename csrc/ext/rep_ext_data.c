/* What files hold: reading, writing by difference, cutting. */
#include "rep_ext_internal.h"

/* Of rep_ext_write: a piece that is compared and written in one go. */
#define PIECE_BYTES (1U << 20)

int rep_ext_content_read(rep_ext *ext, const block_map *map, unsigned char *buffer, uint64_t length,
                         uint64_t offset)
{
    uint64_t block_bytes = ext->fs->blocksize;
    int code = 0;

    while (code == 0 && length > 0) {
        const run *at = rep_ext_map_find(map, offset / block_bytes);
        uint64_t start = at ? at->logical * block_bytes : UINT64_MAX;
        uint64_t end = at ? (at->logical + at->count) * block_bytes : UINT64_MAX;
        uint64_t part = (offset < start ? start : end) - offset;
        if (part > length)
            part = length;
        if (!at || offset < start || at->state == RUN_UNWRITTEN)
            memset(buffer, 0, (size_t)part);
        else
            code = rep_ext_cache_read_data(ext->cache, buffer, part,
                                           at->physical * block_bytes + (offset - start));
        buffer += part;
        offset += part;
        length -= part;
    }
    return code < 0 ? rep_ext_refuse(ext, code, rep_ext_cache_failure(ext->cache)) : 0;
}

int rep_ext_content_write(rep_ext *ext, const block_map *map, const unsigned char *buffer,
                          uint64_t length, uint64_t offset)
{
    uint64_t block_bytes = ext->fs->blocksize;
    int code = 0;

    while (code == 0 && length > 0) {
        const run *at = rep_ext_map_find(map, offset / block_bytes);
        if (!at || at->logical * block_bytes > offset || at->state != RUN_DATA)
            return rep_ext_refuse(ext, -EUCLEAN, "a block to be written isn't mapped");
        uint64_t within = offset - at->logical * block_bytes;
        uint64_t part = at->count * block_bytes - within;
        if (part > length)
            part = length;
        code =
            rep_ext_cache_write_data(ext->cache, buffer, part, at->physical * block_bytes + within);
        buffer += part;
        offset += part;
        length -= part;
    }
    return code < 0 ? rep_ext_refuse(ext, code, rep_ext_cache_failure(ext->cache)) : 0;
}

int rep_ext_read(rep_ext *ext, uint32_t inode, void *buffer, uint64_t length, uint64_t offset,
                 uint64_t *got)
{
    struct ext2_inode small = {0};
    block_map map = {0};
    uint64_t size;
    int code = rep_ext_inode_get(ext, inode, LINUX_S_IFREG, &small);

    *got = 0;
    if (code == 0)
        code = rep_ext_check_readable(ext, inode, &small);
    if (code < 0)
        return code;
    size = EXT2_I_SIZE(&small);
    if (offset >= size)
        return 0;
    if (length > size - offset)
        length = size - offset;
    if (small.i_flags & EXT4_INLINE_DATA_FL) {
        code = rep_ext_inline_read(ext, inode, buffer, length, offset);
    } else {
        code = rep_ext_map_load(ext, inode, &map);
        if (code == 0)
            code = rep_ext_content_read(ext, &map, buffer, length, offset);
        rep_ext_map_free(&map);
    }
    if (code == 0)
        *got = length;
    return code;
}

int rep_ext_readlink(rep_ext *ext, uint32_t inode, char *buffer, size_t capacity, size_t *length)
{
    struct ext2_inode small = {0};
    block_map map = {0};
    int code = rep_ext_inode_get(ext, inode, LINUX_S_IFLNK, &small);

    if (code == 0)
        code = rep_ext_check_readable(ext, inode, &small);
    if (code < 0)
        return code;
    *length = small.i_size;
    if (*length >= capacity)
        return rep_ext_refuse(ext, -ERANGE, "a symbolic link's target is too long");
    if (ext2fs_is_fast_symlink(&small)) {
        memcpy(buffer, small.i_block, *length);
        return 0;
    }
    if (small.i_flags & EXT4_INLINE_DATA_FL)
        return rep_ext_inline_read(ext, inode, buffer, *length, 0);
    code = rep_ext_map_load(ext, inode, &map);
    if (code == 0)
        code = rep_ext_content_read(ext, &map, (unsigned char *)buffer, *length, 0);
    rep_ext_map_free(&map);
    return code;
}

static int is_zero(const unsigned char *bytes, size_t length)
{
    return length == 0 || (bytes[0] == 0 && memcmp(bytes, bytes + 1, length - 1) == 0);
}

/* What lies behind the file's end in its last block must read as zeros once the file grows. */
static int clear_tail(rep_ext *ext, uint32_t inode, uint64_t size)
{
    uint64_t block_bytes = ext->fs->blocksize;
    uint64_t used = size % block_bytes;
    unsigned char *zeros = used ? calloc(1, block_bytes) : NULL;
    block_map map = {0};
    const run *at;
    int code;

    if (used == 0)
        return 0;
    if (!zeros)
        return -ENOMEM;
    code = rep_ext_map_load(ext, inode, &map);
    at = code == 0 ? rep_ext_map_find(&map, size / block_bytes) : NULL;
    if (at && at->logical <= size / block_bytes && at->state == RUN_DATA)
        code = rep_ext_content_write(ext, &map, zeros, block_bytes - used, size);
    rep_ext_map_free(&map);
    free(zeros);
    return code;
}

int rep_ext_truncate(rep_ext *ext, uint32_t inode, uint64_t size)
{
    struct ext2_inode small = {0};
    uint64_t block_bytes = ext->fs->blocksize;
    int code = rep_ext_check_change(ext);

    if (code == 0)
        code = rep_ext_inode_get(ext, inode, LINUX_S_IFREG, &small);
    if (code < 0 || EXT2_I_SIZE(&small) == size)
        return code;
    code = rep_ext_check_content(ext, inode, &small);
    if (code < 0)
        return code;
    if (small.i_flags & EXT4_INLINE_DATA_FL)
        return rep_ext_end_change(ext, rep_ext_inline_resize(ext, inode, size));
    if (size < EXT2_I_SIZE(&small)) {
        code = rep_ext_map_release_from(ext, inode, (size + block_bytes - 1) / block_bytes);
        if (code == 0)
            code = clear_tail(ext, inode, size);
    } else {
        code = clear_tail(ext, inode, EXT2_I_SIZE(&small));
    }
    if (code == 0)
        code = rep_ext_size_set(ext, inode, size);
    return rep_ext_end_change(ext, code);
}

/* Maps the blocks of [first, last] that `wanted` has content for: gives the unmapped ones blocks,
 * and the unwritten ones new ones, since only whole blocks are written to them. */
static int map_for_write(rep_ext *ext, uint32_t inode, uint64_t first, uint64_t last,
                         const unsigned char *wanted)
{
    uint64_t block_bytes = ext->fs->blocksize;
    block_map map = {0};
    int code = rep_ext_map_load(ext, inode, &map);

    for (uint64_t block = first; code == 0 && block <= last; block++) {
        const run *at = rep_ext_map_find(&map, block);
        int mapped = at && at->logical <= block;
        if (mapped && at->state == RUN_DATA)
            continue;
        if (is_zero(wanted + (block - first) * block_bytes, (size_t)block_bytes))
            continue;
        if (mapped) {
            run unwritten = {.logical = block, .count = 1};
            code = rep_ext_map_release(ext, inode, &(block_map){.runs = &unwritten, .count = 1});
        }
        if (code == 0)
            code =
                rep_ext_map_allocate(ext, inode, block, 1,
                                     mapped ? at->physical + (block - at->logical) : 0, PLACE_NEAR);
    }
    rep_ext_map_free(&map);
    return code;
}

/* Writes whole blocks from `first` on, except where zeros meet a hole. */
static int write_mapped(rep_ext *ext, uint32_t inode, uint64_t first, uint64_t last,
                        const unsigned char *wanted)
{
    uint64_t block_bytes = ext->fs->blocksize;
    block_map map = {0};
    int code = rep_ext_map_load(ext, inode, &map);

    for (uint64_t block = first; code == 0 && block <= last;) {
        const run *at = rep_ext_map_find(&map, block);
        uint64_t end = at ? at->logical + at->count : last + 1;
        if (at && at->logical > block)
            end = at->logical;
        if (end > last + 1)
            end = last + 1;
        if (at && at->logical <= block && at->state == RUN_DATA)
            code = rep_ext_content_write(ext, &map, wanted + (block - first) * block_bytes,
                                         (end - block) * block_bytes, block * block_bytes);
        block = end;
    }
    rep_ext_map_free(&map);
    return code;
}

/* One piece of rep_ext_write, at most PIECE_BYTES long; `held` and `wanted` have room for it and
 * two more blocks. */
static int write_piece(rep_ext *ext, uint32_t inode, const unsigned char *buffer, uint64_t length,
                       uint64_t offset, unsigned char *held, unsigned char *wanted,
                       uint64_t *changed)
{
    uint64_t block_bytes = ext->fs->blocksize;
    uint64_t first = offset / block_bytes;
    uint64_t last = (offset + length - 1) / block_bytes;
    size_t span = (size_t)((last - first + 1) * block_bytes);
    uint64_t differs = 0;
    block_map map = {0};
    int code = rep_ext_map_load(ext, inode, &map);

    if (code == 0)
        code = rep_ext_content_read(ext, &map, held, span, first * block_bytes);
    rep_ext_map_free(&map);
    if (code < 0)
        return code;
    memcpy(wanted, held, span);
    memcpy(wanted + (offset - first * block_bytes), buffer, (size_t)length);
    for (size_t at = 0; at < span; at += (size_t)block_bytes)
        if (memcmp(held + at, wanted + at, (size_t)block_bytes) != 0)
            differs += block_bytes;
    *changed += differs;
    if (differs == 0)
        return 0;
    code = map_for_write(ext, inode, first, last, wanted);
    return code == 0 ? write_mapped(ext, inode, first, last, wanted) : code;
}

int rep_ext_write(rep_ext *ext, uint32_t inode, const void *buffer, uint64_t length,
                  uint64_t offset, uint64_t *changed)
{
    const unsigned char *from = buffer;
    struct ext2_inode small = {0};
    unsigned char *scratch = NULL;
    size_t room;
    int code = rep_ext_check_change(ext);

    *changed = 0;
    if (code == 0)
        code = rep_ext_inode_get(ext, inode, LINUX_S_IFREG, &small);
    if (code == 0)
        code = rep_ext_check_content(ext, inode, &small);
    if (code < 0 || length == 0)
        return code;
    if (offset > INT64_MAX - length)
        return rep_ext_refuse(ext, -EFBIG, "the range ends past the largest file");
    if (small.i_flags & EXT4_INLINE_DATA_FL)
        return rep_ext_end_change(ext,
                                  rep_ext_inline_write(ext, inode, from, length, offset, changed));
    room = PIECE_BYTES + 2 * (size_t)ext->fs->blocksize;
    scratch = malloc(2 * room);
    if (!scratch)
        return rep_ext_refuse(ext, -ENOMEM, "no memory");
    if (offset + length > EXT2_I_SIZE(&small)) {
        code = clear_tail(ext, inode, EXT2_I_SIZE(&small));
        if (code == 0)
            code = rep_ext_size_set(ext, inode, offset + length);
    }
    while (code == 0 && length > 0) {
        uint64_t part = length < PIECE_BYTES ? length : PIECE_BYTES;
        code = write_piece(ext, inode, from, part, offset, scratch, scratch + room, changed);
        from += part;
        offset += part;
        length -= part;
    }
    free(scratch);
    return rep_ext_end_change(ext, code);
}
