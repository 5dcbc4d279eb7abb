#include <ringlet/cancel_scope.hpp>

#include "support.hpp"

using namespace ringlet;

namespace {

class FakeWait final : public Wait {
public:
    int cancels = 0;
    void cancel() noexcept override { ++cancels; }
    [[nodiscard]] std::string describe() const override { return "nothing"; }
};

} // namespace

TEST_CASE("scopes close in any order") {
    CancelScope root;
    CancelScope a;
    CancelScope b;
    CancelScope c;
    for (CancelScope* scope : {&a, &b, &c}) scope->open(root, nullptr);
    b.close();
    CHECK(root.first_child() == &a);
    CHECK(a.next_sibling() == &c);
    a.close();
    CHECK(root.first_child() == &c);
    b.open(root, nullptr);
    CHECK(c.next_sibling() == &b);
    b.close();
    c.close();
    c.close();
    CHECK(root.first_child() == nullptr);
}

TEST_CASE("a cancellation spreads inwards up to a shield, and keeps its first reason") {
    CancelScope root;
    CancelScope outer;
    CancelScope shielded;
    CancelScope inner;
    CancelScope late;
    FakeWait wait;
    FakeWait guarded;
    outer.open(root, nullptr);
    outer.wait = &wait;
    shielded.open(outer, nullptr, true);
    inner.open(shielded, nullptr);
    inner.wait = &guarded;

    outer.cancel(CancelReason::deadline);
    outer.cancel(CancelReason::requested);
    CHECK(outer.reason() == CancelReason::deadline);
    CHECK(wait.cancels == 1);
    CHECK_FALSE(root.is_cancelled());
    CHECK_FALSE(inner.is_cancelled());
    CHECK(guarded.cancels == 0);
    late.open(outer, nullptr);
    CHECK(late.reason() == CancelReason::deadline);

    inner.note_answered();
    CHECK_FALSE(inner.was_answered());
    root.cancel_through_shields(CancelReason::shutdown);
    CHECK(outer.reason() == CancelReason::deadline);
    CHECK(inner.reason() == CancelReason::shutdown);
    CHECK(guarded.cancels == 1);
    late.close();
    inner.close();
    shielded.close();
    outer.close();
}

TEST_CASE("a reported cancellation is noted outwards in all cancelled scopes") {
    CancelScope root;
    CancelScope outer;
    CancelScope inner;
    outer.open(root, nullptr);
    inner.open(outer, nullptr);
    outer.cancel(CancelReason::requested);
    inner.note_answered();
    CHECK(inner.was_answered());
    CHECK(outer.was_answered());
    CHECK_FALSE(root.was_answered());
    inner.close();
    outer.close();
}
