/* Which features of ext2, ext3 and ext4 are handled, and the names of those that aren't. */
#include <stdio.h>

#include "rep_ext_internal.h"

#define OF(family, bit, handling, name) {REP_EXT_##family, bit, REP_EXT_##handling, name}
#define COMPAT(bit, name) OF(COMPATIBLE, bit, HANDLED, name)
#define INCOMPAT(bit, handling, name) OF(INCOMPATIBLE, bit, handling, name)
#define RO_COMPAT(bit, handling, name) OF(READ_ONLY_COMPATIBLE, bit, handling, name)

static const rep_ext_feature features[] = {
    COMPAT(0x0001, "dir_prealloc"),
    COMPAT(0x0002, "imagic_inodes"),
    COMPAT(0x0004, "has_journal"),
    COMPAT(0x0008, "ext_attr"),
    COMPAT(0x0010, "resize_inode"),
    COMPAT(0x0020, "dir_index"),
    COMPAT(0x0040, "lazy_bg"),
    COMPAT(0x0200, "sparse_super2"),
    COMPAT(0x0400, "fast_commit"),
    COMPAT(0x0800, "stable_inodes"),
    COMPAT(0x1000, "orphan_file"),
    INCOMPAT(0x00001, REFUSED, "compression"),
    INCOMPAT(0x00002, HANDLED, "filetype"),
    INCOMPAT(0x00004, REFUSED, "needs_recovery"), /* told as a need, not as a feature */
    INCOMPAT(0x00008, REFUSED, "journal_dev"),
    INCOMPAT(0x00010, HANDLED, "meta_bg"),
    INCOMPAT(0x00040, HANDLED, "extent"),
    INCOMPAT(0x00080, HANDLED, "64bit"),
    INCOMPAT(0x00100, HANDLED, "mmp"),
    INCOMPAT(0x00200, HANDLED, "flex_bg"),
    INCOMPAT(0x00400, HANDLED, "ea_inode"),
    INCOMPAT(0x01000, REFUSED, "dirdata"),
    INCOMPAT(0x02000, HANDLED, "metadata_csum_seed"),
    INCOMPAT(0x04000, HANDLED, "large_dir"),
    INCOMPAT(0x08000, HANDLED, "inline_data"),
    INCOMPAT(0x10000, HANDLED, "encrypt"),
    INCOMPAT(0x20000, HANDLED, "casefold"),
    RO_COMPAT(0x00001, HANDLED, "sparse_super"),
    RO_COMPAT(0x00002, HANDLED, "large_file"),
    RO_COMPAT(0x00008, HANDLED, "huge_file"),
    RO_COMPAT(0x00010, HANDLED, "uninit_bg"),
    RO_COMPAT(0x00020, HANDLED, "dir_nlink"),
    RO_COMPAT(0x00040, HANDLED, "extra_isize"),
    RO_COMPAT(0x00080, REFUSED, "snapshot"),
    RO_COMPAT(0x00100, HANDLED, "quota"),
    RO_COMPAT(0x00200, HANDLED, "bigalloc"),
    RO_COMPAT(0x00400, HANDLED, "metadata_csum"),
    RO_COMPAT(0x00800, REFUSED, "replica"),
    RO_COMPAT(0x01000, READS, "read-only"),
    RO_COMPAT(0x02000, HANDLED, "project"),
    RO_COMPAT(0x04000, READS, "shared_blocks"),
    RO_COMPAT(0x08000, HANDLED, "verity"),
    RO_COMPAT(0x10000, REFUSED, "orphan_present"), /* told as a need, not as a feature */
};

int rep_ext_feature_get(size_t index, rep_ext_feature *out)
{
    if (index >= sizeof features / sizeof *features)
        return 0;
    *out = features[index];
    return 1;
}

/* Told as a need of recovery, not as a feature. */
#define INCOMPAT_RECOVER 0x00004U
#define RO_COMPAT_ORPHAN_PRESENT 0x10000U

static const rep_ext_feature *find_feature(rep_ext_family family, uint32_t bit)
{
    for (size_t i = 0; i < sizeof features / sizeof *features; i++)
        if (features[i].family == (uint32_t)family && features[i].bit == bit)
            return &features[i];
    return NULL;
}

/* Appends the names of the bits of `set` that can't be handled; returns how many. */
static unsigned name_refused(uint32_t set, rep_ext_family family, const char *family_name,
                             rep_ext_access access, char *text, size_t text_size)
{
    unsigned refused = 0;

    for (uint32_t bit = 1; bit != 0; bit <<= 1U) {
        const rep_ext_feature *known = find_feature(family, bit);
        uint32_t handling = known ? known->handling : (uint32_t)REP_EXT_REFUSED;
        size_t used = strlen(text);
        if (!(set & bit) || handling == REP_EXT_HANDLED
            || (handling == REP_EXT_READS && access == REP_EXT_READ_ONLY))
            continue;
        if (known)
            snprintf(text + used, text_size - used, "%s%s", used ? ", " : "", known->name);
        else
            snprintf(text + used, text_size - used, "%sunknown %s feature 0x%x", used ? ", " : "",
                     family_name, bit);
        refused++;
    }
    return refused;
}

int rep_ext_check_features(struct ext2_super_block *super, rep_ext_access access, char *text,
                           size_t text_size)
{
    uint32_t incompat = super->s_feature_incompat & ~INCOMPAT_RECOVER;
    uint32_t ro_compat = super->s_feature_ro_compat & ~RO_COMPAT_ORPHAN_PRESENT;
    unsigned refused = 0;

    *text = '\0';
    refused +=
        name_refused(incompat, REP_EXT_INCOMPATIBLE, "incompatible", access, text, text_size);
    refused += name_refused(ro_compat, REP_EXT_READ_ONLY_COMPATIBLE, "read-only compatible", access,
                            text, text_size);
    /* Who pays for a value in an inode of its own isn't said by that inode. */
    if (access == REP_EXT_READ_WRITE && ext2fs_has_feature_quota(super)
        && ext2fs_has_feature_ea_inode(super)) {
        size_t used = strlen(text);
        snprintf(text + used, text_size - used, "%squota with ea_inode", used ? ", " : "");
        refused++;
    }
    return refused ? -ENOTSUP : 0;
}
