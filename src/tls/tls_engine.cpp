#include <ringlet/detail/tls_engine.hpp>

#include <ringlet/detail/assert.hpp>
#include <ringlet/error.hpp>

#include "context_state.hpp"
#include "openssl.hpp"

#include <algorithm>
#include <array>
#include <cstring>
#include <new>

#include <openssl/bio.h>

namespace ringlet {

// ---- the wire, as OpenSSL sees it ---------------------------------------------------------------

namespace {

TlsEngine& engine_behind(BIO* bio) noexcept { return *static_cast<TlsEngine*>(BIO_get_data(bio)); }

int bio_read(BIO* bio, char* memory, int size) {
    BIO_clear_retry_flags(bio);
    const int taken = engine_behind(bio).take_input({memory, static_cast<std::size_t>(size)});
    if (taken < 0) BIO_set_retry_read(bio);
    return taken;
}

int bio_write(BIO* bio, const char* bytes, int size) {
    BIO_clear_retry_flags(bio);
    return engine_behind(bio).add_output({bytes, static_cast<std::size_t>(size)});
}

long bio_control(BIO* bio, int command, long, void*) {
    switch (command) {
    case BIO_CTRL_FLUSH: return 1;
    case BIO_CTRL_EOF: return engine_behind(bio).take_input({}) == 0 ? 1 : 0;
    default: return 0;
    }
}

const BIO_METHOD* wire_method() {
    static const Owned<BIO_METHOD, BIO_meth_free> method = [] {
        Owned<BIO_METHOD, BIO_meth_free> made(
            BIO_meth_new(BIO_get_new_index() | BIO_TYPE_SOURCE_SINK, "ringlet"));
        if (made == nullptr) throw std::bad_alloc();
        BIO_meth_set_read(made.get(), bio_read);
        BIO_meth_set_write(made.get(), bio_write);
        BIO_meth_set_ctrl(made.get(), bio_control);
        return made;
    }();
    return method.get();
}

} // namespace

// Returns -1 if there is nothing yet, and 0 if nothing will come.
int TlsEngine::take_input(std::span<char> memory) noexcept {
    const std::size_t there = input_.size() - input_taken_bytes_;
    if (there == 0) return input_ended_ ? 0 : -1;
    const std::size_t size = std::min(there, memory.size());
    if (size == 0) return -1; // a query: nothing was to be read
    std::memcpy(memory.data(), input_.data() + input_taken_bytes_, size);
    input_taken_bytes_ += size;
    if (input_taken_bytes_ == input_.size()) {
        input_ = Buffer();
        input_taken_bytes_ = 0;
    }
    return static_cast<int>(size);
}

// Called by C code, through which no exception may pass.
int TlsEngine::add_output(std::span<const char> bytes) noexcept {
    try {
        output_.append(std::as_bytes(bytes));
    } catch (const std::bad_alloc&) {
        out_of_memory_ = true; // the output may hold part of a record
        return -1;
    }
    return static_cast<int>(bytes.size());
}

void TlsEngine::feed(Buffer arrived) noexcept {
    RINGLET_ASSERT(input_.empty(), "what arrived before was not read");
    if (arrived.empty()) input_ended_ = true;
    input_ = std::move(arrived);
    input_taken_bytes_ = 0;
}

// ---- the engine ---------------------------------------------------------------------------------

TlsEngine::TlsEngine(const TlsContext& context, std::string host)
    : context_(context), host_(std::move(host)), is_server_(context.state()->is_server) {
    ERR_clear_error();
    const auto loaded = context.state()->loaded();
    loaded_ = loaded;
    ssl_ = SSL_new(loaded->first());
    wire_ = ssl_ == nullptr ? nullptr : BIO_new(wire_method());
    if (wire_ == nullptr) {
        SSL_free(ssl_);
        throw std::bad_alloc();
    }
    BIO_set_data(wire_, this);
    BIO_set_init(wire_, 1);
    SSL_set_bio(ssl_, wire_, wire_);
    SSL_set_app_data(ssl_, this);
    if (is_server_) {
        SSL_set_accept_state(ssl_);
        return;
    }
    SSL_set_connect_state(ssl_);
    if (!host_.empty()) {
        // An IP address is compared with the addresses in the certificate, and is not sent (RFC 6066, 3).
        X509_VERIFY_PARAM* wanted = SSL_get0_param(ssl_);
        if (X509_VERIFY_PARAM_set1_ip_asc(wanted, host_.c_str()) != 1) {
            SSL_ctrl(ssl_, SSL_CTRL_SET_TLSEXT_HOSTNAME, TLSEXT_NAMETYPE_host_name, host_.data());
            SSL_set_hostflags(ssl_, X509_CHECK_FLAG_NO_PARTIAL_WILDCARDS);
            SSL_set1_host(ssl_, host_.c_str());
        }
    }
    ERR_clear_error();
    if (const OwnedSession session = context.state()->recall(host_))
        SSL_set_session(ssl_, session.get());
}

TlsEngine::~TlsEngine() { SSL_free(ssl_); }

TlsEngine::Status TlsEngine::handshake() noexcept {
    if (error_) return Status::failed;
    ERR_clear_error();
    const int returned = SSL_do_handshake(ssl_);
    if (returned != 1) return status_of(returned);
    is_up_ = true;
    return Status::done;
}

bool TlsEngine::may_read() const noexcept {
    return !input_.empty() || input_ended_ || error_ || SSL_has_pending(ssl_) == 1 ||
           (SSL_get_shutdown(ssl_) & SSL_RECEIVED_SHUTDOWN) != 0;
}

TlsEngine::Status TlsEngine::read(std::span<std::byte> memory, std::size_t& read_bytes) noexcept {
    read_bytes = 0;
    if (error_) return Status::failed;
    ERR_clear_error();
    while (!memory.empty()) {
        std::size_t size = 0;
        const int returned = SSL_read_ex(ssl_, memory.data(), memory.size(), &size);
        if (returned != 1) {
            const Status status = status_of(returned);
            return read_bytes > 0 ? Status::done : status; // the end is reported again
        }
        read_bytes += size;
        has_read_ = true;
        memory = memory.subspan(size);
        if (input_.empty() && SSL_pending(ssl_) == 0) break;
        if (memory.size() < size) break; // another record of this size would be split
    }
    return Status::done;
}

// SSL_MODE_RELEASE_BUFFERS does it only when a read finds nothing, and ours read only when there is data.
void TlsEngine::release_buffers() noexcept { SSL_free_buffers(ssl_); }

std::error_code TlsEngine::write(std::span<const std::byte> bytes) noexcept {
    if (error_) return error_;
    if (said_goodbye_) return std::make_error_code(std::errc::broken_pipe);
    if (broken_) return TlsErrc::broken;
    ERR_clear_error();
    if (!has_written_) write_ticket();
    while (!bytes.empty()) {
        std::size_t size = 0;
        const int returned = SSL_write_ex(ssl_, bytes.data(), bytes.size(), &size);
        if (returned != 1) {
            // A write never waits for the peer: renegotiation is off.
            if (status_of(returned) != Status::failed)
                fail(TlsErrc::broken, "a write waits for the peer");
            return error_;
        }
        bytes = bytes.subspan(size);
    }
    return {};
}

// The ticket goes out in front of the first answer: see TlsContext::State::make_context.
void TlsEngine::write_ticket() noexcept {
    has_written_ = true;
    if (!is_server_ || SSL_version(ssl_) < TLS1_3_VERSION || !context_.state()->server.resumption)
        return;
    SSL_new_session_ticket(ssl_);
    ERR_clear_error();
}

void TlsEngine::say_goodbye() noexcept {
    if (std::exchange(said_goodbye_, true) || !is_up() || broken_) return;
    ERR_clear_error();
    SSL_shutdown(ssl_);
    ERR_clear_error();
}

// ---- what went wrong ----------------------------------------------------------------------------

TlsEngine::Status TlsEngine::fail(std::error_code error, std::string_view text) noexcept {
    if (error_) return Status::failed;
    error_ = error;
    try {
        failure_ = text;
    } catch (const std::bad_alloc&) { // the code remains
    }
    return Status::failed;
}

TlsEngine::Status TlsEngine::status_of(int returned) noexcept {
    if (out_of_memory_)
        return fail(std::make_error_code(std::errc::not_enough_memory), "no memory for a record");
    switch (SSL_get_error(ssl_, returned)) {
    case SSL_ERROR_WANT_READ: return Status::wants_input;
    case SSL_ERROR_ZERO_RETURN: return Status::ended;
    default: break;
    }
    if (input_ended_ && input_.empty() && !error_) {
        if (is_up_ && context_.options().allow_truncation) return Status::ended;
        if (is_up_)
            return fail(TlsErrc::truncated, "the peer closed the connection without close_notify");
        return fail(TlsErrc::handshake_failed,
                    "the peer closed the connection during the handshake");
    }
    return fail_as_openssl_says();
}

namespace {

const char* name_of_version(int version) noexcept {
    switch (version) {
    case SSL3_VERSION: return "SSL 3.0";
    case TLS1_VERSION: return "TLS 1.0";
    case TLS1_1_VERSION: return "TLS 1.1";
    case TLS1_2_VERSION: return "TLS 1.2";
    case TLS1_3_VERSION: return "TLS 1.3";
    default: return "an unknown version";
    }
}

/// The meaning of an OpenSSL reason; `text` replaces its own words.
struct Meaning {
    int reason;
    TlsErrc error;
    const char* text;
};

constexpr std::array<Meaning, 19> meanings{{
    {SSL_R_HTTP_REQUEST, TlsErrc::not_tls,
     "an HTTP request came instead of TLS: the client used http:// on this port"},
    {SSL_R_HTTPS_PROXY_REQUEST, TlsErrc::not_tls, "a request for a proxy came instead of TLS"},
    {SSL_R_WRONG_VERSION_NUMBER, TlsErrc::not_tls, "what came is no TLS"},
    {SSL_R_NO_SHARED_CIPHER, TlsErrc::no_common_cipher,
     "the client and this server have no cipher in common, or none for this kind of key"},
    {SSL_R_NO_APPLICATION_PROTOCOL, TlsErrc::no_common_protocol, nullptr},
    // SSL_R_TLSV1_ALERT_NO_APPLICATION_PROTOCOL, for which not every 3.0 has a name and words (Ubuntu 24.04: 3.0.13).
    {SSL_AD_REASON_OFFSET + SSL_AD_NO_APPLICATION_PROTOCOL, TlsErrc::no_common_protocol,
     "the server speaks none of the application protocols that were offered (ALPN)"},
    {SSL_R_TLSV1_ALERT_PROTOCOL_VERSION, TlsErrc::version_refused,
     "the peer allows none of the versions that are allowed here"},
    {SSL_R_UNSUPPORTED_PROTOCOL, TlsErrc::version_refused, nullptr},
    {SSL_R_VERSION_TOO_LOW, TlsErrc::version_refused, nullptr},
    {SSL_R_PEER_DID_NOT_RETURN_A_CERTIFICATE, TlsErrc::certificate_required,
     "the client sent no certificate, and one is required"},
    {SSL_R_TLSV13_ALERT_CERTIFICATE_REQUIRED, TlsErrc::certificate_refused,
     "the server wants a certificate of the client, and got none"},
    {SSL_R_TLSV1_ALERT_UNKNOWN_CA, TlsErrc::certificate_refused,
     "the peer does not know who signed our certificate"},
    {SSL_R_SSLV3_ALERT_CERTIFICATE_EXPIRED, TlsErrc::certificate_refused,
     "the peer says that our certificate has expired"},
    {SSL_R_SSLV3_ALERT_BAD_CERTIFICATE, TlsErrc::certificate_refused,
     "the peer says that our certificate is bad"},
    {SSL_R_SSLV3_ALERT_CERTIFICATE_UNKNOWN, TlsErrc::certificate_refused,
     "the peer does not accept our certificate"},
    {SSL_R_SSLV3_ALERT_UNSUPPORTED_CERTIFICATE, TlsErrc::certificate_refused, nullptr},
    {SSL_R_TLSV1_ALERT_ACCESS_DENIED, TlsErrc::certificate_refused, nullptr},
    {SSL_R_DECRYPTION_FAILED_OR_BAD_RECORD_MAC, TlsErrc::record_invalid, nullptr},
    {SSL_R_BAD_RECORD_TYPE, TlsErrc::record_invalid, nullptr},
}};

} // namespace

std::string TlsEngine::told_by_openssl() const {
    std::string text = "the TLS handshake failed: ";
    if (is_up_) text = "a TLS record failed: ";
    const char* reason = ERR_reason_error_string(ERR_peek_error());
    return text + (reason != nullptr ? reason : "OpenSSL does not say why");
}

TlsEngine::Status TlsEngine::fail_as_openssl_says() noexcept {
    if (error_) return Status::failed; // a certificate: the callback has reported it
    const unsigned long code = ERR_peek_error();
    const int reason = ERR_GET_REASON(code);
    const bool is_of_tls = ERR_GET_LIB(code) == ERR_LIB_SSL;
    try {
        if (is_of_tls && is_server_ &&
            (reason == SSL_R_UNSUPPORTED_PROTOCOL || reason == SSL_R_VERSION_TOO_LOW)) {
            const bool only_1_3 = context_.options().oldest == TlsVersion::tls_1_3;
            return fail(TlsErrc::version_refused,
                        std::string("the client speaks ") +
                            name_of_version(SSL_client_version(ssl_)) + " at most, and TLS " +
                            (only_1_3 ? "1.3" : "1.2") + " is the oldest that is allowed");
        }
        const auto* meaning = std::ranges::find(meanings, reason, &Meaning::reason);
        if (is_of_tls && meaning != meanings.end()) {
            return fail(meaning->error,
                        meaning->text != nullptr ? meaning->text : told_by_openssl());
        }
        return fail(is_up_ ? TlsErrc::record_invalid : TlsErrc::handshake_failed,
                    told_by_openssl());
    } catch (const std::bad_alloc&) {
        return fail(TlsErrc::handshake_failed, "");
    }
}

void TlsEngine::certificate_failed(X509_STORE_CTX* verification) noexcept {
    const int why = X509_STORE_CTX_get_error(verification);
    const X509* certificate = X509_STORE_CTX_get_current_cert(verification);
    try {
        const std::string name = certificate != nullptr ? name_of(certificate) : "the peer";
        const std::string the_certificate = "the certificate of " + name;
        switch (why) {
        case X509_V_ERR_CERT_HAS_EXPIRED:
            fail(TlsErrc::certificate_expired,
                 the_certificate + " expired on " + date_of(X509_get0_notAfter(certificate)));
            return;
        case X509_V_ERR_CERT_NOT_YET_VALID:
            fail(TlsErrc::certificate_not_yet_valid, the_certificate + " is valid from " +
                                                         date_of(X509_get0_notBefore(certificate)) +
                                                         " on: is the clock right?");
            return;
        case X509_V_ERR_DEPTH_ZERO_SELF_SIGNED_CERT:
        case X509_V_ERR_SELF_SIGNED_CERT_IN_CHAIN:
        case X509_V_ERR_UNABLE_TO_GET_ISSUER_CERT:
        case X509_V_ERR_UNABLE_TO_GET_ISSUER_CERT_LOCALLY:
        case X509_V_ERR_UNABLE_TO_VERIFY_LEAF_SIGNATURE:
        case X509_V_ERR_CERT_SIGNATURE_FAILURE: // signed by another authority of the same name
            fail(TlsErrc::certificate_untrusted,
                 the_certificate + " is not signed by an authority trusted here (" +
                     X509_verify_cert_error_string(why) + ")");
            return;
        case X509_V_ERR_HOSTNAME_MISMATCH:
        case X509_V_ERR_IP_ADDRESS_MISMATCH: {
            std::string names;
            for_each_name(certificate, [&names](std::string_view one) {
                names.append(names.empty() ? "" : ", ").append(one);
            });
            fail(TlsErrc::wrong_host, "the certificate is for " + names + ", not for " + host_);
            return;
        }
        default:
            fail(TlsErrc::certificate_invalid,
                 the_certificate + ": " + X509_verify_cert_error_string(why));
            return;
        }
    } catch (const std::bad_alloc&) {
        fail(TlsErrc::certificate_invalid, "");
    }
}

// ---- what is known ------------------------------------------------------------------------------

std::string_view TlsEngine::version() const noexcept { return SSL_get_version(ssl_); }

std::string_view TlsEngine::cipher() const noexcept {
    const char* name = SSL_get_cipher_name(ssl_);
    return name != nullptr ? name : "";
}

std::string_view TlsEngine::protocol() const noexcept {
    const unsigned char* name = nullptr;
    unsigned size = 0;
    SSL_get0_alpn_selected(ssl_, &name, &size);
    return {reinterpret_cast<const char*>(name), size};
}

std::string TlsEngine::server_name() const {
    if (!is_server_) return host_;
    const char* name = SSL_get_servername(ssl_, TLSEXT_NAMETYPE_host_name);
    return name != nullptr ? name : "";
}

std::string TlsEngine::peer_name() const {
    const X509* certificate = SSL_get0_peer_certificate(ssl_);
    return certificate != nullptr ? name_of(certificate) : "";
}

bool TlsEngine::was_resumed() const noexcept { return SSL_session_reused(ssl_) == 1; }

} // namespace ringlet
