#include "support.hpp"

#include <ringlet/unique_fd.hpp>

#include <cerrno>
#include <utility>

#include <fcntl.h>
#include <sys/eventfd.h>
#include <unistd.h>

using namespace ringlet;

namespace {

bool is_open(int fd) {
    const int flags = ::fcntl(fd, F_GETFD);
    return flags >= 0 || errno != EBADF;
}

int fresh() {
    const int fd = ::eventfd(0, EFD_CLOEXEC);
    REQUIRE(fd >= 0);
    return fd;
}

} // namespace

static_assert(!std::is_copy_constructible_v<UniqueFd> && !std::is_copy_assignable_v<UniqueFd>);
static_assert(!std::is_convertible_v<int, UniqueFd>, "taking ownership is explicit");
static_assert(sizeof(UniqueFd) == sizeof(int));

TEST_CASE("UniqueFd closes its descriptor when it is destroyed") {
    const int fd = fresh();
    {
        const UniqueFd owner(fd);
        CHECK(owner);
        CHECK(owner.get() == fd);
        CHECK(is_open(fd));
    }
    CHECK_FALSE(is_open(fd));
}

TEST_CASE("UniqueFd owns nothing at first and counts zero as a descriptor") {
    const UniqueFd nothing;
    CHECK_FALSE(nothing);
    CHECK(nothing.get() == -1);
    UniqueFd standard_input(0);
    CHECK(standard_input);
    CHECK(standard_input.release() == 0);
}

TEST_CASE("UniqueFd moves its descriptor") {
    const int fd = fresh();
    UniqueFd first(fd);
    UniqueFd second(std::move(first));
    CHECK_FALSE(first); // NOLINT: what a move leaves behind is the point
    CHECK(second.get() == fd);
    CHECK(is_open(fd));

    const int other = fresh();
    UniqueFd third(other);
    third = std::move(second);
    CHECK_FALSE(is_open(other));
    CHECK_FALSE(second); // NOLINT
    CHECK(third.get() == fd);
    CHECK(is_open(fd));
}

TEST_CASE("UniqueFd keeps its descriptor when it is moved to itself") {
    const int fd = fresh();
    UniqueFd owner(fd);
    UniqueFd& alias = owner;
    owner = std::move(alias);
    CHECK(owner.get() == fd);
    CHECK(is_open(fd));
}

TEST_CASE("UniqueFd releases its descriptor") {
    const int fd = fresh();
    {
        UniqueFd owner(fd);
        CHECK(owner.release() == fd);
        CHECK_FALSE(owner);
    }
    REQUIRE(is_open(fd));
    ::close(fd);
}

TEST_CASE("UniqueFd closes the old descriptor when it is given a new one") {
    const int first = fresh();
    const int second = fresh();
    UniqueFd owner(first);
    owner.reset(second);
    CHECK_FALSE(is_open(first));
    CHECK(owner.get() == second);
    owner.reset();
    CHECK_FALSE(is_open(second));
    CHECK_FALSE(owner);
    owner.reset();
    CHECK_FALSE(owner);
}
