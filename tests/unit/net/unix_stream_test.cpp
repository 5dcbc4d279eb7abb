#include <ringlet/unix_stream.hpp>

#include "net.hpp"

#include "notification.hpp"
#include <ringlet/testing/simulation.hpp>

#include <string>
#include <vector>

#include <fcntl.h>
#include <sys/resource.h>
#include <sys/stat.h>

using namespace ringlet;
using namespace ringlet::testing;

TEST_CASE("a Unix stream knows the credentials of its peer") {
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

TEST_CASE("descriptors travel with bytes, and arrive as new descriptors") {
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
        // Bytes without descriptors, and the end.
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
    "as many descriptors as the kernel takes arrive, and one more is refused before sending") {
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

TEST_CASE("descriptors arrive once, with the first byte, however many bytes there are") {
    auto pair = UnixStream::pair();
    REQUIRE(pair);
    const auto bytes = pattern(3'000'000); // more than the kernel takes at once
    std::size_t received_bytes = 0;
    std::size_t received_count = 0;
    auto send = [&]() -> Task<> {
        const UniqueFd null(::open("/dev/null", O_RDWR | O_CLOEXEC));
        const std::vector<int> fds = {null.get()};
        auto sent = co_await pair->first.send_descriptors(bytes, fds);
        CHECK(sent);
    };
    auto receive = [&]() -> Task<> {
        std::vector<std::byte> memory(100'000);
        while (received_bytes < bytes.size()) {
            auto received = co_await pair->second.recv_descriptors(memory);
            REQUIRE(received);
            CHECK((received->descriptors.empty() || received_bytes == 0));
            received_bytes += received->size_bytes;
            received_count += received->descriptors.size();
        }
    };
    auto both = [&](TaskGroup& group) -> Task<> {
        group.spawn(send);
        group.spawn(receive);
        co_return;
    };
    CHECK(run_on_loop([&]() -> Task<> {
        auto done = co_await with_task_group(both);
        CHECK(done);
    }));
    CHECK(received_count == 1);
}

TEST_CASE("a receiver without room for descriptors gets an error, and none is left open") {
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
        const UniqueFd next(::dup(null.get())); // the lowest free one
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

TEST_CASE("errors of connecting are returned") {
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

// ---- descriptors in the simulation ----------------------------------------------------------------

namespace {

// Sends a connection through a Unix stream, between bytes; the receiver serves it.
Task<> give_a_connection_away(Simulation& world) {
    auto [client, server] = world.pair();
    auto unix_pair = UnixStream::pair();
    if (!unix_pair) co_return;
    auto& [one, other] = *unix_pair;
    auto pass = [&]() -> Task<> {
        auto before = co_await one.send_all("before");
        if (!before) co_return;
        const UniqueFd null(::open("/dev/null", O_RDWR | O_CLOEXEC));
        const std::vector<int> fds = {server.native_handle(), null.get()};
        auto sent = co_await one.send_descriptors(bytes_of("with"), fds);
        if (!sent) co_return;
        auto after = co_await one.send_all("after");
        static_cast<void>(after);
    };
    auto give = [&]() -> Task<> {
        co_await pass();
        auto closed_server = co_await server.close(); // the receiver's copy stays open
        static_cast<void>(closed_server);
        auto closed_one = co_await one.close();
        static_cast<void>(closed_one);
    };
    auto take = [&]() -> Task<> {
        std::string text;
        std::vector<std::byte> memory(100);
        std::vector<UniqueFd> got;
        for (;;) {
            auto received = co_await other.recv_descriptors(memory);
            if (!received) co_return;
            if (received->size_bytes == 0) break;
            if (!received->descriptors.empty()) {
                world.check(text == "before", "descriptors came with other bytes than theirs");
                got = std::move(received->descriptors);
            }
            text += text_of(std::span(memory).first(received->size_bytes));
        }
        if (world.only_harmless_faults()) {
            world.check(text == "beforewithafter", "bytes were lost beside descriptors");
            world.check(got.size() == 2, "the descriptors did not come");
        }
        if (got.size() != 2) co_return;
        struct stat status{};
        world.check(::fstat(got[1].get(), &status) == 0, "a real descriptor is not open");
        TcpStream mine(std::move(got[0]));
        auto answered = co_await mine.send_all("served");
        if (answered && !world.only_harmless_faults()) co_return;
        world.check(static_cast<bool>(answered) || !world.only_harmless_faults(),
                    "the connection that was given away is closed");
    };
    auto serve = [&]() -> Task<> {
        co_await take();
        auto closed_other = co_await other.close(); // with descriptors that were not received
        static_cast<void>(closed_other);
    };
    std::string answer;
    auto ask = [&]() -> Task<> {
        for (;;) {
            auto chunk = co_await client.recv();
            if (!chunk || chunk->empty()) co_return;
            answer += chunk->text();
        }
    };
    auto all = [&](TaskGroup& group) -> Task<> {
        group.spawn(give);
        group.spawn(serve);
        group.spawn(ask);
        co_return;
    };
    auto done = co_await with_task_group(all);
    static_cast<void>(done);
    if (world.only_harmless_faults()) world.check(answer == "served", "the client was not served");
}

} // namespace

TEST_CASE("a connection travels through a simulated Unix stream, and nothing is left open") {
    const std::size_t before = descriptor_count();
    const auto report = simulate({.seeds = 500}, give_a_connection_away);
    CHECK_MESSAGE(report, report.to_string());
    CHECK(descriptor_count() == before);
}

TEST_CASE("descriptors that are never received are closed with their connection") {
    const std::size_t before = descriptor_count();
    auto scenario = [](Simulation& world) -> Task<> {
        auto pair = UnixStream::pair();
        REQUIRE(pair);
        auto& [one, other] = *pair;
        {
            auto [client, server] = world.pair();
            const UniqueFd null(::open("/dev/null", O_RDWR | O_CLOEXEC));
            const std::vector<int> fds = {server.native_handle(), client.native_handle(),
                                          null.get()};
            for (int i = 0; i < 3; ++i) {
                auto sent = co_await one.send_descriptors(bytes_of("ab"), fds);
                CHECK(sent);
            }
        }
        // A receive of bytes closes the descriptors that come with them; the rest close with the stream.
        std::vector<std::byte> memory(3);
        auto received = co_await other.recv_exactly(memory);
        CHECK(received);
    };
    const auto report = simulate({.seeds = 50, .faults = FaultSet::harmless()}, scenario);
    CHECK_MESSAGE(report, report.to_string());
    CHECK(descriptor_count() == before);
}
