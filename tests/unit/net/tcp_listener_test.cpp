#include <ringlet/tcp_listener.hpp>

#include "echo.hpp"
#include "net.hpp"
#include "notification.hpp"

#include <chrono>
#include <memory>
#include <string>
#include <vector>

#include <fcntl.h>
#include <sys/resource.h>

using namespace ringlet;
using namespace ringlet::testing;
using namespace std::chrono_literals;

static_assert(!std::is_copy_constructible_v<TcpListener>);
static_assert(std::is_nothrow_move_constructible_v<TcpListener>);

namespace {

TcpListener listen_on(std::string_view address, const ListenOptions& options = {}) {
    auto listener = TcpListener::bind(loopback(address), options);
    REQUIRE_MESSAGE(listener, listener.error().message());
    return std::move(*listener);
}

int int_option(int fd, int level, int name) {
    int value = -1;
    socklen_t size = sizeof value;
    ::getsockopt(fd, level, name, &value, &size);
    return value;
}

} // namespace

TEST_CASE("accept gives connections one by one, with their addresses") {
    TcpListener listener = listen_on("127.0.0.1:0");
    const Endpoint server = listener.local();
    CHECK(server.port() != 0);
    CHECK(server.to_string().starts_with("127.0.0.1:"));
    std::vector<UniqueFd> clients;
    auto result = run_on_loop([&]() -> Task<> {
        for (int i = 0; i < 20; ++i) clients.push_back(connect_to(server));
        for (const UniqueFd& client : clients) {
            CHECK(client);
            auto stream = co_await listener.accept();
            CHECK(stream);
            if (!stream) co_return;
            auto peer = stream->peer();
            auto local = stream->local();
            CHECK(peer);
            CHECK(local);
            CHECK(*peer == address_of(client.get()));
            CHECK(*local == server);
        }
    });
    CHECK(result);
    for (const UniqueFd& client : clients) CHECK(end_of(client.get()) == 0);
}

TEST_CASE("binding a port in use is address_in_use") {
    const TcpListener listener = listen_on("127.0.0.1:0");
    const std::size_t open_before = descriptor_count();
    auto second = TcpListener::bind(listener.local());
    CHECK(second.error() == std::errc::address_in_use);
    CHECK(descriptor_count() == open_before);
}

TEST_CASE("binding an address that this machine lacks is address_not_available") {
    auto listener = TcpListener::bind(loopback("192.0.2.1:0")); // RFC 5737
    CHECK(listener.error() == std::errc::address_not_available);
}

TEST_CASE("a listener's port is free after its drop, even with connections left") {
    auto listener = std::make_unique<TcpListener>(listen_on("127.0.0.1:0"));
    const Endpoint server = listener->local();
    UniqueFd client;
    auto result = run_on_loop([&]() -> Task<> {
        client = connect_to(server);
        auto stream = co_await listener->accept();
        CHECK(stream);
    }); // the server closes first and stays in TIME_WAIT
    CHECK(result);
    client.reset();
    listener.reset();
    auto again = TcpListener::bind(server);
    CHECK(again);
}

TEST_CASE("reuse_port lets two listeners share a port") {
    ListenOptions shared;
    shared.reuse_port = true;
    const TcpListener first = listen_on("127.0.0.1:0", shared);
    auto second = TcpListener::bind(first.local(), shared);
    REQUIRE(second);
    CHECK(second->local() == first.local());
    auto third = TcpListener::bind(first.local());
    CHECK(third.error() == std::errc::address_in_use);
}

TEST_CASE("several listeners at one address all accept connections") {
    auto listeners = TcpListener::bind_several(loopback(), 3);
    REQUIRE(listeners);
    REQUIRE(listeners->size() == 3);
    const Endpoint server = listeners->front().local();
    CHECK(server.port() != 0);
    std::vector<UniqueFd> clients;
    for (int i = 0; i < 200; ++i) clients.push_back(connect_to(server));
    for (const TcpListener& listener : *listeners) {
        CHECK(listener.local() == server);
        CHECK(is_readable(listener.native_handle(), 0));
    }
}

TEST_CASE("several listeners share their port with no other socket, unless reuse_port is set") {
    ListenOptions sharing;
    sharing.reuse_port = true;
    const TcpListener stranger = listen_on("127.0.0.1:0", sharing);
    for (const std::size_t count : {std::size_t{1}, std::size_t{2}}) {
        auto refused = TcpListener::bind_several(stranger.local(), count);
        CHECK(refused.error() == std::errc::address_in_use);
        auto shared = TcpListener::bind_several(stranger.local(), count, sharing);
        CHECK(shared);
    }
    auto any = loopback("0.0.0.0:" + std::to_string(stranger.local().port()));
    auto refused = TcpListener::bind_several(any, 2);
    CHECK(refused.error() == std::errc::address_in_use);
}

TEST_CASE("a list of one listener is alone on its port") {
    auto alone = TcpListener::bind_several(loopback(), 1);
    REQUIRE(alone);
    ListenOptions sharing;
    sharing.reuse_port = true;
    auto stranger = TcpListener::bind(alone->front().local(), sharing);
    CHECK(stranger.error() == std::errc::address_in_use);
}

TEST_CASE("accepted connections inherit no_delay, and are closed on exec") {
    for (const bool no_delay : {true, false}) {
        ListenOptions options;
        options.no_delay = no_delay;
        TcpListener listener = listen_on("127.0.0.1:0", options);
        const UniqueFd client = connect_to(listener.local());
        auto result = run_on_loop([&]() -> Task<> {
            auto stream = co_await listener.accept();
            CHECK(stream);
            if (!stream) co_return;
            const int fd = stream->native_handle();
            CHECK((int_option(fd, IPPROTO_TCP, TCP_NODELAY) != 0) == no_delay);
            CHECK((::fcntl(fd, F_GETFD) & FD_CLOEXEC) != 0);
        });
        CHECK(result);
    }
}

TEST_CASE("an IPv6 listener also accepts IPv4, unless v6_only is set") {
    if (!has_ipv6()) RINGLET_SKIP("no IPv6 loopback address");
    for (const bool v6_only : {false, true}) {
        ListenOptions options;
        options.v6_only = v6_only;
        TcpListener listener = listen_on("[::]:0", options);
        CHECK(listener.local().is_v6());
        Endpoint v4 = loopback("127.0.0.1:0");
        v4.set_port(listener.local().port());
        const UniqueFd client = connect_to(v4);
        CHECK(static_cast<bool>(client) == !v6_only);
    }
}

TEST_CASE("dropping a listener with an accept in flight ends the accept and refuses clients") {
    const std::size_t open_before = descriptor_count();
    {
        ReportingLoop loop;
        auto listener = std::make_unique<TcpListener>(listen_on("127.0.0.1:0"));
        const Endpoint server = listener->local();
        std::error_code seen;
        bool resumed = false;
        auto result = loop->run([&]() -> Task<> {
            loop->spawn(
                [&](TcpListener* lent) -> Task<> {
                    auto stream = co_await lent->accept();
                    seen = stream.error();
                    resumed = true;
                },
                listener.get());
            co_await until_in_flight(*loop, 1);
            listener.reset();
            while (!resumed) static_cast<void>(co_await yield());
            const UniqueFd client = connect_to(server);
            CHECK_FALSE(client);
        });
        CHECK(result);
        CHECK(seen == std::errc::operation_canceled);
        check_nothing_left(*loop);
    }
    CHECK(descriptor_count() == open_before);
}

TEST_CASE("a connection that races with the drop of its listener is delivered or closed") {
    const std::size_t open_before = descriptor_count();
    for (int round = 0; round < 50; ++round) {
        ReportingLoop loop;
        auto listener = std::make_unique<TcpListener>(listen_on("127.0.0.1:0"));
        const Endpoint server = listener->local();
        UniqueFd client;
        bool resumed = false;
        auto result = loop->run([&]() -> Task<> {
            loop->spawn(
                [&](TcpListener* lent) -> Task<> {
                    auto stream = co_await lent->accept();
                    if (!stream) CHECK(stream.error() == std::errc::operation_canceled);
                    resumed = true;
                },
                listener.get());
            co_await until_in_flight(*loop, 1);
            if (round % 2 == 0) static_cast<void>(co_await sleep_for(0s)); // the kernel has it
            client = connect_to(server);
            listener.reset();
            while (!resumed) static_cast<void>(co_await yield());
        });
        CHECK(result);
        CHECK(client);
        CHECK(is_ended(client.get()));
    }
    CHECK(descriptor_count() == open_before);
}

TEST_CASE("close stops listening and waits for the accept in flight") {
    ReportingLoop loop;
    TcpListener listener = listen_on("127.0.0.1:0");
    const Endpoint server = listener.local();
    std::string trace;
    auto result = loop->run([&]() -> Task<> {
        loop->spawn([&]() -> Task<> {
            auto stream = co_await listener.accept();
            CHECK(stream.error() == std::errc::operation_canceled);
            trace += "accept ";
        });
        co_await until_in_flight(*loop, 1);
        auto closed = co_await listener.close();
        CHECK(closed);
        trace += "closed";
        CHECK_FALSE(listener);
        const UniqueFd client = connect_to(server);
        CHECK_FALSE(client);
    });
    CHECK(result);
    CHECK(trace == "accept closed");
    check_nothing_left(*loop);
}

TEST_CASE("cancel_accept ends the accept, and the listener still listens") {
    ReportingLoop loop;
    TcpListener listener = listen_on("127.0.0.1:0");
    listener.cancel_accept(); // nothing to cancel: does nothing
    auto result = loop->run([&]() -> Task<> {
        Notification ended;
        loop->spawn([&]() -> Task<> {
            auto stream = co_await listener.accept();
            CHECK(stream.error() == std::errc::operation_canceled);
            ended.notify(*loop);
        });
        co_await until_in_flight(*loop, 1);
        listener.cancel_accept();
        listener.cancel_accept();
        co_await ended.wait();
        const UniqueFd client = connect_to(listener.local());
        auto stream = co_await listener.accept();
        CHECK(stream);
    });
    CHECK(result);
    check_nothing_left(*loop);
}

TEST_CASE("a connection that races with cancel_accept is delivered now or by the next accept") {
    const std::size_t open_before = descriptor_count();
    int delivered_at_once = 0;
    bool on_io_uring = true;
    {
        ReportingLoop loop;
        on_io_uring = loop->backend().backend == Backend::io_uring;
        TcpListener listener = listen_on("127.0.0.1:0");
        auto result = loop->run([&]() -> Task<> {
            for (int round = 0; round < 100; ++round) {
                // A multishot ends when no task accepts, so that this round's accept is a new one.
                if (round % 3 == 0) static_cast<void>(co_await sleep_for(1ms));
                Notification ended;
                bool delivered = false;
                std::error_code seen;
                loop->spawn([&]() -> Task<> {
                    auto stream = co_await listener.accept();
                    delivered = stream.has_value();
                    seen = stream.error();
                    ended.notify(*loop);
                });
                co_await until_in_flight(*loop, 1);
                // Before the kernel has the accept, or after: both orders race.
                if (round % 2 == 0) static_cast<void>(co_await sleep_for(0s));
                const UniqueFd client = connect_to(listener.local());
                listener.cancel_accept();
                co_await ended.wait();
                if (delivered) {
                    ++delivered_at_once;
                } else {
                    CHECK(seen == std::errc::operation_canceled);
                    auto stream = co_await listener.accept();
                    CHECK(stream);
                }
                CHECK(end_of(client.get()) == 0);
            }
        });
        CHECK(result);
        check_nothing_left(*loop);
    }
    // Some connections won the race; epoll never tries a cancelled accept.
    CHECK((delivered_at_once > 0) == on_io_uring);
    CHECK(descriptor_count() == open_before);
}

TEST_CASE("a connection that is accepted while the loop is left is delivered to the task") {
    const std::size_t open_before = descriptor_count();
    for (int round = 0; round < 50; ++round) {
        ReportingLoop loop;
        TcpListener listener = listen_on("127.0.0.1:0");
        UniqueFd client;
        auto result = loop->run([&]() -> Task<> {
            loop->spawn([&]() -> Task<> {
                auto stream = co_await listener.accept();
                if (!stream) co_return;
                auto sent = co_await stream->send_all(bytes_of("x"));
                CHECK(sent.error() == std::errc::operation_canceled);
            });
            co_await until_in_flight(*loop, 1);
            static_cast<void>(co_await sleep_for(0s));
            client = connect_to(listener.local());
        });
        CHECK(result);
        listener = TcpListener();
        CHECK(is_ended(client.get()));
        check_nothing_left(*loop);
    }
    CHECK(descriptor_count() == open_before);
}

TEST_CASE("a listener may move while an accept is in flight on it") {
    ReportingLoop loop;
    auto first = std::make_unique<TcpListener>(listen_on("127.0.0.1:0"));
    bool accepted = false;
    auto result = loop->run([&]() -> Task<> {
        Notification ended;
        loop->spawn([&]() -> Task<> {
            auto stream = co_await first->accept();
            accepted = stream.has_value();
            ended.notify(*loop);
        });
        co_await until_in_flight(*loop, 1);
        const TcpListener second(std::move(*first));
        CHECK_FALSE(*first);
        const UniqueFd client = connect_to(second.local());
        co_await ended.wait();
    });
    CHECK(result);
    CHECK(accepted);
}

TEST_CASE("accept without a free descriptor is too_many_files_open, and works afterwards") {
    const Ending ending = end_of_child([] {
        const rlimit few{.rlim_cur = 64, .rlim_max = 64};
        if (::setrlimit(RLIMIT_NOFILE, &few) != 0) return 2;
        auto loop = EventLoop::create();
        auto listener = TcpListener::bind(loopback());
        const UniqueFd client = connect_to(listener->local());
        std::vector<UniqueFd> fill;
        auto result = loop->run([&]() -> Task<Result<int>> {
            for (int fd = ::dup(STDERR_FILENO); fd >= 0; fd = ::dup(STDERR_FILENO)) {
                fill.emplace_back(fd);
            }
            auto refused = co_await listener->accept();
            if (refused.error() != std::errc::too_many_files_open) co_return 3;
            fill.pop_back();
            auto stream = co_await listener->accept();
            if (!stream) co_return stream.error();
            co_return 0;
        });
        return result ? *result : 4;
    });
    CHECK(ending.signal == 0);
    CHECK_MESSAGE(ending.status == 0, ending.errors);
}

TEST_CASE("two accepts at once on one listener abort") {
    const Ending ending = end_of_child([] {
        auto listener = TcpListener::bind(loopback());
        auto loop = EventLoop::create();
        auto result = loop->run([&]() -> Task<> {
            auto accept = [&]() -> Task<> { static_cast<void>(co_await listener->accept()); };
            loop->spawn(accept);
            loop->spawn(accept);
            for (int turn = 0; turn < 5; ++turn) static_cast<void>(co_await yield());
        });
        return result ? 0 : 1;
    });
    CHECK(ending.signal == SIGABRT);
    CHECK(ending.says("two operations of one kind at once on one socket: task \""));
}

TEST_CASE("using an empty listener aborts") {
    const Ending ending = end_of_child([] {
        const TcpListener listener;
        static_cast<void>(listener.local());
        return 0;
    });
    CHECK(ending.signal == SIGABRT);
    CHECK(ending.says("a listener was used that is empty"));
}
