/* The parts of keeping quota files right: the file (rep_ext_quota.c) and the usage
 * (rep_ext_usage.c). */
#ifndef REP_EXT_QUOTA_H
#define REP_EXT_QUOTA_H

#include "rep_ext_internal.h"

/* Of users, of groups, of projects. */
#define MAXQUOTAS_HERE 3U

typedef struct quota_usage {
    uint32_t id;
    uint64_t space; /* bytes */
    uint64_t inodes;
} quota_usage;

typedef struct quota_usages {
    quota_usage *items; /* ascending by id once they are summed up */
    size_t count;
    size_t capacity;
} quota_usages;

/* NULL: nothing is used by this id. */
const quota_usage *rep_ext_quota_find(const quota_usages *usages, uint32_t id);

/* A quota file in memory. */
typedef struct quota_file {
    rep_ext *ext;
    uint32_t inode;
    unsigned char *bytes;
    size_t blocks; /* in use */
    size_t capacity;
} quota_file;

/* The inode of a type's file; 0: there is none. */
uint32_t rep_ext_quota_inode(const rep_ext *ext, unsigned type);
/* -EUCLEAN: it isn't one. Free it after a failure too. */
int rep_ext_quota_load(rep_ext *ext, unsigned type, quota_file *file);
void rep_ext_quota_free(quota_file *file);
int rep_ext_quota_set(quota_file *file, const quota_usage *usage);
/* Entries of ids that are in no usage: nothing is used. */
int rep_ext_quota_clear_others(quota_file *file, const quota_usages *usages);
int rep_ext_quota_store(quota_file *file);

#endif
