/* rep_ext: a hostile file system, looked at through a copy-on-write view, then changed in it. An
 * input is a whole volume, or changes to one of the sound ones that are made here. */
#include "rep_ext.h"

#include "fuzz.h"
#include "rep_ext_internal.h"
#include "rep_io_memory.h"
#include "rep_overlay.h"

#define SIZE ((uint64_t)1 << 20)
#define UNIT 16U                /* bytes: where a change may begin */
#define WHOLE_BYTES (64U << 10) /* an input that is longer is a volume itself */
#define ENTRIES_MAX 60U
#define PIECE (16U << 10)
#define KINDS 4U

static rep_io *bases[KINDS];

static const rep_ext_stat file_stat = {.mode = LINUX_S_IFREG | 0644, .mtime_s = 1000};

/* --- sound volumes ---------------------------------------------------------------------------- */

static void set_features(struct ext2_super_block *super, unsigned kind)
{
    super->s_rev_level = EXT2_DYNAMIC_REV;
    super->s_inode_size = kind == 0 ? 128 : 256;
    super->s_inodes_count = 256;
    ext2fs_set_feature_filetype(super);
    ext2fs_set_feature_dir_index(super);
    ext2fs_set_feature_xattr(super);
    if (kind == 0)
        return;
    ext2fs_set_feature_extents(super);
    ext2fs_set_feature_large_file(super);
    if (kind == 1)
        return;
    ext2fs_set_feature_inline_data(super);
    ext2fs_set_feature_ea_inode(super);
    if (kind == 3) {
        ext2fs_set_feature_bigalloc(super);
        super->s_log_cluster_size = 2;
    }
}

static void make_fs(rep_io *io, unsigned kind)
{
    rep_ext ext = {.io = io, .writable = 1};
    struct ext2_super_block super = {0};
    ext2_filsys fs = NULL;

    ext.cache = rep_ext_cache_new(io, 1);
    FUZZ_CHECK(ext.cache);
    ext2fs_blocks_count_set(&super, SIZE / 1024);
    set_features(&super, kind);
    FUZZ_CHECK(ext2fs_initialize("volume", EXT2_FLAG_64BITS, &super, rep_ext_manager_for(&ext), &fs)
               == 0);
    FUZZ_CHECK(ext2fs_allocate_tables(fs) == 0);
    FUZZ_CHECK(ext2fs_mkdir(fs, EXT2_ROOT_INO, EXT2_ROOT_INO, NULL) == 0);
    for (ext2_ino_t inode = 1; inode < EXT2_FIRST_INODE(fs->super); inode++)
        if (inode != EXT2_ROOT_INO)
            ext2fs_inode_alloc_stats2(fs, inode, +1, 0);
    fs->super->s_hash_seed[0] = 7;
    fs->super->s_def_hash_version = EXT2_HASH_HALF_MD4;
    fs->super->s_state = EXT2_VALID_FS;
    FUZZ_CHECK(ext2fs_close(fs) == 0);
    FUZZ_CHECK(rep_ext_cache_flush(ext.cache) == 0);
    rep_ext_cache_free(ext.cache);
}

static uint32_t make_file(rep_ext *ext, uint32_t directory, const char *name, uint32_t mode,
                          const char *target)
{
    rep_ext_making making = {
        .stat = file_stat, .name = name, .target = target, .directory = directory};
    uint32_t inode = 0;

    making.stat.mode = mode;
    making.stat.storage = REP_EXT_INLINE;
    FUZZ_CHECK(rep_ext_make(ext, &making, &inode) == 0);
    return inode;
}

static void pack(char *packed, size_t *length, const char *name, size_t value_length)
{
    uint32_t lengths[2] = {(uint32_t)strlen(name), (uint32_t)value_length};

    memcpy(packed + *length, lengths, sizeof lengths);
    memcpy(packed + *length + sizeof lengths, name, lengths[0]);
    memset(packed + *length + sizeof lengths + lengths[0], 'v', value_length);
    *length += sizeof lengths + lengths[0] + value_length;
}

static void fill_fs(rep_ext *ext, unsigned kind)
{
    static char target[200];
    static char packed[8192];
    size_t length = 0;
    uint64_t changed = 0;
    uint32_t directory = make_file(ext, EXT2_ROOT_INO, "many", LINUX_S_IFDIR | 0755, NULL);
    uint32_t scattered = make_file(ext, EXT2_ROOT_INO, "scattered", LINUX_S_IFREG | 0644, NULL);
    uint32_t inner = make_file(ext, EXT2_ROOT_INO, "small", LINUX_S_IFREG | 0644, NULL);

    for (int i = 0; i < 60; i++) {
        char name[64];
        snprintf(name, sizeof name, "a name that fills its block of the directory %d", i);
        make_file(ext, directory, name, LINUX_S_IFREG | 0600, NULL);
    }
    for (uint64_t i = 0; i < 40; i++)
        FUZZ_CHECK(rep_ext_write(ext, scattered, "data", 4, i * 4096, &changed) == 0);
    FUZZ_CHECK(rep_ext_write(ext, inner, "small", 5, 0, &changed) == 0);
    pack(packed, &length, "user.a", 4);
    pack(packed, &length, "user.b", 300);
    if (kind >= 2)
        pack(packed, &length, "user.large", 3000);
    FUZZ_CHECK(rep_ext_xattrs_set(ext, scattered, packed, length) == 0);
    memset(target, 't', sizeof target - 1);
    make_file(ext, EXT2_ROOT_INO, "long link", LINUX_S_IFLNK | 0777, target);
    make_file(ext, EXT2_ROOT_INO, "link", LINUX_S_IFLNK | 0777, "small");
    make_file(ext, EXT2_ROOT_INO, "pipe", LINUX_S_IFIFO | 0600, NULL);
    FUZZ_CHECK(rep_ext_link(ext, directory, "again", inner, 0) == 0);
    FUZZ_CHECK(rep_ext_flush(ext) == 0);
}

static rep_io *base_of(unsigned kind)
{
    rep_ext_error error;
    rep_ext *ext = NULL;

    if (bases[kind])
        return bases[kind];
    rep_ext_start();
    FUZZ_CHECK(rep_io_memory_new(SIZE, &bases[kind]) == 0);
    make_fs(bases[kind], kind);
    if (rep_ext_open(bases[kind], REP_EXT_READ_WRITE, &ext, &error) < 0) {
        fprintf(stderr, "base %u: %s\n", kind, error.text);
        abort();
    }
    fill_fs(ext, kind);
    rep_ext_free(ext);
    return bases[kind];
}

/* --- looking ---------------------------------------------------------------------------------- */

static void look_at(rep_ext *ext, const rep_ext_stat *stat)
{
    static char buffer[PIECE];
    char *packed = NULL;
    size_t length = 0;
    uint64_t got = 0;

    rep_ext_xattrs_get(ext, stat->inode, &packed, &length);
    rep_ext_buffer_free(packed);
    if (rep_ext_readlink(ext, stat->inode, buffer, sizeof buffer, &length) == 0)
        FUZZ_CHECK(length < sizeof buffer);
    if (rep_ext_read(ext, stat->inode, buffer, sizeof buffer, 0, &got) == 0)
        FUZZ_CHECK(got <= sizeof buffer);
    rep_ext_read(ext, stat->inode, buffer, sizeof buffer, stat->size / 2, &got);
    rep_ext_first_block(ext, stat->inode);
}

static void compare_with(rep_ext *ext, rep_ext *sound, uint32_t inode)
{
    rep_ext_delta *delta = NULL;
    rep_ext_needs needs;
    uint64_t differ = 0;
    uint64_t compared = 0;

    if (rep_ext_delta_new(ext, inode, sound, inode, &delta) < 0)
        return;
    rep_ext_delta_needs(delta, &needs);
    rep_ext_delta_compare(delta, PIECE, &differ, &compared);
    rep_ext_delta_is_untouched(delta, NULL, 0);
    rep_ext_delta_free(delta);
}

static void find_owners(rep_ext *ext)
{
    static const rep_extent extents[] = {{2048, 4096}, {300 << 10, 200 << 10}};
    rep_ext_owners owners;
    rep_ext_listing listing;

    if (rep_ext_owners_get(ext, extents, 2, &owners) < 0)
        return;
    rep_ext_owners_names(ext, &owners, &listing);
    rep_ext_listing_free(&listing);
    rep_ext_owners_free(&owners);
}

static void look(rep_io *io, rep_io *sound_io)
{
    rep_ext_listing listing;
    rep_ext_error error;
    rep_ext *ext = NULL;
    rep_ext *sound = NULL;
    uint32_t found = 0;

    if (rep_ext_open(io, REP_EXT_READ_ONLY, &ext, &error) < 0) {
        FUZZ_CHECK(error.code < 0 && error.refusal >= REP_EXT_NOT_EXT);
        return;
    }
    FUZZ_CHECK(rep_ext_open(sound_io, REP_EXT_READ_ONLY, &sound, &error) == 0);
    rep_ext_walk(ext, EXT2_ROOT_INO, 1, &listing);
    for (size_t i = 0; i < listing.count && i < ENTRIES_MAX; i++) {
        const rep_ext_entry *entry = &listing.entries[i];
        FUZZ_CHECK(entry->name_offset + entry->name_length <= listing.names_length);
        FUZZ_CHECK(entry->parent == UINT32_MAX || entry->parent < i);
        look_at(ext, &entry->stat);
        compare_with(ext, sound, entry->stat.inode);
        if (entry->parent == UINT32_MAX)
            rep_ext_lookup(ext, EXT2_ROOT_INO, listing.names + entry->name_offset,
                           entry->name_length, &found);
    }
    rep_ext_lookup(ext, EXT2_ROOT_INO, "nothing", 7, &found);
    find_owners(ext);
    rep_ext_listing_free(&listing);
    rep_ext_free(sound);
    rep_ext_free(ext);
}

/* --- changing --------------------------------------------------------------------------------- */

static void change_file(rep_ext *ext, uint32_t inode, unsigned what)
{
    static char packed[8192];
    size_t length = 0;
    uint64_t changed = 0;

    switch (what % 4) {
    case 0:
        rep_ext_write(ext, inode, "changed content", 15, what * 1000U, &changed);
        break;
    case 1:
        rep_ext_truncate(ext, inode, what * 100U);
        break;
    case 2:
        pack(packed, &length, "user.a", what * 20U);
        rep_ext_xattrs_set(ext, inode, packed, length);
        break;
    default:
        rep_ext_attributes_set(ext, inode, &file_stat);
        break;
    }
}

static void change(rep_io *io, fuzz_input *input)
{
    static const char *const names[] = {"scattered", "small", "many", "long link", "new", "pipe"};
    rep_ext_error error;
    rep_ext *ext = NULL;
    uint32_t inode = 0;

    if (rep_ext_open(io, REP_EXT_READ_WRITE, &ext, &error) < 0)
        return;
    for (unsigned step = 0; step < 12 && input->left; step++) {
        unsigned what = fuzz_u8(input);
        const char *name = names[what % 6];
        rep_ext_making making = {.stat = file_stat, .name = name, .directory = EXT2_ROOT_INO};
        switch (what / 6 % 5) {
        case 0:
            rep_ext_unlink(ext, EXT2_ROOT_INO, name);
            break;
        case 1:
            rep_ext_rmdir(ext, EXT2_ROOT_INO, name, 1);
            break;
        case 2:
            rep_ext_make(ext, &making, &inode);
            break;
        default:
            if (rep_ext_lookup(ext, EXT2_ROOT_INO, name, strlen(name), &inode) == 0)
                change_file(ext, inode, what);
            break;
        }
    }
    rep_ext_flush(ext);
    rep_ext_free(ext);
}

/* --- inputs ----------------------------------------------------------------------------------- */

static void patch(rep_io *io, fuzz_input *input)
{
    unsigned count = fuzz_u8(input) % 32;

    while (count-- && input->left) {
        uint64_t offset = fuzz_u16(input) * (uint64_t)UNIT;
        size_t length = fuzz_u8(input) % 64 + 1U;
        const uint8_t *bytes;
        offset += length >> 4U;
        bytes = fuzz_bytes(input, &length);
        if (length && offset + length <= io->size_bytes)
            FUZZ_CHECK(rep_io_pwrite(io, bytes, length, offset) == 0);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    fuzz_input input = {data, size};
    rep_io *whole = NULL;
    rep_io *hostile = NULL;
    rep_io *view = NULL;
    unsigned kind = fuzz_u8(&input) % KINDS;

    if (size > WHOLE_BYTES) {
        FUZZ_CHECK(rep_io_memory_new(size, &whole) == 0);
        FUZZ_CHECK(rep_io_pwrite(whole, data, size, 0) == 0);
        input.left = 0;
    }
    FUZZ_CHECK(rep_overlay_new(whole ? whole : base_of(kind), &hostile) == 0);
    if (!whole)
        patch(hostile, &input);
    look(hostile, base_of(kind));
    FUZZ_CHECK(rep_overlay_new(hostile, &view) == 0);
    change(view, &input);
    rep_io_free(view);
    rep_io_free(hostile);
    rep_io_free(whole);
    return 0;
}

void fuzz_seeds(fuzz_take *take)
{
    /* A base, the count of changes, and what is done to its files: every kind of change. */
    for (unsigned kind = 0; kind < KINDS; kind++) {
        uint8_t seed[80] = {(uint8_t)kind, 0};
        char name[16];
        for (unsigned i = 2; i < sizeof seed; i++)
            seed[i] = (uint8_t)(i * 7);
        snprintf(name, sizeof name, "base-%u", kind);
        take(name, seed, 14);
        seed[1] = 1; /* a change to the superblock's free inodes */
        seed[2] = (1024 + 16) / UNIT;
        seed[3] = 0;
        seed[4] = 3;
        snprintf(name, sizeof name, "changed-%u", kind);
        take(name, seed, sizeof seed);
    }
}
