#pragma once

#include <ringlet/event.hpp>
#include <ringlet/join_handle.hpp>
#include <ringlet/server.hpp>
#include <ringlet/signal_stream.hpp>
#include <ringlet/task_group.hpp>

#include "serve/current_server.hpp"
#include "serve/hand_over.hpp"
#include "serve/room.hpp"
#include "serve/server_log.hpp"
#include "serve/service_manager.hpp"
#include "serve/services.hpp"
#include "serve/snapshot.hpp"

#include <chrono>
#include <functional>
#include <memory>
#include <optional>
#include <string_view>
#include <system_error>
#include <utility>
#include <vector>

namespace ringlet {

// A server goes through two phases: it accepts (accepting.cpp), and then it drains (stopping.cpp). A stop ends the
// phase that it is in.
class Server::State final : public FailureObserver {
public:
    State(ServeOptions chosen, std::vector<StreamListener> listening, RoomShare share);

    Task<Result<void>> serve();
    void stop() { stop_up_to(stops_ + 1); }
    void stop_up_to(int times);
    void dump(std::string_view title) const;
    void task_failed(const TaskFailure& failure) noexcept override;
    [[nodiscard]] WorkerSnapshot snapshot() const;
    Task<ServerState> describe() const;

    /// Stops accepting, with no accept left in flight; `resume` undoes it.
    Task<Result<void>> pause_accepting();
    void resume_accepting() { gate_.set(); }
    /// Drains; the listeners belong to the next program, and connections at rest go there through the channel.
    void leave_listeners(UniqueFd channel);
    Result<std::vector<OfferedListener>> offer() const;

    /// Begins to serve a connection that another worker has accepted, and counted for this one.
    void take_from_another(StreamSocket stream, bool is_unix,
                           std::shared_ptr<const HandedOver> along);

    ServeOptions options;
    Result<EventLoop> loop;
    std::vector<StreamListener> listeners;
    std::vector<Endpoint> addresses;
    ServeReport report;
    void* handler = nullptr;
    Calls calls;
    std::function<void()> on_accept_failure;
    std::optional<SignalStream> signals; // until run has ended
    RoomShare room;
    std::optional<TakeOver> predecessor; // until the first accept
    UniqueFd predecessor_leaving;        // see TakeOver::leaving
    UniqueFd arrivals; // where connections of the previous program arrive; one worker only
    Services services; // of a single worker
    WorkerLog log;

private:
    // A connection's place: it is given back when its task has ended.
    class Place {
    public:
        explicit Place(State& state) noexcept : state_(&state) {}
        Place(Place&& other) noexcept : state_(std::exchange(other.state_, nullptr)) {}
        Place(const Place&) = delete;
        Place& operator=(const Place&) = delete;
        ~Place() {
            if (state_ == nullptr) return;
            state_->room.leave();
            state_->note_room();
        }
        [[nodiscard]] State& state() const noexcept { return *state_; }

    private:
        State* state_;
    };
    struct LoggedPlace : Place {
        LoggedConnection logged;
    };

    struct Queued { // at a listener that closes
        StreamSocket stream;
        bool is_unix;
    };
    struct Given { // by another worker
        StreamSocket stream;
        bool is_unix;
        Place at;
        std::shared_ptr<const HandedOver> along;
    };

    // ---- accepting
    Task<> accept_from_all(BoundedTaskGroup& connections);
    Task<> accept_from(StreamListener& listener, BoundedTaskGroup& connections);
    Task<> watch_pause();
    void note_room() noexcept; // for the log
    Task<Result<void>> wait_for_room(BoundedTaskGroup& connections);
    Task<Result<void>> wait_at_the_gate();
    Task<> hand_over();
    Task<Result<void>> pause(std::error_code error, std::chrono::milliseconds& time);
    Task<Result<void>> take_waiting(BoundedTaskGroup& connections, StreamListener& listener,
                                    bool is_unix);
    Task<Result<void>> take(BoundedTaskGroup& connections, StreamSocket stream, bool is_unix);
    void begin(BoundedTaskGroup& connections, StreamSocket stream, bool is_unix, Place at);
    template <Call Calls::* kind>
    void begin_as(BoundedTaskGroup& connections, StreamSocket stream, Place at);
    template <Call Calls::* kind, class At>
    void begin_at(BoundedTaskGroup& connections, StreamSocket stream, At at);
    [[nodiscard]] static bool is_fatal(std::error_code error);
    Task<> take_given();
    Task<> receive_arrivals();

    // ---- stopping
    Task<Result<void>> serve_connections(TaskGroup& server, BoundedTaskGroup& connections);
    Task<> drain(BoundedTaskGroup& connections);
    Task<Result<void>> serve_the_queues(BoundedTaskGroup& connections);
    void empty_the_queue(StreamListener& listener, std::vector<Queued>& queue);
    Task<Result<void>> wait_until_all_have_gone(BoundedTaskGroup& connections);
    Task<> move_connections(BoundedTaskGroup& connections);
    Task<> end_resting_connections(BoundedTaskGroup& connections);
    Task<> end_idle_connections();
    Task<> watch_signals();

    // ---- informing
    Task<> inform(ServiceManager manager);

    std::error_code accept_error_;
    JoinHandle<void> phase_;                  // what a stop ends
    BoundedTaskGroup* connections_ = nullptr; // as long as there is a phase
    std::vector<Given> given_;
    Event was_given_{"connections of other workers"};
    JoinHandle<void> arriving_;
    Event gate_{"the gate of accepting"}; // set: open
    Event all_at_gate_{"all at the gate"};
    std::size_t accepting_ = 0; // tasks that are not at the gate
    bool is_given_away_ = false;
    bool is_followed_ = false; // for the service manager
    CurrentServer here_;
    Event freed_{"room for a connection"};
    Clock::time_point last_accept_{};
    std::error_code paused_for_; // as it was reported
    AcceptPauses pauses_;
    int stops_ = 0;
};

} // namespace ringlet
