#pragma once

// A service manager as a program sees it: a Unix datagram socket (sd_notify(3)), and environment variables.

#include "net.hpp"

#include <cstdlib>
#include <string>
#include <string_view>

#include <poll.h>
#include <sys/socket.h>
#include <sys/un.h>

namespace ringlet::testing {

/// A socket whose name the kernel chooses.
class NotifySocket {
public:
    NotifySocket() : socket_(::socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0)) {
        const sockaddr_un any{.sun_family = AF_UNIX, .sun_path = {}};
        REQUIRE(::bind(socket_.get(), reinterpret_cast<const sockaddr*>(&any),
                       sizeof any.sun_family) == 0);
    }

    [[nodiscard]] Endpoint address() const {
        sockaddr_storage name{};
        socklen_t size = sizeof name;
        REQUIRE(::getsockname(socket_.get(), reinterpret_cast<sockaddr*>(&name), &size) == 0);
        return Endpoint::from_sockaddr(name, size);
    }
    /// The value for NOTIFY_SOCKET.
    [[nodiscard]] std::string variable() const {
        return address().to_string().substr(std::string_view("unix:").size());
    }

    /// The next message; empty if there is none.
    std::string next() {
        std::string text(4096, '\0');
        const ssize_t size = ::recv(socket_.get(), text.data(), text.size(), MSG_DONTWAIT);
        text.resize(size < 0 ? 0 : static_cast<std::size_t>(size));
        return text;
    }
    /// Waits for the next message with this beginning, and discards earlier ones.
    std::string until(std::string_view beginning) {
        for (;;) {
            pollfd waits{.fd = socket_.get(), .events = POLLIN, .revents = 0};
            REQUIRE_MESSAGE(::poll(&waits, 1, read_limit_seconds * 1000) == 1, "waiting for ",
                            beginning);
            std::string text = next();
            if (text.starts_with(beginning)) return text;
        }
    }
    /// Whether no message with this beginning comes within this time.
    bool nothing_for(std::chrono::milliseconds time, std::string_view beginning) {
        const auto end = std::chrono::steady_clock::now() + time;
        while (std::chrono::steady_clock::now() < end) {
            pollfd waits{.fd = socket_.get(), .events = POLLIN, .revents = 0};
            if (::poll(&waits, 1, 10) == 1 && next().starts_with(beginning)) return false;
        }
        return true;
    }

private:
    UniqueFd socket_;
};

/// Sets an environment variable while it lives. No other thread may read the environment.
class Variable {
public:
    Variable(const char* name, const std::string& value) : name_(name) {
        ::setenv(name, value.c_str(), 1);
    }
    Variable(const Variable&) = delete;
    Variable& operator=(const Variable&) = delete;
    ~Variable() { ::unsetenv(name_); }

private:
    const char* name_;
};

} // namespace ringlet::testing
