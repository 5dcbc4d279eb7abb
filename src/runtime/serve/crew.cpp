#include "serve/crew.hpp"

#include <ringlet/detail/assert.hpp>

#include "base/cpus.hpp"
#include "base/kernel.hpp"
#include "serve/informing.hpp"
#include "serve/listeners.hpp"
#include "serve/server_log.hpp"
#include "serve/server_state.hpp"
#include "serve/stop_signals.hpp"

#include <algorithm>
#include <limits>
#include <memory>
#include <string>
#include <string_view>
#include <utility>

#include <pthread.h>

namespace ringlet {

// ---- one worker ---------------------------------------------------------------------------------

void Workers::Crew::work(std::size_t index, Listeners listeners, std::promise<Result<void>> made) {
    Worker& worker = workers_[index];
    ::pthread_setname_np(::pthread_self(), ("worker " + std::to_string(index)).c_str()); // top -H
    std::optional<Server> server;
    try {
        auto created = make_server(index, std::move(listeners));
        if (!created) {
            made.set_value(created.error());
            return;
        }
        server.emplace(std::move(*created));
        server->on_accept_failure([this] { stop_up_to(1); });
    } catch (...) {
        made.set_exception(std::current_exception());
        return;
    }
    if (index == 0) backend_ = server->backend();
    {
        const std::lock_guard lock(mutex_);
        worker.server = &*server;
    }
    made.set_value({});

    const Job job = job_.get();
    if (job.handlers != nullptr) serve(worker, *server, index, job);
    {
        const std::lock_guard lock(mutex_);
        worker.server = nullptr;
    }
    server.reset();
    if (job.handlers == nullptr) return;
    stop_up_to(1); // when one ends, the others are stopped
    static_cast<void>(ended_->sender().try_send(std::size_t(index))); // NOLINT: a copy
}

Result<Server> Workers::Crew::make_server(std::size_t index, Listeners listeners) {
    if (options_.pin_workers) {
        auto pinned = CpuSet::of(cpus_[index % cpus_.size()]).apply();
        if (!pinned) return pinned.error();
    }
    ServeOptions own = options_;
    own.handle_signals = false;
    own.notify_service_manager = false;
    own.workers = size_;
    // Each worker may hold all `max_connections`; 0 remains 0: what its own table holds.
    auto give_to = [this](std::size_t to, UniqueFd connection, bool is_unix,
                          std::shared_ptr<const HandedOver> along) {
        return give(to, std::move(connection), is_unix, std::move(along));
    };
    return Server::create(std::move(own), std::move(listeners), RoomShare(room_, index, give_to));
}

bool Workers::Crew::give(std::size_t index, UniqueFd connection, bool is_unix,
                         std::shared_ptr<const HandedOver> along) {
    const std::lock_guard lock(mutex_);
    Server* server = workers_[index].server;
    return server != nullptr && stops_ == 0 &&
           server->take(std::move(connection), is_unix, std::move(along));
}

void Workers::Crew::serve(Worker& worker, Server& server, std::size_t index, const Job& job) {
    try {
        auto report = server.run_erased((*job.handlers)[index], job.calls);
        if (report) {
            worker.report = std::move(*report);
        } else {
            fail(report.error(), nullptr);
        }
    } catch (...) {
        fail({}, std::current_exception());
    }
}

void Workers::Crew::fail(std::error_code error, std::exception_ptr thrown) {
    const std::lock_guard lock(mutex_);
    if (first_error_ || first_thrown_) return;
    first_error_ = error;
    first_thrown_ = std::move(thrown);
}

// ---- all of them --------------------------------------------------------------------------------

Workers::Crew::Crew(ServeOptions chosen, std::vector<int> allowed)
    : options_(std::move(chosen)), cpus_(std::move(allowed)), size_(options_.workers),
      loop_(EventLoop::create({.ring_entries = 8, .backend = Backend::epoll})), workers_(size_) {
    if (!options_.loop.report) return;
    struct Shared {
        std::mutex mutex;
        std::function<void(std::string_view)> report;
    };
    auto shared = std::make_shared<Shared>();
    shared->report = std::move(options_.loop.report);
    options_.loop.report = [shared](std::string_view line) {
        const std::lock_guard lock(shared->mutex);
        shared->report(line);
    };
}

// The threads that start here inherit the signal mask, and no client can connect before it is set.
Result<void> Workers::Crew::start(const std::vector<ListenAddress>& addresses) {
    if (!loop_) return loop_.error();
    ended_.emplace(*loop_, size_);
    if (options_.handle_signals) {
        auto watch = watch_stop_signals(options_);
        if (!watch) return watch.error();
        signals_.emplace(std::move(*watch));
    }
    auto begun = start_hand_over(options_);
    if (!begun) return begun.error();
    taken_ = std::move(begun->taken);
    if (begun->successors)
        services_.successors.emplace(std::move(*begun->successors), hand_over_service);
    TakeOver* const taken = taken_ ? &*taken_ : nullptr;
    auto listeners = bind_all(addresses, size_, options_.socket, taken);
    if (!listeners) return listeners.error();
    for (const StreamListener& listener : listeners->front())
        if (std::ranges::count(addresses_, listener.local()) == 0)
            addresses_.push_back(listener.local());
    auto measured = start_metrics(taken);
    if (!measured) return measured;
    start_backdoor(taken);
    const std::size_t limit = options_.max_connections;
    room_ =
        std::make_shared<Room>(limit == 0 ? std::numeric_limits<std::size_t>::max() : limit, size_);
    for (std::size_t index = 0; index < size_; ++index) {
        std::promise<Result<void>> made;
        auto answer = made.get_future();
        auto body = [this, index, own = std::move((*listeners)[index]),
                     made = std::move(made)]() mutable {
            work(index, std::move(own), std::move(made));
        };
        try {
            workers_[index].thread = std::thread(std::move(body));
        } catch (const std::system_error& refused) {
            return refused.code();
        }
        auto is_made = answer.get();
        if (!is_made) return is_made;
    }
    std::size_t sum = 0;
    for (const Worker& worker : workers_) {
        sum += worker.server->max_connections();
        has_direct_descriptors_ &= worker.server->loop().direct_descriptor_limit() > 0;
    }
    options_.max_connections = limit == 0 ? sum : std::min(limit, sum);
    return {};
}

Result<ServeReport> Workers::Crew::run(const std::vector<void*>& handlers,
                                       const Server::Calls& calls) {
    RINGLET_ASSERT(!has_gone_, "workers run once: afterwards they listen no more");
    struct AtEnd { // on every way out: the handlers are the caller's
        Crew& crew;
        ~AtEnd() { crew.end(); }
    };
    Result<void> waited;
    {
        const AtEnd at_end{*this};
        if (taken_) {
            auto begun = taken_->begin();
            if (!begun) return hand_over_failed(options_, begun.error());
            predecessor_leaving_ = taken_->leaving();
            services_.wait_for(*taken_);
            workers_.front().server->state_->predecessor = std::exchange(taken_, std::nullopt);
        }
        has_gone_ = true;
        log_start(options_.log.get(), addresses_, options_, backend_);
        go_.set_value({.handlers = &handlers, .calls = calls});
        if (signals_) loop_->spawn("signals", [this] { return watch_signals(); });
        auto& [successors, metrics, backdoor] = services_;
        if (successors) loop_->spawn("hand-over", [this] { return hand_over(); });
        if (metrics) loop_->spawn("metrics", [&service = *metrics] { return service.serve(); });
        if (auto manager = ServiceManager::of_environment(static_cast<bool>(predecessor_leaving_));
            manager && options_.notify_service_manager)
            loop_->spawn("service manager", [this, manager] { return inform(manager); });
        if (backdoor) loop_->spawn("backdoor", [&service = *backdoor] { return service.serve(); });
        waited = loop_->run([this] { return wait_for_all(); });
    }
    signals_.reset();
    if (first_thrown_) std::rethrow_exception(first_thrown_);
    if (first_error_) return first_error_;
    if (!waited) return waited.error();
    ServeReport all = sum();
    log_end(options_.log.get(), all);
    return all;
}

Task<> Workers::Crew::watch_signals() {
    for (;;) {
        auto seen = co_await next_signal(*signals_, options_);
        if (!seen) co_return;
        if (std::ranges::count(options_.hook_signals, *seen) > 0) {
            call_hook(*loop_, options_, *seen, stopping_.is_set());
        } else if (*seen == options_.dump_signal) {
            dump();
        } else {
            stop();
        }
    }
}

Task<> Workers::Crew::wait_for_all() {
    for (std::size_t left = size_; left > 0; --left) {
        auto ended = co_await ended_->recv();
        if (!ended) co_return;
    }
}

void Workers::Crew::stop() {
    const std::lock_guard lock(mutex_);
    log_stop(options_.log.get(), stops_ + 1);
    tell_stops(stops_ + 1);
}

// For a stop that may already have come, from a signal or from another worker that ends.
void Workers::Crew::stop_up_to(int times) {
    const std::lock_guard lock(mutex_);
    if (times > stops_) tell_stops(times);
}

void Workers::Crew::tell_stops(int times) {
    stops_ = times;
    // Otherwise a worker that still drains would take clients from its queue into places that another has just freed.
    if (times > 1 && room_) room_->close();
    if (loop_) loop_->post([this] { stopping_.set(); });
    for (const Worker& worker : workers_) {
        if (worker.server != nullptr) worker.server->stop_up_to(times);
    }
}

void Workers::Crew::dump() {
    const std::lock_guard lock(mutex_);
    for (std::size_t index = 0; index < size_; ++index) {
        Server* server = workers_[index].server;
        if (server != nullptr) server->dump("worker " + std::to_string(index));
    }
}

void Workers::Crew::end() {
    stop_up_to(2);
    for (Worker& worker : workers_) {
        if (worker.thread.joinable()) worker.thread.join();
    }
}

Workers::Crew::~Crew() {
    if (!has_gone_) go_.set_value({});
    end();
}

namespace {

// The bindings name every field, as in ring/statistics.cpp. `sum.workers` is the caller's.
void add(ServeReport& sum, const ServeReport& one) {
    const auto& [accepted_count, failed_count, taken_over_count, handed_over_count, cancelled_count,
                 accept_pauses, loop, workers] = one;
    static_cast<void>(workers);
    sum.accepted_count += accepted_count;
    sum.failed_count += failed_count;
    sum.taken_over_count += taken_over_count;
    sum.handed_over_count += handed_over_count;
    sum.cancelled_count += cancelled_count;
    sum.accept_pauses += accept_pauses;
    sum.loop += loop;
}

} // namespace

ServeReport Workers::Crew::sum() const {
    ServeReport all;
    all.loop.backend = backend_.backend;
    for (const Worker& worker : workers_) {
        add(all, worker.report);
        all.workers.push_back(worker.report);
    }
    return all;
}

} // namespace ringlet
