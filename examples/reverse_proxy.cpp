// A proxy in front of several servers: reverse_proxy ADDRESS SERVER [SERVER ...], each HOST:PORT or unix:/PATH.
//
// Each client goes to the server that has the fewest; a server that does not answer is skipped, and tried again
// every second until it does. Bytes and ends are passed on as they come, whatever the protocol.
//
// Try it:  ./example_reverse_proxy 127.0.0.1:8000 localhost:8001 unix:/run/app.sock

#include <ringlet/ringlet.hpp>

#include <algorithm>
#include <cstdio>
#include <memory>
#include <string>
#include <vector>

#include <sysexits.h>

using namespace ringlet;
using namespace std::chrono_literals;

namespace {

constexpr ConnectByNameOptions quickly{.timeout = 2s};

struct Backend {
    std::string address;
    std::size_t clients = 0;
    bool is_well = true;
};

using Backends = std::vector<Backend>;

/// Counts a client for as long as it is served.
class Visit {
public:
    explicit Visit(Backend& backend) noexcept : backend_(&backend) { ++backend.clients; }
    Visit(const Visit&) = delete;
    Visit& operator=(const Visit&) = delete;
    ~Visit() { --backend_->clients; }

private:
    Backend* backend_;
};

Backend* least_busy(Backends& backends) {
    Backend* best = nullptr;
    for (Backend& backend : backends) {
        if (backend.is_well && (best == nullptr || backend.clients < best->clients))
            best = &backend;
    }
    return best;
}

Task<Result<void>> forward(std::shared_ptr<Backends> backends, StreamSocket client) {
    while (Backend* backend = least_busy(*backends)) {
        const Visit visit(*backend);
        auto server = co_await connect(backend->address, quickly);
        if (!server) {
            auto reason = co_await cancelled();
            if (reason) co_return server.error();
            std::fprintf(stderr, "%s: %s\n", backend->address.c_str(),
                         server.error().message().c_str());
            backend->is_well = false;
            continue; // the next one: the client has lost nothing
        }
        auto copied = co_await copy_both_ways(client, *server);
        if (!copied) co_return copied.error();
        co_return Result<void>();
    }
    client.abort();
    co_return std::errc::host_unreachable;
}

Task<> watch_health(std::shared_ptr<Backends> backends) {
    for (;;) {
        auto slept = co_await sleep_for(1s);
        if (!slept) co_return;
        for (Backend& backend : *backends) {
            if (backend.is_well) continue;
            auto probe = co_await connect(backend.address, quickly);
            backend.is_well = static_cast<bool>(probe);
        }
    }
}

} // namespace

int main(int argc, char** argv) {
    if (argc < 3) {
        std::fprintf(stderr, "usage: reverse_proxy ADDRESS SERVER [SERVER ...]\n");
        return EX_USAGE;
    }
    auto backends = std::make_shared<Backends>();
    for (int i = 2; i < argc; ++i) backends->push_back({.address = argv[i]});
    ServeOptions options;
    options.listen = argv[1];
    auto server = Server::create(options);
    if (!server) {
        report_advice(options.loop, options.listen, server.error());
        return exit_status(server.error());
    }
    server->loop().spawn("health", watch_health, backends);
    auto handle = [backends](StreamSocket client) { return forward(backends, std::move(client)); };
    return exit_status(server->run(handle));
}
