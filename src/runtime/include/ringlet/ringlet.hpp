#pragma once

/// Everything that users of ringlet need.

#include <ringlet/error.hpp>
#include <ringlet/event_loop.hpp>
#include <ringlet/result.hpp>
#include <ringlet/serve.hpp>
#include <ringlet/sleep.hpp>
#include <ringlet/task.hpp>
#include <ringlet/tcp_listener.hpp>
#include <ringlet/tcp_stream.hpp>
#include <ringlet/version.hpp>
#include <ringlet/yield.hpp>
