// Goal: nobody waits for work of hours who need not, and nobody has a tenant open whose history is rolled back or handed over.
// Method: the desk over a pool that plays along and processes that end when the test says so.

import { expect, test } from 'bun:test'
import type { TenantJob } from '../../ipc/messages/jobs.ts'
import type { Placement } from '../../ipc/messages/tenant.ts'
import type { Epoch, NodeId, TenantId } from '../../lib/brand.ts'
import { SimClock } from '../../lib/clock.ts'
import { silentLogger as log } from '../../lib/obs/log.ts'
import { JobDesk, type JobDeskDeps } from './job-desk.ts'
import type { RunJob } from './job-process.ts'

const tenantId = 'aaaaaaaaaaaaaaa' as TenantId
const placement: Placement = { tenantId, nodeId: 'n' as NodeId, worker: 0, epoch: 3 as Epoch }
const cut = { atMs: 1, data: 1, hooks: 1, auxiliary: 1 } as never

function setUp() {
  /** Types of the jobs whose processes run, in the order of their starts. */
  const running: string[] = []
  const ends: (() => void)[] = []
  const closedFor: string[] = []
  const run: RunJob = async ({ job }, _report, signal) => {
    running.push(job.type)
    const over = Promise.withResolvers<void>()
    ends.push(over.resolve)
    signal.addEventListener('abort', () => over.reject(signal.reason))
    await over.promise
    return {} as never
  }
  const pool: JobDeskDeps['pool'] = {
    peek: () => null,
    exclusively(_, work) {
      closedFor.push('closed')
      return work().finally(() => closedFor.push('free'))
    },
    whileClosed: (_, work) => work(),
    use: () => Promise.reject(new Error('nothing here needs an open tenant')),
  }
  const files = { mayHoldMore: () => false }
  const warm = async () => ({ databases: [] })
  const clock = new SimClock()
  const desk = new JobDesk({ pool, files, clock, log, scratchDir: '/nowhere', run, warm })
  let jobs = 0
  const look = (job: TenantJob, jobId: string) => desk.look({ type: 'job.run', jobId, tenantId, job })
  const start = async (job: TenantJob) => {
    look(job, `job-${++jobs}`)
    await Bun.sleep(0)
  }
  return { desk, clock, look, start, running, ends, closedFor }
}

test('look-ups do not wait for long work, and a tenant that is offline goes first', async () => {
  const { desk, start, running, ends } = setUp()
  for (let i = 0; i < 4; i++) await start({ type: 'drill' })
  expect(running).toEqual(['drill', 'drill'])
  await start({ type: 'cut', wish: { type: 'latest' } })
  expect(running).toEqual(['drill', 'drill', 'cut'])
  await start({ type: 'restore', placement, cut })
  expect(running).toHaveLength(3)
  ends[0]!()
  await Bun.sleep(0)
  expect(running).toEqual(['drill', 'drill', 'cut', 'restore'])
  ends[1]!()
  await Bun.sleep(0)
  expect(running.at(-1)).toBe('drill')
  await desk.close()
  expect(running).toHaveLength(5) // those that waited did not begin
})

test('a tenant has a job from the order to the end, also while it waits for its turn', async () => {
  const { desk, start, ends } = setUp()
  const other = 'bbbbbbbbbbbbbbb' as TenantId
  for (let i = 0; i < 2; i++) {
    desk.look({ type: 'job.run', jobId: `other-${i}`, tenantId: other, job: { type: 'drill' } })
    await Bun.sleep(0)
  }
  expect([desk.has(tenantId), desk.has(other)]).toEqual([false, true])
  await start({ type: 'restore', placement, cut }) // both turns are taken
  expect(desk.has(tenantId)).toBe(true)
  for (const end of ends) end()
  await Bun.sleep(0)
  expect([desk.has(tenantId), desk.has(other)]).toEqual([true, false])
  await desk.close()
  expect(desk.has(tenantId)).toBe(false)
})

test('a history is handed over while its tenant is closed; to look where it stands needs no closing', async () => {
  const { desk, start, running, closedFor } = setUp()
  await start({ type: 'eject', isHandedOver: false })
  expect([running, closedFor]).toEqual([['eject'], []])
  await start({ type: 'eject', isHandedOver: true })
  expect([running, closedFor]).toEqual([['eject', 'eject'], ['closed']])
  await desk.close()
})

test('what is not wanted any more ends, does not begin, and makes room', async () => {
  const { desk, look, start, running } = setUp()
  await start({ type: 'restore', placement, cut })
  await start({ type: 'drill' })
  await start({ type: 'preview', wish: { type: 'latest' } })
  await start({ type: 'archive', stage: 'archived', storageClass: null })
  expect(running).toEqual(['restore', 'drill'])
  desk.stop('job-3') // it waits
  desk.stop('job-1')
  await Bun.sleep(0)
  expect(running).toEqual(['restore', 'drill', 'archive'])
  expect(look({ type: 'restore', placement, cut }, 'job-1')).toMatchObject({ state: 'failed', code: 'job_stopped' })
  desk.stop('job-9')
  expect(look({ type: 'drill' }, 'job-9')).toMatchObject({ state: 'failed', code: 'job_stopped' }) // its order was late
  await desk.close()
  expect(running).toHaveLength(3)
})

test('a restored tenant opens once that was heard, or after a while', async () => {
  const { desk, clock, look, start, ends, closedFor } = setUp()
  const restore = { type: 'restore', placement, cut } as const
  await start(restore)
  expect(look(restore, 'job-1').state).toBe('running')
  ends[0]!()
  await Bun.sleep(0)
  expect(closedFor).toEqual(['closed'])
  expect(look(restore, 'job-1').state).toBe('done')
  await Bun.sleep(0)
  expect(closedFor).toEqual(['closed', 'free'])
  expect(look(restore, 'job-1').state).toBe('done')
  await start(restore)
  ends[1]!()
  await Bun.sleep(0)
  expect(closedFor).toHaveLength(3)
  await clock.advance(5_000)
  await Bun.sleep(0)
  expect(closedFor).toHaveLength(4)
  expect(look(restore, 'job-2').state).toBe('done')
  await desk.close()
  expect(clock.pendingTimers).toBe(0)
})
