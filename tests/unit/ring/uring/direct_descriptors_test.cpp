// The descriptor table of a ring: streams without a process descriptor, on the real kernel.

#include "ring/uring/direct_descriptors.hpp"

#include "echo.hpp"
#include "net.hpp"
#include "notification.hpp"

#include <ringlet/error.hpp>

#include <chrono>
#include <optional>
#include <string>
#include <vector>

#include <sys/resource.h>

using namespace ringlet;
using namespace ringlet::testing;
using namespace std::chrono_literals;

namespace {

constexpr auto no_direct = "this kernel has no direct descriptors (Linux 6.8), or refuses io_uring";

// A loop that accepts into its table, if the kernel supports one.
Result<EventLoop> direct_loop() {
    LoopOptions options;
    options.features.direct_descriptors = true;
    return EventLoop::create(options);
}

bool is_direct(const Result<EventLoop>& loop) {
    return loop && loop->direct_descriptor_limit() > 0;
}

// Limits the descriptors of this process while it lives.
struct DescriptorLimit {
    explicit DescriptorLimit(rlim_t count) {
        ::getrlimit(RLIMIT_NOFILE, &before);
        const rlimit lower{.rlim_cur = count, .rlim_max = before.rlim_max};
        ::setrlimit(RLIMIT_NOFILE, &lower);
    }
    ~DescriptorLimit() { ::setrlimit(RLIMIT_NOFILE, &before); }
    rlimit before{};
};

std::string text_of(const Buffer& buffer) {
    return {reinterpret_cast<const char*>(buffer.data()), buffer.size()};
}

struct Listening {
    TcpListener listener = std::move(TcpListener::bind(loopback("127.0.0.1:0"))).value();
    Endpoint address = listener.local();
};

} // namespace

TEST_CASE("DirectDescriptors has as many slots as the process may have descriptors") {
    auto queues = UringQueues::create(8, {});
    if (!queues) RINGLET_SKIP(no_direct);
    const DescriptorLimit limit(100);
    const auto table = DirectDescriptors::create(*queues);
    if (!table) RINGLET_SKIP(no_direct);
    CHECK(table->size() == 100);
    for (int i = 0; i < 100; ++i) CHECK(table->reserve());
    CHECK_FALSE(table->reserve());
    table->release();
    CHECK(table->reserve());
}

TEST_CASE("a direct stream echoes, and takes no descriptor of the process") {
    auto loop = direct_loop();
    if (!is_direct(loop)) RINGLET_SKIP(no_direct);
    Listening server;
    std::vector<UniqueFd> clients;
    auto body = [&]() -> Task<> {
        std::vector<TcpStream> streams;
        for (int i = 0; i < 20; ++i) {
            clients.push_back(connect_to(server.address));
            const auto before = descriptor_count();
            auto stream = co_await server.listener.accept();
            REQUIRE(stream);
            CHECK(descriptor_count() == before);
            CHECK(stream->native_handle() == -1);
            streams.push_back(std::move(*stream));
        }
        for (std::size_t i = 0; i < clients.size(); ++i) {
            const std::string text = "message " + std::to_string(i);
            CHECK(write_all(clients[i].get(), text));
            auto got = co_await streams[i].recv();
            REQUIRE(got);
            CHECK(text_of(*got) == text);
            auto sent = co_await streams[i].send_all(*got);
            CHECK(sent);
            CHECK(read_up_to(clients[i].get(), text.size()) == text);
        }
    };
    auto done = loop->run(body);
    CHECK(done);
}

TEST_CASE("a direct stream knows both addresses, and leaves no descriptor behind") {
    auto loop = direct_loop();
    if (!is_direct(loop)) RINGLET_SKIP(no_direct);
    Listening server;
    const UniqueFd client = connect_to(server.address);
    auto body = [&]() -> Task<> {
        auto stream = co_await server.listener.accept();
        REQUIRE(stream);
        const auto before = descriptor_count();
        auto peer = stream->peer();
        auto local = stream->local();
        REQUIRE(peer);
        REQUIRE(local);
        CHECK(*peer == address_of(client.get()));
        CHECK(*local == server.address);
        CHECK(descriptor_count() == before);
    };
    auto done = loop->run(body);
    CHECK(done);
}

TEST_CASE("a direct stream half-closes, and its peer sees the end") {
    auto loop = direct_loop();
    if (!is_direct(loop)) RINGLET_SKIP(no_direct);
    Listening server;
    const UniqueFd client = connect_to(server.address);
    auto body = [&]() -> Task<> {
        auto stream = co_await server.listener.accept();
        REQUIRE(stream);
        auto shut = stream->shutdown_write();
        CHECK(shut);
        CHECK(is_ended(client.get()));
        CHECK(write_all(client.get(), "still heard"));
        auto got = co_await stream->recv();
        REQUIRE(got);
        CHECK(text_of(*got) == "still heard");
    };
    auto done = loop->run(body);
    CHECK(done);
}

TEST_CASE("dropping a direct stream closes it at once, even during a receive") {
    auto loop = direct_loop();
    if (!is_direct(loop)) RINGLET_SKIP(no_direct);
    Listening server;
    const UniqueFd first = connect_to(server.address);
    const UniqueFd second = connect_to(server.address);
    auto body = [&]() -> Task<> {
        auto dropped = co_await server.listener.accept();
        REQUIRE(dropped);
        *dropped = TcpStream();
        CHECK(is_ended(first.get()));

        auto closed = co_await server.listener.accept();
        REQUIRE(closed);
        auto read = [&]() -> Task<bool> {
            auto got = co_await closed->recv();
            co_return got.error() == std::errc::operation_canceled;
        };
        auto both = [&](TaskGroup& group) -> Task<> {
            auto reader = group.spawn(read);
            static_cast<void>(co_await yield());
            auto end = co_await closed->close();
            CHECK(end);
            auto answer = co_await reader.join();
            REQUIRE(answer);
            CHECK(*answer);
        };
        auto ended = co_await with_task_group(both);
        CHECK(ended);
        CHECK(is_ended(second.get()));
    };
    auto done = loop->run(body);
    CHECK(done);
}

TEST_CASE("a full table keeps clients waiting, and loses none") {
    std::optional<DescriptorLimit> limit(60);
    auto loop = direct_loop();
    limit.reset();
    if (!is_direct(loop)) RINGLET_SKIP(no_direct);
    REQUIRE(loop->direct_descriptor_limit() == 60);
    Listening server;
    std::vector<UniqueFd> clients;
    for (int i = 0; i < 62; ++i) clients.push_back(connect_to(server.address));
    auto body = [&]() -> Task<> {
        std::vector<TcpStream> streams;
        for (int i = 0; i < 60; ++i) {
            auto stream = co_await server.listener.accept();
            REQUIRE(stream);
            streams.push_back(std::move(*stream));
        }
        for (int attempt = 0; attempt < 3; ++attempt) {
            auto refused = co_await server.listener.accept();
            REQUIRE_FALSE(refused);
            CHECK(refused.error() == std::errc::too_many_files_open);
        }
        for (int i = 0; i < 2; ++i) {
            streams.pop_back();
            auto next = co_await server.listener.accept();
            REQUIRE(next);
            CHECK(write_all(clients[60 + static_cast<std::size_t>(i)].get(), "late"));
            auto got = co_await next->recv();
            REQUIRE(got);
            CHECK(text_of(*got) == "late");
            streams.insert(streams.begin(), std::move(*next));
        }
    };
    auto done = loop->run(body);
    CHECK(done);
}

TEST_CASE("a cancelled accept frees its slot") {
    std::optional<DescriptorLimit> limit(60);
    auto loop = direct_loop();
    limit.reset();
    if (!is_direct(loop)) RINGLET_SKIP(no_direct);
    Listening server;
    auto body = [&]() -> Task<> {
        auto accept = [&]() -> Task<> {
            auto stream = co_await server.listener.accept();
            CHECK_FALSE(stream);
        };
        for (int i = 0; i < 200; ++i) {
            auto ended = co_await with_timeout(0ms, accept);
            static_cast<void>(ended);
        }
        const UniqueFd client = connect_to(server.address);
        auto stream = co_await server.listener.accept();
        CHECK(stream);
    };
    auto done = loop->run(body);
    CHECK(done);
}

TEST_CASE("a direct stream is closed with its loop and may outlive it unused") {
    Listening server;
    const UniqueFd client = connect_to(server.address);
    TcpStream kept;
    {
        auto loop = direct_loop();
        if (!is_direct(loop)) RINGLET_SKIP(no_direct);
        auto body = [&]() -> Task<> {
            auto stream = co_await server.listener.accept();
            REQUIRE(stream);
            kept = std::move(*stream);
        };
        auto done = loop->run(body);
        CHECK(done);
        server.listener = TcpListener();
    }
    CHECK(kept.peer().error() == std::errc::bad_file_descriptor);
    CHECK(is_ended(client.get())); // the ring closed it
}

TEST_CASE("the dump names a direct descriptor and its peer") {
    auto loop = direct_loop();
    if (!is_direct(loop)) RINGLET_SKIP(no_direct);
    Listening server;
    const UniqueFd client = connect_to(server.address);
    auto body = [&]() -> Task<> {
        auto stream = co_await server.listener.accept();
        REQUIRE(stream);
        auto read = [&]() -> Task<> {
            auto got = co_await stream->recv();
            CHECK(got);
        };
        auto both = [&](TaskGroup& group) -> Task<> {
            group.spawn("reader", read);
            static_cast<void>(co_await yield());
            const std::string text = loop->dump();
            CHECK_MESSAGE(text.find("recv on direct descriptor ") != std::string::npos, text);
            const std::string peer = address_of(client.get()).to_string();
            CHECK_MESSAGE(text.find("peer " + peer) != std::string::npos, text);
            CHECK(write_all(client.get(), "x"));
        };
        auto ended = co_await with_task_group(both);
        CHECK(ended);
    };
    auto done = loop->run(body);
    CHECK(done);
}
