#include "own_addresses.hpp"

#include <ringlet/endpoint.hpp>
#include <ringlet/error.hpp>
#include <ringlet/serve.hpp>

#include "output.hpp"

#include <string_view>

#include <sysexits.h>

namespace {

std::optional<int> refuse_path(std::string_view option, const std::string& address) {
    if (address.empty()) return std::nullopt;
    const auto endpoint = ringlet::Endpoint::parse(address);
    if (endpoint && endpoint->is_unix()) return std::nullopt;
    say("echo_coro: {} {}: not a Unix socket: write unix:/PATH, of 107 bytes at most\n", option,
        address);
    return EX_USAGE;
}

} // namespace

std::optional<int> refuse_addresses(const OwnAddresses& addresses) {
    if (auto refused = refuse_path("--backdoor", addresses.backdoor)) return refused;
    if (auto refused = refuse_path("--hand-over", addresses.hand_over)) return refused;
    if (addresses.metrics.empty()) return std::nullopt;
    const auto endpoint = ringlet::Endpoint::resolve(addresses.metrics);
    if (endpoint) return std::nullopt;
    say("echo_coro: --metrics {}: {}\n", addresses.metrics, endpoint.error().message());
    return ringlet::exit_status(endpoint.error());
}
