/* Two files' contents: their maps, and making the target's map like the source's. */
#include "rep_ext_delta.h"

/* Data runs within `blocks` blocks: what lies behind the end isn't the file's. */
static void cut_map(block_map *map, uint64_t blocks)
{
    while (map->count > 0 && map->runs[map->count - 1].logical >= blocks)
        map->count--;
    if (map->count > 0) {
        run *last = &map->runs[map->count - 1];
        if (last->logical + last->count > blocks)
            last->count = blocks - last->logical;
    }
}

static int load_inline(rep_ext *ext, uint32_t inode, unsigned char **out, uint64_t *blocks)
{
    uint64_t block_bytes = ext->fs->blocksize;
    unsigned char *whole = NULL;
    size_t size = 0;
    int code = rep_ext_inline_load(ext, inode, &whole, &size);

    if (code < 0)
        return code;
    *blocks = (size + block_bytes - 1) / block_bytes;
    *out = calloc(1, (size_t)(*blocks * block_bytes) + 1);
    if (*out)
        memcpy(*out, whole, size);
    free(whole);
    return *out ? 0 : rep_ext_refuse(ext, -ENOMEM, "no memory");
}

static int load_source(rep_ext_delta *delta)
{
    struct ext2_inode small = {0};
    uint64_t block_bytes = delta->source->fs->blocksize;
    int code = rep_ext_inode_get(delta->source, delta->source_inode, LINUX_S_IFREG, &small);

    if (code == 0)
        code = rep_ext_check_readable(delta->source, delta->source_inode, &small);
    if (code < 0)
        return code;
    delta->size = EXT2_I_SIZE(&small);
    if (small.i_flags & EXT4_INLINE_DATA_FL)
        return load_inline(delta->source, delta->source_inode, &delta->from_inline,
                           &delta->from_blocks);
    code = rep_ext_map_load(delta->source, delta->source_inode, &delta->from);
    if (code == 0)
        cut_map(&delta->from, (delta->size + block_bytes - 1) / block_bytes);
    return code;
}

static int load_target(rep_ext_delta *delta)
{
    struct ext2_inode small = {0};
    int code;

    rep_ext_map_free(&delta->to);
    free(delta->to_inline);
    delta->to_inline = NULL;
    delta->to_blocks = 0;
    if (delta->inode == 0)
        return 0;
    code = rep_ext_inode_get(delta->target, delta->inode, LINUX_S_IFREG, &small);
    if (code == 0)
        code = rep_ext_check_readable(delta->target, delta->inode, &small);
    if (code < 0)
        return code;
    delta->target_size = EXT2_I_SIZE(&small);
    if (small.i_flags & EXT4_INLINE_DATA_FL)
        return load_inline(delta->target, delta->inode, &delta->to_inline, &delta->to_blocks);
    return rep_ext_map_load(delta->target, delta->inode, &delta->to);
}

int rep_ext_delta_new(rep_ext *source, uint32_t source_inode, rep_ext *target, uint32_t inode,
                      rep_ext_delta **out)
{
    rep_ext_delta *delta;
    int code;

    if (source->fs->blocksize != target->fs->blocksize)
        return rep_ext_refuse(target, -ENOTSUP, "the file systems' block sizes differ");
    delta = calloc(1, sizeof *delta);
    if (!delta)
        return rep_ext_refuse(target, -ENOMEM, "no memory");
    delta->source = source;
    delta->source_inode = source_inode;
    delta->target = target;
    delta->inode = inode;
    code = load_source(delta);
    if (code < 0)
        rep_ext_refuse(target, code, source->text);
    else
        code = load_target(delta);
    if (code < 0) {
        rep_ext_delta_free(delta);
        return code;
    }
    *out = delta;
    return 0;
}

void rep_ext_delta_free(rep_ext_delta *delta)
{
    if (!delta)
        return;
    rep_ext_map_free(&delta->from);
    rep_ext_map_free(&delta->to);
    free(delta->from_inline);
    free(delta->to_inline);
    free(delta->wanted);
    free(delta->held);
    free(delta);
}

static uint64_t next_change(const block_map *map, uint64_t logical, const run **covering)
{
    const run *at = rep_ext_map_find(map, logical);

    *covering = at && at->logical <= logical ? at : NULL;
    if (!at)
        return UINT64_MAX;
    return *covering ? at->logical + at->count : at->logical;
}

int rep_ext_delta_stretch(const rep_ext_delta *delta, uint64_t logical, stretch *out)
{
    uint64_t from_end = next_change(&delta->from, logical, &out->from);
    uint64_t to_end = next_change(&delta->to, logical, &out->to);
    uint64_t end = from_end < to_end ? from_end : to_end;

    if (end == UINT64_MAX)
        return 0;
    if (out->from && out->from->state == RUN_UNWRITTEN)
        out->from = NULL;
    out->logical = logical;
    out->count = end - logical;
    return 1;
}

int rep_ext_stretch_needs_block(const stretch *at)
{
    return at->from && !(at->to && at->to->state == RUN_DATA);
}

int rep_ext_stretch_needs_release(const rep_ext_delta *delta, const stretch *at)
{
    uint64_t block_bytes = delta->target->fs->blocksize;
    uint64_t blocks = (delta->size + block_bytes - 1) / block_bytes;

    if (!at->to)
        return 0;
    if (at->to->state == RUN_UNWRITTEN)
        return at->from != NULL || at->logical >= blocks;
    return at->from == NULL;
}

static int release_all(rep_ext_delta *delta)
{
    block_map ranges = {0};
    stretch at;
    int code = 0;

    for (uint64_t logical = 0; code == 0 && rep_ext_delta_stretch(delta, logical, &at);
         logical += at.count)
        if (rep_ext_stretch_needs_release(delta, &at))
            code =
                rep_ext_map_add(&ranges, at.logical, at.to->physical + (logical - at.to->logical),
                                at.count, at.to->state);
    if (code == 0)
        code = rep_ext_map_release(delta->target, delta->inode, &ranges);
    rep_ext_map_free(&ranges);
    return code == 0 ? load_target(delta) : code;
}

static int allocate_all(rep_ext_delta *delta)
{
    place wanted = rep_ext_is_same_layout(delta->source, delta->target) ? PLACE_OWN : PLACE_NEAR;
    stretch at;
    int code = 0;

    for (uint64_t logical = 0; code == 0 && rep_ext_delta_stretch(delta, logical, &at);
         logical += at.count) {
        uint64_t goal = 0;
        if (!rep_ext_stretch_needs_block(&at))
            continue;
        if (wanted == PLACE_OWN)
            goal = at.from->physical + (at.logical - at.from->logical);
        code =
            rep_ext_map_allocate(delta->target, delta->inode, at.logical, at.count, goal, wanted);
    }
    return code == 0 ? load_target(delta) : code;
}

/* A source inside its inode: its content comes with rep_ext_delta_write, as a whole. */
static int map_inline(rep_ext_delta *delta)
{
    int code = 0;

    if (!delta->to_inline && ext2fs_has_feature_inline_data(delta->target->fs->super))
        code = rep_ext_inline_enter(delta->target, delta->inode);
    return code == 0 ? load_target(delta) : code;
}

static int map_blocks_like_source(rep_ext_delta *delta)
{
    int code = 0;

    if (delta->to_inline)
        code = rep_ext_inline_leave(delta->target, delta->inode);
    if (code == 0 && delta->to_inline)
        code = load_target(delta);
    if (code == 0)
        code = release_all(delta);
    if (code == 0)
        code = rep_ext_size_set(delta->target, delta->inode, delta->size);
    return code == 0 ? allocate_all(delta) : code;
}

static int check_sealed(const rep_ext_delta *delta)
{
    struct ext2_inode small = {0};
    int code = rep_ext_inode_get(delta->target, delta->inode, LINUX_S_IFREG, &small);

    return code == 0 ? rep_ext_check_content(delta->target, delta->inode, &small) : code;
}

int rep_ext_delta_map(rep_ext_delta *delta)
{
    int code = rep_ext_check_change(delta->target);

    if (code == 0)
        code = check_sealed(delta);
    if (code == 0)
        code = delta->from_inline ? map_inline(delta) : map_blocks_like_source(delta);
    delta->at = 0;
    return rep_ext_end_change(delta->target, code);
}
