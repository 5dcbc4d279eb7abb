#include "target.hpp"

#include <algorithm>
#include <charconv>
#include <string_view>
#include <utility>
#include <vector>

#include <fmt/format.h>

using namespace ringlet;

namespace {

// How long all addresses of a name together have to answer.
constexpr std::chrono::milliseconds choice_limit{5'000};

std::optional<std::uint16_t> parse_port(std::string_view text) {
    std::uint16_t port = 0;
    const char* end = text.data() + text.size();
    const auto [rest, failure] = std::from_chars(text.data(), end, port);
    if (failure != std::errc{} || rest != end || port == 0) return std::nullopt;
    return port;
}

// fe80::/10 without a zone: every interface has such a network, and the kernel answers EINVAL.
bool lacks_interface(const Endpoint& endpoint) {
    if (!endpoint.is_v6()) return false;
    const auto& address = *reinterpret_cast<const sockaddr_in6*>(endpoint.data());
    return IN6_IS_ADDR_LINKLOCAL(&address.sin6_addr) && address.sin6_scope_id == 0;
}

Task<> find_first_that_answers(std::vector<Endpoint> endpoints, ConnectByNameOptions options,
                               std::optional<Endpoint>& answered) {
    auto stream = co_await connect_to_any(std::move(endpoints), options);
    if (!stream) co_return;
    auto peer = stream->peer();
    if (peer) answered = *peer;
}

// One of several addresses.
std::optional<Refusal> choose(const std::vector<Endpoint>& endpoints, const ServerOptions& options,
                              FoundServer& server) {
    server.endpoint = endpoints.front();
    LoopOptions loop_options = options.loop;
    loop_options.report = [](std::string_view) {}; // the loop of the load reports it
    auto loop = EventLoop::create(loop_options);
    if (!loop) return Refusal{exit_status(loop), loop.error().message()};
    ConnectByNameOptions connecting;
    connecting.timeout = std::min(options.timeout, choice_limit);
    connecting.causes = &server.others;
    std::optional<Endpoint> answered;
    auto ended = loop->run([&endpoints, &connecting, &answered] {
        return find_first_that_answers(endpoints, connecting, answered);
    });
    static_cast<void>(ended);
    if (answered) {
        server.endpoint = *answered;
        server.others.clear();
    } else if (!server.others.empty()) { // a line for each
        server.others.pop_back();
        for (auto end = server.others.find('\n'); end != std::string::npos;
             end = server.others.find('\n'))
            server.others.replace(end, 1, "; ");
    }
    return std::nullopt;
}

} // namespace

std::optional<Target> Target::parse(const std::string& text) {
    if (text.starts_with("unix:")) return Target{text, std::nullopt};
    const auto last_colon = text.rfind(':');
    if (text.starts_with('[')) {
        const auto bracket = text.find(']');
        if (bracket == std::string::npos) return std::nullopt;
        const std::string host = text.substr(1, bracket - 1);
        if (host.find(':') == std::string::npos) return std::nullopt;
        if (bracket + 1 == text.size()) return Target{host, std::nullopt};
        const auto port = parse_port(std::string_view(text).substr(bracket + 2));
        if (text[bracket + 1] != ':' || !port) return std::nullopt;
        return Target{host, port};
    }
    const bool is_bare = last_colon == std::string::npos || text.find(':') != last_colon;
    if (is_bare) return text.empty() ? std::nullopt : std::optional(Target{text, std::nullopt});
    const auto port = parse_port(std::string_view(text).substr(last_colon + 1));
    if (!port || last_colon == 0) return std::nullopt;
    return Target{text.substr(0, last_colon), port};
}

std::optional<Refusal> find_server(const Target& target, const ServerOptions& options,
                                   FoundServer& server) {
    const bool is_v6 = !target.is_unix() && target.host.find(':') != std::string::npos;
    const std::string address =
        target.is_unix() ? target.host
                         : fmt::format("{}{}{}:{}", is_v6 ? "[" : "", target.host, is_v6 ? "]" : "",
                                       target.port.value_or(options.port));
    auto found = Endpoint::resolve_all(address);
    if (!found) {
        return Refusal{exit_status(found),
                       fmt::format("{}: {}", target.host, found.error().message())};
    }
    if (lacks_interface(found->front())) {
        return Refusal{EX_USAGE,
                       fmt::format("{}: an address of one link needs its interface: write {}%eth0",
                                   target.host, target.host)};
    }
    if (found->size() > 1) return choose(*found, options, server);
    server.endpoint = found->front();
    return std::nullopt;
}

std::string hint(const Endpoint& server, std::error_code failure) {
    if (failure == std::errc::timed_out) {
        return "Is the address right, and does a packet filter on the way drop what is sent there?";
    }
    if (failure == std::errc::permission_denied || failure == std::errc::operation_not_permitted) {
        return server.is_unix() ? "May this user write to that socket?"
                                : "A packet filter or a security module of this machine forbids it";
    }
    if (failure == std::errc::network_unreachable || failure == std::errc::host_unreachable) {
        return "Is the address right? 'ip route get' says how this machine would get there";
    }
    if (failure == std::errc::address_not_available) {
        return "The local ports are used up: lower -t, or widen net.ipv4.ip_local_port_range";
    }
    const std::string start = server.is_unix() ? "--listen " + server.to_string()
                                               : fmt::format("--port {}", server.port());
    return fmt::format("Is the server running? Start one with 'echo_coro {}'", start);
}
