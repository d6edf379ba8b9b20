#include <dlfcn.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "openssl_parts.h"
#include "rep_tls.h"

/* In an error's code, the reason's bits (ERR_GET_REASON of OpenSSL 3). */
#define REASON_BITS 0x7FFFFFUL
/* Of a source and sink of bytes (BIO_TYPE_SOURCE_SINK). */
#define SOURCE_SINK 0x0400
/* How long the end of a process waits for those inside, a call of whom takes a millisecond: of a child of
 * fork they are threads that it hasn't got. */
enum { END_WAITS_US = 1000000, END_LOOKS_US = 100 };

typedef struct wanted {
    const char *name;
    size_t offset;
} wanted;

#define WANTED(name, returned, taken) {#name, offsetof(openssl, name)},

static const wanted of_ssl[] = {OPENSSL_OF_SSL(WANTED)};
static const wanted of_crypto[] = {OPENSSL_OF_CRYPTO(WANTED)};

static openssl functions;
static const openssl *found;
static pthread_once_t once = PTHREAD_ONCE_INIT;
static atomic_int inside;
static atomic_bool at_end;

static int look_up(void *library, const wanted *table, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        void *symbol = dlsym(library, table[i].name);
        if (!symbol)
            return -1;
        /* ISO C has no conversion of an object's pointer to a function's. */
        memcpy((char *)&functions + table[i].offset, &symbol, sizeof symbol);
    }
    return 0;
}

void openssl_enter(void)
{
    atomic_fetch_add(&inside, 1);
    if (!atomic_load(&at_end))
        return;
    atomic_fetch_sub(&inside, 1);
    for (;;)
        pause(); /* the process ends in a moment */
}

void openssl_leave(void)
{
    atomic_fetch_sub(&inside, 1);
}

bool openssl_is_over(void)
{
    return atomic_load(&at_end);
}

/* OpenSSL frees at the end what a thread that goes on would use: algorithms, where keys are renewed. */
static void let_nobody_in(void)
{
    atomic_store(&at_end, true);
    for (int waited = 0; atomic_load(&inside) && waited < END_WAITS_US; waited += END_LOOKS_US)
        usleep(END_LOOKS_US);
}

/* What was opened stays open: OpenSSL has things to do when the process ends. */
static void look(void)
{
    void *ssl = dlopen("libssl.so.3", RTLD_NOW | RTLD_LOCAL);
    void *crypto = dlopen("libcrypto.so.3", RTLD_NOW | RTLD_LOCAL);
    if (!ssl || !crypto || look_up(ssl, of_ssl, sizeof of_ssl / sizeof *of_ssl)
        || look_up(crypto, of_crypto, sizeof of_crypto / sizeof *of_crypto))
        return;
    int index = functions.BIO_get_new_index();
    BIO_METHOD *memory =
        index < 0 ? NULL : functions.BIO_meth_new(index | SOURCE_SINK, "pyrep's memory");
    if (!memory || !functions.BIO_meth_set_read(memory, openssl_memory_read)
        || !functions.BIO_meth_set_write(memory, openssl_memory_write)
        || !functions.BIO_meth_set_ctrl(memory, openssl_memory_ctrl))
        return;
    /* What is asked for last is done first: after OpenSSL has asked to be called at the end. */
    if (functions.OPENSSL_init_ssl(0, NULL) != 1 || atexit(let_nobody_in))
        return;
    functions.memory = memory;
    found = &functions;
}

const openssl *openssl_find(void)
{
    pthread_once(&once, look);
    return found;
}

int openssl_reason(unsigned long code)
{
    return (int)(code & REASON_BITS);
}

int openssl_why(const openssl *lib, char *why)
{
    unsigned long code = lib->ERR_peek_last_error();
    const char *reason = code ? lib->ERR_reason_error_string(code) : NULL;
    snprintf(why, REP_TLS_WHY_BYTES, "%s", reason ? reason : "OpenSSL gives no reason");
    lib->ERR_clear_error();
    return openssl_reason(code);
}
