#include <ringlet/detail/mailbox.hpp>

namespace ringlet {

Mailbox::~Mailbox() {
    Letter* letter = letters_.take_all();
    while (letter != nullptr) {
        const std::unique_ptr<Letter> undelivered(letter);
        letter = letter->next();
    }
}

bool Mailbox::put(std::unique_ptr<Letter> letter) noexcept {
    return letters_.push(*letter.release());
}

void Mailbox::deliver_all() noexcept {
    Letter* letter = letters_.take_all();
    while (letter != nullptr) {
        const std::unique_ptr<Letter> delivered(letter);
        letter = letter->next();
        delivered->deliver();
    }
}

} // namespace ringlet
