#pragma once

#include <ringlet/detail/config.hpp>

#include <system_error>
#include <type_traits>

namespace RINGLET_EXPORT ringlet {

/// What can go wrong with TLS. Transport errors are passed on unchanged, as errnos; a handshake that takes too long
/// ends with `timed_out`. For the peer concerned and the remedy, see the text in `TlsStream::failure`,
/// `TlsServerOptions::report` or `ConnectTlsOptions::causes`.
enum class TlsErrc {
    handshake_failed = 1,      ///< for a reason not listed below
    not_tls,                   ///< the peer does not speak TLS
    version_refused,           ///< no protocol version that both sides allow
    no_common_cipher,          ///< no cipher that both sides allow
    no_common_protocol,        ///< no application protocol (ALPN) in common
    certificate_expired,       ///< the peer's
    certificate_not_yet_valid, ///< the peer's; or the clock is wrong
    certificate_untrusted,     ///< the peer's is not signed by an authority that we trust
    certificate_invalid,       ///< the peer's, for another reason
    wrong_host,                ///< the peer's is for other names
    certificate_required,      ///< the client sent none
    certificate_refused,       ///< the peer does not accept ours
    truncated,                 ///< the connection ended without a goodbye (close_notify)
    broken,                    ///< a send was cut short within a record
    record_invalid,            ///< the received data was corrupted or forged
    unreadable_file,           ///< a certificate, key or list of authorities cannot be read
    key_mismatch,              ///< the key does not match the certificate
    invalid_option,            ///< OpenSSL refuses an option of the context
};

/// The category of `TlsErrc`.
[[nodiscard]] const std::error_category& tls_error_category() noexcept;

[[nodiscard]] inline std::error_code make_error_code(TlsErrc code) noexcept {
    return {static_cast<int>(code), tls_error_category()};
}

} // namespace ringlet

template <>
struct std::is_error_code_enum<ringlet::TlsErrc> : std::true_type {};
