// HTTP/1.1: http_server [ADDRESS [FOLDER]]. GET of a file in the folder, GET /hello, POST /echo; keep-alive, pipelining,
// bodies with a length or in chunks, limits for everything. It refuses what it does not understand, and closes: if a
// proxy and a server read the same bytes differently, requests can be smuggled past the proxy (RFC 9112, section 11.2).
//
// Try it:  ./example_http_server 127.0.0.1:8080 . &  curl -d hello http://127.0.0.1:8080/echo

#include <ringlet/ringlet.hpp>

#include <algorithm>
#include <charconv>
#include <optional>
#include <string>
#include <string_view>

using namespace ringlet;
using namespace std::chrono_literals;

namespace {

constexpr std::size_t line_limit = 8'192;
constexpr int headers_limit = 100;
constexpr std::size_t body_limit = 1 << 20;

struct Request {
    std::string method;
    std::string target;
    std::string body;
    bool keeps_alive = true;
    bool expects_continue = false;
    bool is_chunked = false;
    std::optional<std::size_t> length;
    int hosts = 0;
    int refused = 0; // a status, with which the connection ends
};

struct Refused {
    int status;
};

void refuse_if(bool wrong, int status) {
    if (wrong) throw Refused{status};
}

bool is_token(std::string_view text) { // RFC 9110, section 5.6.2
    constexpr std::string_view others = "!#$%&'*+-.^_`|~";
    return !text.empty() && std::all_of(text.begin(), text.end(), [&](unsigned char letter) {
        return std::isalnum(letter) != 0 || others.find(static_cast<char>(letter)) != others.npos;
    });
}

std::size_t number_in(std::string_view text, int base) {
    std::size_t number = 0;
    const char* end = text.data() + text.size();
    const auto read = std::from_chars(text.data(), end, number, base);
    refuse_if(text.empty() || read.ec != std::errc() || read.ptr != end, 400);
    return number;
}

void parse_request_line(std::string_view line, Request& request) {
    const auto first = line.find(' ');
    const auto last = line.rfind(' ');
    refuse_if(line.find_first_of(std::string_view("\t\r\n\0", 4)) != line.npos, 400);
    refuse_if(first == line.npos || line.find(' ', first + 1) != last, 400);
    request.method = line.substr(0, first);
    request.target = line.substr(first + 1, last - first - 1);
    refuse_if(!is_token(request.method) || !request.target.starts_with('/'), 400);
    request.keeps_alive = line.substr(last + 1) == "HTTP/1.1";
    refuse_if(!request.keeps_alive && line.substr(last + 1) != "HTTP/1.0", 505);
}

void parse_header(std::string line, Request& request) {
    std::transform(line.begin(), line.end(), line.begin(),
                   [](unsigned char letter) { return static_cast<char>(std::tolower(letter)); });
    const auto colon = line.find(':');
    const std::string_view name = std::string_view(line).substr(0, colon);
    refuse_if(colon == line.npos || !is_token(name), 400);
    std::string_view value = std::string_view(line).substr(colon + 1);
    while (value.starts_with(' ') || value.starts_with('\t')) value.remove_prefix(1);
    while (value.ends_with(' ') || value.ends_with('\t')) value.remove_suffix(1);
    refuse_if(value.find_first_of(std::string_view("\r\n\0", 3)) != value.npos, 400);
    if (name == "host") ++request.hosts;
    if (name == "expect") request.expects_continue = value == "100-continue";
    if (name == "connection" && value.find("close") != value.npos) request.keeps_alive = false;
    if (name == "transfer-encoding") {
        refuse_if(value != "chunked" || request.is_chunked, 501);
        request.is_chunked = true;
    }
    if (name == "content-length") {
        refuse_if(request.length.has_value(), 400);
        request.length = number_in(value, 10);
    }
}

class Connection {
public:
    explicit Connection(StreamSocket& stream) : reader_(stream), writer_(stream) {}

    Task<Result<void>> serve(const std::string& folder) {
        for (;;) {
            Request request;
            try {
                auto read = co_await with_timeout(30s, read_into(request));
                if (read.error() == Errc::end_of_stream) break;
                if (!read) co_return read;
            } catch (const Refused& refused) {
                request.keeps_alive = false;
                request.refused = refused.status;
            }
            auto answered = co_await answer(request, folder);
            if (!answered) co_return answered;
            if (!request.keeps_alive) break;
        }
        auto flushed = co_await writer_.flush();
        co_return flushed;
    }

private:
    Task<Result<void>> read_into(Request& request) {
        for (int count = 0;; ++count) {
            auto line = co_await reader_.read_until("\r\n", line_limit);
            refuse_if(line.error() == Errc::message_too_long, count == 0 ? 414 : 431);
            if (!line) co_return line.error();
            if (!line->complete) co_return Errc::message_truncated;
            if (count > 0 && line->text.empty()) break;
            if (count == 0) parse_request_line(line->text, request);
            refuse_if(count > headers_limit, 431);
            if (count > 0) parse_header(std::string(line->text), request);
        }
        // Both ways at once, or two hosts: each reader may choose another one.
        refuse_if(request.is_chunked && request.length, 400);
        refuse_if(request.hosts > 1 || (request.hosts == 0 && request.keeps_alive), 400);
        refuse_if(request.length.value_or(0) > body_limit, 413);
        if (request.expects_continue) {
            auto told = co_await writer_.write("HTTP/1.1 100 Continue\r\n\r\n");
            if (!told) co_return told.error();
        }
        std::size_t size = request.length.value_or(0);
        do {
            if (request.is_chunked) {
                auto line = co_await reader_.read_until("\r\n", line_limit);
                if (!line) co_return line.error();
                size = number_in(line->text.substr(0, line->text.find(';')), 16);
                refuse_if(size > body_limit - request.body.size(), 413);
            }
            const std::size_t before = request.body.size();
            request.body.resize(before + size);
            const std::span part = std::span(request.body).subspan(before);
            auto read = co_await reader_.read_exactly(std::as_writable_bytes(part));
            if (!read) co_return read.error();
            if (!request.is_chunked) break;
            auto end = co_await reader_.read_until("\r\n", line_limit); // trailers are refused
            if (!end) co_return end.error();
            refuse_if(!end->text.empty(), 400);
        } while (size > 0);
        co_return Result<void>();
    }

    Task<Result<void>> answer(const Request& request, const std::string& folder) {
        const bool reads = request.method == "GET" || request.method == "HEAD";
        int status = request.refused != 0 ? request.refused : reads ? 404 : 405;
        std::string body;
        if (request.refused == 0 && request.target == "/echo" && request.method == "POST") {
            status = 200;
            body = request.body;
        } else if (request.refused == 0 && request.target == "/hello" && reads) {
            status = 200;
            body = "Hello, world!\n";
        } else if (status == 404 && !folder.empty() &&
                   request.target.find("..") == request.target.npos) {
            auto file = co_await read_file(folder + request.target, 64 * body_limit);
            if (file) status = 200;
            if (file) body = std::move(*file);
        }
        const std::string head = "HTTP/1.1 " + std::to_string(status) +
                                 (status == 200 ? " OK" : " Refused") +
                                 "\r\nContent-Length: " + std::to_string(body.size()) +
                                 (request.keeps_alive ? "\r\n" : "\r\nConnection: close\r\n");
        const std::string_view sent_body = request.method == "HEAD" ? "" : std::string_view(body);
        auto sent = co_await writer_.write(head, "\r\n", sent_body);
        co_return sent;
    }

    Reader<StreamSocket> reader_;
    Writer<StreamSocket> writer_;
};

} // namespace

int main(int argc, char** argv) {
    ServeOptions options;
    options.listen = argc > 1 ? argv[1] : "127.0.0.1:8080";
    options.idle_timeout = 1min;
    const std::string folder = argc > 2 ? argv[2] : "";
    auto handle = [folder](StreamSocket stream) -> Task<Result<void>> {
        Connection connection(stream);
        auto served = co_await connection.serve(folder);
        co_return served;
    };
    return exit_status(serve(options, handle));
}
