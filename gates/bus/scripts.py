"""The steps of a bus in Redis, each one atomic; all keys of a step share the bus's hash tag."""

# The next version number, and the time of its publish: that of the server, but never before the
# head's, so that a clock set back does not turn the newest version into an older one.
# KEYS[1] - the counter, KEYS[2] - the head
# ARGV[1] - the time of publish (ms), "" for now
# Returns {number, ms}.
RESERVE = """
local head = redis.call('HMGET', KEYS[2], 'version', 'published')
local number = math.max(tonumber(redis.call('GET', KEYS[1]) or 0), tonumber(head[1] or 0)) + 1
redis.call('SET', KEYS[1], string.format('%d', number))
local ms = tonumber(ARGV[1])
if not ms then
  local time = redis.call('TIME')
  ms = math.max(time[1] * 1000 + math.floor(time[2] / 1000), tonumber(head[2] or 0))
end
return {string.format('%d', number), string.format('%d', ms)}
"""

# Names the parts of a version that were written before, makes it the head unless the head is
# newer, and lets versions go that are too many.
# KEYS[1] - the head, KEYS[2] - the versions, KEYS[3] - the version's hash, then its parts, then
#   for every version that may go its hash and its parts
# ARGV[1] - number, ARGV[2] - ms, ARGV[3] - versions to keep, ARGV[4] - grace (ms),
#   ARGV[5] - how many parts, ARGV[6] - how many fields and values, then these, then for every
#   version that may go, oldest first, its number and how many keys it has
# Returns 1, or 0 when a part is not there: nothing is changed then.
COMMIT = """
local parts, fields = tonumber(ARGV[5]), tonumber(ARGV[6])
for i = 4, 3 + parts do
  if redis.call('EXISTS', KEYS[i]) == 0 then return 0 end
end
for i = 4, 3 + parts do redis.call('PERSIST', KEYS[i]) end
redis.call('HSET', KEYS[3], unpack(ARGV, 7, 6 + fields))
redis.call('ZADD', KEYS[2], ARGV[2], ARGV[1])
local head = redis.call('HMGET', KEYS[1], 'published', 'version')
local ms, number = tonumber(head[1] or 0), tonumber(head[2] or 0)
if ms < tonumber(ARGV[2]) or (ms == tonumber(ARGV[2]) and number < tonumber(ARGV[1])) then
  redis.call('DEL', KEYS[1])
  redis.call('HSET', KEYS[1], unpack(ARGV, 7, 6 + fields))
end
local surplus = redis.call('ZCARD', KEYS[2]) - tonumber(ARGV[3])
local key, arg = 4 + parts, 7 + fields
while ARGV[arg] do
  local count = tonumber(ARGV[arg + 1])
  if surplus > 0 and redis.call('ZREM', KEYS[2], ARGV[arg]) == 1 then
    surplus = surplus - 1
    for i = key, key + count - 1 do redis.call('PEXPIRE', KEYS[i], ARGV[4]) end
  end
  key, arg = key + count, arg + 2
end
return 1
"""

# Removes one version; its heir becomes the head when it was the head.
# KEYS[1] - the head, KEYS[2] - the versions, KEYS[3] - the heir's hash, then the version's own and its parts
# ARGV[1] - number, ARGV[2] - the heir's number, "" for none
# Returns 1, or 0 when the versions are not those that the caller saw: look again.
DELETE_VERSION = """
if not redis.call('ZSCORE', KEYS[2], ARGV[1]) then return 0 end
local rows = redis.call('ZRANGE', KEYS[2], 0, -1, 'WITHSCORES')
local heir, newest = '', -1
for i = 1, #rows, 2 do
  local ms = tonumber(rows[i + 1])
  if rows[i] ~= ARGV[1] and (ms > newest or (ms == newest and tonumber(rows[i]) > tonumber(heir))) then
    heir, newest = rows[i], ms
  end
end
if heir ~= ARGV[2] then return 0 end
redis.call('ZREM', KEYS[2], ARGV[1])
for i = 4, #KEYS do redis.call('UNLINK', KEYS[i]) end
if redis.call('HGET', KEYS[1], 'version') == ARGV[1] then
  redis.call('DEL', KEYS[1])
  local fields = heir ~= '' and redis.call('HGETALL', KEYS[3]) or {}
  if #fields > 0 then redis.call('HSET', KEYS[1], unpack(fields)) end
end
return 1
"""

# Removes the whole bus.
# KEYS[1] - the head, KEYS[2] - the versions, KEYS[3] - the counter, then the hashes and parts of all versions
# ARGV[1] - ms for which the counter is kept, then the versions' numbers
# Returns 1, or 0 when the versions are not those that the caller saw: look again.
DELETE_BUS = """
if redis.call('ZCARD', KEYS[2]) ~= #ARGV - 1 then return 0 end
for i = 2, #ARGV do
  if not redis.call('ZSCORE', KEYS[2], ARGV[i]) then return 0 end
end
redis.call('DEL', KEYS[1], KEYS[2])
for i = 4, #KEYS do redis.call('UNLINK', KEYS[i]) end
redis.call('PEXPIRE', KEYS[3], ARGV[1])
return 1
"""

# Takes a bus that is gone out of the index, unless it was published again meanwhile.
# KEYS[1] - the index
# ARGV[1] - name, ARGV[2] - the score that it had
FORGET = """
local score = redis.call('ZSCORE', KEYS[1], ARGV[1])
if score and tonumber(score) == tonumber(ARGV[2]) then return redis.call('ZREM', KEYS[1], ARGV[1]) end
return 0
"""
