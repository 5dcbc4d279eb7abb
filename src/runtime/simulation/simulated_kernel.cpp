#include "simulation/simulated_kernel.hpp"

#include <ringlet/detail/assert.hpp>
#include <ringlet/error.hpp>

#include "simulation/simulated_ring.hpp"

#include <cstdio>
#include <utility>

#include <sys/socket.h>
#include <unistd.h>

namespace ringlet::testing {

SimulatedKernel::SimulatedKernel(std::uint64_t seed, FaultSet faults, Trace trace)
    : real_(Kernel::of_this_thread()), trace_(std::move(trace)),
      situation_("in the simulation of seed " + std::to_string(seed)), plan_(seed, faults),
      network_(plan_, now_) {
    RINGLET_ASSERT(real_.situation().empty(), "a simulation inside of another one");
    stand_in(this);
}

SimulatedKernel::~SimulatedKernel() {
    RINGLET_ASSERT(!has_ring_, "a simulation ended before its loop");
    stand_in(nullptr);
}

// ---- what does not wait -------------------------------------------------------------------------

Result<UniqueFd> SimulatedKernel::open_socket(int family, int type) {
    auto fd = network_.open(family, type);
    if (!fd) return fd.error();
    return UniqueFd(*fd);
}

namespace {

Result<std::pair<UniqueFd, UniqueFd>> owned(const Result<std::pair<int, int>>& fds) {
    if (!fds) return fds.error();
    UniqueFd first(fds->first);
    UniqueFd second(fds->second);
    return std::pair(std::move(first), std::move(second));
}

} // namespace

Result<std::pair<UniqueFd, UniqueFd>> SimulatedKernel::open_pair() {
    return owned(network_.open_pair());
}

Result<std::pair<UniqueFd, UniqueFd>> SimulatedKernel::open_pipe() {
    return owned(network_.open_pipe());
}

Result<void> SimulatedKernel::set_option(int fd, int level, int name, int value) {
    if (!is_simulated(fd)) return real_.set_option(fd, level, name, value);
    return network_.set_option(fd, level, name, value);
}

Result<void> SimulatedKernel::change_group(int fd, int what, const group_req& group) {
    if (!is_simulated(fd)) return real_.change_group(fd, what, group);
    return std::errc::operation_not_supported; // multicast is not simulated
}

Result<int> SimulatedKernel::option(int fd, int level, int name) {
    if (!is_simulated(fd)) return real_.option(fd, level, name);
    auto local = network_.local(fd);
    if (!local) return local.error();
    if (level == SOL_SOCKET && name == SO_TYPE) return network_.type(fd);
    if (level == SOL_SOCKET && name == SO_DOMAIN) return local->family();
    return 0;
}

Result<void> SimulatedKernel::reset_on_close(int fd) {
    return is_simulated(fd) ? network_.reset_on_close(fd) : real_.reset_on_close(fd);
}

Result<bool> SimulatedKernel::is_idle(int fd) {
    return is_simulated(fd) ? network_.is_idle(fd) : real_.is_idle(fd);
}

Result<void> SimulatedKernel::bind(int fd, const Endpoint& endpoint) {
    return is_simulated(fd) ? network_.bind(fd, endpoint) : real_.bind(fd, endpoint);
}

Result<std::size_t> SimulatedKernel::accept_waiting(int listener, std::span<UniqueFd> taken) {
    return is_simulated(listener) ? network_.accept_waiting(listener, taken)
                                  : real_.accept_waiting(listener, taken);
}

void SimulatedKernel::refuse_new_clients(int listener) noexcept {
    if (!is_simulated(listener)) real_.refuse_new_clients(listener);
}

Result<void> SimulatedKernel::listen(int fd, int backlog) {
    return is_simulated(fd) ? network_.listen(fd, backlog) : real_.listen(fd, backlog);
}

Result<void> SimulatedKernel::shutdown_write(int fd) {
    return is_simulated(fd) ? network_.shutdown_write(fd) : real_.shutdown_write(fd);
}

Result<void> SimulatedKernel::choose_peer(int fd, const Endpoint& peer) {
    return is_simulated(fd) ? network_.choose_peer(fd, peer) : real_.choose_peer(fd, peer);
}

Result<std::size_t> SimulatedKernel::take_message(int fd, msghdr& message) {
    return is_simulated(fd) ? network_.take_message(fd, message) : real_.take_message(fd, message);
}

Result<std::size_t> SimulatedKernel::send_now(int fd, std::span<const std::byte> bytes) {
    return is_simulated(fd) ? network_.send_now(fd, bytes) : real_.send_now(fd, bytes);
}

Result<Endpoint> SimulatedKernel::local(int fd) {
    return is_simulated(fd) ? network_.local(fd) : real_.local(fd);
}

Result<Endpoint> SimulatedKernel::peer(int fd) {
    return is_simulated(fd) ? network_.peer(fd) : real_.peer(fd);
}

// Both ends belong to this process.
Result<ucred> SimulatedKernel::peer_credentials(int fd) {
    if (!is_simulated(fd)) return real_.peer_credentials(fd);
    return ucred{.pid = ::getpid(), .uid = ::getuid(), .gid = ::getgid()};
}

void SimulatedKernel::close(int fd) noexcept {
    if (!is_simulated(fd)) return real_.close(fd);
    if (network_.is_waited_on(fd)) {
        // It stays open: otherwise the operation would never be answered.
        return fail("a descriptor was closed while an operation waits on it");
    }
    if (!network_.local(fd)) return fail("a descriptor was closed that is not open");
    network_.close(fd);
}

// Both addresses of localhost, and no other host: the answers of a real name server change from day to day.
Result<std::vector<Endpoint>> SimulatedKernel::resolve(std::string_view host_and_port) {
    constexpr std::string_view localhost = "localhost:";
    if (!host_and_port.starts_with(localhost)) {
        auto number = Endpoint::parse(host_and_port);
        if (!number) return Errc::unknown_host;
        return std::vector<Endpoint>{*number};
    }
    const std::string port(host_and_port.substr(localhost.size()));
    std::vector<Endpoint> found;
    for (const char* address : {"[::1]:", "127.0.0.1:"}) {
        auto endpoint = Endpoint::parse(address + port);
        if (!endpoint) return endpoint.error();
        found.push_back(*endpoint);
    }
    return found;
}

void SimulatedKernel::report(std::string_view line) noexcept { trace(line); }

bool SimulatedKernel::make_ring(const RingOptions& options, std::unique_ptr<Ring>& made) {
    RINGLET_ASSERT(!has_ring_, "a simulation has one loop at a time");
    has_ring_ = true;
    made = make_simulated_ring(*this, options);
    return true;
}

// ---- time, and what is noted --------------------------------------------------------------------

void SimulatedKernel::advance(Clock::time_point now) {
    now_ = now;
    network_.advance(now);
    if (!network_.bytes_add_up()) fail("the simulated network has lost or made bytes: its mistake");
}

void SimulatedKernel::fail(std::string message) {
    trace("FAILED: " + message);
    if (failure_.empty()) failure_ = std::move(message);
}

void SimulatedKernel::mix(std::uint64_t value) noexcept {
    constexpr std::uint64_t prime = 1'099'511'628'211U;
    hash_ = (hash_ ^ value) * prime;
}

void SimulatedKernel::note_completion(const Operation& operation, std::int32_t result) {
    ++completion_count_;
    mix(static_cast<std::uint64_t>(elapsed().count()));
    mix(static_cast<std::uint64_t>(operation.opcode));
    // A real descriptor has whatever number was free in this process.
    mix(is_simulated(operation.fd()) ? static_cast<std::uint64_t>(operation.fd()) : 0);
    mix(static_cast<std::uint64_t>(result));
    if (!trace_) return;
    const int fd =
        is_simulated(operation.fd()) ? operation.fd() - first_simulated_descriptor : operation.fd();
    std::string text = std::string(ringlet::to_string(operation.opcode)) + " on " +
                       (is_simulated(operation.fd()) ? "socket " : "descriptor ") +
                       std::to_string(fd) + ": ";
    text += result < 0 ? error_from_errno(-result).message() : std::to_string(result);
    trace(text);
}

void SimulatedKernel::trace(std::string_view text) const {
    if (!trace_) return;
    char moment[32];
    const double seconds = std::chrono::duration<double>(elapsed()).count();
    std::snprintf(moment, sizeof moment, "%12.6f s  ", seconds);
    trace_(std::string(moment).append(text));
}

} // namespace ringlet::testing
