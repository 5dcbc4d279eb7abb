#include "serve/backdoor.hpp"

#include <ringlet/deadline.hpp>
#include <ringlet/reader.hpp>
#include <ringlet/serve.hpp>
#include <ringlet/thread_channel.hpp>

#include "task/task_tree.hpp"

#include <charconv>
#include <cstdint>
#include <utility>
#include <vector>

namespace ringlet {

namespace {

constexpr std::string_view commands =
    "tasks        what tasks wait for; many that are alike are one line\n"
    "tasks all    each task, with a number\n"
    "stats        connections and operations of each worker\n"
    "cancel N     cancels the task with that number; its connection ends\n"
    "log LEVEL    error, warning, notice, info or debug\n"
    "help         this list\n"
    "Every answer ends with an empty line.\n";

// A task's number stays the same while it lives, and no two live tasks share one.
std::uintptr_t number_of(const TaskRecord& task) noexcept {
    return reinterpret_cast<std::uintptr_t>(&task) / alignof(TaskRecord);
}

// The full list has one line per task, in this order.
std::string numbered_tasks(EventLoop& loop) {
    const std::string list = loop.dump(TaskList::full);
    std::string_view rest = list;
    std::string text;
    const CancelScope& root = loop.core().scope();
    for_each_task(root, [&](const TaskRecord& task, std::size_t) {
        const std::size_t end = rest.find('\n');
        text += std::to_string(number_of(task)) + "  " + std::string(rest.substr(0, end)) + "\n";
        rest.remove_prefix(end == rest.npos ? rest.size() : end + 1);
    });
    return text;
}

std::string cancel_task(EventLoop& loop, std::uintptr_t number) {
    CancelScope* found = nullptr;
    for_each_scope(loop.core().scope(), [&](CancelScope& scope) {
        if (is_of_task(scope) && number_of(*scope.task) == number) found = &scope;
    });
    if (found == nullptr) return {};
    std::string text = "cancelled: " + found->task->to_string() + "\n";
    found->cancel(CancelReason::requested);
    return text;
}

std::string stats_of(const WorkerSnapshot& now) {
    const LoopStats& loop = now.report.loop;
    const auto pair = [](const char* name, auto value) {
        return std::string(name) + "=" + std::to_string(value) + " ";
    };
    return pair("connections", now.live_connections) + pair("accepted", now.report.accepted_count) +
           pair("failed", now.report.failed_count) + pair("pauses", now.report.accept_pauses) +
           pair("tasks", loop.live_tasks) + pair("operations", loop.operations_in_flight) +
           pair("timers", loop.armed_timers) + pair("turns", loop.turns) +
           pair("task_bytes", now.task_bytes) + "backend=" + to_string(loop.backend) + "\n";
}

} // namespace

std::optional<StreamListener> Backdoor::bind(const ServeOptions& options, TakeOver* taken) {
    if (options.backdoor.empty()) return std::nullopt;
    auto endpoint = Endpoint::resolve(options.backdoor);
    std::error_code error = endpoint.error();
    if (endpoint && !endpoint->is_unix())
        error = std::make_error_code(std::errc::address_family_not_supported);
    if (!error) {
        ListenOptions own;
        own.backlog = static_cast<int>(connections_limit);
        own.mode = 0600;
        auto listener = ServiceListener::take_or_bind(*endpoint, backdoor_service, own, taken);
        if (listener) return std::move(*listener);
        error = listener.error();
    }
    report_to(options.loop, "there is no backdoor: " + advice(options.backdoor, error));
    return std::nullopt;
}

Backdoor::Backdoor(StreamListener listener, EventLoop& loop, std::size_t workers,
                   std::shared_ptr<Log> log, Ask ask)
    : listener_(std::move(listener), backdoor_service), loop_(&loop), workers_(workers),
      log_(std::move(log)), ask_(std::move(ask)) {}

Task<> Backdoor::serve() {
    return listener_.serve_clients(
        connections_limit, [this](StreamSocket own) { return serve_client(std::move(own)); });
}

Task<> Backdoor::serve_client(StreamSocket stream) {
    Reader reader(stream);
    for (;;) {
        auto line = co_await reader.read_line(line_bytes_limit);
        if (!line || (line->text.empty() && !line->complete)) co_return;
        std::string asked(line->text);
        auto text = co_await answer(std::move(asked));
        text += "\n";
        auto sent = co_await stream.send_all(text);
        if (!sent) co_return;
    }
}

Task<std::string> Backdoor::answer(std::string line) {
    if (line == "help" || line.empty()) co_return std::string(commands);
    if (line.starts_with("log ")) co_return set_level(std::string_view(line).substr(4));
    Question question;
    const bool cancels = line.starts_with("cancel ");
    if (line == "tasks") {
        question = [](EventLoop& loop, const WorkerSnapshot&) { return loop.dump(); };
    } else if (line == "tasks all") {
        question = [](EventLoop& loop, const WorkerSnapshot&) { return numbered_tasks(loop); };
    } else if (line == "stats") {
        question = [](EventLoop&, const WorkerSnapshot& now) { return stats_of(now); };
    } else if (cancels) {
        std::uintptr_t number = 0;
        const char* end = line.data() + line.size();
        const auto [rest, failure] = std::from_chars(line.data() + 7, end, number);
        if (failure != std::errc{} || rest != end)
            co_return std::string("cancel wants a number; see tasks all\n");
        question = [number](EventLoop& loop, const WorkerSnapshot&) {
            return cancel_task(loop, number);
        };
    } else {
        co_return std::string("there is no such command; write help\n");
    }
    auto text = co_await ask_all(std::move(question));
    if (cancels && text.empty()) co_return std::string("no task has that number; see tasks all\n");
    co_return text;
}

std::string Backdoor::set_level(std::string_view name) {
    const auto level = parse_log_level(name);
    if (!level) return "write error, warning, notice, info or debug\n";
    if (log_ == nullptr) return "this server has no log\n";
    log_->set_level(*level);
    return "the log takes " + std::string(name) + " from now on\n";
}

// Workers that do not answer in time are named.
Task<std::string> Backdoor::ask_all(Question question) {
    using Given = std::pair<std::size_t, std::string>;
    ThreadChannel<Given> given(*loop_, workers_, "answers of the workers");
    std::vector<std::optional<std::string>> answers(workers_);
    std::size_t asked = 0;
    for (std::size_t worker = 0; worker < workers_; ++worker) {
        auto take = [worker, sender = given.sender()](std::string text) mutable {
            static_cast<void>(sender.try_send(Given(worker, std::move(text))));
        };
        if (ask_(worker, question, take)) {
            ++asked;
        } else {
            answers[worker] = "has ended\n";
        }
    }
    auto wait = [&]() -> Task<> {
        for (; asked > 0; --asked) {
            auto one = co_await given.recv();
            if (!one) co_return;
            answers[one->first] = std::move(one->second);
        }
    };
    auto heard = co_await with_timeout(patience, wait);
    static_cast<void>(heard); // missing answers are reported
    std::string text;
    for (std::size_t worker = 0; worker < workers_; ++worker) {
        const std::string said = answers[worker].value_or("does not answer\n");
        if (said.empty()) continue;
        if (workers_ > 1) text += "worker " + std::to_string(worker) + ":\n";
        text += said;
    }
    co_return text;
}

} // namespace ringlet
