// Goal: jobs run once at each minute their expression names, and no timer stands while there is no job.
// Method: the next time is compared with a walk over every minute; the scheduler runs on a simulated clock.

import { expect, test } from 'bun:test'
import fc from 'fast-check'
import { SimClock } from '../../../lib/clock.ts'
import { nextFireMs, parseCron } from './cron-expression.ts'
import { CronScheduler } from './scheduler.ts'

const at = (text: string) => Date.parse(text)

test.each([
  ['* * * * *', '2026-01-01T00:00:30Z', '2026-01-01T00:01:00Z'],
  ['0 */6 * * *', '2026-01-01T06:00:00Z', '2026-01-01T12:00:00Z'],
  ['@weekly', '2026-11-24T10:00:00Z', '2026-11-29T00:00:00Z'],
  ['30 4 29 2 *', '2026-01-01T00:00:00Z', '2028-02-29T04:30:00Z'],
  ['0 0 13 * 5', '2026-01-01T00:00:00Z', '2026-02-13T00:00:00Z'], // both must match
  ['5,10-20/5 1 1 1 *', '2026-01-01T01:05:00Z', '2026-01-01T01:10:00Z'],
])('%s after %s', (expression, after, expected) => {
  expect(nextFireMs(parseCron(expression)!, at(after))).toBe(at(expected))
})

test('a day that never comes', () => {
  expect(nextFireMs(parseCron('0 0 30 2 *')!, at('2026-01-01T00:00:00Z'))).toBeNull()
  expect(parseCron('every day')).toBeNull()
})

test('the next time is the first minute that matches', () => {
  const part = (max: number, min = 0) =>
    fc.oneof(fc.constant('*'), fc.integer({ min, max }).map(String), fc.constant(`*/${Math.min(5, max)}`))
  const expression = fc.tuple(part(59), part(23), part(28, 1), fc.constant('*'), part(6)).map((each) => each.join(' '))
  fc.assert(
    fc.property(expression, fc.nat(100_000), (text, offset) => {
      const schedule = parseCron(text)!
      const start = at('2026-02-20T00:00:00Z') + offset * 60_000
      const next = nextFireMs(schedule, start)
      // At most two days are walked: enough for all but rare days, which the cases above cover.
      for (let ms = start + 60_000; ms <= Math.min(next ?? 0, start + 2 * 86_400_000); ms += 60_000) {
        const date = new Date(ms)
        const matches =
          schedule.minutes.includes(date.getUTCMinutes()) &&
          schedule.hours.includes(date.getUTCHours()) &&
          schedule.days.has(date.getUTCDate()) &&
          schedule.daysOfWeek.has(date.getUTCDay())
        expect(matches).toBe(ms === next)
      }
    }),
    { numRuns: 50 },
  )
})

test('jobs run when they are due, failures included, and stop when told', async () => {
  const clock = new SimClock(at('2026-01-01T00:00:10Z'))
  const failed: string[] = []
  const crons = new CronScheduler(clock, (job) => failed.push(job))
  crons.start()
  expect(clock.pendingTimers).toBe(0)
  let runs = 0
  crons.add({ id: 'often', expression: '*/2 * * * *', run: () => void runs++, wakes: false })
  crons.add({
    id: 'broken',
    expression: '@hourly',
    run: () => {
      throw new Error('no')
    },
    wakes: true,
  })
  await clock.advance(60 * 60_000)
  expect([runs, failed]).toEqual([30, ['broken']])
  expect(crons.nextWakeMs(clock.now())).toBe(at('2026-01-01T02:00:00Z'))
  await crons.stop()
  expect(clock.pendingTimers).toBe(0)
  await clock.advance(60 * 60_000)
  expect(runs).toBe(30)
  expect(crons.runNow('missing')).toBeNull()
  await crons.runNow('often')
  expect(runs).toBe(31)
})

test('what came due while nobody had the tenant open runs once, and only what wakes', async () => {
  const clock = new SimClock(at('2026-01-01T02:30:00Z'))
  const ran: string[] = []
  const crons = new CronScheduler(clock, () => {})
  const add = (id: string, expression: string, wakes: boolean) =>
    crons.add({ id, expression, wakes, run: () => void ran.push(id) })
  add('hourly', '0 * * * *', true)
  add('daily', '0 5 * * *', true)
  add('housekeeping', '0 * * * *', false)
  await crons.runMissed(at('2026-01-01T01:00:00Z'))
  expect(ran).toEqual([]) // not started: it may be somebody else's
  crons.start()
  await crons.runMissed(at('2026-01-01T01:00:00Z'))
  expect(ran).toEqual(['hourly'])
  await clock.advance(30 * 60_000)
  expect(ran).toEqual(['hourly', 'hourly', 'housekeeping'])
  await crons.runMissed(at('2026-01-01T03:00:00Z')) // came due after the start: its own timer ran it
  expect(ran).toHaveLength(3)
  await crons.stop()
})
