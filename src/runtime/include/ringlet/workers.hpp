#pragma once

#include <ringlet/detail/config.hpp>
#include <ringlet/server.hpp>

#include <cstddef>
#include <memory>
#include <optional>
#include <type_traits>
#include <vector>

namespace RINGLET_EXPORT ringlet {

/// A server on several threads, each with a loop and a listening socket of its own: for more
/// connections than one core can serve. What `serve` runs.
///
///     ServeOptions options{.listen = "0.0.0.0:3200", .workers = 0, .pin_workers = true};
///     auto workers = Workers::create(options);
///     if (!workers) return exit_status(workers.error());
///     auto report = workers->run(echo);
///
/// A connection stays on the worker on which its handler began, and so do the tasks that it spawns: nothing of
/// ringlet but what says so may be shared between workers. The kernel chooses the worker that accepts by a hash
/// of both addresses, however busy it is. One that has clearly more connections than the idlest hands a new one over to
/// that, before the handler begins; with direct descriptors it cannot.
///
/// One worker runs on the thread that calls `run`, as a `Server`. Several have threads of their own,
/// and the calling one waits, and reads the signals for them.
///
/// Thread    `create` and `run` on one thread; `stop` from any.
class Workers {
public:
    /// Binds, listens, and starts the threads with their loops. Clients may connect from now on, and
    /// SIGTERM and SIGINT are blocked as by `Server::create`.
    ///
    /// Another server on the port is found also if it would share it; see
    /// `StreamListener::bind_several`.
    ///
    /// Errors    As `Server::create`, for the first worker that fails: each ring counts against the
    ///           locked memory that the kernel allows (RLIMIT_MEMLOCK), and with
    ///           `Backend::automatic` a worker for which it does not suffice runs on epoll, and
    ///           reports it. `resource_unavailable_try_again` if there may be no more threads;
    ///           `invalid_argument` for more workers than `size_limit`.
    static Result<Workers> create(ServeOptions options);

    Workers(Workers&& other) noexcept;
    Workers& operator=(Workers&& other) noexcept;
    ~Workers();

    /// Serves until it is stopped, as `Server::run`. Once.
    ///
    /// Every worker has a copy of the handler, made and destroyed on the calling thread, and calls
    /// only that. What the copies share by a pointer or a reference is used by several threads at
    /// once. `LoopOptions::report` is one for all, and called by one thread at a time.
    ///
    /// When one worker ends, as after an error, the others are stopped. All listeners close in the
    /// drain; clients that had not been accepted are reset.
    ///
    /// Returns   The sum, and with several workers what each did. It is counted by each for itself,
    ///           and summed when all have ended: nothing is shared per message or connection.
    /// Errors    The first that a worker had; connections were drained first. What a worker throws
    ///           is thrown.
    template <class Handler>
    Result<ServeReport> run(Handler handler);

    /// Stops all, as `Server::stop`.
    ///
    /// Thread    Any.
    void stop();

    [[nodiscard]] std::size_t size() const noexcept;
    /// The address that all listen on, with the port that the kernel chose.
    [[nodiscard]] Endpoint local() const;
    /// All addresses, in the order in which they were named.
    [[nodiscard]] const std::vector<Endpoint>& locals() const noexcept;
    /// The limit as it applies to all together, whichever of them has the connections.
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
    // No two in one cache line: a handler may keep counts.
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
