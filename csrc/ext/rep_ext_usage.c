/* What users, groups and projects use, counted from the inodes as the kernel counts it. */
#include "rep_ext_quota.h"

static int compare_ids(const void *left, const void *right)
{
    uint32_t a = ((const quota_usage *)left)->id;
    uint32_t b = ((const quota_usage *)right)->id;

    return a < b ? -1 : a > b;
}

const quota_usage *rep_ext_quota_find(const quota_usages *usages, uint32_t id)
{
    quota_usage wanted = {.id = id};

    if (usages->count == 0)
        return NULL;
    return bsearch(&wanted, usages->items, usages->count, sizeof wanted, compare_ids);
}

static int add(quota_usages *usages, uint32_t id, uint64_t space)
{
    if (usages->count == usages->capacity) {
        size_t capacity = usages->capacity ? usages->capacity * 2 : 1024;
        quota_usage *items = realloc(usages->items, capacity * sizeof *items);
        if (!items)
            return -ENOMEM;
        usages->items = items;
        usages->capacity = capacity;
    }
    usages->items[usages->count++] = (quota_usage){.id = id, .space = space, .inodes = 1};
    return 0;
}

static void sum_up(quota_usages *usages)
{
    size_t kept = 0;

    if (usages->count == 0)
        return;
    qsort(usages->items, usages->count, sizeof *usages->items, compare_ids);
    for (size_t i = 1; i < usages->count; i++) {
        if (usages->items[i].id == usages->items[kept].id) {
            usages->items[kept].space += usages->items[i].space;
            usages->items[kept].inodes += usages->items[i].inodes;
        } else {
            usages->items[++kept] = usages->items[i];
        }
    }
    usages->count = kept + 1;
}

/* The file system's own files count for nobody. */
static int counts(const rep_ext *ext, uint32_t inode)
{
    const struct ext2_super_block *super = ext->fs->super;

    return inode == EXT2_ROOT_INO
           || (inode >= EXT2_FIRST_INODE(super) && inode != super->s_prj_quota_inum
               && inode != super->s_orphan_file_inum);
}

static int count_inode(rep_ext *ext, uint32_t inode, const inode_buffer *buffer,
                       quota_usages *usages)
{
    struct ext2_inode small;
    rep_ext_stat stat;
    uint64_t space;
    int code;

    memcpy(&small, &buffer->large, sizeof small);
    space = ext2fs_get_stat_i_blocks(ext->fs, &small) * 512;
    rep_ext_stat_from(ext, inode, buffer, &stat);
    code = add(&usages[0], stat.uid, space);
    if (code == 0)
        code = add(&usages[1], stat.gid, space);
    return code == 0 ? add(&usages[2], stat.project, space) : code;
}

static int count_all(rep_ext *ext, quota_usages *usages)
{
    ext2_inode_scan scan = NULL;
    inode_buffer buffer;
    ext2_ino_t inode = 0;
    errcode_t failure = ext2fs_open_inode_scan(ext->fs, 0, &scan);
    int code = 0;

    while (!failure && code == 0) {
        memset(&buffer, 0, sizeof buffer);
        failure = ext2fs_get_next_inode_full(scan, &inode, rep_ext_small(&buffer), sizeof buffer);
        if (failure || inode == 0)
            break;
        if (buffer.large.i_links_count > 0 && counts(ext, inode))
            code = count_inode(ext, inode, &buffer, usages);
    }
    if (scan)
        ext2fs_close_inode_scan(scan);
    if (failure)
        return rep_ext_failed(ext, "inodes behind inode", inode, failure);
    for (unsigned type = 0; code == 0 && type < MAXQUOTAS_HERE; type++)
        sum_up(&usages[type]);
    return code < 0 ? rep_ext_refuse(ext, code, "no memory") : 0;
}

static int update_file(rep_ext *ext, unsigned type, const quota_usages *usages)
{
    quota_file file;
    int code = rep_ext_quota_load(ext, type, &file);

    if (code == 0)
        code = rep_ext_quota_clear_others(&file, usages);
    for (size_t i = 0; code == 0 && i < usages->count; i++)
        code = rep_ext_quota_set(&file, &usages->items[i]);
    if (code == 0)
        code = rep_ext_quota_store(&file);
    rep_ext_quota_free(&file);
    return code;
}

int rep_ext_quota_update(rep_ext *ext)
{
    quota_usages usages[MAXQUOTAS_HERE] = {{0}};
    int code = 0;

    if (!ext2fs_has_feature_quota(ext->fs->super))
        return 0;
    code = count_all(ext, usages);
    for (unsigned type = 0; code == 0 && type < MAXQUOTAS_HERE; type++)
        if (rep_ext_quota_inode(ext, type))
            code = update_file(ext, type, &usages[type]);
    for (unsigned type = 0; type < MAXQUOTAS_HERE; type++)
        free(usages[type].items);
    return code;
}

int rep_ext_quota_check(rep_ext *ext)
{
    int code = 0;

    for (unsigned type = 0; code == 0 && type < MAXQUOTAS_HERE; type++) {
        quota_file file = {0};
        if (!rep_ext_quota_inode(ext, type))
            continue;
        code = rep_ext_quota_load(ext, type, &file);
        rep_ext_quota_free(&file);
    }
    return code;
}
