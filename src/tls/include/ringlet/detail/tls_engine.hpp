#pragma once

#include <ringlet/buffer.hpp>
#include <ringlet/detail/config.hpp>
#include <ringlet/detail/tls_output.hpp>
#include <ringlet/result.hpp>
#include <ringlet/tls_context.hpp>

#include <cstddef>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <system_error>

struct ssl_st;            // OpenSSL's SSL
struct bio_st;            // and BIO
struct x509_store_ctx_st; // and X509_STORE_CTX

namespace RINGLET_EXPORT ringlet {

/// TLS without I/O: wire bytes go in and come out on one side, plaintext on the other.
///
/// Lifetime  Does not move: OpenSSL refers to it.
/// Thread    One at a time.
class TlsEngine {
public:
    enum class Status : std::uint8_t {
        done,
        wants_input, ///< `feed` it and ask again
        ended,       ///< the peer has said goodbye
        failed,      ///< see `error`
    };

    /// For a server, or for a client of `host`, which may be empty if it is not verified.
    /// Throws `std::bad_alloc`.
    TlsEngine(const TlsContext& context, std::string host);
    TlsEngine(const TlsEngine&) = delete;
    TlsEngine& operator=(const TlsEngine&) = delete;
    ~TlsEngine();

    // ---- the wire

    /// Hands it what has arrived; everything before must be read. Empty: the connection has ended.
    void feed(Buffer arrived) noexcept;
    /// The output to send. A caller that takes it sends all of it or puts it back.
    [[nodiscard]] TlsOutput& output() noexcept { return output_; }

    // ---- the inside

    Status handshake() noexcept;
    /// Whether `read` could return something: there is input, or an end.
    [[nodiscard]] bool may_read() const noexcept;
    /// Reads what is there into `memory`: `done` with at least one byte.
    Status read(std::span<std::byte> memory, std::size_t& read_bytes) noexcept;
    /// Frees OpenSSL's buffers before a wait, if they are empty.
    void release_buffers() noexcept;
    /// Encrypts all the bytes into records.
    std::error_code write(std::span<const std::byte> bytes) noexcept;
    /// Writes the last record, close_notify, once; nothing can be written afterwards.
    void say_goodbye() noexcept;
    /// The output was cut off: nothing more can be written.
    void break_off() noexcept { broken_ = true; }

    // ---- what is known

    [[nodiscard]] bool is_server() const noexcept { return is_server_; }
    /// Whether the handshake has succeeded and nothing has failed since.
    [[nodiscard]] bool is_up() const noexcept { return is_up_ && !error_; }
    /// Whether anything has been read since the handshake.
    [[nodiscard]] bool has_read() const noexcept { return has_read_; }
    [[nodiscard]] bool has_said_goodbye() const noexcept { return said_goodbye_; }
    [[nodiscard]] std::error_code error() const noexcept { return error_; }
    /// What failed, with names; empty if nothing failed.
    [[nodiscard]] const std::string& failure() const noexcept { return failure_; }
    [[nodiscard]] std::string_view version() const noexcept;
    [[nodiscard]] std::string_view cipher() const noexcept;
    [[nodiscard]] std::string_view protocol() const noexcept;
    [[nodiscard]] std::string server_name() const;
    [[nodiscard]] std::string peer_name() const;
    [[nodiscard]] bool was_resumed() const noexcept;
    [[nodiscard]] const TlsContext& context() const noexcept { return context_; }

    // For OpenSSL's callbacks.
    int take_input(std::span<char> memory) noexcept;
    int add_output(std::span<const char> bytes) noexcept;
    void certificate_failed(x509_store_ctx_st* verification) noexcept;
    [[nodiscard]] const std::string& host() const noexcept { return host_; }
    /// What the context had loaded when this engine was created; see `TlsContext::reload`.
    [[nodiscard]] const void* loaded() const noexcept { return loaded_.get(); }

private:
    Status status_of(int returned) noexcept;
    Status fail(std::error_code error, std::string_view text) noexcept;
    Status fail_as_openssl_says() noexcept;
    [[nodiscard]] std::string told_by_openssl() const;
    void write_ticket() noexcept;

    TlsContext context_;
    std::shared_ptr<const void> loaded_;
    std::string host_;
    ssl_st* ssl_ = nullptr;
    bio_st* wire_ = nullptr; // belongs to ssl_
    Buffer input_;
    std::size_t input_taken_bytes_ = 0;
    TlsOutput output_;
    std::error_code error_;
    std::string failure_;
    bool is_server_;
    bool input_ended_ = false;
    bool is_up_ = false;
    bool has_read_ = false;
    bool has_written_ = false;
    bool said_goodbye_ = false;
    bool broken_ = false;
    bool out_of_memory_ = false;
};

} // namespace ringlet
