/* fd_parts: what files and block devices have in common: whole-or-error I/O on a descriptor. Not a
 * public header. Ranges are inside; answers as rep_io's. */
#ifndef REP_FD_PARTS_H
#define REP_FD_PARTS_H

#include <stdint.h>

int rep_fd_pread(int fd, void *buffer, uint64_t length, uint64_t offset);
int rep_fd_pwrite(int fd, const void *buffer, uint64_t length, uint64_t offset);
int rep_fd_write_zeros(int fd, uint64_t offset, uint64_t length);
int rep_fd_fallocate(int fd, int mode, uint64_t offset, uint64_t length);
int rep_fd_flush(int fd);

#endif
