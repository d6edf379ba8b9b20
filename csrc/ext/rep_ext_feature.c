/* Which features of ext2, ext3 and ext4 are handled, and the names of those that aren't. */
#include <stdio.h>

#include "rep_ext_internal.h"

typedef enum handling {
    HANDLED,
    READ_ONLY, /* can be read; writing would have to keep something up to date that isn't */
    REFUSED
} handling;

typedef struct feature {
    uint32_t bit;
    handling handling;
    const char *name; /* as mke2fs and tune2fs spell it */
} feature;

/* Unknown compatible features are harmless by definition; they aren't listed. */
static const feature incompatible[] = {
    {0x00001, REFUSED, "compression"},
    {0x00002, HANDLED, "filetype"},
    {0x00008, REFUSED, "journal_dev"},
    {0x00010, HANDLED, "meta_bg"},
    {0x00040, HANDLED, "extent"},
    {0x00080, HANDLED, "64bit"},
    {0x00100, REFUSED, "mmp"},
    {0x00200, HANDLED, "flex_bg"},
    {0x00400, READ_ONLY, "ea_inode"},
    {0x01000, REFUSED, "dirdata"},
    {0x02000, HANDLED, "metadata_csum_seed"},
    {0x04000, HANDLED, "large_dir"},
    {0x08000, READ_ONLY, "inline_data"},
    {0x10000, REFUSED, "encrypt"},
    {0x20000, REFUSED, "casefold"},
};

static const feature read_only_compatible[] = {
    {0x00001, HANDLED, "sparse_super"}, {0x00002, HANDLED, "large_file"},
    {0x00008, HANDLED, "huge_file"},    {0x00010, HANDLED, "uninit_bg"},
    {0x00020, HANDLED, "dir_nlink"},    {0x00040, HANDLED, "extra_isize"},
    {0x00080, REFUSED, "snapshot"},     {0x00100, READ_ONLY, "quota"},
    {0x00200, READ_ONLY, "bigalloc"},   {0x00400, HANDLED, "metadata_csum"},
    {0x00800, REFUSED, "replica"},      {0x01000, READ_ONLY, "read-only"},
    {0x02000, READ_ONLY, "project"},    {0x04000, READ_ONLY, "shared_blocks"},
    {0x08000, REFUSED, "verity"},
};

/* Told as a need of recovery, not as a feature. */
#define INCOMPAT_RECOVER 0x00004U
#define RO_COMPAT_ORPHAN_PRESENT 0x10000U

/* Appends the names of the bits of `set` that can't be handled; returns how many. */
static unsigned name_refused(uint32_t set, const feature *table, size_t count, const char *family,
                             rep_ext_access access, char *text, size_t text_size)
{
    unsigned refused = 0;

    for (uint32_t bit = 1; bit != 0; bit <<= 1U) {
        const char *name = NULL;
        handling handled = REFUSED;
        size_t used = strlen(text);
        if (!(set & bit))
            continue;
        for (size_t i = 0; i < count; i++) {
            if (table[i].bit == bit) {
                name = table[i].name;
                handled = table[i].handling;
            }
        }
        if (handled == HANDLED || (handled == READ_ONLY && access == REP_EXT_READ_ONLY))
            continue;
        if (name)
            snprintf(text + used, text_size - used, "%s%s", used ? ", " : "", name);
        else
            snprintf(text + used, text_size - used, "%sunknown %s feature 0x%x", used ? ", " : "",
                     family, bit);
        refused++;
    }
    return refused;
}

int rep_ext_check_features(const struct ext2_super_block *super, rep_ext_access access, char *text,
                           size_t text_size)
{
    uint32_t incompat = super->s_feature_incompat & ~INCOMPAT_RECOVER;
    uint32_t ro_compat = super->s_feature_ro_compat & ~RO_COMPAT_ORPHAN_PRESENT;
    unsigned refused = 0;

    *text = '\0';
    refused += name_refused(incompat, incompatible, sizeof incompatible / sizeof *incompatible,
                            "incompatible", access, text, text_size);
    refused += name_refused(ro_compat, read_only_compatible,
                            sizeof read_only_compatible / sizeof *read_only_compatible,
                            "read-only compatible", access, text, text_size);
    return refused ? -ENOTSUP : 0;
}
