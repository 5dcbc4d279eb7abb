/* Echo with a plain epoll loop: the anchor that server CPU per echo is compared with. */

#define _GNU_SOURCE
#include "peer.h"

#include <stdbool.h>
#include <sys/epoll.h>
#include <unistd.h>

enum { events_per_wait = 512, buffer_bytes = 16 * 1024 };

struct connection {
    int descriptor;
    size_t sent, received; /* bytes[sent..received) still has to go out */
    char bytes[buffer_bytes];
};

static void watch(int poll, int change, struct connection* connection, uint32_t events) {
    struct epoll_event event = {.events = events, .data.ptr = connection};
    if (epoll_ctl(poll, change, connection->descriptor, &event) < 0) {
        perror("epoll_ctl");
        exit(EX_OSERR);
    }
}

static void accept_all(int poll, int listener) {
    for (int descriptor; (descriptor = peer_accept(listener)) >= 0;) {
        struct connection* connection = malloc(sizeof *connection);
        if (connection == NULL) {
            perror("malloc");
            exit(EX_OSERR);
        }
        connection->descriptor = descriptor;
        connection->sent = connection->received = 0;
        watch(poll, EPOLL_CTL_ADD, connection, EPOLLIN);
    }
}

/* Receives only when everything has been sent: a client that does not read is not read from.
   Returns false when the connection is over. */
static bool echo(int poll, struct connection* connection) {
    bool waited_to_send = connection->sent < connection->received;
    if (!waited_to_send) {
        ssize_t received = recv(connection->descriptor, connection->bytes, buffer_bytes, 0);
        if (received <= 0) return received < 0 && errno == EAGAIN;
        connection->sent = 0;
        connection->received = (size_t)received;
    }

    ssize_t sent = send(connection->descriptor, connection->bytes + connection->sent,
                        connection->received - connection->sent, MSG_NOSIGNAL);
    if (sent < 0 && errno != EAGAIN) return false;
    if (sent > 0) connection->sent += (size_t)sent;

    bool waits_to_send = connection->sent < connection->received;
    if (waits_to_send != waited_to_send)
        watch(poll, EPOLL_CTL_MOD, connection, waits_to_send ? EPOLLOUT : EPOLLIN);
    return true;
}

int main(int argc, char** argv) {
    int listener = peer_listen(argc, argv);
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
                accept_all(poll, listener);
            } else if (!echo(poll, connection)) {
                close(connection->descriptor);
                free(connection);
            }
        }
    }
}
