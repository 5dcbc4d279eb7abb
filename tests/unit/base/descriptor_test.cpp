#include <ringlet/detail/descriptor.hpp>

#include "support.hpp"

#include <limits>

using namespace ringlet;

static_assert(sizeof(Descriptor) == sizeof(int));

TEST_CASE("Descriptor: an ordinary one is its fd number") {
    for (const int fd : {0, 1, 7, std::numeric_limits<int>::max()}) {
        const Descriptor descriptor = fd;
        CHECK_FALSE(descriptor.is_direct());
        CHECK(descriptor.fd() == fd);
        CHECK(descriptor.number() == fd);
    }
}

TEST_CASE("Descriptor: a direct one has a slot number, and no fd") {
    for (const int slot : {0, 1, 7, 1 << 20}) {
        const Descriptor descriptor = Descriptor::direct(slot);
        CHECK(descriptor.is_direct());
        CHECK(descriptor.fd() == -1);
        CHECK(descriptor.number() == slot);
        CHECK(descriptor != Descriptor(slot));
        CHECK(descriptor == Descriptor::direct(slot));
    }
}

TEST_CASE("Descriptor: an empty one is not direct and has no fd") {
    CHECK_FALSE(Descriptor().is_direct());
    CHECK(Descriptor().fd() == -1);
    CHECK(Descriptor() != Descriptor::direct(0));
}
