#include "net/socket_file.hpp"

#include <ringlet/unix_listener.hpp>

#include <doctest/doctest.h>

#include <filesystem>
#include <string>

#include <unistd.h>

using namespace ringlet;

namespace {

const std::string path = "/tmp/ringlet-socket-file-" + std::to_string(::getpid());

} // namespace

TEST_CASE("the file of a Unix socket is removed only by its owner") {
    auto listener = UnixListener::bind(Endpoint::parse("unix:" + path).value());
    REQUIRE(listener);
    listener->give_away();
    *listener = UnixListener();
    REQUIRE(std::filesystem::exists(path));
    {
        const SocketFile another(path, false);
    }
    CHECK(std::filesystem::exists(path));
    {
        SocketFile ours(path, false);
        ours.set_owned(true);
    }
    CHECK_FALSE(std::filesystem::exists(path));
}
