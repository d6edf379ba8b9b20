#include <sched.h>

#include "rep_line.h"
#include "rig.h"
#include "tls_rig.h"

#include <sys/socket.h>
#include <sys/wait.h>

#define MUCH (5ULL << 20)
#define RECORD (16ULL << 10)

/* Two lines that are secured, and the session of each. */
typedef struct link_ends {
    rep_tls *sessions[2];
    rep_line *lines[2];
    int fds[2];
} link_ends;

static link_ends ends_new(void)
{
    link_ends e;
    tls_agree(e.sessions);
    CHECK_EQ(socketpair(AF_UNIX, SOCK_STREAM, 0, e.fds), 0);
    for (int i = 0; i < 2; i++) {
        CHECK_OK(rep_line_new(e.fds[i], &e.lines[i]));
        rep_line_secure(e.lines[i], e.sessions[i]);
    }
    return e;
}

static void ends_free(link_ends *e)
{
    for (int i = 0; i < 2; i++) {
        shutdown(e->fds[i], SHUT_RDWR);
        rep_line_end(e->lines[i]);
        close(e->fds[i]);
        rep_line_free(e->lines[i]);
        rep_tls_free(e->sessions[i]);
    }
}

static uint8_t *pattern(uint64_t length, unsigned seed)
{
    uint8_t *bytes = check_alloc(length);
    for (uint64_t i = 0; i < length; i++)
        bytes[i] = (uint8_t)((i * 2654435761U + seed) >> 7);
    return bytes;
}

typedef struct sending {
    rep_line *line;
    const uint8_t *data;
    uint64_t length;
    int rc;
} sending;

static void *send_it(void *argument)
{
    sending *s = argument;
    s->rc = rep_line_send(s->line, s->data, 32, s->data + 32, s->length - 32);
    return NULL;
}

/* Both ends send at once, and receive what the other one sends. */
static void pass_both_ways(link_ends *e)
{
    uint8_t *data[2] = {pattern(MUCH, 1), pattern(MUCH, 2)};
    uint8_t *got = check_alloc(MUCH);
    sending s[2];
    pthread_t threads[2];
    for (int i = 0; i < 2; i++) {
        s[i] = (sending){e->lines[i], data[i], MUCH, 1};
        threads[i] = thread_start(send_it, &s[i]);
    }
    for (uint64_t at = 0; at < MUCH;) { /* in turns: neither direction waits for the other's end */
        uint64_t length = MUCH - at < 300000 ? MUCH - at : 300000;
        for (int i = 0; i < 2; i++) {
            CHECK_OK(rep_line_fill(e->lines[i], got, length));
            CHECK_BYTES(got, data[!i] + at, length);
        }
        at += length;
    }
    for (int i = 0; i < 2; i++) {
        thread_join(threads[i]);
        CHECK_OK(s[i].rc);
        free(data[i]);
    }
    free(got);
}

static void what_is_sent_both_ways_at_once_arrives_as_it_was(void)
{
    link_ends e = ends_new();
    pass_both_ways(&e);
    ends_free(&e);
}

static void keys_are_renewed_amid_what_is_sent(void)
{
    link_ends e = ends_new();
    for (int i = 0; i < 2; i++)
        rep_tls_renew_after(e.sessions[i], 20);
    pass_both_ways(&e);
    ends_free(&e);
}

/* A record in which keys are renewed: 5 bytes of it, its kind, the tag (RFC 8446, 4.6.3). */
#define RENEWAL_BYTES (5 + 1 + 16)

static void they_are_renewed_after_so_many_records(void)
{
    link_ends e = ends_new();
    uint8_t head[5];
    uint8_t body[200];
    uint8_t *data = pattern(100, 9);
    unsigned renewals = 0;
    rep_tls_renew_after(e.sessions[0], 20);
    for (unsigned i = 0; i < 60; i++)
        CHECK_OK(rep_line_send(e.lines[0], data, 100, NULL, 0));
    for (unsigned records = 0; records < 60;) {
        CHECK_EQ(recv(e.fds[1], head, sizeof head, MSG_WAITALL), sizeof head);
        unsigned length = (unsigned)head[3] << 8 | head[4];
        CHECK_EQ(recv(e.fds[1], body, length, MSG_WAITALL), length);
        if (length == RENEWAL_BYTES)
            CHECK_EQ(records, 20 * ++renewals);
        else
            records++;
    }
    CHECK_EQ(renewals, 2);
    free(data);
    ends_free(&e);
}

static void nothing_is_seen_on_the_wire(void)
{
    link_ends e = ends_new();
    uint8_t wire[8192];
    uint8_t *data = pattern(4096, 3);
    CHECK_OK(rep_line_send(e.lines[0], data, 32, data + 32, 4064));
    ssize_t length = recv(e.fds[1], wire, sizeof wire, 0);
    CHECK(length > 4096 && length < 4200); /* one record */
    CHECK(!memmem(wire, (size_t)length, data, 32));
    free(data);
    ends_free(&e);
}

/* What one end encrypts of `data` comes to the other one changed. */
static int received_after(int (*change)(uint8_t *wire, ssize_t length), char *why)
{
    link_ends e = ends_new();
    uint8_t wire[8192];
    uint8_t got[64];
    uint8_t *data = pattern(64, 4);
    CHECK_OK(rep_line_send(e.lines[0], data, 64, NULL, 0));
    ssize_t length = recv(e.fds[1], wire, sizeof wire, 0);
    int passed = change(wire, length);
    CHECK_EQ(send(e.fds[0], wire, (size_t)passed, 0), passed);
    shutdown(e.fds[0], SHUT_WR);
    int rc = rep_line_fill(e.lines[1], got, sizeof got);
    rep_tls_why(e.sessions[1], why);
    CHECK_EQ(rep_line_fill(e.lines[1], got, sizeof got), rc); /* nor does anything come later */
    /* Who sends before it is asked for doesn't hide it. */
    char later[REP_TLS_WHY_BYTES];
    if (rc == -EPROTO)
        CHECK_ERRNO(rep_line_send(e.lines[1], data, 64, NULL, 0), EPROTO);
    rep_tls_why(e.sessions[1], later);
    CHECK(!strcmp(later, why));
    free(data);
    ends_free(&e);
    return rc;
}

static int flipped_at;

static int flip(uint8_t *wire, ssize_t length)
{
    wire[flipped_at % length] ^= 1;
    return (int)length;
}

/* NOLINTNEXTLINE(readability-non-const-parameter): as flip */
static int shorten(uint8_t *wire, ssize_t length)
{
    (void)wire;
    return (int)length - 1;
}

static void every_flipped_bit_ends_it(void)
{
    char why[REP_TLS_WHY_BYTES];
    for (flipped_at = 0; flipped_at < 86; flipped_at++) {
        int rc = received_after(flip, why);
        /* A longer length is waited for until the other side ends it. */
        CHECK(rc == -EPROTO || (rc == -EPIPE && (flipped_at == 3 || flipped_at == 4)));
        CHECK((rc == -EPROTO) == (why[0] != 0));
    }
}

static void an_end_amid_a_record_is_an_end(void)
{
    char why[REP_TLS_WHY_BYTES];
    CHECK_ERRNO(received_after(shorten, why), EPIPE);
}

typedef struct waiting {
    link_ends *ends;
    rep_wake *wake;
    uint64_t length;
    int rc;
} waiting;

static void *send_until(void *argument)
{
    waiting *w = argument;
    uint8_t *data = pattern(w->length, 5);
    w->rc = rep_line_send_until(w->ends->lines[0], data, w->length, w->wake);
    free(data);
    return NULL;
}

static void a_send_that_is_called_off_in_its_midst_ends_the_line(void)
{
    link_ends e = ends_new();
    waiting w = {.ends = &e, .length = MUCH};
    CHECK_OK(rep_wake_new(&w.wake));
    pthread_t thread = thread_start(send_until, &w);
    uint8_t first[100];
    CHECK_OK(rep_line_fill(e.lines[1], first, sizeof first)); /* it is amid it */
    rep_wake_raise(w.wake);
    thread_join(thread);
    CHECK_ERRNO(w.rc, ECANCELED);
    CHECK_ERRNO(rep_line_send(e.lines[0], first, sizeof first, NULL, 0), EPIPE);
    rep_wake_free(w.wake);
    ends_free(&e);
}

static void one_that_is_called_off_before_leaves_it_whole(void)
{
    link_ends e = ends_new();
    uint8_t *data = pattern(64, 6);
    uint8_t got[64];
    rep_wake *wake;
    CHECK_OK(rep_wake_new(&wake));
    rep_wake_raise(wake);
    CHECK_ERRNO(rep_line_send_until(e.lines[0], data, 64, wake), ECANCELED);
    rep_wake_reset(wake);
    CHECK_OK(rep_line_send_until(e.lines[0], data, 64, wake));
    CHECK_OK(rep_line_fill(e.lines[1], got, sizeof got));
    CHECK_BYTES(got, data, 64);
    rep_wake_free(wake);
    free(data);
    ends_free(&e);
}

static void several_records_are_read_by_one_call_where_more_may_come(void)
{
    link_ends e = ends_new();
    uint8_t *data = pattern(3 * RECORD, 7);
    const uint8_t *at;
    for (uint64_t i = 0; i < 3; i++)
        CHECK_OK(rep_line_send(e.lines[0], data + i * RECORD, RECORD, NULL, 0));
    CHECK_OK(rep_line_want(e.lines[1], 10, true, &at));
    CHECK_EQ(rep_line_unread(e.lines[1], &at), 3 * RECORD);
    CHECK_BYTES(at, data, 3 * RECORD);
    free(data);
    ends_free(&e);
}

static void a_certificate_of_another_authority_is_not_trusted(void)
{
    char why[REP_TLS_WHY_BYTES];
    rep_tls_config *client = tls_config(0, tls_other_authority);
    rep_tls_config *server = tls_config(1, tls_authority);
    rep_tls *near;
    rep_tls *far;
    CHECK_OK(rep_tls_new(client, &near));
    CHECK_OK(rep_tls_new(server, &far));
    CHECK_ERRNO(rep_tls_shake_hands(near, why), EAGAIN);
    tls_bring(near, far);
    CHECK_ERRNO(rep_tls_shake_hands(far, why), EAGAIN);
    tls_bring(far, near);
    CHECK_ERRNO(rep_tls_shake_hands(near, why), EKEYREJECTED);
    CHECK(strstr(why, "certificate"));
    tls_bring(near, far);
    CHECK_ERRNO(rep_tls_shake_hands(far, why), EPROTO); /* it was told why */
    CHECK(strstr(why, "unknown ca"));
    uint8_t der[4096];
    CHECK_ERRNO(rep_tls_peer(far, der, sizeof der), ENOENT);
    rep_tls_free(near);
    rep_tls_free(far);
    rep_tls_config_free(client);
    rep_tls_config_free(server);
}

static int shown(const char *certificate, const char *key, char *why)
{
    rep_tls_config *config;
    CHECK_OK(rep_tls_config_new(0, &config));
    int rc = rep_tls_config_show(config, certificate, strlen(certificate), key, strlen(key), why);
    rep_tls_config_free(config);
    return rc;
}

static void files_that_are_no_certificate_and_no_key_of_it_are_told_apart(void)
{
    char why[REP_TLS_WHY_BYTES];
    rep_tls_config *config;
    CHECK_ERRNO(shown(tls_certificate, tls_other_key, why), EKEYREJECTED);
    CHECK_ERRNO(shown(tls_certificate, tls_encrypted_key, why), ENOKEY);
    CHECK_ERRNO(shown(tls_certificate, tls_certificate, why), EBADMSG);
    CHECK_ERRNO(shown("nothing", tls_key, why), EBADMSG);
    CHECK_ERRNO(shown(tls_key, tls_key, why), EBADMSG);
    CHECK_OK(rep_tls_config_new(1, &config));
    CHECK_ERRNO(rep_tls_config_trust(config, "", 0, why), EBADMSG);
    CHECK_ERRNO(rep_tls_config_trust(config, tls_key, strlen(tls_key), why), EBADMSG);
    /* A second one that is cut off is no end. */
    char both[2 * sizeof tls_authority];
    snprintf(both, sizeof both, "%s%.*s", tls_authority, 200, tls_authority);
    CHECK_ERRNO(rep_tls_config_trust(config, both, strlen(both), why), EBADMSG);
    rep_tls_config_free(config);
}

static void the_other_sides_certificate_is_told(void)
{
    rep_tls *ends[2];
    uint8_t der[4096];
    tls_agree(ends);
    int64_t length = rep_tls_peer(ends[0], der, sizeof der);
    CHECK(length > 200);
    CHECK_ERRNO(rep_tls_peer(ends[0], der, (uint64_t)length - 1), ENOBUFS);
    rep_tls_free(ends[0]);
    rep_tls_free(ends[1]);
}

/* A sender finds the session amid a message, for which OpenSSL would read: here, the handshake. */
static void who_sends_reads_nothing_of_what_has_come(void)
{
    char why[REP_TLS_WHY_BYTES];
    rep_tls *ends[2];
    tls_begin(ends);
    CHECK_ERRNO(rep_tls_shake_hands(ends[0], why), EAGAIN);
    tls_bring(ends[0], ends[1]);
    CHECK_ERRNO(rep_tls_shake_hands(ends[1], why), EAGAIN);
    tls_bring(ends[1], ends[0]);
    CHECK_ERRNO(rep_tls_encrypt(ends[0], "data", 4), EPROTO);
    rep_tls_why(ends[0], why);
    CHECK(!strcmp(why, "the other side told half a message"));
    CHECK_OK(rep_tls_shake_hands(ends[0], why)); /* all of it is still there */
    rep_tls_free(ends[0]);
    rep_tls_free(ends[1]);
}

static void no_more_is_taken_than_can_have_come(void)
{
    rep_tls_config *config = tls_config(1, tls_authority);
    rep_tls *tls;
    uint8_t *data = pattern(REP_TLS_PIECE_BYTES, 8);
    CHECK_OK(rep_tls_new(config, &tls));
    CHECK_OK(rep_tls_give(tls, data, REP_TLS_PIECE_BYTES));
    CHECK_ERRNO(rep_tls_give(tls, data, 1), ENOBUFS);
    free(data);
    rep_tls_free(tls);
    rep_tls_config_free(config);
}

static rep_tls *freed_late[2];

/* Asked for before OpenSSL is loaded, so called behind everything of its own. */
static void free_late(void)
{
    for (int k = 0; k < 2; k++)
        rep_tls_free(freed_late[k]);
}

static void a_session_may_be_freed_when_the_process_has_ended_all_else(void)
{
    pid_t child = fork();
    CHECK(child >= 0);
    if (!child) {
        alarm(20); /* it would wait for ever */
        tls_agree(freed_late);
        exit(0);
    }
    int status;
    CHECK_EQ(waitpid(child, &status, 0), child);
    CHECK(WIFEXITED(status) && WEXITSTATUS(status) == 0);
}

static void *encrypt_forever(void *argument)
{
    rep_tls *tls = argument;
    for (;;) {
        CHECK_OK(rep_tls_encrypt(tls, "data", 4));
        rep_tls_sent(tls);
    }
    return NULL;
}

/* Each in a process of its own, which ends sooner or later while keys are renewed at each send. */
static void a_process_may_end_while_its_threads_send(void)
{
    for (unsigned i = 0; i < 100; i++) {
        pid_t child = fork();
        CHECK(child >= 0);
        if (!child) {
            rep_tls *ends[2];
            tls_agree(ends);
            for (int k = 0; k < 2; k++) {
                rep_tls_renew_after(ends[k], 1);
                pthread_detach(thread_start(encrypt_forever, ends[k]));
            }
            usleep(1000 + i * 10);
            exit(0);
        }
        int status;
        CHECK_EQ(waitpid(child, &status, 0), child);
        CHECK(WIFEXITED(status) && WEXITSTATUS(status) == 0);
    }
}

int main(void)
{
    CHECK_EQ(atexit(free_late), 0);
    RUN(what_is_sent_both_ways_at_once_arrives_as_it_was);
    RUN(keys_are_renewed_amid_what_is_sent);
    RUN(they_are_renewed_after_so_many_records);
    RUN(nothing_is_seen_on_the_wire);
    RUN(every_flipped_bit_ends_it);
    RUN(an_end_amid_a_record_is_an_end);
    RUN(a_send_that_is_called_off_in_its_midst_ends_the_line);
    RUN(one_that_is_called_off_before_leaves_it_whole);
    RUN(several_records_are_read_by_one_call_where_more_may_come);
    RUN(a_certificate_of_another_authority_is_not_trusted);
    RUN(files_that_are_no_certificate_and_no_key_of_it_are_told_apart);
    RUN(the_other_sides_certificate_is_told);
    RUN(who_sends_reads_nothing_of_what_has_come);
    RUN(no_more_is_taken_than_can_have_come);
    RUN(a_session_may_be_freed_when_the_process_has_ended_all_else);
    RUN(a_process_may_end_while_its_threads_send);
    return 0;
}
