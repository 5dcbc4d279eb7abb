#include "load_workers.hpp"

#include "measurement.hpp"
#include "output.hpp"
#include "start_line.hpp"

#include <functional>
#include <memory>
#include <mutex>
#include <set>
#include <string_view>
#include <system_error>
#include <thread>
#include <utility>
#include <vector>

#include <fmt/format.h>
#include <sysexits.h>

using namespace ringlet;

namespace {

// Every loop reports the same about this machine: once is enough.
std::function<void(std::string_view)> report_once() {
    struct Said {
        std::mutex mutex;
        std::set<std::string, std::less<>> lines;
    };
    auto said = std::make_shared<Said>();
    return [said](std::string_view line) {
        const std::lock_guard lock(said->mutex);
        if (said->lines.emplace(line).second) say("ringlet: {}\n", line);
    };
}

LoadOutcome run_worker(const LoadOptions& options, const LoopOptions& loop_options, LoadShare share,
                       StartLine& start, Interruption& interruption) {
    LoadOutcome outcome;
    auto loop = EventLoop::create(loop_options);
    if (!loop) {
        outcome.refusal = Refusal{exit_status(loop), loop.error().message()};
        start.call_off();
        return outcome;
    }
    outcome.backend = loop->backend().to_string();
    outcome.result = run_load(*loop, options, share, start, interruption);
    return outcome;
}

} // namespace

LoadOutcome run_workers(const LoadOptions& options, const LoopOptions& loop_options,
                        std::uint64_t workers, Interruption& interruption) {
    StartLine start(workers);
    LoopOptions each = loop_options;
    if (workers > 1) each.report = report_once();
    std::vector<LoadOutcome> outcomes(workers);
    std::optional<Refusal> no_thread;
    const auto run = [&](std::uint64_t worker) {
        outcomes[worker] = run_worker(options, each, {worker, workers}, start, interruption);
    };
    std::vector<std::thread> threads;
    for (std::uint64_t worker = 1; worker < workers; ++worker) {
        try {
            threads.emplace_back(run, worker);
        } catch (const std::system_error& failure) {
            no_thread = Refusal{
                EX_OSERR, fmt::format("cannot start thread {} of {}: {}: the limit of threads and "
                                      "processes is reached (ulimit -u, TasksMax= of the unit, "
                                      "pids.max of the container). Lower --workers",
                                      worker + 1, workers, failure.code().message())};
            break;
        }
    }
    if (no_thread) {
        start.call_off();
    } else {
        run(0);
    }
    for (std::thread& thread : threads) thread.join();

    LoadOutcome together = std::move(outcomes.front());
    if (no_thread) together.refusal = std::move(no_thread);
    for (const LoadOutcome& outcome : outcomes) {
        if (!together.refusal) together.refusal = outcome.refusal;
    }
    if (workers == 1 || together.refusal || !together.result) return together;
    Measurement all{{}, {{{}, std::move(*together.result)}}};
    for (std::uint64_t worker = 1; worker < workers; ++worker) {
        all.runs.push_back({{}, std::move(*outcomes[worker].result)});
    }
    together.result = total_of(all);
    return together;
}
