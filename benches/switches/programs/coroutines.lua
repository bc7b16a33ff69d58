-- Coroutines that yield to a queue, and a coroutine that the main program resumes. For Lua and
-- LuaJIT.
--
-- Arguments: `yield TASKS ROUNDS` or `hand-over 2 ROUNDS`. Prints the number of switches, and the
-- nanoseconds that they took. The clock is that of the process's CPU time, because Lua's library has
-- no other precise clock.

local create, resume, suspend, clock = coroutine.create, coroutine.resume, coroutine.yield, os.clock

-- Each coroutine yields `rounds` times. The clock starts when all coroutines have started, and stops
-- when the last has returned from its last counted yield.
local function yield(tasks, rounds)
  local arrived, left, switches = 0, 0, 0
  local begun, ended

  local function task()
    arrived = arrived + 1
    if arrived == tasks then begun = clock() end
    for _ = 1, rounds do
      suspend(true)
      switches = switches + 1
    end
    left = left + 1
    if left == tasks then ended = clock() end
    -- So no coroutine ends while the clock runs.
    suspend(true)
  end

  -- A queue with room for all coroutines, first in, first out.
  local queue, head, tail, length = {}, 1, 1, tasks
  for place = 1, tasks do queue[place] = create(task) end
  while length > 0 do
    local first = queue[head]
    head = head == tasks and 1 or head + 1
    local sound, again = resume(first)
    if not sound then error(again) end
    if again then
      queue[tail] = first
      tail = tail == tasks and 1 or tail + 1
    else
      length = length - 1
    end
  end
  return switches, ended - begun
end

-- The main program resumes the coroutine, which yields back. There are two hand-overs per round.
local function hand_over(rounds)
  local answered, returned = 0, 0
  local other = create(function()
    while true do
      answered = answered + 1
      suspend()
    end
  end)
  local begun = clock()
  for _ = 1, rounds do
    if not resume(other) then error("the coroutine has failed") end
    returned = returned + 1
  end
  return answered + returned, clock() - begun
end

local function run(shape, tasks, rounds)
  if shape == "yield" then return yield(tasks, rounds) end
  return hand_over(rounds)
end

local shape, tasks, rounds = arg[1], tonumber(arg[2]), tonumber(arg[3])
-- A warm-up.
run(shape, tasks, math.floor(rounds / 10) + 1)
local switches, took = run(shape, tasks, rounds)
print(string.format("%d %.0f", switches, took * 1e9))
