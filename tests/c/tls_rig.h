/* tls_rig: certificates, and two sessions that have agreed. What is secret about them is known to
 * everybody: they were made for these tests, and are valid until 2226. */
#ifndef TLS_RIG_H
#define TLS_RIG_H

#include "check.h"
#include "rep_tls.h"

static const char tls_authority[] =
    "-----BEGIN CERTIFICATE-----\n"
    "MIIBPTCB5aADAgECAhQ4TrkO9dTm/j5KxhbtFP2ebeeh5TAKBggqhkjOPQQDAjAU\n"
    "MRIwEAYDVQQDDAlhdXRob3JpdHkwIBcNMjYwMTAxMDAwMDAwWhgPMjIyNjAxMDEw\n"
    "MDAwMDBaMBQxEjAQBgNVBAMMCWF1dGhvcml0eTBZMBMGByqGSM49AgEGCCqGSM49\n"
    "AwEHA0IABEdYzkUdbZcPh10uIb7JAGpyGXt1mYoDV1g8Cdxz1K2n4eyr9aKIxZCC\n"
    "aj92zMdwVAumSJo69WJOjMNGlm6+nMCjEzARMA8GA1UdEwEB/wQFMAMBAf8wCgYI\n"
    "KoZIzj0EAwIDRwAwRAIgDYjh5P5GntdPwScfjR2B+9067rQnwd+etZHQZAyhNwkC\n"
    "IEp9sC7jNzgN1xldIPnhpzE0Fy02oBUDY8/zLKWVSmfM\n"
    "-----END CERTIFICATE-----\n";
static const char tls_other_authority[] =
    "-----BEGIN CERTIFICATE-----\n"
    "MIIBTTCB9aADAgECAhQ2W7fd6BeN5YegKdMJye+cIlvwZDAKBggqhkjOPQQDAjAc\n"
    "MRowGAYDVQQDDBFhbm90aGVyIGF1dGhvcml0eTAgFw0yNjAxMDEwMDAwMDBaGA8y\n"
    "MjI2MDEwMTAwMDAwMFowHDEaMBgGA1UEAwwRYW5vdGhlciBhdXRob3JpdHkwWTAT\n"
    "BgcqhkjOPQIBBggqhkjOPQMBBwNCAARDxdUPWIB+a55I/uVeY+Npv+fQnkdabtt4\n"
    "AEBxTHnAF98RVWH4wk+XEtI/mzSUmyjzkNfrdWIkVFFf8Lrc2Bf6oxMwETAPBgNV\n"
    "HRMBAf8EBTADAQH/MAoGCCqGSM49BAMCA0cAMEQCICQGid+NaYk9J83T6fA0yKQq\n"
    "EmhkRt+bmpQrslIFI5fiAiAKhHbs3zex2QjD9k7AHz5bmp0kAYJ/N2QaHYsMw1ws\n"
    "fQ==\n"
    "-----END CERTIFICATE-----\n";
static const char tls_certificate[] =
    "-----BEGIN CERTIFICATE-----\n"
    "MIIBODCB36ADAgECAhQzre607U0t31G0d1XJ4zDeLIjYizAKBggqhkjOPQQDAjAU\n"
    "MRIwEAYDVQQDDAlhdXRob3JpdHkwIBcNMjYwMTAxMDAwMDAwWhgPMjIyNjAxMDEw\n"
    "MDAwMDBaMBExDzANBgNVBAMMBnN5c3RlbTBZMBMGByqGSM49AgEGCCqGSM49AwEH\n"
    "A0IABOQTdCeXfOEtgOSf3wrJCGi5wg2C9pmRExCYgbbvVktsS1V9Ow7EquTleQOZ\n"
    "by074SHEqGit2rHrZUOsdKD/9CajEDAOMAwGA1UdEwEB/wQCMAAwCgYIKoZIzj0E\n"
    "AwIDSAAwRQIhAIGR7v/GLdWGmRRJFAj9gmbmPkG8nC35MI0AtpHePsJxAiBGaqwt\n"
    "poZ7JFHXqFN9vdpvHKq76oJho/DsjTtYaY4OBQ==\n"
    "-----END CERTIFICATE-----\n";
static const char tls_key[] = "-----BEGIN PRIVATE KEY-----\n"
                              "MIGHAgEAMBMGByqGSM49AgEGCCqGSM49AwEHBG0wawIBAQQguCacy9LPbR++nNPm\n"
                              "oDlqEjjdgEOLUqdbw3K7KWENkZyhRANCAATkE3Qnl3zhLYDkn98KyQhoucINgvaZ\n"
                              "kRMQmIG271ZLbEtVfTsOxKrk5XkDmW8tO+EhxKhordqx62VDrHSg//Qm\n"
                              "-----END PRIVATE KEY-----\n";
static const char tls_other_key[] =
    "-----BEGIN PRIVATE KEY-----\n"
    "MIGHAgEAMBMGByqGSM49AgEGCCqGSM49AwEHBG0wawIBAQQgUF+W1UT6rbFeAVHk\n"
    "BzCeqoGJHfE6ogCmy5/cQRV33BihRANCAARDxdUPWIB+a55I/uVeY+Npv+fQnkda\n"
    "btt4AEBxTHnAF98RVWH4wk+XEtI/mzSUmyjzkNfrdWIkVFFf8Lrc2Bf6\n"
    "-----END PRIVATE KEY-----\n";
static const char tls_encrypted_key[] =
    "-----BEGIN ENCRYPTED PRIVATE KEY-----\n"
    "MIH0MF8GCSqGSIb3DQEFDTBSMDEGCSqGSIb3DQEFDDAkBBADnNVlyEsbVnbTOECW\n"
    "jqoqAgIIADAMBggqhkiG9w0CCQUAMB0GCWCGSAFlAwQBKgQQJPPffT9LHw+M3dct\n"
    "bMzfcQSBkPXfS891gGq7+oGSSJ42a+mgyA98minoEAp3yVlcYr5TuleedqHs5bkG\n"
    "2cbPNrHjnDb8jjA/zRgviikZBMMhCLdxxX5F8v9mQiRFLMUZX3TZcQg8EHfjBTgU\n"
    "FGPRLEDnewWUL/z8yaTJHR99XLWstcOcG/OfcsftoH7LTYbpmQwvgAZBefEq8d0c\n"
    "hOUqj5DXdA==\n"
    "-----END ENCRYPTED PRIVATE KEY-----\n";

/* One side's certificates: the authority that it trusts. */
static inline rep_tls_config *tls_config(int is_server, const char *authority)
{
    char why[REP_TLS_WHY_BYTES];
    rep_tls_config *config;
    CHECK_OK(rep_tls_config_new(is_server, &config));
    CHECK_OK(rep_tls_config_trust(config, authority, strlen(authority), why));
    CHECK_OK(rep_tls_config_show(config, tls_certificate, strlen(tls_certificate), tls_key,
                                 strlen(tls_key), why));
    return config;
}

/* Brings everything that one has to say to the other. */
static inline void tls_bring(rep_tls *from, rep_tls *to)
{
    uint8_t told[4096];
    int64_t length;
    while ((length = rep_tls_take(from, told, sizeof told)) > 0)
        CHECK_OK(rep_tls_give(to, told, (uint64_t)length));
}

/* ends[0] is the client, ends[1] the server. */
static inline void tls_begin(rep_tls *ends[2])
{
    for (int is_server = 0; is_server < 2; is_server++) {
        rep_tls_config *config = tls_config(is_server, tls_authority);
        CHECK_OK(rep_tls_new(config, &ends[is_server]));
        rep_tls_config_free(config); /* a session outlives it */
    }
}

static inline void tls_agree(rep_tls *ends[2])
{
    char why[REP_TLS_WHY_BYTES];
    tls_begin(ends);
    int waits[2] = {-EAGAIN, -EAGAIN};
    while (waits[0] || waits[1])
        for (int end = 0; end < 2; end++) {
            if (waits[end])
                waits[end] = rep_tls_shake_hands(ends[end], why);
            CHECK(!waits[end] || waits[end] == -EAGAIN);
            tls_bring(ends[end], ends[!end]);
        }
}

#endif
