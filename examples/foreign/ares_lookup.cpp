// c-ares in a task: ares_lookup SERVER NAME [NAME ...]. Asks a name server (IPV4:PORT) for the addresses of all names at
// once.
//
// Try it:  ./foreign_ares_lookup 127.0.0.1:5300 example.test

#include <ringlet/ringlet.hpp>

#include <ares.h>

#include <array>
#include <cstdio>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include <arpa/inet.h>
#include <netdb.h>
#include <poll.h>
#include <sys/time.h>
#include <sysexits.h>

using namespace ringlet;

namespace {

class Resolver {
public:
    static Result<Resolver> create(const std::string& server) {
        Resolver resolver;
        ares_options options{};
        options.sock_state_cb = note_interest;
        options.sock_state_cb_data = resolver.wanted_.get();
        if (ares_init_options(&resolver.channel_, &options, ARES_OPT_SOCK_STATE_CB) != ARES_SUCCESS)
            return std::errc::not_enough_memory;
        if (ares_set_servers_ports_csv(resolver.channel_, server.c_str()) != ARES_SUCCESS)
            return Errc::invalid_endpoint;
        return resolver;
    }
    Resolver(Resolver&& other) noexcept
        : wanted_(std::move(other.wanted_)), channel_(std::exchange(other.channel_, nullptr)) {}
    Resolver& operator=(Resolver&&) = delete;
    ~Resolver() {
        if (channel_ != nullptr) ares_destroy(channel_);
    }

    void ask(const std::string& name, std::string* answer) {
        ares_addrinfo_hints hints{};
        hints.ai_family = AF_INET;
        ares_getaddrinfo(channel_, name.c_str(), nullptr, &hints, note_answer, answer);
    }

    // Until no query is left: waits for any of the library's descriptors, or its timeout.
    Task<Result<void>> finish() {
        while (!wanted_->empty()) {
            auto waited = co_await wait_for_one();
            if (!waited && waited.error() != std::errc::timed_out) co_return waited;
            if (!waited) ares_process_fd(channel_, ARES_SOCKET_BAD, ARES_SOCKET_BAD);
        }
        co_return Result<void>();
    }

private:
    // The library's descriptors, and what it waits for on each.
    using Wanted = std::map<ares_socket_t, short>;

    Resolver() : wanted_(std::make_unique<Wanted>()) {}

    static void note_interest(void* wanted, ares_socket_t fd, int reads, int writes) {
        auto& all = *static_cast<Wanted*>(wanted);
        const int events = (reads != 0 ? POLLIN : 0) | (writes != 0 ? POLLOUT : 0);
        if (events == 0) {
            all.erase(fd);
        } else {
            all[fd] = static_cast<short>(events);
        }
    }

    static void note_answer(void* answer, int status, int, ares_addrinfo* found) {
        auto& text = *static_cast<std::string*>(answer);
        if (status != ARES_SUCCESS) {
            text = ares_strerror(status);
            return;
        }
        std::array<char, INET_ADDRSTRLEN> number{};
        const auto* address = reinterpret_cast<const sockaddr_in*>(found->nodes->ai_addr);
        ::inet_ntop(AF_INET, &address->sin_addr, number.data(), number.size());
        text = number.data();
        ares_freeaddrinfo(found);
    }

    Task<Result<void>> watch(ares_socket_t fd, short events, TaskGroup* group) {
        auto came = co_await poll_events(fd, events);
        if (!came) co_return came.error();
        ares_process_fd(channel_, (*came & POLLOUT) == 0 ? fd : ARES_SOCKET_BAD,
                        (*came & POLLOUT) != 0 ? fd : ARES_SOCKET_BAD);
        group->cancel(); // which descriptors there are may have changed
        co_return Result<void>();
    }

    Task<Result<void>> wait_for_one() {
        timeval left{};
        ares_timeout(channel_, nullptr, &left);
        const auto limit =
            std::chrono::seconds(left.tv_sec) + std::chrono::microseconds(left.tv_usec);
        auto body = [&](TaskGroup& group) -> Task<> {
            for (const auto& [fd, events] : *wanted_) {
                group.spawn("watch", [this, one = fd, awaited = events, &group] {
                    return watch(one, awaited, &group);
                });
            }
            co_return;
        };
        auto done = co_await with_timeout(limit, with_task_group(body));
        co_return done;
    }

    std::unique_ptr<Wanted> wanted_; // does not move
    ares_channel channel_ = nullptr;
};

Task<Result<void>> look_up(std::string server, std::vector<std::string> names) {
    auto resolver = Resolver::create(server);
    if (!resolver) co_return resolver.error();
    std::vector<std::string> answers(names.size());
    for (std::size_t i = 0; i < names.size(); ++i) resolver->ask(names[i], &answers[i]);
    auto finished = co_await resolver->finish();
    if (!finished) co_return finished;
    for (std::size_t i = 0; i < names.size(); ++i) {
        std::printf("%s: %s\n", names[i].c_str(), answers[i].c_str());
    }
    co_return Result<void>();
}

} // namespace

int main(int argc, char** argv) {
    if (argc < 3) {
        std::fprintf(stderr, "usage: ares_lookup SERVER NAME [NAME ...]\n");
        return EX_USAGE;
    }
    if (ares_library_init(ARES_LIB_INIT_ALL) != ARES_SUCCESS) return EX_SOFTWARE;
    auto loop = EventLoop::create();
    if (!loop) return exit_status(loop.error());
    auto done =
        loop->run(look_up, std::string(argv[1]), std::vector<std::string>(argv + 2, argv + argc));
    ares_library_cleanup();
    return exit_status(done);
}
