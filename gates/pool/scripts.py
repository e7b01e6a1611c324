"""The edits of a pool in Redis: one Lua script an edit, the same in meaning as ``edits.py``.

Every script gets, in this order::

    KEYS[1] - the pool's hash           KEYS[6] - removed files by time (sorted set)
    KEYS[2] - slots (hash)              KEYS[7] - results of edits (hash)
    KEYS[3] - order (sorted set)        KEYS[8] - ids of edits (list)
    KEYS[4] - files (hash)              KEYS[9] - reserved names (sorted set)
    KEYS[5] - trash (hash)
    ARGV[1] - the operation id          ARGV[2] - the revision that is expected, or ""

and answers {code, ...}: ``done`` with revision, incarnation and result; ``again`` with the same
when an operation of that id was applied before; ``missing``, ``moved`` (revision), ``no_slot``
(file), ``full`` (slots there would be), ``exists``, ``not_same``, ``late`` for what was refused,
and then nothing has changed.

A pool exists while its hash has ``rev``; ``born`` tells its incarnations apart. A slot's rank is
a float between its neighbours' ranks; where there is no float left between, all are numbered anew.
"""

from __future__ import annotations

PRELUDE = """
local POOL, SLOTS, ORDER, FILES, TRASH = KEYS[1], KEYS[2], KEYS[3], KEYS[4], KEYS[5]
local TRASHED, EDITS, EDIT_IDS, RESERVED = KEYS[6], KEYS[7], KEYS[8], KEYS[9]
local GAP = 65536          -- between the ranks of neighbours; 2^16 leaves 38 halvings at 10,000 slots
local EDITS_KEPT = 10000   -- operation ids; more than a journal replays before it forgets what is done
local TRASH_KEPT = 200     -- removed slots kept beyond their first day; Redis holds them in memory
local DAY = 86400000
local HOUR = 3600000

local function now()
  local t = redis.call('TIME')
  return t[1] * 1000 + math.floor(t[2] / 1000)
end

local function exact(number)
  return string.format('%.17g', number)
end

local function mask_of(file)
  return string.sub(file, 1, -5) .. '.mask.png'
end

-- What to answer instead of making the edit; nil when it may be made.
local function refusal(may_be_new)
  local head = redis.call('HMGET', POOL, 'rev', 'born')
  local result = redis.call('HGET', EDITS, ARGV[1])
  if result then return {'again', head[1] or '0', head[2] or '', result} end
  if not head[1] then return not may_be_new and {'missing'} or nil end
  if ARGV[2] ~= '' and ARGV[2] ~= head[1] then return {'moved', head[1]} end
  return nil
end

local function done(result)
  if redis.call('HGET', POOL, 'active') == '' then
    redis.call('HSET', POOL, 'active', redis.call('ZRANGE', ORDER, 0, 0)[1] or '')
  end
  local rev = redis.call('HINCRBY', POOL, 'rev', 1)
  redis.call('HSET', EDITS, ARGV[1], result)
  if redis.call('RPUSH', EDIT_IDS, ARGV[1]) > EDITS_KEPT then
    redis.call('HDEL', EDITS, redis.call('LPOP', EDIT_IDS))
  end
  redis.call('PUBLISH', POOL, rev)
  return {'done', tostring(rev), redis.call('HGET', POOL, 'born'), result}
end

local function unknown(files)
  for _, file in ipairs(files) do
    if redis.call('HEXISTS', SLOTS, file) == 0 then return {'no_slot', file} end
  end
  return nil
end

local function arguments(first)
  local list = {}
  for i = first, #ARGV do list[#list + 1] = ARGV[i] end
  return list
end

local function number_anew()
  for i, file in ipairs(redis.call('ZRANGE', ORDER, 0, -1)) do
    redis.call('ZADD', ORDER, exact(i * GAP), file)
  end
end

-- Ranks files (none of them ranked) before a slot, or at the end.
local function place(files, before)
  for attempt = 1, 2 do
    local low, high
    if before then
      high = tonumber(redis.call('ZSCORE', ORDER, before))
      local at = redis.call('ZRANK', ORDER, before)
      if at > 0 then low = tonumber(redis.call('ZRANGE', ORDER, at - 1, at - 1, 'WITHSCORES')[2]) end
    else
      low = tonumber(redis.call('ZRANGE', ORDER, -1, -1, 'WITHSCORES')[2] or '0')
    end
    high = high or low + GAP * (#files + 1)
    low = low or high - GAP * (#files + 1)
    local step, last, fits = (high - low) / (#files + 1), low, true
    for i = 1, #files do
      local rank = low + step * i
      fits = fits and rank > last and rank < high
      last = rank
    end
    if fits then
      for i, file in ipairs(files) do redis.call('ZADD', ORDER, exact(low + step * i), file) end
      return
    end
    number_anew()
  end
end

-- The slot right of a file, nil at the end.
local function after(file)
  local at = redis.call('ZRANK', ORDER, file)
  return redis.call('ZRANGE', ORDER, at + 1, at + 1)[1]
end
"""

# ARGV[3..] - files
REMOVE = (
    PRELUDE
    + """
local files = arguments(3)
local no = refusal() or unknown(files)
if no then return no end
local at, left = now(), {}
for i, file in ipairs(files) do
  local rank = redis.call('ZRANK', ORDER, file)
  left[i] = rank > 0 and redis.call('ZRANGE', ORDER, rank - 1, rank - 1)[1] or ''
end
local active = redis.call('HGET', POOL, 'active')
local place_of_active = redis.call('ZSCORE', ORDER, active)
for i, file in ipairs(files) do
  local entry = cjson.decode(redis.call('HGET', SLOTS, file))
  entry.left, entry.at = left[i], at
  redis.call('HSET', TRASH, file, cjson.encode(entry))
  redis.call('ZADD', TRASHED, at, file)
  redis.call('HDEL', SLOTS, file)
  redis.call('ZREM', ORDER, file)
end
if redis.call('HEXISTS', SLOTS, active) == 0 then
  local heir = place_of_active and (redis.call('ZRANGEBYSCORE', ORDER, place_of_active, '+inf', 'LIMIT', 0, 1)[1]
    or redis.call('ZREVRANGEBYSCORE', ORDER, place_of_active, '-inf', 'LIMIT', 0, 1)[1])
  redis.call('HSET', POOL, 'active', heir or '')
end
for _ = 1, 1000 do
  local oldest = redis.call('ZRANGE', TRASHED, 0, 0, 'WITHSCORES')
  local age = oldest[1] and at - tonumber(oldest[2]) or 0
  if age <= DAY or (age <= 30 * DAY and redis.call('ZCARD', TRASHED) <= TRASH_KEPT) then break end
  redis.call('HDEL', TRASH, oldest[1])
  redis.call('ZREM', TRASHED, oldest[1])
  redis.call('HDEL', FILES, oldest[1], mask_of(oldest[1]))
end
return done('')
"""
)

# ARGV[3] - limit (slots of a pool), ARGV[4..] - files
RESTORE = (
    PRELUDE
    + """
local files = arguments(4)
local no = refusal()
if no then return no end
for _, file in ipairs(files) do
  if redis.call('HEXISTS', TRASH, file) == 0 then return {'no_slot', file} end
end
local count = redis.call('ZCARD', ORDER) + #files
if count > tonumber(ARGV[3]) then return {'full', tostring(count)} end
for _, file in ipairs(files) do
  local entry = cjson.decode(redis.call('HGET', TRASH, file))
  local left = entry.left
  while left ~= '' and redis.call('HEXISTS', SLOTS, left) == 0 do
    local gone = redis.call('HGET', TRASH, left)
    if not gone then break end
    left = cjson.decode(gone).left
  end
  local before = nil
  if left == '' then
    before = redis.call('ZRANGE', ORDER, 0, 0)[1]
  elseif redis.call('HEXISTS', SLOTS, left) == 1 then
    before = after(left)
  end
  place({file}, before)
  entry.left, entry.at = nil, nil
  redis.call('HSET', SLOTS, file, cjson.encode(entry))
end
for _, file in ipairs(files) do
  redis.call('HDEL', TRASH, file)
  redis.call('ZREM', TRASHED, file)
end
return done('')
"""
)

# ARGV[3] - the slot to stand before, or "", ARGV[4..] - files
MOVE = (
    PRELUDE
    + """
local files, before = arguments(4), ARGV[3] ~= '' and ARGV[3] or nil
local no = refusal() or unknown(files) or (before and unknown({before}))
if no then return no end
local moving = {}
for _, file in ipairs(files) do moving[file] = true end
while before and moving[before] do before = after(before) end
for _, file in ipairs(files) do redis.call('ZREM', ORDER, file) end
place(files, before)
return done('')
"""
)

# ARGV[3..] - every file, in the new order
REORDER = (
    PRELUDE
    + """
local files = arguments(3)
local no = refusal()
if no then return no end
local seen = {}
for _, file in ipairs(files) do
  if seen[file] or not redis.call('ZSCORE', ORDER, file) then return {'not_same'} end
  seen[file] = true
end
if #files ~= redis.call('ZCARD', ORDER) then return {'not_same'} end
for i, file in ipairs(files) do redis.call('ZADD', ORDER, exact(i * GAP), file) end
return done('')
"""
)

# ARGV[3] - file
ACTIVATE = (
    PRELUDE
    + """
local no = refusal() or unknown({ARGV[3]})
if no then return no end
redis.call('HSET', POOL, 'active', ARGV[3])
return done('')
"""
)

# ARGV[3] - file, ARGV[4] - label
LABEL = (
    PRELUDE
    + """
local no = refusal() or unknown({ARGV[3]})
if no then return no end
local slot = cjson.decode(redis.call('HGET', SLOTS, ARGV[3]))
slot.label = ARGV[4]
redis.call('HSET', SLOTS, ARGV[3], cjson.encode(slot))
return done('')
"""
)

# ARGV[3] - file, ARGV[4] - digest of the mask, "" to clear it, ARGV[5] - the mask as PNG
SET_MASK = (
    PRELUDE
    + """
local no = refusal() or unknown({ARGV[3]})
if no then return no end
local slot = cjson.decode(redis.call('HGET', SLOTS, ARGV[3]))
local mask = mask_of(ARGV[3])
slot.mask, slot.mask_digest = ARGV[4] ~= '' and mask or '', ARGV[4]
if ARGV[4] ~= '' then
  redis.call('HSET', FILES, mask, ARGV[5])
else
  redis.call('HDEL', FILES, mask)
end
redis.call('HSET', SLOTS, ARGV[3], cjson.encode(slot))
return done('')
"""
)

# ARGV[3] - name
RENAME = (
    PRELUDE
    + """
local no = refusal()
if no then return no end
redis.call('HSET', POOL, 'name', ARGV[3])
return done('')
"""
)
