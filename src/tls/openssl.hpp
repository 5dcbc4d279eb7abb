#pragma once

// Owners of OpenSSL's objects, and readers of its error messages and names.

#include <memory>
#include <string>
#include <string_view>

#include <openssl/err.h>
#include <openssl/ssl.h>
#include <openssl/x509v3.h>

namespace ringlet {

template <auto free_function>
struct FreeBy {
    template <class T>
    void operator()(T* thing) const noexcept {
        free_function(thing);
    }
};
template <class T, auto free_function>
using Owned = std::unique_ptr<T, FreeBy<free_function>>;

using OwnedContext = Owned<SSL_CTX, SSL_CTX_free>;
using OwnedSession = Owned<SSL_SESSION, SSL_SESSION_free>;
using OwnedCertificate = Owned<X509, X509_free>;

/// The oldest entry of the error queue, in words. Empties the queue.
[[nodiscard]] std::string take_openssl_error();

/// The name that a certificate is known by: the first DNS name, or else the common name of its subject.
[[nodiscard]] std::string name_of(const X509* certificate);

/// As YYYY-MM-DD.
[[nodiscard]] std::string date_of(const ASN1_TIME* time);

/// Calls `use(name)` for each DNS name of a certificate; without one, for its common name.
template <class Use>
void for_each_name(const X509* certificate, Use use) {
    bool has_names = false;
    Owned<GENERAL_NAMES, GENERAL_NAMES_free> names(static_cast<GENERAL_NAMES*>(
        X509_get_ext_d2i(certificate, NID_subject_alt_name, nullptr, nullptr)));
    for (int i = 0; names && i < sk_GENERAL_NAME_num(names.get()); ++i) {
        const GENERAL_NAME* name = sk_GENERAL_NAME_value(names.get(), i);
        if (name->type != GEN_DNS) continue;
        const auto* text = reinterpret_cast<const char*>(ASN1_STRING_get0_data(name->d.dNSName));
        use(std::string_view(text, static_cast<std::size_t>(ASN1_STRING_length(name->d.dNSName))));
        has_names = true;
    }
    if (has_names) return;
    char common[256] = {};
    const X509_NAME* subject = X509_get_subject_name(certificate);
    if (X509_NAME_get_text_by_NID(const_cast<X509_NAME*>(subject), NID_commonName, common,
                                  sizeof common) > 0)
        use(std::string_view(common));
}

} // namespace ringlet
