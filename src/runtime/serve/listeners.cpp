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

// As many as workers at least.
Result<std::vector<StreamListener>> take_or_bind(const Endpoint& wanted, std::size_t workers,
                                                 const ListenOptions& options, TakeOver* taken) {
    std::vector<UniqueFd> offered;
    if (taken != nullptr) offered = taken->take(wanted);
    if (offered.empty()) return StreamListener::bind_several(wanted, workers, options);
    std::vector<StreamListener> listeners;
    for (UniqueFd& fd : offered) {
        auto listener = StreamListener::adopt(std::move(fd), true);
        if (!listener) return listener.error();
        listeners.push_back(std::move(*listener));
    }
    if (listeners.size() >= workers) return listeners;
    auto more = listeners.front().several_more(workers - listeners.size(), options);
    if (!more) return more.error();
    for (StreamListener& listener : *more) listeners.push_back(std::move(listener));
    return listeners;
}

} // namespace

Result<std::vector<std::vector<StreamListener>>>
bind_all(const std::vector<ListenAddress>& addresses, std::size_t workers,
         const ListenOptions& options, TakeOver* taken) {
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
        auto bound = take_or_bind(wanted, workers, own, taken);
        if (!bound && address.is_alternative && is_not_of_this_machine(bound.error())) {
            missing = bound.error();
            continue;
        }
        if (!bound) return bound.error();
        if (address.is_alternative && !wanted.is_unix()) port = bound->front().local().port();
        // More than workers, if the program before had more of those: nobody's queue is left alone.
        for (std::size_t index = 0; index < bound->size(); ++index)
            of_workers[index % workers].push_back(std::move((*bound)[index]));
    }
    if (of_workers.front().empty()) return missing;
    return of_workers;
}

} // namespace ringlet
