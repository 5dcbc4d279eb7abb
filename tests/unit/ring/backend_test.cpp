#include <ringlet/backend.hpp>

#include "support.hpp"

#include <string>

using namespace ringlet;

TEST_CASE("a backend's name parses back to the backend") {
    for (const auto backend : {Backend::automatic, Backend::io_uring, Backend::epoll}) {
        CHECK(parse_backend(to_string(backend)) == backend);
    }
    for (const char* name : {"", "kqueue", "Epoll", "epoll "}) {
        CHECK_MESSAGE(!parse_backend(name), name);
    }
}

TEST_CASE("a backend choice prints the backend and the reason") {
    CHECK(BackendChoice{.backend = Backend::io_uring}.to_string() == "io_uring");
    CHECK(BackendChoice{.backend = Backend::epoll}.to_string() == "epoll (as asked for)");
    const BackendChoice refused{.backend = Backend::epoll, .refusal = Errc::io_uring_missing};
    CHECK(refused.to_string() == "epoll (io_uring is refused: Function not implemented)");
}

TEST_CASE("probing io_uring agrees with a loop that requires it") {
    const auto probed = probe_io_uring();
    const auto loop = EventLoop::create({.backend = Backend::io_uring});
    CHECK(loop.error() == probed);
}
