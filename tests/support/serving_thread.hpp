#pragma once

// Shared by the tests of servers and workers: a server that runs while the test is its client.

#include "net.hpp"

#include <ringlet/server.hpp>
#include <ringlet/workers.hpp>

#include <chrono>
#include <functional>
#include <future>
#include <string>
#include <string_view>
#include <system_error>
#include <thread>
#include <utility>
#include <vector>

namespace ringlet::testing {

inline ServeOptions quiet_options() {
    ServeOptions options;
    options.listen = "127.0.0.1:0";
    options.handle_signals = false;
    options.drain_timeout = std::chrono::seconds(60);
    options.loop.ring_entries = 64;
    return options;
}

/// A `Server`, or `Workers`, on its own thread. `stop` may be called any number of times before
/// `finish`.
template <class Service>
class ServingThread {
public:
    template <class Handler>
    ServingThread(ServeOptions options, Handler handler)
        : run_([handler](Service& service) { return service.run(handler); }) {
        start(std::move(options));
    }
    ServingThread(const ServingThread&) = delete;
    ServingThread& operator=(const ServingThread&) = delete;
    ~ServingThread() {
        if (!thread_.joinable()) return;
        stop();
        stop();
        join();
    }

    [[nodiscard]] const Endpoint& address() const { return address_; }
    void stop() { server_->stop(); }

    /// Waits until the server has ended, by itself or by `stop`.
    ServeReport finish() {
        join();
        REQUIRE_MESSAGE(outcome_, outcome_.error().message());
        return *outcome_;
    }

    /// The reported lines; valid after `finish`.
    [[nodiscard]] const std::vector<std::string>& lines() const { return lines_; }

private:
    void start(ServeOptions options) {
        if (options.log == nullptr) // a log would take the lines
            options.loop.report = [this](std::string_view line) { lines_.emplace_back(line); };
        std::promise<std::error_code> started;
        auto begun = started.get_future();
        thread_ = std::thread([this, options = std::move(options), &started] {
            auto server = Service::create(options);
            if (!server) {
                started.set_value(server.error());
                return;
            }
            server_ = &*server;
            address_ = server->local();
            started.set_value({});
            outcome_ = run_(*server);
            ended_.set_value();
            released_.get_future().wait(); // so that `stop` can still be called
        });
        const std::error_code error = begun.get();
        REQUIRE_MESSAGE(!error, error.message());
    }
    void join() {
        ended_.get_future().wait();
        released_.set_value();
        thread_.join();
    }

    std::function<Result<ServeReport>(Service&)> run_;
    std::thread thread_;
    Service* server_ = nullptr;
    Endpoint address_;
    Result<ServeReport> outcome_ = std::errc::not_connected;
    std::vector<std::string> lines_;
    std::promise<void> ended_;
    std::promise<void> released_;
};

using ServerThread = ServingThread<Server>;
using WorkersThread = ServingThread<Workers>;

inline bool echoes(const UniqueFd& client, std::string_view text) {
    return write_all(client.get(), text) && read_up_to(client.get(), text.size()) == text;
}

/// Connects until the server no longer listens. A late connection may still have been accepted.
inline void until_refused(const Endpoint& server) {
    while (connect_to(server)) std::this_thread::yield();
}

} // namespace ringlet::testing
