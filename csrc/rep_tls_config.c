#include <errno.h>
#include <stdbool.h>
#include <stdlib.h>

#include "tls_parts.h"

/* OpenSSL's numbers for what it has macros for. */
enum {
    CTRL_EXTRA_CHAIN_CERT = 14,
    CTRL_CLEAR_EXTRA_CHAIN_CERTS = 83,
    CTRL_SET_SESSION_CACHE_MODE = 44,
    CTRL_SET_MIN_PROTOCOL = 123,
    VERIFY_PEER = 1,
    VERIFY_FAIL_IF_NO_PEER_CERT = 2,
    TLS_1_3 = 0x0304,
    SECURITY_LEVEL = 2 /* 112 bits: no RSA below 2048, no SHA-1 in what the authority signs */
};

static int begin_config(rep_tls_config *config)
{
    const openssl *lib = config->lib;
    config->context =
        lib->SSL_CTX_new(config->is_server ? lib->TLS_server_method() : lib->TLS_client_method());
    if (!config->context) {
        lib->ERR_clear_error();
        return -ENOMEM;
    }
    /* Nobody resumes a session: each has its certificates checked. */
    lib->SSL_CTX_ctrl(config->context, CTRL_SET_SESSION_CACHE_MODE, 0, NULL);
    if (lib->SSL_CTX_set_num_tickets(config->context, 0) != 1
        || lib->SSL_CTX_ctrl(config->context, CTRL_SET_MIN_PROTOCOL, TLS_1_3, NULL) != 1) {
        lib->ERR_clear_error();
        return -ENOSYS; /* a library without TLS 1.3 */
    }
    /* Whatever openssl.cnf of this machine says for everybody. */
    lib->SSL_CTX_set_security_level(config->context, SECURITY_LEVEL);
    lib->SSL_CTX_set_verify(config->context, VERIFY_PEER | VERIFY_FAIL_IF_NO_PEER_CERT, NULL);
    return 0;
}

int rep_tls_config_new(int is_server, rep_tls_config **out)
{
    const openssl *lib = openssl_find();
    if (!lib)
        return -ENOSYS;
    rep_tls_config *config = calloc(1, sizeof *config);
    if (!config)
        return -ENOMEM;
    config->lib = lib;
    config->is_server = is_server;
    openssl_enter();
    int rc = begin_config(config);
    openssl_leave();
    if (rc)
        rep_tls_config_free(config);
    else
        *out = config;
    return rc;
}

void rep_tls_config_free(rep_tls_config *config)
{
    if (!config)
        return;
    if (!openssl_is_over()) {
        openssl_enter();
        config->lib->SSL_CTX_free(config->context);
        openssl_leave();
    }
    free(config);
}

/* NOLINTNEXTLINE(readability-non-const-parameter): OpenSSL's type */
static int no_password(char *to, int most, int writing, void *context)
{
    (void)to, (void)most, (void)writing;
    *(bool *)context = true;
    return -1;
}

static BIO *text_of(const openssl *lib, const void *pem, uint64_t length)
{
    return length > INT32_MAX ? NULL : lib->BIO_new_mem_buf(pem, (int)length);
}

static int trust(rep_tls_config *config, const void *pem, uint64_t length, char *why)
{
    const openssl *lib = config->lib;
    X509_STORE *store = lib->SSL_CTX_get_cert_store(config->context);
    bool is_encrypted = false;
    bool is_trusted = false;
    X509 *one;
    lib->ERR_clear_error();
    BIO *text = text_of(lib, pem, length);
    if (!text)
        return -ENOMEM;
    while ((one = lib->PEM_read_bio_X509_AUX(text, NULL, no_password, &is_encrypted))) {
        int added = lib->X509_STORE_add_cert(store, one);
        lib->X509_free(one);
        if (!added)
            break;
        is_trusted = true;
    }
    lib->BIO_free(text);
    /* Behind the last one there is nothing that begins as one: that is the end, and no error. */
    int reason = openssl_why(lib, why);
    return is_trusted && !one && reason == OPENSSL_NO_START_LINE ? 0 : -EBADMSG;
}

int rep_tls_config_trust(rep_tls_config *config, const void *pem, uint64_t length, char *why)
{
    openssl_enter();
    int rc = trust(config, pem, length, why);
    openssl_leave();
    return rc;
}

static int show_certificates(rep_tls_config *config, BIO *text)
{
    const openssl *lib = config->lib;
    bool is_encrypted = false;
    X509 *one = lib->PEM_read_bio_X509_AUX(text, NULL, no_password, &is_encrypted);
    if (!one)
        return -EBADMSG;
    int used = lib->SSL_CTX_use_certificate(config->context, one);
    lib->X509_free(one);
    if (!used)
        return -EBADMSG;
    lib->SSL_CTX_ctrl(config->context, CTRL_CLEAR_EXTRA_CHAIN_CERTS, 0, NULL);
    while ((one = lib->PEM_read_bio_X509_AUX(text, NULL, no_password, &is_encrypted)))
        if (!lib->SSL_CTX_ctrl(config->context, CTRL_EXTRA_CHAIN_CERT, 0, one)) {
            lib->X509_free(one);
            return -EBADMSG;
        }
    bool at_end = openssl_reason(lib->ERR_peek_last_error()) == OPENSSL_NO_START_LINE;
    if (at_end)
        lib->ERR_clear_error();
    return at_end ? 0 : -EBADMSG;
}

static int use_key(rep_tls_config *config, BIO *text)
{
    const openssl *lib = config->lib;
    bool is_encrypted = false;
    EVP_PKEY *key = lib->PEM_read_bio_PrivateKey(text, NULL, no_password, &is_encrypted);
    if (!key)
        return is_encrypted ? -ENOKEY : -EBADMSG;
    int fits = lib->SSL_CTX_use_PrivateKey(config->context, key)
               && lib->SSL_CTX_check_private_key(config->context);
    lib->EVP_PKEY_free(key);
    if (fits)
        return 0;
    bool is_another = openssl_reason(lib->ERR_peek_last_error()) == OPENSSL_KEY_VALUES_MISMATCH;
    return is_another ? -EKEYREJECTED : -EBADMSG;
}

int rep_tls_config_show(rep_tls_config *config, const void *certificate, uint64_t certificate_bytes,
                        const void *key, uint64_t key_bytes, char *why)
{
    const openssl *lib = config->lib;
    openssl_enter();
    lib->ERR_clear_error();
    BIO *certificates = text_of(lib, certificate, certificate_bytes);
    BIO *keys = text_of(lib, key, key_bytes);
    int rc = certificates && keys ? show_certificates(config, certificates) : -ENOMEM;
    if (!rc)
        rc = use_key(config, keys);
    lib->BIO_free(certificates);
    lib->BIO_free(keys);
    (void)openssl_why(lib, why);
    openssl_leave();
    return rc;
}
