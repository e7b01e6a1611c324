"""The steps of a gate in Redis: one Lua script a step, so that each is atomic and can be repeated.

Every script gets, in this order::

    KEYS[1] - the gate's hash          KEYS[4] - deadlines (sorted set)
    KEYS[2] - live gates (sorted set)  KEYS[5] - events (stream)
    KEYS[3] - leases (sorted set)      KEYS[6] - ended gates (sorted set)
    KEYS[7] - the decision log         KEYS[8] - ended gates whose bytes still have no expiry (sorted set)
    ARGV[1] - the gate's id            ARGV[2] - events that the stream keeps

and answers {code, field, value, field, value, ...}: the code says what happened, the fields are
the whole record after it. Times are the server's, in milliseconds.

The first write of DECIDE, TAKE_BACK, APPLY and CLOSE is a ZREM: when Redis is out of memory it refuses a
script whose first write needs memory, but lets one run whole that began without need of any.
"""

from __future__ import annotations

from .prelude import PRELUDE

# ARGV[3] owner, [4] instance, [5] lease ms, [6] ms to the deadline or 0, [7] 1 to announce again what was lost,
# [8] prompt_id, [9] node_id, [10] entries that the log keeps or 0 for all, [11..] field, value, ... of the whole record
# OK: opened (or was, by this owner) | ADOPTED | BUSY: another owner lives | ENDED | PARKED
OPEN = (
    PRELUDE
    + """
local row = redis.call('HMGET', KEYS[1], 'status', 'owner', 'parked')
local at = now()
if row[1] then
  if has_ended(row[1]) then return answer('ENDED') end
  if is_parked(row[3]) then return answer('PARKED') end
  if row[2] == ARGV[3] then
    redis.call('ZADD', KEYS[3], at + ARGV[5], id)
    return answer('OK')
  end
  local lease = redis.call('ZSCORE', KEYS[3], id)
  if lease and tonumber(lease) > at then return answer('BUSY') end
  redis.call('ZADD', KEYS[3], at + ARGV[5], id)
  redis.call('HINCRBY', KEYS[1], 'fence', 1)
  redis.call('HSET', KEYS[1], 'owner', ARGV[3], 'instance', ARGV[4], 'prompt_id', ARGV[8], 'node_id', ARGV[9])
  redis.call('HDEL', KEYS[1], 'orphaned')
  changed()
  return answer('ADOPTED')
end
local fields = {}
for i = 11, #ARGV do fields[#fields + 1] = ARGV[i] end
redis.call('HSET', KEYS[1], unpack(fields))
redis.call('HSET', KEYS[1], 'owner', ARGV[3], 'instance', ARGV[4], 'recovered', ARGV[7])
if ARGV[7] == '0' then redis.call('HSET', KEYS[1], 'opened', at) end
local opened = redis.call('HGET', KEYS[1], 'opened')
redis.call('ZADD', KEYS[2], opened, id)
redis.call('ZADD', KEYS[3], at + ARGV[5], id)
join_family()
-- The log was lost with the gate: what was decided is decided still.
if ARGV[7] == '1' and redis.call('HGET', KEYS[1], 'decision_id') then log_decision(ARGV[10]) end
if ARGV[6] ~= '0' then
  redis.call('HSET', KEYS[1], 'deadline', at + ARGV[6])
  if not redis.call('HGET', KEYS[1], 'decision_id') then redis.call('ZADD', KEYS[4], at + ARGV[6], id) end
end
changed()
return answer('OK')
"""
)

# Many gates in one script: a cluster pipelines none. KEYS[9..] - the hashes of the second gate and of those behind it
# ARGV[3] owner, [4] lease ms, then for each gate: id, fence, ms to the deadline or -1, the rev that the owner knows
# One answer a gate. SAME: nothing new (no fields follow) | OK | MISSING: the data set was lost | FENCED | ENDED
# | PARKED
LOOK = (
    PRELUDE
    + """
local at = now()

local function look(fence, left, rev)
  local row = redis.call('HMGET', gate, 'status', 'owner', 'fence', 'rev', 'orphaned', 'parked')
  if not row[1] then return {'MISSING'} end
  if has_ended(row[1]) then return answer('ENDED') end
  if is_parked(row[6]) then return answer('PARKED') end
  if row[2] ~= ARGV[3] or row[3] ~= fence then return answer('FENCED') end
  redis.call('ZADD', KEYS[3], at + ARGV[4], id)
  if left ~= '-1' and row[1] == 'waiting' then redis.call('ZADD', KEYS[4], at + left, id) end
  if row[5] then
    redis.call('HDEL', gate, 'orphaned')
    changed()
    return answer('OK')
  end
  if row[4] == rev then return {'SAME'} end
  return answer('OK')
end

local answers = {}
for i = 5, #ARGV, 4 do
  local number = (i - 1) / 4
  gate, id = KEYS[number == 1 and 1 or number + 7], ARGV[i]
  answers[number] = look(ARGV[i + 1], ARGV[i + 2], ARGV[i + 3])
end
return answers
"""
)

# ARGV[3] decision id, [4] kind, [5] route, [6] by, [7] text, [8] where, [9] chosen,
# [10] ms to keep a gate that ends here, [11] entries that the log keeps or 0 for all
# OK | SAME: this repeats the decision that stands | OTHER: another one stands | TAKEN: this one was taken back | ENDED
# | NOROUTE | NOIMAGE: it chose one beyond the batch | MISSING
# A cancel of a gate whose owner is gone ends it: nobody is there to acknowledge. So it does with a parked one; and it
# dismisses a gate whose run has failed.
DECIDE = (
    PRELUDE
    + """
local row = redis.call('HMGET', KEYS[1], 'status', 'decision_id', 'decision_kind', 'decision_route', 'decision_text',
                       'routes', 'mask', 'taken_back', 'decision_chosen', 'batch', 'parked',
                       'group', 'outcome')
if not row[1] then return {'MISSING'} end
if row[2] then
  if ARGV[4] == 'cancel' and row[13] == 'dismissed' then return answer('SAME') end
  if ARGV[4] == 'cancel' and row[1] == 'decided' and is_parked(row[11])
     and redis.call('HGET', prefix .. row[12], 'run') == 'failed' then
    finish('cancelled', 'dismissed', tonumber(ARGV[10]), ARGV[11])
    release(row[12])
    return answer('OK')
  end
  if row[2] == ARGV[3] or (row[3] == ARGV[4] and row[4] == ARGV[5] and row[5] == ARGV[7]
                           and (row[9] or '') == ARGV[9]) then
    redis.call('HINCRBY', KEYS[1], 'repeats', 1)
    return answer('SAME')
  end
  return answer('OTHER')
end
if has_ended(row[1]) then return answer('ENDED') end
if was_taken_back(row[8], ARGV[3]) then return answer('TAKEN') end
if tonumber(ARGV[5]) > tonumber(row[6]) then return answer('NOROUTE') end
local last = string.match(ARGV[9], '%d+$')
if last and tonumber(last) >= tonumber(row[10] or 0) then return answer('NOIMAGE') end
redis.call('ZREM', KEYS[4], id)
local at = now()
redis.call('HSET', KEYS[1], 'status', 'decided', 'decision_id', ARGV[3], 'decision_kind', ARGV[4],
           'decision_route', ARGV[5], 'decision_by', ARGV[6], 'decision_text', ARGV[7],
           'decision_where', ARGV[8], 'decision_mask', row[7] or '', 'decision_at', at, 'decision_chosen', ARGV[9])
log_decision(ARGV[11])
if is_parked(row[11]) then
  redis.call('ZREM', parked_gates, id)
  redis.call('HINCRBY', prefix .. row[12], 'undecided', -1)
  if ARGV[4] ~= 'route' then
    finish(ARGV[4] == 'cancel' and 'cancelled' or 'expired', 'applied', tonumber(ARGV[10]), ARGV[11])
  else
    changed()
  end
  settle(row[12])
  if row[12] ~= ARGV[1] then
    turn_to(row[12])
    changed()
    turn_to(ARGV[1])
  end
  return answer('OK')
end
local lease = redis.call('ZSCORE', KEYS[3], id)
if ARGV[4] ~= 'route' and not (lease and tonumber(lease) > at) then
  finish(ARGV[4] == 'cancel' and 'cancelled' or 'expired', 'nobody waited', tonumber(ARGV[10]), ARGV[11])
else
  changed()
end
return answer('OK')
"""
)

# ARGV[3] decision id, [4] by, [5] where, [6] ids that are remembered, [7] entries that the log keeps or 0 for all
# OK | SAME: it was taken back before | OTHER: another one stands | STAYS: no person's route | UNDECIDED
# | BEGUN: the run of the parked gate has | ENDED | MISSING
TAKE_BACK = (
    PRELUDE
    + """
local row = redis.call('HMGET', KEYS[1], 'status', 'decision_id', 'decision_kind', 'taken_back', 'deadline',
                       'parked', 'group')
if not row[1] then return {'MISSING'} end
if has_ended(row[1]) then return answer('ENDED') end
if not row[2] then return answer(was_taken_back(row[4], ARGV[3]) and 'SAME' or 'UNDECIDED') end
if row[2] ~= ARGV[3] then return answer('OTHER') end
if row[3] ~= 'route' or row[2] == 'deadline:' .. id then return answer('STAYS') end
local lead = is_parked(row[6]) and row[7]
local run = lead and redis.call('HGET', prefix .. lead, 'run') or ''
if run ~= '' and run ~= 'pending' then return answer('BEGUN') end
redis.call('ZREM', KEYS[4], id)
redis.call('HDEL', KEYS[1], 'decision_id', 'decision_kind', 'decision_route', 'decision_by', 'decision_text',
           'decision_where', 'decision_mask', 'decision_at', 'decision_chosen')
local ids = {}
for taken in string.gmatch(row[4] or '', '%S+') do ids[#ids + 1] = taken end
ids[#ids + 1] = ARGV[3]
local first = math.max(1, #ids - ARGV[6] + 1)
redis.call('HSET', KEYS[1], 'status', lead and 'parked' or 'waiting', 'taken_back', table.concat(ids, ' ', first))
if row[5] and row[5] ~= '0' then redis.call('ZADD', KEYS[4], row[5], id) end
log(ARGV[7], 'take-back', now(), ARGV[3], {by = ARGV[4], where = ARGV[5]})
changed()
if lead then
  redis.call('ZADD', parked_gates, now(), id)
  redis.call('HINCRBY', prefix .. lead, 'undecided', 1)
  if run ~= '' then
    redis.call('ZREM', runs, lead)
    redis.call('HSET', prefix .. lead, 'run', '', 'run_at', now())
  end
  if lead ~= ARGV[1] then
    turn_to(lead)
    changed()
    turn_to(ARGV[1])
  end
end
return answer('OK')
"""
)

# ARGV[3] owner, [4] fence, [5] decision id, [6] ms to keep, [7] entries that the log keeps or 0 for all
# OK (also when repeated) | TAKEN: it was taken back, and the gate waits | UNDECIDED: the decision was lost
# | OTHER: another one stands | FENCED | PARKED | MISSING
APPLY = (
    PRELUDE
    + """
local row = redis.call('HMGET', KEYS[1], 'status', 'owner', 'fence', 'decision_id', 'decision_kind', 'taken_back',
                       'parked')
if not row[1] then return {'MISSING'} end
if row[2] ~= ARGV[3] or row[3] ~= ARGV[4] then return answer('FENCED') end
if is_parked(row[7]) then return answer('PARKED') end
if not row[4] then return answer(was_taken_back(row[6], ARGV[5]) and 'TAKEN' or 'UNDECIDED') end
if row[4] ~= ARGV[5] then return answer('OTHER') end
if row[1] == 'decided' then
  local status = ({route = 'applied', cancel = 'cancelled', expire = 'expired'})[row[5]]
  finish(status, 'applied', tonumber(ARGV[6]), ARGV[7])
end
return answer('OK')
"""
)

# ARGV[3] owner, [4] fence, [5] outcome, [6] ms to keep, [7] entries that the log keeps or 0 for all
# OK (also when it had ended, or is not there) | FENCED | PARKED: it stays
CLOSE = (
    PRELUDE
    + """
local row = redis.call('HMGET', KEYS[1], 'status', 'owner', 'fence', 'parked')
if not row[1] then return {'OK'} end
if row[2] ~= ARGV[3] or row[3] ~= ARGV[4] then return answer('FENCED') end
if is_parked(row[4]) then return answer('PARKED') end
if not has_ended(row[1]) then finish('cancelled', ARGV[5], tonumber(ARGV[6]), ARGV[7]) end
return answer('OK')
"""
)

# ARGV[3] 1 when the change is allowed only before the decision, [4..] field, value, ...
# OK | DECIDED | ENDED | MISSING
SET = (
    PRELUDE
    + """
local row = redis.call('HMGET', KEYS[1], 'status', 'decision_id')
if not row[1] then return {'MISSING'} end
if has_ended(row[1]) then return answer('ENDED') end
if row[2] and ARGV[3] == '1' then return answer('DECIDED') end
local fields = {}
for i = 4, #ARGV do fields[#fields + 1] = ARGV[i] end
redis.call('HSET', KEYS[1], unpack(fields))
changed()
return answer('OK')
"""
)

# The image of a gate, live or ended. ARGV[3] layout, [4] digest, [5] entries that the log keeps or 0 for all
# OK | ENDED: known now, and logged when it had not been | MISSING
IMAGE = (
    PRELUDE
    + """
local row = redis.call('HMGET', KEYS[1], 'status', 'digest', 'decision_id')
if not row[1] then return {'MISSING'} end
redis.call('HSET', KEYS[1], 'layout', ARGV[3], 'digest', ARGV[4])
if not has_ended(row[1]) then
  changed()
  return answer('OK')
end
if row[2] ~= ARGV[4] then
  log(ARGV[5], 'image', now(), row[3], {digest = ARGV[4]})
  changed()
end
redis.call('ZADD', KEYS[8], now(), id)
return answer('ENDED')
"""
)

# Marks a gate whose lease is over, once, so that everyone who follows the events learns of it.
# ORPHANED: marked now | OK: it was marked before, is alive again, or is not there
ORPHAN = (
    PRELUDE
    + """
local status = redis.call('HGET', KEYS[1], 'status')
if not status then
  redis.call('ZREM', KEYS[3], id)
  redis.call('ZREM', KEYS[4], id)
  redis.call('ZREM', KEYS[2], id)
  redis.call('ZREM', parked_gates, id)
  return {'OK'}
end
local lease = redis.call('ZSCORE', KEYS[3], id)
if not lease or tonumber(lease) > now() then return {'OK'} end
if redis.call('HSETNX', KEYS[1], 'orphaned', now()) == 0 then return answer('OK') end
changed()
return answer('ORPHANED')
"""
)
