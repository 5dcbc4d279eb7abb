#include "ring/uring/multishot_receive.hpp"

#include <ringlet/detail/assert.hpp>

#include "base/buffer_pool.hpp"

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <utility>

namespace ringlet {

MultishotReceiver::~MultishotReceiver() {
    for (const Piece& piece : ahead_) BufferPool::give_back(piece.block);
}

MultishotReceiver::Step MultishotReceiver::start(Operation& operation) {
    RINGLET_ASSERT(waiting_ == nullptr, "two receives at once on one descriptor");
    waiting_ = &operation;
    if (!ahead_.empty() || end_) return deliver();
    return ask();
}

MultishotReceiver::Step MultishotReceiver::cancel() noexcept {
    return {.operation = std::exchange(waiting_, nullptr), .result = -ECANCELED};
}

MultishotReceiver::Step MultishotReceiver::answer(std::int32_t result, bool more,
                                                  std::byte* block) {
    if (!more) armed_ = taken_back_ = false;
    if (result > 0) {
        proven_ = true;
        ahead_.push_back({.block = block, .size_bytes = static_cast<std::size_t>(result)});
    } else if (result == -EINVAL && !proven_) {
        unsupported_ = true; // a kernel before 6.0
    } else if (result == -ENOBUFS) {
        if (waiting_ != nullptr && waiting_->opcode == Opcode::recv_buffer) {
            return about(Request::wait_for_buffer);
        }
    } else if (result != -ECANCELED) {
        end_ = result;
    }
    if (waiting_ != nullptr) return !ahead_.empty() || end_ ? deliver() : ask();
    if (!armed_ || taken_back_ || ahead_.size() < ahead_limit) return {};
    taken_back_ = true;
    return {.request = Request::take_back};
}

// Called when a receive waits and there is nothing for it yet.
MultishotReceiver::Step MultishotReceiver::ask() {
    const bool is_lent = waiting_->opcode == Opcode::recv_buffer;
    if (armed_) {
        // The caller's own memory needs a request of its own, and two requests at once would be reordered.
        if (is_lent || std::exchange(taken_back_, true)) return {};
        return {.request = Request::take_back};
    }
    if (!is_lent || unsupported_) return about(Request::single_shot);
    armed_ = true;
    return {.request = Request::arm};
}

MultishotReceiver::Step MultishotReceiver::about(Request request) noexcept {
    return {.request = request, .operation = std::exchange(waiting_, nullptr)};
}

MultishotReceiver::Step MultishotReceiver::deliver() {
    Operation& operation = *std::exchange(waiting_, nullptr);
    if (!ahead_.empty()) return {.operation = &operation, .result = hand_out(operation)};
    return {.operation = &operation, .result = *std::exchange(end_, std::nullopt)};
}

// Hands out the first piece, or as much of it as fits.
std::int32_t MultishotReceiver::hand_out(Operation& operation) {
    Piece& first = ahead_.front();
    std::size_t size_bytes = first.size_bytes;
    if (operation.opcode == Opcode::recv_buffer) {
        operation.data = first.block;
    } else {
        size_bytes = std::min(size_bytes, operation.rest_bytes());
        std::memcpy(operation.rest(), first.block, size_bytes);
        first.size_bytes -= size_bytes;
        std::memmove(first.block, first.block + size_bytes, first.size_bytes);
        if (first.size_bytes > 0) return static_cast<std::int32_t>(size_bytes);
        BufferPool::give_back(first.block);
    }
    ahead_.erase(ahead_.begin());
    return static_cast<std::int32_t>(size_bytes);
}

} // namespace ringlet
