#pragma once

// Answers an operator's commands on a Unix socket. Keeps the promise that only its own user gets in, and that a worker
// which does not answer delays no other.

#include <ringlet/event_loop.hpp>
#include <ringlet/log.hpp>
#include <ringlet/server.hpp>
#include <ringlet/stream_listener.hpp>
#include <ringlet/task.hpp>

#include "serve/service_listener.hpp"
#include "serve/snapshot.hpp"

#include <chrono>
#include <cstddef>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>

namespace ringlet {

/// Lifetime  Outlives `serve`, and is destroyed before the loop.
/// Thread    The one of the loop that it serves on.
class Backdoor {
public:
    /// Is called on a worker's own thread.
    using Question = std::function<std::string(EventLoop& loop, const WorkerSnapshot& now)>;
    using Answer = std::function<void(std::string text)>;
    /// Passes a question on to a worker, which gives its answer on its own thread. False: the worker has ended.
    using Ask = std::function<bool(std::size_t worker, Question question, Answer answer)>;

    /// Listens on `ServeOptions::backdoor`, with the previous program's socket if that listens there. Returns
    /// nothing if the option is empty or that fails; the reason has been reported.
    static std::optional<StreamListener> bind(const ServeOptions& options, TakeOver* taken);

    Backdoor(StreamListener listener, EventLoop& loop, std::size_t workers,
             std::shared_ptr<Log> log, Ask ask);

    [[nodiscard]] ServiceListener& listener() noexcept { return listener_; }

    /// Serves until it is cancelled.
    Task<> serve();

    static constexpr std::size_t line_bytes_limit = 1024;
    static constexpr std::size_t connections_limit = 4;
    /// How long workers may take to answer.
    static constexpr std::chrono::milliseconds patience{2000};

private:
    Task<> serve_client(StreamSocket stream);
    Task<std::string> answer(std::string line);
    Task<std::string> ask_all(Question question);
    std::string set_level(std::string_view name);

    ServiceListener listener_;
    EventLoop* loop_;
    std::size_t workers_;
    std::shared_ptr<Log> log_;
    Ask ask_;
};

} // namespace ringlet
