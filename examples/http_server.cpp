// HTTP/1.1: http_server [ADDRESS [FOLDER]]. GET of a file in the folder, GET /hello, POST /echo; keep-alive, pipelining,
// bodies with a length or in chunks, limits for everything.
//
// What it does not understand it refuses, and closes: two who read the same bytes in two ways is how requests are
// smuggled past a proxy (RFC 9112, section 11.2).
//
// Try it:  ./example_http_server 127.0.0.1:8080 . &  curl -d hello http://127.0.0.1:8080/echo

#include <ringlet/ringlet.hpp>

#include <algorithm>
#include <charconv>
#include <optional>
#include <string>
#include <string_view>
#include <system_error>

using namespace ringlet;
using namespace std::chrono_literals;

namespace {

constexpr std::size_t line_limit = 8'192;
constexpr std::size_t headers_limit = 100;
constexpr std::size_t body_limit = 1 << 20;
constexpr std::size_t file_limit = 64 << 20;

struct Request {
    std::string method;
    std::string target;
    std::string body;
    bool keeps_alive = true;
    bool expects_continue = false;
    bool is_chunked = false;
    std::optional<std::size_t> length;
    int hosts = 0;
};

/// What cannot be answered otherwise: a status, with which the connection ends.
using Refusal = std::optional<int>;

bool is_token(std::string_view text) { // RFC 9110, section 5.6.2
    constexpr std::string_view others = "!#$%&'*+-.^_`|~";
    return !text.empty() && std::all_of(text.begin(), text.end(), [&](unsigned char letter) {
        return std::isalnum(letter) != 0 || others.find(static_cast<char>(letter)) != others.npos;
    });
}

std::optional<std::size_t> number_in(std::string_view text, int base) {
    std::size_t number = 0;
    const auto [end, failure] =
        std::from_chars(text.data(), text.data() + text.size(), number, base);
    if (text.empty() || failure != std::errc() || end != text.data() + text.size())
        return std::nullopt;
    return number;
}

std::string small_letters(std::string_view text) {
    std::string small(text);
    for (char& letter : small) {
        letter = static_cast<char>(std::tolower(static_cast<unsigned char>(letter)));
    }
    return small;
}

Refusal parse_request_line(std::string_view line, Request& request) {
    const auto first = line.find(' ');
    const auto last = line.rfind(' ');
    if (first == line.npos || last == first) return 400;
    request.method = line.substr(0, first);
    request.target = line.substr(first + 1, last - first - 1);
    const std::string_view version = line.substr(last + 1);
    if (!is_token(request.method) || !request.target.starts_with('/')) return 400;
    if (request.target.find(' ') != std::string::npos) return 400;
    if (version == "HTTP/1.0") request.keeps_alive = false;
    return version == "HTTP/1.1" || version == "HTTP/1.0" ? Refusal() : Refusal(505);
}

Refusal parse_header(std::string_view line, Request& request) {
    const auto colon = line.find(':');
    if (colon == line.npos || !is_token(line.substr(0, colon))) return 400;
    const std::string name = small_letters(line.substr(0, colon));
    std::string_view value = line.substr(colon + 1);
    while (value.starts_with(' ') || value.starts_with('\t')) value.remove_prefix(1);
    while (value.ends_with(' ') || value.ends_with('\t')) value.remove_suffix(1);
    if (value.find_first_of(std::string_view("\r\n\0", 3)) != value.npos) return 400;
    if (name == "host") ++request.hosts;
    if (name == "expect") request.expects_continue = small_letters(value) == "100-continue";
    if (name == "connection" && small_letters(value) == "close") request.keeps_alive = false;
    if (name == "transfer-encoding") {
        if (small_letters(value) != "chunked" || request.is_chunked) return 501;
        request.is_chunked = true;
    }
    if (name == "content-length") {
        const auto number = number_in(value, 10);
        if (!number || request.length) return 400;
        request.length = number;
    }
    return std::nullopt;
}

// Both ways at once, or two hosts: each reader may choose another one.
Refusal check(const Request& request) {
    if (request.is_chunked && request.length) return 400;
    if (request.hosts != 1 && (request.keeps_alive || request.hosts > 1)) return 400;
    if (request.length.value_or(0) > body_limit) return 413;
    return std::nullopt;
}

class Connection {
public:
    Connection(StreamSocket& stream, const std::string& folder)
        : reader_(stream), writer_(stream), folder_(folder) {}

    Task<Result<void>> serve() {
        for (;;) {
            Request request;
            auto refusal = co_await with_timeout(30s, read_request(request));
            if (!refusal) co_return refusal.error();
            if (*refusal) {
                auto refused = co_await respond(**refusal, "", false);
                if (!refused) co_return refused;
                break;
            }
            auto answered = co_await answer(request);
            if (!answered) co_return answered;
            if (!request.keeps_alive) break;
        }
        auto flushed = co_await writer_.flush();
        co_return flushed;
    }

private:
    Task<Result<Refusal>> read_request(Request& request) {
        for (std::size_t count = 0; count <= headers_limit; ++count) {
            auto line = co_await reader_.read_until("\r\n", line_limit);
            if (line.error() == Errc::message_too_long) co_return Refusal(count == 0 ? 414 : 431);
            if (!line) co_return line.error();
            if (!line->complete) co_return Errc::message_truncated;
            if (count > 0 && line->text.empty()) {
                const auto refusal = check(request);
                if (refusal) co_return refusal;
                auto body = co_await read_body(request);
                co_return body;
            }
            const auto refusal = count == 0 ? parse_request_line(line->text, request)
                                            : parse_header(line->text, request);
            if (refusal) co_return refusal;
        }
        co_return Refusal(431);
    }

    Task<Result<Refusal>> read_body(Request& request) {
        if (request.expects_continue) {
            auto told = co_await writer_.write("HTTP/1.1 100 Continue\r\n\r\n");
            if (!told) co_return told.error();
        }
        if (!request.is_chunked) {
            auto read = co_await read_part(request.body, request.length.value_or(0));
            if (!read) co_return read.error();
            co_return Refusal();
        }
        for (;;) {
            auto line = co_await reader_.read_until("\r\n", line_limit);
            if (!line) co_return line.error();
            const auto size = number_in(line->text.substr(0, line->text.find(';')), 16);
            if (!size) co_return Refusal(400);
            if (*size > body_limit - request.body.size()) co_return Refusal(413);
            auto read = co_await read_part(request.body, *size);
            if (!read) co_return read.error();
            auto end = co_await reader_.read_until("\r\n", line_limit); // trailers are not taken
            if (!end) co_return end.error();
            if (!end->text.empty()) co_return Refusal(400);
            if (*size == 0) co_return Refusal();
        }
    }

    Task<Result<void>> read_part(std::string& body, std::size_t size) {
        const std::size_t before = body.size();
        body.resize(before + size);
        auto read =
            co_await reader_.read_exactly(std::as_writable_bytes(std::span(body).subspan(before)));
        co_return read;
    }

    Task<Result<void>> answer(const Request& request) {
        const bool reads = request.method == "GET" || request.method == "HEAD";
        int status = reads ? 404 : 405;
        std::string body;
        if (request.target == "/echo" && request.method == "POST") {
            status = 200;
            body = request.body;
        } else if (request.target == "/hello" && reads) {
            status = 200;
            body = "Hello, world!\n";
        } else if (reads && !folder_.empty() && request.target.find("..") == std::string::npos) {
            auto file = co_await read_file(folder_ + request.target, file_limit);
            if (file) {
                status = 200;
                body = std::move(*file);
            }
        }
        auto done = co_await respond(status, body, request.keeps_alive, request.method != "HEAD");
        co_return done;
    }

    Task<Result<void>> respond(int status, std::string_view body, bool keeps_alive,
                               bool sends_body = true) {
        const std::string head = "HTTP/1.1 " + std::to_string(status) +
                                 (status == 200 ? " OK" : " Refused") +
                                 "\r\nContent-Length: " + std::to_string(body.size()) +
                                 (keeps_alive ? "\r\n\r\n" : "\r\nConnection: close\r\n\r\n");
        auto written = co_await writer_.write(head);
        if (!written || !sends_body) co_return written;
        if (body.size() < 16'384) {
            written = co_await writer_.write(body);
        } else {
            written = co_await writer_.send_all(body); // without a copy
        }
        co_return written;
    }

    Reader<StreamSocket> reader_;
    Writer<StreamSocket> writer_;
    const std::string& folder_;
};

struct Handler {
    std::string folder;

    Task<Result<void>> operator()(StreamSocket stream) { return run(folder, std::move(stream)); }

    static Task<Result<void>> run(std::string folder, StreamSocket stream) {
        Connection connection(stream, folder);
        auto served = co_await connection.serve();
        co_return served;
    }
};

} // namespace

int main(int argc, char** argv) {
    ServeOptions options;
    options.listen = argc > 1 ? argv[1] : "127.0.0.1:8080";
    options.idle_timeout = 1min;
    return exit_status(serve(options, Handler{argc > 2 ? argv[2] : ""}));
}
