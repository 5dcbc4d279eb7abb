#include <ringlet/tls_stream.hpp>

#include "tls_pair.hpp"

#include <ringlet/detail/frame_pool.hpp>

#include <atomic>
#include <cstdlib>
#include <vector>

#include <malloc.h>
#include <openssl/crypto.h>

using namespace ringlet;
using namespace ringlet::testing;
using namespace std::chrono_literals;

namespace {

// What OpenSSL has in use, in bytes, on all threads: its allocator is replaced before it allocates anything.
std::atomic<long> openssl_bytes{0};

void* take(std::size_t size, const char*, int) {
    void* memory = std::malloc(size);
    openssl_bytes += static_cast<long>(::malloc_usable_size(memory));
    return memory;
}
void* take_again(void* old, std::size_t size, const char*, int) {
    openssl_bytes -= static_cast<long>(::malloc_usable_size(old));
    void* memory = std::realloc(old, size);
    openssl_bytes += static_cast<long>(::malloc_usable_size(memory));
    return memory;
}
void give_back(void* memory, const char*, int) {
    openssl_bytes -= static_cast<long>(::malloc_usable_size(memory));
    std::free(memory);
}

const bool is_counting = CRYPTO_set_mem_functions(take, take_again, give_back) == 1;

} // namespace

TEST_CASE("an idle connection costs at most 2 KiB beyond what OpenSSL keeps for it") {
    if (sanitizer_runs) RINGLET_SKIP("a sanitizer has an allocator of its own");
    REQUIRE(is_counting);
    constexpr std::size_t pairs = 200;
    constexpr long streams = 2 * pairs;
    std::vector<Pair<TlsStream>> idle;
    idle.reserve(pairs + 1);
    long openssl = 0;
    long frames = 0;
    auto talk = [&]() -> Task<> {
        auto body = [&](TaskGroup& group) -> Task<> {
            long openssl_before = 0;
            long frames_before = 0;
            for (std::size_t i = 0; i <= pairs; ++i) {
                if (i == 1) { // the first was the warm-up
                    openssl_before = openssl_bytes;
                    frames_before = static_cast<long>(FramePool::local().in_use().bytes);
                }
                auto pair = co_await tls_over<StreamSocket>(sockets());
                CHECK(pair);
                if (!pair) co_return;
                idle.push_back(std::move(*pair));
                auto& [client, server] = idle.back();
                auto sent = co_await server.send_all("welcome"); // and a ticket
                CHECK(sent);
                auto chunk = co_await client.recv();
                CHECK(chunk);
                const auto wait = [](TlsStream& stream) -> Task<> {
                    auto never = co_await stream.recv();
                    CHECK(never.error() == std::errc::operation_canceled);
                };
                group.spawn("client", wait, std::ref(client));
                group.spawn("server", wait, std::ref(server));
            }
            auto slept = co_await sleep_for(5ms);
            CHECK(slept);
            openssl = openssl_bytes - openssl_before;
            frames = static_cast<long>(FramePool::local().in_use().bytes) - frames_before;
            group.cancel();
        };
        auto done = co_await with_task_group(body);
        static_cast<void>(done);
    };
    CHECK(run_on_loop(talk));
    // Frames, sockets and scopes come from the pool; a connection allocates one object of its own.
    const long own = frames / streams + static_cast<long>(sizeof(TlsStream::Connection));
    MESSAGE("bytes for each idle connection: OpenSSL " << openssl / streams << ", ringlet " << own);
    // No 16 KiB buffer. OpenSSL 3.5 keeps 31 KB, whatever the options.
    if (OpenSSL_version_num() < 0x30200000UL) CHECK(openssl / streams < 16'384);
    CHECK(own <= 2048);
    CHECK(Buffer::lent_count() == 0);
}
