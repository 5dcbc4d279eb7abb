/* Echo through TLS with a plain epoll loop and OpenSSL on the sockets themselves: the least there is. The anchor that
   the CPU per echo of ringlet::tls is compared with. */

#define _GNU_SOURCE
#define PEER_ARGUMENTS "PORT CERTIFICATE KEY"
#include "peer.h"

#include <openssl/err.h>
#include <openssl/ssl.h>
#include <signal.h>
#include <stdbool.h>
#include <sys/epoll.h>
#include <unistd.h>

enum { events_per_wait = 512, buffer_bytes = 16 * 1024 };

struct connection {
    SSL* ssl;
    uint32_t events;       /* that are waited for */
    size_t sent, received; /* bytes[sent..received) still has to go out */
    char bytes[buffer_bytes];
};

static void watch(int poll, int change, struct connection* connection, uint32_t events) {
    struct epoll_event event = {.events = events, .data.ptr = connection};
    connection->events = events;
    if (epoll_ctl(poll, change, SSL_get_fd(connection->ssl), &event) < 0) {
        perror("epoll_ctl");
        exit(EX_OSERR);
    }
}

static void accept_all(int poll, int listener, SSL_CTX* context) {
    for (int descriptor; (descriptor = peer_accept(listener)) >= 0;) {
        struct connection* connection = malloc(sizeof *connection);
        SSL* ssl = SSL_new(context);
        if (connection == NULL || ssl == NULL || SSL_set_fd(ssl, descriptor) != 1) {
            perror("malloc");
            exit(EX_OSERR);
        }
        SSL_set_accept_state(ssl);
        connection->ssl = ssl;
        connection->sent = connection->received = 0;
        watch(poll, EPOLL_CTL_ADD, connection, EPOLLIN);
    }
}

/* Whether the connection goes on, now that OpenSSL has done what it could. */
static bool goes_on(int poll, struct connection* connection, int returned) {
    int error = SSL_get_error(connection->ssl, returned);
    if (error != SSL_ERROR_WANT_READ && error != SSL_ERROR_WANT_WRITE) return false;
    uint32_t wanted = error == SSL_ERROR_WANT_READ ? EPOLLIN : EPOLLOUT;
    if (wanted != connection->events) watch(poll, EPOLL_CTL_MOD, connection, wanted);
    return true;
}

/* Receives only when everything has been sent: a client that does not read is not read from.
   Returns false when the connection is over. */
static bool echo(int poll, struct connection* connection) {
    for (;;) {
        ERR_clear_error();
        if (connection->sent == connection->received) {
            int returned = SSL_read_ex(connection->ssl, connection->bytes, buffer_bytes,
                                       &connection->received);
            connection->sent = 0;
            if (returned != 1) {
                connection->received = 0;
                return goes_on(poll, connection, returned);
            }
        }
        while (connection->sent < connection->received) {
            size_t sent;
            int returned = SSL_write_ex(connection->ssl, connection->bytes + connection->sent,
                                        connection->received - connection->sent, &sent);
            if (returned != 1) return goes_on(poll, connection, returned);
            connection->sent += sent;
        }
        /* What the socket has not given yet, epoll tells of: no read that would find nothing. */
        if (!SSL_has_pending(connection->ssl)) {
            if (connection->events != EPOLLIN) watch(poll, EPOLL_CTL_MOD, connection, EPOLLIN);
            return true;
        }
    }
}

static SSL_CTX* make_context(const char* certificate, const char* key) {
    SSL_CTX* context = SSL_CTX_new(TLS_server_method());
    if (context == NULL || SSL_CTX_use_certificate_chain_file(context, certificate) != 1 ||
        SSL_CTX_use_PrivateKey_file(context, key, SSL_FILETYPE_PEM) != 1) {
        ERR_print_errors_fp(stderr);
        exit(EX_NOINPUT);
    }
    SSL_CTX_set_min_proto_version(context, TLS1_2_VERSION);
    SSL_CTX_set_read_ahead(context, 1); /* a record's head and body by one read */
    SSL_CTX_set_session_cache_mode(context, SSL_SESS_CACHE_OFF);
    SSL_CTX_set_mode(context, SSL_MODE_RELEASE_BUFFERS | SSL_MODE_ENABLE_PARTIAL_WRITE |
                                  SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER);
    return context;
}

int main(int argc, char** argv) {
    if (argc != 4) peer_usage();
    signal(SIGPIPE, SIG_IGN); /* OpenSSL writes to sockets as to files */
    SSL_CTX* context = make_context(argv[2], argv[3]);
    int listener = peer_listen(2, argv);
    int poll = epoll_create1(EPOLL_CLOEXEC);
    struct epoll_event ready[events_per_wait] = {{.events = EPOLLIN, .data.ptr = NULL}};
    if (poll < 0 || epoll_ctl(poll, EPOLL_CTL_ADD, listener, &ready[0]) < 0) {
        perror("epoll");
        return EX_OSERR;
    }

    for (;;) {
        int count = epoll_wait(poll, ready, events_per_wait, -1);
        for (int index = 0; index < count; index++) {
            struct connection* connection = ready[index].data.ptr;
            if (connection == NULL) {
                accept_all(poll, listener, context);
            } else if (!echo(poll, connection)) {
                int descriptor = SSL_get_fd(connection->ssl);
                SSL_shutdown(connection->ssl);
                SSL_free(connection->ssl);
                close(descriptor);
                free(connection);
            }
        }
    }
}
