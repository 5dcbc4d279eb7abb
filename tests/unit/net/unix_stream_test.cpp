#include <ringlet/unix_stream.hpp>

#include "net.hpp"
#include "notification.hpp"

#include <string>
#include <vector>

#include <fcntl.h>
#include <sys/resource.h>
#include <sys/stat.h>

using namespace ringlet;
using namespace ringlet::testing;

TEST_CASE("a Unix stream knows who is at its other end") {
    auto pair = UnixStream::pair();
    REQUIRE(pair);
    auto who = pair->first.peer_credentials();
    REQUIRE(who);
    CHECK(who->pid == ::getpid());
    CHECK(who->uid == ::getuid());
    CHECK(who->gid == ::getgid());
    auto name = pair->first.peer();
    REQUIRE(name);
    CHECK(name->to_string() == "unix:");
}

TEST_CASE("descriptors travel with bytes, and become others of the receiver's") {
    auto pair = UnixStream::pair();
    REQUIRE(pair);
    auto talk = [&]() -> Task<> {
        auto& [one, other] = *pair;
        const UniqueFd null(::open("/dev/null", O_RDWR | O_CLOEXEC));
        const UniqueFd zero(::open("/dev/zero", O_RDONLY | O_CLOEXEC));
        const std::vector<int> sent_fds = {null.get(), zero.get(), null.get()};
        auto sent = co_await one.send_descriptors(bytes_of("three"), sent_fds);
        CHECK(sent);
        std::vector<std::byte> memory(10);
        auto received = co_await other.recv_descriptors(memory);
        REQUIRE(received);
        CHECK(received->size_bytes == 5);
        REQUIRE(received->descriptors.size() == 3);
        for (std::size_t i = 0; i < 3; ++i) {
            struct stat mine{};
            struct stat theirs{};
            CHECK(::fstat(sent_fds[i], &mine) == 0);
            CHECK(::fstat(received->descriptors[i].get(), &theirs) == 0);
            CHECK(mine.st_rdev == theirs.st_rdev);
            CHECK(received->descriptors[i].get() != sent_fds[i]);
            CHECK((::fcntl(received->descriptors[i].get(), F_GETFD) & FD_CLOEXEC) != 0);
        }
        // Bytes alone, and the end.
        auto alone = co_await one.send_all("x");
        CHECK(alone);
        received = co_await other.recv_descriptors(memory);
        CHECK((received && received->size_bytes == 1 && received->descriptors.empty()));
        auto finished = one.shutdown_write();
        CHECK(finished);
        received = co_await other.recv_descriptors(memory);
        CHECK((received && received->size_bytes == 0));
    };
    CHECK(run_on_loop(talk));
}

TEST_CASE(
    "as many descriptors as the kernel takes, and one more is refused before anything is sent") {
    auto pair = UnixStream::pair();
    REQUIRE(pair);
    auto talk = [&]() -> Task<> {
        auto& [one, other] = *pair;
        const std::vector<int> fds(UnixStream::descriptors_limit, 0);
        const UniqueFd null(::open("/dev/null", O_RDWR | O_CLOEXEC));
        const std::vector<int> most(UnixStream::descriptors_limit, null.get());
        const std::vector<int> too_many(UnixStream::descriptors_limit + 1, null.get());
        auto refused = co_await one.send_descriptors(bytes_of("a"), too_many);
        CHECK(refused.error() == std::errc::argument_list_too_long);
        auto sent = co_await one.send_descriptors(bytes_of("b"), most);
        CHECK(sent);
        std::vector<std::byte> memory(10);
        auto received = co_await other.recv_descriptors(memory);
        REQUIRE(received);
        CHECK(text_of(std::span(memory).first(1)) == "b");
        CHECK(received->descriptors.size() == most.size());
    };
    CHECK(run_on_loop(talk));
}

TEST_CASE("a receiver without room for descriptors is told, and none is left open") {
    auto pair = UnixStream::pair();
    REQUIRE(pair);
    const std::size_t before = descriptor_count();
    auto talk = [&]() -> Task<> {
        auto& [one, other] = *pair;
        const UniqueFd null(::open("/dev/null", O_RDWR | O_CLOEXEC));
        const std::vector<int> ten(10, null.get());
        auto sent = co_await one.send_descriptors(bytes_of("x"), ten);
        CHECK(sent);
        rlimit limit{};
        ::getrlimit(RLIMIT_NOFILE, &limit);
        const UniqueFd next(::dup(null.get())); // the lowest that is free
        const rlimit low{.rlim_cur = static_cast<rlim_t>(next.get()) + 3,
                         .rlim_max = limit.rlim_max};
        ::setrlimit(RLIMIT_NOFILE, &low);
        std::vector<std::byte> memory(10);
        auto received = co_await other.recv_descriptors(memory);
        ::setrlimit(RLIMIT_NOFILE, &limit);
        CHECK(received.error() == std::errc::too_many_files_open);
    };
    CHECK(run_on_loop(talk));
    CHECK(descriptor_count() == before);
}

TEST_CASE("connecting says what is wrong") {
    auto talk = []() -> Task<> {
        auto none = co_await UnixStream::connect(Endpoint::parse("unix:/nowhere/x").value());
        CHECK(none.error() == std::errc::no_such_file_or_directory);
        auto refused = co_await UnixStream::connect(Endpoint::parse("unix:@nobody-at-all").value());
        CHECK(refused.error() == std::errc::connection_refused);
        auto other = co_await UnixStream::connect(loopback());
        CHECK(other.error() == std::errc::address_family_not_supported);
        auto tcp = co_await TcpStream::connect(Endpoint::parse("unix:@nobody-at-all").value());
        CHECK(tcp.error() == std::errc::address_family_not_supported);
    };
    CHECK(run_on_loop(talk));
}
