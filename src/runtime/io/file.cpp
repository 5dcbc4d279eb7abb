#include <ringlet/file.hpp>

#include <ringlet/deadline.hpp>
#include <ringlet/detail/assert.hpp>
#include <ringlet/detail/message.hpp>
#include <ringlet/error.hpp>
#include <ringlet/run_blocking.hpp>

#include <algorithm>
#include <cerrno>
#include <utility>

#include <fcntl.h>
#include <unistd.h>

namespace ringlet {

namespace {

constexpr std::size_t piece_limit = std::size_t{1} << 30; // per system call

// ---- on io_uring --------------------------------------------------------------------------------

// A request on a file. The coroutine in whose frame it lives waits until the kernel has answered.
class TransferAt {
public:
    TransferAt(Opcode opcode, int fd, void* bytes, std::size_t size_bytes,
               std::uint64_t offset) noexcept
        : range_{.bytes = bytes, .offset = offset} {
        const auto extent =
            opcode == Opcode::write_at ? Operation::Extent::whole : Operation::Extent::some;
        operation_.configure(opcode, fd, &range_, size_bytes, extent);
    }
    TransferAt(const TransferAt&) = delete;
    TransferAt& operator=(const TransferAt&) = delete;

    bool await_ready() const noexcept { return false; }
    template <class P>
    bool await_suspend(std::coroutine_handle<P> waiting) {
        CancelScope& scope = scope_of(waiting);
        if (operation_.size_bytes == 0)
            return scope.loop->finish_at_once(operation_, scope, waiting);
        return scope.loop->start(operation_, scope, waiting);
    }
    Result<std::size_t> await_resume() noexcept {
        const int answer = operation_.result;
        operation_.consume();
        if (answer < 0) return error_from_errno(-answer);
        return operation_.transferred_bytes;
    }

private:
    FileRange range_;
    Operation operation_;
};

// ---- on another thread --------------------------------------------------------------------------

template <class Answer>
Result<void> success_of(Answer answer) {
    if (answer < 0) return error_from_errno(errno);
    return {};
}

Result<std::size_t> read_here(int fd, std::span<std::byte> memory, std::uint64_t offset) {
    for (;;) {
        const ssize_t count = ::pread(fd, memory.data(), std::min(memory.size(), piece_limit),
                                      static_cast<off_t>(offset));
        if (count >= 0) return static_cast<std::size_t>(count);
        if (errno != EINTR) return error_from_errno(errno);
    }
}

Result<void> write_here(int fd, std::span<const std::byte> bytes, std::uint64_t offset) {
    while (!bytes.empty()) {
        const ssize_t count = ::pwrite(fd, bytes.data(), std::min(bytes.size(), piece_limit),
                                       static_cast<off_t>(offset));
        if (count < 0 && errno == EINTR) continue;
        if (count < 0) return error_from_errno(errno);
        bytes = bytes.subspan(static_cast<std::size_t>(count));
        offset += static_cast<std::uint64_t>(count);
    }
    return {};
}

Result<UniqueFd> open_here(const std::string& path, const OpenOptions& options) {
    int flags = O_CLOEXEC;
    flags |= options.write ? (options.read ? O_RDWR : O_WRONLY) : O_RDONLY;
    if (options.append) flags |= O_APPEND;
    if (options.create) flags |= O_CREAT;
    if (options.exclusive) flags |= O_EXCL;
    if (options.truncate) flags |= O_TRUNC;
    for (;;) {
        UniqueFd fd(::open(path.c_str(), flags, options.mode));
        if (fd) return fd;
        if (errno != EINTR) return error_from_errno(errno);
    }
}

Task<bool> kernel_does_files() {
    EventLoop& loop = co_await current_loop();
    co_return loop.backend().backend == Backend::io_uring;
}

} // namespace

// ---- a file -------------------------------------------------------------------------------------

std::shared_ptr<UniqueFd> File::descriptor() const {
    RINGLET_ASSERT(fd_ != nullptr, "a File was used that is empty");
    return fd_;
}

Task<Result<File>> File::open(std::string path, OpenOptions options) {
    auto job = [&] { return open_here(path, options); };
    auto opened = co_await run_blocking_to_end(job);
    if (!opened) co_return opened.error();
    co_return File(std::make_shared<UniqueFd>(std::move(*opened)));
}

// This and the next three copy the descriptor before anything is awaited, so the File may be dropped meanwhile.
Task<Result<std::size_t>> File::read_at(std::span<std::byte> memory, std::uint64_t offset) const {
    const std::shared_ptr<UniqueFd> fd = descriptor();
    auto by_kernel = co_await kernel_does_files();
    if (by_kernel) {
        auto count =
            co_await TransferAt(Opcode::read_at, fd->get(), memory.data(), memory.size(), offset);
        co_return count;
    }
    auto job = [&] { return read_here(fd->get(), memory, offset); };
    auto count = co_await run_blocking_to_end(job);
    co_return count;
}

Task<Result<void>> File::write_at(std::span<const std::byte> bytes, std::uint64_t offset) const {
    const std::shared_ptr<UniqueFd> fd = descriptor();
    auto by_kernel = co_await kernel_does_files();
    if (by_kernel) {
        auto count =
            co_await TransferAt(Opcode::write_at, fd->get(), const_cast<std::byte*>(bytes.data()),
                                bytes.size(), offset);
        if (!count) co_return count.error();
        if (*count < bytes.size()) co_return std::errc::io_error;
        co_return Result<void>();
    }
    auto job = [&] { return write_here(fd->get(), bytes, offset); };
    auto written = co_await run_blocking_to_end(job);
    co_return written;
}

Task<Result<void>> File::sync() const {
    const std::shared_ptr<UniqueFd> fd = descriptor();
    auto job = [&] { return success_of(::fsync(fd->get())); };
    auto synced = co_await run_blocking_to_end(job);
    co_return synced;
}

Task<Result<struct stat>> File::status() const {
    const std::shared_ptr<UniqueFd> fd = descriptor();
    auto job = [&]() -> Result<struct stat> {
        struct stat known{};
        if (::fstat(fd->get(), &known) != 0) return error_from_errno(errno);
        return known;
    };
    auto known = co_await run_blocking_to_end(job);
    co_return known;
}

// ---- whole files --------------------------------------------------------------------------------

namespace {

// A file of size 0 need not be empty: those in /proc are not.
Result<std::string> read_whole_here(const std::string& path, std::size_t limit_bytes) {
    auto fd = open_here(path, {});
    if (!fd) return fd.error();
    struct stat known{};
    if (::fstat(fd->get(), &known) != 0) return error_from_errno(errno);
    std::string text;
    const auto size = static_cast<std::size_t>(std::max<off_t>(known.st_size, 0));
    text.reserve(std::min(size, limit_bytes) + 1);
    for (;;) {
        const std::size_t before = text.size();
        text.resize(std::max<std::size_t>(text.capacity(), before + 4096));
        auto count =
            read_here(fd->get(), std::as_writable_bytes(std::span(text).subspan(before)), before);
        if (!count) return count.error();
        text.resize(before + *count);
        if (text.size() > limit_bytes) return std::errc::file_too_large;
        if (*count == 0) return text;
    }
}

Result<void> replace_here(const std::string& path, const std::string& bytes, mode_t mode) {
    std::string beside = path + ".XXXXXX";
    UniqueFd fd(::mkostemp(beside.data(), O_CLOEXEC));
    if (!fd) return error_from_errno(errno);
    const mode_t mask = ::umask(0);
    ::umask(mask);
    auto done = write_here(fd.get(), std::as_bytes(std::span(bytes)), 0);
    if (done) done = success_of(::fchmod(fd.get(), mode & ~mask));
    if (done) done = success_of(::fsync(fd.get()));
    if (done) done = success_of(::rename(beside.c_str(), path.c_str()));
    if (!done) ::unlink(beside.c_str());
    return done;
}

} // namespace

Task<Result<std::string>> read_file(std::string path, std::size_t limit_bytes) {
    auto job = [&] { return read_whole_here(path, limit_bytes); };
    auto text = co_await run_blocking_to_end(job);
    co_return text;
}

Task<Result<void>> write_file(std::string path, std::string bytes, mode_t mode) {
    auto job = [&] { return replace_here(path, bytes, mode); };
    auto written = co_await run_blocking_to_end(job);
    co_return written;
}

} // namespace ringlet
