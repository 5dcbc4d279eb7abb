// Answers every line in capitals: line_server [ADDRESS]
//
// TCP carries bytes, not messages. A line may come in pieces, and several may come at once: a Reader gives them one by
// one, with a limit for what it keeps, and a Writer sends the answers together.
//
// Try it:  ./example_line_server &  printf 'one\ntwo\n' | socat - TCP:127.0.0.1:3201

#include <ringlet/ringlet.hpp>

#include <algorithm>
#include <cctype>
#include <string>

using namespace ringlet;

namespace {

char capital(char letter) {
    return static_cast<char>(std::toupper(static_cast<unsigned char>(letter)));
}

Task<Result<void>> answer_lines(StreamSocket stream) {
    Reader reader(stream);
    Writer writer(stream);
    for (;;) {
        auto line = co_await reader.read_line();
        if (line.error() == Errc::end_of_stream) break;
        if (!line) co_return line.error();

        std::string answer(line->text);
        std::transform(answer.begin(), answer.end(), answer.begin(), capital);
        auto written = co_await writer.write(answer, line->complete ? "\n" : "");
        if (!written) co_return written;
    }
    auto flushed = co_await writer.flush();
    co_return flushed;
}

} // namespace

int main(int argc, char** argv) {
    ServeOptions options;
    options.listen = argc > 1 ? argv[1] : "127.0.0.1:3201";
    options.idle_timeout = std::chrono::minutes(5);
    return exit_status(serve(options, answer_lines));
}
