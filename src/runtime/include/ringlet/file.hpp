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
    bool create = false;    ///< makes the file if it does not exist, with `mode` (needs `write`)
    bool exclusive = false; ///< with `create`: the file must not exist yet
    bool truncate = false;  ///< discards the old content (needs `write`)
    mode_t mode = 0666;     ///< of a new file, less the umask
};

/// A file that is read and written at offsets that the caller gives. On io_uring the kernel does the work. On epoll,
/// and in a simulation, which uses the real files, a thread of `LoopOptions::blocking_threads` does.
///
///     auto file = co_await File::open("/etc/hosts");
///     if (!file) co_return file.error();
///     auto count = co_await file->read_at(memory, 0);
///
/// Lifetime  Owns the descriptor. The file may be dropped during reads and writes; it closes after the last of them.
/// Thread    Any loop, one at a time.
/// Cancel    An operation that has begun is waited for, and its result delivered: until then the kernel holds the
///           memory.
/// Errors    Any errno unchanged.
class File {
public:
    /// Owns nothing; every use of it aborts.
    File() noexcept = default;

    /// Opens a file with close-on-exec.
    ///
    /// Errors    `no_such_file_or_directory`, `permission_denied`, `file_exists`, `is_a_directory`,
    ///           `too_many_files_open`.
    /// Cost      One function on another thread, since opening can block for any length of time.
    [[nodiscard]] static Task<Result<File>> open(std::string path, OpenOptions options = {});

    /// Reads from an offset on.
    ///
    /// Lifetime  The memory is lent until the await ends.
    /// Returns   `Result<std::size_t>`: how many bytes it read, as many as there are and fit; 0 at the end of the file.
    [[nodiscard]] Task<Result<std::size_t>> read_at(std::span<std::byte> memory,
                                                    std::uint64_t offset) const;

    /// Writes all of the bytes from an offset on.
    ///
    /// Lifetime  The bytes are lent until the await ends.
    /// Returns   `Result<void>`: the kernel has them; see `sync`.
    /// Errors    `no_space_on_device`, `file_too_large`, `io_error`.
    [[nodiscard]] Task<Result<void>> write_at(std::span<const std::byte> bytes,
                                              std::uint64_t offset) const;

    /// Waits until the device has everything that was written (fsync(2)).
    [[nodiscard]] Task<Result<void>> sync() const;

    /// The file's status (fstat(2)); `st_size` is its size in bytes.
    [[nodiscard]] Task<Result<struct stat>> status() const;

    /// False if it owns nothing.
    [[nodiscard]] explicit operator bool() const noexcept { return fd_ != nullptr; }
    [[nodiscard]] int native_handle() const noexcept { return fd_ ? fd_->get() : -1; }

private:
    explicit File(std::shared_ptr<UniqueFd> fd) noexcept : fd_(std::move(fd)) {}
    [[nodiscard]] std::shared_ptr<UniqueFd> descriptor() const;

    std::shared_ptr<UniqueFd> fd_; // shared with operations in flight
};

/// Reads a whole file.
///
/// Returns   `Result<std::string>`.
/// Errors    As `File::open`; `file_too_large` for more than `limit_bytes`.
[[nodiscard]] Task<Result<std::string>> read_file(std::string path,
                                                  std::size_t limit_bytes = 64 << 20);

/// Replaces a file with these bytes. A reader that opens it sees all of the old bytes or all of the new ones,
/// even after a crash: they are written to a file beside it, which is synced and then takes its name (rename(2)).
///
/// Lifetime  The bytes are copied.
/// Errors    As `File::open` and `File::write_at`; on error the old file is unchanged.
[[nodiscard]] Task<Result<void>> write_file(std::string path, std::string bytes,
                                            mode_t mode = 0666);

} // namespace ringlet
