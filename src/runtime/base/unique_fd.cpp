#include <ringlet/unique_fd.hpp>

#include "base/kernel.hpp"

namespace ringlet {

void UniqueFd::reset(int fd) noexcept {
    if (fd_ >= 0) Kernel::of_this_thread().close(fd_);
    fd_ = fd;
}

} // namespace ringlet
