#include "serve/given_sockets.hpp"

#include <ringlet/error.hpp>
#include <ringlet/listen_address.hpp>

#include "base/kernel.hpp"

#include <algorithm>
#include <atomic>
#include <charconv>
#include <cstdlib>
#include <memory>
#include <optional>
#include <utility>

#include <fcntl.h>
#include <unistd.h>

namespace ringlet {

namespace {

constexpr const char* variables_of_sockets[] = {"LISTEN_PID", "LISTEN_PIDFDID", "LISTEN_FDS",
                                                "LISTEN_FDNAMES"};

template <class Number>
std::optional<Number> whole_number(std::string_view text) {
    Number number = 0;
    const char* end = text.data() + text.size();
    const auto [rest, failure] = std::from_chars(text.data(), end, number);
    if (failure != std::errc{} || rest != end) return std::nullopt;
    return number;
}

std::string joined(const std::vector<std::string>& words) {
    std::string text;
    for (const std::string& word : words) text += (text.empty() ? "" : ", ") + word;
    return text;
}

} // namespace

std::vector<std::string> read_given(const GivenVariables& variables, pid_t own_pid) {
    if (variables.pid == nullptr || variables.count == nullptr) return {};
    if (whole_number<pid_t>(variables.pid) != own_pid) return {};
    const auto count = whole_number<std::size_t>(variables.count);
    if (!count || *count > given_descriptors_limit) return {};
    std::vector<std::string> names(*count, "unknown");
    std::string_view rest = variables.names == nullptr ? "" : variables.names;
    for (std::string& name : names) {
        const std::size_t end = std::min(rest.find(':'), rest.size());
        if (end > 0) name = rest.substr(0, end);
        rest.remove_prefix(std::min(end + 1, rest.size()));
    }
    return names;
}

std::vector<GivenSockets::Socket> take_from_environment() {
    const GivenVariables variables{.pid = std::getenv("LISTEN_PID"),
                                   .count = std::getenv("LISTEN_FDS"),
                                   .names = std::getenv("LISTEN_FDNAMES")};
    std::vector<GivenSockets::Socket> sockets;
    const std::vector<std::string> names = read_given(variables, ::getpid());
    if (names.empty()) return sockets; // variables for another process stay
    for (const std::string& name : names) {
        const int fd = first_given_descriptor + static_cast<int>(sockets.size());
        const int flags = ::fcntl(fd, F_GETFD);
        if (flags < 0) break; // closed, or there were never that many
        ::fcntl(fd, F_SETFD, flags | FD_CLOEXEC);
        sockets.push_back({.number = fd, .name = name, .descriptor = UniqueFd(fd)});
    }
    for (const char* variable : variables_of_sockets) ::unsetenv(variable);
    return sockets;
}

namespace {

std::atomic<GivenSockets*> of_process = nullptr;

} // namespace

// Never destroyed: sockets that were not taken end with the process.
GivenSockets& GivenSockets::of_this_process() {
    static GivenSockets* const sockets = new GivenSockets(take_from_environment());
    of_process = sockets;
    return *sockets;
}

std::string GivenSockets::service_of_this_process(const Endpoint& address) {
    GivenSockets* const sockets = of_process;
    return sockets == nullptr ? std::string() : sockets->service_at(address);
}

Result<std::vector<int>> GivenSockets::find(std::string_view name) const {
    const std::lock_guard lock(mutex_);
    const auto wanted = whole_number<int>(name);
    std::vector<int> found;
    for (const Socket& socket : sockets_) {
        if (name.empty() || socket.number == wanted || (!wanted && socket.name == name))
            found.push_back(socket.number);
    }
    if (found.empty()) return Errc::no_given_socket;
    return found;
}

Result<UniqueFd> GivenSockets::take(int number) {
    const std::lock_guard lock(mutex_);
    for (Socket& socket : sockets_) {
        if (socket.number != number || !socket.descriptor) continue;
        const auto address = Kernel::of_this_thread().local(socket.descriptor.get());
        if (address) socket.address = *address;
        return std::move(socket.descriptor);
    }
    return Errc::no_given_socket;
}

void GivenSockets::add(Socket socket) {
    const std::lock_guard lock(mutex_);
    if (std::ranges::count(sockets_, socket.number, &Socket::number) == 0)
        sockets_.push_back(std::move(socket));
}

std::string GivenSockets::service_at(const Endpoint& address) const {
    const std::lock_guard lock(mutex_);
    for (const Socket& socket : sockets_) {
        if (!socket.descriptor && socket.address == address)
            return "fd:" + std::to_string(socket.number) + ":" + socket.name;
    }
    return {};
}

std::vector<std::string> GivenSockets::free_names() const {
    const std::lock_guard lock(mutex_);
    std::vector<std::string> names;
    for (const Socket& socket : sockets_) {
        if (socket.descriptor) names.push_back(socket.name);
    }
    return names;
}

std::string GivenSockets::explain(std::string_view name) const {
    const std::string what = "fd:" + std::string(name) + ": ";
    std::vector<std::string> names;
    {
        const std::lock_guard lock(mutex_);
        for (const Socket& socket : sockets_) names.push_back(socket.name);
    }
    if (names.empty()) {
        return what + "no service manager gave this process a socket (LISTEN_FDS and LISTEN_PID): "
                      "is its socket unit started, and named by Sockets=?";
    }
    if (find(name)) return what + "another listener has taken it already: name it once";
    return what + make_error_code(Errc::no_given_socket).message() + "; it gave: " + joined(names);
}

std::vector<std::string> given_socket_names() {
    return GivenSockets::of_this_process().free_names();
}

} // namespace ringlet
