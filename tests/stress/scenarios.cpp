#include "scenarios.hpp"

#include "echo.hpp"
#include "tree.hpp"

#include <ringlet/ringlet.hpp>

#include <algorithm>
#include <cstddef>
#include <span>
#include <string>
#include <vector>

namespace stress {

namespace {

using namespace ringlet;
using namespace std::chrono_literals;
using testing::echo;
using testing::Simulation;

microseconds time_up_to(Simulation& simulation, std::uint64_t limit_us) {
    return microseconds(static_cast<std::int64_t>(simulation.random(limit_us + 1)));
}

// ---- echo ---------------------------------------------------------------------------------------

/// Each byte encodes its position, so that a lost or doubled one is found.
std::byte byte_at(std::size_t place) {
    return static_cast<std::byte>((place * 2'654'435'761U) >> 13);
}

/// A client of an echo server: sends, and compares what comes back. Sometimes gives up, and receives
/// again after a receive that its deadline cancelled.
class Talk {
public:
    Talk(Simulation& simulation, TcpStream stream)
        : simulation_(&simulation), stream_(std::move(stream)),
          size_(1 + simulation.random(simulation.random(4) == 0 ? 60'000 : 300)) {}

    /// Returns whether everything came back.
    Task<Result<bool>> run() {
        auto body = [this](TaskGroup& group) -> Task<Result<bool>> {
            group.spawn("sender", [this] { return send(); });
            auto whole = co_await receive();
            group.cancel(); // nothing reads any more
            co_return whole;
        };
        auto whole = co_await with_task_group(body);
        co_return whole;
    }

    [[nodiscard]] bool gave_up() const { return gave_up_; }

private:
    Task<Result<void>> send() {
        std::vector<std::byte> piece;
        for (std::size_t place = 0; place < size_;) {
            piece.resize(1 + simulation_->random(std::min<std::uint64_t>(size_ - place, 5000)));
            for (std::byte& byte : piece) byte = byte_at(place++);
            auto sent = co_await stream_.send_all(piece);
            if (!sent) co_return sent;
        }
        co_return stream_.shutdown_write();
    }

    Task<Result<std::size_t>> receive_some(std::span<std::byte> memory) {
        if (simulation_->random(2) == 0) {
            auto received = co_await stream_.recv(memory);
            note_failure(received.error());
            co_return received;
        }
        auto chunk = co_await stream_.recv();
        note_failure(chunk.error());
        if (!chunk) co_return chunk.error();
        std::copy(chunk->begin(), chunk->end(), memory.begin());
        co_return chunk->size();
    }

    // Outside of with_timeout this error looks like the deadline.
    void note_failure(std::error_code error) {
        connection_timed_out_ = error == std::errc::timed_out;
    }

    Task<Result<bool>> receive() {
        std::vector<std::byte> memory(Buffer::capacity_bytes);
        for (std::size_t place = 0;;) {
            const auto patience = time_up_to(*simulation_, 3000);
            auto received = co_await with_timeout(patience, [&] { return receive_some(memory); });
            if (received.error() == std::errc::timed_out && !connection_timed_out_) continue;
            if (!received) co_return received.error();
            if (*received == 0) co_return place == size_;
            for (std::size_t i = 0; i < *received; ++i) {
                if (memory[i] == byte_at(place++)) continue;
                simulation_->check(false, "a byte came back that was not sent there");
                co_return false;
            }
            gave_up_ = simulation_->random(400) == 0;
            if (gave_up_) co_return false;
        }
    }

    Simulation* simulation_;
    TcpStream stream_;
    std::size_t size_;
    bool gave_up_ = false;
    bool connection_timed_out_ = false;
};

// ---- two ends -----------------------------------------------------------------------------------

Task<> two_ends(Simulation& simulation) {
    auto [mine, theirs] = simulation.pair();
    bool is_short = true;
    auto body = [&](TaskGroup& group) -> Task<> {
        group.spawn(echo, std::move(theirs));
        Talk talk(simulation, std::move(mine)); // its destructor hangs up before the echo is joined
        auto whole = co_await talk.run();
        is_short = !talk.gave_up() && !(whole && *whole);
    };
    auto done = co_await with_task_group(body);
    static_cast<void>(done);
    simulation.check(!is_short || !simulation.only_harmless_faults(),
                     "not everything came back, although nothing went wrong");
}

// ---- a server -----------------------------------------------------------------------------------

/// `is_served`: nothing but the client ends the connection.
Task<> client(Simulation& simulation, Endpoint address, bool is_served) {
    auto slept = co_await sleep_for(time_up_to(simulation, 20'000));
    if (!slept) co_return;
    auto stream = co_await TcpStream::connect(address);
    if (!stream) co_return;
    Talk talk(simulation, std::move(*stream));
    auto whole = co_await talk.run();
    const bool is_short = !talk.gave_up() && !(whole && *whole);
    simulation.check(!is_short || !is_served || !simulation.only_harmless_faults(),
                     "a client did not get everything back, although nothing went wrong");
}

// Stops the server when the clients end, however they end.
struct StopAtEnd {
    Server& server;
    ~StopAtEnd() { server.stop(); }
};

Task<> clients(Simulation& simulation, Server& server, bool idle_ones_end) {
    const StopAtEnd stop_at_end{server};
    auto body = [&](TaskGroup& group) -> Task<> {
        const bool waits_for_all = simulation.random(2) == 0;
        for (std::uint64_t left = 1 + simulation.random(6); left > 0; --left) {
            group.spawn(client, std::ref(simulation), server.local(),
                        waits_for_all && !idle_ones_end);
        }
        if (waits_for_all) {
            auto idle = co_await group.wait_until_idle();
            static_cast<void>(idle);
        } else {
            auto slept = co_await sleep_for(time_up_to(simulation, 60'000));
            static_cast<void>(slept);
        }
        server.stop();
        if (simulation.random(3) > 0) co_return;
        auto slept = co_await sleep_for(time_up_to(simulation, 10'000));
        static_cast<void>(slept);
        server.stop();
    };
    auto done = co_await with_task_group(
        body, GroupOptions{.name = "clients", .on_failure = OnFailure::report});
    static_cast<void>(done);
}

void serve_and_stop(Simulation& simulation) {
    ServeOptions options;
    options.handle_signals = false;
    options.max_connections = 1 + simulation.random(4);
    options.drain_timeout = std::chrono::milliseconds(simulation.random(50));
    options.idle_timeout = std::chrono::milliseconds(simulation.random(3) * 10);
    options.socket.backlog = static_cast<int>(1 + simulation.random(4));
    options.loop.busy_poll = microseconds(simulation.random(2) * 50);
    auto server = Server::create(options);
    if (!server) return simulation.check(false, server.error().message());
    server->loop().spawn(clients, std::ref(simulation), std::ref(*server),
                         options.idle_timeout.count() > 0);
    auto report = server->run(echo);
    simulation.check(static_cast<bool>(report), report.error().message());
    if (!report) return;
    simulation.check(report->cancelled_count <= report->accepted_count,
                     "more connections were cancelled than accepted");
    simulation.check(report->cancelled_count <= options.max_connections,
                     "more connections were served at once than allowed");
    simulation.check(report->loop.live_tasks == 0, "tasks are left");
    simulation.check(report->loop.operations_in_flight == 0, "operations are left");
    simulation.check(report->loop.armed_timers == 0, "timers are left");
}

// ---- a listener ---------------------------------------------------------------------------------

Task<> accept_with_deadlines(Simulation& simulation, TcpListener& listener, TaskGroup& group) {
    for (;;) {
        auto accept = [&]() -> Task<Result<TcpStream>> {
            auto stream = co_await listener.accept();
            co_return stream;
        };
        auto stream = co_await with_timeout(time_up_to(simulation, 1500), accept);
        if (stream) {
            group.spawn(echo, std::move(*stream));
            continue;
        }
        if (stream.error() == std::errc::operation_canceled) co_return;
        auto slept = co_await sleep_for(microseconds(10));
        if (!slept) co_return;
    }
}

Task<> listen_and_cancel(Simulation& simulation) {
    auto listener = TcpListener::bind(Endpoint::parse("127.0.0.1:0").value());
    if (!listener) co_return simulation.check(false, listener.error().message());
    auto body = [&](TaskGroup& group) -> Task<> {
        auto acceptor = group.spawn(accept_with_deadlines, std::ref(simulation),
                                    std::ref(*listener), std::ref(group));
        auto talking = [&](TaskGroup& talkers) -> Task<> {
            for (std::uint64_t left = 1 + simulation.random(5); left > 0; --left) {
                talkers.spawn(client, std::ref(simulation), listener->local(), true);
            }
            co_return;
        };
        auto talked = co_await with_task_group(talking);
        static_cast<void>(talked);
        acceptor.cancel();
    };
    auto done = co_await with_task_group(body);
    static_cast<void>(done);
}

// ---- a tree -------------------------------------------------------------------------------------

void grow_tree(Simulation& simulation) {
    World world(simulation.seed(), [&]() -> Result<World::Pair> { return simulation.pair(); });
    auto loop = EventLoop::create();
    auto ran = loop->run(tree, &world);
    simulation.check(static_cast<bool>(ran), ran.error().message());
    const LoopStats stats = loop->stats();
    simulation.check(stats.live_tasks == 0, "tasks are left");
    simulation.check(stats.operations_in_flight == 0, "operations are left");
    simulation.check(stats.armed_timers == 0, "timers are left");
}

void run_on_a_loop(Simulation& simulation, Task<> (*scenario)(Simulation&)) {
    auto loop = EventLoop::create();
    auto ran = loop->run([&] { return scenario(simulation); });
    simulation.check(static_cast<bool>(ran), ran.error().message());
}

} // namespace

void run_scenario(Simulation& simulation) {
    switch (simulation.random(4)) {
    case 0: return grow_tree(simulation);
    case 1: return serve_and_stop(simulation);
    case 2: return run_on_a_loop(simulation, listen_and_cancel);
    default: return run_on_a_loop(simulation, two_ends);
    }
}

} // namespace stress
