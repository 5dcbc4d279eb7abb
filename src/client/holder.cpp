#include "holder.hpp"

#include "exchange.hpp"

#include <algorithm>
#include <cstdio>
#include <span>
#include <string>
#include <string_view>

#include <fmt/format.h>
#include <sys/socket.h>
#include <sysexits.h>
#include <unistd.h>

using namespace ringlet;

namespace {

// How many connections of one process are opened, or echo, at the same time: over all processes fewer
// than a listener's backlog holds, since a client that finds it full tries again only after a second.
constexpr std::size_t busy_limit = 64;

// If another program uses a source, this many others are tried. They are far away, because that may be
// another holder, which uses the neighbours as well.
constexpr std::uint64_t source_tries = 8;
constexpr std::uint64_t source_leap = 256'000;

constexpr std::chrono::milliseconds tell_every{250};

class Holder {
public:
    Holder(EventLoop& loop, const HoldOptions& options, Share share, TcpStream parent)
        : loop_(loop), options_(options), share_(share), parent_(std::move(parent)),
          opened_(share.count), answered_(share.count) {}

    Task<> work();

private:
    Task<Result<void>> is_told();
    Task<Result<void>> tell_until(Latch& all);
    Task<> hold_one(std::uint64_t index);
    Task<Result<Connection>> open(std::uint64_t index);
    Task<Result<void>> echo(Connection& stream);
    Task<> end_silent_connections();
    void note_error(std::string_view where, std::error_code error, std::string_view cause = {});

    EventLoop& loop_;
    const HoldOptions& options_;
    Share share_;
    TcpStream parent_;
    HoldCount count_;
    Semaphore busy_{busy_limit};
    Latch opened_;   // as far as they can be opened
    Event again_;    // the last echo may begin
    Latch answered_; // the last echo has come, or will not
    bool stopped_ = false;
};

Task<> Holder::work() {
    Latch nothing(0);
    auto ready = co_await tell_until(nothing);
    if (!ready) co_return;

    auto told = co_await is_told();
    if (!told) co_return;
    loop_.spawn([this] { return end_silent_connections(); });
    for (std::uint64_t i = 0; i < share_.count; ++i) {
        loop_.spawn([this](std::uint64_t index) { return hold_one(index); }, share_.begin + i);
    }
    auto opened = co_await tell_until(opened_);
    if (!opened) co_return;

    told = co_await is_told();
    if (!told) co_return;
    again_.set();
    auto answered = co_await tell_until(answered_);
    if (!answered) co_return;
    told = co_await is_told(); // the end
}

Task<Result<void>> Holder::is_told() {
    std::array<std::byte, 1> any{};
    auto received = co_await parent_.recv_exactly(any);
    co_return received;
}

Task<Result<void>> Holder::tell_until(Latch& all) {
    auto wait = [&all]() -> Task<Result<void>> {
        auto opened = co_await all.wait();
        co_return opened;
    };
    for (;;) {
        auto waited = co_await with_timeout(tell_every, wait);
        if (!waited && waited.error() != std::errc::timed_out) co_return waited;
        count_.done = all.try_wait();
        const HoldCount now = count_; // it may change while it is sent
        auto sent = co_await parent_.send_all(std::as_bytes(std::span(&now, 1)));
        if (!sent || now.done) co_return sent;
    }
}

Task<> Holder::hold_one(std::uint64_t index) {
    auto turn = co_await busy_.acquire();
    if (!turn) co_return;
    Result<Connection> stream = std::errc::operation_canceled;
    // The first failure ends the opening: it is mostly a limit, which would also stop each of the
    // others, after a timeout.
    if (!stopped_) {
        stream = co_await open(index);
        if (!stream) stopped_ = true;
        ++(stream ? count_.held : count_.failed);
    }
    busy_.release();
    opened_.count_down();
    if (stream) {
        auto all_held = co_await again_.wait();
        if (!all_held) co_return;
        turn = co_await busy_.acquire();
        if (!turn) co_return;
        auto echoed = co_await echo(*stream);
        if (!echoed) note_error("the last echo", echoed.error());
        ++(echoed ? count_.last_echo_successes : count_.last_echo_errors);
        busy_.release();
    }
    answered_.count_down();
}

// Connects, and echoes for the first time.
Task<Result<Connection>> Holder::open(std::uint64_t index) {
    ConnectOptions connect_options;
    connect_options.limit_idle_time = true;
    Result<Connection> stream = std::errc::address_in_use;
    std::string cause;
    for (std::uint64_t i = 0; i < source_tries; ++i) {
        if (options_.sources) {
            const std::uint64_t source = index + i * std::max(options_.connections, source_leap);
            connect_options.from = options_.sources->at(source % options_.sources->capacity());
        }
        stream = co_await open_connection(options_.server, connect_options, options_.tls, &cause);
        if (stream || stream.error() != std::errc::address_in_use) break;
    }
    if (!stream) {
        note_error("connecting", stream.error(), cause);
        co_return stream;
    }
    // It ends by a reset: otherwise its source could not be used again for a minute.
    const linger at_once{.l_onoff = 1, .l_linger = 0};
    ::setsockopt(stream->native_handle(), SOL_SOCKET, SO_LINGER, &at_once, sizeof at_once);

    auto echoed = co_await echo(*stream);
    if (!echoed) {
        ++count_.first_echo_errors;
        note_error("the first echo", echoed.error());
        co_return echoed.error();
    }
    co_return stream;
}

Task<Result<void>> Holder::echo(Connection& stream) {
    std::vector<std::byte> reply(options_.message.size());
    auto right = co_await stream.exchange(options_.message, reply);
    if (!right) co_return right.error();
    if (!*right) co_return std::errc::bad_message;
    co_return Result<void>();
}

Task<> Holder::end_silent_connections() {
    for (;;) {
        auto slept = co_await sleep_for(options_.timeout / 4);
        if (!slept) co_return;
        loop_.cancel_idle(options_.timeout);
    }
}

void set_first_error(HoldCount& count, std::string_view text) {
    text.copy(count.first_error.data(), count.first_error.size() - 1);
}

void Holder::note_error(std::string_view where, std::error_code error, std::string_view cause) {
    if (count_.first_error[0] != '\0') return;
    count_.unserved = error == std::errc::timed_out;
    if (error.category() == std::generic_category()) count_.first_errno = error.value();
    const std::string what = error == std::errc::bad_message ? "the answer is not what was sent"
                             : !cause.empty()                ? std::string(cause)
                             : count_.unserved
                                 ? fmt::format("no answer within {} ms", options_.timeout.count())
                                 : error.message();
    set_first_error(count_, fmt::format("{}: {}", where, what));
}

} // namespace

void hold_share(const HoldOptions& options, Share share, UniqueFd parent) {
    LoopOptions loop_options = options.loop;
    if (share.begin > 0) loop_options.report = [](std::string_view) {}; // the first process reports
    auto loop = EventLoop::create(loop_options);
    if (!loop) {
        HoldCount count;
        count.exit_status = exit_status(loop);
        set_first_error(count, loop.error().message());
        static_cast<void>(::send(parent.get(), &count, sizeof count, MSG_NOSIGNAL));
        ::_exit(EX_OK);
    }
    Holder holder(*loop, options, share, TcpStream(std::move(parent)));
    auto ended = loop->run([&holder] { return holder.work(); });
    static_cast<void>(ended);
    ::_exit(EX_OK);
}
