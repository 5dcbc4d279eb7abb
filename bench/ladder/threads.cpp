// A thread per connection: the same echo with the kernel's own scheduler.

#include "../peers/peer.h"
#include "ladder.hpp"

#include <cstdint>
#include <cstdio>
#include <cstring>

#include <fcntl.h>
#include <pthread.h>
#include <unistd.h>

namespace {

constexpr std::size_t buffer_bytes = 16 * 1024;
constexpr std::size_t stack_bytes = 64 * 1024; // room for 10,000 connections

bool send_all(int descriptor, const char* bytes, std::size_t count) {
    while (count > 0) {
        const ssize_t sent = ::send(descriptor, bytes, count, MSG_NOSIGNAL);
        if (sent < 0 && errno == EINTR) continue;
        if (sent < 0) return false;
        bytes += sent;
        count -= static_cast<std::size_t>(sent);
    }
    return true;
}

void* echo(void* argument) {
    const int descriptor = static_cast<int>(reinterpret_cast<std::intptr_t>(argument));
    char bytes[buffer_bytes];
    for (;;) {
        const ssize_t received = ::recv(descriptor, bytes, buffer_bytes, 0);
        if (received < 0 && errno == EINTR) continue;
        if (received <= 0 || !send_all(descriptor, bytes, static_cast<std::size_t>(received)))
            break;
    }
    ::close(descriptor);
    return nullptr;
}

} // namespace

int serve_threads(const Settings& settings) {
    std::string name = "ladder", port = std::to_string(settings.port);
    char* arguments[] = {name.data(), port.data()};
    const int listener = peer_listen(2, arguments);
    ::fcntl(listener, F_SETFL, 0);

    pthread_attr_t attributes;
    pthread_attr_init(&attributes);
    pthread_attr_setstacksize(&attributes, stack_bytes);
    pthread_attr_setdetachstate(&attributes, PTHREAD_CREATE_DETACHED);
    for (;;) {
        const int descriptor = ::accept4(listener, nullptr, nullptr, SOCK_CLOEXEC);
        if (descriptor < 0 && (errno == ECONNABORTED || errno == EINTR)) continue;
        pthread_t thread;
        const auto argument = reinterpret_cast<void*>(static_cast<std::intptr_t>(descriptor));
        if (descriptor < 0) {
            std::perror("ladder: accept");
            return EX_OSERR;
        }
        if (const int failure = pthread_create(&thread, &attributes, echo, argument)) {
            std::fprintf(stderr, "ladder: pthread_create: %s\n", std::strerror(failure));
            return EX_OSERR;
        }
    }
}
