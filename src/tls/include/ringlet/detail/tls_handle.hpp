#pragma once

#include <ringlet/byte_stream.hpp>
#include <ringlet/detail/config.hpp>

#include <utility>

namespace RINGLET_EXPORT ringlet {

template <ByteStream Transport>
class TlsConnection;

/// One holder of a connection: the stream, or an operation in progress.
template <ByteStream Transport>
class TlsHandle {
public:
    TlsHandle() noexcept = default;
    explicit TlsHandle(TlsConnection<Transport>* connection) noexcept : connection_(connection) {
        if (connection_ != nullptr) ++connection_->holder_count;
    }
    TlsHandle(const TlsHandle& other) noexcept : TlsHandle(other.connection_) {}
    TlsHandle(TlsHandle&& other) noexcept
        : connection_(std::exchange(other.connection_, nullptr)) {}
    TlsHandle& operator=(TlsHandle other) noexcept {
        std::swap(connection_, other.connection_);
        return *this;
    }
    ~TlsHandle() {
        if (connection_ != nullptr && --connection_->holder_count == 0) delete connection_;
    }

    TlsConnection<Transport>* operator->() const noexcept { return connection_; }
    TlsConnection<Transport>& operator*() const noexcept { return *connection_; }
    [[nodiscard]] TlsConnection<Transport>* get() const noexcept { return connection_; }
    explicit operator bool() const noexcept { return connection_ != nullptr; }

private:
    TlsConnection<Transport>* connection_ = nullptr;
};

} // namespace ringlet
