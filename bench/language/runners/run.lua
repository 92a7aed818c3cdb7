-- Runs PROGRAM.lua's main(SIZE): its result goes to the standard output, the seconds it took to standard error.
-- Lua's own library has no monotonic clock finer than a second: this one counts the process's CPU time.

local path, size = arg[1], math.tointeger(tonumber(arg[2]))
local main = dofile(path)
local start = os.clock()
local result = main(size)
local seconds = os.clock() - start
print(result)
io.stderr:write(string.format("%.6f\n", seconds))
