#pragma once

// A seccomp filter may kill a process that asks the kernel, so a child process asks.

#include "probes.hpp"

#include <ringlet/error.hpp>

#include <cerrno>
#include <csignal>
#include <new>
#include <system_error>

#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

// A probe that has no answer after this time gets none.
inline constexpr unsigned patience_seconds = 5;

// A child's answer, in shared memory.
struct Note {
    bool finished = false;
    bool ringlets_own = false;
    int number = 0;
};

template <class Probe>
[[noreturn]] void answer_and_exit(Note& note, Probe probe) {
    ::prctl(PR_SET_DUMPABLE, 0); // a child that is killed leaves no core file
    ::alarm(patience_seconds);
    const std::error_code error = probe();
    note.ringlets_own = error.category() == ringlet::error_category();
    note.number = error.value();
    note.finished = true;
    ::_exit(0);
}

template <class Probe>
Answer in_a_child(Probe probe) {
    void* shared =
        ::mmap(nullptr, sizeof(Note), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (shared == MAP_FAILED) return {.error = ringlet::error_from_errno(errno)};
    auto* note = new (shared) Note;
    std::signal(SIGCHLD, SIG_DFL); // our parent may ignore it, and then waitpid(2) fails
    const pid_t child = ::fork();
    Answer answer;
    if (child == 0) answer_and_exit(*note, probe);
    if (child < 0) {
        answer.error = ringlet::error_from_errno(errno);
    } else {
        int status = 0;
        while (::waitpid(child, &status, 0) < 0 && errno == EINTR) {
        }
        if (!note->finished) {
            answer.killed_by = WIFSIGNALED(status) ? WTERMSIG(status) : SIGKILL;
        } else if (note->ringlets_own) {
            answer.error = static_cast<ringlet::Errc>(note->number);
        } else {
            answer.error = ringlet::error_from_errno(note->number);
        }
    }
    ::munmap(shared, sizeof(Note));
    return answer;
}
