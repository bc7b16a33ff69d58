// C++20 coroutines with symmetric transfer: coroutines that yield to a queue, and two that hand
// over to each other.
//
// Arguments: `yield TASKS ROUNDS` or `hand-over 2 ROUNDS`. Prints the number of switches, and the
// nanoseconds that they took.

#include <chrono>
#include <coroutine>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <exception>
#include <utility>
#include <vector>

using Clock = std::chrono::steady_clock;
using Handle = std::coroutine_handle<>;

struct Result {
    long switches;
    Clock::duration took;
};

// A coroutine that starts when it is first resumed.
struct Task {
    struct promise_type {
        Task get_return_object() { return Task{std::coroutine_handle<promise_type>::from_promise(*this)}; }
        std::suspend_always initial_suspend() noexcept { return {}; }
        // Returns to the caller of `resume`.
        std::suspend_always final_suspend() noexcept { return {}; }
        void return_void() {}
        void unhandled_exception() { std::terminate(); }
    };

    explicit Task(Handle handle) : handle(handle) {}
    Task(Task&& other) noexcept : handle(std::exchange(other.handle, nullptr)) {}
    Task(const Task&) = delete;
    ~Task() {
        if (handle) handle.destroy();
    }

    Handle handle;
};

// A queue with room for a fixed number of coroutines, first in, first out.
class Queue {
public:
    explicit Queue(std::size_t room) : places(room) {}

    bool empty() const { return length == 0; }

    void push(Handle handle) {
        places[tail] = handle;
        tail = after(tail);
        ++length;
    }

    Handle pop() {
        Handle handle = places[head];
        head = after(head);
        --length;
        return handle;
    }

private:
    std::size_t after(std::size_t place) const { return place + 1 == places.size() ? 0 : place + 1; }

    std::vector<Handle> places;
    std::size_t head = 0, tail = 0, length = 0;
};

// Puts this coroutine at the end of the queue, and transfers to the first.
struct Yield {
    Queue& queue;

    bool await_ready() const noexcept { return false; }
    Handle await_suspend(Handle self) const noexcept {
        queue.push(self);
        return queue.pop();
    }
    void await_resume() const noexcept {}
};

// Transfers to another coroutine.
struct Transfer {
    const Handle& to;

    bool await_ready() const noexcept { return false; }
    Handle await_suspend(Handle) const noexcept { return to; }
    void await_resume() const noexcept {}
};

struct Turns {
    Queue queue;
    long tasks;
    long rounds;
    long arrived = 0, left = 0, switches = 0;
    Clock::time_point begun{}, ended{};
};

// Yields `rounds` times. The clock starts when all coroutines have started, and stops when the last
// has returned from its last counted yield.
Task yields(Turns& turns) {
    if (++turns.arrived == turns.tasks) turns.begun = Clock::now();
    for (long round = 0; round < turns.rounds; ++round) {
        co_await Yield{turns.queue};
        ++turns.switches;
    }
    if (++turns.left == turns.tasks) turns.ended = Clock::now();
    // So no coroutine ends while the clock runs.
    co_await Yield{turns.queue};
}

Result yield(long tasks, long rounds) {
    Turns turns{Queue(tasks), tasks, rounds};
    std::vector<Task> all;
    all.reserve(tasks);
    for (long task = 0; task < tasks; ++task) {
        all.push_back(yields(turns));
        turns.queue.push(all.back().handle);
    }
    while (!turns.queue.empty()) turns.queue.pop().resume();
    return {turns.switches, turns.ended - turns.begun};
}

struct Pair {
    Handle first, second;
    long switches = 0;
};

Task begins(Pair& pair, long rounds) {
    for (long round = 0; round < rounds; ++round) {
        co_await Transfer{pair.second};
        ++pair.switches;
    }
}

Task answers(Pair& pair) {
    for (;;) {
        ++pair.switches;
        co_await Transfer{pair.first};
    }
}

Result hand_over(long rounds) {
    Pair pair;
    Task first = begins(pair, rounds), second = answers(pair);
    pair.first = first.handle;
    pair.second = second.handle;
    auto begun = Clock::now();
    first.handle.resume();
    auto took = Clock::now() - begun;
    return {pair.switches, took};
}

int main(int, char** arguments) {
    bool yields = std::strcmp(arguments[1], "yield") == 0;
    long tasks = std::atol(arguments[2]), rounds = std::atol(arguments[3]);
    auto run = [=](long rounds) { return yields ? yield(tasks, rounds) : hand_over(rounds); };
    // A warm-up.
    run(rounds / 10 + 1);
    auto [switches, took] = run(rounds);
    long long nanoseconds = std::chrono::duration_cast<std::chrono::nanoseconds>(took).count();
    std::printf("%ld %lld\n", switches, nanoseconds);
}
