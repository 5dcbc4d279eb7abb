// A chat: chat [ADDRESS]. The first line is a name, the second a room; every other one goes to everyone in the room.
//
// One task reads from each client, another writes to it, and a channel between them holds the lines not yet sent. A
// client that does not read fills its channel and is dropped, so it keeps no other client waiting. At SIGTERM the
// server says goodbye to everyone.
//
// Try it:  ./example_chat &  nc 127.0.0.1 3202

#include <ringlet/ringlet.hpp>

#include <map>
#include <memory>
#include <set>
#include <string>

using namespace ringlet;
using namespace std::chrono_literals;

namespace {

constexpr std::size_t name_limit = 32;
constexpr std::size_t line_limit = 1'000;
constexpr std::size_t unread_limit = 100; // lines that a client may be behind

struct Client {
    std::string name;
    Channel<std::shared_ptr<const std::string>> lines{unread_limit, "lines to a client"};
    TaskGroup* tasks = nullptr; // that read from it and write to it
    bool is_slow = false;
};

class Rooms {
public:
    void enter(const std::string& room, Client& client) {
        tell(room, client.name + " comes in\n");
        rooms_[room].insert(&client);
    }
    void leave(const std::string& room, Client& client) {
        rooms_[room].erase(&client);
        if (rooms_[room].empty()) {
            rooms_.erase(room);
        } else {
            tell(room, client.name + " has left\n");
        }
    }
    // One text for all of them. A client without room for it is too slow.
    void tell(const std::string& room, std::string text) {
        const auto found = rooms_.find(room);
        if (found == rooms_.end()) return;
        const auto line = std::make_shared<const std::string>(std::move(text));
        for (Client* client : found->second) {
            if (client->is_slow || client->lines.try_send(std::shared_ptr<const std::string>(line)))
                continue;
            client->is_slow = true;
            client->tasks->cancel(); // its writer is waiting for the client to read
        }
    }

private:
    std::map<std::string, std::set<Client*>> rooms_;
};

Task<Result<void>> send_lines(TcpStream* stream, Client* client) {
    std::error_code ended;
    while (!ended) {
        auto line = co_await client->lines.recv();
        if (!line) {
            ended = line.error(); // the channel was closed, or the client or the server leaves
            break;
        }
        const std::string& text = **line;
        auto sent = co_await stream->send_all(text);
        if (!sent) co_return sent;
    }
    const std::string_view why = client->is_slow ? "you read too slowly\n" : "goodbye\n";
    auto said = co_await shield(with_timeout(1s, stream->send_all(why)));
    static_cast<void>(said);
    co_return ended; // so that the reader ends, too
}

Task<Result<void>> read_lines(Reader<TcpStream>* reader, Rooms* rooms, Client* client,
                              std::string room) {
    for (;;) {
        auto line = co_await reader->read_line(line_limit);
        if (!line) co_return line.error();
        rooms->tell(room, client->name + ": " + std::string(line->text) + "\n");
    }
}

Task<Result<std::string>> ask(TcpStream& stream, Reader<TcpStream>& reader, std::string question) {
    auto asked = co_await stream.send_all(question);
    if (!asked) co_return asked.error();
    auto answer = co_await with_timeout(30s, reader.read_line(name_limit));
    if (!answer) co_return answer.error();
    co_return std::string(answer->text);
}

struct Chat {
    std::shared_ptr<Rooms> rooms = std::make_shared<Rooms>();

    Task<> operator()(TcpStream stream) { return talk(rooms, std::move(stream)); }

    static Task<> talk(std::shared_ptr<Rooms> rooms, TcpStream stream) {
        Reader reader(stream);
        Client client;
        auto name = co_await ask(stream, reader, "your name? ");
        if (!name) co_return;
        client.name = *name;
        auto room = co_await ask(stream, reader, "which room? ");
        if (!room) co_return;

        auto both = [&](TaskGroup& group) -> Task<> {
            client.tasks = &group;
            rooms->enter(*room, client);
            group.spawn("writer", send_lines, &stream, &client);
            group.spawn("reader", read_lines, &reader, rooms.get(), &client, *room);
            co_return;
        };
        auto done = co_await with_task_group(both);
        static_cast<void>(done); // one of the two has ended the other
        rooms->leave(*room, client);
    }
};

} // namespace

int main(int argc, char** argv) {
    ServeOptions options;
    options.listen = argc > 1 ? argv[1] : "127.0.0.1:3202";
    options.drain_timeout = 0s; // a conversation never ends by itself
    return exit_status(serve(options, Chat()));
}
