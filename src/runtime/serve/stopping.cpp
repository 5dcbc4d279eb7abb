#include <ringlet/deadline.hpp>
#include <ringlet/detail/frame_pool.hpp>
#include <ringlet/draining.hpp>
#include <ringlet/error_output.hpp>
#include <ringlet/sleep.hpp>

#include "serve/connection_channel.hpp"
#include "serve/informing.hpp"
#include "serve/server_state.hpp"
#include "serve/stop_signals.hpp"

#include <algorithm>
#include <string>

namespace ringlet {

// The first stop ends the accepting, the second the drain.
void Server::State::stop_up_to(int times) {
    if (times <= stops_) return;
    stops_ = times;
    if (!room.is_shared() && !accept_error_) log_stop(log.get(), times);
    if (phase_) phase_.cancel(CancelReason::shutdown);
}

Task<Result<void>> Server::State::serve() {
    ServiceManager manager;
    if (options.notify_service_manager)
        manager = ServiceManager::of_environment(static_cast<bool>(predecessor_leaving));
    auto body = [this, &manager](TaskGroup& server) -> Task<Result<void>> {
        current_server().set(&here_);
        if (signals) server.spawn("signals", [this] { return watch_signals(); });
        auto& [successors, metrics, backdoor] = services;
        if (successors) server.spawn("hand-over", [this] { return hand_over(); });
        server.spawn("given", [this] { return take_given(); });
        if (arrivals) arriving_ = server.spawn("arrivals", [this] { return receive_arrivals(); });
        if (metrics) server.spawn("metrics", [&service = *metrics] { return service.serve(); });
        if (manager) server.spawn("service manager", [&] { return inform(manager); });
        if (backdoor) server.spawn("backdoor", [&service = *backdoor] { return service.serve(); });
        if (options.idle_timeout.count() > 0) {
            server.spawn("idle timeout", [this] { return end_idle_connections(); });
        }
        auto connections = [&](BoundedTaskGroup& group) {
            return serve_connections(server, group);
        };
        auto served = co_await with_bounded_task_group(
            options.max_connections, connections,
            GroupOptions{.name = "connections", .on_failure = OnFailure::report, .observer = this});
        server.cancel(CancelReason::shutdown);
        co_return served;
    };
    auto served = co_await with_task_group(body, GroupOptions{.name = "server"});
    co_return served;
}

Task<Result<void>> Server::State::serve_connections(TaskGroup& server,
                                                    BoundedTaskGroup& connections) {
    struct NoPhase { // on every way out: the handle is of a task in the server's group
        State& state;
        ~NoPhase() {
            state.phase_ = JoinHandle<void>();
            state.connections_ = nullptr;
            state.room.tell_when_free(nullptr);
        }
    } at_end{*this};
    connections_ = &connections;
    phase_ = server.spawn("accept", [&] { return accept_from_all(connections); });
    if (stops_ > 0) phase_.cancel(CancelReason::shutdown);
    auto accepted = co_await phase_.join();
    static_cast<void>(accepted); // cut short by a stop, as it should be

    here_.draining.set();
    if (arrivals) end_receiving(arrivals.get());
    phase_ = server.spawn("drain", [&] { return drain(connections); });
    if (stops_ > 1) phase_.cancel(CancelReason::shutdown);
    auto drained = co_await phase_.join();
    static_cast<void>(drained);
    auto left = co_await cancelled(); // the loop, not this server

    Result<void> closed;
    for (StreamListener& listener : listeners) {
        if (!listener) continue;
        auto one = co_await listener.close();
        if (closed) closed = one;
    }
    report.cancelled_count = connections.size() + here_.departures.underway_count();
    report.handed_over_count = here_.departures.gone_count();
    connections.cancel(CancelReason::shutdown);
    // A handler may ignore that forever. Leaving the loop destroys it while suspended.
    if (connections.size() > 0) loop->stop();
    if (accept_error_) co_return accept_error_;
    if (left) co_return std::errc::operation_canceled;
    co_return closed;
}

Task<> Server::State::drain(BoundedTaskGroup& connections) {
    auto wait = [this, &connections]() -> Task<Result<void>> {
        auto all = [this, &connections](TaskGroup& group) -> Task<Result<void>> {
            group.spawn("hand over connections", [&] { return move_connections(connections); });
            if (options.drain_spread.count() > 0) {
                group.spawn("rest", [&] { return end_resting_connections(connections); });
            }
            auto served = co_await serve_the_queues(connections);
            if (!served) co_return served;
            auto idle = co_await wait_until_all_have_gone(connections);
            group.cancel();
            co_return idle;
        };
        auto drained = co_await with_task_group(all);
        co_return drained;
    };
    auto drained = co_await with_timeout(options.drain_timeout, wait);
    static_cast<void>(drained); // what is left is cancelled
}

// A connection that is between the programs may come back.
Task<Result<void>> Server::State::wait_until_all_have_gone(BoundedTaskGroup& connections) {
    do {
        if (arriving_) {
            auto arrived = co_await arriving_.join();
            static_cast<void>(arrived);
        }
        auto idle = co_await connections.wait_until_idle();
        if (!idle) co_return idle;
        auto sent = co_await here_.departures.wait_until_sent();
        if (!sent) co_return sent;
    } while (connections.size() > 0);
    co_return Result<void>();
}

Task<> Server::State::move_connections(BoundedTaskGroup& connections) {
    auto keep = [&](StreamSocket stream, HandedOver along) -> Task<> {
        auto local = stream.local();
        const bool is_unix = local && local->is_unix();
        handed_over().set(std::make_shared<const HandedOver>(std::move(along)));
        auto taken = co_await take(connections, std::move(stream), is_unix);
        static_cast<void>(taken);
    };
    co_await here_.departures.send_all(keep);
}

// Serves the clients that wait in the queues, as room allows. No new ones come: the listeners refuse them first. A
// listener that was given away takes its queue along, except for the connections that the kernel has accepted ahead.
Task<Result<void>> Server::State::serve_the_queues(BoundedTaskGroup& connections) {
    for (StreamListener& listener : listeners) {
        listener.stop_accepting();
        if (!is_given_away_) listener.refuse_new();
    }
    // Clients whose handshake is under way get into the queue.
    if (!is_given_away_ && Clock::now() - last_accept_ < busy_time) {
        auto settled = co_await sleep_for(settle_time);
        if (!settled) co_return settled;
    }
    std::vector<Queued> queue;
    for (StreamListener& listener : listeners) {
        empty_the_queue(listener, queue);
        auto closed = co_await listener.close();
        if (!closed) co_return closed;
    }
    for (Queued& waiting : queue) {
        auto room_here = co_await wait_for_room(connections);
        if (!room_here) co_return room_here;
        auto taken = co_await take(connections, std::move(waiting.stream), waiting.is_unix);
        if (!taken) co_return taken;
    }
    co_return Result<void>();
}

void Server::State::empty_the_queue(StreamListener& listener, std::vector<Queued>& queue) {
    const bool is_unix = listener.local().is_unix();
    const auto keep = [&](auto taking, std::size_t limit) -> Result<void> {
        while (queue.size() < limit) {
            auto some = (listener.*taking)(accepts_per_turn);
            if (!some) return some.error();
            if (some->empty()) break;
            for (StreamSocket& stream : *some)
                queue.push_back({.stream = std::move(stream), .is_unix = is_unix});
        }
        return {};
    };
    auto kept = keep(&StreamListener::take_accepted, queue.max_size());
    // New clients still reach a Unix socket: takes no more than its backlog can have held at first.
    const auto backlog = static_cast<std::size_t>(std::max(options.socket.backlog, 1));
    if (kept && !is_given_away_)
        kept = keep(&StreamListener::accept_waiting, queue.size() + backlog);
    if (kept || accept_error_) return; // probably of this listener, and `run` returns it
    loop->report("clients that waited at " + listener.local().to_string() +
                 " are reset: " + kept.error().message());
}

// Ends them evenly, so that their clients do not all connect to another server at once.
Task<> Server::State::end_resting_connections(BoundedTaskGroup& connections) {
    constexpr int steps = 64;
    const Clock::duration spread = saturated(options.drain_spread);
    const std::size_t each = connections.size() / steps + 1;
    for (;;) {
        auto slept = co_await sleep_for(spread / steps);
        if (!slept) co_return;
        loop->end_resting(rest_time, each);
    }
}

Task<> Server::State::end_idle_connections() {
    for (;;) {
        auto slept = co_await sleep_for(saturated(options.idle_timeout) / 4);
        if (!slept) co_return;
        loop->cancel_idle(saturated(options.idle_timeout));
    }
}

Task<> Server::State::hand_over() {
    HandOverSteps steps{
        .offer = [this]() -> Task<Result<std::vector<OfferedListener>>> {
            auto offers = offer();
            co_return offers;
        },
        .pause = [this] { return pause_accepting(); },
        .resume = [this] { resume_accepting(); },
        .leave = [this](UniqueFd channel) { leave_listeners(std::move(channel)); },
        .introduce =
            [this](pid_t successor) {
                is_followed_ = true;
                return introduce(options, successor);
            },
        .services = services.listeners(),
    };
    auto report_it = [this](std::string_view line) { loop->report(line); };
    co_await answer_successors(*services.successors, steps, report_it);
}

Task<> Server::State::watch_signals() {
    for (;;) {
        auto seen = co_await next_signal(*signals, options);
        if (!seen) co_return;
        if (std::ranges::count(options.hook_signals, *seen) > 0) {
            call_hook(*loop, options, *seen, here_.draining.is_set());
        } else if (*seen == options.dump_signal) {
            dump("");
        } else {
            stop();
        }
    }
}

// Written in one piece: other threads may write at the same time.
void Server::State::dump(std::string_view title) const {
    std::string text;
    if (!title.empty()) {
        text = std::string(title) + ": " + std::to_string(report.accepted_count) +
               " connections accepted, " +
               std::to_string(connections_ != nullptr ? connections_->size() : 0) + " live\n";
    }
    text += loop->dump(options.task_list);
    const FramePool::Use use = FramePool::local().in_use();
    text += std::to_string(loop->stats().live_tasks) + " live tasks; " + std::to_string(use.bytes) +
            " bytes in " + std::to_string(use.block_count) + " frames, records and sockets\n";
    write_error(text);
}

} // namespace ringlet
