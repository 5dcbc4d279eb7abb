#pragma once

/// Everything that users of ringlet need.

#include <ringlet/backend.hpp>
#include <ringlet/barrier.hpp>
#include <ringlet/channel.hpp>
#include <ringlet/cond_var.hpp>
#include <ringlet/deadline.hpp>
#include <ringlet/error.hpp>
#include <ringlet/event.hpp>
#include <ringlet/event_loop.hpp>
#include <ringlet/group_options.hpp>
#include <ringlet/latch.hpp>
#include <ringlet/loop_options.hpp>
#include <ringlet/mutex.hpp>
#include <ringlet/result.hpp>
#include <ringlet/run_blocking.hpp>
#include <ringlet/semaphore.hpp>
#include <ringlet/serve.hpp>
#include <ringlet/server.hpp>
#include <ringlet/sleep.hpp>
#include <ringlet/statistics.hpp>
#include <ringlet/task.hpp>
#include <ringlet/task_failure.hpp>
#include <ringlet/task_group.hpp>
#include <ringlet/task_local.hpp>
#include <ringlet/tcp_listener.hpp>
#include <ringlet/tcp_stream.hpp>
#include <ringlet/thread_channel.hpp>
#include <ringlet/version.hpp>
#include <ringlet/when.hpp>
#include <ringlet/workers.hpp>
#include <ringlet/yield.hpp>
