#pragma once

#include <ringlet/detail/config.hpp>
#include <ringlet/server.hpp>

#include <cstddef>
#include <memory>
#include <optional>
#include <type_traits>
#include <vector>

namespace RINGLET_EXPORT ringlet {

/// A server on several threads, each with its own loop and listening socket, for more connections than
/// one core can serve. `serve` runs one.
///
///     ServeOptions options{.listen = "0.0.0.0:3200", .workers = 0, .pin_workers = true};
///     auto workers = Workers::create(options);
///     if (!workers) return exit_status(workers.error());
///     auto report = workers->run(echo);
///
/// A connection stays on the worker where its handler started, and so do the tasks that it spawns: share nothing of
/// ringlet between workers unless its documentation allows it. The kernel chooses the accepting worker by a hash of
/// both addresses, however busy that worker is. A worker with clearly more connections than the idlest one hands a new
/// connection over to that one before the handler starts; with direct descriptors it cannot.
///
/// A single worker runs on the thread that calls `run`, as a `Server`. Several have their own threads,
/// while the calling thread waits and reads the signals for them.
///
/// Thread    `create` and `run` on one thread; `stop` from any.
class Workers {
public:
    /// Binds, listens, and starts the threads with their loops. Clients may connect from now on, and
    /// SIGTERM and SIGINT are blocked as by `Server::create`.
    ///
    /// Another server on the port is detected even if it would share the port; see
    /// `StreamListener::bind_several`.
    ///
    /// Errors    As `Server::create`, for the first worker that fails. Each ring counts against the
    ///           kernel's locked-memory limit (RLIMIT_MEMLOCK); with `Backend::automatic`, a worker
    ///           for which that is too low runs on epoll and reports it.
    ///           `resource_unavailable_try_again` if no more threads are allowed;
    ///           `invalid_argument` for more workers than `size_limit`.
    static Result<Workers> create(ServeOptions options);

    Workers(Workers&& other) noexcept;
    Workers& operator=(Workers&& other) noexcept;
    ~Workers();

    /// Serves until it is stopped, as `Server::run`. Once.
    ///
    /// Every worker has its own copy of the handler, made and destroyed on the calling thread, and calls
    /// only that copy. Anything that the copies share by pointer or reference is used by several threads
    /// at once. All share one `LoopOptions::report`, which one thread at a time calls.
    ///
    /// If one worker ends, for example after an error, the others are stopped. All listeners close during
    /// the drain; clients that had not been accepted are reset.
    ///
    /// Returns   The totals and, with several workers, the report of each. Each worker counts separately,
    ///           and the sum is taken when all have ended: nothing is shared per message or connection.
    /// Errors    The first error of any worker; connections were drained first. A worker's exception is
    ///           rethrown.
    template <class Handler>
    Result<ServeReport> run(Handler handler);

    /// Stops all, as `Server::stop`.
    ///
    /// Thread    Any.
    void stop();

    [[nodiscard]] std::size_t size() const noexcept;
    /// The address they all listen on, with the port that the kernel chose.
    [[nodiscard]] Endpoint local() const;
    /// All addresses, in the order in which they were named.
    [[nodiscard]] const std::vector<Endpoint>& locals() const noexcept;
    /// The effective limit for all workers together, however the connections are distributed.
    [[nodiscard]] std::size_t max_connections() const noexcept;
    /// Whether every worker has direct descriptors (`RingFeatures::direct_descriptors`).
    [[nodiscard]] bool has_direct_descriptors() const noexcept;
    /// As `Server::metrics_address`: one for all.
    [[nodiscard]] std::optional<Endpoint> metrics_address() const;
    /// What the first worker runs on, and why. `ServeReport` has it for each.
    [[nodiscard]] const BackendChoice& backend() const noexcept;

    static constexpr std::size_t size_limit = 1024;

private:
    class Service; // what one worker and several have in common
    class Alone;
    class Crew;
    explicit Workers(std::unique_ptr<Service> service) noexcept;
    Result<ServeReport> run_erased(const std::vector<void*>& handlers, const Server::Calls& calls);

    std::unique_ptr<Service> service_;
};

template <class Handler>
Result<ServeReport> Workers::run(Handler handler) {
    static_assert(std::is_copy_constructible_v<Handler>,
                  "every worker has a copy of the handler: let it hold what cannot be copied by a "
                  "std::shared_ptr, or run it in a Server");
    // Each has its own cache line: a handler may keep counts.
    struct alignas(64) Copy {
        Handler handler;
    };
    std::vector<Copy> copies;
    std::vector<void*> handlers;
    copies.reserve(size());
    while (copies.size() < size()) {
        copies.push_back(Copy{handler});
        handlers.push_back(static_cast<void*>(std::addressof(copies.back().handler)));
    }
    return run_erased(handlers, Server::calls_of<Handler>());
}

} // namespace ringlet
