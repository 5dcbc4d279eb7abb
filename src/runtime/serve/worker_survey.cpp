#include "serve/worker_survey.hpp"

#include <ringlet/deadline.hpp>

#include <algorithm>
#include <string>

namespace ringlet {

// Each worker has room for one answer, and is asked again only when that has been taken.
WorkerSurvey::WorkerSurvey(EventLoop& loop, std::size_t size, Ask ask)
    : ask_(std::move(ask)), answers_(loop, size, "answers of the workers"), is_asked_(size),
      states_(size) {}

Task<std::vector<WorkerState>> WorkerSurvey::ask_all() {
    const std::size_t rounds_before = rounds_;
    auto alone = co_await one_at_a_time_.lock();
    if (!alone) co_return std::vector<WorkerState>(states_.size());
    if (rounds_ > rounds_before) co_return states_; // another caller asked meanwhile
    forget_ended();
    for (std::size_t worker = 0; worker < states_.size(); ++worker) {
        states_[worker] = {};
        if (is_asked_[worker]) continue;
        auto answer = [worker, sender = answers_.sender()](WorkerSnapshot snapshot) mutable {
            static_cast<void>(sender.try_send(Given(worker, std::move(snapshot))));
        };
        is_asked_[worker] = ask_(worker, answer);
        states_[worker].has_ended = !is_asked_[worker];
    }
    auto wait = [this] { return hear_all(); };
    auto heard = co_await with_timeout(patience, wait);
    forget_ended();
    // If cut short, workers that did not answer may still do so.
    if (heard.error() != std::errc::operation_canceled) ++rounds_;
    co_return states_;
}

Task<> WorkerSurvey::hear_all() {
    while (std::ranges::find(is_asked_, true) != is_asked_.end()) {
        auto given = co_await answers_.recv();
        if (!given) co_return;
        note(std::move(*given));
    }
}

// A worker that has ended no longer answers.
void WorkerSurvey::forget_ended() {
    for (std::size_t worker = 0; worker < states_.size(); ++worker) {
        if (!is_asked_[worker] || ask_(worker, nullptr)) continue;
        is_asked_[worker] = false;
        states_[worker].has_ended = true;
    }
}

void WorkerSurvey::note(Given given) {
    is_asked_[given.first] = false;
    states_[given.first].snapshot = std::move(given.second);
}

} // namespace ringlet
