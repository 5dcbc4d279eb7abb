/* Echo with libuv: one handle and three callbacks per connection. */

#define _GNU_SOURCE
#include "peer.h"

#include <signal.h>
#include <uv.h>

enum { buffer_bytes = 16 * 1024 };

struct connection {
    uv_tcp_t socket; /* first: libuv hands this back, and it is the connection */
    uv_write_t sending;
    char bytes[buffer_bytes];
};

static void release(uv_handle_t* socket) { free(socket); }

static void lend(uv_handle_t* socket, size_t suggested, uv_buf_t* buffer) {
    (void)suggested;
    *buffer = uv_buf_init(((struct connection*)socket)->bytes, buffer_bytes);
}

static void received(uv_stream_t* socket, ssize_t count, const uv_buf_t* buffer);

static void sent(uv_write_t* sending, int status) {
    uv_handle_t* socket = (uv_handle_t*)sending->handle;
    if (uv_is_closing(socket)) return;
    if (status < 0) return uv_close(socket, release);
    uv_read_start(sending->handle, lend, received);
}

/* Most answers fit at once. One that does not stops the receiving until it is out: a client that does
   not read is not read from. */
static void received(uv_stream_t* socket, ssize_t count, const uv_buf_t* buffer) {
    if (count == 0) return;
    if (count < 0) return uv_close((uv_handle_t*)socket, release);

    uv_buf_t rest = uv_buf_init(buffer->base, (unsigned)count);
    int done = uv_try_write(socket, &rest, 1);
    if (done == count) return;
    if (done < 0 && done != UV_EAGAIN) return uv_close((uv_handle_t*)socket, release);
    if (done > 0) rest = uv_buf_init(rest.base + done, rest.len - (size_t)done);
    uv_read_stop(socket);
    if (uv_write(&((struct connection*)socket)->sending, socket, &rest, 1, sent) < 0)
        uv_close((uv_handle_t*)socket, release);
}

static void connected(uv_stream_t* listener, int status) {
    struct connection* connection = malloc(sizeof *connection);
    if (connection == NULL) status = UV_ENOMEM;
    if (status == 0) status = uv_tcp_init(listener->loop, &connection->socket);
    if (status == 0) status = uv_accept(listener, (uv_stream_t*)&connection->socket);
    if (status < 0) {
        fprintf(stderr, "%s: accept: %s\n", program_invocation_short_name, uv_strerror(status));
        exit(EX_OSERR);
    }
    uv_read_start((uv_stream_t*)&connection->socket, lend, received);
}

int main(int argc, char** argv) {
    int descriptor = peer_listen(argc, argv);
    signal(SIGPIPE, SIG_IGN);
    uv_loop_t* loop = uv_default_loop();
    uv_tcp_t listener;
    int status = uv_tcp_init(loop, &listener);
    if (status == 0) status = uv_tcp_open(&listener, descriptor);
    if (status == 0) status = uv_listen((uv_stream_t*)&listener, 4096, connected);
    if (status < 0) {
        fprintf(stderr, "%s: %s\n", program_invocation_short_name, uv_strerror(status));
        return EX_OSERR;
    }
    return uv_run(loop, UV_RUN_DEFAULT);
}
