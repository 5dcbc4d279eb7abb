#pragma once

// The connections of one worker that wait in `recv_or_hand_over`, and how they go to the next program.

#include <ringlet/event.hpp>
#include <ringlet/hand_over.hpp>
#include <ringlet/stream_socket.hpp>
#include <ringlet/task.hpp>
#include <ringlet/unique_fd.hpp>

#include "serve/connection_channel.hpp"

#include <cstddef>
#include <cstdint>
#include <functional>
#include <list>
#include <string_view>

namespace ringlet {

/// Thread    The worker's own.
class Departures {
public:
    /// Serves a connection here after all.
    using Keep = std::function<Task<>(StreamSocket stream, HandedOver along)>;

    void add(RecvOrHandOverAwaiter& receive) noexcept;
    /// The receive ends, for whatever reason.
    void remove(RecvOrHandOverAwaiter& receive) noexcept;
    /// Takes a connection whose receive was ended for this. False if memory has run out.
    bool depart(StreamSocket& stream, Socket& socket, std::string_view state) noexcept;

    /// From now on connections at rest leave through this channel.
    void open(UniqueFd channel);
    [[nodiscard]] bool is_open() const noexcept { return static_cast<bool>(channel_); }

    /// Sends them, until it is cancelled. If the next program takes no more, they stay.
    Task<> send_all(Keep keep);
    /// Waits until no connection is between the programs.
    Task<Result<void>> wait_until_sent();
    [[nodiscard]] std::size_t underway_count() const noexcept { return leaving_.size(); }
    [[nodiscard]] std::uint64_t gone_count() const noexcept { return gone_count_; }

    /// How many receives it ends in one turn of the loop.
    static constexpr std::size_t asked_at_once = 64;

private:
    struct Leaving {
        HandedOver along;
        StreamSocket stream;
        Socket* socket = nullptr; // of the stream
    };

    void ask_some();
    Task<Result<void>> send_those_that_leave();
    Result<void> send(Leaving& one) const;

    IntrusiveList<RecvOrHandOverAwaiter> resting_;
    std::size_t asked_count_ = 0;
    std::list<Leaving> leaving_;
    std::uint64_t gone_count_ = 0;
    UniqueFd channel_;
    Event somebody_rests_{"connections at rest"};
    Event all_answered_{"the receives that were asked back"};
    Event all_sent_{"connections that move"};
};

} // namespace ringlet
