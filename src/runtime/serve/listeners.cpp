#include "serve/listeners.hpp"

#include <ringlet/error.hpp>

#include <cerrno>
#include <cstdint>
#include <utility>

namespace ringlet {

Result<std::vector<ListenAddress>> resolve_listen(std::string_view listen) {
    std::vector<ListenAddress> addresses;
    while (true) {
        const std::size_t comma = listen.find(',');
        std::string_view one = listen.substr(0, comma);
        while (one.starts_with(' ')) // "A, B"
            one.remove_prefix(1);
        auto found = Endpoint::resolve_all(one);
        if (!found) return found.error();
        for (const Endpoint& endpoint : *found)
            addresses.push_back({.endpoint = endpoint, .is_alternative = found->size() > 1});
        if (comma == std::string_view::npos) return addresses;
        listen.remove_prefix(comma + 1);
    }
}

Result<std::vector<ListenAddress>> addresses_of(const ServeOptions& options) {
    if (!options.addresses.empty()) return options.addresses;
    return resolve_listen(options.listen);
}

namespace {

bool is_not_of_this_machine(std::error_code error) {
    return error == std::errc::address_not_available ||
           error == std::errc::address_family_not_supported;
}

} // namespace

Result<std::vector<std::vector<StreamListener>>>
bind_all(const std::vector<ListenAddress>& addresses, std::size_t workers,
         const ListenOptions& options) {
    std::vector<std::vector<StreamListener>> of_workers(workers);
    std::error_code missing;
    std::uint16_t port =
        0; // that the kernel chose, and the other addresses of the same name have too
    for (const ListenAddress& address : addresses) {
        Endpoint wanted = address.endpoint;
        if (address.is_alternative && !wanted.is_unix() && wanted.port() == 0)
            wanted.set_port(port);
        ListenOptions own = options;
        // [::] and 0.0.0.0 of one list would be in each other's way.
        own.v6_only = options.v6_only || (wanted.is_v6() && addresses.size() > 1);
        auto bound = StreamListener::bind_several(wanted, workers, own);
        if (!bound && address.is_alternative && is_not_of_this_machine(bound.error())) {
            missing = bound.error();
            continue;
        }
        if (!bound) return bound.error();
        if (address.is_alternative && !wanted.is_unix()) port = bound->front().local().port();
        for (std::size_t worker = 0; worker < workers; ++worker)
            of_workers[worker].push_back(std::move((*bound)[worker]));
    }
    if (of_workers.front().empty()) return missing;
    return of_workers;
}

} // namespace ringlet
