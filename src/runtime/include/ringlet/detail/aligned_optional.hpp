#pragma once

#include <ringlet/detail/config.hpp>

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <type_traits>
#include <utility>

namespace RINGLET_EXPORT ringlet {

/// Memory for one `T`, aligned as `T` requires wherever this object lies. A coroutine frame has only the alignment of
/// the global allocator, whatever it holds.
template <class T, bool over_aligned = (alignof(T) > __STDCPP_DEFAULT_NEW_ALIGNMENT__)>
class AlignedPlace {
public:
    [[nodiscard]] T* get() noexcept { return reinterpret_cast<T*>(bytes_); }
    [[nodiscard]] const T* get() const noexcept { return reinterpret_cast<const T*>(bytes_); }

private:
    alignas(T) std::byte bytes_[sizeof(T)];
};
template <class T>
class AlignedPlace<T, true> {
public:
    [[nodiscard]] T* get() noexcept { return const_cast<T*>(std::as_const(*this).get()); }
    [[nodiscard]] const T* get() const noexcept {
        const auto begin = reinterpret_cast<std::uintptr_t>(bytes_);
        const auto aligned = (begin + alignof(T) - 1) / alignof(T) * alignof(T);
        return reinterpret_cast<const T*>(bytes_ + (aligned - begin));
    }

private:
    std::byte bytes_[sizeof(T) + alignof(T)];
};

/// An optional value in an `AlignedPlace`.
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
        std::construct_at(place_.get(), std::forward<Args>(args)...);
        has_value_ = true;
        return **this;
    }
    void reset() noexcept {
        if (std::exchange(has_value_, false)) std::destroy_at(place_.get());
    }
    [[nodiscard]] bool has_value() const noexcept { return has_value_; }
    [[nodiscard]] explicit operator bool() const noexcept { return has_value(); }
    [[nodiscard]] T& operator*() noexcept { return *place_.get(); }
    [[nodiscard]] const T& operator*() const noexcept { return *place_.get(); }

private:
    AlignedPlace<T> place_;
    bool has_value_ = false;
};

template <class T>
using AlignedOptional = std::conditional_t<(alignof(T) > __STDCPP_DEFAULT_NEW_ALIGNMENT__),
                                           OverAlignedOptional<T>, std::optional<T>>;

} // namespace ringlet
