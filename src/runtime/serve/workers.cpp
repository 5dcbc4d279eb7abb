#include <ringlet/workers.hpp>

#include <ringlet/detail/assert.hpp>
#include <ringlet/thread_channel.hpp>

#include "base/cpus.hpp"
#include "serve/signals.hpp"

#include <algorithm>
#include <exception>
#include <future>
#include <mutex>
#include <optional>
#include <string>
#include <system_error>
#include <thread>
#include <utility>

#include <pthread.h>

namespace ringlet {

// Several workers. Each makes, runs and destroys its server on its own thread. The thread that made
// the crew waits on a loop without connections, which runs on epoll: that locks no memory.
class Workers::Crew {
public:
    Crew(ServeOptions chosen, std::vector<int> cpus);
    Crew(const Crew&) = delete;
    Crew& operator=(const Crew&) = delete;
    ~Crew();

    Result<void> start(const Endpoint& endpoint);
    Result<ServeReport> run(const std::vector<void*>& handlers, Server::Call call);
    void stop();

    ServeOptions options;
    std::vector<int> cpus;
    Endpoint address;
    std::size_t size;
    BackendChoice backend; // of the first
    bool has_direct_descriptors = true;

private:
    struct Job {
        const std::vector<void*>* handlers = nullptr;
        Server::Call call = nullptr; // null: there is nothing to run
    };
    struct Worker {
        std::thread thread;
        Server* server = nullptr; // as long as it can be told something
        ServeReport report;
    };

    void work(std::size_t index, TcpListener listener, std::promise<Result<void>> made);
    Result<Server> make_server(std::size_t index, TcpListener listener) const;
    void serve(Worker& worker, Server& server, std::size_t index, const Job& job);
    void fail(std::error_code error, std::exception_ptr thrown);
    void stop_up_to(int times);
    void tell_stops(int times);
    Task<> watch_signals();
    Task<> wait_for_all();
    void dump();
    void end();
    [[nodiscard]] ServeReport sum() const;

    Result<EventLoop> loop_;
    std::optional<SignalWatch> signals_;
    std::optional<ThreadChannel<std::size_t>> ended_; // the index of each worker, at its end
    std::vector<Worker> workers_;
    std::promise<Job> go_;
    std::shared_future<Job> job_{go_.get_future()};
    bool has_gone_ = false;

    std::mutex mutex_; // for what follows, and Worker::server
    int stops_ = 0;
    std::error_code first_error_;
    std::exception_ptr first_thrown_;
};

// ---- one worker ---------------------------------------------------------------------------------

void Workers::Crew::work(std::size_t index, TcpListener listener, std::promise<Result<void>> made) {
    Worker& worker = workers_[index];
    ::pthread_setname_np(::pthread_self(), ("worker " + std::to_string(index)).c_str()); // top -H
    std::optional<Server> server;
    try {
        auto created = make_server(index, std::move(listener));
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
    if (index == 0) backend = server->backend();
    {
        const std::lock_guard lock(mutex_);
        worker.server = &*server;
    }
    made.set_value({});

    const Job job = job_.get();
    if (job.call != nullptr) serve(worker, *server, index, job);
    {
        const std::lock_guard lock(mutex_);
        worker.server = nullptr;
    }
    server.reset();
    if (job.call == nullptr) return;
    stop_up_to(1); // one that ends takes the others with it
    static_cast<void>(ended_->sender().try_send(std::size_t(index)));
}

Result<Server> Workers::Crew::make_server(std::size_t index, TcpListener listener) const {
    if (options.pin_workers) {
        auto pinned = CpuSet::of(cpus[index % cpus.size()]).apply();
        if (!pinned) return pinned.error();
    }
    ServeOptions own = options;
    own.handle_signals = false;
    own.workers = size;
    own.max_connections = // 0 remains 0: each has what its own table holds
        options.max_connections / size + (index < options.max_connections % size ? 1 : 0);
    return Server::create(std::move(own), std::move(listener));
}

void Workers::Crew::serve(Worker& worker, Server& server, std::size_t index, const Job& job) {
    try {
        auto report = server.run_erased((*job.handlers)[index], job.call);
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
    : options(std::move(chosen)), cpus(std::move(allowed)), size(options.workers),
      loop_(EventLoop::create({.ring_entries = 8, .backend = Backend::epoll})), workers_(size) {
    if (!options.loop.report) return;
    struct Shared {
        std::mutex mutex;
        std::function<void(std::string_view)> report;
    };
    auto shared = std::make_shared<Shared>();
    shared->report = std::move(options.loop.report);
    options.loop.report = [shared](std::string_view line) {
        const std::lock_guard lock(shared->mutex);
        shared->report(line);
    };
}

// The threads that start here inherit the mask of signals, and nobody can connect before it is set.
Result<void> Workers::Crew::start(const Endpoint& endpoint) {
    if (!loop_) return loop_.error();
    ended_.emplace(*loop_, size);
    if (options.handle_signals) {
        auto watch = SignalWatch::create(options.dump_signal);
        if (!watch) return watch.error();
        signals_.emplace(std::move(*watch));
    }
    auto listeners = TcpListener::bind_several(endpoint, size, options.socket);
    if (!listeners) return listeners.error();
    address = listeners->front().local();
    for (std::size_t index = 0; index < size; ++index) {
        std::promise<Result<void>> made;
        auto answer = made.get_future();
        auto body = [this, index, listener = std::move((*listeners)[index]),
                     made = std::move(made)]() mutable {
            work(index, std::move(listener), std::move(made));
        };
        try {
            workers_[index].thread = std::thread(std::move(body));
        } catch (const std::system_error& refused) {
            return refused.code();
        }
        auto is_made = answer.get();
        if (!is_made) return is_made;
    }
    options.max_connections = 0;
    for (const Worker& worker : workers_) {
        options.max_connections += worker.server->max_connections();
        has_direct_descriptors &= worker.server->loop().direct_descriptor_limit() > 0;
    }
    return {};
}

Result<ServeReport> Workers::Crew::run(const std::vector<void*>& handlers, Server::Call call) {
    RINGLET_ASSERT(!has_gone_, "workers run once: afterwards they listen no more");
    struct AtEnd { // however this ends: the handlers are the caller's
        Crew& crew;
        ~AtEnd() { crew.end(); }
    };
    Result<void> waited;
    {
        const AtEnd at_end{*this};
        has_gone_ = true;
        go_.set_value({.handlers = &handlers, .call = call});
        if (signals_) loop_->spawn("signals", [this] { return watch_signals(); });
        waited = loop_->run([this] { return wait_for_all(); });
    }
    signals_.reset();
    if (first_thrown_) std::rethrow_exception(first_thrown_);
    if (first_error_) return first_error_;
    if (!waited) return waited.error();
    return sum();
}

Task<> Workers::Crew::watch_signals() {
    for (;;) {
        auto seen = co_await signals_->next();
        if (!seen) co_return;
        if (*seen == options.dump_signal) {
            dump();
        } else {
            stop();
        }
    }
}

Task<> Workers::Crew::wait_for_all() {
    for (std::size_t left = size; left > 0; --left) {
        auto ended = co_await ended_->recv();
        if (!ended) co_return;
    }
}

void Workers::Crew::stop() {
    const std::lock_guard lock(mutex_);
    tell_stops(stops_ + 1);
}

// For a stop that may have come already, from a signal or from another worker that ends.
void Workers::Crew::stop_up_to(int times) {
    const std::lock_guard lock(mutex_);
    if (times > stops_) tell_stops(times);
}

void Workers::Crew::tell_stops(int times) {
    stops_ = times;
    for (const Worker& worker : workers_) {
        if (worker.server != nullptr) worker.server->stop_up_to(times);
    }
}

void Workers::Crew::dump() {
    const std::lock_guard lock(mutex_);
    for (std::size_t index = 0; index < size; ++index) {
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
    const auto& [accepted_count, cancelled_count, accept_pauses, loop, workers] = one;
    static_cast<void>(workers);
    sum.accepted_count += accepted_count;
    sum.cancelled_count += cancelled_count;
    sum.accept_pauses += accept_pauses;
    sum.loop += loop;
}

} // namespace

ServeReport Workers::Crew::sum() const {
    ServeReport all;
    all.loop.backend = backend.backend;
    for (const Worker& worker : workers_) {
        add(all, worker.report);
        all.workers.push_back(worker.report);
    }
    return all;
}

// ---- one or several -----------------------------------------------------------------------------

Result<Workers> Workers::create(ServeOptions options) {
    if (options.workers > size_limit) return std::errc::invalid_argument;
    auto endpoint = Endpoint::resolve(options.listen);
    if (!endpoint) return endpoint.error();

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

    Workers workers;
    if (size == 1) {
        workers.pins_alone_ = options.pin_workers;
        auto server = Server::create(std::move(options), *endpoint);
        if (!server) return server.error();
        workers.alone_ = std::make_unique<Server>(std::move(*server));
        return workers;
    }
    workers.crew_ = std::make_unique<Crew>(std::move(options), std::move(cpus));
    auto started = workers.crew_->start(*endpoint);
    if (!started) return started.error();
    return workers;
}

Workers::Workers() noexcept = default;
Workers::Workers(Workers&&) noexcept = default;
Workers& Workers::operator=(Workers&&) noexcept = default;
Workers::~Workers() = default;

Result<ServeReport> Workers::run_erased(const std::vector<void*>& handlers, Server::Call call) {
    if (crew_) return crew_->run(handlers, call);
    if (!pins_alone_) return alone_->run_erased(handlers.front(), call);
    struct Unpinned { // the thread is the caller's
        CpuSet before;
        ~Unpinned() { static_cast<void>(before.apply()); }
    };
    auto allowed = CpuSet::of_this_thread();
    if (!allowed) return allowed.error();
    const Unpinned at_end{*allowed};
    auto pinned = CpuSet::of(allowed->numbers().front()).apply();
    if (!pinned) return pinned.error();
    return alone_->run_erased(handlers.front(), call);
}

void Workers::stop() {
    if (crew_) {
        crew_->stop();
    } else {
        alone_->stop();
    }
}

std::size_t Workers::size() const noexcept { return crew_ ? crew_->size : 1; }

Endpoint Workers::local() const { return crew_ ? crew_->address : alone_->local(); }

std::size_t Workers::max_connections() const noexcept {
    return crew_ ? crew_->options.max_connections : alone_->max_connections();
}

bool Workers::has_direct_descriptors() const noexcept {
    return crew_ ? crew_->has_direct_descriptors : alone_->loop().direct_descriptor_limit() > 0;
}

const BackendChoice& Workers::backend() const noexcept {
    return crew_ ? crew_->backend : alone_->backend();
}

} // namespace ringlet
