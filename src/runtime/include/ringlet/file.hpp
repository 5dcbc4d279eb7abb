#pragma once

#include <ringlet/detail/config.hpp>
#include <ringlet/result.hpp>
#include <ringlet/task.hpp>
#include <ringlet/unique_fd.hpp>

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>

#include <sys/stat.h>

namespace RINGLET_EXPORT ringlet {

/// How a `File` is opened.
struct OpenOptions {
    bool read = true;
    bool write = false;
    bool append = false;    ///< every write goes to the end (needs `write`)
    bool create = false;    ///< if it is not there, with `mode` (needs `write`)
    bool exclusive = false; ///< with `create`: it must not be there
    bool truncate = false;  ///< what is in it goes (needs `write`)
    mode_t mode = 0666;     ///< of a file that is made, less the umask
};

/// A file, read and written at places that the caller names. On io_uring the kernel does it; on epoll, and in a
/// simulation, which has the real files, a thread of `LoopOptions::blocking_threads`.
///
///     auto file = co_await File::open("/etc/hosts");
///     if (!file) co_return file.error();
///     auto count = co_await file->read_at(memory, 0);
///
/// Lifetime  Owns the descriptor. It may be dropped while others read and write: it closes after them.
/// Thread    Any loop, one at a time.
/// Cancel    What has begun is waited for, and its answer delivered: the memory is the kernel's until then.
/// Errors    Any errno unchanged.
class File {
public:
    /// Owns nothing; every use of it aborts.
    File() noexcept = default;

    /// Opens a file, closed on exec.
    ///
    /// Errors    `no_such_file_or_directory`, `permission_denied`, `file_exists`, `is_a_directory`,
    ///           `too_many_files_open`.
    /// Cost      A function on another thread: opening has no bound in time.
    [[nodiscard]] static Task<Result<File>> open(std::string path, OpenOptions options = {});

    /// Reads from a place on.
    ///
    /// Lifetime  The memory is lent until the await ends.
    /// Returns   `Result<std::size_t>`: as many bytes as there are and fit; 0 at the end of the file.
    [[nodiscard]] Task<Result<std::size_t>> read_at(std::span<std::byte> memory,
                                                    std::uint64_t offset) const;

    /// Writes all of the bytes from a place on.
    ///
    /// Lifetime  The bytes are lent until the await ends.
    /// Returns   `Result<void>`: the kernel has them; see `sync`.
    /// Errors    `no_space_on_device`, `file_too_large`, `io_error`.
    [[nodiscard]] Task<Result<void>> write_at(std::span<const std::byte> bytes,
                                              std::uint64_t offset) const;

    /// Waits until the device has everything that was written (fsync(2)).
    [[nodiscard]] Task<Result<void>> sync() const;

    /// What is known of it (fstat(2)): its size in bytes in `st_size`.
    [[nodiscard]] Task<Result<struct stat>> status() const;

    /// False for one that owns nothing.
    [[nodiscard]] explicit operator bool() const noexcept { return fd_ != nullptr; }
    [[nodiscard]] int native_handle() const noexcept { return fd_ ? fd_->get() : -1; }

private:
    explicit File(std::shared_ptr<UniqueFd> fd) noexcept : fd_(std::move(fd)) {}
    [[nodiscard]] std::shared_ptr<UniqueFd> descriptor() const;

    std::shared_ptr<UniqueFd> fd_; // shared with what is in flight
};

/// Reads a whole file.
///
/// Returns   `Result<std::string>`.
/// Errors    As `File::open`; `file_too_large` for more than `limit_bytes`.
[[nodiscard]] Task<Result<std::string>> read_file(std::string path,
                                                  std::size_t limit_bytes = 64 << 20);

/// Replaces a file by these bytes: whoever opens it sees all of the old ones or all of the new ones, also after a crash. They
/// are written to a file beside it, synced, and that takes its name (rename(2)).
///
/// Lifetime  The bytes are copied.
/// Errors    As `File::open` and `File::write_at`; then the old file is as it was.
[[nodiscard]] Task<Result<void>> write_file(std::string path, std::string bytes,
                                            mode_t mode = 0666);

} // namespace ringlet
