// c-ares in a task: ares_lookup SERVER NAME [NAME ...]. Asks a name server (IPV4:PORT) for the addresses of all names at
// once.
//
// Try it:  ./foreign_ares_lookup 127.0.0.1:5300 example.test

#include <ringlet/ringlet.hpp>

#include <ares.h>

#include <array>
#include <cstdio>
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
        if (ares_init(&resolver.channel_) != ARES_SUCCESS) return std::errc::not_enough_memory;
        if (ares_set_servers_ports_csv(resolver.channel_, server.c_str()) != ARES_SUCCESS)
            return Errc::invalid_endpoint;
        return resolver;
    }
    Resolver(Resolver&& other) noexcept : channel_(std::exchange(other.channel_, nullptr)) {}
    Resolver& operator=(Resolver&&) = delete;
    ~Resolver() {
        if (channel_ != nullptr) ares_destroy(channel_);
    }

    void ask(const std::string& name, std::string* answer) {
        ares_gethostbyname(channel_, name.c_str(), AF_INET, note_answer, answer);
    }

    // Until nothing is asked any more: waits for whichever of the library's descriptors is ready, or its timeout.
    Task<Result<void>> finish() {
        std::array<ares_socket_t, ARES_GETSOCK_MAXNUM> fds{};
        for (;;) {
            const int wanted = ares_getsock(channel_, fds.data(), ARES_GETSOCK_MAXNUM);
            if (wanted == 0) co_return Result<void>();
            auto waited = co_await wait_for(fds, wanted);
            if (!waited && waited.error() != std::errc::timed_out) co_return waited;
            if (!waited) ares_process_fd(channel_, ARES_SOCKET_BAD, ARES_SOCKET_BAD);
        }
    }

private:
    Resolver() = default;

    static void note_answer(void* answer, int status, int, hostent* host) {
        auto& text = *static_cast<std::string*>(answer);
        if (status != ARES_SUCCESS) {
            text = ares_strerror(status);
            return;
        }
        std::array<char, INET_ADDRSTRLEN> number{};
        ::inet_ntop(AF_INET, host->h_addr_list[0], number.data(), number.size());
        text = number.data();
    }

    Task<Result<void>> watch(ares_socket_t fd, short events, TaskGroup* group) {
        auto came = co_await poll_events(fd, events);
        if (!came) co_return came.error();
        ares_process_fd(channel_, (*came & POLLOUT) == 0 ? fd : ARES_SOCKET_BAD,
                        (*came & POLLOUT) != 0 ? fd : ARES_SOCKET_BAD);
        group->cancel(); // which descriptors there are may have changed
        co_return Result<void>();
    }

    Task<Result<void>> wait_for(const std::array<ares_socket_t, ARES_GETSOCK_MAXNUM>& fds,
                                int wanted) {
        timeval left{};
        ares_timeout(channel_, nullptr, &left);
        const auto limit =
            std::chrono::seconds(left.tv_sec) + std::chrono::microseconds(left.tv_usec);
        auto body = [&](TaskGroup& group) -> Task<> {
            for (unsigned i = 0; i < fds.size(); ++i) {
                const int reads = ARES_GETSOCK_READABLE(wanted, i) != 0 ? POLLIN : 0;
                const int writes = ARES_GETSOCK_WRITABLE(wanted, i) != 0 ? POLLOUT : 0;
                const auto events = static_cast<short>(reads | writes);
                if (events == 0) continue;
                group.spawn("watch", [this, fd = fds[i], events, &group] {
                    return watch(fd, events, &group);
                });
            }
            co_return;
        };
        auto done = co_await with_timeout(limit, with_task_group(body));
        co_return done;
    }

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
