#include "openssl.hpp"

#include <array>
#include <cstdio>
#include <ctime>

namespace ringlet {

std::string take_openssl_error() {
    const unsigned long code = ERR_get_error();
    ERR_clear_error();
    if (code == 0) return "OpenSSL does not say why";
    const char* reason = ERR_reason_error_string(code);
    if (reason != nullptr) return reason;
    std::array<char, 256> text{};
    ERR_error_string_n(code, text.data(), text.size());
    return text.data();
}

std::string name_of(const X509* certificate) {
    std::string first;
    for_each_name(certificate, [&first](std::string_view name) {
        if (first.empty()) first = name;
    });
    return first.empty() ? "(no name)" : first;
}

std::string date_of(const ASN1_TIME* time) {
    std::tm parts{};
    if (ASN1_TIME_to_tm(time, &parts) != 1) return "an unreadable date";
    std::array<char, 32> text{};
    std::strftime(text.data(), text.size(), "%Y-%m-%d", &parts);
    return text.data();
}

} // namespace ringlet
