#include <ringlet/testing/fault.hpp>

#include "support.hpp"

#include <set>
#include <string>

using namespace ringlet::testing;

namespace {

Fault fault_at(std::size_t index) { return static_cast<Fault>(index); }

} // namespace

TEST_CASE("every fault has a name of its own") {
    std::set<std::string> names;
    for (std::size_t index = 0; index < fault_count; ++index) {
        names.insert(to_string(fault_at(index)));
    }
    CHECK(fault_count == 23);
    CHECK(names.size() == fault_count);
    CHECK(names.count("?") == 0);
    CHECK(names.count("short_recv") == 1);
    CHECK(names.count("early_end") == 1);
    CHECK(to_string(fault_at(fault_count)) == std::string("?"));
}

TEST_CASE("a FaultSet has exactly the faults it was made of") {
    constexpr FaultSet two{Fault::short_send, Fault::early_end};
    static_assert(two.has(Fault::short_send) && two.has(Fault::early_end));
    for (std::size_t index = 0; index < fault_count; ++index) {
        const Fault fault = fault_at(index);
        const std::string name = to_string(fault);
        CHECK_MESSAGE(FaultSet::all().has(fault), name);
        CHECK_MESSAGE(!FaultSet::none().has(fault), name);
        CHECK_MESSAGE(FaultSet{fault}.has(fault), name);
        CHECK_MESSAGE(two.has(fault) == (fault == Fault::short_send || fault == Fault::early_end),
                      name);
        // The harmless ones come first.
        CHECK_MESSAGE(FaultSet::harmless().has(fault) == (fault <= Fault::late_wake), name);
    }
}

TEST_CASE("with and without change one fault, and only in the copy") {
    for (std::size_t index = 0; index < fault_count; ++index) {
        const Fault fault = fault_at(index);
        constexpr FaultSet none = FaultSet::none();
        CHECK(none.with(fault) == FaultSet{fault});
        CHECK(none.with(fault).with(fault) == FaultSet{fault});
        CHECK(none.with(fault).without(fault) == none);
        CHECK(none.without(fault) == none);
        CHECK(none == FaultSet());
        const FaultSet others = FaultSet::all().without(fault);
        CHECK_FALSE(others.has(fault));
        CHECK(others != FaultSet::all());
        CHECK(others.with(fault) == FaultSet::all());
    }
    CHECK(FaultSet{Fault::no_memory, Fault::late_wake} ==
          FaultSet{Fault::late_wake, Fault::no_memory, Fault::late_wake});
}
