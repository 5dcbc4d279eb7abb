#include <ringlet/mailbox.hpp>

namespace ringlet {

Mailbox::~Mailbox() {
    Letter* letter = take_all();
    while (letter != nullptr) {
        const std::unique_ptr<Letter> undelivered(letter);
        letter = letter->next_;
    }
}

bool Mailbox::put(std::unique_ptr<Letter> letter) noexcept {
    Letter* added = letter.release();
    Letter* newest = newest_.load(std::memory_order_relaxed);
    do {
        added->next_ = newest;
    } while (!newest_.compare_exchange_weak(newest, added, std::memory_order_release,
                                            std::memory_order_relaxed));
    return newest == nullptr;
}

Mailbox::Letter* Mailbox::take_all() noexcept {
    Letter* newest = newest_.exchange(nullptr, std::memory_order_acquire);
    Letter* oldest = nullptr;
    while (newest != nullptr) {
        Letter* before = newest->next_;
        newest->next_ = oldest;
        oldest = newest;
        newest = before;
    }
    return oldest;
}

void Mailbox::deliver_all() noexcept {
    Letter* letter = take_all();
    while (letter != nullptr) {
        const std::unique_ptr<Letter> delivered(letter);
        letter = letter->next_;
        delivered->deliver();
    }
}

} // namespace ringlet
