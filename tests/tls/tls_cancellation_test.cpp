#include <ringlet/tls_stream.hpp>

#include "tls_pair.hpp"

#include <filesystem>
#include <iterator>
#include <string>
#include <vector>

using namespace ringlet;
using namespace ringlet::testing;

namespace {

/// Cancels everything at the `at`-th operation of the streams below.
struct Cut {
    int at = 0; // counted from 1
    bool while_it_waits = false;
    EventLoop* loop = nullptr;
    TaskGroup* group = nullptr;
    int begun = 0;

    void begin() {
        if (++begun != at) return;
        if (while_it_waits) {
            loop->post([this] { loop->stop(); });
        } else {
            group->cancel();
        }
    }
};

class CutStream : public StreamAdapter<CutStream> {
public:
    using StreamAdapter::send_all;

    CutStream(StreamSocket below, Cut& cut) : below_(std::move(below)), cut_(&cut) {}

    Task<Result<Buffer>> recv() {
        cut_->begin();
        auto chunk = co_await below_.recv();
        co_return chunk;
    }
    Task<Result<std::size_t>> recv(std::span<std::byte> memory) {
        cut_->begin();
        auto size = co_await below_.recv(memory);
        co_return size;
    }
    Task<Result<void>> send_all(std::span<const std::byte> bytes) {
        cut_->begin();
        auto sent = co_await below_.send_all(bytes);
        co_return sent;
    }
    Task<Result<void>> close() {
        cut_->begin();
        auto closed = co_await below_.close();
        co_return closed;
    }
    Result<void> shutdown_write() { return below_.shutdown_write(); }
    void abort() { below_.abort(); }
    explicit operator bool() const { return static_cast<bool>(below_); }

private:
    StreamSocket below_;
    Cut* cut_;
};

using Stream = BasicTlsStream<CutStream>;

Task<> echo_and_close(CutStream below) {
    TlsContext context = contexts().server;
    auto stream = co_await Stream::accept(std::move(below), std::move(context));
    if (!stream) co_return;
    for (;;) {
        auto chunk = co_await stream->recv();
        if (!chunk || chunk->empty()) break;
        auto sent = co_await stream->send_all(*chunk);
        if (!sent) break;
    }
    auto closed = co_await stream->close();
    static_cast<void>(closed);
}

Task<> ask_and_close(CutStream below, std::vector<std::byte>& back) {
    TlsContext context = contexts().client;
    auto stream = co_await Stream::connect(std::move(below), std::move(context), "localhost");
    if (!stream) co_return;
    const std::vector<std::byte> message = pattern(3 * Buffer::capacity_bytes);
    auto sent = co_await stream->send_all(message);
    if (!sent) co_return;
    back.resize(message.size());
    auto received = co_await stream->recv_exactly(back);
    if (received) CHECK(back == message);
    auto closed = co_await stream->close();
    static_cast<void>(closed);
}

std::ptrdiff_t open_descriptors() {
    return std::distance(std::filesystem::directory_iterator("/proc/self/fd"), {});
}

/// Runs a connection with this cut. Returns the number of operations that began.
int talk(Cut& cut) {
    auto loop = EventLoop::create();
    REQUIRE(loop);
    cut.loop = &*loop;
    auto run = [&]() -> Task<> {
        std::vector<std::byte> back;
        auto [one, other] = sockets();
        auto both = [&](TaskGroup& group) -> Task<> {
            cut.group = &group;
            auto serve = [&]() -> Task<> {
                co_await echo_and_close(CutStream(std::move(other), cut));
            };
            auto ask = [&]() -> Task<> {
                co_await ask_and_close(CutStream(std::move(one), cut), back);
            };
            group.spawn(serve);
            group.spawn(ask);
            co_return;
        };
        auto done = co_await with_task_group(both);
        static_cast<void>(done);
    };
    auto ran = loop->run(run);
    static_cast<void>(ran); // usually cancelled
    return cut.begun;
}

} // namespace

TEST_CASE("a connection cancelled at any operation of the stream below leaves nothing behind") {
    Cut none;
    CHECK(talk(none) >= 10); // three handshake messages, tickets, the talk, two close_notify
    const auto open = open_descriptors();
    for (const bool while_it_waits : {false, true}) {
        // Until a run has fewer operations; their number depends on what arrives together.
        for (int at = 1, begun = 1; begun >= at; ++at) {
            CAPTURE(at);
            CAPTURE(while_it_waits);
            Cut cut{.at = at, .while_it_waits = while_it_waits};
            begun = talk(cut);
            if (begun < at) CHECK(at > 10);
            CHECK(open_descriptors() == open);
            CHECK(Buffer::lent_count() == 0);
        }
    }
}
