#include <ringlet/detail/read_buffer.hpp>

#include "net.hpp"

#include <algorithm>
#include <string>
#include <string_view>
#include <vector>

using namespace ringlet;
using namespace ringlet::testing;

namespace {

Buffer buffer_of(std::string_view text) {
    Buffer buffer(Buffer::borrow(), text.size());
    std::copy_n(reinterpret_cast<const std::byte*>(text.data()), text.size(), buffer.data());
    return buffer;
}

void add(ReadBuffer& to, std::string_view text) {
    to.release();
    to.add(buffer_of(text));
}

} // namespace

TEST_CASE("bytes within one buffer are returned in place") {
    ReadBuffer read;
    Buffer buffer = buffer_of("one\ntwo\n");
    const std::byte* memory = buffer.data();
    read.add(std::move(buffer));
    CHECK(read.find("\n") == 3);
    CHECK(read.first(4).data() == memory);
    read.consume(4);
    CHECK(read.find("\n") == 3);
    CHECK(read.first(3).data() == memory + 4);
    read.consume(4);
    CHECK(read.size() == 0);
}

TEST_CASE("bytes that straddle two buffers are joined, and only those") {
    ReadBuffer read;
    add(read, "a\nbegin");
    read.consume(2);
    add(read, "end\nuntouched");
    CHECK(read.size() == 18);
    const auto found = read.find("\n");
    REQUIRE(found == 8);
    CHECK(text_of(read.first(9)) == "beginend\n");
    read.consume(9);
    // The rest stays in the buffer that received it.
    const auto lent = Buffer::lent_count();
    CHECK(text_of(read.first(9)) == "untouched");
    read.release();
    CHECK(Buffer::lent_count() == lent - 1);
    CHECK(text_of(read.first(9)) == "untouched");
}

TEST_CASE("a delimiter is found wherever it is split, even after a search for another one") {
    for (std::size_t cut = 1; cut < 10; ++cut) {
        ReadBuffer read;
        const std::string text = "ab\r\n\r\ncd..";
        add(read, text.substr(0, cut));
        CHECK(read.find("xy") == std::nullopt);
        if (cut < 6) CHECK(read.find("\r\n\r\n") == std::nullopt);
        add(read, text.substr(cut));
        CHECK(read.find("\r\n\r\n") == 2);
        CHECK(read.find("\r\n\r\n") == 2);
        CHECK(read.find("d") == 7);
        CHECK(read.find("xy") == std::nullopt);
    }
}

TEST_CASE("bytes that are put back come first") {
    ReadBuffer read;
    add(read, "world");
    CHECK(read.find("lo w") == std::nullopt);
    read.put_back(bytes_of("hello "));
    CHECK(read.find("lo w") == 3);
    std::vector<std::byte> memory(8);
    CHECK(read.take(memory) == 8);
    CHECK(text_of(memory) == "hello wo");
    CHECK(read.take(memory) == 3);
    CHECK(read.take(memory) == 0);
}

TEST_CASE("an untouched buffer is handed over whole") {
    ReadBuffer read;
    CHECK_FALSE(read.take_buffer());
    add(read, "whole");
    auto whole = read.take_buffer();
    REQUIRE(whole);
    CHECK(whole->text() == "whole");
    CHECK(read.size() == 0);
    add(read, "xpart");
    read.consume(1);
    CHECK_FALSE(read.take_buffer());
}
