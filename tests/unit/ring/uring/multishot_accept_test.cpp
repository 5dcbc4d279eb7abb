// Which accept gets which connection: first without a kernel, then on the real ring.

#include "ring/uring/multishot_accept.hpp"

#include "death.hpp"
#include "net.hpp"
#include "ring/uring/uring_ring.hpp"

#include <array>
#include <cerrno>
#include <chrono>
#include <memory>
#include <optional>
#include <vector>

#include <fcntl.h>
#include <sys/eventfd.h>
#include <sys/resource.h>

using namespace ringlet;
using namespace ringlet::testing;
using namespace std::chrono_literals;

namespace {

using Request = MultishotListener::Request;
using Step = MultishotListener::Step;

int new_descriptor() { return ::eventfd(0, EFD_CLOEXEC); }

bool is_open(int fd) { return ::fcntl(fd, F_GETFD) >= 0; }

void check_step(const Step& step, Request request, const Operation* operation = nullptr,
                int result = 0) {
    CHECK(step.request == request);
    CHECK(step.operation == operation);
    CHECK(step.result == result);
}

} // namespace

TEST_CASE(
    "MultishotListener gives each connection to the waiting accept, or keeps it for the next one") {
    MultishotListener listener(3);
    CHECK(listener.fd() == 3);
    Operation operation;
    check_step(listener.start(operation), Request::arm);
    CHECK(listener.waiting() == &operation);
    const std::array fds{new_descriptor(), new_descriptor(), new_descriptor()};
    check_step(listener.answer(fds[0], true), Request::nothing, &operation, fds[0]);
    CHECK(listener.waiting() == nullptr);
    check_step(listener.answer(fds[1], true), Request::nothing);
    check_step(listener.answer(fds[2], true), Request::nothing);
    CHECK(listener.ahead_count() == 2);
    check_step(listener.start(operation), Request::nothing, &operation, fds[1]);
    check_step(listener.start(operation), Request::nothing, &operation, fds[2]);
    // Still armed: no request is needed.
    check_step(listener.start(operation), Request::nothing);
    CHECK(listener.waiting() == &operation);
    for (const int fd : fds) CHECK(::close(fd) == 0); // the accepts own them
}

TEST_CASE("MultishotListener is armed again by the next accept after it ended") {
    MultishotListener listener(3);
    Operation operation;
    for (const int last : {-EMFILE, -ECONNABORTED, -EINTR, 77}) {
        CAPTURE(last);
        check_step(listener.start(operation), Request::arm);
        CHECK(listener.is_armed());
        check_step(listener.answer(last, false), Request::nothing, &operation, last);
        CHECK_FALSE(listener.is_armed());
    }
    check_step(listener.start(operation), Request::arm);
    check_step(listener.answer(77, true), Request::nothing, &operation, 77);
    // An error without a waiting accept is dropped; a lasting one comes again.
    check_step(listener.answer(-EMFILE, false), Request::nothing);
    check_step(listener.start(operation), Request::arm);
}

TEST_CASE(
    "MultishotListener ends a cancelled accept with the kernel's last answer, or a connection") {
    MultishotListener listener(3);
    Operation operation;
    check_step(listener.start(operation), Request::arm);
    check_step(listener.cancel(operation), Request::take_back);
    // The kernel may have missed the first request.
    check_step(listener.cancel(operation), Request::take_back);
    check_step(listener.answer(-ECANCELED, false), Request::nothing, &operation, -ECANCELED);

    check_step(listener.start(operation), Request::arm);
    check_step(listener.cancel(operation), Request::take_back);
    check_step(listener.answer(77, true), Request::nothing, &operation, 77);
    check_step(listener.cancel(operation), Request::nothing); // it has its result
    // A new accept that began before the last answer is not cancelled by it.
    check_step(listener.start(operation), Request::nothing);
    check_step(listener.answer(-ECANCELED, false), Request::arm);
    check_step(listener.answer(78, true), Request::nothing, &operation, 78);
}

TEST_CASE("MultishotListener is cancelled while no accept waits, until the kernel confirms") {
    MultishotListener listener(3);
    Operation operation;
    check_step(listener.rest(), Request::nothing); // not armed
    check_step(listener.start(operation), Request::arm);
    check_step(listener.rest(), Request::nothing); // an accept waits
    check_step(listener.answer(77, true), Request::nothing, &operation, 77);
    check_step(listener.rest(), Request::take_back);
    check_step(listener.rest(), Request::nothing); // in progress
    const int fd = new_descriptor();
    check_step(listener.answer(fd, true), Request::nothing);
    check_step(listener.rest(), Request::take_back);
    check_step(listener.answer(-ECANCELED, false), Request::nothing);
    check_step(listener.rest(), Request::nothing);
    check_step(listener.start(operation), Request::nothing, &operation, fd);
    CHECK(::close(fd) == 0);
}

TEST_CASE("MultishotListener submits each accept on its own if the first multishot is EINVAL") {
    MultishotListener old_kernel(3);
    Operation operation;
    check_step(old_kernel.start(operation), Request::arm);
    check_step(old_kernel.answer(-EINVAL, false), Request::single_shot, &operation);
    CHECK(old_kernel.waiting() == nullptr);
    check_step(old_kernel.start(operation), Request::single_shot, &operation);
    check_step(old_kernel.rest(), Request::nothing);

    MultishotListener cancelled(3);
    check_step(cancelled.start(operation), Request::arm);
    check_step(cancelled.cancel(operation), Request::take_back);
    check_step(cancelled.answer(-EINVAL, false), Request::nothing, &operation, -ECANCELED);

    // After a success the socket is at fault: it no longer listens.
    MultishotListener shut_down(3);
    check_step(shut_down.start(operation), Request::arm);
    check_step(shut_down.answer(77, true), Request::nothing, &operation, 77);
    check_step(shut_down.start(operation), Request::nothing);
    check_step(shut_down.answer(-EINVAL, false), Request::nothing, &operation, -EINVAL);
}

TEST_CASE("MultishotListener closes connections that no accept took") {
    const int fd = new_descriptor();
    {
        MultishotListener listener(3);
        Operation operation;
        check_step(listener.start(operation), Request::arm);
        check_step(listener.answer(77, true), Request::nothing, &operation, 77);
        check_step(listener.answer(fd, true), Request::nothing);
        CHECK(is_open(fd));
    }
    CHECK_FALSE(is_open(fd));
}

TEST_CASE("MultishotListener: two accepts at once abort") {
    check_aborts("two accepts at once", [] {
        MultishotListener listener(3);
        std::array<Operation, 2> operations;
        static_cast<void>(listener.start(operations[0]));
        static_cast<void>(listener.start(operations[1]));
    });
}

// ---- on the real ring ---------------------------------------------------------------------------

namespace {

std::unique_ptr<Ring> ring_with(bool multishot, bool defer_taskrun = true) {
    RingFeatures features;
    features.multishot_accept = multishot;
    features.defer_taskrun = defer_taskrun;
    auto ring = make_uring_ring({.entries = 64, .features = features});
    REQUIRE_MESSAGE(ring, ring.error().message());
    return std::move(*ring);
}

// Without waiting.
void look(Ring& ring) { CHECK(ring.wait(Clock::time_point::min()).empty()); }

// Bound like a TcpListener, so that connections in TIME_WAIT do not hold the port.
UniqueFd listening_socket() {
    UniqueFd fd(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
    const int on = 1;
    REQUIRE(::setsockopt(fd.get(), SOL_SOCKET, SO_REUSEADDR, &on, sizeof on) == 0);
    const Endpoint any = loopback();
    REQUIRE(::bind(fd.get(), any.data(), any.size_bytes()) == 0);
    REQUIRE(::listen(fd.get(), 64) == 0);
    return fd;
}

// The server's side: a listener, and its accept.
struct Listening {
    explicit Listening(const std::unique_ptr<Ring>& on) : ring(*on) {}

    void start() {
        accept.state = Operation::State::idle;
        accept.configure(Opcode::accept, fd.get(), nullptr, 0);
        ring.start(accept);
    }
    int answer() {
        waiting_for("an answer to an accept");
        for (;;) {
            for (const auto& completion : ring.wait(std::nullopt)) {
                if (completion.operation == &accept) return completion.result;
                others.push_back(completion);
            }
        }
    }
    UniqueFd accept_one() {
        start();
        const int result = answer();
        REQUIRE_MESSAGE(result >= 0, result);
        return UniqueFd(result);
    }
    UniqueFd client() const {
        UniqueFd connected = connect_to(address);
        REQUIRE(connected);
        return connected;
    }
    void close() { ring.close(fd.release()); }
    bool port_is_free() const { return static_cast<bool>(TcpListener::bind(address)); }

    Ring& ring;
    UniqueFd fd = listening_socket();
    Endpoint address = address_of(fd.get());
    Operation accept;
    std::vector<Completion> others; // came during the wait for an accept
};

Endpoint peer_of(int fd) {
    sockaddr_storage address{};
    socklen_t size = sizeof address;
    REQUIRE(::getpeername(fd, reinterpret_cast<sockaddr*>(&address), &size) == 0);
    return Endpoint::from_sockaddr(address);
}

bool kernel_has_multishot() {
    if (probe_io_uring()) return false;
    const auto ring = ring_with(true);
    Listening server(ring);
    for (int i = 0; i < 2; ++i) {
        const UniqueFd client = server.client();
        const UniqueFd accepted = server.accept_one();
    }
    const bool shared = ring->stats().submissions == 1;
    server.close();
    return shared;
}

constexpr auto no_multishot = "this kernel has no multishot accept (Linux 5.19)";

} // namespace

TEST_CASE("UringRing accepts many connections with one submission, or each with its own") {
    const bool has_it = kernel_has_multishot();
    if (probe_io_uring()) RINGLET_SKIP("io_uring is refused here");
    for (const bool multishot : {true, false}) {
        CAPTURE(multishot);
        const auto ring = ring_with(multishot);
        Listening server(ring);
        for (int i = 0; i < 5; ++i) {
            server.start();
            look(*ring);
            const UniqueFd client = server.client();
            const UniqueFd accepted(server.answer());
            REQUIRE(accepted);
            CHECK(peer_of(accepted.get()) == address_of(client.get()));
            CHECK((::fcntl(accepted.get(), F_GETFD) & FD_CLOEXEC) != 0);
            CHECK((::fcntl(accepted.get(), F_GETFL) & O_NONBLOCK) == 0);
        }
        if (has_it) CHECK(ring->stats().submissions == (multishot ? 1 : 5));
        CHECK(ring->stats().completions == 5);
        server.close();
    }
}

TEST_CASE("UringRing returns connections accepted ahead, and can stop accepting") {
    if (!kernel_has_multishot()) RINGLET_SKIP(no_multishot);
    const auto ring = ring_with(true);
    Listening server(ring);
    CHECK_FALSE(ring->take_accepted(server.fd.get())); // not armed yet
    ring->stop_accepting(server.fd.get());
    std::vector<UniqueFd> clients;
    for (int i = 0; i < 5; ++i) clients.push_back(server.client());
    const UniqueFd first = server.accept_one();
    ring->stop_accepting(server.fd.get());
    const UniqueFd late = server.client();
    for (std::size_t i = 1; i < clients.size(); ++i) {
        const UniqueFd accepted = ring->take_accepted(server.fd.get());
        REQUIRE(accepted);
        CHECK(peer_of(accepted.get()) == address_of(clients[i].get()));
    }
    CHECK_FALSE(ring->take_accepted(server.fd.get())); // it waits in the backlog for an accept
    CHECK(peer_of(server.accept_one().get()) == address_of(late.get()));
    server.close();
}

TEST_CASE(
    "UringRing hands over connections accepted ahead in order, and accepts no more meanwhile") {
    if (!kernel_has_multishot()) RINGLET_SKIP(no_multishot);
    const auto ring = ring_with(true);
    const std::size_t open_before = descriptor_count();
    {
        Listening server(ring);
        std::vector<UniqueFd> clients;
        clients.reserve(11);
        for (int i = 0; i < 10; ++i) clients.push_back(server.client());
        std::vector<UniqueFd> accepted;
        accepted.push_back(server.accept_one());
        CHECK(descriptor_count() == open_before + 1 + 2 * clients.size());
        // No accept waits now. Later clients stay in the backlog, as without multishot.
        look(*ring);
        clients.push_back(server.client());
        for (int i = 0; i < 3; ++i) look(*ring);
        CHECK(descriptor_count() == open_before + 1 + 2 * clients.size() - 1);

        const auto submissions = ring->stats().submissions;
        while (accepted.size() < 10) accepted.push_back(server.accept_one());
        CHECK(ring->stats().submissions == submissions);
        accepted.push_back(server.accept_one());
        CHECK(ring->stats().submissions == submissions + 1);
        for (std::size_t i = 0; i < clients.size(); ++i) {
            CHECK(peer_of(accepted[i].get()) == address_of(clients[i].get()));
        }
        server.close();
    }
    CHECK(descriptor_count() == open_before);
}

TEST_CASE("UringRing cancels an accept that shares its submission, and loses no connection") {
    if (!kernel_has_multishot()) RINGLET_SKIP(no_multishot);
    const auto ring = ring_with(true);
    Listening server(ring);
    for (int round = 0; round < 20; ++round) {
        CAPTURE(round);
        // Armed or not yet; the client comes before, with, or after the cancellation.
        if (round % 2 == 0) look(*ring);
        UniqueFd client;
        if (round % 3 == 0) client = server.client();
        server.start();
        if (round % 4 == 0 && round % 3 != 0) look(*ring);
        if (round % 3 == 1) client = server.client();
        ring->cancel(server.accept);
        const int result = server.answer();
        UniqueFd accepted(result);
        if (!client) client = server.client();
        if (result < 0) {
            CHECK(result == -ECANCELED);
            accepted = server.accept_one();
        }
        CHECK(peer_of(accepted.get()) == address_of(client.get()));
        look(*ring);
    }
    CHECK(server.others.empty());
    server.close();
}

TEST_CASE("UringRing: a full descriptor table fails the waiting accept, and the next one works") {
    if (!kernel_has_multishot()) RINGLET_SKIP(no_multishot);
    const auto outcome = run_in_child([] {
        const auto ring = ring_with(true);
        Listening server(ring);
        const UniqueFd first = server.client();
        const UniqueFd second = server.client();
        const rlimit few{.rlim_cur = 32, .rlim_max = 32};
        if (::setrlimit(RLIMIT_NOFILE, &few) != 0) return 1;
        std::vector<UniqueFd> fill;
        for (int fd = new_descriptor(); fd >= 0; fd = new_descriptor()) fill.emplace_back(fd);
        for (int i = 0; i < 3; ++i) {
            server.start();
            if (server.answer() != -EMFILE) return 2;
        }
        fill.pop_back();
        const UniqueFd accepted = server.accept_one();
        if (peer_of(accepted.get()) != address_of(first.get())) return 3;
        fill.pop_back();
        const UniqueFd next = server.accept_one();
        if (peer_of(next.get()) != address_of(second.get())) return 4;
        server.close();
        return 0;
    });
    CHECK_MESSAGE(outcome.succeeded(), outcome.to_string());
}

TEST_CASE("UringRing: a port is free as soon as its listener is closed") {
    if (!kernel_has_multishot()) RINGLET_SKIP(no_multishot);
    const std::size_t open_before = descriptor_count();
    for (const bool defer_taskrun : {true, false}) {
        for (const int ahead_count : {0, 1, 10}) {
            CAPTURE(defer_taskrun);
            CAPTURE(ahead_count);
            const auto ring = ring_with(true, defer_taskrun);
            Listening server(ring);
            std::vector<UniqueFd> clients;
            for (int i = 0; i <= ahead_count; ++i) clients.push_back(server.client());
            const UniqueFd accepted = server.accept_one();
            CHECK_FALSE(server.port_is_free());
            server.close();
            CHECK(server.port_is_free());
            // They came too late, and their connections end.
            for (std::size_t i = 1; i < clients.size(); ++i) CHECK(is_ended(clients[i].get()));
        }
        // With an accept cancelled just before.
        const auto ring = ring_with(true, defer_taskrun);
        Listening server(ring);
        server.start();
        look(*ring);
        ring->cancel(server.accept);
        CHECK(server.answer() == -ECANCELED);
        server.close();
        CHECK(server.port_is_free());
    }
    CHECK(descriptor_count() == open_before);
}

TEST_CASE("UringRing: closing a listener keeps completions of other operations in order") {
    if (!kernel_has_multishot()) RINGLET_SKIP(no_multishot);
    constexpr std::size_t read_count = 300; // more than one wait hands over
    const auto ring = ring_with(true);
    const UniqueFd counter(::eventfd(read_count, EFD_SEMAPHORE | EFD_CLOEXEC));
    std::vector<Operation> reads(read_count);
    std::array<std::byte, 8> memory{};
    Listening server(ring);
    const UniqueFd client = server.client();
    const UniqueFd accepted = server.accept_one();
    for (Operation& read : reads) {
        read.configure(Opcode::read, counter.get(), memory.data(), memory.size());
        ring->start(read);
    }
    server.close();
    CHECK(server.port_is_free());
    std::vector<const Operation*> answered;
    while (answered.size() < read_count) {
        const auto completions = ring->wait(std::nullopt);
        CHECK(completions.size() <= Ring::completions_per_wait_limit);
        for (const auto& completion : completions) answered.push_back(completion.operation);
    }
    look(*ring);
    for (std::size_t i = 0; i < read_count; ++i) CHECK(answered[i] == &reads[i]);
    CHECK(server.others.empty());
}

TEST_CASE("UringRing: a reused descriptor number is another listener") {
    if (!kernel_has_multishot()) RINGLET_SKIP(no_multishot);
    const auto ring = ring_with(true);
    int number = -1;
    for (int round = 0; round < 5; ++round) {
        Listening server(ring);
        if (round > 0) CHECK(server.fd.get() == number);
        number = server.fd.get();
        const UniqueFd early = server.client();
        const UniqueFd late = server.client();
        const UniqueFd accepted = server.accept_one();
        CHECK(peer_of(accepted.get()) == address_of(early.get()));
        server.close();
    }
}

TEST_CASE("UringRing that ends releases its listeners, and closes connections accepted ahead") {
    if (!kernel_has_multishot()) RINGLET_SKIP(no_multishot);
    const std::size_t open_before = descriptor_count();
    for (const bool waits : {false, true}) {
        CAPTURE(waits);
        auto ring = ring_with(true);
        Listening server(ring);
        const UniqueFd early = server.client();
        const UniqueFd late = server.client();
        const UniqueFd accepted = server.accept_one();
        if (waits) {
            static_cast<void>(server.accept_one());
            server.start();
            look(*ring);
        }
        const UniqueFd unseen = waits ? server.client() : UniqueFd();
        ring.reset();
        server.fd.reset();
        CHECK(server.port_is_free());
        CHECK(is_ended(late.get()));
    }
    CHECK(descriptor_count() == open_before);
}

TEST_CASE("UringRing: after a refused multishot each accept is submitted on its own, for good") {
    if (probe_io_uring()) RINGLET_SKIP("io_uring is refused here");
    const auto ring = ring_with(true);
    Listening server(ring);
    // A socket that does not listen returns EINVAL, like a kernel without multishot.
    const Endpoint any = loopback();
    server.fd.reset(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
    REQUIRE(::bind(server.fd.get(), any.data(), any.size_bytes()) == 0);
    server.address = address_of(server.fd.get());
    server.start();
    CHECK(server.answer() == -EINVAL);
    REQUIRE(::listen(server.fd.get(), 4) == 0);
    for (int i = 0; i < 3; ++i) {
        const auto submissions = ring->stats().submissions;
        server.start();
        look(*ring);
        const UniqueFd client = server.client();
        const UniqueFd accepted(server.answer());
        CHECK(peer_of(accepted.get()) == address_of(client.get()));
        CHECK(ring->stats().submissions == submissions + 1);
    }
    server.start();
    look(*ring);
    ring->cancel(server.accept);
    CHECK(server.answer() == -ECANCELED);
    server.close();
}

TEST_CASE("with multishot_accept a listener's port is free when close has returned") {
    if (!kernel_has_multishot()) RINGLET_SKIP(no_multishot);
    LoopOptions options;
    options.backend = Backend::io_uring;
    options.features.multishot_accept = true;
    auto loop = EventLoop::create(options);
    REQUIRE(loop);
    const std::size_t open_before = descriptor_count();
    for (const bool accepts : {false, true}) {
        auto result = loop->run([&]() -> Task<> {
            auto listener = TcpListener::bind(loopback());
            REQUIRE(listener);
            const Endpoint address = listener->local();
            std::vector<UniqueFd> clients;
            clients.reserve(3);
            for (int i = 0; i < 3; ++i) clients.push_back(connect_to(address));
            auto stream = co_await listener->accept();
            CHECK(stream);
            std::error_code seen;
            auto accept_rest = [&]() -> Task<> {
                for (;;) {
                    auto next = co_await listener->accept();
                    if (!next) seen = next.error();
                    if (!next) co_return;
                }
            };
            if (accepts) loop->spawn(accept_rest);
            for (int turn = 0; accepts && turn < 10; ++turn) static_cast<void>(co_await yield());
            auto closed = co_await listener->close();
            CHECK(closed);
            CHECK(static_cast<bool>(TcpListener::bind(address)));
            if (accepts) CHECK(seen == std::errc::operation_canceled);
        });
        CHECK(result);
        check_nothing_left(*loop);
    }
    CHECK(descriptor_count() == open_before);
}
