#include <ringlet/piece.hpp>

#include <ringlet/buffer.hpp>

#include "support.hpp"

#include <array>
#include <span>
#include <string>
#include <string_view>
#include <type_traits>
#include <vector>

using namespace ringlet;

// A temporary that owns its bytes is gone when the statement ends.
static_assert(is_temporary_v<std::string> && is_temporary_v<std::vector<std::byte>>);
static_assert(is_temporary_v<const std::string> && is_temporary_v<Buffer>);
static_assert(!is_temporary_v<std::string&> && !is_temporary_v<const std::string&>);
static_assert(!is_temporary_v<std::string_view> && !is_temporary_v<std::span<const std::byte>>);
static_assert(!is_temporary_v<const char (&)[3]> && !is_temporary_v<const char*>);
static_assert(!is_temporary_v<Piece> && !is_temporary_v<Buffer&>);
static_assert(!std::is_constructible_v<Piece, int> &&
              !std::is_constructible_v<Piece, std::vector<int>>);

TEST_CASE("a piece is a view of text, bytes and buffers") {
    const std::string text = "text";
    CHECK(Piece("literal").size() == 7);
    CHECK(Piece(text).size() == 4);
    CHECK(Piece(text).bytes().data() == reinterpret_cast<const std::byte*>(text.data()));
    CHECK(Piece(std::string_view(text).substr(1)).size() == 3);
    const std::vector<std::byte> bytes(5);
    CHECK(Piece(bytes).bytes().data() == bytes.data());
    const std::array<std::byte, 3> three{};
    CHECK(Piece(three).size() == 3);
    CHECK(Piece(std::span(bytes).first(2)).size() == 2);
    CHECK(Piece().size() == 0);
    const std::vector<Piece> pieces = {"a", text, bytes};
    CHECK(pieces[1].place() - pieces[0].place() == 1);
}
