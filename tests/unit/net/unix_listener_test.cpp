#include <ringlet/unix_listener.hpp>

#include "net.hpp"
#include "notification.hpp"

#include <ringlet/testing/simulation.hpp>

#include <filesystem>
#include <fstream>
#include <string>

#include <sys/stat.h>

using namespace ringlet;
using namespace ringlet::testing;

namespace {

/// A temporary folder.
struct Folder {
    std::string path;
    Folder() {
        char name[] = "/tmp/ringlet-XXXXXX";
        REQUIRE(::mkdtemp(name) != nullptr);
        path = name;
    }
    ~Folder() { std::filesystem::remove_all(path); }
    [[nodiscard]] Endpoint at(const std::string& name) const {
        return Endpoint::parse("unix:" + path + "/" + name).value();
    }
};

Task<std::string> talk_through(UnixListener& listener, Endpoint at) {
    std::string said;
    auto serve = [&]() -> Task<> {
        auto stream = co_await listener.accept();
        REQUIRE(stream);
        auto chunk = co_await stream->recv();
        REQUIRE(chunk);
        said = chunk->text();
    };
    auto ask = [&]() -> Task<> {
        auto stream = co_await UnixStream::connect(at);
        REQUIRE(stream);
        auto sent = co_await stream->send_all("hello");
        CHECK(sent);
        auto peer = stream->peer();
        CHECK((peer && *peer == at));
    };
    auto both = [&](TaskGroup& group) -> Task<> {
        group.spawn(serve);
        group.spawn(ask);
        co_return;
    };
    auto done = co_await with_task_group(both);
    CHECK(done);
    co_return said;
}

} // namespace

TEST_CASE("a listener and its clients can use a path or an abstract name") {
    const Folder folder;
    const Endpoint abstract =
        Endpoint::parse("unix:@ringlet-test-" + std::to_string(::getpid())).value();
    for (const Endpoint& at : {folder.at("x.sock"), abstract}) {
        auto listener = UnixListener::bind(at);
        REQUIRE(listener);
        CHECK(listener->local() == at);
        CHECK(run_on_loop(talk_through, std::ref(*listener), at).value() == "hello");
    }
    CHECK(std::filesystem::is_empty(folder.path));
}

TEST_CASE("the socket file has the requested mode, and is removed with the listener") {
    const Folder folder;
    const Endpoint at = folder.at("mode.sock");
    {
        auto listener = UnixListener::bind(at, {.mode = 0600});
        REQUIRE(listener);
        struct stat made{};
        REQUIRE(::stat(std::string(at.path()).c_str(), &made) == 0);
        CHECK((made.st_mode & 0777) == 0600);
        // The listener may move.
        UnixListener moved = std::move(*listener);
        CHECK(std::filesystem::exists(at.path()));
    }
    CHECK_FALSE(std::filesystem::exists(at.path()));
}

TEST_CASE("a socket file left by a killed server is replaced; a live one or another file is not") {
    const Folder folder;
    const Endpoint at = folder.at("stale.sock");
    {
        const UniqueFd killed(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
        REQUIRE(::bind(killed.get(), at.data(), at.size_bytes()) == 0);
        REQUIRE(::listen(killed.get(), 1) == 0);
        auto refused = UnixListener::bind(at);
        CHECK(refused.error() == std::errc::address_in_use);
    }
    REQUIRE(std::filesystem::exists(at.path()));
    auto listener = UnixListener::bind(at);
    REQUIRE(listener);

    const Endpoint file = folder.at("file");
    std::ofstream(std::string(file.path())) << "precious";
    CHECK(UnixListener::bind(file).error() == std::errc::address_in_use);
    CHECK(std::filesystem::file_size(file.path()) == 8);
}

TEST_CASE("a listener does not remove its socket file if another listener has replaced it") {
    const Folder folder;
    const Endpoint at = folder.at("taken.sock");
    auto old = UnixListener::bind(at);
    REQUIRE(old);
    std::filesystem::rename(at.path(), folder.path + "/kept-so-that-the-inode-is");
    auto young = UnixListener::bind(at);
    REQUIRE(young);
    *old = UnixListener();
    CHECK(std::filesystem::exists(at.path()));
}

TEST_CASE("errors of binding are returned") {
    CHECK(UnixListener::bind(loopback()).error() == std::errc::address_family_not_supported);
    CHECK(TcpListener::bind(Endpoint::parse("unix:@x").value()).error() ==
          std::errc::address_family_not_supported);
    CHECK(TcpListener::bind_several(Endpoint::parse("unix:@x").value(), 2).error() ==
          std::errc::address_family_not_supported);
    CHECK(UnixListener::bind(Endpoint::parse("unix:/nowhere/x").value()).error() ==
          std::errc::no_such_file_or_directory);
}

TEST_CASE(
    "several listeners of one Unix socket share its queue, and the last one removes its file") {
    const Folder folder;
    const Endpoint at = folder.at("shared.sock");
    auto listeners = StreamListener::bind_several(at, 3);
    REQUIRE(listeners);
    REQUIRE(listeners->size() == 3);
    auto talk = [&]() -> Task<> {
        for (StreamListener& listener : *listeners) {
            auto connect = [&]() -> Task<Result<UnixStream>> {
                auto stream = co_await UnixStream::connect(at);
                co_return stream;
            };
            auto [accepted, connected] = co_await when_all(listener.accept(), connect());
            CHECK(accepted);
            CHECK(connected);
        }
    };
    CHECK(run_on_loop(talk));
    listeners->resize(1);
    CHECK(std::filesystem::exists(at.path()));
    listeners->clear();
    CHECK_FALSE(std::filesystem::exists(at.path()));
}

TEST_CASE("Unix sockets in the simulation") {
    auto scenario = [](Simulation& world) -> Task<> {
        const Endpoint at = Endpoint::parse("unix:/simulated/x.sock").value();
        auto listener = UnixListener::bind(at);
        if (!listener) co_return; // a fault
        world.check(listener->local() == at, "its name");
        auto connect = [&]() -> Task<Result<UnixStream>> {
            auto stream = co_await UnixStream::connect(at);
            co_return stream;
        };
        auto [accepted, connected] = co_await when_all(listener->accept(), connect());
        if (!world.only_harmless_faults()) co_return;
        world.check(accepted && connected, "they meet");
        if (!accepted || !connected) co_return;
        auto sent = co_await connected->send_all("hello", " ", "world");
        if (!sent) co_return; // a fault: nothing will come
        std::array<std::byte, 11> memory;
        auto got = co_await accepted->recv_exactly(memory);
        if (!world.only_harmless_faults()) co_return;
        world.check(static_cast<bool>(sent), "sent");
        world.check(got && text_of(memory) == "hello world", "received");
    };
    auto report = simulate({.seeds = 500}, scenario);
    CHECK_MESSAGE(report, report.to_string());
}
