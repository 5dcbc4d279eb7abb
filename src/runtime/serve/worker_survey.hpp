#pragma once

// Asks every worker for its state, and waits for those that answer in time. Keeps the promise that a stuck worker is
// asked once, however often callers want to know.

#include <ringlet/event_loop.hpp>
#include <ringlet/mutex.hpp>
#include <ringlet/task.hpp>
#include <ringlet/thread_channel.hpp>

#include "serve/snapshot.hpp"

#include <chrono>
#include <cstddef>
#include <functional>
#include <utility>
#include <vector>

namespace ringlet {

/// Lifetime  Destroyed before its loop; answers may come later.
/// Thread    The loop's own; answers come on any.
class WorkerSurvey {
public:
    using Answer = std::function<void(WorkerSnapshot)>;
    /// Passes the question on to a worker, which calls `answer` on its own thread, if that is not empty. False: the
    /// worker has ended.
    using Ask = std::function<bool(std::size_t worker, Answer answer)>;

    WorkerSurvey(EventLoop& loop, std::size_t size, Ask ask);

    /// Their answers, one for each worker. Of several callers at the same time the first asks for all.
    Task<std::vector<WorkerState>> ask_all();

    /// How long to wait for answers. A Kubernetes probe gives up after a second.
    static constexpr std::chrono::milliseconds patience{500};

private:
    using Given = std::pair<std::size_t, WorkerSnapshot>;

    Task<> hear_all();
    void note(Given given);
    void forget_ended();

    Ask ask_;
    ThreadChannel<Given> answers_;
    std::vector<bool> is_asked_; // and has not answered
    std::vector<WorkerState> states_;
    Mutex one_at_a_time_{"survey of the workers"};
    std::size_t rounds_ = 0;
};

} // namespace ringlet
