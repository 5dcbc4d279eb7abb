#include "simulation/simulated_ring.hpp"

#include "death.hpp"
#include "net.hpp"
#include "request.hpp"
#include "simulation/simulated_kernel.hpp"

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <csignal>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include <pthread.h>
#include <sys/eventfd.h>

using namespace ringlet;
using namespace ringlet::testing;
using namespace std::chrono_literals;

namespace {

using RealClock = std::chrono::steady_clock;

/// A simulated kernel, its ring, and the completions handed over.
class World {
public:
    explicit World(std::uint64_t seed = 1, FaultSet faults = FaultSet::none(),
                   unsigned entries = 64)
        : kernel(seed, faults, {}) {
        REQUIRE(kernel.make_ring({.entries = entries}, ring));
    }

    FdPair pair() {
        auto fds = kernel.network().open_pair();
        REQUIRE(fds);
        return {UniqueFd(fds->first), UniqueFd(fds->second)};
    }

    void start(Request& request, Opcode opcode, const UniqueFd& fd) {
        ring->start(request.configure(opcode, fd.get()));
    }

    /// One wait. Returns how many completions it handed over.
    std::size_t wait(std::optional<Clock::time_point> deadline) {
        const auto completions = ring->wait(deadline);
        CHECK(completions.size() <= Ring::completions_per_wait_limit);
        for (const Completion& completion : completions) {
            order.push_back(completion.operation);
            CHECK_MESSAGE(answers.emplace(completion.operation, completion.result).second,
                          "handed over twice");
        }
        return completions.size();
    }
    std::size_t wait_for(Clock::duration duration) { return wait(kernel.now() + duration); }

    /// Takes the result if it has been handed over.
    std::optional<int> take(const Request& request) {
        const auto found = answers.extract(&request.operation);
        if (found.empty()) return std::nullopt;
        return found.mapped();
    }
    /// Waits up to a minute for the result.
    std::optional<int> answer(const Request& request) {
        const auto deadline = kernel.now() + 1min;
        while (answers.count(&request.operation) == 0 && kernel.now() < deadline) wait(deadline);
        return take(request);
    }
    /// Fills the receiver's room, so that the next send must wait.
    void fill(const UniqueFd& fd) {
        Request flood(300'000);
        for (;;) {
            start(flood, Opcode::send, fd);
            if (answer(flood)) continue;
            ring->cancel(flood.operation);
            CHECK(answer(flood) == -ECANCELED);
            return;
        }
    }

    [[nodiscard]] std::uint64_t struck(Fault fault) {
        return kernel.plan().counts()[static_cast<std::size_t>(fault)];
    }
    [[nodiscard]] bool has_failed(std::string_view message) const {
        return kernel.failure().find(message) != std::string::npos;
    }

    SimulatedKernel kernel;
    std::unique_ptr<Ring> ring;
    std::map<const Operation*, int> answers;
    std::vector<const Operation*> order;
};

/// Calls `scene(world)` with seeds until it returns true, that is, until the fault has struck.
template <class Scene>
void find_seed(FaultSet faults, Scene scene) {
    for (std::uint64_t seed = 1; seed <= 3000; ++seed) {
        World world(seed, faults);
        if (scene(world)) return;
    }
    FAIL("no seed of 3000 has shown it");
}

UniqueFd make_eventfd() {
    UniqueFd fd(::eventfd(0, EFD_CLOEXEC));
    REQUIRE(fd);
    return fd;
}

void ring_the_bell(int fd) {
    const std::uint64_t one = 1;
    CHECK(::write(fd, &one, sizeof one) == sizeof one);
}

/// Gives an operation a waiting task, which messages then name.
class Waiter {
public:
    explicit Waiter(Operation& operation) {
        record_.name = "patient";
        record_.task_scope.task = &record_;
        operation.scope = &record_.task_scope;
    }

private:
    struct Record final : TaskRecord {
        bool has_failed() const noexcept override { return false; }
        std::exception_ptr exception() const noexcept override { return nullptr; }
        std::error_code error() const noexcept override { return {}; }
        void drop_arguments() noexcept override {}
        void destroy_frame() noexcept override {}
    };
    Record record_;
};

} // namespace

// ---- answers ------------------------------------------------------------------------------------

TEST_CASE("a SimulatedRing completes operations that wait, and those that need not") {
    World world;
    const auto pair = world.pair();
    Request receiving;
    world.start(receiving, Opcode::recv, pair.first);
    CHECK(world.wait_for(1s) == 0);
    Request sending(std::string_view("hello"));
    world.start(sending, Opcode::send, pair.second);
    CHECK(world.answer(sending) == 5);
    CHECK(world.answer(receiving) == 5);
    CHECK(receiving.first(5) == "hello");
    CHECK(world.ring->stats().submissions == 2);
    CHECK(world.ring->stats().completions == 2);
    CHECK(world.ring->stats().system_calls >= 2);
    CHECK(world.ring->stats().full_queue_flushes == 0);
    CHECK(world.kernel.completion_count() == 2);
    CHECK(world.kernel.failure().empty());
}

TEST_CASE("a SimulatedRing hands every operation over exactly once, whatever happens") {
    for (std::uint64_t seed = 1; seed <= 150; ++seed) {
        World world(seed, FaultSet::all());
        FaultPlan choice(seed, FaultSet::none());
        std::vector<FdPair> pairs;
        for (int i = 0; i < 4; ++i) pairs.push_back(world.pair());
        // One per direction of each end.
        std::vector<Request> requests(16);
        std::vector<bool> in_flight(16);
        std::uint64_t started = 0;
        std::uint64_t handed_over = 0;
        const auto collect = [&](Clock::duration duration) {
            handed_over += world.wait_for(duration);
            for (std::size_t i = 0; i < requests.size(); ++i) {
                const auto answered = world.take(requests[i]);
                if (!answered) continue;
                CHECK(in_flight[i]);
                in_flight[i] = false;
            }
            CHECK(world.answers.empty());
        };
        for (int round = 0; round < 200; ++round) {
            const std::size_t i = choice.below(requests.size());
            const FdPair& pair = pairs[i / 4];
            if (!in_flight[i]) {
                const auto opcode = i % 2 == 0 ? Opcode::recv : Opcode::send;
                world.start(requests[i], opcode, i % 4 < 2 ? pair.first : pair.second);
                in_flight[i] = true;
                ++started;
            } else if (choice.below(2) == 0) {
                world.ring->cancel(requests[i].operation);
            }
            if (choice.below(3) == 0) collect(std::chrono::microseconds(choice.below(500)));
        }
        for (std::size_t i = 0; i < requests.size(); ++i) {
            if (in_flight[i]) world.ring->cancel(requests[i].operation);
        }
        for (int waits = 0; waits < 100 && handed_over < started; ++waits) collect(100ms);
        CHECK(handed_over == started);
        CHECK(world.ring->stats().submissions == started);
        CHECK(world.ring->stats().completions == started);
        CHECK(world.wait_for(1h) == 0);
        CHECK_MESSAGE(world.kernel.failure().empty(), world.kernel.failure());
    }
}

TEST_CASE("a SimulatedRing hands a flood over in several waits, in order") {
    World world;
    std::vector<FdPair> pairs;
    std::vector<Request> sends(600);
    for (std::size_t i = 0; i < sends.size(); ++i) {
        pairs.push_back(world.pair());
        world.start(sends[i], Opcode::send, pairs[i].first);
    }
    CHECK(world.wait(world.kernel.now()) == Ring::completions_per_wait_limit);
    CHECK(world.wait(world.kernel.now()) == Ring::completions_per_wait_limit);
    CHECK(world.wait(std::nullopt) == 600 - 2 * Ring::completions_per_wait_limit);
    for (std::size_t i = 0; i < sends.size(); ++i) CHECK(world.order[i] == &sends[i].operation);
    CHECK(world.ring->stats().full_queue_flushes == 600 / 64);
}

// ---- time ---------------------------------------------------------------------------------------

TEST_CASE("a SimulatedRing jumps to the deadline, and no further") {
    World world;
    const auto real_begin = RealClock::now();
    const auto begin = Clock::now();
    CHECK(world.wait(begin + 1h) == 0);
    CHECK(Clock::now() == begin + 1h);
    CHECK(world.wait_for(24h * 365) == 0);
    CHECK(Clock::now() - begin > 24h * 365);
    CHECK(RealClock::now() - real_begin < 10s);
}

TEST_CASE("a SimulatedRing returns at once after the deadline, with what is ready") {
    World world;
    const auto begin = Clock::now();
    CHECK(world.wait(begin) == 0);
    CHECK(world.wait(begin - 1h) == 0);
    CHECK(world.wait(Clock::time_point()) == 0);
    // But some time passes: a task that waits by yielding ends.
    CHECK(Clock::now() > begin);
    CHECK(Clock::now() < begin + 1ms);
    const auto pair = world.pair();
    Request sending;
    world.start(sending, Opcode::send, pair.first);
    CHECK(world.wait(Clock::time_point()) == 1);
    CHECK(world.take(sending) == 64);
}

TEST_CASE("a completion before the deadline ends the wait at its time") {
    World world;
    auto listener = world.kernel.open_socket(AF_INET, SOCK_STREAM);
    REQUIRE(listener);
    REQUIRE(world.kernel.bind(listener->get(), loopback()));
    REQUIRE(world.kernel.listen(listener->get(), 1));
    const auto at = world.kernel.local(listener->get()).value();
    const auto begin = Clock::now();
    std::vector<UniqueFd> fds;
    for (int i = 0; i < 2; ++i) {
        fds.push_back(std::move(*world.kernel.open_socket(AF_INET, SOCK_STREAM)));
        Request connecting;
        world.ring->start(connecting.configure_connect(fds.back().get(), at));
        CHECK(world.wait(begin + 1h) == 1);
        CHECK(world.take(connecting) == (i == 0 ? 0 : -ETIMEDOUT));
    }
    CHECK(Clock::now() > begin + 6s); // the second connect gave up
    CHECK(Clock::now() < begin + 7s);
}

TEST_CASE("the clock's maximum is not a deadline") {
    World world;
    const UniqueFd event = make_eventfd();
    Request reading(8);
    world.start(reading, Opcode::read, event);
    const auto begin = Clock::now();
    std::jthread writer([fd = event.get()] {
        std::this_thread::sleep_for(20ms);
        ring_the_bell(fd);
    });
    CHECK(world.wait(Clock::time_point::max()) == 1);
    CHECK(Clock::now() < begin + 1s);
}

// ---- cancelling ---------------------------------------------------------------------------------

TEST_CASE("a waiting operation can be cancelled") {
    World world;
    const auto pair = world.pair();
    Request receiving;
    world.start(receiving, Opcode::recv, pair.first);
    CHECK(world.wait_for(1s) == 0);
    world.ring->cancel(receiving.operation);
    CHECK(world.wait(std::nullopt) == 1);
    CHECK(world.take(receiving) == -ECANCELED);
    // It no longer takes bytes.
    Request sending(std::string_view("later"));
    world.start(sending, Opcode::send, pair.second);
    CHECK(world.answer(sending) == 5);
    world.start(receiving, Opcode::recv, pair.first);
    CHECK(world.answer(receiving) == 5);
}

TEST_CASE("a late cancellation keeps the success") {
    World world;
    const auto pair = world.pair();
    Request sending(std::string_view("sent"));
    world.start(sending, Opcode::send, pair.first);
    world.ring->cancel(sending.operation);
    CHECK(world.answer(sending) == 4);
    Request receiving;
    world.start(receiving, Opcode::recv, pair.second);
    CHECK(world.answer(receiving) == 4);
    // Neither the finished receive nor the next one is cancelled.
    world.ring->cancel(receiving.operation);
    world.start(receiving, Opcode::recv, pair.second);
    CHECK(world.wait_for(1s) == 0);
    world.ring->cancel(receiving.operation);
    world.ring->cancel(receiving.operation); // twice has no further effect
    CHECK(world.wait(std::nullopt) == 1);
    CHECK(world.take(receiving) == -ECANCELED);
    CHECK(world.wait_for(1s) == 0);
}

TEST_CASE("lost_cancel: a slow cancellation ends an operation that still waits, a little later") {
    find_seed({Fault::lost_cancel}, [](World& world) {
        const auto pair = world.pair();
        Request receiving;
        world.start(receiving, Opcode::recv, pair.first);
        CHECK(world.wait_for(1ms) == 0);
        const auto begin = Clock::now();
        world.ring->cancel(receiving.operation);
        CHECK(world.wait(std::nullopt) == 1);
        CHECK(world.take(receiving) == -ECANCELED);
        CHECK(Clock::now() <= begin + 3ms);
        return world.struck(Fault::lost_cancel) > 0 && Clock::now() > begin + 10us;
    });
}

TEST_CASE("lost_cancel: a slow cancellation loses, and never hits the next at the same address") {
    find_seed({Fault::lost_cancel}, [](World& world) {
        const auto pair = world.pair();
        Request receiving;
        Request sending(std::string_view("fast"));
        world.start(receiving, Opcode::recv, pair.first);
        CHECK(world.wait_for(1ms) == 0);
        world.ring->cancel(receiving.operation);
        world.start(sending, Opcode::send, pair.second);
        CHECK(world.answer(sending) == 4);
        const auto result = world.answer(receiving);
        if (world.struck(Fault::lost_cancel) == 0 || result == -ECANCELED) return false;
        CHECK(result == 4);
        world.start(receiving, Opcode::recv, pair.first);
        CHECK(world.wait_for(1s) == 0);
        world.start(sending, Opcode::send, pair.second);
        CHECK(world.answer(receiving) == 4);
        return true;
    });
}

// ---- faults -------------------------------------------------------------------------------------

TEST_CASE("full_queue: submissions reach the kernel before the next wait") {
    std::map<std::uint64_t, int> limits;
    for (std::uint64_t seed = 1; seed <= 200; ++seed) {
        World world(seed, {Fault::full_queue});
        const bool can_strike = world.kernel.plan().can_strike(Fault::full_queue);
        std::vector<FdPair> pairs;
        std::vector<Request> requests(9);
        std::uint64_t until_flush = 0;
        for (Request& request : requests) {
            pairs.push_back(world.pair());
            world.start(request, Opcode::recv, pairs.back().first);
            if (until_flush > 0) continue;
            if (world.kernel.network().waiting().empty()) continue;
            until_flush = pairs.size();
            CHECK(world.kernel.network().waiting().size() == until_flush);
            CHECK(world.ring->stats().full_queue_flushes == 1);
            CHECK(world.struck(Fault::full_queue) == 1);
        }
        CHECK((until_flush > 0) == can_strike);
        ++limits[until_flush];
        for (Request& request : requests) world.ring->cancel(request.operation);
        while (world.answers.size() < requests.size()) CHECK(world.wait_for(1s) > 0);
    }
    CHECK(limits.size() == 9); // none, and 1 to 8
    World tiny(1, FaultSet::none(), 0);
    const auto pair = tiny.pair();
    Request receiving;
    tiny.start(receiving, Opcode::recv, pair.first);
    CHECK(tiny.kernel.network().is_waited_on(pair.first.get()));
    tiny.ring->cancel(receiving.operation);
    CHECK(tiny.wait(std::nullopt) == 1);
}

TEST_CASE("delayed_completion: the completion comes later than the event") {
    Clock::duration longest{};
    find_seed({Fault::delayed_completion}, [&](World& world) {
        const auto pair = world.pair();
        for (int i = 0; i < 50; ++i) {
            Request sending(std::string_view("x"));
            Request receiving;
            world.start(sending, Opcode::send, pair.first);
            world.start(receiving, Opcode::recv, pair.second);
            const auto begin = Clock::now();
            const auto received = world.answer(receiving);
            const auto sent = world.answer(sending);
            CHECK(received == 1);
            CHECK(sent == 1);
            longest = std::max(longest, Clock::now() - begin);
            CHECK(Clock::now() - begin < 110ms);
        }
        CHECK(world.kernel.failure().empty());
        return world.struck(Fault::delayed_completion) > 0 && longest > 1ms;
    });
}

TEST_CASE("reordered_completions: completions come in another order, and not all at once") {
    int reordered = 0;
    int held_back = 0;
    find_seed({Fault::reordered_completions}, [&](World& world) {
        std::vector<FdPair> pairs;
        std::vector<Request> sends(20);
        for (Request& request : sends) {
            pairs.push_back(world.pair());
            world.start(request, Opcode::send, pairs.back().first);
        }
        const std::size_t at_once = world.wait(Clock::now());
        held_back += at_once < sends.size() ? 1 : 0;
        // Completions that came together.
        const auto place = [&](std::size_t i) {
            const auto is_it = [&](const Request& r) { return &r.operation == world.order[i]; };
            return std::ranges::find_if(sends, is_it) - sends.begin();
        };
        bool in_order = true;
        for (std::size_t i = 1; i < at_once; ++i) in_order = in_order && place(i - 1) < place(i);
        reordered += in_order ? 0 : 1;
        for (int waits = 0; waits < 1000 && world.order.size() < sends.size(); ++waits) {
            CHECK(world.wait(std::nullopt) > 0);
        }
        CHECK(world.order.size() == sends.size());
        return reordered > 3 && held_back > 3;
    });
}

TEST_CASE("late_wake: the loop sleeps past its deadline, and gets everything due by then") {
    find_seed({Fault::late_wake}, [](World& world) {
        const auto deadline = Clock::now() + 1s;
        CHECK(world.wait(deadline) == 0);
        CHECK(Clock::now() >= deadline);
        CHECK(Clock::now() < deadline + 3ms);
        return world.struck(Fault::late_wake) > 0 && Clock::now() > deadline + 100us;
    });
}

// ---- promises -----------------------------------------------------------------------------------

TEST_CASE("starting an operation twice fails the simulation") {
    World world;
    const auto pair = world.pair();
    Request receiving;
    world.start(receiving, Opcode::recv, pair.first);
    world.ring->start(receiving.operation);
    CHECK(world.has_failed("was started that is in flight: recv on descriptor"));
    world.ring->cancel(receiving.operation);
    CHECK(world.wait(std::nullopt) == 1); // and is still handed over once
    CHECK(world.wait_for(1s) == 0);
}

TEST_CASE("writing to lent memory fails the simulation") {
    for (const bool is_cancelled : {false, true}) {
        for (const auto opcode : {Opcode::recv, Opcode::send}) {
            World world;
            const auto pair = world.pair();
            if (opcode == Opcode::send) world.fill(pair.first);
            Request request;
            world.start(request, opcode, pair.first);
            CHECK(world.wait_for(1ms) == 0);
            CHECK(world.kernel.failure().empty());
            request.bytes[63] = 'x';
            Request other(300'000);
            if (is_cancelled) {
                world.ring->cancel(request.operation);
            } else {
                world.start(other, opcode == Opcode::send ? Opcode::recv : Opcode::send,
                            pair.second);
            }
            CHECK(world.answer(request).has_value());
            if (!is_cancelled) CHECK(world.answer(other).has_value());
            CHECK(world.has_failed("memory was written to while it was lent: "));
            CHECK(world.has_failed(to_string(opcode)));
        }
    }
}

TEST_CASE("what a receive writes to lent memory does not fail the simulation") {
    World world;
    const auto pair = world.pair();
    Request receiving;
    Request sending(std::string_view("bytes"));
    world.start(receiving, Opcode::recv, pair.first);
    world.start(sending, Opcode::send, pair.second);
    CHECK(world.answer(receiving) == 5);
    CHECK(world.answer(sending) == 5);
    CHECK(world.kernel.failure().empty());
}

TEST_CASE("closing a descriptor with a waiting operation fails the simulation, and keeps it open") {
    World world;
    auto pair = world.pair();
    Request receiving;
    world.start(receiving, Opcode::recv, pair.first);
    CHECK(world.wait_for(1ms) == 0);
    UniqueFd again(pair.first.get()); // like code that kept the number
    again.reset();
    CHECK(world.has_failed("closed while an operation waits on it"));
    CHECK(world.kernel.network().open_count() == 2);
    // Its waiting operation still ends.
    world.ring->cancel(receiving.operation);
    CHECK(world.answer(receiving) == -ECANCELED);
    world.ring->close(pair.first.release());
    CHECK(world.kernel.network().open_count() == 1);
}

TEST_CASE("an operation on a closed descriptor fails the simulation") {
    World world;
    auto pair = world.pair();
    const int number = pair.first.get();
    world.ring->close(pair.first.release());
    CHECK(world.kernel.failure().empty());
    Request receiving;
    world.ring->start(receiving.configure(Opcode::recv, number));
    CHECK(world.answer(receiving) == -EBADF);
    CHECK(world.has_failed("an operation on a descriptor that is not open"));
}

TEST_CASE("a real socket fails the simulation") {
    World world;
    const auto pair = socket_pair();
    Request receiving;
    world.start(receiving, Opcode::recv, pair.first);
    CHECK(world.answer(receiving) == -EOPNOTSUPP);
    CHECK(world.has_failed("a real descriptor in a simulation"));
}

TEST_CASE("destroying a ring with operations in flight fails the simulation") {
    World world;
    const auto pair = world.pair();
    Request receiving;
    world.start(receiving, Opcode::recv, pair.first);
    world.ring.reset();
    CHECK(world.has_failed("1 operations were not waited for"));
}

TEST_CASE("a deadlock is reported with the waiting tasks, and ends their operations") {
    World world;
    const auto pair = world.pair();
    Request first;
    Request second;
    const Waiter one(first.operation);
    const Waiter other(second.operation);
    world.start(first, Opcode::recv, pair.first);
    world.start(second, Opcode::recv, pair.second);
    const auto begin = Clock::now();
    CHECK(world.wait(std::nullopt) == 2);
    CHECK(world.take(first) == -EDEADLK);
    CHECK(world.take(second) == -EDEADLK);
    CHECK(Clock::now() < begin + 1ms);
    CHECK(world.has_failed("nothing can happen any more, and these wait:"));
    CHECK(world.has_failed("task \"patient\""));
    CHECK(world.has_failed("recv on descriptor 1073741824"));
    CHECK(world.has_failed("recv on descriptor 1073741825"));

    // Later attempts are cancelled, and take no real time.
    const UniqueFd event = make_eventfd();
    Request reading(8);
    world.start(reading, Opcode::read, event);
    const auto real_begin = RealClock::now();
    for (int i = 0; i < 300; ++i) {
        world.start(first, Opcode::recv, pair.first);
        CHECK(world.wait(std::nullopt) == 1);
        CHECK(world.take(first) == -ECANCELED);
    }
    CHECK(RealClock::now() - real_begin < 20s);
    world.ring->cancel(reading.operation);
    CHECK(world.answer(reading) == -ECANCELED);
}

TEST_CASE("a task that keeps retrying in a deadlock ends the program, and is named") {
    check_aborts("nothing can happen any more, and these wait:\n  task \"patient\"", [] {
        World world;
        const auto pair = world.pair();
        Request receiving;
        const Waiter waiter(receiving.operation);
        for (;;) {
            world.start(receiving, Opcode::recv, pair.first);
            world.wait(std::nullopt);
            world.answers.clear();
        }
    });
}

// ---- the real kernel ----------------------------------------------------------------------------

TEST_CASE("a real eventfd is read before the clock jumps") {
    World world;
    const UniqueFd event = make_eventfd();
    Request reading(8);
    world.start(reading, Opcode::read, event);
    CHECK(world.wait_for(1s) == 0);
    ring_the_bell(event.get());
    const auto begin = Clock::now();
    CHECK(world.wait_for(1h) == 1);
    CHECK(world.take(reading) == 8);
    CHECK(Clock::now() < begin + 1ms);
    world.start(reading, Opcode::read, event);
    world.ring->cancel(reading.operation);
    CHECK(world.answer(reading) == -ECANCELED);
    ring_the_bell(event.get());
    CHECK(world.wait_for(1s) == 0); // no read is waiting
    world.start(reading, Opcode::read, event);
    CHECK(world.answer(reading) == 8);
}

TEST_CASE("a real eventfd is read even if the ring is busy or never sleeps") {
    for (const bool is_busy : {false, true}) {
        World world;
        const UniqueFd event = make_eventfd();
        const auto pair = world.pair();
        Request reading(8);
        Request sending(std::string_view("x"));
        world.start(reading, Opcode::read, event);
        ring_the_bell(event.get());
        for (int waits = 0; waits < 5 && world.answers.count(&reading.operation) == 0; ++waits) {
            if (is_busy) world.start(sending, Opcode::send, pair.first);
            world.wait(Clock::now());
            static_cast<void>(world.take(sending));
        }
        CHECK(world.take(reading) == 8);
    }
}

TEST_CASE("the ring waits for another thread in real time, even if a signal interrupts it") {
    for (const bool others_wait : {false, true}) {
        World world;
        const UniqueFd event = make_eventfd();
        const auto pair = world.pair();
        Request reading(8);
        Request receiving;
        const Waiter waiter(receiving.operation);
        world.start(reading, Opcode::read, event);
        if (others_wait) world.start(receiving, Opcode::recv, pair.first);

        struct sigaction action{};
        struct sigaction before{};
        action.sa_handler = [](int) {};
        REQUIRE(::sigaction(SIGUSR2, &action, &before) == 0);
        {
            const std::jthread writer([fd = event.get(), waits = ::pthread_self()] {
                std::this_thread::sleep_for(10ms);
                ::pthread_kill(waits, SIGUSR2);
                std::this_thread::sleep_for(10ms);
                ring_the_bell(fd);
            });
            CHECK(world.wait(std::nullopt) == 1);
        }
        ::sigaction(SIGUSR2, &before, nullptr);
        CHECK(world.take(reading) == 8);
        CHECK(world.kernel.failure().empty());
        if (!others_wait) continue;
        world.ring->cancel(receiving.operation);
        CHECK(world.wait(std::nullopt) == 1);
    }
}
