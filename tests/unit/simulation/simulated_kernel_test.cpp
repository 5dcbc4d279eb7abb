#include "simulation/simulated_kernel.hpp"

#include "death.hpp"
#include "net.hpp"
#include "request.hpp"

#include <ringlet/detail/ring.hpp>

#include <chrono>
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <thread>
#include <utility>
#include <vector>

using namespace ringlet;
using namespace ringlet::testing;
using namespace std::chrono_literals;

namespace {

/// A kernel without faults that keeps its trace.
struct World {
    std::vector<std::string> lines;
    SimulatedKernel kernel{1, FaultSet::none(),
                           [this](std::string_view line) { lines.emplace_back(line); }};
};

} // namespace

TEST_CASE("a simulated kernel stands in on its thread for as long as it lives") {
    Kernel& real = Kernel::of_this_thread();
    const auto before = Clock::now();
    {
        World world;
        CHECK(&Kernel::of_this_thread() == &world.kernel);
        CHECK(Clock::now() == SimulatedKernel::begin);
        CHECK(world.kernel.situation() == "in the simulation of seed 1");
        CHECK(world.kernel.has_more_threads(0));
        CHECK_FALSE(world.kernel.has_more_threads(1));
        const Kernel* elsewhere = nullptr;
        std::jthread([&] { elsewhere = &Kernel::of_this_thread(); }).join();
        CHECK(elsewhere == &real);
    }
    CHECK(&Kernel::of_this_thread() == &real);
    CHECK(real.situation().empty());
    CHECK(Clock::now() >= before);
    CHECK(Clock::now() < before + 1min);
}

TEST_CASE("only one simulation stands in at a time, and it must outlive its loop") {
    check_aborts("a simulation inside of another one", [] {
        const World world;
        const World inside;
    });
    check_aborts("in the simulation of seed 1", [] {
        const World world;
        const World inside;
    });
    check_aborts("a simulation has one loop at a time", [] {
        World world;
        std::unique_ptr<Ring> first;
        std::unique_ptr<Ring> second;
        world.kernel.make_ring({.entries = 8}, first);
        world.kernel.make_ring({.entries = 8}, second);
    });
    check_aborts("a simulation ended before its loop", [] {
        std::unique_ptr<Ring> ring;
        World world;
        world.kernel.make_ring({.entries = 8}, ring);
    });
    World world;
    for (int i = 0; i < 3; ++i) { // one at a time
        std::unique_ptr<Ring> ring;
        CHECK(world.kernel.make_ring({.entries = 8}, ring));
        CHECK(ring);
    }
}

TEST_CASE("sockets of the simulated kernel are in memory, and UniqueFd closes them there") {
    World world;
    {
        auto fd = world.kernel.open_socket(AF_INET6, SOCK_STREAM);
        REQUIRE(fd);
        CHECK(is_simulated(fd->get()));
        CHECK(world.kernel.network().open_count() == 1);
        CHECK(world.kernel.set_option(fd->get(), SOL_SOCKET, SO_REUSEADDR, 1));
        CHECK(world.kernel.bind(fd->get(), loopback("[::1]:80")));
        CHECK(world.kernel.listen(fd->get(), 1));
        CHECK(world.kernel.local(fd->get()).value() == loopback("[::1]:80"));
        CHECK(world.kernel.peer(fd->get()).error() == std::errc::not_connected);
        CHECK(world.kernel.shutdown_write(fd->get()).error() == std::errc::not_connected);
    }
    CHECK(world.kernel.network().open_count() == 0);
    CHECK(world.kernel.open_socket(AF_PACKET, SOCK_STREAM).error() ==
          std::errc::address_family_not_supported);
}

TEST_CASE("a descriptor that is closed twice fails the simulation") {
    World world;
    auto fd = world.kernel.open_socket(AF_INET, SOCK_STREAM);
    REQUIRE(fd);
    const int number = fd->get();
    fd->reset();
    CHECK(world.kernel.failure().empty());
    CHECK(world.kernel.set_option(number, SOL_SOCKET, SO_REUSEADDR, 1).error() ==
          std::errc::bad_file_descriptor);
    UniqueFd(number).reset();
    CHECK(world.kernel.failure() == "a descriptor was closed that is not open");
}

TEST_CASE("calls on a real descriptor go to the real kernel") {
    const auto before = descriptor_count();
    {
        World world;
        Kernel& kernel = world.kernel;
        UniqueFd listener(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
        REQUIRE(listener);
        CHECK(kernel.set_option(listener.get(), SOL_SOCKET, 12345, 1).error() ==
              std::errc::no_protocol_option);
        CHECK(kernel.bind(listener.get(), loopback()));
        CHECK(kernel.listen(listener.get(), 1));
        const auto at = kernel.local(listener.get()).value();
        CHECK(at == address_of(listener.get()));
        const UniqueFd client(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
        REQUIRE(::connect(client.get(), at.data(), at.size_bytes()) == 0);
        CHECK(kernel.peer(client.get()).value() == at);
        CHECK(kernel.shutdown_write(client.get()));
        CHECK(kernel.shutdown_write(-1).error() == std::errc::bad_file_descriptor);
        CHECK(world.kernel.network().open_count() == 0);
        CHECK(descriptor_count() == before + 2);
    }
    CHECK(descriptor_count() == before);
}

TEST_CASE("simulated time passes only when it is advanced") {
    World world;
    CHECK(world.kernel.elapsed() == 0s);
    world.kernel.advance(SimulatedKernel::begin + 90min);
    CHECK(world.kernel.elapsed() == 90min);
    CHECK(Clock::now() == SimulatedKernel::begin + 90min);
    CHECK(world.kernel.failure().empty());
}

TEST_CASE("the first failure is kept, and every failure is traced") {
    World world;
    CHECK(world.kernel.failure().empty());
    world.kernel.fail("one thing");
    world.kernel.fail("and another");
    CHECK(world.kernel.failure() == "one thing");
    CHECK(world.lines == std::vector<std::string>{"    0.000000 s  FAILED: one thing",
                                                  "    0.000000 s  FAILED: and another"});
}

TEST_CASE("reports and results are lines of the trace, with their time") {
    World world;
    world.kernel.report("a line for an operator");
    world.kernel.advance(SimulatedKernel::begin + 2s + 345us);
    Request request;
    request.configure(Opcode::recv, first_simulated_descriptor + 3);
    world.kernel.note_completion(request.operation, 12);
    world.kernel.note_completion(request.operation, -ECONNRESET);
    request.configure(Opcode::read, 5);
    world.kernel.note_completion(request.operation, 8);
    CHECK(world.lines ==
          std::vector<std::string>{"    0.000000 s  a line for an operator",
                                   "    2.000345 s  recv on socket 3: 12",
                                   "    2.000345 s  recv on socket 3: Connection reset by peer",
                                   "    2.000345 s  read on descriptor 5: 8"});
    CHECK(world.kernel.completion_count() == 3);
}

TEST_CASE("the hash covers all results, their order and time, but no real descriptor numbers") {
    using Steps = std::function<void(SimulatedKernel&, Request&)>;
    const auto hash_of = [](const Steps& steps) {
        SimulatedKernel kernel(1, FaultSet::none(), {});
        Request request;
        steps(kernel, request);
        return kernel.trace_hash();
    };
    const auto note = [](SimulatedKernel& kernel, Request& request, Opcode opcode, int fd,
                         int result) {
        kernel.note_completion(request.configure(opcode, fd), result);
    };
    constexpr int socket = first_simulated_descriptor;
    const std::vector<Steps> different = {
        [&](auto&, auto&) {},
        [&](auto& kernel, auto& request) { note(kernel, request, Opcode::recv, socket, 1); },
        [&](auto& kernel, auto& request) { note(kernel, request, Opcode::recv, socket, 2); },
        [&](auto& kernel, auto& request) { note(kernel, request, Opcode::recv, socket, -1); },
        [&](auto& kernel, auto& request) { note(kernel, request, Opcode::send, socket, 1); },
        [&](auto& kernel, auto& request) { note(kernel, request, Opcode::recv, socket + 1, 1); },
        [&](auto& kernel, auto& request) {
            kernel.advance(SimulatedKernel::begin + 1us);
            note(kernel, request, Opcode::recv, socket, 1);
        },
        [&](auto& kernel, auto& request) {
            note(kernel, request, Opcode::recv, socket, 1);
            note(kernel, request, Opcode::send, socket, 2);
        },
        [&](auto& kernel, auto& request) {
            note(kernel, request, Opcode::send, socket, 2);
            note(kernel, request, Opcode::recv, socket, 1);
        },
    };
    for (std::size_t i = 0; i < different.size(); ++i) {
        CHECK(hash_of(different[i]) == hash_of(different[i]));
        for (std::size_t j = 0; j < i; ++j) CHECK(hash_of(different[i]) != hash_of(different[j]));
    }
    // The number of a real descriptor depends on the rest of the process.
    const auto read = [&](int fd) {
        return [&, fd](auto& kernel, auto& request) { note(kernel, request, Opcode::read, fd, 8); };
    };
    CHECK(hash_of(read(5)) == hash_of(read(6)));
}
