#include "own_addresses.hpp"

#include <ringlet/endpoint.hpp>
#include <ringlet/error.hpp>
#include <ringlet/serve.hpp>

#include "output.hpp"

#include <cerrno>
#include <filesystem>
#include <string_view>
#include <system_error>

#include <sysexits.h>
#include <unistd.h>

namespace {

std::optional<int> refuse_path(std::string_view option, const std::string& address) {
    if (address.empty()) return std::nullopt;
    const auto endpoint = ringlet::Endpoint::parse(address);
    if (endpoint && endpoint->is_unix()) return std::nullopt;
    say("echo_coro: {} {}: not a Unix socket: write unix:/PATH, of 107 bytes at most\n", option,
        address);
    return EX_USAGE;
}

// A backdoor that cannot be made is told, and the server goes without.
std::optional<int> refuse_folder(const std::string& address) {
    if (!address.starts_with("unix:/")) return std::nullopt;
    const std::string folder = std::filesystem::path(address.substr(5)).parent_path();
    if (::access(folder.c_str(), F_OK) == 0) return std::nullopt;
    say("echo_coro: --hand-over: {}\n",
        ringlet::advice(address, std::error_code(errno, std::generic_category())));
    return EX_UNAVAILABLE;
}

} // namespace

std::optional<int> refuse_addresses(const OwnAddresses& addresses) {
    if (auto refused = refuse_path("--backdoor", addresses.backdoor)) return refused;
    if (auto refused = refuse_path("--hand-over", addresses.hand_over)) return refused;
    if (auto refused = refuse_folder(addresses.hand_over)) return refused;
    if (addresses.metrics.empty()) return std::nullopt;
    const auto endpoint = ringlet::Endpoint::resolve(addresses.metrics);
    if (endpoint) return std::nullopt;
    say("echo_coro: --metrics {}: {}\n", addresses.metrics, endpoint.error().message());
    return ringlet::exit_status(endpoint.error());
}
