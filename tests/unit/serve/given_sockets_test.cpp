#include "serve/given_sockets.hpp"

#include <ringlet/error.hpp>

#include "net.hpp"
#include "serve/listeners.hpp"
#include "support.hpp"

#include <cstdlib>
#include <string>
#include <utility>
#include <vector>

#include <fcntl.h>
#include <sys/wait.h>
#include <unistd.h>

using namespace ringlet;
using namespace ringlet::testing;

namespace {

using Names = std::vector<std::string>;
constexpr pid_t own_pid = 1234;

UniqueFd some_descriptor() { return UniqueFd(::dup(0)); }

GivenSockets three_sockets() {
    std::vector<GivenSockets::Socket> sockets;
    sockets.push_back({.number = 3, .name = "web", .descriptor = some_descriptor()});
    sockets.push_back({.number = 4, .name = "admin", .descriptor = some_descriptor()});
    sockets.push_back({.number = 5, .name = "web", .descriptor = some_descriptor()});
    return GivenSockets(std::move(sockets));
}

std::vector<int> numbers(const GivenSockets& given, std::string_view name) {
    return given.find(name).value_or(std::vector<int>());
}

} // namespace

TEST_CASE("there are as many names of given sockets as LISTEN_FDS says") {
    struct Row {
        const char* count;
        const char* names;
        Names read;
    };
    const std::vector<Row> rows = {
        {"1", "web", {"web"}},
        {"3", "web:admin:web", {"web", "admin", "web"}},
        {"2", nullptr, {"unknown", "unknown"}},
        {"2", "", {"unknown", "unknown"}},
        {"2", "web", {"web", "unknown"}},
        {"3", "web::admin", {"web", "unknown", "admin"}},
        {"1", "web:more", {"web"}},
        {"0", "web", {}},
        {"-1", "web", {}},
        {"2x", "web", {}},
        {"", "web", {}},
        {"65537", "web", {}},
        {"99999999999999999999", "web", {}},
        {nullptr, "web", {}},
    };
    for (const Row& row : rows) {
        INFO((row.count != nullptr ? row.count : "none"));
        CHECK(read_given({.pid = "1234", .count = row.count, .names = row.names}, own_pid) ==
              row.read);
    }
}

TEST_CASE("sockets given to another process are ignored") {
    for (const char* pid : {"1235", "1", "", "x", "1234 ", " 1234", "-1234"}) {
        INFO(pid);
        CHECK(read_given({.pid = pid, .count = "1", .names = "web"}, own_pid).empty());
    }
    CHECK(read_given({.pid = nullptr, .count = "1", .names = "web"}, own_pid).empty());
}

TEST_CASE("given sockets are found by name, by number, or all at once") {
    const GivenSockets given = three_sockets();
    CHECK(numbers(given, "web") == std::vector{3, 5});
    CHECK(numbers(given, "admin") == std::vector{4});
    CHECK(numbers(given, "5") == std::vector{5});
    CHECK(numbers(given, "") == std::vector{3, 4, 5});
    for (const char* name : {"we", "6", "0", "Web", "web,admin"}) {
        INFO(name);
        CHECK(given.find(name).error() == Errc::no_given_socket);
    }
    CHECK(GivenSockets({}).find("").error() == Errc::no_given_socket);
}

TEST_CASE("a given socket can be taken once") {
    GivenSockets given = three_sockets();
    CHECK(given.free_names() == Names{"web", "admin", "web"});
    auto first = given.take(3);
    CHECK((first && *first));
    CHECK(given.take(3).error() == Errc::no_given_socket);
    CHECK(given.take(6).error() == Errc::no_given_socket);
    CHECK(given.free_names() == Names{"admin", "web"});
}

TEST_CASE("a given socket keeps its number and name for the next program") {
    GivenSockets given({});
    UniqueFd web = bound_socket(loopback(), 1);
    const Endpoint address = address_of(web.get());
    CHECK(given.service_at(address).empty());
    given.add({.number = 3, .name = "web", .descriptor = std::move(web)});
    given.add({.number = 3, .name = "other", .descriptor = UniqueFd()}); // of another worker
    CHECK(numbers(given, "web") == std::vector{3});
    CHECK(given.find("other").error() == Errc::no_given_socket);
    CHECK(given.service_at(address).empty()); // not before it is taken
    const auto taken = given.take(3);
    REQUIRE(taken);
    CHECK(given.service_at(address) == "fd:3:web");
}

TEST_CASE("a refusal of a given socket names the existing ones") {
    const GivenSockets given = three_sockets();
    CHECK(given.explain("http") ==
          "fd:http: the service manager gave no such socket; it gave: web, admin, web");
    CHECK(given.explain("admin").find("taken it already") != std::string::npos);
    CHECK(GivenSockets({}).explain("http").find("no service manager gave") != std::string::npos);
}

TEST_CASE("fd:NAME in a process without given sockets is refused, anywhere in the list") {
    for (const char* listen : {"fd:", "fd:web", "fd:3", "127.0.0.1:0, fd:web"}) {
        INFO(listen);
        const auto addresses = resolve_listen(listen);
        REQUIRE(addresses);
        CHECK(bind_all(*addresses, 1, {}, nullptr).error() == Errc::no_given_socket);
        CHECK(explain_given(listen).find("fd:") == 0);
    }
    CHECK(given_socket_names().empty());
}

// In a child process, where descriptors 3 and 4 are free.
TEST_CASE("taking sockets from the environment removes its variables and sets close-on-exec") {
    const UniqueFd web = bound_socket(loopback(), 1);
    const UniqueFd admin = bound_socket(loopback(), 1);
    const int high_web = ::fcntl(web.get(), F_DUPFD_CLOEXEC, 100);
    const int high_admin = ::fcntl(admin.get(), F_DUPFD_CLOEXEC, 100);
    const pid_t child = ::fork();
    if (child == 0) {
        ::dup2(high_web, 3);
        ::dup2(high_admin, 4);
        ::close(5);
        ::setenv("LISTEN_FDS", "3", 1); // one too many
        ::setenv("LISTEN_FDNAMES", "web:admin:none", 1);
        ::setenv("LISTEN_PID", "1", 1);
        if (!take_from_environment().empty() || ::getenv("LISTEN_FDS") == nullptr) ::_exit(1);
        ::setenv("LISTEN_PID", std::to_string(::getpid()).c_str(), 1);
        const auto sockets = take_from_environment();
        if (sockets.size() != 2 || sockets[0].name != "web" || sockets[1].name != "admin")
            ::_exit(2);
        for (const char* name : {"LISTEN_FDS", "LISTEN_FDNAMES", "LISTEN_PID"}) {
            if (::getenv(name) != nullptr) ::_exit(3);
        }
        for (const auto& socket : sockets) {
            if (socket.descriptor.get() != socket.number) ::_exit(4);
            if ((::fcntl(socket.number, F_GETFD) & FD_CLOEXEC) == 0) ::_exit(5);
        }
        if (!take_from_environment().empty()) ::_exit(6);
        ::_exit(0);
    }
    ::close(high_web);
    ::close(high_admin);
    int status = -1;
    REQUIRE(::waitpid(child, &status, 0) == child);
    CHECK(WIFEXITED(status));
    CHECK(WEXITSTATUS(status) == 0);
}
