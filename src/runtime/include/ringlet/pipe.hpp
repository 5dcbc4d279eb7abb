#pragma once

#include <ringlet/buffer.hpp>
#include <ringlet/detail/config.hpp>
#include <ringlet/detail/socket_handle.hpp>
#include <ringlet/piece.hpp>
#include <ringlet/result.hpp>
#include <ringlet/task.hpp>
#include <ringlet/unique_fd.hpp>

#include <cstddef>
#include <span>
#include <string_view>
#include <utility>

namespace RINGLET_EXPORT ringlet {

/// The end of a pipe, a terminal or something like it that bytes come from: a `ByteSource`.
///
/// Lifetime  Owns the descriptor; see `StreamSocket`.
/// Thread    The loop on which it is first used. One read at a time (asserted).
/// Errors    Every operation may also end with `operation_canceled`.
class PipeReader {
public:
    /// Owns nothing; every use of it aborts.
    PipeReader() noexcept = default;
    /// Takes over a descriptor, blocking mode.
    explicit PipeReader(UniqueFd fd);

    /// Reads what has arrived, waiting for the first byte: see `StreamSocket::recv`. Empty: no writer is left.
    [[nodiscard]] RecvBufferAwaiter recv();
    [[nodiscard]] TransferAwaiter recv(std::span<std::byte> memory);
    [[nodiscard]] WholeAwaiter recv_exactly(std::span<std::byte> memory);

    /// Closes it, and waits until what was lent to the kernel has come back: see `StreamSocket::close`.
    [[nodiscard]] CloseAwaiter close();

    /// False after a move or `close`.
    [[nodiscard]] explicit operator bool() const noexcept { return static_cast<bool>(socket_); }
    /// The descriptor. Do not close, read or write it.
    [[nodiscard]] int native_handle() const noexcept;

private:
    Socket& socket() const;

    SocketHandle socket_;
};

/// Returns the outcome of a write, and consumes the signal that accompanies a broken pipe.
class [[nodiscard]] PipeWriteAwaiter final : public WholeAwaiter {
public:
    using WholeAwaiter::WholeAwaiter;
    Result<void> await_resume();
};
/// The same for a part.
class [[nodiscard]] PipeWriteSomeAwaiter final : public TransferAwaiter {
public:
    using TransferAwaiter::TransferAwaiter;
    Result<std::size_t> await_resume();
};

/// The end of a pipe, a terminal or something like it that takes bytes: a `ByteSink`.
///
/// Lifetime  Owns the descriptor; see `StreamSocket`.
/// Thread    The loop on which it is first used. One write at a time (asserted). SIGPIPE is blocked on that thread from
///           the first write on: a write to a pipe without a reader ends with `broken_pipe`.
/// Errors    Every operation may also end with `operation_canceled`.
class PipeWriter {
public:
    /// Owns nothing; every use of it aborts.
    PipeWriter() noexcept = default;
    /// Takes over a descriptor, blocking mode.
    explicit PipeWriter(UniqueFd fd);

    /// Writes what fits now, waiting until something does: see `StreamSocket::send_some`.
    [[nodiscard]] PipeWriteSomeAwaiter send_some(std::span<const std::byte> bytes);
    /// Writes everything: see `StreamSocket::send_all`. The bytes are lent until the await ends.
    [[nodiscard]] PipeWriteAwaiter send_all(std::span<const std::byte> bytes);
    [[nodiscard]] PipeWriteAwaiter send_all(std::string_view text) {
        return send_all(std::as_bytes(std::span(text)));
    }
    [[nodiscard]] Task<Result<void>> send_all(std::span<const Piece> pieces);
    template <class Bytes>
        requires is_temporary_v<Bytes&&>
    PipeWriteAwaiter send_all(Bytes&&) {
        static_assert(std::is_void_v<Bytes>,
                      "send_all borrows the bytes until it has ended: give the temporary a name, "
                      "and send that");
        return send_all(std::string_view());
    }

    /// Closes it: the reader sees the end. See `StreamSocket::close`.
    [[nodiscard]] CloseAwaiter close();

    /// False after a move or `close`.
    [[nodiscard]] explicit operator bool() const noexcept { return static_cast<bool>(socket_); }
    /// The descriptor. Do not close, read or write it.
    [[nodiscard]] int native_handle() const noexcept;

private:
    Socket& socket() const;

    SocketHandle socket_;
};

/// Makes a pipe (pipe(2)). In a simulation it is part of the simulated network and cannot be given to a child process.
///
/// Errors    `too_many_files_open`.
Result<std::pair<PipeReader, PipeWriter>> make_pipe();

/// Another name of the descriptor 0, 1 or 2 of this program (dup(2)), to read or write with the loop: a pipe, a
/// terminal, a file, whatever the program was given. Its mode is left alone, because other programs share it.
///
/// Errors    `bad_file_descriptor` if the program was started without it; `too_many_files_open`.
Result<PipeReader> standard_input();
Result<PipeWriter> standard_output();
Result<PipeWriter> standard_error();

} // namespace ringlet
