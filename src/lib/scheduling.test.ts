// Goal: the time that a thread wanted counts what it ran, and never goes back; a process runs behind others with all of it.

import { expect, test } from 'bun:test'
import { readdirSync, readFileSync } from 'node:fs'
import { getPriority } from 'node:os'
import { until } from '../../test/support/wait.ts'
import { runBehindOthers, wantedThreadMs } from './scheduling.ts'

test.skipIf(process.platform !== 'linux')('what this thread runs is what it wanted, at least', () => {
  const startMs = wantedThreadMs()!
  const cpu = process.cpuUsage()
  let lastMs = startMs
  while (process.cpuUsage(cpu).user < 50_000) {
    const nowMs = wantedThreadMs()!
    expect(nowMs).toBeGreaterThanOrEqual(lastMs)
    lastMs = nowMs
  }
  expect(lastMs - startMs).toBeGreaterThan(10) // other threads of the process ran too
})

/** Of each thread. */
const nicenessOf = (pid: number) =>
  readdirSync(`/proc/${pid}/task`).map((task) => {
    const stat = readFileSync(`/proc/${pid}/task/${task}/stat`, 'utf8')
    return Number(stat.slice(stat.lastIndexOf(')') + 2).split(' ')[16])
  })
const lasting = [process.execPath, '-e', 'setInterval(() => {}, 1_000)']

test.skipIf(process.platform !== 'linux')('every thread of a process that was put behind is there', async () => {
  await using child = Bun.spawn(lasting, { stdin: 'pipe' })
  expect(runBehindOthers(child.pid)).toBe(true)
  const found = await until('its threads', () => nicenessOf(child.pid).length > 1 && nicenessOf(child.pid))
  expect(new Set(found)).toEqual(new Set([Math.max(10, getPriority())]))
})

test.skipIf(process.platform !== 'linux')('who is further behind already is not brought forward', async () => {
  await using child = Bun.spawn(['nice', '-n', '15', ...lasting], { stdin: 'pipe' })
  await until('it to be there', () => nicenessOf(child.pid)[0]! >= 15)
  expect(runBehindOthers(child.pid)).toBe(true)
  expect(nicenessOf(child.pid)[0]).toBeGreaterThanOrEqual(15)
})

test('a process that has gone is none of our business', async () => {
  const child = Bun.spawn(['true'])
  await child.exited
  expect(runBehindOthers(child.pid)).toBe(true)
})
