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
    /// Before it is awaited.
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
    Departures* departures_ = nullptr; // that know of this receive
    bool is_asked_ = false;            // to come back, and go
};

/// How much a handler can tell the handler that comes after it.
inline constexpr std::size_t hand_over_state_limit = 4096;

/// Receives as `stream.recv()`, and says that this connection is at rest meanwhile: if the server's listeners go to
/// the next program (`ServeOptions::hand_over`), the connection goes along instead of holding this program back. The
/// next program calls its handler with it, which asks `handed_over_state` where to go on:
///
///     Task<> serve_user(TcpStream stream) {
///         std::string user(handed_over_state().value_or("")); // empty: to be asked for
///         for (;;) {
///             auto received = co_await recv_or_hand_over(stream, user);
///             if (!received || received->empty()) co_return;
///
/// What has arrived and was not received stays in the socket, and so does what `StreamSocket::set_peer` said: nothing
/// is lost. A handler that calls this nowhere is drained, and so is a connection through TLS, whose keys stay here.
///
/// Lifetime  As `recv()`. The state's bytes are copied when the connection goes: they live until the await has ended.
///           A temporary that owns them does not compile.
/// Thread    The server's own, in the task that serves this connection or one below it. Nothing is sent on the
///           stream meanwhile: a connection that sends does not go.
/// Suspends  Once.
/// Returns   As `recv()`. Beside any server it is `recv()`.
/// Errors    `handed_over`: the connection is the next program's, and `stream` is empty. Return then; it is not
///           counted as a failure. Aborts if the state is longer than `hand_over_state_limit`.
/// Cost      As `recv()`, and two list operations.
[[nodiscard]] RecvOrHandOverAwaiter recv_or_hand_over(StreamSocket& stream,
                                                      std::string_view state = {});
template <class State>
    requires is_temporary_v<State&&>
RecvOrHandOverAwaiter recv_or_hand_over(StreamSocket& stream, State&&) {
    static_assert(std::is_void_v<State>, "recv_or_hand_over borrows the state until it has ended: "
                                         "give the temporary a name, and pass that");
    return recv_or_hand_over(stream);
}

/// What the handler of the program before had said when this connection went; nothing for one that is new.
///
/// Lifetime  Until the task that serves the connection ends.
/// Thread    The server's own, in that task or one below it.
[[nodiscard]] std::optional<std::string_view> handed_over_state() noexcept;

} // namespace ringlet
