#include <ringlet/workers.hpp>

#include <ringlet/deadline.hpp>
#include <ringlet/error.hpp>
#include <ringlet/serve.hpp>

#include "base/cpus.hpp"
#include "echo.hpp"
#include "net.hpp"
#include "recording_kernel.hpp"
#include "serving_thread.hpp"

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <memory>
#include <mutex>
#include <numeric>
#include <stdexcept>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include <sys/resource.h>

using namespace ringlet;
using namespace ringlet::testing;

namespace {

// The probability that one of four workers gets none of them is 4 * 0.75^200, or 4e-25.
constexpr std::size_t enough_clients = 200;

ServeOptions options_of(std::size_t workers) {
    ServeOptions options = quiet_options();
    options.workers = workers;
    return options;
}

std::vector<UniqueFd> connect_many(const Endpoint& server, std::size_t count) {
    std::vector<UniqueFd> clients;
    while (clients.size() < count) {
        clients.push_back(connect_to(server));
        REQUIRE(clients.back());
    }
    return clients;
}

void check_echoes(const std::vector<UniqueFd>& clients) {
    for (std::size_t i = 0; i < clients.size(); ++i) {
        CHECK(write_all(clients[i].get(), std::to_string(1000 + i)));
    }
    for (std::size_t i = 0; i < clients.size(); ++i) {
        CHECK(read_up_to(clients[i].get(), 4) == std::to_string(1000 + i));
    }
}

/// Under TSan only threads of workers, as TSan starts one of its own with the first of ours.
std::size_t thread_count() {
    std::size_t count = 0;
    for (const auto& thread : std::filesystem::directory_iterator("/proc/self/task")) {
        std::string name;
        std::getline(std::ifstream(thread.path() / "comm"), name);
        if (!thread_sanitizer_runs || name.starts_with("worker ")) ++count;
    }
    return count;
}

/// The kernel counts a joined thread for a moment longer.
void until_thread_count(std::size_t count) {
    while (thread_count() != count) std::this_thread::yield();
}

template <class Number>
Number sum_of(const ServeReport& report, Number ServeReport::* member) {
    Number sum = 0;
    for (const ServeReport& worker : report.workers) sum += worker.*member;
    return sum;
}

/// The listening sockets of this process at this address.
std::vector<int> listeners_at(const Endpoint& address) {
    std::vector<int> found;
    for (const auto& entry : std::filesystem::directory_iterator("/proc/self/fd")) {
        const int fd = std::stoi(entry.path().filename());
        int listens = 0;
        socklen_t size = sizeof listens;
        ::getsockopt(fd, SOL_SOCKET, SO_ACCEPTCONN, &listens, &size);
        if (listens != 0 && address_of(fd) == address) found.push_back(fd);
    }
    return found;
}

} // namespace

TEST_CASE("every worker serves, and the sums add up") {
    WorkersThread workers(options_of(4), echo);
    std::vector<UniqueFd> clients = connect_many(workers.address(), enough_clients);
    check_echoes(clients);
    check_echoes(clients);
    workers.stop();
    clients.clear();
    const ServeReport report = workers.finish();
    CHECK(report.accepted_count == enough_clients);
    CHECK(report.cancelled_count == 0);
    REQUIRE(report.workers.size() == 4);
    for (const ServeReport& worker : report.workers) {
        CHECK(worker.accepted_count > 0);
        CHECK(worker.loop.live_tasks == 0);
        CHECK(worker.loop.operations_in_flight == 0);
        CHECK(worker.workers.empty());
    }
    CHECK(sum_of(report, &ServeReport::accepted_count) == report.accepted_count);
    CHECK(report.loop.ring.system_calls ==
          std::accumulate(report.workers.begin(), report.workers.end(), std::uint64_t{0},
                          [](std::uint64_t sum, const ServeReport& worker) {
                              return sum + worker.loop.ring.system_calls;
                          }));
    CHECK(report.loop.turns > report.workers[0].loop.turns);
    CHECK(workers.lines().empty());
}

TEST_CASE("one worker serves on the calling thread, and starts no other") {
    std::thread::id of_run;
    std::thread::id of_handler;
    const std::size_t threads_before = thread_count();
    std::size_t threads_meanwhile = 0;
    auto handler = [&](TcpStream stream) -> Task<> {
        of_handler = std::this_thread::get_id();
        threads_meanwhile = thread_count();
        co_await echo(std::move(stream));
    };
    std::promise<Endpoint> address;
    auto addressed = address.get_future();
    std::promise<void> served;
    Result<ServeReport> report = std::errc::not_connected;
    std::thread thread([&] {
        of_run = std::this_thread::get_id();
        auto workers = Workers::create(options_of(1));
        REQUIRE(workers);
        CHECK(workers->size() == 1);
        std::thread stopper([&] {
            served.get_future().wait();
            workers->stop();
        });
        address.set_value(workers->local());
        report = workers->run(handler);
        stopper.join();
    });
    UniqueFd client = connect_to(addressed.get());
    CHECK(echoes(client, "x"));
    client.reset();
    served.set_value();
    thread.join();
    CHECK(of_handler == of_run);
    CHECK(threads_meanwhile <= threads_before + 2); // ours
    REQUIRE(report);
    CHECK(report->accepted_count == 1);
    CHECK(report->workers.empty());
}

namespace {

/// A handler that records on which threads its copies are made, called and destroyed.
struct Tracked {
    struct Book {
        std::mutex mutex;
        std::vector<std::thread::id> made_on;
        std::vector<std::thread::id> destroyed_on;
        std::vector<std::pair<const Tracked*, std::thread::id>> calls;
    };

    explicit Tracked(std::shared_ptr<Book> of) : book(std::move(of)) {}
    Tracked(const Tracked& other) : book(other.book) {
        const std::lock_guard lock(book->mutex);
        book->made_on.push_back(std::this_thread::get_id());
    }
    Tracked& operator=(const Tracked&) = delete;
    ~Tracked() {
        const std::lock_guard lock(book->mutex);
        book->destroyed_on.push_back(std::this_thread::get_id());
    }

    Task<> operator()(TcpStream stream) {
        ++calls; // one per copy: TSan would find a second thread
        {
            const std::lock_guard lock(book->mutex);
            book->calls.emplace_back(this, std::this_thread::get_id());
        }
        return echo(std::move(stream));
    }

    std::shared_ptr<Book> book;
    int calls = 0;
};

} // namespace

TEST_CASE("each worker calls a copy of the handler, made and destroyed on the calling thread") {
    auto book = std::make_shared<Tracked::Book>();
    std::thread::id of_run;
    {
        WorkersThread workers(options_of(3), Tracked(book));
        std::vector<UniqueFd> clients = connect_many(workers.address(), enough_clients);
        check_echoes(clients);
        workers.stop();
        clients.clear();
        static_cast<void>(workers.finish());
    }
    REQUIRE(book->calls.size() == enough_clients);
    std::sort(book->calls.begin(), book->calls.end());
    book->calls.erase(std::unique(book->calls.begin(), book->calls.end()), book->calls.end());
    REQUIRE(book->calls.size() == 3); // three copies, each on one thread
    for (std::size_t i = 1; i < 3; ++i) {
        CHECK(book->calls[i].first != book->calls[i - 1].first);
        CHECK(book->calls[i].second != book->calls[i - 1].second);
    }
    for (const auto& call : book->calls) {
        CHECK(std::count(book->made_on.begin(), book->made_on.end(), call.second) == 0);
        CHECK(std::count(book->destroyed_on.begin(), book->destroyed_on.end(), call.second) == 0);
    }
}

// ---- stopping -----------------------------------------------------------------------------------

TEST_CASE("a stop from another thread drains all workers, and a second stop ends them at once") {
    ServeOptions options = options_of(2);
    options.drain_timeout = std::chrono::hours(1);
    WorkersThread workers(options, echo);
    std::vector<UniqueFd> clients = connect_many(workers.address(), enough_clients);
    check_echoes(clients);
    waiting_for("all workers to refuse new clients");
    workers.stop();
    until_refused(workers.address());
    check_echoes(clients);
    const UniqueFd finished = std::move(clients.back());
    clients.pop_back();
    ::shutdown(finished.get(), SHUT_WR);
    CHECK(end_of(finished.get()) == 0);
    waiting_for("the second stop to end the drain");
    workers.stop();
    const ServeReport report = workers.finish();
    CHECK(report.cancelled_count == enough_clients - 1);
    CHECK(report.workers[0].cancelled_count > 0);
    CHECK(report.workers[1].cancelled_count > 0);
    CHECK(sum_of(report, &ServeReport::cancelled_count) == report.cancelled_count);
    for (const UniqueFd& client : clients) CHECK(end_of(client.get()) == 0);
}

TEST_CASE("workers stopped before they run, or never run, leave nothing behind") {
    const std::size_t descriptors = descriptor_count();
    const std::size_t threads = thread_count();
    waiting_for("run to return after a stop that came before it");
    {
        auto workers = Workers::create(options_of(3));
        REQUIRE(workers);
        workers->stop();
        auto report = workers->run(echo);
        REQUIRE(report);
        CHECK(report->accepted_count == 0);
        workers->stop(); // they have ended: does nothing
    }
    waiting_for("workers that never run to end");
    {
        auto workers = Workers::create(options_of(3));
        REQUIRE(workers);
        until_thread_count(threads + 3);
        workers = Workers::create(options_of(2));
        REQUIRE(workers);
        CHECK(workers->size() == 2);
    }
    CHECK(descriptor_count() == descriptors);
    until_thread_count(threads);
}

TEST_CASE("when a worker's listener fails all workers drain, and its error is returned") {
    const std::size_t descriptors = descriptor_count();
    std::vector<UniqueFd> clients;
    {
        ServeOptions options = options_of(2);
        Result<ServeReport> report = std::errc::not_connected;
        std::promise<Endpoint> address;
        auto addressed = address.get_future();
        std::thread thread([&] {
            auto workers = Workers::create(options);
            REQUIRE(workers);
            address.set_value(workers->local());
            report = workers->run(echo);
        });
        const Endpoint server = addressed.get();
        clients = connect_many(server, enough_clients);
        check_echoes(clients);
        const std::vector<int> listeners = listeners_at(server);
        REQUIRE(listeners.size() == 2);
        waiting_for("the other worker to stop while the failed one drains");
        REQUIRE(::shutdown(listeners[1], SHUT_RDWR) == 0);
        until_refused(server);
        check_echoes(clients);
        waiting_for("both workers to end with their connections");
        clients.clear();
        thread.join();
        CHECK(report.error() == std::errc::invalid_argument);
    }
    CHECK(descriptor_count() == descriptors);
}

TEST_CASE("a handler that stops its worker's loop stops all workers") {
    const auto stop_at_the_word = [](TcpStream stream) -> Task<> {
        auto chunk = co_await stream.recv();
        EventLoop& loop = co_await current_loop();
        if (chunk && !chunk->empty()) loop.stop();
    };
    WorkersThread workers(options_of(3), stop_at_the_word);
    const UniqueFd client = connect_to(workers.address());
    waiting_for("all workers to end with the one");
    CHECK(write_all(client.get(), "stop"));
    const ServeReport report = workers.finish();
    CHECK(report.accepted_count == 1);
}

TEST_CASE("run throws what a worker threw, after all workers have ended") {
    FramePool::Audit audit{.fails_at = 1};
    auto workers = Workers::create(options_of(2));
    REQUIRE(workers);
    const UniqueFd client = connect_to(workers->local());
    auto handler = [&](TcpStream stream) -> Task<> {
        FramePool::local().audit(&audit); // of this worker's thread, so it cannot drain
        workers->stop();
        static_cast<void>(co_await stream.recv());
    };
    waiting_for("run to throw");
    CHECK_THROWS_AS(static_cast<void>(workers->run(handler)), std::bad_alloc);
}

TEST_CASE("handlers that throw on several workers are reported one at a time") {
    WorkersThread workers(options_of(4), [](TcpStream stream) -> Task<> {
        static_cast<void>(co_await stream.recv());
        throw std::runtime_error("boom");
    });
    const std::vector<UniqueFd> clients = connect_many(workers.address(), enough_clients);
    for (const UniqueFd& client : clients) CHECK(write_all(client.get(), "x"));
    for (const UniqueFd& client : clients) CHECK(is_ended(client.get()));
    workers.stop();
    const ServeReport report = workers.finish();
    CHECK(report.accepted_count == enough_clients);
    CHECK(workers.lines().size() == enough_clients);
}

// ---- limits -------------------------------------------------------------------------------------

TEST_CASE("max_connections is shared by all workers, whichever has the connections") {
    ServeOptions options = options_of(2);
    options.max_connections = 5;
    WorkersThread workers(options, [](TcpStream stream) -> Task<> {
        auto greeted = co_await stream.send_all(bytes_of("!"));
        if (!greeted) co_return;
        static_cast<void>(co_await stream.recv());
    });
    const std::vector<UniqueFd> clients = connect_many(workers.address(), enough_clients);
    const auto greeted_count = [&] {
        return std::count_if(clients.begin(), clients.end(),
                             [](const UniqueFd& client) { return is_readable(client.get(), 0); });
    };
    waiting_for("both workers to reach their limits");
    while (greeted_count() < 5) std::this_thread::yield();
    // Correct workers cannot fail here, however slow they are.
    std::this_thread::sleep_for(std::chrono::milliseconds(10));
    CHECK(greeted_count() == 5);
    workers.stop();
    workers.stop();
    const ServeReport report = workers.finish();
    CHECK(report.cancelled_count == 5);
}

TEST_CASE("connections ended by the second stop make no room for waiting clients") {
    ServeOptions options = options_of(8);
    options.max_connections = 16;
    WorkersThread workers(options, [](TcpStream stream) -> Task<> {
        auto greeted = co_await stream.send_all(bytes_of("!"));
        if (!greeted) co_return;
        static_cast<void>(co_await stream.recv());
    });
    const std::vector<UniqueFd> clients = connect_many(workers.address(), enough_clients);
    waiting_for("as many clients as there is room for");
    const auto is_greeted = [](const UniqueFd& client) { return is_readable(client.get(), 0); };
    while (std::ranges::count_if(clients, is_greeted) < 16) std::this_thread::yield();
    workers.stop();
    waiting_for("all workers to refuse new clients");
    until_refused(workers.address());
    // Each worker soon takes the waiting clients from its queue; the second stop reaches one worker first.
    std::this_thread::sleep_for(2 * Server::settle_time);
    workers.stop();
    const ServeReport report = workers.finish();
    CHECK(report.accepted_count == 16);
    CHECK(report.cancelled_count == 16);
}

TEST_CASE("there are as many workers as requested, one per CPU for 0, and never too many") {
    ServeOptions options = options_of(8);
    options.max_connections = 3;
    {
        auto few = Workers::create(options);
        REQUIRE(few);
        CHECK(few->size() == 3);
        CHECK(few->max_connections() == 3);
    }
    {
        auto automatic = Workers::create(options_of(0));
        REQUIRE(automatic);
        const std::size_t cpus = CpuSet::of_this_thread()->numbers().size();
        CHECK(automatic->size() == std::min(cpus, Workers::size_limit));
        rlimit descriptors{};
        REQUIRE(::getrlimit(RLIMIT_NOFILE, &descriptors) == 0);
        CHECK(automatic->max_connections() ==
              descriptors.rlim_cur - ServeOptions::reserved_descriptors -
                  (cpus - 1) * ServeOptions::reserved_descriptors_per_worker);
    }
    auto too_many = Workers::create(options_of(Workers::size_limit + 1));
    CHECK(too_many.error() == std::errc::invalid_argument);
}

TEST_CASE("if a worker cannot be created the others are destroyed, and the error is returned") {
    const Ending ending = end_of_child([] {
        const std::size_t open = descriptor_count();
        const std::size_t threads = thread_count();
        for (rlim_t more = 0; more < 100; ++more) {
            const rlimit limit{.rlim_cur = open + more, .rlim_max = 1000};
            if (::setrlimit(RLIMIT_NOFILE, &limit) != 0) return 2;
            ServeOptions options = options_of(4);
            options.loop.report = [](std::string_view) {};
            options.max_connections = 100;
            auto workers = Workers::create(options);
            if (workers) return more > 8 ? 0 : 3; // each step failed once
            if (workers.error() != std::errc::too_many_files_open) return 4;
            until_thread_count(threads);
            const rlimit enough{.rlim_cur = 1000, .rlim_max = 1000};
            if (::setrlimit(RLIMIT_NOFILE, &enough) != 0) return 5;
            if (descriptor_count() != open) return 6;
        }
        return 7;
    });
    CHECK(ending.signal == 0);
    CHECK_MESSAGE(ending.status == 0, ending.errors);
}

TEST_CASE("SIGTERM and SIGINT are blocked before clients can connect") {
    for (const std::size_t workers : {1U, 2U}) {
        CAPTURE(workers);
        ServeOptions options = options_of(workers);
        options.handle_signals = true;
        RecordingKernel kernel;
        Kernel::stand_in(&kernel);
        auto refused = Workers::create(options);
        Kernel::stand_in(nullptr);
        CHECK(refused.error() == std::errc::address_not_available);
        CHECK(kernel.stops_while_listening == false);
    }
}

TEST_CASE("workers do not share a port with an earlier server") {
    const UniqueFd foreign(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
    const int yes = 1;
    REQUIRE(::setsockopt(foreign.get(), SOL_SOCKET, SO_REUSEPORT, &yes, sizeof yes) == 0);
    const Endpoint any = loopback();
    REQUIRE(::bind(foreign.get(), any.data(), any.size_bytes()) == 0);
    REQUIRE(::listen(foreign.get(), 1) == 0);
    ServeOptions options = options_of(2);
    options.listen = address_of(foreign.get()).to_string();
    auto refused = Workers::create(options);
    CHECK(refused.error() == std::errc::address_in_use);

    auto first = Workers::create(options_of(2));
    REQUIRE(first);
    options.listen = first->local().to_string();
    std::vector<std::string> lines;
    options.loop.report = [&](std::string_view line) { lines.emplace_back(line); };
    auto second = serve(options, echo);
    CHECK(second.error() == std::errc::address_in_use);
    REQUIRE(lines.size() == 1);
    CHECK(lines[0].find("the port is in use") != std::string::npos);
}

TEST_CASE("a pinned worker runs on its CPU, and the calling thread gets its own CPUs back") {
    const std::vector<int> cpus = CpuSet::of_this_thread()->numbers();
    for (const std::size_t size : {std::size_t{1}, std::size_t{3}}) {
        CAPTURE(size);
        ServeOptions options = options_of(size);
        options.pin_workers = true;
        std::mutex mutex;
        std::vector<std::vector<int>> seen;
        auto workers = Workers::create(options);
        REQUIRE(workers);
        std::vector<UniqueFd> clients = connect_many(workers->local(), enough_clients);
        auto handler = [&](TcpStream) -> Task<> {
            const std::lock_guard lock(mutex);
            seen.push_back(CpuSet::of_this_thread()->numbers());
            if (seen.size() == enough_clients) workers->stop();
            co_return;
        };
        auto report = workers->run(handler);
        REQUIRE(report);
        CHECK(CpuSet::of_this_thread()->numbers() == cpus);
        std::sort(seen.begin(), seen.end());
        seen.erase(std::unique(seen.begin(), seen.end()), seen.end());
        REQUIRE(seen.size() == std::min(size, cpus.size()));
        for (std::size_t i = 0; i < seen.size(); ++i) CHECK(seen[i] == std::vector{cpus[i]});
    }
}
