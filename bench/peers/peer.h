/* What the peers in C and C++ do the same way: read the port, listen, and fail with one clear line.
   A source in C defines _GNU_SOURCE before it includes this. */

#pragma once

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sysexits.h>

#ifndef PEER_ARGUMENTS /* what the usage line names; a peer with more of them looks at those itself */
#define PEER_ARGUMENTS "PORT"
#endif

static void peer_usage(void) {
    fprintf(stderr,
            "usage: %s " PEER_ARGUMENTS "    (echoes on 127.0.0.1:PORT; PORT is 1 to 65535)\n",
            program_invocation_short_name);
    exit(EX_USAGE);
}

/* Returns a non-blocking socket that listens on 127.0.0.1 and the port in argv[1].
   Linux hands TCP_NODELAY down to the accepted sockets: it costs no system call per connection. */
static int peer_listen(int argc, char** argv) {
    const char* name = program_invocation_short_name;
    if (argc != 2) peer_usage();
    char* end;
    long port = strtol(argv[1], &end, 10);
    if (*end != '\0' || port < 1 || port > 65535) peer_usage();

    struct sockaddr_in address;
    memset(&address, 0, sizeof address);
    address.sin_family = AF_INET;
    address.sin_port = htons((in_port_t)port);
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    int on = 1;
    int listener = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (listener < 0 || setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on) < 0 ||
        setsockopt(listener, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on) < 0 ||
        bind(listener, (struct sockaddr*)&address, sizeof address) < 0 ||
        listen(listener, 4096) < 0) {
        const char* hint = errno == EADDRINUSE ? " (another server runs there)" : "";
        fprintf(stderr, "%s: 127.0.0.1:%ld: %s%s\n", name, port, strerror(errno), hint);
        exit(EX_UNAVAILABLE);
    }
    return listener;
}

/* Accepts one connection, or returns -1 when nobody waits. Any other failure, such as a full
   descriptor table, ends the peer: a server that spins on it would be measured as a slow one. */
static inline int peer_accept(int listener) {
    int connection = accept4(listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
    if (connection < 0 && errno != EAGAIN && errno != ECONNABORTED && errno != EINTR) {
        fprintf(stderr, "%s: accept: %s\n", program_invocation_short_name, strerror(errno));
        exit(EX_OSERR);
    }
    return connection;
}
