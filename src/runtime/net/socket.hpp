#pragma once

// The inside of a stream or a listener: a descriptor and the requests that may be in flight on it.
// It keeps the promise that the descriptor and the requests live until the kernel is done with
// them, whatever happens to the handle.

#include <ringlet/detail/frame_pool.hpp>
#include <ringlet/detail/loop_core.hpp>
#include <ringlet/detail/operation.hpp>
#include <ringlet/detail/socket_handle.hpp>
#include <ringlet/endpoint.hpp>
#include <ringlet/liveness.hpp>
#include <ringlet/stream_socket.hpp>
#include <ringlet/unique_fd.hpp>

#include "base/kernel.hpp"

#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>

namespace ringlet {

class Socket : public Pooled {
public:
    explicit Socket(UniqueFd fd) noexcept : descriptor_(fd.release()) {}
    /// For a direct descriptor of this loop's ring.
    Socket(Descriptor descriptor, LoopCore& loop) noexcept : descriptor_(descriptor) {
        loop.use_descriptor(use_);
    }
    Socket(const Socket&) = delete;
    Socket& operator=(const Socket&) = delete;
    ~Socket() {
        if (has_named_peer_) [[unlikely]]
            forget_named_peer();
        if (use_.loop != nullptr) {
            use_.loop->close(descriptor_, use_);
        } else {
            UniqueFd(descriptor_.fd()).reset(); // a direct one was closed with its loop
        }
    }

    /// The descriptor of the process; -1 for a direct one.
    [[nodiscard]] int fd() const noexcept { return descriptor_.fd(); }

    /// Asks the kernel: `(kernel.*call)(fd)`.
    template <class Answer>
    [[nodiscard]] Answer ask(Answer (Kernel::*call)(int)) const {
        Kernel& kernel = Kernel::of_this_thread();
        return with_fd(descriptor_, use_.loop, [&](int fd) { return (kernel.*call)(fd); });
    }
    /// The same for a call with more arguments: `call(kernel, fd)`.
    template <class Call>
    [[nodiscard]] auto ask(Call call) const {
        Kernel& kernel = Kernel::of_this_thread();
        return with_fd(descriptor_, use_.loop, [&](int fd) { return call(kernel, fd); });
    }

    /// Whether nothing unreceived has arrived, neither bytes nor the end: see `Kernel::is_idle`.
    [[nodiscard]] Result<bool> ask_idle() const {
        if (use_.loop != nullptr && use_.loop->has_received(descriptor_)) return false;
        return ask(&Kernel::is_idle);
    }

    /// Sends what there is room for now.
    [[nodiscard]] Result<std::size_t> send_now(std::span<const std::byte> bytes) const {
        auto sent = ask([bytes](Kernel& kernel, int fd) { return kernel.send_now(fd, bytes); });
        if (sent && use_.loop != nullptr) use_.loop->note_sent_bytes(*sent);
        return sent;
    }

    /// The request in each direction: a listener accepts on the inbound one, connect uses the
    /// outbound one.
    Operation inbound;
    Operation outbound;

    /// Describes the next request in one direction. Aborts with the names of both tasks if one is
    /// already in flight.
    void configure(Operation& operation, Opcode opcode, void* bytes, std::size_t size_bytes,
                   Operation::Extent extent = Operation::Extent::some) {
        if (operation.state != Operation::State::idle) [[unlikely]]
            two_at_once(operation, opcode);
        operation.configure(opcode, descriptor_, bytes, size_bytes, extent);
    }

    /// Starts a request; false if it was refused and its answer is already there.
    [[nodiscard]] bool start(Operation& operation, CancelScope& scope,
                             std::coroutine_handle<> waiter) {
        if (operation.state != Operation::State::idle) [[unlikely]]
            two_at_once(operation, operation.opcode); // made before one was awaited
        if (use_.loop != scope.loop) [[unlikely]]
            use_on(*scope.loop);
        return scope.loop->start(operation, scope, waiter);
    }

    /// An answer has been read: if it was the last, ends the socket or resumes its closer.
    void answered() noexcept {
        if (ending_ != Ending::no) [[unlikely]]
            end_if_idle();
    }

    /// No request is in flight, and no answer waits to be read.
    [[nodiscard]] bool is_idle() const noexcept {
        return inbound.state == Operation::State::idle && outbound.state == Operation::State::idle;
    }

    void cancel_requests() noexcept;
    /// For a listener: as `Ring::take_accepted` and `Ring::stop_accepting`.
    [[nodiscard]] UniqueFd take_accepted() const {
        return use_.loop != nullptr ? use_.loop->take_accepted(fd()) : UniqueFd();
    }
    void stop_accepting() const noexcept {
        if (use_.loop != nullptr) use_.loop->stop_accepting(fd());
    }
    void cancel_receive() noexcept { use_.loop->cancel(inbound, ECANCELED); }

    /// Whether some of its data is not in the kernel's socket: being sent, or received ahead by the ring.
    [[nodiscard]] bool keeps_to_its_ring() const noexcept {
        return outbound.state != Operation::State::idle || use_.loop->receives_ahead();
    }

    /// The peer's address: the one given to `name_peer` last, or else the kernel's.
    [[nodiscard]] Result<Endpoint> peer() const;
    void name_peer(const Endpoint& peer);
    [[nodiscard]] std::optional<Endpoint> named_peer() const;

    void limit_idle_time() noexcept;

    /// Makes `closer` ready when the socket is idle; null: no task waits for that any more.
    void tell_when_idle(Wait* closer) noexcept {
        closer_ = closer;
        ending_ = closer != nullptr ? Ending::awaited : Ending::no;
    }

    /// The owner is gone: closes the socket as soon as it is idle, which may be now.
    void drop() noexcept;

private:
    // What the last answer leads to: the closer is resumed, or the socket is destroyed.
    enum class Ending : std::uint8_t { no, awaited, dropped };

    void use_on(LoopCore& loop);
    void end_if_idle() noexcept;
    void forget_named_peer() const noexcept;
    [[noreturn, gnu::cold]] static void two_at_once(const Operation& first, Opcode second);

    Descriptor descriptor_; // owned
    Ending ending_ = Ending::no;
    bool has_named_peer_ = false; // in `named_peers`; here it makes no socket larger
    DescriptorUse use_;           // since the first request
    Wait* closer_ = nullptr;
};

/// Moves a connection, on which nothing is in flight, into the table of a loop's ring, so it no longer uses a
/// descriptor of the process. If the table is full, it stays as it was.
void keep_in_table(LoopCore& loop, StreamSocket& stream);

/// Another descriptor of the process for a connection, even if it is a direct one.
Result<UniqueFd> another_descriptor_of(const StreamSocket& stream);

/// Aborts because an empty handle was used; the message names the task that used it.
[[noreturn, gnu::cold]] void used_empty(const char* what);

/// Opens a TCP socket for addresses of this kind, with TCP_NODELAY if asked for.
Result<UniqueFd> open_tcp_socket(int family, bool no_delay, const Liveness& liveness);
/// Gives a TCP socket that is already open the same options.
Result<void> set_tcp_options(int fd, bool no_delay, const Liveness& liveness);

} // namespace ringlet
