#include <ringlet/deadline.hpp>
#include <ringlet/error.hpp>
#include <ringlet/readiness.hpp>
#include <ringlet/sleep.hpp>
#include <ringlet/yield.hpp>

#include "net/socket.hpp"
#include "serve/connection_channel.hpp"
#include "serve/given_sockets.hpp"
#include "serve/server_state.hpp"

#include <algorithm>
#include <cerrno>
#include <new>
#include <string>

namespace ringlet {

namespace {

// Accept fails at once, again and again, until something is released.
bool is_exhaustion(std::error_code error) {
    return error == std::errc::too_many_files_open ||
           error == std::errc::too_many_files_open_in_system ||
           error == std::errc::no_buffer_space || error == std::errc::not_enough_memory;
}

// Only that client has gone (accept(2) passes on network errors).
bool is_of_one_client(std::error_code error) {
    constexpr std::errc known[] = {
        std::errc::connection_aborted, std::errc::interrupted,
        std::errc::network_down,       std::errc::network_unreachable,
        std::errc::host_unreachable,   std::errc::protocol_error,
        std::errc::no_protocol_option, std::errc::connection_reset,
        std::errc::timed_out,          std::errc::resource_unavailable_try_again};
    return std::ranges::any_of(known, [&](std::errc one) { return error == one; }) ||
           error.value() == EHOSTDOWN || error.value() == ENONET;
}

constexpr std::size_t lost_clients_limit = 64;

} // namespace

// The listening socket itself is at fault, and the next try would fail as well.
bool Server::State::is_fatal(std::error_code error) {
    return error == std::errc::bad_file_descriptor || error == std::errc::not_a_socket ||
           error == std::errc::invalid_argument || error == std::errc::operation_not_supported;
}

Task<> Server::State::accept_from_all(BoundedTaskGroup& connections) {
    auto each = [&](TaskGroup& group) -> Task<> {
        for (StreamListener& listener : listeners)
            group.spawn("accept", [&] { return accept_from(listener, connections); });
        co_return;
    };
    auto accepted = co_await with_task_group(each, GroupOptions{.name = "listeners"});
    static_cast<void>(accepted); // cut short by a stop, as it should be
}

// The gate is closed while the listeners are handed over.
Task<Result<void>> Server::State::wait_at_the_gate() {
    if (!gate_.is_set()) {
        if (--accepting_ == 0) all_at_gate_.set();
        auto open = co_await gate_.wait();
        ++accepting_;
        if (!open) co_return open;
    }
    if (predecessor) predecessor->say_serving();
    predecessor.reset();
    co_return Result<void>();
}

Task<Result<void>> Server::State::pause_accepting() {
    gate_.clear();
    all_at_gate_.clear();
    for (StreamListener& listener : listeners)
        if (listener) listener.cancel_accept();
    auto wait = [this]() -> Task<Result<void>> {
        if (accepting_ == 0) co_return Result<void>();
        auto waited = co_await all_at_gate_.wait();
        co_return waited;
    };
    auto paused = co_await with_timeout(hand_over_patience, wait);
    co_return paused;
}

void Server::State::leave_listeners(UniqueFd channel) {
    is_given_away_ = true;
    if (channel) here_.departures.open(std::move(channel));
    for (StreamListener& listener : listeners)
        if (listener) listener.give_away();
    stop_up_to(1);
}

Result<std::vector<OfferedListener>> Server::State::offer() const {
    std::vector<OfferedListener> offers;
    for (const StreamListener& listener : listeners) {
        if (!listener) return std::errc::operation_canceled; // it is already draining
        auto fd = listener.duplicate();
        if (!fd) return fd.error();
        const Endpoint local = listener.local();
        offers.push_back({.address = local.to_string(),
                          .fd = std::move(*fd),
                          .service = GivenSockets::service_of_this_process(local)});
    }
    return offers;
}

Task<> Server::State::accept_from(StreamListener& listener, BoundedTaskGroup& connections) {
    const bool is_unix = listener.local().is_unix();
    auto pause_time = accept_pause_first;
    std::size_t lost_in_a_row = 0;
    struct Accepting {
        std::size_t& count;
        ~Accepting() { --count; }
    } const until_the_end{++accepting_};
    for (;;) {
        // Clients beyond the limit wait in the backlog.
        auto room_here = co_await wait_for_room(connections);
        if (!room_here) co_return;
        auto open = co_await wait_at_the_gate();
        if (!open) co_return;
        auto stream = co_await listener.accept();
        if (stream) {
            pause_time = accept_pause_first;
            lost_in_a_row = 0;
            auto taken = co_await take(connections, std::move(*stream), is_unix);
            if (!taken) co_return;
            auto others = co_await take_waiting(connections, listener, is_unix);
            if (!others) co_return;
            continue;
        }
        const std::error_code error = stream.error();
        if (error == std::errc::operation_canceled && !gate_.is_set()) continue;
        if (error == std::errc::operation_canceled) co_return;
        if (is_fatal(error)) {
            accept_error_ = error;
            log.accepting_failed(error);
            if (on_accept_failure) on_accept_failure();
            stop_up_to(1);
            co_return;
        }
        // This many in a row do not each concern one client: a lasting error must not fill the turns.
        if (is_of_one_client(error) && ++lost_in_a_row < lost_clients_limit) continue;
        auto paused = co_await pause(error, pause_time);
        if (!paused) co_return;
    }
}

// Also used for unknown errors: an error that keeps coming must not fill the turns of the loop.
Task<Result<void>> Server::State::pause(std::error_code error, std::chrono::milliseconds& time) {
    ++report.accept_pauses;
    ++(is_exhaustion(error) ? pauses_.exhausted : pauses_.other);
    const std::string line =
        "accepting pauses: " + error.message() +
        (is_exhaustion(error) ? " (raise 'ulimit -n', or lower max_connections)"
                              : " (accept4; nothing that this server knows)");
    if (log.get() != nullptr) {
        if (log.pauses(line)) loop->spawn("pause", [this] { return watch_pause(); });
    } else if (error != paused_for_) {
        loop->report(line);
        paused_for_ = error;
    }
    auto slept = co_await sleep_for(time);
    time = std::min(2 * time, accept_pause_limit);
    co_return slept;
}

// Logs that accepting continues: a while after the last of several pauses in a row.
Task<> Server::State::watch_pause() {
    for (bool goes_on = false; !goes_on; goes_on = log.goes_on()) {
        auto slept = co_await sleep_for(WorkerLog::calm_time);
        if (!slept) co_return;
    }
}

void Server::State::note_room() noexcept {
    if (!log.has_told_of_limit() || connections_ == nullptr) return;
    log.has_room(std::min(options.max_connections - connections_->size(), room.free_places()));
}

Task<Result<void>> Server::State::wait_for_room(BoundedTaskGroup& connections) {
    if (connections.size() >= options.max_connections || !room.has_room()) ++pauses_.at_limit;
    for (;;) {
        if (connections.size() >= options.max_connections)
            log.waits_for_room(options.max_connections);
        auto here = co_await connections.wait_for_room();
        if (!here || room.has_room()) {
            note_room();
            co_return here;
        }
        log.waits_for_room(room.limit());
        freed_.clear();
        room.tell_when_free([this] { loop->post([this] { freed_.set(); }); });
        auto freed = co_await freed_.wait();
        if (!freed) co_return freed;
    }
}

// Accepts clients that already wait, in the same turn: otherwise a crowd that arrives at once would enter one per turn.
Task<Result<void>> Server::State::take_waiting(BoundedTaskGroup& connections,
                                               StreamListener& listener, bool is_unix) {
    const std::size_t free_here = options.max_connections - connections.size();
    auto waiting =
        listener.accept_waiting(std::min({accepts_per_turn - 1, free_here, room.free_places()}));
    if (!waiting) co_return Result<void>(); // the next accept reports it again
    for (StreamSocket& stream : *waiting) {
        auto taken = co_await take(connections, std::move(stream), is_unix);
        if (!taken) co_return taken;
    }
    co_return Result<void>();
}

// Gives a connection a place, here or on a worker with fewer, and starts its handler.
Task<Result<void>> Server::State::take(BoundedTaskGroup& connections, StreamSocket stream,
                                       bool is_unix) {
    last_accept_ = Clock::now();
    while (!room.try_enter()) { // another worker, or another listener, has taken the last
        auto free = co_await wait_for_room(connections);
        if (!free) co_return free;
    }
    if (const auto idler = room.idler_worker()) {
        auto moved = another_descriptor_of(stream);
        if (moved && room.give(*idler, std::move(*moved), is_unix, handed_over().get()))
            co_return Result<void>();
    }
    begin(connections, std::move(stream), is_unix, Place(*this));
    co_return Result<void>();
}

void Server::State::take_from_another(StreamSocket stream, bool is_unix,
                                      std::shared_ptr<const HandedOver> along) {
    given_.push_back({.stream = std::move(stream),
                      .is_unix = is_unix,
                      .at = Place(*this),
                      .along = std::move(along)});
    was_given_.set();
}

// Runs as a task of this server, so that handlers inherit `current_server`.
Task<> Server::State::take_given() {
    for (;;) {
        auto given = co_await was_given_.wait();
        if (!given) co_return;
        was_given_.clear();
        if (connections_ == nullptr) co_return; // late letters of other workers: the drain is over
        for (Given& one : std::exchange(given_, {})) {
            handed_over().set(std::move(one.along));
            begin(*connections_, std::move(one.stream), one.is_unix, std::move(one.at));
        }
    }
}

// Receives until no more connections can come: the previous program has ended, or this one drains.
Task<> Server::State::receive_arrivals() {
    constexpr int arrivals_per_turn = 32;
    struct NobodyReceives { // so that the previous program keeps the rest
        UniqueFd& channel;
        ~NobodyReceives() { channel.reset(); }
    } const at_end{arrivals};
    for (int left = arrivals_per_turn;;) {
        auto arrived = receive_connection(arrivals.get());
        if (arrived.error() == std::errc::resource_unavailable_try_again) {
            auto ready = co_await readable(arrivals.get());
            if (!ready) co_return;
            continue;
        }
        if (is_exhaustion(arrived.error())) {
            auto slept = co_await sleep_for(accept_pause_first);
            if (!slept) co_return;
            continue;
        }
        if (!arrived || !*arrived) co_return;
        if (connections_ == nullptr) co_return;
        MovedConnection moved = std::move(**arrived);
        StreamSocket stream(std::move(moved.fd));
        auto local = stream.local();
        const bool is_unix = local && local->is_unix();
        if (!(is_unix ? calls.local : calls.tcp)) {
            loop->report(
                "a connection that was handed over is closed: the handler does not take it");
            continue;
        }
        handed_over().set(std::make_shared<const HandedOver>(std::move(moved.along)));
        auto taken = co_await take(*connections_, std::move(stream), is_unix);
        if (!taken) co_return;
        if (--left > 0) continue;
        left = arrivals_per_turn;
        auto turned = co_await yield();
        if (!turned) co_return;
    }
}

void Server::State::begin(BoundedTaskGroup& connections, StreamSocket stream, bool is_unix,
                          Place at) {
    // It may be from the queue or from elsewhere: only an accept puts a connection into the table by itself.
    if (loop->direct_descriptor_limit() > 0 && stream.native_handle() >= 0)
        keep_in_table(loop->core(), stream);
    if (options.idle_timeout.count() > 0 || options.drain_spread.count() > 0)
        stream.limit_idle_time();
    if (const auto& along = handed_over().get(); along != nullptr && !along->peer.empty()) {
        if (auto peer = Endpoint::parse(along->peer)) stream.set_peer(*peer);
    }
    try {
        if (is_unix) {
            begin_as<&Calls::local>(connections, std::move(stream), std::move(at));
        } else {
            begin_as<&Calls::tcp>(connections, std::move(stream), std::move(at));
        }
    } catch (const std::exception& error) {
        loop->report("a connection could not be started and is closed: " +
                     std::string(error.what()));
    }
}

// The task is named after the handler and its place in the source.
template <Server::Call Server::Calls::* kind>
void Server::State::begin_as(BoundedTaskGroup& connections, StreamSocket stream, Place at) {
    if (!log.takes_connections())
        return begin_at<kind>(connections, std::move(stream), std::move(at));
    auto peer = stream.peer();
    LoggedPlace logged{std::move(at), log.connection(peer ? peer->to_string() : "gone already")};
    begin_at<kind>(connections, std::move(stream), std::move(logged));
}

template <Server::Call Server::Calls::* kind, class At>
void Server::State::begin_at(BoundedTaskGroup& connections, StreamSocket stream, At at) {
    const auto spawn = [&](auto handle) {
        auto begun = connections.try_spawn(std::move(handle), std::move(stream));
        if (begun)
            ++(handed_over().get() == nullptr ? report.accepted_count : report.taken_over_count);
    };
    if ((calls.*kind).silent != nullptr) {
        spawn([at = std::move(at)](StreamSocket taken) {
            State& state = at.state();
            return (state.calls.*kind).silent(state.handler, std::move(taken));
        });
    } else {
        spawn([at = std::move(at)](StreamSocket taken) {
            State& state = at.state();
            return (state.calls.*kind).telling(state.handler, std::move(taken));
        });
    }
}

void Server::State::task_failed(const TaskFailure& failure) noexcept {
    if (failure.error == Errc::handed_over) return;
    ++report.failed_count;
    const bool is_reported = failure.exception != nullptr || options.report_errors;
    if (!is_reported && log.get() == nullptr) return;
    try {
        if (is_reported) {
            loop->report(failure.to_string());
        } else {
            log.handler_failed(failure.to_string());
        }
    } catch (const std::bad_alloc&) { // it is counted
    }
}

} // namespace ringlet
