/* A volume as rep_io: file systems are written through the tracked path (Fig. 5, 530). */
#include <errno.h>
#include <stdlib.h>

#include "parts.h"

typedef struct volume_io {
    rep_io base;
    rep_volume *volume;
    uint64_t token;
    uint64_t ack_timeout_ns;
    rep_wake *wake;
} volume_io;

static uint64_t time_out(const volume_io *self)
{
    uint64_t now = rep_now_ns();
    return self->ack_timeout_ns < REP_NO_DEADLINE - now ? now + self->ack_timeout_ns
                                                        : REP_NO_DEADLINE;
}

static int wait_acknowledged(const volume_io *self, rep_ticket *ticket, uint64_t deadline_ns)
{
    if (!ticket->count)
        return 0;
    int rc = rep_ticket_wait(ticket, deadline_ns, self->wake);
    return rc == -ETIMEDOUT ? rep_ticket_give_up(ticket) : rc;
}

/* To who knows storage only. */
static int as_storage(int rc)
{
    switch (rc) {
    case -REP_FENCED_ROLE:
        return -EROFS;
    case -REP_FENCED_LEASE:
        return -EBUSY;
    case -REP_FENCED_READS:
        return -ESTALE;
    case -REP_FENCED_MIRROR:
        return -EREMOTEIO;
    default:
        return rc;
    }
}

typedef int (*wipe)(rep_volume *volume, uint64_t length, uint64_t offset, uint64_t token,
                    uint64_t deadline_ns, rep_wake *wake, rep_ticket *ticket, uint64_t *done);

/* One time-out for each piece, its room and its acknowledgement together; past it the path counts
 * as lost. A wait for anything else goes on. `clear`
 * NULL: writes the buffer. */
static int write_out(const volume_io *self, const uint8_t *buffer, wipe clear, uint64_t length,
                     uint64_t offset)
{
    rep_ticket ticket = {0};
    uint64_t deadline_ns = time_out(self);
    uint64_t at = 0;
    int rc;
    for (;;) {
        uint64_t done;
        rc = clear ? clear(self->volume, length - at, offset + at, self->token, deadline_ns,
                           self->wake, &ticket, &done)
                   : rep_volume_pwrite(self->volume, buffer, length - at, offset + at, self->token,
                                       deadline_ns, self->wake, &ticket, &done);
        at += done;
        buffer = buffer ? buffer + done : NULL;
        if (rc != -ETIMEDOUT)
            break;
        if (!done)
            (void)rep_ticket_give_up_room(&ticket);
        deadline_ns = time_out(self);
    }
    int waited = wait_acknowledged(self, &ticket, deadline_ns);
    return as_storage(rc ? rc : waited);
}

static int io_pread(rep_io *io, void *buffer, uint64_t length, uint64_t offset)
{
    return as_storage(rep_volume_pread(((volume_io *)io)->volume, buffer, length, offset));
}

static int io_pwrite(rep_io *io, const void *buffer, uint64_t length, uint64_t offset)
{
    return write_out((volume_io *)io, buffer, NULL, length, offset);
}

static int io_flush(rep_io *io)
{
    const volume_io *self = (volume_io *)io;
    rep_ticket ticket = {0};
    int rc = rep_volume_flush(self->volume, &ticket);
    int waited = wait_acknowledged(self, &ticket, time_out(self));
    return as_storage(rc ? rc : waited);
}

static int io_zero(rep_io *io, uint64_t offset, uint64_t length)
{
    return write_out((volume_io *)io, NULL, rep_volume_zero, length, offset);
}

static int io_trim(rep_io *io, uint64_t offset, uint64_t length)
{
    return write_out((volume_io *)io, NULL, rep_volume_trim, length, offset);
}

static int io_extents(rep_io *io, uint64_t offset, uint64_t length, rep_extent *out,
                      size_t capacity, size_t *count, uint64_t *resume_offset)
{
    return rep_io_extents(((volume_io *)io)->volume->io, offset, length, out, capacity, count,
                          resume_offset);
}

static void io_free(rep_io *io)
{
    free(io);
}

static const rep_io_ops OPS = {
    .name = "volume",
    .pread = io_pread,
    .pwrite = io_pwrite,
    .flush = io_flush,
    .zero = io_zero,
    .trim = io_trim,
    .extents = io_extents,
    .free = io_free,
};

int rep_volume_io_new(rep_volume *volume, uint64_t token, uint64_t ack_timeout_ns, rep_wake *wake,
                      rep_io **out)
{
    volume_io *self = calloc(1, sizeof *self);
    if (!self)
        return -ENOMEM;
    self->base.ops = &OPS;
    self->base.size_bytes = volume->io->size_bytes;
    self->volume = volume;
    self->token = token;
    self->ack_timeout_ns = ack_timeout_ns;
    self->wake = wake;
    *out = &self->base;
    return 0;
}
