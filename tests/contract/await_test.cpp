// Every await in a cancelled task reports the cancellation at once, and every time. So a loop that checks its results
// ends, and a loop that ignores them can neither starve other tasks nor keep its event loop from being left. Checked
// on both kernels and in the simulation. A house rule (every_awaiter_is_in_the_contract) finds an awaiter that is
// missing from the list.

#include "net.hpp"

#include <ringlet/testing/simulation.hpp>

#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

using namespace ringlet;
using namespace ringlet::testing;
using namespace std::chrono_literals;

namespace {

constexpr int most_rounds = 1'000'000; // beyond that it is a hang

// More than a socket takes while its peer does not read.
const std::vector<std::byte> more_than_fits(64 << 20);

/// Something to await for each case; none of it ever happens.
struct World {
    explicit World(EventLoop& on) : loop(&on), letters(on, 1, "letters") {
        auto bound = TcpListener::bind(Endpoint::parse("127.0.0.1:0").value());
        REQUIRE(bound);
        listener = std::move(*bound);
    }

    EventLoop* loop;
    Event event{"never"};
    Mutex held{"held"};
    MutexGuard holder = held.try_lock();
    Mutex with_condition{"with a condition"};
    CondVar condition{"never"};
    Semaphore none{0, "none"};
    Latch latch{1, "never"};
    Barrier barrier{2, "never"};
    Channel<int> empty{1, "empty"};
    Channel<int> full{0, "full"};
    ThreadChannel<int> letters;
    TcpListener listener;
    std::optional<TcpStream> stream; // its peer sends nothing
    std::optional<TcpStream> peer;
    std::byte memory[16] = {};
    std::pair<UnixStream, UnixStream> locals = std::move(*UnixStream::pair());
    UnixStream* local = &locals.first;
    DatagramSocket datagrams =
        std::move(*DatagramSocket::bind(Endpoint::parse("127.0.0.1:0").value()));
    Endpoint nobody = Endpoint::parse("127.0.0.1:9").value();
    std::pair<PipeReader, PipeWriter> pipe = std::move(*make_pipe());
    SignalStream signals = std::move(*SignalStream::create({SIGUSR2}));
    TaskGroup* group = nullptr;             // with a task that sleeps
    BoundedTaskGroup* full_group = nullptr; // the same
    JoinHandle<void> sleeper;
    int rounds = 0; // awaits that have returned
};

using Once = Task<Result<void>> (*)(World&);

Task<> sleep_long() {
    auto slept = co_await sleep_for(1h);
    static_cast<void>(slept);
}
Task<Result<void>> sleep_long_or_say_so() {
    auto slept = co_await sleep_for(1h);
    co_return slept;
}
Task<> nothing() { co_return; }

template <class T>
Result<void> without_value(const Result<T>& answer) {
    if (!answer) return answer.error();
    return {};
}

struct Case {
    const char* awaiter; ///< its class
    const char* what;
    Once once;
    bool tells = true; ///< whether its result reports the cancellation
};

const Case cases[] = {
    {"Sleep", "sleep_for",
     [](World&) -> Task<Result<void>> {
         auto answer = co_await sleep_for(1h);
         co_return answer;
     }},
    {"Yield", "yield",
     [](World&) -> Task<Result<void>> {
         auto answer = co_await yield();
         co_return answer;
     }},
    {"Event::Awaiter", "wait",
     [](World& world) -> Task<Result<void>> {
         auto answer = co_await world.event.wait();
         co_return answer;
     }},
    {"Mutex::Awaiter", "lock",
     [](World& world) -> Task<Result<void>> {
         auto answer = co_await world.held.lock();
         co_return without_value(answer);
     }},
    {"CondVar::Awaiter", "wait",
     [](World& world) -> Task<Result<void>> {
         MutexGuard guard = world.with_condition.try_lock();
         auto answer = co_await world.condition.wait(guard);
         CHECK(guard.mutex() == &world.with_condition); // come what may
         co_return answer;
     }},
    {"Semaphore::Awaiter", "acquire",
     [](World& world) -> Task<Result<void>> {
         auto answer = co_await world.none.acquire();
         co_return answer;
     }},
    {"Latch::Awaiter", "wait",
     [](World& world) -> Task<Result<void>> {
         auto answer = co_await world.latch.wait();
         co_return answer;
     }},
    {"Barrier::Awaiter", "arrive_and_wait",
     [](World& world) -> Task<Result<void>> {
         auto answer = co_await world.barrier.arrive_and_wait();
         co_return answer;
     }},
    {"Channel::SendAwaiter", "send",
     [](World& world) -> Task<Result<void>> {
         auto answer = co_await world.full.send(1);
         co_return answer;
     }},
    {"Channel::RecvAwaiter", "recv",
     [](World& world) -> Task<Result<void>> {
         auto answer = co_await world.empty.recv();
         co_return without_value(answer);
     }},
    {"ThreadChannel::Awaiter", "recv",
     [](World& world) -> Task<Result<void>> {
         auto answer = co_await world.letters.recv();
         co_return without_value(answer);
     }},
    {"BlockingAwaiter", "run_blocking",
     [](World&) -> Task<Result<void>> {
         auto job = [] {};
         auto answer = co_await run_blocking(job);
         co_return answer;
     }},
    {"JoinAwaiter", "join",
     [](World& world) -> Task<Result<void>> {
         auto answer = co_await world.sleeper.join();
         co_return answer;
     }},
    {"GroupIdleAwaiter", "wait_until_idle",
     [](World& world) -> Task<Result<void>> {
         auto answer = co_await world.group->wait_until_idle();
         co_return answer;
     }},
    {"StartAwaiter", "start",
     [](World& world) -> Task<Result<void>> {
         auto never_ready = [](Ready<>) -> Task<> { co_await sleep_long(); };
         auto answer = co_await world.group->start(never_ready);
         co_return answer;
     }},
    {"GroupSlotAwaiter", "spawn",
     [](World& world) -> Task<Result<void>> {
         auto answer = co_await world.full_group->spawn(sleep_long);
         co_return without_value(answer);
     }},
    {"GroupRoomAwaiter", "wait_for_room",
     [](World& world) -> Task<Result<void>> {
         auto answer = co_await world.full_group->wait_for_room();
         co_return answer;
     }},
    {"GroupAdmission", "with_task_group, whose body returns at once",
     [](World&) -> Task<Result<void>> {
         auto body = [](TaskGroup&) -> Task<> { co_return; };
         auto answer = co_await with_task_group(body);
         co_return answer;
     }},
    {"GroupAdmission", "with_task_group, whose body gives a value",
     [](World&) -> Task<Result<void>> {
         auto body = [](TaskGroup&) -> Task<int> { co_return 1; };
         auto answer = co_await with_task_group(body);
         co_return without_value(answer);
     }},
    {"GroupEndAwaiter", "with_task_group, of a task that sleeps",
     [](World&) -> Task<Result<void>> {
         auto body = [](TaskGroup& group) -> Task<> {
             group.spawn(sleep_long);
             co_return;
         };
         auto answer = co_await with_task_group(body);
         co_return answer;
     }},
    {"GroupEndAwaiter", "with_bounded_task_group, of tasks that end",
     [](World&) -> Task<Result<void>> {
         auto body = [](BoundedTaskGroup& group) -> Task<> {
             auto spawned = co_await group.spawn(nothing);
             static_cast<void>(spawned);
         };
         auto answer = co_await with_bounded_task_group(1, body);
         co_return answer;
     }},
    {"WhenAwaiter", "when_all of tasks",
     [](World&) -> Task<Result<void>> {
         auto [first, second] = co_await when_all(sleep_long_or_say_so(), nothing());
         co_return first;
     }},
    {"WhenAwaiter", "when_any of operations",
     [](World& world) -> Task<Result<void>> {
         auto ended = co_await when_any(sleep_for(1h), world.event.wait());
         co_return std::get<0>(ended.results);
     }},
    {"WhenAwaiter", "when_any of tasks that return nothing",
     [](World&) -> Task<Result<void>> {
         auto ended = co_await when_any(sleep_long(), sleep_long());
         co_return std::get<0>(ended.results);
     }},
    {"ScopedCall", "with_timeout of a task that waits",
     [](World&) -> Task<Result<void>> {
         auto answer = co_await with_timeout(1h, sleep_long);
         co_return answer;
     }},
    {"ScopedCall", "with_timeout of a task that does not",
     [](World&) -> Task<Result<void>> {
         auto answer = co_await with_timeout(1h, nothing);
         co_return answer;
     }},
    {"ScopedCall", "shield",
     [](World&) -> Task<Result<void>> {
         auto answer = co_await shield(nothing);
         co_return answer;
     },
     false},
    {"SocketAwaiter", "recv",
     [](World& world) -> Task<Result<void>> {
         auto answer = co_await world.stream->recv();
         co_return without_value(answer);
     }},
    {"RecvOrHandOverAwaiter", "recv_or_hand_over",
     [](World& world) -> Task<Result<void>> {
         auto answer = co_await recv_or_hand_over(*world.stream);
         co_return without_value(answer);
     }},
    {"SocketAwaiter", "recv into memory",
     [](World& world) -> Task<Result<void>> {
         auto answer = co_await world.stream->recv(std::span(world.memory));
         co_return without_value(answer);
     }},
    {"SocketAwaiter", "recv_exactly",
     [](World& world) -> Task<Result<void>> {
         auto answer = co_await world.stream->recv_exactly(std::span(world.memory));
         co_return answer;
     }},
    {"SocketAwaiter", "recv_exactly of nothing",
     [](World& world) -> Task<Result<void>> {
         auto answer = co_await world.stream->recv_exactly({});
         co_return answer;
     }},
    {"SocketAwaiter", "send_all",
     [](World& world) -> Task<Result<void>> {
         auto answer = co_await world.stream->send_all(more_than_fits);
         co_return answer;
     }},
    {"SocketAwaiter", "send_all of nothing",
     [](World& world) -> Task<Result<void>> {
         auto answer = co_await world.stream->send_all(std::span<const std::byte>());
         co_return answer;
     }},
    {"SocketAwaiter", "accept",
     [](World& world) -> Task<Result<void>> {
         auto answer = co_await world.listener.accept();
         co_return without_value(answer);
     }},
    {"ConnectAwaiter", "connect, and the kernel refuses",
     [](World&) -> Task<Result<void>> {
         auto answer = co_await TcpStream::connect(Endpoint::parse("127.0.0.1:1").value());
         // As a client that keeps retrying.
         if (answer || answer.error() == std::errc::operation_canceled)
             co_return without_value(answer);
         co_return Result<void>();
     }},
    {"ConnectAwaiter", "connect, and there is no socket",
     [](World&) -> Task<Result<void>> {
         const ConnectOptions from_nowhere{.from = Endpoint::parse("203.0.113.7:1").value()};
         auto answer =
             co_await TcpStream::connect(Endpoint::parse("127.0.0.1:1").value(), from_nowhere);
         if (answer || answer.error() == std::errc::operation_canceled)
             co_return without_value(answer);
         co_return Result<void>();
     }},
    {"SendTogetherAwaiter", "send_all of pieces that are written out",
     [](World& world) -> Task<Result<void>> {
         auto answer = co_await world.stream->send_all("head", more_than_fits);
         co_return answer;
     }},
    {"SendPiecesAwaiter", "send_all of a list of pieces",
     [](World& world) -> Task<Result<void>> {
         const std::vector<Piece> pieces(2, Piece(more_than_fits));
         auto answer = co_await world.stream->send_all(std::span(pieces));
         co_return answer;
     }},
    {"UnixConnectAwaiter", "connect to a Unix socket, and there is none",
     [](World&) -> Task<Result<void>> {
         auto answer = co_await UnixStream::connect(Endpoint::parse("unix:@nobody").value());
         if (answer || answer.error() == std::errc::operation_canceled)
             co_return without_value(answer);
         co_return Result<void>();
     }},
    {"RecvDescriptorsAwaiter", "recv_descriptors",
     [](World& world) -> Task<Result<void>> {
         auto answer = co_await world.local->recv_descriptors(std::span(world.memory));
         co_return without_value(answer);
     }},
    {"SendDescriptorsAwaiter", "send_descriptors",
     [](World& world) -> Task<Result<void>> {
         auto answer = co_await world.local->send_descriptors(more_than_fits, {});
         co_return answer;
     }},
    {"RecvDatagramAwaiter", "recv_from",
     [](World& world) -> Task<Result<void>> {
         auto answer = co_await world.datagrams.recv_from(std::span(world.memory));
         co_return without_value(answer);
     }},
    {"SendDatagramAwaiter", "send_to, which is always possible",
     [](World& world) -> Task<Result<void>> {
         auto answer = co_await world.datagrams.send_to("to nobody", world.nobody);
         co_return answer;
     }},
    {"ReadinessAwaiter", "readable",
     [](World& world) -> Task<Result<void>> {
         auto answer = co_await readable(world.pipe.first.native_handle());
         co_return answer;
     }},
    {"SocketAwaiter", "recv of a pipe",
     [](World& world) -> Task<Result<void>> {
         auto answer = co_await world.pipe.first.recv();
         co_return without_value(answer);
     }},
    {"SocketAwaiter", "send_all of a pipe",
     [](World& world) -> Task<Result<void>> {
         auto answer = co_await world.pipe.second.send_all(more_than_fits);
         co_return answer;
     }},
    {"AnswerOrTask", "read_line",
     [](World& world) -> Task<Result<void>> {
         Reader reader(*world.stream);
         auto answer = co_await reader.read_line();
         co_return without_value(answer);
     }},
    {"AnswerOrTask", "read_line of a line that is there",
     [](World& world) -> Task<Result<void>> {
         Reader reader(*world.stream);
         reader.unread("a line\n");
         auto answer = co_await reader.read_line();
         co_return without_value(answer);
     }},
    {"WriteAwaiter", "write and flush",
     [](World& world) -> Task<Result<void>> {
         Writer writer(*world.stream);
         const std::span<const std::byte> some(more_than_fits.data(), 50'000);
         auto answer = co_await writer.write(some);
         if (answer) answer = co_await writer.flush();
         co_return answer;
     }},
    {"TransferAt", "read of a file",
     [](World& world) -> Task<Result<void>> {
         auto file = co_await File::open("/proc/self/status");
         if (!file) co_return file.error();
         auto answer = co_await file->read_at(std::span(world.memory), 0);
         co_return without_value(answer);
     }},
    {"SignalStream::Awaiter", "next",
     [](World& world) -> Task<Result<void>> {
         auto answer = co_await world.signals.next();
         co_return without_value(answer);
     }},
    {"BlockingAwaiter", "run_blocking_to_end",
     [](World&) -> Task<Result<void>> {
         auto job = [] {};
         auto answer = co_await run_blocking_to_end(job);
         co_return answer;
     }},
    {"ScopedCall", "with_timeout of an operation",
     [](World& world) -> Task<Result<void>> {
         auto answer = co_await with_timeout(1h, world.stream->recv());
         co_return without_value(answer);
     }},
    {"CloseAwaiter", "close of nothing",
     [](World&) -> Task<Result<void>> {
         TcpStream none;
         auto answer = co_await none.close();
         co_return answer;
     },
     false},
    {"CloseAwaiter", "close of an idle stream",
     [](World&) -> Task<Result<void>> {
         TcpListener idle = TcpListener::bind(Endpoint::parse("127.0.0.1:0").value()).value();
         auto answer = co_await idle.close();
         co_return answer;
     },
     false},
};

Task<> obedient(World* world, Once once) {
    while (++world->rounds < most_rounds) {
        auto answer = co_await once(*world);
        if (!answer) co_return;
    }
}

Task<> stubborn(World* world, Once once) {
    while (++world->rounds < most_rounds) {
        auto answer = co_await once(*world);
        static_cast<void>(answer);
    }
}

enum class Moment { before_it_begins, while_it_waits };

// Runs `loop_of_awaits`, cancels it, and gives others some turns. Returns what went wrong.
Task<std::string> cancel_one(EventLoop& loop, const Case& tried,
                             Task<> (*loop_of_awaits)(World*, Once), Moment moment) {
    auto world = std::make_unique<World>(loop);
    const Endpoint at = world->listener.local();
    std::string wrong;
    auto body = [&](TaskGroup& group) -> Task<> {
        auto accept = [&]() -> Task<> {
            auto accepted = co_await world->listener.accept();
            if (accepted) world->peer = std::move(*accepted);
        };
        auto accepting = group.spawn(accept);
        auto connected = co_await TcpStream::connect(at);
        auto accepted = co_await accepting.join();
        if (!connected || !accepted || !world->peer) {
            wrong = "no connection";
            co_return;
        }
        world->stream = std::move(*connected);
        world->group = &group;
        world->sleeper = group.spawn(sleep_long);
        auto looping = group.spawn(tried.what, loop_of_awaits, world.get(), tried.once);
        for (int turn = 0; turn < 20 && moment == Moment::while_it_waits; ++turn) {
            auto turned = co_await yield();
            static_cast<void>(turned);
        }
        looping.cancel();
        // Every other task gets its turns, whatever this one does.
        for (int turn = 0; turn < 20; ++turn) {
            auto turned = co_await yield();
            static_cast<void>(turned);
        }
        if (loop_of_awaits == obedient && tried.tells) {
            auto end_of_loop = [&]() -> Task<> {
                auto joined = co_await looping.join();
                static_cast<void>(joined);
            };
            auto ended = co_await with_timeout(10s, end_of_loop);
            if (!ended) wrong = "does not end: " + ended.error().message();
            group.cancel();
        } else {
            EventLoop& here = co_await current_loop();
            here.stop(); // ends it where it is suspended
        }
    };
    auto around = [&](BoundedTaskGroup& full_group) -> Task<> {
        world->full_group = &full_group;
        auto first = co_await full_group.spawn(sleep_long);
        static_cast<void>(first);
        auto done = co_await with_task_group(body);
        static_cast<void>(done);
        full_group.cancel();
    };
    auto done = co_await with_bounded_task_group(1, around);
    static_cast<void>(done);
    if (world->rounds >= most_rounds) wrong = "goes on for ever";
    co_return wrong;
}

// Leaves the loop while a task ignores its cancellation: `run` returns, and the loop can be used again.
void try_all(const std::function<void(const Case&, Task<> (*)(World*, Once), Moment)>& run) {
    for (const Case& tried : cases) {
        const std::string name = tried.awaiter + std::string(": ") + tried.what;
        CAPTURE(name);
        waiting_for(tried.what);
        for (const auto loop_of_awaits : {obedient, stubborn}) {
            for (const auto moment : {Moment::before_it_begins, Moment::while_it_waits}) {
                CAPTURE(loop_of_awaits == obedient);
                CAPTURE(moment == Moment::while_it_waits);
                run(tried, loop_of_awaits, moment);
            }
        }
    }
}

void on_a_kernel(Backend backend) {
    LoopOptions options{.backend = backend};
    options.report = [](std::string_view) {};
    if (!EventLoop::create(options)) RINGLET_SKIP("this kernel is not available");
    try_all([&](const Case& tried, Task<> (*loop_of_awaits)(World*, Once), Moment moment) {
        auto loop = EventLoop::create(options);
        REQUIRE(loop);
        const auto went =
            loop->run(cancel_one, std::ref(*loop), std::cref(tried), loop_of_awaits, moment);
        if (went) CHECK(*went == "");
        check_nothing_left(*loop);
        auto again = loop->run([]() -> Task<int> {
            auto slept = co_await sleep_for(1ms);
            co_return slept ? 1 : 0;
        });
        CHECK(again.value() == 1);
        check_nothing_left(*loop);
    });
}

} // namespace

TEST_CASE("every await reports a cancellation, and a task that ignores it cannot hold the loop: "
          "io_uring") {
    on_a_kernel(Backend::io_uring);
}

TEST_CASE(
    "every await reports a cancellation, and a task that ignores it cannot hold the loop: epoll") {
    on_a_kernel(Backend::epoll);
}

TEST_CASE("every await reports a cancellation, and a task that ignores it cannot hold the loop: "
          "simulation") {
    try_all([](const Case& tried, Task<> (*loop_of_awaits)(World*, Once), Moment moment) {
        const auto report =
            simulate({.seeds = seeds(3), .faults = FaultSet::none()}, [&](Simulation& world) {
                LoopOptions options;
                options.report = [](std::string_view) {};
                auto loop = EventLoop::create(options);
                const auto went = loop->run(cancel_one, std::ref(*loop), std::cref(tried),
                                            loop_of_awaits, moment);
                if (went) world.check(went->empty(), *went);
            });
        CHECK_MESSAGE(report, report.to_string());
    });
}
