#pragma once

#include <ringlet/detail/config.hpp>
#include <ringlet/detail/letter_stack.hpp>

#include <memory>
#include <utility>

namespace RINGLET_EXPORT ringlet {

/// Where other threads leave functions for the loop's thread to call.
///
/// Thread    `put` from any; the rest from the loop's own.
class Mailbox {
public:
    class Letter {
    public:
        virtual ~Letter() = default;
        virtual void deliver() = 0;

        [[nodiscard]] Letter* next() const noexcept { return next_; }
        void set_next(Letter* letter) noexcept { next_ = letter; }

    private:
        Letter* next_ = nullptr;
    };

    Mailbox() = default;
    Mailbox(const Mailbox&) = delete;
    Mailbox& operator=(const Mailbox&) = delete;
    ~Mailbox();

    /// Leaves a letter. Returns true when the box was empty: the receiver must be woken.
    [[nodiscard]] bool put(std::unique_ptr<Letter> letter) noexcept;

    /// Removes all letters and delivers them, oldest first. A letter that throws ends the program:
    /// there is no caller to catch it.
    void deliver_all() noexcept;

    /// Thread    The loop's own: letters may arrive at any moment, but none disappears.
    [[nodiscard]] bool empty() const noexcept { return letters_.empty(); }

private:
    LetterStack<Letter> letters_;
};

/// A letter that calls a function.
template <class Fn>
class FunctionLetter final : public Mailbox::Letter {
public:
    explicit FunctionLetter(Fn fn) : fn_(std::move(fn)) {}
    void deliver() override { fn_(); }

private:
    Fn fn_;
};

} // namespace ringlet
