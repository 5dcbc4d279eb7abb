// What every ring promises its loop (detail/ring.hpp): the same cases on io_uring with each feature flipped from its
// default, on epoll, and on the simulated kernel.

#include "base/kernel.hpp"
#include "request.hpp"
#include "ring/epoll/epoll_ring.hpp"
#include "ring/uring/uring_ring.hpp"
#include "simulation/simulated_kernel.hpp"
#include "support.hpp"

#include <ringlet/buffer.hpp>
#include <ringlet/detail/ring.hpp>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <netinet/in.h>

using namespace ringlet;
using namespace ringlet::testing;
using namespace std::chrono_literals;

namespace {

constexpr unsigned entries = 64;

struct FeatureSwitch {
    const char* name;
    void (*flip)(RingFeatures&);
};
constexpr FeatureSwitch switches[] = {
    {"io_uring", [](RingFeatures&) {}},
    {"without defer_taskrun", [](RingFeatures& with) { with.defer_taskrun = false; }},
    {"without registered_ring", [](RingFeatures& with) { with.registered_ring = false; }},
    {"without wait_with_timeout", [](RingFeatures& with) { with.wait_with_timeout = false; }},
    {"without provided_buffers", [](RingFeatures& with) { with.provided_buffers = false; }},
    {"without own_buffers", [](RingFeatures& with) { with.own_buffers = false; }},
    {"without accept_poll_first", [](RingFeatures& with) { with.accept_poll_first = false; }},
    {"without zero_copy_send", [](RingFeatures& with) { with.zero_copy_send = false; }},
    {"with multishot_accept", [](RingFeatures& with) { with.multishot_accept = true; }},
    {"with multishot_receive", [](RingFeatures& with) { with.multishot_receive = true; }},
    {"without anything",
     [](RingFeatures& with) {
         with = {.defer_taskrun = false,
                 .registered_ring = false,
                 .wait_with_timeout = false,
                 .provided_buffers = false,
                 .own_buffers = false,
                 .accept_poll_first = false,
                 .zero_copy_send = false};
     }},
};

/// A kernel, its ring, and the completions that the ring has handed over.
class World {
public:
    explicit World(std::unique_ptr<Ring> made) : ring(std::move(made)) {}
    explicit World(std::unique_ptr<SimulatedKernel> simulated) : simulated_(std::move(simulated)) {
        REQUIRE(simulated_->make_ring({.entries = entries}, ring));
    }

    [[nodiscard]] Clock::time_point now() const { return Kernel::of_this_thread().now(); }

    UniqueFd socket() {
        auto fd = Kernel::of_this_thread().open_socket(AF_INET, SOCK_STREAM);
        REQUIRE(fd);
        return std::move(*fd);
    }
    UniqueFd listener() {
        UniqueFd fd = socket();
        REQUIRE(Kernel::of_this_thread().bind(fd.get(), *Endpoint::parse("127.0.0.1:0")));
        REQUIRE(Kernel::of_this_thread().listen(fd.get(), 64));
        return fd;
    }
    static Endpoint address_of(const UniqueFd& fd) {
        auto address = Kernel::of_this_thread().local(fd.get());
        REQUIRE(address);
        return *address;
    }

    void start(Request& request, Opcode opcode, const UniqueFd& fd) {
        ring->start(request.configure(opcode, fd.get()));
    }

    /// One wait. Returns how many completions it handed over.
    std::size_t wait(std::optional<Clock::time_point> deadline) {
        const auto completions = ring->wait(deadline);
        CHECK(completions.size() <= Ring::completions_per_wait_limit);
        for (const Completion& completion : completions) {
            const bool is_first = answers_.emplace(completion.operation, completion.result).second;
            CHECK_MESSAGE(is_first, "handed over twice");
        }
        return completions.size();
    }

    /// Waits for the answer, for as long as a busy machine may need.
    std::optional<int> answer(const Request& request) {
        waiting_for("the answer of a ring");
        const auto deadline = now() + 1min;
        while (!answers_.contains(&request.operation) && now() < deadline) wait(deadline);
        const auto found = answers_.extract(&request.operation);
        if (found.empty()) return std::nullopt;
        return found.mapped();
    }
    [[nodiscard]] bool is_answered(const Request& request) {
        wait(now());
        return answers_.contains(&request.operation);
    }

    /// A connection between two sockets, made by the ring.
    std::pair<UniqueFd, UniqueFd> connection() {
        UniqueFd listening = listener();
        std::pair<UniqueFd, UniqueFd> ends;
        ends.first = socket();
        Request connecting;
        Request accepting;
        ring->start(connecting.configure_connect(ends.first.get(), address_of(listening)));
        start(accepting, Opcode::accept, listening);
        REQUIRE(answer(connecting) == 0);
        const auto accepted = answer(accepting);
        REQUIRE(accepted);
        REQUIRE(*accepted >= 0);
        ends.second.reset(*accepted);
        ring->close(listening.release());
        return ends;
    }

    void send(const UniqueFd& fd, std::string_view text) {
        Request sending(text);
        start(sending, Opcode::send, fd);
        CHECK(answer(sending) == static_cast<int>(text.size()));
    }

private:
    std::unique_ptr<SimulatedKernel> simulated_; // outlives its ring

public:
    std::unique_ptr<Ring> ring;

private:
    std::map<const Operation*, int> answers_;
};

/// Runs a scene once on each ring that this machine has.
template <class Scene>
void on_every_ring(Scene scene) {
    std::size_t uring_count = 0;
    for (const FeatureSwitch& feature : switches) {
        INFO(std::string(feature.name));
        RingOptions options{.entries = entries};
        feature.flip(options.features);
        auto ring = make_uring_ring(options);
        if (!ring) continue;
        ++uring_count;
        World world(std::move(*ring));
        scene(world);
    }
    // If io_uring is refused, the other two are tried; the program reports that elsewhere.
    CHECK((uring_count == std::size(switches) || probe_io_uring()));
    {
        INFO("epoll");
        auto ring = make_epoll_ring({.entries = entries});
        REQUIRE(ring);
        World world(std::move(*ring));
        scene(world);
    }
    INFO("simulation");
    for (std::uint64_t seed = 1; seed <= 10; ++seed) {
        CAPTURE(seed);
        auto kernel = std::make_unique<SimulatedKernel>(seed, FaultSet::none(), nullptr);
        SimulatedKernel& simulated = *kernel;
        World world(std::move(kernel));
        scene(world);
        CHECK(simulated.failure() == "");
    }
}

} // namespace

TEST_CASE("every ring receives earlier bytes, later bytes, and the end") {
    on_every_ring([](World& world) {
        auto [left, right] = world.connection();
        world.send(right, "before");
        Request receiving;
        world.start(receiving, Opcode::recv, left);
        CHECK(world.answer(receiving) == 6);
        CHECK(receiving.first(6) == "before");

        world.start(receiving, Opcode::recv, left);
        CHECK_FALSE(world.is_answered(receiving));
        world.send(right, "after");
        CHECK(world.answer(receiving) == 5);
        CHECK(receiving.first(5) == "after");

        // More than fits comes in two parts.
        world.send(right, std::string(100, 'x'));
        world.start(receiving, Opcode::recv, left);
        CHECK(world.answer(receiving) == 64);
        world.start(receiving, Opcode::recv, left);
        CHECK(world.answer(receiving) == 36);

        world.send(right, "last");
        world.ring->close(right.release());
        world.start(receiving, Opcode::recv, left);
        CHECK(world.answer(receiving) == 4);
        for (int again = 0; again < 3; ++again) {
            world.start(receiving, Opcode::recv, left);
            CHECK(world.answer(receiving) == 0);
        }
        world.ring->close(left.release());
    });
}

TEST_CASE("every ring provides the buffer of a receive when data comes") {
    on_every_ring([](World& world) {
        auto [left, right] = world.connection();
        Request receiving(std::size_t{0});
        for (const std::string_view text : {"one", "two"}) {
            receiving.operation.state = Operation::State::idle;
            receiving.operation.configure(Opcode::recv_buffer, left.get(), nullptr,
                                          Buffer::capacity_bytes);
            receiving.operation.state = Operation::State::in_flight;
            world.ring->start(receiving.operation);
            CHECK_FALSE(world.is_answered(receiving));
            world.send(right, text);
            REQUIRE(world.answer(receiving) == 3);
            const Buffer buffer(static_cast<std::byte*>(receiving.operation.data), 3);
            CHECK(std::string_view(static_cast<const char*>(receiving.operation.data), 3) == text);
        }
        world.ring->close(right.release());
        world.ring->close(left.release());
    });
}

TEST_CASE("every ring hands a cancelled operation over once, and the next one works") {
    on_every_ring([](World& world) {
        auto [left, right] = world.connection();
        Request receiving;
        for (int again = 0; again < 3; ++again) {
            world.start(receiving, Opcode::recv, left);
            CHECK_FALSE(world.is_answered(receiving));
            world.ring->cancel(receiving.operation);
            CHECK(world.answer(receiving) == -ECANCELED);
            CHECK_FALSE(world.is_answered(receiving)); // not a second time
        }
        world.send(right, "whole");
        world.start(receiving, Opcode::recv, left);
        CHECK(world.answer(receiving) == 5);

        // It is cancelled before it reaches the kernel.
        world.start(receiving, Opcode::recv, left);
        world.ring->cancel(receiving.operation);
        CHECK(world.answer(receiving) == -ECANCELED);
        world.ring->close(left.release());
        world.ring->close(right.release());
    });
}

TEST_CASE("every ring cancels only the operation it is given, and loses no byte in a race") {
    on_every_ring([](World& world) {
        constexpr int pair_count = 20;
        std::vector<std::pair<UniqueFd, UniqueFd>> pairs;
        std::vector<Request> requests(pair_count);
        for (int index = 0; index < pair_count; ++index) pairs.push_back(world.connection());
        for (int index = 0; index < pair_count; ++index)
            world.start(requests[static_cast<std::size_t>(index)], Opcode::recv,
                        pairs[static_cast<std::size_t>(index)].first);
        world.ring->cancel(requests[7].operation);
        CHECK(world.answer(requests[7]) == -ECANCELED);
        for (std::size_t index = 0; index < pair_count; ++index) {
            if (index == 7) continue;
            CHECK_FALSE(world.is_answered(requests[index]));
            world.send(pairs[index].second, "x");
            world.ring->cancel(requests[index].operation); // the byte may win the race
            int result = *world.answer(requests[index]);
            if (result == -ECANCELED) {
                world.start(requests[index], Opcode::recv, pairs[index].first);
                result = *world.answer(requests[index]);
            }
            CHECK(result == 1);
            CHECK(requests[index].first(1) == "x");
        }
        for (auto& [left, right] : pairs) {
            world.ring->close(left.release());
            world.ring->close(right.release());
        }
    });
}

TEST_CASE("every ring takes more operations than its queue has entries, and answers each once") {
    on_every_ring([](World& world) {
        constexpr std::size_t pair_count = 3 * entries;
        std::vector<std::pair<UniqueFd, UniqueFd>> pairs;
        for (std::size_t index = 0; index < pair_count; ++index)
            pairs.push_back(world.connection());
        std::vector<Request> receiving(pair_count);
        std::vector<Request> sending(pair_count);
        for (std::size_t index = 0; index < pair_count; ++index) {
            world.start(receiving[index], Opcode::recv, pairs[index].first);
            world.start(sending[index], Opcode::send, pairs[index].second);
        }
        for (std::size_t index = 0; index < pair_count; ++index) {
            CHECK(world.answer(sending[index]) == 64);
            CHECK(world.answer(receiving[index]) == 64);
        }
        for (auto& [left, right] : pairs) {
            world.ring->close(left.release());
            world.ring->close(right.release());
        }
        CHECK(world.wait(world.now()) == 0);
    });
}

TEST_CASE("every ring waits until its deadline, never less, and not at all if it has passed") {
    on_every_ring([](World& world) {
        const auto begin = world.now();
        // A signal ends a wait early, and so does what a closed io_uring still has to do on this thread.
        int waits = 0;
        for (; world.now() < begin + 5ms; ++waits) CHECK(world.wait(begin + 5ms) == 0);
        CHECK(waits <= 10);
        CHECK(world.wait(begin) == 0);
        CHECK(world.wait(Clock::time_point::min()) == 0);

        // A completion ends a wait of an hour; if none does, the limit of this test does.
        auto [left, right] = world.connection();
        Request receiving;
        Request sending(std::string_view("x"));
        world.start(receiving, Opcode::recv, left);
        world.start(sending, Opcode::send, right);
        waiting_for("a wait that something ends");
        std::size_t handed_over = 0;
        while (handed_over < 2) handed_over += world.wait(world.now() + 1h);
        CHECK(world.answer(receiving) == 1);
        CHECK(world.answer(sending) == 1);
        world.ring->close(left.release());
        world.ring->close(right.release());
    });
}

TEST_CASE("every ring accepts a connection, even after a cancelled accept") {
    on_every_ring([](World& world) {
        UniqueFd listening = world.listener();
        Request accepting;
        world.start(accepting, Opcode::accept, listening);
        CHECK_FALSE(world.is_answered(accepting));
        world.ring->cancel(accepting.operation);
        CHECK(world.answer(accepting) == -ECANCELED);
        for (int again = 0; again < 3; ++again) {
            UniqueFd client = world.socket();
            Request connecting;
            world.ring->start(
                connecting.configure_connect(client.get(), World::address_of(listening)));
            CHECK(world.answer(connecting) == 0);
            world.start(accepting, Opcode::accept, listening);
            const auto accepted = world.answer(accepting);
            REQUIRE(accepted);
            REQUIRE(*accepted >= 0);
            UniqueFd server(*accepted);
            world.send(client, "hello");
            Request receiving;
            world.start(receiving, Opcode::recv, server);
            CHECK(world.answer(receiving) == 5);
            world.ring->close(client.release());
            world.ring->close(server.release());
        }
        world.ring->close(listening.release());
    });
}

TEST_CASE("every ring reports a failure as a negative errno, and raises no signal") {
    on_every_ring([](World& world) {
        // A port without a listener.
        UniqueFd listening = world.listener();
        const Endpoint address = World::address_of(listening);
        world.ring->close(listening.release());
        UniqueFd client = world.socket();
        Request connecting;
        world.ring->start(connecting.configure_connect(client.get(), address));
        CHECK(world.answer(connecting) == -ECONNREFUSED);
        world.ring->close(client.release());

        auto [left, right] = world.connection();
        world.ring->close(right.release());
        int result = 0;
        for (int tries = 0; tries < 1000 && result >= 0; ++tries) {
            Request sending(std::string_view("to nobody"));
            world.start(sending, Opcode::send, left);
            result = *world.answer(sending);
            world.wait(world.now() + 1ms); // until the peer's reset has arrived
        }
        CHECK((result == -EPIPE || result == -ECONNRESET));
        world.ring->close(left.release());
    });
}

TEST_CASE("no ring confuses a descriptor with an earlier one of the same number") {
    on_every_ring([](World& world) {
        for (int again = 0; again < 5; ++again) {
            auto [left, right] = world.connection();
            Request receiving;
            world.start(receiving, Opcode::recv, left);
            CHECK_FALSE(world.is_answered(receiving));
            world.send(right, "mine");
            CHECK(world.answer(receiving) == 4);
            CHECK(receiving.first(4) == "mine");
            world.ring->close(left.release());
            world.ring->close(right.release());
        }
    });
}
