#include <ringlet/detail/message.hpp>

#include <algorithm>
#include <climits>

namespace ringlet {

void Message::skip(std::size_t transferred_bytes) noexcept {
    while (next_ != end_ && transferred_bytes - before_bytes_ >= next_->iov_len) {
        before_bytes_ += next_->iov_len;
        ++next_;
    }
    if (transferred_bytes > 0) header.msg_controllen = 0; // it went with the first byte
    const std::size_t sent_of_next = transferred_bytes - before_bytes_;
    if (sent_of_next == 0) {
        header.msg_iov = const_cast<iovec*>(next_); // the kernel only reads it
        header.msg_iovlen = std::min<std::size_t>(static_cast<std::size_t>(end_ - next_), IOV_MAX);
        return;
    }
    part_ = {.iov_base = static_cast<std::byte*>(next_->iov_base) + sent_of_next,
             .iov_len = next_->iov_len - sent_of_next};
    header.msg_iov = &part_;
    header.msg_iovlen = 1;
}

} // namespace ringlet
