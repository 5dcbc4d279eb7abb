#include "serve/next_client.hpp"

#include <ringlet/readiness.hpp>
#include <ringlet/server.hpp>
#include <ringlet/sleep.hpp>
#include <ringlet/task_group.hpp>

#include <algorithm>
#include <system_error>
#include <utility>

namespace ringlet {

// Whoever was there and has gone, or was another's, costs a pause too: readiness alone must not keep the loop busy.
Task<Result<StreamSocket>> next_client(StreamListener& listener) {
    for (auto pause = Server::accept_pause_first;;) {
        auto is_there = co_await readable(listener.native_handle());
        if (is_there.error() == std::errc::operation_canceled) co_return is_there.error();
        if (is_there) {
            auto taken = listener.accept_waiting(1);
            if (taken && !taken->empty()) co_return std::move(taken->front());
        }
        auto slept = co_await sleep_for(pause);
        if (!slept) co_return slept.error();
        pause = std::min(2 * pause, Server::accept_pause_limit);
    }
}

Task<> serve_clients(StreamListener& listener, const char* name, std::size_t limit,
                     std::function<Task<>(StreamSocket)> serve) {
    auto body = [&](BoundedTaskGroup& clients) -> Task<> {
        for (;;) {
            auto room = co_await clients.wait_for_room();
            if (!room) co_return;
            auto client = co_await next_client(listener);
            if (!client) co_return;
            static_cast<void>(clients.try_spawn(name, serve, std::move(*client)));
        }
    };
    const GroupOptions options{.name = name, .on_failure = OnFailure::report};
    auto served = co_await with_bounded_task_group(limit, body, options);
    static_cast<void>(served); // cut short, as it should be
}

} // namespace ringlet
