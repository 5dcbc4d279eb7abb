#pragma once

#include "base/kernel.hpp"

#include <chrono>
#include <memory>
#include <string_view>

namespace ringlet::testing {

/// While it lives, the clock of this thread stands still unless the test advances it; everything else is
/// the real kernel. So nothing is late, however slow the machine is. It starts in the past, so that the
/// kernel's own waits until a moment that has passed here end too.
class HeldClock final : public Kernel {
public:
    HeldClock() { Kernel::stand_in(this); }
    ~HeldClock() { Kernel::stand_in(nullptr); }

    /// At most an hour in total.
    void advance(Clock::duration by) { now_ += by; }

    Result<UniqueFd> open_socket(int family, int type) override {
        return real_.open_socket(family, type);
    }
    Result<std::pair<UniqueFd, UniqueFd>> open_pair() override { return real_.open_pair(); }
    Result<std::pair<UniqueFd, UniqueFd>> open_pipe() override { return real_.open_pipe(); }
    Result<void> set_option(int fd, int level, int name, int value) override {
        return real_.set_option(fd, level, name, value);
    }
    Result<int> option(int fd, int level, int name) override {
        return real_.option(fd, level, name);
    }
    void make_blocking(int fd) override { real_.make_blocking(fd); }
    Result<void> change_group(int fd, int what, const group_req& group) override {
        return real_.change_group(fd, what, group);
    }
    Result<void> choose_peer(int fd, const Endpoint& peer) override {
        return real_.choose_peer(fd, peer);
    }
    Result<std::size_t> send_now(int fd, std::span<const std::byte> bytes) override {
        return real_.send_now(fd, bytes);
    }
    Result<std::size_t> take_message(int fd, msghdr& message) override {
        return real_.take_message(fd, message);
    }
    Result<void> reset_on_close(int fd) override { return real_.reset_on_close(fd); }
    Result<bool> is_idle(int fd) override { return real_.is_idle(fd); }
    Result<ucred> peer_credentials(int fd) override { return real_.peer_credentials(fd); }
    Result<void> bind(int fd, const Endpoint& endpoint) override {
        return real_.bind(fd, endpoint);
    }
    Result<std::size_t> accept_waiting(int listener, std::span<UniqueFd> taken) override {
        return real_.accept_waiting(listener, taken);
    }
    void refuse_new_clients(int listener) noexcept override { real_.refuse_new_clients(listener); }
    Result<void> listen(int fd, int backlog) override { return real_.listen(fd, backlog); }
    Result<void> shutdown_write(int fd) override { return real_.shutdown_write(fd); }
    Result<Endpoint> local(int fd) override { return real_.local(fd); }
    Result<Endpoint> peer(int fd) override { return real_.peer(fd); }
    void close(int fd) noexcept override { real_.close(fd); }
    Result<std::vector<Endpoint>> resolve(std::string_view host_and_port) override {
        return real_.resolve(host_and_port);
    }
    Clock::time_point now() noexcept override { return now_; }
    bool has_more_threads(std::size_t than) noexcept override {
        return real_.has_more_threads(than);
    }
    bool has_signal_handlers() noexcept override { return real_.has_signal_handlers(); }
    void report(std::string_view line) noexcept override { real_.report(line); }
    std::string_view situation() const noexcept override { return real_.situation(); }
    bool make_ring(const RingOptions& options, std::unique_ptr<Ring>& made) override {
        return real_.make_ring(options, made);
    }

private:
    Kernel& real_ = Kernel::of_this_thread();
    Clock::time_point now_ = real_.now() - std::chrono::hours(1);
};

} // namespace ringlet::testing
