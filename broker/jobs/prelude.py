"""What every script of a job begins with: its keys by name, the clock, the event, the queue, the end, the owner."""

from __future__ import annotations

PRELUDE = """
local job, id = KEYS[1], ARGV[1]

local function now()
  local t = redis.call('TIME')
  return t[1] * 1000 + math.floor(t[2] / 1000)
end

local function changed()
  local rev = redis.call('HINCRBY', job, 'rev', 1)
  local row = redis.call('HMGET', job, 'state', 'instance')
  local data = cjson.encode({rev = rev, state = row[1], instance = row[2]})
  redis.call('XADD', KEYS[5], 'MAXLEN', '~', ARGV[2], '*', 'type', 'job', 'id', id, 'data', data)
  redis.call('PUBLISH', KEYS[5], '')
end

local function answer(code)
  local reply = redis.call('HGETALL', job)
  table.insert(reply, 1, code)
  return reply
end

local function has_ended(state)
  return state == 'done' or state == 'failed' or state == 'cancelled' or state == 'lost'
end

local function less(key, field)
  if redis.call('HINCRBY', key, field, -1) <= 0 then redis.call('HDEL', key, field) end
end

local function leave_queue()
  if redis.call('ZREM', KEYS[3], id) == 0 then return end
  less(KEYS[7], redis.call('HGET', job, 'submitter'))
  if redis.call('ZCARD', KEYS[3]) == 0 then redis.call('DEL', KEYS[10]) end
end

local function leave_instance()
  if redis.call('HGET', job, 'held') == '1' then
    less(KEYS[8], redis.call('HGET', job, 'instance'))
    redis.call('HSET', job, 'held', '0')
  end
  redis.call('ZREM', KEYS[4], id)
end

local function finish(state, keep)
  local at = now()
  leave_instance()
  leave_queue()
  redis.call('HSET', job, 'state', state, 'ended', at)
  redis.call('ZADD', KEYS[6], at, id)
  redis.call('HSET', KEYS[11], id, state)
  redis.call('HINCRBY', KEYS[11], '=' .. state, 1)
  redis.call('PEXPIRE', job, keep)
  for _, old in ipairs(redis.call('ZRANGEBYSCORE', KEYS[6], '-inf', at - keep, 'LIMIT', 0, 100)) do
    redis.call('ZREM', KEYS[6], old)
    redis.call('ZREM', KEYS[2], old)
    local how = redis.call('HGET', KEYS[11], old)
    if how then
      redis.call('HDEL', KEYS[11], old)
      less(KEYS[11], '=' .. how)
    end
  end
  changed()
end

local function enqueue(submitter, priority)
  local served, own = 'p' .. priority, 's' .. priority .. ' ' .. submitter
  local turns = redis.call('HMGET', KEYS[10], served, own)
  local turn = math.max(tonumber(turns[1] or '0'), tonumber(turns[2] or '0')) + 1
  local score = string.format('%.0f', turn - tonumber(priority) * 1e12)
  redis.call('HSET', job, 'priority', priority, 'turn', turn, 'score', score)
  redis.call('HSET', KEYS[10], own, turn)
  redis.call('ZADD', KEYS[3], score, id)
end

local function owned(broker, fence)
  local row = redis.call('HMGET', job, 'state', 'broker', 'fence')
  if not row[1] then return 'MISSING' end
  if has_ended(row[1]) then return 'ENDED' end
  if row[1] == 'queued' or row[2] ~= broker or row[3] ~= fence then return 'FENCED' end
  return 'OK'
end
"""
