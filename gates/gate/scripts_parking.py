"""The steps of parked gates in Redis; keys, first arguments and answers are as in ``scripts.py``.

What they do is told in ``parking.py``. The members of a group and its lead are other gates of the same
slot: their keys are made from the lead's or the member's own (``prelude.py``).
"""

from __future__ import annotations

from .prelude import PRELUDE

# Whether all is stored that a continuation needs, of the fields kept, layout, kind.
_READY = """
local function is_ready(kept, layout, kind)
  return kept == '1' and ((layout or '') ~= '' or kind == 'text')
end
"""

# ARGV[3] owner, [4] ms to keep a gate that ends here, [5] entries that the log keeps or 0 for all,
# then for each gate, the lead first: id, fence
# One answer a gate, OK, when they are parked (now, or before). One answer otherwise, of the gate that is the reason:
# DECIDED: all are | NOTREADY | FENCED | PARKED: with others | ENDED | MISSING
PARK = (
    PRELUDE
    + _READY
    + """
local at, lead = now(), id
local ids, undecided, before = {}, {}, 0
local kinds, ready = {}, nil
for i = 6, #ARGV, 2 do
  turn_to(ARGV[i])
  local row = redis.call('HMGET', gate, 'status', 'owner', 'fence', 'decision_id', 'kept', 'layout', 'kind', 'parked',
                         'group', 'decision_kind')
  if not row[1] then return {{'MISSING'}} end
  ids[#ids + 1], kinds[id] = id, row[10]
  if is_parked(row[8]) then
    if row[9] ~= lead then return {answer('PARKED')} end
    before = before + 1
  else
    if row[2] ~= ARGV[3] or row[3] ~= ARGV[i + 1] then return {answer('FENCED')} end
    if has_ended(row[1]) then return {answer('ENDED')} end
    if not row[4] then undecided[#undecided + 1] = id end
    if not is_ready(row[5], row[6], row[7]) then ready = ready or answer('NOTREADY') end
  end
end
if before < #ids then
  turn_to(lead)
  if #undecided == 0 then return {answer('DECIDED')} end
  if ready then return {ready} end
  for _, member in ipairs(ids) do
    redis.call('ZREM', KEYS[3], member)
    redis.call('HSET', prefix .. member, 'parked', at, 'group', lead)
  end
  redis.call('HSET', gate, 'members', #ids > 1 and table.concat(ids, ' ') or '', 'undecided', #undecided, 'over', 0)
  redis.call('HSET', prompts, lead, redis.call('HGET', gate, 'prompt_id') or '')
  for _, member in ipairs(undecided) do
    redis.call('HSET', prefix .. member, 'status', 'parked')
    redis.call('ZADD', parked_gates, at, member)
  end
  for _, member in ipairs(ids) do
    turn_to(member)
    redis.call('HDEL', gate, 'orphaned')
    if kinds[member] and kinds[member] ~= 'route' then
      finish(kinds[member] == 'cancel' and 'cancelled' or 'expired', 'applied', tonumber(ARGV[4]), ARGV[5])
    else
      changed()
    end
  end
end
local answers = {}
for number, member in ipairs(ids) do
  turn_to(member)
  answers[number] = answer('OK')
end
return answers
"""
)

# ARGV[3] by, [4] where, [5] ms to keep a gate that ends here, [6] entries that the log keeps or 0 for all
# OK (also when it is parked) | LIVES: its owner does | NOTREADY | ENDED | MISSING
PARK_ORPHAN = (
    PRELUDE
    + _READY
    + """
local row = redis.call('HMGET', gate, 'status', 'parked', 'decision_id', 'decision_kind', 'kept', 'layout', 'kind')
if not row[1] then return {'MISSING'} end
if is_parked(row[2]) then return answer('OK') end
if has_ended(row[1]) then return answer('ENDED') end
local at, lease = now(), redis.call('ZSCORE', KEYS[3], id)
if lease and tonumber(lease) > at then return answer('LIVES') end
if not is_ready(row[5], row[6], row[7]) then return answer('NOTREADY') end
redis.call('ZREM', KEYS[3], id)
redis.call('HDEL', gate, 'orphaned')
redis.call('HSET', gate, 'parked', at, 'group', id, 'members', '', 'over', 1, 'undecided', row[3] and 0 or 1)
log(ARGV[6], 'park', at, row[3], {by = ARGV[3], where = ARGV[4]})
if not row[3] then
  redis.call('HSET', gate, 'status', 'parked')
  redis.call('ZADD', parked_gates, at, id)
elseif row[4] ~= 'route' then
  finish(row[4] == 'cancel' and 'cancelled' or 'expired', 'applied', tonumber(ARGV[5]), ARGV[6])
  return answer('OK')
else
  settle(id)
end
changed()
return answer('OK')
"""
)

# Its continuation is stored. OK | ENDED: it had ended, and its bytes are to be given an expiry | MISSING
KEPT = (
    PRELUDE
    + """
local status = redis.call('HGET', gate, 'status')
if not status then return {'MISSING'} end
redis.call('HSET', gate, 'kept', 1)
changed()
if not has_ended(status) then return answer('OK') end
redis.call('ZADD', KEYS[8], now(), id)
return answer('ENDED')
"""
)

# ARGV[3] the gate that is run again, [4] ms to keep it when it ends here, [5] entries that the log keeps or 0 for all,
# [6..] field, value, ... of the new gate's record
# OK (also when it was made before) | NOTENDED: the old one has not | NOTREADY | GONE: the old one is not there
AGAIN = (
    PRELUDE
    + _READY
    + """
if redis.call('EXISTS', gate) == 1 then return answer('OK') end
local new, old = id, ARGV[3]
local row = redis.call('HMGET', prefix .. old, 'status', 'group', 'kept', 'layout', 'kind')
if not row[1] then return {'GONE'} end
local lead = row[2] and row[2] ~= '' and row[2] or old
local failed = row[1] == 'decided' and redis.call('HGET', prefix .. lead, 'run') == 'failed'
turn_to(old)
if not has_ended(row[1]) and not failed then return answer('NOTENDED') end
if not is_ready(row[3], row[4], row[5]) then return answer('NOTREADY') end
if failed then
  finish('cancelled', 'run again', tonumber(ARGV[4]), ARGV[5])
  release(lead)
end
turn_to(new)
local at = now()
redis.call('HSET', gate, unpack(ARGV, 6))
redis.call('HSET', gate, 'opened', at, 'parked', at, 'decision_at', at, 'run_at', at, 'rev', 0)
redis.call('ZADD', KEYS[2], at, id)
redis.call('ZADD', runs, at, id)
join_family()
log_decision(ARGV[5])
changed()
return answer('OK')
"""
)

# An ended gate on its way out. ARGV[3] ms to keep its record, [4] 1 when its bytes have been given their expiry
# OK: they may be given it, or the record now has its own | HELD: its group still needs them, or it has not ended
LEAVE = (
    PRELUDE
    + """
local row = redis.call('HMGET', gate, 'status', 'parked', 'group')
local lead = redis.call('HMGET', prefix .. (row[3] or ''), 'undecided', 'run')
local needed = is_parked(row[2]) and (tonumber(lead[1] or 0) > 0 or under_way(lead[2]))
if row[3] == id and lead[2] == 'failed' then
  -- What becomes of the others is read from the lead.
  for _, member in ipairs(group_of(id)) do
    needed = needed or redis.call('HGET', prefix .. member, 'status') == 'decided'
  end
end
if row[1] and (needed or not has_ended(row[1])) then
  redis.call('ZREM', KEYS[8], id)
  return answer('HELD')
end
if row[1] and ARGV[4] == '0' then return answer('OK') end
redis.call('ZREM', KEYS[8], id)
redis.call('PEXPIRE', gate, ARGV[3])
local family, at = family_key(), now()
if family then
  redis.call('ZADD', family, at, id)
  redis.call('ZREMRANGEBYSCORE', family, '-inf', at - ARGV[3])
  if redis.call('ZCOUNT', family, '+inf', '+inf') == 0 then redis.call('PEXPIRE', family, ARGV[3]) end
end
return {'OK'}
"""
)

# The record of an ended gate that leaves is kept on. ARGV[3] ms to keep it. OK | NO: it does not leave
PROLONG = (
    PRELUDE
    + """
if redis.call('PTTL', gate) <= 0 then return {'NO'} end
redis.call('PEXPIRE', gate, ARGV[3])
local family = family_key()
redis.call('ZADD', family, now(), id)
return {'OK'}
"""
)
