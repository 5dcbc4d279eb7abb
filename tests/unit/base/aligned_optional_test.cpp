#include <ringlet/detail/aligned_optional.hpp>

#include "support.hpp"

#include <cstdint>
#include <memory>
#include <string>

using namespace ringlet;

namespace {

struct alignas(64) Line {
    explicit Line(int given) : number(std::make_unique<int>(given)) {}
    std::unique_ptr<int> number;
};

bool is_aligned(const Line& line) {
    return reinterpret_cast<std::uintptr_t>(&line) % alignof(Line) == 0;
}

} // namespace

static_assert(std::is_same_v<AlignedOptional<std::string>, std::optional<std::string>>);
static_assert(alignof(AlignedOptional<Line>) <= __STDCPP_DEFAULT_NEW_ALIGNMENT__,
              "so that any frame can hold it");

TEST_CASE("AlignedOptional aligns an over-aligned value, wherever the optional itself is placed") {
    using Optional = AlignedOptional<Line>;
    alignas(64) std::byte memory[sizeof(Optional) + 64];
    for (std::size_t offset = 0; offset < 64; offset += alignof(Optional)) {
        auto* optional = ::new (memory + offset) Optional;
        CHECK_FALSE(optional->has_value());
        CHECK(is_aligned(optional->emplace(1)));
        CHECK(is_aligned(optional->emplace(2))); // destroys the first
        REQUIRE(*optional);
        CHECK(*(**optional).number == 2);
        optional->reset();
        CHECK_FALSE(*optional);
        optional->emplace(3); // destroyed with it
        std::destroy_at(optional);
    }
}
