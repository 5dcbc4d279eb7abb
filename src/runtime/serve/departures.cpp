#include "serve/departures.hpp"

#include <ringlet/readiness.hpp>
#include <ringlet/sleep.hpp>

#include "net/socket.hpp"
#include "serve/current_server.hpp"

#include <algorithm>
#include <chrono>
#include <new>
#include <system_error>
#include <utility>

namespace ringlet {

// ---- the receive --------------------------------------------------------------------------------

RecvOrHandOverAwaiter::RecvOrHandOverAwaiter(StreamSocket& stream, std::string_view state)
    : RecvBufferAwaiter(stream.recv()), stream_(&stream), state_(state) {
    RINGLET_ASSERT(state.size() <= hand_over_state_limit,
                   "recv_or_hand_over with more than hand_over_state_limit bytes of state");
}

RecvOrHandOverAwaiter recv_or_hand_over(StreamSocket& stream, std::string_view state) {
    return {stream, state};
}

bool RecvOrHandOverAwaiter::suspend_at_rest(CancelScope& scope, std::coroutine_handle<> waiter) {
    const bool waits = suspend(scope, waiter);
    CurrentServer* server = waits ? current_server().get() : nullptr;
    if (server != nullptr) server->departures.add(*this);
    return waits;
}

void RecvOrHandOverAwaiter::forget() noexcept { departures_->remove(*this); }

Result<Buffer> RecvOrHandOverAwaiter::await_resume() {
    Departures* departures = departures_;
    // A receive that never waited has no scope, and was not asked to end.
    const bool may_leave = is_asked_ && !operation_->scope->is_cancelled();
    Socket* socket = socket_;
    auto received = RecvBufferAwaiter::await_resume();
    const bool leaves = may_leave && *stream_ &&
                        received.error() == std::errc::operation_canceled &&
                        departures->depart(*stream_, *socket, state_);
    if (departures != nullptr) forget();
    if (leaves) return Errc::handed_over;
    return received;
}

// ---- those that rest ----------------------------------------------------------------------------

void Departures::add(RecvOrHandOverAwaiter& receive) noexcept {
    receive.departures_ = this;
    resting_.push_back(receive);
    if (is_open()) somebody_rests_.set();
}

void Departures::remove(RecvOrHandOverAwaiter& receive) noexcept {
    if (receive.is_linked()) receive.unlink();
    receive.departures_ = nullptr;
    if (std::exchange(receive.is_asked_, false) && --asked_count_ == 0) all_answered_.set();
}

bool Departures::depart(StreamSocket& stream, Socket& socket, std::string_view state) noexcept {
    if (!is_open() || !socket.is_idle()) return false;
    try {
        leaving_.emplace_back();
        leaving_.back().along.state = state;
        if (const auto peer = socket.named_peer()) leaving_.back().along.peer = peer->to_string();
    } catch (const std::bad_alloc&) {
        if (!leaving_.empty() && !leaving_.back().stream) leaving_.pop_back();
        return false;
    }
    leaving_.back().stream = std::move(stream);
    leaving_.back().socket = &socket;
    return true;
}

void Departures::open(UniqueFd channel) {
    channel_ = std::move(channel);
    if (!resting_.empty()) somebody_rests_.set();
}

// ---- on their way -------------------------------------------------------------------------------

// A few at a time: connections that are not at rest are served in between.
void Departures::ask_some() {
    resting_.for_each_while([this](RecvOrHandOverAwaiter& receive) {
        if (asked_count_ == asked_at_once) return false;
        receive.unlink();
        Socket& socket = *receive.socket_;
        if (socket.keeps_to_its_ring()) return true; // it may rest again after the next message
        receive.is_asked_ = true;
        ++asked_count_;
        socket.cancel_receive();
        return true;
    });
    somebody_rests_.clear();
    if (!resting_.empty()) somebody_rests_.set();
}

Task<> Departures::send_all(Keep keep) {
    struct NobodyGoes { // closes the channel: later receives stay here
        UniqueFd& channel;
        ~NobodyGoes() { channel.reset(); }
    } const at_end{channel_};
    for (;;) {
        auto somebody = co_await somebody_rests_.wait();
        if (!somebody) co_return;
        all_answered_.clear();
        all_sent_.clear();
        ask_some();
        if (asked_count_ > 0) {
            auto answered = co_await all_answered_.wait();
            if (!answered) co_return;
        }
        auto sent = co_await send_those_that_leave();
        if (sent.error() == std::errc::operation_canceled) co_return;
        if (!sent) break;
        all_sent_.set();
    }
    channel_.reset();
    while (!leaving_.empty()) {
        Leaving one = std::move(leaving_.front());
        leaving_.pop_front();
        co_await keep(std::move(one.stream), std::move(one.along));
    }
    all_sent_.set();
}

namespace {

// A shortage that may pass soon.
bool is_shortage(std::error_code error) {
    constexpr std::errc known[] = {std::errc::too_many_files_open,
                                   std::errc::too_many_files_open_in_system,
                                   std::errc::not_enough_memory, std::errc::no_buffer_space};
    return std::ranges::any_of(known, [&](std::errc one) { return error == one; }) ||
           error.value() == ETOOMANYREFS;
}

} // namespace

Task<Result<void>> Departures::send_those_that_leave() {
    constexpr auto shortage_pause = std::chrono::milliseconds(10);
    while (!leaving_.empty()) {
        auto sent = send(leaving_.front());
        if (sent) {
            leaving_.pop_front();
            ++gone_count_;
        } else if (sent.error() == std::errc::resource_unavailable_try_again) {
            auto room = co_await writable(channel_.get());
            if (!room) co_return room;
        } else if (is_shortage(sent.error())) {
            auto slept = co_await sleep_for(shortage_pause);
            if (!slept) co_return slept;
        } else {
            co_return sent;
        }
    }
    co_return Result<void>();
}

Result<void> Departures::send(Leaving& one) const {
    return one.socket->ask(
        [&](Kernel&, int fd) { return send_connection(channel_.get(), fd, one.along); });
}

Task<Result<void>> Departures::wait_until_sent() {
    while (!leaving_.empty() || asked_count_ > 0) {
        all_sent_.clear();
        auto sent = co_await all_sent_.wait();
        if (!sent) co_return sent;
    }
    co_return Result<void>();
}

} // namespace ringlet
