#include <ringlet/tls_context.hpp>

#include <ringlet/detail/tls_engine.hpp>

#include "context_state.hpp"

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>
#include <ctime>
#include <iterator>

namespace ringlet {

namespace {

std::error_code refuse(std::string* cause, TlsErrc error, std::string text) {
    ERR_clear_error();
    if (cause != nullptr) *cause = std::move(text);
    return error;
}

int number_of(TlsVersion version) noexcept {
    return version == TlsVersion::tls_1_2 ? TLS1_2_VERSION : TLS1_3_VERSION;
}

// In ALPN's form: each with its length in front.
std::string on_the_wire(const std::vector<std::string>& protocols) {
    std::string wire;
    for (const std::string& protocol : protocols) {
        wire += static_cast<char>(protocol.size());
        wire += protocol;
    }
    return wire;
}

std::string in_small_letters(std::string_view text) {
    std::string small(text);
    for (char& letter : small) {
        if (letter >= 'A' && letter <= 'Z') letter = static_cast<char>(letter - 'A' + 'a');
    }
    return small;
}

// ---- OpenSSL's callbacks during a handshake -----------------------------------------------------

TlsEngine& engine_of(const SSL* ssl) noexcept {
    return *static_cast<TlsEngine*>(SSL_get_app_data(ssl));
}

TlsContext::State& state_of(const SSL* ssl) noexcept { return *engine_of(ssl).context().state(); }

int choose_certificate(SSL* ssl, int*, void*) {
    const char* host = SSL_get_servername(ssl, TLSEXT_NAMETYPE_host_name);
    if (host == nullptr) return SSL_TLSEXT_ERR_NOACK;
    const auto* loaded = static_cast<const LoadedTls*>(engine_of(ssl).loaded());
    SSL_CTX* context = loaded->for_host(host);
    if (context != nullptr) SSL_set_SSL_CTX(ssl, context);
    return SSL_TLSEXT_ERR_OK;
}

int choose_protocol(SSL* ssl, const unsigned char** chosen, unsigned char* chosen_size,
                    const unsigned char* offered, unsigned offered_size, void*) {
    const std::string ours = on_the_wire(state_of(ssl).options().protocols);
    unsigned char* found = nullptr;
    const int outcome = SSL_select_next_proto(
        &found, chosen_size, reinterpret_cast<const unsigned char*>(ours.data()),
        static_cast<unsigned>(ours.size()), offered, offered_size);
    if (outcome != OPENSSL_NPN_NEGOTIATED) return SSL_TLSEXT_ERR_ALERT_FATAL;
    // `found` points into `ours`, which is destroyed here: the same bytes are in `offered`.
    const auto* end = offered + offered_size;
    const auto* same = std::search(offered, end, found - 1, found + *chosen_size);
    *chosen = same + 1;
    return SSL_TLSEXT_ERR_OK;
}

int verify(int good, X509_STORE_CTX* verification) {
    if (good != 0) return good;
    const auto* ssl = static_cast<const SSL*>(
        X509_STORE_CTX_get_ex_data(verification, SSL_get_ex_data_X509_STORE_CTX_idx()));
    engine_of(ssl).certificate_failed(verification);
    return 0;
}

int remember_session(SSL* ssl, SSL_SESSION* session) {
    try {
        state_of(ssl).remember(engine_of(ssl).host(), OwnedSession(session));
    } catch (const std::bad_alloc&) { // the session is lost: the next handshake is a full one
    }
    return 1; // we own the session now
}

void write_key(const SSL* ssl, const char* line) { state_of(ssl).log_key(line); }

} // namespace

std::string tls_description() {
    const TlsOptions defaults;
    const char* versions = defaults.oldest == TlsVersion::tls_1_2 ? "TLS 1.2 and 1.3" : "TLS 1.3";
    return std::string(OpenSSL_version(OPENSSL_VERSION)) + ": " + versions +
           " unless others are asked for";
}

// ---- files --------------------------------------------------------------------------------------

Result<void> TlsContext::State::read_certificate(SSL_CTX* context,
                                                 const TlsCertificate& certificate,
                                                 std::string* cause) const {
    const auto unreadable = [&](const std::string& what, const std::string& file) {
        const int number = errno;
        std::FILE* opened = std::fopen(file.c_str(), "re");
        const std::string why =
            opened != nullptr ? "it is no PEM file with one" : std::strerror(number);
        if (opened != nullptr) std::fclose(opened);
        return refuse(cause, TlsErrc::unreadable_file,
                      what + " cannot be read from '" + file + "': " + why);
    };
    errno = 0;
    if (SSL_CTX_use_certificate_chain_file(context, certificate.chain_file.c_str()) != 1)
        return unreadable("the certificate", certificate.chain_file);
    const X509* own = SSL_CTX_get0_certificate(context);
    if (SSL_CTX_use_PrivateKey_file(context, certificate.key_file.c_str(), SSL_FILETYPE_PEM) != 1) {
        // OpenSSL compares the key with the certificate while it reads it.
        const int reason = ERR_GET_REASON(ERR_peek_last_error());
        if (reason != X509_R_KEY_VALUES_MISMATCH && reason != X509_R_KEY_TYPE_MISMATCH)
            return unreadable("the key", certificate.key_file);
    }
    if (SSL_CTX_check_private_key(context) != 1) {
        return refuse(cause, TlsErrc::key_mismatch,
                      "the key in '" + certificate.key_file + "' does not fit the certificate of " +
                          name_of(own) + " in '" + certificate.chain_file + "'");
    }
    if (X509_cmp_current_time(X509_get0_notAfter(own)) < 0 && cause != nullptr) {
        *cause = "the certificate of " + name_of(own) + " in '" + certificate.chain_file +
                 "' expired on " + date_of(X509_get0_notAfter(own)) + ": clients will refuse it";
    }
    return {};
}

Result<void> TlsContext::State::set_trust(SSL_CTX* context, std::string* cause) const {
    const std::string& file = is_server ? server.client_authorities : client.authorities;
    if (!file.empty() && SSL_CTX_load_verify_file(context, file.c_str()) != 1) {
        return refuse(cause, TlsErrc::unreadable_file,
                      "the authorities cannot be read from '" + file +
                          "': it is missing, or no PEM file of certificates");
    }
    if (!is_server) {
        if (file.empty()) SSL_CTX_set_default_verify_paths(context);
        if (client.verify) SSL_CTX_set_verify(context, SSL_VERIFY_PEER, verify);
        return {};
    }
    if (server.client_certificates == ClientCertificates::ignored) return {};
    if (file.empty()) {
        return refuse(cause, TlsErrc::invalid_option,
                      "client certificates are asked for, and nobody may sign them: name a file of "
                      "authorities (TlsServerOptions::client_authorities)");
    }
    SSL_CTX_set_client_CA_list(context, SSL_load_client_CA_file(file.c_str()));
    int mode = SSL_VERIFY_PEER;
    if (server.client_certificates == ClientCertificates::required)
        mode |= SSL_VERIFY_FAIL_IF_NO_PEER_CERT;
    SSL_CTX_set_verify(context, mode, verify);
    return {};
}

Result<OwnedContext> TlsContext::State::make_context(const TlsCertificate* certificate,
                                                     std::string* cause) const {
    ERR_clear_error();
    OwnedContext context(SSL_CTX_new(is_server ? TLS_server_method() : TLS_client_method()));
    if (!context) return std::errc::not_enough_memory;
    const TlsOptions& chosen = options();

    SSL_CTX_set_min_proto_version(context.get(), number_of(chosen.oldest));
    SSL_CTX_set_max_proto_version(context.get(), number_of(chosen.newest));
    SSL_CTX_set_options(context.get(), SSL_OP_NO_RENEGOTIATION | SSL_OP_NO_COMPRESSION);
    // An idle connection gives its buffers back; a retried write may come from other memory.
    SSL_CTX_set_mode(context.get(), SSL_MODE_RELEASE_BUFFERS | SSL_MODE_ENABLE_PARTIAL_WRITE |
                                        SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER);
    SSL_CTX_set_verify_depth(context.get(), chosen.chain_limit);
    if (SSL_CTX_set_max_send_fragment(context.get(),
                                      static_cast<long>(chosen.record_limit_bytes)) != 1) {
        return refuse(cause, TlsErrc::invalid_option,
                      "record_limit_bytes is " + std::to_string(chosen.record_limit_bytes) +
                          ", and may be 512 to 16,384");
    }
    for (const std::string& protocol : chosen.protocols) {
        if (!protocol.empty() && protocol.size() < 256) continue;
        return refuse(cause, TlsErrc::invalid_option,
                      "'" + protocol + "' is no application protocol: 1 to 255 bytes");
    }
    const std::string wire = on_the_wire(chosen.protocols);
    if (!wire.empty() && is_server) {
        SSL_CTX_set_alpn_select_cb(context.get(), choose_protocol, nullptr);
    } else if (!wire.empty()) {
        SSL_CTX_set_alpn_protos(context.get(), reinterpret_cast<const unsigned char*>(wire.data()),
                                static_cast<unsigned>(wire.size()));
    }
    if (certificate != nullptr) {
        auto read = read_certificate(context.get(), *certificate, cause);
        if (!read) return read.error();
    }
    auto trusted = set_trust(context.get(), cause);
    if (!trusted) return trusted.error();
    if (!chosen.key_log_file.empty()) SSL_CTX_set_keylog_callback(context.get(), write_key);

    if (is_server) {
        SSL_CTX_callback_ctrl(context.get(), SSL_CTRL_SET_TLSEXT_SERVERNAME_CB,
                              reinterpret_cast<void (*)()>(choose_certificate));
        SSL_CTX_set_session_cache_mode(context.get(), SSL_SESS_CACHE_OFF);
        constexpr std::array<unsigned char, 7> purpose = {'r', 'i', 'n', 'g', 'l', 'e', 't'};
        SSL_CTX_set_session_id_context(context.get(), purpose.data(), purpose.size());
        // Tickets go out with the first answer (`TlsEngine::write`): a client that only writes, and closes
        // without reading them, would reset the connection.
        SSL_CTX_set_num_tickets(context.get(), 0);
        if (!server.resumption) SSL_CTX_set_options(context.get(), SSL_OP_NO_TICKET);
    } else if (client.resumption) {
        SSL_CTX_set_session_cache_mode(context.get(),
                                       SSL_SESS_CACHE_CLIENT | SSL_SESS_CACHE_NO_INTERNAL);
        SSL_CTX_sess_set_new_cb(context.get(), remember_session);
    }
    return context;
}

namespace {

// Tickets that were issued stay valid: the keys that seal them are taken over.
void take_over_ticket_keys(SSL_CTX* from, SSL_CTX* to) {
    std::array<unsigned char, 80> keys{}; // as SSL_CTX_get_tlsext_ticket_keys(3) has them
    const int size = static_cast<int>(SSL_CTX_get_tlsext_ticket_keys(from, nullptr, 0));
    if (size <= 0 || static_cast<std::size_t>(size) > keys.size()) return;
    if (SSL_CTX_get_tlsext_ticket_keys(from, keys.data(), size) == 1)
        SSL_CTX_set_tlsext_ticket_keys(to, keys.data(), size);
    OPENSSL_cleanse(keys.data(), keys.size());
}

} // namespace

Result<void> TlsContext::State::load(std::string* cause) {
    if (is_server && server.certificates.empty()) {
        return refuse(cause, TlsErrc::invalid_option,
                      "a server needs a certificate (TlsServerOptions::certificates)");
    }
    if (options().oldest > options().newest)
        return refuse(cause, TlsErrc::invalid_option, "oldest is newer than newest");
    auto fresh = std::make_shared<LoadedTls>();
    if (is_server) {
        for (const TlsCertificate& certificate : server.certificates) {
            auto context = make_context(&certificate, cause);
            if (!context) return context.error();
            for_each_name(SSL_CTX_get0_certificate(context->get()), [&](std::string_view name) {
                fresh->by_name_.try_emplace(in_small_letters(name), context->get());
            });
            fresh->contexts_.push_back(std::move(*context));
        }
    } else {
        const bool has_certificate = !client.certificate.chain_file.empty();
        auto context = make_context(has_certificate ? &client.certificate : nullptr, cause);
        if (!context) return context.error();
        fresh->contexts_.push_back(std::move(*context));
    }
    const std::lock_guard lock(mutex_);
    if (!options().key_log_file.empty() && key_log_ == nullptr) {
        key_log_ = std::fopen(options().key_log_file.c_str(), "ae");
        if (key_log_ == nullptr) {
            return refuse(cause, TlsErrc::unreadable_file,
                          "the keys cannot be written to '" + options().key_log_file +
                              "': " + std::strerror(errno));
        }
    }
    // Not with client certificates: a client that is no longer trusted could return with its ticket.
    if (loaded_ && server.client_certificates == ClientCertificates::ignored) {
        for (const OwnedContext& context : fresh->contexts_)
            take_over_ticket_keys(loaded_->first(), context.get());
    }
    loaded_ = std::move(fresh);
    return {};
}

TlsContext::State::~State() {
    if (key_log_ != nullptr) std::fclose(key_log_);
}

std::shared_ptr<const LoadedTls> TlsContext::State::loaded() const {
    const std::lock_guard lock(mutex_);
    return loaded_;
}

// An asterisk stands for one label (RFC 6125, 6.4.3).
SSL_CTX* LoadedTls::for_host(std::string_view host) const {
    const std::string small = in_small_letters(host);
    auto found = by_name_.find(small);
    const std::size_t dot = small.find('.');
    if (found == by_name_.end() && dot != small.npos)
        found = by_name_.find(std::string("*").append(small, dot));
    return found == by_name_.end() ? nullptr : found->second;
}

// ---- sessions -----------------------------------------------------------------------------------

void TlsContext::State::remember(const std::string& host, OwnedSession session) {
    const std::lock_guard lock(mutex_);
    if (remembered_.size() >= TlsClientOptions::remembered_limit)
        remembered_.erase(remembered_.begin());
    remembered_.emplace(host, std::move(session));
}

OwnedSession TlsContext::State::recall(const std::string& host) {
    const std::lock_guard lock(mutex_);
    auto [found, end] = remembered_.equal_range(host);
    if (found == end) return nullptr;
    found = std::prev(end); // the youngest
    if (SSL_SESSION_get_protocol_version(found->second.get()) < TLS1_3_VERSION) {
        SSL_SESSION_up_ref(found->second.get());
        return OwnedSession(found->second.get());
    }
    OwnedSession session = std::move(found->second);
    remembered_.erase(found);
    return session;
}

void TlsContext::State::log_key(std::string_view line) noexcept {
    const std::lock_guard lock(mutex_);
    std::fprintf(key_log_, "%.*s\n", static_cast<int>(line.size()), line.data());
    std::fflush(key_log_);
}

// ---- the context --------------------------------------------------------------------------------

Result<TlsContext> TlsContext::server(TlsServerOptions options) {
    std::string* causes = std::exchange(options.causes, nullptr);
    auto state = std::make_shared<State>(std::move(options));
    auto loaded = state->load(causes);
    if (!loaded) return loaded.error();
    return TlsContext(std::move(state));
}

Result<TlsContext> TlsContext::client(TlsClientOptions options) {
    std::string* causes = std::exchange(options.causes, nullptr);
    auto state = std::make_shared<State>(std::move(options));
    auto loaded = state->load(causes);
    if (!loaded) return loaded.error();
    return TlsContext(std::move(state));
}

Result<void> TlsContext::reload(std::string* cause) { return state_->load(cause); }

const TlsOptions& TlsContext::options() const noexcept { return state_->options(); }

const TlsServerOptions* TlsContext::server_options() const noexcept {
    return state_->is_server ? &state_->server : nullptr;
}

} // namespace ringlet
