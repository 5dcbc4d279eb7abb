#include <ringlet/detail/message.hpp>

#include "support.hpp"

#include <climits>
#include <string>
#include <vector>

using namespace ringlet;

namespace {

std::vector<iovec> places_of(std::vector<std::string>& texts) {
    std::vector<iovec> places;
    for (std::string& text : texts)
        places.push_back({.iov_base = text.data(), .iov_len = text.size()});
    return places;
}

std::string rest_of(const Message& message) {
    std::string rest;
    for (const iovec& piece : message)
        rest.append(static_cast<const char*>(piece.iov_base), piece.iov_len);
    return rest;
}

} // namespace

TEST_CASE("a partly sent message continues where it stopped, wherever that was") {
    std::vector<std::string> texts = {"ab", "", "c", "defg", "", "h", ""};
    const std::string whole = "abcdefgh";
    const auto places = places_of(texts);
    for (std::size_t step = 1; step <= whole.size(); ++step) {
        Message message;
        message.set_pieces(places.data(), places.size());
        std::string sent;
        for (std::size_t at = 0; at < whole.size();) {
            message.skip(at);
            const std::string now = rest_of(message);
            REQUIRE(!now.empty());
            const std::string taken = now.substr(0, step);
            sent += taken;
            at += taken.size();
        }
        CHECK(sent == whole);
    }
}

TEST_CASE("a message has no more pieces than one system call takes") {
    std::vector<std::string> texts(3 * IOV_MAX + 1, "x");
    const auto places = places_of(texts);
    Message message;
    message.set_pieces(places.data(), places.size());
    std::size_t at = 0;
    int rounds = 0;
    while (at < texts.size()) {
        message.skip(at);
        REQUIRE(message.header.msg_iovlen <= IOV_MAX);
        at += rest_of(message).size();
        ++rounds;
    }
    CHECK(rounds == 4);
}

TEST_CASE("a message without pieces is empty") {
    Message message;
    message.set_pieces(nullptr, 0);
    message.skip(0);
    CHECK(message.header.msg_iovlen == 0);
}
