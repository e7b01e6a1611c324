"""The steps of the runs of parked gates in Redis: claimed, noted, resumed, carried out, ended.

Keys, first arguments and answers are as in ``scripts.py``; what they do is told in ``parking.py``.
"""

from __future__ import annotations

from .prelude import PRELUDE

# Whether the process of an owner lives: here | dead: another start of it does | away: not known to live
_LIVES = """
local function lives(owner)
  local instance, boot = string.match(owner or '', '^(.*):([^:]*)$')
  if not instance then return 'away' end
  local instances = string.gsub(KEYS[2], 'gates$', 'instance')
  local lease = redis.call('ZSCORE', instances .. 's', instance)
  local alive = lease and tonumber(lease) > now()
  local started = redis.call('HGET', instances .. ':' .. instance, 'boot')
  if started and started ~= boot then return 'dead' end
  return alive and 'here' or 'away'
end

-- Whether the process of an owner is known to live no more. One that is away has to be so for a while: a lease that is
-- over may be Redis' own fault, and who was away with it comes back in a moment.
local function is_gone(owner, key, for_ms)
  local there, since = lives(owner), redis.call('HGET', key, 'run_gone')
  if there == 'away' and not (since and now() - since >= tonumber(for_ms)) then
    redis.call('HSETNX', key, 'run_gone', now())
    return false
  end
  redis.call('HDEL', key, 'run_gone')
  return there ~= 'here'
end

-- The number of a run among all, in the order in which they began.
local function numbered(lead)
  if (redis.call('HGET', prefix .. lead, 'run_seq') or '0') == '0' then
    redis.call('HSET', prefix .. lead, 'run_seq', redis.call('INCR', KEYS[2] .. ':runs:counter'))
  end
end
"""

# ARGV[3] who submits, [4] ms until it is due again, [5] ms for which a process must have been away
# OK | NO: it is not due, or the prompt in which it parked still runs
CLAIM = (
    PRELUDE
    + _LIVES
    + """
local at, due = now(), redis.call('ZSCORE', runs, id)
if not due or tonumber(due) > at then return {'NO'} end
local row = redis.call('HMGET', gate, 'run', 'over', 'owner', 'status')
if not row[4] then
  redis.call('ZREM', runs, id)
  return {'NO'}
end
if row[2] ~= '1' then
  if not is_gone(row[3], gate, ARGV[5]) then return {'NO'} end
  redis.call('HDEL', prompts, id)
end
redis.call('ZADD', runs, at + ARGV[4], id)
numbered(id)
redis.call('HSET', gate, 'run', row[1] == 'pending' and 'submitting' or row[1], 'run_by', ARGV[3], 'over', 1,
           'run_at', at)
changed()
return answer('OK')
"""
)

# ARGV[3] who has claimed it, [4] state, [5] run_id, [6] on, [7] error, [8] ms until it is due again
# OK | NO: another has it, or it has ended
NOTE = (
    PRELUDE
    + """
local row = redis.call('HMGET', gate, 'run', 'run_by', 'run_id', 'run_on')
if not redis.call('ZSCORE', runs, id) or not under_way(row[1]) or row[2] ~= ARGV[3] then return {'NO'} end
local state, at = ARGV[4], now()
if not under_way(state) then
  redis.call('ZREM', runs, id)
  redis.call('HDEL', prompts, id)
  release(id)
else
  redis.call('ZADD', runs, at + ARGV[8], id)
  if state == 'submitted' and row[1] == 'running' then state = 'running' end
end
local on = ARGV[6]
if on == '' or row[1] == 'running' then on = row[4] or '' end
redis.call('HSET', gate, 'run', state, 'run_id', ARGV[5] ~= '' and ARGV[5] or row[3] or '',
           'run_on', on, 'run_error', ARGV[7], 'run_at', at)
changed()
return answer('OK')
"""
)

# Who carries a decision out. ARGV[3] decision id. Gives the lead and the status, or nil and the refusal:
# CLOSED: it was cancelled or expired | TAKEN | UNDECIDED | OTHER: another one stands | UNPARKED | MISSING
_CARRY = """
local function lead_to_carry()
  local row = redis.call('HMGET', gate, 'status', 'decision_id', 'taken_back', 'parked', 'group')
  if not row[1] then return nil, {'MISSING'} end
  if row[1] == 'cancelled' or row[1] == 'expired' then return nil, answer('CLOSED') end
  if not row[2] then return nil, answer(was_taken_back(row[3], ARGV[3]) and 'TAKEN' or 'UNDECIDED') end
  if row[2] ~= ARGV[3] then return nil, answer('OTHER') end
  if not is_parked(row[4]) then return nil, answer('UNPARKED') end
  return row[5], row[1]
end

local function refuse(lead, code)
  turn_to(lead)
  return answer(code)
end
"""

# ARGV[3] decision id, [4] prompt id, [5] owner, [6] ms for which a process must have been away, [7] the owner's name
# OK: that prompt is the run | BUSY: another one is | RUNENDED | UNSETTLED: others of the group are undecided, and the
# refusals of _CARRY
RESUME = (
    PRELUDE
    + _LIVES
    + _CARRY
    + """
local lead, refusal = lead_to_carry()
if not lead then return refusal end
local key, at = prefix .. lead, now()
local row = redis.call('HMGET', key, 'run', 'run_owner', 'run_prompt', 'undecided')
if row[4] ~= '0' or (row[1] or '') == '' then return answer('UNSETTLED') end
if not under_way(row[1]) then return refuse(lead, 'RUNENDED') end
local same = row[2] == ARGV[5] and row[3] == ARGV[4]
if same and row[1] == 'running' then return answer('OK') end
if (row[2] or '') ~= '' and not same then
  if not is_gone(row[2], key, ARGV[6]) then return refuse(lead, 'BUSY') end
end
redis.call('HDEL', key, 'run_gone')
redis.call('HSET', key, 'run', 'running', 'run_owner', ARGV[5], 'run_prompt', ARGV[4], 'run_at', at, 'over', 1,
           'run_on', ARGV[7])
redis.call('HSET', prompts, lead, ARGV[4])
numbered(lead)
turn_to(lead)
changed()
turn_to(ARGV[1])
return answer('OK')
"""
)

# ARGV[3] decision id, [4] prompt id, [5] owner, [6] ms to keep, [7] entries that the log keeps or 0 for all
# OK (also when repeated) | FENCED: another prompt is the run, or it has ended, and the refusals of _CARRY
CARRY = (
    PRELUDE
    + _CARRY
    + """
local lead, status = lead_to_carry()
if not lead then return status end
local row = redis.call('HMGET', prefix .. lead, 'run', 'run_owner', 'run_prompt')
if row[2] ~= ARGV[5] or row[3] ~= ARGV[4] then return refuse(lead, 'FENCED') end
if status == 'decided' then
  if row[1] ~= 'running' then return refuse(lead, 'FENCED') end
  finish('applied', 'applied', tonumber(ARGV[6]), ARGV[7])
end
return answer('OK')
"""
)

# Of a lead. ARGV[3] prompt id, [4] owner, [5] error or '', [6] the error when a decision was not carried out
# OK: noted now | NO: that prompt is not what it waits for
PROMPT_ENDED = (
    PRELUDE
    + """
local row = redis.call('HMGET', gate, 'over', 'owner', 'prompt_id', 'run', 'run_owner', 'run_prompt', 'status')
if not row[7] then
  redis.call('HDEL', prompts, id)
  return {'NO'}
end
if row[1] ~= '1' and row[2] == ARGV[4] and row[3] == ARGV[3] then
  redis.call('HDEL', prompts, id)
  redis.call('HSET', gate, 'over', 1)
  changed()
  return answer('OK')
end
if not under_way(row[4]) or row[5] ~= ARGV[4] or row[6] ~= ARGV[3] then return {'NO'} end
local failed = ARGV[5]
if failed == '' then
  for _, member in ipairs(group_of(id)) do
    if redis.call('HGET', prefix .. member, 'status') == 'decided' then failed = ARGV[6] end
  end
end
redis.call('ZREM', runs, id)
redis.call('HDEL', prompts, id)
redis.call('HSET', gate, 'run', failed == '' and 'done' or 'failed', 'run_error', failed, 'run_at', now())
release(id)
changed()
return answer('OK')
"""
)
