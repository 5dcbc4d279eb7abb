// zero_copy_echo: echoes from its own memory, and lets the kernel send from there or copy first.
// Made for benchmark.sh compare 'zero_copy_echo copied' zero_copy_echo --size 65536.

#include <ringlet/ringlet.hpp>

#include <cstddef>
#include <string>
#include <string_view>
#include <vector>

#include <fmt/format.h>
#include <sysexits.h>

using namespace ringlet;

namespace {

constexpr std::size_t memory_bytes = 64 * 1024;

Task<> echo_without_copies(TcpStream stream) {
    std::vector<std::byte> memory(memory_bytes);
    for (;;) {
        auto received = co_await stream.recv(memory);
        if (!received || *received == 0) co_return;

        auto sent = co_await stream.send_all_zero_copy(std::span(memory).first(*received));
        if (!sent) co_return;
    }
}

Task<> echo_with_copies(TcpStream stream) {
    std::vector<std::byte> memory(memory_bytes);
    for (;;) {
        auto received = co_await stream.recv(memory);
        if (!received || *received == 0) co_return;

        auto sent = co_await stream.send_all(std::span(memory).first(*received));
        if (!sent) co_return;
    }
}

} // namespace

int main(int argc, char** argv) {
    const bool copied = argc == 3 && std::string_view(argv[2]) == "copied";
    if (argc != 2 && !copied) {
        fmt::print(stderr, "usage: zero_copy_echo PORT [copied]\n");
        return EX_USAGE;
    }
    ServeOptions options;
    options.listen = std::string("127.0.0.1:") + argv[1];
    return exit_status(serve(options, copied ? echo_with_copies : echo_without_copies));
}
