#include "serve/service_listener.hpp"

#include <ringlet/deadline.hpp>
#include <ringlet/readiness.hpp>
#include <ringlet/server.hpp>
#include <ringlet/task_group.hpp>
#include <ringlet/when.hpp>

#include "serve/hand_over.hpp"

#include <algorithm>
#include <system_error>
#include <utility>

#include <fcntl.h>

namespace ringlet {

Result<StreamListener> ServiceListener::take_or_bind(const Endpoint& address, const char* name,
                                                     const ListenOptions& options,
                                                     TakeOver* taken) {
    if (taken != nullptr) {
        auto offered = taken->take(address, name);
        if (!offered) return offered.error();
        if (!offered->empty()) return std::move(offered->front());
    }
    return StreamListener::bind(address, options);
}

// The previous or the next program may be faster to accept a client that both have seen: accept4(2) must not wait.
ServiceListener::ServiceListener(StreamListener listener, const char* name)
    : listener_(std::move(listener)), address_(listener_.local()), name_(name) {
    const int flags = ::fcntl(listener_.native_handle(), F_GETFL);
    if (flags >= 0) ::fcntl(listener_.native_handle(), F_SETFL, flags | O_NONBLOCK);
}

// A client that has gone, or that another program accepted, costs a pause too: readiness must not keep the loop busy.
Task<Result<StreamSocket>> ServiceListener::next_client() {
    auto alone = co_await wait_for_predecessor(predecessor_leaving_);
    if (!alone) co_return alone.error();
    for (auto pause = Server::accept_pause_first;;) {
        auto seen = co_await when_any(readable(listener_.native_handle()), left_.wait());
        const auto& is_there = std::get<0>(seen.results);
        if (left_.is_set() || is_there.error() == std::errc::operation_canceled)
            co_return std::errc::operation_canceled;
        if (is_there) {
            auto taken = listener_.accept_waiting(1);
            if (taken && !taken->empty()) co_return std::move(taken->front());
        }
        auto left = co_await with_timeout(pause, left_.wait());
        if (left.error() != std::errc::timed_out) co_return std::errc::operation_canceled;
        pause = std::min(2 * pause, Server::accept_pause_limit);
    }
}

Task<> ServiceListener::serve_clients(std::size_t limit,
                                      std::function<Task<>(StreamSocket)> serve) {
    auto body = [&](BoundedTaskGroup& clients) -> Task<> {
        for (;;) {
            auto room = co_await clients.wait_for_room();
            if (!room) co_return;
            auto client = co_await next_client();
            if (!client) break;
            static_cast<void>(clients.try_spawn(name_, serve, std::move(*client)));
        }
        co_await close();
    };
    const GroupOptions options{.name = name_, .on_failure = OnFailure::report};
    auto served = co_await with_bounded_task_group(limit, body, options);
    static_cast<void>(served); // cut short, as it should be
}

// Otherwise this program would keep the queue open without answering it.
Task<> ServiceListener::close() {
    if (!has_left()) co_return;
    auto closed = co_await listener_.close();
    static_cast<void>(closed);
}

void ServiceListener::leave() noexcept {
    listener_.give_away();
    left_.set();
}

} // namespace ringlet
