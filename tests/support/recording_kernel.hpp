#pragma once

#include <ringlet/error.hpp>

#include "base/kernel.hpp"

#include <chrono>
#include <csignal>
#include <functional>
#include <optional>
#include <string>
#include <string_view>

#include <fcntl.h>
#include <pthread.h>
#include <unistd.h>

namespace ringlet::testing {

/// Replaces the real kernel and records its calls.
class RecordingKernel final : public Kernel {
public:
    std::function<void()> accepting; // called by `accept_waiting`

    Result<UniqueFd> open_socket(int, int) override {
        return UniqueFd(::open("/dev/null", O_CLOEXEC));
    }
    Result<std::pair<UniqueFd, UniqueFd>> open_pair() override {
        return std::errc::address_family_not_supported;
    }
    Result<std::pair<UniqueFd, UniqueFd>> open_pipe() override {
        return std::errc::function_not_supported;
    }
    Result<void> set_option(int, int, int, int) override { return {}; }
    Result<ucred> peer_credentials(int) override { return ucred{}; }
    Result<int> option(int, int, int) override { return 0; }
    void make_blocking(int) override {}
    Result<void> change_group(int, int, const group_req&) override { return {}; }
    Result<void> choose_peer(int, const Endpoint&) override { return {}; }
    Result<std::size_t> send_now(int, std::span<const std::byte> bytes) override {
        return bytes.size();
    }
    Result<std::size_t> take_message(int, msghdr&) override {
        return std::errc::resource_unavailable_try_again;
    }
    Result<void> reset_on_close(int) override { return {}; }
    Result<bool> is_idle(int) override { return true; }
    Result<void> bind(int, const Endpoint&) override { return {}; }
    Result<std::size_t> accept_waiting(int, std::span<UniqueFd>) override {
        if (accepting) accepting();
        return std::size_t{0};
    }
    void refuse_new_clients(int) noexcept override {}
    Result<void> listen(int, int) override {
        sigset_t mask;
        sigemptyset(&mask);
        ::pthread_sigmask(SIG_BLOCK, nullptr, &mask);
        stops_while_listening = sigismember(&mask, SIGTERM) == 0 || sigismember(&mask, SIGINT) == 0;
        return std::errc::address_not_available;
    }
    Result<void> shutdown_write(int) override { return {}; }
    Result<Endpoint> local(int) override { return Endpoint(); }
    Result<Endpoint> peer(int) override { return Endpoint(); }
    void close(int fd) noexcept override {
        closed = fd;
        ::close(fd);
    }
    Result<std::vector<Endpoint>> resolve(std::string_view) override { return Errc::unknown_host; }
    Clock::time_point now() noexcept override { return Clock::time_point(std::chrono::seconds(5)); }
    bool has_more_threads(std::size_t than) noexcept override { return than < 1; }
    bool has_signal_handlers() noexcept override { return false; }
    void report(std::string_view line) noexcept override { reported = line; }
    std::string_view situation() const noexcept override { return "in a test"; }
    bool make_ring(const RingOptions&, std::unique_ptr<Ring>&) override { return false; }

    int closed = -1;
    /// Whether SIGTERM or SIGINT were still unblocked when the program began to listen.
    std::optional<bool> stops_while_listening;
    std::string reported;
};

} // namespace ringlet::testing
