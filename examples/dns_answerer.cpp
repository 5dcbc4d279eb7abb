// Answers DNS queries from a list: dns_answerer [ADDRESS] NAME=IPV4 ...
//
// One socket serves all clients: a datagram is a whole question, and its answer goes back to the sender, from the
// address that was asked. ldns reads and writes the messages: it does no I/O here, and knows nothing of ringlet.
//
// Try it:  ./example_dns_answerer 127.0.0.1:5300 example.test=192.0.2.7 &  dig -p 5300 @127.0.0.1 example.test

#include <ringlet/ringlet.hpp>

#include <ldns/ldns.h>

#include <array>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <map>
#include <memory>
#include <string>
#include <string_view>

#include <arpa/inet.h>
#include <sysexits.h>

using namespace ringlet;

namespace {

constexpr std::size_t datagram_bytes = 512; // RFC 1035, 4.2.1

using Names = std::map<std::string, in_addr>;

struct FreePacket {
    void operator()(ldns_pkt* packet) const { ldns_pkt_free(packet); }
};
using Packet = std::unique_ptr<ldns_pkt, FreePacket>;

// In lower case, without the dot at the end.
std::string name_of(const ldns_rr* question) {
    char* text = ldns_rdf2str(ldns_rr_owner(question));
    std::string name(text == nullptr ? "" : text);
    std::free(text);
    if (!name.empty()) name.pop_back();
    for (char& letter : name)
        letter = static_cast<char>(std::tolower(static_cast<unsigned char>(letter)));
    return name;
}

// What the question asks for, if it is here: type A, a minute to live.
ldns_rr* address_record(const ldns_rr* question, const in_addr& address) {
    ldns_rr* record = ldns_rr_new_frm_type(LDNS_RR_TYPE_A);
    ldns_rr_set_owner(record, ldns_rdf_clone(ldns_rr_owner(question)));
    ldns_rr_set_ttl(record, 60);
    ldns_rdf_deep_free(ldns_rr_set_rdf(
        record, ldns_rdf_new_frm_data(LDNS_RDF_TYPE_A, sizeof address, &address), 0));
    return record;
}

std::string bytes_of(const ldns_pkt* packet) {
    std::uint8_t* wire = nullptr;
    std::size_t size_bytes = 0;
    std::string bytes;
    if (ldns_pkt2wire(&wire, packet, &size_bytes) == LDNS_STATUS_OK)
        bytes.assign(reinterpret_cast<const char*>(wire), size_bytes);
    std::free(wire);
    return bytes;
}

// Empty: there is nothing to answer.
std::string answer(const Names& names, std::span<const std::byte> message) {
    const auto* wire = reinterpret_cast<const std::uint8_t*>(message.data());
    if (message.size() < LDNS_HEADER_SIZE || LDNS_QR_WIRE(wire)) return {};
    const Packet reply(ldns_pkt_new());
    ldns_pkt_set_id(reply.get(), LDNS_ID_WIRE(wire));
    ldns_pkt_set_qr(reply.get(), true);
    ldns_pkt_set_aa(reply.get(), true);
    ldns_pkt_set_rd(reply.get(), LDNS_RD_WIRE(wire));

    ldns_pkt* parsed = nullptr;
    const ldns_status status = ldns_wire2pkt(&parsed, wire, message.size());
    const Packet asked(parsed);
    if (status != LDNS_STATUS_OK || ldns_rr_list_rr_count(ldns_pkt_question(parsed)) != 1) {
        ldns_pkt_set_rcode(reply.get(), LDNS_RCODE_FORMERR);
        return bytes_of(reply.get());
    }
    const ldns_rr* question = ldns_rr_list_rr(ldns_pkt_question(parsed), 0);
    ldns_pkt_push_rr(reply.get(), LDNS_SECTION_QUESTION, ldns_rr_clone(question));
    const auto found = names.find(name_of(question));
    if (found == names.end()) {
        ldns_pkt_set_rcode(reply.get(), LDNS_RCODE_NXDOMAIN);
    } else if (ldns_rr_get_type(question) == LDNS_RR_TYPE_A) {
        ldns_rr* record = address_record(question, found->second);
        ldns_pkt_push_rr(reply.get(), LDNS_SECTION_ANSWER, record);
    }
    return bytes_of(reply.get());
}

Task<Result<void>> answer_all(DatagramSocket& socket, const Names& names) {
    std::array<std::byte, datagram_bytes> memory;
    for (;;) {
        auto asked = co_await socket.recv_from(memory);
        if (!asked) co_return asked.error();
        // Answers whatever else has already arrived before it waits again.
        for (std::optional<ReceivedDatagram> next = *asked; next;) {
            const std::string reply = answer(names, std::span(memory).first(next->size_bytes));
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
