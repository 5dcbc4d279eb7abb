#include <ringlet/serve.hpp>
#include <ringlet/workers.hpp>

#include "base/cpus.hpp"
#include "serve/crew.hpp"
#include "serve/listeners.hpp"

#include <algorithm>
#include <memory>
#include <utility>
#include <vector>

namespace ringlet {

// One worker, on the thread that calls `run`.
class Workers::Alone final : public Service {
public:
    Alone(Server server, bool pins) noexcept
        : server_(std::move(server)),
          has_direct_descriptors_(server_.loop().direct_descriptor_limit() > 0), pins_(pins) {}

    Result<ServeReport> run(const std::vector<void*>& handlers,
                            const Server::Calls& calls) override;
    void stop() override { server_.stop(); }
    [[nodiscard]] std::size_t size() const noexcept override { return 1; }
    [[nodiscard]] const std::vector<Endpoint>& locals() const noexcept override {
        return server_.locals();
    }
    [[nodiscard]] std::size_t max_connections() const noexcept override {
        return server_.max_connections();
    }
    [[nodiscard]] bool has_direct_descriptors() const noexcept override {
        return has_direct_descriptors_;
    }
    [[nodiscard]] const BackendChoice& backend() const noexcept override {
        return server_.backend();
    }
    [[nodiscard]] std::optional<Endpoint> metrics_address() const override {
        return server_.metrics_address();
    }

private:
    Server server_;
    bool has_direct_descriptors_;
    bool pins_;
};

Result<ServeReport> Workers::Alone::run(const std::vector<void*>& handlers,
                                        const Server::Calls& calls) {
    if (!pins_) return server_.run_erased(handlers.front(), calls);
    struct Unpinned { // the thread is the caller's
        CpuSet before;
        ~Unpinned() { static_cast<void>(before.apply()); }
    };
    auto allowed = CpuSet::of_this_thread();
    if (!allowed) return allowed.error();
    const Unpinned at_end{*allowed};
    auto pinned = CpuSet::of(allowed->numbers().front()).apply();
    if (!pinned) return pinned.error();
    return server_.run_erased(handlers.front(), calls);
}

Result<Workers> Workers::create(ServeOptions options) {
    if (options.workers > size_limit) return std::errc::invalid_argument;
    report_to_log(options);
    auto addresses = addresses_of(options); // which may take long
    if (!addresses) return addresses.error();

    std::vector<int> cpus;
    if (options.workers == 0 || options.pin_workers) {
        auto allowed = CpuSet::of_this_thread();
        if (!allowed) return allowed.error();
        cpus = allowed->numbers();
    }
    std::size_t size = options.workers;
    if (size == 0) size = std::min(cpus.size(), size_limit);
    std::size_t& limit = options.max_connections;
    if (limit == 0 && !options.loop.features.direct_descriptors) {
        limit = Server::connections_that_fit(size);
    }
    if (limit > 0) size = std::min(size, limit);
    options.workers = size;

    if (size == 1) {
        const bool pins = options.pin_workers;
        options.addresses = std::move(*addresses);
        auto server = Server::create(std::move(options));
        if (!server) return server.error();
        return Workers(std::make_unique<Alone>(std::move(*server), pins));
    }
    auto crew = std::make_unique<Crew>(std::move(options), std::move(cpus));
    auto started = crew->start(*addresses);
    if (!started) return started.error();
    return Workers(std::move(crew));
}

Workers::Workers(std::unique_ptr<Service> service) noexcept : service_(std::move(service)) {}
Workers::Workers(Workers&&) noexcept = default;
Workers& Workers::operator=(Workers&&) noexcept = default;
Workers::~Workers() = default;

Result<ServeReport> Workers::run_erased(const std::vector<void*>& handlers,
                                        const Server::Calls& calls) {
    return service_->run(handlers, calls);
}

void Workers::stop() { service_->stop(); }

std::size_t Workers::size() const noexcept { return service_->size(); }

Endpoint Workers::local() const { return service_->locals().front(); }

const std::vector<Endpoint>& Workers::locals() const noexcept { return service_->locals(); }

std::size_t Workers::max_connections() const noexcept { return service_->max_connections(); }

bool Workers::has_direct_descriptors() const noexcept { return service_->has_direct_descriptors(); }

const BackendChoice& Workers::backend() const noexcept { return service_->backend(); }

std::optional<Endpoint> Workers::metrics_address() const { return service_->metrics_address(); }

} // namespace ringlet
