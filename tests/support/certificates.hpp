#pragma once

// Certificates for tests, made on demand: an authority, and certificates that it signs.

#include <ringlet/tls_context.hpp>

#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/x509v3.h>

namespace ringlet::testing {

/// Aborts on failure: programs without doctest make certificates too.
inline void must(bool done) {
    if (!done) std::abort();
}

struct FreeOpenssl {
    void operator()(EVP_PKEY* key) const noexcept { EVP_PKEY_free(key); }
    void operator()(X509* certificate) const noexcept { X509_free(certificate); }
};
using TestKey = std::unique_ptr<EVP_PKEY, FreeOpenssl>;
using TestCertificate = std::unique_ptr<X509, FreeOpenssl>;

/// The content of a test certificate.
struct CertificateWish {
    std::string names; ///< as openssl writes them: "DNS:localhost,IP:127.0.0.1"
    int days_from = -1;
    int days_to = 100;
    bool is_authority = false;
};

/// A new key, and a certificate for it, signed by `authority` or self-signed.
struct Signed {
    TestKey key;
    TestCertificate certificate;

    static Signed make(const CertificateWish& wish, const Signed* authority = nullptr) {
        Signed made{TestKey(EVP_EC_gen("P-256")), TestCertificate(X509_new())};
        X509* certificate = made.certificate.get();
        static long serial = 1;
        X509_set_version(certificate, 2);
        ASN1_INTEGER_set(X509_get_serialNumber(certificate), ++serial);
        constexpr long day = 86'400;
        X509_gmtime_adj(X509_getm_notBefore(certificate), wish.days_from * day);
        X509_gmtime_adj(X509_getm_notAfter(certificate), wish.days_to * day);
        X509_set_pubkey(certificate, made.key.get());
        std::string common = "test";
        if (wish.is_authority) common.append(" authority ").append(std::to_string(serial));
        X509_NAME_add_entry_by_txt(X509_get_subject_name(certificate), "CN", MBSTRING_ASC,
                                   reinterpret_cast<const unsigned char*>(common.c_str()), -1, -1,
                                   0);
        const Signed& issuer = authority != nullptr ? *authority : made;
        X509_set_issuer_name(certificate, X509_get_subject_name(issuer.certificate.get()));
        made.extend(NID_basic_constraints, wish.is_authority ? "critical,CA:TRUE" : "CA:FALSE");
        if (!wish.names.empty()) made.extend(NID_subject_alt_name, wish.names);
        X509_sign(certificate, issuer.key.get(), EVP_sha256());
        return made;
    }

private:
    void extend(int what, const std::string& value) {
        X509_EXTENSION* extension = X509V3_EXT_conf_nid(nullptr, nullptr, what, value.c_str());
        must(extension != nullptr);
        X509_add_ext(certificate.get(), extension, -1);
        X509_EXTENSION_free(extension);
    }
};

/// A temporary folder with PEM files.
class CertificateFolder {
public:
    CertificateFolder() {
        std::string name = (std::filesystem::temp_directory_path() / "ringlet-tls-XXXXXX").string();
        must(::mkdtemp(name.data()) != nullptr);
        path_ = name;
        write("authority", authority);
    }
    CertificateFolder(const CertificateFolder&) = delete;
    CertificateFolder& operator=(const CertificateFolder&) = delete;
    ~CertificateFolder() { std::filesystem::remove_all(path_); }

    [[nodiscard]] std::string path(std::string_view file) const { return path_ / file; }

    /// Writes NAME.pem and NAME.key.
    TlsCertificate write(const std::string& name, const Signed& what) const {
        TlsCertificate files{path(name + ".pem"), path(name + ".key")};
        std::FILE* file = std::fopen(files.chain_file.c_str(), "we");
        must(PEM_write_X509(file, what.certificate.get()) == 1);
        std::fclose(file);
        file = std::fopen(files.key_file.c_str(), "we");
        must(PEM_write_PrivateKey(file, what.key.get(), nullptr, nullptr, 0, nullptr, nullptr) ==
             1);
        std::fclose(file);
        return files;
    }
    TlsCertificate make(const std::string& name, const CertificateWish& wish) const {
        return write(name, Signed::make(wish, &authority));
    }

    const Signed authority = Signed::make({.names = "", .is_authority = true});

private:
    std::filesystem::path path_;
};

} // namespace ringlet::testing
