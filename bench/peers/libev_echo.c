/* Echo with libev: one watcher and one callback per connection. LIBEV_FLAGS chooses the backend: libev's
   own is epoll, 128 is io_uring. */

#define _GNU_SOURCE
#include "peer.h"

#include <ev.h>
#include <signal.h>
#include <stdbool.h>
#include <unistd.h>

enum { buffer_bytes = 16 * 1024 };

struct connection {
    ev_io watcher;         /* first: libev hands this back, and it is the connection */
    size_t sent, received; /* bytes[sent..received) still has to go out */
    char bytes[buffer_bytes];
};

/* Receives only when everything has been sent: a client that does not read is not read from.
   Returns false when the connection is over. */
static bool echo(struct ev_loop* loop, struct connection* connection, int events) {
    ev_io* watcher = &connection->watcher;
    if (events & EV_READ) {
        ssize_t received = recv(watcher->fd, connection->bytes, buffer_bytes, 0);
        if (received <= 0) return received < 0 && errno == EAGAIN;
        connection->sent = 0;
        connection->received = (size_t)received;
    }

    ssize_t sent = send(watcher->fd, connection->bytes + connection->sent,
                        connection->received - connection->sent, MSG_NOSIGNAL);
    if (sent < 0 && errno != EAGAIN) return false;
    if (sent > 0) connection->sent += (size_t)sent;

    int waits_for = connection->sent < connection->received ? EV_WRITE : EV_READ;
    if (!(events & waits_for)) {
        ev_io_stop(loop, watcher);
        ev_io_set(watcher, watcher->fd, waits_for);
        ev_io_start(loop, watcher);
    }
    return true;
}

static void on_ready(struct ev_loop* loop, ev_io* watcher, int events) {
    struct connection* connection = (struct connection*)watcher;
    if (!echo(loop, connection, events)) {
        ev_io_stop(loop, watcher);
        close(watcher->fd);
        free(connection);
    }
}

static void accept_all(struct ev_loop* loop, ev_io* watcher, int events) {
    (void)events;
    for (int descriptor; (descriptor = peer_accept(watcher->fd)) >= 0;) {
        struct connection* connection = malloc(sizeof *connection);
        if (connection == NULL) {
            perror("malloc");
            exit(EX_OSERR);
        }
        connection->sent = connection->received = 0;
        ev_io_init(&connection->watcher, on_ready, descriptor, EV_READ);
        ev_io_start(loop, &connection->watcher);
    }
}

static int listener;

/* On io_uring a poll that is left behind would keep the port for a while. */
static void stop(int signal_number) {
    (void)signal_number;
    shutdown(listener, SHUT_RDWR);
    _exit(EX_OK);
}

int main(int argc, char** argv) {
    listener = peer_listen(argc, argv);
    signal(SIGTERM, stop);
    signal(SIGINT, stop);
    struct ev_loop* loop = EV_DEFAULT;
    ev_io watcher;
    ev_io_init(&watcher, accept_all, listener, EV_READ);
    ev_io_start(loop, &watcher);
    ev_run(loop, 0);
}
