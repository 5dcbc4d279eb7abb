// The real ring, without a loop.

#include "death.hpp"
#include "net.hpp"
#include "refusal.hpp"
#include "request.hpp"

#include "base/sanitizer.hpp"
#include "ring/epoll/epoll_ring.hpp"
#include "ring/uring/uring_queues.hpp"
#include "ring/uring/uring_ring.hpp"

#include <array>
#include <cerrno>
#include <csignal>
#include <cstddef>
#include <cstdio>
#include <cstring>
#include <ctime>
#include <fstream>
#include <map>
#include <string>
#include <utility>
#include <vector>

#include <fcntl.h>
#include <poll.h>
#include <sys/eventfd.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/utsname.h>
#include <unistd.h>

using namespace ringlet;
using testing::Request;

namespace {

using namespace std::chrono_literals;

std::unique_ptr<Ring> make_ring(unsigned entries = 64) {
    auto ring = make_uring_ring({.entries = entries});
    REQUIRE_MESSAGE(ring, ring.error().message());
    return std::move(*ring);
}

struct Pair {
    UniqueFd left;
    UniqueFd right;
};

Pair make_pair() {
    std::array<int, 2> ends{};
    REQUIRE(::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends.data()) == 0);
    return {.left = UniqueFd(ends[0]), .right = UniqueFd(ends[1])};
}

std::vector<Completion> wait_once(Ring& ring, std::optional<Clock::time_point> deadline) {
    const auto completions = ring.wait(deadline);
    return {completions.begin(), completions.end()};
}

// Submits started operations and takes completions, without waiting.
std::vector<Completion> look(Ring& ring) { return wait_once(ring, Clock::time_point::min()); }

// Waits for `count` completions, then looks once more: a surplus one is returned with them.
std::vector<Completion> wait_for_completions(Ring& ring, std::size_t count) {
    testing::waiting_for("completions of the ring");
    std::vector<Completion> all;
    while (all.size() < count) {
        const auto some = wait_once(ring, std::nullopt);
        all.insert(all.end(), some.begin(), some.end());
    }
    const auto too_many = look(ring);
    all.insert(all.end(), too_many.begin(), too_many.end());
    return all;
}

// How many times each operation was handed over.
std::map<const Operation*, int> count_by_operation(const std::vector<Completion>& completions) {
    std::map<const Operation*, int> counts;
    for (const auto& completion : completions) ++counts[completion.operation];
    return counts;
}

// Linux 6.10 or later, by its release name.
bool kernel_polls_before_it_accepts() {
    utsname system{};
    int major = 0;
    int minor = 0;
    return ::uname(&system) == 0 && std::sscanf(system.release, "%d.%d", &major, &minor) == 2 &&
           (major > 6 || (major == 6 && minor >= 10));
}

// Starts `count` reads of an eventfd with a value for each, and checks that each finishes once.
// Returns how many waits handed them over.
std::size_t read_many(Ring& ring, std::size_t count) {
    const UniqueFd counter(::eventfd(static_cast<unsigned>(count), EFD_SEMAPHORE | EFD_CLOEXEC));
    REQUIRE(counter);
    std::vector<Request> requests(count);
    for (auto& request : requests) request.start(ring, Opcode::read, counter.get(), 8);

    testing::waiting_for("completions of reads that can all be answered");
    std::size_t waits = 0;
    std::size_t largest = 0;
    std::vector<Completion> all;
    while (all.size() < count) {
        const auto some = wait_once(ring, std::nullopt);
        if (!some.empty()) ++waits;
        largest = std::max(largest, some.size());
        all.insert(all.end(), some.begin(), some.end());
    }
    CHECK(look(ring).empty());
    CHECK(all.size() == count);
    CHECK(largest <= Ring::completions_per_wait_limit);
    const auto counts = count_by_operation(all);
    CHECK(counts.size() == count);
    bool all_read = true;
    for (const auto& completion : all) all_read = all_read && completion.result == 8;
    CHECK(all_read);
    return waits;
}

} // namespace

TEST_CASE("UringRing submits nothing before it waits and everything then") {
    const auto ring = make_ring();
    const auto [left, right] = make_pair();
    Request request;
    std::memcpy(request.bytes.data(), "bonjour", 7);
    request.start(*ring, Opcode::send, left.get(), 7);
    std::array<char, 16> received{};
    CHECK(::recv(right.get(), received.data(), received.size(), MSG_DONTWAIT) == -1);
    const auto completions = wait_for_completions(*ring, 1);
    REQUIRE(completions.size() == 1);
    CHECK(completions[0].result == 7);
    CHECK(::recv(right.get(), received.data(), received.size(), MSG_DONTWAIT) == 7);
    CHECK(std::string_view(received.data(), 7) == "bonjour");
}

TEST_CASE("UringRing restarts an operation with its remaining bytes") {
    const auto ring = make_ring();
    const auto [left, right] = make_pair();
    Request request;
    request.operation.configure(Opcode::recv, left.get(), request.bytes.data(), 10,
                                Operation::Extent::whole);
    request.operation.state = Operation::State::in_flight;
    REQUIRE(::write(right.get(), "abcd", 4) == 4);
    ring->start(request.operation);
    const auto first = wait_for_completions(*ring, 1);
    REQUIRE(first.size() == 1);
    REQUIRE(first[0].result == 4);
    bool finished = request.operation.finish(first[0].result);
    REQUIRE_FALSE(finished);

    REQUIRE(::write(right.get(), "efghijkl", 8) == 8);
    ring->start(request.operation);
    const auto second = wait_for_completions(*ring, 1);
    REQUIRE(second.size() == 1);
    CHECK(second[0].result == 6); // no more than fits
    finished = request.operation.finish(second[0].result);
    CHECK(finished);
    CHECK(std::string_view(request.bytes.data(), 11) == std::string_view("abcdefghij\0", 11));
}

TEST_CASE("UringRing reports a kernel error as a negative errno and raises no signal") {
    const auto ring = make_ring();
    auto [left, right] = make_pair();
    right.reset();
    Request request;
    request.start(*ring, Opcode::send, left.get(), 4);
    const auto completions = wait_for_completions(*ring, 1);
    REQUIRE(completions.size() == 1);
    CHECK(completions[0].result == -EPIPE); // SIGPIPE would have ended the process

    request.operation.consume();
    request.start(*ring, Opcode::recv, -1);
    const auto bad = wait_for_completions(*ring, 1);
    REQUIRE(bad.size() == 1);
    CHECK(bad[0].result == -EBADF);
}

TEST_CASE("UringRing accepts waiting and later clients, with accept_poll_first or without") {
    for (const bool poll_first : {true, false}) {
        CAPTURE(poll_first);
        RingFeatures features;
        features.accept_poll_first = poll_first;
        auto made = make_uring_ring({.entries = 64, .features = features});
        REQUIRE(made);
        Ring& ring = **made;
        const UniqueFd listener = testing::bound_socket(testing::loopback(), 16);
        const Endpoint address = testing::address_of(listener.get());
        Operation accept;
        const auto start = [&] {
            accept.configure(Opcode::accept, listener.get(), nullptr, 0);
            ring.start(accept);
        };
        // Each round starts from another state: none, one, or more clients are left in the backlog.
        std::size_t in_backlog = 0;
        std::vector<UniqueFd> clients;
        for (const std::size_t before : {0U, 1U, 3U, 0U, 0U, 0U, 2U, 0U, 0U, 1U, 0U}) {
            for (std::size_t i = 0; i < before; ++i)
                clients.push_back(testing::connect_to(address));
            in_backlog += before;
            start();
            if (in_backlog == 0) {
                CHECK(look(ring).empty());
                clients.push_back(testing::connect_to(address));
                ++in_backlog;
            }
            const auto completions = wait_for_completions(ring, 1);
            REQUIRE(completions.size() == 1);
            CHECK(completions[0].operation == &accept);
            const UniqueFd accepted(completions[0].result);
            CHECK(accepted);
            --in_backlog;
        }
        CHECK(in_backlog == 0);
        start();
        CHECK(look(ring).empty());
        ring.cancel(accept);
        CHECK(wait_for_completions(ring, 1).at(0).result == -ECANCELED);
    }
}

TEST_CASE("UringRing with accept_poll_first needs no descriptor until a client comes") {
    // Without it the kernel creates the socket first, so EMFILE comes at once. A later accept works.
    const auto answers = [](bool poll_first) {
        RingFeatures features;
        features.accept_poll_first = poll_first;
        auto ring = make_uring_ring({.entries = 8, .features = features});
        const UniqueFd listener = testing::bound_socket(testing::loopback(), 16);
        UniqueFd client = testing::connect_to(testing::address_of(listener.get()));
        Operation accept;
        accept.configure(Opcode::accept, listener.get(), nullptr, 0);
        (*ring)->start(accept);
        const UniqueFd first(wait_for_completions(**ring, 1).at(0).result);
        const rlimit few{.rlim_cur = 32, .rlim_max = 32};
        ::setrlimit(RLIMIT_NOFILE, &few);
        std::vector<UniqueFd> fill;
        for (int fd = ::eventfd(0, 0); fd >= 0; fd = ::eventfd(0, 0)) fill.emplace_back(fd);
        (*ring)->start(accept);
        const auto early = look(**ring);
        return early.empty() ? 0 : early[0].result == -EMFILE ? 1 : 2;
    };
    const auto without = testing::run_in_child([&] { return answers(false); });
    CHECK_MESSAGE(without.exit_status == 1, without.to_string());
    if (!kernel_polls_before_it_accepts()) RINGLET_SKIP("this kernel makes the socket first");
    const auto with = testing::run_in_child([&] { return answers(true); });
    CHECK_MESSAGE(with.succeeded(), with.to_string());
}

TEST_CASE("UringRing waits until its deadline when nothing comes") {
    const auto ring = make_ring();
    const auto [left, right] = make_pair();
    Request request;
    request.start(*ring, Opcode::recv, left.get());
    testing::waiting_for("a deadline");
    // A signal may end it early, but not every time.
    const auto deadline = Clock::now() + 20ms;
    int waits = 0;
    while (Clock::now() < deadline) {
        CHECK(wait_once(*ring, deadline).empty());
        ++waits;
    }
    CHECK(waits <= 2);

    // A past deadline only polls.
    CHECK(look(*ring).empty());
    CHECK(wait_once(*ring, Clock::now()).empty());
    REQUIRE(::write(right.get(), "x", 1) == 1);
    // Data ends a wait without a deadline.
    const auto completions = wait_once(*ring, Clock::time_point::max());
    CHECK(completions.size() == 1);
}

TEST_CASE("UringRing continues after signals that interrupt its wait") {
    const auto ring = make_ring();
    const auto [left, right] = make_pair();
    Request request;
    request.start(*ring, Opcode::recv, left.get());

    static volatile std::sig_atomic_t signal_count = 0;
    signal_count = 0;
    struct sigaction counting{};
    struct sigaction before{};
    counting.sa_handler = [](int) { signal_count = signal_count + 1; };
    REQUIRE(::sigaction(SIGUSR1, &counting, &before) == 0);
    sigevent event{};
    event.sigev_notify = SIGEV_SIGNAL;
    event.sigev_signo = SIGUSR1;
    timer_t timer{};
    REQUIRE(::timer_create(CLOCK_MONOTONIC, &event, &timer) == 0);
    const itimerspec every_millisecond{.it_interval = {.tv_sec = 0, .tv_nsec = 1'000'000},
                                       .it_value = {.tv_sec = 0, .tv_nsec = 1'000'000}};
    REQUIRE(::timer_settime(timer, 0, &every_millisecond, nullptr) == 0);

    testing::waiting_for("a wait that signals interrupt");
    int early_count = 0;
    while (signal_count < 10) early_count += static_cast<int>(look(*ring).size());
    while (signal_count < 20) {
        early_count += static_cast<int>(wait_once(*ring, Clock::now() + 100ms).size());
    }
    ::timer_delete(timer);
    ::sigaction(SIGUSR1, &before, nullptr);

    CHECK(early_count == 0);
    REQUIRE(::write(right.get(), "x", 1) == 1);
    const auto completions = wait_for_completions(*ring, 1);
    REQUIRE(completions.size() == 1);
    CHECK(completions[0].result == 1);
}

TEST_CASE("UringRing cancels only the operation it is given among many") {
    constexpr std::size_t pair_count = 50;
    const auto ring = make_ring();
    std::vector<Pair> pairs;
    std::vector<Request> requests(pair_count);
    for (auto& request : requests) {
        pairs.push_back(make_pair());
        request.start(*ring, Opcode::recv, pairs.back().left.get());
    }
    CHECK(look(*ring).empty());
    ring->cancel(requests[17].operation);
    const auto cancelled = wait_for_completions(*ring, 1);
    REQUIRE(cancelled.size() == 1);
    CHECK(cancelled[0].operation == &requests[17].operation);
    CHECK(cancelled[0].result == -ECANCELED);
    for (const auto& pair : pairs) REQUIRE(::write(pair.right.get(), "x", 1) == 1);
    const auto others = wait_for_completions(*ring, pair_count - 1);
    CHECK(others.size() == pair_count - 1);
    CHECK(count_by_operation(others).count(&requests[17].operation) == 0);
}

TEST_CASE("UringRing hands an operation over once if its cancellation races with its result") {
    constexpr std::size_t request_count = 100;
    const auto ring = make_ring();
    std::vector<Pair> pairs;
    std::vector<Request> requests(request_count);
    for (auto& request : requests) {
        pairs.push_back(make_pair());
        request.start(*ring, Opcode::recv, pairs.back().left.get());
    }
    CHECK(look(*ring).empty());
    for (std::size_t i = 0; i < request_count; ++i) {
        REQUIRE(::write(pairs[i].right.get(), "abc", 3) == 3);
        ring->cancel(requests[i].operation);
    }
    const auto completions = wait_for_completions(*ring, request_count);
    CHECK(completions.size() == request_count);
    CHECK(count_by_operation(completions).size() == request_count);
    for (const auto& [operation, result] : completions) {
        CHECK_MESSAGE((result == 3 || result == -ECANCELED), result);
        // No byte is lost: either the receive has it, or the socket still does.
        std::array<char, 4> left_over{};
        const auto count =
            ::recv(operation->fd(), left_over.data(), left_over.size(), MSG_DONTWAIT);
        CHECK(count == (result == 3 ? -1 : 3));
    }
}

TEST_CASE("UringRing takes more operations than its queue has entries") {
    constexpr std::size_t request_count = 100;
    const auto ring = make_ring(4);
    std::vector<Pair> pairs;
    std::vector<Request> requests(request_count);
    for (auto& request : requests) {
        pairs.push_back(make_pair());
        request.start(*ring, Opcode::recv, pairs.back().left.get());
    }
    CHECK(ring->stats().submissions == request_count);
    CHECK(ring->stats().full_queue_flushes == request_count / 4 - 1);
    CHECK(look(*ring).empty());
    for (std::size_t i = 0; i < request_count; ++i) {
        const char letter = static_cast<char>('a' + i % 26);
        REQUIRE(::write(pairs[i].right.get(), &letter, 1) == 1);
    }
    const auto completions = wait_for_completions(*ring, request_count);
    CHECK(completions.size() == request_count);
    CHECK(count_by_operation(completions).size() == request_count);
    for (std::size_t i = 0; i < request_count; ++i) {
        CHECK(requests[i].bytes[0] == static_cast<char>('a' + i % 26));
    }

    // Cancellations need entries too.
    for (auto& request : requests) {
        request.operation.state = Operation::State::idle;
        request.start(*ring, Opcode::recv, request.operation.fd());
    }
    for (auto& request : requests) ring->cancel(request.operation);
    const auto cancelled = wait_for_completions(*ring, request_count);
    CHECK(cancelled.size() == request_count);
    CHECK(count_by_operation(cancelled).size() == request_count);
}

TEST_CASE("UringRing hands a flood of completions over in several waits") {
    const auto ring = make_ring(1024);
    constexpr std::size_t limit = Ring::completions_per_wait_limit;
    CHECK(read_many(*ring, limit) == 1);
    CHECK(read_many(*ring, limit + 1) == 2);
    CHECK(read_many(*ring, 3 * limit - 1) == 3);
    CHECK(ring->stats().completions == 5 * limit);
}

TEST_CASE("UringRing loses nothing when its completion queue overflows") {
    // The completion queue has 8192 entries (uring_ring.cpp).
    const auto ring = make_ring(1024);
    read_many(*ring, 20'000);
    CHECK(ring->stats().completions == 20'000);
    // The ring still works.
    read_many(*ring, 10);
}

TEST_CASE("UringRing makes one system call per wait") {
    const auto ring = make_ring();
    const auto [left, right] = make_pair();
    for (std::uint64_t round = 1; round <= 5; ++round) {
        std::vector<Request> requests(10);
        REQUIRE(::write(right.get(), "0123456789", 10) == 10);
        for (auto& request : requests) request.start(*ring, Opcode::recv, left.get(), 1);
        CHECK(ring->stats().system_calls == round - 1);
        CHECK(wait_once(*ring, std::nullopt).size() == 10);
        CHECK(ring->stats().system_calls == round);
    }
    CHECK(ring->stats().submissions == 50);
    CHECK(ring->stats().completions == 50);
    CHECK(ring->stats().full_queue_flushes == 0);
}

TEST_CASE("UringRing accepts any requested size") {
    for (const unsigned entries : {0U, 1U, 3U, 32'768U, 1U << 20}) {
        CAPTURE(entries);
        const auto ring = make_ring(entries);
        read_many(*ring, 10);
    }
}

TEST_CASE("UringRing reports why it cannot be set up") {
    int disabled = 0;
    std::ifstream("/proc/sys/kernel/io_uring_disabled") >> disabled;
    if (disabled != 0) RINGLET_SKIP("io_uring is disabled on this machine");
    struct Row {
        int number;
        std::error_code expected;
    };
    const std::vector<Row> rows = {
        {EPERM, Errc::io_uring_forbidden},
        {ENOSYS, Errc::io_uring_missing},
        {EOPNOTSUPP, Errc::io_uring_unsupported},
        {ENOMEM, Errc::io_uring_locked_memory},
        {EINVAL, Errc::io_uring_too_old},
        {EMFILE, std::make_error_code(std::errc::too_many_files_open)},
    };
    for (const auto& row : rows) {
        CAPTURE(row.number);
        const auto outcome = testing::run_in_child([row] {
            testing::refuse_system_call(SYS_io_uring_setup, row.number);
            const auto ring = make_uring_ring({.entries = 8});
            if (ring) return 1;
            if (ring.error() != row.expected) return 2;
            // The loop returns the same error.
            const auto loop = EventLoop::create({.backend = Backend::io_uring});
            return !loop && loop.error() == row.expected ? 0 : 3;
        });
        CHECK_MESSAGE(outcome.succeeded(), outcome.to_string());
    }
}

TEST_CASE("UringRing that cannot be set up leaves no descriptor behind") {
    const auto outcome = testing::run_in_child([] {
        const auto first_free = [] { return UniqueFd(::eventfd(0, 0)).get(); };
        const int before = first_free();
        testing::refuse_system_call(SYS_io_uring_setup, EPERM);
        for (int i = 0; i < 3; ++i) {
            const auto loop = EventLoop::create({.backend = Backend::io_uring});
            if (loop) return 1;
        }
        return first_free() == before ? 0 : 2;
    });
    CHECK_MESSAGE(outcome.succeeded(), outcome.to_string());
}

TEST_CASE("UringRing finds an operation or a buffer that was freed too early") {
    if (!address_sanitizer_runs) RINGLET_SKIP("only ASan knows what was freed");
    testing::check_aborts("an operation was freed while the kernel had it", [] {
        const auto ring = make_ring();
        const auto [left, right] = make_pair();
        auto request = std::make_unique<Request>();
        request->start(*ring, Opcode::recv, left.get());
        look(*ring);
        request.reset();
        static_cast<void>(::write(right.get(), "x", 1) == 1);
        ring->wait(std::nullopt);
    });
    testing::check_aborts("a buffer was freed while the kernel had it", [] {
        const auto ring = make_ring();
        const auto [left, right] = make_pair();
        auto bytes = std::make_unique<std::array<std::byte, 100>>();
        Operation operation;
        operation.configure(Opcode::recv, left.get(), bytes->data(), bytes->size());
        ring->start(operation);
        look(*ring);
        bytes.reset();
        static_cast<void>(::write(right.get(), "x", 1) == 1);
        ring->wait(std::nullopt);
    });
}

// ---- receives that wait for long ----------------------------------------------------------------

namespace {

// Buffers of finished receives belong to the test, which must return them.
void drop_buffer(Operation& operation) {
    if (operation.takes_buffer() && operation.data != nullptr)
        Buffer::give_back(static_cast<std::byte*>(std::exchange(operation.data, nullptr)));
}

// A receive into a lent buffer, on the left end of a pair.
struct LongWait {
    explicit LongWait(bool own_buffers = true) {
        RingFeatures features;
        features.own_buffers = own_buffers;
        auto made = make_uring_ring({.entries = 64, .features = features});
        REQUIRE_MESSAGE(made, made.error().message());
        ring = std::move(*made);
        operation.configure(Opcode::recv_buffer, pair.left.get(), nullptr, Buffer::capacity_bytes);
        operation.state = Operation::State::in_flight;
        ring->start(operation);
        CHECK(look(*ring).empty());
    }
    ~LongWait() { drop_buffer(operation); }
    void park() {
        ring->park(operation);
        for (int i = 0; i < 3; ++i) CHECK(look(*ring).empty());
        CHECK(ring->stats().parked_receives == 1);
    }
    void send() { REQUIRE(::write(pair.right.get(), "hello", 5) == 5); }
    std::int32_t answer() { return wait_for_completions(*ring, 1).front().result; }

    Pair pair = make_pair();
    std::unique_ptr<Ring> ring;
    Operation operation;
};

} // namespace

TEST_CASE("UringRing parks a receive: it holds no buffer, and continues when data comes") {
    if (probe_io_uring()) RINGLET_SKIP("io_uring is refused here");
    for (const bool own_buffers : {true, false}) {
        CAPTURE(own_buffers);
        LongWait wait(own_buffers);
        wait.park();
        CHECK(wait.operation.data == nullptr);
        wait.send();
        CHECK(wait.answer() == 5);
        REQUIRE(wait.operation.data != nullptr);
        CHECK(std::memcmp(wait.operation.data, "hello", 5) == 0);
    }
}

TEST_CASE("UringRing parks a receive that finishes meanwhile: its result is kept") {
    if (probe_io_uring()) RINGLET_SKIP("io_uring is refused here");
    LongWait data;
    data.send();
    data.ring->park(data.operation); // in the same submission: either may come first
    CHECK(data.answer() == 5);

    LongWait end;
    end.park();
    end.pair.right.reset();
    CHECK(end.answer() == 0);
}

TEST_CASE("UringRing parks a receive once") {
    if (probe_io_uring()) RINGLET_SKIP("io_uring is refused here");
    LongWait wait;
    wait.park();
    wait.send();
    wait.ring->park(
        wait.operation); // the answer of its poll, a mask of events, is no number of bytes
    CHECK(wait.answer() == 5);
    CHECK(wait.ring->stats().parked_receives == 1);
}

TEST_CASE("UringRing hands a parked receive over once when it is cancelled") {
    if (probe_io_uring()) RINGLET_SKIP("io_uring is refused here");
    LongWait parked;
    parked.park();
    parked.operation.cancel_requested = true;
    parked.ring->cancel(parked.operation);
    CHECK(parked.answer() == -ECANCELED);

    LongWait at_once;
    at_once.ring->park(at_once.operation);
    at_once.operation.cancel_requested = true;
    at_once.ring->cancel(at_once.operation);
    CHECK(at_once.answer() == -ECANCELED);

    // The poll finishes before its cancellation is submitted: the data that it saw is for the next
    // receive.
    LongWait faster;
    faster.park();
    faster.operation.cancel_requested = true;
    faster.send();
    CHECK(faster.answer() == -ECANCELED);
    std::array<char, 8> bytes{};
    CHECK(::read(faster.pair.left.get(), bytes.data(), bytes.size()) == 5);
}

// ---- descriptors that other code made non-blocking ----------------------------------------------

namespace {

// Completions that come within some time, each consumed like in a loop.
std::vector<Completion> watch_for(Ring& ring, std::chrono::milliseconds time) {
    std::vector<Completion> all;
    const auto end = Clock::now() + time;
    while (Clock::now() < end) {
        for (const Completion& one : wait_once(ring, end)) {
            if (one.operation->finish(one.result)) {
                all.push_back(one);
            } else {
                ring.start(*one.operation);
            }
        }
    }
    return all;
}

void make_non_blocking(int fd) { REQUIRE(::fcntl(fd, F_SETFL, O_NONBLOCK) == 0); }

constexpr std::uint64_t few = 20; // submissions; a busy loop makes thousands

} // namespace

TEST_CASE("UringRing waits on a descriptor that other code made non-blocking, without spinning") {
    if (probe_io_uring()) RINGLET_SKIP("io_uring is refused here");
    for (const Opcode opcode : {Opcode::recv, Opcode::recv_buffer, Opcode::read_some,
                                Opcode::read_buffer, Opcode::send}) {
        CAPTURE(to_string(opcode));
        const auto ring = make_ring();
        const auto pair = make_pair();
        make_non_blocking(pair.left.get());
        const bool sends = opcode == Opcode::send;
        std::array<char, 4096> bytes{};
        while (sends && ::write(pair.left.get(), bytes.data(), bytes.size()) > 0) {
        }
        Request request;
        if (opcode == Opcode::recv_buffer || opcode == Opcode::read_buffer) {
            request.operation.configure(opcode, pair.left.get(), nullptr, 64);
            request.operation.state = Operation::State::in_flight;
            ring->start(request.operation);
        } else {
            request.start(*ring, opcode, pair.left.get());
        }
        CHECK(watch_for(*ring, 100ms).empty());
        CHECK(ring->stats().submissions < few);
        if (sends) {
            for (int i = 0;
                 i < 1000 && ::recv(pair.right.get(), bytes.data(), bytes.size(), MSG_DONTWAIT) > 0;
                 ++i) {
            }
        } else {
            REQUIRE(::write(pair.right.get(), "hello", 5) == 5);
        }
        const auto answers = watch_for(*ring, 100ms);
        REQUIRE(answers.size() == 1);
        CHECK(answers[0].result == (sends ? 64 : 5));
        drop_buffer(request.operation);
        CHECK(ring->stats().submissions < few);

        // Cancelled while waiting.
        if (sends) continue;
        Request second;
        second.operation.configure(opcode, pair.left.get(), nullptr, 64);
        if (!second.operation.takes_buffer()) second.configure(opcode, pair.left.get());
        second.operation.state = Operation::State::in_flight;
        ring->start(second.operation);
        CHECK(watch_for(*ring, 20ms).empty());
        second.operation.cancel_requested = true;
        ring->cancel(second.operation);
        const auto cancelled = watch_for(*ring, 50ms);
        REQUIRE(cancelled.size() == 1);
        CHECK(cancelled[0].result == -ECANCELED);
    }
}

TEST_CASE("UringRing and EpollRing share a listener: each accepts clients, and neither spins") {
    if (probe_io_uring()) RINGLET_SKIP("io_uring is refused here");
    for (const bool multishot : {false, true}) {
        CAPTURE(multishot);
        RingFeatures features;
        features.multishot_accept = multishot;
        auto made = make_uring_ring({.entries = 64, .features = features});
        REQUIRE(made);
        const auto uring = std::move(*made);
        auto made_epoll = make_epoll_ring({});
        REQUIRE(made_epoll);
        const auto epoll = std::move(*made_epoll);

        const UniqueFd listener = testing::bound_socket(testing::loopback(), 100);
        const UniqueFd same(::fcntl(listener.get(), F_DUPFD_CLOEXEC, 0));
        const Endpoint address = testing::address_of(listener.get());
        Request first;
        Request other;
        first.start(*uring, Opcode::accept, listener.get());
        CHECK(look(*uring).empty()); // in flight before the other
        other.start(*epoll, Opcode::accept, same.get());
        CHECK(look(*epoll).empty()); // makes the listener non-blocking for both

        std::vector<UniqueFd> clients;
        int of_uring = 0;
        int of_epoll = 0;
        const auto take = [&](Ring& ring, Request& request, int fd, int& count) {
            for (const Completion& one : watch_for(ring, 10ms)) {
                REQUIRE(one.result >= 0);
                UniqueFd(one.result).reset();
                ++count;
                request.start(ring, Opcode::accept, fd);
            }
        };
        for (int i = 0; i < 10; ++i) {
            clients.push_back(testing::connect_to(address));
            if (i % 2 == 0) take(*epoll, other, same.get(), of_epoll);
            take(*uring, first, listener.get(), of_uring);
            take(*epoll, other, same.get(), of_epoll);
        }
        CHECK(of_uring + of_epoll == 10);
        CHECK(of_uring > 0);
        const auto before = uring->stats().submissions;
        CHECK(before < 100);
        CHECK(watch_for(*uring, 100ms).empty());
        CHECK(uring->stats().submissions - before < few);
        first.operation.cancel_requested = other.operation.cancel_requested = true;
        uring->cancel(first.operation);
        epoll->cancel(other.operation);
        const auto cancelled = watch_for(*uring, 50ms);
        REQUIRE(cancelled.size() == 1);
        CHECK(cancelled[0].result == -ECANCELED);
        CHECK(watch_for(*epoll, 10ms).size() == 1);
    }
}

namespace {

// Replaces the kernel's result in a completion that has not been read yet. Current kernels wait on a non-blocking
// descriptor; older ones keep returning EAGAIN.
bool replace_answer(const Operation& operation, std::int32_t before, std::int32_t after) {
    std::ifstream maps("/proc/self/maps");
    bool replaced = false;
    for (std::string line; std::getline(maps, line);) {
        std::uintptr_t begin = 0;
        std::uintptr_t end = 0;
        if (line.find("[io_uring]") == line.npos ||
            std::sscanf(line.c_str(), "%lx-%lx", &begin, &end) != 2) {
            continue;
        }
        for (std::uintptr_t at = begin; at + sizeof(io_uring_cqe) <= end; at += 8) {
            auto* entry = reinterpret_cast<io_uring_cqe*>(at);
            const auto named = static_cast<std::uintptr_t>(entry->user_data) & ~std::uintptr_t{7};
            if (named != reinterpret_cast<std::uintptr_t>(&operation) || entry->res != before)
                continue;
            entry->res = after;
            replaced = true;
        }
    }
    return replaced;
}

// Waits for the kernel's result and replaces it by EAGAIN. Completions arrive when the thread leaves a system call.
void answer_again(const Operation& operation, std::int32_t before) {
    for (int i = 0; i < 10'000 && !replace_answer(operation, before, -EAGAIN); ++i)
        ::poll(nullptr, 0, 1);
}

} // namespace

TEST_CASE(
    "UringRing polls after EAGAIN: the operation is neither handed over nor retried at once") {
    if (probe_io_uring()) RINGLET_SKIP("io_uring is refused here");
    for (const bool cancels : {false, true}) {
        for (const Opcode opcode : {Opcode::recv, Opcode::recv_buffer, Opcode::read_some}) {
            CAPTURE(to_string(opcode));
            CAPTURE(cancels);
            RingFeatures features;
            features.defer_taskrun = false; // so that completions come by themselves
            features.provided_buffers = false;
            auto made = make_uring_ring({.entries = 64, .features = features});
            REQUIRE(made);
            Ring& ring = **made;
            const auto pair = make_pair();
            Request request;
            Operation& operation = request.configure(opcode, pair.left.get());
            if (operation.takes_buffer()) operation.data = nullptr;
            ring.start(operation);
            CHECK(look(ring).empty());
            REQUIRE(::write(pair.right.get(), "lost", 4) == 4);
            answer_again(operation, 4);
            CHECK(watch_for(ring, 20ms).empty());
            CHECK(ring.stats().completions == 0);
            operation.cancel_requested = cancels;
            if (cancels) ring.cancel(operation);
            if (!cancels) REQUIRE(::write(pair.right.get(), "hello", 5) == 5);
            const auto answers = watch_for(ring, 50ms);
            REQUIRE(answers.size() == 1);
            CHECK(answers[0].result == (cancels ? -ECANCELED : 5));
            drop_buffer(operation);
        }
    }
}

TEST_CASE("UringRing polls after an accept that returned EAGAIN") {
    if (probe_io_uring()) RINGLET_SKIP("io_uring is refused here");
    RingFeatures features;
    features.defer_taskrun = false;
    auto made = make_uring_ring({.entries = 64, .features = features});
    REQUIRE(made);
    Ring& ring = **made;
    const UniqueFd listener = testing::bound_socket(testing::loopback(), 100);
    const Endpoint address = testing::address_of(listener.get());
    for (const bool cancels : {false, true}) {
        CAPTURE(cancels);
        const auto before = ring.stats().completions;
        Request request;
        request.start(ring, Opcode::accept, listener.get());
        CHECK(look(ring).empty());
        const UniqueFd client = testing::connect_to(address);
        const UniqueFd probe(::dup(STDERR_FILENO)); // the number after the accepted one
        const int accepted = probe.get() - 1;
        answer_again(request.operation, accepted);
        ::close(accepted);
        CHECK(watch_for(ring, 20ms).empty());
        CHECK(ring.stats().completions == before);
        request.operation.cancel_requested = cancels;
        if (cancels) ring.cancel(request.operation);
        const UniqueFd second = cancels ? UniqueFd() : testing::connect_to(address);
        const auto answers = watch_for(ring, 50ms);
        REQUIRE(answers.size() == 1);
        CHECK((cancels ? answers[0].result == -ECANCELED : answers[0].result >= 0));
        if (answers[0].result >= 0) UniqueFd(answers[0].result).reset();
    }
}
