#include <ringlet/pipe.hpp>

#include <ringlet/error.hpp>

#include "base/kernel.hpp"
#include "net/socket.hpp"

#include <cerrno>
#include <csignal>
#include <ctime>

#include <fcntl.h>
#include <pthread.h>
#include <unistd.h>

namespace ringlet {

// ---- SIGPIPE ------------------------------------------------------------------------------------

// A write to a pipe without a reader raises it, and write(2) has no flag against that (as MSG_NOSIGNAL for a
// socket). The signal goes to the writing thread, where it is blocked, and is consumed when the answer is read.
namespace {

sigset_t only_sigpipe() noexcept {
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, SIGPIPE);
    return set;
}

void block_sigpipe() noexcept {
    thread_local bool is_blocked = false;
    if (is_blocked) return;
    const sigset_t set = only_sigpipe();
    ::pthread_sigmask(SIG_BLOCK, &set, nullptr);
    is_blocked = true;
}

void take_sigpipe_away() noexcept {
    const sigset_t set = only_sigpipe();
    const timespec at_once{};
    while (::sigtimedwait(&set, nullptr, &at_once) < 0 && errno == EINTR) {
    }
}

} // namespace

Result<void> PipeWriteAwaiter::await_resume() {
    auto written = WholeAwaiter::await_resume();
    if (written.error() == std::errc::broken_pipe) take_sigpipe_away();
    return written;
}

Result<std::size_t> PipeWriteSomeAwaiter::await_resume() {
    auto written = TransferAwaiter::await_resume();
    if (written.error() == std::errc::broken_pipe) take_sigpipe_away();
    return written;
}

// ---- reading ------------------------------------------------------------------------------------

PipeReader::PipeReader(UniqueFd fd) : socket_(new Socket(std::move(fd))) {}

Socket& PipeReader::socket() const {
    if (!socket_) [[unlikely]]
        used_empty("a PipeReader");
    return *socket_.get();
}

RecvBufferAwaiter PipeReader::recv() {
    Socket& socket = this->socket();
    socket.configure(socket.inbound, Opcode::read_buffer, nullptr, Buffer::capacity_bytes);
    return {socket, socket.inbound};
}

TransferAwaiter PipeReader::recv(std::span<std::byte> memory) {
    RINGLET_ASSERT(!memory.empty(), "recv into no memory: 0 bytes would look like the end");
    Socket& socket = this->socket();
    socket.configure(socket.inbound, Opcode::read_some, memory.data(), memory.size());
    return {socket, socket.inbound};
}

WholeAwaiter PipeReader::recv_exactly(std::span<std::byte> memory) {
    Socket& socket = this->socket();
    socket.configure(socket.inbound, Opcode::read_some, memory.data(), memory.size(),
                     Operation::Extent::whole);
    return {socket, socket.inbound};
}

CloseAwaiter PipeReader::close() { return CloseAwaiter(std::move(socket_)); }

int PipeReader::native_handle() const noexcept { return socket().fd(); }

// ---- writing ------------------------------------------------------------------------------------

PipeWriter::PipeWriter(UniqueFd fd) : socket_(new Socket(std::move(fd))) {}

Socket& PipeWriter::socket() const {
    if (!socket_) [[unlikely]]
        used_empty("a PipeWriter");
    return *socket_.get();
}

namespace {

void configure_write(Socket& socket, std::span<const std::byte> bytes, Operation::Extent extent) {
    block_sigpipe();
    socket.configure(socket.outbound, Opcode::write, const_cast<std::byte*>(bytes.data()),
                     bytes.size(), extent);
}

} // namespace

PipeWriteSomeAwaiter PipeWriter::send_some(std::span<const std::byte> bytes) {
    Socket& socket = this->socket();
    configure_write(socket, bytes, Operation::Extent::some);
    return {socket, socket.outbound};
}

PipeWriteAwaiter PipeWriter::send_all(std::span<const std::byte> bytes) {
    Socket& socket = this->socket();
    configure_write(socket, bytes, Operation::Extent::whole);
    return {socket, socket.outbound};
}

Task<Result<void>> PipeWriter::send_all(std::span<const Piece> pieces) {
    for (const Piece& piece : pieces) {
        auto sent = co_await send_all(piece.bytes());
        if (!sent) co_return sent;
    }
    co_return Result<void>();
}

CloseAwaiter PipeWriter::close() { return CloseAwaiter(std::move(socket_)); }

int PipeWriter::native_handle() const noexcept { return socket().fd(); }

// ---- making -------------------------------------------------------------------------------------

Result<std::pair<PipeReader, PipeWriter>> make_pipe() {
    auto fds = Kernel::of_this_thread().open_pipe();
    if (!fds) return fds.error();
    return std::pair(PipeReader(std::move(fds->first)), PipeWriter(std::move(fds->second)));
}

namespace {

template <class End>
Result<End> another_name_of(int fd) {
    UniqueFd copy(::fcntl(fd, F_DUPFD_CLOEXEC, 3));
    if (!copy) return error_from_errno(errno);
    return End(std::move(copy));
}

} // namespace

Result<PipeReader> standard_input() { return another_name_of<PipeReader>(STDIN_FILENO); }
Result<PipeWriter> standard_output() { return another_name_of<PipeWriter>(STDOUT_FILENO); }
Result<PipeWriter> standard_error() { return another_name_of<PipeWriter>(STDERR_FILENO); }

} // namespace ringlet
