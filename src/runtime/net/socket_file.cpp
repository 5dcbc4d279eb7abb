#include "net/socket_file.hpp"

#include <utility>

#include <sys/stat.h>
#include <unistd.h>

namespace ringlet {

SocketFile::SocketFile(std::string path, bool is_owned)
    : path_(std::move(path)), is_owned_(is_owned) {
    struct stat made{};
    if (::lstat(path_.c_str(), &made) == 0) inode_ = made.st_ino;
}

SocketFile::~SocketFile() {
    struct stat now{};
    if (is_owned_ && inode_ && ::lstat(path_.c_str(), &now) == 0 && now.st_ino == *inode_)
        ::unlink(path_.c_str());
}

} // namespace ringlet
