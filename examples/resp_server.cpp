// A server that redis-cli and redis-benchmark talk to: resp_server [ADDRESS]. It knows PING, ECHO, SET, GET, DEL, INCR,
// COMMAND and QUIT.
//
// The protocol is RESP: a command is an array of strings, each with its length in front. Commands that come together
// are answered together: the Writer sends when the reading has nothing left.
//
// Try it:  ./example_resp_server &  redis-benchmark -p 6380 -t set,get -P 16

#include <ringlet/ringlet.hpp>

#include <charconv>
#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

using namespace ringlet;

namespace {

constexpr std::int64_t arguments_limit = 1'000;
constexpr std::int64_t argument_bytes_limit = 1 << 20;

using Store = std::unordered_map<std::string, std::string>;

std::optional<std::int64_t> number_in(std::string_view text) {
    std::int64_t number = 0;
    const auto [end, failure] = std::from_chars(text.data(), text.data() + text.size(), number);
    if (failure != std::errc() || end != text.data() + text.size()) return std::nullopt;
    return number;
}

// The number in a line such as "*3" or "$5".
Result<std::size_t> count_in(const Result<ReceivedLine>& line, char kind, std::int64_t limit) {
    if (!line) return line.error();
    const bool is_right = line->text.starts_with(kind);
    const auto number = is_right ? number_in(line->text.substr(1)) : std::nullopt;
    if (!number || *number < 0 || *number > limit) return std::errc::bad_message;
    return static_cast<std::size_t>(*number);
}

Task<Result<std::vector<std::string>>> read_command(Reader<StreamSocket>& reader) {
    std::vector<std::string> command;
    auto head = co_await reader.read_line(32);
    const auto count = count_in(head, '*', arguments_limit);
    if (!count) co_return count.error();
    command.reserve(*count);
    for (std::size_t i = 0; i < *count; ++i) {
        auto line = co_await reader.read_line(32);
        const auto size = count_in(line, '$', argument_bytes_limit);
        if (!size) co_return size.error();
        std::string argument(*size + 2, '\0'); // and "\r\n"
        auto read = co_await reader.read_exactly(std::as_writable_bytes(std::span(argument)));
        if (!read) co_return read.error();
        if (!argument.ends_with("\r\n")) co_return std::errc::bad_message;
        argument.resize(argument.size() - 2);
        command.push_back(std::move(argument));
    }
    co_return command;
}

// ---- the commands -------------------------------------------------------------------------------

std::string bulk(std::string_view text) {
    std::string reply("$"); // appended to: g++ 12 warns of "$" + a temporary at -O3
    return reply.append(std::to_string(text.size())).append("\r\n").append(text).append("\r\n");
}

std::string error(std::string_view text) {
    return std::string("-ERR ").append(text).append("\r\n");
}

std::string increment(std::string& value) {
    const auto number = value.empty() ? 0 : number_in(value);
    if (!number) return error("value is not an integer");
    value = std::to_string(*number + 1);
    return ":" + value + "\r\n";
}

std::string answer(Store& store, std::vector<std::string>& command) {
    std::string& name = command.front();
    for (char& letter : name) letter = static_cast<char>(letter & ~0x20); // capitals
    const std::size_t arguments = command.size() - 1;
    if (name == "PING") return arguments == 0 ? "+PONG\r\n" : bulk(command[1]);
    if (name == "ECHO" && arguments == 1) return bulk(command[1]);
    if (name == "SET" && arguments == 2) {
        store[std::move(command[1])] = std::move(command[2]);
        return "+OK\r\n";
    }
    if (name == "GET" && arguments == 1) {
        const auto found = store.find(command[1]);
        return found == store.end() ? "$-1\r\n" : bulk(found->second);
    }
    if (name == "DEL" && arguments == 1) return store.erase(command[1]) == 1 ? ":1\r\n" : ":0\r\n";
    if (name == "INCR" && arguments == 1) return increment(store[command[1]]);
    if (name == "COMMAND" || name == "CONFIG") return "*0\r\n"; // what the clients ask for first
    return error("unknown command '" + name + "', or the wrong number of arguments");
}

struct RespServer {
    std::shared_ptr<Store> store = std::make_shared<Store>();

    Task<Result<void>> operator()(StreamSocket stream) {
        return serve_client(store, std::move(stream));
    }

    static Task<Result<void>> serve_client(std::shared_ptr<Store> store, StreamSocket stream) {
        Reader reader(stream);
        Writer writer(stream);
        for (;;) {
            auto command = co_await read_command(reader);
            if (!command || command->empty()) {
                auto flushed = co_await writer.flush();
                static_cast<void>(flushed);
                if (command || command.error() == Errc::end_of_stream) co_return Result<void>();
                co_return command.error();
            }
            const bool quits = command->front() == "QUIT" || command->front() == "quit";
            const std::string reply = quits ? "+OK\r\n" : answer(*store, *command);
            auto written = co_await writer.write(reply);
            if (!written) co_return written;
            if (quits) {
                auto flushed = co_await writer.flush();
                co_return flushed;
            }
        }
    }
};

} // namespace

int main(int argc, char** argv) {
    ServeOptions options;
    options.listen = argc > 1 ? argv[1] : "127.0.0.1:6380";
    options.report_errors = true;
    return exit_status(serve(options, RespServer()));
}
