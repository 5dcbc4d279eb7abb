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

/// For tests of what is written on ringlet: a kernel and a network in memory, with faults.
namespace RINGLET_EXPORT ringlet {
namespace testing {

/// Takes a line for each thing that happens: `1.000204 s  recv on socket 3: 12`.
using SimulationTrace = std::function<void(std::string_view line)>;

/// While it lives, this thread has another kernel: sockets are in memory, `Clock` jumps to the next
/// moment at which something happens, and what can go wrong does. Everything on ringlet runs in it as
/// it is; the same seed makes the same things happen.
///
/// What is not simulated: threads (`run_blocking` calls its function at once, on the loop's thread),
/// other clocks than `ringlet::Clock`, names, pipes, files, processes, and descriptors from elsewhere
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

    /// A number from 0 up to, not including, `limit`, which must not be 0; for choices of the test
    /// itself. It does not depend on the faults.
    [[nodiscard]] std::uint64_t random(std::uint64_t limit);

    [[nodiscard]] std::uint64_t seed() const noexcept;

    /// How often each fault has struck so far.
    [[nodiscard]] FaultCounts faults() const noexcept;
    /// Whether only harmless faults have struck so far (`FaultSet::harmless`): then everything that
    /// was sent must arrive.
    [[nodiscard]] bool only_harmless_faults() const noexcept;
    /// Answers that the kernel has given so far.
    [[nodiscard]] std::uint64_t completion_count() const noexcept;
    /// How much time has passed in here.
    [[nodiscard]] Clock::duration elapsed() const noexcept;
    /// A hash of all answers, in their order, with their moments.
    [[nodiscard]] std::uint64_t trace_hash() const noexcept;

    /// Ends the checks: when the loop and all sockets are gone, nothing may be left.
    ///
    /// Returns   What went wrong first: a check of the test's, a promise that was broken, or what is
    ///           left (descriptors, frames, buffers). Empty if nothing did.
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
    /// For one seed that failed: is told everything that happens, on the thread where it does.
    SimulationTrace trace = {};
};

/// What came of it.
struct SimulationReport {
    struct Failure {
        std::uint64_t seed = 0;
        std::string message;
    };

    std::uint64_t seeds = 0; ///< that were run
    std::uint64_t completions = 0;
    FaultCounts faults{};
    Clock::duration elapsed{};      ///< in the simulations
    std::uint64_t trace_hash = 0;   ///< of all of them, whatever the number of threads
    std::optional<Failure> failure; ///< of the lowest seed that failed, of those that were run

    [[nodiscard]] explicit operator bool() const noexcept { return !failure; }

    /// For people: `1000 seeds, 812345 completions, 3456 faults, 12.5 hours: all is well`, or the
    /// failure and how to repeat it.
    [[nodiscard]] std::string to_string() const;
};

/// Calls `scenario` in a simulation for each seed, until one fails.
///
/// Errors    A seed fails by `Simulation::check`, by an exception (but not by `std::bad_alloc` where
///           an allocation was made to fail), and by what `Simulation::verdict` finds.
SimulationReport simulate_each(const SimulateOptions& options,
                               const std::function<void(Simulation&)>& scenario);

/// Runs a scenario for many seeds, each in a simulation of its own. A scenario is a coroutine,
/// `Task<> scenario(Simulation&)`, which runs on a loop that is made for it; or a function that makes
/// its own loop or `Server`, `void scenario(Simulation&)`.
///
///     auto report = testing::simulate({.seeds = 1000}, scenario);
///     std::puts(report.to_string().c_str());
///     return report ? 0 : 1;
///
/// Errors    As `simulate_each`; for a coroutine also when it and all other tasks wait for something that
///           cannot come.
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
