// How several workers hand over to the next program: on the thread that waits for them.

#include "serve/crew.hpp"

#include <ringlet/deadline.hpp>

#include "base/kernel.hpp"
#include "serve/informing.hpp"
#include "serve/server_state.hpp"

#include <functional>
#include <memory>
#include <string_view>
#include <utility>
#include <vector>

#include <fcntl.h>

namespace ringlet {

namespace {

using Answers = ThreadChannel<Result<void>>;

Task<> answer_for_one(std::function<Task<Result<void>>()> ask, Answers::Sender sender) {
    auto answer = co_await ask();
    static_cast<void>(sender.try_send(std::move(answer)));
}

} // namespace

// Asks each worker on its own thread. A worker that has ended never answers: the wait then times out.
Task<Result<void>> Workers::Crew::ask_all(AskWorker ask) {
    Answers answers(*loop_, size_);
    {
        const std::lock_guard lock(mutex_);
        for (const Worker& worker : workers_) {
            if (worker.server == nullptr) co_return std::errc::operation_canceled;
            Server::State* state = worker.server->state_.get();
            std::function<Task<Result<void>>()> ask_it = [ask, state] { return ask(*state); };
            state->loop->post([state, ask_it, sender = answers.sender()]() mutable {
                state->loop->spawn("hand-over", answer_for_one, std::move(ask_it),
                                   std::move(sender));
            });
        }
    }
    auto wait = [&]() -> Task<Result<void>> {
        for (std::size_t left = size_; left > 0; --left) {
            auto answer = co_await answers.recv();
            if (!answer) co_return answer.error();
            if (!*answer) co_return *answer;
        }
        co_return Result<void>();
    };
    auto waited = co_await with_timeout(2 * hand_over_patience, wait);
    co_return waited;
}

void Workers::Crew::tell_all(const std::function<void(Server::State&)>& what) {
    const std::lock_guard lock(mutex_);
    for (const Worker& worker : workers_) {
        if (worker.server == nullptr) continue;
        Server::State* state = worker.server->state_.get();
        state->loop->post([state, what] { what(*state); });
    }
}

Task<> Workers::Crew::hand_over() {
    struct Offers {
        std::mutex mutex;
        std::vector<OfferedListener> all;
    };
    HandOverSteps steps{
        .offer = [this]() -> Task<Result<std::vector<OfferedListener>>> {
            auto offers = std::make_shared<Offers>();
            AskWorker ask = [offers](Server::State& state) -> Task<Result<void>> {
                auto own = state.offer();
                if (!own) co_return own.error();
                const std::lock_guard lock(offers->mutex);
                for (OfferedListener& one : *own) offers->all.push_back(std::move(one));
                co_return Result<void>();
            };
            auto asked = co_await ask_all(ask);
            if (!asked) co_return asked.error();
            co_return std::move(offers->all);
        },
        .pause = [this]() -> Task<Result<void>> {
            AskWorker ask = [](Server::State& state) { return state.pause_accepting(); };
            auto paused = co_await ask_all(ask);
            co_return paused;
        },
        .resume = [this] { tell_all([](Server::State& state) { state.resume_accepting(); }); },
        .leave =
            [this](UniqueFd channel) {
                auto shared = std::make_shared<UniqueFd>(std::move(channel));
                tell_all([shared](Server::State& state) {
                    state.leave_listeners(UniqueFd(::fcntl(shared->get(), F_DUPFD_CLOEXEC, 0)));
                });
                stop_up_to(1);
            },
        .introduce =
            [this](pid_t successor) {
                is_followed_ = true;
                return introduce(options_, successor);
            },
        .services = services_.listeners(),
    };
    auto report = [this](std::string_view line) { report_line(options_.loop.report, line); };
    co_await answer_successors(*services_.successors, steps, report);
}

} // namespace ringlet
