"""What is read of many gates at once in Redis: scripts that change nothing."""

from __future__ import annotations

# KEYS[1] - leases, KEYS[2] - deadlines; ARGV[1] - at most so many
# The ids whose lease is over, then '', then those of them whose deadline is over, then '', then those whose deadline is
# over and that have no lease: they are parked.
OVERDUE = """
local t = redis.call('TIME')
local at = t[1] * 1000 + math.floor(t[2] / 1000)
local ids = redis.call('ZRANGEBYSCORE', KEYS[1], '-inf', at, 'LIMIT', 0, ARGV[1])
local reply = {}
for _, id in ipairs(ids) do reply[#reply + 1] = id end
reply[#reply + 1] = ''
for _, id in ipairs(ids) do
  local deadline = redis.call('ZSCORE', KEYS[2], id)
  if deadline and tonumber(deadline) <= at then reply[#reply + 1] = id end
end
reply[#reply + 1] = ''
for _, id in ipairs(redis.call('ZRANGEBYSCORE', KEYS[2], '-inf', at, 'LIMIT', 0, ARGV[1])) do
  if not redis.call('ZSCORE', KEYS[1], id) then reply[#reply + 1] = id end
end
return reply
"""

# KEYS[1] - an index of gates (live or ended), KEYS[2] - leases
# {now, id, lease or '', id, lease or '', ...}, oldest first: one look at the index and the leases together.
INDEX = """
local t = redis.call('TIME')
local reply = {t[1] * 1000 + math.floor(t[2] / 1000)}
for _, id in ipairs(redis.call('ZRANGE', KEYS[1], 0, -1)) do
  reply[#reply + 1] = id
  reply[#reply + 1] = redis.call('ZSCORE', KEYS[2], id) or ''
end
return reply
"""

# KEYS[1] - the gate's hash, KEYS[2] - leases; ARGV[1] - the gate's id
# {ALIVE or OVERDUE, field, value, ...}
RECORD = """
local t = redis.call('TIME')
local lease = redis.call('ZSCORE', KEYS[2], ARGV[1])
local reply = redis.call('HGETALL', KEYS[1])
local alive = lease and tonumber(lease) > t[1] * 1000 + math.floor(t[2] / 1000)
table.insert(reply, 1, alive and 'ALIVE' or 'OVERDUE')
return reply
"""

# KEYS[1] - leases, KEYS[2] - parked gates
# {how many have an owner that lives, how many have one that is gone, how many are parked}
COUNT = """
local t = redis.call('TIME')
local over = redis.call('ZCOUNT', KEYS[1], '-inf', t[1] * 1000 + math.floor(t[2] / 1000))
return {redis.call('ZCARD', KEYS[1]) - over, over, redis.call('ZCARD', KEYS[2])}
"""

# KEYS[1] - runs; ARGV[1] - ms for which they are due, [2] - at most so many
DUE = """
local t = redis.call('TIME')
local at = t[1] * 1000 + math.floor(t[2] / 1000)
return redis.call('ZRANGEBYSCORE', KEYS[1], '-inf', at - ARGV[1], 'LIMIT', 0, ARGV[2])
"""
