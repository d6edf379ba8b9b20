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

#define VERSION 3U

static const uint32_t known_flags[VERSION + 1] = {
    [1] = REP_FILE_OPEN,
    [2] = REP_FILE_OPEN | REP_FILE_FILLED,
    [3] = REP_FILE_OPEN | REP_FILE_FILLED | REP_FILE_LOGGED,
};

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
    uint32_t balance; /* since version 3 */
    uint8_t zeros[REP_PAGE_CRC_OFFSET - 96];
    uint32_t crc;
} header;

static_assert(sizeof(header) == REP_PAGE_BYTES && offsetof(header, page_bytes) == 88,
              "the header's layout is a format");

uint64_t rep_bitmap_file_bytes(const rep_bitmap_key *key)
{
    return (1 + rep_bitmap_file_pages(key)) * REP_PAGE_BYTES;
}

static uint32_t crc_with(header *h, uint32_t balance)
{
    h->balance = htole32(balance);
    return rep_crc32c(0, h, REP_PAGE_CRC_OFFSET);
}

/* Chooses the balance so that the checksum is `wanted`. A checksum is linear in each of its bits: a
 * set of 32 that lead to every value. So a header that is written anew changes in its first 512
 * bytes alone, and a power loss that tears the write leaves the old header or the new one. */
static void balance_to(header *h, uint32_t wanted)
{
    uint32_t none = crc_with(h, 0);
    uint32_t effect[32] = {0}; /* by highest bit */
    uint32_t choice[32] = {0};
    for (uint32_t i = 0; i < 32; i++) {
        uint32_t e = crc_with(h, 1U << i) ^ none;
        uint32_t c = 1U << i;
        while (e) {
            unsigned top = 31U - (unsigned)__builtin_clz(e);
            if (!effect[top]) {
                effect[top] = e;
                choice[top] = c;
                break;
            }
            e ^= effect[top];
            c ^= choice[top];
        }
    }
    uint32_t left = wanted ^ none;
    uint32_t balance = 0;
    while (left) {
        unsigned top = 31U - (unsigned)__builtin_clz(left);
        left ^= effect[top];
        balance ^= choice[top];
    }
    h->balance = htole32(balance);
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
    uint32_t version = le32toh(found->version);
    if (version > VERSION)
        return -EPROTO;
    if (!version || le32toh(found->flags) & ~known_flags[version]
        || le32toh(found->page_bytes) != REP_PAGE_BYTES)
        return -EBADMSG;
    if (memcmp(found->system_id, expected->system_id, sizeof found->system_id) != 0
        || memcmp(found->volume_id, expected->volume_id, sizeof found->volume_id) != 0
        || memcmp(found->row_id, expected->row_id, sizeof found->row_id) != 0
        || le64toh(found->bit_count) != expected->bit_count
        || le64toh(found->chunk_bytes) != expected->chunk_bytes)
        return -EXDEV;
    /* After an unclean end the close that failed may have got as far as giving the table its new
     * identifier: the marks decide. */
    if (le32toh(found->flags) & (REP_FILE_OPEN | REP_FILE_LOGGED))
        return 0;
    return le64toh(found->data_id) == expected->data_id ? 0 : -ESTALE;
}

static int read_header(rep_bitmap_file *file, const rep_bitmap_key *expected)
{
    rep_io *io = file->io;
    header found;
    if (rep_io_size(io) < sizeof found)
        return -ENODATA;
    int rc = rep_io_pread(io, &found, sizeof found, 0);
    if (!rc)
        rc = check_header(&found, expected);
    if (rc)
        return rc;
    uint64_t bytes = rep_bitmap_file_bytes(expected);
    if (rep_io_size(io) != bytes)
        return rep_io_size(io) < bytes ? -ENODATA : -EBADMSG;
    file->flags = le32toh(found.flags);
    file->crc = le32toh(found.crc);
    file->has_crc = true;
    return 0;
}

/* A file without its storage. */
static int file_new(const rep_bitmap_key *key, rep_bitmap_file **out)
{
    if (!key->bit_count || key->bit_count > REP_BITMAP_BITS_MAX)
        return -EINVAL;
    rep_bitmap_file *file = calloc(1, sizeof *file);
    if (!file)
        return -ENOMEM;
    int failed = pthread_mutex_init(&file->mutex, NULL);
    if (failed) {
        free(file);
        return -failed;
    }
    file->key = *key;
    *out = file;
    return 0;
}

void rep_bitmap_file_free(rep_bitmap_file *file)
{
    if (!file)
        return;
    if (file->owns_io)
        rep_io_free(file->io);
    pthread_mutex_destroy(&file->mutex);
    free(file);
}

/* Gives the file out, or what went wrong. */
static int handed_out(int rc, rep_bitmap_file *file, rep_bitmap_file **out)
{
    if (rc)
        rep_bitmap_file_free(file);
    else
        *out = file;
    return rc;
}

int rep_bitmap_file_open(const char *path, const rep_bitmap_key *expected, rep_bitmap_file **out)
{
    rep_bitmap_file *file;
    int rc = file_new(expected, &file);
    if (rc)
        return rc;
    rc = rep_io_file_open(path, &file->io);
    file->owns_io = !rc;
    if (!rc)
        rc = read_header(file, expected);
    return handed_out(rc, file, out);
}

int rep_bitmap_file_open_on(rep_io *io, const rep_bitmap_key *expected, rep_bitmap_file **out)
{
    rep_bitmap_file *file;
    int rc = file_new(expected, &file);
    if (rc)
        return rc;
    file->io = io;
    rc = read_header(file, expected);
    return handed_out(rc, file, out);
}

static uint32_t flags_of(rep_bitmap_file *file)
{
    pthread_mutex_lock(&file->mutex);
    uint32_t flags = file->flags;
    pthread_mutex_unlock(&file->mutex);
    return flags;
}

int rep_bitmap_file_marked_open(rep_bitmap_file *file)
{
    return flags_of(file) & REP_FILE_OPEN ? 1 : 0;
}

int rep_bitmap_file_marked_logged(rep_bitmap_file *file)
{
    return (flags_of(file) & (REP_FILE_OPEN | REP_FILE_LOGGED)) == REP_FILE_LOGGED ? 1 : 0;
}

static int write_header(rep_bitmap_file *file, const rep_bitmap_key *key, uint32_t flags)
{
    header encoded;
    encode_header(key, flags, &encoded);
    if (file->has_crc) {
        balance_to(&encoded, file->crc);
        encoded.crc = htole32(file->crc);
    }
    file->crc = le32toh(encoded.crc);
    file->has_crc = true;
    int rc = rep_io_pwrite(file->io, &encoded, sizeof encoded, 0);
    return rc ? rc : rep_io_flush(file->io);
}

int rep_bitmap_file_change(rep_bitmap_file *file, const rep_bitmap_key *key, uint32_t flags)
{
    int rc = write_header(file, key, flags);
    if (rc) {
        /* The new header may have reached the disk: a closed mark there, with a caller who was told
         * that it failed and goes on writing, would hide a crash. INV-2. */
        file->unsure = write_header(file, &file->key, file->flags) != 0;
        return rc;
    }
    file->unsure = false;
    file->key = *key;
    file->flags = flags;
    return 0;
}

int rep_bitmap_file_mark_open(rep_bitmap_file *file)
{
    pthread_mutex_lock(&file->mutex);
    int rc = 0;
    if (file->unsure || !(file->flags & REP_FILE_OPEN))
        rc = rep_bitmap_file_change(file, &file->key,
                                    (file->flags & ~(uint32_t)REP_FILE_LOGGED) | REP_FILE_OPEN);
    if (!rc)
        file->openings++;
    pthread_mutex_unlock(&file->mutex);
    return rc;
}

/* Mutex held. */
static int set_logged(rep_bitmap_file *file)
{
    uint32_t flags = (file->flags & ~(uint32_t)REP_FILE_OPEN) | REP_FILE_LOGGED;
    if (flags == file->flags && !file->unsure)
        return 0;
    return rep_bitmap_file_change(file, &file->key, flags);
}

int rep_bitmap_file_mark_logged(rep_bitmap_file *file)
{
    pthread_mutex_lock(&file->mutex);
    int rc = set_logged(file);
    pthread_mutex_unlock(&file->mutex);
    return rc;
}

int rep_bitmap_file_begin(rep_bitmap_file *file, bool filled, uint64_t *openings)
{
    pthread_mutex_lock(&file->mutex);
    *openings = file->openings;
    int rc = rep_bitmap_file_turn(file, filled);
    pthread_mutex_unlock(&file->mutex);
    return rc;
}

int rep_bitmap_file_done(rep_bitmap_file *file, uint64_t openings)
{
    pthread_mutex_lock(&file->mutex);
    int rc = openings == file->openings ? set_logged(file) : -EAGAIN;
    pthread_mutex_unlock(&file->mutex);
    return rc;
}

int rep_bitmap_file_mark_closed(rep_bitmap_file *file, uint64_t data_id)
{
    pthread_mutex_lock(&file->mutex);
    rep_bitmap_key key = file->key;
    key.data_id = data_id;
    int rc = rep_bitmap_file_change(file, &key, file->flags & REP_FILE_FILLED);
    pthread_mutex_unlock(&file->mutex);
    return rc;
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
    rep_bitmap_file *file;
    int rc = file_new(key, &file);
    if (rc)
        return rc;
    file->flags = marked_open ? REP_FILE_OPEN : 0;
    rc = make_file(path, rep_bitmap_file_bytes(key));
    if (rc)
        return handed_out(rc, file, out);
    rc = rep_io_file_open(path, &file->io);
    file->owns_io = !rc;
    if (!rc)
        rc = write_header(file, key, file->flags);
    if (!rc)
        rc = sync_directory(path);
    if (rc)
        unlink(path);
    return handed_out(rc, file, out);
}

int rep_bitmap_file_create_on(rep_io *io, const rep_bitmap_key *key, int marked_open,
                              rep_bitmap_file **out)
{
    rep_bitmap_file *file;
    int rc = file_new(key, &file);
    if (rc)
        return rc;
    file->io = io;
    file->flags = marked_open ? REP_FILE_OPEN : 0;
    rc = rep_io_size(io) == rep_bitmap_file_bytes(key) ? 0 : -EINVAL;
    if (!rc)
        rc = write_header(file, key, file->flags);
    return handed_out(rc, file, out);
}
