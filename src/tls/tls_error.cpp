#include <ringlet/tls_error.hpp>

#include <string>

namespace ringlet {

namespace {

class TlsCategory final : public std::error_category {
public:
    const char* name() const noexcept override { return "ringlet.tls"; }

    std::string message(int code) const override {
        switch (static_cast<TlsErrc>(code)) {
        case TlsErrc::handshake_failed: return "the TLS handshake failed";
        case TlsErrc::not_tls: return "what came is no TLS";
        case TlsErrc::version_refused: return "no version of TLS that both sides allow";
        case TlsErrc::no_common_cipher: return "no TLS cipher that both sides allow";
        case TlsErrc::no_common_protocol: return "no application protocol (ALPN) in common";
        case TlsErrc::certificate_expired: return "the certificate of the peer has expired";
        case TlsErrc::certificate_not_yet_valid:
            return "the certificate of the peer is not valid yet: is the clock right?";
        case TlsErrc::certificate_untrusted:
            return "the certificate of the peer is not signed by a trusted authority";
        case TlsErrc::certificate_invalid: return "the certificate of the peer is not valid";
        case TlsErrc::wrong_host: return "the certificate of the peer is for another host";
        case TlsErrc::certificate_required: return "the client sent no certificate";
        case TlsErrc::certificate_refused: return "the peer did not accept the certificate";
        case TlsErrc::truncated:
            return "the connection ended without a goodbye (close_notify): something may be "
                   "missing";
        case TlsErrc::broken: return "an earlier send was cut short within a TLS record";
        case TlsErrc::record_invalid: return "a TLS record was damaged or forged";
        case TlsErrc::unreadable_file: return "a certificate or key cannot be read";
        case TlsErrc::key_mismatch: return "the key does not fit the certificate";
        case TlsErrc::invalid_option: return "OpenSSL does not take an option of the TLS context";
        }
        return "unknown TLS error " + std::to_string(code);
    }
};

} // namespace

const std::error_category& tls_error_category() noexcept {
    static const TlsCategory category;
    return category;
}

} // namespace ringlet
