// hiredis in a task: redis_client HOST PORT. Several tasks count together, each with a connection of its own.
//
// hiredis writes and reads its own descriptor, and says what it waits for: the task waits for that in between.
//
// Try it:  redis-server --port 6379 &  ./foreign_redis_client 127.0.0.1 6379

#include <ringlet/ringlet.hpp>

#include <hiredis/hiredis.h>

#include <cstdio>
#include <cstdlib>
#include <memory>
#include <string>
#include <vector>

#include <sysexits.h>

using namespace ringlet;

namespace {

using Reply = std::unique_ptr<redisReply, decltype(&freeReplyObject)>;

/// A connection. The library's functions do not block: if they cannot continue yet, the task waits here.
class Redis {
public:
    static Task<Result<Redis>> connect(std::string host, int port) {
        Redis redis(redisConnectNonBlock(host.c_str(), port));
        if (!redis.context_ || redis.context_->err != 0) co_return std::errc::connection_refused;
        auto ready = co_await writable(redis.context_->fd);
        if (!ready) co_return ready.error();
        co_return redis;
    }

    Task<Result<Reply>> command(std::vector<std::string> words) {
        std::vector<const char*> texts;
        std::vector<std::size_t> sizes;
        for (const std::string& word : words) {
            texts.push_back(word.data());
            sizes.push_back(word.size());
        }
        redisContext* context = context_.get();
        redisAppendCommandArgv(context, static_cast<int>(words.size()), texts.data(), sizes.data());
        for (int is_sent = 0; is_sent == 0;) {
            if (redisBufferWrite(context, &is_sent) != REDIS_OK) co_return std::errc::io_error;
            if (is_sent != 0) break;
            auto ready = co_await writable(context->fd);
            if (!ready) co_return ready.error();
        }
        for (;;) {
            void* reply = nullptr;
            if (redisGetReplyFromReader(context, &reply) != REDIS_OK)
                co_return std::errc::bad_message;
            if (reply != nullptr)
                co_return Reply(static_cast<redisReply*>(reply), &freeReplyObject);
            auto ready = co_await readable(context->fd);
            if (!ready) co_return ready.error();
            if (redisBufferRead(context) != REDIS_OK) co_return std::errc::connection_reset;
        }
    }

private:
    explicit Redis(redisContext* context) : context_(context, &redisFree) {}

    std::unique_ptr<redisContext, decltype(&redisFree)> context_;
};

Task<Result<void>> count(std::string host, int port, int times) {
    auto redis = co_await Redis::connect(host, port);
    if (!redis) co_return redis.error();
    for (int i = 0; i < times; ++i) {
        std::vector<std::string> words = {"INCR", "ringlet-example"};
        auto reply = co_await redis->command(std::move(words));
        if (!reply) co_return reply.error();
        if ((*reply)->type != REDIS_REPLY_INTEGER) co_return std::errc::bad_message;
    }
    co_return Result<void>();
}

Task<Result<void>> run(std::string host, int port) {
    auto redis = co_await Redis::connect(host, port);
    if (!redis) co_return redis.error();
    std::vector<std::string> forget = {"DEL", "ringlet-example"};
    auto gone = co_await redis->command(std::move(forget));
    if (!gone) co_return gone.error();
    auto body = [&](TaskGroup& group) -> Task<> {
        for (int i = 0; i < 10; ++i) group.spawn("counter", count, host, port, 100);
        co_return;
    };
    auto counted = co_await with_task_group(body);
    if (!counted) co_return counted;
    std::vector<std::string> ask = {"GET", "ringlet-example"};
    auto sum = co_await redis->command(std::move(ask));
    if (!sum) co_return sum.error();
    std::printf("ten tasks counted to %s\n", (*sum)->str);
    co_return Result<void>();
}

} // namespace

int main(int argc, char** argv) {
    if (argc != 3) {
        std::fprintf(stderr, "usage: redis_client HOST PORT\n");
        return EX_USAGE;
    }
    auto loop = EventLoop::create();
    if (!loop) return exit_status(loop.error());
    auto ran = loop->run(run, std::string(argv[1]), std::atoi(argv[2]));
    if (!ran) std::fprintf(stderr, "%s\n", ran.error().message().c_str());
    return exit_status(ran);
}
