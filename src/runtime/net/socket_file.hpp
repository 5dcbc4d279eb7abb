#pragma once

// The file that bind(2) made for a Unix socket.

#include <atomic>
#include <optional>
#include <string>

#include <sys/types.h>

namespace ringlet {

/// Removes the file with its last listener, if that owns it and no other server has since made one of the same name.
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
