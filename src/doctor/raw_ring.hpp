#pragma once

// A ring with raw system calls. liburing would hide the kernel's answers, and belongs to the library.

#include <ringlet/error.hpp>
#include <ringlet/unique_fd.hpp>

#include <atomic>
#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <span>
#include <system_error>

#include <linux/io_uring.h>
#include <linux/time_types.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

inline std::error_code last_error() { return ringlet::error_from_errno(errno); }

/// Lives in a process that ends soon: nothing is unmapped.
class RawRing {
public:
    std::error_code open(unsigned flags) {
        parameters_.flags = flags;
        fd_.reset(static_cast<int>(::syscall(SYS_io_uring_setup, entries, &parameters_)));
        if (!fd_) return last_error();
        const auto& sq = parameters_.sq_off;
        const auto& cq = parameters_.cq_off;
        submissions_ =
            map(sq.array + parameters_.sq_entries * sizeof(unsigned), IORING_OFF_SQ_RING);
        completions_ =
            map(cq.cqes + parameters_.cq_entries * sizeof(io_uring_cqe), IORING_OFF_CQ_RING);
        entries_ = map(parameters_.sq_entries * sizeof(io_uring_sqe), IORING_OFF_SQES);
        if (submissions_ == nullptr || completions_ == nullptr || entries_ == nullptr) {
            return last_error();
        }
        return {};
    }

    // Submits one operation, which `fill` describes, without waiting.
    template <class Fill>
    std::error_code submit(Fill fill) {
        std::atomic_ref<unsigned> tail(at<unsigned>(submissions_, parameters_.sq_off.tail));
        const unsigned index = tail.load() & (parameters_.sq_entries - 1);
        auto& entry = at<io_uring_sqe>(entries_, index * sizeof(io_uring_sqe));
        entry = {};
        fill(entry);
        at<unsigned>(submissions_, parameters_.sq_off.array + index * sizeof(unsigned)) = index;
        tail.fetch_add(1);
        return enter(1, 0, 0, nullptr, 0);
    }

    // Waits for one completion; its error is the answer.
    std::error_code wait(io_uring_cqe& completion) {
        if (auto error = enter(0, 1, IORING_ENTER_GETEVENTS, nullptr, 0)) return error;
        std::atomic_ref<unsigned> head(at<unsigned>(completions_, parameters_.cq_off.head));
        if (head.load() == at<unsigned>(completions_, parameters_.cq_off.tail)) {
            return ringlet::error_from_errno(EAGAIN);
        }
        const std::size_t index = head.load() & (parameters_.cq_entries - 1);
        completion =
            at<io_uring_cqe>(completions_, parameters_.cq_off.cqes + index * sizeof(io_uring_cqe));
        head.fetch_add(1);
        return ringlet::error_from_errno(completion.res < 0 ? -completion.res : 0);
    }

    // Waits with a time limit although nothing was started: ETIME is the good answer.
    std::error_code wait_for_nothing() {
        __kernel_timespec limit{.tv_sec = 0, .tv_nsec = 1'000'000};
        io_uring_getevents_arg argument{};
        argument.ts = reinterpret_cast<std::uintptr_t>(&limit);
        return enter(0, 1, IORING_ENTER_GETEVENTS | IORING_ENTER_EXT_ARG, &argument,
                     sizeof argument);
    }

    // From here on the ring is named by a number that the kernel gave out, not by its descriptor.
    std::error_code register_descriptor() {
        io_uring_rsrc_update update{};
        update.offset = UINT32_MAX;
        update.data = static_cast<__u64>(fd_.get());
        if (::syscall(SYS_io_uring_register, fd_.get(), register_ring_fds, &update, 1) != 1) {
            return last_error();
        }
        number_ = static_cast<int>(update.offset);
        return {};
    }

    // A ring of buffers of which the kernel may choose: group 0, with one that has room for `buffer`.
    std::error_code register_buffers(std::span<std::byte> buffer) {
        constexpr unsigned count = 256;
        alignas(4096) static std::byte memory[count * sizeof(io_uring_buf)];
        io_uring_buf_reg description{};
        description.ring_addr = reinterpret_cast<std::uintptr_t>(memory);
        description.ring_entries = count;
        const long answer =
            ::syscall(SYS_io_uring_register, fd_.get(), register_buffer_ring, &description, 1);
        if (answer < 0) return last_error();
        auto& first = at<io_uring_buf>(memory, 0);
        first.addr = reinterpret_cast<std::uintptr_t>(buffer.data());
        first.len = static_cast<__u32>(buffer.size());
        // The ring's tail shares the first entry's last two bytes.
        std::atomic_ref<__u16>(first.resv).store(1);
        return {};
    }

    // The ring's table of files has one place, and this file is in it.
    std::error_code register_file(int file) {
        const long answer =
            ::syscall(SYS_io_uring_register, fd_.get(), IORING_REGISTER_FILES, &file, 1);
        return answer < 0 ? last_error() : std::error_code();
    }

    [[nodiscard]] bool has(unsigned feature) const { return (parameters_.features & feature) != 0; }

private:
    static constexpr unsigned entries = 8;
    // The kernel's headers may be too old to have these: Linux 5.18.
    static constexpr unsigned enter_registered_ring = 1U << 4;
    static constexpr unsigned register_ring_fds = 20;
    static constexpr unsigned register_buffer_ring = 22; // Linux 5.19

    std::error_code enter(unsigned to_submit, unsigned wait_count, unsigned flags,
                          const void* argument, std::size_t size) {
        const bool registered = number_ >= 0;
        if (registered) flags |= enter_registered_ring;
        const long answer = ::syscall(SYS_io_uring_enter, registered ? number_ : fd_.get(),
                                      to_submit, wait_count, flags, argument, size);
        return answer < 0 ? last_error() : std::error_code();
    }

    [[nodiscard]] std::byte* map(std::size_t size, off_t offset) const {
        void* start = ::mmap(nullptr, size, PROT_READ | PROT_WRITE, MAP_SHARED, fd_.get(), offset);
        return start == MAP_FAILED ? nullptr : static_cast<std::byte*>(start);
    }

    template <class T>
    static T& at(std::byte* start, std::size_t offset) {
        return *reinterpret_cast<T*>(start + offset);
    }

    ringlet::UniqueFd fd_;
    int number_ = -1;
    io_uring_params parameters_{};
    std::byte* submissions_ = nullptr;
    std::byte* completions_ = nullptr;
    std::byte* entries_ = nullptr;
};
