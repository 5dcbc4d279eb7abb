#include <ringlet/detail/tls_engine.hpp>

#include "engine_output.hpp"
#include "tls_pair.hpp"

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstring>
#include <span>
#include <vector>

using namespace ringlet;
using namespace ringlet::testing;

namespace {

using Bytes = std::vector<std::byte>;
using Status = TlsEngine::Status;

void read_all(TlsEngine& engine, std::span<std::byte> room, Bytes& received) {
    auto status = Status::done;
    while (status == Status::done && engine.may_read()) {
        std::size_t size = 0;
        status = engine.read(room, size);
        received.insert(received.end(), room.begin(),
                        room.begin() + static_cast<std::ptrdiff_t>(size));
    }
    REQUIRE((status == Status::done || status == Status::wants_input));
}

// Carries the output of one engine to the other, in parts of `part_bytes`.
void carry(TlsEngine& from, TlsEngine& to, std::size_t part_bytes, std::span<std::byte> room,
           Bytes& received) {
    const Bytes wire = take_output(from);
    for (std::size_t at = 0; at < wire.size(); at += part_bytes) {
        Buffer part(Buffer::borrow(), std::min(part_bytes, wire.size() - at));
        std::memcpy(part.data(), wire.data() + at, part.size());
        to.feed(std::move(part));
        auto status = Status::done;
        if (!to.is_up()) status = to.handshake();
        REQUIRE((status == Status::done || status == Status::wants_input));
        if (to.is_up()) read_all(to, room, received);
    }
}

struct Engines {
    explicit Engines(TlsVersion version)
        : server(server_context(version), ""), client(contexts().client, "localhost") {
        Bytes nothing;
        std::byte room[100];
        REQUIRE(client.handshake() == Status::wants_input);
        while (!client.output().empty() || !server.output().empty()) {
            carry(client, server, 1000, room, nothing);
            carry(server, client, 1000, room, nothing);
        }
        REQUIRE(server.is_up());
        REQUIRE(client.is_up());
        REQUIRE(client.version() == (version == TlsVersion::tls_1_2 ? "TLSv1.2" : "TLSv1.3"));
        REQUIRE(nothing.empty());
    }

    static TlsContext server_context(TlsVersion version) {
        auto options = contexts().server_options();
        options.newest = version;
        auto context = TlsContext::server(options);
        REQUIRE(context);
        return *context;
    }

    TlsEngine server;
    TlsEngine client;
};

std::vector<std::size_t> sizes_up_to(std::size_t limit) {
    std::vector<std::size_t> sizes;
    for (std::size_t size = 1; size <= 40; ++size) sizes.push_back(size);
    for (const std::size_t size :
         {255U, 256U, 257U, 16'383U, 16'384U, 16'385U, 65'535U, 65'536U, 70'000U})
        if (size <= limit) sizes.push_back(size);
    return sizes;
}

} // namespace

TEST_CASE("messages of every size arrive whole, however they are split and read") {
    for (const TlsVersion version : {TlsVersion::tls_1_2, TlsVersion::tls_1_3}) {
        Engines engines(version);
        std::uint8_t next = 0;
        for (const std::size_t part : {1UL, 4UL, 5UL, 6UL, 22UL, 1000UL, Buffer::capacity_bytes}) {
            for (const std::size_t at_most : {1UL, 7UL, 16'384UL, 100'000UL}) {
                Bytes room(at_most);
                // Long messages byte by byte would only take long.
                const std::size_t limit = std::min(part, at_most) < 100 ? 257 : 100'000;
                for (const std::size_t size : sizes_up_to(limit)) {
                    CAPTURE(part);
                    CAPTURE(at_most);
                    CAPTURE(size);
                    Bytes sent(size);
                    for (std::byte& byte : sent) byte = static_cast<std::byte>(next++);
                    REQUIRE(!engines.client.write(sent));
                    Bytes received;
                    carry(engines.client, engines.server, part, room, received);
                    REQUIRE(received == sent);
                    REQUIRE(!engines.server.write(received));
                    Bytes back;
                    carry(engines.server, engines.client, part, room, back);
                    REQUIRE(back == sent);
                }
            }
        }
    }
    CHECK(Buffer::lent_count() == 0);
}
