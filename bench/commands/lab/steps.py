"""The steps of the ladder: the same echo, one thing changed at each."""

import dataclasses


@dataclasses.dataclass(frozen=True)
class Step:
    number: int
    name: str  # as in `ladder --step NAME`
    title: str
    backend: str = "io_uring"

    @property
    def key(self):
        return f"{self.number} on {self.backend}"

    @property
    def server(self):
        """The server in the form that benchmark.sh compare takes."""
        if self.number == 0:  # the C peers: `ladder` would only become one of them
            return "epoll_echo" if self.backend == "epoll" else "uring_echo"
        command = f"ladder --step {self.name}"
        return f"{command} --backend epoll" if self.backend == "epoll" else command


BASE = Step(0, "callbacks", "C callbacks, no coroutine")
COROUTINE = Step(1, "coroutine", "a coroutine per connection")
BASE_ON_EPOLL = dataclasses.replace(BASE, backend="epoll")
COROUTINE_ON_EPOLL = dataclasses.replace(COROUTINE, backend="epoll")
FIBER = Step(6, "fiber", "a stackful fiber per connection")
THREAD = Step(7, "thread", "a thread per connection, blocking calls", "blocking calls")

STEPS = (
    BASE,
    COROUTINE,
    Step(2, "child", "and a child task per message"),
    Step(3, "malloc", "frames from malloc"),
    Step(4, "timeout", "a timeout around each message"),
    Step(5, "writer", "a task group: reader, channel, writer"),
    FIBER,
    THREAD,
    BASE_ON_EPOLL,
    COROUTINE_ON_EPOLL,
)

# The steps whose cost with many connections is shown.
SCALED = (BASE, COROUTINE, FIBER, THREAD, BASE_ON_EPOLL, COROUTINE_ON_EPOLL)
