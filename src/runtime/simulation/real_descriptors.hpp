#pragma once

// Descriptors of the real kernel in a simulation: the loop's eventfd, signals, the pipes of a child. They are tried
// with the system calls of the epoll ring, in real time.

#include <ringlet/detail/operation.hpp>
#include <ringlet/statistics.hpp>

#include "ring/buffer_queue.hpp"
#include "ring/epoll/attempt.hpp"

#include <cerrno>
#include <cstdint>
#include <utility>
#include <vector>

#include <poll.h>

namespace ringlet::testing {

class RealDescriptors {
public:
    /// Network streams are not among them: they must be simulated.
    [[nodiscard]] static bool takes(const Operation& operation) noexcept {
        switch (operation.opcode) {
        case Opcode::read:
        case Opcode::read_some:
        case Opcode::read_buffer:
        case Opcode::write:
        case Opcode::poll:
        case Opcode::send_message:
        case Opcode::recv_message: return true;
        default: return false;
        }
    }

    void add(Operation& operation) { waiting_.push_back(&operation); }
    void withdraw(const Operation& operation) { std::erase(waiting_, &operation); }

    /// Passes to `answer` those that can be done, waiting up to `timeout_ms` for one. Returns false if there were none.
    template <class Answer>
    bool try_all(int timeout_ms, BufferQueue& buffers, RingStats& stats, Answer answer) {
        if (waiting_.empty()) return false;
        std::vector<pollfd> polled;
        for (const Operation* operation : waiting_) {
            const bool polls = operation->opcode == Opcode::poll;
            const int direction = operation->is_outbound() ? POLLOUT : POLLIN;
            const int events = polls ? static_cast<int>(operation->size_bytes) : direction;
            polled.push_back(
                {.fd = operation->fd(), .events = static_cast<short>(events), .revents = 0});
        }
        int ready = 0;
        do {
            ready = ::poll(polled.data(), polled.size(), timeout_ms);
        } while (ready < 0 && errno == EINTR);
        if (ready <= 0) return false;
        const auto tried = std::exchange(waiting_, {});
        for (std::size_t i = 0; i < tried.size(); ++i) {
            Operation& operation = *tried[i];
            const short events = polled[i].revents;
            if (events == 0 || (operation.takes_buffer() && !buffers.lend(operation))) {
                waiting_.push_back(&operation);
                continue;
            }
            const std::int32_t result =
                operation.opcode == Opcode::poll ? events : attempt(operation, stats);
            if (result == -EAGAIN) {
                waiting_.push_back(&operation);
            } else {
                answer(operation, result);
            }
        }
        return true;
    }

private:
    static std::int32_t attempt(Operation& operation, RingStats& stats) {
        std::size_t size = operation.rest_bytes();
        const auto count = attempt_without_waiting(operation, size, stats);
        const int error = count < 0 ? errno : 0;
        if (count <= 0 && operation.takes_buffer()) BufferQueue::take_back(operation);
        return error != 0 ? -error : static_cast<std::int32_t>(count);
    }

    std::vector<Operation*> waiting_;
};

} // namespace ringlet::testing
