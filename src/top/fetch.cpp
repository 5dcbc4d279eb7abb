#include "fetch.hpp"

#include <ringlet/connect.hpp>
#include <ringlet/deadline.hpp>
#include <ringlet/error.hpp>

#include <fmt/format.h>

#include <array>
#include <cstddef>
#include <span>
#include <string_view>
#include <system_error>
#include <utility>

#include <sysexits.h>

using namespace ringlet;

namespace {

constexpr std::string_view request =
    "GET /metrics HTTP/1.1\r\nHost: ringlet\r\nAccept: text/plain\r\nConnection: close\r\n\r\n";

constexpr std::string_view http = "HTTP/1.";

// A worker has about 7 KiB of metrics.
constexpr std::size_t answer_bytes_limit = std::size_t{16} << 20;

Answer trouble(std::string what, int exit_status) {
    return {.scrape = std::nullopt, .trouble = std::move(what), .exit_status = exit_status};
}

Answer no_connection(std::error_code error) {
    if (error == Errc::unknown_host) return trouble(error.message(), EX_NOHOST);
    if (error == Errc::invalid_endpoint) return trouble(error.message(), EX_USAGE);
    if (error == std::errc::permission_denied) return trouble("permission denied", EX_NOPERM);
    if (error == std::errc::connection_refused || error == std::errc::no_such_file_or_directory)
        return trouble("nobody listens there", EX_UNAVAILABLE);
    return trouble(error.message(), EX_UNAVAILABLE);
}

Answer read_answer(std::string_view text) {
    constexpr std::string_view foreign = "the answer is not the metrics of a ringlet server";
    const std::size_t end_of_head = text.find("\r\n\r\n");
    const bool is_http = text.starts_with("HTTP/1.1 ") || text.starts_with("HTTP/1.0 ");
    if (!is_http || end_of_head == text.npos) return trouble(std::string(foreign), EX_PROTOCOL);
    const std::string_view status = text.substr(9, text.find("\r\n") - 9);
    if (!status.starts_with("200"))
        return trouble(fmt::format("{} (HTTP {})", foreign, status.substr(0, 60)), EX_PROTOCOL);
    auto scrape = read_scrape(text.substr(end_of_head + 4));
    if (!scrape) return trouble(std::string(foreign), EX_PROTOCOL);
    return {.scrape = std::move(scrape)};
}

Task<Answer> ask(std::string address) {
    auto stream = co_await connect(std::move(address));
    if (!stream) co_return no_connection(stream.error());
    auto sent = co_await stream->send_all(request);
    std::string text;
    std::array<std::byte, 16384> memory{};
    while (sent && text.size() < answer_bytes_limit) {
        auto more = co_await stream->recv(std::span(memory));
        if (!more) co_return trouble(more.error().message(), EX_UNAVAILABLE);
        if (*more == 0) break;
        text.append(reinterpret_cast<const char*>(memory.data()), *more);
        const std::string_view begin = std::string_view(text).substr(0, http.size());
        if (!http.starts_with(begin)) break; // another protocol, which may wait for us
    }
    if (!sent) co_return trouble(sent.error().message(), EX_UNAVAILABLE);
    co_return read_answer(text);
}

} // namespace

Task<Answer> fetch(std::string address) {
    Answer answer;
    auto asking = [&]() -> Task<> {
        auto came = co_await ask(std::move(address));
        answer = std::move(came);
    };
    auto done = co_await with_timeout(answer_time_limit, asking);
    if (done.error() == std::errc::timed_out) {
        co_return trouble(fmt::format("no answer within {} seconds", answer_time_limit.count()),
                          EX_UNAVAILABLE);
    }
    co_return answer;
}
