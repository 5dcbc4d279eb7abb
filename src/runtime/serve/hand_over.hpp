#pragma once

// How the listeners of a server go to the next program, over a Unix socket.
//
//     new program                        old program
//       take         ------------------>                     it has made its loops, and read its certificates
//                    <------------------  listeners           of the same sockets: both could accept
//       ready        ------------------>                     it would serve at once
//                    <------------------  yours              the old one accepts no more
//       serving      ------------------>  drains             it accepts
//                    <==================  connections at rest, through a channel that came with `yours`
//
// If the new program fails before `serving`, nothing has changed: the old one continues.

#include <ringlet/endpoint.hpp>
#include <ringlet/result.hpp>
#include <ringlet/server.hpp>
#include <ringlet/stream_listener.hpp>
#include <ringlet/task.hpp>
#include <ringlet/unique_fd.hpp>

#include "net/socket_file.hpp"
#include "serve/service_listener.hpp"

#include <chrono>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include <sys/types.h>

namespace ringlet {

class GivenSockets;

/// How long each side waits for the other's next word.
inline constexpr std::chrono::seconds hand_over_patience{5};

/// A listening socket, and where it listens.
struct OfferedListener {
    std::string address;
    UniqueFd fd;
    std::string service = {}; // empty: the server itself; or as it was given, `fd:NUMBER:NAME`

    /// Whether it is from a service manager, which then owns its file.
    [[nodiscard]] bool is_given() const noexcept { return service.starts_with(given_prefix); }
    static constexpr std::string_view given_prefix = "fd:";
};

/// The new program's side, which blocks: nothing is served yet.
class TakeOver {
public:
    /// Asks the program that serves at this socket. Empty: there is none.
    ///
    /// Errors    `hand_over_busy`: another program is taking over. `permission_denied`: it belongs to another
    ///           user. `timed_out`; `protocol_error`.
    static Result<std::optional<TakeOver>> ask(const Endpoint& at);

    /// The sockets offered for this address and service; port 0 takes any port of its host. Their files remain
    /// the old program's until `say_serving`.
    Result<std::vector<StreamListener>> take(const Endpoint& address,
                                             std::string_view service = {});
    /// Passes on those that a service manager gave to the old program, and that were not taken by address.
    void give(GivenSockets& given);

    /// Everything is ready: the old program stops accepting. Once.
    Result<void> begin();
    /// The channel for connections of the old program, after `begin`; none if it has ended meanwhile.
    UniqueFd take_channel() noexcept { return std::move(channel_); }
    /// Becomes readable when the old program has left or ended: for `wait_for_predecessor`.
    [[nodiscard]] UniqueFd leaving() const;
    /// Tells the old program that the first accept has begun.
    void say_serving() noexcept;

private:
    explicit TakeOver(UniqueFd control) noexcept : control_(std::move(control)) {}
    static Result<std::optional<TakeOver>> ask_once(const Endpoint& at);
    Result<void> say(std::string_view word);
    Result<void> expect(std::string_view word, std::vector<UniqueFd>& descriptors);
    Result<void> receive_offers();
    [[nodiscard]] std::vector<OfferedListener> take_offers(const Endpoint& address,
                                                           std::string_view service);
    Result<std::size_t> receive(std::span<char> bytes, std::vector<UniqueFd>& descriptors);

    UniqueFd control_;
    std::vector<OfferedListener> offers_;
    std::vector<std::shared_ptr<SocketFile>> files_; // ours once we serve
    std::string received_;
    UniqueFd channel_;
    bool has_begun_ = false;
};

/// Returns when the old program has left, at the latest after `hand_over_patience`; at once if there was none.
///
/// Errors    `operation_canceled`, and no other.
Task<Result<void>> wait_for_predecessor(UniqueFd& leaving);

/// What the old program does for a hand-over.
struct HandOverSteps {
    std::function<Task<Result<std::vector<OfferedListener>>>()> offer;
    std::function<Task<Result<void>>()> pause; ///< stops accepting, with no accept left in flight
    std::function<void()> resume;
    /// Drains; the listeners belong to the successor, and connections at rest go there through `channel`.
    std::function<void(UniqueFd channel)> leave;
    /// Tells the service manager which process serves from now on.
    std::function<Task<>(pid_t successor)> introduce;
    /// Services that are handed over as well.
    std::vector<ServiceListener*> services;
};

/// What a server with `ServeOptions::hand_over` begins with: what it takes over, and where the next program asks.
struct HandOverStart {
    std::optional<TakeOver> taken;
    std::optional<StreamListener> successors;
};

/// Errors    `hand_over_busy`; `hand_over_unavailable`, and `LoopOptions::report` got the reason.
Result<HandOverStart> start_hand_over(const ServeOptions& options);
/// The same for a `begin` that failed.
std::error_code hand_over_failed(const ServeOptions& options, std::error_code why);

/// The old program's side: a task beside the server, until a new program serves.
Task<> answer_successors(ServiceListener& listener, HandOverSteps& steps,
                         std::function<void(std::string_view)> report);

} // namespace ringlet
