/* The io_manager that libext2fs calls: blocks to bytes, bytes to the cache. */
#include "rep_ext_internal.h"

/* libext2fs hands nothing but a name to open; the object travels beside it. */
static _Thread_local rep_ext *opening;

static uint64_t byte_count(io_channel channel, int count)
{
    return count < 0 ? (uint64_t)-(int64_t)count : (uint64_t)count * (uint64_t)channel->block_size;
}

static rep_ext_cache *cache_of(io_channel channel)
{
    return ((rep_ext *)channel->private_data)->cache;
}

static errcode_t channel_close(io_channel channel)
{
    if (--channel->refcount > 0)
        return 0;
    free(channel->name);
    free(channel);
    return 0;
}

static errcode_t channel_set_blksize(io_channel channel, int size)
{
    channel->block_size = size;
    return 0;
}

static errcode_t channel_read64(io_channel channel, unsigned long long block, int count, void *data)
{
    uint64_t size = (uint64_t)channel->block_size;

    if (block > UINT64_MAX / size)
        return ERANGE;
    return -rep_ext_cache_read(cache_of(channel), data, byte_count(channel, count), block * size);
}

static errcode_t channel_read(io_channel channel, unsigned long block, int count, void *data)
{
    return channel_read64(channel, block, count, data);
}

static errcode_t channel_write64(io_channel channel, unsigned long long block, int count,
                                 const void *data)
{
    uint64_t size = (uint64_t)channel->block_size;

    if (block > UINT64_MAX / size)
        return ERANGE;
    return -rep_ext_cache_write(cache_of(channel), data, byte_count(channel, count), block * size);
}

static errcode_t channel_write(io_channel channel, unsigned long block, int count, const void *data)
{
    return channel_write64(channel, block, count, data);
}

static errcode_t channel_write_byte(io_channel channel, unsigned long offset, int count,
                                    const void *data)
{
    return -rep_ext_cache_write(cache_of(channel), data, (uint64_t)count, offset);
}

/* rep_ext_flush writes the cache out, once, when libext2fs has written all it has. */
static errcode_t channel_flush(io_channel channel)
{
    (void)channel;
    return 0;
}

static errcode_t channel_open(const char *name, int flags, io_channel *out);

static struct struct_io_manager manager = {
    .magic = EXT2_ET_MAGIC_IO_MANAGER,
    .name = "pyrep volume",
    .open = channel_open,
    .close = channel_close,
    .set_blksize = channel_set_blksize,
    .read_blk = channel_read,
    .write_blk = channel_write,
    .flush = channel_flush,
    .write_byte = channel_write_byte,
    .read_blk64 = channel_read64,
    .write_blk64 = channel_write64,
};

static errcode_t channel_open(const char *name, int flags, io_channel *out)
{
    io_channel channel = calloc(1, sizeof *channel);

    (void)flags;
    if (!channel)
        return ENOMEM;
    channel->magic = EXT2_ET_MAGIC_IO_CHANNEL;
    channel->manager = &manager;
    channel->name = strdup(name);
    channel->block_size = 1024;
    channel->refcount = 1;
    channel->private_data = opening;
    if (!channel->name) {
        free(channel);
        return ENOMEM;
    }
    *out = channel;
    return 0;
}

io_manager rep_ext_manager_for(rep_ext *ext)
{
    opening = ext;
    return &manager;
}
