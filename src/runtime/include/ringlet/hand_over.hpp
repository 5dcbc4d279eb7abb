#pragma once

#include <ringlet/detail/config.hpp>
#include <ringlet/detail/intrusive_list.hpp>
#include <ringlet/detail/socket_handle.hpp>
#include <ringlet/piece.hpp>
#include <ringlet/stream_socket.hpp>

#include <coroutine>
#include <cstddef>
#include <optional>
#include <string_view>
#include <type_traits>

namespace ringlet { // not exported: a private class
class Departures;
} // namespace ringlet

namespace RINGLET_EXPORT ringlet {

/// What `recv_or_hand_over` returns; await it at once.
class [[nodiscard]] RecvOrHandOverAwaiter final : public RecvBufferAwaiter, public ListHook {
public:
    RecvOrHandOverAwaiter(StreamSocket& stream, std::string_view state);
    /// Copy it only before it is awaited.
    RecvOrHandOverAwaiter(const RecvOrHandOverAwaiter& other) noexcept
        : RecvBufferAwaiter(other), ListHook(), stream_(other.stream_), state_(other.state_) {}
    RecvOrHandOverAwaiter& operator=(const RecvOrHandOverAwaiter&) = delete;
    ~RecvOrHandOverAwaiter() {
        if (departures_ != nullptr) forget();
    }

    template <class P>
    bool await_suspend(std::coroutine_handle<P> waiter) {
        return suspend_at_rest(scope_of(waiter), waiter);
    }
    Result<Buffer> await_resume();

private:
    friend class Departures;
    bool suspend_at_rest(CancelScope& scope, std::coroutine_handle<> waiter);
    void forget() noexcept;

    StreamSocket* stream_;
    std::string_view state_;
    Departures* departures_ = nullptr; // the list that this receive is in
    bool is_asked_ = false;            // to end, so that the connection can go
};

/// The most that a handler can pass to its successor, in bytes.
inline constexpr std::size_t hand_over_state_limit = 4096;

/// Receives as `stream.recv()`, and marks the connection as at rest meanwhile. If the server's listeners go to the next
/// program (`ServeOptions::hand_over`), the connection goes along instead of delaying the end of this program. The
/// next program calls its handler with the connection, and the handler asks `handed_over_state` where to continue:
///
///     Task<> serve_user(TcpStream stream) {
///         std::string user(handed_over_state().value_or("")); // empty: ask for it
///         for (;;) {
///             auto received = co_await recv_or_hand_over(stream, user);
///             if (!received || received->empty()) co_return;
///
/// Nothing is lost: bytes that have arrived but were not received stay in the socket, and the peer that was set by
/// `StreamSocket::set_peer` goes along. A handler that never calls this is drained. So is a TLS connection, since its
/// keys stay here.
///
/// Lifetime  As `recv()`. The bytes of the state are copied when the connection goes, so they must live until the await
///           has ended. A temporary that owns them does not compile.
/// Thread    The server's own, in the task that serves this connection or one below it. Send nothing on the stream
///           meanwhile: a connection that is sending does not go.
/// Suspends  Once.
/// Returns   As `recv()`. Outside a server it is `recv()`.
/// Errors    `handed_over`: the connection belongs to the next program, and `stream` is empty. Return then; it is not
///           counted as a failure. Aborts if the state is longer than `hand_over_state_limit`.
/// Cost      As `recv()`, plus two list operations.
[[nodiscard]] RecvOrHandOverAwaiter recv_or_hand_over(StreamSocket& stream,
                                                      std::string_view state = {});
template <class State>
    requires is_temporary_v<State&&>
RecvOrHandOverAwaiter recv_or_hand_over(StreamSocket& stream, State&&) {
    static_assert(std::is_void_v<State>, "recv_or_hand_over borrows the state until it has ended: "
                                         "give the temporary a name, and pass that");
    return recv_or_hand_over(stream);
}

/// The state that the previous program's handler gave when this connection left it; nothing for a new connection.
///
/// Lifetime  Until the task that serves the connection ends.
/// Thread    The server's own, in that task or one below it.
[[nodiscard]] std::optional<std::string_view> handed_over_state() noexcept;

} // namespace ringlet
