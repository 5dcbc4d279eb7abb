#pragma once

// A network in memory: listeners, connections, and what is on its way between them. It answers
// operations at once or not yet, and does not know the ring: simulated_ring tries again when the
// network reports a change.

#include <ringlet/clock.hpp>
#include <ringlet/detail/operation.hpp>
#include <ringlet/endpoint.hpp>
#include <ringlet/result.hpp>
#include <ringlet/unique_fd.hpp>

#include "simulation/fault_plan.hpp"

#include <cstddef>
#include <cstdint>
#include <deque>
#include <map>
#include <memory>
#include <optional>
#include <queue>
#include <span>
#include <utility>
#include <vector>

#include <sys/socket.h>

namespace ringlet::testing {

/// Descriptors of the network begin here: above the highest that Linux ever gives (2^30 - 8, the
/// limit of fs.nr_open), so that they can never be those of real files.
inline constexpr int first_simulated_descriptor = 1 << 30;

[[nodiscard]] inline bool is_simulated(int fd) noexcept { return fd >= first_simulated_descriptor; }

class SimulatedNetwork {
public:
    explicit SimulatedNetwork(FaultPlan& plan, Clock::time_point now) : plan_(plan), now_(now) {}
    SimulatedNetwork(const SimulatedNetwork&) = delete;
    SimulatedNetwork& operator=(const SimulatedNetwork&) = delete;

    // ---- what does not wait: as the system calls of these names, with their errors

    Result<int> open(int family, int type = SOCK_STREAM);
    Result<std::pair<int, int>> open_pair();
    Result<std::pair<int, int>> open_pipe();
    Result<void> bind(int fd, const Endpoint& endpoint);
    Result<void> listen(int fd, int backlog);
    Result<std::size_t> accept_waiting(int listener, std::span<UniqueFd> taken);
    Result<void> shutdown_write(int fd);
    Result<void> choose_peer(int fd, const Endpoint& peer);
    Result<void> reset_on_close(int fd);
    Result<void> set_option(int fd, int level, int name, int value);
    Result<bool> is_idle(int fd) const;
    Result<std::size_t> send_now(int fd, std::span<const std::byte> bytes);
    Result<std::size_t> take_message(int fd, msghdr& message);
    Result<int> type(int fd) const;
    Result<Endpoint> local(int fd) const;
    Result<Endpoint> peer(int fd) const;
    void close(int fd);

    // ---- what waits

    /// Does what an operation asks for, if it can be done now.
    ///
    /// Returns   As `Operation::result`; nothing if it must wait. It is remembered until it is
    ///           answered or withdrawn.
    std::optional<std::int32_t> attempt(Operation& operation);
    void withdraw(const Operation& operation);

    /// Whether an operation waits on this descriptor.
    [[nodiscard]] bool is_waited_on(int fd) const;
    /// Those that wait, in the order of their descriptors.
    [[nodiscard]] std::vector<Operation*> waiting() const;

    /// The time of the next event, if there is one.
    [[nodiscard]] std::optional<Clock::time_point> next_event() const;
    /// Makes everything that is due happen.
    void advance(Clock::time_point now);
    /// Removes and returns the waiting operations that are worth another attempt.
    std::vector<Operation*> take_changed();

    // ---- what is there

    [[nodiscard]] std::size_t open_count() const noexcept { return open_count_; }
    /// Whether every byte that was sent has been received, was lost with its connection, or is on its
    /// way.
    [[nodiscard]] bool bytes_add_up() const noexcept {
        return sent_bytes_ == received_bytes_ + lost_bytes_ + held_bytes_;
    }

private:
    struct Arrival {
        Clock::time_point moment;
        std::vector<std::byte> bytes; // none: the end, or an error
        int error = 0;
        std::vector<UniqueFd> descriptors = {}; // that came with the first of them
    };
    struct Passed {
        std::uint64_t before_bytes; // that the receiver has received before it
        std::vector<UniqueFd> descriptors;
    };
    struct Socket;
    struct Datagram {
        std::weak_ptr<Socket> sender;
        Endpoint from;
        Endpoint to;
        std::vector<std::byte> bytes;
    };
    struct Socket : std::enable_shared_from_this<Socket> {
        enum class Kind : std::uint8_t { fresh, listening, connecting, connected, datagrams };
        Kind kind = Kind::fresh;
        int family = 0;
        Endpoint local;
        Endpoint peer_name;
        std::vector<Operation*> waiting;

        std::size_t backlog = 0;
        std::deque<std::shared_ptr<Socket>> pending;

        int knocks = 0;
        std::optional<std::int32_t> connected; // the answer to connect

        std::weak_ptr<Socket> peer;
        std::deque<Arrival> on_its_way;
        std::vector<std::byte> arrived;
        std::size_t taken_bytes = 0; // of what has arrived
        std::uint64_t received_bytes = 0;
        std::deque<Passed> passed;
        std::size_t room_bytes = 0; // for what is on its way and has arrived
        std::size_t held_bytes = 0;
        std::size_t unheard_bytes = 0; // sent after the peer had gone
        Clock::duration latency{};
        int error = 0;
        bool ended = false;  // nothing more will arrive
        bool closed = false; // nothing more can be sent
        bool resets = false; // when it is closed
        bool is_pipe = false;

        std::deque<Datagram> datagrams; // that have arrived
        bool has_peer = false;          // and receives only from it
        bool tells_destination = false;

        [[nodiscard]] bool is_over() const noexcept { return ended && closed; }
    };
    using SocketPtr = std::shared_ptr<Socket>;
    struct Event {
        Clock::time_point moment;
        std::uint64_t order;
        std::weak_ptr<Socket> socket;
        friend bool operator<(const Event& left, const Event& right) noexcept {
            return std::pair(right.moment, right.order) < std::pair(left.moment, left.order);
        }
    };

    static bool is_any_address(const Endpoint& endpoint);
    static Endpoint any_of(int family, std::uint16_t port = 0);
    static Endpoint seen_from_here(const Endpoint& endpoint);
    static Endpoint loopback_of(int family);
    [[nodiscard]] SocketPtr find(int fd) const noexcept;
    int give_descriptor(SocketPtr socket);
    [[nodiscard]] SocketPtr listener_at(const Endpoint& endpoint) const;
    [[nodiscard]] bool is_taken(const Endpoint& endpoint, bool by_datagrams) const;
    std::uint16_t free_port();
    void join(const SocketPtr& one, const SocketPtr& other);

    std::optional<std::int32_t> accept(Socket& socket);
    std::optional<std::int32_t> connect(Socket& socket, const Operation& operation);
    std::optional<std::int32_t> recv(Socket& socket, std::span<std::byte> memory,
                                     msghdr* message = nullptr);
    std::optional<std::int32_t> send(Socket& socket, std::span<const std::byte> bytes,
                                     const msghdr* message = nullptr);
    std::optional<std::int32_t> recv_message(Socket& socket, const Operation& operation);
    std::optional<std::int32_t> send_message(Socket& socket, const Operation& operation);
    Result<std::vector<UniqueFd>> duplicate(const msghdr& message);
    void hand_over(Socket& socket, msghdr* message);
    std::optional<std::int32_t> recv_datagram(Socket& socket, msghdr& message);
    std::optional<std::int32_t> send_datagrams(Socket& socket, const msghdr& message,
                                               std::span<const std::byte> bytes);
    [[nodiscard]] SocketPtr receiver_of(const Datagram& datagram) const;
    void name(Socket& socket);
    void post(Datagram datagram, Clock::duration latency);
    void deliver(Datagram datagram);
    std::optional<std::int32_t> poll(const Socket& socket, const Operation& operation) const;
    int exhausted_by_a_fault();
    int out_of_memory_by_a_fault();

    void knock(const SocketPtr& client);
    void send_to(const SocketPtr& socket, Arrival arrival, Clock::duration longer = {});
    void arrive(Socket& socket);
    void hang_up(Socket& socket);
    void break_off(Socket& socket, int error);
    void end_early(Socket& socket);
    SocketPtr cut(Socket& socket);
    void lose_what_is_on_its_way(Socket& socket);
    void lose_what_has_arrived(Socket& socket);
    void schedule(const SocketPtr& socket, Clock::time_point moment);
    void note_change(std::weak_ptr<Socket> socket) { changed_.push_back(std::move(socket)); }

    FaultPlan& plan_;
    Clock::time_point now_;
    std::vector<SocketPtr> descriptors_; // by number, from the first on
    std::size_t open_count_ = 0;
    std::priority_queue<Event> events_;
    std::multimap<Clock::time_point, Datagram> datagrams_; // on their way
    std::uint64_t event_count_ = 0;
    std::vector<std::weak_ptr<Socket>> changed_;
    std::uint16_t next_port_ = 32'768;
    bool has_begun_ = false; // nothing fails before the first operation, while a test is set up
    std::uint64_t sent_bytes_ = 0;
    std::uint64_t received_bytes_ = 0;
    std::uint64_t lost_bytes_ = 0;
    std::uint64_t held_bytes_ = 0;
};

} // namespace ringlet::testing
