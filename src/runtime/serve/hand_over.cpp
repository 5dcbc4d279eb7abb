#include "serve/hand_over.hpp"

#include <ringlet/deadline.hpp>
#include <ringlet/error.hpp>
#include <ringlet/readiness.hpp>
#include <ringlet/task_group.hpp>
#include <ringlet/unix_stream.hpp>

#include "serve/connection_channel.hpp"
#include "serve/given_sockets.hpp"

#include <algorithm>
#include <array>
#include <cerrno>
#include <charconv>
#include <cstring>
#include <span>
#include <thread>
#include <utility>

#include <fcntl.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>

namespace ringlet {

namespace {

constexpr std::string_view word_take = "ringlet 1 take\n";
constexpr std::string_view word_ready = "ready\n";
constexpr std::string_view word_yours = "yours\n";
constexpr std::string_view word_serving = "serving\n";
constexpr std::string_view word_busy = "busy\n";
constexpr std::size_t offers_in_a_message = 200; // fewer than SCM_MAX_FD
constexpr std::chrono::milliseconds ask_again_after{10};

std::error_code late_or_failed(int error) {
    return error == EAGAIN ? std::make_error_code(std::errc::timed_out) : error_from_errno(error);
}

bool has_gone(std::error_code error) {
    return error == std::errc::connection_aborted || error == std::errc::broken_pipe ||
           error == std::errc::connection_reset;
}

// One line per listener: the address, a tab, and the service that it belongs to.
std::string line_of(const OfferedListener& offer) {
    return offer.address + '\t' + offer.service + '\n';
}

OfferedListener read_offer(const std::string& line) {
    const std::size_t end = std::min(line.rfind('\t'), line.size());
    return {.address = line.substr(0, end),
            .fd = UniqueFd(),
            .service = line.substr(std::min(end + 1, line.size()))};
}

// The process at the other end, if it belongs to the same user. Its number is 0 if it is in another PID namespace.
std::optional<pid_t> same_user(int fd) {
    ucred peer{};
    socklen_t size = sizeof peer;
    const bool is_known = ::getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &size) == 0;
    if (!is_known || peer.uid != ::geteuid()) return std::nullopt;
    return peer.pid;
}

} // namespace

// ---- the new program ----------------------------------------------------------------------------

// A program that does not answer has just handed over, so another is at the path, or has just ended, so none is.
Result<std::optional<TakeOver>> TakeOver::ask(const Endpoint& at) {
    const auto limit = Clock::now() + hand_over_patience;
    for (;;) {
        auto asked = ask_once(at);
        if (!has_gone(asked.error())) return asked;
        if (Clock::now() > limit) return std::optional<TakeOver>();
        std::this_thread::sleep_for(ask_again_after);
    }
}

Result<std::optional<TakeOver>> TakeOver::ask_once(const Endpoint& at) {
    UniqueFd fd(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
    if (!fd) return error_from_errno(errno);
    const timeval patience{.tv_sec = hand_over_patience.count(), .tv_usec = 0};
    ::setsockopt(fd.get(), SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience);
    ::setsockopt(fd.get(), SOL_SOCKET, SO_SNDTIMEO, &patience, sizeof patience);
    if (::connect(fd.get(), at.data(), at.size_bytes()) != 0) {
        if (errno == ENOENT || errno == ECONNREFUSED) return std::optional<TakeOver>();
        return error_from_errno(errno);
    }
    if (!same_user(fd.get())) return std::errc::permission_denied;
    TakeOver taking(std::move(fd));
    auto done = taking.say(word_take);
    if (done) done = taking.receive_offers();
    if (!done) return done.error();
    return std::optional(std::move(taking));
}

Result<void> TakeOver::say(std::string_view word) {
    const ssize_t sent = ::send(control_.get(), word.data(), word.size(), MSG_NOSIGNAL);
    if (sent == static_cast<ssize_t>(word.size())) return {};
    if (sent < 0 && errno != EAGAIN) return error_from_errno(errno);
    return std::errc::timed_out;
}

// Receives some bytes, and the descriptors that came with them. 0: the end.
Result<std::size_t> TakeOver::receive(std::span<char> bytes, std::vector<UniqueFd>& descriptors) {
    alignas(cmsghdr) std::array<std::byte, CMSG_SPACE(sizeof(int) * 253)> control;
    iovec into{.iov_base = bytes.data(), .iov_len = bytes.size()};
    msghdr message{};
    message.msg_iov = &into;
    message.msg_iovlen = 1;
    message.msg_control = control.data();
    message.msg_controllen = control.size();
    ssize_t size = 0;
    do {
        size = ::recvmsg(control_.get(), &message, MSG_CMSG_CLOEXEC);
    } while (size < 0 && errno == EINTR);
    if (size < 0) return late_or_failed(errno);
    for (const cmsghdr* head = CMSG_FIRSTHDR(&message); head != nullptr;
         head = CMSG_NXTHDR(&message, const_cast<cmsghdr*>(head))) {
        if (head->cmsg_level != SOL_SOCKET || head->cmsg_type != SCM_RIGHTS) continue;
        const std::size_t count = (head->cmsg_len - CMSG_LEN(0)) / sizeof(int);
        for (std::size_t i = 0; i < count; ++i) {
            int fd = -1;
            std::memcpy(&fd, CMSG_DATA(head) + i * sizeof fd, sizeof fd);
            descriptors.emplace_back(fd);
        }
    }
    return static_cast<std::size_t>(size);
}

// Receives lines with descriptors, after a line that says how many there are.
Result<void> TakeOver::receive_offers() {
    std::vector<UniqueFd> descriptors;
    std::optional<std::size_t> wanted;
    for (;;) {
        std::array<char, 4096> bytes;
        auto size = receive(bytes, descriptors);
        if (!size) return size.error();
        if (*size == 0) return std::errc::connection_aborted;
        received_.append(bytes.data(), *size);
        for (std::size_t end; (end = received_.find('\n')) != std::string::npos;) {
            const std::string line = received_.substr(0, end);
            received_.erase(0, end + 1);
            if (!wanted) {
                if (line + "\n" == word_busy) return Errc::hand_over_busy;
                std::size_t count = 0;
                const auto read = std::from_chars(line.data(), line.data() + line.size(), count);
                if (read.ec != std::errc() || count == 0) return std::errc::protocol_error;
                wanted = count;
                continue;
            }
            offers_.push_back(read_offer(line));
        }
        if (wanted && offers_.size() == *wanted && descriptors.size() == *wanted) break;
        if (wanted && (offers_.size() > *wanted || descriptors.size() > *wanted))
            return std::errc::protocol_error;
    }
    for (std::size_t i = 0; i < offers_.size(); ++i) offers_[i].fd = std::move(descriptors[i]);
    return {};
}

std::vector<OfferedListener> TakeOver::take_offers(const Endpoint& address,
                                                   std::string_view service) {
    std::vector<OfferedListener> taken;
    std::uint16_t port = address.port();
    for (OfferedListener& offer : offers_) {
        if (!offer.fd || (offer.is_given() ? !service.empty() : offer.service != service)) continue;
        auto offered = Endpoint::parse(offer.address);
        if (!offered) continue;
        Endpoint same = address;
        if (!address.is_unix() && !offered->is_unix()) {
            if (port == 0) port = offered->port();
            same.set_port(port);
        }
        if (*offered == same) taken.push_back(std::move(offer));
    }
    return taken;
}

Result<std::vector<StreamListener>> TakeOver::take(const Endpoint& address,
                                                   std::string_view service) {
    std::vector<OfferedListener> offers = take_offers(address, service);
    std::vector<StreamListener> listeners;
    for (OfferedListener& offer : offers) {
        if (address.is_unix() && !listeners.empty())
            break; // the same socket, as another worker has it
        auto listener = StreamListener::take_over(std::move(offer.fd));
        if (!listener) return listener.error();
        if (listener->file_ != nullptr && !offer.is_given()) files_.push_back(listener->file_);
        listeners.push_back(std::move(*listener));
    }
    return listeners;
}

void TakeOver::give(GivenSockets& given) {
    for (OfferedListener& offer : offers_) {
        if (!offer.fd || !offer.is_given()) continue;
        const std::string_view rest =
            std::string_view(offer.service).substr(OfferedListener::given_prefix.size());
        int number = 0;
        const auto read = std::from_chars(rest.data(), rest.data() + rest.size(), number);
        const std::size_t name = rest.find(':');
        if (read.ec != std::errc() || name == rest.npos) continue;
        given.add({.number = number,
                   .name = std::string(rest.substr(name + 1)),
                   .descriptor = std::move(offer.fd)});
    }
}

UniqueFd TakeOver::leaving() const { return UniqueFd(::fcntl(control_.get(), F_DUPFD_CLOEXEC, 0)); }

Result<void> TakeOver::expect(std::string_view word, std::vector<UniqueFd>& descriptors) {
    std::string told;
    while (told.size() < word.size()) {
        char byte = 0;
        auto size = receive(std::span(&byte, 1), descriptors);
        if (!size) return size.error();
        if (*size == 0) return std::errc::connection_aborted;
        told.push_back(byte);
    }
    if (told != word) return std::errc::protocol_error;
    return {};
}

Result<void> TakeOver::begin() {
    if (std::exchange(has_begun_, true)) return {};
    std::vector<UniqueFd> descriptors;
    auto said = say(word_ready);
    if (said) said = expect(word_yours, descriptors);
    if (has_gone(said.error())) return {}; // a program that just died does not accept, either
    if (said && !descriptors.empty()) channel_ = std::move(descriptors.front());
    return said;
}

void TakeOver::say_serving() noexcept {
    static_cast<void>(say(word_serving));
    control_.reset();
    for (const std::shared_ptr<SocketFile>& file : files_) file->set_owned(true);
}

Task<Result<void>> wait_for_predecessor(UniqueFd& leaving) {
    if (!leaving) co_return Result<void>();
    auto left = co_await with_timeout(hand_over_patience, readable(leaving.get()));
    if (left.error() == std::errc::operation_canceled) co_return left;
    leaving.reset();
    co_return Result<void>();
}

// ---- the old program ----------------------------------------------------------------------------

namespace {

Task<Result<void>> expect_word(UnixStream& stream, std::string_view word) {
    std::array<std::byte, 32> memory;
    const auto bytes = std::span(memory).first(word.size());
    auto arrived = co_await stream.recv_exactly(bytes);
    if (!arrived) co_return arrived;
    const bool is_right = std::ranges::equal(bytes, std::as_bytes(std::span(word)));
    if (!is_right) co_return std::errc::protocol_error;
    co_return Result<void>();
}

Task<Result<void>> expect_soon(UnixStream& stream, std::string_view word) {
    auto wait = [&]() -> Task<Result<void>> {
        auto arrived = co_await expect_word(stream, word);
        co_return arrived;
    };
    auto waited = co_await with_timeout(hand_over_patience, wait);
    co_return waited;
}

Task<Result<void>> send_offers(UnixStream& stream, const std::vector<OfferedListener>& offers) {
    std::string text = std::to_string(offers.size()) + "\n";
    auto counted = co_await stream.send_all(text);
    if (!counted) co_return counted;
    for (std::size_t first = 0; first < offers.size(); first += offers_in_a_message) {
        const auto part =
            std::span(offers).subspan(first, std::min(offers_in_a_message, offers.size() - first));
        std::vector<int> descriptors;
        text.clear();
        for (const OfferedListener& offer : part) {
            text += line_of(offer);
            descriptors.push_back(offer.fd.get());
        }
        auto sent = co_await stream.send_descriptors(std::as_bytes(std::span(text)), descriptors);
        if (!sent) co_return sent;
    }
    co_return Result<void>();
}

// Up to the last word. A failure before that ends the new program, not this one.
Task<Result<void>> hand_over(UnixStream& stream, const HandOverSteps& steps, bool& was_paused,
                             UniqueFd& ours) {
    auto offers = co_await steps.offer();
    if (!offers) co_return offers.error();
    for (const ServiceListener* service : steps.services) {
        auto fd = service->duplicate();
        if (!fd) co_return fd.error();
        offers->push_back({.address = service->address().to_string(),
                           .fd = std::move(*fd),
                           .service = service->name()});
    }
    auto sent = co_await send_offers(stream, *offers);
    if (!sent) co_return sent;
    auto ready = co_await expect_word(stream, word_ready); // it may take its time
    if (!ready) co_return ready;
    was_paused = true;
    auto paused = co_await steps.pause();
    if (!paused) co_return paused;
    auto channel = make_connection_channel();
    if (!channel) co_return channel.error();
    const int theirs = channel->second.get();
    auto told = co_await stream.send_descriptors(std::as_bytes(std::span(word_yours)),
                                                 std::span(&theirs, 1));
    if (!told) co_return told;
    channel->second.reset();
    ours = std::move(channel->first);
    auto serving = co_await expect_soon(stream, word_serving);
    co_return serving;
}

Task<> answer_successor(UnixStream stream, const HandOverSteps& steps, bool& is_busy,
                        bool& has_gone, const std::function<void(std::string_view)>& report) {
    const auto successor = same_user(stream.native_handle());
    if (!successor) {
        report("hand-over refused: it was asked for by another user");
        co_return;
    }
    auto asked = co_await expect_soon(stream, word_take);
    if (!asked) co_return;
    if (has_gone) co_return; // if asked again, the next program answers
    if (is_busy) {
        auto told = co_await stream.send_all(word_busy);
        static_cast<void>(told);
        co_return;
    }
    is_busy = true;
    bool was_paused = false;
    report("hand-over: a new program has asked for the listeners");
    UniqueFd channel;
    auto handed = co_await hand_over(stream, steps, was_paused, channel);
    is_busy = false;
    if (handed) {
        has_gone = true;
        report("hand-over: the new program serves; this one drains");
        for (ServiceListener* service : steps.services) service->leave();
        if (*successor > 0) co_await steps.introduce(*successor);
        steps.leave(std::move(channel));
        co_return;
    }
    if (was_paused) steps.resume();
    report("hand-over: the new program did not come to serve (" + handed.error().message() +
           "); this one goes on");
}

} // namespace

Task<> answer_successors(ServiceListener& listener, HandOverSteps& steps,
                         std::function<void(std::string_view)> report) {
    bool is_busy = false;
    bool has_gone = false;
    auto body = [&](TaskGroup& group) -> Task<> {
        for (;;) {
            auto stream = co_await listener.next_client();
            if (!stream) co_return;
            group.spawn("hand-over", [&, one = UnixStream(std::move(*stream))]() mutable {
                return answer_successor(std::move(one), steps, is_busy, has_gone, report);
            });
        }
    };
    auto answered = co_await with_task_group(body);
    static_cast<void>(answered);
    co_await listener.close();
}

} // namespace ringlet
