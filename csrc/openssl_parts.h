/* What the core calls of OpenSSL 3, found in the library itself when it is first wanted: neither its
 * headers nor the library are needed to build or to import pyrep. */
#ifndef OPENSSL_PARTS_H
#define OPENSSL_PARTS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef struct ssl_st SSL;
typedef struct ssl_ctx_st SSL_CTX;
typedef struct ssl_method_st SSL_METHOD;
typedef struct bio_st BIO;
typedef struct bio_method_st BIO_METHOD;
typedef struct x509_st X509;
typedef struct x509_store_st X509_STORE;
typedef struct evp_pkey_st EVP_PKEY;
typedef int openssl_password(char *to, int most, int writing, void *context);

/* name, what it returns, what it takes: as OpenSSL 3's manual pages say. */
#define OPENSSL_OF_SSL(X)                                                                          \
    X(OPENSSL_init_ssl, int, (uint64_t, const void *))                                             \
    X(TLS_client_method, const SSL_METHOD *, (void))                                               \
    X(TLS_server_method, const SSL_METHOD *, (void))                                               \
    X(SSL_CTX_new, SSL_CTX *, (const SSL_METHOD *))                                                \
    X(SSL_CTX_free, void, (SSL_CTX *))                                                             \
    X(SSL_CTX_ctrl, long, (SSL_CTX *, int, long, void *))                                          \
    X(SSL_CTX_set_num_tickets, int, (SSL_CTX *, size_t))                                           \
    X(SSL_CTX_set_security_level, void, (SSL_CTX *, int))                                          \
    X(SSL_CTX_set_verify, void, (SSL_CTX *, int, void *))                                          \
    X(SSL_CTX_use_certificate, int, (SSL_CTX *, X509 *))                                           \
    X(SSL_CTX_use_PrivateKey, int, (SSL_CTX *, EVP_PKEY *))                                        \
    X(SSL_CTX_check_private_key, int, (const SSL_CTX *))                                           \
    X(SSL_CTX_get_cert_store, X509_STORE *, (const SSL_CTX *))                                     \
    X(SSL_new, SSL *, (SSL_CTX *))                                                                 \
    X(SSL_free, void, (SSL *))                                                                     \
    X(SSL_set_bio, void, (SSL *, BIO *, BIO *))                                                    \
    X(SSL_set_accept_state, void, (SSL *))                                                         \
    X(SSL_set_connect_state, void, (SSL *))                                                        \
    X(SSL_do_handshake, int, (SSL *))                                                              \
    X(SSL_read, int, (SSL *, void *, int))                                                         \
    X(SSL_write, int, (SSL *, const void *, int))                                                  \
    X(SSL_get_error, int, (const SSL *, int))                                                      \
    X(SSL_key_update, int, (SSL *, int))                                                           \
    X(SSL_get_verify_result, long, (const SSL *))                                                  \
    X(SSL_get1_peer_certificate, X509 *, (const SSL *))

#define OPENSSL_OF_CRYPTO(X)                                                                       \
    X(BIO_meth_new, BIO_METHOD *, (int, const char *))                                             \
    X(BIO_meth_set_read, int, (BIO_METHOD *, int (*)(BIO *, char *, int)))                         \
    X(BIO_meth_set_write, int, (BIO_METHOD *, int (*)(BIO *, const char *, int)))                  \
    X(BIO_meth_set_ctrl, int, (BIO_METHOD *, long (*)(BIO *, int, long, void *)))                  \
    X(BIO_get_new_index, int, (void))                                                              \
    X(BIO_new, BIO *, (const BIO_METHOD *))                                                        \
    X(BIO_new_mem_buf, BIO *, (const void *, int))                                                 \
    X(BIO_free, int, (BIO *))                                                                      \
    X(BIO_set_data, void, (BIO *, void *))                                                         \
    X(BIO_get_data, void *, (BIO *))                                                               \
    X(BIO_set_init, void, (BIO *, int))                                                            \
    X(BIO_set_flags, void, (BIO *, int))                                                           \
    X(BIO_clear_flags, void, (BIO *, int))                                                         \
    X(PEM_read_bio_X509_AUX, X509 *, (BIO *, X509 **, openssl_password *, void *))                 \
    X(PEM_read_bio_PrivateKey, EVP_PKEY *, (BIO *, EVP_PKEY **, openssl_password *, void *))       \
    X(X509_STORE_add_cert, int, (X509_STORE *, X509 *))                                            \
    X(X509_free, void, (X509 *))                                                                   \
    X(i2d_X509, int, (const X509 *, unsigned char **))                                             \
    X(X509_verify_cert_error_string, const char *, (long))                                         \
    X(EVP_PKEY_free, void, (EVP_PKEY *))                                                           \
    X(ERR_peek_last_error, unsigned long, (void))                                                  \
    X(ERR_clear_error, void, (void))                                                               \
    X(ERR_reason_error_string, const char *, (unsigned long))

/* NOLINTNEXTLINE(bugprone-macro-parentheses): a type and a list of them, which take none */
#define OPENSSL_MEMBER(name, returned, taken) returned(*name) taken;

typedef struct openssl {
    OPENSSL_OF_SSL(OPENSSL_MEMBER)
    OPENSSL_OF_CRYPTO(OPENSSL_MEMBER)
    BIO_METHOD *memory; /* rep_tls's own */
} openssl;

enum {
    OPENSSL_ERROR_SSL = 1,
    OPENSSL_ERROR_WANT_READ = 2,
    OPENSSL_ERROR_ZERO_RETURN = 6,
    OPENSSL_CERTIFICATE_VERIFY_FAILED = 134, /* reasons: of the SSL library */
    OPENSSL_KEY_VALUES_MISMATCH = 116,       /* of the X.509 library */
    OPENSSL_NO_START_LINE = 108              /* of the PEM library */
};

/* The library's functions; NULL: there is none. Any thread. */
const openssl *openssl_find(void);
/* Around calls of them, by any thread; never one inside another. Once the process ends nobody gets in:
 * who asks to stays in openssl_enter. */
void openssl_enter(void);
void openssl_leave(void);
/* Whether the process ends. What is still to be freed is left to that: who frees it then may be who
 * ends the process, and would wait for ever. */
bool openssl_is_over(void);
/* The reason in an error's code. */
int openssl_reason(unsigned long code);
/* Puts the last error's reason, as OpenSSL words it, into `why` (REP_TLS_WHY_BYTES); returns its number,
 * 0 when there is no error. */
int openssl_why(const openssl *lib, char *why);

/* rep_tls.c: the memory that a session's bytes come from and go to. */
int openssl_memory_read(BIO *bio, char *to, int most);
int openssl_memory_write(BIO *bio, const char *data, int length);
long openssl_memory_ctrl(BIO *bio, int what, long number, void *pointer);

#endif
