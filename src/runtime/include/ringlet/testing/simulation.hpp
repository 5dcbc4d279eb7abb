#pragma once

#include <ringlet/clock.hpp>
#include <ringlet/detail/config.hpp>
#include <ringlet/event_loop.hpp>
#include <ringlet/task.hpp>
#include <ringlet/tcp_stream.hpp>
#include <ringlet/testing/fault.hpp>

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>

namespace ringlet::testing { // not exported: a private class
class SimulatedKernel;
} // namespace ringlet::testing

/// For tests of programs that use ringlet: a kernel and a network in memory, with faults.
namespace RINGLET_EXPORT ringlet {
namespace testing {

/// Receives a line for everything that happens: `1.000204 s  recv on socket 3: 12`.
using SimulationTrace = std::function<void(std::string_view line)>;

/// While it lives, this thread has another kernel: sockets are in memory, `Clock` jumps to the next
/// moment at which something happens, and what can go wrong does. Code that uses ringlet runs in it
/// unchanged. The same seed makes the same things happen.
///
/// What is not simulated: threads (`run_blocking` calls its function at once, on the loop's thread),
/// clocks other than `ringlet::Clock`, names, pipes, files, processes, and descriptors from elsewhere
/// (`TcpStream(fd)`).
///
/// Lifetime  Outlives the loop, the server and the sockets that were made in it.
/// Thread    The one that made it. One simulation per thread, one loop in it at a time.
class Simulation {
public:
    explicit Simulation(std::uint64_t seed, FaultSet faults = FaultSet::all(),
                        SimulationTrace trace = {});
    Simulation(const Simulation&) = delete;
    Simulation& operator=(const Simulation&) = delete;
    ~Simulation();

    /// Two ends of a connection, to test a handler without a listener.
    [[nodiscard]] std::pair<TcpStream, TcpStream> pair();

    /// Fails the simulation unless `holds`. The first message is kept.
    void check(bool holds, std::string_view message);

    /// A random number from 0 up to but not including `limit`, which must not be 0. For choices that
    /// the test itself makes; it does not depend on the faults.
    [[nodiscard]] std::uint64_t random(std::uint64_t limit);

    [[nodiscard]] std::uint64_t seed() const noexcept;

    /// How often each fault has struck so far.
    [[nodiscard]] FaultCounts faults() const noexcept;
    /// Whether only harmless faults have struck so far (`FaultSet::harmless`): then everything that
    /// was sent must arrive.
    [[nodiscard]] bool only_harmless_faults() const noexcept;
    /// How many answers the kernel has given so far.
    [[nodiscard]] std::uint64_t completion_count() const noexcept;
    /// How much simulated time has passed.
    [[nodiscard]] Clock::duration elapsed() const noexcept;
    /// A hash of all answers, their order and their times.
    [[nodiscard]] std::uint64_t trace_hash() const noexcept;

    /// Ends the checks. By now the loop and all sockets must be gone, and nothing may be left.
    ///
    /// Returns   What went wrong first: a failed check of the test, a broken promise, or a leak
    ///           (descriptors, frames, buffers). Empty if nothing did.
    [[nodiscard]] std::string verdict();

private:
    struct State;
    std::unique_ptr<State> state_;
};

/// What `simulate` runs.
struct SimulateOptions {
    std::uint64_t first_seed = 1;
    std::uint64_t seeds = 1000;
    FaultSet faults = FaultSet::all();
    /// Threads that share the seeds. The scenario is called on all of them at once.
    unsigned threads = 1;
    /// To investigate a seed that failed: receives everything that happens, on the thread where it happens.
    SimulationTrace trace = {};
};

/// The outcome of `simulate`.
struct SimulationReport {
    struct Failure {
        std::uint64_t seed = 0;
        std::string message;
    };

    std::uint64_t seeds = 0; ///< how many were run
    std::uint64_t completions = 0;
    FaultCounts faults{};
    Clock::duration elapsed{};      ///< simulated time, in total
    std::uint64_t trace_hash = 0;   ///< over all seeds; the same for any number of threads
    std::optional<Failure> failure; ///< the lowest seed that failed, among those run

    [[nodiscard]] explicit operator bool() const noexcept { return !failure; }

    /// For people: `1000 seeds, 812345 completions, 3456 faults, 12.5 hours: all is well`, or the
    /// failure and how to repeat it.
    [[nodiscard]] std::string to_string() const;
};

/// Calls `scenario` in a simulation for each seed, until one fails.
///
/// Errors    A seed fails if `Simulation::check` fails, if the scenario throws (except for
///           `std::bad_alloc` after an allocation was made to fail), or if `Simulation::verdict` finds
///           something.
SimulationReport simulate_each(const SimulateOptions& options,
                               const std::function<void(Simulation&)>& scenario);

/// Runs a scenario for many seeds, each in a simulation of its own. A scenario is either a coroutine,
/// `Task<> scenario(Simulation&)`, which runs on a loop that is made for it, or a function,
/// `void scenario(Simulation&)`, which makes its own loop or `Server`.
///
///     auto report = testing::simulate({.seeds = 1000}, scenario);
///     std::puts(report.to_string().c_str());
///     return report ? 0 : 1;
///
/// Errors    As `simulate_each`. A coroutine also fails if it and all other tasks wait for something
///           that cannot come.
template <class Scenario>
SimulationReport simulate(const SimulateOptions& options, Scenario scenario) {
    using Returned = std::invoke_result_t<Scenario&, Simulation&>;
    static_assert(std::is_void_v<Returned> || std::is_same_v<Returned, Task<>>,
                  "a scenario is Task<> scenario(Simulation&), or a function that returns nothing");
    if constexpr (std::is_void_v<Returned>) {
        return simulate_each(options, scenario);
    } else {
        return simulate_each(options, [&](Simulation& world) {
            auto loop = EventLoop::create();
            if (!loop) return world.check(false, loop.error().message());
            auto ran = loop->run([&] { return scenario(world); });
            world.check(static_cast<bool>(ran), ran.error().message());
        });
    }
}

} // namespace testing
} // namespace ringlet
