// Answers DNS queries from a list: dns_answerer [ADDRESS] NAME=IPV4 ...
//
// One socket serves everybody: a datagram is a whole question, and its answer goes back to where it came from, from the
// address that was asked.
//
// Try it:  ./example_dns_answerer 127.0.0.1:5300 example.test=192.0.2.7 &  dig -p 5300 @127.0.0.1 example.test

#include <ringlet/ringlet.hpp>

#include <array>
#include <cstdio>
#include <map>
#include <string>
#include <string_view>
#include <vector>

#include <arpa/inet.h>
#include <sysexits.h>

using namespace ringlet;

namespace {

constexpr std::size_t header_bytes = 12; // RFC 1035, 4.1.1
constexpr std::size_t datagram_bytes = 512;

using Names = std::map<std::string, in_addr>;

/// What is asked: a name in small letters, its type, and how long the question is.
struct Question {
    std::string name;
    unsigned type = 0;
    std::size_t end = 0;
};

unsigned two_bytes(std::string_view message, std::size_t at) {
    const auto byte = [&](std::size_t index) {
        return static_cast<unsigned>(static_cast<unsigned char>(message[index]));
    };
    return byte(at) << 8 | byte(at + 1);
}

// Labels with their lengths in front, up to one of length 0, then type and class. No compression: it is the first.
std::optional<Question> parse(std::string_view message) {
    if (message.size() < header_bytes || two_bytes(message, 4) != 1) return std::nullopt;
    Question question;
    std::size_t at = header_bytes;
    for (;;) {
        if (at >= message.size()) return std::nullopt;
        const auto size = static_cast<std::size_t>(static_cast<unsigned char>(message[at++]));
        if (size == 0) break;
        if (size > 63 || at + size > message.size()) return std::nullopt;
        if (!question.name.empty()) question.name += '.';
        for (const char letter : message.substr(at, size)) {
            question.name += static_cast<char>(std::tolower(static_cast<unsigned char>(letter)));
        }
        at += size;
    }
    if (at + 4 > message.size()) return std::nullopt;
    question.type = two_bytes(message, at);
    question.end = at + 4;
    return question;
}

std::string answer(const Names& names, std::string_view message) {
    constexpr unsigned address_type = 1;
    if (message.size() < header_bytes) return {}; // there is nothing to answer
    const auto question = parse(message);
    std::string reply(message.substr(0, question ? question->end : header_bytes));
    const auto found = question ? names.find(question->name) : names.end();
    const bool has_address = found != names.end() && question->type == address_type;
    const char code = !question              ? 1
                      : found == names.end() ? 3
                                             : 0; // malformed; no such name; all is well
    reply[2] = static_cast<char>((message[2] & 0x01) | 0x84); // an answer, authoritative
    reply[3] = code;
    for (std::size_t i = 4; i < header_bytes; ++i) reply[i] = 0;
    if (question) reply[5] = 1;
    if (!has_address) return reply;
    reply[7] = 1;
    // The name is that of the question (a pointer to byte 12); type A, class IN, a minute to live, four bytes.
    constexpr char record[] = "\xc0\x0c\0\x01\0\x01\0\0\0\x3c\0\x04";
    reply.append(record, sizeof record - 1);
    reply.append(reinterpret_cast<const char*>(&found->second), sizeof(in_addr));
    return reply;
}

Task<Result<void>> answer_all(DatagramSocket& socket, const Names& names) {
    std::array<std::byte, datagram_bytes> memory;
    for (;;) {
        auto asked = co_await socket.recv_from(memory);
        if (!asked) co_return asked.error();
        // What else is there already is answered before it waits again.
        for (std::optional<ReceivedDatagram> next = *asked; next;) {
            const std::string_view message(reinterpret_cast<const char*>(memory.data()),
                                           next->size_bytes);
            const std::string reply = answer(names, message);
            const std::span<const std::byte> bytes = std::as_bytes(std::span(reply));
            if (!reply.empty()) {
                auto sent =
                    co_await socket.send_to(bytes, next->from, next->to.value_or(Endpoint()));
                if (!sent)
                    std::fprintf(stderr, "no answer to %s\n", next->from.to_string().c_str());
            }
            auto more = socket.try_recv_from(memory);
            next = more ? *more : std::nullopt;
        }
    }
}

Task<Result<void>> serve_names(DatagramSocket socket, Names names) {
    auto signals = SignalStream::create({SIGTERM, SIGINT});
    if (!signals) co_return signals.error();
    auto ended = co_await when_any(answer_all(socket, names), signals->next());
    auto& [answers, stop] = ended.results;
    co_return stop ? Result<void>() : answers;
}

} // namespace

int main(int argc, char** argv) {
    auto endpoint = Endpoint::parse(argc > 1 ? argv[1] : "127.0.0.1:5300");
    if (!endpoint) return exit_status(endpoint);
    Names names;
    for (int i = 2; i < argc; ++i) {
        const std::string_view pair = argv[i];
        const auto equals = pair.find('=');
        in_addr address{};
        if (equals == pair.npos ||
            ::inet_pton(AF_INET, std::string(pair.substr(equals + 1)).c_str(), &address) != 1) {
            std::fprintf(stderr, "write NAME=IPV4, not '%s'\n", argv[i]);
            return EX_USAGE;
        }
        names[std::string(pair.substr(0, equals))] = address;
    }
    auto socket = DatagramSocket::bind(*endpoint, {.tell_destination = true});
    if (!socket) return exit_status(socket);
    auto loop = EventLoop::create();
    if (!loop) return exit_status(loop.error());
    std::printf("answers on %s\n", socket->local().value().to_string().c_str());
    std::fflush(stdout);
    return exit_status(loop->run(serve_names, std::move(*socket), std::move(names)));
}
