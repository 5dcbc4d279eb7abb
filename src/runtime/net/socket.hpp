#pragma once

// What a stream or a listener is inside: a descriptor and the requests that may be in flight on it.
// It keeps the promise that the descriptor and the requests outlive the kernel's interest in them,
// whatever becomes of the handle.

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
            UniqueFd(descriptor_.fd()).reset(); // a direct one has gone with its loop
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
    /// The same of more than a descriptor: `call(kernel, fd)`.
    template <class Call>
    [[nodiscard]] auto ask(Call call) const {
        Kernel& kernel = Kernel::of_this_thread();
        return with_fd(descriptor_, use_.loop, [&](int fd) { return call(kernel, fd); });
    }

    /// Whether the peer has neither said anything that was not received, nor ended: see `Kernel::is_idle`.
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

    /// Describes the next request in one direction. Aborts with the names of both tasks when one is in
    /// flight already.
    void configure(Operation& operation, Opcode opcode, void* bytes, std::size_t size_bytes,
                   Operation::Extent extent = Operation::Extent::some) {
        if (operation.state != Operation::State::idle) [[unlikely]]
            two_at_once(operation, opcode);
        operation.configure(opcode, descriptor_, bytes, size_bytes, extent);
    }

    /// Starts a request; false when it was refused and its answer is there already.
    [[nodiscard]] bool start(Operation& operation, CancelScope& scope,
                             std::coroutine_handle<> waiter) {
        if (operation.state != Operation::State::idle) [[unlikely]]
            two_at_once(operation, operation.opcode); // made before one was awaited
        if (use_.loop != scope.loop) [[unlikely]]
            use_on(*scope.loop);
        return scope.loop->start(operation, scope, waiter);
    }

    /// An answer has been read: ends the socket, or lets its closer go on, if it was the last.
    void answered() noexcept {
        if (ending_ != Ending::no) [[unlikely]]
            end_if_idle();
    }

    /// No request is in flight, and no answer waits to be read.
    [[nodiscard]] bool is_idle() const noexcept {
        return inbound.state == Operation::State::idle && outbound.state == Operation::State::idle;
    }

    void cancel_requests() noexcept;
    /// Of a listener: as `Ring::take_accepted` and `Ring::stop_accepting`.
    [[nodiscard]] UniqueFd take_accepted() const {
        return use_.loop != nullptr ? use_.loop->take_accepted(fd()) : UniqueFd();
    }
    void stop_accepting() const noexcept {
        if (use_.loop != nullptr) use_.loop->stop_accepting(fd());
    }
    void cancel_receive() noexcept { use_.loop->cancel(inbound, ECANCELED); }

    /// Something of it is not in the kernel's socket: what is being sent, or was received for nobody yet.
    [[nodiscard]] bool keeps_to_its_ring() const noexcept {
        return outbound.state != Operation::State::idle || use_.loop->receives_ahead();
    }

    /// Where the other side is: what `name_peer` said last, or the kernel knows.
    [[nodiscard]] Result<Endpoint> peer() const;
    void name_peer(const Endpoint& peer);
    [[nodiscard]] std::optional<Endpoint> named_peer() const;

    void limit_idle_time() noexcept;

    /// Makes `closer` ready when the socket is idle; null: nobody waits for that any more.
    void tell_when_idle(Wait* closer) noexcept {
        closer_ = closer;
        ending_ = closer != nullptr ? Ending::awaited : Ending::no;
    }

    /// The owner is gone: closes as soon as the socket is idle, at once if it is.
    void drop() noexcept;

private:
    // What the last answer brings about: its closer goes on, or the socket goes.
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

/// Puts a connection, on which nothing is in flight, into the table of a loop's ring: it is no descriptor of the process
/// any more. If there is no place it stays what it was.
void keep_in_table(LoopCore& loop, StreamSocket& stream);

/// Another name of a connection among the descriptors of the process, whether it has one there or not.
Result<UniqueFd> another_descriptor_of(const StreamSocket& stream);

/// Aborts: somebody used what owns nothing, and the message names the task that did.
[[noreturn, gnu::cold]] void used_empty(const char* what);

/// Opens a TCP socket for addresses of this kind, with TCP_NODELAY if asked for.
Result<UniqueFd> open_tcp_socket(int family, bool no_delay, const Liveness& liveness);
/// Gives a TCP socket that is open already the same options.
Result<void> set_tcp_options(int fd, bool no_delay, const Liveness& liveness);

} // namespace ringlet
