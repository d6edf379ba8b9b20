#include "rep_bitmap_file.h"

#include <assert.h>
#include <endian.h>
#include <errno.h>
#include <fcntl.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "bitmap_file_parts.h"
#include "rep_crc.h"
#include "rep_io_file.h"

#define VERSION 2U
#define FLAG_OPEN 1U
#define FLAG_FILLED 2U /* since version 2 */

static const char magic[8] = "pyrepBM";

typedef struct header {
    char magic[8];
    uint32_t version;
    uint32_t flags;
    uint8_t system_id[16];
    uint8_t volume_id[16];
    uint8_t row_id[16];
    uint64_t bit_count;
    uint64_t chunk_bytes;
    uint64_t data_id;
    uint32_t page_bytes;
    uint8_t zeros[REP_PAGE_CRC_OFFSET - 92];
    uint32_t crc;
} header;

static_assert(sizeof(header) == REP_PAGE_BYTES && offsetof(header, page_bytes) == 88,
              "the header's layout is a format");

static uint64_t file_bytes(const rep_bitmap_key *key)
{
    return (1 + rep_bitmap_file_pages(key)) * REP_PAGE_BYTES;
}

static void encode_header(const rep_bitmap_key *key, uint32_t flags, header *out)
{
    memset(out, 0, sizeof *out);
    memcpy(out->magic, magic, sizeof magic);
    out->version = htole32(VERSION);
    out->flags = htole32(flags);
    memcpy(out->system_id, key->system_id, sizeof out->system_id);
    memcpy(out->volume_id, key->volume_id, sizeof out->volume_id);
    memcpy(out->row_id, key->row_id, sizeof out->row_id);
    out->bit_count = htole64(key->bit_count);
    out->chunk_bytes = htole64(key->chunk_bytes);
    out->data_id = htole64(key->data_id);
    out->page_bytes = htole32(REP_PAGE_BYTES);
    out->crc = htole32(rep_crc32c(0, out, REP_PAGE_CRC_OFFSET));
}

static int check_header(const header *found, const rep_bitmap_key *expected)
{
    if (memcmp(found->magic, magic, sizeof magic) != 0)
        return -EBADMSG;
    if (le32toh(found->crc) != rep_crc32c(0, found, REP_PAGE_CRC_OFFSET))
        return -EBADMSG;
    if (le32toh(found->version) > VERSION)
        return -EPROTO;
    uint32_t known = le32toh(found->version) == VERSION ? FLAG_OPEN | FLAG_FILLED : FLAG_OPEN;
    if (!found->version || le32toh(found->flags) & ~known
        || le32toh(found->page_bytes) != REP_PAGE_BYTES)
        return -EBADMSG;
    if (memcmp(found->system_id, expected->system_id, sizeof found->system_id) != 0
        || memcmp(found->volume_id, expected->volume_id, sizeof found->volume_id) != 0
        || memcmp(found->row_id, expected->row_id, sizeof found->row_id) != 0
        || le64toh(found->bit_count) != expected->bit_count
        || le64toh(found->chunk_bytes) != expected->chunk_bytes)
        return -EXDEV;
    /* After an unclean end the bits say nothing, and the close that failed may have got as far as
     * giving the table its new identifier: the open mark decides. */
    if (le32toh(found->flags) & FLAG_OPEN)
        return 0;
    return le64toh(found->data_id) == expected->data_id ? 0 : -ESTALE;
}

static int read_header(rep_io *io, const rep_bitmap_key *expected, uint32_t *flags)
{
    header found;
    if (rep_io_size(io) < sizeof found)
        return -ENODATA;
    int rc = rep_io_pread(io, &found, sizeof found, 0);
    if (!rc)
        rc = check_header(&found, expected);
    if (rc)
        return rc;
    uint64_t bytes = file_bytes(expected);
    if (rep_io_size(io) != bytes)
        return rep_io_size(io) < bytes ? -ENODATA : -EBADMSG;
    *flags = le32toh(found.flags);
    return 0;
}

int rep_bitmap_file_open(const char *path, const rep_bitmap_key *expected, rep_bitmap_file **out)
{
    if (!expected->bit_count || expected->bit_count > REP_BITMAP_BITS_MAX)
        return -EINVAL;
    rep_bitmap_file *file = calloc(1, sizeof *file);
    if (!file)
        return -ENOMEM;
    file->key = *expected;
    uint32_t flags = 0;
    int rc = rep_io_file_open(path, &file->io);
    if (!rc)
        rc = read_header(file->io, expected, &flags);
    file->marked_open = flags & FLAG_OPEN;
    file->filled = flags & FLAG_FILLED;
    if (rc) {
        rep_bitmap_file_free(file);
        return rc;
    }
    *out = file;
    return 0;
}

void rep_bitmap_file_free(rep_bitmap_file *file)
{
    if (!file)
        return;
    rep_io_free(file->io);
    free(file);
}

int rep_bitmap_file_marked_open(const rep_bitmap_file *file)
{
    return file->marked_open ? 1 : 0;
}

static int write_header(rep_bitmap_file *file, const rep_bitmap_key *key, bool marked_open,
                        bool filled)
{
    header encoded;
    encode_header(key, (marked_open ? FLAG_OPEN : 0) | (filled ? FLAG_FILLED : 0), &encoded);
    int rc = rep_io_pwrite(file->io, &encoded, sizeof encoded, 0);
    return rc ? rc : rep_io_flush(file->io);
}

int rep_bitmap_file_change(rep_bitmap_file *file, const rep_bitmap_key *key, bool marked_open,
                           bool filled)
{
    int rc = write_header(file, key, marked_open, filled);
    if (rc) {
        /* The new header may have reached the disk: a closed mark there, with a caller who was told
         * that it failed and goes on writing, would hide a crash. */
        write_header(file, &file->key, file->marked_open, file->filled);
        return rc;
    }
    file->key = *key;
    file->marked_open = marked_open;
    file->filled = filled;
    return 0;
}

int rep_bitmap_file_mark_open(rep_bitmap_file *file)
{
    return rep_bitmap_file_change(file, &file->key, true, file->filled);
}

int rep_bitmap_file_mark_closed(rep_bitmap_file *file, uint64_t data_id)
{
    rep_bitmap_key key = file->key;
    key.data_id = data_id;
    return rep_bitmap_file_change(file, &key, false, file->filled);
}

/* The name is durable only when its directory is. */
static int sync_directory(const char *path)
{
    const char *slash = strrchr(path, '/');
    char *parent = slash ? strndup(path, (size_t)(slash - path) + 1) : strdup(".");
    if (!parent)
        return -ENOMEM;
    int fd = open(parent, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    int rc = fd < 0 || fsync(fd) < 0 ? -errno : 0;
    if (fd >= 0)
        close(fd);
    free(parent);
    return rc;
}

/* A sparse file of its full size, so that a file which is too short is always a damaged one. */
static int make_file(const char *path, uint64_t size_bytes)
{
    int fd = open(path, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    if (fd < 0)
        return -errno;
    int rc = ftruncate(fd, (off_t)size_bytes) < 0 ? -errno : 0;
    close(fd);
    if (rc)
        unlink(path);
    return rc;
}

int rep_bitmap_file_create(const char *path, const rep_bitmap_key *key, int marked_open,
                           rep_bitmap_file **out)
{
    if (!key->bit_count || key->bit_count > REP_BITMAP_BITS_MAX)
        return -EINVAL;
    rep_bitmap_file *file = calloc(1, sizeof *file);
    if (!file)
        return -ENOMEM;
    file->key = *key;
    file->marked_open = marked_open;
    int rc = make_file(path, file_bytes(key));
    if (rc) {
        free(file);
        return rc;
    }
    rc = rep_io_file_open(path, &file->io);
    if (!rc)
        rc = write_header(file, key, file->marked_open, false);
    if (!rc)
        rc = sync_directory(path);
    if (rc) {
        unlink(path);
        rep_bitmap_file_free(file);
        return rc;
    }
    *out = file;
    return 0;
}
