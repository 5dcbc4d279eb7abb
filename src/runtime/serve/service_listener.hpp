#pragma once

// Accepts for a service beside the server's own connections: metrics, commands, the next program. No error, known or
// not and however long it lasts, ends the service or makes it spin. At a hand-over one program answers at a time, and
// every client that has asked gets an answer.

#include <ringlet/endpoint.hpp>
#include <ringlet/event.hpp>
#include <ringlet/result.hpp>
#include <ringlet/stream_listener.hpp>
#include <ringlet/stream_socket.hpp>
#include <ringlet/task.hpp>
#include <ringlet/unique_fd.hpp>

#include <cstddef>
#include <functional>
#include <utility>

namespace ringlet {

class TakeOver;

/// The names of services.
inline constexpr const char* hand_over_service = "hand-over";
inline constexpr const char* metrics_service = "metrics";
inline constexpr const char* backdoor_service = "backdoor";

/// Lifetime  Outlives what awaits on it.
/// Thread    The one of the loop that it serves on.
class ServiceListener {
public:
    /// The previous program's listener, if it offered one; else a new one.
    static Result<StreamListener> take_or_bind(const Endpoint& address, const char* name,
                                               const ListenOptions& options, TakeOver* taken);

    /// `name` is the name of the service, of its tasks, and in a hand-over.
    ServiceListener(StreamListener listener, const char* name);

    [[nodiscard]] const char* name() const noexcept { return name_; }
    [[nodiscard]] const Endpoint& address() const noexcept { return address_; }

    /// Serves no client before the previous program has left. `leaving` is from `TakeOver::leaving`.
    void wait_for(UniqueFd leaving) noexcept { predecessor_leaving_ = std::move(leaving); }

    /// The next client. Not by `accept`: with direct descriptors that would take a slot of the ring's table.
    ///
    /// Suspends  Until one comes. After an error it waits, each time longer, up to `Server::accept_pause_limit`.
    /// Cancel    Ends with `operation_canceled`.
    /// Errors    `operation_canceled` after `leave`, too, and no other.
    Task<Result<StreamSocket>> next_client();

    /// Serves clients until it is cancelled, `limit` at a time; the others wait in the listener's queue. After `leave`,
    /// until those being served have gone.
    Task<> serve_clients(std::size_t limit, std::function<Task<>(StreamSocket)> serve);

    /// For the next program, which answers here from `leave` on.
    [[nodiscard]] Result<UniqueFd> duplicate() const { return listener_.duplicate(); }
    void leave() noexcept;
    [[nodiscard]] bool has_left() const noexcept { return left_.is_set(); }
    /// After `leave`, when no task waits for a client any more.
    Task<> close();

private:
    StreamListener listener_;
    Endpoint address_;
    const char* name_;
    UniqueFd predecessor_leaving_;
    Event left_{"the next program"};
};

} // namespace ringlet
