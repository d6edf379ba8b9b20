#include <stdio.h>

#include "rep_ext_internal.h"

void rep_ext_start(void)
{
    initialize_ext2_error_table();
}

int rep_ext_errno(errcode_t code)
{
    if (code == 0)
        return 0;
    if (code > 0 && code < 1024) /* below every error table: an errno */
        return (int)-code;
    switch (code) {
    case EXT2_ET_NO_MEMORY:
        return -ENOMEM;
    case EXT2_ET_RO_FILSYS:
    case EXT2_ET_FILE_RO:
        return -EROFS;
    case EXT2_ET_BLOCK_ALLOC_FAIL:
    case EXT2_ET_INODE_ALLOC_FAIL:
    case EXT2_ET_DIR_NO_SPACE:
    case EXT2_ET_EXPAND_DIR_ERR:
    case EXT2_ET_EA_NO_SPACE:
    case EXT2_ET_CANT_INSERT_EXTENT:
        return -ENOSPC;
    case EXT2_ET_FILE_NOT_FOUND:
        return -ENOENT;
    case EXT2_ET_NO_DIRECTORY:
        return -ENOTDIR;
    case EXT2_ET_DIR_EXISTS:
    case EXT2_ET_FILE_EXISTS:
        return -EEXIST;
    case EXT2_ET_FILE_TOO_BIG:
        return -EFBIG;
    case EXT2_ET_INVALID_ARGUMENT:
        return -EINVAL;
    case EXT2_ET_UNSUPP_FEATURE:
    case EXT2_ET_RO_UNSUPP_FEATURE:
    case EXT2_ET_REV_TOO_HIGH:
    case EXT2_ET_UNIMPLEMENTED:
    case EXT2_ET_MISSING_EA_FEATURE:
    case EXT2_ET_OP_NOT_SUPPORTED:
        return -ENOTSUP;
    default:
        return -EUCLEAN;
    }
}

int rep_ext_failed(rep_ext *ext, const char *what, uint64_t object, errcode_t failure)
{
    const char *transfer = rep_ext_cache_failure(ext->cache);
    /* A failed transfer has its errno in its own words. */
    int own = failure > 0 && failure < 1024 && *transfer;

    snprintf(ext->text, sizeof ext->text, "%s %llu: %s", what, (unsigned long long)object,
             own ? transfer : error_message(failure));
    return rep_ext_errno(failure);
}

int rep_ext_refuse(rep_ext *ext, int code, const char *text)
{
    snprintf(ext->text, sizeof ext->text, "%s", text);
    return code;
}

const char *rep_ext_message(const rep_ext *ext)
{
    return ext->text;
}

int rep_ext_check_change(rep_ext *ext)
{
    if (!ext->writable)
        return rep_ext_refuse(ext, -EROFS, "the file system is opened read-only");
    if (ext->broken)
        return rep_ext_refuse(ext, -EIO, "an earlier change failed half-way");
    rep_ext_cache_failure_clear(ext->cache);
    return 0;
}

int rep_ext_end_change(rep_ext *ext, int code)
{
    switch (code) {
    case -EUCLEAN:
    case -EIO:
    case -ENOMEM:
    case -ERANGE:
        ext->broken = 1;
        break;
    default:
        /* Refusals come before the change, and a lack of room is undone by who met it; an errno of
         * the storage that isn't listed is told from them by the cache. */
        if (code < 0 && *rep_ext_cache_failure(ext->cache))
            ext->broken = 1;
        break;
    }
    return code;
}
