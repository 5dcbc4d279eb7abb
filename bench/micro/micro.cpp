// micro: what the pieces of the runtime cost, in one table and as JSON. Times are the median of
// several rounds on this thread; allocations are counted, by replacing operator new, over a real
// server.
//
//     build/release/bench/micro/micro [--json FILE]

#include "allocations.hpp"
#include "echo.hpp"
#include "wire.hpp"

#include <ringlet/ringlet.hpp>

#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include <algorithm>
#include <array>
#include <cstdio>
#include <cstdlib>
#include <string>
#include <string_view>
#include <vector>

using namespace ringlet;

// ---- the size of the echo's frame ---------------------------------------------------------------

namespace {

/// A stream whose coroutines report the size of their frames.
struct MeasuredStream : TcpStream {
    using TcpStream::TcpStream;
};
std::size_t measured_frame_bytes = 0;

} // namespace

template <>
struct std::coroutine_traits<Task<>, MeasuredStream> {
    struct promise_type : Promise<void> {
        static void* operator new(std::size_t size_bytes) {
            measured_frame_bytes = size_bytes;
            return Promise<void>::operator new(size_bytes);
        }
        static void operator delete(void* frame, std::size_t size_bytes) noexcept {
            Promise<void>::operator delete(frame, size_bytes);
        }
    };
};

namespace {

std::size_t echo_frame_bytes() {
    auto unstarted = echo(MeasuredStream());
    static_cast<void>(unstarted);
    return measured_frame_bytes;
}

// ---- times --------------------------------------------------------------------------------------

constexpr int rounds = 15;

/// The median over the rounds of `round()`, which returns nanoseconds for each of its operations.
template <class Round>
double median_ns(Round round) {
    std::array<double, rounds> samples{};
    for (double& sample : samples) sample = round();
    std::sort(samples.begin(), samples.end());
    return samples[rounds / 2];
}

double ns_each(Clock::duration time, std::uint64_t count) {
    return std::chrono::duration<double, std::nano>(time).count() / static_cast<double>(count);
}

Task<> nothing() { co_return; }

// A batch of tasks is spawned, run and finished between two turns of the measuring task.
Task<double> spawn_round(EventLoop* loop) {
    constexpr std::uint64_t batch = 256;
    constexpr std::uint64_t batches = 2000;
    const auto begin = Clock::now();
    for (std::uint64_t i = 0; i < batches; ++i) {
        for (std::uint64_t j = 0; j < batch; ++j) loop->spawn(nothing);
        auto turned = co_await yield();
        if (!turned) break;
    }
    co_return ns_each(Clock::now() - begin, batch * batches);
}

Task<> yield_many(std::uint64_t count) {
    for (std::uint64_t i = 0; i < count; ++i) {
        auto turned = co_await yield();
        if (!turned) co_return;
    }
}

// Two tasks take turns: each yield switches to the other.
Task<double> switch_round(EventLoop* loop) {
    constexpr std::uint64_t count = 1'000'000;
    loop->spawn(yield_many, count);
    const auto begin = Clock::now();
    co_await yield_many(count);
    co_return ns_each(Clock::now() - begin, 2 * count);
}

Task<int> child(int value) { co_return value + 1; }

Task<double> await_round() {
    constexpr int count = 2'000'000;
    const auto begin = Clock::now();
    int value = 0;
    for (int i = 0; i < count; ++i) value = co_await child(value);
    if (value != count) std::abort();
    co_return ns_each(Clock::now() - begin, count);
}

// ---- groups and what tasks share ----------------------------------------------------------------

Task<double> group_round() {
    constexpr int batch = 256;
    constexpr int batches = 500;
    const auto begin = Clock::now();
    auto done = co_await with_task_group([](TaskGroup& group) -> Task<> {
        std::array<JoinHandle<void>, batch> handles;
        for (int i = 0; i < batches; ++i) {
            for (auto& handle : handles) handle = group.spawn(nothing);
            for (auto& handle : handles) {
                auto ended = co_await handle.join();
                if (!ended) std::abort();
            }
        }
    });
    if (!done) std::abort();
    co_return ns_each(Clock::now() - begin, std::uint64_t{batch} * batches);
}

constexpr int message_count = 1'000'000;

Task<> send_messages(Channel<int>* channel) {
    for (int i = 0; i < message_count; ++i) {
        auto sent = co_await channel->send(int(i));
        if (!sent) std::abort();
    }
}

Task<double> channel_round(EventLoop* loop) {
    Channel<int> channel(64);
    loop->spawn(send_messages, &channel);
    const auto begin = Clock::now();
    for (int i = 0; i < message_count; ++i) {
        auto received = co_await channel.recv();
        if (!received || *received != i) std::abort();
    }
    co_return ns_each(Clock::now() - begin, message_count);
}

Task<double> mutex_round() {
    constexpr int count = 1'000'000;
    Mutex mutex;
    const auto begin = Clock::now();
    for (int i = 0; i < count; ++i) {
        auto guard = co_await mutex.lock();
        if (!guard) std::abort();
    }
    co_return ns_each(Clock::now() - begin, count);
}

Task<Result<void>> turn_once() {
    auto turned = co_await yield();
    co_return turned;
}

Task<double> bare_round() {
    constexpr int count = 500'000;
    const auto begin = Clock::now();
    for (int i = 0; i < count; ++i) {
        auto turned = co_await turn_once();
        if (!turned) std::abort();
    }
    co_return ns_each(Clock::now() - begin, count);
}

Task<double> timeout_round() {
    constexpr int count = 500'000;
    const auto begin = Clock::now();
    for (int i = 0; i < count; ++i) {
        auto turned = co_await with_timeout(std::chrono::seconds(5), turn_once);
        if (!turned) std::abort();
    }
    co_return ns_each(Clock::now() - begin, count);
}

Task<> sleep_long() {
    auto slept = co_await sleep_for(std::chrono::hours(1));
    if (slept) std::abort();
}

// From the call of `cancel` until the last of the tasks has ended.
Task<double> cancel_round() {
    constexpr std::size_t count = 100'000;
    Clock::time_point begin;
    auto done = co_await with_task_group([&begin](TaskGroup& group) -> Task<> {
        for (std::size_t i = 0; i < count; ++i) group.spawn(sleep_long);
        auto turned = co_await yield();
        if (!turned) std::abort();
        begin = Clock::now();
        group.cancel();
    });
    if (!done) std::abort();
    co_return ns_each(Clock::now() - begin, count);
}

struct Row {
    std::string name;
    double value;
    double limit;
    std::string unit;
};

} // namespace

int main(int argc, char** argv) {
    const std::vector<std::string_view> arguments(argv + 1, argv + argc);
    const bool to_file = arguments.size() == 2 && arguments[0] == "--json";
    if (!arguments.empty() && !to_file) {
        fmt::print(stderr, "usage: micro [--json FILE]\n");
        return 64;
    }
    auto loop = EventLoop::create();
    if (!loop) {
        fmt::print(stderr, "micro: {}\n", loop.error().message());
        return exit_status(loop);
    }
    const auto spawn_ns = median_ns([&] { return loop->run(spawn_round, &*loop).value(); });
    const auto switch_ns = median_ns([&] { return loop->run(switch_round, &*loop).value(); });
    const auto await_ns = median_ns([&] { return loop->run(await_round).value(); });
    const auto group_ns = median_ns([&] { return loop->run(group_round).value(); });
    const auto channel_ns = median_ns([&] { return loop->run(channel_round, &*loop).value(); });
    const auto mutex_ns = median_ns([&] { return loop->run(mutex_round).value(); });
    const auto timeout_ns = median_ns([&] {
        const double bare = loop->run(bare_round).value();
        return loop->run(timeout_round).value() - bare;
    });
    const auto cancel_ns = median_ns([&] { return loop->run(cancel_round).value(); });
    const Allocations allocations = count_allocations();

    const std::vector<Row> rows = {
        {"spawn, run and finish an empty task", spawn_ns, 30, "ns"},
        {"switch between two ready tasks", switch_ns, 10, "ns"},
        {"await a child that does not suspend", await_ns, 0, "ns"},
        {"spawn in a group and join", group_ns, 40, "ns"},
        {"message through a channel", channel_ns, 40, "ns"},
        {"lock and unlock a free mutex", mutex_ns, 0, "ns"},
        {"with_timeout, beyond what it limits", timeout_ns, 60, "ns"},
        {"cancel a sleeping task, of 100,000", cancel_ns, 0, "ns"},
        {"cancel 100,000 sleeping tasks", cancel_ns / 10, 0, "ms"},
        {"line of 64 bytes through a Reader", median_ns([&] { return line_round(*loop); }), 0,
         "ns"},
        {"64 bytes through a Writer", median_ns([&] { return write_round(*loop); }), 0, "ns"},
        {"AnyStream, beyond its stream", median_ns([&] { return any_stream_round(*loop); }), 0,
         "ns"},
        {"datagram, sent and received", median_ns([&] { return datagram_round(*loop); }), 0, "ns"},
        {"4 KiB of a file that is in memory", median_ns([&] { return file_round(*loop); }), 0,
         "ns"},
        {"child, started and waited for", median_ns([&] { return child_round(*loop); }) / 1000, 0,
         "us"},
        {"idle connection, with its peer", idle_bytes(*loop, false), 0, "bytes of frames"},
        {"the same with a Reader and a Writer", idle_bytes(*loop, true), 0, "bytes of frames"},
        {"frame of the echo handler", static_cast<double>(echo_frame_bytes()), 192, "bytes"},
        {"allocations per message", allocations.per_message, 0, ""},
        {"allocations per accepted connection", allocations.per_connection, 0, ""},
    };
    nlohmann::ordered_json json = {{"schema_version", 1}, {"compiler", __VERSION__}};
    fmt::print("{:<38} {:>10} {:>8}\n", "what", "here", "target");
    for (const Row& row : rows) {
        const bool has_target = (row.unit != "ns" && row.unit != "us" && row.unit != "ms" &&
                                 row.unit != "bytes of frames") ||
                                row.limit > 0;
        fmt::print("{:<38} {:>10.2f} {:>8} {}\n", row.name, row.value,
                   has_target ? fmt::to_string(row.limit) : "-", row.unit);
        json["results"].push_back({{"name", row.name}, {"value", row.value}, {"unit", row.unit}});
    }
    if (!to_file) {
        fmt::print("\n{}\n", json.dump());
        return 0;
    }
    std::FILE* file = std::fopen(std::string(arguments[1]).c_str(), "w");
    if (file == nullptr) {
        std::perror("micro: cannot write the JSON file");
        return 73;
    }
    fmt::print(file, "{}\n", json.dump(2));
    return std::fclose(file) == 0 ? 0 : 73;
}
