/* Echo with State Threads: one light thread per connection, each with a stack of its own. */

#define _GNU_SOURCE
#include "peer.h"

#include <signal.h>
#include <st.h>

enum { buffer_bytes = 16 * 1024, stack_bytes = 64 * 1024 };

static void* echo(void* argument) {
    st_netfd_t connection = argument;
    char bytes[buffer_bytes];
    for (;;) {
        ssize_t received = st_read(connection, bytes, sizeof bytes, ST_UTIME_NO_TIMEOUT);
        if (received <= 0) break; /* the client has finished or gone */
        ssize_t sent = st_write(connection, bytes, (size_t)received, ST_UTIME_NO_TIMEOUT);
        if (sent != received) break;
    }
    st_netfd_close(connection);
    return NULL;
}

static void fail(const char* what) {
    fprintf(stderr, "%s: %s: %s\n", program_invocation_short_name, what, strerror(errno));
    exit(EX_OSERR);
}

int main(int argc, char** argv) {
    int descriptor = peer_listen(argc, argv);
    signal(SIGPIPE, SIG_IGN);
    /* epoll where the library has it (Debian's has not), else poll: select ends at 1,024 descriptors.
       The second call has no effect when the first had. */
    st_set_eventsys(ST_EVENTSYS_ALT);
    st_set_eventsys(ST_EVENTSYS_POLL);
    if (st_init() < 0) fail("st_init");
    st_netfd_t listener = st_netfd_open_socket(descriptor);
    if (listener == NULL) fail("st_netfd_open_socket");

    for (;;) {
        st_netfd_t connection = st_accept(listener, NULL, NULL, ST_UTIME_NO_TIMEOUT);
        if (connection == NULL && errno == ECONNABORTED) continue;
        if (connection == NULL) fail("accept");
        if (st_thread_create(echo, connection, 0, stack_bytes) == NULL) fail("st_thread_create");
    }
}
