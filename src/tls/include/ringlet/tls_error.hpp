#pragma once

#include <ringlet/detail/config.hpp>

#include <system_error>
#include <type_traits>

namespace RINGLET_EXPORT ringlet {

/// What goes wrong with TLS. Those of the transport come unchanged, as errnos; a handshake that takes too long ends
/// with `timed_out`. Who is concerned, and what to do, says the text beside: `TlsStream::failure`,
/// `TlsServerOptions::report`, `ConnectTlsOptions::causes`.
enum class TlsErrc {
    handshake_failed = 1,      ///< in another way than those below
    not_tls,                   ///< what came is no TLS
    version_refused,           ///< no protocol version that both sides allow
    no_common_cipher,          ///< no cipher that both sides allow
    no_common_protocol,        ///< no application protocol (ALPN) in common
    certificate_expired,       ///< the peer's
    certificate_not_yet_valid, ///< the peer's; or the clock is wrong
    certificate_untrusted,     ///< nobody that we trust has signed the peer's
    certificate_invalid,       ///< the peer's, in another way
    wrong_host,                ///< the peer's is for other names
    certificate_required,      ///< the client has sent none
    certificate_refused,       ///< the peer does not accept ours
    truncated,                 ///< the connection ended without a goodbye (close_notify)
    broken,                    ///< a send was cut short within a record
    record_invalid,            ///< what came was damaged, or forged
    unreadable_file,           ///< a certificate, key or list of authorities cannot be read
    key_mismatch,              ///< the key does not fit the certificate
    invalid_option,            ///< an option of a context that OpenSSL refuses
};

/// The category of `TlsErrc`.
[[nodiscard]] const std::error_category& tls_error_category() noexcept;

[[nodiscard]] inline std::error_code make_error_code(TlsErrc code) noexcept {
    return {static_cast<int>(code), tls_error_category()};
}

} // namespace ringlet

template <>
struct std::is_error_code_enum<ringlet::TlsErrc> : std::true_type {};
