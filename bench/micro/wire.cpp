#include "wire.hpp"

#include <ringlet/detail/frame_pool.hpp>
#include <ringlet/ringlet.hpp>

#include <array>
#include <cstdlib>
#include <string>
#include <utility>
#include <vector>

using namespace ringlet;

namespace {

template <class T>
T must(Result<T> result) {
    if (!result) std::abort();
    return std::move(*result);
}
void must(Result<void> result) {
    if (!result) std::abort();
}

/// Nanoseconds for each of `count` operations in one call of `fn`.
template <class Fn>
double ns_of(EventLoop& loop, int count, Fn fn) {
    const auto begin = Clock::now();
    must(loop.run(fn));
    const std::chrono::duration<double, std::nano> passed = Clock::now() - begin;
    return passed.count() / count;
}

constexpr int line_count = 1 << 18;

template <class Receive>
double receive_lines(EventLoop& loop, Receive receive) {
    auto pair = must(UnixStream::pair());
    auto send = [&]() -> Task<> {
        std::string lines;
        for (int i = 0; i < 1024; ++i) lines += std::string(63, 'x') + "\n";
        for (int i = 0; i < line_count / 1024; ++i) {
            auto sent = co_await pair.first.send_all(lines);
            must(sent);
        }
        must(pair.first.shutdown_write());
    };
    return ns_of(loop, line_count, [&]() -> Task<> {
        auto done = co_await with_task_group([&](TaskGroup& group) -> Task<> {
            group.spawn(send);
            group.spawn(receive, &pair.second);
            co_return;
        });
        must(done);
    });
}

Task<> receive_bytes(UnixStream* stream) {
    for (;;) {
        auto chunk = co_await stream->recv();
        if (must(std::move(chunk)).empty()) co_return;
    }
}

Task<> read_lines(UnixStream* stream) {
    Reader reader(*stream);
    int count = 0;
    for (;; ++count) {
        auto line = co_await reader.read_line();
        if (!line) break;
    }
    if (count != line_count) std::abort();
}

/// A stream on which every operation completes at once.
class NeverWaits : public StreamAdapter<NeverWaits> {
public:
    using StreamAdapter<NeverWaits>::send_all;
    Task<Result<Buffer>> recv() { co_return Buffer(); }
    Task<Result<std::size_t>> recv(std::span<std::byte> memory) { co_return memory.size(); }
    Task<Result<void>> send_all(std::span<const std::byte>) { co_return Result<void>(); }
    Result<void> shutdown_write() { return {}; }
    Task<Result<void>> close() { co_return Result<void>(); }
    void abort() noexcept {}
    explicit operator bool() const noexcept { return true; }
};

template <class Stream>
double receive_often(EventLoop& loop, Stream stream) {
    constexpr int count = 1'000'000;
    return ns_of(loop, count, [&]() -> Task<> {
        std::array<std::byte, 64> memory;
        for (int i = 0; i < count; ++i) {
            auto received = co_await stream.recv(std::span<std::byte>(memory));
            must(received);
        }
    });
}

} // namespace

double line_round(EventLoop& loop) {
    const double bytes = receive_lines(loop, receive_bytes);
    return receive_lines(loop, read_lines) - bytes;
}

double write_round(EventLoop& loop) {
    auto pair = must(UnixStream::pair());
    constexpr int count = 1 << 18;
    return ns_of(loop, count, [&]() -> Task<> {
        auto write = [&]() -> Task<> {
            const std::string text(64, 'x');
            {
                Writer writer(pair.first);
                for (int i = 0; i < count; ++i) {
                    auto written = co_await writer.write(text);
                    must(written);
                }
                auto flushed = co_await writer.flush();
                must(flushed);
            }
            must(pair.first.shutdown_write());
        };
        auto done = co_await with_task_group([&](TaskGroup& group) -> Task<> {
            group.spawn(write);
            group.spawn(receive_bytes, &pair.second);
            co_return;
        });
        must(done);
    });
}

double any_stream_round(EventLoop& loop) {
    return receive_often(loop, AnyStream(NeverWaits())) - receive_often(loop, NeverWaits());
}

double datagram_round(EventLoop& loop) {
    constexpr int count = 50'000;
    auto server = must(DatagramSocket::bind(Endpoint::parse("127.0.0.1:0").value()));
    auto client = must(DatagramSocket::connect(server.local().value()));
    return ns_of(loop, count, [&]() -> Task<> {
        std::array<std::byte, 64> memory{};
        for (int i = 0; i < count; ++i) {
            auto sent = co_await client.send(memory);
            must(sent);
            auto received = co_await server.recv_from(memory);
            must(std::move(received));
        }
    });
}

double file_round(EventLoop& loop) {
    constexpr int count = 50'000;
    return ns_of(loop, count, [&]() -> Task<> {
        auto opened = co_await File::open("/proc/self/exe");
        auto file = must(std::move(opened));
        std::vector<std::byte> memory(4096);
        for (int i = 0; i < count; ++i) {
            auto read = co_await file.read_at(memory, 0);
            must(std::move(read));
        }
    });
}

double idle_bytes(EventLoop& loop, bool with_reader) {
    constexpr std::size_t count = 1000;
    auto plain = [](UnixStream stream) -> Task<> {
        auto chunk = co_await stream.recv();
        static_cast<void>(chunk);
    };
    auto reading = [](UnixStream stream) -> Task<> {
        Reader reader(stream);
        Writer writer(stream);
        auto line = co_await reader.read_line();
        static_cast<void>(line);
    };
    double bytes = 0;
    auto measure = [&](TaskGroup& group) -> Task<> {
        std::vector<UnixStream> peers;
        for (std::size_t i = 0; i < count; ++i) peers.push_back(UnixStream());
        const auto before = FramePool::local().in_use().bytes;
        const auto buffers_before = Buffer::lent_count();
        for (UnixStream& peer : peers) {
            auto pair = must(UnixStream::pair());
            peer = std::move(pair.first);
            if (with_reader) group.spawn(reading, std::move(pair.second));
            if (!with_reader) group.spawn(plain, std::move(pair.second));
        }
        // Until the receives wait without a buffer.
        auto slept = co_await sleep_for(std::chrono::milliseconds(1500));
        must(slept);
        if (Buffer::lent_count() != buffers_before) std::abort();
        // The peers have a socket each, too.
        bytes = static_cast<double>(FramePool::local().in_use().bytes - before) / count;
        group.cancel();
    };
    must(loop.run([&]() -> Task<> {
        auto done = co_await with_task_group(measure);
        must(done);
    }));
    return bytes;
}

double child_round(EventLoop& loop) {
    constexpr int count = 50;
    return ns_of(loop, count, [&]() -> Task<> {
        ProcessOptions options;
        options.command = {"/bin/true"};
        for (int i = 0; i < count; ++i) {
            auto ended = co_await run_process(options);
            if (!must(std::move(ended)).status.success()) std::abort();
        }
    });
}
