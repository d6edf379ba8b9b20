/* A small mirror in C: two files, a pair of links between them, writes, a split, a resync by the
 * pending bitmap.
 *
 *   make install-core PREFIX=$HOME/pyrep
 *   export PKG_CONFIG_PATH=$HOME/pyrep/lib/pkgconfig
 *   cc -o mirror examples/mirror.c $(pkg-config --cflags --libs pyrep-core)
 *   LD_LIBRARY_PATH=$HOME/pyrep/lib ./mirror source.img target.img
 */
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <rep_bitmap.h>
#include <rep_copy.h>
#include <rep_group.h>
#include <rep_io_file.h>
#include <rep_link.h>
#include <rep_tree.h>
#include <rep_volume.h>
#include <rep_wait.h>

#define VOLUME_BYTES (4 << 20)
#define CHUNK_BYTES 8192ULL

typedef struct side {
    rep_io *io;
    rep_volume *volume;
    rep_link *link;
} side;

/* Every call of the core answers with a negative errno when it fails. */
static void must(int answer, const char *what)
{
    if (answer < 0) {
        fprintf(stderr, "mirror: %s: %s\n", what, strerror(-answer));
        exit(1);
    }
}

static void make_file(const char *path)
{
    int file = open(path, O_RDWR | O_CREAT | O_EXCL, 0666);
    if (file < 0 || ftruncate(file, VOLUME_BYTES) || close(file)) {
        perror(path);
        exit(1);
    }
}

static side open_side(const char *path, rep_tree *tree)
{
    side s;
    make_file(path);
    must(rep_io_file_open(path, &s.io), path);
    must(rep_volume_new(s.io, tree, &s.volume), "volume");
    must(rep_link_new(s.volume, CHUNK_BYTES, 0, &s.link), "link");
    return s;
}

static void close_side(side *s)
{
    rep_link_free(s->link);
    rep_volume_free(s->volume);
    rep_io_free(s->io);
}

/* A host's write: marked or forwarded, as the link's mode says. */
static void put(side *s, uint64_t offset, const char *text)
{
    rep_ticket ticket = {0};
    uint64_t done;
    must(rep_volume_pwrite(s->volume, text, strlen(text), offset, 0, REP_NO_DEADLINE, NULL, &ticket,
                           &done),
         "write");
}

/* Copies what is pending, makes it durable, and says how much it was. */
static uint64_t copy_pending(side *source, side *target)
{
    rep_copier *copier;
    rep_copy_progress progress = {0};
    must(rep_link_forward(source->link, target->volume, target->link), "forward");
    must(rep_copier_new(source->link, 1, &copier), "copier");
    must(rep_copier_run(copier, 0, UINT64_MAX, REP_NO_DEADLINE, NULL, &progress), "copy");
    rep_copier_free(copier);
    must(rep_link_settle(source->link), "settle");
    return progress.copied_bytes;
}

/* From here on writes are marked. What was forwarded is made durable, or it would count as pending
 * in the next copy. */
static void split(side *source)
{
    rep_cut_item item = {.verb = REP_CUT_SPLIT, .link = source->link};
    uint64_t closed_ns;
    int failed;
    must(rep_group_cut(&item, 1, REP_NO_DEADLINE, NULL, &closed_ns, &failed), "split");
    must(rep_link_settle(source->link), "settle");
}

static void print_pending(const side *source)
{
    uint64_t first;
    uint64_t count;
    const rep_bitmap *pending = rep_link_pending(source->link);
    for (uint64_t at = 0;
         at < rep_bitmap_size(pending)
         && rep_bitmap_next_run(pending, NULL, REP_BITMAP_UNION, at, 0, &first, &count) == 1;
         at = first + count)
        printf("  pending: %" PRIu64 " chunk(s) from %" PRIu64 "\n", count, first);
}

static int is_equal(const side *a, const side *b)
{
    static char left[VOLUME_BYTES];
    static char right[VOLUME_BYTES];
    must(rep_io_pread(a->io, left, VOLUME_BYTES, 0), "read");
    must(rep_io_pread(b->io, right, VOLUME_BYTES, 0), "read");
    return !memcmp(left, right, VOLUME_BYTES);
}

int main(int argc, char **argv)
{
    if (argc != 3) {
        fprintf(stderr, "usage: mirror SOURCE TARGET   (both are made)\n");
        return 2;
    }
    rep_tree *tree;
    must(rep_tree_new(1, &tree), "tree");
    side source = open_side(argv[1], tree);
    side target = open_side(argv[2], tree);

    put(&source, 0, "written before there was a pair");
    rep_bitmap_fill(rep_link_pending(source.link));
    printf("initial copy: %" PRIu64 " bytes\n", copy_pending(&source, &target));

    put(&source, 3 * CHUNK_BYTES, "forwarded");
    printf("mirroring: %s\n", is_equal(&source, &target) ? "equal" : "different");

    split(&source);
    put(&source, 5 * CHUNK_BYTES - 1, "over the edge of a chunk");
    put(&source, 100 * CHUNK_BYTES, "far away");
    printf("split: %s\n", is_equal(&source, &target) ? "equal" : "different");
    print_pending(&source);

    printf("resync: %" PRIu64 " bytes\n", copy_pending(&source, &target));
    int equal = is_equal(&source, &target);
    printf("mirroring: %s\n", equal ? "equal" : "different");

    close_side(&source);
    close_side(&target);
    rep_tree_free(tree);
    return !equal;
}
