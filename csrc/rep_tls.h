/* rep_tls: mutual TLS 1.3 between bytes in memory, by the OpenSSL library (libssl.so.3).
 *
 * A rep_tls_config has the certificates and makes sessions. A session agrees with the other side by
 * rep_tls_shake_hands; whoever has the socket brings the bytes to and fro. Then a line takes it
 * (rep_line_secure), and sends and receives through it.
 *
 * Keys are renewed before so many records that AES-GCM's bounds are reached (RFC 8446, 5.5).
 *
 * Errors: -ENOSYS: there is no such library. -EPROTO, -EBADMSG, -EKEYREJECTED: OpenSSL's reason is in
 * `why`, which has REP_TLS_WHY_BYTES. A session that has failed is of no more use.
 *
 * Threads: a config is made by one, and may then be used by any. Of a session, one may send while
 * another receives; everything else is one thread's. A process may end while they do; what is freed
 * after that is left to its end.
 */
#ifndef REP_TLS_H
#define REP_TLS_H

#include <stdint.h>

#include "rep_api.h"

REP_API_BEGIN

/* cdef:begin */
enum { REP_TLS_WHY_BYTES = 128 };

typedef struct rep_tls_config rep_tls_config;
typedef struct rep_tls rep_tls;

/* -ENOSYS, -ENOMEM. */
int rep_tls_config_new(int is_server, rep_tls_config **out);
/* Sessions that it made live on. NULL is allowed. */
void rep_tls_config_free(rep_tls_config *config);
/* Trusts the certificates in this PEM text. -EBADMSG: there is none, or one isn't usable. */
int rep_tls_config_trust(rep_tls_config *config, const void *pem, uint64_t length, char *why);
/* Shows this certificate, and those after it that lead to the authority. -EBADMSG: not usable.
 * -ENOKEY: the key is encrypted. -EKEYREJECTED: it belongs to another certificate; another may be tried. */
int rep_tls_config_show(rep_tls_config *config, const void *certificate, uint64_t certificate_bytes,
                        const void *key, uint64_t key_bytes, char *why);

/* -ENOMEM. */
int rep_tls_new(rep_tls_config *config, rep_tls **out);
/* NULL is allowed. */
void rep_tls_free(rep_tls *tls);
/* Goes on agreeing: 0: agreed, the other side's certificate is trusted. -EAGAIN: more has to come from
 * there (rep_tls_give). -EKEYREJECTED: its certificate isn't trusted. -EPROTO. After each, an error too,
 * what rep_tls_take has is to be sent. */
int rep_tls_shake_hands(rep_tls *tls, char *why);
/* What came from the other side. -ENOBUFS: more than can have come meanwhile (256 KiB). */
int rep_tls_give(rep_tls *tls, const void *data, uint64_t length);
/* Moves what is to be sent: how many bytes, 0 when there is nothing more. */
int64_t rep_tls_take(rep_tls *tls, void *to, uint64_t most);
/* The other side's certificate (DER): how many bytes. -ENOENT: not agreed yet; -ENOBUFS. */
int64_t rep_tls_peer(const rep_tls *tls, void *to, uint64_t most);
/* Renews the sender's keys after so many records instead. Before anything is sent. */
void rep_tls_renew_after(rep_tls *tls, uint64_t records);
/* The reason of the first -EPROTO that a line told; empty: none. Any thread. */
void rep_tls_why(rep_tls *tls, char *why);
/* cdef:end */

/* The most that is encrypted in one call, and received in one. */
#define REP_TLS_PIECE_BYTES (256ULL << 10)

/* By who sends: encrypts a piece, to be sent after what was encrypted before. -EPROTO. */
int rep_tls_encrypt(rep_tls *tls, const void *data, uint64_t length);
/* What was encrypted: how many bytes, and where, until rep_tls_sent. */
uint64_t rep_tls_encrypted(const rep_tls *tls, const uint8_t **at);
void rep_tls_sent(rep_tls *tls);
/* By who receives: decrypts what has come: how many bytes (positive) of `most`, which isn't 0. -EAGAIN:
 * more has to come. -EPIPE: the other side ended it. -EPROTO. */
int64_t rep_tls_decrypt(rep_tls *tls, void *to, uint64_t most);
/* Where up to REP_TLS_PIECE_BYTES may be received to, after -EAGAIN; then how many came. */
uint8_t *rep_tls_room(rep_tls *tls);
void rep_tls_came(rep_tls *tls, uint64_t length);

REP_API_END

#endif
