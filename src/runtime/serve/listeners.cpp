#include "serve/listeners.hpp"

#include <ringlet/error.hpp>

#include "serve/given_sockets.hpp"

#include <cerrno>
#include <cstdint>
#include <string>
#include <utility>

namespace ringlet {

namespace {

constexpr std::string_view given_prefix = "fd:";

Result<void> add_resolved(std::string_view address, std::vector<ListenAddress>& addresses) {
    auto found = Endpoint::resolve_all(address);
    if (!found) return found.error();
    for (const Endpoint& endpoint : *found)
        addresses.push_back({.endpoint = endpoint, .is_alternative = found->size() > 1});
    return {};
}

} // namespace

Result<std::vector<ListenAddress>> resolve_listen(std::string_view listen) {
    std::vector<ListenAddress> addresses;
    while (true) {
        const std::size_t comma = listen.find(',');
        std::string_view one = listen.substr(0, comma);
        while (one.starts_with(' ')) // "A, B"
            one.remove_prefix(1);
        if (one.starts_with(given_prefix)) {
            const std::string_view name = one.substr(given_prefix.size());
            addresses.push_back({.endpoint = {}, .descriptor_name = std::string(name)});
        } else {
            auto added = add_resolved(one, addresses);
            if (!added) return added.error();
        }
        if (comma == std::string_view::npos) return addresses;
        listen.remove_prefix(comma + 1);
    }
}

Result<std::vector<ListenAddress>> addresses_of(const ServeOptions& options) {
    if (!options.addresses.empty()) return options.addresses;
    return resolve_listen(options.listen);
}

std::string explain_given(std::string_view listen) {
    GivenSockets& given = GivenSockets::of_this_process();
    std::string_view wanted;
    for (;;) {
        const std::size_t comma = listen.find(',');
        std::string_view one = listen.substr(0, comma);
        while (one.starts_with(' ')) one.remove_prefix(1);
        if (one.starts_with(given_prefix)) {
            wanted = one.substr(given_prefix.size());
            if (!given.find(wanted)) break;
        }
        if (comma == std::string_view::npos) break;
        listen.remove_prefix(comma + 1);
    }
    return given.explain(wanted);
}

namespace {

bool is_not_of_this_machine(std::error_code error) {
    return error == std::errc::address_not_available ||
           error == std::errc::address_family_not_supported;
}

// At least as many as workers.
Result<std::vector<StreamListener>> take_or_bind(const Endpoint& wanted, std::size_t workers,
                                                 const ListenOptions& options, TakeOver* taken) {
    if (taken == nullptr) return StreamListener::bind_several(wanted, workers, options);
    auto listeners = taken->take(wanted);
    if (!listeners) return listeners;
    if (listeners->empty()) return StreamListener::bind_several(wanted, workers, options);
    if (listeners->size() >= workers) return listeners;
    auto more = listeners->front().several_more(workers - listeners->size(), options);
    if (!more) return more.error();
    for (StreamListener& listener : *more) listeners->push_back(std::move(listener));
    return listeners;
}

// There are more listeners than workers if the previous program had more workers: every queue must be served.
void add(std::vector<StreamListener> listeners,
         std::vector<std::vector<StreamListener>>& of_workers) {
    for (std::size_t index = 0; index < listeners.size(); ++index)
        of_workers[index % of_workers.size()].push_back(std::move(listeners[index]));
}

Result<void> adopt_given(const std::string& name, const ListenOptions& options,
                         std::vector<std::vector<StreamListener>>& of_workers, TakeOver* taken) {
    GivenSockets& given = GivenSockets::of_this_process();
    if (taken != nullptr) taken->give(given);
    auto numbers = given.find(name);
    if (!numbers) return numbers.error();
    for (const int number : *numbers) {
        auto socket = given.take(number);
        if (!socket) return socket.error();
        auto adopted =
            StreamListener::adopt_several(std::move(*socket), of_workers.size(), options);
        if (!adopted) return adopted.error();
        add(std::move(*adopted), of_workers);
    }
    return {};
}

} // namespace

Result<std::vector<std::vector<StreamListener>>>
bind_all(const std::vector<ListenAddress>& addresses, std::size_t workers,
         const ListenOptions& options, TakeOver* taken) {
    std::vector<std::vector<StreamListener>> of_workers(workers);
    std::error_code missing;
    std::uint16_t port =
        0; // chosen by the kernel, and used for the other addresses of the same name too
    for (const ListenAddress& address : addresses) {
        if (address.descriptor_name) {
            auto adopted = adopt_given(*address.descriptor_name, options, of_workers, taken);
            if (!adopted) return adopted.error();
            continue;
        }
        Endpoint wanted = address.endpoint;
        if (address.is_alternative && !wanted.is_unix() && wanted.port() == 0)
            wanted.set_port(port);
        ListenOptions own = options;
        // [::] and 0.0.0.0 in one list would conflict.
        own.v6_only = options.v6_only || (wanted.is_v6() && addresses.size() > 1);
        auto bound = take_or_bind(wanted, workers, own, taken);
        if (!bound && address.is_alternative && is_not_of_this_machine(bound.error())) {
            missing = bound.error();
            continue;
        }
        if (!bound) return bound.error();
        if (address.is_alternative && !wanted.is_unix()) port = bound->front().local().port();
        add(std::move(*bound), of_workers);
    }
    if (of_workers.front().empty()) return missing;
    return of_workers;
}

} // namespace ringlet
