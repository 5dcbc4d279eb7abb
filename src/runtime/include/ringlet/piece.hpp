#pragma once

#include <ringlet/detail/config.hpp>

#include <cstddef>
#include <ranges>
#include <span>
#include <string_view>
#include <type_traits>

#include <sys/uio.h>

namespace RINGLET_EXPORT ringlet {

/// Bytes that are sent together with others: `co_await stream.send_all(head, body)`.
///
/// Lifetime  Owns nothing: a view, as `std::span`.
class Piece {
public:
    /// No bytes.
    constexpr Piece() noexcept = default;
    Piece(std::span<const std::byte> bytes) noexcept // NOLINT: implicit
        : place_{.iov_base = const_cast<std::byte*>(bytes.data()), .iov_len = bytes.size()} {}
    /// A literal without its NUL.
    Piece(std::string_view text) noexcept // NOLINT: implicit
        : Piece(std::as_bytes(std::span(text))) {}
    template <class Bytes>
        requires std::is_constructible_v<std::span<const std::byte>, const Bytes&> ||
                 std::is_convertible_v<const Bytes&, std::string_view>
    Piece(const Bytes& bytes) noexcept : Piece(view_of(bytes)) {} // NOLINT: implicit

    [[nodiscard]] std::span<const std::byte> bytes() const noexcept {
        return {static_cast<const std::byte*>(place_.iov_base), place_.iov_len};
    }
    [[nodiscard]] std::size_t size() const noexcept { return place_.iov_len; }

    /// As the kernel reads it: an array of pieces is an array of these.
    [[nodiscard]] const iovec* place() const noexcept { return &place_; }

private:
    template <class Bytes>
    static Piece view_of(const Bytes& bytes) noexcept {
        if constexpr (std::is_convertible_v<const Bytes&, std::string_view>) {
            return Piece(std::string_view(bytes));
        } else {
            return Piece(std::span<const std::byte>(bytes));
        }
    }

    iovec place_{};
};
static_assert(sizeof(Piece) == sizeof(iovec));

/// Something of which nothing is left when the statement ends: a temporary that owns its bytes.
template <class Bytes>
inline constexpr bool is_temporary_v =
    !std::is_lvalue_reference_v<Bytes> &&
    !std::ranges::borrowed_range<std::remove_cvref_t<Bytes>> && !std::is_array_v<Bytes> &&
    (std::is_convertible_v<const Bytes&, std::string_view> ||
     std::is_constructible_v<std::span<const std::byte>, const Bytes&>) &&
    !std::is_pointer_v<std::remove_cvref_t<Bytes>> && !std::is_same_v<Bytes, Piece>;

} // namespace ringlet
