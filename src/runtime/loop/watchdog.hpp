#pragma once

// A thread that notices a coroutine that does not return to the loop, and names it while it still
// runs. The loop publishes what it resumes with a few relaxed stores; the thread never reads a task,
// which may be gone by then.

#include <ringlet/clock.hpp>

#include <atomic>
#include <chrono>
#include <condition_variable>
#include <cstdint>
#include <functional>
#include <mutex>
#include <source_location>
#include <string_view>
#include <thread>

namespace ringlet {

class Watchdog {
public:
    using Report = std::function<void(std::string_view line)>;

    Watchdog(Clock::duration limit, Report report);
    ~Watchdog();
    Watchdog(const Watchdog&) = delete;
    Watchdog& operator=(const Watchdog&) = delete;

    /// A coroutine of this task is resumed. Both must live as long as the program, as literals do.
    void begins(const char* name, std::source_location where) noexcept;

    /// Nothing runs: the loop is about to wait.
    void ends() noexcept;

private:
    void watch();
    void report_stall(std::chrono::milliseconds time) const;

    const Clock::duration limit_;
    const Report report_;

    std::atomic<std::uint64_t> resumption_{0}; // odd while something runs
    std::atomic<const char*> name_{""};
    std::atomic<const char*> file_{""};
    std::atomic<std::uint32_t> line_{0};

    std::mutex mutex_;
    std::condition_variable ending_;
    bool ends_ = false;
    std::thread thread_;
};

} // namespace ringlet
