// Answers every line in capitals: line_server [HOST:PORT]
//
// TCP carries bytes, not messages. A line may come in pieces, and several may come at once; so the
// handler keeps what is unfinished, and what it keeps has a limit.
//
// Try it:  ./example_line_server &  printf 'one\ntwo\n' | socat - TCP:127.0.0.1:3201

#include <ringlet/ringlet.hpp>

#include <algorithm>
#include <cctype>
#include <string>
#include <string_view>
#include <utility>

using namespace ringlet;

namespace {

constexpr std::size_t line_bytes_limit = 65'536;

std::string_view text_of(const Buffer& buffer) {
    return {reinterpret_cast<const char*>(buffer.data()), buffer.size()};
}

char capital(char letter) {
    return static_cast<char>(std::toupper(static_cast<unsigned char>(letter)));
}

// Takes the finished lines out of `text`, and leaves the unfinished one.
std::string take_lines(std::string& text) {
    std::string rest = text.substr(text.rfind('\n') + 1); // npos + 1 is 0: nothing is finished
    text.resize(text.size() - rest.size());
    return std::exchange(text, std::move(rest));
}

Task<> answer_lines(TcpStream stream) {
    std::string unfinished;
    for (;;) {
        auto chunk = co_await stream.recv();
        if (!chunk || chunk->empty()) co_return;
        unfinished += text_of(*chunk);
        *chunk = Buffer(); // back to the pool: it is not needed while we send

        std::string lines = take_lines(unfinished);
        if (unfinished.size() > line_bytes_limit) co_return;
        std::transform(lines.begin(), lines.end(), lines.begin(), capital);

        auto sent = co_await stream.send_all(std::as_bytes(std::span(lines)));
        if (!sent) co_return;
    }
}

} // namespace

int main(int argc, char** argv) {
    ServeOptions options;
    options.listen = argc > 1 ? argv[1] : "127.0.0.1:3201";
    options.idle_timeout = std::chrono::minutes(5);
    return exit_status(serve(options, answer_lines));
}
