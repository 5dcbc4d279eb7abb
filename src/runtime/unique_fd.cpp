#include <ringlet/unique_fd.hpp>

#include <unistd.h>

namespace ringlet {

void UniqueFd::reset(int fd) noexcept {
    // Never again on EINTR: on Linux the descriptor is free after close(2), whatever it returns.
    if (fd_ >= 0) ::close(fd_);
    fd_ = fd;
}

} // namespace ringlet
