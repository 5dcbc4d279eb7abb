#pragma once

#include <ringlet/detail/assert.hpp>
#include <ringlet/detail/config.hpp>
#include <ringlet/detail/frame_pool.hpp>
#include <ringlet/task.hpp>

#include <cstddef>
#include <cstring>
#include <string>

#if defined(__SANITIZE_ADDRESS__)
#define RINGLET_FINDS_LATE_USE 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define RINGLET_FINDS_LATE_USE 1
#endif
#endif

#ifdef RINGLET_FINDS_LATE_USE
#include <sanitizer/asan_interface.h>

#include <cstdio>
#endif

namespace RINGLET_EXPORT ringlet {

/// What is left of a group's body that returned while tasks still run: the memory of its frame, which held everything
/// declared there. Using it is a bug that no compiler detects. So in a debug build (without NDEBUG) and under ASan the
/// memory is filled with a pattern and kept until the group has ended. Variables that the compiler keeps on the stack,
/// because no await follows them, are not covered.
///
/// Errors    Aborts with the group's name if the memory was written to. Under ASan it also aborts on the first
///           access from code compiled with ASan; it takes over ASan's report callback for that.
class BodyRemains {
public:
    explicit BodyRemains(const char* group) noexcept : group_(group) {}
    BodyRemains(const BodyRemains&) = delete;
    BodyRemains& operator=(const BodyRemains&) = delete;
    ~BodyRemains() {
        if (frame_ == nullptr) return;
        make_usable();
        bool untouched = true;
        for (std::size_t at = 0; at < size_bytes_; ++at)
            untouched = untouched && frame_[at] == pattern;
        if (!untouched) complain();
        FramePool::local().release(frame_, size_bytes_);
    }

    /// Destroys the frame of a body that has returned, but keeps its memory.
    template <class T>
    void keep(Task<T>& body) noexcept {
        auto* frame = static_cast<unsigned char*>(body.frame().address());
        size_bytes_ = FramePool::local().keep_one(frame, [&body] { body = Task<T>(); });
        if (size_bytes_ == 0) return; // the compiler has merged it into another frame
        frame_ = frame;
        std::memset(frame_, pattern, size_bytes_);
        make_unusable();
    }

    [[nodiscard]] bool contains(const void* address) const noexcept {
        const auto* byte = static_cast<const unsigned char*>(address);
        return frame_ != nullptr && byte >= frame_ && byte < frame_ + size_bytes_;
    }
    [[nodiscard]] std::string message() const {
        return std::string("a task of group \"") + group_ +
               "\" uses what was declared in the group's body, which has returned: declare it "
               "before with_task_group";
    }

    /// The remains of this thread's other groups.
    [[nodiscard]] static BodyRemains*& newest() noexcept {
        static thread_local BodyRemains* remains = nullptr;
        return remains;
    }
    BodyRemains* older = nullptr;

private:
    static constexpr unsigned char pattern = 0xdb;

#ifdef RINGLET_FINDS_LATE_USE
    void make_unusable() noexcept {
        __asan_poison_memory_region(frame_, size_bytes_);
        __asan_set_error_report_callback(name_the_group);
        older = newest();
        newest() = this;
    }
    void make_usable() noexcept {
        __asan_unpoison_memory_region(frame_, size_bytes_);
        BodyRemains** link = &newest();
        while (*link != this) link = &(*link)->older;
        *link = older;
    }
    // Called by ASan after its report. (Its other hook, __asan_on_error, is not called in programs built with clang,
    // whose runtime has its own.)
    static void name_the_group(const char*) {
        for (auto* remains = newest(); remains != nullptr; remains = remains->older) {
            if (remains->contains(__asan_get_report_address()))
                std::fprintf(stderr, "ringlet: %s\n", remains->message().c_str());
        }
    }
#else
    void make_unusable() noexcept {}
    void make_usable() noexcept {}
#endif
    void complain() const { RINGLET_ASSERT(size_bytes_ == 0, message().c_str()); }

    const char* group_;
    unsigned char* frame_ = nullptr;
    std::size_t size_bytes_ = 0;
};

/// Without detection: the frame is freed at once.
struct NoBodyRemains {
    explicit NoBodyRemains(const char*) noexcept {}
    template <class T>
    void keep(Task<T>& body) noexcept {
        body = Task<T>();
    }
};

#if defined(NDEBUG) && !defined(RINGLET_FINDS_LATE_USE)
using CheckedBodyRemains = NoBodyRemains;
#else
using CheckedBodyRemains = BodyRemains;
#endif

} // namespace ringlet

#undef RINGLET_FINDS_LATE_USE
