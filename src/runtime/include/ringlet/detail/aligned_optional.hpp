#pragma once

#include <ringlet/detail/config.hpp>

#include <cstddef>
#include <cstdint>
#include <memory>
#include <new>
#include <optional>
#include <type_traits>
#include <utility>

namespace RINGLET_EXPORT ringlet {

/// A value that may be there, in memory that is aligned as its type asks for, wherever the object itself
/// lies. Frames of coroutines have the alignment of the global allocator, whatever is kept in them.
///
/// Lifetime  Does not move.
template <class T>
class OverAlignedOptional {
public:
    OverAlignedOptional() noexcept = default;
    OverAlignedOptional(const OverAlignedOptional&) = delete;
    OverAlignedOptional& operator=(const OverAlignedOptional&) = delete;
    ~OverAlignedOptional() { reset(); }

    template <class... Args>
    T& emplace(Args&&... args) {
        reset();
        value_ = ::new (place()) T(std::forward<Args>(args)...);
        return *value_;
    }
    void reset() noexcept {
        if (value_ != nullptr) std::destroy_at(std::exchange(value_, nullptr));
    }
    [[nodiscard]] bool has_value() const noexcept { return value_ != nullptr; }
    [[nodiscard]] explicit operator bool() const noexcept { return has_value(); }
    [[nodiscard]] T& operator*() noexcept { return *value_; }
    [[nodiscard]] const T& operator*() const noexcept { return *value_; }

private:
    void* place() noexcept {
        const auto begin = reinterpret_cast<std::uintptr_t>(bytes_);
        const auto aligned = (begin + alignof(T) - 1) / alignof(T) * alignof(T);
        return bytes_ + (aligned - begin);
    }

    T* value_ = nullptr;
    std::byte bytes_[sizeof(T) + alignof(T)];
};

template <class T>
using AlignedOptional = std::conditional_t<(alignof(T) > __STDCPP_DEFAULT_NEW_ALIGNMENT__),
                                           OverAlignedOptional<T>, std::optional<T>>;

} // namespace ringlet
