"""The steps of a job in Redis: one Lua script a step, so that each is atomic and can be repeated.

Every script gets, in this order::

    KEYS[1] - the job's hash               KEYS[6]  - ended jobs (sorted set by time)
    KEYS[2] - all jobs (sorted set)        KEYS[7]  - submitter -> jobs of it that wait (hash)
    KEYS[3] - the queue (sorted set)       KEYS[8]  - instance -> jobs held there (hash)
    KEYS[4] - leases (sorted set)          KEYS[9]  - instance -> what it was set to (hash)
    KEYS[5] - events (stream)              KEYS[10] - turns (hash), see SUBMIT
                                           KEYS[11] - ended job -> its state, =STATE -> jobs (hash)
    ARGV[1] - the job's id                 ARGV[2]  - events that the stream keeps

and answers {code, field, value, ...}: the code says what happened, the fields are the whole
record after it. Times are the server's, in milliseconds.

The queue is a sorted set and not a stream with a consumer group: a stream hands entries out in the
order in which they came, whatever their priority and submitter, none can be taken out of its middle
when it is cancelled, and its redelivery knows nothing of a copy that runs already. Here the order is
the score, and who may take a job over is decided by lease and fence in the same script that takes it.
"""

from __future__ import annotations

from .prelude import PRELUDE

# ARGV[3] - jobs that may wait, [4] - of one submitter, [5] - submitter, [6] - priority, [7..] - field, value, ...
# OK | SAME: it is there | FULL | EACH: this submitter has too many
#
# Round robin over submitters is fair queueing: each job of a submitter gets the turn after its last one, but
# none before the turn that is being served. So a submitter that comes late waits for one job of each other one,
# however many they have. The turns are counted for each priority; the score is priority, then turn.
SUBMIT = (
    PRELUDE
    + """
if redis.call('EXISTS', job) == 1 then return answer('SAME') end
if redis.call('ZCARD', KEYS[3]) >= tonumber(ARGV[3]) then return {'FULL'} end
if tonumber(redis.call('HGET', KEYS[7], ARGV[5]) or '0') >= tonumber(ARGV[4]) then return {'EACH'} end
local fields = {}
for i = 7, #ARGV do fields[#fields + 1] = ARGV[i] end
local at = now()
redis.call('HSET', job, unpack(fields))
redis.call('HSET', job, 'state', 'queued', 'submitted', at, 'held', '0')
redis.call('ZADD', KEYS[2], at, id)
enqueue(ARGV[5], ARGV[6])
redis.call('HINCRBY', KEYS[7], ARGV[5], 1)
changed()
return answer('OK')
"""
)

# A job that is done as it comes: its results are known. ARGV[3] - ms to keep it, [4..] - field, value, ...
# OK | SAME
ANSWER = (
    PRELUDE
    + """
if redis.call('EXISTS', job) == 1 then return answer('SAME') end
local fields = {}
for i = 4, #ARGV do fields[#fields + 1] = ARGV[i] end
local at = now()
redis.call('HSET', job, unpack(fields))
redis.call('HSET', job, 'submitted', at, 'held', '0')
redis.call('ZADD', KEYS[2], at, id)
finish('done', tonumber(ARGV[3]))
return answer('OK')
"""
)

# KEYS[12..] - the hashes of the second job and of those behind it
# ARGV[3] - broker, [4] - lease ms, then for each offer: job, instance, limit, name, url, reasons
# OK: the job is this broker's | NONE: no offer holds any more
CLAIM = (
    PRELUDE
    + """
local at = now()
for i = 5, #ARGV, 6 do
  local number = (i - 5) / 6
  job, id = KEYS[number == 0 and 1 or number + 11], ARGV[i]
  local row = redis.call('HMGET', job, 'state', 'after', 'priority', 'turn')
  local free = tonumber(redis.call('HGET', KEYS[8], ARGV[i + 1]) or '0') < tonumber(ARGV[i + 2])
  if row[1] == 'queued' and tonumber(row[2] or '0') <= at and free
     and redis.call('HEXISTS', KEYS[9], ARGV[i + 1]) == 0 then
    local served = 'p' .. row[3]
    if tonumber(row[4]) > tonumber(redis.call('HGET', KEYS[10], served) or '0') then
      redis.call('HSET', KEYS[10], served, row[4])
    end
    leave_queue()
    redis.call('ZADD', KEYS[4], at + ARGV[4], id)
    redis.call('HINCRBY', KEYS[8], ARGV[i + 1], 1)
    redis.call('HINCRBY', job, 'fence', 1)
    redis.call('HSET', job, 'state', 'claimed', 'broker', ARGV[3], 'instance', ARGV[i + 1],
               'instance_name', ARGV[i + 3], 'url', ARGV[i + 4], 'reasons', ARGV[i + 5], 'held', '1',
               'claimed', at, 'prompt_id', '', 'progress', '0', 'node', '', 'note', '', 'sent', '0', 'started', '0')
    changed()
    return answer('OK')
  end
end
return {'NONE'}
"""
)

# ARGV[3] - broker, [4] - lease ms, [5] - the fence that the broker saw
# OK: the job is this broker's | BUSY: its owner lives, or another one took it | MISSING | ENDED
ADOPT = (
    PRELUDE
    + """
local row = redis.call('HMGET', job, 'state', 'fence')
if not row[1] then
  redis.call('ZREM', KEYS[4], id)
  return {'MISSING'}
end
if has_ended(row[1]) then return {'ENDED'} end
local lease = redis.call('ZSCORE', KEYS[4], id)
local at = now()
if row[2] ~= ARGV[5] or not lease or tonumber(lease) > at then return {'BUSY'} end
redis.call('ZADD', KEYS[4], at + ARGV[4], id)
redis.call('HINCRBY', job, 'fence', 1)
redis.call('HSET', job, 'broker', ARGV[3])
changed()
return answer('OK')
"""
)

# Many jobs in one script. KEYS[12..] - the hashes of the second job and of those behind it
# ARGV[3] - lease ms, then for each job: id, broker, fence
# One answer a job: {code, who wants it cancelled, what its instance was set to}
RENEW = (
    PRELUDE
    + """
local at, answers = now(), {}
for i = 4, #ARGV, 3 do
  local number = (i - 4) / 3
  job, id = KEYS[number == 0 and 1 or number + 11], ARGV[i]
  local code = owned(ARGV[i + 1], ARGV[i + 2])
  if code == 'OK' then
    redis.call('ZADD', KEYS[4], at + ARGV[3], id)
    local row = redis.call('HMGET', job, 'cancelling', 'instance')
    answers[number + 1] = {code, row[1] or '', redis.call('HGET', KEYS[9], row[2]) or ''}
  else
    answers[number + 1] = {code, '', ''}
  end
end
return answers
"""
)

# ARGV[3] - broker, [4] - fence, [5] - prompt id, [6] - lease ms
# OK | CANCEL: a cancel came first, so nothing is to be sent | SENT: under another id | MISSING | ENDED | FENCED
SEND = (
    PRELUDE
    + """
local code = owned(ARGV[3], ARGV[4])
if code ~= 'OK' then return answer(code) end
local row = redis.call('HMGET', job, 'prompt_id', 'cancelling')
if row[1] == ARGV[5] then return answer('OK') end
if row[1] ~= '' then return answer('SENT') end
if row[2] ~= '' then return answer('CANCEL') end
local at = now()
redis.call('ZADD', KEYS[4], at + ARGV[6], id)
redis.call('HINCRBY', job, 'attempt', 1)
redis.call('HSET', job, 'prompt_id', ARGV[5], 'state', 'submitted', 'sent', at)
changed()
return answer('OK')
"""
)

# ARGV[3] - broker, [4] - fence, [5] - state, [6] - progress, [7] - node, [8] - note
# OK | MISSING | ENDED | FENCED
PROGRESS = (
    PRELUDE
    + """
local code = owned(ARGV[3], ARGV[4])
if code ~= 'OK' then return answer(code) end
local row = redis.call('HMGET', job, 'state', 'started')
redis.call('HSET', job, 'state', ARGV[5], 'progress', ARGV[6], 'node', ARGV[7], 'note', ARGV[8])
if ARGV[5] == 'running' and row[2] == '0' then redis.call('HSET', job, 'started', now()) end
if row[1] ~= ARGV[5] then changed() end
return answer('OK')
"""
)

# KEYS[12] - the result of identical jobs, the job's own hash when it has none
# ARGV[3] - broker, [4] - fence, [5] - state, [6] - outputs, [7] - error, [8] - ms to keep it,
# [9] - ms to keep the result
# OK | SAME: it has ended so, by this owner | MISSING | ENDED | FENCED
FINISH = (
    PRELUDE
    + """
local code = owned(ARGV[3], ARGV[4])
if code == 'ENDED' then
  local row = redis.call('HMGET', job, 'state', 'broker', 'fence')
  if row[1] == ARGV[5] and row[2] == ARGV[3] and row[3] == ARGV[4] then return answer('SAME') end
end
if code ~= 'OK' then return answer(code) end
redis.call('ZREM', KEYS[4], id)
redis.call('HSET', job, 'outputs', ARGV[6], 'error', ARGV[7], 'note', '', 'node', '')
if ARGV[5] == 'done' then
  local row = redis.call('HMGET', job, 'started', 'sent')
  redis.call('HSET', job, 'progress', '1', 'started', row[1] == '0' and row[2] or row[1])
  if KEYS[12] ~= job then redis.call('SET', KEYS[12], id, 'PX', ARGV[9]) end
end
finish(ARGV[5], tonumber(ARGV[8]))
return answer('OK')
"""
)

# KEYS[12] - copies to look for (hash by prompt id)
# ARGV[3] - broker, [4] - fence, [5] - attempts, [6] - avoid, [7] - ms before it may go again, [8] - note,
# [9] - the copy that may still run, as JSON, or "", [10] - ms to keep it when it ends here
# OK | CANCELLED: it ends here, as was wanted | SAME: it was given back by this owner | MISSING | ENDED | FENCED
REQUEUE = (
    PRELUDE
    + """
local code = owned(ARGV[3], ARGV[4])
local row = redis.call('HMGET', job, 'state', 'broker', 'fence', 'submitter', 'score', 'cancelling', 'prompt_id')
if code == 'FENCED' and row[1] == 'queued' and row[2] == ARGV[3] and row[3] == ARGV[4] then return answer('SAME') end
if code ~= 'OK' then return answer(code) end
redis.call('ZREM', KEYS[4], id)
if ARGV[9] ~= '' and row[7] ~= '' then redis.call('HSET', KEYS[12], row[7], ARGV[9]) end
redis.call('HSET', job, 'attempts', ARGV[5], 'avoid', ARGV[6], 'note', ARGV[8])
if row[6] ~= '' then
  finish('cancelled', tonumber(ARGV[10]))
  return answer('CANCELLED')
end
leave_instance()
redis.call('ZADD', KEYS[3], row[5], id)
redis.call('HINCRBY', KEYS[7], row[4], 1)
redis.call('HSET', job, 'state', 'queued', 'after', now() + ARGV[7], 'progress', '0', 'node', '', 'prompt_id', '',
           'instance', '', 'instance_name', '', 'url', '')
changed()
return answer('OK')
"""
)

# ARGV[3] - by whom, [4] - ms to keep it
# OK: cancelled | WANTED: its owner is told | SAME: it was cancelled before | ENDED | MISSING
CANCEL = (
    PRELUDE
    + """
local row = redis.call('HMGET', job, 'state', 'cancelling')
if not row[1] then return {'MISSING'} end
if row[1] == 'cancelled' then return answer('SAME') end
if has_ended(row[1]) then return answer('ENDED') end
if row[1] == 'queued' then
  leave_queue()
  redis.call('HSET', job, 'cancelling', ARGV[3])
  finish('cancelled', tonumber(ARGV[4]))
  return answer('OK')
end
if row[2] == '' then
  redis.call('HSET', job, 'cancelling', ARGV[3])
  changed()
end
return answer('WANTED')
"""
)

# ARGV[3] - priority
# OK | SAME: it has that one | HELD: a broker has the job | ENDED | MISSING
PRIORITIZE = (
    PRELUDE
    + """
local row = redis.call('HMGET', job, 'state', 'priority', 'submitter')
if not row[1] then return {'MISSING'} end
if has_ended(row[1]) then return answer('ENDED') end
if row[1] ~= 'queued' then return answer('HELD') end
if row[2] == ARGV[3] then return answer('SAME') end
enqueue(row[3], ARGV[3])
changed()
return answer('OK')
"""
)

# KEYS[12] - copies to look for (hash by prompt id); ARGV[3] - prompt id, [4] - 1 when the copy ran to its end
# OK | SAME: another one saw to it
SETTLE = (
    PRELUDE
    + """
if redis.call('HDEL', KEYS[12], ARGV[3]) == 0 then return {'SAME'} end
if ARGV[4] == '1' and redis.call('EXISTS', job) == 1 then
  redis.call('HINCRBY', job, 'copies', 1)
  changed()
end
return {'OK'}
"""
)

# KEYS[1] - instance -> what it was set to (hash), KEYS[2] - events
# ARGV[1] - instance, [2] - events that the stream keeps, [3] - state or "", [4] - by whom
PLACE = """
local before = redis.call('HGET', KEYS[1], ARGV[1]) or ''
local value = ARGV[3] == '' and '' or ARGV[3] .. ' ' .. ARGV[4]
if value == '' then redis.call('HDEL', KEYS[1], ARGV[1]) else redis.call('HSET', KEYS[1], ARGV[1], value) end
if before ~= value then
  local data = cjson.encode({state = ARGV[3] == '' and 'resumed' or ARGV[3]})
  redis.call('XADD', KEYS[2], 'MAXLEN', '~', ARGV[2], '*', 'type', 'instance', 'id', ARGV[1], 'data', data)
  redis.call('PUBLISH', KEYS[2], '')
end
return before
"""

# KEYS[1] - leases. ARGV[1] - at most so many. Returns the ids of jobs whose lease is over, longest first.
OVERDUE = """
local t = redis.call('TIME')
return redis.call('ZRANGEBYSCORE', KEYS[1], '-inf', t[1] * 1000 + math.floor(t[2] / 1000), 'LIMIT', 0, ARGV[1])
"""

# KEYS[1] - the job's hash. ARGV[1] - why no instance takes it.
EXPLAIN = """
if redis.call('HGET', KEYS[1], 'state') ~= 'queued' then return 0 end
return redis.call('HSET', KEYS[1], 'reasons', ARGV[1])
"""
