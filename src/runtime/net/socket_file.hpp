#pragma once

// What bind(2) made in the file system for a Unix socket.

#include <atomic>
#include <optional>
#include <string>

#include <sys/types.h>

namespace ringlet {

/// Goes with the last listener at it, if that owns it, and unless another server has made one of the same name since.
///
/// Thread    Any.
class SocketFile {
public:
    SocketFile(std::string path, bool is_owned);
    SocketFile(const SocketFile&) = delete;
    SocketFile& operator=(const SocketFile&) = delete;
    ~SocketFile();

    /// False: the file is another program's, and stays.
    void set_owned(bool is_owned) noexcept { is_owned_ = is_owned; }

private:
    std::string path_;
    std::optional<ino_t> inode_;
    std::atomic<bool> is_owned_;
};

} // namespace ringlet
