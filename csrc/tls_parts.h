/* What the files of rep_tls share. */
#ifndef TLS_PARTS_H
#define TLS_PARTS_H

#include "openssl_parts.h"
#include "rep_tls.h"

struct rep_tls_config {
    const openssl *lib;
    SSL_CTX *context;
    int is_server;
};

#endif
