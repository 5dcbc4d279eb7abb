#pragma once

// The kernel of a simulation: a network in memory, a clock that jumps instead of waiting, and a
// record of both.

#include <ringlet/testing/fault.hpp>

#include "base/kernel.hpp"
#include "simulation/fault_plan.hpp"
#include "simulation/simulated_network.hpp"

#include <cstdint>
#include <functional>
#include <string>
#include <string_view>

namespace ringlet::testing {

class SimulatedKernel final : public Kernel {
public:
    using Trace = std::function<void(std::string_view line)>;

    SimulatedKernel(std::uint64_t seed, FaultSet faults, Trace trace);
    ~SimulatedKernel();

    Result<UniqueFd> open_socket(int family, int type) override;
    Result<std::pair<UniqueFd, UniqueFd>> open_pair() override;
    Result<std::pair<UniqueFd, UniqueFd>> open_pipe() override;
    Result<void> set_option(int fd, int level, int name, int value) override;
    Result<int> option(int fd, int level, int name) override;
    Result<void> change_group(int fd, int what, const group_req& group) override;
    void make_blocking(int fd) override {
        if (!is_simulated(fd)) real_.make_blocking(fd);
    }
    Result<void> reset_on_close(int fd) override;
    Result<bool> is_idle(int fd) override;
    Result<void> bind(int fd, const Endpoint& endpoint) override;
    Result<void> listen(int fd, int backlog) override;
    Result<std::size_t> accept_waiting(int listener, std::span<UniqueFd> taken) override;
    void refuse_new_clients(int listener) noexcept override;
    Result<void> shutdown_write(int fd) override;
    Result<void> choose_peer(int fd, const Endpoint& peer) override;
    Result<std::size_t> send_now(int fd, std::span<const std::byte> bytes) override;
    Result<std::size_t> take_message(int fd, msghdr& message) override;
    Result<Endpoint> local(int fd) override;
    Result<Endpoint> peer(int fd) override;
    Result<ucred> peer_credentials(int fd) override;
    void close(int fd) noexcept override;
    Result<std::vector<Endpoint>> resolve(std::string_view host_and_port) override;
    [[nodiscard]] Clock::time_point now() noexcept override { return now_; }
    /// One: other threads are not simulated.
    [[nodiscard]] bool has_more_threads(std::size_t than) noexcept override { return than < 1; }
    [[nodiscard]] bool has_signal_handlers() noexcept override { return false; }
    void report(std::string_view line) noexcept override;
    [[nodiscard]] std::string_view situation() const noexcept override { return situation_; }
    bool make_ring(const RingOptions& options, std::unique_ptr<Ring>& made) override;

    // ---- for the ring and the simulation

    [[nodiscard]] FaultPlan& plan() noexcept { return plan_; }
    [[nodiscard]] SimulatedNetwork& network() noexcept { return network_; }

    /// Lets time pass, and everything that is due by then happen.
    void advance(Clock::time_point now);

    /// Notes a broken promise. The first is kept.
    void fail(std::string message);
    [[nodiscard]] const std::string& failure() const noexcept { return failure_; }

    /// Notes an answer, in the hash and in the trace.
    void note_completion(const Operation& operation, std::int32_t result);
    void trace(std::string_view text) const;
    [[nodiscard]] std::uint64_t trace_hash() const noexcept { return hash_; }
    [[nodiscard]] std::uint64_t completion_count() const noexcept { return completion_count_; }
    [[nodiscard]] Clock::duration elapsed() const noexcept { return now_ - begin; }

    void ring_is_gone() noexcept { has_ring_ = false; }

    /// When every simulation begins: not at zero, where mistakes would not be seen.
    static constexpr Clock::time_point begin{std::chrono::hours(1)};

private:
    void mix(std::uint64_t value) noexcept;

    Kernel& real_; // of this thread: for descriptors that are not simulated
    Trace trace_;
    std::string situation_;
    Clock::time_point now_ = begin;
    FaultPlan plan_;
    SimulatedNetwork network_;
    std::string failure_;
    std::uint64_t completion_count_ = 0;
    std::uint64_t hash_ = 14'695'981'039'346'656'037U; // FNV-1a
    bool has_ring_ = false;
};

} // namespace ringlet::testing
