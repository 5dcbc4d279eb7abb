// Feeds a TLS server malformed input: nonsense from the first byte on, or a real client's bytes with changes, in the
// handshake and after it. Each run must end without a crash and without a leak.
//
// With clang and -fsanitize=fuzzer it is a libFuzzer target. Otherwise its own main generates the inputs:
//     tls_fuzz [COUNT [SEED]]

#include <ringlet/detail/tls_engine.hpp>

#include "certificates.hpp"
#include "engine_output.hpp"

#include <algorithm>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <span>
#include <vector>

using namespace ringlet;
using namespace ringlet::testing;

namespace {

using Input = std::span<const std::uint8_t>;

const TlsContext& server_context() {
    static const CertificateFolder folder;
    static const TlsContext context = [] {
        TlsServerOptions options;
        options.certificates = {folder.make("server", {.names = "DNS:localhost"})};
        options.client_certificates = ClientCertificates::asked_for;
        options.client_authorities = folder.path("authority.pem");
        options.protocols = {"h2", "http/1.1"};
        return *TlsContext::server(options);
    }();
    return context;
}

const TlsContext& client_context() {
    static const TlsContext context = [] {
        TlsClientOptions options;
        options.verify = false;
        options.protocols = {"http/1.1"};
        return *TlsContext::client(options);
    }();
    return context;
}

// Acts like a stream: handshake first, then reads everything there is, and answers.
void give(TlsEngine& engine, std::span<const std::byte> bytes, bool& is_up) {
    while (!bytes.empty()) {
        Buffer chunk(Buffer::borrow(), std::min<std::size_t>(bytes.size(), 4000));
        std::memcpy(chunk.data(), bytes.data(), chunk.size());
        bytes = bytes.subspan(chunk.size());
        engine.feed(std::move(chunk));
        if (!is_up) {
            const auto status = engine.handshake();
            if (status == TlsEngine::Status::failed) return;
            is_up = status == TlsEngine::Status::done;
            if (!is_up) continue;
        }
        std::vector<std::byte> plain(20'000);
        std::size_t size = 0;
        auto status = TlsEngine::Status::done;
        while (status == TlsEngine::Status::done && engine.may_read())
            status = engine.read(plain, size);
        if (status != TlsEngine::Status::wants_input && status != TlsEngine::Status::done) return;
        if (engine.write(std::span(plain).first(size))) return;
    }
}

// The input says which bytes to change, and how.
void change(std::vector<std::byte>& bytes, Input& input) {
    while (!input.empty() && !bytes.empty()) {
        const std::uint8_t what = input[0];
        if (what == 0 || input.size() < 4) { // no more changes in this flight
            input = input.subspan(1);
            return;
        }
        const std::size_t at = (input[1] * 256U + input[2]) % bytes.size();
        const auto value = static_cast<std::byte>(input[3]);
        const auto place = bytes.begin() + static_cast<std::ptrdiff_t>(at);
        input = input.subspan(4);
        switch (what % 5) {
        case 0: *place = value; break;
        case 1: *place ^= value | std::byte{1}; break;
        case 2: bytes.insert(place, what, value); break;
        case 3:
            bytes.erase(place, place + std::min<std::ptrdiff_t>(what, bytes.end() - place));
            break;
        default: bytes.resize(at); break;
        }
    }
}

void converse(Input input) {
    TlsEngine server(server_context(), "");
    TlsEngine client(client_context(), "localhost");
    bool server_is_up = false;
    bool client_is_up = client.handshake() == TlsEngine::Status::done;
    for (int flight = 0; flight < 6; ++flight) {
        if (client_is_up) {
            std::vector<std::byte> plain(50, std::byte{7});
            if (client.write(plain)) break;
        }
        auto bytes = take_output(client);
        change(bytes, input);
        if (bytes.empty()) break;
        give(server, bytes, server_is_up);
        if (server.error()) break;
        give(client, take_output(server), client_is_up);
        if (client.error()) break;
    }
    if (server.error() || server.may_read()) return; // not used after an error
    server.feed(Buffer());                           // the end
    std::byte rest[100];
    std::size_t size = 0;
    if (server_is_up) static_cast<void>(server.read(rest, size));
    server.say_goodbye();
}

} // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    if (size == 0) return 0;
    const Input input(data + 1, size - 1);
    if (data[0] % 4 == 0) {
        TlsEngine server(server_context(), "");
        bool is_up = false;
        give(server, std::as_bytes(input), is_up);
    } else {
        converse(input);
    }
    if (Buffer::lent_count() != 0) std::abort();
    return 0;
}

#ifndef RINGLET_LIBFUZZER
int main(int argc, char** argv) {
    const long count = argc > 1 ? std::atol(argv[1]) : 2000;
    std::uint64_t state = argc > 2 ? std::strtoull(argv[2], nullptr, 10) : 1;
    const auto next = [&state] { // splitmix64
        std::uint64_t z = state += 0x9e37'79b9'7f4a'7c15U;
        z = (z ^ (z >> 30)) * 0xbf58'476d'1ce4'e5b9U;
        z = (z ^ (z >> 27)) * 0x94d0'49bb'1331'11ebU;
        return z ^ (z >> 31);
    };
    for (long i = 0; i < count; ++i) {
        std::vector<std::uint8_t> input(1 + next() % (next() % 8 == 0 ? 3000 : 40));
        for (std::uint8_t& byte : input) byte = static_cast<std::uint8_t>(next());
        // Most inputs begin like TLS, and leave some flights unchanged.
        for (std::size_t at = 1; at < input.size(); ++at)
            if (next() % 4 == 0) input[at] = 0;
        if (input[0] % 4 == 0 && input.size() > 6) {
            const std::uint8_t head[] = {0x16, 0x03, 0x01, 0,
                                         static_cast<std::uint8_t>(input.size() - 6)};
            std::copy(std::begin(head), std::end(head), input.begin() + 1);
        }
        LLVMFuzzerTestOneInput(input.data(), input.size());
    }
    std::printf("%ld inputs, all is well\n", count);
    return 0;
}
#endif
