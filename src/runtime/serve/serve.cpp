#include <ringlet/serve.hpp>

#include <ringlet/endpoint.hpp>
#include <ringlet/error.hpp>

#include "base/kernel.hpp"
#include "serve/listeners.hpp"

#include <algorithm>

#include <sysexits.h>

namespace ringlet {

namespace {

bool has_privileged_port(std::string_view listen) {
    const auto endpoint = Endpoint::resolve(listen);
    return endpoint && endpoint->port() < IPPORT_RESERVED;
}

// fe80::/10 without a zone.
bool lacks_interface(std::string_view listen) {
    const auto endpoint = Endpoint::resolve(listen);
    if (!endpoint || !endpoint->is_v6()) return false;
    const auto& address = *reinterpret_cast<const sockaddr_in6*>(endpoint->data());
    return IN6_IS_ADDR_LINKLOCAL(&address.sin6_addr) && address.sin6_scope_id == 0;
}

// Of several addresses, the only one that the error can be about.
std::string_view at_fault(std::string_view listen, std::error_code error) {
    const bool is_of_a_file =
        error == std::errc::no_such_file_or_directory || error == std::errc::read_only_file_system;
    std::string_view rest = listen;
    while (is_of_a_file && !rest.empty()) {
        const std::size_t comma = std::min(rest.find(','), rest.size());
        if (rest.starts_with("unix:")) return rest.substr(0, comma);
        rest.remove_prefix(std::min(comma + 1, rest.size()));
    }
    return listen;
}

} // namespace

std::string advice(std::string_view listen, std::error_code error) {
    listen = at_fault(listen, error);
    const std::string where(listen);
    if (listen.starts_with("unix:")) {
        if (error == std::errc::address_in_use) {
            return "cannot listen on " + where +
                   ": another server listens there, or what is there is no socket. Stop that "
                   "server, or choose another path";
        }
        if (error == std::errc::permission_denied || error == std::errc::read_only_file_system ||
            error == std::errc::no_such_file_or_directory) {
            return "cannot listen on " + where + ": " + error.message() +
                   ": make its folder, and let this user write to it";
        }
    }
    if (error == std::errc::address_in_use) {
        return "cannot listen on " + where +
               ": the port is in use. Stop the other server, or choose another port";
    }
    if (error == std::errc::permission_denied && has_privileged_port(listen)) {
        return "cannot listen on " + where +
               ": ports below 1024 need a privilege (CAP_NET_BIND_SERVICE). Choose another port";
    }
    if (error == std::errc::permission_denied) {
        return "cannot listen on " + where + ": " + error.message() +
               ": a security module forbids it (SELinux, AppArmor: 'journalctl -k' has its line), "
               "or "
               "net.ipv4.ip_unprivileged_port_start is above this port";
    }
    if (error == std::errc::invalid_argument && error.category() != error_category() &&
        lacks_interface(listen)) {
        return "cannot listen on " + where +
               ": an address of one link needs its interface, as fe80::1%eth0";
    }
    if (error == std::errc::resource_unavailable_try_again) {
        return "cannot start a thread: the limit of threads and processes is reached (ulimit -u, "
               "TasksMax= of a systemd unit, pids.max of a container). Raise it, or take fewer "
               "workers";
    }
    if (error == std::errc::address_not_available) {
        return "cannot listen on " + where + ": no interface of this machine has that address";
    }
    if (error == std::errc::too_many_files_open) {
        return "too few descriptors to start with: raise the limit with 'ulimit -n'";
    }
    if (error == Errc::no_given_socket) return "cannot listen on " + explain_given(listen);
    if (error == Errc::not_listening) return "cannot listen on " + where + ": " + error.message();
    if (error == Errc::invalid_endpoint || error == Errc::unknown_host) {
        return where + ": " + error.message();
    }
    if (error.category() == error_category()) return error.message();
    if (error == std::errc::operation_not_permitted) {
        return error.message() + ": a filter of system calls (seccomp; SystemCallFilter= in a " +
               "systemd unit) forbids one that is needed. Pinning workers needs sched_setaffinity";
    }
    return error.message();
}

void report_to(const LoopOptions& options, std::string_view line) {
    report_line(options.report, line);
}

void report_to_log(ServeOptions& options) {
    if (options.log == nullptr || options.loop.report) return;
    options.loop.report = [log = options.log](std::string_view line) {
        log->write(LogLevel::warning, line);
    };
}

bool is_reported(std::error_code error) noexcept {
    return error == Errc::metrics_unavailable || error == Errc::hand_over_unavailable;
}

void report_advice(const LoopOptions& options, std::string_view listen, std::error_code error) {
    if (!is_reported(error)) report_to(options, advice(listen, error));
}

int exit_status(std::error_code error) noexcept {
    if (!error) return EX_OK;
    if (error == Errc::unknown_host) return EX_NOHOST;
    if (error.category() == error_category()) {
        return error == std::errc::invalid_argument ? EX_USAGE : EX_UNAVAILABLE;
    }
    if (error == std::errc::permission_denied || error == std::errc::operation_not_permitted) {
        return EX_NOPERM;
    }
    if (error == std::errc::address_in_use || error == std::errc::address_not_available ||
        error == std::errc::connection_refused) {
        return EX_UNAVAILABLE;
    }
    return EX_OSERR;
}

} // namespace ringlet
