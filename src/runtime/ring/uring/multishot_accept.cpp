#include "ring/uring/multishot_accept.hpp"

#include <ringlet/detail/assert.hpp>

#include <cerrno>
#include <utility>

namespace ringlet {

MultishotListener::Step MultishotListener::start(Operation& operation) {
    RINGLET_ASSERT(waiting_ == nullptr, "two accepts at once on one descriptor");
    if (unsupported_) return {.request = Request::single_shot, .operation = &operation};
    waiting_ = &operation;
    cancelled_ = false;
    if (UniqueFd fd = take_ahead()) return finish(fd.release());
    return armed_ ? Step() : arm();
}

UniqueFd MultishotListener::take_ahead() noexcept {
    if (ahead_.empty()) return {};
    UniqueFd fd = std::move(ahead_.front());
    ahead_.pop_front();
    return fd;
}

MultishotListener::Step MultishotListener::cancel(const Operation& operation) noexcept {
    if (waiting_ != &operation) return {};
    cancelled_ = true;
    // Even if it was taken back before: the kernel may have missed that (see answer).
    taken_back_ = true;
    return {.request = Request::take_back};
}

MultishotListener::Step MultishotListener::answer(std::int32_t result, bool more) {
    if (!more) armed_ = taken_back_ = false;
    if (result >= 0) {
        proven_ = true;
        if (waiting_ != nullptr) return finish(result);
        ahead_.emplace_back(result);
        // A cancellation misses a multishot that is about to be tried again (-ENOENT): once more.
        taken_back_ = false;
        return {};
    }
    if (waiting_ == nullptr) return {}; // the next accept arms it, and gets an error that lasts
    if (cancelled_) return finish(-ECANCELED);
    // It was taken back while no accept waited; now one does.
    if (result == -ECANCELED) return arm();
    // A kernel before 5.19, or no listening socket: then the operation itself gets this error.
    if (result == -EINVAL && !proven_) {
        unsupported_ = true;
        return {.request = Request::single_shot, .operation = std::exchange(waiting_, nullptr)};
    }
    return finish(result);
}

MultishotListener::Step MultishotListener::rest() noexcept {
    if (waiting_ != nullptr || !armed_ || taken_back_) return {};
    taken_back_ = true;
    return {.request = Request::take_back};
}

MultishotListener::Step MultishotListener::finish(std::int32_t result) noexcept {
    return {.operation = std::exchange(waiting_, nullptr), .result = result};
}

MultishotListener::Step MultishotListener::arm() noexcept {
    armed_ = true;
    return {.request = Request::arm};
}

} // namespace ringlet
