#include "serve/informing.hpp"

#include <ringlet/deadline.hpp>
#include <ringlet/sleep.hpp>

#include "serve/crew.hpp"
#include "serve/server_state.hpp"

#include <algorithm>
#include <exception>
#include <memory>
#include <mutex>
#include <utility>

namespace ringlet {

std::string status_of(const Informant& about) {
    const std::size_t count = about.connections();
    std::string line = about.stopping.is_set() ? "draining " : "serving ";
    line += std::to_string(count) + (count == 1 ? " connection on " : " connections on ");
    for (std::size_t index = 0; index < about.addresses.size(); ++index)
        line += (index > 0 ? ", " : "") + about.addresses[index].to_string();
    return line;
}

namespace {

// What the manager was told, and what to tell it next.
class Telling {
public:
    Telling(const ServiceManager& manager, const Informant& about) noexcept
        : manager_(manager), about_(about) {}

    void tell_news(Clock::time_point now) {
        const std::string line = status_of(about_);
        if (about_.stopping.is_set() && !told_stop_) {
            told_stop_ = told(manager_.stopping(line), line, now);
        } else if (!told_stop_ && !told_ready_) {
            told_ready_ = told(manager_.ready(line), line, now);
        } else if (line != line_ && now - line_since_ >= status_interval) {
            told(manager_.status(line), line, now);
        }
        if (manager_.watchdog().count() > 0 && about_.turns()) manager_.alive();
    }

private:
    bool told(bool sent, const std::string& line, Clock::time_point now) {
        if (!sent) return false;
        line_ = line;
        line_since_ = now;
        return true;
    }

    const ServiceManager& manager_;
    const Informant& about_;
    bool told_ready_ = false;
    bool told_stop_ = false;
    std::string line_;
    Clock::time_point line_since_;
};

} // namespace

Task<> keep_informed(ServiceManager manager, Informant about) {
    Clock::duration step = status_interval;
    if (manager.watchdog().count() > 0)
        step =
            std::clamp<Clock::duration>(manager.watchdog() / 4, std::chrono::milliseconds(1), step);
    Telling telling(manager, about);
    // The manager would ignore anything told before that: this process is not the service yet.
    auto alone = co_await wait_for_predecessor(about.predecessor_leaving);
    if (!alone) co_return;
    while (!about.is_followed) {
        telling.tell_news(Clock::now());
        Result<void> waited;
        if (about.stopping.is_set()) {
            waited = co_await sleep_for(step);
        } else {
            waited = co_await with_timeout(step, about.stopping.wait());
        }
        if (!waited && waited.error() != std::errc::timed_out) co_return;
    }
}

// ---- reloading ----------------------------------------------------------------------------------

namespace {

constexpr std::chrono::milliseconds tell_again_after{100};
constexpr int tell_attempts_limit = 50;

// Gives up after that many attempts: a manager without room for so long may never have any.
Task<> tell(std::function<bool()> what) {
    for (int attempt = 0; attempt < tell_attempts_limit && !what(); ++attempt) {
        auto slept = co_await sleep_for(tell_again_after);
        if (!slept) co_return;
    }
}

Task<> reload(ServiceManager manager, std::function<void(int)> hook, int signal) {
    co_await tell([&] { return manager.reloading(); });
    std::exception_ptr thrown;
    try {
        hook(signal);
    } catch (...) {
        thrown = std::current_exception();
    }
    co_await tell([&] { return manager.reloaded(); });
    if (thrown) std::rethrow_exception(thrown);
}

} // namespace

Task<> introduce(const ServeOptions& options, pid_t successor) {
    if (!options.notify_service_manager) co_return;
    const ServiceManager manager = ServiceManager::of_environment();
    co_await tell([&] { return manager.followed_by(successor); });
}

void call_hook(EventLoop& loop, const ServeOptions& options, int signal, bool is_stopping) {
    if (!options.on_signal) return;
    if (signal == options.reload_signal && options.notify_service_manager && !is_stopping) {
        if (auto manager = ServiceManager::of_environment())
            return loop.spawn("reload", reload, std::move(manager), options.on_signal, signal);
    }
    options.on_signal(signal);
}

// ---- one worker ---------------------------------------------------------------------------------

Task<> Server::State::inform(ServiceManager manager) {
    Informant about{
        .addresses = addresses,
        .stopping = here_.draining,
        .connections = [this] { return connections_ != nullptr ? connections_->size() : 0; },
        .turns = [] { return true; }, // this runs on the only loop
        .is_followed = is_followed_,
        .predecessor_leaving = std::move(predecessor_leaving),
    };
    return keep_informed(std::move(manager), std::move(about));
}

// ---- several ------------------------------------------------------------------------------------

Task<> Workers::Crew::inform(ServiceManager manager) {
    Informant about{
        .addresses = addresses_,
        .stopping = stopping_,
        .connections = [this] { return room_->live(); },
        .turns = [this] { return have_turned(); },
        .is_followed = is_followed_,
        .predecessor_leaving = std::move(predecessor_leaving_),
    };
    return keep_informed(std::move(manager), std::move(about));
}

// Each loop gets a letter, and the next once all are gone: a loop that hangs gets one. A worker that ends drops its.
bool Workers::Crew::have_turned() {
    if (!letters_.expired()) return false;
    const auto letter = std::make_shared<bool>();
    letters_ = letter;
    const std::lock_guard lock(mutex_);
    for (const Worker& worker : workers_) {
        if (worker.server != nullptr) worker.server->loop().post([letter] {});
    }
    return true;
}

} // namespace ringlet
