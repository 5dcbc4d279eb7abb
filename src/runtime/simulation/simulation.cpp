#include <ringlet/testing/simulation.hpp>

#include <ringlet/buffer.hpp>
#include <ringlet/detail/assert.hpp>
#include <ringlet/detail/frame_pool.hpp>
#include <ringlet/error.hpp>

#include "simulation/simulated_kernel.hpp"

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstdio>
#include <exception>
#include <mutex>
#include <new>
#include <numeric>
#include <random>
#include <thread>
#include <vector>

namespace ringlet::testing {

// ---- one simulation -----------------------------------------------------------------------------

struct Simulation::State {
    State(std::uint64_t seed_, FaultSet faults, SimulationTrace trace)
        : seed(seed_), kernel(seed_, faults, std::move(trace)), choices(~seed_) {
        // Somewhere among the first: a short scenario allocates little.
        if (kernel.plan().can_strike(Fault::frame_allocation)) {
            audit.fails_at = 1 + kernel.plan().below(200);
        }
        FramePool::local().audit(&audit);
    }
    ~State() { FramePool::local().audit(nullptr); }

    std::uint64_t seed;
    SimulatedKernel kernel;
    std::mt19937_64 choices;
    FramePool::Audit audit;
    std::ptrdiff_t buffers_before = Buffer::lent_count();
};

Simulation::Simulation(std::uint64_t seed, FaultSet faults, SimulationTrace trace)
    : state_(std::make_unique<State>(seed, faults, std::move(trace))) {}

Simulation::~Simulation() = default;

std::pair<TcpStream, TcpStream> Simulation::pair() {
    auto [one, other] = state_->kernel.network().open_pair().value();
    UniqueFd other_fd(other);
    TcpStream first{UniqueFd(one)};
    return {std::move(first), TcpStream(std::move(other_fd))};
}

void Simulation::check(bool holds, std::string_view message) {
    if (!holds) state_->kernel.fail(std::string(message));
}

std::uint64_t Simulation::random(std::uint64_t limit) {
    RINGLET_ASSERT(limit > 0, "Simulation::random was asked for a number below 0");
    return state_->choices() % limit;
}

std::uint64_t Simulation::seed() const noexcept { return state_->seed; }

FaultCounts Simulation::faults() const noexcept {
    FaultCounts counts = state_->kernel.plan().counts();
    const auto& audit = state_->audit;
    const bool struck = audit.fails_at != 0 && audit.allocation_count >= audit.fails_at;
    counts[static_cast<std::size_t>(Fault::frame_allocation)] = struck ? 1 : 0;
    return counts;
}

bool Simulation::only_harmless_faults() const noexcept {
    const FaultCounts counts = faults();
    for (std::size_t index = 0; index < counts.size(); ++index) {
        const auto fault = static_cast<Fault>(index);
        if (counts[index] > 0 && !FaultSet::harmless().has(fault)) return false;
    }
    return true;
}

std::uint64_t Simulation::completion_count() const noexcept {
    return state_->kernel.completion_count();
}

Clock::duration Simulation::elapsed() const noexcept { return state_->kernel.elapsed(); }

std::uint64_t Simulation::trace_hash() const noexcept { return state_->kernel.trace_hash(); }

std::string Simulation::verdict() {
    const auto nothing_left = [this](std::ptrdiff_t count, const char* what) {
        check(count == 0, std::to_string(count) + " " + what + " are left");
    };
    nothing_left(static_cast<std::ptrdiff_t>(state_->kernel.network().open_count()), "descriptors");
    nothing_left(state_->audit.live_count, "coroutine frames, tasks or sockets");
    nothing_left(Buffer::lent_count() - state_->buffers_before, "buffers");
    return state_->kernel.failure();
}

// ---- many of them -------------------------------------------------------------------------------

namespace {

struct Seed {
    std::uint64_t completions = 0;
    FaultCounts faults{};
    Clock::duration elapsed{};
    std::uint64_t trace_hash = 0;
    std::string verdict;
};

Seed run_seed(std::uint64_t seed, const SimulateOptions& options,
              const std::function<void(Simulation&)>& scenario) {
    Simulation world(seed, options.faults, options.trace);
    const auto index = static_cast<std::size_t>(Fault::frame_allocation);
    try {
        scenario(world);
    } catch (const std::bad_alloc&) {
        world.check(world.faults()[index] > 0, "std::bad_alloc");
    } catch (const std::exception& error) {
        world.check(false, std::string("the scenario threw: ") + error.what());
    } catch (...) {
        world.check(false, "the scenario threw");
    }
    Seed ended;
    ended.verdict = world.verdict();
    ended.completions = world.completion_count();
    ended.faults = world.faults();
    ended.elapsed = world.elapsed();
    ended.trace_hash = world.trace_hash();
    return ended;
}

/// What the threads share.
struct Run {
    const SimulateOptions& options;
    const std::function<void(Simulation&)>& scenario;
    std::atomic<std::uint64_t> next{0};
    std::atomic<bool> failed{false};
    std::mutex mutex;
    SimulationReport report;
};

void add(SimulationReport& report, std::uint64_t seed, const Seed& ended) {
    ++report.seeds;
    report.completions += ended.completions;
    report.elapsed += ended.elapsed;
    report.trace_hash += ended.trace_hash; // the order does not matter
    std::transform(report.faults.begin(), report.faults.end(), ended.faults.begin(),
                   report.faults.begin(), std::plus<>());
    if (ended.verdict.empty()) return;
    if (!report.failure || seed < report.failure->seed) {
        report.failure = SimulationReport::Failure{.seed = seed, .message = ended.verdict};
    }
}

void work(Run& run) {
    while (!run.failed.load(std::memory_order_relaxed)) {
        const std::uint64_t index = run.next.fetch_add(1, std::memory_order_relaxed);
        if (index >= run.options.seeds) break;
        const std::uint64_t seed = run.options.first_seed + index;
        const Seed ended = run_seed(seed, run.options, run.scenario);
        const std::lock_guard lock(run.mutex);
        add(run.report, seed, ended);
        if (!ended.verdict.empty()) run.failed.store(true, std::memory_order_relaxed);
    }
}

} // namespace

SimulationReport simulate_each(const SimulateOptions& options,
                               const std::function<void(Simulation&)>& scenario) {
    Run run{.options = options, .scenario = scenario, .mutex = {}, .report = {}};
    {
        struct Joined { // std::jthread is experimental in libc++
            std::vector<std::thread> threads;
            ~Joined() {
                for (std::thread& thread : threads) thread.join();
            }
        } others;
        others.threads.reserve(options.threads);
        for (unsigned i = 1; i < options.threads; ++i) {
            others.threads.emplace_back([&run] { work(run); });
        }
        work(run);
    }
    return run.report;
}

std::string SimulationReport::to_string() const {
    const std::uint64_t struck = std::accumulate(faults.begin(), faults.end(), std::uint64_t{0});
    const double hours = std::chrono::duration<double, std::ratio<3600>>(elapsed).count();
    char numbers[160];
    std::snprintf(numbers, sizeof numbers,
                  "%llu seeds, %llu completions, %llu faults, %.1f hours, trace %016llx",
                  static_cast<unsigned long long>(seeds),
                  static_cast<unsigned long long>(completions),
                  static_cast<unsigned long long>(struck), hours,
                  static_cast<unsigned long long>(trace_hash));
    if (!failure) return std::string(numbers) + ": all is well";
    const std::string seed = std::to_string(failure->seed);
    return "seed " + seed + ": " + failure->message +
           "\nrepeat with SimulateOptions{.first_seed = " + seed +
           ", .seeds = 1}; .trace shows what happens\n(" + numbers + ")";
}

} // namespace ringlet::testing
