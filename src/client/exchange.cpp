#include "exchange.hpp"

#include <algorithm>
#include <cstring>

using namespace ringlet;

namespace {

// How far the sending may run ahead of the receiving on one connection, in bytes. Less than the
// smallest default of the kernel's buffers on the way there and back, so that a server that answers
// while it reads can never wait for us while we wait for it.
constexpr std::size_t window_bytes = 65'536;

} // namespace

Task<Result<bool>> exchange(TcpStream& stream, std::span<const std::byte> request,
                            std::span<std::byte> reply) {
    for (std::size_t done = 0; done < request.size(); done += window_bytes) {
        const std::size_t size = std::min(window_bytes, request.size() - done);
        auto sent = co_await stream.send_all(request.subspan(done, size));
        if (!sent) co_return sent.error();
        auto received = co_await stream.recv_exactly(reply.subspan(done, size));
        if (!received) co_return received.error();
    }
    co_return std::memcmp(reply.data(), request.data(), request.size()) == 0;
}
