#include "rep_tls.h"

#include <errno.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "tls_parts.h"

enum { CTRL_FLUSH = 11, FLAG_READ = 1, FLAGS_RETRY = 15, FLAG_SHOULD_RETRY = 8 };
enum { KEY_UPDATE_NOT_REQUESTED = 0 };

/* Plain bytes of a record at most. */
#define RECORD_BYTES (16ULL << 10)
/* Room for a piece's records, and for what a receiver had to say before them. */
#define OUT_BYTES (REP_TLS_PIECE_BYTES + (16ULL << 10))
/* Of what OpenSSL says by itself while it reads: answers to renewed keys, an alert. */
#define ASIDE_BYTES 4096
/* Decrypted at most before a sender of the other direction gets its turn. */
#define TURN_BYTES (128ULL << 10)
/* 64 GiB of full records. RFC 8446 5.5: no more than 2^24.5 under one key. */
#define RENEW_RECORDS (1ULL << 22)

typedef struct bytes {
    uint8_t *data;
    uint64_t used;
    uint64_t size;
} bytes;

struct rep_tls {
    const openssl *lib;
    SSL *ssl;
    pthread_mutex_t mutex; /* of the SSL object and the next three; no wait is below it */
    bytes *to;             /* where what OpenSSL writes goes now */
    bool encrypting;       /* by a sender, to whom what came doesn't belong */
    bytes aside;
    char why[REP_TLS_WHY_BYTES]; /* of the first failure; others follow from it */
    /* The sender's. Begins on a page, as `came`: the kernel copies to and from multiples of 32 faster. */
    bytes out;
    uint64_t records; /* under the key in use */
    uint64_t renew_records;
    /* The receiver's. */
    uint8_t *came;
    uint64_t begin;
    uint64_t end;
    int failed;
    uint8_t aside_data[ASIDE_BYTES];
};

int openssl_memory_read(BIO *bio, char *to, int most)
{
    const openssl *lib = openssl_find();
    rep_tls *tls = lib->BIO_get_data(bio);
    /* OpenSSL reads to write, too, while the other side has begun a message that isn't here whole. */
    uint64_t waiting = tls->encrypting ? 0 : tls->end - tls->begin;
    lib->BIO_clear_flags(bio, FLAGS_RETRY);
    if (!waiting) {
        lib->BIO_set_flags(bio, FLAG_READ | FLAG_SHOULD_RETRY);
        return -1;
    }
    uint64_t length = waiting < (uint64_t)most ? waiting : (uint64_t)most;
    memcpy(to, tls->came + tls->begin, length);
    tls->begin += length;
    return (int)length;
}

int openssl_memory_write(BIO *bio, const char *data, int length)
{
    const openssl *lib = openssl_find();
    rep_tls *tls = lib->BIO_get_data(bio);
    lib->BIO_clear_flags(bio, FLAGS_RETRY);
    bytes *to = tls->to;
    if (length < 0 || (uint64_t)length > to->size - to->used)
        return -1; /* only a peer that has itself told endlessly can bring this about */
    memcpy(to->data + to->used, data, (size_t)length);
    to->used += (uint64_t)length;
    return length;
}

long openssl_memory_ctrl(BIO *bio, int what, long number, void *pointer)
{
    (void)bio, (void)number, (void)pointer;
    return what == CTRL_FLUSH;
}

static uint8_t *map(uint64_t length)
{
    void *memory = mmap(NULL, length, PROT_READ | PROT_WRITE,
                        MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    return memory == MAP_FAILED ? NULL : memory;
}

static int begin_session(rep_tls *tls, const rep_tls_config *config)
{
    const openssl *lib = tls->lib;
    tls->ssl = lib->SSL_new(config->context);
    BIO *memory = lib->BIO_new(lib->memory);
    if (!tls->ssl || !memory) {
        lib->ERR_clear_error();
        lib->BIO_free(memory);
        return -ENOMEM;
    }
    lib->BIO_set_data(memory, tls);
    lib->BIO_set_init(memory, 1);
    lib->SSL_set_bio(tls->ssl, memory, memory);
    if (config->is_server)
        lib->SSL_set_accept_state(tls->ssl);
    else
        lib->SSL_set_connect_state(tls->ssl);
    return 0;
}

int rep_tls_new(rep_tls_config *config, rep_tls **out)
{
    const openssl *lib = config->lib;
    rep_tls *tls = calloc(1, sizeof *tls);
    if (!tls)
        return -ENOMEM;
    tls->lib = lib;
    tls->renew_records = RENEW_RECORDS;
    tls->aside = (bytes){.data = tls->aside_data, .size = ASIDE_BYTES};
    tls->to = &tls->out;
    if (pthread_mutex_init(&tls->mutex, NULL)) {
        free(tls);
        return -ENOMEM;
    }
    tls->out = (bytes){.data = map(OUT_BYTES), .size = OUT_BYTES};
    tls->came = map(REP_TLS_PIECE_BYTES);
    openssl_enter();
    int rc = tls->out.data && tls->came ? begin_session(tls, config) : -ENOMEM;
    openssl_leave();
    if (rc)
        rep_tls_free(tls);
    else
        *out = tls;
    return rc;
}

void rep_tls_free(rep_tls *tls)
{
    if (!tls || openssl_is_over())
        return;
    openssl_enter();
    tls->lib->SSL_free(tls->ssl);
    openssl_leave();
    if (tls->out.data)
        munmap(tls->out.data, OUT_BYTES);
    if (tls->came)
        munmap(tls->came, REP_TLS_PIECE_BYTES);
    pthread_mutex_destroy(&tls->mutex);
    free(tls);
}

static int shake_hands(rep_tls *tls, char *why)
{
    const openssl *lib = tls->lib;
    lib->ERR_clear_error();
    int done = lib->SSL_do_handshake(tls->ssl);
    if (done == 1) {
        tls->to = &tls->aside;
        return 0;
    }
    int kind = lib->SSL_get_error(tls->ssl, done);
    if (kind == OPENSSL_ERROR_WANT_READ)
        return -EAGAIN;
    long verified = lib->SSL_get_verify_result(tls->ssl);
    if (openssl_why(lib, why) != OPENSSL_CERTIFICATE_VERIFY_FAILED)
        return -EPROTO;
    snprintf(why, REP_TLS_WHY_BYTES, "%s", lib->X509_verify_cert_error_string(verified));
    return -EKEYREJECTED;
}

int rep_tls_shake_hands(rep_tls *tls, char *why)
{
    openssl_enter();
    int rc = shake_hands(tls, why);
    openssl_leave();
    return rc;
}

int rep_tls_give(rep_tls *tls, const void *data, uint64_t length)
{
    uint64_t waiting = tls->end - tls->begin;
    if (length > REP_TLS_PIECE_BYTES - waiting)
        return -ENOBUFS;
    memmove(tls->came, tls->came + tls->begin, waiting);
    memcpy(tls->came + waiting, data, length);
    tls->begin = 0;
    tls->end = waiting + length;
    return 0;
}

int64_t rep_tls_take(rep_tls *tls, void *to, uint64_t most)
{
    uint64_t length = tls->out.used < most ? tls->out.used : most;
    memcpy(to, tls->out.data, length);
    memmove(tls->out.data, tls->out.data + length, tls->out.used - length);
    tls->out.used -= length;
    return (int64_t)length;
}

static int64_t copy_peer(const rep_tls *tls, void *to, uint64_t most)
{
    const openssl *lib = tls->lib;
    X509 *certificate = lib->SSL_get1_peer_certificate(tls->ssl);
    if (!certificate)
        return -ENOENT;
    unsigned char *at = to;
    int64_t length = lib->i2d_X509(certificate, NULL);
    if (length > 0)
        length = (uint64_t)length > most ? -ENOBUFS : lib->i2d_X509(certificate, &at);
    lib->X509_free(certificate);
    return length ? length : -ENOENT;
}

int64_t rep_tls_peer(const rep_tls *tls, void *to, uint64_t most)
{
    openssl_enter();
    int64_t length = copy_peer(tls, to, most);
    openssl_leave();
    return length;
}

void rep_tls_renew_after(rep_tls *tls, uint64_t records)
{
    tls->renew_records = records;
}

/* Inside of the mutex. `answer`: of the call that failed. */
static void note_why(rep_tls *tls, int answer)
{
    bool half = tls->lib->SSL_get_error(tls->ssl, answer) == OPENSSL_ERROR_WANT_READ;
    char why[REP_TLS_WHY_BYTES];
    (void)openssl_why(tls->lib, why);
    if (!tls->why[0])
        snprintf(tls->why, sizeof tls->why, "%s",
                 half ? "the other side told half a message" : why);
}

int rep_tls_encrypt(rep_tls *tls, const void *data, uint64_t length)
{
    const openssl *lib = tls->lib;
    uint64_t records = (length + RECORD_BYTES - 1) / RECORD_BYTES;
    openssl_enter();
    pthread_mutex_lock(&tls->mutex);
    lib->ERR_clear_error();
    memcpy(tls->out.data + tls->out.used, tls->aside.data, tls->aside.used);
    tls->out.used += tls->aside.used;
    tls->aside.used = 0;
    tls->to = &tls->out;
    bool renewed = tls->records + records <= tls->renew_records;
    if (!renewed) {
        renewed = lib->SSL_key_update(tls->ssl, KEY_UPDATE_NOT_REQUESTED) == 1;
        tls->records = 0;
    }
    tls->encrypting = true;
    int written = renewed ? lib->SSL_write(tls->ssl, data, (int)length) : -1;
    tls->encrypting = false;
    if (written < 0 || (uint64_t)written != length)
        note_why(tls, written);
    tls->to = &tls->aside;
    tls->records += records;
    pthread_mutex_unlock(&tls->mutex);
    openssl_leave();
    return written >= 0 && (uint64_t)written == length ? 0 : -EPROTO;
}

uint64_t rep_tls_encrypted(const rep_tls *tls, const uint8_t **at)
{
    *at = tls->out.data;
    return tls->out.used;
}

void rep_tls_sent(rep_tls *tls)
{
    tls->out.used = 0;
}

/* 0: nothing more to be read now, or a negative errno that stays. */
static int reading_failed(rep_tls *tls, int got)
{
    switch (tls->lib->SSL_get_error(tls->ssl, got)) {
    case OPENSSL_ERROR_WANT_READ:
        return 0;
    case OPENSSL_ERROR_ZERO_RETURN:
        return -EPIPE;
    default:
        note_why(tls, got);
        return -EPROTO;
    }
}

int64_t rep_tls_decrypt(rep_tls *tls, void *to, uint64_t most)
{
    uint64_t turn = most < TURN_BYTES ? most : TURN_BYTES;
    uint64_t got = 0;
    if (!most)
        return -EINVAL; /* nothing would be read, and what has come is to be read first */
    if (tls->failed)
        return tls->failed;
    openssl_enter();
    pthread_mutex_lock(&tls->mutex);
    while (got < turn) {
        tls->lib->ERR_clear_error(); /* what is in it counts as the next call's */
        int count = tls->lib->SSL_read(tls->ssl, (uint8_t *)to + got, (int)(turn - got));
        if (count <= 0) {
            tls->failed = reading_failed(tls, count);
            break;
        }
        got += (uint64_t)count;
    }
    pthread_mutex_unlock(&tls->mutex);
    openssl_leave();
    if (got)
        return (int64_t)got;
    return tls->failed ? tls->failed : -EAGAIN;
}

uint8_t *rep_tls_room(rep_tls *tls)
{
    tls->begin = tls->end = 0;
    return tls->came;
}

void rep_tls_came(rep_tls *tls, uint64_t length)
{
    tls->end = length;
}

void rep_tls_why(rep_tls *tls, char *why)
{
    pthread_mutex_lock(&tls->mutex);
    memcpy(why, tls->why, sizeof tls->why);
    pthread_mutex_unlock(&tls->mutex);
}
