#pragma once

#include <ringlet/detail/config.hpp>
#include <ringlet/endpoint.hpp>
#include <ringlet/result.hpp>
#include <ringlet/stream_listener.hpp>
#include <ringlet/unix_stream.hpp>

#include <utility>

namespace RINGLET_EXPORT ringlet {

/// A Unix socket that accepts connections: a `StreamListener` that gives a `UnixStream`.
///
///     auto listener = UnixListener::bind(Endpoint::parse("unix:/run/echo.sock").value());
class UnixListener : public StreamListener {
public:
    /// Binds and listens. The file is made with `ListenOptions::mode`. A socket file without a listener, left by a
    /// server that was killed, is replaced; nothing else is.
    ///
    /// Suspends  Never.
    /// Errors    `address_in_use`: another listener has it, or the file there is not a socket.
    ///           `permission_denied`, `no_such_file_or_directory`: of the folder.
    ///           `address_family_not_supported` for another kind of address.
    static Result<UnixListener> bind(const Endpoint& endpoint, const ListenOptions& options = {});

    /// Owns nothing; every use of it aborts.
    UnixListener() noexcept = default;

    /// As `StreamListener::accept`: a `Result<UnixStream>`.
    [[nodiscard]] AcceptAwaiter<UnixStream> accept() { return accept_as<UnixStream>(); }

private:
    explicit UnixListener(StreamListener listener) noexcept : StreamListener(std::move(listener)) {}
};

} // namespace ringlet
