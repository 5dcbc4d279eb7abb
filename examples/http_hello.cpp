// Says hello over HTTP/1.1, with keep-alive and pipelining: http_hello [HOST:PORT [CERTIFICATE KEY]]
//
// With a certificate and its key (PEM) it speaks HTTPS: the handler is the same.
//
// Just enough for curl and for load generators. It ignores method and path, and refuses requests
// with a body.
//
// Try it:  ./example_http_hello &  curl -i http://127.0.0.1:3202/

#include <ringlet/ringlet.hpp>
#include <ringlet/tls.hpp>

#include <string>
#include <string_view>

using namespace ringlet;

namespace {

constexpr std::size_t head_bytes_limit = 8192;
constexpr std::string_view end_of_head = "\r\n\r\n";

constexpr std::string_view hello = "HTTP/1.1 200 OK\r\n"
                                   "Content-Type: text/plain\r\n"
                                   "Content-Length: 6\r\n"
                                   "\r\n"
                                   "hello\n";
constexpr std::string_view refusal = "HTTP/1.1 400 Bad Request\r\n"
                                     "Content-Length: 0\r\n"
                                     "Connection: close\r\n"
                                     "\r\n";

std::string lower_case(std::string_view text) {
    std::string lower(text);
    for (char& letter : lower) {
        if (letter >= 'A' && letter <= 'Z') letter = static_cast<char>(letter - 'A' + 'a');
    }
    return lower;
}

struct Answer {
    std::string text;
    bool is_last = false;
};

// Answers every request that is complete and takes it out of `received`.
Answer answer(std::string& received) {
    Answer answer;
    while (!answer.is_last) {
        const std::size_t end = received.find(end_of_head);
        if (end == std::string::npos) {
            answer.is_last = received.size() > head_bytes_limit;
            break;
        }
        const std::string head = lower_case(std::string_view(received).substr(0, end + 2));
        received.erase(0, end + end_of_head.size());

        const bool has_body = head.find("\r\ncontent-length:") != std::string::npos ||
                              head.find("\r\ntransfer-encoding:") != std::string::npos;
        answer.text += has_body ? refusal : hello;
        answer.is_last = has_body || head.find("\r\nconnection: close\r\n") != std::string::npos ||
                         head.find(" http/1.0\r\n") != std::string::npos;
    }
    return answer;
}

template <ByteStream Stream>
Task<> say_hello(Stream stream) {
    std::string received;
    for (;;) {
        auto chunk = co_await stream.recv();
        if (!chunk || chunk->empty()) co_return;
        received.append(reinterpret_cast<const char*>(chunk->data()), chunk->size());
        *chunk = Buffer(); // back to the pool: it is not needed while we send

        const Answer next = answer(received);
        auto sent = co_await stream.send_all(std::as_bytes(std::span(next.text)));
        if (!sent || next.is_last) co_return;
    }
}

} // namespace

int main(int argc, char** argv) {
    TlsServeOptions options;
    options.serve.listen = argc > 1 ? argv[1] : "127.0.0.1:3202";
    options.serve.idle_timeout = std::chrono::seconds(30);
    if (argc <= 3) return exit_status(serve(options.serve, say_hello<TcpStream>));

    options.tls.certificates = {{argv[2], argv[3]}};
    options.tls.protocols = {"http/1.1"};
    return exit_status(serve(options, say_hello<TlsStream>));
}
