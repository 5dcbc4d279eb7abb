#include <ringlet/connect.hpp>

#include <ringlet/deadline.hpp>
#include <ringlet/error.hpp>
#include <ringlet/event.hpp>
#include <ringlet/resolve.hpp>
#include <ringlet/task_group.hpp>
#include <ringlet/unix_stream.hpp>

#include <algorithm>
#include <cstddef>
#include <optional>
#include <utility>

namespace ringlet {

namespace {

// RFC 8305, section 4: the address families alternate, the best address first.
std::vector<Endpoint> in_turns(std::vector<Endpoint> endpoints) {
    std::vector<Endpoint> first;
    std::vector<Endpoint> other;
    for (const Endpoint& endpoint : endpoints) {
        (endpoint.family() == endpoints.front().family() ? first : other).push_back(endpoint);
    }
    endpoints.clear();
    for (std::size_t i = 0; i < std::max(first.size(), other.size()); ++i) {
        if (i < first.size()) endpoints.push_back(first[i]);
        if (i < other.size()) endpoints.push_back(other[i]);
    }
    return endpoints;
}

// The attempts on one name.
class Race {
public:
    Race(std::vector<Endpoint> endpoints, ConnectByNameOptions options)
        : options_(options), endpoints_(std::move(endpoints)), causes_(endpoints_.size()) {}

    Task<Result<StreamSocket>> run() {
        auto body = [this](TaskGroup& group) { return begin_attempts(group); };
        auto done = co_await with_task_group(body, GroupOptions{.name = "connect"});
        if (winner_) co_return std::move(*winner_);
        tell_causes();
        if (!done) co_return done.error();
        if (endpoints_.empty()) co_return std::errc::address_family_not_supported;
        co_return causes_.front();
    }

private:
    Task<> begin_attempts(TaskGroup& group) {
        for (std::size_t index = 0; index < endpoints_.size(); ++index) {
            failed_.clear();
            group.spawn("connect", [this, &group, index] { return attempt(group, index); });
            if (index + 1 == endpoints_.size()) co_return;
            auto told = co_await with_timeout(options_.attempt_delay, failed_.wait());
            if (!told && told.error() != std::errc::timed_out) co_return; // one has won
        }
    }

    Task<> attempt(TaskGroup& group, std::size_t index) {
        auto stream = co_await connect_one(endpoints_[index]);
        if (stream) {
            if (!winner_) winner_ = std::move(*stream);
            group.cancel();
        } else {
            // One that was cancelled has no cause.
            if (stream.error() != std::errc::operation_canceled) causes_[index] = stream.error();
            failed_.set();
        }
    }

    Task<Result<StreamSocket>> connect_one(Endpoint endpoint) {
        if (endpoint.is_unix()) {
            auto stream = co_await UnixStream::connect(endpoint);
            if (!stream) co_return stream.error();
            co_return StreamSocket(std::move(*stream));
        }
        auto stream = co_await TcpStream::connect(endpoint, options_.socket);
        if (!stream) co_return stream.error();
        co_return StreamSocket(std::move(*stream));
    }

    void tell_causes() const {
        if (options_.causes == nullptr) return;
        for (std::size_t i = 0; i < endpoints_.size(); ++i) {
            const std::string cause = causes_[i] ? causes_[i].message() : "no answer yet";
            *options_.causes += endpoints_[i].to_string() + ": " + cause + "\n";
        }
    }

    ConnectByNameOptions options_;
    std::vector<Endpoint> endpoints_;
    std::vector<std::error_code> causes_;
    std::optional<StreamSocket> winner_;
    Event failed_{"a failed attempt to connect"};
};

Task<Result<StreamSocket>> connect_to_any_of(std::vector<Endpoint> endpoints,
                                             ConnectByNameOptions options) {
    if (options.socket.from) {
        const int family = options.socket.from->family();
        std::erase_if(endpoints, [&](const Endpoint& one) { return one.family() != family; });
    }
    if (!endpoints.empty()) endpoints = in_turns(std::move(endpoints));
    Race race(std::move(endpoints), options);
    auto stream = co_await race.run();
    co_return stream;
}

Task<Result<StreamSocket>> look_up_and_connect(std::string host_and_port,
                                               ConnectByNameOptions options) {
    const std::string name = host_and_port;
    auto endpoints = co_await resolve(std::move(host_and_port));
    if (!endpoints) {
        if (options.causes != nullptr)
            *options.causes += name + ": " + endpoints.error().message() + "\n";
        co_return endpoints.error();
    }
    auto stream = co_await connect_to_any_of(std::move(*endpoints), options);
    co_return stream;
}

} // namespace

Task<Result<StreamSocket>> connect_to_any(std::vector<Endpoint> endpoints,
                                          ConnectByNameOptions options) {
    auto stream =
        co_await with_timeout(options.timeout, connect_to_any_of(std::move(endpoints), options));
    co_return stream;
}

Task<Result<StreamSocket>> connect(std::string host_and_port, ConnectByNameOptions options) {
    auto stream = co_await with_timeout(options.timeout,
                                        look_up_and_connect(std::move(host_and_port), options));
    co_return stream;
}

} // namespace ringlet
