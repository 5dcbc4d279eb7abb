#include "serve/metrics_request.hpp"

#include <algorithm>
#include <cstddef>

namespace ringlet {

namespace {

constexpr std::string_view end_of_line = "\r\n";

char lower(char letter) {
    return letter >= 'A' && letter <= 'Z' ? static_cast<char>(letter - 'A' + 'a') : letter;
}

bool is_same_word(std::string_view left, std::string_view right) {
    return std::ranges::equal(left, right, {}, lower, lower);
}

// Takes everything up to a separator off the front; all if there is none.
std::string_view take_until(std::string_view& text, std::string_view separator) {
    const std::size_t end = std::min(text.find(separator), text.size());
    const std::string_view front = text.substr(0, end);
    text.remove_prefix(std::min(end + separator.size(), text.size()));
    return front;
}

std::string_view trimmed(std::string_view text) {
    while (!text.empty() && (text.front() == ' ' || text.front() == '\t')) text.remove_prefix(1);
    while (!text.empty() && (text.back() == ' ' || text.back() == '\t')) text.remove_suffix(1);
    return text;
}

// RFC 9110, token.
bool is_token(std::string_view text) {
    constexpr std::string_view marks = "!#$%&'*+-.^_`|~";
    return !text.empty() && std::ranges::all_of(text, [&](char letter) {
        return (letter >= '0' && letter <= '9') || (lower(letter) >= 'a' && lower(letter) <= 'z') ||
               marks.find(letter) != marks.npos;
    });
}

bool is_printable(std::string_view text) {
    return std::ranges::all_of(text, [](char letter) { return letter >= ' ' && letter != '\x7f'; });
}

// In thousandths, as q has three digits at most (RFC 9110, 12.4.2). What is malformed counts as 0.
int weight_of(std::string_view digits) {
    int weight = 0;
    int unit = 1000;
    for (const char digit : digits) {
        if (digit == '.' && unit == 100) continue;
        if (digit < '0' || digit > '9' || unit == 0) return 0;
        weight += (digit - '0') * unit;
        unit /= 10;
    }
    return std::min(weight, 1000);
}

} // namespace

MetricsFormat format_asked_for(std::string_view accept) {
    int text = 0;
    int openmetrics = 0;
    while (!accept.empty()) {
        std::string_view parameters = take_until(accept, ",");
        const std::string_view type = trimmed(take_until(parameters, ";"));
        int weight = 1000;
        while (!parameters.empty()) {
            std::string_view value = trimmed(take_until(parameters, ";"));
            if (is_same_word(trimmed(take_until(value, "=")), "q"))
                weight = weight_of(trimmed(value));
        }
        if (is_same_word(type, "application/openmetrics-text"))
            openmetrics = std::max(openmetrics, weight);
        if (is_same_word(type, "text/plain")) text = std::max(text, weight);
    }
    return openmetrics > 0 && openmetrics >= text ? MetricsFormat::openmetrics
                                                  : MetricsFormat::prometheus;
}

std::optional<MetricsRequest> parse_metrics_request(std::string_view head) {
    MetricsRequest request;
    std::string_view line = take_until(head, end_of_line);
    request.method = take_until(line, " ");
    request.path = take_until(line, " ");
    const std::string_view version = line;
    const bool is_http = version == "HTTP/1.1" || version == "HTTP/1.0";
    if (!is_http || !is_token(request.method) || !request.path.starts_with('/') ||
        !is_printable(request.path)) {
        return std::nullopt;
    }
    request.path = request.path.substr(0, request.path.find('?'));
    while (!head.empty()) {
        std::string_view value = take_until(head, end_of_line);
        if (value.empty()) break;
        const std::size_t colon = value.find(':');
        if (colon == value.npos) return std::nullopt;
        const std::string_view name = take_until(value, ":");
        if (!is_token(name)) return std::nullopt; // even a line that continues the previous one
        if (is_same_word(name, "accept")) request.format = format_asked_for(value);
    }
    return request;
}

} // namespace ringlet
