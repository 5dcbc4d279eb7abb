#include <ringlet/detail/letter_stack.hpp>

#include "support.hpp"

#include <array>

using namespace ringlet;

namespace {

struct Node {
    Node* next() const { return following; }
    void set_next(Node* node) { following = node; }
    Node* following = nullptr;
};

} // namespace

TEST_CASE("LetterStack returns everything, oldest first, and says which push found it empty") {
    LetterStack<Node> stack;
    std::array<Node, 3> nodes;
    CHECK(stack.empty());
    CHECK(stack.take_all() == nullptr);
    CHECK(stack.push(nodes[0]));
    CHECK_FALSE(stack.push(nodes[1]));
    CHECK_FALSE(stack.push(nodes[2]));
    CHECK_FALSE(stack.empty());
    const Node* node = stack.take_all();
    CHECK(stack.empty());
    for (const Node& expected : nodes) {
        REQUIRE(node == &expected);
        node = node->next();
    }
    CHECK(node == nullptr);
    CHECK(stack.push(nodes[1])); // empty again: this one must wake the receiver
}
