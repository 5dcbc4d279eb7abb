#pragma once

// Completions that a ring has not handed over yet. Keeps the promise that one wait hands over a
// limited number, oldest first.

#include <ringlet/detail/ring.hpp>

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

namespace ringlet {

class FinishedList {
public:
    FinishedList() {
        waiting_.reserve(Ring::completions_per_wait_limit);
        given_.reserve(Ring::completions_per_wait_limit);
    }

    void add(Operation& operation, std::int32_t result) {
        waiting_.push_back({.operation = &operation, .result = result});
    }

    [[nodiscard]] bool empty() const noexcept { return waiting_.empty(); }
    [[nodiscard]] std::size_t size() const noexcept { return waiting_.size(); }

    /// What one wait hands over.
    ///
    /// Lifetime  The span is valid until the next call.
    std::span<const Completion> hand_over() {
        given_.clear();
        if (waiting_.size() <= Ring::completions_per_wait_limit) {
            given_.swap(waiting_);
        } else {
            const auto end = waiting_.begin() + Ring::completions_per_wait_limit;
            given_.assign(waiting_.begin(), end);
            waiting_.erase(waiting_.begin(), end);
        }
        return given_;
    }

private:
    std::vector<Completion> waiting_;
    std::vector<Completion> given_; // what the last wait handed over
};

} // namespace ringlet
