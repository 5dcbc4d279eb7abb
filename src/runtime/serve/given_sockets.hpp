#pragma once

// The listening sockets that a service manager opened before it started this process (sd_listen_fds(3)): systemd, or
// another that speaks its protocol. Keeps the promise that each is taken once, and that no child process sees them.

#include <ringlet/endpoint.hpp>
#include <ringlet/result.hpp>
#include <ringlet/unique_fd.hpp>

#include <cstddef>
#include <mutex>
#include <string>
#include <string_view>
#include <vector>

#include <sys/types.h>

namespace ringlet {

/// Thread    Any.
class GivenSockets {
public:
    struct Socket {
        int number; // as it was given, and as `fd:3` names it
        std::string name;
        UniqueFd descriptor; // empty: it has been taken
        Endpoint address = {};
    };

    /// Those of this process. The first call reads the environment and removes what it read (unsetenv(3)): no other
    /// thread may read the environment meanwhile.
    static GivenSockets& of_this_process();

    explicit GivenSockets(std::vector<Socket> sockets) : sockets_(std::move(sockets)) {}

    /// The numbers of those that `fd:name` means: all if it is empty, the one with that number, or all with that name.
    ///
    /// Errors    `no_given_socket`.
    [[nodiscard]] Result<std::vector<int>> find(std::string_view name) const;

    /// Adds one that the previous program had been given, unless there is one with that number.
    void add(Socket socket);

    /// How a hand-over names the socket at this address: `fd:3:web`. Empty: it was not given.
    [[nodiscard]] std::string service_at(const Endpoint& address) const;
    /// The same, without reading the environment: if no code asked for given sockets, there are none.
    [[nodiscard]] static std::string service_of_this_process(const Endpoint& address);

    /// Errors    `no_given_socket`, even for one that has been taken.
    [[nodiscard]] Result<UniqueFd> take(int number);

    /// The names of those that have not been taken, in order.
    [[nodiscard]] std::vector<std::string> free_names() const;

    /// Why `fd:name` is not available, for an operator.
    [[nodiscard]] std::string explain(std::string_view name) const;

private:
    mutable std::mutex mutex_;
    std::vector<Socket> sockets_;
};

/// What LISTEN_PID, LISTEN_FDS and LISTEN_FDNAMES say; null stands for one that is not set.
struct GivenVariables {
    const char* pid;
    const char* count;
    const char* names;
};

/// Reads them: the names of the descriptors from `first_given_descriptor` on. Nothing if they are for another process,
/// or make no sense. Those without a name are called `unknown`, as sd_listen_fds_with_names(3) calls them.
[[nodiscard]] std::vector<std::string> read_given(const GivenVariables& variables, pid_t own_pid);

/// Takes the sockets that the environment names, and removes the variables. The descriptors are close-on-exec from
/// then on. Variables for another process stay. For `of_this_process`, and its test.
[[nodiscard]] std::vector<GivenSockets::Socket> take_from_environment();

inline constexpr int first_given_descriptor = 3; // SD_LISTEN_FDS_START
inline constexpr std::size_t given_descriptors_limit = 65'536;

} // namespace ringlet
