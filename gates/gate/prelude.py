"""What every script of a gate begins with: its keys by name, the clock, the event, the log, the end, its group.

What is decided is logged in the same step (``decisions/record.py`` tells the fields). Every entry has
every field, because a stream stores the names of the same fields only once for many entries.

Scripts make the keys of a group's other gates, of its run and of its family from the ones that they are
given: these have the same hash tag, and so lie in the same slot of a cluster.
"""

from __future__ import annotations

PRELUDE = """
local gate, id = KEYS[1], ARGV[1]
local prefix = string.sub(gate, 1, #gate - #id)
local runs, prompts, parked_gates = KEYS[2] .. ':runs', KEYS[2] .. ':prompts', KEYS[2] .. ':parked'

local function turn_to(other)
  gate, id = prefix .. other, other
end

local function now()
  local t = redis.call('TIME')
  return t[1] * 1000 + math.floor(t[2] / 1000)
end

local function changed()
  local rev = redis.call('HINCRBY', gate, 'rev', 1)
  local data = cjson.encode({rev = rev, status = redis.call('HGET', gate, 'status')})
  redis.call('XADD', KEYS[5], 'MAXLEN', '~', ARGV[2], '*', 'type', 'gate', 'id', id, 'data', data)
  redis.call('PUBLISH', KEYS[5], '')
  redis.call('PUBLISH', KEYS[2], id)
end

local function answer(code)
  local reply = redis.call('HGETALL', gate)
  table.insert(reply, 1, code)
  return reply
end

local function log(kept, kind, at, decision, values)
  local row = {'kind', kind, 'at', at, 'gate', id, 'decision', decision or ''}
  for _, name in ipairs({'route', 'label', 'by', 'where', 'text', 'mask', 'outcome', 'ended', 'title', 'note',
                         'workflow', 'workflow_id', 'prompt_id', 'node_id', 'instance', 'opened', 'width', 'height',
                         'batch', 'digest', 'chosen'}) do
    row[#row + 1] = name
    row[#row + 1] = values[name] or ''
  end
  if kept == '0' then
    redis.call('XADD', KEYS[7], '*', unpack(row))
  else
    redis.call('XADD', KEYS[7], 'MAXLEN', '~', kept, '*', unpack(row))
  end
end

local function log_decision(kept)
  local of = {}
  local fields = redis.call('HGETALL', gate)
  for i = 1, #fields, 2 do of[fields[i]] = fields[i + 1] end
  for _, name in ipairs({'route', 'by', 'where', 'text', 'mask', 'chosen'}) do of[name] = of['decision_' .. name] end
  of.label = cjson.decode(of.labels or '[]')[tonumber(of.route)]
  of.outcome, of.ended = nil, nil
  log(kept, of.decision_kind, of.decision_at, of.decision_id, of)
end

local function was_taken_back(ids, decision)
  return ids and string.find(' ' .. ids .. ' ', ' ' .. decision .. ' ', 1, true)
end

local function has_ended(status)
  return status == 'applied' or status == 'cancelled' or status == 'expired'
end

local function finish(status, outcome, keep, kept)
  local at = now()
  redis.call('ZREM', KEYS[4], id)
  redis.call('ZREM', KEYS[3], id)
  redis.call('ZREM', KEYS[2], id)
  redis.call('ZREM', parked_gates, id)
  redis.call('HSET', gate, 'status', status, 'outcome', outcome, 'ended', at)
  redis.call('ZADD', KEYS[6], at, id)
  redis.call('ZREMRANGEBYSCORE', KEYS[6], '-inf', at - keep)
  redis.call('ZADD', KEYS[8], at, id)
  local row = redis.call('HMGET', gate, 'decision_id', 'digest')
  log(kept, 'end', at, row[1], {outcome = outcome, ended = at, digest = row[2]})
  changed()
end

local function family_key()
  local row = redis.call('HMGET', gate, 'family', 'prompt_id')
  local family = row[1] and row[1] ~= '' and row[1] or row[2]
  return family and family ~= '' and KEYS[2] .. ':family:' .. family
end

local function join_family()
  local key = family_key()
  if key then
    redis.call('ZADD', key, '+inf', id)
    redis.call('PERSIST', key)
  end
end

local function is_parked(parked)
  return parked and parked ~= '0'
end

local function under_way(run)
  return run == 'pending' or run == 'submitting' or run == 'submitted' or run == 'running'
end

local function group_of(lead)
  local ids = {}
  for member in string.gmatch(redis.call('HGET', prefix .. lead, 'members') or '', '%S+') do ids[#ids + 1] = member end
  return ids[1] and ids or {lead}
end

-- Nothing of the group is needed to run on any more: the bytes of those that have ended may go.
local function release(lead)
  local at = now()
  for _, member in ipairs(group_of(lead)) do
    if has_ended(redis.call('HGET', prefix .. member, 'status')) then redis.call('ZADD', KEYS[8], at, member) end
  end
end

-- When all of the group are decided, its run is pending, unless nothing is left to run.
local function settle(lead)
  if redis.call('HGET', prefix .. lead, 'undecided') ~= '0' then return end
  for _, member in ipairs(group_of(lead)) do
    if redis.call('HGET', prefix .. member, 'status') == 'decided' then
      redis.call('HSET', prefix .. lead, 'run', 'pending', 'run_at', now())
      redis.call('ZADD', runs, now(), lead)
      return
    end
  end
  release(lead)
end
"""
