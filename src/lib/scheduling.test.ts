// Goal: the time that a thread wanted counts what it ran, and never goes back.

import { expect, test } from 'bun:test'
import { wantedThreadMs } from './scheduling.ts'

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
