#include "loop/watchdog.hpp"

#include <ringlet/clock.hpp>
#include <ringlet/detail/task_record.hpp>

#include "base/quiet_thread.hpp"

#include <algorithm>
#include <string>

namespace ringlet {

Watchdog::Watchdog(Clock::duration limit, Report report)
    : limit_(limit), report_(std::move(report)) {
    thread_ = start_quiet_thread([this] { watch(); });
}

Watchdog::~Watchdog() {
    {
        const std::lock_guard lock(mutex_);
        ends_ = true;
    }
    ending_.notify_one();
    thread_.join();
}

void Watchdog::begins(const char* name, std::source_location where) noexcept {
    name_.store(name, std::memory_order_relaxed);
    file_.store(where.file_name(), std::memory_order_relaxed);
    line_.store(where.line(), std::memory_order_relaxed);
    const auto next = (resumption_.load(std::memory_order_relaxed) | 1) + 2;
    resumption_.store(next, std::memory_order_release);
}

void Watchdog::ends() noexcept {
    const auto next = (resumption_.load(std::memory_order_relaxed) | 1) + 1;
    resumption_.store(next, std::memory_order_release);
}

// Looks four times per limit. The same resumption seen for the whole limit is a stall, reported once.
void Watchdog::watch() {
    const Clock::duration period =
        std::max<Clock::duration>(limit_ / 4, std::chrono::milliseconds(1));
    std::uint64_t seen = 0;
    auto since = Clock::now();
    bool reported = false;
    std::unique_lock lock(mutex_);
    while (!ending_.wait_until(lock, later(Clock::now(), period), [this] { return ends_; })) {
        const auto current = resumption_.load(std::memory_order_acquire);
        const auto now = Clock::now();
        if (current != seen || current % 2 == 0) {
            seen = current;
            since = now;
            reported = false;
        } else if (!reported && now - since >= limit_) {
            reported = true;
            report_stall(std::chrono::duration_cast<std::chrono::milliseconds>(now - since));
        }
    }
}

void Watchdog::report_stall(std::chrono::milliseconds time) const {
    std::string_view file = file_.load(std::memory_order_relaxed);
    file.remove_prefix(file.rfind('/') + 1);
    report_("task \"" + short_task_name(name_.load(std::memory_order_relaxed)) + "\" (" +
            std::string(file) + ":" + std::to_string(line_.load(std::memory_order_relaxed)) +
            ") has kept the loop from turning for " + std::to_string(time.count()) +
            " ms, and still does. Move long work to run_blocking, or yield in it");
}

} // namespace ringlet
