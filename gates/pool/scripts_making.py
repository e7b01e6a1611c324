"""The steps that make, rebuild, delete and read a pool in Redis; keys and answers as in ``scripts.py``.

An add takes three: RESERVE gives it names, its bytes are then written under them, and ADD makes
the slots appear. RELEASE takes the first two back.
"""

from __future__ import annotations

from .scripts import PRELUDE

# ARGV[3] - JSON: limit (slots of a pool), new (true: the pool must not exist), and where given: before
# ARGV[4..] - one a slot: the name that is wanted, or "" for the next one
# Reserves names and answers {'reserved', name, ...}; what died with its reservation an hour ago is cleaned up.
RESERVE = (
    PRELUDE
    + """
local no = refusal(true)
if no then return no end
local options = cjson.decode(ARGV[3])
local exists = redis.call('HEXISTS', POOL, 'rev') == 1
if options.new and exists then return {'exists'} end
if options.before and redis.call('HEXISTS', SLOTS, options.before) == 0 then return {'no_slot', options.before} end
local count = redis.call('ZCARD', ORDER) + #ARGV - 3
if count > options.limit then return {'full', tostring(count)} end
local at = now()
for _, file in ipairs(redis.call('ZRANGEBYSCORE', RESERVED, '-inf', at - HOUR, 'LIMIT', 0, 1000)) do
  redis.call('HDEL', FILES, file, mask_of(file))
  redis.call('ZREM', RESERVED, file)
end
local next_name = math.max(tonumber(redis.call('HGET', POOL, 'next_name') or '1'),
  tonumber(redis.call('HGET', POOL, 'next_seq') or '1'))
if next_name + #ARGV > 1e9 then return {'used_up'} end
local names = {'reserved'}
for i = 4, #ARGV do
  local file = ARGV[i]
  if file == '' or redis.call('HEXISTS', SLOTS, file) == 1 or redis.call('HEXISTS', TRASH, file) == 1
      or redis.call('HEXISTS', FILES, file) == 1 then
    file = string.format('img_%04d.png', next_name)
  end
  next_name = math.max(next_name, tonumber(string.sub(file, 5, -5)) + 1)
  -- Holds the name against another one who wants it, and makes the key, so that it can expire.
  redis.call('HSET', FILES, file, '')
  redis.call('ZADD', RESERVED, at, file)
  names[#names + 1] = file
end
redis.call('HSET', POOL, 'next_name', next_name)
if not exists then
  for _, key in ipairs({POOL, FILES, RESERVED}) do redis.call('PEXPIRE', key, 30 * DAY) end
end
return names
"""
)

# ARGV[3..] - reserved names that are not needed after all: frees them with their bytes.
RELEASE = (
    PRELUDE
    + """
for _, file in ipairs(arguments(3)) do
  if redis.call('ZREM', RESERVED, file) == 1 then redis.call('HDEL', FILES, file, mask_of(file)) end
end
if redis.call('HLEN', POOL) == 1 and redis.call('EXISTS', RESERVED, SLOTS, TRASH) == 0 then
  redis.call('DEL', POOL, FILES)
end
"""
)

# ARGV[3] - JSON: limit, new, born (for a pool that is made), and where given: before, name, active, next_seq,
# origin (of the mirror that it is made from), edits (operation ids that the mirror has applied)
# ARGV[4..] - file, slot as JSON, ...; the names are reserved and their bytes written
ADD = (
    PRELUDE
    + """
local no = refusal(true)
if no then return no end
local options = cjson.decode(ARGV[3])
local exists = redis.call('HEXISTS', POOL, 'rev') == 1
if options.new and exists then return {'exists'} end
if options.before and redis.call('HEXISTS', SLOTS, options.before) == 0 then return {'no_slot', options.before} end
local count = redis.call('ZCARD', ORDER) + (#ARGV - 3) / 2
if count > options.limit then return {'full', tostring(count)} end
local files, next_seq = {}, math.max(options.next_seq or 1, tonumber(redis.call('HGET', POOL, 'next_seq') or '1'))
for i = 4, #ARGV, 2 do
  if not redis.call('ZSCORE', RESERVED, ARGV[i]) then return {'late'} end
  files[#files + 1] = ARGV[i]
  next_seq = math.max(next_seq, tonumber(string.sub(ARGV[i], 5, -5)) + 1)
end
if not exists then
  local last = redis.call('HGET', POOL, 'last_rev') or '0'
  redis.call('HDEL', POOL, 'last_rev', 'origin')
  redis.call('HSET', POOL, 'rev', last, 'born', options.born, 'name', options.name or '', 'active', '')
  if options.origin then redis.call('HSET', POOL, 'origin', options.origin) end
  for _, key in ipairs({POOL, FILES, RESERVED, EDITS, EDIT_IDS}) do redis.call('PERSIST', key) end
end
for i = 4, #ARGV, 2 do
  redis.call('HSET', SLOTS, ARGV[i], ARGV[i + 1])
  redis.call('ZREM', RESERVED, ARGV[i])
end
redis.call('HSET', POOL, 'next_seq', next_seq)
if #files > 0 then place(files, options.before) end
for _, id in ipairs(options.edits or {}) do
  redis.call('HSET', EDITS, id, '')
  redis.call('RPUSH', EDIT_IDS, id)
end
if options.active and not exists then redis.call('HSET', POOL, 'active', options.active) end
return done(#files > 0 and cjson.encode(files) or '[]')
"""
)

# Deletes the pool. For 30 days its hash still says so, and that its names and revisions are used up.
DELETE = (
    PRELUDE
    + """
local no = refusal()
if no then return no end
local rev = redis.call('HGET', POOL, 'rev')
local dead = redis.call('HGET', POOL, 'born') .. ' ' .. (redis.call('HGET', POOL, 'dead') or '')
redis.call('HDEL', POOL, 'rev', 'born', 'name', 'active', 'origin')
-- The incarnations that were deleted, the last ones: a mirror of one of them is no other pool.
redis.call('HSET', POOL, 'dead', string.sub(dead, 1, 1000), 'last_rev', rev)
redis.call('UNLINK', SLOTS, ORDER, FILES, TRASH, TRASHED, RESERVED)
redis.call('HSET', EDITS, ARGV[1], '')
redis.call('RPUSH', EDIT_IDS, ARGV[1])
for _, key in ipairs({POOL, EDITS, EDIT_IDS}) do redis.call('PEXPIRE', key, 30 * DAY) end
redis.call('PUBLISH', POOL, 'deleted')
return {'done', rev, '', ''}
"""
)

# ARGV[3] - JSON: born, active, next_seq, drop (names of files that nothing needs), ARGV[4..] - file, slot as JSON, ...
REBUILD = (
    PRELUDE
    + """
local no = refusal(true)
if no then return no end
local options = cjson.decode(ARGV[3])
if redis.call('HEXISTS', POOL, 'rev') == 0 then
  redis.call('HSET', POOL, 'rev', redis.call('HGET', POOL, 'last_rev') or '0', 'born', options.born, 'name', '')
  for _, key in ipairs({POOL, FILES, EDITS, EDIT_IDS}) do redis.call('PERSIST', key) end
end
redis.call('DEL', SLOTS, ORDER)
for i = 4, #ARGV, 2 do
  redis.call('HSET', SLOTS, ARGV[i], ARGV[i + 1])
  redis.call('ZADD', ORDER, exact(i / 2 * GAP), ARGV[i])
end
for _, file in ipairs(options.drop) do redis.call('HDEL', FILES, file) end
redis.call('HSET', POOL, 'active', options.active, 'next_seq', options.next_seq)
return done('')
"""
)

# Answers {the pool's hash as field, value, ...; the slots as JSON; the files in their order}, of one moment.
READ = (
    PRELUDE
    + """
return {redis.call('HGETALL', POOL), redis.call('HVALS', SLOTS), redis.call('ZRANGE', ORDER, 0, -1)}
"""
)
