#include <ringlet/connect.hpp>

#include "net.hpp"

#include <ringlet/testing/simulation.hpp>

#include <chrono>
#include <string>
#include <vector>

using namespace ringlet;
using namespace ringlet::testing;
using namespace std::chrono_literals;

namespace {

// An address that never answers: it listens with a full backlog.
struct Silent {
    UniqueFd listener = bound_socket(loopback(), 0);
    std::vector<UniqueFd> waiting;
    Silent() {
        for (int i = 0; i < 3; ++i) {
            UniqueFd fd(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
            const Endpoint at = address();
            static_cast<void>(::connect(fd.get(), at.data(), at.size_bytes()));
            waiting.push_back(std::move(fd));
        }
    }
    [[nodiscard]] Endpoint address() const { return address_of(listener.get()); }
};

Endpoint nobody() {
    const UniqueFd gone = bound_socket(loopback());
    return address_of(gone.get());
}

} // namespace

TEST_CASE("connecting to a name works whichever of its addresses answers") {
    const UniqueFd listener = bound_socket(loopback(), 4); // only IPv4
    auto talk = [port = address_of(listener.get()).port()]() -> Task<> {
        auto stream = co_await connect("localhost:" + std::to_string(port));
        REQUIRE(stream);
        auto peer = stream->peer();
        CHECK((peer && peer->port() == port));
    };
    CHECK(run_on_loop(talk));
}

TEST_CASE("the next address is tried when one fails or does not answer in time") {
    const Silent silent;
    const UniqueFd listener = bound_socket(loopback(), 4);
    const Endpoint good = address_of(listener.get());
    auto talk = [&]() -> Task<> {
        const std::vector<Endpoint> addresses1 = {nobody(), good};
        auto after_failure = co_await connect_to_any(addresses1);
        CHECK(after_failure);
        const ConnectByNameOptions hurried{.attempt_delay = 5ms};
        const std::vector<Endpoint> addresses2 = {silent.address(), good};
        auto after_silence = co_await connect_to_any(addresses2, hurried);
        REQUIRE(after_silence);
        auto peer = after_silence->peer();
        CHECK((peer && *peer == good));
    };
    CHECK(run_on_loop(talk));
}

TEST_CASE("when every address fails, every cause is reported") {
    const Endpoint first = nobody();
    const Endpoint second = Endpoint::parse("unix:@nobody-at-all").value();
    auto talk = [&]() -> Task<> {
        std::string causes;
        const ConnectByNameOptions options{.causes = &causes};
        const std::vector<Endpoint> addresses3 = {first, second};
        auto stream = co_await connect_to_any(addresses3, options);
        CHECK(stream.error() == std::errc::connection_refused);
        CHECK(causes == first.to_string() + ": Connection refused\n" + second.to_string() +
                            ": Connection refused\n");
        causes.clear();
        auto unknown = co_await connect("no-such-host.invalid:80", options);
        CHECK(unknown.error() == Errc::unknown_host);
        CHECK(causes.starts_with("no-such-host.invalid:80: unknown host"));
        auto malformed = co_await connect("no port", options);
        CHECK(malformed.error() == Errc::invalid_endpoint);
    };
    CHECK(run_on_loop(talk));
}

TEST_CASE("one deadline covers all attempts, and a cancellation ends them all") {
    const Silent silent;
    ReportingLoop loop;
    auto talk = [&]() -> Task<> {
        std::string causes;
        const ConnectByNameOptions options{
            .timeout = 30ms, .attempt_delay = 1ms, .causes = &causes};
        const std::vector<Endpoint> addresses4 = {silent.address(), silent.address()};
        auto stream = co_await connect_to_any(addresses4, options);
        CHECK(stream.error() == std::errc::timed_out);
        CHECK(causes.find("no answer yet") != std::string::npos);
        const std::vector<Endpoint> addresses5 = {silent.address()};
        auto cancelled = co_await with_timeout(10ms, connect_to_any(addresses5));
        CHECK(cancelled.error() == std::errc::timed_out);
    };
    CHECK(loop->run(talk));
    check_nothing_left(*loop);
}

TEST_CASE("addresses of another family than `from` are not tried") {
    const UniqueFd listener = bound_socket(loopback(), 4);
    const Endpoint good = address_of(listener.get());
    auto talk = [&]() -> Task<> {
        const ConnectByNameOptions options{.socket = {.from = loopback()}};
        const std::vector<Endpoint> addresses6 = {loopback("[::1]:1"), good};
        auto stream = co_await connect_to_any(addresses6, options);
        CHECK(stream);
        const std::vector<Endpoint> addresses7 = {loopback("[::1]:1")};
        auto none = co_await connect_to_any(addresses7, options);
        CHECK(none.error() == std::errc::address_family_not_supported);
    };
    CHECK(run_on_loop(talk));
}

TEST_CASE("a connection to itself is an error") {
    // From the very port that it connects to, on which nothing listens; the kernel sometimes picks it.
    const Endpoint target = nobody();
    const ConnectOptions meets_itself{.from = target};
    auto talk = [&]() -> Task<> {
        auto stream = co_await TcpStream::connect(target, meets_itself);
        CHECK(stream.error() == Errc::connected_to_itself);
        CHECK(stream.error().message().find("start the server first") != std::string::npos);
    };
    CHECK(run_on_loop(talk));
}

TEST_CASE("names in the simulation: both addresses of localhost, with every fault") {
    auto scenario = [](Simulation& world) -> Task<> {
        auto listener = TcpListener::bind(loopback("127.0.0.1:7000"));
        if (!listener) co_return;
        auto find = []() -> Task<Result<StreamSocket>> {
            auto stream = co_await connect("localhost:7000");
            co_return stream;
        };
        auto accept = [&]() -> Task<Result<TcpStream>> {
            auto stream = co_await listener->accept();
            co_return stream;
        };
        auto [found, accepted] = co_await when_all(find(), accept());
        if (!world.only_harmless_faults()) co_return;
        world.check(found && accepted, "they meet");
        auto nobody_known = co_await connect("example.org:80");
        world.check(nobody_known.error() == Errc::unknown_host, "nobody else has a name");
    };
    auto report = simulate({.seeds = 500}, scenario);
    CHECK_MESSAGE(report, report.to_string());
}
